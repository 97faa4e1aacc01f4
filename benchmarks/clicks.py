"""Segmentation by clicks, measured with a simulated user who clicks in the middle of the largest error.

    python benchmarks/clicks.py data/isic2017 --model lesion-click --split test --clicks 5 --out clicks

Writes clicks.html, clicks.csv and clicks.json: Dice after each click, the number of clicks to a Dice of 0.85 and 0.90,
and the time for a click, of the model, of random walks and of a color flood. The same command continues after an
interruption.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import check_are_datasets
from napari_melanoma.evaluation.any_task import check_evaluation_folder
from napari_melanoma.evaluation.masks import read_pair
from napari_melanoma.evaluation.pipeline import (
    ALL_IMAGES,
    Estimates,
    Evaluation,
    EvaluationTask,
    LoadedModel,
    PageContent,
    estimate_domains,
    estimates_to_json,
    evaluation_page,
    interval_text,
    measured_rows,
    read_masked_samples,
    run_evaluation,
    write_evaluation_page,
)
from napari_melanoma.imaging.color import to_lab
from napari_melanoma.imaging.postprocessing import RefinementConfig, make_mask
from napari_melanoma.imaging.prompts import Click, Point, Prompts, draw_disk, simulate_click
from napari_melanoma.imaging.scribbles import INSIDE, OUTSIDE, redraw_border
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.io.results import write_table
from napari_melanoma.lesion.loaded_models import report_loading
from napari_melanoma.lesion.prompting import PromptedSegmenter, Prompter, load_any_segmenter
from napari_melanoma.metrics.metric_table import CLICK_METRICS, define_metrics, metric_label
from napari_melanoma.metrics.overlap import overlap_metrics
from napari_melanoma.metrics.statistics import Estimate, bootstrap_means
from napari_melanoma.models import DEFAULT_BUNDLE
from napari_melanoma.models.installed_bundles import find_bundle

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.models.bundle import BundleInfo

DICE_AIMS = (0.85, 0.9)
FLOOD_TOLERANCE = 12.0  # CIE 1976 color difference
CLICK_SHARE = 1 / 64  # radius of a click as a stroke, as a share of the shorter side
ClickMasks = tuple["NDArray[np.bool_]", "list[NDArray[np.bool_]]"]
"""The best mask, bool (row, column), and all masks that the method proposes."""
ClickSegmenter = Callable[["Sequence[Click]", "NDArray[np.bool_]"], ClickMasks]
"""Function of all clicks so far and the last mask, bool (row, column), that returns the new masks."""


class ClickMethod(Protocol):
    """A way to segment by clicks."""

    name: str

    def start(self, rgb: NDArray[np.uint8]) -> ClickSegmenter:
        """Prepare a photograph, uint8 (row, column, channel), and return the function that segments it."""


class PromptedClicks:
    """A network that accepts prompts; ``first``: another network, whose mask the clicks correct."""

    def __init__(self, model: PromptedSegmenter, first: Segmenter | None = None) -> None:
        self._model = model
        self._first = first
        self.name = model.info.name if first is None else f"{first.info.name}, then {model.info.name}"

    def start(self, rgb: NDArray[np.uint8]) -> ClickSegmenter:
        prompter = Prompter(self._model, rgb)

        def segment(clicks: Sequence[Click], mask: NDArray[np.bool_]) -> ClickMasks:
            if not clicks and self._first is not None:
                first_mask, _ = _analyze(self._first, rgb)
                return first_mask, [first_mask]
            masks = prompter.segment(_to_prompts(clicks, mask if clicks else None))
            return masks.best_mask, [masks.mask(index) for index in range(len(masks.qualities))]

        return segment


class RandomWalkClicks:
    """A network without prompts, whose mask is redrawn by random walks from the clicks."""

    def __init__(self, model: Segmenter) -> None:
        self._model = model
        self.name = f"{model.info.name} and random walk"

    def start(self, rgb: NDArray[np.uint8]) -> ClickSegmenter:
        first_mask, probability = _analyze(self._model, rgb)

        def segment(clicks: Sequence[Click], mask: NDArray[np.bool_]) -> ClickMasks:
            redrawn = redraw_border(probability, rgb, mask, _to_strokes(clicks, mask.shape)) if clicks else first_mask
            return redrawn, [redrawn]

        return segment


class FloodClicks:
    """Pixels of a similar color that are connected with a click, added or removed."""

    name = "color flood"

    def start(self, rgb: NDArray[np.uint8]) -> ClickSegmenter:
        from scipy import ndimage

        lab = to_lab(rgb)

        def segment(clicks: Sequence[Click], mask: NDArray[np.bool_]) -> ClickMasks:
            if not clicks:
                return mask, [mask]
            row, column, include = clicks[-1]
            similar = np.linalg.norm(lab - lab[row, column], axis=-1) <= FLOOD_TOLERANCE
            parts, _ = ndimage.label(similar)
            flood = parts == parts[row, column]
            changed = mask | flood if include else mask & ~flood
            return changed, [changed]

        return segment


@dataclass(frozen=True)
class ClickTrial:
    """Segmentation of one image by one method: the Dice index after each click, and times in seconds.

    ``dice``: float64 (clicks + 1,), beginning without a click. ``best_dice``: of the best mask that the method proposes
    without a click. ``first_s``: time until the mask without a click. ``click_s``: mean time per click, NaN if no click
    was needed.
    """

    dice: NDArray[np.float64]
    best_dice: float
    first_s: float
    click_s: float

    @classmethod
    def from_values(cls, values: Mapping[str, float], clicks: int) -> ClickTrial:
        """Create a trial of at most ``clicks`` clicks from the values of ``to_values``."""
        dice = np.array([values[f"dice_{count}"] for count in range(clicks + 1)])
        return cls(dice, values["best_of_hypotheses"], values["first_s"], values["click_s"])

    def to_values(self) -> dict[str, float]:
        """Return the values by their columns of ``clicks.csv``."""
        dice = {f"dice_{count}": float(value) for count, value in enumerate(self.dice)}
        return {
            **dice,
            "best_of_hypotheses": self.best_dice,
            "first_s": round(self.first_s, 4),
            "click_s": round(self.click_s, 4),
        }

    def clicks_to(self, aim: float) -> int:
        """Return the number of clicks until a Dice index is reached; the maximum number if it is not."""
        reached = np.flatnonzero(self.dice >= aim)
        return int(reached[0]) if len(reached) else len(self.dice) - 1


def run_trial(method: ClickMethod, rgb: NDArray[np.uint8], truth: NDArray[np.bool_], clicks: int) -> ClickTrial:
    """Segment an image with simulated clicks.

    ``rgb``: uint8 (row, column, channel). ``truth``: reference mask, bool (row, column). ``clicks``: maximum number.
    """
    started = time.perf_counter()
    segment = method.start(rgb)
    mask, hypotheses = segment((), np.zeros_like(truth))
    first_s = time.perf_counter() - started
    dice, made_clicks, seconds = [overlap_metrics(mask, truth)["DI"]], [], []
    best_dice = max(overlap_metrics(hypothesis, truth)["DI"] for hypothesis in hypotheses)
    for _ in range(clicks):
        click = simulate_click(truth, mask)
        if click is None:
            dice += [1.0] * (clicks + 1 - len(dice))
            break
        made_clicks.append(click)
        started = time.perf_counter()
        mask, _ = segment(made_clicks, mask)
        seconds.append(time.perf_counter() - started)
        dice.append(overlap_metrics(mask, truth)["DI"])
    return ClickTrial(np.array(dice), best_dice, first_s, float(np.mean(seconds)) if seconds else math.nan)


def estimate_trials(trials: Sequence[ClickTrial], groups: Sequence[str]) -> dict[str, Estimate]:
    """Estimate the mean of each metric with its 95 % interval.

    ``groups``: the patient or lesion of each trial. Returns ``DI n`` the Dice index after n clicks, ``NoC 85`` and
    ``NoC 90`` the number of clicks to a Dice index of 0.85 and 0.90, ``never 85`` and ``never 90`` the share of images
    that do not reach it.
    """
    columns = {f"DI {count}": [trial.dice[count] for trial in trials] for count in range(len(trials[0].dice))}
    columns["DI best of hypotheses"] = [trial.best_dice for trial in trials]
    for aim in DICE_AIMS:
        columns[f"NoC {round(100 * aim)}"] = [trial.clicks_to(aim) for trial in trials]
        columns[f"never {round(100 * aim)}"] = [float(trial.dice.max() < aim) for trial in trials]
    values = np.array(list(columns.values()), np.float64).T
    return dict(zip(columns, bootstrap_means(values, np.array(groups)), strict=True))


class ClickOptions(Config):
    """Options of an evaluation by clicks."""

    clicks: int = Field(5, ge=1, le=50, description="maximum number of clicks on an image")
    split: str | None = Field(None, description="only images of this split, such as 'test'; none: all images")
    include_seen: bool = Field(False, description="also measure images that a model was trained on")


@dataclass(frozen=True, eq=False, kw_only=True)
class ClickEvaluation(Evaluation):
    """Result of an evaluation by clicks.

    ``trials``: by method, of the measured images in order. ``methods``: data set, or "all", to method to metric to
    estimate; ``parts`` has those of the first method, the model itself.
    """

    trials: Mapping[str, tuple[ClickTrial, ...]]
    methods: Mapping[str, Mapping[str, Estimates]]


def evaluate_clicks(
    info: BundleInfo, datasets: Sequence[Path], out: Path, options: ClickOptions, *, run: RunContext
) -> ClickEvaluation:
    """Measure a model that accepts prompts, and for comparison random walks and a color flood; write the results.

    Images that were measured before an interruption are not measured again.
    """
    samples = read_masked_samples(datasets, options.split)
    automatic_info = find_bundle(DEFAULT_BUNDLE)
    with report_loading(run):
        prompted_model, automatic_model = PromptedSegmenter.load(info), load_any_segmenter(automatic_info)
    methods: tuple[ClickMethod, ...] = (
        PromptedClicks(prompted_model),
        PromptedClicks(prompted_model, automatic_model),
        RandomWalkClicks(automatic_model),
        FloodClicks(),
    )
    task = ClickTask([prompted_model, automatic_model], methods, options)
    return run_evaluation(task, samples, out, include_seen=options.include_seen, run=run)


ClickPair = tuple[Photograph, "NDArray[np.bool_]"]


class ClickTask(EvaluationTask[ClickPair, list[dict[str, float]], ClickEvaluation]):
    """Simulated clicks. The values of an image are a trial of each method."""

    options: ClickOptions

    def __init__(self, models: Sequence[LoadedModel], methods: Sequence[ClickMethod], options: ClickOptions) -> None:
        super().__init__(models, options)
        self.methods = methods

    @property
    def names(self) -> list[tuple[str, ...]]:
        dice = (f"dice_{count}" for count in range(self.options.clicks + 1))
        return [(*dice, "best_of_hypotheses", "first_s", "click_s")] * len(self.methods)

    @property
    def settings(self) -> dict[str, object]:
        models = [[model.info.fingerprint, model.device] for model in self.loaded]
        return {"models": models, "clicks": self.options.clicks}

    def read(self, sample: Sample) -> ClickPair:
        return read_pair(sample)

    def predict(self, contents: Sequence[ClickPair]) -> list[list[dict[str, float]]]:
        return [
            [run_trial(method, photograph.rgb, truth, self.options.clicks).to_values() for method in self.methods]
            for photograph, truth in contents
        ]

    def summarize(self, tables: Sequence[DataFrame]) -> ClickEvaluation:
        measured = {method.name: measured_rows(table) for method, table in zip(self.methods, tables, strict=True)}
        trials = {name: self._read_trials(rows) for name, rows in measured.items()}
        by_method = {name: estimate_domains(rows, self._estimate) for name, rows in measured.items()}
        first = next(iter(by_method.values()))
        methods = {part: {name: parts[part] for name, parts in by_method.items()} for part in first}
        name, estimates = next(iter(methods[ALL_IMAGES].items()))
        lead = (
            f"{name}: {estimates['NoC 90']} clicks to a Dice index of 0.90; Dice {estimates['DI 0']} without a click, "
            f"{estimates['DI 1']} after one."
        )
        headline = f"{lead} Over {len(next(iter(measured.values())))} images"
        return ClickEvaluation(
            parts=first, table=tables[0], lead=lead, headline=headline, trials=trials, methods=methods
        )

    def _read_trials(self, rows: DataFrame) -> tuple[ClickTrial, ...]:
        return tuple(ClickTrial.from_values(values, self.options.clicks) for values in rows.to_dict("records"))

    def _estimate(self, rows: DataFrame) -> dict[str, Estimate]:
        return estimate_trials(self._read_trials(rows), rows["group"].tolist())

    def write(self, evaluation: ClickEvaluation, out: Path, run: RunContext) -> None:
        """Write the table of the images, the metrics and the page."""
        rows = []
        for name, trials in evaluation.trials.items():
            for sample, trial in zip(evaluation.measured, trials, strict=True):
                about = {key: getattr(sample, key) for key in ("image_id", "domain", "split", "group")}
                rows.append({**about, "method": name, **trial.to_values()})
        write_table(out / "clicks.csv", rows)
        values = {
            part: {name: estimates_to_json(estimates) for name, estimates in methods.items()}
            for part, methods in evaluation.methods.items()
        }
        info = self.infos[0]
        about = {"model": info.name, "fingerprint": info.fingerprint, "options": self.options.model_dump(mode="json")}
        facts = {
            "warnings": list(evaluation.warnings),
            "training_overlap": evaluation.overlap.facts if evaluation.overlap else None,
            **collect_provenance(),
        }
        write_json(out / "clicks.json", {**about, "metrics": values, "failed": len(evaluation.failed), **facts})
        page = evaluation_page(evaluation, info, self.describe(evaluation))
        write_evaluation_page(page, out / "clicks.html")

    def draw(self, evaluation: ClickEvaluation, folder: Path, run: RunContext) -> dict[str, Path]:
        return {}

    def describe(self, evaluation: ClickEvaluation) -> PageContent:
        tables = [
            (
                "All images" if part == ALL_IMAGES else part,
                ("", *methods),
                [
                    (metric_label(metric), *(str(estimates[metric]) for estimates in methods.values()))
                    for metric in next(iter(methods.values()))
                ],
            )
            for part, methods in evaluation.methods.items()
            if part == ALL_IMAGES or len(evaluation.data) > 1
        ]
        return PageContent(
            facts=f"{evaluation.images} images, up to {self.options.clicks} clicks",
            next="clicks.csv lists every measured image.",
            tables=tables,
            notes=[
                "A simulated user clicks in the middle of the largest error, to include or to exclude it. Dice, n: "
                f"Dice index after n clicks; {define_metrics(CLICK_METRICS.values())} Intervals: "
                f"{interval_text(evaluation.measured)}.{_click_times(evaluation.trials)}"
            ],
        )


def _click_times(trials: Mapping[str, Sequence[ClickTrial]]) -> str:
    """State the median time for a click with each method; empty if no image needed one."""
    times = {
        name: [trial.click_s for trial in of_method if not math.isnan(trial.click_s)]
        for name, of_method in trials.items()
    }
    medians = [f"{name} {1000 * float(np.median(seconds)):.0f} ms" for name, seconds in times.items() if seconds]
    return f" Median time for a click: {', '.join(medians)}." if medians else ""


def _analyze(model: Segmenter, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Segment a photograph without clicks: the mask, bool (row, column), and the probability of each pixel, float32."""
    probability = model.probability(rgb)
    return make_mask(probability, model.info.config.threshold, RefinementConfig()), probability


def _to_prompts(clicks: Sequence[Click], previous: NDArray[np.bool_] | None) -> Prompts:
    include, exclude = (
        tuple(Point(click.row, click.column) for click in clicks if click.include == wanted) for wanted in (True, False)
    )
    return Prompts(include, exclude, previous=previous)


def _to_strokes(clicks: Iterable[Click], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Draw clicks as the disk-shaped strokes of ``imaging.scribbles``, uint8 (row, column)."""
    strokes = np.zeros(shape, np.uint8)
    reach = max(1.0, CLICK_SHARE * min(shape))
    for click in clicks:
        draw_disk(strokes, (click.row, click.column), reach, INSIDE if click.include else OUTSIDE)
    return strokes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="folders of data sets")
    parser.add_argument("--model", default="lesion-click", help="a model that can be prompted")
    parser.add_argument("--clicks", type=int, default=5, help="maximum number of clicks on an image")
    parser.add_argument("--split", help="only images of this split")
    parser.add_argument("--out", type=Path, default=Path("clicks"), help="folder of the results")
    arguments = parser.parse_args()
    check_are_datasets(arguments.data)
    check_evaluation_folder(arguments.out, arguments.data)
    options = ClickOptions(clicks=arguments.clicks, split=arguments.split)
    info = find_bundle(arguments.model)
    print(evaluate_clicks(info, arguments.data, arguments.out, options, run=RunContext()).headline)


if __name__ == "__main__":
    main()

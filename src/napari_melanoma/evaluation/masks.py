"""Evaluation of segmentation models of one lesion: masks compared with reference masks.

In this order: options, measuring of an image, the adapter of the pipeline, subgroups, and stored evaluations.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.csv_files import read_csv_dicts
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.data.dataset import TABLE_NAMES
from napari_melanoma.data.dataset_table import iter_table_rows
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.partial_results import stamp_files
from napari_melanoma.evaluation.pipeline import (
    ALL_IMAGES,
    METRICS_FILE,
    NOT_KNOWN,
    SIZE_NAMES,
    TABLE,
    Estimates,
    Evaluation,
    EvaluationTask,
    ImageMetrics,
    PageContent,
    Subgroup,
    combine_rare_values,
    divide_by_values,
    estimate_domains,
    interval_text,
    metrics_table,
    read_masked_samples,
    read_sample,
    run_evaluation,
    subgroups_table,
)
from napari_melanoma.evaluation.training_overlap import missing_overlap_warning
from napari_melanoma.figures.evaluation import CASES, EvaluatedCase, plot_cases, plot_distribution, plot_subgroups
from napari_melanoma.imaging.postprocessing import RefinementConfig, make_mask
from napari_melanoma.io.photographs import Photograph, count_pixels, read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.analysis import find_uncertain_band, predict_lesion
from napari_melanoma.lesion.segmentation import LesionPrediction
from napari_melanoma.metrics.mask_metrics import list_mask_metrics, measure_mask
from napari_melanoma.metrics.segmentation_difficulty import DIFFICULTY_TRAITS, measure_difficulty
from napari_melanoma.metrics.statistics import bootstrap_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.lesion.segmentation import Segmenter

REFERENCE_SHARE = "reference_share"
FACTS = (REFERENCE_SHARE, *(trait.name for trait in DIFFICULTY_TRAITS))
SHOWN_IN_SUBGROUPS = ("TJA", "JA", "DI", "SE", "SP", "HD95_relative", "BF1")
SIZE = "size of the lesion"
SIZE_LIMITS = (0.05, 0.25)  # share of the image from which a lesion is medium, and large
SIZE_DEFINITION = "small: under 5 % of the image; large: 25 % or more"
METADATA_COLUMNS = {"site": "site", "fitzpatrick": "Fitzpatrick type"}
MIN_IMAGES = 10  # images that a subgroup needs to be named in the summary
CASES_PER_GROUP = 6
KnownMetadata = Mapping[tuple[str, str], tuple[str, ...]]
"""Values of ``METADATA_COLUMNS``, "" if unknown, by data set and image id."""
log = logging.getLogger(__name__)


class EvaluationOptions(Config):
    """Which images are measured, and how masks are made."""

    split: str | None = Field(None, description="use only images of this split, such as 'test'; by default all")
    threshold: float | None = Field(
        None, gt=0, lt=1, description="decision threshold of the lesion probability; by default that of the model"
    )
    refinement: RefinementConfig = RefinementConfig()
    flips: bool = Field(False, description="test-time augmentation: average over four flips")
    include_seen: bool = Field(
        False,
        description="also measure images that a model was trained on, or other images of their patients; "
        "all outputs are then marked, and there is no verdict",
    )
    difficulty: bool = Field(
        True,
        description="measure what makes each image difficult (hair, low contrast ...), for subgroups by difficulty",
    )

    def threshold_of(self, model: Segmenter) -> float:
        """Return the threshold at which a model is measured: its own unless the options set one."""
        return model.info.config.threshold if self.threshold is None else self.threshold


def evaluate_masks(
    model: Segmenter, datasets: Sequence[Path], out: Path, options: EvaluationOptions, *, run: RunContext
) -> MaskEvaluation:
    """Evaluate a segmentation model and write the results, or resume where an earlier call was stopped.

    The result has TJA, JA, DI, AC, SE and SP (ISIC 2018), Hausdorff-95 and boundary F1, averaged over images, with 95 %
    intervals over patients or lesions, for all images, each data set and each of its subgroups.
    """
    samples = read_masked_samples(datasets, options.split)
    task = MaskTask([model], options, read_known_metadata(datasets))
    return run_evaluation(task, samples, out, include_seen=options.include_seen, run=run)


# Measuring an image.


def measure_sample(
    sample: Sample,
    model: Segmenter,
    threshold: float,
    refinement: RefinementConfig,
    *,
    flips: bool = False,
) -> tuple[EvaluatedCase, dict[str, float]]:
    """Segment one image with the full post-processing and compare its mask with the reference.

    ``threshold``: pixels at or above this probability are lesion. Returns the metrics of
    ``metrics.overlap.overlap_metrics`` and ``metrics.overlap.boundary_metrics``; with flips also ``band_share``, the
    area of the uncertain band relative to band and mask together, and ``errors_in_band``, the share of the wrong pixels
    that lie in the band.
    """
    photograph, reference = read_pair(sample)
    prediction = predict_lesion(model, photograph.rgb, flips=flips)
    mask, metrics = _compare(photograph, reference, prediction, threshold, refinement)
    return EvaluatedCase(sample.image_id, metrics["DI"], photograph.rgb, mask, reference), metrics


def read_pair(sample: Sample) -> tuple[Photograph, NDArray[np.bool_]]:
    """Read a photograph, with the pixel size of its row in the table if there is one, and its reference mask."""
    assert sample.mask is not None
    photograph, reference = read_photograph(sample.image), read_mask(sample.mask)
    shape = photograph.rgb.shape
    if shape[:2] != reference.shape:
        raise DataSetError(
            f"'{sample.image_id}': the mask has {reference.shape[0]} x {reference.shape[1]} pixels, the image "
            f"{shape[0]} x {shape[1]}. A mask needs the size of its upright image."
        )
    return replace(photograph, pixel_size=sample.pixel_size or photograph.pixel_size), reference


def _compare(
    photograph: Photograph,
    reference: NDArray[np.bool_],
    prediction: LesionPrediction,
    threshold: float,
    refinement: RefinementConfig,
) -> tuple[NDArray[np.bool_], dict[str, float]]:
    """Make the mask of a prediction and compare it with the reference."""
    mask = make_mask(prediction.probability, threshold, refinement)
    metrics = measure_mask(mask, reference, photograph.pixel_size)
    band = find_uncertain_band(prediction, mask, threshold, refinement)
    if band is not None:
        wrong = mask != reference
        area, errors = np.count_nonzero(mask | band), np.count_nonzero(wrong)
        metrics["band_share"] = np.count_nonzero(band) / area if area else math.nan
        metrics["errors_in_band"] = np.count_nonzero(band & wrong) / errors if errors else math.nan
    return mask, metrics


# The adapter.


@dataclass(frozen=True)
class MaskEvaluation(Evaluation):
    """Result of an evaluation of masks; ``parts`` also has each diagnosis in a data set, as ``set: diagnosis``."""

    threshold: float = 0.5

    @property
    def lead(self) -> str:
        """The main results, and the lowest result of a subgroup."""
        whole = self.parts[ALL_IMAGES]
        means = f"Dice {whole['DI']}, Jaccard {whole['JA']}, thresholded Jaccard {whole['TJA']}"
        text = f"{means} (mean over images, 95 % interval)."
        enough = [group for group in self.subgroups if group.count >= MIN_IMAGES]
        if enough:
            low = min(enough, key=lambda group: group.metrics["JA"].mean)
            text += (
                f" Lowest Jaccard index of a subgroup with at least {MIN_IMAGES} images: {low.metrics['JA']} "
                f"({low.data}, {low.by}: {low.value}, n = {low.count})."
            )
        return text

    @property
    def headline(self) -> str:
        """The Dice index in a line."""
        dice = self.parts[ALL_IMAGES]["DI"]
        return f"Dice {dice} (95 % interval) over {dice.count} images, at threshold {self.threshold:g}"

    @property
    def settings(self) -> dict[str, object]:
        """The decision threshold, as a JSON value."""
        return {"threshold": self.threshold}


@dataclass(frozen=True)
class MaskContent:
    """A photograph with its reference mask, and what is measured of them alone."""

    photograph: Photograph
    reference: NDArray[np.bool_]
    facts: dict[str, float]


class MaskTask(EvaluationTask[MaskContent, tuple[LesionPrediction, ...], MaskEvaluation]):
    """Masks of one lesion. ``metadata``: site and skin type of the images, which divide them into subgroups."""

    options: EvaluationOptions
    compares_in_threads = True

    def __init__(
        self,
        models: Sequence[Segmenter],
        options: EvaluationOptions,
        metadata: KnownMetadata | None = None,
    ) -> None:
        super().__init__(models, options)
        self.models, self._metadata = models, metadata or {}
        self.subgroup_metrics = tuple(list_mask_metrics())

    @property
    def names(self) -> list[tuple[str, ...]]:
        return [(*list_mask_metrics(), *FACTS)] * len(self.models)

    @property
    def thresholds(self) -> list[float]:
        """The threshold of each model."""
        return [self.options.threshold_of(model) for model in self.models]

    @property
    def settings(self) -> dict[str, object]:
        configs = [model.info.config for model in self.models]
        return {
            "models": [
                [model.info.fingerprint, model.device, threshold, config.closer_views, config.turned_views]
                for model, threshold, config in zip(self.models, self.thresholds, configs, strict=True)
            ],
            "options": self.options.model_dump(mode="json", exclude={"split"}),
        }

    def stamp(self, sample: Sample) -> str:
        return f"{stamp_files(sample)} {sample.pixel_size}"

    def size(self, sample: Sample) -> int:
        return (3 + 4 * len(self.models)) * count_pixels(sample.image)

    def read(self, sample: Sample) -> MaskContent:
        photograph, reference = read_pair(sample)
        facts = {REFERENCE_SHARE: float(reference.mean())}
        if self.options.difficulty:
            facts |= measure_difficulty(photograph.rgb, reference)
        return MaskContent(photograph, reference, facts)

    def predict(self, contents: Sequence[MaskContent]) -> list[tuple[LesionPrediction, ...]]:
        flips = self.options.flips
        return [
            tuple(predict_lesion(model, content.photograph.rgb, flips=flips) for model in self.models)
            for content in contents
        ]

    def compare(self, content: MaskContent, prediction: tuple[LesionPrediction, ...]) -> list[dict[str, float]]:
        pair = content.photograph, content.reference
        return [
            _compare(*pair, predicted, threshold, self.options.refinement)[1] | content.facts
            for predicted, threshold in zip(prediction, self.thresholds, strict=True)
        ]

    def summarize(self, measured: Sequence[ImageMetrics]) -> MaskEvaluation:
        (image_metrics,) = measured
        subgroups = tuple(
            Subgroup(data, by, value, len(positions), estimate_metrics(image_metrics, positions))
            for data, by, value, positions in divide_into_subgroups(image_metrics, self._metadata)
        )
        parts = estimate_domains(image_metrics, lambda positions: estimate_metrics(image_metrics, positions))
        diagnoses = (group for group in subgroups if group.by == "diagnosis")
        parts |= {f"{group.data}: {group.value}": dict(group.metrics) for group in diagnoses}
        return MaskEvaluation(parts, image_metrics, subgroups, threshold=self.thresholds[0])

    def draw(self, evaluation: MaskEvaluation, folder: Path, run: RunContext) -> dict[str, Path]:
        image_metrics = evaluation.image_metrics
        cases: dict[str, list[EvaluatedCase]] = {}
        for kind, indices in choose_cases(image_metrics).items():
            run.check()
            measured_again = (self._measure_again(image_metrics.samples[index]) for index in indices)
            cases[kind] = [case for case in measured_again if case is not None]
        dice_by_domain: dict[str, list[float]] = {}
        for index, dice in enumerate(image_metrics.column("DI").tolist()):
            if not math.isnan(dice):
                dice_by_domain.setdefault(image_metrics.samples[index].domain, []).append(dice)
        plot_distribution(dict(sorted(dice_by_domain.items())), folder / "dice.png")
        plot_cases(cases, folder / "cases.png")
        shown = {"Distribution of the Dice index": "dice.png", "Best, median and worst images": "cases.png"}
        if evaluation.subgroups:
            bars = [(g.data, g.by, f"{g.value} (n = {g.count})", g.metrics["JA"]) for g in evaluation.subgroups]
            plot_subgroups(bars, folder / "subgroups.png")
            shown = {"Jaccard index of each subgroup": "subgroups.png", **shown}
        return {title: folder / name for title, name in shown.items()}

    def _measure_again(self, sample: Sample) -> EvaluatedCase | None:
        """Measure an image again to draw it, since the pixels of all images do not fit into memory."""
        options = self.options
        try:
            threshold, refinement = self.thresholds[0], options.refinement
            case, _ = measure_sample(sample, self.models[0], threshold, refinement, flips=options.flips)
            return case
        except Cancelled:
            raise
        except Exception:  # any error: the image has its metrics and is not drawn
            log.debug("%s could not be drawn", sample.image, exc_info=True)
            return None

    def describe(self, evaluation: MaskEvaluation, data: Sequence[str]) -> PageContent:
        options = self.options
        limits = "; ".join(
            f"{t.label}: {t.name} {'from' if t.above else 'under'} {t.limit:g}" for t in DIFFICULTY_TRAITS
        )
        with_limits = f" Difficulty, measured with the reference mask: {limits}." if options.difficulty else ""
        return PageContent(
            facts=f"{evaluation.images} images, threshold {evaluation.threshold:g}"
            + (", test-time augmentation (flips)" if options.flips else "")
            + (f", split {options.split}" if options.split else ""),
            next=f"Review the worst images below and the lowest subgroups. Every image is listed in {TABLE}. To "
            "compare this evaluation with that of another model, run napari-melanoma compare.",
            tables=[
                metrics_table(evaluation.parts, data, list_mask_metrics().values()),
                subgroups_table(evaluation.subgroups, SHOWN_IN_SUBGROUPS),
            ],
            notes=[
                f"Intervals: {interval_text(evaluation.image_metrics.measured_samples)}.",
                f"{SIZE.capitalize()}, {SIZE_DEFINITION}.{with_limits}",
            ],
        )


def choose_cases(image_metrics: ImageMetrics) -> dict[str, list[int]]:
    """Return the indices of the images with the best, median and worst Dice index, each image once."""
    indices = image_metrics.measured
    by_dice = indices[np.argsort(image_metrics.column("DI")[indices], kind="stable")]
    count = min(CASES_PER_GROUP, max(1, len(by_dice) // 3))
    start = max(count, (len(by_dice) - count) // 2)
    best = by_dice[max(len(by_dice) - count, start + count) :][::-1]
    return dict(zip(CASES, (list(best), list(by_dice[start : start + count]), list(by_dice[:count])), strict=True))


def estimate_metrics(image_metrics: ImageMetrics, positions: NDArray[np.intp]) -> Estimates:
    """Estimate the mean of each metric over some images.

    ``positions``: int (image,), among the measured images. Returns name to estimate over the images that have the
    metric; a metric that no image has is omitted.
    """
    indices = image_metrics.measured[positions]
    groups = np.unique([image_metrics.samples[index].group for index in indices], return_inverse=True)[1]
    return estimate_columns(metric_columns(image_metrics)[indices], groups)


def metric_columns(image_metrics: ImageMetrics) -> NDArray[np.float64]:
    """Return the metrics of each image, float64 (image, metric), in the order of ``list_mask_metrics``."""
    return image_metrics.table[:, [image_metrics.names.index(name) for name in list_mask_metrics()]]


def estimate_columns(table: NDArray[np.float64], groups: NDArray[np.intp], *, signed: bool = False) -> Estimates:
    """Estimate the mean of each metric; metrics of the same images share their bootstrap samples.

    ``table``: float64 (image, metric), in the order of ``list_mask_metrics``, not-a-number where there is none; with
    ``signed``, of differences. ``groups``: int (image,): the patient or lesion. A metric that no image has is omitted.
    """
    present = ~np.isnan(table)
    names = tuple(list_mask_metrics())
    lowest, highest = np.array([metric.limits for metric in list_mask_metrics().values()]).T
    estimates: Estimates = {}
    for pattern in np.unique(present, axis=1).T:
        columns = np.flatnonzero((present == pattern[:, None]).all(axis=0))
        if not pattern.any():
            continue
        bounds = (-np.inf, np.inf) if signed else (lowest[columns], highest[columns])
        part = bootstrap_means(table[pattern][:, columns], groups[pattern], bounds=bounds)
        estimates |= {names[index]: estimate for index, estimate in zip(columns, part, strict=True)}
    return {name: estimates[name] for name in names if name in estimates}


# Subgroups.


def read_known_metadata(folders: Sequence[Path]) -> KnownMetadata:
    """Read site and skin type of every image from the tables, as harmonized words; "" if unknown."""
    metadata: dict[tuple[str, str], tuple[str, ...]] = {}
    for folder in folders:
        table = next((folder / name for name in TABLE_NAMES if (folder / name).is_file()), None)
        harmonizer = Harmonizer()
        for row in iter_table_rows(table) if table else ():
            harmonized = harmonizer.harmonize_row(row)
            metadata[folder.name, row["image_id"]] = tuple(
                intern(harmonized.get(column, "")) for column in METADATA_COLUMNS
            )
    return metadata


def divide_into_subgroups(
    image_metrics: ImageMetrics, metadata: KnownMetadata
) -> Iterator[tuple[str, str, str, NDArray[np.intp]]]:
    """Divide the images by diagnosis, size of the lesion, site, skin type and difficulty; see ``divide_by_values``."""
    measured = image_metrics.measured
    all_samples = image_metrics.measured_samples

    def groupings(positions: NDArray[np.intp]) -> Iterable[tuple[str, NDArray[np.str_]]]:
        samples, indices = [all_samples[position] for position in positions], measured[positions]
        yield "diagnosis", combine_rare_values(sample.diagnosis or NOT_KNOWN for sample in samples)
        share = image_metrics.column(REFERENCE_SHARE)[indices]
        yield SIZE, np.array(SIZE_NAMES)[np.searchsorted(SIZE_LIMITS, share, side="right")]
        values_by_image = [metadata.get(sample.key, ("",) * len(METADATA_COLUMNS)) for sample in samples]
        for index, name in enumerate(METADATA_COLUMNS.values()):
            yield name, combine_rare_values(words[index] or NOT_KNOWN for words in values_by_image)
        for trait in DIFFICULTY_TRAITS:
            values = image_metrics.column(trait.name)[indices]
            yield trait.label, np.where(np.isnan(values), NOT_KNOWN, np.where(trait.applies_to(values), "yes", "no"))

    return divide_by_values(np.array([sample.domain for sample in all_samples]), groupings)


# Stored evaluations.


@dataclass(frozen=True)
class EvaluatedModel:
    """A model with its threshold and the metrics of each image.

    ``options``: ``EvaluationOptions`` as plain values. ``warnings``: of its evaluation. ``overlap``: ``Overlap.facts``;
    None in evaluations of older versions.
    """

    name: str
    fingerprint: str
    threshold: float
    image_metrics: ImageMetrics
    options: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    overlap: Mapping[str, Any] | None = None


def read_evaluation(folder: Path) -> EvaluatedModel:
    """Read a stored evaluation."""
    try:
        about = read_json(folder / METRICS_FILE)
        if "classes" in about:
            raise InputError(
                f"{folder} is the evaluation of a model of several classes ({', '.join(about['classes'])}). Compare "
                "two such models, not their evaluations: napari-melanoma compare --model OLD --model NEW "
                "--data DATASET --out DIR (Python: nm.compare)."
            )
        image_metrics = ImageMetrics((*list_mask_metrics(), REFERENCE_SHARE))
        with (folder / TABLE).open(encoding="utf-8", newline="") as file:
            for row in read_csv_dicts(file):
                sample = read_sample(row)
                if row["status"] == "done":
                    image_metrics.add(sample, {name: float(row[name]) for name in image_metrics.names if row.get(name)})
                else:
                    image_metrics.add_failed(sample, row["error"])
        model, warnings = about["model"], (*about.get("warnings", ()), *missing_overlap_warning(about))
        threshold, options, overlap = about["threshold"], about["options"], about.get("training_overlap")
        return EvaluatedModel(model["name"], model["fingerprint"], threshold, image_metrics, options, warnings, overlap)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} contains no evaluation that this version can read ({type(error).__name__}: "
            f"{parse_error_reason(error)}). Run it again: "
            "napari-melanoma evaluate --model BUNDLE --data DATASET --out DIR (Python: nm.evaluate)."
        ) from error

"""Evaluation of segmentation models of one lesion: masks compared with reference masks."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset import TABLE_NAMES, check_lesion_masks
from napari_melanoma.data.dataset_table import iter_table_rows
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.partial_results import stamp_files
from napari_melanoma.evaluation.pipeline import (
    ALL_IMAGES,
    NOT_KNOWN,
    SIZE_NAMES,
    TABLE,
    Estimates,
    Evaluation,
    EvaluationTask,
    PageContent,
    SelectionOptions,
    Subgroup,
    combine_rare_values,
    divide_by_values,
    estimate_domains,
    group_numbers,
    identify_model,
    interval_text,
    measured_rows,
    metrics_table,
    read_masked_samples,
    run_evaluation,
    subgroups_table,
)
from napari_melanoma.figures.evaluation import (
    CASES,
    MAX_SUBGROUPS,
    EvaluatedCase,
    plot_cases,
    plot_distribution,
    plot_subgroups,
)
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
    from pandas import DataFrame

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


class EvaluationOptions(SelectionOptions):
    """Which images are measured, and how masks are made."""

    threshold: float | None = Field(
        None, gt=0, lt=1, description="decision threshold of the lesion probability; by default that of the model"
    )
    refinement: RefinementConfig = RefinementConfig()
    flips: bool = Field(False, description="test-time augmentation: average over four flips")
    difficulty: bool = Field(
        True,
        description="measure what makes each image difficult (hair, low contrast ...), for subgroups by difficulty",
    )


def evaluate_masks(
    model: Segmenter, datasets: Sequence[Path], out: Path, options: EvaluationOptions, *, run: RunContext
) -> Evaluation:
    """Evaluate a segmentation model and write the results, or resume where an earlier call was stopped.

    The result has TJA, JA, DI, AC, SE and SP (ISIC 2018), Hausdorff-95 and boundary F1, averaged over images, with 95 %
    intervals over patients or lesions, for all images, each data set and each of its subgroups.
    """
    check_lesion_masks(datasets)
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
class MaskContent:
    """A photograph with its reference mask, and what is measured of them alone."""

    photograph: Photograph
    reference: NDArray[np.bool_]
    facts: dict[str, float]


class MaskTask(EvaluationTask[MaskContent, tuple[LesionPrediction, ...], Evaluation]):
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
        self.thresholds = [
            model.info.config.threshold if options.threshold is None else options.threshold for model in models
        ]
        self.subgroup_metrics = tuple(list_mask_metrics())

    @property
    def names(self) -> list[tuple[str, ...]]:
        return [(*list_mask_metrics(), *FACTS)] * len(self.models)

    @property
    def settings(self) -> dict[str, object]:
        models = zip(self.models, self.thresholds, strict=True)
        return {
            "models": [[*identify_model(model), threshold] for model, threshold in models],
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

    def predict_cases(self, sample: Sample) -> list[EvaluatedCase]:
        """Measure an image again to draw it with each model, since the pixels of all do not fit into memory."""
        options = self.options
        return [
            measure_sample(sample, model, threshold, options.refinement, flips=options.flips)[0]
            for model, threshold in zip(self.models, self.thresholds, strict=True)
        ]

    def summarize(self, tables: Sequence[DataFrame]) -> Evaluation:
        (table,), threshold = tables, self.thresholds[0]
        rows = measured_rows(table)
        subgroups = tuple(
            Subgroup(data, by, value, len(part), estimate_masks(part))
            for data, by, value, part in divide_by_values(rows, self._groupings)
        )
        parts = estimate_domains(rows, estimate_masks)
        parts |= {f"{one.data}: {one.value}": dict(one.metrics) for one in subgroups if one.by == "diagnosis"}
        whole, enough = parts[ALL_IMAGES], [group for group in subgroups if group.count >= MIN_IMAGES]
        means = f"Dice {whole['DI']}, Jaccard {whole['JA']}, thresholded Jaccard {whole['TJA']}"
        lead = f"{means} (mean over images, 95 % interval)."
        if enough:
            low = min(enough, key=lambda group: group.metrics["JA"].mean)
            lead += (
                f" Lowest Jaccard index of a subgroup with at least {MIN_IMAGES} images: {low.metrics['JA']} "
                f"({low.data}, {low.by}: {low.value}, n = {low.count})."
            )
        dice = f"Dice {whole['DI']} (95 % interval) over {whole['DI'].count} images, at threshold {threshold:g}"
        settings = {"threshold": threshold}
        return Evaluation(parts=parts, table=table, lead=lead, headline=dice, settings=settings, subgroups=subgroups)

    def _groupings(self, rows: DataFrame) -> Iterable[tuple[str, NDArray[np.str_]]]:
        """Yield what divides the images into subgroups: diagnosis, size of the lesion, site, skin type, difficulty."""
        yield "diagnosis", combine_rare_values(diagnosis or NOT_KNOWN for diagnosis in rows["diagnosis"])
        yield SIZE, np.array(SIZE_NAMES)[np.searchsorted(SIZE_LIMITS, rows[REFERENCE_SHARE], side="right")]
        words = [self._metadata.get(sample.key, ("",) * len(METADATA_COLUMNS)) for sample in rows["sample"]]
        for index, name in enumerate(METADATA_COLUMNS.values()):
            yield name, combine_rare_values(values[index] or NOT_KNOWN for values in words)
        for trait in DIFFICULTY_TRAITS:
            values = rows[trait.name].to_numpy()
            yield trait.label, np.where(np.isnan(values), NOT_KNOWN, np.where(trait.applies_to(values), "yes", "no"))

    def draw(self, evaluation: Evaluation, folder: Path, run: RunContext) -> dict[str, Path]:
        rows = measured_rows(evaluation.table)
        cases: dict[str, list[EvaluatedCase]] = {kind: [] for kind in CASES}
        for kind, samples in choose_cases(rows).items():
            for sample in samples:
                run.check()
                try:
                    cases[kind] += self.predict_cases(sample)
                except Cancelled:
                    raise
                except Exception:  # any error: the image has its metrics and is not drawn
                    log.debug("%s could not be drawn", sample.image, exc_info=True)
        plot_distribution({str(name): list(dice) for name, dice in rows.groupby("domain")["DI"]}, folder / "dice.png")
        plot_cases(cases, folder / "cases.png")
        shown = {"Distribution of the Dice index": "dice.png", "Best, median and worst images": "cases.png"}
        if evaluation.subgroups:
            bars = [(g.data, g.by, f"{g.value} (n = {g.count})", g.metrics["JA"]) for g in evaluation.subgroups]
            plot_subgroups(bars, folder / "subgroups.png")
            which = "each subgroup" if len(bars) <= MAX_SUBGROUPS else f"the first {MAX_SUBGROUPS} subgroups"
            shown = {f"Jaccard index of {which}": "subgroups.png", **shown}
        return {title: folder / name for title, name in shown.items()}

    def describe(self, evaluation: Evaluation) -> PageContent:
        options = self.options
        limits = "; ".join(
            f"{t.label}: {t.name} {'from' if t.above else 'under'} {t.limit:g}" for t in DIFFICULTY_TRAITS
        )
        with_limits = f" Difficulty, measured with the reference mask: {limits}." if options.difficulty else ""
        return PageContent(
            facts=f"{evaluation.images} images, threshold {self.thresholds[0]:g}"
            + (", test-time augmentation (flips)" if options.flips else "")
            + (f", split {options.split}" if options.split else ""),
            next=f"Review the worst images below and the lowest subgroups. Every image is listed in {TABLE}. To "
            "compare this evaluation with that of another model, run napari-melanoma compare.",
            tables=[
                metrics_table(evaluation, list_mask_metrics().values()),
                subgroups_table(evaluation.subgroups, SHOWN_IN_SUBGROUPS),
            ],
            notes=[
                f"Intervals: {interval_text(evaluation.measured)}.",
                f"{SIZE.capitalize()}, {SIZE_DEFINITION}.{with_limits}",
            ],
        )


def choose_cases(rows: DataFrame) -> dict[str, list[Sample]]:
    """Return the images with the best, median and worst Dice index, each image once."""
    by_dice = rows.sort_values(["DI", "image_id"])["sample"].tolist()
    count = min(CASES_PER_GROUP, max(1, len(by_dice) // 3))
    start = max(count, (len(by_dice) - count) // 2)
    best = by_dice[max(len(by_dice) - count, start + count) :][::-1]
    return dict(zip(CASES, (best, by_dice[start : start + count], by_dice[:count]), strict=True))


def estimate_masks(rows: DataFrame, first: DataFrame | None = None) -> Estimates:
    """Estimate the mean of each metric over the images that have it, with 95 % intervals over patients or lesions.

    ``first``: the same images under another model; the differences from it are estimated then, paired by image. Metrics
    of the same images share their bootstrap samples. A metric that no image has is omitted.
    """
    names, groups = list(list_mask_metrics()), group_numbers(rows)
    table = rows.reindex(columns=names).to_numpy(np.float64)
    if first is not None:
        table = table - first.reindex(columns=names).to_numpy(np.float64)
    present = ~np.isnan(table)
    lowest, highest = np.array([metric.limits for metric in list_mask_metrics().values()]).T
    estimates: Estimates = {}
    for pattern in np.unique(present, axis=1).T:
        columns = np.flatnonzero((present == pattern[:, None]).all(axis=0))
        if not pattern.any():
            continue
        bounds = (lowest[columns], highest[columns]) if first is None else (-np.inf, np.inf)
        part = bootstrap_means(table[pattern][:, columns], groups[pattern], bounds=bounds)
        estimates |= {names[index]: estimate for index, estimate in zip(columns, part, strict=True)}
    return {name: estimates[name] for name in names if name in estimates}


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

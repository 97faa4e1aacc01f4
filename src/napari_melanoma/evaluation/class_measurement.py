"""Run classifiers on images, with predicted depths, in a resumable pipeline."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.pipeline import StageLimit, map_ahead, usable_cores
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.features.encoding import TableValues, read_number, read_table_values
from napari_melanoma.data.partial_results import PartialResults, stamp_files
from napari_melanoma.evaluation.mask_measurement import MeasuredItem, collect_metrics
from napari_melanoma.evaluation.results import REFERENCE_SHARE, ImageMetrics
from napari_melanoma.imaging.refinement import refine_mask, smooth_probability
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.analysis import LesionOptions
from napari_melanoma.lesion.batch import EXTRA_THREADS, STAGE_BYTES
from napari_melanoma.metrics.agreement import MIN_CASES, DepthIntervals, decode_depths, depth_metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.classify import ClassifierModel
    from napari_melanoma.classification.predictor import EncoderOutput
    from napari_melanoma.lesion.analysis import ProbabilityModel
    from napari_melanoma.metrics.statistics import Estimate
    from napari_melanoma.models.bundle import BundleInfo

BATCH_IMAGES = 16  # views per batch of a network
DISTANCE = "distance"
ALL_FIELDS, NO_FIELDS = "form", "empty"
DEPTH_MEASURES = ("depth_told", "depth_spread")  # on the network's scale: the depth, and the logarithm of its variance
DEPTH_COLUMNS = ("depth_said", "depth_low", "depth_high", "depth_mm")
TITLE = "Predicted and measured depth"
Rows = Mapping[tuple[str, str], Mapping[str, str]]
"""Data set and image id to the row of the table."""
log = logging.getLogger(__name__)


class ClassEvaluationOptions(Config):
    """Which images a classifier is evaluated on, and its inputs."""

    split: str | None = Field(None, description="only images of this split, such as 'val'; none: all images")
    include_seen: bool = Field(False, description="also measure images that the model was trained on")
    target: str = Field(
        "", description="column that contains the class; none: that of the positive class, or diagnosis"
    )
    masks: Literal["reference", "predicted"] = Field(
        "reference", description="source of the region of interest: the masks of the data set, or predicted masks"
    )
    segmenter: str = Field("lesion-small", min_length=1, description="the model that predicts the masks")
    sensitivity: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="sensitivity on the reference cases that sets the threshold; none: the model's own",
    )


def measured_names(model: ClassifierModel) -> tuple[str, ...]:
    """Name the values that are stored for each image.

    Logits of each class with all clinical metadata, without each field, and without any; the distance from the
    training cases; the share of the mask; the depth, if the model predicts one.
    """
    logits = (
        logit_name(one, index) for one in field_variants(model) for index in range(len(model.info.config.classes))
    )
    return (*logits, DISTANCE, REFERENCE_SHARE, *depth_names(model.info))


def field_variants(model: ClassifierModel) -> tuple[str, ...]:
    """Name the variants of clinical metadata that a model is run with.

    All fields, then without each field, then none; only the first for a model that uses no metadata.
    """
    fields = model.encoding.fields
    return (ALL_FIELDS, *(f"without_{name}" for name in fields), NO_FIELDS) if fields else (ALL_FIELDS,)


def logit_name(variant: str, index: int) -> str:
    """Name the logit of a class."""
    return f"{variant}_logit_{index}"


@dataclass(frozen=True)
class _ClassItem(MeasuredItem):
    """An image with its pixels, as long as they are needed, and its index."""

    index: int = 0
    rgb: NDArray[np.uint8] | None = None
    mask: NDArray[np.bool_] | None = None


def measure_classifiers(
    models: Sequence[ClassifierModel],
    samples: Sequence[Sample],
    rows: Rows,
    options: ClassEvaluationOptions,
    out: Path,
    *,
    segmenter: ProbabilityModel | None = None,
    run: RunContext,
) -> list[ImageMetrics]:
    """Run classifiers on the same images, each read once, or resume where an earlier call was stopped.

    Returns the values of each model that ``measured_names`` names. An image that fails under one model counts as failed
    under all, as does one whose mask is missing or empty if the model uses the region around the lesion.
    """
    found = [ImageMetrics(measured_names(model)) for model in models]
    partial = PartialResults(out, _measurement_settings(models, options, segmenter))
    pipeline = _ClassPipeline(models, samples, rows, partial, segmenter, run)
    return collect_metrics(pipeline.results(), len(samples), found, partial, out, run)


class _ClassPipeline:
    """Read images and run the networks, two stages that overlap."""

    def __init__(
        self,
        models: Sequence[ClassifierModel],
        samples: Sequence[Sample],
        rows: Rows,
        partial: PartialResults,
        segmenter: ProbabilityModel | None,
        run: RunContext,
    ) -> None:
        self._models, self._samples, self._partial = models, samples, partial
        self._segmenter, self._run = segmenter, run
        metadata = [rows.get((sample.domain, sample.image_id), {}) for sample in samples]
        self._values = [read_table_values(metadata, model.encoding) for model in models]
        columns = sorted({name for model in models for name in model.encoding.fields})
        self._fields = [[row.get(name, "") for name in columns] for row in metadata]

    def results(self) -> Iterator[_ClassItem]:
        """Yield the measured images in order."""
        workers = usable_cores() + EXTRA_THREADS
        pool = ThreadPoolExecutor(workers, thread_name_prefix="measuring")
        try:
            read = map_ahead(
                pool, self._read, enumerate(self._samples), StageLimit(4 * workers, STAGE_BYTES), self._run
            )
            while batch := list(islice(read, BATCH_IMAGES)):
                self._run.check()
                yield from self._predict(batch)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, numbered: tuple[int, Sample]) -> _ClassItem:
        """Look up stored values of an image, or else read it (in a thread)."""
        index, sample = numbered
        text = json.dumps([stamp_files(sample), self._fields[index]])
        item = _ClassItem(sample, hashlib.sha256(text.encode()).hexdigest()[:16], index=index)
        values = self._partial.pop(sample, item.seen)
        if values is not None:
            return replace(item, known=True, values=tuple(values))
        try:
            rgb = read_photograph(sample.image).rgb
            own = sample.mask is not None and self._segmenter is None
            return replace(item, rgb=rgb, mask=read_mask(sample.mask) if own and sample.mask else None)
        except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
            return replace(item, error=error)

    def _predict(self, batch: Sequence[_ClassItem]) -> list[_ClassItem]:
        """Run the networks on a batch of images."""
        items = list(batch)
        views: dict[int, list[NDArray[np.uint8]]] = {}
        for number, item in enumerate(items):
            if item.rgb is None:
                continue
            try:
                mask = self._predict_mask(item.rgb) if self._segmenter is not None else item.mask
                views[number] = [model.make_view(item.rgb, mask).image for model in self._models]
                share = {} if mask is None else {REFERENCE_SHARE: float(mask.mean())}
                items[number] = replace(item, rgb=None, mask=None, values=(share,) * len(self._models))
            except Cancelled:
                raise
            except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
                items[number] = replace(item, rgb=None, mask=None, error=error)
        for index, model in enumerate(self._models) if views else ():
            numbers = list(views)
            indices = np.array([items[number].index for number in numbers])
            predicted = _predict_values(
                model, [views[number][index] for number in numbers], self._values[index].select_rows(indices)
            )
            for number, added in zip(numbers, predicted, strict=True):
                values = list(items[number].values)
                values[index] = values[index] | added
                items[number] = replace(items[number], values=tuple(values))
        return items

    def _predict_mask(self, rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Segment the lesion with the full post-processing."""
        assert self._segmenter is not None
        refinement = LesionOptions().refinement
        probability = smooth_probability(self._segmenter.probability(rgb), refinement)
        return refine_mask(probability >= self._segmenter.info.config.threshold, refinement)


def _predict_values(
    model: ClassifierModel, views: Sequence[NDArray[np.uint8]], values: TableValues
) -> list[dict[str, float]]:
    """Values of a batch of images under one model."""
    encoded = model.run_encoder(views)
    found: list[dict[str, float]] = [{} for _ in encoded]
    for variant, gone in zip(field_variants(model), _omitted_fields(len(model.encoding.fields)), strict=True):
        for values_of_image, logits in zip(
            found, model.run_head_on_values(encoded, values.drop_columns(gone)).tolist(), strict=True
        ):
            values_of_image |= {logit_name(variant, index): value for index, value in enumerate(logits)}
    for values_of_image, one in zip(found, encoded, strict=True):
        distance = model.calibration.distance(one.embedding)
        values_of_image |= ({} if distance is None else {DISTANCE: distance}) | depth_values(one)
    return found


def _omitted_fields(fields: int) -> Iterable[NDArray[np.bool_]]:
    """Return the omitted fields of each variant of ``field_variants``."""
    no_field, every_field = np.zeros(fields, bool), np.ones(fields, bool)
    return [no_field, *np.eye(fields, dtype=bool), every_field] if fields else [no_field]


def _measurement_settings(
    models: Sequence[ClassifierModel], options: ClassEvaluationOptions, segmenter: ProbabilityModel | None
) -> dict[str, object]:
    """Return all settings that the values of an image depend on."""
    return {
        "models": [[model.info.fingerprint, model.device] for model in models],
        "drawn_by": None if segmenter is None else segmenter.info.fingerprint,
        "masks": options.masks,
        "version": collect_provenance()["version"],
    }


@dataclass(frozen=True, eq=False)
class EvaluatedDepths:
    """Depths of the images that could be measured, in order.

    ``predicted``: in mm, with intervals. ``true_mm``: float64 (image,), NaN if unknown.
    """

    predicted: DepthIntervals
    true_mm: NDArray[np.float64]

    def estimates(self, groups: Sequence[object], indices: NDArray[np.bool_] | None = None) -> dict[str, Estimate]:
        """Estimate the metrics of ``metrics.agreement.DEPTH_METRICS``; empty if too few depths are known.

        ``indices``: bool (image,): selected images; all by default.
        """
        chosen = np.ones(len(self.true_mm), bool) if indices is None else indices
        return depth_metrics(DepthIntervals(*(each[chosen] for each in self.predicted)), self.true_mm[chosen], groups)

    def columns(self, index: int) -> dict[str, object]:
        """Return the ``DEPTH_COLUMNS`` of an image in ``per_image.csv``: numbers in mm, "" if unknown."""
        numbers = (*(each[index] for each in self.predicted), self.true_mm[index])
        return {
            name: "" if np.isnan(number) else round(float(number), 4)
            for name, number in zip(DEPTH_COLUMNS, numbers, strict=True)
        }

    def draw(self, folder: Path) -> dict[str, str]:
        """Plot predicted over measured depths and their differences: title to file name; empty if too few are known."""
        from napari_melanoma.risk.figures import draw_depths

        known = ~np.isnan(self.true_mm)
        if known.sum() < MIN_CASES:
            return {}
        draw_depths({"": (self.predicted.mm[known], self.true_mm[known])}, folder / "depth.png")
        return {TITLE: "depth.png"}


def depth_values(encoded: EncoderOutput) -> dict[str, float]:
    """Return the stored depth values of an image."""
    return {} if encoded.depth is None else dict(zip(DEPTH_MEASURES, map(float, encoded.depth), strict=False))


def depth_names(info: BundleInfo) -> tuple[str, ...]:
    """Name the stored depth values of an image; none for a bundle that predicts no depth."""
    return DEPTH_MEASURES if info.config.classifier is not None and info.config.classifier.depth is not None else ()


def evaluated_depths(info: BundleInfo, figures: ImageMetrics, rows: Rows) -> EvaluatedDepths | None:
    """Combine predicted and measured depths of ``figures.measured``; None if the model predicts no depth."""
    output = info.config.classifier.depth if info.config.classifier else None
    if output is None:
        return None
    indices = figures.measured
    stored = np.stack([figures.column(name)[indices] for name in DEPTH_MEASURES], axis=1)
    stored = stored if not np.isnan(stored[:, 1]).all() else stored[:, :1]
    metadata: list[Mapping[str, str]] = [
        rows.get((sample.domain, sample.image_id), {}) for sample in (figures.samples[index] for index in indices)
    ]
    return EvaluatedDepths(
        decode_depths(stored, output), np.array([read_number(row.get(output.column)) for row in metadata], np.float64)
    )

"""Measure segmentation models on images, in a resumable pipeline of reading, prediction and comparison."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.context import Cancelled, Progress, RunContext, StageLimit, map_ahead, usable_cores
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.partial_results import PartialResults, stamp_files
from napari_melanoma.evaluation.mask_results import REFERENCE_SHARE, EvaluationOptions, ImageMetrics, none_measured
from napari_melanoma.figures.evaluation import EvaluatedCase
from napari_melanoma.imaging.postprocessing import RefinementConfig, make_mask
from napari_melanoma.io.photographs import Photograph, count_pixels, read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.analysis import find_uncertain_band, predict_lesion
from napari_melanoma.lesion.batch import EXTRA_THREADS, STAGE_BYTES, describe_error
from napari_melanoma.lesion.segmentation import LesionPrediction
from napari_melanoma.metrics.overlap import boundary_metrics, overlap_metrics
from napari_melanoma.metrics.segmentation_difficulty import measure_difficulty

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.lesion.analysis import ProbabilityModel

log = logging.getLogger(__name__)


def measurement_threshold(model: ProbabilityModel, options: EvaluationOptions) -> float:
    """Return the threshold at which a model is measured: its own unless the options set one."""
    return model.info.config.threshold if options.threshold is None else options.threshold


def measure_models(
    models: Sequence[ProbabilityModel],
    samples: Sequence[Sample],
    options: EvaluationOptions,
    out: Path,
    *,
    run: RunContext,
) -> list[ImageMetrics]:
    """Measure models on the same images, each read once, or resume where an earlier call was stopped.

    Partial results are stored in ``out`` every hundred images; after writing the results, the caller calls
    ``data.partial_results.remove_partial_results``.

    Returns the metrics of each model. An image that fails under one model counts as failed under all, and is tried
    again by the next call.
    """
    metrics_by_model = [ImageMetrics() for _ in models]
    partial = PartialResults(out, _measurement_settings(models, options))
    pipeline = _MaskPipeline(models, options, partial, run)
    return collect_metrics(pipeline.results(samples), len(samples), metrics_by_model, partial, out, run)


def measure_sample(
    sample: Sample,
    model: ProbabilityModel,
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
    options = EvaluationOptions(threshold=threshold, refinement=refinement, flips=flips)
    photograph, reference = read_pair(sample)
    prediction = predict_lesion(model, photograph.rgb, flips=flips)
    mask, metrics = _metrics(photograph, reference, prediction, threshold, options)
    return EvaluatedCase(sample.image_id, metrics["DI"], photograph.rgb, mask, reference), metrics


def describe_failure(sample: Sample, error: Exception, out: Path) -> str:
    """Describe why an image could not be measured, without folder names."""
    log.debug("%s failed", sample.image, exc_info=error)
    text = describe_error(error, sample.image, out)
    return text if sample.mask is None else text.replace(str(sample.mask), f"the mask of '{sample.image_id}'")


@dataclass(frozen=True)
class MeasuredItem:
    """An image in a measuring pipeline; after the last stage with its metrics under each model, or with an error.

    ``stamp`` identifies the inputs of the measurement; ``is_stored``: the metrics are those of an interrupted call.
    """

    sample: Sample
    stamp: str
    is_stored: bool = False
    values: tuple[dict[str, float], ...] = ()
    error: Exception | None = None


def collect_metrics(
    items: Iterable[MeasuredItem],
    count: int,
    metrics_by_model: list[ImageMetrics],
    partial: PartialResults,
    out: Path,
    run: RunContext,
) -> list[ImageMetrics]:
    """Collect the metrics of each model from a measuring pipeline, and store partial results in between.

    ``count``: number of images. ``metrics_by_model``: where the metrics of each model are added. ``out``: the output
    folder, which is removed from messages.
    """
    try:
        for done, item in enumerate(items, start=1):
            if item.error is None and not item.is_stored:
                partial.add(item.sample, item.stamp, item.values)
            error = "" if item.error is None else describe_failure(item.sample, item.error, out)
            for index, metrics in enumerate(metrics_by_model):
                metrics.add_failed(item.sample, error) if error else metrics.add(item.sample, item.values[index])
            run.report(Progress(done, count, "Measuring"))
    finally:
        partial.flush()
    failed = metrics_by_model[0].failed
    if len(failed) == count:
        raise none_measured(failed)
    return metrics_by_model


@dataclass(frozen=True)
class _MaskItem(MeasuredItem):
    """An image in the pipeline: its size in memory in bytes, and its pixels and predictions while they are needed."""

    size: int = 0
    opened: tuple[Photograph, NDArray[np.bool_]] | None = None
    facts: dict[str, float] | None = None
    predictions: tuple[LesionPrediction, ...] = ()


class _MaskPipeline:
    """Read images, predict and compare with the reference: three stages that overlap."""

    def __init__(
        self, models: Sequence[ProbabilityModel], options: EvaluationOptions, partial: PartialResults, run: RunContext
    ) -> None:
        self._models, self._options, self._partial, self._run = models, options, partial, run
        self._workers = usable_cores() + EXTRA_THREADS
        most = 4 * self._workers
        self._count_limit = StageLimit(most)
        self._memory_limit = StageLimit(most, STAGE_BYTES, lambda item: item.size)

    def results(self, samples: Iterable[Sample]) -> Iterator[_MaskItem]:
        """Yield the measured images in order."""
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="measuring")
        try:
            looked_up = map_ahead(pool, self._begin, samples, self._count_limit, self._run)
            read = map_ahead(pool, self._read, looked_up, self._memory_limit, self._run)
            yield from map_ahead(pool, self._compare, self._predict(read), self._memory_limit, self._run)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, sample: Sample) -> _MaskItem:
        """Look up the stored metrics of an image, or else the memory that it needs (in a thread)."""
        stamp = f"{stamp_files(sample)} {sample.pixel_size}"
        values = self._partial.pop(sample, stamp)
        if values is not None:
            return _MaskItem(sample, stamp, is_stored=True, values=tuple(values))
        return _MaskItem(sample, stamp, size=(3 + 4 * len(self._models)) * count_pixels(sample.image))

    def _read(self, item: _MaskItem) -> _MaskItem:
        """Read an image and measure its difficulty (in a thread)."""
        if item.is_stored:
            return item
        try:
            photograph, reference = read_pair(item.sample)
            facts = {REFERENCE_SHARE: float(reference.mean())}
            if self._options.difficulty:
                facts |= measure_difficulty(photograph.rgb, reference)
        except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
            return replace(item, error=error)
        return replace(item, opened=(photograph, reference), facts=facts)

    def _predict(self, items: Iterable[_MaskItem]) -> Iterator[_MaskItem]:
        """Run the networks, in the thread of the caller."""
        for item in items:
            self._run.check()
            if item.opened is None:
                yield item
                continue
            rgb = item.opened[0].rgb
            try:
                predictions = tuple(predict_lesion(model, rgb, flips=self._options.flips) for model in self._models)
            except Cancelled:
                raise
            except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
                yield replace(item, error=error, opened=None)
            else:
                yield replace(item, predictions=predictions)

    def _compare(self, item: _MaskItem) -> _MaskItem:
        """Make the masks and compare them with the reference (in a thread)."""
        if item.opened is None:
            return item
        bare = replace(item, opened=None, facts=None, predictions=())
        try:
            values = tuple(
                _metrics(*item.opened, prediction, measurement_threshold(model, self._options), self._options)[1]
                | (item.facts or {})
                for model, prediction in zip(self._models, item.predictions, strict=True)
            )
        except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
            return replace(bare, error=error)
        return replace(bare, values=values)


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


def _metrics(
    photograph: Photograph,
    reference: NDArray[np.bool_],
    prediction: LesionPrediction,
    threshold: float,
    options: EvaluationOptions,
) -> tuple[NDArray[np.bool_], dict[str, float]]:
    """Make the mask of a prediction and compare it with the reference."""
    mask = make_mask(prediction.probability, threshold, options.refinement)
    metrics = overlap_metrics(mask, reference) | boundary_metrics(mask, reference, photograph.pixel_size)
    band = find_uncertain_band(prediction, mask, threshold, options.refinement)
    if band is not None:
        metrics |= _band_metrics(band, mask, reference)
    return mask, metrics


def _band_metrics(band: NDArray[np.bool_], mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> dict[str, float]:
    """Measure the area of the uncertain band and the share of errors in it."""
    wrong = mask != reference
    area, errors = np.count_nonzero(mask | band), np.count_nonzero(wrong)
    return {
        "band_share": np.count_nonzero(band) / area if area else math.nan,
        "errors_in_band": np.count_nonzero(band & wrong) / errors if errors else math.nan,
    }


def _measurement_settings(models: Sequence[ProbabilityModel], options: EvaluationOptions) -> dict[str, object]:
    """Return all settings that the metrics of an image depend on."""
    return {
        "models": [[model.info.fingerprint, model.device, measurement_threshold(model, options)] for model in models],
        "options": options.model_dump(mode="json", exclude={"split"}),
        "version": collect_provenance()["version"],
    }

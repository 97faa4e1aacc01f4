"""Images shown to classifiers, and their predicted depths, kept as they are done."""

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
from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.pipeline import StageLimit, map_ahead, usable_cores
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.features.encoding import TableValues, read_number, read_table_values
from napari_melanoma.data.partial_results import PartialResults, stamp_files
from napari_melanoma.evaluation.mask_measurement import describe_failure
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

BATCH_IMAGES = 16  # views that a network looks at in one pass
DISTANCE = "distance"
ALL_FIELDS, NO_FIELDS = "form", "empty"
Rows = Mapping[tuple[str, str], Mapping[str, str]]
"""Data set and image id to what the table says."""
log = logging.getLogger(__name__)


class ClassEvaluationOptions(Config):
    """What is measured of a classifier, and what it gets to see."""

    split: str | None = Field(None, description="only images of this split, such as 'val'; none: every image")
    include_seen: bool = Field(False, description="measure images that the model was trained on, too")
    target: str = Field("", description="column that holds the answer; none: the positive class's own, or diagnosis")
    masks: Literal["reference", "predicted"] = Field(
        "reference", description="where the roi comes from: the data set's masks, or those that a model draws"
    )
    segmenter: str = Field("lesion-small", min_length=1, description="the model that draws them")
    sensitivity: float | None = Field(
        None, gt=0, lt=1, description="at which probabilities are cut, by the reference cases; none: the model's own"
    )


def measured_names(model: ClassifierModel) -> tuple[str, ...]:
    """Name what is kept of an image.

    Logits of each class with the whole form, without each of its columns, and without any; the distance from the
    training cases; the share of the mask; the depth, where it tells one.
    """
    logits = (
        logit_name(one, place) for one in field_variants(model) for place in range(len(model.info.config.classes))
    )
    return (*logits, DISTANCE, REFERENCE_SHARE, *depth_names(model.info))


def field_variants(model: ClassifierModel) -> tuple[str, ...]:
    """Name the forms that a model is asked with.

    Returns the whole form, then without each column, then the empty one; the whole alone where it asks for none.
    """
    fields = model.encoding.fields
    return (ALL_FIELDS, *(f"without_{name}" for name in fields), NO_FIELDS) if fields else (ALL_FIELDS,)


def logit_name(variant: str, place: int) -> str:
    """Name a logit."""
    return f"{variant}_logit_{place}"


@dataclass(frozen=True)
class _ClassItem:
    """An image on its way: what is needed of it, and in the end its figures under each model or an error."""

    place: int
    sample: Sample
    seen: str
    known: bool = False
    values: tuple[dict[str, float], ...] = ()
    error: Exception | None = None
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
    """Ask classifiers about the same images, each of which is read once, or go on where an earlier call was stopped.

    One a model, with what ``figure_names`` names. An image that fails under one counts as failed under all: one whose
    mask is missing or empty where the model looks at the lesion's square, too.
    """
    found = [ImageMetrics(measured_names(model)) for model in models]
    kept = PartialResults(out, _measurement_settings(models, options, segmenter))
    asking = _ClassPipeline(models, samples, rows, kept, segmenter, run)
    try:
        for done, item in enumerate(asking.results(), start=1):
            if item.error is None and not item.known:
                kept.add(item.sample, item.seen, item.values)
            error = "" if item.error is None else describe_failure(item.sample, item.error, out)
            for place, figures in enumerate(found):
                figures.add_failed(item.sample, error) if error else figures.add(item.sample, item.values[place])
            run.report(Progress(done, len(samples), "Asking"))
    finally:
        kept.flush()
    failed = found[0].failed
    if len(failed) == len(samples):
        why = f"; '{failed[0].sample.image_id}': {failed[0].error}" if failed else ""
        raise DataSetError(f"none of {len(failed)} images could be measured{why}")
    return found


class _ClassPipeline:
    """Takes images through reading and the networks, two stages that overlap."""

    def __init__(
        self,
        models: Sequence[ClassifierModel],
        samples: Sequence[Sample],
        rows: Rows,
        kept: PartialResults,
        segmenter: ProbabilityModel | None,
        run: RunContext,
    ) -> None:
        self._models, self._samples, self._kept = models, samples, kept
        self._segmenter, self._run = segmenter, run
        said = [rows.get((sample.domain, sample.image_id), {}) for sample in samples]
        self._values = [read_table_values(said, model.encoding) for model in models]
        columns = sorted({name for model in models for name in model.encoding.fields})
        self._fields = [[row.get(name, "") for name in columns] for row in said]

    def results(self) -> Iterator[_ClassItem]:
        """Measure the images, in their order."""
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
        """Look up what is known of an image, or else read it (in a thread)."""
        place, sample = numbered
        text = json.dumps([stamp_files(sample), self._fields[place]])
        item = _ClassItem(place, sample, hashlib.sha256(text.encode()).hexdigest()[:16])
        values = self._kept.pop(sample, item.seen)
        if values is not None:
            return replace(item, known=True, values=tuple(values))
        try:
            rgb = read_photograph(sample.image).rgb
            own = sample.mask is not None and self._segmenter is None
            return replace(item, rgb=rgb, mask=read_mask(sample.mask) if own and sample.mask else None)
        except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others go on
            return replace(item, error=error)

    def _predict(self, batch: Sequence[_ClassItem]) -> list[_ClassItem]:
        """Ask the networks about a few images at once."""
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
            except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others go on
                items[number] = replace(item, rgb=None, mask=None, error=error)
        for place, model in enumerate(self._models) if views else ():
            asked = list(views)
            places = np.array([items[number].place for number in asked])
            answers = _predict_values(
                model, [views[number][place] for number in asked], self._values[place].select_rows(places)
            )
            for number, answer in zip(asked, answers, strict=True):
                values = list(items[number].values)
                values[place] = values[place] | answer
                items[number] = replace(items[number], values=tuple(values))
        return items

    def _predict_mask(self, rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Draw the lesion as users get it."""
        assert self._segmenter is not None
        refinement = LesionOptions().refinement
        probability = smooth_probability(self._segmenter.probability(rgb), refinement)
        return refine_mask(probability >= self._segmenter.info.config.threshold, refinement)


def _predict_values(
    model: ClassifierModel, views: Sequence[NDArray[np.uint8]], values: TableValues
) -> list[dict[str, float]]:
    """Figures of a few images under one model."""
    looked = model.run_encoder(views)
    found: list[dict[str, float]] = [{} for _ in looked]
    for variant, gone in zip(field_variants(model), _omitted_fields(len(model.encoding.fields)), strict=True):
        for answer, logits in zip(
            found, model.run_head_on_values(looked, values.drop_columns(gone)).tolist(), strict=True
        ):
            answer |= {logit_name(variant, place): value for place, value in enumerate(logits)}
    for answer, one in zip(found, looked, strict=True):
        distance = model.calibration.distance(one.embedding)
        answer |= ({} if distance is None else {DISTANCE: distance}) | depth_values(one)
    return found


def _omitted_fields(fields: int) -> Iterable[NDArray[np.bool_]]:
    """Which columns are taken away in each of ``variants``."""
    nothing, everything = np.zeros(fields, bool), np.ones(fields, bool)
    return [nothing, *np.eye(fields, dtype=bool), everything] if fields else [nothing]


def _measurement_settings(
    models: Sequence[ClassifierModel], options: ClassEvaluationOptions, segmenter: ProbabilityModel | None
) -> dict[str, object]:
    """Say all that the figures of an image follow from, beside the image and its row."""
    return {
        "models": [[model.info.fingerprint, model.device] for model in models],
        "drawn_by": None if segmenter is None else segmenter.info.fingerprint,
        "masks": options.masks,
        "version": collect_provenance()["version"],
    }


DEPTH_MEASURES = ("depth_told", "depth_spread")  # on the network's scale: the depth, and the logarithm of its variance
DEPTH_COLUMNS = ("depth_said", "depth_low", "depth_high", "depth_mm")
TITLE = "Depth as it is told and as it was measured"


@dataclass(frozen=True, eq=False)
class EvaluatedDepths:
    """Depths of the images that could be measured, in their order.

    ``told``: in mm, with intervals. ``true_mm``: float64 (image,), NaN where the table says nothing.
    """

    predicted: DepthIntervals
    true_mm: NDArray[np.float64]

    def estimates(self, groups: Sequence[object], places: NDArray[np.bool_] | None = None) -> dict[str, Estimate]:
        """Measure some of them.

        ``places``: bool (image,): which are chosen; all by default. Returns as ``metrics.agreement.MEASURES`` names
        them; empty where hardly any was measured.
        """
        chosen = np.ones(len(self.true_mm), bool) if places is None else places
        return depth_metrics(DepthIntervals(*(each[chosen] for each in self.predicted)), self.true_mm[chosen], groups)

    def columns(self, place: int) -> dict[str, object]:
        """Give what is told of an image as cells of ``per_image.csv``.

        Returns ``COLUMNS`` to numbers in mm, "" where there is none.
        """
        numbers = (*(each[place] for each in self.predicted), self.true_mm[place])
        return {
            name: "" if np.isnan(number) else round(float(number), 4)
            for name, number in zip(DEPTH_COLUMNS, numbers, strict=True)
        }

    def draw(self, folder: Path) -> dict[str, str]:
        """Draw depths that were told over those that were measured, and their differences.

        Title to name of the file; empty where hardly any was measured.
        """
        from napari_melanoma.risk.figures import draw_depths

        known = ~np.isnan(self.true_mm)
        if known.sum() < MIN_CASES:
            return {}
        draw_depths({"": (self.predicted.mm[known], self.true_mm[known])}, folder / "depth.png")
        return {TITLE: "depth.png"}


def depth_values(encoded: EncoderOutput) -> dict[str, float]:
    """Give what is kept of the depth of an image."""
    return {} if encoded.depth is None else dict(zip(DEPTH_MEASURES, map(float, encoded.depth), strict=False))


def depth_names(info: BundleInfo) -> tuple[str, ...]:
    """Name what is kept of the depth of an image.

    Returns ``FIGURES``; none of a bundle that tells no depth.
    """
    return DEPTH_MEASURES if info.config.classifier is not None and info.config.classifier.depth is not None else ()


def evaluated_depths(info: BundleInfo, figures: ImageMetrics, rows: Rows) -> EvaluatedDepths | None:
    """Put depths that were told beside those that were measured.

    Of ``figures.measured``; None of a model that tells no depth.
    """
    answer = info.config.classifier.depth if info.config.classifier else None
    if answer is None:
        return None
    places = figures.measured
    told = np.stack([figures.column(name)[places] for name in DEPTH_MEASURES], axis=1)
    told = told if not np.isnan(told[:, 1]).all() else told[:, :1]
    said: list[Mapping[str, str]] = [
        rows.get((sample.domain, sample.image_id), {}) for sample in (figures.samples[place] for place in places)
    ]
    return EvaluatedDepths(
        decode_depths(told, answer), np.array([read_number(row.get(answer.column)) for row in said], np.float64)
    )

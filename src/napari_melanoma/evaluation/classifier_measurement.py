"""Run classifiers on labeled images, and estimate the metrics of their predictions.

From top to bottom: the resumable pipeline that runs the networks, predicted and measured depths, the metrics of class
probabilities with their intervals, and the selection of images that have a label.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field

from napari_melanoma.classification.prediction import NOT_FINITE
from napari_melanoma.core.config import Config
from napari_melanoma.core.context import Cancelled, RunContext, StageLimit, map_ahead, usable_cores
from napari_melanoma.core.errors import BundleError, DataSetError
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Key, Sample, read_dataset, read_rows, select_for_split
from napari_melanoma.data.partial_results import PartialResults, stamp_files
from napari_melanoma.data.tabular_encoding import TableValues, read_number, read_table_values
from napari_melanoma.data.taxonomy import load_taxonomy
from napari_melanoma.data.training_images import DigestFunction, hash_image_file
from napari_melanoma.evaluation.mask_measurement import MeasuredItem, collect_metrics
from napari_melanoma.evaluation.mask_results import REFERENCE_SHARE, ImageMetrics, check_evaluated_datasets
from napari_melanoma.evaluation.training_overlap import Overlap, images_to_measure
from napari_melanoma.imaging.postprocessing import make_mask
from napari_melanoma.io.photographs import count_pixels, read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.batch import EXTRA_THREADS, STAGE_BYTES
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.metrics.agreement import MIN_CASES, DepthIntervals, decode_depths, depth_metrics
from napari_melanoma.metrics.roc_curves import ResampledScores, class_recalls
from napari_melanoma.metrics.statistics import Estimate, bootstrap_interval, draw_statistics
from napari_melanoma.training.data_selection import OTHER, diagnosis_includes, row_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.classification.classifier import EncoderOutput
    from napari_melanoma.classification.classify import ClassifierModel
    from napari_melanoma.lesion.analysis import ProbabilityModel
    from napari_melanoma.models.bundle import BundleConfig, BundleInfo


BATCH_IMAGES = 16  # views per batch of a network
# Names in partial results: of the distance from the training cases, and of variants of the clinical metadata.
DISTANCE = "distance"
ALL_FIELDS, NO_FIELDS = "form", "empty"
DEPTH_MEASURES = ("depth_told", "depth_spread")  # on the network's scale: the depth, and the logarithm of its variance
DEPTH_COLUMNS = ("depth_predicted_mm", "depth_low", "depth_high", "depth_mm")
DEPTH_TITLE = "Predicted and measured depth"
Rows = Mapping[tuple[str, str], Mapping[str, str]]
"""Rows of the tables of data sets, by data set and image id."""
log = logging.getLogger(__name__)


class ClassEvaluationOptions(Config):
    """Which images a classifier is evaluated on, and its inputs."""

    split: str | None = Field(None, description="use only images of this split, such as 'val'; by default all")
    include_seen: bool = Field(
        False,
        description="also measure images that a model was trained on, or other images of their patients; "
        "all outputs are then marked, and there is no verdict",
    )
    target: str = Field("", description="column with the diagnosis; by default that of the positive class")
    masks: Literal["reference", "predicted"] = Field(
        "reference",
        description="source of the region of interest: reference (masks of the data set) or predicted masks",
    )
    segmenter: str = Field("lesion-small", min_length=1, description="segmentation model for predicted masks")
    sensitivity: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="sensitivity on the reference cases that sets the decision threshold; by default that of the model",
    )


def measured_names(model: ClassifierModel) -> tuple[str, ...]:
    """Name the values that are stored for each image.

    These are the logits of each class for each variant of the clinical metadata, the distance from the training cases,
    the share of the image that the mask covers and, if the model predicts one, the depth.
    """
    logits = (
        logit_name(variant, index)
        for variant in field_variants(model)
        for index in range(len(model.info.config.classes))
    )
    return (*logits, DISTANCE, REFERENCE_SHARE, *depth_names(model.info))


def field_variants(model: ClassifierModel) -> tuple[str, ...]:
    """Name the variants of clinical metadata that a model is run with.

    These are all fields, all but one for each field, and no field; all fields only for a model that uses no metadata.
    """
    fields = model.encoding.fields
    return (ALL_FIELDS, *(f"without_{name}" for name in fields), NO_FIELDS) if fields else (ALL_FIELDS,)


def logit_name(variant: str, index: int) -> str:
    return f"{variant}_logit_{index}"


@dataclass(frozen=True)
class _ClassItem(MeasuredItem):
    """An image in the pipeline: its index, its size in memory in bytes, and its pixels until the network has run."""

    index: int = 0
    size: int = 0
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

    Returns, for each model, the values listed by ``measured_names``. An image that fails under one model counts as
    failed under all, as does one whose mask is missing or empty if the model uses the region around the lesion.
    """
    metrics_by_model = [ImageMetrics(measured_names(model)) for model in models]
    partial = PartialResults(out, _measurement_settings(models, options, segmenter))
    pipeline = _ClassPipeline(models, samples, rows, partial, segmenter, run)
    return collect_metrics(pipeline.results(), len(samples), metrics_by_model, partial, out, run)


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
        metadata = [rows.get(sample.key, {}) for sample in samples]
        self._values = [read_table_values(metadata, model.encoding) for model in models]
        columns = sorted({name for model in models for name in model.encoding.fields})
        self._fields = [[row.get(name, "") for name in columns] for row in metadata]

    def results(self) -> Iterator[_ClassItem]:
        """Yield the measured images in order."""
        workers = usable_cores() + EXTRA_THREADS
        pool = ThreadPoolExecutor(workers, thread_name_prefix="measuring")
        try:
            count_limit, memory_limit = (
                StageLimit(4 * workers),
                StageLimit(4 * workers, STAGE_BYTES, lambda item: item.size),
            )
            looked_up = map_ahead(pool, self._begin, enumerate(self._samples), count_limit, self._run)
            read = map_ahead(pool, self._read, looked_up, memory_limit, self._run)
            while batch := list(islice(read, BATCH_IMAGES)):
                self._run.check()
                yield from self._predict(batch)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, numbered: tuple[int, Sample]) -> _ClassItem:
        """Look up the stored values of an image, or else the memory that it needs (in a thread)."""
        index, sample = numbered
        text = json.dumps([stamp_files(sample), self._fields[index]])
        item = _ClassItem(sample, hashlib.sha256(text.encode()).hexdigest()[:16], index=index)
        values = self._partial.pop(sample, item.stamp)
        if values is not None:
            return replace(item, is_stored=True, values=tuple(values))
        return replace(item, size=4 * count_pixels(sample.image))

    def _read(self, item: _ClassItem) -> _ClassItem:
        """Read an image and its mask (in a thread)."""
        if item.is_stored:
            return item
        sample = item.sample
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
                fault = None if np.isfinite(list(added.values())).all() else BundleError(NOT_FINITE)
                items[number] = replace(items[number], values=tuple(values), error=items[number].error or fault)
        return items

    def _predict_mask(self, rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Segment the lesion with the full post-processing."""
        assert self._segmenter is not None
        threshold = self._segmenter.info.config.threshold
        return make_mask(self._segmenter.probability(rgb), threshold, LesionOptions().refinement)


def _predict_values(
    model: ClassifierModel, views: Sequence[NDArray[np.uint8]], values: TableValues
) -> list[dict[str, float]]:
    """Return logits, distance and depth of each image of a batch under one model, by the names of the values."""
    encoded = model.run_encoder(views)
    values_by_image: list[dict[str, float]] = [{} for _ in encoded]
    for variant, omitted in zip(field_variants(model), _omitted_fields(len(model.encoding.fields)), strict=True):
        for values_of_image, logits in zip(
            values_by_image, model.run_head_on_values(encoded, values.drop_columns(omitted)).tolist(), strict=True
        ):
            values_of_image |= {logit_name(variant, index): value for index, value in enumerate(logits)}
    for values_of_image, output in zip(values_by_image, encoded, strict=True):
        distance = model.calibration.distance(output.embedding)
        values_of_image |= ({} if distance is None else {DISTANCE: distance}) | depth_values(output)
    return values_by_image


def _omitted_fields(fields: int) -> Iterable[NDArray[np.bool_]]:
    """Return the omitted fields, bool (field,), of each variant in the order of ``field_variants``."""
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


# Predicted and measured depths.


@dataclass(frozen=True, eq=False)
class EvaluatedDepths:
    """Predicted and measured depths of the images that could be evaluated, in their order.

    ``predicted``: in mm, with intervals. ``true_mm``: float64 (image,), the measured depth; NaN if unknown.
    """

    predicted: DepthIntervals
    true_mm: NDArray[np.float64]

    def estimates(self, groups: Sequence[object], selected: NDArray[np.bool_] | None = None) -> dict[str, Estimate]:
        """Estimate the metrics of ``metrics.agreement.DEPTH_METRICS``; empty if too few depths are known.

        ``groups``: the patient or lesion of each selected image. ``selected``: bool (image,); all by default.
        """
        mask = np.ones(len(self.true_mm), bool) if selected is None else selected
        return depth_metrics(DepthIntervals(*(column[mask] for column in self.predicted)), self.true_mm[mask], groups)

    def columns(self, index: int) -> dict[str, object]:
        """Return the ``DEPTH_COLUMNS`` of an image in ``per_image.csv``: numbers in mm, "" if unknown."""
        numbers = (*(column[index] for column in self.predicted), self.true_mm[index])
        return {
            name: "" if np.isnan(number) else round(float(number), 4)
            for name, number in zip(DEPTH_COLUMNS, numbers, strict=True)
        }

    def draw(self, folder: Path) -> dict[str, str]:
        """Plot predicted over measured depths and their differences: title to file name; empty if too few are known."""
        from napari_melanoma.figures.evaluation import plot_depths

        known = ~np.isnan(self.true_mm)
        if known.sum() < MIN_CASES:
            return {}
        plot_depths({"": (self.predicted.mm[known], self.true_mm[known])}, folder / "depth.png")
        return {DEPTH_TITLE: "depth.png"}


def depth_values(encoded: EncoderOutput) -> dict[str, float]:
    """Return the depth values of an image that are stored, by ``DEPTH_MEASURES``."""
    return {} if encoded.depth is None else dict(zip(DEPTH_MEASURES, map(float, encoded.depth), strict=False))


def depth_names(info: BundleInfo) -> tuple[str, ...]:
    """Name the stored depth values of an image; none for a bundle that predicts no depth."""
    return DEPTH_MEASURES if info.config.classifier is not None and info.config.classifier.depth is not None else ()


def evaluated_depths(info: BundleInfo, image_metrics: ImageMetrics, rows: Rows) -> EvaluatedDepths | None:
    """Combine predicted and measured depths of ``image_metrics.measured``; None if the model predicts no depth."""
    output = info.config.classifier.depth if info.config.classifier else None
    if output is None:
        return None
    indices = image_metrics.measured
    stored = np.stack([image_metrics.column(name)[indices] for name in DEPTH_MEASURES], axis=1)
    if np.isnan(stored[:, 1]).all():  # the model predicts no variance
        stored = stored[:, :1]
    table_rows: list[Mapping[str, str]] = [
        rows.get(sample.key, {}) for sample in (image_metrics.samples[index] for index in indices)
    ]
    return EvaluatedDepths(
        decode_depths(stored, output), np.array([read_number(row.get(output.column)) for row in table_rows], np.float64)
    )


# Metrics of class probabilities.

METRICS = {
    "AUC": "area under the ROC curve: how often the positive image of a pair has the higher probability",
    "AUC_within": "AUC of pairs within the same data set: recognizing the data set does not help",
    "AP": "average precision: area under the precision-recall curve",
    "pAUC": "area under the ROC curve above 80 % sensitivity, at most 0.2, chance level 0.02 (ISIC 2024)",
    "sensitivity": "share of the positives at or above the decision threshold",
    "specificity": "share of the others below the decision threshold",
    "precision": "share of positives among the images at or above the decision threshold",
    "F1": "harmonic mean of sensitivity and precision",
    "accuracy": "share of correct decisions at the threshold",
    "balanced_accuracy": "mean of sensitivity and specificity",
    "ECE": "expected calibration error of the positive class, 15 bins with equal numbers of images",
    "Brier": "mean squared difference between probability and truth",
    "macro_AUC": "mean over the classes of the AUC of each class against the rest",
    "class_accuracy": "share whose most probable class is the true one",
    "class_balanced_accuracy": "mean over the classes of the share that is predicted correctly",
}
LESS_IS_BETTER = ("ECE", "Brier")
MAX_VALUE = {"pAUC": 0.2}  # metrics whose maximum is not 1
DIAGNOSIS = "diagnosis"


@dataclass(frozen=True, eq=False)
class ClassPredictions:
    """Predictions of a classifier for images, with their true classes.

    ``probabilities`` is float64 (image, class), calibrated; ``labels`` int (image,), indices into ``classes``;
    ``groups`` names the patient or lesion of each image, ``domains`` the data set. At or above ``threshold`` the
    positive class is predicted.
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[np.intp]
    groups: NDArray[Any]
    classes: tuple[str, ...]
    positive: str
    threshold: float = 0.5
    domains: NDArray[Any] | None = None

    @property
    def scores(self) -> NDArray[np.float64]:
        """Probability of the positive class, float64 (image,)."""
        return self.probabilities[:, self.classes.index(self.positive)]

    @property
    def truth(self) -> NDArray[np.bool_]:
        """Whether each image is of the positive class, bool (image,)."""
        return self.labels == self.classes.index(self.positive)

    @property
    def predicted(self) -> NDArray[np.intp]:
        """Predicted class, int (image,): of two classes by the threshold, of more the most probable one."""
        if len(self.classes) > 2:
            return self.probabilities.argmax(axis=1)
        positive = self.classes.index(self.positive)
        return np.where(self.scores >= self.threshold, positive, 1 - positive)

    def subset(self, indices: ArrayLike) -> Self:
        """Return the predictions of some images; ``indices``: int or bool (image,)."""
        where = np.asarray(indices)
        domains = None if self.domains is None else self.domains[where]
        parts = {"probabilities": self.probabilities[where], "labels": self.labels[where]}
        return replace(self, **parts, groups=self.groups[where], domains=domains)


def class_estimates(predictions: ClassPredictions) -> dict[str, Estimate]:
    """Estimate each metric with a 95 % interval, by bootstrap over patients or lesions.

    Returns name of ``METRICS`` to estimate; a metric that is undefined for these images, such as an AUC without
    positives, is omitted. ``count`` is the number of images that a metric refers to: the positives for sensitivity, the
    others for specificity. Multi-class metrics need three classes, ``AUC_within`` two data sets.
    """
    if not len(predictions.labels):
        raise ValueError("an estimate needs at least one image; found none.")
    return _estimates(predictions, lambda weights: _metrics(predictions, weights))


def class_differences(old: ClassPredictions, new: ClassPredictions) -> dict[str, Estimate]:
    """Estimate the difference of each metric between two models, paired on the same bootstrap samples.

    Returns name to new minus old; a metric that is undefined for one of the models is omitted.
    """
    if not np.array_equal(old.labels, new.labels) or not np.array_equal(old.groups, new.groups):
        raise ValueError("a paired difference needs the same images in the same order; labels or groups differ.")

    def change(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        old_metrics, new_metrics = _metrics(old, weights), _metrics(new, weights)
        return {name: new_metrics[name] - old_metrics[name] for name in new_metrics if name in old_metrics}

    return _estimates(old, change, signed=True)


def domain_auc(predictions: ClassPredictions) -> float:
    """Return the AUC of a predictor that uses only the data set of each image.

    0.5 if positives are equally frequent in all data sets; NaN if there is only one class.
    """
    assert predictions.domains is not None
    names, index = np.unique(predictions.domains, return_inverse=True)
    shares = np.bincount(index, predictions.truth, len(names)) / np.bincount(index, minlength=len(names))
    return float(ResampledScores(shares[index], predictions.truth, np.ones((1, len(index)))).auc()[0])


def _metrics(predictions: ClassPredictions, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return each metric for each bootstrap sample, float64 (sample,), in the order of ``METRICS``.

    ``weights``: float64 (sample, image), the number of times that a sample contains an image.
    """
    resampled = ResampledScores(predictions.scores, predictions.truth, weights)
    metrics = {"AUC": resampled.auc()}
    if predictions.domains is not None and len(np.unique(predictions.domains)) > 1:
        metrics["AUC_within"] = _auc_within_domains(predictions, weights)
    metrics |= {
        "AP": resampled.average_precision(),
        "pAUC": resampled.partial_auc(),
        **resampled.threshold_metrics(predictions.threshold),
    }
    metrics |= {"ECE": resampled.calibration_error(), "Brier": resampled.brier_score()}
    return metrics | (_multi_class_metrics(predictions, weights) if len(predictions.classes) > 2 else {})


def _auc_within_domains(predictions: ClassPredictions, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the pairs within a data set that are ranked correctly, float64 (sample,)."""
    assert predictions.domains is not None
    concordant, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for domain in np.unique(predictions.domains):
        in_domain = predictions.domains == domain
        part = ResampledScores(predictions.scores[in_domain], predictions.truth[in_domain], weights[:, in_domain])
        concordant += part.count_concordant_pairs()
        pairs += part.positives * part.negatives
    return np.divide(concordant, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def _multi_class_metrics(predictions: ClassPredictions, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the metrics over all classes that have an image, float64 (sample,) each."""
    predicted, present = predictions.probabilities.argmax(axis=1), np.unique(predictions.labels)
    areas = [
        ResampledScores(predictions.probabilities[:, label], predictions.labels == label, weights).auc()
        for label in present
    ]
    return {
        "macro_AUC": np.mean(areas, axis=0),
        "class_accuracy": weights @ (predicted == predictions.labels) / weights.sum(axis=1),
        "class_balanced_accuracy": class_recalls(predicted, predictions.labels, len(predictions.classes), weights)[
            :, present
        ].mean(axis=1),
    }


def _counts(predictions: ClassPredictions) -> dict[str, tuple[int, int]]:
    """Return, for each metric, how many images it refers to and how many patients or lesions limit its interval."""
    truth, predicted = predictions.truth, predictions.scores >= predictions.threshold
    positives, negatives = _count_groups(predictions.groups[truth]), _count_groups(predictions.groups[~truth])
    counts = dict.fromkeys(METRICS, (len(truth), min(positives, negatives)))
    counts |= dict.fromkeys(
        ("accuracy", "ECE", "Brier", "class_accuracy"), (len(truth), _count_groups(predictions.groups))
    )
    counts["sensitivity"], counts["specificity"] = (int(truth.sum()), positives), (int((~truth).sum()), negatives)
    counts["precision"] = (int(predicted.sum()), _count_groups(predictions.groups[predicted]))
    if len(predictions.classes) > 2:
        rarest = min(
            _count_groups(predictions.groups[predictions.labels == label]) for label in np.unique(predictions.labels)
        )
        counts |= dict.fromkeys(("macro_AUC", "class_balanced_accuracy"), (len(truth), rarest))
    return counts


def _count_groups(groups: NDArray[Any]) -> int:
    return len(np.unique(groups))


def _estimates(
    predictions: ClassPredictions,
    metrics: Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]],
    *,
    signed: bool = False,
) -> dict[str, Estimate]:
    """Estimate metrics, or with ``signed`` their differences, with intervals clipped to the possible values.

    ``metrics``: as for ``metrics.statistics.draw_statistics``.
    """
    counts, estimates = _counts(predictions), {}
    for name, (value, drawn) in draw_statistics(metrics, predictions.groups).items():
        if np.isfinite(value):
            (images, groups), maximum = counts[name], MAX_VALUE.get(name, 1.0)
            bounds = (-maximum if signed else 0.0, maximum)
            ends = bootstrap_interval(value, drawn, groups, bounds=bounds, biased=name in LESS_IS_BETTER)
            estimates[name] = Estimate(value, *ends, images)
    return estimates


# Selection of images.


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """The images of an evaluation with their true classes.

    ``labels``: int (image,), indices into ``classes``, from the column ``target`` of the tables. ``left_out``: number
    of images without such a label; ``without_mask``: number of images with one, but without the mask that the model
    needs. ``overlap``: with the training images of the models; None before it was determined.
    """

    samples: list[Sample]
    rows: Rows
    labels: NDArray[np.intp]
    target: str
    left_out: int
    classes: tuple[str, ...]
    overlap: Overlap | None = None
    without_mask: int = 0

    def without_training_images(
        self,
        models: Sequence[BundleInfo],
        options: ClassEvaluationOptions,
        *,
        run: RunContext,
        digest: DigestFunction = hash_image_file,
    ) -> LabeledImages:
        """Leave out the images that any of the models was trained on, unless the options include them."""
        if self.overlap is not None:
            return self
        overlap = images_to_measure(models, self.samples, run=run, include=options.include_seen, digest=digest)
        return replace(self, samples=overlap.measured, labels=self.labels[overlap.is_measured], overlap=overlap)


def find_labeled_images(
    datasets: Sequence[Path], model: ClassifierModel, options: ClassEvaluationOptions
) -> LabeledImages:
    """Find the images whose label is a class of the model.

    If the model uses the region around a reference mask, only images with such a mask are included.
    """
    check_evaluated_datasets(datasets)
    config = model.info.config
    assert config.classifier is not None
    rows = read_rows(datasets)
    columns = {column for row in rows.values() for column in row}
    target = options.target or _default_target(config, rows, columns)
    if target not in columns:
        raise DataSetError(
            f"no table has a column '{target}' (found: {', '.join(sorted(columns))}). Name the column that contains "
            "the class (Python: target='COLUMN', command line: --target)."
        )
    needs_masks = config.classifier.view.region == "roi" and options.masks == "reference"
    samples_by_dataset = [read_dataset(folder) for folder in datasets]
    images = list(chain.from_iterable(samples_by_dataset))
    if needs_masks:
        try:
            selected = [select_for_split(samples, options.split) for samples in samples_by_dataset]
        except DataSetError as error:
            advice = "Without masks, predict them (Python: masks='predicted', command line: --masks predicted)."
            raise DataSetError(f"{error} {advice}") from error
        candidates = list(chain.from_iterable(selected))
    else:
        candidates = select_images_of_split(images, options.split)
    classes, label_of = _classes_and_labels(config, rows, target)
    samples = [sample for sample in candidates if label_of.get(sample.key) in classes]
    if not samples:
        values = ", ".join(sorted(set(label_of.values()))[:12]) or "nothing"
        raise DataSetError(
            f"none of {len(candidates)} images has one of the classes of '{model.info.name}' "
            f"({', '.join(config.classes)}) in the column '{target}', which contains {values}. Name another column "
            "(Python: target='COLUMN', command line: --target)."
        )
    labels = np.array([classes.index(label_of[sample.key]) for sample in samples], np.intp)
    labeled = [s for s in images if options.split in (None, s.split) and label_of.get(s.key) in classes]
    without_label, without_mask = len(candidates) - len(samples), len(labeled) - len(samples)
    return LabeledImages(samples, rows, labels, target, without_label, classes, without_mask=without_mask)


def trained_target(config: BundleConfig) -> str:
    """Return the column that a model was trained on, from the recipe in its bundle."""
    return str((config.provenance.get("recipe", {}).get("classification") or {}).get("target", DIAGNOSIS))


def _default_target(config: BundleConfig, rows: Rows, columns: set[str]) -> str:
    """Return the column that contains the class.

    It is the one that the model was trained on, if it contains two of the classes; otherwise a column with the name of
    the positive class, or else ``diagnosis``.
    """
    assert config.classifier is not None
    trained_on = trained_target(config)
    if len(set(row_labels(rows, trained_on).values()) & set(config.classes)) > 1:
        return trained_on
    return config.classifier.positive if config.classifier.positive in columns else DIAGNOSIS


def _classes_and_labels(config: BundleConfig, rows: Rows, target: str) -> tuple[tuple[str, ...], Mapping[Key, str]]:
    """Return the classes that are evaluated, and the label of each row.

    The classes are those of the model, or the positive class and ``OTHER`` if the labels distinguish only these.
    """
    assert config.classifier is not None
    labels, positive = row_labels(rows, target), config.classifier.positive
    is_diagnosis = positive in load_taxonomy(DIAGNOSIS).entries  # unlike the outcome "metastasis"
    if set(config.classes) == {OTHER, positive} and target == DIAGNOSIS and is_diagnosis:  # against all others
        includes = {key: diagnosis_includes(word, positive) for key, word in labels.items()}
        return config.classes, {key: positive if included else OTHER for key, included in includes.items()}
    if OTHER not in config.classes and {OTHER, positive}.issuperset(labels.values()):
        return (OTHER, positive), labels
    return config.classes, labels


def select_images_of_split(samples: Sequence[Sample], split: str | None) -> list[Sample]:
    """Select the images of a split (None: all), with or without a mask; raise an error if there are none."""
    selected = [sample for sample in samples if split in (None, sample.split)]
    if not selected:
        splits = ", ".join(sorted({sample.split or "(none)" for sample in samples})) or "(no rows)"
        raise DataSetError(
            f"no image in the split '{split or 'any'}': {len(samples)} rows, splits {splits}. Name another split."
        )
    return selected

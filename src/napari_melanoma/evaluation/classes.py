"""Evaluation of classifiers of photographs: predicted and true classes, and depths if the model predicts them.

In this order: the adapter of the pipeline, depths, subgroups, warnings, curves and figures, stored evaluations.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from napari_melanoma.classification.prediction import NOT_FINITE, probability_columns, read_probabilities
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.csv_files import read_csv_dicts
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.partial_results import stamp_files
from napari_melanoma.data.tabular_encoding import read_number, read_table_values
from napari_melanoma.evaluation.baselines import BaselineComparison, baselines_table, baselines_to_json
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions, LabeledImages, Rows, find_labeled_images
from napari_melanoma.evaluation.masks import REFERENCE_SHARE
from napari_melanoma.evaluation.pipeline import (
    ABOUT_IMAGE,
    ALL_IMAGES,
    METRICS_FILE,
    NOT_KNOWN,
    TABLE,
    Estimates,
    Evaluation,
    EvaluationTask,
    FailedImage,
    ImageMetrics,
    LoadedModel,
    PageContent,
    Subgroup,
    combine_rare_values,
    divide_by_values,
    estimate_domains,
    estimates_to_json,
    interval_text,
    metrics_table,
    read_sample,
    run_evaluation,
    subgroups_table,
)
from napari_melanoma.evaluation.training_overlap import missing_overlap_warning, modality_warnings
from napari_melanoma.figures.evaluation import (
    ClassifierCurve,
    plot_bars,
    plot_confusion,
    plot_depths,
    plot_precision_recall,
    plot_reliability,
    plot_roc,
)
from napari_melanoma.imaging.modality import ModalityEstimate, recognize_modality
from napari_melanoma.imaging.postprocessing import make_mask
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.metrics.agreement import MIN_CASES, DepthIntervals, decode_depths, depth_metrics
from napari_melanoma.metrics.calibration import calibration_error_by_chance, reliability_curve
from napari_melanoma.metrics.class_metrics import ClassPredictions, class_differences, class_estimates, domain_auc
from napari_melanoma.metrics.metric_table import CLASS_METRICS, DEPTH_METRICS, SET_METRICS
from napari_melanoma.metrics.overlap import count_class_pairs
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean
from napari_melanoma.models.installed_bundles import find_bundle, require_photograph_model, require_task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.classifier import Classifier, EncoderOutput, PredictionCalibration
    from napari_melanoma.core.prediction_config import TabularEncoding
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.models.bundle import BundleInfo

TASK = "classification"  # in metrics.json
BATCH_IMAGES = 16  # views per batch of a network
# Names of values: of the distance from the training cases, and of variants of the clinical metadata.
DISTANCE = "distance"
ALL_FIELDS, NO_FIELDS = "form", "empty"
DEPTH_MEASURES = ("depth", "depth_log_variance")  # on the network's scale: the depth, and the logarithm of its variance
DEPTH_COLUMNS = ("depth_predicted_mm", "depth_low", "depth_high", "depth_mm")
DEPTH_TITLE = "Predicted and measured depth"
SHOWN_IN_SUBGROUPS = ("AUC", "AP", "sensitivity", "specificity", "ECE")
WITHOUT_BOTH_CLASSES = ("sensitivity", "specificity", "accuracy")  # metrics that do not need images of both classes
MIN_PER_CLASS = 5  # positives and others: with fewer an AUC is meaningless
# Exclusive upper limit of each age group, and its name.
AGES = ((30, "0 to 29"), (50, "30 to 49"), (70, "50 to 69"), (np.inf, "70 and over"))
MOST = 0.5  # share of the images from which users are warned
DOMAIN_AUC_LIMIT = 0.55  # AUC of a predictor that uses only the data set, from which users are warned
DOMAIN_AUC_WARNING = (
    "Over all data sets together, recognizing the data set alone gives an AUC of {area:.3f}, since {shares}. Assess "
    "each data set separately, or use the AUC within data sets."
)
ONE_CLASS = "No image is {what}: metrics that need both classes, such as the AUC, cannot be measured."
OUT_OF_DISTRIBUTION = (
    "{count} of {total} images are out of distribution for '{model}': its predictions for them are unreliable, and "
    "these metrics do not apply to images like those that it was trained on."
)
MISSING_FIELDS = (
    "'{model}' uses clinical metadata that most images do not have. Unknown: {fields}. The metrics show its "
    "performance without them; add them to dataset.csv if they are known."
)
WITHOUT_MASK = (
    "Left out: {count} images with a class, but without a mask, or with an unreviewed or rejected one. To include "
    "them, predict the masks (Python: masks='predicted', command line: --masks predicted)."
)
LEFT_OUT = "{count} of {all} images have no class in the column '{target}', or one that the model does not predict."
Content = TypeVar("Content")


def evaluate_classifier(
    model: Classifier, datasets: Sequence[Path], out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Evaluate a classifier and write the results, or resume where an earlier call was stopped."""
    require_task(model.info, "classification")
    return evaluate_on_images(model, find_labeled_images(datasets, model.info, options), out, options, run=run)


def evaluate_on_images(
    model: Classifier, images: LabeledImages, out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Evaluate a classifier on selected images; see ``evaluate_classifier``."""
    task = ClassTask([model], images, options)
    return run_evaluation(task, images.samples, out, include_seen=options.include_seen, run=run)


# The adapter.


class CalibratedModel(LoadedModel, Protocol):
    """The attributes of a classifier that its metrics depend on."""

    @property
    def calibration(self) -> PredictionCalibration:
        """Calibration of predictions."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassEvaluation(Evaluation):
    """Result of an evaluation of a classifier.

    ``predictions``, and the ``depths`` of a model that predicts them, are those of the measured images in order.
    ``auc_changes``: change of the AUC without each field of the clinical metadata, and without all fields.
    ``baselines``: comparison with simpler models, by name.
    """

    predictions: ClassPredictions
    auc_changes: Mapping[str, Estimate]
    depths: EvaluatedDepths | None = None
    baselines: Mapping[str, BaselineComparison] = field(default_factory=dict)

    @property
    def lead(self) -> str:
        """One or two sentences: AUC, sensitivity and specificity."""
        whole = self.parts[ALL_IMAGES]
        sentences = [f"AUC {whole['AUC']}."] if "AUC" in whole else []
        shares = [f"{name} {whole[name]}" for name in ("sensitivity", "specificity") if name in whole]
        threshold = f"{self.predictions.threshold:.3f}"
        sentences.append(f"At the decision threshold {threshold}: {', '.join(shares)} (95 % intervals).")
        return " ".join([*sentences, *(comparison.verdict for comparison in self.baselines.values())])

    @property
    def settings(self) -> dict[str, object]:
        """The decision threshold, as a JSON value."""
        return {"threshold": self.predictions.threshold}


@dataclass(frozen=True, eq=False)
class ClassContent:
    """A photograph with its mask, if any, and its row of clinical metadata."""

    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    row: Mapping[str, str]


ClassValues = list[dict[str, float]]  # of an image, for each model


class ClassReport(EvaluationTask[Content, ClassValues, ClassEvaluation], Generic[Content]):
    """What is written of predicted classes, of photographs and of slides."""

    options: ClassEvaluationOptions
    subgroup_facts = ("data", "by", "value", "images", "positives")
    subgroup_metrics = tuple(CLASS_METRICS)

    def __init__(self, models: Sequence[LoadedModel], images: LabeledImages, options: ClassEvaluationOptions) -> None:
        super().__init__(models, options)
        self.images = images

    def columns(self, evaluation: ClassEvaluation) -> list[str]:
        probabilities = probability_columns(evaluation.predictions.classes).values()
        return [*ABOUT_IMAGE, "label", *probabilities, "predicted_class", *(DEPTH_COLUMNS if evaluation.depths else ())]

    def rows(self, evaluation: ClassEvaluation) -> Iterator[dict[str, object]]:
        predictions, depths = evaluation.predictions, evaluation.depths
        columns = probability_columns(predictions.classes).values()
        indices = iter(range(len(predictions.labels)))
        for row in evaluation.image_metrics.rows():
            if row["status"] == "failed":
                yield row
                continue
            index = next(indices)
            probabilities = dict(zip(columns, predictions.probabilities[index].tolist(), strict=True))
            classes = {
                "label": predictions.classes[predictions.labels[index]],
                "predicted_class": predictions.classes[predictions.predicted[index]],
            }
            yield row | classes | probabilities | (depths.columns(index) if depths else {})

    def details(self, evaluation: ClassEvaluation) -> dict[str, object]:
        predictions = evaluation.predictions
        chance = calibration_error_by_chance(predictions.scores)
        return {
            "task": TASK,
            "classes": list(predictions.classes),
            "positive": predictions.positive,
            "images": evaluation.images,
            "positives": int(predictions.truth.sum()),
            "auc_without": estimates_to_json(evaluation.auc_changes),
            **baselines_to_json(evaluation.baselines),
            "ece_by_chance": dict(zip(("mean", "high"), chance, strict=True)),
            "confusion": _count_confusion(predictions).tolist(),
        }

    def draw(self, evaluation: ClassEvaluation, folder: Path, run: RunContext) -> dict[str, Path]:
        return draw_evaluation(evaluation, self.infos[0].name, folder)

    def describe(self, evaluation: ClassEvaluation, data: Sequence[str]) -> PageContent:
        predictions, options = evaluation.predictions, self.options
        chance = calibration_error_by_chance(predictions.scores)
        masks = f", masks predicted by {options.segmenter}" if options.masks == "predicted" else ""
        positives = f"{int(predictions.truth.sum())} of them {predictions.positive}"
        split = f", split {options.split}" if options.split else ""
        changes = [
            (_omitted_text(name), f"{one.mean:+.3f} ({one.format_interval()})")
            for name, one in evaluation.auc_changes.items()
        ]
        metrics = (CLASS_METRICS | SET_METRICS | DEPTH_METRICS).values()
        return PageContent(
            facts=f"{evaluation.images} images, {positives}, decision threshold {predictions.threshold:.3f}{masks}"
            f"{split}",
            next=f"Review the curves and the lowest subgroups. The prediction for every image is listed in {TABLE}. To "
            "compare this evaluation with that of another model, run napari-melanoma compare.",
            tables=[
                metrics_table(evaluation.parts, data, metrics),
                baselines_table(evaluation.baselines),
                ("Contribution of the clinical metadata", ("Omitted", "Change of the AUC"), changes),
                subgroups_table(evaluation.subgroups, SHOWN_IN_SUBGROUPS, predictions.positive),
            ],
            notes=[
                f"Intervals: {interval_text(evaluation.image_metrics.measured_samples)}; exact if all bootstrap "
                "samples are equal; of ECE and Brier score 1.96 standard errors of the bootstrap, widened likewise. A "
                "metric of one class is widened for the number of its patients or lesions.",
                f"Perfectly calibrated probabilities would have an ECE of {chance[0]:.3f} on this number of images, "
                f"and in one of twenty samples more than {chance[1]:.3f}.",
                f"No AUC is given for subgroups with fewer than {MIN_PER_CLASS} positives or {MIN_PER_CLASS} others.",
            ],
        )


class ClassTask(ClassReport[ClassContent]):
    """Classes of photographs.

    The values of an image are the logits of each class for each variant of the clinical metadata, the distance from the
    training cases, the share of the image that the mask covers and, if the model predicts one, the depth.
    """

    batch_size = BATCH_IMAGES

    def __init__(self, models: Sequence[Classifier], images: LabeledImages, options: ClassEvaluationOptions) -> None:
        super().__init__(models, images, options)
        self.models = models
        self._columns = sorted({name for model in models for name in model.encoding.fields})
        self._segmenter = load_segmenter_for(options)

    @property
    def names(self) -> list[tuple[str, ...]]:
        return [(*logit_names(model), DISTANCE, REFERENCE_SHARE, *depth_names(model.info)) for model in self.models]

    @property
    def settings(self) -> dict[str, object]:
        return {
            "models": [[model.info.fingerprint, model.device] for model in self.models],
            "limits": [
                [config.novelty_threshold, config.type_threshold]
                for info in self.infos
                if (config := info.config.classifier) is not None
            ],
            "drawn_by": None if self._segmenter is None else self._segmenter.info.fingerprint,
            "masks": self.options.masks,
        }

    def stamp(self, sample: Sample) -> str:
        row = self.images.rows.get(sample.key, {})
        text = json.dumps([stamp_files(sample), [row.get(name, "") for name in self._columns]])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def read(self, sample: Sample) -> ClassContent:
        mask = read_mask(sample.mask) if sample.mask is not None and self._segmenter is None else None
        return ClassContent(read_photograph(sample.image).rgb, mask, self.images.rows.get(sample.key, {}))

    def predict(self, contents: Sequence[ClassContent]) -> list[ClassValues | Exception]:
        results: dict[int, ClassValues | Exception] = {}
        views: dict[int, list[NDArray[np.uint8]]] = {}
        recognized: dict[int, ModalityEstimate] = {}
        for number, content in enumerate(contents):
            try:
                mask = self._predict_mask(content.rgb) if self._segmenter is not None else content.mask
                recognized[number] = recognize_modality(content.rgb)
                views[number] = [model.make_view(content.rgb, mask).image for model in self.models]
                share = {} if mask is None else {REFERENCE_SHARE: float(mask.mean())}
                results[number] = [dict(share) for _ in self.models]
            except Cancelled:
                raise
            except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
                results[number] = error
        for index, model in enumerate(self.models) if views else ():
            rows = [contents[number].row for number in views]
            kinds = [recognized[number] for number in views]
            predicted = _predict_values(model, [each[index] for each in views.values()], rows, kinds)
            for number, values in zip(views, predicted, strict=True):
                result = results[number]
                if isinstance(result, Exception):  # not finite under another model
                    continue
                result[index] |= values
                if not np.isfinite(list(values.values())).all():
                    results[number] = BundleError(NOT_FINITE)
        return [results[number] for number in range(len(contents))]

    def _predict_mask(self, rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Segment the lesion with the full post-processing."""
        assert self._segmenter is not None
        threshold = self._segmenter.info.config.threshold
        return make_mask(self._segmenter.probability(rgb), threshold, LesionOptions().refinement)

    def image_warnings(self, samples: Sequence[Sample]) -> list[str]:
        missing = [warning for info in self.infos for warning in missing_field_warning(info, samples, self.images.rows)]
        return [*modality_warnings(self.infos, samples), *left_out_warnings(self.images), *missing]

    def summarize(self, measured: Sequence[ImageMetrics]) -> ClassEvaluation:
        (image_metrics,), model = measured, self.models[0]
        return summarize_classes(model, image_metrics, self.images, self.options, field_variants(model))


class TabularModel(Protocol):
    """A model with inputs from a table."""

    @property
    def encoding(self) -> TabularEncoding:
        """Encoding of the patient data."""


def field_variants(model: TabularModel) -> tuple[str, ...]:
    """Name the variants of clinical metadata that a model is run with.

    These are all fields, all but one for each field, and no field; all fields only for a model that uses no metadata.
    """
    fields = model.encoding.fields
    return (ALL_FIELDS, *(f"without_{name}" for name in fields), NO_FIELDS) if fields else (ALL_FIELDS,)


def logit_name(variant: str, index: int) -> str:
    return f"{variant}_logit_{index}"


def logit_names(model: Classifier) -> list[str]:
    """Name the logits of a model: of each class for each variant of the clinical metadata."""
    classes = range(len(model.info.config.classes))
    return [logit_name(variant, index) for variant in field_variants(model) for index in classes]


def _predict_values(
    model: Classifier,
    views: Sequence[NDArray[np.uint8]],
    rows: Sequence[Mapping[str, str]],
    recognized: Sequence[ModalityEstimate],
) -> list[dict[str, float]]:
    """Return logits, distance and depth of each image of a batch under one model, by the names of the values."""
    encoded, values = model.run_encoder(views), read_table_values(rows, model.encoding)
    values_by_image: list[dict[str, float]] = [{} for _ in encoded]
    for variant, omitted in zip(field_variants(model), omitted_fields(len(model.encoding.fields)), strict=True):
        for values_of_image, logits in zip(
            values_by_image, model.run_head_on_values(encoded, values.drop_columns(omitted)).tolist(), strict=True
        ):
            values_of_image |= {logit_name(variant, index): value for index, value in enumerate(logits)}
    for values_of_image, output, modality in zip(values_by_image, encoded, recognized, strict=True):
        distance = model.calibration.distance(output.embedding, modality)
        values_of_image |= ({} if distance is None else {DISTANCE: distance}) | depth_values(output)
    return values_by_image


def omitted_fields(fields: int) -> Iterable[NDArray[np.bool_]]:
    """Return the omitted fields, bool (field,), of each variant in the order of ``field_variants``."""
    no_field, every_field = np.zeros(fields, bool), np.ones(fields, bool)
    return [no_field, *np.eye(fields, dtype=bool), every_field] if fields else [no_field]


def load_segmenter_for(options: ClassEvaluationOptions) -> Segmenter | None:
    """Load the model that predicts the masks; None if the masks of the data set are used."""
    if options.masks == "reference":
        return None
    from napari_melanoma.lesion.segmentation import Segmenter

    return Segmenter.load(require_photograph_model(find_bundle(options.segmenter), "segmentation"))


def collect_predictions(
    model: CalibratedModel,
    image_metrics: ImageMetrics,
    images: LabeledImages,
    options: ClassEvaluationOptions,
    variant: str = ALL_FIELDS,
) -> ClassPredictions:
    """Return the predictions for the images that could be measured, in the order of ``image_metrics.measured``.

    ``variant``: which clinical metadata the model is given; see ``field_variants``.
    """
    config, indices, samples = model.info.config, image_metrics.measured, image_metrics.measured_samples
    assert config.classifier is not None
    names = [logit_name(variant, index) for index in range(len(config.classes))]
    logits = np.stack([image_metrics.column(name)[indices] for name in names], axis=1)
    probabilities = model.calibration.probabilities(logits.astype(np.float32))
    if images.classes != config.classes:  # against the rest
        positive = probabilities[:, config.classes.index(config.classifier.positive)]
        probabilities = np.stack([1 - positive, positive], axis=1)
    return ClassPredictions(
        probabilities,
        np.array([images.label_of[sample.key] for sample in samples], np.intp),
        np.array([sample.group for sample in samples]),
        images.classes,
        config.classifier.positive,
        _decision_threshold(model, options),
        np.array([sample.domain for sample in samples]),
    )


def _decision_threshold(model: CalibratedModel, options: ClassEvaluationOptions) -> float:
    """Return the decision threshold; 0.5 if the model has none."""
    point = model.calibration.operating_point(options.sensitivity)
    if point is None and options.sensitivity is not None:
        raise InputError(
            f"'{model.info.name}' contains no reference cases, which a threshold for a sensitivity of "
            f"{options.sensitivity:g} needs. Omit sensitivity (command line: --sensitivity), or train the model again."
        )
    return 0.5 if point is None else point.threshold


def summarize_classes(
    model: CalibratedModel,
    image_metrics: ImageMetrics,
    images: LabeledImages,
    options: ClassEvaluationOptions,
    variants: Sequence[str],
) -> ClassEvaluation:
    """Estimate all metrics from the measured values; ``variants``: of the clinical metadata."""
    collect = partial(collect_predictions, model, image_metrics, images, options)
    predictions, samples = collect(), image_metrics.measured_samples
    depths = evaluated_depths(model.info, image_metrics, images.rows)

    def estimate(positions: NDArray[np.intp]) -> Estimates:
        part = predictions.subset(positions)
        distances = image_metrics.column(DISTANCE)[image_metrics.measured[positions]]
        estimates = class_estimates(part) | _estimate_sets(model, part, distances)
        return estimates | (depths.estimates(list(part.groups), positions) if depths else {})

    parts = estimate_domains(image_metrics, estimate)
    subgroups = tuple(class_subgroups(predictions, samples, images.rows))
    predictions_without = {name: collect(name) for name in variants[1:]}
    auc_changes = {
        name: class_differences(predictions, without)["AUC"]
        for name, without in predictions_without.items()
        # A field that changes no prediction is empty in all rows.
        if "AUC" in parts[ALL_IMAGES] and not np.array_equal(without.probabilities, predictions.probabilities)
    }
    warnings = (*out_of_distribution_warning(model.info, image_metrics), *_reader_warnings(predictions))
    return ClassEvaluation(
        parts, image_metrics, subgroups, warnings, predictions=predictions, auc_changes=auc_changes, depths=depths
    )


def _estimate_sets(
    model: CalibratedModel, predictions: ClassPredictions, distances: NDArray[np.float64]
) -> dict[str, Estimate]:
    """Estimate the metrics of ``SET_METRICS`` that are defined for the model."""
    config = model.info.config.classifier
    assert config is not None
    outcomes: dict[str, NDArray[np.bool_]] = {}
    # Without reference cases, or for other classes, there are no prediction sets.
    if model.calibration.reference is not None and predictions.classes == model.info.config.classes:
        sets = model.calibration.prediction_sets(predictions.probabilities)
        outcomes["coverage"] = sets[np.arange(len(sets)), predictions.labels]
        outcomes["inconclusive"] = sets.sum(axis=1) != 1
    if config.novelty_threshold is not None and not np.isnan(distances).any():
        outcomes["out_of_distribution"] = distances > config.novelty_threshold
    return {
        name: bootstrap_mean(outcome.astype(float), list(predictions.groups), bounds=(0, 1))
        for name, outcome in outcomes.items()
    }


# Predicted and measured depths.


@dataclass(frozen=True, eq=False)
class EvaluatedDepths:
    """Predicted and measured depths of the images that could be evaluated, in their order.

    ``predicted``: in mm, with intervals. ``true_mm``: float64 (image,), the measured depth; NaN if unknown.
    """

    predicted: DepthIntervals
    true_mm: NDArray[np.float64]

    def estimates(self, groups: Sequence[object], positions: NDArray[np.intp]) -> Estimates:
        """Estimate the metrics of ``DEPTH_METRICS`` over some images; empty if too few depths are known.

        ``groups``: the patient or lesion of each of these images. ``positions``: int (image,).
        """
        predicted = DepthIntervals(*(column[positions] for column in self.predicted))
        return depth_metrics(predicted, self.true_mm[positions], groups)

    def columns(self, index: int) -> dict[str, object]:
        """Return the ``DEPTH_COLUMNS`` of an image in ``per_image.csv``: numbers in mm, "" if unknown."""
        numbers = (*(column[index] for column in self.predicted), self.true_mm[index])
        return {
            name: "" if np.isnan(number) else round(float(number), 4)
            for name, number in zip(DEPTH_COLUMNS, numbers, strict=True)
        }

    def draw(self, folder: Path) -> dict[str, str]:
        """Plot predicted over measured depths and their differences: title to file name; empty if too few are known."""
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
    true_mm = [read_number(rows.get(sample.key, {}).get(output.column)) for sample in image_metrics.measured_samples]
    return EvaluatedDepths(decode_depths(stored, output), np.array(true_mm, np.float64))


# Subgroups.


def class_subgroups(predictions: ClassPredictions, samples: Sequence[Sample], rows: Rows) -> Iterator[Subgroup]:
    """Estimate the metrics of subgroups of each data set: by diagnosis, sex, age, site and skin type."""
    assert predictions.domains is not None
    harmonizer = Harmonizer()
    metadata = [harmonizer.harmonize_row(rows.get(sample.key, {})) for sample in samples]

    def groupings(positions: NDArray[np.intp]) -> Iterable[tuple[str, NDArray[np.str_]]]:
        for by, read_value in SUBGROUP_KEYS.items():
            yield by, combine_rare_values(read_value(metadata[position]) or NOT_KNOWN for position in positions)

    for data, by, value, positions in divide_by_values(predictions.domains, groupings):
        part = predictions.subset(positions)
        positives, estimates = int(part.truth.sum()), class_estimates(part)
        if min(positives, len(positions) - positives) < MIN_PER_CLASS:
            estimates = {name: estimates[name] for name in WITHOUT_BOTH_CLASSES if name in estimates}
        yield Subgroup(data, by, value, len(positions), estimates, positives)


def _age_band(row: Mapping[str, str]) -> str:
    """Return the name of the age group of a row; "" if the age is unknown."""
    age = read_number(row.get("age"))
    return "" if np.isnan(age) else next(name for limit, name in AGES if age < limit)


# Property that divides a data set into subgroups, and the function that reads its value from a harmonized row.
SUBGROUP_KEYS: dict[str, Callable[[Mapping[str, str]], str]] = {
    "diagnosis": lambda row: row.get("diagnosis", ""),
    "sex": lambda row: row.get("sex", ""),
    "age": _age_band,
    "site": lambda row: row.get("site", ""),
    "Fitzpatrick type": lambda row: row.get("fitzpatrick", ""),
}


# Warnings.


def missing_field_warning(info: BundleInfo, samples: Sequence[Sample], rows: Rows) -> list[str]:
    """Warn of the fields that a model uses and that most images do not have: a sentence, or none."""
    encoding = info.config.tabular
    if encoding is None or not samples:
        return []
    values = read_table_values([rows.get(sample.key, {}) for sample in samples], encoding)
    total, missing_counts = len(values), (~values.known).sum(axis=0)
    fields = [
        f"{name} ({count} of {total})"
        for name, count in zip(encoding.fields, missing_counts.tolist(), strict=True)
        if count >= MOST * total
    ]
    return [MISSING_FIELDS.format(model=info.name, fields=", ".join(fields))] if fields else []


def out_of_distribution_warning(info: BundleInfo, image_metrics: ImageMetrics) -> list[str]:
    """Warn if most images are out of distribution for a model: a sentence, or none."""
    limit = None if info.config.classifier is None else info.config.classifier.novelty_threshold
    distances = image_metrics.column(DISTANCE)[image_metrics.measured]
    if limit is None or not len(distances):
        return []
    count, total = int((distances > limit).sum()), len(distances)  # an unknown distance is nan and not counted
    return [OUT_OF_DISTRIBUTION.format(model=info.name, count=count, total=total)] if count >= MOST * total else []


def left_out_warnings(images: LabeledImages) -> list[str]:
    """Warn of images without a class, and of those without a usable mask if the model needs one."""
    warnings = []
    if images.left_out:
        every = images.left_out + len(images.samples)
        warnings.append(LEFT_OUT.format(count=images.left_out, all=every, target=images.target))
    if images.without_mask:
        warnings.append(WITHOUT_MASK.format(count=images.without_mask))
    return warnings


def _reader_warnings(predictions: ClassPredictions) -> Iterator[str]:
    """Yield the warnings that precede the metrics."""
    if predictions.truth.all() or not predictions.truth.any():
        yield ONE_CLASS.format(
            what=f"other than {predictions.positive}" if predictions.truth.all() else predictions.positive
        )
        return
    assert predictions.domains is not None
    names = np.unique(predictions.domains)
    area = domain_auc(predictions)
    if len(names) > 1 and area >= DOMAIN_AUC_LIMIT:
        shares = ", ".join(
            f"{100 * predictions.truth[predictions.domains == name].mean():.0f} % of '{name}'" for name in names
        )
        yield DOMAIN_AUC_WARNING.format(area=area, shares=f"{shares} are {predictions.positive}")


# Curves and figures.


def compute_curves(predictions: ClassPredictions, name: str) -> tuple[ClassifierCurve, ClassifierCurve]:
    """Return the ROC curve and the precision-recall curve, with the point at the decision threshold."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    scores, truth = predictions.scores, predictions.truth
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(truth, scores)  # from the lowest score; ends with a point at recall 0
    roc_title = f"{name}: AUC {roc_auc_score(truth, scores):.3f}"
    precision_title = f"{name}: average precision {average_precision_score(truth, scores):.3f}"
    positive = scores >= predictions.threshold
    sensitivity, false_positive_rate = float(positive[truth].mean()), float(positive[~truth].mean())
    point = (sensitivity, float(truth[positive].mean())) if positive.any() else None
    return (
        ClassifierCurve(roc_title, fpr, tpr, (false_positive_rate, sensitivity)),
        ClassifierCurve(precision_title, recall[-2::-1], precision[-2::-1], point),
    )


def draw_evaluation(evaluation: ClassEvaluation, name: str, folder: Path) -> dict[str, Path]:
    """Draw all figures; curves only if there are images of both classes.

    ``name``: of the model. Returns title to file, in the order of the page.
    """
    predictions, shown = evaluation.predictions, {}
    if predictions.truth.any() and not predictions.truth.all():
        parts = {"all images": predictions, **_split_by_domain(predictions)}
        parts_with_both = [(part, key) for key, part in parts.items() if part.truth.any() and not part.truth.all()]
        titles = [key if len(parts_with_both) > 1 else name for _, key in parts_with_both]
        curves = [compute_curves(part, title) for (part, _), title in zip(parts_with_both, titles, strict=True)]
        plot_roc([roc for roc, _ in curves], folder / "roc.png")
        plot_precision_recall(
            [precision_recall for _, precision_recall in curves],
            float(predictions.truth.mean()),
            folder / "precision_recall.png",
        )
        shown = {"ROC curve": "roc.png", "Precision-recall curve": "precision_recall.png"}
    bins = reliability_curve(predictions.scores, predictions.truth)
    plot_reliability(bins, predictions.scores, folder / "reliability.png")
    plot_confusion(_count_confusion(predictions), predictions.classes, folder / "confusion.png")
    shown |= {"Reliability diagram": "reliability.png", "Confusion matrix": "confusion.png"}
    shown |= evaluation.depths.draw(folder) if evaluation.depths else {}
    if evaluation.auc_changes:
        bars = {_omitted_text(variant): estimate for variant, estimate in evaluation.auc_changes.items()}
        plot_bars(bars, "change of the AUC without the field, 95 % interval", folder / "contributions.png")
        shown["Contribution of the clinical metadata"] = "contributions.png"
    groups = {
        f"{g.data}, {g.by}: {g.value} (n = {g.count})": g.metrics["AUC"]
        for g in evaluation.subgroups
        if "AUC" in g.metrics
    }
    if groups:
        plot_bars(groups, "AUC, 95 % interval", folder / "subgroups.png", middle=0.5)
        shown["AUC of each subgroup"] = "subgroups.png"
    return {title: folder / file for title, file in shown.items()}


def _split_by_domain(predictions: ClassPredictions) -> dict[str, ClassPredictions]:
    """Split predictions by data set, if there are several."""
    names = np.unique(predictions.domains) if predictions.domains is not None else np.array([])
    return {str(name): predictions.subset(predictions.domains == name) for name in names} if len(names) > 1 else {}


def _omitted_text(variant: str) -> str:
    """Name the omitted fields."""
    return "all clinical metadata" if variant == NO_FIELDS else variant.removeprefix("without_")


def _count_confusion(predictions: ClassPredictions) -> NDArray[np.int64]:
    """Count the images of each pair of true and predicted class, int64 (true class, predicted class)."""
    return count_class_pairs(predictions.predicted, predictions.labels, len(predictions.classes))


# Stored evaluations.


@dataclass(frozen=True, eq=False)
class StoredClassEvaluation:
    """A stored evaluation of a classifier.

    ``images``: data set and image id, in the order of ``predictions``. ``overlap``: ``Overlap.facts``; None in
    evaluations of older versions.
    """

    name: str
    fingerprint: str
    predictions: ClassPredictions
    images: tuple[tuple[str, str], ...]
    options: Mapping[str, Any]
    warnings: tuple[str, ...]
    overlap: Mapping[str, Any] | None = None
    failed: tuple[FailedImage, ...] = ()


def is_class_evaluation(folder: Path) -> bool:
    """Return whether a folder contains the evaluation of a classifier."""
    try:
        about = read_json(folder / METRICS_FILE)
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("task") == TASK


def read_class_evaluation(folder: Path) -> StoredClassEvaluation:
    """Read a stored evaluation of a classifier."""
    try:
        about = read_json(folder / METRICS_FILE)
        classes = tuple(about["classes"])
        with (folder / TABLE).open(encoding="utf-8", newline="") as file:
            all_rows = list(read_csv_dicts(file))
        rows = [row for row in all_rows if row["status"] == "done"]
        failed = tuple(FailedImage(read_sample(row), row["error"]) for row in all_rows if row["status"] != "done")
        predictions = ClassPredictions(
            np.array([read_probabilities(row, classes) for row in rows]).reshape(-1, len(classes)),
            np.array([classes.index(row["label"]) for row in rows], np.intp),
            np.array([row["group"] for row in rows]),
            classes,
            about["positive"],
            about["threshold"],
            np.array([row["domain"] for row in rows]),
        )
        images = tuple((row["domain"], row["image_id"]) for row in rows)
        model = about["model"]["name"], about["model"]["fingerprint"]
        warnings, overlap = (*about["warnings"], *missing_overlap_warning(about)), about.get("training_overlap")
        return StoredClassEvaluation(*model, predictions, images, about["options"], warnings, overlap, failed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} contains no evaluation of a classifier that this version can read ({type(error).__name__}: "
            f"{parse_error_reason(error)}). Run it again: "
            "napari-melanoma evaluate --model BUNDLE --data DATASET --out DIR (Python: nm.evaluate)."
        ) from error

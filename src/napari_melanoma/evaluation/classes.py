"""Evaluation of classifiers of photographs: predicted and true classes, and depths if the model predicts them.

In this order: the adapter of the pipeline, estimates from a table, subgroups, warnings, curves and figures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from napari_melanoma.classification.prediction import NOT_FINITE, probability_columns
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.partial_results import stamp_files
from napari_melanoma.data.tabular_encoding import read_number, read_table_values
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions, LabeledImages, Rows, find_labeled_images
from napari_melanoma.evaluation.masks import REFERENCE_SHARE
from napari_melanoma.evaluation.pipeline import (
    ABOUT_IMAGE,
    ALL_IMAGES,
    NOT_KNOWN,
    TABLE,
    Estimates,
    Evaluation,
    EvaluationTask,
    LoadedModel,
    PageContent,
    Subgroup,
    combine_rare_values,
    divide_by_values,
    estimate_domains,
    estimates_to_json,
    identify_model,
    interval_text,
    measured_rows,
    metrics_table,
    run_evaluation,
    subgroups_table,
)
from napari_melanoma.evaluation.training_overlap import modality_warnings
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
from napari_melanoma.lesion.loaded_models import load_segmenter
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.metrics.agreement import MIN_CASES, DepthIntervals, decode_depths, depth_metrics
from napari_melanoma.metrics.calibration import calibration_error_by_chance
from napari_melanoma.metrics.class_metrics import ClassPredictions, class_differences, class_estimates, domain_auc
from napari_melanoma.metrics.metric_table import CLASS_METRICS, DEPTH_METRICS, SET_METRICS
from napari_melanoma.metrics.overlap import count_class_pairs
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean
from napari_melanoma.models.installed_bundles import require_task

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

    from napari_melanoma.classification.classifier import Classifier, PredictionCalibration
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
    "Left out: {count} images with a class, but without a mask, or with an unreviewed one. To include "
    "them, predict the masks (Python: masks='predicted', command line: --masks predicted)."
)
REJECTED_IMAGES = "Left out: {count} whose review is rejected."
LEFT_OUT = "{count} of {all} images have no class in the column '{target}', or one that the model does not predict."


def evaluate_classifier(
    model: Classifier, datasets: Sequence[Path], out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Evaluate a classifier and write the results, or resume where an earlier call was stopped."""
    require_task(model.info, "classification")
    images = find_labeled_images(datasets, model.info, options)
    task = ClassTask([model], images, options)
    return run_evaluation(task, images.samples, out, include_seen=options.include_seen, run=run)


# The adapter.


class CalibratedModel(LoadedModel, Protocol):
    """The attributes of a classifier that its metrics depend on."""

    @property
    def calibration(self) -> PredictionCalibration:
        """Calibration of predictions."""

    @property
    def encoding(self) -> TabularEncoding:
        """Encoding of the patient data."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassEvaluation(Evaluation):
    """Result of an evaluation of a classifier.

    ``predictions``, and the ``depths`` of a model that predicts them, are those of the measured images in order.
    ``auc_changes``: change of the AUC without each field of the clinical metadata, and without all fields.
    """

    predictions: ClassPredictions
    auc_changes: Mapping[str, Estimate]
    depths: EvaluatedDepths | None = None


@dataclass(frozen=True, eq=False)
class ClassContent:
    """A photograph with its mask, if any, its row of clinical metadata, and its stated modality, if any."""

    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    row: Mapping[str, str]
    modality: str | None


Content = TypeVar("Content")
ClassValues = list[dict[str, float]]  # of an image, for each model


class ClassReport(EvaluationTask[Content, ClassValues, ClassEvaluation], Generic[Content]):
    """What is estimated and written of predicted classes, of photographs and of slides."""

    options: ClassEvaluationOptions
    loaded: Sequence[CalibratedModel]
    subgroup_facts = ("data", "by", "value", "images", "positives")
    subgroup_metrics = tuple(CLASS_METRICS)

    def __init__(
        self, models: Sequence[CalibratedModel], images: LabeledImages, options: ClassEvaluationOptions
    ) -> None:
        super().__init__(models, options)
        self.images = images
        self.thresholds = [decision_threshold(model, options) for model in models]

    def summarize(self, tables: Sequence[DataFrame]) -> ClassEvaluation:
        """Estimate the metrics; the table gets the columns of true and predicted classes."""
        (table,), model, images = tables, self.loaded[0], self.images
        threshold, positive = self.thresholds[0], _positive_class(model)

        def collect(rows: DataFrame) -> ClassPredictions:
            return read_predictions(rows, images.classes, positive, threshold)

        table = add_classes(table, model, images)
        rows = measured_rows(table)
        predictions, depths = collect(rows), evaluated_depths(model.info, rows, images.rows)
        table = table.join(rows[[]].assign(predicted_class=np.array(images.classes)[predictions.predicted]))
        if depths is not None:
            table = table.join(
                rows[[]].assign(
                    **dict(zip(DEPTH_COLUMNS, np.round([*depths.predicted, depths.true_mm], 4), strict=True))
                )
            )

        def estimate(part: DataFrame) -> Estimates:
            chosen = collect(part)
            estimates = class_estimates(chosen) | _estimate_sets(model, chosen, part[DISTANCE].to_numpy())
            return estimates | (
                depths.estimates(part["group"].tolist(), rows.index.get_indexer(part.index)) if depths else {}
            )

        parts = estimate_domains(rows, estimate)
        auc_changes = {}
        for variant in field_variants(model)[1:]:
            without = collect(measured_rows(add_classes(table, model, images, variant)))
            # A field that changes no prediction is empty in all rows.
            if "AUC" in parts[ALL_IMAGES] and not np.array_equal(without.probabilities, predictions.probabilities):
                auc_changes[variant] = class_differences(predictions, without)["AUC"]
        whole = parts[ALL_IMAGES]
        shares = [f"{name} {whole[name]}" for name in ("sensitivity", "specificity") if name in whole]
        lead = f"AUC {whole['AUC']}. " if "AUC" in whole else ""
        lead += f"At the decision threshold {threshold:.3f}: {', '.join(shares)} (95 % intervals)."
        return ClassEvaluation(
            parts=parts,
            table=table,
            lead=lead,
            headline=f"{lead} Over {len(rows)} images",
            settings={"threshold": threshold},
            subgroups=tuple(class_subgroups(predictions, rows["sample"].tolist(), images.rows)),
            warnings=(*out_of_distribution_warning(model.info, rows), *_reader_warnings(predictions)),
            predictions=predictions,
            auc_changes=auc_changes,
            depths=depths,
        )

    def columns(self, evaluation: ClassEvaluation) -> list[str]:
        depths = DEPTH_COLUMNS if evaluation.depths else ()
        return [*ABOUT_IMAGE, "label", *self.exact_columns(evaluation), "predicted_class", *depths]

    def exact_columns(self, evaluation: ClassEvaluation) -> list[str]:
        return list(probability_columns(evaluation.predictions.classes).values())

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
            "ece_by_chance": dict(zip(("mean", "high"), chance, strict=True)),
            "confusion": _count_confusion(predictions).tolist(),
        }

    def draw(self, evaluation: ClassEvaluation, folder: Path, run: RunContext) -> dict[str, Path]:
        return draw_evaluation(evaluation, self.infos[0].name, folder)

    def describe(self, evaluation: ClassEvaluation) -> PageContent:
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
                metrics_table(evaluation, metrics),
                ("Contribution of the clinical metadata", ("Omitted", "Change of the AUC"), changes),
                subgroups_table(evaluation.subgroups, SHOWN_IN_SUBGROUPS, predictions.positive),
            ],
            notes=[
                f"Intervals: {interval_text(evaluation.measured)}; exact if all bootstrap "
                "samples are equal; of ECE and Brier score 1.96 standard errors of the bootstrap, widened likewise. A "
                "metric of one class is widened for the number of its patients or lesions.",
                f"Perfectly calibrated probabilities would have an ECE of {chance[0]:.3f} on this number of images, "
                f"and in one of twenty samples more than {chance[1]:.3f}.",
                f"No AUC is given for subgroups with fewer than {MIN_PER_CLASS} positives or {MIN_PER_CLASS} others.",
            ],
        )


def segment_lesion(segmenter: Segmenter, rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Segment the lesion of a photograph with the full post-processing."""
    return make_mask(segmenter.probability(rgb), segmenter.info.config.threshold, LesionOptions().refinement)


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
        self._segmenter = load_segmenter(options.segmenter) if options.masks == "predicted" else None

    @property
    def names(self) -> list[tuple[str, ...]]:
        return [(*logit_names(model), DISTANCE, REFERENCE_SHARE, *DEPTH_MEASURES) for model in self.models]

    @property
    def settings(self) -> dict[str, object]:
        return {
            "models": [identify_model(model) for model in self.models],
            "drawn_by": None if self._segmenter is None else identify_model(self._segmenter),
            "masks": self.options.masks,
        }

    def stamp(self, sample: Sample) -> str:
        row = self.images.rows.get(sample.key, {})
        text = json.dumps([stamp_files(sample), sample.modality, [row.get(name, "") for name in self._columns]])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def read(self, sample: Sample) -> ClassContent:
        mask = read_mask(sample.mask) if sample.mask is not None and self._segmenter is None else None
        photograph, row = read_photograph(sample.image), self.images.rows.get(sample.key, {})
        return ClassContent(photograph.rgb, mask, row, sample.modality or photograph.modality)

    def predict(self, contents: Sequence[ClassContent]) -> list[ClassValues | Exception]:
        results: dict[int, ClassValues | Exception] = {}
        views: dict[int, list[NDArray[np.uint8]]] = {}
        recognized: dict[int, ModalityEstimate | None] = {}
        for number, content in enumerate(contents):
            try:
                mask = content.mask if self._segmenter is None else segment_lesion(self._segmenter, content.rgb)
                recognized[number] = None if content.modality else recognize_modality(content.rgb)
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

    def image_warnings(self, samples: Sequence[Sample]) -> list[str]:
        missing = [warning for info in self.infos for warning in missing_field_warning(info, samples, self.images.rows)]
        return [*modality_warnings(self.infos, samples), *left_out_warnings(self.images), *missing]


def field_variants(model: CalibratedModel) -> tuple[str, ...]:
    """Name the variants of clinical metadata that a model is run with.

    These are all fields, all but one for each field, and no field; all fields only for a model that uses no metadata.
    """
    fields = model.encoding.fields
    return (ALL_FIELDS, *(f"without_{name}" for name in fields), NO_FIELDS) if fields else (ALL_FIELDS,)


def logit_names(model: CalibratedModel, variant: str = "") -> list[str]:
    """Name the logits of a model: of each class for each variant of the clinical metadata, or for one of them."""
    variants = (variant,) if variant else field_variants(model)
    return [f"{name}_logit_{index}" for name in variants for index in range(len(model.info.config.classes))]


def _predict_values(
    model: Classifier,
    views: Sequence[NDArray[np.uint8]],
    rows: Sequence[Mapping[str, str]],
    recognized: Sequence[ModalityEstimate | None],
) -> list[dict[str, float]]:
    """Return logits, distance and depth of each image of a batch under one model, by the names of the values.

    ``recognized``: modality of each image; None if it was stated.
    """
    encoded, values = model.run_encoder(views), read_table_values(rows, model.encoding)
    values_by_image: list[dict[str, float]] = [{} for _ in encoded]
    for variant, omitted in zip(field_variants(model), omitted_fields(model), strict=True):
        for values_of_image, logits in zip(
            values_by_image, model.run_head_on_values(encoded, values.drop_columns(omitted)).tolist(), strict=True
        ):
            values_of_image |= dict(zip(logit_names(model, variant), logits, strict=True))
    for values_of_image, output, modality in zip(values_by_image, encoded, recognized, strict=True):
        distance = model.calibration.distance(output.embedding, modality)
        values_of_image |= {} if distance is None else {DISTANCE: distance}
        values_of_image |= (
            {} if output.depth is None else dict(zip(DEPTH_MEASURES, map(float, output.depth), strict=False))
        )
    return values_by_image


def omitted_fields(model: CalibratedModel) -> Iterable[NDArray[np.bool_]]:
    """Return the omitted fields, bool (field,), of each variant in the order of ``field_variants``."""
    fields = len(model.encoding.fields)
    no_field, every_field = np.zeros(fields, bool), np.ones(fields, bool)
    return [no_field, *np.eye(fields, dtype=bool), every_field] if fields else [no_field]


# Estimates from a table.


def _positive_class(model: LoadedModel) -> str:
    assert model.info.config.classifier is not None
    return model.info.config.classifier.positive


def add_classes(
    table: DataFrame, model: CalibratedModel, images: LabeledImages, variant: str = ALL_FIELDS
) -> DataFrame:
    """Add the true class and the calibrated probabilities of the measured images to a table of logits.

    ``variant``: which clinical metadata the model is given; see ``field_variants``.
    """
    classes, rows = model.info.config.classes, measured_rows(table)
    probabilities = model.calibration.probabilities(rows[logit_names(model, variant)].to_numpy(np.float32))
    if images.classes != classes:  # against the rest
        positive = probabilities[:, classes.index(_positive_class(model))]
        probabilities = np.stack([1 - positive, positive], axis=1)
    added = rows[[]].assign(label=[images.classes[images.label_of[sample.key]] for sample in rows["sample"]])
    added[list(probability_columns(images.classes).values())] = probabilities
    return table.drop(columns=added.columns, errors="ignore").join(added)


def read_predictions(rows: DataFrame, classes: tuple[str, ...], positive: str, threshold: float) -> ClassPredictions:
    return ClassPredictions(
        rows[list(probability_columns(classes).values())].to_numpy(np.float64),
        np.array([classes.index(label) for label in rows["label"]], np.intp),
        rows["group"].to_numpy(str),
        classes,
        positive,
        threshold,
        rows["domain"].to_numpy(str),
    )


def decision_threshold(model: CalibratedModel, options: ClassEvaluationOptions) -> float:
    """Return the decision threshold; 0.5 if the model has none."""
    point = model.calibration.operating_point(options.sensitivity)
    if point is None and options.sensitivity is not None:
        raise InputError(
            f"'{model.info.name}' contains no reference cases, which a threshold for a sensitivity of "
            f"{options.sensitivity:g} needs. Omit sensitivity (command line: --sensitivity), or train the model again."
        )
    return 0.5 if point is None else point.threshold


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

    def draw(self, folder: Path) -> dict[str, str]:
        """Plot predicted over measured depths and their differences: title to file name; empty if too few are known."""
        known = ~np.isnan(self.true_mm)
        if known.sum() < MIN_CASES:
            return {}
        plot_depths({"": (self.predicted.mm[known], self.true_mm[known])}, folder / "depth.png")
        return {DEPTH_TITLE: "depth.png"}


def evaluated_depths(info: BundleInfo, rows: DataFrame, known: Rows) -> EvaluatedDepths | None:
    """Combine predicted and measured depths of some images; None if the model predicts no depth."""
    output = info.config.classifier.depth if info.config.classifier else None
    if output is None:
        return None
    stored = rows[list(DEPTH_MEASURES)].to_numpy(np.float64)
    if np.isnan(stored[:, 1]).all():  # the model predicts no variance
        stored = stored[:, :1]
    true_mm = [read_number(known.get(sample.key, {}).get(output.column), output.column) for sample in rows["sample"]]
    return EvaluatedDepths(decode_depths(stored, output), np.array(true_mm, np.float64))


# Subgroups.


def class_subgroups(predictions: ClassPredictions, samples: Sequence[Sample], rows: Rows) -> Iterator[Subgroup]:
    """Estimate the metrics of subgroups of each data set: by diagnosis, sex, age, site and skin type."""
    import pandas as pd

    harmonizer = Harmonizer()
    metadata = [harmonizer.harmonize_row(rows.get(sample.key, {})) for sample in samples]
    table = pd.DataFrame({"domain": predictions.domains})

    def groupings(part: DataFrame) -> Iterable[tuple[str, NDArray[np.str_]]]:
        for by, read_value in SUBGROUP_KEYS.items():
            yield by, combine_rare_values(read_value(metadata[position]) or NOT_KNOWN for position in part.index)

    for data, by, value, chosen in divide_by_values(table, groupings):
        positions = chosen.index.to_numpy()
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


def out_of_distribution_warning(info: BundleInfo, rows: DataFrame) -> list[str]:
    """Warn if most images are out of distribution for a model: a sentence, or none."""
    limit = None if info.config.classifier is None else info.config.classifier.novelty_threshold
    distances = rows[DISTANCE]
    if limit is None or not len(distances):
        return []
    count, total = int((distances > limit).sum()), len(distances)  # an unknown distance is nan and not counted
    return [OUT_OF_DISTRIBUTION.format(model=info.name, count=count, total=total)] if count >= MOST * total else []


def left_out_warnings(images: LabeledImages) -> list[str]:
    """Warn of images without a class, of those without a usable mask if the model needs one, and of rejected ones."""
    warnings = []
    if images.left_out:
        every = images.left_out + len(images.samples)
        warnings.append(LEFT_OUT.format(count=images.left_out, all=every, target=images.target))
    if images.without_mask:
        warnings.append(WITHOUT_MASK.format(count=images.without_mask))
    if images.rejected:
        warnings.append(REJECTED_IMAGES.format(count=format_count(images.rejected, "image")))
    return warnings


def _reader_warnings(predictions: ClassPredictions) -> Iterator[str]:
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
        plot_roc({"": [roc for roc, _ in curves]}, folder / "roc.png")
        plot_precision_recall(
            [precision_recall for _, precision_recall in curves],
            float(predictions.truth.mean()),
            folder / "precision_recall.png",
        )
        shown = {"ROC curve": "roc.png", "Precision-recall curve": "precision_recall.png"}
    plot_reliability({"": {"": (predictions.scores, predictions.truth)}}, folder / "reliability.png")
    plot_confusion({"": _count_confusion(predictions)}, predictions.classes, folder / "confusion.png")
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
    return "all clinical metadata" if variant == NO_FIELDS else variant.removeprefix("without_")


def _count_confusion(predictions: ClassPredictions) -> NDArray[np.int64]:
    """Count the images of each pair of true and predicted class, int64 (true class, predicted class)."""
    return count_class_pairs(predictions.predicted, predictions.labels, len(predictions.classes))

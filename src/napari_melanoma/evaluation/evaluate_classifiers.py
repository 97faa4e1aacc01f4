"""Evaluate a classifier on labeled images: metrics, subgroups, and the files of the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.classification.prediction import probability_columns, read_probabilities
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.csv_files import read_csv_dicts
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.renamed_keys import rename_keys
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.data.tabular_encoding import read_number, read_table_values
from napari_melanoma.evaluation.classifier_measurement import (
    ALL_FIELDS,
    DEPTH_COLUMNS,
    DISTANCE,
    LESS_IS_BETTER,
    METRICS,
    NO_FIELDS,
    ClassEvaluationOptions,
    ClassPredictions,
    EvaluatedDepths,
    LabeledImages,
    Rows,
    class_differences,
    class_estimates,
    domain_auc,
    evaluated_depths,
    field_variants,
    find_labeled_images,
    logit_name,
    measure_classifiers,
)
from napari_melanoma.evaluation.mask_results import (
    NOT_KNOWN,
    FailedImage,
    ImageMetrics,
    combine_rare_values,
    estimates_to_json,
    interval_cells,
)
from napari_melanoma.evaluation.metrics_files import (
    describe_intervals,
    evaluation_page,
    evaluation_values,
    metrics_table,
    read_sample,
)
from napari_melanoma.evaluation.pages import Page, Table, directed_label, write_evaluation_page
from napari_melanoma.evaluation.training_overlap import (
    TRAINED_ON,
    mark_training_rows,
    missing_overlap_warning,
    modality_warnings,
    report_warnings,
)
from napari_melanoma.figures.evaluation import (
    ClassifierCurve,
    plot_bars,
    plot_confusion,
    plot_precision_recall,
    plot_reliability,
    plot_roc,
)
from napari_melanoma.io.results import write_table
from napari_melanoma.metrics.agreement import DEPTH_METRICS
from napari_melanoma.metrics.calibration import calibration_error_by_chance, reliability_curve
from napari_melanoma.metrics.overlap import count_class_pairs
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean
from napari_melanoma.models.installed_bundles import find_bundle, require_photograph_model, require_task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.classify import ClassifierModel
    from napari_melanoma.evaluation.training_overlap import Overlap
    from napari_melanoma.lesion.analysis import ProbabilityModel
    from napari_melanoma.models.bundle import BundleInfo

SUMMARY, TABLE, TASK = "summary.html", "per_image.csv", "classification"
SET_METRICS = {
    "coverage": "share whose prediction set contains the true class",
    "inconclusive": "share whose prediction set contains several classes, or none",
    "out_of_distribution": "share of images out of distribution, unlike the training images",
}
WORDS = METRICS | SET_METRICS | DEPTH_METRICS
IN_SUBGROUPS = ("AUC", "AP", "sensitivity", "specificity", "ECE")
SUBGROUP_COLUMNS = (
    *("data", "by", "value", "images", "positives"),
    *(f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")),
)
# Exclusive upper limit of each age group, and its name.
AGES = ((30, "0 to 29"), (50, "30 to 49"), (70, "50 to 69"), (np.inf, "70 and over"))
MIN_PER_CLASS = 5  # positives and others: with fewer an AUC is meaningless


@dataclass(frozen=True)
class ClassSubgroup:
    """Images of a data set with the same value of a property, such as the sex, and the metrics on them."""

    data: str
    by: str
    value: str
    count: int
    positives: int
    metrics: dict[str, Estimate]


def class_subgroups(predictions: ClassPredictions, samples: Sequence[Sample], rows: Rows) -> Iterator[ClassSubgroup]:
    """Estimate the metrics of subgroups of each data set: by diagnosis, sex, age, site and skin type."""
    assert predictions.domains is not None
    harmonizer = Harmonizer()
    metadata = [harmonizer.harmonize_row(rows.get(sample.key, {})) for sample in samples]
    for domain in np.unique(predictions.domains):
        indices = np.flatnonzero(predictions.domains == domain)
        for by, read_value in SUBGROUP_KEYS.items():
            values = combine_rare_values(read_value(metadata[index]) or NOT_KNOWN for index in indices)
            for value in sorted(set(values.tolist()), key=lambda word: (word == NOT_KNOWN, word)):
                members = indices[values == value]
                if 0 < len(members) < len(indices):
                    yield _subgroup(predictions.subset(members), str(domain), by, str(value))


def _subgroup(predictions: ClassPredictions, data: str, by: str, value: str) -> ClassSubgroup:
    """Estimate the metrics of a subgroup; with too few images of a class, only those that do not need both."""
    positives, count = int(predictions.truth.sum()), len(predictions.labels)
    estimates = class_estimates(predictions)
    if min(positives, count - positives) < MIN_PER_CLASS:
        estimates = {
            name: estimate for name, estimate in estimates.items() if name in ("sensitivity", "specificity", "accuracy")
        }
    return ClassSubgroup(data, by, value, count, positives, estimates)


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
DOMAIN_AUC_LIMIT = 0.55  # AUC of a predictor that uses only the data set, from which users are warned
DOMAIN_AUC_WARNING = (
    "Over all data sets together, recognizing the data set alone gives an AUC of {area:.3f}, since {shares}. Assess "
    "each data set separately, or use the AUC within data sets."
)
ONE_CLASS = "No image is {what}: metrics that need both classes, such as the AUC, cannot be measured."
MOST = 0.5  # share of the images from which users are warned
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


@dataclass(frozen=True, eq=False)
class ClassEvaluation:
    """Result of an evaluation of a classifier.

    ``image_metrics``: the stored values of each image. ``predictions``, and the ``depths`` of a model that predicts
    them, are in the order of ``image_metrics.measured``. ``parts``: "all", or a data set, to its estimates by metric.
    ``auc_changes``: change of the AUC without each field of the clinical metadata, and without all fields.
    """

    predictions: ClassPredictions
    image_metrics: ImageMetrics
    parts: dict[str, dict[str, Estimate]]
    subgroups: tuple[ClassSubgroup, ...] = ()
    auc_changes: Mapping[str, Estimate] | None = None
    warnings: tuple[str, ...] = ()
    depths: EvaluatedDepths | None = None
    overlap: Overlap | None = None

    @property
    def failed(self) -> tuple[FailedImage, ...]:
        """The images that could not be measured."""
        return self.image_metrics.failed

    @property
    def images(self) -> int:
        """Number of measured images."""
        return len(self.predictions.labels)

    @property
    def lead(self) -> str:
        """One or two sentences: AUC, sensitivity and specificity."""
        whole = self.parts["all"]
        sentences = [f"AUC {whole['AUC']}."] if "AUC" in whole else []
        shares = [f"{name} {whole[name]}" for name in ("sensitivity", "specificity") if name in whole]
        threshold = f"{self.predictions.threshold:.3f}"
        return " ".join([*sentences, f"At the decision threshold {threshold}: {', '.join(shares)} (95 % intervals)."])

    @property
    def headline(self) -> str:
        """The main result in a line."""
        return f"{self.lead} Over {self.images} images"

    @property
    def settings(self) -> dict[str, object]:
        """The decision threshold, as a JSON value."""
        return {"threshold": self.predictions.threshold}


def evaluate_classifier(
    model: ClassifierModel, datasets: Sequence[Path], out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Evaluate a classifier and write the results, or resume where an earlier call was stopped."""
    require_task(model.info, "classification")
    return evaluate_on_images(model, find_labeled_images(datasets, model, options), out, options, run=run)


def evaluate_on_images(
    model: ClassifierModel, images: LabeledImages, out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Evaluate a classifier on selected images; see ``evaluate_classifier``."""
    images = images.without_training_images([model.info], options, run=run)
    warnings = labeled_image_warnings([model.info], images)
    report_warnings(warnings, len(images.samples), run)
    (image_metrics,) = measure_classifiers(
        [model], images.samples, images.rows, options, out, segmenter=load_segmenter_for(options), run=run
    )
    evaluation = summarize_evaluation(model, image_metrics, images, options)
    report_warnings(evaluation.warnings, len(images.samples), run)
    overlap_warnings = images.overlap.warnings if images.overlap else ()
    warnings = [*overlap_warnings, *warnings, *evaluation.warnings]
    evaluation = replace(evaluation, warnings=tuple(warnings), overlap=images.overlap)
    write_class_evaluation(out, evaluation, model, options)
    remove_partial_results(out)
    return evaluation


def labeled_image_warnings(models: Sequence[BundleInfo], images: LabeledImages) -> list[str]:
    """Warn of images of a type that a model was not trained on, without a class, or without most clinical metadata."""
    missing = [warning for info in models for warning in missing_field_warning(info, images)]
    return [*modality_warnings(models, images.samples), *left_out_warning(images), *missing]


def missing_field_warning(info: BundleInfo, images: LabeledImages) -> list[str]:
    """Warn of the fields that a model uses and that most images do not have: a sentence, or none."""
    encoding = info.config.tabular
    if encoding is None or not images.samples:
        return []
    values = read_table_values([images.rows.get(sample.key, {}) for sample in images.samples], encoding)
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


def left_out_warning(images: LabeledImages) -> list[str]:
    """Warn of images without a class, and of those without a usable mask if the model needs one."""
    warnings = []
    if images.left_out:
        every = images.left_out + len(images.samples)
        warnings.append(LEFT_OUT.format(count=images.left_out, all=every, target=images.target))
    if images.without_mask:
        warnings.append(WITHOUT_MASK.format(count=images.without_mask))
    return warnings


def load_segmenter_for(options: ClassEvaluationOptions) -> ProbabilityModel | None:
    """Load the model that predicts the masks; None if the masks of the data set are used."""
    if options.masks == "reference":
        return None
    from napari_melanoma.lesion.segmentation import Segmenter

    return Segmenter.load(require_photograph_model(find_bundle(options.segmenter), "segmentation"))


def collect_predictions(
    model: ClassifierModel,
    image_metrics: ImageMetrics,
    images: LabeledImages,
    options: ClassEvaluationOptions,
    variant: str = ALL_FIELDS,
) -> ClassPredictions:
    """Return the predictions for the images that could be measured, in the order of ``image_metrics.measured``.

    ``variant``: which clinical metadata the model is given; see ``field_variants``.
    """
    config, indices = model.info.config, image_metrics.measured
    assert config.classifier is not None
    names = [logit_name(variant, index) for index in range(len(config.classes))]
    logits = np.stack([image_metrics.column(name)[indices] for name in names], axis=1)
    samples = [image_metrics.samples[index] for index in indices]
    probabilities = model.calibration.probabilities(logits.astype(np.float32))
    if images.classes != config.classes:  # against the rest
        positive = probabilities[:, config.classes.index(config.classifier.positive)]
        probabilities = np.stack([1 - positive, positive], axis=1)
    return ClassPredictions(
        probabilities,
        images.labels[indices],
        np.array([sample.group for sample in samples]),
        images.classes,
        config.classifier.positive,
        _decision_threshold(model, options),
        np.array([sample.domain for sample in samples]),
    )


def _decision_threshold(model: ClassifierModel, options: ClassEvaluationOptions) -> float:
    """Return the decision threshold; 0.5 if the model has none."""
    point = model.calibration.operating_point(options.sensitivity)
    if point is None and options.sensitivity is not None:
        raise InputError(
            f"'{model.info.name}' contains no reference cases, which a threshold for a sensitivity of "
            f"{options.sensitivity:g} needs. Omit sensitivity (command line: --sensitivity), or train the model again."
        )
    return 0.5 if point is None else point.threshold


def summarize_evaluation(
    model: ClassifierModel, image_metrics: ImageMetrics, images: LabeledImages, options: ClassEvaluationOptions
) -> ClassEvaluation:
    """Estimate all metrics from the measured values."""
    predictions = collect_predictions(model, image_metrics, images, options)
    domains = predictions.domains
    assert domains is not None
    depths = evaluated_depths(model.info, image_metrics, images.rows)
    parts = {"all": class_estimates(predictions) | _set_metrics(model, predictions, image_metrics)}
    for domain in np.unique(domains):
        in_domain = domains == domain
        parts[str(domain)] = class_estimates(predictions.subset(in_domain)) | _set_metrics(
            model, predictions.subset(in_domain), image_metrics, image_metrics.measured[in_domain]
        )
        parts[str(domain)] |= depths.estimates(list(predictions.groups[in_domain]), in_domain) if depths else {}
    parts["all"] |= depths.estimates(list(predictions.groups)) if depths else {}
    subgroups = tuple(
        class_subgroups(predictions, [image_metrics.samples[index] for index in image_metrics.measured], images.rows)
    )
    predictions_without = {
        name: collect_predictions(model, image_metrics, images, options, name) for name in field_variants(model)[1:]
    }
    auc_changes = {
        name: class_differences(predictions, without)["AUC"]
        for name, without in predictions_without.items()
        # A field that changes no prediction is empty in all rows.
        if "AUC" in parts["all"] and not np.array_equal(without.probabilities, predictions.probabilities)
    }
    warnings = (*out_of_distribution_warning(model.info, image_metrics), *_reader_warnings(predictions))
    return ClassEvaluation(predictions, image_metrics, parts, subgroups, auc_changes, warnings, depths)


def _set_metrics(
    model: ClassifierModel,
    predictions: ClassPredictions,
    image_metrics: ImageMetrics,
    indices: NDArray[np.intp] | None = None,
) -> dict[str, Estimate]:
    """Estimate the metrics of ``SET_METRICS`` that are defined for the model.

    ``predictions``: of the images with ``indices`` in ``image_metrics``; None: of all measured images.
    """
    config = model.info.config.classifier
    assert config is not None
    outcomes: dict[str, NDArray[np.bool_]] = {}
    # Without reference cases, or for other classes, there are no prediction sets.
    if model.calibration.reference is not None and predictions.classes == model.info.config.classes:
        sets = model.calibration.prediction_sets(predictions.probabilities)
        outcomes["coverage"] = sets[np.arange(len(sets)), predictions.labels]
        outcomes["inconclusive"] = sets.sum(axis=1) != 1
    distances = image_metrics.column(DISTANCE)[image_metrics.measured if indices is None else indices]
    if config.novelty_threshold is not None and not np.isnan(distances).any():
        outcomes["out_of_distribution"] = distances > config.novelty_threshold
    return {
        name: bootstrap_mean(outcome.astype(float), list(predictions.groups), bounds=(0, 1))
        for name, outcome in outcomes.items()
    }


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


def write_class_evaluation(
    out: Path, evaluation: ClassEvaluation, model: ClassifierModel, options: ClassEvaluationOptions
) -> None:
    """Write tables, figures and, last, the page."""
    predictions = evaluation.predictions
    columns = probability_columns(predictions.classes).values()
    names = (
        "image_id",
        "domain",
        "split",
        "group",
        "diagnosis",
        "status",
        "error",
        "label",
        *columns,
        "predicted_class",
    )
    rows = mark_training_rows(_image_rows(evaluation), evaluation.image_metrics.samples, evaluation.overlap)
    write_table(out / TABLE, rows, (*names, *(DEPTH_COLUMNS if evaluation.depths else ()), TRAINED_ON))
    write_table(out / "subgroups.csv", [_subgroup_row(group) for group in evaluation.subgroups], SUBGROUP_COLUMNS)
    about = _about(evaluation, model, options)
    write_json(out / "metrics.json", about)
    shown = draw_evaluation(evaluation, model.info.name, out / "figures")
    write_evaluation_page(_page(evaluation, model, options, shown), out / SUMMARY)


def is_class_evaluation(folder: Path) -> bool:
    """Return whether a folder contains the evaluation of a classifier."""
    try:
        about = read_json(folder / "metrics.json")
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("task") == TASK


def read_class_evaluation(folder: Path) -> StoredClassEvaluation:
    """Read a stored evaluation of a classifier."""
    try:
        about = rename_keys("evaluation", read_json(folder / "metrics.json"))
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
    plot_confusion(
        count_class_pairs(predictions.predicted, predictions.labels, len(predictions.classes)),
        predictions.classes,
        folder / "confusion.png",
    )
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


def _image_rows(evaluation: ClassEvaluation) -> Iterator[dict[str, object]]:
    """Yield the rows of ``per_image.csv``: the stored values of each image, with its true and predicted class."""
    predictions, predicted = evaluation.predictions, evaluation.predictions.predicted
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
            "predicted_class": predictions.classes[predicted[index]],
        }
        yield row | classes | probabilities | (evaluation.depths.columns(index) if evaluation.depths else {})


def _subgroup_row(group: ClassSubgroup) -> dict[str, object]:
    """Return the row of a subgroup in ``subgroups.csv``."""
    row: dict[str, object] = {"data": group.data, "by": group.by, "value": group.value}
    row |= {"images": group.count, "positives": group.positives}
    return row | interval_cells(group.metrics)


def _about(evaluation: ClassEvaluation, model: ClassifierModel, options: ClassEvaluationOptions) -> dict[str, Any]:
    """Return the content of ``metrics.json``."""
    predictions = evaluation.predictions
    groups = [
        {"data": g.data, "by": g.by, "value": g.value, "images": g.count, "positives": g.positives}
        | {"metrics": estimates_to_json(g.metrics)}
        for g in evaluation.subgroups
    ]
    settings = {
        "classes": list(predictions.classes),
        "positive": predictions.positive,
        **evaluation.settings,
        "images": evaluation.images,
        "positives": int(predictions.truth.sum()),
    }
    details = {
        "auc_without": estimates_to_json(evaluation.auc_changes or {}),
        "ece_by_chance": dict(zip(("mean", "high"), calibration_error_by_chance(predictions.scores), strict=True)),
        "confusion": count_class_pairs(predictions.predicted, predictions.labels, len(predictions.classes)).tolist(),
        "subgroups": groups,
    }
    used_options = {"options": options.model_dump(mode="json")}
    return {
        "task": TASK,
        **evaluation_values(evaluation, _measured_samples(evaluation), model, settings, used_options, details),
    }


def _measured_samples(evaluation: ClassEvaluation) -> list[Sample]:
    return [evaluation.image_metrics.samples[index] for index in evaluation.image_metrics.measured]


def _page(
    evaluation: ClassEvaluation, model: ClassifierModel, options: ClassEvaluationOptions, shown: Mapping[str, Path]
) -> Page:
    """Return the content of the page."""
    predictions, parts = evaluation.predictions, evaluation.parts
    data = sorted({sample.domain for sample in evaluation.image_metrics.samples})
    chance = calibration_error_by_chance(predictions.scores)
    masks = f", masks predicted by {options.segmenter}" if options.masks == "predicted" else ""
    positives = f"{int(predictions.truth.sum())} of them {predictions.positive}"
    split = f", split {options.split}" if options.split else ""
    return evaluation_page(
        evaluation,
        model.info,
        data,
        [
            f"Intervals: {describe_intervals(_measured_samples(evaluation))}; exact if all bootstrap samples are "
            "equal; of ECE and Brier score 1.96 standard errors of the bootstrap, widened likewise. A metric of one "
            "class is widened for the number of its patients or lesions.",
            f"Perfectly calibrated probabilities would have an ECE of {chance[0]:.3f} on this number of images, and in "
            f"one of twenty samples more than {chance[1]:.3f}.",
            "No AUC is given for subgroups with fewer than 5 positives or 5 others.",
        ],
        facts=f"{evaluation.images} images, {positives}, decision threshold {predictions.threshold:.3f}{masks}{split}",
        lead=evaluation.lead,
        next=f"Review the curves and the lowest subgroups. {TABLE} lists the prediction for every image; "
        "napari-melanoma compare compares this evaluation with that of another model.",
        tables=[
            metrics_table(parts, data, WORDS, LESS_IS_BETTER),
            *_metadata_table(evaluation),
            ("Subgroups", _subgroup_header(predictions.positive), _subgroup_rows(evaluation)),
        ],
        figures=shown,
    )


def _metadata_table(evaluation: ClassEvaluation) -> Iterator[Table]:
    """Yield the table of contributions of the clinical metadata, if any were measured."""
    changes = evaluation.auc_changes or {}
    rows = [(_omitted_text(name), f"{one.mean:+.3f} ({one.format_interval()})") for name, one in changes.items()]
    if rows:
        yield "Contribution of the clinical metadata", ("Omitted", "Change of the AUC"), rows


def _subgroup_header(positive: str) -> tuple[str, ...]:
    """Return the header of the table of subgroups."""
    metrics = (directed_label(name, LESS_IS_BETTER) for name in IN_SUBGROUPS)
    return "Data set", "Property", "Value", "n", positive, *metrics


def _subgroup_rows(evaluation: ClassEvaluation) -> list[tuple[str, ...]]:
    """Return the rows of the table of subgroups."""
    shown: list[tuple[str, ...]] = []
    for g in evaluation.subgroups:
        cells = [f"{g.metrics[name].mean:.3f}" if name in g.metrics else "" for name in IN_SUBGROUPS]
        shown.append((g.data, g.by, g.value, str(g.count), str(g.positives), *cells))
    return shown

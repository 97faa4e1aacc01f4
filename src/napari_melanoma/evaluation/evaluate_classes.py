"""Measure a classifier on images whose class is known: metrics, subgroups, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.classification.prediction import probability_columns, read_probabilities
from napari_melanoma.core.context import Milestone, RunContext
from napari_melanoma.core.csv_files import read_csv_dicts
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.features.encoding import read_number
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.evaluation.class_measurement import (
    ALL_FIELDS,
    DISTANCE,
    NO_FIELDS,
    ClassEvaluationOptions,
    EvaluatedDepths,
    Rows,
    evaluated_depths,
    field_variants,
    logit_name,
    measure_classifiers,
)
from napari_melanoma.evaluation.class_measurement import DEPTH_COLUMNS as DEPTHS
from napari_melanoma.evaluation.class_metrics import (
    LESS_IS_BETTER,
    METRICS,
    ClassPredictions,
    LabeledImages,
    class_differences,
    class_estimates,
    domain_auc,
    find_labeled_images,
)
from napari_melanoma.evaluation.overlap import (
    TRAINED_ON,
    mark_training_rows,
    missing_overlap_warning,
    overlap_statement,
)
from napari_melanoma.evaluation.pages import Page, write_evaluation_page
from napari_melanoma.evaluation.results import NOT_KNOWN, FailedImage, ImageMetrics, most_frequent
from napari_melanoma.figures.classification import (
    ClassifierCurve,
    plot_bars,
    plot_confusion,
    plot_precision_recall,
    plot_reliability,
    plot_roc,
)
from napari_melanoma.io.results import write_table
from napari_melanoma.lesion.modality import modality_warnings
from napari_melanoma.metrics.agreement import DEPTH_METRICS
from napari_melanoma.metrics.calibration import calibration_error_by_chance, reliability_curve
from napari_melanoma.metrics.ranking import (
    area_under_roc,
    average_precision,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
)
from napari_melanoma.metrics.statistics import INTERVAL_METHOD, Estimate, bootstrap_mean
from napari_melanoma.models.registry import find_bundle, require_photograph_model, require_task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.classify import ClassifierModel
    from napari_melanoma.evaluation.overlap import Overlap
    from napari_melanoma.lesion.analysis import ProbabilityModel
    from napari_melanoma.models.bundle import BundleInfo

AGES = ((30, "0 to 29"), (50, "30 to 49"), (70, "50 to 69"), (np.inf, "70 and over"))
MIN_PER_CLASS = 5  # positives or others: an area of fewer says nothing


@dataclass(frozen=True)
class ClassSubgroup:
    """Images of a data set that have something in common: by what, which value, how many, and how the model did."""

    data: str
    by: str
    value: str
    count: int
    positives: int
    metrics: dict[str, Estimate]


def class_subgroups(predictions: ClassPredictions, samples: Sequence[Sample], rows: Rows) -> Iterator[ClassSubgroup]:
    """Estimate how a model does on images that have something in common, within each data set.

    By diagnosis, sex, age, site and skin type, where they divide a data set.
    """
    assert predictions.domains is not None
    harmoniser = Harmonizer()
    said = [harmoniser.harmonize_row(rows.get((sample.domain, sample.image_id), {})) for sample in samples]
    for domain in np.unique(predictions.domains):
        places = np.flatnonzero(predictions.domains == domain)
        for by, word_of in SUBGROUP_KEYS.items():
            values = most_frequent(word_of(said[place]) or NOT_KNOWN for place in places)
            for value in sorted(set(values.tolist()), key=lambda word: (word == NOT_KNOWN, word)):
                here = places[values == value]
                if 0 < len(here) < len(places):
                    yield _subgroup(predictions.subset(here), str(domain), by, str(value))


def _subgroup(told: ClassPredictions, data: str, by: str, value: str) -> ClassSubgroup:
    """Estimates of a few images, without those that so few cannot have."""
    positives, count = int(told.truth.sum()), len(told.labels)
    found = class_estimates(told)
    if min(positives, count - positives) < MIN_PER_CLASS:
        found = {name: one for name, one in found.items() if name in ("sensitivity", "specificity", "accuracy")}
    return ClassSubgroup(data, by, value, count, positives, found)


def _age_band(row: Mapping[str, str]) -> str:
    """The band of an age; empty where it is not known."""
    age = read_number(row.get("age"))
    return "" if np.isnan(age) else next(name for limit, name in AGES if age < limit)


SUBGROUP_KEYS: dict[str, Callable[[Mapping[str, str]], str]] = {
    "diagnosis": lambda row: row.get("diagnosis", ""),
    "sex": lambda row: row.get("sex", ""),
    "age": _age_band,
    "site": lambda row: row.get("site", ""),
    "Fitzpatrick type": lambda row: row.get("fitzpatrick", ""),
}
DOMAIN_AUC_LIMIT = 0.55  # the AUC of knowing the data set alone, from which a reader is warned
DOMAIN_AUC_WARNING = (
    "Over all data sets together, an AUC of {area:.3f} is had by who knows of each image its data set alone, since "
    "{shares}. Look at each data set by itself, or at AUC_within."
)
ONE_CLASS = "No image is {what}: what tells the classes apart, such as the AUC, cannot be measured on these."
LEFT_OUT = "{count} of {all} images have no answer in the column '{target}', or one that the model does not know."


@dataclass(frozen=True, eq=False)
class ClassEvaluation:
    """What an evaluation of a classifier found.

    ``parts`` has estimates for all images and each data set. ``without`` says for each column of the form, and for an
    empty form, by how much the AUC changes when it is taken away. ``told`` has what was said of each image that was
    measured, in the order of ``figures.measured``; so has ``depths`` of a model that tells them.
    """

    predictions: ClassPredictions
    figures: ImageMetrics
    parts: dict[str, dict[str, Estimate]]
    subgroups: tuple[ClassSubgroup, ...] = ()
    auc_changes: Mapping[str, Estimate] | None = None
    warnings: tuple[str, ...] = ()
    depths: EvaluatedDepths | None = None
    overlap: Overlap | None = None

    @property
    def failed(self) -> tuple[FailedImage, ...]:
        """The images that could not be measured."""
        return self.figures.failed


def evaluate_classifier(
    model: ClassifierModel, datasets: Sequence[Path], out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Measure a classifier and write what was found, or go on where an earlier call was stopped."""
    require_task(model.info, "classification")
    return evaluate_on_images(model, find_labeled_images(datasets, model, options), out, options, run=run)


def evaluate_on_images(
    model: ClassifierModel, images: LabeledImages, out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Measure a classifier on images that were chosen; ``evaluate_classifier`` says the rest."""
    images = images.without_training_images([model.info], options, run=run)
    warnings = labeled_image_warnings([model.info], images)
    for warning in warnings:
        run.report(Milestone(0, len(images.samples), f"Warning: {warning}"))
    (figures,) = measure_classifiers(
        [model], images.samples, images.rows, options, out, segmenter=load_segmenter_for(options), run=run
    )
    evaluation = summarize_evaluation(model, figures, images, options)
    trained_on = images.overlap.warnings if images.overlap else ()
    warnings = [*trained_on, *warnings, *evaluation.warnings]
    evaluation = replace(evaluation, warnings=tuple(warnings), overlap=images.overlap)
    write_class_evaluation(out, evaluation, model, options)
    remove_partial_results(out)
    return evaluation


def labeled_image_warnings(models: Sequence[BundleInfo], images: LabeledImages) -> list[str]:
    """Say what of the images a reader of the figures should know first.

    That some are of a kind that a model was not trained on, or have no answer.
    """
    warnings = [*modality_warnings(models, images.samples)]
    if images.left_out:
        every = images.left_out + len(images.samples)
        warnings.append(LEFT_OUT.format(count=images.left_out, all=every, target=images.target))
    return warnings


def load_segmenter_for(options: ClassEvaluationOptions) -> ProbabilityModel | None:
    """Load the model that draws the masks, where they are not the data set's.

    None where the masks are there.
    """
    if options.masks == "reference":
        return None
    from napari_melanoma.lesion.segmentation import Segmenter

    return Segmenter.load(require_photograph_model(find_bundle(options.segmenter), "segmentation"))


def collect_predictions(
    model: ClassifierModel,
    figures: ImageMetrics,
    images: LabeledImages,
    options: ClassEvaluationOptions,
    variant: str = ALL_FIELDS,
) -> ClassPredictions:
    """Give what a model said of the images that could be measured.

    In the order of ``figures.measured``.
    """
    config, places = model.info.config, figures.measured
    assert config.classifier is not None
    names = [logit_name(variant, place) for place in range(len(config.classes))]
    logits = np.stack([figures.column(name)[places] for name in names], axis=1)
    samples = [figures.samples[place] for place in places]
    probabilities = model.calibration.probabilities(logits.astype(np.float32))
    if images.classes != config.classes:  # against the rest
        positive = probabilities[:, config.classes.index(config.classifier.positive)]
        probabilities = np.stack([1 - positive, positive], axis=1)
    return ClassPredictions(
        probabilities,
        images.labels[places],
        np.array([sample.group for sample in samples]),
        images.classes,
        config.classifier.positive,
        _decision_threshold(model, options),
        np.array([sample.domain for sample in samples]),
    )


def _decision_threshold(model: ClassifierModel, options: ClassEvaluationOptions) -> float:
    """Where probabilities are cut in two; in the middle where nobody ever chose."""
    point = model.calibration.operating_point(options.sensitivity)
    if point is None and options.sensitivity is not None:
        raise InputError(
            f"'{model.info.name}' carries no reference cases by which a cut for {options.sensitivity:g} could be "
            "found. Leave --sensitivity out, or train it again."
        )
    return 0.5 if point is None else point.cut


def summarize_evaluation(
    model: ClassifierModel, figures: ImageMetrics, images: LabeledImages, options: ClassEvaluationOptions
) -> ClassEvaluation:
    """Estimate all there is to estimate from what was measured."""
    told = collect_predictions(model, figures, images, options)
    domains = told.domains
    assert domains is not None
    depths = evaluated_depths(model.info, figures, images.rows)
    parts = {"all": class_estimates(told) | _set_metrics(model, told, figures)}
    for domain in np.unique(domains):
        here = domains == domain
        parts[str(domain)] = class_estimates(told.subset(here)) | _set_metrics(
            model, told.subset(here), figures, figures.measured[here]
        )
        parts[str(domain)] |= depths.estimates(list(told.groups[here]), here) if depths else {}
    parts["all"] |= depths.estimates(list(told.groups)) if depths else {}
    found = tuple(class_subgroups(told, [figures.samples[place] for place in figures.measured], images.rows))
    # Where a column changes no answer at all, nobody filled it in.
    less = {name: collect_predictions(model, figures, images, options, name) for name in field_variants(model)[1:]}
    without = {
        name: class_differences(told, one)["AUC"]
        for name, one in less.items()
        if "AUC" in parts["all"] and not np.array_equal(one.probabilities, told.probabilities)
    }
    return ClassEvaluation(told, figures, parts, found, without, tuple(_reader_warnings(told)), depths)


def _set_metrics(
    model: ClassifierModel, told: ClassPredictions, figures: ImageMetrics, places: NDArray[np.intp] | None = None
) -> dict[str, Estimate]:
    """How often the set of classes holds the true one, how often it tells nothing, and how many images are unlike."""
    config = model.info.config.classifier
    assert config is not None
    found: dict[str, NDArray[np.bool_]] = {}
    if (
        model.calibration.reference is not None and told.classes == model.info.config.classes
    ):  # else no set is asked for
        sets = model.calibration.prediction_sets(told.probabilities)
        found["coverage"] = sets[np.arange(len(sets)), told.labels]
        found["cannot_tell"] = sets.sum(axis=1) != 1
    distances = figures.column(DISTANCE)[figures.measured if places is None else places]
    if config.unlike is not None and not np.isnan(distances).any():
        found["unlike"] = distances > config.unlike
    return {name: bootstrap_mean(one.astype(float), list(told.groups), bounds=(0, 1)) for name, one in found.items()}


def _reader_warnings(told: ClassPredictions) -> Iterator[str]:
    """What a reader should know before the figures."""
    if told.truth.all() or not told.truth.any():
        yield ONE_CLASS.format(what=f"other than {told.positive}" if told.truth.all() else told.positive)
        return
    assert told.domains is not None
    names = np.unique(told.domains)
    area = domain_auc(told)
    if len(names) > 1 and area >= DOMAIN_AUC_LIMIT:
        shares = ", ".join(f"{100 * told.truth[told.domains == name].mean():.0f} % of '{name}'" for name in names)
        yield DOMAIN_AUC_WARNING.format(area=area, shares=f"{shares} are {told.positive}")


SUMMARY, TABLE, TASK = "summary.html", "per_image.csv", "classification"
SET_METRICS = {
    "coverage": "share whose set of classes holds the true one",
    "cannot_tell": "share whose set holds several classes, or none",
    "unlike": "share that is unlike what the model was trained on",
}
WORDS = METRICS | SET_METRICS | DEPTH_METRICS
IN_SUBGROUPS = ("AUC", "AP", "sensitivity", "specificity", "ECE")
SUBGROUP_COLUMNS = (
    *("data", "by", "value", "images", "positives"),
    *(f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")),
)
MOST_FAILED = 200  # that the page names; the table names all


@dataclass(frozen=True, eq=False)
class StoredClassEvaluation:
    """An evaluation of a classifier as its folder has it: the model, what it said, the images, and the options."""

    name: str
    fingerprint: str
    predictions: ClassPredictions
    images: tuple[tuple[str, str], ...]
    options: Mapping[str, Any]
    warnings: tuple[str, ...]
    overlap: Mapping[str, Any] | None = None


def write_class_evaluation(
    out: Path, evaluation: ClassEvaluation, model: ClassifierModel, options: ClassEvaluationOptions
) -> None:
    """Write tables, figures and, last, the page."""
    told = evaluation.predictions
    columns = probability_columns(told.classes).values()
    names = ("image_id", "domain", "split", "group", "diagnosis", "status", "error", "label", *columns, "said")
    rows = mark_training_rows(_image_rows(evaluation), evaluation.figures.samples, evaluation.overlap)
    write_table(out / TABLE, rows, (*names, *(DEPTHS if evaluation.depths else ()), TRAINED_ON))
    write_table(out / "subgroups.csv", [_subgroup_row(group) for group in evaluation.subgroups], SUBGROUP_COLUMNS)
    about = _about(evaluation, model, options)
    write_json(out / "metrics.json", about)
    shown = draw_evaluation(evaluation, model.info.name, out / "figures")
    write_evaluation_page(_page(evaluation, model, options, shown), out / SUMMARY)


def is_class_evaluation(folder: Path) -> bool:
    """Say whether a folder holds the evaluation of a classifier."""
    try:
        about = read_json(folder / "metrics.json")
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("task") == TASK


def read_class_evaluation(folder: Path) -> StoredClassEvaluation:
    """Read what a classifier said."""
    try:
        about = read_json(folder / "metrics.json")
        classes = tuple(about["classes"])
        with (folder / TABLE).open(encoding="utf-8", newline="") as file:
            rows = [row for row in read_csv_dicts(file) if row["status"] == "done"]
        told = ClassPredictions(
            np.array([read_probabilities(row, classes) for row in rows]).reshape(-1, len(classes)),
            np.array([classes.index(row["label"]) for row in rows], np.intp),
            np.array([row["group"] for row in rows]),
            classes,
            about["positive"],
            about["cut"],
            np.array([row["domain"] for row in rows]),
        )
        images = tuple((row["domain"], row["image_id"]) for row in rows)
        named = about["model"]["name"], about["model"]["fingerprint"]
        warnings, overlap = (*about["warnings"], *missing_overlap_warning(about)), about.get("training_overlap")
        return StoredClassEvaluation(*named, told, images, about["options"], warnings, overlap)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} holds no evaluation of a classifier that this version can read ({type(error).__name__}: "
            f"{parse_error_reason(error)}). Make it again: napari-melanoma evaluate --model BUNDLE --data DATASET --out DIR"
        ) from error


def compute_curves(predictions: ClassPredictions, name: str) -> tuple[ClassifierCurve, ClassifierCurve]:
    """Give the ROC curve and that of precision over sensitivity."""
    roc, precise = (
        roc_curve(predictions.scores, predictions.truth),
        precision_recall_curve(predictions.scores, predictions.truth),
    )
    area, precision = (
        area_under_roc(predictions.scores, predictions.truth),
        average_precision(predictions.scores, predictions.truth),
    )
    said = predictions.scores >= predictions.threshold
    found, false = float(said[predictions.truth].mean()), float(said[~predictions.truth].mean())
    right = float(predictions.truth[said].mean()) if said.any() else None
    return (
        ClassifierCurve(f"{name}: AUC {area:.3f}", roc.false_positive_rate, roc.true_positive_rate, (false, found)),
        ClassifierCurve(
            f"{name}: average precision {precision:.3f}",
            precise.recall,
            precise.precision,
            None if right is None else (found, right),
        ),
    )


def draw_evaluation(evaluation: ClassEvaluation, name: str, folder: Path) -> dict[str, Path]:
    """Draw what there is to draw.

    Title to file, in the order of the page; curves need both classes.
    """
    told, shown = evaluation.predictions, {}
    if told.truth.any() and not told.truth.all():
        parts = {"all images": told, **_split_by_domain(told)}
        both = [(part, key) for key, part in parts.items() if part.truth.any() and not part.truth.all()]
        titles = [key if len(both) > 1 else name for _, key in both]
        areas = [compute_curves(part, title) for (part, _), title in zip(both, titles, strict=True)]
        plot_roc([roc for roc, _ in areas], folder / "roc.png")
        plot_precision_recall([one for _, one in areas], float(told.truth.mean()), folder / "precision_recall.png")
        shown = {"ROC curve": "roc.png", "Precision and sensitivity": "precision_recall.png"}
    bins = reliability_curve(told.scores, told.truth)
    plot_reliability(bins, told.scores, folder / "reliability.png")
    plot_confusion(
        confusion_matrix(told.labels, told.predicted, len(told.classes)), told.classes, folder / "confusion.png"
    )
    shown |= {"Probability and what came": "reliability.png", "What was said of which class": "confusion.png"}
    shown |= evaluation.depths.draw(folder) if evaluation.depths else {}
    if evaluation.auc_changes:
        bars = {_omitted_text(variant): estimate for variant, estimate in evaluation.auc_changes.items()}
        plot_bars(bars, "change of the AUC when it is taken away, 95 % interval", folder / "contributions.png")
        shown["What the columns of the form add"] = "contributions.png"
    groups = {
        f"{g.data}, {g.by}: {g.value} (n = {g.count})": g.metrics["AUC"]
        for g in evaluation.subgroups
        if "AUC" in g.metrics
    }
    if groups:
        plot_bars(groups, "AUC, 95 % interval", folder / "subgroups.png", middle=0.5)
        shown["AUC of each subgroup"] = "subgroups.png"
    return {title: folder / file for title, file in shown.items()}


def _split_by_domain(told: ClassPredictions) -> dict[str, ClassPredictions]:
    """What was said of each data set, where there are several."""
    names = np.unique(told.domains) if told.domains is not None else np.array([])
    return {str(name): told.subset(told.domains == name) for name in names} if len(names) > 1 else {}


def _omitted_text(variant: str) -> str:
    """Say what is taken away."""
    return "the whole form" if variant == NO_FIELDS else variant.removeprefix("without_")


def _image_rows(evaluation: ClassEvaluation) -> Iterator[dict[str, object]]:
    """Rows of ``per_image.csv``."""
    told, figures = evaluation.predictions, evaluation.figures
    errors = {(item.sample.domain, item.sample.image_id): item.error for item in evaluation.failed}
    places = iter(range(len(told.labels)))
    for sample in figures.samples:
        row: dict[str, object] = {
            name: getattr(sample, name) for name in ("image_id", "domain", "split", "group", "diagnosis")
        }
        error = errors.get((sample.domain, sample.image_id), "")
        if error:
            yield row | {"status": "failed", "error": error}
            continue
        place = next(places)
        columns = probability_columns(told.classes).values()
        said = dict(zip(columns, told.probabilities[place].tolist(), strict=True))
        named = {"label": told.classes[told.labels[place]], "said": told.classes[told.predicted[place]]}
        depth = evaluation.depths.columns(place) if evaluation.depths else {}
        yield row | {"status": "done", "error": ""} | named | said | depth


def _subgroup_row(group: ClassSubgroup) -> dict[str, object]:
    """Row of ``subgroups.csv``."""
    row: dict[str, object] = {"data": group.data, "by": group.by, "value": group.value}
    row |= {"images": group.count, "positives": group.positives}
    for name, estimate in group.metrics.items():
        row |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row


def _about(evaluation: ClassEvaluation, model: ClassifierModel, options: ClassEvaluationOptions) -> dict[str, Any]:
    """Content of ``metrics.json``."""
    told, info = evaluation.predictions, model.info
    groups = [
        {"data": g.data, "by": g.by, "value": g.value, "images": g.count, "positives": g.positives}
        | {"metrics": _plain(g.metrics)}
        for g in evaluation.subgroups
    ]
    return {
        "task": TASK,
        "model": {"name": info.name, "fingerprint": info.fingerprint, "device": model.device},
        "classes": list(told.classes),
        "positive": told.positive,
        "cut": told.threshold,
        "images": len(told.labels),
        "positives": int(told.truth.sum()),
        "warnings": list(evaluation.warnings),
        "training_overlap": evaluation.overlap.facts if evaluation.overlap else None,
        "options": options.model_dump(mode="json"),
        "metrics": {part: _plain(found) for part, found in evaluation.parts.items()},
        "auc_without": _plain(evaluation.auc_changes or {}),
        "ece_by_chance": dict(zip(("mean", "high"), calibration_error_by_chance(told.scores), strict=True)),
        "confusion": confusion_matrix(told.labels, told.predicted, len(told.classes)).tolist(),
        "subgroups": groups,
        "failed": [{"image_id": item.sample.image_id, "error": item.error} for item in evaluation.failed],
        "interval": INTERVAL_METHOD,
        "provenance": collect_provenance(),
    }


def _plain(found: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    """Estimates as JSON holds them."""
    return {name: vars(estimate) for name, estimate in found.items()}


def _page(
    evaluation: ClassEvaluation, model: ClassifierModel, options: ClassEvaluationOptions, shown: Mapping[str, Path]
) -> Page:
    """Words of the page."""
    told, parts = evaluation.predictions, evaluation.parts
    data = [name for name in parts if name != "all"]
    columns = ["all", *(data if len(data) > 1 else [])]
    rows = [
        (direction_arrow(name), said, *(str(parts[part][name]) if name in parts[part] else "" for part in columns))
        for name, said in WORDS.items()
        if name in parts["all"]
    ]
    added = [
        (_omitted_text(name), f"{one.mean:+.3f} ({one.format_interval()})")
        for name, one in (evaluation.auc_changes or {}).items()
    ]
    chance = calibration_error_by_chance(told.scores)
    drawn = f", regions drawn by {options.segmenter}" if options.masks == "predicted" else ""
    return Page(
        title=f"{model.info.name} on {', '.join(data)}",
        facts=f"{len(told.labels)} images, {int(told.truth.sum())} of them {told.positive}, cut {told.threshold:.3f}{drawn}"
        + (f", split {options.split}" if options.split else ""),
        lead=lead_text(evaluation),
        next=f"Look at the curves and at the lowest subgroups. {TABLE}, beside this page, has what was said of every "
        "image; napari-melanoma compare puts this evaluation beside that of another model.",
        warnings=evaluation.warnings,
        tables=[
            ("Metrics", ("Metric", "What it is", "All images", *columns[1:]), rows),
            *([("What the form adds", ("Taken away", "Change of the AUC"), added)] if added else []),
            (
                "Subgroups",
                ("Data", "By", "Value", "n", told.positive, *map(direction_arrow, IN_SUBGROUPS)),
                _groups(evaluation),
            ),
        ],
        figures=shown,
        failed=[(item.sample.image_id, item.error) for item in evaluation.failed[:MOST_FAILED]],
        notes=[
            *overlap_statement(evaluation.overlap),
            f"Intervals: {INTERVAL_METHOD}; where nothing differs between draws, the exact one; of ECE and Brier score 1.96 "
            "standard errors of the bootstrap.",
            f"Probabilities that were exactly right would have an ECE of {chance[0]:.3f} on so many images, and in "
            f"one of twenty sets more than {chance[1]:.3f}.",
            "A subgroup with fewer than 5 positives or 5 others has no area under a curve.",
            f"Weights {model.info.fingerprint[:16]}, {collect_provenance()['program']} {collect_provenance()['version']}.",
        ],
    )


def _groups(evaluation: ClassEvaluation) -> list[tuple[str, ...]]:
    """Rows of the table of subgroups."""
    shown: list[tuple[str, ...]] = []
    for g in evaluation.subgroups:
        cells = [f"{g.metrics[name].mean:.3f}" if name in g.metrics else "" for name in IN_SUBGROUPS]
        shown.append((g.data, g.by, g.value, str(g.count), str(g.positives), *cells))
    return shown


def direction_arrow(name: str) -> str:
    """Name a metric, with a word where less of it is better."""
    return f"{name} (less is better)" if name in LESS_IS_BETTER else name


def lead_text(evaluation: ClassEvaluation) -> str:
    """Say in a sentence or two what a reader wants to know first.

    AUC, and what is found at the cut.
    """
    whole, told = evaluation.parts["all"], evaluation.predictions
    said = [f"AUC {whole['AUC']}."] if "AUC" in whole else []
    at = [f"{name} {whole[name]}" for name in ("sensitivity", "specificity") if name in whole]
    said.append(f"At the cut {told.threshold:.3f}: {', '.join(at)} (95 % intervals).")
    return " ".join(said)

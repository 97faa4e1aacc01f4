"""Compare several classifiers with the first one on the same images: curves, tables and an HTML page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.evaluation.class_measurement import ClassEvaluationOptions, measure_classifiers
from napari_melanoma.evaluation.class_metrics import (
    LESS_IS_BETTER,
    METRICS,
    ClassPredictions,
    LabeledImages,
    class_differences,
    class_estimates,
    find_labeled_images,
)
from napari_melanoma.evaluation.evaluate_classes import (
    StoredClassEvaluation,
    collect_predictions,
    compute_curves,
    labeled_image_warnings,
    load_segmenter_for,
    read_class_evaluation,
)
from napari_melanoma.evaluation.overlap import without_verdict
from napari_melanoma.evaluation.pages import Page, directed_label, metric_label, write_evaluation_page
from napari_melanoma.evaluation.side_by_side import (
    ESTIMATE_COLUMNS,
    INTERVAL_NOTE,
    MODELS,
    PAGE_NAME,
    TABLE,
    check_different_evaluations,
    distinct_names,
    estimate_cells,
    format_cell,
    lead_text,
    page_title,
)
from napari_melanoma.figures.classification import plot_precision_recall, plot_roc
from napari_melanoma.io.results import write_table
from napari_melanoma.metrics.statistics import INTERVAL_METHOD, Estimate
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.registry import require_task

if TYPE_CHECKING:
    from napari_melanoma.classification.classify import ClassifierModel
    from napari_melanoma.evaluation.results import ImageMetrics

SHOWN = ("AUC", "AP", "sensitivity", "specificity", "ECE")
COLUMNS = ("part", "images", "model", "metric", *ESTIMATE_COLUMNS)


@dataclass(frozen=True)
class ClassifierMetrics:
    """Estimates of one classifier on some images by metric, and the differences from the first one."""

    part: str
    images: int
    model: str
    metrics: dict[str, Estimate]
    difference: dict[str, Estimate]


@dataclass(frozen=True)
class ClassifierComparison:
    """Result of a comparison of classifiers: estimates on all images and each data set, failed images, and warnings."""

    standings: tuple[ClassifierMetrics, ...]
    failed: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


Conclude = Callable[[ClassifierComparison], tuple[str, str]]


def compare_classifiers(
    models: Sequence[BundleInfo],
    datasets: Sequence[Path],
    out: Path,
    options: ClassEvaluationOptions,
    *,
    run: RunContext,
) -> ClassifierComparison:
    """Load classifiers and compare each with the first one on the same images, each read once.

    Paired over images, intervals by bootstrap over patients or lesions.
    """
    from napari_melanoma.classification.predictor import Classifier

    if len(models) < 2:
        raise InputError(f"a comparison needs two or more models; {len(models)} were named.")
    loaded = [Classifier.load(require_task(info, "classification")) for info in models]
    _check_same_classes([(info.name, info.config.classes) for info in models])
    return compare_on_images(loaded, find_labeled_images(datasets, loaded[0], options), out, options, run=run)


def compare_on_images(
    loaded: Sequence[ClassifierModel],
    images: LabeledImages,
    out: Path,
    options: ClassEvaluationOptions,
    *,
    run: RunContext,
    conclude: Conclude | None = None,
) -> ClassifierComparison:
    """Compare loaded classifiers on selected images; see ``compare_classifiers``."""
    images = images.without_training_images([model.info for model in loaded], options, run=run)
    segmenter = load_segmenter_for(options)
    found = measure_classifiers(loaded, images.samples, images.rows, options, out, segmenter=segmenter, run=run)
    read = list(_stored_evaluations(loaded, found, images, options))
    failed = tuple((item.sample.image_id, item.error) for item in found[0].failed)
    compared = _compare(read, [], out, failed, conclude)
    remove_partial_results(out)
    return compared


def _stored_evaluations(
    loaded: Sequence[ClassifierModel],
    found: Sequence[ImageMetrics],
    images: LabeledImages,
    options: ClassEvaluationOptions,
) -> Iterator[StoredClassEvaluation]:
    """Yield the predictions of each model, as if read from a stored evaluation."""
    assert images.overlap is not None
    overlap = images.overlap
    warnings = (*overlap.warnings, *labeled_image_warnings([model.info for model in loaded], images))
    measured = [found[0].samples[place] for place in found[0].measured]
    keys = tuple((sample.domain, sample.image_id) for sample in measured)
    values = options.model_dump(mode="json")
    for model, figures in zip(loaded, found, strict=True):
        info, predictions = model.info, collect_predictions(model, figures, images, options)
        yield StoredClassEvaluation(info.name, info.fingerprint, predictions, keys, values, warnings, overlap.facts)


def compare_class_evaluations(folders: Sequence[Path], out: Path) -> ClassifierComparison:
    """Compare stored evaluations of classifiers, each with the first one."""
    check_different_evaluations(folders)
    read = [read_class_evaluation(folder) for folder in folders]
    _check_same_classes([(item.name, item.predictions.classes) for item in read])
    return _compare(_restrict_to_common(read), [folder.name for folder in folders], out, ())


def _check_same_classes(models: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    """Reject classifiers with different classes."""
    (first, classes), *others = models
    for name, found in others:
        if found != classes:
            raise InputError(
                f"'{first}' predicts {', '.join(classes)} and '{name}' predicts {', '.join(found)}: only models with "
                "the same classes can be compared."
            )


def _restrict_to_common(read: Sequence[StoredClassEvaluation]) -> list[StoredClassEvaluation]:
    """Keep the images that all evaluations contain, in the order of the first one."""
    known = [{image: index for index, image in enumerate(item.images)} for item in read]
    keys = [key for key in known[0] if all(key in indices for indices in known[1:])]
    if not keys:
        raise InputError("the evaluations have no image in common: run them on the same data sets and split.")
    found = []
    for item, indices in zip(read, known, strict=True):
        predictions = item.predictions.subset([indices[key] for key in keys])
        found.append(replace(item, predictions=predictions, images=tuple(keys)))
    for item in found[1:]:
        other = np.flatnonzero(item.predictions.labels != found[0].predictions.labels)
        if len(other):
            raise InputError(
                f"{len(other)} of {len(keys)} images have another class in the evaluation of {item.name} than in that "
                f"of {found[0].name}, such as '{keys[int(other[0])][1]}'. Run both on the same data and column."
            )
    return found


def _compare(
    read: Sequence[StoredClassEvaluation],
    folders: Sequence[str],
    out: Path,
    failed: tuple[tuple[str, str], ...],
    conclude: Conclude | None = None,
) -> ClassifierComparison:
    """Estimate and write all files, the page last."""
    names = distinct_names([item.name for item in read], folders)
    warnings = [*(w for item in read for w in item.warnings)]
    if any(dict(item.options) != dict(read[0].options) for item in read):
        warnings.insert(0, "These evaluations were made with different options; see models.json.")
    found = ClassifierComparison(tuple(_standings(read, names)), failed, tuple(dict.fromkeys(warnings)))
    models = [
        {"name": name, "model": item.name, "fingerprint": item.fingerprint, "cut": item.predictions.threshold}
        | {"options": dict(item.options)}
        for name, item in zip(names, read, strict=True)
    ]
    values: dict[str, object] = {
        "task": "classification",
        "models": models,
        "standings": [asdict(one) for one in found.standings],
    }
    values |= {"warnings": list(found.warnings), "interval": INTERVAL_METHOD, "provenance": collect_provenance()}
    overlaps = [item.overlap for item in read]
    values["training_overlap"] = overlaps
    write_json(out / MODELS, values)
    write_table(out / TABLE, list(_rows(found)), COLUMNS)
    page = _page(found, names, _draw(read, names, out / "figures"))
    if conclude is not None:
        lead, last = conclude(found)
        page = replace(page, lead=lead, next=last)
    write_evaluation_page(without_verdict(page, overlaps), out / PAGE_NAME)
    return found


def _standings(read: Sequence[StoredClassEvaluation], names: Sequence[str]) -> Iterator[ClassifierMetrics]:
    """Yield the estimates on all images and on each data set, if there are several."""
    domains = read[0].predictions.domains
    assert domains is not None
    every = np.unique(domains)
    for part in ["all", *(every if len(every) > 1 else ())]:
        here = np.full(len(domains), True) if part == "all" else domains == part
        first: ClassPredictions = read[0].predictions.subset(here)
        for number, (name, item) in enumerate(zip(names, read, strict=True)):
            predictions = item.predictions.subset(here)
            change = class_differences(first, predictions) if number else {}
            yield ClassifierMetrics(str(part), int(here.sum()), name, class_estimates(predictions), change)


def _rows(found: ClassifierComparison) -> Iterator[dict[str, object]]:
    """Yield the rows of ``models.csv``."""
    for one in found.standings:
        for metric, estimate in one.metrics.items():
            row: dict[str, object] = {"part": one.part, "images": one.images, "model": one.model, "metric": metric}
            row |= estimate_cells(estimate, one.difference.get(metric))
            yield row


def _draw(read: Sequence[StoredClassEvaluation], names: Sequence[str], folder: Path) -> dict[str, Path]:
    """Plot the curves of all models in one figure, if there are images of both classes."""
    truth = read[0].predictions.truth
    if truth.all() or not truth.any():
        return {}
    curves = [compute_curves(item.predictions, name) for name, item in zip(names, read, strict=True)]
    plot_roc([roc for roc, _ in curves], folder / "roc.png")
    plot_precision_recall([one for _, one in curves], float(truth.mean()), folder / "precision_recall.png")
    return {"ROC curves": folder / "roc.png", "Precision-recall curves": folder / "precision_recall.png"}


def comparison_table(found: ClassifierComparison) -> list[tuple[str, ...]]:
    """Return a comparison as table rows.

    Columns: images, n, model, then each metric of ``SHOWN`` with its difference from the first model and the interval.
    """
    rows = []
    for one in found.standings:
        cells = (format_cell(one.metrics.get(metric), one.difference.get(metric)) for metric in SHOWN)
        rows.append((one.part, str(one.images), one.model, *cells))
    return rows


def _page(found: ClassifierComparison, names: Sequence[str], figures: dict[str, Path]) -> Page:
    """Return the content of the page."""
    whole = [one for one in found.standings if one.part == "all"]
    ranked = [one for one in whole if "AUC" in one.metrics]
    lead = "All images are of one class, so no AUC can be measured."
    if ranked:
        best = max(ranked, key=lambda one: one.metrics["AUC"].mean)
        lead = lead_text("AUC", best.model, best.metrics["AUC"], best.difference.get("AUC"), names[0])
    return Page(
        title=page_title(names),
        facts=f"{whole[0].images} images, all models on the same ones",
        lead=lead,
        next="If the intervals do not separate models, prefer the smallest or best calibrated one.",
        warnings=found.warnings,
        tables=[
            (
                f"Metrics, and differences from {names[0]}",
                ("Images", "n", "Model", *(directed_label(name, LESS_IS_BETTER) for name in SHOWN)),
                comparison_table(found),
            )
        ],
        figures=figures,
        failed=list(found.failed[:200]),
        notes=[
            INTERVAL_NOTE,
            "; ".join(f"{metric_label(name)}: {METRICS[name]}" for name in SHOWN)
            + ". Each model at its own threshold.",
        ],
    )

"""Several classifiers on the same images, all against the first: paired differences, curves, tables and a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.paths import free_name
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.evaluation.class_measurement import ClassEvaluationOptions, measure_classifiers
from napari_melanoma.evaluation.class_metrics import (
    METRICS,
    ClassPredictions,
    LabeledImages,
    class_differences,
    class_estimates,
    find_labeled_images,
)
from napari_melanoma.evaluation.compare import check_different_evaluations
from napari_melanoma.evaluation.evaluate_classes import (
    StoredClassEvaluation,
    collect_predictions,
    compute_curves,
    direction_arrow,
    labeled_image_warnings,
    load_segmenter_for,
    read_class_evaluation,
)
from napari_melanoma.evaluation.overlap import without_verdict
from napari_melanoma.evaluation.pages import Page, write_evaluation_page
from napari_melanoma.figures.classification import plot_precision_recall, plot_roc
from napari_melanoma.io.results import write_table
from napari_melanoma.metrics.statistics import INTERVAL_METHOD, Estimate
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.registry import require_task

if TYPE_CHECKING:
    from napari_melanoma.classification.classify import ClassifierModel
    from napari_melanoma.evaluation.results import ImageMetrics

SHOWN = ("AUC", "AP", "sensitivity", "specificity", "ECE")
MODELS, TABLE, PAGE_NAME = "models.json", "models.csv", "comparison.html"
COLUMNS = (
    *("part", "images", "model", "metric", "mean", "low", "high"),
    *("difference", "difference_low", "difference_high"),
)


@dataclass(frozen=True)
class ClassifierMetrics:
    """How one classifier does on some images, and how that differs from the first; estimates by metric."""

    part: str
    images: int
    model: str
    metrics: dict[str, Estimate]
    difference: dict[str, Estimate]


@dataclass(frozen=True)
class ClassifierComparison:
    """What a comparison of classifiers found: each on all images and on each data set; and what to beware of."""

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
    """Load classifiers and compare each with the first on the same images, each of which is read once.

    Paired over images, intervals by bootstrap over patients or lesions.
    """
    from napari_melanoma.classification.predictor import Classifier

    if len(models) < 2:
        raise InputError(f"a comparison takes two models or more; {len(models)} were named.")
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
    """Compare classifiers that are loaded on images that were chosen; ``compare_classifiers`` says the rest."""
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
    judged: LabeledImages,
    options: ClassEvaluationOptions,
) -> Iterator[StoredClassEvaluation]:
    """What each model predicted, as it would be read back from its evaluation."""
    assert judged.overlap is not None
    overlap = judged.overlap
    warnings = (*overlap.warnings, *labeled_image_warnings([model.info for model in loaded], judged))
    measured = [found[0].samples[place] for place in found[0].measured]
    images = tuple((sample.domain, sample.image_id) for sample in measured)
    values = options.model_dump(mode="json")
    for model, figures in zip(loaded, found, strict=True):
        told, info = collect_predictions(model, figures, judged, options), model.info
        yield StoredClassEvaluation(info.name, info.fingerprint, told, images, values, warnings, overlap.facts)


def compare_class_evaluations(folders: Sequence[Path], out: Path) -> ClassifierComparison:
    """Compare evaluations of classifiers that were made before; no model is asked again."""
    check_different_evaluations(folders)
    read = [read_class_evaluation(folder) for folder in folders]
    _check_same_classes([(item.name, item.predictions.classes) for item in read])
    return _compare(_restrict_to_common(read), [folder.name for folder in folders], out, ())


def _check_same_classes(models: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    """Refuse classifiers that do not answer the same question."""
    (first, classes), *others = models
    for name, found in others:
        if found != classes:
            raise InputError(
                f"'{first}' tells {', '.join(classes)} and '{name}' tells {', '.join(found)}: only answers to the same "
                "question can be compared."
            )


def _restrict_to_common(read: Sequence[StoredClassEvaluation]) -> list[StoredClassEvaluation]:
    """The images that all have, in the order of the first."""
    known = [{image: place for place, image in enumerate(item.images)} for item in read]
    keys = [key for key in known[0] if all(key in places for places in known[1:])]
    if not keys:
        raise InputError("the evaluations have no image in common: make them on the same data sets and split.")
    found = []
    for item, places in zip(read, known, strict=True):
        told = item.predictions.subset([places[key] for key in keys])
        found.append(replace(item, predictions=told, images=tuple(keys)))
    for item in found[1:]:
        other = np.flatnonzero(item.predictions.labels != found[0].predictions.labels)
        if len(other):
            raise InputError(
                f"{len(other)} of {len(keys)} images have another answer in the evaluation of {item.name} than in that "
                f"of {found[0].name}, such as '{keys[int(other[0])][1]}'. Make both on the same data and column."
            )
    return found


def _compare(
    read: Sequence[StoredClassEvaluation],
    folders: Sequence[str],
    out: Path,
    failed: tuple[tuple[str, str], ...],
    conclude: Conclude | None = None,
) -> ClassifierComparison:
    """Estimate, and write all files; the page comes last."""
    names = _names(read, folders)
    warnings = [*(w for item in read for w in item.warnings)]
    if any(dict(item.options) != dict(read[0].options) for item in read):
        warnings.insert(0, "These evaluations were made with different options; models.json has those of each.")
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


def _names(read: Sequence[StoredClassEvaluation], folders: Sequence[str]) -> list[str]:
    """Names that tell the models apart: their own, or those of the folders where they have one in common."""
    own = [item.name for item in read]
    taken: list[str] = []
    for name in folders if folders and len(set(own)) < len(own) else own:
        taken.append(free_name(name, {known.lower() for known in taken}))
    return taken


def _standings(read: Sequence[StoredClassEvaluation], names: Sequence[str]) -> Iterator[ClassifierMetrics]:
    """Every model on all images and on each data set, where there are several."""
    domains = read[0].predictions.domains
    assert domains is not None
    every = np.unique(domains)
    for part in ["all", *(every if len(every) > 1 else ())]:
        here = np.full(len(domains), True) if part == "all" else domains == part
        first: ClassPredictions = read[0].predictions.subset(here)
        for number, (name, item) in enumerate(zip(names, read, strict=True)):
            told = item.predictions.subset(here)
            change = class_differences(first, told) if number else {}
            yield ClassifierMetrics(str(part), int(here.sum()), name, class_estimates(told), change)


def _rows(found: ClassifierComparison) -> Iterator[dict[str, object]]:
    """Rows of ``models.csv``."""
    for one in found.standings:
        for metric, estimate in one.metrics.items():
            row: dict[str, object] = {"part": one.part, "images": one.images, "model": one.model, "metric": metric}
            row |= {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
            change = one.difference.get(metric)
            if change is not None:
                row |= {"difference": change.mean, "difference_low": change.low, "difference_high": change.high}
            yield row


def _draw(read: Sequence[StoredClassEvaluation], names: Sequence[str], folder: Path) -> dict[str, Path]:
    """Draw the curves of all models in one figure; they need both classes."""
    truth = read[0].predictions.truth
    if truth.all() or not truth.any():
        return {}
    curves = [compute_curves(item.predictions, name) for name, item in zip(names, read, strict=True)]
    plot_roc([roc for roc, _ in curves], folder / "roc.png")
    plot_precision_recall([one for _, one in curves], float(truth.mean()), folder / "precision_recall.png")
    return {"ROC curves": folder / "roc.png", "Precision and sensitivity": folder / "precision_recall.png"}


def comparison_table(found: ClassifierComparison) -> list[tuple[str, ...]]:
    """Give a comparison as a table of words.

    Returns images, n, model, then each metric of ``SHOWN`` and its difference from the first model with its interval.
    """
    return [
        (one.part, str(one.images), one.model, *(_cell(one, metric) for metric in SHOWN)) for one in found.standings
    ]


def _cell(standing: ClassifierMetrics, metric: str) -> str:
    """A metric and, where it is not the first model, the difference."""
    mean, change = standing.metrics.get(metric), standing.difference.get(metric)
    if mean is None:
        return ""
    return f"{mean.mean:.3f}" + (f", {change.mean:+.3f} ({change.format_interval()})" if change else "")


def _page(found: ClassifierComparison, names: Sequence[str], figures: dict[str, Path]) -> Page:
    """Words of the page."""
    whole = [one for one in found.standings if one.part == "all"]
    ranked = [one for one in whole if "AUC" in one.metrics]
    lead = "These images are of one class alone: no area under a curve can be measured."
    if ranked:
        best = max(ranked, key=lambda one: one.metrics["AUC"].mean)
        lead = f"Highest AUC: {best.model}, {best.metrics['AUC']}."
        if change := best.difference.get("AUC"):
            sure = "its interval leaves 0 out" if change.low > 0 else "it may be chance"
            lead += f" Difference from {names[0]}: {change.mean:+.3f} ({change.format_interval()}), {sure}."
    return Page(
        title=" and ".join([", ".join(names[:-1]), names[-1]]),
        facts=f"{whole[0].images} images, all models on the same ones",
        lead=lead,
        next="Of models that the intervals do not tell apart, take the smallest or best calibrated one.",
        warnings=found.warnings,
        tables=[
            (
                f"Differences are from {names[0]}",
                ("Images", "n", "Model", *map(direction_arrow, SHOWN)),
                comparison_table(found),
            )
        ],
        figures=figures,
        failed=list(found.failed[:200]),
        notes=[
            f"Intervals: {INTERVAL_METHOD}; of differences paired. With several models against one, of twenty intervals of "
            "equal models one leaves 0 out by chance.",
            "; ".join(f"{name}: {METRICS[name]}" for name in SHOWN) + ". Each model is cut where it says itself.",
        ],
    )

"""Compare several segmentation models, or several classifiers, with the first of them on the same images.

The first part of the module is common to both tasks; the parts on segmentation models and on classifiers follow. For a
comparison of two models with advice on which one to use, see ``evaluation.pair_comparison``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.paths import free_name
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.evaluation.classifier_measurement import LESS_IS_BETTER as CLASS_LESS_IS_BETTER
from napari_melanoma.evaluation.classifier_measurement import (
    METRICS,
    ClassEvaluationOptions,
    LabeledImages,
    class_differences,
    class_estimates,
    find_labeled_images,
    measure_classifiers,
)
from napari_melanoma.evaluation.evaluate_classifiers import (
    StoredClassEvaluation,
    collect_predictions,
    compute_curves,
    labeled_image_warnings,
    load_segmenter_for,
    out_of_distribution_warning,
    read_class_evaluation,
)
from napari_melanoma.evaluation.mask_measurement import measure_models, measurement_threshold
from napari_melanoma.evaluation.mask_results import (
    LESS_IS_BETTER,
    MEASURED,
    REFERENCE_SHARE,
    EvaluatedModel,
    EvaluationOptions,
    FailedImage,
    ImageMetrics,
    estimate_columns,
)
from napari_melanoma.evaluation.metrics_files import MOST_FAILED, WORDS, read_evaluation
from napari_melanoma.evaluation.pages import Page, directed_label, metric_label, write_evaluation_page
from napari_melanoma.evaluation.training_overlap import select_images, without_verdict
from napari_melanoma.figures.evaluation import plot_models, plot_precision_recall, plot_roc
from napari_melanoma.io.results import write_table
from napari_melanoma.metrics.statistics import INTERVAL_METHOD, Estimate
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.installed_bundles import require_task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.classify import ClassifierModel
    from napari_melanoma.lesion.analysis import ProbabilityModel
    from napari_melanoma.models.zoo import ArchitectureTask


MODELS, TABLE, PAGE_NAME = "models.json", "models.csv", "comparison.html"
ESTIMATE_COLUMNS = ("mean", "low", "high", "difference", "difference_low", "difference_high")
INTERVAL_NOTE = (
    f"Intervals: {INTERVAL_METHOD}; paired for differences. Even if all models are equal, about one in twenty "
    "intervals of differences excludes 0 by chance."
)
Estimates = dict[str, Estimate]


@dataclass(frozen=True)
class ModelMetrics:
    """Estimates of one model by metric, and its differences from the first model."""

    model: str
    metrics: Estimates
    difference: Estimates


@dataclass(frozen=True)
class DataPartMetrics:
    """Estimates of each model on the images of one data set, or of all.

    ``patients``: number of patients or lesions. ``models``: the models, the one that the others are compared with
    first.
    """

    name: str
    images: int
    patients: int
    models: tuple[ModelMetrics, ...]


@dataclass(frozen=True)
class ModelsComparison:
    """Result of a comparison of several models.

    ``parts``: all images, then each data set if there are several. ``shown``: the metrics in tables for users.
    ``failed``: the images that failed with any of the models.
    """

    task: ArchitectureTask
    parts: tuple[DataPartMetrics, ...]
    shown: tuple[str, ...]
    failed: tuple[FailedImage, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, Any]:
        """The estimates as JSON values, by their key in ``models.json``."""
        if self.task == "segmentation":
            return {"parts": [asdict(part) for part in self.parts]}
        return {
            "estimates": [
                {"part": part.name, "images": part.images, **asdict(model)}
                for part in self.parts
                for model in part.models
            ]
        }

    def table(self) -> list[tuple[str, ...]]:
        """Return table rows: images, n, model, then each shown metric with its difference from the first model."""
        rows = []
        for part in self.parts:
            for model in part.models:
                cells = (_format_cell(model.metrics.get(name), model.difference.get(name)) for name in self.shown)
                rows.append((part.name, str(part.images), model.model, *cells))
        return rows

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield the rows of ``models.csv``: one for each part, model and metric."""
        for part in self.parts:
            for model in part.models:
                for metric, estimate in model.metrics.items():
                    row: dict[str, object] = {"part": part.name, "images": part.images, "patients": part.patients}
                    row |= {"model": model.model, "metric": metric}
                    row |= {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
                    if change := model.difference.get(metric):
                        row |= dict(zip(ESTIMATE_COLUMNS[3:], (change.mean, change.low, change.high), strict=True))
                    yield row


def estimate_parts(
    domains: NDArray[Any],
    groups: NDArray[Any],
    names: Sequence[str],
    estimate: Callable[[int, NDArray[np.bool_]], tuple[Estimates, Estimates]],
) -> Iterator[DataPartMetrics]:
    """Yield the estimates on all images and on each data set, if there are several.

    ``domains``, ``groups``: (image,): data set, and patient or lesion. ``names``: of the models. ``estimate`` takes the
    index of a model and the selected images, bool (image,), and returns its estimates and their differences from the
    first model.
    """
    datasets = np.unique(domains)
    for name in ["all", *(datasets if len(datasets) > 1 else ())]:
        selected = np.full(len(domains), True) if name == "all" else domains == name
        estimates = tuple(ModelMetrics(model, *estimate(number, selected)) for number, model in enumerate(names))
        yield DataPartMetrics(str(name), int(selected.sum()), len(np.unique(groups[selected])), estimates)


def write_models(
    comparison: ModelsComparison,
    facts: Mapping[str, Any],
    page: Page,
    out: Path,
    columns: Sequence[str],
) -> None:
    """Write ``models.json``, ``models.csv`` and, last, the page.

    ``facts``: the content of ``models.json``. ``columns``: the columns of ``models.csv`` before the estimates.
    """
    write_json(out / MODELS, facts)
    write_table(out / TABLE, list(comparison.rows()), [*columns, *ESTIMATE_COLUMNS])
    write_evaluation_page(without_verdict(page, facts["training_overlap"]), out / PAGE_NAME)


def models_page(
    comparison: ModelsComparison,
    metric: str,
    less_is_better: Sequence[str],
    *,
    no_lead: str = "",
    **content: Any,  # noqa: ANN401 - the fields of Page that depend on the task
) -> Page:
    """Return the content of the page.

    Its lead names the best model by ``metric``, or is ``no_lead`` if the metric is undefined.
    """
    names = [model.model for model in comparison.parts[0].models]
    ranked = [model for model in comparison.parts[0].models if metric in model.metrics]
    head = ("Images", "n", "Model", *(directed_label(name, less_is_better) for name in comparison.shown))
    return Page(
        title=" and ".join([", ".join(names[:-1]), names[-1]]),
        lead=_lead(metric, ranked, names[0]) if ranked else no_lead,
        warnings=comparison.warnings,
        tables=[(f"Metrics, and differences from {names[0]}", head, comparison.table())],
        failed=[(item.sample.image_id, item.error) for item in comparison.failed[:MOST_FAILED]],
        **content,
    )


def define_metrics(names: Sequence[str], definitions: Mapping[str, str]) -> str:
    """Join the definitions of the metrics in a table into one note."""
    return "; ".join(f"{metric_label(name)}: {definitions[name]}" for name in names) + "."


def common_images(indices_by_evaluation: Sequence[Mapping[tuple[str, str], int]]) -> list[NDArray[np.intp]]:
    """Find the images that all evaluations contain.

    ``indices_by_evaluation``: for each evaluation, the index of each image by data set and image id. Returns int
    (image,) for each evaluation: the indices of the common images, in the order of the first evaluation.
    """
    first, *others = indices_by_evaluation
    keys = [key for key in first if all(key in indices for indices in others)]
    if not keys:
        raise InputError("the evaluations have no image in common: run them on the same data sets and split.")
    return [np.array([indices[key] for key in keys], np.intp) for indices in indices_by_evaluation]


def _combine_failed(evaluations: Iterable[Sequence[FailedImage]]) -> tuple[FailedImage, ...]:
    """Return the images that failed in any evaluation, each once, with the first reason."""
    failed_by_key: dict[tuple[str, str], FailedImage] = {}
    for failed in evaluations:
        for item in failed:
            failed_by_key.setdefault(item.sample.key, item)
    return tuple(failed_by_key.values())


def check_different_evaluations(folders: Sequence[Path]) -> None:
    """Reject fewer than two evaluations, or the same evaluation twice, as all differences would be 0."""
    if len(folders) < 2:
        raise InputError(f"a comparison needs two or more evaluations; found {len(folders)}.")
    paths = [folder.resolve() for folder in folders]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise InputError(f"{folders[number]} was named twice. Name two different evaluations.")


def distinct_model_names(own: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Return distinct names of models: their own, or those of their folders if several models share a name."""
    taken: list[str] = []
    for name in folders if folders and len(set(own)) < len(own) else own:
        taken.append(free_name(name, {other.lower() for other in taken}))
    return taken


def _format_cell(estimate: Estimate | None, change: Estimate | None) -> str:
    """Format a metric and its difference from the first model, if there is one; "" if the metric is undefined."""
    if estimate is None:
        return ""
    return f"{estimate.mean:.3f}" + (f", {change.mean:+.3f} ({change.format_interval()})" if change else "")


def _lead(metric: str, ranked: Sequence[ModelMetrics], first: str) -> str:
    """State the best model by a metric, and its difference from the first model."""
    best = max(ranked, key=lambda model: model.metrics[metric].mean)
    label = "Jaccard index" if metric == "JA" else metric_label(metric)
    text = f"Highest {label}: {best.model}, {best.metrics[metric]}."
    if change := best.difference.get(metric):
        certainty = "significant (interval excludes 0)" if change.low > 0 else "may be due to chance"
        text += f" Difference from {first}: {change.mean:+.3f} ({change.format_interval()}), {certainty}."
    return text


# Segmentation models.

SHOWN = ("TJA", "JA", "DI", "HD95_relative", "BF1")
PER_IMAGE = ("JA", "DI", "HD95_px", "BF1")
COLUMNS = ("part", "images", "patients", "model", "metric")
SHARE_TOLERANCE = 2e-6  # of the share of the reference mask, of which tables store six digits
DIFFERENT = (
    "These evaluations were made with different options, so differences are not due to the models alone: {options}."
)


def compare_several(
    models: Sequence[BundleInfo],
    samples: Sequence[Sample],
    out: Path,
    options: EvaluationOptions,
    *,
    run: RunContext,
) -> ModelsComparison:
    """Load models and compare each with the first one on the same images.

    Differences are paired by image; intervals are from a bootstrap over patients or lesions.
    """
    from napari_melanoma.lesion.segmentation import Segmenter

    if len(models) < 2:
        raise InputError(f"a comparison needs two or more models; found {len(models)}.")
    return compare_several_loaded([Segmenter.load(info) for info in models], samples, out, options, run=run)


def compare_several_loaded(
    models: Sequence[ProbabilityModel],
    samples: Sequence[Sample],
    out: Path,
    options: EvaluationOptions,
    *,
    run: RunContext,
) -> ModelsComparison:
    """Compare loaded models; see ``compare_several``."""
    infos = [model.info for model in models]
    overlap, warnings = select_images(infos, samples, run=run, include=options.include_seen)
    options = options.model_copy(update={"difficulty": False})  # not used here
    measured, values = measure_models(models, overlap.measured, options, out, run=run), options.model_dump(mode="json")
    candidates = [
        EvaluatedModel(
            model.info.name,
            model.info.fingerprint,
            measurement_threshold(model, options),
            metrics,
            values,
            (*overlap.warnings, *warnings),
            overlap.facts,
        )
        for model, metrics in zip(models, measured, strict=True)
    ]
    comparison = _compare(candidates, out, [])
    remove_partial_results(out)
    return comparison


def compare_evaluations(folders: Sequence[Path], out: Path) -> ModelsComparison:
    """Compare stored evaluations, each with the first one, on the images that were measured in all of them.

    Differences between their options are among the warnings.
    """
    check_different_evaluations(folders)
    candidates = [read_evaluation(folder) for folder in folders]
    return _compare(candidates, out, [folder.name for folder in folders])


def _compare(candidates: Sequence[EvaluatedModel], out: Path, folders: Sequence[str]) -> ModelsComparison:
    """Compute the estimates and write all files, the page last."""
    names = distinct_model_names([item.name for item in candidates], folders)
    measured = [_measured_images(item.image_metrics) for item in candidates]
    indices = common_images(measured)
    _check_same_masks(candidates, names, indices)
    warnings = dict.fromkeys(
        [*_list_option_differences(candidates, names), *(text for item in candidates for text in item.warnings)]
    )
    parts = tuple(_parts(candidates, names, indices))
    failed = _combine_failed(item.image_metrics.failed for item in candidates)
    comparison = ModelsComparison("segmentation", parts, SHOWN, failed, tuple(warnings))
    models = [{"name": name, **_about(item)} for name, item in zip(names, candidates, strict=True)]
    left_out = len(set().union(*measured)) - len(indices[0])
    facts: dict[str, Any] = {"models": models, **comparison.values, "not_in_all": left_out}
    facts |= {"interval": f"{INTERVAL_METHOD}; of differences paired", "warnings": list(warnings)}
    facts |= {"provenance": collect_provenance(), "training_overlap": [item.overlap for item in candidates]}
    columns = ("image_id", "domain", "group", "diagnosis", *(f"{m}_{n}" for m in PER_IMAGE for n in names))
    write_table(out / "per_image.csv", _image_rows(candidates, names, indices), columns)
    whole = comparison.parts[0].models
    drawn = {name: metric_label(name) for name in ("JA", "DI", "BF1")}
    plot_models([(s.model, s.metrics, s.difference) for s in whole], drawn, out / "figures/models.png")
    write_models(comparison, facts, _page(comparison, left_out, out), out, COLUMNS)
    return comparison


def _measured_images(image_metrics: ImageMetrics) -> dict[tuple[str, str], int]:
    """Return the index of each measured image by data set and name."""
    samples = ((index, image_metrics.samples[index]) for index in image_metrics.measured.tolist())
    return {sample.key: index for index, sample in samples}


def _about(candidate: EvaluatedModel) -> dict[str, Any]:
    """Describe a model in ``models.json``, with the options that its metrics depend on."""
    about = {"model": candidate.name, "fingerprint": candidate.fingerprint, "threshold": candidate.threshold}
    return {**about, "options": dict(candidate.options)}


def _parts(
    candidates: Sequence[EvaluatedModel], names: Sequence[str], indices: Sequence[NDArray[np.intp]]
) -> Iterator[DataPartMetrics]:
    """Yield the estimates on all images and on each data set, if there are several."""
    samples = [candidates[0].image_metrics.samples[index] for index in indices[0]]
    groups = np.unique([sample.group for sample in samples], return_inverse=True)[1]
    columns = [_columns(item.image_metrics)[where] for item, where in zip(candidates, indices, strict=True)]

    def estimate(number: int, selected: NDArray[np.bool_]) -> tuple[Estimates, Estimates]:
        table, selected_groups = columns[number][selected], groups[selected]
        change = table - columns[0][selected]
        return (
            estimate_columns(table, selected_groups, MEASURED),
            estimate_columns(change, selected_groups, MEASURED, signed=True) if number else {},
        )

    yield from estimate_parts(np.array([sample.domain for sample in samples]), groups, names, estimate)


def _columns(image_metrics: ImageMetrics) -> NDArray[np.float64]:
    """Return the metrics of each image, (image, metric), in the order of ``MEASURED``."""
    return image_metrics.table[:, [image_metrics.names.index(name) for name in MEASURED]]


def _image_rows(
    candidates: Sequence[EvaluatedModel], names: Sequence[str], indices: Sequence[NDArray[np.intp]]
) -> Iterator[dict[str, object]]:
    """Yield the rows of ``per_image.csv``: a column for each metric and model."""
    tables = [item.image_metrics.table for item in candidates]
    for number, index in enumerate(indices[0].tolist()):
        sample = candidates[0].image_metrics.samples[index]
        row: dict[str, object] = {name: getattr(sample, name) for name in ("image_id", "domain", "group", "diagnosis")}
        for item, name, table, where in zip(candidates, names, tables, indices, strict=True):
            for metric in PER_IMAGE:
                value = float(table[where[number], item.image_metrics.names.index(metric)])
                row[f"{metric}_{name}"] = None if math.isnan(value) else value
        yield row


def _page(comparison: ModelsComparison, left_out: int, out: Path) -> Page:
    """Return the content of the page."""
    all_images = comparison.parts[0]
    return models_page(
        comparison,
        "JA",
        LESS_IS_BETTER,
        facts=f"{all_images.images} images of {all_images.patients} patients or lesions, all models on the same images",
        next="If the intervals do not separate the models, prefer the smallest or fastest one. All images are listed "
        "in per_image.csv; run napari-melanoma evaluate to see where a model fails.",
        figures={"All images": out / "figures/models.png"},
        notes=[
            INTERVAL_NOTE,
            *([f"Images left out, because they were not measured for all models: {left_out}."] if left_out else []),
            define_metrics(SHOWN, WORDS),
        ],
    )


def _check_same_masks(
    candidates: Sequence[EvaluatedModel], names: Sequence[str], indices: Sequence[NDArray[np.intp]]
) -> None:
    """Reject images with the same name and different reference masks: they are not the same images."""
    first = candidates[0].image_metrics
    shares = [
        item.image_metrics.column(REFERENCE_SHARE)[where] for item, where in zip(candidates, indices, strict=True)
    ]
    for name, share in zip(names[1:], shares[1:], strict=True):
        different = np.flatnonzero(
            np.abs(share - shares[0]) > SHARE_TOLERANCE
        )  # False for NaN, as in older evaluations
        if len(different):
            sample = first.samples[int(indices[0][different[0]])]
            raise InputError(
                f"{len(different)} of {len(share)} images have different reference masks in {names[0]} and {name}, "
                f"such as '{sample.image_id}' of '{sample.domain}'. Run both evaluations on the same data."
            )


def _list_option_differences(candidates: Sequence[EvaluatedModel], names: Sequence[str]) -> list[str]:
    """Return one warning that lists the options in which the evaluations differ; an empty list if there are none."""
    flattened = [_flatten(item.options) for item in candidates]
    keys = sorted({key for options in flattened for key in options} - {"difficulty"})
    parts = []
    for key in keys:
        values = [_format_option(options.get(key)) for options in flattened]
        if len(set(values)) > 1:
            parts.append(f"{key} ({', '.join(f'{name}: {value}' for name, value in zip(names, values, strict=True))})")
    return [DIFFERENT.format(options="; ".join(parts))] if parts else []


def _flatten(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested options; keys are joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _format_option(value: object) -> str:
    words = {True: "yes", False: "no"}
    return words[value] if isinstance(value, bool) else "none" if value is None else str(value)


# Classifiers.

CLASS_SHOWN = ("AUC", "AP", "sensitivity", "specificity", "ECE")
CLASS_COLUMNS = ("part", "images", "model", "metric")
Conclude = Callable[[ModelsComparison], tuple[str, str]]
"""Function of the result that returns the lead of its page and the recommended next step."""


def compare_classifiers(
    models: Sequence[BundleInfo],
    datasets: Sequence[Path],
    out: Path,
    options: ClassEvaluationOptions,
    *,
    run: RunContext,
) -> ModelsComparison:
    """Load classifiers and compare each with the first one on the same images, each read once.

    Differences are paired by image; intervals are from a bootstrap over patients or lesions.
    """
    from napari_melanoma.classification.classifier import Classifier

    if len(models) < 2:
        raise InputError(f"a comparison needs two or more models; found {len(models)}.")
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
) -> ModelsComparison:
    """Compare loaded classifiers on selected images; see ``compare_classifiers``.

    ``conclude``: replaces the lead and the next step on the page.
    """
    images = images.without_training_images([model.info for model in loaded], options, run=run)
    segmenter = load_segmenter_for(options)
    metrics_by_model = measure_classifiers(
        loaded, images.samples, images.rows, options, out, segmenter=segmenter, run=run
    )
    evaluations = list(_stored_evaluations(loaded, metrics_by_model, images, options))
    compared = _compare_classes(evaluations, [], out, conclude)
    remove_partial_results(out)
    return compared


def _stored_evaluations(
    loaded: Sequence[ClassifierModel],
    metrics_by_model: Sequence[ImageMetrics],
    images: LabeledImages,
    options: ClassEvaluationOptions,
) -> Iterator[StoredClassEvaluation]:
    """Yield the predictions of each model in the form of a stored evaluation."""
    assert images.overlap is not None
    overlap = images.overlap
    warnings = (*overlap.warnings, *labeled_image_warnings([model.info for model in loaded], images))
    measured = [metrics_by_model[0].samples[index] for index in metrics_by_model[0].measured]
    keys = tuple(sample.key for sample in measured)
    values = options.model_dump(mode="json")
    for model, metrics in zip(loaded, metrics_by_model, strict=True):
        info, predictions = model.info, collect_predictions(model, metrics, images, options)
        own_warnings = (*warnings, *out_of_distribution_warning(info, metrics))
        yield StoredClassEvaluation(
            info.name, info.fingerprint, predictions, keys, values, own_warnings, overlap.facts, metrics.failed
        )


def compare_class_evaluations(folders: Sequence[Path], out: Path) -> ModelsComparison:
    """Compare stored evaluations of classifiers, each with the first one."""
    check_different_evaluations(folders)
    evaluations = [read_class_evaluation(folder) for folder in folders]
    _check_same_classes([(item.name, item.predictions.classes) for item in evaluations])
    return _compare_classes(_restrict_to_common(evaluations), [folder.name for folder in folders], out)


def _check_same_classes(models: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    """Reject classifiers with different classes."""
    (first, classes), *others = models
    for name, other_classes in others:
        if other_classes != classes:
            raise InputError(
                f"'{first}' predicts {', '.join(classes)} and '{name}' predicts {', '.join(other_classes)}: only "
                "models with the same classes can be compared."
            )


def _restrict_to_common(evaluations: Sequence[StoredClassEvaluation]) -> list[StoredClassEvaluation]:
    """Keep the images that all evaluations contain, in the order of the first one and with its patients."""
    indices = common_images([{image: index for index, image in enumerate(item.images)} for item in evaluations])
    keys = tuple(evaluations[0].images[index] for index in indices[0])
    # In other evaluations, the table of the data set may not yet have named the patients.
    groups = evaluations[0].predictions.groups[indices[0]]
    restricted = [
        replace(item, predictions=replace(item.predictions.subset(common), groups=groups), images=keys)
        for item, common in zip(evaluations, indices, strict=True)
    ]
    for item in restricted[1:]:
        different = np.flatnonzero(item.predictions.labels != restricted[0].predictions.labels)
        if len(different):
            raise InputError(
                f"{len(different)} of {len(keys)} images have different classes in the evaluations of "
                f"{restricted[0].name} and {item.name}, such as '{keys[int(different[0])][1]}'. Run both on the same "
                "data and column."
            )
    return restricted


def _compare_classes(
    evaluations: Sequence[StoredClassEvaluation],
    folders: Sequence[str],
    out: Path,
    conclude: Conclude | None = None,
) -> ModelsComparison:
    """Compute the estimates and write all files, the page last."""
    names = distinct_model_names([item.name for item in evaluations], folders)
    warnings = [text for item in evaluations for text in item.warnings]
    if any(dict(item.options) != dict(evaluations[0].options) for item in evaluations):
        warnings.insert(0, "These evaluations were made with different options; see models.json.")
    parts = tuple(_class_parts(evaluations, names))
    failed = _combine_failed(item.failed for item in evaluations)
    comparison = ModelsComparison("classification", parts, CLASS_SHOWN, failed, tuple(dict.fromkeys(warnings)))
    models = [
        {"name": name, "model": item.name, "fingerprint": item.fingerprint, "threshold": item.predictions.threshold}
        | {"options": dict(item.options)}
        for name, item in zip(names, evaluations, strict=True)
    ]
    values = {"task": "classification", "models": models, **comparison.values}
    values |= {"warnings": list(comparison.warnings), "interval": INTERVAL_METHOD, "provenance": collect_provenance()}
    values |= {"training_overlap": [item.overlap for item in evaluations]}
    page = _class_page(comparison, _draw(evaluations, names, out / "figures"))
    if conclude is not None:
        lead, last = conclude(comparison)
        page = replace(page, lead=lead, next=last)
    write_models(comparison, values, page, out, CLASS_COLUMNS)
    return comparison


def _class_parts(evaluations: Sequence[StoredClassEvaluation], names: Sequence[str]) -> Iterator[DataPartMetrics]:
    """Yield the estimates on all images and on each data set, if there are several."""
    first = evaluations[0].predictions
    assert first.domains is not None

    def estimate(number: int, selected: NDArray[np.bool_]) -> tuple[Estimates, Estimates]:
        predictions = evaluations[number].predictions.subset(selected)
        return class_estimates(predictions), class_differences(first.subset(selected), predictions) if number else {}

    yield from estimate_parts(first.domains, first.groups, names, estimate)


def _draw(evaluations: Sequence[StoredClassEvaluation], names: Sequence[str], folder: Path) -> dict[str, Path]:
    """Plot the curves of all models in one figure, if there are images of both classes."""
    truth = evaluations[0].predictions.truth
    if truth.all() or not truth.any():
        return {}
    curves = [compute_curves(item.predictions, name) for name, item in zip(names, evaluations, strict=True)]
    plot_roc([roc for roc, _ in curves], folder / "roc.png")
    plot_precision_recall(
        [precision_recall for _, precision_recall in curves], float(truth.mean()), folder / "precision_recall.png"
    )
    return {"ROC curves": folder / "roc.png", "Precision-recall curves": folder / "precision_recall.png"}


def _class_page(comparison: ModelsComparison, figures: dict[str, Path]) -> Page:
    """Return the content of the page."""
    return models_page(
        comparison,
        "AUC",
        CLASS_LESS_IS_BETTER,
        no_lead="All images belong to one class, so the AUC cannot be computed.",
        facts=f"{comparison.parts[0].images} images, all models on the same images",
        next="If the intervals do not separate the models, prefer the smallest or best-calibrated one.",
        figures=figures,
        notes=[INTERVAL_NOTE, f"{define_metrics(CLASS_SHOWN, METRICS)} Each model is evaluated at its own threshold."],
    )

"""Compare several segmentation models, or several classifiers, with the first of them on the same images.

``compare_results`` is the whole of it; what depends on the task is in ``ComparedMasks`` and ``ComparedClasses``. For a
comparison of two models with advice on which one to use, see ``evaluation.pair_comparison``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import is_same_folder, write_json
from napari_melanoma.core.paths import free_name, real_path
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Key, Sample, list_surrounding_datasets, require_outside_datasets
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.evaluation.classes import (
    ClassTask,
    StoredClassEvaluation,
    collect_predictions,
    compute_curves,
    is_class_evaluation,
    out_of_distribution_warning,
    read_class_evaluation,
)
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions, LabeledImages, find_labeled_images
from napari_melanoma.evaluation.masks import (
    REFERENCE_SHARE,
    EvaluatedModel,
    EvaluationOptions,
    MaskTask,
    estimate_columns,
    metric_columns,
    read_evaluation,
)
from napari_melanoma.evaluation.pages import Page, write_evaluation_page
from napari_melanoma.evaluation.pipeline import (
    ALL_IMAGES,
    MAX_FAILED,
    Estimates,
    FailedImage,
    ImageMetrics,
    measure_images,
    select_images,
)
from napari_melanoma.evaluation.training_overlap import Overlap, without_verdict
from napari_melanoma.figures.evaluation import plot_models, plot_precision_recall, plot_roc
from napari_melanoma.io.results import write_table
from napari_melanoma.metrics.class_metrics import class_differences, class_estimates
from napari_melanoma.metrics.delong import AucDifference, compare_aucs
from napari_melanoma.metrics.mask_metrics import METRICS, find_metric, list_mask_metrics
from napari_melanoma.metrics.metric_table import define_metrics, metric_label
from napari_melanoma.metrics.statistics import Estimate, describe_intervals
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.installed_bundles import require_task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.models.zoo import ArchitectureTask


MODELS, TABLE, PAGE_NAME = "models.json", "models.csv", "comparison.html"
ESTIMATE_COLUMNS = ("mean", "low", "high", "difference", "difference_low", "difference_high")
COLUMNS = ("part", "images", "patients", "model", "metric", *ESTIMATE_COLUMNS)
INTERVAL_NOTE = (
    "Intervals: {interval}. Even if all models are equal, about one in twenty intervals of "
    "differences excludes 0 by chance."
)
SHARE_TOLERANCE = 2e-6  # of the share of the reference mask, of which tables store six digits
DIFFERENT = (
    "These evaluations were made with different options, so differences are not due to the models alone: {options}."
)
Conclude = Callable[["ModelsComparison"], tuple[str, str]]
"""Function of the result that returns the lead of its page and the recommended next step."""


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
    ``failed``: the images that failed with any of the models. ``interval``: how intervals were computed.
    """

    task: ArchitectureTask
    parts: tuple[DataPartMetrics, ...]
    shown: tuple[str, ...]
    failed: tuple[FailedImage, ...] = ()
    warnings: tuple[str, ...] = ()
    interval: str = ""

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


class ComparedModels(ABC):
    """The results of several models for the same images: what depends on the task.

    ``names``: distinct, of the models. ``keys``, ``groups``: data set and image id, and patient or lesion, of the
    images that all models have. ``models``: what ``models.json`` states of each model. ``overlaps``: ``Overlap.facts``
    of each.
    """

    task: ClassVar[ArchitectureTask]
    shown: tuple[str, ...]  # metrics in tables for users
    decisive: ClassVar[str]  # the metric that the page begins with
    no_lead = ""  # the lead if that metric is undefined
    next = ""

    names: Sequence[str]
    keys: Sequence[Key]
    groups: NDArray[Any]
    models: Sequence[Mapping[str, Any]]
    warnings: Sequence[str]
    failed: Sequence[FailedImage]
    overlaps: Sequence[Mapping[str, Any] | None]

    @abstractmethod
    def estimate(self, number: int, selected: NDArray[np.bool_]) -> tuple[Estimates, Estimates]:
        """Return the estimates of a model and their differences from the first model.

        ``number``: index of the model. ``selected``: bool (image,).
        """

    @abstractmethod
    def draw(self, comparison: ModelsComparison, folder: Path) -> dict[str, Path]:
        """Draw the figures; returns title to file."""

    def facts(self) -> dict[str, Any]:
        """Return further values of ``models.json``."""
        return {}

    def notes(self) -> list[str]:
        """Return further notes for the page."""
        return []

    def rows(self) -> Iterable[Mapping[str, object]]:
        """Return the rows of ``per_image.csv``; none: there is no such table."""
        return ()


def compare_results(compared: ComparedModels, out: Path, conclude: Conclude | None = None) -> ModelsComparison:
    """Estimate each model and its difference from the first one, and write all files, the page last.

    ``conclude``: replaces the lead and the next step on the page.
    """
    warnings = tuple(dict.fromkeys(compared.warnings))
    parts = tuple(_estimate_parts(compared))
    unknown = sum(group == "/".join(key) for group, key in zip(compared.groups, compared.keys, strict=True))
    interval = f"{describe_intervals(len(np.unique(compared.groups)), unknown)}; of differences paired"
    comparison = ModelsComparison(compared.task, parts, compared.shown, tuple(compared.failed), warnings, interval)
    names = [model.model for model in parts[0].models]
    ranked = [model for model in parts[0].models if compared.decisive in model.metrics]
    metrics = [find_metric(name) for name in compared.shown]
    page = Page(
        title=" and ".join([", ".join(names[:-1]), names[-1]]),
        facts=f"{parts[0].images} images of {parts[0].patients} patients or lesions, all models on the same images",
        lead=_lead(compared.decisive, ranked, names[0]) if ranked else compared.no_lead,
        next=compared.next,
        tables=[
            (
                f"Metrics, and differences from {names[0]}",
                ("Images", "n", "Model", *(metric.directed_label for metric in metrics)),
                comparison.table(),
            )
        ],
        figures=compared.draw(comparison, out / "figures"),
        failed=[(item.sample.image_id, item.error) for item in comparison.failed[:MAX_FAILED]],
        notes=[INTERVAL_NOTE.format(interval=interval), *compared.notes(), define_metrics(metrics)],
        warnings=warnings,
    )
    if conclude is not None:
        lead, last = conclude(comparison)
        page = replace(page, lead=lead, next=last)
    if rows := list(compared.rows()):
        write_table(out / "per_image.csv", rows)
    facts = {
        "task": compared.task,
        "models": [{"name": name, **about} for name, about in zip(names, compared.models, strict=True)],
        **comparison.values,
        **compared.facts(),
        "interval": interval,
        "warnings": list(warnings),
        "provenance": collect_provenance(),
        "training_overlap": list(compared.overlaps),
    }
    write_json(out / MODELS, facts)
    write_table(out / TABLE, list(comparison.rows()), COLUMNS)
    write_evaluation_page(without_verdict(page, compared.overlaps), out / PAGE_NAME)
    return comparison


def _estimate_parts(compared: ComparedModels) -> Iterator[DataPartMetrics]:
    """Yield the estimates on all images and on each data set, if there are several."""
    domains, groups = np.array([domain for domain, _ in compared.keys]), np.asarray(compared.groups)
    datasets = np.unique(domains)
    for name in [ALL_IMAGES, *(datasets if len(datasets) > 1 else ())]:
        selected = np.full(len(domains), True) if name == ALL_IMAGES else domains == name
        estimates = tuple(
            ModelMetrics(model, *compared.estimate(number, selected)) for number, model in enumerate(compared.names)
        )
        yield DataPartMetrics(str(name), int(selected.sum()), len(np.unique(groups[selected])), estimates)


def check_comparison_folder(folders: Sequence[Path], out: Path) -> None:
    """Raise an error if a comparison of evaluations would be written into one of them or into a data set."""
    if any(is_same_folder(out, folder) for folder in folders):
        raise InputError(f"{out} is one of the evaluations, which a comparison must not change. Choose another folder.")
    require_outside_datasets(out, list_surrounding_datasets(out))


def compare_evaluation_folders(folders: Sequence[Path], out: Path) -> ModelsComparison:
    """Compare stored evaluations, each with the first one, on the images that were measured in all of them."""
    check_comparison_folder(folders, out)
    _check_different_evaluations(folders)
    are_classifiers = [is_class_evaluation(folder) for folder in folders]
    names = [folder.name for folder in folders]
    if not any(are_classifiers):
        return compare_results(ComparedMasks([read_evaluation(folder) for folder in folders], names), out)
    if not all(are_classifiers):
        raise InputError(
            "some of these evaluations are of classifiers, others of masks. Give evaluations of the same type."
        )
    evaluations = [read_class_evaluation(folder) for folder in folders]
    _check_same_classes([(item.name, item.predictions.classes) for item in evaluations])
    return compare_results(ComparedClasses(_restrict_to_common(evaluations), names), out)


def _check_several(models: Sequence[object]) -> None:
    if len(models) < 2:
        raise InputError(f"a comparison needs two or more models; found {len(models)}.")


def _common_images(indices_by_evaluation: Sequence[Mapping[tuple[str, str], int]]) -> list[NDArray[np.intp]]:
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


def _check_different_evaluations(folders: Sequence[Path]) -> None:
    """Reject fewer than two evaluations, or the same evaluation twice, as all differences would be 0."""
    if len(folders) < 2:
        raise InputError(f"a comparison needs two or more evaluations; found {len(folders)}.")
    paths = [real_path(folder) for folder in folders]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise InputError(f"{folders[number]} was named twice. Name two different evaluations.")


def _distinct_model_names(own: Sequence[str], folders: Sequence[str]) -> list[str]:
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


def compare_masks(
    models: Sequence[Segmenter],
    samples: Sequence[Sample],
    out: Path,
    options: EvaluationOptions,
    *,
    run: RunContext,
) -> ModelsComparison:
    """Compare each segmentation model with the first one on the same images.

    Differences are paired by image; intervals are from a bootstrap over patients or lesions.
    """
    _check_several(models)
    task = MaskTask(models, options.model_copy(update={"difficulty": False}))  # not used here
    overlap, warnings = select_images(task, samples, include_seen=options.include_seen, run=run)
    measured, values = measure_images(task, overlap.measured, out, run=run), task.options.model_dump(mode="json")
    candidates = [
        EvaluatedModel(
            model.info.name,
            model.info.fingerprint,
            threshold,
            metrics,
            values,
            (*overlap.warnings, *warnings),
            overlap.facts,
        )
        for model, threshold, metrics in zip(models, task.thresholds, measured, strict=True)
    ]
    comparison = compare_results(ComparedMasks(candidates), out)
    remove_partial_results(out)
    return comparison


class ComparedMasks(ComparedModels):
    """Evaluations of masks; ``folders``: names of their folders, if they are stored."""

    task = "segmentation"
    shown: tuple[str, ...] = ("TJA", "JA", "DI", "HD95_relative", "BF1")
    decisive = "JA"
    next = (
        "If the intervals do not separate the models, prefer the smallest or fastest one. All images are listed in "
        "per_image.csv; run napari-melanoma evaluate to see where a model fails."
    )
    per_image = ("JA", "DI", "HD95_px", "BF1")

    def __init__(self, candidates: Sequence[EvaluatedModel], folders: Sequence[str] = ()) -> None:
        self._candidates = candidates
        self.shown = (*self.shown, *METRICS.members)
        self.names = _distinct_model_names([item.name for item in candidates], folders)
        measured = [_measured_images(item.image_metrics) for item in candidates]
        self._indices = _common_images(measured)
        self._left_out = len(set().union(*measured)) - len(self._indices[0])
        first = candidates[0].image_metrics
        self.samples = [first.samples[index] for index in self._indices[0]]
        _check_same_masks(candidates, self.names, self._indices)
        self.keys = [sample.key for sample in self.samples]
        self.groups = np.array([sample.group for sample in self.samples])
        self._columns = [
            metric_columns(item.image_metrics)[where] for item, where in zip(candidates, self._indices, strict=True)
        ]
        self.models = [
            {
                "model": item.name,
                "fingerprint": item.fingerprint,
                "threshold": item.threshold,
                "options": dict(item.options),
            }
            for item in candidates
        ]
        self.warnings = [
            *_list_option_differences(candidates, self.names),
            *(text for item in candidates for text in item.warnings),
        ]
        self.failed = _combine_failed(item.image_metrics.failed for item in candidates)
        self.overlaps = [item.overlap for item in candidates]

    def estimate(self, number: int, selected: NDArray[np.bool_]) -> tuple[Estimates, Estimates]:
        groups = np.unique(self.groups[selected], return_inverse=True)[1]
        table = self._columns[number][selected]
        change = table - self._columns[0][selected]
        return estimate_columns(table, groups), estimate_columns(change, groups, signed=True) if number else {}

    def draw(self, comparison: ModelsComparison, folder: Path) -> dict[str, Path]:
        whole, path = comparison.parts[0].models, folder / "models.png"
        drawn = {name: metric_label(name) for name in ("JA", "DI", "BF1")}
        plot_models([(s.model, s.metrics, s.difference) for s in whole], drawn, path)
        return {"All images": path}

    def facts(self) -> dict[str, Any]:
        return {"not_in_all": self._left_out}

    def notes(self) -> list[str]:
        left_out = f"Images left out, because they were not measured for all models: {self._left_out}."
        return [left_out] if self._left_out else []

    def rows(self) -> Iterator[Mapping[str, object]]:
        positions = {name: index for index, name in enumerate(list_mask_metrics())}
        for number, sample in enumerate(self.samples):
            row: dict[str, object] = {
                name: getattr(sample, name) for name in ("image_id", "domain", "group", "diagnosis")
            }
            for metric in self.per_image:
                values = (float(table[number, positions[metric]]) for table in self._columns)
                row |= {f"{metric}_{name}": value for name, value in zip(self.names, values, strict=True)}
            yield row


def _measured_images(image_metrics: ImageMetrics) -> dict[tuple[str, str], int]:
    """Return the index of each measured image by data set and name."""
    samples = ((index, image_metrics.samples[index]) for index in image_metrics.measured.tolist())
    return {sample.key: index for index, sample in samples}


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


def _list_option_differences(
    candidates: Sequence[EvaluatedModel | StoredClassEvaluation], names: Sequence[str]
) -> list[str]:
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

    _check_several(models)
    loaded = [Classifier.load(require_task(info, "classification")) for info in models]
    _check_same_classes([(info.name, info.config.classes) for info in models])
    images = find_labeled_images(datasets, models[0], options)
    return compare_on_images(loaded, images, out, options, run=run)


def compare_on_images(
    models: Sequence[Classifier],
    images: LabeledImages,
    out: Path,
    options: ClassEvaluationOptions,
    *,
    overlap: Overlap | None = None,
    run: RunContext,
    conclude: Conclude | None = None,
) -> ModelsComparison:
    """Compare loaded classifiers on selected images; see ``compare_classifiers``.

    ``overlap``: which of the images the models were trained on; determined if None. ``conclude``: as for
    ``compare_results``.
    """
    task = ClassTask(models, images, options)
    overlap, warnings = select_images(task, images.samples, include_seen=options.include_seen, overlap=overlap, run=run)
    values = options.model_dump(mode="json")
    evaluations = [
        StoredClassEvaluation(
            model.info.name,
            model.info.fingerprint,
            collect_predictions(model, metrics, images, options),
            tuple(sample.key for sample in metrics.measured_samples),
            values,
            (*overlap.warnings, *warnings, *out_of_distribution_warning(model.info, metrics)),
            overlap.facts,
            metrics.failed,
        )
        for model, metrics in zip(models, measure_images(task, overlap.measured, out, run=run), strict=True)
    ]
    comparison = compare_results(ComparedClasses(evaluations), out, conclude)
    remove_partial_results(out)
    return comparison


class ComparedClasses(ComparedModels):
    """Evaluations of classifiers of the same images; ``folders``: names of their folders, if they are stored."""

    task = "classification"
    shown = ("AUC", "AP", "sensitivity", "specificity", "ECE")
    decisive = "AUC"
    no_lead = "All images belong to one class, so the AUC cannot be computed."
    next = "If the intervals do not separate the models, prefer the smallest or best-calibrated one."

    def __init__(self, evaluations: Sequence[StoredClassEvaluation], folders: Sequence[str] = ()) -> None:
        self._predictions = [item.predictions for item in evaluations]
        self.names = _distinct_model_names([item.name for item in evaluations], folders)
        self.keys, self.groups = evaluations[0].images, self._predictions[0].groups
        self.models = [
            {"model": item.name, "fingerprint": item.fingerprint, "threshold": item.predictions.threshold}
            | {"options": dict(item.options)}
            for item in evaluations
        ]
        self.warnings = [
            *_list_option_differences(evaluations, self.names),
            *(text for item in evaluations for text in item.warnings),
        ]
        self.failed = _combine_failed(item.failed for item in evaluations)
        self.overlaps = [item.overlap for item in evaluations]

    def estimate(self, number: int, selected: NDArray[np.bool_]) -> tuple[Estimates, Estimates]:
        predictions = self._predictions[number].subset(selected)
        first = self._predictions[0].subset(selected)
        return class_estimates(predictions), class_differences(first, predictions) if number else {}

    def draw(self, comparison: ModelsComparison, folder: Path) -> dict[str, Path]:
        """Plot the curves of all models in one figure, if there are images of both classes."""
        truth = self._predictions[0].truth
        if truth.all() or not truth.any():
            return {}
        curves = [compute_curves(item, name) for name, item in zip(self.names, self._predictions, strict=True)]
        plot_roc([roc for roc, _ in curves], folder / "roc.png")
        plot_precision_recall(
            [precision_recall for _, precision_recall in curves], float(truth.mean()), folder / "precision_recall.png"
        )
        return {"ROC curves": folder / "roc.png", "Precision-recall curves": folder / "precision_recall.png"}

    def facts(self) -> dict[str, Any]:
        """Return DeLong's test of the AUC of each model against the first one."""
        return {"delong": {name: test._asdict() for name, test in self._test_areas().items()}}

    def notes(self) -> list[str]:
        tests = [
            f"{name} {test.difference:+.3f} ({test.low:+.3f} to {test.high:+.3f}), p = {test.p:.2g}"
            for name, test in self._test_areas().items()
        ]
        delong = f"Difference of the AUC from {self.names[0]} by DeLong's test: {'; '.join(tests)}."
        return ["Each model is evaluated at its own threshold.", *([delong] if tests else [])]

    def _test_areas(self) -> dict[str, AucDifference]:
        """Test the AUC of each model against that of the first one; empty with fewer than two images of a class."""
        first, *others = self._predictions
        if min(first.truth.sum(), (~first.truth).sum()) < 2:
            return {}
        return {
            name: compare_aucs(first.scores, other.scores, first.truth, self.groups)
            for name, other in zip(self.names[1:], others, strict=True)
        }


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
    indices = _common_images([{image: index for index, image in enumerate(item.images)} for item in evaluations])
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

"""Compare models on the same images: two with advice on which one to use, or several with the first of them.

Each model has a table of the images (``evaluation.pipeline``), predicted now or stored; the tables are joined on the
image. Differences are paired by image, with intervals by bootstrap over patients or lesions. What depends on the task
is a ``ComparedModels``. For models of several classes, the pixels of all images are counted together.
"""

from __future__ import annotations

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import flatten_values
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import is_same_folder, write_json
from napari_melanoma.core.paths import free_name, real_path, safe_name
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.class_names import find_lesion_classes
from napari_melanoma.data.dataset import Sample, list_surrounding_datasets, require_outside_datasets
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.evaluation.classes import (
    ClassTask,
    add_classes,
    compute_curves,
    out_of_distribution_warning,
    read_predictions,
)
from napari_melanoma.evaluation.comparison_results import (
    ADVICE,
    COLUMNS,
    COMPARISON,
    NEXT_STEPS,
    Advice,
    ComparedModel,
    Comparison,
    DataPartMetrics,
    DomainChange,
    FailedImage,
    ImageChange,
    ModelMetrics,
    ModelsComparison,
    advise,
    advise_by_auc,
    table_rows,
)
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions, LabeledImages, find_labeled_images
from napari_melanoma.evaluation.labels import LabelTask, estimate_labels, pixel_counts, read_image_and_labels
from napari_melanoma.evaluation.masks import REFERENCE_SHARE, EvaluationOptions, MaskTask, estimate_masks
from napari_melanoma.evaluation.pipeline import (
    ALL_IMAGES,
    FIGURES,
    MAX_FAILED,
    TABLE,
    Estimates,
    EvaluatedModel,
    Page,
    failed_images,
    failed_section,
    interval_text,
    is_evaluation,
    measured_rows,
    predict_tables,
    read_evaluation,
    remove_results,
    select_images,
    write_evaluation_page,
)
from napari_melanoma.evaluation.training_overlap import NO_VERDICT, TRAINED_ON, Overlap, has_training_images
from napari_melanoma.figures.evaluation import (
    draw_contours,
    plot_changes,
    plot_models,
    plot_precision_recall,
    plot_roc,
)
from napari_melanoma.figures.page import Block, Figure, Gallery, Notice, Section, Table, Text, png_uri, write_analysis
from napari_melanoma.io.results import write_rgb, write_table
from napari_melanoma.metrics.class_metrics import ClassPredictions, class_differences, class_estimates
from napari_melanoma.metrics.delong import AucDifference, compare_aucs
from napari_melanoma.metrics.mask_metrics import METRICS, find_metric
from napari_melanoma.metrics.metric_table import define_metrics, metric_label
from napari_melanoma.metrics.overlap import label_metrics
from napari_melanoma.models.installed_bundles import require_task

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.models.zoo import ArchitectureTask

    Mask = NDArray[np.bool_]
    ContourImages = tuple[NDArray[np.uint8], Mask, Mask, Mask]

MODELS, MODELS_TABLE, PAGE_NAME, CHANGES = "models.json", "models.csv", "comparison.html", "changes.png"
COMPARISON_FILES = (MODELS, COMPARISON, MODELS_TABLE, PAGE_NAME, CHANGES, TABLE)
NEW_IMAGES = "new images"  # name for the images that belong to no replay data set
MAX_PICTURES = 12  # images with the largest change, in each direction
MIN_CHANGE = 0.005  # smaller changes of an image's Jaccard index are not shown
IMAGE_METRICS = ("JA", "DI")  # of each image, that a comparison of two models lists
SHARE_TOLERANCE = 2e-6  # of the share of the reference mask, of which tables store six digits
CONTOURS = "Contours: old purple, new yellow, reference blue."
PAIR_COLUMNS = ("Images", "n", "Metric", "Old", "New", "Difference (95 % interval)")
INTERVAL_NOTE = (
    "Intervals: {interval}. Even if all models are equal, about one in twenty intervals of "
    "differences excludes 0 by chance."
)
POOLED = (
    "Jaccard (IoU) and Dice without a class are means over classes, with the pixels of all images counted together; "
    "each pixel gets its most probable class. Contours show the class {lesion_class}."
)
log = logging.getLogger(__name__)


class ComparisonOptions(EvaluationOptions):
    """Which images are compared, and how masks are made."""

    replay: tuple[str, ...] = Field((), description="names of data sets on which the new model must not do worse")
    notes: tuple[str, ...] = Field(
        (), description="sentences on the images or models, appended to the reason of the advice"
    )
    remedy: str = Field("", description="what to do if too few images could be compared; empty: the default sentence")


# Tables of the same images.


class ComparedModels(ABC):
    """Models of one task, the one that the others are compared with first; what depends on the task.

    ``names``: distinct. ``tables``: of each model, the images that could be measured with all of them.
    """

    task: ClassVar[ArchitectureTask]
    shown: tuple[str, ...] = ()  # metrics in tables for users; none: all
    decisive: ClassVar[str]  # the metric that the page begins with
    no_lead = ""  # the lead if that metric is undefined
    next = ""

    def __init__(self, models: Sequence[EvaluatedModel], folders: Sequence[str] = ()) -> None:
        """``folders``: names of their folders, if they are stored; used if several models share a name."""
        self.models, self.names = models, list[str]()
        own = [model.name for model in models]
        for name in folders if folders and len(set(own)) < len(own) else own:
            self.names.append(free_name(name, {other.lower() for other in self.names}))
        self.tables = join_on_images([model.table for model in models])

    @property
    def failed(self) -> tuple[FailedImage, ...]:
        """The images that failed with any model, each once, with the first reason."""
        failed = [item for model in self.models for item in failed_images(model.table)]
        return tuple({item.sample.key: item for item in reversed(failed)}.values())[::-1]

    @property
    def interval(self) -> str:
        """How intervals are computed."""
        return f"{interval_text(self.tables[0]['sample'])}; of differences paired"

    @abstractmethod
    def estimate(self, number: int, rows: DataFrame, first: DataFrame | None) -> Estimates:
        """Estimate the metrics of a model over some images; or, with ``first``, its differences from the first model.

        ``number``: index of the model. ``first``: the same images of the first model.
        """

    def estimate_part(self, name: str, images: NDArray[np.bool_]) -> DataPartMetrics:
        """Estimate all models over some images, bool (image,)."""
        first = self.tables[0][images]
        models = []
        for number, (model, table) in enumerate(zip(self.names, self.tables, strict=True)):
            rows = table[images]
            difference = self.estimate(number, rows, first) if number else {}
            models.append(ModelMetrics(model, self.estimate(number, rows, None), difference))
        return DataPartMetrics(name, len(first), first["group"].nunique(), tuple(models))

    @cached_property
    def parts(self) -> list[DataPartMetrics]:
        """The estimates on all images, then on each data set."""
        domains = self.tables[0]["domain"].to_numpy(str)
        whole = self.estimate_part(ALL_IMAGES, np.ones(len(domains), bool))
        return [whole, *(self.estimate_part(str(domain), domains == domain) for domain in np.unique(domains))]

    @property
    def shown_parts(self) -> tuple[DataPartMetrics, ...]:
        """The estimates on all images, and on each data set if there are several."""
        return tuple(self.parts if len(self.parts) > 2 else self.parts[:1])

    def draw(self, comparison: ModelsComparison, folder: Path) -> dict[str, Path]:
        """Draw the figures of several models; returns title to file."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return further values of ``models.json``."""
        return {}

    def notes(self) -> list[str]:
        return []

    def rows(self) -> Iterable[Mapping[str, object]]:
        """Return the rows of ``per_image.csv``; none: there is no such table."""
        return ()


def join_on_images(tables: Sequence[DataFrame]) -> list[DataFrame]:
    """Return the rows of the images that are measured in all tables, in the order and with the patients of the first.

    In other stored evaluations, the table of the data set may not yet have named the patients.
    """
    keyed = [measured_rows(table).set_index(["domain", "image_id"], drop=False) for table in tables]
    common = reduce(lambda index, other: index[index.isin(other.index)], keyed[1:], keyed[0].index)
    if common.empty:
        raise InputError("the evaluations have no image in common: run them on the same data sets and split.")
    groups = keyed[0].loc[common, "group"].to_numpy()
    return [rows.loc[common].reset_index(drop=True).assign(group=groups) for rows in keyed]


class ComparedMasks(ComparedModels):
    """Segmentation models: metrics of each image, averaged."""

    task = "segmentation"
    decisive = "JA"
    next = (
        "If the intervals do not separate the models, prefer the smallest or fastest one. All images are listed in "
        "per_image.csv; run napari-melanoma evaluate to see where a model fails."
    )

    def __init__(self, models: Sequence[EvaluatedModel], folders: Sequence[str] = ()) -> None:
        super().__init__(models, folders)
        self.shown = ("TJA", "JA", "DI", "HD95_relative", "BF1", *METRICS.members)
        keys = [{sample.key for sample in measured_rows(model.table)["sample"]} for model in models]
        self._left_out = len(set().union(*keys)) - len(self.tables[0])
        first, *others = (table.get(REFERENCE_SHARE) for table in self.tables)
        for name, share in zip(self.names[1:], others, strict=True):
            different = np.flatnonzero(np.abs(share - first) > SHARE_TOLERANCE)
            if len(different):
                sample = self.tables[0]["sample"][different[0]]
                raise InputError(
                    f"{len(different)} of {len(share)} images have different reference masks in {self.names[0]} and "
                    f"{name}, such as '{sample.image_id}' of '{sample.domain}'. Run both evaluations on the same data."
                )

    def estimate(self, number: int, rows: DataFrame, first: DataFrame | None) -> Estimates:
        return estimate_masks(rows, first)

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

    def rows(self) -> list[Mapping[str, object]]:
        rows = self.tables[0][["image_id", "domain", "group", "diagnosis"]]
        for metric in ("JA", "DI", "HD95_px", "BF1"):
            for name, table in zip(self.names, self.tables, strict=True):
                rows = rows.assign(**{f"{metric}_{name}": table[metric]})
        return rows.to_dict("records")


class ComparedLabels(ComparedModels):
    """Multi-class models: the pixels of all images are counted together."""

    task = "segmentation"
    decisive = "JA"

    def __init__(self, models: Sequence[EvaluatedModel], classes: Sequence[str]) -> None:
        super().__init__(models)
        self._classes = classes

    def estimate(self, number: int, rows: DataFrame, first: DataFrame | None) -> Estimates:
        return estimate_labels(rows, self._classes, first)


class ComparedClasses(ComparedModels):
    """Classifiers, each at its own threshold."""

    task = "classification"
    shown = ("AUC", "AP", "sensitivity", "specificity", "ECE")
    decisive = "AUC"
    no_lead = "All images belong to one class, so the AUC cannot be computed."
    next = "If the intervals do not separate the models, prefer the smallest or best-calibrated one."

    def __init__(self, models: Sequence[EvaluatedModel], folders: Sequence[str] = ()) -> None:
        _check_same_classes([(model.name, model.classes, model.positive) for model in models])
        super().__init__(models, folders)
        self._predictions = [self._predict(number, table) for number, table in enumerate(self.tables)]
        labels = self.tables[0]["label"]
        for model, table in zip(self.models[1:], self.tables[1:], strict=True):
            different = np.flatnonzero(table["label"] != labels)
            if len(different):
                raise InputError(
                    f"{len(different)} of {len(table)} images have different classes in the evaluations of "
                    f"{self.models[0].name} and {model.name}, such as '{table['image_id'][different[0]]}'. Run both on "
                    "the same data and column."
                )

    def _predict(self, number: int, rows: DataFrame) -> ClassPredictions:
        model = self.models[number]
        return read_predictions(rows, model.classes, model.positive, model.threshold)

    def estimate(self, number: int, rows: DataFrame, first: DataFrame | None) -> Estimates:
        predictions = self._predict(number, rows)
        return (
            class_estimates(predictions) if first is None else class_differences(self._predict(0, first), predictions)
        )

    def draw(self, comparison: ModelsComparison, folder: Path) -> dict[str, Path]:
        """Plot the curves of all models in one figure, if there are images of both classes."""
        truth = self._predictions[0].truth
        if truth.all() or not truth.any():
            return {}
        roc, precision_recall = zip(*map(compute_curves, self._predictions, self.names), strict=True)
        plot_roc({"": roc}, folder / "roc.png")
        plot_precision_recall(precision_recall, float(truth.mean()), folder / "precision_recall.png")
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
            name: compare_aucs(first.scores, other.scores, first.truth, first.groups)
            for name, other in zip(self.names[1:], others, strict=True)
        }


def _check_same_classes(models: Sequence[tuple[str, tuple[str, ...], str]]) -> None:
    """Raise if models differ in their classes or in the positive class; ``models``: name, classes, positive class."""
    (first, classes, positive), *others = models
    for name, other_classes, other_positive in others:
        if other_classes != classes:
            raise InputError(
                f"'{first}' predicts {', '.join(classes)} and '{name}' predicts {', '.join(other_classes)}: only "
                "models with the same classes can be compared."
            )
        if other_positive != positive:
            raise InputError(
                f"the positive class of '{first}' is {positive}, that of '{name}' is {other_positive}: their AUC, "
                "sensitivity and specificity are those of different classes. Compare models with the same one."
            )


def predict_models(
    task: MaskTask | LabelTask | ClassTask,
    samples: Sequence[Sample],
    out: Path,
    *,
    overlap: Overlap | None = None,
    message: str = "Measuring",
    run: RunContext,
) -> tuple[list[EvaluatedModel], Overlap, tuple[str, ...]]:
    """Predict the table of each model.

    ``overlap``: which of the images the models were trained on; determined if None. Returns also this, and the warnings
    on the images.
    """
    options = task.options
    overlap, warnings = select_images(task, samples, include_seen=options.include_seen, overlap=overlap, run=run)
    tables = predict_tables(task, overlap.measured, out, message=message, run=run)
    values, texts = options.model_dump(mode="json"), (*overlap.warnings, *warnings)
    models = [
        EvaluatedModel(info.name, info.fingerprint, threshold, table, values, texts, overlap.facts)
        for info, threshold, table in zip(task.infos, task.thresholds, tables, strict=True)
    ]
    return models, overlap, warnings


# Several models.


def compare_evaluation_folders(folders: Sequence[Path], out: Path) -> ModelsComparison:
    """Compare stored evaluations, each with the first one, on the images that were measured in all of them."""
    check_comparison_folder(folders, out)
    if len(folders) < 2:
        raise InputError(f"a comparison needs two or more evaluations; found {len(folders)}.")
    paths = [real_path(folder) for folder in folders]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise InputError(f"{folders[number]} was named twice. Name two different evaluations.")
    models, names = [read_evaluation(folder) for folder in folders], [folder.name for folder in folders]
    if len({bool(model.classes) for model in models}) > 1:
        raise InputError(
            "some of these evaluations are of classifiers, others of masks. Give evaluations of the same type."
        )
    return compare_results((ComparedClasses if models[0].classes else ComparedMasks)(models, names), out)


def check_comparison_folder(folders: Sequence[Path], out: Path) -> None:
    """Raise an error if a comparison of evaluations would be written into one of them or into a data set."""
    if any(is_same_folder(out, folder) for folder in folders):
        raise InputError(f"{out} is one of the evaluations, which a comparison must not change. Choose another folder.")
    require_no_evaluation(out)
    require_outside_datasets(out, list_surrounding_datasets(out))


def require_no_evaluation(out: Path) -> None:
    """Raise an error if a comparison would replace files of an evaluation."""
    if is_evaluation(out):
        raise InputError(f"{out} contains an evaluation, which a comparison must not change. Choose another folder.")


def is_comparison(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (MODELS, COMPARISON))


def remove_earlier_comparison(out: Path) -> None:
    """Remove the files of an earlier comparison, also of one of another kind."""
    if is_comparison(out):
        remove_results(out, COMPARISON_FILES)
        shutil.rmtree(out / "thumbnails", ignore_errors=True)


def compare_masks(
    models: Sequence[Segmenter], samples: Sequence[Sample], out: Path, options: EvaluationOptions, *, run: RunContext
) -> ModelsComparison:
    """Compare each segmentation model with the first one on the same images."""
    evaluated, _, _ = predict_models(make_mask_task(models, options), samples, out, run=run)
    comparison = compare_results(ComparedMasks(evaluated), out)
    remove_partial_results(out)
    return comparison


def compare_classifiers(
    models: Sequence[BundleInfo],
    datasets: Sequence[Path],
    out: Path,
    options: ClassEvaluationOptions,
    *,
    run: RunContext,
) -> ModelsComparison:
    """Load classifiers and compare each with the first one on the same images, each read once."""
    from napari_melanoma.classification.classifier import Classifier

    loaded = [Classifier.load(require_task(info, "classification")) for info in models]
    _check_same_classes([(model.info.name, model.info.config.classes, model.config.positive) for model in loaded])
    images = find_labeled_images(datasets, models[0], options, models[1:])
    comparison = compare_results(_predict_classes(loaded, images, out, options, run=run), out)
    remove_partial_results(out)
    return comparison


def _predict_classes(
    models: Sequence[Classifier],
    images: LabeledImages,
    out: Path,
    options: ClassEvaluationOptions,
    *,
    overlap: Overlap | None = None,
    run: RunContext,
) -> ComparedClasses:
    """Predict selected images with loaded classifiers; ``overlap``: as for ``predict_models``."""
    task = ClassTask(models, images, options)
    evaluated, _, _ = predict_models(task, images.samples, out, overlap=overlap, run=run)
    classified = []
    for model, one in zip(models, evaluated, strict=True):
        warnings = (*one.warnings, *out_of_distribution_warning(model.info, measured_rows(one.table)))
        table, positive = add_classes(one.table, model, images), model.config.positive
        classified.append(replace(one, table=table, warnings=warnings, classes=images.classes, positive=positive))
    return ComparedClasses(classified)


def compare_results(compared: ComparedModels, out: Path, conclusion: tuple[str, str] | None = None) -> ModelsComparison:
    """Estimate each model and its difference from the first one, and write all files, the page last.

    ``conclusion``: the lead and the next step on the page, instead of those of the task.
    """
    remove_earlier_comparison(out)
    models, names = compared.models, compared.names
    texts = [*_list_option_differences(models, names), *(text for model in models for text in model.warnings)]
    warnings, interval = tuple(dict.fromkeys(texts)), compared.interval
    parts = compared.shown_parts
    comparison = ModelsComparison(
        compared.task, parts, compared.shown, compared.failed, warnings, interval, compared.facts()
    )
    metrics = [find_metric(name) for name in compared.shown]
    lead, next_step = conclusion or (_lead(compared.decisive, parts[0].models) or compared.no_lead, compared.next)
    if has_training_images(model.overlap for model in models):
        lead = f"{NO_VERDICT} {lead}"
    page = Page(
        title=" and ".join([", ".join(names[:-1]), names[-1]]),
        facts=f"{parts[0].images} images of {parts[0].patients} patients or lesions, all models on the same images",
        lead=lead,
        next=next_step,
        tables=[
            (
                f"Metrics, and differences from {names[0]}",
                ("Images", "n", "Model", *(metric.directed_label for metric in metrics)),
                comparison.table(),
            )
        ],
        figures=compared.draw(comparison, out / FIGURES),
        failed=[(item.sample.image_id, item.error) for item in comparison.failed[:MAX_FAILED]],
        notes=[INTERVAL_NOTE.format(interval=interval), *compared.notes(), define_metrics(metrics)],
        warnings=warnings,
    )
    if rows := list(compared.rows()):
        write_table(out / TABLE, rows)
    facts = {
        "task": compared.task,
        "models": [
            {
                "name": name,
                "model": model.name,
                "fingerprint": model.fingerprint,
                "threshold": model.threshold,
                "options": dict(model.options),
            }
            for name, model in zip(names, models, strict=True)
        ],
        **comparison.values,
        **comparison.facts,
        "interval": interval,
        "warnings": list(warnings),
        "provenance": collect_provenance(),
        "training_overlap": [model.overlap for model in models],
    }
    write_json(out / MODELS, facts)
    write_table(out / MODELS_TABLE, list(comparison.rows()), COLUMNS)
    write_evaluation_page(page, out / PAGE_NAME)
    return comparison


def _lead(metric: str, models: Sequence[ModelMetrics]) -> str:
    """State the best model by a metric, and its difference from the first model; "" if it is undefined for all."""
    ranked = [model for model in models if metric in model.metrics]
    if not ranked:
        return ""
    best = max(ranked, key=lambda model: model.metrics[metric].mean)
    label = "Jaccard index" if metric == "JA" else metric_label(metric)
    text = f"Highest {label}: {best.model}, {best.metrics[metric]}."
    if change := best.difference.get(metric):
        certainty = "significant (interval excludes 0)" if change.low > 0 else "may be due to chance"
        text += f" Difference from {models[0].model}: {change.mean:+.3f} ({change.format_interval()}), {certainty}."
    return text


def _list_option_differences(models: Sequence[EvaluatedModel], names: Sequence[str]) -> list[str]:
    """Return one warning that lists the options in which the evaluations differ; an empty list if there are none."""
    flattened = [flatten_values(model.options) for model in models]
    words = {True: "yes", False: "no", None: "none"}
    parts = []
    for key in sorted({key for options in flattened for key in options} - {"difficulty"}):
        found = [options.get(key) for options in flattened]
        values = [words[value] if value is None or isinstance(value, bool) else str(value) for value in found]
        if len(set(values)) > 1:
            parts.append(f"{key} ({', '.join(f'{name}: {value}' for name, value in zip(names, values, strict=True))})")
    if not parts:
        return []
    return [
        "These evaluations were made with different options, so differences are not due to the models alone: "
        f"{'; '.join(parts)}."
    ]


# An old and a new model.


def compare_with_start(
    models: Sequence[Classifier],
    images: LabeledImages,
    out: Path,
    overlap: Overlap,
    options: ComparisonOptions,
    *,
    run: RunContext,
) -> Comparison:
    """Compare the classifier of a run with its starting model.

    The recommendation follows the area under the ROC curve; calibration error, sensitivity and specificity at each
    model's own decision threshold are reported, and named in the reason if the new model is worse.
    """
    compared = _predict_classes(models, images, out, ClassEvaluationOptions(), overlap=overlap, run=run)
    changes = [_change(part, compared.shown) for part in compared.shown_parts]
    advised = _advise(overlap, options, *advise_by_auc(changes, len(overlap.measured), options.remedy))
    conclusion = advised[1], "Use the new model, or discard it; the old one is kept in either case."
    warnings = list(compare_results(compared, out, conclusion).warnings)
    remove_partial_results(out)
    facts = {"warnings": warnings, "training_overlap": overlap.facts, "interval": compared.interval}
    comparison = _make_comparison(compared, changes, advised, facts)
    comparison.write(out)  # last: its existence marks the folder as complete
    return comparison


def compare_segmenters(
    models: Sequence[BundleInfo],
    samples: Sequence[Sample],
    out: Path,
    options: ComparisonOptions,
    *,
    run: RunContext,
    overlap: Overlap | None = None,
) -> Comparison:
    """Load an old and a new segmentation model and compare them on the same images.

    For models of one class, the mean Jaccard index over images decides. For models of several classes, ``JA`` and
    ``DI`` are means over classes, in addition to those of each class; the mean Jaccard index over classes decides, and
    the new model is not recommended if it is worse on the lesion class. ``overlap``: which of the images the models
    were trained on; determined if None.
    """
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.slides.tissue_segmenter import TissueSegmenter

    if len(models) != 2:
        raise InputError(
            f"these models are compared two at a time, the old one and the new one; {len(models)} were named."
        )
    if all(info.config.segments_one_class for info in models):
        task: MaskTask | LabelTask = make_mask_task([Segmenter.load(info) for info in models], options)
    else:
        old, new = models
        if old.config.classes != new.config.classes:
            raise InputError(
                f"'{old.name}' predicts {', '.join(old.config.classes)}, '{new.name}' predicts "
                f"{', '.join(new.config.classes)}: no label images fit both. Compare models with the same classes in "
                "the same order."
            )
        task = LabelTask([TissueSegmenter.load(info) for info in models], options)
    return compare_pair(task, samples, out, options, run=run, overlap=overlap)


def make_mask_task(models: Sequence[Segmenter], options: EvaluationOptions) -> MaskTask:
    """Return the task that measures masks of one lesion for a comparison."""
    return MaskTask(models, options.model_copy(update={"difficulty": False}))


def compare_pair(
    task: MaskTask | LabelTask,
    samples: Sequence[Sample],
    out: Path,
    options: ComparisonOptions,
    *,
    run: RunContext,
    overlap: Overlap | None = None,
) -> Comparison:
    """Compare two models on the same images and write all files, or resume where an earlier call was stopped."""
    message = "Comparing the old and the new model"
    models, overlap, warnings = predict_models(task, samples, out, overlap=overlap, message=message, run=run)
    compared: ComparedModels
    shown: Sequence[str]
    if isinstance(task, MaskTask):
        compared, shown = ComparedMasks(models), IMAGE_METRICS
        facts: dict[str, Any] = {"options": options.model_dump(mode="json")}
    else:
        models = [
            replace(model, table=model.table.assign(**label_metrics(pixel_counts(model.table), task.classes)))
            for model in models
        ]
        compared, shown = ComparedLabels(models, task.classes), ()
        facts = {"classes": list(task.classes), "lesion_class": ", ".join(find_lesion_classes(task.classes))}
    is_new = ~compared.tables[0]["domain"].isin(options.replay).to_numpy()
    new = compared.estimate_part(NEW_IMAGES, is_new if is_new.any() else ~is_new)
    new_images, *changes = (_change(part, shown, options.replay) for part in (new, *compared.parts))
    advised = advise(new_images, changes[1:], remedy=options.remedy)
    for lesion in find_lesion_classes(facts.get("classes", ())):
        advised = _check_lesion_class(new_images, lesion, *advised)
    facts |= {
        "interval": compared.interval,
        "training_overlap": overlap.facts,
        "warnings": [*overlap.notices, *warnings],
    }
    comparison = _make_comparison(compared, changes, _advise(overlap, options, *advised), facts)
    remove_earlier_comparison(out)
    better, worse = _draw_largest_changes(task, compared.tables, out / "thumbnails", run)
    comparison = replace(comparison, better=better, worse=worse, path=out)
    write_table(out / TABLE, _pair_rows(models, overlap))
    old, new = compared.tables
    jaccard = zip(old["domain"], old["JA"], new["JA"], strict=True)
    intervals = {domain.name: domain.difference["JA"] for domain in comparison.domains}
    plot_changes(list(jaccard), intervals, out / CHANGES)
    write_comparison_page(comparison, out / CHANGES, out / PAGE_NAME)
    comparison.write(out)  # last: its presence marks the comparison as complete
    remove_partial_results(out)
    return comparison


def _advise(overlap: Overlap, options: ComparisonOptions, advice: Advice, reason: str) -> tuple[Advice, str]:
    """Add the notes to the reason, and withdraw the advice if the overlap requires it."""
    return overlap.verdict(advice, " ".join([reason, *options.notes]))


def _check_lesion_class(change: DomainChange, lesion: str, advice: Advice, reason: str) -> tuple[Advice, str]:
    """Keep the old model if the new one is worse on the lesion class, and state the change in it."""
    difference = change.difference.get(f"JA {lesion}")
    if difference is None or advice == "inconclusive":
        return advice, reason
    words = f"{metric_label('JA')} {difference.mean:+.3f} ({difference.format_interval(words='95 % interval ')})"
    if advice == "activate" and difference.high < 0:
        return "keep", f"The new model is worse on '{lesion}', the lesion class: {words}. {reason}"
    return advice, f"{reason} Lesion class '{lesion}': {words}."


def _change(part: DataPartMetrics, shown: Sequence[str], replay: Sequence[str] = ()) -> DomainChange:
    """Return the estimates of two models; ``shown``: the metrics, all if empty."""
    old, new = part.models
    metrics = (
        {name: estimates[name] for name in shown or estimates if name in estimates}
        for estimates in (old.metrics, new.metrics, new.difference)
    )
    return DomainChange(part.name, part.name in replay, part.patients, *metrics)


def _make_comparison(
    compared: ComparedModels, changes: Sequence[DomainChange], advised: tuple[Advice, str], facts: dict[str, Any]
) -> Comparison:
    """Make the result for two models; ``changes``: on all images, then on each data set."""
    whole, *domains = changes
    old, new = (
        ComparedModel(model.name, model.fingerprint, model.threshold, metrics)
        for model, metrics in zip(compared.models, (whole.old, whole.new), strict=True)
    )
    return Comparison(
        old=old,
        new=new,
        difference=whole.difference,
        domains=tuple(domains),
        better=(),
        worse=(),
        advice=advised[0],
        reason=advised[1],
        images=compared.parts[0].images,
        patients=compared.parts[0].patients,
        failed=tuple((item.sample.image_id, item.error) for item in compared.failed),
        facts={**facts, "provenance": collect_provenance()},
        task=compared.task,
    )


def _pair_rows(models: Sequence[EvaluatedModel], overlap: Overlap) -> list[dict[str, object]]:
    """Return the rows of ``per_image.csv``."""
    old, new = (model.table for model in models)
    rows = old[["image_id", "domain", "group", "diagnosis"]].assign(
        status=np.where(old["error"] == "", "done", "failed"), error=old["error"]
    )
    for metric in IMAGE_METRICS:
        values = {"old": old[metric], "new": new[metric], "difference": new[metric] - old[metric]}
        rows = rows.assign(**{f"{metric}_{name}": column for name, column in values.items()})
    return rows.assign(**{TRAINED_ON: [overlap.model_names(sample) for sample in old["sample"]]}).to_dict("records")


def _draw_largest_changes(
    task: MaskTask | LabelTask, tables: Sequence[DataFrame], folder: Path, run: RunContext
) -> tuple[tuple[ImageChange, ...], tuple[ImageChange, ...]]:
    """Draw the images that the new model improves most, and those that it makes worse most, the largest change first.

    They are predicted again, since the pixels of all images do not fit into memory.
    """
    old, new = tables
    names: set[str] = set()
    sides = []
    for change in (new["JA"] - old["JA"], old["JA"] - new["JA"]):
        side = []
        ranked = new.assign(change=-change)[change >= MIN_CHANGE].sort_values(["change", "image_id"])
        for index in ranked.index[:MAX_PICTURES]:
            run.check()
            sample, path = old["sample"][index], None
            try:
                picture = draw_contours(*_predict_masks(task, sample))
            except Cancelled:
                raise
            except Exception:  # any error: the image has its metrics and is not drawn
                log.debug("%s could not be drawn", sample.image, exc_info=True)
            else:
                image, domain = safe_name(sample.image_id), safe_name(sample.domain)
                # Data sets may contain images with the same name.
                name = free_name(image if image.lower() not in names else f"{domain}-{image}", names)
                names.add(name.lower())
                path = folder / f"{name}.png"
                write_rgb(path, picture)
            (jaccard, new_jaccard), dice = (
                [float(table[metric][index]) for table in tables] for metric in IMAGE_METRICS
            )
            about = sample.image_id, sample.domain, sample.image
            side.append(ImageChange(*about, jaccard, new_jaccard, dice[0], dice[1], path))
        sides.append(tuple(side))
    return sides[0], sides[1]


def _predict_masks(task: MaskTask | LabelTask, sample: Sample) -> ContourImages:
    """Return an image, uint8 (row, column, channel), and the masks of old model, new model and reference."""
    if isinstance(task, MaskTask):
        old, new = task.predict_cases(sample)
        return old.rgb, old.mask, new.mask, old.reference
    rgb, truth = read_image_and_labels(sample, task.classes)
    lesions = [task.classes.index(name) for name in find_lesion_classes(task.classes)]
    before, after = (np.isin(model.predict_labels(rgb), lesions) for model in task.models)
    return rgb, before, after, np.isin(truth, lesions)


def write_comparison_page(comparison: Comparison, figure: Path, path: Path) -> None:
    """Write the page of an old and a new model with its pictures embedded; ``figure``: the change of each image."""
    facts, (old, new) = comparison.facts, (comparison.old, comparison.new)
    warnings, classes = facts.get("warnings", ()), facts.get("classes")
    # Of several classes, the most probable one is predicted, without a threshold.
    weights = (
        f"{title}: weights {model.fingerprint[:12]}{'' if classes else f', threshold {model.threshold}'}."
        for title, model in (("Old", old), ("New", new))
    )
    overlap = (facts.get("training_overlap") or {}).get("summary", "")
    notes = [*weights, POOLED.format(**facts) if classes else "", f"{facts['interval']}.", "" if warnings else overlap]
    alt = "Each image before and after, and the mean difference of each data set"
    blocks: list[Block] = [
        *map(Notice, warnings),
        Notice(comparison.reason, lead=True, headline=ADVICE[comparison.advice]),
        Text(NEXT_STEPS[comparison.advice]),
        Table("Metrics", PAIR_COLUMNS, tuple(table_rows(comparison))),
        Figure(png_uri(figure), alt, plot=True),
    ]
    for title, changes in (("Better", comparison.better), ("Worse", comparison.worse)):
        pictures = tuple(
            Figure(
                png_uri(item.thumbnail),
                f"Contours of both models on {item.image_id}",
                f"{item.image_id}: Jaccard (IoU) {item.old:.2f} to {item.new:.2f} ({item.change:+.2f})",
                small=True,
            )
            for item in changes
            if item.thumbnail
        )
        blocks += [Section(title, (Text(CONTOURS, quiet=True), Gallery(pictures)))] if pictures else []
    blocks += [failed_section("Not compared", comparison.failed)] if comparison.failed else []
    counts = f"{comparison.images} images of {comparison.patients} patients or lesions"
    note = Text(" ".join(filter(None, notes)), quiet=True)
    write_analysis(path, f"{old.name} and {new.name}", counts, [*blocks, note])

"""Evaluate and compare models of any task: a bundle decides how it is measured.

Masks of one lesion, label images of several classes, and classes of photographs or of whole slides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import is_same_folder
from napari_melanoma.data.dataset import (
    find_table,
    list_surrounding_datasets,
    read_dataset,
    require_outside_datasets,
    select_for_split,
)
from napari_melanoma.data.partial_results import has_partial_results
from napari_melanoma.evaluation.classifier_measurement import ClassEvaluationOptions
from napari_melanoma.evaluation.compare_several import (
    ModelsComparison,
    compare_class_evaluations,
    compare_classifiers,
    compare_evaluations,
    compare_several,
)
from napari_melanoma.evaluation.comparison import Comparison
from napari_melanoma.evaluation.evaluate import (
    LabelEvaluation,
    LabelEvaluationOptions,
    evaluate,
    evaluate_bags,
    evaluate_labels,
)
from napari_melanoma.evaluation.evaluate_classifiers import ClassEvaluation, evaluate_classifier, is_class_evaluation
from napari_melanoma.evaluation.mask_results import (
    ComparisonOptions,
    Evaluation,
    EvaluationOptions,
    check_evaluated_datasets,
)
from napari_melanoma.evaluation.metrics_files import is_evaluation
from napari_melanoma.evaluation.pair_comparison import compare_segmenters
from napari_melanoma.models.bundle import BundleInfo

Task = Literal["masks", "labels", "classes", "slides"]
ModelEvaluation = Evaluation | LabelEvaluation | ClassEvaluation


def evaluation_task(info: BundleInfo) -> Task:
    """Return what a model is measured against."""
    if info.config.task == "classification":
        return "slides" if info.config.encoder is not None else "classes"
    return "masks" if info.config.segments_one_class else "labels"


def check_evaluation_folder(out: Path, datasets: Sequence[Path]) -> None:
    """Raise an error if a new evaluation would lie in a data set; an earlier one may be repeated or continued."""
    if not (is_evaluation(out) or is_class_evaluation(out) or has_partial_results(out)):
        require_outside_datasets(out, datasets)


def evaluate_model(
    info: BundleInfo,
    datasets: Sequence[Path],
    out: Path,
    options: Mapping[str, Any],
    *,
    source: str,
    run: RunContext,
) -> ModelEvaluation:
    """Load a model, evaluate it on data sets and write the results.

    ``options``: values of the configuration of its task; ``source`` names them in errors.
    """
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.lesion.loaded_models import report_loading
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.slides.tile_models import TissueSegmenter

    check_evaluation_folder(out, datasets)
    task, values = evaluation_task(info), dict(options)
    if task == "masks":
        for_masks = EvaluationOptions.parse(values, source)
        _require_tables(datasets)
        with report_loading(run):
            segmenter = Segmenter.load(info)
        return evaluate(segmenter, datasets, out, for_masks, run=run)
    if task == "labels":
        for_labels = LabelEvaluationOptions.parse(values, source)
        _require_tables(datasets)
        return evaluate_labels(TissueSegmenter.load(info), datasets, out, for_labels, run=run)
    for_classes = ClassEvaluationOptions.parse(values, source)
    _require_tables(datasets)
    if task == "slides":
        return evaluate_bags(info, datasets, out, for_classes, run=run)
    with report_loading(run):
        classifier = Classifier.load(info)
    return evaluate_classifier(classifier, datasets, out, for_classes, run=run)


def _require_tables(datasets: Sequence[Path]) -> None:
    """Raise an error about a wrong path before seconds are spent on loading the model."""
    for folder in datasets:
        find_table(folder)


def compare_models(
    models: Sequence[BundleInfo],
    datasets: Sequence[Path],
    out: Path,
    options: Mapping[str, Any],
    *,
    base: Sequence[Path] = (),
    advise: bool = True,
    source: str,
    run: RunContext,
) -> Comparison | ModelsComparison:
    """Load models, compare each with the first one on the same images and write the results.

    ``base``: data sets where the second of two segmentation models must not be worse. ``advise``: recommend one of two
    models for masks; models of several classes always get a recommendation, classifiers never.
    """
    require_outside_datasets(out, [*datasets, *base])
    if len(models) < 2:
        raise InputError(f"a comparison needs two models or more; found {len(models)}.")
    tasks, values = {evaluation_task(info) for info in models}, dict(options)
    if tasks & {"classes", "slides"}:
        if tasks & {"masks", "labels"}:
            kinds = "; ".join(f"'{info.name}' is a model for {info.config.task}" for info in models)
            raise InputError(f"models of different tasks cannot be compared: {kinds}. Give models of one task.")
        return compare_classifiers(models, datasets, out, ClassEvaluationOptions.parse(values, source), run=run)
    check_evaluated_datasets([*datasets, *base])
    new, kept = (
        [sample for folder in folders for sample in select_for_split(read_dataset(folder), values.get("split"))]
        for folders in (datasets, base)
    )
    if tasks == {"masks"} and (len(models) > 2 or not advise):
        return compare_several(models, new, out, EvaluationOptions.parse(values, source), run=run)
    settings = ComparisonOptions.parse({"base": sorted({sample.domain for sample in kept}), **values}, source)
    return compare_segmenters(models, [*new, *kept], out, settings, run=run)


def check_comparison_folder(folders: Sequence[Path], out: Path) -> None:
    """Raise an error if a comparison of evaluations would be written into one of them or into a data set."""
    if any(is_same_folder(out, folder) for folder in folders):
        raise InputError(f"{out} is one of the evaluations, which a comparison must not change. Choose another folder.")
    require_outside_datasets(out, list_surrounding_datasets(out))


def compare_evaluation_folders(folders: Sequence[Path], out: Path) -> ModelsComparison:
    """Compare stored evaluations, each with the first one, without running a model."""
    check_comparison_folder(folders, out)
    of_classifiers = [is_class_evaluation(folder) for folder in folders]
    if not any(of_classifiers):
        return compare_evaluations(folders, out)
    if not all(of_classifiers):
        raise InputError(
            "some of these evaluations are of classifiers, others of masks. Give evaluations of the same type."
        )
    return compare_class_evaluations(folders, out)

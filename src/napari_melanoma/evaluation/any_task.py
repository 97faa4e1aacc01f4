"""Evaluate and compare models of any task.

The bundle of a model states its task: masks of one lesion, label images of several classes, or classes of photographs
or of whole slides. The task decides which images are needed and which metrics are computed.
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
    """Return the task of a model, which decides how it is evaluated."""
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

    ``options``: fields of the options of its task, such as ``EvaluationOptions`` for masks. ``source``: where the
    options come from, for error messages.
    """
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.lesion.loaded_models import report_loading
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.slides.tile_models import TissueSegmenter

    check_evaluation_folder(out, datasets)
    task, values = evaluation_task(info), dict(options)
    if task == "masks":
        mask_options = EvaluationOptions.parse(values, source)
        _require_tables(datasets)
        with report_loading(run):
            segmenter = Segmenter.load(info)
        return evaluate(segmenter, datasets, out, mask_options, run=run)
    if task == "labels":
        label_options = LabelEvaluationOptions.parse(values, source)
        _require_tables(datasets)
        return evaluate_labels(TissueSegmenter.load(info), datasets, out, label_options, run=run)
    class_options = ClassEvaluationOptions.parse(values, source)
    _require_tables(datasets)
    if task == "slides":
        return evaluate_bags(info, datasets, out, class_options, run=run)
    with report_loading(run):
        classifier = Classifier.load(info)
    return evaluate_classifier(classifier, datasets, out, class_options, run=run)


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

    ``base``: data sets on which the second of two segmentation models must not do worse. ``advise``: recommend one of
    two models for masks. Models for label images always get a recommendation, classifiers never. ``options`` and
    ``source``: as for ``evaluate_model``.
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
    new_samples, base_samples = (
        [sample for folder in folders for sample in select_for_split(read_dataset(folder), values.get("split"))]
        for folders in (datasets, base)
    )
    if tasks == {"masks"} and (len(models) > 2 or not advise):
        return compare_several(models, new_samples, out, EvaluationOptions.parse(values, source), run=run)
    settings = ComparisonOptions.parse({"base": sorted({sample.domain for sample in base_samples}), **values}, source)
    return compare_segmenters(models, [*new_samples, *base_samples], out, settings, run=run)


def check_comparison_folder(folders: Sequence[Path], out: Path) -> None:
    """Raise an error if a comparison of evaluations would be written into one of them or into a data set."""
    if any(is_same_folder(out, folder) for folder in folders):
        raise InputError(f"{out} is one of the evaluations, which a comparison must not change. Choose another folder.")
    require_outside_datasets(out, list_surrounding_datasets(out))


def compare_evaluation_folders(folders: Sequence[Path], out: Path) -> ModelsComparison:
    """Compare stored evaluations, each with the first one, without running a model."""
    check_comparison_folder(folders, out)
    are_classifiers = [is_class_evaluation(folder) for folder in folders]
    if not any(are_classifiers):
        return compare_evaluations(folders, out)
    if not all(are_classifiers):
        raise InputError(
            "some of these evaluations are of classifiers, others of masks. Give evaluations of the same type."
        )
    return compare_class_evaluations(folders, out)

"""Evaluate and compare models of any task.

The bundle of a model states its task: masks of one lesion, label images of several classes, or classes of photographs
or of whole slides. The task decides which images are needed and which metrics are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.data.dataset import (
    check_lesion_masks,
    find_table,
    read_dataset,
    require_outside_datasets,
    select_for_split,
)
from napari_melanoma.data.partial_results import has_partial_results
from napari_melanoma.evaluation.classes import evaluate_classifier
from napari_melanoma.evaluation.comparison_results import Comparison, ModelsComparison
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions
from napari_melanoma.evaluation.labels import evaluate_labels
from napari_melanoma.evaluation.masks import EvaluationOptions, evaluate_masks
from napari_melanoma.evaluation.model_comparison import (
    ComparisonOptions,
    compare_classifiers,
    compare_masks,
    compare_segmenters,
    is_comparison,
    require_no_evaluation,
)
from napari_melanoma.evaluation.pipeline import (
    Evaluation,
    SelectionOptions,
    check_evaluated_datasets,
    is_evaluation,
)
from napari_melanoma.evaluation.slides import evaluate_bags
from napari_melanoma.models.bundle import BundleInfo

Task = Literal["masks", "labels", "classes", "slides"]


def evaluation_task(info: BundleInfo) -> Task:
    """Return the task of a model, which decides how it is evaluated."""
    if info.config.task == "classification":
        return "slides" if info.config.encoder is not None else "classes"
    return "masks" if info.config.segments_one_class else "labels"


def check_evaluation_folder(out: Path, datasets: Sequence[Path]) -> None:
    """Raise an error if a new evaluation would lie in a data set; an earlier one may be repeated or continued."""
    if not (is_evaluation(out) or has_partial_results(out)):
        require_outside_datasets(out, datasets)
    if is_comparison(out):
        raise InputError(f"{out} contains a comparison, which an evaluation must not change. Choose another folder.")


def evaluate_model(
    info: BundleInfo,
    datasets: Sequence[Path],
    out: Path,
    options: Mapping[str, Any],
    *,
    source: str,
    run: RunContext,
) -> Evaluation:
    """Load a model, evaluate it on data sets and write the results.

    ``options``: fields of the options of its task, such as ``EvaluationOptions`` for masks. ``source``: where the
    options come from, for error messages.
    """
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.lesion.loaded_models import report_loading
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.slides.bag_models import BagModel
    from napari_melanoma.slides.tissue_segmenter import TissueSegmenter

    check_evaluation_folder(out, datasets)
    loaders: dict[Task, tuple[type[Config], Any, Callable[..., Evaluation]]] = {
        "masks": (EvaluationOptions, Segmenter, evaluate_masks),
        "labels": (SelectionOptions, TissueSegmenter, evaluate_labels),
        "classes": (ClassEvaluationOptions, Classifier, evaluate_classifier),
        "slides": (ClassEvaluationOptions, BagModel, evaluate_bags),
    }
    option_type, model_type, evaluate = loaders[evaluation_task(info)]
    chosen = option_type.parse(dict(options), source)
    for folder in datasets:  # a wrong path is reported before seconds are spent on loading the model
        find_table(folder)
    with report_loading(run):
        model = model_type.load(info)
    return evaluate(model, datasets, out, chosen, run=run)


def compare_models(
    models: Sequence[BundleInfo],
    datasets: Sequence[Path],
    out: Path,
    options: Mapping[str, Any],
    *,
    replay: Sequence[Path] = (),
    advise: bool = True,
    source: str,
    run: RunContext,
) -> Comparison | ModelsComparison:
    """Load models, compare each with the first one on the same images and write the results.

    ``replay``: data sets on which the second of two segmentation models must not do worse. ``advise``: recommend one of
    two models for masks. Models for label images always get a recommendation, classifiers never. ``options`` and
    ``source``: as for ``evaluate_model``.
    """
    from napari_melanoma.lesion.segmentation import Segmenter

    require_no_evaluation(out)
    require_outside_datasets(out, [*datasets, *replay])
    if len(models) < 2:
        raise InputError(f"a comparison needs two models or more; found {len(models)}.")
    tasks, values = {evaluation_task(info) for info in models}, dict(options)
    if tasks & {"classes", "slides"}:
        if tasks & {"masks", "labels"}:
            kinds = "; ".join(f"'{info.name}' is a model for {info.config.task}" for info in models)
            raise InputError(f"models of different tasks cannot be compared: {kinds}. Give models of one task.")
        return compare_classifiers(models, datasets, out, ClassEvaluationOptions.parse(values, source), run=run)
    check_evaluated_datasets([*datasets, *replay])
    if tasks == {"masks"}:
        check_lesion_masks([*datasets, *replay])
    new_samples, replay_samples = (
        [sample for folder in folders for sample in select_for_split(read_dataset(folder), values.get("split"))]
        for folders in (datasets, replay)
    )
    if tasks == {"masks"} and (len(models) > 2 or not advise):
        settings = EvaluationOptions.parse(values, source)
        return compare_masks([Segmenter.load(info) for info in models], new_samples, out, settings, run=run)
    settings = ComparisonOptions.parse(
        {"replay": sorted({sample.domain for sample in replay_samples}), **values}, source
    )
    return compare_segmenters(models, [*new_samples, *replay_samples], out, settings, run=run)

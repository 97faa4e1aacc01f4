"""Commands ``evaluate`` and ``compare``: measure a model on data sets, and compare models on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import (
    NO_REFINEMENT,
    ClassifierValues,
    ConfigOptions,
    NoRefine,
    OptionValues,
    Out,
    Pointing,
    PointingMasks,
    format_help,
)
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from napari_melanoma.classification.explanation import PointingOptions
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.evaluation.comparison_results import Comparison, ModelsComparison
    from napari_melanoma.evaluation.pipeline import Evaluation
    from napari_melanoma.models.bundle import BundleInfo

EVALUATE_HELP = format_help(
    "napari-melanoma evaluate --model lesion-small --data datasets/ph2 --out evaluation",
    "napari-melanoma evaluate --model melanoma-small --data datasets/isic2017 --split test --out evaluation",
    "Measure a model on a data set with reference masks: the metrics of ISIC 2018, Hausdorff-95 and boundary F1, for "
    "all images and for subgroups. Writes OUT/summary.html (report), OUT/metrics.json (each metric with its 95 % "
    "interval), OUT/subgroups.csv, OUT/per_image.csv and OUT/figures/. The same command continues after an "
    "interruption. A model of several classes is measured against label images: Dice and Jaccard of each class.\n\n"
    "A classifier is measured against the column with the diagnosis (--target): AUC, average precision, "
    "sensitivity and specificity at its decision threshold, calibration, contribution of each column of patient data, "
    "ROC curve and reliability diagram; also the depth in mm, if the model predicts it and the table contains it. With "
    "--pointing, also how often a heatmap points at the decisive structure (OUT/pointing.json).",
)
EVALUATE_BASIC = ("model", "data", "split", "target", "masks", "pointing", "pointing-masks")


def evaluate(
    current: Annotated[CommandSession, "allow_outside", "accept_damaged", "backend", "device"],
    model: Annotated[
        str, typer.Option("--model", metavar="BUNDLE", help="Name of a model, or the folder of a bundle or a run.")
    ],
    data: Annotated[
        list[Path], typer.Option("--data", metavar="DATASET", help="Folder of a data set; may be given several times.")
    ],
    out: Out,
    options: Annotated[OptionValues, ConfigOptions("evaluation.masks:EvaluationOptions", without=("refinement",))],
    classifier_options: ClassifierValues,
    no_refine: NoRefine = False,
    pointing: Pointing = None,
    pointing_masks: PointingMasks = None,
) -> None:
    """Measure a model."""
    from napari_melanoma.classification.explanation import PointingOptions
    from napari_melanoma.data.dataset import check_are_datasets
    from napari_melanoma.evaluation.any_task import check_evaluation_folder, evaluate_model, evaluation_task
    from napari_melanoma.models.installed_bundles import find_bundle

    info = find_bundle(model)
    check_are_datasets(data)
    # Options that apply to one task only, by their names without "--"
    mask_only = {"threshold": "threshold" in options, "no-refine": no_refine, "flips": "flips" in options}
    mask_only["no-difficulty"] = "difficulty" in options
    classifier_only = {**classifier_options, "pointing": pointing, "pointing-masks": pointing_masks}
    task, values = evaluation_task(info), options
    if task != "masks":
        _reject_options(_describe_task(info), mask_only)
    elif no_refine:
        values = {**options, "refinement": NO_REFINEMENT}
    if task in ("masks", "labels"):
        _reject_options(_describe_task(info), classifier_only)
    if pointing_masks is not None and not pointing:
        raise InputError("--pointing-masks needs --pointing METHOD. Add it, or leave --pointing-masks out.")
    check_evaluation_folder(out, data)
    current.lock_folder(out)
    values = {**values, **classifier_options}
    evaluation = evaluate_model(info, data, out, values, source="the command line", run=current.run)
    if pointing:
        methods = tuple(dict.fromkeys(pointing))
        pointing_options = PointingOptions(methods, options.get("split"), pointing_masks)
        include = options.get("include_seen", False)
        _evaluate_pointing(info, data, out, pointing_options, classifier_options, current, include_seen=include)
    _report_evaluation(evaluation, out, current)


def _report_evaluation(evaluation: Evaluation, out: Path, current: CommandSession) -> None:
    for item in evaluation.failed:
        path, error = item.sample.image, item.error
        current.report.emit("failed", f"failed: {path}: {error}", image=item.sample.image_id, path=path, error=error)
    metrics = {
        part: {name: vars(estimate) for name, estimate in estimates.items()}
        for part, estimates in evaluation.parts.items()
    }
    failed = len(evaluation.failed)
    values = {"out": str(out), **evaluation.settings, "metrics": metrics, "failed": failed}
    values |= {"warnings": list(evaluation.warnings)}
    values |= {"training_overlap": evaluation.overlap.facts} if evaluation.overlap else {}
    failures = f"; {failed} failed" if failed else ""
    text = f"{evaluation.headline}{failures}; written to {out}, report: {out / 'summary.html'}"
    current.finish(text, some_failed=bool(failed), **values)


def _evaluate_pointing(
    info: BundleInfo,
    data: list[Path],
    out: Path,
    options: PointingOptions,
    values: OptionValues,
    current: CommandSession,
    *,
    include_seen: bool,
) -> None:
    """Count how often heatmaps point at the decisive structure, in images that the model was not trained on.

    ``values``: options of the classifier's evaluation. ``include_seen``: also measure those it was trained on.
    """
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.classification.explanation import run_pointing_game
    from napari_melanoma.evaluation.classes import segment_lesion
    from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions
    from napari_melanoma.evaluation.training_overlap import images_to_measure
    from napari_melanoma.lesion.loaded_models import load_segmenter, report_loading

    of_classes = ClassEvaluationOptions.parse(values, "the command line")
    with report_loading(current.run):
        classifier = Classifier.load(info)
        segmenter = load_segmenter(of_classes.segmenter) if of_classes.masks == "predicted" else None
    segment = None if segmenter is None else partial(segment_lesion, segmenter)

    def select(samples: Sequence[Sample]) -> Sequence[Sample]:
        return images_to_measure([info], samples, run=current.run, include=include_seen).measured

    games = run_pointing_game(classifier, data, out, options, segment=segment, select=select, run=current.run)
    for method, game in games.items():
        share = game.share
        text = f"{method} points at the structure in {share} of {share.count} images, by chance {game.by_chance:.2f}"
        current.report.emit("pointing", text, method=method, **vars(share), by_chance=game.by_chance)


def _describe_task(info: BundleInfo) -> str:
    """Describe the task of a model, as the reason why options of other tasks are rejected."""
    has_label_images = info.config.task != "classification" and not info.config.segments_one_class
    return f"'{info.name}' is a model for {info.config.task}{' of several classes' if has_label_images else ''}"


def _reject_options(reason: str, options: Mapping[str, object]) -> None:
    """Raise an error with the reason if one of the options was given.

    ``options``: values by option name without ``--``; None and False mean that the option was not given.
    """
    names = [f"--{name}" for name, value in options.items() if value is not None and value is not False]
    if names:
        raise InputError(f"{reason}; not applicable: {', '.join(names)}.")


COMPARE_HELP = format_help(
    "napari-melanoma compare runs/second",
    "napari-melanoma compare --model lesion-small --model runs/second/bundle --data datasets/ph2 --out comparison",
    "Compare models on the same images. A run is compared with the model that it started from, on its test set; the "
    "result is written to its comparison/. Or give the old and the new model, data sets with reference "
    "masks, and OUT. Writes comparison.json (differences with 95 % intervals, and the recommendation), "
    "comparison.html, per_image.csv, changes.png and thumbnails/.\n\n"
    "Three or more models, or folders written by 'evaluate' (no model is run again), are each compared with the first. "
    "Writes models.json, models.csv, comparison.html, per_image.csv and figures/.",
)
COMPARE_BASIC = ("model", "data", "replay", "split", "target", "masks")
INCOMPLETE = (
    "the command is incomplete. Give a run folder, or the old and the new model, a data set and an output folder: "
    "--model OLD --model NEW --data DATASET --out DIR"
)
HAS_OWN_IMAGES = (
    "a run or an evaluation has its own models and images. Give folders, or --model, --data and --out, not both."
)
REPLAY_OF_SEVERAL = (
    "--replay names data sets on which the new model must not perform worse than the old one; more than two models get "
    "no recommendation. Give the data set with --data: results are reported for each data set."
)
FOR_SEGMENTATION = "--replay, --flips and --no-refine apply to segmentation models only, not to classifiers."
FOR_CLASSIFIERS = (
    "--target, --masks, --segmenter and --sensitivity apply to classifiers only, not to segmentation models."
)
FOR_ONE_LESION = "--flips and --no-refine apply to masks of one lesion; these models segment several classes."


def compare(
    current: Annotated[CommandSession, "allow_outside", "accept_damaged", "backend", "device"],
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="DIR", help="Run folders with a bundle, or evaluation folders.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="BUNDLE", help="Old model, then new model; repeat for more."),
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option("--data", metavar="DATASET", help="Folder of a data set; may be repeated.")
    ] = None,
    replay: Annotated[
        list[Path] | None,
        typer.Option("--replay", metavar="DATASET", help="Data set on which the new model must not be worse."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder that receives the results.")] = None,
    *,
    options: Annotated[
        OptionValues,
        ConfigOptions("evaluation.masks:EvaluationOptions", without=("threshold", "refinement", "difficulty")),
    ],
    classifier_options: ClassifierValues,
    no_refine: NoRefine = False,
) -> None:
    """Compare models."""
    from napari_melanoma.evaluation.pipeline import is_evaluation

    if runs and all(map(is_evaluation, runs)):
        _reject_if(model or data or replay or no_refine or options or classifier_options, HAS_OWN_IMAGES)
        _compare_evaluation_folders(runs, out, current)
        return
    if runs:
        if missing := [path for path in runs if not path.is_dir()]:
            raise InputError(f"{missing[0]} does not exist. Give run folders, or folders written by 'evaluate'.")
        _reject_if(model or data or replay or out or no_refine or options or classifier_options, HAS_OWN_IMAGES)
        _compare_runs(runs, current)
        return
    current.after_stop = "Nothing was written."
    if not model or len(model) < 2 or not data or out is None:
        raise InputError(INCOMPLETE)
    _reject_if(replay and len(model) > 2, REPLAY_OF_SEVERAL)
    bundles = _prepare_comparison(model, [*data, *(replay or [])], out, current)
    if any(info.config.task == "classification" for info in bundles):
        _reject_if(replay or "flips" in options or no_refine, FOR_SEGMENTATION)
        values = {**classifier_options, **options}
    else:
        _reject_if(classifier_options, FOR_CLASSIFIERS)
        if not all(info.config.segments_one_class for info in bundles):
            _reject_if("flips" in options or no_refine, FOR_ONE_LESION)
        values = {**options, **({"refinement": NO_REFINEMENT} if no_refine else {})}
    _compare_bundles(bundles, data, replay or [], out, values, current)


def _prepare_comparison(names: list[str], datasets: list[Path], out: Path, current: CommandSession) -> list[BundleInfo]:
    """Check the data sets, lock the output folder and find the models."""
    from napari_melanoma.data.dataset import check_are_datasets, require_outside_datasets
    from napari_melanoma.models.installed_bundles import find_bundle

    check_are_datasets(datasets)
    require_outside_datasets(out, datasets)
    current.lock_folder(out)
    return [find_bundle(name) for name in names]


def _compare_bundles(
    bundles: list[BundleInfo],
    data: list[Path],
    replay: list[Path],
    out: Path,
    values: OptionValues,
    current: CommandSession,
) -> None:
    """Run models on the same images and compare them."""
    from napari_melanoma.evaluation.any_task import compare_models
    from napari_melanoma.evaluation.comparison_results import Comparison

    are_classifiers = any(info.config.task == "classification" for info in bundles)
    if are_classifiers or len(bundles) > 2:
        current.after_stop = "Run the same command again to continue."
    comparison = compare_models(bundles, data, out, values, replay=replay, source="the command line", run=current.run)
    if isinstance(comparison, Comparison):
        _report_comparison(current, out, comparison)
        location = f"written to {out / 'comparison.json'}; report: {out / 'comparison.html'}"
        text = _format_advice(comparison, location)
        some_failed = bool(comparison.failed)
        current.finish(text, some_failed=some_failed, advice=comparison.advice, reason=comparison.reason)
        return
    if are_classifiers:
        _report_warnings(comparison, current)
    _report_several(comparison, out, current)


def _compare_evaluation_folders(folders: list[Path], out: Path | None, current: CommandSession) -> None:
    from napari_melanoma.evaluation.model_comparison import check_comparison_folder, compare_evaluation_folders

    if out is None:
        raise InputError("the output folder for the comparison of evaluations is missing. Add --out DIR.")
    check_comparison_folder(folders, out)
    current.lock_folder(out)
    comparison = compare_evaluation_folders(folders, out)
    _report_warnings(comparison, current)
    _report_several(comparison, out, current)


def _report_warnings(comparison: ModelsComparison, current: CommandSession) -> None:
    for warning in comparison.warnings:
        current.report.emit("warning", f"Warning: {warning}", message=warning)


def _reject_if(inapplicable: object, reason: str) -> None:
    """Raise an error if options were given that do not apply."""
    if inapplicable:
        raise InputError(reason)


def _report_several(comparison: ModelsComparison, out: Path, current: CommandSession) -> None:
    are_classifiers = comparison.task == "classification"
    warnings = {} if are_classifiers else {"warnings": list(comparison.warnings)}
    text = _align_columns([("images", "n", "model", *comparison.shown), *comparison.table()])
    current.report.emit_item("comparison", text, path=str(out), **comparison.values, **warnings)
    models = "classifiers" if are_classifiers else f"{len(comparison.parts[0].models)} models"
    failed = f"; {len(comparison.failed)} failed" if comparison.failed else ""
    location = f"written to {out / 'models.json'}; report: {out / 'comparison.html'}"
    current.finish(f"{models} compared with the first{failed} ({location})", some_failed=bool(comparison.failed))


def _align_columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, ""])


def _compare_runs(runs: list[Path], current: CommandSession) -> None:
    """Compare the model of each run with its starting model; the last lines give the advice for each run."""
    from napari_melanoma.core.errors import RunError
    from napari_melanoma.core.processes import is_run_alive
    from napari_melanoma.runs.acceptance import compare_run

    current.after_stop = "Finished comparisons are kept."
    if running := [path.name for path in runs if is_run_alive(path)]:
        singular = "is still running; it is compared automatically when it ends."
        plural = "are still running; they are compared automatically when they end."
        raise RunError(f"{', '.join(running)} {singular if len(running) == 1 else plural} Nothing was compared.")
    advice, comparisons = [], []
    for path in runs:
        comparison = compare_run(path, run=current.run)
        _report_comparison(current, path, comparison)
        for warning in comparison.facts.get("warnings", ()):
            current.report.emit("warning", f"Warning: {warning}", message=warning)
        use = f"; to use this model: napari-melanoma models import {path / 'bundle'}"
        location = f"written to {path / 'comparison'}{use if comparison.advice == 'activate' else ''}"
        advice.append(_format_advice(comparison, location))
        comparisons.append(comparison)
    values = {"advice": comparisons[0].advice, "reason": comparisons[0].reason} if len(comparisons) == 1 else {}
    current.finish("\n".join(advice), some_failed=any(comparison.failed for comparison in comparisons), **values)


def _report_comparison(current: CommandSession, path: Path, comparison: Comparison) -> None:
    from napari_melanoma.evaluation.comparison_results import comparison_values, table_rows

    header = ("images", "n", "metric", comparison.old.name, comparison.new.name, "difference (95 % interval)")
    text = _align_columns([header, *table_rows(comparison)])
    current.report.emit_item("comparison", text, path=str(path), **comparison_values(comparison))


def _format_advice(comparison: Comparison, location: str) -> str:
    from napari_melanoma.evaluation.comparison_results import ADVICE

    failed = f" {format_count(len(comparison.failed), 'image')} failed." if comparison.failed else ""
    return f"{ADVICE[comparison.advice]} {comparison.reason}{failed} ({location})"

"""Commands ``evaluate`` and ``biomarkers``: measure a model on data sets, and rank the features of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
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

if TYPE_CHECKING:
    from napari_melanoma.classification.explanation import PointingOptions
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
BIOMARKERS_HELP = format_help(
    "napari-melanoma biomarkers runs/risk/bundle --data cohort --split test --tissue-model skin-demo --out biomarkers",
    "napari-melanoma biomarkers melanoma-small --data data/isic2017 --count 30 --shown 6 --out biomarkers",
    "Rank the features of a classifier's embedding by how well each separates the classes (AUC by patient, 95 % "
    "interval, Benjamini-Hochberg q value), and show the images that activate each feature most, with its activation "
    "map. Also measure properties of the section: nuclear stain, nuclei, pigment, and, with --tissue-model, the share "
    "of the tumor surface without epidermis. Writes OUT/biomarkers.csv, "
    "OUT/biomarkers.json, OUT/measures.csv, OUT/exciting.csv and OUT/figures/gallery.png.",
)


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
    if pointing:
        methods = tuple(dict.fromkeys(pointing))
        pointing_options = PointingOptions(methods, options.get("split"), pointing_masks)
        _evaluate_pointing(info, data, out, pointing_options, current)
    values = {**values, **classifier_options}
    evaluation = evaluate_model(info, data, out, values, source="the command line", run=current.run)
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
    info: BundleInfo, data: list[Path], out: Path, options: PointingOptions, current: CommandSession
) -> None:
    """Count how often heatmaps point at the decisive structure."""
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.classification.explanation import run_pointing_game
    from napari_melanoma.lesion.loaded_models import report_loading

    with report_loading(current.run):
        classifier = Classifier.load(info)
    for method, game in run_pointing_game(classifier, data, out, options, run=current.run).items():
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


def biomarkers(
    current: Annotated[CommandSession, "allow_outside", "accept_damaged"],
    model: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="Name of a classifier, or the folder of a bundle or run.")
    ],
    data: Annotated[
        list[Path], typer.Option("--data", metavar="DATASET", help="Folder of a data set; may be given several times.")
    ],
    out: Out,
    options: Annotated[
        OptionValues,
        ConfigOptions("evaluation.biomarkers:BiomarkerOptions", names={"tissue_model": "--tissue-model BUNDLE"}),
    ],
) -> None:
    """Rank the features of a classifier by how well each separates the classes."""
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.data.dataset import require_outside_datasets
    from napari_melanoma.evaluation.biomarkers import BiomarkerOptions, find_biomarkers
    from napari_melanoma.lesion.loaded_models import report_loading
    from napari_melanoma.models.installed_bundles import find_bundle

    chosen = BiomarkerOptions.parse(options, "the command line")
    require_outside_datasets(out, data)
    current.lock_folder(out)
    with report_loading(current.run):
        classifier = Classifier.load(find_bundle(model))
    result = find_biomarkers(classifier, data, out, chosen, run=current.run)
    significant = sum(feature.marker.q < 0.05 for feature in result.features)
    best = result.features[0] if result.features else None
    strongest = f"the strongest, {best.name}, has an AUC of {best.marker.auc}; " if best else ""
    for name, reason in result.not_measured.items():
        current.report.emit("not_measured", f"not measured: {name}: {reason}", measure=name, why=reason)
    text = f"{len(result.features)} of {result.feature_count} features: {strongest}{significant} have q below 0.05"
    current.finish(f"{text}; written to {out}", out=str(out), features=len(result.features), sure=significant)

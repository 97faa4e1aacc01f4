"""``evaluate`` and ``biomarkers``: measure a model on a data set, and rank a classifier's features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import (
    NO_REFINEMENT,
    AcceptDamaged,
    AllowOutside,
    ClassifierValues,
    ConfigOptions,
    Debug,
    Given,
    Json,
    NoRefine,
    Out,
    Pointing,
    PointingMasks,
    examples,
)
from napari_melanoma.cli.session import command_session
from napari_melanoma.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_melanoma.classification.explanation import PointingOptions
    from napari_melanoma.cli.session import CommandSession
    from napari_melanoma.evaluation.any_task import ModelEvaluation
    from napari_melanoma.models.bundle import BundleInfo

EVALUATE_HELP = examples(
    "napari-melanoma evaluate --model lesion-small --data datasets/ph2 --out evaluation",
    "napari-melanoma evaluate --model lesion-click --data datasets/isic2017 --split val --clicks 5 --out clicks",
    "Measure a model on a data set with reference masks: the metrics of ISIC 2018, Hausdorff-95 and boundary F1, for "
    "all images and for subgroups. Writes OUT/summary.html (report), OUT/metrics.json (each metric with its 95 % "
    "interval), OUT/subgroups.csv, OUT/per_image.csv and OUT/figures/. The same command continues after an "
    "interruption. A model of several classes is measured against label images: Dice and Jaccard of each class.\n\n"
    "A classifier is measured against the column with the diagnosis (--target): AUC, average precision, "
    "sensitivity and specificity at its decision threshold, calibration, contribution of each column of patient data, "
    "ROC curve and reliability diagram; also the depth in mm, if the model predicts it and the table contains it. With "
    "--pointing, also how often a heatmap points at the decisive structure (OUT/pointing.json).\n\n"
    "With --clicks, a model that can be prompted is measured with simulated clicks (OUT/clicks.html): Dice after each "
    "click, the number of clicks needed for a Dice of 0.85 and of 0.90, and the time per click.",
)
BIOMARKERS_HELP = examples(
    "napari-melanoma biomarkers runs/risk/bundle --data cohort --split test --tissue-model skin-demo --out biomarkers",
    "napari-melanoma biomarkers melanoma-small --data data/isic2017 --count 30 --shown 6 --out biomarkers",
    "Rank the features of a classifier's embedding by how well each separates the classes (AUC by patient, 95 % "
    "interval, Benjamini-Hochberg q value), and show the images that activate each feature most, with its activation "
    "map. Also measure properties of the section: nuclear stain, nuclei, pigment, and, with --tissue-model, the share "
    "of the tumor surface without epidermis. Writes OUT/biomarkers.csv, "
    "OUT/biomarkers.json, OUT/measures.csv, OUT/exciting.csv and OUT/figures/gallery.png.",
)


def evaluate(
    model: Annotated[
        str, typer.Option("--model", metavar="BUNDLE", help="Name of a model, or the folder of a bundle.")
    ],
    data: Annotated[
        list[Path], typer.Option("--data", metavar="DATASET", help="Folder of a data set; may be given several times.")
    ],
    out: Out,
    options: Annotated[Given, ConfigOptions("evaluation.mask_results:EvaluationOptions", without=("refinement",))],
    for_classes: ClassifierValues,
    no_refine: NoRefine = False,
    pointing: Pointing = None,
    pointing_masks: PointingMasks = None,
    clicks: Annotated[
        int | None,
        typer.Option("--clicks", metavar="N", help="Instead, measure segmentation with up to N simulated clicks."),
    ] = None,
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a model."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        from napari_melanoma.classification.explanation import PointingOptions
        from napari_melanoma.data.dataset import check_are_datasets
        from napari_melanoma.evaluation.any_task import check_evaluation_folder, evaluate_model, evaluation_task
        from napari_melanoma.models.registry import find_bundle

        info = find_bundle(model)
        check_are_datasets(data)
        for_masks = {"threshold": "threshold" in options, "no-refine": no_refine, "flips": "flips" in options}
        for_masks["no-difficulty"] = "difficulty" in options
        for_classifiers = {**for_classes, "pointing": pointing, "pointing-masks": pointing_masks}
        if clicks is not None:
            _reject_options("--clicks measures predictions from simulated clicks", {**for_masks, **for_classifiers})
            _evaluate_clicks(info, data, out, {**options, "clicks": clicks}, current)
            return
        task, values = evaluation_task(info), options
        if task != "masks":
            _reject_options(_describe_task(info), for_masks)
        elif no_refine:
            values = {**options, "refinement": NO_REFINEMENT}
        if task in ("masks", "labels"):
            _reject_options(_describe_task(info), for_classifiers)
        if pointing_masks is not None and not pointing:
            raise InputError("--pointing-masks needs --pointing METHOD. Add it, or leave --pointing-masks out.")
        check_evaluation_folder(out, data)
        current.lock_folder(out)
        if pointing:
            methods = tuple(dict.fromkeys(pointing))
            of_heatmaps = PointingOptions(methods, options.get("split"), pointing_masks)
            _evaluate_pointing(info, data, out, of_heatmaps, current)
        found = evaluate_model(info, data, out, {**values, **for_classes}, source="the command line", run=current.run)
        _report_evaluation(found, out, current)


def _evaluate_clicks(info: BundleInfo, data: list[Path], out: Path, values: Given, current: CommandSession) -> None:
    """Measure a model that can be prompted with simulated clicks."""
    from napari_melanoma.evaluation.any_task import check_evaluation_folder
    from napari_melanoma.evaluation.clicks import ClickOptions, evaluate_clicks

    options = ClickOptions.parse(values, "the command line")
    check_evaluation_folder(out, data)
    current.lock_folder(out)
    found = evaluate_clicks(info, data, out, options, run=current.run)
    for item in found.failed:
        path = item.sample.image
        current.report.emit("failed", f"failed: {path}: {item.error}", image=item.sample.image_id, path=path)
    text = f"{found.headline}; written to {out}, report: {out / 'clicks.html'}"
    current.finish(text, some_failed=bool(found.failed), out=str(out), failed=len(found.failed))


def _report_evaluation(found: ModelEvaluation, out: Path, current: CommandSession) -> None:
    for item in found.failed:
        path, error = item.sample.image, item.error
        current.report.emit("failed", f"failed: {path}: {error}", image=item.sample.image_id, path=path, error=error)
    metrics = {part: {name: vars(one) for name, one in some.items()} for part, some in found.parts.items()}
    failed = len(found.failed)
    values = {"out": str(out), **found.settings, "metrics": metrics, "failed": failed}
    values |= {"warnings": list(found.warnings)}
    values |= {"training_overlap": found.overlap.facts} if found.overlap else {}
    failures = f"; {failed} failed" if failed else ""
    text = f"{found.headline}{failures}; written to {out}, report: {out / 'summary.html'}"
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
    """Describe the task of a model, which decides the options that apply."""
    of_one_class = info.config.task == "classification" or info.config.segments_one_class
    return f"'{info.name}' is a model for {info.config.task}{'' if of_one_class else ' of several classes'}"


def _reject_options(reason: str, options: Mapping[str, object]) -> None:
    """Raise an error with the reason if one of the options was given."""
    given = [f"--{name}" for name, value in options.items() if value is not None and value is not False]
    if given:
        raise InputError(f"{reason}; not applicable: {', '.join(given)}.")


def biomarkers(
    model: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name of a classifier, or the folder of a bundle.")],
    data: Annotated[
        list[Path], typer.Option("--data", metavar="DATASET", help="Folder of a data set; may be given several times.")
    ],
    out: Out,
    options: Annotated[
        Given,
        ConfigOptions("evaluation.biomarkers:BiomarkerOptions", names={"tissue_model": "--tissue-model BUNDLE"}),
    ],
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show which features separate the classes."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        from napari_melanoma.classification.classifier import Classifier
        from napari_melanoma.data.dataset import require_outside_datasets
        from napari_melanoma.evaluation.biomarkers import BiomarkerOptions, find_biomarkers
        from napari_melanoma.lesion.loaded_models import report_loading
        from napari_melanoma.models.registry import find_bundle

        chosen = BiomarkerOptions.parse(options, "the command line")
        require_outside_datasets(out, data)
        current.lock_folder(out)
        with report_loading(current.run):
            classifier = Classifier.load(find_bundle(model))
        found = find_biomarkers(classifier, data, out, chosen, run=current.run)
        significant = sum(one.marker.q < 0.05 for one in found.features)
        best = found.features[0] if found.features else None
        strongest = f"the strongest, {best.name}, has an AUC of {best.marker.auc}; " if best else ""
        for name, why in found.not_measured.items():
            current.report.emit("not_measured", f"not measured: {name}: {why}", measure=name, why=why)
        text = f"{len(found.features)} of {found.feature_count} features: {strongest}{significant} have q below 0.05"
        current.finish(f"{text}; written to {out}", out=str(out), features=len(found.features), sure=significant)

"""``evaluate`` and ``biomarkers``: measure a model on a data set, and rank a classifier's features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import (
    AcceptDamaged,
    AllowOutside,
    Debug,
    Flips,
    IncludeSeen,
    Json,
    Masks,
    NoRefine,
    Out,
    Pointing,
    PointingMasks,
    SegmenterOption,
    Target,
    ThresholdSensitivity,
    drop_unset,
    examples,
    refinement,
)
from napari_melanoma.cli.session import command_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_melanoma.cli.session import CommandSession
    from napari_melanoma.evaluation.evaluate_classes import ClassEvaluation
    from napari_melanoma.evaluation.overlap import Overlap
    from napari_melanoma.evaluation.results import Evaluation, FailedImage
    from napari_melanoma.models.bundle import BundleInfo

EVALUATE_HELP = examples(
    "napari-melanoma evaluate --model lesion-small --data datasets/ph2 --out evaluation",
    "napari-melanoma evaluate --model runs/first/bundle --data datasets/isic2017 --split val --flips --out evaluation",
    "Measure a model on a data set with reference masks: the metrics of ISIC 2018, Hausdorff-95 and boundary F1, for "
    "all images and for subgroups. Writes OUT/summary.html (report), OUT/metrics.json (each metric with its 95 % "
    "interval), OUT/subgroups.csv, OUT/per_image.csv and OUT/figures/. The same command continues after an "
    "interruption. A model of several classes is measured against label images: Dice and Jaccard of each class.\n\n"
    "A classifier is measured against the column with the diagnosis (--target): AUC, average precision, "
    "sensitivity and specificity at its decision threshold, calibration, contribution of each patient data column, "
    "ROC and reliability; also the depth in mm, if the model predicts it and the table contains it. With --pointing "
    "also how often a heatmap points at the decisive structure (OUT/pointing.json).",
)
BIOMARKERS_HELP = examples(
    "napari-melanoma biomarkers runs/risk/bundle --data cohort --split test --tissue-model skin-demo --out biomarkers",
    "napari-melanoma biomarkers melanoma-small --data data/isic2017 --count 30 --shown 6 --out biomarkers",
    "Rank the features of a classifier's embedding by how well each separates the classes (AUC by patient, 95 % "
    "interval, q of Benjamini and Hochberg), and show the images that activate each most, with its activation map. "
    "Also measure properties of the section: nuclear stain, nuclei, pigment, and with --tissue-model the share of "
    "the tumor surface without epidermis. Writes OUT/biomarkers.csv, "
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
    split: Annotated[str | None, typer.Option(help="Use only images of this split, such as 'val'.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Minimum probability of a lesion pixel; the model's own threshold by default.")
    ] = None,
    no_refine: NoRefine = False,
    flips: Flips = False,
    no_difficulty: Annotated[
        bool,
        typer.Option("--no-difficulty", help="Skip the analysis of image difficulty (hair, low contrast ...); faster."),
    ] = False,
    include_seen: IncludeSeen = False,
    target: Target = None,
    masks: Masks = None,
    segmenter: SegmenterOption = None,
    sensitivity: ThresholdSensitivity = None,
    pointing: Pointing = None,
    pointing_masks: PointingMasks = None,
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a model."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        from napari_melanoma.data.dataset import check_are_datasets
        from napari_melanoma.models.registry import find_bundle

        info = find_bundle(model)
        check_are_datasets(data)
        for_masks = {"--threshold": threshold, "--no-refine": no_refine, "--flips": flips}
        for_masks["--no-difficulty"] = no_difficulty
        for_classes = {"--target": target, "--masks": masks, "--segmenter": segmenter, "--sensitivity": sensitivity}
        for_pointing: dict[str, object] = {"--pointing": pointing, "--pointing-masks": pointing_masks}
        _reject_options(info, {**for_classes, **for_pointing} if info.config.task == "segmentation" else for_masks)
        current.lock_folder(out)
        if info.config.task == "classification":
            _evaluate_pointing(info, data, out, (split, pointing, pointing_masks), current)
            chosen = {name[2:]: value for name, value in for_classes.items()}
            _evaluate_classifier(info, data, out, {"split": split, "include_seen": include_seen, **chosen}, current)
            return
        if not info.config.segments_one_class:
            _reject_options(info, for_masks)
            _evaluate_multiclass(info, data, out, (split, include_seen), current)
            return
        given: dict[str, object] = {
            "split": split,
            "include_seen": include_seen,
            "threshold": threshold,
            "flips": flips,
        }
        given |= {"refinement": refinement(off=no_refine), "difficulty": not no_difficulty}
        _evaluate_segmenter(info, data, out, given, current)


def _evaluate_segmenter(
    info: BundleInfo, data: list[Path], out: Path, given: Mapping[str, object], current: CommandSession
) -> None:
    """Measure a segmentation model."""
    from napari_melanoma.evaluation.evaluate import evaluate
    from napari_melanoma.evaluation.results import EvaluationOptions
    from napari_melanoma.lesion.loaded_models import report_loading
    from napari_melanoma.lesion.segmentation import Segmenter

    options = EvaluationOptions.parse({k: v for k, v in given.items() if v is not None}, "the command line")
    with report_loading(current.run):
        segmenter = Segmenter.load(info)
    evaluation = evaluate(segmenter, data, out, options, run=current.run)
    _report_failed(evaluation.failed, current)
    text = f"{_format_headline(evaluation)}; written to {out}, report: {out / 'summary.html'}"
    parts = evaluation.parts.items()
    metrics = {part: {name: vars(estimate) for name, estimate in found.items()} for part, found in parts}
    failed = len(evaluation.failed)
    values = {"out": str(out), "threshold": evaluation.threshold, "metrics": metrics, "failed": failed}
    values |= {"warnings": list(evaluation.warnings), **_overlap_values(evaluation.overlap)}
    current.finish(text, some_failed=bool(failed), **values)


def _evaluate_classifier(
    info: BundleInfo, data: list[Path], out: Path, given: Mapping[str, object], current: CommandSession
) -> None:
    """Measure a classifier."""
    from napari_melanoma.classification.predictor import Classifier
    from napari_melanoma.evaluation.class_measurement import ClassEvaluationOptions
    from napari_melanoma.evaluation.evaluate_classes import evaluate_classifier, lead_text
    from napari_melanoma.lesion.loaded_models import report_loading

    options = ClassEvaluationOptions.parse({k: v for k, v in given.items() if v is not None}, "the command line")
    found: ClassEvaluation
    if info.config.encoder is not None:
        from napari_melanoma.evaluation.evaluate import evaluate_bags

        found = evaluate_bags(info, data, out, options, run=current.run)
    else:
        with report_loading(current.run):
            classifier = Classifier.load(info)
        found = evaluate_classifier(classifier, data, out, options, run=current.run)
    _report_failed(found.failed, current)
    metrics = {part: {name: vars(one) for name, one in some.items()} for part, some in found.parts.items()}
    failed = len(found.failed)
    failures = f"; {failed} failed" if failed else ""
    text = f"{lead_text(found)} Over {len(found.predictions.labels)} images{failures}; written to {out}, report: "
    values = {"out": str(out), "cut": found.predictions.threshold, "metrics": metrics, "failed": failed}
    values |= {"warnings": list(found.warnings), **_overlap_values(found.overlap)}
    current.finish(f"{text}{out / 'summary.html'}", some_failed=bool(failed), **values)


def _overlap_values(found: Overlap | None) -> dict[str, object]:
    """Return the JSON values about images that the model was trained on."""
    return {"training_overlap": found.facts} if found else {}


def _evaluate_pointing(
    info: BundleInfo,
    data: list[Path],
    out: Path,
    request: tuple[str | None, Sequence[str] | None, Path | None],
    current: CommandSession,
) -> None:
    """Count how often heatmaps point at the decisive structure."""
    from napari_melanoma.classification.explanation import PointingOptions, run_pointing_game
    from napari_melanoma.classification.predictor import Classifier
    from napari_melanoma.lesion.loaded_models import report_loading

    split, methods, masks = request
    if not methods:
        return
    with report_loading(current.run):
        classifier = Classifier.load(info)
    options = PointingOptions(tuple(dict.fromkeys(methods)), split, masks)
    for method, game in run_pointing_game(classifier, data, out, options, run=current.run).items():
        share = game.share
        text = f"{method} points at the structure in {share} of {share.count} images, by chance {game.by_chance:.2f}"
        current.report.emit("pointing", text, method=method, **vars(share), by_chance=game.by_chance)


def _evaluate_multiclass(
    info: BundleInfo, data: list[Path], out: Path, chosen: tuple[str | None, bool], current: CommandSession
) -> None:
    """Measure a segmentation model of several classes."""
    from napari_melanoma.evaluation.evaluate_labels import evaluate_labels, label_lead
    from napari_melanoma.slides.tile_models import TissueSegmenter

    split, include_seen = chosen
    found = evaluate_labels(
        TissueSegmenter.load(info), data, out, split=split, include_seen=include_seen, run=current.run
    )
    _report_failed(found.failed, current)
    metrics = {part: {name: vars(one) for name, one in some.items()} for part, some in found.parts.items()}
    failed = len(found.failed)
    failures = f"; {failed} failed" if failed else ""
    text = f"{label_lead(found)} Over {found.images} images{failures}; written to {out}, report: "
    values = {"out": str(out), "classes": list(found.classes), "metrics": metrics, "failed": failed}
    values |= {"warnings": list(found.warnings), **_overlap_values(found.overlap)}
    current.finish(f"{text}{out / 'summary.html'}", some_failed=bool(failed), **values)


def _report_failed(failed: Sequence[FailedImage], current: CommandSession) -> None:
    for item in failed:
        path, error = item.sample.image, item.error
        current.report.emit("failed", f"failed: {path}: {error}", image=item.sample.image_id, path=path, error=error)


def _reject_options(info: BundleInfo, others: Mapping[str, object]) -> None:
    """Reject options that apply to models of another task."""
    from napari_melanoma.core.errors import InputError

    given = [name for name, value in others.items() if value not in (None, False)]
    if given:
        several = (
            "" if info.config.task == "classification" or info.config.segments_one_class else " of several classes"
        )
        what = f"{info.config.task}{several}"
        raise InputError(f"'{info.name}' is a model for {what}; {', '.join(given)} does not apply to it.")


def _format_headline(evaluation: Evaluation) -> str:
    dice = evaluation.parts["all"]["DI"]
    failed = f"; {len(evaluation.failed)} failed" if evaluation.failed else ""
    return f"Dice {dice} (95 % interval) over {dice.count} images, at threshold {evaluation.threshold:g}{failed}"


def biomarkers(
    model: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name of a classifier, or the folder of a bundle.")],
    data: Annotated[
        list[Path], typer.Option("--data", metavar="DATASET", help="Folder of a data set; may be given several times.")
    ],
    out: Out,
    count: Annotated[int | None, typer.Option(help="Number of features; 15 by default.")] = None,
    shown: Annotated[int | None, typer.Option(help="Images per feature; 4 by default.")] = None,
    split: Annotated[str | None, typer.Option(help="Use only images of this split, such as 'test'.")] = None,
    target: Target = None,
    tissue_model: Annotated[
        str | None,
        typer.Option(
            "--tissue-model",
            metavar="BUNDLE",
            help="A model that segments epidermis and tumor, such as skin-demo: also measure the share of ulceration.",
        ),
    ] = None,
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show which features separate the classes."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        from napari_melanoma.classification.predictor import Classifier
        from napari_melanoma.evaluation.biomarkers import BiomarkerOptions, find_biomarkers
        from napari_melanoma.lesion.loaded_models import report_loading
        from napari_melanoma.models.registry import find_bundle

        values = drop_unset(count=count, shown=shown, split=split, target=target, tissue_model=tissue_model)
        options = BiomarkerOptions.parse(values, "the command line")
        current.lock_folder(out)
        with report_loading(current.run):
            classifier = Classifier.load(find_bundle(model))
        found = find_biomarkers(classifier, data, out, options, run=current.run)
        significant = sum(one.marker.q < 0.05 for one in found.features)
        best = found.features[0] if found.features else None
        strongest = f"the strongest, {best.name}, has an AUC of {best.marker.auc}; " if best else ""
        for name, why in found.not_measured.items():
            current.report.emit("not_measured", f"not measured: {name}: {why}", measure=name, why=why)
        text = f"{len(found.features)} of {found.feature_count} features: {strongest}{significant} have q below 0.05"
        current.finish(f"{text}; written to {out}", out=str(out), features=len(found.features), sure=significant)

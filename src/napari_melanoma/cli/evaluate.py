"""``evaluate``: a model against reference masks, or a classifier against the known answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.classifier_options import (
    Masks,
    Pointing,
    PointingMasks,
    SegmenterOption,
    Target,
    ThresholdSensitivity,
)
from napari_melanoma.cli.options import (
    AcceptDamaged,
    AllowOutside,
    Debug,
    Flips,
    IncludeSeen,
    Json,
    NoRefine,
    Out,
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

HELP = examples(
    "napari-melanoma evaluate --model lesion-small --data datasets/ph2 --out evaluation",
    "napari-melanoma evaluate --model runs/first/bundle --data datasets/isic2017 --split val --flips --out evaluation",
    "Measure a model on a data set with reference masks: the metrics of ISIC 2018, Hausdorff-95 and boundary F1, for "
    "all images and for subgroups. Writes OUT/summary.html to read, OUT/metrics.json (each metric with its 95 % "
    "interval), OUT/subgroups.csv, OUT/per_image.csv and OUT/figures/. After a stop, the same command goes on where it "
    "was. A model of several classes is measured against label images: Dice and Jaccard of each class.\n\n"
    "A classifier is measured against the column that holds the answer (--target): AUC, average precision, "
    "sensitivity and specificity at its cut, calibration, what each column of the form adds, ROC and reliability; the "
    "depth in mm, where it tells one and the table knows it. With --pointing also how often a heatmap points at the "
    "structure that decides (OUT/pointing.json).",
)


def evaluate(
    model: Annotated[
        str, typer.Option("--model", metavar="BUNDLE", help="Name of a model, or the folder of a bundle.")
    ],
    data: Annotated[
        list[Path], typer.Option("--data", metavar="DATASET", help="Folder of a data set; may be given several times.")
    ],
    out: Out,
    split: Annotated[str | None, typer.Option(help="Only images of this split, such as 'val'.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which on a pixel is lesion; the model's own by default.")
    ] = None,
    no_refine: NoRefine = False,
    flips: Flips = False,
    no_difficulty: Annotated[
        bool,
        typer.Option("--no-difficulty", help="Leave out what makes images difficult (hair, low contrast ...): faster."),
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
        drawing = {"--threshold": threshold, "--no-refine": no_refine, "--flips": flips}
        drawing["--no-difficulty"] = no_difficulty
        telling = {"--target": target, "--masks": masks, "--segmenter": segmenter, "--sensitivity": sensitivity}
        beside: dict[str, object] = {"--pointing": pointing, "--pointing-masks": pointing_masks}
        _reject_options(info, {**telling, **beside} if info.config.task == "segmentation" else drawing)
        current.lock_folder(out)
        if info.config.task == "classification":
            _evaluate_pointing(info, data, out, (split, pointing, pointing_masks), current)
            chosen = {name[2:]: value for name, value in telling.items()}
            _evaluate_classifier(info, data, out, {"split": split, "include_seen": include_seen, **chosen}, current)
            return
        if not info.config.segments_one_class:
            _reject_options(info, drawing)
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
    """Measure a model that draws."""
    from napari_melanoma.evaluation.evaluate import evaluate
    from napari_melanoma.evaluation.results import EvaluationOptions
    from napari_melanoma.lesion.loaded_models import report_loading
    from napari_melanoma.lesion.segmentation import Segmenter

    options = EvaluationOptions.parse({k: v for k, v in given.items() if v is not None}, "the command line")
    with report_loading(current.run):
        segmenter = Segmenter.load(info)
    evaluation = evaluate(segmenter, data, out, options, run=current.run)
    _report_failed(evaluation.failed, current)
    text = f"{_format_headline(evaluation)}; written to {out}, a page to read: {out / 'summary.html'}"
    parts = evaluation.parts.items()
    metrics = {part: {name: vars(estimate) for name, estimate in found.items()} for part, found in parts}
    failed = len(evaluation.failed)
    values = {"out": str(out), "threshold": evaluation.threshold, "metrics": metrics, "failed": failed}
    values |= {"warnings": list(evaluation.warnings), **_overlap_values(evaluation.overlap)}
    current.finish(text, some_failed=bool(failed), **values)


def _evaluate_classifier(
    info: BundleInfo, data: list[Path], out: Path, given: Mapping[str, object], current: CommandSession
) -> None:
    """Measure a model that tells a diagnosis."""
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
    said = f"; {failed} failed" if failed else ""
    text = f"{lead_text(found)} Over {len(found.predictions.labels)} images{said}; written to {out}, a page to read: "
    values = {"out": str(out), "cut": found.predictions.threshold, "metrics": metrics, "failed": failed}
    values |= {"warnings": list(found.warnings), **_overlap_values(found.overlap)}
    current.finish(f"{text}{out / 'summary.html'}", some_failed=bool(failed), **values)


def _overlap_values(found: Overlap | None) -> dict[str, object]:
    """What a machine reads of the images that the model was trained on."""
    return {"training_overlap": found.facts} if found else {}


def _evaluate_pointing(
    info: BundleInfo,
    data: list[Path],
    out: Path,
    asked: tuple[str | None, Sequence[str] | None, Path | None],
    current: CommandSession,
) -> None:
    """Count how often heatmaps point at the structure that decides."""
    from napari_melanoma.classification.explanation import PointingOptions, run_pointing_game
    from napari_melanoma.classification.predictor import Classifier
    from napari_melanoma.lesion.loaded_models import report_loading

    split, methods, masks = asked
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
    """Measure a model that draws several classes."""
    from napari_melanoma.evaluation.evaluate_labels import evaluate_labels, label_lead
    from napari_melanoma.slides.tile_models import TissueSegmenter

    split, include_seen = chosen
    found = evaluate_labels(
        TissueSegmenter.load(info), data, out, split=split, include_seen=include_seen, run=current.run
    )
    _report_failed(found.failed, current)
    metrics = {part: {name: vars(one) for name, one in some.items()} for part, some in found.parts.items()}
    failed = len(found.failed)
    said = f"; {failed} failed" if failed else ""
    text = f"{label_lead(found)} Over {found.images} images{said}; written to {out}, a page to read: "
    values = {"out": str(out), "classes": list(found.classes), "metrics": metrics, "failed": failed}
    values |= {"warnings": list(found.warnings), **_overlap_values(found.overlap)}
    current.finish(f"{text}{out / 'summary.html'}", some_failed=bool(failed), **values)


def _report_failed(failed: Sequence[FailedImage], current: CommandSession) -> None:
    """Name the images that could not be measured."""
    for item in failed:
        path, error = item.sample.image, item.error
        current.report.emit("failed", f"failed: {path}: {error}", image=item.sample.image_id, path=path, error=error)


def _reject_options(info: BundleInfo, others: Mapping[str, object]) -> None:
    """Refuse options that are for models of the other task."""
    from napari_melanoma.core.errors import InputError

    given = [name for name, value in others.items() if value not in (None, False)]
    if given:
        several = (
            "" if info.config.task == "classification" or info.config.segments_one_class else " of several classes"
        )
        what = f"{info.config.task}{several}"
        raise InputError(f"'{info.name}' is a model for {what}, to which {', '.join(given)} says nothing.")


def _format_headline(evaluation: Evaluation) -> str:
    """The figure that people ask for first."""
    dice = evaluation.parts["all"]["DI"]
    failed = f"; {len(evaluation.failed)} failed" if evaluation.failed else ""
    return (
        f"Dice {dice} with its 95 % interval, over {dice.count} images, at threshold {evaluation.threshold:g}{failed}"
    )

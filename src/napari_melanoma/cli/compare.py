"""``compare``: the model of a run with its starting model, or any models or evaluations, on the same images."""

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
    SegmenterOption,
    Target,
    ThresholdSensitivity,
    drop_unset,
    examples,
    refinement,
)
from napari_melanoma.cli.session import command_session

if TYPE_CHECKING:
    from napari_melanoma.cli.session import CommandSession
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.evaluation.compare_classes import ClassifierComparison
    from napari_melanoma.evaluation.compare_several import ModelsComparison
    from napari_melanoma.evaluation.comparison import Comparison

HELP = examples(
    "napari-melanoma compare runs/second",
    "napari-melanoma compare --model lesion-small --model runs/second/bundle --data datasets/ph2 --out comparison",
    "Compare models on the same images. A run is compared with the model that it started from, on its test set; the "
    "result is written to its comparison/. Or give the old and the new model, data sets with reference "
    "masks, and OUT. Writes comparison.json (differences with 95 % intervals, and the recommendation), "
    "comparison.html, per_image.csv, changes.png and thumbnails/.\n\n"
    "Three or more models are each compared with the first one, as are folders written by 'evaluate', without running "
    "a model again. Writes models.json, models.csv, comparison.html, per_image.csv and figures/.",
)


def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="DIR", help="Run folders with a bundle, or evaluation folders.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="BUNDLE", help="Twice: old model, new model; or more."),
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option("--data", metavar="DATASET", help="Folder of a data set; may be repeated.")
    ] = None,
    base: Annotated[
        list[Path] | None, typer.Option("--base", metavar="DATASET", help="Data where the new model must not be worse.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder that receives the results.")] = None,
    split: Annotated[str | None, typer.Option(help="Use only images of this split, such as 'val'.")] = None,
    no_refine: NoRefine = False,
    flips: Flips = False,
    include_seen: IncludeSeen = False,
    target: Target = None,
    masks: Masks = None,
    segmenter: SegmenterOption = None,
    sensitivity: ThresholdSensitivity = None,
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare models."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        current.after_stop = "Nothing was written."
        for_classes = drop_unset(target=target, masks=masks, segmenter=segmenter, sensitivity=sensitivity)
        if runs and all(_is_evaluation_folder(path) for path in runs):
            _reject_options_with_runs(
                model or data or base or split or flips or no_refine or include_seen or for_classes
            )
            _compare_evaluation_folders(runs, out, current)
            return
        if runs:
            _reject_options_with_runs(model or data or base or out or split or flips or include_seen or for_classes)
            _run_gates(runs, current)
            return
        _reject_incomplete(model or [], data or [], out)
        _reject_base(model or [], base)
        assert model is not None
        assert data is not None
        assert out is not None
        from napari_melanoma.data.dataset import check_are_datasets

        check_are_datasets([*data, *(base or [])])
        current.lock_folder(out)
        if _has_classifier(model):
            _reject_segmentation_options(base or flips or no_refine)
            chosen = drop_unset(split=split, include_seen=include_seen or None)
            _compare_classifier_models(model, data, out, {**for_classes, **chosen}, current)
            return
        _reject_classifier_options(for_classes)
        _reject_mask_options(model, flips or no_refine)
        values = {"refinement": refinement(off=no_refine), "flips": flips, "include_seen": include_seen, "split": split}
        _compare_segmenters(model, data, base or [], out, drop_unset(**values), current)


def _has_classifier(models: list[str]) -> bool:
    from napari_melanoma.models.registry import find_bundle

    return any(find_bundle(name).config.task == "classification" for name in models)


def _compare_segmenters(
    model: list[str], data: list[Path], base: list[Path], out: Path, given: dict[str, object], current: CommandSession
) -> None:
    """Compare segmentation models: two with a recommendation, more with the first."""
    from napari_melanoma.data.dataset import check_dataset_names, read_dataset, select_for_split
    from napari_melanoma.evaluation.compare import ComparisonOptions, compare_models
    from napari_melanoma.evaluation.compare_labels import compare_label_models
    from napari_melanoma.models.registry import find_bundle

    split = None if given.get("split") is None else str(given["split"])
    check_dataset_names([*data, *base])
    new, kept = ([s for f in folders for s in select_for_split(read_dataset(f), split)] for folders in (data, base))
    values = {
        "base": sorted({sample.domain for sample in kept}),
        **given,
    }
    if len(model) > 2 and all(find_bundle(name).config.segments_one_class for name in model):
        _compare_several_models(model, new, out, values, current)
        return
    options, bundles = ComparisonOptions.parse(values, "the command line"), [find_bundle(name) for name in model]
    several = any(not info.config.segments_one_class for info in bundles)
    compare = compare_label_models if several else compare_models
    found = compare(bundles, [*new, *kept], out, options, run=current.run)
    _report_comparison(current, out, found)
    _report_advice(current, found, f"written to {out / 'comparison.json'}; report: {out / 'comparison.html'}")


def _compare_several_models(
    names: list[str], samples: list[Sample], out: Path, values: dict[str, object], current: CommandSession
) -> None:
    """Compare several models with the first of them."""
    from napari_melanoma.evaluation.compare_several import compare_several
    from napari_melanoma.evaluation.results import EvaluationOptions
    from napari_melanoma.models.registry import find_bundle

    given = {key: value for key, value in values.items() if key != "base"}
    options = EvaluationOptions.parse(given, "the command line")
    current.after_stop = "Run the same command again to continue."
    models = [find_bundle(name) for name in names]
    _report_several(compare_several(models, samples, out, options, run=current.run), out, current)


def _compare_evaluation_folders(folders: list[Path], out: Path | None, current: CommandSession) -> None:
    """Compare saved evaluations."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.evaluation.compare_classes import compare_class_evaluations
    from napari_melanoma.evaluation.compare_several import compare_evaluations
    from napari_melanoma.evaluation.evaluate_classes import is_class_evaluation

    if out is None:
        raise InputError("the output folder for the comparison of evaluations is missing. Add --out DIR.")
    current.lock_folder(out)
    of_classifiers = [is_class_evaluation(folder) for folder in folders]
    if any(of_classifiers):
        if not all(of_classifiers):
            raise InputError(
                "some of these evaluations are of classifiers, others of masks. Give evaluations of the same type."
            )
        _report_classifiers(compare_class_evaluations(folders, out), out, current)
        return
    found = compare_evaluations(folders, out)
    for warning in found.warnings:
        current.report.emit("warning", f"Warning: {warning}", message=warning)
    _report_several(found, out, current)


def _compare_classifier_models(
    names: list[str], data: list[Path], out: Path, values: dict[str, object], current: CommandSession
) -> None:
    """Compare classifiers, each with the first."""
    from napari_melanoma.evaluation.class_measurement import ClassEvaluationOptions
    from napari_melanoma.evaluation.compare_classes import compare_classifiers
    from napari_melanoma.models.registry import find_bundle

    current.after_stop = "Run the same command again to continue."
    options = ClassEvaluationOptions.parse(values, "the command line")
    bundles = [find_bundle(name) for name in names]
    _report_classifiers(compare_classifiers(bundles, data, out, options, run=current.run), out, current)


def _report_classifiers(found: ClassifierComparison, out: Path, current: CommandSession) -> None:
    from dataclasses import asdict

    from napari_melanoma.evaluation.compare_classes import SHOWN, comparison_table

    for warning in found.warnings:
        current.report.emit("warning", f"Warning: {warning}", message=warning)
    text = _align_columns([("images", "n", "model", *SHOWN), *comparison_table(found)])
    current.report.emit_item("comparison", text, path=str(out), standings=[asdict(one) for one in found.standings])
    failed = f"; {len(found.failed)} failed" if found.failed else ""
    where = f"written to {out / 'models.json'}; report: {out / 'comparison.html'}"
    current.finish(f"classifiers compared with the first{failed} ({where})", some_failed=bool(found.failed))


def _reject_segmentation_options(given: object) -> None:
    """Reject segmentation options when classifiers are compared."""
    from napari_melanoma.core.errors import InputError

    if given:
        raise InputError("--base, --flips and --no-refine apply to segmentation models only, not to classifiers.")


def _reject_mask_options(models: list[str], given: object) -> None:
    """Reject options for masks of one lesion when models segment several classes."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.models.registry import find_bundle

    if given and not all(find_bundle(name).config.segments_one_class for name in models):
        raise InputError("--flips and --no-refine apply to masks of one lesion; these models segment several classes.")


def _reject_classifier_options(given: object) -> None:
    """Reject classifier options when segmentation models are compared."""
    from napari_melanoma.core.errors import InputError

    if given:
        raise InputError(
            "--target, --masks, --segmenter and --sensitivity apply to classifiers only, not to segmentation models."
        )


def _is_evaluation_folder(folder: Path) -> bool:
    from napari_melanoma.evaluation.files import is_evaluation

    return is_evaluation(folder)


def _report_several(found: ModelsComparison, out: Path, current: CommandSession) -> None:
    from dataclasses import asdict

    from napari_melanoma.evaluation.compare_several import SHOWN, comparison_table

    text = _align_columns([("images", "n", "model", *SHOWN), *comparison_table(found)])
    current.report.emit_item(
        "comparison", text, path=str(out), parts=[asdict(part) for part in found.parts], warnings=list(found.warnings)
    )
    failed = f"; {len(found.failed)} failed" if found.failed else ""
    where = f"written to {out / 'models.json'}; report: {out / 'comparison.html'}"
    count = len(found.parts[0].standings)
    current.finish(f"{count} models compared with the first{failed} ({where})", some_failed=bool(found.failed))


def _align_columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, ""])


def _run_gates(runs: list[Path], current: CommandSession) -> None:
    """Compare the model of each run with the one that it started from."""
    from napari_melanoma.core.errors import RunError
    from napari_melanoma.core.processes import is_run_alive
    from napari_melanoma.runs.gate import compare_run

    for path in runs:
        if is_run_alive(path):
            raise RunError(f"{path.name} is still running; it is compared automatically when it ends.")
        found = compare_run(path, run=current.run)
        _report_comparison(current, path, found)
    activate = f"; to use this model: napari-melanoma models import {runs[-1] / 'bundle'}"
    activate = activate if found.advice == "take over" else ""
    _report_advice(current, found, f"written to {runs[-1] / 'comparison'}{activate}")


def _report_comparison(current: CommandSession, path: Path, found: Comparison) -> None:
    from napari_melanoma.evaluation.comparison import comparison_values, table_rows

    rows = [("images", "n", "metric", found.old.name, found.new.name, "difference (95 % interval)"), *table_rows(found)]
    current.report.emit_item("comparison", _align_columns(rows), path=str(path), **comparison_values(found))


def _report_advice(current: CommandSession, found: Comparison, where: str) -> None:
    count = len(found.failed)
    failed = f" {count} image{'' if count == 1 else 's'} failed." if count else ""
    text = f"{found.advice.capitalize()}: {found.reason}{failed} ({where})"
    current.finish(text, some_failed=bool(found.failed), advice=found.advice, reason=found.reason)


def _reject_options_with_runs(given: object) -> None:
    """Reject options that do not apply to runs."""
    from napari_melanoma.core.errors import InputError

    if given:
        raise InputError("the models and images of a RUN are fixed. Give runs, or use the options, not both.")


def _reject_incomplete(model: list[str], data: list[Path], out: Path | None) -> None:
    """Reject an incomplete command line."""
    from napari_melanoma.core.errors import InputError

    if len(model) < 2 or not data or out is None:
        raise InputError(
            "the command is incomplete. Give a RUN, or the old and the new model, a data set and an output folder: "
            "--model OLD --model NEW --data DATASET --out DIR"
        )


def _reject_base(model: list[str], base: list[Path] | None) -> None:
    """Reject base data sets when several models are compared, which gives no recommendation."""
    from napari_melanoma.core.errors import InputError

    if base and len(model) > 2:
        raise InputError(
            "--base names data sets on which the new one of two models must not perform worse; "
            "more than two models get no recommendation. "
            "Give the data set with --data: results are reported for each data set."
        )

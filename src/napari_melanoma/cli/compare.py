"""``compare``: the model of a run against the one it started from, or any two models, on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.answer_options import Cut, Drawer, Masks, Target, given
from napari_melanoma.cli.options import (
    AcceptDamaged,
    AllowOutside,
    Debug,
    Flips,
    IncludeSeen,
    Json,
    NoRefine,
    examples,
    refinement,
)
from napari_melanoma.cli.session import session

if TYPE_CHECKING:
    from napari_melanoma.cli.session import Session
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.evaluation.compare_classes import ClassesCompared
    from napari_melanoma.evaluation.compare_several import SeveralCompared
    from napari_melanoma.evaluation.comparison import Comparison

HELP = examples(
    "napari-melanoma compare runs/second",
    "napari-melanoma compare --model lesion-small --model runs/second/bundle --data datasets/ph2 --out comparison",
    "Compare models on the same images. A run is compared with the model that it started from, on the images that "
    "it held out; its comparison/ receives the result. Or name the old model and the new one, data sets with reference "
    "masks, and OUT. Writes comparison.json (differences with 95 % intervals, and the advice), comparison.html, "
    "per_image.csv, changes.png and thumbnails/.\n\n"
    "Three models or more are each compared with the first; so are folders that 'evaluate' wrote, without asking a "
    "model again. Writes models.json, models.csv, comparison.html, per_image.csv and figures/.",
)


def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="DIR", help="Run folders with a bundle, or folders of evaluations.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="BUNDLE", help="Given twice: the old model, the new one; or more often."),
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option("--data", metavar="DATASET", help="Folder of a data set; may be repeated.")
    ] = None,
    base: Annotated[
        list[Path] | None,
        typer.Option("--base", metavar="DATASET", help="A data set on which the new model must not do worse."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder that receives the results.")] = None,
    split: Annotated[str | None, typer.Option(help="Only images of this split, such as 'val'.")] = None,
    no_refine: NoRefine = False,
    flips: Flips = False,
    include_seen: IncludeSeen = False,
    target: Target = None,
    masks: Masks = None,
    segmenter: Drawer = None,
    sensitivity: Cut = None,
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare models."""
    with session(json, debug, allow_outside, accept_damaged) as current:
        current.after_stop = "Nothing was written."
        telling = given(target=target, masks=masks, segmenter=segmenter, sensitivity=sensitivity)
        if runs and all(_is_evaluation(path) for path in runs):
            _refuse_with_runs(model or data or base or split or flips or no_refine or include_seen or telling)
            _evaluations(runs, out, current)
            return
        if runs:
            _refuse_with_runs(model or data or base or out or split or flips or include_seen or telling)
            _gates(runs, current)
            return
        _refuse_incomplete(model or [], data or [], out)
        _refuse_base(model or [], base)
        assert model is not None
        assert data is not None
        assert out is not None
        from napari_melanoma.data.dataset import check_are_datasets

        check_are_datasets([*data, *(base or [])])
        current.own(out)
        if _any_classifies(model):
            _refuse_drawing(base or flips or no_refine)
            chosen = given(split=split, include_seen=include_seen or None)
            _classifiers(model, data, out, {**telling, **chosen}, current)
            return
        _refuse_telling(telling)
        _refuse_masks(model, flips or no_refine)
        values = {"refinement": refinement(off=no_refine), "flips": flips, "include_seen": include_seen}
        _drawing(model, data, base or [], out, {**values, **given(split=split)}, current)


def _any_classifies(models: list[str]) -> bool:
    """Whether any of the models is a classifier."""
    from napari_melanoma.models.registry import find_bundle

    return any(find_bundle(name).config.task == "classification" for name in models)


def _drawing(
    model: list[str], data: list[Path], base: list[Path], out: Path, given: dict[str, object], current: Session
) -> None:
    """Compare models that draw: two with an advice, more with the first."""
    from napari_melanoma.data.dataset import check_names, read_dataset, with_masks
    from napari_melanoma.evaluation.compare import ComparisonOptions, compare_models
    from napari_melanoma.evaluation.compare_labels import compare_label_models
    from napari_melanoma.models.registry import find_bundle

    split = None if given.get("split") is None else str(given["split"])
    check_names([*data, *base])
    new, kept = ([s for f in folders for s in with_masks(read_dataset(f), split)] for folders in (data, base))
    values = {
        "base": sorted({sample.domain for sample in kept}),
        **given,
    }
    if len(model) > 2 and all(find_bundle(name).config.draws_one_class for name in model):
        _several(model, new, out, values, current)
        return
    options, bundles = ComparisonOptions.parse(values, "the command line"), [find_bundle(name) for name in model]
    several = any(not info.config.draws_one_class for info in bundles)
    compare = compare_label_models if several else compare_models
    found = compare(bundles, [*new, *kept], out, options, run=current.run)
    _tell(current, out, found)
    _finish(current, found, f"written to {out / 'comparison.json'}; a page to look at: {out / 'comparison.html'}")


def _several(names: list[str], samples: list[Sample], out: Path, values: dict[str, object], current: Session) -> None:
    """Compare several models with the first of them."""
    from napari_melanoma.evaluation.compare_several import compare_several
    from napari_melanoma.evaluation.values import EvaluationOptions
    from napari_melanoma.models.registry import find_bundle

    given = {key: value for key, value in values.items() if key != "base"}
    options = EvaluationOptions.parse(given, "the command line")
    current.after_stop = "Run the same command again to go on."
    models = [find_bundle(name) for name in names]
    _tell_several(compare_several(models, samples, out, options, run=current.run), out, current)


def _evaluations(folders: list[Path], out: Path | None, current: Session) -> None:
    """Compare evaluations that were made before."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.evaluation.compare_classes import compare_class_evaluations
    from napari_melanoma.evaluation.compare_several import compare_evaluations
    from napari_melanoma.evaluation.evaluate_classes import is_class_evaluation

    if out is None:
        raise InputError("say where the comparison of the evaluations goes: --out DIR")
    current.own(out)
    told = [is_class_evaluation(folder) for folder in folders]
    if any(told):
        if not all(told):
            raise InputError("some of these evaluations are of classifiers, others of masks: name those of one kind.")
        _tell_classes(compare_class_evaluations(folders, out), out, current)
        return
    found = compare_evaluations(folders, out)
    for warning in found.warnings:
        current.report.tell("warning", f"Warning: {warning}", message=warning)
    _tell_several(found, out, current)


def _classifiers(names: list[str], data: list[Path], out: Path, values: dict[str, object], current: Session) -> None:
    """Compare classifiers, each with the first."""
    from napari_melanoma.evaluation.compare_classes import compare_classifiers
    from napari_melanoma.evaluation.measuring_classes import ClassEvaluationOptions
    from napari_melanoma.models.registry import find_bundle

    current.after_stop = "Run the same command again to go on."
    options = ClassEvaluationOptions.parse(values, "the command line")
    bundles = [find_bundle(name) for name in names]
    _tell_classes(compare_classifiers(bundles, data, out, options, run=current.run), out, current)


def _tell_classes(found: ClassesCompared, out: Path, current: Session) -> None:
    """Say how the classifiers do, as a table and as values."""
    from dataclasses import asdict

    from napari_melanoma.evaluation.compare_classes import SHOWN, table_of

    for warning in found.warnings:
        current.report.tell("warning", f"Warning: {warning}", message=warning)
    text = _aligned([("images", "n", "model", *SHOWN), *table_of(found)])
    current.report.listing("comparison", text, path=str(out), standings=[asdict(one) for one in found.standings])
    failed = f"; {len(found.failed)} failed" if found.failed else ""
    where = f"written to {out / 'models.json'}; a page to look at: {out / 'comparison.html'}"
    current.done(f"classifiers compared with the first{failed} ({where})", some_failed=bool(found.failed))


def _refuse_drawing(given: object) -> None:
    """Refuse options that are about masks where classifiers are compared."""
    from napari_melanoma.core.errors import InputError

    if given:
        raise InputError("--base, --flips and --no-refine are about masks: they say nothing to classifiers.")


def _refuse_masks(models: list[str], given: object) -> None:
    """Refuse options that are about masks of one lesion where models tell several classes."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.models.registry import find_bundle

    if given and not all(find_bundle(name).config.draws_one_class for name in models):
        raise InputError("--flips and --no-refine are about masks of one lesion: these models tell several classes.")


def _refuse_telling(given: object) -> None:
    """Refuse options that are about answers where models that draw are compared."""
    from napari_melanoma.core.errors import InputError

    if given:
        raise InputError("--target, --masks, --segmenter and --sensitivity are about classifiers: these models draw.")


def _is_evaluation(folder: Path) -> bool:
    """Tell the folder of an evaluation from that of a run."""
    from napari_melanoma.evaluation.files import is_evaluation

    return is_evaluation(folder)


def _tell_several(found: SeveralCompared, out: Path, current: Session) -> None:
    """Say how the models do, as a table and as values."""
    from dataclasses import asdict

    from napari_melanoma.evaluation.compare_several import SHOWN, table_of

    text = _aligned([("images", "n", "model", *SHOWN), *table_of(found)])
    current.report.listing(
        "comparison", text, path=str(out), parts=[asdict(part) for part in found.parts], warnings=list(found.warnings)
    )
    failed = f"; {len(found.failed)} failed" if found.failed else ""
    where = f"written to {out / 'models.json'}; a page to look at: {out / 'comparison.html'}"
    count = len(found.parts[0].standings)
    current.done(f"{count} models compared with the first{failed} ({where})", some_failed=bool(found.failed))


def _aligned(rows: list[tuple[str, ...]]) -> str:
    """Write rows as a table with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, ""])


def _gates(runs: list[Path], current: Session) -> None:
    """Compare the model of each run with the one that it started from."""
    from napari_melanoma.core.errors import RunError
    from napari_melanoma.core.processes import alive
    from napari_melanoma.runs.gate import gate

    for path in runs:
        if alive(path):
            raise RunError(f"{path.name} is at work; it compares by itself when it ends.")
        found = gate(path, run=current.run)
        _tell(current, path, found)
    take = f"; take it over: napari-melanoma models import {runs[-1] / 'bundle'}"
    _finish(current, found, f"written to {runs[-1] / 'comparison'}{take if found.advice == 'take over' else ''}")


def _tell(current: Session, path: Path, found: Comparison) -> None:
    """Say what was found, as a table and as values."""
    from napari_melanoma.evaluation.comparison import table_rows, values_of

    rows = [("images", "n", "metric", found.old.name, found.new.name, "difference (95 % interval)"), *table_rows(found)]
    current.report.listing("comparison", _aligned(rows), path=str(path), **values_of(found))


def _finish(current: Session, found: Comparison, where: str) -> None:
    """Say the advice, and what failed."""
    count = len(found.failed)
    failed = f" {count} image{'' if count == 1 else 's'} failed." if count else ""
    text = f"{found.advice.capitalize()}: {found.reason}{failed} ({where})"
    current.done(text, some_failed=bool(found.failed), advice=found.advice, reason=found.reason)


def _refuse_with_runs(given: object) -> None:
    """Refuse options that have no meaning where runs are named."""
    from napari_melanoma.core.errors import InputError

    if given:
        raise InputError("a RUN says itself which models and images are compared: name runs, or use the options.")


def _refuse_incomplete(model: list[str], data: list[Path], out: Path | None) -> None:
    """Refuse a command line that names too little."""
    from napari_melanoma.core.errors import InputError

    if len(model) < 2 or not data or out is None:
        raise InputError(
            "name a RUN, or the old and the new model, a data set and where the results go: "
            "--model OLD --model NEW --data DATASET --out DIR"
        )


def _refuse_base(model: list[str], base: list[Path] | None) -> None:
    """Refuse data sets that matter to the advice alone where there is none."""
    from napari_melanoma.core.errors import InputError

    if base and len(model) > 2:
        raise InputError(
            "--base says where the new one of two models must not do worse; several models get no advice. Name the "
            "data set with --data: each data set has figures of its own."
        )

"""``compare``: the model of a run against the one it started from, or any two models, on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import Debug, Json, NoRefine, examples, refinement
from napari_melanoma.cli.session import session

if TYPE_CHECKING:
    from napari_melanoma.cli.session import Session
    from napari_melanoma.workflows.comparison import Comparison

HELP = examples(
    "napari-melanoma compare runs/second",
    "napari-melanoma compare --model lesion-small --model runs/second/bundle --data datasets/ph2 --out comparison",
    "Compare two models on the same images. A run is compared with the model that it started from, on the images that "
    "it held out; its comparison/ receives the result. Or name the old model and the new one, data sets with reference "
    "masks, and OUT. Writes comparison.json (differences with 95 % intervals, and the advice), comparison.html, "
    "per_image.csv, changes.png and thumbnails/.",
)


def compare(
    runs: Annotated[list[Path] | None, typer.Argument(metavar="RUN", help="Run folders with a bundle.")] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="BUNDLE", help="Given twice: the old model, the new one.")
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
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare two models."""
    with session(json, debug) as current:
        current.after_stop = "Nothing was written."
        if runs:
            _refuse_with_runs(model or data or base or out or split)
            _gates(runs, current)
            return
        _refuse_incomplete(model or [], data or [], out)
        assert model is not None
        assert data is not None
        assert out is not None
        from napari_melanoma.data.dataset import check_names, read_dataset, with_masks
        from napari_melanoma.models.registry import find_bundle
        from napari_melanoma.workflows.compare import ComparisonOptions, compare_models

        check_names([*data, *(base or [])])
        new, kept = ([s for f in folders or [] for s in with_masks(read_dataset(f), split)] for folders in (data, base))
        values = {
            "base": sorted({sample.domain for sample in kept}),
            "refinement": refinement(off=no_refine),
            **({"split": split} if split else {}),
        }
        options = ComparisonOptions.parse(values, "the command line")
        found = compare_models([find_bundle(name) for name in model], [*new, *kept], out, options, run=current.run)
        _tell(current, out, found)
        _finish(current, found, f"written to {out / 'comparison.json'}; a page to look at: {out / 'comparison.html'}")


def _gates(runs: list[Path], current: Session) -> None:
    """Compare the model of each run with the one that it started from."""
    from napari_melanoma.core.errors import RunError
    from napari_melanoma.workflows.gate import gate
    from napari_melanoma.workflows.processes import alive

    for path in runs:
        if alive(path):
            raise RunError(f"{path.name} is at work; it compares by itself when it ends.")
        found = gate(path, run=current.run)
        _tell(current, path, found)
    take = f"; take it over: napari-melanoma models import {runs[-1] / 'bundle'}"
    _finish(current, found, f"written to {runs[-1] / 'comparison'}{take if found.advice == 'take over' else ''}")


def _tell(current: Session, path: Path, found: Comparison) -> None:
    """Say what was found, as a table and as values."""
    from napari_melanoma.workflows.comparison import values_of
    from napari_melanoma.workflows.comparison_page import table_rows

    rows = [("images", "n", "metric", found.old.name, found.new.name, "difference (95 % interval)"), *table_rows(found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    current.report.listing("comparison", "\n".join([*lines, ""]), path=str(path), **values_of(found))


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

    if len(model) != 2 or not data or out is None:
        raise InputError(
            "name a RUN, or the old and the new model, a data set and where the results go: "
            "--model OLD --model NEW --data DATASET --out DIR"
        )

"""``data tiles``: annotated slides into a data set of tiles that a model of slides learns from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import Debug, Json, add_verb, examples
from napari_melanoma.cli.session import CommandSession, command_session
from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from napari_melanoma.slides.tile_sets import TileReport

HELP = examples(
    "napari-melanoma data tiles slides --regions results --out tiles --mpp 0.5 --tile-px 224",
    "napari-melanoma data tiles section.svs --regions section.geojson --out tiles --class Tumor=melanoma --class Skin",
    "Cut tiles from the annotated regions of slides into a data set: an image and a label image a tile, and in the "
    "table its class, slide, place and split, the tiles of a patient together. Its tiles.json tells a training which "
    "tiles these are. A slide without regions is named and the others go on (exit code 1).",
)


def tiles(
    slides: Annotated[list[str], typer.Argument(metavar="SLIDE...", help="Slides, folders or patterns.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DATASET", help="The new data set; must not exist.")],
    regions: Annotated[
        list[Path] | None,
        typer.Option(
            "--regions",
            metavar="PATH",
            help="GeoJSON of a slide, a folder of results, or a folder of GeoJSON named after slides; of several each "
            "is a reader's. Beside the slides by default.",
        ),
    ] = None,
    mpp: Annotated[float | None, typer.Option(help="Micrometres per pixel of the tiles; 0.5 by default.")] = None,
    tile_px: Annotated[int | None, typer.Option(help="Side of a tile in pixels; 224 by default.")] = None,
    share: Annotated[
        float | None,
        typer.Option(help="Share of a tile within regions, and within one class to be its class; 0.6 by default."),
    ] = None,
    overlap: Annotated[float | None, typer.Option(help="Share of a side that the next tile shows again; 0.")] = None,
    most: Annotated[int | None, typer.Option(help="Tiles of a class from a slide; 400 by default.")] = None,
    class_: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME[=WORD]", help="A class to take, by another name with =; all by default."),
    ] = None,
    rest: Annotated[str | None, typer.Option(help="Class of what no region covers; Background by default.")] = None,
    readers: Annotated[
        str | None,
        typer.Option(help="Where readers say different things: refuse (default), agree, or the reader who counts."),
    ] = None,
    held_out: Annotated[float | None, typer.Option(help="Share of the patients to be judged on; 0.2.")] = None,
    patients: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="image_id (the slide's stem) with patient_id and whatever else is known."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed, other tiles drawn.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Cut tiles from annotated slides."""
    with command_session(json, debug) as current:
        from napari_melanoma.lesion.patient_data import PatientTable
        from napari_melanoma.slides.reading.opening import find_slides
        from napari_melanoma.slides.tile_sets import TileDataOptions, make_tile_data

        given: dict[str, object] = {"mpp": mpp, "tile_px": tile_px, "share": share, "overlap": overlap}
        given |= {"most": most, "rest": rest, "classes": class_, "readers": readers, "held_out": held_out, "seed": seed}
        options = TileDataOptions.parse({k: v for k, v in given.items() if v is not None}, "the command line")
        current.after_stop = "No data set was made: run the same command again."
        paths = find_slides(slides)
        forms = PatientTable({}, patients)
        for about, said in forms.unrecognized:
            current.report.emit("note", f"note: column '{about}' of {patients}: {said}", about=about, said=said)
        known = {path.stem: forms.patient_data(path.stem) for path in paths}
        report = make_tile_data(paths, regions or [], out, options, run=current.run, patients=known)
        _report_tiles(current, report, out)


def _report_tiles(current: CommandSession, report: TileReport, out: Path) -> None:
    """Say what was made."""
    for slide, reason in report.faults:
        current.report.emit("failed", f"failed: {slide}: {reason}", slide=slide, error=reason)
    for about, said in report.notes:
        current.report.emit("note", f"note: {about}: {said}", about=about, said=said)
    counts = ", ".join(f"{name or 'several classes'} {count}" for name, count in report.classes.items())
    splits = ", ".join(f"{name} {count}" for name, count in sorted(report.splits.items()))
    made = f"{format_count(report.tiles, 'tile')} of {format_count(report.slides, 'slide')}"
    text = f"{made} ({counts}; {splits}): data set in {out}; next: choose it in "
    text += f"the Train dock, or napari-melanoma recipes write classify-tiles --data {out} --out recipe.toml"
    values = {name: value for name, value in vars(report).items() if name not in ("faults", "notes")}
    current.finish(text, some_failed=bool(report.faults), out=str(out), failed=len(report.faults), **values)


def add_commands(app: typer.Typer) -> None:
    """Add the verb to ``data``."""
    add_verb(app, "tiles", tiles, HELP)

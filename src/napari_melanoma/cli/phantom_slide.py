"""``phantom slide``: synthetic whole-slide images with known lesions; apart, for it has many options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_melanoma.cli.options import Debug, Json, Out, examples
from napari_melanoma.cli.session import CommandSession, command_session

if TYPE_CHECKING:
    from napari_melanoma.phantoms.slide.config import SlidePhantomConfig

SLIDE_HELP = examples(
    "napari-melanoma phantom slide --out phantoms --size 4096 --seed 7",
    "napari-melanoma phantom slide --out phantoms --size 16384 --breslow-mm 1.6 --ulcerated --folds 1 --pens 2",
    "Draw slides of skin that never was: sections in the look of haematoxylin and eosin, with melanomas of a known "
    "Breslow thickness and naevi. Each gives OUT/<name>.tif (a pyramid of JPEG tiles), OUT/<name>.truth.json with "
    "every parameter, and OUT/<name>.geojson with the exact outlines, as QuPath reads them. The same values give the "
    "same slide. A configuration (--config) may name whatever these options do not.",
)
ROOM_PX, MAX_SIDE_PX = 256, 4  # steps in which room is looked for, and up to how many times the side that was asked for
Strength = Annotated[float | None, typer.Option(min=0.2, max=1.6, help="Of the stain: 1 is usual, 0.4 pale.")]


def slide(
    out: Out,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the first; the others follow. 0 by default.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 1,
    size: Annotated[int | None, typer.Option(metavar="PX", help="Height and width; 8192 by default.")] = None,
    mpp: Annotated[float | None, typer.Option(help="Micrometres per pixel; 0.5 by default.")] = None,
    family: Annotated[
        Literal["train", "test"] | None, typer.Option(help="Looks to draw from; train by default.")
    ] = None,
    look: Annotated[str | None, typer.Option(help="One look by its name.")] = None,
    stain_strength: Strength = None,
    sections: Annotated[int | None, typer.Option(help="Pieces of skin; 0 gives a blank slide.")] = None,
    malignant: Annotated[int | None, typer.Option(help="Melanomas in each section; 1 by default.")] = None,
    benign: Annotated[int | None, typer.Option(help="Naevi in each section; 1 by default.")] = None,
    breslow_mm: Annotated[
        float | None, typer.Option(help="Thickness of the thickest melanoma; drawn by default.")
    ] = None,
    ulcerated: Annotated[bool | None, typer.Option("--ulcerated/--intact", help="Drawn by default.")] = None,
    necrosis: Annotated[float | None, typer.Option(help="Share of each melanoma that has died; 0 by default.")] = None,
    oblique_deg: Annotated[float | None, typer.Option(help="How oblique the cut is.")] = None,
    folds: Annotated[int | None, typer.Option(help="Folds in each section.")] = None,
    pens: Annotated[int | None, typer.Option(help="Pen marks.")] = None,
    defocus: Annotated[int | None, typer.Option(help="Areas out of focus.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="TOML; options given here win.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw phantom slides."""
    asked = {
        "seed": seed,
        "size": None if size is None else (size, size),
        "mpp": mpp,
        "family": family,
        "look": look,
        "stain_strength": stain_strength,
        "sections": sections,
        "lesions": {
            "malignant": malignant,
            "benign": benign,
            "breslow_mm": breslow_mm,
            "ulceration": ulcerated,
            "necrosis": necrosis,
        },
        "section": {"oblique_deg": oblique_deg},
        "artefacts": {"folds": folds, "pens": pens, "defocus": defocus},
    }
    with command_session(json, debug) as current:
        first = _build_config(asked, config)
        wanted = [first.model_copy(update={"seed": first.seed + number}) for number in range(count)]
        _check_room(wanted)
        current.lock_folder(out)
        current.after_stop = f"Those that are finished stay in {out}."
        for one in wanted:
            _write_slide(current, one, out)
        text = f"{count} phantom slide{'' if count == 1 else 's'} in {out}; next: napari-melanoma open {out}/*.tif"
        current.finish(text, out=str(out), count=count)


def _build_config(asked: dict[str, Any], path: Path | None) -> SlidePhantomConfig:
    """Lay what was given on the command line over what the file says."""
    from napari_melanoma.core.config import read_toml
    from napari_melanoma.phantoms.slide.config import SlidePhantomConfig

    base = SlidePhantomConfig() if path is None else read_toml(path, SlidePhantomConfig)
    return SlidePhantomConfig.parse(_merge_values(base.model_dump(), asked), "the command line")


def _merge_values(values: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Replace values by those that are given, all the way down."""
    given = {name: value for name, value in asked.items() if value is not None}
    return values | {
        name: _merge_values(values[name], value) if isinstance(value, dict) else value for name, value in given.items()
    }


def _check_room(wanted: Sequence[SlidePhantomConfig]) -> None:
    """Refuse before anything is written where one of the slides would not hold what is drawn on it."""
    from napari_melanoma.core.errors import ConfigError

    short = [(config.seed, said) for config in wanted if (said := _explain_lack_of_room(config))]
    if not short:
        return
    seed, said = short[0]
    many = "" if len(wanted) == 1 else f"{len(short)} of {len(wanted)} slides have too little room (seed {seed}: "
    room = _find_side(wanted)
    cure = "" if room is None else f" --size {room} has room for {'it' if len(wanted) == 1 else 'all'}."
    raise ConfigError(f"{many}{said}{')' if many else ''}{cure} Nothing was written.")


def _explain_lack_of_room(config: SlidePhantomConfig) -> str:
    """Why a slide cannot hold what is drawn on it; empty where it can."""
    from napari_melanoma.core.errors import ConfigError
    from napari_melanoma.phantoms.slide.plan import plan_slide

    try:
        plan_slide(config)
    except ConfigError as error:
        return str(error)
    return ""


def _find_side(wanted: Sequence[SlidePhantomConfig]) -> int | None:
    """Side of slides, in steps of 256 pixels, that hold all that is drawn; None where none up to four times does."""
    side = max(wanted[0].size)
    short = [config for config in wanted if _explain_lack_of_room(config)]
    for size in range(side - side % ROOM_PX + ROOM_PX, MAX_SIDE_PX * side + 1, ROOM_PX):
        short = [config for config in short if _explain_lack_of_room(config.model_copy(update={"size": (size, size)}))]
        if not short:
            return size
    return None


def _write_slide(current: CommandSession, config: SlidePhantomConfig, out: Path) -> None:
    """Write one slide and tell of it."""
    from napari_melanoma.phantoms.slide.files import write_slide

    files = write_slide(config, out, f"slide_{config.seed:04d}", current.run)
    current.report.emit("phantom", str(files.image), image=str(files.image), truth=str(files.truth))

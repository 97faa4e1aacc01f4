"""``open``: napari with the plugin and what the user named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.options import Debug, examples
from napari_melanoma.cli.session import command_session
from napari_melanoma.cli.viewer import call_ui
from napari_melanoma.core.geometry import PixelSize

MPP = "Micrometres per pixel, for slides whose file does not say, or says wrongly. Opens any image as a slide."
HELP = examples(
    "napari-melanoma open photo.jpg",
    "napari-melanoma open slide.tif --mpp 0.25",
    "Open napari with the photographs and slides that you name, and a dock for them; returns when it is closed.",
)


def open_(
    paths: Annotated[list[str] | None, typer.Argument(metavar="PATH", help="Photographs and slides to open.")] = None,
    mpp: Annotated[float | None, typer.Option(metavar="UM", help=MPP)] = None,
    debug: Debug = False,
) -> None:
    """Open napari."""
    with command_session(False, debug):
        size = None if mpp is None else PixelSize(mpp, mpp, "given")
        slides, photographs = _separate_slides(paths or [], all_are_slides=size is not None)
        call_ui("open", "open_viewer", photographs, slides, size)


def _separate_slides(paths: list[str], *, all_are_slides: bool) -> tuple[list[Path], list[Path]]:
    """Slides and photographs among what the user named; a folder that is no slide is searched for photographs."""
    from napari_melanoma.io.discovery import find_photographs
    from napari_melanoma.slides.reading.opening import find_slides, is_slide

    slides = [path for path in paths if all_are_slides or is_slide(Path(path).expanduser())]
    others = [path for path in paths if path not in slides]
    return find_slides(slides) if slides else [], find_photographs(others) if others else []

"""``open``: napari with the plugin and what the user named."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_melanoma.cli.options import Debug, examples
from napari_melanoma.cli.session import session
from napari_melanoma.cli.viewer import call_ui

HELP = examples(
    "napari-melanoma open",
    "napari-melanoma open photo.jpg",
    "Open napari with the Lesion dock, and the photographs that you name. Returns when the window is closed.",
)


def open_(
    paths: Annotated[list[str] | None, typer.Argument(metavar="PATH", help="Photographs to open.")] = None,
    debug: Debug = False,
) -> None:
    """Open napari."""
    with session(False, debug):
        from napari_melanoma.io.photographs import find_photographs

        call_ui("open", "open_viewer", find_photographs(paths) if paths else [])

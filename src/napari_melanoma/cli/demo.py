"""``demo``: an analysed lesion in napari, with a screenshot and result files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.options import Debug, Out, examples
from napari_melanoma.cli.session import command_session
from napari_melanoma.cli.viewer import call_ui

HELP = examples(
    "napari-melanoma demo --out demo-output",
    "napari-melanoma demo photo.jpg --out demo-output --headless",
    "Open napari with an analysed lesion (a synthetic one, or your photograph), and write a screenshot and the "
    "result files into OUT. With --headless no window stays open.",
)


def demo(
    out: Out,
    image: Annotated[Path | None, typer.Argument(metavar="IMAGE", help="A photograph of your own.")] = None,
    headless: Annotated[bool, typer.Option("--headless", help="Leave the files and close.")] = False,
    debug: Debug = False,
) -> None:
    """Show an analysed lesion."""
    with command_session(False, debug) as current:
        call_ui("demo", "run_demo", image, out, headless=headless)
        current.finish(f"Screenshot and result files are in {out}; next: napari-melanoma open PHOTOGRAPH")

"""Slides of a case in the viewer: opened by the Slide dock, which is opened where there is none."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.ui.open import show_dock
from napari_melanoma.ui.slide.dock import SlideDock
from napari_melanoma.ui.slide.layers import open_slides, parts

if TYPE_CHECKING:
    from napari.viewer import Viewer


def show_slide(viewer: Viewer, path: Path) -> None:
    """Open a slide in the Slide dock, or show it where it is open already."""
    dock = show_dock(viewer, "Slide")
    assert isinstance(dock, SlideDock)
    identity = str(path.absolute())
    if any(slide.identity == identity for slide in open_slides(viewer)):
        dock.picker.pick(identity)
    else:
        dock.opener.open([path])


def close_slides(viewer: Viewer, paths: Iterable[Path]) -> None:
    """Take slides out of the viewer; what was drawn on them is kept in their own folders."""
    wanted = {str(path.absolute()) for path in paths}
    for slide in [slide for slide in open_slides(viewer) if slide.identity in wanted]:
        for layer in slide.layers:
            viewer.layers.remove(layer)
        for layer in parts(viewer, slide.identity):
            viewer.layers.remove(layer)

"""Slides of a case in the viewer: opened by the Slide dock, which is opened where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.ui.open import show_dock
from napari_melanoma.ui.slide.dock import SlideDock
from napari_melanoma.ui.slide.layers import open_slides

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

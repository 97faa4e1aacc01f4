"""napari with the Lesion dock, and photographs in it: what ``napari-melanoma open`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.lesion import LesionDock

PLUGIN, DOCK = "napari-melanoma", "Lesion"


def open_viewer(paths: Sequence[Path]) -> int:
    """Open napari with the Lesion dock, and stay until its window is closed.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Photographs to open; read while the window is already there.

    Returns
    -------
    int
        Exit code 0.
    """
    import napari

    _, dock = viewer_with_dock()
    if paths:
        dock.opener.open(paths)
    napari.run()
    return 0


def viewer_with_dock() -> tuple[Viewer, LesionDock]:
    """Open napari with the Lesion dock, as its menu would.

    Returns
    -------
    tuple
        The viewer and the dock.
    """
    import napari

    viewer = napari.Viewer()
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, DOCK)
    return viewer, dock

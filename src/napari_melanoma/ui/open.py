"""napari with the Lesion dock, and photographs in it: what ``napari-melanoma open`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

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


def show_dock(viewer: Viewer, name: str) -> QWidget | None:
    """Open one of our docks in a viewer, or bring the one that is there to the front.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where to.
    name : str
        As in the menu, such as ``Train``.

    Returns
    -------
    QWidget or None
        The dock's widget; None where this installation has no such dock.
    """
    try:
        frame, widget = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    except ValueError:
        return None
    frame.show()
    frame.raise_()
    return widget

"""The Lesion dock beside another one that goes through photographs: found or opened, and asked to analyse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_melanoma.ui.lesion.dock import LesionDock
from napari_melanoma.ui.viewer import linked
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.photographs import KEY

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.ui.contributions import LayerData


class BesideLesion(QObject):
    """What a dock does to photographs through the Lesion dock of its window."""

    changed = Signal()

    def __init__(self, viewer: Viewer, dock: QWidget) -> None:
        super().__init__(dock)
        self.viewer = viewer
        self.lesion: LesionDock | None = None
        self._dock = dock

    def lesion_dock(self) -> LesionDock:
        """Find the Lesion dock of this window, or open one.

        Returns the same as long as it lives; ``join`` was called with it.
        """
        window = self._dock
        while (parent := window.parentWidget()) is not None:
            window = parent
        found = window.findChild(LesionDock, "lesion_dock")
        if found is None:
            opened = show_dock(self.viewer, "Lesion")
            assert isinstance(opened, LesionDock)
            found = opened
        elif isinstance(frame := found.parentWidget(), QDockWidget):
            frame.show()
        if found is not self.lesion:
            self.lesion = found
            self.join(found)
            found.destroyed.connect(self._forget)
        return found

    def join(self, lesion: LesionDock) -> None:
        """Listen to a Lesion dock; called once for each."""
        raise NotImplementedError

    def image(self, path: Path) -> Image | None:
        """Find the layer of a photograph.

        None where it is not open.
        """
        about = str(path.absolute())
        images = linked.identify(self.viewer)
        return next((image for image in images if image.metadata.get(KEY, {}).get("path") == about), None)

    def path(self, identity: str) -> Path | None:
        """Find the file of a photograph that is open.

        None where it was removed, or came from no file.
        """
        for image in linked.identify(self.viewer):
            if linked.identity(image) == identity:
                path = image.metadata.get(KEY, {}).get("path")
                return None if path is None else Path(path)
        return None

    def _forget(self) -> None:
        self.lesion = None


def read(path: Path, run: RunContext, *, accept_damaged: bool | None = None) -> tuple[Path, list[LayerData]]:
    """Read a photograph as layers; meant for a thread.

    Returns the path, and the layers.
    """
    from napari_melanoma.ui.contributions import read_layers

    layers = read_layers(str(path), accept_damaged)
    run.check()
    return path, layers

"""Link from another dock, such as Review or Case, to the Lesion dock of the same window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_melanoma.ui.lesion.dock import LesionDock
from napari_melanoma.ui.viewer import photograph_layers
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.photographs import METADATA_KEY

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.ui.contributions import LayerData


class LesionDockLink(QObject):
    """Finds or opens the Lesion dock for another dock, and finds open photographs."""

    changed = Signal()

    def __init__(self, viewer: Viewer, dock: QWidget) -> None:
        super().__init__(dock)
        self.viewer = viewer
        self.connected_dock: LesionDock | None = None
        self._dock = dock

    def open_lesion_dock(self) -> LesionDock:
        """Return the Lesion dock of this window, opened if needed, after ``connect_lesion_dock`` was called with it."""
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
        if found is not self.connected_dock:
            self.connected_dock = found
            self.connect_lesion_dock(found)
            found.destroyed.connect(self._clear_dock)
        return found

    def connect_lesion_dock(self, dock: LesionDock) -> None:
        """Connect the signals of a Lesion dock; called once for each dock."""
        raise NotImplementedError

    def find_image(self, path: Path) -> Image | None:
        """Find the layer of a photograph; None if it is not open."""
        file = str(path.absolute())
        images = photograph_layers.identify_photographs(self.viewer)
        return next((image for image in images if image.metadata.get(METADATA_KEY, {}).get("path") == file), None)

    def find_path(self, identity: str) -> Path | None:
        """Find the file of an open photograph; None if it was removed or was not read from a file."""
        for image in photograph_layers.identify_photographs(self.viewer):
            if photograph_layers.get_identity(image) == identity:
                path = image.metadata.get(METADATA_KEY, {}).get("path")
                return None if path is None else Path(path)
        return None

    def _clear_dock(self) -> None:
        self.connected_dock = None


def read_photograph_layers(
    path: Path, run: RunContext, *, accept_damaged: bool | None = None
) -> tuple[Path, list[LayerData]]:
    """Read a photograph as layers, and return its path and the layers; call this in a thread."""
    from napari_melanoma.ui.contributions import read_layers

    layers = read_layers(str(path), accept_damaged)
    run.check()
    return path, layers

"""The photograph that will probably be reviewed next, as a hidden layer: napari takes long to add a layer."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from napari_melanoma.core.files import FileStamp, file_stamp
from napari_melanoma.ui.readers import LayerData
from napari_melanoma.ui.viewer import photographs, slide_layers
from napari_melanoma.ui.viewer.camera import find_main_window
from napari_melanoma.ui.widgets.signals import at_end

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer


class StandbyPhotograph:
    """Adds a photograph to a viewer before it is opened, while the window is idle, and opens it then.

    Until then it is hidden, napari's list of layers does not show it, and it counts as none of the photographs of the
    viewer. It is removed with the dock.
    """

    def __init__(self, viewer: Viewer, dock: QWidget) -> None:
        self._viewer, self._dock = viewer, dock
        self._window: ref[QWidget] | None = None
        self._layer: Image | None = None
        self._units: Any = ()  # its own; hidden, it has those of the photograph in view
        self._file: tuple[Path, FileStamp | None] | None = None
        at_end(dock, self._remove_later)

    def prepare(self, path: Path, version: FileStamp | None, data: LayerData) -> None:
        """Add a photograph that was read from a version of its file, in place of the one before."""
        from napari.layers import Layer

        if self._file == (path, version) and self._layer in self._viewer.layers:
            return
        self.remove()
        layer: Any = Layer.create(*data)
        if not photographs.is_photograph(layer):
            return
        window = find_main_window(self._dock)
        if window is not None:
            self._window = ref(window)
            slide_layers.hide_unlisted(window)
        self._layer, self._units, self._file = layer, layer.units, (path, version)
        layer.visible = False
        photographs.set_standby(layer, True)
        photographs.insert_unselected(self._viewer, 0, layer)

    def open(self, path: Path) -> bool:
        """Make the photograph one of those of the viewer, still hidden, if it is of this file.

        It is removed if the file has changed since it was read.
        """
        layer = self._layer
        if layer is None or layer not in self._viewer.layers or self._file is None or self._file[0] != path:
            return False
        if self._file != (path, file_stamp(path)):
            self.remove()
            return False
        self._layer = None
        photographs.set_standby(layer, False)
        layer.units = self._units
        layers = self._viewer.layers
        if not layers.move(layers.index(layer), len(layers)):  # docks list the photographs again when layers are moved
            layers.events.reordered(value=layers)
        return True

    def remove(self) -> None:
        """Remove the photograph, unless it was opened."""
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _remove_later(self) -> None:
        """Remove the photograph after the dock was closed, unless the window is closed as well."""
        if self._layer is not None:
            viewer = getattr(self._viewer, "__wrapped__", self._viewer)  # docks get a short-lived proxy
            QTimer.singleShot(0, partial(_remove, ref(viewer), ref(self._layer), self._window))


def _remove(viewer: ref[Viewer], layer: ref[Image], window: ref[QWidget] | None) -> None:
    found, image = viewer(), layer()
    main = None if window is None else window()
    if found is not None and image in found.layers and (window is None or (main is not None and isalive(main))):
        found.layers.remove(image)

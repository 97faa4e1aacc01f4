"""Python's garbage collection in napari's process, during which the window does not respond."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.utils.events import Event
    from napari.viewer import Viewer

    from napari_melanoma.ui.widgets.style import Connections

COLLECT_MS = 500  # after a change, when the user has seen its effect


class LibraryFreeze(QObject):
    """Excludes the objects of napari and its libraries from garbage collection, which otherwise visits all of them.

    A collection then takes a few milliseconds instead of about 100. Open docks and layers are excluded too. If such a
    layer is removed or a dock is closed, everything is collected once, so that its memory is freed.
    """

    def __init__(self, dock: QObject, viewer: Viewer, connections: Connections) -> None:
        super().__init__(dock)
        self._viewer = weakref.ref(getattr(viewer, "__wrapped__", viewer))  # docks get a short-lived proxy
        self._layers: weakref.WeakSet[Layer] = weakref.WeakSet()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(COLLECT_MS)
        self._timer.timeout.connect(self._collect)
        connections.connect(viewer.layers.events.removed, self._on_removed)
        dock.destroyed.connect(lambda: gc.unfreeze())  # the next dock freezes again

    def freeze(self) -> None:
        """Exclude all objects that exist now."""
        viewer = self._viewer()
        if viewer is not None:
            self._layers.update(viewer.layers)
            gc.freeze()

    def _on_removed(self, event: Event) -> None:
        if event.value in self._layers:
            self._layers.discard(event.value)
            gc.unfreeze()
            self._timer.start()

    def _collect(self) -> None:
        gc.collect()
        self.freeze()


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause garbage collection, for example while libraries are imported, which creates hardly any garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()

"""Connections of sections: to signals that outlive their widgets, and for input that is not applied yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer

from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    from napari.viewer import Viewer

CAMERA_MS = 30  # interval at which widgets follow the camera


class SectionConnections:
    """Connections to signals of Qt, of sessions and of napari.

    Those to napari are also closed when ``owner`` is deleted, since the viewer may outlive the dock; a sender that Qt
    is deleting must not be used.
    """

    def __init__(self, owner: QObject) -> None:
        self._events = Connections()
        self._connected: list[tuple[Any, Callable[..., object]]] = []
        owner.destroyed.connect(self._events.close)

    def connect(self, signal: Any, slot: Callable[..., object]) -> None:  # noqa: ANN401 - they have no common type
        """Connect a slot."""
        if type(getattr(signal, "__wrapped__", signal)).__module__.startswith("napari."):
            self._events.connect(signal, slot)
        else:
            signal.connect(slot)
            self._connected.append((signal, slot))

    def close(self) -> None:
        """Disconnect all slots."""
        self._events.close()
        for signal, slot in self._connected:
            signal.disconnect(slot)
        self._connected.clear()


class CommitSignal:
    """Asks sections to apply what is being typed or drawn, also after an error of one of them."""

    def __init__(self, on_error: Callable[[Exception], object]) -> None:
        self._functions: list[Callable[[], object]] = []
        self._on_error = on_error

    def connect(self, function: Callable[[], object]) -> None:
        """Call a function each time, until it is disconnected."""
        self._functions.append(function)

    def disconnect(self, function: Callable[[], object]) -> None:
        """Do not call a function any more."""
        self._functions.remove(function)

    def emit(self) -> None:
        """Call all functions."""
        for function in tuple(self._functions):
            try:
                function()
            except Exception as error:  # noqa: BLE001 - of any section, also of a plug-in
                self._on_error(error)


class CameraTimer(QTimer):
    """Calls a function at most every ``CAMERA_MS`` while the camera of a viewer moves."""

    def __init__(
        self, viewer: Viewer, parent: QObject, connections: SectionConnections, slot: Callable[[], object]
    ) -> None:
        super().__init__(parent)
        self.setSingleShot(True)
        self.setInterval(CAMERA_MS)
        connections.connect(self.timeout, slot)  # not called any more after the section was closed
        events = get_camera(viewer).events
        for emitter in (events.center, events.zoom):
            connections.connect(emitter, self._on_camera)

    def _on_camera(self, event: object = None) -> None:
        if not self.isActive():
            self.start()

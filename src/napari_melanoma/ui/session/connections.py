"""Connections of sections to signals that outlive their widgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject

from napari_melanoma.ui.widgets.style import Connections


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

"""Connections of a section to signals that outlive its widgets, which are all disconnected when it closes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qtpy.QtCore import QObject


class SectionConnections:
    """Connections to signals of Qt, of sessions and of napari; also closed when ``owner`` is deleted."""

    def __init__(self, owner: QObject) -> None:
        self._connected: list[tuple[Any, Callable[..., object]]] = []
        owner.destroyed.connect(lambda: self.close())

    def connect(self, signal: Any, slot: Callable[..., object]) -> None:  # noqa: ANN401 - they have no common type
        """Connect a slot."""
        signal = getattr(signal, "__wrapped__", signal)  # napari passes proxies of its own to docks
        signal.connect(slot)
        self._connected.append((signal, slot))

    def close(self) -> None:
        """Disconnect all slots."""
        connected, self._connected = self._connected, []
        for signal, slot in connected:
            with suppress(RuntimeError):  # the window is closed, and Qt has deleted the sender
                signal.disconnect(slot)

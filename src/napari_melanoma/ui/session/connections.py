"""Connections of a section to signals that outlive its widgets, which are all disconnected when it closes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qtpy.QtCore import QObject

Connected = list[tuple[Any, Callable[..., object]]]  # signal and slot


class SectionConnections:
    """Connections to signals of Qt, of sessions and of napari; also closed when ``owner`` is deleted."""

    def __init__(self, owner: QObject) -> None:
        self._connected: Connected = []
        owner.destroyed.connect(partial(_disconnect_others, self._connected))

    def connect(self, signal: Any, slot: Callable[..., object]) -> None:  # noqa: ANN401 - they have no common type
        """Connect a slot."""
        signal = getattr(signal, "__wrapped__", signal)  # napari passes proxies of its own to docks
        signal.connect(slot)
        self._connected.append((signal, slot))

    def close(self) -> None:
        """Disconnect all slots."""
        for signal, slot in self._connected:
            signal.disconnect(slot)
        self._connected.clear()


def _disconnect_others(connected: Connected) -> None:
    """Disconnect all slots but those of Qt: the window is closed, and a sender that Qt is deleting must not be used."""
    for signal, slot in connected:
        if type(signal).__module__.partition(".")[0] in ("napari", "psygnal"):
            signal.disconnect(slot)

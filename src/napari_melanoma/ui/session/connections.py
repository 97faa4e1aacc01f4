"""Connections of a section to signals that outlive its widgets, which are all disconnected when it closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class SectionConnections:
    """Connections to signals of Qt, of sessions and of napari."""

    def __init__(self) -> None:
        self._connected: list[tuple[Any, Callable[..., object]]] = []

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

"""Connections to napari's events that end with the widget that made them: napari itself does not know of Qt's ends."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


class Connections:
    """Remembers what was connected, to disconnect all of it at the end."""

    def __init__(self) -> None:
        self._made: list[tuple[weakref.ref[Any], Callable[..., None]]] = []

    def connect(self, emitter: Any, callback: Callable[..., None]) -> None:  # noqa: ANN401 - napari's, often proxied
        """Connect a callback to one of napari's events."""
        emitter = getattr(emitter, "__wrapped__", emitter)  # docks are given proxies, which nobody else holds
        emitter.connect(callback)
        self._made.append((weakref.ref(emitter), callback))

    def connect_first(self, emitter: Any, callback: Callable[..., None]) -> None:  # noqa: ANN401 - napari's
        """Connect a callback that is called before napari's own, which draw; all others are called after them."""
        from napari.utils.events import EventEmitter

        emitter = getattr(emitter, "__wrapped__", emitter)
        relay = EventEmitter(source=None, type_name="relay")  # one of napari's own may come before its callbacks
        relay.connect(callback)
        emitter.connect(relay, position="first")
        self._made.append((weakref.ref(emitter), relay))

    def close(self) -> None:
        """Disconnect everything; what is gone already is left alone."""
        for reference, callback in self._made:
            emitter = reference()
            if emitter is not None:
                emitter.disconnect(callback)
        self._made.clear()

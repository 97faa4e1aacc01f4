"""Connections to signals of Qt, psygnal and napari that end with an object, or when they are closed."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, QTimer
from qtpy.QtGui import QWindow
from qtpy.QtWidgets import QApplication


def follow(owner: QObject, signal: Any, slot: Callable[..., object]) -> None:  # noqa: ANN401 - of Qt, psygnal or napari
    """Call a slot until a Qt object is deleted; for a signal of Qt, the slot is a method of the object.

    Qt disconnects such methods. psygnal and napari keep them as long as Python does, and would call a deleted object.
    """
    if _is_of_qt(signal):
        signal.connect(slot)
    else:
        _connections_of(owner).connect(signal, slot)


def follow_focus(slot: Callable[[QWindow | None], object]) -> None:
    """Call a method of a Qt object when a window gets the focus, or None if all lose it, until the object is deleted.

    Meanwhile, other programs may have changed files that are shown.
    """
    application = QApplication.instance()
    assert isinstance(application, QApplication)
    application.focusWindowChanged.connect(slot)


def at_end(owner: QObject, function: Callable[[], object]) -> None:
    """Call a function when a Qt object is deleted, which it must not use; those added first are called first."""
    _connections_of(owner).at_end(function)


def _is_of_qt(signal: Any) -> bool:  # noqa: ANN401 - of Qt, psygnal or napari
    return type(signal).__module__.startswith(("PyQt", "PySide"))


def _connections_of(owner: QObject) -> Connections:
    connections: Connections | None = getattr(owner, "_connections_of_owner", None)
    if connections is None:
        connections = Connections(owner)
        setattr(owner, "_connections_of_owner", connections)  # noqa: B010 - of any Qt object
    return connections


class Connections:
    """Slots that are connected to signals of Qt, psygnal and napari, until ``end`` or until a Qt object is deleted.

    The slots of the object that is deleted are methods: PyQt calls a ``partial`` or a function also after Python's
    garbage collection has emptied it, together with the object, which crashes.
    """

    def __init__(self, owner: QObject | None = None) -> None:
        self._ends: dict[object, Callable[[], object]] = {}
        if owner is not None:
            owner.destroyed.connect(self.end)

    def connect(self, signal: Any, slot: Callable[..., object]) -> None:  # noqa: ANN401 - of Qt, psygnal or napari
        signal = getattr(signal, "__wrapped__", signal)  # napari passes proxies to docks
        connection = signal.connect(slot)
        if _is_of_qt(signal):  # PyQt crashes when a signal of a deleted sender is disconnected
            self.at_end(partial(QObject.disconnect, connection))
        else:
            self._disconnect_at_end(signal, slot)

    def connect_first(self, emitter: Any, slot: Callable[..., object]) -> None:  # noqa: ANN401 - napari's
        """Connect a slot to an event of napari that is called before napari's own callbacks, which draw."""
        from napari.utils.events import EventEmitter

        emitter = getattr(emitter, "__wrapped__", emitter)
        # An emitter, unlike a plain callback, can precede napari's own callbacks.
        relay = EventEmitter(source=None, type_name="relay")
        relay.connect(slot)
        emitter.connect(relay, position="first")
        self._disconnect_at_end(emitter, relay)

    def at_end(self, function: Callable[[], object]) -> None:
        """Call a function at the end, too."""
        self._ends[object()] = function

    def end(self) -> None:
        """Disconnect all slots; an error is logged, and does not keep the others connected."""
        ends, self._ends = self._ends, {}
        for end in ends.values():
            try:
                end()
            except Exception:
                logging.getLogger(__name__).exception("A signal was not disconnected, or changes were not saved")
        QTimer.singleShot(0, partial(id, ends))  # the last reference to an object must outlast its deletion

    def _disconnect_at_end(self, signal: Any, slot: Callable[..., object]) -> None:  # noqa: ANN401 - not of Qt
        if not type(signal).__weakrefoffset__:  # of psygnal
            self.at_end(partial(signal.disconnect, slot))
            return
        key = object()  # the event of a layer keeps what is connected to it, and a dock sees thousands of layers
        reference = weakref.ref(signal, lambda _: self._ends.pop(key, None))

        def disconnect() -> None:
            if (existing := reference()) is not None:
                existing.disconnect(slot)

        self._ends[key] = disconnect

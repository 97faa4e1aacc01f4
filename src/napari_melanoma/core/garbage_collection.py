"""Pauses of Python's garbage collection."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock


class _Pauses:
    """The pauses of all threads: collection continues after the last one, if it was enabled before the first."""

    def __init__(self) -> None:
        self._lock = RLock()  # a collection may run finalizers that pause as well
        self._count = 0
        self._was_enabled = False

    def begin(self) -> None:
        with self._lock:
            if self._count == 0:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._count += 1

    def end(self) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0 and self._was_enabled:
                gc.enable()


_pauses = _Pauses()


@contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """Pause garbage collection, for imports, and while millions of lists are built: it takes ten times as long."""
    _pauses.begin()
    try:
        yield
    finally:
        _pauses.end()

"""Write the latest state of what users edit in the background, also when the window closes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Generic, Protocol, TypeVar

from qtpy.compat import isalive
from qtpy.QtCore import QObject

from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.signals import at_end

Stamp = tuple[int, int]  # identifies a version of a file


class StateInFolder(Protocol):
    """A state that is written to a folder."""

    @property
    def folder(self) -> Path:
        """The folder of the file."""


WrittenState = TypeVar("WrittenState", bound=StateInFolder)
Result = TypeVar("Result")


class LatestStateWriter(Generic[WrittenState, Result]):
    """Writes the latest state of each folder, one at a time; pending states also when the owner is destroyed.

    ``queue``: runs the writes in the background. ``on_written``: called with the result of ``write``; with None if the
    state was written already.
    """

    def __init__(
        self,
        owner: QObject,
        queue: LatestJobQueue,
        write: Callable[[WrittenState], Result],
        on_written: Callable[[Result | None], object],
        on_failed: Callable[[Exception], object],
    ) -> None:
        self._owner, self._queue, self._write = owner, queue, write
        self._on_written, self._on_failed = on_written, on_failed
        self._writing = Lock()
        self._pending: dict[Path, WrittenState] = {}
        at_end(owner, self.flush)

    @property
    def has_pending(self) -> bool:
        """Whether there is a state that was not written, or could not be written."""
        return bool(self._pending)

    def save(self, state: WrittenState) -> None:
        """Write a state in a background thread."""
        folder = state.folder
        self._pending[folder] = state
        self._queue.submit(f"keep {folder}", lambda: lambda run: self._write_pending(folder), self._on_written)

    def discard(self) -> None:
        """Forget pending states; one that is being written is written."""
        self._pending.clear()

    def flush(self) -> None:
        """Write pending states now; return after a write in progress has ended, too."""
        for folder in tuple(self._pending):
            try:
                written, error = self._write_pending(folder), None
            except Exception as raised:  # noqa: BLE001 - any error concerns this slide only; the others are saved
                written, error = None, raised
            if isalive(self._owner) and error is None:
                self._on_written(written)
            elif isalive(self._owner) and error is not None:
                self._on_failed(error)
            elif error is not None:  # the window is closed
                logging.getLogger(__name__).error("%s: changes were not saved: %s", folder, error)
        with self._writing:  # waits for a write in progress
            return

    def _write_pending(self, folder: Path) -> Result | None:
        """Write the pending state of a folder; if that fails, it stays pending until the next change or flush."""
        with self._writing:
            if folder not in self._pending:
                return None
            state = self._pending.pop(folder)
            try:
                return self._write(state)
            except BaseException:
                self._pending.setdefault(folder, state)
                raise

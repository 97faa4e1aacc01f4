"""Files that follow what a user does on a slide: written in threads, the last value of each; at the end at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from qtpy.compat import isalive

from napari_melanoma.core.errors import MelanomaError

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.ui.job import Latest

Stamp = tuple[int, int]
Value = TypeVar("Value")


class Written(Protocol):
    """What came of writing a file: its stamp, and what a user should know."""

    @property
    def stamp(self) -> Stamp | None:
        """Tells the file from a later one."""

    @property
    def notes(self) -> tuple[str, ...]:
        """In words."""


class LastWrites(Generic[Value]):
    """Writes values into the folders of slides, one at a time; of several that wait for one folder the last alone."""

    def __init__(self, latest: Latest, write: Callable[[Path, Value, Stamp | None], Written]) -> None:
        self._latest, self._write = latest, write
        self._writing = Lock()
        self._due: dict[Path, Value] = {}
        self._stamps: dict[Path, Stamp | None] = {}

    def know(self, folder: Path, stamp: Stamp | None) -> None:
        """Note which file was read."""
        self._stamps[folder] = stamp

    def keep(self, folder: Path, value: Value) -> None:
        """Let a value be written."""
        self._due[folder] = value
        self._latest.submit(f"keep {folder}", lambda: partial(self._work, folder))

    def flush(self) -> None:
        """Write now what still waits; a write that is under way is waited for, lest it comes after this one."""
        for folder in tuple(self._due):
            try:
                written, error = self._work(folder), None
            except MelanomaError as raised:
                written, error = None, raised
            if isalive(self._latest):  # else the window is gone, and nobody is there to be told
                told = self._latest.succeeded if error is None else self._latest.failed
                told.emit(written if error is None else error)
        with self._writing:
            return

    def _work(self, folder: Path, run: RunContext | None = None) -> Written | None:
        """Write the last value of a folder; one that cannot be written still waits, for the next change or the end."""
        with self._writing:
            if folder not in self._due:
                return None
            value = self._due.pop(folder)
            try:
                written = self._write(folder, value, self._stamps.get(folder))
            except BaseException:
                self._due.setdefault(folder, value)
                raise
            self._stamps[folder] = written.stamp
            return written

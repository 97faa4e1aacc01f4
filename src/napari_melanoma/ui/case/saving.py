"""A case brought to its file after each edit, in a thread; what waits until it is saved; and the last save of all."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.job import Latest
from napari_melanoma.ui.settling import Settling

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.data.case.model import Case
    from napari_melanoma.data.case.store import CaseStore

SAVE_MS = 400  # after the last edit
LOOK_MS = 50  # how often it is looked whether what was drawn is kept


class Drawing(Protocol):
    """What keeps drawings of the case."""

    @property
    def busy(self) -> bool:
        """Whether something that was drawn is not in the case yet."""

    def flush(self) -> None:
        """Keep it without waiting for the hand to rest."""


class CaseSaving(QObject):
    """Saves one case at a time.

    ``saved_at``: when the last one was, in seconds as ``time.time`` gives them; 0 for never.
    """

    saved = Signal()
    refused = Signal()

    def __init__(self, parent: QObject, case: Callable[[], Case | None]) -> None:
        super().__init__(parent)
        self.fault: Exception | None = None
        self.saved_at = 0.0
        self.drawing: Drawing | None = None
        self._case = case
        self._store: CaseStore | None = None
        self._in_file: Case | None = None
        self._then: Callable[[], None] | None = None
        self._waiting = Settling(self)
        self._waiting.setInterval(LOOK_MS)
        self._waiting.timeout.connect(self._advance)
        self._settling = Settling(self)
        self._settling.setInterval(SAVE_MS)
        self._settling.timeout.connect(self._save)
        self._saving = Latest(self)
        self._saving.succeeded.connect(self._on_saved)
        self._saving.failed.connect(self._on_not_saved)
        self._held = _Held()
        self.destroyed.connect(self._held.end)  # not a method: when it is called there is no dock any more

    @property
    def dirty(self) -> bool:
        """Whether the file is behind."""
        return self._may_write and self._case() != self._in_file

    @property
    def busy(self) -> bool:
        """Whether something is written, or waits for it."""
        return self._saving.busy or self._settling.isActive() or self._waiting.isActive()

    @property
    def _may_write(self) -> bool:
        return self._store is not None and not self._store.read_only

    def turn_to(self, store: CaseStore | None) -> None:
        """Be about another case, which is as it is in its file."""
        self._store = self._held.store = store
        self._in_file, self.fault, self._held.pending = self._case(), None, None
        self.saved_at = 0.0

    def soon(self) -> None:
        """Save when no further edit comes for a moment."""
        self._held.pending = self._case()
        self._settling.start()

    def save(self, *, over: bool = False, anew: bool = False) -> None:
        """Save at once."""
        self._settling.stop()
        if anew:
            self._in_file = None
        self._saving.submit("save", partial(self._prepare, over))

    def when_saved(self, then: Callable[[], None]) -> None:
        """Do something when all that was edited is in the file; never where it cannot be saved."""
        self._then = then
        self._advance()

    def forget(self) -> None:
        """Let go of what could not be saved."""
        self._in_file, self.fault, self._held.pending = self._case(), None, None
        self._settling.stop()

    def _advance(self) -> None:
        """Go on with what waits until all is saved: first what was drawn, then the case."""
        if self._then is None:
            return
        if self.drawing is not None and self.drawing.busy and self._may_write:
            self.drawing.flush()
            self._waiting.start()
        elif self.dirty or self._saving.busy:
            self.save()
        else:
            then, self._then = self._then, None
            then()

    def _save(self) -> None:
        self.save()

    def _prepare(self, over: bool) -> Callable[[RunContext], object] | None:
        store, case = self._store, self._case()
        if store is None or case is None or store.read_only or (case == self._in_file and not over):
            self._waiting.start()
            return None
        return partial(self._held.save, store, case, over)

    def _on_saved(self, case: Case) -> None:
        self._in_file, self.fault, self.saved_at = case, None, time.time()
        self.saved.emit()
        if self.dirty:
            self.save()
        else:
            self._advance()

    def _on_not_saved(self, error: Exception) -> None:
        self.fault, self._then = error, None
        self.refused.emit()
        self.saved.emit()


class _Held:
    """The case that is open and what of it is in no file yet, known also when the dock has ended."""

    def __init__(self) -> None:
        self.store: CaseStore | None = None
        self.pending: Case | None = None
        self._one = Lock()

    def save(self, store: CaseStore, case: Case, over: bool, run: RunContext) -> Case:
        """Save; meant for a thread."""
        with self._one:
            store.save(case, over=over)
            if self.pending is case:
                self.pending = None
        return case

    def end(self) -> None:
        """Save what was edited a moment ago, and let others open the case."""
        if self.store is None:
            return
        with self._one, suppress(MelanomaError):  # what the file system refuses was said before
            if self.pending is not None and not self.store.read_only:
                self.store.save(self.pending)
        self.store.close()
        self.store = None

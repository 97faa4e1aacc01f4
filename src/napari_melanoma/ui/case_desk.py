"""The case that is open in a dock: its steps, and its file, which follows each edit in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.data.case.store import CaseStore
from napari_melanoma.ui.case_history import CaseHistory
from napari_melanoma.ui.job import Job, Latest
from napari_melanoma.ui.settling import Settling

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.data.case.model import Case

SAVE_MS = 400  # after the last edit


class CaseDesk(QObject):
    """Opens, changes, saves and closes one case.

    Parameters
    ----------
    parent : QObject
        The dock.

    Attributes
    ----------
    opened : Signal()
        Another case is open, or none.
    changed : Signal()
        The case is another value.
    saved : Signal()
        What is in the file, or why it is not, is something else.
    failed : Signal(object)
        An exception: a case could not be opened or made; the one before stays open.
    """

    opened = Signal()
    changed = Signal()
    saved = Signal()
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.store: CaseStore | None = None
        self.history: CaseHistory | None = None
        self.fault: Exception | None = None  # why the last save failed
        self.saved_at = 0.0
        self._in_file: Case | None = None
        self._then: Callable[[], None] | None = None
        self._settling = Settling(self)
        self._settling.setInterval(SAVE_MS)
        self._settling.timeout.connect(self._save)
        self._saving = Latest(self)
        self._saving.succeeded.connect(self._on_saved)
        self._saving.failed.connect(self._on_not_saved)
        self._opening = Latest(self)
        self._opening.succeeded.connect(self._on_opened)
        self._opening.failed.connect(self.failed)
        self._held = _Held()
        self.destroyed.connect(self._held.end)  # not a method: when it is called there is no desk any more

    @property
    def case(self) -> Case | None:
        """The case as it is now."""
        return None if self.history is None else self.history.case

    @property
    def read_only(self) -> str:
        """Why the case may not be changed; empty where it may."""
        return "" if self.store is None else self.store.read_only

    @property
    def may_edit(self) -> bool:
        """Whether a case is open that may be changed."""
        return self.store is not None and not self.store.read_only

    @property
    def dirty(self) -> bool:
        """Whether the file is behind."""
        return self.may_edit and self.case != self._in_file

    @property
    def busy(self) -> bool:
        """Whether something is read or written, or waits for it."""
        return self._opening.busy or self._saving.busy or self._settling.isActive()

    def open(self, folder: Path) -> None:
        """Open a case in the place of the one that is open.

        Parameters
        ----------
        folder : pathlib.Path
            Of the case, or its ``case.json``.
        """
        self.when_saved(partial(self._swap, partial(_open, folder)))

    def create(self, folder: Path, case: Case | None = None) -> None:
        """Make a case in the place of the one that is open.

        Parameters
        ----------
        folder : pathlib.Path
            Made where it is missing.
        case : Case, optional
            What it holds; nothing by default.
        """
        self.when_saved(partial(self._swap, partial(_create, folder, case)))

    def close(self) -> None:
        """Close the case, when it is saved."""
        self.when_saved(partial(self._take, None))

    def look_in(self, folder: Path) -> None:
        """Look in a folder for images that are missing.

        Parameters
        ----------
        folder : pathlib.Path
            With its subfolders.
        """
        store = self.store
        if store is not None:
            self.when_saved(partial(self._swap, partial(_look_in, store, folder)))

    def edit(self, case: Case, what: str, key: str = "") -> None:
        """Change the case as a step, and save it soon.

        Parameters
        ----------
        case : Case
            After the edit.
        what : str
            What was done, for tooltips.
        key : str, optional
            Edits in a row with the same one are one step.
        """
        if self.may_edit and self.history is not None and self.history.edit(case, what, key):
            self._on_edited()

    def amend(self, case: Case) -> None:
        """Change a mask or a scale, which is no step of the case.

        Parameters
        ----------
        case : Case
            After it.
        """
        if self.may_edit and self.history is not None and case != self.history.case:
            self.history.amend(case)
            self._on_edited()

    def undo(self) -> str:
        """Take a step back.

        Returns
        -------
        str
            What it was; empty where there was none.
        """
        return self._turn(self.history.undo) if self.may_edit and self.history is not None else ""

    def redo(self) -> str:
        """Take a step again.

        Returns
        -------
        str
            What it was; empty where there was none.
        """
        return self._turn(self.history.redo) if self.may_edit and self.history is not None else ""

    def save(self, *, over: bool = False) -> None:
        """Save at once.

        Parameters
        ----------
        over : bool
            Whether to write over what another program changed in the file.
        """
        self._settling.stop()
        self._saving.submit("save", partial(self._prepare, over))

    def when_saved(self, then: Callable[[], None]) -> None:
        """Do something when all that was edited is in the file; never where it cannot be saved.

        Parameters
        ----------
        then : callable
            Without arguments.
        """
        if self.dirty or self._saving.busy:
            self._then = then
            self.save()
        else:
            then()

    def forget(self) -> None:
        """Let go of what could not be saved."""
        self._in_file, self.fault, self._held.pending = self.case, None, None
        self._settling.stop()

    def _turn(self, turn: Callable[[], str]) -> str:
        what = turn()
        if what:
            self._on_edited()
        return what

    def _on_edited(self) -> None:
        self._held.pending = self.case
        self._settling.start()
        self.changed.emit()

    def _save(self) -> None:
        self.save()

    def _prepare(self, over: bool) -> Callable[[RunContext], object] | None:
        store, case = self.store, self.case
        if store is None or case is None or store.read_only or (case == self._in_file and not over):
            self._go_on()
            return None
        return partial(self._held.save, store, case, over)

    def _on_saved(self, case: Case) -> None:
        self._in_file, self.fault, self.saved_at = case, None, time.time()
        self.saved.emit()
        if self.dirty:
            self.save()
        else:
            self._go_on()

    def _on_not_saved(self, error: Exception) -> None:
        self.fault, self._then = error, None
        self.saved.emit()

    def _go_on(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()

    def _swap(self, work: Callable[[RunContext], CaseStore]) -> None:
        self._opening.submit("open", lambda: work)

    def _on_opened(self, store: CaseStore) -> None:
        self.when_saved(partial(self._take, store))

    def _take(self, store: CaseStore | None) -> None:
        """Be about a case; the one before is closed in a thread, as what is left over is removed then."""
        before, self.store = self.store, store
        if before is not None and before is not store:
            Job(partial(_close, before)).start()
        self._held.store, self._held.pending = store, None
        self.history = None if store is None else CaseHistory(store.case)
        self._in_file, self.fault = None if store is None else self.case, None
        self.saved_at = 0.0
        self.opened.emit()
        self.saved.emit()
        if store is not None and (store.found or store.missing):
            self._in_file = None  # where images were found again is worth keeping
            self.save()


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


def _open(folder: Path, run: RunContext) -> CaseStore:
    return CaseStore.open(folder)


def _create(folder: Path, case: Case | None, run: RunContext) -> CaseStore:
    return CaseStore.create(folder, case)


def _look_in(store: CaseStore, folder: Path, run: RunContext) -> CaseStore:
    store.look_in([folder])
    return store


def _close(store: CaseStore, run: RunContext) -> None:
    store.close()

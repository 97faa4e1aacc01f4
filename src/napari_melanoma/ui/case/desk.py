"""The case that is open in a dock: opened and made in a thread, changed in steps that can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.data.case.store import CaseStore
from napari_melanoma.ui.case.history import CaseHistory
from napari_melanoma.ui.case.saving import CaseSaving
from napari_melanoma.ui.job import Job, Latest

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.data.case.model import Case


class CaseDesk(QObject):
    """Opens, changes, saves and closes one case."""

    opened = Signal()
    changed = Signal()
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.store: CaseStore | None = None
        self.history: CaseHistory | None = None
        self._arriving: CaseStore | None = None
        self.saving = CaseSaving(self, lambda: self.case)
        self.saving.refused.connect(self._refuse_arriving)
        self._opening = Latest(self)
        self._opening.succeeded.connect(self._on_opened)
        self._opening.failed.connect(self._on_not_opened)

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
    def busy(self) -> bool:
        """Whether something is read or written, or waits for it."""
        return self._opening.busy or self.saving.busy

    def open(self, folder: Path) -> None:
        """Open a case in the place of the one that is open."""
        self.saving.when_saved(partial(self._swap, partial(_open, self.store, folder)))

    def create(self, folder: Path, case: Case | None = None) -> None:
        """Make a case in the place of the one that is open."""
        self.saving.when_saved(partial(self._swap, partial(_create, folder, case)))

    def close(self) -> None:
        """Close the case, when it is saved."""
        self.saving.when_saved(partial(self._take, None))

    def look_in(self, folder: Path) -> None:
        """Look in a folder for images that are missing."""
        store = self.store
        if store is not None:
            self.saving.when_saved(partial(self._swap, partial(_look_in, store, folder)))

    def edit(self, case: Case, what: str, key: str = "") -> None:
        """Change the case as a step, and save it soon."""
        if self.may_edit and self.history is not None and self.history.edit(case, what, key):
            self._on_edited()

    def take_back(self, key: str) -> None:
        """Take edits of one field back that are still going on."""
        if self.may_edit and self.history is not None and self.history.take_back(key):
            self._on_edited()

    def amend(self, case: Case) -> None:
        """Change a mask or a scale, which is no step of the case."""
        if self.may_edit and self.history is not None and case != self.history.case:
            self.history.amend(case)
            self._on_edited()

    def undo(self) -> str:
        """Take a step back.

        What it was; empty where there was none.
        """
        return self._turn(self.history.undo) if self.may_edit and self.history is not None else ""

    def redo(self) -> str:
        """Take a step again.

        What it was; empty where there was none.
        """
        return self._turn(self.history.redo) if self.may_edit and self.history is not None else ""

    def _turn(self, turn: Callable[[], str]) -> str:
        what = turn()
        if what:
            self._on_edited()
        return what

    def _on_edited(self) -> None:
        self.saving.soon()
        self.changed.emit()

    def _swap(self, work: Callable[[RunContext], CaseStore]) -> None:
        self._opening.submit("open", lambda: work)

    def _on_opened(self, store: CaseStore) -> None:
        self._refuse_arriving()
        self._arriving = store
        self.saving.when_saved(partial(self._take, store))

    def _on_not_opened(self, error: Exception) -> None:
        self.failed.emit(error)
        self.saving.saved.emit()  # the one that is open may have been closed to be opened again

    def _refuse_arriving(self) -> None:
        """Let go of a case that was to be opened, where another one is, or this one cannot be saved."""
        store, self._arriving = self._arriving, None
        if store is not None and store is not self.store:
            Job(partial(_close, store)).start()

    def _take(self, store: CaseStore | None) -> None:
        """Be about a case; the one before is closed in a thread, as what is left over is removed then."""
        before, self.store, self._arriving = self.store, store, None
        if before is not None and before is not store:
            Job(partial(_close, before)).start()
        self.history = None if store is None else CaseHistory(store.case)
        self.saving.turn_to(store)
        self.opened.emit()
        self.saving.saved.emit()
        if store is not None and (store.found or store.missing):
            self.saving.save(over=False, anew=True)  # where images were found again is worth keeping


def _open(before: CaseStore | None, folder: Path, run: RunContext) -> CaseStore:
    """Open a case; the same one again only when it was closed, as one window has it at a time."""
    if before is not None and before.folder == folder.expanduser().absolute():
        before.close()
    return CaseStore.open(folder)


def _create(folder: Path, case: Case | None, run: RunContext) -> CaseStore:
    return CaseStore.create(folder, case)


def _look_in(store: CaseStore, folder: Path, run: RunContext) -> CaseStore:
    store.look_in([folder])
    return store


def _close(store: CaseStore, run: RunContext) -> None:
    store.close()

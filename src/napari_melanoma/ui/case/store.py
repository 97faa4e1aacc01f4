"""The open case: made, changed with undo, saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from qtpy.QtCore import QObject, Signal

from napari_melanoma.case.edits import set_correction, set_image
from napari_melanoma.case.model import Case
from napari_melanoma.case.store import CaseStore
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.widgets.job import Job, Latest
from napari_melanoma.ui.widgets.settings import Settling

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext


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


STEPS = 200


class CaseHistory:
    """Remembers cases; edits of one field in a row are one step."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._before: list[tuple[Case, str]] = []
        self._after: list[tuple[Case, str]] = []
        self._key = ""

    @property
    def undone(self) -> str:
        """What undo would take back; empty where there is nothing."""
        return self._before[-1][1] if self._before else ""

    @property
    def redone(self) -> str:
        """What redo would do again; empty where there is nothing."""
        return self._after[-1][1] if self._after else ""

    def edit(self, case: Case, what: str, key: str = "") -> bool:
        """Take a step.

        False where the case is the same.
        """
        if case == self.case:
            return False
        if not (key and key == self._key and self._before):
            self._before = [*self._before, (self.case, what)][-STEPS:]
        self._key, self._after, self.case = key, [], case
        return True

    def take_back(self, key: str) -> bool:
        """Take the edits in a row back that are still going on, as if they had not been made.

        False where there are none.
        """
        if not key or key != self._key or not self._before:
            return False
        case, _ = self._before.pop()
        self.case, self._key = with_masks_of(case, self.case), ""
        return True

    def rest(self) -> None:
        """Let the next edit be a step of its own."""
        self._key = ""

    def amend(self, case: Case) -> None:
        """Change the case without a step: a mask, whose steps the viewer takes back."""
        self.case = case

    def undo(self) -> str:
        """Take the last step back.

        What it was; empty where there was none.
        """
        return self._turn(self._before, self._after)

    def redo(self) -> str:
        """Take a step again.

        What it was; empty where there was none.
        """
        return self._turn(self._after, self._before)

    def _turn(self, source: list[tuple[Case, str]], target: list[tuple[Case, str]]) -> str:
        if not source:
            return ""
        case, what = source.pop()
        target.append((self.case, what))
        self.case, self._key = with_masks_of(case, self.case), ""
        return what


def with_masks_of(case: Case, known: Case) -> Case:
    """Give a case the corrections, results and scales of another one.

    With its own images, of which those that both have are as they are now.
    """
    now = {image.id: image for _, image in known.each_image()}
    for _, image in case.each_image():
        other = now.get(image.id)
        if other is not None and (other.correction, other.results) != (image.correction, image.results):
            case = set_correction(set_image(case, image.id, results=other.results), image.id, other.correction)
    return case


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

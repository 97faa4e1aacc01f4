"""Documents that users edit, such as the lesions of a slide: undo, saving in the background, and change detection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.session.history import History
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.latest_writer import LatestStateWriter, Stamp

Value = TypeVar("Value")
HistoryStep = Literal["undo", "redo"]


@dataclass(frozen=True)
class DocumentState(Generic[Value]):
    """The value of one slide with its history, and the folder of its file if there is one."""

    identity: str
    history: History[Value]
    folder: Path = Path()


State = TypeVar("State", bound=DocumentState[Any])


class StoredValue(Protocol):
    """Result of reading or writing a file."""

    @property
    def stamp(self) -> Stamp | None:
        """The version of the file; None if there is no file."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user, such as the name of a backup."""


class SlideDocument(QObject, Generic[State]):
    """The values of slides, with undo and redo; the methods change the value of the displayed slide.

    ``edited``: emitted after each step.
    """

    changed = Signal(object)  # the displayed state; None until it was read
    edited = Signal()
    message = Signal(str)
    failed = Signal(object)  # Exception

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._identity: str | None = None
        self._states: dict[str, State] = {}
        self.queue = LatestJobQueue(self)
        self.queue.succeeded.connect(_finish)
        self.queue.failed.connect(self.failed)

    @property
    def state(self) -> State | None:
        """Value with history; None until it was read."""
        return None if self._identity is None else self._states.get(self._identity)

    def refresh(self) -> None:
        """Emit ``changed``, also for the same value, to replace rejected input."""
        self.changed.emit(self.state)

    def step_history(self, direction: HistoryStep) -> None:
        """Undo or redo the last change."""

        def step(state: State) -> State:
            history = getattr(state.history, direction)()
            return state if history is state.history else self._restore(state, history)

        self._change(step)

    def undo(self) -> None:
        """Undo the last change."""
        self.step_history("undo")

    def redo(self) -> None:
        """Redo the last change that was undone."""
        self.step_history("redo")

    def _display(self, identity: str | None) -> None:
        """Display another slide."""
        self._identity = identity
        self.refresh()

    def _change(self, step: Callable[[State], State]) -> None:
        """Apply a step to the displayed state."""
        raise NotImplementedError

    def _restore(self, state: State, history: History[Any]) -> State:
        """Return the state after undo or redo."""
        return replace(state, history=history)

    def _submit(self, key: str, prepare: Callable[[], JobFunction | None], on_done: Callable[[Any], object]) -> None:
        """Run a function in the background; it replaces a pending function with the same key.

        ``on_done``: called with its result on the GUI thread.
        """

        def prepare_job() -> JobFunction | None:
            work = prepare()
            return None if work is None else lambda run: partial(on_done, work(run))

        self.queue.submit(key, prepare_job)


class EditedDocument(SlideDocument[State]):
    """A document that is edited by functions from value to value, and saved after each step.

    ``read``: returns the state for an identity and a folder, with the stamp and notes of the file. ``write``: called
    after each step with the state and the stamp of the file when it was last read or written, so that it can back up a
    file that another program has changed.

    Not used for masks of photographs, whose undo history is in napari's Labels layer, nor for cases, which
    ``CaseController`` edits: its steps have descriptions and combine the edits of a field, and the user decides what
    happens to a case that another program has changed.
    """

    def __init__(
        self,
        parent: QObject,
        read: Callable[[str, Path], tuple[State, StoredValue]],
        write: Callable[[State, Stamp | None], StoredValue],
    ) -> None:
        super().__init__(parent)
        self._read, self._write = read, write
        self._stamps: dict[Path, Stamp | None] = {}  # of the files, when they were last read or written
        self._writer = LatestStateWriter[State, StoredValue](
            self, self.queue, self._write_state, self.show_notes, self.failed.emit
        )

    def show(self, identity: str | None) -> None:
        """Display another slide."""
        self._display(identity)

    def load(self, identity: str, folder: Path) -> None:
        """Read the stored value of the displayed slide, unless it was read before.

        If the file cannot be read, the slide has no state that could be edited, also if it had one from another folder.
        """
        state = self.state
        if identity == self._identity and (state is None or state.folder != folder):
            work = partial(_try_read, self._read, identity, folder)
            self._submit(f"{identity} load", lambda: work, partial(self._on_read, identity))

    def add(self, state: State) -> None:
        """Set a state without an undo step."""
        self._states[state.identity] = state
        self.refresh()

    def apply_edit(self, edit: Callable[[Any], Any]) -> None:
        """Apply a function from value to value as an undo step, and save the result."""

        def step(state: State) -> State:
            value = edit(state.history.current)
            return state if value == state.history.current else replace(state, history=state.history.push(value))

        self._change(step)

    def flush(self) -> None:
        """Write pending changes now: the window may be about to close."""
        self._writer.flush()

    def _change(self, step: Callable[[State], State]) -> None:
        """Apply a step to the displayed state."""
        previous = self.state
        if previous is None:
            return
        try:
            state = step(previous)
        except MelanomaError as error:
            self.refresh()
            self.failed.emit(error)
            return
        if state is not previous:
            self._save(state)
            self.refresh()
            self.edited.emit()

    def _save(self, state: State) -> None:
        """Set a state and write it in the background."""
        self._states[state.identity] = state
        self._writer.save(state)

    def _write_state(self, state: State) -> StoredValue:
        """Write a state; called in a thread, or when the document is destroyed."""
        stored = self._write(state, self._stamps.get(state.folder))
        self._stamps[state.folder] = stored.stamp
        return stored

    def _on_read(self, identity: str, loaded: tuple[State, StoredValue] | Exception) -> None:
        if isinstance(loaded, Exception):
            if self._states.pop(identity, None) is not None and identity == self._identity:
                self.refresh()
            self.failed.emit(loaded)
            return
        state, stored = loaded
        self._stamps[state.folder] = stored.stamp
        self.show_notes(stored)
        self.add(state)

    def show_notes(self, stored: StoredValue | None) -> None:
        """Emit the notes of reading or writing a file."""
        if stored is not None and stored.notes:
            self.message.emit("; ".join(stored.notes))


def _try_read(
    read: Callable[[str, Path], tuple[State, StoredValue]], identity: str, folder: Path, run: RunContext
) -> tuple[State, StoredValue] | Exception:
    """Read a stored value; return the error if that fails, so that it is handled for this slide."""
    try:
        return read(identity, folder)
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - shown to the user
        return error


def _finish(done: Callable[[], object]) -> None:
    """Handle the result of a job in the GUI thread."""
    done()

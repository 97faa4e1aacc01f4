"""Values of one open slide: shared between sections, edited with undo, and stored in files that follow each edit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from psygnal import Signal
from qtpy.QtCore import QObject

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.files import file_stamp
from napari_melanoma.ui.session.history import History, next_step
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.latest_writer import LatestStateWriter, Stamp

if TYPE_CHECKING:
    from napari_melanoma.io.geojson import Origin

Value = TypeVar("Value")
HistoryStep = Literal["undo", "redo"]


class Shared(Generic[Value]):
    """A value that several sections show; ``changed`` emits the new value."""

    changed = Signal(object)

    def __init__(self, value: Value) -> None:
        self._history = History(value)

    @property
    def value(self) -> Value:
        """The current value."""
        return self._history.current

    def set(self, value: Value) -> None:
        """Replace the value and forget its history."""
        if value is not self.value:
            self._history = History(value)
            self.changed.emit(value)


class Edited(Shared[Value]):
    """A value that users edit, with undo.

    ``edited``: the user has made, undone or redone a step. ``stepped``: a step was undone or redone; emits which of
    both, and the value before. ``failed``: why an edit was not possible. ``find_lock``: returns why the value must not
    be changed now, such as a signature; empty if it may.
    """

    edited = Signal()
    stepped = Signal(str, object)
    failed = Signal(Exception)

    def __init__(self, value: Value) -> None:
        super().__init__(value)
        self.find_lock: Callable[[], str] = lambda: ""
        self._pending_steps: list[int] = []  # that are being computed

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo, or one is being computed."""
        return bool(self._history.past or self._pending_steps)

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone step to redo."""
        return bool(self._history.undone)

    @property
    def last_step(self) -> int:
        """The number of the step that undo would undo, which orders steps of several values; 0 if there is none."""
        return max((*self._history.steps[-1:], *self._pending_steps), default=0)

    @property
    def undone_step(self) -> int:
        """The number of the step that redo would redo; 0 if there is none."""
        return next(iter(self._history.undone_steps[-1:]), 0)

    def discard_older_redo(self, other: Edited[Any]) -> None:
        """Discard undone steps that are older than the last step of another value, which shares undo and redo."""
        if self.can_redo and other.last_step > self.undone_step:
            self._history = replace(self._history, undone=(), undone_steps=())

    def apply(self, edit: Callable[[Value], Value], step: int = 0) -> None:
        """Change the value by a function from value to value, as one step; ``step``: see ``History.push``."""

        def push(history: History[Value]) -> History[Value]:
            value = edit(history.current)
            return history if value == history.current else history.push(value, step)

        self._change(push)

    def undo(self) -> None:
        """Undo the last step."""
        self.step("undo")

    def redo(self) -> None:
        """Redo the last undone step."""
        self.step("redo")

    def step(self, direction: HistoryStep) -> None:
        """Undo or redo a step."""

        def restore(history: History[Value]) -> History[Value]:
            restored: History[Value] = getattr(history, direction)()
            return history if restored is history else self._restore(history, restored)

        previous = self._history
        self._change(restore)
        if self._history is not previous:
            self.stepped.emit(direction, previous.current)

    def push(self, value: Value) -> None:
        """Change the value as a step that can be undone, but is not the user's, such as a change by another program."""
        if value != self.value:
            self._history = self._history.push(value)
            self.refresh()

    def complete(self, edit: Callable[[Value], Value]) -> None:
        """Change the value and its history without a step, such as classes of this user that are not in the file."""
        self._history = self._history.map_values(edit)

    def refresh(self) -> None:
        """Emit ``changed``, also for the same value, to replace rejected input."""
        self.changed.emit(self.value)

    def _restore(self, previous: History[Value], restored: History[Value]) -> History[Value]:
        """Return the history after undo or redo; a subclass may record the step in the value."""
        return restored

    def _change(self, change: Callable[[History[Value]], History[Value]]) -> None:
        try:
            history = change(self._history)
            if history is self._history:
                return
            if lock := self.find_lock():
                raise InputError(lock)
        except MelanomaError as error:
            self.refresh()
            self.failed.emit(error)
            return
        self._history = history
        self._save()
        self.edited.emit()  # first, so that the value is saved even if it cannot be displayed
        self.refresh()

    def _save(self) -> None:
        """Store the value, which has changed by a step."""


class JointHistory:
    """One undo and redo over several values, in the order in which their steps were made.

    ``changed``: there may be other steps.
    """

    changed = Signal()

    def __init__(self, *values: Edited[Any]) -> None:
        self._values = values
        for value in values:
            value.edited.connect(partial(self._on_edited, value))
            value.changed.connect(self._on_changed)

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return any(value.can_undo for value in self._values)

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone step to redo."""
        return any(value.can_redo for value in self._values)

    def undo(self) -> None:
        """Undo the last step of all values."""
        if self.can_undo:
            max(self._values, key=lambda value: value.last_step).undo()

    def redo(self) -> None:
        """Redo the step that was undone last."""
        if self.can_redo:
            min((value for value in self._values if value.can_redo), key=lambda value: value.undone_step).redo()

    def _on_edited(self, edited: Edited[Any]) -> None:
        for value in self._values:
            value.discard_older_redo(edited)

    def _on_changed(self, _: object) -> None:
        self.changed.emit()


@dataclass(frozen=True)
class SlideFolder:
    """The file of a slide and the folder of its results; ``origin``: corner of the scanned area."""

    slide: Path
    folder: Path
    origin: Origin = (0, 0)


@dataclass(frozen=True)
class Stored(Generic[Value]):
    """Content of a file.

    ``stamp``: version of the file; None if there is none. ``notes``: for the user, such as the name of a backup.
    ``unread``: other content, which is written back. ``replaces``: it contains changes by another program, too, which
    the value that was to be written lacks.
    """

    value: Value
    stamp: Stamp | None = None
    notes: tuple[str, ...] = ()
    unread: tuple[Any, ...] = ()
    replaces: bool = False


@dataclass(frozen=True)
class DocumentKind(Generic[Value]):
    """A kind of value that is stored in the folder of a slide.

    ``empty``: the value until the file has been read. ``read`` and ``write`` are called in a thread; ``write``: with
    the content when the file was last read or written, so that it can back up a file that another program has changed.
    ``create``: creates a document of a subclass for a session. ``file``: name of the file, to notice changes by other
    programs; empty if they are not followed.
    """

    name: str
    empty: Value
    read: Callable[[SlideFolder], Stored[Value]]
    write: Callable[[SlideFolder, Value, Stored[Value]], Stored[Value]]
    create: Callable[[Any], Document[Value]] | None = None
    file: str = ""


@dataclass(frozen=True)
class Unsaved(Generic[Value]):
    """A value to be written, and the folder of its slide."""

    folder: Path
    value: Value


class Document(Edited[Value]):
    """A value of a slide that is read once from its folder, and saved in the background after each step.

    It is empty, and edits are ignored, until ``ready``: the file was read, or could not be read (``problem``). In that
    case it stays so, and the file is not overwritten.
    """

    ready = Signal()
    message = Signal(str)
    noted = Signal(str)  # notes of ``Stored``

    def __init__(self, kind: DocumentKind[Value], location: SlideFolder, parent: QObject) -> None:
        super().__init__(kind.empty)
        self.kind, self.location = kind, location
        self.is_ready, self.problem = False, ""
        self._stored = Stored(kind.empty)  # what the value is derived from, with the stamp of the file that has it
        self._unsaved: Unsaved[Value] | None = None  # the last value to be written
        self._merged: tuple[Unsaved[Value], Stored[Value]] | None = None  # the last one that was changed when written
        self._seen: Stamp | None = None  # version of the file when it was last checked
        self._task_count = 0
        self.queue = LatestJobQueue(parent)
        self.queue.failed.connect(self.failed.emit)
        self.queue.idle.connect(self._pending_steps.clear)  # of edits that failed, too
        self._writer = LatestStateWriter[Unsaved[Value], Stored[Value]](
            self.queue, self.queue, self._write, self._on_written, self.failed.emit
        )
        self.submit(self._read, self._on_read)

    def apply_slow(self, edit: Callable[[Value], Value]) -> None:
        """Compute an edit in the background, after pending edits, and apply it as a step of now.

        It is computed again if the value has changed in the meantime.
        """
        step = next_step()
        self._pending_steps.append(step)

        def prepare() -> JobFunction:
            before = self.value
            return lambda run: (before, edit(before))

        def apply(values: tuple[Value, Value]) -> None:
            before, after = values
            if self.value is not before:
                self._submit(prepare, apply)
                return
            if step in self._pending_steps:
                self._pending_steps.remove(step)
            self.apply(lambda _: after, step)

        self._submit(prepare, apply)

    def step(self, direction: HistoryStep) -> None:
        """Undo or redo a step, after edits that are being computed."""
        step = super().step
        if not self._pending_steps:
            if not (self.can_undo if direction == "undo" else self.can_redo):
                self.message.emit(f"There is nothing to {direction}.")
            step(direction)
            return
        if direction == "undo":
            self._pending_steps.pop()  # the next step to undo is the one before
        self.submit(lambda run: None, lambda _: step(direction))

    def submit(self, work: JobFunction, on_done: Callable[[Any], object]) -> None:
        """Run a function in the background, such as an export; ``on_done``: called with its result."""
        self._submit(lambda: work, on_done)

    def _submit(self, prepare: Callable[[], JobFunction], on_done: Callable[[Any], object]) -> None:
        self._task_count += 1
        self.queue.submit(f"task {self._task_count}", prepare, on_done)

    def reload(self) -> None:
        """Read the file again, which another program has changed.

        It is not shown if the value was edited in the meantime: writing the edit merges or backs up the file.
        """
        unsaved = self._unsaved

        def show(stored: Stored[Value] | Exception) -> None:
            if self._unsaved is unsaved and not self._writer.has_pending:
                self._on_read(stored)

        self.submit(self._read, show)

    def reload_if_changed(self) -> bool:
        """Read the file again if another program has changed it; return whether it has."""
        if not self.kind.file or not self.is_ready or self.queue.busy:
            return False
        stamp = file_stamp(self.location.folder / self.kind.file)
        if stamp in (self._stored.stamp, self._seen):
            return False
        self._seen = stamp
        self.reload()
        return True

    def save(self) -> None:
        """Store the value, also if it was not changed by a step."""
        self._save()

    def flush(self) -> None:
        """Write pending changes now: the window may be about to close."""
        self._writer.flush()

    def close(self) -> None:
        """Stop when pending edits are applied and saved: the slide was closed."""
        self.flush()  # now: napari may be closed next
        if not self.is_ready:  # there are no edits
            self.queue.cancel()
        if self.queue.busy:
            self.queue.idle.connect(self._end)
        else:
            self._end()

    def _end(self) -> None:
        self.queue.cancel()
        self.queue.deleteLater()

    def _change(self, change: Callable[[History[Value]], History[Value]]) -> None:
        if self.is_ready and not self.problem:
            super()._change(change)

    def _save(self) -> None:
        self._unsaved = Unsaved(self.location.folder, self.value)
        self._writer.save(self._unsaved)

    def _read(self, run: RunContext) -> Stored[Value] | Exception:
        try:
            return self.kind.read(self.location)
        except Cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - shown to the user
            return error

    def _on_read(self, stored: Stored[Value] | Exception) -> None:
        self.is_ready = True
        if isinstance(stored, Exception):
            self.problem = str(stored) or type(stored).__name__
            self.failed.emit(stored)
        else:
            self.problem, self._stored = "", stored
            self._show_notes(stored)
            self.set(stored.value)
        self.ready.emit()

    def _write(self, unsaved: Unsaved[Value]) -> Stored[Value]:
        """Write a value; called in a thread, or when the window closes.

        If changes by another program were merged, the next value to be written may lack them: its file is merged, too.
        """
        stored = self.kind.write(self.location, unsaved.value, self._stored)
        self._stored = replace(stored, value=unsaved.value, stamp=None) if stored.replaces else stored
        self._merged = (unsaved, stored) if stored.replaces else None
        return stored

    def _on_written(self, stored: Stored[Value] | None) -> None:
        """Show what the user should know; ``stored``: None if the value was written already."""
        if stored is None:
            return
        self._show_notes(stored)
        unsaved, merged = self._merged or (None, None)
        if merged is stored and unsaved is self._unsaved:  # else an edit since is merged when it is written
            self._stored = stored
            self.set(stored.value)

    def _show_notes(self, stored: Stored[Value]) -> None:
        if stored.notes:
            self.noted.emit("; ".join(stored.notes))

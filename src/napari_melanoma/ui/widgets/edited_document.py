"""Values of slides that users edit with undo, such as lesions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.session.history import History
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue

Value = TypeVar("Value")
HistoryStep = Literal["undo", "redo"]


@dataclass(frozen=True)
class DocumentState(Generic[Value]):
    """The value of one slide with its history, and the folder of its file if there is one."""

    identity: str
    history: History[Value]
    folder: Path = Path()


State = TypeVar("State", bound=DocumentState[Any])


class SlideDocument(QObject, Generic[State]):
    """The values of slides, with undo and redo; the methods change the value of the displayed slide."""

    changed = Signal(object)  # the displayed state; None until it was read
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
            return state if history is state.history else replace(state, history=history)

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

    def _submit(self, key: str, prepare: Callable[[], JobFunction | None], on_done: Callable[[Any], object]) -> None:
        """Run a function in the background; it replaces a pending function with the same key.

        ``on_done``: called with its result on the GUI thread.
        """

        def prepare_job() -> JobFunction | None:
            work = prepare()
            return None if work is None else lambda run: partial(on_done, work(run))

        self.queue.submit(key, prepare_job)


def _finish(done: Callable[[], object]) -> None:
    """Handle the result of a job in the GUI thread."""
    done()

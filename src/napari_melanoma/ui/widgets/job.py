"""The one place where threads meet Qt: a function off the GUI thread, and a queue in which the latest wish wins."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_melanoma.core.context import Cancelled, Progress, RunContext

JobFunction = Callable[[RunContext], Any]
PAUSE_MS = 2  # between two pieces: a key, a click and the picture have their turn
_running_jobs: set[BackgroundJob] = set()


class BackgroundJob(QObject):
    """One function running off the GUI thread; its signals arrive on the GUI thread.

    A job has no parent, so a dock that closes does not take it along, and it is kept alive until it has finished.
    """

    progressed = Signal(object)
    succeeded = Signal(object)
    failed = Signal(object)
    finished = Signal()
    _event = Signal(str, object)

    def __init__(self, function: JobFunction) -> None:
        super().__init__()
        self._function = function
        self._context = RunContext(self._report)
        # Queued by name: what the thread emits is delivered where this object lives, with both Qt bindings.
        self._event.connect(self._on_event, Qt.ConnectionType.QueuedConnection)

    def start(self) -> BackgroundJob:
        """Start the thread; call once."""
        _running_jobs.add(self)
        threading.Thread(target=self._run_function, name=f"melanoma-{id(self):x}", daemon=True).start()
        return self

    def cancel(self) -> None:
        """Ask the function to stop; from now on only ``finished`` is emitted."""
        self._context.cancel()

    def _report(self, progress: Progress) -> None:
        self._send("progressed", progress)

    def _send(self, kind: str, value: object) -> None:
        with suppress(RuntimeError):  # the application has ended, and Qt's part of this object with it
            self._event.emit(kind, value)

    def _run_function(self) -> None:
        try:
            self._send("succeeded", self._function(self._context))
        except Cancelled:
            pass
        except Exception as error:  # noqa: BLE001 - the one place that may catch all: it hands the error to a person
            self._send("failed", error)
        finally:
            self._send("finished", None)

    def _on_event(self, kind: str, value: object) -> None:
        if kind == "finished":
            _running_jobs.discard(self)
            self.finished.emit()
        elif not self._context.cancelled:
            getattr(self, kind).emit(value)


def count_running_jobs() -> int:
    """Count the jobs that have not finished.

    Zero where nothing runs in a thread.
    """
    return len(_running_jobs)


class LatestJobQueue(QObject):
    """Runs one function at a time; of several waiting under one key only the latest is run."""

    succeeded = Signal(object)
    failed = Signal(object)

    def __init__(self, parent: QObject, delay_ms: int = 0) -> None:
        super().__init__(parent)
        self._pending: dict[str, Callable[[], JobFunction | None]] = {}
        self._job: BackgroundJob | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(delay_ms)
        self._timer.timeout.connect(self._next)

    @property
    def busy(self) -> bool:
        """Whether something runs or waits."""
        return self._job is not None or bool(self._pending)

    def submit(self, key: str, prepare: Callable[[], JobFunction | None]) -> None:
        """Wish for a function; it replaces one of the same key that has not started."""
        self._pending.pop(key, None)
        self._pending[key] = prepare
        self._timer.start()

    def drop(self, key: str) -> None:
        """Forget a wish that has not started."""
        self._pending.pop(key, None)

    def _next(self) -> None:
        while self._job is None and self._pending:
            work = self._pending.pop(next(iter(self._pending)))()
            if work is not None:
                self._job = BackgroundJob(work)
                self._job.succeeded.connect(self.succeeded)
                self._job.failed.connect(self.failed)
                self._job.finished.connect(self._on_finished)
                self._job.start()

    def _on_finished(self) -> None:
        self._job = None
        self._next()


class GuiTaskQueue(QObject):
    """Does work that must be done on the GUI thread in small pieces, and lets Qt live between two of them."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._tasks: deque[Callable[[], None]] = deque()
        self._timer = QTimer(self)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._next)

    @property
    def busy(self) -> bool:
        """Whether pieces wait."""
        return bool(self._tasks)

    def add(self, *tasks: Callable[[], None]) -> None:
        """Append pieces; each is run in a turn of its own, in order."""
        self._tasks.extend(tasks)
        self._timer.start()

    def _next(self) -> None:
        if not self._tasks:
            self._timer.stop()
            return
        self._tasks.popleft()()

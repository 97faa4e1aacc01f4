"""Jobs that run functions off the GUI thread, queues of jobs and of GUI tasks, and the registry of all tasks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

from qtpy.compat import isalive
from qtpy.QtCore import QObject, Qt, QTimer, Signal, Slot

from napari_melanoma.core.context import Cancelled, RunContext

JobFunction = Callable[[RunContext], Any]
PAUSE_MS = 2  # between two tasks, for input events and painting
_running_jobs: dict[int, BackgroundJob] = {}  # on the GUI thread only


class TaskRegistry(QObject):
    """Objects with running or pending tasks: jobs, queues, timers and requests of all docks.

    A scope is an object with its children, such as a dock. ``idle``: emitted when the tasks of an object have ended, in
    a later turn of the event loop, so that the tasks that follow them are registered.
    """

    idle = Signal()
    _ended = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._owners: WeakKeyDictionary[QObject, ref[QObject]] = WeakKeyDictionary()
        self._connected: WeakSet[QObject] = WeakSet()
        self._ended.connect(self.idle, Qt.ConnectionType.QueuedConnection)

    def set_running(self, task: QObject, is_running: bool, owner: QObject | None = None) -> None:
        """Register the start or the end of a task, which belongs to ``owner``, by default to itself."""
        if is_running:
            if task not in self._connected:
                self._connected.add(task)
                task.destroyed.connect(self._on_destroyed)
            self._owners[task] = ref(task if owner is None else owner)
        elif self._owners.pop(task, None) is not None:
            self._ended.emit()

    def _on_destroyed(self) -> None:
        self._ended.emit()  # the pending task of an object that is deleted does not end otherwise

    def running(self, *scopes: QObject) -> list[str]:
        """Describe the objects with tasks in any of the scopes, by type and parent; without scopes, in all docks."""
        owners = (owner() for owner in self._owners.values())
        return [
            f"{type(owner).__name__} of {type(QObject.parent(owner)).__name__}"
            for owner in owners
            if owner is not None and isalive(owner) and (not scopes or _is_within(owner, scopes))
        ]

    def is_idle(self, *scopes: QObject) -> bool:
        """Return whether no task is running or pending in the scopes; without scopes, in any dock."""
        return not self.running(*scopes)


def _is_within(owner: QObject | None, scopes: tuple[QObject, ...]) -> bool:
    while owner is not None and owner not in scopes:
        owner = QObject.parent(owner)  # of item models, parent() is another method
    return owner is not None


tasks = TaskRegistry()


class _EventQueue(QObject):
    """Events of the job threads, delivered on the GUI thread in order, each in its own turn of the event loop.

    A job thread has no reference to its job: as the last reference, it would delete the Qt object while the GUI thread
    uses it. The thread emits one signal with one declared ``Slot``, since PySide6 may crash if another thread emits a
    signal that has other slots.
    """

    _posted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._events: SimpleQueue[tuple[int, str, object]] = SimpleQueue()
        self._posted.connect(self.deliver, Qt.ConnectionType.QueuedConnection)

    def post(self, number: int, kind: str, value: object) -> None:
        """Add an event of the job with this number; call on any thread."""
        self._events.put((number, kind, value))
        with suppress(RuntimeError):  # the application has ended and the Qt object is deleted
            self._posted.emit()

    @Slot()
    def deliver(self) -> None:
        """Deliver the next event to its job."""
        number, kind, value = self._events.get_nowait()
        job = _running_jobs[number]
        if kind == "finished":
            del _running_jobs[number]
        if isalive(job):
            job.on_event(kind, value)


_events = _EventQueue()


def _run_function(work: list[JobFunction], context: RunContext, post: Callable[[str, object], None]) -> None:
    """Run the only function of ``work``; ``pop`` releases the function before the end of the job is posted."""
    try:
        post("succeeded", work.pop()(context))
    except Cancelled:
        pass
    except Exception as error:  # noqa: BLE001 - the error is shown to the user
        post("failed", error)
    finally:
        post("finished", None)


class BackgroundJob(QObject):
    """Runs one function off the GUI thread; its signals are emitted on the GUI thread.

    A job has no parent, so it is not deleted with a dock, and it is kept alive until it has finished.
    """

    progressed = Signal(object)  # Progress
    succeeded = Signal(object)
    failed = Signal(object)  # Exception
    canceled = Signal()
    finished = Signal()

    def __init__(self, function: JobFunction) -> None:
        super().__init__()
        self.owner: QObject | None = None  # with ``key``, identifies what replaces the job
        self.key = ""
        self._function = function  # released on the GUI thread: it may hold Qt objects
        self._post = partial(_events.post, id(self))
        self._context = RunContext(partial(self._post, "progressed"))
        self._started_by: ref[QObject] | None = None

    def start(self, owner: QObject | None = None) -> BackgroundJob:
        """Start the thread as a task of ``owner``; call once.

        Nothing is emitted after the owner was deleted: lambdas that use it stay connected, unlike its methods.
        """
        self._started_by = None if owner is None else ref(owner)
        _running_jobs[id(self)] = self
        tasks.set_running(self, True, owner)
        arguments = ([self._function], self._context, self._post)
        threading.Thread(target=_run_function, args=arguments, name=f"melanoma-{id(self):x}", daemon=True).start()
        return self

    def cancel(self) -> None:
        """Request the function to stop; from now on only ``canceled``, and ``finished`` when it has, are emitted."""
        if not self._context.cancelled:  # a job that is ignored still leaves the worker alone
            self._context.cancel()
            self.canceled.emit()

    def ignore(self) -> None:
        """Like ``cancel``, but the worker is not killed, and keeps its models; its response is ignored."""
        self._context.ignore()
        self.canceled.emit()

    def on_event(self, kind: str, value: object) -> None:
        """Emit the signal for an event that the thread has posted; called on the GUI thread."""
        if kind == "finished":
            tasks.set_running(self, False)
        if self._is_orphaned():
            return
        if kind == "finished":
            self.finished.emit()
        elif not self._context.cancelled:
            getattr(self, kind).emit(value)

    def _is_orphaned(self) -> bool:
        owner = None if self._started_by is None else self._started_by()
        return self._started_by is not None and (owner is None or not isalive(owner))


def run_job(
    owner: QObject,
    key: str,
    work: JobFunction,
    done: Callable[[Any], object],
    failed: Callable[[Exception], object],
) -> BackgroundJob:
    """Run a function off the GUI thread until its owner is deleted; return its job.

    It replaces a running job of the owner with the same key. ``done`` or ``failed`` are called with the result or the
    error, but not after the job was canceled or replaced, or the owner was deleted.
    """
    for other in list(_running_jobs.values()):
        if other.owner is owner and other.key == key:
            other.cancel()
    job = BackgroundJob(work)
    job.owner, job.key = owner, key
    job.succeeded.connect(done)
    job.failed.connect(failed)
    owner.destroyed.connect(job.ignore)
    return job.start(owner)


def is_job_running(owner: QObject, key: str) -> bool:
    """Return whether a job of an owner runs, also one that was canceled and has not stopped yet."""
    return any(job.owner is owner and job.key == key for job in _running_jobs.values())


def cancel_jobs(owner: QObject) -> None:
    """Cancel the jobs of an object that is deleted next, and of its children."""
    for job in list(_running_jobs.values()):
        if job.owner is not None and isalive(job.owner) and _is_within(job.owner, (owner,)):
            job.cancel()


class LatestJobQueue(QObject):
    """Runs one function at a time; a newer one replaces a pending one with the same key.

    ``started``: with its key. ``idle``: nothing is running or pending any more.
    """

    progressed = Signal(object)  # Progress
    succeeded = Signal(object)
    failed = Signal(object)  # Exception
    started = Signal(str)
    idle = Signal()

    def __init__(self, parent: QObject, delay_ms: int = 0) -> None:
        super().__init__(parent)
        self._pending: dict[str, tuple[Callable[[], JobFunction | None], Callable[[Any], object] | None]] = {}
        self._job: BackgroundJob | None = None
        self._job_key = ""
        self._done: Callable[[Any], object] | None = None  # of the running job
        self._awaited: list[LatestJobQueue] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(delay_ms)
        self._timer.timeout.connect(self._next)

    @property
    def busy(self) -> bool:
        return self._job is not None or bool(self._pending)

    @property
    def is_running(self) -> bool:
        return self._job is not None

    def hurry(self) -> None:
        """Start the pending functions without the delay."""
        self._timer.stop()
        self._next()

    def submit(
        self, key: str, prepare: Callable[[], JobFunction | None], done: Callable[[Any], object] | None = None
    ) -> None:
        """Submit a function.

        ``prepare``: called on the GUI thread when it is its turn; returns the function, or None to skip it. Its error
        is emitted like one of the function. ``done``: called with its result; by default, ``succeeded`` is emitted.
        """
        self._pending.pop(key, None)
        self._pending[key] = prepare, done
        self._timer.start()
        self._update_registry()

    def wait_for(self, queue: LatestJobQueue) -> None:
        """Run nothing until another queue, which is busy, is idle."""
        self._awaited.append(queue)
        queue.idle.connect(self._next)

    def drop(self, key: str) -> None:
        """Remove a pending function."""
        self._pending.pop(key, None)
        self._update_registry()

    def stop(self, key: str) -> None:
        """Remove a pending function, or request it to stop if it is running; it emits nothing from now on."""
        self._pending.pop(key, None)
        if self._job is not None and self._job_key == key:
            self._job.cancel()
        self._update_registry()

    def has(self, key: str) -> bool:
        """Return whether a function with this key is running or pending."""
        return key in self._pending or (self._job is not None and self._job_key == key)

    def is_pending(self, key: str) -> bool:
        """Return whether a function with this key is pending; one that is running does not count."""
        return key in self._pending

    def cancel(self) -> None:
        """Remove all pending functions, and request the running one to stop; it emits nothing from now on."""
        self._pending.clear()
        if self._job is not None:
            self._job.cancel()
        self._update_registry()

    def ignore(self) -> None:
        """Like ``cancel``, but the worker keeps its models, and its response is ignored."""
        self._pending.clear()
        if self._job is not None:
            self._job.ignore()
        self._update_registry()

    def _next(self) -> None:
        self._awaited = [queue for queue in self._awaited if queue.busy]
        while self._job is None and self._pending and not self._awaited:
            self._job_key = next(iter(self._pending))
            prepare, self._done = self._pending.pop(self._job_key)
            try:
                work = prepare()
            except Exception as error:  # noqa: BLE001 - shown to the user; the pending functions are run
                work = None
                self.failed.emit(error)
            if work is not None:
                self._job = BackgroundJob(work)
                self._job.progressed.connect(self.progressed)
                self._job.succeeded.connect(self._on_succeeded)
                self._job.failed.connect(self.failed)
                self._job.finished.connect(self._on_finished)
                self.started.emit(self._job_key)
                self._job.start()
        self._update_registry()
        if not self.busy:
            self.idle.emit()

    def _on_succeeded(self, result: object) -> None:
        if self._done is None:
            self.succeeded.emit(result)
        else:
            self._done(result)

    def _on_finished(self) -> None:
        self._job = self._done = None
        self._next()

    def _update_registry(self) -> None:
        tasks.set_running(self, self.busy)


class GuiTaskQueue(QObject):
    """Runs small tasks on the GUI thread and processes events between them."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._tasks: deque[Callable[[], None]] = deque()
        self._timer = QTimer(self)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._next)

    def add(self, *functions: Callable[[], None]) -> None:
        """Append tasks; each runs in its own turn of the event loop, in order."""
        self._tasks.extend(functions)
        self._timer.start()
        tasks.set_running(self, bool(self._tasks))

    def clear(self) -> None:
        self._tasks.clear()
        tasks.set_running(self, False)

    def _next(self) -> None:
        if not self._tasks:
            self._timer.stop()
            return
        task = self._tasks.popleft()
        tasks.set_running(self, bool(self._tasks))
        task()

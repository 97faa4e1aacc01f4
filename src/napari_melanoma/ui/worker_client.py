"""The client of the worker process, which runs one function at a time and is killed to cancel it."""

from __future__ import annotations

import atexit
import itertools
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import IO, Any, TypeVar, TypeVarTuple

from qtpy.QtCore import QObject

from napari_melanoma.core.context import Cancelled, KeptArray, RunContext
from napari_melanoma.core.errors import WorkerTerminated
from napari_melanoma.core.plugins import Plugin, list_plugins
from napari_melanoma.ui.widgets.job import BackgroundJob
from napari_melanoma.worker import START

RUNNING, URGENT, NORMAL, LATE = range(4)  # priorities of calls
POLL_S = 0.1  # between checks of a waiting call for its cancellation
PIPE_BYTES = 1 << 20  # on Linux; 168 MB pass in 0.28 s instead of 0.38 s
Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class WorkerClient(QObject):
    """Keeps one child process, which runs one function at a time for the threads of the viewer.

    The child is killed to cancel a function, and started again when it is needed.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        super().__init__()
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None  # what the child writes to standard error
        self._plugins: Sequence[Plugin] = ()  # those that the child may load
        self._greeted: subprocess.Popen[bytes] | None = None  # the child of the last request
        self._kept: KeptArray | None = None  # by that child
        self._prepared: set[tuple[object, str]] = set()  # functions and models, by the child
        self._process_lock = threading.RLock()
        self._turns = threading.Condition()
        self._numbers = itertools.count()
        self._calls: list[list[int]] = []  # the running call and those that wait: priority, number
        self._closed = 0  # how often

    @property
    def pid(self) -> int | None:
        """Process ID of the child; None if there is none."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def ensure_started(self) -> None:
        """Start the child if it is not running, so that the first call is fast."""
        with suppress(OSError):  # reported by a call
            self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        from napari_melanoma.core.processes import NO_CONSOLE, python_command

        with self._process_lock:
            if self._process is not None and self._process.poll() is not None:
                self._end(self._process)  # it was idle
            if self._process is None:
                self._prepared.clear()
                self._plugins = list_plugins()
                errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
                try:
                    self._process = subprocess.Popen(
                        self._command or python_command(module="napari_melanoma.worker"),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=errors,
                        creationflags=NO_CONSOLE,
                    )
                except OSError:
                    errors.close()
                    raise
                self._errors = errors
                _enlarge_pipes(self._process)
            return self._process

    def call(
        self,
        run: RunContext,
        function: Callable[[*Arguments, RunContext], Result],
        *arguments: *Arguments,
        priority: int = NORMAL,
    ) -> Result:
        """Run a function of a module in the child, and return its result; call this in a thread.

        Arguments and result are pickled. ``run``: gets the progress; the child is killed if it is canceled.
        """
        result: Result = self._call(run, (function.__module__, function.__name__, arguments), priority)
        return result

    def request(
        self, function: Callable[[*Arguments, RunContext], Any], *arguments: *Arguments, priority: int = NORMAL
    ) -> BackgroundJob:
        return BackgroundJob(lambda run: self.call(run, function, *arguments, priority=priority)).start(self)

    def prepare(self, function: Callable[[str, RunContext], object], model: str) -> None:
        """Let the child open a model when no other call is waiting, unless it has done so."""
        self.ensure_started()
        if (function, model) not in self._prepared:
            self._prepared.add((function, model))
            self.request(function, model, priority=LATE)

    def close(self) -> None:
        """End the child; the client can be used again afterwards."""
        with self._process_lock:
            self._closed += 1
            if self._process is not None:
                self._end(self._process)
        with self._turns:
            self._turns.notify_all()

    def _call(self, run: RunContext, request: tuple[str, str, tuple[Any, ...]], priority: int) -> Any:  # noqa: ANN401
        closed = self._closed
        with self._turn(priority, lambda: self._check(run, closed)):
            with self._process_lock:
                self._check(run, closed)
                if self._process is not None and self._plugins is not list_plugins():
                    self._end(self._process)  # it does not find a plug-in that was confirmed since its start
                try:
                    process = self._start()
                except OSError as error:
                    raise WorkerTerminated(_describe_death(f"it cannot be started: {error}")) from error
            killed = threading.Event()

            def kill() -> None:
                killed.set()
                process.kill()

            try:
                with run.stopped_by(kill):
                    kind, value = self._exchange(process, request, run)
            except Exception as error:
                reason = self._end(process)
                self._check(run, closed)
                if isinstance(error, (OSError, EOFError, pickle.UnpicklingError)):
                    raise WorkerTerminated(_describe_death(reason)) from error
                raise
            if killed.is_set():  # after its answer; otherwise the next call would be sent to the dying child
                self._end(process)
            run.check()
            if kind == "failed":
                raise value
            return value

    def _exchange(
        self, process: subprocess.Popen[bytes], request: tuple[str, str, tuple[Any, ...]], run: RunContext
    ) -> tuple[str, Any]:
        """Send a request, report its progress, and return its last event."""
        assert process.stdin is not None
        assert process.stdout is not None
        if process is not self._greeted:
            _skip_to_start(process.stdout)
            self._greeted, self._kept = process, None
        module, name, arguments = request
        number = next(self._numbers)
        arrays = [one for one in arguments if isinstance(one, KeptArray)]
        sent = [
            replace(one, values=None) if isinstance(one, KeptArray) and one == self._kept else one for one in arguments
        ]
        pickle.dump((number, (module, name, tuple(sent))), process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
        self._kept = replace(arrays[-1], values=None) if arrays else self._kept
        while True:
            answered, kind, value = pickle.load(process.stdout)
            if answered != number:
                raise WorkerTerminated(_describe_death("it answered another request"))
            if kind != "progressed":
                return kind, value
            run.report(value)

    @contextmanager
    def _turn(self, priority: int, check: Callable[[], None]) -> Iterator[None]:
        """Wait until no other call is running and none with higher priority is waiting."""
        call = [priority, next(self._numbers)]
        try:
            with self._turns:
                self._calls.append(call)
                while call is not min(self._calls):
                    self._turns.wait(POLL_S)
                    check()
                call[0] = RUNNING
            yield
        finally:
            with self._turns:
                self._calls.remove(call)
                self._turns.notify_all()

    def _check(self, run: RunContext, closed: int) -> None:
        """Raise ``Cancelled`` if a call was canceled, or the client was closed since it was made."""
        run.check()
        if closed != self._closed:
            raise Cancelled

    def _end(self, process: subprocess.Popen[bytes]) -> str:
        """Kill a child if it is running; return why it ended."""
        with self._process_lock:
            with suppress(OSError), process:  # closes the pipes, and waits
                process.kill()
            lines = []
            if process is self._process and self._errors is not None:
                self._errors.seek(0)
                lines = self._errors.read().decode(errors="replace").splitlines()
                self._errors.close()
                self._process = self._errors = None
        last = f"; last message: {lines[-1]}" if lines else ""
        return f"exit code {process.returncode}{last}"


def _enlarge_pipes(process: subprocess.Popen[bytes]) -> None:
    """Let arrays pass in larger parts, on Linux, which refuses it if the user has many pipes."""
    if sys.platform == "linux":
        import fcntl

        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(OSError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _skip_to_start(events: IO[bytes]) -> None:
    """Skip what libraries printed before the worker redirected its output."""
    while (line := events.readline()) != START:
        if not line:
            raise EOFError


def _describe_death(reason: str) -> str:
    stopped = f"The model process stopped unexpectedly ({reason}). No data were changed."
    return f"{stopped} It restarts with the next request."


class _SharedWorker:
    """The client shared by all docks; it is deleted with the last user."""

    client: WorkerClient | None = None
    users = 0


def acquire_worker() -> WorkerClient:
    """Return the shared worker client and register a user, so that a model is loaded only once for all docks."""
    if _SharedWorker.client is None:
        _SharedWorker.client = WorkerClient()
        atexit.register(_end_worker)  # if a script ends with its window open, docks are deleted only after Qt's objects
    _SharedWorker.users += 1
    return _SharedWorker.client


def release_worker() -> None:
    """Unregister a user of the shared client; the process ends with the last user."""
    _SharedWorker.users = max(0, _SharedWorker.users - 1)
    if _SharedWorker.users == 0:
        _end_worker()


def _end_worker() -> None:
    """Stop the shared worker if it is running."""
    client, _SharedWorker.client, _SharedWorker.users = _SharedWorker.client, None, 0
    atexit.unregister(_end_worker)
    if client is not None:
        client.close()
        client.deleteLater()

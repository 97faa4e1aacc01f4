"""The client of the worker process, which processes one request at a time and is killed to cancel a request."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, QProcess, QTimer, Signal

from napari_melanoma.core import errors
from napari_melanoma.core.context import Progress
from napari_melanoma.core.files import temporary_prefix
from napari_melanoma.core.plugins import Plugin, list_plugins
from napari_melanoma.core.worker_requests import WorkerResult, format_request, parse_event
from napari_melanoma.ui.widgets.job import tasks

log = logging.getLogger(__name__)


class WorkerRequest(QObject):
    """A request to the worker, with the same signals as a ``BackgroundJob``."""

    progressed = Signal(object)  # Progress
    succeeded = Signal(object)
    failed = Signal(object)  # Exception
    finished = Signal()

    def __init__(self, client: WorkerClient, line: bytes, number: int) -> None:
        super().__init__()
        self.line = line
        self.number = number
        self._client = client

    def cancel(self) -> None:
        """Cancel the request; a worker that is processing it is killed."""
        self._client.cancel_request(self)

    def ignore(self) -> None:
        """Ignore the response: emit no more signals, and remove the request if it is waiting.

        Unlike ``cancel``, this does not kill the worker, which keeps its models.
        """
        self.blockSignals(True)
        self._client.drop_request(self)


class WorkerClient(QObject):
    """Keeps one child process, sends it one request at a time, kills it to cancel, and restarts it when needed."""

    restarting = Signal(str)  # why the child has ended

    def __init__(self, command: Sequence[str] | None = None) -> None:
        super().__init__()
        self._command = command
        self._pending: deque[WorkerRequest] = deque()
        self._preparations: deque[WorkerRequest] = deque()
        self._prepared: dict[str, str] = {}  # the model that the child has opened, by verb
        self._active: WorkerRequest | None = None
        self._count = 0
        self._error_lines = deque[str](maxlen=20)
        self._folder: Path | None = None
        self._plugins: Sequence[Plugin] = ()  # those that the child may load
        self._process = self._new_process()

    @property
    def folder(self) -> Path:
        """A temporary folder for arrays, removed with the client."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=temporary_prefix("worker")))
        return self._folder

    @property
    def pid(self) -> int | None:
        """Process ID of the child; None if there is none."""
        return int(self._process.processId()) or None

    def ensure_started(self) -> None:
        """Start the child if it is not running, so that the first request is fast."""
        if self._process.state() == QProcess.ProcessState.NotRunning:
            self._prepared.clear()
            self._plugins = list_plugins()
            program, *arguments = self._make_command()
            self._process.start(program, arguments)

    def _make_command(self) -> Sequence[str]:
        from napari_melanoma.core.processes import python_command

        # Not the command line, whose import takes 0.1 s
        return self._command or python_command(module="napari_melanoma.worker")

    def request(self, verb: str, **arguments: Any) -> WorkerRequest:  # noqa: ANN401 - JSON
        """Send a request; requests are processed one after the other."""
        request = self._make_request(verb, arguments)
        self._pending.append(request)
        QTimer.singleShot(0, self._next)
        return request

    def prepare(self, verb: str, model: str) -> None:
        """Let the child open a model with ``verb`` when no other request is waiting, unless it has done so."""
        self.ensure_started()
        if self._prepared.get(verb) != model:
            self._prepared[verb] = model
            self._preparations.append(self._make_request(verb, {"model": model}))
            QTimer.singleShot(0, self._next)

    def _make_request(self, verb: str, arguments: dict[str, Any]) -> WorkerRequest:
        self._count += 1
        return WorkerRequest(self, format_request(self._count, verb, arguments), self._count)

    def prioritize_request(self, request: WorkerRequest) -> None:
        """Process a request before the others that are waiting."""
        if request in self._pending:
            self._pending.remove(request)
            self._pending.appendleft(request)

    def drop_request(self, request: WorkerRequest) -> None:
        """Remove a request that is waiting."""
        if request in self._pending:
            self._pending.remove(request)

    def cancel_request(self, request: WorkerRequest) -> None:
        """Cancel a request; a child that is processing it is killed."""
        if request is self._active:
            self._active = None
            self._replace_process()
        elif request in self._pending:
            self._pending.remove(request)
        else:
            return
        request.finished.emit()
        self._next()

    def close(self) -> None:
        """End the child and remove the temporary folder; the client can be used again afterwards."""
        self._pending.clear()
        self._preparations.clear()
        self._active = None
        tasks.set_running(self, False)
        self._replace_process()
        for process in self.findChildren(QProcess):
            if process.state() != QProcess.ProcessState.NotRunning:
                process.waitForFinished(1000)  # takes a few ms after a kill; Qt warns if a running process is destroyed
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _new_process(self) -> QProcess:
        process = QProcess(self)
        process.readyReadStandardOutput.connect(self._on_output)
        process.readyReadStandardError.connect(self._on_error_output)
        process.errorOccurred.connect(self._on_error)
        process.finished.connect(self._on_exit)
        return process

    def _replace_process(self) -> None:
        """Kill the child without waiting; its remaining output must not be attributed to the next child."""
        old, self._process = self._process, self._new_process()
        for signal in (old.readyReadStandardOutput, old.readyReadStandardError, old.errorOccurred, old.finished):
            signal.disconnect()
        if old.state() == QProcess.ProcessState.NotRunning:
            old.deleteLater()
        else:
            old.finished.connect(old.deleteLater)
            old.kill()

    def _next(self) -> None:
        if self._active is None and (waiting := self._pending or self._preparations):
            self._active = waiting.popleft()
            self._error_lines.clear()
            if self._plugins is not list_plugins():  # the child does not find a plug-in that was confirmed since
                self._replace_process()
            self.ensure_started()
            self._process.write(self._active.line)
        tasks.set_running(self, self._active is not None)

    def _on_output(self) -> None:
        while self._process.canReadLine():
            self._on_line(bytes(self._process.readLine().data()))

    def _on_line(self, line: bytes) -> None:
        request = self._active
        event = None if request is None else parse_event(line, request.number)
        if request is None or event is None:
            return
        if isinstance(event, Progress):
            request.progressed.emit(event)
        elif isinstance(event, WorkerResult):
            self._end(request, "succeeded", event.value)
        else:
            self._end(request, "failed", event)

    def _end(self, request: WorkerRequest, kind: str, value: object) -> None:
        self._active = None
        getattr(request, kind).emit(value)
        request.finished.emit()
        self._next()

    def _on_error_output(self) -> None:
        for line in bytes(self._process.readAllStandardError().data()).decode(errors="replace").splitlines():
            self._error_lines.append(line)
            log.info("worker: %s", line)

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._on_death(f"it cannot be started: {self._process.errorString()} ({self._process.program()})")

    def _on_exit(self, code: int) -> None:
        self._on_output()
        last = f"; last message: {self._error_lines[-1]}" if self._error_lines else ""
        self._on_death(f"exit code {code}{last}")

    def _on_death(self, reason: str) -> None:
        if self._active is None:
            return  # idle: no request is affected
        message = f"The model process stopped unexpectedly ({reason}). No data were changed. "
        self.restarting.emit(reason)
        self._end(self._active, "failed", errors.WorkerTerminated(message + "It restarts with the next request."))


def remove_array(array: Path) -> None:
    """Remove an array if possible; the client removes its whole folder at the end."""
    with suppress(OSError):  # on Windows, a worker that was just killed may still hold the file
        array.unlink(missing_ok=True)


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

"""Follow the folder of a training or an analysis: its state, its progress, and buttons that control it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.style import WrappedLabel, enable, named

if TYPE_CHECKING:
    from napari_melanoma.core.run_folder import RunCommand, RunStatus

INTERVAL_MS = 500  # between two readings of a folder
STEPS = 1000  # of the progress bar
MIN_BUTTON_PX = 60
CANCELING = "canceling ..."
PENDING_TEXTS = {  # by command
    "pause": "pausing after this batch ...",
    "run": "continuing ...",
    "cancel": CANCELING,
    "resume": "resuming ...",
}
NO_RUN = "No run is shown"


@dataclass(frozen=True)
class RunSnapshot:
    """Result of reading a run folder once; ``events``: new events."""

    status: RunStatus
    events: Sequence[Mapping[str, Any]] = ()


class RunReader(Protocol):
    """Reads the new content of the folder ``path`` of a run; not thread-safe."""

    path: Path

    def read_new(self, run: RunContext, /) -> RunSnapshot:
        """Read what is new since the last call."""


class RunWatcher(QObject):
    """Read a run folder in a thread, repeatedly while the watcher is active and the run may change.

    ``expecting``: whether a command was sent that the run has not carried out yet.
    """

    snapshot_taken = Signal(object)  # RunSnapshot
    failed = Signal(object)  # the exception

    def __init__(self, parent: QObject, create_reader: Callable[[Path], RunReader]) -> None:
        super().__init__(parent)
        self._create_reader = create_reader
        self._reader: RunReader | None = None
        self.expecting = self._active = False
        self._readings = LatestJobQueue(self)
        self._readings.succeeded.connect(self._on_read)
        self._readings.failed.connect(self.failed)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self.refresh)

    @property
    def path(self) -> Path | None:
        return None if self._reader is None else self._reader.path

    @property
    def is_watching(self) -> bool:
        return self._active and (self._timer.isActive() or self._readings.busy)

    def set_run(self, path: Path | None) -> None:
        """Watch another folder, or read the same one from the start."""
        self._reader = None if path is None else self._create_reader(path)
        self.refresh()

    def set_active(self, active: bool) -> None:
        """Start or stop watching, for example when the view is shown or hidden."""
        self._active = active
        self.refresh()

    def refresh(self) -> None:
        """Read at once, for example to continue watching after an ended run was resumed."""
        self._timer.stop()
        if self._active and self._reader is not None:
            self._readings.submit("read", lambda: None if self._reader is None else partial(_read, self._reader))

    def _on_read(self, reader_and_snapshot: tuple[RunReader, RunSnapshot]) -> None:
        reader, snapshot = reader_and_snapshot
        if reader is not self._reader:
            return  # another run has been selected since
        self.snapshot_taken.emit(snapshot)
        if self._active and (self.expecting or snapshot.status.may_change):
            self._timer.start()


def _read(reader: RunReader, run: RunContext) -> tuple[RunReader, RunSnapshot]:
    return reader, reader.read_new(run)


class RunButtons(QWidget):
    """Pause or Continue, Cancel, Resume, Detach; a button is disabled until its command has been carried out.

    ``resume_point``: where a resumed run continues; ``kept``: what is kept of a canceled one; for the tooltips, which
    otherwise state why a button is disabled.
    """

    command_requested = Signal(str)  # "pause", "run" (continue), "cancel" or "resume"
    detached = Signal()

    def __init__(self, resume_point: str, kept: str) -> None:
        super().__init__()
        self._resume_point, self._kept = resume_point, kept
        self._status: RunStatus | None = None
        self._resume_obstacle = self._pending_command = ""
        self.pause = named(QPushButton("Pause"), "run_pause", "Pause")
        self.cancel = named(QPushButton("Cancel"), "run_cancel", "Cancel")
        self.resume = named(QPushButton("Resume"), "run_resume", "Resume")
        self.detach = named(QPushButton("Detach"), "run_detach", "Detach")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for button in (self.pause, self.cancel, self.resume, self.detach):
            button.setMinimumWidth(MIN_BUTTON_PX)  # Qt's default is wider, and four buttons would not fit
            layout.addWidget(button, 1)
        self.pause.clicked.connect(lambda: self._request("run" if self._state == "paused" else "pause"))
        self.cancel.clicked.connect(lambda: self._request("cancel"))
        self.resume.clicked.connect(lambda: self._request("resume"))
        self.detach.clicked.connect(self.detached)
        self._update_buttons()

    @property
    def pending_text(self) -> str:
        """Text of the command that the run has not carried out yet; empty if there is none."""
        return PENDING_TEXTS.get(self._pending_command, "")

    def show_status(self, status: RunStatus | None, resume_obstacle: str = "") -> None:
        """Show the state of a run; ``resume_obstacle``: why it cannot be resumed, empty if it can."""
        is_same = status is not None and self._status is not None and status.path == self._status.path
        self._status, self._resume_obstacle = status, resume_obstacle
        if not is_same or self._is_command_done():
            self._pending_command = ""
        self._update_buttons()

    def clear_pending(self) -> None:
        """Discard a command that could not be sent."""
        self._pending_command = ""
        self._update_buttons()

    @property
    def _state(self) -> str:
        return "" if self._status is None else str(self._status.state)

    @property
    def _is_active(self) -> bool:
        return self._status is not None and self._status.state.active

    def _is_command_done(self) -> bool:
        """Return whether the run has carried out the command, or can no longer do so."""
        if self._pending_command == "run":
            return self._state != "paused"
        if self._pending_command == "resume":
            return self._is_active
        expected = {"pause": "paused", "cancel": "cancelling"}.get(self._pending_command, "")
        return self._state == expected or not self._is_active

    def _request(self, command: str) -> None:
        self._pending_command = command
        self._update_buttons()
        self.command_requested.emit(command)

    def _update_buttons(self) -> None:
        state, active, pending = self._state, self._is_active, self._pending_command
        is_paused = state == "paused"
        reason = NO_RUN if not state else "The run is ending" if active else "The run has ended"
        if state in ("queued", "starting"):
            reason = "The run has not started yet"
        self.pause.setText("Continue" if is_paused or pending == "run" else "Pause")
        tip = "Continue with the next batch" if is_paused else "Pause the run after this batch; it keeps its memory"
        can_pause = state in ("running", "paused") and not pending
        enable(self.pause, tip, "" if can_pause else self.pending_text or reason)
        tip = f"End the run after this batch; {self._kept} are kept, and the run can be resumed"
        can_cancel = active and state != "cancelling" and pending != "cancel"
        blocker = "" if can_cancel else CANCELING if active else reason
        enable(self.cancel, "Leave the queue" if state == "queued" else tip, blocker)
        can_resume = self._status is not None and self._status.state.resumable
        reason = NO_RUN if not state else "The run has finished" if state == "finished" else "The run is active"
        reason = self.pending_text or self._resume_obstacle or reason
        can_resume = can_resume and not pending and not self._resume_obstacle
        enable(self.resume, f"Continue {self._resume_point}", "" if can_resume else reason)
        tip = "Hide this run; it continues in the background" if active else "Hide this run"
        enable(self.detach, tip, "" if state else NO_RUN)


class RunPanel(QWidget):
    """Follow a run, show its state, and send the user's commands; subclasses lay out the widgets.

    ``noun``: such as "run"; for accessible names. ``resume_point``, ``kept``: as of ``RunButtons``.
    """

    updated = Signal(object)  # RunSnapshot
    failed = Signal(object)  # the exception
    resume_requested = Signal()
    detached = Signal()

    def __init__(self, name: str, noun: str, resume_point: str, kept: str) -> None:
        super().__init__()
        named(self, name, noun.capitalize()).setToolTip("")
        self.status: Any = None  # RunStatus
        self.watch = RunWatcher(self, self._create_reader)
        self.state_label = named(WrappedLabel(), "run_state", f"State of the {noun}")
        self.state_label.setToolTip("")
        self.progress_bar = named(QProgressBar(), "run_progress", f"Progress of the {noun}")
        self.progress_bar.setTextVisible(False)
        self.progress_bar.setRange(0, STEPS)
        self.progress_bar.setFixedHeight(8)
        self.buttons = RunButtons(resume_point, kept)
        self._commands = LatestJobQueue(self)
        self._commands.failed.connect(self._on_command_failed)
        self.watch.snapshot_taken.connect(self._on_snapshot)
        self.watch.failed.connect(self.failed)
        self.buttons.command_requested.connect(self._on_command)
        self.buttons.detached.connect(self.detached)

    @property
    def active(self) -> bool:
        return self.status is not None and bool(self.status.state.active)

    def set_folder(self, folder: Path | None) -> None:
        """Follow the run in a folder, or the same run from the start; None for no run."""
        if folder is None or folder != self.watch.path:
            self.status = None
            self.buttons.show_status(None)
        self.watch.set_run(folder)

    def send_command(self, command: RunCommand, folder: Path) -> None:
        """Send a command, such as pause or cancel, to the run in a folder; it replaces a pending one to it."""
        self._commands.submit(str(folder), lambda: partial(self._write_command, folder, command))

    def clear_pending_command(self) -> None:
        """Clear the pending command, because it could not be sent."""
        self.buttons.clear_pending()
        self.watch.expecting = False
        self._show_state()

    def _create_reader(self, path: Path) -> RunReader:
        raise NotImplementedError

    def _write_command(self, folder: Path, command: RunCommand, run: RunContext) -> None:
        """Send a command; called in a thread."""
        raise NotImplementedError

    def _show_snapshot(self, snapshot: RunSnapshot) -> str:
        """Show what was read; return why the run cannot be resumed, empty if it can."""
        raise NotImplementedError

    def _describe(self) -> tuple[str, float]:
        """Return the state in words, and the completed share, from 0 to 1."""
        raise NotImplementedError

    def _on_snapshot(self, snapshot: RunSnapshot) -> None:
        self.status = snapshot.status
        self.buttons.show_status(snapshot.status, self._show_snapshot(snapshot))
        self.watch.expecting = bool(self.buttons.pending_text)
        self._show_state()
        self.updated.emit(snapshot)

    def _show_state(self) -> None:
        """Show the pending command, or the state of the run."""
        if self.status is not None:
            text, fraction = self._describe()
            text = self.buttons.pending_text or text
            self.state_label.setText(f"{text[:1].upper()}{text[1:]}")
            # No busy indicator: with software-rendered OpenGL each of its steps redraws the whole window.
            self.progress_bar.setValue(round(STEPS * fraction))

    def _on_command(self, command: str) -> None:
        self.watch.expecting = True
        self._show_state()
        if command == "resume":
            self.resume_requested.emit()
        elif self.watch.path is not None:
            self.send_command(command, self.watch.path)  # type: ignore[arg-type]
        self.watch.refresh()

    def _on_command_failed(self, error: Exception) -> None:
        self.clear_pending_command()
        self.failed.emit(error)

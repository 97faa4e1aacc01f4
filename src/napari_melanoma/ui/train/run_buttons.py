"""The buttons of a run: enabled by its state, with the reason where not, and an answer at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_melanoma.ui.train.run_text import STOPPING
from napari_melanoma.ui.widgets.style import named

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.core.run_state import RunState

PENDING_TEXT = {
    "pause": "pausing after this batch ...",
    "run": "going on ...",
    "cancel": STOPPING,
    "resume": "starting again ...",
}
BUTTON_PX = 60
NO_RUN = "No run is shown"
ENDED = "The run has ended"
NOT_STARTED = "The run has not begun to learn"
IS_ENDING = "The run is ending"


class RunLike(Protocol):
    """What the buttons need to know of a run, of whatever kind."""

    @property
    def path(self) -> Path:
        """Its folder."""

    @property
    def state(self) -> RunState:
        """Where it stands."""


class RunButtons(QWidget):
    """Pause or Continue, Cancel, Resume, Detach; a second click on any of them does nothing more."""

    command_requested = Signal(str)
    resume_requested = Signal()
    detached = Signal()

    def __init__(self, resume_point: str = "after the last finished epoch") -> None:
        super().__init__()
        self._resume_point = resume_point
        self._report: RunLike | None = None
        self._resume_obstacle = ""
        self._pending_command: str | None = None
        self.pause = named(QPushButton("Pause"), "run_pause", "Pause")
        self.cancel = named(QPushButton("Cancel"), "run_cancel", "Cancel")
        self.resume = named(QPushButton("Resume"), "run_resume", "Resume")
        self.detach = named(QPushButton("Detach"), "run_detach", "Detach")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for button in (self.pause, self.cancel, self.resume, self.detach):
            button.setMinimumWidth(BUTTON_PX)  # Qt's own is wider, and four would not fit
            layout.addWidget(button, 1)
        self.pause.clicked.connect(self._on_pause)
        self.cancel.clicked.connect(self._on_cancel)
        self.resume.clicked.connect(self._on_resume)
        self.detach.clicked.connect(self.detached)
        self._update_buttons()

    @property
    def pending_text(self) -> str:
        """What is said of a wish until the run has followed it; empty where there is none."""
        return PENDING_TEXT.get(self._pending_command or "", "")

    def show_report(self, report: RunLike | None, resume_obstacle: str = "") -> None:
        """Follow the state of a run; ``no_resume`` is why there is nothing to resume, empty where there is."""
        self._resume_obstacle = resume_obstacle
        same = report is not None and self._report is not None and report.path == self._report.path
        self._report = report
        if not same or (report is not None and self._is_command_done(report)):
            self._pending_command = None
        self._update_buttons()

    def clear_pending(self) -> None:
        """Let go of a wish that nobody heard."""
        self._pending_command = None
        self._update_buttons()

    def _is_command_done(self, report: RunLike) -> bool:
        """Say whether the run has followed the wish, or no longer can."""
        state = str(report.state)
        if self._pending_command == "pause":
            return state == "paused" or not report.state.active
        if self._pending_command == "run":
            return state != "paused"
        if self._pending_command == "cancel":
            return state == "cancelling" or not report.state.active
        return report.state.active

    def _update_buttons(self) -> None:
        state = "" if self._report is None else str(self._report.state)
        active = self._report is not None and self._report.state.active
        paused = state == "paused"
        self.pause.setText("Continue" if paused or self._pending_command == "run" else "Pause")
        why = NO_RUN if not state else ENDED if not active else IS_ENDING
        if state in ("queued", "starting"):
            why = NOT_STARTED
        does = "Go on with the next batch" if paused else "Hold the run after this batch; it keeps its memory"
        _set_button(
            self.pause, state in ("running", "paused") and self._pending_command is None, does, self.pending_text or why
        )
        cancellable = active and state != "cancelling" and self._pending_command != "cancel"
        does = "Leave the queue" if state == "queued" else "End after this batch; what is finished stays, and can go on"
        _set_button(self.cancel, cancellable, does, STOPPING if active else why)
        resumable = self._report is not None and self._report.state.resumable
        why = NO_RUN if not state else "Nothing is left to do" if state == "finished" else "The run is at work"
        does = f"Go on {self._resume_point}, as if nothing had happened"
        able = resumable and self._pending_command is None and not self._resume_obstacle
        _set_button(self.resume, able, does, self.pending_text or self._resume_obstacle or why)
        does = "Look away; the run goes on, and stays in the list of runs"
        _set_button(self.detach, bool(state), does if active else "Put it away; it stays in the list of runs", NO_RUN)

    def _on_pause(self) -> None:
        paused = self._report is not None and str(self._report.state) == "paused"
        self._request_command("run" if paused else "pause")

    def _on_cancel(self) -> None:
        self._request_command("cancel")

    def _request_command(self, wish: str) -> None:
        self._pending_command = wish
        self._update_buttons()
        self.command_requested.emit(wish)

    def _on_resume(self) -> None:
        self._pending_command = "resume"
        self._update_buttons()
        self.resume_requested.emit()


def _set_button(button: QPushButton, enabled: bool, does: str, why_not: str) -> None:
    """Enable a button and say what it does, or why it cannot."""
    button.setEnabled(enabled)
    button.setToolTip(does if enabled else why_not)

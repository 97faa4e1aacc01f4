"""The buttons that control a training run or an analysis; tooltips state why a button is disabled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_melanoma.ui.widgets.style import named

if TYPE_CHECKING:
    from napari_melanoma.core.run_folder import RunStatus

CANCELING = "canceling ..."
PENDING_TEXTS = {  # by command
    "pause": "pausing after this batch ...",
    "run": "continuing ...",
    "cancel": CANCELING,
    "resume": "resuming ...",
}
MIN_BUTTON_PX = 60
NO_RUN = "No run is shown"
ENDED = "The run has ended"
NOT_STARTED = "The run has not started yet"
IS_ENDING = "The run is ending"


class RunButtons(QWidget):
    """Pause or Continue, Cancel, Resume, Detach; a button is disabled until its command has been carried out.

    ``resume_point``: where a resumed run continues; ``kept``: what is kept of a canceled one; for the tooltips.
    """

    command_requested = Signal(str)  # "pause", "run" (continue) or "cancel"
    resume_requested = Signal()
    detached = Signal()

    def __init__(self, resume_point: str = "at the last checkpoint", kept: str = "all finished steps") -> None:
        super().__init__()
        self._resume_point, self._kept = resume_point, kept
        self._status: RunStatus | None = None
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
            button.setMinimumWidth(MIN_BUTTON_PX)  # Qt's default is wider, and four buttons would not fit
            layout.addWidget(button, 1)
        self.pause.clicked.connect(self._on_pause)
        self.cancel.clicked.connect(self._on_cancel)
        self.resume.clicked.connect(self._on_resume)
        self.detach.clicked.connect(self.detached)
        self._update_buttons()

    @property
    def pending_text(self) -> str:
        """Text of the command that the run has not carried out yet; empty if there is none."""
        return PENDING_TEXTS.get(self._pending_command or "", "")

    def show_status(self, status: RunStatus | None, resume_obstacle: str = "") -> None:
        """Show the state of a run; ``resume_obstacle``: why it cannot be resumed, empty if it can."""
        self._resume_obstacle = resume_obstacle
        same = status is not None and self._status is not None and status.path == self._status.path
        self._status = status
        if not same or (status is not None and self._is_command_done(status)):
            self._pending_command = None
        self._update_buttons()

    def clear_pending(self) -> None:
        """Discard a command that could not be sent."""
        self._pending_command = None
        self._update_buttons()

    def _is_command_done(self, status: RunStatus) -> bool:
        """Return whether the run has carried out the command, or can no longer do so."""
        state = str(status.state)
        if self._pending_command == "pause":
            return state == "paused" or not status.state.active
        if self._pending_command == "run":
            return state != "paused"
        if self._pending_command == "cancel":
            return state == "cancelling" or not status.state.active
        return status.state.active

    def _update_buttons(self) -> None:
        state = "" if self._status is None else str(self._status.state)
        active = self._status is not None and self._status.state.active
        paused = state == "paused"
        self.pause.setText("Continue" if paused or self._pending_command == "run" else "Pause")
        reason = NO_RUN if not state else ENDED if not active else IS_ENDING
        if state in ("queued", "starting"):
            reason = NOT_STARTED
        tip = "Continue with the next batch" if paused else "Pause the run after this batch; it keeps its memory"
        can_pause = state in ("running", "paused") and self._pending_command is None
        _set_button(self.pause, can_pause, tip, self.pending_text or reason)
        can_cancel = active and state != "cancelling" and self._pending_command != "cancel"
        tip = (
            "Leave the queue"
            if state == "queued"
            else f"End the run after this batch; {self._kept} are kept, and the run can be resumed"
        )
        _set_button(self.cancel, can_cancel, tip, CANCELING if active else reason)
        resumable = self._status is not None and self._status.state.resumable
        reason = NO_RUN if not state else "The run has finished" if state == "finished" else "The run is active"
        tip = f"Continue {self._resume_point}"
        can_resume = resumable and self._pending_command is None and not self._resume_obstacle
        _set_button(self.resume, can_resume, tip, self.pending_text or self._resume_obstacle or reason)
        tip = "Hide this run; it continues in the background" if active else "Hide this run"
        _set_button(self.detach, bool(state), tip, NO_RUN)

    def _on_pause(self) -> None:
        paused = self._status is not None and str(self._status.state) == "paused"
        self._request_command("run" if paused else "pause")

    def _on_cancel(self) -> None:
        self._request_command("cancel")

    def _request_command(self, command: str) -> None:
        self._pending_command = command
        self._update_buttons()
        self.command_requested.emit(command)

    def _on_resume(self) -> None:
        self._pending_command = "resume"
        self._update_buttons()
        self.resume_requested.emit()


def _set_button(button: QPushButton, enabled: bool, tip: str, reason: str) -> None:
    """Enable or disable a button; the tooltip is its action, or the reason why it is disabled."""
    button.setEnabled(enabled)
    button.setToolTip(tip if enabled else reason)

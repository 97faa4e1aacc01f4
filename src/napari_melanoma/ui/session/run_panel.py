"""The panel that follows an analysis of a slide: its state, its progress, and buttons for commands."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QProgressBar, QWidget

from napari_melanoma.ui.session.run_status import (
    SlideRunReader,
    SlideRunUpdate,
    describe_progress,
    find_resume_blocker,
    needs_run_panel,
)
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.run_buttons import RunButtons
from napari_melanoma.ui.widgets.run_watch import RunWatcher
from napari_melanoma.ui.widgets.style import WrappedLabel, fill_column, named

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import RunCommand
    from napari_melanoma.slides.background_runs import SlideRunStatus

STEPS = 1000  # of the progress bar


class SlideRunPanel(QWidget):
    """Follow an analysis, show its state until it has finished with results, and emit the user's commands.

    ``updated``: a ``SlideRunUpdate``. ``failed``: the exception.
    """

    resume_requested = Signal()
    detached = Signal()
    updated = Signal(object)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        named(self, "slide_run", "Analysis").setToolTip("")
        self.status: SlideRunStatus | None = None
        self._target = ""
        self.watch = RunWatcher(self, self._create_reader)
        self._commands = LatestJobQueue(self)
        self._status_label = named(WrappedLabel(lines=2), "run_state", "State of the analysis")
        self._status_label.setToolTip("")
        self._progress_bar = named(QProgressBar(), "run_progress", "Progress of the analysis")
        self._progress_bar.setTextVisible(False)
        self._progress_bar.setRange(0, STEPS)
        self._progress_bar.setFixedHeight(8)
        self.buttons = RunButtons("where it stopped; finished tiles are not repeated", "finished tiles")
        fill_column(self, self._status_label, self._progress_bar, self.buttons)
        self.watch.snapshot_taken.connect(self._on_update)
        self.watch.failed.connect(self.failed)
        self._commands.failed.connect(self.failed)
        self.buttons.command_requested.connect(self._on_command_requested)
        self.buttons.resume_requested.connect(self._on_resume)
        self.buttons.detached.connect(self.detached)
        self.hide()

    @property
    def active(self) -> bool:
        """Whether the analysis is running."""
        return self.status is not None and bool(self.status.state.active)

    def set_folder(self, folder: Path | None, target: str = "") -> None:
        """Follow the analysis in a folder; None stops and hides the panel. ``target``: class whose heatmap is read."""
        if folder is None or folder != self.watch.path:
            self.status = None
            self.buttons.show_status(None)
            self.hide()
            self._target = target
        self.watch.set_active(False)
        self.watch.set_run(folder)
        self.watch.set_active(folder is not None)

    def set_target(self, target: str) -> None:
        """Set the class whose heatmap is read."""
        self._target = target
        self.watch.refresh()

    def send_command(self, command: RunCommand, folder: Path) -> None:
        """Send a command, such as pause or cancel, to the analysis in a folder; it replaces a pending one to it."""
        self._commands.submit(str(folder), lambda: partial(_send_command, folder, command))

    def clear_pending_command(self) -> None:
        """Clear the pending command, because it could not be sent."""
        self.buttons.clear_pending()
        self.watch.expecting = False

    def _create_reader(self, path: Path) -> SlideRunReader:
        return SlideRunReader(path, lambda: self._target)

    def _on_update(self, update: SlideRunUpdate) -> None:
        self.status = status = update.status
        self.buttons.show_status(status, find_resume_blocker(status))
        self.watch.expecting = bool(self.buttons.pending_text)
        self.setVisible(needs_run_panel(update))
        self._status_label.setText(self.buttons.pending_text.capitalize() or describe_progress(status))
        # No busy indicator: with software-rendered OpenGL each of its steps redraws the whole window.
        self._progress_bar.setValue(round(STEPS * (status.fraction or 0)))
        self.updated.emit(update)

    def _on_command_requested(self, command: RunCommand) -> None:
        self._status_label.setText(self.buttons.pending_text.capitalize())
        if self.watch.path is not None:
            self.watch.expecting = True
            self.send_command(command, self.watch.path)

    def _on_resume(self) -> None:
        self._status_label.setText(self.buttons.pending_text.capitalize())
        self.watch.expecting = True
        self.resume_requested.emit()


def _send_command(folder: Path, command: RunCommand, run: RunContext) -> None:
    from napari_melanoma.core.processes import send_command
    from napari_melanoma.slides.background_runs import cancel_slide

    if command == "cancel":
        cancel_slide(folder)
    else:
        send_command(folder, command)

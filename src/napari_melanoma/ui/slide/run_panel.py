"""The panel that follows a running analysis: state, progress bar, and buttons to pause, cancel and resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from napari_melanoma.ui.slide.run_status import (
    SlideRunReader,
    SlideRunUpdate,
    describe_progress,
    find_resume_blocker,
    is_running,
    needs_run_panel,
)
from napari_melanoma.ui.train.run_buttons import RunButtons
from napari_melanoma.ui.train.run_watch import RunWatcher
from napari_melanoma.ui.widgets.style import WrappedLabel, named

if TYPE_CHECKING:
    from napari_melanoma.ui.slide.run_status import SlideRunReport

STEPS = 1000  # of the progress bar


class SlideRunPanel(QWidget):
    """Show the state of a running analysis while it is visible, and emit the user's commands."""

    command_requested = Signal(str)
    resume_requested = Signal()
    detached = Signal()
    updated = Signal(object)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        named(self, "slide_run", "Analysis").setToolTip("")
        self.run_status: SlideRunReport | None = None
        self._target = ""
        self.watch = RunWatcher(self, self._create_reader, is_running)
        self._status_label = named(WrappedLabel(), "run_state", "State of the analysis")
        self._status_label.setToolTip("")
        self._progress_bar = named(QProgressBar(), "run_progress", "Progress of the analysis")
        self._progress_bar.setTextVisible(False)
        self._progress_bar.setRange(0, STEPS)
        self._progress_bar.setFixedHeight(8)
        self.buttons = RunButtons("where it stopped; finished tiles are not repeated")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self._status_label, self._progress_bar, self.buttons):
            layout.addWidget(widget)
        self.watch.snapshot_taken.connect(self._on_update)
        self.watch.failed.connect(self.failed)
        self.buttons.command_requested.connect(self._on_command_requested)
        self.buttons.resume_requested.connect(self._on_resume)
        self.buttons.detached.connect(self.detached)
        self.hide()

    @property
    def busy(self) -> bool:
        """Whether the state is being read."""
        return self.watch.busy

    @property
    def active(self) -> bool:
        """Whether the analysis is running."""
        return self.run_status is not None and bool(self.run_status.state.active)

    def set_folder(self, folder: Path | None) -> None:
        """Follow another folder, or the same one from the start."""
        if folder is None or folder != self.watch.path:
            self.run_status = None
            self.buttons.show_report(None)
            self.hide()
            self._target = ""
        self.watch.set_active(False)
        self.watch.set_run(folder)
        self.watch.set_active(folder is not None)

    def set_target(self, target: str) -> None:
        """Read the heatmap of another class."""
        self._target = target
        self.watch.refresh()

    def clear_pending_command(self) -> None:
        """Clear the pending command, because it could not be sent."""
        self.buttons.clear_pending()
        self.watch.expecting = False

    def _create_reader(self, path: Path) -> SlideRunReader:
        return SlideRunReader(path, lambda: self._target)

    def _on_update(self, update: SlideRunUpdate) -> None:
        self.run_status = update.report
        run = update.report.run
        self.buttons.show_report(update.report, find_resume_blocker(run))
        self.watch.expecting = bool(self.buttons.pending_text)
        self.setVisible(needs_run_panel(update))
        self._status_label.setText(self.buttons.pending_text.capitalize() or describe_progress(run))
        # No busy indicator: with software-rendered OpenGL each of its steps redraws the whole window.
        self._progress_bar.setValue(round(STEPS * (run.fraction or 0)))
        self.updated.emit(update)

    def _on_command_requested(self, command: str) -> None:
        self._status_label.setText(self.buttons.pending_text.capitalize())
        self.watch.expecting = True
        self.command_requested.emit(command)

    def _on_resume(self) -> None:
        self._status_label.setText(self.buttons.pending_text.capitalize())
        self.watch.expecting = True
        self.resume_requested.emit()

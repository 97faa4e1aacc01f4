"""The list of training runs in the Train dock."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QFile, QItemSelectionModel, Qt, QTimer, Signal
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QFrame, QListWidget, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import RunError
from napari_melanoma.ui.train.run_text import describe_result, describe_state, describe_state_briefly
from napari_melanoma.ui.widgets.dialogs import confirm
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.style import ThemedIcons, named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.runs.launching import RunReport

INTERVAL_MS = 2000  # between two readings
MAX_VISIBLE_ROWS = 5
STATE_MARKS = {"running": "●", "starting": "●", "cancelling": "●", "paused": "‖", "queued": "…", "finished": "✓"}
ENDED_MARK = "✕"
NO_RUNS = "No runs yet. Runs that you start are listed here, also after napari was closed."


class RunList(QWidget):
    """List of the runs in a folder, the newest first, which is updated while it is visible.

    ``folder``: None for the default folder of runs.
    """

    chosen = Signal(object)  # Path of the run to show
    resume_requested = Signal(object)  # Path of the run
    removed = Signal(object)  # Path of the run
    listed = Signal(object)  # list of RunReport
    failed = Signal(object)  # the exception

    def __init__(self, icons: ThemedIcons, folder: Path | None = None) -> None:
        super().__init__()
        named(self, "runs_list", "Runs").setToolTip("")
        self._folder = folder
        self._readings, self._removals = LatestJobQueue(self), LatestJobQueue(self)
        self._readings.succeeded.connect(self._on_listed)
        self._removals.succeeded.connect(self.removed)
        self._removals.idle.connect(self.refresh)
        for queue in (self._readings, self._removals):
            queue.failed.connect(self.failed)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self.refresh)
        self.reports: list[RunReport] = []  # in the order of the rows
        self.view = named(QListWidget(), "runs", "Runs, the newest first")
        self.view.setToolTip("")
        self.view.setFrameShape(QFrame.Shape.NoFrame)
        self.view.setVerticalScrollMode(QListWidget.ScrollMode.ScrollPerPixel)
        self.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)  # texts are elided
        self._empty = quiet_label(NO_RUNS)
        self.show_button = named(QPushButton("Show"), "runs_look", "Show")
        self.resume_button = named(QPushButton("Resume"), "runs_resume", "Resume")
        self.remove_button = tool_button("runs_remove", "Remove the run")
        icons.add(self.remove_button, "delete")
        self._buttons = row(self.show_button, self.resume_button, self.remove_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self._empty, self.view, self._buttons):
            layout.addWidget(widget)
        self.view.doubleClicked.connect(self._on_show)
        self.view.itemSelectionChanged.connect(self._update_buttons)
        self.show_button.clicked.connect(self._on_show)
        self.resume_button.clicked.connect(self._on_resume)
        self.remove_button.clicked.connect(self._on_remove)
        self._show([])

    @property
    def selected(self) -> RunReport | None:
        selected = self.view.selectedItems()
        return self.reports[self.view.row(selected[0])] if selected else None

    def select(self, path: Path | None) -> None:
        rows = [row for row, report in enumerate(self.reports) if report.path == path]
        if rows:
            # Also if it is current without being selected, as the first row of a list that gets the focus.
            self.view.setCurrentRow(rows[0], QItemSelectionModel.SelectionFlag.ClearAndSelect)
        else:
            self.view.clearSelection()

    def refresh(self) -> None:
        """Read the list again in a thread."""
        self._timer.stop()
        self._readings.submit("list", lambda: partial(_list_runs, self._folder))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Start updating the list."""
        super().showEvent(event)
        self.refresh()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Stop updating the list."""
        super().hideEvent(event)
        self._timer.stop()

    def _on_listed(self, reports: list[RunReport]) -> None:
        self._show(reports)
        if self.isVisible():
            self._timer.start()
        self.listed.emit(reports)

    def _show(self, reports: list[RunReport]) -> None:
        selected = self.selected
        if [report.path for report in reports] != [report.path for report in self.reports]:
            self.view.clear()
            self.view.addItems([report.name for report in reports])
        self.reports = reports
        for row_number, report in enumerate(reports):
            state, result, item = describe_state(report), describe_result(report), self.view.item(row_number)
            mark = STATE_MARKS.get(str(report.state), ENDED_MARK)
            item.setText(f"{mark} {report.name} · {describe_state_briefly(report)}\n{result}")
            item.setToolTip(f"{state}\n{report.message}\n{report.path}")
            item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{report.name}, {state}, {result}")
        self.select(None if selected is None else selected.path)
        self._empty.setVisible(not reports)
        self.view.setVisible(bool(reports))
        self._buttons.setVisible(bool(reports))
        if reports:
            self.view.setFixedHeight(min(MAX_VISIBLE_ROWS, len(reports)) * self.view.sizeHintForRow(0) + 2)
        self._update_buttons()

    def _update_buttons(self) -> None:
        """Enable the buttons that are possible for the selected run; tooltips state why others are disabled."""
        report = self.selected
        no_selection = "Select a run first"
        active = report is not None and report.state.active
        resumable = report is not None and report.state.resumable
        obstacle = "The run is active" if active else "The run has finished"
        kept = "The run is active: cancel it first" if active else "A run is being removed"
        for button, possible, tip, reason in (
            (self.show_button, report is not None, "Show this run (double click)", no_selection),
            (
                self.resume_button,
                resumable,
                "Continue at the last checkpoint",
                obstacle if report else no_selection,
            ),
            (
                self.remove_button,
                report is not None and not active and not self._removals.busy,
                "Move the folder of this run to the trash",
                kept if report else no_selection,
            ),
        ):
            button.setEnabled(possible)
            button.setToolTip(tip if possible else reason)

    def _on_show(self, _: object = None) -> None:
        if self.selected is not None:
            self.chosen.emit(self.selected.path)

    def _on_resume(self) -> None:
        if self.selected is not None and self.selected.state.resumable:
            self.resume_requested.emit(self.selected.path)

    def _on_remove(self) -> None:
        report = self.selected
        if report is None:
            return
        details = f"Its checkpoints, curves and log are moved to the trash: {report.path}"
        if report.activated_as is not None:
            details += f"\nThe model {report.activated_as}, which is in use, is kept."
        elif report.bundle is not None:
            details += "\nIts model, which is not in use, is moved to the trash, too."
        question = f"Remove the run '{report.name}'?"
        if confirm(self, "remove_run", question, details, "Remove", "Runs"):
            self._removals.submit(str(report.path), lambda: partial(_remove, report.path))
            self._update_buttons()


def _list_runs(folder: Path | None, run: RunContext) -> list[RunReport]:
    from napari_melanoma.runs.launching import list_runs

    return list_runs(folder)


def _remove(path: Path, run: RunContext) -> Path:
    """Move a run folder to the trash, unless the run is active; it may have been resumed since the confirmation."""
    from napari_melanoma.core.processes import wait_until_ended

    if not wait_until_ended(path):
        raise RunError(f"{path.name} is active. Cancel it first, then remove it.")
    if path.exists() and not QFile(str(path)).moveToTrash():
        raise RunError(f"{path.name} could not be moved to the trash. Remove the folder yourself: {path}")
    return path

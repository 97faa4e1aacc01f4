"""The list of training runs in the Train dock, with its model and delegate."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import (
    QAbstractListModel,
    QFile,
    QItemSelection,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QSize,
    Qt,
    QTimer,
    Signal,
)
from qtpy.QtGui import QColor, QFont, QHideEvent, QPainter, QShowEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QFrame,
    QListView,
    QMessageBox,
    QPushButton,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.core.errors import RunError
from napari_melanoma.ui.train.run_text import describe_result, describe_state, describe_state_briefly
from napari_melanoma.ui.widgets.dialogs import create_question
from napari_melanoma.ui.widgets.job import BackgroundJob
from napari_melanoma.ui.widgets.style import ThemedIcons, elide, named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.runs.launching import RunReport

INTERVAL_MS = 2000
REFRESH_FACTOR = 10  # ratio of the pause between two readings to the time that reading took
MAX_VISIBLE_ROWS = 5
AnyIndex = QModelIndex | QPersistentModelIndex
MARGIN, GAP = 5, 8  # in pixels
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
        self._reading: BackgroundJob | None = None
        self._removing: BackgroundJob | None = None
        self._refresh_pending = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self.refresh)
        self.view = named(QListView(), "runs", "Runs, the newest first")
        self.view.setToolTip("")
        self.view.setFrameShape(QFrame.Shape.NoFrame)
        self.view.setMouseTracking(True)
        self.view.setUniformItemSizes(True)
        self.view.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self._model = RunListModel(self.view)
        self.view.setModel(self._model)
        self.view.setItemDelegate(RunDelegate(icons, self.view))
        self._empty = quiet_label(NO_RUNS)
        self.show_button = named(QPushButton("Show"), "runs_look", "Show")
        self.resume_button = named(QPushButton("Resume"), "runs_resume", "Resume")
        self.remove_button = tool_button("runs_remove", "Remove the run")
        icons.add(self.remove_button, "delete")
        icons.changed.connect(self.view.viewport().update)
        self._buttons = row(self.show_button, self.resume_button, self.remove_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self._empty, self.view, self._buttons):
            layout.addWidget(widget)
        self.view.doubleClicked.connect(self._on_show)
        self.view.selectionModel().selectionChanged.connect(self._on_selected)
        self._model.dataChanged.connect(self._update_buttons)
        self.show_button.clicked.connect(self._on_show)
        self.resume_button.clicked.connect(self._on_resume)
        self.remove_button.clicked.connect(self._on_remove)
        self._show([])

    @property
    def reports(self) -> list[RunReport]:
        return list(self._model.reports)

    @property
    def selected(self) -> RunReport | None:
        index = self.view.currentIndex()
        is_selected = index.isValid() and self.view.selectionModel().isSelected(index)
        return self._model.reports[index.row()] if is_selected else None

    def select(self, path: Path | None) -> None:
        row_number = None if path is None else self._model.find_row(path)
        if row_number is None:
            self.view.clearSelection()
        else:
            self.view.setCurrentIndex(self._model.index(row_number))

    def refresh(self) -> None:
        """Read the list again in a thread."""
        if self._reading is not None:
            self._refresh_pending = True
            return
        self._refresh_pending = False
        self._timer.stop()
        self._reading = BackgroundJob(partial(_list_runs_timed, self._folder))
        self._reading.succeeded.connect(self._on_listed)
        self._reading.failed.connect(self.failed)
        self._reading.finished.connect(self._on_read)
        self._reading.start(self)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Start updating the list."""
        super().showEvent(event)
        self.refresh()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Stop updating the list."""
        super().hideEvent(event)
        self._timer.stop()

    def _on_listed(self, reports_and_time: tuple[list[RunReport], float]) -> None:
        reports, seconds = reports_and_time
        self._show(reports)
        self._timer.setInterval(max(INTERVAL_MS, round(1000 * REFRESH_FACTOR * seconds)))
        self.listed.emit(reports)

    def _on_read(self) -> None:
        self._reading = None
        if self._refresh_pending:
            self.refresh()
        elif self.isVisible():
            self._timer.start()

    def _show(self, reports: list[RunReport]) -> None:
        selected = self.selected
        self._model.set_reports(reports)
        self.select(None if selected is None else selected.path)
        self._empty.setVisible(not reports)
        self.view.setVisible(bool(reports))
        self._buttons.setVisible(bool(reports))
        if reports:
            self.view.setFixedHeight(min(MAX_VISIBLE_ROWS, len(reports)) * self.view.sizeHintForRow(0) + 2)
        self._update_buttons()

    def _on_selected(self, selected: QItemSelection, deselected: QItemSelection) -> None:
        self._update_buttons()

    def _update_buttons(self) -> None:
        """Enable the buttons that are possible for the selected run; tooltips state why others are disabled."""
        report = self.selected
        no_selection = "Select a run first"
        active = report is not None and report.state.active
        resumable = report is not None and report.state.resumable
        obstacle = "The run is active" if active else "The run has finished"
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
                report is not None and not active and self._removing is None,
                "Move the folder of this run to the trash",
                "The run is active: cancel it first" if active else no_selection,
            ),
        ):
            button.setEnabled(possible)
            button.setToolTip(tip if possible else reason)

    def _on_show(self, index: QModelIndex | None = None) -> None:
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
        box = create_question(self, "remove_run", f"Remove the run '{report.name}'?", details)
        box.setWindowTitle("Runs")
        box.addButton("Remove", QMessageBox.ButtonRole.DestructiveRole).setObjectName("remove")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.buttonClicked.connect(partial(self._on_remove_confirmed, report.path))
        box.finished.connect(box.deleteLater)
        box.open()

    def _on_remove_confirmed(self, path: Path, button: QAbstractButton) -> None:
        if button.objectName() != "remove" or self._removing is not None:
            return
        self._removing = BackgroundJob(partial(_remove, path))
        self._removing.succeeded.connect(self.removed)
        self._removing.failed.connect(self.failed)
        self._removing.finished.connect(self._on_removed)
        self._removing.start(self)
        self._update_buttons()

    def _on_removed(self) -> None:
        self._removing = None
        self.refresh()


def _list_runs_timed(folder: Path | None, run: RunContext) -> tuple[list[RunReport], float]:
    """Read the list of runs; return it with the number of seconds that reading took."""
    from napari_melanoma.runs.launching import list_runs

    started = time.monotonic()
    return list_runs(folder), time.monotonic() - started


def _remove(path: Path, run: RunContext) -> Path:
    """Move a run folder to the trash, unless the run is active; it may have been resumed since the confirmation."""
    from napari_melanoma.core.processes import wait_until_ended

    if not wait_until_ended(path):
        raise RunError(f"{path.name} is active. Cancel it first, then remove it.")
    if path.exists() and not QFile(str(path)).moveToTrash():
        raise RunError(f"{path.name} could not be moved to the trash. Remove the folder yourself: {path}")
    return path


class RunListModel(QAbstractListModel):
    """List model of the reports of all runs, the newest first."""

    def __init__(self, parent: QListView) -> None:
        super().__init__(parent)
        self.reports: list[RunReport] = []

    def set_reports(self, reports: list[RunReport]) -> None:
        """Replace the reports; if the runs are the same, only changed rows are updated."""
        if [report.path for report in reports] != [report.path for report in self.reports]:
            self.beginResetModel()
            self.reports = reports
            self.endResetModel()
            return
        previous, self.reports = self.reports, reports
        for index, (old, new) in enumerate(zip(previous, reports, strict=True)):
            if old != new:
                self.dataChanged.emit(self.index(index), self.index(index))

    def find_row(self, path: Path) -> int | None:
        """Return the row of a run; None if it is not listed."""
        return next((row for row, report in enumerate(self.reports) if report.path == path), None)

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and way
        """Return the number of runs."""
        return 0 if parent.isValid() else len(self.reports)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return the name, accessible text or tooltip of a run."""
        report = self.reports[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return report.name
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{report.name}, {describe_state(report)}, {describe_result(report)}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{describe_state(report)}\n{report.message}\n{report.path}"
        return None


class RunDelegate(QStyledItemDelegate):
    """Paint a run: name and state in the first line, results in the second."""

    def __init__(self, icons: ThemedIcons, view: QListView) -> None:
        super().__init__(view)
        self._icons = icons

    def sizeHint(self, option: QStyleOptionViewItem, index: AnyIndex) -> QSize:  # noqa: N802 - Qt's name
        """Return the size of a row with two lines."""
        return QSize(200, 2 * option.fontMetrics.height() + 2 * MARGIN)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        """Draw the two lines."""
        model = index.model()
        if not isinstance(model, RunListModel):
            return
        report, colors = model.reports[index.row()], self._icons.palette
        painter.save()
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(option.rect, QColor(colors.highlight))
        elif option.state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(option.rect, QColor(colors.raised))
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        area = option.rect.adjusted(MARGIN, MARGIN, -MARGIN, -MARGIN)
        half = area.height() // 2
        first_line, second_line = area.adjusted(0, 0, 0, -half), area.adjusted(0, half, 0, 0)
        painter.setPen(QColor(colors.text))
        state = f"{describe_state_briefly(report)} {STATE_MARKS.get(str(report.state), ENDED_MARK)}"
        painter.setFont(option.font)
        painter.drawText(first_line, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, state)
        bold = QFont(option.font)
        bold.setBold(True)
        painter.setFont(bold)
        name_area = first_line.adjusted(0, 0, -option.fontMetrics.horizontalAdvance(state) - GAP, 0)
        _draw_line(painter, name_area, report.name)
        painter.setFont(option.font)
        painter.setPen(QColor(colors.text if selected else colors.faint))
        _draw_line(painter, second_line, describe_result(report))
        painter.restore()


def _draw_line(painter: QPainter, area: QRect, text: str) -> None:
    """Draw one line, elided if necessary."""
    elided = elide(painter.fontMetrics(), text, area.width())
    painter.drawText(area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, elided)

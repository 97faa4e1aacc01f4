"""The list of runs for Qt: a row a run, and how it is drawn in two lines that fit a narrow dock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from qtpy.QtGui import QColor, QFont, QPainter
from qtpy.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from napari_melanoma.ui.runs.words import said_facts, said_short, said_state

if TYPE_CHECKING:
    from napari_melanoma.ui.look import ThemedIcons
    from napari_melanoma.workflows.runs import RunReport

AnyIndex = QModelIndex | QPersistentModelIndex
MARGIN, GAP = 5, 8
MARKS = {"running": "●", "starting": "●", "cancelling": "●", "paused": "‖", "queued": "…", "finished": "✓"}
ENDED_MARK = "✕"


class RunsModel(QAbstractListModel):
    """The reports of all runs, the newest first; rows that stay keep their selection."""

    def __init__(self, parent: QListView) -> None:
        super().__init__(parent)
        self.reports: list[RunReport] = []

    def show(self, reports: list[RunReport]) -> None:
        """Show other reports."""
        if [report.path for report in reports] != [report.path for report in self.reports]:
            self.beginResetModel()
            self.reports = reports
            self.endResetModel()
            return
        before, self.reports = self.reports, reports
        for row, (old, new) in enumerate(zip(before, reports, strict=True)):
            if old != new:
                self.dataChanged.emit(self.index(row), self.index(row))

    def row_of(self, path: Path) -> int | None:
        """Find the row of a run.

        None where it is not listed.
        """
        return next((row for row, report in enumerate(self.reports) if report.path == path), None)

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and way
        """Say how many runs there are, as Qt asks."""
        return 0 if parent.isValid() else len(self.reports)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Give name, spoken text or explanation of a run, as Qt asks."""
        report = self.reports[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return report.name
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{report.name}, {said_state(report)}, {said_facts(report)}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{said_state(report)}\n{report.message}\n{report.path}"
        return None


class RunRows(QStyledItemDelegate):
    """Draws a run: name and state in the first line, figures in the second."""

    def __init__(self, icons: ThemedIcons, view: QListView) -> None:
        super().__init__(view)
        self._icons = icons

    def sizeHint(self, option: QStyleOptionViewItem, index: AnyIndex) -> QSize:  # noqa: N802 - Qt's name
        """Want two lines."""
        return QSize(200, 2 * option.fontMetrics.height() + 2 * MARGIN)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        """Draw the two lines."""
        model = index.model()
        if not isinstance(model, RunsModel):
            return
        report, colours = model.reports[index.row()], self._icons.palette
        painter.save()
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(option.rect, QColor(colours.highlight))
        elif option.state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(option.rect, QColor(colours.raised))
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        place = option.rect.adjusted(MARGIN, MARGIN, -MARGIN, -MARGIN)
        half = place.height() // 2
        upper, lower = place.adjusted(0, 0, 0, -half), place.adjusted(0, half, 0, 0)
        painter.setPen(QColor(colours.text))
        state = f"{said_short(report)} {MARKS.get(str(report.state), ENDED_MARK)}"
        painter.setFont(option.font)
        painter.drawText(upper, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, state)
        bold = QFont(option.font)
        bold.setBold(True)
        painter.setFont(bold)
        left = upper.adjusted(0, 0, -option.fontMetrics.horizontalAdvance(state) - GAP, 0)
        _line(painter, left, report.name)
        painter.setFont(option.font)
        painter.setPen(QColor(colours.text if selected else colours.faint))
        _line(painter, lower, said_facts(report))
        painter.restore()


def _line(painter: QPainter, place: QRect, text: str) -> None:
    """Draw one line, cut with three dots where it does not fit."""
    fitting = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, place.width())
    painter.drawText(place, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, fitting)

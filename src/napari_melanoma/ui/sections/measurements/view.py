"""The widgets of the Measurements section: the table of measurements, and the list of several lesions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QGuiApplication, QKeyEvent, QKeySequence, QPalette
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QTableWidget, QTableWidgetItem

from napari_melanoma.ui.widgets.style import named

if TYPE_CHECKING:
    from napari_melanoma.ui.sections.measurements.resolve import LesionMeasurementRow, MeasurementRow

HEADERS = ("Measurement", "pixels", "mm")
MAX_LESION_ROWS = 6  # without scrolling
ROW_PX = 22


class MeasurementModel(QAbstractTableModel):
    """Qt model of the rows."""

    def __init__(self, parent: QTableView) -> None:
        super().__init__(parent)
        self._rows: Sequence[MeasurementRow] = ()

    def set_rows(self, rows: Sequence[MeasurementRow]) -> None:
        """Set the measurements."""
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and default
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and default
        """Return the number of columns."""
        return 0 if parent.isValid() else len(HEADERS)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return text, tooltip or alignment of a cell."""
        row = self._rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return row.cells[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.tooltip
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() > 0:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(  # noqa: N802 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        """Return the title of a column."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return HEADERS[section]
        return None

    def to_text(self) -> str:
        """Return the table as tab-separated text with a header."""
        from napari_melanoma.core.csv_files import CsvWriter

        text = io.StringIO(newline="")
        CsvWriter(text, "\t").write_rows([HEADERS, *(row.cells for row in self._rows)])
        return text.getvalue().removesuffix("\n")


class MeasurementTable(QTableView):
    """Shows the measurements of one lesion."""

    def __init__(self) -> None:
        super().__init__()
        named(self, "measurements", "Measurements", "Ctrl+C copies the table")
        self._model = MeasurementModel(self)
        self.setModel(self._model)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setShowGrid(False)
        self.setAlternatingRowColors(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_PX)
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.setMinimumHeight(190)

    def show_rows(self, rows: Sequence[MeasurementRow]) -> None:
        """Show measurements; the mm column is hidden if the scale is unknown."""
        self._model.set_rows(rows)
        self.setColumnHidden(2, not any(row.cells[2] for row in rows))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Copy the table with the platform's copy shortcut."""
        if event.matches(QKeySequence.StandardKey.Copy):
            QGuiApplication.clipboard().setText(self._model.to_text())
        else:
            super().keyPressEvent(event)


class LesionList(QTableWidget):
    """Lists several lesions, the largest first and those outside the mask last, in gray; hidden for a single lesion."""

    chosen = Signal(int)  # index of the lesion

    def __init__(self) -> None:
        super().__init__(0, 4)
        named(self, "lesions", "Lesions", "Several lesions: a click brings one into view")
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_PX)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(3, QHeaderView.ResizeMode.Stretch)
        self.cellClicked.connect(lambda row, _: self.chosen.emit(row))
        self.hide()

    def show_rows(self, rows: Sequence[LesionMeasurementRow], positive: str) -> None:
        """Show the lesions; ``positive``: the class whose probability is listed."""
        self.setVisible(bool(rows))
        self.setHorizontalHeaderLabels(["", "area", "diameter", positive])
        self.setRowCount(len(rows))
        for index, row in enumerate(rows):
            for column, text in enumerate(row.cells):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                if not row.is_in_mask:
                    item.setToolTip("Not in the mask")
                    item.setForeground(self.palette().brush(QPalette.ColorGroup.Disabled, QPalette.ColorRole.Text))
                self.setItem(index, column, item)
        rows_px = ROW_PX * min(len(rows), MAX_LESION_ROWS)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + rows_px + 4)

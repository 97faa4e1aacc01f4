"""The table of measurements: a name, a value in pixels and one in mm a row; copied with Ctrl+C."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QGuiApplication, QKeyEvent, QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_melanoma.analysis.measurements import MEASUREMENTS, Measurement
from napari_melanoma.core.csv_cells import CsvWriter
from napari_melanoma.ui.look import named

HEADERS = ("Measurement", "pixels", "mm")
Row = tuple[Measurement, str, str]


def table_rows(values: Mapping[str, float]) -> list[Row]:
    """Arrange measurements: one row a quantity, its value in mm beside that in pixels.

    What is measured, the text in pixels (or without unit), the text in mm (empty where the scale is unknown).
    """
    physical = {item.label: item for item in MEASUREMENTS if item.unit.startswith("mm")}
    rows = []
    for item in MEASUREMENTS:
        if item.name in values and not item.unit.startswith("mm"):
            in_mm = physical.get(item.label)
            value = "" if in_mm is None or in_mm.name not in values else _said(values[in_mm.name], in_mm.unit)
            rows.append((item, _said(values[item.name], item.unit), value))
    return rows


def _said(value: float, unit: str) -> str:
    """Three or four significant digits with the unit, large numbers grouped."""
    if not math.isfinite(value):
        return "–"
    number = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
    return f"{number} {unit}".strip()


class MeasurementModel(QAbstractTableModel):
    """The rows of ``table_rows`` for Qt."""

    def __init__(self, parent: QTableView) -> None:
        super().__init__(parent)
        self._rows: list[Row] = []

    def show(self, values: Mapping[str, float]) -> None:
        """Show other measurements."""
        self.beginResetModel()
        self._rows = table_rows(values)
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and way
        """Say how many rows there are, as Qt asks."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and way
        """Say how many columns there are, as Qt asks."""
        return 0 if parent.isValid() else len(HEADERS)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Give text, explanation or alignment of a cell, as Qt asks."""
        item, *texts = self._rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return (item.label, *texts)[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{item.label}: {item.explanation}"
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() > 0:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(  # noqa: N802 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        """Give the title of a column, as Qt asks."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return HEADERS[section]
        return None

    def text(self) -> str:
        """Give everything as tab-separated text.

        A line a row, the header first.
        """
        text = io.StringIO(newline="")
        CsvWriter(text, "\t").rows([HEADERS, *((item.label, *texts) for item, *texts in self._rows)])
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
        self.verticalHeader().setDefaultSectionSize(22)
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.setMinimumHeight(190)

    def show_values(self, values: Mapping[str, float]) -> None:
        """Show measurements; the column of mm is hidden where the scale is unknown."""
        self._model.show(values)
        self.setColumnHidden(2, not any(item.unit.startswith("mm") and item.name in values for item in MEASUREMENTS))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Copy the table with the platform's key."""
        if event.matches(QKeySequence.StandardKey.Copy):
            QGuiApplication.clipboard().setText(self._model.text())
        else:
            super().keyPressEvent(event)

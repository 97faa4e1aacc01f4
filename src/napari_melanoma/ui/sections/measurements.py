"""The Measurements section of a photograph: a table for the mask, and a list of several lesions."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QGuiApplication, QKeyEvent, QKeySequence, QPalette
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QTableWidget, QTableWidgetItem

from napari_melanoma.core.formatting import capitalize, format_significant
from napari_melanoma.imaging.measurements import MEASUREMENTS
from napari_melanoma.ui.sections.base import PhotographSection
from napari_melanoma.ui.viewer import layers
from napari_melanoma.ui.widgets.style import named, quiet_label

if TYPE_CHECKING:
    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.photograph import PhotographSession

HEADERS = ("Measurement", "Pixels", "mm")
NOT_VALID = "not valid"
NOT_MEASURED = "Sizes in pixels, and in mm with a scale, of the segmented lesion."
MAX_LESION_ROWS = 6  # without scrolling
ROW_PX = 22
# Measurements for statistics, which are in the tables that are saved
UNLISTED = ("equivalent_diameter_px", "compactness", "eccentricity", "axis_ratio", "solidity", "fractal_dimension")


class MeasurementRow(NamedTuple):
    """One quantity; ``cells``: its name, the value in pixels or without unit, and in mm (empty if unknown)."""

    cells: tuple[str, str, str]
    tooltip: str


class LesionSizes(NamedTuple):
    """One of several lesions; ``cells``: number, area, diameter and probability (empty if not predicted)."""

    cells: tuple[str, str, str, str]
    is_in_mask: bool


def list_lesions(result: LesionResult, predictions: Sequence[ClassPrediction]) -> list[LesionSizes]:
    """Return a row for each of several lesions; ``predictions``: one for each, or others, which are not shown."""
    measured, in_mask = result.lesion_measurements, len(result.mask_parts)
    texts = [""] * len(measured)
    if len(predictions) == len(measured):
        texts = [_format_prediction(prediction) for prediction in predictions]
    return [
        LesionSizes((f"{index + 1}", *_format_size(values), text), index < in_mask)
        for index, (values, text) in enumerate(zip(measured, texts, strict=True))
    ]


def list_measurements(values: Mapping[str, float]) -> list[MeasurementRow]:
    """Arrange the measurements that readers use, by name, with one row for each quantity."""
    physical = {item.label: item for item in MEASUREMENTS if item.unit.startswith("mm")}
    rows = []
    for item in MEASUREMENTS:
        is_one_part = item.name == "parts" and values.get("parts") == 1
        if item.name in UNLISTED or item.name.startswith("color_std_") or is_one_part:
            continue
        if item.name in values and not item.unit.startswith("mm"):
            in_mm = physical.get(item.label)
            value = "" if in_mm is None or in_mm.name not in values else format_value(values[in_mm.name], in_mm.unit)
            cells = item.label, format_value(values[item.name], item.unit), value
            rows.append(MeasurementRow(cells, f"{item.label}: {item.explanation}"))
    return rows


def format_value(value: float, unit: str) -> str:
    """Format a value with three or four significant digits and the unit."""
    if not math.isfinite(value):
        return "–"
    number = f"{value:,.0f}" if value == int(value) else format_significant(value)
    return f"{number} {unit}".strip()


def _format_size(values: Mapping[str, float]) -> tuple[str, str]:
    unit, area = ("mm", "area_mm2") if "area_mm2" in values else ("px", "area_px")
    return format_value(values[area], f"{unit}²"), format_value(values[f"max_diameter_{unit}"], unit)


def _format_prediction(prediction: ClassPrediction) -> str:
    """Return the probability of the positive class with its 95 % interval; no number if it is not valid."""
    if not prediction.validity.valid:
        return NOT_VALID
    interval = "" if prediction.interval is None else " ({:.2f}–{:.2f})".format(*prediction.interval)
    return f"{prediction.probability:.{prediction.digits}f}{interval}"


class MeasurementModel(QAbstractTableModel):
    """Qt model of the rows."""

    def __init__(self, parent: QTableView) -> None:
        super().__init__(parent)
        self._rows: Sequence[MeasurementRow] = ()

    def set_rows(self, rows: Sequence[MeasurementRow]) -> None:
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and default
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and default
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
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)  # the dock scrolls

    def show_rows(self, rows: Sequence[MeasurementRow]) -> None:
        """Show measurements; the mm column is hidden if the scale is unknown, the table without measurements."""
        self._model.set_rows(rows)
        self.setVisible(bool(rows))
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + ROW_PX * len(rows) + 2 * self.frameWidth())
        self.setColumnHidden(2, not any(row.cells[2] for row in rows))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Copy the table with the platform's copy shortcut."""
        if event.matches(QKeySequence.StandardKey.Copy):
            QGuiApplication.clipboard().setText(self._model.to_text())
        else:
            super().keyPressEvent(event)


class LesionList(QTableWidget):
    """Lists several lesions, the largest first and those outside the mask last, in gray; hidden for a single lesion."""

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
        self.hide()

    def show_rows(self, rows: Sequence[LesionSizes], positive: str) -> None:
        """Show the lesions; ``positive``: the class whose probability is listed."""
        self.setVisible(bool(rows))
        self.setHorizontalHeaderLabels(["", "Area", "Diameter", capitalize(positive)])
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


class MeasurementsSection(PhotographSection):
    """Shows the measurements of the mask, and a list of several lesions, in which a click shows one."""

    def __init__(self, session: PhotographSession) -> None:
        super().__init__(session)
        self._lesions, self._table = LesionList(), MeasurementTable()
        self._hint = named(quiet_label(NOT_MEASURED), "measurements_hint", "Why there are no measurements")
        self.column.setSpacing(5)
        self.add(self._lesions, self._table, self._hint)
        self._lesions.cellClicked.connect(self._on_lesion)
        for signal in (session.shown, session.events.prediction_key, session.events.prediction):
            self.follow(signal, self._update)
        self._update()

    def _update(self) -> None:
        lesion, outcome = self.session.lesion, self.session.current_prediction
        predictions = () if outcome is None else outcome.lesions
        self._table.show_rows([] if lesion is None else list_measurements(lesion.result.measurements))
        self._hint.setVisible(self._table.isHidden())
        rows = [] if lesion is None else list_lesions(lesion.result, predictions)
        is_predicted = bool(rows) and bool(rows[0].cells[3])
        self._lesions.show_rows(rows, predictions[0].positive if is_predicted else "")

    def _on_lesion(self, index: int, _: int) -> None:
        session = self.session
        if session.lesion is not None:
            layers.show_box(session.viewer, session.image, session.lesion.result.lesion_boxes[index])

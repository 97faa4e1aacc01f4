"""The table of measurements, the list of several lesions, and the ruler panel that sets the scale."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QGuiApplication, QKeyEvent, QKeySequence, QPalette
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDoubleSpinBox,
    QFrame,
    QHeaderView,
    QPushButton,
    QTableView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
)

from napari_melanoma.core.errors import MelanomaError, ScaleMissing
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.imaging.measurements import MEASUREMENTS, Measurement
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.viewer.photographs import format_pixel_size, get_pixel_aspect
from napari_melanoma.ui.widgets.style import named, quiet_label, row

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.widgets.settings import DockSettings

HEADERS = ("Measurement", "pixels", "mm")
MAX_LESION_ROWS = 6  # without scrolling
ROW_PX = 22
Row = tuple[Measurement, str, str]  # with the value in pixels or without unit, and in mm (empty if unknown)


def table_rows(values: Mapping[str, float]) -> list[Row]:
    """Arrange measurements, by name, with one row for each quantity."""
    physical = {item.label: item for item in MEASUREMENTS if item.unit.startswith("mm")}
    rows = []
    for item in MEASUREMENTS:
        if item.name in values and not item.unit.startswith("mm"):
            in_mm = physical.get(item.label)
            value = "" if in_mm is None or in_mm.name not in values else format_value(values[in_mm.name], in_mm.unit)
            rows.append((item, format_value(values[item.name], item.unit), value))
    return rows


def format_value(value: float, unit: str) -> str:
    """Format a value with three or four significant digits and the unit."""
    if not math.isfinite(value):
        return "–"
    number = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
    return f"{number} {unit}".strip()


class MeasurementModel(QAbstractTableModel):
    """Qt model of the rows of ``table_rows``."""

    def __init__(self, parent: QTableView) -> None:
        super().__init__(parent)
        self._rows: list[Row] = []

    def set_values(self, values: Mapping[str, float]) -> None:
        """Set the measurements."""
        self.beginResetModel()
        self._rows = table_rows(values)
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and default
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and default
        """Return the number of columns."""
        return 0 if parent.isValid() else len(HEADERS)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return text, tooltip or alignment of a cell."""
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
        """Return the title of a column."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return HEADERS[section]
        return None

    def to_text(self) -> str:
        """Return the table as tab-separated text with a header."""
        from napari_melanoma.core.csv_files import CsvWriter

        text = io.StringIO(newline="")
        CsvWriter(text, "\t").write_rows([HEADERS, *((item.label, *texts) for item, *texts in self._rows)])
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

    def show_values(self, values: Mapping[str, float]) -> None:
        """Show measurements; the mm column is hidden if the scale is unknown."""
        self._model.set_values(values)
        self.setColumnHidden(2, not any(item.unit.startswith("mm") and item.name in values for item in MEASUREMENTS))

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

    def show_lesions(self, result: LesionResult | None, predictions: Sequence[ClassPrediction]) -> None:
        """Show the lesions of a result; ``predictions``: one for each lesion, or empty."""
        measured = [] if result is None else result.lesion_measurements
        self.setVisible(bool(measured))
        if result is None or not measured:
            self.setRowCount(0)
            return
        unit, area = ("mm", "area_mm2") if "area_mm2" in measured[0] else ("px", "area_px")
        self.setHorizontalHeaderLabels(["", "area", "diameter", predictions[0].positive if predictions else ""])
        self.setRowCount(len(measured))
        for index, values in enumerate(measured):
            cells = (
                f"{index + 1}",
                format_value(values[area], f"{unit}²"),
                format_value(values[f"max_diameter_{unit}"], unit),
                _format_prediction(predictions[index]) if predictions else "",
            )
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                if index >= len(result.mask_parts):
                    item.setToolTip("Not in the mask")
                    item.setForeground(self.palette().brush(QPalette.ColorGroup.Disabled, QPalette.ColorRole.Text))
                self.setItem(index, column, item)
        rows_px = ROW_PX * min(len(measured), MAX_LESION_ROWS)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + rows_px + 4)


def _format_prediction(prediction: ClassPrediction) -> str:
    """Return the probability of the positive class with its 95 % interval."""
    interval = "" if prediction.interval is None else " ({:.2f}–{:.2f})".format(*prediction.interval)
    return f"{prediction.probability:.2f}{interval}"


class RulerPanel(QFrame):
    """Sets the scale from a line over a known length, or clears it."""

    message = Signal(str)
    failed = Signal(object)  # Exception

    def __init__(self, viewer: Viewer, settings: DockSettings) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._viewer = viewer
        self._settings = settings
        self._image: Image | None = None
        self._length = named(QDoubleSpinBox(), "ruler_length", "Length of the line", "True length of the line, in mm")
        self._length.setRange(0.01, 1000)
        self._length.setDecimals(2)
        self._length.setSuffix(" mm")
        self._length.setValue(settings.ruler_mm)
        self._set_button = named(
            QPushButton("Set scale"), "ruler_set", "Set scale", "Set the scale from the last line drawn"
        )
        self._clear_button = named(QPushButton("Clear"), "ruler_clear", "Clear scale", "Restore the scale of the file")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(quiet_label("Draw a line over a known length, such as 10 mm of the ruler in the photograph."))
        layout.addWidget(row(self._length, self._set_button, self._clear_button, stretch=0))
        self._set_button.clicked.connect(self._on_set)
        self._clear_button.clicked.connect(self._on_clear)
        self.hide()

    def start(self, image: Image) -> None:
        """Activate the line tool."""
        self._image = image
        line = layers.get_ruler_layer(self._viewer, image)
        line.visible = True
        self._viewer.layers.selection.active = line
        line.mode = "add_line"
        self.show()

    def stop(self) -> None:
        """Deactivate the line tool; the line is kept."""
        line = None if self._image is None else photographs.find_layer(self._viewer, self._image, "ruler")
        if line is not None:
            line.mode = "pan_zoom"
        self._image = None
        self.hide()

    def _on_set(self) -> None:
        image = self._image
        line = None if image is None else photographs.find_layer(self._viewer, image, "ruler")
        try:
            if image is None or line is None or not line.data:
                raise ScaleMissing("there is no line yet. Draw a line over a known length, then set the scale.")
            start, *_, end = line.data[-1]
            length_mm = self._length.value()
            size = PixelSize.from_ruler(tuple(start[-2:]), tuple(end[-2:]), length_mm, get_pixel_aspect(image))
        except MelanomaError as error:
            self.failed.emit(error)
            return
        self._settings.ruler_mm = length_mm
        photographs.set_pixel_size(self._viewer, image, size)
        self.message.emit(f"{image.name}: {format_pixel_size(size)} per pixel, from a line of {length_mm:g} mm.")

    def _on_clear(self) -> None:
        image = self._image
        if image is not None:
            photographs.set_pixel_size(self._viewer, image, None)
            line = photographs.find_layer(self._viewer, image, "ruler")
            if line is not None:
                line.data = []
            self.message.emit(f"{image.name}: the scale from the ruler was cleared.")

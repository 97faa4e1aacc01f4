"""The list of several lesions in a photograph: number, size and prediction of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_melanoma.ui.lesion.measurements import format_value
from napari_melanoma.ui.widgets.style import named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.lesion.analysis import LesionResult

MAX_ROWS = 6  # without scrolling
ROW_PX = 22


class LesionList(QTableWidget):
    """Lists several lesions, the largest first and those outside the mask last, in gray; hidden for one."""

    chosen = Signal(int)

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
        """Show the lesions of a result; ``predictions``: one for each, or none."""
        measured = [] if result is None else result.lesion_measurements
        self.setVisible(bool(measured))
        if result is None or not measured:
            self.setRowCount(0)
            return
        unit, positive = "mm" if "area_mm2" in measured[0] else "px", predictions[0].positive if predictions else ""
        self.setHorizontalHeaderLabels(["", "area", "diameter", positive])
        self.setRowCount(len(measured))
        for index, values in enumerate(measured):
            sizes = (values[f"area_{unit}2" if unit == "mm" else "area_px"], values[f"max_diameter_{unit}"])
            cells = [f"{index + 1}", format_value(sizes[0], f"{unit}²"), format_value(sizes[1], unit)]
            cells.append(_format_prediction(predictions[index]) if predictions else "")
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                if index >= len(result.mask_parts):
                    item.setToolTip("Not in the mask")
                    item.setForeground(self.palette().brush(QPalette.ColorGroup.Disabled, QPalette.ColorRole.Text))
                self.setItem(index, column, item)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + ROW_PX * min(len(measured), MAX_ROWS) + 4)


def _format_prediction(prediction: ClassPrediction) -> str:
    """Return the probability of the positive class with its 95 % interval."""
    low_high = "" if prediction.interval is None else " ({:.2f}–{:.2f})".format(*prediction.interval)
    return f"{prediction.probability:.2f}{low_high}"

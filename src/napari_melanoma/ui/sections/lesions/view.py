"""The widgets of the Lesions section: the table, the buttons, and the panel for drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QFrame, QHeaderView, QLabel, QVBoxLayout, QWidget

from napari_melanoma.ui.sections.lesions.resolve import describe_lesion, format_cells, sort_key
from napari_melanoma.ui.viewer.pixel_tools import CLICK_HINT
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.row_table import AnyIndex, Column, RowTable, RowTableModel
from napari_melanoma.ui.widgets.style import WrappedLabel, column, fill_column, named, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.slides.lesions import LesionClass, SlideLesion
    from napari_melanoma.ui.sections.lesions.resolve import LesionTexts

MALIGNANT, BENIGN = QColor("#e0673a"), QColor("#3f9bd8")  # distinguishable with color vision deficiency
CLASS_COLUMN = 1
EDITS = {  # text and tooltip
    "draw": ("draw", f"Draw a new lesion on the slide; press again to stop ({format_key('slide.draw')})"),
    "refine": ("refine", f"{CLICK_HINT} ({format_key('slide.click')})"),
    "merge": ("merge", "Merge the selected lesions into one"),
    "split": ("split", "Split a lesion by a line that you draw across it"),
    "class": ("class", "Switch the class of the selected lesions"),
    "remove": ("remove", "Remove the selected lesions (Delete)"),
    "undo": ("↶", "Undo the last change of the lesions"),
    "redo": ("↷", "Redo the last change that was undone"),
}
TOOLS = ("draw", "refine")  # tools on the canvas, which stay active until their button is pressed again
CLASSES = {"": "from the model", "malignant": "malignant", "benign": "benign"}
DRAWING_MODES = {  # name and hint of a tool, by mode of napari's Shapes layer
    "add_polygon_lasso": (
        "freehand",
        "Hold down the mouse button, draw around the lesion, and release the button where you started.",
    ),
    "add_polygon": ("corner by corner", "Click each corner; finish with a double click or Escape."),
}
REJECTED_OUTLINE = "The outline is not a lesion yet: {} Press draw again to discard it."


class LesionTableModel(RowTableModel["SlideLesion", int]):
    """Table model of lesions; ``target``: class of the probabilities."""

    columns = (
        Column("#", "Number: malignant lesions first, the largest first"),
        Column(
            "class",
            "Malignant or benign, if the model distinguishes them; an asterisk marks lesions that you drew or changed",
        ),
        Column(
            "p",
            "Probability that the lesion is malignant, for benign lesions too; if the model does not distinguish "
            "these, of the class that the heatmap shows",
            largest_first=True,
        ),
        Column("area", "Area; in mm² if the slide has a scale", largest_first=True),
        Column("tissue", "Share of the slide's tissue", largest_first=True),
    )

    def __init__(self) -> None:
        super().__init__()
        self.target = ""

    def row_id(self, row: SlideLesion) -> int:
        """Return the number of a lesion."""
        return row.index

    def sort_key(self, row: SlideLesion, column: int) -> tuple[bool, object]:
        """Return the key by which a column is sorted."""
        return sort_key(row, column)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return text, color, alignment or tooltip of a cell."""
        lesion, is_class = self.rows[index.row()], index.column() == CLASS_COLUMN
        if role == Qt.ItemDataRole.DisplayRole:
            return format_cells(lesion)[index.column()]
        if role == Qt.ItemDataRole.ForegroundRole and is_class:
            return BENIGN if lesion.label == "benign" else MALIGNANT
        if role == Qt.ItemDataRole.TextAlignmentRole and not is_class:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole:
            return describe_lesion(lesion, self.target)
        return None


class LesionTable(RowTable["SlideLesion", int]):
    """Table of lesions; several can be selected."""

    table_model: LesionTableModel

    def __init__(self) -> None:
        super().__init__(LesionTableModel(), least_rows=1)
        named(self, "lesion_table", "Lesions of the slide").setToolTip("")
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(CLASS_COLUMN, QHeaderView.ResizeMode.Stretch)

    def show_lesions(self, lesions: Sequence[SlideLesion], target: str, selected: Sequence[int]) -> None:
        """Show lesions; ``target``: class of the probabilities."""
        self.table_model.target = target
        self.show_rows(lesions, selected)


class LesionView(QWidget):
    """The widgets of the section for one slide."""

    def __init__(self) -> None:
        super().__init__()
        self.summary_label = named(WrappedLabel(), "lesion_count", "Number of lesions")
        self.summary_label.setProperty("quiet", True)
        self.table = LesionTable()
        self.buttons = {
            name: tool_button(f"lesion_{name}", tip, tip, text, checkable=name in TOOLS)
            for name, (text, tip) in EDITS.items()
        }
        self.drawing_panel = DrawingPanel()
        self._table_area = column(self.table)
        self._edit_row = row(*(button for name, button in self.buttons.items() if name not in TOOLS))
        self._edit_row.layout().setSpacing(2)
        tools = (self.buttons[name] for name in TOOLS)
        summary = row(self.summary_label, *tools, stretch=0)
        fill_column(self, summary, self._table_area, self._edit_row, self.drawing_panel)

    def show_texts(self, texts: LesionTexts) -> None:
        """Show the summary, and the buttons that are possible; hide predicted numbers that are not valid."""
        self.summary_label.setText(texts.summary)
        self.summary_label.setVisible(texts.shows_numbers)
        self._table_area.setVisible(texts.shows_numbers)
        self.table.setVisible(texts.has_lesions)
        self._edit_row.setVisible(texts.has_lesions)
        for name, button in self.buttons.items():
            button.setEnabled(texts.enabled[name])
            if name in TOOLS:
                button.setVisible(texts.has_lesions)


class DrawingPanel(QFrame):
    """Select the class and the drawing tool of the next lesion; hidden while no lesion is drawn."""

    class_changed = Signal()
    tool_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        named(self, "notice", "Draw a lesion").setToolTip("")
        tip = "Class of the drawn lesion. 'from the model' uses the predicted probability of the tiles that it covers."
        self._classes = named(NoWheelComboBox(), "draw_class", "Class of the drawn lesion", tip)
        for value, text in CLASSES.items():
            self._classes.addItem(text, value)
        self._tools = named(NoWheelComboBox(), "draw_tool", "How to draw", "How to draw")
        for mode, (text, _) in DRAWING_MODES.items():
            self._tools.addItem(text, mode)
        self._hint_label = named(WrappedLabel(), "draw_hint", "How to draw")  # a plain one is squeezed
        self._hint_label.setProperty("quiet", True)
        self._hint_label.setToolTip("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.setSpacing(4)
        layout.addWidget(row(QLabel("class"), self._classes, stretch=1))
        layout.addWidget(row(QLabel("draw"), self._tools, stretch=1))
        layout.addWidget(self._hint_label)
        self._classes.activated.connect(self.class_changed)
        self._tools.activated.connect(self._on_tool)
        self.show_rejection("")
        self.hide()

    @property
    def label(self) -> LesionClass | None:
        """Malignant or benign; None for the class that the model predicts."""
        label: LesionClass | None = self._classes.currentData() or None
        return label

    @property
    def mode(self) -> str:
        """Mode of napari's Shapes layer."""
        return str(self._tools.currentData())

    def show_rejection(self, reason: str) -> None:
        """Show why an outline is not a lesion yet; if ``reason`` is empty, show how to draw."""
        hint = f"{DRAWING_MODES[self.mode][1]} Hold the space bar to pan. Press draw again to stop."
        self._hint_label.setText(REJECTED_OUTLINE.format(reason) if reason else hint)

    def _on_tool(self, _: int) -> None:
        self.show_rejection("")
        self.tool_changed.emit()

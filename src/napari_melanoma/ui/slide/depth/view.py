"""The widgets of the Depth section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFormLayout,
    QFrame,
    QHeaderView,
    QLabel,
    QLineEdit,
    QListWidget,
    QPlainTextEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.depth.formatting import NOT_MEASURED, READER_COLUMNS, ROMAN, format_mitoses, parse_length
from napari_melanoma.ui.slide.context import READER_SETTING
from napari_melanoma.ui.slide.depth.automatic import DepthRunPanel
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import (
    ThemedIcons,
    WrappedLabel,
    form_layout,
    named,
    quiet_label,
    row,
    tool_button,
)
from napari_melanoma.ui.widgets.validity import ValidityNotice

if TYPE_CHECKING:
    from napari_melanoma.depth.readings import DepthReading
    from napari_melanoma.ui.widgets.settings import DockSettings

ULCERATION = {"not known": None, "yes": True, "no": False}
MARGINS = {"lateral_mm": "lateral", "deep_mm": "deep"}
NOTES_PX, LENGTH_PX = 58, 76


class DepthFields(QWidget):
    """The fields in their places; they tell what the user sets, and keep nothing."""

    edited = Signal(str, object)
    input_rejected = Signal(str)
    ruler_requested = Signal(str)
    tool_requested = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.ulceration = named(
            NoWheelComboBox(), "depth_ulceration", "Ulceration", "Whether the melanoma is ulcerated"
        )
        for words, value in ULCERATION.items():
            self.ulceration.addItem(words, value)
        tip = "Level of invasion after Clark, I to V; an estimate of the model stands as one until you choose"
        self.clark = named(NoWheelComboBox(), "depth_clark", "Clark level", tip)
        for number, words in enumerate(("not known", *ROMAN)):
            self.clark.addItem(words, number or None)
        self.clark_source_label = named(quiet_label(), "depth_clark_by", "Where the Clark level comes from")
        self.clark_source_label.setWordWrap(False)
        self.margins = {name: self._create_length_field(name, words) for name, words in MARGINS.items()}
        self.tools = self._create_mitosis_tools()
        self.mitosis_label = named(quiet_label(), "depth_mitoses", "Mitoses")
        self.mitosis_label.setToolTip("")
        self.notes = named(QPlainTextEdit(), "depth_notes", "Notes", "Free text; kept with the slide, never exported")
        self.notes.setFixedHeight(NOTES_PX)
        self.notes.setTabChangesFocus(True)
        self.notes.setFrameShape(QFrame.Shape.StyledPanel)
        self.notes.installEventFilter(self)
        self.notes_timer = DebounceTimer(self)
        self._lay_out()
        self.ulceration.activated.connect(lambda _: self.edited.emit("ulcerated", self.ulceration.currentData()))
        self.clark.activated.connect(lambda _: self.edited.emit("clark", self.clark.currentData()))
        self.notes.textChanged.connect(self.notes_timer.start)
        self.notes_timer.timeout.connect(lambda: self.edited.emit("notes", self.notes.toPlainText()))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Keep the notes when somebody leaves them."""
        if event is not None and event.type() in (QEvent.Type.FocusOut, QEvent.Type.Hide):
            self.notes_timer.flush()
        return False

    def show_reading(self, reading: DepthReading) -> None:
        """Show what counts."""
        self.ulceration.setCurrentIndex(list(ULCERATION.values()).index(reading.ulcerated))
        self.clark.setCurrentIndex(reading.clark or 0)
        self.clark_source_label.setText("estimate" if reading.clark_by == "estimate" else "")
        for name, (line, _) in self.margins.items():
            value = getattr(reading.margins, name)
            if not line.hasFocus() or not line.isModified():
                line.setText("" if value is None else f"{value:.3g}")
        self.mitosis_label.setText(format_mitoses(reading.mitoses))
        if not self.notes_timer.isActive() and self.notes.toPlainText() != reading.notes:
            self.notes.blockSignals(True)
            self.notes.setPlainText(reading.notes)
            self.notes.blockSignals(False)

    def show_tool(self, name: str) -> None:
        """Show which tool is in hand."""
        for own, button in self.tools.items():
            button.setChecked(own == name)

    def _create_mitosis_tools(self) -> dict[str, QToolButton]:
        tips = {
            "count": "Click on each mitosis; press again to end. Delete removes those that are selected",
            "area": "Draw the area in which you count: click each corner, a double click ends it",
            "hotspot": "A circle of 1 mm² where you look, as the area in which you count",
        }
        texts = {"count": "count", "area": "area", "hotspot": "1 mm²"}
        made = {}
        for name, tip in tips.items():
            button = made[name] = tool_button(f"depth_{name}", tip, tip, texts[name], checkable=name != "hotspot")
            button.clicked.connect(
                lambda on, name=name: self.tool_requested.emit(name if on or name == "hotspot" else "")
            )
        return made

    def _create_length_field(self, name: str, words: str) -> tuple[QLineEdit, QWidget]:
        """A field for a length in mm, and the button that takes it from the ruler."""
        line = named(
            QLineEdit(), f"depth_{name}", f"Margin, {words}, in mm", f"From the melanoma to the {words} edge, in mm"
        )
        line.setPlaceholderText("mm")
        line.setMaximumWidth(LENGTH_PX)
        line.editingFinished.connect(lambda: self._on_length(name))
        tip = "Take the length of the line that is chosen in Measure, or of the last one there"
        ruler = tool_button(f"depth_{name}_ruler", tip, tip, "ruler")
        ruler.clicked.connect(lambda: self.ruler_requested.emit(name))
        return line, ruler

    def _on_length(self, name: str) -> None:
        line = self.margins[name][0]
        if not line.isModified():
            return
        line.setModified(False)
        try:
            self.edited.emit(name, parse_length(line.text()))
        except ValueError:
            self.input_rejected.emit(f"'{line.text()}' is no length: write mm, such as 2.5, or leave it empty.")

    def _lay_out(self) -> None:
        rows: QFormLayout = form_layout(self)
        rows.addRow(QLabel("ulceration"), self.ulceration)
        rows.addRow(QLabel("Clark"), row(self.clark, self.clark_source_label, stretch=1))
        for name, words in MARGINS.items():
            rows.addRow(QLabel(f"{words} margin"), row(*self.margins[name]))
        rows.addRow(QLabel("mitoses"), row(*self.tools.values()))
        rows.addRow(self.mitosis_label)
        rows.addRow(QLabel("notes"), self.notes)


DRAW_KEY = format_key("slide.depth")
HINTS = {
    "": "From the top of the granular layer, or the base of the ulcer, to the deepest invasive cell.",
    "draw": "Press the mouse at the top of the granular layer (or the ulcer's base), let go at the deepest invasive "
    "cell. Hold the space bar to move the slide.",
    "move": "Drag either end of the line; the number follows.",
}
ROW_PX, LIST_PX = 24, 66
NO_MODEL = "No model that draws the epidermis is installed: measure by hand."
AUTOMATIC = "Let '{}' draw the tissue of the whole slide and find the thickest places, beside your work"


class DepthView(QWidget):
    """The controls in their places."""

    tool_requested = Signal(str)
    automatic_requested = Signal()
    proposal_accepted = Signal()
    proposal_selected = Signal(int)
    history_requested = Signal(str)
    reader_changed = Signal(str)

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self.thickness_label = named(QLabel(NOT_MEASURED), "depth_head", "Breslow thickness and T category")
        self.thickness_label.setProperty("loud", True)
        self.thickness_label.setToolTip("Breslow thickness with its interval, and T category of AJCC's eighth edition")
        self.source_label = named(quiet_label(), "depth_origin", "Where the thickness comes from")
        self.warning_label = named(WrappedLabel(), "depth_warning", "What to know before relying on it")
        self.warning_label.setProperty("fault", True)
        self.draw_button = named(
            QPushButton("Measure by hand"), "depth_draw", "Measure by hand", f"Draw a line ({DRAW_KEY})"
        )
        self.move_button = named(
            QPushButton("Move the ends"), "depth_move", "Move the ends", "Drag the line by its ends"
        )
        self.automatic_button = named(QPushButton("Measure automatically"), "depth_automatic", "Measure automatically")
        for button in (self.draw_button, self.move_button):
            button.setCheckable(True)
        self.hint_label = named(quiet_label(HINTS[""]), "depth_hint", "How to measure")
        self.run_panel = DepthRunPanel()
        self.proposal_label = named(quiet_label(), "depth_found", "What the model found")
        self.proposal_list = named(QListWidget(), "depth_lines", "Lines that the model found", "Click to go there")
        self.proposal_list.setFixedHeight(LIST_PX)
        tip = "Take the model's line that is chosen, as it is, as your own"
        self.accept_button = tool_button("depth_take", tip, tip, "take this line")
        self.validity = ValidityNotice(icons, "depth", self.proposal_label, self.proposal_list, row(self.accept_button))
        self.fields = DepthFields()
        steps = {"undo": ("↶", "Take back the last change of this page"), "redo": ("↷", "Do it again")}
        self.history_buttons = {way: tool_button(f"depth_{way}", tip, tip, text) for way, (text, tip) in steps.items()}
        tip = "Kept with everything that you set here; another reader has readings of their own"
        self.reader_field = named(
            QLineEdit(settings.get(READER_SETTING, "")), "depth_reader", "Your name as a reader", tip
        )
        self.reader_field.setPlaceholderText("who measures")
        tip = "Write what counts, with a picture of the line and the record of changes, as a page to print"
        self.report_button = tool_button("depth_report", tip, tip, "Report ...")
        tip = (
            "Take depth, ulceration, Clark level and mitoses into the lesion of the case that is open in the Case dock"
        )
        self.case_button = tool_button("depth_case", tip, tip, "To the case")
        self.reader_table = _create_reader_table()
        self.other_readers_label = named(quiet_label(), "depth_others", "Other readers")
        self._lay_out()
        self._connect()

    def show_tool(self, drawing: str, *, has_line: bool) -> None:
        """Show which tool is in hand, and how to use it."""
        self.draw_button.setChecked(drawing == "draw")
        self.move_button.setChecked(drawing == "move" and has_line)
        self.move_button.setEnabled(has_line)
        self.hint_label.setText(HINTS[drawing if drawing != "move" or has_line else ""])

    def show_proposals(self, labels: Sequence[str], tips: Sequence[str], selected: int, summary: str) -> None:
        """List what the model found."""
        self.proposal_label.setText(summary)
        self.proposal_label.setVisible(bool(summary))
        self.proposal_list.setVisible(bool(labels))
        self.accept_button.setVisible(bool(labels))
        if [self.proposal_list.item(index).text() for index in range(self.proposal_list.count())] != list(labels):
            self.proposal_list.clear()
            self.proposal_list.addItems(list(labels))
            for at, tip in enumerate(tips):
                self.proposal_list.item(at).setToolTip(tip or self.proposal_list.toolTip())
        self.proposal_list.setCurrentRow(selected if labels else -1)

    def update_automatic_button(self, models: tuple[str, ...] | None, why_not: str) -> None:
        """Show whether a model can measure."""
        said = why_not or (NO_MODEL if models == () else "")
        self.automatic_button.setEnabled(bool(models) and not said)
        self.automatic_button.setToolTip(said or AUTOMATIC.format((models or ("",))[0]))

    def show_readers(self, rows: Sequence[Sequence[str]], summary: str) -> None:
        """Show the readers beside each other."""
        self.reader_table.setRowCount(len(rows))
        for at, cells in enumerate(rows):
            for column, cell in enumerate(cells):
                self.reader_table.setItem(at, column, QTableWidgetItem(cell))
        self.reader_table.setFixedHeight(ROW_PX * (len(rows) + 1) + 4)
        self.reader_table.setVisible(len(rows) > 1)
        self.other_readers_label.setText(summary)
        self.other_readers_label.setVisible(bool(summary))

    def _connect(self) -> None:
        self.draw_button.clicked.connect(lambda on: self.tool_requested.emit("draw" if on else ""))
        self.move_button.clicked.connect(lambda on: self.tool_requested.emit("move" if on else ""))
        self.automatic_button.clicked.connect(self.automatic_requested)
        self.accept_button.clicked.connect(self.proposal_accepted)
        self.proposal_list.itemClicked.connect(lambda item: self.proposal_selected.emit(self.proposal_list.row(item)))
        for way, button in self.history_buttons.items():
            button.clicked.connect(lambda _=False, way=way: self.history_requested.emit(way))
        self.reader_field.editingFinished.connect(self._on_reader)

    def _on_reader(self) -> None:
        name = self.reader_field.text().strip()
        self._settings.set(READER_SETTING, name)
        self.reader_changed.emit(name)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        for widget in (
            self.thickness_label,
            self.source_label,
            self.warning_label,
            row(self.draw_button, self.move_button),
            self.hint_label,
            self.automatic_button,
            self.run_panel,
            self.validity,
            self.fields,
            row(QLabel("reader"), self.reader_field, *self.history_buttons.values(), stretch=1),
            row(self.report_button, self.case_button),
            self.reader_table,
            self.other_readers_label,
        ):
            column.addWidget(widget)


def _create_reader_table() -> QTableWidget:
    """A table of readers that is as high as it must be."""
    table = named(QTableWidget(0, len(READER_COLUMNS)), "depth_readers", "Readers beside each other")
    table.setHorizontalHeaderLabels(list(READER_COLUMNS))
    table.verticalHeader().hide()
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    table.verticalHeader().setDefaultSectionSize(ROW_PX)
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    table.horizontalHeaderItem(len(READER_COLUMNS) - 1).setToolTip("Mitoses per mm²")
    table.hide()
    return table

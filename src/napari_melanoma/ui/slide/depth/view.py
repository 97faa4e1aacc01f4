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

from napari_melanoma.depth.wording import COLUMNS, NONE_YET, ROMAN, read_length, said_mitoses
from napari_melanoma.ui.slide.depth.automatic import DepthRunPanel
from napari_melanoma.ui.slide.regions.section import READER
from napari_melanoma.ui.viewer.shortcuts import shown_key
from napari_melanoma.ui.widgets.editors import StillCombo
from napari_melanoma.ui.widgets.look import ThemedIcons, Words, form, named, quiet, row, tool
from napari_melanoma.ui.widgets.settings import Settling
from napari_melanoma.ui.widgets.validity import ValidityNotice

if TYPE_CHECKING:
    from napari_melanoma.depth.readings import Reading
    from napari_melanoma.ui.widgets.settings import Settings

ULCERATION = {"not known": None, "yes": True, "no": False}
MARGINS = {"lateral_mm": "lateral", "deep_mm": "deep"}
NOTES_PX, LENGTH_PX = 58, 76


class DepthFields(QWidget):
    """The fields in their places; they tell what the user sets, and keep nothing."""

    edited = Signal(str, object)
    refused = Signal(str)
    ruler_wanted = Signal(str)
    tool_wanted = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.ulceration = named(StillCombo(), "depth_ulceration", "Ulceration", "Whether the melanoma is ulcerated")
        for words, value in ULCERATION.items():
            self.ulceration.addItem(words, value)
        tip = "Level of invasion after Clark, I to V; an estimate of the model stands as one until you choose"
        self.clark = named(StillCombo(), "depth_clark", "Clark level", tip)
        for number, words in enumerate(("not known", *ROMAN)):
            self.clark.addItem(words, number or None)
        self.estimate = named(quiet(), "depth_clark_by", "Where the Clark level comes from")
        self.estimate.setWordWrap(False)
        self.margins = {name: self._length(name, words) for name, words in MARGINS.items()}
        self.tools = self._mitosis_tools()
        self.counted = named(quiet(), "depth_mitoses", "Mitoses")
        self.counted.setToolTip("")
        self.notes = named(QPlainTextEdit(), "depth_notes", "Notes", "Free text; kept with the slide, never exported")
        self.notes.setFixedHeight(NOTES_PX)
        self.notes.setTabChangesFocus(True)
        self.notes.setFrameShape(QFrame.Shape.StyledPanel)
        self.notes.installEventFilter(self)
        self.typed = Settling(self)
        self._lay_out()
        self.ulceration.activated.connect(lambda _: self.edited.emit("ulcerated", self.ulceration.currentData()))
        self.clark.activated.connect(lambda _: self.edited.emit("clark", self.clark.currentData()))
        self.notes.textChanged.connect(self.typed.start)
        self.typed.timeout.connect(lambda: self.edited.emit("notes", self.notes.toPlainText()))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Keep the notes when somebody leaves them."""
        if event is not None and event.type() in (QEvent.Type.FocusOut, QEvent.Type.Hide):
            self.typed.now()
        return False

    def show_reading(self, reading: Reading) -> None:
        """Show what counts."""
        self.ulceration.setCurrentIndex(list(ULCERATION.values()).index(reading.ulcerated))
        self.clark.setCurrentIndex(reading.clark or 0)
        self.estimate.setText("estimate" if reading.clark_by == "estimate" else "")
        for name, (line, _) in self.margins.items():
            value = getattr(reading.margins, name)
            if not line.hasFocus() or not line.isModified():
                line.setText("" if value is None else f"{value:.3g}")
        self.counted.setText(said_mitoses(reading.mitoses))
        if not self.typed.isActive() and self.notes.toPlainText() != reading.notes:
            self.notes.blockSignals(True)
            self.notes.setPlainText(reading.notes)
            self.notes.blockSignals(False)

    def show_tool(self, name: str) -> None:
        """Show which tool is in hand."""
        for own, button in self.tools.items():
            button.setChecked(own == name)

    def _mitosis_tools(self) -> dict[str, QToolButton]:
        tips = {
            "count": "Click on each mitosis; press again to end. Delete removes those that are selected",
            "area": "Draw the area in which you count: click each corner, a double click ends it",
            "hotspot": "A circle of 1 mm² where you look, as the area in which you count",
        }
        texts = {"count": "count", "area": "area", "hotspot": "1 mm²"}
        made = {}
        for name, tip in tips.items():
            button = made[name] = tool(f"depth_{name}", tip, tip, texts[name], checkable=name != "hotspot")
            button.clicked.connect(lambda on, name=name: self.tool_wanted.emit(name if on or name == "hotspot" else ""))
        return made

    def _length(self, name: str, words: str) -> tuple[QLineEdit, QWidget]:
        """A field for a length in mm, and the button that takes it from the ruler."""
        line = named(
            QLineEdit(), f"depth_{name}", f"Margin, {words}, in mm", f"From the melanoma to the {words} edge, in mm"
        )
        line.setPlaceholderText("mm")
        line.setMaximumWidth(LENGTH_PX)
        line.editingFinished.connect(lambda: self._on_length(name))
        tip = "Take the length of the line that is chosen in Measure, or of the last one there"
        ruler = tool(f"depth_{name}_ruler", tip, tip, "ruler")
        ruler.clicked.connect(lambda: self.ruler_wanted.emit(name))
        return line, ruler

    def _on_length(self, name: str) -> None:
        line = self.margins[name][0]
        if not line.isModified():
            return
        line.setModified(False)
        try:
            self.edited.emit(name, read_length(line.text()))
        except ValueError:
            self.refused.emit(f"'{line.text()}' is no length: write mm, such as 2.5, or leave it empty.")

    def _lay_out(self) -> None:
        rows: QFormLayout = form(self)
        rows.addRow(QLabel("ulceration"), self.ulceration)
        rows.addRow(QLabel("Clark"), row(self.clark, self.estimate, stretch=1))
        for name, words in MARGINS.items():
            rows.addRow(QLabel(f"{words} margin"), row(*self.margins[name]))
        rows.addRow(QLabel("mitoses"), row(*self.tools.values()))
        rows.addRow(self.counted)
        rows.addRow(QLabel("notes"), self.notes)


DRAW_KEY = shown_key("slide.depth")
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

    tool_wanted = Signal(str)
    automatic_wanted = Signal()
    taking = Signal()
    chosen = Signal(int)
    stepped = Signal(str)
    reader_changed = Signal(str)

    def __init__(self, settings: Settings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self.head = named(QLabel(NONE_YET), "depth_head", "Breslow thickness and T category")
        self.head.setProperty("loud", True)
        self.head.setToolTip("Breslow thickness with its interval, and T category of AJCC's eighth edition")
        self.origin = named(quiet(), "depth_origin", "Where the thickness comes from")
        self.warning = named(Words(), "depth_warning", "What to know before relying on it")
        self.warning.setProperty("fault", True)
        self.draw = named(QPushButton("Measure by hand"), "depth_draw", "Measure by hand", f"Draw a line ({DRAW_KEY})")
        self.move_ends = named(QPushButton("Move the ends"), "depth_move", "Move the ends", "Drag the line by its ends")
        self.automatic = named(QPushButton("Measure automatically"), "depth_automatic", "Measure automatically")
        for button in (self.draw, self.move_ends):
            button.setCheckable(True)
        self.hint = named(quiet(HINTS[""]), "depth_hint", "How to measure")
        self.run = DepthRunPanel()
        self.found = named(quiet(), "depth_found", "What the model found")
        self.lines = named(QListWidget(), "depth_lines", "Lines that the model found", "Click to go there")
        self.lines.setFixedHeight(LIST_PX)
        tip = "Take the model's line that is chosen, as it is, as your own"
        self.take = tool("depth_take", tip, tip, "take this line")
        self.validity = ValidityNotice(icons, "depth", self.found, self.lines, row(self.take))
        self.fields = DepthFields()
        steps = {"undo": ("↶", "Take back the last change of this page"), "redo": ("↷", "Do it again")}
        self.steps = {way: tool(f"depth_{way}", tip, tip, text) for way, (text, tip) in steps.items()}
        tip = "Kept with everything that you set here; another reader has readings of their own"
        self.reader = named(QLineEdit(settings.kept(READER, "")), "depth_reader", "Your name as a reader", tip)
        self.reader.setPlaceholderText("who measures")
        tip = "Write what counts, with a picture of the line and the record of changes, as a page to print"
        self.report = tool("depth_report", tip, tip, "Report ...")
        tip = (
            "Take depth, ulceration, Clark level and mitoses into the lesion of the case that is open in the Case dock"
        )
        self.to_case = tool("depth_case", tip, tip, "To the case")
        self.table = _table()
        self.others = named(quiet(), "depth_others", "Other readers")
        self._lay_out()
        self._connect()

    def show_hint(self, drawing: str, *, has_line: bool) -> None:
        """Show which tool is in hand, and how to use it."""
        self.draw.setChecked(drawing == "draw")
        self.move_ends.setChecked(drawing == "move" and has_line)
        self.move_ends.setEnabled(has_line)
        self.hint.setText(HINTS[drawing if drawing != "move" or has_line else ""])

    def show_lines(self, said: Sequence[str], tips: Sequence[str], chosen: int, words: str) -> None:
        """List what the model found."""
        self.found.setText(words)
        self.found.setVisible(bool(words))
        self.lines.setVisible(bool(said))
        self.take.setVisible(bool(said))
        if [self.lines.item(index).text() for index in range(self.lines.count())] != list(said):
            self.lines.clear()
            self.lines.addItems(list(said))
            for at, tip in enumerate(tips):
                self.lines.item(at).setToolTip(tip or self.lines.toolTip())
        self.lines.setCurrentRow(chosen if said else -1)

    def show_automatic(self, models: tuple[str, ...] | None, why_not: str) -> None:
        """Show whether a model can measure."""
        said = why_not or (NO_MODEL if models == () else "")
        self.automatic.setEnabled(bool(models) and not said)
        self.automatic.setToolTip(said or AUTOMATIC.format((models or ("",))[0]))

    def show_readers(self, rows: Sequence[Sequence[str]], said: str) -> None:
        """Show the readers beside each other."""
        self.table.setRowCount(len(rows))
        for at, cells in enumerate(rows):
            for column, cell in enumerate(cells):
                self.table.setItem(at, column, QTableWidgetItem(cell))
        self.table.setFixedHeight(ROW_PX * (len(rows) + 1) + 4)
        self.table.setVisible(len(rows) > 1)
        self.others.setText(said)
        self.others.setVisible(bool(said))

    def _connect(self) -> None:
        self.draw.clicked.connect(lambda on: self.tool_wanted.emit("draw" if on else ""))
        self.move_ends.clicked.connect(lambda on: self.tool_wanted.emit("move" if on else ""))
        self.automatic.clicked.connect(self.automatic_wanted)
        self.take.clicked.connect(self.taking)
        self.lines.itemClicked.connect(lambda item: self.chosen.emit(self.lines.row(item)))
        for way, button in self.steps.items():
            button.clicked.connect(lambda _=False, way=way: self.stepped.emit(way))
        self.reader.editingFinished.connect(self._on_reader)

    def _on_reader(self) -> None:
        name = self.reader.text().strip()
        self._settings.keep(READER, name)
        self.reader_changed.emit(name)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        for widget in (
            self.head,
            self.origin,
            self.warning,
            row(self.draw, self.move_ends),
            self.hint,
            self.automatic,
            self.run,
            self.validity,
            self.fields,
            row(QLabel("reader"), self.reader, *self.steps.values(), stretch=1),
            row(self.report, self.to_case),
            self.table,
            self.others,
        ):
            column.addWidget(widget)


def _table() -> QTableWidget:
    """A table of readers that is as high as it must be."""
    table = named(QTableWidget(0, len(COLUMNS)), "depth_readers", "Readers beside each other")
    table.setHorizontalHeaderLabels(list(COLUMNS))
    table.verticalHeader().hide()
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    table.verticalHeader().setDefaultSectionSize(ROW_PX)
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    table.horizontalHeaderItem(len(COLUMNS) - 1).setToolTip("Mitoses per mm²")
    table.hide()
    return table

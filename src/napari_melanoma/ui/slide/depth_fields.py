"""What a report of a melanoma names beside its depth, as fields: ulceration, Clark level, margins, mitoses, notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtWidgets import QFormLayout, QFrame, QLabel, QLineEdit, QPlainTextEdit, QToolButton, QWidget

from napari_melanoma.report.depth_words import ROMAN, read_length, said_mitoses
from napari_melanoma.ui.editors import StillCombo
from napari_melanoma.ui.look import form, named, quiet, row, tool
from napari_melanoma.ui.settling import Settling

if TYPE_CHECKING:
    from napari_melanoma.io.slide_depth import Reading

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

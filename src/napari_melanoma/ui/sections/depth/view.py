"""The widgets of the Depth section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QCheckBox,
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
    QWidget,
)

from napari_melanoma.depth.reading_texts import NOT_MEASURED, READER_COLUMNS, describe_mitoses, parse_length
from napari_melanoma.depth.readings import FINDINGS
from napari_melanoma.depth.synoptic import describe_finding, find_answer
from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME
from napari_melanoma.ui.sections.depth.analysis import DepthRunPanel
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.editors import NoWheelComboBox, ReaderField
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import (
    ThemedIcons,
    WrappedLabel,
    column,
    fill_column,
    form_layout,
    named,
    quiet_label,
    reserve_space,
    row,
    scroll_area,
    tool_button,
    top_label,
)
from napari_melanoma.ui.widgets.validity import ValidityNotice

if TYPE_CHECKING:
    from napari_melanoma.depth.readings import DepthReading
    from napari_melanoma.ui.sections.depth.resolve import DepthTexts

COMBOS = {"ulceration": "Whether the melanoma is ulcerated", "clark": "Clark level of invasion, I to V"}
MARGINS = {"peripheral_distance_invasive": "lateral", "deep_distance_invasive": "deep"}
MITOSES = {  # text and tooltip
    "mitoses_measured": (
        "use counts",
        "Use the mitoses that are counted in Measure, within the selected regions, such as its circle of 1 mm²",
    ),
    "none_found": ("none found", "Record 0 mitoses: you have searched the selected regions, and there are none"),
}
NOTES_PX, LENGTH_PX = 58, 76


class DepthFields(QWidget):
    """Form for ulceration, Clark level, margins, mitoses and notes; it emits edits, but stores nothing.

    ``edited``: a finding by its field of the synoptic report, with the values of an answer, None for an unknown one; or
    ``notes``, with the text. ``input_rejected``: the message. ``ruler_requested``: name of
    the margin. ``mitoses_requested``: use the counts of Measure; whether the reader has found no mitosis.
    """

    edited = Signal(str, object)
    input_rejected = Signal(str)
    ruler_requested = Signal(str)
    mitoses_requested = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.combos = {name: _create_combo(name, tip) for name, tip in COMBOS.items()}
        self._suggestions: dict[str, object] = {}  # values of the model for findings that the reader has not set
        self.suggestion_buttons = {name: self._create_suggestion(name) for name in COMBOS}
        self.margins = {name: self._create_length_field(name, text) for name, text in MARGINS.items()}
        self.mitosis_buttons = {
            name: tool_button(f"depth_{name}", tip, tip, text) for name, (text, tip) in MITOSES.items()
        }
        self.mitosis_label = named(quiet_label(lines=3), "depth_mitoses", "Mitoses")
        self.mitosis_label.setToolTip("")
        self.notes = named(QPlainTextEdit(), "depth_notes", "Notes", "Free text; saved with the slide, never exported")
        self.notes.setFixedHeight(NOTES_PX)
        self.notes.setTabChangesFocus(True)
        self.notes.setFrameShape(QFrame.Shape.StyledPanel)
        self.notes.installEventFilter(self)
        self.notes_timer = DebounceTimer(self)
        self._lay_out()
        for name, button in self.mitosis_buttons.items():
            button.clicked.connect(lambda _=False, name=name: self.mitoses_requested.emit(name == "none_found"))
        for name, combo in self.combos.items():
            combo.settled.connect(lambda _, name=name, combo=combo: self.edited.emit(name, combo.currentData()))
        self.notes.textChanged.connect(self.notes_timer.start)
        self.notes_timer.timeout.connect(lambda: self.edited.emit("notes", self.notes.toPlainText()))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Store the notes when the field loses the focus."""
        if event is not None and event.type() in (QEvent.Type.FocusOut, QEvent.Type.Hide):
            self.notes_timer.flush()
        return False

    def flush(self) -> None:
        """Emit the notes that are being typed, and the item of a list that is being passed."""
        self.notes_timer.flush()
        for combo in self.combos.values():
            combo.flush()

    def show_reading(self, reading: DepthReading, predicted: DepthReading | None = None) -> None:
        """Show the reader's values; ``predicted``: values of the analysis, which are suggested for empty fields."""
        for name, combo in self.combos.items():
            field, own = FINDINGS[name], find_answer(reading, name)
            is_own = own is not None and not own.suggested_by
            if not combo.is_passing:
                combo.setCurrentIndex(combo.findText(describe_finding(reading, name)) if is_own else 0)
            models = () if is_own else (one for one in (reading, predicted) if one is not None)
            values = (one.finding(name) for one in models if one.author(field) != "reader")
            suggestion = self._suggestions[name] = next((value for value in values if value is not None), None)
            button = self.suggestion_buttons[name]
            text = "" if suggestion is None else FIELDS_BY_NAME[name].choices[str(suggestion)]
            button.setText(f"model: {text}")  # also while it is hidden: a button without text is higher
            button.setVisible(suggestion is not None)
        for name, (line, _) in self.margins.items():
            value = reading.finding(name)
            if not line.hasFocus() or not line.isModified():
                line.setText(f"{value:.3g}" if isinstance(value, float) else "")
        self.mitosis_label.setText(describe_mitoses(reading))
        self.mitosis_buttons["none_found"].setEnabled(reading.mitoses.counted is None)
        if not self.notes_timer.isActive() and self.notes.toPlainText() != reading.notes:
            self.notes.blockSignals(True)
            self.notes.setPlainText(reading.notes)
            self.notes.blockSignals(False)

    def _create_suggestion(self, field: str) -> QToolButton:
        """Create the button that shows the value of the model, and accepts it as the reader's."""
        tip = "Predicted by the model, not confirmed. Press to accept it as your finding"
        button = tool_button(f"depth_{field}_suggestion", tip, tip)
        button.setProperty("quiet", True)
        reserve_space(button)
        button.clicked.connect(
            lambda: self.edited.emit(field, {"value": self._suggestions[field], "confirmed_from": "model"})
        )
        return button

    def _create_length_field(self, name: str, text: str) -> tuple[QLineEdit, QWidget]:
        """Create a field for a length in mm, and the button that copies the length of a measured line."""
        line = named(
            QLineEdit(), f"depth_{text}_mm", f"Margin, {text}, in mm", f"From the melanoma to the {text} edge, in mm"
        )
        line.setPlaceholderText("mm")
        line.setMaximumWidth(LENGTH_PX)
        line.editingFinished.connect(lambda: self._on_length(name))
        tip = "Use the length of the line that is selected in Measure, or of the last one"
        ruler = tool_button(f"depth_{text}_mm_ruler", tip, tip, "ruler")
        ruler.clicked.connect(lambda: self.ruler_requested.emit(name))
        return line, ruler

    def _on_length(self, name: str) -> None:
        line = self.margins[name][0]
        if not line.isModified():
            return
        line.setModified(False)
        try:
            mm = parse_length(line.text())
            self.edited.emit(name, None if mm is None else {"value": mm})
        except ValueError:
            self.input_rejected.emit(f"'{line.text()}' is not a length: enter mm, such as 2.5, or leave it empty.")

    def _lay_out(self) -> None:
        rows: QFormLayout = form_layout(self)
        for name, label in (("ulceration", "ulceration"), ("clark", "Clark")):
            # Below the list, as a narrow dock has no room beside it.
            suggestion = row(self.suggestion_buttons[name])
            rows.addRow(top_label(label), column(self.combos[name], suggestion, spacing=2))
        for name, text in MARGINS.items():
            rows.addRow(QLabel(f"{text} margin"), row(*self.margins[name]))
        rows.addRow(QLabel("mitoses"), row(*self.mitosis_buttons.values()))
        rows.addRow(self.mitosis_label)
        rows.addRow(QLabel("notes"), self.notes)


def _create_combo(name: str, tip: str) -> NoWheelComboBox:
    """Create the choice of a finding; the data of its items are values of an answer, None if it is unknown."""
    field = FIELDS_BY_NAME[name]
    combo = named(NoWheelComboBox(), f"depth_{name}", field.label, tip)
    combo.addItem("unknown", None)
    for state in field.absent:  # beside the first item, so that a step too far sets no finding
        combo.addItem(state, {"state": state})
    for word, text in field.choices.items():
        combo.addItem(text, {"value": word})
    return combo


DRAW_KEY = format_key("slide.depth")
HINTS = {
    "": "From the top of the granular layer, or the base of the ulcer, to the deepest invasive cell.",
    "draw": "Press the mouse button at the top of the granular layer (or the ulcer's base), release it at the deepest "
    "invasive cell. Hold the space bar to pan.",
    "move": "Drag either end of the line; the thickness is updated.",
}
ROW_PX, LIST_PX = 24, 66
WARNINGS_PX = 54  # height of the list of warnings, which scrolls
NETWORK_TIP = (
    "For comparison only: the network of the Risk section predicts a depth from a patch. It does not measure a "
    "line, and cannot see cells below the patch. In parentheses, its difference from your reading, if the patch is at "
    "the deepest position of that reading"
)


class DepthView(QWidget):
    """The widgets of the Depth section.

    ``tool_requested``: ``draw`` or ``move``; empty to deactivate. ``proposal_selected``: index of the proposal.
    ``reader_changed``: the name.
    """

    tool_requested = Signal(str)
    proposal_selected = Signal(int)
    reader_changed = Signal(str)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._icons = icons
        self.thickness_label = WrappedLabel(NOT_MEASURED, lines=2)
        named(self.thickness_label, "depth_head", "Breslow thickness and T category")
        self.thickness_label.setProperty("loud", True)
        self.thickness_label.setToolTip("Breslow thickness with its interval, and T category (AJCC, 8th edition)")
        self.source_label = named(quiet_label(lines=2), "depth_origin", "Source of the thickness")
        self.network_label = named(quiet_label(), "depth_network", "Depth predicted by a network", NETWORK_TIP)
        self.warning_label = named(WrappedLabel(), "depth_warning", "Warnings about the reading")
        self.warning_label.setProperty("fault", True)
        self.warning_area = scroll_area(column(self.warning_label), "depth_warning_area", WARNINGS_PX)
        reserve_space(self.source_label)
        self.draw_button = named(
            QPushButton("Measure manually"), "depth_draw", "Measure manually", f"Draw a line ({DRAW_KEY})"
        )
        self.move_button = named(
            QPushButton("Move the ends"), "depth_move", "Move the ends", "Drag the line by its ends"
        )
        self.automatic_button = named(QPushButton("Measure automatically"), "depth_automatic", "Measure automatically")
        self.blocker_label = named(quiet_label(lines=2), "depth_blocker", "Why the model cannot measure")
        for button in (self.draw_button, self.move_button):
            button.setCheckable(True)
        tip = "Hide the lines and results of the model until you have measured"
        self.blind_check = named(QCheckBox("blind"), "depth_blind", "Blind reading", tip)
        self.lock_label = named(WrappedLabel(), "depth_lock", "Why the reading cannot be changed")
        self.hint_label = named(quiet_label(HINTS[""], lines=4), "depth_hint", "How to measure")
        self.run_panel = DepthRunPanel()
        self.proposal_label = named(quiet_label(lines=3), "depth_found", "Result of the model")
        self.proposal_list = named(QListWidget(), "depth_lines", "Lines measured by the model", "Click to go there")
        self.proposal_list.setFixedHeight(LIST_PX)
        tip = "Accept the selected line of the model as your reading"
        self.accept_button = tool_button("depth_take", tip, tip, "accept this line")
        self.validity = ValidityNotice(icons, "depth", self.proposal_label, self.proposal_list, row(self.accept_button))
        self.fields = DepthFields()
        steps = {"undo": ("↶", "Undo the last change in this section"), "redo": ("↷", "Redo")}
        self.history_buttons = {
            step: tool_button(f"depth_{step}", tip, tip, text) for step, (text, tip) in steps.items()
        }
        tip = "Saved with your readings; each reader has separate readings"
        self.reader_field = ReaderField("depth_reader", tip)
        tip = "Save a report of the reading, with an image of the line and the record of changes"
        self.report_button = tool_button("depth_report", tip, tip, "Report ...")
        tip = "Copy depth, ulceration, Clark level and mitoses to the lesion of the case that is open in the Case dock"
        self.case_button = tool_button("depth_case", tip, tip, "Add to case")
        self.reader_table = _create_reader_table()
        self.other_readers_label = named(quiet_label(), "depth_others", "Other readers")
        self._lay_out()
        self._connect()

    def show_tool(self, tool: str) -> None:
        """Show the active tool, and how to use it; without a line, there is no end to drag."""
        shown = tool if tool != "move" or self.move_button.isEnabled() else ""
        self.draw_button.setChecked(shown == "draw")
        self.move_button.setChecked(shown == "move")
        self.hint_label.setText(HINTS[shown])

    @property
    def tool_buttons(self) -> list[QAbstractButton]:
        """The buttons of the tools on the canvas."""
        return [self.draw_button, self.move_button]

    def show_texts(self, texts: DepthTexts) -> None:
        """Show the reading, what the model has measured, and other readers."""
        self.thickness_label.setText(texts.headline)
        scale_link = f"No scale: a depth requires one. {self._icons.link('scale', 'Set the scale')}."
        warnings = (scale_link, *texts.warnings) if texts.needs_scale else texts.warnings
        for label, text in (
            (self.source_label, texts.source),
            (self.network_label, texts.network),
            (self.warning_label, "<br>".join(warnings)),
            (self.lock_label, texts.lock),
            (self.other_readers_label, texts.others),
        ):
            label.setText(text)
            label.setVisible(bool(text))
        self.fields.show_reading(texts.reading, texts.predicted)
        for control in (self.fields, self.draw_button, self.accept_button):
            control.setEnabled(not texts.lock)
        self.move_button.setEnabled(texts.can_move)
        for step, button in self.history_buttons.items():
            button.setEnabled(texts.history[step])
        for button in (self.report_button, self.case_button):
            button.setEnabled(texts.can_export)
        self.automatic_button.setEnabled(not texts.blocker)
        self.automatic_button.setToolTip(texts.automatic_tip)
        self.blocker_label.setText(texts.blocker)
        self._show_proposals(texts)
        self.validity.show_validity(texts.validity, None)
        self.validity.show_anyway_button.setChecked(texts.shows_invalid)
        self._show_readers(texts.rows)

    def _show_proposals(self, texts: DepthTexts) -> None:
        """List the lines measured by the model."""
        self.proposal_label.setText(texts.summary)
        self.proposal_label.setVisible(bool(texts.summary))
        self.proposal_list.setVisible(bool(texts.labels))
        self.accept_button.setVisible(bool(texts.labels))
        if [self.proposal_list.item(index).text() for index in range(self.proposal_list.count())] != [*texts.labels]:
            self.proposal_list.clear()
            self.proposal_list.addItems(list(texts.labels))
            for index, tip in enumerate(texts.tips):
                self.proposal_list.item(index).setToolTip(tip or self.proposal_list.toolTip())
        self.proposal_list.setCurrentRow(texts.selected if texts.labels else -1)

    def _show_readers(self, rows: Sequence[Sequence[str]]) -> None:
        """Show the readings of all readers; ``rows``: cells in the order of ``READER_COLUMNS``."""
        self.reader_table.setRowCount(len(rows))
        for index, cells in enumerate(rows):
            for place, cell in enumerate(cells):
                self.reader_table.setItem(index, place, QTableWidgetItem(cell))
        self.reader_table.setFixedHeight(ROW_PX * (len(rows) + 1) + 4)
        self.reader_table.setVisible(len(rows) > 1)

    def _connect(self) -> None:
        self.draw_button.clicked.connect(lambda on: self.tool_requested.emit("draw" if on else ""))
        self.move_button.clicked.connect(lambda on: self.tool_requested.emit("move" if on else ""))
        self.proposal_list.itemClicked.connect(lambda item: self.proposal_selected.emit(self.proposal_list.row(item)))
        self.reader_field.editingFinished.connect(lambda: self.reader_changed.emit(self.reader_field.name))

    def _lay_out(self) -> None:
        fill_column(
            self,
            self.warning_area,
            self.thickness_label,
            self.source_label,
            row(self.draw_button, self.move_button, self.blind_check),
            self.hint_label,
            self.automatic_button,
            self.blocker_label,
            self.fields,
            row(
                QLabel("reader"),
                self.reader_field,
                self.reader_field.change_button,
                *self.history_buttons.values(),
                stretch=1,
            ),
            row(self.report_button, self.case_button),
            self.validity,
            self.run_panel,  # what comes and goes moves nothing below
            self.lock_label,
            self.network_label,
            self.reader_table,
            self.other_readers_label,
            spacing=5,
        )
        self.layout().addStretch(1)  # takes the space that a text has left


def _create_reader_table() -> QTableWidget:
    """Create the table of readers."""
    table = named(QTableWidget(0, len(READER_COLUMNS)), "depth_readers", "Readings of all readers")
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

"""The form of findings: fields of the synoptic report, shown in the sections Depth and Report, and in the Case dock.

It is made from the table of fields. It emits answers, but stores nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QRect, Qt, Signal
from qtpy.QtGui import QFont, QKeyEvent, QMouseEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QFrame,
    QGridLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.depth.synoptic import SOURCE_NAMES, SynopticAnswer, SynopticReport
from napari_melanoma.depth.synoptic_fields import ANSWERED, CANNOT, FIELDS, FIELDS_BY_NAME, OTHER, SynopticField
from napari_melanoma.depth.t_category import format_thickness, round_measured_thickness
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.number_box import with_decimal_point
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import (
    HEIGHT_EVENTS,
    NO_LIMIT_PX,
    FormRows,
    WrappedLabel,
    named,
    quiet_label,
    row,
    show_text,
    tool_button,
)

if TYPE_CHECKING:
    from napari_melanoma.ui.widgets.style import ThemedIcons

EMPTY = "–"  # not filled in
LABEL_PX, CONFIRM_PX, GAP_PX, TEXT_PX = 124, 24, 4, 58
FIELD_PX = 180  # of a field beside its label, in the narrowest dock
ARROW_PX = 48  # of a list, with its margins
TYPING_MS = 1000  # pause after which what is typed is stored
LABEL_LINES = 2  # of a label beside a field; a longer label is placed above it
LABEL_PADDING_PX = 6  # of napari's theme, both sides
BESIDE, DETAIL_ROW, BELOW = 1, 3, 5  # rows of the grid: of the field, its details, and what is added below
NOT_SPECIFIED = "not_specified"
LOCATED = ("site",)  # fields that have a line for details also before they are answered
DETAILS: Mapping[str, str] = {"site": "exact location", "breslow": "reason"}  # placeholders, by field


class FindingRow(QWidget):
    """A field of the form: its label and its answer, and the button that confirms a suggestion.

    ``prefix``: of the names of the controls. ``control``: shows the answer.
    """

    answered = Signal(str, object)  # field, SynopticAnswer or None
    confirmed = Signal(str)  # field
    typed = Signal()  # a letter
    fault_changed = Signal()

    def __init__(self, field: SynopticField, prefix: str) -> None:
        super().__init__()
        self.field, self._name = field, f"{prefix}_{field.name}"
        self.setProperty("legible", True)  # also when it is locked, because a signed report is read
        self._answer: SynopticAnswer | None = None
        self.label = WrappedLabel(field.label)
        self.label.setProperty("quiet", True)
        self.control: Any = named(self._create_control(), self._name, field.label, _tip(field))
        self.confirm_button: QToolButton | None = None
        self._line = row(self.control, stretch=0)  # the answer, and what is beside it
        self._before_confirm: QWidget = self.control
        grid = self._grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(4)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        grid.addWidget(self._line, BESIDE, 1)

    @property
    def has_fault(self) -> bool:
        """Whether a number that was typed is not accepted."""
        return False

    def _create_control(self) -> QWidget:
        raise NotImplementedError

    def show_answer(self, answer: SynopticAnswer | None, *, replace_typed: bool = False) -> None:
        """Show an answer; ``replace_typed``: also instead of what is being typed."""
        raise NotImplementedError

    def set_locked(self, locked: bool) -> None:
        """Let the answer be read only, or edited; a click on a control is then one on the form."""
        for part in (self.control, self.confirm_button):
            if part is not None:
                part.setEnabled(not locked)

    def flush(self) -> None:
        """Emit the input that is being typed."""

    def store_typed(self) -> None:
        """Emit what is being typed if it is complete."""

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Place the label after a change of font or style."""
        super().changeEvent(event)
        if event.type() in HEIGHT_EVENTS:
            self._place_label()

    def _place_label(self) -> None:
        """Place the label beside the field, or above it if one of the two needs more room."""
        grid, text, wrap = self._grid, self.label.fontMetrics(), Qt.TextFlag.TextWordWrap
        label_rect = QRect(0, 0, LABEL_PX - LABEL_PADDING_PX, 0)
        one_line = text.boundingRect(label_rect, wrap, "X").height()
        is_long = text.boundingRect(label_rect, wrap, self.field.label).height() > LABEL_LINES * one_line
        if is_long or self.field.kind == "text" or self._needed_width > FIELD_PX:
            self.label.setMinimumWidth(0)
            self.label.setMaximumWidth(NO_LIMIT_PX)
            self.label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            grid.addWidget(self.label, 0, 0, 1, 2)
            grid.addWidget(self._line, BESIDE, 0, 1, 2)
        else:
            self.label.setFixedWidth(LABEL_PX)
            grid.addWidget(self.label, BESIDE, 0, Qt.AlignmentFlag.AlignVCenter)
            grid.addWidget(self._line, BESIDE, 1)

    @property
    def _needed_width(self) -> int:
        """The width of the longest answer to choose from, with the button that confirms it."""
        return 0

    def _show_source(self, source: str) -> None:
        """Mark a suggestion by its source (empty if it is none), with a button that confirms it."""
        button = self.confirm_button
        if button is None:
            if not source:
                return
            button = tool_button(f"{self._name}_confirm", f"Confirm {self.field.label}", "", "?")
            button.setFixedWidth(CONFIRM_PX)
            button.clicked.connect(self._on_confirm)
            self.confirm_button = button
            line = self._line.layout()
            line.insertWidget(line.indexOf(self._before_confirm) + 1, button)
        button.setVisible(bool(source))
        button.setEnabled(self.control.isEnabled())
        if source:
            button.setToolTip(f"Suggested by {source}, not confirmed. Press to confirm.")
        if bool(source) != bool(self.property("suggested")):
            self.setProperty("suggested", bool(source))
            for part in (self.control, *self.control.findChildren(QLineEdit)):
                part.style().unpolish(part)  # Qt applies a rule for a property only then
                part.style().polish(part)

    def _on_confirm(self) -> None:
        """Confirm the suggestion; the focus stays in the row when the button is hidden."""
        self.control.setFocus()
        self.confirmed.emit(self.field.name)


class FindingValue(FindingRow):
    """The answer to a field that is entered in another section, with a link to that section.

    ``section``: its title. ``linked``: the link was followed.
    """

    linked = Signal(str)  # title

    def __init__(self, field: SynopticField, prefix: str, section: str, icons: ThemedIcons) -> None:
        super().__init__(field, prefix)
        self._section, self._icons = section, icons
        tip = f"{field.label} is entered in the section {section}"
        self.link_label = named(QLabel(), f"{self._name}_link", f"Show the section {section}", tip)
        self.link_label.linkActivated.connect(self.linked)
        self._line.layout().addWidget(self.link_label)
        self._place_label()
        icons.changed.connect(self._show_link)
        self._show_link()
        self.show_answer(None)

    def show_answer(self, answer: SynopticAnswer | None, *, replace_typed: bool = False) -> None:
        """Show an answer."""
        self._answer = answer
        self.control.setText(_describe_answer(self.field, answer))
        source = "" if answer is None else SOURCE_NAMES.get(answer.suggested_by, "")
        font = QFont(self.control.font())
        font.setItalic(bool(source))
        self.control.setFont(font)
        self.control.setProperty("quiet", bool(source))
        self._show_source(source)
        self.control.style().unpolish(self.control)
        self.control.style().polish(self.control)

    def set_locked(self, locked: bool) -> None:
        """Let a suggestion be confirmed, or not."""
        if self.confirm_button is not None:
            self.confirm_button.setEnabled(not locked)

    def _create_control(self) -> WrappedLabel:
        label = WrappedLabel()
        label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return label

    def _show_link(self) -> None:
        self.link_label.setText(self._icons.link(self._section, self._section))


class FindingEditor(FindingRow):
    """The controls of one field: its answer, its details, and the button that confirms a suggestion.

    What few fields need is created when it is first shown.
    """

    def __init__(self, field: SynopticField, prefix: str) -> None:
        super().__init__(field, prefix)
        self._fault = ""
        self._stored_text = ""  # that was typed and stored before its field was left
        self.control.installEventFilter(self)
        self.unit_label = quiet_label(field.unit) if field.unit else None
        self.at_least_check: QCheckBox | None = None
        self.detail_line: QLineEdit | None = None
        self.fault_label: WrappedLabel | None = None
        self._buttons: list[QToolButton] = []
        if self.unit_label is not None:
            self.unit_label.setWordWrap(False)
            self._line.layout().addWidget(self.unit_label)
            self._before_confirm = self.unit_label
        if field.name == "breslow":
            tip = "The melanoma may be thicker"
            self.at_least_check = named(QCheckBox("At least"), f"{self._name}_at_least", "At least", tip)
            self.at_least_check.clicked.connect(self._on_at_least)
            self._grid.addWidget(self.at_least_check, 2, 1)
        self._place_label()
        self.show_answer(None)

    @property
    def has_fault(self) -> bool:
        """Whether a number that was typed is not accepted."""
        return bool(self._fault)

    def add_button(self, button: QToolButton) -> None:
        """Add a button that is another way to answer the field."""
        self._buttons.append(button)
        self._line.layout().addWidget(button)

    def add_below(self, widget: QWidget) -> None:
        """Add a widget below the field."""
        self._grid.addWidget(widget, BELOW, 0, 1, 2)

    def set_locked(self, locked: bool) -> None:
        """Let the answer be read only, or edited; a click on a control is then one on the form."""
        super().set_locked(locked)
        for button in self._buttons:
            button.setEnabled(not locked)
        if self.at_least_check is not None:
            self.at_least_check.setEnabled(not locked and self._has_value)

    def show_answer(self, answer: SynopticAnswer | None, *, replace_typed: bool = False) -> None:
        """Show an answer; ``replace_typed``: also instead of a number or text that is being typed.

        What was stored while it was typed is replaced by another answer, such as by that of Undo.
        """
        is_other = answer != self._answer
        self._answer = answer
        if replace_typed:
            self._show_fault("")
        if isinstance(self.control, QPlainTextEdit):
            text = self.control.toPlainText()
            is_typed = self.control.hasFocus() and not (is_other and text == self._stored_text)
            if (replace_typed or not is_typed) and text != self._shown_text:
                self.control.setPlainText(self._shown_text)
        elif self.field.kind == "number":
            line = self.control.lineEdit()
            is_stored = is_other and line.text() == self._stored_text
            is_typed = line.hasFocus() and line.isModified() and not is_stored
            is_typed = is_typed or self.has_fault or self.control.is_passing
            if replace_typed or not is_typed:
                line.setModified(False)
                self.control.setEditText(_number_text(self.field, answer))
                line.setCursorPosition(0)
        elif replace_typed or not self.control.is_passing:
            word = None if answer is None else answer.value if answer.state == ANSWERED else answer.state
            self.control.setCurrentIndex(max(0, self.control.findData(word)))
        if self.at_least_check is not None:
            self.at_least_check.setChecked(answer is not None and answer.at_least)
            self.at_least_check.setEnabled(self.control.isEnabled() and self._has_value)
        if self.unit_label is not None:  # hidden for a state, which needs the space
            self.unit_label.setVisible(answer is None or answer.value is not None)
        self._show_detail(answer, replace_typed=replace_typed)
        self._show_source("" if answer is None else SOURCE_NAMES.get(answer.suggested_by, ""))

    def _show_detail(self, answer: SynopticAnswer | None, *, replace_typed: bool) -> None:
        has_detail = answer is not None and (
            bool(answer.detail)
            or answer.value == OTHER
            or (self.field.name in LOCATED and answer.value is not None)
            or (self.field.name == "breslow" and answer.state == CANNOT)
        )
        line = self.detail_line
        if line is None:
            if not has_detail and self.field.name not in LOCATED:
                return
            line = self.detail_line = named(QLineEdit(), f"{self._name}_detail", f"{self.field.label}: details")
            line.setPlaceholderText(DETAILS.get(self.field.name, "describe"))
            line.setAcceptDrops(False)  # the dock opens files that are dropped on it
            line.editingFinished.connect(self._on_detail)
            line.textEdited.connect(self.typed)
            line.installEventFilter(self)
            self._grid.addWidget(line, DETAIL_ROW, 1)
        if replace_typed or not (line.hasFocus() and line.isModified()):
            line.setText("" if answer is None else answer.detail)
        line.setVisible(has_detail or self.field.name in LOCATED)  # so that the fields below stay in place
        line.setEnabled(has_detail and self.control.isEnabled())

    def discard_typed(self) -> None:
        """Show the stored answer instead of what is being typed."""
        self.show_answer(self._answer, replace_typed=True)

    def flush(self) -> None:
        """Emit the text that is being typed, or the item of the list that is being passed."""
        if isinstance(self.control, QPlainTextEdit):
            self._on_text()
        else:
            self.control.flush()
        if self.field.kind == "number":
            self._on_number()
        if self.detail_line is not None:
            self._on_detail()

    def store_typed(self) -> None:
        """Emit what is being typed if it is complete, and leave the text and the cursor as they are."""
        control, detail = self.control, self.detail_line
        if isinstance(control, QPlainTextEdit):
            text = control.toPlainText()
            if not text.isspace():
                self._on_text()
                self._stored_text = text
        elif self.field.kind == "number" and control.lineEdit().isModified():
            text = control.lineEdit().text()
            number = self._read_number(text.strip())
            if number is not None and not text.endswith((".", ",")):  # decimals follow
                self._emit(number)
                self._stored_text = text
        if detail is not None and detail.isModified() and self._answer is not None and not detail.text().isspace():
            self._emit(self._answer.model_copy(update={"detail": detail.text().strip()}))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Emit the text when its field loses the focus, and restore the stored value by Escape."""
        if event is None:
            return False
        is_text = watched is self.control and isinstance(self.control, QPlainTextEdit)
        if is_text and event.type() in (QEvent.Type.FocusOut, QEvent.Type.Hide):
            self._on_text()
        is_key = event.type() in (QEvent.Type.KeyPress, QEvent.Type.ShortcutOverride)
        if not (is_key and isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_Escape and self._is_typed):
            return False
        if event.type() == QEvent.Type.KeyPress:
            self.discard_typed()
        event.accept()  # before a shortcut gets the key
        return True

    @property
    def _is_typed(self) -> bool:
        """Whether a text differs from the stored answer."""
        if isinstance(self.control, QPlainTextEdit):
            return bool(self.control.toPlainText() != self._shown_text)
        is_number_typed = self.field.kind == "number" and self.control.lineEdit().isModified()
        is_detail_typed = self.detail_line is not None and self.detail_line.isModified()
        return is_number_typed or self.has_fault or is_detail_typed

    @property
    def _shown_text(self) -> str:
        return "" if self._answer is None else str(self._answer.value)

    def _create_control(self) -> NoWheelComboBox | QPlainTextEdit:
        if self.field.kind == "text":
            text = QPlainTextEdit()
            text.setFixedHeight(TEXT_PX)
            text.setTabChangesFocus(True)
            text.setFrameShape(QFrame.Shape.StyledPanel)
            text.textChanged.connect(lambda: self.typed.emit() if self._is_typed else None)
            return text
        combo = NoWheelComboBox()
        combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        combo.addItem("" if self.field.kind == "number" else EMPTY, None)
        choices = sorted(self.field.choices.items(), key=lambda item: item[0] != NOT_SPECIFIED)
        # What states no finding is beside the empty item, so that a step too far does no harm
        for word, label in (*((state, state) for state in self.field.absent), *choices):
            combo.addItem(label, word)
        if self.field.kind == "number":
            combo.setEditable(True)
            combo.setInsertPolicy(NoWheelComboBox.InsertPolicy.NoInsert)
            combo.lineEdit().setAlignment(Qt.AlignmentFlag.AlignRight)
            combo.lineEdit().setPlaceholderText(EMPTY)
            combo.lineEdit().editingFinished.connect(self._on_number)
            combo.lineEdit().textEdited.connect(self.typed)
        combo.settled.connect(self._on_chosen)
        return combo

    @property
    def _has_value(self) -> bool:
        return self._answer is not None and bool(self._answer.value)

    @property
    def _needed_width(self) -> int:
        combo = self.control
        if not isinstance(combo, NoWheelComboBox) or self.field.kind == "number":
            return 0
        texts = (combo.itemText(index) for index in range(combo.count()))
        return ARROW_PX + GAP_PX + CONFIRM_PX + max(int(combo.fontMetrics().horizontalAdvance(text)) for text in texts)

    def _emit(self, answer: SynopticAnswer | None) -> None:
        self._show_fault("")
        if answer != self._answer:
            self.answered.emit(self.field.name, answer)
        else:  # stored while it was typed: show it as stored values are shown
            self.show_answer(answer)

    def _show_fault(self, text: str) -> None:
        if text == self._fault:
            return
        self._fault = text
        if self.fault_label is None:
            self.fault_label = named(WrappedLabel(), f"{self._name}_fault", f"Error in {self.field.label}")
            self.fault_label.setProperty("fault", True)
            self._grid.addWidget(self.fault_label, 4, 0, 1, 2)
        show_text(self.fault_label, text)
        self.fault_changed.emit()

    def _on_chosen(self, index: int) -> None:
        """Emit the selected word or state; the details of another one are dropped."""
        word = self.control.itemData(index)
        if self.field.kind == "number":
            self.control.lineEdit().setModified(False)
        if word is None:
            self._emit(None)
            return
        answer = SynopticAnswer(state=word) if word in self.field.absent else SynopticAnswer(value=word)
        previous = self._answer
        if previous is not None and (previous.state, previous.value) == (answer.state, answer.value):
            answer = previous.model_copy(update={"suggested_by": ""})  # selected again: confirmed, with its details
        self._emit(answer)

    def _on_number(self) -> None:
        """Emit the typed number or state; other input stays, with an error message."""
        line = self.control.lineEdit()
        if not line.isModified():
            return
        text = line.text().strip()
        if line.text().isspace():  # only spaces, such as of a space bar that was to press a button
            self.discard_typed()
            return
        line.setModified(False)
        answer = self._read_number(text)
        if text and answer is None:
            kind = "a whole number" if self.field.is_integer else "a number"
            unit = f" {self.field.unit}" if self.field.unit else ""
            self._show_fault(f"Expected {kind} from 0 to {self.field.most:g}{unit}, found '{text}'.")
        else:
            self._emit(answer)

    def _read_number(self, text: str) -> SynopticAnswer | None:
        """Return the answer that a text states, a number or a state; None if it is not accepted."""
        if text.lower() in self.field.absent:
            return SynopticAnswer(state=text.lower())
        try:
            number = float(with_decimal_point(text.removesuffix(self.field.unit)))
        except ValueError:
            return None
        if not 0 <= number <= self.field.most or (self.field.is_integer and not number.is_integer()):
            return None
        previous = self._answer
        return SynopticAnswer(value=number, at_least=bool(previous and previous.at_least and number > 0))

    def _on_at_least(self, checked: bool) -> None:
        if self._answer is not None:
            self._emit(self._answer.model_copy(update={"at_least": checked}))

    def _on_detail(self) -> None:
        line = self.detail_line
        if line is not None and line.isModified() and self._answer is not None:
            line.setModified(False)
            if line.text().isspace():
                line.setText(self._answer.detail)
            self._emit(self._answer.model_copy(update={"detail": line.text().strip()}))

    def _on_text(self) -> None:
        if self.control.toPlainText().isspace():
            self.control.setPlainText(self._shown_text)
        text = self.control.toPlainText().strip()
        if text != self._shown_text:
            self._emit(SynopticAnswer(value=text) if text else None)


class FindingsForm(FormRows):
    """Fields of the synoptic report below each other; it emits answers, but stores nothing.

    ``prefix``: of the names of the controls. ``names``: of the fields. ``has_groups``: their groups are headings.
    ``lock_pressed``: the user has clicked a field that must not be changed; with the reason.
    """

    answered = Signal(str, object)  # field, SynopticAnswer or None
    confirm_requested = Signal(str)  # a field
    fault_changed = Signal()
    lock_pressed = Signal(str)

    def __init__(self, prefix: str, names: Iterable[str] = FIELDS_BY_NAME, *, has_groups: bool = False) -> None:
        super().__init__()
        self._lock, self._prefix = "", prefix
        self._typing_timer = DebounceTimer(self, TYPING_MS)
        self._typing_timer.timeout.connect(self._store_typed)
        shown = {*names}
        self.editors: dict[str, FindingEditor] = {
            field.name: FindingEditor(field, prefix) for field in FIELDS if field.name in shown
        }
        self._rows: dict[str, FindingRow] = dict(self.editors)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for group, editors in groupby(self.editors.values(), key=lambda editor: editor.field.group):
            if has_groups:
                heading = QLabel(group)
                heading.setProperty("loud", True)
                layout.addSpacing(4)
                layout.addWidget(heading)
            for editor in editors:
                layout.addWidget(editor)
        for editor in self.editors.values():
            editor.answered.connect(self.answered)
            editor.typed.connect(self._typing_timer.start)
            editor.confirmed.connect(self.confirm_requested)
            editor.fault_changed.connect(self.fault_changed)

    def link_field(self, name: str, section: str, icons: ThemedIcons) -> FindingValue:
        """Replace the editor of a field by its answer, with a link to the section in which it is entered."""
        editor = self.editors.pop(name)
        value = self._rows[name] = FindingValue(editor.field, self._prefix, section, icons)
        value.confirmed.connect(self.confirm_requested)
        self.layout().replaceWidget(editor, value)
        editor.setParent(None)
        editor.deleteLater()
        return value

    @property
    def has_fault(self) -> bool:
        """Whether a number that was typed is not accepted."""
        return any(editor.has_fault for editor in self.editors.values())

    def show_report(self, report: SynopticReport, lock: str = "", *, is_other: bool = False) -> None:
        """Show answers; what is being typed stays unless it is for another report.

        ``lock``: why they must not be changed; empty if they may.
        """
        self._lock = lock
        for name, shown in self._rows.items():
            shown.set_locked(bool(lock))
            shown.show_answer(report.answer(name), replace_typed=bool(lock) or is_other)

    def flush(self) -> None:
        """Emit the input that is being typed."""
        self._typing_timer.stop()
        for editor in self.editors.values():
            if not self._lock:
                editor.flush()

    def _store_typed(self) -> None:
        for editor in self.editors.values():
            if not self._lock:
                editor.store_typed()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """State why the fields cannot be changed: Qt passes clicks on disabled controls to the form."""
        super().mousePressEvent(event)
        if self._lock:
            self.lock_pressed.emit(self._lock)


def _describe_answer(field: SynopticField, answer: SynopticAnswer | None) -> str:
    """Return an answer with its unit, or why there is none; a dash if it is not filled in."""
    if answer is None:
        return EMPTY
    if field.name == "breslow" and isinstance(answer.value, float):
        return format_thickness(answer.value, at_least=answer.at_least)
    text = f"{_number_text(field, answer)} {field.unit if answer.value is not None else ''}".strip()
    return f"{text}: {answer.detail}" if answer.detail else text


def _number_text(field: SynopticField, answer: SynopticAnswer | None) -> str:
    if answer is None:
        return ""
    if field.name == "breslow" and isinstance(answer.value, float):
        return f"{round_measured_thickness(answer.value):.2f}"
    return answer.state if answer.value is None else f"{answer.value:.4g}"


def _tip(field: SynopticField) -> str:
    """Return a tooltip with the range of a number and the accepted words."""
    limits = f"0 to {field.most:g} {field.unit}".strip() if field.kind == "number" else ""
    parts = (field.label, limits, " or ".join(field.absent) if field.kind == "number" else "", field.help)
    return "; ".join(part for part in parts if part)

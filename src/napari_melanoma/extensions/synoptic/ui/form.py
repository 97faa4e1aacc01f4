"""The form of a synoptic report, made from the table of fields; it emits edits, but does not store them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from qtpy.QtCore import QEvent, QObject, QRect, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QFrame,
    QGridLayout,
    QInputDialog,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.core.formatting import format_count
from napari_melanoma.depth.reading_texts import format_time
from napari_melanoma.depth.synoptic import SOURCE_NAMES, SynopticAnswer, SynopticReport
from napari_melanoma.depth.synoptic_fields import ANSWERED, CANNOT, FIELDS, OTHER, AnswerState, SynopticField
from napari_melanoma.depth.t_category import round_measured_thickness
from napari_melanoma.slides.synoptic_files import CHANGED
from napari_melanoma.ui.widgets.dialogs import create_question
from napari_melanoma.ui.widgets.editors import NoWheelComboBox, ReaderField
from napari_melanoma.ui.widgets.style import (
    HEIGHT_EVENTS,
    NO_LIMIT_PX,
    WrappedLabel,
    column,
    named,
    quiet_label,
    reserve_space,
    row,
    scroll_area,
    tool_button,
)

EMPTY = "–"  # not filled in
CHANGES_PX = 54  # height of the list of changes, which scrolls
LABEL_PX, CONFIRM_PX, TEXT_PX = 124, 24, 58
LABEL_LINES = 2  # of a label beside a field; a longer label is placed above it
LABEL_PADDING_PX = 6  # of napari's theme, both sides
NOT_SPECIFIED = "not_specified"
LOCATED = ("site",)  # fields that have a line for details also before they are answered
FAULTY = "Correct the input that is marked first."
DETAILS: Mapping[str, str] = {"site": "exact location", "breslow": "reason"}  # placeholders, by field


class SynopticEditor(QWidget):
    """The controls of one field: its answer, its details, and the button that confirms a suggestion."""

    answered = Signal(str, object)  # field, SynopticAnswer or None
    confirmed = Signal(str)  # field
    fault_changed = Signal()

    def __init__(self, field: SynopticField) -> None:
        super().__init__()
        self.field = field
        self.setProperty("legible", True)  # also when it is locked, because a signed report is read
        self._answer: SynopticAnswer | None = None
        self.label = WrappedLabel(field.label)
        self.label.setProperty("quiet", True)
        self.unit_label = quiet_label(field.unit)
        self.unit_label.setWordWrap(False)
        self.control = self._create_control()
        named(self.control, f"synoptic_{field.name}", field.label, _tip(field))
        self.at_least_check = named(
            QCheckBox("at least"), f"synoptic_{field.name}_at_least", "At least", "The melanoma may be thicker"
        )
        if field.name == "breslow":
            reserve_space(self.at_least_check)
        self.detail_line = named(QLineEdit(), f"synoptic_{field.name}_detail", f"{field.label}: details")
        self.detail_line.setPlaceholderText(DETAILS.get(field.name, "describe"))
        self.confirm_button = tool_button(f"synoptic_{field.name}_confirm", f"Confirm {field.label}", "", "?")
        self.confirm_button.setFixedWidth(CONFIRM_PX)
        self.fault_label = named(WrappedLabel(), f"synoptic_{field.name}_fault", f"Error in {field.label}")
        self.fault_label.setProperty("fault", True)
        self.fault_label.hide()
        self._lay_out()
        self.at_least_check.clicked.connect(self._on_at_least)
        self.detail_line.editingFinished.connect(self._on_detail)
        self.confirm_button.clicked.connect(self._on_confirm)
        for part in (self.control, self.detail_line):
            part.installEventFilter(self)
        self.show_answer(None)

    @property
    def has_fault(self) -> bool:
        """Whether a number that was typed is not accepted."""
        return bool(self.fault_label.text())

    def show_answer(self, answer: SynopticAnswer | None, *, replace_typed: bool = True) -> None:
        """Show an answer; ``replace_typed``: also instead of a number or text that is being typed."""
        self._answer = answer
        if replace_typed:
            self._show_fault("")
        if isinstance(self.control, QPlainTextEdit):
            text = self._shown_text
            if (replace_typed or not self.control.hasFocus()) and self.control.toPlainText() != text:
                self.control.setPlainText(text)
        elif self.field.kind == "number":
            line = self.control.lineEdit()
            is_typed = (line.hasFocus() and line.isModified()) or self.has_fault or self.control.is_passing
            if replace_typed or not is_typed:
                line.setModified(False)
                self.control.setEditText(_number_text(self.field, answer))
                line.setCursorPosition(0)
        elif replace_typed or not self.control.is_passing:
            word = None if answer is None else answer.value if answer.state == ANSWERED else answer.state
            self.control.setCurrentIndex(max(0, self.control.findData(word)))
        self.at_least_check.setChecked(answer is not None and answer.at_least)
        self.at_least_check.setVisible(self.field.name == "breslow" and answer is not None and bool(answer.value))
        if replace_typed or not (self.detail_line.hasFocus() and self.detail_line.isModified()):
            self.detail_line.setText("" if answer is None else answer.detail)
        has_detail = answer is not None and self._has_detail(answer)
        self.detail_line.setVisible(has_detail or self.field.name in LOCATED)  # so that the fields below stay in place
        self.detail_line.setEnabled(has_detail)
        has_unit = bool(self.field.unit) and (answer is None or answer.value is not None)
        self.unit_label.setVisible(has_unit)  # hidden for a state, which needs the space
        source = "" if answer is None else answer.suggested_by
        self.confirm_button.setVisible(bool(source))
        if source:
            self.confirm_button.setToolTip(f"Suggested by {SOURCE_NAMES[source]}, not confirmed. Press to confirm.")

    def flush(self) -> None:
        """Emit the text that is being typed, or the item of the list that is being passed."""
        if isinstance(self.control, QPlainTextEdit):
            self._on_text()
        else:
            self.control.flush()
        if self.field.kind == "number":
            self._on_number()
        self._on_detail()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Place the label after a change of font or style."""
        super().changeEvent(event)
        if event.type() in HEIGHT_EVENTS:
            self._place_label()

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
            self.show_answer(self._answer)
        event.accept()  # before a shortcut gets the key
        return True

    @property
    def _is_typed(self) -> bool:
        """Whether a text differs from the stored answer."""
        if isinstance(self.control, QPlainTextEdit):
            return bool(self.control.toPlainText() != self._shown_text)
        is_number_typed = self.field.kind == "number" and self.control.lineEdit().isModified()
        return is_number_typed or self.has_fault or self.detail_line.isModified()

    @property
    def _shown_text(self) -> str:
        return "" if self._answer is None else str(self._answer.value)

    def _has_detail(self, answer: SynopticAnswer) -> bool:
        is_open = answer.value == OTHER or (self.field.name in LOCATED and answer.value is not None)
        return is_open or bool(answer.detail) or (self.field.name == "breslow" and answer.state == CANNOT)

    def _create_control(self) -> NoWheelComboBox | QPlainTextEdit:
        if self.field.kind == "text":
            text = QPlainTextEdit()
            text.setFixedHeight(TEXT_PX)
            text.setTabChangesFocus(True)
            text.setFrameShape(QFrame.Shape.StyledPanel)
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
            combo.lineEdit().setPlaceholderText(EMPTY)
            combo.lineEdit().editingFinished.connect(self._on_number)
        combo.settled.connect(self._on_chosen)
        return combo

    def _lay_out(self) -> None:
        grid = self._grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(4)
        grid.setVerticalSpacing(2)
        grid.addWidget(self.control, 1, 1)
        grid.addWidget(self.unit_label, 1, 2)
        grid.addWidget(self.confirm_button, 1, 3)
        grid.addWidget(self.at_least_check, 2, 1)
        grid.addWidget(self.detail_line, 3, 1, 1, 2)
        grid.addWidget(self.fault_label, 4, 0, 1, 4)
        grid.setColumnStretch(1, 1)
        self._place_label()

    def _place_label(self) -> None:
        """Place the label beside the field, or above it if it needs more than two lines there."""
        grid, text, wrap = self._grid, self.label.fontMetrics(), Qt.TextFlag.TextWordWrap
        label_rect = QRect(0, 0, LABEL_PX - LABEL_PADDING_PX, 0)
        one_line = text.boundingRect(label_rect, wrap, "X").height()
        if text.boundingRect(label_rect, wrap, self.field.label).height() > LABEL_LINES * one_line:
            self.label.setMinimumWidth(0)
            self.label.setMaximumWidth(NO_LIMIT_PX)
            self.label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            grid.addWidget(self.label, 0, 0, 1, 4)
        else:
            self.label.setFixedWidth(LABEL_PX)
            grid.addWidget(self.label, 1, 0, Qt.AlignmentFlag.AlignVCenter)

    def _emit(self, answer: SynopticAnswer | None) -> None:
        self._show_fault("")
        if answer != self._answer:
            self.answered.emit(self.field.name, answer)

    def _show_fault(self, text: str) -> None:
        if text != self.fault_label.text():
            self.fault_label.setText(text)
            self.fault_label.setVisible(bool(text))
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
            self.show_answer(self._answer)
            return
        line.setModified(False)
        state = _find_state(self.field, text)
        if state is not None:
            self._emit(SynopticAnswer(state=state))
            return
        if not text:
            self._emit(None)
            return
        try:
            number = float(text.removesuffix(self.field.unit).replace(",", "."))
        except ValueError:
            number = math.nan
        if not 0 <= number <= self.field.most or (self.field.is_integer and not number.is_integer()):
            kind = "a whole number" if self.field.is_integer else "a number"
            unit = f" {self.field.unit}" if self.field.unit else ""
            self._show_fault(f"Expected {kind} from 0 to {self.field.most:g}{unit}, found '{text}'.")
        else:
            previous = self._answer
            at_least = bool(previous and previous.at_least and number > 0)
            self._emit(SynopticAnswer(value=number, at_least=at_least))

    def _on_at_least(self, checked: bool) -> None:
        if self._answer is not None:
            self._emit(self._answer.model_copy(update={"at_least": checked}))

    def _on_detail(self) -> None:
        if self.detail_line.isModified() and self._answer is not None:
            self.detail_line.setModified(False)
            if self.detail_line.text().isspace():
                self.detail_line.setText(self._answer.detail)
            self._emit(self._answer.model_copy(update={"detail": self.detail_line.text().strip()}))

    def _on_text(self) -> None:
        if self.control.toPlainText().isspace():
            self.control.setPlainText(self._shown_text)
        text = self.control.toPlainText().strip()
        if text != self._shown_text:
            self._emit(SynopticAnswer(value=text) if text else None)

    def _on_confirm(self) -> None:
        """Confirm the suggestion; the focus stays in the row when the button is hidden."""
        self.control.setFocus()
        self.confirmed.emit(self.field.name)


class SynopticForm(QWidget):
    """The form: T category with its reason, the fields in groups, confirmation of suggestions, and the signature."""

    reader_entered = Signal(str)
    answered = Signal(str, object)  # field, SynopticAnswer or None
    confirm_requested = Signal(str)  # a field, or "" for all
    sign_requested = Signal()
    reopen_requested = Signal()
    addendum_entered = Signal(str)
    _other_shown = Signal()  # closes a dialog about the previous report

    def __init__(self) -> None:
        super().__init__()
        tip = "Recorded with your changes and your signature"
        self.reader_field = ReaderField("synoptic_reader", tip)
        self.reader_row = row(QLabel("reader"), self.reader_field, self.reader_field.change_button, stretch=1)
        self.stage_label = named(WrappedLabel(lines=1), "synoptic_stage", "T category, AJCC 8th edition")
        self.stage_label.setProperty("loud", True)
        self.reason_label = named(quiet_label(lines=2), "synoptic_reason", "What decides the T category")
        self.signature_label = named(WrappedLabel(), "synoptic_signature", "Signature")
        self.change_label = named(WrappedLabel(), "synoptic_changes", "What has changed since the signature")
        self.change_label.setProperty("fault", True)
        self.change_area = scroll_area(column(self.change_label), "synoptic_changes_area", CHANGES_PX)
        self.addenda_label = named(WrappedLabel(), "synoptic_addenda", "Addenda to the signed report")
        self.confirm_button = named(
            QPushButton(), "synoptic_confirm", "Confirm the suggestions", "Confirm all suggested values after a review"
        )
        reserve_space(self.confirm_button)
        self.editors = {field.name: SynopticEditor(field) for field in FIELDS}
        self.check_label = named(WrappedLabel(), "synoptic_check", "What is missing or contradictory")
        self.check_label.setProperty("quiet", True)
        self.sign_button = named(
            QPushButton("Sign"), "synoptic_sign", "Sign", "Lock the report with your name; it can be reopened"
        )
        self.reopen_button = named(
            QPushButton("Reopen"), "synoptic_reopen", "Reopen", "Unlock the signed report; this is recorded"
        )
        tip = "Add a text to the signed report, which it leaves unchanged"
        self.addendum_button = named(QPushButton("Addendum ..."), "synoptic_addendum", "Add an addendum", tip)
        self.button_row = row(self.sign_button, self.reopen_button, self.addendum_button)
        self._report = SynopticReport()
        self._can_confirm = False
        self._blocker = ""  # why the report cannot be signed, except for faults in the form
        self._lay_out()
        for editor in self.editors.values():
            editor.answered.connect(self.answered)
            editor.confirmed.connect(self._on_confirm)
            editor.fault_changed.connect(self._update_buttons)
        self.reader_field.editingFinished.connect(lambda: self.reader_entered.emit(self.reader_field.name))
        self.confirm_button.clicked.connect(lambda: self._on_confirm(""))
        self.sign_button.clicked.connect(self._on_sign)
        self.reopen_button.clicked.connect(self._on_reopen)
        self.addendum_button.clicked.connect(self._on_addendum)
        self.show_report(SynopticReport(), "", is_editable=False)

    def close_dialogs(self) -> None:
        """Close a dialog about the report."""
        self._other_shown.emit()

    def show_report(
        self, report: SynopticReport, reader: str, *, is_editable: bool = True, is_other: bool = True
    ) -> None:
        """Show a report.

        ``reader``: name of the person who would sign it. ``is_other``: whether another report was shown before, so that
        input that is being typed is discarded.
        """
        if not self.reader_field.hasFocus():
            self.reader_field.show_name(reader)
        if is_other:
            self._other_shown.emit()
        stage, self._report = report.stage, report
        self.stage_label.setText(stage.category or "No T category")
        self.reason_label.setText(stage.reason)
        for name, editor in self.editors.items():
            editor.setEnabled(is_editable and not report.is_signed)
            editor.show_answer(report.answer(name), replace_typed=is_other)
        count = len(report.suggested)
        self.confirm_button.setText(f"Confirm {format_count(count, 'suggested value')}")
        self.confirm_button.setVisible(count > 0 and not report.is_signed)
        self._can_confirm = is_editable
        self.check_label.setText("\n".join(report.check()))
        self.check_label.setVisible(bool(self.check_label.text()))
        self.signature_label.setVisible(report.is_signed)
        self.sign_button.setVisible(not report.is_signed)
        self.reopen_button.setVisible(report.is_signed)
        self.reopen_button.setEnabled(is_editable)
        self.addendum_button.setVisible(report.is_signed)
        self.addendum_button.setEnabled(is_editable)
        addenda = [f"Addendum by {one.reader}, {format_time(one.when)}: {one.text}" for one in report.addenda]
        self.addenda_label.setText("\n".join(addenda))
        self.addenda_label.setVisible(bool(addenda))
        self._blocker = _find_blocker(report, reader) if is_editable else "The report cannot be changed."
        self._update_buttons()

    def show_changes(self, changes: Sequence[str]) -> None:
        """Show what has changed since the report was signed, also beside the signature."""
        self.change_label.setText("\n".join(changes))
        self.change_label.setVisible(bool(changes))
        report, count = self._report, sum(one.startswith(CHANGED) for one in changes)
        signed = f"Signed by {report.signed_by}, {format_time(report.signed_at)}." if report.is_signed else ""
        since = f" Since then, {format_count(count, 'value')} changed: see the list at the top." if count else ""
        self.signature_label.setText(f"{signed}{since}")

    def flush(self) -> None:
        """Emit the input that is being typed."""
        for editor in self.editors.values():
            if editor.isEnabled():
                editor.flush()

    def _update_buttons(self) -> None:
        """Enable the buttons, or show why they are disabled: rejected input must be corrected first."""
        has_fault = any(editor.has_fault for editor in self.editors.values())
        blocker = FAULTY if has_fault else self._blocker
        self.sign_button.setEnabled(not blocker)
        self.sign_button.setToolTip(blocker or "Lock the report with your name; it can be reopened")
        self.confirm_button.setEnabled(self._can_confirm and not has_fault)
        self.confirm_button.setToolTip(FAULTY if has_fault else "Confirm all suggested values after a review")

    def _on_confirm(self, name: str) -> None:
        self.flush()
        if self.confirm_button.isEnabled():
            self.confirm_requested.emit(name)

    def _on_sign(self) -> None:
        self.reader_entered.emit(self.reader_field.name)
        self.flush()
        if not self.sign_button.isEnabled():
            return
        question = f"Sign the synoptic report as {self.reader_field.name}?"
        self._ask("Sign", question, _describe_signing(self._report), self.sign_requested.emit)

    def _on_reopen(self) -> None:
        question = f"Reopen the report that {self._report.signed_by} signed?"
        details = "The signature is removed, which is recorded. The report counts as unsigned until it is signed again."
        self._ask("Reopen", question, details, self.reopen_requested.emit)

    def _ask(self, action: str, question: str, details: str, on_confirmed: Callable[[], object]) -> None:
        """Ask before an action; the question is withdrawn when another report is shown."""
        box = create_question(self, f"synoptic_{action.lower()}_question", question, details, action)
        box.addButton(action, QMessageBox.ButtonRole.AcceptRole)
        box.setEscapeButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.accepted.connect(on_confirmed)
        self._other_shown.connect(box.reject)
        box.finished.connect(box.deleteLater)
        box.open()

    def _on_addendum(self) -> None:
        self.reader_entered.emit(self.reader_field.name)
        dialog = QInputDialog(self.window())
        dialog.setObjectName("synoptic_addendum_dialog")
        dialog.setWindowTitle("Addendum")
        dialog.setOption(QInputDialog.InputDialogOption.UsePlainTextEditForTextInput)
        dialog.setLabelText("Addendum to the signed report; enter no name and no date:")
        dialog.textValueSelected.connect(self.addendum_entered)
        self._other_shown.connect(dialog.reject)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.reader_row, self.change_area, self.stage_label, self.reason_label):
            layout.addWidget(widget)
        for group, fields in groupby(FIELDS, key=lambda field: field.group):
            heading = QLabel(group)
            heading.setProperty("loud", True)
            layout.addSpacing(4)
            layout.addWidget(heading)
            for field in fields:
                layout.addWidget(self.editors[field.name])
        texts = (self.signature_label, self.check_label, self.addenda_label)
        for widget in (self.confirm_button, self.button_row, *texts):
            layout.addWidget(widget)
        layout.addStretch(1)  # takes the space that a text has left


def _describe_signing(report: SynopticReport) -> str:
    """Describe what will be signed: the T category, warnings, and empty fields."""
    required, other = report.list_empty_fields()
    empty = {"Required, but empty": required, "Other empty fields": other}
    stage = report.stage
    return "\n\n".join(
        (
            f"T category: {stage.category or 'none'} ({stage.reason}).",
            *(warning for warning in report.check() if not warning.startswith("Not filled in")),
            *(f"{title}: {', '.join(labels)}." for title, labels in empty.items() if labels),
            "The report and the measurement that it rests on will be locked until the report is reopened.",
        )
    )


def _find_blocker(report: SynopticReport, reader: str) -> str:
    """Return why the report cannot be signed now; empty if it can."""
    if not reader:
        return "Enter your name first."
    return "Confirm or change the suggested values first." if report.suggested else ""


def _find_state(field: SynopticField, text: str) -> AnswerState | None:
    return next((state for state in field.absent if text.lower() == state), None)


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

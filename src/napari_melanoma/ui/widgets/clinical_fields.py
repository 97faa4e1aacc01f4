"""Form fields for clinical metadata, each of which may be unknown."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import QDate, QEvent, QObject, QPoint, Qt, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QCalendarWidget, QGridLayout, QLineEdit, QMenu, QSizePolicy, QWidget, QWidgetAction

from napari_melanoma.data.table_schema import Column, check_value, find_column
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.number_box import with_decimal_point
from napari_melanoma.ui.widgets.style import WrappedLabel, named, quiet_label, tool_button

if TYPE_CHECKING:
    from napari_melanoma.case.model import CasePart

PartKind = Literal["patient", "lesion", "image"]
MIN_LETTERS = 4  # minimum width of a control, in characters
EMPTY = "unknown"
Check = Callable[[Column, str], str]  # returns the error message of a value; empty if it is valid
NOTE_COLUMN = Column("note", "text", "Note", "Free text. It is stored in the case and never exported.")
LABEL_COLUMN = Column("label", "text", "Name", "The name of the lesion, entered by you or taken from the files.")
DAY_COLUMN = Column("taken_on", "text", "Taken on", "The date, such as 2026-05-31 or 31.5.2026.")
CASE_COLUMNS = {column.name: column for column in (NOTE_COLUMN, LABEL_COLUMN, DAY_COLUMN)}
FieldRows = Sequence[tuple[str, ...]]  # columns, in rows of one or two fields
PATIENT_FIELDS: FieldRows = (
    ("patient_id",),
    ("age", "sex"),
    ("fitzpatrick",),
    ("personal_history", "family_history"),
    ("ethnicity",),
    ("note",),
)
LESION_FIELDS: FieldRows = (("diagnosis",), ("diagnosis_detail",), ("diagnosis_by", "label"), ("note",))
FINDINGS_FIELDS: FieldRows = (
    ("itch", "hurt"),
    ("bleed", "elevation"),
    ("diameter_1_mm", "diameter_2_mm"),
    ("metastasis",),
)
IMAGE_FIELDS: FieldRows = (("modality", "taken_on"),)


DAY_PATTERNS = (  # year-month-day (ISO 8601), day.month.year
    re.compile(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"),
    re.compile(r"(?P<day>\d{1,2})\.\s*(?P<month>\d{1,2})\.\s*(?P<year>\d{4})"),
)


def parse_day(text: str) -> str:
    """Return a date as year-month-day (ISO 8601); empty if the text is no date."""
    match = next(filter(None, (pattern.fullmatch(text.strip()) for pattern in DAY_PATTERNS)), None)
    try:
        return "" if match is None else date(*(int(match[part]) for part in ("year", "month", "day"))).isoformat()
    except ValueError:
        return ""


class CaseField(QWidget):
    """The control for a column of the table, with its label and error message."""

    edited = Signal(str, str)  # column, text
    rejected = Signal(str)  # column
    editing_finished = Signal()

    def __init__(self, part: PartKind, column: Column, check: Check = check_value) -> None:
        super().__init__()
        self.column = column
        self._check = check
        self._is_edited = False
        self._previous_text = ""  # value in the case before the user began to type
        unit = f" ({column.unit})" if column.unit else ""
        self.label = quiet_label(f"{column.title}{unit}")
        self.label.setWordWrap(False)
        self.control = self._make_control()
        named(self.control, f"{part}_{column.name}", column.title, f"{column.description}\nLeave empty if unknown.")
        self.label.setBuddy(self.control)
        self._calendar_button = tool_button(f"{part}_{column.name}_calendar", "Calendar", "Choose the date", "▾")
        self._calendar_button.setVisible(column == DAY_COLUMN)
        self._calendar_button.clicked.connect(self._choose_day)
        self._fault = named(WrappedLabel(), f"{part}_{column.name}_fault", f"Error in {column.title}")
        self._fault.setProperty("fault", True)
        self._fault.hide()
        self._lay_out()

    def _make_control(self) -> QLineEdit | NoWheelComboBox:
        if self.column.kind in ("word", "yes_no"):
            combo = NoWheelComboBox()
            combo.addItem(EMPTY, "")
            words = load_taxonomy(self.column.taxonomy or "yes_no")
            for word in words.words:
                if word != UNKNOWN:
                    combo.addItem(words.title(word), word)
            combo.setMinimumContentsLength(MIN_LETTERS)
            combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            combo.activated.connect(self._on_edited)
            return combo
        line = QLineEdit()
        line.setPlaceholderText(EMPTY if self.column.kind == "number" else "")
        line.setMinimumWidth(40)
        line.setAcceptDrops(False)  # otherwise the path of a dropped file would be inserted
        line.textEdited.connect(self._on_edited)
        line.editingFinished.connect(self._on_editing_finished)
        line.installEventFilter(self)
        return line

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(2)
        grid.setVerticalSpacing(1)
        grid.addWidget(self.label, 0, 0, 1, 2)
        grid.addWidget(self.control, 1, 0)
        grid.addWidget(self._calendar_button, 1, 1)
        grid.addWidget(self._fault, 2, 0, 1, 2)
        grid.setColumnStretch(0, 1)

    @property
    def text(self) -> str:
        """The value as it is written to the table; empty if unknown."""
        if isinstance(self.control, NoWheelComboBox):
            return str(self.control.currentData() or "")
        text = self.control.text().strip()
        if self.column == DAY_COLUMN:
            return parse_day(text) or text
        is_empty = self.column.kind == "number" and text.lower() in ("", "?", "-", UNKNOWN)
        return "" if is_empty else (with_decimal_point(text) if self.column.kind == "number" else text)

    @property
    def fault(self) -> str:
        """The error message; empty if the value is valid."""
        return self._check(self.column, self.text)

    def show_value(self, text: str, editable: bool) -> None:
        """Show the value in the case without emitting signals; invalid input stays, so that it can be corrected."""
        if isinstance(self.control, NoWheelComboBox):
            self.control.setCurrentIndex(max(0, self.control.findData(text)))
            self.control.setEnabled(editable)
        else:
            is_wrong = bool(self.fault) and text == self._previous_text
            self._is_edited = self._is_edited and (is_wrong or self.text == text)
            if not is_wrong and (self.text != text or not self.control.hasFocus()):
                self.control.setText(text)
            self._previous_text = self._previous_text if self._is_edited else text
            self.control.setReadOnly(not editable)
            self._calendar_button.setEnabled(editable)
        self._show_fault()

    def clear_edits(self) -> None:
        """Discard invalid input, before another patient, lesion or image is shown."""
        if isinstance(self.control, QLineEdit) and self.fault:
            self.control.clear()
        self._is_edited = False

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Leave undo and redo to the case: the line's own undo would cover one field only."""
        if event is not None and event.type() == QEvent.Type.ShortcutOverride:
            for key in (QKeySequence.StandardKey.Undo, QKeySequence.StandardKey.Redo):
                if event.matches(key):  # type: ignore[attr-defined]
                    event.ignore()
                    return True
        return False

    def _on_edited(self, _: object = None) -> None:
        self._is_edited = True
        self._show_fault()
        if self.fault:
            self.rejected.emit(self.column.name)
        else:
            self.edited.emit(self.column.name, self.text)

    def _on_editing_finished(self) -> None:
        self._is_edited = False
        self._previous_text = self._previous_text if self.fault else self.text
        self.editing_finished.emit()

    def _choose_day(self) -> None:
        """Open a calendar below the field, at its date if there is one."""
        menu, calendar = QMenu(self), QCalendarWidget()
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        named(calendar, f"{self.control.objectName()}_days", self.column.title)
        day = parse_day(self.text)
        if day:
            calendar.setSelectedDate(QDate(*map(int, day.split("-"))))
        action = QWidgetAction(menu)
        action.setDefaultWidget(calendar)
        menu.addAction(action)
        calendar.clicked.connect(self._on_day)
        calendar.clicked.connect(menu.close)
        menu.popup(self.control.mapToGlobal(QPoint(0, self.control.height())))

    def _on_day(self, day: QDate) -> None:
        assert isinstance(self.control, QLineEdit)
        self.control.setText(day.toString(Qt.DateFormat.ISODate))
        self._on_edited()
        self._on_editing_finished()

    def _show_fault(self) -> None:
        fault = self.fault
        self._fault.setText(fault)
        self._fault.setVisible(bool(fault))


class CaseForm(QWidget):
    """A form with the fields of a patient, a lesion or an image."""

    # As in CaseField.
    edited = Signal(str, str)
    rejected = Signal(str)
    editing_finished = Signal()

    def __init__(self, part: PartKind, rows: FieldRows, name: str) -> None:
        super().__init__()
        named(self, name, f"{part.capitalize()} data").setToolTip("")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        self._shown_id = ""
        self.fields: dict[str, CaseField] = {}
        for index, names in enumerate(rows):
            for column, field in enumerate(names):
                widget = self.fields[field] = CaseField(
                    part, CASE_COLUMNS.get(field) or _get_column(field), CHECKS.get(field, check_value)
                )
                grid.addWidget(widget, index, column, 1, 2 if len(names) == 1 else 1, Qt.AlignmentFlag.AlignTop)
                widget.edited.connect(self.edited)
                widget.rejected.connect(self.rejected)
                widget.editing_finished.connect(self.editing_finished)

    @property
    def faults(self) -> list[str]:
        """The error messages of the fields."""
        return [field.fault for field in self.fields.values() if field.fault]

    def show_part(self, part: CasePart, editable: bool) -> None:
        """Show the values of a patient, a lesion or an image in the case."""
        shown = getattr(part, "id", "")
        if shown != self._shown_id:
            self.clear_edits()
        self._shown_id = shown
        for name, field in self.fields.items():
            field.show_value(part.cell(name), editable)

    def clear_edits(self) -> None:
        """Discard invalid input, before another patient, lesion or image is shown."""
        for field in self.fields.values():
            field.clear_edits()


def _check_day(column: Column, text: str) -> str:
    """Return the error message of a date."""
    is_day = not text or parse_day(text)
    return "" if is_day else f"{column.title}: expected a date such as 2026-05-31 or 31.5.2026, found '{text}'."


def _check_patient(column: Column, text: str) -> str:
    """Return the error message of a pseudonym."""
    return "" if text else f"{column.title}: expected a pseudonym that identifies the patient."


CHECKS = {"taken_on": _check_day, "patient_id": _check_patient}


def _get_column(name: str) -> Column:
    column = find_column(name)
    assert column is not None, name
    return column

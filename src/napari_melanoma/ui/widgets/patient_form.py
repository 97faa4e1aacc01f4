"""The patient form of the Lesion and Slide docks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLineEdit, QSizePolicy, QVBoxLayout, QWidget

from napari_melanoma.data.table_schema import Column, find_column
from napari_melanoma.ui.widgets.clinical_fields import EMPTY, CaseField
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import WrappedLabel, named, quiet_label, tool_button

if TYPE_CHECKING:
    from napari_melanoma.core.prediction_config import FittedNumbers, FittedWords, TabularEncoding

WIDE_FIELDS = ("site", "sub_site")  # their words need the width of the dock
NO_FIELDS = "This model uses the image only."
EDITED_NOTE = "Edited here only; the case is not changed."


class PatientField(CaseField):
    """The control for a column, with the words of the model if the table schema has none."""

    def __init__(self, column: FittedNumbers | FittedWords) -> None:
        schema_column, self._choices = _find_schema(column)
        super().__init__("patient", schema_column)

    def _make_control(self) -> QLineEdit | NoWheelComboBox:
        if self.column.kind != "text":
            return super()._make_control()
        combo = NoWheelComboBox()
        combo.addItem(EMPTY, "")
        for word in self._choices:
            combo.addItem(word.replace("_", " "), word)
        combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        combo.activated.connect(self._on_edited)
        return combo

    def show_value(self, text: str, editable: bool) -> None:
        """Show a value; a word as the model reads it, for which ``Caucasian`` is ``caucasian``."""
        from napari_melanoma.data.tabular_encoding import read_word

        is_listed = not isinstance(self.control, NoWheelComboBox) or self.control.findData(text) >= 0
        super().show_value(text if is_listed else read_word(text), editable)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Keep the line's own undo, since no case is edited here."""
        return False


class PatientForm(QWidget):
    """The patient data that a model uses; each field may be unknown, and changes update the prediction."""

    edited = Signal()
    reset_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        named(self, "answer_form", "Patient data").setToolTip("")
        self._encoding: TabularEncoding | None = None
        self._row: dict[str, str] = {}
        self._shown: dict[str, str] = {}  # the texts of the fields for the row
        self.fields: dict[str, PatientField] = {}
        self._no_fields_label = named(quiet_label(NO_FIELDS), "nothing_asked", "No patient data used")
        self._origin_label = named(WrappedLabel(), "form_origin", "Source of the patient data")
        self._origin_label.setProperty("quiet", True)
        self._reset_button = tool_button(
            "form_back", "Reset to the case", "Reset to the values in the case", "reset to the case"
        )
        self._reset_button.clicked.connect(self.reset_requested)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        self._fields_widget = QWidget()
        self._grid = QGridLayout(self._fields_widget)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(4)
        for position in (0, 1):
            self._grid.setColumnStretch(position, 1)
        column.addWidget(self._fields_widget)
        column.addWidget(self._no_fields_label)
        column.addWidget(self._origin_label)
        column.addWidget(self._reset_button, 0, Qt.AlignmentFlag.AlignLeft)
        self.show_origin("", changed=False)

    @property
    def row(self) -> dict[str, str]:
        """The known values as in the table, including columns and words that the current model does not use.

        An invalid value that was entered counts as unknown.
        """
        entered = {name: field for name, field in self.fields.items() if field.text != self._shown.get(name)}
        values = {name: "" if field.fault else field.text for name, field in entered.items()}
        return {name: text for name, text in {**self._row, **values}.items() if text}

    def set_encoding(self, encoding: TabularEncoding | None) -> None:
        """Show the fields of another model; entered values are kept."""
        if encoding == self._encoding and (self.fields or encoding is None):
            return
        row = self.row
        for field in self.fields.values():
            self._grid.removeWidget(field)
            field.hide()
            field.deleteLater()
        columns = () if encoding is None else encoding.columns
        self._encoding = encoding
        self.fields = {column.name: PatientField(column) for column in columns}
        position = 0
        for name, field in self.fields.items():
            field.edited.connect(self.edited)
            field.rejected.connect(self.edited)  # an invalid value counts as unknown
            wide = name in WIDE_FIELDS or len(self.fields) == 1
            position += wide and position % 2  # a wide field starts a new row
            self._grid.addWidget(field, position // 2, position % 2, 1, 2 if wide else 1, Qt.AlignmentFlag.AlignTop)
            position += 2 if wide else 1
        self._no_fields_label.setVisible(not self.fields)
        self.show_row(row)

    def show_row(self, row: Mapping[str, str]) -> None:
        """Show values without emitting signals."""
        self._row = dict(row)
        for name, field in self.fields.items():
            field.clear_edits()
            field.show_value(self._row.get(name, ""), True)
        self._shown = {name: field.text for name, field in self.fields.items()}

    def show_origin(self, origin: str, *, changed: bool) -> None:
        """Show where the values come from, such as ``case P-0042``; empty for values of the user only."""
        self._origin_label.setText(f"From {origin}. {EDITED_NOTE if changed else ''}".strip() if origin else "")
        self._origin_label.setVisible(bool(origin))
        self._reset_button.setVisible(bool(origin) and changed)


def _find_schema(column: FittedNumbers | FittedWords) -> tuple[Column, tuple[str, ...]]:
    """Return the column of the table schema, or a new column if the schema has none, and the words of the model."""
    from napari_melanoma.core.prediction_config import FittedWords

    schema_column = find_column(column.name)
    words = column.words if isinstance(column, FittedWords) else None
    if schema_column is not None and (schema_column.kind != "text" or words is None):
        return schema_column, words or ()
    title = column.name.replace("_", " ").capitalize() if schema_column is None else schema_column.title
    description = f"Column '{column.name}' of the model."
    return Column(column.name, "number" if words is None else "text", title, description), words or ()

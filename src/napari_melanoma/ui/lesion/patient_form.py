"""Clinical metadata of the photograph in view: form and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLineEdit, QSizePolicy, QVBoxLayout, QWidget

from napari_melanoma.core.prediction_config import FittedWords
from napari_melanoma.data.table_schema import Column, find_column
from napari_melanoma.ui.viewer.photographs import METADATA_KEY
from napari_melanoma.ui.widgets.clinical_fields import EMPTY, CaseField
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import WrappedLabel, named, quiet_label, tool_button

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_melanoma.core.prediction_config import FittedNumbers, TabularEncoding

WIDE_FIELDS = ("site", "sub_site")  # whose words need the width of the dock
NO_FIELDS = "This model looks at the picture alone."
EDITED_NOTE = "Tried out here; the case stays as it is."


class PatientField(CaseField):
    """One column as a control, with the words that the bundle knows where the table has none for it."""

    def __init__(self, column: FittedNumbers | FittedWords) -> None:
        self._choices = column.words if isinstance(column, FittedWords) else ()
        super().__init__("patient", _column_for(column))

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

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Let the line take back what was typed: no case is edited here."""
        return False


class PatientForm(QWidget):
    """Fields of the patient; each may be unknown, and each can be changed to see what the answer makes of it."""

    edited = Signal()
    reset_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        named(self, "answer_form", "What is known of the patient").setToolTip("")
        self._encoding: TabularEncoding | None = None
        self._row: dict[str, str] = {}
        self.fields: dict[str, PatientField] = {}
        self._no_fields_label = named(quiet_label(NO_FIELDS), "nothing_asked", "No data of the patient are asked for")
        self._origin_label = named(WrappedLabel(), "form_origin", "Where this comes from")
        self._origin_label.setProperty("quiet", True)
        self._reset_button = tool_button(
            "form_back", "Back to the case", "Show again what the case says", "back to the case"
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
        for place in (0, 1):
            self._grid.setColumnStretch(place, 1)
        column.addWidget(self._fields_widget)
        column.addWidget(self._no_fields_label)
        column.addWidget(self._origin_label)
        column.addWidget(self._reset_button, 0, Qt.AlignmentFlag.AlignLeft)
        self.show_origin("", changed=False)

    @property
    def row(self) -> dict[str, str]:
        """What is known, as the table holds it: columns that are empty are left out, others that were shown stay."""
        said = {name: field.text for name, field in self.fields.items() if not field.fault}
        return {name: text for name, text in {**self._row, **said}.items() if text}

    def set_encoding(self, encoding: TabularEncoding | None) -> None:
        """Show the fields of another bundle; what was filled in stays."""
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
        place = 0
        for name, field in self.fields.items():
            field.edited.connect(self.edited)
            field.rejected.connect(self.edited)  # what cannot be is not known
            wide = name in WIDE_FIELDS or len(self.fields) == 1
            place += wide and place % 2
            self._grid.addWidget(field, place // 2, place % 2, 1, 2 if wide else 1, Qt.AlignmentFlag.AlignTop)
            place += 2 if wide else 1
        self._no_fields_label.setVisible(not self.fields)
        self.show_row(row)

    def show_row(self, row: Mapping[str, str]) -> None:
        """Show what is known; nobody is told."""
        self._row = dict(row)
        for name, field in self.fields.items():
            field.clear_edits()
            field.show_value(self._row.get(name, ""), None, True)

    def show_origin(self, case: str, *, changed: bool) -> None:
        """Say whether this is what a case says."""
        self._origin_label.setText(f"From the case {case}. {EDITED_NOTE if changed else ''}".strip() if case else "")
        self._origin_label.setVisible(bool(case))
        self._reset_button.setVisible(bool(case) and changed)


def _column_for(column: FittedNumbers | FittedWords) -> Column:
    """The column of the table, or one for what the table does not have."""
    known = find_column(column.name)
    is_word = isinstance(column, FittedWords)
    if known is not None and (known.kind != "text" or not is_word):
        return known
    title = column.name.replace("_", " ").capitalize() if known is None else known.title
    return Column(column.name, "text" if is_word else "number", title, f"The column '{column.name}' of the model.")


Row = dict[str, str]


class PatientRows:
    """Rows of the harmonised table by the identity of a photograph.

    What was filled in stands in the layer, so that a dock that is opened again finds it; what a case says is told anew
    by the Case dock. A case is never changed from here: what differs from it is what somebody tries out.
    """

    def __init__(self) -> None:
        self._cases: dict[str, tuple[str, Row]] = {}

    def set_case(self, identity: str, case: str, row: Mapping[str, str]) -> bool:
        """Take what a case says of a photograph.

        False where it is known already.
        """
        before = self._cases.get(identity)
        if case:
            self._cases[identity] = (case, dict(row))
        else:
            self._cases.pop(identity, None)
        return self._cases.get(identity) != before

    def case(self, identity: str) -> str:
        """Give the name of a photograph's case.

        Empty where it belongs to none.
        """
        return self._cases.get(identity, ("", {}))[0]

    def row(self, identity: str, image: Image | None) -> Row:
        """Give what is known of a photograph's patient.

        Column to text; what is not known is left out.
        """
        return _drop_empty({**self._case_row(identity), **_edits_of(image)})

    def has_edits(self, image: Image | None) -> bool:
        """Say whether something was filled in that the case does not say.

        False where nothing was, or the layer is gone.
        """
        return bool(_edits_of(image))

    def set_row(self, identity: str, image: Image, row: Mapping[str, str]) -> None:
        """Take what stands in the form."""
        known = self._case_row(identity)
        names = {*known, *row, *_edits_of(image)}
        tried = {name: row.get(name, "") for name in names if row.get(name, "") != known.get(name, "")}
        image.metadata = {**image.metadata, METADATA_KEY: {**image.metadata.get(METADATA_KEY, {}), "patient": tried}}

    def remove(self, identity: str, image: Image | None = None) -> None:
        """Forget what was filled in, or with no layer all that is known of a photograph."""
        if image is None:
            self._cases.pop(identity, None)
        else:
            self.set_row(identity, image, self._case_row(identity))

    def _case_row(self, identity: str) -> Row:
        return self._cases.get(identity, ("", {}))[1]


def _edits_of(image: Image | None) -> Row:
    """What was filled in and is not what the case says."""
    return {} if image is None else dict(image.metadata.get(METADATA_KEY, {}).get("patient", {}))


def _drop_empty(row: Row) -> Row:
    return {name: text for name, text in row.items() if text}

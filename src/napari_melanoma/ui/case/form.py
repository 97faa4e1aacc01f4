"""A form for a part of a case, built from the columns of the table: two fields side by side, each may be unknown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QWidget

from napari_melanoma.data.case.model import CasePart
from napari_melanoma.data.table_schema import Column, check_value, column_named
from napari_melanoma.ui.case.fields import CaseField, Part
from napari_melanoma.ui.look import named

NOTE = Column("note", "text", "Note", "Words of your own: they stay in the case and are never exported.")
LABEL = Column("label", "text", "Name", "What you, or the files, call the lesion.")
DAY = Column("taken_on", "text", "Taken on", "The day, as 2026-05-31.")
OWN = {column.name: column for column in (NOTE, LABEL, DAY)}

Rows = Sequence[tuple[str, ...]]
PATIENT: Rows = (
    ("patient_id",),
    ("age", "sex"),
    ("fitzpatrick", "ethnicity"),
    ("personal_history", "family_history"),
    ("note",),
)
LESION: Rows = (("diagnosis",), ("diagnosis_detail",), ("diagnosis_by", "label"), ("note",))
FINDINGS: Rows = (
    ("diameter_1_mm", "diameter_2_mm"),
    ("depth_mm", "clark"),
    ("mitoses_per_mm2", "ulceration"),
    ("metastasis",),
)
IMAGE: Rows = (("modality", "taken_on"),)


class CaseForm(QWidget):
    """Fields of a patient, a lesion or an image."""

    edited = Signal(str, str)
    refused = Signal(str)
    rested = Signal()
    confirmed = Signal(str)

    def __init__(self, part: Part, rows: Rows, name: str) -> None:
        super().__init__()
        named(self, name, f"Form of the {part}").setToolTip("")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        self._shown = ""
        self.fields: dict[str, CaseField] = {}
        for place, names in enumerate(rows):
            for column, field in enumerate(names):
                made = self.fields[field] = CaseField(
                    part, OWN.get(field) or _column(field), CHECKS.get(field, check_value)
                )
                grid.addWidget(made, place, column, 1, 2 if len(names) == 1 else 1, Qt.AlignmentFlag.AlignTop)
                made.edited.connect(self.edited)
                made.refused.connect(self.refused)
                made.rested.connect(self.rested)
                made.confirmed.connect(self.confirmed)

    @property
    def faults(self) -> list[str]:
        """What is wrong with what stands in the fields."""
        return [field.fault for field in self.fields.values() if field.fault]

    def show_part(self, part: CasePart, editable: bool) -> None:
        """Show what the case says."""
        shown = getattr(part, "id", "")
        if shown != self._shown:
            self.forget()
        self._shown = shown
        for name, field in self.fields.items():
            field.show_value(part.cell(name), part.guesses.get(name), editable)

    def forget(self) -> None:
        """Forget what was typed: what is shown next is of another patient, lesion or image."""
        for field in self.fields.values():
            field.forget()


def _check_day(column: Column, text: str) -> str:
    """What is wrong with a day."""
    try:
        is_day = not text or (len(text) == len("2026-05-31") and bool(date.fromisoformat(text)))
    except ValueError:
        is_day = False
    return "" if is_day else f"{column.title}: expected a day such as 2026-05-31; found '{text}'."


def _check_patient(column: Column, text: str) -> str:
    """What is wrong with a pseudonym."""
    return "" if text else f"{column.title}: expected a pseudonym, by which the patient is told from others."


CHECKS = {"taken_on": _check_day, "patient_id": _check_patient}


def _column(name: str) -> Column:
    """The column of the table of that name."""
    column = column_named(name)
    assert column is not None, name
    return column

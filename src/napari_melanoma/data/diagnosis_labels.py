"""Diagnoses that several readers gave to a corrected photograph."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Self

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.core.reader_names import identify_reader, unify_names
from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX

LABELS = "diagnosis_labels"  # column with the diagnoses by reader, as JSON
DRAWN = "random"
Row = dict[str, str]  # column to text


@dataclass(frozen=True)
class DiagnosisLabel:
    """The diagnosis of a photograph by one reader.

    ``at``: time, ISO 8601 (UTC). ``drawn``: ``DRAWN`` for a photograph that was drawn at random to be labeled.
    """

    diagnosis: str
    reader: str
    at: str = field(default_factory=utc_time)
    drawn: str = ""

    def is_by(self, reader: str) -> bool:
        """Whether a reader, whose name may be spelled in another way, gave the diagnosis."""
        return identify_reader(self.reader) == identify_reader(reader)

    def make_cells(self, row: Row) -> Row:
        """Return the cells of a row with this label; it replaces an earlier one of the reader.

        The diagnosis is that of all readers; empty if they disagree. A photograph that was drawn at random remains so:
        otherwise, those of which a reader has changed the diagnosis would be missing in the estimate of the accuracy.
        """
        earlier = read_diagnoses(row)
        drawn = self.drawn or next((label.drawn for label in earlier if label.drawn and label.is_by(self.reader)), "")
        labels = [*(label for label in earlier if not label.is_by(self.reader)), replace(self, drawn=drawn)]
        return _make_cells(labels, row)


def join_labels(labels: Collection[DiagnosisLabel], row: Row) -> Row:
    """Return the cells of a row with the labels of several tables, whose order does not matter.

    Of a reader with a name, the latest label counts; the diagnosis is empty if the remaining labels disagree.
    """
    shown = unify_names(label.reader for label in labels)
    labels = [replace(label, reader=shown[label.reader]) for label in labels]
    latest: dict[str, str] = {}
    for label in labels:
        latest[label.reader] = max(label.at, latest.get(label.reader, ""))
    drawn = {label.reader: label.drawn for label in labels if label.drawn and label.reader}
    remaining = {
        replace(label, drawn=label.drawn or drawn.get(label.reader, ""))
        for label in labels
        if not label.reader or label.at == latest[label.reader]
    }
    ordered = sorted(remaining, key=lambda label: (label.at, label.reader, label.diagnosis, label.drawn))
    return _make_cells(ordered, row)


def _make_cells(labels: Collection[DiagnosisLabel], row: Row) -> Row:
    """Return the cells of a row with these labels; the diagnosis is empty if they disagree."""
    diagnoses = {label.diagnosis for label in labels}
    agreed = diagnoses.pop() if len(diagnoses) == 1 else ""
    cells = {"diagnosis": agreed, LABELS: json.dumps([asdict(one) for one in labels])}
    return {**follow_diagnosis(agreed, row, row.keys()), **cells}


def follow_diagnosis(diagnosis: str, row: Mapping[str, str], columns: Collection[str]) -> Row:
    """Return the cells that change with the diagnosis of a row, of the ``columns`` of its table; none without a change.

    Malignancy follows from the diagnosis; subtype, original text and origin of another diagnosis are removed.
    """
    from napari_melanoma.data.harmonize import MALIGNANCY_COLUMNS, harmonize_rows

    if diagnosis == row.get("diagnosis", ""):
        return {}
    (implied,) = harmonize_rows([{"diagnosis": diagnosis}]).rows
    cells = dict.fromkeys((f"diagnosis{AS_GIVEN_SUFFIX}", "diagnosis_detail", "diagnosis_by"), "")
    cells |= {column: implied.get(column, "") for column in MALIGNANCY_COLUMNS}
    return {column: text for column, text in cells.items() if column in columns}


def read_diagnoses(row: Mapping[str, str]) -> list[DiagnosisLabel]:
    """Return the labels of a row; raise DataSetError if they cannot be read, so that they are not replaced.

    A diagnosis that was entered in the row counts instead of the labels that differ from it, as one by the reviewer.
    """
    try:
        labels = [DiagnosisLabel(**entry) for entry in parse_json(row.get(LABELS) or "[]", LABELS)]
        if not all(isinstance(text, str) for label in labels for text in asdict(label).values()):
            raise TypeError("expected text")
    except (ValueError, TypeError) as error:  # edited by hand
        raise DataSetError(
            f"the labels of '{row.get('image_id', '')}' cannot be read (column {LABELS}: {error}), and are kept "
            "unchanged. Correct or clear the cell in the table."
        ) from error
    diagnosis = row.get("diagnosis", "")
    agreeing = [label for label in labels if label.diagnosis == diagnosis]
    if not diagnosis or (agreeing == labels and labels):
        return labels
    drawn = next((label.drawn for label in labels if label.drawn), "")
    entered = DiagnosisLabel(diagnosis, row.get("reviewer", ""), row.get("reviewed_at", ""), drawn)
    return [label for label in agreeing if not label.is_by(entered.reader)] + [entered]


@dataclass(frozen=True)
class PhotographLabels:
    """The diagnoses of a photograph in the corrections, by all readers.

    ``diagnosis``: that of the row, which is empty while readers disagree. ``fault``: why the labels cannot be read;
    empty if they can.
    """

    diagnosis: str = ""
    labels: tuple[DiagnosisLabel, ...] = ()
    fault: str = ""

    @classmethod
    def of(cls, row: Mapping[str, str]) -> Self:
        """Read the labels of a row."""
        diagnosis = row.get("diagnosis", "")
        try:
            return cls(diagnosis, tuple(read_diagnoses(row)))
        except DataSetError as error:
            return cls(diagnosis, fault=str(error))

    def find_own(self, reader: str) -> str:
        """Return the diagnosis by a reader; empty if the reader has not labeled the photograph."""
        return next((label.diagnosis for label in reversed(self.labels) if label.is_by(reader)), "")

    def is_closed(self, reader: str) -> bool:
        """Whether a reader need not label the photograph: it is done, or labels that cannot be read must be kept."""
        return bool(self.fault or self.find_own(reader))

    @property
    def is_disputed(self) -> bool:
        """Whether readers disagree, and no diagnosis was entered since."""
        return not self.diagnosis and len({label.diagnosis for label in self.labels}) > 1

    @property
    def was_drawn(self) -> bool:
        """Whether the photograph was labeled because it was drawn at random."""
        return any(label.drawn == DRAWN for label in self.labels)

    def describe(self, reader: str) -> str:
        """Describe the labels for a reader, who sees the labels of others only after an own one."""
        own = self.find_own(reader)
        if not self.labels:
            return self.diagnosis
        if not own:
            names = unify_names(label.reader for label in self.labels).values()
            others = ", ".join(sorted({name or "another reader" for name in names}))
            return f"labeled by {others}"
        others = ", ".join(
            f"{label.reader or 'before'}: {label.diagnosis}"
            for label in self.labels
            if not (label.is_by(reader) and label.diagnosis == own)
        )
        return f"{own} ≠ {others}" if self.is_disputed else own

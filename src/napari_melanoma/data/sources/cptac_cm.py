"""CPTAC-CM: slides of cutaneous melanomas with the tables of the pathology portal, the PDC or CPTAC's own.

Columns are those of the table of the slides (``Case_ID``, ``Slide_ID``, ``Specimen_Type``, ``Tumor``,
``Tumor_Site``, ``Gender``, ``Age_at_Diagnosis``), of the clinical table of the PDC, which are those of the GDC, and of
CPTAC's clinical tables of other tumors (``consent/age``, ``baseline/...``, ``follow-up/...``). No complete table of the
melanomas was available: other column names need a mapping.
"""

from __future__ import annotations

import re

from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.sources import SourceRecord, SourceSpec
from napari_melanoma.data.sources._clinical import Rows, extract_columns, make_record, read_patients

SPEC = SourceSpec(
    name="cptac-cm",
    title="CPTAC-CM",
    licence="as its page states",
    url="https://www.cancerimagingarchive.net/collection/cptac-cm/",
    modality="",
    reference="doi:10.7937/K9/TCIA.2018.ODU24GZE",
    layout="""\
the table of the slides (Case_ID, Slide_ID, Specimen_Type, Tumor ...) as the pathology portal gives it, and clinical
tables (*.csv, *.tsv, *.txt) with a column for the case (case_id, case_submitter_id ...)
optional: the slides C3L-*-*.svs and C3N-*-*.svs in any folder""",
    ids=r"(C3[LN]-\d{5}-\d{2})",
    folders="cptac[-_ ]?cm",
)
PATIENT = r"C3[LN]-\d{5}"
_SLIDE = re.compile(rf"({PATIENT})-\d\d")
_MELANOMA = "cm"


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the slides of melanomas and the facts of their patients, or the slides or patients that a table lists.

    One row a slide, named after its file, with the path in ``slide``; slides are not copied. Slides of normal tissue,
    lymph nodes or other tumors are left out. Empty without a table.
    """
    patients = read_patients(tree, PATIENT)
    files = {file.stem: file.name for file in tree.files if file.suffix == ".svs" and _SLIDE.fullmatch(file.stem)}
    slide_rows = {row["slide_id"]: row for rows in patients.values() for row in rows if row.get("slide_id")}
    melanoma = {name for name, row in slide_rows.items() if _is_melanoma_row(row)}
    of_melanoma = {patient: _select_melanoma_rows(rows) for patient, rows in patients.items()}
    known = {patient: extract_columns(rows) for patient, rows in of_melanoma.items() if rows}
    named = sorted(files or melanoma)
    chosen = [
        name for name in named if (name in melanoma or name not in slide_rows) and _patient_of_slide(name) in known
    ]
    if known and len(chosen) < len(named):
        left = len(named) - len(chosen)
        tree.notes.append(("slides", f"{left} of other tissue, or of patients in no table: left out"))
    if not named:
        return [make_record(patient, patient, known) for patient in sorted(known)]
    return [make_record(name, _patient_of_slide(name), known, files.get(name, "")) for name in chosen]


def _patient_of_slide(slide: str) -> str:
    match = _SLIDE.fullmatch(slide)
    return match[1] if match else ""


def _is_melanoma_row(row: dict[str, str]) -> bool:
    """Whether a row of the table of slides is about the melanoma itself."""
    kind, tumor = row.get("specimen_type", "tumor").lower(), row.get("tumor", _MELANOMA).lower()
    site = f"{row.get('tumor_site', '')} {row.get('topographic_site', '')}".lower()
    return "normal" not in kind and tumor == _MELANOMA and "lymph node" not in site


def _select_melanoma_rows(rows: Rows) -> list[dict[str, str]]:
    """Select the rows about melanomas: the archive's tables contain all tumors."""
    return [dict(row) for row in rows if row.get("tumor", row.get("tumor_code", _MELANOMA)).lower() == _MELANOMA]

"""CPTAC-CM: slides of cutaneous melanomas, with clinical tables of the pathology portal, the PDC or CPTAC itself.

The known column names are those of the portal's table of slides (``Case_ID``, ``Slide_ID``, ``Specimen_Type``,
``Tumor``, ``Tumor_Site``, ``Gender``, ``Age_at_Diagnosis``), of the PDC's clinical table (as in the GDC), and of
CPTAC's clinical tables for other tumors (``consent/age``, ``baseline/...``, ``follow-up/...``). No complete table of
the melanomas was available for a test; other column names need a mapping.
"""

from __future__ import annotations

import re

from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
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
_MELANOMA = "cm"  # CPTAC's code of cutaneous melanoma


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the slides of melanomas with the data of their patients.

    Returns a record for each slide file, named after it, with its path in ``slide`` (slides are not copied); without
    slide files, a record for each slide in the tables, else for each patient. Slides of normal tissue, lymph nodes or
    other tumors are left out. Empty without a table.
    """
    patients = read_patients(tree, PATIENT)
    files = {file.stem: file.name for file in tree.files if file.suffix == ".svs" and _SLIDE.fullmatch(file.stem)}
    slide_rows = {row["slide_id"]: row for rows in patients.values() for row in rows if row.get("slide_id")}
    melanoma_slides = {name for name, row in slide_rows.items() if _is_melanoma_row(row)}
    melanoma_rows = {patient: _select_melanoma_rows(rows) for patient, rows in patients.items()}
    values = {patient: extract_columns(rows) for patient, rows in melanoma_rows.items() if rows}
    slides = sorted(files or melanoma_slides)
    selected = [
        name
        for name in slides
        if (name in melanoma_slides or name not in slide_rows) and _patient_of_slide(name) in values
    ]
    if values and len(selected) < len(slides):
        left_out = len(slides) - len(selected)
        tree.notes.append(("slides", f"{left_out} of other tissue, or of patients in no table: left out"))
    if not slides:
        return [make_record(patient, patient, values) for patient in sorted(values)]
    return [make_record(name, _patient_of_slide(name), values, files.get(name, "")) for name in selected]


def _patient_of_slide(slide: str) -> str:
    match = _SLIDE.fullmatch(slide)
    return match[1] if match else ""


def _is_melanoma_row(row: dict[str, str]) -> bool:
    """Whether a row of the table of slides is about tissue of the melanoma itself."""
    kind, tumor = row.get("specimen_type", "tumor").lower(), row.get("tumor", _MELANOMA).lower()
    site = f"{row.get('tumor_site', '')} {row.get('topographic_site', '')}".lower()
    return "normal" not in kind and tumor == _MELANOMA and "lymph node" not in site


def _select_melanoma_rows(rows: Rows) -> list[dict[str, str]]:
    """Select the rows about melanomas; the tables contain other tumors too."""
    return [dict(row) for row in rows if row.get("tumor", row.get("tumor_code", _MELANOMA)).lower() == _MELANOMA]

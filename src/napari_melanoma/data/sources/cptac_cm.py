"""CPTAC-CM: slides of cutaneous melanomas with the tables of the pathology portal, the PDC or CPTAC's own.

Columns were taken from the table that goes with the slides (``Case_ID``, ``Slide_ID``, ``Specimen_Type``, ``Tumor``,
``Tumor_Site``, ``Gender``, ``Age_at_Diagnosis``), from the clinical table of the PDC, whose names are those of the GDC,
and from CPTAC's clinical tables of other tumours (``consent/age``, ``baseline/...``, ``follow-up/...``). No full table
of the melanomas was at hand: columns that are called otherwise are brought to these by a mapping.
"""

from __future__ import annotations

import re

from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.sources import SourceRecord, SourceSpec
from napari_melanoma.data.sources._clinical import Rows, extract_columns, read_patients

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
where you have them, the slides C3L-*-*.svs and C3N-*-*.svs in any folder""",
    ids=r"(C3[LN]-\d{5}-\d{2})",
    folders="cptac[-_ ]?cm",
)
PATIENT = r"C3[LN]-\d{5}"
_SLIDE = re.compile(rf"({PATIENT})-\d\d")
_MELANOMA = "cm"


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the slides of tumours and what is known of their patients, or the slides or patients that a table names.

    A row a slide, named as its file, ``slide`` saying where it lies; slides are not copied. Slides that a table calls
    normal tissue, lymph node or another tumour are left out. Empty where there is no table.
    """
    patients = read_patients(tree, PATIENT)
    files = {file.stem: file.name for file in tree.files if file.suffix == ".svs" and _SLIDE.fullmatch(file.stem)}
    of_slides = {row["slide_id"]: row for rows in patients.values() for row in rows if row.get("slide_id")}
    wanted = {name for name, row in of_slides.items() if _is_melanoma_row(row)}
    known = {
        patient: extract_columns(_select_melanoma_rows(rows))
        for patient, rows in patients.items()
        if _select_melanoma_rows(rows)
    }
    named = sorted(files or wanted)
    chosen = [name for name in named if (name in wanted or name not in of_slides) and _patient_of_slide(name) in known]
    if known and len(chosen) < len(named):
        left = len(named) - len(chosen)
        tree.notes.append(("slides", f"{left} of other tissue, or of patients whom no table names: left out"))
    if not named:
        return [_make_record(patient, patient, known) for patient in sorted(known)]
    return [_make_record(name, _patient_of_slide(name), known, files.get(name, "")) for name in chosen]


def _patient_of_slide(slide: str) -> str:
    """Whose slide it is."""
    match = _SLIDE.fullmatch(slide)
    return match[1] if match else ""


def _is_melanoma_row(row: dict[str, str]) -> bool:
    """Whether a row of the table of slides is about the melanoma itself."""
    kind, tumour = row.get("specimen_type", "tumor").lower(), row.get("tumor", _MELANOMA).lower()
    place = f"{row.get('tumor_site', '')} {row.get('topographic_site', '')}".lower()
    return "normal" not in kind and tumour == _MELANOMA and "lymph node" not in place


def _select_melanoma_rows(rows: Rows) -> list[dict[str, str]]:
    """Rows but for those about other tumours: the tables of the archive hold all of them."""
    return [dict(row) for row in rows if row.get("tumor", row.get("tumor_code", _MELANOMA)).lower() == _MELANOMA]


def _make_record(name: str, patient: str, known: dict[str, dict[str, str]], slide: str = "") -> SourceRecord:
    """A row."""
    common = {"patient_id": patient, "modality": "wsi", "diagnosis": "melanoma", "slide": slide}
    return SourceRecord(name, None, None, {**known.get(patient, {}), **common})

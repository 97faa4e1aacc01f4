"""Read clinical tables of the GDC and similar portals: patient data, and whether the melanoma has metastasized."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from napari_melanoma.data.source_catalog import SourceRecord
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.io.tables import decode_table, parse_table_text

Rows = Sequence[Mapping[str, str]]
TABLES = r".+\.(?:tsv|csv|txt)"
DAYS_PER_YEAR = 365.25
# Values that mean unknown: '-- in tables of the GDC, [Not Available] in biotab files, words in others
_MISSING = re.compile(
    r"'?--|\[.*\]|not (reported|available|applicable|evaluated|known|allowed to collect)|unknown|unspecified|na|nan",
    re.IGNORECASE,
)
# Column names contain table names: diagnoses.ajcc_pathologic_m (GDC), gender.demographic (Xena), consent/age (CPTAC)
_TABLE_NAMES = (
    "cases|project|demographic|diagnoses|pathology_details|follow_ups|exposures|samples|baseline|consent|follow-up"
)
_TABLE_NAME = re.compile(rf"^(?:(?:{_TABLE_NAMES})[./])+|\.(?:{_TABLE_NAMES})$")
_PATIENT_COLUMN = re.compile(r"(?:.*submitter_id|.*barcode|patient(?:_id)?|case(?:_id)?|sampleid)$")
# Our columns, and the columns of the portals with these values, the preferred one first
_SOURCE_COLUMNS = {
    "depth_mm": ("breslow_thickness", "breslow_thickness_at_diagnosis", "breslow_depth_value", "breslow_depth"),
    "age": ("age_at_index", "age_at_initial_pathologic_diagnosis", "age_at_diagnosis", "diagnosis_age", "age"),
    "sex": ("gender", "sex", "sex_at_birth"),
    "site": (
        *("melanoma_origin_skin_anatomic_site", "primary_melanoma_skin_site", "tissue_or_organ_of_origin"),
        *("tumor_site", "site_of_resection_or_biopsy"),
    ),
    "ulceration": ("melanoma_ulceration_indicator", "primary_melanoma_tumor_ulceration", "ulceration_indicator"),
    "clark": ("melanoma_clark_level_value", "clark_level_at_diagnosis", "clark_level"),
    "mitoses_per_mm2": ("malignant_neoplasm_mitotic_count_rate", "primary_melanoma_mitotic_rate"),
    "ajcc_stage": (
        *("ajcc_pathologic_stage", "ajcc_pathologic_tumor_stage", "pathologic_stage", "tumor_stage_pathological"),
    ),
}
_NODAL_STAGE = (
    *("ajcc_pathologic_n", "ajcc_nodes_pathologic_pn", "pathologic_n", "path_n_stage"),
    *("pathologic_staging_regional_lymph_nodes_pn", "pathologic_staging_regional_lymph_nodes"),
)
_DISTANT_STAGE = (
    *("ajcc_pathologic_m", "ajcc_metastasis_pathologic_pm", "pathologic_m", "path_m_stage"),
    *("pathologic_staging_distant_metastasis_pm", "pathologic_staging_distant_metastasis"),
)
_AT_DIAGNOSIS = ("metastasis_at_diagnosis",)
_TUMOR_CLASS, _METASTASIS_SITE = ("classification_of_tumor",), ("distant_metastasis_anatomic_site",)
_SPECIMENS = ("submitted_tumor_location", "tumor_tissue_site")
_PROGRESSION = (
    *("progression_or_recurrence", "new_tumor_event_dx_indicator", "new_tumor_event_after_initial_treatment"),
    "new_tumor_after_initial_treatment",
)
_EVENTS = (
    *("progression_or_recurrence_type", "new_tumor_event_type", "new_neoplasm_event_type"),
    *("type_of_new_tumor", "new_event_type"),
)
_SPREAD = re.compile(r"distant|metasta|lymph node|in-transit|\bregional", re.IGNORECASE)
_NO_SPREAD = re.compile(r"new primary|no metastasis", re.IGNORECASE)


def read_patients(tree: SourceTree, patient: str) -> dict[str, list[dict[str, str]]]:
    """Read the rows of all tables by patient; ``patient`` is a pattern of patient ids.

    The rows of a patient are in the order of the tables' names, but rows about other tumors than the primary come last.
    Columns are named without their tables (``strip_table_name``); empty and unknown cells are left out.
    """
    rows_by_patient: dict[str, list[dict[str, str]]] = defaultdict(list)
    patient_pattern = re.compile(patient)
    for file in tree.find_tables(TABLES):
        for row in _read_rows(tree, file):
            patient_id = next(
                (cell for column, cell in row if _PATIENT_COLUMN.match(column) and patient_pattern.fullmatch(cell)), ""
            )
            if patient_id:
                values: dict[str, str] = {}
                for column, cell in row:
                    if cell and not _MISSING.fullmatch(cell):
                        values.setdefault(column, cell)
                rows_by_patient[patient_id].append(values)
    for rows in rows_by_patient.values():
        rows.sort(key=lambda row: row.get("classification_of_tumor", "primary").lower() != "primary")
    return dict(rows_by_patient)


def _read_rows(tree: SourceTree, file: SourceFile) -> Iterator[list[tuple[str, str]]]:
    """Yield the rows of a table as column names and cells; lines that begin with # (cBioPortal) are skipped."""
    lines = decode_table(tree.read_content(file)).splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("#"))
    for row in parse_table_text(text, file.name) if text.strip() else ():
        yield [(strip_table_name(column), cell.strip()) for column, cell in tree.mapping.apply(row).items()]


def strip_table_name(column: str) -> str:
    """Return the name of a column without that of its table, in lower case."""
    return _TABLE_NAME.sub("", column.strip().lower().replace(" ", "_"))


def extract_columns(rows: Rows) -> dict[str, str]:
    """Return the known values of a patient, in our columns and the words of the tables.

    A thickness of 0 is invalid and left out.
    """
    values = {
        target_column: _first_cell(rows, source_name)[1] for target_column, source_name in _SOURCE_COLUMNS.items()
    }
    values["age"] = _parse_age(values["age"])
    if not _is_positive(values["depth_mm"]):
        values["depth_mm"] = ""
    spread, source_column = classify_spread(rows)
    return {
        name: text for name, text in (values | {"metastasis": spread, "metastasis_by": source_column}).items() if text
    }


def make_record(name: str, patient: str, values: Mapping[str, Mapping[str, str]], slide: str = "") -> SourceRecord:
    """Make the record of a melanoma slide, or of a patient, with the known values of the patient.

    ``values``: patient to column to value. ``slide``: path of the slide, "" if there is none.
    """
    common = {"patient_id": patient, "modality": "wsi", "diagnosis": "melanoma", "slide": slide}
    return SourceRecord(name, None, None, {**values.get(patient, {}), **common})


def classify_spread(rows: Rows) -> tuple[str, str]:
    """Classify whether a melanoma has metastasized (nodal, in transit or distant), at diagnosis or later.

    Positive: pathologic N1 to N3, pathologic M1, stage III or IV, a submitted specimen or another tumor of the patient
    that is a metastasis, a named site of distant metastasis, or a metastasis at diagnosis or in the follow-up.
    Negative: N0 and M0, or stage 0 to II, and a follow-up without a new tumor or with new primaries only. Anything else
    is unknown, such as a recurrence that is only called locoregional.

    Returns ``"1"``, ``"0"`` or, if unknown, ``""``; and the column from which the result comes (``"follow-up"`` for 0).
    """
    for columns, pattern in (
        (_DISTANT_STAGE, re.compile(r"p?M1.*", re.IGNORECASE)),
        (_NODAL_STAGE, re.compile(r"p?N[1-3].*", re.IGNORECASE)),
        (_SOURCE_COLUMNS["ajcc_stage"], re.compile(r"(stage )?(III|IV).*", re.IGNORECASE)),
        (_SPECIMENS, re.compile(r".*(regional|distant).*", re.IGNORECASE)),
        (_TUMOR_CLASS, re.compile(r".*metastasis", re.IGNORECASE)),
        (_METASTASIS_SITE, re.compile(r".+")),
    ):
        for column, cell in _iter_cells(rows, columns):
            if pattern.fullmatch(cell):
                return "1", column
    for column, cell in _iter_cells(rows, (*_AT_DIAGNOSIS, *_EVENTS)):
        if _SPREAD.search(cell) and not _NO_SPREAD.search(cell):
            return "1", column
    return ("0", "follow-up") if _is_free_at_diagnosis(rows) and _is_free_at_follow_up(rows) else ("", "")


def _is_free_at_diagnosis(rows: Rows) -> bool:
    """Whether nodes and organs were free of tumor at diagnosis."""
    nodes, organs = _first_cell(rows, _NODAL_STAGE)[1].upper(), _first_cell(rows, _DISTANT_STAGE)[1].upper()
    stage = _first_cell(rows, _SOURCE_COLUMNS["ajcc_stage"])[1]
    early = re.fullmatch(r"(stage )?(0|I{1,2}[ABC]?|I/II.*)", stage, re.IGNORECASE)
    return bool(early) or (re.fullmatch(r"P?N0.*", nodes) is not None and re.fullmatch(r"P?M0.*", organs) is not None)


def _is_free_at_follow_up(rows: Rows) -> bool:
    """Whether the follow-up has no new tumor other than new primaries."""
    progression = [cell.lower() for _, cell in _iter_cells(rows, _PROGRESSION)]
    events = [cell for _, cell in _iter_cells(rows, _EVENTS)]
    recurred = any(not cell.startswith("no") for cell in progression)
    new_primaries = bool(events) and all(_NO_SPREAD.search(cell) for cell in events)
    return new_primaries or (bool(progression) and not recurred and not events)


def _iter_cells(rows: Rows, columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Iterate over the non-empty cells of some columns, column by column: name of the column and text."""
    return ((column, row[column]) for column in columns for row in rows if row.get(column))


def _first_cell(rows: Rows, columns: Sequence[str]) -> tuple[str, str]:
    """Return the first non-empty cell of some columns as column and text; "" for both if there is none."""
    return next(_iter_cells(rows, columns), ("", ""))


def _parse_age(text: str) -> str:
    """Return an age in years; a number above 150 is in days, as the age at diagnosis of the GDC."""
    number = re.fullmatch(r"\D*(\d+(?:\.\d+)?)\D*", text)
    if number is None:
        return ""
    value = float(number[1])
    return f"{value / DAYS_PER_YEAR:.1f}" if value > 150 else f"{value:g}"


def _is_positive(text: str) -> bool:
    """Whether a cell is a number above 0."""
    return bool(re.fullmatch(r"\d+(?:\.\d+)?", text)) and float(text) > 0

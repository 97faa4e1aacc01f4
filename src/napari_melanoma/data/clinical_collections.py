"""The public collections of slides: TCGA-SKCM and CPTAC-CM, with the clinical tables of their portals.

TCGA: the known column names are those of the GDC data dictionary (``diagnosis``, ``pathology_detail``, ``follow_up``),
of TCGA's clinical data elements (CDE 2593055 Breslow depth, 2593051 Clark level, 3108478 ulceration, 3186135 mitoses),
and of the biotab file ``nationwidechildrens.org_clinical_patient_skcm.txt``. Barcodes are explained at
https://docs.gdc.cancer.gov/Encyclopedia/pages/TCGA_Barcode/.

CPTAC: they are those of the portal's table of slides (``Case_ID``, ``Slide_ID``, ``Specimen_Type``, ``Tumor``,
``Tumor_Site``, ``Gender``, ``Age_at_Diagnosis``), of the PDC's clinical table (as in the GDC), and of CPTAC's clinical
tables for other tumors (``consent/age``, ``baseline/...``, ``follow-up/...``). No complete table of the melanomas was
available for a test; other column names need a mapping.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from napari_melanoma.data.cell_values import parse_number
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.source_records import DataSource, SourceRecord, SourceSpec
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
    if not (parse_number(values["depth_mm"]) or 0) > 0:
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


TCGA_PATIENT = r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}"
_BARCODE = re.compile(rf"({TCGA_PATIENT})-(\d\d)[A-Z]-\d\d-([A-Z]{{2}})[A-Z0-9]*(\.[0-9a-fA-F-]{{36}})?")
# Codes in a barcode: types of the sample, and the diagnostic kind of slide
_PRIMARY, _METASTASES, _DIAGNOSTIC = "01", ("06", "07"), "DX"


def _find_tcga(tree: SourceTree) -> list[SourceRecord]:
    """Find the diagnostic slides of primary tumors with the data of their patients.

    A slide of a metastasis is left out because it shows the outcome; it proves that the patient's melanoma has
    metastasized. Frozen sections are left out too.

    Returns a record for each slide, named after its file, with its path in ``slide`` (slides are not copied); without
    slides, a record for each patient. Empty without a table.
    """
    values = {patient: extract_columns(rows) for patient, rows in read_patients(tree, TCGA_PATIENT).items()}
    slides = {file.stem: file for file in tree.files if file.suffix in (".svs", ".tif", ".tiff")}
    barcodes = {stem: match for stem in slides if (match := _BARCODE.fullmatch(stem))}
    for match in barcodes.values():
        if match[2] in _METASTASES and match[1] in values:
            values[match[1]] |= {"metastasis": "1", "metastasis_by": "slide of a metastasis"}
    selected = [stem for stem, match in barcodes.items() if match[2] == _PRIMARY and match[3] == _DIAGNOSTIC]
    if values and slides:
        _note_left_out(tree, barcodes, selected, values)
        return [make_record(stem, barcodes[stem][1], values, slides[stem].name) for stem in sorted(selected)]
    return [make_record(patient, patient, values) for patient in sorted(values)]


def _note_left_out(
    tree: SourceTree, barcodes: dict[str, re.Match[str]], selected: list[str], values: dict[str, dict[str, str]]
) -> None:
    """Note how many slides are left out, and how many belong to patients without data."""
    metastases = sum(match[2] in _METASTASES for match in barcodes.values())
    other_slides = len(barcodes) - len(selected) - metastases
    without_patient = sum(barcodes[stem][1] not in values for stem in selected)
    for count, message in (
        (metastases, "of metastases: left out because they show the outcome"),
        (other_slides, "frozen or of other tissue: left out"),
        (without_patient, "of patients in no table: their clinical data are unknown"),
    ):
        if count:
            tree.notes.append(("slides", f"{count} {message}"))


CPTAC_PATIENT = r"C3[LN]-\d{5}"
_SLIDE = re.compile(rf"({CPTAC_PATIENT})-\d\d")
_MELANOMA = "cm"  # CPTAC's code of cutaneous melanoma


def _find_cptac(tree: SourceTree) -> list[SourceRecord]:
    """Find the slides of melanomas with the data of their patients.

    Returns a record for each slide file, named after it, with its path in ``slide`` (slides are not copied); without
    slide files, a record for each slide in the tables, else for each patient. Slides of normal tissue, lymph nodes or
    other tumors are left out. Empty without a table.
    """
    patients = read_patients(tree, CPTAC_PATIENT)
    files = {file.stem: file.name for file in tree.files if file.suffix == ".svs" and _SLIDE.fullmatch(file.stem)}
    slide_rows = {row["slide_id"]: row for rows in patients.values() for row in rows if row.get("slide_id")}
    melanoma_slides = {name for name, row in slide_rows.items() if _is_melanoma_row(row)}
    melanoma_rows = {  # the tables contain other tumors too
        patient: [row for row in rows if row.get("tumor", row.get("tumor_code", _MELANOMA)).lower() == _MELANOMA]
        for patient, rows in patients.items()
    }
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


SLIDE_COLLECTIONS = (
    DataSource(
        SourceSpec(
            name="tcga-skcm",
            title="TCGA-SKCM",
            licence="open access of the GDC; as its page states",
            url="https://portal.gdc.cancer.gov/projects/TCGA-SKCM",
            modality="",
            reference="The Cancer Genome Atlas Network 2015, doi:10.1016/j.cell.2015.05.044",
            layout="""\
the clinical tables, unpacked: clinical.tsv, pathology_detail.tsv and follow_up.tsv of the GDC, or
nationwidechildrens.org_clinical_patient_skcm.txt and ..._follow_up_*_skcm.txt, ..._nte_skcm.txt of TCGA,
or TCGA-SKCM.GDC_phenotype.tsv of Xena, or data_clinical_patient.txt of cBioPortal (several may be present)
optional: the slides TCGA-*-DX*.<uuid>.svs in any folder""",
            ids=r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}-\d{2}[A-Z]-.+)",
            folders="tcga[-_ ]?skcm",
        ),
        _find_tcga,
    ),
    DataSource(
        SourceSpec(
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
        ),
        _find_cptac,
    ),
)

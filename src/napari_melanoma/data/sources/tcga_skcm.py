"""TCGA-SKCM: slides of primary melanomas with the clinical tables of the GDC, TCGA, Xena or cBioPortal.

The known column names are those of the GDC data dictionary (``diagnosis``, ``pathology_detail``, ``follow_up``), of
TCGA's clinical data elements (CDE 2593055 Breslow depth, 2593051 Clark level, 3108478 ulceration, 3186135 mitoses), and
of the biotab file ``nationwidechildrens.org_clinical_patient_skcm.txt``. Barcodes are explained at
https://docs.gdc.cancer.gov/Encyclopedia/pages/TCGA_Barcode/.
"""

from __future__ import annotations

import re

from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.sources._clinical import extract_columns, make_record, read_patients

SPEC = SourceSpec(
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
)
PATIENT = r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}"
_SLIDE = re.compile(rf"({PATIENT})-(\d\d)[A-Z]-\d\d-([A-Z]{{2}})[A-Z0-9]*(\.[0-9a-fA-F-]{{36}})?")
# Codes in a barcode: types of the sample, and the diagnostic kind of slide
_PRIMARY, _METASTASES, _DIAGNOSTIC = "01", ("06", "07"), "DX"


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the diagnostic slides of primary tumors with the data of their patients.

    A slide of a metastasis is left out because it shows the outcome; it proves that the patient's melanoma has
    metastasized. Frozen sections are left out too.

    Returns a record for each slide, named after its file, with its path in ``slide`` (slides are not copied); without
    slides, a record for each patient. Empty without a table.
    """
    values = {patient: extract_columns(rows) for patient, rows in read_patients(tree, PATIENT).items()}
    slides = {file.stem: file for file in tree.files if file.suffix in (".svs", ".tif", ".tiff")}
    barcodes = {stem: match for stem in slides if (match := _SLIDE.fullmatch(stem))}
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

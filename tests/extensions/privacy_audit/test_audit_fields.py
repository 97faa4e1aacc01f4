"""Identifying fields of DICOM files and columns of tables, in several languages."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.data.table_schema import COLUMN_NAMES
from napari_melanoma.extensions.privacy_audit.audit import PrivacyFinding, audit, find_field_kind, normalize_name

NAME, RECORD = "Anna Miller", "4711823"


def looked(path: Path) -> list[PrivacyFinding]:
    """Return the findings in a file or folder."""
    findings: list[PrivacyFinding] = []
    assert not audit([path], findings.append, run=RunContext()).skipped
    return findings


DICOM_CASES = {
    "StudyDescription": ("for Anna Miller", "text"),
    "PersonAddress": ("Main Street 1", "contact"),
    "OrderCallbackPhoneNumber": ("0123", "contact"),
    "PatientInstitutionResidence": ("A home", "location"),
    "TextString": ("Miller", "text"),
    "EthnicGroup": ("Sami", "text"),
    "RetrieveAETitle": ("WARD3", "device"),
}


@pytest.mark.parametrize(("name", "case"), DICOM_CASES.items(), ids=lambda value: value if type(value) is str else "")
def test_text_in_dicom_is_found(name: str, case: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(small_dicom({name: case[0], "Manufacturer": "A maker", "CodeMeaning": "Nevus"}))
    assert [(finding.where, finding.kind) for finding in looked(tmp_path)] == [(f"DICOM {name}", case[1])]


def test_private_elements_in_sequences_overlays_and_documents_of_dicom_are_found(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.private_block(0x0011, "maker", create=True).add_new(1, "LO", NAME)
    content = small_dicom({"ReferencedImageSequence": [item], "EncapsulatedDocument": b"%PDF"}, overlay=True)
    (tmp_path / "a.dcm").write_bytes(content)
    assert {finding.where for finding in looked(tmp_path)} == {
        *("DICOM private elements", "DICOM overlay", "DICOM EncapsulatedDocument")
    }


COLUMNS = {
    "hospital number": ("44", "record"),
    "mobile": ("030 123", "contact"),
    "date_of_death": ("2020", "date"),
    "prénom": ("Anna", "person"),
    "initials": ("AM", "person"),
    "Bemerkungen": ("her sister had one too", "text"),
}


@pytest.mark.parametrize(("column", "case"), COLUMNS.items(), ids=lambda value: value if type(value) is str else "")
def test_columns_in_other_languages_and_comments_are_found(column: str, case: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"# of a clinic\nimage_id;{column}\na;{case[0]}\nb;\n", "utf-8")
    assert [(finding.where, finding.kind) for finding in looked(tmp_path)] == [(f"column '{column}'", case[1])]


def test_columns_of_our_tables_and_public_data_sets_pass() -> None:
    public = "attribution image_type concomitant_biopsy anatom_site_general dx_type benign_malignant nickname pathology"
    assert [
        name
        for name in (*COLUMN_NAMES, *public.split())
        if name != "patient_id" and find_field_kind(normalize_name(name))
    ] == []


def small_dicom(values: dict[str, object], *, overlay: bool = False) -> bytes:
    """A DICOM file with only these elements."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, VLPhotographicImageStorage

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = VLPhotographicImageStorage, "1.2.3"
    for name, value in values.items():
        setattr(dataset, name, value)
    if overlay:
        dataset.add_new(0x60003000, "OW", b"\1\0")
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()

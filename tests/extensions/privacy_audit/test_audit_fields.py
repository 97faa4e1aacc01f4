"""Identifying fields of DICOM files and columns of tables, in several languages."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import pytest

from napari_melanoma.case.model import Case
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.data.table_schema import COLUMN_NAMES
from napari_melanoma.data.taxonomy import TAXONOMY_FOLDER, read_taxonomy_rows
from napari_melanoma.depth.readings import MODEL_READER, DepthReading, SlideDepthReadings
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.extensions.privacy_audit.audit import PrivacyFinding, audit, find_field_kind, normalize_name
from napari_melanoma.extensions.synoptic.fhir import build_diagnostic_report
from napari_melanoma.io.results import write_table
from napari_melanoma.slides.depth_readings import KnownDepth

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


ALIASES = [row for row in read_taxonomy_rows(TAXONOMY_FOLDER / "columns.csv") if row["rule"] != "suggest"]
NAMES_OF_AGES = [row["source"] for row in ALIASES if row["target"] == "age"]
NAMES_OF_PATIENTS = [row["source"] for row in ALIASES if row["target"] == "patient_id"]


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl"])
@pytest.mark.parametrize(
    ("names", "values", "kind"),
    [(NAMES_OF_AGES, ("94", "89.5"), "age"), (NAMES_OF_PATIENTS, (RECORD,), "record")],
    ids=["age", "patient_id"],
)
def test_names_that_are_harmonized_are_found(
    names: list[str], values: tuple[str, ...], kind: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{suffix}"
    for name in names:
        for value in values:
            content = f"{name}\n{value}\n" if suffix == "csv" else f"{{{json.dumps(name)}: {value}}}"
            path.write_text(content, "utf-8")
            assert [finding.kind for finding in looked(path)] == [kind], (name, value)


def test_the_age_in_a_case_of_this_program_is_found(tmp_path: Path) -> None:
    case = Case.parse({"patient": {"age": 94}}, "a case").model_dump_json()
    assert '"age":94.0' in case
    (tmp_path / "case.json").write_text(case, "utf-8")
    assert [(finding.where, finding.kind) for finding in looked(tmp_path)] == [("patient.age", "age")]


SIGNED = "2026-01-31T10:00:00+00:00"


def write_names(folder: Path, name: str) -> dict[str, int]:
    """Write the files of this program that contain the name of a reader; return how often each has it."""
    reading = DepthReading(reader=name, when=SIGNED, mm=1.2)
    report = SynopticReport(reader=name, signed_by=name, signed_at=SIGNED)
    (folder / "findings.json").write_text(SlideDepthReadings(readings=(reading,)).model_dump_json(), "utf-8")
    write_json(folder / "synoptic.json", report.model_dump(mode="json"))
    write_json(folder / "synoptic.fhir.json", build_diagnostic_report(report, personal=True))
    write_json(folder / "risk.json", {"depth": asdict(KnownDepth(1.2, "reader", reader=name))})
    write_table(folder / "risk.csv", [{"case": "a", "depth_reader": name}])
    write_table(folder / "readings.csv", [{"slide": "a", "reader": name, "depth_by": "reader"}])
    return {path.name: path.read_text("utf-8").count(name) for path in folder.iterdir()}


def test_the_names_of_readers_in_files_of_this_program_are_found(tmp_path: Path) -> None:
    counts = write_names(tmp_path, NAME)
    assert len(counts) == 6
    found = Counter(
        finding.file for finding in looked(tmp_path) if finding.kind == "staff" for _ in range(finding.count)
    )
    assert found == counts
    write_names(tmp_path, MODEL_READER)
    assert "staff" not in {finding.kind for finding in looked(tmp_path)}


TEXTS = {  # that begin like words for an empty value
    "not found: /home/amiller/a.svs": ["path", "user"],
    "anonymous: anna@clinic.example": ["contact"],
    "de-identified by anna@clinic.example": ["contact"],
}


@pytest.mark.parametrize(("text", "kinds"), TEXTS.items(), ids=list(TEXTS))
def test_only_a_whole_value_counts_as_empty(text: str, kinds: list[str], tmp_path: Path) -> None:
    for name, content in {"a.json": json.dumps({"error": text}), "a.csv": f"info\n{text}\n", "a.log": text}.items():
        (tmp_path / name).write_text(content, "utf-8")
        assert [finding.kind for finding in looked(tmp_path / name)] == kinds, name
    for empty in ("not available", "Not Recorded", "anonymous", "Anonymized", "de-identified", "n/a"):
        (tmp_path / "a.json").write_text(json.dumps({"patient_name": empty}), "utf-8")
        assert looked(tmp_path / "a.json") == []


def test_a_date_in_the_last_row_is_found(tmp_path: Path) -> None:
    rows = "".join(f"words {number}\n" for number in range(300))
    (tmp_path / "a.csv").write_text(f"info\n{rows}2021-03-04\n", "utf-8")
    assert [finding.kind for finding in looked(tmp_path)] == ["date"]


@pytest.mark.parametrize("line", ["", "{", '{"text": "a\u2028b"}'])
def test_a_line_of_json_does_not_hide_the_next(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{line}\n{{"patient_name": "{NAME}"}}\n', "utf-8")
    assert [finding.where for finding in looked(tmp_path)] == ["patient_name"]


@pytest.mark.parametrize("quote", ['"', "'"])
def test_attributes_in_either_quotes_are_found(quote: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(f"<a Version='1' b=\"2\"><b UserName={quote}amiller{quote}/></a>", "utf-8")
    assert [(finding.where, finding.kind) for finding in looked(tmp_path)] == [("UserName", "staff")]


@pytest.mark.parametrize("date", ["2021-03-04", "20210304", "04.03.2021", "4-3-2021", "04_03_2021"])
def test_a_date_in_the_name_of_a_file_is_found(date: str, tmp_path: Path) -> None:
    (tmp_path / f"a {date}.txt").write_text("x", "utf-8")
    assert [finding.kind for finding in looked(tmp_path)] == ["date"]
    (tmp_path / f"a {date}.txt").rename(tmp_path / "version 1.2.3.txt")
    assert looked(tmp_path) == []


def test_a_text_of_names_and_values_is_searched(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"patient_name: {NAME}\ndate_of_birth: 1970-03-04\n", "utf-8")
    assert [(finding.where, finding.kind) for finding in looked(tmp_path)] == [
        ("line 1", "person"),
        ("line 2", "birth"),
    ]


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


def test_the_number_of_a_process_is_none_of_a_patient(tmp_path: Path) -> None:
    (tmp_path / "process.json").write_text('{"pid": 14711, "start": 12345.5}', encoding="utf-8")
    assert looked(tmp_path) == []
    (tmp_path / "patients.csv").write_text("pid,site\n14711,back\n14712,arm\n", encoding="utf-8")
    assert {finding.kind for finding in looked(tmp_path)} == {"record"}

"""Tables of sets without images: every row is a record, without loss of information."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.data.collections import parse_one_hot
from napari_melanoma.data.source_catalog import find_source
from napari_melanoma.data.table_mapping import TableMapping, strip_image_suffix
from napari_melanoma.privacy.pseudonyms import pseudonym


def test_a_table_alone_gives_rows_without_images(tmp_path: Path) -> None:
    (tmp_path / "ISIC_2019_Training_Metadata.csv").write_text("image,age_approx\nISIC_0000002,50\nISIC_0000001,\n")
    found = find_source("isic2019").read_folder(tmp_path)
    assert [(record.image_id, record.image) for record in found.importable] == [
        ("ISIC_0000001", None),
        ("ISIC_0000002", None),
    ]
    assert found.importable[1].values == {"modality": "dermoscopic", "age_approx": "50", "split": "train"}


def test_where_images_are_there_rows_without_one_are_left(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("image_id,age\na,50\nb,40\n")
    (tmp_path / "a.jpg").write_bytes(b"picture")
    found = find_source("table").read_folder(tmp_path)
    assert [record.image_id for record in found.importable] == ["a"]
    assert [record.image_id for record in found.records] == ["a", "b"]


@pytest.mark.parametrize("source", ["folder", "table"])
def test_tables_of_one_name_in_several_folders_are_all_read(source: str, tmp_path: Path) -> None:
    for image, patient in (("a", "P1"), ("b", "P2")):
        (tmp_path / image).mkdir()
        (tmp_path / image / f"{image}.jpg").write_bytes(b"picture")
        (tmp_path / image / "metadata.csv").write_text(f"image_id,patient_id\n{image},{patient}\n")
    found = find_source(source).read_folder(tmp_path)
    assert {record.image_id: record.values for record in found.records} == {
        "a": {"patient_id": "P1"},
        "b": {"patient_id": "P2"},
    }


def test_a_copy_of_a_table_in_an_archive_is_not_read_again(tmp_path: Path) -> None:
    text = "case_id,diagnosis\n1001,melanoma\n"
    (tmp_path / "pathology.csv").write_text(text)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("pathology.csv", text)
    found = find_source("isic2024-pathology").read_folder(tmp_path)
    assert [record.image_id for record in found.records] == ["case_1001"]


@pytest.mark.parametrize("name", ["fitzpatrick17k.csv", "fitzpatrick17k.csv.gz", "all.zip"])
def test_a_table_may_be_packed_and_named_itself(name: str, tmp_path: Path) -> None:
    text = b"md5hash,label\n5e82a45bc5d78bd24ae9202d194423f8,melanoma\n"
    path = tmp_path / name
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("fitzpatrick17k.csv", text)
    else:
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    for place in (tmp_path, path):
        (record,) = find_source("fitzpatrick17k").read_folder(place).importable
        assert record.values["label"] == "melanoma"


def test_values_of_two_rows_about_one_image_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image_id,age,dx\nx,50,nv\nx,51,\ny,60,mel\n")
    (tmp_path / "b.csv").write_text("filename,sex,dx\nx.jpg,f,mel\nx.jpg,f,bcc\nx.jpg,,mel\n")
    found = find_source("table").read_folder(tmp_path)
    assert {record.image_id: record.values for record in found.records} == {
        "x": {"age": "50", "dx": "nv", "other_age": "51", "sex": "f", "other_dx": "bcc // mel"},
        "y": {"age": "60", "dx": "mel"},
    }
    assert [about for about, _ in found.notes] == ["age", "dx"]
    message = "1 row contradicts another of the same image: the first counts, the other is in other_age"
    assert found.notes[0][1] == message


def test_rows_without_an_image_are_noted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image_id,age\nx,50\n,60\n , \n")
    found = find_source("table").read_folder(tmp_path)
    assert [record.image_id for record in found.records] == ["x"]
    assert found.notes == [("image_id", "1 row names no image: left out")]


def test_a_split_of_a_label_list_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "ISIC_2024_label_list_2.csv").write_text("image,binary_label,split\nISIC_0000001.jpg,0,test\n")
    (record,) = find_source("isic2024").read_folder(tmp_path).records
    assert record.values == {"modality": "tbp_tile", "binary_label": "0", "split_of_the_list": "test"}


def test_a_case_may_have_several_biopsies(tmp_path: Path) -> None:
    table = tmp_path / "pathology.csv"
    table.write_text("case_id,diagnosis,mrn\n7,nevus,1\n7,melanoma,1\n,scar,2\n,,3\n")
    found = find_source("isic2024-pathology").read_folder(table)
    assert {one.image_id: one.values for one in found.records} == {
        "case_7": {"case_id": "7", "diagnosis": "nevus", "lesion_id": "7"},
        "case_7-2": {"case_id": "7", "diagnosis": "melanoma", "lesion_id": "7"},
    }
    assert found.notes == [("case_id", "1 row names no case: left out")]


def test_a_mapping_is_followed(tmp_path: Path) -> None:
    (tmp_path / "klinik.csv").write_bytes("Datei;Befund;Raum\nx.jpg;böse;4\n".encode("cp1252"))
    mapping = TableMapping(
        columns={"Datei": "image_id", "Befund": "diagnosis", "Raum": ""}, words={"diagnosis": {"böse": "melanoma"}}
    )
    (record,) = find_source("table").read_folder(tmp_path / "klinik.csv", mapping).importable
    assert (record.image_id, record.values) == ("x", {"diagnosis": "melanoma"})


def test_a_text_is_a_table_only_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image_id\nx\n")
    (tmp_path / "read me.txt").write_text("Images\nof moles, taken, in 2020\n")
    (tmp_path / "b.txt").write_text("image_id\tage\ny\t40\n")
    assert [record.image_id for record in find_source("table").read_folder(tmp_path).records] == ["x"]
    assert [record.image_id for record in find_source("table").read_folder(tmp_path / "b.txt").records] == ["y"]


def test_a_table_without_an_image_column_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("age\n50\n")
    with pytest.raises(DataSetError, match="if it has another name, map it with --map"):
        find_source("table").read_folder(tmp_path)


def test_a_damaged_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "fitzpatrick17k.csv.gz").write_bytes(gzip.compress(b"md5hash\n" * 99)[:-20])
    with pytest.raises(InputError, match=r"cannot read .*fitzpatrick17k\.csv\.gz"):
        find_source("fitzpatrick17k").read_folder(tmp_path)


STEMS = {
    "a.jpg": "a",
    "b/c.PNG": "c",
    "b\\c.tiff": "c",
    "s/17.svs": "17",
    "lesion 1.2": "lesion 1.2",
    "d.csv": "d.csv",
    "": "",
}


@pytest.mark.parametrize(("name", "stem"), STEMS.items())
def test_the_name_of_an_image_is_that_of_its_file(name: str, stem: str) -> None:
    assert strip_image_suffix(name) == stem


HOT = {"1": "melanoma", "1.0": "melanoma", "1e0": "melanoma", "0.0": "", "": "", "yes": ""}


@pytest.mark.parametrize(("cell", "word"), HOT.items())
def test_a_class_with_its_own_column(cell: str, word: str) -> None:
    classes = {"MEL": "melanoma", "NV": "nevus"}
    assert parse_one_hot({"MEL": cell, "NV": "0.0", "UNK": "1"}, classes) == word
    assert parse_one_hot({"MEL": cell, "NV": "1.0"}, classes) == ("" if word else "nevus")


def dicom(path: Path, **elements: object) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.3"
    for name, value in elements.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, dataset, enforce_file_format=True)


def test_dicom_headers_become_rows_without_names(tmp_path: Path) -> None:
    person = {"PatientID": "4711", "PatientName": "Doe^Jane", "PatientBirthDate": "19750101", "StudyDate": "20200601"}
    dicom(tmp_path / "in/Doe/IM1.dcm", Rows=4, Modality="XC", PatientSex="F", BodyPartExamined="FOREARM", **person)
    dicom(tmp_path / "in/Doe/IM2", Rows=4, PixelSpacing=[0.05, 0.04], **person)
    dicom(tmp_path / "in/report.dcm")
    (tmp_path / "in/notes").write_text("Doe")
    (tmp_path / "in/broken.dcm").write_bytes(b"no header")
    found = find_source("dicom").read_folder(tmp_path / "in")
    assert all(record.image is None for record in found.records)
    first, second = sorted((record.values for record in found.records), key=lambda values: "mpp_x" in values)
    assert first["patient_id"] == second["patient_id"] == pseudonym("4711")
    assert {name: first[name] for name in ("age", "modality", "PatientSex", "Body Part Examined")} == {
        "age": "45",
        "modality": "macroscopic",
        "PatientSex": "F",
        "Body Part Examined": "FOREARM",
    }
    assert (second["mpp_x"], second["mpp_y"]) == ("40", "50")
    written = " ".join([record.image_id + str(record.values) for record in found.records])
    assert not [message for message in ("Doe", "4711", "1975", "2020", "IM1", "1.2.3") if message in written]
    assert [about for about, _ in found.notes] == ["broken.dcm"]


def test_an_id_that_leads_out_is_changed_and_reported(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image_id,age\n../../evil,50\nb,40\n")
    found = find_source("table").read_folder(tmp_path)
    assert [record.image_id for record in found.records] == ["b", "evil"]
    ((about, message),) = found.notes
    assert (about, "'../../evil' is now 'evil'" in message) == ("image_id", True)

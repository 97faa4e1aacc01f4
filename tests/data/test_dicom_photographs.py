"""DICOM photographs in data sets: scale and patient are kept, names are not, and files can be found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from napari_melanoma.case.image_assignment import read_header_metadata
from napari_melanoma.core.context import RunContext
from napari_melanoma.data.collections import find_source
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.dataset_import import SourceImportOptions, import_source
from napari_melanoma.data.mask_import import MaskImportOptions, import_masks
from napari_melanoma.evaluation.masks import read_pair
from napari_melanoma.io.photographs import accepting_damaged, read_photograph
from napari_melanoma.io.results import read_table, write_mask
from napari_melanoma.privacy.pseudonyms import pseudonym

SHAPE = (48, 64)
MASK = np.zeros(SHAPE, bool)
MASK[10:30, 12:40] = True


def write_photograph(path: Path, seed: int, **elements: object) -> np.ndarray:
    rgb = np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.3", "DMS"
    dataset.Rows, dataset.Columns = SHAPE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = rgb.tobytes()
    dataset["PixelData"].VR = "OW"
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, dataset, enforce_file_format=True)
    return rgb


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Two DICOM photographs, of which one has a scale, and their masks."""
    folder = tmp_path / "clinic"
    write_photograph(folder / "images/DOE_1.dcm", 1, PatientID="4711", PixelSpacing=[0.03, 0.02], PatientAge="052Y")
    write_photograph(folder / "images/DOE_2.dcm", 2, PatientID="4711", ImagerPixelSpacing=[0.004, 0.004])
    for name in ("DOE_1", "DOE_2"):
        write_mask(folder / f"masks/{name}.png", MASK)
    return folder


def test_an_imported_folder_keeps_scale_and_patient_but_no_name(clinic: Path, tmp_path: Path) -> None:
    report = import_source(find_source("folder"), clinic, tmp_path / "set", run=RunContext())
    assert (report.images, report.masks, report.faults) == (2, 2, [])
    assert any("detector, not of the skin" in message for _, message in report.notes)
    rows = {row["image_id"]: row for row in read_table(tmp_path / "set/dataset.csv")}
    first, second = (pseudonym(f"images/DOE_{number}.dcm", "image") for number in (1, 2))
    assert (rows[first]["mpp_x"], rows[first]["mpp_y"], rows[first]["age"]) == ("20", "30", "52")
    assert rows[second]["mpp_x"] == ""
    assert {row["patient_id"] for row in rows.values()} == {pseudonym("4711")}
    image = tmp_path / f"set/images/{first}.png"
    assert np.array_equal(read_photograph(image).rgb, read_photograph(clinic / "images/DOE_1.dcm").rgb)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "set").rglob("*") if path.is_file())
    assert b"DOE" not in everything
    assert b"4711" not in everything


def test_a_header_means_the_same_in_a_data_set_and_in_a_case(tmp_path: Path) -> None:
    known = {"PatientAge": "008M", "PatientSex": "F", "BodyPartExamined": "ARM", "Laterality": "L", "PatientID": "4711"}
    write_photograph(tmp_path / "in/a.dcm", 1, **known)
    import_source(find_source("dicom"), tmp_path / "in", tmp_path / "set", run=RunContext())
    (row,) = read_table(tmp_path / "set/dataset.csv")
    (metadata,) = read_header_metadata(tmp_path / "in/a.dcm")
    names = ("age", "sex", "site", "laterality", "modality")
    assert {name: row[name] for name in names} == {name: metadata.cells[name] for name in names}
    assert metadata.patient == row["patient_id"]


@pytest.mark.parametrize("source", ["folder", "dicom"])
def test_the_private_table_maps_pseudonyms_to_files(clinic: Path, tmp_path: Path, source: str) -> None:
    report = import_source(find_source(source), clinic / "images", tmp_path / "set", run=RunContext())
    table = tmp_path / "set-private.csv"
    assert any(str(table) in message for _, message in report.notes)
    assert {(row["image_id"], row["file"], row["patient_id"]) for row in read_table(table)} == {
        (pseudonym(name, "image"), name, pseudonym("4711")) for name in ("DOE_1.dcm", "DOE_2.dcm")
    }
    assert table.stat().st_mode & 0o077 == 0


def test_a_damaged_file_is_named_and_left_out(clinic: Path, tmp_path: Path) -> None:
    path = clinic / "images/DOE_2.dcm"
    path.write_bytes(path.read_bytes()[:-3000])
    with accepting_damaged():  # the PNG could not show the damage
        report = import_source(find_source("folder"), clinic, tmp_path / "set", run=RunContext())
    assert [(name, "truncated or damaged" in fault) for name, fault in report.faults] == [("images/DOE_2.dcm", True)]
    assert len(list((tmp_path / "set/images").iterdir())) == 1


def test_a_table_takes_precedence_over_the_header(clinic: Path, tmp_path: Path) -> None:
    (clinic / "metadata.csv").write_text("image_id,patient_id,age\nDOE_1,P7,60\n")
    import_source(find_source("folder"), clinic, tmp_path / "set", run=RunContext())
    rows = {row["image_id"]: row for row in read_table(tmp_path / "set/dataset.csv")}
    first = rows[pseudonym("images/DOE_1.dcm", "image")]
    assert (first["patient_id"], first["age"], first["mpp_x"]) == ("P7", "60", "20")


def test_imported_masks_keep_scale_and_patient_of_their_photographs(clinic: Path, tmp_path: Path) -> None:
    report = import_masks(clinic / "masks", clinic / "images", tmp_path / "set", MaskImportOptions(), run=RunContext())
    ids = [pseudonym(f"DOE_{number}.dcm", "image") for number in (1, 2)]
    assert sorted(report.added) == sorted(ids)
    rows = {row["image_id"]: row for row in read_table(tmp_path / "set/dataset.csv")}
    first, second = (rows[name] for name in ids)
    assert "DOE" not in (tmp_path / "set/dataset.csv").read_text()
    assert {row["file"] for row in read_table(tmp_path / "set-private.csv")} == {"DOE_1.dcm", "DOE_2.dcm"}
    assert (first["mpp_x"], first["mpp_y"], second["mpp_x"]) == ("20", "30", "")
    assert first["patient_id"] == second["patient_id"] == pseudonym("4711")
    sample, without = sorted(read_dataset(tmp_path / "set"), key=lambda sample: ids.index(sample.image_id))
    assert read_pair(sample)[0].pixel_size_um == (30, 20)  # for HD95_mm
    assert read_pair(without)[0].pixel_size_um is None


def test_the_scale_of_a_table_is_used_by_imported_masks(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(rgb).save(tmp_path / "images/a.png")
    write_mask(tmp_path / "masks/a.png", MASK)
    (tmp_path / "t.csv").write_text("image_id,patient_id,mpp_x,mpp_y\na,P1,12.5,15\n")
    options = MaskImportOptions(metadata=tmp_path / "t.csv")
    import_masks(tmp_path / "masks", tmp_path / "images", tmp_path / "set", options, run=RunContext())
    (sample,) = read_dataset(tmp_path / "set")
    assert read_pair(sample)[0].pixel_size_um == (15, 12.5)


def test_other_formats_of_phones_become_png(tmp_path: Path) -> None:
    import pillow_heif

    rgb = np.full((*SHAPE, 3), (180, 120, 90), np.uint8)
    (tmp_path / "in").mkdir()
    pillow_heif.from_pillow(Image.fromarray(rgb)).save(tmp_path / "in/IMG_7.heic", quality=90)
    options = SourceImportOptions(no_patients=True)
    report = import_source(find_source("folder"), tmp_path / "in", tmp_path / "set", options, run=RunContext())
    assert (report.images, report.faults) == (1, [])
    assert np.abs(read_photograph(tmp_path / "set/images/IMG_7.png").rgb.astype(int) - rgb).max() <= 3

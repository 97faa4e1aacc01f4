"""Imports are complete or absent, resumable, and report what could not be imported."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.collections import find_source
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.dataset_import import SourceImportOptions, SourceImportReport, import_source
from napari_melanoma.data.source_files import ZipArchive
from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.io.results import read_mask, read_table
from napari_melanoma.lesion.patient_data import PatientTable

COUNT = 6


@pytest.fixture
def downloaded(tmp_path: Path) -> Path:
    """PH2 as it is unpacked: images and masks as BMP, and its table."""
    folder = tmp_path / "downloads"
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        name = f"IMD{number:03}"
        case = folder / "PH2 Dataset images" / name
        (case / f"{name}_Dermoscopic_Image").mkdir(parents=True)
        (case / f"{name}_lesion").mkdir()
        rgb = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(rgb).save(case / f"{name}_Dermoscopic_Image" / f"{name}.bmp")
        mask = np.zeros((24, 32), bool)
        mask[4:12, 6:20] = True
        Image.fromarray(mask).save(case / f"{name}_lesion" / f"{name}_lesion.bmp")  # one bit a pixel, as the set has it
    (folder / "PH2_dataset.txt").write_text("|| IMD001 || || 2 || 2 | AT | AT | P | P | P || 3 ||\n")
    return folder


def imported(folder: Path, out: Path, run: RunContext | None = None) -> SourceImportReport:
    return import_source(find_source("ph2"), folder, out, run=run or RunContext())


def test_a_set_becomes_a_data_set(downloaded: Path, tmp_path: Path) -> None:
    out = tmp_path / "ph2"
    report = imported(downloaded, out)
    assert (report.found, report.expected, report.images, report.masks, report.faults) == (COUNT, 200, COUNT, COUNT, [])
    samples = read_dataset(out)
    assert [sample.image_id for sample in samples] == [f"IMD{number:03}" for number in range(COUNT)]
    assert (samples[1].diagnosis, samples[1].modality) == ("melanoma", "dermoscopic")
    assert samples[0].mask is not None
    assert int(read_mask(samples[0].mask).sum()) == 8 * 14
    assert read_table(out / "dataset.csv")[1]["melanoma"] == "1"
    origin = json.loads((out / "source.json").read_text())
    assert (origin["source"], origin["images"], origin["licence"][:8]) == ("ph2", COUNT, "research")
    assert sorted(path.name for path in out.iterdir()) == ["dataset.csv", "images", "masks", "source.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["downloads", "ph2"]


def test_an_existing_folder_is_not_replaced(downloaded: Path, tmp_path: Path) -> None:
    (tmp_path / "ph2").mkdir()
    with pytest.raises(DataSetError, match="already exists"):
        imported(downloaded, tmp_path / "ph2")


def test_a_stopped_import_resumes(downloaded: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.done == 2:
            run.cancel()

    run = RunContext(stop)
    with pytest.raises(Cancelled):
        imported(downloaded, tmp_path / "ph2", run)
    assert not (tmp_path / "ph2").exists()
    journal = tmp_path / ".ph2.gathering" / "imported.jsonl"
    journal.write_text(journal.read_text() + '["IMD0')  # cut off by a crash
    report = imported(downloaded, tmp_path / "ph2")
    assert report.resumed >= 2
    assert (report.images, len(read_dataset(tmp_path / "ph2"))) == (COUNT, COUNT)


def test_the_notes_of_a_resumed_import_include_its_first_part(tmp_path: Path) -> None:
    folder, out = tmp_path / "own", tmp_path / "out"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b", "c", "d"):
        Image.new("RGB", (40, 30), "pink").save(folder / f"{name}.jpg", exif=exif)
        Image.new("L", (30, 40), 255).save(folder / f"{name}_mask.png")

    def stop(progress: Progress) -> None:
        if progress.done == 2:
            run.cancel()

    run, options = RunContext(stop), SourceImportOptions(no_patients=True)
    with pytest.raises(Cancelled):
        import_source(find_source("folder"), folder, out, options, run=run)
    report = import_source(find_source("folder"), folder, out, options, run=RunContext())
    assert 2 <= report.resumed < 4
    whole = import_source(find_source("folder"), folder, tmp_path / "whole", options, run=RunContext())
    assert report.notes == whole.notes
    assert any("4 images with an EXIF orientation" in message for _, message in whole.notes)
    assert any("4 cover the borders" in message for _, message in whole.notes)


def test_another_data_set_does_not_resume_an_import(downloaded: Path, tmp_path: Path) -> None:
    place = tmp_path / ".ph2.gathering"
    (place / "images").mkdir(parents=True)
    (place / "images" / "IMD000.bmp").write_bytes(b"of another set")
    (place / "imported.jsonl").write_text('"isic2017 elsewhere"\n["IMD000", true]\n')
    assert imported(downloaded, tmp_path / "ph2").resumed == 0
    assert (tmp_path / "ph2/images/IMD000.bmp").read_bytes()[:2] == b"BM"


def test_faulty_images_are_reported_and_the_rest_is_imported(downloaded: Path, tmp_path: Path) -> None:
    images = downloaded / "PH2 Dataset images"
    (images / "IMD002/IMD002_Dermoscopic_Image/IMD002.bmp").write_bytes(b"text")
    Image.fromarray(np.zeros((9, 9), bool)).save(images / "IMD003/IMD003_lesion/IMD003_lesion.bmp")
    (images / "IMD004/IMD004_lesion/IMD004_lesion.bmp").write_bytes(b"BM")
    report = imported(downloaded, tmp_path / "ph2")
    assert report.images == COUNT - 3
    message = dict(report.faults)
    assert "holds text" in message["IMD002"]
    assert message["IMD003"] == "has 32 x 24 pixels, its mask 9 x 9: expected the size of the upright image"
    assert "cannot be read as a mask" in message["IMD004"]
    assert {path.stem for path in (tmp_path / "ph2/images").iterdir()} == {"IMD000", "IMD001", "IMD005"}


@pytest.mark.parametrize(
    ("size", "orientation", "mask_size", "fault"),
    [
        ((40, 30), 6, (30, 40), ""),
        ((40, 30), 6, (40, 30), "has 30 x 40 pixels, its mask 40 x 30"),
        ((40, 30), 1, (30, 40), "has 40 x 30 pixels, its mask 30 x 40"),
        ((200, 199), 8, (199, 200), ""),
        ((200, 199), 8, (200, 199), "has 199 x 200 pixels, its mask 200 x 199"),
        ((30, 30), 6, (30, 30), ""),
        ((40, 30), 3, (40, 30), ""),
    ],
)
def test_a_mask_fits_the_upright_image(
    size: tuple[int, int], orientation: int, mask_size: tuple[int, int], fault: str, tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, "pink").save(folder / "x.jpg", exif=exif)
    Image.new("L", mask_size, 255).save(folder / "x_mask.png")
    Image.new("RGB", size, "pink").save(folder / "y.jpg")
    report = import_source(
        find_source("folder"), folder, tmp_path / "out", SourceImportOptions(no_patients=True), run=RunContext()
    )
    turned = " (turned by its EXIF orientation?): expected the size of the upright image"
    assert report.faults == ([("x", fault + turned)] if fault else [])
    noted = [message for topic, message in report.notes if topic == "masks" and "1 image with an EXIF" in message]
    assert bool(noted) == (orientation != 1 and not fault)


def test_valid_values_raise_no_error(downloaded: Path, tmp_path: Path) -> None:
    for path in downloaded.rglob("*_Dermoscopic_Image/*.bmp"):
        path.write_bytes(b"text")
    with pytest.raises(DataSetError, match=r"none of the 6 images .* The first: IMD000 .*holds text"):
        imported(downloaded, tmp_path / "ph2")
    assert not (tmp_path / "ph2").exists()


def test_an_import_leaves_no_archive_open(downloaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows the download could not be removed otherwise."""
    with zipfile.ZipFile(tmp_path / "downloads.zip", "w") as archive:
        for path in downloaded.rglob("*.*"):
            archive.write(path, path.relative_to(downloaded))
    packed = tmp_path / "packed"
    packed.mkdir()
    (tmp_path / "downloads.zip").rename(packed / "PH2.zip")
    closed = []
    close = ZipArchive.close

    def closing(archive: ZipArchive) -> None:
        close(archive)
        closed.append(archive.path.name)

    monkeypatch.setattr(ZipArchive, "close", closing)
    assert imported(packed, tmp_path / "ph2").images == COUNT
    assert closed == ["PH2.zip"] * 2  # once it is found, once it is copied


def test_two_imports_at_once_do_not_meet(downloaded: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    with (
        FileLock(tmp_path / ".ph2.gathering.lock"),
        pytest.raises(DataSetError, match="another command is gathering"),
    ):
        imported(downloaded, tmp_path / "ph2")


def test_a_table_alone_becomes_rows_without_images(tmp_path: Path) -> None:
    (tmp_path / "ISIC_2019_Training_Metadata.csv").write_text(
        "image,age_approx,anatom_site_general,sex\nISIC_0000001,55,anterior torso,female\nISIC_0000002,430,Hallux x,\n"
    )
    report = import_source(find_source("isic2019"), tmp_path, tmp_path / "out", run=RunContext())
    assert (report.rows, report.images, report.left, report.expected) == (2, 0, 0, 25331)
    first, second = read_table(tmp_path / "out/dataset.csv")
    assert {name: first[name] for name in ("path", "source", "licence", "age", "site", "split")} == {
        "path": "",
        "source": "isic2019",
        "licence": "CC BY-NC 4.0",
        "age": "55",
        "site": "anterior torso",
        "split": "train",
    }
    assert (second["age"], second["age_as_given"], second["site_as_given"]) == ("", "430", "Hallux x")
    origin = json.loads((tmp_path / "out/source.json").read_text())
    assert (origin["rows"], origin["images"], origin["not_understood"]) == (2, 0, {"site": {"Hallux x": 1}})
    assert {about for about, _ in report.notes} == {"age", "rows", "site"}
    with pytest.raises(DataSetError, match="the image of 'ISIC_0000001' is missing"):
        read_dataset(tmp_path / "out")


def test_rows_whose_images_are_not_there_are_counted(downloaded: Path, tmp_path: Path) -> None:
    with (downloaded / "PH2_dataset.txt").open("a") as file:
        file.write("|| IMD077 || || 2 || 2 | AT | AT | P | P | P || 3 ||\n")
    report = imported(downloaded, tmp_path / "ph2")
    assert (report.rows, report.images, report.left) == (COUNT, COUNT, 1)


def test_a_table_of_ones_own_follows_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "clinic.csv").write_bytes("Datei;Befund;Alter\na.jpg;böse;43,5\nb.jpg;Naevus;9\n".encode("cp1252"))
    mapping = TableMapping(
        columns={"Datei": "image_id", "Befund": "diagnosis"}, words={"diagnosis": {"böse": "melanoma"}}
    )
    out = tmp_path / "clinic"
    options = SourceImportOptions(mapping=mapping, no_patients=True)
    report = import_source(find_source("table"), tmp_path / "clinic.csv", out, options, run=RunContext())
    rows = read_table(out / "dataset.csv")
    assert [(row["image_id"], row["diagnosis"], row["age"]) for row in rows] == [
        ("a", "melanoma", "43.5"),
        ("b", "nevus", "9"),
    ]
    assert report.expected == 0
    assert "licence" not in rows[0]


def test_an_image_whose_name_has_two_suffixes_keeps_its_file_and_row(tmp_path: Path) -> None:
    """Programs that convert photographs write IMG_1.JPG.png."""
    folder = tmp_path / "photographs"
    (folder / "masks").mkdir(parents=True)
    for name, part in (("IMG_1.JPG.png", "."), ("IMG_1.JPG.png", "masks")):
        Image.new("L" if part == "masks" else "RGB", (32, 24)).save(folder / part / name)
    mask = np.zeros((24, 32), bool)
    mask[4:12, 6:20] = True
    Image.fromarray(mask).save(folder / "masks/IMG_1.JPG.png")
    (folder / "patients.csv").write_text("image_id,patient_id\nIMG_1.JPG,p1\n")
    options = SourceImportOptions(metadata=folder / "patients.csv")
    report = import_source(find_source("folder"), folder, tmp_path / "set", options, run=RunContext())
    (sample,) = read_dataset(tmp_path / "set")
    assert (report.images, report.masks, sample.image_id, sample.group) == (1, 1, "IMG_1.JPG", "set/p1")
    assert sample.mask is not None
    assert PatientTable({}, folder / "patients.csv").patient_data("IMG_1.JPG") == {"patient_id": "p1"}

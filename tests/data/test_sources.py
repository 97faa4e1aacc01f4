"""The public sets: each is found in its official layout, made up small here, with its words brought to ours."""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.data import vocabulary
from napari_melanoma.data.dataset import MODALITY_WORDS
from napari_melanoma.data.source_files import close_archives
from napari_melanoma.data.sources import Record, find_source, sources, where_to_get

PICTURE, TABLE = b"picture", "csv"


def rows(*lines: str) -> bytes:
    return "\r\n".join((*lines, "")).encode()


class Layout(NamedTuple):
    """Files of a tiny copy of a set, and what is known of one image of it."""

    source: str
    files: Mapping[str, bytes]
    ids: list[str]
    masked: list[str]
    known: tuple[str, dict[str, str]]


LAYOUTS = [
    Layout(
        "isic2016",
        {
            "ISBI2016_ISIC_Part1_Training_Data/ISIC_0000000.jpg": PICTURE,
            "ISBI2016_ISIC_Part1_Training_Data/ISIC_0000002.jpg": PICTURE,
            "ISBI2016_ISIC_Part1_Training_GroundTruth/ISIC_0000000_Segmentation.png": PICTURE,
            "ISBI2016_ISIC_Part1_Test_Data/ISIC_0000003.jpg": PICTURE,
            "ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_0000003_Segmentation.png": PICTURE,
            "ISBI2016_ISIC_Part3_Training_GroundTruth.csv": rows("ISIC_0000000,benign", "ISIC_0000002,malignant"),
            "ISBI2016_ISIC_Part3_Test_GroundTruth.csv": rows("ISIC_0000003,1.0"),
        },
        ["ISIC_0000000", "ISIC_0000002", "ISIC_0000003"],
        ["ISIC_0000000", "ISIC_0000003"],
        ("ISIC_0000003", {"diagnosis": "melanoma", "melanoma": "1", "split": "test", "modality": "dermoscopic"}),
    ),
    Layout(
        "isic2017",
        {
            "ISIC-2017_Training_Data/ISIC_0000001.jpg": PICTURE,
            "ISIC-2017_Training_Data/ISIC_0000001_superpixels.png": PICTURE,
            "ISIC-2017_Training_Data/ISIC-2017_Training_Data_metadata.csv": rows(
                "image_id,age_approximate,sex", "ISIC_0000001,55,male"
            ),
            "ISIC-2017_Training_Part1_GroundTruth/ISIC_0000001_segmentation.png": PICTURE,
            "ISIC-2017_Training_Part3_GroundTruth.csv": rows(
                "image_id,melanoma,seborrheic_keratosis", "ISIC_0000001,0.0,1.0"
            ),
            "ISIC-2017_Validation_Data/ISIC_0000004.jpg": PICTURE,
            "ISIC-2017_Validation_Part1_GroundTruth/ISIC_0000004_segmentation.png": PICTURE,
            "ISIC-2017_Test_v2_Data/ISIC_0000005.jpg": PICTURE,
        },
        ["ISIC_0000001", "ISIC_0000004", "ISIC_0000005"],
        ["ISIC_0000001", "ISIC_0000004"],
        ("ISIC_0000001", {"diagnosis": "seborrheic keratosis", "melanoma": "0", "age": "55", "sex": "male"}),
    ),
    Layout(
        "isic2018",
        {
            "ISIC2018_Task1-2_Training_Input/ISIC_0000006.jpg": PICTURE,
            "ISIC2018_Task1_Training_GroundTruth/ISIC_0000006_segmentation.png": PICTURE,
            "ISIC2018_Task2_Training_GroundTruth_v3/ISIC_0000006_attribute_streaks.png": PICTURE,
            "ISIC2018_Task1-2_Test_Input/ISIC_0000007.jpg": PICTURE,
        },
        ["ISIC_0000006", "ISIC_0000007"],
        ["ISIC_0000006"],
        ("ISIC_0000007", {"split": "test", "source": "isic2018"}),
    ),
    Layout(
        "ham10000",
        {
            "HAM10000_images_part_1/ISIC_0027419.jpg": PICTURE,
            "HAM10000_images_part_2/ISIC_0034320.jpg": PICTURE,
            "HAM10000_segmentations_lesion_tschandl/ISIC_0027419_segmentation.png": PICTURE,
            "HAM10000_metadata.tab": rows(
                '"lesion_id"\t"image_id"\t"dx"\t"dx_type"\t"age"\t"sex"\t"localization"\t"dataset"',
                '"HAM_0000118"\t"ISIC_0027419"\t"bkl"\t"histo"\t80.0\t"male"\t"scalp"\t"vidir_modern"',
                '"HAM_0000119"\t"ISIC_0034320"\t"mel"\t"follow_up"\t\t"unknown"\t"back"\t"rosendahl"',
            ),
        },
        ["ISIC_0027419", "ISIC_0034320"],
        ["ISIC_0027419"],
        (
            "ISIC_0027419",
            {
                "lesion_id": "HAM_0000118",
                "diagnosis": "benign keratosis",
                "diagnosis_by": "histopathology",
                "age": "80",
                "sex": "male",
                "site": "head/neck",
                "dataset": "vidir_modern",
                "melanoma": "0",
            },
        ),
    ),
    Layout(
        "ph2",
        {
            "PH2Dataset/PH2 Dataset images/IMD003/IMD003_Dermoscopic_Image/IMD003.bmp": PICTURE,
            "PH2Dataset/PH2 Dataset images/IMD003/IMD003_lesion/IMD003_lesion.bmp": PICTURE,
            "PH2Dataset/PH2 Dataset images/IMD003/IMD003_roi/IMD003_R1_Label4.bmp": PICTURE,
            "PH2Dataset/PH2 Dataset images/IMD058/IMD058_Dermoscopic_Image/IMD058.bmp": PICTURE,
            "PH2Dataset/PH2_dataset.txt": rows(
                "||   Name ||   Histological Diagnosis | Clinical Diagnosis | Asymmetry | ... ||",
                "|| IMD003 ||          ||      0 ||      0 |   T |   A |   A |   A |   A ||    4   ||",
                "|| IMD058 || Melanoma ||      2 ||      2 |  AT |  AT |   P |   P |   P || 3  4 6 ||",
                "Legends: ...",
            ),
        },
        ["IMD003", "IMD058"],
        ["IMD003"],
        (
            "IMD058",
            {
                "diagnosis": "melanoma",
                "melanoma": "1",
                "histological_diagnosis": "Melanoma",
                "asymmetry_0_1_2": "2",
                "blue_whitish_veil_A_P": "P",
                "colors": "light brown, dark brown, black",
            },
        ),
    ),
    Layout(
        "dermofit",
        {
            "AK/A1/A1.png": PICTURE,
            "AK/A1/A1mask.png": PICTURE,
            "SK/D7/D7.png": PICTURE,
            "SK/D7/D7mask.png": PICTURE,
            "__MACOSX/AK/A1/A1.png": PICTURE,
        },
        ["A1", "D7"],
        ["A1", "D7"],
        ("A1", {"diagnosis": "actinic keratosis", "melanoma": "0", "modality": "macroscopic"}),
    ),
    Layout(
        "smartskins",
        {
            "session 1/HTC/lesion_04.jpg": PICTURE,
            "session 1/masks/HTC/lesion_04.png": PICTURE,
            "session 1/S4/lesion_05.jpg": PICTURE,
            "session 1/S4/lesion_05_mask.png": PICTURE,
            "session 1/S4/without.jpg": PICTURE,
            "session 1/DL3/lesion_05.jpg": PICTURE,
        },
        ["lesion_04", "lesion_05"],
        ["lesion_04", "lesion_05"],
        ("lesion_05", {"modality": "macroscopic", "source": "smartskins"}),
    ),
    Layout(
        "pad-ufes-20",
        {
            "images/imgs_part_1/PAT_1516_1765_530.png": PICTURE,
            "images/imgs_part_3/PAT_46_881_939.png": PICTURE,
            "masks/PAT_46_881_939.png": PICTURE,
            "metadata.csv": rows(
                "patient_id,lesion_id,age,fitspatrick,region,gender,diameter_1,diagnostic,itch,img_id,biopsed",
                "PAT_46,881,55.0,3.0,NECK,FEMALE,6.0,BCC,True,PAT_46_881_939.png,True",
            ),
        },
        ["PAT_1516_1765_530", "PAT_46_881_939"],
        ["PAT_46_881_939"],
        (
            "PAT_46_881_939",
            {
                "patient_id": "PAT_46",
                "lesion_id": "881",
                "age": "55",
                "fitzpatrick": "3",
                "site": "head/neck",
                "sex": "female",
                "diameter_1_mm": "6",
                "diagnosis": "basal cell carcinoma",
                "biopsed": "True",
            },
        ),
    ),
    Layout(
        "folder",
        {
            "photos/one.jpg": PICTURE,
            "photos/two.jpg": PICTURE,
            "photos/two_segmentation.png": PICTURE,
            "ground truth/one.png": PICTURE,
            "metadata.csv": rows("filename;Age;gender;dx;camera", "one.jpg;40;F;NV;Canon"),
        },
        ["one", "two"],
        ["one", "two"],
        ("one", {"age": "40", "sex": "female", "diagnosis": "nevus", "melanoma": "0", "camera": "Canon"}),
    ),
]
BY_NAME = {layout.source: layout for layout in LAYOUTS}


def laid_out(layout: Layout, folder: Path) -> Path:
    for name, content in layout.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def zipped(layout: Layout, folder: Path) -> Path:
    """Lay a set out with an archive for each of its upper folders, as they are downloaded."""
    archives: dict[str, io.BytesIO] = {}
    for name, content in layout.files.items():
        top, _, rest = name.partition("/")
        if not rest:
            (folder / name).write_bytes(content)
            continue
        with zipfile.ZipFile(archives.setdefault(top, io.BytesIO()), "a") as archive:
            archive.writestr(name, content)
    for top, content in archives.items():
        (folder / f"{top}.zip").write_bytes(content.getvalue())
    return folder


def test_every_source_has_a_layout_here() -> None:
    assert sorted(BY_NAME) == list(sources())


@pytest.mark.parametrize("lay", [laid_out, zipped])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.source)
def test_a_set_is_found_in_its_official_layout(
    layout: Layout, lay: Callable[[Layout, Path], Path], tmp_path: Path
) -> None:
    records = find_source(layout.source).find(lay(layout, tmp_path))
    assert [record.image_id for record in records] == layout.ids
    assert [record.image_id for record in records if record.mask is not None] == layout.masked
    image_id, known = layout.known
    found = next(record for record in records if record.image_id == image_id)
    assert {column: found.values.get(column) for column in known} == known
    assert found.image.read() == PICTURE


@pytest.mark.parametrize("name", list(BY_NAME))
def test_a_missing_set_is_named_with_where_to_get_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    spec = find_source(name).spec
    with pytest.raises(DataSetError) as caught:
        find_source(name).find(tmp_path)
    said = str(caught.value)
    for part in (spec.title, spec.layout.splitlines()[0], "notes.txt (1 files)", spec.url, spec.licence):
        assert part in said


@pytest.mark.parametrize("name", list(BY_NAME))
def test_what_a_set_says_of_itself_is_complete(name: str) -> None:
    spec = sources()[name].spec
    assert spec.name == name
    assert spec.url in where_to_get(spec)
    assert spec.modality in ("", *MODALITY_WORDS)
    assert all((spec.title, spec.licence, spec.url, spec.layout))
    assert name == "folder" or (spec.reference and (spec.images or name == "smartskins"))


def test_a_part_of_a_set_is_enough(tmp_path: Path) -> None:
    folder = laid_out(BY_NAME["isic2017"], tmp_path)
    shutil.rmtree(folder / "ISIC-2017_Training_Data")
    assert [record.image_id for record in find_source("isic2017").find(folder)] == ["ISIC_0000004", "ISIC_0000005"]


def test_a_damaged_archive_and_an_unknown_name_are_said(tmp_path: Path) -> None:
    (tmp_path / "ISIC2018_Task1-2_Training_Input.zip").write_bytes(b"half a download")
    with pytest.raises(InputError, match=r"Training_Input\.zip cannot be read.*Download it again"):
        find_source("isic2018").find(tmp_path)
    with pytest.raises(InputError, match=r"no source named 'isic' \(known: dermofit, folder, ham10000"):
        find_source("isic")
    with pytest.raises(InputError, match="is no folder"):
        find_source("ph2").find(tmp_path / "nowhere")


def test_images_of_one_name_in_two_folders_keep_their_own_masks(tmp_path: Path) -> None:
    files = dict.fromkeys(("a/images/x.jpg", "a/masks/x.png", "b/images/x.jpg", "b/images/lesion.jpg"), PICTURE)
    records = find_source("folder").find(laid_out(Layout("folder", files, [], [], ("", {})), tmp_path))
    found = {record.image_id: record.mask and record.mask.name for record in records}
    assert found == {"a_x": "a/masks/x.png", "b_x": None, "lesion": None}


INNERMOST = {
    "images and masks": ("images/x.jpg", "masks/x.png"),
    "photographs": ("photos/x.jpg", "ground truth/x.png"),
    "beside each other": ("x.jpg", "x_mask.png"),
    "a folder of any name": ("moles/x.jpg", "moles masks/x.png"),
}


@pytest.mark.parametrize("outer", ["skin segmentation", "masks of skin/2020"])
@pytest.mark.parametrize("names", INNERMOST.values(), ids=list(INNERMOST))
def test_an_outer_folder_does_not_make_everything_a_mask(names: tuple[str, str], outer: str, tmp_path: Path) -> None:
    files = {f"{outer}/{name}": PICTURE for name in names}
    (record,) = find_source("folder").find(laid_out(Layout("folder", files, [], [], ("", {})), tmp_path))
    assert (record.image.name, record.mask and record.mask.name) == tuple(files)


def test_masks_alone_are_no_images(tmp_path: Path) -> None:
    folder = laid_out(
        Layout("folder", dict.fromkeys(("masks/x.png", "masks/y.png"), PICTURE), [], [], ("", {})), tmp_path
    )
    with pytest.raises(DataSetError, match="does not hold"):
        find_source("folder").find(folder)


def test_blank_lines_in_a_table_are_passed_over(tmp_path: Path) -> None:
    folder = laid_out(BY_NAME["isic2016"], tmp_path)
    table = rows("ISIC_0000000,benign", "", "ISIC_0000002,malignant", " ", "")
    (folder / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv").write_bytes(table)
    found = {record.image_id: record.values["melanoma"] for record in find_source("isic2016").find(folder)}
    assert found == {"ISIC_0000000": "0", "ISIC_0000002": "1", "ISIC_0000003": "1"}


def patched(path: Path, local: int, central: int, value: int) -> None:
    """Change a field of 16 bits in the heads of the only member of an archive."""
    content = bytearray(path.read_bytes())
    for start, offset in ((0, local), (content.index(b"PK\1\2"), central)):
        content[start + offset : start + offset + 2] = value.to_bytes(2, "little")
    path.write_bytes(content)


@pytest.mark.parametrize(("fields", "said"), [((6, 8, 1), "encrypted"), ((8, 10, 9), "compression")])
def test_an_archive_that_cannot_be_read_here_is_said(fields: tuple[int, int, int], said: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("x.jpg", PICTURE)
    patched(tmp_path / "images.zip", *fields)
    (record,) = find_source("folder").find(tmp_path)
    with pytest.raises(InputError, match=rf"images\.zip cannot be read here: .*{said}.*Unpack it into a folder"):
        record.image.read()


def test_archives_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[zipfile.ZipFile] = []

    class Noted(zipfile.ZipFile):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            opened.append(self)

    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("x.jpg", PICTURE)
        archive.writestr("labels.csv", "image,dx\nx.jpg,nv\n")
    monkeypatch.setattr(zipfile, "ZipFile", Noted)
    (record,) = find_source("folder").find(tmp_path)
    assert [archive.fp for archive in opened] == [None, None]  # the list of members, the table
    assert record.image.read() == record.image.read() == PICTURE
    close_archives([record.image])
    assert [archive.fp for archive in opened] == [None] * 3


WORDS: list[tuple[Callable[[str], str], str, str]] = [
    (vocabulary.diagnosis, "NV", "nevus"),
    (vocabulary.diagnosis, " akiec ", "actinic keratosis"),
    (vocabulary.diagnosis, "unknown", ""),
    (vocabulary.diagnosis, "Lichen planus", "lichen planus"),
    (vocabulary.site, "FOREARM", "upper extremity"),
    (vocabulary.site, "acral", "palms/soles"),
    (vocabulary.sex, "FEMALE", "female"),
    (vocabulary.sex, "other", ""),
    (vocabulary.number, "55.0", "55"),
    (vocabulary.number, "2,5", "2.5"),
    (vocabulary.number, "nan", ""),
    (vocabulary.number, "old", ""),
    (vocabulary.melanoma, "melanoma", "1"),
    (vocabulary.melanoma, "nevus", "0"),
    (vocabulary.melanoma, "", ""),
    (vocabulary.diagnosis, "malignant", ""),
    (vocabulary.diagnosis, "Benign", ""),
    (vocabulary.diagnosis, "1.0", ""),
    (vocabulary.diagnosis, "Melanoma, NOS", "melanoma"),
    (vocabulary.diagnosis, "melanoma in-situ", "melanoma in situ"),
    (vocabulary.diagnosis, "lentigo maligna", "melanoma in situ"),
    (vocabulary.diagnosis, "Melanoma Invasive", "invasive melanoma"),
    (vocabulary.diagnosis, "metastatic melanoma", "melanoma metastasis"),
    (vocabulary.melanoma, "melanoma in situ", "1"),
    (vocabulary.melanoma, "invasive melanoma", "1"),
    (vocabulary.melanoma, "melanoma metastasis", "1"),
    (vocabulary.melanoma, "lentigo", "0"),
    (vocabulary.melanoma, "lichen planus", ""),
    (vocabulary.melanoma, "atypical melanocytic proliferation", ""),
]


@pytest.mark.parametrize(("translate", "theirs", "ours"), WORDS, ids=[f"{w[0].__name__} {w[1]}" for w in WORDS])
def test_words_are_brought_to_ours(translate: Callable[[str], str], theirs: str, ours: str) -> None:
    assert translate(theirs) == ours


def test_columns_of_every_release_are_brought_to_ours() -> None:
    row = {"isic_id": "ISIC_1", "age_approx": "45.0", "anatom_site_general": "posterior torso", "sex": "male", "x": "y"}
    expected = {"image_id": "ISIC_1", "age": "45", "site": "posterior torso", "sex": "male", "x": "y"}
    assert vocabulary.harmonised(row) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"dx": "Melanoma, NOS"}, {"diagnosis": "melanoma", "melanoma": "1"}),
        ({"diagnosis": "Lichen planus"}, {"diagnosis": "lichen planus"}),
        ({"label": "1"}, {"label": "1"}),
        (
            {"class": "malignant", "dx": "SK"},
            {"class": "malignant", "diagnosis": "seborrheic keratosis", "melanoma": "0"},
        ),
        ({"diagnosis": "malignant", "melanoma": "1"}, {"melanoma": "1"}),
    ],
)
def test_only_a_known_diagnosis_says_whether_it_is_melanoma(row: dict[str, str], expected: dict[str, str]) -> None:
    assert vocabulary.harmonised(row) == expected


def test_every_melanoma_is_a_diagnosis_of_ours() -> None:
    assert set(vocabulary.MELANOMAS) <= set(vocabulary.DIAGNOSES)


def test_real_tables(shared_data: Path) -> None:
    with (shared_data / "metadata" / "HAM10000_metadata.csv").open(newline="") as table:
        found = [vocabulary.harmonised(row) for row in csv.DictReader(table)]
    assert {row["diagnosis"] for row in found} <= set(vocabulary.DIAGNOSES)
    assert {row["site"] for row in found if "site" in row} <= set(vocabulary.SITES)
    with (shared_data / "metadata" / "PAD-UFES-20_metadata.csv").open(newline="") as table:
        found = [vocabulary.harmonised(row) for row in csv.DictReader(table)]
    assert {row["diagnosis"] for row in found} <= set(vocabulary.DIAGNOSES)
    assert {row["site"] for row in found if "site" in row} <= set(vocabulary.SITES)
    assert {row.get("sex", "") for row in found} == {"female", "male", ""}


def test_a_record_is_what_its_finder_says(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((20, 30, 3), np.uint8))
    image.save(tmp_path / "only.png")
    (record,) = find_source("folder").find(tmp_path)
    assert record == Record("only", record.image, None, {})

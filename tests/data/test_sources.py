"""Public sets are found in their official layout (small imitations), and their words are harmonized."""

from __future__ import annotations

import gzip
import io
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.data.cell_values import strip_image_suffix
from napari_melanoma.data.collections import find_source, guess_source, list_sources, parse_one_hot
from napari_melanoma.data.dataset import MODALITY_WORDS
from napari_melanoma.data.harmonize import harmonize_rows
from napari_melanoma.data.source_records import SourceRecord, describe_access
from napari_melanoma.privacy.pseudonyms import pseudonym

PICTURE = b"picture"


def rows(*lines: str) -> bytes:
    return "\r\n".join((*lines, "")).encode()


class Layout(NamedTuple):
    """Files of a tiny copy of a set, and what is known of one image of it."""

    source: str
    files: Mapping[str, bytes]
    ids: list[str]
    masked: list[str]
    known: tuple[str, Mapping[str, str | None]]


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
        (
            "ISIC_0000003",
            {"diagnosis": "melanoma", "melanoma": "1", "split": "test", "modality": "dermoscopic", "target": "1"},
        ),
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
    Layout(
        "isic2019",
        {
            "ISIC_2019_Training_Input/ISIC_0000000.jpg": PICTURE,
            "ISIC_2019_Training_Input/ISIC_0000002_downsampled.jpg": PICTURE,
            "ISIC_2019_Training_GroundTruth.csv": rows(
                "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK",
                "ISIC_0000000,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0",
                "ISIC_0000002_downsampled,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
            ),
            "ISIC_2019_Training_Metadata.csv": rows(
                "image,age_approx,anatom_site_general,lesion_id,sex", "ISIC_0000000,55,anterior torso,L1,female"
            ),
        },
        ["ISIC_0000000", "ISIC_0000002_downsampled"],
        [],
        (
            "ISIC_0000000",
            {
                "diagnosis": "squamous cell carcinoma",
                "target": "1",
                "age": "55",
                "site": "anterior torso",
                "lesion_id": "L1",
                "split": "train",
            },
        ),
    ),
    Layout(
        "isic2020",
        {
            "train/ISIC_0000010.jpg": PICTURE,
            "train/ISIC_0000011.jpg": PICTURE,
            "ISIC_2020_Test_Input/ISIC_0000012.jpg": PICTURE,
            "ISIC_2020_Training_GroundTruth_v2.csv": rows(
                "image_name,patient_id,lesion_id,sex,age_approx,anatom_site_general_challenge,diagnosis,"
                "benign_malignant,target",
                "ISIC_0000010,IP_1,IL_1,male,45,head/neck,unknown,benign,0",
                "ISIC_0000011,IP_1,IL_2,male,45,torso,melanoma,malignant,1",
            ),
            "ISIC_2020_Training_Duplicates.csv": rows("image_name_1,image_name_2", "ISIC_0000011,ISIC_0000010"),
        },
        ["ISIC_0000010", "ISIC_0000011", "ISIC_0000012"],
        [],
        (
            "ISIC_0000011",
            {
                "patient_id": "IP_1",
                "near_duplicate_of": "ISIC_0000010",
                "melanoma": "1",
                "target": "1",
                "split": "train",
            },
        ),
    ),
    Layout(
        "isic2024",
        {
            "train-image/image/ISIC_0015670.jpg": PICTURE,
            "train-metadata.csv": rows(
                "isic_id,target,patient_id,age_approx,sex,anatom_site_general,clin_size_long_diam_mm,image_type,"
                "tbp_lv_location,attribution,copyright_license,lesion_id,iddx_full,mel_thick_mm",
                "ISIC_0015670,1,IP_1,60.0,male,lower extremity,3.04,TBP tile: close-up,Right Leg - Upper,A clinic,"
                "CC-BY,IL_1,Malignant::Malignant melanocytic proliferations (Melanoma)::Melanoma Invasive,0.4",
            ),
        },
        ["ISIC_0015670"],
        [],
        (
            "ISIC_0015670",
            {
                "modality": "tbp_tile",
                "target": "1",
                "melanoma": "1",
                "diagnosis": "melanoma",
                "diagnosis_detail": "invasive melanoma",
                "site": "lower extremity",
                "laterality": "right",
                "diameter_1_mm": "3.04",
                "depth_mm": "0.4",
                "licence": "CC-BY",
                "tbp_lv_location": "Right Leg - Upper",
            },
        ),
    ),
    Layout(
        "isic2024-pathology",
        {
            "ISIC_2024_ex_pathology_metadata.csv": rows(
                "case_id,mrn,vectra,biopsy_date,diagnosis_confirm_type,diagnosis,mel_thick,ulcer",
                "1001,########,31,6/29/2017,histopathology,melanoma,0.3 mm,no",
            )
        },
        ["case_1001"],
        [],
        (
            "case_1001",
            {"lesion_id": "1001", "diagnosis": "melanoma", "depth_mm": "0.3", "ulceration": "0"}
            | dict.fromkeys(("mrn", "biopsy_date")),
        ),
    ),
    Layout(
        "itobos2024",
        {
            "itobos/train/images/a_1.png": PICTURE,
            "itobos/test/images/b_2.png": PICTURE,
            "itobos/train/labels/a_1.txt": b"0 0.5 0.5 0.1 0.1",
            "itobos/train/metadata.csv": rows(
                "image_id,age_at_baseline,body_part,sun_damage_score", "a_1,43,torso back,2"
            ),
        },
        ["a_1", "b_2"],
        [],
        (
            "a_1",
            {"modality": "tbp_tile", "age": "43", "site": "posterior torso", "sun_damage_score": "2", "split": "train"},
        ),
    ),
    Layout(
        "fitzpatrick17k",
        {
            "images/5e82a45bc5d78bd24ae9202d194423f8.jpg": PICTURE,
            "fitzpatrick17k.csv": rows(
                "md5hash,fitzpatrick_scale,label,three_partition_label,url",
                "5e82a45bc5d78bd24ae9202d194423f8,-1,melanoma,malignant,https://example.org/1.jpg",
            ),
        },
        ["5e82a45bc5d78bd24ae9202d194423f8"],
        [],
        (
            "5e82a45bc5d78bd24ae9202d194423f8",
            {"diagnosis": "melanoma", "target": "1", "fitzpatrick": None, "url": "https://example.org/1.jpg"},
        ),
    ),
    Layout(
        "lesion-size-2020",
        {
            "lesion-size-2020_data_joined.csv": rows(
                "image_name,age_approx,clin_size_long_diam_mm,diagnosis,patient_id",
                "ISIC_0051799,45,4.8,nevus,ISIC_0051799",
            ),
            "lesion-size-2020_metadata.csv": rows("image_name,mpath,sex", "ISIC_0051799,1.0,female"),
        },
        ["ISIC_0051799"],
        [],
        (
            "ISIC_0051799",
            {"patient_id": None, "sex": "female", "age": "45", "diameter_1_mm": "4.8", "mpath": "1.0"},
        ),
    ),
    Layout(
        "tcga-skcm",
        {
            "clinical/clinical.tsv": rows(
                "cases.submitter_id\tdemographic.gender\tdemographic.age_at_index\tdiagnoses.ajcc_pathologic_n\t"
                "diagnoses.ajcc_pathologic_m\tdiagnoses.clark_level\tdiagnoses.tissue_or_organ_of_origin",
                "TCGA-ZZ-0001\tfemale\t61\tN2a\tM0\tIV\tSkin of trunk",
            ),
            "clinical/pathology_detail.tsv": rows(
                "cases.submitter_id\tpathology_details.breslow_thickness", "TCGA-ZZ-0001\t2.3"
            ),
            "slides/TCGA-ZZ-0001-01Z-00-DX1.0A1B2C3D-0000-4000-8000-00000000AB01.svs": PICTURE,
        },
        ["TCGA-ZZ-0001-01Z-00-DX1.0A1B2C3D-0000-4000-8000-00000000AB01"],
        [],
        (
            "TCGA-ZZ-0001-01Z-00-DX1.0A1B2C3D-0000-4000-8000-00000000AB01",
            {
                "patient_id": "TCGA-ZZ-0001",
                "age": "61",
                "sex": "female",
                "site": "torso",
                "depth_mm": "2.3",
                "clark": "4",
                "metastasis": "1",
                "metastasis_by": "ajcc_pathologic_n",
                "modality": "wsi",
            },
        ),
    ),
    Layout(
        "cptac-cm",
        {
            "slides.csv": rows(
                "Case_ID,Slide_ID,Specimen_Type,Tumor,Tumor_Site,Gender,Age_at_Diagnosis",
                "C3L-99001,C3L-99001-21,tumor_tissue,CM,Trunk,Male,52",
            ),
            "clinical.tsv": rows("case_submitter_id\tajcc_pathologic_m", "C3L-99001\tM1b"),
            "CM/C3L-99001-21.svs": PICTURE,
        },
        ["C3L-99001-21"],
        [],
        (
            "C3L-99001-21",
            {"patient_id": "C3L-99001", "age": "52", "sex": "male", "site": "torso", "metastasis": "1"},
        ),
    ),
    Layout(
        "table",
        {"clinic 2020.csv": rows("Filename;Alter;Geschlecht;Kamera", "one.jpg;40;w;Canon"), "one.jpg": PICTURE},
        ["one"],
        [],
        ("one", {"age": "40", "sex": "female", "Kamera": "Canon"}),
    ),
]
UNCOUNTED = ("smartskins", "tcga-skcm", "cptac-cm")  # how many there are is not fixed
BY_NAME = {layout.source: layout for layout in LAYOUTS}


def laid_out(layout: Layout, folder: Path) -> Path:
    for name, content in layout.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


FORMATS = ("coco", "decathlon", "geojson", "imagefolder", "label-studio", "labelme", "nnunet", "parquet", "qupath")


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
    for top, archived in archives.items():
        (folder / f"{top}.zip").write_bytes(archived.getvalue())
    return folder


def harmonized(source: str, record: SourceRecord) -> dict[str, str]:
    (row,) = harmonize_rows([record.values], source if find_source(source).spec.public else "").rows
    return row


def test_every_source_has_a_layout_here() -> None:
    assert sorted([*BY_NAME, "dicom", *FORMATS]) == list(list_sources())  # dicom: below; formats: test_exchange


@pytest.mark.parametrize("lay", [laid_out, zipped])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.source)
def test_a_set_is_found_in_its_official_layout(
    layout: Layout, lay: Callable[[Layout, Path], Path], tmp_path: Path
) -> None:
    found = find_source(layout.source).read_folder(lay(layout, tmp_path))
    assert not found.notes
    assert [record.image_id for record in found.importable] == layout.ids
    assert [record.image_id for record in found.importable if record.mask is not None] == layout.masked
    image_id, known = layout.known
    record = next(record for record in found.importable if record.image_id == image_id)
    assert {column: harmonized(layout.source, record).get(column) for column in known} == known
    assert record.image is None or record.image.read() == PICTURE


IN_SEVERAL_PARTS = {  # source: files, and what is found: image id to image, mask and values
    "isic2017": (
        {
            "ISIC-2017_Training_Data/ISIC_1.jpg": PICTURE,
            "ISIC-2017_Validation_Data/ISIC_1.jpg": PICTURE,
            "ISIC-2017_Validation_Data/ISIC_2.jpg": PICTURE,
            "ISIC-2017_Training_Part1_GroundTruth/ISIC_2_segmentation.png": PICTURE,
            "ISIC-2017_Validation_Part1_GroundTruth/ISIC_1_segmentation.png": PICTURE,
            "ISIC-2017_Validation_Part1_GroundTruth/ISIC_2_segmentation.png": PICTURE,
            "ISIC-2017_Validation_Part1_GroundTruth/ISIC_3_segmentation.png": PICTURE,
            "ISIC-2017_Training_Data_metadata.csv": rows("image_id,sex", "ISIC_1,male", "ISIC_2,male"),
            "ISIC-2017_Validation_Data_metadata.csv": rows("image_id,sex", "ISIC_1,female", "ISIC_3,female"),
        },
        {
            "ISIC_1": ("ISIC-2017_Training_Data/ISIC_1.jpg", None, {"sex": "female", "split": "train"}),
            "ISIC_2": (
                "ISIC-2017_Validation_Data/ISIC_2.jpg",
                "ISIC-2017_Validation_Part1_GroundTruth/ISIC_2_segmentation.png",
                {"sex": "male", "split": "val"},
            ),
            "ISIC_3": (None, None, {"sex": "female", "split": "val"}),
        },
    ),
    "isic2019": (
        {
            "ISIC_2019_Training_Input/ISIC_1.jpg": PICTURE,
            "ISIC_2019_Training_Input/ISIC_2.jpg": PICTURE,
            "ISIC_2019_Test_Input/ISIC_2.jpg": PICTURE,
            "ISIC_2019_Training_Metadata.csv": rows("image,sex", "ISIC_2,male"),
            "ISIC_2019_Test_Metadata.csv": rows("image,sex", "ISIC_2,female"),
        },
        {
            "ISIC_1": ("ISIC_2019_Training_Input/ISIC_1.jpg", None, {}),  # no table states a split
            "ISIC_2": ("ISIC_2019_Test_Input/ISIC_2.jpg", None, {"sex": "female", "split": "test"}),
        },
    ),
    "isic2020": (
        {
            "train/ISIC_1.jpg": PICTURE,
            "train/ISIC_2.jpg": PICTURE,
            "train/ISIC_2020_Test_JPEG/ISIC_3.jpg": PICTURE,
            "test/ISIC_4.jpg": PICTURE,
            "train.csv": rows("image_name,sex", "ISIC_2,male", "ISIC_4,male"),
            "test.csv": rows("image_name,sex", "ISIC_2,female"),
        },
        {
            "ISIC_1": ("train/ISIC_1.jpg", None, {"split": "train"}),
            "ISIC_2": ("train/ISIC_2.jpg", None, {"sex": "female", "split": "test"}),
            "ISIC_3": ("train/ISIC_2020_Test_JPEG/ISIC_3.jpg", None, {"split": "test"}),
            "ISIC_4": ("test/ISIC_4.jpg", None, {"sex": "male", "split": "train"}),
        },
    ),
    "ham10000": (
        {
            "HAM10000_segmentations_lesion_tschandl/ISIC_1_segmentation.png": PICTURE,
            "HAM10000_metadata.csv": rows("image_id,sex", "ISIC_1,male"),
        },
        {"ISIC_1": (None, "HAM10000_segmentations_lesion_tschandl/ISIC_1_segmentation.png", {"sex": "male"})},
    ),
    "itobos2024": (
        {
            "train/images/1.png": PICTURE,
            "test/images/1.png": PICTURE,
            "test/images/2.png": PICTURE,
            "train/metadata.csv": rows("image_id,sex", "1,male", "2,male"),
            "test/metadata.csv": rows("image_id,sex", "1,female", "2,female"),
        },
        {
            "1": ("train/images/1.png", None, {"sex": "male", "split": "train"}),
            "2": (None, None, {"sex": "male", "split": "train"}),
        },
    ),
}


@pytest.mark.parametrize("source", IN_SEVERAL_PARTS)
def test_masks_rows_and_splits_of_an_image_are_those_of_its_part(source: str, tmp_path: Path) -> None:
    files, expected = IN_SEVERAL_PARTS[source]
    modality = {"modality": find_source(source).spec.modality}
    found = find_source(source).read_folder(laid_out(Layout(source, files, [], [], ("", {})), tmp_path)).records
    assert {one.image_id: (one.image and one.image.name, one.mask and one.mask.name, one.values) for one in found} == {
        image_id: (image, mask, modality | values) for image_id, (image, mask, values) in expected.items()
    }


@pytest.mark.parametrize("name", list(BY_NAME))
def test_a_missing_set_is_named_with_where_to_get_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    spec = find_source(name).spec
    with pytest.raises(DataSetError) as caught:
        find_source(name).read_folder(tmp_path)
    message = str(caught.value)
    for part in (spec.title, spec.layout.splitlines()[0], "notes.txt (1 file)", spec.url, spec.licence):
        assert part in message


@pytest.mark.parametrize("name", list(BY_NAME))
def test_source_descriptions_are_complete(name: str) -> None:
    spec = list_sources()[name].spec
    assert spec.name == name
    assert spec.url in describe_access(spec)
    assert spec.modality in ("", *MODALITY_WORDS)
    assert all((spec.title, spec.licence, spec.url, spec.layout))
    assert not spec.public or (spec.reference and (spec.images or name in UNCOUNTED))


def test_a_part_of_a_set_is_enough(tmp_path: Path) -> None:
    folder = laid_out(BY_NAME["isic2017"], tmp_path)
    shutil.rmtree(folder / "ISIC-2017_Training_Data")
    found = find_source("isic2017").read_folder(folder)
    assert [record.image_id for record in found.importable] == ["ISIC_0000004", "ISIC_0000005"]
    assert [record.image_id for record in found.records if record.image is None] == ["ISIC_0000001"]


def test_a_damaged_archive_and_an_unknown_name_are_errors(tmp_path: Path) -> None:
    (tmp_path / "ISIC2018_Task1-2_Training_Input.zip").write_bytes(b"half a download")
    with pytest.raises(InputError, match=r"Training_Input\.zip cannot be read.*Download it again"):
        find_source("isic2018").read_folder(tmp_path)
    with pytest.raises(InputError, match=r"no source named 'isic' \(known: coco, cptac-cm, decathlon"):
        find_source("isic")
    with pytest.raises(InputError, match="does not exist"):
        find_source("ph2").read_folder(tmp_path / "nowhere")


def test_a_table_of_isic2017_without_a_column_for_images_is_noted(tmp_path: Path) -> None:
    folder = laid_out(BY_NAME["isic2017"], tmp_path)
    truth = folder / "ISIC-2017_Training_Part3_GroundTruth.csv"
    truth.write_text("nr,melanoma,seborrheic_keratosis\n1,yes,no\n")
    found = find_source("isic2017").read_folder(folder)
    assert found.notes[0][1].startswith("no column names the images (found nr, melanoma, seborrheic_keratosis)")
    assert "diagnosis" not in {record.image_id: record.values for record in found.records}["ISIC_0000001"]


def test_an_unknown_diagnosis_of_ph2_is_not_benign(tmp_path: Path) -> None:
    folder = laid_out(BY_NAME["ph2"], tmp_path)
    table = folder / "PH2Dataset/PH2_dataset.txt"
    table.write_text(table.read_text().replace("|| Melanoma ||      2 ||", "||          ||        ||"))
    found = {record.image_id: harmonized("ph2", record) for record in find_source("ph2").read_folder(folder).records}
    assert "melanoma" not in found["IMD058"]
    assert (found["IMD003"]["diagnosis"], found["IMD003"]["melanoma"]) == ("nevus", "0")


def test_blank_lines_in_a_table_are_passed_over(tmp_path: Path) -> None:
    folder = laid_out(BY_NAME["isic2016"], tmp_path)
    table = rows("ISIC_0000000,benign", "", "ISIC_0000002,malignant", " ", "")
    (folder / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv").write_bytes(table)
    found = {
        record.image_id: record.values["melanoma"] for record in find_source("isic2016").read_folder(folder).records
    }
    assert found == {"ISIC_0000000": "0", "ISIC_0000002": "1", "ISIC_0000003": "1"}


def test_a_record_matches_its_source(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((20, 30, 3), np.uint8))
    image.save(tmp_path / "only.png")
    (record,) = find_source("folder").read_folder(tmp_path).records
    assert record == SourceRecord("only", record.image, None, {})


@pytest.mark.parametrize(
    ("name", "source"),
    [
        *(
            ("isic2017", "isic2017"),
            ("ISIC-2017 small", "isic2017"),
            ("isic_2017_small", "isic2017"),
            ("isic20170", None),
        ),
        *(("HAM10000", "ham10000"), ("ham", "ham10000"), ("hamburg-clinic", None), ("ham-house", None)),
        *(("pad_ufes", "pad-ufes-20"), ("PAD-UFES-20", "pad-ufes-20"), ("pad", "pad-ufes-20"), ("padova", None)),
        *(("PH2Dataset", "ph2"), ("ph2", "ph2"), ("ph21", None), ("SMARTSKINS", "smartskins"), ("dermofits", None)),
    ],
)
def test_public_sets_are_recognized_by_whole_names(name: str, source: str | None) -> None:
    assert guess_source(name) == source


def test_a_source_guessed_from_a_folder_is_also_found_by_name() -> None:
    known = [source.spec for source in list_sources().values() if source.spec.folders]
    assert [spec.name for spec in known if guess_source(spec.name) != spec.name] == []
    assert {spec.name for spec in known} >= {"dermofit", "ham10000", "isic2016", "isic2018", "ph2", "smartskins"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("images/p1/x.jpg", "images/p2/x.jpg"), {"p1_x": "1", "p2_x": "0"}),
        (("p1/x.jpg", r"C:\scans\P2\x.jpg"), {"p1_x": "1", "p2_x": "0"}),
        (("p2/x.jpg",), {"p1_x": None, "p2_x": "1"}),
        (("p1_x", "p2_x"), {"p1_x": "1", "p2_x": "0"}),
        (("x.jpg",), {"p1_x": "1", "p2_x": "1"}),
    ],
)
def test_rows_name_images_of_one_name_by_their_folders(
    names: tuple[str, ...], expected: Mapping[str, str | None], tmp_path: Path
) -> None:
    for folder in ("p1", "p2"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        (tmp_path / "images" / folder / "x.jpg").write_bytes(PICTURE)
    cells = zip(names, "10", strict=False)
    (tmp_path / "metadata.csv").write_bytes(rows("image,melanoma", *(f"{name},{label}" for name, label in cells)))
    contents = find_source("folder").read_folder(tmp_path)
    found = {record.image_id: record.values.get("melanoma") for record in contents.importable}
    assert found == expected
    shared = [message for topic, message in contents.notes if topic == "image_id" and "is used for several" in message]
    assert bool(shared) == (names == ("x.jpg",))


def test_rows_that_differ_in_case_are_used_or_counted(tmp_path: Path) -> None:
    for name in ("img1.JPG", "img2.jpg"):
        (tmp_path / name).write_bytes(PICTURE)
    (tmp_path / "metadata.csv").write_bytes(rows("image,melanoma", "IMG1,1", "img2,0", "IMG2,1"))
    records = {record.image_id: record for record in find_source("folder").read_folder(tmp_path).records}
    assert {name: record.values["melanoma"] for name, record in records.items()} == {
        "img1": "1",
        "img2": "0",
        "IMG2": "1",
    }
    assert records["IMG2"].image is None


def test_files_that_are_left_out_are_noted(tmp_path: Path) -> None:
    files = ("x.jpg", "x.png", "X.jpg", "y.jpg", "masks/y.png", "masks_second/y.png", "masks/w.png")
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PICTURE)
    contents = find_source("folder").read_folder(tmp_path)
    assert [record.image_id for record in contents.records] == ["X", "y"]
    (note,) = (message for topic, message in contents.notes if topic == "files")
    assert note.startswith("2 image or mask files left out")
    assert note.endswith(": x.jpg, x.png")
    assert contents.faults == [("masks/w.png", "no photograph of that name was found")]
    assert [one.names & {"masks", "masks_second"} for one in contents.records[1].objects] == [
        {"masks"},
        {"masks_second"},
    ]


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

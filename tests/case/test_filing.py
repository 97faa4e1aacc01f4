"""Metadata guessed from names of files and folders; counters of cameras are no lesions."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as some

from napari_melanoma.case.image_assignment import (
    CollectedImage,
    FilingResult,
    ImageMetadata,
    file_images,
    merge_metadata,
    parse_name_metadata,
)
from napari_melanoma.case.model import Case, CaseImage, set_patient
from napari_melanoma.privacy.pseudonyms import pseudonym

BACK = {"site": "posterior torso"}
FOREARM = {"site": "upper extremity", "sub_site": "forearm"}
FACE = {"site": "head/neck", "sub_site": "face"}
DERMOSCOPIC, MACROSCOPIC, SLIDE = ({"modality": word} for word in ("dermoscopic", "macroscopic", "wsi"))
LEFT = {"laterality": "left"}

NAMES = [
    ("back_left_2_dermoscopy.jpg", "", "2", BACK | LEFT | DERMOSCOPIC),
    ("back_dermoscopy_2.jpg", "", "", BACK | DERMOSCOPIC),
    ("faceCloseUp2.png", "", "", {}),
    ("Rücken_links_1.jpg", "", "1", BACK | LEFT),
    ("unterarm li_3_Dermatoskopie.jpg", "", "3", FOREARM | LEFT | DERMOSCOPIC),
    ("left forearm/IMG_1.jpg", "", "", FOREARM | LEFT),
    ("forearm/lesion 07/left.jpg", "", "7", FOREARM | LEFT),
    ("PAT_1516_1765_530.png", "PAT_1516", "1765", {}),
    ("P-0042/lesion 3/macro/DSC00012.JPG", "P-0042", "3", MACROSCOPIC),
    ("patient12_nose.jpg", "patient12", "", {"site": "head/neck", "sub_site": "nose"}),
    ("2024-05-17_face_macro.jpg", "", "", FACE | MACROSCOPIC | {"taken_on": "2024-05-17"}),
    ("L3_macro.jpg", "", "", MACROSCOPIC),
    ("mole3.svs", "", "3", SLIDE),
    ("HE_example.ome.tif", "", "", SLIDE),
    ("IMG_0012.jpg", "", "", {}),
    ("ISIC_0024306.jpg", "", "", {}),
    ("photos/1.jpg", "", "", {}),
    ("20240517_101500.jpg", "", "", {"taken_on": "2024-05-17"}),
    ("sin título.jpg", "", "", {}),
    ("arm_r_4_derm.jpg", "", "4", {"site": "upper extremity", "laterality": "right"} | DERMOSCOPIC),
    ("face/back.jpg", "", "", BACK),
    ("back_01.03.2026_dermoscopy.jpg", "", "", BACK | DERMOSCOPIC | {"taken_on": "2026-03-01"}),
    ("back_03-01-2026_1.jpg", "", "1", BACK),
    ("WhatsApp Image 2026-03-01 at 14.05.09 back.jpg", "", "", {"taken_on": "2026-03-01"}),
    ("2026-03-01_14-05-09_back_2.jpg", "", "2", BACK | {"taken_on": "2026-03-01"}),
    ("somebody_19541203_back.jpg", "", "", {}),
    ("20010203_back_2026-03-01.jpg", "", "", BACK | {"taken_on": "2026-03-01"}),
    ("P1010012.JPG", "", "", {}),
    ("P-1010012.JPG", "P-1010012", "", {}),
    ("back_20x_5mm_54y_2of3_v2.jpg", "", "", BACK),
    ("back (2).jpg", "", "", BACK),
    ("0012_back.jpg", "", "", BACK),
    ("forearm_right_2_photo.jpg", "", "2", FOREARM | {"laterality": "right"}),
    ("left_arm_right_side.jpg", "", "", {}),
]


@pytest.mark.parametrize(("name", "patient", "lesion", "cells"), NAMES, ids=[case[0] for case in NAMES])
def test_metadata_of_a_name(name: str, patient: str, lesion: str, cells: dict[str, str]) -> None:
    facts = parse_name_metadata(PurePath(name))
    assert (facts.patient, facts.lesion, dict(facts.cells)) == (patient, lesion, cells)
    assert set(facts.origins.values()) <= {"name"}
    assert set(facts.origins) >= set(cells)


def test_the_first_source_counts_and_sites_are_not_mixed() -> None:
    table = ImageMetadata.from_source("table", {"site": "torso", "age": "54"}, patient="7")
    name = ImageMetadata.from_source("name", FOREARM | LEFT | {"age": "9"}, patient="8", lesion="2")
    both = merge_metadata((table, name))
    assert dict(both.cells) == {"site": "torso", "age": "54"}  # the left side of an arm is not that of a torso
    assert (both.patient, both.lesion) == ("7", "2")
    assert both.origins == {
        "site": "table",
        "age": "table",
        "patient": "table",
        "lesion": "name",
    }
    for cells in ({"site": "posterior torso"}, {"site": "torso"}, {}):
        side = merge_metadata((table, ImageMetadata.from_source("name", cells | LEFT)))
        assert (side.cells["site"], side.cells["laterality"], side.origins["laterality"]) == ("torso", "left", "name")


def test_an_invalid_date_is_ignored() -> None:
    assert ImageMetadata.from_source("table", {"taken_on": "3.1.2026", "age": "5"}).cells == {"age": "5"}
    assert ImageMetadata.from_source("dicom", {"taken_on": "2026-02-30"}).cells == {}


def of(name: str, patient: str) -> CollectedImage:
    image = CaseImage(id="", path=Path(f"/{name}.jpg"))
    return CollectedImage(image, ImageMetadata.from_source("name", {}, patient=patient))


@pytest.mark.parametrize(
    ("own", "other", "is_noted"),
    [
        ("K-7", "K-7", False),
        ("K-7", "K-8", True),
        ("", "K-8", False),
        ("K-7", "", False),
    ],
)
def test_images_of_another_patient_are_noted(own: str, other: str, is_noted: bool) -> None:
    notes = (("patient", "another patient in 2 images: check that they belong to this case."),)
    for patient_id in (own, pseudonym(own)):
        filed = file_images(set_patient(Case(), patient_id=patient_id), [of("a", other), of("b", other)])
        assert filed.notes[-1:] == (notes if is_noted else ())


def test_one_note_lists_the_values_that_were_read() -> None:
    """It is stored with the case; a second import adds its own."""

    def found(*names: str) -> list[CollectedImage]:
        table = ImageMetadata.from_source("table", {"age": "54"})
        images = (CaseImage(id="", path=Path(f"/{name}.jpg")) for name in names)
        return [CollectedImage(one, merge_metadata((table, parse_name_metadata(PurePath(one.name))))) for one in images]

    filed = file_images(Case(), found("back_left_2_macro", "back_left_2_dermoscopy", "nose"))
    text = (
        "From tables: age of the patient. From file names: body site of 2 lesions, side of 1 lesion, "
        "modality of 2 images, lesion of 3 images, sub-site of 1 lesion."
    )
    assert filed.notes == (("The case", f"contains values that were read from the files: check them. {text}"),)
    assert filed.case.imports == (text,)
    again = file_images(filed.case, found("back_left_2_macro", "cheek_3_macro"), "L1").case
    assert again.imports == (text, "From file names: modality of 1 image.")
    assert [len(lesion.images) for lesion in again.lesions] == [3, 1], "dropped on a lesion"


WORDS = some.sampled_from(["nose", "back", "left", "macro", "dermoscopy", "1", "2", "IMG", "mole3", "P-0042"])
FILES = some.lists(some.lists(WORDS, min_size=1, max_size=4).map("_".join), max_size=8)


@tries(max_examples=40)
@given(FILES)
@pytest.mark.slow
def test_images_are_added_only_once(stems: list[str]) -> None:
    found = [
        CollectedImage(CaseImage(id="", path=Path(f"/{stem}.jpg")), parse_name_metadata(PurePath(f"{stem}.jpg")))
        for stem in stems
    ]
    filed = file_images(Case(), found)
    assert sorted(image.name for _, image in filed.case.iterate_images()) == sorted(set(stems))
    assert all(lesion.images for lesion in filed.case.lesions)
    assert file_images(filed.case, found) == FilingResult(filed.case)


def test_numbered_lesions_are_added_in_the_order_of_their_numbers() -> None:
    found = [
        CollectedImage(CaseImage(id="", path=Path(f"/{stem}.jpg")), parse_name_metadata(PurePath(stem)))
        for stem in ("back_left_10_macro", "nose_macro", "cheek_3_macro", "forearm_right_2_macro")
    ]
    assert [lesion.label for lesion in file_images(Case(), found).case.lesions] == ["2", "3", "10", ""]

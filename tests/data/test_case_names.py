"""What is guessed from names of files and folders, and what is not: a camera's counter is no lesion."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as some

from napari_melanoma.data.case.facts import Facts, together
from napari_melanoma.data.case.filing import Filed, FoundImage, file_images
from napari_melanoma.data.case.model import Case, CaseImage
from napari_melanoma.data.case.names import facts_from_name

BACK = {"site": "posterior torso"}
FOREARM = {"site": "upper extremity", "sub_site": "forearm"}
FACE = {"site": "head/neck", "sub_site": "face"}
DERMOSCOPIC, MACROSCOPIC, SLIDE = ({"modality": word} for word in ("dermoscopic", "macroscopic", "wsi"))
LEFT = {"laterality": "left"}

NAMES = [
    ("back_left_2_dermoscopy.jpg", "", "2", BACK | LEFT | DERMOSCOPIC),
    ("back_dermoscopy_2.jpg", "", "", BACK | DERMOSCOPIC),
    ("faceCloseUp2.png", "", "", FACE | MACROSCOPIC),
    ("Rücken_links_1.jpg", "", "1", BACK | LEFT),
    ("unterarm li_3_Dermatoskopie.jpg", "", "3", FOREARM | LEFT | DERMOSCOPIC),
    ("left forearm/IMG_1.jpg", "", "", FOREARM | LEFT),
    ("forearm/lesion 07/left.jpg", "", "7", FOREARM | LEFT),
    ("PAT_1516_1765_530.png", "PAT_1516", "1765", {}),
    ("P-0042/lesion 3/macro/DSC00012.JPG", "P-0042", "3", MACROSCOPIC),
    ("patient12_nose.jpg", "patient12", "", {"site": "head/neck", "sub_site": "nose"}),
    ("2024-05-17_face_macro.jpg", "", "", FACE | MACROSCOPIC | {"taken_on": "2024-05-17"}),
    ("L3_macro.jpg", "", "3", MACROSCOPIC),
    ("slide_L2.svs", "", "2", SLIDE),
    ("HE_example.ome.tif", "", "", SLIDE),
    ("IMG_0012.jpg", "", "", {}),
    ("ISIC_0024306.jpg", "", "", {}),
    ("photos/1.jpg", "", "", {}),
    ("20240517_101500.jpg", "", "", {"taken_on": "2024-05-17"}),
    ("sin título.jpg", "", "", {}),
    ("arm_r_4_derm.jpg", "", "4", {"site": "upper extremity", "laterality": "right"} | DERMOSCOPIC),
    ("face/back.jpg", "", "", BACK),
]


@pytest.mark.parametrize(("name", "patient", "lesion", "cells"), NAMES, ids=[case[0] for case in NAMES])
def test_what_a_name_says(name: str, patient: str, lesion: str, cells: dict[str, str]) -> None:
    facts = facts_from_name(PurePath(name))
    assert (facts.patient, facts.lesion, dict(facts.cells)) == (patient, lesion, cells)
    assert set(facts.origins.values()) <= {"name"}
    assert set(facts.origins) >= set(cells)


def test_what_is_said_first_counts_and_a_place_is_not_mixed() -> None:
    table = Facts.said("table", {"site": "torso", "age": "54"}, patient="7")
    name = Facts.said("name", FOREARM | LEFT | {"age": "9"}, patient="8", lesion="2")
    both = together((table, name))
    assert dict(both.cells) == {"site": "torso", "age": "54", "laterality": "left"}
    assert (both.patient, both.lesion) == ("7", "2")
    assert both.origins == {
        "site": "table",
        "age": "table",
        "patient": "table",
        "laterality": "name",
        "lesion": "name",
    }


WORDS = some.sampled_from(["nose", "back", "left", "macro", "dermoscopy", "1", "2", "IMG", "mole3", "P-0042"])
FILES = some.lists(some.lists(WORDS, min_size=1, max_size=4).map("_".join), max_size=8)


@tries(max_examples=40)
@given(FILES)
def test_each_image_is_filed_once_and_filing_twice_changes_nothing(stems: list[str]) -> None:
    found = [
        FoundImage(CaseImage(id="", path=Path(f"/{stem}.jpg"), content=stem), facts_from_name(PurePath(f"{stem}.jpg")))
        for stem in stems
    ]
    filed = file_images(Case(), found)
    assert sorted(image.name for _, image in filed.case.each_image()) == sorted(set(stems))
    assert all(lesion.images for lesion in filed.case.lesions)
    assert file_images(filed.case, found) == Filed(filed.case)

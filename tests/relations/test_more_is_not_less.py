"""More data of one patient, or one more lesion, leaves all others as they were."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import world
from PIL import Image

from napari_melanoma.io.results import read_table, write_table


def add_image(dataset: Path, patient: str, lesion: str) -> None:
    """Add a photograph of a patient, who may be a new one."""
    rgb, mask = world.draw_photograph(77)
    Image.fromarray(rgb).save(dataset / "images/new.png")
    Image.fromarray(mask).convert("L").save(dataset / "masks/new.png")
    rows = read_table(dataset / "dataset.csv")
    new = {**rows[0], "image_id": "new", "patient_id": patient, "lesion_id": lesion, "split": "", "fold": ""}
    write_table(dataset / "dataset.csv", [new, *rows])


def read_split(dataset: Path, column: str = "split") -> dict[str, str]:
    return {row["image_id"]: row[column] for row in read_table(dataset / "dataset.csv")}


@pytest.mark.parametrize("patient", ["P00", "P03", "a new one"])
@pytest.mark.parametrize("options", [(), ("--seed", "3")], ids=["seed 0", "seed 3"])
def test_one_more_image_moves_no_other_patient(
    patient: str, options: tuple[str, ...], dataset: Path, tmp_path: Path, call: Callable[..., str]
) -> None:
    """Split again, the data set has the parts that it had; the image is in the part of its patient."""
    copy = shutil.copytree(dataset, tmp_path / "set")
    call("data", "split", copy, *options)
    before = read_split(copy)
    of_patient = {row["image_id"]: row["patient_id"] for row in read_table(copy / "dataset.csv")}
    add_image(copy, patient, f"new lesion of {patient}")
    call("data", "split", copy, *options)
    after = read_split(copy)
    assert {image: after[image] for image in before} == before
    parts = {before[image] for image, one in of_patient.items() if one == patient}
    assert not parts or parts == {after["new"]}


def test_test_patients_stay_when_a_set_is_split_anew(dataset: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    """With an image more of a patient outside the test set."""
    plain, more = (shutil.copytree(dataset, tmp_path / name) for name in ("plain", "more"))
    call("data", "split", plain)
    patients = {row["patient_id"]: row["split"] for row in read_table(plain / "dataset.csv") if row["patient_id"]}
    outside = next(one for one, split in sorted(patients.items()) if split != "test")
    add_image(more, outside, "another lesion")
    call("data", "split", more)
    test = {image for image, split in read_split(plain).items() if split == "test"}
    assert test <= {image for image, split in read_split(more).items() if split == "test"}

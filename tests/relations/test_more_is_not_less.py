"""More data of one patient, or one more lesion, leaves all others as they were."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import world
from PIL import Image

from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.splits import split_samples
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.slides.lesions import LesionConfig, LesionMaps, find_lesions
from napari_melanoma.training.recipe import DataConfig


def add_image(dataset: Path, patient: str, lesion: str) -> None:
    """Add a photograph of a patient, who may be a new one, with the diagnosis of the others."""
    rgb, mask = world.draw_photograph(77)
    Image.fromarray(rgb).save(dataset / "images/new.png")
    Image.fromarray(mask).convert("L").save(dataset / "masks/new.png")
    rows = read_table(dataset / "dataset.csv")
    of_patient = next((row for row in rows if row["patient_id"] == patient), rows[0])
    new = {**of_patient, "image_id": "new", "patient_id": patient, "lesion_id": lesion, "split": "", "fold": ""}
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


@pytest.mark.parametrize("patient", ["P00", "P03", "a new one"])
def test_one_more_image_moves_no_test_patient_of_a_run(patient: str, tmp_path: Path) -> None:
    """Without a column ``split``, the patients that a model is tested on depend on their names alone."""
    plain, more = (world.write_dataset(tmp_path / name / "dataset", 30) for name in ("plain", "more"))
    add_image(more, patient, f"new lesion of {patient}")
    rules = DataConfig(datasets=("dataset",))
    first, second = (
        {sample.image_id for sample in split_samples(read_dataset(folder), rules, 0).test} for folder in (plain, more)
    )
    assert len(first) > 2
    assert second - {"new"} == first


LESION_PLACE = MapPlacement(0.0, 0.0, 10.0, 10.0, PixelSize(10.0, 10.0))


def test_one_more_lesion_changes_no_other() -> None:
    """In the map of a slide: all values but its number and the share of the tissue stay."""
    presence = np.zeros((40, 60), np.float32)
    presence[2:12, 2:22] = 0.95
    presence[20:30, 5:25] = 0.8
    one = find_lesions(LesionMaps(presence, LESION_PLACE), LesionConfig())
    presence[5:25, 40:55] = 0.9
    two = find_lesions(LesionMaps(presence, LESION_PLACE), LesionConfig())
    assert (len(one), len(two)) == (2, 3)
    of_two = {lesion.seed: replace(lesion, index=0) for lesion in two}
    assert [of_two[lesion.seed] for lesion in one] == [replace(lesion, index=0) for lesion in one]

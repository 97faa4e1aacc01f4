"""Ids of patients that spreadsheets change count as one patient, and are a question wherever patients are used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import napari_melanoma as nm
from napari_melanoma.core.context import NULL_CONTEXT
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.check import check_data
from napari_melanoma.data.collections import find_source
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.dataset_import import SourceImportOptions, import_source
from napari_melanoma.data.groups import describe_patient_ids, normalize_patient
from napari_melanoma.data.mask_import import MaskImportOptions, import_masks
from napari_melanoma.data.merging import MergeOptions, merge_datasets
from napari_melanoma.data.splits import SplitOptions, split_dataset, split_samples
from napari_melanoma.evaluation.pipeline import select_images
from napari_melanoma.io.results import read_table, write_mask, write_table
from napari_melanoma.runs.clinic_photographs import LabeledPhotographs
from napari_melanoma.training.data_preparation import check_data as check_training_data
from napari_melanoma.training.recipe import TrainRecipe

SAME = [
    ("1", "1.0"),
    ("001", "1"),
    ("1,0", "1"),
    ("P1", "p 1"),
    ("1,23457E+12", "1.23457E+12"),
]
OTHERS = [
    ("1", "10"),
    ("1.5", "15"),
    ("A-1", "A1"),
    ("100", "1.0"),
    ("1.23457E+12", "1.23457E+11"),
    ("123457", "1.23457E+5"),
    ("1.23457E+12", "1234567890123"),
    ("202511250001", "202511250002"),
]
ALIKE, ROUNDED = "Is this one patient each: 1 and 1.0?", "Is this one patient each: 1.23457E+12 (6 images)?"


@pytest.mark.parametrize(("first", "second"), [*SAME, *OTHERS])
def test_spellings_of_an_id(first: str, second: str) -> None:
    assert (normalize_patient(first) == normalize_patient(second)) == ((first, second) in SAME)


def test_one_image_of_a_rounded_id_is_no_question() -> None:
    assert describe_patient_ids([("1.23457E+12",), ("2",)]) == []


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two spellings of one patient in many rows, and six photographs of a rounded id."""
    folder, rng = tmp_path / "clinic", np.random.default_rng(0)
    patients = ["1", "1.0", *["1.23457E+12"] * 6, *(f"p{n}" for n in range(12))]
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in range(len(patients)):
        Image.fromarray(rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(folder / f"images/i{number}.png")
        write_mask(folder / f"masks/i{number}.png", np.eye(48, dtype=bool))
    write_table(folder / "dataset.csv", [{"image_id": f"i{n}", "patient_id": one} for n, one in enumerate(patients)])
    return folder


def by_check(folder: Path) -> list[str]:
    return [message for _, message in check_data(folder, run=NULL_CONTEXT).notes]


def by_split(folder: Path) -> list[str]:
    return list(split_dataset(folder, SplitOptions(look=False), run=NULL_CONTEXT).questions)


def by_python(folder: Path) -> list[str]:
    with pytest.warns(UserWarning, match="one patient each") as found:
        nm.DataSet(folder).split(duplicates=False)
    return [str(one.message) for one in found]


def by_merge(folder: Path) -> list[str]:
    other = folder.with_name("other")
    write_other(other)
    report = merge_datasets([folder, other], folder.with_name("all"), MergeOptions(), run=NULL_CONTEXT)
    return [message for _, message in report.notes]


def write_other(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    Image.fromarray(np.random.default_rng(9).integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(
        folder / "images/o.png"
    )
    write_table(folder / "dataset.csv", [{"image_id": "o", "patient_id": "q"}])


def by_training(folder: Path) -> list[str]:
    recipe = TrainRecipe.parse({"data": {"datasets": [str(folder)], "validation_fraction": 0.2}}, "test")
    return list(check_training_data(recipe, NULL_CONTEXT).warnings)


def by_evaluation(folder: Path) -> list[str]:
    task: Any = SimpleNamespace(infos=[], digest=lambda path: 1, image_warnings=lambda samples: ())
    return list(select_images(task, read_dataset(folder), run=NULL_CONTEXT)[1])


def by_adaptation(folder: Path) -> list[str]:
    samples = tuple(read_dataset(folder))
    none = np.zeros((len(samples), 32, 32), np.uint8)
    return LabeledPhotographs(samples, {}, ("melanoma",) * len(samples), "melanoma", (), {}, none).notes


def by_import(folder: Path) -> list[str]:
    (folder / "dataset.csv").rename(folder / "images/metadata.csv")
    options = SourceImportOptions(no_patients=True)
    report = import_source(find_source("folder"), folder / "images", folder.with_name("new"), options, run=NULL_CONTEXT)
    return [message for _, message in report.notes]


def by_masks(folder: Path) -> list[str]:
    options = MaskImportOptions(metadata=folder / "dataset.csv", no_patients=True)
    new = folder.with_name("new")
    report = import_masks(folder / "masks", folder / "images", new, options, run=NULL_CONTEXT)
    return [message for _, message in report.notes]


WAYS = [by_import, by_masks, by_check, by_split, by_python, by_merge, by_training, by_evaluation, by_adaptation]


@pytest.mark.usefixtures("user_folders")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_ids_are_a_question(data: Path, way: Callable[[Path], list[str]]) -> None:
    questions = [message for message in way(data) if "one patient each" in message]
    assert [message.startswith(start) for message, start in zip(questions, (ALIKE, ROUNDED), strict=True)] == [True] * 2


def test_two_spellings_are_in_one_part(data: Path) -> None:
    recipe = TrainRecipe.parse({"data": {"datasets": [str(data)]}}, "test")
    groups = {sample.image_id: sample.group for sample in read_dataset(data)}
    assert groups["i0"] == groups["i1"] == "clinic/1"
    for seed in range(8):
        parts = split_samples(read_dataset(data), recipe.data, seed)
        found = [
            {one.image_id for one in part} & {"i0", "i1"} for part in (parts.training, parts.validation, parts.test)
        ]
        assert sorted(map(len, found)) == [0, 0, 2]
        split_dataset(data, SplitOptions(look=False, seed=seed, replace=True), run=NULL_CONTEXT)
        first, second, *_ = read_table(data / "dataset.csv")
        assert first["split"] == second["split"]


def test_an_import_asks_for_rounded_ids(data: Path, tmp_path: Path) -> None:
    """Before anything is copied; the user may confirm that the ids are not available."""
    source = tmp_path / "source"
    (data / "images").rename(source)
    write_table(source / "metadata.csv", read_table(data / "dataset.csv"))
    with pytest.raises(DataSetError, match=r"1\.23457E\+12 \(6 rows\).*--no-patients"):
        nm.import_dataset("folder", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    nm.import_dataset("folder", source, tmp_path / "out", no_patients=True)
    assert sum(one["patient_id"] == "1.23457E+12" for one in read_table(tmp_path / "out/dataset.csv")) == 6

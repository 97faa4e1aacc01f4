"""Folds in a data set: no patient or picture is in two folds, and test images are in none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, DataSetError
from napari_melanoma.data.check import check_data
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.splits import SplitOptions, choose_folds, split_dataset
from napari_melanoma.io.results import read_table, write_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty patients with two images each, every fifth a melanoma, and a copy of one image under another name."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (12, 16, 3), dtype=np.uint8) for _ in range(40)]
    rows = []
    for number, picture in enumerate([*pictures, pictures[0]]):
        Image.fromarray(picture).resize((64, 48)).save(tmp_path / f"i{number}.png")
        patient = f"p{number // 2}"
        diagnosis = "melanoma" if number // 2 % 5 == 0 else "nevus"
        rows.append({"image_id": f"i{number}", "path": f"i{number}.png", "patient_id": patient, "diagnosis": diagnosis})
    rows[-1]["patient_id"] = "another"
    write_table(tmp_path / "dataset.csv", rows)
    return tmp_path


def test_folds_and_a_test_part(folder: Path) -> None:
    report = split_dataset(folder, SplitOptions(test=0.2, folds=4), run=RunContext())
    rows = read_table(folder / "dataset.csv")
    assert {row["split"] for row in rows} == {"train", "test"}
    assert {row["fold"] for row in rows if row["split"] == "test"} == {""}
    assert {row["fold"] for row in rows if row["split"] == "train"} == {"1", "2", "3", "4"}
    of = {row["image_id"]: row["fold"] for row in rows}
    assert all(of[f"i{n}"] == of[f"i{n + 1}"] for n in range(0, 40, 2))
    assert of["i40"] == of["i0"]
    assert sorted(report.folds) == ["1", "2", "3", "4"]
    assert sum(sum(counts.values()) for counts in report.folds.values()) == sum(row["split"] == "train" for row in rows)

    split_dataset(folder, SplitOptions(test=0.2, folds=4, seed=1, look=False), run=RunContext())
    assert {row["image_id"]: row["fold"] for row in read_table(folder / "dataset.csv")} == of
    split_dataset(folder, SplitOptions(test=0.2, folds=4, seed=1, look=False, replace=True), run=RunContext())
    assert {row["image_id"]: row["fold"] for row in read_table(folder / "dataset.csv")} != of
    split_dataset(folder, SplitOptions(folds=2, look=False), run=RunContext())
    assert {row["fold"] for row in read_table(folder / "dataset.csv")} == {"", "1", "2"}


@pytest.mark.parametrize("requested", [{"test": 0.2}, {"test": 0.2, "folds": 2}])
def test_a_requested_split_without_images_is_an_error(folder: Path, requested: dict[str, float]) -> None:
    split_dataset(folder, SplitOptions(look=False, test=0), run=RunContext())
    before = (folder / "dataset.csv").read_bytes()
    message = r"'test' would have no image: .* \(train 37, val 4\)\. .*replace=True, command line: --replace\)"
    with pytest.raises(DataSetError, match=message):
        split_dataset(folder, SplitOptions(**requested, look=False), run=RunContext())
    assert (folder / "dataset.csv").read_bytes() == before
    report = split_dataset(folder, SplitOptions(**requested, look=False, replace=True), run=RunContext())
    assert "test" in report.counts


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_pictures_that_the_table_calls_the_same_stay_together(tmp_path: Path, seed: int) -> None:
    rows = [{"image_id": f"i{n}", "path": "", "lesion_id": f"l{n}", "near_duplicate_of": ""} for n in range(12)]
    rows[1]["near_duplicate_of"], rows[2]["near_duplicate_of"] = "i0", "i1"
    rows[11]["near_duplicate_of"] = "of another set"
    write_table(tmp_path / "dataset.csv", rows)
    split_dataset(tmp_path, SplitOptions(test=0.5, folds=2, seed=seed), run=RunContext())
    first, second, third, *_ = read_table(tmp_path / "dataset.csv")
    assert (first["split"], first["fold"]) == (second["split"], second["fold"]) == (third["split"], third["fold"])
    assert check_data(tmp_path, run=RunContext()).faults == []


def test_test_patients_are_in_no_fold() -> None:
    samples = [Sample(str(n), Path("x"), None, f"p{n // 2}", "", "set") for n in range(8)]
    splits = ["test", "train", *["train"] * 6]
    dealt = choose_folds(samples, splits, [""] * 8, SplitOptions(folds=3))
    assert dealt[:2] == ["", ""]
    assert sorted(set(dealt[2:])) == ["1", "2", "3"]


def test_a_table_without_images_is_split_too(tmp_path: Path) -> None:
    rows = [{"image_id": f"i{n}", "patient_id": f"p{n // 3}", "diagnosis": "nevus"} for n in range(30)]
    write_table(tmp_path / "dataset.csv", rows)
    report = split_dataset(tmp_path, SplitOptions(val=0.2), run=RunContext())
    assert report.groups == {"train": 6, "val": 2, "test": 2}
    write_table(tmp_path / "dataset.csv", [*rows, rows[0]])
    with pytest.raises(DataSetError, match="repeats image_id i0"):
        split_dataset(tmp_path, SplitOptions(val=0.2), run=RunContext())


def test_a_patient_in_two_folds_is_a_fault(folder: Path) -> None:
    split_dataset(folder, SplitOptions(folds=2, look=False), run=RunContext())
    rows = read_table(folder / "dataset.csv")
    assert not [
        message for _, message in check_data(folder, run=RunContext()).faults if "more than one fold" in message
    ]
    rows[2]["fold"], rows[3]["fold"] = "1", "2"
    write_table(folder / "dataset.csv", rows)
    assert ("p1", "is in more than one fold: 1, 2") in check_data(folder, run=RunContext()).faults


def test_val_and_folds_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="Leave val out"):
        SplitOptions.parse({"val": 0.1, "folds": 5}, "the command line")

"""One split for all rows: no patient in both parts, no image twice, and the splits of a data set are used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.paths import allow_outside_files
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.extensions.papers.papers import Role, read_paper
from napari_melanoma.extensions.papers.split import (
    RoleImages,
    SplitSetup,
    assign_to_folds,
    assign_to_sides,
    read_images,
    read_labeled_images,
    write_tables,
)
from napari_melanoma.io.results import read_table, write_table

pytestmark = pytest.mark.usefixtures("user_folders")


def split(role: str, folders: tuple[Path, ...], out: Path, most: int | None = None) -> RoleImages:
    """Write the tables of a role of P4, and count its images."""
    setup = SplitSetup(read_paper("P4").file.roles, out, most=most)
    assert write_tables({role: folders}, setup, RunContext(), cross_validated=False) == {}
    return read_images({role: folders}, setup, cross_validated=False)[role]


def test_no_patient_or_image_is_on_both_sides(tmp_path: Path, spots: Callable[..., Path]) -> None:
    folder = spots(tmp_path / "isic2016", 40)
    shutil.copy(folder / "images/s0.png", folder / "images/s39.png")
    found = split("D", (folder,), tmp_path / "out").splits
    with allow_outside_files():
        samples = read_dataset(tmp_path / "out/data/isic2016")
    sides = {side: {s.group for s in samples if s.split == side} for side in ("train", "test")}
    assert not sides["train"] & sides["test"]
    assert (found["train"] + found["test"], found["duplicate"], found["left out"]) == (39, 1, 0)
    assert {sample.modality for sample in samples} == {"dermoscopic"}
    less = split("D", (folder,), tmp_path / "less", most=10).splits
    assert (less["train"], less["left out"], less["test"]) == (10, found["train"] - 10, found["test"])


def with_splits(folder: Path, names: tuple[str, ...]) -> Path:
    """Set the splits of the images of a data set, in equal numbers."""
    rows = read_table(folder / "dataset.csv")
    for number, row in enumerate(rows):
        row["split"] = names[number * len(names) // len(rows)]
    write_table(folder / "dataset.csv", rows)
    return folder


def sides_of(table: Path) -> dict[str, str]:
    with allow_outside_files():
        return {sample.image_id: sample.split for sample in read_dataset(table)}


def test_p4_tests_on_isic_2017_and_trains_on_three_years(tmp_path: Path, spots: Callable[..., Path]) -> None:
    names = ("train", "val", "test")
    years = [with_splits(spots(tmp_path / f"isic{year}", 6, seed=year), names) for year in (2016, 2017, 2018)]
    split("D", tuple(years), tmp_path / "out")
    first, second, third = (sides_of(tmp_path / "out/data" / year.name) for year in years)
    assert second == {"s0": "train", "s1": "train", "s2": "train", "s3": "train", "s4": "test", "s5": "test"}
    assert first == third == {"s0": "train", "s1": "train"}


def test_without_isic_2017_the_test_images_of_another_year_are_used(tmp_path: Path, spots: Callable[..., Path]) -> None:
    folder = with_splits(spots(tmp_path / "isic2018", 6), ("train", "val", "test"))
    split("D", (folder,), tmp_path / "out")
    assert [name for name, side in sides_of(tmp_path / "out/data/isic2018").items() if side == "test"] == ["s4", "s5"]


def test_half_of_smartskins_is_its_test_set(tmp_path: Path, spots: Callable[..., Path]) -> None:
    folders = (spots(tmp_path / "smartskins", 20, seed=1), spots(tmp_path / "dermofit", 20, seed=2))
    split("M", folders, tmp_path / "out")
    counts = [list(sides_of(tmp_path / "out/data" / folder.name).values()).count("test") for folder in folders]
    assert counts == [10, 4]


def test_an_existing_split_is_used(tmp_path: Path, spots: Callable[..., Path]) -> None:
    folder = spots(tmp_path / "isic2016", 8)
    rows = read_table(folder / "dataset.csv")
    for number, row in enumerate(rows):
        row["split"] = ("train", "val", "test", "train")[number // 2]
    write_table(folder / "dataset.csv", rows)
    split("D", (folder,), tmp_path / "out")
    with allow_outside_files():
        evaluated = [
            sample.image_id for sample in read_dataset(tmp_path / "out/data/isic2016") if sample.split == "test"
        ]
    assert evaluated == ["s4", "s5"]


def test_an_unknown_split_is_refused_and_not_trained_on(tmp_path: Path, spots: Callable[..., Path]) -> None:
    folder = with_splits(spots(tmp_path / "own", 8), ("train", "tset", "test", ""))
    message = r"own: expected train, val, test or nothing in the column split, found 'tset' \(2\)\. Correct these cells"
    images = {"own": [replace(image, label="1") for image in read_labeled_images(folder, "melanoma")]}
    with pytest.raises(DataSetError, match=message):
        assign_to_sides(images, "D", SplitSetup(read_paper("P4").file.roles, tmp_path / "out"), RunContext())
    role = Role(title="images", modality="dermoscopic", sources=(), used="others", untouched=True)
    with pytest.raises(DataSetError, match=message):
        assign_to_folds(images, "A", SplitSetup({"A": role}, tmp_path / "out", 2), RunContext())


def test_the_order_of_rows_does_not_decide_which_of_two_copies_is_used(
    tmp_path: Path, spots: Callable[..., Path]
) -> None:
    folder, role = spots(tmp_path / "own", 24), Role(title="images", modality="dermoscopic", sources=(), used="others")
    for number in range(6):
        shutil.copy(folder / f"images/s{number}.png", folder / f"images/s{number + 12}.png")
    rows = [{**row, "melanoma": str(int(row["image_id"][1:]) % 2)} for row in read_table(folder / "dataset.csv")]
    found = []
    for ordered in (rows, rows[::-1]):
        write_table(folder / "dataset.csv", ordered)
        labeled = {"own": list(read_labeled_images(folder, "melanoma"))}
        images = assign_to_folds(labeled, "A", SplitSetup({"A": role}, tmp_path / "out", 2), RunContext())
        split("D", (folder,), tmp_path / "out")
        parts = {row["image_id"]: row["split"] for row in read_table(tmp_path / "out/data/own/dataset.csv")}
        folds = {image.sample.image_id: (image.fold, image.split == "duplicate") for image in images}
        found.append((folds, parts))
    assert found[0] == found[1]
    assert sum(duplicate for _, duplicate in found[0][0].values()) == 6

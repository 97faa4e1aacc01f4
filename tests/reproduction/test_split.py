"""One split for all rows: nobody on both sides, no picture twice, a named split kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.paths import allow_outside_files
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.reproduction.papers import read_paper
from napari_melanoma.reproduction.split import read_split, write_split

pytestmark = pytest.mark.usefixtures("user_folders")


def test_no_patient_or_image_is_on_both_sides(tmp_path: Path, spots: Callable[..., Path]) -> None:
    folder, paper = spots(tmp_path / "isic2016", 40), read_paper("P4")
    shutil.copy(folder / "images/s0.png", folder / "images/s39.png")
    write_split({"D": (folder,)}, paper.file.roles, None, tmp_path / "out", RunContext())
    with allow_outside_files():
        samples = read_dataset(tmp_path / "out/isic2016")
    sides = {side: {s.group for s in samples if s.split == side} for side in ("train", "test")}
    assert not sides["train"] & sides["test"]
    found = read_split({"D": (folder,)}, tmp_path / "out")["D"]
    assert (found.training + found.test, found.duplicates, found.left_out) == (39, 1, 0)
    assert {sample.modality for sample in samples} == {"dermoscopic"}
    write_split({"D": (folder,)}, paper.file.roles, 10, tmp_path / "less", RunContext())
    less = read_split({"D": (folder,)}, tmp_path / "less")["D"]
    assert (less.training, less.left_out, less.test) == (10, found.training - 10, found.test)


def test_an_existing_split_is_used(tmp_path: Path, spots: Callable[..., Path]) -> None:
    folder = spots(tmp_path / "isic2016", 8)
    rows = read_table(folder / "dataset.csv")
    for number, row in enumerate(rows):
        row["split"] = ("train", "val", "test", "train")[number // 2]
    write_table(folder / "dataset.csv", rows)
    write_split({"D": (folder,)}, read_paper("P4").file.roles, None, tmp_path / "out", RunContext())
    with allow_outside_files():
        judged = [sample.image_id for sample in read_dataset(tmp_path / "out/isic2016") if sample.split == "test"]
    assert judged == ["s4", "s5"]

"""Folds by patient: no patient in two folds, and equal shares of melanomas."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.paths import allow_outside_files
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.extensions.papers.papers import Role
from napari_melanoma.extensions.papers.split import SplitSetup, read_images, read_tables, row_label, write_tables
from napari_melanoma.io.results import read_table, write_table

ROLES = {"A": Role(title="photographs", modality="dermoscopic", sources=(), used="others")}


@pytest.fixture
def dealt(tmp_path: Path, moles: Callable[..., Path]) -> Path:
    """Three folds of a data set of 24 images."""
    folders = {"A": (moles(tmp_path / "moles", 24),)}
    assert write_tables(folders, SplitSetup(ROLES, tmp_path, 3), RunContext(), cross_validated=True) == {}
    return tmp_path


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(read_tables([folder / "folds/moles"]).values())


def test_each_patient_is_in_one_fold(dealt: Path) -> None:
    rows = rows_of(dealt)
    assert {row["fold"] for row in rows} == {"1", "2", "3"}
    assert len({(row["patient_id"], row["fold"]) for row in rows}) == len({row["patient_id"] for row in rows})


def test_folds_are_stratified(dealt: Path) -> None:
    counts = Counter(row["fold"] for row in rows_of(dealt) if row["melanoma"] == "1")
    assert counts.total() == 8
    assert max(counts.values()) - min(counts.values()) <= 2  # two images a patient
    role = read_images({"A": (dealt / "moles",)}, SplitSetup(ROLES, dealt, 3), cross_validated=True)["A"]
    assert (role.images, role.positives, role.groups, role.splits["no answer"]) == (24, 8, 12, 0)


def test_tables_contain_existing_files_and_all_columns(dealt: Path) -> None:
    with allow_outside_files():
        samples = read_dataset(dealt / "folds/moles")
    assert all(sample.image.is_file() and sample.mask and sample.mask.is_file() for sample in samples)
    row = rows_of(dealt)[0]
    assert {"age", "sex", "site"} <= {*row}
    assert {row["modality"] for row in rows_of(dealt)} == {"dermoscopic"}


def test_images_without_a_label_and_duplicates_are_in_no_fold(tmp_path: Path, moles: Callable[..., Path]) -> None:
    folder = moles(tmp_path / "moles", 24)
    rows = read_table(folder / "dataset.csv")
    rows[0] |= {"melanoma": "", "diagnosis": ""}
    (folder / "images/m5.png").write_bytes((folder / "images/m2.png").read_bytes())
    write_table(folder / "dataset.csv", rows)
    how = SplitSetup(ROLES, tmp_path, 3)
    write_tables({"A": (folder,)}, how, RunContext(), cross_validated=True)
    role = read_images({"A": (folder,)}, how, cross_validated=True)["A"]
    assert (role.images, role.splits["no answer"], role.splits["duplicate"]) == (22, 1, 1)
    assert {row["split"] for row in rows_of(tmp_path) if not row["fold"]} == {"no answer", "duplicate"}


def test_one_class_is_rejected(tmp_path: Path, moles: Callable[..., Path]) -> None:
    folder = moles(tmp_path / "moles", 12)
    rows = [{**row, "melanoma": "0"} for row in read_table(folder / "dataset.csv")]
    write_table(folder / "dataset.csv", rows)
    faults = write_tables({"A": (folder,)}, SplitSetup(ROLES, tmp_path, 3), RunContext(), cross_validated=True)
    assert re.search(r"A: 0 melanomas and 12 others.*3 folds need 3 of both", faults["A"])


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"melanoma": "1"}, "1"),
        ({"melanoma": "0", "diagnosis": "melanoma"}, "0"),
        ({"diagnosis": "melanoma"}, "1"),
        ({"diagnosis": "melanoma in situ"}, "1"),
        ({"diagnosis": "nevus"}, "0"),
        ({"diagnosis": "unknown"}, ""),
        ({}, ""),
    ],
)
def test_the_label_is_the_column_or_else_the_diagnosis(row: dict[str, str], answer: str) -> None:
    assert row_label(row) == answer

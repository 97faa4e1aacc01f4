"""Folds by patient: no patient in two parts, equal shares of melanomas, and tables without labels for adaptation."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.paths import allow_outside_files
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.extensions.papers.papers import Role
from napari_melanoma.extensions.papers.split import CrossValidationSetup, read_folds, row_label, write_folds
from napari_melanoma.io.results import read_table, write_table

ROLES = {"A": Role(title="photographs", modality="dermoscopic", sources=(), used="others")}


@pytest.fixture
def dealt(tmp_path: Path, moles: Callable[..., Path]) -> Path:
    """Three folds of a data set of 24 images."""
    folders = {"A": (moles(tmp_path / "moles", 24),)}
    write_folds(folders, CrossValidationSetup(ROLES, 3, tmp_path / "folds"), RunContext())
    return tmp_path


def tables(folder: Path) -> dict[int, list[dict[str, str]]]:
    return {fold: read_table(folder / f"folds/fold-{fold}/moles/dataset.csv") for fold in (1, 2, 3)}


def test_each_patient_is_tested_once_and_not_by_its_own_network(dealt: Path) -> None:
    evaluated = defaultdict(list)
    for rows in tables(dealt).values():
        assert len({(row["patient_id"], row["split"]) for row in rows}) == len({row["patient_id"] for row in rows})
        for row in rows:
            evaluated[row["image_id"]] += [row["split"]]
    assert {tuple(sorted(splits)) for splits in evaluated.values()} == {("test", "train", "train")}


def test_folds_are_stratified(dealt: Path) -> None:
    counts = [sum(row["melanoma"] == "1" for row in rows if row["split"] == "test") for rows in tables(dealt).values()]
    assert sum(counts) == 8
    assert max(counts) - min(counts) <= 2  # two images a patient
    role = read_folds({"A": (dealt / "moles",)}, CrossValidationSetup(ROLES, 3, dealt / "folds"))["A"]
    assert (role.images, role.positives, role.groups, role.unlabeled) == (24, 8, 12, 0)


def test_tables_contain_existing_files_and_all_columns(dealt: Path) -> None:
    with allow_outside_files():
        samples = read_dataset(dealt / "folds/fold-2/moles")
    assert all(sample.image.is_file() and sample.mask and sample.mask.is_file() for sample in samples)
    row = tables(dealt)[2][0]
    assert {"age", "sex", "site"} <= {*row}
    assert {row["modality"] for row in tables(dealt)[2]} == {"dermoscopic"}


def test_tables_for_adaptation_contain_no_labels_or_test_images(dealt: Path) -> None:
    for fold, rows in tables(dealt).items():
        path = dealt / f"folds/fold-{fold}/unlabelled/moles/dataset.csv"
        with path.open(newline="", encoding="utf-8") as table:
            hidden = list(csv.DictReader(table))
        assert {row["image_id"] for row in hidden} == {row["image_id"] for row in rows if row["split"] == "train"}
        assert not {"melanoma", "diagnosis", "target"} & {*hidden[0]}
        assert {"age", "sex", "site"} <= {*hidden[0]}
        assert not any("melanoma" in text for row in hidden for text in row.values())


def test_images_without_a_label_and_duplicates_are_in_no_fold(tmp_path: Path, moles: Callable[..., Path]) -> None:
    folder = moles(tmp_path / "moles", 24)
    rows = read_table(folder / "dataset.csv")
    rows[0] |= {"melanoma": "", "diagnosis": ""}
    (folder / "images/m5.png").write_bytes((folder / "images/m2.png").read_bytes())
    write_table(folder / "dataset.csv", rows)
    how = CrossValidationSetup(ROLES, 3, tmp_path / "folds")
    write_folds({"A": (folder,)}, how, RunContext())
    role = read_folds({"A": (folder,)}, how)["A"]
    assert (role.images, role.unlabeled, role.duplicates) == (22, 1, 1)
    assert {row["split"] for row in tables(tmp_path)[1] if not row["fold"]} == {"no answer", "duplicate"}


def test_one_class_is_rejected(tmp_path: Path, moles: Callable[..., Path]) -> None:
    folder = moles(tmp_path / "moles", 12)
    rows = [{**row, "melanoma": "0"} for row in read_table(folder / "dataset.csv")]
    write_table(folder / "dataset.csv", rows)
    with pytest.raises(InputError, match=r"A: 0 melanomas and 12 others.*3 folds need 3 of both"):
        write_folds({"A": (folder,)}, CrossValidationSetup(ROLES, 3, tmp_path / "folds"), RunContext())


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

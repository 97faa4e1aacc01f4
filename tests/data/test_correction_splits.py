"""The split of a correction is stored with it and does not change later."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.data.corrections import Correction, Corrections, PatientSplits


def drawn(seed: int, **values: object) -> Correction:
    """A correction of a photograph that no other seed gives."""
    rgb = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Correction(name=f"i{seed}", rgb=rgb, **{"review": "corrected", "mask": rgb[..., 0] > 99, **values})


@pytest.fixture
def corrections(tmp_path: Path) -> Corrections:
    return Corrections(tmp_path / "corrections")


def splits(corrections: Corrections) -> list[str]:
    return [row["split"] for row in corrections.rows()]


def test_the_fourth_patient_is_in_validation_and_every_fifth_after(corrections: Corrections) -> None:
    """Two photographs of each, stored one by one and as one; what was rejected counts like any other."""
    for seed in range(12):
        corrections.add(drawn(seed, patient_id=f"p{seed // 2}", review=("accepted", "rejected")[seed % 2]))
    corrections.add_all(drawn(seed, patient_id=f"p{seed // 2}") for seed in range(12, 40))
    patients = {row["patient_id"]: row["split"] for row in corrections.rows()}
    assert [name for name, split in patients.items() if split == "test"] == ["p3", "p8", "p13", "p18"]
    assert splits(corrections)[::2] == splits(corrections)[1::2] == list(patients.values())
    assert set(patients.values()) == {"train", "test"}


def test_later_rows_move_no_group(corrections: Corrections) -> None:
    corrections.add_all(drawn(seed) for seed in range(9))
    before = splits(corrections)
    for seed in range(9):
        corrections.add(drawn(seed, review="rejected"))
    assert splits(corrections) == before
    corrections.add(drawn(3, review="accepted", patient_id="found out later"))
    assert splits(corrections) == before
    corrections.remove("i0")
    corrections.add(drawn(9))
    assert splits(corrections)[:8] == before[1:]
    while corrections.undo() is not None:
        pass
    assert splits(corrections) == []


def test_undo_restores_the_split(corrections: Corrections) -> None:
    corrections.add_all(drawn(seed) for seed in range(4))
    corrections.remove("i3")
    corrections.undo()
    assert splits(corrections) == ["train", "train", "train", "test"]


def test_a_split_in_the_table_is_kept(corrections: Corrections, tmp_path: Path) -> None:
    corrections.add(drawn(0, patient_id="p"))
    table = tmp_path / "corrections/dataset.csv"
    table.write_text(table.read_text().replace(",train,", ",test,"))
    corrections.add(drawn(0, patient_id="p", review="accepted"))
    corrections.add(drawn(1, patient_id="p"))
    assert splits(corrections) == ["test", "test"]


def test_a_photograph_gets_the_split_of_its_patient(corrections: Corrections) -> None:
    corrections.add_all(drawn(seed, patient_id="p" if seed == 3 else None) for seed in range(4))
    corrections.add(drawn(0, patient_id="p"))
    assert splits(corrections) == ["test", "train", "train", "test"]


def test_rows_of_an_older_table_stay_without(corrections: Corrections, tmp_path: Path) -> None:
    """Training goes on to decide by their patients, as it did before."""
    corrections.add_all(drawn(seed, patient_id=f"p{seed}") for seed in range(5))
    table = tmp_path / "corrections/dataset.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    lines = [",".join(rows[0]), *(",".join((row | {"split": ""}).values()) for row in rows)]
    table.write_text("\n".join(lines) + "\n")
    corrections.add(drawn(0, review="accepted", patient_id="p0"))
    corrections.add(drawn(5, patient_id="p0"))
    corrections.add(drawn(6, patient_id="new"))
    assert splits(corrections) == [""] * 6 + ["train"]


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["train", "test", ""]), max_size=60))
def test_many_patients_to_learn_from_do_not_make_all_new_ones_judge(given_splits: list[str]) -> None:
    rows = [{"image_id": f"i{n}", "split": split} for n, split in enumerate(given_splits)]
    choice, found = PatientSplits(rows), []
    for number in range(10):
        row = {"image_id": f"new{number}"}
        found.append(choice.choose_split(row, None))
        choice.add_row({**row, "split": found[-1]})
    assert found.count("test") == 2

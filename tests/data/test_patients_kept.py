"""Patients on import: unusual column names are recognized or reported, missing patients must be confirmed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.check import check_data
from napari_melanoma.data.collections import find_source
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.dataset_import import SourceImportOptions, SourceImportReport, import_source
from napari_melanoma.data.mask_import import MaskImportOptions, MaskImportReport, import_masks
from napari_melanoma.data.splits import SplitOptions, split_dataset
from napari_melanoma.io.results import read_table, write_mask, write_table

PATIENTS, EACH = 5, 3
NAMES = [f"{chr(97 + patient)}{image}x{patient * 7 + image}" for patient in range(PATIENTS) for image in range(EACH)]
HEADERS = [
    "PatNr",
    "Pat. Nr.",
    "PATIENT-ID",
    "patientNumber",
    "SubjectID",
    "Patienten_Nummer",
    "MRN",
    "id_paciente",
    "Pt No",
]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Photographs with masks of five patients, whom no file name betrays."""
    for seed, name in enumerate(NAMES):
        rgb = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        (tmp_path / "photographs").mkdir(exist_ok=True)
        Image.fromarray(rgb).save(tmp_path / "photographs" / f"{name}.png")
        mask = np.zeros((40, 60), bool)
        mask[5:25, 5 : 20 + seed] = True
        write_mask(tmp_path / "masks" / f"{name}.png", mask)
    return tmp_path / "photographs"


def table(path: Path, header: str) -> Path:
    rows = [f"{name};P{place // EACH};{30 + place};left arm" for place, name in enumerate(NAMES)]
    path.write_text("\n".join([f"Bild-Nr;{header};AgeYears;BodySite", *rows]), encoding="utf-8")
    return path


def masks_in(photographs: Path, **options: object) -> MaskImportReport:
    out = photographs.parent / "set"
    parsed = MaskImportOptions.parse(options, "the test")
    return import_masks(photographs.parent / "masks", photographs, out, parsed, run=RunContext())


def folder_in(photographs: Path, **options: bool) -> SourceImportReport:
    out = photographs.parent / "set"
    return import_source(
        find_source("folder"), photographs.parent, out, SourceImportOptions(**options), run=RunContext()
    )


@pytest.mark.parametrize("header", HEADERS)
def test_a_patient_is_in_one_split_for_any_column_name(photographs: Path, header: str) -> None:
    masks_in(photographs, metadata=table(photographs.parent / "odd.csv", header))
    split_dataset(photographs.parent / "set", SplitOptions(val=0.2, test=0.2, replace=True), run=RunContext())
    rows = read_table(photographs.parent / "set/dataset.csv")
    splits = {(row["patient_id"], row["split"]) for row in rows}
    assert len(splits) == len({patient for patient, _ in splits}) == PATIENTS
    assert {(row["age"], row["site"]) for row in rows} == {(str(30 + n), "upper extremity") for n in range(15)}


def test_a_folder_with_such_a_table(photographs: Path) -> None:
    table(photographs.parent / "patients.csv", "PatNr")
    folder_in(photographs)
    rows = read_table(photographs.parent / "set/dataset.csv")
    assert len({row["patient_id"] for row in rows}) == PATIENTS
    assert {row["mask_path"] != "" for row in rows if "mask_path" in row} <= {True}


@pytest.mark.parametrize("bring", [masks_in, folder_in])
def test_without_patients_nothing_is_written_until_that_is_confirmed(photographs: Path, bring) -> None:
    expected = (
        r"expected a table .*; found no table.*both training and test set\. Name the table with --metadata FILE.*; if"
    )
    with pytest.raises(DataSetError, match=expected):
        bring(photographs)
    assert not (photographs.parent / "set").exists()
    report = bring(photographs, no_patients=True)
    assert "patient_id" not in dict(report.notes)


def test_a_column_that_may_be_the_patient_is_named_in_the_error(photographs: Path) -> None:
    odd = table(photographs.parent / "metadata.csv", "Patinet_ID")
    expected = r'with --map FILE\.toml \(the line Patinet_ID = "patient_id" below \[columns\]\)'
    with pytest.raises(DataSetError, match=expected):
        masks_in(photographs, metadata=odd)
    with pytest.raises(DataSetError, match=expected):
        folder_in(photographs)


def test_unknown_columns_are_listed_with_the_most_similar_known_one(photographs: Path) -> None:
    odd = photographs.parent / "odd.csv"
    odd.write_text("image,patient,Gendr,shoe\n" + "\n".join(f"{name},P,f,42" for name in NAMES), encoding="utf-8")
    notes = dict(masks_in(photographs, metadata=odd).notes)
    assert "The most similar known column is sex" in notes["Gendr"]
    assert notes["columns"] == "not recognized (left out): shoe"


def test_rows_without_a_patient_are_counted(photographs: Path) -> None:
    odd = photographs.parent / "odd.csv"
    rows = [f"{name},{'P1' if place else ''}" for place, name in enumerate(NAMES)]
    odd.write_text("image,patient\n" + "\n".join(rows), encoding="utf-8")
    assert (
        "patient_id",
        "1 of 15 rows name no patient: images of one patient may then be in both training and test set",
    ) in (masks_in(photographs, metadata=odd).notes)


@pytest.mark.parametrize(
    ("header", "cells", "about"),
    [
        ("Fallnummer", [f"F{n // EACH}" for n in range(15)], "Fallnummer"),
        ("Patinet_ID", [f"P{n // EACH}" for n in range(15)], "Patinet_ID"),
        ("note", ["x"] * 15, "image_id"),
    ],
)
def test_probable_leaks_are_found_by_the_check(tmp_path: Path, header: str, cells: list[str], about: str) -> None:
    names = NAMES if about != "image_id" else [f"P{n // EACH:03}_{n % EACH}" for n in range(15)]
    splits = ["train", "train", "test"] * PATIENTS
    rows = [",".join(row) for row in zip(names, cells, splits, strict=True)]
    (tmp_path / "dataset.csv").write_text(f"image_id,{header},split\n" + "\n".join(rows), encoding="utf-8")
    faults = dict(check_data(tmp_path / "dataset.csv", run=RunContext()).faults)
    assert "probable patient leak" in faults[about]
    assert "suggest 5 patients, 5 of them in several splits" in faults[about]
    assert "the column" not in faults[about] or f"the values of the column {header} suggest" in faults[about]


def test_a_group_of_patients_is_no_leak(tmp_path: Path) -> None:
    rows = [f"x{n},{'AB'[n % 2]},{('train', 'test')[n % 3 > 1]}" for n in range(15)]
    (tmp_path / "dataset.csv").write_text("image_id,patient_group,split\n" + "\n".join(rows), encoding="utf-8")
    assert not [fault for fault in check_data(tmp_path / "dataset.csv", run=RunContext()).faults if "leak" in fault[1]]


@pytest.mark.parametrize("names", [[f"ISIC_{n:07}" for n in range(40)], [f"IMD{n:03}" for n in range(40)]])
def test_running_numbers_are_no_patients(tmp_path: Path, names: list[str]) -> None:
    rows = [f"{name},{'train' if place % 3 else 'test'}" for place, name in enumerate(names)]
    (tmp_path / "dataset.csv").write_text("image_id,split\n" + "\n".join(rows), encoding="utf-8")
    check = check_data(tmp_path / "dataset.csv", run=RunContext())
    assert check.faults == []
    assert not any("patients" in message for _, message in check.notes)


@pytest.mark.parametrize("name", ["patienten.csv", "Liste 2024.xlsx", "sub/fotos.tsv"])
def test_a_table_of_another_name_is_named_in_the_refusal(photographs: Path, name: str) -> None:
    (photographs.parent / name).parent.mkdir(exist_ok=True)
    table(photographs.parent / name, "PatNr")
    with pytest.raises(DataSetError, match=f"{name} was not read.*--metadata FILE.*image_id") as error:
        folder_in(photographs)
    assert "no table" not in str(error.value)
    assert name in [about for about, _ in folder_in(photographs, no_patients=True).notes]


def test_a_table_without_a_column_for_the_images_is_named_too(photographs: Path) -> None:
    (photographs.parent / "metadata.csv").write_text("PatNr,Alter\nP1,30\n", encoding="utf-8")
    with pytest.raises(DataSetError, match=r"metadata\.csv was not read.*column that names the images"):
        folder_in(photographs)
    notes = folder_in(photographs, no_patients=True).notes
    assert any(about == "metadata.csv" and "found PatNr, Alter" in message for about, message in notes)


def test_import_masks_suggests_a_table_next_to_the_photographs(photographs: Path) -> None:
    table(photographs / "patienten.csv", "PatNr")
    with pytest.raises(DataSetError, match=r"patienten\.csv was not read.*--metadata FILE"):
        masks_in(photographs)
    assert masks_in(photographs, metadata=photographs / "patienten.csv").added


@pytest.mark.parametrize("header", [*HEADERS, "patient_id"])
def test_a_data_set_with_such_a_column_keeps_patients_together(tmp_path: Path, header: str) -> None:
    """The table of a data set that was written by hand, in the words of a clinic."""
    for number in range(24):
        rgb = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(rgb).save(tmp_path / f"images/x{number}.png")
    rows = [{"image_id": f"x{number}", header: f"P{number // 4}"} for number in range(24)]
    write_table(tmp_path / "dataset.csv", rows)
    groups = {sample.group for sample in read_dataset(tmp_path)}
    assert len(groups) == check_data(tmp_path, run=RunContext()).groups == 6
    split_dataset(tmp_path, SplitOptions(val=0.2, test=0.2), run=RunContext())
    splits: dict[str, set[str]] = {}
    for row in read_table(tmp_path / "dataset.csv"):
        splits.setdefault(row[header], set()).add(row["split"])
    assert all(len(parts) == 1 for parts in splits.values())

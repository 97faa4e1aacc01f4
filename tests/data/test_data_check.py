"""Checks of a data set: every fault is found, and a valid data set has none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.check import DataCheck, check_data
from napari_melanoma.data.collections import find_source
from napari_melanoma.data.corrections import Correction, Corrections
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.dataset_import import SourceImportOptions, import_source
from napari_melanoma.data.splits import split_trainable
from napari_melanoma.io.results import read_table, write_mask, write_table
from napari_melanoma.training.recipe import DataConfig

NOT_NAMED = "not named in the table, so not used: add a row for each, or remove them"


def check(folder: Path) -> DataCheck:
    return check_data(folder, run=RunContext())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four good images of three patients."""
    folder = tmp_path / "set"
    rng = np.random.default_rng(0)
    mask = np.zeros((20, 30), bool)
    mask[:10, :15] = True
    (folder / "images").mkdir(parents=True)
    for name in "abcd":
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(folder / f"images/{name}.png")
        write_mask(folder / f"masks/{name}.png", mask)
    rows = [
        {"image_id": "a", "patient_id": "p", "split": "train", "diagnosis": "nevus", "review": "corrected"},
        {"image_id": "b", "patient_id": "p", "split": "train", "diagnosis": "nevus", "review": "accepted"},
        {"image_id": "c", "patient_id": "q", "split": "val", "diagnosis": "", "review": "rejected"},
        {"image_id": "d", "patient_id": "r", "split": "", "diagnosis": "", "review": ""},
    ]
    write_table(folder / "dataset.csv", rows)
    return folder


def test_the_assumed_range_of_images_is_noted_by_import_and_check(folder: Path) -> None:
    deep = np.random.default_rng(9).integers(0, 4096, (20, 30, 3), dtype=np.uint16)
    overshoot = np.random.default_rng(8).random((20, 30, 3), dtype=np.float32)
    overshoot[0, 0] = 1.02
    source = folder.parent / "source"
    source.mkdir()
    for name, values in {"x": deep, "y": deep[::-1], "z": overshoot}.items():
        tifffile.imwrite(source / f"{name}.tif", values, photometric="rgb", metadata=None)
        write_mask(source / f"{name}_mask.png", np.arange(600).reshape(20, 30) < 300)
    expected = [
        ("images", "x, y: its 16-bit channels were read as 12-bit values, as no value exceeds 4095"),
        ("images", "z: its floating-point values were read as 0 to 1; those outside were clipped"),
    ]
    options = SourceImportOptions(no_patients=True)
    report = import_source(find_source("folder"), source, folder.parent / "out", options, run=RunContext())
    assert [note for note in report.notes if note[0] == "images"] == expected
    assert [note for note in check(folder.parent / "out").notes if note[0] == "images"] == expected


def test_a_good_data_set(folder: Path) -> None:
    found = check(folder)
    assert (found.images, found.masks, found.usable, found.groups) == (4, 4, 3, 3)
    assert found.reviews == {"corrected": 1, "accepted": 1, "rejected": 1, "not reviewed": 1}
    assert found.splits == {"train": 2, "val": 1, "(none)": 1}
    assert found.diagnoses == {"nevus": 2, "(none)": 2}
    assert (found.shorter_side_px, found.longer_side_px) == ((20, 20, 20), (30, 30, 30))
    assert found.lesion_percent == (25.0, 25.0, 25.0)
    assert (found.faults, found.notes) == ([], [])


def test_labels_of_readers_and_embeddings(folder: Path) -> None:
    (folder / "embeddings" / "model").mkdir(parents=True)
    (folder / "embeddings" / "model" / "0.npz").write_bytes(b"")
    good = '[{"diagnosis": "nevus", "reader": "Ana", "at": "2026", "drawn": ""}]'
    rows = [row | {"diagnosis_labels": good} for row in read_table(folder / "dataset.csv")]
    write_table(folder / "dataset.csv", rows)
    assert check(folder).faults == []
    for cell in (good[:-1], '["nevus"]', '[{"diagnosis": 1, "reader": "Ana"}]', "nevus"):
        write_table(folder / "dataset.csv", [rows[0] | {"diagnosis_labels": cell}, *rows[1:]])
        ((about, message),) = check(folder).faults
        assert about == "a"
        assert "the labels of 'a' cannot be read (column diagnosis_labels" in message


def changed(folder: Path, which: str, **values: str) -> None:
    rows = [{**row, **values} if row["image_id"] == which else row for row in read_table(folder / "dataset.csv")]
    write_table(folder / "dataset.csv", rows)


FAULTS: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("missing image", lambda f: (f / "images/a.png").unlink(), "the table", "the image of 'a' is missing"),
    ("repeated id", lambda f: changed(f, "b", image_id="a"), "the table", "repeats image_id a"),
    ("no image", lambda f: (f / "images/a.png").write_bytes(b"text"), "a", "holds text"),
    ("no mask", lambda f: (f / "masks/a.png").write_bytes(b"text"), "a", "cannot be read as a mask"),
    ("size", lambda f: write_mask(f / "masks/a.png", np.ones((9, 9), bool)), "a", "9 x 9 pixels, the image 30 x 20"),
    ("review", lambda f: changed(f, "a", review="ok"), "review", "'ok' (1); row a. Expected unreviewed, accepted"),
    ("patient", lambda f: changed(f, "a", split="val"), "p", "is in more than one split: train, val"),
    ("twice", lambda f: shutil.copy(f / "images/a.png", f / "images/c.png"), "c", "shows the same pixels as a"),
]


@pytest.mark.parametrize(
    ("corrupt", "about", "message"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS]
)
def test_a_fault_is_found(folder: Path, corrupt: Callable[[Path], object], about: str, message: str) -> None:
    corrupt(folder)
    ((found_about, found_said),) = check(folder).faults
    assert found_about == about
    assert message in found_said


def test_an_unknown_split_is_reported_and_never_trained_on(folder: Path) -> None:
    """With an empty cell, the image could be trained on; a recipe may name other splits than ours."""
    changed(folder, "c", split="tset", review="Accepted")
    changed(folder, "d", split=" test ")
    rows = "not understood in 1 row: 'tset' (1); row c. Expected train, val, test: rows with another split are neither "
    for target in (folder, folder / "dataset.csv"):
        found = check(target)
        assert found.faults == []
        assert [message for about, message in found.notes if about == "split"] == [
            f"{rows}trained on nor tested, unless an option names it"
        ]
    parts = split_trainable(read_dataset(folder), DataConfig(datasets=(str(folder),)), seed=0)
    ids = [[sample.image_id for sample in part] for part in (parts.training + parts.validation, parts.test)]
    assert ids == [["a", "b"], ["d"]]
    assert "review" in dict(check(changed_table(folder, "a", review="ok")).faults)


def changed_table(folder: Path, which: str, **values: str) -> Path:
    changed(folder, which, **values)
    return folder / "dataset.csv"


def test_copies_that_stay_together_are_no_fault(folder: Path) -> None:
    shutil.copy(folder / "images/a.png", folder / "images/b.png")
    assert check(folder).faults == []


def test_notes_are_no_faults(folder: Path) -> None:
    write_mask(folder / "masks/a.png", np.zeros((20, 30), bool))
    write_mask(folder / "masks/b.png", np.ones((20, 30), bool))
    (folder / "masks/c@2.png").write_bytes(b"an older one")
    found = check(folder)
    assert found.faults == []
    assert found.notes == [
        ("a", "its mask is empty"),
        ("b", "its mask covers the whole image"),
        ("masks", f"1 file {NOT_NAMED}"),
    ]


def test_images_without_masks(folder: Path) -> None:
    shutil.rmtree(folder / "masks")
    found = check(folder)
    assert (found.masks, found.usable, found.lesion_percent, found.faults) == (0, 0, (), [])


def test_faults_within_the_table(tmp_path: Path) -> None:
    rows = [
        {
            "image_id": "a",
            "path": "",
            "patient_id": "p",
            "split": "train",
            "age": "430",
            "sex": "f ",
            "site": "Glabella",
        },
        {"image_id": "b", "path": "", "patient_id": "p", "split": "test", "age": "45", "sex": "x", "site": "Rücken"},
    ]
    write_table(tmp_path / "dataset.csv", [{**row, "lesion_id": ""} for row in rows])
    found = check(tmp_path)
    assert (found.rows, found.images, found.groups, found.splits) == (2, 0, 1, {"train": 1, "test": 1})
    assert found.faults == [
        ("p", "is in more than one split: test, train"),
        ("age", "impossible in 1 row: '430' (1); row a"),
    ]
    assert found.notes == [
        ("path", "2 rows have no image: a, b"),
        ("site", "not understood in 1 row: 'Glabella' (1); row a"),
        ("sex", "not understood in 1 row: 'x' (1); row b"),
        ("columns", "no row has a value in path, lesion_id"),
    ]


def test_some_rows_without_a_patient_are_reported(tmp_path: Path) -> None:
    rows = [{"image_id": f"i{n}", "patient_id": "" if n < 5 else f"p{n}"} for n in range(40)]
    write_table(tmp_path / "rows.csv", rows)
    ((_, message),) = [note for note in check(tmp_path / "rows.csv").notes if note[0] == "patient_id"]
    assert message.startswith("5 of 40 rows name no patient (i0, i1, i2 and 2 more): images of one patient may")
    write_table(tmp_path / "rows.csv", rows[5:])
    assert [note for note in check(tmp_path / "rows.csv").notes if note[0] == "patient_id"] == []
    write_table(tmp_path / "rows.csv", [{**row, "patient_id": ""} for row in rows])
    assert not any("rows name no patient" in message for _, message in check(tmp_path / "rows.csv").notes)


def test_row_without_split_is_not_reported_as_a_leak(tmp_path: Path) -> None:
    rows = [
        *({"image_id": f"{n}{s}", "patient_id": f"p{n}", "split": s} for n in range(5) for s in ("train", "")),
        *({"image_id": f"q{s}", "patient_id": "q", "split": s} for s in ("train", "test", "")),
    ]
    write_table(tmp_path / "rows.csv", rows)
    found = check(tmp_path / "rows.csv")
    assert found.faults == [("q", "is in more than one split: test, train")]
    message = "missing in some rows of 5 patients, lesions or pictures such as p0, p1, p2"
    assert found.notes == [("split", f"{message}: data split assigns them the split of the others")]


def test_near_duplicates_in_different_splits_are_faults(tmp_path: Path) -> None:
    rows = [
        {"image_id": "a", "lesion_id": "l", "near_duplicate_of": "b", "split": "train"},
        {"image_id": "b", "lesion_id": "m", "near_duplicate_of": "c", "split": "test"},
        {"image_id": "c", "lesion_id": "n", "near_duplicate_of": "", "split": ""},
    ]
    write_table(tmp_path / "rows.csv", rows)
    assert check(tmp_path / "rows.csv").faults == [
        ("l", "is in more than one split: test, train (joined by a lesion or a copy: l, m, n)")
    ]


def test_the_same_picture_without_split_is_no_leak(folder: Path) -> None:
    Image.open(folder / "images/a.png").resize((60, 40)).save(folder / "images/d.png")
    write_mask(folder / "masks/d.png", np.ones((40, 60), bool))
    assert check(folder).faults == []


def test_excluded_rows_are_no_fault(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    write_table(table, [{"image_id": "a", "age": "", "age_as_given": "430"}, {"image_id": "b", "age": "45"}])
    found = check(table)
    assert (found.faults, found.notes) == ([], [("age_as_given", "stored as given in 1 row: '430' (1)")])


def test_images_that_no_row_names(folder: Path) -> None:
    shutil.copy(folder / "images/a.png", folder / "images/stray.png")
    assert check(folder).notes == [("images", f"1 file {NOT_NAMED}")]


def test_earlier_masks_of_corrections_are_no_note(tmp_path: Path) -> None:
    """Masks that were replaced are kept for undo: there is nothing to do about them."""
    corrections = Corrections(tmp_path)
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for columns in (10, 20):
        mask = np.zeros((20, 30), bool)
        mask[5:10, 5:columns] = True
        corrections.add(Correction(name="a", rgb=rgb, mask=mask, review="corrected", patient_id="p"))
    assert len(list((tmp_path / "masks").iterdir())) == 2
    assert check(tmp_path).notes == []
    (tmp_path / "masks" / "stray.png").write_bytes(b"")
    assert check(tmp_path).notes == [("masks", f"1 file {NOT_NAMED}")]


def test_a_table_alone(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    write_table(table, [{"image_id": "a", "dx": "NV", "split": "train"}, {"image_id": "a", "dx": "", "split": "val"}])
    found = check(table)
    assert (found.rows, found.images, found.diagnoses) == (2, 0, {"nevus": 1, "(none)": 1})
    assert found.faults == [
        ("a", "is in more than one split: train, val"),
        ("image_id", "each row needs its own id; found several times: 'a' (2)"),
    ]


def test_empty_columns_are_noted(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    write_table(table, [{"image_id": "a", "age": "", "sex": "unknown"}, {"image_id": "b", "age": "NA", "sex": ""}])
    found = check(table)
    assert (found.faults, found.diagnoses) == ([], {"(none)": 2})
    assert found.notes == [("columns", "no row has a value in age, sex")]


def test_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="is not a data set"):
        check(tmp_path)


def test_real_data(shared_data: Path) -> None:
    found = check(shared_data / "ph2")
    assert (found.images, found.usable, found.faults) == (120, 120, [])


def test_label_images_are_no_strange_masks(tmp_path: Path) -> None:
    """A label image with one class is valid; its values are listed, as a recipe has to name them."""

    from napari_melanoma.io.results import write_labels, write_rgb

    random = np.random.default_rng(0)
    for name, values in (("mixed", 4), ("glass", 1), ("dermis", 2)):
        write_rgb(tmp_path / f"images/{name}.png", random.integers(0, 256, (64, 64, 3)).astype(np.uint8))
        write_labels(tmp_path / f"masks/{name}.png", random.integers(0, values, (64, 64)).astype(np.uint8))
    write_table(tmp_path / "dataset.csv", [{"image_id": name} for name in ("mixed", "glass", "dermis")])
    found = check_data(tmp_path, run=RunContext())
    assert not found.faults
    assert (
        "masks",
        "1 is a label image (values 0, 1, 2, 3): name the classes in a recipe's 'classes'",
    ) in found.notes
    assert not any("mask is empty" in message for _, message in found.notes)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (("007", "7", "7.0", "8"), "007 and 7 and 7.0? The"),
        (("P1", "p1", "P 1", "P10"), "P 1 and P1 and p1? The"),
        (("P01", "P1", "Q1"), "P01 and P1? The"),
        (("1.5", "15", "1-5", "10", "100", "P0", "Q0"), ""),
    ],
)
def test_ids_that_may_be_one_patient_are_a_question(tmp_path: Path, ids: tuple[str, ...], expected: str) -> None:
    rows = [f"x{number},{patient}" for number, patient in enumerate(ids)]
    (tmp_path / "table.csv").write_text("image_id,patient_id\n" + "\n".join(rows) + "\n")
    check = check_data(tmp_path / "table.csv", run=RunContext())
    found = [message for about, message in check.notes if "one patient each" in message]
    assert ([expected in message for message in found] == [True]) if expected else not found
    assert check.faults == []

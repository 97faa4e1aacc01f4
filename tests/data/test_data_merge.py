"""Merging of data sets without loss of information, and without leaks between splits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.collections import find_source
from napari_melanoma.data.dataset import DatasetEntry, Sample, iter_entries, read_dataset
from napari_melanoma.data.dataset_import import import_source
from napari_melanoma.data.dataset_report import describe_dataset, format_markdown
from napari_melanoma.data.diagnosis_labels import read_diagnoses
from napari_melanoma.data.merging import MergeOptions, MergeReport, merge_datasets
from napari_melanoma.data.splits import SplitOptions, choose_splits, split_dataset
from napari_melanoma.data.table_schema import check_value, find_column
from napari_melanoma.io.results import read_table, write_mask, write_table


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((64, 48), Image.Resampling.BICUBIC)


def dataset(folder: Path, rows: Mapping[str, tuple[int, dict[str, str]]], size: tuple[int, int] = (64, 48)) -> Path:
    """Write a data set: image id to the number of its picture and its row."""
    (folder / "images").mkdir(parents=True)
    mask = np.zeros(size[::-1], bool)
    mask[:10, :10] = True
    for image_id, (seed, _) in rows.items():
        picture(seed).resize(size).save(folder / f"images/{image_id}.png")
        write_mask(folder / f"masks/{image_id}.png", mask)
    write_table(folder / "dataset.csv", [{"image_id": image_id, **row} for image_id, (_, row) in rows.items()])
    return folder


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two years of a challenge: picture 1 is in both, learnt from in one and evaluated on in the other."""
    first = {
        "a": (0, {"split": "train", "patient_id": "p1"}),
        "b": (1, {"split": "train", "diagnosis": "melanoma", "age": "50"}),
        "c": (2, {"split": "val"}),
    }
    second = {
        "a": (3, {"split": "train", "camera": "X"}),
        "z": (1, {"split": "test", "age": "51", "near_duplicate_of": "a"}),
    }
    return [dataset(tmp_path / "first", first), dataset(tmp_path / "second", second, (80, 60))]


def merged(folders: list[Path], out: Path, **options: bool) -> MergeReport:
    return merge_datasets(folders, out, MergeOptions(**options), run=RunContext())


def test_a_duplicate_is_kept_in_the_test_split(two: list[Path], tmp_path: Path) -> None:
    report = merged(two, tmp_path / "both")
    assert report.rows == report.images == {"first": 2, "second": 2}
    ((pair),) = report.left_out
    assert (pair.first.image_id, pair.second.image_id) == ("z", "b")
    rows = {row["image_id"]: row for row in read_table(tmp_path / "both/dataset.csv")}
    assert set(rows) == {"first-a", "c", "second-a", "z"}
    assert (rows["z"]["split"], rows["z"]["age"], rows["z"]["diagnosis"]) == ("test", "51", "melanoma")
    assert rows["z"]["near_duplicate_of"] == "second-a"
    assert (rows["second-a"]["camera"], rows["second-a"]["source"], rows["first-a"]["patient_id"]) == (
        "X",
        "second",
        "p1",
    )
    assert [sample.mask is not None for sample in read_dataset(tmp_path / "both")] == [True] * 4
    (line,) = read_table(tmp_path / "both/left_out.csv")
    assert (line["data_set_1"], line["image_1"], line["image_2"]) == ("second", "z", "b")


def test_values_of_left_out_duplicates_are_listed_and_references_updated(tmp_path: Path) -> None:
    first = {
        "a": (0, {"split": "train", "target": "1", "age": "50", "site": "arm"}),
        "b": (1, {"near_duplicate_of": "a"}),
    }
    second = {"z": (0, {"split": "test", "target": "0", "age": "50", "diagnosis": ""})}
    folders = [dataset(tmp_path / "first", first), dataset(tmp_path / "second", second, (80, 60))]
    report = merged(folders, tmp_path / "both")
    assert [(one.column, one.taken, one.other, one.other_from) for one in report.conflicts] == [
        ("target", "0", "1", "first")
    ]
    rows = {row["image_id"]: row for row in read_table(tmp_path / "both/dataset.csv")}
    assert (rows["z"]["target"], rows["z"]["site"], rows["z"]["near_duplicate_of"]) == ("0", "upper extremity", "")
    assert rows["b"]["near_duplicate_of"] == "z"


def test_a_patient_with_two_names_is_noted(tmp_path: Path) -> None:
    first = {"a": (0, {"split": "train", "patient_id": "1"}), "b": (1, {"split": "train", "patient_id": "1"})}
    second = {"c": (1, {"split": "test", "patient_id": "P1"}), "d": (2, {"split": "train", "patient_id": "P2"})}
    folders = [dataset(tmp_path / "first", first), dataset(tmp_path / "second", second)]
    (note,) = (message for about, message in merged(folders, tmp_path / "both").notes if about == "patient_id")
    assert note.startswith("1 patient has different names in the data sets")
    assert "(P1 in second is 1 in first)" in note


def test_patients_of_one_name_in_two_data_sets_are_noted(tmp_path: Path) -> None:
    first = {"a": (0, {"split": "train", "patient_id": "1"}), "b": (1, {"split": "train", "patient_id": "unknown"})}
    second = {"c": (2, {"split": "train", "patient_id": "1"}), "d": (3, {"split": "train", "patient_id": "unknown"})}
    folders = [dataset(tmp_path / "first", first), dataset(tmp_path / "second", second)]
    (note,) = (message for about, message in merged(folders, tmp_path / "both").notes if about == "patient_id")
    assert note == "1 patient is named in several data sets (1): if they are not the same, rename them"


def test_photographs_of_two_clinics_with_one_file_name_stay_apart(tmp_path: Path) -> None:
    """Corrections name the file of a photograph as its source, which cameras repeat."""
    row = {"source": "IMG_1.jpg", "split": "train"}
    first = {"IMG_1": (0, {**row, "patient_id": "p1", "diagnosis": "nevus"}), "IMG_2": (2, row)}
    second = {"IMG_1": (1, {**row, "patient_id": "q1", "diagnosis": "melanoma"}), "IMG_2": (2, row)}
    folders = [dataset(tmp_path / "first", first), dataset(tmp_path / "second", second)]
    report = merged(folders, tmp_path / "both")
    assert (report.joined, report.conflicts) == (1, [])
    rows = {row["image_id"]: (row["patient_id"], row["diagnosis"]) for row in read_table(tmp_path / "both/dataset.csv")}
    assert rows == {"first-IMG_1": ("p1", "nevus"), "IMG_2": ("", ""), "second-IMG_1": ("q1", "melanoma")}


def test_the_lesion_of_another_patient_is_not_taken(tmp_path: Path) -> None:
    first = {"a": (0, {"patient_id": "p1"}), "b": (1, {"patient_id": "p1", "lesion_id": "1"})}
    second = {"c": (0, {"patient_id": "q1", "lesion_id": "1"})}
    report = merged([dataset(tmp_path / "first", first), dataset(tmp_path / "second", second)], tmp_path / "both")
    rows = {row["image_id"]: row["lesion_id"] for row in read_table(tmp_path / "both/dataset.csv")}
    assert rows == {"a": "", "b": "1"}
    assert {one.column for one in report.conflicts} == {"patient_id", "lesion_id"}


def test_duplicates_are_kept_on_request(two: list[Path], tmp_path: Path) -> None:
    assert merged(two, tmp_path / "both", keep_duplicates=True).rows == {"first": 3, "second": 2}


def test_one_data_set_cannot_be_merged(two: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="expected two or more"):
        merged(two[:1], tmp_path / "both")
    with pytest.raises(DataSetError, match="each data set must be specified once"):
        merged([two[0], two[0]], tmp_path / "both")


def test_a_split_keeps_patients_and_the_same_pictures_together(tmp_path: Path) -> None:
    rows = {f"i{n}": (n, {"patient_id": f"p{n // 2}", "diagnosis": "mel" if n < 6 else "nev"}) for n in range(30)}
    rows["again"] = (0, {"patient_id": "another", "diagnosis": "mel"})
    folder = dataset(tmp_path / "set", rows)
    report = split_dataset(folder, SplitOptions(val=0.2, test=0.2), run=RunContext())
    assert {(pair.first.image_id, pair.second.image_id) for pair in report.duplicates} == {("i0", "again")}
    assert report.groups == {"train": 9, "val": 3, "test": 3}
    assert sum(sum(counts.values()) for counts in report.counts.values()) == report.changed == 31
    of = {row["image_id"]: row["split"] for row in read_table(folder / "dataset.csv")}
    assert of["again"] == of["i0"]
    assert all(of[f"i{n}"] == of[f"i{n + 1}"] for n in range(0, 30, 2))
    again = split_dataset(folder, SplitOptions(val=0.2, test=0.2, seed=1), run=RunContext())
    assert again.changed == 0  # images that have a split keep it
    assert split_dataset(folder, SplitOptions(val=0.2, test=0.2, seed=1, replace=True), run=RunContext()).changed > 0


def test_classes_are_shared_out() -> None:
    classes = ["rare" if n < 20 else "common" for n in range(100)]
    many = [Sample(f"{n}", Path("x"), None, f"g{n}", "", "set", None, name) for n, name in enumerate(classes)]
    found = Counter(zip(choose_splits(many, SplitOptions(val=0.1, test=0.2)), classes, strict=True))
    shares = {"train": (14, 56), "val": (2, 8), "test": (4, 16)}
    assert found == {
        (split, name): n for split, (rare, common) in shares.items() for name, n in (("rare", rare), ("common", common))
    }


def test_a_report_describes_a_data_set(two: list[Path]) -> None:
    report = describe_dataset(two[0], run=RunContext())
    assert (report.images, report.masks, report.patients, report.groups, report.largest_group) == (3, 3, 1, 3, 1)
    assert report.counts["diagnosis"] == {"melanoma": 1}
    assert (report.missing["diagnosis"], report.age, report.by_split["val"]) == (2, (50, 50, 50), {"(not known)": 1})
    text = format_markdown(report)
    assert "the largest has 1 image." in text
    assert "| melanoma | 1 | 33.3 |\n| (not known) | 2 | 66.7 |" in text
    assert "| (not known) | 1 | 1 |" in text


def test_a_bar_in_a_value_does_not_end_its_cell_in_the_report(tmp_path: Path) -> None:
    rows = [{"image_id": "a", "source": "x|y", "split": "train"}, {"image_id": "b", "split": "my|test"}]
    text = format_markdown(describe_dataset(table(tmp_path / "set", *rows), run=RunContext()))
    assert r"| x\|y | 1 | 50.0 |" in text
    assert r"| diagnosis | my\|test | train |" in text


def test_a_patient_with_rows_without_split_is_in_one_split_alone(tmp_path: Path) -> None:
    rows = [{"image_id": split or "x", "patient_id": "p", "split": split} for split in ("train", "")]
    assert describe_dataset(table(tmp_path / "set", *rows), run=RunContext()).in_two_splits == ()
    more = [*rows, {"image_id": "y", "patient_id": "p", "split": "test"}]
    assert describe_dataset(table(tmp_path / "more", *more), run=RunContext()).in_two_splits == ("more/p",)


def table(folder: Path, *rows: dict[str, str]) -> Path:
    """Write a data set of rows without images."""
    folder.mkdir()
    write_table(folder / "dataset.csv", rows, list(dict.fromkeys(column for row in rows for column in row)))
    return folder


def test_rows_about_one_image_become_one(tmp_path: Path) -> None:
    one, two, three = "ISIC_0000001", "ISIC_0000002", "ISIC_0000003"
    with_image = {one: (1, {"age_approx": "50", "split": "train"})}
    folders = [
        table(
            tmp_path / "mentioned",
            {"image_id": f"{one}_downsampled", "age": "55", "sex": "male", "split": "test"},
            {"image_id": two, "near_duplicate_of": f"{one}_downsampled"},
        ),
        dataset(tmp_path / "shown", with_image),
        table(tmp_path / "more", {"image_id": two, "site": "Rücken"}, {"image_id": three, "site": "nowhere"}),
    ]
    report = merged(folders, tmp_path / "all")
    assert (report.rows, report.images, report.joined) == ({"shown": 1, "mentioned": 1, "more": 1}, {"shown": 1}, 2)
    rows = {row["image_id"]: row for row in read_table(tmp_path / "all/dataset.csv")}
    assert {name: rows[one][name] for name in ("age", "sex", "split", "source", "also_in")} == {
        "age": "50",
        "sex": "male",
        "split": "test",  # what is evaluated on in one is not learnt from in another
        "source": "shown",
        "also_in": "mentioned",
    }
    assert (rows[two]["site"], rows[two]["near_duplicate_of"]) == ("posterior torso", one)
    assert (rows[three]["site"], rows[three]["site_as_given"]) == ("", "nowhere")
    (conflict,) = read_table(tmp_path / "all/conflicts.csv")
    assert list(conflict.values()) == [one, "age", "50", "shown", "55", "mentioned"]
    assert [(about, "nowhere" in message) for about, message in report.notes] == [("more/site", True)]
    entries = {
        entry.image_id: entry.image for entry in iter_entries(tmp_path / "all") if isinstance(entry, DatasetEntry)
    }
    assert {name: image is not None for name, image in entries.items()} == {one: True, two: False, three: False}
    assert {name: row["path"] for name, row in rows.items()} == {one: f"images/{one}.png", two: "", three: ""}


def test_every_row_is_kept_on_request(tmp_path: Path) -> None:
    folders = [table(tmp_path / name, {"image_id": "ISIC_0000001", "age": "50"}) for name in ("a", "b")]
    report = merged(folders, tmp_path / "all", keep_duplicates=True)
    assert (report.rows, report.joined) == ({"a": 1, "b": 1}, 0)
    assert [row["image_id"] for row in read_table(tmp_path / "all/dataset.csv")] == ["a-ISIC_0000001", "b-ISIC_0000001"]


def test_real_tables_make_one_valid_table(shared_data: Path, tmp_path: Path) -> None:
    names = ("lesion-size-2020", "isic2024-pathology", "pad-ufes-20")
    for name in names:
        import_source(find_source(name), shared_data / "metadata", tmp_path / name, run=RunContext())
    folders = [*(tmp_path / name for name in names), dataset(tmp_path / "pad", {"PAT_1516_1765_530": (1, {})})]
    report = merged(folders, tmp_path / "all")
    assert sum(report.rows.values()) == 1295 + 103 + 2298
    assert (report.joined, report.conflicts, report.images) == (1, [], {"pad": 1})
    found = read_table(tmp_path / "all/dataset.csv")
    columns = {name: column for name in found[0] if (column := find_column(name))}
    assert not [
        message for row in found for name, column in columns.items() if (message := check_value(column, row[name]))
    ]
    (shown,) = (row for row in found if row["image_id"] == "PAT_1516_1765_530")
    assert (shown["diagnosis"], shown["site"], shown["age"]) == ("nevus", "upper extremity", "8")


def test_what_belongs_to_the_files_of_another_data_set_is_not_filled_in(tmp_path: Path) -> None:
    one, two = "ISIC_0000001", "ISIC_0000002"
    scale = {"mpp_x": "10", "mpp_y": "10"}
    of_files = {
        "review": "corrected",
        "reviewer": "B",
        "model": "lesion-small",
        "model_fingerprint": "f",
        "prediction_path": "predictions/x.png",
        "image_sha256": "abc",
        "damage": "cut",
        "fold": "2",
    }
    folders = [
        dataset(tmp_path / "first", {one: (1, {"split": "test"}), two: (2, {"split": "train"})}),
        dataset(tmp_path / "larger", {one: (1, {**of_files, **scale, "age": "50"})}, (128, 96)),
        dataset(tmp_path / "equal", {two: (2, {**of_files, **scale})}),
    ]
    report = merged(folders, tmp_path / "all")
    rows = {row["image_id"]: row for row in read_table(tmp_path / "all/dataset.csv")}
    assert rows[one]["age"] == "50"
    assert not [name for name in (*of_files, *scale) if rows[one].get(name)], "a copy of another size has another scale"
    assert {name: text for name, text in rows[two].items() if name in (*of_files, *scale) and text} == scale
    assert report.conflicts == []


def test_a_test_image_is_kept_whatever_the_name_of_the_column(tmp_path: Path) -> None:
    folders = [
        dataset(tmp_path / "first", {"a": (0, {"split": "train"})}),
        dataset(tmp_path / "second", {"z": (0, {"partition": "test"})}, (80, 60)),
    ]
    ((pair),) = merged(folders, tmp_path / "both").left_out
    assert (pair.first.image_id, pair.first.split, pair.second.image_id) == ("z", "test", "a")


def test_groups_that_the_table_divides_are_reported(tmp_path: Path) -> None:
    rows = {
        "a": (0, {"patient_id": "p", "split": "train"}),
        "b": (1, {"patient_id": "p", "split": "test"}),
        "copy": (2, {"patient_id": "q", "split": "train"}),
        "copied": (2, {"patient_id": "r", "split": "test"}),
        "new": (3, {"patient_id": "s"}),
    }
    folder = dataset(tmp_path / "set", rows)
    report = split_dataset(folder, SplitOptions(val=0), run=RunContext())
    assert report.duplicates == [], "the two are in different splits"
    assert report.questions[0].startswith("2 groups of images of one patient, lesion or picture (p, q) in more than")
    report = split_dataset(folder, SplitOptions(val=0, replace=True), run=RunContext())
    assert (report.questions, len(report.duplicates)) == ((), 1)


def labels(diagnosis: str, reader: str, at: str = "") -> dict[str, str]:
    cell = json.dumps([{"diagnosis": diagnosis, "reader": reader, "at": at, "drawn": ""}])
    return {"source": "clinic", "diagnosis": diagnosis, "diagnosis_labels": cell}


def test_no_reader_wins_by_the_order_of_data_sets(tmp_path: Path) -> None:
    own = {
        "a": (0, labels("nevus", "Ana")),
        "b": (1, labels("nevus", "Ana") | {"melanoma": "0"}),
        "c": (2, labels("nevus", "Ana", "2026-01-01")),
        "d": (3, labels("nevus", "Ana")),
    }
    others = {
        "a": (0, labels("nevus", "Ben")),
        "b": (1, labels("melanoma", "Ben") | {"diagnosis_detail": "melanoma in situ", "melanoma": "1"}),
        "c": (2, labels("melanoma", "ana ", "2026-02-01")),
        "e": (3, labels("melanoma", "Ben")),  # a duplicate under another name
    }
    folders = [dataset(tmp_path / "own", own), dataset(tmp_path / "others", others)]
    cells = []
    for order in (folders, folders[::-1]):
        report = merged(order, tmp_path / f"out-{order[0].name}")
        rows = read_table(tmp_path / f"out-{order[0].name}/dataset.csv")
        assert [len(read_diagnoses(row)) for row in rows] == [2, 2, 1, 2]
        assert [row["diagnosis"] for row in rows] == ["nevus", "", "melanoma", ""]
        assert not any(rows[1].get(column) for column in ("diagnosis_detail", "melanoma"))
        cells.append([row["diagnosis_labels"] for row in rows])
        listed = [(one.taken, one.other) for one in report.conflicts if one.column == "diagnosis" and not one.taken]
        assert sorted(listed) == [("", "melanoma")] * 2 + [("", "nevus")] * 2
    assert cells[0] == cells[1]


def test_no_diagnosis_wins_by_the_order_of_data_sets(tmp_path: Path) -> None:
    """Without labels of readers, too; each diagnosis counts as one by the reviewer of its row."""
    one, two = "ISIC_0000001", "ISIC_0000002"
    nevus, melanoma = {"diagnosis": "nevus", "target": "0"}, {"diagnosis": "melanoma", "target": "1"}
    folders = [
        dataset(tmp_path / "first", {one: (0, nevus), two: (1, {"reviewer": "Ana"}), "a": (2, nevus)}),
        dataset(tmp_path / "second", {one: (0, melanoma), two: (1, nevus), "b": (2, melanoma | {"reviewer": "Ben"})}),
        dataset(tmp_path / "third", {one: (0, melanoma), two: (1, melanoma), "c": (2, melanoma)}),
    ]
    cells = set()
    for order in permutations(folders):
        out = tmp_path / "-".join(folder.name for folder in order)
        report = merged(list(order), out)
        rows = read_table(out / "dataset.csv")
        assert [(row["diagnosis"], row["target"]) for row in rows] == [("", "")] * 3
        assert {(one.other, one.other_from) for one in report.conflicts if one.column == "diagnosis"} >= {
            ("nevus", "first"),
            ("nevus", "second"),
            ("melanoma", "third"),
        }
        cells.add(tuple(sorted(row["diagnosis_labels"] for row in rows)))
    assert len(cells) == 1, "the labels do not depend on the order either"
    assert any('"reader": "Ben"' in cell for cell in next(iter(cells))), "of a duplicate under another name"

"""Groups are the connected parts of a table, over patients, lesions and stated copies; everything uses the same."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_melanoma.core.context import NULL_CONTEXT
from napari_melanoma.data.check import check_data
from napari_melanoma.data.corrections import PatientSplits
from napari_melanoma.data.dataset import Sample, put_in_group, read_dataset
from napari_melanoma.data.dataset_report import describe_dataset
from napari_melanoma.data.groups import Groups
from napari_melanoma.data.merging import MergeOptions, merge_datasets
from napari_melanoma.data.splits import SplitOptions, _choose_test_groups, split_dataset, split_samples
from napari_melanoma.data.training_images import PUBLIC, HashedImages, find_trained_groups, make_training_images
from napari_melanoma.io.results import read_table, write_mask, write_table
from napari_melanoma.runs.folds import plan_folds
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import DataRow, read_data, write_data

Row = dict[str, str]


def row(image_id: str, patient: str = "", lesion: str = "", copy_of: str = "", **cells: str) -> Row:
    ids = {"image_id": image_id, "patient_id": patient, "lesion_id": lesion, "near_duplicate_of": copy_of}
    return {**ids, **cells}


@dataclass(frozen=True)
class Case:
    name: str
    rows: list[Row]
    groups: list[str]  # each with its images
    names: list[str]


CASES = [
    Case("a patient", [row("a", "p"), row("b", "p"), row("c", "q")], ["ab", "c"], ["p", "q"]),
    Case("a lesion of which one row names the patient", [row("a", "p", "l"), row("b", "", "l")], ["ab"], ["p"]),
    Case(
        "a lesion joins the photographs of its patient",
        [row("a", "p"), row("b", "p", "l"), row("c", "", "l"), row("d", "", "m")],
        ["abc", "d"],
        ["p", "m"],
    ),
    Case(
        "lesions of one name of two patients are two",
        [row("a", "p", "1"), row("b", "q", "1"), row("c", "", "1")],
        ["a", "b", "c"],
        ["p", "q", "1"],
    ),
    Case(
        "a lesion with the number of a patient",
        [row("a", "1"), row("b", "2", "1"), row("c", "", "1"), row("d", "", "2")],
        ["a", "bc", "d"],
        ["1", "2", "2 (lesion)"],
    ),
    Case(
        "a lesion of two spellings of a patient",
        [row("a", "1", "l"), row("b", "001", "l"), row("c", "", "l")],
        ["abc"],
        ["001"],
    ),
    Case(
        "words that mean unknown are no ids",
        [
            row("a", "unknown"),
            row("b", "n/a"),
            row("c", "p", "l"),
            row("d", "unknown", "l"),
            row("e", "-", "?", "none"),
        ],
        ["a", "b", "cd", "e"],
        ["a", "b", "p", "e"],
    ),
    Case("a copy without ids", [row("a", "p"), row("b", copy_of="a")], ["ab"], ["p"]),
    Case("copies of different patients", [row("a", "p"), row("b", "q", copy_of="a")], ["ab"], ["p"]),
    Case("a chain of copies", [row("a"), row("b", copy_of="a"), row("c", copy_of="b")], ["abc"], ["a"]),
    Case("copies of an image of another table", [row("b", copy_of="x"), row("c", copy_of="x")], ["bc"], ["x"]),
    Case(
        "lesions joined by a copy",
        [row("a", "p", "l"), row("b", "", "l"), row("c", "", "m", "b"), row("d", "", "m")],
        ["abcd"],
        ["p"],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_groups_are_the_connected_parts(case: Case) -> None:
    for _ in range(4):
        rows = random.Random(len(case.rows)).sample(case.rows, len(case.rows))
        groups, images = Groups(rows), defaultdict[str, str](str)
        for one in case.rows:
            images[groups.find_of_row(one).name] += one["image_id"]
        assert dict(images) == dict(zip(case.names, case.groups, strict=True))


IDS = st.sampled_from(["", "", "1", "2", "3"])


@settings(max_examples=200)
@given(st.lists(st.tuples(IDS, IDS, st.sampled_from(["", "", "", "i0", "i1", "i2"])), max_size=8), st.randoms())
@pytest.mark.slow
def test_order_has_no_effect_and_one_name_is_never_in_two_groups(
    ids: list[tuple[str, str, str]], rng: random.Random
) -> None:
    rows = [row(f"i{number}", *three) for number, three in enumerate(ids)]
    shuffled = rng.sample(rows, len(rows))
    groups, others = Groups(rows), Groups()
    for one in shuffled:
        others.find(others.add(one))  # a search between the rows has no effect either
    found = {one["image_id"]: groups.find_of_row(one) for one in rows}
    assert found == {one["image_id"]: others.find_of_row(one) for one in rows}
    for column in ("patient_id", "near_duplicate_of"):
        by_value = defaultdict(set)
        for one in rows:
            by_value[one[column]].add(found[one["image_id"]])
        assert all(len(of_value) == 1 for value, of_value in by_value.items() if value)


@pytest.fixture
def lesions(tmp_path: Path) -> Path:
    """30 lesions with two photographs, of which one names the patient, and copies without ids of ten of them."""
    rows = [row(f"i{n}a", f"p{n}", f"l{n}") for n in range(30)]
    rows += [row(f"i{n}b", "", f"l{n}") for n in range(30)]
    rows += [row(f"i{n}c", copy_of=f"i{n}b") for n in range(10)]
    random.Random(0).shuffle(rows)
    return write_dataset(tmp_path / "lesions", rows)


def write_dataset(folder: Path, rows: list[Row]) -> Path:
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for one in rows:
        pixels = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{one['image_id']}.png")
        write_mask(folder / "masks" / f"{one['image_id']}.png", np.eye(24, dtype=bool))
    write_table(folder / "dataset.csv", rows)
    return folder


def divided(parts: Mapping[str, str]) -> list[str]:
    """Return the lesions of which images are in several parts."""
    found = defaultdict(set)
    for image_id, part in parts.items():
        found[image_id[:-1]].add(part)
    return [lesion for lesion, of_lesion in found.items() if len(of_lesion) > 1]


def by_recipe(folder: Path) -> dict[str, str]:
    recipe = TrainRecipe.parse({"data": {"datasets": [str(folder)]}}, "test")
    parts = split_samples(read_dataset(folder), recipe.data, 0)
    listed = {"train": parts.training, "val": parts.validation, "test": parts.test}
    return {sample.image_id: part for part, samples in listed.items() for sample in samples}


def by_data_split(folder: Path) -> dict[str, str]:
    split_dataset(folder, SplitOptions(look=False), run=NULL_CONTEXT)
    return {one["image_id"]: one["split"] for one in read_table(folder / "dataset.csv")}


def by_folds(folder: Path) -> dict[str, str]:
    recipe = TrainRecipe.parse({"data": {"datasets": [str(folder)]}}, "test")
    return {sample.image_id: str(fold) for sample, _, fold in plan_folds(recipe, 3, NULL_CONTEXT)}


def by_folds_of_table(folder: Path) -> dict[str, str]:
    split_dataset(folder, SplitOptions(look=False, folds=3), run=NULL_CONTEXT)
    return {one["image_id"]: one["fold"] for one in read_table(folder / "dataset.csv")}


def by_corrections(folder: Path) -> dict[str, str]:
    splits, parts = PatientSplits([]), {}
    for one in sorted(
        read_table(folder / "dataset.csv"), key=lambda one: one["image_id"][::-1]
    ):  # the named ones first
        parts[one["image_id"]] = splits.choose_split(one, None)
        splits.add_row({**one, "split": parts[one["image_id"]]})
    return parts


def by_merge_and_split(folder: Path) -> dict[str, str]:
    other = write_dataset(folder.with_name("other"), [row(f"o{n}", f"q{n}") for n in range(5)])
    merge_datasets([folder, other], folder.with_name("merged"), MergeOptions(keep_duplicates=True), run=NULL_CONTEXT)
    return {name: part for name, part in by_data_split(folder.with_name("merged")).items() if name.startswith("i")}


WAYS = [by_recipe, by_data_split, by_folds, by_folds_of_table, by_corrections, by_merge_and_split]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_lesion_is_divided(lesions: Path, way: Callable[[Path], dict[str, str]]) -> None:
    parts = way(lesions)
    assert len(parts) == 70
    assert len({*parts.values()}) > 1
    assert divided(parts) == []


def test_check_and_report_state_divided_lesions(lesions: Path) -> None:
    rows = read_table(lesions / "dataset.csv")
    write_table(lesions / "dataset.csv", [{**one, "split": "test" if one["patient_id"] else "train"} for one in rows])
    faults = check_data(lesions, run=NULL_CONTEXT).faults
    assert len(faults) == 30
    assert ("p9", "is in more than one split: test, train (joined by a lesion or a copy: p9, l9, i9b)") in faults
    report = describe_dataset(lesions, run=NULL_CONTEXT)
    assert (report.groups, report.largest_group, len(report.in_two_splits)) == (30, 3, 30)


def choose_test_images(samples: list[Sample]) -> set[str]:
    chosen = _choose_test_groups(samples, 0.2)
    return {sample.image_id for sample in samples if sample.group in chosen}


def test_the_test_patients_are_those_before_photographs_of_their_lesions_were_added(lesions: Path) -> None:
    joined, rows = read_dataset(lesions), read_table(lesions / "dataset.csv")
    named = read_dataset(write_dataset(lesions.parent / "named/lesions", [one for one in rows if one["patient_id"]]))
    assert {name[:-1] for name in choose_test_images(joined)} == {name[:-1] for name in choose_test_images(named)}


@pytest.mark.parametrize("lesions_of_each", [1, 6])
def test_more_lesions_of_each_patient_enlarge_no_test_set(lesions_of_each: int) -> None:
    numbers = [(p, k) for p in range(200) for k in range(lesions_of_each)]
    rows = [row(f"a{p}-{k}", f"p{p}", f"l{p}-{k}") for p, k in numbers]
    rows += [row(f"b{p}-{k}", "", f"l{p}-{k}") for p, k in numbers]
    groups, one = Groups(rows), Sample("", Path(), None, "", "", "set")
    samples = [put_in_group(one, groups.find_of_row(each)) for each in rows]
    assert 30 <= len(_choose_test_groups(samples, 0.2)) <= 50  # of 200


def test_a_test_patient_stays_in_the_test_set_when_a_copy_joins_it_with_others(tmp_path: Path) -> None:
    rows = [row(f"i{n}", f"p{n}") for n in range(30)]
    before = choose_test_images(read_dataset(write_dataset(tmp_path / "a/set", rows)))
    rows = [one | {"near_duplicate_of": f"i{n + 1}" if n % 2 == 0 else ""} for n, one in enumerate(rows)]
    assert before < choose_test_images(read_dataset(write_dataset(tmp_path / "b/set", rows)))


def test_a_patient_is_recognized_as_trained_on_by_its_lesion(tmp_path: Path) -> None:
    trained = read_dataset(write_dataset(tmp_path / "set", [row("a", "p", "l"), row("b", "", "l")]))
    later = read_dataset(write_dataset(tmp_path / "later/set", [row("c", "", "l"), row("d", "q")]))
    nothing = np.zeros(2, np.uint64), np.zeros((2, 15), np.uint8), np.zeros(2, bool)
    listed = make_training_images(HashedImages(trained, *nothing), key=PUBLIC)
    assert find_trained_groups(later, listed).tolist() == [True, False]


def test_the_table_of_a_run_keeps_the_names_of_a_group(lesions: Path, tmp_path: Path) -> None:
    """By which the test images of the run are found among the training images of other models."""
    samples = read_dataset(lesions)
    write_data(tmp_path / "data.csv", [DataRow("test", one, "", "") for one in samples])
    stored = [row.sample for row in read_data(tmp_path / "data.csv")]
    assert [one.group_names for one in stored] == [one.group_names for one in samples]
    assert any(one.joined for one in stored)


def test_a_merge_states_patients_in_several_splits(tmp_path: Path) -> None:
    first = write_dataset(tmp_path / "first", [row("a", "p", "l", split="test"), row("b", "q", split="train")])
    second = write_dataset(tmp_path / "second", [row("c", "", "l", split="train"), row("d", "r", split="train")])
    options = MergeOptions(keep_duplicates=True)
    notes = dict(merge_datasets([first, second], tmp_path / "all", options, run=NULL_CONTEXT).notes)
    assert notes["split"].startswith("1 of the patients, lesions and pictures are in more than one split (p): ")

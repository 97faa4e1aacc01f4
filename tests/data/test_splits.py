"""Splits of a run: rows follow their split, and test groups never change."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, DataSetError
from napari_melanoma.data import splits as splits_module
from napari_melanoma.data.check import check_data
from napari_melanoma.data.corrections import Correction, Corrections, PatientSplits
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.duplicates import Duplicate
from napari_melanoma.data.harmonize import HarmonizeReport
from napari_melanoma.data.splits import (
    SplitOptions,
    TrainingSplit,
    _choose_test_groups,
    assign_folds,
    check_patients_named,
    choose_folds,
    choose_splits,
    find_rarest_classes,
    group_by_name,
    hold_out,
    sample_by_name,
    split_dataset,
    split_trainable,
    validate_on_each_class,
)
from napari_melanoma.data.table_schema import held_back_rank
from napari_melanoma.io.results import read_table, write_table


@dataclass(frozen=True)
class Rules:
    split: str = "train"
    validation_split: str = "val"
    test_split: str = "test"
    test_fraction: float = 0.2
    validation_fraction: float = 0.1


def samples(count: int, split: str = "", images_a_patient: int = 1, domain: str = "a") -> list[Sample]:
    return [
        Sample(f"{domain}{n}", Path("x"), Path("m"), f"{domain}/p{n // images_a_patient}", split, domain)
        for n in range(count)
    ]


def groups(part: Iterable[Sample]) -> set[str]:
    return {sample.group for sample in part}


@pytest.mark.parametrize(
    "row", [{"patient_id": "p 1"}, {"lesion_id": "L"}], ids=["another spelling of the id", "a lesion of the patient"]
)
def test_a_photograph_that_is_reassigned_follows_its_group(row: dict[str, str]) -> None:
    before = {"image_id": "b", "patient_id": "X", "split": "test"}
    splits = PatientSplits([{"image_id": "a", "patient_id": "P1", "lesion_id": "L", "split": "train"}, before])
    assert splits.choose_split({"image_id": "b", **row}, before) == "train"


def test_rows_follow_their_split() -> None:
    found = [*samples(30, "train")[:20], *samples(30, "val")[20:25], *samples(30, "test")[25:], *samples(4, "later")]
    parts = split_trainable(found, Rules(), 0)
    assert groups(parts.training) == {f"a/p{n}" for n in range(20)}
    assert groups(parts.validation) == {f"a/p{n}" for n in range(20, 25)}
    assert groups(parts.test) == {f"a/p{n}" for n in range(25, 30)}
    assert [sample.split for sample in parts.other_splits] == ["later"] * 4


@pytest.mark.parametrize(("rest", "tested"), [("train", 0), ("test", 20)])
def test_without_a_validation_split_it_is_taken_from_the_training_patients(rest: str, tested: int) -> None:
    """Also of one data set among several; those of a data set with the split stay in training."""
    found = samples(40, "train", 2) + samples(20, rest, domain="b") + samples(20, "train", domain="c")
    found += [Sample("v", Path("x"), Path("m"), "c/v", "val", "c")]
    parts = split_trainable(found, Rules(validation_fraction=0.2), 0)
    assert {sample.domain for sample in parts.validation if sample.split != "val"} <= {"a", "b"}
    assert len(groups(parts.validation)) == 1 + (20 if tested else 40) // 5
    assert not groups(parts.validation) & groups(parts.training)
    assert len(parts.test) == tested


def test_val_as_the_test_split_is_not_validated_on() -> None:
    parts = split_trainable(samples(20, "train") + samples(5, "val", domain="b"), Rules(test_split="val"), 0)
    assert (len(parts.validation), len(parts.test), {s.split for s in parts.validation}) == (2, 5, {"train"})


def test_split_all_trains_on_everything() -> None:
    found = samples(10, "val") + samples(10, "", domain="b")
    parts = split_trainable(found, Rules(split="all"), 0)
    assert (len(parts.training), len(parts.validation), parts.test) == (18, 2, [])


@pytest.mark.parametrize("count", range(3, 12))
def test_a_few_corrections_serve_every_part(count: int) -> None:
    parts = split_trainable(samples(count), Rules(), 0)
    assert min(len(parts.training), len(parts.validation), len(parts.test)) >= 1
    assert len(parts.training) + len(parts.validation) + len(parts.test) == count


@pytest.mark.parametrize(("count", "sizes"), [(0, (0, 0, 0)), (1, (1, 0, 0)), (2, (1, 1, 0))])
def test_too_few_groups_leave_parts_empty(count: int, sizes: tuple[int, int, int]) -> None:
    parts = split_trainable(samples(count), Rules(), 0)
    assert (len(parts.training), len(parts.validation), len(parts.test)) == sizes


@settings(max_examples=40)
@given(st.integers(3, 60), st.data(), st.integers(0, 5), st.integers(0, 5))
def test_added_removed_or_rejected_rows_move_no_other_group(
    count: int, data: st.DataObject, seed: int, later: int
) -> None:
    """Rows of any number of patients rejected, others accepted again, others deleted, in any order of the table."""
    everyone = samples(count, images_a_patient=2)
    before, after = (
        data.draw(st.lists(st.sampled_from(everyone), unique=True), label=when) for when in ("then", "now")
    )
    rejected = [replace(sample, review="rejected") for sample in everyone if sample not in after]
    first, then = split_trainable(before, Rules(), seed), split_trainable([*rejected, *after], Rules(), later)
    by_hash = {one.group for one in everyone if _choose_test_groups([one], 0.2)}
    learnt, evaluated = groups(first.training + first.validation), groups(then.test)
    if groups(before) & by_hash and groups(after) & by_hash:
        assert not learnt & evaluated, "a later model must not be evaluated on what its parent has learnt"
        assert not groups(first.test) & groups(then.training + then.validation)
    else:
        assert len(learnt & evaluated) <= 1, "only if the hash holds out no group, one is chosen"


def test_a_patient_in_two_splits_is_not_trained_on() -> None:
    """Some rows of a patient name a split and others do not; another patient is in both named splits."""
    found = [
        *samples(12, "train"),
        Sample("more", Path("x"), Path("m"), "a/p1", "", "a"),
        Sample("shared", Path("x"), Path("m"), "a/p2", "test", "a"),
        Sample("validated", Path("x"), Path("m"), "a/p3", "val", "a"),
        *samples(20, "", domain="b"),
        *samples(20, "train", domain="b"),
    ]
    parts = split_trainable(found, Rules(), 0)
    assert not groups(parts.training + parts.validation) & groups(parts.test)
    assert not groups(parts.training) & groups(parts.validation)
    assert "a/p2" in groups(parts.test) & groups(parts.left_out)
    assert "a/p3" in groups(parts.validation) & groups(parts.left_out)
    assert len(parts.training + parts.validation + parts.test) + len(parts.left_out) == len(found)


@given(st.integers(0, 60), st.integers(1, 3), st.floats(0, 0.8), st.floats(0.01, 0.49), st.integers(0, 3))
def test_no_patient_is_on_two_sides(count: int, each: int, tested: float, validation: float, seed: int) -> None:
    found = samples(count, images_a_patient=each)
    rules = Rules(test_fraction=tested, validation_fraction=validation)
    parts = split_trainable(found, rules, seed)
    sides = [groups(parts.training), groups(parts.validation), groups(parts.test)]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert sorted(s.image_id for part in (parts.training, parts.validation, parts.test) for s in part) == sorted(
        s.image_id for s in found
    )


def test_the_test_share_is_near_the_requested_one() -> None:
    assert len(split_trainable(samples(2000), Rules(test_fraction=0.3), 0).test) == pytest.approx(600, abs=60)


def test_one_of_three_groups_is_the_test_set() -> None:
    """A fraction of one in a thousand draws none of them."""
    rules = Rules(test_fraction=0.001)
    assert [len(split_trainable(samples(n), rules, 0).test) for n in range(1, 6)] == [0, 0, 1, 1, 1]


def test_a_fraction_of_zero_gives_an_empty_test_set() -> None:
    assert split_trainable(samples(50), Rules(test_fraction=0.0), 0).test == []


def test_samples_without_mask_are_excluded() -> None:
    without = [Sample(f"n{n}", Path("x"), None, f"n{n}", "train", "a") for n in range(5)]
    parts = split_trainable(samples(10, "train") + without, Rules(), 0)
    assert len(parts.training) + len(parts.validation) == 10


def test_small_strata_are_not_all_rounded_away() -> None:
    """Ten diagnoses with four patients each: one tenth is four patients, of four diagnoses."""
    found = [Sample(f"i{n}", Path("x"), Path("m"), f"p{n}", "train", "a", None, f"d{n // 4}") for n in range(40)]
    aside = hold_out(found, 0.1, 0)[1]
    assert len(aside) == 4
    assert len({sample.diagnosis for sample in aside}) == 4


patients = st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abc")), min_size=1, max_size=60)


@settings(max_examples=40)
@given(patients, st.integers(2, 5), st.integers(0, 3))
def test_every_group_is_in_one_fold_in_any_order(drawn: list[tuple[int, str]], count: int, seed: int) -> None:
    groups, classes = [f"p{number}" for number, _ in drawn], [name for _, name in drawn]
    if len(set(groups)) < count:
        with pytest.raises(DataSetError, match=f"{count} folds need as many patients"):
            assign_folds(groups, classes, count, seed)
        return
    found = assign_folds(groups, classes, count, seed)
    of_group = dict(zip(groups, found, strict=True))
    assert [of_group[group] for group in groups] == found
    assert set(found) <= set(range(count))
    assert assign_folds(groups[::-1], classes[::-1], count, seed) == found[::-1]


@settings(max_examples=40)
@given(st.lists(st.sampled_from("abc"), min_size=5, max_size=80))
def test_folds_of_single_images_are_as_even_as_can_be(classes: list[str]) -> None:
    found = assign_folds([f"i{n}" for n in range(len(classes))], classes, 5, 0)
    for expected in ("a", "b", "c", "abc"):
        sizes = [sum(f == fold and c in expected for f, c in zip(found, classes, strict=True)) for fold in range(5)]
        assert max(sizes) - min(sizes) <= 1


def test_patients_with_many_images_are_dealt_first_and_the_rare_class_reaches_every_fold() -> None:
    """Fifty patients with 1 to 6 images; every tenth has one melanoma among them."""
    groups = [f"p{n}" for n in range(50) for _ in range(1 + n % 6)]
    classes = ["melanoma" if n % 10 == 0 and k == 0 else "nevus" for n in range(50) for k in range(1 + n % 6)]
    found = assign_folds(groups, classes, 5, 0)
    sizes = [found.count(fold) for fold in range(5)]
    assert max(sizes) - min(sizes) <= 1
    assert sorted(f for f, c in zip(found, classes, strict=True) if c == "melanoma") == [0, 1, 2, 3, 4]
    assert assign_folds(groups, classes, 5, 1) != found


def test_groups_keep_their_fold_when_rows_are_added() -> None:
    groups, classes = [f"p{n}" for n in range(20)], ["a"] * 20
    kept = dict(zip(groups, assign_folds(groups, classes, 4, 0), strict=True))
    more = [*groups, *(f"q{n}" for n in range(8))]
    found = dict(zip(more, assign_folds(more, ["a"] * 28, 4, 0, kept), strict=True))
    assert {group: found[group] for group in groups} == kept
    assert [list(found.values()).count(fold) for fold in range(4)] == [7, 7, 7, 7]


def labeled(rows: list[str]) -> list[Sample]:
    """Samples of rows such as ``p1 melanoma``: group and diagnosis."""
    pairs = [row.split() for row in rows]
    return [
        Sample(f"{group} {n}", Path("x"), None, group, "", "a", None, name) for n, (group, name) in enumerate(pairs)
    ]


MOVED = {
    "nothing is missing": (["p1 nevus"], ["q1 nevus"], []),
    "a class with one group stays": (["p1 nevus", "p2 melanoma", "p3 nevus"], ["q1 nevus"], []),
    "the group with the fewest images": (
        ["p1 melanoma", "p1 melanoma", "p2 melanoma", "p3 nevus", "p4 nevus"],
        ["q1 nevus"],
        ["p2"],
    ),
    "of two of the same size the first by name": (["p2 melanoma", "p1 melanoma"], ["q1 nevus"], ["p1"]),
    "not the only group of another class": (
        ["p1 melanoma", "p1 keratosis", "p2 melanoma", "p2 melanoma", "p2 melanoma"],
        ["q1 nevus", "q2 keratosis"],
        ["p2"],
    ),
    "unknown is no class": (["p1 -", "p2 -"], ["q1 nevus"], []),
    "each missing class": (
        ["p1 melanoma", "p2 melanoma", "p3 nevus", "p4 nevus"],
        ["q1 keratosis"],
        ["p1", "p3"],
    ),
}


@pytest.mark.parametrize(("training", "validation", "moved"), MOVED.values(), ids=MOVED)
def test_each_class_is_validated_on_if_its_groups_allow(
    training: list[str], validation: list[str], moved: list[str]
) -> None:
    before = TrainingSplit(labeled(training), labeled(validation), [])

    def get_class(sample: Sample) -> str:
        return "" if sample.diagnosis == "-" else sample.diagnosis or ""

    after = validate_on_each_class(before, Rules(), get_class)
    assert groups(after.training) == groups(before.training) - set(moved)
    assert groups(after.validation) == groups(before.validation) | set(moved)
    assert len(after.training) + len(after.validation) == len(training) + len(validation)
    assigned = replace(before, validation=[replace(sample, split="val") for sample in before.validation])
    if assigned.validation:
        assert validate_on_each_class(assigned, Rules(), get_class) == assigned


NAMES = {
    "a letter at the end": (["P012_a", "P012_b", "P013_a", "P013_b"], {"P012": 2, "P013": 2}),
    "without a separator": (["P012a", "P012b", "P013a", "P013b"], {"P012": 2, "P013": 2}),
    "running numbers": ([f"ISIC_{n:07}" for n in range(9)], {}),
    **{
        f"dates such as {day}": ([f"{day}_1", f"{day}_2", f"{other}_1", f"{other}_2"], {})
        for day, other in [
            ("20200102", "20210102"),
            ("IMG_20240102", "IMG_20240103"),
            ("IMG20240102101500", "IMG20240103101500"),
            ("photo 2024-01-02", "photo 2024-02"),
            ("02.01.2024", "DSC 03-01-2024"),
        ]
    },
    "a patient that looks like a month": (["P200112_a", "P200112_b", "P200202_a"], {"P200112": 2}),
    "a patient and a date": (
        [f"P{n}_20240102_{side}" for n in range(3) for side in "ab"],
        {f"P{n}_20240102": 2 for n in range(3)},
    ),
    "a date and a patient": (
        [f"20240102_0{n}_{side}" for n in range(3) for side in "ab"],
        {f"20240102_0{n}": 2 for n in range(3)},
    ),
    "one prefix for more than half": (["a1_1", "a1_2", "a1_3", "b2_1", "c3_1"], {}),
    "one prefix for half": (["a1_1", "a1_2", "a1_3", "b2_1", "c3_1", "d4_1"], {"a1": 3}),
    "two of ten": ([*(f"a{n}_1" for n in range(9)), "a0_2"], {"a0": 2}),
    "two of eleven": ([*(f"a{n}_1" for n in range(10)), "a0_2"], {}),
    "two parts after the patient": (
        [f"p{n}_{side}_1" for n in range(3) for side in ("left", "right")],
        {"p0": 2, "p1": 2, "p2": 2},
    ),
    "the prefixes that group the most names": (
        ["p1_a_1", "p1_a_2", "p1_b_1", "p2_a_1", "p2_a_2", "p2_b_1"],
        {"p1": 3, "p2": 3},
    ),
    "three parts": ([f"p{n}_{side}_1_1" for n in range(3) for side in "ab"], {"p0": 2, "p1": 2, "p2": 2}),
    "two names alone": (["p1_a", "p1_b"], {"p1": 2}),
    "nothing": ([], {}),
}


@pytest.mark.parametrize(("names", "sizes"), NAMES.values(), ids=NAMES)
def test_names_are_grouped_by_a_common_prefix(names: list[str], sizes: dict[str, int]) -> None:
    found = group_by_name(names)
    assert {owner: len(members) for owner, members in found.items()} == sizes
    assert all(name.startswith(owner) for owner, members in found.items() for name in members)


def test_a_choice_by_name_keeps_groups_together_and_the_order() -> None:
    everyone = samples(40, images_a_patient=4)
    some = sample_by_name(everyone, 10)
    assert len(some) == 10
    assert [sample for sample in everyone if sample in some] == some
    assert sorted(Counter(sample.group for sample in some).values()) == [2, 4, 4]
    assert groups(sample_by_name(everyone[::-1], 10)) == groups(some)
    assert set(sample_by_name(everyone, 9)) < set(some)
    assert sample_by_name(everyone, 0) == []
    assert sample_by_name(everyone, 99) == everyone


def split_of(group: str, split: str = "") -> Sample:
    return Sample(f"{group} {split}", Path("x"), None, group, split, "a")


def test_rows_keep_their_split_and_their_patient_joins_the_best_protected() -> None:
    assert [held_back_rank(name) for name in ("test", "val", "train", "other", "")] == [3, 2, 1, 2, 0]
    rows = [split_of("p", "train"), split_of("p", "test"), split_of("p"), split_of("q", "val"), split_of("q", "train")]
    rows += [split_of("q"), split_of("r", "other"), split_of("r")]
    options = SplitOptions(val=0.0)
    assert choose_splits(rows, options) == ["train", "test", "test", "val", "train", "val", "other", "other"]
    replaced = choose_splits(rows, SplitOptions(val=0.3, test=0.3, replace=True))
    assert sorted(set(zip([row.group for row in rows], replaced, strict=True))) == sorted(
        zip("pqr", (replaced[0], replaced[3], replaced[6]), strict=True)
    )
    assert sorted((replaced[0], replaced[3], replaced[6])) == ["test", "train", "val"]


@pytest.mark.parametrize(
    ("count", "val", "test", "sizes"),
    [(100, 0.1, 0.2, (70, 10, 20)), (100, 0.3, 0.5, (20, 30, 50)), (10, 0.0, 0.2, (8, 0, 2)), (3, 0.1, 0.1, (1, 1, 1))],
)
def test_parts_have_the_requested_shares(count: int, val: float, test: float, sizes: tuple[int, int, int]) -> None:
    found = Counter(choose_splits([split_of(f"p{n}") for n in range(count)], SplitOptions(val=val, test=test)))
    assert (found["train"], found["val"], found["test"]) == sizes


@pytest.mark.parametrize(("val", "test", "needed"), [(0.1, 0.0, 2), (0.0, 0.1, 2), (0.1, 0.1, 3)])
def test_each_part_needs_a_group(val: float, test: float, needed: int) -> None:
    options = SplitOptions(val=val, test=test)
    few = [split_of(f"p{n}") for n in range(needed - 1)]
    with pytest.raises(DataSetError, match=f"{needed - 1} patients.*expected at least {needed}"):
        choose_splits(few, options)
    assert set(choose_splits([*few, split_of("q")], options)) >= {"train", *["val"] * (val > 0), *["test"] * (test > 0)}
    assert choose_splits([split_of("p", "train")], options) == ["train"]


@pytest.mark.parametrize(("val", "test", "fits"), [(0.5, 0.4, True), (0.5, 0.5, False), (0.0, 0.0, True)])
def test_something_is_left_to_train_on(val: float, test: float, fits: bool) -> None:
    if fits:
        assert SplitOptions(val=val, test=test).val_share == val
    else:
        with pytest.raises(ValueError, match="val and test together are 1: expected less than 1"):
            SplitOptions(val=val, test=test)
    assert SplitOptions(folds=5, test=0.95).val_share == 0


@pytest.mark.parametrize(
    ("named", "images", "notes"),
    [(0, 0, []), (5, 5, []), (3, 5, [("patient_id", "2 of 5 rows name no patient")])],
)
def test_rows_without_a_patient_are_noted(named: int, images: int, notes: list[tuple[str, str]]) -> None:
    found = check_patients_named(named, images, HarmonizeReport(), no_patients=False)
    assert [(topic, text.split(":")[0]) for topic, text in found] == notes


def test_no_patient_at_all_must_be_confirmed() -> None:
    assert check_patients_named(0, 5, HarmonizeReport(), no_patients=True) == [], "the user has confirmed it"
    with pytest.raises(DataSetError, match=r"found no table.*confirm with --no-patients") as error:
        check_patients_named(0, 5, HarmonizeReport(), no_patients=False, how="name a table")
    assert "column patient_id" not in str(error.value), "there is no table to add it to"
    assert "Name a table; if nothing is known" in str(error.value)


def test_the_fewest_images_of_a_class_decide_the_fold() -> None:
    """A group counts for its rarest class, of equally rare ones for the first by name."""
    classes = ["b", "a", "b", "c", "b", "a"]
    assert find_rarest_classes(list("ppqqrs"), classes) == {"p": "a", "q": "c", "r": "b", "s": "a"}
    assert find_rarest_classes(["p", "p", "q"], ["b", "a", "c"])["p"] == "a"


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


def test_rows_added_during_a_split_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of the pictures takes minutes, in which a window may store a correction."""
    table = folder / "dataset.csv"

    def add_row(samples: list[Sample], run: RunContext) -> list[Duplicate]:
        write_table(table, [*read_table(table), {"image_id": "added", "path": "i0.png"}])
        return []

    monkeypatch.setattr(splits_module, "find_duplicates", add_row)
    with pytest.raises(DataSetError, match=r"was changed while .* Split the data set again"):
        split_dataset(folder, SplitOptions(), run=RunContext())
    assert read_table(table)[-1]["image_id"] == "added"


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


def test_neither_the_order_of_the_rows_nor_the_name_of_the_folder_changes_a_split(tmp_path: Path) -> None:
    rows = [
        {"image_id": f"i{n}", "patient_id": f"p{n // 3}", "diagnosis": ("nevus", "melanoma", "lentigo")[n * n % 5 % 3]}
        for n in range(90)
    ]
    found = []
    for number, folder in enumerate(("set", "shuffled/set", "another name")):
        (tmp_path / folder).mkdir(parents=True)
        listed = [{**row, "path": ""} for row in (rows if number != 1 else random.Random(1).sample(rows, 90))]
        write_table(tmp_path / folder / "dataset.csv", listed)
        split_dataset(tmp_path / folder, SplitOptions(test=0.2, folds=4, look=False), run=RunContext())
        stored = read_table(tmp_path / folder / "dataset.csv")
        found.append({row["image_id"]: (row["split"], row["fold"]) for row in stored})
    assert found[0] == found[1] == found[2]


def test_a_validation_set_does_not_depend_on_the_order_of_the_rows() -> None:
    """Also where the images of a patient have different diagnoses."""
    samples = [
        Sample(f"i{n}", Path(), None, f"set/p{n // 3}", "", "set", diagnosis=("nevus", "melanoma")[n % 2])
        for n in range(90)
    ]
    for seed in range(5):
        shuffled = random.Random(seed).sample(samples, 90)
        held_out = [{sample.image_id for sample in hold_out(order, 0.2, seed)[1]} for order in (samples, shuffled)]
        assert held_out[0] == held_out[1]


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

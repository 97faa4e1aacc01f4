"""Splits of a run: rows follow their split, and test groups never change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.splits import _choose_test_groups_of_set, assign_folds, hold_out, split_trainable


@dataclass(frozen=True)
class Rules:
    split: str = "train"
    held_out_split: str = "val"
    held_out_fraction: float = 0.2
    tuning_fraction: float = 0.1


def samples(count: int, split: str = "", images_a_patient: int = 1, domain: str = "a") -> list[Sample]:
    return [
        Sample(f"{domain}{n}", Path("x"), Path("m"), f"{domain}/p{n // images_a_patient}", split, domain)
        for n in range(count)
    ]


def groups(part: Iterable[Sample]) -> set[str]:
    return {sample.group for sample in part}


def test_rows_follow_their_split() -> None:
    found = samples(20, "train") + samples(7, "val", domain="b") + samples(5, "test", domain="c")
    parts = split_trainable(found, Rules(), 0)
    assert groups(parts.test) == {f"b/p{n}" for n in range(7)}
    assert groups(parts.training) | groups(parts.validation) == {f"a/p{n}" for n in range(20)}
    assert len(parts.validation) == 2


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
    by_hash = {group for group in groups(everyone) if len(_choose_test_groups_of_set([group], 0.2))}
    learnt, judged = groups(first.training + first.validation), groups(then.test)
    if groups(before) & by_hash and groups(after) & by_hash:
        assert not learnt & judged, "a later model must not be judged on what its parent has learnt"
        assert not groups(first.test) & groups(then.training + then.validation)
    else:
        assert len(learnt & judged) <= 1, "only if the hash holds out no group, one is chosen"


def test_a_patient_in_two_splits_is_not_trained_on() -> None:
    """Some rows of a patient name a split and others do not; another patient is in both named splits."""
    found = [
        *samples(12, "train"),
        Sample("more", Path("x"), Path("m"), "a/p1", "", "a"),
        Sample("shared", Path("x"), Path("m"), "a/p2", "val", "a"),
        *samples(20, "", domain="b"),
        *samples(20, "train", domain="b"),
    ]
    parts = split_trainable(found, Rules(), 0)
    assert not groups(parts.training + parts.validation) & groups(parts.test)
    assert "a/p2" in groups(parts.test) & groups(parts.left_out)
    assert len(parts.training + parts.validation + parts.test) + len(parts.left_out) == len(found)


@given(st.integers(0, 60), st.integers(1, 3), st.floats(0, 0.8), st.floats(0.01, 0.49), st.integers(0, 3))
def test_no_patient_is_on_two_sides(count: int, each: int, held_out: float, tuning: float, seed: int) -> None:
    found = samples(count, images_a_patient=each)
    rules = Rules(held_out_fraction=held_out, tuning_fraction=tuning)
    parts = split_trainable(found, rules, seed)
    sides = [groups(parts.training), groups(parts.validation), groups(parts.test)]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert sorted(s.image_id for part in (parts.training, parts.validation, parts.test) for s in part) == sorted(
        s.image_id for s in found
    )


def test_the_held_out_share_is_near_the_requested_one() -> None:
    assert len(split_trainable(samples(2000), Rules(held_out_fraction=0.3), 0).test) == pytest.approx(600, abs=60)


def test_of_three_groups_one_is_held_out_whatever_their_names() -> None:
    """A fraction of one in a thousand draws none of them."""
    rules = Rules(held_out_fraction=0.001)
    assert [len(split_trainable(samples(n), rules, 0).test) for n in range(1, 6)] == [0, 0, 1, 1, 1]


def test_the_order_of_the_table_has_no_effect() -> None:
    found = samples(40)
    assert groups(split_trainable(found, Rules(), 0).test) == groups(split_trainable(found[::-1], Rules(), 0).test)


def test_a_fraction_of_zero_holds_nothing_out() -> None:
    assert split_trainable(samples(50), Rules(held_out_fraction=0.0), 0).test == []


def test_what_has_no_mask_is_left_out() -> None:
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
def test_every_group_is_in_one_fold_whatever_the_order(drawn: list[tuple[int, str]], count: int, seed: int) -> None:
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

"""The parts of a run: every split goes where it is said, and who is held out once stays held out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.splits import hold_out, split_parts


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


def test_rows_with_a_split_go_where_it_says() -> None:
    found = samples(20, "train") + samples(7, "val", domain="b") + samples(5, "test", domain="c")
    parts = split_parts(found, Rules(), 0)
    assert groups(parts.held_out) == {f"b/p{n}" for n in range(7)}
    assert groups(parts.learn) | groups(parts.tuning) == {f"a/p{n}" for n in range(20)}
    assert len(parts.tuning) == 2


def test_all_learns_from_everything() -> None:
    found = samples(10, "val") + samples(10, "", domain="b")
    parts = split_parts(found, Rules(split="all"), 0)
    assert (len(parts.learn), len(parts.tuning), parts.held_out) == (18, 2, [])


@pytest.mark.parametrize("count", range(3, 12))
def test_a_few_corrections_serve_every_part(count: int) -> None:
    parts = split_parts(samples(count), Rules(), 0)
    assert min(len(parts.learn), len(parts.tuning), len(parts.held_out)) >= 1
    assert len(parts.learn) + len(parts.tuning) + len(parts.held_out) == count


@pytest.mark.parametrize(("count", "sizes"), [(0, (0, 0, 0)), (1, (1, 0, 0)), (2, (1, 1, 0))])
def test_too_few_groups_leave_parts_empty(count: int, sizes: tuple[int, int, int]) -> None:
    parts = split_parts(samples(count), Rules(), 0)
    assert (len(parts.learn), len(parts.tuning), len(parts.held_out)) == sizes


@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 5), st.integers(0, 5))
def test_more_images_move_nobody_between_learnt_and_held_out(before: int, more: int, seed: int, later: int) -> None:
    first = split_parts(samples(before, images_a_patient=2), Rules(), seed)
    then = split_parts(samples(before + more, images_a_patient=2), Rules(), later)
    assert groups(first.held_out) <= groups(then.held_out)
    assert groups(first.learn + first.tuning) <= groups(then.learn + then.tuning)


@given(st.integers(0, 60), st.integers(1, 3), st.floats(0, 0.8), st.floats(0.01, 0.49), st.integers(0, 3))
def test_no_patient_is_on_two_sides(count: int, each: int, held_out: float, tuning: float, seed: int) -> None:
    found = samples(count, images_a_patient=each)
    rules = Rules(held_out_fraction=held_out, tuning_fraction=tuning)
    parts = split_parts(found, rules, seed)
    sides = [groups(parts.learn), groups(parts.tuning), groups(parts.held_out)]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert sorted(s.image_id for part in (parts.learn, parts.tuning, parts.held_out) for s in part) == sorted(
        s.image_id for s in found
    )


def test_the_share_held_out_is_near_the_one_asked_for() -> None:
    assert len(split_parts(samples(2000), Rules(held_out_fraction=0.3), 0).held_out) == pytest.approx(600, abs=60)


@pytest.mark.parametrize("name", ["a", "b", "c", "d", "e"])
def test_few_groups_are_held_out_by_their_share_not_by_luck(name: str) -> None:
    counts = [len(split_parts(samples(n, domain=name), Rules(), 0).held_out) for n in range(3, 51)]
    assert all(max(1, n // 5) <= held <= n / 5 + 1.5 for n, held in enumerate(counts, 3))


def test_a_row_that_is_taken_out_moves_few_others() -> None:
    found = samples(200)
    before = groups(split_parts(found, Rules(), 0).held_out)
    for gone in range(0, 200, 7):
        after = groups(split_parts(found[:gone] + found[gone + 1 :], Rules(), 0).held_out)
        assert len(after - before) <= (4 if gone < 50 else 0)


def test_nothing_asked_for_holds_nothing_out() -> None:
    assert split_parts(samples(50), Rules(held_out_fraction=0.0), 0).held_out == []


def test_what_has_no_mask_is_left_out() -> None:
    without = [Sample(f"n{n}", Path("x"), None, f"n{n}", "train", "a") for n in range(5)]
    parts = split_parts(samples(10, "train") + without, Rules(), 0)
    assert len(parts.learn) + len(parts.tuning) == 10


def test_small_strata_are_not_all_rounded_away() -> None:
    """Ten diagnoses with four patients each: one tenth is four patients, of four diagnoses."""
    found = [Sample(f"i{n}", Path("x"), Path("m"), f"p{n}", "train", "a", None, f"d{n // 4}") for n in range(40)]
    aside = hold_out(found, 0.1, 0)[1]
    assert len(aside) == 4
    assert len({sample.diagnosis for sample in aside}) == 4

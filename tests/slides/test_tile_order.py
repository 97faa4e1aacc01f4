"""Coarse to fine: after each pass every block has a tile, and in the end each tile came once."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_melanoma.slides.tiling import coarse_to_fine

MASKS = arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@settings(max_examples=30)
@given(MASKS, st.integers(1, 20))
def test_each_requested_tile_is_read_once(wanted: np.ndarray, first: int) -> None:
    passes = coarse_to_fine(wanted, first)
    together = np.concatenate([*passes, np.empty((0, 2), np.int32)])
    assert together.dtype == np.int32
    assert len(together) == wanted.sum() == len(np.unique(together, axis=0))
    assert wanted[together[:, 0], together[:, 1]].all()
    assert all(len(one) for one in passes)


@settings(max_examples=30)
@given(MASKS.filter(np.any), st.integers(1, 20))
def test_each_pass_reads_one_tile_of_each_requested_block(wanted: np.ndarray, first: int) -> None:
    passes = coarse_to_fine(wanted, first)
    size = 1
    while size < max(wanted.shape) and len({tuple(place // size) for place in np.argwhere(wanted)}) > first:
        size *= 2
    assert len(passes[0]) <= first or size >= max(wanted.shape)
    done: set[tuple[int, int]] = set()
    for number, one in enumerate(passes):
        done |= {tuple(place) for place in one.tolist()}
        if number == 0:
            blocks = {tuple(place // size) for place in np.argwhere(wanted)}
            assert {(row // size, column // size) for row, column in done} == blocks


def test_the_rough_map_spreads_over_the_slide_and_near_tiles_follow_each_other() -> None:
    passes = coarse_to_fine(np.ones((64, 64), bool), 20)
    assert [len(one) for one in passes] == [16, 48, 192, 768, 3072]
    assert {(row // 16, column // 16) for row, column in passes[0].tolist()} == {
        (r, c) for r in range(4) for c in range(4)
    }
    steps = np.abs(np.diff(passes[-1], axis=0)).sum(axis=1)
    assert np.median(steps) <= 2


def test_islands_are_in_the_first_pass() -> None:
    wanted = np.zeros((100, 100), bool)
    wanted[3, 97] = wanted[50:90, 10:60] = True
    assert [3, 97] in coarse_to_fine(wanted, 30)[0].tolist()


def test_no_requested_tile() -> None:
    assert coarse_to_fine(np.zeros((5, 5), bool)) == []

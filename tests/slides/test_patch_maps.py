"""Maps of patches become one map of a slide, and the places where they are highest are found."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.maps import MAX_CELLS, PATCH_CELLS, compose_patch_maps, find_strongest

HUGE = (10**6, 10**6)


def test_a_single_patch_is_its_own_map() -> None:
    values, place = compose_patch_maps([np.full((7, 7), 0.3, np.float32)], [Box(100, 200, 960, 480)], HUGE)
    assert values.shape == (PATCH_CELLS, PATCH_CELLS)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, 0.3, rtol=1e-6)
    assert (place.top, place.left, place.step_y, place.step_x) == (100, 200, 10, 5)


def test_patches_keep_their_positions_and_the_maximum_wins_in_overlaps() -> None:
    boxes = [Box(0, 0, 96, 96), Box(48, 48, 96, 96), Box(300, 0, 96, 96)]
    values, place = compose_patch_maps([np.full((3, 3), value, np.float32) for value in (0.2, 0.9, 0.5)], boxes, HUGE)
    assert values.shape == (396, 144)
    for at, box in enumerate(boxes):
        row, column = (place.to_map((box.top + 90, box.left + 90)) - 0.5).round().astype(int)
        assert values[row, column] == pytest.approx((0.9, 0.9, 0.5)[at])
    assert values[10, 10] == pytest.approx(0.2)
    assert np.isnan(values[200, 20])


def test_patches_outside_the_slide_are_ignored() -> None:
    values, _ = compose_patch_maps([np.ones((2, 2), np.float32)], [Box(-48, 48, 96, 96)], (200, 96))
    assert np.isnan(values[:48]).all()
    assert np.isnan(values[:, 48:]).all()
    assert (values[48:, :48] == 1).all()


def test_patches_far_apart_make_a_coarser_map() -> None:
    boxes = [Box(0, 0, 96, 96), Box(80_000, 0, 96, 96)]
    values, place = compose_patch_maps([np.ones((2, 2), np.float32)] * 2, boxes, HUGE)
    assert values.shape == (MAX_CELLS, PATCH_CELLS)
    assert place.step_y == pytest.approx(80_096 / MAX_CELLS)
    assert np.isfinite(values[[0, -1]]).all()


def test_the_strongest_places_come_first_and_do_not_overlap() -> None:
    first, second = np.zeros((8, 8), np.float32), np.zeros((8, 8), np.float32)
    first[2, 3], first[2, 4], first[7, 7], second[0, 0] = 5, 4, 1, 3
    found = find_strongest([first, second], [Box(0, 0, 800, 800), Box(1000, 0, 800, 800)], 0.25, 3)
    assert found == [(Box(150, 250, 200, 200), 5.0), (Box(950, -50, 200, 200), 3.0), (Box(650, 650, 200, 200), 1.0)]
    assert find_strongest([first], [Box(0, 0, 800, 800)], 0.25, 1) == found[:1]
    inside = find_strongest([first, second], [Box(0, 0, 800, 800), Box(1000, 0, 800, 800)], 0.25, 3, (1800, 800))
    assert inside == found[:1]
    assert find_strongest([np.zeros((4, 4), np.float32)], [Box(0, 0, 8, 8)], 0.25, 3) == []

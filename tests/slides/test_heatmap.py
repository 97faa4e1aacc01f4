"""The heatmap without holes, and its highest cells, on grids small enough to be calculated by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.slides.maps import fill_waiting, find_highest_cells, mask_below_threshold

NAN = np.nan


def test_a_cell_that_waits_has_the_mean_of_the_smallest_square_with_something_known() -> None:
    values = np.full((4, 4), NAN, np.float32)
    values[0, 0], values[1, 1], values[3, 3] = 0.2, 0.4, 0.9
    filled = fill_waiting(values, np.ones((4, 4), bool))
    assert filled[0, 1] == pytest.approx(0.3)
    assert filled[2, 2] == pytest.approx(0.9)
    assert filled[0, 3] == pytest.approx((0.2 + 0.4 + 0.9) / 3)
    assert filled[0, 0] == pytest.approx(0.2)


def test_background_stays_empty() -> None:
    values = np.array([[0.5, NAN, NAN]], np.float32)
    filled = fill_waiting(values, np.array([[False, True, False]]))
    np.testing.assert_array_equal(np.isnan(filled), [[False, False, True]])
    assert filled[0, 1] == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3), (16, 9)])
def test_pending_tiles_of_any_shape_are_filled(shape: tuple[int, int]) -> None:
    values = np.full(shape, NAN, np.float32)
    values[-1, -1] = 0.25
    np.testing.assert_allclose(fill_waiting(values, np.ones(shape, bool)), 0.25)


def test_a_map_of_unknown_cells_stays_unknown() -> None:
    values = np.full((3, 3), NAN, np.float32)
    assert np.isnan(fill_waiting(values, np.ones((3, 3), bool))).all()
    assert find_highest_cells(values, 4) == []


def test_the_most_suspicious_do_not_touch_and_come_in_order() -> None:
    values = np.zeros((5, 5), np.float32)
    values[1, 1], values[1, 2], values[4, 4], values[0, 4] = 0.9, 0.8, 0.7, NAN
    assert find_highest_cells(values, 3)[:2] == [(1, 1), (4, 4)]


def test_below_the_threshold_nothing_is_shown() -> None:
    shown = mask_below_threshold(np.array([[0.2, 0.5, NAN]], np.float32), 0.5)
    np.testing.assert_array_equal(shown, np.array([[NAN, 0.5, NAN]], np.float32))

"""Rings filled on a grid: against a point-by-point test, on the lattice, beyond the grid, and where they cross."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.analysis.scan_fill import crosses_itself, windings

SQUARE = np.array([(1.0, 1.0), (1.0, 4.0), (3.0, 4.0), (3.0, 1.0)])
EIGHT = np.array([(0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0)])
TWICE = np.array([(0, 0), (0, 10), (10, 10), (10, 0), (0, 0), (2, 2), (2, 8), (8, 8), (8, 2), (2, 2)], float)


def test_a_square_on_the_lattice_fills_whole_cells():
    expected = np.zeros((5, 6), int)
    expected[1:3, 1:4] = 1
    assert np.array_equal(windings(SQUARE, (5, 6)), expected)
    assert np.array_equal(windings(SQUARE[::-1], (5, 6)), -expected)


def test_what_lies_beyond_the_grid_is_cut_off():
    wide = SQUARE * 10 - 15
    assert windings(wide, (5, 6)).all()
    assert not windings(wide + 1000, (5, 6)).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 13), st.floats(-3, 13)), min_size=3, max_size=9))
def test_even_odd_is_what_a_point_by_point_test_says(points):
    from skimage.measure import points_in_poly

    ring = np.round(np.array(points), 3) + 1e-4  # no vertex on the row of a centre, where either answer is right
    centres = np.argwhere(np.ones((10, 10), bool)) + 0.5
    expected = points_in_poly(centres, ring).reshape(10, 10)
    assert np.array_equal((windings(ring, (10, 10)) & 1).astype(bool), expected)


@pytest.mark.parametrize(("ring", "expected"), [(SQUARE, False), (SQUARE[::-1], False), (EIGHT, True), (TWICE, True)])
def test_a_ring_that_crosses_itself_is_told(ring, expected):
    assert crosses_itself(ring) is expected

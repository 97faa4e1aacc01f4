"""Rings filled on a grid: against a point-by-point test, on the lattice, and beyond the grid."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.polygons import rasterize_rings

SQUARE = np.array([(1.0, 1.0), (1.0, 4.0), (3.0, 4.0), (3.0, 1.0)])


def test_a_square_on_the_lattice_fills_whole_cells():
    expected = np.zeros((5, 6), bool)
    expected[1:3, 1:4] = True
    assert np.array_equal(rasterize_rings([SQUARE], (5, 6)), expected)
    assert np.array_equal(rasterize_rings([SQUARE[::-1]], (5, 6)), expected)


def test_a_ring_within_another_is_a_hole():
    wide = np.array([(0, 0), (0, 6), (5, 6), (5, 0)])
    assert np.array_equal(rasterize_rings([wide, SQUARE], (5, 6)), ~rasterize_rings([SQUARE], (5, 6)))
    assert not rasterize_rings([SQUARE, SQUARE], (5, 6)).any()


def test_areas_outside_the_grid_are_clipped():
    wide = SQUARE * 10 - 15
    assert rasterize_rings([wide], (5, 6)).all()
    assert not rasterize_rings([wide + 1000], (5, 6)).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 13), st.floats(-3, 13)), min_size=3, max_size=9))
def test_even_odd_fill_matches_a_point_in_polygon_test(points):
    from skimage.measure import points_in_poly

    # No vertex and no diagonal through the center of a cell, where either result is right.
    ring = np.round(np.array(points), 3) + np.array([1e-4, 2.3e-4])
    centres = np.argwhere(np.ones((10, 10), bool)) + 0.5
    expected = points_in_poly(centres, ring).reshape(10, 10)
    assert np.array_equal(rasterize_rings([ring], (10, 10)), expected)

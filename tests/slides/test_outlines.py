"""Masks of cells to polygons and back: no cell more or less, and polygons that every program takes for valid."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.polygons import Polygon, signed_area
from napari_melanoma.slides.outlines import cell_polygons, rasterize_polygons

PLACE = MapPlacement(100.0, -40.0, 2.0, 4.0)
MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@settings(max_examples=40)
@given(MASKS)
def test_the_polygons_have_the_area_of_the_mask_and_give_it_back(mask: np.ndarray) -> None:
    polygons = cell_polygons(mask, PLACE)
    assert sum(polygon.area for polygon in polygons) == mask.sum() * 8
    np.testing.assert_array_equal(rasterize_polygons(polygons, PLACE, Box(0, 0, *mask.shape)), mask)
    areas = [polygon.area for polygon in polygons]
    assert areas == sorted(areas, reverse=True)


@settings(max_examples=40)
@given(MASKS)
def test_no_ring_meets_itself_and_they_run_as_they_should(mask: np.ndarray) -> None:
    for polygon in cell_polygons(mask, PLACE):
        assert signed_area(polygon.outer) > 0
        assert all(signed_area(hole) < 0 for hole in polygon.holes)
        for ring in polygon.rings:
            assert len(set(ring)) == len(ring) >= 4


def test_a_window_shows_its_part() -> None:
    mask = np.random.default_rng(0).random((20, 30)) < 0.5
    window = Box(3, 7, 9, 11)
    np.testing.assert_array_equal(rasterize_polygons(cell_polygons(mask, PLACE), PLACE, window), mask[window.slices])


def test_a_square_has_four_corners_and_its_hole_too() -> None:
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    (polygon,) = cell_polygons(mask, MapPlacement(0, 0, 1, 1))
    assert sorted(polygon.outer) == [(0, 0), (0, 5), (5, 0), (5, 5)]
    assert [sorted(hole) for hole in polygon.holes] == [[(2, 2), (2, 3), (3, 2), (3, 3)]]


def test_cells_at_a_corner_are_two_polygons() -> None:
    assert [polygon.area for polygon in cell_polygons(np.eye(2, dtype=bool), MapPlacement(0, 0, 1, 1))] == [1, 1]


def test_a_ring_that_closes_over_a_corner_has_a_hole() -> None:
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)
    (polygon,) = cell_polygons(mask, MapPlacement(0, 0, 1, 1))
    assert (polygon.area, len(polygon.holes)) == (7, 1)


def test_islands_in_holes_are_polygons_of_their_own() -> None:
    mask = np.ones((7, 7), bool)
    mask[1:6, 1:6] = False
    mask[3, 3] = True
    assert [len(polygon.holes) for polygon in cell_polygons(mask, PLACE)] == [1, 0]


def test_an_empty_mask_has_no_polygon() -> None:
    assert cell_polygons(np.zeros((3, 4), bool), PLACE) == ()


def test_a_drawn_region_covers_cells_by_their_centers() -> None:
    drawn = Polygon(((0.4, 0.4), (0.4, 2.6), (2.6, 2.6), (2.6, 0.4)))
    found = rasterize_polygons([drawn], MapPlacement(0, 0, 1, 1), Box(0, 0, 4, 4))
    np.testing.assert_array_equal(
        np.argwhere(found), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    )

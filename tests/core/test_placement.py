"""Placement of maps on slides: conversion of cells to slide pixels, areas, and napari's layer position."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.geometry import MapPlacement, PixelSize

PLACE = MapPlacement(100.0, 200.0, 448.0, 224.0, PixelSize(0.25, 0.5))


def test_points_go_from_cells_to_the_slide() -> None:
    np.testing.assert_array_equal(PLACE.to_slide([(0, 0), (0.5, 0.5), (2, 1)]), [(100, 200), (324, 312), (996, 424)])


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)), min_size=1, max_size=5))
def test_and_back(points: list[tuple[float, float]]) -> None:
    np.testing.assert_allclose(PLACE.to_slide(PLACE.to_map(points)), points, atol=1e-6)


def test_areas_take_both_axes_by_themselves() -> None:
    assert PLACE.cell_um == (112.0, 112.0)
    assert PLACE.cell_area_px == 448 * 224
    assert PLACE.cell_area_mm2 == pytest.approx(0.112**2)


def test_a_pixel_map_is_aligned_with_the_slide_in_napari() -> None:
    place = MapPlacement(0, 0, 1, 1, PixelSize(0.25, 0.5))
    assert (place.scale, place.translate) == ((0.25, 0.5), (0.0, 0.0))


def test_napari_gets_the_center_of_the_first_cell() -> None:
    assert PLACE.scale == (112.0, 112.0)
    assert PLACE.translate == ((100 + 224 - 0.5) * 0.25, (200 + 112 - 0.5) * 0.5)


def test_without_a_scale_there_are_pixels_and_no_millimeters() -> None:
    place = MapPlacement(0, 0, 8, 4)
    assert (place.cell_um, place.cell_area_mm2) == (None, None)
    assert (place.scale, place.translate) == ((8, 4), (3.5, 1.5))


def test_a_thumbnail_covers_its_slide() -> None:
    place = MapPlacement.from_thumbnail((100, 50, 3), (1001, 499), PixelSize(0.5, 0.5))
    np.testing.assert_allclose(place.to_slide((100, 50)), (1001, 499))

"""Repair of polygons that cross themselves, and clipping at the slide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from napari_melanoma.core.polygons import Polygon, Ring, as_array, clip_polygon, ring_contains, untangle_polygon

SQUARE: Ring = ((0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 0.0))
EIGHT: Ring = ((0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0))
TOUCHING: Ring = ((0.0, 0.0), (5.0, 5.0), (0.0, 10.0), (10.0, 10.0), (5.0, 5.0), (10.0, 0.0))
TWICE: Ring = ((0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 2.0), (4.0, 2.0), (4.0, 6.0), (12.0, 6.0), (12.0, 0.0))


def test_a_sound_area_stays_the_same_object() -> None:
    sound = Polygon(SQUARE, (((2.0, 2.0), (4.0, 2.0), (4.0, 4.0), (2.0, 4.0)),))
    assert untangle_polygon(sound)[0] is sound


@pytest.mark.parametrize("ring", [EIGHT, TOUCHING], ids=["crossing", "touching"])
def test_a_figure_of_eight_becomes_two_areas(ring: Ring) -> None:
    parts = untangle_polygon(Polygon(ring))
    assert [part.area for part in parts] == [25.0, 25.0] if ring is EIGHT else [50.0]
    assert sum(part.area for part in parts) == pytest.approx(50.0)


def test_what_is_enclosed_twice_counts_once() -> None:
    (part,) = untangle_polygon(Polygon(TWICE))
    assert part.area == pytest.approx(100 + 2 * 6 - 8 * 0)


def test_holes_go_with_the_part_that_they_lie_in() -> None:
    hole: Ring = ((8.0, 4.0), (8.0, 6.0), (9.0, 6.0), (9.0, 4.0))
    parts = untangle_polygon(Polygon(EIGHT, (hole,)))
    assert [part.holes for part in parts if ring_contains(part.outer, (8.5, 5.0))] == [(hole,)]
    assert sum(part.area for part in parts) == pytest.approx(48.0)


def test_a_ring_without_an_area_gives_nothing() -> None:
    assert untangle_polygon(Polygon(((0.0, 0.0), (5.0, 5.0), (0.0, 0.0), (5.0, 5.0)))) == ()


def winding(ring: Ring, point: tuple[float, float]) -> int:
    """How often a ring winds around a point, by the angles that its edges are seen under."""
    away = as_array(ring) - point
    angles = np.arctan2(away[:, 0], away[:, 1])
    turns = (np.diff(np.append(angles, angles[0])) + np.pi) % (2 * np.pi) - np.pi
    return round(float(turns.sum()) / (2 * np.pi))


@given(st.integers(0, 2**32), st.integers(4, 12))
def test_parts_are_sound_and_cover_what_the_ring_winds_around(seed: int, corners: int) -> None:
    random = np.random.default_rng(seed)
    ring: Ring = tuple(map(tuple, random.uniform(0, 40, (corners, 2)).tolist()))
    parts = untangle_polygon(Polygon(ring))
    for row, column in random.uniform(0, 40, (60, 2)).tolist():
        holders = [part for part in parts if ring_contains(part.outer, (row, column))]
        covered = [one for one in holders if not any(ring_contains(hole, (row, column)) for hole in one.holes)]
        assert len(covered) == (winding(ring, (row, column)) != 0)


@given(st.lists(st.tuples(st.integers(-30, 60), st.integers(-30, 60)), min_size=3, max_size=3, unique=True))
def test_a_triangle_is_cut_at_the_slide(points: list[tuple[int, int]]) -> None:
    triangle = Polygon(tuple((float(row), float(column)) for row, column in points))
    left = clip_polygon(triangle, (30, 20))
    whole = polygon2mask((90, 90), as_array(triangle.outer) + 29.5)
    expected = whole[30:60, 30:50].sum()
    found = 0.0 if left is None else left.area
    assert found == pytest.approx(expected, abs=45)
    if left is not None:
        vertices = as_array(left.outer)
        assert (vertices >= 0).all()
        assert (vertices <= (30, 20)).all()


def test_what_lies_within_is_not_touched_and_what_lies_outside_is_gone() -> None:
    inside, outside = Polygon(SQUARE), Polygon(tuple((row + 100, column) for row, column in SQUARE))
    assert clip_polygon(inside, (10, 10)) is inside
    assert clip_polygon(outside, (50, 50)) is None
    half = clip_polygon(Polygon(SQUARE, (((2.0, 1.0), (4.0, 1.0), (4.0, 9.0), (2.0, 9.0)),)), (10, 5))
    assert half is not None
    assert half.area == 50 - 8

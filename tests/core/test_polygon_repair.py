"""Repair of polygons that cross themselves, and clipping at the slide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from napari_melanoma.core.polygons import Polygon, Ring, as_array, clip_polygon, points_within, untangle_polygon

SQUARE: Ring = ((0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 0.0))
EIGHT: Ring = ((0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0))
TOUCHING: Ring = ((0.0, 0.0), (5.0, 5.0), (0.0, 10.0), (10.0, 10.0), (5.0, 5.0), (10.0, 0.0))
TWICE: Ring = ((0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 2.0), (4.0, 2.0), (4.0, 6.0), (12.0, 6.0), (12.0, 0.0))


def test_a_sound_area_stays_the_same_object() -> None:
    sound = Polygon(SQUARE, (((2.0, 2.0), (4.0, 2.0), (4.0, 4.0), (2.0, 4.0)), ((6.0, 6.0), (8.0, 6.0), (7.0, 8.0))))
    assert untangle_polygon(sound)[0] is sound


@pytest.mark.parametrize("ring", [EIGHT, TOUCHING], ids=["crossing", "touching"])
def test_a_figure_of_eight_becomes_two_areas(ring: Ring) -> None:
    parts = untangle_polygon(Polygon(ring))
    assert [part.area for part in parts] == [25.0, 25.0] if ring is EIGHT else [50.0]
    assert sum(part.area for part in parts) == pytest.approx(50.0)


def test_an_area_that_is_enclosed_twice_counts_once() -> None:
    (part,) = untangle_polygon(Polygon(TWICE))
    assert part.area == pytest.approx(100 + 2 * 6 - 8 * 0)


def test_holes_belong_to_the_part_around_them() -> None:
    hole: Ring = ((8.0, 4.0), (8.0, 6.0), (9.0, 6.0), (9.0, 4.0))
    parts = untangle_polygon(Polygon(EIGHT, (hole,)))
    assert [set(inner) for part in parts for inner in part.holes] == [set(hole)]
    assert points_within([(8.5, 5.0), (8.5, 3.0)], parts).tolist() == [False, True]
    assert sum(part.area for part in parts) == pytest.approx(48.0)


def test_sides_that_coincide_neither_add_nor_lose_an_area() -> None:
    ring: Ring = (
        (4.0, 6.0),
        (4.0, 3.0),
        (6.0, 6.0),
        (5.0, 6.0),
        (2.0, 6.0),
        (5.0, 7.0),
        (7.0, 2.0),
        (1.0, 6.0),
        (7.0, 2.0),
        (5.0, 6.0),
    )
    parts = untangle_polygon(Polygon(ring))
    assert sum(part.area for part in parts) == pytest.approx(124.508928571 / 25)  # 190.99 / 25 by shapely.make_valid
    points = [(4.5, 5.0), (5.45, 5.5), (3.0, 4.0), (6.5, 3.2)]
    assert points_within(points, parts).tolist() == [winding(ring, point) != 0 for point in points]


def test_sides_that_nearly_coincide_give_valid_areas() -> None:
    random = np.random.default_rng(3)
    for jitter in (1e-7, 1e-9, 1e-12):
        there = np.cumsum(random.normal(0, 3, (40, 2)), axis=0) + 1e5
        back = there[::-1] + random.normal(0, jitter, there.shape)
        parts = untangle_polygon(Polygon(tuple(map(tuple, np.concatenate([there, back]).tolist()))))
        assert all(untangle_polygon(part) == (part,) for part in parts)


def test_a_ring_without_an_area_gives_nothing() -> None:
    assert untangle_polygon(Polygon(((0.0, 0.0), (5.0, 5.0), (0.0, 0.0), (5.0, 5.0)))) == ()


def winding(ring: Ring, point: tuple[float, float]) -> int:
    """How often a ring winds around a point, by the angles that its edges are seen under."""
    away = as_array(ring) - point
    angles = np.arctan2(away[:, 0], away[:, 1])
    turns = (np.diff(np.append(angles, angles[0])) + np.pi) % (2 * np.pi) - np.pi
    return round(float(turns.sum()) / (2 * np.pi))


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), corners=st.integers(4, 12), step=st.sampled_from([1e-6, 5.0]))
def test_parts_are_valid_and_cover_the_enclosed_area(seed: int, corners: int, step: float) -> None:
    """With wide steps, vertices lie on other vertices and edges."""
    random = np.random.default_rng(seed)
    ring: Ring = tuple(map(tuple, (random.uniform(0, 40, (corners, 2)) // step * step).tolist()))
    parts = untangle_polygon(Polygon(ring))
    points = random.uniform(0, 40, (60, 2)).tolist()
    covered = sum((points_within(points, [part]).astype(int) for part in parts), np.zeros(len(points), int))
    assert covered.tolist() == [winding(ring, point) != 0 for point in points]
    assert all(untangle_polygon(part) == (part,) for part in parts)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-30, 60), st.integers(-30, 60)), min_size=3, max_size=3, unique=True))
def test_a_triangle_is_clipped_to_the_slide(points: list[tuple[int, int]]) -> None:
    triangle = Polygon(tuple((float(row), float(column)) for row, column in points))
    left = clip_polygon(triangle, (30, 20))
    whole = polygon2mask((90, 90), as_array(triangle.outer) + 29.5)
    expected = whole[30:60, 30:50].sum()
    assert sum(part.area for part in left) == pytest.approx(expected, abs=45)
    for part in left:
        vertices = as_array(part.outer)
        assert (vertices >= 0).all()
        assert (vertices <= (30, 20)).all()


def test_areas_inside_are_unchanged_and_others_removed() -> None:
    inside, outside = Polygon(SQUARE), Polygon(tuple((row + 100, column) for row, column in SQUARE))
    assert clip_polygon(inside, (10, 10))[0] is inside
    assert clip_polygon(outside, (50, 50)) == ()
    (half,) = clip_polygon(Polygon(SQUARE, (((2.0, 1.0), (4.0, 1.0), (4.0, 9.0), (2.0, 9.0)),)), (10, 5))
    assert half.area == 50 - 8


def test_the_border_of_the_slide_divides_an_area() -> None:
    horseshoe: Ring = ((0, 0), (0, 10), (-5, 10), (-5, -5), (15, -5), (15, 10), (10, 10), (10, 0))
    parts = clip_polygon(Polygon(tuple((row + 5.0, column) for row, column in horseshoe)), (20, 20))
    assert sorted(part.area for part in parts) == [50.0, 50.0]


@pytest.mark.parametrize(
    ("polygon", "area"),
    [
        (Polygon(SQUARE, (((2.0, 5.0), (2.0, 15.0), (4.0, 15.0), (4.0, 5.0)),)), 90.0),
        (Polygon(SQUARE, (((20.0, 0.0), (20.0, 5.0), (25.0, 5.0)),)), 100.0),
        (Polygon((*SQUARE[:2], (10.0, 10.0), (10.0, 15.0), (10.0, 10.0), (10.0, 0.0))), 100.0),
    ],
    ids=["hole across the border", "hole outside", "spike"],
)
def test_invalid_holes_and_spikes_are_repaired(polygon: Polygon, area: float) -> None:
    (part,) = untangle_polygon(polygon)
    assert part.area == area


def test_a_hole_without_an_area_is_dropped() -> None:
    assert untangle_polygon(Polygon(SQUARE, (((2.0, 2.0), (4.0, 4.0)),))) == (Polygon(SQUARE),)


@pytest.mark.parametrize("size", [1e200, 1e308])
def test_coordinates_that_overflow_have_no_area(size: float) -> None:
    assert untangle_polygon(Polygon(tuple((row * size / 10, column * size / 10) for row, column in EIGHT))) == ()

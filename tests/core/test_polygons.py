"""Polygons as values: areas with holes, boxes, and rings to arrays and back."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import shapely

from napari_melanoma.core.geometry import Box
from napari_melanoma.core.polygons import (
    Polygon,
    as_array,
    as_ring,
    joint_area,
    joint_box,
    signed_area,
    split_at_holes,
    to_shape,
    to_shapes,
    untangle_polygon,
)


def square(top: float, left: float, side: float) -> tuple[tuple[float, float], ...]:
    return ((top, left), (top, left + side), (top + side, left + side), (top + side, left))


def test_holes_do_not_count() -> None:
    polygon = Polygon(square(0, 0, 10), (square(1, 1, 2), square(5, 5, 3)))
    assert polygon.area == 100 - 4 - 9
    assert polygon.rings == (square(0, 0, 10), square(1, 1, 2), square(5, 5, 3))


def test_copies_are_equal_and_read_only() -> None:
    polygon = Polygon(square(0, 0, 10), (square(1, 1, 2),))
    for copied in (copy.deepcopy(polygon), *(pickle.loads(pickle.dumps(polygon, version)) for version in range(6))):
        assert (copied, hash(copied)) == (polygon, hash(polygon))
        assert not any(ring.flags.writeable for ring in copied.arrays)
    assert polygon != Polygon(square(0, 0, 10))
    assert polygon != Polygon(square(0, 0, 10), (square(1, 1, 3),))


def test_clockwise_on_a_screen_is_positive_and_far_from_the_origin_exact() -> None:
    ring = square(1e7, 1e7, 0.5)
    assert signed_area(ring) == 0.25
    assert signed_area(ring[::-1]) == -0.25


def test_the_box_has_whole_pixels() -> None:
    assert Polygon(square(1.5, 2.25, 3)).box == Box(1, 2, 4, 4)
    assert joint_box((Polygon(square(1.5, 2.25, 3)), Polygon(square(-4, 10, 1)))) == Box(-4, 2, 9, 9)


def test_rings_and_arrays() -> None:
    ring = square(0, 0, 3)
    closed = np.vstack([as_array(ring), as_array(ring)[:1]])
    assert as_ring(closed) == as_ring(as_array(ring)) == ring


def test_a_bow_tie_with_a_spike_keeps_its_areas() -> None:
    bow_tie_with_spike = ((0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0), (0.0, 30.0), (0.0, 10.0))
    assert sum(part.area for part in untangle_polygon(Polygon(bow_tie_with_spike))) == pytest.approx(50.0)


def test_an_area_is_cut_into_parts_without_holes() -> None:
    """The parts cover the area once, also with a hole beside, within the rows of, or around another ring."""
    outer = ((0.0, 0.0), (0.0, 90.0), (60.0, 90.0), (80.0, 40.0), (60.0, 0.0))
    holes = tuple(
        tuple((top + row, left + column) for row, column in ((0.0, 2.0), (4.0, 9.0), (9.0, 3.0), (5.0, 0.0)))
        for top, left in ((5.0, 5.0), (5.0, 40.0), (9.0, 70.0), (40.0, 30.0), (50.0, 31.0))
    )
    parts = split_at_holes(Polygon(outer, holes))
    assert len(parts) > 1
    area = Polygon(outer, holes).area
    assert sum(Polygon(part).area for part in parts) == pytest.approx(area)
    assert joint_area([Polygon(part) for part in parts]) == pytest.approx(area)
    assert split_at_holes(Polygon(outer)) == tuple(part.outer for part in untangle_polygon(Polygon(outer)))


def test_many_areas_are_converted_like_one_after_the_other() -> None:
    random = np.random.default_rng(0)

    def draw() -> Polygon:
        angles, center = np.linspace(0, 6, random.integers(4, 20)), random.uniform(0, 1e5, 2)
        ring = np.stack([np.sin(angles), np.cos(angles)], axis=1)
        holes = [center + scale * ring for scale in (5.3, 1.7)[: random.integers(0, 3)]]
        return Polygon(center + 100 * random.uniform(0.5, 1, (len(ring), 1)) * ring, holes)

    areas = [tuple(draw() for _ in range(count)) for count in (1, 3, 2, 1)]
    expected = [shapely.multipolygons([to_shape(polygon) for polygon in area]) for area in areas]
    assert shapely.to_wkb(to_shapes(areas)).tolist() == shapely.to_wkb(expected).tolist()
    assert not len(to_shapes([]))

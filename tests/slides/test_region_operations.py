"""Operations on regions: laws of areas, validity, holes, rectangular pixels, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as some

from napari_melanoma.core.errors import InputError, ScaleMissing
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import Polygon, to_shape
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.slides.region_operations import (
    cut_hole,
    fill_holes,
    grow_regions,
    intersect_regions,
    pixel_ratio,
    place_copies,
    simplify_regions,
    snap_regions,
    split_regions,
    subtract_regions,
    unite_regions,
)
from napari_melanoma.slides.regions import is_locked, set_locked

SIZE = (2000, 2000)
UM = (1.0, 1.0)
WIDE = (0.5, 2.0)  # pixels that are four times as wide as high


def square(top, left, height, width=None):
    width = height if width is None else width
    return ((top, left), (top, left + width), (top + height, left + width), (top + height, left))


def region(name, *rings, holes=(), **properties):
    parts = [Polygon(rings[0], tuple(holes)), *map(Polygon, rings[1:])]
    return Annotation(tuple(parts), "Melanoma", (200, 0, 0), name, id=name, properties=properties)


def shape(region):
    return shapely.union_all([to_shape(polygon) for polygon in region.polygons])


def area(*regions):
    return sum(shape(one).area for one in regions)


def is_sound(regions):
    return all(one.polygons and all(to_shape(polygon).is_valid for polygon in one.polygons) for one in regions)


@some.composite
def blobs(draw):
    """A star-shaped region with or without a hole, somewhere on the slide."""
    count = draw(some.integers(5, 24))
    radii = np.array(draw(some.lists(some.floats(20, 150), min_size=count, max_size=count)))
    center = np.array([draw(some.floats(200, 500)), draw(some.floats(200, 500))])
    turns = np.linspace(0, 2 * np.pi, count, endpoint=False)[:, None]
    around = np.hstack([np.sin(turns), np.cos(turns)])
    ring = tuple(map(tuple, (center + radii[:, None] * around).tolist()))
    inner = tuple(map(tuple, (center + 0.3 * radii.min() * around[::-1]).tolist()))
    return Polygon(ring, (inner,) if draw(some.booleans()) else ())


def pair(one, other):
    return (
        Annotation((one,), "A", name="one", id="one", properties={"kept": 1}),
        Annotation((other,), "B", name="other", id="other"),
    )


@settings(max_examples=30)
@given(blobs(), blobs())
def test_areas_of_union_difference_and_intersection_add_up(one, other):
    regions = pair(one, other)
    largest = max(regions, key=area)
    if area(largest) < 1.001 * min(map(area, regions)):
        return  # either of them is the largest
    united = unite_regions(regions, {"one", "other"})
    assert [region.id for region in united] == [largest.id]
    assert united[0].properties == largest.properties
    assert is_sound(united)
    overlap = area(*regions) - area(*united)
    assert overlap >= -1e-6
    if overlap > 1:
        common = intersect_regions(regions, {"one", "other"})
        assert area(*common) == pytest.approx(overlap, rel=1e-6)
        assert is_sound(common)
    if overlap > 1 and area(largest) - overlap > 1:
        left = subtract_regions(regions, {"one", "other"})
        assert [region.id for region in left] == ["one", "other"]
        assert area(*left) == pytest.approx(area(*united), rel=1e-6)
        assert is_sound(left)


@settings(max_examples=30)
@given(blobs(), some.floats(0, math.pi), some.floats(-30, 30))
def test_a_line_splits_without_loss(polygon, angle, offset):
    before = (Annotation((polygon,), "A", name="kept", id="x", properties={"reader": "B"}),)
    center = np.array(polygon.outer).mean(axis=0) + offset
    way = 900 * np.array([math.sin(angle), math.cos(angle)])
    try:
        after = split_regions(before, {"x"}, np.array([center - way, center + way]))
    except InputError:
        return  # the line passes outside
    assert len(after) > 1
    assert is_sound(after)
    assert area(*after) == pytest.approx(area(*before), rel=1e-6)
    assert area(after[0]) == pytest.approx(max(map(area, after)))
    assert after[0].id == "x"
    assert len({one.id for one in after}) == len(after)
    assert {(one.class_name, one.name, one.properties["reader"]) for one in after} == {("A", "kept", "B")}
    inside = [one.buffer(-1e-6) for one in map(shape, after)]
    assert not any(a.intersects(b) for at, a in enumerate(inside) for b in inside[:at])


@settings(max_examples=30)
@given(blobs(), some.floats(1, 60), some.sampled_from([UM, WIDE, (0.25, 0.25)]))
def test_growth_is_by_the_distance_in_micrometers(polygon, distance, um):
    before = (Annotation((polygon,), "A", id="x"),)
    scaled = shapely.transform(shape(before[0]), lambda points: points * um)
    grown = grow_regions(before, {"x"}, distance, um, SIZE)
    assert is_sound(grown)
    after = shapely.transform(shape(grown[0]), lambda points: points * um)
    slide = shapely.box(0, 0, SIZE[0] * um[0], SIZE[1] * um[1])
    assert after.area >= scaled.area
    assert after.buffer(1e-6).contains(scaled)
    assert (
        after.symmetric_difference(scaled.buffer(distance, quad_segs=64).intersection(slide)).area < 0.01 * after.area
    )
    try:
        shrunk = grow_regions(grown, {"x"}, -distance, um, SIZE)
    except InputError:
        return
    again = shapely.transform(shape(shrunk[0]), lambda points: points * um)
    if slide.buffer(-distance).contains(after):
        assert scaled.difference(again).area < 0.01 * scaled.length * distance  # closing adds, and never removes


def test_growth_of_a_square_is_exact_where_pixels_are_not_square():
    before = (region("x", square(400, 400, 400, 100)),)  # 200 x 200 µm
    grown = grow_regions(before, {"x"}, 50, WIDE, SIZE)
    um2 = area(*grown) * WIDE[0] * WIDE[1]
    assert um2 == pytest.approx(200**2 + 4 * 200 * 50 + math.pi * 50**2, rel=2e-3)
    shrunk = grow_regions(before, {"x"}, -50, WIDE, SIZE)
    assert area(*shrunk) * WIDE[0] * WIDE[1] == pytest.approx(100**2)
    assert to_shape(shrunk[0].polygons[0]).bounds == (500, 425, 700, 475)


def test_growth_ends_at_the_border_and_closes_holes():
    before = (region("x", square(0, 0, 100), holes=[square(45, 45, 10)[::-1]]),)
    grown = grow_regions(before, {"x"}, 20, UM, SIZE)
    assert grown[0].polygons[0].holes == ()
    assert min(min(vertex) for vertex in grown[0].polygons[0].outer) == 0


def test_holes_are_added_and_filled():
    before = (region("x", square(0, 0, 100)), region("tissue", square(0, 0, 1000)))
    holed = cut_hole(before, (), [Polygon(square(40, 40, 20))])  # the smaller region below it
    assert holed[1] == before[1]
    assert area(holed[0]) == 100**2 - 20**2
    assert len(holed[0].polygons[0].holes) == 1
    assert area(fill_holes(holed, {"x"})[0]) == 100**2
    both = cut_hole(before, {"x", "tissue"}, [Polygon(square(40, 40, 20))])
    assert [area(one) for one in both] == [100**2 - 400, 1000**2 - 400]


def test_separate_parts_that_the_line_does_not_cross_stay_with_the_largest():
    before = (region("x", square(0, 0, 100), square(0, 300, 50)),)
    after = split_regions(before, (), np.array([(30.0, -10.0), (30.0, 110.0)]))
    assert [area(one) for one in after] == [7000 + 2500, 3000]
    again = unite_regions(after, {one.id for one in after})
    assert area(*again) == area(*before)


def test_a_line_into_a_hole_does_not_split():
    ring = (region("x", square(0, 0, 100), holes=[square(40, 40, 20)[::-1]]),)
    with pytest.raises(InputError, match="splits no region"):
        split_regions(ring, (), np.array([(50.0, -10.0), (50.0, 50.0)]))
    assert len(split_regions(ring, {"x"}, np.array([(50.0, -10.0), (50.0, 110.0)]))) == 2


def test_vertices_without_effect_are_removed():
    turns = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    circle = tuple(zip((500 + 200 * np.sin(turns)).tolist(), (500 + 200 * np.cos(turns)).tolist(), strict=True))
    before = (region("x", circle),)
    after = simplify_regions(before, {"x"}, 1.0, UM)
    assert len(after[0].polygons[0].outer) < 100
    assert area(*after) == pytest.approx(area(*before), rel=0.01)
    with pytest.raises(InputError, match="already as simple"):
        simplify_regions((region("x", square(0, 0, 100)),), {"x"}, 1.0, UM)


@pytest.mark.parametrize("gap", [-6.0, 0.0, 4.0, 7.5])
@pytest.mark.parametrize("um", [UM, WIDE])
def test_a_snapped_outline_shares_the_border_of_its_neighbor(gap, um):
    turns = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    y, x = 100 * np.sin(turns), 100 * np.cos(turns)
    neighbor = tuple(zip(((y + 500) / um[0]).tolist(), ((x + 500) / um[1]).tolist(), strict=True))
    wave = np.linspace(-60, 60, 40)
    near = [(500 + at, 500 + math.sqrt(100**2 - at**2) + gap) for at in wave]
    ring = [(row / um[0], column / um[1]) for row, column in (*near, (560.0, 800.0), (440.0, 800.0))]
    before = (region("n", neighbor), region("x", tuple(ring)))
    after = snap_regions(before, {"x"}, 8.0, um)
    assert after[0] == before[0]
    assert is_sound(after)
    both = shape(after[0]).intersection(shape(after[1])).area * um[0] * um[1]
    assert both < 1e-6 * area(after[1])
    gaps = shapely.union_all([shape(one).buffer(1e-7) for one in after])
    assert sum(1 for part in shapely.get_parts(gaps)) == 1
    shared = shape(after[0]).boundary.intersection(shape(after[1]).boundary.buffer(1e-6)).length
    assert shared * max(um) > 100


# Snapped to each other, two of these have sides that nearly coincide, of which GEOS makes an invalid area.
SPIKE = (
    (200.0, 220.0),
    (207.22483332374307, 218.6494445880871),
    (233.94294755463682, 237.23363978406508),
    (332.4841671205492, 265.9692766549277),
    (219.9146835259007, 201.84536718926603),
    (219.23651286345637, 194.52674019855834),
    (215.96034454560478, 187.9473072724149),
    (210.52864325754712, 182.99565728540773),
    (203.67499035633142, 180.34053800632196),
    (196.3250096436686, 180.34053800632196),
    (189.47135674245288, 182.99565728540773),
    (184.03965545439522, 187.94730727241486),
    (180.76348713654363, 194.52674019855834),
    (180.0853164740993, 201.84536718926603),
    (182.09673417289875, 208.91476711553076),
    (186.52608712706885, 214.78017834441317),
    (192.77516667625693, 218.6494445880871),
)
WIDER_SPIKE = (*SPIKE[:4], (269.70139234065243, 206.45878516243113), *SPIKE[5:])


@settings(max_examples=30)
@example(Polygon(SPIKE), Polygon(WIDER_SPIKE), 4.0)
@given(blobs(), blobs(), some.floats(1, 15))
def test_snapping_moves_nothing_farther_than_the_distance(one, other, distance):
    before = pair(one, other)
    after = snap_regions(before, {"one"}, distance, UM)
    assert after[1] == before[1]
    assert is_sound(after)
    moved = shape(after[0]).symmetric_difference(shape(before[0]))
    assert moved.difference(shape(before[0]).boundary.buffer(3.5 * distance)).area < 1e-6


@pytest.mark.slow
def test_a_painted_outline_of_many_vertices_is_snapped():
    turns = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    radius = 2000 + 2 * np.sin(450 * turns)
    ring = tuple(zip((2500 + radius * np.sin(turns)).tolist(), (2500 + radius * np.cos(turns)).tolist(), strict=True))
    turns = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    y, x = 240 * np.sin(turns) + 250, 240 * np.cos(turns) + 250
    others = [
        region(f"n{row}-{column}", tuple(zip((500 * row + y).tolist(), (500 * column + x).tolist(), strict=True)))
        for row in range(10)
        for column in range(10)
    ]
    before = (*others, region("x", ring))
    after = snap_regions(before, {"x"}, 10.0, UM)
    assert (
        shape(after[-1]).symmetric_difference(shape(before[-1])).difference(shape(before[-1]).boundary.buffer(35)).area
        < 1e-6
    )


def test_without_neighbors_nothing_snaps():
    before = (region("x", square(0, 0, 10)),)
    assert snap_regions(before, {"x"}, 5, UM) == before


HALF_WAY = np.array([(50.0, -5.0), (50.0, 50.0)])
REFUSED = [
    ("one region", lambda all: unite_regions(all, {"x"}), "at least two"),
    ("far apart", lambda all: subtract_regions(all, {"x", "far"}), "no overlap"),
    ("nothing in common", lambda all: intersect_regions(all, {"x", "far"}), "no area in common"),
    ("all subtracted", lambda all: subtract_regions(all, {"x", "same"}), "nothing would be left of 'x'"),
    ("shrunk away", lambda all: grow_regions(all, {"x"}, -60, UM, SIZE), "wider than twice the distance. Shrink"),
    ("hole beside", lambda all: cut_hole(all, {"x"}, [Polygon(square(500, 500, 5))]), "no overlap"),
    ("hole nowhere", lambda all: cut_hole(all, (), [Polygon(square(500, 500, 5))]), "no region under"),
    ("hole of all", lambda all: cut_hole(all, {"x"}, [Polygon(square(-5, -5, 500))]), "nothing would be left"),
    ("no holes", lambda all: fill_holes(all, {"x"}), "no holes"),
    ("a dot", lambda all: split_regions(all, {"x"}, np.array([(5.0, 5.0), (5.0, 5.0)])), "no length"),
    ("half way", lambda all: split_regions(all, {"x"}, HALF_WAY), "one region is selected, 'x', .* Draw .* across it"),
    ("far", lambda all: split_regions(all, {"far", "shut"}, HALF_WAY), "2 regions are selected, 'far', 'shut', and"),
    ("locked", lambda all: grow_regions(all, {"shut"}, 5, UM, SIZE), "locked: 'shut'"),
    ("locked split", lambda all: split_regions(all, {"shut"}, np.array([(950.0, 0.0), (950.0, 1999.0)])), "locked"),
    ("locked union", lambda all: unite_regions(all, {"x", "shut"}), "locked"),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_rejected_operations_change_nothing(operation, message):
    regions = (
        region("x", square(0, 0, 100)),
        region("same", square(0, 0, 100)),
        region("far", square(300, 300, 50)),
        *set_locked((region("shut", square(900, 900, 100)),), {"shut"}, locked=True),
    )
    with pytest.raises(InputError, match=message):
        operation(regions)


def test_copies_have_their_size_in_micrometers_and_are_unlocked():
    shut = region("x", square(100, 100, 40), isLocked=True, author={"of": "another program"})
    adjacent = region("y", square(100, 200, 20))
    ratio = pixel_ratio(PixelSize(0.5, 0.25), PixelSize(1.0, 1.0))
    first, second = place_copies((shut, adjacent), ratio, (1000.0, 1000.0), SIZE)
    assert area(first) == pytest.approx(40 * 0.5 * 40 * 0.25)
    assert not is_locked(first)
    assert first.properties == {"author": {"of": "another program"}}
    assert {first.id, second.id}.isdisjoint({"x", "y"})
    assert (first.name, first.class_name, first.color) == (shut.name, shut.class_name, shut.color)
    left, right = shape(first).bounds, shape(second).bounds
    assert right[1] - left[1] == pytest.approx(100 * 0.25)
    assert (left[0] + left[2]) / 2 == 1000
    with pytest.raises(InputError, match="outside the slide"):
        place_copies((shut,), ratio, (-500.0, -500.0), SIZE)


@pytest.mark.parametrize(
    ("source", "target", "which"),
    [
        (None, PixelSize(1, 1), "from which the regions were copied"),
        (PixelSize(1, 1), None, "on which they are pasted"),
    ],
)
def test_without_a_scale_nothing_is_copied_to_another_slide(source, target, which):
    with pytest.raises(ScaleMissing, match=which):
        pixel_ratio(source, target)

"""Outlines refined by clicks: the border moves to the edge in the image, and only there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.core.polygons import Polygon, to_shape
from napari_melanoma.imaging.scribbles import redraw_at_click
from napari_melanoma.slides.lesion_edits import refine_lesion
from napari_melanoma.slides.lesions import LesionConfig, LesionMaps, find_lesions
from napari_melanoma.slides.outlines import OutlineClick, find_clicked_outline, refine_polygons
from napari_melanoma.slides.region_operations import refine_region
from napari_melanoma.slides.regions import RegionClass, region_from_polygons, set_locked

SIDE, STEP = 200, 4.0
CORNER = np.array([1000.0, 500.0])  # of the window on the slide
PLACE = MapPlacement(*CORNER, STEP, STEP)
PINK, PURPLE = (215, 150, 190), (90, 40, 110)
MELANOMA = RegionClass("Melanoma", (200, 0, 0))


def disk(row, column, radius):
    """Polygon of a disk in the window."""
    turns = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    ring = np.stack([row + radius * np.sin(turns), column + radius * np.cos(turns)], axis=1)
    return Polygon(tuple(map(tuple, ring * STEP + CORNER)))


def picture():
    """Return pink tissue with a purple lesion, which has a pale center, and noise."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    distance = np.hypot(rows - 100, columns - 80)
    rgb = np.full((SIDE, SIDE, 3), PINK, float)
    rgb[(distance <= 50) & (distance > 12)] = PURPLE
    return np.clip(rgb + np.random.default_rng(0).normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)


def click(row, column, *, include, read=picture, reach=200.0, pixel_um=(1.0, 1.0)):
    point = tuple(np.array((row, column)) * STEP + CORNER)
    return OutlineClick(point, include, reach, pixel_um, (4000, 4000), PLACE, read)


def cut(polygon, shape):
    (found,) = shapely.get_parts(shapely.difference(to_shape(polygon), shape)).tolist()
    return Polygon(*(tuple(map(tuple, shapely.get_coordinates(ring)[:-1])) for ring in (found.exterior,)))


LESION = Polygon(disk(100, 80, 50).outer, (disk(100, 80, 12).outer,))
CUT = Polygon(cut(LESION, shapely.box(0, 950, 4000, 4000)).outer, LESION.holes)  # right of column 112.5
BULGING = Polygon(
    tuple(map(tuple, shapely.get_coordinates(to_shape(disk(100, 80, 50)).union(to_shape(disk(100, 135, 28))))[:-1])),
    LESION.holes,
)


def overlap(polygons, truth=LESION):
    found, expected = shapely.union_all([to_shape(one) for one in polygons]), to_shape(truth)
    return found.intersection(expected).area / found.union(expected).area


@pytest.mark.parametrize(
    ("wrong", "at", "include"),
    [(CUT, (100, 121), True), (BULGING, (100, 146), False)],
    ids=["cut off", "bulging"],
)
def test_a_click_moves_the_border_to_the_edge_and_leaves_the_rest(wrong, at, include):
    (refined,) = refine_polygons([wrong], click(*at, include=include))
    assert overlap([wrong]) < 0.88
    assert overlap([refined]) > 0.96
    assert to_shape(refined).is_valid
    far = shapely.box(0, 0, 4000, 500 + 90 * STEP)  # the left side with the hole
    before, after = (to_shape(one).intersection(far) for one in (wrong, refined))
    assert before.symmetric_difference(after).area == pytest.approx(0, abs=1e-6)
    assert len(refined.holes) == 1
    kept = {point for point in wrong.outer if point[1] < 850}
    assert kept <= set(refined.outer)


def test_parts_that_a_click_does_not_touch_are_the_same():
    other = disk(40, 180, 8)
    refined = refine_polygons([other, CUT], click(100, 121, include=True))
    assert refined[0] is other
    assert len(refined) == 2


def test_a_small_outline_on_tissue_vanishes():
    assert refine_polygons([disk(30, 160, 12)], click(30, 160, include=False)) == ()


def test_a_click_on_the_right_side_changes_no_mask():
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    rgb = np.full((60, 60, 3), PINK, np.uint8)
    assert (redraw_at_click(rgb, mask, (30, 30), include=True) == mask).all()
    assert (redraw_at_click(rgb, mask, (5, 5), include=False) == mask).all()
    assert redraw_at_click(rgb, mask, (5, 5), include=True)[5, 5]
    assert not redraw_at_click(rgb, ~np.zeros((60, 60), bool), (30, 30), include=False)[30, 30]


@pytest.mark.parametrize(
    ("at", "include", "preferred", "expected"),
    [
        ((100, 80), False, (), "inner"),  # the smallest under the click
        ((100, 80), False, ("outer",), "outer"),
        ((100, 125), True, (), "inner"),  # the nearest
        ((100, 122), True, ("outer",), "outer"),
        ((100, 145), False, ("inner",), "outer"),  # nothing of the preferred one is there
    ],
)
def test_the_preferred_outline_is_changed_else_the_nearest(at, include, preferred, expected):
    ring = Polygon(disk(100, 80, 70).outer, (disk(100, 80, 60).outer,))
    outer = ring if at[1] > 100 else disk(100, 80, 70)
    outlines = [("outer", (outer,)), ("inner", (disk(100, 80, 40),))]
    assert find_clicked_outline(outlines, click(*at, include=include), preferred) == expected


def test_distances_are_in_the_unit_of_the_pixel_size():
    outlines = [("only", (disk(100, 80, 40),))]
    above = {"row": 40, "column": 80, "include": True, "reach": 100.0}  # 20 cells of 4 pixels
    assert find_clicked_outline(outlines, click(**above)) == "only"
    with pytest.raises(InputError, match="no outline here"):
        find_clicked_outline(outlines, click(**above, pixel_um=(2.0, 1.0)))


@pytest.mark.parametrize(
    ("at", "include", "message"),
    [((5, 190), True, "no outline here"), ((130, 80), True, "already inside"), ((100, 135), False, "not inside")],
)
def test_a_click_without_effect_shows_a_hint(at, include, message):
    with pytest.raises(InputError, match=message):
        find_clicked_outline([("only", (LESION,))], click(*at, include=include))


def test_regions_are_refined_removed_and_protected_by_their_lock():
    region, other = (region_from_polygons((one,), MELANOMA) for one in (CUT, disk(30, 160, 12)))
    refined, same = refine_region((region, other), (), click(100, 121, include=True))
    assert overlap(refined.polygons) > 0.96
    assert (refined.id, refined.class_name, same) == (region.id, "Melanoma", other)
    assert refine_region((region, other), (), click(30, 160, include=False)) == (region,)
    with pytest.raises(InputError, match="locked"):
        refine_region(set_locked((region,), (region.id,), locked=True), (), click(100, 121, include=True))


def test_lesions_keep_number_and_class_and_are_marked():
    presence = np.full((40, 40), 0.05, np.float32)
    presence[12:26, 6:16] = 0.9
    cell = MapPlacement(0.0, 0.0, 100.0, 100.0, PixelSize(0.5, 0.5))
    maps, config = LesionMaps(presence, cell, label="tumor"), LesionConfig()
    (found,) = find_lesions(maps, config)
    wrong = replace(found, polygons=(CUT,))
    (refined,) = refine_lesion((wrong,), (), click(100, 121, include=True), maps, config)
    assert (refined.index, refined.label, refined.origin) == (1, "tumor", "refined")
    assert overlap(refined.polygons) > 0.96
    assert refined.area_px == pytest.approx(to_shape(refined.polygons[0]).area, rel=0.01)
    small = replace(found, polygons=(disk(30, 160, 12),))
    assert refine_lesion((small,), (), click(30, 160, include=False), maps, config) == ()


def test_a_slide_is_not_left_at_its_edge():
    edge = replace(click(100, 121, include=True), size=(4000, 980))  # at column 120
    (refined,) = refine_polygons([CUT], edge)
    assert max(column for _, column in refined.outer) == 980


def test_nothing_changes_beyond_three_times_the_distance_of_the_click_from_the_border():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    rgb = np.full((SIDE, SIDE, 3), PINK, np.uint8)  # without any edge
    mask = columns < 100
    redrawn = redraw_at_click(rgb, mask, (100, 110), include=True)
    assert redrawn[100, 110]
    assert (mask <= redrawn).all()
    assert np.hypot(rows - 100, columns - 110)[redrawn & ~mask].max() <= 3 * 11 + 1

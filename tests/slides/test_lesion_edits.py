"""Lesions changed by hand: no cell is lost, given lesions stay as they were, and each step can be undone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.slides.lesion_edits import (
    add_lesion,
    merge_lesions,
    refine_lesion,
    remove_lesion,
    removed_lesions,
    set_lesion_class,
    split_lesion,
)
from napari_melanoma.slides.lesions import LesionConfig, LesionMaps, find_lesions, region_from_polygons
from napari_melanoma.slides.outlines import OutlineClick

PLACE = MapPlacement(0.0, 0.0, 10.0, 10.0, PixelSize(10.0, 10.0))
CONFIG = LesionConfig()


def slide() -> LesionMaps:
    presence = np.zeros((20, 40), np.float32)
    presence[2:8, 2:22] = 0.95
    presence[12:16, 2:12] = 0.8
    presence[12:16, 20:26] = 0.9
    return LesionMaps(presence, PLACE)


MAPS = slide()
FOUND = find_lesions(MAPS, CONFIG)
COLORS = np.full((200, 400, 3), 240, np.uint8)
COLORS[20:80, 20:240] = (90, 40, 110)
CLICK = OutlineClick((50.0, 225.0), True, 150.0, (10.0, 10.0), (200, 400), MapPlacement(0, 0, 1, 1), lambda: COLORS)


def areas(lesions: tuple) -> dict[int, float]:
    return {lesion.index: lesion.area_px / 100 for lesion in lesions}


def test_drawn_lesions_are_numbered_from_1_and_can_be_removed() -> None:
    small = Polygon(((32, 51), (32, 53), (34, 53), (34, 51)))  # within a cell
    drawn = add_lesion((), FOUND[1].polygons, MAPS, CONFIG)
    drawn = add_lesion(drawn, [small], MAPS, CONFIG)
    assert [one.index for one in drawn] == [1, 2]
    assert [one.index for one in add_lesion(FOUND, [small], MAPS, CONFIG)] == [1, 2, 3, 4]
    for now in ((), drawn[:1], drawn[1:], drawn):
        assert removed_lesions(drawn, now, MAPS) == tuple(one for one in drawn if one not in now)


def test_merged_lesions_are_measured_together() -> None:
    merged = merge_lesions(FOUND, [3, 1], MAPS, CONFIG)
    assert areas(merged) == {1: 144, 2: 40}
    one = merged[0]
    assert (one.origin, len(one.polygons)) == ("merged", 2)
    assert one.probability == pytest.approx((120 * 0.95 + 24 * 0.9) / 144)
    assert one.tissue_share == pytest.approx(144 / 800)
    assert one.extent == pytest.approx(144 / (14 * 24))
    assert merged[1] is FOUND[1]
    assert areas(FOUND) == {1: 120, 2: 40, 3: 24}


@pytest.mark.parametrize("indices", [[], [1], [1, 1], [1, 9]])
def test_merging_requires_two_existing_lesions(indices: list[int]) -> None:
    with pytest.raises(InputError, match=r"at least two|no lesion 9 on this slide \(lesions: 1, 2, 3\)"):
        merge_lesions(FOUND, indices, MAPS, CONFIG)


def test_a_line_across_parts_a_lesion() -> None:
    split = split_lesion(FOUND, 1, [(0, 80), (200, 80)], MAPS, CONFIG)
    assert sum(areas(split).values()) == 184
    assert areas(split)[1] + areas(split)[4] == 120
    assert areas(split)[1] > areas(split)[4] > 30
    assert [lesion.origin for lesion in split] == ["split", "found", "found", "split"]
    np.testing.assert_array_equal(
        [lesion.tissue_share for lesion in split[1:3]], [one.tissue_share for one in FOUND[1:]]
    )


def test_a_bent_line_parts_it_too() -> None:
    split = split_lesion(FOUND, 1, [(0, 60), (50, 100), (50, 160), (0, 190)], MAPS, CONFIG)
    assert len(split) == 4
    assert sum(areas(split).values()) == 184


@pytest.mark.parametrize(
    "line",
    [[(0, 80), (40, 80)], [(150, 0), (150, 390)], [(-50, -50), (-60, -60)]],
    ids=["half", "another's", "outside"],
)
def test_a_line_that_does_not_split_a_region_is_rejected(line: list[tuple[float, float]]) -> None:
    with pytest.raises(InputError, match="does not split lesion 1"):
        split_lesion(FOUND, 1, line, MAPS, CONFIG)


def test_undo_of_a_merge() -> None:
    split = split_lesion(merge_lesions(FOUND, [1, 3], MAPS, CONFIG), 1, [(90, 0), (90, 390)], MAPS, CONFIG)
    assert areas(split) == {1: 120, 2: 40, 3: 24}


@settings(max_examples=40)
@given(st.tuples(*[st.floats(-50, 450)] * 4))
def test_no_cell_is_lost_or_gained_by_a_split(ends: tuple[float, float, float, float]) -> None:
    try:
        split = split_lesion(FOUND, 1, [ends[:2], ends[2:]], MAPS, CONFIG)
    except InputError:
        return
    covered = np.zeros(MAPS.presence.shape, int)
    for lesion in split:
        region = region_from_polygons(lesion.polygons, MAPS)
        covered[region.slices] += region.mask
    np.testing.assert_array_equal(covered, MAPS.presence > 0)
    assert len({lesion.index for lesion in split}) == len(split) > 3


def test_a_manual_class_keeps_the_probability() -> None:
    classed = set_lesion_class(FOUND, 2, "benign")
    assert (classed[1].label, classed[1].probability, classed[1].origin) == ("benign", FOUND[1].probability, "classed")
    assert classed[0] is FOUND[0]


def test_a_lesion_is_removed_and_one_is_drawn() -> None:
    fewer = remove_lesion(FOUND, 2)
    assert areas(fewer) == {1: 120, 3: 24}
    drawn = Polygon(((0.0, 300.0), (0.0, 380.0), (50.0, 380.0), (50.0, 300.0)))
    more = add_lesion(fewer, [drawn], MAPS, CONFIG)
    assert areas(more) == {1: 120, 3: 24, 4: pytest.approx(40, rel=2e-3)}
    assert (more[-1].origin, more[-1].probability, more[-1].label) == ("drawn", 0.0, "benign")
    assert add_lesion([], [drawn], MAPS, CONFIG, "malignant")[0].label == "malignant"
    with pytest.raises(InputError, match=r"no lesion 1 on this slide \(lesions: none\)"):
        remove_lesion((), 1)


def square(top: float, left: float, side: float) -> Polygon:
    return Polygon(((top, left), (top, left + side), (top + side, left + side), (top + side, left)))


@pytest.mark.parametrize(
    "others", [[square(170, 301, 7.5), square(190, 333, 3)], [square(101, 101, 33)]], ids=["small ones", "one of both"]
)
def test_merging_drawn_lesions_keeps_their_outlines(others: list[Polygon]) -> None:
    lesions = FOUND
    for one in others:
        lesions = add_lesion(lesions, [one], MAPS, CONFIG, "malignant")
    drawn = [one.index for one in lesions if one.origin == "drawn"]
    chosen = drawn if len(drawn) > 1 else [1, *drawn]
    before = sum(one.area_px for one in lesions if one.index in chosen)
    (merged,) = (one for one in merge_lesions(lesions, chosen, MAPS, CONFIG) if one.origin == "merged")
    assert merged.area_px == pytest.approx(before)
    assert merged.area_mm2 == pytest.approx(before * 1e-4)
    assert sum(polygon.area for polygon in merged.polygons) == pytest.approx(before)


def test_splitting_a_drawn_lesion_keeps_its_outline() -> None:
    lesions = add_lesion((), [square(101, 101, 33)], MAPS, CONFIG, "malignant")
    parts = split_lesion(lesions, 1, [(90, 112), (150, 112)], MAPS, CONFIG)
    assert [one.area_px for one in parts] == pytest.approx([33 * 22, 33 * 11])
    assert [(one.index, one.label, one.label_origin, one.origin) for one in parts] == [
        (1, "malignant", "reader", "split"),
        (2, "malignant", "reader", "split"),
    ]


def test_a_class_set_by_hand_does_not_make_a_drawn_outline_that_of_the_model() -> None:
    drawn = add_lesion((), [square(101, 101, 33)], MAPS, CONFIG, "malignant")
    (classed,) = set_lesion_class(drawn, 1, "benign")
    assert (classed.origin, classed.label, classed.label_origin) == ("drawn", "benign", "reader")


def test_what_another_program_has_added_stays_with_an_edited_lesion() -> None:
    given_lesions = replace(FOUND[0], id="a1", others={"isLocked": True}), *FOUND[1:]
    edited = {
        "merged": merge_lesions(given_lesions, [1, 2], MAPS, CONFIG),
        "split": split_lesion(given_lesions, 1, [(0, 80), (200, 80)], MAPS, CONFIG),
        "classed": set_lesion_class(given_lesions, 1, "benign"),
        "refined": refine_lesion(given_lesions, [1], CLICK, MAPS, CONFIG),
    }
    for origin, lesions in edited.items():
        first, *others = lesions
        assert (first.origin, first.id, first.others) == (origin, "a1", {"isLocked": True})
        assert not any(one.id or one.others for one in others)

"""Corrections by hand at another threshold: what was made stays, what was removed stays away, the rest is found."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.core.polygons import Polygon, as_ring
from napari_melanoma.slides.lesion_edits import (
    add_lesion,
    apply_edits,
    remove_lesion,
    removed_by_edits,
    removed_lesions,
    set_lesion_class,
    split_lesion,
)
from napari_melanoma.slides.lesions import LesionConfig, LesionMaps, find_lesions, region_from_polygons

PLACE = MapPlacement(0.0, 0.0, 10.0, 10.0, PixelSize(10.0, 10.0))
USUAL, LOWER, HIGHER = LesionConfig(), LesionConfig(high=0.4, low=0.2), LesionConfig(high=0.85, low=0.65)


def slide() -> LesionMaps:
    presence = np.zeros((20, 40), np.float32)
    presence[1:9, 1:23] = 0.3  # a rim that a lower threshold takes in
    presence[2:8, 2:22] = 0.9
    presence[12:16, 2:8] = 0.8
    presence[12:16, 20:30] = 0.5  # a lesion at a lower threshold alone
    return LesionMaps(presence, PLACE)


MAPS = slide()
FOUND = find_lesions(MAPS, USUAL)


def box(top: int, left: int, bottom: int, right: int) -> Polygon:
    return Polygon(as_ring(np.array([(top, left), (top, right), (bottom, right), (bottom, left)]) * 10.0))


def cells(lesions: tuple) -> np.ndarray:
    """How many lesions have each cell."""
    found = np.zeros(MAPS.shape, int)
    for lesion in lesions:
        region = region_from_polygons(lesion.polygons, MAPS)
        found[region.slices] += region.mask
    return found


def again(corrected: tuple, config: LesionConfig, gone: tuple = ()) -> tuple:
    return apply_edits(find_lesions(MAPS, config), corrected, gone, MAPS, config)


def test_without_corrections_lesions_are_those_that_are_found() -> None:
    assert again(FOUND, LOWER) == find_lesions(MAPS, LOWER)


@pytest.mark.parametrize("config", [LOWER, HIGHER], ids=["lower", "higher"])
def test_manual_lesions_are_preserved(config: LesionConfig) -> None:
    corrected = set_lesion_class(FOUND, 2, "benign")
    corrected = split_lesion(corrected, 1, [(0, 120), (100, 120)], MAPS, USUAL)
    corrected = add_lesion(corrected, [box(17, 33, 19, 36)], MAPS, USUAL, "malignant")
    now = again(corrected, config)
    assert now[: len(corrected)] == corrected
    assert [one.origin for one in now[len(corrected) :]] == (["found"] if config is LOWER else [])
    assert cells(now).max() == 1
    assert len({one.index for one in now}) == len(now)


@pytest.mark.parametrize("config", [LOWER, USUAL, HIGHER], ids=["lower", "as before", "higher"])
def test_removed_lesions_are_not_detected_again(config: LesionConfig) -> None:
    corrected = remove_lesion(FOUND, 1)
    gone = removed_lesions(FOUND, corrected, MAPS)
    assert gone == FOUND[:1]
    assert not cells(again(corrected, config, gone))[2:8, 2:22].any()


def test_a_detection_much_larger_than_a_drawn_lesion_is_added() -> None:
    corrected = add_lesion(FOUND[:1], [box(12, 20, 16, 22)], MAPS, USUAL, "benign")
    drawn, *others = again(corrected, LOWER)
    assert drawn == corrected[-1]
    assert cells(tuple(others))[12:16].sum() == 4 * 6 + 4 * 8
    assert cells((drawn, *others)).max() == 1


def test_a_lesion_drawn_at_a_removed_one_is_kept() -> None:
    corrected = remove_lesion(FOUND, 2)
    gone = removed_lesions(FOUND, corrected, MAPS)
    drawn = add_lesion(corrected, [box(12, 2, 16, 8)], MAPS, USUAL, "malignant")
    assert removed_lesions((*gone, *corrected), drawn, MAPS) == ()


def test_changing_lesions_removes_none() -> None:
    assert removed_lesions(FOUND, set_lesion_class(FOUND, 1, "benign"), MAPS) == ()
    assert removed_lesions(FOUND, split_lesion(FOUND, 1, [(0, 120), (100, 120)], MAPS, USUAL), MAPS) == ()


def test_several_edits_remove_what_they_remove_one_after_the_other() -> None:
    found = find_lesions(MAPS, LOWER)
    one = remove_lesion(found[1:], found[1].index)
    drawn = add_lesion(one, found[0].polygons, MAPS, LOWER, "malignant")  # at one that was removed before
    classed = set_lesion_class(drawn, drawn[-1].index, "benign")
    steps = [found[1:], one, drawn, classed, classed[:1], ()]
    expected = [removed_lesions(found, steps[0], MAPS)]
    for before, now in pairwise(steps):
        expected.append(removed_lesions((*expected[-1], *before), now, MAPS))
    assert [len(removed) for removed in expected] == [1, 2, 1, 1, 2, 3]
    for count, removed in enumerate(expected, start=1):
        assert removed_by_edits(expected[0], steps[:count], MAPS) == removed

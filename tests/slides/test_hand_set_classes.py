"""A class that a reader has set stays after every operation on lesions, and in every file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.core.polygons import Polygon, as_ring
from napari_melanoma.io.geojson import read_geojson
from napari_melanoma.io.results import read_table
from napari_melanoma.slides.lesion_edits import (
    Lesions,
    add_lesion,
    apply_edits,
    carry_classes,
    merge_lesions,
    refine_lesion,
    remove_lesion,
    set_lesion_class,
    split_lesion,
)
from napari_melanoma.slides.lesion_files import read_lesions, replace_lesions, write_lesions_table, write_outlines
from napari_melanoma.slides.lesions import LesionConfig, LesionMaps, find_lesions, region_from_polygons
from napari_melanoma.slides.outlines import OutlineClick

PLACE = MapPlacement(0.0, 0.0, 10.0, 10.0, PixelSize(10.0, 10.0))
CONFIG, LOWER, HIGHER = LesionConfig(), LesionConfig(high=0.4, low=0.2), LesionConfig(high=0.97, low=0.5)


def slide() -> LesionMaps:
    presence = np.zeros((20, 40), np.float32)
    presence[1:9, 1:23] = 0.3
    presence[2:8, 2:22] = 0.95
    presence[12:16, 2:12] = 0.8
    presence[12:16, 20:26] = 0.9
    return LesionMaps(presence, PLACE)


MAPS = slide()
FOUND = find_lesions(MAPS, CONFIG)
BENIGN = set_lesion_class(FOUND, 1, "benign")  # against the model
LINE = [(0, 120), (100, 120)]
CLICK = OutlineClick((50.0, 225.0), True, 150.0, (10.0, 10.0), (200, 400), MapPlacement(0, 0, 1, 1), lambda: COLORS)
COLORS = np.full((200, 400, 3), 240, np.uint8)
COLORS[20:80, 20:240] = (90, 40, 110)
SQUARE = Polygon(as_ring(np.array([(170, 330), (170, 360), (190, 360), (190, 330)], float)))


def through_files(lesions: Lesions, folder: Path) -> Lesions:
    write_outlines(folder / "lesions.geojson", lesions)
    return read_lesions(folder) or ()


OPERATIONS: dict[str, Callable[[Lesions, Path], Lesions]] = {
    "split": lambda lesions, _: split_lesion(lesions, 1, LINE, MAPS, CONFIG),
    "merged": lambda lesions, _: merge_lesions(lesions, [1, 2], MAPS, CONFIG),
    "merged into one of lower number": lambda lesions, _: merge_lesions(
        (*(replace(one, index=one.index % 3 + 1) for one in lesions),), [1, 2], MAPS, CONFIG
    ),
    "refined": lambda lesions, _: refine_lesion(lesions, [1], CLICK, MAPS, CONFIG),
    "another removed": lambda lesions, _: remove_lesion(lesions, 2),
    "another drawn": lambda lesions, _: add_lesion(lesions, [SQUARE], MAPS, CONFIG, "malignant"),
    "lower threshold": lambda lesions, _: apply_edits(find_lesions(MAPS, LOWER), lesions, (), MAPS, LOWER),
    "higher threshold": lambda lesions, _: apply_edits(find_lesions(MAPS, HIGHER), lesions, (), MAPS, HIGHER),
    "read": through_files,
    "imported": lambda lesions, folder: replace_lesions((), outlines_of(lesions, folder), MAPS, CONFIG),
    "imported over others": lambda lesions, folder: replace_lesions(FOUND, outlines_of(lesions, folder), MAPS, CONFIG),
}


def outlines_of(lesions: Lesions, folder: Path) -> tuple:
    write_outlines(folder / "exported.geojson", lesions)
    return read_geojson(folder / "exported.geojson").annotations


def class_at(lesions: Lesions, cell: tuple[int, int]) -> tuple[str, str]:
    """Return the class of the lesion with a cell, and who set it."""
    for lesion in lesions:
        region = region_from_polygons(lesion.polygons, MAPS)
        row, column = cell[0] - region.top, cell[1] - region.left
        if 0 <= row < region.mask.shape[0] and 0 <= column < region.mask.shape[1] and region.mask[row, column]:
            return lesion.label, lesion.label_origin
    raise AssertionError(f"no lesion at {cell}")


@pytest.mark.parametrize("first", OPERATIONS)
def test_a_class_set_by_hand_stays(first: str, tmp_path: Path) -> None:
    """After one operation, and after the same again or a split on top of it."""
    once = OPERATIONS[first](BENIGN, tmp_path)
    twice = [once, through_files(once, tmp_path)]
    if first != "split":
        number = next(one.index for one in once if one.label == "benign")
        twice.append(split_lesion(once, number, LINE, MAPS, CONFIG))
    for lesions in twice:
        assert class_at(lesions, (4, 4)) == class_at(lesions, (4, 18)) == ("benign", "reader")


def test_a_predicted_class_is_predicted_again() -> None:
    """A part of another probability has another class."""
    presence = MAPS.presence.copy()
    presence[2:8, 13:22] = 0.45
    maps = replace(MAPS, presence=presence)
    lesions = find_lesions(maps, CONFIG)
    parts = split_lesion(
        lesions, next(one.index for one in lesions if one.area_px > 9000), [(0, 130), (100, 130)], maps, CONFIG
    )
    assert {one.label for one in parts if one.origin == "split"} == {"malignant", "benign"}
    assert {one.label_origin for one in parts} == {"model"}


def test_different_classes_set_by_hand_are_not_merged() -> None:
    both = set_lesion_class(BENIGN, 2, "malignant")
    with pytest.raises(InputError, match="set by hand: lesion 1 benign and lesion 2 malignant"):
        merge_lesions(both, [1, 2, 3], MAPS, CONFIG)
    same = set_lesion_class(BENIGN, 2, "benign")
    assert class_at(merge_lesions(same, [1, 2, 3], MAPS, CONFIG), (13, 22)) == ("benign", "reader")


def test_a_class_changed_in_another_program_was_set_by_hand(tmp_path: Path) -> None:
    write_outlines(tmp_path / "lesions.geojson", FOUND)
    content = json.loads((tmp_path / "lesions.geojson").read_text(encoding="utf-8"))
    feature = next(one for one in content["features"] if one["properties"]["name"] == "lesion 1")
    feature["properties"]["classification"]["name"] = "benign"
    (tmp_path / "lesions.geojson").write_text(json.dumps(content), encoding="utf-8")
    first, *others = read_lesions(tmp_path) or ()
    assert (first.label, first.label_origin) == ("benign", "reader")
    assert {one.label_origin for one in others} == {"model"}
    imported = replace_lesions(FOUND, read_geojson(tmp_path / "lesions.geojson").annotations, MAPS, CONFIG)
    assert [one.label_origin for one in imported] == ["reader", "model", "model"]


@pytest.mark.parametrize(("origin", "expected"), [("classed", "reader"), ("drawn", "reader"), ("split", "model")])
def test_files_of_earlier_versions_are_read(tmp_path: Path, origin: str, expected: str) -> None:
    write_outlines(tmp_path / "lesions.geojson", FOUND[:1])
    content = json.loads((tmp_path / "lesions.geojson").read_text(encoding="utf-8"))
    content["features"][0]["properties"]["metadata"] = {"origin": origin}
    (tmp_path / "lesions.geojson").write_text(json.dumps(content), encoding="utf-8")
    (lesion,) = read_lesions(tmp_path) or ()
    assert (lesion.origin, lesion.label_origin) == (origin, expected)


def test_the_table_states_who_set_the_class(tmp_path: Path) -> None:
    write_lesions_table(tmp_path / "lesions.csv", split_lesion(BENIGN, 1, LINE, MAPS, CONFIG))
    rows = read_table(tmp_path / "lesions.csv")
    assert [(row["label"], row["origin"], row["label_origin"]) for row in rows] == [
        ("benign", "split", "reader"),
        ("malignant", "found", "model"),
        ("malignant", "found", "model"),
        ("benign", "split", "reader"),
    ]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [((200, 220), "malignant"), ((20, 100), "malignant"), ((20, 140), "benign"), ((20, 400), "benign")],
)
def test_a_new_analysis_gives_a_lesion_the_class_that_was_set_for_most_of_it(
    columns: tuple[int, int], expected: str
) -> None:
    left, right = columns  # of a drawing, in or around the lesion
    drawn = Polygon(as_ring(np.array([(20, left), (20, right), (80, right), (80, left)], float)))
    previous = add_lesion((), [drawn], MAPS, CONFIG, "benign")
    assert carry_classes(FOUND, previous, MAPS)[0].label == expected


def test_pieces_of_one_class_together_give_it_to_the_whole() -> None:
    pieces = split_lesion(FOUND, 1, LINE, MAPS, CONFIG)
    number = pieces[-1].index
    one = set_lesion_class(pieces, number, "benign")
    assert carry_classes(FOUND, one, MAPS)[0] == FOUND[0]
    assert carry_classes(FOUND, set_lesion_class(one, 1, "benign"), MAPS)[0].label == "benign"
    assert carry_classes(FOUND, set_lesion_class(one, 1, "malignant"), MAPS)[0].label_origin == "reader"
    assert carry_classes(FOUND, set_lesion_class(one, 1, "malignant"), MAPS)[0].label == "malignant"

"""What a reader set stays through every operation of the product, unless the operation is about it.

The subjects are all operations on the lesions and on the regions of a slide: public functions whose first argument are
the lesions or regions, and which return them. A new one fails until it has arguments here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.slides import lesion_edits, region_operations, regions
from napari_melanoma.slides.lesion_edits import set_lesion_class
from napari_melanoma.slides.lesion_files import read_lesions, save_lesions
from napari_melanoma.slides.lesions import LesionConfig, LesionMaps, SlideLesion, find_lesions
from napari_melanoma.slides.outlines import OutlineClick
from napari_melanoma.slides.regions import RegionClass, region_reader, sign_region

PLACE = MapPlacement(0.0, 0.0, 10.0, 10.0, PixelSize(10.0, 10.0))
CONFIG = LesionConfig()
READER = "Ada Reader"


def list_operations(module: ModuleType, argument: str, returned: str) -> dict[str, Callable[..., Any]]:
    """The public functions of a module from lesions or regions to lesions or regions."""
    found = {}
    for name, function in vars(module).items():
        if not inspect.isfunction(function) or name.startswith("_") or function.__module__ != module.__name__:
            continue
        signature = inspect.signature(function)
        if next(iter(signature.parameters), "") == argument and returned in str(signature.return_annotation):
            found[name] = function
    return found


LESION_EDITS = list_operations(lesion_edits, "lesions", "Lesions")
REGION_EDITS = list_operations(region_operations, "regions", "Regions") | list_operations(regions, "regions", "Regions")


def make_maps() -> LesionMaps:
    """Three lesions that the model calls malignant."""
    presence = np.zeros((30, 60), np.float32)
    presence[2:12, 2:26] = 0.95
    presence[16:26, 2:16] = 0.8
    presence[16:26, 30:50] = 0.9
    return LesionMaps(presence, PLACE)


MAPS = make_maps()
SQUARE = Polygon(((20.0, 300.0), (20.0, 380.0), (80.0, 380.0), (80.0, 300.0)))
CLICK = OutlineClick(
    (70.0, 265.0),
    include=True,
    reach=30.0,
    pixel_um=(1.0, 1.0),
    size=(300, 600),
    read=lambda: np.zeros((30, 60, 3), np.uint8),
    placement=PLACE,
)
CUT = np.array([(0.0, 140.0), (150.0, 140.0)])
# Arguments after the lesions, of an operation on the first of three.
LESION_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "merge_lesions": ([1, 2], MAPS, CONFIG),
    "split_lesion": (1, CUT, MAPS, CONFIG),
    "remove_lesion": (3,),
    "add_lesion": ([SQUARE], MAPS, CONFIG),
    "refine_lesion": ([1], CLICK, MAPS, CONFIG),
    "set_lesion_class": (3, "malignant"),
    "manual_lesions": (),
    "without_probabilities": (),
}


def test_every_operation_on_lesions_has_arguments() -> None:
    assert LESION_EDITS.keys() == LESION_ARGUMENTS.keys()


def benign_by_hand() -> tuple[SlideLesion, ...]:
    lesions = find_lesions(MAPS, CONFIG)
    assert {one.label for one in lesions} == {"malignant"}
    return set_lesion_class(lesions, 1, "benign")


def cells_of(lesion: SlideLesion) -> set[tuple[int, int]]:
    region = lesion_edits.region_from_polygons(lesion.polygons, MAPS)
    return {(region.top + row, region.left + column) for row, column in np.argwhere(region.mask).tolist()}


@pytest.mark.parametrize("name", LESION_EDITS)
def test_a_class_set_by_hand_stays(name: str, tmp_path: Path) -> None:
    """All lesions with cells of the lesion have its class, also after they were saved and read."""
    lesions = benign_by_hand()
    of_reader = cells_of(lesions[0])
    edited = LESION_EDITS[name](lesions, *LESION_ARGUMENTS[name])
    save_lesions(tmp_path, edited, CONFIG)
    for result in (edited, read_lesions(tmp_path)):
        parts = [one for one in result if of_reader & cells_of(one)]
        assert parts
        assert {(one.label, one.label_origin) for one in parts} == {("benign", "reader")}
        assert of_reader <= set().union(*map(cells_of, parts)) | ({*of_reader} if name == "refine_lesion" else set())


@pytest.mark.parametrize("threshold", [0.3, 0.85, 0.93])
def test_a_class_set_by_hand_stays_at_another_threshold(threshold: float) -> None:
    lesions = benign_by_hand()
    found = find_lesions(MAPS, LesionConfig(high=threshold, low=min(threshold, CONFIG.low)))
    again = lesion_edits.apply_edits(
        found, lesions, (), MAPS, LesionConfig(high=threshold, low=min(threshold, CONFIG.low))
    )
    (kept,) = [one for one in again if cells_of(lesions[0]) & cells_of(one)]
    assert (kept.label, kept.label_origin) == ("benign", "reader")


# Regions: two that overlap, one with a hole, and one apart, each of another reader.
CLASSES = [RegionClass(name, (number, 2, 3)) for number, name in enumerate(("Tumor", "Dermis", "Nevus", "Fat"))]
HOLE = ((60.0, 60.0), (60.0, 90.0), (90.0, 90.0), (90.0, 60.0))


def square(top: float, left: float, side: float, *holes: Any) -> Polygon:
    right, bottom = left + side, top + side
    middle = (top + 0.5, left + side / 2)  # a vertex that an outline can do without
    return Polygon(((top, left), middle, (top, right), (bottom, right), (bottom, left)), holes)


def draw_regions() -> tuple[Annotation, ...]:
    shapes = (square(10, 10, 120, HOLE), square(60, 100, 60), square(200, 200, 50), square(300, 10, 40))
    drawn = [
        Annotation((shape,), of_class.name, of_class.color, name=f"{of_class.name} 1", id=f"r{number}")
        for number, (shape, of_class) in enumerate(zip(shapes, CLASSES, strict=True))
    ]
    return tuple(sign_region(one, f"{READER} {number}") for number, one in enumerate(drawn))


REGION_CLICK = replace(CLICK, point=(136.0, 40.0))
# Arguments after the regions, of an operation on the first or the first two of four.
REGION_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "unite_regions": (["r0", "r1"],),
    "subtract_regions": (["r0", "r1"],),
    "intersect_regions": (["r0", "r1"],),
    "cut_hole": (["r0"], [square(20, 20, 20)]),
    "fill_holes": (["r0"],),
    "split_regions": (["r0"], CUT * [[1, 0], [1, 0]] + [[0, 40]]),
    "grow_regions": (["r0"], 5.0, (1.0, 1.0), (400, 400)),
    "simplify_regions": (["r0"], 2.0, (1.0, 1.0)),
    "refine_region": (["r0"], REGION_CLICK),
    "snap_regions": (["r0", "r1"], 5.0, (1.0, 1.0)),
    "set_locked": (["r0"],),
    "rename_region": ("r0", "another name"),
    "set_region_class": (["r0"], RegionClass("Other", (9, 9, 9))),
    "edit_class": ("Tumor", RegionClass("Other", (9, 9, 9))),
    "remove_regions": (["r1"],),
    "assign_ids": (),
}
KEYWORDS: dict[str, dict[str, Any]] = {"set_locked": {"locked": True}}
OF_SHAPES = ("apply_shape_edits",)  # what the user edited in napari
CHANGES_CLASS, CHANGES_NAME = ("set_region_class", "edit_class"), ("rename_region",)


def test_every_operation_on_regions_has_arguments() -> None:
    assert REGION_EDITS.keys() == {*REGION_ARGUMENTS, *OF_SHAPES}


@pytest.mark.parametrize("name", REGION_ARGUMENTS)
def test_reader_class_and_name_of_a_region_stay(name: str) -> None:
    before = draw_regions()
    after = REGION_EDITS[name](before, *REGION_ARGUMENTS[name], **KEYWORDS.get(name, {}))
    assert after[-2:] == before[-2:] or {one.id for one in before[-2:]} <= {one.id for one in after}
    found = {one.id: one for one in after}
    for one in before[2:]:
        assert found[one.id] == one, "others are unchanged"
    edited = found["r0"]
    assert region_reader(edited) == region_reader(before[0])
    assert edited.class_name == (before[0].class_name if name not in CHANGES_CLASS else "Other")
    assert edited.name == (before[0].name if name not in CHANGES_NAME else "another name")
    known = {"r0", "r1", "r2", "r3"}
    for one in after:
        assert one.id in known or (region_reader(one), one.class_name) == (region_reader(before[0]), "Tumor")

"""Strokes on the canvas are as large as the area that they give a class; the map of classes, and its areas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.slides.reading.slide import LevelInfo, SlideInfo
from napari_melanoma.slides.tissue_classifier.cells import CellGrid
from napari_melanoma.slides.tissue_classifier.strokes import Stroke
from napari_melanoma.ui.sections.paint.layers import ClassMap, add_stroke_shapes, create_strokes_layer
from napari_melanoma.ui.sections.paint.mapping import MapPart

RADIUS, CELL = 30.0, 16.0


@pytest.mark.parametrize(
    ("points", "top_left", "bottom_right"),
    [
        (((2000.5, 3000.5),), (1970, 2970), (2030, 3030)),
        (((2000.5, 3000.5), (2000.5, 3020.5)), (1970, 2980), (2030, 3040)),
    ],
    ids=["a click", "a click with a moved pointer"],
)
def test_a_click_is_drawn_as_a_disk_of_the_brush(points, top_left, bottom_right):
    layer = create_strokes_layer()
    add_stroke_shapes(layer, Stroke("a", "Fat", "brush", points, RADIUS), (255, 0, 0), CELL)
    assert layer.shape_type == ["ellipse"]
    (corners,) = layer.data
    np.testing.assert_allclose([corners.min(axis=0), corners.max(axis=0)], [top_left, bottom_right])


def test_a_longer_stroke_is_drawn_as_wide_as_the_brush():
    layer = create_strokes_layer()
    add_stroke_shapes(layer, Stroke("a", "Fat", "brush", ((0.0, 0.0), (0.0, 400.0)), RADIUS), (255, 0, 0), CELL)
    assert (layer.shape_type, layer.edge_width) == (["path"], [2 * RADIUS])


CELL_PX = 64  # of 32 µm
BLOCK = np.zeros((1, 2), np.int32)


def make_map(height, width):
    levels = (LevelInfo(height, width, 1.0),)
    info = SlideInfo(Path("slide.tif"), "slide", "TIFF", levels, PixelSize(0.5, 0.5, "file"))
    return ClassMap(CellGrid.plan(info, 1.0))


def part(top, left, probability):
    return MapPart(Box(top, left, 1, 2), np.array([[probability, probability]], np.float16))


def test_the_least_certain_cells_are_found():
    class_map = make_map(2 * CELL_PX, 4 * CELL_PX)
    class_map.add([part(0, 0, [0.2, 0.8])], ("Fat", "Dermis"))
    class_map.add([part(1, 2, [0.45, 0.55])], ("Fat", "Dermis"))
    assert class_map.find_uncertain(2).tolist() == [[1, 2], [1, 3]]
    assert len(class_map.find_uncertain(9)) == 4


def test_classes_keep_their_label_when_others_are_added():
    class_map, size = make_map(2 * CELL_PX, 4 * CELL_PX), (2 * CELL_PX, 4 * CELL_PX)
    class_map.add([part(0, 0, [0.2, 0.8])], ("Fat", "Dermis"))
    class_map.add([part(1, 2, [0.1, 0.2, 0.7])], ("Epidermis", "Fat", "Dermis"))
    assert class_map.labels.tolist() == [[2, 2, 0, 0], [0, 0, 2, 2]]
    assert class_map.certainty[0, 0] == pytest.approx(0.8, abs=1e-3)
    assert class_map.measure_areas(BLOCK, size) == {"Dermis": pytest.approx(4 * 0.032**2)}
    assert class_map.measure_areas(BLOCK[:0], size) == {}
    colors = class_map.make_colors({"Dermis": (255, 0, 0)})
    assert colors == {None: "transparent", 0: "transparent", 2: (1.0, 0.0, 0.0, 1.0)}
    class_map.clear()
    assert class_map.measure_areas(BLOCK, size) == {}


@pytest.mark.parametrize(("height", "width"), [(100, 180), (130, 200), (128, 256)])
def test_the_areas_of_a_slide_that_ends_within_cells_are_those_of_the_slide(height, width):
    class_map = make_map(height, width)
    rows, columns = class_map.grid.shape
    probability = np.full((rows, columns, 2), (0.1, 0.9), np.float16)
    class_map.add([MapPart(Box(0, 0, rows, columns), probability)], ("Fat", "Dermis"))
    assert class_map.measure_areas(BLOCK, (height, width)) == {"Dermis": pytest.approx(height * width * 0.0005**2)}

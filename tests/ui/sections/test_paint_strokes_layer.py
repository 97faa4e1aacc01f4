"""Strokes on the canvas are as large as the area that they give a class."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.slides.tissue_classifier.strokes import Stroke
from napari_melanoma.ui.sections.paint.strokes_layer import _add_shapes, _create_layer

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
    layer = _create_layer()
    _add_shapes(layer, Stroke("a", "Fat", "brush", points, RADIUS), (255, 0, 0), CELL)
    assert layer.shape_type == ["ellipse"]
    (corners,) = layer.data
    np.testing.assert_allclose([corners.min(axis=0), corners.max(axis=0)], [top_left, bottom_right])


def test_a_longer_stroke_is_drawn_as_wide_as_the_brush():
    layer = _create_layer()
    _add_shapes(layer, Stroke("a", "Fat", "brush", ((0.0, 0.0), (0.0, 400.0)), RADIUS), (255, 0, 0), CELL)
    assert (layer.shape_type, layer.edge_width) == (["path"], [2 * RADIUS])

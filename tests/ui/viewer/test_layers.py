"""Outlines of a photograph are drawn again only if they have changed, and keep their style."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.ui.viewer.layers import show_contours
from napari_melanoma.ui.viewer.photographs import find_layer, identify_photographs


def outline(size: float) -> np.ndarray:
    """A closed square, float32 (point, 2)."""
    return np.array([[0, 0], [0, size], [size, size], [size, 0], [0, 0]], np.float32)


@pytest.fixture
def photograph(viewer):
    image = viewer.add_image(np.zeros((100, 200, 3), np.uint8), name="one", rgb=True)
    identify_photographs(viewer)
    return image


@pytest.mark.both_qts
def test_the_same_outlines_are_not_drawn_again(viewer, photograph):
    show_contours(viewer, photograph, [outline(10)])
    layer = find_layer(viewer, photograph, "contour")
    changes = []
    layer.events.data.connect(changes.append)
    show_contours(viewer, photograph, [outline(10)])
    assert not changes
    assert not layer.editable


@pytest.mark.parametrize("sizes", [(20,), (20, 30), ()], ids=["other outline", "more outlines", "none"])
def test_changed_outlines_keep_their_style(viewer, photograph, sizes):
    show_contours(viewer, photograph, [outline(10)])
    layer = find_layer(viewer, photograph, "contour")
    width, color = layer.edge_width[0], layer.edge_color[0]
    show_contours(viewer, photograph, [outline(size) for size in sizes])
    assert [shown.tolist() for shown in layer.data] == [outline(size).tolist() for size in sizes]
    assert layer.shape_type == ["path"] * len(sizes)
    assert layer.edge_width == [width] * len(sizes)
    assert np.array_equal(layer.edge_color, [color] * len(sizes)) or not sizes
    assert not layer.editable

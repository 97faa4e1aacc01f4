"""Outlines are drawn again only if they have changed, and layers of a photograph lie on it, also if it is rotated."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.core.geometry import Box
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.layers import show_box, show_contours
from napari_melanoma.ui.viewer.photographs import find_layer, identify_photographs


def outline(size: float) -> np.ndarray:
    """A closed square, float32 (point, 2)."""
    return np.array([[0, 0], [0, size], [size, size], [size, 0], [0, 0]], np.float32)


@pytest.fixture
def photograph(viewer):
    image = viewer.add_image(np.zeros((100, 200, 3), np.uint8), name="one", rgb=True)
    identify_photographs(viewer)
    return image


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


@pytest.mark.parametrize(
    "position",
    [
        {"scale": (4, 2), "translate": (100, -50)},
        {"rotate": 30},
        {"rotate": 200, "scale": (0.1, 0.1)},
        {"affine": np.array([[0, 2, 5], [-2, 0, 7], [0, 0, 1]], float)},
        {"shear": [0.5]},
    ],
    ids=lambda position: " ".join(position),
)
def test_selecting_a_box_scrolls_to_it_and_outlines_match_the_photograph(viewer, position):
    image = viewer.add_image(np.zeros((100, 200, 3), np.uint8), name="one", rgb=True, **position)
    identify_photographs(viewer)
    show_contours(viewer, image, [outline(10)])
    contour = find_layer(viewer, image, "contour")
    assert contour.data_to_world((10, 10)) == pytest.approx(image.data_to_world((10, 10)))
    show_box(viewer, image, Box(20, 30, 40, 60))
    corners = np.array(
        [image.data_to_world(corner) for corner in ((19.5, 29.5), (19.5, 89.5), (59.5, 29.5), (59.5, 89.5))]
    )
    camera = get_camera(viewer)
    assert tuple(camera.center[-2:]) == pytest.approx(image.data_to_world((39.5, 59.5)))
    shown = np.array(viewer.canvas.size) / camera.zoom
    extent = corners.max(0) - corners.min(0)
    assert (shown > 1.9 * extent).all()
    assert (shown < 2.1 * extent).any()

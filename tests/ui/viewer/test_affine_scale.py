"""Readers of napari may state the scale of a layer in its affine alone, as for OME-Zarr 0.6."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.ui.viewer.photographs import (
    get_pixel_aspect,
    get_pixel_size,
    identify_photographs,
    set_pixel_size,
)

AFFINES = {
    "scaled": [[10, 0, 3], [0, 20, 4], [0, 0, 1]],
    "scaled and turned": [[0, -20, 3], [10, 0, 4], [0, 0, 1]],
}


@pytest.mark.parametrize("name", AFFINES)
def test_the_affine_of_a_layer_is_part_of_its_scale(name: str) -> None:
    viewer = ViewerModel()
    pixels, affine = np.zeros((30, 40, 3), np.uint8), np.array(AFFINES[name], float)
    image = viewer.add_image(pixels, rgb=True, affine=affine, scale=(2, 2), units=("um", "um"))
    identify_photographs(viewer)
    assert get_pixel_size(image).is_close(PixelSize(20, 40))
    set_pixel_size(viewer, image, PixelSize(5, 8))
    assert get_pixel_size(image).is_close(PixelSize(5, 8))
    one_row, one_column = (
        np.subtract(image.data_to_world(end), image.data_to_world((0, 0))) for end in ((1, 0), (0, 1))
    )
    np.testing.assert_allclose([np.hypot(*one_row), np.hypot(*one_column)], [5, 8])
    image.units = ("pixel", "pixel")
    assert get_pixel_size(image) is None
    assert get_pixel_aspect(image) == pytest.approx(5 / 8)

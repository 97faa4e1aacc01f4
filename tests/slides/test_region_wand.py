"""The magic wand on drawn colors: what it finds at which tolerance, its limits, and fluorescence."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.polygons import to_shape
from napari_melanoma.slides.outlines import rasterize_polygons
from napari_melanoma.slides.region_operations import ChannelDisplay, ColorFlood, merge_channels

SIDE = 200
PINK, PALE, PURPLE = (215, 150, 190), (225, 175, 205), (90, 40, 110)
PLACE = MapPlacement(1000.0, 500.0, 4.0, 4.0)
FAR = 1e9


def disk(row, column, radius):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (rows + 0.5 - row) ** 2 + (columns + 0.5 - column) ** 2 <= radius**2


def picture(noise=4.0):
    """Pink tissue, with a purple disk that has a hole, and another disk."""
    rgb = np.full((SIDE, SIDE, 3), PINK, float)
    rgb[disk(100, 80, 50)] = PURPLE
    rgb[disk(100, 80, 15)] = PALE
    rgb[disk(100, 170, 15)] = PURPLE
    return np.clip(rgb + np.random.default_rng(0).normal(0, noise, rgb.shape), 0, 255).astype(np.uint8)


def flood(point, reach=FAR, pixel_um=(1.0, 1.0), rgb=None):
    return ColorFlood(picture() if rgb is None else rgb, PLACE, tuple(PLACE.to_slide(point)), reach, pixel_um)


def overlap(mask, expected):
    return (mask & expected).sum() / (mask | expected).sum()


RING = disk(100, 80, 50) & ~disk(100, 80, 15)


def test_the_connected_color_is_found_with_its_hole():
    found = flood((100, 45)).mask(15)
    assert overlap(found, RING) > 0.95
    (polygon,) = flood((100, 45)).polygons(15)
    assert len(polygon.holes) == 1
    assert to_shape(polygon).is_valid
    assert len(polygon.outer) < 150  # without the steps of pixels, of which there are 400
    again = rasterize_polygons([polygon], PLACE, Box(0, 0, SIDE, SIDE))
    assert overlap(again, RING) > 0.94


def test_more_tolerance_finds_more():
    here = flood((100, 45))
    masks = [here.mask(tolerance) for tolerance in (2, 5, 10, 20, 60, 100)]
    assert all((small & ~large).sum() == 0 for small, large in pairwise(masks))
    assert masks[-1].all()
    assert flood((100, 80)).mask(8).sum() < flood((100, 45)).mask(15).sum()


def test_the_reach_limits_the_size_in_micrometers():
    found = flood((20, 20), reach=80.0, pixel_um=(0.5, 1.0)).mask(100)  # cells of 2 x 4 µm
    rows, columns = np.nonzero(found)
    assert (rows.max(), columns.max()) == (60, 40)


def test_small_holes_are_filled():
    rgb = np.full((SIDE, SIDE, 3), PURPLE, np.uint8)
    rgb[50:55, 50:55] = 250
    assert ColorFlood(rgb, PLACE, tuple(PLACE.to_slide((100, 100))), FAR, (1, 1)).mask(10).all()


def test_a_speck_has_no_outline_and_a_point_outside_is_refused():
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    assert flood((50, 50), rgb=rgb).polygons(1) == ()
    with pytest.raises(InputError, match="outside the slide"):
        flood((50, -50))


def test_channels_are_merged_as_displayed():
    pixels = np.zeros((2, 3, 2), np.uint16)
    pixels[0, :, 0], pixels[1, :, 1] = (0, 1000, 4000), (100, 200, 300)
    steps = np.linspace(0, 1, 256)[:, None]
    blue = ChannelDisplay((0.0, 2000.0), 1.0, steps * np.array((0.0, 0.0, 1.0)))
    green = ChannelDisplay((100.0, 300.0), 2.0, steps * np.array((0.0, 1.0, 0.0)))
    found = merge_channels(pixels, (blue, green))
    assert found[0, :, 2].tolist() == [0, 128, 255]
    assert found[1, :, 1].tolist() == [0, 64, 255]
    assert merge_channels(pixels, (blue, None))[1].max() == 0

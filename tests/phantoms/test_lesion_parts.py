"""Building blocks of a phantom: textures in mm, cells, outlines, colors, strokes and named streams."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial import cKDTree
from skimage.color import rgb2lab

from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms import random_stream
from napari_melanoma.phantoms.lesion.camera import bezier_points, draw_stroke
from napari_melanoma.phantoms.lesion.skin import Plane, fractal, make_cell_pattern, noise, ramp
from napari_melanoma.phantoms.lesion.traits import TYPE_ANGLES, encode_srgb, find_melanin, reflectance, typology_angle


def test_pixel_centers_lie_symmetrically_around_the_middle() -> None:
    plane = Plane.from_size((4, 8), 16.0)
    assert plane.pixel_mm == 2.0
    assert plane.extent_mm == (8.0, 16.0)
    assert plane.y.tolist() == [-3, -1, 1, 3]
    assert plane.to_pixels(np.array([0.0, 0.0])).tolist() == [1.5, 3.5]
    assert plane.box_around((0.0, 0.0), 2.0) == Box(1, 3, 2, 2)


@pytest.mark.parametrize("texture", [noise, fractal])
def test_a_texture_has_mean_0_and_deviation_1(texture) -> None:
    values = texture(Plane.from_size((400, 400), 40.0), random_stream(0, "texture"), 0.5)
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("texture", [noise, fractal])
def test_a_texture_is_the_same_at_another_resolution_and_on_a_part(texture) -> None:
    fine, coarse = (
        texture(Plane.from_size(size, 9.0), random_stream(1, "texture"), 1.0) for size in ((180, 270), (60, 90))
    )
    assert np.abs(fine[1::3, 1::3] - coarse).max() < 1e-4
    box = Box(20, 30, 50, 60)
    part = texture(Plane.from_size((180, 270), 9.0).crop(box), random_stream(1, "texture"), 1.0)
    assert np.abs(part - fine[box.slices]).max() < 1e-4


def test_cells_are_those_of_the_nearest_centers() -> None:
    plane = Plane.from_size((90, 120), 12.0)
    cells = make_cell_pattern(plane, random_stream(2, "cells"), 1.0, 0.3, 0.0)
    y, x = np.meshgrid(plane.y, plane.x, indexing="ij")
    centre = np.unravel_index(np.argmin(cells.nearest), cells.nearest.shape)
    same = cells.value == cells.value[centre]
    distance = np.hypot(y - y[centre], x - x[centre])
    assert cells.nearest[same] == pytest.approx(distance[same], abs=2 * float(cells.nearest[centre]) + 1e-5)
    assert (cells.edge >= 0).all()
    centres = [(y[same].mean(), x[same].mean()) for same in (cells.value == value for value in np.unique(cells.value))]
    spacing = cKDTree(centres).query(centres, k=2)[0][:, 1]
    assert 0.4 < np.median(spacing) < 1.2


def test_cells_on_a_coarser_grid_are_nearly_equal() -> None:
    fine, coarse = (
        make_cell_pattern(Plane.from_size(size, 6.0), random_stream(3, "cells"), 1.0, 0.36, 0.1)
        for size in ((600, 900), (60, 90))
    )
    assert np.abs(fine.nearest[5::10, 5::10] - coarse.nearest).mean() < 0.06
    assert np.abs(fine.edge[5::10, 5::10] - coarse.edge).mean() < 0.06


@pytest.mark.parametrize("skin_type", TYPE_ANGLES)
def test_melanin_is_found_for_the_color_of_each_skin_type(skin_type: int) -> None:
    for angle in TYPE_ANGLES[skin_type]:
        density = np.full((1, 1), find_melanin(angle, 0.2), np.float32)
        colour = reflectance(density, np.full((1, 1), 0.2, np.float32))
        assert typology_angle(colour)[0, 0] == pytest.approx(angle, abs=1)
        lightness, _, b = rgb2lab(encode_srgb(colour))[0, 0]
        assert math.degrees(math.atan2(lightness - 50, b)) == pytest.approx(angle, abs=3)


def test_more_pigment_and_more_blood_are_darker_and_of_their_hue() -> None:
    levels = np.linspace(0, 2, 5, dtype=np.float32)[None]
    skin = np.full((1, 5), 0.3, np.float32)
    brown, red = (
        rgb2lab(encode_srgb(reflectance(skin + levels, skin)))[0],
        rgb2lab(encode_srgb(reflectance(skin, skin + levels)))[0],
    )
    assert all(np.diff(brown[:, 0]) < 0)
    assert all(np.diff(red[:, 0]) < 0)
    assert red[-1, 1] > brown[-1, 1] + 5


def test_encoding_follows_the_srgb_curve() -> None:
    linear = np.array([-1, 0, 0.0031308, 0.2140, 0.5, 1, 7], np.float32)
    assert encode_srgb(linear).tolist() == [0, 0, 10, 127, 188, 255, 255]


@pytest.mark.parametrize(("start", "end", "expected"), [(0, 1, [0, 0, 0.5, 1, 1]), (1, 0, [1, 1, 0.5, 0, 0])])
def test_a_ramp_rises_or_falls_between_its_ends(start: float, end: float, expected: list[float]) -> None:
    assert ramp(np.array([-1, 0, 0.5, 1, 2], np.float32), start, end).tolist() == pytest.approx(expected)


def test_a_stroke_covers_its_width_and_stays_in_the_image() -> None:
    coverage = np.zeros((21, 30), np.float32)
    draw_stroke(coverage, np.array([[10.0, -5.0], [10.0, 50.0]]), np.array([2.0, 2.0]))
    assert coverage.sum(axis=0) == pytest.approx(np.full(30, 4.0), abs=0.15)
    assert coverage[10].tolist() == [1.0] * 30
    assert not coverage[:7].any()


def test_a_line_thinner_than_a_pixel_is_faint() -> None:
    coverage = np.zeros((9, 20), np.float32)
    draw_stroke(coverage, np.array([[4.0, 0.0], [4.0, 19.0]]), np.array([0.1, 0.1]))
    assert coverage.max() == pytest.approx(0.2)


def test_a_curve_starts_and_ends_at_its_corners() -> None:
    curve = bezier_points(np.array([[0.0, 0.0], [5.0, 9.0], [10.0, 0.0]]), 11)
    assert curve.shape == (11, 2)
    assert curve[[0, 5, 10]].tolist() == [[0, 0], [5, 4.5], [10, 0]]


def test_streams_differ_by_name_and_repeat_by_seed() -> None:
    assert random_stream(1, "hairs").random() == random_stream(1, "hairs").random()
    drawn = {
        random_stream(seed, *name).random() for seed in (1, 2) for name in [("hairs",), ("lesion", 0), ("lesion", 1)]
    }
    assert len(drawn) == 6

"""Contours of masks, and overlays on photographs."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.draw import polygon2mask
from skimage.measure import find_contours, points_in_poly

from napari_melanoma.imaging.masks import TOLERANCE_PX, YELLOW, class_colors, draw_heatmap, draw_overlay, trace_contours


def blob(shape: tuple[int, int], radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]] - np.array(shape).reshape(2, 1, 1) / 2
    return np.hypot(rows, columns) < radius * (1 + 0.2 * np.sin(5 * np.arctan2(rows, columns)))


def enclosed(polygon: np.ndarray) -> float:
    row, column = polygon.T.astype(float)
    return abs(float(np.sum(row[:-1] * column[1:] - column[:-1] * row[1:]))) / 2


def test_one_pixel_is_a_diamond_around_its_center() -> None:
    mask = np.zeros((5, 6), bool)
    mask[2, 3] = True
    (polygon,) = trace_contours(mask)
    assert polygon.dtype == np.float32
    assert {tuple(vertex) for vertex in polygon.tolist()} == {(1.5, 3), (2.5, 3), (2, 2.5), (2, 3.5)}


def test_a_lesion_that_fills_the_image_is_closed_at_its_edge() -> None:
    (polygon,) = trace_contours(np.ones((20, 30), bool))
    assert polygon.min(axis=0).tolist() == [-0.5, -0.5]
    assert polygon.max(axis=0).tolist() == [19.5, 29.5]
    assert enclosed(polygon) == pytest.approx(600, rel=0.01)


def test_holes_have_contours_of_their_own() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:35] = True
    mask[15:25, 15:25] = False
    outer, hole = trace_contours(mask)
    assert enclosed(outer) == pytest.approx(900, rel=0.01)
    assert enclosed(hole) == pytest.approx(100, rel=0.02)


@settings(max_examples=50)
@given(arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_every_polygon_is_closed_and_the_centers_lie_on_the_right_side(mask: np.ndarray) -> None:
    found = trace_contours(mask)
    assert all(np.array_equal(polygon[0], polygon[-1]) and len(polygon) >= 4 for polygon in found)
    centres = np.argwhere(np.ones_like(mask))
    crossings = sum((points_in_poly(centres, polygon).astype(int) for polygon in found), np.zeros(len(centres), int))
    np.testing.assert_array_equal(crossings % 2 == 1, mask.ravel())


@pytest.mark.parametrize("radius", [5, 30, 140])
def test_the_simplified_border_stays_within_the_tolerance_with_far_fewer_vertices(radius: int) -> None:
    mask = blob((400, 420), radius)
    exact, (polygon,) = find_contours(mask.astype(float), 0.5)[0], trace_contours(mask)
    start, chord = polygon[:-1, None].astype(float), np.diff(polygon.astype(float), axis=0)[:, None]
    along = np.clip(((exact - start) * chord).sum(-1) / (chord**2).sum(-1), 0, 1)
    distance = np.linalg.norm(exact - start - along[..., None] * chord, axis=-1).min(axis=0)
    assert distance.max() <= TOLERANCE_PX + 1e-4
    assert len(polygon) < len(exact) / 2
    np.testing.assert_allclose(polygon2mask(mask.shape, polygon).sum(), mask.sum(), rtol=0.03)


@pytest.mark.parametrize("skin", [(245, 225, 210), (255, 220, 0), (60, 40, 30), (0, 0, 0)])
def test_the_overlay_is_visible_on_every_skin(skin: tuple[int, int, int]) -> None:
    rgb = np.full((200, 240, 3), skin, np.uint8)
    before = rgb.copy()
    drawing = draw_overlay(rgb, blob((200, 240), 60))
    np.testing.assert_array_equal(rgb, before)
    changed = (drawing != rgb).any(axis=-1)
    brightness = drawing[changed].astype(float).mean(axis=-1)
    assert np.ptp(np.append(brightness, np.mean(skin))) > 90
    assert ((drawing == YELLOW).all(axis=-1)).any()


@pytest.mark.parametrize(
    ("shape", "width_px", "expected"), [((250, 300), None, 1), ((2000, 2100), None, 8), ((250, 300), 5, 5)]
)
def test_the_line_width_follows_the_image_size(shape: tuple[int, int], width_px: int | None, expected: int) -> None:
    mask = np.zeros(shape, bool)
    mask[50:200, 50:200] = True
    drawing = draw_overlay(np.zeros((*shape, 3), np.uint8), mask, width_px)
    across = (drawing[125, :125] == YELLOW).all(axis=-1)
    assert across.sum() == expected


def test_an_image_without_lesion_has_no_overlay() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(draw_overlay(rgb, np.zeros((20, 20), bool)), rgb)


def test_a_heatmap_has_the_colors_of_magma_and_the_opacity_of_its_values() -> None:
    """Where the value is 0, the photograph is unchanged."""
    from matplotlib import colormaps

    heat = np.linspace(0, 1, 9, dtype=np.float32)[None]
    opacity = 0.6 * np.sqrt(heat)[..., None]
    magma = 255 * colormaps["magma"](heat)[..., :3]
    for value in (0, 200):
        drawing = draw_heatmap(np.full((1, 9, 3), value, np.uint8), heat)
        np.testing.assert_allclose(drawing, opacity * magma + (1 - opacity) * value, atol=1.5)
        assert (drawing[0, 0] == value).all()


@pytest.mark.parametrize("classes", [1, 2, 3, 12])
def test_classes_have_evenly_spaced_hues_without_those_of_the_stain(classes: int) -> None:
    colors = class_colors(classes)
    assert colors.shape == (classes, 3)
    assert np.ptp(colors[0].astype(int)) == 0
    hues = np.array([colorsys.rgb_to_hsv(*(color / 255))[0] for color in colors[1:]])
    expected = np.linspace(0.12, 0.68, max(1, classes - 1)) if classes > 2 else np.array([0.12])
    np.testing.assert_allclose(hues, expected[: classes - 1], atol=0.01)

"""Building blocks of a slide: polygons on pixels, hashed points, stamps."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms.slide.looks import NUCLEUS_TYPE_INDEX, choose_stamps, make_stamp_bank
from napari_melanoma.phantoms.slide.tissue import (
    PointGrid,
    blob_outline,
    hash_uniform,
    polygon_area,
    polygon_perimeter,
    rasterize_polygon,
    resample_outline,
    tube_outline,
)

SQUARE = np.array([[2.0, 1.0], [6.0, 1.0], [6.0, 4.0], [2.0, 4.0]])


def filled(polygon: np.ndarray, box: Box, downsample: float = 1.0) -> np.ndarray:
    mask = np.zeros((box.height, box.width), bool)
    part = rasterize_polygon(polygon, box, downsample)
    if part is not None:
        mask[part[0]] = part[1]
    return mask


def test_a_pixel_is_inside_if_its_center_is() -> None:
    mask = filled(SQUARE, Box(0, 0, 6, 8))
    assert np.array_equal(np.argwhere(mask).min(axis=0), [1, 2])
    assert np.array_equal(np.argwhere(mask).max(axis=0), [3, 5])
    assert mask.sum() == polygon_area(SQUARE) == 12
    assert polygon_perimeter(SQUARE) == 14


@pytest.mark.parametrize("downsample", [1.0, 2.0, 3.7])
def test_a_rasterized_polygon_is_independent_of_the_box(downsample: float) -> None:
    rng = np.random.default_rng(3)
    polygon = blob_outline(rng, (70.0, 60.0), (50.0, 40.0), 0.3)
    whole = filled(polygon, Box(0, 0, 130, 150), downsample)
    for _ in range(10):
        top, left = rng.integers(0, 60, 2)
        part = Box(int(top), int(left), 33, 41)
        assert np.array_equal(whole[part.slices], filled(polygon, part, downsample))


def test_a_polygon_fills_the_pixels_that_matplotlib_fills() -> None:
    from matplotlib.path import Path

    polygon = blob_outline(np.random.default_rng(5), (40.0, 30.0), (25.0, 20.0), 0.4)
    rows, columns = np.mgrid[:64, :80] + 0.5
    expected = Path(polygon).contains_points(np.stack([columns.ravel(), rows.ravel()], axis=1)).reshape(64, 80)
    assert np.array_equal(filled(polygon, Box(0, 0, 64, 80)), expected)


def test_a_polygon_elsewhere_is_not_met() -> None:
    assert rasterize_polygon(SQUARE, Box(10, 10, 5, 5)) is None


def test_hashed_numbers_are_even_and_independent() -> None:
    row, column = np.indices((200, 200)) - 100
    values = [hash_uniform(row, column, name) for name in (1, 2)]
    for value in values:
        assert 0 <= value.min() < 0.001
        assert 0.999 < value.max() < 1
        assert value.mean() == pytest.approx(0.5, abs=0.01)
        assert np.corrcoef(value[:, 1:].ravel(), value[:, :-1].ravel())[0, 1] == pytest.approx(0, abs=0.02)
    assert np.corrcoef(values[0].ravel(), values[1].ravel())[0, 1] == pytest.approx(0, abs=0.02)


def test_points_of_a_grid_do_not_depend_on_the_rectangle() -> None:
    grid = PointGrid(10.0, 0.4, 7)
    few, many = grid.points(100, 50, 200, 120), grid.points(-500, -400, 700, 800)
    places = dict(zip(zip(many.row.tolist(), many.column.tolist(), strict=True), many.x.tolist(), strict=True))
    for row, column, x in zip(few.row.tolist(), few.column.tolist(), few.x.tolist(), strict=True):
        assert places[row, column] == x


def test_distances_are_those_to_the_nearest_points() -> None:
    grid = PointGrid(10.0, 0.3, 9)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-300, 300, (2, 200))
    points = grid.points(-400, -400, 400, 400)
    expected = np.sort(np.hypot(x[:, None] - points.x, y[:, None] - points.y), axis=1)[:, :2]
    assert np.allclose(np.stack(grid.distances(x, y), axis=1), expected, atol=1e-3)


def test_walking_around_an_outline_keeps_the_pitch() -> None:
    points, direction = resample_outline(SQUARE, 1.0)
    assert len(points) == 14
    assert np.allclose(np.hypot(*np.diff(points, axis=0).T), 1)
    assert direction[0] == pytest.approx(0)


def test_a_tube_has_the_requested_width() -> None:
    path = np.stack([np.linspace(0, 100, 50), np.zeros(50)], axis=1)
    assert polygon_area(tube_outline(path, np.full(50, 4.0))) == pytest.approx(800)


@pytest.mark.slow
def test_nuclei_are_as_large_as_their_species() -> None:
    nuclei = make_stamp_bank("harbour", 0.5)
    sizes = {}
    for name in ("lymphocyte", "naevus", "melanoma", "melanoma_large"):
        stamps = nuclei.stamps[NUCLEUS_TYPE_INDEX[name], :, :, 0]
        sizes[name] = float((stamps > 0.3).sum(axis=(-2, -1)).mean()) * 0.25
    assert sizes["lymphocyte"] < sizes["naevus"] < sizes["melanoma"] < sizes["melanoma_large"]
    assert 20 < sizes["lymphocyte"] < 45


@pytest.mark.slow
def test_a_nucleus_has_the_requested_direction() -> None:
    nuclei = make_stamp_bank("harbour", 0.5)
    side = 2 * nuclei.reach + 1
    for angle, axis in ((0.0, 1), (np.pi / 2, 0)):
        canvas = np.zeros((2, side, side), np.float32)
        stamp = choose_stamps(np.array([NUCLEUS_TYPE_INDEX["fibroblast"]]), np.array([angle]), np.array([0.3]))
        nuclei.draw_nuclei(canvas, np.array([nuclei.reach]), np.array([nuclei.reach]), stamp)
        spread = np.argwhere(canvas[0] > 0.3).std(axis=0)
        assert spread[axis] > 2 * spread[1 - axis]

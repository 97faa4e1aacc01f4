"""Tiles of a physical size: which level is read, where tiles lie, and how much tissue each holds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box, MapPlacement, PixelSize
from napari_melanoma.slides.reading.slide import LevelInfo
from napari_melanoma.slides.tiling import (
    TileGrid,
    TilingConfig,
    _interpolate_rows,
    plan_tiles,
    tissue_area,
    tissue_share,
)


def pyramid(height: int, width: int, *downsamples: float) -> list[LevelInfo]:
    return [LevelInfo(int(height / factor), int(width / factor), factor) for factor in (1.0, *downsamples)]


class Case(NamedTuple):
    name: str
    mpp: tuple[float, float] | None
    downsamples: tuple[float, ...]
    config: TilingConfig
    level: int
    read: tuple[int, int]
    seen: tuple[float, float] | None


P3 = TilingConfig(side_um=3000, side_px=512)
CASES = [
    Case("20x read as it is", (0.499, 0.499), (4, 16), TilingConfig(), 0, (224, 224), (0.499, 0.499)),
    Case("40x halved", (0.25, 0.25), (4, 16), TilingConfig(), 0, (448, 448), (0.5, 0.5)),
    Case("40x with a level between", (0.25, 0.25), (2, 8), TilingConfig(), 0, (448, 448), (0.5, 0.5)),
    Case("a far coarser scale", (0.25, 0.25), (2, 4, 8), TilingConfig(mpp=8), 2, (1792, 1792), (8, 8)),
    Case("an odd size of pixels", (0.2277, 0.2277), (2, 4), TilingConfig(), 0, (492, 492), (0.50013, 0.50013)),
    Case("pixels that are not square", (0.25, 0.5), (), TilingConfig(), 0, (448, 224), (0.5, 0.5)),
    Case("a level that is fine enough along one axis", (0.25, 0.5), (2,), TilingConfig(), 0, (448, 224), (0.5, 0.5)),
    Case("coarser than asked for", (1.0, 1.0), (2,), TilingConfig(), 0, (112, 112), (0.5, 0.5)),
    Case("P3's patches of 3 mm", (0.25, 0.25), (4, 16, 64), P3, 1, (3000, 3000), (5.859375, 5.859375)),
    Case("P3's patches without other levels", (0.25, 0.25), (), P3, 0, (12000, 12000), (5.859375, 5.859375)),
    Case("no scale", None, (4,), TilingConfig(), 0, (224, 224), None),
    Case("levels in another order", (0.25, 0.25), (16, 2), TilingConfig(mpp=4), 2, (1792, 1792), (4, 4)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_level_and_the_size_that_is_read(case: Case) -> None:
    size = None if case.mpp is None else PixelSize(*case.mpp)
    grid = plan_tiles(pyramid(40_000, 60_000, *case.downsamples), size, case.config)
    assert (grid.level, grid.read_px) == (case.level, case.read)
    assert grid.mpp == (None if case.seen is None else pytest.approx(case.seen, abs=1e-4))


def planned(height: int, width: int, within: Box | None = None, **values: object) -> TileGrid:
    levels = pyramid(height, width, 2.0)
    return plan_tiles(levels, PixelSize(0.5, 0.5), TilingConfig.model_validate({"side_px": 10, **values}), within)


BORDERS = [("pad", (3, 4), (20, 30)), ("inside", (2, 3), (10, 20)), ("shift", (3, 4), (15, 25))]


@pytest.mark.parametrize(("border", "shape", "last"), BORDERS)
def test_borders(border: str, shape: tuple[int, int], last: tuple[int, int]) -> None:
    grid = planned(25, 35, border=border)
    assert grid.shape == shape
    corner = grid.box(grid.rows - 1, grid.columns - 1)
    assert (corner.top, corner.left, corner.height, corner.width) == (*last, 10, 10)


def test_overlap_is_a_share_of_the_side() -> None:
    grid = planned(100, 100, overlap=0.3)
    assert grid.stride_px == (7, 7)
    assert grid.box(1, 2) == Box(7, 14, 10, 10)
    assert grid.block_box((1, 3), (0, 2)) == Box(7, 0, 17, 17)


def test_a_part_is_tiled_from_its_corner_and_clipped_to_the_slide() -> None:
    grid = planned(100, 100, within=Box(80, -5, 50, 30))
    assert grid.area == Box(80, 0, 20, 25)
    assert (grid.shape, grid.box(0, 0)) == ((2, 3), Box(80, 0, 10, 10))


def test_a_slide_smaller_than_a_tile() -> None:
    assert planned(4, 4).shape == (1, 1)
    assert planned(4, 4, border="shift").box(0, 0) == Box(0, 0, 10, 10)
    assert planned(4, 4, border="inside").shape == (0, 0)


@pytest.mark.parametrize("within", [Box(200, 0, 5, 5), Box(0, 0, 0, 5), Box(-9, -9, 9, 9)])
def test_a_part_outside_the_slide_is_refused(within: Box) -> None:
    with pytest.raises(InputError, match="outside the slide"):
        planned(100, 100, within=within)


def test_a_slide_without_levels_is_refused() -> None:
    with pytest.raises(InputError, match="no levels, expected at least one"):
        plan_tiles([], None, TilingConfig())


GRIDS = st.builds(
    planned,
    st.integers(10, 90),
    st.integers(10, 90),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.9]),
    border=st.sampled_from(["pad", "inside", "shift"]),
    side_px=st.integers(8, 40),
)


@settings(max_examples=30)
@given(GRIDS)
def test_tiles_have_the_stated_border(grid: TileGrid) -> None:
    covered = np.zeros((grid.area.height + 2 * grid.side_px, grid.area.width + 2 * grid.side_px), int)
    for row in range(grid.rows):
        for column in range(grid.columns):
            box = grid.box(row, column)
            assert (box.height, box.width) == grid.read_px
            covered[box.slices] += 1
    inside = covered[: grid.area.height, : grid.area.width]
    if grid.border == "inside":
        assert covered.sum() == inside.sum()
    else:
        assert inside.min() >= 1
    if grid.border == "shift" and min(grid.area.height, grid.area.width) >= grid.side_px:
        assert covered.sum() == inside.sum()


@settings(max_examples=30)
@given(GRIDS, st.sampled_from([(0, 0), (2, 3)]))
def test_boxes_are_the_tiles_without_their_margins(grid: TileGrid, margin: tuple[int, int]) -> None:
    grid = replace(grid, margin_px=margin, downsample=2.0)
    height, width = (side - 2 * border for side, border in zip(grid.read_px, margin, strict=True))
    for row, column in np.ndindex(grid.shape):
        box = grid.box(row, column)
        expected = [[2 * (box.top + margin[0]), 2 * (box.left + margin[1]), 2 * height, 2 * width]]
        np.testing.assert_array_equal(grid.boxes.select((row, column)), expected)


@settings(max_examples=30)
@given(
    GRIDS.filter(lambda grid: grid.rows and grid.columns),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)
def test_the_share_of_tissue_is_exact_for_any_resolution_of_the_mask(
    grid: TileGrid, step_y: int, step_x: int, seed: int
) -> None:
    shape = math.ceil(grid.area.height / step_y), math.ceil(grid.area.width / step_x)
    mask = np.random.default_rng(seed).random(shape) < 0.5
    share = tissue_share(grid.boxes, mask, MapPlacement(0, 0, step_y, step_x))
    assert share.shape == grid.shape
    fine = mask.repeat(step_y, axis=0).repeat(step_x, axis=1)
    full = np.zeros((grid.area.height + 99, grid.area.width + 99))
    full[: fine.shape[0], : fine.shape[1]] = fine
    expected = [[full[grid.box(row, c).slices].mean() for c in range(grid.columns)] for row in range(grid.rows)]
    np.testing.assert_allclose(share, np.array(expected).reshape(grid.shape), atol=1e-5)


@given(
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    starts=st.lists(st.floats(-5, 45), min_size=1, max_size=8),
    length=st.floats(0.1, 9),
    seed=st.integers(0, 99),
)
def test_the_area_of_tissue_is_exactly_that_of_a_sum_over_the_whole_mask(
    sides: tuple[int, int], starts: list[float], length: float, seed: int
) -> None:
    mask = np.random.default_rng(seed).random(sides) < 0.5
    sums = np.pad(mask.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    edges = np.sort(starts), np.sort(starts) + length
    inside = _interpolate_rows(sums, edges[1]) - _interpolate_rows(sums, edges[0])
    expected = _interpolate_rows(inside.T, edges[1]) - _interpolate_rows(inside.T, edges[0])
    np.testing.assert_array_equal(tissue_area(mask, edges, edges), expected.T)


def test_a_tissue_mask_between_pixels_counts_by_its_area() -> None:
    share = tissue_share(planned(20, 20).boxes, np.array([[True]]), MapPlacement(2.5, 5.0, 10.0, 2.5))
    np.testing.assert_allclose(share, [[0.75 * 0.25, 0], [0.25 * 0.25, 0]], atol=1e-6)


def test_the_pixel_map_is_aligned_with_the_tiles() -> None:
    grid = plan_tiles(pyramid(4000, 4000), PixelSize(0.25, 0.5), TilingConfig(overlap=0.5), Box(100, 200, 2000, 2000))
    place = grid.pixel_placement
    assert (place.top, place.left) == (100, 200)
    assert place.cell_um == pytest.approx((0.5, 0.5))

"""Tile then stitch is the identity, whatever the overlap, the border, and the blocks in which the map is made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.io.slide_store import DONE, SlideResult, SlideResultSpec
from napari_melanoma.slides import maps
from napari_melanoma.slides.maps import (
    TileBlender,
    blend_window,
    stitch_block,
    stitched_shape,
    tile_origins,
    tiles_in_block,
)
from napari_melanoma.slides.reading.slide import LevelInfo
from napari_melanoma.slides.tiling import TileGrid, TilingConfig, plan_tiles

SIDE = 8


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    """Draw the tiles of a small slide that are not resized."""
    height, width = draw(st.integers(SIDE, 26)), draw(st.integers(SIDE, 26))
    strides = draw(st.integers(2, SIDE)), draw(st.integers(2, SIDE))
    border = draw(st.sampled_from(["pad", "shift"]))
    counts = [max(1, -(-(length - SIDE) // step) + 1) for length, step in zip((height, width), strides, strict=True)]
    return TileGrid(0, 1.0, SIDE, (SIDE, SIDE), strides, Box(3, 5, height, width), counts[0], counts[1], border)


def origin_of(grid: TileGrid, row: int, column: int) -> tuple[int, int]:
    tops, lefts = tile_origins(grid)
    return int(tops[row]), int(lefts[column])


def cut(image: np.ndarray, grid: TileGrid, row: int, column: int) -> np.ndarray:
    """Return a tile of a map (channel, row, column), zero outside."""
    padded = np.pad(image, ((0, 0), (0, SIDE), (0, SIDE)))
    top, left = origin_of(grid, row, column)
    return padded[:, top : top + SIDE, left : left + SIDE]


@settings(max_examples=30)
@given(grids(), st.integers(5, 30), st.integers(0, 2**32 - 1))
def test_tile_then_stitch_is_the_identity_block_by_block(grid: TileGrid, block: int, seed: int) -> None:
    height, width = stitched_shape(grid)
    image = np.random.default_rng(seed).random((2, height, width), np.float32)
    stitched = np.full_like(image, np.nan)
    for top in range(0, height, block):
        for left in range(0, width, block):
            box = Box(top, left, min(block, height - top), min(block, width - left))
            stitched[:, *box.slices] = stitch_block(
                box, grid, lambda row, column: cut(image, grid, row, column), channels=2
            )
    np.testing.assert_allclose(stitched, image, atol=2e-6)


@settings(max_examples=20)
@given(grids(), st.integers(3, 17), st.integers(0, 2**32 - 1))
def test_blocks_do_not_change_results(grid: TileGrid, block: int, seed: int) -> None:
    answers = np.random.default_rng(seed).random((grid.rows, grid.columns, 1, SIDE, SIDE), np.float32)
    height, width = stitched_shape(grid)

    def part(box: Box) -> np.ndarray:
        return stitch_block(box, grid, lambda row, column: answers[row, column], channels=1)

    whole = part(Box(0, 0, height, width))
    for top in range(0, height, block):
        box = Box(top, 0, min(block, height - top), width)
        np.testing.assert_array_equal(part(box), whole[:, *box.slices])
    assert whole.min() >= answers.min() - 1e-6
    assert whole.max() <= answers.max() + 1e-6


@settings(max_examples=40)
@given(grids(), st.integers(0, 30), st.integers(0, 30))
def test_the_tiles_that_a_block_needs_are_those_that_reach_into_it(grid: TileGrid, top: int, left: int) -> None:
    block = Box(top, left, 5, 7)
    needed = set(tiles_in_block(block, grid))
    for row in range(grid.rows):
        for column in range(grid.columns):
            covered = np.zeros((100, 100), bool)
            start = origin_of(grid, row, column)
            covered[start[0] : start[0] + SIDE, start[1] : start[1] + SIDE] = True
            assert ((row, column) in needed) == bool(covered[block.slices].any())


def test_areas_without_tiles_are_empty() -> None:
    mosaic = TileBlender(Box(10, 10, 4, 6), 1, blend_window(SIDE, (0, 0)))
    mosaic.add(np.ones((1, SIDE, SIDE)), 100, 10)
    mosaic.add(np.ones((1, SIDE, SIDE)), 12, 4)
    expected = np.full((1, 4, 6), np.nan)
    expected[0, 2:, :2] = 1
    np.testing.assert_array_equal(mosaic.result(), expected)


def test_failed_tiles_leave_the_others_alone() -> None:
    grid = TileGrid(0, 1.0, SIDE, (SIDE, SIDE), (4, 4), Box(0, 0, 16, 16), 3, 3, "pad")
    ones = np.ones((1, SIDE, SIDE))
    found = stitch_block(
        Box(0, 0, 16, 16), grid, lambda row, column: None if (row, column) == (0, 0) else ones, channels=1
    )
    assert np.isnan(found[0, :4, :4]).all()
    assert np.nansum(found) == 16 * 16 - 16


def test_unknown_cells_do_not_lower_the_map_at_the_edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "MAX_MAP_SIDE", 11)  # a cell for 3 x 3 of 32 x 32
    grid = plan_tiles([LevelInfo(64, 64, 1.0)], PixelSize(0.5, 0.5), TilingConfig(side_px=16, mpp=0.5))
    place = {"rows": 4, "columns": 4, "corner": (0, 0), "step": (16, 16), "boxes": grid.boxes, "size": (64, 64)}
    classes = ("background", "tumor")
    spec = SlideResultSpec(slide="s", fingerprint="f", kind="dense", classes=classes, tile_px=16, dense_px=8, **place)
    result = SlideResult.create(tmp_path, spec, np.zeros((1, 2), np.int32))
    values = np.tile(np.uint8([[51], [204]]), (1, 1, 64)).reshape(1, 2, 8, 8)
    writer = result.writer()
    writer.put(0, np.full(1, DONE, np.uint8), {"probability": np.float32([[0.2, 0.8]]), "dense": values})
    writer.flush()
    found = maps.stitched_maps(result, grid, RunContext()).probability[1]
    np.testing.assert_allclose(found[:3, :3], 0.8, atol=1e-6)
    assert np.isnan(found[3:]).all()
    assert np.isnan(found[:, 3:]).all()


@pytest.mark.parametrize("overlap", [0, 3, 8])
def test_weights_fall_towards_edges_and_never_to_nothing(overlap: int) -> None:
    window = blend_window(SIDE, (overlap, 0))
    assert window.dtype == np.float32
    assert window.min() > 0
    assert window.max() == pytest.approx(1, abs=0.13)
    np.testing.assert_array_equal(window, window[::-1])
    assert (np.diff(window[:4, 0]) >= 0).all()
    assert (window == 1).all() == (overlap == 0)


def test_resized_tiles_are_placed_in_pixels_of_the_network() -> None:
    grid = TileGrid(1, 2.0, 224, (448, 448), (448, 448), Box(0, 0, 1000, 900), 3, 3, "pad")
    assert origin_of(grid, 1, 2) == (224, 448)
    assert stitched_shape(grid) == (500, 450)

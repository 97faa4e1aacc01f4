"""Cells tile the slide without gaps, whatever its scale, and belong to the blocks that the engine reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.slides.maps import tile_origins
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.plan import plan_slide
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import LevelInfo, SlideInfo
from napari_melanoma.slides.tile_models import TileModelInfo
from napari_melanoma.slides.tissue_classifier.cells import (
    BLOCK_CELLS,
    CELL_UM,
    MARGIN_CELLS,
    CellGrid,
    block_px,
    list_cells,
    margin_px,
)


def make_info(height: int, width: int, mpp: float | None, bounds: Box | None = None) -> SlideInfo:
    levels = tuple(LevelInfo(-(-height // down), -(-width // down), float(down)) for down in (1, 2, 4))
    size = None if mpp is None else PixelSize(mpp, mpp, "file")
    return SlideInfo(Path("slide.tif"), "slide", "TIFF", levels, size, bounds=bounds)


@pytest.mark.parametrize("mpp", [0.25, 0.2633, 0.5, 0.526624])
@pytest.mark.parametrize("source_mpp", [0.5, 1.0])
def test_cells_have_their_size_at_any_scale(mpp: float, source_mpp: float) -> None:
    grid = CellGrid.plan(make_info(9000, 7000, mpp), source_mpp)
    assert grid.placement.cell_um == pytest.approx((CELL_UM, CELL_UM), rel=0.02)
    assert grid.blocks.side_px == block_px(source_mpp)


@pytest.mark.parametrize("is_painted", [True, False])
def test_painting_and_the_analysis_of_a_painted_classifier_read_the_nearest_level(
    tmp_path: Path, is_painted: bool
) -> None:
    """They would compute other features otherwise; the tiles of other models are reduced from finer pixels."""
    path = tmp_path / "slide.tif"
    rgb = np.full((2816, 2816, 3), (200, 120, 170), np.uint8)
    rgb[:300] = 245  # glass
    with tifffile.TiffWriter(path) as file:
        scale = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
        for downsample in (1, 2, 4):
            small = np.ascontiguousarray(rgb[::downsample, ::downsample])
            file.write(small, tile=(256, 256), photometric="rgb", subfiletype=int(downsample > 1), **scale)
    margin = margin_px(1.0) if is_painted else 0
    model = TileModelInfo("cells", "dense", ("a", "b"), block_px(1.0), 1.0, margin_px=margin)
    with open_slide(path) as slide:
        cells = CellGrid.plan(slide.info, 1.0).blocks
        read = plan_slide(slide, model, SlideOptions()).grid
        assert (cells.downsample, read.downsample) == (4, 4 if is_painted else 1)


def test_the_first_block_begins_with_its_margin_before_the_slide() -> None:
    grid = CellGrid.plan(make_info(8192, 8192, 0.25), 1.0)
    side, margin, inner = block_px(1.0), MARGIN_CELLS * CELL_UM, BLOCK_CELLS * CELL_UM  # one pixel each um
    assert grid.blocks.box(0, 0) == Box(-margin, -margin, side, side)
    assert grid.blocks.box(1, 2) == Box(inner - margin, 2 * inner - margin, side, side)
    assert grid.blocks.shape == (4, 4)
    assert grid.shape == (64, 64)


@settings(max_examples=40)
@given(st.integers(600, 40_000), st.integers(600, 40_000), st.floats(0.2, 1.0), st.integers(0, 2**32 - 1))
def test_a_point_is_in_its_cell_and_the_cell_in_its_block(height: int, width: int, mpp: float, seed: int) -> None:
    grid = CellGrid.plan(make_info(height, width, mpp), 1.0)
    cells = np.random.default_rng(seed).integers(0, grid.shape, (20, 2)).astype(np.int32)
    np.testing.assert_array_equal(grid.cell_of(grid.center_of(cells)), cells)
    for cell in cells:
        (block,) = grid.blocks_of(cell)
        assert (cell // BLOCK_CELLS == block).all()
        (inner,) = grid.blocks.boxes.select(block).tolist()
        (row, column), (step, _) = grid.center_of(cell), (grid.placement.step_y, grid.placement.step_x)
        assert inner[0] - step / 2 <= row <= inner[0] + inner[2] + step / 2
        assert inner[1] - step / 2 <= column <= inner[1] + inner[3] + step / 2


def test_blocks_of_the_engine_are_stitched_to_the_cells() -> None:
    grid = CellGrid.plan(make_info(5000, 9000, 0.2633), 1.0)
    tops, lefts = tile_origins(grid._cells)
    for row, column in np.ndindex(grid.blocks.shape):
        box = grid.cells_of((row, column))
        assert (tops[row], lefts[column]) == (box.top, box.left)


def test_cells_of_all_blocks_are_all_cells() -> None:
    grid = CellGrid.plan(make_info(5000, 9000, 0.25), 1.0)
    cells = np.concatenate([list_cells(grid.cells_of(block)) for block in np.ndindex(grid.blocks.shape)])
    assert len(cells) == len(np.unique(cells, axis=0)) == np.prod(grid.shape)
    assert grid.contains(cells).all()


def test_cells_in_a_box_are_those_that_it_touches() -> None:
    grid = CellGrid.plan(make_info(4096, 4096, 0.25), 1.0)  # 32 x 32 cells of 128 pixels
    assert grid.cells_in(Box(0, 0, 128, 128)) == Box(0, 0, 1, 1)
    assert grid.cells_in(Box(127, 128, 2, 128)) == Box(0, 1, 2, 1)
    assert grid.cells_in(Box(-500, 4000, 9000, 9000)) == Box(0, 31, 32, 1)
    assert grid.cells_in(Box(5000, 5000, 10, 10)).height == 0


def test_cells_cover_the_scanned_area_only() -> None:
    grid = CellGrid.plan(make_info(8192, 8192, 0.25, Box(1024, 2048, 2048, 1024)), 1.0)
    assert grid.shape == (16, 8)
    assert (grid.placement.top, grid.placement.left) == (1024, 2048)
    assert not grid.contains(grid.cell_of([(1000, 2100)])).any()


def test_blocks_are_sorted_by_distance() -> None:
    grid = CellGrid.plan(make_info(8192, 8192, 0.25), 1.0)
    blocks = np.argwhere(np.ones(grid.blocks.shape)).astype(np.int32)
    near = grid.blocks_by_distance(blocks, (3 * BLOCK_CELLS + 8, 1))
    assert near[0].tolist() == [3, 0]
    assert near[-1].tolist() == [0, 3]


def test_a_slide_without_scale_is_refused() -> None:
    with pytest.raises(ScaleMissing, match="pixel size is missing"):
        CellGrid.plan(make_info(4096, 4096, None), 1.0)


@pytest.mark.parametrize("downsamples", [(1,), (1, 2, 4)], ids=["one level", "pyramid"])
@pytest.mark.parametrize(("height", "width"), [(1500, 1300), (1536, 2049), (513, 4097), (7999, 1025), (40, 30)])
def test_cells_cover_slides_of_any_size(height: int, width: int, downsamples: tuple[int, ...]) -> None:
    levels = tuple(LevelInfo(height // down, width // down, float(down)) for down in downsamples)
    info = SlideInfo(Path("slide.tif"), "slide", "TIFF", levels, PixelSize(0.25, 0.25, "file"))
    grid = CellGrid.plan(info, 1.0)
    step, pixel = (grid.placement.step_y, grid.placement.step_x), grid.blocks.downsample
    covered = np.array(grid.shape) * step
    assert (covered > np.array((height, width)) - pixel).all(), "levels leave out less than one of their pixels"
    assert (covered < np.add((height, width), step)).all(), "each cell is on the slide at least in part"
    edge = grid.cell_of([(height - pixel, width - pixel)])
    assert grid.contains(edge).all()
    assert (grid.blocks_of(edge) < grid.blocks.shape).all()

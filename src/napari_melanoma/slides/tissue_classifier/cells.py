"""Cells of a slide: squares of 32 micrometers that have features and a class, computed in blocks with a margin.

A block is a tile of the slide engine, so that a classifier predicts the same map in the dock and in an analysis. Its
margin is context that only the features see: cells of neighboring blocks join without a seam.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.slides.engine import TileReader
from napari_melanoma.slides.maps import stitched_shape
from napari_melanoma.slides.plan import check_slide
from napari_melanoma.slides.reading.slide import Slide, SlideInfo
from napari_melanoma.slides.tiling import CELL_OVERSAMPLING, TileGrid, TilingConfig, plan_tiles

CELL_UM = 32
BLOCK_CELLS = 16  # cells along the side of a block
MARGIN_CELLS = 3  # on each side of a block: the context of 7 x 7 cells


def block_px(mpp: float) -> int:
    """Return the side of a block with its margin in pixels of ``mpp`` micrometers."""
    return round((BLOCK_CELLS + 2 * MARGIN_CELLS) * CELL_UM / mpp)


def margin_px(mpp: float) -> int:
    """Return the margin of a block on each side in pixels of ``mpp`` micrometers."""
    return round(MARGIN_CELLS * CELL_UM / mpp)


@dataclass(frozen=True)
class CellGrid:
    """The cells of a slide in rows and columns, and the blocks of ``BLOCK_CELLS`` x ``BLOCK_CELLS`` cells.

    Cells and blocks are addressed as int32 (..., 2), row and column in the grid of the whole slide. ``blocks``: the
    blocks with their margin, as the slide engine reads them.
    """

    blocks: TileGrid

    @classmethod
    def plan(cls, info: SlideInfo, mpp: float) -> CellGrid:
        """Place the cells on the scanned area of a slide.

        ``mpp``: micrometers per pixel at which features are computed. Raises ``ScaleMissing`` if the pixel size is
        unknown, and ``InputError`` for fluorescence without a choice of channels.
        """
        check_slide(info)
        config = TilingConfig(side_px=block_px(mpp), mpp=mpp, margin_px=margin_px(mpp))
        return cls(plan_tiles(info.levels, info.pixel_size, config, info.bounds, oversampling=CELL_OVERSAMPLING))

    @property
    def _cells(self) -> TileGrid:
        """The grid of the engine with a pixel for each cell."""
        return replace(self.blocks.without_margin, side_px=BLOCK_CELLS)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells that cover the scanned area."""
        return stitched_shape(self._cells)

    @property
    def placement(self) -> MapPlacement:
        """Placement of a map with a pixel for each cell."""
        return self._cells.pixel_placement

    def cells_in(self, box: Box) -> Box:
        """Return the box of the cells that a box touches, within the slide; empty if it touches none.

        ``box``: in pixels of the finest level.
        """
        corners = [(box.top, box.left), (box.top + box.height, box.left + box.width)]
        first, last = self.placement.to_map(corners)
        top, left = np.clip(np.floor(first), 0, self.shape).astype(int).tolist()
        bottom, right = np.clip(np.ceil(last), 0, self.shape).astype(int).tolist()
        return Box(top, left, max(0, bottom - top), max(0, right - left))

    def cell_of(self, points: ArrayLike) -> NDArray[np.int32]:
        """Return the cell that contains each point, int32 (..., 2); points beyond the slide have no valid cell.

        ``points``: (..., 2) as (row, column) in pixels of the finest level. See ``contains``.
        """
        return np.floor(self.placement.to_map(points)).astype(np.int32)

    def center_of(self, cells: ArrayLike) -> NDArray[np.float64]:
        """Return the centers of cells, float64 (..., 2), in pixels of the finest level."""
        return self.placement.to_slide(np.asarray(cells) + 0.5)

    def contains(self, cells: ArrayLike) -> NDArray[np.bool_]:
        """Return which cells (..., 2) are on the slide, bool (...)."""
        positions = np.asarray(cells)
        return np.asarray(np.logical_and(positions >= 0, positions < self.shape).all(axis=-1), np.bool_)

    def blocks_of(self, cells: ArrayLike) -> NDArray[np.int32]:
        """Return the blocks that contain cells, int32 (block, 2), each once, in the order of their first cell."""
        blocks = (np.asarray(cells, np.int32).reshape(-1, 2) // BLOCK_CELLS).astype(np.int32)
        _, first = np.unique(blocks, axis=0, return_index=True)
        return blocks[np.sort(first)]

    def cells_of(self, block: ArrayLike) -> Box:
        """Return the box of the cells of a block that are on the slide."""
        top, left = (np.asarray(block) * BLOCK_CELLS).tolist()
        rows, columns = self.shape
        return Box(top, left, min(BLOCK_CELLS, rows - top), min(BLOCK_CELLS, columns - left))

    def blocks_by_distance(self, blocks: NDArray[np.int32], center: ArrayLike) -> NDArray[np.int32]:
        """Sort blocks (block, 2) by their distance from a cell ``center`` (2,), the nearest first."""
        middle = (np.asarray(blocks) + 0.5) * BLOCK_CELLS
        return blocks[np.argsort(np.square(middle - np.asarray(center)).sum(axis=1), kind="stable")]


def list_cells(box: Box) -> NDArray[np.int32]:
    """Return the cells of a box in reading order, int32 (cell, 2)."""
    rows, columns = np.mgrid[box.slices]
    return np.stack([rows.ravel(), columns.ravel()], axis=1).astype(np.int32)


# Eight cells with the margin are 448 pixels: training takes a third of the memory and time of whole blocks, and few
# strokes are longer.
TILE_CELLS = 8
SIDE_CELLS = TILE_CELLS + 2 * MARGIN_CELLS  # with the margin


def tile_px(mpp: float) -> int:
    """Return the side of a tile with its margin in pixels."""
    return round(SIDE_CELLS * CELL_UM / mpp)


def place_tiles(cells: NDArray[np.int32]) -> list[tuple[NDArray[np.int32], NDArray[np.intp]]]:
    """Cover the cells of a stroke with tiles of ``TILE_CELLS`` x ``TILE_CELLS``, in the middle of one if it is small.

    ``cells``: int32 (cell, 2). Returns the first cell of each tile, int32 (2,), and the indices of the cells in it.
    """
    if not len(cells):
        return []
    first, extent = cells.min(axis=0), np.ptp(cells, axis=0) + 1
    tiles = -(-extent // TILE_CELLS)
    first = first - (tiles * TILE_CELLS - extent) // 2
    numbers, member = np.unique((cells - first) // TILE_CELLS, axis=0, return_inverse=True)
    return [
        ((first + TILE_CELLS * number).astype(np.int32), np.flatnonzero(member.reshape(-1) == index))
        for index, number in enumerate(numbers)
    ]


def read_tile(slide: Slide, grid: CellGrid, corner: NDArray[np.int32]) -> NDArray[np.uint8] | None:
    """Read a tile with its margin, uint8 (row, column, channel); None if it is damaged.

    ``corner``: its first cell, int32 (2,).
    """
    pixels, readable = TileReader(slide, _grid_at(grid, corner)).read(np.zeros((1, 2), np.int32))
    return pixels[0] if readable[0] else None


def _grid_at(grid: CellGrid, corner: NDArray[np.int32]) -> TileGrid:
    """Return a grid whose first tile has a given first cell."""
    blocks = grid.blocks
    cells = BLOCK_CELLS + 2 * MARGIN_CELLS, SIDE_CELLS
    read = tuple(round(side * cells[1] / cells[0]) for side in blocks.read_px)
    top, left = (
        origin + round(cell * stride / BLOCK_CELLS)
        for origin, cell, stride in zip(
            (blocks.area.top, blocks.area.left), corner.tolist(), blocks.stride_px, strict=True
        )
    )
    side = blocks.side_px * cells[1] // cells[0]
    area = Box(top, left, *read)
    return replace(blocks, side_px=side, read_px=(read[0], read[1]), area=area, rows=1, columns=1)

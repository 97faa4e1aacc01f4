"""Tiles of cells, on which a network is trained and compared: where they are, and their pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.engine import TileReader
from napari_melanoma.slides.reading.slide import Slide
from napari_melanoma.slides.tiling import TileGrid
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, CELL_UM, MARGIN_CELLS, CellGrid

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

"""Dense answers of tiles put together: where tiles overlap they are blended, block by block, in any order.

A block of the map needs only the tiles that reach into it, so the whole slide is never in memory; how the map is cut
into blocks changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_melanoma.core.geometry import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.analysis.tiling import TileGrid

Window = Literal["cosine", "linear", "flat"]
LEAST_WEIGHT = 1e-3  # of a tile's outermost pixels: where no other tile reaches they count alone


def blend_window(side_px: int, overlap_px: tuple[int, int], kind: Window = "cosine") -> NDArray[np.float32]:
    """Weight of each pixel of a tile: 1 in its middle, falling towards its edges where other tiles overlap it.

    ``overlap_px``: over how many pixels it overlaps the next one, (y, x); at most the side. Returns float32 (row,
    column), above 0 everywhere.
    """
    return np.outer(_ramp(side_px, overlap_px[0], kind), _ramp(side_px, overlap_px[1], kind)).astype(np.float32)


class Mosaic:
    """A block of the map that tiles are added to, each with its weights, in any order.

    ``block``: in pixels of the map. ``window``: float32 (row, column): weight of each pixel of a tile.
    """

    def __init__(self, block: Box, channels: int, window: NDArray[np.float32]) -> None:
        self._block, self._window = block, window
        self._sum = np.zeros((channels, block.height, block.width), np.float32)
        self._weight = np.zeros((block.height, block.width), np.float32)

    def add(self, values: NDArray[np.floating], top: int, left: int) -> None:
        """Add what of a tile lies in the block.

        ``values``: float (channel, row, column), as large as the window. ``top``, ``left``: where its first pixel lies
        on the map.
        """
        rows = _shared(self._block.top, self._block.height, top, self._window.shape[0])
        columns = _shared(self._block.left, self._block.width, left, self._window.shape[1])
        if rows is None or columns is None:
            return
        weight = self._window[rows[1], columns[1]]
        self._sum[:, rows[0], columns[0]] += values[:, rows[1], columns[1]] * weight
        self._weight[rows[0], columns[0]] += weight

    def result(self, empty: float = 0.0) -> NDArray[np.float32]:
        """Give the blended block.

        Returns float32 (channel, row, column).
        """
        there = self._weight > 0
        return np.where(there, self._sum / np.where(there, self._weight, 1), np.float32(empty))


def stitch_block(
    block: Box,
    grid: TileGrid,
    answer: Callable[[int, int], NDArray[np.floating] | None],
    *,
    channels: int,
    kind: Window = "cosine",
) -> NDArray[np.float32]:
    """Blend the tiles that reach into a block of the map.

    ``block``: in pixels of the map (``TileGrid.pixels_place``). ``answer``: takes row and column of a tile, gives float
    (channel, row, column) of the network's side, or None where there is none. Returns float32 (channel, row, column); 0
    where no tile answered.
    """
    mosaic = Mosaic(block, channels, blend_window(grid.side_px, _overlap(grid), kind))
    for row, column in tiles_reaching(block, grid):
        values = answer(row, column)
        if values is not None:
            mosaic.add(values, *pixel_of(grid, row, column))
    return mosaic.result()


def tiles_reaching(block: Box, grid: TileGrid) -> Iterator[tuple[int, int]]:
    """Say which tiles a block of the map needs, in reading order.

    ``block``: in pixels of the map.
    """
    rows, columns = (
        np.flatnonzero((starts < first + length) & (first < starts + grid.side_px)).tolist()
        for starts, first, length in (
            (_starts(grid, 0), block.top, block.height),
            (_starts(grid, 1), block.left, block.width),
        )
    )
    for row in rows:
        for column in columns:
            yield row, column


def pixel_of(grid: TileGrid, row: int, column: int) -> tuple[int, int]:
    """Say where a tile's first pixel lies on the map of stitched tiles.

    Returns (row, column) in pixels as the network sees them; where tiles are resized, to the nearest whole one.
    """
    box = grid.box(row, column)
    top, left = box.top - grid.area.top, box.left - grid.area.left
    return round(top * grid.side_px / grid.read_px[0]), round(left * grid.side_px / grid.read_px[1])


def map_shape(grid: TileGrid) -> tuple[int, int]:
    """Size of the map of stitched tiles: what is tiled, without what padded tiles reach outside.

    Returns rows and columns, in pixels as the network sees them.
    """
    return (
        max(1, round(grid.area.height * grid.side_px / grid.read_px[0])),
        max(1, round(grid.area.width * grid.side_px / grid.read_px[1])),
    )


def _overlap(grid: TileGrid) -> tuple[int, int]:
    """How far neighbours overlap, in pixels as the network sees them."""
    shares = [1 - stride / read for stride, read in zip(grid.stride_px, grid.read_px, strict=True)]
    return round(shares[0] * grid.side_px), round(shares[1] * grid.side_px)


def _ramp(side: int, overlap: int, kind: Window) -> NDArray[np.float64]:
    """Weight along one axis."""
    if kind == "flat" or overlap == 0:
        return np.ones(side)
    away = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    share = np.clip(away / min(overlap, side / 2), 0, 1)
    return np.maximum(share if kind == "linear" else (1 - np.cos(np.pi * share)) / 2, LEAST_WEIGHT)


def _shared(first: int, length: int, start: int, side: int) -> tuple[slice, slice] | None:
    """What a block and a tile share along an axis, as slices of each; None where nothing."""
    low, high = max(first, start), min(first + length, start + side)
    return (slice(low - first, high - first), slice(low - start, high - start)) if low < high else None


def _starts(grid: TileGrid, axis: int) -> NDArray[np.int64]:
    """First pixel on the map of each row or column of tiles: ``pixel_of`` for all at once."""
    count, length = (grid.rows, grid.area.height) if axis == 0 else (grid.columns, grid.area.width)
    starts = np.arange(count) * grid.stride_px[axis]
    if grid.border == "shift":
        starts = np.minimum(starts, max(0, length - grid.read_px[axis]))
    return np.rint(starts * grid.side_px / grid.read_px[axis]).astype(np.int64)

"""Predictions of overlapping tiles and patches stitched into one map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlacement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.slides.tiling import TileGrid

BlendWindow = Literal["cosine", "linear", "flat"]
MIN_WEIGHT = 1e-3  # of a tile's outermost pixels: where no other tile reaches they count alone


def blend_window(side_px: int, overlap_px: tuple[int, int], kind: BlendWindow = "cosine") -> NDArray[np.float32]:
    """Weight of each pixel of a tile: 1 in its middle, falling towards its edges where other tiles overlap it.

    ``overlap_px``: over how many pixels it overlaps the next one, (y, x); at most the side. Returns float32 (row,
    column), above 0 everywhere.
    """
    return np.outer(_ramp(side_px, overlap_px[0], kind), _ramp(side_px, overlap_px[1], kind)).astype(np.float32)


class TileBlender:
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
        rows = _intersection(self._block.top, self._block.height, top, self._window.shape[0])
        columns = _intersection(self._block.left, self._block.width, left, self._window.shape[1])
        if rows is None or columns is None:
            return
        weight = self._window[rows[1], columns[1]]
        self._sum[:, rows[0], columns[0]] += values[:, rows[1], columns[1]] * weight
        self._weight[rows[0], columns[0]] += weight

    def result(self, empty: float = 0.0) -> NDArray[np.float32]:
        """Return the blended block.

        Returns float32 (channel, row, column).
        """
        there = self._weight > 0
        return np.where(there, self._sum / np.where(there, self._weight, 1), np.float32(empty))


def stitch_block(
    block: Box,
    grid: TileGrid,
    read_tile: Callable[[int, int], NDArray[np.floating] | None],
    *,
    channels: int,
    kind: BlendWindow = "cosine",
) -> NDArray[np.float32]:
    """Blend the tiles that reach into a block of the map.

    ``block``: in pixels of the map (``TileGrid.pixels_place``). ``answer``: takes row and column of a tile, gives float
    (channel, row, column) of the network's side, or None where there is none. Returns float32 (channel, row, column); 0
    where no tile answered.
    """
    mosaic = TileBlender(block, channels, blend_window(grid.side_px, _overlap(grid), kind))
    for row, column in tiles_in_block(block, grid):
        values = read_tile(row, column)
        if values is not None:
            mosaic.add(values, *tile_origin(grid, row, column))
    return mosaic.result()


def tiles_in_block(block: Box, grid: TileGrid) -> Iterator[tuple[int, int]]:
    """Return which tiles a block of the map needs, in reading order.

    ``block``: in pixels of the map.
    """
    rows, columns = (
        np.flatnonzero((starts < first + length) & (first < starts + grid.side_px)).tolist()
        for starts, first, length in (
            (_tile_origins(grid, 0), block.top, block.height),
            (_tile_origins(grid, 1), block.left, block.width),
        )
    )
    for row in rows:
        for column in columns:
            yield row, column


def tile_origin(grid: TileGrid, row: int, column: int) -> tuple[int, int]:
    """Return where a tile's first pixel lies on the map of stitched tiles.

    Returns (row, column) in pixels as the network sees them; where tiles are resized, to the nearest whole one.
    """
    box = grid.box(row, column)
    top, left = box.top - grid.area.top, box.left - grid.area.left
    return round(top * grid.side_px / grid.read_px[0]), round(left * grid.side_px / grid.read_px[1])


def stitched_shape(grid: TileGrid) -> tuple[int, int]:
    """Size of the map of stitched tiles: what is tiled, without what padded tiles reach outside.

    Returns rows and columns, in pixels as the network sees them.
    """
    return (
        max(1, round(grid.area.height * grid.side_px / grid.read_px[0])),
        max(1, round(grid.area.width * grid.side_px / grid.read_px[1])),
    )


def _overlap(grid: TileGrid) -> tuple[int, int]:
    """How far neighbors overlap, in pixels as the network sees them."""
    shares = [1 - stride / read for stride, read in zip(grid.stride_px, grid.read_px, strict=True)]
    return round(shares[0] * grid.side_px), round(shares[1] * grid.side_px)


def _ramp(side: int, overlap: int, kind: BlendWindow) -> NDArray[np.float64]:
    """Weight along one axis."""
    if kind == "flat" or overlap == 0:
        return np.ones(side)
    away = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    share = np.clip(away / min(overlap, side / 2), 0, 1)
    return np.maximum(share if kind == "linear" else (1 - np.cos(np.pi * share)) / 2, MIN_WEIGHT)


def _intersection(first: int, length: int, start: int, side: int) -> tuple[slice, slice] | None:
    """What a block and a tile share along an axis, as slices of each; None where nothing."""
    low, high = max(first, start), min(first + length, start + side)
    return (slice(low - first, high - first), slice(low - start, high - start)) if low < high else None


def _tile_origins(grid: TileGrid, axis: int) -> NDArray[np.int64]:
    """First pixel on the map of each row or column of tiles: ``pixel_of`` for all at once."""
    count, length = (grid.rows, grid.area.height) if axis == 0 else (grid.columns, grid.area.width)
    starts = np.arange(count) * grid.stride_px[axis]
    if grid.border == "shift":
        starts = np.minimum(starts, max(0, length - grid.read_px[axis]))
    return np.rint(starts * grid.side_px / grid.read_px[axis]).astype(np.int64)


PATCH_CELLS = 96  # of a patch, along either side; networks tell places no finer
MAX_CELLS = 4096  # cells of the whole map, along either side


def compose_patch_maps(
    maps: Sequence[NDArray[np.float32]], boxes: Sequence[Box], size: tuple[int, int]
) -> tuple[NDArray[np.float32], MapPlacement]:
    """Lay the maps of patches beside each other; where two overlap, the larger value counts.

    ``maps``: float32 (row, column), at least one; each covers its box. ``boxes``: where they lie, in pixels of the
    slide's finest level. ``size``: height and width of the slide, in these pixels. Returns float32 (row, column), NaN
    where there is no patch, or no slide; and where it lies, without a scale.
    """
    top, left = min(box.top for box in boxes), min(box.left for box in boxes)
    bottom, right = max(box.top + box.height for box in boxes), max(box.left + box.width for box in boxes)
    step_y = max(min(box.height for box in boxes) / PATCH_CELLS, (bottom - top) / MAX_CELLS)
    step_x = max(min(box.width for box in boxes) / PATCH_CELLS, (right - left) / MAX_CELLS)
    shape = max(1, round((bottom - top) / step_y)), max(1, round((right - left) / step_x))
    whole = np.full(shape, np.nan, np.float32)
    for values, box in zip(maps, boxes, strict=True):
        first = round((box.top - top) / step_y), round((box.left - left) / step_x)
        cells = max(1, round(box.height / step_y)), max(1, round(box.width / step_x))
        part = whole[first[0] : first[0] + cells[0], first[1] : first[1] + cells[1]]
        part[...] = np.fmax(part, _resize(values, part.shape))
    rows = top + (np.arange(shape[0]) + 0.5) * step_y
    columns = left + (np.arange(shape[1]) + 0.5) * step_x
    whole[(rows < 0) | (rows > size[0])] = np.nan
    whole[:, (columns < 0) | (columns > size[1])] = np.nan
    return whole, MapPlacement(float(top), float(left), step_y, step_x)


def find_strongest(
    maps: Sequence[NDArray[np.float32]], boxes: Sequence[Box], share: float, count: int, size: tuple[int, int] = (0, 0)
) -> list[tuple[Box, float]]:
    """Find the places where maps of patches are highest, none of which overlaps another.

    ``maps``: float32 (row, column), each covers its box. ``boxes``: where they lie, in pixels of the slide's finest
    level. ``size``: height and width of the slide, in these pixels: no place lies beside it; (0, 0) for one without
    end. Each with its value, the highest first; those where nothing is are left out.
    """
    found: list[tuple[Box, float]] = []
    everything = [
        (float(value), index, place)
        for index, values in enumerate(maps)
        for place, value in np.ndenumerate(np.asarray(values))
        if value > 0
    ]
    for value, index, (row, column) in sorted(everything, key=lambda one: -one[0]):
        box, (rows, columns) = boxes[index], maps[index].shape
        height, width = max(1, round(share * box.height)), max(1, round(share * box.width))
        top = box.top + round((row + 0.5) / rows * box.height - height / 2)
        left = box.left + round((column + 0.5) / columns * box.width - width / 2)
        if any(size) and not (0 <= top <= size[0] - height and 0 <= left <= size[1] - width):
            continue
        if all(abs(top - other.top) >= height or abs(left - other.left) >= width for other, _ in found):
            found.append((Box(top, left, height, width), value))
        if len(found) == count:
            break
    return found


def _resize(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A map of another size, by averaging."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BOX), np.float32)

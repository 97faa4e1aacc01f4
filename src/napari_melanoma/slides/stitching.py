"""Stitching of overlapping tiles and patches into one map."""

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
MIN_WEIGHT = 1e-3  # of the outermost pixels of a tile, which count alone where no other tile reaches
PATCH_CELLS = 96  # cells along the side of a patch; networks have no finer resolution
MAX_CELLS = 4096  # cells along each side of the whole map


def blend_window(side_px: int, overlap_px: tuple[int, int], kind: BlendWindow = "cosine") -> NDArray[np.float32]:
    """Return the weight of each pixel of a tile: 1 in the center, decreasing where other tiles overlap it.

    ``overlap_px``: overlap with the next tile in pixels, (y, x); at most the side. Returns float32 (row, column),
    positive everywhere.
    """
    return np.outer(_ramp(side_px, overlap_px[0], kind), _ramp(side_px, overlap_px[1], kind)).astype(np.float32)


class TileBlender:
    """Blends weighted tiles into a block of the map, in any order.

    ``block``: in pixels of the map. ``window``: float32 (row, column): weight of each pixel of a tile.
    """

    def __init__(self, block: Box, channels: int, window: NDArray[np.float32]) -> None:
        self._block, self._window = block, window
        self._sum = np.zeros((channels, block.height, block.width), np.float32)
        self._weight = np.zeros((block.height, block.width), np.float32)

    def add(self, values: NDArray[np.floating], top: int, left: int) -> None:
        """Add the part of a tile that lies in the block.

        ``values``: float (channel, row, column), of the size of the window. ``top``, ``left``: position of its first
        pixel on the map.
        """
        rows = _intersection(self._block.top, self._block.height, top, self._window.shape[0])
        columns = _intersection(self._block.left, self._block.width, left, self._window.shape[1])
        if rows is None or columns is None:
            return
        weight = self._window[rows[1], columns[1]]
        self._sum[:, rows[0], columns[0]] += values[:, rows[1], columns[1]] * weight
        self._weight[rows[0], columns[0]] += weight

    def result(self, empty: float = 0.0) -> NDArray[np.float32]:
        """Return the blended block, float32 (channel, row, column)."""
        covered = self._weight > 0
        return np.where(covered, self._sum / np.where(covered, self._weight, 1), np.float32(empty))


def stitch_block(
    block: Box,
    grid: TileGrid,
    read_tile: Callable[[int, int], NDArray[np.floating] | None],
    *,
    channels: int,
    kind: BlendWindow = "cosine",
) -> NDArray[np.float32]:
    """Blend the tiles that overlap a block of the map.

    ``block``: in pixels of the map (``TileGrid.pixel_placement``). ``read_tile``: returns the prediction for row and
    column of a tile, float (channel, row, column) at the side of the network, or None. Returns float32 (channel, row,
    column); 0 without predictions.
    """
    blender = TileBlender(block, channels, blend_window(grid.side_px, _overlap(grid), kind))
    for row, column in tiles_in_block(block, grid):
        values = read_tile(row, column)
        if values is not None:
            blender.add(values, *tile_origin(grid, row, column))
    return blender.result()


def tiles_in_block(block: Box, grid: TileGrid) -> Iterator[tuple[int, int]]:
    """Yield the tiles that overlap a block of the map, in reading order.

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
    """Return the position of the first pixel of a tile on the stitched map.

    Returns (row, column) in pixels of the network's input; rounded where tiles are resized.
    """
    box = grid.box(row, column)
    top, left = box.top - grid.area.top, box.left - grid.area.left
    return round(top * grid.side_px / grid.read_px[0]), round(left * grid.side_px / grid.read_px[1])


def stitched_shape(grid: TileGrid) -> tuple[int, int]:
    """Return rows and columns of the stitched map: the tiled area, without the parts of padded tiles beyond it.

    In pixels of the network's input.
    """
    return (
        max(1, round(grid.area.height * grid.side_px / grid.read_px[0])),
        max(1, round(grid.area.width * grid.side_px / grid.read_px[1])),
    )


def _overlap(grid: TileGrid) -> tuple[int, int]:
    """Overlap of neighboring tiles in pixels of the network's input."""
    shares = [1 - stride / read for stride, read in zip(grid.stride_px, grid.read_px, strict=True)]
    return round(shares[0] * grid.side_px), round(shares[1] * grid.side_px)


def _ramp(side: int, overlap: int, kind: BlendWindow) -> NDArray[np.float64]:
    if kind == "flat" or overlap == 0:
        return np.ones(side)
    distance = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    share = np.clip(distance / min(overlap, side / 2), 0, 1)
    return np.maximum(share if kind == "linear" else (1 - np.cos(np.pi * share)) / 2, MIN_WEIGHT)


def _intersection(first: int, length: int, start: int, side: int) -> tuple[slice, slice] | None:
    """Overlap of a block and a tile along an axis, as slices of each; None without overlap."""
    low, high = max(first, start), min(first + length, start + side)
    return (slice(low - first, high - first), slice(low - start, high - start)) if low < high else None


def _tile_origins(grid: TileGrid, axis: int) -> NDArray[np.int64]:
    """First pixel on the map of each row or column of tiles; vectorized ``tile_origin``."""
    count, length = (grid.rows, grid.area.height) if axis == 0 else (grid.columns, grid.area.width)
    starts = np.arange(count) * grid.stride_px[axis]
    if grid.border == "shift":
        starts = np.minimum(starts, max(0, length - grid.read_px[axis]))
    return np.rint(starts * grid.side_px / grid.read_px[axis]).astype(np.int64)


def compose_patch_maps(
    maps: Sequence[NDArray[np.float32]], boxes: Sequence[Box], size: tuple[int, int]
) -> tuple[NDArray[np.float32], MapPlacement]:
    """Compose the maps of patches; where two overlap, the larger value is used.

    ``maps``: float32 (row, column), at least one; each covers its box. ``boxes``: position of the patches in pixels of
    the finest level. ``size``: height and width of the slide, in these pixels. Returns float32 (row, column), NaN
    outside patches and slide; and its position, without a pixel size.
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
    """Find the non-overlapping positions with the highest values in the maps of patches.

    ``maps``: float32 (row, column), each covers its box. ``boxes``: position of the patches in pixels of the finest
    level. ``size``: height and width of the slide, in these pixels, which limits the positions; (0, 0) for no limit.
    Returns boxes with their values, the highest first; only positive values.
    """
    found: list[tuple[Box, float]] = []
    candidates = [
        (float(value), index, position)
        for index, values in enumerate(maps)
        for position, value in np.ndenumerate(np.asarray(values))
        if value > 0
    ]
    for value, index, (row, column) in sorted(candidates, key=lambda one: -one[0]):
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
    """Resize a map by averaging."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BOX), np.float32)

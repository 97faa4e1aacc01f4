"""Maps of a slide, joined and smoothed from the values of its tiles, and prepared for display."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.depth.tumor_maps import block_means
from napari_melanoma.io.slide_store import DONE, SlideResult, TileBoxes
from napari_melanoma.slides.tiling import TileGrid, tissue_area

MAX_SIGMA = 4.0  # cells
RADIUS = 4.0  # standard deviations beyond which the weights are zero


def smooth_map(probability: NDArray[np.floating], sigma: float) -> NDArray[np.float32]:
    """Average the probabilities of neighboring cells with the weights of a Gaussian.

    ``probability``: float (class, row, column), NaN where unknown; such cells have no influence and stay unknown.
    ``sigma``: in cells; 0 changes nothing. Returns float32 of the same shape.
    """
    from scipy.ndimage import gaussian_filter

    values = np.asarray(probability, np.float32)
    if sigma <= 0:
        return values
    known = np.isfinite(values).all(axis=0)
    widths = (0, sigma, sigma)
    total = gaussian_filter(np.where(known, values, 0), widths, mode="constant", truncate=RADIUS)
    weight = gaussian_filter(known.astype(np.float32), sigma, mode="constant", truncate=RADIUS)
    smoothed: NDArray[np.float32] = np.where(known, total / np.maximum(weight, 1e-6), np.nan).astype(np.float32)
    return smoothed


BLOCK_CELLS = 1024  # approximate side of the blocks that are stitched one by one
MAX_MAP_SIDE = 4096  # cells along the longer side of lesion maps: 64 MB per class for any slide
CACHED_CHUNKS = 96  # chunks of dense predictions, about a megabyte each
MIN_WEIGHT = 1e-3  # weight of the outermost pixels of a tile, so that a pixel without another tile has a value


@dataclass(frozen=True)
class SlideMaps:
    """Maps of a slide and their position.

    ``probability``: float32 (class, row, column), NaN where unknown. ``end``: (row, column) of the end of the slide, or
    of the tiles, in pixels of the finest level, which the last cells may extend beyond. ``step``: number of cells of
    the stitched map along the side of a cell.
    """

    probability: NDArray[np.float32]
    placement: MapPlacement
    end: tuple[float, float] | None = None
    step: int = 1


def tile_maps(result: SlideResult) -> SlideMaps:
    """Return the probabilities of tiles as maps with a cell for each tile."""
    size, tiles = result.spec.size, result.boxes.end
    end = None if size is None else (min(size[0], tiles[0]), min(size[1], tiles[1]))
    return SlideMaps(np.moveaxis(result.probability, 2, 0), result.spec.placement, end)


def tissue_of_cells(maps: SlideMaps, mask: NDArray[np.bool_], place: MapPlacement) -> NDArray[np.float32]:
    """Return the share of tissue in each cell of maps, float32 (row, column), relative to the area of a whole cell.

    ``mask``: bool (row, column), the tissue of the slide. ``place``: its position.
    """
    cells, shape = maps.placement, maps.probability.shape[1:]
    corners = cells.to_slide(np.column_stack([np.arange(max(shape) + 1)] * 2))
    edges = place.to_map(np.minimum(corners, maps.end or np.inf))
    rows, columns = edges[: shape[0] + 1, 0], edges[: shape[1] + 1, 1]
    area = tissue_area(mask, (rows[:-1], rows[1:]), (columns[:-1], columns[1:]))
    return np.clip(area * place.cell_area_px / cells.cell_area_px, 0, 1).astype(np.float32)


def stitched_maps(result: SlideResult, grid: TileGrid, run: RunContext, smoothing: float = 0.0) -> SlideMaps:
    """Stitch dense predictions into the array ``map`` of the store, and return a downsampled map.

    ``result``: of kind ``dense``, open for writing; receives ``map``, uint8 (class, row, column), probability times
    255. The returned map has at most ``MAX_MAP_SIDE`` cells along a side, each the mean over a square of cells of
    ``map``. ``smoothing``: width of the Gaussian that smooths ``map``, in its cells.
    """
    cells = replace(grid.without_margin, side_px=result.spec.dense_px)
    shape = stitched_shape(cells)
    step = -(-max(shape) // MAX_MAP_SIDE)
    classes, predictions = len(result.spec.classes), _DenseTileReader(result)
    overview = np.full((classes, -(-shape[0] // step), -(-shape[1] // step)), np.nan, np.float32)
    store = result.create_map(shape)
    blocks = [
        block for block in _blocks(shape, step) if any(predictions.has(*at) for at in tiles_in_block(block, cells))
    ]
    for block in run.track(blocks, "Stitching the tiles"):
        values = _stitch_smoothed(block, cells, predictions, classes, smoothing)
        known = block_means(np.isfinite(values[:1]), (step, step))
        values = np.nan_to_num(values)
        store.put(block, np.round(255 * values).astype(np.uint8))
        reduced, top, left = block_means(values, (step, step)), block.top // step, block.left // step
        reduced = np.where(known > 0, reduced / np.maximum(known, 1e-6), np.nan)
        overview[:, top : top + reduced.shape[1], left : left + reduced.shape[2]] = reduced
    run.report(Progress(len(blocks), len(blocks), "Stitching the tiles"))
    maps = place_stitched(result, overview)
    return replace(maps, probability=_mask_unknown(overview, result.boxes, result.state == DONE, maps.placement))


def place_stitched(result: SlideResult, overview: NDArray[np.float32]) -> SlideMaps:
    """Return the downsampled stitched map with its placement: a tile has ``dense_px`` cells of ``map`` along a side.

    ``overview``: float32 (class, row, column); the map itself if the store has no ``map``.
    """
    spec, boxes, shape = result.spec, result.boxes, overview.shape[1:]
    with suppress(KeyError):
        shape = result.array("map").shape[1:]
    step = round(max(shape) / max(overview.shape[1:]))
    cell = boxes.height / spec.dense_px * step, boxes.width / spec.dense_px * step
    place = MapPlacement(boxes.tops[0], boxes.lefts[0], *cell, spec.placement.pixel_size)
    return SlideMaps(overview, place, spec.size, step)


def _stitch_smoothed(
    block: Box, cells: TileGrid, predictions: _DenseTileReader, classes: int, smoothing: float
) -> NDArray[np.float32]:
    """Stitch a block of the map, and smooth it together with a border of its neighbors; NaN where unknown."""
    border = int(RADIUS * smoothing + 0.5)
    (rows, columns), (top, left) = stitched_shape(cells), (max(0, block.top - border), max(0, block.left - border))
    bottom, right = min(rows, block.top + block.height + border), min(columns, block.left + block.width + border)
    values = stitch_block(Box(top, left, bottom - top, right - left), cells, predictions, channels=classes)
    if not border:
        return values
    inside = Box(block.top - top, block.left - left, block.height, block.width)
    return smooth_map(values, smoothing)[:, *inside.slices]


class _DenseTileReader:
    """Reads dense predictions of tiles by their position; recently read chunks are cached."""

    def __init__(self, result: SlideResult) -> None:
        self._result = result
        self._length = result.array("dense").chunks[0]
        self._chunks: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._index = np.full(result.state.shape, -1, np.int64)
        order, done = result.order, result.state == DONE
        self._index[order[:, 0], order[:, 1]] = np.where(done[order[:, 0], order[:, 1]], np.arange(len(order)), -1)

    def has(self, row: int, column: int) -> bool:
        """Return whether a tile has a prediction."""
        return bool(self._index[row, column] >= 0)

    def __call__(self, row: int, column: int) -> NDArray[np.float32] | None:
        """Return the maps of a tile, float32 (class, row, column), or None."""
        index = int(self._index[row, column])
        if index < 0:
            return None
        chunk, within = divmod(index, self._length)
        if chunk not in self._chunks:
            self._chunks[chunk] = self._result.dense(slice(chunk * self._length, (chunk + 1) * self._length))
            if len(self._chunks) > CACHED_CHUNKS:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end(chunk)
        return self._chunks[chunk][within].astype(np.float32) / 255


def _blocks(shape: tuple[int, int], step: int) -> Iterator[Box]:
    """Split a map into blocks whose sides, except at the end, are multiples of ``step``."""
    side = -(-BLOCK_CELLS // step) * step
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            yield Box(top, left, min(side, shape[0] - top), min(side, shape[1] - left))


def _mask_unknown(
    maps: NDArray[np.float32], boxes: TileBoxes, known: NDArray[np.bool_], place: MapPlacement
) -> NDArray[np.float32]:
    """Set cells whose nearest tile has no prediction to NaN; ``known``: bool (row, column) of the tiles."""
    for axis, (starts, side, map_start, map_step) in enumerate(
        ((boxes.tops, boxes.height, place.top, place.step_y), (boxes.lefts, boxes.width, place.left, place.step_x))
    ):
        centers = map_start + (np.arange(maps.shape[axis + 1]) + 0.5) * map_step
        tiles = np.asarray(starts) + side / 2
        nearest = np.searchsorted((tiles[:-1] + tiles[1:]) / 2, centers, side="right")
        known = known.take(nearest, axis=axis)
    maps[:, ~known] = np.nan
    return maps


def blend_window(side_px: int, overlap_px: tuple[int, int]) -> NDArray[np.float32]:
    """Return the weight of each pixel of a tile: 1 in the center, with a cosine taper where other tiles overlap.

    ``overlap_px``: overlap with the next tile in pixels, (y, x); at most the side. Returns float32 (row, column),
    positive everywhere.
    """
    return np.outer(_ramp(side_px, overlap_px[0]), _ramp(side_px, overlap_px[1])).astype(np.float32)


class TileBlender:
    """Blends weighted tiles into a block of the map, in any order.

    ``block``: in pixels of the map. ``channels``: number of classes. ``window``: float32 (row, column), weight of each
    pixel of a tile.
    """

    def __init__(self, block: Box, channels: int, window: NDArray[np.float32]) -> None:
        self._block, self._window = block, window
        self._sum = np.zeros((channels, block.height, block.width), np.float32)
        self._weight = np.zeros((block.height, block.width), np.float32)

    def add(self, values: NDArray[np.floating], top: int, left: int) -> None:
        """Add the part of a tile that lies in the block.

        ``values``: float (channel, row, column), of the size of the window. ``top``, ``left``: position of the tile on
        the map.
        """
        rows = _intersection(self._block.top, self._block.height, top, self._window.shape[0])
        columns = _intersection(self._block.left, self._block.width, left, self._window.shape[1])
        if rows is None or columns is None:
            return
        weight = self._window[rows[1], columns[1]]
        self._sum[:, rows[0], columns[0]] += values[:, rows[1], columns[1]] * weight
        self._weight[rows[0], columns[0]] += weight

    def result(self) -> NDArray[np.float32]:
        """Return the blended block, float32 (channel, row, column); NaN where no tile was added."""
        weight = np.where(self._weight > 0, self._weight, np.nan)
        blended: NDArray[np.float32] = np.divide(self._sum, weight, dtype=np.float32)
        return blended


def stitch_block(
    block: Box,
    grid: TileGrid,
    read_tile: Callable[[int, int], NDArray[np.floating] | None],
    *,
    channels: int,
) -> NDArray[np.float32]:
    """Blend the tiles that overlap a block of the map.

    ``block``: in pixels of the map (``TileGrid.pixel_placement``). ``read_tile``: returns the prediction for the tile
    at a row and column of the grid, float (channel, row, column) with ``side_px`` pixels, or None. Returns float32
    (channel, row, column); NaN without predictions.
    """
    shares = [1 - stride / read for stride, read in zip(grid.stride_px, grid.read_px, strict=True)]
    overlap_px = round(shares[0] * grid.side_px), round(shares[1] * grid.side_px)
    blender = TileBlender(block, channels, blend_window(grid.side_px, overlap_px))
    tops, lefts = tile_origins(grid)
    for row, column in tiles_in_block(block, grid):
        values = read_tile(row, column)
        if values is not None:
            blender.add(values, int(tops[row]), int(lefts[column]))
    return blender.result()


def tiles_in_block(block: Box, grid: TileGrid) -> Iterator[tuple[int, int]]:
    """Yield the tiles that overlap a block of the map, in reading order.

    ``block``: in pixels of the map.
    """
    rows, columns = (
        np.flatnonzero((starts < first + length) & (first < starts + grid.side_px)).tolist()
        for starts, first, length in zip(
            tile_origins(grid), (block.top, block.left), (block.height, block.width), strict=True
        )
    )
    for row in rows:
        for column in columns:
            yield row, column


def tile_origins(grid: TileGrid) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first pixel of each row and of each column of tiles on the stitched map, rounded.

    ``grid``: without margins; a pixel of the map is one of the network's input.
    """
    tops, lefts = (
        np.rint(starts * grid.side_px / read).astype(np.int64)
        for starts, read in zip(grid.starts, grid.read_px, strict=True)
    )
    return tops, lefts


def stitched_shape(grid: TileGrid) -> tuple[int, int]:
    """Return rows and columns of the stitched map in pixels of the network's input.

    It covers the tiled area; its last row and column may extend beyond.
    """
    rows, columns = grid.area.height * grid.side_px, grid.area.width * grid.side_px
    return -(-rows // grid.read_px[0]), -(-columns // grid.read_px[1])


def _ramp(side: int, overlap: int) -> NDArray[np.float64]:
    if overlap == 0:
        return np.ones(side)
    distance = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    share = np.clip(distance / min(overlap, side / 2), 0, 1)
    return np.maximum((1 - np.cos(np.pi * share)) / 2, MIN_WEIGHT)


def _intersection(first: int, length: int, start: int, side: int) -> tuple[slice, slice] | None:
    """Return the overlap of a block and a tile along an axis, as slices of both; None without overlap."""
    low, high = max(first, start), min(first + length, start + side)
    return (slice(low - first, high - first), slice(low - start, high - start)) if low < high else None


def fill_waiting(values: NDArray[np.float32], waiting: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill waiting cells with the mean of the known values around them.

    The cells form a pyramid, each level with half as many rows and columns; a waiting cell has the value of the finest
    level that is known at its position. As tiles are analyzed from coarse to fine, a rough map covers all tissue within
    seconds, and is then refined.

    ``values``: float32 (row, column), NaN where unknown. ``waiting``: bool (row, column), cells not analyzed yet.
    Returns float32, same shape; other unknown cells remain NaN.
    """
    known = np.isfinite(values)
    if not known.any() or not (waiting & ~known).any():
        return values.astype(np.float32)
    coarse = _fill_from_coarser(np.where(known, values, 0).astype(np.float64), known.astype(np.float64))
    return np.where(known, values, np.where(waiting, coarse, np.nan)).astype(np.float32)


def _fill_from_coarser(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the known values in each cell; where none is known, that of the next coarser level."""
    if min(sums.shape) == 1 and max(sums.shape) == 1:
        return sums / np.maximum(counts, 1)
    if (counts > 0).all():
        return sums / counts
    coarser = _fill_from_coarser(_sum_2x2(sums), _sum_2x2(counts))
    enlarged = coarser.repeat(2, axis=0).repeat(2, axis=1)[: sums.shape[0], : sums.shape[1]]
    return np.where(counts > 0, sums / np.maximum(counts, 1), enlarged)


def _sum_2x2(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up squares of 2 x 2 cells; incomplete squares at the last row and column are padded with zeros."""
    rows, columns = -(-values.shape[0] // 2), -(-values.shape[1] // 2)
    padded = np.zeros((2 * rows, 2 * columns))
    padded[: values.shape[0], : values.shape[1]] = values
    return padded.reshape(rows, 2, columns, 2).sum(axis=(1, 3))


def find_highest_cells(values: NDArray[np.float32], count: int) -> list[tuple[int, int]]:
    """Return at most ``count`` cells with the highest values, none of them next to another.

    ``values``: float (row, column), NaN where unknown. Returns (row, column) of each cell, the highest first; equal
    values in reading order.
    """
    flat = np.where(np.isfinite(values), values, -np.inf).ravel()
    order = np.argsort(-flat, kind="stable")[: 200 * count]
    chosen: list[tuple[int, int]] = []
    for index in order[np.isfinite(flat[order])].tolist():
        row, column = divmod(index, values.shape[1])
        if all(max(abs(row - other_row), abs(column - other_column)) > 1 for other_row, other_column in chosen):
            chosen.append((row, column))
            if len(chosen) == count:
                break
    return chosen


def mask_below_threshold(values: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Set values below a threshold to NaN.

    ``values``: float (row, column). Returns float32, same shape.
    """
    return np.where(values >= threshold, values, np.nan).astype(np.float32)

"""A slide cut into tiles of a physical size, their order, and the tiles that a user is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlacement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import PixelSize

Border = Literal["pad", "inside", "shift"]
MAX_UPSAMPLING = 1.1  # a level this much coarser than asked for still counts as fine enough


class PyramidLevel(Protocol):
    """What is needed of a level of a slide: its size in its own pixels, and how many finest pixels one of them is."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def downsample(self) -> float:
        """1.0 at the finest level."""


class TilingConfig(Config):
    """Size, overlap and border of tiles; the side in micrometers, where given, decides instead of ``mpp``."""

    side_px: int = Field(224, ge=8, le=4096, description="side of a tile as the network sees it, in pixels")
    mpp: float = Field(0.5, gt=0, le=100, description="micrometers per pixel as the network sees it")
    side_um: float | None = Field(
        None, gt=0, description="side of a tile on the slide in micrometers, such as 3000 for P3's patches of 3 mm"
    )
    overlap: float = Field(0.0, ge=0, le=0.9, description="share of a tile's side that the next tile sees again")
    border: Border = Field(
        "pad",
        description="tiles at the far edges: pad: reach outside, white; inside: left out; shift: moved inside",
    )
    mpp_tolerance: float = Field(
        0.02, ge=0, le=0.2, description="a level whose pixels differ by less than this share is read as it is"
    )

    @property
    def wanted_um(self) -> float:
        """Side of a tile on the slide in micrometers."""
        return self.side_um or self.side_px * self.mpp


@dataclass(frozen=True)
class TileGrid:
    """The tiles of one slide, or of a part of it, as rows and columns.

    ``downsample``: of that level: finest pixels per pixel of it. ``read_px``: height and width of a tile in pixels of
    the level; they differ where the pixels are not square. ``stride_px``: from one tile to the next, down and to the
    right, in pixels of the level. ``area``: what is tiled, in pixels of the level. ``pixel_size``: of the finest level;
    None where the slide has no scale, and a network's pixel then is one of the finest level.
    """

    level: int
    downsample: float
    side_px: int
    read_px: tuple[int, int]
    stride_px: tuple[int, int]
    area: Box
    rows: int
    columns: int
    border: Border
    pixel_size: PixelSize | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def is_resized(self) -> bool:
        """Whether what is read has another size than the network's input."""
        return self.read_px != (self.side_px, self.side_px)

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometers per pixel that the network really sees, (y, x); None without a scale."""
        if self.pixel_size is None:
            return None
        sides = (self.pixel_size.y_um * self.read_px[0], self.pixel_size.x_um * self.read_px[1])
        return sides[0] * self.downsample / self.side_px, sides[1] * self.downsample / self.side_px

    @property
    def placement(self) -> MapPlacement:
        """Where a map with one cell a tile lies on the slide: each cell is a stride, in the middle of its tile."""
        margins = [(read - stride) / 2 for read, stride in zip(self.read_px, self.stride_px, strict=True)]
        return MapPlacement(
            (self.area.top + margins[0]) * self.downsample,
            (self.area.left + margins[1]) * self.downsample,
            self.stride_px[0] * self.downsample,
            self.stride_px[1] * self.downsample,
            self.pixel_size,
        )

    @property
    def pixel_placement(self) -> MapPlacement:
        """Where the map that stitched dense tiles make lies: a cell is a pixel as the network sees it."""
        step_y, step_x = (read / self.side_px * self.downsample for read in self.read_px)
        return MapPlacement(
            self.area.top * self.downsample, self.area.left * self.downsample, step_y, step_x, self.pixel_size
        )

    def box(self, row: int, column: int) -> Box:
        """Return what is read for a tile.

        In pixels of the level that is read; with border ``pad`` it may reach outside the slide.
        """
        return self.block_box((row, row + 1), (column, column + 1))

    def block_box(self, rows: tuple[int, int], columns: tuple[int, int]) -> Box:
        """Return what is read at once for a rectangle of tiles.

        In pixels of the level that is read, around all of these tiles.
        """
        top, bottom = self._start(rows[0], 0), self._start(rows[1] - 1, 0) + self.read_px[0]
        left, right = self._start(columns[0], 1), self._start(columns[1] - 1, 1) + self.read_px[1]
        return Box(top, left, bottom - top, right - left)

    def slide_box(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Return where a tile lies on the slide.

        Top, left, height, width in pixels of the finest level.
        """
        box = self.box(row, column)
        factor = self.downsample
        return box.top * factor, box.left * factor, box.height * factor, box.width * factor

    def tile_at(self, point: tuple[float, float]) -> tuple[int, int] | None:
        """Return which tile's cell a point of the slide lies in.

        ``point``: (row, column) in pixels of the finest level. Returns row and column of the tile; None where there is
        none.
        """
        row, column = np.floor(self.placement.to_map(point)).astype(int).tolist()
        return (row, column) if 0 <= row < self.rows and 0 <= column < self.columns else None

    def _start(self, index: int, axis: int) -> int:
        """First pixel of a tile along an axis, in pixels of the level."""
        origin, length = (self.area.top, self.area.height) if axis == 0 else (self.area.left, self.area.width)
        start = index * self.stride_px[axis]
        if self.border == "shift":
            start = min(start, max(0, length - self.read_px[axis]))
        return origin + start


def plan_tiles(
    levels: Sequence[PyramidLevel],
    pixel_size: PixelSize | None,
    config: TilingConfig,
    within: Box | None = None,
) -> TileGrid:
    """Choose the level to read and lay the tiles over a slide, or over a part of it.

    The coarsest level that is fine enough is read; where none is, the finest one, and tiles are enlarged.

    ``pixel_size``: of the finest level. Without one a tile has ``side_px`` pixels of the finest level, whatever these
    are. ``within``: the part to tile, in pixels of the finest level, such as what the scanner scanned; all by default.
    With at least one tile, except under border ``inside``, where a slide smaller than a tile has none.
    """
    if not levels:
        raise InputError("a slide has at least one level to cut tiles from; this one has none. Convert it to a TIFF.")
    size = _finest_side(config, pixel_size)
    level = _choose_level(levels, min(size) / config.side_px)
    downsample = levels[level].downsample
    read = tuple(_whole_pixels(side / downsample, config) for side in size)
    stride = tuple(max(1, round(side * (1 - config.overlap))) for side in read)
    area = _tiled_area(levels[0], levels[level], within)
    counts = [
        _count(length, side, step, config.border)
        for length, side, step in zip((area.height, area.width), read, stride, strict=True)
    ]
    return TileGrid(
        level,
        downsample,
        config.side_px,
        (read[0], read[1]),
        (stride[0], stride[1]),
        area,
        counts[0],
        counts[1],
        config.border,
        pixel_size,
    )


def tissue_share(grid: TileGrid, mask: NDArray[np.bool_], place: MapPlacement) -> NDArray[np.float32]:
    """Share of each tile that is tissue, exact for any resolution of the mask.

    ``mask``: bool (row, column): tissue, as found or as corrected by hand. Returns float32 (row, column) of the grid,
    from 0 to 1: of the tile's whole area, what lies outside the slide included.
    """
    corners = [
        [grid.slide_box(row, 0)[0] for row in range(grid.rows)],
        [grid.slide_box(0, c)[1] for c in range(grid.columns)],
    ]
    sides = [read * grid.downsample for read in grid.read_px]
    sums = np.pad(mask.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tops, lefts = (
        (np.array(c) - o) / s
        for c, o, s in zip(corners, (place.top, place.left), (place.step_y, place.step_x), strict=True)
    )
    high, wide = sides[0] / place.step_y, sides[1] / place.step_x
    rows = _interpolate_rows(sums, tops + high) - _interpolate_rows(sums, tops)
    inside = _interpolate_rows(rows.T, lefts + wide) - _interpolate_rows(rows.T, lefts)
    return np.clip(inside.T / (high * wide), 0, 1).astype(np.float32)


def _interpolate_rows(sums: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of a cumulative sum between its rows: exact, as the mask is constant within a cell."""
    at = np.clip(at, 0, len(sums) - 1)
    below = np.minimum(at.astype(int), max(0, len(sums) - 2))
    return sums[below] + (at - below)[:, None] * (sums[np.minimum(below + 1, len(sums) - 1)] - sums[below])


def _finest_side(config: TilingConfig, pixel_size: PixelSize | None) -> tuple[float, float]:
    """Height and width of a tile in pixels of the finest level."""
    if pixel_size is None:
        return float(config.side_px), float(config.side_px)
    return config.wanted_um / pixel_size.y_um, config.wanted_um / pixel_size.x_um


def _choose_level(levels: Sequence[PyramidLevel], wanted: float) -> int:
    """Coarsest level whose downsample is at most that wanted, or the finest one."""
    fine = [number for number, level in enumerate(levels) if level.downsample <= wanted * MAX_UPSAMPLING]
    return max(fine, key=lambda number: levels[number].downsample, default=0)


def _whole_pixels(side: float, config: TilingConfig) -> int:
    """Side of a tile in whole pixels of its level; the network's own where they are nearly the same."""
    if abs(side / config.side_px - 1) <= config.mpp_tolerance:
        return config.side_px
    return max(1, round(side))


def _tiled_area(finest: PyramidLevel, level: PyramidLevel, within: Box | None) -> Box:
    """What is tiled, in pixels of the level."""
    if within is None:
        return Box(0, 0, level.height, level.width)
    top, left = max(0, within.top), max(0, within.left)
    bottom, right = min(finest.height, within.top + within.height), min(finest.width, within.left + within.width)
    if bottom <= top or right <= left:
        raise InputError(
            f"the part to analyze ({within}) lies outside the slide of {finest.height} x {finest.width} pixels. "
            "Draw it on the slide."
        )
    factor = level.downsample
    first = math.floor(top / factor), math.floor(left / factor)
    last = min(level.height, math.ceil(bottom / factor)), min(level.width, math.ceil(right / factor))
    return Box(first[0], first[1], max(1, last[0] - first[0]), max(1, last[1] - first[1]))


def _count(length: int, side: int, stride: int, border: Border) -> int:
    """How many tiles lie along an axis."""
    if border == "inside":
        return max(0, (length - side) // stride + 1)
    return max(1, math.ceil((length - side) / stride) + 1)


FIRST_PASS_BLOCKS = 128  # tiles of the roughest map: some seconds of a processor's work


def coarse_to_fine(wanted: NDArray[np.bool_], first: int = FIRST_PASS_BLOCKS) -> list[NDArray[np.int32]]:
    """Order the wanted tiles in passes: after each, every block of tiles has one that is done, the blocks ever smaller.

    ``wanted``: bool (row, column): tiles to analyze. A pass each, int32 (tile, 2) as (row, column), near tiles near
    each other; together each wanted tile once. Empty where nothing is wanted.
    """
    left = wanted.copy()
    passes = []
    for size in _block_sizes(wanted, first):
        chosen = _nearest_to_centres(_tiles_in_open_blocks(left, wanted & ~left, size), size)
        if len(chosen):
            left[chosen[:, 0], chosen[:, 1]] = False
            passes.append(_sort_along_z_curve(chosen))
    return passes


def _block_sizes(wanted: NDArray[np.bool_], first: int) -> list[int]:
    """Sides of blocks from the roughest pass to single tiles, each half of the one before."""
    size = 1
    while size < max(wanted.shape) and _count_blocks(wanted, size) > first:
        size *= 2
    return [size >> step for step in range(size.bit_length())]


def _count_blocks(wanted: NDArray[np.bool_], size: int) -> int:
    """How many blocks of a side hold a wanted tile."""
    return len(np.unique(_block_of(np.argwhere(wanted), size)))


def _tiles_in_open_blocks(left: NDArray[np.bool_], done: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Tiles left in blocks of which none is done."""
    met = np.unique(_block_of(np.argwhere(done), size))
    places = np.argwhere(left)
    places = places[~np.isin(_block_of(places, size), met)]
    waiting = np.zeros_like(left)
    waiting[places[:, 0], places[:, 1]] = True
    return waiting


def _nearest_to_centres(tiles: NDArray[np.bool_], size: int) -> NDArray[np.int32]:
    """Of each block the tile nearest to its center."""
    places = np.argwhere(tiles).astype(np.int32)
    distance = ((places % size - (size - 1) / 2) ** 2).sum(axis=1)
    blocks = _block_of(places, size)
    order = np.lexsort((distance, blocks))
    _, index = np.unique(blocks[order], return_index=True)
    return places[order[index]]


def _block_of(places: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """Number of the block that each tile lies in."""
    blocks = places.astype(np.int64) // size
    return blocks[:, 0] * 2**32 + blocks[:, 1]


def _sort_along_z_curve(places: NDArray[np.int32]) -> NDArray[np.int32]:
    """Sort tiles along a Z-order curve, so that what is read for one serves the next."""
    code = np.zeros(len(places), np.int64)
    for bit in range(16):
        code |= ((places[:, 0].astype(np.int64) >> bit) & 1) << (2 * bit + 1)
        code |= ((places[:, 1].astype(np.int64) >> bit) & 1) << (2 * bit)
    return places[np.argsort(code, kind="stable")]


def fill_waiting(values: NDArray[np.float32], waiting: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return cells that wait the mean of the smallest square around them in which something is known.

    Squares are those of a pyramid, each of four of the level below. As tiles are analyzed from coarse to fine, a rough
    map covers all tissue within seconds, and sharpens.

    ``values``: float32 (row, column); NaN where nothing is known. ``waiting``: bool (row, column): where something will
    be known. Returns float32, same shape; what is neither known nor waited for stays NaN.
    """
    known = np.isfinite(values)
    if not known.any() or not (waiting & ~known).any():
        return values.astype(np.float32)
    coarse = _fill_from_coarser(np.where(known, values, 0).astype(np.float64), known.astype(np.float64))
    return np.where(known, values, np.where(waiting, coarse, np.nan)).astype(np.float32)


def _fill_from_coarser(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means where something was counted, and those of the next coarser level where nothing was."""
    if min(sums.shape) == 1 and max(sums.shape) == 1:
        return sums / np.maximum(counts, 1)
    if (counts > 0).all():
        return sums / counts
    above = _fill_from_coarser(_sum_2x2(sums), _sum_2x2(counts))
    enlarged = above.repeat(2, axis=0).repeat(2, axis=1)[: sums.shape[0], : sums.shape[1]]
    return np.where(counts > 0, sums / np.maximum(counts, 1), enlarged)


def _sum_2x2(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over squares of four cells; those at the far edges are of what there is."""
    rows, columns = -(-values.shape[0] // 2), -(-values.shape[1] // 2)
    padded = np.zeros((2 * rows, 2 * columns))
    padded[: values.shape[0], : values.shape[1]] = values
    return padded.reshape(rows, 2, columns, 2).sum(axis=(1, 3))


def find_highest_cells(values: NDArray[np.float32], count: int, apart: int = 2) -> list[tuple[int, int]]:
    """Pick the cells with the highest values that do not touch each other.

    ``values``: float (row, column); NaN where nothing is known. Returns (row, column), the highest first; of equal
    values the first in reading order.
    """
    flat = np.where(np.isfinite(values), values, -np.inf).ravel()
    order = np.argsort(-flat, kind="stable")[: 50 * count * apart**2]
    chosen: list[tuple[int, int]] = []
    for index in order[np.isfinite(flat[order])].tolist():
        at = divmod(index, values.shape[1])
        if all(max(abs(at[0] - row), abs(at[1] - column)) >= apart for row, column in chosen):
            chosen.append((int(at[0]), int(at[1])))
            if len(chosen) == count:
                break
    return chosen


def mask_below_threshold(values: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Leave out what lies below a threshold.

    ``values``: float (row, column). Returns float32, same shape; NaN below.
    """
    return np.where(values >= threshold, values, np.nan).astype(np.float32)

"""Divide a slide into tiles of a physical size, and order the tiles for processing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box, MapPlacement, PixelSize
from napari_melanoma.io.slide_store import TileBoxes, tile_starts
from napari_melanoma.slides.reading.slide import LevelInfo

Border = Literal["pad", "inside", "shift"]
Edges = tuple[NDArray[np.float64], NDArray[np.float64]]  # first and last row, or column, of rectangles
# Pixels along a side of a pixel of the network, if the slide has them: stored levels were compressed or sharpened once
# more, and a model finds other lesions on them than on the mean of finer pixels.
OVERSAMPLING = 8
# Features of cells are computed on the nearest level: painting would take twice as long otherwise, and a painted
# classifier is fitted to strokes on the pixels that it is applied to.
CELL_OVERSAMPLING = 1
MAX_READ_PX = 4096  # side of a tile in pixels of the level, if there is a coarser level: 50 MB
MAX_UPSAMPLING = 1.1  # a level is still accepted if it is coarser than requested by this factor
MIN_TISSUE = 0.1  # share of a tile that must be tissue, by default
FIRST_PASS_BLOCKS = 128  # greatest number of tiles in the first pass, which takes some seconds on a CPU


class TilingConfig(Config):
    """Size, overlap and border of tiles; a side in micrometers takes precedence over ``mpp``."""

    side_px: int = Field(224, ge=8, le=4096, description="side of a tile at the input of the network, in pixels")
    mpp: float = Field(0.5, gt=0, le=100, description="micrometers per pixel at the input of the network")
    side_um: float | None = Field(
        None, gt=0, description="side of a tile on the slide in micrometers, such as 3000 for patches of 3 mm"
    )
    overlap: float = Field(0.0, ge=0, le=0.9, description="share of a tile's side that overlaps the next")
    margin_px: int = Field(
        0, ge=0, le=2048, description="border of a tile that is read as context only, in pixels of the network's input"
    )
    border: Border = Field(
        "pad",
        description="tiles beyond the end of the area: pad: extended with white; inside: left out; shift: moved inside",
    )
    mpp_tolerance: float = Field(
        0.02, ge=0, le=0.2, description="a level whose pixel size differs by less than this share is not resized"
    )

    @model_validator(mode="after")
    def _check_margin(self) -> Self:
        if 2 * self.margin_px >= self.side_px:
            raise ValueError(f"margin_px is {self.margin_px}, expected less than half of side_px ({self.side_px})")
        return self

    @property
    def wanted_um(self) -> float:
        """Side of a tile on the slide in micrometers."""
        return self.side_um or self.side_px * self.mpp


@dataclass(frozen=True)
class TileGrid:
    """The tiles of a slide, or of a part of it, in rows and columns.

    ``level``: index of the level that tiles are read from. ``downsample``: pixels of the finest level per pixel of the
    level. ``side_px``: side of a tile at the input of the network. ``read_px``: height and width of a tile in pixels of
    the level; they differ if pixels are not square. ``stride_px``: distance of adjacent tiles, down and to the right,
    in pixels of the level. ``area``: the tiled area, in pixels of the level. ``pixel_size``: that of the finest level;
    None if unknown, and tiles are then read at the finest level. ``margin_px``: border of each tile that is read as
    context only, (y, x) in pixels of the level; it extends beyond the tiled area.
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
    margin_px: tuple[int, int] = (0, 0)

    @property
    def without_margin(self) -> TileGrid:
        """The grid of the parts of the tiles that are not context; ``side_px`` is unchanged."""
        read = self.read_px[0] - 2 * self.margin_px[0], self.read_px[1] - 2 * self.margin_px[1]
        return replace(self, read_px=read, margin_px=(0, 0))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Actual micrometers per pixel at the input of the network, (y, x); None without a pixel size."""
        if self.pixel_size is None:
            return None
        sides = (self.pixel_size.y_um * self.read_px[0], self.pixel_size.x_um * self.read_px[1])
        return sides[0] * self.downsample / self.side_px, sides[1] * self.downsample / self.side_px

    @property
    def pixel_placement(self) -> MapPlacement:
        """Placement of the stitched map of dense tiles: a cell is a pixel of the network's input."""
        step_y, step_x = (read / self.side_px * self.downsample for read in self.read_px)
        return MapPlacement(
            self.area.top * self.downsample, self.area.left * self.downsample, step_y, step_x, self.pixel_size
        )

    def box(self, row: int, column: int) -> Box:
        """Return the box of a tile in pixels of the level; with border ``pad`` it may extend beyond the slide."""
        return self.block_box((row, row + 1), (column, column + 1))

    def block_box(self, rows: tuple[int, int], columns: tuple[int, int]) -> Box:
        """Return the box around a rectangle of tiles, in pixels of the level."""
        (top, last_row), (left, last_column) = (
            starts[[first, end - 1]].tolist() for starts, (first, end) in zip(self.starts, (rows, columns), strict=True)
        )
        corner = self.area.top + top - self.margin_px[0], self.area.left + left - self.margin_px[1]
        return Box(*corner, last_row - top + self.read_px[0], last_column - left + self.read_px[1])

    @cached_property
    def starts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First pixel of each row and of each column of tiles without margins, from the corner of the tiled area."""
        inner, inside = self.without_margin.read_px, self.border == "shift"
        return (
            tile_starts(self.area.height, inner[0], self.stride_px[0], self.rows, moved_inside=inside),
            tile_starts(self.area.width, inner[1], self.stride_px[1], self.columns, moved_inside=inside),
        )

    @property
    def boxes(self) -> TileBoxes:
        """The boxes of the tiles without their margins."""
        inner, factor = self.without_margin.read_px, self.downsample
        return TileBoxes(
            tops=tuple((self.area.top + self.starts[0]) * factor),
            lefts=tuple((self.area.left + self.starts[1]) * factor),
            height=inner[0] * factor,
            width=inner[1] * factor,
        )


def plan_tiles(
    levels: Sequence[LevelInfo],
    pixel_size: PixelSize | None,
    config: TilingConfig,
    within: Box | None = None,
    *,
    oversampling: int = OVERSAMPLING,
) -> TileGrid:
    """Choose the level to read, and place the tiles over a slide or a part of it.

    Tiles are read from the coarsest level that is ``oversampling`` times as fine as requested, or else from the finest
    level in which a tile has at most ``MAX_READ_PX`` pixels a side, and resized. There is at least one tile, except
    with border ``inside`` on a slide smaller than a tile.

    ``pixel_size``: that of the finest level; without it, a tile has ``side_px`` pixels of the finest level. ``within``:
    the part to tile, in pixels of the finest level, such as the scanned area; by default the whole slide.
    """
    if not levels:
        raise InputError("this slide has no levels, expected at least one. Convert it to a TIFF.")
    size = _finest_side(config, pixel_size)
    level = _choose_level(levels, min(size), config.side_px, oversampling)
    downsample = levels[level].downsample
    read = tuple(_whole_pixels(side / downsample, config) for side in size)
    margin = tuple(round(config.margin_px * side / config.side_px) for side in read)
    inner = tuple(side - 2 * border for side, border in zip(read, margin, strict=True))
    stride = tuple(max(1, round(side * (1 - config.overlap))) for side in inner)
    area = _tiled_area(levels[0], levels[level], within)
    counts = [
        _count_tiles(length, side, step, config.border)
        for length, side, step in zip((area.height, area.width), inner, stride, strict=True)
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
        (margin[0], margin[1]),
    )


def has_enough_tissue(share: NDArray[np.float32], min_tissue: float) -> NDArray[np.bool_]:
    """Return which tiles are analyzed; ``share``: of tissue in each tile."""
    return (share >= min_tissue) & (share > 0)


def tissue_share(boxes: TileBoxes, mask: NDArray[np.bool_], place: MapPlacement) -> NDArray[np.float32]:
    """Return the share of tissue in each tile, exact for any resolution of the mask.

    ``mask``: bool (row, column), the tissue of the slide. ``place``: its position. Returns float32 (row, column) of the
    grid, 0 to 1, relative to the whole area of a tile, including a part outside the slide.
    """
    tops = (np.array(boxes.tops) - place.top) / place.step_y
    lefts = (np.array(boxes.lefts) - place.left) / place.step_x
    height, width = boxes.height / place.step_y, boxes.width / place.step_x
    area = tissue_area(mask, (tops, tops + height), (lefts, lefts + width))
    return np.clip(area / (height * width), 0, 1).astype(np.float32)


def tissue_area(mask: NDArray[np.bool_], rows: Edges, columns: Edges) -> NDArray[np.float64]:
    """Return the area of tissue in rectangles, float64 (row, column); all in cells of the mask."""
    padded = np.pad(mask, ((1, 0), (1, 0)))
    above = np.ascontiguousarray(padded.T).cumsum(1, dtype=np.int32).T  # ten times as fast along contiguous values
    # Sums along the rows are needed only at the edges, and of whole numbers, so that nothing is rounded.
    first, last = (_interpolate_rows(above, at, lambda sums: sums.cumsum(1, dtype=np.float64)) for at in rows)
    inside = (last - first).T
    return (_interpolate_rows(inside, columns[1]) - _interpolate_rows(inside, columns[0])).T


def _interpolate_rows(
    sums: NDArray, at: NDArray[np.float64], convert: Callable[[NDArray], NDArray] = np.asarray
) -> NDArray[np.float64]:
    """Interpolate between the rows of a cumulative sum, which is exact, as the mask is constant within a cell.

    ``convert``: is applied to the rows before.
    """
    at = np.clip(at, 0, len(sums) - 1)
    below = np.minimum(at.astype(int), max(0, len(sums) - 2))
    start, end = convert(sums[below]), convert(sums[np.minimum(below + 1, len(sums) - 1)])
    return start + (at - below)[:, None] * (end - start)


def _finest_side(config: TilingConfig, pixel_size: PixelSize | None) -> tuple[float, float]:
    """Return height and width of a tile in pixels of the finest level."""
    if pixel_size is None:
        return float(config.side_px), float(config.side_px)
    return config.wanted_um / pixel_size.y_um, config.wanted_um / pixel_size.x_um


def _choose_level(levels: Sequence[LevelInfo], side: float, side_px: int, oversampling: int) -> int:
    """Return the index of the level to read.

    ``side``: of a tile in pixels of the finest level. ``side_px``: at the input of the network. ``oversampling``: as in
    ``plan_tiles``.
    """
    downsamples = {number: level.downsample for number, level in enumerate(levels)}
    coarsest = side / side_px * MAX_UPSAMPLING
    usable = [number for number, factor in downsamples.items() if factor <= coarsest] or [0]
    small = [number for number in usable if side / downsamples[number] <= MAX_READ_PX]
    oversampled = [number for number in small if downsamples[number] <= coarsest / oversampling]
    if oversampled or not small:
        return max(oversampled or usable, key=downsamples.__getitem__)
    return min(small, key=downsamples.__getitem__)


def _whole_pixels(side: float, config: TilingConfig) -> int:
    """Round the side of a tile to whole pixels, or to the side of the network's input if they are nearly the same."""
    if abs(side / config.side_px - 1) <= config.mpp_tolerance:
        return config.side_px
    return max(1, round(side))


def _tiled_area(finest: LevelInfo, level: LevelInfo, within: Box | None) -> Box:
    """Return the area to tile in pixels of the level; raise InputError if it is outside the slide."""
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


def _count_tiles(length: int, side: int, stride: int, border: Border) -> int:
    if border == "inside":
        return max(0, (length - side) // stride + 1)
    return max(1, math.ceil((length - side) / stride) + 1)


def coarse_to_fine(needed: NDArray[np.bool_], first: int = FIRST_PASS_BLOCKS) -> list[NDArray[np.int32]]:
    """Order tiles in passes from coarse to fine.

    The grid is divided into blocks, which are halved from pass to pass. After each pass, every block that contains
    tiles has a finished one.

    ``needed``: bool (row, column), the tiles to analyze. ``first``: greatest number of tiles in the first pass. Returns
    the tiles of each pass, int32 (tile, 2) as (row, column), with adjacent tiles close together; each tile occurs once.
    Empty without tiles.
    """
    remaining = needed.copy()
    passes = []
    for size in _block_sizes(needed, first):
        chosen = _nearest_to_centers(_tiles_in_open_blocks(remaining, needed & ~remaining, size), size)
        if len(chosen):
            remaining[chosen[:, 0], chosen[:, 1]] = False
            passes.append(_sort_along_z_curve(chosen))
    return passes


def _block_sizes(needed: NDArray[np.bool_], first: int) -> list[int]:
    """Return the sides of the blocks of each pass in tiles, each half of the previous, down to 1."""
    size, tiles = 1, np.argwhere(needed)
    while size < max(needed.shape) and len(np.unique(_block_of(tiles, size))) > first:
        size *= 2
    return [size >> step for step in range(size.bit_length())]


def _tiles_in_open_blocks(remaining: NDArray[np.bool_], done: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Return the remaining tiles in blocks without a finished tile."""
    finished_blocks = np.unique(_block_of(np.argwhere(done), size))
    positions = np.argwhere(remaining)
    positions = positions[~np.isin(_block_of(positions, size), finished_blocks)]
    waiting = np.zeros_like(remaining)
    waiting[positions[:, 0], positions[:, 1]] = True
    return waiting


def _nearest_to_centers(tiles: NDArray[np.bool_], size: int) -> NDArray[np.int32]:
    """Return the tile of each block that is nearest to the center of the block, int32 (tile, 2)."""
    positions = np.argwhere(tiles).astype(np.int32)
    distance = ((positions % size - (size - 1) / 2) ** 2).sum(axis=1)
    blocks = _block_of(positions, size)
    order = np.lexsort((distance, blocks))
    _, index = np.unique(blocks[order], return_index=True)
    return positions[order[index]]


def _block_of(positions: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """Return the number of the block that contains each tile; ``positions``: (tile, 2), row and column."""
    blocks = positions.astype(np.int64) // size
    return blocks[:, 0] * 2**32 + blocks[:, 1]


def _sort_along_z_curve(positions: NDArray[np.int32]) -> NDArray[np.int32]:
    """Sort tiles along a Z-order curve, so that successive tiles are adjacent and use the same cached data."""
    code = np.zeros(len(positions), np.int64)
    for bit in range(16):
        code |= ((positions[:, 0].astype(np.int64) >> bit) & 1) << (2 * bit + 1)
        code |= ((positions[:, 1].astype(np.int64) >> bit) & 1) << (2 * bit)
    return positions[np.argsort(code, kind="stable")]

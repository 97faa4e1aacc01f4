"""Corrections of pyramids as they are stored: padded levels, and images that are not upright."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.io.color_conversion import apply_orientation
from napari_melanoma.slides.reading.slide import whole_downsample
from napari_melanoma.slides.reading.tiled import TileLevel, TileSource

# Values of the tag Orientation: rows and columns exchanged, rows from bottom to top, columns from right to left, as
# stored.
TRANSPOSED, _ROWS_REVERSED, _COLUMNS_REVERSED = (5, 6, 7, 8), (3, 4, 6, 7), (2, 3, 7, 8)
_TOLERANCE = 0.01  # relative error of stated pixel sizes, and of sizes of levels without padding


def stated_downsample(finest: Sequence[float | None], level: Sequence[float | None]) -> float | None:
    """Return how much coarser a level is than the finest by their pixel sizes, a whole number if it is close to one.

    ``finest``, ``level``: height and width of a pixel. None if a size is unknown, or the axes differ.
    """
    ratios = [large / small for small, large in zip(finest, level, strict=True) if small and large]
    if len(ratios) != len(finest) or max(ratios) > min(ratios) * (1 + _TOLERANCE):
        return None
    ratio, whole = sum(ratios) / len(ratios), round(sum(ratios) / len(ratios))
    return float(whole) if abs(ratio - whole) < _TOLERANCE * whole else ratio


def remove_padding(levels: Sequence[TileLevel], stated: Sequence[float | None]) -> None:
    """Crop levels that are padded at the bottom and at the right, so that their size states how coarse they are.

    Scanners pad levels to whole tiles; 1000 pixels are stored as 512 instead of 250 on a level that is 4 times coarser.

    ``levels``: the finest first. ``stated``: downsample of each level by its pixel size; None if unknown.
    """
    full = levels[0].height, levels[0].width
    for level, by_pixel_size in zip(levels[1:], stated[1:], strict=True):
        downsample = find_downsample(level, full, by_pixel_size)
        if downsample is not None:
            level.crop(*(math.ceil(side / downsample) for side in full))


def find_downsample(level: TileLevel, full: tuple[int, int], stated: float | None) -> float | None:
    """Return the downsample of a padded level: the stated one if its size allows that, else a guess.

    ``full``: height and width of the finest level. ``stated``: from ``stated_downsample``. None without padding.
    """
    ratios = full[0] / level.height, full[1] / level.width
    rounding = 1 / level.height + 1 / level.width  # sizes are whole numbers
    is_aligned = (level.height % level.tile_height, level.width % level.tile_width) == (0, 0)
    is_similar = max(ratios) <= min(ratios) * (1 + rounding)
    if is_similar and not is_aligned:
        return None
    if stated is not None and _is_padded(level, full, stated):
        return stated
    if whole_downsample(full, (level.height, level.width)) is not None:
        return None
    guess = _next_power_of_two(level, full)
    is_padded = is_padded_to_tiles(level, full) if is_similar else _is_padded(level, full, guess)
    return guess if is_padded else None


def is_padded_to_tiles(level: TileLevel, full: tuple[int, int]) -> bool:
    """Whether a level has the size of a downsampled image, a power of two coarser, that is padded to whole tiles."""
    downsample = _next_power_of_two(level, full)
    tiles = (level.tile_height, level.tile_width)
    padded = tuple(math.ceil(side / downsample / tile) * tile for side, tile in zip(full, tiles, strict=True))
    return padded == (level.height, level.width)


def _next_power_of_two(level: TileLevel, full: tuple[int, int]) -> float:
    """Return the smallest downsample that a padded level can have: padding makes levels seem finer."""
    ratio = max(full[0] / level.height, full[1] / level.width) / (1 + _TOLERANCE)
    return 2.0 ** math.ceil(math.log2(max(ratio, 1)))


def _is_padded(level: TileLevel, full: tuple[int, int], downsample: float) -> bool:
    """Whether the size of a level is that of a downsampled image, or up to a tile larger."""
    sides = zip((level.height, level.width), full, (level.tile_height, level.tile_width), strict=True)
    return all(-1 < side - whole / downsample < tile for side, whole, tile in sides)


class OrientedSource(TileSource):
    """A level of a file that is not stored upright, as an upright level; ``orientation``: value of the TIFF tag."""

    def __init__(self, source: TileSource, orientation: int) -> None:
        sides = (source.height, source.width), (source.tile_height, source.tile_width)
        step = -1 if orientation in TRANSPOSED else 1
        super().__init__(*sides[0][::step], *sides[1][::step])
        self._source, self._orientation = source, orientation

    def half_resolution(self) -> TileLevel:
        """Return a level of half the resolution: that of the stored level, if it is read directly."""
        halved = self._source.half_resolution()
        if isinstance(halved, TileSource):
            return OrientedSource(halved, self._orientation)
        return super().half_resolution()

    def read_tile(self, row: int, column: int) -> NDArray:
        """Read the stored tiles that overlap an upright tile."""
        box = self._stored_box(Box(row * self.tile_height, column * self.tile_width, *self.size_of(row, column)))
        source = self._source
        rows = range(box.top // source.tile_height, math.ceil((box.top + box.height) / source.tile_height))
        columns = range(box.left // source.tile_width, math.ceil((box.left + box.width) / source.tile_width))
        joined = np.concatenate(
            [np.concatenate([source.read_tile(down, across) for across in columns], axis=1) for down in rows]
        )
        top, left = box.top - rows.start * source.tile_height, box.left - columns.start * source.tile_width
        return apply_orientation(joined[top : top + box.height, left : left + box.width], self._orientation)

    def _stored_box(self, box: Box) -> Box:
        """Return where a box of the upright level is stored."""
        if self._orientation in TRANSPOSED:
            box = Box(box.left, box.top, box.width, box.height)
        source, top, left = self._source, box.top, box.left
        if self._orientation in _ROWS_REVERSED:
            top = source.height - top - box.height
        if self._orientation in _COLUMNS_REVERSED:
            left = source.width - left - box.width
        return Box(top, left, box.height, box.width)

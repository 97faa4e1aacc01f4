"""Where the pixels of one level come from, tile by tile: a protocol for the formats, and levels that the file lacks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCREEN_PX = 1024  # the coarsest level is read as a whole, for the layer's thumbnail, with each view
GAP = 3.0  # between neighbours; scanners write steps of 2 and of 4


class Grid:
    """One level as a grid of tiles.

    ``height``, ``width``: of the level in pixels.
    """

    def __init__(self, height: int, width: int, tile_height: int, tile_width: int) -> None:
        if min(height, width, tile_height, tile_width) < 1:  # as a damaged header says
            raise ValueError(f"{width} x {height} pixels in tiles of {tile_width} x {tile_height} are none")
        self.height, self.width = height, width
        self.tile_height, self.tile_width = tile_height, tile_width

    @property
    def rows(self) -> int:
        """Tiles in a column of the grid."""
        return math.ceil(self.height / self.tile_height)

    @property
    def columns(self) -> int:
        """Tiles in a row of the grid."""
        return math.ceil(self.width / self.tile_width)

    def size_of(self, row: int, column: int) -> tuple[int, int]:
        """Height and width of a tile, cut at the far edges.

        In pixels.
        """
        height = min(self.tile_height, self.height - row * self.tile_height)
        return height, min(self.tile_width, self.width - column * self.tile_width)

    def coarser(self) -> Grid:
        """Give a level of half the resolution that is computed from this one."""
        return BuiltGrid(self)


class Source(Grid, ABC):
    """A level whose tiles are decoded from a file."""

    def tile(self, row: int, column: int) -> NDArray:
        """Decode one tile; called from several threads.

        Returns (row, column, channel), of the size that ``size_of`` tells.
        """
        return self._tile(row, column)

    def rows_at(self, row: int) -> NDArray:
        """Decode as few whole rows as can be, at and around one; called from several threads.

        Returns (row, column, channel), as wide as the tiles of the first column.
        """
        return self._tile(row // self.tile_height, 0)

    @abstractmethod
    def _tile(self, row: int, column: int) -> NDArray:
        """Decode one tile, as ``tile`` says."""


class BuiltGrid(Grid):
    """A level that the file lacks: half as large as the one below it, with tiles of the same size.

    Each of its tiles is four tiles of the level below, averaged; the slide reads those, keeps what it may and asks
    ``reduced`` for the rest.
    """

    def __init__(self, below: Grid) -> None:
        super().__init__((below.height + 1) // 2, (below.width + 1) // 2, below.tile_height, below.tile_width)
        self.below = below

    @property
    def base(self) -> Grid:
        """The level of the file that it is built from."""
        return self.below.base if isinstance(self.below, BuiltGrid) else self.below

    @property
    def depth(self) -> int:
        """How often that level is halved."""
        return 1 + (self.below.depth if isinstance(self.below, BuiltGrid) else 0)

    def parts_of(self, row: int, column: int) -> list[tuple[int, int]]:
        """Tiles of the level below that a tile is made of."""
        rows = range(2 * row, min(2 * row + 2, self.below.rows))
        return [(r, c) for r in rows for c in range(2 * column, min(2 * column + 2, self.below.columns))]

    def joined(self, row: int, column: int, parts: list[NDArray]) -> NDArray:
        """Make a tile of the tiles below it.

        Returns (row, column, channel).
        """
        side_height, side_width = self.tile_height, self.tile_width
        height = min(2 * side_height, self.below.height - 2 * row * side_height)
        width = min(2 * side_width, self.below.width - 2 * column * side_width)
        area = np.empty((height, width, parts[0].shape[2]), parts[0].dtype)
        for (part_row, part_column), part in zip(self.parts_of(row, column), parts, strict=True):
            top, left = (part_row - 2 * row) * side_height, (part_column - 2 * column) * side_width
            area[top : top + part.shape[0], left : left + part.shape[1]] = part
        return halved(area)


def halved(tile: NDArray) -> NDArray:
    """Average pixels two by two; an odd last row or column is averaged by itself.

    ``tile``: (row, column, channel), unsigned integers. Half as high and wide, rounded up, same type.
    """
    if tile.dtype == np.uint8 and tile.shape[2] == 3:
        from PIL import Image

        return np.asarray(Image.fromarray(np.ascontiguousarray(tile)).reduce(2))  # 18 times as fast as numpy's mean
    height, width = tile.shape[:2]
    if height % 2 or width % 2:
        tile = np.pad(tile, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    wide = tile.astype(np.uint32)
    total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    return ((total + 2) // 4).astype(tile.dtype)


def with_missing(sources: Sequence[Grid]) -> list[tuple[Grid, bool]]:
    """Fill the gaps of a pyramid, and go on to a level that fits a screen: whoever zooms out reads few tiles then.

    Each level, and whether it is built.
    """
    levels: list[tuple[Grid, bool]] = []
    for finer, coarser in zip(sources, [*sources[1:], None], strict=True):
        levels.append((finer, False))
        while _is_far(levels[-1][0], coarser):
            levels.append((levels[-1][0].coarser(), True))
    return levels


def _is_far(finer: Grid, coarser: Grid | None) -> bool:
    """Whether a level is missing between two, or below the coarsest."""
    if coarser is None:
        return max(finer.height, finer.width) > SCREEN_PX
    return max(finer.height / coarser.height, finer.width / coarser.width) >= GAP

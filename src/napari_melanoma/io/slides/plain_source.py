"""Levels of an image that lies unpacked in a file: read line by line, and coarser ones without reading all of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.io.slides.sources import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.io.slides.files import FileReader

TILE_PX = 512
BAND_ROWS = 64
SAMPLED_ROWS = 4  # of those that make one row of a coarser level; an overview must not read the whole file


@dataclass(frozen=True)
class Block:
    """Pixels one after the other in a file: where they begin, (row, column, sample), and their type there."""

    reader: FileReader
    offset: int
    shape: tuple[int, int, int]
    stored: np.dtype

    def line(self, row: int, left: int, right: int) -> NDArray:
        """Read a part of one line.

        Returns (column, sample), of the type in the file.
        """
        _, width, samples = self.shape
        pixel = samples * self.stored.itemsize
        start = self.offset + (row * width + left) * pixel
        return np.frombuffer(self.reader.read(start, (right - left) * pixel), self.stored).reshape(-1, samples)


class PlainSource(Source):
    """A level of an unpacked image, at its own resolution or coarser by a whole number.

    Lines are read by themselves rather than mapped: a mapped file that shrinks, or whose drive goes, kills the process.

    ``convert``: from samples to pixels of the slide.
    """

    def __init__(self, block: Block, convert: Callable[[NDArray], NDArray], step: int = 1) -> None:
        height, width = (math.ceil(side / step) for side in block.shape[:2])
        super().__init__(height, width, TILE_PX, TILE_PX)
        self._block, self._convert, self.step = block, convert, step

    def coarser(self) -> PlainSource:
        """Give the same image at half the resolution."""
        return PlainSource(self._block, self._convert, 2 * self.step)

    def _tile(self, row: int, column: int) -> NDArray:
        """Read one tile line by line, and average it where it is coarser than the file."""
        height, width = self.size_of(row, column)
        top, left = row * TILE_PX * self.step, column * TILE_PX * self.step
        right = min(left + width * self.step, self._block.shape[1])
        bands = [
            self._band(top + first * self.step, min(BAND_ROWS, height - first), left, right)
            for first in range(0, height, BAND_ROWS)
        ]
        return self._convert(np.concatenate(bands))

    def _band(self, top: int, height: int, left: int, right: int) -> NDArray:
        """Some rows of a tile, of the lines that make each of them; few, as these are long in a coarse level."""
        offsets = range(0, self.step, max(1, self.step // SAMPLED_ROWS))
        last = self._block.shape[0] - 1
        numbers = [min(top + index * self.step + offset, last) for index in range(height) for offset in offsets]
        lines = np.stack([self._block.line(number, left, right) for number in numbers])
        lines = lines.astype(self._block.stored.newbyteorder("="), copy=False)
        if self.step == 1:
            return lines
        averaged = _columns_averaged(lines, self.step)
        total = averaged.reshape(height, len(offsets), *averaged.shape[1:]).sum(axis=1, dtype=np.uint32)
        return ((total + len(offsets) // 2) // len(offsets)).astype(lines.dtype)


def _columns_averaged(lines: NDArray, step: int) -> NDArray:
    """Average runs of columns; the last run may be shorter."""
    if lines.dtype == np.uint8 and lines.shape[2] == 3:
        from PIL import Image

        return np.asarray(Image.fromarray(lines).reduce((step, 1)))  # many times as fast as numpy
    starts = np.arange(0, lines.shape[1], step)
    lengths = np.diff(starts, append=lines.shape[1]).astype(np.uint32)
    sums = np.add.reduceat(lines, starts, axis=1, dtype=np.uint32)
    return ((sums + lengths[:, None] // 2) // lengths[:, None]).astype(lines.dtype)

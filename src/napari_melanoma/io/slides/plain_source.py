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

        Parameters
        ----------
        row, left, right : int
            The line, its first column, and the column after its last.

        Returns
        -------
        numpy.ndarray
            (column, sample), of the type in the file.
        """
        _, width, samples = self.shape
        pixel = samples * self.stored.itemsize
        start = self.offset + (row * width + left) * pixel
        return np.frombuffer(self.reader.read(start, (right - left) * pixel), self.stored).reshape(-1, samples)


class PlainSource(Source):
    """A level of an unpacked image, at its own resolution or coarser by a whole number.

    Lines are read by themselves rather than mapped: a mapped file that shrinks, or whose drive goes, kills the process.

    Parameters
    ----------
    block : Block
        The image.
    convert : callable
        From samples to pixels of the slide.
    step : int
        How many rows and columns become one: columns are averaged, and of the rows a few.
    """

    def __init__(self, block: Block, convert: Callable[[NDArray], NDArray], step: int = 1) -> None:
        height, width = (math.ceil(side / step) for side in block.shape[:2])
        super().__init__(height, width, TILE_PX, TILE_PX)
        self._block, self._convert, self.step = block, convert, step

    def coarser(self) -> PlainSource:
        """Give the same image at half the resolution."""
        return PlainSource(self._block, self._convert, 2 * self.step)

    def tile(self, row: int, column: int) -> NDArray:
        """Read one tile line by line, and average it where it is coarser than the file."""
        height, width = self.size_of(row, column)
        full_height, full_width, samples = self._block.shape
        top, left = row * TILE_PX * self.step, column * TILE_PX * self.step
        right = min(left + width * self.step, full_width)
        offsets = range(0, self.step, max(1, self.step // SAMPLED_ROWS))
        total = np.zeros((height, width, samples), np.uint32)
        for index in range(height):
            for offset in offsets:
                line = min(top + index * self.step + offset, full_height - 1)
                total[index] += _averaged(self._block.line(line, left, right), self.step)
        native = self._block.stored.newbyteorder("=")
        return self._convert((total // len(offsets)).astype(native))


def _averaged(line: NDArray, step: int) -> NDArray:
    """Average runs of columns of one line; the last run may be shorter."""
    if step == 1:
        return line
    whole = line.shape[0] // step * step
    sums = line[:whole].reshape(-1, step, line.shape[1]).sum(axis=1, dtype=np.uint32) // step
    if whole == line.shape[0]:
        return sums
    rest = line[whole:].sum(axis=0, dtype=np.uint32, keepdims=True) // (line.shape[0] - whole)
    return np.concatenate([sums, rest])

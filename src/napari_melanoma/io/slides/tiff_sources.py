"""Levels of a TIFF file: tiles and strips, decoded by tifffile."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.damage import tiff_pages
from napari_melanoma.io.slides.plain_source import Block
from napari_melanoma.io.slides.sources import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tifffile import TiffPage

    from napari_melanoma.io.slides.files import FileReader

Convert = Callable[["NDArray"], "NDArray"]

STRIPS_PX = 256  # strips of a few rows are read together, as high as a usual tile
MOST_TILE_BYTES = 768 * 2**20
_SEPARATE = 2


class TiffSource(Source):
    """A level of tiles or strips, each decoded by itself.

    ``convert``: from what the codec gives, (row, column, sample), to pixels of the slide.
    """

    def __init__(self, pages: Sequence[TiffPage], reader: FileReader, convert: Convert, fill: int) -> None:
        page = pages[0]
        self._group = 1 if page.is_tiled else _strips_together(page.rowsperstrip)
        tile_height = page.tilelength if page.is_tiled else min(self._group * page.rowsperstrip, page.imagelength)
        super().__init__(page.imagelength, page.imagewidth, tile_height, page.tilewidth or page.imagewidth)
        self._pages, self._reader, self._convert, self._fill = pages, reader, convert, fill
        self._planes = page.samplesperpixel if page.planarconfig == _SEPARATE else 1
        _refuse_large_tile(self, page)

    def _tile(self, row: int, column: int) -> NDArray:
        """Decode one tile, or some strips."""
        planes = [self._plane(page, plane, row, column) for page in self._pages for plane in range(self._planes)]
        height, width = self.size_of(row, column)
        return self._convert(planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2))[:height, :width]

    def rows_at(self, row: int) -> NDArray:
        """Decode the one strip, or the tile, that holds a row, as ``Source.rows_at`` says.

        Returns (row, column, channel).
        """
        page = self._pages[0]
        if page.is_tiled:
            return super().rows_at(row)
        strips = math.ceil(self.height / page.rowsperstrip)
        strip = row // page.rowsperstrip
        planes = [self._segment(one, n * strips + strip) for one in self._pages for n in range(self._planes)]
        return self._convert(planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2))

    def _plane(self, page: TiffPage, plane: int, row: int, column: int) -> NDArray:
        """Samples of a tile: those of a pixel together, or of one of the separate planes."""
        if page.is_tiled:
            return self._segment(page, (plane * self.rows + row) * self.columns + column)
        strips = math.ceil(self.height / page.rowsperstrip)
        these = range(row * self._group, min((row + 1) * self._group, strips))
        segments = [self._segment(page, plane * strips + strip) for strip in these]
        return segments[0] if len(segments) == 1 else np.concatenate(segments)

    def _segment(self, page: TiffPage, index: int) -> NDArray:
        """One tile or strip as the codec gives it, (row, column, sample)."""
        count = page.databytecounts[index]
        data = self._reader.read(page.dataoffsets[index], count) if count else None
        _, _, shape = page.decode(None, index)
        if data and (whole := tiff_pages.decode_whole_jpeg(page, data, shape)) is not None:
            return whole
        segment, _, shape = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)
        if segment is None:
            return np.full(shape[1:], self._fill, page.dtype)
        if data and (damage := tiff_pages.damage(page, data, shape)):
            raise ValueError(damage)
        return segment[0]


def _strips_together(rows: int) -> int:
    """How many strips are read as one tile."""
    return max(1, STRIPS_PX // rows)


def _refuse_large_tile(source: TiffSource, page: TiffPage) -> None:
    """Raise where one packed strip holds most of a large image: it could only be decoded as a whole."""
    itemsize = np.dtype(page.dtype).itemsize
    size = source.tile_height * source.tile_width * page.samplesperpixel * itemsize
    if size > MOST_TILE_BYTES:
        raise UnreadableImage(
            f"is stored in packed pieces of {source.tile_height} x {source.tile_width} pixels ({size / 2**20:.0f} MB), "
            f"but pieces of at most {MOST_TILE_BYTES / 2**20:.0f} MB are read. Save it as a tiled TIFF."
        )


def block_of(page: TiffPage, reader: FileReader) -> Block | None:
    """Find the unpacked block that a page is, all of which is in its file.

    None where the page is packed, truncated, in several pieces, or the samples of a pixel are apart.
    """
    together = page.planarconfig != _SEPARATE or page.samplesperpixel == 1
    if not (together and page.is_memmappable and page.dataoffsets[0] + page.nbytes <= reader.size):
        return None
    stored = np.dtype(page.parent.byteorder + np.dtype(page.dtype).char)
    return Block(reader, page.dataoffsets[0], (page.imagelength, page.imagewidth, page.samplesperpixel), stored)

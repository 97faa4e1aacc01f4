"""Slides in TIFF files read with tifffile: Aperio, OME-TIFF, PerkinElmer and plain pyramids."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.color import to_eight_bit
from napari_melanoma.io.damage import tiff_pages
from napari_melanoma.io.formats import DAMAGE_ERRORS
from napari_melanoma.io.tiff import TRUNCATED, check_page_chain, is_truncated
from napari_melanoma.slides.reading.files import FileReader, filter_private_properties, slide_fingerprint
from napari_melanoma.slides.reading.flat_images import FlatImageSource, PixelBlock
from napari_melanoma.slides.reading.slide import LevelInfo, SlideInfo, compute_downsample, override_pixel_size
from napari_melanoma.slides.reading.tiff_metadata import (
    LevelPages,
    PixelFormat,
    read_pixel_format,
    read_tiff_metadata,
    select_level_pages,
    split_series,
)
from napari_melanoma.slides.reading.tiled import SlideExtras, TiledSlide, TileLevel, TileSource, fill_pyramid

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tifffile import TiffFile, TiffPage, TiffPageSeries

_ICC_TAG = 34675
STRIPS_PX = 256  # strips of a few rows are read together, up to the height of a usual tile
MAX_TILE_BYTES = 768 * 2**20
_SEPARATE = 2

SampleConversion = Callable[["NDArray"], "NDArray"]


def open_tiff(path: Path, pixel_size: PixelSize | None = None) -> TiledSlide:
    """Open a TIFF file as a slide.

    ``pixel_size``: of level 0, set by the user; takes precedence over that of the file. The caller closes the slide.
    """
    from tifffile import TiffFile

    with ExitStack() as stack:
        try:
            with path.open("rb") as file:
                check_page_chain(file)
            tiff, reader = stack.enter_context(TiffFile(path)), stack.enter_context(closing(FileReader(path)))
            slide = _build_slide(path, tiff, reader, pixel_size)
        except InputError as fault:
            raise UnreadableImage(f"{path.name} {fault}") from None
        except DAMAGE_ERRORS as error:
            raise UnreadableImage(_describe_open_error(path, error)) from error
        stack.pop_all()
        return slide


def _build_slide(path: Path, tiff: TiffFile, reader: FileReader, given: PixelSize | None) -> TiledSlide:
    """Build a slide from an open file."""
    main, others = split_series(tiff)
    levels = [select_level_pages(level) for level in main]
    pixel_format = read_pixel_format(levels[0].pages[0])
    metadata = read_tiff_metadata(tiff, main[0], levels[0])
    sources = fill_pyramid(_level_sources(tiff, levels, pixel_format, reader))
    full = (sources[0][0].height, sources[0][0].width)
    sizes = [LevelInfo(g.height, g.width, compute_downsample(full, (g.height, g.width)), built) for g, built in sources]
    profile = levels[0].pages[0].tags.valueof(_ICC_TAG)
    scale = override_pixel_size(metadata.scale, given)
    info = SlideInfo(
        path=path,
        name=path.name.removesuffix(path.suffix).removesuffix(".ome"),
        format=metadata.format,
        levels=tuple(sizes),
        pixel_size=scale.pixel_size,
        magnification=scale.magnification,
        kind=pixel_format.kind,
        channels=("red", "green", "blue") if pixel_format.kind == "brightfield" else metadata.channels,
        colors=metadata.colors,
        properties=filter_private_properties(metadata.properties),
        associated=tuple(others),
        has_profile=profile is not None,
        warnings=(*_describe_truncation(path, levels, reader.size), *scale.warnings, *levels[0].omitted),
        scale_warnings=scale.warnings,
        fingerprint=slide_fingerprint(path),
    )
    extras = SlideExtras(
        lambda: profile,
        {name: partial(_read_associated_image, series) for name, series in others.items()},
        _close_both(tiff, reader),
    )
    return TiledSlide(info, [grid for grid, _ in sources], pixel_format.dtype, extras)


def _level_sources(
    tiff: TiffFile, levels: list[LevelPages], pixel_format: PixelFormat, reader: FileReader
) -> list[TileLevel]:
    """One source for each level of the file."""
    fill = 255 if pixel_format.kind == "brightfield" else 0
    sources: list[TileLevel] = []
    for planes in levels:
        block = find_pixel_block(planes.pages[0], reader) if len(planes.pages) == 1 else None
        if block is not None:
            sources.append(FlatImageSource(block, pixel_format.convert))
        else:
            sources.append(TiffSource(planes.pages, reader, pixel_format.convert, fill))
    return sources


def _describe_truncation(path: Path, levels: list[LevelPages], size: int) -> tuple[str, ...]:
    """Describe how much of a slide lies beyond the end of its file."""
    pages = [page for planes in levels for page in planes.pages]
    ends = [
        offset + count for page in pages for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    missing = sum(end > size for end in ends)
    if not missing:
        return (TRUNCATED,) if is_truncated(path) else ()
    return (
        f"the file is truncated: {missing} of {len(ends)} tiles are missing and shown as stripes. "
        "Copy it again from its source.",
    )


def _read_associated_image(series: TiffPageSeries) -> NDArray[np.uint8]:
    """Decode an associated image: uint8 (row, column, channel=3)."""
    page = select_level_pages(series).pages[0]
    pixels = read_pixel_format(page).convert(page.asarray().reshape(page.imagelength, page.imagewidth, -1))
    return to_eight_bit(pixels) if pixels.shape[2] == 3 else np.repeat(to_eight_bit(pixels)[..., :1], 3, axis=2)


def _close_both(tiff: TiffFile, reader: FileReader) -> Callable[[], None]:
    """Close both handles of a file."""

    def close() -> None:
        tiff.close()
        reader.close()

    return close


def _describe_open_error(path: Path, error: Exception) -> str:
    """Describe why a file cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist. Select an existing slide."
    if isinstance(error, PermissionError):
        return f"{path} cannot be read: permission denied. Change the permissions, or select a copy."
    reason = shorten(str(error), width=160, placeholder=" ...")
    return (
        f"{path.name} cannot be opened as a slide: a TIFF file was expected, but its directory of tiles cannot be read "
        f"({reason}): it is truncated, damaged or of another format. Copy it again from its source."
    )


class TiffSource(TileSource):
    """A level of tiles or strips, each decoded separately.

    ``convert``: conversion from decoded samples, (row, column, sample), to pixels of the slide.
    """

    def __init__(self, pages: Sequence[TiffPage], reader: FileReader, convert: SampleConversion, fill: int) -> None:
        page = pages[0]
        self._group = 1 if page.is_tiled else _strips_per_tile(page.rowsperstrip)
        tile_height = page.tilelength if page.is_tiled else min(self._group * page.rowsperstrip, page.imagelength)
        super().__init__(page.imagelength, page.imagewidth, tile_height, page.tilewidth or page.imagewidth)
        self._pages, self._reader, self._convert, self._fill = pages, reader, convert, fill
        self._planes = page.samplesperpixel if page.planarconfig == _SEPARATE else 1
        _check_tile_size(self, page)

    def _tile(self, row: int, column: int) -> NDArray:
        """Decode one tile, or some strips."""
        planes = [self._read_plane(page, plane, row, column) for page in self._pages for plane in range(self._planes)]
        height, width = self.size_of(row, column)
        return self._convert(planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2))[:height, :width]

    def rows_at(self, row: int) -> NDArray:
        """Decode the strip or tile that contains a row, (row, column, channel)."""
        page = self._pages[0]
        if page.is_tiled:
            return super().rows_at(row)
        strips = math.ceil(self.height / page.rowsperstrip)
        strip = row // page.rowsperstrip
        planes = [self._decode_segment(one, n * strips + strip) for one in self._pages for n in range(self._planes)]
        return self._convert(planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2))

    def _read_plane(self, page: TiffPage, plane: int, row: int, column: int) -> NDArray:
        """Samples of a tile, interleaved or of one separate plane."""
        if page.is_tiled:
            return self._decode_segment(page, (plane * self.rows + row) * self.columns + column)
        strips = math.ceil(self.height / page.rowsperstrip)
        these = range(row * self._group, min((row + 1) * self._group, strips))
        segments = [self._decode_segment(page, plane * strips + strip) for strip in these]
        return segments[0] if len(segments) == 1 else np.concatenate(segments)

    def _decode_segment(self, page: TiffPage, index: int) -> NDArray:
        """One decoded tile or strip, (row, column, sample)."""
        count = page.databytecounts[index]
        data = self._reader.read(page.dataoffsets[index], count) if count else None
        _, _, shape = page.decode(None, index)
        if data and (whole := tiff_pages.decode_whole_jpeg(page, data, shape)) is not None:
            return whole
        segment, _, shape = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)
        if segment is None:
            return np.full(shape[1:], self._fill, page.dtype)
        if data and (damage := tiff_pages.find_segment_damage(page, data, shape)):
            raise ValueError(damage)
        return segment[0]


def _strips_per_tile(rows: int) -> int:
    """Number of strips that are read as one tile."""
    return max(1, STRIPS_PX // rows)


def _check_tile_size(source: TiffSource, page: TiffPage) -> None:
    """Raise an error if a compressed strip holds most of a large image: it could only be decoded as a whole."""
    itemsize = np.dtype(page.dtype).itemsize
    size = source.tile_height * source.tile_width * page.samplesperpixel * itemsize
    if size > MAX_TILE_BYTES:
        raise UnreadableImage(
            f"is stored in compressed strips or tiles of {source.tile_height} x {source.tile_width} pixels "
            f"({size / 2**20:.0f} MB), but at most {MAX_TILE_BYTES / 2**20:.0f} MB are supported. Save it as a tiled "
            "TIFF."
        )


def find_pixel_block(page: TiffPage, reader: FileReader) -> PixelBlock | None:
    """Find the uncompressed block of a page, which must be complete.

    None where the page is compressed, truncated, stored in several pieces, or the samples of a pixel are separate.
    """
    interleaved = page.planarconfig != _SEPARATE or page.samplesperpixel == 1
    if not (interleaved and page.is_memmappable and page.dataoffsets[0] + page.nbytes <= reader.size):
        return None
    stored = np.dtype(page.parent.byteorder + np.dtype(page.dtype).char)
    return PixelBlock(reader, page.dataoffsets[0], (page.imagelength, page.imagewidth, page.samplesperpixel), stored)

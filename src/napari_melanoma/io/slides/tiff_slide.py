"""Slides in TIFF files that tifffile decodes: Aperio, OME-TIFF, PerkinElmer, plain pyramids and flat images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.color import eight_bit
from napari_melanoma.io.formats import DAMAGE
from napari_melanoma.io.slides.files import FileReader, fingerprint_of
from napari_melanoma.io.slides.harmless import harmless
from napari_melanoma.io.slides.plain_source import PlainSource
from napari_melanoma.io.slides.scale import with_given
from napari_melanoma.io.slides.slide import Level, SlideInfo, downsample_of
from napari_melanoma.io.slides.sources import Grid, with_missing
from napari_melanoma.io.slides.tiff_colours import Colours, colours_of
from napari_melanoma.io.slides.tiff_said import said_by
from napari_melanoma.io.slides.tiff_series import Planes, main_and_others, planes_of
from napari_melanoma.io.slides.tiff_sources import TiffSource, block_of
from napari_melanoma.io.slides.tiled import Extras, TiledSlide
from napari_melanoma.io.tiff_chain import TRUNCATED, is_cut_off, refuse_endless

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tifffile import TiffFile, TiffPageSeries

_ICC_TAG = 34675


def open_tiff(path: Path, given: PixelSize | None = None) -> TiledSlide:
    """Open a TIFF file as a slide.

    ``given``: the user's own pixel size of level 0; wins over what the file says. Open; the caller closes it.
    """
    from tifffile import TiffFile

    with ExitStack() as stack:
        try:
            with path.open("rb") as file:
                refuse_endless(file)
            tiff, reader = stack.enter_context(TiffFile(path)), stack.enter_context(closing(FileReader(path)))
            slide = _opened(path, tiff, reader, given)
        except InputError as fault:
            raise UnreadableImage(f"{path.name} {fault}") from None
        except DAMAGE as error:
            raise UnreadableImage(_cannot_open(path, error)) from error
        stack.pop_all()
        return slide


def _opened(path: Path, tiff: TiffFile, reader: FileReader, given: PixelSize | None) -> TiledSlide:
    """Put a slide together from an open file."""
    main, others = main_and_others(tiff)
    levels = [planes_of(level) for level in main]
    colours = colours_of(levels[0].pages[0])
    said = said_by(tiff, main[0], levels[0])
    sources = with_missing(_sources(tiff, levels, colours, reader))
    full = (sources[0][0].height, sources[0][0].width)
    sizes = [Level(g.height, g.width, downsample_of(full, (g.height, g.width)), built) for g, built in sources]
    profile = levels[0].pages[0].tags.valueof(_ICC_TAG)
    scale = with_given(said.scale, given)
    info = SlideInfo(
        path=path,
        name=path.name.removesuffix(path.suffix).removesuffix(".ome"),
        format=said.format,
        levels=tuple(sizes),
        pixel_size=scale.pixel_size,
        magnification=scale.magnification,
        kind=colours.kind,
        channels=("red", "green", "blue") if colours.kind == "brightfield" else said.channels,
        colours=said.colours,
        properties=harmless(said.properties),
        associated=tuple(others),
        has_profile=profile is not None,
        warnings=(*_truncation(path, levels, reader.size), *scale.warnings, *levels[0].left_out),
        doubts=scale.warnings,
        fingerprint=fingerprint_of(path),
    )
    extras = Extras(
        lambda: profile, {name: partial(_beside, series) for name, series in others.items()}, _both(tiff, reader)
    )
    return TiledSlide(info, [grid for grid, _ in sources], colours.dtype, extras)


def _sources(tiff: TiffFile, levels: list[Planes], colours: Colours, reader: FileReader) -> list[Grid]:
    """One source for each level of the file."""
    fill = 255 if colours.kind == "brightfield" else 0
    sources: list[Grid] = []
    for planes in levels:
        block = block_of(planes.pages[0], reader) if len(planes.pages) == 1 else None
        if block is not None:
            sources.append(PlainSource(block, colours.convert))
        else:
            sources.append(TiffSource(planes.pages, reader, colours.convert, fill))
    return sources


def _truncation(path: Path, levels: list[Planes], size: int) -> tuple[str, ...]:
    """Say how much of a slide lies beyond the end of its file."""
    pages = [page for planes in levels for page in planes.pages]
    ends = [
        offset + count for page in pages for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    missing = sum(end > size for end in ends)
    if not missing:
        return (TRUNCATED,) if is_cut_off(path) else ()
    return (
        f"the file is truncated: {missing} of {len(ends)} tiles lie beyond its end and are shown as striped marks. "
        "Copy it again from its source.",
    )


def _beside(series: TiffPageSeries) -> NDArray[np.uint8]:
    """Decode a picture beside the slide: uint8 (row, column, channel=3)."""
    page = planes_of(series).pages[0]
    pixels = colours_of(page).convert(page.asarray().reshape(page.imagelength, page.imagewidth, -1))
    return eight_bit(pixels) if pixels.shape[2] == 3 else np.repeat(eight_bit(pixels)[..., :1], 3, axis=2)


def _both(tiff: TiffFile, reader: FileReader) -> Callable[[], None]:
    """Close both handles of a file."""

    def close() -> None:
        tiff.close()
        reader.close()

    return close


def _cannot_open(path: Path, error: Exception) -> str:
    """Say what is wrong with a file that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist. Name an existing slide."
    if isinstance(error, PermissionError):
        return f"{path} cannot be read: no permission. Ask for it, or name a copy of your own."
    reason = shorten(str(error), width=160, placeholder=" ...")
    return (
        f"{path.name} cannot be opened as a slide: a TIFF file was expected, but its directory of tiles cannot be read "
        f"({reason}): it is truncated, damaged or of another format. Copy it again from its source."
    )

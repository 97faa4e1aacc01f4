"""The images in a TIFF file: the levels of a slide, images that belong to it, and the planes that are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.slides.reading.pyramids import is_padded_to_tiles
from napari_melanoma.slides.reading.slide import read_lengths_um
from napari_melanoma.slides.reading.tiled import TileLevel

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from tifffile import TiffFile, TiffPage, TiffPageSeries

_SAME_SHAPE = 0.02  # relative tolerance of aspect ratios, as levels have whole pixels
_LEAST_FACTOR = 0.7  # of a larger pixel size, relative to the ratio of sides, which padding makes smaller
_MIN_DOWNSAMPLE = 1.4  # of a level; an image of nearly the same size is another scan
_MIN_SCAN_SHARE = 0.1  # of the pixels of the slide: smaller images are thumbnails
# Names of images of the glass, in lower case, also after the name of the slide: "a.svs [label image]"
_ASSOCIATED = re.compile(r"(.*\[)?(macro|label|overview|thumbnail|preview|barcode)([ _-]?image)?[ _-]*\d*\]?")
_PLANE_AXES = {"Y", "X", "S"}
AXIS_WORDS = {"Z": "focal planes", "T": "points in time", "I": "images"}


@dataclass(frozen=True)
class LevelPages:
    """The pages of one level, one for each channel if they are separate, and messages on omitted planes."""

    pages: tuple[TiffPage, ...]
    omitted: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeriesRoles:
    """What the images in a file are.

    ``levels``: of the slide, the finest first. ``associated``: other images, such as label and macro, by their name in
    lower case. ``scans``: descriptions of those that may show tissue as the slide does.
    """

    levels: list[TiffPageSeries]
    associated: dict[str, TiffPageSeries]
    scans: tuple[str, ...] = ()


def split_series(tiff: TiffFile) -> SeriesRoles:
    """Separate the levels of the slide from other images.

    The slide is the image with the most pixels, of those that are not named as label or overview.
    """
    images = [series for series in tiff.series if {"Y", "X"} <= set(series.axes) and min(_size(series)) > 0]
    if not images:
        raise UnreadableImage(
            "cannot be opened as a slide: it has no image with rows and columns, so it is truncated or damaged. "
            "Copy it again from its source."
        )
    scans = [series for series in images if not _ASSOCIATED.fullmatch(series.name.strip().lower())]
    main = max(scans or images, key=_pixels)
    levels, others = list(main.levels), [series for series in images if series is not main]
    if len(levels) == 1:
        copies = [series for series in others if _is_smaller_copy(tiff, series, main)]
        levels += [level for series in copies for level in series.levels]
        others = [series for series in others if series not in copies]
    levels.sort(key=_size, reverse=True)
    names = [series.name.lower() or f"image {index}" for index, series in enumerate(others, start=1)]
    large = [
        f"{name} ({_size(series)[1]} x {_size(series)[0]} pixels)"
        for name, series in zip(names, others, strict=True)
        if series in scans and _pixels(series) >= _MIN_SCAN_SHARE * _pixels(main)
    ]
    return SeriesRoles(levels, dict(zip(names, others, strict=True)), tuple(large))


def select_level_pages(level: TiffPageSeries) -> LevelPages:
    """Select the pages of a level: all channels, but only the first focal plane and point in time."""
    stacked = [(axis, length) for axis, length in zip(level.axes, level.shape, strict=True) if axis not in _PLANE_AXES]
    if len(level.pages) == 1:
        return LevelPages((level.keyframe,))
    numbers = np.arange(len(level.pages)).reshape([length for _, length in stacked])
    omitted = []
    for position, (axis, length) in reversed(list(enumerate(stacked))):
        if axis == "C":
            continue
        if length > 1:
            omitted.append(f"only the first of {length} {AXIS_WORDS.get(axis, f'planes ({axis})')} is shown.")
        numbers = numbers.take([0], axis=position)
    pages = tuple(cast("TiffPage", level.pages[int(number)]).aspage() for number in numbers.ravel())
    return LevelPages(pages, tuple(omitted))


def _size(series: TiffPageSeries) -> tuple[int, int]:
    lengths = dict(zip(series.axes, series.shape, strict=True))
    return lengths["Y"], lengths["X"]


def _pixels(series: TiffPageSeries) -> int:
    height, width = _size(series)
    return height * width


def _is_smaller_copy(tiff: TiffFile, series: TiffPageSeries, main: TiffPageSeries) -> bool:
    """Whether a series is a level of the main image: smaller, with the same aspect ratio, data type and layout.

    The aspect ratio may differ if the level is padded to whole tiles. If both state a pixel size in OME-XML, it must
    be larger by about the same factor: another scan has the same one.
    """
    (height, width), (full_height, full_width) = _size(series), _size(main)
    tile = series.keyframe.tilelength, series.keyframe.tilewidth
    same_kind = series.axes == main.axes and series.dtype == main.dtype
    same_layout = series.keyframe.is_tiled and main.keyframe.is_tiled
    ratio = (full_height / height) / (full_width / width)
    if not (same_kind and same_layout and full_height >= _MIN_DOWNSAMPLE * height):
        return False
    um, full_um = _ome_pixel_height(tiff, series), _ome_pixel_height(tiff, main)
    if um and full_um and um / full_um < _LEAST_FACTOR * full_height / height:
        return False
    return abs(ratio - 1) < _SAME_SHAPE or is_padded_to_tiles(TileLevel(height, width, *tile), _size(main))


def _ome_pixel_height(tiff: TiffFile, series: TiffPageSeries) -> float | None:
    """Return the height of a pixel by the OME-XML; None if there is none."""
    root = parse_xml(tiff.ome_metadata or "")
    image = None if root is None else find_ome_image(tiff, series, root)
    pixels = None if image is None else next((child for child in image if tag_name(child) == "Pixels"), None)
    if pixels is None:
        return None
    return read_lengths_um([pixels.get("PhysicalSizeY")], [pixels.get("PhysicalSizeYUnit")])[0][0]


def find_ome_image(tiff: TiffFile, series: TiffPageSeries, root: Element) -> Element | None:
    """Return the element of OME-XML that describes a series; None if it has no images."""
    images = [child for child in root if tag_name(child) == "Image"]
    index = next((i for i, other in enumerate(tiff.series) if other is series or series in other.levels), 0)
    return images[min(index, len(images) - 1)] if images else None


def parse_xml(text: str) -> Element | None:
    """Return the root of an XML text; None if it is invalid."""
    from xml.etree.ElementTree import ParseError, fromstring

    try:
        # Without the XML declaration, whose encoding is not that of a decoded text.
        return fromstring(re.sub(r"^<\?xml[^>]*>\s*", "", text.strip()))
    except ParseError:
        return None


def tag_name(element: Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]

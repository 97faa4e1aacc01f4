"""Read slides in TIFF files with tifffile: Aperio, OME-TIFF, PerkinElmer and plain pyramids, with their metadata."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.color_conversion import ValueRange, apply_orientation, describe_dtype, to_eight_bit
from napari_melanoma.io.formats import DAMAGE_ERRORS
from napari_melanoma.io.tiff import (
    TRUNCATED,
    check_page_chain,
    decode_whole,
    find_page_range,
    find_segment_damage,
    is_truncated,
    palette_colors,
)
from napari_melanoma.privacy.personal_data import filter_private_properties
from napari_melanoma.slides.reading.files import FileReader, slide_fingerprint
from napari_melanoma.slides.reading.flat_images import FlatImageSource, PixelBlock
from napari_melanoma.slides.reading.pyramids import (
    TRANSPOSED,
    OrientedSource,
    remove_padding,
    stated_downsample,
)
from napari_melanoma.slides.reading.slide import (
    ADVICE,
    ScaleInfo,
    SlideInfo,
    blend_over_white,
    compose_over_white,
    merge_channels,
    override_pixel_size,
    parse_decimal,
    read_lengths_um,
    to_finite_float32,
    validate_scale,
)
from napari_melanoma.slides.reading.tiff_series import (
    LevelPages,
    find_ome_image,
    parse_xml,
    select_level_pages,
    split_series,
    tag_name,
)
from napari_melanoma.slides.reading.tiled import (
    SlideExtras,
    TiledSlide,
    TileSource,
    describe_levels,
    fill_pyramid,
    start_in_thread,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from tifffile import TiffFile, TiffPage, TiffPageSeries


STRIPS_PX = 256  # strips of a few rows are read together, up to about this many rows, as many as a tile has
MAX_TILE_BYTES = 768 * 2**20
_SEPARATE = 2  # value of the tag PlanarConfiguration: each sample of a pixel in a plane of its own

ColorRGB = tuple[int, int, int]
SampleConversion = Callable[["NDArray"], "NDArray"]  # decoded samples to pixels of the slide, (row, column, ...)

# Tags, and values of tags.
_ICC_TAG, _X_TAG, _Y_TAG, _UNIT_TAG, _DESCRIPTION = 34675, 282, 283, 296, "ImageDescription"
_UNIT_UM = {2: 25400.0, 3: 10000.0}  # inch and centimeter in the tag ResolutionUnit
_MINISWHITE, _MINISBLACK, _PHOTO_RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6  # of the tag PhotometricInterpretation
# Values of the tag Compression for JPEG and JPEG 2000, whose decoders convert YCbCr to RGB.
_UNPACKED_BY_CODEC = (6, 7, 33007, 34892, 33003, 33004, 33005, 34712)
_RGB, _RGBA = 3, 4  # samples per pixel
Alpha = Literal["", "associated", "unassociated"]
_ALPHA: Mapping[int, Alpha] = {1: "associated", 2: "unassociated"}  # of the tag ExtraSamples; associated: multiplied
_ORIENTATION_TAG, _UPRIGHT, _ROTATED = 274, 1, range(2, 9)
RGB_CHANNELS, PRIMARIES = ("red", "green", "blue"), ((255, 0, 0), (0, 255, 0), (0, 0, 255))
DARK_LEVEL = 40  # images of which half the pixels are darker are fluorescence
_BRIGHT_PERCENTILE, _BRIGHT_LEVEL = 75, 100  # a quarter of the pixels of brightfield is brighter in all colors

_FORMATS = {  # flag of tifffile to name of the format
    "svs": "Aperio SVS",
    "qpi": "PerkinElmer QPTIFF",
    "ome": "OME-TIFF",
    "indica": "Indica Labs TIFF",
    "avs": "Argos TIFF",
}


@dataclass(frozen=True)
class PixelFormat:
    """Type of the pixels of a slide, the conversion of decoded samples to them, and samples of missing tiles."""

    kind: Literal["brightfield", "fluorescence"]
    dtype: np.dtype
    convert: SampleConversion
    missing: int = 0  # samples of tiles that are not stored: ``convert`` turns them into the background


def open_tiff(path: Path, pixel_size: PixelSize | None = None) -> TiledSlide:
    """Open a TIFF file as a slide.

    ``pixel_size``: that of level 0, set by the user, which takes precedence over that in the file. The caller closes
    the slide.
    """
    from tifffile import TiffFile

    fingerprint = start_in_thread(slide_fingerprint, path)
    with ExitStack() as stack:
        try:
            with path.open("rb") as file:
                check_page_chain(file)
            tiff, reader = stack.enter_context(TiffFile(path)), stack.enter_context(closing(FileReader(path)))
            slide = _build_slide(tiff, reader, pixel_size, fingerprint)
        except InputError as fault:
            raise UnreadableImage(f"{path.name} {fault}") from None
        except DAMAGE_ERRORS as error:
            raise UnreadableImage(_describe_open_error(path, error)) from error
        stack.pop_all()
        return slide


def _build_slide(
    tiff: TiffFile, reader: FileReader, given: PixelSize | None, fingerprint: Callable[[], str]
) -> TiledSlide:
    """Build a slide from an open file; ``given``: the pixel size set by the user."""
    path = reader.path
    roles = split_series(tiff)
    levels = [select_level_pages(level) for level in roles.levels]
    pixel_format = read_pixel_format(levels[0].pages[0])
    metadata = read_tiff_metadata(tiff, roles.levels[0], levels[0])
    values = _find_slide_range(levels, pixel_format, reader, metadata.largest)
    pixel_format = read_pixel_format(levels[0].pages[0], values)
    in_file = _level_sources(levels, pixel_format, reader)
    if _are_color_planes(metadata, pixel_format, in_file[-1]):
        pixel_format = PixelFormat("brightfield", np.dtype(np.uint8), pixel_format.convert, 255)
        metadata = replace(metadata, colors=())
        in_file = _level_sources(levels, pixel_format, reader)
    sizes = [[resolution_um(planes.pages[0], tag) for tag in (_Y_TAG, _X_TAG)] for planes in levels]
    remove_padding(in_file, [stated_downsample(sizes[0], size) for size in sizes])
    orientation = _orientation(levels[0].pages[0])
    if orientation in _ROTATED and "ome" not in tiff.flags:  # OME metadata describe the image as it is stored
        in_file = [OrientedSource(source, orientation) for source in in_file]
    sources = fill_pyramid(in_file)
    profile = levels[0].pages[0].tags.valueof(_ICC_TAG)
    scale = override_pixel_size(metadata.scale, given)
    info = SlideInfo(
        path=path,
        name=path.name.removesuffix(path.suffix).removesuffix(".ome"),
        format=metadata.format,
        levels=describe_levels(sources),
        pixel_size=scale.pixel_size,
        magnification=scale.magnification,
        kind=pixel_format.kind,
        channels=RGB_CHANNELS if pixel_format.kind == "brightfield" else metadata.channels,
        colors=metadata.colors,
        properties=filter_private_properties(metadata.properties),
        associated=tuple(roles.associated),
        has_profile=profile is not None,
        warnings=(
            *_describe_truncation(path, levels, reader.size),
            *scale.warnings,
            *levels[0].omitted,
            *_describe_other_scans(roles.scans),
            *_describe_ignored_sample(levels[0].pages[0]),
            *((values.note,) if values is not None and values.note else ()),
        ),
        scale_warnings=scale.warnings,
        fingerprint=fingerprint(),
    )
    extras = SlideExtras(
        lambda: profile, _close_both(tiff, reader), lambda name: _read_associated(roles.associated[name])
    )
    return TiledSlide(info, [grid for grid, _ in sources], pixel_format.dtype, extras)


def _level_sources(levels: list[LevelPages], pixel_format: PixelFormat, reader: FileReader) -> list[TileSource]:
    sources: list[TileSource] = []
    for planes in levels:
        block = find_pixel_block(planes.pages[0], reader) if len(planes.pages) == 1 else None
        if block is not None:
            sources.append(FlatImageSource(block, pixel_format.convert))
        else:
            sources.append(TiffSource(planes.pages, reader, pixel_format))
    return sources


def _are_color_planes(metadata: TiffMetadata, pixel_format: PixelFormat, coarsest: TileSource) -> bool:
    """Whether three gray channels are the red, green and blue of a brightfield slide.

    They are if the image is bright and they have these names or colors; without names and different colors, only if a
    part of it is bright in all three, as glass is, because markers of fluorescence differ.
    """
    is_eight_bit = pixel_format.kind == "fluorescence" and pixel_format.dtype == np.uint8
    if not is_eight_bit or len(metadata.channels) != len(PRIMARIES):
        return False
    is_named = metadata.colors == PRIMARIES
    is_unnamed = all(re.fullmatch(r"channel[ :_-]*[\d: ]*", name.strip().lower()) for name in metadata.channels)
    if not is_named and (not is_unnamed or len(set(metadata.colors)) > 1):
        return False
    try:
        pixels = _read_sample(coarsest)
    except DAMAGE_ERRORS:
        return False
    if is_named:
        return _is_bright(pixels)
    return bool(np.percentile(pixels.min(axis=1), _BRIGHT_PERCENTILE) >= _BRIGHT_LEVEL)


def is_bright(level: TileSource) -> bool:
    """Whether a level with three channels shows brightfield, as most do; True if it cannot be read."""
    try:
        return _is_bright(_read_sample(level))
    except DAMAGE_ERRORS:
        return True


def _is_bright(pixels: NDArray) -> bool:
    return bool(np.median(pixels.max(axis=1)) >= DARK_LEVEL)


def _find_slide_range(
    levels: list[LevelPages], pixel_format: PixelFormat, reader: FileReader, largest: float | None
) -> ValueRange | None:
    """Find the range of the colors of a slide with more than 8 bits, from its coarsest level; None for other slides.

    ``largest``: the maximum value that the metadata state.
    """
    page = levels[-1].pages[0]
    if pixel_format.kind != "brightfield" or int(page.photometric) == _PALETTE or page.dtype != "u2":
        return None
    has_alpha = bool(_alpha(page))
    stored = replace(pixel_format, convert=lambda tile: tile if has_alpha else tile[..., :_RGB], missing=0)
    try:
        pixels = _read_sample(_level_sources(levels[-1:], stored, reader)[0])
    except DAMAGE_ERRORS:
        return None
    return find_page_range(page, pixels[None], has_alpha=has_alpha, largest=largest)


def _read_sample(level: TileSource) -> NDArray:
    """Read up to nine tiles that are distributed over a level, (pixel, channel)."""
    rows, columns = level.rows, level.columns
    cells = {(row, column) for row in (0, rows // 2, rows - 1) for column in (0, columns // 2, columns - 1)}
    tiles = [level.read_tile(*cell) for cell in sorted(cells)]
    return np.concatenate([tile.reshape(-1, tile.shape[-1]) for tile in tiles])


def _describe_other_scans(scans: Sequence[str]) -> tuple[str, ...]:
    """Describe other images of the file that may show tissue."""
    if not scans:
        return ()
    return (f"only the largest image of the file is shown and analyzed, not {format_names(scans)}.",)


def _describe_ignored_sample(page: TiffPage) -> tuple[str, ...]:
    """Describe a fourth sample that is neither color nor transparency, such as near infrared."""
    if int(page.photometric) != _PHOTO_RGB or page.samplesperpixel != _RGBA or _alpha(page):
        return ()
    return ("only red, green and blue are shown: the fourth sample of each pixel is neither color nor transparency.",)


def _read_associated(series: TiffPageSeries) -> NDArray[np.uint8]:
    page = select_level_pages(series).pages[0]
    size = page.imagelength * page.imagewidth * page.samplesperpixel * np.dtype(page.dtype).itemsize
    if size > MAX_TILE_BYTES:
        raise ValueError(f"{size / 2**20:.0f} MB, but at most {MAX_TILE_BYTES / 2**20:.0f} MB are supported")
    pixels = page.asarray()
    if page.samplesperpixel == 1:
        pixels = pixels[..., None]
    elif page.planarconfig == _SEPARATE:
        pixels = np.moveaxis(pixels, 0, -1)
    has_alpha = bool(_alpha(page))
    is_deep = page.dtype == "u2" and page.samplesperpixel in (_RGB, _RGBA)
    colors = pixels if has_alpha else pixels[..., :_RGB]
    pixel_format = read_pixel_format(page, find_page_range(page, colors, has_alpha=has_alpha) if is_deep else None)
    rgb = apply_orientation(pixel_format.convert(pixels), _orientation(page))
    return rgb if pixel_format.kind == "brightfield" else merge_channels(rgb, ((255, 255, 255),))


def _describe_truncation(path: Path, levels: list[LevelPages], size: int) -> tuple[str, ...]:
    """Describe how many tiles of a slide lie beyond the end of the file; ``size``: that of the file in bytes."""
    pages = [page for planes in levels for page in planes.pages]
    missing = sum(_count_beyond(page, size) for page in pages)
    if not missing:
        return (TRUNCATED,) if is_truncated(path) else ()
    count = sum(len(page.dataoffsets) for page in pages)
    return (
        f"the file is truncated: {missing} of {count} tiles are missing and shown as stripes. "
        "Copy it again from its source.",
    )


def _count_beyond(page: TiffPage, size: int) -> int:
    """Count the strips or tiles of a page that end beyond the end of the file; ``size``: that of the file in bytes."""
    offsets, counts = page.dataoffsets, page.databytecounts
    if max(offsets, default=0) + max(counts, default=0) <= size:  # of most pages; a sum for each tile is slow
        return 0
    return sum(offset + count > size for offset, count in zip(offsets, counts, strict=True))


def _close_both(tiff: TiffFile, reader: FileReader) -> Callable[[], None]:
    """Return a function that closes both handles of a file."""

    def close() -> None:
        tiff.close()
        reader.close()

    return close


def _describe_open_error(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist. Select an existing slide."
    if isinstance(error, PermissionError):
        return f"{path} cannot be read: permission denied. Change the permissions, or select a copy."
    from tifffile import TiffFileError

    # The messages of other errors are about Python code.
    has_reason = isinstance(error, (TiffFileError, OSError))
    reason = f" ({shorten(str(error), width=160, placeholder=' ...')})" if has_reason else ""
    return (
        f"{path.name} cannot be opened as a slide: a TIFF file was expected, but its directory of tiles cannot be read"
        f"{reason}: it is truncated, damaged or of another format. Copy it again from its source."
    )


class TiffSource(TileSource):
    """A level of tiles or strips, each decoded separately.

    ``pages``: those of the level.
    """

    def __init__(self, pages: Sequence[TiffPage], reader: FileReader, pixel_format: PixelFormat) -> None:
        page = pages[0]
        if page.is_tiled:
            self._strips_per_tile, tile_height = 1, page.tilelength
        else:
            self._strips_per_tile = max(1, STRIPS_PX // page.rowsperstrip)
            tile_height = min(self._strips_per_tile * page.rowsperstrip, page.imagelength)
        super().__init__(page.imagelength, page.imagewidth, tile_height, page.tilewidth or page.imagewidth)
        self._pages, self._reader, self._format = pages, reader, pixel_format
        self._planes = page.samplesperpixel if page.planarconfig == _SEPARATE else 1
        self._stored_height, self._stored_rows, self._stored_columns = self.height, self.rows, self.columns
        _check_tile_size(self, page)

    def read_tile(self, row: int, column: int) -> NDArray:
        """Decode one tile, or the strips that are read as one."""
        planes = [self._read_plane(page, plane, row, column) for page in self._pages for plane in range(self._planes)]
        height, width = self.size_of(row, column)
        return self._convert_planes(planes)[:height, :width]

    def rows_at(self, row: int) -> NDArray:
        """Decode the strip or tile that contains a row, (row, column, channel)."""
        page = self._pages[0]
        if page.is_tiled:
            return super().rows_at(row)
        strips = math.ceil(self._stored_height / page.rowsperstrip)
        strip = row // page.rowsperstrip
        planes = [
            self._decode_segment(plane_page, plane * strips + strip)
            for plane_page in self._pages
            for plane in range(self._planes)
        ]
        return self._convert_planes(planes)

    def _convert_planes(self, planes: Sequence[NDArray]) -> NDArray:
        """Join separate planes, and convert the samples to pixels of the slide."""
        return self._format.convert(planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2))

    def _read_plane(self, page: TiffPage, plane: int, row: int, column: int) -> NDArray:
        """Decode the samples of a tile, (row, column, sample); those of one plane if planes are separate."""
        if page.is_tiled:
            return self._decode_segment(page, (plane * self._stored_rows + row) * self._stored_columns + column)
        strips = math.ceil(self._stored_height / page.rowsperstrip)
        first = row * self._strips_per_tile
        numbers = range(first, min(first + self._strips_per_tile, strips))
        segments = [self._decode_segment(page, plane * strips + strip) for strip in numbers]
        return segments[0] if len(segments) == 1 else np.concatenate(segments)

    def _decode_segment(self, page: TiffPage, index: int) -> NDArray:
        """Decode a tile or strip of a page, (row, column, sample)."""
        count = page.databytecounts[index]
        data = self._reader.read(page.dataoffsets[index], count) if count else None
        _, _, shape = page.decode(None, index)
        if data and (whole := decode_whole(page, data, shape)) is not None:
            return whole
        segment, _, shape = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)
        if segment is None:
            return np.full(shape[1:], self._format.missing, page.dtype)
        if data and (damage := find_segment_damage(page, data, shape)):
            raise ValueError(damage)
        return segment[0]


def _check_tile_size(source: TiffSource, page: TiffPage) -> None:
    """Raise UnreadableImage if tiles or strips, which can only be decoded as a whole, are too large for memory."""
    itemsize = np.dtype(page.dtype).itemsize
    size = source.tile_height * source.tile_width * page.samplesperpixel * itemsize
    if size > MAX_TILE_BYTES:
        raise UnreadableImage(
            f"is stored in compressed strips or tiles of {source.tile_height} x {source.tile_width} pixels "
            f"({size / 2**20:.0f} MB), but at most {MAX_TILE_BYTES / 2**20:.0f} MB are supported. Save it as a tiled "
            "TIFF."
        )


def find_pixel_block(page: TiffPage, reader: FileReader) -> PixelBlock | None:
    """Find the block of uncompressed pixels of a page.

    None if the page is compressed, truncated, stored in several pieces, or if the samples of a pixel are separate.
    """
    interleaved = page.planarconfig != _SEPARATE or page.samplesperpixel == 1
    if not (interleaved and page.is_memmappable and page.dataoffsets[0] + page.nbytes <= reader.size):
        return None
    stored = np.dtype(page.parent.byteorder + np.dtype(page.dtype).char)
    return PixelBlock(reader, page.dataoffsets[0], (page.imagelength, page.imagewidth, page.samplesperpixel), stored)


@dataclass(frozen=True)
class TiffMetadata:
    """Metadata of a file: format, scale, names and colors of the channels, and further properties."""

    format: str
    scale: ScaleInfo
    channels: tuple[str, ...]
    colors: tuple[ColorRGB, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def largest(self) -> float | None:
        """The maximum value of a sample by its significant bits; None if they are not stated."""
        bits = parse_decimal(self.properties.get("SignificantBits"))
        return None if bits is None else 2.0**bits - 1


def read_tiff_metadata(tiff: TiffFile, series: TiffPageSeries, planes: LevelPages) -> TiffMetadata:
    """Read the metadata of the main image: those of the vendor, or the tags of the page."""
    flag = next((flag for flag in _FORMATS if flag in tiff.flags), "")
    reader = {"svs": _read_aperio, "ome": _read_ome, "qpi": _read_perkin_elmer}.get(flag, _read_plain)
    return reader(_FORMATS.get(flag, "TIFF"), tiff, series, planes)


def _read_aperio(name: str, tiff: TiffFile, series: TiffPageSeries, planes: LevelPages) -> TiffMetadata:
    """Read the description that Aperio and compatible programs write: ``key = value`` separated by bars."""
    page = planes.pages[0]
    pairs = (part.split("=", 1) for part in page.description.split("|")[1:] if "=" in part)
    values = {key.strip(): value.strip() for key, value in pairs}
    stated = values.get("MPP")
    (um, _), unusable = read_lengths_um((stated, stated), (None, None))
    if unusable:
        unusable = f"a pixel size of {stated!r}, which is not a number"
    scale = validate_scale(um, um, parse_decimal(values.get("AppMag")), unusable=unusable)
    return TiffMetadata(
        name,
        scale,
        _default_channel_names(planes),
        properties={f"aperio.{key}": value for key, value in values.items()},
    )


def _read_plain(name: str, tiff: TiffFile, series: TiffPageSeries, planes: LevelPages) -> TiffMetadata:
    """Read the resolution tags."""
    page = planes.pages[0]
    unit = _UNIT_UM.get(int(page.tags.valueof(_UNIT_TAG, 1)))
    scale = validate_scale(*_upright_sizes(page), origin="resolution tag")
    if unit is None and scale.pixel_size is None and _read_resolution(page, _X_TAG):
        warning = f"the resolution tags have no unit, so lengths are in pixels. {ADVICE}"
        scale = ScaleInfo(None, None, (warning,))
    return TiffMetadata(
        name,
        scale,
        _default_channel_names(planes),
        properties={
            f"tiff.{tag.name}": str(tag.value)
            for tag in page.tags.values()
            if tag.count <= 4 and tag.name != _DESCRIPTION
        },
    )


def _read_perkin_elmer(name: str, tiff: TiffFile, series: TiffPageSeries, planes: LevelPages) -> TiffMetadata:
    """Read the resolution tags, and the description of each channel."""
    roots = [parse_xml(page.description) for page in planes.pages]
    texts = [{element.tag: (element.text or "").strip() for element in root or ()} for root in roots]
    magnification = parse_decimal(texts[0].get("Objective", "").lower().removesuffix("x"))
    scale = validate_scale(*_upright_sizes(planes.pages[0]), magnification, "resolution tag")
    names = [text.get("Name") or f"channel {index}" for index, text in enumerate(texts, start=1)]
    colors = [color for text in texts if (color := _parse_comma_color(text.get("Color", "")))]
    return TiffMetadata(
        name,
        scale,
        tuple(names) if len(names) > 1 else _default_channel_names(planes),
        tuple(colors) if len(colors) == len(names) else (),
        {f"perkinelmer.{key}": value for key, value in texts[0].items()},
    )


def _read_ome(name: str, tiff: TiffFile, series: TiffPageSeries, planes: LevelPages) -> TiffMetadata:
    """Read the OME-XML of the image of a series."""
    root = parse_xml(tiff.ome_metadata or "")
    image = None if root is None else find_ome_image(tiff, series, root)
    if root is None or image is None:
        return _read_plain(name, tiff, series, planes)
    pixels = next((child for child in image if tag_name(child) == "Pixels"), image)
    (y_um, x_um), unusable = read_lengths_um(
        [pixels.get(f"PhysicalSize{axis}") for axis in "YX"], [pixels.get(f"PhysicalSize{axis}Unit") for axis in "YX"]
    )
    magnification, source, page = _ome_magnification(root, image), "OME metadata", planes.pages[0]
    if y_um is None and x_um is None and not unusable:
        y_um, x_um, source = resolution_um(page, _Y_TAG), resolution_um(page, _X_TAG), "resolution tag"
    scale = validate_scale(y_um, x_um, magnification, source, unusable=unusable)
    channels = [child for child in pixels if tag_name(child) == "Channel"]
    numbered = _default_channel_names(planes)
    if len(channels) != len(numbered):
        return TiffMetadata(name, scale, numbered, properties=dict(pixels.attrib))
    names = [channel.get("Name") or default for channel, default in zip(channels, numbered, strict=True)]
    colors = tuple(color for channel in channels if (color := _parse_rgba_color(channel.get("Color"))))
    if not colors and tuple(name.strip().lower() for name in names) in (RGB_CHANNELS, ("r", "g", "b")):
        colors = PRIMARIES
    return TiffMetadata(name, scale, tuple(names), colors if len(colors) == len(names) else (), dict(pixels.attrib))


def _orientation(page: TiffPage) -> int:
    return int(page.tags.valueof(_ORIENTATION_TAG, _UPRIGHT))


def _upright_sizes(page: TiffPage) -> tuple[float | None, float | None]:
    """Return height and width of a pixel of the upright image, by the resolution tags; None if unknown."""
    height, width = resolution_um(page, _Y_TAG), resolution_um(page, _X_TAG)
    return (width, height) if _orientation(page) in TRANSPOSED else (height, width)


def resolution_um(page: TiffPage, tag: int) -> float | None:
    """Return the micrometers per pixel by a resolution tag; None without a resolution or a unit."""
    unit, resolution = _UNIT_UM.get(int(page.tags.valueof(_UNIT_TAG, 1))), _read_resolution(page, tag)
    if unit is None or resolution is None:
        return None
    numerator, denominator = resolution
    return unit * denominator / numerator


def _read_resolution(page: TiffPage, tag: int) -> tuple[float, int] | None:
    """Read the pixels per unit in a resolution tag, as numerator and denominator.

    None if there is no tag, or if its value is invalid or the placeholder of one pixel per unit.
    """
    value = page.tags.valueof(tag)
    if isinstance(value, tuple) and len(value) == 1:  # some programs write a floating-point number
        value = (*value, 1)
    if not isinstance(value, tuple) or len(value) != 2 or 0 in value or value[0] == value[1]:
        return None
    return value


def _ome_magnification(root: Element, image: Element) -> float | None:
    """Return the nominal magnification of the objective of an image, or of the only objective; None if unknown."""
    objectives = [element for element in root.iter() if tag_name(element) == "Objective"]
    used = next((child.get("ID") for child in image if tag_name(child) == "ObjectiveSettings"), None)
    if used is not None:
        objectives = [objective for objective in objectives if objective.get("ID") == used]
    stated = {parse_decimal(objective.get("NominalMagnification")) for objective in objectives}
    return (stated.pop() or None) if len(stated) == 1 else None


def _parse_comma_color(text: str) -> ColorRGB | None:
    """Parse a color such as ``0,255,0``."""
    parts = [int(part) for part in re.findall(r"\d+", text)]
    return (parts[0], parts[1], parts[2]) if len(parts) >= 3 and max(parts) <= 255 else None


def _parse_rgba_color(text: str | None) -> ColorRGB | None:
    """Parse a color of OME: red, green, blue and alpha in one signed number."""
    value = parse_decimal(text)
    if value is None:
        return None
    rgba = int(value) & 0xFFFFFFFF
    return rgba >> 24, rgba >> 16 & 255, rgba >> 8 & 255


def _default_channel_names(planes: LevelPages) -> tuple[str, ...]:
    number = len(planes.pages) if len(planes.pages) > 1 else planes.pages[0].samplesperpixel
    return tuple(f"channel {index}" for index in range(1, number + 1)) if number > 1 else ("gray",)


def read_pixel_format(page: TiffPage, values: ValueRange | None = None) -> PixelFormat:
    """Determine the format of the samples of a page.

    ``values``: the range of colors; that of all bits by default.

    RGB, YCbCr and palettes are brightfield, which is converted to 8-bit RGB. Other samples are channels of
    fluorescence, which keep their 8 or 16 bits, or become float32. Raises UnreadableImage for other types.
    """
    photometric, samples = int(page.photometric), page.samplesperpixel
    if photometric == _PALETTE and samples == 1:
        return _palette_format(page)
    compressed_ycbcr = photometric == _YCBCR and int(page.compression) in _UNPACKED_BY_CODEC
    if (photometric == _PHOTO_RGB or compressed_ycbcr) and samples in (_RGB, _RGBA) and page.dtype in ("u1", "u2"):
        most, alpha = 2**page.bitspersample - 1, _alpha(page)
        known = values or ValueRange(most, most if alpha else None)
        return PixelFormat("brightfield", np.dtype(np.uint8), lambda tile: _to_rgb8(tile, known, alpha), most)
    if photometric in (_MINISWHITE, _MINISBLACK, _PHOTO_RGB) and page.dtype in ("u1", "u2"):
        inverted = photometric == _MINISWHITE
        if not inverted:
            return PixelFormat("fluorescence", np.dtype(page.dtype), np.asarray)
        return PixelFormat("fluorescence", np.dtype(page.dtype), np.invert, np.iinfo(page.dtype).max)
    if photometric == _MINISBLACK and np.dtype(page.dtype).kind == "f":
        return PixelFormat("fluorescence", np.dtype(np.float32), to_finite_float32)
    samples_name, color_space = (
        describe_dtype(np.dtype(page.dtype)),
        getattr(page.photometric, "name", page.photometric),
    )
    raise UnreadableImage(
        f"has {samples_name} ({samples} per pixel, color space {color_space}), but slides must be 8- "
        "or 16-bit RGB, or channels of 8- or 16-bit unsigned integers or floating-point samples. Convert it to an "
        "OME-TIFF of one of those types."
    )


def _alpha(page: TiffPage) -> Alpha:
    """Return what the fourth sample of a page with RGB is; empty if it is no transparency, such as near infrared."""
    extra = int(page.extrasamples[0]) if page.samplesperpixel == _RGBA and page.extrasamples else 0
    return _ALPHA.get(extra, "")


def _to_rgb8(tile: NDArray, values: ValueRange, alpha: Alpha) -> NDArray[np.uint8]:
    """Convert RGB samples to 8 bits, with transparency over white; a fourth sample without a meaning is left out."""
    if not alpha:
        return to_eight_bit(tile[..., :_RGB], values)
    rgba = to_eight_bit(tile, values)
    return compose_over_white(rgba) if alpha == "associated" else blend_over_white(rgba)


def _palette_format(page: TiffPage) -> PixelFormat:
    """Return the format of a page whose samples are indices of a color table."""
    table = palette_colors(page)
    brightest = int(table.sum(axis=1).argmax())
    return PixelFormat("brightfield", np.dtype(np.uint8), lambda tile: table[tile[..., 0]], brightest)

"""What a TIFF file states about its slide: scale, magnification, channels, colors and series."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.color import describe_dtype, to_eight_bit
from napari_melanoma.slides.reading.slide import ADVICE, UNIT_UM, ScaleInfo, blend_over_white, validate_scale

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from numpy.typing import NDArray
    from tifffile import TiffFile, TiffPage, TiffPageSeries

ColorRGB = tuple[int, int, int]
_UNIT_UM = {2: 25400.0, 3: 10000.0}  # inch and centimetre, as the tag ResolutionUnit counts
_FORMATS = {
    "svs": "Aperio SVS",
    "qpi": "PerkinElmer QPTIFF",
    "ome": "OME-TIFF",
    "indica": "Indica Labs TIFF",
    "avs": "Argos TIFF",
}
_X_TAG, _Y_TAG, _UNIT_TAG, _DESCRIPTION = 282, 283, 296, "ImageDescription"


@dataclass(frozen=True)
class TiffMetadata:
    """What a file says, judged where it can be wrong."""

    format: str
    scale: ScaleInfo
    channels: tuple[str, ...]
    colors: tuple[ColorRGB, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)


def read_tiff_metadata(tiff: TiffFile, series: TiffPageSeries, planes: LevelPages) -> TiffMetadata:
    """Read what a file says of its main image.

    In the dialect of the file; by the tags of the page where it has none.
    """
    flag = next((flag for flag in _FORMATS if flag in tiff.flags), "")
    reader = {"svs": _read_aperio, "ome": _read_ome, "qpi": _read_perkin_elmer}.get(flag, _read_plain)
    return reader(_FORMATS.get(flag, "TIFF"), tiff, series, planes)


def _read_aperio(name: str, tiff: TiffFile, series: TiffPageSeries, planes: LevelPages) -> TiffMetadata:
    """Read the description that Aperio and its imitators write: ``key = value`` between bars."""
    page = planes.pages[0]
    pairs = (part.split("=", 1) for part in page.description.split("|")[1:] if "=" in part)
    said = {key.strip(): value.strip() for key, value in pairs}
    um = _parse_number(said.get("MPP"))
    scale = validate_scale(um, um, _parse_number(said.get("AppMag")))
    return TiffMetadata(
        name, scale, _default_channel_names(planes), properties={f"aperio.{key}": value for key, value in said.items()}
    )


def _read_plain(name: str, tiff: TiffFile, series: TiffPageSeries, planes: LevelPages) -> TiffMetadata:
    """Read the resolution tags."""
    page = planes.pages[0]
    unit = _UNIT_UM.get(int(page.tags.valueof(_UNIT_TAG, 1)))
    scale = validate_scale(resolution_um(page, _Y_TAG), resolution_um(page, _X_TAG), origin="resolution tag")
    if unit is None and scale.pixel_size is None and _X_TAG in page.tags and _has_resolution(page):
        words = f"the resolution tags have no unit, so lengths stay in pixels. {ADVICE}"
        scale = ScaleInfo(None, None, (words,))
    return TiffMetadata(name, scale, _default_channel_names(planes), properties=_tags(page))


def _read_perkin_elmer(name: str, tiff: TiffFile, series: TiffPageSeries, planes: LevelPages) -> TiffMetadata:
    """Read the resolution tags, and the description of each channel."""
    found = [_parse_xml(page.description) for page in planes.pages]
    texts = [{element.tag: (element.text or "").strip() for element in root or ()} for root in found]
    magnification = _parse_number(texts[0].get("Objective", "").lower().removesuffix("x"))
    page = planes.pages[0]
    scale = validate_scale(resolution_um(page, _Y_TAG), resolution_um(page, _X_TAG), magnification, "resolution tag")
    names = [text.get("Name") or f"channel {index}" for index, text in enumerate(texts, start=1)]
    colours = [colour for text in texts if (colour := _parse_comma_color(text.get("Color", "")))]
    return TiffMetadata(
        name,
        scale,
        tuple(names) if len(names) > 1 else _default_channel_names(planes),
        tuple(colours) if len(colours) == len(names) else (),
        {f"perkinelmer.{key}": value for key, value in texts[0].items()},
    )


def _read_ome(name: str, tiff: TiffFile, series: TiffPageSeries, planes: LevelPages) -> TiffMetadata:
    """Read the OME-XML of the image that the series is."""
    root = _parse_xml(tiff.ome_metadata or "")
    images = [] if root is None else [child for child in root if _tag(child) == "Image"]
    index = next((i for i, one in enumerate(tiff.series) if one is series or series in one.levels), 0)
    if not images:
        return _read_plain(name, tiff, series, planes)
    image = images[min(index, len(images) - 1)]
    pixels = next((child for child in image if _tag(child) == "Pixels"), image)
    scale = validate_scale(
        _physical_size_um(pixels, "Y"), _physical_size_um(pixels, "X"), _ome_magnification(root), "OME metadata"
    )
    channels = [child for child in pixels if _tag(child) == "Channel"]
    numbered = _default_channel_names(planes)
    if len(channels) != len(numbered):
        return TiffMetadata(name, scale, numbered, properties=dict(pixels.attrib))
    names = [channel.get("Name") or default for channel, default in zip(channels, numbered, strict=True)]
    colours = tuple(colour for channel in channels if (colour := _parse_rgba_color(channel.get("Color"))))
    return TiffMetadata(name, scale, tuple(names), colours if len(colours) == len(names) else (), dict(pixels.attrib))


def resolution_um(page: TiffPage, tag: int) -> float | None:
    """Micrometers per pixel by a resolution tag.

    None where there is no tag, no unit, or a placeholder of one dot.
    """
    unit = _UNIT_UM.get(int(page.tags.valueof(_UNIT_TAG, 1)))
    numerator, denominator = page.tags.valueof(tag, (0, 0))
    if unit is None or not numerator or not denominator or numerator == denominator:
        return None
    return unit * denominator / numerator


def _has_resolution(page: TiffPage) -> bool:
    """Whether the resolution is more than the placeholder that programs write."""
    numerator, denominator = page.tags.valueof(_X_TAG, (0, 0))
    return bool(numerator and denominator and numerator != denominator)


def _physical_size_um(pixels: Element, axis: str) -> float | None:
    """Physical size of a pixel of OME, in micrometers."""
    unit = UNIT_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    size = _parse_number(pixels.get(f"PhysicalSize{axis}"))
    return None if unit is None or size is None else size * unit


def _ome_magnification(root: Element | None) -> float | None:
    """Nominal magnification of the first objective that states one."""
    found = () if root is None else root.iter()
    stated = (_parse_number(child.get("NominalMagnification")) for child in found if _tag(child) == "Objective")
    return next((value for value in stated if value), None)


def _parse_xml(text: str) -> Element | None:
    """Root of an XML text; None where it is none."""
    from xml.etree.ElementTree import ParseError, fromstring

    try:
        return fromstring(re.sub(r"^<\?xml[^>]*>\s*", "", text.strip()))  # its encoding is not that of the text
    except ParseError:
        return None


def _tag(element: Element) -> str:
    """Name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def _parse_number(text: str | None) -> float | None:
    """A number in a text, or None."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _parse_comma_color(text: str) -> ColorRGB | None:
    """A color written as ``0,255,0``."""
    parts = [int(part) for part in re.findall(r"\d+", text)]
    return (parts[0], parts[1], parts[2]) if len(parts) >= 3 and max(parts) <= 255 else None


def _parse_rgba_color(text: str | None) -> ColorRGB | None:
    """A color written as OME does: red, green, blue and alpha in one signed number."""
    value = _parse_number(text)
    if value is None:
        return None
    rgba = int(value) & 0xFFFFFFFF
    return rgba >> 24, rgba >> 16 & 255, rgba >> 8 & 255


def _default_channel_names(planes: LevelPages) -> tuple[str, ...]:
    """Names for channels that have none."""
    number = len(planes.pages) if len(planes.pages) > 1 else planes.pages[0].samplesperpixel
    return tuple(f"channel {index}" for index in range(1, number + 1)) if number > 1 else ("grey",)


def _tags(page: TiffPage) -> dict[str, str]:
    """Tags of a page whose values are short."""
    return {
        f"tiff.{tag.name}": str(tag.value) for tag in page.tags.values() if tag.count <= 4 and tag.name != _DESCRIPTION
    }


_SAME_SHAPE = 0.02  # levels are cut to whole pixels
_PLANE_AXES = {"Y", "X", "S"}
_AXIS_WORDS = {"Z": "focal planes", "T": "points in time"}


@dataclass(frozen=True)
class LevelPages:
    """The pages of one level, one for each channel where they are apart, and what was left out of a stack."""

    pages: tuple[TiffPage, ...]
    omitted: tuple[str, ...] = ()


def split_series(tiff: TiffFile) -> tuple[list[TiffPageSeries], dict[str, TiffPageSeries]]:
    """Tell the slide's levels from the pictures beside it.

    Of the image with the most pixels, from fine to coarse. Label, macro and the like by name, in lower case.
    """
    found = [series for series in tiff.series if {"Y", "X"} <= set(series.axes) and min(_size(series)) > 0]
    if not found:
        raise UnreadableImage(
            "cannot be opened as a slide: it holds no image with rows and columns, so it is truncated or damaged. "
            "Copy it again from its source."
        )
    main = max(found, key=lambda series: _size(series)[0] * _size(series)[1])
    levels, others = list(main.levels), [series for series in found if series is not main]
    if len(levels) == 1:
        levels += [series for series in others if _is_smaller_copy(series, main)]
        others = [series for series in others if series not in levels]
    levels.sort(key=_size, reverse=True)
    names = [series.name.lower() or f"image {index}" for index, series in enumerate(others, start=1)]
    return levels, dict(zip(names, others, strict=True))


def select_level_pages(level: TiffPageSeries) -> LevelPages:
    """Pick the pages of a level: all channels, and the first plane of what else is stacked.

    Returns the pages; with a warning where focal planes or points in time were left out.
    """
    stacked = [(axis, length) for axis, length in zip(level.axes, level.shape, strict=True) if axis not in _PLANE_AXES]
    if len(level.pages) == 1:
        return LevelPages((level.keyframe,))
    numbers = np.arange(len(level.pages)).reshape([length for _, length in stacked])
    left_out = []
    for axis, length in reversed(stacked):
        if axis == "C":
            continue
        position = [name for name, _ in stacked].index(axis)
        if length > 1:
            left_out.append(f"of {length} {_AXIS_WORDS.get(axis, f'planes ({axis})')}, the first is shown.")
        numbers = numbers.take([0], axis=position)
    pages = tuple(cast("TiffPage", level.pages[int(number)]).aspage() for number in numbers.ravel())
    return LevelPages(pages, tuple(left_out))


def _size(series: TiffPageSeries) -> tuple[int, int]:
    """Height and width of a series."""
    lengths = dict(zip(series.axes, series.shape, strict=True))
    return lengths["Y"], lengths["X"]


def _is_smaller_copy(series: TiffPageSeries, main: TiffPageSeries) -> bool:
    """Whether a series that nothing marks as a level is one all the same: of the same shape, samples and layout."""
    (height, width), (full_height, full_width) = _size(series), _size(main)
    same_kind = series.axes == main.axes and series.dtype == main.dtype
    same_layout = series.keyframe.is_tiled and main.keyframe.is_tiled
    ratio = (full_height / height) / (full_width / width)
    return same_kind and same_layout and height < full_height and abs(ratio - 1) < _SAME_SHAPE


_RGB, _RGBA = 3, 4
_UNPACKED_BY_CODEC = (
    6,
    7,
    33007,
    34892,
    33003,
    33004,
    33005,
    34712,
)  # kinds of JPEG and JPEG 2000, which give RGB for YCbCr
_MINISWHITE, _MINISBLACK, _PHOTO_RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6


@dataclass(frozen=True)
class PixelFormat:
    """What pixels of a level are, and how they come out of the samples that a codec gives."""

    kind: Literal["brightfield", "fluorescence"]
    dtype: np.dtype
    convert: Callable[[NDArray], NDArray]


def read_pixel_format(page: TiffPage) -> PixelFormat:
    """Tell what the samples of a page are.

    Brightfield for RGB, YCbCr and palettes, which become 8-bit RGB; channels keep their 8 or 16 bits.
    """
    photometric, samples = int(page.photometric), page.samplesperpixel
    if photometric == _PALETTE and samples == 1:
        return _palette_format(page)
    packed_ycbcr = photometric == _YCBCR and int(page.compression) in _UNPACKED_BY_CODEC
    if (photometric == _PHOTO_RGB or packed_ycbcr) and samples in (_RGB, _RGBA) and page.dtype in ("u1", "u2"):
        return PixelFormat("brightfield", np.dtype(np.uint8), lambda tile: _to_rgb8(tile, page.bitspersample))
    if photometric in (_MINISWHITE, _MINISBLACK, _PHOTO_RGB) and page.dtype in ("u1", "u2"):
        inverted = photometric == _MINISWHITE
        return PixelFormat("fluorescence", np.dtype(page.dtype), np.invert if inverted else _identity)
    words = describe_dtype(np.dtype(page.dtype))
    raise UnreadableImage(
        f"has {words} ({samples} a pixel, color space {_tag_value_name(page.photometric)}), but a slide is 8- or 16-bit RGB, "
        "or has channels of 8- or 16-bit integers. Convert it to an OME-TIFF of one of those."
    )


def _to_rgb8(tile: NDArray, bits: int) -> NDArray[np.uint8]:
    """8-bit RGB of RGB or RGBA samples; what is transparent is laid over white."""
    return blend_over_white(to_eight_bit(tile, bits))


def _palette_format(page: TiffPage) -> PixelFormat:
    """Colours looked up in the page's palette."""
    table = to_eight_bit(np.asarray(page.colormap)).T
    return PixelFormat("brightfield", np.dtype(np.uint8), lambda tile: table[tile[..., 0]])


def _identity(tile: NDArray) -> NDArray:
    """Leave samples as they are."""
    return tile


def _tag_value_name(value: object) -> str:
    """Name of a value of a tag; its number where it has none."""
    return str(getattr(value, "name", value))

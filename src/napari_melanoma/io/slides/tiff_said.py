"""What a TIFF file says of its slide, in each dialect: scale, magnification, channels and their colours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_melanoma.io.slides.scale import ADVICE, UNIT_UM, Scale, judged

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from tifffile import TiffFile, TiffPage, TiffPageSeries

    from napari_melanoma.io.slides.tiff_series import Planes

Colour = tuple[int, int, int]

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
class Said:
    """What a file says, judged where it can be wrong."""

    format: str
    scale: Scale
    channels: tuple[str, ...]
    colours: tuple[Colour, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)


def said_by(tiff: TiffFile, series: TiffPageSeries, planes: Planes) -> Said:
    """Read what a file says of its main image.

    In the dialect of the file; by the tags of the page where it has none.
    """
    flag = next((flag for flag in _FORMATS if flag in tiff.flags), "")
    reader = {"svs": _aperio, "ome": _ome, "qpi": _perkin_elmer}.get(flag, _plain)
    return reader(_FORMATS.get(flag, "TIFF"), tiff, series, planes)


def _aperio(name: str, tiff: TiffFile, series: TiffPageSeries, planes: Planes) -> Said:
    """Read the description that Aperio and its imitators write: ``key = value`` between bars."""
    page = planes.pages[0]
    pairs = (part.split("=", 1) for part in page.description.split("|")[1:] if "=" in part)
    said = {key.strip(): value.strip() for key, value in pairs}
    um = _number(said.get("MPP"))
    scale = judged(um, um, _number(said.get("AppMag")))
    return Said(name, scale, _numbered(planes), properties={f"aperio.{key}": value for key, value in said.items()})


def _plain(name: str, tiff: TiffFile, series: TiffPageSeries, planes: Planes) -> Said:
    """Read the resolution tags."""
    page = planes.pages[0]
    unit = _UNIT_UM.get(int(page.tags.valueof(_UNIT_TAG, 1)))
    scale = judged(resolution_um(page, _Y_TAG), resolution_um(page, _X_TAG), origin="resolution tag")
    if unit is None and scale.pixel_size is None and _X_TAG in page.tags and _stated(page):
        words = f"the resolution tags have no unit, so lengths stay in pixels. {ADVICE}"
        scale = Scale(None, None, (words,))
    return Said(name, scale, _numbered(planes), properties=_tags(page))


def _perkin_elmer(name: str, tiff: TiffFile, series: TiffPageSeries, planes: Planes) -> Said:
    """Read the resolution tags, and the description of each channel."""
    found = [_xml(page.description) for page in planes.pages]
    texts = [{element.tag: (element.text or "").strip() for element in root or ()} for root in found]
    magnification = _number(texts[0].get("Objective", "").lower().removesuffix("x"))
    page = planes.pages[0]
    scale = judged(resolution_um(page, _Y_TAG), resolution_um(page, _X_TAG), magnification, "resolution tag")
    names = [text.get("Name") or f"channel {index}" for index, text in enumerate(texts, start=1)]
    colours = [colour for text in texts if (colour := _comma_colour(text.get("Color", "")))]
    return Said(
        name,
        scale,
        tuple(names) if len(names) > 1 else _numbered(planes),
        tuple(colours) if len(colours) == len(names) else (),
        {f"perkinelmer.{key}": value for key, value in texts[0].items()},
    )


def _ome(name: str, tiff: TiffFile, series: TiffPageSeries, planes: Planes) -> Said:
    """Read the OME-XML of the image that the series is."""
    root = _xml(tiff.ome_metadata or "")
    images = [] if root is None else [child for child in root if _tag(child) == "Image"]
    index = next((i for i, one in enumerate(tiff.series) if one is series or series in one.levels), 0)
    if not images:
        return _plain(name, tiff, series, planes)
    image = images[min(index, len(images) - 1)]
    pixels = next((child for child in image if _tag(child) == "Pixels"), image)
    scale = judged(_physical(pixels, "Y"), _physical(pixels, "X"), _ome_magnification(root), "OME metadata")
    channels = [child for child in pixels if _tag(child) == "Channel"]
    numbered = _numbered(planes)
    if len(channels) != len(numbered):
        return Said(name, scale, numbered, properties=dict(pixels.attrib))
    names = [channel.get("Name") or default for channel, default in zip(channels, numbered, strict=True)]
    colours = tuple(colour for channel in channels if (colour := _rgba_colour(channel.get("Color"))))
    return Said(name, scale, tuple(names), colours if len(colours) == len(names) else (), dict(pixels.attrib))


def resolution_um(page: TiffPage, tag: int) -> float | None:
    """Micrometres per pixel by a resolution tag.

    None where there is no tag, no unit, or a placeholder of one dot.
    """
    unit = _UNIT_UM.get(int(page.tags.valueof(_UNIT_TAG, 1)))
    numerator, denominator = page.tags.valueof(tag, (0, 0))
    if unit is None or not numerator or not denominator or numerator == denominator:
        return None
    return unit * denominator / numerator


def _stated(page: TiffPage) -> bool:
    """Whether the resolution is more than the placeholder that programs write."""
    numerator, denominator = page.tags.valueof(_X_TAG, (0, 0))
    return bool(numerator and denominator and numerator != denominator)


def _physical(pixels: Element, axis: str) -> float | None:
    """Physical size of a pixel of OME, in micrometres."""
    unit = UNIT_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    size = _number(pixels.get(f"PhysicalSize{axis}"))
    return None if unit is None or size is None else size * unit


def _ome_magnification(root: Element | None) -> float | None:
    """Nominal magnification of the first objective that states one."""
    found = () if root is None else root.iter()
    stated = (_number(child.get("NominalMagnification")) for child in found if _tag(child) == "Objective")
    return next((value for value in stated if value), None)


def _xml(text: str) -> Element | None:
    """Root of an XML text; None where it is none."""
    from xml.etree.ElementTree import ParseError, fromstring

    try:
        return fromstring(re.sub(r"^<\?xml[^>]*>\s*", "", text.strip()))  # its encoding is not that of the text
    except ParseError:
        return None


def _tag(element: Element) -> str:
    """Name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def _number(text: str | None) -> float | None:
    """A number in a text, or None."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _comma_colour(text: str) -> Colour | None:
    """A colour written as ``0,255,0``."""
    parts = [int(part) for part in re.findall(r"\d+", text)]
    return (parts[0], parts[1], parts[2]) if len(parts) >= 3 and max(parts) <= 255 else None


def _rgba_colour(text: str | None) -> Colour | None:
    """A colour written as OME does: red, green, blue and alpha in one signed number."""
    value = _number(text)
    if value is None:
        return None
    rgba = int(value) & 0xFFFFFFFF
    return rgba >> 24, rgba >> 16 & 255, rgba >> 8 & 255


def _numbered(planes: Planes) -> tuple[str, ...]:
    """Names for channels that have none."""
    number = len(planes.pages) if len(planes.pages) > 1 else planes.pages[0].samplesperpixel
    return tuple(f"channel {index}" for index in range(1, number + 1)) if number > 1 else ("grey",)


def _tags(page: TiffPage) -> dict[str, str]:
    """Tags of a page whose values are short."""
    return {
        f"tiff.{tag.name}": str(tag.value) for tag in page.tags.values() if tag.count <= 4 and tag.name != _DESCRIPTION
    }

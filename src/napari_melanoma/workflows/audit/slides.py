"""What TIFF files say besides their pixels: tags, descriptions of slide scanners, OME-XML, labels and overviews."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from napari_melanoma.io.tiff_chain import refuse_endless
from napari_melanoma.workflows.audit.documents import text_entries, xml_entries
from napari_melanoma.workflows.audit.finding import Entry
from napari_melanoma.workflows.audit.pictures import iptc_entries, xmp_entries

if TYPE_CHECKING:
    from tifffile import TiffPage

_XMP, _IPTC, _PHOTOSHOP, _EXIF, _GPS = 700, 33723, 34377, 34665, 34853
_TEXTS = {306: "DateTime", 315: "Artist", 316: "HostComputer", 33432: "Copyright", 269: "DocumentName", 285: "PageName"}
_FREE = (269, 285, 33432)
_PRIVATE = 65000  # tags from here on are anybody's own, TIFF 6.0; what scanners say of the pixels there is no text
_NDPI_SERIAL, _NDPI_LENS = 65442, 65421
_OTHER_PICTURE = re.compile(r"\b(label|macro|overview|thumbnail)\b", re.I)
_MOST_PAGES = 64  # of a slide, all but the first are its levels and other pictures; a stack repeats itself


def tiff_entries(file: IO[bytes]) -> Iterator[Entry]:
    """Read what a TIFF file says besides its pixels.

    Tags, the fields of descriptions, and pictures that are no level of the slide.
    """
    from tifffile import TiffFile, TiffPage

    refuse_endless(file)
    with TiffFile(file, name="") as tiff:
        if not tiff.pages:
            raise ValueError("no page in it")
        before = None
        for number, page in enumerate(tiff.pages[:_MOST_PAGES]):
            whole = page if isinstance(page, TiffPage) else page.aspage()
            other = _other_picture(whole, number)
            yield from _tags(whole)
            yield from _exif(whole)
            if other:
                size = f"{whole.imagewidth} x {whole.imagelength} pixels"
                yield Entry("slide", f"page {number + 1}: {other}", "picture", size, "picture")
            if whole.description != before:
                yield from _description(whole.description, known=bool(other))
                before = whole.description


def _other_picture(page: TiffPage, number: int) -> str:
    """Say what a page shows that is no level of the slide: the label, the whole glass; empty for others."""
    lens = page.tags.get(_NDPI_LENS)
    if lens is not None and lens.value == -1:
        return "macro"
    named = _OTHER_PICTURE.search(page.description[:2000])
    return named.group(1).lower() if named and number and not page.is_ome else ""


def _tags(page: TiffPage) -> Iterator[Entry]:
    """What the tags of one page say."""
    tags = page.tags
    for code, name in _TEXTS.items():
        if (tag := tags.get(code)) is not None:
            yield Entry("slide", f"TIFF {name}", name, str(tag.value), free=code in _FREE)
    for code, read in ((_XMP, xmp_entries), (_IPTC, iptc_entries), (_PHOTOSHOP, iptc_entries)):
        if (tag := tags.get(code)) is not None and isinstance(tag.value, bytes | bytearray):
            yield from read(bytes(tag.value), "slide")
    for tag in tags:
        if tag.code >= _PRIVATE and tag.code != _NDPI_SERIAL and isinstance(tag.value, str):
            yield Entry("slide", f"TIFF tag {tag.code}", "tag", tag.value)
    if (tag := tags.get(_NDPI_SERIAL)) is not None:
        yield Entry("slide", "NDPI serial number", "serial", str(tag.value))


def _description(text: str, *, known: bool) -> Iterator[Entry]:
    """Fields of a description: XML, or ``key = value`` between bars as Aperio's scanners write."""
    if text.lstrip().startswith("<"):
        yield from xml_entries(text, "slide", "description ")
    elif "|" in text and "=" in text:
        head, *fields = text.split("|")
        yield from text_entries(head, "slide", "description ")
        for field in fields:
            key, _, value = field.partition("=")
            name = {"User": "user name", "Filename": "path", "Title": "title"}.get(key.strip(), key)
            yield Entry("slide", f"description {key.strip()}", name, value, free=name == "title")
    elif text and not text.startswith("{"):  # what tifffile writes of shapes is no text
        yield Entry("slide", "TIFF ImageDescription", "ImageDescription", text, free=not known)


def _exif(page: TiffPage) -> Iterator[Entry]:
    """Blocks of the camera and of coordinates, which tifffile reads as dicts."""
    if (tag := page.tags.get(_GPS)) is not None:
        yield Entry("slide", "EXIF GPSInfo", "gps", str(tag.value), "location")
    if (tag := page.tags.get(_EXIF)) is not None and isinstance(tag.value, dict):
        for name, value in tag.value.items():
            if isinstance(value, str):
                yield Entry("slide", f"EXIF {name}", name, value, free=name == "UserComment")

"""Decoding of TIFF photographs with tifffile, and the check of their chain of pages."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import numpy as np

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.color import apply_orientation, detect_bit_depth, to_eight_bit, to_srgb8
from napari_melanoma.io.damage import tiff_pages
from napari_melanoma.io.formats import ALWAYS_READ, DAMAGE_ERRORS, DecodedPhotograph, check_image_size, check_plausible

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from tifffile import TiffFile, TiffPage

_OTHER_KINDS = {
    "svs": "an Aperio slide",
    "ndpi": "a Hamamatsu slide",
    "scn": "a Leica slide",
    "philips": "a Philips slide",
    "bif": "a Ventana slide",
    "qpi": "a PerkinElmer slide",
    "avs": "an Argos slide",
    "indica": "an Indica Labs slide",
    "ome": "an OME-TIFF",
    "lsm": "a Zeiss microscope stack",
    "stk": "a MetaMorph microscope stack",
    "dng": "a raw camera file",
}
_PARTS_SHARE = 8  # at least one part in this number must be listed
_THUMBNAIL_SHARE = 0.5  # of both sides of the first page; a larger page is a separate picture
_ICC_TAG, _ORIENTATION_TAG = 34675, 274
_MOST_TAGS = (341, 281)  # SMaxSampleValue, MaxSampleValue: the maximum value of a pixel
_MODES = {"MINISWHITE": "L", "MINISBLACK": "L", "RGB": "RGB", "SEPARATED": "CMYK", "YCBCR": "RGB"}
_ALPHA = {"ASSOCALPHA": "a", "UNASSALPHA": "A"}
_DECODED_TO_RGB = ("JPEG", "OJPEG", "ALT_JPEG")  # by the codec, for the photometric interpretation YCbCr
_MAX_PAGES = 10_000
_BIG = 43
_ENTRY, _BIG_ENTRY = 12, 20  # bytes of a tag in a directory
TRUNCATED = "the file is truncated: pages in its directory are missing. Copy it again from its source."


def decode(file: IO[bytes]) -> DecodedPhotograph:
    """Decode the photograph in a TIFF file.

    The resolution tags are those of a print, not of the skin, and are ignored. Returns upright sRGB without pixel size
    and modality.
    """
    from tifffile import TiffFile

    check_page_chain(file)
    with TiffFile(file) as tiff:
        fault = why_not_a_photograph(tiff)
        if fault:
            raise UnreadableImage(fault)
        page = cast("TiffPage", tiff.pages[0])
        check_image_size(page.imagewidth, page.imagelength)
        check_plausible(page.imagewidth, page.imagelength, tiff_pages.stored_bytes(page), tiff_pages.packing(page))
        _check_parts(page)
        profile = page.tags.valueof(_ICC_TAG)
        orientation = page.tags.valueof(_ORIENTATION_TAG, 1)
        image, damage, notes = _decode_image(page)
        return DecodedPhotograph(apply_orientation(to_srgb8(image, profile), orientation), damage=damage, notes=notes)


def why_not_a_photograph(tiff: TiffFile) -> str | None:
    """Describe why a TIFF file is not a plain photograph; None if it is.

    A plain photograph is one picture, possibly with thumbnail pages (less than half the size on both sides, or marked
    as reduced); OME-TIFF, formats of slide scanners and microscopes, tiled pyramids and several pictures are not.

    Returns the end of a message.
    """
    first = cast("TiffPage", tiff.pages[0])
    advice = "Open it with a reader for stacks or slides, or export one picture as PNG."
    other_kind = next((words for flag, words in _OTHER_KINDS.items() if flag in tiff.flags), None)
    if other_kind is None and first.is_tiled and any(page.is_reduced for page in _other_pages(tiff)):
        other_kind = "a whole slide (a tiled pyramid)"
    if other_kind:
        return f"is {other_kind}, but a plain photograph was expected. {advice}"
    pictures = 1 + sum(not _is_thumbnail(page, first) for page in _other_pages(tiff))
    if pictures > 1 or tiff.series[0].axes not in ("YX", "YXS", "SYX"):
        shape = " x ".join(str(length) for length in tiff.series[0].shape)
        return f"is a stack (shape {shape}, {pictures} pages), but one picture was expected. {advice}"
    return None


def is_not_for_this_reader(file: IO[bytes]) -> bool:
    """Whether a TIFF file is a stack or a slide, for which there are other readers.

    False also where the file is damaged, as other readers cannot open it either.
    """
    from tifffile import TiffFile

    try:
        check_page_chain(file)
        with TiffFile(file) as tiff:
            return why_not_a_photograph(tiff) is not None
    except DAMAGE_ERRORS:
        return False


def stored_size(file: IO[bytes]) -> tuple[int, int]:
    """Return width and height of the first page in pixels, from its tags."""
    from tifffile import TiffFile

    with TiffFile(file) as tiff:
        page = cast("TiffPage", tiff.pages[0])
        return page.imagewidth, page.imagelength


def _check_parts(page: TiffPage) -> None:
    """Refuse a page that lists far fewer strips or tiles than its size requires, before memory is allocated."""
    listed, expected = len(page.dataoffsets), tiff_pages.count_segments(page)
    if listed * _PARTS_SHARE < expected and page.imagewidth * page.imagelength > ALWAYS_READ:
        raise UnreadableImage(
            f"claims {page.imagewidth} x {page.imagelength} pixels in {expected} parts, but lists {listed}: its header "
            "is damaged. Copy or export it again."
        )


def _other_pages(tiff: TiffFile) -> list[TiffPage]:
    """Pages after the first, and subpages of the first."""
    first = cast("TiffPage", tiff.pages[0])
    pages = [*list(tiff.pages)[1:], *(first.pages or [])]
    return [cast("TiffPage", page.aspage()) for page in pages]


def _is_thumbnail(page: TiffPage, first: TiffPage) -> bool:
    """Whether a page is a smaller copy or a mask of the first."""
    small = page.imagewidth <= _THUMBNAIL_SHARE * first.imagewidth
    return page.is_reduced or page.is_mask or (small and page.imagelength <= _THUMBNAIL_SHARE * first.imagelength)


def _decode_image(page: TiffPage) -> tuple[Image, str | None, tuple[str, ...]]:
    """Decode a page to an 8-bit Pillow image with alpha, a description of damage, and notes on assumptions."""
    from PIL import Image

    palette = _tag_value_name(page.photometric) == "PALETTE"
    mode = "" if palette else _pillow_mode(page)
    samples, damage = tiff_pages.decode(page)
    if palette:
        return Image.fromarray(_palette_colors(page)[samples[..., 0]]), damage, ()
    samples = samples[..., : len(mode)]
    bits, note = _bit_depth(page, samples)
    samples = np.ascontiguousarray(to_eight_bit(samples, bits))
    if _tag_value_name(page.photometric) == "MINISWHITE":
        samples[..., 0] = ~samples[..., 0]
    size = (page.imagewidth, page.imagelength)
    return Image.frombuffer(mode, size, samples, "raw", mode, 0, 1), damage, (note,) if note else ()


def _bit_depth(page: TiffPage, samples: NDArray) -> tuple[int | None, str | None]:
    """Bit depth of the values of a page, with a note if it is less than stated."""
    if page.bitspersample != 16 or samples.dtype != np.uint16:
        return page.bitspersample, None
    stated = next((page.tags.valueof(tag) for tag in _MOST_TAGS if page.tags.valueof(tag) is not None), None)
    most = int(np.max(stated)) if stated is not None else 0
    bits = most.bit_length()
    if 8 <= bits < 16 and most == 2**bits - 1 and int(samples[..., :3].max(initial=0)) <= most:
        return bits, f"the file states {most} as the maximum value: its channels were read as {bits}-bit values"
    found, note = detect_bit_depth(samples)
    return found or 16, note


def _pillow_mode(page: TiffPage) -> str:
    """Pillow mode for the samples of a page, one letter per channel."""
    photometric = _tag_value_name(page.photometric)
    mode = _MODES.get(photometric)
    encoded = photometric == "YCBCR" and _tag_value_name(page.compression) not in _DECODED_TO_RGB
    extra = [_tag_value_name(sample) for sample in page.extrasamples]
    if mode is None or encoded or (mode == "L" and extra and extra[0] not in _ALPHA):
        raise UnreadableImage(
            f"has {page.samplesperpixel} channels of color space {photometric}, but gray, RGB, CMYK or a palette was "
            "expected. Export it as RGB."
        )
    return mode + _ALPHA.get(extra[0], "") if extra and mode != "CMYK" else mode


def _tag_value_name(value: int) -> str:
    """Name of a tag value; its number if it has no name."""
    return value.name if isinstance(value, Enum) else str(value)


def _palette_colors(page: TiffPage) -> NDArray[np.uint8]:
    """Colors of a page with a palette: uint8 (index, channel=3)."""
    palette = np.asarray(page.colormap).T
    if palette.max() > 255:  # some programs write 8-bit values where TIFF requires 16-bit values
        palette = to_eight_bit(palette)
    return palette.astype(np.uint8)


def is_truncated(path: Path) -> bool:
    """Whether a page of a TIFF file lies beyond the end of the file."""
    with path.open("rb") as file:
        return any(offset is None for offset in islice(_pages(file), _MAX_PAGES))


def check_page_chain(file: IO[bytes]) -> None:
    """Refuse a file whose chain of pages has a loop, which libraries would follow forever."""
    before, seen = file.tell(), set[int]()
    for offset in _pages(file):
        if offset in seen:
            raise ValueError("its chain of pages has a loop and never ends")
        if offset is not None:
            seen.add(offset)
    file.seek(before)


def _pages(file: IO[bytes]) -> Iterator[int | None]:
    """Offset of each page of a TIFF file in the order of the chain; finally None where one is beyond the end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return
    big = struct.unpack(f"{order}H", head[2:4])[0] == _BIG
    count_format, offset_format, entry = ("Q", "Q", _BIG_ENTRY) if big else ("H", "I", _ENTRY)
    offset = struct.unpack(f"{order}{offset_format}", head[8:16] if big else head[4:8])[0]
    while offset:
        yield offset if offset < size else None
        if offset >= size:
            return
        file.seek(offset)
        count_bytes = file.read(struct.calcsize(count_format))
        if len(count_bytes) < struct.calcsize(count_format):
            yield None
            return
        after = offset + len(count_bytes) + struct.unpack(order + count_format, count_bytes)[0] * entry
        file.seek(min(after, size))  # offsets beyond the end cannot be sought
        next_bytes = file.read(struct.calcsize(offset_format))
        if len(next_bytes) < struct.calcsize(offset_format):
            yield None
            return
        offset = struct.unpack(order + offset_format, next_bytes)[0]

"""Decoding of TIFF photographs, and checks of TIFF files that the readers of slides also use.

A page is decoded strip by strip or tile by tile to detect damage: tifffile pads missing data in some cases and fails
for the whole page in others, and several of its codecs stop early, or past the end, without an error.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io import jpeg_damage
from napari_melanoma.io.color_conversion import (
    ValueRange,
    apply_orientation,
    find_value_range,
    note_invisible,
    to_eight_bit,
    to_srgb8,
)
from napari_melanoma.io.formats import DAMAGE_ERRORS, UPRIGHT, DecodedPhotograph, check_accepted, check_image_size
from napari_melanoma.io.image_damage import ALWAYS_READ, check_plausible

if TYPE_CHECKING:
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
_MIN_LISTED_SHARE = 1 / 8  # of the strips or tiles that the size of a page requires
_THUMBNAIL_SHARE = 0.5  # of both sides of the first page; a larger page is a separate picture
_ICC_TAG, _ORIENTATION_TAG = 34675, 274
_MAX_VALUE_TAGS = (341, 281)  # SMaxSampleValue, MaxSampleValue: the maximum value of a pixel
_MODES = {"MINISWHITE": "L", "MINISBLACK": "L", "RGB": "RGB", "SEPARATED": "CMYK", "YCBCR": "RGB"}
_ALPHA = {"ASSOCALPHA": "a", "UNASSALPHA": "A"}
_DECODED_TO_RGB = ("JPEG", "OJPEG", "ALT_JPEG")  # compressions whose codec converts YCbCr to RGB
_MAX_PAGES, _MAX_TAGS = 10_000, 65_535  # _MAX_TAGS: limit of a classic TIFF
_CLASSIC, _BIG = 42, 43  # number of the format in the header: classic TIFF, BigTIFF
TRUNCATED = "the file is truncated: pages in its directory are missing. Copy it again from its source."


def decode(file: IO[bytes], accept_damaged: bool = False) -> DecodedPhotograph:
    """Decode the photograph in a TIFF file; raise ``DamagedImage`` for a damaged one, unless this is accepted.

    The resolution tags are ignored, as they refer to a print and not to the skin. Returns upright sRGB without pixel
    size and modality.
    """
    from tifffile import TiffFile

    check_page_chain(file)
    with TiffFile(file) as tiff:
        fault = why_not_a_photograph(tiff)
        if fault:
            raise UnreadableImage(fault)
        page = cast("TiffPage", tiff.pages[0])
        check_image_size(page.imagewidth, page.imagelength)
        check_plausible(page.imagewidth, page.imagelength, stored_bytes(page), packing(page))
        _check_parts(page)
        profile = page.tags.valueof(_ICC_TAG)
        image, damage, notes = _decode_image(page)
        check_accepted(damage, accept_damaged)
        upright = apply_orientation(to_srgb8(image, profile), _get_orientation(page))
        return DecodedPhotograph(upright, damage=damage, notes=(*notes, *note_invisible(image)))


def why_not_a_photograph(tiff: TiffFile) -> str | None:
    """Return why a TIFF file is not a plain photograph, as the end of a message; None if it is.

    A plain photograph is one picture, possibly with thumbnail pages (at most half its size on both sides, or marked as
    reduced or as a mask). OME-TIFF, formats of slide scanners and microscopes, tiled pyramids and files of several
    pictures are not.
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
    """Whether a TIFF file is a stack or a slide, so that other readers may open it.

    False for a damaged file, which other readers cannot open either.
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


def read_orientation(file: IO[bytes]) -> int:
    """Return the orientation of the first page, as in EXIF; 1 if it is upright."""
    from tifffile import TiffFile

    with TiffFile(file) as tiff:
        return _get_orientation(cast("TiffPage", tiff.pages[0]))


def _get_orientation(page: TiffPage) -> int:
    orientation: int = page.tags.valueof(_ORIENTATION_TAG, UPRIGHT)
    return orientation


def _check_parts(page: TiffPage) -> None:
    """Raise an error for a page that lists far fewer parts than its size requires, before memory is allocated."""
    listed, expected = len(page.dataoffsets), count_segments(page)
    if listed < _MIN_LISTED_SHARE * expected and page.imagewidth * page.imagelength > ALWAYS_READ:
        raise UnreadableImage(
            f"claims {page.imagewidth} x {page.imagelength} pixels in {expected} parts, but lists {listed}: its header "
            "is damaged. Copy or export it again."
        )


def _other_pages(tiff: TiffFile) -> list[TiffPage]:
    """Return the pages after the first, and the subpages of the first."""
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
    samples, damage = decode_page(page)
    if palette:
        return Image.fromarray(palette_colors(page)[samples[..., 0]]), damage, ()
    samples = samples[..., : len(mode)]
    values = find_page_range(page, samples, has_alpha=mode[-1:] in _ALPHA.values())
    samples = np.ascontiguousarray(to_eight_bit(samples, values))
    if _tag_value_name(page.photometric) == "MINISWHITE":
        samples[..., 0] = ~samples[..., 0]
    size = (page.imagewidth, page.imagelength)
    return Image.frombuffer(mode, size, samples, "raw", mode, 0, 1), damage, (values.note,) if values.note else ()


def find_page_range(page: TiffPage, samples: NDArray, *, has_alpha: bool, largest: float | None = None) -> ValueRange:
    """Find the range of the values of a page by its tags and ``find_value_range``.

    ``samples``: (row, column, channel), all or some of the page. ``has_alpha``: whether the last channel is opacity.
    ``largest``: maximum value that other metadata state.
    """
    stated = next((page.tags.valueof(tag) for tag in _MAX_VALUE_TAGS if page.tags.valueof(tag) is not None), largest)
    bits = page.bitspersample if isinstance(page.bitspersample, int) else None
    largest = None if stated is None else float(np.max(stated))
    return find_value_range(samples, bits, largest, has_alpha=has_alpha)


def _pillow_mode(page: TiffPage) -> str:
    """Return the Pillow mode for the samples of a page, one letter per channel."""
    photometric = _tag_value_name(page.photometric)
    mode = _MODES.get(photometric)
    encoded = photometric == "YCBCR" and _tag_value_name(page.compression) not in _DECODED_TO_RGB
    extra = [_tag_value_name(sample) for sample in page.extrasamples]
    has_colors = mode == "L" and page.samplesperpixel > 1 + len(extra)  # more samples than the tags describe
    if mode is None or encoded or has_colors or (mode == "L" and extra and extra[0] not in _ALPHA):
        raise UnreadableImage(
            f"has {page.samplesperpixel} channels of color space {photometric}, but gray, RGB, CMYK or a palette was "
            "expected. Export it as RGB."
        )
    return mode + _ALPHA.get(extra[0], "") if extra and mode != "CMYK" else mode


def _tag_value_name(value: int) -> str:
    """Return the name of a tag value; its number if it has no name."""
    return value.name if isinstance(value, Enum) else str(value)


def palette_colors(page: TiffPage) -> NDArray[np.uint8]:
    """Return the colors of a page with a palette: uint8 (index, channel=3)."""
    palette = np.asarray(page.colormap).T
    # Some programs write 8-bit values where TIFF requires 16-bit values.
    return to_eight_bit(palette, ValueRange(65535 if palette.max() > 255 else 255))


def is_truncated(path: Path) -> bool:
    """Whether a page of a TIFF file lies beyond the end of the file."""
    with path.open("rb") as file:
        return any(offset is None for offset in islice(_page_offsets(file), _MAX_PAGES))


def check_page_chain(file: IO[bytes]) -> None:
    """Raise an error for a file whose chain of pages has a loop, which libraries would follow forever."""
    from tifffile import TiffFileError

    position, seen = file.tell(), set[int]()
    for offset in _page_offsets(file):
        if offset in seen:
            raise TiffFileError("its chain of pages has a loop and never ends")
        if offset is not None:
            seen.add(offset)
    file.seek(position)


def _page_offsets(file: IO[bytes]) -> Iterator[int | None]:
    """Yield the offset of each page of a TIFF file in the order of the chain; None for a page beyond the end."""
    layout = TiffLayout.read(file)
    offset = 0 if layout is None else layout.first
    while layout is not None and offset:
        directory = layout.read_directory(file, offset)
        yield None if directory is None else offset
        offset = 0 if directory is None else directory[1]


@dataclass(frozen=True)
class TiffLayout:
    """Layout of a TIFF file, from its header, to read the few bytes of each page that checks need.

    tifffile reads whole pages and detects only some loops of pages.

    ``order``: byte order; ``first``: offset of the first page; ``count``, ``offset``, ``entry``: number of bytes of the
    count of tags, of an offset and of a tag.
    """

    order: Literal["little", "big"]
    first: int
    count: int
    offset: int
    entry: int

    @classmethod
    def read(cls, file: IO[bytes]) -> Self | None:
        """Read the header of a file; None if it is too short, or not that of a classic TIFF or BigTIFF."""
        head = read_at(file, 0, 16)
        if head is None or head[:2] not in (b"II", b"MM"):
            return None
        order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
        number = int.from_bytes(head[2:4], order)
        if number == _BIG:
            return cls(order, int.from_bytes(head[8:16], order), 8, 8, 20)
        return cls(order, int.from_bytes(head[4:8], order), 2, 4, 12) if number == _CLASSIC else None

    def read_number(self, data: bytes) -> int:
        return int.from_bytes(data, self.order)

    def read_directory(self, file: IO[bytes], offset: int) -> tuple[bytes, int] | None:
        """Read the tags of a page and the offset of the next (0 after the last); None beyond the end of the file."""
        count = read_at(file, offset, self.count)
        if count is None or self.read_number(count) > _MAX_TAGS:
            return None
        length = self.read_number(count) * self.entry
        content = read_at(file, offset + self.count, length + self.offset)
        return None if content is None else (content[:length], self.read_number(content[length:]))


def read_at(file: IO[bytes], offset: int, length: int) -> bytes | None:
    """Read bytes at a position; None if the file is too short."""
    if offset + length > file.seek(0, os.SEEK_END):
        return None
    file.seek(offset)
    return file.read(length)


# Decoding of strips and tiles, called segments

_NONE, _LZW, _PACKBITS = 1, 5, 32773
_DEFLATE, _JPEG = (8, 32946, 50013), (7, 33007)
_PACKINGS = {_NONE: "raw", _PACKBITS: "rle", _LZW: "deflate", **dict.fromkeys(_DEFLATE, "deflate")}
_SEPARATE = 2
_SOF0, _SOS, _ADOBE = b"\xff\xc0", b"\xff\xda", b"Adobe"
# (photometric interpretation, samples per pixel): color transform of the Adobe marker, 1 for YCbCr, 0 for none
_TRANSFORMS = {
    (1, 1): 0,
    (2, 3): 0,
    (6, 3): 1,
}


def stored_bytes(page: TiffPage) -> int:
    """Count the bytes of a page's pixels that are in the file."""
    size = page.parent.filehandle.size
    segments = zip(page.dataoffsets, page.databytecounts, strict=False)
    return min(size, sum(max(0, min(count, size - offset)) for offset, count in segments if offset))


def packing(page: TiffPage) -> str:
    """Return the key of ``image_damage.PIXELS_PER_BYTE`` for a page; empty if its compression has no known limit."""
    return "JPEG" if page.compression in _JPEG else _PACKINGS.get(int(page.compression), "")


def decode_page(page: TiffPage) -> tuple[NDArray, str | None]:
    """Decode a two-dimensional page, and describe its damage (None without damage).

    Returns samples (row, column, channel), 0 in strips and tiles that cannot be decoded. Raises ``UnreadableImage`` if
    none can be decoded, and tifffile's own error for an unsupported compression.
    """
    pixels = np.zeros((page.imagelength, page.imagewidth, page.samplesperpixel), page.dtype)
    faults: list[str] = []
    decoded = 0
    count = count_segments(page)
    for index in range(count):
        segment, (plane, _, row, column, _), fault = _decode_segment(page, index)
        if fault:
            faults.append(fault)
        if segment is None:
            continue
        decoded += 1
        part = segment[: page.imagelength - row, : page.imagewidth - column]
        channels = slice(plane, plane + 1) if page.planarconfig == _SEPARATE else slice(None)
        pixels[row : row + part.shape[0], column : column + part.shape[1], channels] = part
    if not faults:
        return pixels, None
    if not decoded:
        raise UnreadableImage(
            f"is damaged: {faults[0]}, and none of its {count} strips or tiles can be decoded. Copy or export it again."
        )
    return pixels, f"{faults[0]} (in {len(faults)} of {count} strips or tiles)"


def count_segments(page: TiffPage) -> int:
    """Count the strips or tiles that the size of a page requires; of all channels if these are stored separately."""
    planes = page.samplesperpixel if page.planarconfig == _SEPARATE else 1
    if page.is_tiled:
        return planes * math.ceil(page.imagelength / page.tilelength) * math.ceil(page.imagewidth / page.tilewidth)
    return planes * math.ceil(page.imagelength / page.rowsperstrip)


def find_segment_damage(page: TiffPage, data: bytes, shape: tuple[int, ...]) -> str | None:
    """Describe errors in the compressed data of a strip or tile that tifffile would decode without an error.

    ``shape``: of the segment, (1, row, column, sample). Returns None without errors, and for compressions whose decoder
    raises an error for any damage.
    """
    if page.compression in _JPEG:
        tables = page.jpegtables
        whole = data if not tables else b"\xff\xd8" + tables[2:].removesuffix(b"\xff\xd9") + data[2:]
        try:
            return jpeg_damage.find_damage(whole)
        except UnreadableImage:
            return "none of its rows could be decoded"
    if page.compression not in (_LZW, _PACKBITS):
        return None
    return _unpack(page, data, shape)[1]


def decode_whole(page: TiffPage, data: bytes, shape: tuple[int, ...]) -> NDArray | None:
    """Decode an undamaged strip or tile of JPEG, LZW or PackBits in one pass.

    ``shape``: of the segment, (1, row, column, sample). Returns (row, column, sample), as from tifffile; None for data
    that are damaged (for JPEG: libjpeg warns) or not supported here, which ``find_segment_damage`` and tifffile handle.
    Raises ``ValueError`` for a JPEG that is larger than its tile.
    """
    if page.compression in (_LZW, _PACKBITS):
        return _decode_packed(page, data, shape)
    import simplejpeg

    transform = _TRANSFORMS.get((page.photometric, page.samplesperpixel)) if page.compression in _JPEG else None
    scan = data.find(_SOS)
    is_baseline = scan > 0 and data[scan + 4 : scan + 5] == bytes((page.samplesperpixel,)) and _SOF0 in data[:scan]
    if (
        transform is None
        or not is_baseline
        or _ADOBE in data[:scan]
        or data.count(_SOS) > 1
        or jpeg_damage.ZEROS in data
    ):
        return None
    marker = b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes((transform,)) if page.samplesperpixel == 3 else b""
    tables = (page.jpegtables or b"\xff\xd8")[2:].removesuffix(b"\xff\xd9")
    whole = b"\xff\xd8" + marker + tables + data[2:]
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(whole)
    except ValueError:
        return None
    if page.is_tiled and (height > shape[1] or width > shape[2]):  # decoding may take gigabytes
        raise ValueError(f"its JPEG has {height} x {width} pixels, expected at most {shape[1]} x {shape[2]}")
    if (height, width) != shape[1:3]:
        return None
    try:
        return simplejpeg.decode_jpeg(whole, "RGB" if page.samplesperpixel == 3 else "GRAY", strict=True)
    except ValueError:
        return None


def _decode_packed(page: TiffPage, data: bytes, shape: tuple[int, ...]) -> NDArray | None:
    """Decode LZW or PackBits with samples of whole bytes; None if damaged, or for other samples."""
    import imagecodecs

    dtype = np.dtype(page.dtype)
    if dtype.kind != "u" or page.bitspersample != 8 * dtype.itemsize or page.predictor > 2 or page.fillorder != 1:
        return None
    raw, damage = _unpack(page, data, shape)
    if damage:
        return None
    stored = np.frombuffer(raw, dtype.newbyteorder(page.parent.byteorder), math.prod(shape))
    samples = stored.reshape(shape[1:]).astype(dtype, copy=False)
    return samples if page.predictor == 1 else imagecodecs.delta_decode(samples, axis=1)


def _unpack(page: TiffPage, data: bytes, shape: tuple[int, ...]) -> tuple[bytes, str | None]:
    """Decompress LZW or PackBits; return the bytes, and a description of damage."""
    import imagecodecs

    row_bytes = _row_bytes(page, shape)
    expected = shape[1] * row_bytes
    unpack = imagecodecs.lzw_decode if page.compression == _LZW else imagecodecs.packbits_decode
    padded = (page.tilelength if page.is_tiled else page.rowsperstrip) * row_bytes  # size of a last strip with padding
    try:
        raw = bytes(unpack(data, out=max(padded, expected) + row_bytes + 1))
    except DAMAGE_ERRORS:
        return b"", "its compressed data are corrupt"
    # Some writers add up to a row after the pixels.
    if len(raw) >= expected and (len(raw) <= expected + row_bytes or len(raw) == padded):
        return raw, None
    return raw, f"its compressed data are corrupt ({len(raw)} bytes decompressed, {expected} expected)"


def _decode_segment(page: TiffPage, index: int) -> tuple[NDArray | None, tuple[int, ...], str | None]:
    """Decode a strip or tile.

    Returns samples (row, column, channel), None if they cannot be decoded, the position (plane, depth, row, column,
    sample) in the page, and a description of damage.
    """
    _, position, shape = page.decode(None, index)
    file = page.parent.filehandle
    is_listed = index < min(len(page.dataoffsets), len(page.databytecounts))
    offset, count = (page.dataoffsets[index], page.databytecounts[index]) if is_listed else (0, 0)
    if not offset or not count or offset >= file.size:
        return None, position, "its data are missing"
    file.seek(offset)
    data = file.read(min(count, file.size - offset))
    damage = find_segment_damage(page, data, shape)
    if damage is None and len(data) < count:
        damage = "its data are missing"
    tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in _JPEG else {}
    try:
        segment = page.decode(data, index, **tables)[0]
    except DAMAGE_ERRORS as error:
        return None, position, damage or f"its compressed data are corrupt ({str(error)[:80] or type(error).__name__})"
    assert segment is not None
    if damage is None and segment.shape[1] < min(shape[1], page.imagelength - position[2]):
        damage = "rows are missing"
    return segment[0], position, damage


def _row_bytes(page: TiffPage, shape: tuple[int, ...]) -> int:
    """Return the number of bytes of a decompressed row of a strip or tile."""
    bits = page.bitspersample if isinstance(page.bitspersample, int) else sum(page.bitspersample)
    return -(-shape[2] * shape[3] * bits // 8)

"""Detection of damage in PNG, BMP, WebP and HEIC files that their decoders do not report.

Each check takes the bytes of a file and returns a description of the damage, which ends the sentence "photo.jpg is
damaged: ...", or None. Damage that decoders report, such as that of a truncated WebP or HEIC, is left to them.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from napari_melanoma.core.errors import UnreadableImage

# Maximum number of pixels per byte of a file. JPEG needs at least 1 bit for each block of 64 pixels, lossy WebP 3 bits
# for 256. Deflate compresses up to 1032 times, LZW about 1300 and run lengths 128 times, with 8 pixels per byte. The
# limit of raw pixels leaves room for truncated files.
PIXELS_PER_BYTE = {"JPEG": 512, "WebP": 1000, "BMP": 1024, "PNG": 8256, "deflate": 10_400, "rle": 1024, "raw": 64}
_MAX_PIXELS_PER_BYTE = 50_000  # for formats without a limit; far above that of any photograph
ALWAYS_READ = 1_000_000  # pixels (3 MB) that are read regardless of the size of the file


def check_plausible(width: int, height: int, available: int, packing: str = "") -> None:
    """Raise an error for an image that states more pixels than its data can hold, before memory is allocated.

    ``width``, ``height``: in pixels, in either order. ``available``: number of data bytes in the file. ``packing``: key
    of ``PIXELS_PER_BYTE``.
    """
    max_pixels = max(ALWAYS_READ, available * PIXELS_PER_BYTE.get(packing, _MAX_PIXELS_PER_BYTE))
    if width * height > max_pixels:
        raise UnreadableImage(
            f"claims {width} x {height} pixels, which {available} bytes of data cannot hold: its header is damaged, or "
            "most of its data are missing. Copy or export it again."
        )


def find_png_damage(content: bytes) -> str | None:
    """Check that the chunks of a PNG are complete and match their checksums, which Pillow does not check for pixels."""
    position = len(b"\x89PNG\r\n\x1a\n")
    while position + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        stop = position + 8 + length
        if stop + 4 > len(content):
            break
        if zlib.crc32(memoryview(content)[position + 4 : stop]) != struct.unpack_from(">I", content, stop)[0]:
            return "a checksum differs: an unknown part of the picture or of its colors is wrong"
        if kind == b"IEND":
            return None
        position = stop + 4
    return "the file is truncated: its end is missing"


# BMP


def has_run_lengths(content: bytes) -> bool:
    """Whether the pixels of a BMP are run-length encoded (RLE8 or RLE4); those with the oldest header never are."""
    return content[14:18] != b"\x0c\0\0\0" and content[30:34] in (b"\1\0\0\0", b"\2\0\0\0")


def find_run_length_damage(content: bytes) -> str | None:
    """Count the rows in the runs of a BMP, up to its end marker; Pillow fills missing rows without an error."""
    position = int.from_bytes(content[10:14], "little")
    rows, rows_read = abs(int.from_bytes(content[22:26], "little", signed=True)), 0
    while position + 2 <= len(content) and rows_read < rows:
        count, value = content[position], content[position + 1]
        position += 2
        if count == 0:
            if value == 1:
                return None
            rows_read += value == 0 or (value == 2 and content[position + 1 : position + 2] > b"\0")
            literal_bytes = -(-value // 2) if content[30] == 2 else value
            position += 2 if value == 2 else literal_bytes + literal_bytes % 2 if value > 2 else 0
    return None if rows_read >= rows else f"{rows - rows_read} of its {rows} rows are missing"


# WebP

# Compressed data have no long runs of zeros: in arithmetic-coded (lossy) data they would encode tens of thousands of
# symbols, and lossless encoders write repetitions as such. libwebp writes at most 1e-4 zero bytes per pixel, for
# uniform images.
_MIN_ZERO_RUN = 64
_ZEROS_PER_PIXEL = 2e-4


def find_webp_damage(content: bytes) -> str | None:
    """Check that the compressed data of a WebP have no run of zeros."""
    for kind, start, stop in _webp_chunks(content):
        if kind in (b"VP8 ", b"VP8L"):
            zeros = max(_MIN_ZERO_RUN, int(_ZEROS_PER_PIXEL * _count_webp_pixels(content, kind, start)))
            if bytes(zeros) in content[start:stop]:
                fault = f"its compressed data are corrupt (a run of {zeros} zero bytes)"
                return f"{fault}: an unknown part of the picture is wrong"
    return None


def _count_webp_pixels(content: bytes, kind: bytes, start: int) -> int:
    """Return the number of pixels of a picture, from the header of its data."""
    if kind == b"VP8L":
        packed = int.from_bytes(content[start + 1 : start + 5], "little")
        return ((packed & 0x3FFF) + 1) * ((packed >> 14 & 0x3FFF) + 1)
    width, height = (int.from_bytes(content[position : position + 2], "little") for position in (start + 6, start + 8))
    return (width & 0x3FFF) * (height & 0x3FFF)


def _webp_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and stop of the data of each chunk."""
    position = 12
    while position + 8 <= len(content):
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        yield content[position : position + 4], position + 8, position + 8 + length
        position += 8 + length + length % 2


# HEIC

# HEVC encoders insert a 3 where two zeros would be followed by 0, 1 or 2 (ITU-T H.265, 7.4.2.3).
_FORBIDDEN_BYTES = re.compile(rb"\x00\x00[\x00-\x02]")
_LENGTH_SIZE_OFFSET = 21  # in the decoder configuration: bytes of the lengths of coded units, minus one


def find_heif_damage(content: bytes) -> str | None:
    """Check that the HEVC data of the pictures in a HEIC, which are decoded without errors, have no forbidden bytes."""
    try:
        pictures = list(_hevc_items(content))
    except (struct.error, LookupError, ValueError):
        return None  # libheif reports errors of the boxes
    position = content.find(b"hvcC")
    configuration = content[position + 4 : position + 5 + _LENGTH_SIZE_OFFSET] if position >= 0 else b""
    length_size = (configuration[-1] & 3) + 1 if len(configuration) > _LENGTH_SIZE_OFFSET else 4
    if all(_is_valid_hevc(data, length_size) for data in pictures):
        return None
    return "its compressed data are corrupt (bytes that HEVC does not allow): an unknown part of the picture is wrong"


def _is_valid_hevc(data: bytes, length_size: int) -> bool:
    """Whether coded units fill the data exactly, without forbidden bytes."""
    position = 0
    while position + length_size <= len(data):
        length = int.from_bytes(data[position : position + length_size], "big")
        position += length_size
        if not length or position + length > len(data) or _FORBIDDEN_BYTES.search(data, position, position + length):
            return False
        position += length
    return position == len(data)


def _boxes(content: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and stop of the body of each box between two positions."""
    while start + 8 <= stop:
        length, kind = struct.unpack_from(">I4s", content, start)
        header_bytes = 8
        if length == 1:
            length, header_bytes = struct.unpack_from(">Q", content, start + 8)[0], 16
        length = stop - start if length == 0 else length
        if length < header_bytes:
            raise ValueError("a box shorter than its header")
        yield kind, start + header_bytes, min(start + length, stop)
        start += length


def _hevc_items(content: bytes) -> Iterator[bytes]:
    """Yield the data of each picture in HEVC: the tiles, thumbnails and further pictures of a file."""
    meta = next(((start, stop) for kind, start, stop in _boxes(content, 0, len(content)) if kind == b"meta"), (0, 0))
    boxes = {kind: (start, stop) for kind, start, stop in _boxes(content, meta[0] + 4, meta[1])}
    start, stop = boxes.get(b"iinf", (0, 0))
    kinds: dict[int, bytes] = {}
    for kind, begin, _ in _boxes(content, start + (8 if content[start] else 6), stop):
        if kind == b"infe" and content[begin] >= 2:
            number_format, position = (">I", begin + 10) if content[begin] > 2 else (">H", begin + 8)
            kinds[struct.unpack_from(number_format, content, begin + 4)[0]] = content[position : position + 4]
    for item, extents in _item_extents(content, boxes[b"iloc"][0], boxes.get(b"idat", (0, 0))[0]):
        if kinds.get(item) == b"hvc1":
            yield b"".join(content[begin : begin + length] for begin, length in extents)


def _item_extents(content: bytes, start: int, item_data: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield each item and the positions of its data, (offset, length), from the box iloc (ISO/IEC 14496-12, 8.11.3).

    ``item_data``: start of the body of the box idat.
    """
    version = content[start]
    sizes = struct.unpack_from(">BB", content, start + 4)
    offset_size, length_size, base_size, index_size = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4, sizes[1] & 15
    position = start + 6
    number_size = 4 if version > 1 else 2

    def read_number(size: int) -> int:
        nonlocal position
        position += size
        return int.from_bytes(content[position - size : position], "big")

    for _ in range(read_number(number_size)):
        item = read_number(number_size)
        method = read_number(2) & 15 if version else 0
        read_number(2)  # the file that contains the data: this one
        base = read_number(base_size) + (item_data if method == 1 else 0)
        extents = []
        for _ in range(read_number(2)):
            if version and index_size:
                read_number(index_size)
            offset = base + read_number(offset_size)
            extents.append((offset, read_number(length_size)))
        yield item, extents
        if position > len(content):
            raise ValueError("cut off")

"""Integrity checks of PNG, BMP, WebP and HEIC files, since most decoders silently fill missing data.

Each check takes the bytes of a file and returns an ``IntegrityCheck``. It contains a description of what is missing or
corrupt, which ends the sentence "photo.jpg is damaged: ...", and bytes from which the decoder of the format can decode
the part that is present.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from napari_melanoma.core.errors import UnreadableImage

# Maximum number of pixels per byte of a file. JPEG needs at least 1 bit for each block of 64 pixels, lossy WebP 3 bits
# for 256. Deflate compresses up to 1032 times, LZW about 1300 and run lengths 128 times, with 8 pixels per byte. The
# limit of raw pixels leaves room for truncated files.
PIXELS_PER_BYTE = {"JPEG": 512, "WebP": 1000, "BMP": 1024, "PNG": 8256, "deflate": 10_400, "rle": 1024, "raw": 64}
_MAX_PIXELS_PER_BYTE = 50_000  # for formats without a limit; far above that of any photograph
ALWAYS_READ = 1_000_000  # pixels (3 MB) that are read regardless of the size of the file


class NothingDecoded(UnreadableImage):
    """No part of an image could be decoded."""


@dataclass(frozen=True)
class IntegrityCheck:
    """Bytes for the decoder, and what is missing or corrupt; ``damage`` is None for an intact image."""

    content: bytes
    damage: str | None = None


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


def describe_missing_rows(decoded: int, rows: int) -> str:
    """Describe how much of a picture is missing; raise ``NothingDecoded`` if no row was decoded."""
    if decoded <= 0:
        raise NothingDecoded(f"is damaged: none of its {rows} rows could be decoded. Copy or export it again.")
    missing = _format_percent(rows - decoded, rows)
    return f"{missing} of the picture is missing: {min(decoded, rows)} of {rows} rows could be decoded"


def describe_missing_bytes(available: int, expected: int) -> str:
    """Describe how much of the compressed data is missing, for formats in which rows cannot be counted.

    Raises ``NothingDecoded`` if no bytes are available.
    """
    if available <= 0:
        raise NothingDecoded("is damaged: none of the data of its picture were found. Copy or export it again.")
    missing = _format_percent(expected - available, expected)
    return f"{missing} of its compressed data are missing ({available} of {expected} bytes were found)"


def _format_percent(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return "less than 1 %" if percent < 1 else f"{percent:.0f} %"


# PNG


_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
# Passes of interlaced pictures: first column and row, step of columns and rows
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_COLOR_CHUNKS = {b"PLTE": "palette", b"tRNS": "transparency", b"iCCP": "color profile"}
_NEEDED_CHUNKS = (*_COLOR_CHUNKS, b"gAMA", b"cHRM", b"sRGB", b"eXIf")  # other chunks hold text, or are not used
_MAX_PROFILE_BYTES = 4 * 1024 * 1024  # decompressed; profiles of cameras and screens take less than 1 MB
_MAX_EXIF_BYTES = 1024 * 1024
_BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True)
class PngHeader:
    """Header of a PNG: size in pixels, bits per channel, color type, and whether it is interlaced."""

    width: int
    height: int
    bits: int
    color: int
    interlaced: bool

    @property
    def raw_bytes(self) -> int:
        """Size of the decompressed data, with the filter byte of each row."""
        per_pixel = self.bits * _CHANNELS.get(self.color, 4)
        if not self.interlaced:
            return self.height * (1 + -(-self.width * per_pixel // 8))
        # -(-a // b) is a / b, rounded up.
        sizes = ((-(-(self.width - x) // x_step), -(-(self.height - y) // y_step)) for x, y, x_step, y_step in _PASSES)
        return sum(rows * (1 + -(-columns * per_pixel // 8)) for columns, rows in sizes if columns > 0 and rows > 0)

    def rows_in(self, raw: int) -> int:
        """Return the number of rows in ``raw`` decompressed bytes; of an interlaced picture the equivalent number."""
        return self.height * raw // self.raw_bytes


@dataclass(frozen=True)
class _PngChunk:
    """A chunk: kind, position of its data, whether its checksum is correct, and whether it is truncated."""

    kind: bytes
    start: int
    stop: int
    intact: bool
    truncated: bool


def read_png_header(content: bytes) -> PngHeader | None:
    """Read the header of a PNG from its first 33 bytes or more; None if it is incomplete."""
    if len(content) < 29 or content[12:16] != b"IHDR":
        return None
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    return PngHeader(width, height, content[24], content[25], content[28] == 1)


def check_png(content: bytes) -> IntegrityCheck:
    """Check that the data of a PNG cover its picture and match their checksums; missing rows are black.

    Text chunks, which may have a compression ratio of a thousand, are not passed to the decoder.
    """
    header = read_png_header(content)
    chunks = list(_png_chunks(content))
    if header is None or not chunks:
        return IntegrityCheck(content, "its header is incomplete")
    if not chunks[0].intact:
        return IntegrityCheck(content, "its header is corrupt (a checksum differs), so size and depth are unknown")
    faults = [
        f"its {_COLOR_CHUNKS[chunk.kind]} is corrupt (a checksum differs)"
        for chunk in chunks
        if chunk.kind in _COLOR_CHUNKS and not chunk.intact
    ]
    needed = [
        _encode_chunk(chunk.kind, content[chunk.start : chunk.stop]) for chunk in chunks if _is_needed(chunk, content)
    ]
    data = [chunk for chunk in chunks if chunk.kind == b"IDAT"]
    if all(chunk.intact for chunk in data) and chunks[-1].kind == b"IEND":
        compressed = b"".join(_encode_chunk(b"IDAT", content[chunk.start : chunk.stop]) for chunk in data)
    else:
        compressed, fault = _repair_png_data(content, data, header)
        faults = [fault, *faults] if fault else faults
    start = _encode_chunk(b"IHDR", content[16:29])
    parts = (_SIGNATURE, start, *needed, compressed, _encode_chunk(b"IEND", b""))
    return IntegrityCheck(b"".join(parts), "; ".join(faults) or None)


def _repair_png_data(content: bytes, data: list[_PngChunk], header: PngHeader) -> tuple[bytes, str | None]:
    """Compress the readable pixels again, completed with black; also describe the damage, None if there is none."""
    unpack, pack = zlib.decompressobj(), zlib.compressobj(1)
    compressed: list[bytes] = []
    total, intact = 0, True
    for chunk in data:
        intact = intact and (chunk.intact or chunk.truncated)
        remaining = content[chunk.start : chunk.stop]
        try:
            while remaining and total < header.raw_bytes:
                raw = unpack.decompress(remaining, min(_BLOCK_BYTES, header.raw_bytes - total))
                total += len(raw)
                compressed.append(pack.compress(raw))
                remaining = unpack.unconsumed_tail
            unpack.decompress(remaining, 1)
        except zlib.error:
            intact = False
            break
    fault = None
    if total < header.raw_bytes:
        fault = describe_missing_rows(header.rows_in(total), header.height)
        fault += "" if intact else "; others may be wrong too"
    elif not unpack.eof:
        fault = "a checksum of its pixels differs: an unknown part of the picture is wrong"
    for position in range(total, header.raw_bytes, _BLOCK_BYTES):
        compressed.append(pack.compress(bytes(min(_BLOCK_BYTES, header.raw_bytes - position))))
    return _encode_chunk(b"IDAT", b"".join(compressed) + pack.flush()), fault


def _png_chunks(content: bytes) -> Iterator[_PngChunk]:
    """Yield the chunks up to the end chunk; the last may be truncated."""
    position = len(_SIGNATURE)
    while position + 8 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        kind, start, stop = content[position + 4 : position + 8], position + 8, position + 8 + length
        if not kind.isalpha():
            return
        stored = content[stop : stop + 4]
        checksum = zlib.crc32(memoryview(content)[start - 4 : stop]).to_bytes(4, "big")
        yield _PngChunk(kind, start, min(stop, len(content)), stored == checksum, len(stored) < 4)
        if kind == b"IEND":
            return
        position = stop + 4


def _is_needed(chunk: _PngChunk, content: bytes) -> bool:
    """Whether the decoder needs a chunk, and its size is plausible."""
    if chunk.kind not in _NEEDED_CHUNKS or not (chunk.intact or chunk.kind == b"PLTE"):
        return False
    if chunk.kind == b"eXIf":
        return chunk.stop - chunk.start <= _MAX_EXIF_BYTES
    return chunk.kind != b"iCCP" or _is_small_profile(content[chunk.start : chunk.stop])


def _is_small_profile(body: bytes) -> bool:
    compressed = body[body.find(b"\0") + 2 :]
    try:
        return len(zlib.decompressobj().decompress(compressed, _MAX_PROFILE_BYTES + 1)) <= _MAX_PROFILE_BYTES
    except zlib.error:
        return False


def _encode_chunk(kind: bytes, data: bytes) -> bytes:
    """Encode a chunk with its length and checksum."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(data, zlib.crc32(kind)).to_bytes(4, "big")


# BMP

_BMP_RUN_LENGTHS = (1, 2)  # RLE8 and RLE4
_END_OF_BITMAP = b"\x00\x01"


def check_bmp(content: bytes) -> IntegrityCheck:
    """Check that a BMP has the rows that its header states; missing bytes are filled with zeros.

    Zeroed bytes of an uncompressed BMP are black pixels and cannot be detected.
    """
    offset, header_bytes = (int.from_bytes(content[start : start + 4], "little") for start in (10, 14))
    is_oldest = header_bytes == 12
    width_at, height_at, bits_at, side_bytes = (18, 20, 24, 2) if is_oldest else (18, 22, 28, 4)
    width, height = (
        int.from_bytes(content[start : start + side_bytes], "little", signed=not is_oldest)
        for start in (width_at, height_at)
    )
    bits = int.from_bytes(content[bits_at : bits_at + 2], "little")
    rows = abs(height)
    if len(content) < 14 + header_bytes or not rows:
        return IntegrityCheck(content, "its header is incomplete")
    if has_run_lengths(content):
        return _check_run_lengths(content, offset, rows)
    row_bytes = -(-width * bits // 32) * 4
    available = len(content) - offset
    if row_bytes * rows - 3 <= available:  # the padding of the last row may be missing
        return IntegrityCheck(content + bytes(3))
    complete_rows = available // row_bytes if row_bytes > 0 else rows
    filling = bytes(max(0, row_bytes * rows - available))
    return IntegrityCheck(content + filling, describe_missing_rows(complete_rows, rows))


def has_run_lengths(content: bytes) -> bool:
    """Whether the pixels of a BMP are run-length encoded; those with the oldest header never are."""
    return content[14:18] != b"\x0c\0\0\0" and int.from_bytes(content[30:34], "little") in _BMP_RUN_LENGTHS


def _check_run_lengths(content: bytes, offset: int, rows: int) -> IntegrityCheck:
    """Count the rows in the runs of a compressed BMP, up to its end marker."""
    position, rows_read = offset, 0
    while position + 2 <= len(content):
        count, value = content[position], content[position + 1]
        position += 2
        if count == 0:
            if value == 1:
                return IntegrityCheck(content)
            rows_read += value == 0 or (value == 2 and content[position + 1 : position + 2] > b"\0")
            is_rle4 = int.from_bytes(content[30:34], "little") == 2
            literal_bytes = -(-value // 2) if is_rle4 else value
            position += 2 if value == 2 else literal_bytes + literal_bytes % 2 if value > 2 else 0
        if rows_read >= rows:
            return IntegrityCheck(content + _END_OF_BITMAP)
    return IntegrityCheck(content + _END_OF_BITMAP, describe_missing_rows(rows_read, rows))


# WebP

# Compressed data have no long runs of zeros: in arithmetic-coded (lossy) data they would encode tens of thousands of
# symbols, and lossless encoders write repetitions as such. libwebp writes at most 1e-4 zero bytes per pixel, for
# uniform images.
_MIN_ZERO_RUN = 64
_ZEROS_PER_PIXEL = 2e-4


def check_webp(content: bytes) -> IntegrityCheck:
    """Check that a WebP has the stated number of bytes, and no run of zeros in its compressed data.

    Missing bytes are filled with zeros.
    """
    stated = 8 + int.from_bytes(content[4:8], "little")
    for kind, start, stop in _webp_chunks(content):
        if kind not in (b"VP8 ", b"VP8L", b"ALPH", b"ANMF"):
            continue
        if stop > len(content):
            padded = content + bytes(max(stop, stated) - len(content))
            return IntegrityCheck(padded, describe_missing_bytes(len(content) - start, stop - start))
        if kind in (b"VP8 ", b"VP8L"):
            zeros = max(_MIN_ZERO_RUN, int(_ZEROS_PER_PIXEL * _count_webp_pixels(content, kind, start)))
            if bytes(zeros) in content[start:stop]:
                fault = f"its compressed data are corrupt (a run of {zeros} zero bytes)"
                return IntegrityCheck(content, f"{fault}: an unknown part of the picture is wrong")
        if kind != b"ALPH":  # only the first picture of an animation is read
            return IntegrityCheck(content)
    return IntegrityCheck(content, "no picture data were found")


def _count_webp_pixels(content: bytes, kind: bytes, start: int) -> int:
    """Return the number of pixels of a picture, from the header of its data."""
    if kind == b"VP8L":
        packed = int.from_bytes(content[start + 1 : start + 5], "little")
        return ((packed & 0x3FFF) + 1) * ((packed >> 14 & 0x3FFF) + 1)
    width, height = (int.from_bytes(content[position : position + 2], "little") for position in (start + 6, start + 8))
    return (width & 0x3FFF) * (height & 0x3FFF)


def _webp_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and stop of the data of each chunk; the last may extend beyond the file."""
    position = 12
    while position + 8 <= len(content):
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        yield content[position : position + 4], position + 8, position + 8 + length
        position += 8 + length + length % 2


# HEIC

# HEVC encoders insert a 3 where two zeros would be followed by 0, 1 or 2 (ITU-T H.265, 7.4.2.3).
_FORBIDDEN_BYTES = re.compile(rb"\x00\x00[\x00-\x02]")
_PICTURE_KINDS = (b"hvc1", b"grid", b"av01", b"iden")
_LENGTH_SIZE_OFFSET = 21  # in the decoder configuration: bytes of the lengths of coded units, minus one


@dataclass
class _HeifItems:
    """Items of a file by number, from its meta box.

    ``primary``: number of the picture to show; ``extents``: positions of the data of an item, (offset, length);
    ``parts``: the tiles of a picture.
    """

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    extents: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    parts: dict[int, list[int]] = field(default_factory=dict)


def check_heif(content: bytes) -> IntegrityCheck:
    """Check the primary picture of a HEIC and its tiles; missing bytes are filled with zeros."""
    try:
        items = _read_items(content)
    except (struct.error, IndexError, ValueError, StopIteration):
        return IntegrityCheck(content)  # libheif reports errors of the boxes
    picture_items = {items.primary, *items.parts.get(items.primary, ())}
    extents = [
        extent
        for item in picture_items
        if items.kinds.get(item) in _PICTURE_KINDS
        for extent in items.extents.get(item, ())
    ]
    end = max((start + length for start, length in extents), default=0)
    if end > len(content):
        available = sum(max(0, min(length, len(content) - start)) for start, length in extents)
        expected = sum(length for _, length in extents)
        return IntegrityCheck(content + bytes(end - len(content)), describe_missing_bytes(available, expected))
    length_size = _read_length_size(content)
    for item in picture_items:
        data = b"".join(content[start : start + length] for start, length in items.extents.get(item, ()))
        if items.kinds.get(item) == b"hvc1" and not _is_valid_hevc(data, length_size):
            fault = "its compressed data are corrupt (bytes that HEVC does not allow)"
            return IntegrityCheck(content, f"{fault}: an unknown part of the picture is wrong")
    return IntegrityCheck(content)


def _read_length_size(content: bytes) -> int:
    """Return the number of bytes of the length before each coded unit."""
    position = content.find(b"hvcC")
    if position < 0 or position + 4 + _LENGTH_SIZE_OFFSET >= len(content):
        return 4
    return (content[position + 4 + _LENGTH_SIZE_OFFSET] & 3) + 1


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


def _read_items(content: bytes) -> _HeifItems:
    """Read the items of a file from the boxes in its meta box."""
    items = _HeifItems()
    meta = next((start, stop) for kind, start, stop in _boxes(content, 0, len(content)) if kind == b"meta")
    item_data = 0  # start of the body of the box idat
    locations: list[tuple[int, int]] = []  # start and version of the box iloc
    for kind, start, stop in _boxes(content, meta[0] + 4, meta[1]):
        version = content[start]
        if kind == b"pitm":
            items.primary = struct.unpack_from(">H" if version == 0 else ">I", content, start + 4)[0]
        elif kind == b"iinf":
            for entry, begin, _ in _boxes(content, start + (6 if version == 0 else 8), stop):
                if entry == b"infe" and content[begin] >= 2:
                    is_wide = content[begin] > 2
                    number = struct.unpack_from(">I" if is_wide else ">H", content, begin + 4)[0]
                    position = begin + (10 if is_wide else 8)
                    items.kinds[number] = content[position : position + 4]
        elif kind == b"iref":
            _add_parts(items, content, start, stop)
        elif kind == b"idat":
            item_data = start
        elif kind == b"iloc":
            locations = [(start, version)]
    for start, version in locations:  # after the loop, as idat may follow iloc
        _add_extents(items, content, start, version, item_data)
    return items


def _add_parts(items: _HeifItems, content: bytes, start: int, stop: int) -> None:
    """Read the tiles of each picture that consists of tiles."""
    number_format = ">H" if content[start] == 0 else ">I"
    size = struct.calcsize(number_format)
    for kind, begin, _ in _boxes(content, start + 4, stop):
        if kind == b"dimg":
            picture = struct.unpack_from(number_format, content, begin)[0]
            count = struct.unpack_from(">H", content, begin + size)[0]
            positions = (begin + size + 2 + index * size for index in range(count))
            items.parts[picture] = [struct.unpack_from(number_format, content, at)[0] for at in positions]


def _add_extents(items: _HeifItems, content: bytes, start: int, version: int, item_data: int) -> None:
    """Read the positions of the data of each item (ISO/IEC 14496-12, 8.11.3); ``item_data``: start of the box idat."""
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
        for _ in range(read_number(2)):
            if version and index_size:
                read_number(index_size)
            offset = base + read_number(offset_size)
            items.extents.setdefault(item, []).append((offset, read_number(length_size)))
        if position > len(content):
            raise ValueError("cut off")

"""Integrity checks of photographs, since most decoders silently fill missing data.

Each check of PNG, BMP, WebP or HEIC takes the bytes of a file and returns an ``IntegrityCheck``: what is missing or
corrupt, in words that end the sentence "photo.jpg is damaged: ...", and bytes that the decoder of the format can open
as far as the data go.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from napari_melanoma.core.errors import UnreadableImage

# Maximum number of pixels per byte of a file: JPEG needs a bit for each block of 64, lossy WebP 3 for 256; the ratio of
# deflate is up to 1032, of LZW about 1300 and of run lengths 128, with a bit per pixel. Raw pixels may be truncated.
PIXELS_PER_BYTE = {"JPEG": 512, "WebP": 1000, "BMP": 1024, "PNG": 8256, "deflate": 10_400, "rle": 1024, "raw": 64}
_MOST_PIXELS_PER_BYTE = 50_000  # for formats without a limit; far above that of any photograph
ALWAYS_READ = 1_000_000  # pixels, which take 3 MB, regardless of the size of the file


class NothingDecoded(UnreadableImage):
    """No part of an image could be decoded."""


@dataclass(frozen=True)
class IntegrityCheck:
    """Bytes for the decoder, and what is missing or corrupt; ``damage`` is None for an intact image."""

    content: bytes
    damage: str | None = None


def check_plausible(width: int, height: int, found: int, packing: str = "") -> None:
    """Refuse an image that states more pixels than its data can hold, before memory is allocated.

    ``width``, ``height``: in pixels, in either order. ``found``: number of data bytes in the file.
    """
    most = max(ALWAYS_READ, found * PIXELS_PER_BYTE.get(packing, _MOST_PIXELS_PER_BYTE))
    if width * height > most:
        raise UnreadableImage(
            f"claims {width} x {height} pixels, which {found} bytes of data cannot hold: its header is damaged, or "
            "most of its data are missing. Copy or export it again."
        )


def describe_missing_rows(decoded: int, rows: int) -> str:
    """Describe how much of a picture is missing."""
    if decoded <= 0:
        raise NothingDecoded(f"is damaged: none of its {rows} rows could be decoded. Copy or export it again.")
    lost = _percent(rows - decoded, rows)
    return f"{lost} of the picture is missing: {min(decoded, rows)} of {rows} rows could be decoded"


def describe_missing_bytes(found: int, expected: int) -> str:
    """Describe how much of the compressed data is missing, where rows cannot be counted.

    ``found``, ``expected``: bytes.
    """
    if found <= 0:
        raise NothingDecoded("is damaged: none of the data of its picture were found. Copy or export it again.")
    lost = _percent(expected - found, expected)
    return f"{lost} of its compressed data are missing ({found} of {expected} bytes were found)"


def _percent(lost: int, whole: int) -> str:
    """A share in percent, at least "less than 1 %"."""
    share = 100 * lost / whole
    return "less than 1 %" if share < 1 else f"{share:.0f} %"


_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_COLORS = {b"PLTE": "palette", b"tRNS": "transparency", b"iCCP": "color profile"}
_KEPT = (*_COLORS, b"gAMA", b"cHRM", b"sRGB", b"eXIf")  # other chunks hold text, or are not used
_MAX_PROFILE_BYTES = 4 * 1024 * 1024  # decompressed; profiles of cameras and screens take less than 1 MB
_MAX_EXIF_BYTES = 1024 * 1024
_BLOCK = 64 * 1024


@dataclass(frozen=True)
class PngHeader:
    """Header of a PNG."""

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
        sizes = ((-(-(self.width - x) // across), -(-(self.height - y) // down)) for x, y, across, down in _PASSES)
        return sum(rows * (1 + -(-columns * per_pixel // 8)) for columns, rows in sizes if columns > 0 and rows > 0)

    def rows_in(self, raw: int) -> int:
        """Return the number of rows in ``raw`` decompressed bytes, of an interlaced picture their share."""
        return self.height * raw // self.raw_bytes


@dataclass(frozen=True)
class _PngChunk:
    """A chunk: kind, position of its data, whether its checksum is correct, and whether it is truncated."""

    kind: bytes
    start: int
    stop: int
    sound: bool
    cut: bool


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
    head = read_png_header(content)
    chunks = list(_chunks(content))
    if head is None or not chunks:
        return IntegrityCheck(content, "its header is incomplete")
    if not chunks[0].sound:
        return IntegrityCheck(content, "its header is corrupt (a checksum differs), so size and depth are unknown")
    damaged_colors = (_COLORS[one.kind] for one in chunks if one.kind in _COLORS and not one.sound)
    faults = [f"its {name} is corrupt (a checksum differs)" for name in damaged_colors]
    kept = [_encode_chunk(one.kind, content[one.start : one.stop]) for one in chunks if _is_kept(one, content)]
    data = [one for one in chunks if one.kind == b"IDAT"]
    if all(one.sound for one in data) and chunks[-1].kind == b"IEND":
        compressed = b"".join(_encode_chunk(b"IDAT", content[one.start : one.stop]) for one in data)
    else:
        compressed, fault = _repair(content, data, head)
        faults = [fault, *faults] if fault else faults
    start = _encode_chunk(b"IHDR", content[16:29])
    parts = (_SIGNATURE, start, *kept, compressed, _encode_chunk(b"IEND", b""))
    return IntegrityCheck(b"".join(parts), "; ".join(faults) or None)


def _repair(content: bytes, data: list[_PngChunk], head: PngHeader) -> tuple[bytes, str | None]:
    """Compress the readable pixels again, and describe what is missing; None for complete data."""
    unpack, pack = zlib.decompressobj(), zlib.compressobj(1)
    compressed: list[bytes] = []
    total, sound = 0, True
    for one in data:
        sound = sound and (one.sound or one.cut)
        rest = content[one.start : one.stop]
        try:
            while rest and total < head.raw_bytes:
                raw = unpack.decompress(rest, min(_BLOCK, head.raw_bytes - total))
                total += len(raw)
                compressed.append(pack.compress(raw))
                rest = unpack.unconsumed_tail
            unpack.decompress(rest, 1)
        except zlib.error:
            sound = False
            break
    fault = None
    if total < head.raw_bytes:
        fault = describe_missing_rows(head.rows_in(total), head.height) + ("" if sound else "; others may be wrong too")
    elif not unpack.eof:
        fault = "a checksum of its pixels differs: an unknown part of the picture is wrong"
    for position in range(total, head.raw_bytes, _BLOCK):
        compressed.append(pack.compress(bytes(min(_BLOCK, head.raw_bytes - position))))
    return _encode_chunk(b"IDAT", b"".join(compressed) + pack.flush()), fault


def _chunks(content: bytes) -> Iterator[_PngChunk]:
    """Iterate over the chunks up to the end chunk; the last may be truncated."""
    position = len(_SIGNATURE)
    while position + 8 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        kind, start, stop = content[position + 4 : position + 8], position + 8, position + 8 + length
        if not kind.isalpha():
            return
        checksum = content[stop : stop + 4]
        found = zlib.crc32(memoryview(content)[start - 4 : stop]).to_bytes(4, "big")
        yield _PngChunk(kind, start, min(stop, len(content)), checksum == found, len(checksum) < 4)
        if kind == b"IEND":
            return
        position = stop + 4


def _is_kept(chunk: _PngChunk, content: bytes) -> bool:
    """Whether the decoder needs a chunk, and its size is plausible."""
    if chunk.kind not in _KEPT or not (chunk.sound or chunk.kind == b"PLTE"):
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


_BMP_RUN_LENGTHS = (1, 2)  # RLE8 and RLE4
_END_OF_BITMAP = b"\x00\x01"
# Compressed data have no long runs of zeros: in arithmetic-coded (lossy) data they would encode tens of thousands of
# symbols, and lossless encoders write repetitions as such. libwebp writes at most 1e-4 zero bytes per pixel, for
# uniform images.
_FEWEST_ZEROS = 64
_ZEROS_PER_PIXEL = 2e-4


def check_bmp(content: bytes) -> IntegrityCheck:
    """Check that a BMP has the rows that its header states; missing bytes are filled with zeros.

    Zeroed bytes of an uncompressed BMP are black pixels and cannot be detected.
    """
    offset, header_bytes = (int.from_bytes(content[start : start + 4], "little") for start in (10, 14))
    old = header_bytes == 12
    widths = (18, 20, 24, 2) if old else (18, 22, 28, 4)
    width, height = (
        int.from_bytes(content[start : start + widths[3]], "little", signed=not old) for start in widths[:2]
    )
    bits = int.from_bytes(content[widths[2] : widths[2] + 2], "little")
    rows = abs(height)
    if len(content) < 14 + header_bytes or not rows:
        return IntegrityCheck(content, "its header is incomplete")
    if has_run_lengths(content):
        return _check_run_lengths(content, offset, rows)
    stride = -(-width * bits // 32) * 4
    found = (len(content) - offset) // stride if stride > 0 else rows
    if stride * rows - 3 <= len(content) - offset:  # the padding of the last row may be missing
        return IntegrityCheck(content + bytes(3))
    return IntegrityCheck(
        content + bytes(max(0, stride * rows - (len(content) - offset))), describe_missing_rows(found, rows)
    )


def has_run_lengths(content: bytes) -> bool:
    """Whether the pixels of a BMP are run-length encoded; those with the oldest header never are."""
    return content[14:18] != b"\x0c\0\0\0" and int.from_bytes(content[30:34], "little") in _BMP_RUN_LENGTHS


def _check_run_lengths(content: bytes, offset: int, rows: int) -> IntegrityCheck:
    """Follow the runs of a compressed BMP to its end marker."""
    position, done = offset, 0
    while position + 2 <= len(content):
        count, value = content[position], content[position + 1]
        position += 2
        if count == 0:
            if value == 1:
                return IntegrityCheck(content)
            done += value == 0 or (value == 2 and content[position + 1 : position + 2] > b"\0")
            rle4 = int.from_bytes(content[30:34], "little") == 2
            literal = -(-value // 2) if rle4 else value
            position += 2 if value == 2 else literal + literal % 2 if value > 2 else 0
        if done >= rows:
            return IntegrityCheck(content + _END_OF_BITMAP)
    return IntegrityCheck(content + _END_OF_BITMAP, describe_missing_rows(done, rows))


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
            most = max(_FEWEST_ZEROS, int(_ZEROS_PER_PIXEL * _webp_pixels(content, kind, start)))
            if bytes(most) in content[start:stop]:
                wrong = f"its compressed data are corrupt (a run of {most} zero bytes)"
                return IntegrityCheck(content, f"{wrong}: an unknown part of the picture is wrong")
        if kind != b"ALPH":  # only the first picture of an animation is read
            return IntegrityCheck(content)
    return IntegrityCheck(content, "no picture data were found")


def _webp_pixels(content: bytes, kind: bytes, start: int) -> int:
    """Number of pixels of a picture, from the header of its data."""
    if kind == b"VP8L":
        packed = int.from_bytes(content[start + 1 : start + 5], "little")
        return ((packed & 0x3FFF) + 1) * ((packed >> 14 & 0x3FFF) + 1)
    width, height = (int.from_bytes(content[position : position + 2], "little") for position in (start + 6, start + 8))
    return (width & 0x3FFF) * (height & 0x3FFF)


def _webp_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and stop of the data of each chunk; the last may extend beyond the file."""
    position = 12
    while position + 8 <= len(content):
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        yield content[position : position + 4], position + 8, position + 8 + length
        position += 8 + length + length % 2


# In coded data, a 3 is inserted where two zeros would be followed by 0, 1 or 2 (ITU-T H.265, 7.4.2.3).
_FORBIDDEN = re.compile(rb"\x00\x00[\x00-\x02]")
_PICTURES = (b"hvc1", b"grid", b"av01", b"iden")
_LENGTH_SIZE = 21  # offset of the size, minus one, of the lengths of coded units in the decoder configuration


@dataclass
class _HeifItems:
    """Content of the meta box: kinds of items, and position of their data (offset, length)."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    extents: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    parts: dict[int, list[int]] = field(default_factory=dict)


def check_heif(content: bytes) -> IntegrityCheck:
    """Check the primary picture of a HEIC and its tiles; missing bytes are filled with zeros."""
    try:
        items = _items(content)
    except (struct.error, IndexError, ValueError, StopIteration):
        return IntegrityCheck(content)  # libheif reports errors of the boxes
    picture_items = {items.primary, *items.parts.get(items.primary, ())}
    extents = [
        extent for item in picture_items if items.kinds.get(item) in _PICTURES for extent in items.extents.get(item, ())
    ]
    end = max((start + length for start, length in extents), default=0)
    if end > len(content):
        found = sum(max(0, min(length, len(content) - start)) for start, length in extents)
        return IntegrityCheck(
            content + bytes(end - len(content)), describe_missing_bytes(found, sum(length for _, length in extents))
        )
    prefix = _length_size(content)
    for item in picture_items:
        data = b"".join(content[start : start + length] for start, length in items.extents.get(item, ()))
        if items.kinds.get(item) == b"hvc1" and not _is_sound(data, prefix):
            wrong = "its compressed data are corrupt (bytes that HEVC does not allow)"
            return IntegrityCheck(content, f"{wrong}: an unknown part of the picture is wrong")
    return IntegrityCheck(content)


def _length_size(content: bytes) -> int:
    """Number of bytes of the length before each coded unit."""
    position = content.find(b"hvcC")
    if position < 0 or position + 4 + _LENGTH_SIZE >= len(content):
        return 4
    return (content[position + 4 + _LENGTH_SIZE] & 3) + 1


def _is_sound(data: bytes, prefix: int) -> bool:
    """Whether coded units fill the data exactly, without a forbidden sequence."""
    position = 0
    while position + prefix <= len(data):
        length = int.from_bytes(data[position : position + prefix], "big")
        position += prefix
        if not length or position + length > len(data) or _FORBIDDEN.search(data, position, position + length):
            return False
        position += length
    return position == len(data)


def _boxes(content: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and stop of the body of each box."""
    while start + 8 <= stop:
        length, kind = struct.unpack_from(">I4s", content, start)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", content, start + 8)[0], 16
        length = stop - start if length == 0 else length
        if length < head:
            raise ValueError("a box shorter than its header")
        yield kind, start + head, min(start + length, stop)
        start += length


def _items(content: bytes) -> _HeifItems:
    """Read the boxes with the positions of the pictures."""
    items = _HeifItems()
    meta = next((start, stop) for kind, start, stop in _boxes(content, 0, len(content)) if kind == b"meta")
    data = 0
    locations: list[tuple[int, int, int]] = []
    for kind, start, stop in _boxes(content, meta[0] + 4, meta[1]):
        version = content[start]
        if kind == b"pitm":
            items.primary = struct.unpack_from(">H" if version == 0 else ">I", content, start + 4)[0]
        elif kind == b"iinf":
            for entry, begin, _ in _boxes(content, start + (6 if version == 0 else 8), stop):
                if entry == b"infe" and content[begin] >= 2:
                    wide = content[begin] > 2
                    number = struct.unpack_from(">I" if wide else ">H", content, begin + 4)[0]
                    position = begin + (10 if wide else 8)
                    items.kinds[number] = content[position : position + 4]
        elif kind == b"iref":
            _add_parts(items, content, start, stop)
        elif kind == b"idat":
            data = start
        elif kind == b"iloc":
            locations = [(start, stop, version)]
    for start, _, version in locations:
        _add_extents(items, content, start, version, data)
    return items


def _add_parts(items: _HeifItems, content: bytes, start: int, stop: int) -> None:
    """Read the tiles of a grid."""
    form = ">H" if content[start] == 0 else ">I"
    size = struct.calcsize(form)
    for kind, begin, _ in _boxes(content, start + 4, stop):
        if kind == b"dimg":
            whole = struct.unpack_from(form, content, begin)[0]
            count = struct.unpack_from(">H", content, begin + size)[0]
            first = begin + size + 2
            items.parts[whole] = [struct.unpack_from(form, content, first + n * size)[0] for n in range(count)]


def _add_extents(items: _HeifItems, content: bytes, start: int, version: int, data: int) -> None:
    """Read the position of the data of each item (ISO/IEC 14496-12, 8.11.3)."""
    sizes = struct.unpack_from(">BB", content, start + 4)
    offset_size, length_size, base_size, index_size = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4, sizes[1] & 15
    position = start + 6
    wide = version > 1
    count = struct.unpack_from(">I" if wide else ">H", content, position)[0]
    position += 4 if wide else 2

    def number(size: int) -> int:
        nonlocal position
        position += size
        return int.from_bytes(content[position - size : position], "big")

    for _ in range(count):
        item = number(4 if wide else 2)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_size) + (data if method == 1 else 0)
        for _ in range(number(2)):
            if version and index_size:
                number(index_size)
            offset = base + number(offset_size)
            items.extents.setdefault(item, []).append((offset, number(length_size)))
        if position > len(content):
            raise ValueError("cut off")

"""Integrity check of PNG: checksums of the chunks, and number of rows in the compressed data."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from napari_melanoma.io.damage.integrity import IntegrityCheck, describe_missing_rows

__all__ = ["PngHeader", "check", "header"]

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
        """Return the number of rows in decompressed data.

        Parameters
        ----------
        raw : int
            Number of decompressed bytes.

        Returns
        -------
        int
            For an interlaced picture, the corresponding share of the rows.
        """
        return self.height * raw // self.raw_bytes


@dataclass(frozen=True)
class _PngChunk:
    """A chunk: kind, position of its data, whether its checksum is correct, and whether it is truncated."""

    kind: bytes
    start: int
    stop: int
    sound: bool
    cut: bool


def header(content: bytes) -> PngHeader | None:
    """Read the header of a PNG.

    Parameters
    ----------
    content : bytes
        At least the first 33 bytes of the file.

    Returns
    -------
    PngHeader or None
        None if it is incomplete.
    """
    if len(content) < 29 or content[12:16] != b"IHDR":
        return None
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    return PngHeader(width, height, content[24], content[25], content[28] == 1)


def check(content: bytes) -> IntegrityCheck:
    """Check that the data of a PNG cover its picture and match their checksums.

    Text chunks, which may have a compression ratio of a thousand, are not passed to the decoder.

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    IntegrityCheck
        A PNG with the chunks that determine the pixels; missing rows are black.
    """
    head = header(content)
    chunks = list(_chunks(content))
    if head is None or not chunks:
        return IntegrityCheck(content, "its header is incomplete")
    if not chunks[0].sound:
        return IntegrityCheck(content, "its header is corrupt (a checksum differs), so size and depth are unknown")
    faults = [f"its {_COLORS[one.kind]} is corrupt (a checksum differs)" for one in chunks if _is_bad_color(one)]
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


def _is_bad_color(chunk: _PngChunk) -> bool:
    return chunk.kind in _COLORS and not chunk.sound


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

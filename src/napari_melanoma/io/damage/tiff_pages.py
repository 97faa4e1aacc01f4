"""Decoding of a TIFF page by strips or tiles, which counts missing and corrupt ones.

tifffile pads missing data in some cases and fails for the whole page in others; several of its codecs stop early, or
past the end, without an error.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.io.damage import jpeg
from napari_melanoma.io.damage.integrity import IntegrityCheck, NothingDecoded, describe_missing_rows
from napari_melanoma.io.formats import DAMAGE_ERRORS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tifffile import TiffPage

__all__ = ["count_segments", "decode", "decode_whole_jpeg", "find_segment_damage", "packing", "stored_bytes"]

_NONE, _LZW, _PACKBITS = 1, 5, 32773
_DEFLATE, _JPEG = (8, 32946, 50013), (7, 33007)
_PACKINGS = {_NONE: "raw", _PACKBITS: "rle", _LZW: "deflate", **dict.fromkeys(_DEFLATE, "deflate")}
_SEPARATE = 2
_SOF0, _SOS, _ADOBE = b"\xff\xc0", b"\xff\xda", b"Adobe"
_TRANSFORMS = {
    (1, 1): 0,
    (2, 3): 0,
    (6, 3): 1,
}  # photometric interpretation and samples to the Adobe code for YCbCr or not


def stored_bytes(page: TiffPage) -> int:
    """Count the bytes of a page's pixels in the file.

    Parameters
    ----------
    page : tifffile.TiffPage
        The page.

    Returns
    -------
    int
        At most the size of the file.
    """
    size = page.parent.filehandle.size
    segments = zip(page.dataoffsets, page.databytecounts, strict=False)
    return min(size, sum(max(0, min(count, size - offset)) for offset, count in segments if offset))


def packing(page: TiffPage) -> str:
    """Return the key of ``formats.PIXELS_PER_BYTE`` for a page.

    Parameters
    ----------
    page : tifffile.TiffPage
        The page.

    Returns
    -------
    str
        "" where its compression ratio is not limited.
    """
    return "JPEG" if page.compression in _JPEG else _PACKINGS.get(int(page.compression), "")


def decode(page: TiffPage) -> tuple[NDArray, str | None]:
    """Decode a page as far as possible.

    Parameters
    ----------
    page : tifffile.TiffPage
        Two-dimensional, within the limits of ``formats``.

    Returns
    -------
    tuple
        Samples (row, column, channel), 0 where missing, and a description of the damage; None without damage.

    Raises
    ------
    UnreadableImage
        Nothing could be decoded.
    Exception
        An error of tifffile for an unsupported compression.
    """
    pixels = np.zeros((page.imagelength, page.imagewidth, page.samplesperpixel), page.dtype)
    missing = np.zeros(page.imagelength, bool)
    reasons: list[str] = []
    expected = count_segments(page)
    separate = page.planarconfig == _SEPARATE
    for index in range(expected):
        segment, at, shape = _segment(page, index, reasons)
        plane, row, column = at[0], at[2], at[3]
        rows = min(shape[1], page.imagelength - row)
        found = 0 if segment is None else segment.shape[0]
        if found < rows:
            missing[row + found : row + rows] = True
        if segment is not None:
            part = segment[:rows, : page.imagewidth - column]
            channels = slice(plane, plane + 1) if separate else slice(None)
            pixels[row : row + part.shape[0], column : column + part.shape[1], channels] = part
    if not missing.any() and not reasons:
        return pixels, None
    if not missing.any():
        return pixels, f"{reasons[0]} (in {len(reasons)} of {expected} parts)"
    rows_missing = describe_missing_rows(int((~missing).sum()), page.imagelength)
    return pixels, f"{rows_missing} ({reasons[0]})" if reasons else rows_missing


def count_segments(page: TiffPage) -> int:
    """Count the strips or tiles that the size of a page requires.

    Parameters
    ----------
    page : tifffile.TiffPage
        The page.

    Returns
    -------
    int
        Of all channels, where they are stored separately.
    """
    planes = page.samplesperpixel if page.planarconfig == _SEPARATE else 1
    if page.is_tiled:
        return planes * math.ceil(page.imagelength / page.tilelength) * math.ceil(page.imagewidth / page.tilewidth)
    return planes * math.ceil(page.imagelength / page.rowsperstrip)


def find_segment_damage(page: TiffPage, data: bytes, shape: tuple[int, ...]) -> str | None:
    """Describe errors in the compressed data of a strip or tile that tifffile would decode without an error.

    Parameters
    ----------
    page : tifffile.TiffPage
        The page.
    data : bytes
        Stored bytes of the strip or tile.
    shape : tuple of int
        (1, row, column, sample) of the strip or tile.

    Returns
    -------
    str or None
        None without errors, or where the decoder itself raises an error for any damage.
    """
    if page.compression in _JPEG:
        return _jpeg(page, data).damage
    if page.compression not in (_LZW, _PACKBITS):
        return None
    import imagecodecs

    expected = shape[1] * _row_bytes(page, shape)
    unpack = imagecodecs.lzw_decode if page.compression == _LZW else imagecodecs.packbits_decode
    full = (page.tilelength if page.is_tiled else page.rowsperstrip) * _row_bytes(page, shape)  # padded last strips
    try:
        found = len(unpack(data, out=max(full, expected) + _row_bytes(page, shape) + 1))
    except DAMAGE_ERRORS:
        return "its compressed data are corrupt"
    # Some writers add up to a row after the pixels.
    sound = found >= expected and (found <= expected + _row_bytes(page, shape) or found == full)
    return None if sound else f"its compressed data are corrupt ({found} bytes decompressed, {expected} expected)"


def decode_whole_jpeg(page: TiffPage, data: bytes, shape: tuple[int, ...]) -> NDArray | None:
    """Decode the JPEG of a strip or tile in one pass, if libjpeg has no warning.

    Parameters
    ----------
    page : tifffile.TiffPage
        The page.
    data : bytes
        Stored bytes of the strip or tile.
    shape : tuple of int
        (1, row, column, sample) of the strip or tile.

    Returns
    -------
    numpy.ndarray or None
        uint8 (row, column, sample), as from tifffile; None where the stream is damaged or of an unusual kind or size,
        which ``find_segment_damage`` and tifffile handle.

    Raises
    ------
    ValueError
        The stream states a larger picture than its tile; it is not decoded.
    """
    import simplejpeg

    transform = _TRANSFORMS.get((page.photometric, page.samplesperpixel)) if page.compression in _JPEG else None
    scan = data.find(_SOS)
    usual = scan > 0 and data[scan + 4 : scan + 5] == bytes((page.samplesperpixel,)) and _SOF0 in data[:scan]
    if transform is None or not usual or _ADOBE in data[:scan] or data.count(_SOS) > 1 or jpeg.ZEROS in data:
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


def _segment(page: TiffPage, index: int, reasons: list[str]) -> tuple[NDArray | None, tuple[int, ...], tuple[int, ...]]:
    """Decode a strip or tile: (row, column, channel) of the readable rows, its position, and its full shape."""
    _, at, shape = page.decode(None, index)
    file = page.parent.filehandle
    known = index < min(len(page.dataoffsets), len(page.databytecounts))
    offset, count = (page.dataoffsets[index], page.databytecounts[index]) if known else (0, 0)
    if not offset or not count or offset >= file.size:
        return None, at, shape
    file.seek(offset)
    data = file.read(min(count, file.size - offset))
    damage = find_segment_damage(page, data, shape)
    if damage is None and len(data) == count:
        try:
            decoded = _decoded(page, data, index)
        except DAMAGE_ERRORS as error:
            damage = f"its compressed data are corrupt ({str(error)[:80] or type(error).__name__})"
        else:
            return decoded, at, shape
    if damage:
        reasons.append(damage)
    return _decode_partial(page, data, index, shape), at, shape


def _decoded(page: TiffPage, data: bytes, index: int) -> NDArray:
    """A strip or tile decoded by tifffile, (row, column, channel)."""
    tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in _JPEG else {}
    segment = page.decode(data, index, **tables)[0]
    assert segment is not None
    return segment[0]


def _row_bytes(page: TiffPage, shape: tuple[int, ...]) -> int:
    """Number of bytes of a decompressed row of a strip or tile."""
    bits = page.bitspersample if isinstance(page.bitspersample, int) else sum(page.bitspersample)
    return -(-shape[2] * shape[3] * bits // 8)


def _jpeg(page: TiffPage, data: bytes) -> IntegrityCheck:
    """Check the JPEG of a strip or tile, with the tables stored in the page."""
    tables = page.jpegtables
    whole = data if not tables else b"\xff\xd8" + tables[2:].removesuffix(b"\xff\xd9") + data[2:]
    try:
        return jpeg.check(whole)
    except NothingDecoded:
        return IntegrityCheck(whole, "none of its rows could be decoded")


def _decode_partial(page: TiffPage, data: bytes, index: int, shape: tuple[int, ...]) -> NDArray | None:
    """Decode the complete rows of a truncated or corrupt strip or tile, or return None."""
    import imagecodecs

    row_bytes = _row_bytes(page, shape)
    if page.compression in _JPEG:
        data = _jpeg(page, data).content
        raw = None
    elif page.compression == _NONE:
        raw = data
    elif page.compression in _DEFLATE:
        raw = _inflate(data)
    elif page.compression in (_LZW, _PACKBITS):
        unpack = imagecodecs.lzw_decode if page.compression == _LZW else imagecodecs.packbits_decode
        try:
            raw = bytes(unpack(data))
        except DAMAGE_ERRORS:
            return None
    else:
        return None
    try:
        if raw is None:
            segment = page.decode(data, index)[0]
            return None if segment is None else segment[0]
        rows = min(len(raw) // row_bytes, shape[1])
        filled = raw[: rows * row_bytes] + bytes((shape[1] - rows) * row_bytes)
        return _decode_unpacked(page, filled, index)[:rows] if rows else None
    except DAMAGE_ERRORS:
        return None


def _inflate(data: bytes) -> bytes:
    """Inflate data up to the end or the first error."""
    unpack = zlib.decompressobj()
    parts = []
    try:
        for position in range(0, len(data), 256):
            parts.append(unpack.decompress(data[position : position + 256]))
    except zlib.error:
        pass
    return b"".join(parts)


def _decode_unpacked(page: TiffPage, raw: bytes, index: int) -> NDArray:
    """Decode the decompressed bytes of a strip or tile, by compressing them as the page requires."""
    import imagecodecs

    if page.compression in _DEFLATE:
        raw = zlib.compress(raw, 1)
    elif page.compression == _LZW:
        raw = bytes(imagecodecs.lzw_encode(raw))
    elif page.compression == _PACKBITS:
        raw = bytes(imagecodecs.packbits_encode(raw))
    return _decoded(page, raw, index)

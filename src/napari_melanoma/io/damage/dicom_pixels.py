"""Integrity checks of DICOM pixel data: their length, and compressed frames by the rules of their format."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from napari_melanoma.io.damage import jpeg
from napari_melanoma.io.damage.integrity import IntegrityCheck, describe_missing_bytes, describe_missing_rows
from napari_melanoma.io.formats import DAMAGE_ERRORS, check_plausible

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["check"]

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF
_RLE = "1.2.840.10008.1.2.5"
_JPEG = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70)}
_JPEG2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_RLE_HEADER = 64
_ZEROS = re.compile(rb"\x00{128,}")  # the arithmetic coder of JPEG 2000 writes none; empty packets take a byte each


def check(content: bytes, place: int, head: Dataset) -> IntegrityCheck:
    """Check that the pixel data of a file with one frame are complete.

    Parameters
    ----------
    content : bytes
        The file.
    place : int
        Offset of the pixel data element.
    head : pydicom.Dataset
        The elements before it, with the file meta information.

    Returns
    -------
    IntegrityCheck
        The file with missing bytes filled.

    Raises
    ------
    UnreadableImage
        There are no pixel data, or far fewer than the header states.
    """
    syntax = head.file_meta.TransferSyntaxUID
    if syntax.is_deflated or content[place : place + 4] not in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"):
        return IntegrityCheck(content)  # pydicom reports the error
    if syntax.is_encapsulated:
        return _check_frame(content, place + 12, head)
    return _check_plain(content, place, head)


def _check_plain(content: bytes, place: int, head: Dataset) -> IntegrityCheck:
    """Check uncompressed pixels."""
    from pydicom.pixels.utils import get_expected_length

    syntax = head.file_meta.TransferSyntaxUID
    start = place + (8 if syntax.is_implicit_VR else 12)
    order = "<I" if syntax.is_little_endian else ">I"
    stated = struct.unpack_from(order, content, start - 4)[0]
    expected = get_expected_length(head)
    found = min(stated, len(content) - start)
    check_plausible(head.Columns, head.Rows, found, "raw")
    if found >= expected:
        return IntegrityCheck(content)
    planes = head.SamplesPerPixel if head.get("PlanarConfiguration") else 1
    last = max(0, found - (planes - 1) * expected // planes)  # a row is complete only with its last plane
    damage = describe_missing_rows(last * head.Rows * planes // expected, head.Rows)
    length = struct.pack(order, expected + expected % 2)
    pixels = content[start : start + found].ljust(expected + expected % 2, b"\0")
    return IntegrityCheck(content[: start - 4] + length + pixels, damage)


def _check_frame(content: bytes, start: int, head: Dataset) -> IntegrityCheck:
    """Check a compressed frame."""
    fragments, missing, stop = _fragments(content, start)
    frame = b"".join(fragments)
    syntax = str(head.file_meta.TransferSyntaxUID)
    check_plausible(head.Columns, head.Rows, len(frame), _packing(syntax, frame))
    damage = describe_missing_bytes(len(frame), len(frame) + missing) if missing else None
    if syntax in _JPEG and jpeg.JpegStream.parse(frame).precision == 8:
        checked = jpeg.check(frame)
        frame, damage = checked.content, checked.damage
    elif syntax in _JPEG2000 and not damage and (zeros := _ZEROS.search(frame)):
        damage = f"its compressed data are corrupt (a run of {zeros.end() - zeros.start()} zero bytes)"
    elif syntax == _RLE:
        checked = _check_run_lengths(frame, head)
        frame, damage = checked.content, checked.damage
    if not damage and stop is not None:
        return IntegrityCheck(content)
    items = _ITEM + bytes(4) + _ITEM + struct.pack("<I", len(frame) + len(frame) % 2) + frame + bytes(len(frame) % 2)
    rest = content[stop:] if stop is not None else _END + bytes(4)
    return IntegrityCheck(content[:start] + items + rest, damage)


def _packing(syntax: str, frame: bytes) -> str:
    """Key of ``formats.PIXELS_PER_BYTE`` for a compressed frame; "" where a uniform image takes nearly no data."""
    if syntax == _RLE:
        return "rle"
    return "JPEG" if syntax in _JPEG and not jpeg.JpegStream.parse(frame).is_arithmetic else ""


def _fragments(content: bytes, position: int) -> tuple[list[bytes], int, int | None]:
    """The fragments after the offset table, the number of missing bytes, and the offset of the end marker."""
    found: list[bytes] = []
    while position + 8 <= len(content):
        tag, length = content[position : position + 4], struct.unpack_from("<I", content, position + 4)[0]
        if tag == _END:
            return found[1:], 0, position
        if tag != _ITEM or length == _UNDEFINED:
            break
        found.append(content[position + 8 : position + 8 + length])
        if position + 8 + length > len(content):
            return found[1:], position + 8 + length - len(content), None
        position += 8 + length
    return found[1:], 0, None


def _check_run_lengths(frame: bytes, head: Dataset) -> IntegrityCheck:
    """Check that each segment of a run-length encoded frame decodes to one byte per pixel (PS3.5, annex G)."""
    import imagecodecs

    if len(frame) < _RLE_HEADER:
        return IntegrityCheck(frame, describe_missing_bytes(0, 1))
    count, *offsets = struct.unpack_from("<16L", frame)
    expected = head.Rows * head.Columns
    offsets = offsets[: min(count, 15)]
    ends = [*offsets[1:], len(frame)]
    segments, rows, corrupt = [], head.Rows, False
    for begin, end in zip(offsets, ends, strict=True):
        try:
            raw = bytes(imagecodecs.packbits_decode(frame[begin:end], out=expected + 2))
        except DAMAGE_ERRORS:
            raw = b""
        rows = min(rows, len(raw) // head.Columns)
        corrupt = corrupt or len(raw) > expected + 1
        segments.append(raw[:expected].ljust(expected, b"\0"))
    if rows == head.Rows and not corrupt:
        return IntegrityCheck(frame)
    packed = [bytes(imagecodecs.packbits_encode(one)) for one in segments]
    packed = [one + bytes(len(one) % 2) for one in packed]
    starts = [_RLE_HEADER + sum(map(len, packed[:number])) for number in range(len(packed))]
    table = struct.pack("<16L", len(packed), *starts, *[0] * (15 - len(packed)))
    fault = "its compressed data are corrupt: an unknown part of the picture is wrong"
    return IntegrityCheck(
        table + b"".join(packed), fault if rows == head.Rows else describe_missing_rows(rows, head.Rows)
    )

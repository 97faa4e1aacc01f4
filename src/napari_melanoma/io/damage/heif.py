"""Integrity check of HEIC: items lie within the file, and HEVC data contain no forbidden sequence."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from napari_melanoma.io.damage.integrity import IntegrityCheck, describe_missing_bytes

__all__ = ["check"]

# In coded data, a 3 is inserted where two zeros would be followed by 0, 1 or 2 (ITU-T H.265, 7.4.2.3).
_FORBIDDEN = re.compile(rb"\x00\x00[\x00-\x02]")
_PICTURES = (b"hvc1", b"grid", b"av01", b"iden")
_LENGTH_SIZE = (
    21  # offset in the decoder configuration of the number (minus one) of length bytes before each coded unit
)


@dataclass
class _HeifItems:
    """Content of the meta box: kinds of items, and position of their data (offset, length)."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    extents: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    parts: dict[int, list[int]] = field(default_factory=dict)


def check(content: bytes) -> IntegrityCheck:
    """Check the data of the primary picture of a HEIC and of its tiles.

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    IntegrityCheck
        With the missing bytes filled with zeros.
    """
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
    """Number of bytes before each coded unit that state its length."""
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

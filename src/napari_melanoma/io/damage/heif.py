"""Whether a HEIC is whole: its items lie in the file, and their HEVC data hold no sequence that HEVC forbids."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from napari_melanoma.io.damage.integrity import IntegrityCheck, describe_missing_bytes

__all__ = ["check"]

# Coded data have a 3 inserted wherever two zeros would be followed by 0, 1 or 2 (ITU-T H.265, 7.4.2.3).
_FORBIDDEN = re.compile(rb"\x00\x00[\x00-\x02]")
_PICTURES = (b"hvc1", b"grid", b"av01", b"iden")
_LENGTH_SIZE = 21  # offset in the decoder configuration of the number (less one) of bytes before each coded unit


@dataclass
class _HeifItems:
    """What the meta box says: which item is of which kind, and where its data lie (offset, length)."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    extents: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    parts: dict[int, list[int]] = field(default_factory=dict)


def check(content: bytes) -> IntegrityCheck:
    """Check the data of the primary picture of a HEIC, and of its tiles.

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    Checked
        Filled up with zeros.
    """
    try:
        items = _items(content)
    except (struct.error, IndexError, ValueError, StopIteration):
        return IntegrityCheck(content)  # libheif says what is wrong with the boxes
    wanted = {items.primary, *items.parts.get(items.primary, ())}
    extents = [
        extent for item in wanted if items.kinds.get(item) in _PICTURES for extent in items.extents.get(item, ())
    ]
    end = max((start + length for start, length in extents), default=0)
    if end > len(content):
        found = sum(max(0, min(length, len(content) - start)) for start, length in extents)
        return IntegrityCheck(
            content + bytes(end - len(content)), describe_missing_bytes(found, sum(length for _, length in extents))
        )
    prefix = _length_size(content)
    for item in wanted:
        data = b"".join(content[start : start + length] for start, length in items.extents.get(item, ()))
        if items.kinds.get(item) == b"hvc1" and not _is_sound(data, prefix):
            wrong = "its compressed data are corrupt (bytes that HEVC does not allow)"
            return IntegrityCheck(content, f"{wrong}: an unknown part of the picture is wrong")
    return IntegrityCheck(content)


def _length_size(content: bytes) -> int:
    """How many bytes before each coded unit state its length."""
    place = content.find(b"hvcC")
    return 4 if place < 0 or place + 4 + _LENGTH_SIZE >= len(content) else (content[place + 4 + _LENGTH_SIZE] & 3) + 1


def _is_sound(data: bytes, prefix: int) -> bool:
    """Whether the units of coded data fill them exactly and hold no forbidden sequence."""
    place = 0
    while place + prefix <= len(data):
        length = int.from_bytes(data[place : place + prefix], "big")
        place += prefix
        if not length or place + length > len(data) or _FORBIDDEN.search(data, place, place + length):
            return False
        place += length
    return place == len(data)


def _boxes(content: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and stop of each box's body."""
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
    """Read the boxes that say where the pictures lie."""
    items = _HeifItems()
    meta = next((start, stop) for kind, start, stop in _boxes(content, 0, len(content)) if kind == b"meta")
    data = 0
    places: list[tuple[int, int, int]] = []
    for kind, start, stop in _boxes(content, meta[0] + 4, meta[1]):
        version = content[start]
        if kind == b"pitm":
            items.primary = struct.unpack_from(">H" if version == 0 else ">I", content, start + 4)[0]
        elif kind == b"iinf":
            for entry, begin, _ in _boxes(content, start + (6 if version == 0 else 8), stop):
                if entry == b"infe" and content[begin] >= 2:
                    wide = content[begin] > 2
                    number = struct.unpack_from(">I" if wide else ">H", content, begin + 4)[0]
                    place = begin + (10 if wide else 8)
                    items.kinds[number] = content[place : place + 4]
        elif kind == b"iref":
            _add_parts(items, content, start, stop)
        elif kind == b"idat":
            data = start
        elif kind == b"iloc":
            places = [(start, stop, version)]
    for start, _, version in places:
        _add_extents(items, content, start, version, data)
    return items


def _add_parts(items: _HeifItems, content: bytes, start: int, stop: int) -> None:
    """Read which tiles a grid is made of."""
    form = ">H" if content[start] == 0 else ">I"
    size = struct.calcsize(form)
    for kind, begin, _ in _boxes(content, start + 4, stop):
        if kind == b"dimg":
            whole = struct.unpack_from(form, content, begin)[0]
            count = struct.unpack_from(">H", content, begin + size)[0]
            first = begin + size + 2
            items.parts[whole] = [struct.unpack_from(form, content, first + n * size)[0] for n in range(count)]


def _add_extents(items: _HeifItems, content: bytes, start: int, version: int, data: int) -> None:
    """Read where the data of each item lie (ISO/IEC 14496-12, 8.11.3)."""
    sizes = struct.unpack_from(">BB", content, start + 4)
    offset_size, length_size, base_size, index_size = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4, sizes[1] & 15
    place = start + 6
    wide = version > 1
    count = struct.unpack_from(">I" if wide else ">H", content, place)[0]
    place += 4 if wide else 2

    def number(size: int) -> int:
        nonlocal place
        place += size
        return int.from_bytes(content[place - size : place], "big")

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
        if place > len(content):
            raise ValueError("cut off")

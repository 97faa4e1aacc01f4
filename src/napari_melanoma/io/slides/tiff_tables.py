"""How long each tile of a TIFF file is, as its directories say: a few bytes that differ where its content does."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MOST_PAGES, _MOST_TAGS, _MOST_BYTES = 10_000, 4096, 2**26
_BIG, _SUB_PAGES, _STRIP_BYTES, _TILE_BYTES = 43, 330, 279, 325
_TYPE_BYTES = {3: 2, 4: 4, 13: 4, 16: 8, 18: 8}  # SHORT, LONG, IFD, LONG8, IFD8
_LETTERS = {2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True)
class _Layout:
    """Byte order and widths of a file: of the count of tags, of an offset, of a tag."""

    order: str
    count: int
    offset: int
    entry: int

    def number(self, data: bytes) -> int:
        """Read an unsigned number of 2, 4 or 8 bytes."""
        return int(struct.unpack(f"{self.order}{_LETTERS[len(data)]}", data)[0])


def length_tables(file: BinaryIO) -> Iterator[bytes]:
    """Give the lengths of tiles or strips of each page, pages within pages too, as they stand in the file."""
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return
    big = struct.unpack(f"{order}H", head[2:4])[0] == _BIG
    layout = _Layout(order, 8, 8, 20) if big else _Layout(order, 2, 4, 12)
    waiting, seen, told = [layout.number(head[8:16] if big else head[4:8])], set[int](), 0
    while waiting and len(seen) < _MOST_PAGES and told < _MOST_BYTES:
        offset = waiting.pop(0)
        if offset == 0 or offset in seen:
            continue
        seen.add(offset)
        for tag, values, width in _tags(file, offset, layout, waiting):
            if tag == _SUB_PAGES:
                waiting += [layout.number(values[at : at + width]) for at in range(0, len(values), width)]
            else:
                told += len(values)
                yield values


def _tags(file: BinaryIO, offset: int, layout: _Layout, waiting: list[int]) -> Iterator[tuple[int, bytes, int]]:
    """Tags of a page that matter here, with the bytes of their values and of one value; the next page waits."""
    file.seek(offset)
    counted = file.read(layout.count)
    if len(counted) < layout.count or layout.number(counted) > _MOST_TAGS:
        return
    count = layout.number(counted)
    page = file.read(count * layout.entry + layout.offset)
    if len(page) < count * layout.entry + layout.offset:
        return
    waiting.append(layout.number(page[-layout.offset :]))
    for at in range(0, count * layout.entry, layout.entry):
        tag, kind = layout.number(page[at : at + 2]), layout.number(page[at + 2 : at + 4])
        width = _TYPE_BYTES.get(kind, 0)
        if tag in (_SUB_PAGES, _STRIP_BYTES, _TILE_BYTES) and width:
            field = page[at + 4 : at + layout.entry]
            length = width * layout.number(field[: layout.offset])
            yield tag, _values(file, field[layout.offset :], length, layout), width


def _values(file: BinaryIO, field: bytes, length: int, layout: _Layout) -> bytes:
    """Values of a tag, which stand in the tag itself where they are short; none where the file ends before them."""
    if length <= layout.offset:
        return field[:length]
    if length > _MOST_BYTES:
        return b""
    file.seek(layout.number(field))
    values = file.read(length)
    return values if len(values) == length else b""

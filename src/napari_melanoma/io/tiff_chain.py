"""The chain of pages of a TIFF file: whether it is cut off, and whether it ever ends."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

_MOST_PAGES = 10_000
_BIG = 43
_ENTRY, _BIG_ENTRY = 12, 20  # bytes of a tag in a directory

TRUNCATED = "the file is truncated: pages are missing that its directory names. Copy it again from its source."


def is_cut_off(path: Path) -> bool:
    """Follow the pages of a TIFF file to the last one.

    True where a page lies beyond the end of the file.
    """
    with path.open("rb") as file:
        return any(offset is None for offset in islice(_pages(file), _MOST_PAGES))


def refuse_endless(file: IO[bytes]) -> None:
    """Refuse a file whose pages lead back to an earlier one, which libraries would follow for ever."""
    before, seen = file.tell(), set[int]()
    for offset in _pages(file):
        if offset in seen:
            raise ValueError("its chain of pages leads back to an earlier page and never ends")
        if offset is not None:
            seen.add(offset)
    file.seek(before)


def _pages(file: IO[bytes]) -> Iterator[int | None]:
    """Where each page of a TIFF file begins, in the order of their chain; at last None where one is beyond the end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return
    big = struct.unpack(f"{order}H", head[2:4])[0] == _BIG
    count_format, offset_format, entry = ("Q", "Q", _BIG_ENTRY) if big else ("H", "I", _ENTRY)
    offset = struct.unpack(f"{order}{offset_format}", head[8:16] if big else head[4:8])[0]
    while offset:
        yield offset if offset < size else None
        if offset >= size:
            return
        file.seek(offset)
        count_bytes = file.read(struct.calcsize(count_format))
        if len(count_bytes) < struct.calcsize(count_format):
            yield None
            return
        after = offset + len(count_bytes) + struct.unpack(order + count_format, count_bytes)[0] * entry
        file.seek(min(after, size))  # what lies beyond cannot be sought
        next_bytes = file.read(struct.calcsize(offset_format))
        if len(next_bytes) < struct.calcsize(offset_format):
            yield None
            return
        offset = struct.unpack(order + offset_format, next_bytes)[0]

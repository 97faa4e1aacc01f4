"""Whether all pages of a TIFF file lie within it: a truncated one may open with those that are left, without a word."""

from __future__ import annotations

import struct
from pathlib import Path

_MOST_PAGES = 10_000
_BIG = 43
_ENTRY, _BIG_ENTRY = 12, 20  # bytes of a tag in a directory

TRUNCATED = "the file is truncated: pages are missing that its directory names. Copy it again from its source."


def is_cut_off(path: Path) -> bool:
    """Follow the pages of a TIFF file to the last one.

    Parameters
    ----------
    path : pathlib.Path
        A TIFF or BigTIFF file, or one of their kin such as NDPI; any other is not cut off.

    Returns
    -------
    bool
        True where a page lies beyond the end of the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 16:
            return False
        big = struct.unpack(f"{order}H", head[2:4])[0] == _BIG
        count_format, offset_format, entry = ("Q", "Q", _BIG_ENTRY) if big else ("H", "I", _ENTRY)
        offset = struct.unpack(f"{order}{offset_format}", head[8:16] if big else head[4:8])[0]
        for _ in range(_MOST_PAGES):
            if offset == 0:
                return False
            if offset >= size:
                return True
            file.seek(offset)
            count_bytes = file.read(struct.calcsize(count_format))
            if len(count_bytes) < struct.calcsize(count_format):
                return True
            file.seek(struct.unpack(order + count_format, count_bytes)[0] * entry, 1)
            next_bytes = file.read(struct.calcsize(offset_format))
            if len(next_bytes) < struct.calcsize(offset_format):
                return True
            offset = struct.unpack(order + offset_format, next_bytes)[0]
    return False

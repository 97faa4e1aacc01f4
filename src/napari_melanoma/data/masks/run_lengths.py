"""The run lengths of COCO: how long each run of pixels is, outside and inside by turns, down the columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import DataSetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIRST, _BITS, _MORE, _SIGN = 48, 5, 0x20, 0x10


def decode(counts: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Turn run lengths into a mask.

    ``counts``: pixels outside, inside, outside ... Returns bool (row, column).
    """
    if sum(counts) != size[0] * size[1] or min(counts, default=0) < 0:
        raise DataSetError(
            f"run lengths add up to {sum(counts)} pixels, but {size[0]} rows of {size[1]} were expected. "
            "Export the masks again."
        )
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(size, order="F")


def decompress(text: str) -> list[int]:
    """Read the text that COCO's tools make of run lengths.

    Each number is written in digits of five bits, the lowest first, from the character ``0`` on, with a sixth bit
    where more follow; from the fourth one on, a number is what it differs by from the one before the last.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - _FIRST
        if not 0 <= digit < 2 * _MORE:
            raise DataSetError(f"'{character}' does not occur in compressed run lengths. Export the masks again.")
        value |= (digit & (_MORE - 1)) << shift
        shift += _BITS
        if digit & _MORE:
            continue
        if digit & _SIGN:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise DataSetError("compressed run lengths end in the middle of a number. Export the masks again.")
    return counts

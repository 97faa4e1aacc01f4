"""The run lengths of painted areas in label-studio, which packs the pixels of an RGBA image into bits (rle-pack).

A header has the number of values (32 bits), the bits of a value, and four possible sizes of a run length. Blocks
follow: one bit that is set for a repeated value, two bits that select the size, the length, and the value or values.
Sizes and lengths are stored reduced by 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import DataSetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COUNT_BITS, _WORD_BITS, _SIZE_BITS = 32, 5, 4
_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)  # that label-studio itself writes
_CHANNELS = 4
_PAINTED = 128  # smallest opacity of a painted pixel


def decode_brush(runs: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode a painted area of ``size`` (rows, columns) from bytes, as bool (row, column)."""
    expected = size[0] * size[1] * _CHANNELS
    try:
        reader = _BitReader(bytes(runs))
        count, value_bits = reader.read(_COUNT_BITS), reader.read(_WORD_BITS) + 1
        if count != expected:
            raise ValueError(f"{count} values, expected {expected}")
        length_bits = [reader.read(_SIZE_BITS) + 1 for _ in _LENGTH_BITS]
        values, position = np.zeros(count, np.uint32), 0
        while position < count:
            is_repeated = reader.read(1)
            end = position + 1 + reader.read(length_bits[reader.read(2)])
            read = [reader.read(value_bits) for _ in range(1 if is_repeated else end - position)]
            values[position:end] = read[0] if is_repeated else read
            position = end
    except ValueError as error:
        raise DataSetError(
            f"the run lengths of a brush for {size[1]} x {size[0]} pixels are damaged ({error}). Export the "
            "annotations again."
        ) from error
    opacity: NDArray[np.bool_] = values.reshape(*size, _CHANNELS)[..., -1] >= _PAINTED
    return opacity


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Encode an area, bool (row, column), as bytes for label-studio."""
    values = np.repeat(mask.ravel(), _CHANNELS)
    borders = np.flatnonzero(values[1:] != values[:-1]) + 1
    bits = [f"{values.size:032b}", f"{_VALUE_BITS - 1:05b}", *(f"{size - 1:04b}" for size in _LENGTH_BITS)]
    for start, end in zip([0, *borders.tolist()], [*borders.tolist(), values.size], strict=True):
        value = f"{255 * int(values[start]):08b}"
        for first in range(start, end, 1 << _LENGTH_BITS[-1]):
            stored = min(end - first, 1 << _LENGTH_BITS[-1]) - 1
            selected = next(number for number, size in enumerate(_LENGTH_BITS) if stored < 1 << size)
            bits.append(f"1{selected:02b}{stored:0{_LENGTH_BITS[selected]}b}{value}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[start : start + 8], 2) for start in range(0, len(text), 8)]


class _BitReader:
    def __init__(self, content: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in content)
        self._position = 0

    def read(self, count: int) -> int:
        """Read the next bits as a number; raises ``ValueError`` at the end."""
        start, self._position = self._position, self._position + count
        if self._position > len(self._bits):
            raise ValueError(f"they end after {len(self._bits)} bits")
        return int(self._bits[start : self._position], 2)

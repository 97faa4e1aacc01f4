"""A slide of any size in seconds, for benchmarks: a pyramid of tissue-colored noise from a few repeated JPEG tiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile

TILE = 256


def write_noise(path: Path, side: int, mpp: float) -> Path:
    """Write a pyramid; ``side``: in pixels of ``mpp`` micrometers."""
    random = np.random.default_rng(0)
    encoded = []
    for _ in range(24):
        rough = np.kron(random.normal(0, 25, (32, 32, 3)), np.ones((8, 8, 1)))
        tile = np.clip(np.array((205, 140, 180)) + rough + random.normal(0, 10, (TILE, TILE, 3)), 0, 255)
        encoded.append(imagecodecs.jpeg8_encode(tile.astype(np.uint8), level=80, subsampling="420"))
    sides = [side]
    while sides[-1] > 1024:
        sides.append(sides[-1] // 2)

    def tiles(length: int) -> Iterator[bytes]:
        rows = -(-length // TILE)
        return (encoded[index] for index in random.integers(0, len(encoded), rows * rows))

    how: dict[str, Any] = {"dtype": np.uint8, "tile": (TILE, TILE), "photometric": "ycbcr", "metadata": None}
    how |= {"compression": "jpeg", "subsampling": (2, 2), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for number, length in enumerate(sides):
            size = 1e4 / (mpp * 2**number)
            more = {"subifds": len(sides) - 1} if number == 0 else {"subfiletype": 1}
            tiff.write(tiles(length), shape=(length, length, 3), resolution=(size, size), **more, **how)
    return path

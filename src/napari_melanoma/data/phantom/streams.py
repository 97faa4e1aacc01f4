"""Random streams by name, so that one element of a phantom can be switched off without changing any other."""

from __future__ import annotations

from zlib import crc32

import numpy as np


def stream(seed: int, *name: str | int) -> np.random.Generator:
    """Give the random stream of one element."""
    key = tuple(crc32(str(part).encode()) for part in name)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))

"""Random streams by name, so that one element of a phantom can be switched off without changing any other."""

from __future__ import annotations

from zlib import crc32

import numpy as np


def stream(seed: int, *name: str | int) -> np.random.Generator:
    """Give the random stream of one element.

    Parameters
    ----------
    seed : int
        Seed of the phantom.
    *name : str or int
        Path of the element, such as ``("lesion", 0, "shape")``; each name is an independent child of the seed.

    Returns
    -------
    numpy.random.Generator
        Always the same for the same seed and name.
    """
    key = tuple(crc32(str(part).encode()) for part in name)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))

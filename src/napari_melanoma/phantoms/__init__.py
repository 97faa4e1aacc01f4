"""Synthetic lesions, slides and cohorts with known ground truth.

This file has what they share: recognition of phantoms by marks in or beside their files, where a file without marks
counts as real, and the random numbers of their elements.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np

from napari_melanoma.data.dataset import is_phantom_cohort
from napari_melanoma.io.formats import TRUTH_SUFFIX

PHANTOM_DESCRIPTION = "napari-melanoma phantom slide"  # in the first page of a slide's TIFF


def is_phantom(path: Path) -> bool:
    """Whether a file was made by ``napari-melanoma phantom``.

    Such a file has a truth file beside it, is in the folder of a cohort, or is a TIFF with their description.
    """
    if path.with_name(f"{path.stem}{TRUTH_SUFFIX}").is_file() or _has_phantom_description(path):
        return True
    return any(map(is_phantom_cohort, (path.parent, path.parent.parent)))


def _has_phantom_description(path: Path) -> bool:
    import tifffile

    if path.suffix.lower() not in (".tif", ".tiff") or not path.is_file():
        return False
    try:
        with tifffile.TiffFile(path) as file:
            return str(file.pages.first.description) == PHANTOM_DESCRIPTION
    except (OSError, ValueError, IndexError, tifffile.TiffFileError):
        return False


def random_stream(seed: int, *name: str | int) -> np.random.Generator:
    """Return the random generator of one element of a phantom; its numbers do not depend on other elements.

    ``name``: of the element, such as ``"lesion", 0, "shape"``.
    """
    key = tuple(crc32(str(part).encode()) for part in name)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))

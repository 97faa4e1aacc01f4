"""Photographs and masks as ``.npy`` files, through which the viewer and the worker process exchange them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.formats import DAMAGE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def read_rgb_array(path: Path) -> NDArray[np.uint8]:
    """Map the pixels of a photograph.

    Returns uint8 (row, column, channel=3), read-only.
    """
    values = _mapped(path)
    if values.dtype != "uint8" or values.ndim != 3 or values.shape[2] != 3 or not values.size:
        raise _other(path, values, "uint8 (row, column, channel=3)")
    return values


def read_mask_array(path: Path) -> NDArray[np.bool_]:
    """Read a mask.

    Returns bool (row, column).
    """
    values = _mapped(path)
    if values.dtype.kind not in "bui" or values.ndim != 2:
        raise _other(path, values, "bool (row, column)")
    return values.astype(bool)


def _mapped(path: Path) -> NDArray:
    """Map an array without reading it; an array of objects, which is a program, is refused."""
    import numpy as np

    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (*DAMAGE, MemoryError) as error:
        raise UnreadableImage(f"{path} cannot be read as an array ({error}). Analyze the photograph again.") from error


def _other(path: Path, values: NDArray, expected: str) -> UnreadableImage:
    return UnreadableImage(
        f"{path} holds an array of {values.dtype} {values.shape}, but {expected} was expected. "
        "Analyze the photograph again."
    )

"""The weight of each tile in a slide's answer, beside its embeddings in ``result.zarr``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.io.slide_writing import CHUNK, faults

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.io.slide_results import SlideResult

ATTENTION = "attention"


def write_attention(result: SlideResult, places: NDArray[np.int32], weights: NDArray[np.floating]) -> None:
    """Write the weights of tiles as a grid, ``attention``: float32 (row, column), NaN where no tile has an embedding.

    ``places``: int32 (tile, 2): row and column. ``weights``: float (tile,), adding up to 1.
    """
    import zarr

    shape = (result.spec.rows, result.spec.columns)
    grid = np.full(shape, np.nan, np.float32)
    grid[places[:, 0], places[:, 1]] = weights
    with faults(result.path):
        group = zarr.open_group(store=result.path, mode="r+")
        group.create_array(
            ATTENTION,
            shape=shape,
            chunks=(CHUNK, CHUNK),
            dtype="float32",
            fill_value=np.nan,
            overwrite=True,
            dimension_names=("row", "column"),
        )[:] = grid


def read_attention(result: SlideResult) -> NDArray[np.float32] | None:
    """Read the weights of tiles.

    Returns float32 (row, column); None where no model of whole slides has answered from these embeddings.
    """
    try:
        return np.asarray(result.array(ATTENTION)[:], np.float32)
    except (KeyError, OSError, ValueError):
        return None


def relative(attention: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring weights to what can be seen: 1 for the tile with the greatest.

    ``attention``: float32 (row, column), NaN where there is none. Returns the same in [0, 1]: of a hundred thousand
    tiles each weighs a hundred-thousandth.
    """
    known = np.isfinite(attention)
    return attention / attention[known].max() if known.any() else attention

"""In which order tiles are analysed: a rough map of the whole slide first, then ever finer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_PASS = 128  # tiles of the roughest map: some seconds of a processor's work


def coarse_to_fine(wanted: NDArray[np.bool_], first: int = FIRST_PASS) -> list[NDArray[np.int32]]:
    """Order the wanted tiles in passes: after each, every block of tiles has one that is done, the blocks ever smaller.

    ``wanted``: bool (row, column): tiles to analyse. A pass each, int32 (tile, 2) as (row, column), near tiles near
    each other; together each wanted tile once. Empty where nothing is wanted.
    """
    left = wanted.copy()
    passes = []
    for size in _block_sizes(wanted, first):
        chosen = _nearest_to_centres(_without(left, wanted & ~left, size), size)
        if len(chosen):
            left[chosen[:, 0], chosen[:, 1]] = False
            passes.append(_along_a_curve(chosen))
    return passes


def _block_sizes(wanted: NDArray[np.bool_], first: int) -> list[int]:
    """Sides of blocks from the roughest pass to single tiles, each half of the one before."""
    size = 1
    while size < max(wanted.shape) and _blocks_met(wanted, size) > first:
        size *= 2
    return [size >> step for step in range(size.bit_length())]


def _blocks_met(wanted: NDArray[np.bool_], size: int) -> int:
    """How many blocks of a side hold a wanted tile."""
    return len(np.unique(_block_of(np.argwhere(wanted), size)))


def _without(left: NDArray[np.bool_], done: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Tiles left in blocks of which none is done."""
    met = np.unique(_block_of(np.argwhere(done), size))
    places = np.argwhere(left)
    places = places[~np.isin(_block_of(places, size), met)]
    waiting = np.zeros_like(left)
    waiting[places[:, 0], places[:, 1]] = True
    return waiting


def _nearest_to_centres(tiles: NDArray[np.bool_], size: int) -> NDArray[np.int32]:
    """Of each block the tile nearest to its centre."""
    places = np.argwhere(tiles).astype(np.int32)
    distance = ((places % size - (size - 1) / 2) ** 2).sum(axis=1)
    blocks = _block_of(places, size)
    order = np.lexsort((distance, blocks))
    _, index = np.unique(blocks[order], return_index=True)
    return places[order[index]]


def _block_of(places: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """Number of the block that each tile lies in."""
    blocks = places.astype(np.int64) // size
    return blocks[:, 0] * 2**32 + blocks[:, 1]


def _along_a_curve(places: NDArray[np.int32]) -> NDArray[np.int32]:
    """Sort tiles along a Z-order curve, so that what is read for one serves the next."""
    code = np.zeros(len(places), np.int64)
    for bit in range(16):
        code |= ((places[:, 0].astype(np.int64) >> bit) & 1) << (2 * bit + 1)
        code |= ((places[:, 1].astype(np.int64) >> bit) & 1) << (2 * bit)
    return places[np.argsort(code, kind="stable")]

"""What a person is shown of tiles while a slide is analysed: a map without holes, and the tiles worth a look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fill_waiting(values: NDArray[np.float32], waiting: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give cells that wait the mean of the smallest square around them in which something is known.

    Squares are those of a pyramid, each of four of the level below. As tiles are analysed from coarse to fine, a rough
    map covers all tissue within seconds, and sharpens.

    ``values``: float32 (row, column); NaN where nothing is known. ``waiting``: bool (row, column): where something will
    be known. Returns float32, same shape; what is neither known nor waited for stays NaN.
    """
    known = np.isfinite(values)
    if not known.any() or not (waiting & ~known).any():
        return values.astype(np.float32)
    coarse = _filled(np.where(known, values, 0).astype(np.float64), known.astype(np.float64))
    return np.where(known, values, np.where(waiting, coarse, np.nan)).astype(np.float32)


def _filled(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means where something was counted, and those of the next coarser level where nothing was."""
    if min(sums.shape) == 1 and max(sums.shape) == 1:
        return sums / np.maximum(counts, 1)
    if (counts > 0).all():
        return sums / counts
    above = _filled(_quartered(sums), _quartered(counts))
    enlarged = above.repeat(2, axis=0).repeat(2, axis=1)[: sums.shape[0], : sums.shape[1]]
    return np.where(counts > 0, sums / np.maximum(counts, 1), enlarged)


def _quartered(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over squares of four cells; those at the far edges are of what there is."""
    rows, columns = -(-values.shape[0] // 2), -(-values.shape[1] // 2)
    padded = np.zeros((2 * rows, 2 * columns))
    padded[: values.shape[0], : values.shape[1]] = values
    return padded.reshape(rows, 2, columns, 2).sum(axis=(1, 3))


def most_suspicious(values: NDArray[np.float32], count: int, apart: int = 2) -> list[tuple[int, int]]:
    """Pick the cells with the highest values that do not touch each other.

    ``values``: float (row, column); NaN where nothing is known. Returns (row, column), the highest first; of equal
    values the first in reading order.
    """
    flat = np.where(np.isfinite(values), values, -np.inf).ravel()
    order = np.argsort(-flat, kind="stable")[: 50 * count * apart**2]
    chosen: list[tuple[int, int]] = []
    for index in order[np.isfinite(flat[order])].tolist():
        at = divmod(index, values.shape[1])
        if all(max(abs(at[0] - row), abs(at[1] - column)) >= apart for row, column in chosen):
            chosen.append((int(at[0]), int(at[1])))
            if len(chosen) == count:
                break
    return chosen


def from_threshold_on(values: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Leave out what lies below a threshold.

    ``values``: float (row, column). Returns float32, same shape; NaN below.
    """
    return np.where(values >= threshold, values, np.nan).astype(np.float32)

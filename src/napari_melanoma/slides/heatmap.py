"""Prepare the heatmap of a slide for display: fill waiting tiles, find the highest cells, apply a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fill_waiting(values: NDArray[np.float32], waiting: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill waiting cells with the mean of the known values around them.

    The cells form a pyramid, each level with half as many rows and columns; a waiting cell has the value of the finest
    level that is known at its position. As tiles are analyzed from coarse to fine, a rough map covers all tissue within
    seconds, and is then refined.

    ``values``: float32 (row, column), NaN where unknown. ``waiting``: bool (row, column), cells not analyzed yet.
    Returns float32, same shape; other unknown cells remain NaN.
    """
    known = np.isfinite(values)
    if not known.any() or not (waiting & ~known).any():
        return values.astype(np.float32)
    coarse = _fill_from_coarser(np.where(known, values, 0).astype(np.float64), known.astype(np.float64))
    return np.where(known, values, np.where(waiting, coarse, np.nan)).astype(np.float32)


def _fill_from_coarser(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the known values in each cell; where none is known, that of the next coarser level."""
    if min(sums.shape) == 1 and max(sums.shape) == 1:
        return sums / np.maximum(counts, 1)
    if (counts > 0).all():
        return sums / counts
    coarser = _fill_from_coarser(_sum_2x2(sums), _sum_2x2(counts))
    enlarged = coarser.repeat(2, axis=0).repeat(2, axis=1)[: sums.shape[0], : sums.shape[1]]
    return np.where(counts > 0, sums / np.maximum(counts, 1), enlarged)


def _sum_2x2(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up squares of 2 x 2 cells; incomplete squares at the last row and column are padded with zeros."""
    rows, columns = -(-values.shape[0] // 2), -(-values.shape[1] // 2)
    padded = np.zeros((2 * rows, 2 * columns))
    padded[: values.shape[0], : values.shape[1]] = values
    return padded.reshape(rows, 2, columns, 2).sum(axis=(1, 3))


def find_highest_cells(values: NDArray[np.float32], count: int, apart: int = 2) -> list[tuple[int, int]]:
    """Return at most ``count`` cells with the highest values, at least ``apart`` cells from each other.

    ``values``: float (row, column), NaN where unknown. Returns (row, column) of each cell, the highest first; equal
    values in reading order.
    """
    flat = np.where(np.isfinite(values), values, -np.inf).ravel()
    order = np.argsort(-flat, kind="stable")[: 50 * count * apart**2]
    chosen: list[tuple[int, int]] = []
    for index in order[np.isfinite(flat[order])].tolist():
        row, column = divmod(index, values.shape[1])
        if all(max(abs(row - other_row), abs(column - other_column)) >= apart for other_row, other_column in chosen):
            chosen.append((row, column))
            if len(chosen) == count:
                break
    return chosen


def mask_below_threshold(values: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Set values below a threshold to NaN.

    ``values``: float (row, column). Returns float32, same shape.
    """
    return np.where(values >= threshold, values, np.nan).astype(np.float32)

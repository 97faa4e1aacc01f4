"""Rings filled on a grid in one pass over their vertices, however many these are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def windings(vertices: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Count how often a closed ring runs around the centre of each cell, clockwise on a screen as positive.

    Each edge is met by the rows of cell centres that it spans; what it adds there holds for all cells to its right.
    An odd number is inside by the even-odd rule, any but 0 by the rule of non-zero winding.

    ``vertices``: (vertex, 2) as (row, column) in cells, counted from the outer corner of the first: its centre is (0.5,
    0.5). Returns int32 (row, column).
    """
    steps = np.zeros((shape[0], shape[1] + 1), np.int32)
    start, end = np.asarray(vertices, np.float64), np.roll(vertices, -1, axis=0).astype(np.float64)
    low, high = np.minimum(start[:, 0], end[:, 0]), np.maximum(start[:, 0], end[:, 0])
    first = np.clip(np.ceil(low - 0.5), 0, shape[0]).astype(np.int64)
    beyond = np.clip(np.ceil(high - 0.5), 0, shape[0]).astype(np.int64)
    counts = beyond - first
    edges = np.repeat(np.arange(len(start)), counts)
    rows = np.arange(len(edges)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edges]
    along = (rows + 0.5 - start[edges, 0]) / (end - start)[edges, 0]
    met = start[edges, 1] + along * (end - start)[edges, 1]
    columns = np.clip(np.ceil(met - 0.5), 0, shape[1]).astype(np.int64)
    np.add.at(steps, (rows, columns), np.where(end[edges, 0] < start[edges, 0], 1, -1))
    return np.cumsum(steps[:, :-1], axis=1, dtype=np.int32)

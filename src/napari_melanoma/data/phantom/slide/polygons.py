"""Polygons on pixels: which centres lie inside, the same whichever part of the slide is asked, and areas."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box

Floats = NDArray[np.floating[Any]]


def bounds(polygon: Floats) -> tuple[float, float, float, float]:
    """Give the rectangle around a polygon.

    Top, left, bottom, right.
    """
    (left, top), (right, bottom) = polygon.min(axis=0), polygon.max(axis=0)
    return float(top), float(left), float(bottom), float(right)


def area(polygon: Floats) -> float:
    """Give the area of a polygon that does not cross itself."""
    x, y = (polygon - polygon[0]).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def perimeter(polygon: Floats) -> float:
    """Give the length of a closed outline."""
    return float(np.hypot(*(polygon - np.roll(polygon, -1, axis=0)).T).sum())


def inside(polygon: Floats, box: Box, downsample: float = 1.0) -> tuple[tuple[slice, slice], NDArray[np.bool_]] | None:
    """Find the pixels of a box whose centre lies in a polygon (even-odd rule).

    ``polygon``: vertices (vertex, 2) as x, y in pixels of level 0, float64; a pixel's centre is half a pixel from its
    corner. ``box``: pixels that are asked for, counted at the downsample. ``downsample``: side of such a pixel in
    pixels of level 0. Slices (row, column) into the box and a bool array of their size; ``None`` where they do not
    meet.
    """
    part = _meeting(polygon, box, downsample)
    if part is None:
        return None
    x, y = (polygon / downsample).T
    rows, columns = _crossings(x, y, part)
    width = part.width + 1
    toggles = np.bincount((rows - part.top) * width + columns, minlength=part.height * width)
    mask = np.cumsum(toggles.reshape(part.height, width)[:, :-1], axis=1, dtype=np.int32) & 1
    top, left = part.top - box.top, part.left - box.left
    return (slice(top, top + part.height), slice(left, left + part.width)), mask.astype(bool)


def _meeting(polygon: Floats, box: Box, downsample: float) -> Box | None:
    """Give the part of the box that a polygon can touch."""
    top, left, bottom, right = (edge / downsample for edge in bounds(polygon))
    first_row, first_column = max(box.top, int(np.floor(top))), max(box.left, int(np.floor(left)))
    height = min(box.top + box.height, int(np.ceil(bottom))) - first_row
    width = min(box.left + box.width, int(np.ceil(right))) - first_column
    return Box(first_row, first_column, height, width) if height > 0 and width > 0 else None


def _crossings(x: Floats, y: Floats, part: Box) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the outline crosses the middle of rows: the rows, and the first column whose centre lies behind."""
    to_x, to_y = np.roll(x, -1), np.roll(y, -1)
    start = np.maximum(np.ceil(np.minimum(y, to_y) - 0.5), part.top).astype(np.int64)
    stop = np.minimum(np.ceil(np.maximum(y, to_y) - 0.5), part.top + part.height).astype(np.int64)
    edge = np.flatnonzero(stop > start)
    count = (stop - start)[edge]
    first = np.cumsum(count) - count
    edges = np.repeat(edge, count)
    rows = np.arange(len(edges)) - np.repeat(first, count) + start[edges]
    share = (rows + 0.5 - y[edges]) / (to_y[edges] - y[edges])
    at = np.ceil(x[edges] + share * (to_x[edges] - x[edges]) - 0.5).astype(np.int64)
    return rows, np.clip(at - part.left, 0, part.width)

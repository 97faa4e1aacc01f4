"""Randomness that depends on the place alone: points in the cells of an endless grid, drawn from a hash of the cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
# Rows of a triangular lattice lie closer than the points of a row.
_ROW = 0.8660254


@dataclass(frozen=True)
class Points:
    """Points of a grid: ``x``, ``y`` in micrometres, float64 (point,), and the cell of each."""

    x: Floats
    y: Floats
    row: Ints
    column: Ints
    name: int

    def uniform(self, index: int) -> Floats:
        """Give a random number for each point.

        Returns float32 (point,), 0 to below 1.
        """
        return uniform(self.row, self.column, self.name + 101 * (index + 3))

    def chosen(self, mask: NDArray[np.bool_]) -> Points:
        """Keep some.

        ``mask``: bool (point,). Those that are true.
        """
        return Points(self.x[mask], self.y[mask], self.row[mask], self.column[mask], self.name)


@dataclass(frozen=True)
class Grid:
    """A triangular lattice ``spacing`` micrometres wide, with a point in each cell, moved by up to ``jitter`` cells."""

    spacing: float
    jitter: float
    name: int

    def points(self, top: float, left: float, bottom: float, right: float) -> Points:
        """Give all points of a rectangle, and maybe some just outside.

        ``top``, ``left``, ``bottom``, ``right``: the rectangle in micrometres.
        """
        pitch = self.spacing * _ROW
        rows = np.arange(int(np.floor(top / pitch)) - 1, int(np.ceil(bottom / pitch)) + 2)
        columns = np.arange(int(np.floor(left / self.spacing)) - 2, int(np.ceil(right / self.spacing)) + 2)
        row, column = (part.ravel() for part in np.meshgrid(rows, columns, indexing="ij"))
        return self.at(row, column)

    def at(self, row: Ints, column: Ints) -> Points:
        """Give the points of some cells."""
        across = uniform(row, column, self.name + 1) - 0.5
        down = uniform(row, column, self.name + 2) - 0.5
        x = (column + 0.5 + 0.5 * (row & 1) + 2 * self.jitter * across) * self.spacing
        y = (row + 0.5 + 2 * self.jitter * down) * (self.spacing * _ROW)
        return Points(x, y, row, column, self.name)

    def distances(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Measure how far pixels are from the nearest and the second nearest point.

        ``x``, ``y``: positions in micrometres, float (pixel,). Two float32 (pixel,), in micrometres.
        """
        row = np.floor(y / (self.spacing * _ROW)).astype(np.int64)
        column = np.floor(x / self.spacing - 0.5 * (row & 1)).astype(np.int64)
        first_row, first_column = int(row.min()) - 1, int(column.min()) - 1
        shape = int(row.max()) - first_row + 2, int(column.max()) - first_column + 2
        cells = np.indices(shape).reshape(2, -1)
        points = self.at(cells[0] + first_row, cells[1] + first_column)
        origin = float(points.x[0]), float(points.y[0])
        at_x, at_y = (points.x - origin[0]).astype(np.float32), (points.y - origin[1]).astype(np.float32)
        near = ((row - first_row) * shape[1] + column - first_column).astype(np.int32)
        here = (x - origin[0]).astype(np.float32), (y - origin[1]).astype(np.float32)
        return _two_nearest(here, (at_x, at_y), near, shape[1])


def _two_nearest(
    here: tuple[Floats, Floats], points: tuple[Floats, Floats], near: Ints, width: int
) -> tuple[Floats, Floats]:
    """Compare with the nine cells around."""
    first = np.full(near.shape, 1e9, np.float32)
    second = first.copy()
    for shift in (down * width + across for down in (-1, 0, 1) for across in (-1, 0, 1)):
        index = near + np.int32(shift)
        across, down = here[0] - points[0][index], here[1] - points[1][index]
        square = across * across + down * down
        np.minimum(second, np.maximum(first, square), out=second)
        np.minimum(first, square, out=first)
    return np.sqrt(first), np.sqrt(second)


def uniform(row: Ints, column: Ints, name: int) -> Floats:
    """Hash cells to random numbers.

    Returns float32 of the same shape, 0 to below 1.
    """
    mixed = row.astype(np.uint32) * np.uint32(0x9E3779B1) + np.uint32((name * 0xC2B2AE3D) & 0xFFFFFFFF)
    mixed = _scrambled(mixed) + column.astype(np.uint32) * np.uint32(0x85EBCA77)
    return (_scrambled(mixed) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def _scrambled(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Spread each bit over all others (finaliser of MurmurHash3)."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))

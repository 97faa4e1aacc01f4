"""Cellular patterns on a jittered hexagonal lattice, for network, globules and furrows (Worley 1996).

Reference: S. Worley, A cellular texture basis function, doi:10.1145/237170.237267.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.phantom.plane import Map, Plane, noise

# Rows of the lattice lie sqrt(3)/2 apart, every second one shifted by half a cell.
_ROW = math.sqrt(3) / 2
# Looking up cells is the dearest step: where pixels are finer than this share of a cell, it is done on a coarser grid.
_SAMPLES_PER_CELL = 18
# Rows at a time, so that what is worked on stays in the processor's cache.
_STRIP = 24


@dataclass(frozen=True)
class Cells:
    """Distances in cells to the nearest and to the second nearest centre, and a random value a cell; (row, column)."""

    nearest: Map
    second: Map
    value: Map

    @property
    def edge(self) -> Map:
        """Distance from the border between two cells, in cells: 0 on the border, about 0.5 at a centre."""
        return (self.second - self.nearest) / 2


def cells_on(plane: Plane, rng: np.random.Generator, cell_mm: float, jitter: float, warp_mm: float) -> Cells:
    """Look up a cellular pattern on a plane.

    For each pixel.
    """
    reach = math.ceil((math.hypot(*plane.extent_mm) / 2 + 5 * warp_mm) / cell_mm) + 3
    lattice = _lattice(rng, reach, jitter)
    turn = rng.uniform(0, math.pi)
    coarse = _coarser(plane, cell_mm / _SAMPLES_PER_CELL)
    bend_y, bend_x = (np.float32(warp_mm) * noise(coarse, rng, 3 * cell_mm) for _ in range(2))
    y, x = coarse.y[:, None] + bend_y, coarse.x[None] + bend_x
    cosine, sine = (np.float32(f(turn) / cell_mm) for f in (math.cos, math.sin))
    cells = _look_up(lattice, y * cosine - x * sine, x * cosine + y * sine)
    return cells if coarse is plane else _refined(cells, coarse, plane)


def _lattice(rng: np.random.Generator, reach: int, jitter: float) -> NDArray[np.float32]:
    """Displacement (y, x) and value of each cell (row, column, 3), ``reach`` cells to each side of the origin."""
    side = 2 * reach + 1
    centres = rng.random((side, side, 3), dtype=np.float32)
    centres[..., :2] = (centres[..., :2] - 0.5) * np.float32(2 * jitter)
    return centres


def _look_up(lattice: NDArray[np.float32], y: Map, x: Map) -> Cells:
    """Cells at points (row, column) given in cells, strip by strip."""
    found = np.empty((3, *y.shape), np.float32)
    for top in range(0, len(y), _STRIP):
        strip = slice(top, top + _STRIP)
        found[:, strip] = _search(lattice, y[strip], x[strip])
    return Cells(*found)


def _search(lattice: NDArray[np.float32], y: Map, x: Map) -> tuple[Map, Map, Map]:
    """Distances to the two nearest of the nine cells around each point, and the value of the nearest."""
    reach, last = len(lattice) // 2, len(lattice) - 1
    row = np.rint(y / np.float32(_ROW)).astype(np.int32)
    nearest = np.full(y.shape, np.inf, np.float32)
    second, value = nearest.copy(), np.zeros(y.shape, np.float32)
    for down in (-1, 0, 1):
        shift = ((row + down) & 1) * np.float32(0.5)
        column = np.rint(x - shift).astype(np.int32)
        for right in (-1, 0, 1):
            i, j = np.clip(row + (down + reach), 0, last), np.clip(column + (right + reach), 0, last)
            centre = lattice[i, j]
            dy = y - (row + down) * np.float32(_ROW) - centre[..., 0]
            dx = x - (column + right) - shift - centre[..., 1]
            squared = dy * dy + dx * dx
            closer = squared < nearest
            second = np.where(closer, nearest, np.minimum(second, squared))
            value = np.where(closer, centre[..., 2], value)
            nearest = np.minimum(nearest, squared)
    return np.sqrt(nearest), np.sqrt(second), value


def _coarser(plane: Plane, step_mm: float) -> Plane:
    """The plane itself, or one of pixels of ``step_mm`` that covers it where its own are much finer.

    The coarse pixels lie at whole multiples of the step, so that all resolutions and parts of a view share them.
    """
    if plane.pixel_mm > 0.6 * step_mm:
        return plane
    axes = []
    for axis in (plane.y, plane.x):
        first, last = math.floor(float(axis[0]) / step_mm), math.ceil(float(axis[-1]) / step_mm)
        axes.append(np.arange(first, last + 2, dtype=np.float32) * np.float32(step_mm))
    return replace(plane, y=axes[0], x=axes[1], pixel_mm=step_mm)


def _refined(cells: Cells, coarse: Plane, plane: Plane) -> Cells:
    """Bring cells from the coarse plane to the fine one: distances linearly, values by the nearest."""
    row, column = ((fine - grid[0]) / coarse.pixel_mm for fine, grid in ((plane.y, coarse.y), (plane.x, coarse.x)))
    nearest, second = (_linear(field, row, column) for field in (cells.nearest, cells.second))
    value = cells.value[np.ix_(np.rint(row).astype(int), np.rint(column).astype(int))]
    return Cells(nearest, second, value)


def _linear(field: Map, row: Map, column: Map) -> Map:
    """Interpolate linearly at rows x columns."""
    i, j = row.astype(int), column.astype(int)
    down, right = (row - i).astype(np.float32)[:, None], (column - j).astype(np.float32)
    wide = field[:, j] * (1 - right) + field[:, j + 1] * right
    return wide[i] * (1 - down) + wide[i + 1] * down

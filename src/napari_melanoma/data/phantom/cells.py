"""Cellular patterns (Worley 1996, doi:10.1145/237170.237267) on a jittered hexagonal lattice: network, globules, furrows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.phantom.plane import Field

# Rows of the lattice lie sqrt(3)/2 apart, every second one shifted by half a cell.
_ROW = math.sqrt(3) / 2


@dataclass(frozen=True)
class Cells:
    """Distances in cells to the nearest and to the second nearest centre, and a random value a cell; (row, column)."""

    nearest: Field
    second: Field
    value: Field

    @property
    def edge(self) -> Field:
        """Distance from the border between two cells, in cells: 0 on the border, about 0.5 at a centre."""
        return (self.second - self.nearest) / 2


@dataclass(frozen=True)
class Lattice:
    """Centres of cells that cover a square of half side ``reach`` cells around the origin, (row, column, (y, x, value))."""

    centres: NDArray[np.float32]
    reach: int

    @classmethod
    def drawn(cls, rng: np.random.Generator, reach: int, jitter: float) -> Lattice:
        """Draw the centres; ``jitter`` is the largest displacement in cells, under 0.4 keeps the distances exact."""
        n = 2 * reach + 1
        centres = rng.random((n, n, 3), dtype=np.float32)
        centres[..., :2] = (centres[..., :2] - 0.5) * np.float32(2 * jitter)
        return cls(centres, reach)

    def at(self, y: Field, x: Field) -> Cells:
        """Look up the cells at points in cells; ``y`` and ``x`` broadcast to (row, column)."""
        y, x = np.broadcast_arrays(y, x)
        row = np.rint(y / np.float32(_ROW)).astype(np.int32)
        nearest = np.full(y.shape, np.inf, np.float32)
        second, value = nearest.copy(), np.zeros(y.shape, np.float32)
        for down in (-1, 0, 1):
            shift = ((row + down) & 1) * np.float32(0.5)
            column = np.rint(x - shift).astype(np.int32)
            for right in (-1, 0, 1):
                i = np.clip(row + down + self.reach, 0, 2 * self.reach)
                j = np.clip(column + right + self.reach, 0, 2 * self.reach)
                centre = self.centres[i, j]
                dy = y - (row + down) * np.float32(_ROW) - centre[..., 0]
                dx = x - column - right - shift - centre[..., 1]
                squared = dy * dy + dx * dx
                closer = squared < nearest
                second = np.where(closer, nearest, np.minimum(second, squared))
                value = np.where(closer, centre[..., 2], value)
                nearest = np.minimum(nearest, squared)
        return Cells(np.sqrt(nearest), np.sqrt(second), value)

"""Cells of a map that reach beyond the slide: the last row and column of tiles do, and no lesion lies out there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.masks import bounding_box
from napari_melanoma.analysis.shape import perimeter
from napari_melanoma.core.polygons import Polygon, Ring, as_array, as_ring

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.placement import MapPlace

End = tuple[float, float]


@dataclass(frozen=True)
class CellsOnSlide:
    """Cells with the share of each row and column that lies on the slide.

    ``mask``: bool (row, column), at least one cell. ``rows``, ``columns``: float64 (row,) and (column,): 1 but for what
    the slide's end cuts.
    """

    mask: NDArray[np.bool_]
    rows: NDArray[np.float64]
    columns: NDArray[np.float64]

    @classmethod
    def of(cls, mask: NDArray[np.bool_], place: MapPlace, end: End | None) -> CellsOnSlide:
        """Cut cells by the end of the slide.

        ``mask``: bool (row, column). ``end``: (row, column) where the slide ends, in pixels of the finest level;
        nothing is cut by default.
        """
        rows, columns = (np.arange(length, dtype=np.float64) for length in mask.shape)
        if end is None:
            return cls(mask, np.ones_like(rows), np.ones_like(columns))
        last = place.to_map(end)
        return cls(mask, (last[0] - rows).clip(0, 1), (last[1] - columns).clip(0, 1))

    @property
    def area(self) -> float:
        """In cells."""
        return float(self.rows @ self.mask @ self.columns)

    @property
    def box(self) -> tuple[float, float]:
        """Height and width of the upright box around them, in cells."""
        box = bounding_box(self.mask)
        assert box is not None, "there is at least one cell"
        rows, columns = box.slices
        return float(self.rows[rows].sum()), float(self.columns[columns].sum())

    def perimeter(self, step: tuple[float, float]) -> float:
        """Length of the border by Crofton; where the slide cuts a cell, both sides of it are as much shorter."""
        beyond = _runs(self.mask) @ (1 - self.rows) * step[0] + _runs(self.mask.T) @ (1 - self.columns) * step[1]
        return perimeter(self.mask, step) - 2 * float(beyond)


def ended(polygon: Polygon, end: End | None) -> Polygon:
    """Let an outline along cells end where the slide does.

    ``end``: (row, column) in pixels of the finest level. Returns the same where nothing reaches beyond.
    """
    if end is None:
        return polygon

    def cut(ring: Ring) -> Ring:
        return as_ring(np.minimum(as_array(ring), end))

    return Polygon(cut(polygon.outer), tuple(cut(hole) for hole in polygon.holes))


def reaching(polygon: Polygon, place: MapPlace, shape: tuple[int, int], end: End | None) -> Polygon:
    """Undo ``ended``: an outline that ends with the slide holds all of the cells that the slide's end cuts.

    ``end``: (row, column) where the slide ends.
    """
    if end is None:
        return polygon
    far = np.maximum(place.to_slide(shape), end)

    def moved(ring: Ring) -> Ring:
        vertices = as_array(ring)
        return as_ring(np.where(vertices >= end, far, vertices))

    return Polygon(moved(polygon.outer), tuple(moved(hole) for hole in polygon.holes))


def _runs(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many stretches of cells there are in each row."""
    return np.diff(mask.astype(np.int8), axis=1, prepend=0).clip(min=0).sum(axis=1)

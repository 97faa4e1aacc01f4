"""Areas on a slide as values: an outer ring with holes, in pixels; what lesions and GeoJSON files consist of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.geometry import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

Ring = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Polygon:
    """An area within one outer ring and outside its holes; compares by content, and can be a key.

    ``outer``: vertices (row, column) in pixels of the slide's finest level, counted from the outer corner of its first
    pixel; the first one is not repeated at the end.
    """

    outer: Ring
    holes: tuple[Ring, ...] = ()

    @property
    def rings(self) -> tuple[Ring, ...]:
        """The outer ring, then the holes."""
        return self.outer, *self.holes

    @property
    def area(self) -> float:
        """What the outer ring encloses without the holes, in square pixels."""
        return abs(signed_area(self.outer)) - sum(abs(signed_area(hole)) for hole in self.holes)

    @property
    def box(self) -> Box:
        """Smallest box of whole pixels around it."""
        vertices = as_array(self.outer)
        top, left = np.floor(vertices.min(axis=0)).astype(int)
        bottom, right = np.ceil(vertices.max(axis=0)).astype(int)
        return Box(int(top), int(left), int(bottom - top), int(right - left))


def as_array(ring: Ring) -> NDArray[np.float64]:
    """Give a ring as an array.

    ``ring``: vertices (row, column). Returns float64 (vertex, 2).
    """
    return np.array(ring, np.float64).reshape(-1, 2)


def as_ring(vertices: NDArray[np.floating]) -> Ring:
    """Give the vertices of an array as a ring; a last vertex that repeats the first is dropped.

    ``vertices``: (vertex, 2) as (row, column).
    """
    rows = [(float(row), float(column)) for row, column in vertices.tolist()]
    return tuple(rows[:-1] if len(rows) > 1 and rows[0] == rows[-1] else rows)


def signed_area(ring: Ring) -> float:
    """Area that a ring encloses (Gauss's formula), positive where it runs clockwise on a screen, rows downwards.

    ``ring``: vertices (row, column). In square pixels.
    """
    vertices = as_array(ring)
    vertices = vertices - vertices[:1]  # far from the origin the products would lose digits
    following = np.roll(vertices, -1, axis=0)
    return float(np.sum(vertices[:, 1] * following[:, 0] - vertices[:, 0] * following[:, 1])) / 2


def joint_box(polygons: tuple[Polygon, ...]) -> Box:
    """Smallest box of whole pixels around several polygons.

    In pixels.
    """
    boxes = [polygon.box for polygon in polygons]
    top, left = min(box.top for box in boxes), min(box.left for box in boxes)
    bottom, right = max(box.top + box.height for box in boxes), max(box.left + box.width for box in boxes)
    return Box(top, left, bottom - top, right - left)

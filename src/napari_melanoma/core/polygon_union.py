"""How much several areas cover together, where they may lie over each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.polygons import Polygon, as_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Edges = NDArray[np.float64]  # (edge, end, 2), ends as (row, column)


def joint_area(polygons: Sequence[Polygon]) -> float:
    """Give what several areas cover together; what lies in more than one of them counts once.

    Between two rows at which no edge begins, ends or meets one of another area, what is covered is as long as in the
    middle between them, on the average: so the sum over these strips is exact.

    In square pixels; 0 without any.
    """
    edges = [_edges(polygon) for polygon in polygons]
    meetings = [_meetings(one, other) for one, other in combinations(edges, 2)]
    rows = np.unique(np.concatenate([np.zeros(0), *(one[:, :, 0].ravel() for one in edges), *meetings]))
    return float(sum((bottom - top) * _covered(edges, (top + bottom) / 2) for top, bottom in pairwise(rows)))


def _edges(polygon: Polygon) -> Edges:
    """All edges of an area, those of its holes too."""
    rings = [as_array(ring) for ring in polygon.rings]
    return np.concatenate([np.stack([ring, np.roll(ring, -1, axis=0)], axis=1) for ring in rings])


def _meetings(one: Edges, other: Edges) -> NDArray[np.float64]:
    """Rows at which edges of two areas cross."""
    start, step = one[:, None, 0], (one[:, 1] - one[:, 0])[:, None]
    away, stride = other[None, :, 0] - start, (other[:, 1] - other[:, 0])[None]
    slant = _cross(step, stride)
    with np.errstate(divide="ignore", invalid="ignore"):  # of parallel edges
        along, across = _cross(away, stride) / slant, _cross(away, step) / slant
        meet = (along >= 0) & (along <= 1) & (across >= 0) & (across <= 1)
        rows: NDArray[np.float64] = (start[..., 0] + along * step[..., 0])[meet]
    return rows


def _cross(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cross product of vectors in a plane."""
    product: NDArray[np.float64] = one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
    return product


def _covered(edges: Sequence[Edges], row: float) -> float:
    """How long the parts of a row are that lie in any of the areas."""
    spans = np.concatenate([_spans(one, row) for one in edges])
    spans = spans[np.argsort(spans[:, 0])]
    reach = np.maximum.accumulate(spans[:, 1])
    begin = np.maximum(spans[:, 0], np.concatenate([spans[:1, 0], reach[:-1]]))
    return float(np.maximum(spans[:, 1] - begin, 0).sum())


def _spans(edges: Edges, row: float) -> NDArray[np.float64]:
    """Where a row is in one area: (span, 2), first and last column; the row goes through no vertex."""
    (top, left), (bottom, right) = edges[:, 0].T, edges[:, 1].T
    hit = (top > row) != (bottom > row)
    share = (row - top[hit]) / (bottom[hit] - top[hit])
    return np.sort(left[hit] + share * (right[hit] - left[hit])).reshape(-1, 2)

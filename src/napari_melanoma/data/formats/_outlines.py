"""The outlines of areas, for formats with polygons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.imaging.masks import trace_contours

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_DIFFERENCE = 0.35  # pixels from the polygon to the border of the area, at most


def trace_rings(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Trace the outline of a connected area and then its holes: float64 (vertex, 2) as (x, y) from the image's corner.

    The first vertex is not repeated. Most programs have no holes in polygons: an area with several rings needs pixels.
    """
    rows, columns = mask.shape
    rings = [
        np.clip(contour[:-1].astype(np.float64) + 0.5, 0, (rows, columns))[:, ::-1] for contour in trace_contours(mask)
    ]
    return sorted(rings, key=lambda ring: -np.ptp(ring, axis=0).prod())  # a hole is within the box of the outline

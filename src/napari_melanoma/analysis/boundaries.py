"""How far the border of a mask lies from that of its reference, which the overlap of areas does not say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.masks import bounding_box, grown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import PixelSize

BOUNDARY_METRICS = ("HD95_px", "HD95_relative", "HD95_mm", "BF1")
TOLERANCE = 0.0075  # of the image's diagonal, as Csurka et al. take it


def border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the pixels of a mask that have an edge neighbour outside of it; outside the image counts as outside.

    ``mask``: bool (row, column). Returns bool (row, column).
    """
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def hausdorff(
    mask: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing: tuple[float, float] = (1.0, 1.0),
    percentile: float = 95.0,
) -> float:
    """Measure how far apart two borders are: the larger of the two directed percentile Hausdorff distances.

    Of all distances from a border pixel of one mask to the nearest one of the other, the percentile is taken, in both
    directions, and the larger is given. With 100 it is the Hausdorff distance itself; 95 leaves single outliers out
    (Huttenlocher, Klanderman and Rucklidge 1993, doi:10.1109/34.232073; Maier-Hein et al. 2024,
    doi:10.1038/s41592-023-02151-z).

    ``mask``, ``reference``: bool (row, column), of one shape. ``spacing``: height and width of a pixel. In the unit of
    ``spacing``; 0 where both masks are empty, and the diagonal of the image, the largest distance that there can be,
    where one of them is.
    """
    return _farthest(*_distances(mask, reference, spacing), _diagonal(mask, spacing), percentile)


def boundary_f1(
    mask: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    tolerance: float | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> float:
    """Measure how much of two borders agrees within a tolerance.

    After Csurka, Larlus and Perronnin 2013, What is a good evaluation measure for semantic segmentation?
    (doi:10.5244/C.27.32). Precision is the share of the mask's border pixels with one of the reference at most so far
    away, recall the other way round; their harmonic mean is given.

    ``mask``, ``reference``: bool (row, column), of one shape. ``spacing``: height and width of a pixel. In [0, 1]; 1
    where both masks are empty, 0 where one of them is.
    """
    limit = TOLERANCE * _diagonal(mask, spacing) if tolerance is None else tolerance
    return _agreement(*_distances(mask, reference, spacing), limit)


def boundary_metrics(
    mask: NDArray[np.bool_], reference: NDArray[np.bool_], pixel_size: PixelSize | None
) -> dict[str, float]:
    """Compare the borders of a mask and its reference.

    ``mask``, ``reference``: bool (row, column), of one shape. Returns ``HD95_px`` the 95th percentile Hausdorff
    distance in pixels, ``HD95_relative`` the same over the image's diagonal, so that images of different sizes can be
    averaged, ``HD95_mm`` in millimetres, and ``BF1`` the boundary F1 within 0.75 % of the diagonal. An empty mask
    against one that is not is a whole diagonal away.
    """
    there, back = _distances(mask, reference, (1.0, 1.0))
    diagonal = _diagonal(mask, (1.0, 1.0))
    distance = _farthest(there, back, diagonal, 95.0)
    found = {"HD95_px": distance, "HD95_relative": distance / diagonal}
    if pixel_size is not None:
        square = pixel_size.y_um == pixel_size.x_um
        found["HD95_mm"] = distance * pixel_size.mm[0] if square else hausdorff(mask, reference, pixel_size.mm)
    return {**found, "BF1": _agreement(there, back, TOLERANCE * diagonal)}


def _diagonal(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> float:
    """Length of the image's diagonal."""
    return math.hypot(mask.shape[0] * spacing[0], mask.shape[1] * spacing[1])


def _distances(
    mask: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of each border pixel to the nearest of the other border, both ways; infinite where there is none.

    A tree of border pixels, because a distance map of a photograph of 12 megapixels takes seconds.
    """
    from scipy.spatial import cKDTree

    if mask.shape != reference.shape:
        raise ValueError(f"mask {mask.shape} and reference {reference.shape} differ in shape.")
    ours, theirs = (_points(item) * spacing for item in (mask, reference))
    if not len(ours) or not len(theirs):
        return np.full(len(ours), np.inf), np.full(len(theirs), np.inf)
    return cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]


def _points(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Border pixels as (row, column), looked for only where the mask is."""
    box = bounding_box(mask)
    if box is None:
        return np.zeros((0, 2))
    near = grown(box, 1, (mask.shape[0], mask.shape[1]))  # the pixels around tell whether the mask goes on
    found = np.argwhere(border(mask[near.slices])).astype(np.float64)
    found += (near.top, near.left)
    return found


def _farthest(there: NDArray[np.float64], back: NDArray[np.float64], diagonal: float, percentile: float) -> float:
    """Larger of both percentiles."""
    if not len(there) and not len(back):
        return 0.0
    if not len(there) or not len(back):
        return diagonal
    return float(max(np.percentile(there, percentile), np.percentile(back, percentile)))


def _agreement(there: NDArray[np.float64], back: NDArray[np.float64], limit: float) -> float:
    """Harmonic mean of the shares of both borders that lie within a limit."""
    if not len(there) and not len(back):
        return 1.0
    if not len(there) or not len(back):
        return 0.0
    precision, recall = float(np.mean(there <= limit)), float(np.mean(back <= limit))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

"""Where a mask is and what it encloses: the small steps that refinement, ROI and measurements share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.geometry import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """Smallest box that holds every pixel of a mask.

    ``mask``: boolean, (row, column). None where the mask is empty.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1))


def grown(box: Box, margin: int, shape: tuple[int, int]) -> Box:
    """Widen a box by a margin on every side, cut at the borders of the image.

    ``margin``: pixels added on each side.
    """
    top, left = max(0, box.top - margin), max(0, box.left - margin)
    bottom = min(shape[0], box.top + box.height + margin)
    right = min(shape[1], box.left + box.width + margin)
    return Box(top, left, bottom - top, right - left)


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the holes of a mask: background that no path of edge neighbours joins to the outside.

    Labelling the background is several times faster than ``scipy.ndimage.binary_fill_holes``, which dilates repeatedly.

    ``mask``: boolean, (row, column). Returns boolean, same shape; a notch open to the image's border is no hole.
    """
    from scipy import ndimage

    background, count = ndimage.label(np.pad(~mask, 1, constant_values=True))
    if count == 1:
        return mask.copy()
    return background[1:-1, 1:-1] != background[0, 0]


def separated(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Give each part of a mask as a mask of its own, the largest first.

    ``mask``: boolean, (row, column). Each boolean, same shape; empty where the mask is.
    """
    labels, count = components(mask)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return [labels == number for number in 1 + np.argsort(-areas, kind="stable")]


def components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the parts of a mask; pixels that touch at a corner belong together.

    ``mask``: boolean, (row, column). Returns int32, (row, column); 0 is background, the parts count from 1.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3), bool))
    return labels, int(count)

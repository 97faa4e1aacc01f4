"""From a probability map to the mask of a lesion: smoothing, selection of contours and filling, as in paper P2."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.imaging.masks import bounding_box, fill_mask_holes, label_components

# A wide Gaussian is computed on a grid with this many pixels per sigma: the result is within 0.005 of the exact one.
GRID_PER_SIGMA = 2.0
SPECK_SHARE = 0.001  # of the area of the image: a photographed lesion is at least 3 % as wide as the image


class RefinementConfig(Config):
    """Refinement of a mask: smoothing before the threshold, then selection and filling of contours."""

    largest_only: bool = Field(True, description="keep only the largest lesion, or the one that was clicked")
    fill_holes: bool = Field(True, description="fill holes inside the outer contour")
    smoothing: float = Field(
        0.004,
        ge=0,
        le=0.1,
        description="smoothing of the border: sigma of the Gaussian on the probability, as a fraction of the "
        "image's shorter side; 0 = off",
    )
    min_area_fraction: float = Field(
        0.01,
        ge=0,
        le=1,
        description="specks: parts smaller than this fraction of the largest lesion are dropped if several are kept",
    )


def smooth_probability(probability: NDArray[np.float32], config: RefinementConfig) -> NDArray[np.float32]:
    """Smooth a probability with a Gaussian, so that the thresholded border has no pixel noise.

    A wide Gaussian is computed on a coarser grid (averaged down, interpolated up), in a tenth of the time.

    ``probability``: float32 in [0, 1], (row, column). Returns float32 in [0, 1], same shape; the input itself if
    smoothing is off.
    """
    sigma = config.smoothing * min(probability.shape)
    if sigma == 0:
        return probability
    from scipy import ndimage

    step = sigma / GRID_PER_SIGMA
    if step <= 1:
        smooth = ndimage.gaussian_filter(probability, sigma, mode="nearest", truncate=3)
    else:
        smooth = _smooth_on_coarse_grid(probability, sigma, step)
    return np.clip(smooth, 0, 1)


def refine_mask(
    mask: NDArray[np.bool_], config: RefinementConfig, chosen: tuple[int, int] | None = None
) -> NDArray[np.bool_]:
    """Select contours of a mask and fill their holes; by default the largest contour is kept, as in paper P2.

    Sizes are those of the filled contours. A lesion inside a hole of another belongs to the outer one.

    ``mask``: boolean, (row, column). ``chosen``: (row, column) of a click. The lesion there, or else the nearest one,
    is kept instead of the largest; specks only if the click hits them. It has no effect if several lesions are kept.
    Returns boolean, same shape; empty for an empty mask.
    """
    refined = np.zeros_like(mask, dtype=bool)
    box = bounding_box(mask)
    if box is None:
        return refined
    part = mask[box.slices]
    solid = fill_mask_holes(part)
    labels, _ = label_components(solid)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    lesions = areas >= config.min_area_fraction * areas.max()
    if not config.largest_only:
        selected = lesions[labels] & (labels > 0)
    elif chosen is None:
        selected = labels == areas.argmax()
    else:
        selected = labels == _label_at(labels, lesions, (chosen[0] - box.top, chosen[1] - box.left))
    refined[box.slices] = selected if config.fill_holes else selected & part
    return refined


def make_mask(probability: NDArray[np.float32], threshold: float, config: RefinementConfig) -> NDArray[np.bool_]:
    """Smooth, threshold and refine a probability.

    ``probability``: float32 in [0, 1], (row, column). Returns boolean, same shape.
    """
    return refine_mask(smooth_probability(probability, config) >= threshold, config)


def find_other_lesions(
    mask: NDArray[np.bool_],
    chosen_mask: NDArray[np.bool_],
    config: RefinementConfig,
    pixels: Collection[tuple[int, int]] = (),
) -> NDArray[np.bool_]:
    """Find the lesions of a mask that do not touch the mask of the selected lesion.

    ``mask``, ``chosen_mask``: boolean, (row, column); ``mask`` is not refined. ``pixels``: (row, column); lesions there
    are included however small they are. Returns boolean, same shape; each component is a lesion, filled.
    """
    other_lesions = np.zeros_like(mask, dtype=bool)
    box = bounding_box(mask)
    if box is None or not (mask & ~chosen_mask).any():
        return other_lesions
    labels, _ = label_components(fill_mask_holes(mask[box.slices]))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    lesions = areas >= max(config.min_area_fraction * areas.max(), SPECK_SHARE * mask.size)
    for row, column in pixels:
        if 0 <= row - box.top < box.height and 0 <= column - box.left < box.width:
            lesions[labels[row - box.top, column - box.left]] = True
    lesions[labels[chosen_mask[box.slices]]] = False
    lesions[0] = False
    other_lesions[box.slices] = lesions[labels]
    return other_lesions


def _label_at(labels: NDArray[np.int32], lesions: NDArray[np.bool_], click: tuple[int, int]) -> int:
    """Return the label at a click, or else that of the nearest lesion; ``lesions``: whether each label is a lesion."""
    row, column = click
    inside = 0 <= row < labels.shape[0] and 0 <= column < labels.shape[1]
    if inside and labels[row, column]:
        return int(labels[row, column])
    rows, columns = np.nonzero(lesions[labels] & (labels > 0))
    nearest = ((rows - row) ** 2 + (columns - column) ** 2).argmin()
    return int(labels[rows[nearest], columns[nearest]])


def _smooth_on_coarse_grid(probability: NDArray[np.float32], sigma: float, step: float) -> NDArray[np.float32]:
    """Smooth with a Gaussian on a grid of ``step`` pixels; averaging down already blurs, so a smaller sigma remains."""
    from PIL import Image
    from scipy import ndimage

    rows, columns = probability.shape
    coarse = (max(1, round(columns / step)), max(1, round(rows / step)))
    small = Image.fromarray(np.ascontiguousarray(probability)).resize(coarse, Image.Resampling.BILINEAR)
    # The triangle that averages has a variance of 1/6 in grid units; cubic interpolation adds none.
    remaining = ((sigma / step) ** 2 - 1 / 6) ** 0.5
    smooth = ndimage.gaussian_filter(np.asarray(small), remaining, mode="nearest", truncate=3)
    return np.asarray(Image.fromarray(smooth).resize((columns, rows), Image.Resampling.BICUBIC))

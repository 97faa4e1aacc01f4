"""Uncertainty of a segmentation: one number from 0 to 1 per photograph, and a band along the border."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.imaging.masks import fill_mask_holes, label_components

if TYPE_CHECKING:
    from napari_melanoma.imaging.postprocessing import RefinementConfig


def mean_entropy(probability: NDArray[np.float32]) -> float:
    """Measure the uncertainty per pixel of expected lesion.

    With the binary entropy H(p) in bits of each pixel, b = sum H(p) / sum p is the entropy per pixel of expected
    lesion, and the score is b / (1 + b). Certain skin adds nothing to either sum, so that a larger image is not more
    uncertain; the uncertain band around a lesion is related to the lesion's own area, as one minus Dice relates its
    errors, so that a larger lesion is not more uncertain either (the plain mean of H over the image mostly measures
    the border length). If a model finds nothing, p is small everywhere and H(p) / p is about log2(1 / p) + 1.4, so
    that the score approaches 1.

    ``probability``: floating point in [0, 1] (row, column). From 0 (all pixels certain) to 1, which is also the value
    if the probability is 0 everywhere.
    """
    inside = probability.astype(np.float64)
    outside = 1.0 - inside
    entropy = sum(-float(np.sum(p * np.log2(p, where=p > 0, out=np.zeros_like(p)))) for p in (inside, outside))
    expected = float(inside.sum())
    return entropy / (entropy + expected) if expected > 0 else 1.0


def mask_disagreement(masks: Sequence[NDArray[np.bool_]]) -> float:
    """Measure the difference of several masks of an image: one minus the mean Jaccard index of all pairs.

    The masks are those of the flipped and rotated image in the original orientation: a certain model gives the same
    mask each time (test-time augmentation as in Wang et al. 2019, doi:10.1016/j.neucom.2019.01.103). A pair of empty
    masks counts as disagreeing, as nothing was found.

    ``masks``: at least two, bool (row, column), of the same shape. From 0 (all equal) to 1, which is also the value
    if all are empty.
    """
    stack = np.stack([mask.ravel() for mask in masks]).astype(np.float32)
    both = (stack @ stack.T).astype(np.float64)  # float32 is fast, and exact up to 2**24 pixels
    areas = both.diagonal()
    union = areas[:, None] + areas[None, :] - both
    pairs = np.triu_indices(len(stack), 1)
    return float(1.0 - np.mean(both[pairs] / np.maximum(union[pairs], 1.0)))


def uncertain_band(
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    threshold: float,
    mask: NDArray[np.bool_],
    config: RefinementConfig,
) -> NDArray[np.bool_]:
    """Find the pixels that are lesion in some predictions and skin in others.

    ``low``, ``high``: float32 (row, column): the smallest and the greatest probability of each pixel. ``mask``: bool
    (row, column): the selected lesion; other lesions are excluded if only the largest is kept. Returns bool (row,
    column): a band along the border of the lesion, and its parts in some predictions only. For an empty mask, all
    pixels where the predictions disagree.
    """
    inside, outside = low >= threshold, high >= threshold
    if config.fill_holes:
        inside, outside = fill_mask_holes(inside), fill_mask_holes(outside)
    band = outside & ~inside
    if not config.largest_only or not mask.any():
        return band
    labels, _ = label_components(outside)
    touched = np.zeros(labels.max() + 1, bool)
    touched[np.unique(labels[mask])] = True
    touched[0] = False
    return band & touched[labels]

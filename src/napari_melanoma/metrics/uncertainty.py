"""How unsure a model is: of a photograph, as one number from 0 to 1, and where in it, as a band along the border."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.imaging.masks import fill_mask_holes, label_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.imaging.refinement import RefinementConfig


def mean_entropy(probability: NDArray[np.float32]) -> float:
    """Measure how much doubt there is for each pixel of the lesion that is expected.

    With the binary entropy H(p) in bits of each pixel, b = sum H(p) / sum p is bits of doubt for each pixel of expected
    lesion, and the score is b / (1 + b). Sure skin adds nothing to either sum, so a larger image does not count as more
    unsure; the doubtful band around a lesion is set against the lesion's own area, as one minus Dice sets its errors,
    so neither does a larger lesion (the plain mean of H over the image mostly measures how long the border is). Where a
    model finds nothing, p is small everywhere and H(p) / p about log2(1 / p) + 1.4, so the score comes near 1.

    ``probability``: floating points in [0, 1] (row, column). From 0 (sure of every pixel) to 1; 1 where the probability
    is 0 everywhere.
    """
    inside = probability.astype(np.float64)
    outside = 1.0 - inside
    doubt = sum(-float(np.sum(p * np.log2(p, where=p > 0, out=np.zeros_like(p)))) for p in (inside, outside))
    expected = float(inside.sum())
    return doubt / (doubt + expected) if expected > 0 else 1.0


def mask_disagreement(masks: Sequence[NDArray[np.bool_]]) -> float:
    """Measure how much several masks of one image differ: one minus the mean Jaccard index of all pairs.

    The masks are those of the flipped and turned image, each turned back: a model that knows what it sees gives the
    same each time (test-time augmentation as in Wang et al. 2019, doi:10.1016/j.neucom.2019.01.103). A pair without
    any lesion pixel counts as disagreeing, for nothing was found that could agree.

    ``masks``: at least two, bool (row, column), of one shape. From 0 (all are equal) to 1; 1 where all are empty.
    """
    stack = np.stack([mask.ravel() for mask in masks]).astype(np.float32)
    both = (stack @ stack.T).astype(np.float64)  # float32 counts exactly up to 2**24 pixels, and quickly
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
    """Find the pixels where several answers disagree: some call them lesion, some skin.

    ``low``, ``high``: float32 (row, column): the smallest and the largest probability of each pixel. ``mask``: bool
    (row, column): the lesion that was chosen; other lesions have no part in the band where one alone is kept. Returns
    bool (row, column); a belt along the border of the lesion, and what belongs to it by some answers alone. Where the
    mask is empty, all pixels where the answers disagree.
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

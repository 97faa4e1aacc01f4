"""How unsure a model is of a photograph, as one number from 0 to 1, so that the images to correct first can be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

POSSIBLE = 0.05


def entropy(probability: NDArray[np.float32]) -> float:
    """Mean binary entropy, in bits, of the pixels that may be lesion.

    Parameters
    ----------
    probability : numpy.ndarray
        float32 (row, column) in [0, 1].

    Returns
    -------
    float
        From 0 (sure) to 1; 1 where no pixel may be lesion.
    """
    p = probability[probability >= POSSIBLE].astype(np.float64)
    if p.size == 0:
        return 1.0
    q = 1.0 - p
    return float(-np.mean(p * np.log2(p) + np.where(q > 0, q * np.log2(np.maximum(q, 1e-300)), 0.0)))


def disagreement(masks: Sequence[NDArray[np.bool_]]) -> float:
    """Give one minus the mean Jaccard index of all pairs of masks of one image.

    Parameters
    ----------
    masks : sequence of numpy.ndarray
        bool (row, column) each, of one shape, turned back to the same orientation.

    Returns
    -------
    float
        From 0 (all agree) to 1; 1 where all are empty.
    """
    stack = np.stack([mask.ravel() for mask in masks]).astype(np.float32)
    if not stack.any():
        return 1.0
    both = stack @ stack.T
    areas = both.diagonal()
    union = areas[:, None] + areas[None] - both
    pairs = np.triu_indices(len(stack), 1)
    return float(1.0 - np.mean(both[pairs] / np.maximum(union[pairs], 1.0)))

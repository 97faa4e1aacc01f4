"""Smoothing of the probabilities of neighboring cells, which removes single cells of another class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_SIGMA = 4.0  # cells
RADIUS = 4.0  # standard deviations beyond which the weights are zero


def gaussian_radius(sigma: float) -> int:
    """Return the distance in cells up to which a cell influences others."""
    return int(RADIUS * sigma + 0.5)


def smooth_map(probability: NDArray[np.floating], sigma: float) -> NDArray[np.float32]:
    """Average the probabilities of neighboring cells with the weights of a Gaussian.

    ``probability``: float (class, row, column), NaN where unknown; such cells have no influence and stay unknown.
    ``sigma``: in cells; 0 changes nothing. Returns float32 of the same shape.
    """
    from scipy.ndimage import gaussian_filter

    values = np.asarray(probability, np.float32)
    if sigma <= 0:
        return values
    known = np.isfinite(values).all(axis=0)
    widths = (0, sigma, sigma)
    total = gaussian_filter(np.where(known, values, 0), widths, mode="constant", truncate=RADIUS)
    weight = gaussian_filter(known.astype(np.float32), sigma, mode="constant", truncate=RADIUS)
    smoothed: NDArray[np.float32] = np.where(known, total / np.maximum(weight, 1e-6), np.nan).astype(np.float32)
    return smoothed

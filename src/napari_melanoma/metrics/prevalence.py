"""Adjustment of class probabilities to the prevalence in another population."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def correct_prevalence(probability: ArrayLike, trained: ArrayLike, stated: ArrayLike) -> NDArray[np.float64]:
    """Adjust probabilities to other class shares than those of the training data.

    Each class is multiplied by the ratio of its shares, then all are scaled to add up to 1 (Saerens et al. 2002,
    doi:10.1162/089976602753284446, equation 2.4; for two classes Elkan 2001, The foundations of cost-sensitive
    learning, theorem 2). This is exact if the probabilities are calibrated and the classes look as in training.

    ``probability``: float (..., class). ``trained``: float (class,), class shares in the training data. ``stated``:
    float (class,), class shares in the application. Returns float64, the shape of ``probability``.
    """
    values = np.asarray(probability, np.float64)
    before, after = (_normalize_shares(shares, values.shape[-1]) for shares in (trained, stated))
    adjusted = values * (after / before)
    return adjusted / adjusted.sum(axis=-1, keepdims=True)


def _normalize_shares(shares: ArrayLike, classes: int) -> NDArray[np.float64]:
    """Check class shares and scale them to add up to 1."""
    values = np.asarray(shares, np.float64)
    if values.shape != (classes,) or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"expected {classes} class shares above 0, found {values.tolist()}. State one for each class.")
    return values / values.sum()


def adjust_to_prevalence(
    probability: NDArray[np.float64], positive: int, calibrated: float, stated: float
) -> NDArray[np.float64]:
    """Adjust probabilities to a stated prevalence of one class; the shares of the others stay in proportion.

    ``probability``: float (class,). ``positive``: index of the class. ``calibrated``: its prevalence among the
    calibration cases. Returns float64 (class,).
    """
    others = len(probability) - 1
    before, after = (np.full(len(probability), (1 - share) / others) for share in (calibrated, stated))
    before[positive], after[positive] = calibrated, stated
    return correct_prevalence(probability, before, after)

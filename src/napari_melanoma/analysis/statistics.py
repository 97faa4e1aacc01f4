"""Intervals that say how far a figure can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Estimate:
    """A mean with a 95 % interval and the number of values behind it."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        """Say it as a table does."""
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def bootstrap_mean(
    values: Sequence[float] | NDArray[np.float64],
    groups: Sequence[str] | None = None,
    *,
    rounds: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean with a 95 % percentile bootstrap interval (Efron 1979, doi:10.1214/aos/1176344552).

    Whole groups are drawn with replacement, because images of one patient are no independent witnesses.

    Parameters
    ----------
    values : sequence of float
        One figure an image.
    groups : sequence of str, optional
        The patient or lesion of each; every image by itself by default.
    rounds : int
        Bootstrap samples.
    seed : int
        Of the draws.

    Returns
    -------
    Estimate
        The mean over images and its interval.

    Raises
    ------
    ValueError
        Where there is no value, or not one group a value.
    """
    array = np.asarray(values, dtype=np.float64)
    names = np.arange(len(array)) if groups is None else np.asarray(groups)
    if not len(array) or len(names) != len(array):
        raise ValueError(f"a mean needs at least one value and one group each; found {len(array)} and {len(names)}.")
    _, index = np.unique(names, return_inverse=True)
    sums, counts = np.bincount(index, weights=array), np.bincount(index)
    draws = np.random.default_rng(seed).integers(len(sums), size=(rounds, len(sums)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(array.mean()), float(low), float(high), len(array))

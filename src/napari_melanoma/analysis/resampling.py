"""Intervals of any figure of many images, such as an AUC, which is no mean over them; numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.statistics import MANY, Estimate, stretch

if TYPE_CHECKING:
    from numpy.typing import NDArray

Figure = Callable[["NDArray[np.float64]"], float]
FEW_ROUNDS = 200  # of 10,000 groups and more: enough for a standard error


def bootstrap_figure(
    figure: Figure,
    groups: Sequence[object] | NDArray,
    *,
    rounds: int = 2000,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Give a figure of weighted images with a 95 % bootstrap interval over groups, widened where they are few.

    Whole patients or lesions are drawn with replacement; how often one was drawn is the weight of each of its images.
    Two figures of the same images are compared by a ``figure`` that gives their difference. From 10,000 groups on, the
    normal interval of 200 rounds is taken. Rounds that drew one class only have no figure and are left out.

    Parameters
    ----------
    figure : callable
        Takes float64 (image,), the weight of each, and gives the figure, NaN where there is none.
    groups : sequence
        The patient or lesion of each image.
    rounds : int
        Bootstrap samples.
    seed : int
        Of the draws.
    bounds : tuple of float
        What the figure can be at least and at most.

    Returns
    -------
    Estimate
        The figure of all images, its interval, and the number of images; no interval where there is one group, or
        where fewer than half of the rounds have a figure.

    Raises
    ------
    ValueError
        Where there is no image.
    """
    names = np.asarray(groups)
    if not len(names):
        raise ValueError("a figure needs at least one image; found none.")
    _, index = np.unique(names, return_inverse=True)
    count = int(index.max()) + 1
    whole = float(figure(np.ones(len(names))))
    if count < 2 or not np.isfinite(whole):
        return Estimate(whole, np.nan, np.nan, len(names))
    random = np.random.default_rng(seed)
    rounds = min(rounds, FEW_ROUNDS) if count >= MANY else rounds
    drawn = np.array([figure(_times(random, count)[index]) for _ in range(rounds)])
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < max(2, rounds / 2):
        return Estimate(whole, np.nan, np.nan, len(names))
    low, high = np.clip(_ends(whole, drawn, count), *bounds)
    return Estimate(whole, float(low), float(high), len(names))


def _times(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """How often each group is drawn, float64 (group,)."""
    return np.bincount(random.integers(count, size=count), minlength=count).astype(np.float64)


def _ends(whole: float, drawn: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Both ends of the interval."""
    if count >= MANY:
        return whole + 1.96 * drawn.std(ddof=1) * np.array([-1.0, 1.0])
    return whole + stretch(count) * (np.percentile(drawn, [2.5, 97.5]) - whole)

"""Intervals of any figure of many images, such as an AUC, which is no mean over them; numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.statistics import DRAWS_AT_ONCE, MANY, Estimate, stretch

if TYPE_CHECKING:
    from numpy.typing import NDArray

Figure = Callable[["NDArray[np.float64]"], float]
ROUNDS, FEW_ROUNDS = 2000, 200  # few of 10,000 groups and more: enough for a standard error
ALIKE = 0.025  # how likely it is at the end of an exact interval that all groups are alike


def bootstrap_figure(
    figure: Figure,
    groups: Sequence[object] | NDArray,
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Give a figure of weighted images with a 95 % bootstrap interval over groups, widened where they are few.

    Whole patients or lesions are drawn with replacement; how often one was drawn is the weight of each of its images.
    Two figures of the same images are compared by a ``figure`` that gives their difference. From 10,000 groups on, the
    normal interval of 200 rounds is taken. Rounds that drew one class only have no figure and are left out.

    ``figure``: takes float64 (image,), the weight of each, and gives the figure, NaN where there is none. Returns the
    figure of all images, its interval, and the number of images; no interval where there is one group, or where fewer
    than half of the rounds have a figure.
    """
    names = np.asarray(groups)
    if not len(names):
        raise ValueError("a figure needs at least one image; found none.")
    whole = float(figure(np.ones(len(names))))
    if not np.isfinite(whole):
        return Estimate(whole, np.nan, np.nan, len(names))
    drawn = np.array([figure(times) for part in draws(names, rounds=rounds, seed=seed) for times in part])
    low, high = interval(whole, drawn, len(np.unique(names)), bounds=bounds)
    return Estimate(whole, low, high, len(names))


def draws(groups: Sequence[object] | NDArray, *, rounds: int = ROUNDS, seed: int = 0) -> Iterator[NDArray[np.float64]]:
    """Draw whole patients or lesions with replacement.

    Yields float64 (draw, image), how often each image was drawn, of as many draws at once as memory allows; nothing
    where there is one group.
    """
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    count = int(index.max()) + 1
    if count < 2:
        return
    rounds, random = min(rounds, FEW_ROUNDS) if count >= MANY else rounds, np.random.default_rng(seed)
    step = max(1, DRAWS_AT_ONCE // (4 * len(index)))
    for first in range(0, rounds, step):
        size = min(step, rounds - first)
        places = random.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(places.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
        yield times[:, index]


def interval(
    value: float,
    drawn: NDArray[np.float64],
    groups: int,
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    biased: bool = False,
) -> tuple[float, float]:
    """Give the 95 % interval of a figure whose draws are known (Efron 1979, doi:10.1214/aos/1176344552).

    It is that of the percentiles, widened where groups are few (``analysis.statistics.stretch``); of 10,000 groups and
    more, whose draws are few, the normal one. A figure at a bound, from which no draw differs, gets the exact interval
    of so many groups that are all alike.

    ``drawn``: float64 (draw,); NaN where a draw has no figure. Both ends; NaN where there is one group, or fewer than
    half of the draws have a figure.
    """
    known = drawn[np.isfinite(drawn)]
    if groups < 2 or len(known) < max(2, len(drawn) / 2):
        return np.nan, np.nan
    if biased or groups >= MANY:
        low, high = value + 1.96 * known.std(ddof=1) * np.array([-1.0, 1.0])
    else:
        low, high = value + stretch(groups) * (np.percentile(known, [2.5, 97.5]) - value)
    least, most = bounds
    if not biased and value in bounds:
        reach = (most - least) * (1 - ALIKE ** (1 / groups))
        low, high = (least, max(high, least + reach)) if value == least else (min(low, most - reach), most)
    return max(float(low), least), min(float(high), most)

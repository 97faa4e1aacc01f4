"""Confidence intervals: of means, proportions, rank correlations, and by resampling images or patients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTERVAL_METHOD = (
    "95 % percentile bootstrap over patients or lesions, widened where they are few, 2000 rounds, seed 0; "
    "from 10,000 of them on the normal interval"
)
NO_INTERVAL_TEXT = "no interval: one patient or lesion"
MAX_BOOTSTRAP_GROUPS = (
    10_000  # groups: a bootstrap of so many gives the normal interval, and its own noise, at 2000 times the cost
)
DRAWS_AT_ONCE = 2**21  # 16 MB of indices: a data set of 400,000 images is drawn 5 rounds at a time


@dataclass(frozen=True)
class Estimate:
    """A mean with a 95 % interval and the number of values behind it; both ends are NaN where there is none."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        """Say it as a table does."""
        return f"{self.mean:.3f} ({self.format_interval('.3f')})"

    @property
    def has_interval(self) -> bool:
        """Whether anything is known of how far the mean can be trusted; one patient or lesion says nothing of it."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def format_interval(self, form: str = "+.3f", words: str = "", factor: float = 1.0) -> str:
        """Say the interval.

        Such as ``+0.008 to +0.034``; that there is none, where there is none.
        """
        if not self.has_interval:
            return NO_INTERVAL_TEXT
        return f"{words}{factor * self.low:{form}} to {factor * self.high:{form}}"


def bootstrap_mean(
    values: Sequence[float] | NDArray[np.float64],
    groups: Sequence[str] | None = None,
    *,
    rounds: int = 2000,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Mean with a 95 % percentile bootstrap interval (Efron 1979, doi:10.1214/aos/1176344552), widened for few groups.

    Whole groups are drawn with replacement, because images of one patient are no independent witnesses. Of n groups,
    a percentile interval is too narrow by the square root of (n - 1) / n, and by what a normal quantile falls short of
    Student's with n - 1 degrees of freedom: at n = 5 it leaves the truth out in 16 instead of 5 of 100 cases. Both
    distances from the mean are stretched by that (the narrowness bias of Hesterberg 2015,
    doi:10.1080/00031305.2015.1089789).

    Returns the mean over images and its interval, whose ends are NaN where there is one group.
    """
    array = np.asarray(values, dtype=np.float64)
    names = np.arange(len(array)) if groups is None else np.asarray(groups)
    if not len(array) or len(names) != len(array):
        raise ValueError(f"a mean needs at least one value and one group each; found {len(array)} and {len(names)}.")
    _, index = np.unique(names, return_inverse=True)
    sums, counts = np.bincount(index, weights=array), np.bincount(index)
    if len(sums) >= MAX_BOOTSTRAP_GROUPS:
        return bootstrap_means(array[:, None], index, bounds=bounds)[0]
    mean = array.mean()
    if len(sums) < 2:
        return Estimate(float(mean), np.nan, np.nan, len(array))
    ends = np.percentile(_resample_means(sums, counts, rounds, seed), [2.5, 97.5])
    low, high = np.clip(mean + few_groups_factor(len(sums)) * (ends - mean), *bounds)
    return Estimate(float(mean), float(low), float(high), len(array))


def bootstrap_means(
    table: NDArray[np.float64],
    groups: Sequence[str] | NDArray | None = None,
    *,
    rounds: int = 2000,
    seed: int = 0,
    bounds: tuple[float, float | NDArray[np.float64]] = (-np.inf, np.inf),
) -> list[Estimate]:
    """Do for many figures of the same images what ``bootstrap_mean`` does for one, with the same draws for all.

    From 10,000 groups on, each interval is the mean less and plus 1.96 standard errors of a ratio of sums over groups
    (Cochran 1977, Sampling Techniques, section 6.3), which needs one pass over the images, whatever their number.

    ``table``: float64 (image, figure); finite. ``bounds``: what a mean can be at least, and at most: one value, or
    float64 (figure,). One a figure, in the order of the columns; the ends of each interval are NaN where there is one
    group.
    """
    names = np.arange(len(table)) if groups is None else np.asarray(groups)
    if not len(table) or len(names) != len(table):
        raise ValueError(f"a mean needs at least one value and one group each; found {len(table)} and {len(names)}.")
    _, index = np.unique(names, return_inverse=True)
    counts = np.bincount(index).astype(np.float64)
    sums = np.stack([np.bincount(index, weights=column) for column in table.T], axis=1)
    mean = sums.sum(axis=0) / len(table)
    if len(counts) < 2:
        ends = np.full((2, len(mean)), np.nan)
    elif len(counts) >= MAX_BOOTSTRAP_GROUPS:
        reach = 1.96 * _standard_error(sums, counts, mean)
        ends = np.stack([mean - reach, mean + reach])
    else:
        found = np.percentile(_resample_tables(sums, counts, rounds, seed), [2.5, 97.5], axis=0)
        ends = mean + few_groups_factor(len(counts)) * (found - mean)
    low, high = np.clip(ends, *bounds)
    return [
        Estimate(float(centre), float(lower), float(upper), len(table))
        for centre, lower, upper in zip(mean, low, high, strict=True)
    ]


def paired_difference(
    old: Sequence[float] | NDArray[np.float64],
    new: Sequence[float] | NDArray[np.float64],
    groups: Sequence[str] | None = None,
    *,
    rounds: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean of new less old on the same images, with a 95 % paired bootstrap interval.

    Each round draws patients or lesions and takes both figures of all their images, so that what makes an image
    difficult for either model cancels out.
    """
    before, after = np.asarray(old, dtype=np.float64), np.asarray(new, dtype=np.float64)
    if before.shape != after.shape:
        raise ValueError(
            f"a paired difference needs both figures of every image; found {len(before)} and {len(after)}."
        )
    return bootstrap_mean(after - before, groups, rounds=rounds, seed=seed)


def few_groups_factor(groups: int) -> float:
    """Say by which factor the percentile interval of a mean over few groups is too narrow.

    1 or more.
    """
    from scipy.special import ndtri, stdtrit

    return float(np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, 0.975) / ndtri(0.975))


def _standard_error(sums: NDArray, counts: NDArray, mean: NDArray) -> NDArray[np.float64]:
    """Standard error of each mean over images, which are drawn in groups: float64 (figure,)."""
    groups = len(counts)
    left = sums - counts[:, None] * mean
    return np.sqrt((left**2).sum(axis=0) * groups / (groups - 1)) / counts.sum()


def _resample_tables(sums: NDArray, counts: NDArray, rounds: int, seed: int) -> NDArray[np.float64]:
    """Mean of each figure over the images of each round: float64 (round, figure)."""
    groups = len(sums)
    random = np.random.default_rng(seed)
    means = []
    step = max(1, DRAWS_AT_ONCE // groups)
    for first in range(0, rounds, step):
        size = min(step, rounds - first)
        draws = random.integers(groups, size=(size, groups)) + groups * np.arange(size)[:, None]
        times = np.bincount(draws.ravel(), minlength=size * groups).reshape(size, groups).astype(np.float64)
        means.append(times @ sums / (times @ counts)[:, None])
    return np.concatenate(means)


def _resample_means(sums: NDArray, counts: NDArray, rounds: int, seed: int) -> NDArray[np.float64]:
    """Mean over the images of each round: float64 (round,); the same however many rounds are drawn at once."""
    groups = len(sums)
    random = np.random.default_rng(seed)
    means = []
    step = max(1, DRAWS_AT_ONCE // groups)
    for first in range(0, rounds, step):
        draws = random.integers(groups, size=(min(step, rounds - first), groups))
        means.append(sums[draws].sum(1) / counts[draws].sum(1))
    return np.concatenate(means)


Statistic = Callable[["NDArray[np.float64]"], float]
BOOTSTRAP_ROUNDS, FEW_ROUNDS = 2000, 200  # few of 10,000 groups and more: enough for a standard error
TAIL_PROBABILITY = 0.025  # how likely it is at the end of an exact interval that all groups are alike


def bootstrap_statistic(
    statistic: Statistic,
    groups: Sequence[object] | NDArray,
    *,
    rounds: int = BOOTSTRAP_ROUNDS,
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
    whole = float(statistic(np.ones(len(names))))
    if not np.isfinite(whole):
        return Estimate(whole, np.nan, np.nan, len(names))
    drawn = np.array(
        [statistic(times) for part in iter_bootstrap_weights(names, rounds=rounds, seed=seed) for times in part]
    )
    low, high = bootstrap_interval(whole, drawn, len(np.unique(names)), bounds=bounds)
    return Estimate(whole, low, high, len(names))


def iter_bootstrap_weights(
    groups: Sequence[object] | NDArray, *, rounds: int = BOOTSTRAP_ROUNDS, seed: int = 0
) -> Iterator[NDArray[np.float64]]:
    """Draw whole patients or lesions with replacement.

    Yields float64 (draw, image), how often each image was drawn, of as many draws at once as memory allows; nothing
    where there is one group.
    """
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    count = int(index.max()) + 1
    if count < 2:
        return
    rounds, random = min(rounds, FEW_ROUNDS) if count >= MAX_BOOTSTRAP_GROUPS else rounds, np.random.default_rng(seed)
    step = max(1, DRAWS_AT_ONCE // (4 * len(index)))
    for first in range(0, rounds, step):
        size = min(step, rounds - first)
        places = random.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(places.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
        yield times[:, index]


def bootstrap_interval(
    value: float,
    drawn: NDArray[np.float64],
    groups: int,
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    biased: bool = False,
) -> tuple[float, float]:
    """Give the 95 % interval of a figure whose draws are known (Efron 1979, doi:10.1214/aos/1176344552).

    It is that of the percentiles, widened where groups are few (``metrics.statistics.stretch``); of 10,000 groups and
    more, whose draws are few, the normal one. A figure at a bound, from which no draw differs, gets the exact interval
    of so many groups that are all alike.

    ``drawn``: float64 (draw,); NaN where a draw has no figure. Both ends; NaN where there is one group, or fewer than
    half of the draws have a figure.
    """
    known = drawn[np.isfinite(drawn)]
    if groups < 2 or len(known) < max(2, len(drawn) / 2):
        return np.nan, np.nan
    if biased or groups >= MAX_BOOTSTRAP_GROUPS:
        low, high = value + 1.96 * known.std(ddof=1) * np.array([-1.0, 1.0])
    else:
        low, high = value + few_groups_factor(groups) * (np.percentile(known, [2.5, 97.5]) - value)
    least, most = bounds
    if not biased and value in bounds:
        reach = (most - least) * (1 - TAIL_PROBABILITY ** (1 / groups))
        low, high = (least, max(high, least + reach)) if value == least else (min(low, most - reach), most)
    return max(float(low), least), min(float(high), most)

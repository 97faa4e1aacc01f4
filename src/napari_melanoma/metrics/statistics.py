"""Confidence intervals of means and other statistics by bootstrap over images, lesions or patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.formatting import format_count

NO_INTERVAL_TEXT = "no interval: one patient or lesion"
# For this many groups, a bootstrap gives the normal interval with additional noise, at 2000 times the cost.
MAX_BOOTSTRAP_GROUPS = 10_000
DRAWS_AT_ONCE = 2**21  # 16 MB of indices: for 400,000 images, 5 rounds at a time
BOOTSTRAP_ROUNDS, FEW_ROUNDS = 2000, 200  # few rounds for 10,000 groups and more: enough for a standard error
TAIL_PROBABILITY = 0.025  # probability of identical groups if the truth is at the end of an exact interval
ROUNDING = 1e-12  # share of the range of a statistic: a sum of parts may miss a bound by rounding
BOOTSTRAP, NORMAL = f"95 % bootstrap interval ({BOOTSTRAP_ROUNDS} rounds, seed 0)", "95 % normal interval"


@dataclass(frozen=True)
class Estimate:
    """A mean with a 95 % interval and the number of values; both ends are NaN if the interval is undefined."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        """Format the mean with its interval, as in tables."""
        return f"{self.mean:.3f} ({self.format_interval('.3f')})"

    @property
    def has_interval(self) -> bool:
        """Whether the interval is defined, which requires two patients or lesions."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def format_interval(self, form: str = "+.3f", words: str = "", factor: float = 1.0) -> str:
        """Format the interval, such as ``+0.008 to +0.034``; or state that there is none."""
        if not self.has_interval:
            return NO_INTERVAL_TEXT
        return f"{words}{factor * self.low:{form}} to {factor * self.high:{form}}"


def describe_intervals(groups: int | None = None, unknown: int = 0) -> str:
    """Describe how intervals are computed.

    ``groups``: number of patients or lesions; None describes the method for any number. ``unknown``: number of images
    whose patient and lesion are unknown, each of which is a group.
    """
    if groups is None:
        return (
            f"{BOOTSTRAP} over patients or lesions (over images if the data name neither), widened if there are few; "
            f"{NORMAL} for {MAX_BOOTSTRAP_GROUPS:,} or more"
        )
    if groups < 2:
        return NO_INTERVAL_TEXT
    drawn = f"{groups:,} patients or lesions"
    if unknown == groups:
        drawn = f"{groups:,} images; patients unknown"
    elif unknown:
        drawn += f" (of {format_count(unknown, 'image')} the patient is unknown: each counts as one)"
    if groups >= MAX_BOOTSTRAP_GROUPS:
        return f"{NORMAL} over {drawn}"
    return f"{BOOTSTRAP}, widened by {100 * (few_groups_factor(groups) - 1):.1f} %, over {drawn}"


def bootstrap_mean(
    values: Sequence[float] | NDArray[np.float64],
    groups: Sequence[str] | NDArray | None = None,
    *,
    rounds: int = BOOTSTRAP_ROUNDS,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Return the mean with a 95 % percentile bootstrap interval (Efron 1979, doi:10.1214/aos/1176344552).

    Whole groups are drawn with replacement, because images of one patient are not independent. For n groups, a
    percentile interval is too narrow by the square root of (n - 1) / n, and by the ratio of the normal quantile to
    that of Student's t with n - 1 degrees of freedom: for n = 5 it misses the truth in 16 instead of 5 of 100 cases.
    Both distances from the mean are stretched accordingly (the narrowness bias of Hesterberg 2015,
    doi:10.1080/00031305.2015.1089789).

    Returns the mean over images and its interval, whose ends are NaN for a single group.
    """
    table = np.asarray(values, dtype=np.float64)[:, None]
    return bootstrap_means(table, groups, rounds=rounds, seed=seed, bounds=bounds)[0]


def bootstrap_means(
    table: NDArray[np.float64],
    groups: Sequence[str] | NDArray | None = None,
    *,
    rounds: int = BOOTSTRAP_ROUNDS,
    seed: int = 0,
    bounds: tuple[float | NDArray[np.float64], float | NDArray[np.float64]] = (-np.inf, np.inf),
) -> list[Estimate]:
    """Compute ``bootstrap_mean`` for many statistics of the same images, with the same draws.

    From 10,000 groups on, each interval is the mean plus and minus 1.96 standard errors of a ratio of sums over groups
    (Cochran 1977, Sampling Techniques, section 6.3), which needs a single pass over the images. A mean at a bound gets
    at least the exact interval, as in ``bootstrap_interval``.

    ``table``: float64 (image, statistic); finite. ``bounds``: lower and upper limit of a mean, each one value or
    float64 (statistic,). Returns one estimate per column; the ends of each interval are NaN for a single group.
    """
    names = np.arange(len(table)) if groups is None else np.asarray(groups)
    if not len(table) or len(names) != len(table):
        raise ValueError(
            f"expected at least one value, each with a group, found {len(table)} values and {len(names)} groups."
        )
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
        draws = iter_bootstrap_weights(np.arange(len(counts)), rounds=rounds, seed=seed)
        drawn = np.concatenate([times @ sums / (times @ counts)[:, None] for times in draws])
        percentiles = np.percentile(drawn, [2.5, 97.5], axis=0)
        ends = mean + few_groups_factor(len(counts)) * (percentiles - mean)
    low, high = np.clip(ends, *bounds)
    limits = zip(*(np.broadcast_to(bound, mean.shape).tolist() for bound in bounds), strict=True)
    return [
        Estimate(center, *_widen_at_bound(center, (lower, upper), len(counts), limit), len(table))
        for center, lower, upper, limit in zip(mean.tolist(), low.tolist(), high.tolist(), limits, strict=True)
    ]


def weighted_mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each draw; ``values``: float64 (image,); ``weights``: as for ``draw_statistics``."""
    return weights @ values / weights.sum(axis=1)


def few_groups_factor(groups: int) -> float:
    """Return the factor, 1 or more, by which the percentile interval of a mean over few groups is too narrow."""
    from scipy.special import ndtri, stdtrit

    return float(np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, 0.975) / ndtri(0.975))


def _standard_error(sums: NDArray, counts: NDArray, mean: NDArray) -> NDArray[np.float64]:
    """Return the standard error of each mean over images that are drawn in groups, float64 (statistic,)."""
    groups = len(counts)
    residual = sums - counts[:, None] * mean
    return np.sqrt((residual**2).sum(axis=0) * groups / (groups - 1)) / counts.sum()


def bootstrap_statistic(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    groups: Sequence[object] | NDArray,
    *,
    rounds: int = BOOTSTRAP_ROUNDS,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Return a statistic of weighted images with a 95 % bootstrap interval over groups, widened for few groups.

    From 10,000 groups on, the normal interval of 200 rounds is used. Rounds in which the statistic is undefined, such
    as with one class, are omitted.

    ``statistic``: from weights, as for ``draw_statistics``, to float64 (draw,). Returns the statistic of all images,
    its interval, and the number of images; no interval for a single group, or if fewer than half of the rounds have a
    value.
    """
    names = np.asarray(groups)
    if not len(names):
        raise ValueError("expected at least one image, found none.")
    value, drawn = draw_statistics(lambda weights: {"": statistic(weights)}, names, rounds=rounds, seed=seed)[""]
    if not np.isfinite(value):
        return Estimate(value, np.nan, np.nan, len(names))
    return Estimate(value, *bootstrap_interval(value, drawn, len(np.unique(names)), bounds=bounds), len(names))


def draw_statistics(
    statistics: Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]],
    groups: Sequence[object] | NDArray,
    *,
    rounds: int = BOOTSTRAP_ROUNDS,
    seed: int = 0,
) -> dict[str, tuple[float, NDArray[np.float64]]]:
    """Compute statistics of all images and of bootstrap draws of whole patients or lesions.

    ``statistics``: from the number of times that each draw contains each image, float64 (draw, image), to each
    statistic, float64 (draw,), NaN where undefined. Two models are compared by the differences of their statistics.
    Returns the value of each statistic, and its draws, float64 (draw,), for ``bootstrap_interval``; no draws for a
    single group, or if all values are undefined.
    """
    whole = statistics(np.ones((1, len(groups))))
    rounds = rounds if any(np.isfinite(value[0]) for value in whole.values()) else 0
    parts = [statistics(weights) for weights in iter_bootstrap_weights(groups, rounds=rounds, seed=seed)]
    drawn = {name: np.concatenate([part[name] for part in parts]) if parts else np.array([]) for name in whole}
    return {name: (float(value[0]), drawn[name]) for name, value in whole.items()}


def iter_bootstrap_weights(
    groups: Sequence[object] | NDArray, *, rounds: int = BOOTSTRAP_ROUNDS, seed: int = 0
) -> Iterator[NDArray[np.float64]]:
    """Draw whole patients or lesions with replacement.

    Yields float64 (draw, image), the number of times each image was drawn, for as many draws at once as memory allows;
    nothing for a single group.
    """
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    count = int(index.max()) + 1
    if count < 2:
        return
    rounds, random = min(rounds, FEW_ROUNDS) if count >= MAX_BOOTSTRAP_GROUPS else rounds, np.random.default_rng(seed)
    is_identity = count == len(index) and bool((index == np.arange(count)).all())
    step = max(1, DRAWS_AT_ONCE // (4 * len(index)))
    for first in range(0, rounds, step):
        size = min(step, rounds - first)
        indices = random.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(indices.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
        yield times if is_identity else times[:, index]


def bootstrap_interval(
    value: float,
    drawn: NDArray[np.float64],
    groups: int,
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    biased: bool = False,
) -> tuple[float, float]:
    """Return the 95 % interval of a statistic from its bootstrap draws (Efron 1979, doi:10.1214/aos/1176344552).

    It is the percentile interval, widened for few groups (``few_groups_factor``); for 10,000 groups and more, for which
    there are few draws, it is the normal interval. A value at a bound, from which no draw differs, gets the exact
    interval of that many identical groups.

    ``groups``: their number. ``biased``: whether bootstrap samples are biased in this statistic, as in the calibration
    error; the interval is then the normal one, widened likewise. ``drawn``: float64 (draw,); NaN where undefined.
    Returns both ends; NaN for a single group, or if fewer than half of the draws have a value.
    """
    finite = drawn[np.isfinite(drawn)]
    if groups < 2 or len(finite) < max(2, len(drawn) / 2):
        return np.nan, np.nan
    if biased or groups >= MAX_BOOTSTRAP_GROUPS:
        reach = 1.96 * few_groups_factor(groups) * finite.std(ddof=1)
        low, high = value - reach, value + reach
    else:
        low, high = value + few_groups_factor(groups) * (np.percentile(finite, [2.5, 97.5]) - value)
    if not biased:
        low, high = _widen_at_bound(value, (float(low), float(high)), groups, bounds)
    minimum, maximum = bounds
    return max(float(low), minimum), min(float(high), maximum)


def _widen_at_bound(
    value: float, interval: tuple[float, float], groups: int, bounds: tuple[float, float]
) -> tuple[float, float]:
    """Return an interval, of a value at a bound at least the exact one of that many identical groups."""
    (low, high), (minimum, maximum) = interval, bounds
    span = maximum - minimum
    if groups < 2 or not math.isfinite(span):
        return interval
    reach = span * (1 - TAIL_PROBABILITY ** (1 / groups))
    if value - minimum <= ROUNDING * span:
        return minimum, max(high, minimum + reach)
    if maximum - value <= ROUNDING * span:
        return min(low, maximum - reach), maximum
    return interval

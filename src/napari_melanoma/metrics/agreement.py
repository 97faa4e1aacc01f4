"""Agreement of readers, and of predicted with measured depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_melanoma.metrics.statistics import Estimate, bootstrap_statistic

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.core.prediction_config import DepthOutputConfig, DepthScale

CONFIDENCE_LEVEL = 0.95
NORMAL_QUANTILE = 1.959963984540054  # standard deviations to either side that hold 95 % of normal differences
MIN_CASES = 3  # values: of two, neither a spread nor a correlation says anything


@dataclass(frozen=True, eq=False)
class BlandAltman:
    """Differences of two readers, over their mean.

    ``means``, ``differences``: float64 (value,); second reader less first.
    """

    means: NDArray[np.float64]
    differences: NDArray[np.float64]
    bias: Estimate
    sd: float
    low: Estimate
    high: Estimate
    slope: Estimate


def bland_altman(first: ArrayLike, second: ArrayLike) -> BlandAltman:
    """Compare two readers' values of the same things (Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8).

    Intervals are of 95 %: of the bias by Student's t, of the limits the exact ones by the noncentral t (Carkeet 2015,
    doi:10.1097/OPX.0000000000000513). They take the things to be independent and their differences to be normal.
    """
    one, other = _check_pairs(first, second)
    count, differences, means = len(one), other - one, (one + other) / 2
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    from scipy.special import stdtrit

    reach = float(stdtrit(count - 1, (1 + CONFIDENCE_LEVEL) / 2)) * sd / np.sqrt(count)
    near, far = _limit_offsets(count, sd)
    return BlandAltman(
        means,
        differences,
        Estimate(bias, bias - reach, bias + reach, count),
        sd,
        Estimate(bias - NORMAL_QUANTILE * sd, bias - far, bias - near, count),
        Estimate(bias + NORMAL_QUANTILE * sd, bias + near, bias + far, count),
        _fit_slope(means, differences),
    )


def intraclass_correlation(values: ArrayLike) -> Estimate:
    """Give ICC(2,1): absolute agreement of single readers who stand for others (Shrout and Fleiss 1979).

    Two-way random effects, doi:10.1037/0033-2909.86.2.420, with the 95 % interval given there.

    1 where readers agree on everything, 0 or less where they agree no more than by chance; all NaN where all values are
    the same.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or table.shape[0] < MIN_CASES or table.shape[1] < 2 or not np.isfinite(table).all():
        raise ValueError(
            f"agreement takes the values of two readers or more of {MIN_CASES} things or more; found {table.shape}."
        )
    things, readers = table.shape
    between, reader, rest = _mean_squares(table)
    whole = between + (readers - 1) * rest + readers * (reader - rest) / things
    if whole <= 0:
        return Estimate(np.nan, np.nan, np.nan, things)
    found = float((between - rest) / whole)
    if rest <= 0:  # they differ by a constant alone: the interval has no width to be computed from
        return Estimate(found, np.nan, np.nan, things)
    low, high = _icc_interval(found, (between, reader, rest), (things, readers))
    return Estimate(found, low, high, things)


def _check_pairs(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both readers' values, refused where they are no pairs."""
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.ndim != 1 or one.shape != other.shape or len(one) < MIN_CASES:
        raise ValueError(f"agreement takes {MIN_CASES} pairs or more; found {one.shape} and {other.shape} values.")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError("agreement takes finite values: leave out what one of the readers did not measure.")
    return one, other


def _limit_offsets(count: int, sd: float) -> tuple[float, float]:
    """How far from the bias a limit of agreement begins and ends, exactly."""
    if sd == 0:
        return 0.0, 0.0
    from scipy.stats import nct

    root = np.sqrt(count)
    ends = nct.ppf([(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2], count - 1, NORMAL_QUANTILE * root) / root
    return float(ends[0] * sd), float(ends[1] * sd)


def _fit_slope(means: NDArray[np.float64], differences: NDArray[np.float64]) -> Estimate:
    """Differences over means, by least squares."""
    from scipy.special import stdtrit

    count, spread = len(means), means - means.mean()
    weight = float((spread**2).sum())
    if weight == 0:
        return Estimate(np.nan, np.nan, np.nan, count)
    slope = float((spread * differences).sum() / weight)
    left = differences - differences.mean() - slope * spread
    error = np.sqrt((left**2).sum() / (count - 2) / weight)
    reach = float(stdtrit(count - 2, (1 + CONFIDENCE_LEVEL) / 2) * error)
    return Estimate(slope, slope - reach, slope + reach, count)


def _mean_squares(table: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean squares between things, between readers, and of what is left."""
    things, readers = table.shape
    whole, of_thing, of_reader = table.mean(), table.mean(axis=1), table.mean(axis=0)
    left = table - of_thing[:, None] - of_reader + whole
    between = readers * ((of_thing - whole) ** 2).sum() / (things - 1)
    reader = things * ((of_reader - whole) ** 2).sum() / (readers - 1)
    return float(between), float(reader), float((left**2).sum() / ((things - 1) * (readers - 1)))


def _icc_interval(found: float, squares: tuple[float, float, float], shape: tuple[int, int]) -> tuple[float, float]:
    """Interval of ICC(2,1), by Satterthwaite's degrees of freedom."""
    from scipy.special import fdtri

    (between, reader, rest), (things, readers) = squares, shape
    ratio, tail = reader / rest, (1 + CONFIDENCE_LEVEL) / 2
    above = readers * found * ratio + things * (1 + (readers - 1) * found) - readers * found
    below = (things - 1) * readers**2 * found**2 * ratio**2 + (
        things * (1 + (readers - 1) * found) - readers * found
    ) ** 2
    degrees = (readers - 1) * (things - 1) * above**2 / below
    upper, lower = fdtri(things - 1, degrees, tail), fdtri(degrees, things - 1, tail)
    error = readers * reader + (readers * things - readers - things) * rest
    low = things * (between - upper * rest) / (upper * error + things * between)
    high = things * (lower * between - rest) / (error + things * lower * between)
    return float(low), float(high)


DEPTH_METRICS = {
    "depth_mae_mm": "mean absolute error of the depth, mm (less is better)",
    "depth_r": "correlation of the depth with what was measured (Pearson)",
    "depth_bias_mm": "mean of the depth told less the one measured, mm",
    "depth_low_mm": "lower limit of agreement, mm (Bland-Altman)",
    "depth_high_mm": "upper limit of agreement, mm (Bland-Altman)",
    "depth_coverage": "share whose interval holds the measured depth",
}


class DepthIntervals(NamedTuple):
    """Depths in mm, float64 (image,) each: what is told, and the ends of the interval; NaN where there is none."""

    mm: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def standardize_depth(mm: ArrayLike, scale: DepthScale) -> NDArray[np.float64]:
    """Bring depths to the scale of a network.

    Returns float64 of that shape.
    """
    plain = np.maximum(np.asarray(mm, np.float64), 0.0)
    return ((np.log1p(plain) if scale.log else plain) - scale.mean) / scale.std


def depth_to_mm(depth: ArrayLike, scale: DepthScale) -> NDArray[np.float64]:
    """Bring what a network tells to millimetres.

    Returns float64 of that shape, 0 or more.
    """
    plain = np.asarray(depth, np.float64) * scale.std + scale.mean
    return np.maximum(np.expm1(plain) if scale.log else plain, 0.0)


def conformal_margin(
    predicted: NDArray[np.floating], true_mm: ArrayLike, scale: DepthScale, coverage: float
) -> float | None:
    """Say how wide intervals must be to hold as many depths as asked, by cases that were not learnt from.

    Split conformal prediction (Lei et al. 2018, doi:10.1080/01621459.2017.1307116): the quantile of the errors, each
    over the spread that the network tells of it, where it tells one.

    ``told``: float (image, 1 or 2): depth and perhaps the logarithm of its variance, on the scale. ``true_mm``:
    (image,), NaN where not known. Half of the interval, in units of the spread; None with too few cases. The largest
    error where there are too few for the coverage.
    """
    errors = np.abs(predicted[:, 0] - standardize_depth(true_mm, scale)) / _predicted_sd(predicted)
    errors = np.sort(errors[~np.isnan(errors)])
    if len(errors) < MIN_CASES:
        return None
    return float(errors[min(len(errors), int(np.ceil((len(errors) + 1) * coverage))) - 1])


def decode_depths(predicted: NDArray[np.floating], config: DepthOutputConfig) -> DepthIntervals:
    """Read what a network tells.

    ``told``: float (image, 1 or 2), as for ``margin``. In mm.
    """
    reach = (np.nan if config.margin is None else config.margin) * _predicted_sd(predicted)
    return DepthIntervals(
        *(depth_to_mm(predicted[:, 0] + side * reach if side else predicted[:, 0], config.scale) for side in (0, -1, 1))
    )


def depth_metrics(
    depths: DepthIntervals, true_mm: NDArray[np.float64], groups: Sequence[object]
) -> dict[str, Estimate]:
    """Measure depths that were told.

    ``true_mm``: float64 (image,), NaN where nobody measured. Returns as ``MEASURES`` names them, with 95 % intervals:
    bootstrap over patients, of bias and limits by their formulas; empty with fewer than three measured.
    """
    known = ~np.isnan(true_mm)
    said, true = depths.mm[known], true_mm[known]
    if len(true) < MIN_CASES:
        return {}
    drawn = [group for group, there in zip(groups, known, strict=True) if there]
    limits = bland_altman(true, said)
    found = {
        "depth_mae_mm": bootstrap_statistic(partial(_mean, np.abs(said - true)), drawn, bounds=(0, np.inf)),
        "depth_r": bootstrap_statistic(partial(weighted_pearson, said, true), drawn, bounds=(-1, 1)),
        "depth_bias_mm": limits.bias,
        "depth_low_mm": limits.low,
        "depth_high_mm": limits.high,
    }
    low, high = depths.low[known], depths.high[known]
    if not np.isnan(low).any():
        held = ((low <= true) & (true <= high)).astype(float)
        found["depth_coverage"] = bootstrap_statistic(partial(_mean, held), drawn, bounds=(0, 1))
    return found


def weighted_pearson(first: NDArray[np.float64], second: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Correlate two numbers of images that count differently.

    ``first``, ``second``, ``weights``: float64 (image,). NaN where one of the two is the same everywhere.
    """
    one, other = first - _mean(first, weights), second - _mean(second, weights)
    together = np.sqrt((weights @ one**2) * (weights @ other**2))
    return float(weights @ (one * other) / together) if together > 0 else float("nan")


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Weighted mean."""
    return float(weights @ values / weights.sum())


def _predicted_sd(predicted: NDArray[np.floating]) -> NDArray[np.float64]:
    """Standard deviation that is told of each, 1 where none is."""
    if predicted.shape[1] < 2:
        return np.ones(len(predicted))
    return np.exp(0.5 * np.asarray(predicted[:, 1], np.float64))

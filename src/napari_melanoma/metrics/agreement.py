"""Agreement of readers, and of predicted and measured depths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_melanoma.metrics.calibration import conformal_quantile
from napari_melanoma.metrics.statistics import Estimate, bootstrap_statistic, weighted_mean

if TYPE_CHECKING:
    from napari_melanoma.core.prediction_config import DepthOutputConfig, DepthScale

CONFIDENCE_LEVEL = 0.95
NORMAL_QUANTILE = 1.959963984540054  # limits of 95 % of a normal distribution, in standard deviations
MIN_CASES = 3  # fewest values for a spread or a correlation


@dataclass(frozen=True, eq=False)
class BlandAltman:
    """Differences of two readers over their means.

    ``means``, ``differences``: float64 (item,); second reader minus first. ``bias``, ``sd``: mean and standard
    deviation of the differences. ``low``, ``high``: the limits of agreement. ``slope``: of the differences over the
    means.
    """

    means: NDArray[np.float64]
    differences: NDArray[np.float64]
    bias: Estimate
    sd: float
    low: Estimate
    high: Estimate
    slope: Estimate


def bland_altman(first: ArrayLike, second: ArrayLike) -> BlandAltman:
    """Compare two readers' values of the same items (Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8).

    Intervals are 95 %: of the bias by Student's t, of the limits exact by the noncentral t (Carkeet 2015,
    doi:10.1097/OPX.0000000000000513). They assume independent items and normally distributed differences.
    """
    first_values, second_values = _check_pairs(first, second)
    count, differences, means = len(first_values), second_values - first_values, (first_values + second_values) / 2
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
    """Return ICC(2,1): absolute agreement of single readers from a population of readers (Shrout and Fleiss 1979).

    The model has two-way random effects (doi:10.1037/0033-2909.86.2.420, which also gives the 95 % interval).

    ``values``: float (item, reader), finite. 1 for perfect agreement, 0 or less for agreement by chance; all NaN if all
    values are equal.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or table.shape[0] < MIN_CASES or table.shape[1] < 2 or not np.isfinite(table).all():
        raise ValueError(
            f"expected finite values of at least two readers for at least {MIN_CASES} items, found shape {table.shape}."
        )
    items, readers = table.shape
    between_items, between_readers, residual = _mean_squares(table)
    total = between_items + (readers - 1) * residual + readers * (between_readers - residual) / items
    if total <= 0:
        return Estimate(np.nan, np.nan, np.nan, items)
    icc = float((between_items - residual) / total)
    if residual <= 0:  # readers differ by a constant only: the interval is undefined
        return Estimate(icc, np.nan, np.nan, items)
    low, high = _icc_interval(icc, (between_items, between_readers, residual), (items, readers))
    return Estimate(icc, low, high, items)


def _check_pairs(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Convert the values of both readers; raise if they are not pairs."""
    one_reader, other_reader = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one_reader.ndim != 1 or one_reader.shape != other_reader.shape or len(one_reader) < MIN_CASES:
        raise ValueError(
            f"expected at least {MIN_CASES} pairs of values, found shapes {one_reader.shape} and {other_reader.shape}."
        )
    if not (np.isfinite(one_reader).all() and np.isfinite(other_reader).all()):
        raise ValueError("expected finite values. Remove items that one of the readers did not measure.")
    return one_reader, other_reader


def _limit_offsets(count: int, sd: float) -> tuple[float, float]:
    """Return the exact distances of both ends of the interval of a limit of agreement from the bias."""
    if sd == 0:
        return 0.0, 0.0
    from scipy.stats import nct

    root = np.sqrt(count)
    ends = nct.ppf([(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2], count - 1, NORMAL_QUANTILE * root) / root
    return float(ends[0] * sd), float(ends[1] * sd)


def _fit_slope(means: NDArray[np.float64], differences: NDArray[np.float64]) -> Estimate:
    """Fit the slope of the differences over the means by least squares."""
    from scipy.special import stdtrit

    count, spread = len(means), means - means.mean()
    weight = float((spread**2).sum())
    if weight <= count * _rounding_square(means):
        return Estimate(np.nan, np.nan, np.nan, count)
    slope = float((spread * differences).sum() / weight)
    residual = differences - differences.mean() - slope * spread
    error = np.sqrt((residual**2).sum() / (count - 2) / weight)
    reach = float(stdtrit(count - 2, (1 + CONFIDENCE_LEVEL) / 2) * error)
    return Estimate(slope, slope - reach, slope + reach, count)


def _mean_squares(table: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean squares between items, between readers, and of the residual."""
    items, readers = table.shape
    mean, item_means, reader_means = table.mean(), table.mean(axis=1), table.mean(axis=0)
    residual = table - item_means[:, None] - reader_means + mean
    between_items = readers * ((item_means - mean) ** 2).sum() / (items - 1)
    between_readers = items * ((reader_means - mean) ** 2).sum() / (readers - 1)
    squares = between_items, between_readers, (residual**2).sum() / ((items - 1) * (readers - 1))
    first, second, third = (
        0.0 if square <= table.size * _rounding_square(table) else float(square) for square in squares
    )
    return first, second, third


def _rounding_square(values: NDArray[np.float64]) -> float:
    """Return the mean square of deviations that are due to rounding: equal values differ from their mean by these."""
    return float((4 * np.finfo(np.float64).eps * np.abs(values).max()) ** 2)


def _icc_interval(icc: float, squares: tuple[float, float, float], shape: tuple[int, int]) -> tuple[float, float]:
    """Return the interval of ICC(2,1), with Satterthwaite's degrees of freedom.

    ``squares``: the result of ``_mean_squares``. ``shape``: numbers of items and readers.
    """
    from scipy.special import fdtri

    (between_items, between_readers, residual), (items, readers) = squares, shape
    ratio, tail = between_readers / residual, (1 + CONFIDENCE_LEVEL) / 2
    numerator = readers * icc * ratio + items * (1 + (readers - 1) * icc) - readers * icc
    denominator = (items - 1) * readers**2 * icc**2 * ratio**2 + (
        items * (1 + (readers - 1) * icc) - readers * icc
    ) ** 2
    degrees = (readers - 1) * (items - 1) * numerator**2 / denominator
    upper, lower = fdtri(items - 1, degrees, tail), fdtri(degrees, items - 1, tail)
    error = readers * between_readers + (readers * items - readers - items) * residual
    low = items * (between_items - upper * residual) / (upper * error + items * between_items)
    high = items * (lower * between_items - residual) / (error + items * lower * between_items)
    return float(low), float(high)


class DepthIntervals(NamedTuple):
    """Depths in mm, float64 (image,) each: predictions, and the ends of their intervals; NaN where unknown."""

    mm: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def standardize_depth(mm: ArrayLike, scale: DepthScale) -> NDArray[np.float64]:
    """Convert depths in mm to the scale of a network, float64 of the same shape."""
    plain = np.maximum(np.asarray(mm, np.float64), 0.0)
    return ((np.log1p(plain) if scale.log else plain) - scale.mean) / scale.std


def depth_to_mm(depth: ArrayLike, scale: DepthScale) -> NDArray[np.float64]:
    """Convert depths on the scale of a network to mm, float64 of the same shape, 0 or more."""
    plain = np.asarray(depth, np.float64) * scale.std + scale.mean
    return np.maximum(np.expm1(plain) if scale.log else plain, 0.0)


def conformal_margin(
    predicted: NDArray[np.floating], true_mm: ArrayLike, scale: DepthScale, coverage: float
) -> float | None:
    """Return the half width of intervals with a given coverage, from cases that the network was not trained on.

    Split conformal prediction (Lei et al. 2018, doi:10.1080/01621459.2017.1307116): the quantile of the errors, each
    divided by the predicted standard deviation, if any.

    ``predicted``: float (image, 1 or 2): depth and optionally the logarithm of its variance, on the scale of the
    network. ``true_mm``: (image,), NaN where unknown. Returns half of the interval in units of the standard deviation:
    None with fewer than three cases, and the largest error if there are too few for the coverage.
    """
    errors = np.abs(predicted[:, 0] - standardize_depth(true_mm, scale)) / _predicted_sd(predicted)
    errors = errors[~np.isnan(errors)]
    return None if len(errors) < MIN_CASES else min(conformal_quantile(errors, coverage), float(errors.max()))


def decode_depths(predicted: NDArray[np.floating], config: DepthOutputConfig) -> DepthIntervals:
    """Convert the outputs of a network to depths with intervals.

    ``predicted``: float (image, 1 or 2), as for ``conformal_margin``. Intervals are NaN without a margin.
    """
    half_width = (np.nan if config.margin is None else config.margin) * _predicted_sd(predicted)
    return DepthIntervals(
        *(
            depth_to_mm(predicted[:, 0] + side * half_width if side else predicted[:, 0], config.scale)
            for side in (0, -1, 1)
        )
    )


def depth_metrics(
    depths: DepthIntervals, true_mm: NDArray[np.float64], groups: Sequence[object]
) -> dict[str, Estimate]:
    """Evaluate predicted depths.

    ``true_mm``: float64 (image,), NaN where unknown. Returns ``metric_table.DEPTH_METRICS`` with 95 % intervals:
    bootstrap over patients, for bias and limits by their formulas; empty with fewer than three measured depths.
    """
    is_measured = ~np.isnan(true_mm)
    predicted, true = depths.mm[is_measured], true_mm[is_measured]
    if len(true) < MIN_CASES:
        return {}
    known_groups = [group for group, has_depth in zip(groups, is_measured, strict=True) if has_depth]
    limits = bland_altman(true, predicted)
    metrics = {
        "depth_mae_mm": bootstrap_statistic(
            partial(weighted_mean, np.abs(predicted - true)), known_groups, bounds=(0, np.inf)
        ),
        "depth_r": bootstrap_statistic(partial(weighted_pearson, predicted, true), known_groups, bounds=(-1, 1)),
        "depth_bias_mm": limits.bias,
        "depth_low_mm": limits.low,
        "depth_high_mm": limits.high,
    }
    low, high = depths.low[is_measured], depths.high[is_measured]
    if not np.isnan(low).any():
        contained = ((low <= true) & (true <= high)).astype(float)
        metrics["depth_coverage"] = bootstrap_statistic(partial(weighted_mean, contained), known_groups, bounds=(0, 1))
    return metrics


def weighted_pearson(
    first: NDArray[np.float64], second: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted Pearson correlation of each draw.

    ``first``, ``second``: float64 (image,) or (draw, image). ``weights``: float64 (draw, image). Returns float64
    (draw,); NaN if one of the two is constant.
    """
    total = weights.sum(axis=1)
    first_centered, second_centered = (
        each - ((weights * each).sum(axis=1) / total)[:, None] for each in (first, second)
    )
    squares = [(weights * each**2).sum(axis=1) for each in (first_centered, second_centered)]
    rounding = [total * (1e-12 * np.abs(each).max(initial=0.0)) ** 2 for each in (first, second)]
    varies = (squares[0] > rounding[0]) & (squares[1] > rounding[1])
    covariance, scale = (weights * first_centered * second_centered).sum(axis=1), np.sqrt(squares[0] * squares[1])
    return np.divide(covariance, scale, out=np.full(len(scale), np.nan), where=varies)


def _predicted_sd(predicted: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the predicted standard deviations, float64 (image,); 1 if there are none."""
    if predicted.shape[1] < 2:
        return np.ones(len(predicted))
    return np.exp(0.5 * np.asarray(predicted[:, 1], np.float64))

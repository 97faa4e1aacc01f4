"""Depths that a network tells of pictures: to mm and back, how far they may be off, how they agree with others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_melanoma.analysis.agreement import FEWEST, bland_altman
from napari_melanoma.analysis.resampling import bootstrap_figure

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.analysis.statistics import Estimate
    from napari_melanoma.core.depth import DepthAnswer, DepthScale

MEASURES = {
    "depth_mae_mm": "mean absolute error of the depth, mm (less is better)",
    "depth_r": "correlation of the depth with what was measured (Pearson)",
    "depth_bias_mm": "mean of the depth told less the one measured, mm",
    "depth_low_mm": "lower limit of agreement, mm (Bland-Altman)",
    "depth_high_mm": "upper limit of agreement, mm (Bland-Altman)",
    "depth_coverage": "share whose interval holds the measured depth",
}


class Depths(NamedTuple):
    """Depths in mm, float64 (image,) each: what is told, and the ends of the interval; NaN where there is none."""

    mm: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def on_scale(mm: ArrayLike, scale: DepthScale) -> NDArray[np.float64]:
    """Bring depths to the scale of a network.

    Returns float64 of that shape.
    """
    plain = np.maximum(np.asarray(mm, np.float64), 0.0)
    return ((np.log1p(plain) if scale.log else plain) - scale.mean) / scale.std


def in_mm(depth: ArrayLike, scale: DepthScale) -> NDArray[np.float64]:
    """Bring what a network tells to millimetres.

    Returns float64 of that shape, 0 or more.
    """
    plain = np.asarray(depth, np.float64) * scale.std + scale.mean
    return np.maximum(np.expm1(plain) if scale.log else plain, 0.0)


def margin(told: NDArray[np.floating], true_mm: ArrayLike, scale: DepthScale, coverage: float) -> float | None:
    """Say how wide intervals must be to hold as many depths as asked, by cases that were not learnt from.

    Split conformal prediction (Lei et al. 2018, doi:10.1080/01621459.2017.1307116): the quantile of the errors, each
    over the spread that the network tells of it, where it tells one.

    ``told``: float (image, 1 or 2): depth and perhaps the logarithm of its variance, on the scale. ``true_mm``:
    (image,), NaN where not known. Half of the interval, in units of the spread; None with too few cases. The largest
    error where there are too few for the coverage.
    """
    errors = np.abs(told[:, 0] - on_scale(true_mm, scale)) / _spread(told)
    errors = np.sort(errors[~np.isnan(errors)])
    if len(errors) < FEWEST:
        return None
    return float(errors[min(len(errors), int(np.ceil((len(errors) + 1) * coverage))) - 1])


def depths_told(told: NDArray[np.floating], answer: DepthAnswer) -> Depths:
    """Read what a network tells.

    ``told``: float (image, 1 or 2), as for ``margin``. In mm.
    """
    reach = (np.nan if answer.margin is None else answer.margin) * _spread(told)
    return Depths(*(in_mm(told[:, 0] + side * reach if side else told[:, 0], answer.scale) for side in (0, -1, 1)))


def depth_figures(depths: Depths, true_mm: NDArray[np.float64], groups: Sequence[object]) -> dict[str, Estimate]:
    """Measure depths that were told.

    ``true_mm``: float64 (image,), NaN where nobody measured. Returns as ``MEASURES`` names them, with 95 % intervals:
    bootstrap over patients, of bias and limits by their formulas; empty with fewer than three measured.
    """
    known = ~np.isnan(true_mm)
    said, true = depths.mm[known], true_mm[known]
    if len(true) < FEWEST:
        return {}
    drawn = [group for group, there in zip(groups, known, strict=True) if there]
    limits = bland_altman(true, said)
    found = {
        "depth_mae_mm": bootstrap_figure(partial(_mean, np.abs(said - true)), drawn, bounds=(0, np.inf)),
        "depth_r": bootstrap_figure(partial(weighted_pearson, said, true), drawn, bounds=(-1, 1)),
        "depth_bias_mm": limits.bias,
        "depth_low_mm": limits.low,
        "depth_high_mm": limits.high,
    }
    low, high = depths.low[known], depths.high[known]
    if not np.isnan(low).any():
        held = ((low <= true) & (true <= high)).astype(float)
        found["depth_coverage"] = bootstrap_figure(partial(_mean, held), drawn, bounds=(0, 1))
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


def _spread(told: NDArray[np.floating]) -> NDArray[np.float64]:
    """Standard deviation that is told of each, 1 where none is."""
    if told.shape[1] < 2:
        return np.ones(len(told))
    return np.exp(0.5 * np.asarray(told[:, 1], np.float64))

"""Figures of answers pooled over the folds of a cross-validation, with a bootstrap over patients or lesions.

A draw of the bootstrap is a weight for each image, so that all figures of all draws are sums over the same table; what
two rows are compared by is drawn once for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.statistics import Estimate, stretch

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("AC", "PR", "SE", "SP", "F1", "AUC", "AP", "ECE", "SE90", "SP90", "COV", "CT")
CENTRED = ("ECE",)  # above 0 by chance alone, and more so in draws: their spread counts, not where they lie
HALF = 0.5  # where both papers cut
BINS = 15
ROUNDS, SEED, AT_ONCE = 2000, 0, 2**22


@dataclass(frozen=True, eq=False)
class Pooled:
    """Out-of-fold answers to a question with two answers.

    Parameters
    ----------
    truth : numpy.ndarray
        bool (image,): whether it is the positive class.
    probability : numpy.ndarray
        float64 (image,), calibrated, 0 to 1.
    above : numpy.ndarray
        float64 (image,): 1 at or above the operating point of the image's fold, else 0; NaN where there is none.
    covered, several : numpy.ndarray
        float64 (image,): 1 where the conformal set holds the truth, and where it holds both classes; NaN: no set.
    """

    truth: NDArray[np.bool_]
    probability: NDArray[np.float64]
    above: NDArray[np.float64]
    covered: NDArray[np.float64]
    several: NDArray[np.float64]

    @cached_property
    def _said(self) -> NDArray[np.bool_]:
        return self.probability >= HALF

    @cached_property
    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Images by rising probability, and where a run of equal ones begins."""
        order = np.argsort(self.probability, kind="stable")
        sorted_ = self.probability[order]
        return order, np.flatnonzero(np.r_[True, sorted_[1:] != sorted_[:-1]])

    def figures(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Compute every metric under each weighting.

        Parameters
        ----------
        weights : numpy.ndarray
            float64 (draw, image), how often each image was drawn.

        Returns
        -------
        dict of str to numpy.ndarray
            Metric to float64 (draw,); NaN where a draw leaves nothing to divide by.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return {**self._cut(weights), **self._ranked(weights), **self._honest(weights)}

    def _cut(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """What is said at one half, as the papers cut."""
        hit, alarm = weights @ (self.truth & self._said), weights @ (~self.truth & self._said)
        positive, whole = weights @ self.truth, weights.sum(axis=1)
        return {
            "AC": (hit + whole - positive - alarm) / whole,
            "PR": np.where(hit + alarm > 0, hit / (hit + alarm), 0.0),  # nothing said: no hit among none
            "SE": hit / positive,
            "SP": 1 - alarm / (whole - positive),
            "F1": 2 * hit / (hit + alarm + positive),
        }

    def _ranked(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Areas below the curves: equal probabilities count half, as in the statistic of Mann and Whitney (1947)."""
        order, starts = self._order
        drawn, truth = weights[:, order], self.truth[order]
        positive = np.add.reduceat(drawn * truth, starts, axis=1)
        negative = np.add.reduceat(drawn * ~truth, starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        hits, alarms = positive.sum(axis=1), negative.sum(axis=1)
        found = np.cumsum(positive[:, ::-1], axis=1)
        of = found + np.cumsum(negative[:, ::-1], axis=1)
        precision = np.where(of > 0, found / of, 0.0)
        return {
            "AUC": (positive * below).sum(axis=1) / (hits * alarms),
            "AP": (precision * positive[:, ::-1]).sum(axis=1) / hits,
        }

    def _honest(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """How far probabilities, operating point and conformal sets keep what they promise."""
        return {
            "ECE": np.abs(weights @ self._gaps).sum(axis=1) / weights.sum(axis=1),
            "SE90": _share(weights * self.truth, self.above),
            "SP90": 1 - _share(weights * ~self.truth, self.above),
            "COV": _share(weights, self.covered),
            "CT": _share(weights, self.several),
        }

    @cached_property
    def _gaps(self) -> NDArray[np.float64]:
        """Probability less truth of each image, in the column of its bin: float64 (image, bin), bins of equal mass."""
        ranks = np.empty(len(self.truth), np.int64)
        ranks[self._order[0]] = np.arange(len(ranks))
        bins = min(BINS, len(ranks))
        gaps = np.zeros((len(ranks), bins))
        gaps[np.arange(len(ranks)), ranks * bins // len(ranks)] = self.probability - self.truth
        return gaps


def estimates(pooled: Pooled, groups: Sequence[str]) -> dict[str, Estimate]:
    """Estimate every metric with a 95 % percentile bootstrap interval (Efron 1979, doi:10.1214/aos/1176344552).

    It is widened for few groups as that of ``analysis.statistics.bootstrap_mean`` is. That of the
    expected calibration error lies around the figure itself, as draws move it up.

    Parameters
    ----------
    pooled : Pooled
        Out-of-fold answers.
    groups : sequence of str
        The patient or lesion of each.

    Returns
    -------
    dict of str to Estimate
        Those that can be computed; intervals are NaN where there is one group.
    """
    whole = pooled.figures(np.ones((1, len(pooled.truth))))
    draws = [pooled.figures(weights) for weights in _draws(groups)]
    return _estimated(whole, draws, groups, (0, 1))


def changes(less: Pooled, more: Pooled, groups: Sequence[str]) -> dict[str, Estimate]:
    """Estimate by how much the second is above the first, on the same images and the same draws.

    Parameters
    ----------
    less, more : Pooled
        Of the same images in the same order.
    groups : sequence of str
        The patient or lesion of each.

    Returns
    -------
    dict of str to Estimate
        Those that both have.
    """

    def differences(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        before, after = less.figures(weights), more.figures(weights)
        return {name: after[name] - before[name] for name in METRICS}

    whole = differences(np.ones((1, len(less.truth))))
    return _estimated(whole, [differences(weights) for weights in _draws(groups)], groups, (-1, 1))


def _share(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean of values that are all known; NaN where one is not."""
    return weights @ values / weights.sum(axis=1)


def _draws(groups: Sequence[str]) -> Iterator[NDArray[np.float64]]:
    """Draw groups with replacement, some rounds at a time: float64 (draw, image)."""
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    count = int(index.max()) + 1
    random, step = np.random.default_rng(SEED), max(1, AT_ONCE // len(index))
    for first in range(0, ROUNDS, step):
        size = min(step, ROUNDS - first)
        drawn = random.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield times[:, index].astype(np.float64)


def _estimated(
    whole: dict[str, NDArray[np.float64]],
    draws: Sequence[dict[str, NDArray[np.float64]]],
    groups: Sequence[str],
    bounds: tuple[float, float],
) -> dict[str, Estimate]:
    """Put what all images give and what the draws give together."""
    found, count = {}, len(set(groups))
    for name in METRICS:
        mean = float(whole[name][0])
        if not np.isfinite(mean):
            continue
        known = np.concatenate([draw[name] for draw in draws])
        known = known[np.isfinite(known)]  # a draw without one of the classes has no area
        ends = np.full(2, np.nan)
        if count > 1 and len(known):
            centre = float(np.median(known)) if name in CENTRED else mean
            ends = mean + stretch(count) * (np.percentile(known, [2.5, 97.5]) - centre)
        low, high = np.clip(ends, *bounds)
        found[name] = Estimate(mean, float(low), float(high), len(groups))
    return found

"""Ranking metrics: ROC and precision-recall curves, areas, thresholds, and classifier metrics of many resamples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_melanoma.core.prediction_config import OperatingPoint
from napari_melanoma.metrics.statistics import bootstrap_statistic

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.metrics.statistics import Estimate


class RocCurve(NamedTuple):
    """Shares of negatives and positives at or above each cut, float64 (cut,); from (0, 0) at an infinite cut on."""

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    thresholds: NDArray[np.float64]


class PrecisionRecallCurve(NamedTuple):
    """Precision and recall at each cut, float64 (cut,), the cuts descending: recall ascends."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    thresholds: NDArray[np.float64]


def roc_curve(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> RocCurve:
    """Receiver operating characteristic with a point for each distinct score.

    Ends at (1, 1); rates are NaN where a class has no weight.
    """
    positives, negatives, cuts = _cumulative_counts(scores, labels, weights)
    return RocCurve(_cumulative_rate(negatives), _cumulative_rate(positives), np.concatenate([[np.inf], cuts]))


def precision_recall_curve(
    scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None
) -> PrecisionRecallCurve:
    """Precision and recall with a point for each distinct score.

    From the highest score, at which few are called positive, to the lowest, at which all are.
    """
    positives, negatives, cuts = _cumulative_counts(scores, labels, weights)
    with np.errstate(invalid="ignore"):
        precision = positives[1:] / (positives[1:] + negatives[1:])
    return PrecisionRecallCurve(precision, _cumulative_rate(positives)[1:], cuts)


def area_under_roc(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Probability that a positive scores higher than a negative, ties counted half: exact, by Mann and Whitney.

    0.5 tells nothing apart.
    """
    curve = roc_curve(scores, labels, weights)
    return float(np.trapezoid(curve.true_positive_rate, curve.false_positive_rate))


def average_precision(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean of the precision over the steps of recall, not interpolated.

    Returns the share of positives tells nothing apart.
    """
    curve = precision_recall_curve(scores, labels, weights)
    steps = np.diff(curve.recall, prepend=0.0)
    return float(np.sum(np.where(steps > 0, curve.precision, 0.0) * steps)) if np.isfinite(steps).all() else np.nan


def choose_decision_threshold(scores: ArrayLike, labels: ArrayLike, sensitivity: float) -> float:
    """Find the highest cut at which at least so many of the positives are found.

    A score at or above it is positive; it is one of the positives' scores.
    """
    found = np.sort(np.asarray(scores, np.float64)[np.asarray(labels, bool)])[::-1]
    if not len(found):
        raise ValueError("a cut for a sensitivity needs at least one positive image; found none.")
    needed = int(np.ceil(sensitivity * len(found) - 1e-9))  # 0.9 of 10 is 9, not what rounding makes of it
    return float(found[max(needed, 1) - 1])


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count which class was said of which.

    ``labels``, ``said``: int (image,): index of the true class and of the one that was said. Returns int64 (true class,
    said class).
    """
    places = np.asarray(labels, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def choose_operating_point(
    scores: ArrayLike, labels: ArrayLike, sensitivity: float, groups: Sequence[object] | NDArray | None = None
) -> OperatingPoint:
    """Choose a cut by sensitivity, and say what is found there with 95 % intervals over patients or lesions.

    The cut is chosen on the same images, so its sensitivity there is at least the one asked for; among new ones it
    scatters as the interval says.

    ``scores``: calibrated probability of the positive class, float (image,). ``labels``: bool (image,).
    """
    truth = np.asarray(labels, bool)
    if truth.all() or not truth.any():
        raise ValueError("an operating point needs images of both classes; found one class only.")
    cut = choose_decision_threshold(scores, truth, sensitivity)
    of = np.arange(len(truth)) if groups is None else np.asarray(groups)
    said = np.asarray(scores, np.float64) >= cut
    found, left = (_estimate_share(said, truth, of), _estimate_share(~said, ~truth, of))
    return OperatingPoint(
        asked=sensitivity,
        cut=min(max(cut, 0.0), 1.0),
        sensitivity=found.mean,
        sensitivity_interval=_finite_interval(found),
        specificity=left.mean,
        specificity_interval=_finite_interval(left),
    )


def _estimate_share(right: NDArray[np.bool_], of: NDArray[np.bool_], groups: NDArray) -> Estimate:
    """Share of those that are right among those it is about."""
    values = right[of].astype(np.float64)
    return bootstrap_statistic(lambda weights: float(np.average(values, weights=weights)), groups[of], bounds=(0, 1))


def _finite_interval(found: Estimate) -> tuple[float, float]:
    """The interval; all that is possible where there is none."""
    return (found.low, found.high) if found.has_interval else (0.0, 1.0)


def _cumulative_counts(
    scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Positives and negatives at or above each distinct score from the highest, after a 0; and these scores."""
    ranked, truth = np.asarray(scores, np.float64), np.asarray(labels, bool)
    if ranked.shape != truth.shape:
        raise ValueError(f"each image needs a score and a label; found {ranked.shape} and {truth.shape}.")
    weight = np.ones(len(ranked)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(-ranked, kind="stable")
    ranked, positive = ranked[order], np.where(truth, weight, 0.0)[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], len(ranked) > 0))
    positives = np.cumsum(positive)[last]
    negatives = np.cumsum(weight[order] - positive)[last]
    return np.append(0.0, positives), np.append(0.0, negatives), ranked[last]


def _cumulative_rate(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts as shares of the last; NaN where that is 0."""
    return counts / counts[-1] if counts[-1] > 0 else np.full(len(counts), np.nan)


MIN_SENSITIVITY = 0.8  # of the partial area of ISIC 2024
ECE_BINS = 15


@dataclass(frozen=True)
class ResampledScores:
    """Scores of images under several draws.

    ``scores``: float64 (image,): the probability of the positive class. ``positive``: bool (image,): whether it is one.
    ``times``: float64 (draw, image): how often each draw has the image; ones for the images as they are.
    """

    scores: NDArray[np.float64]
    positive: NDArray[np.bool_]
    weights: NDArray[np.float64]

    @cached_property
    def _curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positives and others at each different score, the highest first: float64 (draw, score) each."""
        order = np.argsort(-self.scores, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(self.scores[order]) != 0])
        times, positive = self.weights[:, order], self.positive[order]
        there = np.add.reduceat(times * positive, starts, axis=1)
        return there, np.add.reduceat(times * ~positive, starts, axis=1)

    @cached_property
    def positives(self) -> NDArray[np.float64]:
        """How many positive images each draw has, float64 (draw,)."""
        return self.weights @ self.positive

    @cached_property
    def negatives(self) -> NDArray[np.float64]:
        """How many other images each draw has, float64 (draw,)."""
        return self.weights @ ~self.positive

    def auc(self) -> NDArray[np.float64]:
        """Area under the ROC curve: how often a positive image has the higher score of a pair, ties half.

        Returns float64 (draw,) in [0, 1].
        """
        return _ratio(self.count_concordant_pairs(), self.positives * self.negatives)

    def count_concordant_pairs(self) -> NDArray[np.float64]:
        """Count the pairs of a positive and another image in which the positive one has the higher score.

        Returns float64 (draw,); a tie counts half.
        """
        there, not_there = self._curve
        above = np.cumsum(there, axis=1) - there / 2
        return (not_there * above).sum(axis=1)

    def average_precision(self) -> NDArray[np.float64]:
        """Average precision: the precision at each score, weighted by the positives that it adds.

        Returns float64 (draw,) in (0, 1].
        """
        there, not_there = self._curve
        found = np.cumsum(there, axis=1)
        said = found + np.cumsum(not_there, axis=1)
        return _ratio((there * _ratio(found, said, 0.0)).sum(axis=1), self.positives)

    def partial_auc(self) -> NDArray[np.float64]:
        """Area under the ROC curve above 80 % sensitivity, as ISIC 2024 ranks by: at most 0.2, by chance 0.02.

        Returns float64 (draw,) in [0, 0.2].
        """
        there, not_there = self._curve
        rise = (
            np.pad(np.cumsum(there, axis=1), ((0, 0), (1, 0)))
            / np.where(self.positives, self.positives, np.nan)[:, None]
        )
        run = (
            np.pad(np.cumsum(not_there, axis=1), ((0, 0), (1, 0)))
            / np.where(self.negatives, self.negatives, np.nan)[:, None]
        )
        low, high = (np.clip(part, MIN_SENSITIVITY, None) for part in (rise[:, :-1], rise[:, 1:]))
        # a tie is a slope: where it is cut at 80 %, only its upper part counts
        cut = _ratio(low - rise[:, :-1], rise[:, 1:] - rise[:, :-1], 0.0)
        begin = run[:, :-1] + cut * (run[:, 1:] - run[:, :-1])
        return ((high - low) * (1 - (begin + run[:, 1:]) / 2)).sum(axis=1)

    def threshold_metrics(self, threshold: float) -> dict[str, NDArray[np.float64]]:
        """Say how well a cut divides the images.

        Returns ``sensitivity``, ``specificity``, ``precision``, ``F1``, ``accuracy`` and ``balanced_accuracy``, float64
        (draw,) each. Precision is NaN where nothing is said to be positive; F1 is 0 there.
        """
        said = self.scores >= threshold
        hits, false = self.weights @ (said & self.positive), self.weights @ (said & ~self.positive)
        sensitivity, specificity = _ratio(hits, self.positives), 1 - _ratio(false, self.negatives)
        return {
            "sensitivity": sensitivity,
            "specificity": specificity,
            "precision": _ratio(hits, hits + false),
            "F1": _ratio(2 * hits, hits + false + self.positives),
            "accuracy": _ratio(hits + self.negatives - false, self.positives + self.negatives),
            "balanced_accuracy": (sensitivity + specificity) / 2,
        }

    def calibration_error(self, bins: int = ECE_BINS) -> NDArray[np.float64]:
        """Expected calibration error: how far probability and share of positives lie apart, in bins of as many images.

        Returns float64 (draw,) in [0, 1].
        """
        order = np.argsort(self.scores, kind="stable")
        number = min(bins, len(order))
        starts = -(-np.arange(number) * len(order) // number)  # as ``metrics.calibration`` fills its bins
        over = self.weights[:, order] * (self.scores - self.positive)[order]
        return _ratio(np.abs(np.add.reduceat(over, starts, axis=1)).sum(axis=1), self.weights.sum(axis=1))

    def brier_score(self) -> NDArray[np.float64]:
        """Brier score: the mean squared distance of the probability from 1 or 0 (Brier 1950).

        Returns float64 (draw,) in [0, 1].
        """
        return _ratio(self.weights @ (self.scores - self.positive) ** 2, self.weights.sum(axis=1))


def class_recalls(
    predicted: NDArray[np.intp], labels: NDArray[np.intp], classes: int, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of the images of each class that are said to be of it.

    ``said``, ``labels``: int (image,): the class that is said, and the true one. ``times``: float64 (draw, image), as
    ``Drawn`` takes it. Returns float64 (draw, class); NaN where a draw has no image of a class.
    """
    each = [weights @ (labels == one) for one in range(classes)]
    right = [weights @ ((labels == one) & (predicted == one)) for one in range(classes)]
    return np.stack([_ratio(hits, there) for hits, there in zip(right, each, strict=True)], axis=1)


def _ratio(over: NDArray[np.float64], under: NDArray[np.float64], otherwise: float = np.nan) -> NDArray[np.float64]:
    """Divide, with a value of its own where there is nothing to divide by."""
    return np.divide(over, under, out=np.full(np.broadcast(over, under).shape, otherwise), where=under != 0)

"""Ranking metrics: ROC and precision-recall curves, areas, thresholds, and metrics of resampled images."""

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
    """Rates at or above each threshold, float64 (threshold,), starting at (0, 0) with an infinite threshold."""

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    thresholds: NDArray[np.float64]


class PrecisionRecallCurve(NamedTuple):
    """Precision and recall at each threshold, float64 (threshold,), in descending order of thresholds."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    thresholds: NDArray[np.float64]


def roc_curve(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> RocCurve:
    """Receiver operating characteristic with a point for each distinct score.

    Ends at (1, 1); rates are NaN if a class has no weight.
    """
    positives, negatives, thresholds = _cumulative_counts(scores, labels, weights)
    return RocCurve(_cumulative_rate(negatives), _cumulative_rate(positives), np.concatenate([[np.inf], thresholds]))


def precision_recall_curve(
    scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None
) -> PrecisionRecallCurve:
    """Precision and recall with a point for each distinct score.

    From the highest score to the lowest, at which all are positive.
    """
    positives, negatives, thresholds = _cumulative_counts(scores, labels, weights)
    with np.errstate(invalid="ignore"):
        precision = positives[1:] / (positives[1:] + negatives[1:])
    return PrecisionRecallCurve(precision, _cumulative_rate(positives)[1:], thresholds)


def area_under_roc(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Probability that a positive scores higher than a negative, ties counted half (exact, Mann and Whitney).

    0.5 for random scores.
    """
    curve = roc_curve(scores, labels, weights)
    return float(np.trapezoid(curve.true_positive_rate, curve.false_positive_rate))


def average_precision(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Average precision: mean of the precision over the steps of recall, without interpolation.

    Equals the share of positives for random scores.
    """
    curve = precision_recall_curve(scores, labels, weights)
    steps = np.diff(curve.recall, prepend=0.0)
    return float(np.sum(np.where(steps > 0, curve.precision, 0.0) * steps)) if np.isfinite(steps).all() else np.nan


def choose_decision_threshold(scores: ArrayLike, labels: ArrayLike, sensitivity: float) -> float:
    """Find the highest threshold with at least the given sensitivity.

    Scores at or above it are positive; it is one of the positives' scores.
    """
    found = np.sort(np.asarray(scores, np.float64)[np.asarray(labels, bool)])[::-1]
    if not len(found):
        raise ValueError("expected at least one positive image for a decision threshold, found none.")
    needed = int(np.ceil(sensitivity * len(found) - 1e-9))  # 0.9 of 10 is 9, despite rounding errors
    return float(found[max(needed, 1) - 1])


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count the images of each pair of true and predicted class.

    ``labels``, ``predicted``: int (image,), class indices. Returns int64 (true class, predicted class).
    """
    pairs = np.asarray(labels, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def choose_operating_point(
    scores: ArrayLike, labels: ArrayLike, sensitivity: float, groups: Sequence[object] | NDArray | None = None
) -> OperatingPoint:
    """Choose a decision threshold by sensitivity, with 95 % intervals over patients or lesions.

    The threshold is chosen on the same images, so its sensitivity there is at least the given one; on new images it
    varies as the interval shows.

    ``scores``: calibrated probability of the positive class, float (image,). ``labels``: bool (image,).
    """
    truth = np.asarray(labels, bool)
    if truth.all() or not truth.any():
        raise ValueError("expected images of both classes for an operating point, found one class only.")
    threshold = choose_decision_threshold(scores, truth, sensitivity)
    names = np.arange(len(truth)) if groups is None else np.asarray(groups)
    positive = np.asarray(scores, np.float64) >= threshold
    sensitivities = _estimate_share(positive, truth, names)
    specificities = _estimate_share(~positive, ~truth, names)
    return OperatingPoint(
        asked=sensitivity,
        cut=min(max(threshold, 0.0), 1.0),
        sensitivity=sensitivities.mean,
        sensitivity_interval=_finite_interval(sensitivities),
        specificity=specificities.mean,
        specificity_interval=_finite_interval(specificities),
    )


def _estimate_share(right: NDArray[np.bool_], among: NDArray[np.bool_], groups: NDArray) -> Estimate:
    """Share of correct images among the selected ones."""
    values = right[among].astype(np.float64)
    return bootstrap_statistic(lambda weights: float(np.average(values, weights=weights)), groups[among], bounds=(0, 1))


def _finite_interval(found: Estimate) -> tuple[float, float]:
    """The interval, or (0, 1) if it is undefined."""
    return (found.low, found.high) if found.has_interval else (0.0, 1.0)


def _cumulative_counts(
    scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Positives and negatives at or above each distinct score from the highest, after a 0; and these scores."""
    ranked, truth = np.asarray(scores, np.float64), np.asarray(labels, bool)
    if ranked.shape != truth.shape:
        raise ValueError(f"expected a score and a label for each image, found shapes {ranked.shape} and {truth.shape}.")
    weight = np.ones(len(ranked)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(-ranked, kind="stable")
    ranked, positive = ranked[order], np.where(truth, weight, 0.0)[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], len(ranked) > 0))
    positives = np.cumsum(positive)[last]
    negatives = np.cumsum(weight[order] - positive)[last]
    return np.append(0.0, positives), np.append(0.0, negatives), ranked[last]


def _cumulative_rate(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts divided by the last; NaN if that is 0."""
    return counts / counts[-1] if counts[-1] > 0 else np.full(len(counts), np.nan)


MIN_SENSITIVITY = 0.8  # lower limit of the partial area of ISIC 2024
ECE_BINS = 15


@dataclass(frozen=True)
class ResampledScores:
    """Scores of images with several sets of bootstrap weights.

    ``scores``: float64 (image,): the probability of the positive class. ``positive``: bool (image,): the true class.
    ``weights``: float64 (draw, image): the number of times that each draw contains the image; ones for the images
    themselves.
    """

    scores: NDArray[np.float64]
    positive: NDArray[np.bool_]
    weights: NDArray[np.float64]

    @cached_property
    def _curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positives and others at each distinct score, from the highest: float64 (draw, score) each."""
        order = np.argsort(-self.scores, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(self.scores[order]) != 0])
        times, positive = self.weights[:, order], self.positive[order]
        positives = np.add.reduceat(times * positive, starts, axis=1)
        return positives, np.add.reduceat(times * ~positive, starts, axis=1)

    @cached_property
    def positives(self) -> NDArray[np.float64]:
        """Number of positive images in each draw, float64 (draw,)."""
        return self.weights @ self.positive

    @cached_property
    def negatives(self) -> NDArray[np.float64]:
        """Number of other images in each draw, float64 (draw,)."""
        return self.weights @ ~self.positive

    def auc(self) -> NDArray[np.float64]:
        """Area under the ROC curve: probability that a positive image has the higher score of a pair, ties half.

        Returns float64 (draw,) in [0, 1].
        """
        return _ratio(self.count_concordant_pairs(), self.positives * self.negatives)

    def count_concordant_pairs(self) -> NDArray[np.float64]:
        """Count the pairs of a positive and another image in which the positive one has the higher score.

        Returns float64 (draw,); a tie counts half.
        """
        positives, negatives = self._curve
        above = np.cumsum(positives, axis=1) - positives / 2
        return (negatives * above).sum(axis=1)

    def average_precision(self) -> NDArray[np.float64]:
        """Average precision: the precision at each score, weighted by the added positives.

        Returns float64 (draw,) in (0, 1].
        """
        positives, negatives = self._curve
        found = np.cumsum(positives, axis=1)
        predicted = found + np.cumsum(negatives, axis=1)
        return _ratio((positives * _ratio(found, predicted, 0.0)).sum(axis=1), self.positives)

    def partial_auc(self) -> NDArray[np.float64]:
        """Area under the ROC curve above 80 % sensitivity, as in ISIC 2024: at most 0.2, by chance 0.02.

        Returns float64 (draw,) in [0, 0.2].
        """
        positives, negatives = self._curve
        rise = (
            np.pad(np.cumsum(positives, axis=1), ((0, 0), (1, 0)))
            / np.where(self.positives, self.positives, np.nan)[:, None]
        )
        run = (
            np.pad(np.cumsum(negatives, axis=1), ((0, 0), (1, 0)))
            / np.where(self.negatives, self.negatives, np.nan)[:, None]
        )
        low, high = (np.clip(part, MIN_SENSITIVITY, None) for part in (rise[:, :-1], rise[:, 1:]))
        # a tie is a sloped line: if it crosses 80 %, only its upper part counts
        share = _ratio(low - rise[:, :-1], rise[:, 1:] - rise[:, :-1], 0.0)
        begin = run[:, :-1] + share * (run[:, 1:] - run[:, :-1])
        return ((high - low) * (1 - (begin + run[:, 1:]) / 2)).sum(axis=1)

    def threshold_metrics(self, threshold: float) -> dict[str, NDArray[np.float64]]:
        """Evaluate a decision threshold.

        Returns ``sensitivity``, ``specificity``, ``precision``, ``F1``, ``accuracy`` and ``balanced_accuracy``, float64
        (draw,) each. Without positive predictions precision is NaN and F1 is 0.
        """
        predicted = self.scores >= threshold
        hits, false = self.weights @ (predicted & self.positive), self.weights @ (predicted & ~self.positive)
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
        """Expected calibration error: difference of probability and share of positives, in bins of equal size.

        Returns float64 (draw,) in [0, 1].
        """
        order = np.argsort(self.scores, kind="stable")
        number = min(bins, len(order))
        starts = -(-np.arange(number) * len(order) // number)  # the same bins as in ``metrics.calibration``
        over = self.weights[:, order] * (self.scores - self.positive)[order]
        return _ratio(np.abs(np.add.reduceat(over, starts, axis=1)).sum(axis=1), self.weights.sum(axis=1))

    def brier_score(self) -> NDArray[np.float64]:
        """Brier score: the mean squared difference of the probability from 1 or 0 (Brier 1950).

        Returns float64 (draw,) in [0, 1].
        """
        return _ratio(self.weights @ (self.scores - self.positive) ** 2, self.weights.sum(axis=1))


def class_recalls(
    predicted: NDArray[np.intp], labels: NDArray[np.intp], classes: int, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Recall of each class.

    ``predicted``, ``labels``: int (image,), class indices. ``weights``: float64 (draw, image), as of
    ``ResampledScores``. Returns float64 (draw, class); NaN if a draw has no image of a class.
    """
    totals = [weights @ (labels == label) for label in range(classes)]
    correct = [weights @ ((labels == label) & (predicted == label)) for label in range(classes)]
    return np.stack([_ratio(hits, total) for hits, total in zip(correct, totals, strict=True)], axis=1)


def _ratio(over: NDArray[np.float64], under: NDArray[np.float64], otherwise: float = np.nan) -> NDArray[np.float64]:
    """Divide, with a given value for a zero denominator."""
    return np.divide(over, under, out=np.full(np.broadcast(over, under).shape, otherwise), where=under != 0)

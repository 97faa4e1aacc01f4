"""ROC and precision-recall curves, areas, decision thresholds, and the ranking of image features by their area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_melanoma.core.prediction_config import OperatingPoint
from napari_melanoma.metrics.calibration import assign_bins
from napari_melanoma.metrics.statistics import Estimate, bootstrap_statistic, weighted_mean


def choose_decision_threshold(scores: ArrayLike, labels: ArrayLike, sensitivity: float) -> float:
    """Find the highest threshold with at least the given sensitivity.

    Scores at or above it are positive; it is one of the positives' scores.
    """
    positive_scores = np.sort(np.asarray(scores, np.float64)[np.asarray(labels, bool)])[::-1]
    if not len(positive_scores):
        raise ValueError("expected at least one positive image for a decision threshold, found none.")
    needed = int(np.ceil(sensitivity * len(positive_scores) - 1e-9))  # 0.9 of 10 is 9, despite rounding errors
    return float(positive_scores[max(needed, 1) - 1])


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
    return measure_operating_point(scores, truth, threshold, sensitivity, groups)


def measure_operating_point(
    scores: ArrayLike,
    labels: ArrayLike,
    threshold: float,
    sensitivity: float,
    groups: Sequence[object] | NDArray | None = None,
) -> OperatingPoint:
    """Measure a decision threshold that was chosen for a sensitivity, as in ``choose_operating_point``."""
    truth = np.asarray(labels, bool)
    names = np.arange(len(truth)) if groups is None else np.asarray(groups)
    positive = np.asarray(scores, np.float64) >= threshold
    sensitivities = _estimate_share(positive, truth, names)
    specificities = _estimate_share(~positive, ~truth, names)
    return OperatingPoint(
        target_sensitivity=sensitivity,
        threshold=min(max(threshold, 0.0), 1.0),
        sensitivity=sensitivities.mean,
        sensitivity_interval=finite_interval(sensitivities),
        specificity=specificities.mean,
        specificity_interval=finite_interval(specificities),
    )


def _estimate_share(correct: NDArray[np.bool_], selected: NDArray[np.bool_], groups: NDArray) -> Estimate:
    """Estimate the share of correct images among the selected images; both bool (image,)."""
    values = correct[selected].astype(np.float64)
    return bootstrap_statistic(partial(weighted_mean, values), groups[selected], bounds=(0, 1))


def finite_interval(estimate: Estimate) -> tuple[float, float]:
    """Return the interval of a share, or (0, 1) if it is undefined, as files have no number for that."""
    return (estimate.low, estimate.high) if estimate.has_interval else (0.0, 1.0)


# Metrics of scores under bootstrap weights.

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
        """Return the area under the ROC curve: how often the positive image of a pair has the higher score.

        A tie counts half.

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
        """Return the average precision: the precision at each score, weighted by the added positives.

        Returns float64 (draw,) in (0, 1].
        """
        positives, negatives = self._curve
        true_positives = np.cumsum(positives, axis=1)
        predicted = true_positives + np.cumsum(negatives, axis=1)
        return _ratio((positives * _ratio(true_positives, predicted, 0.0)).sum(axis=1), self.positives)

    def partial_auc(self) -> NDArray[np.float64]:
        """Return the area under the ROC curve above 80 % sensitivity, as in ISIC 2024: at most 0.2, by chance 0.02.

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

        Returns ``sensitivity``, ``specificity``, ``precision``, ``F1``, ``accuracy``, ``balanced_accuracy``, ``MCC``
        and ``kappa``, float64 (draw,) each. Without positive predictions precision is NaN and F1 is 0.
        """
        predicted = self.scores >= threshold
        hits, false = self.weights @ (predicted & self.positive), self.weights @ (predicted & ~self.positive)
        sensitivity, specificity = _ratio(hits, self.positives), 1 - _ratio(false, self.negatives)
        rows = [[self.negatives - false, false], [self.positives - hits, hits]]
        table = np.moveaxis(np.array(rows), -1, 0)
        return {
            "sensitivity": sensitivity,
            "specificity": specificity,
            "precision": _ratio(hits, hits + false),
            "F1": _ratio(2 * hits, hits + false + self.positives),
            "accuracy": _ratio(hits + self.negatives - false, self.positives + self.negatives),
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "MCC": matthews_correlation(table),
            "kappa": cohen_kappa(table),
        }

    def calibration_error(self) -> NDArray[np.float64]:
        """Return the expected calibration error: difference of probability and share of positives in bins.

        Bins have about equal numbers of images; the same score is in one bin. Returns float64 (draw,) in [0, 1].
        """
        bins, counts = assign_bins(self.scores, ECE_BINS)
        order, starts = np.argsort(bins, kind="stable"), np.cumsum(counts) - counts
        over = self.weights[:, order] * (self.scores - self.positive)[order]
        return _ratio(np.abs(np.add.reduceat(over, starts, axis=1)).sum(axis=1), self.weights.sum(axis=1))

    def brier_score(self) -> NDArray[np.float64]:
        """Return the Brier score: the mean squared difference of the probability from 1 or 0 (Brier 1950).

        Returns float64 (draw,) in [0, 1].
        """
        return _ratio(self.weights @ (self.scores - self.positive) ** 2, self.weights.sum(axis=1))


def class_recalls(
    predicted: NDArray[np.intp], labels: NDArray[np.intp], classes: int, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the recall of each class.

    ``predicted``, ``labels``: int (image,), class indices. ``weights``: float64 (draw, image), as for
    ``ResampledScores``. Returns float64 (draw, class); NaN if a draw has no image of a class.
    """
    totals = [weights @ (labels == label) for label in range(classes)]
    correct = [weights @ ((labels == label) & (predicted == label)) for label in range(classes)]
    return np.stack([_ratio(hits, total) for hits, total in zip(correct, totals, strict=True)], axis=1)


def count_classes(
    predicted: NDArray[np.intp], labels: NDArray[np.intp], classes: int, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Count the images of each true and predicted class, float64 (draw, true class, predicted class).

    ``predicted``, ``labels``: int (image,), class indices. ``weights``: float64 (draw, image).
    """
    pairs = np.eye(classes * classes)[labels * classes + predicted]
    return (weights @ pairs).reshape(-1, classes, classes)


def matthews_correlation(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Matthews correlation coefficient of true and predicted classes (Matthews 1975).

    Of more than two classes, the R_K of Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006. ``tables``: float64
    (draw, true class, predicted class). Returns float64 (draw,) in [-1, 1]; 0 if all images are of one true class, or
    of one predicted class.
    """
    true, predicted = tables.sum(axis=2), tables.sum(axis=1)
    total, correct = tables.sum(axis=(1, 2)), np.trace(tables, axis1=1, axis2=2)
    covariance = correct * total - (true * predicted).sum(axis=1)
    variances = (total**2 - (true**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1))
    return _ratio(covariance, np.sqrt(np.clip(variances, 0, None)), 0.0)


def cohen_kappa(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Cohen's kappa, the agreement of true and predicted classes beyond chance (Cohen 1960).

    doi:10.1177/001316446002000104. ``tables``: float64 (draw, true class, predicted class). Returns float64 (draw,) in
    [-1, 1]; NaN if all images are of one true class and predicted as such.
    """
    total = tables.sum(axis=(1, 2))
    chance = (tables.sum(axis=2) * tables.sum(axis=1)).sum(axis=1)
    return _ratio(np.trace(tables, axis1=1, axis2=2) * total - chance, total**2 - chance)


def _ratio(over: NDArray[np.float64], under: NDArray[np.float64], otherwise: float = np.nan) -> NDArray[np.float64]:
    """Divide, with a given value for a zero denominator."""
    return np.divide(over, under, out=np.full(np.broadcast(over, under).shape, otherwise), where=under != 0)


# Ranking of features.

MIN_CASES_PER_CLASS = 3  # fewest patients per class for a ranking


class RankedFeature(NamedTuple):
    """A feature that separates the classes.

    ``feature_index``: of all features; ``auc`` is the probability that a positive patient has the greater value, with a
    95 % interval over patients; below 0.5 positives have smaller values. ``p`` is that of Mann and Whitney, two-sided;
    ``q`` is corrected for the number of features (Benjamini and Hochberg 1995).
    """

    feature_index: int
    auc: Estimate
    p: float
    q: float

    @property
    def strength(self) -> float:
        """Rank-biserial correlation, in [-1, 1]: 2 AUC - 1."""
        return 2 * self.auc.mean - 1


def rank_features(
    values: NDArray[np.floating], positive: NDArray[np.bool_], groups: NDArray[np.str_], count: int
) -> list[RankedFeature]:
    """Rank features by the distance of their area under the ROC curve from one half.

    The values of a patient's images of one class are averaged first, so that each patient counts once. The interval
    is that of a single feature: for the best of many features it is too optimistic, which ``q`` accounts for and
    other images can verify.

    ``values``: float (image, feature), finite. ``positive``: bool (image,). Returns the strongest first; constant
    features are omitted.
    """
    rows, truth, names = average_by_patient(np.asarray(values, np.float64), positive, groups)
    if min(truth.sum(), (~truth).sum()) < MIN_CASES_PER_CLASS:
        raise ValueError(
            f"expected at least {MIN_CASES_PER_CLASS} patients per class for a ranking, found {int(truth.sum())} "
            f"positive and {int((~truth).sum())} others."
        )
    from scipy.stats import false_discovery_control

    areas, p_values = _mann_whitney(rows, truth)
    corrected = false_discovery_control(p_values)
    varied = np.flatnonzero(np.ptp(rows, axis=0) > 0)
    ordered = varied[np.argsort(-np.abs(areas[varied] - 0.5), kind="stable")][:count]
    return [
        RankedFeature(
            int(index),
            bootstrap_statistic(partial(_resampled_auc, rows[:, index], truth), names, bounds=(0, 1)),
            float(p_values[index]),
            float(corrected[index]),
        )
        for index in ordered
    ]


def average_by_patient(
    values: NDArray[np.float64], positive: NDArray[np.bool_], groups: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
    """Average over the images of a patient with the same class.

    ``values``: float64 (image, feature). ``positive``: bool (image,). Returns the means, float64 (row, feature), the
    class and the patient of each row; patients with images of both classes have two rows.
    """
    names, index = np.unique(np.asarray(groups, str), return_inverse=True)
    classes_of_patients, row = np.unique(2 * index + positive, return_inverse=True)
    counts = np.bincount(row).astype(np.float64)
    summed = np.zeros((len(classes_of_patients), values.shape[1]))
    # From the smallest value up: in the order of the images, a sum and with it a tie would depend on that order.
    order = np.argsort(values, axis=0)
    np.add.at(summed, (row[order], np.arange(values.shape[1])), np.take_along_axis(values, order, axis=0))
    return summed / counts[:, None], classes_of_patients % 2 == 1, names[classes_of_patients // 2]


def _mann_whitney(rows: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
    """Return the area under the ROC curve and the p-value of each feature, float64 (feature,)."""
    from scipy.stats import mannwhitneyu

    tests = mannwhitneyu(rows[truth], rows[~truth], axis=0, method="asymptotic")
    is_constant = np.ptp(rows, axis=0) == 0
    area = tests.statistic / (truth.sum() * (~truth).sum())
    return np.where(is_constant, 0.5, area), np.where(is_constant, 1.0, tests.pvalue)


def _resampled_auc(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each draw; NaN if a class is not drawn."""
    return ResampledScores(scores, truth, weights).auc()

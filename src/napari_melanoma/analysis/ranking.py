"""How well scores tell two classes apart: curves, the areas under them, where to cut, and what is found there.

Everywhere ``scores`` is float (image,), higher where the positive class is likelier, ``labels`` is bool (image,), and
``weights`` float (image,) or None for equal ones. Where images of one class alone are there, figures are NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_melanoma.analysis.resampling import bootstrap_figure
from napari_melanoma.core.classifier import OperatingPoint

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.analysis.statistics import Estimate


class RocCurve(NamedTuple):
    """Shares of negatives and positives at or above each cut, float64 (cut,); from (0, 0) at an infinite cut on."""

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    cuts: NDArray[np.float64]


class PrecisionRecall(NamedTuple):
    """Precision and recall at each cut, float64 (cut,), the cuts descending: recall ascends."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    cuts: NDArray[np.float64]


def roc_curve(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> RocCurve:
    """Receiver operating characteristic with a point for each distinct score.

    Ends at (1, 1); rates are NaN where a class has no weight.
    """
    positives, negatives, cuts = _counts(scores, labels, weights)
    return RocCurve(_rate(negatives), _rate(positives), np.concatenate([[np.inf], cuts]))


def precision_recall(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> PrecisionRecall:
    """Precision and recall with a point for each distinct score.

    From the highest score, at which few are called positive, to the lowest, at which all are.
    """
    positives, negatives, cuts = _counts(scores, labels, weights)
    with np.errstate(invalid="ignore"):
        precision = positives[1:] / (positives[1:] + negatives[1:])
    return PrecisionRecall(precision, _rate(positives)[1:], cuts)


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
    curve = precision_recall(scores, labels, weights)
    steps = np.diff(curve.recall, prepend=0.0)
    return float(np.sum(np.where(steps > 0, curve.precision, 0.0) * steps)) if np.isfinite(steps).all() else np.nan


def choose_cut(scores: ArrayLike, labels: ArrayLike, sensitivity: float) -> float:
    """Find the highest cut at which at least so many of the positives are found.

    A score at or above it is positive; it is one of the positives' scores.
    """
    found = np.sort(np.asarray(scores, np.float64)[np.asarray(labels, bool)])[::-1]
    if not len(found):
        raise ValueError("a cut for a sensitivity needs at least one positive image; found none.")
    needed = int(np.ceil(sensitivity * len(found) - 1e-9))  # 0.9 of 10 is 9, not what rounding makes of it
    return float(found[max(needed, 1) - 1])


def confusion(labels: ArrayLike, said: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count which class was said of which.

    ``labels``, ``said``: int (image,): index of the true class and of the one that was said. Returns int64 (true class,
    said class).
    """
    places = np.asarray(labels, np.int64) * classes + np.asarray(said, np.int64)
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def operating_point(
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
    cut = choose_cut(scores, truth, sensitivity)
    of = np.arange(len(truth)) if groups is None else np.asarray(groups)
    said = np.asarray(scores, np.float64) >= cut
    found, left = (_share_of(said, truth, of), _share_of(~said, ~truth, of))
    return OperatingPoint(
        asked=sensitivity,
        cut=min(max(cut, 0.0), 1.0),
        sensitivity=found.mean,
        sensitivity_interval=_known(found),
        specificity=left.mean,
        specificity_interval=_known(left),
    )


def _share_of(right: NDArray[np.bool_], of: NDArray[np.bool_], groups: NDArray) -> Estimate:
    """Share of those that are right among those it is about."""
    values = right[of].astype(np.float64)
    return bootstrap_figure(lambda weights: float(np.average(values, weights=weights)), groups[of], bounds=(0, 1))


def _known(found: Estimate) -> tuple[float, float]:
    """The interval; all that is possible where there is none."""
    return (found.low, found.high) if found.has_interval else (0.0, 1.0)


def _counts(
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


def _rate(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts as shares of the last; NaN where that is 0."""
    return counts / counts[-1] if counts[-1] > 0 else np.full(len(counts), np.nan)

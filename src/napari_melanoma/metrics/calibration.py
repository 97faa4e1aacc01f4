"""Calibration: temperature scaling, conformal sets, Venn-Abers predictors and probability bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from napari_melanoma.core.prediction_config import ClassifierConfig, SetRule

MIN_CASES_PER_CLASS = 10  # images per class: with fewer, fits are dominated by noise
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
MAX_BIAS = 10.0  # corresponds to odds of 22,000
BOOTSTRAP_ROUNDS = 200
MAX_BINS = 256  # of scores: with more distinct scores, cases share bins, which limits the computation time
ROUNDING = 1e-9
Point = tuple[float, float]  # cumulative counts of all cases and of the positives, from the lowest score


class Calibration(NamedTuple):
    """The divisor of logits, and the bias that is added to the logit of each class after the division."""

    temperature: float
    bias: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Reliability:
    """Points of a reliability diagram.

    ``predicted``, ``observed``: mean probability and share of positives, float64 (bin,). ``low``, ``high``: 95 %
    interval of the share. ``count``: images per bin.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    count: NDArray[np.int64]


def softmax(logits: ArrayLike, temperature: float = 1.0, bias: ArrayLike = ()) -> NDArray[np.float64]:
    """Convert logits to probabilities.

    ``logits``: float (image, class). ``bias``: float (class,), added after division; empty for none. Returns float64
    (image, class); each row sums to 1.
    """
    moved = np.asarray(logits, np.float64) / temperature
    if np.size(bias):
        moved = moved + np.asarray(bias, np.float64)
    powers = np.exp(moved - moved.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def calibrate_logits(logits: ArrayLike, config: ClassifierConfig) -> NDArray[np.float64]:
    """Convert logits to the calibrated probabilities of a bundle.

    ``logits``: float (image, class), as output by its network. Returns float64 (image, class).
    """
    return softmax(logits, config.temperature, config.bias)


def class_log_odds(logits: NDArray[np.floating], index: int) -> NDArray[np.float64]:
    """Return the log odds of one class against the others, float64 (image,).

    ``logits``: float (image, class).
    """
    values = np.asarray(logits, np.float64)
    log_odds: NDArray[np.float64] = values[:, index] - np.logaddexp.reduce(np.delete(values, index, axis=1), axis=1)
    return log_odds


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Find the temperature with the smallest log loss (Guo et al. 2017, arXiv:1706.04599).

    The loss is convex in the inverse of the temperature, so that a bounded search finds the only minimum.

    ``logits``: float (image, class), of images that the network was not trained on. ``labels``: int (image,). Returns a
    value between 0.05 and 20; 1 if fewer than two classes have 10 images.
    """
    from scipy.optimize import minimize_scalar

    array, truth = _check_logits(logits, labels)
    if not _has_enough_cases(array, truth):
        return 1.0
    optimum = minimize_scalar(
        lambda inverse: _loss_of_logits(array * inverse, truth),
        bounds=(1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(1 / optimum.x)


def fit_calibration(logits: ArrayLike, labels: ArrayLike) -> Calibration:
    """Find temperature and bias with the smallest log loss, which also corrects the class frequencies.

    A network trained with balanced sampling or class weights overestimates rare classes; temperature cannot correct
    that, but a bias can (Alexandari et al. 2020, bias-corrected temperature scaling, arXiv:1901.06852).

    ``logits``: float (image, class), of images that the network was not trained on, with realistic class frequencies.
    ``labels``: int (image,). Biases sum to 0; temperature 1 and no bias if a class has fewer than 10 images.
    """
    from scipy.optimize import minimize

    array, truth = _check_logits(logits, labels)
    classes = array.shape[1]
    if np.bincount(truth, minlength=classes).min(initial=MIN_CASES_PER_CLASS) < MIN_CASES_PER_CLASS:
        return Calibration(fit_temperature(array, truth), (0.0,) * classes)
    observed = np.eye(classes)[truth]

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        calibrated = array * values[0] + values[1:]
        error = (softmax(calibrated) - observed) / len(truth)
        return _loss_of_logits(calibrated, truth), np.append((error * array).sum(), error.sum(axis=0))

    bounds = [(1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE), *[(-MAX_BIAS, MAX_BIAS)] * classes]
    start = np.append(1 / fit_temperature(array, truth), np.zeros(classes))
    optimum = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Calibration(float(1 / optimum[0]), tuple(float(value) for value in optimum[1:] - optimum[1:].mean()))


def _loss_of_logits(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the mean negative logarithm of the probability of the true class, finite also for extreme logits."""
    return float((np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]).mean())


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Return the mean absolute difference of predicted and observed shares over bins with equal numbers of images.

    Images of equal probability share a bin. Bins with equal numbers of images vary less than bins of equal width (Nixon
    et al. 2019, arXiv:1904.01685). Even perfect probabilities have an error above 0 on few images, see
    ``calibration_error_by_chance``.

    ``probabilities``: of the positive class, float (image,). ``labels``: bool (image,). In [0, 1]; NaN without images.
    """
    return _binned_error(np.asarray(probabilities, np.float64), np.asarray(labels, np.float64), bins)


def calibration_error_by_chance(
    probabilities: ArrayLike, bins: int = 15, *, rounds: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Return the calibration error that exact probabilities would have by chance.

    Outcomes are drawn from the probabilities (consistency resampling: Brocker and Smith 2007, doi:10.1175/WAF993.1).

    ``probabilities``: of the positive class, float (image,). Returns the mean, and the value that only 1 in 20 draws
    exceeds: a greater error is more than chance.
    """
    predicted = np.sort(np.asarray(probabilities, np.float64))  # so that each draw is that of a value, not of a row
    random = np.random.default_rng(seed)
    drawn = [_binned_error(predicted, random.random(len(predicted)) < predicted, bins) for _ in range(rounds)]
    return float(np.mean(drawn)), float(np.percentile(drawn, 95))


def reliability_curve(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> Reliability:
    """Return the points of a reliability diagram, in bins with equal numbers of images.

    Images of equal probability share a bin, so that there may be fewer bins.

    ``probabilities``: of the positive class, float (image,). ``labels``: bool (image,). From the lowest prediction to
    the highest, with intervals of Wilson (1927).
    """
    predicted, observed = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    index, count = assign_bins(predicted, bins)
    total = np.bincount(index, weights=observed, minlength=len(count))
    mean = np.bincount(index, weights=predicted, minlength=len(count)) / count
    low, high = wilson_interval(total, count)
    return Reliability(mean, total / count, low, high, count)


def wilson_interval(positives: ArrayLike, count: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 95 % interval of shares of independent images (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    ``positives``: number of positive images; ``count``: number of images. Returns both ends, float64 (share,), in [0,
    1].
    """
    positive_count, total = np.asarray(positives, np.float64), np.asarray(count, np.float64)
    square = 1.96**2
    center = (positive_count + square / 2) / (total + square)
    half_width = (
        np.sqrt(square) / (total + square) * np.sqrt(positive_count * (total - positive_count) / total + square / 4)
    )
    return np.clip(center - half_width, 0, 1), np.clip(center + half_width, 0, 1)


def _check_logits(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Convert logits and labels to arrays; raise an error if their lengths differ."""
    array, truth = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if array.ndim != 2 or len(array) != len(truth):
        raise ValueError(f"each image needs logits and a label; found shapes {array.shape} and {truth.shape}.")
    return array, truth


def _has_enough_cases(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> bool:
    """Return whether at least two classes have enough images."""
    return bool(np.sum(np.bincount(labels, minlength=logits.shape[1]) >= MIN_CASES_PER_CLASS) >= 2)


def _binned_error(predicted: NDArray[np.float64], observed: NDArray, bins: int) -> float:
    """Return the mean absolute difference over bins, weighted by their numbers of images."""
    if not len(predicted):
        return float("nan")
    index, _ = assign_bins(predicted, bins)
    return float(np.abs(np.bincount(index, weights=observed - predicted)).sum() / len(predicted))


def assign_bins(scores: NDArray[np.float64], bins: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide images into bins of about the same size, from the lowest score to the highest.

    Images with the same score share the bin of their mean rank, so that their order has no effect. Returns the bin of
    each image, int (image,), and the number of images of each bin, int (bin,); no bin is empty.
    """
    _, index, count = np.unique(scores, return_inverse=True, return_counts=True)
    number = min(bins, len(scores))
    twice_mean_rank = 2 * np.cumsum(count) - count - 1
    of_score = twice_mean_rank * number // max(2 * len(scores), 1)
    bin_of_image = np.unique(of_score, return_inverse=True)[1][index]
    return bin_of_image, np.bincount(bin_of_image)


@dataclass(frozen=True)
class VennAbers:
    """Venn-Abers predictor: isotonic fits to the cases and one more case of either label, for each possible score.

    ``scores`` are the distinct scores of the cases, ascending, float64 (score,); ``with_negative`` and
    ``with_positive`` are the fitted values at each score with one more negative or positive case there.
    """

    scores: NDArray[np.float64]
    with_negative: NDArray[np.float64]
    with_positive: NDArray[np.float64]

    @classmethod
    def fit(cls, scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Compute all fits in one sweep (Vovk et al. 2015, arXiv:1511.00213).

        ``scores``: float (case,). ``labels``: bool (case,). ``weights``: number of times of each case; 1 by default.
        """
        weight = np.ones(np.size(scores)) if weights is None else np.asarray(weights, np.float64)
        used = weight > 0
        distinct, index = np.unique(np.asarray(scores, np.float64)[used], return_inverse=True)
        counts = np.bincount(index, weights=weight[used]).astype(np.float64)
        positives = np.bincount(index, weights=(weight * np.asarray(labels, np.float64))[used]).astype(np.float64)
        return cls(
            distinct,
            1.0 - _fit_with_extra_positive(counts[::-1], (counts - positives)[::-1])[::-1],
            _fit_with_extra_positive(counts, positives),
        )

    def predict(self, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the lower and the upper probability of the positive class.

        ``scores``: float (image,). Returns float64 (image,) each, in [0, 1].
        """
        array = np.asarray(scores, np.float64)
        below = np.searchsorted(self.scores, array, side="right")
        above = np.searchsorted(self.scores, array, side="left")
        return np.append(0.0, self.with_negative)[below], np.append(self.with_positive, 1.0)[above]


def _fit_with_extra_positive(counts: NDArray[np.float64], positives: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the isotonic fit at each score with one more positive case there.

    ``counts``, ``positives``: number of cases and of positive cases at each score, float64 (score,).

    The fit is the slope of the lower hull of the cumulative counts. One more positive at a score moves all points
    before it by (-1, -1), so the slope there is that of the edge between the moved points and the others. The sweep
    moves one point after another; the last point of ``hull`` is the moved end of that edge, the second last is its
    other end.
    """
    points = list(zip(np.cumsum(counts).tolist(), np.cumsum(positives).tolist(), strict=True))
    hull: list[Point] = []
    for point in reversed(points):
        _push_hull_point(hull, point)
    _push_hull_point(hull, (-1.0, -1.0))
    slopes = []
    for across, up in points:
        (left, bottom), (right, top) = hull[-1], hull[-2]
        slopes.append((top - bottom) / (right - left))
        moved = (across - 1.0, up - 1.0)
        if (right - left) * (moved[1] - bottom) < (top - bottom) * (moved[0] - left):  # below the edge
            hull.pop()
            _push_hull_point(hull, moved)
    return np.array(slopes)


def _push_hull_point(hull: list[Point], point: Point) -> None:
    """Add a point on the left of a lower hull, whose leftmost point is its last, and remove points inside."""
    across, up = point
    while len(hull) > 1:
        (right, top), (middle, height) = hull[-2], hull[-1]
        if (right - across) * (height - up) < (top - up) * (middle - across):  # the last point is below the new edge
            break
        hull.pop()
    hull.append(point)


@dataclass(frozen=True, eq=False)
class ProbabilityBand:
    """Interval of the positive class's probability for each score.

    The two probabilities of Venn-Abers describe the effect of one more case, not of other cases: in simulations the
    truth lies between them in 10 to 60 of 100 images (steps and logistic curves, 60 to 1000 cases). Therefore cases are
    resampled with replacement, whole patients or lesions at a time, and the interval reaches from the 2.5th percentile
    of the lower probability to the 97.5th of the upper one. In the same simulations it contains the truth in 90 to 99
    of 100 images, on average over sets of cases; docs/explanation/calibration.md has the figures.

    ``bottoms`` and ``tops`` are the lowest and highest score of each bin, float64 (bin,), ascending; ``low`` and
    ``high`` are the interval there.
    """

    bottoms: NDArray[np.float64]
    tops: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def fit(cls, scores: ArrayLike, labels: ArrayLike, groups: Sequence[object] | NDArray | None = None) -> Self:
        """Fit the band by resampling cases.

        ``scores``: float (case,). ``labels``: bool (case,). ``groups``: the patient or lesion of each case.
        """
        array, truth = np.asarray(scores, np.float64), np.asarray(labels, bool)
        if not len(array):
            raise ValueError("expected at least one case for an interval of probabilities, found none.")
        bins = _bin_scores(array)
        bottoms, tops = _bin_limits(array, bins)
        _, group = np.unique(np.arange(len(array)) if groups is None else np.asarray(groups), return_inverse=True)
        random, count = np.random.default_rng(0), int(group.max()) + 1
        drawn = []
        for _ in range(BOOTSTRAP_ROUNDS):
            times = np.bincount(random.integers(count, size=count), minlength=count)
            drawn.append(VennAbers.fit(bins, truth, times[group]).predict(np.arange(len(tops))))
        low, high = zip(*drawn, strict=True)
        return cls(bottoms, tops, np.percentile(low, 2.5, axis=0), np.percentile(high, 97.5, axis=0))

    def predict(self, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the lower and upper bound of the probability.

        ``scores``: float (image,). Returns both ends, float64 (image,), in [0, 1].
        """
        array = np.asarray(scores, np.float64)
        low = np.append(0.0, self.low)[np.searchsorted(self.tops, array, side="right")]
        high = np.append(self.high, 1.0)[np.searchsorted(self.bottoms, array, side="left")]
        return low, high


def _bin_scores(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each score, int (case,): one per distinct score, but at most 256 of about the same size."""
    distinct, index = np.unique(scores, return_inverse=True)
    return index if len(distinct) <= MAX_BINS else assign_bins(scores, MAX_BINS)[0]


def _bin_limits(
    scores: NDArray[np.float64], bins: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and the highest score of each bin, float64 (bin,)."""
    order = np.argsort(scores, kind="stable")
    ranked, ordered_bins = scores[order], bins[order]
    first = np.flatnonzero(np.append(True, ordered_bins[1:] != ordered_bins[:-1]))
    return ranked[first], ranked[np.append(first[1:], len(ranked)) - 1]


def conformal_sets(
    probabilities: ArrayLike,
    calibration_probabilities: ArrayLike,
    calibration_labels: ArrayLike,
    coverage: float,
    rule: SetRule = "class_conditional",
) -> NDArray[np.bool_]:
    """Return conformal prediction sets (split conformal prediction; Angelopoulos and Bates, arXiv:2107.07511).

    If new images are drawn like the calibration images, the sets contain the true class with at least the given
    coverage, on average over all images. ``lac``: classes above a common probability (Sadinle et al. 2019,
    doi:10.1080/01621459.2017.1395341), the smallest sets. ``aps``: the most probable classes up to a cumulative
    probability (Romano et al. 2020, arXiv:2006.02544), the last one counted half: the mean of their random draw, so
    that equal images get equal sets. ``class_conditional``: as ``lac`` with a limit per class, so that each class has
    the given coverage, including rare ones (Vovk 2012, arXiv:1209.2673). ``clustered``: likewise, but the classes that
    have too few cases share the limit of all cases (the null cluster of Ding et al. 2023, arXiv:2306.09335). Sets are
    never empty, and contain every class that is more probable than one of theirs: this only adds classes, so the
    coverage can only increase; a model with a higher accuracy than the coverage exceeds it.

    ``probabilities``, ``calibration_probabilities``: float (image, class). ``calibration_labels``: int (image,).
    Returns bool (image, class). With too few cases for the coverage (fewer than 9 for 90 %) every class is included;
    with ``class_conditional``, each class that has too few.
    """
    array = np.asarray(probabilities, np.float64)
    known, truth = np.asarray(calibration_probabilities, np.float64), np.asarray(calibration_labels, np.int64)
    nonconformity = _aps_scores if rule == "aps" else _lac_scores
    true_scores = nonconformity(known)[np.arange(len(truth)), truth]
    if rule in ("class_conditional", "clustered"):
        limits = np.array(
            [conformal_quantile(true_scores[truth == label], coverage) for label in range(array.shape[1])]
        )
        if rule == "clustered":
            limits[np.isinf(limits)] = conformal_quantile(true_scores, coverage)
    else:
        limits = np.full(array.shape[1], conformal_quantile(true_scores, coverage))
    sets = nonconformity(array) <= limits + ROUNDING
    sets |= ~sets.any(axis=1, keepdims=True) & (array == array.max(axis=1, keepdims=True))
    return sets | (array > np.where(sets, array, np.inf).min(axis=1, keepdims=True))


def _lac_scores(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one minus the probability of each class, (image, class)."""
    return 1.0 - probabilities


def _aps_scores(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cumulative probability of all more probable classes, plus half of the own one, (image, class).

    Of classes with the same probability, each counts half for the others: their order has no effect.
    """
    scores = np.empty_like(probabilities)
    for index, own in enumerate(probabilities.T):
        shares = (probabilities > own[:, None]) + (probabilities == own[:, None]) / 2
        scores[:, index] = (shares * probabilities).sum(axis=1)
    return scores


def conformal_quantile(scores: NDArray[np.float64], coverage: float) -> float:
    """Return the quantile of the scores of known cases, corrected for the new case; infinite with too few cases."""
    rank = conformal_rank(len(scores), coverage)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else np.inf


def conformal_rank(cases: int, coverage: float) -> int:
    """Return the rank of the conformal quantile among the scores, from 1; above their number if they are too few."""
    return int(np.ceil((cases + 1) * coverage - ROUNDING))

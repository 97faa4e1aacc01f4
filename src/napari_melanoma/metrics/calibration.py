"""Calibration: temperature scaling, conformal sets, Venn-Abers predictors and bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.core.prediction_config import ClassifierConfig, SetRule

MIN_CASES_PER_CLASS = 10  # images of each class: with fewer, what is fitted is noise
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0  # temperatures
MAX_BIAS = 10.0  # of a bias: odds of 22,000
EPSILON = 1e-12


class Calibration(NamedTuple):
    """What logits are divided by, and what is then added to each class."""

    temperature: float
    bias: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Reliability:
    """What was predicted and what came, float64 (bin,), with the 95 % interval of what came, and images a bin."""

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    count: NDArray[np.int64]


def softmax(logits: ArrayLike, temperature: float = 1.0, bias: ArrayLike = ()) -> NDArray[np.float64]:
    """Turn logits into probabilities.

    ``logits``: float (image, class). ``bias``: float (class,), added then; empty for none. Returns float64 (image,
    class); each row sums to 1.
    """
    moved = np.asarray(logits, np.float64) / temperature
    if np.size(bias):
        moved = moved + np.asarray(bias, np.float64)
    powers = np.exp(moved - moved.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def calibrate_logits(logits: ArrayLike, config: ClassifierConfig) -> NDArray[np.float64]:
    """Turn logits into the probabilities that a bundle stands for.

    ``logits``: float (image, class), as its network gives them. Returns float64 (image, class).
    """
    return softmax(logits, config.temperature, config.bias)


def log_loss(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean negative logarithm of the probability that the true class was given.

    ``probabilities``: float (image, class). ``labels``: int (image,). 0 where every true class had probability 1.
    """
    given = np.asarray(probabilities, np.float64)
    truth = np.asarray(labels, np.int64)
    return float(-np.log(np.maximum(given[np.arange(len(truth)), truth], EPSILON)).mean())


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Find the temperature with the least log loss (Guo et al. 2017, arXiv:1706.04599).

    The loss is convex in the inverse of the temperature, so a bounded search finds the only minimum.

    ``logits``: float (image, class), of images that the network did not learn from. ``labels``: int (image,). Between
    0.05 and 20; 1 where fewer than two classes have 10 images.
    """
    from scipy.optimize import minimize_scalar

    given, truth = _check_logits(logits, labels)
    if not _has_enough_cases(given, truth):
        return 1.0
    found = minimize_scalar(
        lambda inverse: log_loss(softmax(given, 1 / inverse), truth),
        bounds=(1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(1 / found.x)


def fit_calibration(logits: ArrayLike, labels: ArrayLike) -> Calibration:
    """Find temperature and bias with the least log loss: temperature scaling that also corrects the classes' shares.

    A network that saw classes evenly drawn or weighted believes them to be as frequent as it saw them; no temperature
    mends that, a bias does (Alexandari et al. 2020, bias-corrected temperature scaling, arXiv:1901.06852).

    ``logits``: float (image, class), of images that the network did not learn from, with the classes as frequent as in
    use. ``labels``: int (image,). Biases add up to 0; temperature 1 and no bias where a class has fewer than 10 images.
    """
    from scipy.optimize import minimize

    given, truth = _check_logits(logits, labels)
    classes = given.shape[1]
    if np.bincount(truth, minlength=classes).min(initial=MIN_CASES_PER_CLASS) < MIN_CASES_PER_CLASS:
        return Calibration(fit_temperature(given, truth), (0.0,) * classes)
    came = np.eye(classes)[truth]

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        chances = softmax(given * values[0], 1.0, values[1:])
        error = (chances - came) / len(truth)
        return log_loss(chances, truth), np.append((error * given).sum(), error.sum(axis=0))

    bounds = [(1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE), *[(-MAX_BIAS, MAX_BIAS)] * classes]
    start = np.append(1 / fit_temperature(given, truth), np.zeros(classes))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Calibration(float(1 / found[0]), tuple(float(value) for value in found[1:] - found[1:].mean()))


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Mean distance of what was predicted from what came, over bins of equally many images.

    Probabilities of shape (image,) are asked how often the positive class came; of shape (image, class), how often the
    class with the highest probability was the true one, as Guo et al. 2017 (arXiv:1706.04599) do. Equally many images
    a bin scatter less than equally wide bins (Nixon et al. 2019, arXiv:1904.01685). Even perfect probabilities have an
    error above 0 on few images: ``calibration_error_by_chance`` says how much.

    ``probabilities``: float (image,) or (image, class). ``labels``: bool (image,), or int (image,) indices of classes.
    In [0, 1]; NaN of no image.
    """
    predicted, came = _predicted_and_observed(probabilities, labels)
    return _binned_error(predicted, came, bins)


def calibration_error_by_chance(
    probabilities: ArrayLike, bins: int = 15, *, rounds: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Say which calibration error these very probabilities would have if each were exactly right.

    What comes is drawn by the probabilities (consistency resampling: Brocker and Smith 2007, doi:10.1175/WAF993.1).

    ``probabilities``: float (image,) or (image, class), as ``expected_calibration_error`` takes them. What only 1 in 20
    draws exceeds: an error above it is more than chance.
    """
    given = np.asarray(probabilities, np.float64)
    predicted = given if given.ndim == 1 else given.max(axis=1)
    random = np.random.default_rng(seed)
    drawn = [_binned_error(predicted, random.random(len(predicted)) < predicted, bins) for _ in range(rounds)]
    return float(np.mean(drawn)), float(np.percentile(drawn, 95))


def reliability_curve(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> Reliability:
    """Give the points of a reliability diagram, in bins of equally many images.

    ``probabilities``: of the positive class, float (image,). ``labels``: bool (image,). From the lowest prediction to
    the highest; intervals are those of Wilson (1927).
    """
    predicted, came = _predicted_and_observed(probabilities, labels)
    index, count = _assign_bins(predicted, bins)
    total = np.bincount(index, weights=came, minlength=len(count))
    mean = np.bincount(index, weights=predicted, minlength=len(count)) / count
    low, high = wilson_interval(total, count)
    return Reliability(mean, total / count, low, high, count)


def wilson_interval(found: ArrayLike, count: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interval of 95 % for shares of independent images (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    Both ends, float64 (share,), in [0, 1].
    """
    times, number = np.asarray(found, np.float64), np.asarray(count, np.float64)
    square = 1.96**2
    centre = (times + square / 2) / (number + square)
    reach = np.sqrt(square) / (number + square) * np.sqrt(times * (number - times) / number + square / 4)
    return np.clip(centre - reach, 0, 1), np.clip(centre + reach, 0, 1)


def _check_logits(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits and labels as arrays that fit each other."""
    given, truth = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if given.ndim != 2 or len(given) != len(truth):
        raise ValueError(f"each image needs logits and a label; found shapes {given.shape} and {truth.shape}.")
    return given, truth


def _has_enough_cases(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> bool:
    """Whether two classes have enough images."""
    return bool(np.sum(np.bincount(labels, minlength=logits.shape[1]) >= MIN_CASES_PER_CLASS) >= 2)


def _predicted_and_observed(
    probabilities: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What was predicted of each image, and whether it came."""
    given, truth = np.asarray(probabilities, np.float64), np.asarray(labels)
    if given.ndim == 1:
        return given, truth.astype(np.float64)
    return given.max(axis=1), (given.argmax(axis=1) == truth).astype(np.float64)


def _binned_error(predicted: NDArray[np.float64], came: NDArray, bins: int) -> float:
    """Mean absolute difference over bins, weighted by their images."""
    if not len(predicted):
        return float("nan")
    index, _ = _assign_bins(predicted, bins)
    return float(np.abs(np.bincount(index, weights=came - predicted)).sum() / len(predicted))


def _assign_bins(predicted: NDArray[np.float64], bins: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bin of each image, by its rank, and how many each bin has; no bin is empty."""
    number = max(1, min(bins, len(predicted)))
    index = np.empty(len(predicted), np.int64)
    index[np.argsort(predicted, kind="stable")] = np.arange(len(predicted)) * number // max(len(predicted), 1)
    return index, np.bincount(index, minlength=number)


Point = tuple[float, float]  # counts of all cases and of the positives, from the lowest score on


class ProbabilityInterval(NamedTuple):
    """Probability of the positive class, float64 (image,): at least, at most, and the one between that loses least."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    merged: NDArray[np.float64]


@dataclass(frozen=True)
class VennAbers:
    """Isotonic fits to cases with one more of either label, for each place that it can have.

    ``scores`` are the distinct scores of the cases, ascending, float64 (place,); ``with_negative`` and
    ``with_positive`` what the fit gives at each, once a negative or a positive case stands there too.
    """

    scores: NDArray[np.float64]
    with_negative: NDArray[np.float64]
    with_positive: NDArray[np.float64]

    @classmethod
    def fit(cls, scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Fit all of them in one sweep (Vovk et al. 2015, arXiv:1511.00213).

        ``labels``: bool (case,).
        """
        weight = np.ones(np.size(scores)) if weights is None else np.asarray(weights, np.float64)
        there = weight > 0
        distinct, index = np.unique(np.asarray(scores, np.float64)[there], return_inverse=True)
        counts = np.bincount(index, weights=weight[there]).astype(np.float64)
        found = np.bincount(index, weights=(weight * np.asarray(labels, np.float64))[there]).astype(np.float64)
        return cls(
            distinct,
            1.0 - _fit_with_extra_positive(counts[::-1], (counts - found)[::-1])[::-1],
            _fit_with_extra_positive(counts, found),
        )

    def predict(self, scores: ArrayLike) -> ProbabilityInterval:
        """Say how likely the positive class is.

        ``scores``: float (image,). Returns ``merged`` is high / (1 - low + high), which has the least regret in log
        loss.
        """
        asked = np.asarray(scores, np.float64)
        below = np.searchsorted(self.scores, asked, side="right")
        above = np.searchsorted(self.scores, asked, side="left")
        low = np.append(0.0, self.with_negative)[below]
        high = np.append(self.with_positive, 1.0)[above]
        return ProbabilityInterval(low, high, high / (1.0 - low + high))


def _fit_with_extra_positive(counts: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Isotonic fit at each place of (place,) once a positive case more is there.

    The fit is the slope of the lower hull of the cumulative counts. One more positive at a place moves all points
    before it by (-1, -1), so the slope there is that of the edge between the points that were moved and the others. The
    sweep moves point after point; ``hull`` holds the other end of that edge last but one, its moved end last.
    """
    points = list(zip(np.cumsum(counts).tolist(), np.cumsum(found).tolist(), strict=True))
    hull: list[Point] = []
    for point in reversed(points):
        _push_hull_point(hull, point)
    _push_hull_point(hull, (-1.0, -1.0))
    slopes = np.empty(len(counts))
    for place, (across, up) in enumerate(points):
        left, right = hull[-1], hull[-2]
        slopes[place] = (right[1] - left[1]) / (right[0] - left[0])
        moved = (across - 1.0, up - 1.0)
        if _side_of_line(left, right, moved) < 0:  # below the edge
            hull.pop()
            _push_hull_point(hull, moved)
    return slopes


def _push_hull_point(hull: list[Point], point: Point) -> None:
    """Add a point on the left of a lower hull, whose leftmost is its last; what is no corner any more goes."""
    while len(hull) > 1 and _side_of_line(point, hull[-2], hull[-1]) >= 0:
        hull.pop()
    hull.append(point)


def _side_of_line(left: Point, right: Point, point: Point) -> float:
    """Above 0 where a point lies above the line through two others, below 0 where it lies below."""
    return (right[0] - left[0]) * (point[1] - left[1]) - (right[1] - left[1]) * (point[0] - left[0])


BOOTSTRAP_ROUNDS = 200
MAX_BINS = 256  # places of scores: more cases share places, so that thousands of them take no longer


@dataclass(frozen=True, eq=False)
class ProbabilityBand:
    """Interval of the positive class's probability for each score.

    Both probabilities of Venn-Abers say what one more case changes, not what other cases would: in simulations the
    truth lies between them in 16 to 54 of 100 images (steps and logistic curves, 60 to 1000 cases). So cases are drawn
    again with replacement, whole patients or lesions at a time, and the interval reaches from the lower percentile of
    the lower probability to the upper one of the upper.

    ``bottoms`` and ``tops`` are the lowest and highest score of each place, float64 (place,), ascending; ``low`` and
    ``high`` the interval there.
    """

    bottoms: NDArray[np.float64]
    tops: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        scores: ArrayLike,
        labels: ArrayLike,
        groups: Sequence[object] | NDArray | None = None,
        *,
        coverage: float = 0.95,
        seed: int = 0,
    ) -> Self:
        """Draw cases again, and see how the probabilities move.

        ``labels``: bool (case,).
        """
        given, truth = np.asarray(scores, np.float64), np.asarray(labels, bool)
        if not len(given):
            raise ValueError("an interval of probabilities needs at least one case; found none.")
        place = _bin_scores(given)
        bottoms, tops = _bin_limits(given, place)
        _, group = np.unique(np.arange(len(given)) if groups is None else np.asarray(groups), return_inverse=True)
        random, count = np.random.default_rng(seed), int(group.max()) + 1
        drawn = []
        for _ in range(BOOTSTRAP_ROUNDS):
            times = np.bincount(random.integers(count, size=count), minlength=count)
            drawn.append(VennAbers.fit(place, truth, times[group]).predict(np.arange(len(tops))))
        tail = 50 * (1 - coverage)
        low = np.percentile([between.low for between in drawn], tail, axis=0)
        high = np.percentile([between.high for between in drawn], 100 - tail, axis=0)
        return cls(bottoms, tops, low, high)

    def predict(self, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Say how low and how high the probability may be.

        ``scores``: float (image,). Both ends, float64 (image,), in [0, 1].
        """
        asked = np.asarray(scores, np.float64)
        low = np.append(0.0, self.low)[np.searchsorted(self.tops, asked, side="right")]
        high = np.append(self.high, 1.0)[np.searchsorted(self.bottoms, asked, side="left")]
        return low, high


def _bin_scores(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place of each score by its rank, equal scores at one place, at most 256 of them and each with as many cases."""
    distinct, index, count = np.unique(scores, return_inverse=True, return_counts=True)
    if len(distinct) <= MAX_BINS:
        return index
    before = (np.cumsum(count) - count) * MAX_BINS // len(scores)
    return np.unique(before, return_inverse=True)[1][index]


def _bin_limits(
    scores: NDArray[np.float64], place: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest score of each place."""
    order = np.argsort(scores, kind="stable")
    ranked, places = scores[order], place[order]
    first = np.flatnonzero(np.append(True, places[1:] != places[:-1]))
    return ranked[first], ranked[np.append(first[1:], len(ranked)) - 1]


ROUNDING = 1e-9


def conformal_sets(
    probabilities: ArrayLike,
    calibration_probabilities: ArrayLike,
    calibration_labels: ArrayLike,
    coverage: float,
    rule: SetRule = "class_conditional",
) -> NDArray[np.bool_]:
    """Say which classes cannot be ruled out (split conformal prediction; Angelopoulos and Bates, arXiv:2107.07511).

    Where new images are drawn as those of calibration were, the sets hold the true class at least as often as asked,
    on average over all images. ``lac``: classes above one common probability (Sadinle et al. 2019,
    doi:10.1080/01621459.2017.1395341), the smallest sets. ``aps``: the likeliest classes until their probabilities add
    up (Romano et al. 2020, arXiv:2006.02544), the last one counted half: the mean of their random draw, so that equal
    images get equal answers.
    ``class_conditional``: as ``lac`` with a limit for each class, so that each class by itself is covered as often as
    asked, the rare one too (Vovk 2012, arXiv:1209.2673). No set is empty: the likeliest class is always in it, which
    only adds to the coverage; a model that is right more often than was asked covers more than was asked.

    ``probabilities``: float (image, class). Returns bool (image, class). With too few cases for the coverage (fewer
    than 9 for 90 %) every class is in.
    """
    given = np.asarray(probabilities, np.float64)
    known, truth = np.asarray(calibration_probabilities, np.float64), np.asarray(calibration_labels, np.int64)
    nonconformity = _aps_scores if rule == "aps" else _lac_scores
    of_true = nonconformity(known)[np.arange(len(truth)), truth]
    if rule == "class_conditional":
        limits = np.array([_conformal_quantile(of_true[truth == one], coverage) for one in range(given.shape[1])])
    else:
        limits = np.full(given.shape[1], _conformal_quantile(of_true, coverage))
    sets = nonconformity(given) <= limits + ROUNDING
    empty = np.flatnonzero(~sets.any(axis=1))
    sets[empty, given[empty].argmax(axis=1)] = True
    return sets


def _lac_scores(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each class lacks to certainty, (image, class)."""
    return 1.0 - probabilities


def _aps_scores(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of all classes that are likelier than each, and half its own, (image, class)."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    sorted_ones = np.take_along_axis(probabilities, order, axis=1)
    masses = np.empty_like(sorted_ones)
    np.put_along_axis(masses, order, np.cumsum(sorted_ones, axis=1) - sorted_ones / 2, axis=1)
    return masses


def _conformal_quantile(of_true: NDArray[np.float64], coverage: float) -> float:
    """Quantile of what the true classes had, corrected for the image that is to come; infinite of too few."""
    place = int(np.ceil((len(of_true) + 1) * coverage - ROUNDING))
    return float(np.sort(of_true)[place - 1]) if place <= len(of_true) else np.inf

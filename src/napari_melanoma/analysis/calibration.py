"""Probabilities that can be believed: temperature and bias fitted on held-back answers, and how far off they are.

``logits`` are float (image, class), ``labels`` int (image,) indices of classes; ``probabilities`` of shape (image,) are
those of the positive class with bool labels, of shape (image, class) those of all classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.core.classifier import ClassifierConfig

FEWEST = 10  # images of each class: with fewer, what is fitted is noise
COLDEST, HOTTEST = 0.05, 20.0  # temperatures
FARTHEST = 10.0  # of a bias: odds of 22,000
SMALL = 1e-12


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


def calibrated(logits: ArrayLike, config: ClassifierConfig) -> NDArray[np.float64]:
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
    return float(-np.log(np.maximum(given[np.arange(len(truth)), truth], SMALL)).mean())


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Find the temperature with the least log loss (Guo et al. 2017, arXiv:1706.04599).

    The loss is convex in the inverse of the temperature, so a bounded search finds the only minimum.

    ``logits``: float (image, class), of images that the network did not learn from. ``labels``: int (image,). Between
    0.05 and 20; 1 where fewer than two classes have 10 images.
    """
    from scipy.optimize import minimize_scalar

    given, truth = _checked(logits, labels)
    if not _enough(given, truth):
        return 1.0
    found = minimize_scalar(
        lambda inverse: log_loss(softmax(given, 1 / inverse), truth),
        bounds=(1 / HOTTEST, 1 / COLDEST),
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

    given, truth = _checked(logits, labels)
    classes = given.shape[1]
    if np.bincount(truth, minlength=classes).min(initial=FEWEST) < FEWEST:
        return Calibration(fit_temperature(given, truth), (0.0,) * classes)
    came = np.eye(classes)[truth]

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        chances = softmax(given * values[0], 1.0, values[1:])
        error = (chances - came) / len(truth)
        return log_loss(chances, truth), np.append((error * given).sum(), error.sum(axis=0))

    bounds = [(1 / HOTTEST, 1 / COLDEST), *[(-FARTHEST, FARTHEST)] * classes]
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
    predicted, came = _asked(probabilities, labels)
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


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> Reliability:
    """Give the points of a reliability diagram, in bins of equally many images.

    ``probabilities``: of the positive class, float (image,). ``labels``: bool (image,). From the lowest prediction to
    the highest; intervals are those of Wilson (1927).
    """
    predicted, came = _asked(probabilities, labels)
    index, count = _bins(predicted, bins)
    total = np.bincount(index, weights=came, minlength=len(count))
    mean = np.bincount(index, weights=predicted, minlength=len(count)) / count
    low, high = wilson(total, count)
    return Reliability(mean, total / count, low, high, count)


def wilson(found: ArrayLike, count: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interval of 95 % for shares of independent images (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    Both ends, float64 (share,), in [0, 1].
    """
    times, number = np.asarray(found, np.float64), np.asarray(count, np.float64)
    square = 1.96**2
    centre = (times + square / 2) / (number + square)
    reach = np.sqrt(square) / (number + square) * np.sqrt(times * (number - times) / number + square / 4)
    return np.clip(centre - reach, 0, 1), np.clip(centre + reach, 0, 1)


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits and labels as arrays that fit each other."""
    given, truth = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if given.ndim != 2 or len(given) != len(truth):
        raise ValueError(f"each image needs logits and a label; found shapes {given.shape} and {truth.shape}.")
    return given, truth


def _enough(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> bool:
    """Whether two classes have enough images."""
    return bool(np.sum(np.bincount(labels, minlength=logits.shape[1]) >= FEWEST) >= 2)


def _asked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What was predicted of each image, and whether it came."""
    given, truth = np.asarray(probabilities, np.float64), np.asarray(labels)
    if given.ndim == 1:
        return given, truth.astype(np.float64)
    return given.max(axis=1), (given.argmax(axis=1) == truth).astype(np.float64)


def _binned_error(predicted: NDArray[np.float64], came: NDArray, bins: int) -> float:
    """Mean absolute difference over bins, weighted by their images."""
    if not len(predicted):
        return float("nan")
    index, _ = _bins(predicted, bins)
    return float(np.abs(np.bincount(index, weights=came - predicted)).sum() / len(predicted))


def _bins(predicted: NDArray[np.float64], bins: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bin of each image, by its rank, and how many each bin has; no bin is empty."""
    number = max(1, min(bins, len(predicted)))
    index = np.empty(len(predicted), np.int64)
    index[np.argsort(predicted, kind="stable")] = np.arange(len(predicted)) * number // max(len(predicted), 1)
    return index, np.bincount(index, minlength=number)

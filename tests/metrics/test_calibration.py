"""Known temperatures and biases are recovered; the calibration error of exact probabilities is that of chance."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.core.prediction_config import ClassifierConfig
from napari_melanoma.metrics.calibration import (
    calibrate_logits,
    calibration_error_by_chance,
    class_log_odds,
    expected_calibration_error,
    fit_calibration,
    fit_temperature,
    reliability_curve,
    softmax,
    wilson_interval,
)

MANY = 20_000


def drawn(classes: int, bias: tuple[float, ...] = (), count: int = MANY, seed: int = 0) -> tuple:
    """Exact logits, and labels drawn from their probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(count, classes)) * 1.5
    chances = softmax(logits, 1.0, bias)
    labels = (random.random(count)[:, None] > chances.cumsum(axis=1)).sum(axis=1)
    return logits, labels


def test_softmax_sums_to_one_for_any_size() -> None:
    """Also for logits of 1000, whose exponential overflows."""
    chances = softmax([[1000.0, 0.0], [-1000.0, -1000.0], [0.0, np.log(3.0)]])
    np.testing.assert_allclose(chances, [[1, 0], [0.5, 0.5], [0.25, 0.75]])


def test_a_sigmoid_equals_a_softmax_with_zero() -> None:
    """A network of one output is padded with a zero."""
    np.testing.assert_allclose(softmax([[0.0, 2.0]])[0, 1], 1 / (1 + np.exp(-2.0)))


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_log_odds_are_those_of_the_probability(classes: int) -> None:
    logits = np.random.default_rng(0).normal(size=(50, classes)) * 3
    for index in range(classes):
        probability = softmax(logits)[:, index]
        np.testing.assert_allclose(class_log_odds(logits, index), np.log(probability / (1 - probability)))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(classes: int, temperature: float) -> None:
    """If logits are too large by a factor, the temperature is this factor."""
    logits, labels = drawn(classes)
    assert fit_temperature(temperature * logits, labels) == pytest.approx(temperature, rel=0.05)


def test_a_known_bias_is_found() -> None:
    """Balanced sampling in training shifts logits; a bias corrects that, a temperature cannot."""
    logits, labels = drawn(3, bias=(1.0, 0.0, -1.0))
    found = fit_calibration(2 * logits, labels)
    assert found.temperature == pytest.approx(2, rel=0.05)
    assert found.bias == pytest.approx((1.0, 0.0, -1.0), abs=0.08)
    assert sum(found.bias) == pytest.approx(0)


def test_biases_at_their_limits_sum_to_zero() -> None:
    """Logits of a class that are 40 too small need more than the limit: 10 for it, and -10 for the other two."""
    logits, labels = drawn(3)
    found = fit_calibration(logits - [40, 0, 0], labels)
    assert found.bias == pytest.approx((40 / 3, -20 / 3, -20 / 3), abs=0.01)


def test_bias_calibrates_beyond_temperature() -> None:
    """The calibration error of shifted logits is large after a temperature alone."""
    logits, labels = drawn(2, bias=(1.0, -1.0))
    seen, requested = slice(None, MANY // 2), slice(MANY // 2, None)
    warm = softmax(logits[requested], fit_temperature(logits[seen], labels[seen]))
    mended = softmax(logits[requested], *fit_calibration(logits[seen], labels[seen]))
    assert expected_calibration_error(warm[:, 1], labels[requested] == 1) > 0.1
    assert expected_calibration_error(mended[:, 1], labels[requested] == 1) < 0.02


@pytest.mark.parametrize("labels", [[0, 1], [0] * 50, [0] * 50 + [1] * 9], ids=["two", "one class", "nine"])
def test_few_cases_change_nothing(labels: list[int]) -> None:
    """A fit to them would be noise."""
    logits = np.random.default_rng(0).normal(size=(len(labels), 2))
    assert fit_temperature(logits, labels) == 1
    assert fit_calibration(logits, labels) == (1, (0, 0))


def test_ten_cases_of_two_classes_suffice_for_a_temperature_and_of_each_for_a_bias() -> None:
    labels = np.repeat([0, 1], 10)
    logits = np.random.default_rng(0).normal(size=(20, 2)) * 3
    assert fit_temperature(logits, labels) > 1.5  # the logits mean nothing
    assert any(fit_calibration(logits, labels).bias)
    third = np.append(logits, np.full((20, 1), -5.0), axis=1)
    assert fit_calibration(third, labels) == (fit_temperature(third, labels), (0, 0, 0))
    assert fit_temperature(third, labels) > 1.5


def test_random_logits_get_the_maximum_temperature() -> None:
    """Of equal logits, half belong to each class."""
    assert fit_temperature([[1.0, -1.0]] * 200, [0, 1] * 100) == pytest.approx(20, rel=1e-3)


@pytest.mark.parametrize(("size", "temperature"), [(200, 20), (7, 10.1), (1e5, 20)])
def test_large_logits_get_a_large_temperature(size: float, temperature: float) -> None:
    """A fifth is wrong: the probability of logits of ``size`` and ``-size`` is 0.8 at ``2 * size / log(4)``."""
    labels = np.arange(200) % 2
    logits = np.where(np.eye(2)[labels ^ (np.arange(200) % 10 < 2)], size, -size)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=1e-3)
    assert fit_calibration(logits, labels).temperature == pytest.approx(temperature, rel=1e-3)


def test_logits_that_separate_perfectly_keep_a_bounded_temperature() -> None:
    """Perfect separation would lead to a temperature of 0."""
    labels = np.repeat([0, 1], 20)
    logits = np.eye(2)[labels] * 5
    found = fit_calibration(logits, labels)
    assert 0.05 <= found.temperature <= 20
    assert np.isfinite(found.bias).all()
    assert 0.05 <= fit_temperature(logits, labels) <= 20


def test_shapes_that_do_not_fit_are_refused() -> None:
    """Each image needs logits and a label."""
    for logits in (np.zeros((3, 2)), np.zeros(2)):
        with pytest.raises(ValueError, match="each image needs logits and a label"):
            fit_temperature(logits, [0, 1])


def test_calibration_stored_in_a_bundle_is_applied() -> None:
    """Temperature first, then the bias."""
    config = ClassifierConfig(temperature=2.0, bias=(0.5, -0.5))
    np.testing.assert_allclose(calibrate_logits([[2.0, 4.0]], config), softmax([[1.5, 1.5]]))


def test_right_probabilities_have_an_error_of_chance() -> None:
    """It decreases with the number of images, and stays below the value that chance exceeds once in 20 times."""
    for count in (300, 30_000):
        logits, labels = drawn(2, count=count, seed=1)
        chances = softmax(logits)
        expected, high = calibration_error_by_chance(chances[:, 1])
        found = expected_calibration_error(chances[:, 1], labels == 1)
        assert found < high * 1.2
        assert expected < high
    assert found < 0.02


def test_wrong_probabilities_have_an_error_beyond_chance() -> None:
    """A probability of 0.9 for an outcome that occurs in 6 of 10 images has an error of 0.3."""
    chances = np.full(1000, 0.9)
    labels = np.arange(1000) % 10 < 6
    assert expected_calibration_error(chances, labels) == pytest.approx(0.3)
    assert calibration_error_by_chance(chances)[1] < 0.1


def test_the_error_by_chance_is_that_of_a_coin() -> None:
    """Of 1000 tosses in one bin: |K - 500| / 1000 is 0.0126 in the mean, and above 0.031 in 1 of 20 cases."""
    mean, high = calibration_error_by_chance(np.full(1000, 0.5), bins=1, rounds=5000)
    assert mean == pytest.approx(np.sqrt(0.25 / 1000 * 2 / np.pi), rel=0.03)
    assert high == pytest.approx(0.031, abs=0.0007)


def test_fifteen_bins_are_usual() -> None:
    logits, labels = drawn(2, count=200)
    chances = softmax(logits)[:, 1]
    assert expected_calibration_error(chances, labels) == expected_calibration_error(chances, labels, 15)
    assert calibration_error_by_chance(chances) == calibration_error_by_chance(chances, 15, rounds=200, seed=0)
    assert len({calibration_error_by_chance(chances, rounds=rounds) for rounds in (199, 200, 201)}) == 3
    assert len(reliability_curve(chances, labels == 1).count) == 10


def test_error_of_one_bin_is_counted_by_hand() -> None:
    """Two bins of two images: one positive at 0.1 and 0.3, two positives at 0.7 and 0.9."""
    assert expected_calibration_error([0.1, 0.9, 0.3, 0.7], [0, 1, 1, 1], bins=2) == pytest.approx((0.3 + 0.2) / 2)
    assert np.isnan(expected_calibration_error([], []))


FEW_VALUES = np.repeat([0.1, 0.3, 0.6, 0.9], 100)
TIES = [  # probabilities, labels that are sorted by class, and the true error
    ("right", FEW_VALUES, np.concatenate([np.arange(100) < 100 * value for value in (0.1, 0.3, 0.6, 0.9)]), 0.0),
    ("one value", np.full(300, 0.5), np.arange(300) < 120, 0.1),
    ("one value of many", np.r_[np.full(300, 0.5), np.linspace(0, 0.4, 40)], np.arange(340) < 150, None),
]


@pytest.mark.parametrize(("name", "chances", "labels", "error"), TIES, ids=[case[0] for case in TIES])
def test_images_of_equal_probability_share_a_bin(
    name: str, chances: np.ndarray, labels: np.ndarray, error: float | None
) -> None:
    """So that neither the error nor the curve depends on the order of the images."""
    order = np.argsort(labels, kind="stable")
    expected = expected_calibration_error(chances[order], labels[order])
    assert error is None or expected == pytest.approx(error)
    curve = reliability_curve(chances[order], labels[order])
    assert curve.count.sum() == len(chances)
    assert len(curve.count) >= min(len(np.unique(chances)), 2)
    for seed in range(5):
        mixed = np.random.default_rng(seed).permutation(len(chances))
        assert expected_calibration_error(chances[mixed], labels[mixed]) == pytest.approx(expected)
        found = reliability_curve(chances[mixed], labels[mixed])
        assert found.count.tolist() == curve.count.tolist()
        assert found.observed == pytest.approx(curve.observed)


def test_a_frequent_value_has_a_bin_of_its_own() -> None:
    """The others are not added to it: 40 images below it, and 40 above."""
    chances = np.r_[np.linspace(0, 0.4, 40), np.full(320, 0.5), np.linspace(0.6, 1, 40)]
    assert reliability_curve(chances, chances > 0.5).count.tolist() == [40, 320, 40]


def test_reliability_of_right_probabilities_holds_the_diagonal() -> None:
    """About 19 of 20 intervals contain the prediction; bins are ascending and have equal numbers of images."""
    logits, labels = drawn(2, count=4000, seed=2)
    points = reliability_curve(softmax(logits)[:, 1], labels == 1, bins=20)
    assert np.mean((points.low <= points.predicted) & (points.predicted <= points.high)) >= 0.85
    assert (np.diff(points.predicted) > 0).all()
    assert set(points.count) == {200}


def test_reliability_by_hand() -> None:
    points = reliability_curve([0.1, 0.9, 0.3, 0.7], [False, True, True, True], bins=2)
    assert points.predicted == pytest.approx(np.array([0.2, 0.8]))
    assert points.observed.tolist() == [0.5, 1.0]
    assert (points.low, points.high) == tuple(pytest.approx(end) for end in wilson_interval([1, 2], [2, 2]))


def test_more_bins_than_images_are_no_empty_bins() -> None:
    """Three images have at most three bins."""
    points = reliability_curve([0.2, 0.5, 0.8], [False, True, True], bins=10)
    assert points.count.tolist() == [1, 1, 1]
    assert points.observed.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("found", "count", "low", "high"),
    [
        (0, 10, 0, 0.2775),
        (10, 10, 0.7225, 1),
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_of_known_shares(found: int, count: int, low: float, high: float) -> None:
    """Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<857, method 3."""
    ends = wilson_interval(found, count)
    assert (float(ends[0]), float(ends[1])) == pytest.approx((low, high), abs=6e-5)

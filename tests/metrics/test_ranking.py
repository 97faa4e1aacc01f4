"""Areas and decision thresholds are those of scikit-learn; intervals contain the known value of simulated patients."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from napari_melanoma.metrics.roc_curves import (
    ResampledScores,
    choose_decision_threshold,
    choose_operating_point,
)
from napari_melanoma.metrics.statistics import Estimate, bootstrap_statistic, weighted_mean


def drawn(count: int = 300, ties: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Informative scores."""
    random = np.random.default_rng(seed)
    labels = random.random(count) < 0.3
    scores = random.normal(size=count) + labels
    return (np.round(2 * scores) if ties else scores), labels


def area(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None, rounds: int = 300) -> Estimate:
    """The area with its interval; by default, images are independent."""
    of = np.arange(len(scores)) if groups is None else groups
    return bootstrap_statistic(
        lambda weights: ResampledScores(scores, labels.astype(bool), weights).auc(), of, rounds=rounds, bounds=(0, 1)
    )


IMAGES = st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.integers(1, 3)), min_size=2, max_size=30)


@settings(max_examples=30)
@given(IMAGES.filter(lambda images: len({label for _, label, _ in images}) == 2))
def test_areas_are_those_of_scikit_learn(images: list[tuple[int, bool, int]]) -> None:
    """With ties and with weights; undefined for a draw without one of the classes."""
    scores, labels, times = (np.array(column) for column in zip(*images, strict=True))
    weights = np.stack([np.ones(len(times)), times, labels * times])
    found = ResampledScores(scores.astype(float), labels, weights)
    for row, area, precision in zip(weights[:2], found.auc(), found.average_precision(), strict=False):
        assert area == pytest.approx(metrics.roc_auc_score(labels, scores, sample_weight=row), abs=1e-12)
        expected = metrics.average_precision_score(labels, scores, sample_weight=row)
        assert precision == pytest.approx(expected, abs=1e-12)
    assert np.isnan(found.auc()[2])
    assert np.isnan(ResampledScores(scores.astype(float), ~labels, weights[2:]).average_precision()[0])


def test_an_interval_of_patients_is_wider_than_one_of_their_images() -> None:
    """Five equal images of each patient carry no more information than one."""
    scores, labels = drawn(100)
    patients = np.tile(np.arange(100), 5)
    by_image = area(np.tile(scores, 5), np.tile(labels, 5))
    by_patient = area(np.tile(scores, 5), np.tile(labels, 5), patients)
    once = area(scores, labels)
    assert by_patient.high - by_patient.low == pytest.approx(once.high - once.low, rel=0.15)
    assert by_image.high - by_image.low < 0.6 * (once.high - once.low)


@pytest.mark.slow
def test_an_interval_holds_the_truth() -> None:
    """The AUC of two normal distributions at a distance of 1 is 0.7602; 19 of 20 intervals contain it."""
    held = []
    for seed in range(60):
        found = area(*drawn(200, seed=seed), rounds=200)
        held.append(found.low <= 0.7602 <= found.high)
    assert np.mean(held) >= 0.88


CUTS = [(0.9, 2.0), (1.0, 1.0), (0.5, 6.0), (0.01, 10.0)]


@pytest.mark.parametrize(("sensitivity", "expected"), CUTS)
def test_threshold_reaches_the_requested_sensitivity(sensitivity: float, expected: float) -> None:
    """Positives have the scores 1 to 10; rounding errors do not add one."""
    scores = np.concatenate([np.arange(1.0, 11), np.full(20, 5.5)])
    labels = np.arange(30) < 10
    cut = choose_decision_threshold(scores, labels, sensitivity)
    assert cut == expected
    assert (scores[labels] >= cut).mean() >= sensitivity


def test_an_operating_point_has_sensitivity_and_specificity() -> None:
    """Its sensitivity is at least the given one; images of one class have no operating point."""
    scores, labels = drawn()
    chances = 1 / (1 + np.exp(-scores))
    point = choose_operating_point(chances, labels, 0.9)
    assert point.sensitivity == pytest.approx((chances[labels] >= point.threshold).mean())
    assert point.specificity == pytest.approx((chances[~labels] < point.threshold).mean())
    assert 0.9 <= point.sensitivity < 0.93
    assert point.specificity_interval[0] < point.specificity < point.specificity_interval[1]
    with pytest.raises(ValueError, match="both classes"):
        choose_operating_point(chances[labels], labels[labels], 0.9)
    with pytest.raises(ValueError, match="positive"):
        choose_decision_threshold([0.1], [0], 0.9)


def test_an_area_needs_an_image() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        area(np.array([]), np.array([]))


def test_one_patient_gives_no_interval() -> None:
    """The same if most rounds contain one class only."""
    scores, labels = drawn(20)
    assert not area(scores, labels, np.zeros(20)).has_interval
    assert not area(np.array([0.1, 0.9]), np.array([0, 1]), rounds=40).has_interval


def test_a_mean_has_the_interval_that_means_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a mean, the result is that of the bootstrap of means; many groups get the normal interval."""
    from napari_melanoma.metrics.statistics import bootstrap_mean

    values = np.random.default_rng(0).random(80)
    groups = np.arange(80) // 2
    found = bootstrap_statistic(partial(weighted_mean, values), groups)
    expected = bootstrap_mean(values, groups)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    monkeypatch.setattr("napari_melanoma.metrics.statistics.MAX_BOOTSTRAP_GROUPS", 10)
    normal = bootstrap_statistic(partial(weighted_mean, values), groups)
    assert (normal.low, normal.high) == pytest.approx((expected.low, expected.high), abs=0.02)

"""DeLong's test against its definition by pairs of images, scikit-learn, and repeated samples without a difference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics

from napari_melanoma.metrics.delong import compare_aucs


def scores(count: int, seed: int, digits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.random(count) < 0.4
    shared = random.normal(size=count)
    first, second = (np.round(labels + shared + random.normal(size=count), digits) for _ in range(2))
    return first, second, labels


def by_pairs(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Difference and its variance, from equations 3 to 5 of DeLong et al. 1988."""
    positives, others = [], []
    for values in (first, second):
        x, y = values[labels], values[~labels]
        psi = np.array([[(a > b) + (a == b) / 2 for b in y] for a in x])
        positives.append(psi.mean(axis=1))
        others.append(psi.mean(axis=0))
    covariance = np.cov(positives) / len(positives[0]) + np.cov(others) / len(others[0])
    change = np.array([-1, 1])
    return float(positives[1].mean() - positives[0].mean()), float(change @ covariance @ change)


@pytest.mark.parametrize(("count", "digits"), [(25, 6), (60, 0), (200, 1)])
def test_it_is_the_test_of_delong_and_colleagues(count: int, digits: int) -> None:
    """With and without ties."""
    first, second, labels = scores(count, count, digits)
    found = compare_aucs(first, second, labels)
    difference, variance = by_pairs(first, second, labels)
    assert found.first == pytest.approx(metrics.roc_auc_score(labels, first))
    assert found.second == pytest.approx(metrics.roc_auc_score(labels, second))
    assert found.difference == pytest.approx(difference)
    assert found.p == pytest.approx(2 * norm.sf(abs(difference) / np.sqrt(variance)))
    assert found.high - found.low == pytest.approx(2 * 1.959964 * np.sqrt(variance))


def test_repeated_images_of_a_patient_add_no_certainty() -> None:
    first, second, labels = scores(80, 3, 6)
    once = compare_aucs(first, second, labels)
    patients = np.tile(np.arange(80), 4)
    repeated = compare_aucs(np.tile(first, 4), np.tile(second, 4), np.tile(labels, 4), patients)
    assert repeated == pytest.approx(once)
    assert compare_aucs(np.tile(first, 4), np.tile(second, 4), np.tile(labels, 4)).p < once.p


def test_equal_models_differ_by_chance_in_one_of_twenty_samples() -> None:
    p_values = [compare_aucs(*scores(120, seed, 6)).p for seed in range(400)]
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.08


def test_the_same_model_has_no_difference() -> None:
    first, _, labels = scores(30, 0, 6)
    assert compare_aucs(first, first, labels)[2:] == (0, 0, 0, 1)


def test_it_needs_images_of_both_classes() -> None:
    with pytest.raises(ValueError, match="two positive images and two others"):
        compare_aucs([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [True, False, False])

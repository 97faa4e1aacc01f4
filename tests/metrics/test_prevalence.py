"""Adjustment of probabilities to another prevalence: the published formulas, and Bayes' rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_melanoma.metrics.prevalence import adjust_to_prevalence, correct_prevalence


def test_elkans_theorem_for_two_classes() -> None:
    p, b, new = 0.3, 0.5, 0.1  # Elkan 2001, theorem 2
    expected = new * (p - p * b) / (b - p * b + new * p - b * new)
    assert correct_prevalence([1 - p, p], [1 - b, b], [1 - new, new])[1] == pytest.approx(expected)
    assert adjust_to_prevalence(np.array([1 - p, p]), 1, b, new)[1] == pytest.approx(expected)


SHARES = st.lists(st.floats(0.01, 1), min_size=3, max_size=3)


@given(SHARES, SHARES, SHARES)
def test_adjustment_and_its_inverse(probability: list[float], trained: list[float], stated: list[float]) -> None:
    moved = correct_prevalence(np.array([probability]) / np.sum(probability), trained, stated)
    assert moved.sum() == pytest.approx(1)
    np.testing.assert_allclose(correct_prevalence(moved, stated, trained)[0], probability / np.sum(probability))


def test_posterior_of_another_prevalence() -> None:
    likelihood = np.random.default_rng(0).random((50, 3)) + 0.01
    before, after = np.array([0.2, 0.3, 0.5]), np.array([0.7, 0.2, 0.1])
    posterior = [likelihood * shares / (likelihood * shares).sum(axis=1, keepdims=True) for shares in (before, after)]
    np.testing.assert_allclose(correct_prevalence(posterior[0], before, after), posterior[1])


@pytest.mark.parametrize("shares", [[0.5], [0.5, 0.0], [0.5, -1], [0.5, np.nan]])
def test_invalid_shares(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="expected 2 class shares above 0"):
        correct_prevalence([0.5, 0.5], shares, [0.5, 0.5])


def test_other_classes_keep_their_relative_shares() -> None:
    found = adjust_to_prevalence(np.array([0.1, 0.3, 0.6]), 2, 0.5, 0.2)
    assert found.sum() == pytest.approx(1)
    assert found[1] / found[0] == pytest.approx(3)
    assert found[2] / found[:2].sum() == pytest.approx(0.6 / 0.4 * 0.25)

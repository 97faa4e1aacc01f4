"""From tiles to a slide, and from one prevalence to another: cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_melanoma.slides.scores import (
    SlideScoreConfig,
    class_weights,
    correct_prevalence,
    effective_shares,
    estimate_prevalence,
    score_slide,
)

TILES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [np.nan, np.nan]])
CASES = [
    ("mean", SlideScoreConfig(), None, 1.3 / 3, [1 / 3, 1 / 3, 1 / 3, 0]),
    ("mean by tissue", SlideScoreConfig(), [1, 0.5, 0.5, 1], 0.35, [0.5, 0.25, 0.25, 0]),
    ("maximum", SlideScoreConfig(method="maximum"), None, 0.8, [0, 1, 0, 0]),
    ("maximum where there is tissue", SlideScoreConfig(method="maximum"), [1, 0, 1, 1], 0.4, [0, 0, 1, 0]),
    ("top two", SlideScoreConfig(method="top_k", top_k=2), None, 0.6, [0, 0.5, 0.5, 0]),
    ("top of more than there are", SlideScoreConfig(method="top_k", top_k=9), None, 1.3 / 3, [1 / 3, 1 / 3, 1 / 3, 0]),
    ("top of another class", SlideScoreConfig(method="maximum", positive=0), None, 0.1, [1, 0, 0, 0]),
]


@pytest.mark.parametrize(("name", "config", "shares", "expected", "weights"), CASES, ids=[case[0] for case in CASES])
def test_scores(
    name: str, config: SlideScoreConfig, shares: list[float] | None, expected: float, weights: list[float]
) -> None:
    score = score_slide(TILES, config, shares)
    assert score.probability[1] == pytest.approx(expected), name
    assert score.probability.sum() == pytest.approx(1)
    np.testing.assert_allclose(score.weights, weights)


@pytest.mark.parametrize("tiles", [np.empty((0, 2)), np.full((3, 2), np.nan)])
def test_no_tile_no_score(tiles: np.ndarray) -> None:
    score = score_slide(tiles, SlideScoreConfig())
    assert np.isnan(score.probability).all()
    assert not score.weights.any()


def test_given_shares_are_left_alone() -> None:
    shares = np.ones(4)
    score_slide(TILES, SlideScoreConfig(), shares)
    assert shares.tolist() == [1, 1, 1, 1]


def test_elkans_theorem_for_two_classes() -> None:
    p, b, new = 0.3, 0.5, 0.1  # Elkan 2001, theorem 2
    expected = new * (p - p * b) / (b - p * b + new * p - b * new)
    assert correct_prevalence([1 - p, p], [1 - b, b], [1 - new, new])[1] == pytest.approx(expected)


SHARES = st.lists(st.floats(0.01, 1), min_size=3, max_size=3)


@given(SHARES, SHARES, SHARES)
def test_there_and_back(probability: list[float], trained: list[float], stated: list[float]) -> None:
    moved = correct_prevalence(np.array([probability]) / np.sum(probability), trained, stated)
    assert moved.sum() == pytest.approx(1)
    np.testing.assert_allclose(correct_prevalence(moved, stated, trained)[0], probability / np.sum(probability))


def test_the_posterior_under_another_prevalence_is_met() -> None:
    likelihood = np.random.default_rng(0).random((50, 3)) + 0.01
    before, after = np.array([0.2, 0.3, 0.5]), np.array([0.7, 0.2, 0.1])
    posterior = [likelihood * shares / (likelihood * shares).sum(axis=1, keepdims=True) for shares in (before, after)]
    np.testing.assert_allclose(correct_prevalence(posterior[0], before, after), posterior[1])


def test_a_prevalence_is_estimated_from_unlabelled_cases() -> None:
    rng = np.random.default_rng(3)
    positive = rng.random(20_000) < 0.05
    x = rng.normal(np.where(positive, 1.5, -0.5), 1)
    odds = np.exp(-((x - 1.5) ** 2) / 2 + (x + 0.5) ** 2 / 2)  # as learnt from as many of both
    probability = np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)
    assert probability[:, 1].mean() > 0.12
    assert estimate_prevalence(probability, [0.5, 0.5])[1] == pytest.approx(0.05, abs=0.01)


def test_cases_without_doubt_keep_their_shares() -> None:
    np.testing.assert_allclose(estimate_prevalence(np.eye(2)[[0, 0, 0, 1]], [0.5, 0.5]), [0.75, 0.25])


@pytest.mark.parametrize("shares", [[0.5], [0.5, 0.0], [0.5, -1], [0.5, np.nan]])
def test_shares_that_are_none_are_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="expected 2 class shares above 0"):
        correct_prevalence([0.5, 0.5], shares, [0.5, 0.5])


def test_no_case_has_no_prevalence() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        estimate_prevalence(np.empty((0, 2)), [0.5, 0.5])


def test_weights_of_classes() -> None:
    np.testing.assert_allclose(class_weights([90, 10], "none"), [1, 1])
    np.testing.assert_allclose(class_weights([90, 10], "balanced"), [100 / 180, 5])
    np.testing.assert_allclose(class_weights([90, 10], "root"), [10 / (3 * (3 + 1)), 10 / (3 + 1)])
    effective = class_weights([90_000, 10], "effective")
    assert effective[1] / effective[0] == pytest.approx(1 / (1 - 0.999**10))


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=5), st.sampled_from(["balanced", "root", "effective"]))
def test_a_case_weighs_one_in_the_mean(counts: list[int], method: str) -> None:
    weights = class_weights(counts, method)
    assert (weights * counts).sum() == pytest.approx(sum(counts))
    shares = effective_shares(counts, weights)
    assert shares.sum() == pytest.approx(1)
    if method == "balanced":
        np.testing.assert_allclose(shares, 1 / len(counts))


def test_a_class_without_a_case_has_no_weight() -> None:
    with pytest.raises(ValueError, match="at least one case of each class"):
        class_weights([3, 0])

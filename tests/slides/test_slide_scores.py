"""From tiles to a slide, and from one prevalence to another: cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_melanoma.slides.scores import (
    SlideScoreConfig,
    correct_prevalence,
    score_slide,
)

TILES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [np.nan, np.nan]])
CASES = [
    ("mean", SlideScoreConfig(method="mean"), None, 1.3 / 3, [1 / 3, 1 / 3, 1 / 3, 0]),
    ("mean by tissue", SlideScoreConfig(method="mean"), [1, 0.5, 0.5, 1], 0.35, [0.5, 0.25, 0.25, 0]),
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


@pytest.mark.parametrize("shares", [[0.5], [0.5, 0.0], [0.5, -1], [0.5, np.nan]])
def test_shares_that_are_none_are_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="expected 2 class shares above 0"):
        correct_prevalence([0.5, 0.5], shares, [0.5, 0.5])

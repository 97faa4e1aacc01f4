"""The distance from the training cases is large for other images; the nearest cases are found."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.metrics.out_of_distribution import MahalanobisDetector, choose_distance_threshold


def embeddings(count: int, width: int = 40, seed: int = 0) -> np.ndarray:
    """Correlated features with a mean, like those of a network."""
    mixing = np.random.default_rng(99).normal(size=(width, width))
    return np.random.default_rng(seed).normal(size=(count, width)) @ mixing + 3.0


def test_distance_is_that_of_mahalanobis_with_the_covariance_of_ledoit_and_wolf() -> None:
    """As computed by scikit-learn, divided by the square root of the number of features."""
    from sklearn.covariance import LedoitWolf

    known, requested = embeddings(60), embeddings(30, seed=1)
    expected = np.sqrt(LedoitWolf().fit(known).mahalanobis(requested) / 40)
    np.testing.assert_allclose(MahalanobisDetector.fit(known).distance(requested), expected, rtol=1e-3)


def test_novelty_limit_separates_other_images_from_similar_ones() -> None:
    """About one of a hundred similar images is out of distribution, and nearly all with another covariance."""
    novelty = MahalanobisDetector.fit(embeddings(800))
    limit = choose_distance_threshold(novelty.distance(embeddings(1000, seed=1)))
    assert np.mean(novelty.distance(embeddings(2000, seed=2)) > limit) == pytest.approx(0.01, abs=0.015)
    others = np.random.default_rng(3).normal(size=(200, 40)) * 8
    assert np.mean(novelty.distance(others) > limit) > 0.95
    assert np.mean(novelty.distance(embeddings(100, seed=1))) == pytest.approx(1, abs=0.1)


def test_directions_of_small_variance_have_the_largest_weight() -> None:
    """A deviation counts more along directions in which the training cases vary little."""
    known = np.random.default_rng(0).normal(size=(2000, 5)) * [0.05, 1, 1, 1, 1]
    odd, usual = MahalanobisDetector.fit(known).distance([[1.0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0]])
    assert odd > 5 * usual


@pytest.mark.parametrize("known", [np.ones((5, 4)), np.arange(8.0).reshape(2, 4)], ids=["all alike", "two"])
def test_few_or_equal_cases_still_give_distances(known: np.ndarray) -> None:
    """They are finite."""
    assert np.isfinite(MahalanobisDetector.fit(known).distance(np.zeros((3, 4)))).all()


def test_one_case_is_no_spread() -> None:
    """The error states the number required."""
    with pytest.raises(ValueError, match="at least 2 training cases for a distance, found 1"):
        MahalanobisDetector.fit(np.ones((1, 4)))
    with pytest.raises(ValueError, match="at least one calibration case"):
        choose_distance_threshold([])


def test_the_threshold_is_a_distance_that_was_measured() -> None:
    """By default the smallest distance that at least 99 of 100 cases do not exceed; never 0."""
    assert choose_distance_threshold(np.arange(1001.0)) == 990
    assert choose_distance_threshold(np.arange(5.0), 0.6) == 3
    assert 0 < choose_distance_threshold(np.zeros(5)) < 1e-9


def test_nearest_cases_are_those_that_are_nearest() -> None:
    """A training case is nearest to itself, the others follow by their cosine distance relative to the mean."""
    known = embeddings(50)
    requested = np.concatenate([known[7:8], embeddings(3, seed=5)])
    found = MahalanobisDetector.fit(known.astype(np.float16)).find_nearest(requested, 5)
    away, others = requested - known.mean(axis=0), known - known.mean(axis=0)
    cosine = 1 - away @ others.T / np.linalg.norm(away, axis=1)[:, None] / np.linalg.norm(others, axis=1)
    np.testing.assert_array_equal(found.indices, np.argsort(cosine, axis=1)[:, :5])
    np.testing.assert_allclose(found.distances, np.sort(cosine, axis=1)[:, :5], atol=2e-3)
    assert found.indices[0, 0] == 7


def test_fewer_cases_are_the_first_of_more() -> None:
    novelty, requested = MahalanobisDetector.fit(embeddings(300)), embeddings(20, seed=1)
    every = novelty.find_nearest(requested, 300).distances
    assert (np.diff(every, axis=1) >= 0).all()
    for count in (1, 2, 5, 20):
        np.testing.assert_array_equal(novelty.find_nearest(requested, count).distances, every[:, :count])


def test_cosine_distances_are_from_0_to_2() -> None:
    """Of the same and of the opposite direction, also where rounding leads beyond."""
    half = embeddings(50)
    known = np.concatenate([half, -half])
    distances = MahalanobisDetector.fit(known).find_nearest(known, 100).distances
    assert (distances.min(), distances.max()) == (0, 2)


def test_too_large_a_sample_returns_all_cases() -> None:
    """No image has no neighbors."""
    novelty = MahalanobisDetector.fit(embeddings(3))
    assert novelty.find_nearest(embeddings(2), 10).indices.shape == (2, 3)
    assert novelty.find_nearest(np.zeros((0, 40)), 2).distances.shape == (0, 2)


def test_many_images_are_predicted_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is the same."""
    novelty, requested = MahalanobisDetector.fit(embeddings(50)), embeddings(20, seed=1)
    whole = novelty.find_nearest(requested, 3)
    monkeypatch.setattr("napari_melanoma.metrics.out_of_distribution.MAX_VALUES_AT_ONCE", 100)
    np.testing.assert_array_equal(novelty.find_nearest(requested, 3).indices, whole.indices)

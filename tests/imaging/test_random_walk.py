"""Random walks with closed-form or dense solutions."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.imaging.scribbles import edge_weights, random_walk


def ones(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Equal weights everywhere."""
    return np.ones((rows - 1, columns), np.float32), np.ones((rows, columns - 1), np.float32)


def test_between_two_seeds_the_probability_falls_evenly() -> None:
    prior, strength = np.zeros((1, 11), np.float32), np.full((1, 11), 1e-7, np.float32)
    prior[0, 0] = 1
    strength[0, [0, -1]] = 1e6
    np.testing.assert_allclose(random_walk(*ones(1, 11), prior, strength)[0], np.linspace(1, 0, 11), atol=1e-3)


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
def test_it_minimises_the_energy(rows: int, columns: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    down = random.uniform(0.1, 1, (rows - 1, columns)).astype(np.float32)
    right = random.uniform(0.1, 1, (rows, columns - 1)).astype(np.float32)
    prior = random.random((rows, columns), dtype=np.float32)
    strength = random.uniform(0.01, 2, (rows, columns)).astype(np.float32)

    def energy(x: np.ndarray) -> float:
        steps = (down * np.diff(x, axis=0) ** 2).sum() + (right * np.diff(x, axis=1) ** 2).sum()
        return float(steps + (strength * (x - prior) ** 2).sum())

    found = random_walk(down, right, prior, strength).astype(float)
    best = energy(found)
    assert all(energy(found + random.normal(0, 0.01, found.shape)) >= best - 1e-9 for _ in range(5))


def test_an_edge_is_hard_to_cross_and_noise_is_not() -> None:
    features = np.zeros((10, 10, 3), np.float32)
    features[:, 5:] = 30
    features += np.random.default_rng(0).normal(0, 0.3, features.shape)
    down, right = edge_weights(features)
    assert right[:, 4].max() < 0.01
    assert min(down.min(), np.delete(right, 4, axis=1).min()) > 0.9

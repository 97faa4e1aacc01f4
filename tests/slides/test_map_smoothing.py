"""Smoothing of class maps."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.slides.maps import smooth_map


def checkered(shape: tuple[int, int] = (9, 12)) -> np.ndarray:
    first = np.random.default_rng(0).random(shape)
    return np.stack([first, 1 - first])


def test_a_single_cell_takes_the_class_of_its_neighbors() -> None:
    probability = np.zeros((2, 7, 7))
    probability[0], probability[1, 3, 3] = 1, 1
    probability[0, 3, 3] = 0
    smoothed = smooth_map(probability, 1.0)
    assert smoothed.dtype == np.float32
    assert (smoothed.argmax(axis=0) == 0).all()
    assert smoothed[1, 3, 3] == pytest.approx(1 / (2 * np.pi), rel=0.02)  # the weight of the center of a Gaussian


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_probabilities_stay_probabilities_and_unknown_cells_unknown(sigma: float) -> None:
    probability = checkered()
    probability[:, 2:4, 5:] = np.nan
    smoothed = smooth_map(probability, sigma)
    known = np.isfinite(probability[0])
    np.testing.assert_array_equal(np.isfinite(smoothed[0]), known)
    np.testing.assert_allclose(smoothed.sum(axis=0)[known], 1, atol=1e-5)
    constant = np.where(np.isfinite(probability), 0.5, np.nan)
    np.testing.assert_allclose(smooth_map(constant, sigma)[:, known], 0.5, atol=1e-6)  # also next to unknown cells


def test_without_smoothing_nothing_changes() -> None:
    np.testing.assert_array_equal(smooth_map(checkered(), 0), checkered().astype(np.float32))


def test_smoothing_is_the_same_in_all_directions() -> None:
    probability = checkered()
    np.testing.assert_allclose(smooth_map(probability[:, ::-1], 1.5)[:, ::-1], smooth_map(probability, 1.5), atol=1e-6)
    np.testing.assert_allclose(
        smooth_map(probability.swapaxes(1, 2), 1.5).swapaxes(1, 2), smooth_map(probability, 1.5), atol=1e-6
    )

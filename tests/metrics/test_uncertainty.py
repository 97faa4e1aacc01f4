"""Uncertainty of a segmentation: what it depends on, and what it must not depend on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_melanoma.imaging.postprocessing import RefinementConfig
from napari_melanoma.metrics.mask_uncertainty import mask_disagreement, mean_entropy, uncertain_band


def disc(side: int, radius: float, blur: float) -> np.ndarray:
    """A lesion whose border fades over ``blur`` pixels, as a logistic curve."""
    rows, columns = np.indices((side, side)) - (side - 1) / 2
    return (1 / (1 + np.exp((np.hypot(rows, columns) - radius) / blur))).astype(np.float32)


@dataclass(frozen=True)
class Case:
    name: str
    probability: np.ndarray
    expected: float


CASES = [
    Case("sure of every pixel", np.eye(8, dtype=np.float32), 0.0),
    Case("half for every pixel: 1 bit for half a pixel", np.full((5, 6), 0.5, np.float32), 2 / 3),
    Case("a quarter: 0.811 bits for a quarter of a pixel", np.full((5, 6), 0.25, np.float32), 0.811278 / 1.061278),
    Case("nothing at all", np.zeros((5, 6), np.float32), 1.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_entropy(case: Case) -> None:
    assert mean_entropy(case.probability) == pytest.approx(case.expected, abs=1e-6)


def test_neither_a_large_image_nor_a_large_lesion_wins() -> None:
    lesion = disc(101, 25, 1.5)
    assert mean_entropy(np.kron(lesion, np.ones((3, 3), np.float32))) == pytest.approx(mean_entropy(lesion), rel=1e-6)
    assert mean_entropy(np.pad(lesion, 300)) == pytest.approx(mean_entropy(lesion), rel=1e-6)
    assert mean_entropy(disc(202, 50, 3.0)) == pytest.approx(mean_entropy(lesion), rel=0.02)
    assert mean_entropy(disc(202, 60, 1.5)) < mean_entropy(lesion)


def test_uncertainty_of_blurred_borders_and_empty_masks() -> None:
    scores = [mean_entropy(disc(101, 25, blur)) for blur in (0.5, 1, 2, 4, 8)]
    faint = [mean_entropy(np.full((64, 64), p, np.float32)) for p in (0.1, 0.01, 1e-4)]
    assert scores == sorted(scores)
    assert faint == sorted(faint)
    assert max(scores) < min(faint)


@settings(max_examples=30)
@given(arrays(np.float32, (6, 7), elements=st.floats(0, 1, width=32)))
def test_entropy_is_a_share(probability: np.ndarray) -> None:
    assert 0.0 <= mean_entropy(probability) <= 1.0


def half(rows: slice) -> np.ndarray:
    mask = np.zeros((8, 8), bool)
    mask[rows] = True
    return mask


EMPTY = half(slice(0))
PAIRS = [
    ("all equal", [half(slice(4))] * 8, 0.0),
    ("nothing in common", [half(slice(4)), half(slice(4, 8))], 1.0),
    ("half in common", [half(slice(4)), half(slice(2, 4))], 0.5),
    ("the mean of three pairs", [half(slice(4)), half(slice(2, 4)), half(slice(4, 8))], 1 - 0.5 / 3),
    ("one pixel in common", [np.eye(1, 64, dtype=bool)] * 2, 0.0),
    ("nothing found", [EMPTY] * 8, 1.0),
    ("nothing found but once", [EMPTY, EMPTY, half(slice(4))], 1.0),
]


@pytest.mark.parametrize(("masks", "expected"), [pair[1:] for pair in PAIRS], ids=[pair[0] for pair in PAIRS])
def test_disagreement(masks: list[np.ndarray], expected: float) -> None:
    assert mask_disagreement(masks) == pytest.approx(expected)
    assert mask_disagreement(masks[::-1]) == pytest.approx(expected)


@settings(max_examples=30)
@given(arrays(bool, (3, 5, 4)), st.randoms())
def test_disagreement_is_a_share_independent_of_order(masks: np.ndarray, random) -> None:
    shuffled = random.sample(list(masks), 3)
    assert 0.0 <= mask_disagreement(list(masks)) <= 1.0
    assert mask_disagreement(shuffled) == pytest.approx(mask_disagreement(list(masks)), abs=1e-12)


BELT = RefinementConfig(smoothing=0.0)


def answers(*lows_and_highs: tuple[slice, float, float]) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.zeros((2, 1, 20), np.float32)
    for where, least, most in lows_and_highs:
        low[:, where], high[:, where] = least, most
    return low, high


def test_the_band_is_where_the_masks_disagree() -> None:
    low, high = answers((slice(4, 6), 0.2, 0.7), (slice(6, 10), 0.8, 0.9), (slice(10, 13), 0.4, 0.6))
    band = uncertain_band(low, high, 0.5, low >= 0.5, BELT)
    assert np.flatnonzero(band).tolist() == [4, 5, 10, 11, 12]
    assert np.flatnonzero(uncertain_band(low, high, 0.65, low >= 0.65, BELT)).tolist() == [4, 5]


def test_a_probability_at_the_threshold_is_lesion() -> None:
    low, high = answers((slice(4, 6), 0.2, 0.5), (slice(6, 10), 0.5, 0.9))
    assert np.flatnonzero(uncertain_band(low, high, 0.5, low >= 0.5, BELT)).tolist() == [4, 5]


def test_another_lesion_has_no_part_in_the_band_of_the_one_that_is_kept() -> None:
    low, high = answers((slice(3, 6), 0.9, 0.9), (slice(6, 8), 0.1, 0.9), (slice(14, 16), 0.1, 0.9))
    mask = low >= 0.5
    assert np.flatnonzero(uncertain_band(low, high, 0.5, mask, BELT)).tolist() == [6, 7]
    every = BELT.model_copy(update={"largest_only": False})
    assert np.flatnonzero(uncertain_band(low, high, 0.5, mask, every)).tolist() == [6, 7, 14, 15]


def test_the_band_without_a_mask_covers_all_detections() -> None:
    low, high = answers((slice(14, 16), 0.1, 0.9))
    nothing = np.zeros((1, 20), bool)
    assert np.flatnonzero(uncertain_band(low, high, 0.5, nothing, BELT)).tolist() == [14, 15]


def test_a_hole_that_is_filled_is_no_band() -> None:
    low, high = np.zeros((2, 9, 9), np.float32)
    low[2:7, 2:7] = high[2:7, 2:7] = 0.9
    low[4, 4] = 0.1
    assert not uncertain_band(low, high, 0.5, high >= 0.5, BELT).any()
    unfilled = BELT.model_copy(update={"fill_holes": False})
    assert np.argwhere(uncertain_band(low, high, 0.5, high >= 0.5, unfilled)).tolist() == [[4, 4]]

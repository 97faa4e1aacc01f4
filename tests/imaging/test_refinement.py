"""Selecting, filling and smoothing masks, on shapes with known results."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from napari_melanoma.imaging.postprocessing import RefinementConfig, refine_mask, smooth_probability

SHAPE = (60, 80)
BIG, RING, SMALL, SPECK = "big", "ring", "small", "speck"


def drawn(*names: str) -> np.ndarray:
    """A mask with the named lesions; the ring has fewer pixels than ``big``, yet is the largest once filled."""
    mask = np.zeros(SHAPE, bool)
    if BIG in names:
        mask[5:25, 5:25] = True
    if RING in names:
        mask[30:55, 30:55] = True
        mask[32:53, 32:53] = False
    if SMALL in names:
        mask[5:15, 60:70] = True
    if SPECK in names:
        mask[50, 10] = True
    return mask


def whole_ring() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[30:55, 30:55] = True
    return mask


ALL = drawn(BIG, RING, SMALL, SPECK)


@dataclass(frozen=True)
class Case:
    name: str
    expected: np.ndarray
    options: dict[str, object] = field(default_factory=dict)
    chosen: tuple[int, int] | None = None


CASES = [
    Case("the largest is the one of the largest filled area", whole_ring()),
    Case("unfilled, the ring stays a ring", drawn(RING), {"fill_holes": False}),
    Case("several: all but the speck", drawn(BIG, SMALL) | whole_ring(), {"largest_only": False}),
    Case("several, unfilled", drawn(BIG, SMALL, RING), {"largest_only": False, "fill_holes": False}),
    Case(
        "several, specks too",
        drawn(BIG, SMALL, SPECK) | whole_ring(),
        {"largest_only": False, "min_area_fraction": 0.0},
    ),
    Case("a click on a lesion", drawn(SMALL), chosen=(10, 65)),
    Case("a click into the hole of one", whole_ring(), chosen=(42, 42)),
    Case("a click on the skin takes the nearest", drawn(BIG), chosen=(10, 30)),
    Case("a click beside a speck takes the nearest lesion", whole_ring(), chosen=(48, 10)),
    Case("a click on a speck takes it", drawn(SPECK), chosen=(50, 10)),
    Case("a click outside the photograph takes the nearest", drawn(SMALL), chosen=(-5, 200)),
    Case("a click where several are kept changes nothing", drawn(BIG, SMALL) | whole_ring(), {"largest_only": False}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refine_mask(case: Case) -> None:
    before = ALL.copy()
    refined = refine_mask(ALL, RefinementConfig(**case.options), case.chosen)
    np.testing.assert_array_equal(refined, case.expected)
    np.testing.assert_array_equal(ALL, before)


def test_an_empty_mask_stays_empty() -> None:
    assert not refine_mask(np.zeros((5, 6), bool), RefinementConfig(), chosen=(1, 1)).any()


@settings(max_examples=40)
@given(arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))), st.booleans(), st.booleans())
def test_refining_twice_is_refining_once(mask: np.ndarray, largest_only: bool, fill_holes: bool) -> None:
    config = RefinementConfig(largest_only=largest_only, fill_holes=fill_holes)
    once = refine_mask(mask, config)
    np.testing.assert_array_equal(refine_mask(once, config), once)
    assert once.any() == mask.any()


def test_smoothing_off_gives_the_probability_itself() -> None:
    probability = np.random.default_rng(0).random((20, 30), dtype=np.float32)
    assert smooth_probability(probability, RefinementConfig(smoothing=0)) is probability


@pytest.mark.parametrize(("smoothing", "allowed"), [(0.004, 0.005), (0.01, 0.005), (0.05, 0.005)])
def test_smoothing_is_a_gaussian_also_where_it_is_computed_on_a_grid(smoothing: float, allowed: float) -> None:
    rows, columns = np.mgrid[:300, :401]
    probability = (np.hypot(rows - 140, columns - 210) < 80).astype(np.float32)
    smooth = smooth_probability(probability, RefinementConfig(smoothing=smoothing))
    assert smooth.dtype == np.float32
    assert np.abs(smooth - gaussian_filter(probability, smoothing * 300, mode="nearest")).max() < allowed


@settings(max_examples=30)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 60), st.integers(1, 60)), elements=st.floats(0, 1, width=32)),
    st.floats(0, 0.1),
)
def test_smoothing_keeps_shape_and_range(probability: np.ndarray, smoothing: float) -> None:
    smooth = smooth_probability(probability, RefinementConfig(smoothing=smoothing))
    assert smooth.shape == probability.shape
    assert 0 <= smooth.min() <= smooth.max() <= 1

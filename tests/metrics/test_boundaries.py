"""Distances of borders: cases counted by hand, other implementations, and properties of any pair of masks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.metrics.overlap import (
    _border_distances,
    _f1_within,
    border_pixels,
    boundary_metrics,
    hausdorff_distance,
)

SHAPE = (30, 40)
DIAGONAL = 50.0


def f1_within(mask: np.ndarray, reference: np.ndarray, limit: float) -> float:
    return _f1_within(*_border_distances(mask, reference, (1.0, 1.0)), limit)


def rectangle(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


@dataclass
class Case:
    name: str
    mask: np.ndarray
    reference: np.ndarray
    distance: float  # Hausdorff-95
    agreement: float  # boundary F1 within one pixel


EMPTY = np.zeros(SHAPE, bool)
SQUARE = rectangle(10, 10, 20, 20)
CASES = [
    Case("equal", SQUARE, SQUARE, 0.0, 1.0),
    Case("both empty", EMPTY, EMPTY, 0.0, 1.0),
    Case("nothing found", EMPTY, SQUARE, DIAGONAL, 0.0),
    Case("nothing there", SQUARE, EMPTY, DIAGONAL, 0.0),
    Case("one pixel to the right", rectangle(10, 11, 20, 21), SQUARE, 1.0, 1.0),
    Case("five pixels to the right", rectangle(10, 15, 20, 25), SQUARE, 5.0, 14 / 36),
    Case("two pixels larger on each side", rectangle(8, 8, 22, 22), SQUARE, math.hypot(2, 2), 0.0),
    Case("single pixels", rectangle(0, 0, 1, 1), rectangle(3, 4, 4, 5), 5.0, 0.0),
    Case("a whole image", ~EMPTY, ~EMPTY, 0.0, 1.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_counted_by_hand(case: Case) -> None:
    assert hausdorff_distance(case.mask, case.reference) == pytest.approx(case.distance)
    assert f1_within(case.mask, case.reference, 1.0) == pytest.approx(case.agreement)


def test_the_border_of_a_square_and_of_a_hole() -> None:
    assert np.count_nonzero(border_pixels(SQUARE)) == 36
    ring = SQUARE & ~rectangle(14, 14, 16, 16)
    assert np.count_nonzero(border_pixels(ring)) == 36 + 8


def test_one_far_pixel_counts_for_the_maximum_alone() -> None:
    """One of 601 border pixels is far away, which does not change the 95th percentile."""
    wide = np.zeros((200, 200), bool)
    wide[20:171, 20:171] = True
    speck = wide.copy()
    speck[195, 195] = True
    assert hausdorff_distance(speck, wide) == 0.0
    assert hausdorff_distance(speck, wide, percentile=100) == pytest.approx(25 * math.sqrt(2))


@pytest.mark.parametrize(("moved", "agreement"), [(3, 1.0), (4, 0.56)])
def test_the_usual_tolerance_is_a_share_of_the_diagonal(moved: int, agreement: float) -> None:
    """3.75 pixels for an image of 300 x 400; 56 of 100 border pixels are that close to the other border."""
    reference, mask = np.zeros((2, 300, 400), bool)
    reference[100:126, 100:126] = mask[100:126, 100 + moved : 126 + moved] = True
    assert boundary_metrics(mask, reference, None)["BF1"] == pytest.approx(agreement)


def test_columns() -> None:
    moved = rectangle(10, 15, 20, 25)
    assert boundary_metrics(moved, SQUARE, None) == {
        "HD95_px": 5.0,
        "HD95_relative": 0.1,
        "BF1": pytest.approx(10 / 36),
    }
    assert boundary_metrics(moved, SQUARE, PixelSize(20.0, 20.0))["HD95_mm"] == pytest.approx(0.1)


def test_pixels_that_are_not_square() -> None:
    """Masks that are shifted by three rows or columns of pixels twice as high as wide."""
    size = PixelSize(2000.0, 1000.0)
    assert boundary_metrics(rectangle(13, 10, 23, 20), SQUARE, size)["HD95_mm"] == pytest.approx(6.0)
    assert boundary_metrics(rectangle(10, 13, 20, 23), SQUARE, size)["HD95_mm"] == pytest.approx(3.0)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        hausdorff_distance(EMPTY, EMPTY[1:])


masks = arrays.arrays(bool, (9, 11), elements=st.booleans())


@settings(deadline=None, max_examples=30)
@given(masks, masks)
def test_scipy_finds_the_same_distances(mask: np.ndarray, reference: np.ndarray) -> None:
    """Every pair of border pixels, compared one by one, and scipy's own Hausdorff distance."""
    from scipy.spatial.distance import cdist, directed_hausdorff

    if not mask.any() or not reference.any():
        return
    own, other = np.argwhere(border_pixels(mask)).astype(float), np.argwhere(border_pixels(reference)).astype(float)
    pairs = cdist(own, other)
    expected = max(np.percentile(pairs.min(0), 95), np.percentile(pairs.min(1), 95))
    assert hausdorff_distance(mask, reference) == pytest.approx(expected)
    greatest = max(directed_hausdorff(own, other)[0], directed_hausdorff(other, own)[0])
    assert hausdorff_distance(mask, reference, percentile=100) == pytest.approx(greatest)


@settings(deadline=None, max_examples=40)
@given(masks, masks)
def test_both_methods_agree(mask: np.ndarray, reference: np.ndarray) -> None:
    assert hausdorff_distance(mask, reference) == hausdorff_distance(reference, mask)
    assert f1_within(mask, reference, 1.0) == pytest.approx(f1_within(reference, mask, 1.0))
    assert (f1_within(mask, reference, 0.0) == 1.0) == bool((border_pixels(mask) == border_pixels(reference)).all())


@pytest.mark.slow
def test_torchmetrics_finds_the_same() -> None:
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.segmentation import hausdorff_distance as torchmetrics_distance

    random = np.random.default_rng(0)
    for _ in range(5):
        mask, reference = (random.random((2, 24, 24)) > 0.7)[:, None]
        both = [torch.from_numpy(item.astype(np.int64))[None] for item in (mask, reference)]
        given = torchmetrics_distance(*both, num_classes=1, include_background=True, input_format="one-hot")
        assert hausdorff_distance(mask[0], reference[0], percentile=100) == pytest.approx(float(given))

"""Position and content of the square region of interest, on shapes with known results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.geometry import Box
from napari_melanoma.core.prediction_config import RoiConfig
from napari_melanoma.imaging.masks import bounding_box, extract_roi, square_around

SHAPE = (100, 120)


def drawn(*lesions: tuple[slice, slice], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for lesion in lesions:
        mask[lesion] = True
    return mask


def square(top: int, left: int, side: int) -> Box:
    return Box(top, left, side, side)


@dataclass(frozen=True)
class Case:
    name: str
    mask: np.ndarray
    margin: float
    expected: Box | None


CASES = [
    Case("a wide lesion gets a square", drawn((slice(40, 50), slice(20, 60))), 0.0, square(25, 20, 40)),
    Case("a margin on each side", drawn((slice(40, 60), slice(50, 70))), 0.25, square(35, 45, 30)),
    Case("at the first corner it moves inside", drawn((slice(0, 10), slice(0, 10))), 0.5, square(0, 0, 20)),
    Case("at the last corner it moves inside", drawn((slice(90, 100), slice(110, 120))), 0.5, square(80, 100, 20)),
    Case("several lesions are taken together", drawn((10, 10), (49, 29)), 0.0, square(10, 0, 40)),
    Case("the margin shrinks to fit", drawn((slice(5, 95), slice(10, 100))), 0.5, square(0, 5, 100)),
    Case("longer than the shorter side", drawn((slice(0, 100), slice(0, 120))), 0.1, square(-10, 0, 120)),
    Case("one pixel", drawn((7, 9)), 0.1, square(7, 9, 1)),
    Case("no lesion", drawn(), 0.1, None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_square_around(case: Case) -> None:
    assert square_around(case.mask, case.margin) == case.expected


@st.composite
def rectangles(draw: st.DrawFn) -> np.ndarray:
    """A mask with one rectangle somewhere in it."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    edges = [sorted(draw(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)))) for size in shape]
    return drawn(tuple(slice(first, last + 1) for first, last in edges), shape=shape)


@settings(max_examples=50)
@given(rectangles(), st.floats(0, 2))
def test_the_square_contains_the_lesion_and_stays_inside_where_it_can(mask: np.ndarray, margin: float) -> None:
    lesion, box = bounding_box(mask), square_around(mask, margin)
    assert lesion is not None
    assert box is not None
    assert box.height == box.width >= max(lesion.height, lesion.width)
    for first, length, start, available in (
        (lesion.top, lesion.height, box.top, mask.shape[0]),
        (lesion.left, lesion.width, box.left, mask.shape[1]),
    ):
        assert start <= first
        assert first + length <= start + box.height
        if box.height <= available:
            assert 0 <= start <= available - box.height


@settings(max_examples=40)
@given(rectangles(), st.floats(0, 2), st.sampled_from([0, 1]))
def test_flip_the_mask_flip_the_square(mask: np.ndarray, margin: float, axis: int) -> None:
    box, flipped = square_around(mask, margin), square_around(np.flip(mask, axis), margin)
    assert box is not None
    assert flipped is not None
    starts = ((box.top, flipped.top), (box.left, flipped.left))
    assert flipped.height == box.height
    assert starts[1 - axis][0] == starts[1 - axis][1]
    # A lesion of odd length has no exact middle in a square of even side: one pixel to either side.
    assert abs(starts[axis][0] + starts[axis][1] - (mask.shape[axis] - box.height)) <= 1


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("background", ["zero", "keep"])
def test_flip_the_photograph_flip_the_roi(axis: int, background: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (90, 110, 3), dtype=np.uint8)
    mask = drawn((slice(20, 70), slice(30, 70)), shape=(90, 110))
    config = RoiConfig(background=background, side_px=32)
    roi, flipped = (extract_roi(*pair, config) for pair in ((rgb, mask), (np.flip(rgb, axis), np.flip(mask, axis))))
    assert roi is not None
    assert flipped is not None
    assert np.abs(np.flip(roi.image, axis).astype(int) - flipped.image).max() <= 1


def test_the_background_is_black_or_kept() -> None:
    rgb = np.full((64, 64, 3), 200, np.uint8)
    mask = drawn((slice(16, 48), slice(16, 32)), shape=(64, 64))
    black = extract_roi(rgb, mask, RoiConfig(margin=0, side_px=32))
    kept = extract_roi(rgb, mask, RoiConfig(margin=0, side_px=32, background="keep"))
    assert black is not None
    assert kept is not None
    assert (kept.image == 200).all()
    assert (black.image[:, 8:24] == 200).all()
    assert (black.image[:, :8] == 0).all()
    assert (black.image[:, 24:] == 0).all()


def test_pixels_outside_the_photograph_are_black() -> None:
    rgb = np.full((20, 40, 3), 255, np.uint8)
    roi = extract_roi(rgb, np.ones((20, 40), bool), RoiConfig(side_px=40, background="keep"))
    assert roi is not None
    assert roi.box == Box(-10, 0, 40, 40)
    np.testing.assert_array_equal(roi.image[..., 0] > 0, np.pad(np.ones((20, 40), bool), ((10, 10), (0, 0))))


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_each_pixel_of_the_roi_is_the_one_of_the_photograph(axes: tuple[int, int]) -> None:
    """A lesion in the middle of a photograph that is smaller than the square along one side."""
    random = np.random.default_rng(0)
    rgb = random.integers(1, 256, (24, 60, 3), np.uint8).transpose(*axes, 2)
    mask = np.zeros((24, 60), bool)
    mask[2:22, 20:50] = True
    roi = extract_roi(rgb, mask.transpose(axes), RoiConfig(side_px=30, background="keep"))
    assert roi is not None
    assert roi.box.height == roi.box.width == 30
    inside = np.pad(rgb, [(100, 100), (100, 100), (0, 0)])
    top, left = roi.box.top + 100, roi.box.left + 100
    np.testing.assert_array_equal(roi.image, inside[top : top + 30, left : left + 30])


@pytest.mark.parametrize("side", [8, 224, 300])
def test_the_roi_has_the_requested_side_and_no_aliasing(side: int) -> None:
    rgb = np.zeros((1200, 1300, 3), np.uint8)
    rgb[::2] = 255
    roi = extract_roi(rgb, np.ones((1200, 1300), bool), RoiConfig(side_px=side, margin=0))
    assert roi is not None
    assert roi.image.shape == (side, side, 3)
    middle = roi.image[side // 4 : -side // 4].astype(int)
    assert np.abs(middle - 127.5).max() < 8


def test_no_lesion_no_roi() -> None:
    assert extract_roi(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), bool), RoiConfig()) is None

"""Boxes, holes and components of masks, on shapes with known results."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_fill_holes

from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.masks import bounding_box, fill_mask_holes, grow_box, label_components

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def test_an_empty_mask_has_no_box() -> None:
    assert bounding_box(np.zeros((4, 5), bool)) is None


@given(MASKS.filter(np.any))
def test_the_box_holds_every_pixel_and_no_empty_edge(mask: np.ndarray) -> None:
    box = bounding_box(mask)
    assert box is not None
    part = mask[box.slices]
    assert part.sum() == mask.sum()
    assert all(edge.any() for edge in (part[0], part[-1], part[:, 0], part[:, -1]))


GROWN = [
    ("inside", Box(10, 20, 5, 6), 3, Box(7, 17, 11, 12)),
    ("cut at the first corner", Box(1, 2, 5, 6), 3, Box(0, 0, 9, 11)),
    ("cut at the last corner", Box(40, 50, 10, 10), 3, Box(37, 47, 13, 13)),
]


@pytest.mark.parametrize(("name", "box", "margin", "expected"), GROWN, ids=[case[0] for case in GROWN])
def test_grown(name: str, box: Box, margin: int, expected: Box) -> None:
    assert grow_box(box, margin, (50, 60)) == expected


@given(MASKS)
def test_filling_agrees_with_scipy(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(fill_mask_holes(mask), binary_fill_holes(mask))


def test_parts_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((6, 6), bool)
    mask[0, 0] = mask[1, 1] = mask[4, 4] = True
    labels, count = label_components(mask)
    assert count == 2
    assert labels[0, 0] == labels[1, 1] != labels[4, 4]

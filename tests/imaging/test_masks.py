"""Boxes, holes and components of masks, on shapes with known results."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_fill_holes

from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.masks import (
    bounding_box,
    fill_mask_holes,
    grow_box,
    label_components,
    resample_labels,
    separate_labels,
)

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def test_an_empty_mask_has_no_box() -> None:
    assert bounding_box(np.zeros((4, 5), bool)) is None


@settings(max_examples=40)
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


@settings(max_examples=40)
@given(MASKS)
def test_filling_agrees_with_scipy(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(fill_mask_holes(mask), binary_fill_holes(mask))


def test_parts_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((6, 6), bool)
    mask[0, 0] = mask[1, 1] = mask[4, 4] = True
    labels, count = label_components(mask)
    assert count == 2
    assert labels[0, 0] == labels[1, 1] != labels[4, 4]


def test_touching_labels_are_separated_by_one_pixel_of_the_larger_one():
    labels = np.zeros((12, 20), np.uint16)
    labels[2:10, 2:8], labels[2:10, 8:18], labels[10, 18] = 700, 3, 9  # 9 touches 3 at a corner
    mask = separate_labels(labels)
    found, count = label_components(mask)
    assert count == 3
    assert all(len(np.unique(labels[found == number])) == 1 for number in range(1, count + 1))
    assert mask[labels == 700].all()
    assert (labels == 3).sum() - mask[labels == 3].sum() == 8 + 1
    np.testing.assert_array_equal(separate_labels((labels == 3).astype(int)), labels == 3)


@settings(max_examples=40)
@given(arrays(np.uint8, (9, 9), elements=st.integers(0, 3)))
def test_components_of_separated_labels_have_one_label_each(labels):
    mask = separate_labels(labels)
    found, count = label_components(mask)
    assert not mask[labels == 0].any()
    assert all(len(np.unique(labels[found == number])) == 1 for number in range(1, count + 1))
    assert mask.any() == labels.any()


@pytest.mark.parametrize("factor", [0.5, 2.0, 3.0, 2.5])
def test_labels_of_another_size_are_resampled_to_the_nearest(factor):
    """Pixels of the labels are ``factor`` times as large as those of the grid; their outer borders coincide."""
    shape = (30, 60)
    labels = np.zeros((round(30 / factor), round(60 / factor)), np.int64)
    labels[: labels.shape[0] // 2] = 2**40
    shift = (1 / factor - 1) / 2
    found = resample_labels(labels, np.array([[1 / factor, 0, shift], [0, 1 / factor, shift]]), shape)
    assert found.shape == shape
    assert set(np.unique(found)) == {0, 2**40}
    assert abs((found != 0).mean() - (labels != 0).mean()) < 1 / 30
    assert found[0].all()
    assert found[0, -1] == 2**40


def test_labels_elsewhere_are_not_on_the_grid():
    labels = np.ones((4, 4), np.uint8)
    assert not resample_labels(labels, np.array([[1.0, 0, 10], [0, 1, 0]]), (4, 4)).any()

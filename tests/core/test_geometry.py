"""Pixel sizes and boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.geometry import Box, PixelSize


@pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("axis", ["y_um", "x_um"])
def test_a_pixel_size_is_positive_and_finite(axis: str, size: float) -> None:
    with pytest.raises(ScaleMissing, match=r"positive number of micrometers, not .*Draw the ruler"):
        PixelSize(**{"y_um": 12.0, "x_um": 12.0, axis: size})


def test_rows_and_columns_have_sizes_of_their_own() -> None:
    size = PixelSize(y_um=10.0, x_um=20.0)
    assert size.mm == (0.01, 0.02)
    assert size.pixel_area_mm2 == pytest.approx(0.0002)
    assert size.source == "given"


@pytest.mark.parametrize(
    ("start", "end", "length_mm", "um"),
    [
        ((0, 0), (0, 100), 1.0, 10.0),
        ((30, 0), (0, 40), 10.0, 200.0),
        ((5.5, 2.5), (5.5, 4.5), 0.002, 1.0),
    ],
)
def test_a_ruler(start: tuple[float, float], end: tuple[float, float], length_mm: float, um: float) -> None:
    size = PixelSize.from_ruler(start, end, length_mm)
    assert (size.y_um, size.x_um) == pytest.approx((um, um))
    assert size.source == "ruler"
    assert PixelSize.from_ruler(end, start, length_mm) == size


NO_LENGTH = r"a line longer than 0 pixels .* and a length above 0 mm .*Draw the line over a known length"
NO_SIZE = "Draw the ruler over a known length"


@pytest.mark.parametrize(
    ("end", "length_mm", "reason"),
    [
        ((0, 0), 5.0, NO_LENGTH),
        ((0, 10), 0.0, NO_LENGTH),
        ((0, 10), -1.0, NO_LENGTH),
        ((0, 10), math.nan, NO_LENGTH),
        ((0, 10), math.inf, NO_SIZE),
        ((0, math.nan), 5.0, NO_SIZE),
    ],
)
def test_a_ruler_that_measures_nothing(end: tuple[float, float], length_mm: float, reason: str) -> None:
    with pytest.raises(ScaleMissing, match=reason):
        PixelSize.from_ruler((0, 0), end, length_mm)


@pytest.mark.parametrize(
    ("y_um", "x_um", "close"),
    [
        (10.0, 20.0, True),
        (10.000009, 20.000018, True),
        (10.0000115, 20.0, False),
        (10.0, 20.000023, False),
        (20.0, 10.0, False),
    ],
)
def test_sizes_that_differ_by_up_to_one_millionth_are_close(y_um: float, x_um: float, close: bool) -> None:
    assert PixelSize(10.0, 20.0, "dicom").is_close(PixelSize(y_um, x_um)) is close


@given(top=st.integers(0, 9), left=st.integers(0, 9), height=st.integers(0, 9), width=st.integers(0, 9))
def test_box_slices_select_its_pixels(top: int, left: int, height: int, width: int) -> None:
    rows, columns = np.mgrid[:20, :20]
    box = Box(top, left, height, width)
    assert rows[box.slices].shape == (height, width)
    if height and width:
        assert (rows[box.slices][0, 0], columns[box.slices][0, 0]) == (top, left)


def test_a_ruler_that_agrees_with_the_file_changes_nothing() -> None:
    file = PixelSize(100.0, 50.0, "dicom")
    for start, end, length_mm in [((0, 0), (0, 20), 1.0), ((0, 0), (10, 0), 1.0), ((0, 0), (30, 80), 5.0)]:
        found = PixelSize.from_ruler(start, end, length_mm, aspect=file.y_um / file.x_um)
        assert (found.y_um, found.x_um) == pytest.approx((100.0, 50.0))

"""CIELAB, the six colors and the contrast, on known colors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.color import rgb2lab

from napari_melanoma.imaging.color import ABCD_COLORS, color_shares, to_lab
from napari_melanoma.imaging.measurements import color_measurements

SKIN = (220, 180, 160)


def test_lab_agrees_with_scikit_image() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5000, 3), dtype=np.uint8)
    rgb[:2] = [[0, 0, 0], [255, 255, 255]]
    np.testing.assert_allclose(to_lab(rgb), rgb2lab(rgb), atol=0.05)


def test_every_reference_color_is_its_own_nearest() -> None:
    for name, rgb in ABCD_COLORS.items():
        assert color_shares(to_lab(np.array([rgb], np.uint8)))[name] == 1


def striped(colors: list[tuple[int, int, int]], widths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """A lesion of vertical stripes on plain skin; the widths are in per cent of the lesion."""
    rgb = np.full((160, 200, 3), SKIN, np.uint8)
    mask = np.zeros((160, 200), bool)
    mask[30:130, 50:150] = True
    column = 50
    for color, width in zip(colors, widths, strict=True):
        rgb[30:130, column : column + width] = color
        column += width
    return mask, rgb


COUNTS = [
    ("one colour", ["dark brown"], [100], 1),
    ("two colours", ["dark brown", "black"], [60, 40], 2),
    ("a colour on less than 5 % does not count", ["dark brown", "white"], [96, 4], 1),
    ("a colour on 5 % counts", ["dark brown", "white"], [95, 5], 2),
    ("all six", list(ABCD_COLORS), [20, 20, 20, 20, 10, 10], 6),
]


@pytest.mark.parametrize(("name", "colors", "widths", "expected"), COUNTS, ids=[case[0] for case in COUNTS])
def test_number_of_colors(name: str, colors: list[str], widths: list[int], expected: int) -> None:
    mask, rgb = striped([ABCD_COLORS[color] for color in colors], widths)
    assert color_measurements(mask, rgb)["color_count"] == expected


def test_variation_and_contrast_of_two_tones() -> None:
    dark, light = (90, 60, 45), (150, 110, 85)
    mask, rgb = striped([dark, light], [50, 50])
    found = color_measurements(mask, rgb)
    lab = rgb2lab(np.array([[dark, light, SKIN]], np.uint8))[0]
    spread = np.abs(lab[0] - lab[1]) / 2
    assert [found[f"color_std_{channel}"] for channel in "lab"] == pytest.approx(spread.tolist(), abs=0.05)
    assert found["color_difference"] == pytest.approx(np.linalg.norm(lab[:2].mean(axis=0) - lab[2]), abs=0.1)


def test_the_size_of_the_photograph_does_not_matter() -> None:
    mask, rgb = striped([ABCD_COLORS["dark brown"], ABCD_COLORS["red"]], [70, 30])
    large = color_measurements(
        *(np.kron(part, np.ones((8, 8) + (1,) * (part.ndim - 2), part.dtype)) for part in (mask, rgb))
    )
    assert large == pytest.approx(color_measurements(mask, rgb), rel=0.03, abs=0.2)


def test_without_skin_in_view_there_is_no_contrast() -> None:
    found = color_measurements(np.ones((20, 20), bool), np.full((20, 20, 3), 90, np.uint8))
    assert math.isnan(found["color_difference"])
    assert found["color_count"] == 1

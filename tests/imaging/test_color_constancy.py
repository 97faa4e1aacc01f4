"""Any tint of the light is corrected, and white light changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.imaging.color import illuminant_gains, scale_channels

GREYS = np.repeat(np.linspace(20, 120, 48 * 48).reshape(48, 48, 1), 3, axis=2)


@pytest.mark.parametrize("power", [1.0, 6.0, 32.0])
def test_white_light_changes_nothing(power: float) -> None:
    rgb = GREYS.astype(np.uint8)
    assert illuminant_gains(rgb, power) == pytest.approx([1, 1, 1])
    assert np.array_equal(scale_channels(rgb, illuminant_gains(rgb, power)), rgb)


@settings(max_examples=30)
@given(light=st.tuples(*[st.floats(0.6, 1.6)] * 3), power=st.sampled_from([1.0, 6.0]))
def test_a_tint_is_corrected(light: tuple[float, float, float], power: float) -> None:
    tinted = np.rint(GREYS * light).astype(np.uint8)
    found = scale_channels(tinted, illuminant_gains(tinted, power)).astype(int)
    assert np.abs(found - found.mean(2, keepdims=True)).max() <= 3
    gains = illuminant_gains(tinted, power)
    assert gains * np.array(light) == pytest.approx(np.full(3, (gains * light).mean()), rel=0.02)


def test_the_mean_of_gray_world_is_that_of_a_hand_computed_table() -> None:
    rgb = np.array([[[100, 50, 50], [140, 70, 30]]], np.uint8)  # means 120, 60, 40
    brightness = np.sqrt((120**2 + 60**2 + 40**2) / 3)
    assert illuminant_gains(rgb, 1.0) == pytest.approx(brightness / np.array([120, 60, 40]))


def test_clipped_pixels_are_ignored_unless_all_are_clipped() -> None:
    rgb = np.full((10, 10, 3), (100, 80, 60), np.uint8)
    expected = illuminant_gains(rgb)
    rgb[:9] = 255
    assert illuminant_gains(rgb) == pytest.approx(expected)
    rgb[:] = 255
    assert illuminant_gains(rgb) == pytest.approx([1, 1, 1])


def test_an_empty_channel_stays_finite() -> None:
    rgb = np.full((4, 4, 3), (90, 0, 30), np.uint8)
    found = scale_channels(rgb, illuminant_gains(rgb))
    assert found[..., 1].max() == 0

"""Single stains and brightness of the display: known mixtures are unmixed, and the scan is unchanged."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.imaging.stain_view import DAB, EOSIN, HEMATOXYLIN, STAIN_VIEWS, DisplayColors, StainView


def stained(*parts: tuple[float, tuple[float, float, float]]) -> np.ndarray:
    """Color of amounts of stains, uint8 (1, 1, channel=3)."""
    density = sum(amount * np.array(stain) / np.linalg.norm(stain) for amount, stain in parts)
    return np.rint(255 * np.exp(-np.asarray(density))).astype(np.uint8)[None, None]


def density_of(rgb: np.ndarray) -> float:
    return float(np.linalg.norm(np.log(255 / rgb.astype(float).clip(1))))


@pytest.mark.parametrize(("counterstain", "kind", "name"), [(EOSIN, "he", "eosin"), (DAB, "dab", "dab")])
def test_a_mixture_is_separated_into_its_stains(counterstain, kind: str, name: str) -> None:
    mixture = stained((0.8, HEMATOXYLIN), (0.5, counterstain))
    first = DisplayColors(stain=f"hematoxylin_{kind}").apply(mixture)  # type: ignore[arg-type]
    second = DisplayColors(stain=f"{name}_{kind}").apply(mixture)  # type: ignore[arg-type]
    rest = DisplayColors(stain=f"residual_{kind}").apply(mixture)  # type: ignore[arg-type]
    assert density_of(first) == pytest.approx(0.8, abs=0.08)
    assert density_of(second) == pytest.approx(0.5, abs=0.08)
    assert density_of(rest) < 0.08
    np.testing.assert_allclose(first, stained((0.8, HEMATOXYLIN)), atol=12)
    np.testing.assert_allclose(second, stained((0.5, counterstain)), atol=12)


@pytest.mark.parametrize("view", get_args(StainView))
def test_white_stays_white_and_shapes_are_kept(view: StainView) -> None:
    white = np.full((3, 5, 3), 255, np.uint8)
    shown = DisplayColors(stain=view).apply(white)
    np.testing.assert_array_equal(shown, white)
    assert shown.dtype == np.uint8
    assert view in STAIN_VIEWS


def test_melanin_remains_in_the_residual() -> None:
    brown = np.array([[[110, 75, 45]]], np.uint8)
    assert density_of(DisplayColors(stain="residual_he").apply(brown)) > 0.3


def test_brightness_contrast_and_gamma() -> None:
    gray = np.array([[[0, 64, 128], [191, 255, 200]]], np.uint8)
    assert DisplayColors().apply(gray) is gray
    assert (DisplayColors(brightness=0.2).apply(gray) >= gray).all()
    assert DisplayColors(brightness=0.2).apply(gray)[0, 0, 2] == pytest.approx(128 + 51, abs=1)
    spread = DisplayColors(contrast=2.0).apply(gray)
    assert (spread[0, 0, 1], spread[0, 1, 0]) == (pytest.approx(0, abs=1), pytest.approx(255, abs=1))
    assert DisplayColors(gamma=2.0).apply(gray)[0, 0, 2] == pytest.approx(64, abs=1)


@settings(max_examples=50)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(st.floats(), st.text("ab", max_size=5), st.none(), st.booleans(), st.lists(st.integers()))
            for name in ("stain", "brightness", "contrast", "gamma", "other")
        },
    )
    | st.none()
    | st.integers()
)
def test_any_content_of_a_file_is_read(values: object) -> None:
    colors = DisplayColors.parse(values)
    colors.apply(np.zeros((1, 1, 3), np.uint8))
    assert colors.stain in STAIN_VIEWS

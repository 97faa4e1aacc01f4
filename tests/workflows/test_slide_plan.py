"""What is done to tiles before the network sees them: stain brought to that of a reference, each by its own glass."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.analysis.stain import USUAL_STAINS, StainConfig, StainMethod, fit_stain
from napari_melanoma.analysis.tissue_colours import glass_colour
from napari_melanoma.workflows.slide_options import SlideOptions
from napari_melanoma.workflows.slide_plan import Prepare, _stain, preparation

METHODS = [method for method in get_args(StainMethod) if method != "none"]


def drawn(glass: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Tissue in the light that passes through this glass, with a margin of glass; uint8 (row, column, channel)."""
    amounts = np.random.default_rng(seed).gamma(3, 0.3, (128, 128, 2))
    amounts[:, 96:] = 0
    return np.rint(np.array(glass) * np.exp(-amounts @ np.array(USUAL_STAINS))).astype(np.uint8)


@pytest.mark.parametrize("method", METHODS)
def test_a_reference_of_the_same_slide_changes_nothing(method: StainMethod, tmp_path: Path) -> None:
    rgb = drawn((226, 220, 232))
    Image.fromarray(rgb).save(tmp_path / "reference.png")
    config = StainConfig(method=method)
    options = SlideOptions(stain=config, stain_reference=tmp_path / "reference.png")
    slide: Any = SimpleNamespace(info=SimpleNamespace(has_profile=False))
    plan: Any = SimpleNamespace(stain=fit_stain(rgb, config, glass_colour(rgb)))
    prepare = preparation(slide, plan, options)
    assert prepare is not None
    assert np.abs(prepare(rgb[None])[0].astype(int) - rgb).mean() < 1.5


def test_dim_glass_becomes_that_of_the_reference(tmp_path: Path) -> None:
    slide_rgb, wanted = drawn((200, 200, 200)), drawn((240, 236, 244))
    Image.fromarray(wanted).save(tmp_path / "reference.png")
    options = SlideOptions(stain=StainConfig(), stain_reference=tmp_path / "reference.png")
    slide: Any = SimpleNamespace(info=SimpleNamespace(has_profile=False))
    plan: Any = SimpleNamespace(stain=fit_stain(slide_rgb, StainConfig(), glass_colour(slide_rgb)))
    prepare = preparation(slide, plan, options)
    assert prepare is not None
    found = prepare(slide_rgb[None])[0]
    np.testing.assert_allclose(found[:, 100:].reshape(-1, 3).mean(axis=0), (240, 236, 244), atol=2)
    assert np.abs(found.astype(int) - wanted).mean() < 3


def test_stain_is_fitted_to_pixels_as_the_network_sees_them() -> None:
    """A profile that makes all darker, glass too, which tiles go through before they are normalised."""
    rgb = drawn((226, 220, 232))

    def darker(pixels: np.ndarray) -> np.ndarray:
        return (pixels * 0.8).astype(np.uint8)

    def fitted(seen: Prepare | None) -> tuple[float, ...]:
        found = _stain(lambda: rgb.reshape(-1, 3), lambda: rgb, seen, SlideOptions(stain=StainConfig()))
        assert found is not None
        return tuple(np.ravel(found.white))

    assert fitted(darker) == pytest.approx(glass_colour(darker(rgb)))
    assert fitted(None) == pytest.approx(glass_colour(rgb))

"""What is done to tiles before the network sees them: stain brought to that of a reference, each by its own glass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.core.prediction_config import StainMethod
from napari_melanoma.imaging.stain import DEFAULT_STAINS, StainConfig, fit_stain
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.plan import (
    PixelTransform,
    _fit_slide_stain,
    _scanned_overview,
    build_preprocessing,
    check_slide,
    stated_pixel_size,
)
from napari_melanoma.slides.reading.slide import LevelInfo, SlideInfo
from napari_melanoma.slides.tissue import TissueConfig, estimate_glass_color, scanned_slices, tissue_of_overview

METHODS = [method for method in get_args(StainMethod) if method != "none"]


def drawn(glass: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Tissue in the light that passes through this glass, with a margin of glass; uint8 (row, column, channel)."""
    amounts = np.random.default_rng(seed).gamma(3, 0.3, (128, 128, 2))
    amounts[:, 96:] = 0
    return np.rint(np.array(glass) * np.exp(-amounts @ np.array(DEFAULT_STAINS))).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_reference_of_the_same_slide_changes_nothing(method: StainMethod, tmp_path: Path) -> None:
    rgb = drawn((226, 220, 232))
    Image.fromarray(rgb).save(tmp_path / "reference.png")
    config = StainConfig(method=method)
    options = SlideOptions(stain=config, stain_reference=tmp_path / "reference.png")
    slide: Any = SimpleNamespace(info=SimpleNamespace(has_profile=False))
    plan: Any = SimpleNamespace(stain=fit_stain(rgb, config, estimate_glass_color(rgb)))
    prepare = build_preprocessing(slide, plan, options)
    assert prepare is not None
    assert np.abs(prepare(rgb[None])[0].astype(int) - rgb).mean() < 1.5


def test_dim_glass_becomes_that_of_the_reference(tmp_path: Path) -> None:
    slide_rgb, wanted = drawn((200, 200, 200)), drawn((240, 236, 244))
    Image.fromarray(wanted).save(tmp_path / "reference.png")
    options = SlideOptions(stain=StainConfig(), stain_reference=tmp_path / "reference.png")
    slide: Any = SimpleNamespace(info=SimpleNamespace(has_profile=False))
    plan: Any = SimpleNamespace(stain=fit_stain(slide_rgb, StainConfig(), estimate_glass_color(slide_rgb)))
    prepare = build_preprocessing(slide, plan, options)
    assert prepare is not None
    found = prepare(slide_rgb[None])[0]
    np.testing.assert_allclose(found[:, 100:].reshape(-1, 3).mean(axis=0), (240, 236, 244), atol=2)
    assert np.abs(found.astype(int) - wanted).mean() < 3


def test_stain_is_fitted_to_pixels_as_the_network_sees_them() -> None:
    """A profile that makes all darker, glass too, which tiles go through before they are normalized."""
    rgb = drawn((226, 220, 232))

    def darker(pixels: np.ndarray) -> np.ndarray:
        return (pixels * 0.8).astype(np.uint8)

    def fitted(seen: PixelTransform | None) -> tuple[float, ...]:
        found = _fit_slide_stain(lambda: rgb.reshape(-1, 3), lambda: rgb, seen, SlideOptions(stain=StainConfig()))
        assert found is not None
        return tuple(np.ravel(found.white))

    assert fitted(darker) == pytest.approx(estimate_glass_color(darker(rgb)))
    assert fitted(None) == pytest.approx(estimate_glass_color(rgb))


def overview_in(glass: tuple[int, int, int]) -> np.ndarray:
    """A ninth of a picture is scanned: a piece of tissue on glass; the rest is filled with white."""
    rgb = np.full((300, 300, 3), 255, np.uint8)
    rgb[100:200, 100:200] = glass
    rgb[130:170, 130:170] = drawn(glass)[:40, :40]
    return rgb


def test_areas_outside_the_bounds_are_neither_tissue_nor_glass() -> None:
    picture = overview_in((225, 222, 232))
    picture[::7, ::5] = 254  # as JPEG leaves a filling: neither of one value nor with straight ends
    level = LevelInfo(3000, 3000, 1.0)
    info = SlideInfo(Path("section.tif"), "section", "TIFF", (level,), bounds=Box(1000, 1000, 1000, 1000))
    scanned = scanned_slices(info, picture.shape)
    assert scanned == (slice(100, 200), slice(100, 200))
    mask, _ = tissue_of_overview(info, (picture, np.zeros((300, 300), bool)), TissueConfig(), PixelSize(1, 1, "file"))
    assert mask.shape == (300, 300)
    assert mask[135:165, 135:165].all()
    assert 1600 <= mask.sum() < 2000
    np.testing.assert_allclose(
        estimate_glass_color(_scanned_overview(info, lambda: (picture, mask))), (225, 222, 232), atol=2
    )


def test_the_white_of_stain_is_glass_also_where_more_was_filled_than_scanned() -> None:
    picture = overview_in((225, 222, 232))
    config = SlideOptions(stain=StainConfig())
    tissue = drawn((225, 222, 232)).reshape(-1, 3)
    for seen in (None, lambda pixels: (pixels * 0.9).astype(np.uint8)):
        found = _fit_slide_stain(lambda: tissue, lambda: picture, seen, config)
        assert found is not None
        expected = np.array((225, 222, 232)) * (0.9 if seen else 1.0)
        np.testing.assert_allclose(np.ravel(found.white), expected, atol=2)


@pytest.mark.parametrize("box", [None, Box(5000, 5000, 10, 10)])
def test_missing_or_full_bounds_keep_the_whole_slide(box: Box | None) -> None:
    info: Any = SimpleNamespace(levels=[LevelInfo(3000, 3000, 1.0)], bounds=box)
    assert scanned_slices(info, (300, 200, 3)) == (slice(0, 300), slice(0, 200))


@pytest.mark.parametrize(
    ("size", "side", "message"),
    [
        (PixelSize(100.0, 100.0, "given"), 2048, "would be 204.8 x 204.8 mm.*--mpp"),
        (PixelSize(0.02, 0.02, "given"), 2048, "implausible pixel size"),
        (PixelSize(5.0, 5.0), 90_000, "would be 450 x 450 mm"),
        (PixelSize(0.5, 5.0), 2048, "similar in both"),
        (None, 2048, "pixel size is missing"),
    ],
)
def test_an_impossible_scale_is_rejected_before_the_analysis(size: PixelSize | None, side: int, message: str) -> None:
    with pytest.raises(ScaleMissing, match=message):
        check_slide(slide_of(size, side))


def test_a_missing_scale_is_suggested_by_the_objective() -> None:
    info = replace(slide_of(None, 2048), magnification=20.0)
    with pytest.raises(ScaleMissing, match=r"pixel size is missing.*objective of 20x.*command line: --mpp 0\.5\)"):
        check_slide(info)


@pytest.mark.parametrize("um", [0.1, 0.25, 0.5, 2.0, 10.0])
def test_a_plausible_scale_is_accepted(um: float) -> None:
    check_slide(slide_of(PixelSize(um, um), 2048))


def slide_of(size: PixelSize | None, side: int) -> SlideInfo:
    """Return the metadata of a square slide of one level."""
    return SlideInfo(Path("section.tif"), "section", "TIFF", (LevelInfo(side, side, 1.0),), size)


def test_a_set_scale_is_square_unless_its_height_is_set() -> None:
    assert stated_pixel_size(SlideOptions()) is None
    assert stated_pixel_size(SlideOptions(mpp=0.25)) == PixelSize(0.25, 0.25, "given")
    assert stated_pixel_size(SlideOptions(mpp=0.25, mpp_y=0.5)) == PixelSize(0.5, 0.25, "given")
    with pytest.raises(ValidationError, match="set mpp, too"):
        SlideOptions(mpp_y=0.5)
    assert "mpp_y" not in SlideOptions(mpp=0.25).model_dump(), "earlier versions refuse unknown options"

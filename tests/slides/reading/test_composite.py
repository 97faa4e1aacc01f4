"""Fluorescence slides read as RGB: colors, limits, tissue and errors, on phantoms and on real slides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_melanoma.core.channel_choice import ChannelChoice
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.reading.composite import CompositeSlide, complete_limits, read_as_rgb
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tissue import TissueConfig, read_overview, tissue_of_overview

NAMES = ("DAPI", "CD8", "CK")
REAL = {"small_vectra.qptiff": 0.3, "test3-TRITC.ndpi": 0.3, "LuCa-7color_reduced.zarr/image0": 0.1}  # least tissue


def write_fluorescence(path: Path, pixels: np.ndarray) -> Path:
    """Write channels (channel, row, column) as OME-TIFF of 1 micrometer per pixel."""
    metadata = {"axes": "CYX", "Channel": {"Name": list(NAMES)}}
    sizes = {f"PhysicalSize{axis}": 1.0 for axis in "XY"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    tifffile.imwrite(path, pixels, photometric="minisblack", tile=(64, 64), metadata={**metadata, **sizes})
    return path


@pytest.fixture
def slide_path(tmp_path: Path) -> Path:
    """Background of 100; a square of tissue with DAPI of 1000, half of it with CK of 500."""
    pixels = np.full((3, 512, 512), 100, np.uint16)
    pixels[0, 128:384, 128:384] = 1000
    pixels[2, 128:384, 128:256] = 500
    return write_fluorescence(tmp_path / "slide.ome.tif", pixels)


def test_signal_has_its_color(slide_path: Path) -> None:
    choice = ChannelChoice.from_text("CK=100:500,CD8=100:200,DAPI=100:1900")
    with read_as_rgb(open_slide(slide_path), choice, "the test") as slide:
        rgb = slide.read_region(0, Box(-1, 0, 400, 400))
    assert rgb.dtype == np.uint8
    assert rgb[0, 0].tolist() == [0, 0, 0]  # outside
    assert rgb[1, 0].tolist() == [0, 0, 0]  # background
    assert rgb[300, 200].tolist() == [255, 0, 128]  # both
    assert rgb[300, 300].tolist() == [0, 0, 128]  # DAPI alone


def test_limits_are_those_of_all_slides_together(slide_path: Path, tmp_path: Path) -> None:
    dark = write_fluorescence(tmp_path / "dark.ome.tif", np.full((3, 512, 512), 20, np.uint16))
    with open_slide(slide_path) as first, open_slide(dark) as second:
        one = complete_limits(ChannelChoice.from_text("dapi,cd8=7:70,3"), [first])
        both = complete_limits(ChannelChoice.from_text("dapi,cd8=7:70,3"), [first, second])
    assert one.label == "DAPI=100:1000,CD8=7:70,CK=100:500"
    assert both.label == "DAPI=20:1000,CD8=7:70,CK=20:500"


def test_tissue_is_found_by_its_signal(slide_path: Path) -> None:
    with open_slide(slide_path) as opened:
        choice = complete_limits(ChannelChoice.from_text(",".join(NAMES)), [opened])
        slide = CompositeSlide(opened, choice)
        mask, warnings = tissue_of_overview(slide.info, read_overview(slide), TissueConfig(), slide.info.pixel_size)
    scale = mask.shape[0] / 512
    true = np.zeros(mask.shape, bool)
    true[round(128 * scale) : round(384 * scale), round(128 * scale) : round(384 * scale)] = True
    assert not warnings
    assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.9  # smoothing widens it by a few micrometers


def test_no_signal_is_no_tissue(tmp_path: Path) -> None:
    path = write_fluorescence(tmp_path / "dark.ome.tif", np.full((3, 512, 512), 20, np.uint16))
    with open_slide(path) as opened:
        slide = CompositeSlide(opened, complete_limits(ChannelChoice.from_text(",".join(NAMES)), [opened]))
        mask, warnings = tissue_of_overview(slide.info, read_overview(slide), TissueConfig(), slide.info.pixel_size)
    assert not mask.any()
    assert "no channel has a signal" in warnings[0]


def test_kinds_of_slides_that_do_not_match(slide_path: Path, tmp_path: Path) -> None:
    stained = tmp_path / "stained.tif"
    tifffile.imwrite(stained, np.full((256, 256, 3), 200, np.uint8), photometric="rgb", tile=(64, 64), metadata=None)
    choice = ChannelChoice.from_text("DAPI=0:1,CD8=0:1,CK=0:1")
    other = ChannelChoice.from_text("DAPI=0:1,CD3=0:1,CK=0:1")
    with open_slide(slide_path) as fluorescence, open_slide(stained) as brightfield:
        assert read_as_rgb(brightfield, None, "a model") is brightfield
        with pytest.raises(InputError, match=r"a model reads brightfield .* slide\.ome\.tif shows fluorescence"):
            read_as_rgb(fluorescence, None, "a model")
        with pytest.raises(InputError, match=r"DAPI red, CD8 green, CK blue.*stained\.tif is a brightfield slide"):
            read_as_rgb(brightfield, choice, "a model")
        with pytest.raises(InputError, match="has no channel CD3"):
            read_as_rgb(fluorescence, other, "a model")


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_slides(name: str, shared_data: Path) -> None:
    path = shared_data / "slides" / name
    if not path.exists():
        pytest.skip(f"needs {name}")
    with open_slide(path) as opened:
        names = sorted(opened.info.channels, key=lambda name: "autofluorescence" in name.lower())
        choice = complete_limits(ChannelChoice.from_text(",".join(names[:3])), [opened])
        slide = CompositeSlide(opened, choice)
        thumbnail = slide.thumbnail(256)
        mask, _ = tissue_of_overview(slide.info, read_overview(slide), TissueConfig(), slide.info.pixel_size)
    assert thumbnail.dtype == np.uint8
    assert 5 < thumbnail.std() < 120
    assert REAL[name] < mask.mean()

"""Samples of slides that are not plain colors: transparency, infrared, missing tiles, red, green and blue in planes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_melanoma.core.geometry import Box
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.slides.reading.opening import open_slide

PIXEL, ALPHA = (200, 60, 120), 102  # 40 % opaque
WHITE = 255
TRANSPARENCY = {
    # kind of the fourth sample, stored color, color over white
    "associated": ("assocalpha", [round(value * ALPHA / 255) for value in PIXEL], (233, 177, 201)),
    "unassociated": ("unassalpha", PIXEL, (233, 177, 201)),
    "unspecified": ("unspecified", PIXEL, PIXEL),
}


@pytest.mark.parametrize("name", TRANSPARENCY)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_a_fourth_sample_is_read_as_the_file_states(name: str, bits: int, planes: Any, tmp_path: Path) -> None:
    kind, stored, expected = TRANSPARENCY[name]
    pixels = np.full((128, 96, 4), (*stored, ALPHA), np.uint16 if bits == 16 else np.uint8)
    pixels = pixels * 257 if bits == 16 else pixels
    how: dict[str, Any] = {"photometric": "rgb", "extrasamples": [kind], "planarconfig": planes, "compression": "zlib"}
    data = pixels if planes == "contig" else np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(tmp_path / "slide.tif", data, tile=(64, 64), metadata=None, **how)
    tifffile.imwrite(tmp_path / "photo.tif", data, metadata=None, **how)
    with open_slide(tmp_path / "slide.tif") as slide:
        read = slide.read_region(0, Box(0, 0, 128, 96))
        assert ("neither color nor transparency" in " ".join(slide.info.warnings)) == (kind == "unspecified")
    assert np.abs(read.astype(int) - expected).max() <= 1
    assert np.abs(read.astype(int) - read_photograph(tmp_path / "photo.tif").rgb).max() <= 1


def colors(channels: int, dtype: Any) -> np.ndarray:
    return np.full((192, 192, channels), 90 if dtype == np.uint8 else 23130, dtype)


SPARSE = {
    "RGB of 8 bits": (colors(3, np.uint8), {"photometric": "rgb"}, WHITE),
    "RGB of 16 bits": (colors(3, np.uint16), {"photometric": "rgb"}, WHITE),
    "RGB of 16 bits with alpha": (
        colors(4, np.uint16),
        {"photometric": "rgb", "extrasamples": ["unassalpha"]},
        WHITE,
    ),
    "RGB with multiplied alpha": (
        np.dstack([colors(3, np.uint8), np.full((192, 192), 200, np.uint8)]),
        {"photometric": "rgb", "extrasamples": ["assocalpha"]},
        WHITE,
    ),
    "separate planes of 16 bits": (colors(3, np.uint16), {"photometric": "rgb", "planarconfig": "separate"}, WHITE),
    "gray of 16 bits": (colors(1, np.uint16), {"photometric": "minisblack"}, 0),
    "inverted gray": (colors(1, np.uint8), {"photometric": "miniswhite"}, 0),
    "inverted gray of 16 bits": (colors(1, np.uint16), {"photometric": "miniswhite"}, 0),
    "a palette": (
        colors(1, np.uint8),
        {
            "photometric": "palette",
            "colormap": np.arange(256, dtype=np.uint16)[::-1] * 257 * np.ones((3, 1), np.uint16),
        },
        WHITE,
    ),
}


def tiles_with_gaps(pixels: np.ndarray, separate: bool) -> Iterator[np.ndarray | None]:
    """Yield tiles of 64 pixels; the second of each row is not stored."""
    for plane in np.moveaxis(pixels, -1, 0) if separate else [pixels]:
        for row in range(0, 192, 64):
            for column in range(0, 192, 64):
                yield None if column == 64 else plane[row : row + 64, column : column + 64]


@pytest.mark.parametrize("name", SPARSE)
def test_missing_tiles_are_background(name: str, tmp_path: Path) -> None:
    pixels, how, background = SPARSE[name]
    separate = how.get("planarconfig") == "separate"
    shape = np.moveaxis(pixels, -1, 0).shape if separate else pixels.shape
    tiles = tiles_with_gaps(pixels, separate)
    common = {"tile": (64, 64), "compression": "zlib", "metadata": None}
    tifffile.imwrite(
        tmp_path / "a.tif",
        tiles,
        shape=shape if pixels.shape[2] > 1 else shape[:2],
        dtype=pixels.dtype,
        **common,
        **how,
    )
    with open_slide(tmp_path / "a.tif") as slide:
        read = slide.read_region(0, Box(0, 0, 192, 192))
    assert (read[:, 64:128] == background).all()
    assert (read[:, :64] != background).all()


RED_GREEN_BLUE = (-16776961, 16711935, 65535)  # colors of channels in OME, as signed numbers
PLANES = {
    # names, colors, whether the image is stained tissue on glass, and whether it is shown in color
    "neither names nor colors": (None, None, True, True),
    "all channels white": (None, (-1, -1, -1), True, True),
    "names of colors": (("Red", "Green", "Blue"), None, True, True),
    "colors": (("a", "b", "c"), RED_GREEN_BLUE, True, True),
    "names of markers": (("DAPI", "CD8", "PD1"), None, True, False),
    "other colors": (None, (16711935, -16776961, 65535), True, False),
    "dark": (None, None, False, False),
    "dark, with names of colors": (("Red", "Green", "Blue"), None, False, False),
    "dark, with colors": (("a", "b", "c"), RED_GREEN_BLUE, False, False),
}


def stained(is_bright: bool) -> np.ndarray:
    rgb = np.full((192, 256, 3), 240 if is_bright else 6, np.uint8)
    rgb[32:100, 40:160] = (190, 40, 90)
    return rgb


@pytest.mark.parametrize("name", PLANES)
def test_red_green_and_blue_in_three_planes_are_color(name: str, tmp_path: Path) -> None:
    names, channel_colors, is_bright, is_color = PLANES[name]
    rgb, channel = stained(is_bright), dict[str, Any]()
    if names:
        channel["Name"] = list(names)
    if channel_colors:
        channel["Color"] = list(channel_colors)
    metadata = {"axes": "CYX", **({"Channel": channel} if channel else {})}
    planes = np.moveaxis(rgb, -1, 0)
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, photometric="minisblack", tile=(64, 64), metadata=metadata)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert slide.info.kind == ("brightfield" if is_color else "fluorescence")
        if is_color:
            assert slide.info.channels == ("red", "green", "blue")
            assert slide.info.colors == ()
        if name == "dark, with names of colors":
            assert slide.info.colors == ((255, 0, 0), (0, 255, 0), (0, 0, 255))
        np.testing.assert_array_equal(slide.read_region(0, Box(0, 0, 192, 256)), rgb)


def test_three_gray_samples_of_a_pixel_are_color_if_bright(tmp_path: Path) -> None:
    how: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig", "tile": (64, 64), "metadata": None}
    for is_bright in (True, False):
        tifffile.imwrite(tmp_path / "a.tif", stained(is_bright), **how)
        with open_slide(tmp_path / "a.tif") as slide:
            assert slide.info.kind == ("brightfield" if is_bright else "fluorescence")

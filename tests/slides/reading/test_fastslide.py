"""Slides read with fastslide. The files were written with pylibCZIrw, the library of Zeiss.

``focal_planes.czi``: 200 x 300 RGB pixels in strips of 100 columns, of which the middle one is missing, in two focal
planes, the second inverted; 0.25 x 0.26 um. ``fluorescence.czi``: two channels of 40 x 60 pixels, without a scale.
"""

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.slides.reading import fastslide
from napari_melanoma.slides.reading.detection import is_slide
from napari_melanoma.slides.reading.opening import open_slide

FILES = Path(__file__).parent / "files"
FOCAL_PLANES, FLUORESCENCE = FILES / "focal_planes.czi", FILES / "fluorescence.czi"


def test_a_brightfield_slide_has_the_pixels_of_the_first_focal_plane() -> None:
    rows, columns = np.mgrid[:200, :300]
    expected = np.stack([255 - columns // 3, 255 - rows // 2, np.full(rows.shape, 200)], -1).astype(np.uint8)
    expected[50:60, 80:100] = (160, 10, 60)
    expected[:, 100:200] = 255  # not scanned
    with open_slide(FOCAL_PLANES) as slide:
        np.testing.assert_array_equal(slide.read_region(0, Box(0, 0, 200, 300)), expected)
        info = slide.info
    assert (info.format, info.kind, info.channels) == ("Zeiss CZI", "brightfield", ("red", "green", "blue"))
    assert info.pixel_size == PixelSize(0.25, 0.26, "file")
    assert info.warnings[1:] == ("the first of 2 focal planes or times is shown.", fastslide.DAMAGE_NOTE)
    assert "pixels are not square: 0.26 um wide and 0.25 um high" in info.warnings[0]


def test_channels_of_fluorescence_keep_values_and_names() -> None:
    rows, columns = np.mgrid[:40, :60]
    values = rows * 60 + columns
    with open_slide(FLUORESCENCE) as slide:
        pixels = slide.read_region(0, Box(0, 0, 40, 60))
        info = slide.info
    np.testing.assert_array_equal(pixels, np.stack([values, values // 2], -1))
    assert pixels.dtype == np.uint16
    assert (info.kind, info.channels, info.pixel_size) == ("fluorescence", ("DAPI", "S100"), None)
    assert any("no pixel size" in warning for warning in info.scale_warnings)


def test_the_scale_of_the_user_takes_precedence() -> None:
    with open_slide(FLUORESCENCE, PixelSize(0.5, 0.5, "user")) as slide:
        assert slide.info.pixel_size == PixelSize(0.5, 0.5, "user")


def test_a_truncated_file_is_refused(tmp_path) -> None:
    path = tmp_path / "cut.czi"
    path.write_bytes(FOCAL_PLANES.read_bytes()[:8000])
    with pytest.raises(UnreadableImage, match=r"cut\.czi cannot be opened as a slide with fastslide.*Copy it again"):
        open_slide(path)


@pytest.mark.parametrize("name", ["slide.vsi", "slide.isyntax", "slide.czi"])
def test_without_the_library_the_error_states_how_to_install_it(name, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fastslide, "is_installed", lambda _: False)
    path = tmp_path / name
    path.write_bytes(FOCAL_PLANES.read_bytes())
    assert is_slide(path)
    with pytest.raises(UnreadableImage, match=r"no installed library can read.*napari-melanoma\[formats\]"):
        open_slide(path)

"""Thumbnails: upright, within their size, and with the same colors for every format."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.thumbnails import read_thumbnail


def picture(mode="RGB"):
    rgb = np.zeros((60, 200, 3), np.uint8)
    rgb[:, 100:] = (200, 30, 30)
    return Image.fromarray(rgb).convert(mode)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_thumbnail_fits_into_the_square_and_keeps_its_colors(tmp_path, suffix):
    picture().save(tmp_path / f"a{suffix}")
    small = read_thumbnail(tmp_path / f"a{suffix}", 50)
    assert small.shape == (15, 50, 3)
    assert np.abs(small[7, 40].astype(int) - (200, 30, 30)).max() < 12
    assert small[7, 10].max() < 12


def test_a_rotated_jpeg_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    picture().save(tmp_path / "a.jpg", exif=exif)
    assert read_thumbnail(tmp_path / "a.jpg", 50).shape == (50, 15, 3)


def test_a_gray_jpeg_is_read_as_rgb(tmp_path):
    picture("L").save(tmp_path / "a.jpg")
    assert read_thumbnail(tmp_path / "a.jpg", 50).shape == (15, 50, 3)


def test_a_small_photograph_stays_small(tmp_path):
    picture().save(tmp_path / "a.png")
    assert read_thumbnail(tmp_path / "a.png", 500).shape == (60, 200, 3)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 no photograph"])
def test_invalid_photographs_are_rejected(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadableImage):
        read_thumbnail(tmp_path / "a.jpg", 50)


def test_a_jpeg_that_claims_a_huge_size_is_refused(tmp_path):
    picture().save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    size = content.index(b"\xff\xc0") + 5  # in the frame header, after marker, length and precision
    (tmp_path / "a.jpg").write_bytes(content[:size] + struct.pack(">HH", 60_000, 60_000) + content[size + 4 :])
    with pytest.raises(UnreadableImage, match="60000 x 60000"):
        read_thumbnail(tmp_path / "a.jpg", 50)

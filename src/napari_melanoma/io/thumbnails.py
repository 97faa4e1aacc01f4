"""Thumbnails of photographs, and photographs resized to a square."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.files import open_regular
from napari_melanoma.io.formats import DAMAGE_ERRORS, check_image_size
from napari_melanoma.io.photographs import read_photograph

if TYPE_CHECKING:
    from PIL import Image


def read_thumbnail(path: Path, side_px: int) -> NDArray[np.uint8]:
    """Read a photograph as a thumbnail that fits into a square.

    Returns uint8 (row, column, channel=3), upright; the longer side is at most ``side_px``.
    """
    return read_noted_thumbnail(path, side_px)[0]


def read_noted_thumbnail(path: Path, side_px: int) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Read a photograph as ``read_thumbnail`` does; also return the notes on what was assumed in reading it."""
    from PIL import Image

    image = _read_reduced_jpeg(path, side_px)
    notes: tuple[str, ...] = ()
    if image is None:
        photograph = read_photograph(path)
        image, notes = Image.fromarray(photograph.rgb), photograph.notes
    image.thumbnail((side_px, side_px))
    return np.asarray(image), notes


def _read_reduced_jpeg(path: Path, side_px: int) -> Image.Image | None:
    """Decode an RGB JPEG at the smallest of its reduced sizes that is large enough; None for other files.

    The reduced sizes are a half, a quarter and an eighth; decoding them is many times faster.
    """
    from PIL import ImageOps
    from PIL.JpegImagePlugin import JpegImageFile

    try:
        with open_regular(path) as file, JpegImageFile(file) as image:
            check_image_size(*image.size, smallest=1)
            if image.mode != "RGB":  # other color modes need the full reader
                return None
            image.draft("RGB", (side_px, side_px))
            return ImageOps.exif_transpose(image).convert("RGB")
    except (UnreadableImage, *DAMAGE_ERRORS):  # the full reader reports it
        return None


def fit_input(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resize a photograph to a network's square input, antialiased, without keeping the aspect ratio.

    ``rgb``: uint8 (row, column, channel). ``side``: of the square, in pixels. Returns uint8 (side, side, channel).
    """
    if rgb.shape[:2] == (side, side):
        return rgb
    from PIL import Image  # this module is imported when a dock opens, before any image

    return np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0))

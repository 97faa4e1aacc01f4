"""Small pictures of photographs, and photographs fitted to a square."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.io.photographs import read_photograph

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image


def read_thumbnail(path: Path, side_px: int) -> NDArray[np.uint8]:
    """Read a photograph so small that it fits into a square.

    Returns uint8 (row, column, channel=3), upright; the longer side is ``side_px`` or, of a smaller photograph, less.
    """
    from PIL import Image

    picture = _read_jpeg_small(path, side_px)
    if picture is None:
        picture = Image.fromarray(read_photograph(path).rgb)
    picture.thumbnail((side_px, side_px))
    return np.asarray(picture)


def _read_jpeg_small(path: Path, side_px: int) -> Image.Image | None:
    """Decode a JPEG at an eighth of its size or so, which is many times quicker; None for every other file."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=("JPEG",)) as file:
            if file.mode != "RGB":  # its colors need the care of the reader
                return None
            file.draft("RGB", (side_px, side_px))
            return ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return None


def fit_input(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resize a photograph to the network's square, antialiased; the aspect ratio is given up.

    ``rgb``: uint8 (row, column, channel). ``side``: of the square, in pixels. Returns uint8 (side, side, channel).
    """
    if rgb.shape[:2] == (side, side):
        return rgb
    from PIL import Image  # a dock that opens comes by here, long before a photograph does

    return np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0))

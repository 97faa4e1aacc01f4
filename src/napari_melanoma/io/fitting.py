"""Fitting a photograph to a square, as networks want it; a module of its own because every layer above does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fit_input(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resize a photograph to the network's square, antialiased; the aspect ratio is given up.

    ``rgb``: uint8 (row, column, channel). ``side``: of the square, in pixels. Returns uint8 (side, side, channel).
    """
    if rgb.shape[:2] == (side, side):
        return rgb
    from PIL import Image  # a dock that opens comes by here, long before a photograph does

    return np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0))

"""The square region of interest around a lesion, as P2 cuts it for a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.masks import bounding_box
from napari_melanoma.core.geometry import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.region import RoiConfig


@dataclass(frozen=True)
class Roi:
    """A square cut from a photograph: where it lies, and its pixels as uint8 (row, column, channel=3)."""

    box: Box
    image: NDArray[np.uint8]


def square_around(mask: NDArray[np.bool_], margin: float) -> Box | None:
    """Smallest square around everything in a mask, with a margin.

    The square is centred on the bounding box and moves inside where it would leave the image. Where the image is too
    small for it, the margin shrinks first; only a lesion longer than the image's shorter side leaves a square that
    reaches outside, equally far on both sides.

    ``mask``: boolean, (row, column); several lesions are taken together. A square of whole pixels that contains the
    bounding box; None where the mask is empty.
    """
    lesion = bounding_box(mask)
    if lesion is None:
        return None
    longer = max(lesion.height, lesion.width)
    side = max(longer, min(round(longer * (1 + 2 * margin)), *mask.shape))
    top = _placed(lesion.top, lesion.height, side, mask.shape[0])
    left = _placed(lesion.left, lesion.width, side, mask.shape[1])
    return Box(top, left, side, side)


def extract_roi(rgb: NDArray[np.uint8], mask: NDArray[np.bool_], config: RoiConfig) -> Roi | None:
    """Cut the square around the lesion and resize it without aliasing, as in paper P2.

    What lies outside the photograph is zero, also where the background is kept.

    ``rgb``: photograph, uint8, (row, column, channel=3). ``mask``: boolean, (row, column); several lesions are taken
    together. None where the mask is empty.
    """
    from PIL import Image

    box = square_around(mask, config.margin)
    if box is None:
        return None
    top, left = max(0, box.top), max(0, box.left)
    seen = slice(top, box.top + box.height), slice(left, box.left + box.width)
    part = rgb[seen]
    if config.background == "zero":
        part = part * mask[seen][..., None]
    square = np.zeros((box.height, box.width, 3), np.uint8)
    square[top - box.top :, left - box.left :][: part.shape[0], : part.shape[1]] = part
    size = (config.side_px, config.side_px)
    resized = Image.fromarray(square).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return Roi(box, np.array(resized))


def _placed(start: int, length: int, side: int, available: int) -> int:
    """First pixel of the square along one axis: centred on the lesion, then moved inside as far as it goes."""
    if side > available:
        return -((side - available) // 2)
    return min(max(0, start - (side - length) // 2), available - side)

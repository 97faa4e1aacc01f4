"""The small picture of a slide in which tissue is looked for: what cannot be decoded is no colour of the slide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import Box
    from napari_melanoma.io.slides.slide import Slide

THUMBNAIL_PX = 2048
_GLASS = 255


def read_overview(slide: Slide) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read the picture, also of a slide whose file is damaged.

    Nobody knows what was where a tile cannot be decoded. It is glass in the picture, so that it shifts no threshold,
    and counts as tissue afterwards, so that its tiles are told as failed rather than left out in silence.

    Parameters
    ----------
    slide : Slide
        Open; brightfield.

    Returns
    -------
    picture : numpy.ndarray
        uint8 (row, column, channel=3) of the whole slide.
    damage : numpy.ndarray
        bool (row, column): what cannot be decoded.
    """
    picture, boxes = slide.thumbnail_around_damage(THUMBNAIL_PX)
    damage = np.zeros(picture.shape[:2], bool)
    full = slide.info.levels[0]
    scale = (picture.shape[0] / full.height, picture.shape[1] / full.width)
    for box in boxes:
        damage[_cells(box, scale)] = True
    if boxes:
        picture = np.where(damage[..., None], np.uint8(_GLASS), picture)
    return picture, damage


def _cells(box: Box, scale: tuple[float, float]) -> tuple[slice, slice]:
    """Pixels of the picture that a box of level 0 touches."""
    rows = slice(math.floor(box.top * scale[0]), math.ceil((box.top + box.height) * scale[0]))
    columns = slice(math.floor(box.left * scale[1]), math.ceil((box.left + box.width) * scale[1]))
    return rows, columns

"""The small picture of a slide in which tissue is looked for: what cannot be decoded is no colour of the slide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.placement import MapPlace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.analysis.tissue import TissueConfig
    from napari_melanoma.core.geometry import Box, PixelSize
    from napari_melanoma.io.slides.slide import Slide, SlideInfo

THUMBNAIL_PX = 2048
_GLASS = 255


def read_overview(slide: Slide) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read the picture, also of a slide whose file is damaged.

    Nobody knows what was where a tile cannot be decoded. It is glass in the picture, so that it shifts no threshold,
    and counts as tissue afterwards, so that its tiles are told as failed rather than left out in silence.

    Returns uint8 (row, column, channel=3) of the whole slide. Returns bool (row, column): what cannot be decoded.
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


def scanned_cells(info: SlideInfo, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Say which part of a picture of the whole slide was scanned: what is beyond is a filling, and no glass.

    Returns rows and columns; all of them where the file says nothing, or nothing of use.
    """
    full, box = info.levels[0], info.bounds
    everything = slice(0, shape[0]), slice(0, shape[1])
    if box is None:
        return everything
    rows, columns = _cells(box, (shape[0] / full.height, shape[1] / full.width))
    rows = slice(max(0, rows.start), min(rows.stop, shape[0]))
    columns = slice(max(0, columns.start), min(columns.stop, shape[1]))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else everything


def tissue_of_overview(
    info: SlideInfo,
    overview: tuple[NDArray[np.uint8], NDArray[np.bool_]],
    config: TissueConfig,
    scale: PixelSize | None,
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Find the tissue in what was scanned.

    Returns bool (row, column) of the whole slide; what cannot be decoded counts as tissue.
    """
    from napari_melanoma.analysis.tissue import find_tissue

    picture, damage = overview
    full, scanned = info.levels[0], scanned_cells(info, picture.shape)
    place = MapPlace.of_thumbnail(picture.shape, (full.height, full.width), scale)
    found = find_tissue(picture[scanned], place.cell_um, config)
    mask = damage.copy()
    mask[scanned] |= found.mask
    return mask, found.warnings


def _cells(box: Box, scale: tuple[float, float]) -> tuple[slice, slice]:
    """Pixels of the picture that a box of level 0 touches."""
    rows = slice(math.floor(box.top * scale[0]), math.ceil((box.top + box.height) * scale[0]))
    columns = slice(math.floor(box.left * scale[1]), math.ceil((box.left + box.width) * scale[1]))
    return rows, columns

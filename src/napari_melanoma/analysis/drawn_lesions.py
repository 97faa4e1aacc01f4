"""A lesion that somebody drew: its outline stays as it was drawn and is measured as such, the cells under it answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.cell_polygons import cell_polygons, cells_within
from napari_melanoma.analysis.masks import bounding_box
from napari_melanoma.analysis.shape import perimeter
from napari_melanoma.analysis.slide_lesions import LesionConfig, LesionMaps, Region, measure_region, region_of
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlace
from napari_melanoma.core.polygons import joint_box

if TYPE_CHECKING:
    from napari_melanoma.analysis.slide_lesions import LesionClass, SlideLesion
    from napari_melanoma.core.polygons import Polygon

FINE = 1024  # cells along the longer side of what was drawn: its area is off by less than 0.2 %
CROSSED = 0.02  # of the area: rings enclose so much more or less than their inside only where they cross themselves


def measure_drawn(
    polygons: Sequence[Polygon], maps: LesionMaps, config: LesionConfig, *, index: int, label: LesionClass | None = None
) -> SlideLesion:
    """Measure and class a lesion that was drawn.

    Area, perimeter and extent are those of the drawing itself, not of cells; probability and tissue are those of the
    cells whose centres lie within, or of the one cell that it lies in where it is smaller than that.

    ``polygons``: what was drawn, in pixels of the slide's finest level, at least one. Where an outline crosses itself,
    what lies within counts, and its outer edge becomes the outline. With origin ``drawn``; its probability is not-a-
    number where nothing is known under it.
    """
    cells, tissue = _cells_under(polygons, maps), maps.tissue_cells
    lesion = measure_region(cells, maps, config, index=index, tissue=tissue)
    if maps.malignancy is not None and lesion.presence < config.low:
        # Of what is hardly there the share that is malignant is noise.
        unsaid = f"the model sees no lesion where you drew (probability that there is one: {lesion.presence:.2f})"
    else:
        unsaid = "no tile was analysed where you drew" if math.isnan(lesion.probability) else ""
    if label is None and unsaid:
        raise InputError(f"{unsaid}, so there is no class from it. Choose malignant or benign.")
    drawn = _shape(lesion, polygons, maps.place)
    share = lesion.tissue_share * drawn.area_px / lesion.area_px
    return replace(drawn, label=label or lesion.label, tissue_share=share, origin="drawn")


def _cells_under(polygons: Sequence[Polygon], maps: LesionMaps) -> Region:
    """Cells whose centres lie within; the one that holds the middle where there is none."""
    region = region_of(polygons, maps)
    box = bounding_box(region.mask)
    if box is not None:
        return Region(region.top + box.top, region.left + box.left, region.mask[box.slices])
    around = joint_box(tuple(polygons))
    middle = (around.top + around.height / 2, around.left + around.width / 2)
    row, column = np.floor(maps.place.to_map(middle)).astype(int).tolist()
    if not (0 <= row < maps.presence.shape[0] and 0 <= column < maps.presence.shape[1]):
        raise InputError("what was drawn lies beside the part of the slide that was analysed. Draw within it.")
    return Region(row, column, np.ones((1, 1), bool))


def _shape(lesion: SlideLesion, polygons: Sequence[Polygon], place: MapPlace) -> SlideLesion:
    """The lesion with the measurements and the outline of the drawing."""
    around = joint_box(tuple(polygons))
    step = max(around.height, around.width, 1) / FINE
    fine = MapPlace(float(around.top), float(around.left), step, step, place.pixel_size)
    window = Box(0, 0, math.ceil(around.height / step), math.ceil(around.width / step))
    mask = cells_within(polygons, fine, window)
    box, um = bounding_box(mask), fine.cell_um
    if box is None:
        raise InputError("what was drawn encloses nothing. Draw around the lesion.")
    cells = float(np.count_nonzero(mask))
    area = cells * fine.cell_area_px
    crosses = abs(sum(polygon.area for polygon in polygons) / area - 1) > CROSSED
    return replace(
        lesion,
        area_px=area,
        perimeter_px=perimeter(mask, (step, step)),
        area_mm2=None if um is None else cells * um[0] * um[1] / 1e6,
        perimeter_mm=None if um is None else perimeter(mask, (um[0] / 1e3, um[1] / 1e3)),
        height_mm=None if um is None else box.height * um[0] / 1e3,
        width_mm=None if um is None else box.width * um[1] / 1e3,
        extent=cells / (box.height * box.width),
        polygons=cell_polygons(mask, fine) if crosses else tuple(polygons),
    )

"""Areas and outlines of the classes of a map: their size in square millimeters, and ``classes.geojson``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_melanoma.io.geojson import Annotation, Color
from napari_melanoma.slides.lesions import ClippedCells, clip_to_slide_end
from napari_melanoma.slides.map_polygons import cell_polygons, simplify_cell_polygon
from napari_melanoma.slides.maps import SlideMaps

MIN_REGION_CELLS = 4  # smaller regions are left out


def measure_class_areas(maps: SlideMaps, classes: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Measure the area in which each class is the most probable one.

    Returns, by class, ``mm2`` (None without a scale) and ``percent`` of the analyzed area.
    """
    known = np.isfinite(maps.probability[0])
    cells = ClippedCells.clip(known, maps.placement, maps.end)
    shares = np.outer(cells.rows, cells.columns)[known]
    counts = np.bincount(maps.probability[:, known].argmax(axis=0), shares, minlength=len(classes))
    cell = maps.placement.cell_area_mm2
    return {
        name: {"mm2": None if cell is None else count * cell, "percent": 100 * count / max(1, counts.sum())}
        for name, count in zip(classes, counts.tolist(), strict=True)
    }


def describe_class_areas(areas: Mapping[str, Mapping[str, float | None]]) -> str:
    """Describe areas of classes, such as ``dermis 0.8 mm² (34 %), fat 1.5 mm² (66 %) of the analyzed area``.

    Background is part of that area. Empty without classes.
    """
    texts = (f"{name} {_format_mm2(area['mm2'])}({area['percent']:.1f} %)" for name, area in areas.items())
    return f"{', '.join(texts)} of the analyzed area" if areas else ""


def outline_classes(
    maps: SlideMaps, classes: Sequence[str], colors: Mapping[str, Color | None], min_cells: int = MIN_REGION_CELLS
) -> tuple[Annotation, ...]:
    """Outline the regions in which a class is the most probable one, one annotation for each region.

    ``min_cells``: smaller regions are left out, in cells of the map.
    """
    known = np.isfinite(maps.probability[0])
    labels = np.where(known, np.nan_to_num(maps.probability).argmax(axis=0), -1)
    min_area, regions = min_cells * maps.placement.cell_area_px, []
    for label, name in enumerate(classes):
        for polygon in cell_polygons(labels == label, maps.placement):
            if polygon.area >= min_area:
                shown = clip_to_slide_end(simplify_cell_polygon(polygon, maps.placement), maps.end)
                values = _measure(clip_to_slide_end(polygon, maps.end).area, maps)
                regions.append(Annotation((shown,), name, colors.get(name), measurements=values))
    return tuple(regions)


def _measure(area_px: float, maps: SlideMaps) -> dict[str, Any]:
    size = maps.placement.pixel_size
    return {} if size is None else {"area_mm2": area_px * size.pixel_area_mm2}


def _format_mm2(mm2: float | None) -> str:
    return "" if mm2 is None else f"{mm2:.3g} mm² "

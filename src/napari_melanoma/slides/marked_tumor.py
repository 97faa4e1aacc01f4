"""Tumor that a reader has outlined, on the map of a model that has no class of tumor: for the Breslow thickness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.polygons import Polygon, rasterize_rings
from napari_melanoma.depth.tumor_maps import ClassRoles, TissueMaps, interpolate_maps
from napari_melanoma.io.geojson import CANVAS, Annotation, Origin, read_geojson
from napari_melanoma.models import DEFAULT_TILE_MODEL
from napari_melanoma.slides.depth import MAX_CELLS, DepthMap
from napari_melanoma.slides.maps import SlideMaps
from napari_melanoma.slides.tissue_classifier.classifier import guess_roles

if TYPE_CHECKING:
    from napari_melanoma.core.geometry import MapPlacement

TUMOR = "tumor"
FINER_CELLS = 16  # cells of 8 micrometers in one of 32


def check_surface_model(name: str, classes: Sequence[str], roles: Sequence[str]) -> None:
    """Raise ``ConfigError`` for a model that an outlined tumor cannot be measured with.

    ``classes``, ``roles``: of the model ``name``; it needs epidermis and background, and must not detect tumor itself.
    """
    if not has_surface(roles):
        raise ConfigError(
            "the thickness of an outlined tumor requires a tissue classifier with classes of epidermis and background, "
            f"but none of tumor, such as {DEFAULT_TILE_MODEL}; '{name}' predicts {', '.join(classes) or 'no classes'}. "
            "Select such a model, or leave out the outlines."
        )


def check_one_slide(slides: Sequence[Path], outlines: Path | None) -> None:
    """Raise ``ConfigError`` if the outlines of a tumor, which are those of one slide, are given for several slides."""
    if outlines is not None and len(slides) > 1:
        raise ConfigError(
            f"{outlines.name} outlines the tumor of one slide, but {len(slides)} slides were selected. Analyze each "
            "slide with its own outlines."
        )


def has_surface(roles: Sequence[str]) -> bool:
    """Whether classes have the roles of epidermis and background, but none that of tumor."""
    return {"epidermis", "background"} <= {*roles} and ClassRoles.from_names(roles) is None


def select_tumor(regions: Sequence[Annotation]) -> tuple[Annotation, ...]:
    """Return the regions whose class is named tumor or melanoma, in any of the languages of ``guess_roles``."""
    return tuple(region for region in regions if "tumor" in guess_roles([region.class_name]))


def read_tumor(path: Path, origin: Origin = CANVAS) -> tuple[Polygon, ...]:
    """Read the outlines of the tumor in a GeoJSON file, (row, column) in pixels of the finest level.

    Raises ``InputError`` if there is no region of the class tumor or melanoma.
    """
    regions = read_geojson(path, origin, areas_only=True).annotations
    found = select_tumor(regions)
    if not found:
        listed = ", ".join(sorted({region.class_name or "none" for region in regions})) or "no regions"
        raise InputError(
            f"{path.name} has no outline of a tumor: expected regions of the class Melanoma or Tumor, found {listed}."
        )
    return tuple(polygon for region in found for polygon in region.polygons)


def mark_tumor(depth_map: DepthMap, tumor: Sequence[Polygon]) -> DepthMap:
    """Add an outlined tumor as a class to the map of a tissue classifier, interpolated to cells of 8 micrometers.

    ``tumor``: its outlines, (row, column) in pixels of the finest level.
    """
    values, place = np.asarray(depth_map.values), depth_map.placement
    if values[0].size * FINER_CELLS <= MAX_CELLS:  # a larger map keeps its cells
        finer, place = interpolate_maps(TissueMaps(values, depth_map.classes), place)
        values = np.asarray(finer.probability)
    inside = _rasterize(tumor, place, (values.shape[1], values.shape[2]))
    marked = np.concatenate([values, np.zeros((1, *inside.shape), np.uint8)])
    marked[:, inside] = 0
    marked[-1, inside] = 255
    overview = SlideMaps(marked.astype(np.float32) / np.float32(255), place, depth_map.overview.end)
    classes = (*depth_map.classes, TUMOR)
    return replace(depth_map, values=marked, classes=classes, overview=overview, painted=True)


def _rasterize(polygons: Sequence[Polygon], place: MapPlacement, shape: tuple[int, int]) -> NDArray[np.bool_]:
    inside = np.zeros(shape, bool)
    for polygon in polygons:
        inside |= rasterize_rings([place.to_map(ring) for ring in polygon.arrays], shape)
    return inside

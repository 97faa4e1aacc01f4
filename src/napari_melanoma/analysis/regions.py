"""Regions that readers draw on a slide, with the class that each shows: functions from regions to regions.

A region is an ``Annotation``, as QuPath's GeoJSON has it, so that whatever another program keeps with it stays.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.cell_polygons import cell_polygons
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.polygon_repair import untangled
from napari_melanoma.core.polygons import Polygon, as_ring, signed_area
from napari_melanoma.io.geojson import Annotation, Color

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.placement import MapPlace

READER = "reader"  # property of a region: who drew it
IGNORED = "*"  # at the end of a class's name, as QuPath has it: what lies there is not learnt from

CORNERS = 3  # of the least area

Regions = tuple[Annotation, ...]


@dataclass(frozen=True)
class RegionClass:
    """A class that regions may have: its name and its colour, red, green, blue, 0 to 255."""

    name: str
    color: Color


# Of colours that stains have not: pink and purple are lost on H&E.
DEFAULT_CLASSES = (
    RegionClass("Melanoma", (200, 0, 0)),
    RegionClass("Naevus", (240, 160, 0)),
    RegionClass("Epidermis", (0, 90, 255)),
    RegionClass("Dermis", (0, 158, 115)),
    RegionClass("Background", (120, 170, 200)),
    RegionClass("Ignore*", (180, 180, 180)),
)


def reader_of(region: Annotation) -> str:
    """Say who drew a region.

    Empty where nobody said so.
    """
    return str(region.other.get(READER) or "")


def is_ignored(class_name: str) -> bool:
    """Say whether what is of a class shall not be learnt from."""
    return class_name.endswith(IGNORED)


def drawn_region(vertices: NDArray[np.floating], of: RegionClass, reader: str = "") -> Annotation:
    """Make a region of what was drawn.

    ``vertices``: (vertex, 2) as (row, column) in pixels of the slide's finest level. With an id of its own. Where the
    line crosses itself, all that it runs around.
    """
    polygons = _enclosed(Polygon(as_ring(np.asarray(vertices, np.float64))))
    if not polygons:
        raise InputError("what was drawn encloses nothing: a region takes at least three points around an area.")
    return _region(polygons, of, reader)


def painted_regions(
    labels: NDArray[np.integer], place: MapPlace, classes: Sequence[RegionClass], reader: str = ""
) -> Regions:
    """Make regions of what was painted: one for each class and each patch of it.

    ``labels``: whole numbers (row, column): 0 for nothing, 1 for the first class.
    """
    found = []
    for number, of in enumerate(classes, start=1):
        found += [_region((polygon,), of, reader) for polygon in cell_polygons(labels == number, place)]
    return tuple(found)


def reclassed(regions: Regions, ids: Collection[str], of: RegionClass) -> Regions:
    """Give regions another class."""
    return tuple(replace(one, class_name=of.name, color=of.color) if one.id in ids else one for one in regions)


def removed(regions: Regions, ids: Collection[str]) -> Regions:
    """Drop regions."""
    return tuple(one for one in regions if one.id not in ids)


def reshaped(regions: Regions, at: tuple[str, int, int], vertices: NDArray[np.floating]) -> Regions:
    """Move the vertices of a ring of a region.

    ``vertices``: (vertex, 2) as (row, column) in pixels of the finest level. Returns all of the slide; without a
    region, or a hole, that encloses nothing any more.
    """
    return tuple(
        moved for one in regions if (moved := _reshaped(one, at[1:], vertices) if one.id == at[0] else one) is not None
    )


def with_ids(regions: Sequence[Annotation], known: Collection[str] = ()) -> Regions:
    """Give each region an id that no other has.

    In their order; an id that is free is kept.
    """
    taken, found = set(known), []
    for region in regions:
        kept = region if region.id and region.id not in taken else replace(region, id=str(uuid.uuid4()))
        taken.add(kept.id)
        found.append(kept)
    return tuple(found)


def _region(polygons: tuple[Polygon, ...], of: RegionClass, reader: str) -> Annotation:
    """A new region."""
    other = {READER: reader} if reader else {}
    return Annotation(polygons, of.name, of.color, id=str(uuid.uuid4()), other=other)


def _reshaped(region: Annotation, at: tuple[int, int], vertices: NDArray[np.floating]) -> Annotation | None:
    """A region with another ring; None where nothing is left of it."""
    number, ring = at
    polygon, drawn = region.polygons[number], as_ring(np.asarray(vertices, np.float64))
    if ring:
        holes = list(polygon.holes)
        holes[ring - 1 : ring] = [drawn]
        parts = _enclosed(replace(polygon, holes=tuple(holes)))
    else:
        parts = _enclosed(replace(polygon, outer=drawn))
    polygons = (*region.polygons[:number], *parts, *region.polygons[number + 1 :])
    return replace(region, polygons=polygons) if polygons else None


def _enclosed(polygon: Polygon) -> tuple[Polygon, ...]:
    """What a polygon encloses: several where it crosses itself, none where it has no area."""
    if len(polygon.outer) < CORNERS:
        return ()
    holes = tuple(hole for hole in polygon.holes if len(hole) >= CORNERS)
    return tuple(part for part in untangled(replace(polygon, holes=holes)) if signed_area(part.outer))

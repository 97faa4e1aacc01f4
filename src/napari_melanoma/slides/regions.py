"""Regions that readers draw on a slide, each with its class: values, edits and maps."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.polygons import Polygon, as_array, as_ring, joint_box, signed_area, untangle_polygon
from napari_melanoma.io.geojson import Annotation, Color
from napari_melanoma.slides.cell_polygons import cell_polygons, rasterize_polygons

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.placement import MapPlacement

READER = "reader"  # property of a region: who drew it
IGNORED_CLASS = "*"  # at the end of a class's name, as QuPath has it: what lies there is not learnt from
MIN_VERTICES = 3  # of the least area
Regions = tuple[Annotation, ...]


@dataclass(frozen=True)
class RegionClass:
    """A class that regions may have: its name and its color, red, green, blue, 0 to 255."""

    name: str
    color: Color


# Of colors that stains have not: pink and purple are lost on H&E.
DEFAULT_CLASSES = (
    RegionClass("Melanoma", (200, 0, 0)),
    RegionClass("Naevus", (240, 160, 0)),
    RegionClass("Epidermis", (0, 90, 255)),
    RegionClass("Dermis", (0, 158, 115)),
    RegionClass("Background", (120, 170, 200)),
    RegionClass("Ignore*", (180, 180, 180)),
)


def region_reader(region: Annotation) -> str:
    """Say who drew a region.

    Empty where nobody said so.
    """
    return str(region.properties.get(READER) or "")


def is_ignored(class_name: str) -> bool:
    """Return whether what is of a class shall not be learnt from."""
    return class_name.endswith(IGNORED_CLASS)


def region_from_vertices(vertices: NDArray[np.floating], region_class: RegionClass, reader: str = "") -> Annotation:
    """Make a region of what was drawn.

    ``vertices``: (vertex, 2) as (row, column) in pixels of the slide's finest level. With an id of its own. Where the
    line crosses itself, all that it runs around.
    """
    polygons = _enclosed_polygons(Polygon(as_ring(np.asarray(vertices, np.float64))))
    if not polygons:
        raise InputError("what was drawn encloses nothing: a region takes at least three points around an area.")
    return _new_region(polygons, region_class, reader)


def regions_from_labels(
    labels: NDArray[np.integer], place: MapPlacement, classes: Sequence[RegionClass], reader: str = ""
) -> Regions:
    """Make regions of what was painted: one for each class and each patch of it.

    ``labels``: whole numbers (row, column): 0 for nothing, 1 for the first class.
    """
    found = []
    for number, of in enumerate(classes, start=1):
        found += [_new_region((polygon,), of, reader) for polygon in cell_polygons(labels == number, place)]
    return tuple(found)


def set_region_class(regions: Regions, ids: Collection[str], region_class: RegionClass) -> Regions:
    """Return regions another class."""
    return tuple(
        replace(one, class_name=region_class.name, color=region_class.color) if one.id in ids else one
        for one in regions
    )


def remove_regions(regions: Regions, ids: Collection[str]) -> Regions:
    """Drop regions."""
    return tuple(one for one in regions if one.id not in ids)


def reshape_region(regions: Regions, ring_key: tuple[str, int, int], vertices: NDArray[np.floating]) -> Regions:
    """Move the vertices of a ring of a region.

    ``vertices``: (vertex, 2) as (row, column) in pixels of the finest level. Returns all of the slide; without a
    region, or a hole, that encloses nothing any more.
    """
    return tuple(
        moved
        for one in regions
        if (moved := _reshape(one, ring_key[1:], vertices) if one.id == ring_key[0] else one) is not None
    )


def assign_ids(regions: Sequence[Annotation], known: Collection[str] = ()) -> Regions:
    """Return each region an id that no other has.

    In their order; an id that is free is kept.
    """
    taken, found = set(known), []
    for region in regions:
        kept = region if region.id and region.id not in taken else replace(region, id=str(uuid.uuid4()))
        taken.add(kept.id)
        found.append(kept)
    return tuple(found)


def _new_region(polygons: tuple[Polygon, ...], of: RegionClass, reader: str) -> Annotation:
    """A new region."""
    other = {READER: reader} if reader else {}
    return Annotation(polygons, of.name, of.color, id=str(uuid.uuid4()), properties=other)


def _reshape(region: Annotation, at: tuple[int, int], vertices: NDArray[np.floating]) -> Annotation | None:
    """A region with another ring; None where nothing is left of it."""
    number, ring = at
    polygon, drawn = region.polygons[number], as_ring(np.asarray(vertices, np.float64))
    if ring:
        holes = list(polygon.holes)
        holes[ring - 1 : ring] = [drawn]
        parts = _enclosed_polygons(replace(polygon, holes=tuple(holes)))
    else:
        parts = _enclosed_polygons(replace(polygon, outer=drawn))
    polygons = (*region.polygons[:number], *parts, *region.polygons[number + 1 :])
    return replace(region, polygons=polygons) if polygons else None


def _enclosed_polygons(polygon: Polygon) -> tuple[Polygon, ...]:
    """What a polygon encloses: several where it crosses itself, none where it has no area."""
    if len(polygon.outer) < MIN_VERTICES:
        return ()
    holes = tuple(hole for hole in polygon.holes if len(hole) >= MIN_VERTICES)
    return tuple(part for part in untangle_polygon(replace(polygon, holes=holes)) if signed_area(part.outer))


MAX_SHOWN_REGIONS = 400  # outlines; napari takes 1 to 2 ms for each, and slows down with all of them
MAX_VERTICES = 600  # of one outline
OUTLINE_RESOLUTION = 16_000  # parts of a slide's longer side: how far an outline with more vertices may be off
ELLIPSE_VERTICES = 48  # vertices of an ellipse
OUTER_RING = 0
RingKey = tuple[str, int, int]  # id of a region, number of its polygon, number of the ring in that


@dataclass(frozen=True)
class RegionOutline:
    """An outline as it is shown: which ring it is, and its vertices (vertex, 2) in pixels of the finest level."""

    ring_key: RingKey
    vertices: NDArray[np.float64]


@dataclass(frozen=True)
class ShapesState:
    """The shapes of a layer: vertices of each in pixels of the finest level, its kind, and which ``Shown`` it was."""

    vertices: Sequence[NDArray[np.float64]]
    kinds: Sequence[str]
    keys: Sequence[int]


def region_outlines(regions: Sequence[Annotation], size: tuple[int, int]) -> tuple[RegionOutline, ...]:
    """Choose what is shown of regions, in as few vertices as can be seen.

    ``size``: height and width of the slide in pixels of its finest level. Every ring of the first regions, at most
    ``MOST_DRAWN``.
    """
    tolerance = max(size) / OUTLINE_RESOLUTION
    rings = [
        ((region.id, part, number), ring)
        for region in regions
        for part, polygon in enumerate(region.polygons)
        for number, ring in enumerate(polygon.rings)
    ]
    return tuple(RegionOutline(at, _simplify(as_array(ring), tolerance)) for at, ring in rings[:MAX_SHOWN_REGIONS])


def apply_shape_edits(
    regions: Regions,
    outlines: Sequence[RegionOutline],
    shapes: ShapesState,
    region_class: RegionClass,
    reader: str = "",
) -> tuple[Regions, Regions]:
    """Change regions as the shapes were changed that show them.

    Returns all of the slide, the new ones last; and the new ones alone.
    """
    seen: set[int] = set()
    fresh = []
    for vertices, kind, key in zip(shapes.vertices, shapes.kinds, shapes.keys, strict=True):
        if not 0 <= key < len(outlines) or key in seen:
            fresh.append(shape_outline(vertices, kind))
            continue
        seen.add(key)
        if not np.array_equal(vertices, outlines[key].vertices):
            regions = reshape_region(regions, outlines[key].ring_key, vertices)
    gone = [one.ring_key for key, one in enumerate(outlines) if key not in seen]
    ids = {at[0] for at in gone if at[2] == OUTER_RING}
    for at in sorted(gone, reverse=True):
        if at[0] not in ids:
            regions = reshape_region(regions, at, np.zeros((0, 2)))
    drawn = tuple(region_from_vertices(vertices, region_class, reader) for vertices in fresh)
    return (*remove_regions(regions, ids), *drawn), drawn


def shape_outline(vertices: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return the outline of a shape of napari.

    ``vertices``: float64 (vertex, 2); of an ellipse the corners of the box around it. Returns float64 (vertex, 2).
    """
    if kind != "ellipse" or len(vertices) != 4:
        return vertices
    angle = np.linspace(0, 2 * np.pi, ELLIPSE_VERTICES, endpoint=False)[:, None]
    middle = vertices.mean(axis=0)
    across, down = (vertices[1] - vertices[0]) / 2, (vertices[3] - vertices[0]) / 2
    found: NDArray[np.float64] = middle + np.cos(angle) * across + np.sin(angle) * down
    return found


def _simplify(vertices: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """An outline with fewer vertices, where it has many."""
    if len(vertices) <= MAX_VERTICES:
        return vertices
    from skimage.measure import approximate_polygon

    closed = np.vstack([vertices, vertices[:1]])
    found = np.asarray(approximate_polygon(closed, tolerance), np.float64)[:-1]
    return found if len(found) > 2 else vertices


UNLABELED, IGNORED_VALUE = 0, 255  # in a map: no region; a region to ignore, or one that readers do not agree on
MAX_CLASSES = 254


@dataclass(frozen=True)
class NumberedRegion:
    """A region ready to be drawn into a map: its number there, its box in pixels of the finest level, its area."""

    region: Annotation
    number: int
    box: Box
    area: float


class RegionMap:
    """Answers, for any window of a slide, which class each cell is of.

    Where regions of one reader overlap, the smaller one counts: a lesion within the tissue is a lesion. Where regions
    of several readers overlap and say different classes, the place is ``NOT_LEARNT``.
    """

    def __init__(self, regions: Sequence[Annotation], numbers: Mapping[str, int]) -> None:
        readers: dict[str, list[NumberedRegion]] = {}
        for region in regions:
            number = IGNORED_VALUE if is_ignored(region.class_name) else numbers.get(region.class_name, UNLABELED)
            if number:
                area = sum(polygon.area for polygon in region.polygons)
                drawn = NumberedRegion(region, number, joint_box(region.polygons), area)
                readers.setdefault(region_reader(region), []).append(drawn)
        self._readers = {name: sorted(own, key=lambda one: -one.area) for name, own in readers.items()}

    @property
    def readers(self) -> tuple[str, ...]:
        """Who drew; an empty name where nobody said so."""
        return tuple(self._readers)

    def labels(self, place: MapPlacement, window: Box) -> NDArray[np.uint8]:
        """Draw a window of a map.

        Returns uint8 (row, column): numbers of classes, ``NOTHING`` or ``NOT_LEARNT``.
        """
        found = np.zeros((window.height, window.width), np.uint8)
        for own in self._readers.values():
            drawn = self._of_reader(own, place, window)
            differ = (drawn > 0) & (found > 0) & (drawn != found)
            found = np.where(differ, IGNORED_VALUE, np.maximum(drawn, found)).astype(np.uint8)
        return found

    def disagreement(self, place: MapPlacement, window: Box) -> dict[tuple[str, str], int]:
        """Count the cells that two readers say different classes of.

        Pair of readers to cells, none of them 0. What either ignores is no disagreement.
        """
        drawn = {name: self._of_reader(own, place, window) for name, own in self._readers.items()}
        names, found = list(drawn), {}
        for number, first in enumerate(names):
            for second in names[number + 1 :]:
                one, other = drawn[first], drawn[second]
                told = (one > 0) & (other > 0) & (one != IGNORED_VALUE) & (other != IGNORED_VALUE)
                cells = int((told & (one != other)).sum())
                if cells:
                    found[first, second] = cells
        return found

    def _of_reader(self, own: Sequence[NumberedRegion], place: MapPlacement, window: Box) -> NDArray[np.uint8]:
        """Draw the regions of one reader, the largest first."""
        labels = np.zeros((window.height, window.width), np.uint8)
        top, left = place.to_slide((window.top, window.left)).tolist()
        bottom, right = place.to_slide((window.top + window.height, window.left + window.width)).tolist()
        for one in own:
            box = one.box
            if box.top < bottom and box.left < right and box.top + box.height > top and box.left + box.width > left:
                cut = _clip_to_window(box, place, window)
                inside = rasterize_polygons(one.region.polygons, place, cut)
                rows, columns = Box(cut.top - window.top, cut.left - window.left, cut.height, cut.width).slices
                labels[rows, columns][inside] = one.number
        return labels


def _clip_to_window(box: Box, place: MapPlacement, window: Box) -> Box:
    """Part of a window that the box of a region covers, in cells."""
    first = np.floor(place.to_map((box.top, box.left))).astype(int)
    last = np.ceil(place.to_map((box.top + box.height, box.left + box.width))).astype(int)
    top, left = max(int(first[0]), window.top), max(int(first[1]), window.left)
    bottom = min(int(last[0]), window.top + window.height)
    right = min(int(last[1]), window.left + window.width)
    return Box(top, left, max(0, bottom - top), max(0, right - left))

"""Regions that readers draw on a slide, each with its class: data, edits and maps."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_class
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.polygons import Polygon, as_array, as_ring, joint_box, untangle_polygon
from napari_melanoma.io.geojson import Annotation, Color
from napari_melanoma.slides.cell_polygons import cell_polygons, covered_cells, rasterize_polygons

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.map_placement import MapPlacement

# Properties of a region. QuPath keeps the lock, and ignores the others.
READER = "reader"  # name of its reader
CREATED = "created"  # when it was drawn, in ISO 8601
LOCKED = "isLocked"
IGNORED_CLASS = "*"  # at the end of a class name, as in QuPath: excluded from training
MAX_SHOWN_REGIONS = 400  # outlines; napari takes 1 to 2 ms for each, and slows down with all of them
MAX_VERTICES = 600  # of one outline
OUTLINE_RESOLUTION = 16_000  # tolerance of simplified outlines, as a fraction of the longer side of the slide
ELLIPSE_VERTICES = 48
OUTER_RING = 0
UNLABELED, IGNORED_VALUE = 0, 255  # in a map: no region; an ignored region, or disagreement of readers
MAX_CLASSES = 254

RingKey = tuple[str, int, int]  # id of a region, number of its polygon, number of the ring in that
Regions = tuple[Annotation, ...]


@dataclass(frozen=True)
class RegionClass:
    """A class of regions: its name and its color, red, green, blue, 0 to 255."""

    name: str
    color: Color


# Colors that differ from stains: pink and purple are not visible on H&E.
DEFAULT_CLASSES = (
    RegionClass("Melanoma", (200, 0, 0)),
    RegionClass("Naevus", (240, 160, 0)),
    RegionClass("Epidermis", (0, 90, 255)),
    RegionClass("Dermis", (0, 158, 115)),
    RegionClass("Background", (120, 170, 200)),
    RegionClass("Ignore*", (180, 180, 180)),
)


def region_reader(region: Annotation) -> str:
    """Return the name of the reader of a region; empty if unknown."""
    return str(region.properties.get(READER) or "")


def region_date(region: Annotation) -> datetime | None:
    """Return when a region was drawn; None if unknown."""
    try:
        found = datetime.fromisoformat(str(region.properties.get(CREATED)))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def region_title(region: Annotation) -> str:
    """Return the name of a region for messages: its own, else that of its class."""
    return f"'{region.name}'" if region.name else f"a region of class {format_class(region.class_name) or 'none'}"


def is_locked(region: Annotation) -> bool:
    """Return whether a region must not be changed or deleted."""
    return region.properties.get(LOCKED) is True


def require_unlocked(regions: Regions, ids: Collection[str]) -> None:
    """Raise an error if one of the regions is locked."""
    locked = [region_title(one) for one in regions if one.id in ids and is_locked(one)]
    if locked:
        more = f" and {len(locked) - 1} more" if len(locked) > 1 else ""
        raise InputError(f"locked: {locked[0]}{more}. Nothing was changed; unlock it in the list of regions first.")


def set_locked(regions: Regions, ids: Collection[str], *, locked: bool) -> Regions:
    """Lock or unlock regions."""

    def change(region: Annotation) -> Annotation:
        others = {key: value for key, value in region.properties.items() if key != LOCKED}
        return replace(region, properties={**others, LOCKED: True} if locked else others)

    return tuple(change(one) if one.id in ids and is_locked(one) != locked else one for one in regions)


def rename_region(regions: Regions, region_id: str, name: str) -> Regions:
    """Set the name of a region."""
    require_unlocked(regions, (region_id,))
    return tuple(replace(one, name=name.strip()) if one.id == region_id else one for one in regions)


def is_ignored(class_name: str) -> bool:
    """Return whether a class is excluded from training."""
    return class_name.endswith(IGNORED_CLASS)


def region_from_vertices(vertices: NDArray[np.floating], region_class: RegionClass, reader: str = "") -> Annotation:
    """Create a region from drawn vertices.

    ``vertices``: (vertex, 2) as (row, column) in pixels of the finest level. Where the line crosses itself, the region
    is the whole enclosed area.
    """
    polygons = untangle_polygon(Polygon(as_ring(np.asarray(vertices, np.float64))))
    if not polygons:
        raise InputError("the drawing encloses no area. A region needs at least three points around an area.")
    return region_from_polygons(polygons, region_class, reader)


def regions_from_labels(
    labels: NDArray[np.integer], place: MapPlacement, classes: Sequence[RegionClass], reader: str = ""
) -> Regions:
    """Create regions from painted labels: one for each connected area of each class.

    ``labels``: integers (row, column): 0 for none, 1 for the first class.
    """
    return tuple(
        region_from_polygons((polygon,), region_class, reader)
        for number, region_class in enumerate(classes, start=1)
        for polygon in cell_polygons(labels == number, place)
    )


def set_region_class(regions: Regions, ids: Collection[str], region_class: RegionClass) -> Regions:
    """Set class and color of regions."""
    require_unlocked(regions, ids)
    return tuple(
        replace(one, class_name=region_class.name, color=region_class.color) if one.id in ids else one
        for one in regions
    )


def edit_class(regions: Regions, previous: str, now: RegionClass) -> Regions:
    """Rename or recolor a class in all its regions, also in locked ones."""
    return tuple(
        replace(one, class_name=now.name, color=now.color) if one.class_name == previous else one for one in regions
    )


def remove_regions(regions: Regions, ids: Collection[str]) -> Regions:
    """Remove regions."""
    require_unlocked(regions, ids)
    return tuple(one for one in regions if one.id not in ids)


def assign_ids(regions: Sequence[Annotation], known: Collection[str] = ()) -> Regions:
    """Assign unique ids to regions, in their order; unique ids are kept."""
    used, found = set(known), []
    for region in regions:
        kept = region if region.id and region.id not in used else replace(region, id=str(uuid.uuid4()))
        used.add(kept.id)
        found.append(kept)
    return tuple(found)


def sign_region(region: Annotation, reader: str) -> Annotation:
    """Set reader and date of a region that was drawn now."""
    signed = {READER: reader} if reader else {}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return replace(region, properties={**region.properties, **signed, CREATED: date})


def region_from_polygons(polygons: tuple[Polygon, ...], region_class: RegionClass, reader: str = "") -> Annotation:
    """Create a region that was drawn now, with a new id."""
    made = Annotation(polygons, region_class.name, region_class.color, id=str(uuid.uuid4()))
    return sign_region(made, reader)


def _reshape(region: Annotation, drawn: Mapping[RingKey, NDArray[np.float64]]) -> Annotation | None:
    """Replace the drawn rings of a region, all at once, as its holes may move with it; None if no area is left."""
    polygons: list[Polygon] = []
    for part, polygon in enumerate(region.polygons):
        keys = [(region.id, part, number) for number in range(len(polygon.rings))]
        if drawn.keys().isdisjoint(keys):
            polygons.append(polygon)
        else:
            outer, *holes = (
                as_ring(drawn[key]) if key in drawn else ring for key, ring in zip(keys, polygon.rings, strict=True)
            )
            polygons += untangle_polygon(Polygon(outer, tuple(holes)))
    return replace(region, polygons=tuple(polygons)) if polygons else None


@dataclass(frozen=True)
class RegionOutline:
    """A displayed outline: its ring and its vertices (vertex, 2) in pixels of the finest level."""

    ring_key: RingKey
    vertices: NDArray[np.float64]


@dataclass(frozen=True)
class ShapesState:
    """Shapes of a layer: vertices in pixels of the finest level, kinds, and indices of the displayed outlines."""

    vertices: Sequence[NDArray[np.float64]]
    kinds: Sequence[str]
    keys: Sequence[int]


def region_outlines(
    regions: Sequence[Annotation], size: tuple[int, int], first: Collection[str] = ()
) -> tuple[RegionOutline, ...]:
    """Return the outlines to display, with as few vertices as necessary.

    ``size``: height and width of the slide in pixels of the finest level. ``first``: ids of regions that are displayed
    if there are too many for all. All rings of the first regions, at most ``MAX_SHOWN_REGIONS``.
    """
    tolerance = max(size) / OUTLINE_RESOLUTION
    if first and sum(len(polygon.rings) for one in regions for polygon in one.polygons) > MAX_SHOWN_REGIONS:
        regions = sorted(regions, key=lambda region: region.id not in first)
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
    """Apply the edits of displayed shapes to their regions.

    Returns all regions of the slide, the new ones last; and the new ones only. Regions and holes that no longer have an
    area are removed. Raises an error, so that nothing changes, if a locked region was edited.
    """
    seen: set[int] = set()
    new = []
    drawn_rings: dict[RingKey, NDArray[np.float64]] = {}
    for vertices, kind, key in zip(shapes.vertices, shapes.kinds, shapes.keys, strict=True):
        if not 0 <= key < len(outlines) or key in seen:
            new.append(shape_outline(vertices, kind))
            continue
        seen.add(key)
        if not np.array_equal(vertices, outlines[key].vertices):
            drawn_rings[outlines[key].ring_key] = vertices
    removed = [one.ring_key for key, one in enumerate(outlines) if key not in seen]
    drawn_rings |= dict.fromkeys(removed, np.zeros((0, 2)))
    edited = {key[0] for key in drawn_rings}
    require_unlocked(regions, edited)
    removed_ids = {key[0] for key in removed if key[2] == OUTER_RING}
    kept = (_reshape(one, drawn_rings) if one.id in edited else one for one in regions if one.id not in removed_ids)
    drawn = tuple(region_from_vertices(vertices, region_class, reader) for vertices in new)
    return (*(one for one in kept if one is not None), *drawn), drawn


def shape_outline(vertices: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return the outline of a napari shape, float64 (vertex, 2).

    ``vertices``: float64 (vertex, 2); for an ellipse the corners of its box.
    """
    if kind != "ellipse" or len(vertices) != 4:
        return vertices
    angle = np.linspace(0, 2 * np.pi, ELLIPSE_VERTICES, endpoint=False)[:, None]
    center = vertices.mean(axis=0)
    across, down = (vertices[1] - vertices[0]) / 2, (vertices[3] - vertices[0]) / 2
    found: NDArray[np.float64] = center + np.cos(angle) * across + np.sin(angle) * down
    return found


def _simplify(vertices: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Simplify an outline with many vertices."""
    if len(vertices) <= MAX_VERTICES:
        return vertices
    import shapely

    closed = shapely.linestrings(np.vstack([vertices, vertices[:1]]))
    found = shapely.get_coordinates(shapely.simplify(closed, tolerance, preserve_topology=False))[:-1]
    return found if len(found) > 2 else vertices


@dataclass(frozen=True)
class NumberedRegion:
    """A region for drawing a map: its class number, its box in pixels of the finest level, and its area."""

    region: Annotation
    number: int
    box: Box
    area: float


class RegionMap:
    """Labels the cells of any window of a slide with the classes of regions.

    Where regions of one reader overlap, the smaller one applies: a lesion within the tissue is a lesion. Where readers
    assign different classes, cells are ``IGNORED_VALUE``.
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
        """Names of the readers; an empty name if unknown."""
        return tuple(self._readers)

    def labels(self, place: MapPlacement, window: Box) -> NDArray[np.uint8]:
        """Draw a window of a map, uint8 (row, column): class numbers, ``UNLABELED`` or ``IGNORED_VALUE``."""
        found = np.zeros((window.height, window.width), np.uint8)
        for own in self._readers.values():
            drawn = self._of_reader(own, place, window)
            differ = (drawn > 0) & (found > 0) & (drawn != found)
            found = np.where(differ, IGNORED_VALUE, np.maximum(drawn, found)).astype(np.uint8)
        return found

    def disagreement(self, place: MapPlacement, window: Box) -> dict[tuple[str, str], int]:
        """Count the cells to which two readers assign different classes, without ignored ones.

        Maps pairs of readers to a positive number of cells.
        """
        drawn = {name: self._of_reader(own, place, window) for name, own in self._readers.items()}
        names, found = list(drawn), {}
        for number, first in enumerate(names):
            for second in names[number + 1 :]:
                one, other = drawn[first], drawn[second]
                labeled = (one > 0) & (other > 0) & (one != IGNORED_VALUE) & (other != IGNORED_VALUE)
                cells = int((labeled & (one != other)).sum())
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
                cut = covered_cells(box, place, window)
                inside = rasterize_polygons(one.region.polygons, place, cut)
                rows, columns = Box(cut.top - window.top, cut.left - window.left, cut.height, cut.width).slices
                labels[rows, columns][inside] = one.number
        return labels

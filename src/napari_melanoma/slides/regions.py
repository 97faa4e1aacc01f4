"""Regions that readers draw on a slide: classes and other properties, edits, class maps, and ``regions.geojson``."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import back_up_if_changed, file_stamp, normalize_name
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.polygons import Polygon, as_ring, joint_box, untangle_polygon
from napari_melanoma.core.reader_names import unify_names
from napari_melanoma.io.geojson import (
    CANVAS,
    SUFFIXES,
    Annotation,
    Color,
    GeoJsonContent,
    Origin,
    fit_to_slide,
    read_geojson,
    write_geojson,
)
from napari_melanoma.io.results import read_origin
from napari_melanoma.slides.outlines import cell_polygons, covered_cells, rasterize_polygons

# Docks of photographs use classes of regions only: the readers of slides and reports are imported when they are needed.
if TYPE_CHECKING:
    from shapely import STRtree

    from napari_melanoma.depth.readings import DepthReading
    from napari_melanoma.io.dicom_report import ReportedDepth
    from napari_melanoma.slides.notes import SlideMeasurement


# Keys in the properties of a region; QuPath uses ``isLocked`` only.
READER = "reader"  # name of the reader
CREATED = "created"  # time of drawing, ISO 8601
LOCKED = "isLocked"
IGNORED_CLASS = "*"  # at the end of a class name, as in QuPath: excluded from training
MAX_SHOWN_OUTLINES = 400  # napari takes 1 to 2 ms for each outline, and slows down with many
MAX_VERTICES = 600  # outlines with more vertices are simplified
OUTLINE_RESOLUTION = 16_000  # the tolerance of simplification is the longer side of the slide divided by this
ELLIPSE_VERTICES = 72  # of the polygon for an ellipse, whose area is 0.1 % too small
OUTER_RING = 0
UNLABELED, IGNORED_VALUE = 0, 255  # values of class maps: no region; an ignored region, or readers disagree
MAX_CLASSES = 254

RingKey = tuple[str, int, int]  # id of a region, index of the polygon, index of the ring in the polygon
Regions = tuple[Annotation, ...]


@dataclass(frozen=True)
class RegionClass:
    """A class of regions; ``color``: red, green and blue, 0 to 255."""

    name: str
    color: Color


# The colors differ from stains, as pink and purple would not be visible on H&E.
DEFAULT_CLASSES = (
    RegionClass("Melanoma", (200, 0, 0)),
    RegionClass("Nevus", (240, 160, 0)),
    RegionClass("Epidermis", (0, 90, 255)),
    RegionClass("Dermis", (0, 158, 115)),
    RegionClass("Background", (120, 170, 200)),
    RegionClass("Ignore*", (180, 180, 180)),
)


def region_reader(region: Annotation) -> str:
    """Return the name of the reader of a region; empty if unknown."""
    return str(region.properties.get(READER) or "")


def region_date(region: Annotation) -> datetime | None:
    """Return the time at which a region was drawn; None if unknown."""
    try:
        date = datetime.fromisoformat(str(region.properties.get(CREATED)))
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def region_title(region: Annotation) -> str:
    """Name a region in messages: by its name, or by its class if it has none."""
    return f"'{region.name}'" if region.name else f"a region of class {region.class_name or 'none'}"


def is_locked(region: Annotation) -> bool:
    """Return whether a region must not be changed or deleted."""
    return region.properties.get(LOCKED) is True


def require_unlocked(regions: Regions, ids: Collection[str]) -> None:
    """Raise InputError if one of the regions with these ids is locked."""
    locked = [region_title(region) for region in regions if region.id in ids and is_locked(region)]
    if locked:
        others = f" and {len(locked) - 1} more" if len(locked) > 1 else ""
        raise InputError(f"locked: {locked[0]}{others}. Nothing was changed; unlock it in the list of regions first.")


def set_locked(regions: Regions, ids: Collection[str], *, locked: bool) -> Regions:
    """Lock or unlock the regions with these ids."""

    def change(region: Annotation) -> Annotation:
        others = {key: value for key, value in region.properties.items() if key != LOCKED}
        return replace(region, properties={**others, LOCKED: True} if locked else others)

    return tuple(change(region) if region.id in ids and is_locked(region) != locked else region for region in regions)


def rename_region(regions: Regions, region_id: str, name: str) -> Regions:
    """Set the name of a region."""
    require_unlocked(regions, (region_id,))
    return tuple(replace(region, name=name.strip()) if region.id == region_id else region for region in regions)


def is_ignored(class_name: str) -> bool:
    """Return whether a class is excluded from training."""
    return class_name.endswith(IGNORED_CLASS)


def region_from_vertices(vertices: NDArray[np.floating], region_class: RegionClass, reader: str = "") -> Annotation:
    """Create a region from drawn vertices; if the line crosses itself, the region is the whole enclosed area.

    ``vertices``: (vertex, 2), (row, column) in pixels of the finest level.
    """
    polygons = untangle_polygon(Polygon(as_ring(np.asarray(vertices, np.float64))))
    if not polygons:
        raise InputError("the drawing encloses no area. A region needs at least three points around an area.")
    return region_from_polygons(polygons, region_class, reader)


def regions_from_labels(
    labels: NDArray[np.integer], place: MapPlacement, classes: Sequence[RegionClass], reader: str = ""
) -> Regions:
    """Create regions from painted labels: one for each connected area of each class.

    ``labels``: integers (row, column), 0 for none, 1 for the first class. ``place``: their position on the slide.
    """
    return tuple(
        region_from_polygons((polygon,), region_class, reader)
        for number, region_class in enumerate(classes, start=1)
        for polygon in cell_polygons(labels == number, place)
    )


def set_region_class(regions: Regions, ids: Collection[str], region_class: RegionClass) -> Regions:
    """Set class and color of the regions with these ids."""
    require_unlocked(regions, ids)
    return tuple(
        replace(region, class_name=region_class.name, color=region_class.color) if region.id in ids else region
        for region in regions
    )


def edit_class(regions: Regions, previous: str, now: RegionClass) -> Regions:
    """Rename or recolor a class in all its regions, also in locked ones."""
    return tuple(
        replace(region, class_name=now.name, color=now.color) if region.class_name == previous else region
        for region in regions
    )


def remove_regions(regions: Regions, ids: Collection[str]) -> Regions:
    """Remove the regions with these ids."""
    require_unlocked(regions, ids)
    return tuple(region for region in regions if region.id not in ids)


def assign_ids(regions: Sequence[Annotation], known: Collection[str] = ()) -> Regions:
    """Assign new ids to regions without one, and to those whose id is used by ``known`` or a previous region."""
    used, identified = set(known), []
    for region in regions:
        unique = region if region.id and region.id not in used else replace(region, id=str(uuid.uuid4()))
        used.add(unique.id)
        identified.append(unique)
    return tuple(identified)


def sign_region(region: Annotation, reader: str) -> Annotation:
    """Set the reader, if known, and the current time as properties of a region."""
    signed = {READER: reader} if reader else {}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return replace(region, properties={**region.properties, **signed, CREATED: date})


def region_from_polygons(polygons: tuple[Polygon, ...], region_class: RegionClass, reader: str = "") -> Annotation:
    """Create a region with a new id, the reader and the current time."""
    return sign_region(Annotation(polygons, region_class.name, region_class.color, id=str(uuid.uuid4())), reader)


def _reshape(region: Annotation, drawn: Mapping[RingKey, NDArray[np.float64]]) -> Annotation | None:
    """Replace the edited rings of a region, all at once, as holes may move with it; None if no area is left.

    ``drawn``: vertices (vertex, 2) of the edited rings.
    """
    polygons: list[Polygon] = []
    for part, polygon in enumerate(region.polygons):
        keys = [(region.id, part, number) for number in range(len(polygon.arrays))]
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
    """A displayed outline; ``vertices``: (vertex, 2), (row, column) in pixels of the finest level, simplified."""

    ring_key: RingKey
    vertices: NDArray[np.float64]


@dataclass(frozen=True)
class ShapesState:
    """The shapes of a napari layer after an edit.

    ``vertices``: of each shape, (vertex, 2) in pixels of the finest level. ``kinds``: napari's shape types. ``keys``:
    index of the displayed outline that each shape was; another number for a new shape.
    """

    vertices: Sequence[NDArray[np.float64]]
    kinds: Sequence[str]
    keys: Sequence[int]


def region_outlines(
    regions: Sequence[Annotation], size: tuple[int, int], first: Collection[str] = ()
) -> tuple[RegionOutline, ...]:
    """Return the outlines to display, at most ``MAX_SHOWN_OUTLINES``, simplified if they have many vertices.

    ``size``: height and width of the slide in pixels of the finest level. ``first``: ids of regions that take
    precedence if there are too many.
    """
    tolerance = max(size) / OUTLINE_RESOLUTION
    if first and sum(len(polygon.arrays) for region in regions for polygon in region.polygons) > MAX_SHOWN_OUTLINES:
        regions = sorted(regions, key=lambda region: region.id not in first)
    rings = [
        ((region.id, part, number), ring)
        for region in regions
        for part, polygon in enumerate(region.polygons)
        for number, ring in enumerate(polygon.arrays)
    ]
    return tuple(RegionOutline(key, _simplify(ring, tolerance)) for key, ring in rings[:MAX_SHOWN_OUTLINES])


def apply_shape_edits(
    regions: Regions,
    outlines: Sequence[RegionOutline],
    shapes: ShapesState,
    region_class: RegionClass,
    reader: str = "",
) -> tuple[Regions, Regions]:
    """Apply the edits of displayed shapes to their regions.

    Regions and holes that no longer have an area are removed. Raises InputError if a locked region was edited.

    ``outlines``: the displayed outlines before the edit. ``region_class``, ``reader``: of new regions. Returns all
    regions of the slide, the new ones last, and the new ones alone.
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
    removed = [outline.ring_key for key, outline in enumerate(outlines) if key not in seen]
    drawn_rings |= dict.fromkeys(removed, np.zeros((0, 2)))
    edited = {region_id for region_id, _, _ in drawn_rings}
    require_unlocked(regions, edited)
    removed_ids = {region_id for region_id, _, ring in removed if ring == OUTER_RING}
    remaining = (
        _reshape(region, drawn_rings) if region.id in edited else region
        for region in regions
        if region.id not in removed_ids
    )
    drawn = tuple(region_from_vertices(vertices, region_class, reader) for vertices in new)
    return (*(region for region in remaining if region is not None), *drawn), drawn


def shape_outline(vertices: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return the outline of a napari shape, float64 (vertex, 2).

    ``vertices``: float64 (vertex, 2); for an ellipse the corners of its box.
    """
    if kind != "ellipse" or len(vertices) != 4:
        return vertices
    angle = np.linspace(0, 2 * np.pi, ELLIPSE_VERTICES, endpoint=False)[:, None]
    center = vertices.mean(axis=0)
    across, down = (vertices[1] - vertices[0]) / 2, (vertices[3] - vertices[0]) / 2
    outline: NDArray[np.float64] = center + np.cos(angle) * across + np.sin(angle) * down
    return outline


def _simplify(vertices: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Simplify an outline with many vertices."""
    if len(vertices) <= MAX_VERTICES:
        return vertices
    import shapely

    closed = shapely.linestrings(np.vstack([vertices, vertices[:1]]))
    simplified = shapely.get_coordinates(shapely.simplify(closed, tolerance, preserve_topology=False))[:-1]
    return simplified if len(simplified) > 2 else vertices


@dataclass(frozen=True)
class ReaderRegions:
    """The regions of one reader, the largest first, with the numbers of their classes and an index of their boxes."""

    regions: Sequence[tuple[Annotation, int]]
    index: STRtree


class RegionMap:
    """Draws class maps of regions for any window of a slide.

    Where regions of one reader overlap, the smaller one applies: a lesion within the tissue is a lesion. Where readers,
    or copies of one outline, assign different classes, cells are ``IGNORED_VALUE``.

    ``numbers``: class name to class number; regions of other classes are left out.
    """

    def __init__(self, regions: Sequence[Annotation], numbers: Mapping[str, int]) -> None:
        readers: dict[str, list[tuple[Annotation, int]]] = {}
        shown = unify_names(map(region_reader, regions))
        for region in regions:
            number = IGNORED_VALUE if is_ignored(region.class_name) else numbers.get(region.class_name, UNLABELED)
            if number:
                readers.setdefault(shown[region_reader(region)], []).append((region, number))
        self._readers = {name: _index_regions(own) for name, own in readers.items()}

    @property
    def readers(self) -> tuple[str, ...]:
        """Names of the readers; the name is empty if unknown."""
        return tuple(self._readers)

    def labels(self, place: MapPlacement, window: Box) -> NDArray[np.uint8]:
        """Draw a window of a map, uint8 (row, column): class numbers, ``UNLABELED`` or ``IGNORED_VALUE``."""
        labels = np.zeros((window.height, window.width), np.uint8)
        for own in self._readers.values():
            drawn = self._draw_reader(own, place, window)
            differ = (drawn > 0) & (labels > 0) & (drawn != labels)
            labels = np.where(differ, IGNORED_VALUE, np.maximum(drawn, labels)).astype(np.uint8)
        return labels

    def disagreement(self, place: MapPlacement, window: Box) -> dict[tuple[str, str], int]:
        """Count the cells to which two readers assign different classes, without ignored regions.

        Returns the number of cells by pair of readers, without pairs that agree.
        """
        drawn = {name: self._draw_reader(own, place, window) for name, own in self._readers.items()}
        names, counts = list(drawn), {}
        for number, first in enumerate(names):
            for second in names[number + 1 :]:
                one, other = drawn[first], drawn[second]
                labeled = (one > 0) & (other > 0) & (one != IGNORED_VALUE) & (other != IGNORED_VALUE)
                cells = int((labeled & (one != other)).sum())
                if cells:
                    counts[first, second] = cells
        return counts

    def _draw_reader(self, own: ReaderRegions, place: MapPlacement, window: Box) -> NDArray[np.uint8]:
        """Draw the regions of one reader that touch a window, the largest first."""
        import shapely

        labels = np.zeros((window.height, window.width), np.uint8)
        corners = place.to_slide([(window.top, window.left), (window.top + window.height, window.left + window.width)])
        for index in np.sort(own.index.query(shapely.box(*corners.ravel()))).tolist():
            region, number = own.regions[index]
            cut = covered_cells(joint_box(region.polygons), place, window)
            inside = rasterize_polygons(region.polygons, place, cut)
            rows, columns = Box(cut.top - window.top, cut.left - window.left, cut.height, cut.width).slices
            labels[rows, columns][inside] = number
        return labels


def _index_regions(regions: Sequence[tuple[Annotation, int]]) -> ReaderRegions:
    import shapely

    numbers: dict[tuple[Polygon, ...], set[int]] = {}
    for region, number in regions:
        numbers.setdefault(region.polygons, set()).add(number)
    regions = [(region, number if len(numbers[region.polygons]) == 1 else IGNORED_VALUE) for region, number in regions]
    areas = [sum(polygon.area for polygon in region.polygons) for region, _ in regions]
    ordered = [regions[index] for index in sorted(range(len(regions)), key=lambda index: -areas[index])]
    boxes = [joint_box(region.polygons) for region, _ in ordered]
    corners = np.array([(box.top, box.left, box.top + box.height, box.left + box.width) for box in boxes], float)
    return ReaderRegions(ordered, shapely.STRtree(shapely.box(*corners.T)))


REGIONS = "regions.geojson"


@dataclass(frozen=True)
class StoredRegions:
    """Regions of a slide as stored in a file.

    ``notes``: messages on repaired or omitted regions. ``stamp``: version of the file. ``unread``: GeoJSON features
    that are not regions, such as points. ``measures``: lengths, areas and angles of an imported report. ``readings``:
    its depth readings, one for each reader.
    """

    regions: Regions = ()
    notes: tuple[str, ...] = ()
    stamp: tuple[int, int] | None = None
    unread: tuple[Any, ...] = ()
    measures: tuple[SlideMeasurement, ...] = ()
    readings: tuple[DepthReading, ...] = ()


def load_regions(folder: Path) -> StoredRegions:
    """Read the regions stored with the results of a slide; empty if there are none."""
    path = folder / REGIONS
    if not path.is_file():
        return StoredRegions()
    stamp = file_stamp(path)
    content = read_geojson(path, read_origin(folder))
    return StoredRegions(assign_ids(content.annotations), content.omitted, stamp, content.unread)


def save_regions(
    folder: Path, slide: Path, regions: Regions, known: tuple[int, int] | None, unread: tuple[Any, ...] = ()
) -> StoredRegions:
    """Save regions in the result folder of a slide, atomically; a file changed by another program is backed up first.

    ``known``: stamp of the file when it was last read or saved. ``unread``: other features of that file, which are
    kept. Returns the regions with the new stamp, and a note on the backup.
    """
    from napari_melanoma.slides.result_folder import record_new_slide

    path = folder / REGIONS
    record_new_slide(folder, slide)
    notes = back_up_if_changed(path, known)
    write_geojson(path, regions, unread, read_origin(folder))
    return StoredRegions(regions, notes, file_stamp(path), unread)


def import_regions(
    path: Path,
    size: tuple[int, int],
    known: Regions = (),
    origin: Origin = CANVAS,
    slide: Path | None = None,
    *,
    areas_only: bool = False,
) -> StoredRegions:
    """Read regions from a file of another program or reader: GeoJSON, a SpatialData store, or a DICOM report.

    Regions without area or outside the slide are left out, and self-intersecting outlines are repaired.

    ``size``: height and width of the slide in pixels of the finest level. ``known``: regions of the slide. ``origin``:
    the corner of the scanned area. ``slide``: its file, which reports need. ``areas_only``: without the measurements of
    regions. Returns the regions that are not known yet, with unique ids.
    """
    from napari_melanoma.io.dicom_report import ReportContent
    from napari_melanoma.slides.notes import SlideMeasurement

    content = _read_annotations(path, origin, slide, areas_only=areas_only)
    fitted = fit_to_slide(content, size)
    if content.annotations and not fitted.annotations:
        raise InputError(
            f"{path}: none of its {len(content.annotations)} regions lies on the slide of {size[0]} x {size[1]} "
            "pixels. Regions must be in pixels of the finest level. Select the file of this slide."
        )
    existing: dict[tuple[Polygon, ...], list[Annotation]] = {}  # without their ids, which not all files state
    for region in known:
        existing.setdefault(region.polygons, []).append(replace(region, id=""))
    new = [one for one in fitted.annotations if replace(one, id="") not in existing.get(one.polygons, ())]
    same = len(fitted.annotations) - len(new)
    notes = (*fitted.changed, *([f"{same} already {'exists' if same == 1 else 'exist'}"] if same else []))
    regions = assign_ids(new, {region.id for region in known})
    if not isinstance(content, ReportContent):
        return StoredRegions(regions, notes)
    measures = tuple(SlideMeasurement(line.kind, line.points) for line in content.lines)
    thinnest_first = sorted(content.depths, key=lambda one: one.mm or 0)  # the thickest reading of each reader is kept
    readings = {one.reader: _to_reading(one, path) for one in thinnest_first}
    if others := len(content.depths) - len(readings):
        notes += (f"{format_count(others, 'depth reading')} of readers with a thicker one: left out",)
    return StoredRegions(regions, notes, measures=measures, readings=tuple(readings.values()))


def _to_reading(found: ReportedDepth, path: Path) -> DepthReading:
    from napari_melanoma.depth.readings import DepthReading

    values = {name: getattr(found, name) for name in DepthReading.model_fields if hasattr(found, name)}
    values["margins"] = {"lateral_mm": found.lateral_mm, "deep_mm": found.deep_mm}
    values["mitoses"] = {"per_mm2": found.mitoses_per_mm2}
    return DepthReading.parse({**values, "notes": f"Imported from {path.name}."}, f"{path.name}, a depth reading")


def _read_annotations(path: Path, origin: Origin, slide: Path | None, *, areas_only: bool) -> GeoJsonContent:
    from napari_melanoma.io.dicom_report import is_dicom_report, read_measurement_report
    from napari_melanoma.io.spatialdata import find_spatialdata, read_spatialdata

    store = find_spatialdata(path)
    if store is not None:
        return read_spatialdata(store)
    if slide is not None and is_dicom_report(path):
        return read_measurement_report(path, slide)
    return read_geojson(path, origin, areas_only=areas_only)


def find_annotated_slides(root: Path) -> list[tuple[Path, Path]]:
    """List the slides with regions in the result folders below a root, as pairs of slide and region file.

    Slides that no longer exist at the recorded path are left out.
    """
    from napari_melanoma.slides.result_folder import recorded_slide

    files = [path for pattern in (f"*/{REGIONS}", f"*/*/{REGIONS}") for path in sorted(root.glob(pattern))]
    pairs = [(recorded_slide(path.parent), path) for path in files]
    return [(slide, path) for slide, path in pairs if slide is not None and slide.exists()]


def find_region_files(slide: Path, locations: Sequence[Path], others: Sequence[Path] = ()) -> list[Path]:
    """Find the files with regions of a slide, at most one at each location.

    ``locations``: files, or folders with result folders or with files named after the slide; by default the folder of
    the slide. A result folder itself is that of the recorded slide. ``others``: slides whose regions are searched at
    the same locations; a file named after one of them is not that of this slide.
    """
    from napari_melanoma.io.spatialdata import find_spatialdata
    from napari_melanoma.slides.result_folder import recorded_slide, slide_folder, slide_name

    found: list[Path] = []
    name = normalize_name(slide_name(slide))
    names_of_others = {normalize_name(slide_name(other)) for other in others} - {name}
    for location in locations or [slide.parent]:
        if not location.exists():
            raise InputError(
                f"{location} does not exist. Expected a GeoJSON file of regions, or a folder of such files."
            )
        if location.is_file() or find_spatialdata(location):
            if normalize_name(location.name.partition(".")[0]) not in names_of_others:
                found.append(location)
            continue
        stem, recorded = slide_name(slide), recorded_slide(location)
        named = [location / f"{stem}{suffix}" for stem in (stem, stem.removesuffix(".ome")) for suffix in SUFFIXES]
        is_other = recorded is not None and normalize_name(slide_name(recorded)) != name
        own = [] if is_other else [location / REGIONS]
        candidates = [slide_folder(location, slide) / REGIONS, *own, *named]
        found += [path for path in candidates if path.is_file()][:1]
    return found


def set_reader(region: Annotation, reader: str) -> Annotation:
    """Set the reader of a region that has none."""
    if not reader or region_reader(region):
        return region
    return replace(region, properties={**region.properties, READER: reader})

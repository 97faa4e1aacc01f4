"""Strokes that a reader paints on a slide to label its tissue: the cells that they cover, and ``strokes.geojson``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.channel_choice import ChannelChoice
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_text
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.polygons import Point, Polygon, Ring, as_ring, to_shape, untangle_polygon
from napari_melanoma.io.geojson import (
    CANVAS,
    ORIGIN,
    Color,
    Origin,
    find_origin,
    from_canvas,
    read_classification,
    to_canvas,
)
from napari_melanoma.slides.regions import CREATED, READER

STROKES = "strokes.geojson"
MAX_CELLS = 64  # cells of a stroke that are used: those of one stroke are similar
MIN_REACH = 0.5  # cells: a thinner line covers the cells whose center is within half a cell of it
ROUNDING = 1e-6  # in cells
StrokeKind = Literal["brush", "polygon", "cells"]
_CHANNELS = "channels"  # member of the file with the channels of a fluorescence slide
_CLASSES = "classes"  # member of the file with the classes in their order, also those without strokes
_GEOMETRY_TYPES: dict[StrokeKind, str] = {"brush": "LineString", "polygon": "Polygon", "cells": "MultiPoint"}


class CellRaster(Protocol):
    """A grid of cells on a slide, such as ``CellGrid``."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def placement(self) -> MapPlacement:
        """Placement of a map with a pixel for each cell."""


@dataclass(frozen=True)
class Stroke:
    """An area of a slide that a reader has given a class.

    ``points``: (row, column) in pixels of the finest level: the line of a brush, the vertices of a polygon, or a point
    in each clicked cell. ``radius_px``: half the width of a brush, in the same pixels. ``date``: ISO 8601. ``holes``:
    those of a polygon.
    """

    id: str
    class_name: str
    kind: StrokeKind
    points: tuple[Point, ...]
    radius_px: float = 0.0
    reader: str = ""
    date: str = ""
    holes: tuple[Ring, ...] = ()

    @property
    def age_key(self) -> tuple[float, str]:
        """Key that sorts strokes from the oldest to the latest; those without a date are the oldest."""
        try:
            date = datetime.fromisoformat(self.date)
        except ValueError:
            return -math.inf, self.id
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp(), self.id


def rename_class(strokes: Iterable[Stroke], previous: str, now: str) -> tuple[Stroke, ...]:
    """Rename a class of strokes; if the new name exists already, the classes are merged."""
    return tuple(replace(stroke, class_name=now) if stroke.class_name == previous else stroke for stroke in strokes)


def delete_class(strokes: Iterable[Stroke], name: str) -> tuple[Stroke, ...]:
    """Delete the strokes of a class."""
    return tuple(stroke for stroke in strokes if stroke.class_name != name)


def cells_of_stroke(stroke: Stroke, grid: CellRaster) -> NDArray[np.int32]:
    """Return the cells whose center lies in a stroke, and at least the cell under it.

    Parts beyond the slide are left out; a stroke beyond the slide has no cells. Returns int32 (cell, 2), row and column
    in reading order.
    """
    points = grid.placement.to_map(stroke.points).reshape(-1, 2)
    if stroke.kind == "cells":
        cells = np.floor(points)
    elif stroke.kind == "polygon":
        holes = tuple(as_ring(grid.placement.to_map(hole)) for hole in stroke.holes)
        cells = _cells_in_polygon(Polygon(as_ring(points), holes), grid)
    else:
        cells = _cells_along(points, stroke.radius_px / math.sqrt(grid.placement.cell_area_px), grid)
    if not len(cells):
        cells = np.floor(points[:1] if stroke.kind == "brush" else points.mean(axis=0, keepdims=True))
    cells = cells[((cells >= 0) & (cells < grid.shape)).all(axis=1)]
    unique: NDArray[np.int32] = np.unique(cells.astype(np.int32), axis=0)
    return unique


def _cells_along(points: NDArray[np.float64], reach: float, grid: CellRaster) -> NDArray[np.float64]:
    """Return the cells whose center is within ``reach`` cells of a line; all positions in cells."""
    import shapely

    # A line along a border of cells has their centers just within reach on both sides, wherever the map begins.
    reach = max(reach, MIN_REACH) + ROUNDING
    line = shapely.linestrings(points) if len(points) > 1 else shapely.points(points[0])
    centers = _centers_between(points.min(axis=0) - reach, points.max(axis=0) + reach, grid)
    shapely.prepare(line)
    return np.floor(centers[shapely.dwithin(line, shapely.points(centers), reach)])


def _cells_in_polygon(polygon: Polygon, grid: CellRaster) -> NDArray[np.float64]:
    """Return the cells whose center is in a polygon, which may cross itself; all positions in cells."""
    import shapely

    corners = np.array(polygon.outer)
    centers = _centers_between(corners.min(axis=0), corners.max(axis=0), grid)
    inside = np.zeros(len(centers), bool)
    for part in map(to_shape, untangle_polygon(polygon)):
        shapely.prepare(part)
        inside |= shapely.intersects_xy(part, *centers.T)
    return np.floor(centers[inside])


def _centers_between(first: NDArray[np.float64], last: NDArray[np.float64], grid: CellRaster) -> NDArray[np.float64]:
    """Return the centers of the cells of the slide between two corners, float64 (cell, 2)."""
    top, left = np.clip(np.floor(first), 0, grid.shape).astype(int)
    bottom, right = np.clip(np.ceil(last), 0, grid.shape).astype(int)
    rows, columns = np.mgrid[top:bottom, left:right]
    return np.stack([rows.ravel(), columns.ravel()], axis=1) + 0.5


@dataclass(frozen=True, eq=False)
class PaintedCells:
    """The cells of the strokes of one slide; each cell belongs to its latest stroke.

    ``strokes``: from the oldest to the latest, without those that have no cells. ``cells``: int32 (cell, 2), row and
    column, at most ``MAX_CELLS`` of each stroke. ``stroke``: index of the stroke of each cell, int (cell,). ``notes``:
    messages about strokes beyond the slide, and about cells that were painted with two classes.
    """

    strokes: tuple[Stroke, ...]
    cells: NDArray[np.int32]
    stroke: NDArray[np.intp]
    notes: tuple[str, ...] = ()

    @classmethod
    def of_slide(cls, strokes: Iterable[Stroke], grid: CellRaster) -> Self:
        """Find the cells of strokes; the order of the strokes does not matter."""
        ordered = sorted(strokes, key=lambda stroke: stroke.age_key)
        covered = [cells_of_stroke(stroke, grid) for stroke in ordered]
        painted = np.concatenate([np.empty((0, 2), np.int32), *covered])
        index = np.repeat(np.arange(len(ordered)), [len(cells) for cells in covered])
        names = sorted({stroke.class_name for stroke in ordered})
        labels = np.array([names.index(stroke.class_name) for stroke in ordered], np.intp)[index]
        order = np.lexsort((index, painted[:, 1], painted[:, 0]))  # of one cell, the latest stroke is the last
        painted, index, labels = painted[order], index[order], labels[order]
        same_as_next = np.append((painted[1:] == painted[:-1]).all(axis=1), np.zeros(min(1, len(painted)), bool))
        contested = painted[:-1][same_as_next[:-1] & (labels[1:] != labels[:-1])]
        latest, owner = painted[~same_as_next], index[~same_as_next]
        by_stroke = np.argsort(owner, kind="stable")
        owners, starts = np.unique(owner[by_stroke], return_index=True)
        kept = [_spread(cells) for cells in np.split(latest[by_stroke], starts)[1:]]
        return cls(
            tuple(ordered[number] for number in owners),
            np.concatenate([np.empty((0, 2), np.int32), *kept]),
            np.repeat(np.arange(len(kept)), [len(cells) for cells in kept]),
            _painting_notes(sum(not len(cells) for cells in covered), len(np.unique(contested, axis=0))),
        )


def _spread(cells: NDArray[np.int32]) -> NDArray[np.int32]:
    """Choose at most ``MAX_CELLS`` cells, evenly spaced in reading order."""
    if len(cells) <= MAX_CELLS:
        return cells
    return cells[np.linspace(0, len(cells) - 1, MAX_CELLS).round().astype(int)]


def _painting_notes(outside: int, contested: int) -> tuple[str, ...]:
    notes = []
    if outside:
        notes.append(f"{format_count(outside, 'stroke')} outside the slide: left out.")
    if contested:
        notes.append(f"{format_count(contested, 'cell')} painted with two classes: the later stroke is used.")
    return tuple(notes)


@dataclass(frozen=True)
class StrokeFile:
    """The content of ``strokes.geojson``.

    ``classes``: classes and their colors, in the order of the user. ``unread``: features that are not strokes, which
    are kept. ``notes``: messages about them. ``channels``: those of fluorescence that the slide was painted with.
    """

    strokes: tuple[Stroke, ...] = ()
    classes: Mapping[str, Color | None] = field(default_factory=dict)
    unread: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()
    channels: ChannelChoice | None = None


def read_strokes(path: Path, origin: Origin = CANVAS) -> tuple[Stroke, ...]:
    """Read the strokes of a GeoJSON file, see ``read_stroke_file``."""
    return read_stroke_file(path, origin).strokes


def read_stroke_file(path: Path, origin: Origin = CANVAS) -> StrokeFile:
    """Read strokes from GeoJSON, also as exported by QuPath: lines, polygons and points with a class.

    Features without a class, and geometries without a stroke, are left out with a note.

    ``origin``: the corner of the scanned area, from which files that do not state their origin are counted.
    """
    content = read_json(path, allow_nan=True)  # QuPath writes NaN measurements
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise InputError(f"{path} has no features: expected strokes as GeoJSON. Restore the file, or move it away.")
    strokes: list[Stroke] = []
    unread: list[Any] = []
    listed = content.get(_CLASSES)
    entries = [read_classification(entry) for entry in listed] if isinstance(listed, list) else []
    classes: dict[str, Color | None] = {name: color for name, color in entries if name}
    for number, feature in enumerate(to_canvas(features, find_origin(path, content) or origin), start=1):
        found = _read_feature(feature, f"{number}")
        if not found:
            unread.append(feature)
            continue
        strokes += found
        name, color = read_classification(feature["properties"]["classification"])
        classes[name] = classes.get(name) or color
    note = f"{path.name}: {len(unread)} of {len(features)} features have no class or no area to paint: left out."
    chosen = content.get(_CHANNELS)
    channels = ChannelChoice.from_text(chosen) if isinstance(chosen, str) and chosen else None
    return StrokeFile(_with_unique_ids(strokes), classes, tuple(unread), (note,) if unread else (), channels)


def write_strokes(
    path: Path,
    strokes: Iterable[Stroke],
    classes: Mapping[str, Color | None] | None = None,
    *,
    origin: Origin = CANVAS,
    unread: Iterable[Any] = (),
    channels: ChannelChoice | None = None,
) -> None:
    """Write strokes as GeoJSON that QuPath opens, atomically; ``read_strokes`` returns equal values.

    ``classes``: all classes with their colors, also those without strokes. ``origin``: the corner of the scanned area,
    from which positions are counted. ``unread``: further features of the file. ``channels``: those of fluorescence.
    """
    colors = dict(classes or {})
    features = [*(_write_feature(stroke, colors.get(stroke.class_name)) for stroke in strokes), *unread]
    listed = json.dumps([_classification(name, color) for name, color in colors.items()], ensure_ascii=False)
    lines = ",\n".join(json.dumps(from_canvas(feature, origin), ensure_ascii=False) for feature in features)
    chosen = "" if channels is None else f'"{_CHANNELS}": {json.dumps(channels.label, ensure_ascii=False)}, '
    start = f'{{"type": "FeatureCollection", "{ORIGIN}": [{origin[1]}, {origin[0]}], "{_CLASSES}": {listed}, {chosen}'
    write_text(path, f'{start}"features": [\n{lines}\n]}}\n')


def _classification(name: str, color: Color | None) -> dict[str, Any]:
    return {"name": name} if color is None else {"name": name, "color": list(color)}


def _write_feature(stroke: Stroke, color: Color | None) -> dict[str, Any]:
    positions: list[Any] = [[column, row] for row, column in stroke.points]
    kind = _GEOMETRY_TYPES[stroke.kind]
    if stroke.kind == "polygon":
        positions = [[[column, row] for row, column in (*ring, ring[0])] for ring in (stroke.points, *stroke.holes)]
    elif len(positions) == 1:
        kind, positions = "Point", positions[0]
    properties = {
        "objectType": "annotation",
        "classification": _classification(stroke.class_name, color),
        "stroke": stroke.kind,
        "radius_px": stroke.radius_px,
        READER: stroke.reader,
        CREATED: stroke.date,
    }
    return {
        "type": "Feature",
        "id": stroke.id,
        "geometry": {"type": kind, "coordinates": positions},
        "properties": properties,
    }


def _read_feature(feature: Any, default_id: str) -> list[Stroke]:  # noqa: ANN401 - any JSON value
    """Read the strokes of a feature; a multipolygon or a multiline is one for each part; empty for other features."""
    try:
        geometry, properties = feature["geometry"], feature["properties"]
        name, _ = read_classification(properties["classification"])
        kind, parts = _read_geometry(geometry["type"], geometry["coordinates"])
        radius = float(properties.get("radius_px", 0.0))
    except (KeyError, TypeError, ValueError, IndexError):
        return []
    if not name or not math.isfinite(radius):
        return []
    kind = "cells" if properties.get("stroke") == "cells" else kind
    identity = str(feature.get("id") or default_id)
    reader, date = str(properties.get(READER) or ""), str(properties.get(CREATED) or "")
    return [
        Stroke(identity, name, kind, points, max(0.0, radius), reader, date, tuple(holes)) for points, *holes in parts
    ]


def _read_geometry(kind: str, positions: Any) -> tuple[StrokeKind, list[list[tuple[Point, ...]]]]:  # noqa: ANN401
    """Return the kind of a stroke, and for each of its parts the points, followed by the holes of a polygon."""
    if kind in ("Polygon", "MultiPolygon"):
        polygons = [positions] if kind == "Polygon" else positions
        return "polygon", [
            [_read_points(ring[:-1] if ring[0] == ring[-1] else ring) for ring in rings] for rings in polygons
        ]
    if kind in ("LineString", "MultiLineString"):
        return "brush", [[_read_points(line)] for line in ([positions] if kind == "LineString" else positions)]
    if kind == "Point":
        return "brush", [[_read_points([positions])]]
    if kind == "MultiPoint":
        return "cells", [[_read_points(positions)]]
    raise ValueError(kind)


def _read_points(positions: Any) -> tuple[Point, ...]:  # noqa: ANN401
    points = tuple((float(position[1]), float(position[0])) for position in positions)
    if not points or not all(math.isfinite(value) for point in points for value in point):
        raise ValueError(positions)
    return points


def _with_unique_ids(strokes: Iterable[Stroke]) -> tuple[Stroke, ...]:
    """Number strokes whose id occurred before, such as the parts of a multipolygon."""
    counts: dict[str, int] = {}
    unique = []
    for stroke in strokes:
        count = counts[stroke.id] = counts.get(stroke.id, 0) + 1
        unique.append(stroke if count == 1 else replace(stroke, id=f"{stroke.id}-{count}"))
    return tuple(unique)

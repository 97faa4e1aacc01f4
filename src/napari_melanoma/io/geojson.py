"""Annotations as GeoJSON in the format of QuPath: reading, validation, clipping to a slide, and writing.

In memory, positions are pixels of the finest level, counted from the corner of the canvas. If a slide states its
scanned area, QuPath counts from the corner of that area, the origin; so do files written here, which state the origin.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError, MalformedFile
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.formatting import format_class
from napari_melanoma.core.garbage_collection import paused_garbage_collection
from napari_melanoma.core.parsing import (
    LARGEST_INTEGER,
    parse_error_reason,
    parse_json,
    read_limited,
    shape_parser,
    shorten,
)
from napari_melanoma.core.polygons import (
    MIN_VERTICES,
    Polygon,
    clip_polygon,
    merge_overlapping,
    signed_area,
    untangle_polygon,
)

Color = tuple[int, int, int]
SUFFIXES = (".geojson", ".geojson.gz", ".json")
Origin = tuple[int, int]  # row and column of the corner of the scanned area, in pixels of the finest level
CANVAS: Origin = (0, 0)
ORIGIN = "origin_px"  # x and y of the origin, in files that are counted from it


@dataclass(frozen=True)
class Annotation:
    """One area of a slide with its properties.

    ``polygons``: in pixels of the finest level, from the outer corner of its first pixel. ``color``: red, green, blue
    of the class, 0 to 255. ``kind``: type of the object in QuPath. ``properties``, ``geometry_members``,
    ``feature_members``: further members of the file, which are written unchanged.
    """

    polygons: tuple[Polygon, ...]
    class_name: str = ""
    color: Color | None = None
    name: str = ""
    measurements: Mapping[str, float] = field(default_factory=dict)
    kind: str = "annotation"
    id: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    geometry_members: Mapping[str, Any] = field(default_factory=dict)
    feature_members: Mapping[str, Any] = field(default_factory=dict)


def is_geojson(path: Path) -> bool:
    """Return whether a file has an ending of GeoJSON."""
    return path.name.lower().endswith(SUFFIXES)


def write_geojson(
    path: Path,
    annotations: Iterable[Annotation],
    unread: Iterable[Any] = (),
    origin: Origin = CANVAS,
    members: Mapping[str, Any] | None = None,
) -> None:
    """Write annotations as a feature collection, one feature per line, atomically.

    Numbers keep all digits, so that ``read_geojson`` returns equal values. Measurements that are not finite are left
    out, as JSON does not support them.

    ``unread``: features of ``GeoJsonContent``, of which only the position is changed. ``origin``: the corner of the
    scanned area, from which the positions in the file are counted. ``members``: further members of the collection.
    """
    with (
        paused_garbage_collection(),
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,  # names of files
    ):
        file.write('{"type": "FeatureCollection", ' + state_origin(origin))
        for key, value in (members or {}).items():
            file.write(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}, ")
        file.write('"features": [')
        _write_features(file, annotations, unread, origin)


def annotation_to_feature(annotation: Annotation) -> dict[str, Any]:
    """Return an annotation as a GeoJSON feature.

    Its geometry is a ``Polygon``, or a ``MultiPolygon`` for several polygons. Vertices are (x, y); the first of a ring
    is repeated at its end. Rings keep their direction; those of ``slides.outlines`` have that of RFC 7946.
    """
    parts = [[_close_ring(ring) for ring in polygon.arrays] for polygon in annotation.polygons]
    geometry = {"type": "Polygon", "coordinates": parts[0]}
    if len(parts) > 1:
        geometry = {"type": "MultiPolygon", "coordinates": parts}
    identity = {"id": annotation.id} if annotation.id else {}
    return {
        "type": "Feature",
        **identity,
        "geometry": {**geometry, **annotation.geometry_members},
        **annotation.feature_members,
        "properties": _properties(annotation),
    }


def _write_features(file: TextIO, annotations: Iterable[Annotation], unread: Iterable[Any], origin: Origin) -> None:
    """Write the features of the collection, and its end."""
    separator = "\n"
    for annotation in annotations:
        feature = from_canvas(annotation_to_feature(annotation), origin)
        file.write(separator + json.dumps(feature, ensure_ascii=False, allow_nan=False))
        separator = ",\n"
    for feature in unread:
        moved = from_canvas(feature, origin)
        file.write(separator + json.dumps(moved, ensure_ascii=False))  # QuPath writes NaN measurements
        separator = ",\n"
    file.write("\n]}\n")


def state_origin(origin: Origin) -> str:
    """Return the member of a feature collection that states the origin of its positions; empty for the canvas."""
    return "" if origin == CANVAS else f'"{ORIGIN}": [{origin[1]}, {origin[0]}], '


def from_canvas(feature: Any, origin: Origin) -> Any:  # noqa: ANN401 - any JSON value
    """Return a feature with positions counted from an origin, instead of the corner of the canvas."""
    return to_canvas(feature, (-origin[0], -origin[1]))


def to_canvas(feature: Any, origin: Origin) -> Any:  # noqa: ANN401 - any JSON value
    """Return a feature with positions counted from the corner of the canvas, instead of an origin.

    Everything with coordinates is moved, such as points, the nuclei of cells and nested objects.
    """
    if origin == CANVAS:
        return feature
    if isinstance(feature, list):
        return [to_canvas(member, origin) for member in feature]
    if not isinstance(feature, dict):
        return feature
    moved = {}
    for key, member in feature.items():
        if key == "coordinates":
            moved[key] = _move(member, origin)
        elif key == "properties" and isinstance(member, dict):
            children = {name: to_canvas(member[name], origin) for name in _CHILDREN_KEYS if name in member}
            moved[key] = {**member, **children}
        else:
            moved[key] = to_canvas(member, origin)
    return moved


def _move(coordinates: Any, origin: Origin) -> Any:  # noqa: ANN401 - any JSON value
    """Add an origin to a point (x, y), or to all points of nested lists."""
    if isinstance(coordinates, np.ndarray):
        return coordinates + np.array(origin[::-1])
    if not isinstance(coordinates, list) or len(coordinates) < 2 or not all(map(is_finite_number, coordinates)):
        return [_move(member, origin) for member in coordinates] if isinstance(coordinates, list) else coordinates
    x, y, *others = coordinates
    return [_shorten_number(x + origin[1]), _shorten_number(y + origin[0]), *others]


def _properties(annotation: Annotation) -> dict[str, Any]:
    """Return the properties that QuPath reads; empty ones are left out."""
    classification: dict[str, Any] = {"name": annotation.class_name}
    if annotation.color is not None:
        classification["color"] = list(annotation.color)
    numbers = {name: _shorten_number(value) for name, value in annotation.measurements.items() if math.isfinite(value)}
    properties = {
        "objectType": annotation.kind,
        "name": annotation.name,
        "classification": classification if annotation.class_name else None,
        "measurements": numbers,
    }
    return {**{key: value for key, value in properties.items() if value}, **annotation.properties}


def _close_ring(ring: NDArray[np.float64]) -> list[list[float]]:
    """Return the vertices of a ring as (x, y), with the first repeated at the end."""
    points: list[list[float]] = ring[:, ::-1].tolist()
    if (ring == np.rint(ring)).any():
        points = [[_shorten_number(x), _shorten_number(y)] for x, y in points]
    return [*points, points[0]]


def _shorten_number(value: float) -> float:
    """Convert a whole number to an integer, which is equal but shorter in JSON."""
    whole = float(value).is_integer() and abs(value) < 2**53
    return int(value) if whole else float(value)


_MAX_BYTES = 2**30
_MAX_COORDINATE = 1e9  # pixels
_ROUNDING = 1e-6  # smaller areas, relative to the squares of the distances, may be rounding errors
_TYPE_KEYS = ("objectType", "object_type", "type")  # of an object in current QuPath, in 0.3, and in other programs
_CHILDREN_KEYS = ("childObjects", "children")
# Members of properties, features and geometries that ``Annotation`` has fields for
_PROPERTY_KEYS = {*_TYPE_KEYS, *_CHILDREN_KEYS, "name", "classification", "measurements"}
_FEATURE_KEYS = {"type", "id", "geometry", "properties"}
_COLLECTION_KEYS = {"type", "features", ORIGIN}
_MAX_NAMED = 3  # subjects of a message with the same reason
_GEOMETRY_KEYS = {"type", "coordinates", "geometries"}
# QuPath 0.2 stored the type of an object in its identifier.
_TYPE_IDS = {
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tmaCore",
}


@dataclass(frozen=True)
class GeoJsonContent:
    """Areas of a file, and messages about geometries without an area, which were left out.

    ``unread``: the features or parts of features that were left out; only their position is changed. ``origin``: from
    which positions in the file are counted. ``members``: further members of the collection.
    """

    annotations: tuple[Annotation, ...]
    omitted: tuple[str, ...] = ()
    unread: tuple[Any, ...] = ()
    origin: Origin = CANVAS
    members: Mapping[str, Any] = field(default_factory=dict)


def read_geojson(path: Path, origin: Origin = CANVAS, *, areas_only: bool = False) -> GeoJsonContent:
    """Read the areas of a GeoJSON file, compressed by gzip or not, with positions counted from the canvas.

    Points, lines and rings without an area are left out and reported.

    ``origin``: the corner of the scanned area, from which files of QuPath are counted. It is not used for a file that
    states its origin. ``areas_only``: without measurements and nuclei, which are most of a file with cells.
    """
    with paused_garbage_collection():
        content = _parse(path, areas_only=areas_only)
        return read_features(content, path, find_origin(path, content) or origin)


def read_features(content: Any, path: Path, origin: Origin = CANVAS) -> GeoJsonContent:  # noqa: ANN401 - any JSON value
    """Read the areas in the content of a GeoJSON file; features may be annotations, counted from the same origin.

    ``path``: named in errors. ``origin``: from which its positions are counted.
    """
    annotations: list[Annotation] = []
    omitted: list[tuple[str, str]] = []
    unread: list[Any] = []
    file = str(path)
    for name, feature in _list_nested(to_canvas(_list_features(content, path), origin), "feature {}"):
        if isinstance(feature, Annotation):
            annotations.append(_annotation_to_canvas(feature, origin))
            continue
        where = f"{file}: {name}"
        if isinstance(feature, dict) and "geometry" in feature and feature["geometry"] is None:  # valid in GeoJSON
            omitted.append((name, "no geometry"))
            unread.append(_without_children(feature))
            continue
        polygons, without_area = _read_polygons(_get_typed(feature, "geometry", dict, where), where)
        omitted += [(name, reason) for reason, _ in without_area]
        if polygons:
            annotations.append(_read_annotation(feature, tuple(polygons), where))
            if without_area:
                members = {key: value for key, value in _without_children(feature).items() if key != "id"}
                unread += [{**members, "geometry": geometry} for _, geometry in without_area]
        else:
            unread.append(_without_children(feature))
    is_collection = isinstance(content, dict) and "features" in content
    members = _list_others(content, _COLLECTION_KEYS) if is_collection else {}
    return GeoJsonContent(tuple(annotations), _join_subjects(omitted), tuple(map(_list_rings, unread)), origin, members)


def _join_subjects(notes: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Write a message for each reason; ``notes``: pairs of a subject, such as the name of an area, and a reason."""
    subjects: dict[str, list[str]] = {}
    for subject, reason in notes:
        subjects.setdefault(reason, []).append(subject)
    return tuple(
        f"{', '.join(names[:_MAX_NAMED])}"
        f"{f' and {len(names) - _MAX_NAMED} more' if len(names) > _MAX_NAMED else ''}: {reason}"
        for reason, names in subjects.items()
    )


def find_origin(path: Path, content: Any) -> Origin | None:  # noqa: ANN401
    """Return the origin from which the positions in a file are counted; None if it is not stated.

    ``content``: that of the file.
    """
    stated = content.get(ORIGIN) if isinstance(content, dict) else None
    if stated is not None:
        if not (isinstance(stated, list) and len(stated) == 2 and all(map(is_finite_number, stated))):
            raise InputError(
                f"{path}: '{ORIGIN}' must be two numbers, x and y, found {shorten(repr(stated), 60)}. Correct it, or "
                "export the file again."
            )
        return round(stated[1]), round(stated[0])
    return None


def _list_nested(features: list[Any], name: str) -> Iterator[tuple[str, Any]]:
    """Yield features with their names, each followed by its child features in a hierarchy exported by QuPath.

    ``name``: pattern of the names, with ``{}`` for the number.
    """
    for number, feature in enumerate(features, start=1):
        yield name.format(number), feature
        if not isinstance(feature, Annotation):
            yield from _list_nested(_children(feature), f"{name.format(number)}, object {{}} in it")


def _without_children(feature: dict[str, Any]) -> dict[str, Any]:
    """Return a feature without its child features, which are read on their own."""
    properties = feature.get("properties")
    if not _children(feature) or not isinstance(properties, dict):
        return feature
    return {**feature, "properties": {key: value for key, value in properties.items() if key not in _CHILDREN_KEYS}}


def _children(feature: dict[str, Any]) -> list[Any]:
    """Return the child features of a feature."""
    properties = feature.get("properties")
    lists = [properties[key] for key in _CHILDREN_KEYS if key in properties] if isinstance(properties, dict) else []
    return lists[0] if lists and isinstance(lists[0], list) else []


class _Classification(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A class as current QuPath writes it."""

    name: str
    color: tuple[int, int, int] | None = None


class _Properties(msgspec.Struct, forbid_unknown_fields=True):
    """Properties as QuPath writes them of a detection; NaN is a text."""

    objectType: str = ""  # noqa: N815 - QuPath's name
    name: str = ""
    classification: _Classification | None = None
    measurements: dict[str, float | str] = {}  # msgspec copies it


class _Outline(msgspec.Struct, forbid_unknown_fields=True):
    """A polygon without holes."""

    type: Literal["Polygon"]
    coordinates: tuple[list[tuple[float, float]]]


class _Detection(msgspec.Struct, forbid_unknown_fields=True):
    """A feature as QuPath writes most: those of a file are read together, at a fourth of the time of single ones."""

    type: Literal["Feature"]
    geometry: _Outline
    properties: _Properties
    id: str = ""

    def count_texts(self) -> int:
        """Return how many texts the feature consists of if no key occurs twice and no default is written."""
        own = self.properties
        pairs = [self.id, own.objectType, own.name]
        count = 7 + sum(2 for value in pairs if value)  # a key and its value
        if own.classification is not None:
            count += 3 + (own.classification.color is not None)
        if own.measurements:
            count += 1 + len(own.measurements) + sum(type(value) is str for value in own.measurements.values())
        return count

    def has_usual_numbers(self) -> bool:
        """Whether no measurement may be an integer of more than 64 bits, which is refused."""
        values = self.properties.measurements.values()
        return all(isinstance(value, str) or abs(value) < LARGEST_INTEGER for value in values)


class _OtherContentError(Exception):
    """A file is not a collection whose features can be parsed one by one."""


_CHUNK = 1024  # features whose vertices are read together
# Numbers that JSON does not have, as values of a key; and the texts that stand for them
_SPECIAL_NUMBER = re.compile(rb'("\s*:\s*)(NaN|-?Infinity)(?=\s*[,}])')
_SPECIAL_TEXT = re.compile(rb'"(NaN|-?Infinity)"')


def _parse_collection(content: bytes, parse: Callable[[bytes], Any], *, areas_only: bool) -> dict[str, Any]:
    """Parse a feature collection, in which detections become annotations, with positions as in the file.

    ``parse``: for all other features and members. Raises ``_OtherContentError`` for other content.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    if _SPECIAL_TEXT.search(content):
        raise _OtherContentError
    split = shape_parser(dict[str, msgspec.Raw])
    try:
        try:
            members = split(content)
        except ValueError:
            content = _SPECIAL_NUMBER.sub(rb'\1"\2"', content)  # such a text would end there: no JSON either
            members = split(content)
        texts = shape_parser(list[msgspec.Raw])(members.pop("features"))
    except (ValueError, KeyError):
        raise _OtherContentError from None

    def parse_part(text: bytes) -> Any:  # noqa: ANN401 - any JSON value
        return parse(_SPECIAL_TEXT.sub(rb"\1", text))

    found = {key: parse_part(bytes(member)) for key, member in members.items()}
    quotes = 2 * (len(members) + 1) + sum(bytes(member).count(b'"') for member in members.values())
    features: list[Any] = []
    classes: dict[_Classification | None, tuple[str, Color | None]] = {}
    for start in range(0, len(texts), _CHUNK):
        chunk = [bytes(text) for text in texts[start : start + _CHUNK]]
        quotes += sum(text.count(b'"') for text in chunk)
        for text, detection in zip(chunk, _parse_detections(chunk, classes, areas_only=areas_only), strict=True):
            features.append(detection or parse_part(text))
    if found.get("type") != "FeatureCollection" or quotes != content.count(b'"'):  # or a key occurs twice
        raise _OtherContentError
    return {**found, "features": features}


def _parse_detections(
    texts: Sequence[bytes], classes: dict[_Classification | None, tuple[str, Color | None]], *, areas_only: bool
) -> list[Annotation | None]:
    """Parse features of the shape of ``_Detection`` whose outlines certainly have an area; others are None.

    ``classes``: those that were read before, to which new ones are added.
    """
    parser = shape_parser(_Detection)
    found: list[Annotation | None] = [None] * len(texts)
    detections: list[tuple[int, _Detection]] = []
    for number, text in enumerate(texts):
        try:
            detection = parser(text)
        except ValueError:
            continue
        is_whole = b"\\" not in text and text.count(b'"') == 2 * detection.count_texts()
        if is_whole and detection.has_usual_numbers() and len(detection.geometry.coordinates[0]) > MIN_VERTICES:
            detections.append((number, detection))
    rings = _join_rings([detection.geometry.coordinates[0] for _, detection in detections])
    for (number, detection), ring in zip(detections, rings, strict=True):
        if ring is not None:
            own = detection.properties
            if own.classification not in classes:
                classes[own.classification] = read_classification(msgspec.to_builtins(own.classification))
            measured = {} if areas_only else own.measurements
            found[number] = Annotation(
                (Polygon(ring),),
                *classes[own.classification],
                own.name,
                {name: value for name, value in measured.items() if type(value) is float},
                own.objectType or _TYPE_IDS.get(detection.id, "annotation"),
                detection.id,
            )
    return found


def _join_rings(rings: Sequence[Sequence[tuple[float, float]]]) -> list[NDArray[np.float64] | None]:
    """Return rings (x, y) as arrays (row, column), the first vertex not repeated; None if ``_read_polygon`` decides.

    Each has a vertex at least. It decides of rings that are open, far away or nearly without an area.
    """
    if not rings:
        return []
    sizes = np.array([len(ring) for ring in rings])
    ends = np.cumsum(sizes)
    starts = ends - sizes
    numbers = chain.from_iterable(chain.from_iterable(rings))
    points = np.fromiter(numbers, np.float64, 2 * ends[-1]).reshape(-1, 2)[:, ::-1].copy()
    rows, columns = (points - np.repeat(points[starts], sizes, axis=0)).T
    turns = columns * np.roll(rows, -1) - np.roll(columns, -1) * rows
    turns[ends - 1] = 0
    squares = np.add.reduceat(rows**2 + columns**2, starts)
    is_certain = np.abs(np.add.reduceat(turns, starts)) > 10 * _ROUNDING * squares
    is_certain &= (points[starts] == points[ends - 1]).all(axis=1)
    is_certain &= np.maximum.reduceat(np.abs(points).max(axis=1), starts) < _MAX_COORDINATE
    return [
        points[start : end - 1] if certain else None
        for start, end, certain in zip(starts.tolist(), ends.tolist(), is_certain.tolist(), strict=True)
    ]


def _parse(path: Path, *, areas_only: bool) -> Any:  # noqa: ANN401 - any JSON value
    """Parse a file; features of a common kind become annotations, see ``_parse_collection``."""

    def compact(values: dict[str, Any]) -> None:
        if areas_only:
            values.pop("measurements", None)
            values.pop("nucleusGeometry", None)
        geometry = values.get("geometry")
        if not (isinstance(geometry, dict) and values.get("type") == "Feature"):
            return
        if isinstance(coordinates := geometry.get("coordinates"), list):
            if geometry.get("type") == "Polygon":
                geometry["coordinates"] = _compact_rings(coordinates)
            elif geometry.get("type") == "MultiPolygon":
                geometry["coordinates"] = [_compact_rings(part) for part in coordinates]

    def parse(text: bytes) -> Any:  # noqa: ANN401 - any JSON value
        return parse_json(text, str(path), allow_nan=True, convert=compact)  # QuPath writes NaN measurements

    try:
        content = read_limited(path, _MAX_BYTES)
        try:
            return _parse_collection(content, parse, areas_only=areas_only)
        except (_OtherContentError, MalformedFile):  # the parser of the whole file states the place of a fault
            return parse(content)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}: expected annotations as GeoJSON.") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {parse_error_reason(error)}. Check the permissions.") from error
    except MalformedFile as error:
        raise InputError(
            f"cannot read {path}: {error.reason}. Expected GeoJSON in UTF-8, as exported by QuPath. Export it again."
        ) from error


def _list_features(content: Any, path: Path) -> list[Any]:  # noqa: ANN401
    """Return the features of a file; a geometry without a feature becomes one."""
    if isinstance(content, list):
        return content
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "FeatureCollection":
        features: list[Any] = _get_typed(content, "features", list, str(path))
        return features
    if kind == "Feature":
        return [content]
    if kind in ("Polygon", "MultiPolygon", "GeometryCollection"):
        return [{"geometry": content}]
    raise InputError(
        f"{path} is not GeoJSON: expected a FeatureCollection, found {kind or type(content).__name__}. "
        "Export annotations as GeoJSON."
    )


def _annotation_to_canvas(annotation: Annotation, origin: Origin) -> Annotation:
    """Return an annotation with positions counted from the corner of the canvas, instead of an origin."""
    if origin == CANVAS:
        return annotation
    rings = [[ring + np.array(origin) for ring in polygon.arrays] for polygon in annotation.polygons]
    return replace(annotation, polygons=tuple(Polygon(outer, holes) for outer, *holes in rings))


def _read_annotation(feature: dict[str, Any], polygons: tuple[Polygon, ...], where: str) -> Annotation:
    """Build an annotation from a feature and its polygons."""
    properties = feature.get("properties") or {}
    if not isinstance(properties, dict):
        raise InputError(
            f"{where}: 'properties' must be an object, found {shorten(repr(properties), 60)}. Export the file again."
        )
    class_name, color = read_classification(properties.get("classification"))
    identity = str(feature.get("id") or "")
    kind = next((properties[key] for key in _TYPE_KEYS if isinstance(properties.get(key), str)), "")
    return Annotation(
        polygons,
        class_name,
        color,
        str(properties.get("name") or ""),
        _read_measurements(properties.get("measurements"), where),
        kind or _TYPE_IDS.get(identity, "annotation"),
        identity,
        _list_others(properties, _PROPERTY_KEYS),
        _list_others(feature["geometry"], _GEOMETRY_KEYS),
        _list_others(feature, _FEATURE_KEYS),
    )


def _list_others(members: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """Return the members that ``Annotation`` has no fields for, with their rings as lists."""
    if members.keys() <= known:  # of nearly all features
        return {}
    return {key: _list_rings(value) for key, value in members.items() if key not in known}


def _read_polygons(geometry: dict[str, Any], where: str) -> tuple[list[Polygon], list[tuple[str, dict[str, Any]]]]:
    """Return the polygons of a geometry, and the parts that have no area, each with the reason."""
    kind = geometry.get("type")
    polygons: list[Polygon] = []
    without_area: list[tuple[str, dict[str, Any]]] = []
    if kind == "GeometryCollection":
        for part in _get_typed(geometry, "geometries", list, where):
            if not isinstance(part, dict):
                found = shorten(repr(part), 60)
                raise InputError(f"{where}: a geometry must be an object, found {found}. Export the file again.")
            part_polygons, part_without_area = _read_polygons(part, where)
            polygons += part_polygons
            without_area += part_without_area
    elif kind in ("Polygon", "MultiPolygon"):
        coordinates = _get_typed(geometry, "coordinates", list, where)
        for rings in [coordinates] if kind == "Polygon" else coordinates:
            if polygon := _read_polygon(rings, where):
                polygons.append(polygon)
            else:
                reason = "a ring with too few points or no area"
                without_area.append((reason, {"type": "Polygon", "coordinates": rings}))
    else:
        without_area.append((f"a geometry of type {shorten(repr(kind), 60)} has no area", geometry))
    return polygons, without_area


def _read_polygon(rings: Any, where: str) -> Polygon | None:  # noqa: ANN401
    """Return a polygon; None if its outer ring has no area."""
    if not isinstance(rings, list):
        raise InputError(
            f"{where}: a polygon must be a list of rings, found {shorten(repr(rings), 60)}. Export the file again."
        )
    if not rings:
        return None
    outer, *holes = [_read_ring(ring, where) for ring in rings]
    polygon = Polygon(outer, holes)
    outer, *holes = polygon.arrays
    if not _has_area(outer):
        return None
    return polygon if all(map(_has_area, holes)) else Polygon(outer, [hole for hole in holes if _has_area(hole)])


def _has_area(ring: NDArray[np.float64]) -> bool:
    """Whether a ring has an area; the signed area of a figure of eight may be zero."""
    points = ring.view(np.complex128).ravel()  # four times as fast as ``signed_area`` for few points
    points = points - points[:1]
    exceeds_rounding = abs(np.vdot(points[:-1], points[1:]).imag) > _ROUNDING * np.vdot(points, points).real
    return bool(exceeds_rounding or signed_area(ring) or untangle_polygon(Polygon(ring)))


def _compact_rings(rings: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return rings with those as arrays (vertex, 2) whose points are two numbers, as of nearly all files."""
    return [_compact_ring(ring) for ring in rings] if isinstance(rings, list) else rings


def _compact_ring(points: Any) -> Any:  # noqa: ANN401 - any JSON value
    if not isinstance(points, list) or set(map(type, points)) != {list} or set(map(len, points)) != {2}:
        return points
    numbers = list(chain.from_iterable(points))
    if not set(map(type, numbers)) <= {int, float}:
        return points
    vertices = np.array(numbers, np.float64).reshape(-1, 2)
    return vertices if np.abs(vertices).max() < _MAX_COORDINATE else points  # NaN is not less


def _list_rings(member: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value that is kept as it was read, with its rings as lists again."""
    if isinstance(member, np.ndarray):
        return [[_shorten_number(x), _shorten_number(y)] for x, y in member.tolist()]
    if isinstance(member, dict):
        return {key: _list_rings(part) for key, part in member.items()}
    return [_list_rings(part) for part in member] if isinstance(member, list) else member


def _read_ring(points: Any, where: str) -> NDArray[np.float64]:  # noqa: ANN401
    """Return the vertices of a ring as (row, column), the first not repeated; coordinates after x, y are ignored."""
    if isinstance(points, np.ndarray):
        vertices = points[:, ::-1]
    elif isinstance(points, list):
        vertices = np.array([_read_vertex(point, where) for point in points], np.float64).reshape(-1, 2)
    else:
        raise InputError(
            f"{where}: a ring must be a list of points, found {shorten(repr(points), 60)}. Export the file again."
        )
    is_closed = len(vertices) > 1 and vertices[0].tolist() == vertices[-1].tolist()
    return vertices[:-1] if is_closed else vertices


def _read_vertex(point: Any, where: str) -> tuple[float, float]:  # noqa: ANN401
    """Return a point as (row, column), at most ``_MAX_COORDINATE`` away: areas of larger values would overflow."""
    if not (isinstance(point, list) and len(point) >= 2 and all(is_finite_number(value) for value in point[:2])):
        raise InputError(
            f"{where}: a point must be two finite numbers, x and y, found {shorten(repr(point), 60)}. Export the file "
            "again."
        )
    x, y = (float(min(max(value, -_MAX_COORDINATE), _MAX_COORDINATE)) for value in point[:2])
    return y, x


def read_classification(value: Any) -> tuple[str, Color | None]:  # noqa: ANN401
    """Return name and color of a class, stored as by any version of QuPath or as its name only.

    The name is in the spelling that is shown and written: *nevus* for *naevus*.
    """
    if isinstance(value, str):
        return format_class(value), None
    if not isinstance(value, dict):
        return "", None
    names = value.get("names")
    name = ": ".join(str(part) for part in names) if isinstance(names, list) else str(value.get("name") or "")
    name = format_class(name)
    color = value.get("color")
    if isinstance(color, (list, tuple)) and len(color) >= 3 and all(is_finite_number(part) for part in color[:3]):
        return name, (int(color[0]), int(color[1]), int(color[2]))
    packed = value.get("colorRGB")  # up to QuPath 0.3: a signed 32-bit number, alpha first
    if isinstance(packed, int):
        return name, ((packed >> 16) & 255, (packed >> 8) & 255, packed & 255)
    return name, None


def _read_measurements(value: Any, where: str) -> dict[str, float]:  # noqa: ANN401
    """Return measurements stored as an object, or as a list as in older QuPath versions; only finite numbers."""
    if value is None:
        return {}
    if isinstance(value, list):
        value = {str(item.get("name")): item.get("value") for item in value if isinstance(item, dict)}
    if not isinstance(value, dict):
        raise InputError(
            f"{where}: 'measurements' must be an object, found {shorten(repr(value), 60)}. Export the file again."
        )
    return {name: float(number) for name, number in value.items() if is_finite_number(number)}


def _get_typed(value: Any, key: str, kind: type[dict] | type[list], where: str) -> Any:  # noqa: ANN401
    """Return the value of a key; raise an error if it is missing or of another type."""
    member = value.get(key) if isinstance(value, dict) else None
    if not isinstance(member, kind):
        name = "a list" if kind is list else "an object"
        raise InputError(f"{where}: '{key}' must be {name}, found {shorten(repr(member), 60)}. Export the file again.")
    return member


def is_finite_number(value: Any) -> bool:  # noqa: ANN401
    """Whether a value is a finite number and not a boolean."""
    return isinstance(value, (int, float)) and value is not True and value is not False and math.isfinite(value)


@dataclass(frozen=True)
class FittedAnnotations:
    """Areas within a slide, and a message for each area that was changed or left out."""

    annotations: tuple[Annotation, ...]
    changed: tuple[str, ...] = ()


def fit_to_slide(content: GeoJsonContent, size: tuple[int, int]) -> FittedAnnotations:
    """Repair areas and clip them to a slide.

    Areas outside the slide, which belong to another slide or have other units, are left out and reported.

    ``size``: height and width of the finest level, in pixels.
    """
    fitted, notes = [], []
    chunks = (content.annotations[start : start + _CHUNK] for start in range(0, len(content.annotations), _CHUNK))
    unchanged = chain.from_iterable(_find_valid(chunk, size).tolist() for chunk in chunks)
    for number, (annotation, is_unchanged) in enumerate(zip(content.annotations, unchanged, strict=True), start=1):
        if is_unchanged:
            fitted.append(annotation)
            continue
        name = annotation.name or f"area {number}"
        valid = merge_overlapping(part for polygon in annotation.polygons for part in untangle_polygon(polygon))
        if valid != annotation.polygons:
            notes.append((name, "crossing or overlapping outlines or holes were repaired"))
        within = tuple(part for polygon in valid for part in clip_polygon(polygon, size))
        if not within:
            notes.append((name, f"omitted, outside the slide of {size[1]} x {size[0]} pixels"))
            continue
        if within != valid:
            notes.append((name, "the part outside the slide was cut off"))
        fitted.append(annotation if within == annotation.polygons else replace(annotation, polygons=within))
    changed = (*content.omitted, *_join_subjects(notes))
    if content.annotations and content.origin != CANVAS:
        corner = f"({content.origin[1]}, {content.origin[0]}) px"
        changed = (f"positions were counted from the corner of the scanned area, {corner}", *changed)
    return FittedAnnotations(tuple(fitted), changed)


def _find_valid(annotations: Sequence[Annotation], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which areas consist of one valid polygon without holes within the slide, as most cells do."""
    import shapely

    rings = [one.polygons[0].arrays if len(one.polygons) == 1 else () for one in annotations]
    simple = np.array([len(own) == 1 and len(own[0]) >= MIN_VERTICES for own in rings], bool)
    outers = [own[0] for own, is_simple in zip(rings, simple, strict=True) if is_simple]
    if not outers:
        return simple
    vertices = np.concatenate(outers)
    owners = np.repeat(np.arange(len(outers)), [len(ring) for ring in outers])
    outside = np.bincount(owners, ((vertices < 0) | (vertices > size)).any(axis=1), len(outers)) > 0
    shapes = shapely.polygons(shapely.linearrings(vertices, indices=owners))
    simple[simple] = shapely.is_valid(shapes) & ~outside
    return simple

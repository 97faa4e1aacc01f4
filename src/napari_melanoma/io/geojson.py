"""Annotations as GeoJSON in the format of QuPath: reading, validation, clipping to a slide, and writing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import InputError, MalformedFile
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.parsing import parse_error_reason, read_json, shorten
from napari_melanoma.core.polygons import Polygon, Ring, clip_polygon, signed_area, untangle_polygon

if TYPE_CHECKING:
    from typing import TextIO

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Annotation:
    """One area with its properties.

    ``polygons``: in pixels of the finest level, from the outer corner of its first pixel, as in QuPath. ``color``: red,
    green, blue of the class, 0 to 255.
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


def write_geojson(path: Path, annotations: Iterable[Annotation], unread: Iterable[Any] = ()) -> None:
    """Write annotations as a feature collection, one feature per line, atomically.

    ``unread``: features of ``GeoJsonContent``, which are written as they were.

    Numbers keep all digits, so that ``read_geojson`` returns equal values. Measurements that are not finite are left
    out, as JSON does not support them.
    """
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,  # names of files
    ):
        _write(file, annotations, unread)


def annotation_to_feature(annotation: Annotation) -> dict[str, Any]:
    """Return an annotation as a GeoJSON feature.

    A ``Polygon``, or a ``MultiPolygon`` for several; vertices are (x, y), the first is repeated at the end. The
    direction of rings is kept: those of ``slides.cell_polygons`` follow RFC 7946.
    """
    parts = [[_close_ring(ring) for ring in polygon.rings] for polygon in annotation.polygons]
    geometry = {"type": "Polygon", "coordinates": parts[0]}
    if len(parts) > 1:
        geometry = {"type": "MultiPolygon", "coordinates": parts}
    identity = {"id": annotation.id} if annotation.id else {}
    placed = {**geometry, **annotation.geometry_members}
    return {
        "type": "Feature",
        **identity,
        "geometry": placed,
        **annotation.feature_members,
        "properties": _properties(annotation),
    }


def _write(file: TextIO, annotations: Iterable[Annotation], unread: Iterable[Any]) -> None:
    """Write the collection feature by feature."""
    file.write('{"type": "FeatureCollection", "features": [')
    before = "\n"
    for annotation in annotations:
        file.write(before + json.dumps(annotation_to_feature(annotation), ensure_ascii=False, allow_nan=False))
        before = ",\n"
    for feature in unread:
        file.write(before + json.dumps(feature, ensure_ascii=False))  # QuPath writes NaN measurements
        before = ",\n"
    file.write("\n]}\n")


def _properties(annotation: Annotation) -> dict[str, Any]:
    """Return the properties that QuPath reads; empty ones are left out."""
    classification: dict[str, Any] = {"name": annotation.class_name}
    if annotation.color is not None:
        classification["color"] = list(annotation.color)
    numbers = {name: _shorten_number(value) for name, value in annotation.measurements.items() if math.isfinite(value)}
    known = {
        "objectType": annotation.kind,
        "name": annotation.name,
        "classification": classification if annotation.class_name else None,
        "measurements": numbers,
    }
    return {**{key: value for key, value in known.items() if value}, **annotation.properties}


def _close_ring(ring: Ring) -> list[list[float]]:
    """Vertices as (x, y), with the first repeated at the end."""
    return [[_shorten_number(column), _shorten_number(row)] for row, column in (*ring, ring[0])]


def _shorten_number(value: float) -> float:
    """Convert whole numbers to integers, which are read as equal."""
    whole = float(value).is_integer() and abs(value) < 2**53
    return int(value) if whole else float(value)


_LARGEST_BYTES = 2**30
_TYPES = ("objectType", "object_type", "type")  # of an object in current QuPath, in 0.3, and as an alternative
_CHILDREN = ("childObjects", "children")
_KNOWN = (*_TYPES, *_CHILDREN, "name", "classification", "measurements")
_FEATURE = ("type", "id", "geometry", "properties")
_GEOMETRY = ("type", "coordinates", "geometries")
# QuPath 0.2 stored the type of an object in its identifier.
_TYPE_IDS = {
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tmaCore",
}


@dataclass(frozen=True)
class GeoJsonContent:
    """Areas of a file, and messages on geometries without area that were left out.

    ``unread``: the features that were left out, or their parts that were, as in the file.
    """

    annotations: tuple[Annotation, ...]
    omitted: tuple[str, ...] = ()
    unread: tuple[Any, ...] = ()


def read_geojson(path: Path) -> GeoJsonContent:
    """Read the areas of a GeoJSON file.

    Points, lines and rings without an area are left out and reported.
    """
    content = _content(path)
    annotations: list[Annotation] = []
    omitted: list[str] = []
    unread: list[Any] = []
    for name, one in _list_nested(_list_features(content, path), "feature {}"):
        where = f"{path}: {name}"
        if isinstance(one, dict) and "geometry" in one and one["geometry"] is None:  # valid in GeoJSON
            omitted.append(f"{name}: it has no geometry")
            unread.append(_without_children(one))
            continue
        polygons, others = _read_polygons(_get_typed(one, "geometry", dict, where), where)
        omitted += [f"{name}: {reason}" for reason, _ in others]
        if polygons:
            annotations.append(_read_annotation(one, tuple(polygons), where))
            rest = {key: value for key, value in _without_children(one).items() if key != "id"}
            unread += [{**rest, "geometry": geometry} for _, geometry in others]
        else:
            unread.append(_without_children(one))
    return GeoJsonContent(tuple(annotations), tuple(omitted), tuple(unread))


def _list_nested(features: list[Any], name: str) -> Iterator[tuple[str, Any]]:
    """List features by name, each followed by those nested in it in an exported QuPath hierarchy."""
    for number, one in enumerate(features, start=1):
        yield name.format(number), one
        yield from _list_nested(_children(one), f"{name.format(number)}, object {{}} in it")


def _without_children(one: dict[str, Any]) -> dict[str, Any]:
    """Return a feature without the features in it, which are read on their own."""
    properties = one.get("properties")
    if not _children(one) or not isinstance(properties, dict):
        return one
    return {**one, "properties": {key: value for key, value in properties.items() if key not in _CHILDREN}}


def _children(one: dict[str, Any]) -> list[Any]:
    """Features within a feature."""
    properties = one.get("properties")
    found = [properties[key] for key in _CHILDREN if key in properties] if isinstance(properties, dict) else []
    return found[0] if found and isinstance(found[0], list) else []


def _content(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """Parse the file."""
    try:
        return read_json(path, _LARGEST_BYTES, allow_nan=True)  # QuPath writes NaN measurements
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}: expected annotations as GeoJSON.") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {parse_error_reason(error)}. Check the permissions.") from error
    except MalformedFile as error:
        raise InputError(
            f"cannot read {path}: {error.reason}. Expected GeoJSON in UTF-8, as exported by QuPath. Export it again."
        ) from error


def _list_features(content: Any, path: Path) -> list[Any]:  # noqa: ANN401
    """Features of a file; a bare geometry is wrapped into one."""
    if isinstance(content, list):
        return content
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "FeatureCollection":
        found: list[Any] = _get_typed(content, "features", list, str(path))
        return found
    if kind == "Feature":
        return [content]
    if kind in ("Polygon", "MultiPolygon", "GeometryCollection"):
        return [{"geometry": content}]
    raise InputError(
        f"{path} is not GeoJSON: expected a FeatureCollection, found {kind or type(content).__name__}. "
        "Export annotations as GeoJSON."
    )


def _read_annotation(one: dict[str, Any], polygons: tuple[Polygon, ...], where: str) -> Annotation:
    """Build an annotation from a feature and its polygons."""
    properties = one.get("properties") or {}
    if not isinstance(properties, dict):
        raise InputError(
            f"{where}: 'properties' must be an object, found {shorten(repr(properties), 60)}. Export the file again."
        )
    class_name, color = read_classification(properties.get("classification"))
    identity = str(one.get("id") or "")
    kind = next((properties[key] for key in _TYPES if isinstance(properties.get(key), str)), "")
    return Annotation(
        polygons,
        class_name,
        color,
        str(properties.get("name") or ""),
        _measurements(properties.get("measurements"), where),
        kind or _TYPE_IDS.get(identity, "annotation"),
        identity,
        {key: value for key, value in properties.items() if key not in _KNOWN},
        {key: value for key, value in one["geometry"].items() if key not in _GEOMETRY},
        {key: value for key, value in one.items() if key not in _FEATURE},
    )


def _read_polygons(geometry: dict[str, Any], where: str) -> tuple[list[Polygon], list[tuple[str, dict[str, Any]]]]:
    """Polygons of a geometry, and the geometries that were left out, with the reasons."""
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        parts = [_read_polygons(part, where) for part in _get_typed(geometry, "geometries", list, where)]
        return [one for polygons, _ in parts for one in polygons], [one for _, others in parts for one in others]
    if kind not in ("Polygon", "MultiPolygon"):
        return [], [(f"a geometry of type {shorten(repr(kind), 60)} has no area", geometry)]
    coordinates = _get_typed(geometry, "coordinates", list, where)
    read = [(_polygon(rings, where), rings) for rings in ([coordinates] if kind == "Polygon" else coordinates)]
    reason = "a ring with too few points or no area"
    others = [(reason, {"type": "Polygon", "coordinates": rings}) for polygon, rings in read if polygon is None]
    return [polygon for polygon, _ in read if polygon is not None], others


def _polygon(rings: Any, where: str) -> Polygon | None:  # noqa: ANN401
    """One polygon; None if its outer ring has no area."""
    if not isinstance(rings, list):
        raise InputError(
            f"{where}: a polygon must be a list of rings, found {shorten(repr(rings), 60)}. Export the file again."
        )
    found = [_ring(ring, where) for ring in rings]
    if not found or not _encloses(found[0]):
        return None
    return Polygon(found[0], tuple(filter(_encloses, found[1:])))


def _encloses(ring: Ring) -> bool:
    """Whether a ring has an area; the signed area of a figure of eight may be zero."""
    return bool(signed_area(ring) or untangle_polygon(Polygon(ring)))


def _ring(points: Any, where: str) -> Ring:  # noqa: ANN401
    """Vertices of a ring as (row, column), without the repeated one; further coordinates (z) are ignored."""
    if not isinstance(points, list):
        raise InputError(
            f"{where}: a ring must be a list of points, found {shorten(repr(points), 60)}. Export the file again."
        )
    vertices = tuple(_vertex(point, where) for point in points)
    return vertices[:-1] if len(vertices) > 1 and vertices[0] == vertices[-1] else vertices


def _vertex(point: Any, where: str) -> tuple[float, float]:  # noqa: ANN401
    """One point as (row, column)."""
    if not (isinstance(point, list) and len(point) >= 2 and all(_is_number(value) for value in point[:2])):
        raise InputError(
            f"{where}: a point must be two finite numbers, x and y, found {shorten(repr(point), 60)}. Export the file "
            "again."
        )
    return float(point[1]), float(point[0])


def read_classification(value: Any) -> tuple[str, Color | None]:  # noqa: ANN401
    """Return name and color of a class in the formats of all QuPath versions, or of a text."""
    if isinstance(value, str):
        return value, None
    if not isinstance(value, dict):
        return "", None
    names = value.get("names")
    name = ": ".join(str(part) for part in names) if isinstance(names, list) else str(value.get("name") or "")
    color = value.get("color")
    if isinstance(color, list) and len(color) >= 3 and all(_is_number(part) for part in color[:3]):
        return name, (int(color[0]), int(color[1]), int(color[2]))
    packed = value.get("colorRGB")  # up to QuPath 0.3: a signed 32-bit number, alpha first
    if isinstance(packed, int):
        return name, ((packed >> 16) & 255, (packed >> 8) & 255, packed & 255)
    return name, None


def _measurements(value: Any, where: str) -> dict[str, float]:  # noqa: ANN401
    """Measurements as an object, or as the list of older QuPath versions; non-finite values are left out."""
    if value is None:
        return {}
    if isinstance(value, list):
        value = {str(one.get("name")): one.get("value") for one in value if isinstance(one, dict)}
    if not isinstance(value, dict):
        raise InputError(
            f"{where}: 'measurements' must be an object, found {shorten(repr(value), 60)}. Export the file again."
        )
    return {name: float(number) for name, number in value.items() if _is_number(number)}


def _get_typed(value: Any, key: str, kind: type[dict] | type[list], where: str) -> Any:  # noqa: ANN401
    """Return the value of a key; raise an error if it is missing or of another type."""
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        name = "a list" if kind is list else "an object"
        raise InputError(f"{where}: '{key}' must be {name}, found {shorten(repr(found), 60)}. Export the file again.")
    return found


def _is_number(value: Any) -> bool:  # noqa: ANN401
    """Whether a value is a finite number and not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class FittedAnnotations:
    """Areas within a slide, and messages on changed and omitted ones."""

    annotations: tuple[Annotation, ...]
    changed: tuple[str, ...] = ()


def fit_to_slide(found: GeoJsonContent, size: tuple[int, int]) -> FittedAnnotations:
    """Repair areas and clip them to a slide.

    ``size``: height and width of the finest level, in pixels. Areas outside the slide, which belong to another slide or
    have other units, are left out and reported.
    """
    kept, changed = [], list(found.omitted)
    for number, annotation in enumerate(found.annotations, start=1):
        name = annotation.name or f"area {number}"
        valid = tuple(part for polygon in annotation.polygons for part in untangle_polygon(polygon))
        if valid != annotation.polygons:
            changed.append(f"{name}: its outline or holes cross or overlap; they were repaired")
        within = tuple(part for polygon in valid for part in clip_polygon(polygon, size))
        if not within:
            changed.append(f"{name}: omitted, it lies outside the slide of {size[1]} x {size[0]} pixels")
            continue
        if within != valid:
            changed.append(f"{name}: the part outside the slide was cut off")
        kept.append(annotation if within == annotation.polygons else replace(annotation, polygons=within))
    return FittedAnnotations(tuple(kept), tuple(changed))

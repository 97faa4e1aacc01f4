"""GeoJSON in pixels, rows counted downwards, as QuPath writes it: polygons with holes, multipolygons, collections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.data.masks.areas import MaskObject, PolygonArea
from napari_melanoma.data.masks.json_files import find_text, get_value, list_json_files, parse_ring, read_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TYPES = ("FeatureCollection", "Feature", "GeometryCollection", "Polygon", "MultiPolygon")


def is_geojson(content: Any) -> bool:  # noqa: ANN401 - whatever JSON can hold
    """Whether the content of a JSON file looks like GeoJSON.

    True for a feature, a collection or a polygon, and for a list of features, as older QuPath versions write.
    """
    first = content[0] if isinstance(content, list) and content else content
    return isinstance(first, dict) and first.get("type") in _TYPES


def read_geojson_masks(path: Path) -> Iterator[MaskObject | str]:
    """Read the features of a GeoJSON file, or of each in a folder.

    The image is what a feature's property ``image``, ``file_name`` or ``image_id`` names, or else the one of the file's
    stem.

    Yields an object, or what kind of geometry was left out because it encloses nothing.
    """
    for file in list_json_files(path):
        content = read_json(file)
        if is_geojson(content):
            for number, feature in enumerate(_list_features(content, str(file))):
                yield from _read_objects(feature, file, f"{file}: feature {number}")


def _list_features(content: Any, where: str) -> list[Any]:  # noqa: ANN401
    """Features of a file; a bare geometry becomes one."""
    if isinstance(content, list):
        return content
    if content["type"] == "FeatureCollection":
        return get_value(content, "features", list, where)
    return [content if content["type"] == "Feature" else {"geometry": content}]


def _read_objects(feature: Any, file: Path, where: str) -> Iterator[MaskObject | str]:  # noqa: ANN401
    """The object of one feature."""
    properties = feature.get("properties") if isinstance(feature, dict) else None
    geometry = get_value(feature, "geometry", dict, where)
    polygons, others = _read_polygons(geometry, where)
    yield from others
    if polygons:
        yield MaskObject(
            image=find_text(properties, "image", "file_name", "image_id") or file.stem,
            area=PolygonArea(polygons),
            label=_find_label(properties),
            diagnosis=find_text(properties, "diagnosis"),
        )


def _read_polygons(geometry: Any, where: str) -> tuple[list[list[NDArray[np.float64]]], list[str]]:  # noqa: ANN401
    """Polygons of a geometry, each its rings, and what was left out."""
    kind = get_value(geometry, "type", str, where)
    if kind == "GeometryCollection":
        parts = [_read_polygons(part, where) for part in get_value(geometry, "geometries", list, where)]
        return [one for polygons, _ in parts for one in polygons], [one for _, others in parts for one in others]
    if kind not in ("Polygon", "MultiPolygon"):
        return [], [f"geometries of type {kind}"]
    coordinates = get_value(geometry, "coordinates", list, where)
    drawn = []
    for polygon in [coordinates] if kind == "Polygon" else coordinates:
        rings = [parse_ring(part, where) for part in (polygon if isinstance(polygon, list) else [polygon])]
        if rings and rings[0] is not None:
            drawn.append([one for one in rings if one is not None])
    return drawn, [] if drawn else [f"geometries of type {kind} with too few points"]


def _find_label(properties: Any) -> str:  # noqa: ANN401
    """The class of a feature, where QuPath or another tool puts it."""
    classification = properties.get("classification") if isinstance(properties, dict) else None
    return find_text(classification, "name") or find_text(properties, "label", "class", "classification", "name")

"""GeoJSON in pixels, rows counted downwards, as QuPath writes it: polygons with holes, multipolygons, collections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.data.masks.areas import MaskObject, Polygons
from napari_melanoma.data.masks.json_files import json_files, read_json, ring, take, text_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TYPES = ("FeatureCollection", "Feature", "GeometryCollection", "Polygon", "MultiPolygon")


def recognises(content: Any) -> bool:  # noqa: ANN401 - whatever JSON can hold
    """Whether the content of a JSON file looks like GeoJSON.

    True for a feature, a collection or a polygon, and for a list of features, as older QuPath versions write.
    """
    first = content[0] if isinstance(content, list) and content else content
    return isinstance(first, dict) and first.get("type") in _TYPES


def read(path: Path) -> Iterator[MaskObject | str]:
    """Read the features of a GeoJSON file, or of each in a folder.

    The image is what a feature's property ``image``, ``file_name`` or ``image_id`` names, or else the one of the file's
    stem.

    Yields an object, or what kind of geometry was left out because it encloses nothing.
    """
    for file in json_files(path):
        content = read_json(file)
        if recognises(content):
            for number, feature in enumerate(_features(content, str(file))):
                yield from _objects(feature, file, f"{file}: feature {number}")


def _features(content: Any, where: str) -> list[Any]:  # noqa: ANN401
    """Features of a file; a bare geometry becomes one."""
    if isinstance(content, list):
        return content
    if content["type"] == "FeatureCollection":
        return take(content, "features", list, where)
    return [content if content["type"] == "Feature" else {"geometry": content}]


def _objects(feature: Any, file: Path, where: str) -> Iterator[MaskObject | str]:  # noqa: ANN401
    """The object of one feature."""
    properties = feature.get("properties") if isinstance(feature, dict) else None
    geometry = take(feature, "geometry", dict, where)
    polygons, others = _polygons(geometry, where)
    yield from others
    if polygons:
        yield MaskObject(
            image=text_of(properties, "image", "file_name", "image_id") or file.stem,
            area=Polygons(polygons),
            label=_label(properties),
            diagnosis=text_of(properties, "diagnosis"),
        )


def _polygons(geometry: Any, where: str) -> tuple[list[list[NDArray[np.float64]]], list[str]]:  # noqa: ANN401
    """Polygons of a geometry, each its rings, and what was left out."""
    kind = take(geometry, "type", str, where)
    if kind == "GeometryCollection":
        parts = [_polygons(part, where) for part in take(geometry, "geometries", list, where)]
        return [one for polygons, _ in parts for one in polygons], [one for _, others in parts for one in others]
    if kind not in ("Polygon", "MultiPolygon"):
        return [], [f"geometries of type {kind}"]
    coordinates = take(geometry, "coordinates", list, where)
    drawn = []
    for polygon in [coordinates] if kind == "Polygon" else coordinates:
        rings = [ring(part, where) for part in (polygon if isinstance(polygon, list) else [polygon])]
        if rings and rings[0] is not None:
            drawn.append([one for one in rings if one is not None])
    return drawn, [] if drawn else [f"geometries of type {kind} with too few points"]


def _label(properties: Any) -> str:  # noqa: ANN401
    """The class of a feature, where QuPath or another tool puts it."""
    classification = properties.get("classification") if isinstance(properties, dict) else None
    return text_of(classification, "name") or text_of(properties, "label", "class", "classification", "name")

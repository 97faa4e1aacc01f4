"""Annotations as GeoJSON in the form of QuPath: areas in slide pixels with class, colour and measurements."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.polygons import Polygon, Ring

if TYPE_CHECKING:
    from typing import TextIO

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Annotation:
    """One area with what is known of it.

    ``polygons``: in pixels of the slide's finest level, from the outer corner of its first pixel, as QuPath counts.
    ``color``: red, green, blue of the class, 0 to 255.
    """

    polygons: tuple[Polygon, ...]
    class_name: str = ""
    color: Color | None = None
    name: str = ""
    measurements: Mapping[str, float] = field(default_factory=dict)
    kind: str = "annotation"
    id: str = ""
    other: Mapping[str, Any] = field(default_factory=dict)
    of_geometry: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)


def write_geojson(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write annotations as a feature collection, one feature a line, atomically.

    Numbers keep all their digits, so that ``io.geojson_reading.read_geojson`` gives back equal values. Measurements
    that are no finite numbers are left out, for JSON has none.
    """
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        _write(file, annotations)


def feature(annotation: Annotation) -> dict[str, Any]:
    """Give an annotation as a GeoJSON feature.

    A ``Polygon`` where it has one, else a ``MultiPolygon``; vertices are (x, y), the first is repeated at the end.
    Rings run as they are given: those of ``analysis.cell_polygons`` as RFC 7946 asks.
    """
    parts = [[_closed(ring) for ring in polygon.rings] for polygon in annotation.polygons]
    geometry = {"type": "Polygon", "coordinates": parts[0]}
    if len(parts) > 1:
        geometry = {"type": "MultiPolygon", "coordinates": parts}
    identity = {"id": annotation.id} if annotation.id else {}
    placed = {**geometry, **annotation.of_geometry}
    return {
        "type": "Feature",
        **identity,
        "geometry": placed,
        **annotation.beside,
        "properties": _properties(annotation),
    }


def _write(file: TextIO, annotations: Iterable[Annotation]) -> None:
    """Write the collection feature by feature."""
    file.write('{"type": "FeatureCollection", "features": [')
    before = "\n"
    for annotation in annotations:
        file.write(before + json.dumps(feature(annotation), ensure_ascii=False, allow_nan=False))
        before = ",\n"
    file.write("\n]}\n")


def _properties(annotation: Annotation) -> dict[str, Any]:
    """Give what QuPath reads beside the geometry; what is empty is left out."""
    classification: dict[str, Any] = {"name": annotation.class_name}
    if annotation.color is not None:
        classification["color"] = list(annotation.color)
    numbers = {name: _short(value) for name, value in annotation.measurements.items() if math.isfinite(value)}
    known = {
        "objectType": annotation.kind,
        "name": annotation.name,
        "classification": classification if annotation.class_name else None,
        "measurements": numbers,
    }
    return {**{key: value for key, value in known.items() if value}, **annotation.other}


def _closed(ring: Ring) -> list[list[float]]:
    """Vertices as GeoJSON has them: x before y, the first again at the end."""
    return [[_short(column), _short(row)] for row, column in (*ring, ring[0])]


def _short(value: float) -> float:
    """Write whole numbers without a point; they are read as equal."""
    whole = float(value).is_integer() and abs(value) < 2**53
    return int(value) if whole else float(value)

"""GeoJSON: outlines as written by QuPath and others, and invalid ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from hostile.oracle import Case, anything, exchange, one_of
from hostile.photos import written
from hostile.sandbox import Sandbox

WRONG = (None, True, "x", 7, [], {}, [[]], [[[]]], [[None]], [["a", "b"]], {"type": "Polygon"}, 10**400, "\ud800")


def ring(rng: Generator, points: int = 12, center: float = 500.0) -> list[list[float]]:
    """A star-shaped ring, closed."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, max(3, points)))
    radius = rng.uniform(50, 200, len(angles))
    found = np.stack([center + radius * np.cos(angles), center + radius * np.sin(angles)], 1).round(3).tolist()
    return [*found, found[0]]


def feature(coordinates: Any, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    values = {"objectType": "annotation", "classification": {"name": "Tumor", "color": [200, 0, 0]}, **properties}
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": values}


def collection(*features: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


def read(path: Path) -> Callable[[], Any]:
    def act() -> Any:
        from napari_melanoma.io.geojson import read_geojson

        return read_geojson(path)

    return act


def rings_equal(expected: list[list[list[list[float]]]]) -> Callable[[Any], str]:
    """The polygons that were written, each with its holes, to a thousandth of a pixel."""

    def check(found: Any) -> str:
        polygons = [polygon for annotation in found.annotations for polygon in annotation.polygons]
        if len(polygons) != len(expected):
            return f"{len(polygons)} polygons, not {len(expected)}"
        for polygon, rings in zip(polygons, expected, strict=True):
            got = [polygon.outer, *polygon.holes]
            target = [[(y, x) for x, y, *_ in one[:-1]] for one in rings]
            if [len(one) for one in got] != [len(one) for one in target]:
                return "rings have another number of points"
            if any(not np.allclose(a, b, atol=1e-3) for a, b in zip(got, target, strict=True)):
                return "points have moved"
        return ""

    return check


def stored(box: Sandbox, content: Any, name: str = "marks.geojson", raw: bytes | None = None) -> Path:
    return written(box.inputs / name, raw if raw is not None else json.dumps(content).encode("utf-8", "surrogatepass"))


def legal(rng: Generator, box: Sandbox) -> Case:
    """Holes, several parts, z coordinates, a byte order mark, Unicode, a list without a collection."""
    outer = ring(rng)
    hole = [[500, 500], [510, 500], [510, 510], [500, 510], [500, 500]]
    inside = rng.random() < 0.5
    rings = [outer, hole] if inside else [outer]
    features, expected = [feature(rings, name="Läsion 病")], [rings]
    if rng.random() < 0.4:
        parts = [[ring(rng, center=2000)], [ring(rng, center=4000)]]
        features.append(feature(parts, "MultiPolygon"))
        expected += parts
    if rng.random() < 0.3:
        features.append(feature([[[*point, 0.0] for point in outer]]))
        expected.append([outer])
    content: Any = features if rng.random() < 0.3 else collection(*features)
    text = json.dumps(content, ensure_ascii=bool(rng.integers(2))).encode()
    path = stored(
        box, None, str(rng.choice(["a.geojson", "ä 病.json"])), (b"\xef\xbb\xbf" if rng.random() < 0.4 else b"") + text
    )
    return Case(read(path), path.name, rings_equal(expected), refusable=False, seconds=5)


def empty(rng: Generator, box: Sandbox) -> Case:
    """Nothing at all, which is legal where the collection is one."""
    path = stored(box, collection())
    return Case(read(path), path.name, rings_equal([]), refusable=False)


def points_that_are_none(rng: Generator, box: Sandbox) -> Case:
    outer = ring(rng)
    values = [float("nan"), float("inf"), 1e400, "5", None, [1], True]
    one_of(outer, rng)[int(rng.integers(2))] = one_of(values, rng)
    path = stored(box, collection(feature([outer])))
    return Case(read(path), path.name)


def tangled(rng: Generator, box: Sandbox) -> Case:
    """Outlines that cross themselves: read, and what is made of them has an area and ends."""
    points = rng.uniform(0, 1000, (int(rng.integers(4, 40)), 2)).round(2).tolist()
    path = stored(box, collection(feature([[*points, points[0]]])))

    def act() -> Any:
        from napari_melanoma.core.polygons import signed_area, untangle_polygon
        from napari_melanoma.io.geojson import read_geojson

        polygons = [p for one in read_geojson(path).annotations for p in one.polygons]
        return [part for polygon in polygons for part in untangle_polygon(polygon)], [
            signed_area(p.outer) for p in polygons
        ]

    return Case(act, path.name, anything, seconds=5)


def many_points(rng: Generator, box: Sandbox) -> Case:
    """Up to a quarter of a million points: read in time, in bounded memory."""
    outer = ring(rng, int(rng.integers(50_000, 250_000)))
    path = stored(box, collection(feature([outer])))
    return Case(read(path), path.name, rings_equal([[outer]]), refusable=False, seconds=10, megabytes=500)


def far_away(rng: Generator, box: Sandbox) -> Case:
    """Coordinates far outside any slide are drawn into a mask without its growing."""
    outer = (np.asarray(ring(rng)) * 10 ** float(rng.uniform(6, 300))).tolist()
    path = stored(box, collection(feature([outer])))
    return Case(read(path), path.name, anything, seconds=5)


def deep(rng: Generator, box: Sandbox) -> Case:
    depth = int(rng.integers(5_000, 200_000))
    kinds = [b"[" * depth, b'{"a":' * depth, b'{"type":"GeometryCollection","geometries":[' * depth]
    kinds += [b'{"type":"FeatureCollection","features":' + b"[" * depth + b"]" * depth + b"}"]
    path = stored(box, None, raw=one_of(kinds, rng))
    return Case(read(path), path.name)


def deep_children(rng: Generator, box: Sandbox) -> Case:
    """Objects within objects, valid JSON, deeper than anybody draws."""
    depth = int(rng.integers(300, 900))
    one = feature([ring(rng)])
    inner = json.dumps(one)
    opening = inner[: inner.rindex("}}")] + ', "childObjects": ['
    path = stored(
        box, None, raw=f'{{"type":"FeatureCollection","features":[{opening * depth}{"]}}" * depth}]}}'.encode()
    )
    return Case(read(path), path.name, anything, seconds=5)


def wrong_types(rng: Generator, box: Sandbox) -> Case:
    content = collection(feature([ring(rng)]), feature([[ring(rng)]], "MultiPolygon"))
    exchange(content, rng, WRONG)
    path = stored(box, content)
    return Case(read(path), path.name, anything)


def broken(rng: Generator, box: Sandbox) -> Case:
    text = json.dumps(collection(feature([ring(rng)]))).encode()
    kinds = [
        text[: int(len(text) * rng.uniform(0, 0.98))],
        b"",
        b"\xff\xfe\x00",
        b"9" * 6000,
        rng.bytes(300),
        b"\x1f\x8b" + text,
    ]
    kinds += [text.replace(b"Tumor", b"T\xe4umor"), text + text]
    path = stored(box, None, raw=one_of(kinds, rng))
    return Case(read(path), path.name)

"""GeoJSON of QuPath: our files follow its format, and its files survive a round trip."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema

from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.geojson import Annotation, GeoJsonContent, fit_to_slide, read_geojson, write_geojson

SCHEMA = json.loads(Path(__file__).with_name("qupath.schema.json").read_text(encoding="utf-8"))
BOX = [[100.25, 40], [180.5, 40], [180.5, 90.75], [100.25, 90.75], [100.25, 40]]
HOLE = [[120, 50], [120, 60], [130, 60], [130, 50], [120, 50]]
FAR = [[300, 300], [340, 300], [340, 310], [300, 310], [300, 300]]
SLIVER = [[100.25, 40], [99, 40.5], [100, 40.5], [100.25, 40]]  # such as its brush leaves, at a corner of the box
IDENTITY = "5d2b7e46-6a1c-4f0e-9a57-3c1de04b91{:02d}"


def an_object(number: int, geometry: dict[str, Any], properties: dict[str, Any], **adjacent: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": IDENTITY.format(number),
        "geometry": geometry,
        **adjacent,
        "properties": properties,
    }


def polygon(*rings: Any, **adjacent: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings), **adjacent}


QUPATH = {
    "a tumor with a hole": an_object(
        1,
        polygon(BOX, HOLE),
        {"objectType": "annotation", "name": "A", "classification": {"name": "Tumor", "color": [200, 0, 0]}},
    ),
    "two parts, locked, another color": an_object(
        2,
        {"type": "MultiPolygon", "coordinates": [[BOX, HOLE], [FAR]]},
        {"objectType": "annotation", "color": [10, 20, 30], "isLocked": True},
    ),
    "an ellipse in another plane": an_object(
        3, polygon(BOX, plane={"c": -1, "z": 2, "t": 0}, isEllipse=True), {"objectType": "annotation"}
    ),
    "two parts that touch": an_object(
        6, {"type": "MultiPolygon", "coordinates": [[BOX], [SLIVER]]}, {"objectType": "annotation", "name": "C_14.2"}
    ),
    "a cell": an_object(
        4,
        polygon(BOX),
        {
            "objectType": "cell",
            "classification": {"name": "Tumor: Positive", "color": [180, 30, 30]},
            "measurements": {"Nucleus: Area": 47.0625, "Nucleus: DAB OD mean": 0.123456789012345},
        },
        nucleusGeometry=polygon(HOLE),
    ),
    "a tile with metadata": an_object(
        5, polygon(BOX), {"objectType": "tile", "metadata": {"ANNOTATION_DESCRIPTION": "second reader"}}
    ),
}


def test_files_of_qupath_survive_a_round_trip(tmp_path: Path) -> None:
    content = {"type": "FeatureCollection", "features": list(QUPATH.values())}
    (tmp_path / "theirs.geojson").write_text(json.dumps(content), encoding="utf-8")
    write_geojson(tmp_path / "ours.geojson", read_geojson(tmp_path / "theirs.geojson").annotations)
    assert json.loads((tmp_path / "ours.geojson").read_text(encoding="utf-8")) == content


def test_our_files_have_the_documented_form(tmp_path: Path) -> None:
    areas = (Polygon(((0.0, 0.0), (0.0, 9.5), (9.5, 9.5))), Polygon(((20.0, 0.0), (20.0, 9.0), (29.0, 9.0))))
    annotations = [
        Annotation(areas[:1], "malignant", (200, 0, 0), "lesion 1", {"area_mm2": 1.25, "none": float("nan")}),
        Annotation(areas, kind="detection", id=IDENTITY.format(9)),
    ]
    write_geojson(tmp_path / "a.geojson", annotations)
    jsonschema.validate(json.loads((tmp_path / "a.geojson").read_text()), SCHEMA)


def read(tmp_path: Path, text: str) -> GeoJsonContent:
    (tmp_path / "given.geojson").write_text(text, encoding="utf-8")
    return read_geojson(tmp_path / "given.geojson")


def test_objects_within_objects_are_read_as_objects(tmp_path: Path) -> None:
    inner = an_object(12, polygon(HOLE), {"objectType": "detection", "childObjects": [QUPATH["a cell"]]})
    outer = an_object(11, polygon(BOX), {"objectType": "annotation", "childObjects": [inner]})
    found = read(tmp_path, json.dumps(outer))
    assert [one.kind for one in found.annotations] == ["annotation", "detection", "cell"]
    assert [dict(one.properties) for one in found.annotations] == [{}, {}, {}]


def test_an_object_without_a_geometry_is_reported(tmp_path: Path) -> None:
    root = {"type": "Feature", "geometry": None, "properties": {"objectType": "root"}}
    found = read(tmp_path, json.dumps([root]))
    assert found == GeoJsonContent((), ("feature 1: no geometry",), (root,))


def test_omitted_features_are_written_unchanged(tmp_path: Path) -> None:
    point = {"type": "Point", "coordinates": [3, 4, 5]}
    mixed = {"type": "GeometryCollection", "geometries": [polygon(BOX), point]}
    inner = an_object(13, polygon(HOLE), {"objectType": "annotation"})
    features = [
        an_object(11, point, {"classification": {"names": ["A", "B"]}, "childObjects": [inner]}),
        an_object(12, mixed, {"objectType": "annotation", "name": "mixed"}),
    ]
    found = read(tmp_path, json.dumps({"type": "FeatureCollection", "features": features}))
    write_geojson(tmp_path / "again.geojson", found.annotations, found.unread)
    again = read_geojson(tmp_path / "again.geojson")
    assert (again.annotations, again.unread) == (found.annotations, found.unread)
    assert [one["geometry"] for one in again.unread] == [point, point]
    assert again.unread[0] == {**features[0], "properties": {"classification": {"names": ["A", "B"]}}}
    assert [one.id for one in again.annotations] == [inner["id"], features[1]["id"]]


def test_points_and_lines_are_reported(tmp_path: Path) -> None:
    shapes = {"Point": [5, 6.5], "MultiPoint": [[5, 6.5]], "LineString": [[0, 0], [1, 2]], "MultiLineString": [FAR]}
    content = [
        an_object(number, {"type": kind, "coordinates": shape}, {"objectType": "annotation"})
        for number, (kind, shape) in enumerate(shapes.items())
    ]
    jsonschema.validate({"type": "FeatureCollection", "features": content}, SCHEMA)
    found = read(tmp_path, json.dumps([*content, QUPATH["a cell"]]))
    assert len(found.annotations) == 1
    assert [kind in message for kind, message in zip(shapes, found.omitted, strict=True)] == [True] * 4


def test_numbers_that_json_does_not_have_are_left_out(tmp_path: Path) -> None:
    text = json.dumps(an_object(1, polygon(BOX), {"objectType": "cell", "measurements": {"a": 1.5, "b": 7.0}}))
    found = read(tmp_path, text.replace("7.0", "NaN"))
    assert found.annotations[0].measurements == {"a": 1.5}


def test_the_type_of_older_versions_is_read(tmp_path: Path) -> None:
    plain = {"type": "Feature", "geometry": polygon(BOX)}
    given = [
        {**plain, "id": "PathDetectionObject"},
        {**plain, "properties": {"type": "tile"}},
        {**plain, "properties": {"object_type": "cell"}},
    ]
    assert [one.kind for one in read(tmp_path, json.dumps(given)).annotations] == ["detection", "tile", "cell"]


def test_areas_are_repaired_and_clipped_to_the_slide(tmp_path: Path) -> None:
    eight = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]
    beyond = [[90, 10], [110, 10], [110, 20], [90, 20], [90, 10]]
    given = [
        an_object(number, polygon(ring), {"name": name})
        for number, (name, ring) in enumerate({"eight": eight, "beyond": beyond, "far": FAR, "sound": HOLE}.items())
    ]
    found = fit_to_slide(read(tmp_path, json.dumps(given)), (200, 100))
    assert [one.name for one in found.annotations] == ["eight", "beyond"]
    assert [sum(part.area for part in one.polygons) for one in found.annotations] == [50, 100]
    assert [line.split(":")[0] for line in found.changed] == ["eight", "beyond", "far, sound"]
    whole = fit_to_slide(read(tmp_path, json.dumps(given)), (400, 400))
    assert [one.name for one in whole.annotations] == ["eight", "beyond", "far", "sound"]
    assert len(whole.changed) == 1


def test_the_overlap_of_two_parts_of_an_area_counts_once(tmp_path: Path) -> None:
    parts = [[[[10, 10], [70, 10], [70, 50], [10, 50]]], [[[40, 20], [90, 20], [90, 60], [40, 60]]]]
    given = an_object(1, {"type": "MultiPolygon", "coordinates": parts}, {})
    (tmp_path / "slide.geojson.gz").write_bytes(gzip.compress(json.dumps(given).encode()))
    (fitted,) = fit_to_slide(read_geojson(tmp_path / "slide.geojson.gz"), (100, 100)).annotations
    assert sum(part.area for part in fitted.polygons) == 60 * 40 + 50 * 40 - 30 * 30
    apart = [parts[0], [[[75, 20], [90, 20], [90, 60], [75, 60]]]]
    given = an_object(1, {"type": "MultiPolygon", "coordinates": apart}, {})
    assert fit_to_slide(read(tmp_path, json.dumps(given)), (100, 100)).changed == ()


def test_a_hole_that_crosses_itself_is_kept(tmp_path: Path) -> None:
    eight = [[20, 20], [40, 40], [40, 20], [20, 40], [20, 20]]
    found = read(tmp_path, json.dumps(an_object(1, polygon([[0, 0], [0, 50], [50, 50], [50, 0], [0, 0]], eight), {})))
    (fitted,) = fit_to_slide(found, (100, 100)).annotations
    assert sum(part.area for part in fitted.polygons) == 50 * 50 - 200

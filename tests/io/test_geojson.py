"""GeoJSON survives a round trip, files of QuPath are read, and faults are reported with their position."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.errors import InputError, SaveError
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io import geojson
from napari_melanoma.io.geojson import Annotation, fit_to_slide, read_geojson, write_geojson

SQUARE = ((0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 0.0))
HOLE = ((2.0, 2.0), (4.0, 2.0), (4.0, 4.0), (2.0, 4.0))
NUMBER = st.floats(-1e7, 1e7, allow_nan=False)


@st.composite
def rings(draw: st.DrawFn) -> tuple[tuple[float, float], ...]:
    """Draw a triangle with an area."""
    row, column, height, width = draw(NUMBER), draw(NUMBER), draw(st.floats(1, 1e5)), draw(st.floats(1, 1e5))
    return ((row, column), (row, column + width), (row + height, column + width / 3))


ANNOTATIONS = st.builds(
    Annotation,
    polygons=st.lists(
        st.builds(Polygon, outer=rings(), holes=st.lists(rings(), max_size=2).map(tuple)), min_size=1, max_size=3
    ).map(tuple),
    class_name=st.sampled_from(["malignant", "benign: nevus", "Ärztin", "肿瘤"]),
    color=st.none() | st.tuples(*[st.integers(0, 255)] * 3),
    name=st.text(max_size=8),
    measurements=st.dictionaries(st.text(min_size=1, max_size=6), NUMBER, max_size=3),
    kind=st.sampled_from(["annotation", "detection", "tile"]),
    id=st.sampled_from(["", "3bb3ee8f-34b3-4c5e-8e0e-c4c4b8f2f6d1"]),
    properties=st.sampled_from([{}, {"isLocked": True, "metadata": {"reader": "A"}}]),
)


@settings(max_examples=30)
@given(st.lists(ANNOTATIONS, max_size=4))
@pytest.mark.slow
def test_annotations_survive_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, annotations: list[Annotation]
) -> None:
    path = tmp_path_factory.mktemp("geojson") / "lesions.geojson"
    write_geojson(path, annotations)
    assert read_geojson(path).annotations == tuple(annotations)
    assert read_geojson(path).omitted == ()


@pytest.mark.parametrize("kind", ["Feature", "shape"])
def test_a_geometry_among_the_properties_is_kept_as_it_was(tmp_path: Path, kind: str) -> None:
    geometry = {"type": "Polygon", "coordinates": [[list(point) for point in (*SQUARE, SQUARE[0])]]}
    inner = {"type": kind, "geometry": {"type": "Polygon", "coordinates": [[[0.5, 0], [9, 0], [9, 9], [0.5, 0]]]}}
    feature = {"type": "Feature", "geometry": geometry, "properties": {"roi": inner}, "source": inner}
    (tmp_path / "in.geojson").write_text(json.dumps(feature), encoding="utf-8")
    (region,) = read_geojson(tmp_path / "in.geojson").annotations
    assert region.properties["roi"] == inner
    write_geojson(tmp_path / "out.geojson", [region])
    (written,) = json.loads((tmp_path / "out.geojson").read_text(encoding="utf-8"))["features"]
    assert (written["properties"]["roi"], written["source"]) == (inner, inner)
    assert read_geojson(tmp_path / "out.geojson").annotations == (region,)


@pytest.mark.parametrize("stored", ["Naevus", {"name": "Naevus"}, {"names": ["Naevus"], "color": [1, 2, 3]}])
def test_a_class_is_written_in_the_spelling_that_is_shown(tmp_path: Path, stored: Any) -> None:
    geometry = {"type": "Polygon", "coordinates": [[list(point) for point in (*SQUARE, SQUARE[0])]]}
    feature = {"type": "Feature", "geometry": geometry, "properties": {"classification": stored}}
    (tmp_path / "in.geojson").write_text(json.dumps(feature), encoding="utf-8")
    (region,) = read_geojson(tmp_path / "in.geojson").annotations
    assert region.class_name == "Nevus"
    write_geojson(tmp_path / "out.geojson", [region])
    assert "Naevus" not in (tmp_path / "out.geojson").read_text(encoding="utf-8")


RINGS = {
    "a cell": ([[1e5, 2e5], [1e5 + 0.5, 2e5], [1e5, 2e5 + 0.5]], True),
    "far away": ([[9e8, 9e8], [9e8 + 0.5, 9e8], [9e8, 9e8 + 0.5]], True),
    "clockwise": ([[0.0, 0.0], [0.0, 2.5], [2.5, 0.0]], True),
    "whole numbers": ([[0, 0], [4, 0], [0, 4]], True),
    "a figure of eight": ([[0.0, 0.0], [1.5, 1.5], [1.5, 0.0], [0.0, 1.5]], True),
    "a line": ([[0.1, 0.1], [0.2, 0.2], [0.7, 0.7]], False),
    "a line far away": ([[9e8, 9e8], [9e8 + 0.1, 9e8 + 0.1], [9e8 + 0.3, 9e8 + 0.3]], False),
    "there and back": ([[0.1, 0.3], [0.7, 0.9], [0.1, 0.3]], False),
    "one point": ([[0.1, 0.3], [0.1, 0.3], [0.1, 0.3]], False),
}


@pytest.mark.parametrize("ring", RINGS)
def test_a_ring_with_and_without_an_area(tmp_path: Path, ring: str) -> None:
    points, has_area = RINGS[ring]
    path = tmp_path / "ring.geojson"
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [[*points, points[0]]]}))
    found = [polygon.outer for annotation in read_geojson(path).annotations for polygon in annotation.polygons]
    assert found == ([tuple((y, x) for x, y in points)] if has_area else [])


def test_a_name_that_is_not_utf8_is_written_and_read_back(tmp_path: Path) -> None:
    lesion = Annotation((Polygon(SQUARE),), name=b"K\xe4fer".decode("utf-8", "surrogateescape"))
    write_geojson(tmp_path / "a.geojson", [lesion])
    assert read_geojson(tmp_path / "a.geojson").annotations == (lesion,)


def test_the_file_has_the_form_of_qupath(tmp_path: Path) -> None:
    lesion = Annotation(
        (Polygon(SQUARE, (HOLE,)),), "malignant", (200, 0, 0), "3", {"area_mm2": 1.5, "none": float("nan")}
    )
    write_geojson(tmp_path / "a.geojson", [lesion])
    assert json.loads((tmp_path / "a.geojson").read_text()) == {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [
                        [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]],
                        [[2, 2], [2, 4], [4, 4], [4, 2], [2, 2]],
                    ],
                },
                "properties": {
                    "objectType": "annotation",
                    "name": "3",
                    "classification": {"name": "malignant", "color": [200, 0, 0]},
                    "measurements": {"area_mm2": 1.5},
                },
            }
        ],
    }


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "given.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


POLYGON = {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]}
UNDERSTOOD = [
    ("a bare geometry", POLYGON, Annotation((Polygon(SQUARE),))),
    ("a feature", {"type": "Feature", "geometry": POLYGON, "properties": None}, Annotation((Polygon(SQUARE),))),
    (
        "QuPath 0.2: a list, packed color, measurements as a list",
        [
            {
                "type": "Feature",
                "id": "PathAnnotationObject",
                "geometry": POLYGON,
                "properties": {
                    "classification": {"name": "Tumor", "colorRGB": -3670016},
                    "isLocked": False,
                    "measurements": [{"name": "Area", "value": 100.0}, {"name": "none", "value": "NaN"}],
                },
            }
        ],
        Annotation(
            (Polygon(SQUARE),),
            "Tumor",
            (200, 0, 0),
            measurements={"Area": 100.0},
            id="PathAnnotationObject",
            properties={"isLocked": False},
        ),
    ),
    (
        "QuPath 0.5: derived classes, and 0.3's name of the type",
        {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "geometry": POLYGON,
                    "properties": {"object_type": "detection", "classification": {"names": ["Tumor", "Positive"]}},
                }
            ],
        },
        Annotation((Polygon(SQUARE),), "Tumor: Positive", kind="detection"),
    ),
    (
        "a class as plain text, heights, an open ring",
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[[0, 0, 7], [10, 0, 7], [10, 10, 7], [0, 10, 7]]]},
            "properties": {"classification": "nest"},
        },
        Annotation((Polygon(SQUARE),), "nest"),
    ),
]


@pytest.mark.parametrize(("name", "content", "expected"), UNDERSTOOD, ids=[case[0] for case in UNDERSTOOD])
def test_other_forms_are_read(tmp_path: Path, name: str, content: Any, expected: Annotation) -> None:
    assert read_geojson(written(tmp_path, content)).annotations == (expected,), name


def test_geometries_without_an_area_are_reported(tmp_path: Path) -> None:
    content = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}},
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}},
        {
            "type": "Feature",
            "geometry": {"type": "GeometryCollection", "geometries": [POLYGON, {"type": "LineString"}]},
        },
    ]
    found = read_geojson(written(tmp_path, content))
    assert len(found.annotations) == 1
    assert [line.split(":")[0] for line in found.omitted] == ["feature 1", "feature 2", "feature 3"]


def one(geometry: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": [{"geometry": POLYGON}, {"geometry": geometry}]}


MALFORMED = [
    ("cut off", '{"type": "FeatureCollection", "features": [{"ty', "not valid JSON"),
    ("no text", "\x00\x01", "not valid JSON"),
    ("a number", 7, "found int"),
    ("another object", {"type": "Topology"}, "found Topology"),
    ("no features", {"type": "FeatureCollection"}, "'features' must be a list, found None"),
    ("no geometry", {"type": "FeatureCollection", "features": [{"type": "Feature"}]}, "feature 1: 'geometry' must"),
    ("no coordinates", one({"type": "Polygon"}), "feature 2: 'coordinates' must be a list"),
    ("rings that are numbers", one({"type": "Polygon", "coordinates": [1, 2]}), "feature 2: a ring must be a list"),
    (
        "polygons that are numbers",
        one({"type": "MultiPolygon", "coordinates": [1]}),
        "feature 2: a polygon must be a list",
    ),
    ("points of text", one({"type": "Polygon", "coordinates": [[["a", 1]]]}), "feature 2: a point must be two finite"),
    ("points that are infinite", '{"type": "Polygon", "coordinates": [[[Infinity, 1]]]}', "two finite numbers"),
    ("one number", one({"type": "Polygon", "coordinates": [[[1]]]}), "two finite numbers"),
    ("properties of a list", [{"geometry": POLYGON, "properties": [1]}], "'properties' must be an object"),
    (
        "measurements of text",
        [{"geometry": POLYGON, "properties": {"measurements": "x"}}],
        "'measurements' must be an object",
    ),
    ("endless nesting", "[" * 100_000, "nested more than"),
]


@pytest.mark.parametrize(("name", "content", "message"), MALFORMED, ids=[case[0] for case in MALFORMED])
def test_a_malformed_file_is_refused_with_the_place(tmp_path: Path, name: str, content: Any, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError) as caught:
        read_geojson(path)
    assert message in str(caught.value), name
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_geojson(tmp_path / "none.geojson")
    with pytest.raises(InputError, match="cannot read"):
        read_geojson(tmp_path)


def test_no_partial_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    with pytest.raises(TypeError):
        write_geojson(path, [Annotation((Polygon(SQUARE),), properties={"odd": object()})])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError):
        write_geojson(tmp_path / "file" / "a.geojson", [])


def test_a_geometry_that_is_no_object_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text('{"type": "Feature", "geometry": {"type": "GeometryCollection", "geometries": [null]}}')
    with pytest.raises(InputError, match="a geometry must be an object, found None"):
        read_geojson(path)


SMALL = st.integers(0, 9) | st.floats(-1e3, 1e3) | st.sampled_from([1e9, 2**63, 2**70, 1e30, 5e-324, -0.0])
POINTS = st.lists(st.lists(SMALL, min_size=2, max_size=2) | st.lists(SMALL, min_size=3, max_size=3), max_size=6)
SQUARES = st.tuples(SMALL, SMALL).map(
    lambda corner: [[corner[0] + x, corner[1] + y] for x, y in ((0, 0), (9.5, 0), (9.5, 9), (0, 9), (0, 0))]
)
NAMES = st.sampled_from(["", "a", "a: NaN, b", '": NaN, "', "NaN", "\\", "Ärztin", "naevus", 'say "x"', "null"])
VALUES = NAMES | SMALL | st.none() | st.booleans() | st.sampled_from([float("nan"), float("inf"), -float("inf")])
CLASSES = st.fixed_dictionaries(
    {"name": NAMES}, optional={"color": st.lists(SMALL, max_size=4) | st.just([1, 2, 3]), "colorRGB": st.just(-1)}
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "objectType": st.sampled_from(["detection", "cell", "", "annotation"]),
        "name": NAMES | st.none(),
        "classification": CLASSES | NAMES | st.none(),
        "measurements": st.dictionaries(NAMES, VALUES, max_size=3) | st.just([{"name": "Area", "value": float("nan")}]),
        "isLocked": st.booleans(),
    },
)
DETECTIONS = st.fixed_dictionaries(
    {
        "type": st.just("Feature"),
        "geometry": st.fixed_dictionaries(
            {"type": st.just("Polygon"), "coordinates": st.lists(SQUARES | POINTS, max_size=2)},
            optional={"plane": st.just(3)},
        ),
        "properties": PROPERTIES,
    },
    optional={
        "id": NAMES | st.just("PathCellObject"),
        "nucleusGeometry": st.fixed_dictionaries({"type": st.just("Polygon"), "coordinates": SQUARES}),
    },
)
POINT = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {"value": float("nan")}}


def _outcome(path: Path, *, areas_only: bool) -> tuple[str, object]:
    """Return what is read, with its repr: NaN is not equal to NaN, 1 is equal to 1.0."""
    try:
        content = read_geojson(path, (3, 7), areas_only=areas_only)
        return repr(content), fit_to_slide(content, (900, 900))
    except InputError as error:
        return str(error), None


@settings(max_examples=150)
@given(
    st.lists(DETECTIONS | st.just(POINT), max_size=5),
    st.sampled_from([None, (",", ":"), (" , ", " : "), 1]),
    st.sampled_from(["", "\ufeff"]),
    st.sampled_from([{}, {"origin_px": [2, 1]}, {"origin_px": "x"}, {"model": {"name": "a"}}, {"value": float("nan")}]),
    st.sampled_from(["", '"id"', '"type"', '"properties"', '"features"', '"name"', '"measurements"']),
    st.booleans(),
)
@pytest.mark.slow
def test_detections_read_together_are_those_read_one_by_one(
    tmp_path_factory: pytest.TempPathFactory,
    features: list[Any],
    style: Any,
    mark: str,
    members: dict[str, Any],
    repeated: str,
    areas_only: bool,
) -> None:
    layout = {"indent": style} if isinstance(style, int) else {"separators": style}
    collection = {"type": "FeatureCollection", **members, "features": features}
    text = json.dumps(collection, ensure_ascii=False, **layout)
    if repeated:  # a key that occurs twice, if the file contains it
        text = text.replace(repeated, f"{repeated}: null, {repeated}", 1)
    path = tmp_path_factory.mktemp("geojson") / "cells.geojson"
    path.write_text(mark + text, encoding="utf-8")
    together = _outcome(path, areas_only=areas_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geojson, "_parse_detections", lambda texts, *_, **__: [None] * len(texts))
        one_by_one = _outcome(path, areas_only=areas_only)
        patch.setattr(geojson, "_parse_collection", _refuse)
        whole = _outcome(path, areas_only=areas_only)
    assert together == one_by_one == whole


def _refuse(*_: object, **__: object) -> None:
    raise geojson._OtherContentError


def test_cells_of_qupath_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Annotation(
        (Polygon(SQUARE),), "Tumor", (200, 0, 0), measurements={"Area: µm^2": 3.25}, kind="detection", id="4e123"
    )
    write_geojson(tmp_path / "cells.geojson", [cell] * 3000, origin=(5, 2))
    path = tmp_path / "cells.geojson"
    measured = '"measurements": {'
    path.write_text(path.read_text(encoding="utf-8").replace(measured, measured + '"b": NaN, '), encoding="utf-8")
    monkeypatch.setattr(geojson, "_read_polygons", None)  # of features read one by one
    assert read_geojson(path).annotations == (cell,) * 3000

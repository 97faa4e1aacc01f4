"""Counted points: exact intervals, densities within areas, the file that QuPath reads, and the table."""

from __future__ import annotations

import json

import pytest
from finding_files import write_depth
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import poisson

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.depth.readings import DepthReading, MitosisCount, SlideDepthReadings
from napari_melanoma.io.results import read_table
from napari_melanoma.slides.counts import (
    COUNTS,
    CountArea,
    CountedPoint,
    CountResult,
    count_within,
    describe_counts,
    list_mitoses,
    poisson_interval,
    read_counts,
    rename_class,
    save_counts,
    write_measurements,
)
from napari_melanoma.slides.notes import SlideMeasurement

SIZE = PixelSize(0.5, 1.0)
POINTS = tuple(
    CountedPoint(name, at) for name, at in [("TIL", (5.0, 5.0)), ("TIL", (20.0, 8.0)), ("Mitosis", (6.0, 6.0))]
)
SQUARE = Polygon(((0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 0.0)))


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39), (100, 81.36, 121.63)]
)
def test_intervals_are_those_of_the_tables(count, low, high):
    assert poisson_interval(count) == pytest.approx((low, high), rel=1e-3)


@given(some.integers(0, 5000))
def test_each_end_of_an_interval_has_its_probability(count):
    low, high = poisson_interval(count)
    assert low <= count <= high
    assert poisson.cdf(count, high) == pytest.approx(0.025, rel=1e-6)
    if count:
        assert poisson.sf(count - 1, low) == pytest.approx(0.025, rel=1e-6)


def test_points_are_counted_within_an_area():
    twice = CountArea((SQUARE, SQUARE))  # counts once
    til, mitosis, none = count_within(POINTS, ("TIL", "Mitosis", "Other"), twice, SIZE)
    assert (til.count, mitosis.count, none.count) == (1, 1, 0)
    assert til.area_mm2 == pytest.approx(100 * 0.5e-6)
    assert til.per_mm2 == pytest.approx(1 / (100 * 0.5e-6))
    assert none.interval[0] == 0
    assert none.interval[1] == pytest.approx(3.689 / (100 * 0.5e-6), rel=1e-3)
    assert count_within(POINTS, ("TIL",), CountArea(()), SIZE)[0] == CountResult("TIL", 0, 0.0)
    assert count_within(POINTS, ("TIL",), CountArea((SQUARE,)), None)[0].per_mm2 is None


def test_counts_are_described():
    results = (CountResult("TIL", 12, 0.5), CountResult("Mitosis", 0, 0.5))
    assert describe_counts(results, 20) == "12 points of 20 in 0.5 mm²\nTIL: 12, 24 per mm² (95 % interval 12.4–41.9)"
    assert describe_counts((CountResult("Nevus cell", 3),), 3) == "3 points of 3\nNevus cell: 3"
    assert describe_counts((), 0).startswith("No points yet")


def test_points_come_back_and_qupath_reads_them(tmp_path, slide_path):
    folder = tmp_path / "results" / "section"
    kept = save_counts(folder, slide_path, POINTS, None)
    assert read_counts(folder) == kept
    feature = json.loads((folder / COUNTS).read_text())["features"][0]
    assert feature["geometry"] == {"type": "MultiPoint", "coordinates": [[5.0, 5.0], [8.0, 20.0]]}
    assert feature["properties"]["classification"] == {"name": "TIL"}
    later = save_counts(folder, slide_path, rename_class(POINTS, "TIL", "Lymphocyte"), None)
    assert "changed by another program" in later.notes[0]
    assert [point.class_name for point in read_counts(folder).points] == ["Lymphocyte", "Lymphocyte", "Mitosis"]
    assert read_counts(tmp_path).points == ()


def test_nothing_of_another_program_is_lost_when_points_change(tmp_path, slide_path):
    def feature(kind, coordinates, **properties):
        return {
            "type": "Feature",
            "id": f"{kind} {len(properties)}",
            "geometry": {"type": kind, "coordinates": coordinates, "plane": {"z": 1}},
            "properties": {"objectType": "annotation", **properties},
        }

    named = feature("MultiPoint", [[1.2345, 2, 7], ["?", 4], [5, 6]], classification={"names": ["T", "CD8"]}, color=[1])
    single = feature("Point", [8, 9], classification={"name": "TIL", "color": [1, 2, 3]}, name="x", isLocked=True)
    others = [feature("Point", [3, 4]), feature("MultiPoint", [], classification={"name": "TIL"}), 7]
    (tmp_path / COUNTS).write_text(json.dumps({"features": [*others, named, single]}))
    found = read_counts(tmp_path)
    cd8, last, til = found.points
    assert (cd8, last) == (CountedPoint("T: CD8", (2.0, 1.2345)), CountedPoint("T: CD8", (6.0, 5.0)))
    layer = CountedPoint("T: CD8", (2.0, 1.23))  # the layer rounds
    new = CountedPoint("T: CD8", (10.0, 11.0)), CountedPoint("TIL", (12.0, 13.0))
    saved = save_counts(tmp_path, slide_path, (layer, til, *new), found.stamp, found.features)
    assert saved.notes == ()
    grown = {**named, "geometry": {**named["geometry"], "coordinates": [[1.2345, 2, 7], ["?", 4], [11.0, 10.0]]}}
    assert saved.features[:5] == (*others, grown, single)
    assert set(read_counts(tmp_path).points) == {cd8, til, *new}
    undone = save_counts(tmp_path, slide_path, found.points, saved.stamp, found.features)
    assert undone.features == found.features
    none = save_counts(tmp_path, slide_path, (), undone.stamp, found.features)
    assert [one for one in none.features if one not in others] == [
        {**named, "geometry": {**named["geometry"], "coordinates": [["?", 4]]}}
    ]


def test_mitoses_of_depth_readings_open_as_points_until_they_are_saved(tmp_path, slide_path):
    marks = {"A": ((6.0, 6.0), (9.0, 9.0)), "B": ((6.0, 6.0), (3.0, 4.0))}
    readings = tuple(
        DepthReading(reader=name, mitoses=MitosisCount(points=points, counted=2)) for name, points in marks.items()
    )
    write_depth(tmp_path, SlideDepthReadings(readings=readings))
    former = tuple(CountedPoint("Mitosis", at) for at in ((6.0, 6.0), (9.0, 9.0), (3.0, 4.0)))
    assert read_counts(tmp_path).points == former
    feature = {
        "geometry": {"type": "MultiPoint", "coordinates": [[5.0, 5.0], [6.0, 6.0]]},
        "properties": {"classification": {"name": "Mitosis"}},
    }
    (tmp_path / COUNTS).write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    found = read_counts(tmp_path)
    assert found.points == (CountedPoint("Mitosis", (5.0, 5.0)), *former)
    save_counts(tmp_path, slide_path, found.points[:2], found.stamp, found.features)
    assert read_counts(tmp_path).points == found.points[:2], "those that were removed do not return"


def test_only_points_are_read(tmp_path):
    one = {"geometry": {"type": "Point", "coordinates": [3, 4]}, "properties": {"classification": {"name": "A"}}}
    bad = [7, {}, {**one, "properties": None}, {**one, "geometry": {"type": "LineString", "coordinates": [[1, 2]]}}]
    (tmp_path / COUNTS).write_text(json.dumps({"features": [*bad, one]}))
    assert read_counts(tmp_path).points == (CountedPoint("A", (4.0, 3.0)),)
    (tmp_path / COUNTS).write_text("[]")
    with pytest.raises(InputError, match="has no features"):
        read_counts(tmp_path)


def test_the_table_has_measurements_and_counts(tmp_path):
    measures = (
        SlideMeasurement("line", ((0.0, 0.0), (0.0, 500.0))),
        SlideMeasurement("angle", ((0.0, 9.0), (0.0, 0.0), (9.0, 0.0))),
    )
    counts = {"the whole slide": (CountResult("TIL", 12, 0.5),)}
    write_measurements(tmp_path / "all.csv", measures, counts, SIZE)
    length, angle, til = read_table(tmp_path / "all.csv")
    assert (length["kind"], length["value"], length["unit"]) == ("length", "0.5", "mm")
    assert (angle["kind"], angle["value"], angle["unit"], angle["count"]) == ("angle", "90", "°", "")
    assert (til["within"], til["name"], til["count"], til["area_mm2"], til["per_mm2"]) == (
        "the whole slide", "TIL", "12", "0.5", "24",
    )  # fmt: skip
    assert float(til["per_mm2_low"]) == pytest.approx(12.4, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "is_mitosis"),
    [
        *((name, True) for name in ("Mitosis", "mitoses", "Mitotic figure", "mitotic figures", "Mitosen", "Mitosis 2")),
        *((name, True) for name in ("Mitosis: atypical", "Mitoses (hot spot)", " mitotic ", "mitosis figures")),
        *((name, False) for name in ("Mitosis imposter", "Mitochondria", "Mitosis-like figure", "Mitomycin", "TIL")),
        *((name, False) for name in ("Non-mitotic figure", "No mitosis", "")),
    ],
)
def test_mitoses_are_told_from_what_looks_like_them(name: str, is_mitosis: bool) -> None:
    assert list_mitoses((CountedPoint(name, (1.0, 2.0)),)) == (((1.0, 2.0),) if is_mitosis else ())

"""Positions on slides with a scanned area: as in QuPath in GeoJSON, from the corner of the canvas elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.io.geojson import Annotation, read_geojson, write_geojson
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import OUTLINES, read_table, write_mask
from napari_melanoma.reports.export_formats import ExportedSlide
from napari_melanoma.reports.slide_export import WRITERS, read_exported_slide
from napari_melanoma.slides.analysis import analyze_slide
from napari_melanoma.slides.counts import COUNTS, CountedPoint, read_counts, save_counts
from napari_melanoma.slides.lesion_files import import_outlines, read_lesions, save_lesions
from napari_melanoma.slides.lesions import LesionConfig, SlideLesion
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.regions import REGIONS, import_regions, load_regions, save_regions
from napari_melanoma.slides.result_folder import record_slide
from napari_melanoma.slides.tile_sets import TileDataOptions, make_tile_data

CANVAS, AREA, CORNER = (704, 640), (384, 448), (192, 64)  # height and width; row and column
LESION = (96, 128, 224, 288)  # in the scanned area: top, left, bottom, right
SQUARE = Polygon(((200.25, 80.5), (200.25, 120.0), (230.0, 120.0), (230.0, 80.5)))


def scanned_tissue() -> Any:
    rng = np.random.default_rng(3)
    rgb = np.clip(np.array((215, 150, 190)) + rng.normal(0, 8, (*AREA, 3)), 0, 255).astype(np.uint8)
    rgb[LESION[0] : LESION[2], LESION[1] : LESION[3]] //= 3
    return rgb


@pytest.fixture
def bounded(write_scn: Callable[..., Path]) -> Path:
    return write_scn(scanned_tissue(), CANVAS, CORNER)


@pytest.fixture(params=["a scanned area", "no scanned area"])
def scan(request: pytest.FixtureRequest, bounded: Path, tmp_path: Path) -> Path:
    if request.param == "a scanned area":
        return bounded
    scale = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "scan.tif", scanned_tissue(), tile=(64, 64), photometric="rgb", metadata=None, **scale)
    return tmp_path / "scan.tif"


def origin_of(path: Path) -> tuple[int, int]:
    with open_slide(path) as slide:
        return slide.info.origin


def moved(polygon: Polygon, origin: tuple[int, int]) -> Polygon:
    return Polygon(tuple((row + origin[0], column + origin[1]) for row, column in polygon.outer))


def rectangle(top: int, left: int, bottom: int, right: int) -> list[list[list[int]]]:
    return [[[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]]


def as_qupath_writes(features: list[dict[str, Any]]) -> str:
    """QuPath writes compact JSON without members of other programs."""
    return json.dumps({"type": "FeatureCollection", "features": features}, separators=(",", ":"))


def region_of(geometry: Any, name: str = "Tumor", **adjacent: Any) -> dict[str, Any]:
    properties = {"objectType": "annotation", "classification": {"name": name, "color": [200, 0, 0]}}
    polygon = {"type": "Polygon", "coordinates": geometry}
    return {"type": "Feature", "id": "1f", "geometry": polygon, **adjacent, "properties": properties}


def edited_in_qupath(path: Path) -> None:
    """Write a file as QuPath does after reading it: the same features, but no other members."""
    path.write_text(as_qupath_writes(json.loads(path.read_text())["features"]), encoding="utf-8")


def size_of(path: Path) -> tuple[int, int]:
    with open_slide(path) as slide:
        return slide.info.levels[0].height, slide.info.levels[0].width


def test_outlines_of_qupath_are_moved_by_the_corner_of_the_scanned_area(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "q.geojson").write_text(as_qupath_writes([region_of(rectangle(*LESION))]), encoding="utf-8")
    origin = origin_of(scan)
    (outline,) = import_outlines(tmp_path / "q.geojson", size_of(scan), origin).annotations
    (region,) = import_regions(tmp_path / "q.geojson", size_of(scan), origin=origin).regions
    top, left = LESION[0] + origin[0], LESION[1] + origin[1]
    assert outline.polygons[0].outer[0] == region.polygons[0].outer[0] == (top, left)
    with open_slide(scan) as slide:
        assert slide.read_region(0, Box(top, left, 128, 160)).mean() < 80  # the lesion lies there


def test_regions_survive_a_round_trip_through_qupath(scan: Path, tmp_path: Path) -> None:
    origin, path = origin_of(scan), tmp_path / "regions-out.geojson"
    region = Annotation((moved(SQUARE, origin),), "Tumor", (200, 0, 0), id="9")
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [origin[1] + 5, origin[0] + 7]}}
    write_geojson(path, [region], [point], origin)
    assert read_geojson(path, origin).annotations == (region,)
    edited_in_qupath(path)
    content = read_geojson(path, origin)
    assert content.annotations == (region,)
    assert content.unread[0]["geometry"]["coordinates"] == [origin[1] + 5, origin[0] + 7]


def test_files_in_the_result_folder_are_counted_as_qupath_counts(bounded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "scan"
    folder.mkdir(parents=True)
    region = Annotation((moved(SQUARE, CORNER),), "Tumor", (200, 0, 0), id="9")
    save_regions(folder, bounded, (region,), None)
    points = (CountedPoint("TIL", (CORNER[0] + 3.5, CORNER[1] + 9.25)),)
    save_counts(folder, bounded, points, None)
    lesion = a_lesion((moved(SQUARE, CORNER),))
    save_lesions(folder, (lesion,), LesionConfig())
    for name, first in ((REGIONS, [80.5, 200.25]), (OUTLINES, [80.5, 200.25]), (COUNTS, [9.25, 3.5])):
        coordinates = json.loads((folder / name).read_text())["features"][0]["geometry"]["coordinates"]
        assert np.ravel(coordinates)[:2].tolist() == first, name
    for _ in range(2):  # as written, and after QuPath has written them
        assert load_regions(folder).regions == (region,)
        assert read_counts(folder).points == points
        assert read_lesions(folder)[0].polygons == lesion.polygons
        for name in (REGIONS, OUTLINES, COUNTS):
            edited_in_qupath(folder / name)


def a_lesion(polygons: tuple[Polygon, ...]) -> SlideLesion:
    sizes = {"area_px": 1175.0, "perimeter_px": 138.5, "area_mm2": None, "perimeter_mm": None}
    sides = {"height_mm": None, "width_mm": None, "extent": 1.0, "tissue_share": 0.01}
    return SlideLesion(1, "malignant", 0.9, 0.8, **sizes, **sides, seed=(210.0, 90.0), polygons=polygons)


def test_a_file_may_state_its_origin(tmp_path: Path) -> None:
    content = {"type": "FeatureCollection", "origin_px": [0, 0], "features": [region_of(rectangle(*LESION))]}
    (tmp_path / "stated.geojson").write_text(json.dumps(content))
    (area,) = read_geojson(tmp_path / "stated.geojson", CORNER).annotations
    assert area.polygons[0].outer[0] == LESION[:2]
    (tmp_path / "stated.geojson").write_text(json.dumps({**content, "origin_px": "corner"}))
    with pytest.raises(InputError, match="'origin_px' must be two numbers, x and y, found 'corner'"):
        read_geojson(tmp_path / "stated.geojson", CORNER)


def test_nested_objects_and_nuclei_are_moved_but_no_properties(tmp_path: Path) -> None:
    cell = region_of(
        rectangle(10, 20, 30, 40), nucleusGeometry={"type": "Polygon", "coordinates": rectangle(1, 2, 3, 4)}
    )
    parent = region_of(rectangle(0, 0, 99, 99))
    parent["properties"] |= {"childObjects": [cell], "coordinates": [1, 2]}
    (tmp_path / "nested.geojson").write_text(as_qupath_writes([parent]), encoding="utf-8")
    outer, inner = read_geojson(tmp_path / "nested.geojson", CORNER).annotations
    assert inner.polygons[0].outer[0] == (10 + CORNER[0], 20 + CORNER[1])
    assert inner.feature_members["nucleusGeometry"]["coordinates"][0][0] == [2 + CORNER[1], 1 + CORNER[0]]
    assert outer.properties["coordinates"] == [1, 2]


def test_training_tiles_match_the_imported_regions(scan: Path, tmp_path: Path) -> None:
    skin, lesion = region_of(rectangle(0, 0, *AREA), "Skin"), region_of(rectangle(*LESION), "Tumour")
    scan.with_suffix(".geojson").write_text(as_qupath_writes([skin, lesion]), encoding="utf-8")
    options = TileDataOptions(mpp=0.5, tile_px=32, share=0.9)
    report = make_tile_data([scan], [], tmp_path / "tiles", options, run=RunContext())
    assert report.classes["Tumour"] == 4 * 5
    for sample, row in zip(
        read_dataset(tmp_path / "tiles"), read_table(tmp_path / "tiles" / "dataset.csv"), strict=True
    ):
        assert (read_photograph(sample.image).rgb.mean() < 100) == (row["tissue"] == "Tumour")


def test_exports_are_counted_from_the_scanned_area(bounded: Path, tmp_path: Path) -> None:
    lesion = a_lesion((moved(SQUARE, CORNER),))
    former = tmp_path / "unrecorded"  # results without a recorded area
    former.mkdir()
    exported = ExportedSlide(former, (lesion,), {}, bounded)
    WRITERS["geojson"](tmp_path / "out.geojson", exported)
    (area,) = read_geojson(tmp_path / "out.geojson").annotations
    assert area.polygons == lesion.polygons
    edited_in_qupath(tmp_path / "out.geojson")
    assert read_geojson(tmp_path / "out.geojson", CORNER).annotations[0].polygons == lesion.polygons
    WRITERS["mask"](tmp_path / "out.ome.tif", exported)
    labels = tifffile.imread(tmp_path / "out.ome.tif", level=0)
    assert labels.shape == AREA
    rows, columns = np.nonzero(labels)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (200, 230, 80, 120)


def test_saved_lesions_are_exported_for_qupath(bounded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    lesion = a_lesion((moved(SQUARE, CORNER),))
    record_slide(folder, bounded, record_name=True)
    save_lesions(folder, (lesion,), LesionConfig())
    assert read_lesions(folder)[0].polygons == lesion.polygons
    (folder / "result.json").write_text("{}")
    exported = replace(read_exported_slide(folder, bounded), lesions=read_lesions(folder))
    WRITERS["geojson"](tmp_path / "out.geojson", exported)
    coordinates = json.loads((tmp_path / "out.geojson").read_text())["features"][0]["geometry"]["coordinates"]
    assert coordinates[0][0] == [80.5, 200.25]


def test_lesions_of_an_analysis_are_written_for_qupath_and_read_on_the_canvas(
    bounded: Path, tile_model: Callable[..., Any], tmp_path: Path
) -> None:
    mask = np.zeros(CANVAS, np.bool_)
    mask[CORNER[0] : CORNER[0] + AREA[0], CORNER[1] : CORNER[1] + AREA[1]] = True
    write_mask(tmp_path / "tissue.png", mask)
    options = SlideOptions(tissue_mask=tmp_path / "tissue.png", batch_size=8, precision="fp32", workers=2)
    folder = tmp_path / "out" / "scan"
    analyze_slide(bounded, folder, options, RunContext(), load=tile_model)
    lesion_box = Box(LESION[0] + CORNER[0], LESION[1] + CORNER[1], LESION[2] - LESION[0], LESION[3] - LESION[1])
    (lesion,) = read_lesions(folder)
    assert lesion.box == lesion_box
    content = json.loads((folder / OUTLINES).read_text())
    assert content["origin_px"] == [CORNER[1], CORNER[0]]
    vertices = np.array(content["features"][0]["geometry"]["coordinates"][0])
    assert (*vertices.min(axis=0), *vertices.max(axis=0)) == (LESION[1], LESION[0], LESION[3], LESION[2])
    (row,) = read_table(folder / "lesions.csv")
    assert lesion_box.top <= float(row["seed_row_px"]) < lesion_box.top + lesion_box.height

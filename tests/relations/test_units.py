"""A scale twice as large gives twice the lengths and four times the areas, in every number that a user receives.

The unit of a number is in its name (``_mm``, ``_mm2``, ``per_mm2``), in a DICOM or FHIR code, or after it in a text.
The subjects are all measurements of a lesion, and all numbers of all export formats.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import world
from fake_dicom import write_level
from fake_slides import FakeAnalysis
from finding_files import save_synoptic, write_depth

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.core.validity import Validity
from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings, set_values, values_for_line
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME
from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS, measure_lesion
from napari_melanoma.io.geojson import Annotation, write_geojson
from napari_melanoma.io.results import read_slide_result, read_table
from napari_melanoma.reports.export_formats import EXPORTS
from napari_melanoma.reports.slide_export import export_results
from napari_melanoma.slides.counts import CountedPoint, save_counts
from napari_melanoma.slides.lesion_files import save_lesions
from napari_melanoma.slides.lesions import LesionConfig, find_lesions
from napari_melanoma.slides.maps import SlideMaps
from napari_melanoma.slides.outputs import write_heatmap
from napari_melanoma.slides.regions import REGIONS
from napari_melanoma.slides.results import read_lesion_maps
from napari_melanoma.slides.tiling import TileGrid

FACTORS = {
    "mm": 2.0,
    "um": 2.0,
    "µm": 2.0,
    "mm2": 4.0,
    "mm²": 4.0,
    "um2": 4.0,
    "µm²": 4.0,
    "µm^2": 4.0,
    "per_mm2": 0.25,
}
UNIT_OF_NAME = re.compile(r"(per_mm2|mm2|um2|mm|um|µm\^2|µm²|µm)(_|$|\b)")
LIMITS_IN_TEXT = re.compile(
    r"(below|above|at least|at most|over|under|than|scale bar|limit of) [\d.]+( and at most [\d.]+)? mm"
)
PER_AREA = ("/mm²", "per mm²")
UNIT_IN_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*(mm²|µm²|mm|µm|/mm²|per mm²)")


def factor_of(name: str) -> float:
    """Return by how much a number of that name changes when the scale is doubled."""
    last = name.rpartition("/")[2]
    found = UNIT_OF_NAME.search(last)
    return FACTORS[found[1]] if found else 1.0


def walk_numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield all numbers of a JSON value with their names; those of a list have the name of the list."""
    if isinstance(value, dict) and {"value", "unit"} <= value.keys() and value["value"] not in ("", None):
        yield from walk_numbers(value["value"], f"{name}/value_{value['unit']}")
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from walk_numbers(one, f"{name}/{key}")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from walk_numbers(
                one, f"{name.rstrip('0123456789')}" if not isinstance(one, dict) else f"{name}/{number}"
            )
    elif isinstance(value, str):
        try:
            yield name, float(value)
        except ValueError:
            for position, (number, unit) in enumerate(UNIT_IN_TEXT.findall(LIMITS_IN_TEXT.sub("", value))):
                yield (
                    f"{name}:{position}/{unit.replace('/mm²', 'per_mm2').replace('per mm²', 'per_mm2')}",
                    float(number),
                )
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


@pytest.mark.parametrize("column", MEASUREMENT_COLUMNS)
def test_measurements_of_a_lesion(column: str) -> None:
    rgb, mask = world.draw_photograph(3)
    one, two = (measure_lesion(mask, rgb, PixelSize(um, um))[column] for um in (50.0, 100.0))
    assert two == pytest.approx(factor_of(column) * one, rel=1e-9)


@pytest.mark.parametrize("column", [one for one in MEASUREMENT_COLUMNS if re.search("mm2?$", one)])
def test_a_photograph_with_more_pixels_has_the_same_millimeters(column: str) -> None:
    """The same lesion in four times the pixels, each of half the size."""
    one, two = (
        measure_lesion(world.draw_photograph(3, scale)[1], None, PixelSize(60.0 / scale, 60.0 / scale))[column]
        for scale in (2, 4)
    )
    assert two == pytest.approx(one, rel=0.02)


@pytest.mark.parametrize("column", [one for one in MEASUREMENT_COLUMNS if re.search("mm2?$", one)])
def test_rows_and_columns_have_scales_of_their_own(column: str) -> None:
    """Every other row of an image, with pixels of twice the height, shows the same lesion."""
    mask = world.draw_photograph(3, 4)[1]
    flat = measure_lesion(mask[::2], None, PixelSize(y_um=100.0, x_um=50.0))[column]
    square = measure_lesion(mask, None, PixelSize(50.0, 50.0))[column]
    assert flat == pytest.approx(square, rel=0.03)


CELL, SIDE, UM = 4, 512, 4.0  # pixels of the slide in a cell of the map, and of its side; micrometers per pixel
READER = "A. Reader"
LINE = ((100.0, 100.0), (220.0, 130.0))
WHEN = "2026-01-02T10:00:00+00:00"


def finish_slide(root: Path, um: float) -> Path:
    """Write the results of a slide with three lesions and a thickness that a reader measured, at a scale."""
    size = PixelSize(um, um)
    grid = TileGrid(0, 1.0, 128, (128, 128), (128, 128), Box(0, 0, SIDE, SIDE), 4, 4, "pad", size)
    classes = ("background", "melanoma")
    slide = write_level(root / "archive" / "section.dcm", SIDE, SIDE, um / 1000)
    analysis = FakeAnalysis(root / "results" / "section", slide, "a")
    analysis.order = np.argwhere(np.ones(grid.shape)).astype(np.int32)
    tiles = {"kind": "dense", "dense_px": 128 // CELL, "rows": 4, "columns": 4, "step": (128, 128), "tile_px": 128}
    about = {"classes": classes, "size": (SIDE, SIDE), "pixel_size_um": (um, um)}
    analysis.spec = analysis.spec.model_copy(update={**tiles, **about})
    analysis.begins().finishes()
    melanoma = np.full((SIDE // CELL, SIDE // CELL), 0.1, np.float32)
    for top, left, height, width in ((10, 10, 30, 40), (60, 20, 20, 25), (60, 80, 40, 20)):
        melanoma[top : top + height, left : left + width] = 0.9
    maps = SlideMaps(np.stack([1 - melanoma, melanoma]), replace(grid.pixel_placement, step_y=CELL, step_x=CELL))
    write_heatmap(analysis.path / "heatmap.ome.tif", maps, classes)
    content = {"grid": {**asdict(grid), "pixel_size": None}, "validity": Validity().to_json()}
    write_json(analysis.path / "result.json", {**read_slide_result(analysis.path), **content})
    config = LesionConfig()
    save_lesions(analysis.path, find_lesions(read_lesion_maps(analysis.path, "melanoma", (SIDE, SIDE)), config), config)
    values = values_for_line(DepthReading(), LINE, size)
    depth = set_values(SlideDepthReadings(), READER, WHEN, **values, ulcerated=False)
    write_depth(analysis.path, depth)
    save_synoptic(analysis.path, SynopticReport().prefill(depth.reading_by(READER)).confirm(reader=READER, when=WHEN))
    square = ((50.0, 50.0), (50.0, 150.0), (150.0, 150.0), (150.0, 50.0))
    write_geojson(analysis.path / REGIONS, [Annotation((Polygon(square),), "Hot spot", (200, 0, 0))])
    points = (CountedPoint("Mitosis", (60.0, 60.0)), CountedPoint("Mitosis", (90.0, 120.0)))
    save_counts(analysis.path, slide, points, None)
    return analysis.path


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same slide at a scale, and at one twice as large."""
    return tuple(finish_slide(tmp_path_factory.mktemp("scaled"), um) for um in (UM, 2 * UM))


def read_dicom_numbers(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the numbers of a DICOM file that have a unit."""
    for element in pydicom.dcmread(path).iterall():
        if element.keyword == "MeasuredValueSequence":
            for one in element.value:
                unit = one.MeasurementUnitsCodeSequence[0].CodeValue
                yield {"value": float(one.NumericValue), "unit": unit}


def collect_values(name: str, folder: Path, out: Path) -> dict[str, list[float]]:
    """Export a slide; return the numbers of the file by their names with units."""
    (file,) = export_results([folder], out, [name], run=RunContext())
    assert file.error == ""
    content: Any
    match file.path.suffix:
        case ".json" | ".geojson":
            content = json.loads(file.path.read_text(encoding="utf-8"))
            for answered, answer in content.get("answers", {}).items():
                answer["unit"] = FIELDS_BY_NAME[answered].unit
        case ".csv":
            content = read_table(file.path)
        case ".tsv":
            lines = [line.split("\t") for line in file.path.read_text(encoding="utf-8").splitlines()]
            content = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
        case ".parquet":
            from pyarrow import parquet

            content = parquet.read_table(file.path).to_pylist()
        case ".html":
            content = html.unescape(
                re.sub(r"(?s)<style.*?</style>|<[^>]*>", " ", file.path.read_text(encoding="utf-8"))
            )
        case ".dcm":
            content = list(read_dicom_numbers(file.path))
        case _:
            raise AssertionError(f"add a reader of {file.path.name}, or list '{name}' in OF_PIXELS")
    found: dict[str, list[float]] = {}
    for key, number in walk_numbers(content):
        found.setdefault(key, []).append(number)
    return found


# Pictures in pixels; the tests of the formats measure the scale that is stored in them.
OF_PIXELS = ("tif", "zarr", "spatialdata", "mask", "dicom")
WITHOUT_LENGTHS = ("risk",)  # needs a model of risk; its thickness is that of the reading


@pytest.mark.parametrize("name", [one for one in EXPORTS.members if one not in (*OF_PIXELS, *WITHOUT_LENGTHS)])
def test_exports_of_a_slide(name: str, scaled: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = (collect_values(name, folder, tmp_path / str(number)) for number, folder in enumerate(scaled))
    assert two.keys() == one.keys()
    assert any(factor_of(key) != 1 for key in one) or name == "tiles"
    expected = {key: [factor_of(key) * number for number in numbers] for key, numbers in one.items()}
    for key, numbers in two.items():
        assert numbers == pytest.approx(expected[key], rel=0.02, abs=0.006), key

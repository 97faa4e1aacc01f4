"""Contract of all export formats of slides: no lesion is lost, and what is not valid is marked."""

from __future__ import annotations

import csv
import html
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import shapely
import tifffile
import zarr
from fake_dicom import write_level
from fake_slides import FakeAnalysis
from finding_files import write_depth
from pyarrow import parquet

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.core.validity import Validity, ValidityInputs
from napari_melanoma.depth.readings import SlideDepthReadings, set_values
from napari_melanoma.extensions.risk.prediction import RiskOptions, RiskPrediction
from napari_melanoma.io.geojson import read_geojson
from napari_melanoma.io.results import RISK_FILE, read_slide_result, read_table
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.reports.export_formats import EXPORTS
from napari_melanoma.reports.slide_export import export_results, read_exported_slide, write_export
from napari_melanoma.slides.depth_readings import KnownDepth
from napari_melanoma.slides.lesion_edits import add_lesion
from napari_melanoma.slides.lesion_files import save_lesions
from napari_melanoma.slides.lesions import LesionConfig, find_lesions
from napari_melanoma.slides.maps import SlideMaps
from napari_melanoma.slides.outputs import write_heatmap
from napari_melanoma.slides.results import read_lesion_maps
from napari_melanoma.slides.tiling import TileGrid

pytest.importorskip("highdicom")

SIDE, CELL, UM = 512, 4, 4.0  # of slide and cells of the dense map in pixels; micrometers per pixel
GRID = TileGrid(0, 1.0, 128, (128, 128), (128, 128), Box(0, 0, SIDE, SIDE), 4, 4, "pad", PixelSize(UM, UM))
CLASSES = ("background", "melanoma")
COUNT = 18  # lesions, of which one was drawn
LINE = {"surface": [10, 10], "deepest": [90, 10], "mm": 0.3, "interval_mm": [0.2, 0.4]}
RISK = RiskPrediction(
    "metastasis",
    probability=0.08,
    interval=(0.0, 0.25),
    possible=("other",),
    coverage=0.9,
    depth=KnownDepth(None, "unknown"),
    patches=(),
    shares=None,
    without=None,
    comparators={},
    known={},
    missing=(),
    warnings=(),
    model={"name": "risk-model", "title": "", "fingerprint": "0"},
    options=RiskOptions(model="risk-model"),
    validity=Validity(),
)
INVALID = ValidityInputs("dense-model", demonstration=True).check()
Areas = dict[int, float]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The results of a dense model for a DICOM slide: several lesions in a tile, and a small drawn one."""
    slide = write_level(tmp_path / "archive" / "level0.dcm", SIDE, SIDE, UM / 1000)
    analysis = FakeAnalysis(tmp_path / "results" / "section", slide, "a")
    analysis.order = np.argwhere(np.ones(GRID.shape)).astype(np.int32)
    tiles = {"kind": "dense", "dense_px": 128 // CELL, "rows": 4, "columns": 4, "step": (128, 128), "tile_px": 128}
    slide_values = {"classes": CLASSES, "size": (SIDE, SIDE), "pixel_size_um": (UM, UM)}
    analysis.spec = analysis.spec.model_copy(update={**tiles, **slide_values})
    analysis.begins().finishes()
    melanoma = np.full((SIDE // CELL, SIDE // CELL), 0.1, np.float32)
    for number in range(COUNT - 1):
        row, column = divmod(number, 5)
        melanoma[8 + 20 * row : 10 + 21 * row, 8 + 25 * column : 9 + 26 * column] = 0.9
    heatmap = SlideMaps(np.stack([1 - melanoma, melanoma]), replace(GRID.pixel_placement, step_y=CELL, step_x=CELL))
    write_heatmap(analysis.path / "heatmap.ome.tif", heatmap, CLASSES)
    grid = {**asdict(GRID), "pixel_size": None}
    depth = {"candidates": [LINE], "validity": Validity().to_json()}
    content = {"grid": grid, "depth": depth, "validity": Validity().to_json()}
    write_json(analysis.path / "result.json", {**read_slide_result(analysis.path), **content})
    maps, config = read_lesion_maps(analysis.path, "melanoma", (SIDE, SIDE)), LesionConfig()
    drawn = Polygon(((401.0, 401.0), (401.0, 402.5), (403.0, 402.5), (403.0, 401.0)))  # within a cell
    lesions = add_lesion(find_lesions(maps, config), (drawn,), maps, config)
    save_lesions(analysis.path, lesions, config)
    write_depth(analysis.path, set_values(SlideDepthReadings(), "A. Möller", "2026-01-02T10:00:00+00:00", mm=0.3))
    return analysis.path


def read_outlines(path: Path) -> Areas:
    annotations = read_geojson(path).annotations
    return {int(one.name.split()[1]): sum(polygon.area for polygon in one.polygons) for one in annotations}


def read_qupath_table(path: Path) -> Areas:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {int(row["Name"].split()[1]): float(row["Area µm^2"]) / UM**2 for row in rows}


def read_parquet(path: Path) -> list[dict[str, object]]:
    return parquet.read_table(path).to_pylist()


def count_cells(values: np.ndarray, cell_px: float) -> Areas:
    """Return the areas of labels in pixels of the slide."""
    return {number: np.count_nonzero(values == number) * cell_px**2 for number in np.unique(values).tolist() if number}


def read_mask(path: Path) -> Areas:
    labels = tifffile.imread(path)
    return count_cells(labels, SIDE / max(labels.shape))


def read_labels(path: Path) -> Areas:
    group = zarr.open_group(path, mode="r")["labels/lesions"]
    scales = group.attrs.get("ome", group.attrs)["multiscales"][0]["datasets"]
    cell_um = scales[0]["coordinateTransformations"][0]["scale"][1]
    return count_cells(np.asarray(group["0"])[0], cell_um / UM)


def read_segmentation(path: Path) -> Areas:
    import highdicom

    segmentation = highdicom.seg.segread(path)
    numbers = {one.SegmentNumber: int(one.SegmentLabel.split()[1].strip(",")) for one in segmentation.SegmentSequence}
    matrix = segmentation.get_total_pixel_matrix(combine_segments=True)
    return {numbers[segment]: area for segment, area in count_cells(matrix, 1).items()}


def read_report(path: Path) -> Areas:
    import highdicom

    groups = highdicom.sr.srread(path).content.get_planar_roi_measurement_groups()
    outlines = {int(one.tracking_identifier.split()[1]): one.roi.value for one in groups}
    return {number: shapely.Polygon(points[:, :2]).area * (1000 / UM) ** 2 for number, points in outlines.items()}


def read_spatialdata(path: Path) -> Areas:
    spatialdata = pytest.importorskip("spatialdata")
    lesions = spatialdata.read_zarr(path).shapes["lesions"]
    return {int(row["name"].split()[1]): row["geometry"].area for row in lesions.to_dict("records")}


WITH_LESIONS: dict[str, Callable[[Path], Areas]] = {
    "geojson": read_outlines,
    "csv": lambda path: {int(row["index"]): float(row["area_px"]) for row in read_table(path)},
    "qupath": read_qupath_table,
    "csv.parquet": lambda path: {row["index"]: row["area_px"] for row in read_parquet(path)},
    "zarr": read_labels,
    "mask": read_mask,
    "dicom": read_segmentation,
    "dicom-sr": read_report,
    "spatialdata": read_spatialdata,
}
WITH_OTHER_PREDICTIONS = ("tiles", "tif", "depth", "report", "risk")
OF_READERS = ("counts", "synoptic", "fhir")  # values of readers only


def export(folder: Path, name: str, tmp_path: Path) -> tuple[Path, str]:
    """Export a slide; return the file, and the note on what it lacks."""
    if name == "spatialdata":
        pytest.importorskip("spatialdata")
    (file,) = export_results([folder], tmp_path / "out", [name], run=RunContext())
    assert file.error == ""
    return file.path, file.note


def test_each_format_has_a_contract() -> None:
    own = {name for name in EXPORTS.members if EXPORTS.find_plugin(name) is None}
    assert own == {*WITH_LESIONS} - {"csv.parquet"} | {*WITH_OTHER_PREDICTIONS, *OF_READERS}


@pytest.mark.parametrize("name", WITH_LESIONS)
@pytest.mark.slow
def test_all_lesions_are_exported_with_their_areas(name: str, folder: Path, tmp_path: Path) -> None:
    lesions = read_exported_slide(folder).required_lesions
    assert len(lesions) == COUNT
    path, note = export(folder, name, tmp_path)
    areas = WITH_LESIONS[name](path)
    assert note == ""
    assert set(areas) == {lesion.index for lesion in lesions}
    for lesion in lesions:
        assert areas[lesion.index] == pytest.approx(lesion.area_px, abs=1)


@pytest.mark.parametrize("name", ["zarr", "mask", "dicom"])
def test_lesions_without_a_pixel_are_named(name: str, folder: Path, tmp_path: Path) -> None:
    exported = read_exported_slide(folder)
    first, *others = exported.required_lesions
    inside = tuple(replace(one, index=one.index, polygons=first.polygons) for one in others[-2:])
    names = [one.index for one in inside]
    hidden = replace(exported, lesions=(first, *others[:-2], *inside))
    note = write_export(name, tmp_path / "out", hidden)
    assert note.startswith(
        f"The file lacks 2 lesions without a pixel, too small or inside others: lesions {names[0]}, "
    )


def test_lesions_in_the_older_version_of_ome_zarr(folder: Path, tmp_path: Path) -> None:
    write_export("zarr", tmp_path / "old.zarr", read_exported_slide(folder, ome_zarr="0.4"))
    assert (tmp_path / "old.zarr" / ".zattrs").is_file()
    assert len(read_labels(tmp_path / "old.zarr")) == COUNT


def test_the_heatmap_has_the_scale_of_the_map(folder: Path, tmp_path: Path) -> None:
    group = zarr.open_group(export(folder, "zarr", tmp_path)[0], mode="r")
    assert group["0"].shape == (2, SIDE // CELL, SIDE // CELL)
    (folder / "heatmap.ome.tif").unlink()
    note = write_export("zarr", tmp_path / "coarse.zarr", read_exported_slide(folder))
    assert note.startswith("The heatmap has a cell for each tile")
    assert len(read_labels(tmp_path / "coarse.zarr")) == COUNT


def read_text(path: Path) -> str:
    """Return all texts of a file or folder, as a reader would see them."""
    if path.is_dir():
        return "\n".join(one.read_text() for name in ("zarr.json", ".zattrs") for one in path.rglob(name))
    if path.suffix == ".parquet":
        return str(read_parquet(path))
    if path.suffix == ".dcm":
        return "\n".join(str(element.value) for element in pydicom.dcmread(path).iterall() if element.VR != "OW")
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as tiff:
            return tiff.ome_metadata or ""
    return html.unescape(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [*WITH_LESIONS, *WITH_OTHER_PREDICTIONS])
@pytest.mark.slow
def test_what_is_not_valid_is_marked(name: str, folder: Path, tmp_path: Path) -> None:
    """Also if lesions were saved when it was still valid."""
    reason = INVALID.reasons[0].text
    write_json(folder / RISK_FILE, RISK.to_json())
    assert reason not in read_text(export(folder, name, tmp_path)[0])
    content = read_slide_result(folder)
    invalid = {"validity": INVALID.to_json(), "depth": {**content["depth"], "validity": INVALID.to_json()}}
    write_json(folder / "result.json", {**content, **invalid})
    write_json(folder / RISK_FILE, replace(RISK, validity=INVALID).to_json())
    assert reason in read_text(export(folder, name, tmp_path)[0]).replace('\\"', '"')


def test_an_incomplete_analysis_has_the_heatmap_of_its_tiles(folder: Path, tmp_path: Path) -> None:
    (folder / "result.json").unlink()
    path, note = export(folder, "zarr", tmp_path)
    assert zarr.open_group(path, mode="r")["0"].shape == (2, *SlideResult.open(folder).state.shape)
    assert note.startswith("The heatmap has a cell for each tile")

"""SpatialData stores: spatialdata and wsidata open an exported slide, and areas in their stores become regions."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_slides import MPP, SIDE, TILE, FakeAnalysis, draw_slide, truth

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.core.validity import read_validity
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.io.results import read_slide_result, write_mask
from napari_melanoma.io.spatialdata import find_spatialdata
from napari_melanoma.reports.slide_export import WRITERS, read_exported_slide
from napari_melanoma.slides.lesion_files import read_lesions
from napari_melanoma.slides.regions import find_region_files, import_regions, save_regions

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries warn about each other

RING = ((10.0, 20.5), (10.0, 60.0), (90.25, 60.0), (90.25, 20.5))
HOLE = ((20.0, 30.0), (30.0, 30.0), (30.0, 40.0), (20.0, 40.0))
REGION = Annotation(
    (Polygon(RING, (HOLE,)),), "Nevus", (240, 160, 0), "nest", {"cells": 7.0}, id="r-1", properties={"reader": "A. M."}
)
TISSUE_CELLS = (slice(2, 6), slice(1, 5))  # of 8 x 8 cells on the slide


@pytest.fixture(scope="module")
def spatialdata() -> Any:
    return pytest.importorskip("spatialdata", reason="spatialdata is not installed: pip install spatialdata")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An analyzed slide with tissue and a region with a hole."""
    folder, slide = tmp_path / "results" / "section", draw_slide(tmp_path / "section.tif")
    FakeAnalysis(folder, slide, "a").begins().finishes()
    mask = np.zeros((8, 8), bool)
    mask[TISSUE_CELLS] = True
    write_mask(folder / "tissue.png", mask)
    save_regions(folder, slide, (REGION,), None)
    return folder


@pytest.fixture
def store(spatialdata: Any, folder: Path) -> Path:
    path = folder.parent.parent / "out" / "slide.spatialdata.zarr"
    WRITERS["spatialdata"](path, read_exported_slide(folder))
    return path


def test_spatialdata_reads_all_elements_at_their_positions(spatialdata: Any, store: Path, folder: Path) -> None:
    data = spatialdata.read_zarr(store)
    spatialdata.SpatialData(images=dict(data.images), shapes=dict(data.shapes), tables=dict(data.tables))  # validates
    assert set(data.coordinate_systems) == {"global", "micrometers"}
    assert set(data.shapes) == {"tissues", "tiles", "lesions", "regions"}
    cell = SIDE / 8
    assert data["tissues"].total_bounds.tolist() == [cell, 2 * cell, 5 * cell, 6 * cell]
    in_um = spatialdata.transform(data["tissues"], to_coordinate_system="micrometers")
    np.testing.assert_allclose(in_um.total_bounds, np.array([1, 2, 5, 6]) * cell * MPP)
    (nest,) = data["regions"].geometry
    assert nest.area == pytest.approx(39.5 * 80.25 - 100)
    assert nest.bounds == (20.5, 10.0, 60.0, 90.25)  # x first
    lesions = read_lesions(folder) or ()
    assert data["lesions"]["name"].tolist() == [f"lesion {one.index}" for one in lesions]
    assert data["lesions"].area.tolist() == pytest.approx([one.area_px for one in lesions])
    image_box = spatialdata.get_extent(data["wsi_thumbnail"], coordinate_system="micrometers")
    assert image_box["x"] == pytest.approx((0, SIDE * MPP))
    assert image_box["y"] == pytest.approx((0, SIDE * MPP))
    about = data.attrs["napari_melanoma"]
    assert (about["slide"], about["valid"]) == ("section", read_validity(read_slide_result(folder)).valid)


def test_tables_have_the_values_of_each_tile(spatialdata: Any, store: Path) -> None:
    data = spatialdata.read_zarr(store)
    shapes, table = spatialdata.match_element_to_table(data, "tiles", "probabilities_tiles")
    tiles = shapes["tiles"]
    assert len(tiles) == len(table) == (SIDE // TILE) * (SIDE // TILE - 2)
    np.testing.assert_allclose(table.X, truth()[tiles["row"], tiles["column"]])
    np.testing.assert_allclose(table.obsm["spatial"], np.column_stack([tiles.centroid.x, tiles.centroid.y]))
    assert tiles["state"].unique().tolist() == ["done"]


def test_the_tiles_in_a_box_are_found(spatialdata: Any, store: Path) -> None:
    data = spatialdata.read_zarr(store)
    box = {"min_coordinate": [64.1, 32.1], "max_coordinate": [127.9, 63.9]}  # x, y: two tiles
    found = data.query.bounding_box(axes=("x", "y"), target_coordinate_system="global", **box)
    assert sorted(zip(found["tiles"]["x"], found["tiles"]["y"], strict=True)) == [(64, 32), (96, 32)]
    assert len(found["probabilities_tiles"]) == 2


def test_embeddings_and_unfinished_tiles(spatialdata: Any, tmp_path: Path) -> None:
    from napari_melanoma.io.slide_store import DONE, SlideResult

    analysis = FakeAnalysis(tmp_path / "results" / "section", draw_slide(tmp_path / "section.tif"), "a")
    spec = analysis.spec.model_copy(update={"kind": "embedding", "classes": (), "features": 3})
    writer = SlideResult.create(analysis.path, spec, analysis.order).writer()
    values = np.arange(12, dtype=np.float16).reshape(4, 3)
    writer.put(0, np.full(4, DONE, np.uint8), {"embedding": values})
    writer.flush()
    WRITERS["spatialdata"](tmp_path / "out.zarr", read_exported_slide(analysis.path))
    data = spatialdata.read_zarr(tmp_path / "out.zarr")
    table = data["embedding_tiles"]
    np.testing.assert_array_equal(table.X[:4], values)
    assert np.isnan(table.X[4:]).all()
    assert data["tiles"]["state"].tolist()[3:5] == ["done", "waiting"]
    assert set(data.shapes) == {"tiles"}


def test_wsidata_opens_the_store_with_the_slide(store: Path, folder: Path) -> None:
    wsidata = pytest.importorskip("wsidata", reason="wsidata is not installed: pip install wsidata")
    slide = wsidata.open_wsi(folder.parent.parent / "section.tif", store=str(store))
    assert slide.properties.mpp == pytest.approx(MPP)
    tiles = slide.tile_spec("tiles")
    assert (tiles.base_height, tiles.base_width, tiles.mpp) == (TILE, TILE, pytest.approx(MPP))
    features = slide.fetch.features_anndata("probabilities", tile_key="tiles")
    assert features.n_obs == len(slide["tiles"])
    first = next(iter(slide.iter.tile_images("tiles")))
    assert first.image.shape == (TILE, TILE, 3)


def test_regions_lesions_and_tissue_come_back(store: Path, folder: Path) -> None:
    found = import_regions(store, (SIDE, SIDE))
    assert REGION in found.regions
    by_class = {one.class_name: one for one in found.regions}
    assert "tissues" in by_class
    lesions = read_lesions(folder) or ()
    drawn = [one.polygons for one in found.regions if one.name.startswith("lesion ")]
    assert drawn == [one.polygons for one in lesions]
    again = import_regions(store / "zarr.json", (SIDE, SIDE), known=found.regions)  # as chosen in a dialog
    assert not [one for one in again.regions if one.id == REGION.id]
    assert find_region_files(folder.parent.parent / "section.tif", [store]) == [store]


def test_stores_of_other_programs_are_read(spatialdata: Any, tmp_path: Path) -> None:
    import geopandas
    import shapely
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Scale

    square, away = shapely.box(10, 20, 40, 60), shapely.box(5000, 5000, 6000, 6000)
    annotated = geopandas.GeoDataFrame({"classification": ["Tumor", None]}, geometry=[square, away])
    circles = geopandas.GeoDataFrame({"radius": [3.0]}, geometry=[shapely.Point(5, 5)])
    coarse = geopandas.GeoDataFrame(geometry=[square])
    elsewhere = geopandas.GeoDataFrame(geometry=[square])
    scaled = ShapesModel.parse(coarse, transformations={"global": Scale([4.0, 4.0], axes=("x", "y"))})
    shapes = {
        "annotations": ShapesModel.parse(annotated),
        "cells": ShapesModel.parse(circles),
        "coarse": scaled,
        "other": ShapesModel.parse(elsewhere, transformations={"aligned": Scale([1.0, 1.0], axes=("x", "y"))}),
    }
    spatialdata.SpatialData(shapes=shapes).write(tmp_path / "theirs.zarr")
    found = import_regions(tmp_path / "theirs.zarr", (SIDE, SIDE))
    boxes = {one.class_name: one.polygons[0].box for one in found.regions}
    assert set(boxes) == {"Tumor", "coarse"}
    assert (boxes["Tumor"].top, boxes["Tumor"].left, boxes["Tumor"].height) == (20, 10, 40)
    assert (boxes["coarse"].top, boxes["coarse"].left, boxes["coarse"].height) == (80, 40, 160)
    assert "cells: 1 without an area" in found.notes
    assert "other: it has no position in the coordinate system 'global'" in found.notes
    assert any("lies outside the slide" in note for note in found.notes)


def test_annotations_of_lazyslide_keep_class_color_and_measurements(spatialdata: Any, tmp_path: Path) -> None:
    import geopandas
    import shapely
    from spatialdata.models import ShapesModel

    columns = {  # as lazyslide.io.load_annotations writes them
        "tissue_id": [0],
        "objectType": ["annotation"],
        "name": ["Melanoma 1.1"],
        "measurements": [{"Breslow thickness mm": 0.32}],
        "classification_name": ["Melanoma"],
        "classification_color": [[200, 0, 0]],
    }
    frame = geopandas.GeoDataFrame(columns, geometry=[shapely.box(10, 20, 40, 60)])
    tiles = geopandas.GeoDataFrame({"tile_id": [0]}, geometry=[shapely.box(0, 0, 32, 32)])
    shapes = {"annotations": ShapesModel.parse(frame), "tiles": ShapesModel.parse(tiles)}
    spatialdata.SpatialData(shapes=shapes).write(tmp_path / "lazyslide.zarr")
    (read,) = import_regions(tmp_path / "lazyslide.zarr", (SIDE, SIDE)).regions
    assert (read.name, read.class_name, read.color, read.kind) == (
        "Melanoma 1.1",
        "Melanoma",
        (200, 0, 0),
        "annotation",
    )
    assert read.measurements == {"tissue_id": 0.0, "Breslow thickness mm": 0.32}
    assert read.properties == {}


def test_a_damaged_store_and_other_zarr_folders(spatialdata: Any, store: Path, folder: Path) -> None:
    assert find_spatialdata(folder / "result.zarr") is None
    for part in (store / "shapes").rglob("*.parquet"):
        part.write_bytes(b"damaged")
    with pytest.raises(InputError, match="as a SpatialData store"):
        import_regions(store, (SIDE, SIDE))


def test_without_the_library_the_message_names_the_extra(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.split(".")[0] == "spatialdata":
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r"pip install 'napari-melanoma\[spatialdata\]'"):
        WRITERS["spatialdata"](tmp_path / "out.zarr", read_exported_slide(folder))

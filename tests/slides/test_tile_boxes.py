"""Boxes of tiles: the analysis, its files and the window state where each tile was read, at any border and overlap."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, ResultsMismatch
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.io.geojson import read_geojson, write_geojson
from napari_melanoma.io.results import read_slide_result, read_table, write_mask
from napari_melanoma.io.slide_store import DONE, FAILED, STORE, WAITING, SlideResult, SlideResultSpec, TileBoxes
from napari_melanoma.reports.slide_export import WRITERS, read_exported_slide
from napari_melanoma.slides import engine
from napari_melanoma.slides.analysis import SlideOutcome
from napari_melanoma.slides.lesions import LesionConfig
from napari_melanoma.slides.regions import RegionClass, region_from_vertices
from napari_melanoma.slides.results import read_lesion_maps
from napari_melanoma.slides.tile_models import TileModel
from napari_melanoma.slides.tile_sets import TileDataOptions, make_tile_data
from napari_melanoma.ui.session.run_status import HeatmapData, read_heatmap

if TYPE_CHECKING:
    from torch import Tensor, nn

Analyze = Callable[..., SlideOutcome]
ReadBoxes = set[tuple[float, float, float, float]]
PAST = Path(__file__).parents[1] / "relations" / "past" / "2026-11-25.zip"
TILE, SIDE = 32, 500  # the side of the slide is no multiple of a tile
CASES: dict[str, dict[str, Any]] = {
    "beyond the end": {"border": "pad"},
    "moved inside": {"border": "shift"},
    "half overlap": {"border": "pad", "overlap": 0.5},
    "half overlap, moved inside": {"border": "shift", "overlap": 0.5},
    "part of the slide, moved inside": {"border": "shift", "region": (64, 128, 200, 180)},
    "part of the slide": {"border": "pad", "region": (64, 128, 200, 180)},
    "part of the slide, two rows moved inside": {"border": "shift", "region": (0, 0, 40, 180)},
    "coarser tiles": {"border": "shift", "overlap": 0.5, "tile_mpp": 1.5},
    "tiles of a stated size": {"border": "shift", "tile_um": 21.0},
}


@pytest.fixture
def drawn(drawn_slide: Callable[..., Path], tmp_path: Path) -> Path:
    return drawn_slide(tmp_path / "odd.tif", side=SIDE)


@pytest.fixture
def read_boxes(monkeypatch: pytest.MonkeyPatch) -> ReadBoxes:
    """The boxes that were read from the slide one by one: top, left, height and width in pixels of the finest level."""
    boxes: ReadBoxes = set()
    read = engine.TileReader._read_region

    def recording(self: engine.TileReader, box: Any) -> Any:
        factor = self._slide.info.levels[self._grid.level].downsample
        boxes.add((box.top * factor, box.left * factor, box.height * factor, box.width * factor))
        return read(self, box)

    monkeypatch.setattr(engine, "BLOCK_PX", 1)
    monkeypatch.setattr(engine.TileReader, "_read_region", recording)
    return boxes


def read_tiles_table(folder: Path, out: Path) -> list[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    WRITERS["tiles"](out, read_exported_slide(folder))
    rows: list[dict[str, Any]] = parquet.read_table(out).to_pylist()
    return rows


def read_shown_heatmap(folder: Path, target: str) -> HeatmapData:
    heat = read_heatmap(folder, target, {"target": target})
    assert heat is not None
    assert heat.tiles
    return heat


@pytest.mark.parametrize("case", CASES)
def test_each_file_states_the_boxes_that_were_read(
    case: str, drawn: Path, analyze: Analyze, read_boxes: ReadBoxes, tmp_path: Path
) -> None:
    folder = analyze(slide=drawn, tissue_mask=None, **CASES[case]).folder
    rows = read_tiles_table(folder, tmp_path / "tiles.parquet")
    stated = [(row["y_px"], row["x_px"], row["height_px"], row["width_px"]) for row in rows]
    assert len(set(stated)) == len(stated)
    assert set(stated) == read_boxes
    jumps = {(one.row, one.column, one.height_px, one.width_px) for one in read_shown_heatmap(folder, "melanoma").tiles}
    assert jumps <= {(top + height / 2, left + width / 2, height, width) for top, left, height, width in read_boxes}
    result = SlideResult.open(folder)
    boxes = result.boxes.select(result.order)
    assert {tuple(one) for one in boxes.tolist()} == read_boxes
    centers, cells = boxes[:, :2] + boxes[:, 2:] / 2, result.spec.placement.to_slide(result.order + 0.5)
    even = slice(None) if CASES[case]["border"] == "pad" else result.order.max(axis=1) == 0
    np.testing.assert_allclose(cells[even], centers[even])


def find_position() -> nn.Module:
    """A network that returns the first row and column of a tile of a coded slide, divided by 1000."""
    from torch import nn

    class Position(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            halves = 255 * (images[:, :2].float().mean(dim=(2, 3)) / 2 + 0.5)
            return (2 * halves + 0.5 - (TILE - 1) / 2) / 1000

    return Position().eval()


@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize("border", ["inside", "shift"])
def test_each_tile_has_the_value_of_its_own_box(
    border: str, overlap: float, analyze: Analyze, tile_model: Callable[..., TileModel], tmp_path: Path
) -> None:
    """The colors of the slide state half of the row and half of the column of each pixel."""
    half = np.arange(SIDE) // 2
    rgb = np.stack([*np.broadcast_arrays(half[:, None], half[None]), np.zeros((SIDE, SIDE))], axis=2).astype(np.uint8)
    resolution = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "coded.tif", rgb, tile=(128, 128), photometric="rgb", metadata=None, **resolution)
    write_mask(tmp_path / "all.png", np.ones((SIDE, SIDE), np.bool_))
    folder = analyze(
        slide=tmp_path / "coded.tif",
        tissue_mask=tmp_path / "all.png",
        with_model=tile_model(network=find_position()),
        border=border,
        overlap=overlap,
    ).folder
    rows = read_tiles_table(folder, tmp_path / "tiles.parquet")
    stride = round(TILE * (1 - overlap))
    assert max(row["y_px"] for row in rows) == (SIDE - TILE if border == "shift" else (SIDE - TILE) // stride * stride)
    for row in rows:
        found = 1000 * row["probability_benign"], 1000 * row["probability_melanoma"]
        assert found == pytest.approx((row["y_px"], row["x_px"]), abs=0.1)
    for tile in read_shown_heatmap(folder, "benign").tiles:
        assert 1000 * tile.value == pytest.approx(tile.row - tile.height_px / 2, abs=0.1)


def test_tiles_of_a_data_set(drawn: Path, read_boxes: ReadBoxes, tmp_path: Path) -> None:
    corners = np.array([(0, 0), (0, 436), (500, 436), (500, 0)], float)
    write_geojson(drawn.with_suffix(".geojson"), [region_from_vertices(corners, RegionClass("Skin", (1, 2, 3)), "")])
    options = TileDataOptions(mpp=0.75, tile_px=TILE, overlap=0.5, share=0.75, most=1000)
    make_tile_data([drawn], [], tmp_path / "tiles", options, run=RunContext())
    rows = read_table(tmp_path / "tiles" / "dataset.csv")
    columns = ("y_px", "x_px", "height_px", "width_px")
    assert rows
    assert {tuple(float(row[name]) for name in columns) for row in rows} <= read_boxes


def test_spatialdata_has_the_tiles_and_not_the_cells(drawn: Path, analyze: Analyze, tmp_path: Path) -> None:
    spatialdata = pytest.importorskip("spatialdata")
    folder = analyze(slide=drawn, **CASES["half overlap, moved inside"]).folder
    WRITERS["spatialdata"](tmp_path / "slide.zarr", read_exported_slide(folder))
    data, result = spatialdata.read_zarr(tmp_path / "slide.zarr"), SlideResult.open(folder)
    boxes = result.boxes.select(result.order)
    np.testing.assert_array_equal(
        data["tiles"].bounds, np.column_stack([boxes[:, 1], boxes[:, 0], boxes[:, :2][:, ::-1] + TILE])
    )
    np.testing.assert_array_equal(data["probabilities_tiles"].obsm["spatial"], boxes[:, 1::-1] + TILE / 2)
    about = data.attrs["tile_spec"]["tiles"]
    assert [about[name] for name in ("height", "width", "stride_height", "stride_width")] == [TILE, TILE, 16, 16]


@pytest.mark.parametrize("kind", ["classification", "dense"])
def test_a_lesion_ends_where_the_tiles_end(kind: str, analyze: Analyze, tile_model: Callable[..., TileModel]) -> None:
    """Cells of the last row and column would extend 24 and 20 pixels beyond the tiles that were moved inside."""
    outcome = analyze(region=(0, 0, 200, 300), border="shift", with_model=tile_model(kind))
    (outline,) = read_geojson(outcome.folder / "lesions.geojson").annotations
    assert outline.polygons[0].box.slices == (slice(128, 200), slice(192, 300))
    (lesion,) = outcome.content["lesions"]
    assert lesion["area_px"] == pytest.approx(72 * 108, rel=0.01)
    if kind == "classification":
        assert lesion["tissue_share"] == pytest.approx(72 * 108 / (200 * 300), rel=1e-4)
    assert lesion["seed_row_px"] < 200
    assert lesion["seed_column_px"] < 300


class EarlierVersion:
    """Turns results into the form of versions that stored no boxes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._grids: list[Any] = []
        read = engine.TileReader.__init__

        def recording(reader: engine.TileReader, slide: Any, grid: Any, *rest: Any) -> None:
            self._grids.append(grid)
            read(reader, slide, grid, *rest)

        monkeypatch.setattr(engine.TileReader, "__init__", recording)

    def convert(self, folder: Path, *, finished: bool = True) -> None:
        change_spec(folder, boxes=None)
        content = read_slide_result(folder)
        content["grid"] = {key: value for key, value in asdict(self._grids[-1]).items() if key != "pixel_size"}
        (folder / "result.json").unlink()
        if finished:
            (folder / "result.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> EarlierVersion:
    return EarlierVersion(monkeypatch)


def change_spec(folder: Path, **changes: Any) -> None:
    path = folder / STORE / "zarr.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["attributes"]["napari_melanoma"] |= changes
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_a_store_without_boxes_takes_them_from_its_result(
    case: str, drawn: Path, analyze: Analyze, earlier: EarlierVersion
) -> None:
    folder = analyze(slide=drawn, **CASES[case]).folder
    boxes = SlideResult.open(folder).boxes
    earlier.convert(folder)
    assert SlideResult.open(folder).spec.boxes is None
    assert SlideResult.open(folder).boxes == boxes
    outcome = analyze(slide=drawn, lesions=LesionConfig(high=0.9), **CASES[case])  # replaces result.json
    assert not outcome.already_done
    assert "grid" not in outcome.content
    assert SlideResult.open(folder).spec.boxes == boxes


@pytest.mark.parametrize(
    ("key", "value"),
    [("rows", 10**15), ("stride_px", [10**30, 16]), ("read_px", [-1, -1]), ("area", None), ("downsample", "4")],
)
def test_a_damaged_grid_is_ignored(key: str, value: Any, analyze: Analyze, earlier: EarlierVersion) -> None:
    folder = analyze(overlap=0.5).folder
    earlier.convert(folder)
    content = read_slide_result(folder)
    content["grid"][key] = value
    (folder / "result.json").write_text(json.dumps(content), encoding="utf-8")
    boxes = SlideResult.open(folder).boxes
    assert (boxes.height, boxes.width) == (16, 16)


def test_an_unfinished_store_without_boxes(drawn: Path, analyze: Analyze, earlier: EarlierVersion) -> None:
    """It shows the cells of its map as it did, until the analysis continues."""
    folder = analyze(slide=drawn, **CASES["half overlap, moved inside"]).folder
    boxes = SlideResult.open(folder).boxes
    earlier.convert(folder, finished=False)
    shown = SlideResult.open(folder).boxes
    assert (shown.tops[:2], shown.height, shown.shape) == ((8, 24), 16, boxes.shape)
    analyze(slide=drawn, **CASES["half overlap, moved inside"])
    assert SlideResult.open(folder).boxes == boxes


@pytest.mark.parametrize("state", [WAITING, FAILED, DONE])
def test_tiles_at_other_positions_are_not_joined(state: int, drawn: Path, analyze: Analyze) -> None:
    """A finished analysis keeps its tiles, and measures them again where they were read."""
    folder = analyze(slide=drawn).folder
    result = SlideResult.open(folder, writable=True)
    moved = result.boxes.model_copy(update={"tops": tuple(top + 8 for top in result.boxes.tops)})
    change_spec(folder, boxes=moved.model_dump(mode="json"))
    result.array("state")[0, 0] = state
    (folder / "result.json").unlink()
    if state == DONE:
        assert analyze(slide=drawn).content["lesions"]
    else:
        with pytest.raises(ResultsMismatch, match="with other settings: tiles at other positions"):
            analyze(slide=drawn)
    assert SlideResult.open(folder).boxes == moved


def test_a_stored_result_of_an_earlier_version(tmp_path: Path) -> None:
    with zipfile.ZipFile(PAST) as archive:
        archive.extractall(tmp_path, [one for one in archive.namelist() if one.startswith("results/slide_0001/")])
    folder = tmp_path / "results/slide_0001"
    assert SlideResult.open(folder).boxes == TileBoxes(tops=(0, 448, 896), lefts=(0, 448, 896), height=512, width=512)
    maps = read_lesion_maps(folder, "melanoma", (1024, 1024))
    assert maps.placement == MapPlacement(0, 0, 16, 16, PixelSize(1, 1, "file"))
    assert maps.shape == (64, 64)


def test_boxes_of_another_grid_are_refused(analyze: Analyze) -> None:
    spec = SlideResult.open(analyze().folder).spec.model_dump(mode="json")
    with pytest.raises(ConfigError, match=r"boxes of 16 x 16 tiles, expected 15 x 16"):
        SlideResultSpec.parse({**spec, "rows": 15}, "the store")


def test_no_tiles_have_no_boxes() -> None:
    assert TileBoxes(tops=(0,), lefts=(0,), height=1, width=1).select([]).shape == (0, 4)

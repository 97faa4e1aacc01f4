"""Boxes of tiles: the analysis, its files and the window state where each tile was read, at any border and overlap."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.geometry import Box
from napari_melanoma.io.geojson import read_geojson
from napari_melanoma.io.slide_store import STORE, SlideResult, SlideResultSpec, TileBoxes
from napari_melanoma.reports.slide_export import WRITERS, read_exported_slide
from napari_melanoma.slides import engine
from napari_melanoma.slides.analysis import SlideOutcome
from napari_melanoma.slides.maps import tile_boxes
from napari_melanoma.slides.tile_models import TileModel
from napari_melanoma.ui.session.run_status import read_heatmap

Analyze = Callable[..., SlideOutcome]
TILE = 32
CASES: dict[str, dict[str, Any]] = {
    "beyond the end": {"border": "pad"},
    "moved inside": {"border": "shift"},
    "half overlap": {"border": "pad", "overlap": 0.5},
    "half overlap, moved inside": {"border": "shift", "overlap": 0.5},
    "part of the slide, moved inside": {"border": "shift", "region": (64, 128, 200, 180)},
    "part of the slide": {"border": "pad", "region": (64, 128, 200, 180)},
}


@pytest.fixture
def drawn(drawn_slide: Callable[..., Path], tmp_path: Path) -> Path:
    """A slide whose sides are no multiples of a tile."""
    return drawn_slide(tmp_path / "odd.tif", side=500)


@pytest.fixture
def read_tiles(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, int], Box]:
    """The box that each tile was read from, by row and column."""
    boxes: dict[tuple[int, int], Box] = {}
    read = engine.TileReader.read

    def recording(self: engine.TileReader, places: Any) -> Any:
        boxes.update({tuple(place): self._grid.box(*place) for place in np.asarray(places).tolist()})
        return read(self, places)

    monkeypatch.setattr(engine.TileReader, "read", recording)
    return boxes


@pytest.mark.parametrize("case", CASES)
def test_each_file_states_the_boxes_that_were_read(
    case: str, drawn: Path, analyze: Analyze, read_tiles: dict[tuple[int, int], Box], tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = analyze(slide=drawn, tissue_mask=None, **CASES[case]).folder
    expected = {place: (box.top, box.left, box.height, box.width) for place, box in read_tiles.items()}
    WRITERS["tiles"](tmp_path / "tiles.parquet", read_exported_slide(folder))
    rows = parquet.read_table(tmp_path / "tiles.parquet").to_pylist()
    stated = {
        (row["row"], row["column"]): (row["y_px"], row["x_px"], row["height_px"], row["width_px"]) for row in rows
    }
    assert stated == expected
    heat = read_heatmap(folder, "melanoma", {"target": "melanoma"})
    assert heat is not None
    assert heat.tiles
    jumps = {(one.row, one.column, one.height_px, one.width_px) for one in heat.tiles}
    assert jumps <= {
        (top + height / 2, left + width / 2, height, width) for top, left, height, width in expected.values()
    }
    result = SlideResult.open(folder)
    np.testing.assert_array_equal(
        tile_boxes(result).select(result.order), [expected[tuple(one)] for one in result.order]
    )


def test_spatialdata_has_the_tiles_and_not_the_cells(drawn: Path, analyze: Analyze, tmp_path: Path) -> None:
    spatialdata = pytest.importorskip("spatialdata")
    folder = analyze(slide=drawn, **CASES["half overlap, moved inside"]).folder
    WRITERS["spatialdata"](tmp_path / "slide.zarr", read_exported_slide(folder))
    data, result = spatialdata.read_zarr(tmp_path / "slide.zarr"), SlideResult.open(folder)
    boxes = tile_boxes(result).select(result.order)
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
    assert lesion["seed_row_px"] < 200
    assert lesion["seed_column_px"] < 300


@pytest.mark.parametrize("case", CASES)
def test_a_store_without_boxes_takes_them_from_its_result(case: str, drawn: Path, analyze: Analyze) -> None:
    folder = analyze(slide=drawn, **CASES[case]).folder
    stored = tile_boxes(SlideResult.open(folder))
    path = folder / STORE / "zarr.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["attributes"]["napari_melanoma"]["boxes"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert SlideResult.open(folder).spec.boxes is None
    assert tile_boxes(SlideResult.open(folder)) == stored
    (folder / "result.json").unlink()  # of an analysis that goes on: the cells are the best guess
    result = SlideResult.open(folder)
    place = result.spec.placement
    assert tile_boxes(result) == TileBoxes.from_cells(place, result.spec.rows, result.spec.columns)


def test_boxes_of_another_grid_are_refused(analyze: Analyze) -> None:
    spec = SlideResult.open(analyze().folder).spec.model_dump(mode="json")
    with pytest.raises(ConfigError, match=r"boxes of 16 x 16 tiles, expected 15 x 16"):
        SlideResultSpec.parse({**spec, "rows": 15}, "the store")


def test_no_tiles_have_no_boxes() -> None:
    assert TileBoxes(tops=(0,), lefts=(0,), height=1, width=1).select([]).shape == (0, 4)

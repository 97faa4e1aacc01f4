"""Results of a slide as a SpatialData store, in the layout of wsidata: thumbnail, tissue, tiles, areas, and tables."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.core.polygons import Polygon, to_shape
from napari_melanoma.io.results import TISSUE, read_mask
from napari_melanoma.io.slide_store import DONE, SlideResult
from napari_melanoma.io.spatialdata import (
    MICROMETERS,
    PIXELS,
    TILE_ATTRIBUTE,
    TILE_COLUMN,
    annotations_to_frame,
    require_spatialdata,
    swap_axes,
)
from napari_melanoma.reports.export_formats import ExportedSlide
from napari_melanoma.slides.lesion_files import lesion_to_annotation
from napari_melanoma.slides.outlines import cell_polygons
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.regions import load_regions

# Names of elements; LazySlide looks for the first four.
THUMBNAIL, TISSUES, TILES, EMBEDDING = "wsi_thumbnail", "tissues", "tiles", "embedding_tiles"
PROBABILITIES, LESIONS, REGIONS = "probabilities_tiles", "lesions", "regions"
THUMBNAIL_PX = 2000  # longer side


def write_spatialdata(path: Path, exported: ExportedSlide, size: tuple[int, int], states: Mapping[int, str]) -> None:
    """Write a SpatialData store.

    Positions are pixels of the finest level in the coordinate system "global", and micrometers in "micrometers" if the
    slide has a scale. ``size``: height and width of the finest level. ``states``: names of the states of tiles.
    """
    require_spatialdata()
    import spatialdata
    from spatialdata.models import ShapesModel

    result = SlideResult.open(exported.folder)
    pixel = result.spec.placement.pixel_size
    frames = _make_frames(exported, result, size, states)
    placed = _transformations(MapPlacement(0.0, 0.0, 1.0, 1.0, pixel))
    shapes = {name: ShapesModel.parse(frame, transformations=placed) for name, frame in frames.items() if len(frame)}
    slide, images = exported.slide, {}
    if slide is not None and slide.exists():
        images[THUMBNAIL] = _make_thumbnail(slide, size, pixel)
    data = spatialdata.SpatialData(
        images=images, shapes=shapes, tables=_make_tables(result), attrs=_make_attributes(exported, result, size)
    )
    with atomic_folder(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "zarr v3 autosharding")  # about its next version, from each array
        temporary.rmdir()  # spatialdata writes to new folders only
        data.write(temporary)


def _make_frames(
    exported: ExportedSlide, result: SlideResult, size: tuple[int, int], states: Mapping[int, str]
) -> dict[str, Any]:
    import geopandas

    tissue: tuple[Polygon, ...] = ()
    if (exported.folder / TISSUE).is_file():
        mask = read_mask(exported.folder / TISSUE)
        tissue = cell_polygons(mask, MapPlacement.from_thumbnail(mask.shape, size))
    tissues = geopandas.GeoDataFrame(
        {"tissue_id": np.arange(len(tissue))}, geometry=swap_axes(to_shape(polygon) for polygon in tissue)
    )
    return {
        TISSUES: tissues,
        TILES: _make_tiles(result, tissues, states),
        LESIONS: annotations_to_frame(lesion_to_annotation(one, exported.validity) for one in exported.lesions or ()),
        REGIONS: annotations_to_frame(load_regions(exported.readers_folder).regions),
    }


def _make_tiles(result: SlideResult, tissues: Any, states: Mapping[int, str]) -> Any:  # noqa: ANN401 - GeoDataFrames
    """Return the tiles in processing order, each with its state and the nearest area of tissue."""
    import geopandas
    import shapely

    rows, columns = result.order.T
    top, left, height, width = result.boxes.select(result.order).T
    boxes = shapely.box(left, top, left + width, top + height)
    values = {
        TILE_COLUMN: np.arange(len(rows)),
        "x": left,
        "y": top,
        "row": rows,
        "column": columns,
        "state": [states[int(one)] for one in result.state[rows, columns]],
    }
    if len(tissues):
        values["tissue_id"] = shapely.STRtree(tissues.geometry.to_numpy()).nearest(shapely.centroid(boxes))
    return geopandas.GeoDataFrame(values, geometry=boxes)


def _make_tables(result: SlideResult) -> dict[str, Any]:
    """Return the values of the tiles as tables with a row for each tile; NaN where a tile was not predicted."""
    rows, columns = result.order.T
    tables = {}
    if result.spec.classes:
        values = result.probability[rows, columns]
        tables[PROBABILITIES] = _make_table(result, values, result.spec.classes)
    if result.spec.features:
        values = result.embedding(slice(None)).astype(np.float32)
        values[result.state[rows, columns] != DONE] = np.nan
        tables[EMBEDDING] = _make_table(result, values, [str(number) for number in range(result.spec.features)])
    return tables


def _make_table(result: SlideResult, values: NDArray[np.float32], names: Any) -> Any:  # noqa: ANN401 - AnnData
    """Return a table that annotates the tiles; ``names``: of the columns."""
    import pandas as pd
    from anndata import AnnData
    from spatialdata.models import TableModel

    tiles = np.arange(len(values))
    obs = pd.DataFrame(
        {TILE_COLUMN: tiles, "library_id": pd.Categorical([TILES] * len(tiles))}, index=tiles.astype(str)
    )
    boxes = result.boxes.select(result.order)
    centers = boxes[:, :2] + boxes[:, 2:] / 2
    table = AnnData(values, obs=obs, var=pd.DataFrame(index=list(names)), obsm={"spatial": centers[:, ::-1]})
    return TableModel.parse(table, region=TILES, region_key="library_id", instance_key=TILE_COLUMN)


def _make_thumbnail(slide: Path, size: tuple[int, int], pixel: PixelSize | None) -> Any:  # noqa: ANN401 - DataArray
    from spatialdata.models import Image2DModel

    with open_slide(slide) as opened:
        rgb, _ = opened.thumbnail_around_damage(min(THUMBNAIL_PX, *size))
    placed = _transformations(MapPlacement.from_thumbnail(rgb.shape, size, pixel))
    return Image2DModel.parse(
        np.moveaxis(rgb, 2, 0), dims=("c", "y", "x"), c_coords=list("rgb"), transformations=placed
    )


def _transformations(place: MapPlacement) -> dict[str, Any]:
    """Return the transformations of an element to pixels of the finest level, and to micrometers with a scale."""
    from spatialdata.transformations import Scale

    scales = {PIXELS: (place.step_y, place.step_x)} | ({MICROMETERS: place.cell_um} if place.cell_um else {})
    return {name: Scale(list(scale), axes=("y", "x")) for name, scale in scales.items()}


def _make_attributes(exported: ExportedSlide, result: SlideResult, size: tuple[int, int]) -> dict[str, Any]:
    """Return the attributes: size and scale of the slide and of the tiles as wsidata reads them, and the model."""
    boxes, spec = result.boxes, result.spec
    pixel = spec.placement.pixel_size
    validity = exported.validity
    mpp = None if pixel is None else (pixel.y_um + pixel.x_um) / 2
    sides = {"height": round(boxes.height), "width": round(boxes.width)}
    strides = {
        "stride_height": round(max(np.diff(boxes.tops), default=boxes.height)),
        "stride_width": round(max(np.diff(boxes.lefts), default=boxes.width)),
    }
    return {
        "slide_properties": {"shape": list(size), "mpp": mpp},
        TILE_ATTRIBUTE: {TILES: {**sides, **strides, "mpp": mpp, "tissue_name": TISSUES}},
        "napari_melanoma": {
            "version": version("napari-melanoma"),
            "slide": spec.slide,
            "model": str((exported.content.get("model") or {}).get("name") or ""),
            "valid": validity.valid,
            "validity": validity.headline(""),
        },
    }

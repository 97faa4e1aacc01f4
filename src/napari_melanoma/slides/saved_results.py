"""What lesions are found on, read back from the folder of a slide, and whether it was made as is asked for now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlacement
from napari_melanoma.io.results import HEATMAP, TISSUE, read_mask, read_slide_result
from napari_melanoma.io.slide_spec import differing_settings
from napari_melanoma.io.slide_store import STORE, SlideResult
from napari_melanoma.slides.lesions import LesionMaps, build_lesion_maps
from napari_melanoma.slides.maps import MAX_MAP_SIDE
from napari_melanoma.slides.options import hashed_tile_settings
from napari_melanoma.slides.stitching import stitched_shape
from napari_melanoma.slides.tiling import TileGrid, tissue_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.slides.options import SlideOptions

SUSPICIOUS = ("malignant", "melanoma", "tumour", "tumor", "positive")
MODEL_SETTINGS = ("weights", "answers")  # hashes, which only a loaded model tells


def default_target(classes: Sequence[str], content: Mapping[str, Any]) -> str:
    """Name the class that heatmap and lesions are about.

    What the result says, else the class whose name says so, else the last one; empty where there are no classes.
    """
    said = content.get("target")
    if said in classes:
        return str(said)
    known = next((name for name in classes if name.lower() in SUSPICIOUS), None)
    return known or (classes[-1] if classes else "")


def describe_prediction(content: Mapping[str, Any]) -> str:
    """Return what was predicted for a slide, in a line.

    Such as ``melanoma 0.42; 3 lesions, 2 malignant``; ``analyzed`` where the model tells no probability.
    """
    target, lesions = content.get("target"), content.get("lesions") or []
    if not target or content.get("probability") is None:
        return "analyzed"
    said = f"{target} {float(content['probability']):.2f}"
    if "attention" in (content.get("scores") or {}):
        return said
    malignant = sum(lesion.get("label") == "malignant" for lesion in lesions)
    return f"{said}; {format_count(len(lesions), 'lesion')}{f', {malignant} malignant' if malignant else ''}"


def read_lesion_maps(folder: Path, target: str, size: tuple[int, int] | None = None) -> LesionMaps:
    """Read what lesions are found on: tile by tile, or the stitched map of a dense model where it is done.

    Not-a-number where nothing is known yet. Where the model knows benign lesions too, these are lesions as well.
    """
    result = SlideResult.open(folder)
    classes, content = result.spec.classes, read_slide_result(folder)
    if target not in classes:
        raise InputError(
            f"{folder.name} tells {', '.join(classes) or 'no classes'}, not '{target}'. Pick one of these."
        )
    stitched = _read_stitched_maps(folder, result) if result.spec.kind == "dense" and content else None
    maps, place = stitched or (np.moveaxis(result.probability, 2, 0), result.spec.placement)
    tissue = None if stitched or size is None else _read_tissue_share(folder, _read_grid(content, result), size)
    draws = result.spec.kind == "dense"
    return build_lesion_maps(
        np.asarray(maps), place, classes, target, is_dense=draws, tissue=tissue, end=result.spec.size
    )


def describe_difference(folder: Path, options: SlideOptions) -> str:
    """Return whether the results in a folder were made in another way than is asked for now.

    What differs, in words; empty where the analysis would go on, or there are no results.
    """
    if not (folder / STORE).is_dir():
        return ""
    try:
        settings = SlideResult.open(folder).spec.settings
    except InputError:
        return "they cannot be read"
    model = settings.get("model") if options.model in _slide_model_names(folder) else options.model
    asked = json.loads(json.dumps({**hashed_tile_settings(options), "model": model}))
    kept = {key: value for key, value in settings.items() if key not in MODEL_SETTINGS}
    changed = differing_settings(kept, asked)
    said = {"tissue_mask": "the tissue was corrected", "model": f"made with {kept.get('model')}"}
    return ", ".join(said.get(key, f"another {key.replace('_', ' ')}") for key in changed)


def _slide_model_names(folder: Path) -> tuple[str, ...]:
    """The model of whole slides that answered from embeddings, as it was asked for: these are the encoder's."""
    content = read_slide_result(folder)
    asked, named = (content.get("options") or {}).get("model"), (content.get("model") or {}).get("name")
    return (str(asked), str(named)) if content.get("encoder") else ()


def _read_stitched_maps(folder: Path, result: SlideResult) -> tuple[NDArray[np.float32], MapPlacement] | None:
    """The maps of a dense model as they were written at the end; None where they are not there."""
    import tifffile

    try:
        with tifffile.TiffFile(folder / HEATMAP) as tiff:
            maps = tiff.asarray()
    except (OSError, ValueError, tifffile.TiffFileError):
        return None
    maps = maps[None] if maps.ndim == 2 else maps  # tifffile drops the axis of a single class
    grid = _read_grid(read_slide_result(folder), result)
    if len(maps) != len(result.spec.classes) or grid is None:
        return None
    cells = replace(grid, side_px=result.spec.dense_px)
    step = -(-max(stitched_shape(cells)) // MAX_MAP_SIDE)
    place = cells.pixel_placement
    return maps, MapPlacement(place.top, place.left, place.step_y * step, place.step_x * step, place.pixel_size)


def _read_grid(content: Mapping[str, Any], result: SlideResult) -> TileGrid | None:
    """The tiles as ``result.json`` tells them."""
    told = content.get("grid")
    if not isinstance(told, dict):
        return None
    try:
        values = {**told, "area": Box(**told["area"])}
        pairs = {name: tuple(told[name]) for name in ("read_px", "stride_px")}
        return TileGrid(**{**values, **pairs, "pixel_size": result.spec.placement.pixel_size})
    except (KeyError, TypeError):
        return None


def _read_tissue_share(folder: Path, grid: TileGrid | None, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """Share of tissue of each tile; None where it is not told yet."""
    if grid is None or not (folder / TISSUE).is_file():
        return None
    mask = read_mask(folder / TISSUE)
    return tissue_share(grid, mask, MapPlacement.from_thumbnail(mask.shape, size, grid.pixel_size))

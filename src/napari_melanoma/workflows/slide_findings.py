"""What is found on an analysed slide, read back from its folder: maps, lesions at other thresholds or corrected."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.lesion_classes import lesion_maps
from napari_melanoma.analysis.slide_lesions import LESION_COLUMNS, LesionConfig, LesionMaps, SlideLesion, lesions_table
from napari_melanoma.analysis.stitching import map_shape
from napari_melanoma.analysis.tiling import TileGrid, tissue_share
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlace
from napari_melanoma.io.geojson import write_geojson
from napari_melanoma.io.results import read_mask, read_table, write_table
from napari_melanoma.io.slide_results import STORE, SlideResult
from napari_melanoma.io.slide_spec import differing
from napari_melanoma.workflows.slide_maps import MAP_SIDE
from napari_melanoma.workflows.slide_options import decisive_settings
from napari_melanoma.workflows.slide_outputs import HEATMAP, LESIONS, OUTLINES, RESULT, annotation_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.workflows.slide_options import SlideOptions

SUSPICIOUS = ("malignant", "melanoma", "tumour", "tumor", "positive")
NUMBERS = {name for name in LESION_COLUMNS if name not in ("label", "origin")}
OF_MODEL = ("weights", "answers")  # hashes, which only a loaded model tells
TISSUE = "tissue.png"


def read_content(folder: Path) -> dict[str, Any]:
    """Read ``result.json`` of a slide.

    Parameters
    ----------
    folder : pathlib.Path
        The slide's own.

    Returns
    -------
    dict
        Empty where the analysis has not ended, or what is there cannot be read.
    """
    try:
        content = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def usual_target(classes: Sequence[str], content: Mapping[str, Any]) -> str:
    """Name the class that heatmap and lesions are about.

    Parameters
    ----------
    classes : sequence of str
        Of the model.
    content : mapping
        Of ``result.json``; empty while the analysis is at work.

    Returns
    -------
    str
        What the result says, else the class whose name says so, else the last one; empty where there are no classes.
    """
    said = content.get("target")
    if said in classes:
        return str(said)
    known = next((name for name in classes if name.lower() in SUSPICIOUS), None)
    return known or (classes[-1] if classes else "")


def read_maps(folder: Path, target: str, size: tuple[int, int] | None = None) -> LesionMaps:
    """Read what lesions are found on: tile by tile, or the stitched map of a dense model where it is done.

    Parameters
    ----------
    folder : pathlib.Path
        The slide's own, also while it is being analysed.
    target : str
        The class that is looked for.
    size : tuple of int, optional
        Height and width of the slide's finest level: with it, tiles count by the tissue in them where that is known.

    Returns
    -------
    LesionMaps
        Not-a-number where nothing is known yet. Where the model knows benign lesions too, these are lesions as well.

    Raises
    ------
    InputError
        Where there are no results, they are damaged, or the model tells no such class.
    """
    result = SlideResult.open(folder)
    classes, content = result.spec.classes, read_content(folder)
    if target not in classes:
        raise InputError(
            f"{folder.name} tells {', '.join(classes) or 'no classes'}, not '{target}'. Pick one of these."
        )
    stitched = _stitched(folder, result) if result.spec.kind == "dense" and content else None
    maps, place = stitched or (np.moveaxis(result.probability, 2, 0), result.spec.place)
    tissue = None if stitched or size is None else _tissue(folder, _grid(content, result), size)
    draws = result.spec.kind == "dense"
    return lesion_maps(np.asarray(maps), place, classes, target, draws=draws, tissue=tissue)


def read_lesions(folder: Path) -> tuple[SlideLesion, ...] | None:
    """Read the lesions that were saved, with all corrections by hand.

    Parameters
    ----------
    folder : pathlib.Path
        The slide's own.

    Returns
    -------
    tuple of SlideLesion or None
        None where none were saved, or table and outlines do not belong together.
    """
    from napari_melanoma.io.geojson_reading import read_geojson

    if not (folder / LESIONS).is_file() or not (folder / OUTLINES).is_file():
        return None
    try:
        rows = read_table(folder / LESIONS)
        outlines = {one.name: one.polygons for one in read_geojson(folder / OUTLINES).annotations}
        return tuple(_lesion(row, outlines) for row in rows)
    except (InputError, KeyError, ValueError):
        return None


def save_lesions(folder: Path, lesions: Sequence[SlideLesion], config: LesionConfig) -> None:
    """Write lesions as they are now into the slide's folder: table, outlines, and what ``result.json`` says of them.

    Parameters
    ----------
    folder : pathlib.Path
        The slide's own.
    lesions : sequence of SlideLesion
        As found at these thresholds, or corrected by hand.
    config : LesionConfig
        The thresholds.

    Raises
    ------
    SaveError
        Where the folder cannot be written.
    """
    write_lesions_table(folder / LESIONS, lesions)
    write_outlines(folder / OUTLINES, lesions)
    content = read_content(folder)
    if content:
        options = {**content.get("options", {}), "lesions": config.model_dump(mode="json")}
        corrected = any(lesion.origin != "found" for lesion in lesions)
        told = {"lesions": lesions_table(lesions), "options": options, "corrected_by_hand": corrected}
        write_json(folder / RESULT, {**content, **told})


def write_lesions_table(path: Path, lesions: Sequence[SlideLesion]) -> None:
    """Write a row a lesion as CSV.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    lesions : sequence of SlideLesion
        In their order.

    Raises
    ------
    SaveError
        Where it cannot be written.
    """
    write_table(path, lesions_table(lesions), LESION_COLUMNS)


def write_outlines(path: Path, lesions: Sequence[SlideLesion]) -> None:
    """Write outlines of lesions as QuPath reads them.

    Parameters
    ----------
    path : pathlib.Path
        The GeoJSON file.
    lesions : sequence of SlideLesion
        In their order.

    Raises
    ------
    SaveError
        Where it cannot be written.
    """
    write_geojson(path, [annotation_of(lesion) for lesion in lesions])


def differs(folder: Path, options: SlideOptions) -> str:
    """Say whether the results in a folder were made in another way than is asked for now.

    Parameters
    ----------
    folder : pathlib.Path
        The slide's own.
    options : SlideOptions
        What is asked for, with the name of a model.

    Returns
    -------
    str
        What differs, in words; empty where the analysis would go on, or there are no results.
    """
    if not (folder / STORE).is_dir():
        return ""
    try:
        settings = SlideResult.open(folder).spec.settings
    except InputError:
        return "they cannot be read"
    model = settings.get("model") if options.model in _answered_by(folder) else options.model
    asked = json.loads(json.dumps({**decisive_settings(options), "model": model}))
    kept = {key: value for key, value in settings.items() if key not in OF_MODEL}
    changed = differing(kept, asked)
    said = {"tissue_mask": "the tissue was corrected", "model": f"made with {kept.get('model')}"}
    return ", ".join(said.get(key, f"another {key.replace('_', ' ')}") for key in changed)


def _answered_by(folder: Path) -> tuple[str, ...]:
    """The model of whole slides that answered from embeddings, as it was asked for: these are the encoder's."""
    content = read_content(folder)
    asked, named = (content.get("options") or {}).get("model"), (content.get("model") or {}).get("name")
    return (str(asked), str(named)) if content.get("encoder") else ()


def _lesion(row: Mapping[str, str], outlines: Mapping[str, Any]) -> SlideLesion:
    """One row of the table with its outline."""
    numbers = {name: float(row[name]) if row[name] else None for name in NUMBERS}
    seed = numbers.pop("seed_row_px"), numbers.pop("seed_column_px")
    index = int(numbers.pop("index") or 0)
    known = {
        name: math.nan if value is None and not name.endswith(("mm", "mm2")) else value
        for name, value in numbers.items()
    }
    values: dict[str, Any] = {**known}
    values |= {"label": row["label"], "origin": row["origin"]}
    return SlideLesion(index=index, seed=seed, polygons=outlines[f"lesion {index}"], **values)  # type: ignore[arg-type]


def _known(name: str, value: float | None) -> float | None:
    """A number as a lesion holds it: only what needs a scale may be missing."""
    return math.nan if value is None and not name.endswith(("mm", "mm2")) else value


def _stitched(folder: Path, result: SlideResult) -> tuple[NDArray[np.float32], MapPlace] | None:
    """The maps of a dense model as they were written at the end; None where they are not there."""
    import tifffile

    try:
        with tifffile.TiffFile(folder / HEATMAP) as tiff:
            maps = np.atleast_3d(tiff.asarray())
    except (OSError, ValueError, tifffile.TiffFileError):
        return None
    grid = _grid(read_content(folder), result)
    if maps.ndim != 3 or grid is None:
        return None
    cells = replace(grid, side_px=result.spec.dense_px)
    step = -(-max(map_shape(cells)) // MAP_SIDE)
    place = cells.pixels_place
    return maps, MapPlace(place.top, place.left, place.step_y * step, place.step_x * step, place.pixel_size)


def _grid(content: Mapping[str, Any], result: SlideResult) -> TileGrid | None:
    """The tiles as ``result.json`` tells them."""
    told = content.get("grid")
    if not isinstance(told, dict):
        return None
    try:
        values = {**told, "area": Box(**told["area"])}
        pairs = {name: tuple(told[name]) for name in ("read_px", "stride_px")}
        return TileGrid(**{**values, **pairs, "pixel_size": result.spec.place.pixel_size})
    except (KeyError, TypeError):
        return None


def _tissue(folder: Path, grid: TileGrid | None, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """Share of tissue of each tile; None where it is not told yet."""
    if grid is None or not (folder / TISSUE).is_file():
        return None
    mask = read_mask(folder / TISSUE)
    return tissue_share(grid, mask, MapPlace.of_thumbnail(mask.shape, size, grid.pixel_size))

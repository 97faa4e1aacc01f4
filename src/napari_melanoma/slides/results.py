"""Results of a slide: reading them again, areas of classes, and sentences that describe them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_class, format_count, format_significant
from napari_melanoma.core.geometry import MapPlacement, PixelSize, format_scale
from napari_melanoma.data.class_names import MALIGNANT, UNSPECIFIC, find_lesion_classes, read_class_name
from napari_melanoma.depth.tumor_maps import BENIGN_NAMES
from napari_melanoma.io.geojson import Annotation, Color
from napari_melanoma.io.results import HEATMAP, TISSUE, read_mask, read_slide_result
from napari_melanoma.io.slide_store import STORE, SlideResult, differing_settings
from napari_melanoma.models import DEFAULT_TILE_MODEL
from napari_melanoma.slides.lesions import (
    POSITIVE,
    ClippedCells,
    LesionMaps,
    area_noun,
    build_lesion_maps,
    clip_to_slide_end,
    is_lesion_class,
)
from napari_melanoma.slides.maps import SlideMaps, place_stitched, tile_maps, tissue_of_cells
from napari_melanoma.slides.options import SlideOptions, hashed_tile_settings
from napari_melanoma.slides.outlines import cell_polygons, simplify_cell_polygon
from napari_melanoma.slides.scores import SlideScoreConfig

MODEL_SETTINGS = ("weights", "predictions")  # hashes, of some models known only after loading
MIN_REGION_CELLS = 4  # smaller regions are left out
NOT_TUMOR = "Tissue, not tumor: "  # before the areas of a classifier without a class of tumor


def default_target(classes: Sequence[str], content: Mapping[str, Any]) -> str:
    """Return the class that the heatmap shows: the target of the result, else a malignant class, else the last.

    A class of tissue has precedence over background. Empty if there are no classes.

    ``content``: that of ``result.json``.
    """
    target = content.get("target")
    if target in classes:
        return str(target)
    lesions = [name for name in find_lesion_classes(classes) if read_class_name(name) in (*MALIGNANT, *UNSPECIFIC)]
    suspicious = [*lesions, *(name for name in classes if name.lower() == POSITIVE)]
    return next(iter(suspicious or reversed(list_tissue_classes(classes, content) or list(classes))), "")


def list_tissue_classes(classes: Sequence[str], content: Mapping[str, Any]) -> list[str]:
    """Return the classes that are not background, in the order of the model."""
    stated = (content.get("class_map") or {}).get("background")
    return [name for name in classes if name != stated and read_class_name(name) != "background"]


def score_method(content: Mapping[str, Any]) -> str:
    """Return how the tiles of a slide are pooled into its probability; empty if it has none.

    ``content``: that of ``result.json``.
    """
    scores, target = content.get("scores") or {}, content.get("target")
    methods = (content.get("probability_method"), "attention")
    return next((str(name) for name in methods if (scores.get(name) or {}).get(target) is not None), "")


def slide_probability(content: Mapping[str, Any]) -> float | None:
    """Return the probability of the target class for the whole slide; None if there is none."""
    method = score_method(content)
    value = content["scores"][method][content["target"]] if method else content.get("probability")
    return float(value) if value is not None and content.get("target") else None


def describe_slide_score(content: Mapping[str, Any]) -> str:
    """Describe the probability of a slide, never as a verdict; the areas of the classes of a tissue classifier.

    Of a classifier without a class of tumor, the text starts with ``NOT_TUMOR``.

    Such as ``melanoma 0.42, mean of the 10 highest tiles``; empty if there is neither.
    """
    if areas := content.get("areas"):
        return f"{NOT_TUMOR if lacks_tumor(content) else ''}{describe_class_areas(areas)}"
    probability = slide_probability(content)
    if probability is None:
        return ""
    method = score_method(content)
    pooling = f", {_describe_pooling(content, method)}" if method else ""
    return f"{format_class(content['target'])} {probability:.2f}{pooling}{_describe_prevalence(content)}"


def lacks_tumor(content: Mapping[str, Any]) -> bool:
    """Whether a tissue classifier has no class of tumor; earlier versions stored only the class of interest."""
    class_map, target = content.get("class_map") or {}, content.get("target")
    return not class_map.get("tumor", target) and not (target and is_lesion_class(target))


def describe_other_scale(content: Mapping[str, Any], size: PixelSize | None) -> str:
    """Return a warning if results were measured at another scale than that of the slide now; else empty."""
    if not content.get("mpp") or size is None or PixelSize(*content["mpp"]).is_close(size):
        return ""
    before, now = format_scale(*content["mpp"]), format_scale(size.y_um, size.x_um)
    return (
        f"Areas and lengths of this analysis were measured at {before} µm per pixel; the slide is now set to {now}. "
        "Analyze the slide again."
    )


def describe_other_scores(content: Mapping[str, Any]) -> str:
    """Describe the probabilities of a slide by other methods than that of the headline, as a sentence."""
    target, headline = content.get("target"), score_method(content)
    values = {name: (scores or {}).get(target) for name, scores in (content.get("scores") or {}).items()}
    others = [
        f"{_describe_pooling(content, name)} {value:.2f}"
        for name, value in values.items()
        if name != headline and value is not None
    ]
    return f"{format_class(str(target))}: {', '.join(others)}." if others and headline else ""


def _describe_pooling(content: Mapping[str, Any], method: str) -> str:
    """Return the name of a pooling of tiles, such as ``mean of the 10 highest tiles``."""
    score = (content.get("options") or {}).get("score") or {}
    count = int(score.get("top_k") or SlideScoreConfig().top_k)
    return {
        "top_k": f"mean of the {min(count, int(content.get('tiles_done') or count))} highest tiles",
        "maximum": "highest value",
        "attention": "attention over all tiles",
    }.get(method, "mean of all tiles")


def _describe_prevalence(content: Mapping[str, Any]) -> str:
    """Describe the prevalence to which a prediction was adjusted, and the prediction without the adjustment."""
    calibration = content.get("calibration") or {}
    stated = calibration.get("stated_prevalence")
    if stated is None or calibration.get("probability") is None:
        return ""
    unadjusted = f"{calibration.get('positive')} {calibration['probability']:.2f} without"
    return f", at a stated prevalence of {stated:g} ({unadjusted})"


def describe_prediction(content: Mapping[str, Any]) -> str:
    """Summarize the prediction for a slide in one line: its probability or the areas of its classes, and its lesions.

    ``content``: that of ``result.json`` with the lesions. Returns ``analyzed`` if the model predicts no probability.
    """
    score, lesions = describe_slide_score(content), content.get("lesions")
    target = str(content.get("target") or "")
    if not score or score_method(content) == "attention" or not target or lesions is None:
        return score or "analyzed"
    malignant = sum(lesion.get("label") == "malignant" for lesion in lesions)
    noun = area_noun(target)
    count = format_count(len(lesions), noun) + ("" if noun == "lesion" else f" of {format_class(target)}")
    return f"{score}; {count}{f', {malignant} malignant' if malignant else ''}"


def explain_no_target(content: Mapping[str, Any]) -> str:
    """Explain why a tissue classifier has detected no lesions; empty if it has, and for other models."""
    if content.get("target") or not content.get("areas"):
        return ""
    return f"'{(content.get('model') or {}).get('name')}' has no tumor class, so no lesions were detected."


def list_tumors(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rows of detected areas that may be a tumor: not those of benign lesions, nor of other structures.

    ``content``: that of ``result.json`` with the lesions. A tissue classifier may have a tumor class of any name;
    earlier versions stored only the class of interest, which was that of the tumor by default.
    """
    class_map = content.get("class_map") or {}
    tumor = class_map.get("tumor", content.get("target") if class_map else None)
    return [
        row
        for row in content.get("lesions") or ()
        if (label := str(row.get("label") or ""))
        and label not in BENIGN_NAMES
        and (is_lesion_class(label) or label == format_class(tumor or ""))
    ]


def read_lesion_maps(folder: Path, target: str, size: tuple[int, int] | None = None) -> LesionMaps:
    """Read the maps for detecting lesions, with a cell for each tile, or stitched if a dense model has finished.

    ``target``: class that lesions are detected with. ``size``: height and width of the slide in pixels of the finest
    level, for the share of tissue in each cell; without it, all cells count as tissue.
    """
    result = SlideResult.open(folder)
    classes = result.spec.classes
    if target not in classes:
        raise InputError(
            f"{folder.name} has predictions for {', '.join(classes) or 'no classes'}, not for '{target}'. Select one "
            "of these."
        )
    stitched = read_stitched_maps(folder, result)
    maps = stitched or tile_maps(result)
    tissue = None if stitched or size is None else _read_tissue_of_cells(folder, maps, size)
    is_dense = result.spec.kind == "dense"
    return build_lesion_maps(
        maps.probability, maps.placement, classes, target, is_dense=is_dense, tissue=tissue, end=maps.end
    )


def describe_difference(folder: Path, options: SlideOptions) -> str:
    """Describe how the settings of saved results differ from the requested options; empty if they do not."""
    from napari_melanoma.slides.model_loading import identify_model

    if not (folder / STORE).is_dir():
        return ""
    try:
        settings = SlideResult.open(folder).spec.settings
    except InputError:
        return "they cannot be read"
    expected: dict[str, Any]
    identity = identify_model(options.model or DEFAULT_TILE_MODEL, options.weights)
    if identity is None:  # until it is loaded
        model = settings.get("model") if options.model in _slide_model_names(folder) else options.model
        settings = {key: value for key, value in settings.items() if key not in MODEL_SETTINGS}
        expected = {"model": model}
    else:
        expected = identity.tile_settings
    requested = json.loads(json.dumps({**hashed_tile_settings(options), **expected}))
    descriptions = {
        "tissue_mask": "the tissue was corrected",
        "model": f"computed with {settings.get('model')}",
        **dict.fromkeys(MODEL_SETTINGS, f"computed with another version of {settings.get('model')}"),
    }
    changed = differing_settings(settings, requested)
    changed = tuple(key for key in changed if "model" not in changed or key not in MODEL_SETTINGS)
    return ", ".join(dict.fromkeys(descriptions.get(key, f"different {key.replace('_', ' ')}") for key in changed))


def _slide_model_names(folder: Path) -> tuple[str, ...]:
    """Return the requested and the actual name of the whole-slide model of a result; empty for other models.

    The settings in the store name only the encoder of a whole-slide model.
    """
    content = read_slide_result(folder)
    requested, actual = (content.get("options") or {}).get("model"), (content.get("model") or {}).get("name")
    return (str(requested), str(actual)) if content.get("encoder") else ()


def read_stitched_maps(folder: Path, result: SlideResult) -> SlideMaps | None:
    """Read the stitched maps of a dense model; None before its analysis is complete, or if they are damaged."""
    import tifffile

    if result.spec.kind != "dense" or not read_slide_result(folder):
        return None
    try:
        with tifffile.TiffFile(folder / HEATMAP) as tiff:
            maps = tiff.asarray()
    except (OSError, ValueError, tifffile.TiffFileError):
        return None
    maps = maps[None] if maps.ndim == 2 else maps  # tifffile drops the axis of a single class
    return place_stitched(result, maps) if len(maps) == len(result.spec.classes) else None


def _read_tissue_of_cells(folder: Path, maps: SlideMaps, size: tuple[int, int]) -> NDArray[np.float32] | None:
    if not (folder / TISSUE).is_file():
        return None
    mask = read_mask(folder / TISSUE)
    return tissue_of_cells(maps, mask, MapPlacement.from_thumbnail(mask.shape, size))


def measure_class_areas(maps: SlideMaps, classes: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Measure the area in which each class is the most probable one.

    Returns, by class, ``mm2`` (None without a scale) and ``percent`` of the analyzed area.
    """
    known = np.isfinite(maps.probability[0])
    cells = ClippedCells.clip(known, maps.placement, maps.end)
    shares = np.outer(cells.rows, cells.columns)[known]
    counts = np.bincount(maps.probability[:, known].argmax(axis=0), shares, minlength=len(classes))
    cell, total = maps.placement.cell_area_mm2, float(counts.sum()) or 1.0
    return {
        name: {"mm2": None if cell is None else count * cell, "percent": 100 * count / total}
        for name, count in zip(classes, counts.tolist(), strict=True)
    }


def describe_class_areas(areas: Mapping[str, Mapping[str, float | None]]) -> str:
    """Describe areas of classes, such as ``dermis 0.8 mm² (34 %), fat 1.5 mm² (66 %) of the analyzed area``.

    Background is part of that area. Empty without classes.
    """
    sizes = {
        name: "" if (mm2 := area["mm2"]) is None else f"{format_significant(mm2)} mm² " for name, area in areas.items()
    }
    texts = [f"{name} {sizes[name]}({area['percent']:.1f} %)" for name, area in areas.items()]
    return f"{', '.join(texts)} of the analyzed area" if areas else ""


def outline_classes(
    maps: SlideMaps, classes: Sequence[str], colors: Mapping[str, Color | None], min_cells: int = MIN_REGION_CELLS
) -> tuple[Annotation, ...]:
    """Outline the regions in which a class is the most probable one, one annotation for each region.

    ``min_cells``: smaller regions are left out, in cells of the map.
    """
    known = np.isfinite(maps.probability[0])
    labels = np.where(known, np.nan_to_num(maps.probability).argmax(axis=0), -1)
    min_area, size, regions = min_cells * maps.placement.cell_area_px, maps.placement.pixel_size, []
    for label, name in enumerate(classes):
        for polygon in cell_polygons(labels == label, maps.placement):
            if polygon.area >= min_area:
                shown = clip_to_slide_end(simplify_cell_polygon(polygon, maps.placement), maps.end)
                area_px = clip_to_slide_end(polygon, maps.end).area
                values = {} if size is None else {"area_mm2": area_px * size.pixel_area_mm2}
                regions.append(Annotation((shown,), name, colors.get(name), measurements=values))
    return tuple(regions)

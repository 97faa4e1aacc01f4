"""Files of results that an analysis computes from the tiles of a slide: scores, lesions, thickness, maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.files import atomic_file, remove_file, remove_folder, save_error, write_json
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.validity import Validity
from napari_melanoma.data.bags import ATTENTION
from napari_melanoma.data.class_names import find_lesion_classes
from napari_melanoma.io.geojson import write_geojson
from napari_melanoma.io.results import CLASS_REGIONS, HEATMAP, RESULT
from napari_melanoma.io.slide_store import DONE, FAILED, SlideResult
from napari_melanoma.slides.lesion_files import SavedLesions, remove_lesions, write_detected_lesions
from napari_melanoma.slides.lesions import (
    LesionMaps,
    SlideLesion,
    build_lesion_maps,
    find_lesions,
    is_lesion_class,
)
from napari_melanoma.slides.maps import SlideMaps, stitched_maps, tile_maps, tissue_of_cells
from napari_melanoma.slides.options import FILE_OPTIONS, SlideOptions
from napari_melanoma.slides.plan import AnalysisPlan
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.slides.results import MIN_REGION_CELLS, default_target, measure_class_areas, outline_classes
from napari_melanoma.slides.scores import SlideScoreConfig, score_slide
from napari_melanoma.slides.slide_prediction import attention_map
from napari_melanoma.slides.tile_models import TileModelInfo
from napari_melanoma.slides.tiling import tissue_share

SCORE_METHODS: tuple[Literal["mean", "maximum", "top_k"], ...] = ("mean", "maximum", "top_k")


@dataclass(frozen=True)
class SlideAnalysis:
    """The predicted tiles of a slide, and everything else that its outputs are computed from."""

    slide: SlideInfo
    model: TileModelInfo
    plan: AnalysisPlan
    options: SlideOptions
    result: SlideResult
    warnings: tuple[str, ...]
    seconds: float
    slide_prediction: dict[str, Any] | None = None  # values of result.json that a whole-slide model predicted
    validity: Validity = field(default_factory=Validity)

    @property
    def detects_lesions(self) -> bool:
        """Whether there is a class to detect lesions with, which a tissue classifier may lack."""
        return not self.model.is_tissue_classifier or bool(self.model.positive or self.options.target)


def write_outputs(analysis: SlideAnalysis, folder: Path, run: RunContext) -> dict[str, Any]:
    """Write lesions, heatmap and ``result.json`` of a slide; return its content with the lesions."""
    outputs: dict[str, Any] = {"probability": None, "scores": {}, "outlines": None, "target": None}
    saved: SavedLesions | None = None
    if analysis.slide_prediction is not None:
        maps = attention_map(analysis.result)
        assert maps is not None
        write_heatmap(folder / HEATMAP, maps, (ATTENTION,))
        outputs |= analysis.slide_prediction
    elif analysis.model.classes:
        is_dense = analysis.model.kind == "dense"
        if is_dense:
            maps = stitched_maps(analysis.result, analysis.plan.grid, run, analysis.model.smoothing)
        else:
            maps = tile_maps(analysis.result)
        write_heatmap(folder / HEATMAP, maps, analysis.model.classes)
        if analysis.model.is_tissue_classifier:
            outputs |= _write_class_regions(analysis, maps, folder)
        if analysis.model.kind == "regression":
            done = analysis.result.state == DONE
            means = analysis.result.probability[done].mean(axis=0).tolist() if done.any() else []
            outputs["scores"] = {"mean": dict(zip(analysis.model.classes, means, strict=False))}
        elif analysis.detects_lesions:
            target = target_class(analysis.model, analysis.options)
            saved, digest, note = _write_lesions(analysis, maps, target, folder)
            outputs |= {"target": target, "outlines": digest}
            is_tumor = target == analysis.model.positive or is_lesion_class(target)
            outputs |= _measure_depth(analysis, maps, saved.lesions if is_tumor else (), run)
            if not analysis.model.is_tissue_classifier:  # which predicts cells, not the slide
                outputs |= _scores(analysis, maps, target)
        if analysis.options.tumor_outlines is not None:
            outputs |= _measure_marked(analysis, maps, analysis.options.tumor_outlines, run)
    else:  # embeddings, on which a whole-slide model may have been applied before
        _remove_attention(analysis.result, folder / HEATMAP)
    if saved is None:
        note = remove_lesions(folder)
    warnings = [*analysis.warnings, *([note] if note else [])]
    content = {**_slide_content(analysis), **outputs, "warnings": warnings}
    write_json(folder / RESULT, content)
    return {**content, "lesions": []} if saved is None else saved.add_to(content)


def _remove_attention(result: SlideResult, heatmap: Path) -> None:
    """Remove the attention of a whole-slide model, whose prediction is replaced."""
    try:
        remove_file(heatmap)
        remove_folder(result.path / ATTENTION)
    except OSError as error:
        raise save_error(heatmap, error) from error


def _write_lesions(
    analysis: SlideAnalysis, maps: SlideMaps, target: str, folder: Path
) -> tuple[SavedLesions, str, str]:
    """Detect and write the lesions; return also the SHA-256 of their file, and a message on the backup of others."""
    lesion_maps, config = _lesion_maps(maps, analysis, target), analysis.options.lesions
    detected = SavedLesions(find_lesions(lesion_maps, config), target, config, "model")
    return write_detected_lesions(folder, detected, lesion_maps, analysis.validity)


def _write_class_regions(analysis: SlideAnalysis, maps: SlideMaps, folder: Path) -> dict[str, Any]:
    """Write the outlines of the classes of a tissue classifier; return their areas, colors and roles."""
    from napari_melanoma.models.bundle import read_bundle

    tissue = read_bundle(Path(analysis.model.bundle)).config.tissue
    colors, min_cells = ({}, MIN_REGION_CELLS) if tissue is None else (tissue.colors, tissue.min_region_cells)
    regions = outline_classes(maps, analysis.model.classes, colors, min_cells)
    write_geojson(folder / CLASS_REGIONS, regions, origin=analysis.slide.origin)
    roles = {} if tissue is None else tissue.roles
    hex_colors = {name: "#{:02x}{:02x}{:02x}".format(*color) for name, color in colors.items() if color is not None}
    class_map = {"colors": hex_colors, **{role: roles.get(role) for role in ("background", "tumor")}}
    return {"areas": measure_class_areas(maps, analysis.model.classes), "class_map": class_map}


def target_class(model: TileModelInfo, options: SlideOptions) -> str:
    """Return the class that heatmap, lesions and scores refer to; raise if the model does not predict it."""
    is_named = options.target or model.positive or model.is_tissue_classifier or model.kind == "regression"
    candidates = () if is_named else find_lesion_classes(model.classes)
    if len(candidates) > 1:
        raise ConfigError(
            f"'{model.name}' predicts several classes of lesions: {', '.join(candidates)}. Select one under "
            "Options, Class of interest, in the Slide dock (Python: options={'target': CLASS}, command line: --target "
            "CLASS)."
        )
    target = options.target or model.positive or default_target(model.classes, {})
    if target not in model.classes:
        raise ConfigError(
            f"target is '{target}', but '{model.name}' predicts {', '.join(model.classes)}. Select one of these."
        )
    return target


def _measure_depth(
    analysis: SlideAnalysis, maps: SlideMaps, lesions: Sequence[SlideLesion], run: RunContext
) -> dict[str, Any]:
    """Return the values of ``result.json`` on the thickness; all None unless the model predicts dense maps."""
    from napari_melanoma.slides.depth import NO_DEPTH, DepthMap, measure_slide_depth

    if analysis.model.kind != "dense":
        return dict(NO_DEPTH)
    model, values = analysis.model, analysis.result.array("map")
    classes = model.role_names or model.classes
    depth_map = DepthMap(values, classes, model.fingerprint, maps, painted=model.is_tissue_classifier)
    return measure_slide_depth(depth_map, lesions, run, analysis.validity)


def _measure_marked(analysis: SlideAnalysis, maps: SlideMaps, outlines: Path, run: RunContext) -> dict[str, Any]:
    """Return the values of ``result.json`` on the thickness of a tumor that a reader has outlined."""
    from napari_melanoma.slides.depth import DepthMap, measure_slide_depth
    from napari_melanoma.slides.marked_tumor import mark_tumor, read_tumor

    model = analysis.model
    depth_map = DepthMap(analysis.result.array("map"), model.role_names, model.fingerprint, maps)
    marked = mark_tumor(depth_map, read_tumor(outlines, analysis.slide.origin))
    return measure_slide_depth(marked, (), run, analysis.validity)


def _lesion_maps(maps: SlideMaps, analysis: SlideAnalysis, target: str) -> LesionMaps:
    is_dense, classes = analysis.model.kind == "dense", analysis.model.classes
    plan = analysis.plan
    # All cells of a stitched map that have a value count as tissue.
    tissue = None if is_dense else tissue_of_cells(maps, plan.tissue, plan.tissue_placement)
    return build_lesion_maps(
        maps.probability, maps.placement, classes, target, is_dense=is_dense, tissue=tissue, end=maps.end
    )


def _scores(analysis: SlideAnalysis, maps: SlideMaps, target: str) -> dict[str, Any]:
    """Score the slide by each method.

    The maximum is taken from the map that lesions are detected on, so that both agree.
    """
    result, classes, plan = analysis.result, analysis.model.classes, analysis.plan
    done = result.state == DONE
    values, shares = result.probability[done], tissue_share(result.boxes, plan.tissue, plan.tissue_placement)[done]
    chosen, index = analysis.options.score, classes.index(target)
    scores = {}
    for method in SCORE_METHODS:
        config = SlideScoreConfig(method=method, top_k=chosen.top_k, positive=index)
        score = score_slide(values, config, shares)
        if method == "maximum" and np.isfinite(maps.probability[index]).any():
            peak = np.unravel_index(np.nanargmax(maps.probability[index]), maps.probability.shape[1:])
            score = maps.probability[:, peak[0], peak[1]].astype(np.float64)
        scores[method] = dict(zip(classes, score.tolist(), strict=True))
    return {"probability": scores[chosen.method][target], "probability_method": chosen.method, "scores": scores}


def _slide_content(analysis: SlideAnalysis) -> dict[str, Any]:
    """Return the values of ``result.json`` that any model has: slide, model, tiles and options."""
    from napari_melanoma.slides.depth import NO_DEPTH

    slide, plan, result = analysis.slide, analysis.plan, analysis.result
    state, order = result.state, result.order
    states = state[order[:, 0], order[:, 1]]
    size = slide.pixel_size
    cell = plan.tissue_placement.cell_area_mm2
    return {
        "slide": slide.name,
        "file": slide.path.name,
        "fingerprint": slide.fingerprint,
        "validity": analysis.validity.to_json(),
        "mpp": None if size is None else [size.y_um, size.x_um],
        "mpp_source": None if size is None else size.source,
        "model": {
            "name": analysis.model.name,
            "fingerprint": analysis.model.fingerprint,
            "predictions": analysis.model.prediction_fingerprint,
            "kind": analysis.model.kind,
            "mpp": analysis.model.mpp,
        },
        "licence": analysis.model.licence,
        "tiles_done": int((states == DONE).sum()),
        "tiles_failed": int((states == FAILED).sum()),
        "tiles_total": len(order),
        "tile_mpp": plan.grid.mpp,
        "tissue_mm2": None if cell is None else float(plan.tissue.sum() * cell),
        **NO_DEPTH,
        "backend": result.spec.backend,
        "precision": result.spec.precision,
        "precision_difference": result.spec.precision_difference,
        "warnings": list(analysis.warnings),
        "seconds": analysis.seconds,
        "options": analysis.options.model_dump(mode="json", exclude={"weights", *FILE_OPTIONS}),
        "provenance": collect_provenance(),
    }


def write_heatmap(path: Path, maps: SlideMaps, classes: tuple[str, ...]) -> None:
    """Write maps as OME-TIFF: a channel for each class, and the position in micrometers if the scale is known."""
    import tifffile

    metadata: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": list(classes)}}
    if maps.placement.cell_um is not None:
        (step_y, step_x), (top, left) = maps.placement.cell_um, maps.placement.translate
        metadata |= {"PhysicalSizeY": step_y, "PhysicalSizeX": step_x}
        metadata |= {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
        positions = {"PositionY": [top] * len(classes), "PositionX": [left] * len(classes)}
        units = {"PositionYUnit": ["µm"] * len(classes), "PositionXUnit": ["µm"] * len(classes)}
        metadata["Plane"] = {**positions, **units}
    with atomic_file(path) as temporary:
        tifffile.imwrite(
            temporary, maps.probability, ome=True, photometric="minisblack", compression="zlib", metadata=metadata
        )

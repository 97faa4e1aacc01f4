"""Write a phantom slide: the pyramid, its truth as JSON, and its outlines as GeoJSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import atomic_file, write_json
from napari_melanoma.phantoms.slide.config import FIRST_LESION_LABEL, SlidePhantomConfig, TissueKind
from napari_melanoma.phantoms.slide.lesions import PhantomLesion
from napari_melanoma.phantoms.slide.plan import PhantomSlidePlan, SectionPlan, plan_slide
from napari_melanoma.phantoms.slide.render import write_pyramid
from napari_melanoma.phantoms.slide.shapes import Floats, polygon_area, polygon_perimeter

if TYPE_CHECKING:
    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.io.geojson import Annotation

FORMAT = 1
_NAMES = {"malignant": ("Melanoma", (200, 0, 0)), "benign": ("Naevus", (150, 110, 60))}
_LAYERS = {
    TissueKind.DERMIS: ("Tissue", (255, 170, 190)),
    TissueKind.KERATIN: ("Keratin", (240, 200, 120)),
    TissueKind.EPIDERMIS: ("Epidermis", (140, 60, 200)),
}


@dataclass(frozen=True)
class SlidePhantomFiles:
    """The files of a slide: image, truth and outlines."""

    image: Path
    truth: Path
    outlines: Path


def write_slide(
    config: SlidePhantomConfig, folder: Path, name: str, run: RunContext | None = None
) -> SlidePhantomFiles:
    """Generate a slide and write ``NAME.tif``, ``NAME.truth.json`` and ``NAME.geojson``; the slide last."""
    from napari_melanoma.io.geojson import write_geojson

    plan = plan_slide(config)
    files = SlidePhantomFiles(*(folder / f"{name}{suffix}" for suffix in (".tif", ".truth.json", ".geojson")))
    write_json(files.truth, describe_slide_truth(plan))
    write_geojson(files.outlines, make_annotations(plan))
    with atomic_file(files.image) as temporary:
        write_pyramid(plan, temporary, run or RunContext())
    return files


def describe_slide_truth(plan: PhantomSlidePlan) -> dict[str, Any]:
    """Describe the ground truth of a slide, as JSON values.

    Positions are (row, column) in pixels of level 0, from the outer corner of the first pixel.
    """
    sections = [_describe_section(plan, section) for section in plan.sections]
    malignant = [lesion for section in sections for lesion in section["lesions"] if lesion["class"] == "malignant"]
    thickest = max(malignant, key=lambda lesion: lesion["breslow_mm"], default=None)
    mpp = plan.config.mpp
    return {
        "format": FORMAT,
        "config": plan.config.model_dump(mode="json"),
        "look": plan.look.name,
        "family": plan.look.family,
        "mpp": mpp,
        "size": list(plan.config.size),
        "levels": plan.levels,
        "stain_vectors": np.round(plan.stains, 5).tolist(),
        "breslow_mm": thickest["breslow_mm"] if thickest else None,
        "breslow_perpendicular_mm": thickest["breslow_perpendicular_mm"] if thickest else None,
        "ulceration": bool(thickest and thickest["ulceration"]),
        "sections": sections,
        "pens": [
            {"ink": pen.ink, "line": _to_pixels(pen.line, mpp), "width_px": 2 * pen.half_width_um / mpp}
            for pen in plan.pens
        ],
        "defocus": _describe_spots(plan.defocus, mpp),
        "dust": len(plan.dust.x),
    }


def _to_pixels(points_um: Floats, mpp: float) -> list[list[float]]:
    """Convert points (x, y) in micrometers to (row, column) in pixels."""
    return [[round(float(y) / mpp, 2), round(float(x) / mpp, 2)] for x, y in points_um]


def _describe_spots(spots: Any, mpp: float) -> list[dict[str, Any]]:  # noqa: ANN401 - plan.Spots
    """Describe round areas by centers and radii."""
    return [
        {"centre": [round(float(y / mpp), 1), round(float(x / mpp), 1)], "radius_px": round(float(r / mpp), 1)}
        for x, y, r in zip(spots.x, spots.y, spots.radius, strict=True)
    ]


def _describe_section(plan: PhantomSlidePlan, section: SectionPlan) -> dict[str, Any]:
    """Ground truth of a section."""
    mpp = plan.config.mpp
    top, left, bottom, right = section.box
    return {
        "index": section.index,
        "box": [round(edge, 1) for edge in (top, left, bottom, right)],
        "width_mm": round((section.layers.end - section.layers.start) / 1000, 4),
        "curvature_per_mm": 1000 * section.frame.curvature,
        "rotation_deg": float(np.degrees(section.frame.angle)),
        "oblique_deg": plan.config.section.oblique_deg,
        "elastosis": section.elastosis,
        "folds": [_to_pixels(line, mpp) for line in section.folds],
        "lesions": [_describe_lesion(plan, section, lesion) for lesion in section.lesions],
    }


def _describe_lesion(plan: PhantomSlidePlan, section: SectionPlan, lesion: PhantomLesion) -> dict[str, Any]:
    """Ground truth of a lesion."""
    mpp, request = plan.config.mpp, lesion.request
    label = FIRST_LESION_LABEL + request.index
    own = [polygon for polygon, kind in zip(section.polygons, section.labels, strict=True) if kind == label]
    ends = np.array(lesion.depth_line) if lesion.depth_line else np.zeros((0, 2))
    line = section.frame.to_slide(ends[:, 0], ends[:, 1])
    thickness = lesion.breslow_um
    upright = float(np.cos(np.radians(plan.config.section.oblique_deg)))
    around = section.boxes[np.array(section.labels) == label]
    edges = [*around[:, :2].min(axis=0), *around[:, 2:].max(axis=0)] if len(around) else []
    return {
        "index": request.index,
        "class": request.kind,
        "breslow_mm": None if thickness is None else round(thickness / 1000, 4),
        "breslow_perpendicular_mm": None if thickness is None else round(thickness * upright / 1000, 4),
        "breslow_line": _to_pixels(line, mpp),
        "clark_level": _clark_level(section, lesion),
        "ulceration": lesion.ulcer is not None,
        "at_edge": _touches_edge(section, lesion),
        "area_mm2": round(sum(map(polygon_area, own)) * (mpp / 1000) ** 2, 6),
        "perimeter_mm": round(sum(map(polygon_perimeter, own)) * mpp / 1000, 4),
        "box": [round(float(edge), 1) for edge in edges],
        "nests": len(own),
        "necrosis": _describe_necrosis(section, lesion, mpp, sum(map(polygon_area, own))),
        "pigment": round(request.pigment, 4),
        "mitoses_per_mm2": round(request.mitoses_per_mm2, 3) if request.kind == "malignant" else 0.0,
    }


def _describe_necrosis(section: SectionPlan, lesion: PhantomLesion, mpp: float, whole_px: float) -> dict[str, Any]:
    """Area, share of the lesion, and outlines (row, column) in pixels of the necrosis."""
    dead = necrosis_outlines(section, lesion, mpp)
    size = sum(map(polygon_area, dead))
    return {
        "area_mm2": round(size * (mpp / 1000) ** 2, 6),
        "share": round(size / whole_px, 4) if dead else 0.0,
        "outlines": [np.round(polygon[:, ::-1], 1).tolist() for polygon in dead],
    }


def necrosis_outlines(section: SectionPlan, lesion: PhantomLesion, mpp: float) -> list[Floats]:
    """Return the outlines of a lesion's necrosis.

    ``mpp``: micrometers per pixel. Returns vertices (vertex, 2) as x, y in pixels of level 0.
    """
    return [section.frame.to_slide(*outline.T) / mpp for outline in lesion.necrosis]


def _touches_edge(section: SectionPlan, lesion: PhantomLesion) -> bool:
    """Whether the section's end or bottom cuts the lesion."""
    layers = section.layers
    return any(
        nest[:, 0].min() <= layers.start + 2
        or nest[:, 0].max() >= layers.end - 2
        or bool(np.any(nest[:, 1] >= layers.depth_at(layers.bottom, nest[:, 0]) - 2))
        for nest in lesion.nests
    )


def _clark_level(section: SectionPlan, lesion: PhantomLesion) -> int | None:
    """Clark level by the layers that the deepest point has reached; 170 micrometers below the junction is reticular."""
    if lesion.depth_line is None:
        return None
    along, deepest = np.array([lesion.depth_line[1][0]]), lesion.depth_line[1][1]
    layers = section.layers
    if deepest > float(layers.depth_at(layers.fat, along)[0]):
        return 5
    below = deepest - float(layers.depth_at(layers.junction, along)[0])
    return 4 if below > 250 else 3 if below > 170 else 2


def make_annotations(plan: PhantomSlidePlan) -> list[Annotation]:
    """Make annotations for QuPath: tissue, keratin and epidermis of each section, and each lesion."""
    from napari_melanoma.io.geojson import Annotation

    found = []
    for section in plan.sections:
        labelled = list(zip(section.labels, section.polygons, strict=True))
        for kind, (class_name, color) in _LAYERS.items():
            first = next(polygon for label, polygon in labelled if label == kind)
            found.append(Annotation((_make_polygon(first),), class_name, color, f"{class_name} {section.index + 1}"))
        for lesion in section.lesions:
            own = tuple(
                _make_polygon(polygon)
                for label, polygon in labelled
                if label == FIRST_LESION_LABEL + lesion.request.index
            )
            class_name, color = _NAMES[lesion.request.kind]
            name = f"{class_name} {section.index + 1}.{lesion.request.index + 1}"
            numbers = {"Breslow thickness mm": lesion.breslow_um / 1000} if lesion.breslow_um else {}
            if own:
                found.append(Annotation(own, class_name, color, name, numbers))
            if dead := tuple(map(_make_polygon, necrosis_outlines(section, lesion, plan.config.mpp))):
                found.append(Annotation(dead, "Necrosis", (230, 190, 90), name.replace(class_name, "Necrosis"), {}))
    return found


def _make_polygon(points: Floats) -> Polygon:
    """Convert vertices (x, y) to a polygon."""
    from napari_melanoma.core.polygons import Polygon, as_ring

    return Polygon(as_ring(points[:, ::-1]))

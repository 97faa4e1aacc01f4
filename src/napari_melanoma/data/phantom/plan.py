"""All that is decided about a phantom lesion before a pixel is drawn, and how it is told as the truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from napari_melanoma.data.phantom.config import LesionPhantomConfig
from napari_melanoma.data.phantom.place import place_lesions
from napari_melanoma.data.phantom.plane import Plane
from napari_melanoma.data.phantom.ruler import Ruler, place_ruler
from napari_melanoma.data.phantom.shape import Outline
from napari_melanoma.data.phantom.streams import stream
from napari_melanoma.data.phantom.traits import (
    ArtefactTraits,
    CameraTraits,
    LesionTraits,
    SceneTraits,
    SkinTraits,
    artefact_traits,
    camera_traits,
    scene_traits,
    skin_traits,
)


@dataclass(frozen=True)
class Plan:
    """What will be drawn: the configuration with every open value chosen, and where each thing lies."""

    config: LesionPhantomConfig
    scene: SceneTraits
    plane: Plane
    lesions: tuple[tuple[Outline, LesionTraits], ...]
    skin: SkinTraits
    artefacts: ArtefactTraits
    ruler: Ruler | None
    camera: CameraTraits


def plan_phantom(config: LesionPhantomConfig) -> Plan:
    """Choose all that the configuration leaves open."""
    scene, artefacts = scene_traits(config), artefact_traits(config)
    plane = Plane.of(config.size, scene.field_mm)
    lesions = tuple(place_lesions(config, plane))
    ruler = None
    if artefacts.ruler:
        outlines = [outline for outline, _ in lesions]
        ruler = place_ruler(plane, config.modality, outlines, stream(config.seed, "ruler", "place"))
    return Plan(config, scene, plane, lesions, skin_traits(config), artefacts, ruler, camera_traits(config))


def told(plan: Plan, area_px: int) -> dict[str, Any]:
    """Tell everything that was given or drawn, and what follows from it, in values that JSON can hold.

    ``area_px``: pixels of the mask. Positions are (row, column) in pixels; other units are in the names.
    """
    return {
        "seed": plan.config.seed,
        "modality": plan.config.modality,
        "size": list(plan.config.size),
        "pixel_size_um": 1000 * plan.plane.pixel_mm,
        "field_mm": plan.scene.field_mm,
        "skin_type": plan.scene.skin_type,
        "typology_angle_deg": plan.scene.angle,
        "blood": plan.scene.blood,
        "skin": asdict(plan.skin),
        "artefacts": asdict(plan.artefacts),
        "camera": asdict(plan.camera),
        "ruler": None if plan.ruler is None else _told_ruler(plan.ruler, plan.plane),
        "lesions": [_told_lesion(outline, traits, plan.plane) for outline, traits in plan.lesions],
        "area_px": area_px,
        "area_in_view_mm2": area_px * plan.plane.pixel_mm**2,
    }


def _told_lesion(outline: Outline, traits: LesionTraits, plane: Plane) -> dict[str, Any]:
    """Traits and geometry of one lesion."""
    truth = asdict(traits)
    del truth["centre"]
    return truth | {
        "centre_px": plane.to_pixels(np.array(outline.centre_mm)).tolist(),
        "axes_mm": list(outline.axes_mm),
        "rotation_deg": float(np.degrees(outline.rotation)),
        "area_mm2": outline.area_mm2,
    }


def _told_ruler(ruler: Ruler, plane: Plane) -> dict[str, Any]:
    """First and last tick, and the length between them."""
    first, last = plane.to_pixels(ruler.ends_mm()).tolist()
    return {"first_px": first, "last_px": last, "length_mm": ruler.ticks - 1}

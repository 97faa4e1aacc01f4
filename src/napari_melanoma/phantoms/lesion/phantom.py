"""Phantom lesions: synthetic photographs generated from a seed, with their exact masks and all parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.formats import TRUTH_SUFFIX
from napari_melanoma.phantoms import random_stream
from napari_melanoma.phantoms.lesion.camera import (
    APERTURE,
    RulerPlacement,
    add_bubbles,
    add_hairs,
    add_ink,
    add_ruler,
    expose,
    illuminate,
    place_ruler,
)
from napari_melanoma.phantoms.lesion.skin import LesionOutline, Plane, SkinTissue, add_lesion, add_skin, draw_outline
from napari_melanoma.phantoms.lesion.traits import (
    ArtifactTraits,
    CameraTraits,
    LesionPhantomConfig,
    LesionTraits,
    SceneTraits,
    SkinTraits,
    draw_artifact_traits,
    draw_camera_traits,
    draw_lesion_traits,
    draw_scene_traits,
    draw_skin_traits,
    find_melanin,
)


@dataclass(frozen=True)
class LesionPhantom:
    """A synthetic photograph and its ground truth.

    ``rgb`` is uint8 sRGB (row, column, channel). ``mask`` is bool (row, column), true where the center of the pixel is
    inside the outline of a lesion. ``parameters`` are JSON values, see ``describe_truth``.
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    parameters: dict[str, Any]
    pixel_size: PixelSize


@dataclass(frozen=True)
class LesionPhantomPlan:
    """The plan of a phantom: the configuration, all random choices and all positions."""

    config: LesionPhantomConfig
    scene: SceneTraits
    plane: Plane
    lesions: tuple[tuple[LesionOutline, LesionTraits], ...]
    skin: SkinTraits
    artefacts: ArtifactTraits
    ruler: RulerPlacement | None
    camera: CameraTraits


def lesion_phantom(config: LesionPhantomConfig | None = None) -> LesionPhantom:
    """Generate a phantom lesion, by default a dermoscopic one from seed 0."""
    plan = plan_lesion_phantom(config or LesionPhantomConfig())
    tissue, mask = _grow_tissue(plan)
    rgb = _take_photograph(plan, tissue)
    um = 1000 * plan.plane.pixel_mm
    return LesionPhantom(rgb, mask, describe_truth(plan, int(mask.sum())), PixelSize(um, um, "phantom"))


def lesion_phantoms(config: LesionPhantomConfig, count: int) -> Iterator[LesionPhantom]:
    """Generate phantoms one after the other, with increasing seeds that begin with that of the configuration."""
    for seed in range(config.seed, config.seed + count):
        yield lesion_phantom(config.model_copy(update={"seed": seed}))


def grow_lesion(config: LesionPhantomConfig, share: float) -> LesionPhantomConfig:
    """Return the configuration of the same photograph after the area of its first lesion has grown by a share."""
    plan = plan_lesion_phantom(config)
    outline, traits = plan.lesions[0]
    centre = tuple(at / extent + 0.5 for at, extent in zip(outline.center_mm, plan.plane.extent_mm, strict=True))
    grown = {**asdict(traits), "diameter_mm": traits.diameter_mm * math.sqrt(1 + share), "centre": centre}
    lesion = type(config.lesion).parse(grown, "the grown lesion")
    return config.model_copy(update={"field_mm": plan.scene.field_mm, "lesion": lesion})


def _grow_tissue(plan: LesionPhantomPlan) -> tuple[SkinTissue, NDArray[np.bool_]]:
    """Generate the skin and its lesions, and their mask."""
    scene, config = plan.scene, plan.config
    tissue = SkinTissue.blank(plan.plane.shape, find_melanin(scene.angle, scene.blood), scene.blood)
    add_skin(tissue, plan.plane, plan.skin, config.modality, config.seed)
    mask = np.zeros(plan.plane.shape, bool)
    for index, (outline, traits) in enumerate(plan.lesions):
        mask |= add_lesion(tissue, plan.plane, outline, traits, (config.seed, index))
    return tissue, mask


def _take_photograph(plan: LesionPhantomPlan, tissue: SkinTissue) -> NDArray[np.uint8]:
    """Illuminate the skin, add artifacts and expose the photograph."""
    plane, seed, modality = plan.plane, plan.config.seed, plan.config.modality
    light = illuminate(tissue, plane, plan.camera, modality, seed)
    if plan.artefacts.ink and plan.lesions:
        add_ink(light, plane, plan.lesions[0][0], random_stream(seed, "ink"))
    if plan.artefacts.hairs:
        add_hairs(light, plane, plan.artefacts.hairs, plan.scene.skin_type, random_stream(seed, "hairs"))
    if plan.artefacts.bubbles:
        add_bubbles(light, plane, plan.artefacts.bubbles, random_stream(seed, "bubbles"))
    if plan.ruler is not None:
        add_ruler(light, plane, plan.ruler, modality, random_stream(seed, "ruler", "paper"))
    return expose(light, plane, plan.camera, seed)


def plan_lesion_phantom(config: LesionPhantomConfig) -> LesionPhantomPlan:
    """Choose all values that the configuration does not set; raise ``ConfigError`` if the lesions do not fit."""
    scene, artefacts = draw_scene_traits(config), draw_artifact_traits(config)
    plane = Plane.from_size(config.size, scene.field_mm)
    lesions = tuple(place_lesions(config, plane))
    ruler = None
    if artefacts.ruler:
        outlines = [outline for outline, _ in lesions]
        ruler = place_ruler(plane, config.modality, outlines, random_stream(config.seed, "ruler", "place"))
    return LesionPhantomPlan(
        config, scene, plane, lesions, draw_skin_traits(config), artefacts, ruler, draw_camera_traits(config)
    )


def describe_truth(plan: LesionPhantomPlan, area_px: int) -> dict[str, Any]:
    """Describe all parameters, requested or random, and values derived from them, as JSON values.

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
        "ruler": None if plan.ruler is None else _describe_ruler(plan.ruler, plan.plane),
        "lesions": [_describe_lesion(outline, traits, plan.plane) for outline, traits in plan.lesions],
        "area_px": area_px,
        "area_in_view_mm2": area_px * plan.plane.pixel_mm**2,
    }


def _describe_lesion(outline: LesionOutline, traits: LesionTraits, plane: Plane) -> dict[str, Any]:
    truth = asdict(traits)
    del truth["centre"]
    return truth | {
        "centre_px": plane.to_pixels(np.array(outline.center_mm)).tolist(),
        "axes_mm": list(outline.axes_mm),
        "rotation_deg": float(np.degrees(outline.rotation)),
        "area_mm2": outline.area_mm2,
    }


def _describe_ruler(ruler: RulerPlacement, plane: Plane) -> dict[str, Any]:
    """Describe the first and the last tick, (row, column) in pixels, and the length between them."""
    first, last = plane.to_pixels(ruler.ends_mm()).tolist()
    return {"first_px": first, "last_px": last, "length_mm": ruler.ticks - 1}


def save_lesion_phantom(phantom: LesionPhantom, folder: Path, name: str) -> Path:
    """Write ``NAME.png``, ``NAME_mask.png`` (0 and 255) and ``NAME.truth.json``; return the path of the image."""
    from napari_melanoma.io.results import write_mask, write_rgb

    image = folder / f"{name}.png"
    write_rgb(image, phantom.rgb)
    write_mask(folder / f"{name}_mask.png", phantom.mask)
    write_json(folder / f"{name}{TRUTH_SUFFIX}", phantom.parameters)
    return image


_MAX_TRIES = 200


def place_lesions(config: LesionPhantomConfig, plane: Plane) -> list[tuple[LesionOutline, LesionTraits]]:
    """Choose the traits and the position of each lesion of a phantom; their fading borders do not overlap."""
    placed: list[tuple[LesionOutline, LesionTraits]] = []
    for index in range(config.lesions):
        traits = draw_lesion_traits(config, index, min(plane.extent_mm))
        placed.append(_place_lesion(config, plane, index, traits, [outline for outline, _ in placed]))
    return placed


def _place_lesion(
    config: LesionPhantomConfig, plane: Plane, index: int, traits: LesionTraits, placed: Sequence[LesionOutline]
) -> tuple[LesionOutline, LesionTraits]:
    """Find a position for one lesion; if the configuration does not set its size, it is reduced until it fits."""
    rng = random_stream(config.seed, "lesion", index, "place")
    for _ in range(20):
        outline = draw_outline(traits, random_stream(config.seed, "lesion", index, "shape"))
        for center in _candidate_centers(plane, outline, traits, rng):
            reach_mm = outline.radius_mm + 2.5 * traits.fade_mm + 0.3
            if all(math.dist(center, other.center_mm) > reach_mm + other.radius_mm for other in placed):
                return replace(outline, center_mm=center), traits
        if config.lesion.diameter_mm is not None:
            break
        traits = replace(traits, diameter_mm=0.88 * traits.diameter_mm)
    height, width = plane.extent_mm
    raise ConfigError(
        f"{config.lesions} lesions of {traits.diameter_mm:.1f} mm do not fit apart from each other into a view of "
        f"{width:.1f} x {height:.1f} mm. Request fewer or smaller ones, or a wider field_mm."
    )


def _candidate_centers(
    plane: Plane, outline: LesionOutline, traits: LesionTraits, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Return candidates for the center (y, x) in mm, those near the middle of the view first."""
    if traits.centre is not None:
        y, x = ((share - 0.5) * extent for share, extent in zip(traits.centre, plane.extent_mm, strict=True))
        return [(y, x)]
    margin = outline.radius_mm + traits.fade_mm
    room = [max(0.0, extent / 2 - margin) for extent in plane.extent_mm]
    radius = max(0.0, 0.97 * APERTURE * plane.extent_mm[1] - margin)
    spread = np.linspace(0.4, 1.0, _MAX_TRIES)[:, None]
    points = rng.uniform(-1, 1, (_MAX_TRIES, 2)) * room * spread
    return [(float(y), float(x)) for y, x in points if math.hypot(y, x) <= radius or not y or not x]

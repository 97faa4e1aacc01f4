"""Where the lesions lie: apart from each other and in full view, unless the user says where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.data.phantom.camera import APERTURE
from napari_melanoma.data.phantom.config import LesionPhantomConfig
from napari_melanoma.data.phantom.plane import Plane
from napari_melanoma.data.phantom.shape import Outline, draw_outline
from napari_melanoma.data.phantom.streams import stream
from napari_melanoma.data.phantom.traits import LesionTraits, lesion_traits

_TRIES = 200


def place_lesions(config: LesionPhantomConfig, plane: Plane) -> list[tuple[Outline, LesionTraits]]:
    """Draw the lesions of a phantom and find a place for each.

    Outline and traits of each lesion; no two come closer than their fading borders.
    """
    placed: list[tuple[Outline, LesionTraits]] = []
    for index in range(config.lesions):
        traits = lesion_traits(config, index, min(plane.extent_mm))
        placed.append(_place(config, plane, index, traits, [outline for outline, _ in placed]))
    return placed


def _place(
    config: LesionPhantomConfig, plane: Plane, index: int, traits: LesionTraits, others: Sequence[Outline]
) -> tuple[Outline, LesionTraits]:
    """Find a place for one lesion; one whose size was left open shrinks until it fits."""
    rng = stream(config.seed, "lesion", index, "place")
    for _ in range(20):
        outline = draw_outline(traits, stream(config.seed, "lesion", index, "shape"))
        for centre in _centres(plane, outline, traits, rng):
            if all(_apart(centre, outline.reach_mm + 2.5 * traits.fade_mm, other) for other in others):
                return replace(outline, centre_mm=centre), traits
        if config.lesion.diameter_mm is not None:
            break
        traits = replace(traits, diameter_mm=0.88 * traits.diameter_mm)
    height, width = plane.extent_mm
    raise ConfigError(
        f"{config.lesions} lesions of {traits.diameter_mm:.1f} mm do not fit apart from each other into a view of "
        f"{width:.1f} x {height:.1f} mm. Ask for fewer or smaller ones, or for a wider field_mm."
    )


def _centres(
    plane: Plane, outline: Outline, traits: LesionTraits, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Candidates for the centre (y, x) in mm, nearer to the middle at first."""
    if traits.centre is not None:
        at = [(share - 0.5) * extent for share, extent in zip(traits.centre, plane.extent_mm, strict=True)]
        return [(at[0], at[1])]
    margin = outline.reach_mm + traits.fade_mm
    room = [max(0.0, extent / 2 - margin) for extent in plane.extent_mm]
    radius = max(0.0, 0.97 * APERTURE * plane.extent_mm[1] - margin)
    spread = np.linspace(0.4, 1.0, _TRIES)[:, None]
    points = rng.uniform(-1, 1, (_TRIES, 2)) * room * spread
    return [(float(y), float(x)) for y, x in points if math.hypot(y, x) <= radius or not y or not x]


def _apart(centre_mm: tuple[float, float], reach_mm: float, other: Outline) -> bool:
    """Whether a lesion at a point, its border included, keeps clear of another."""
    return math.dist(centre_mm, other.centre_mm) > reach_mm + other.reach_mm + 0.3

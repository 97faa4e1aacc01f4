"""What a phantom will show: the options that were given, and a draw from the seed for all that was left open."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_melanoma.core.config import Config
from napari_melanoma.data.phantom.config import LesionPhantomConfig, Structure
from napari_melanoma.data.phantom.streams import stream


@dataclass(frozen=True)
class SceneTraits:
    """Width of the view, and the skin's type as Fitzpatrick 1 to 6, typology angle in degrees and blood (density)."""

    field_mm: float
    skin_type: int
    angle: float
    blood: float


@dataclass(frozen=True)
class LesionTraits:
    """One lesion; the fields are those of ``LesionOptions``."""

    diameter_mm: float
    elongation: float
    irregularity: float
    asymmetry: float
    variegation: float
    darkness: float
    fade_mm: float
    structure: Structure
    blotches: float
    veil: float
    height: float
    contrast: float
    centre: tuple[float, float] | None = None


@dataclass(frozen=True)
class SkinTraits:
    """The skin around; the fields are those of ``SkinOptions``."""

    mottling: float
    furrows: float
    freckles: float
    redness: float


@dataclass(frozen=True)
class ArtefactTraits:
    """What lies on the skin; the fields are those of ``ArtefactOptions``."""

    hairs: int
    ruler: bool
    bubbles: int
    ink: bool


@dataclass(frozen=True)
class CameraTraits:
    """How the picture is taken; the fields are those of ``CameraOptions``."""

    aperture: bool
    vignette: float
    gradient: float
    shine: float
    cast: float
    blur_mm: float
    noise: float


def scene_traits(config: LesionPhantomConfig) -> SceneTraits:
    """Choose the view and the skin; where a diameter is given and the view is not, the view makes room for it.

    Given or drawn.
    """
    from napari_melanoma.data.phantom.optics import TYPE_ANGLES

    rng = stream(config.seed, "scene")
    field_mm = rng.uniform(11, 20) if config.modality == "dermoscopic" else rng.uniform(24, 42)
    room = rng.uniform(1.9, 2.9) * max(1.0, config.size[1] / config.size[0])
    if config.lesion.diameter_mm is not None:
        field_mm = min(200.0, max(5.0, room * config.lesion.diameter_mm * math.sqrt(max(1, config.lesions))))
    skin_type = int(rng.integers(1, 7))
    share, blood = rng.random(), rng.uniform(0.14, 0.30)
    skin_type = config.skin_type or skin_type
    low, high = TYPE_ANGLES[skin_type]
    return SceneTraits(config.field_mm or field_mm, skin_type, low + share * (high - low), blood)


def lesion_traits(config: LesionPhantomConfig, index: int, view_mm: float) -> LesionTraits:
    """Choose how a lesion looks.

    Given or drawn.
    """
    rng = stream(config.seed, "lesion", index, "traits")
    macroscopic = config.modality == "macroscopic"
    share = rng.uniform(0.2, 0.42) if macroscopic else rng.uniform(0.34, 0.62)
    drawn = {
        "diameter_mm": max(0.5, share * view_mm / math.sqrt(max(1, config.lesions))),
        "elongation": 1 + 0.5 * rng.beta(2, 3),
        "irregularity": rng.beta(1.6, 2),
        "asymmetry": rng.beta(1.6, 2),
        "variegation": rng.beta(1.5, 1.8),
        "darkness": rng.beta(2.5, 2.5),
        "fade_mm": rng.uniform(0.15, 0.45) if not macroscopic else rng.uniform(0.2, 0.6),
        "structure": str(rng.choice(["network", "network", "globules", "homogeneous"])),
        "blotches": _often(rng, 0.5),
        "veil": _often(rng, 0.2) * (0.4 if macroscopic else 1.0),
        "height": _often(rng, 0.6),
        "contrast": 0.4 if macroscopic else 1.0,
    }
    values = _filled(config.lesion, drawn)
    return LesionTraits(**values | {"centre": values.get("centre") if index == 0 else None})


def skin_traits(config: LesionPhantomConfig) -> SkinTraits:
    """Choose what the skin around shows.

    Given or drawn.
    """
    rng = stream(config.seed, "skin", "traits")
    macroscopic = config.modality == "macroscopic"
    drawn = {
        "mottling": rng.uniform(0.3, 1.0),
        "furrows": rng.uniform(0.4, 1.0) if macroscopic else rng.uniform(0.1, 0.7),
        "freckles": _often(rng, 0.6 if macroscopic else 0.3),
        "redness": _often(rng, 0.6 if macroscopic else 0.4),
    }
    return SkinTraits(**_filled(config.skin, drawn))


def artefact_traits(config: LesionPhantomConfig) -> ArtefactTraits:
    """Choose what lies on the skin.

    Given or drawn.
    """
    rng = stream(config.seed, "artefacts", "traits")
    macroscopic = config.modality == "macroscopic"
    hairs, ruler, bubbles, ink = rng.random(4)
    drawn = {
        "hairs": int(hairs > 0.4) * int(rng.integers(2, 28)),
        "ruler": bool(ruler > 0.7),
        "bubbles": 0 if macroscopic else int(bubbles > 0.55) * int(rng.integers(2, 14)),
        "ink": bool(ink > (0.85 if macroscopic else 0.95)),
    }
    return ArtefactTraits(**_filled(config.artefacts, drawn))


def camera_traits(config: LesionPhantomConfig) -> CameraTraits:
    """Choose how the picture is taken.

    Given or drawn.
    """
    rng = stream(config.seed, "camera", "traits")
    macroscopic = config.modality == "macroscopic"
    drawn = {
        "aperture": bool(rng.random() > 0.55) and not macroscopic,
        "vignette": rng.uniform(0.0, 0.35) if macroscopic else rng.uniform(0.15, 0.8),
        "gradient": rng.uniform(0.2, 0.9) if macroscopic else rng.uniform(0.0, 0.4),
        "shine": rng.uniform(0.1, 0.9) if macroscopic else 0.0,
        "cast": rng.uniform(0.0, 0.6),
        "blur_mm": rng.uniform(0.03, 0.09) if macroscopic else rng.uniform(0.012, 0.035),
        "noise": rng.uniform(0.15, 0.6),
    }
    return CameraTraits(**_filled(config.camera, drawn))


def _often(rng: np.random.Generator, chance: float) -> float:
    """An amount that is 0 unless it happens; draws two numbers either way."""
    happens, amount = rng.random(2)
    return float(0.25 + 0.75 * amount) if happens < chance else 0.0


def _filled(options: Config, drawn: dict[str, Any]) -> dict[str, Any]:
    """The drawn values, replaced by those that were given."""
    return drawn | {key: value for key, value in options.model_dump().items() if value is not None}

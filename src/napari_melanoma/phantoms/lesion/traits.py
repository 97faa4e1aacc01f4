"""Options and traits (requested or random properties) of a phantom lesion, and the color of skin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.phantoms import random_stream

# A value for each pixel (row, column), or for each position along an axis; stored as float32.
Map = NDArray[np.floating[Any]]
PhantomModality = Literal["dermoscopic", "macroscopic"]
Structure = Literal["network", "globules", "homogeneous"]
Side = Annotated[int, Field(ge=16, le=8192)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class PhantomLesionOptions(Config):
    """Appearance of each lesion; ``None`` is chosen at random, for each lesion independently."""

    diameter_mm: Annotated[float, Field(ge=0.5, le=60)] | None = Field(
        None, description="diameter of the disk of equal area in mm"
    )
    centre: tuple[Share, Share] | None = Field(
        None,
        description="center of the first lesion as a fraction of height and width; it may extend outside the image",
    )
    elongation: Annotated[float, Field(ge=1, le=3)] | None = Field(None, description="longer over shorter axis")
    irregularity: Share | None = Field(None, description="irregularity of the border: 0 oval, 1 notched and lobed")
    asymmetry: Share | None = Field(None, description="difference between its halves, in shape and in color")
    variegation: Share | None = Field(None, description="number of colors: 0 one brown, 1 tan to black, red and gray")
    darkness: Share | None = Field(None, description="amount of pigment: 0 faint tan, 1 nearly black")
    fade_mm: Annotated[float, Field(ge=0.02, le=3)] | None = Field(
        None, description="half of the width over which the border fades, in mm"
    )
    structure: Structure | None = Field(None, description="pattern of the pigment")
    contrast: Share | None = Field(None, description="contrast of the pattern")
    blotches: Share | None = Field(None, description="dark structureless areas")
    veil: Share | None = Field(None, description="a blue-white veil over a part")
    height: Share | None = Field(None, description="elevation above the skin, visible in oblique light")


class SkinOptions(Config):
    """Appearance of the skin around the lesions; ``None`` is chosen at random."""

    mottling: Share | None = Field(None, description="uneven pigment and blood")
    furrows: Share | None = Field(None, description="relief: furrows and pores")
    freckles: Share | None = Field(None, description="small faint spots, not lesions")
    redness: Share | None = Field(None, description="red areas, not lesions")


class ArtifactOptions(Config):
    """Objects on the skin that are not lesions; ``None`` is chosen at random."""

    hairs: Annotated[int, Field(ge=0, le=200)] | None = Field(None, description="number of hairs")
    ruler: bool | None = Field(None, description="a scale with a tick each mm")
    bubbles: Annotated[int, Field(ge=0, le=100)] | None = Field(None, description="number of gel bubbles")
    ink: bool | None = Field(None, description="a pen line around the first lesion")


class CameraOptions(Config):
    """Properties of the exposure; ``None`` is chosen at random."""

    aperture: bool | None = Field(None, description="black outside of the round field of the dermatoscope")
    vignette: Share | None = Field(None, description="darkening of the corners")
    gradient: Share | None = Field(None, description="unevenness of the light from side to side")
    shine: Share | None = Field(None, description="specular reflections of the relief")
    cast: Share | None = Field(None, description="error of the white balance")
    blur_mm: Annotated[float, Field(ge=0, le=1)] | None = Field(None, description="sigma of the blur in mm on the skin")
    noise: Share | None = Field(None, description="noise of the sensor")


class LesionPhantomConfig(Config):
    """Options of a phantom lesion; equal values give the same lesion, and ``None`` is chosen at random by the seed.

    A size with the same ratio of height to width changes the resolution only: lesion and position are the same.
    """

    seed: int = Field(0, ge=0, description="seed of all random choices")
    modality: PhantomModality = Field("dermoscopic", description="type of photograph")
    size: tuple[Side, Side] = Field((450, 600), description="height and width in pixels")
    field_mm: Annotated[float, Field(ge=5, le=200)] | None = Field(None, description="width of the view in mm")
    skin_type: Annotated[int, Field(ge=1, le=6)] | None = Field(
        None, description="Fitzpatrick I to VI as 1 to 6; by default random"
    )
    lesions: int = Field(1, ge=0, le=12, description="number of lesions")
    lesion: PhantomLesionOptions = PhantomLesionOptions()
    skin: SkinOptions = SkinOptions()
    artefacts: ArtifactOptions = ArtifactOptions()
    camera: CameraOptions = CameraOptions()


# The optics of skin

# Linear sRGB of skin without pigment or blood.
DERMIS = np.array([0.80, 0.73, 0.68], np.float32)
# Absorption per unit in red, green, blue: melanin falls smoothly with wavelength, hemoglobin has its bands in green
# and blue and is nearly clear in red (Jacques 2013, doi:10.1088/0031-9155/58/11/R37). The power law of that review is
# flattened, as light that is absorbed less has traveled further; set so that types I to VI keep the hue of skin.
MELANIN = np.array([0.68, 1.00, 1.40], np.float32)
BLOOD = np.array([0.20, 1.00, 0.82], np.float32)
# Share of light that the uppermost layer returns before it meets pigment; it limits the saturation of dark skin.
SURFACE = np.float32(0.010)
# Linear sRGB of pigment seen through scattering dermis: the blue-white veil.
VEIL = np.array([0.27, 0.31, 0.38], np.float32)
# Individual typology angle in degrees, lower and upper end, for each of six classes from very light to dark: the limits
# of Chardon et al. 1991 (doi:10.1111/j.1467-2494.1991.tb00561.x), extended to dark skin by Del Bino and Bernerd 2013
# (doi:10.1111/bjd.12529). The angle measures color, and the Fitzpatrick type a reaction to the sun; the two agree on
# average only.
TYPE_ANGLES = {1: (57, 66), 2: (43, 53), 3: (30, 39), 4: (13, 25), 5: (-24, 4), 6: (-58, -36)}
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = _TO_XYZ.sum(axis=1)


def reflectance(melanin: Map, blood: Map) -> NDArray[np.float32]:
    """Calculate the color of skin.

    ``melanin``, ``blood``: optical density in green, natural logarithm, (row, column). Returns float32 linear sRGB
    (row, column, channel).
    """
    light = np.empty((*melanin.shape, 3), np.float32)
    for channel, (dermis, m, b) in enumerate(zip(DERMIS, MELANIN, BLOOD, strict=True)):
        light[..., channel] = SURFACE + dermis * np.exp(-(m * melanin + b * blood))
    return light


def typology_angle(linear: NDArray) -> NDArray:
    """Calculate the individual typology angle, atan2(L* - 50, b*), in degrees; it is smaller for darker skin."""
    _, y, z = np.moveaxis(np.cbrt(np.asarray(linear) @ _TO_XYZ.T / _WHITE), -1, 0)
    return np.degrees(np.arctan2(116 * y - 66, 200 * (y - z)))


@cache
def find_melanin(angle: float, blood: float) -> float:
    """Find the melanin with which skin has a typology angle in degrees, by inverse interpolation.

    ``blood`` and the result are optical densities as in ``reflectance``.
    """
    melanin = np.linspace(0, 5, 501, dtype=np.float32)
    angles = typology_angle(reflectance(melanin[None], np.full((1, 501), blood, np.float32)))[0]
    return float(np.interp(-angle, -angles, melanin))


def encode_srgb(linear: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Encode linear light as sRGB (IEC 61966-2-1), through a table.

    ``linear``: float32 of any shape, clipped to 0 to 1. Returns uint8 of the same shape.
    """
    steps = 1 << 13
    index = np.clip(linear * np.float32(steps - 1) + np.float32(0.5), 0, steps - 1).astype(np.uint16)
    return _srgb_table(steps)[index]


@cache
def _srgb_table(steps: int) -> NDArray[np.uint8]:
    """Return the 8-bit sRGB value for each step of linear light."""
    linear = np.linspace(0, 1, steps)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)


# Traits


@dataclass(frozen=True)
class SceneTraits:
    """Width of the view, Fitzpatrick type 1 to 6, typology angle in degrees, and blood as optical density."""

    field_mm: float
    skin_type: int
    angle: float
    blood: float


@dataclass(frozen=True)
class LesionTraits:
    """One lesion; the fields are those of ``PhantomLesionOptions``."""

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
class ArtifactTraits:
    """Objects on the skin; the fields are those of ``ArtifactOptions``."""

    hairs: int
    ruler: bool
    bubbles: int
    ink: bool


@dataclass(frozen=True)
class CameraTraits:
    """Properties of the exposure; the fields are those of ``CameraOptions``."""

    aperture: bool
    vignette: float
    gradient: float
    shine: float
    cast: float
    blur_mm: float
    noise: float


def draw_scene_traits(config: LesionPhantomConfig) -> SceneTraits:
    """Choose the view and the skin; if only the diameter of the lesion is requested, the view is wide enough for it."""
    rng = random_stream(config.seed, "scene")
    field_mm = rng.uniform(11, 20) if config.modality == "dermoscopic" else rng.uniform(24, 42)
    room = rng.uniform(1.9, 2.9) * max(1.0, config.size[1] / config.size[0])
    if config.lesion.diameter_mm is not None:
        field_mm = min(200.0, max(5.0, room * config.lesion.diameter_mm * math.sqrt(max(1, config.lesions))))
    skin_type = int(rng.integers(1, 7))
    share, blood = rng.random(), rng.uniform(0.14, 0.30)
    skin_type = config.skin_type or skin_type
    low, high = TYPE_ANGLES[skin_type]
    return SceneTraits(config.field_mm or field_mm, skin_type, low + share * (high - low), blood)


def draw_lesion_traits(config: LesionPhantomConfig, index: int, view_mm: float) -> LesionTraits:
    """Choose the appearance of a lesion; ``view_mm``: shorter side of the view."""
    rng = random_stream(config.seed, "lesion", index, "traits")
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
        "blotches": _draw_optional(rng, 0.5),
        "veil": _draw_optional(rng, 0.2) * (0.4 if macroscopic else 1.0),
        "height": _draw_optional(rng, 0.6),
        "contrast": 0.4 if macroscopic else 1.0,
    }
    values = _apply_options(config.lesion, drawn)
    return LesionTraits(**values | {"centre": values.get("centre") if index == 0 else None})


def draw_skin_traits(config: LesionPhantomConfig) -> SkinTraits:
    rng = random_stream(config.seed, "skin", "traits")
    macroscopic = config.modality == "macroscopic"
    drawn = {
        "mottling": rng.uniform(0.3, 1.0),
        "furrows": rng.uniform(0.4, 1.0) if macroscopic else rng.uniform(0.1, 0.7),
        "freckles": _draw_optional(rng, 0.6 if macroscopic else 0.3),
        "redness": _draw_optional(rng, 0.6 if macroscopic else 0.4),
    }
    return SkinTraits(**_apply_options(config.skin, drawn))


def draw_artifact_traits(config: LesionPhantomConfig) -> ArtifactTraits:
    rng = random_stream(config.seed, "artefacts", "traits")
    macroscopic = config.modality == "macroscopic"
    hairs, ruler, bubbles, ink = rng.random(4)
    drawn = {
        "hairs": int(hairs > 0.4) * int(rng.integers(2, 28)),
        "ruler": bool(ruler > 0.7),
        "bubbles": 0 if macroscopic else int(bubbles > 0.55) * int(rng.integers(2, 14)),
        "ink": bool(ink > (0.85 if macroscopic else 0.95)),
    }
    return ArtifactTraits(**_apply_options(config.artefacts, drawn))


def draw_camera_traits(config: LesionPhantomConfig) -> CameraTraits:
    rng = random_stream(config.seed, "camera", "traits")
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
    return CameraTraits(**_apply_options(config.camera, drawn))


def _draw_optional(rng: np.random.Generator, chance: float) -> float:
    """Choose the amount of a trait that is present with a probability, else 0; always uses two random numbers."""
    presence, amount = rng.random(2)
    return float(0.25 + 0.75 * amount) if presence < chance else 0.0


def _apply_options(options: Config, drawn: dict[str, Any]) -> dict[str, Any]:
    """Replace random values by requested ones."""
    return drawn | {key: value for key, value in options.model_dump().items() if value is not None}

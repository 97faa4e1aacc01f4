"""From the illuminated skin to the photograph: relief, light, vignette, aperture, white balance, blur and noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.phantoms.lesion.artifacts import Light
from napari_melanoma.phantoms.lesion.skin import SkinTissue
from napari_melanoma.phantoms.lesion.traits import VEIL, CameraTraits, PhantomModality, encode_srgb, reflectance
from napari_melanoma.phantoms.plane import Map, Plane, noise, ramp, random_stream

# Radius of the round field over the width of the view.
APERTURE = 0.485


def illuminate(tissue: SkinTissue, plane: Plane, traits: CameraTraits, modality: PhantomModality, seed: int) -> Light:
    """Calculate the light reflected by the skin, without artifacts.

    ``plane``: its pixels. Returns float32 linear sRGB (row, column, channel).
    """
    light = reflectance(tissue.melanin, tissue.blood)
    light += tissue.veil[..., None] * (_veil_color(tissue) - light)
    if modality == "macroscopic" or traits.shine > 0:
        rng = random_stream(seed, "camera", "relief")
        shade, glint = _relief(tissue.relief_mm, plane, rng)
        light *= shade[..., None]
        light += np.float32(0.35 * traits.shine) * glint[..., None]
    return light


def expose(light: Light, plane: Plane, traits: CameraTraits, seed: int) -> NDArray[np.uint8]:
    """Simulate the exposure of the photograph.

    ``light``: float32 linear sRGB (row, column, channel) of the scene in even light; changed in place. ``plane``: its
    pixels. Returns uint8 sRGB (row, column, channel).
    """
    light *= _illumination(plane, traits, random_stream(seed, "camera", "light"))[..., None]
    light *= _white_balance(traits.cast, random_stream(seed, "camera", "cast"))
    if traits.aperture:
        light *= _aperture(plane)[..., None]
        light += np.float32(0.004)
    light = _blur(light, traits.blur_mm / plane.pixel_mm)
    return encode_srgb(_add_noise(light, traits.noise, random_stream(seed, "camera", "noise")))


def _veil_color(tissue: SkinTissue) -> NDArray[np.float32]:
    """Color of the veil, darker on darker skin."""
    melanin, blood = (np.full((1, 1), value, np.float32) for value in tissue.base)
    return VEIL * (np.float32(0.15) + np.float32(1.5) * reflectance(melanin, blood).mean())


def _relief(height_mm: Map, plane: Plane, rng: np.random.Generator) -> tuple[Map, Map]:
    """Shading by slanting light, about 1, and specular glints, 0 to 1."""
    slope_y, slope_x = (slope / np.float32(plane.pixel_mm) for slope in np.gradient(height_mm))
    azimuth, elevation = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(42, 60))
    toward = np.array([math.sin(azimuth), math.cos(azimuth)], np.float32) / np.float32(math.tan(elevation))
    lean = slope_y * toward[0] + slope_x * toward[1]
    shade = np.clip(1 - np.float32(0.75) * lean, 0.45, 1.5)
    patchy = ramp(noise(plane, rng, 3.5) + np.float32(0.6) * noise(plane, rng, 0.25), 0.5, 2.4)
    return shade, ramp(-lean, 0.02, 0.5) * patchy


def _illumination(plane: Plane, traits: CameraTraits, rng: np.random.Generator) -> Map:
    """Light from one side, and darker corners."""
    half = math.hypot(*plane.extent_mm) / 2
    y, x = plane.y[:, None] / np.float32(half), plane.x[None] / np.float32(half)
    direction = rng.uniform(0, 2 * math.pi)
    slant = (y * math.sin(direction) + x * math.cos(direction)).astype(np.float32)
    uneven = np.float32(traits.gradient) * (np.float32(0.42) * slant - np.float32(0.14) * slant * slant)
    radius = np.sqrt(y * y + x * x)
    corners = np.float32(0.75 * traits.vignette) * radius**3
    return np.float32(rng.uniform(1.02, 1.25)) * (1 + uneven) * (1 - corners)


def _white_balance(cast: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Gains of red, green and blue: warmer or colder, greener or pinker."""
    warm, pink = np.clip(rng.normal(0, (0.16, 0.05)), -0.28, 0.28) * cast
    return np.exp(np.array([warm + pink, -pink, -warm + pink], np.float32))


def _aperture(plane: Plane) -> Map:
    """1 within the round field, 0 outside, with a soft edge."""
    radius = np.hypot(plane.y[:, None], plane.x[None])
    edge = APERTURE * plane.extent_mm[1]
    return ramp(radius, edge * 1.012, edge * 0.985)


def _blur(light: Light, sigma_px: float) -> Light:
    """Blur; less than 0.2 pixels is skipped as invisible."""
    from scipy.ndimage import gaussian_filter

    if sigma_px < 0.2:
        return light
    return np.stack([gaussian_filter(channel, sigma_px, truncate=3) for channel in np.moveaxis(light, -1, 0)], axis=-1)


def _add_noise(light: Light, amount: float, rng: np.random.Generator) -> Light:
    """Noise that grows with the square root of the light, mostly equal in the three channels."""
    if amount == 0:
        return light
    grain = rng.standard_normal(light.shape, dtype=np.float32)
    grain += np.float32(0.66) * grain.sum(axis=-1, keepdims=True)
    grain *= np.float32(0.011 * amount) * np.sqrt(np.maximum(light, np.float32(1e-4)))
    grain += light
    return grain

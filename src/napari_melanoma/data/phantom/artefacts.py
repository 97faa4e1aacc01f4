"""What lies on the skin: hairs, gel bubbles and a pen line; they cover the lesion, and the truth ignores them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.phantom.plane import Map, Plane, noise, ramp
from napari_melanoma.data.phantom.shape import Outline
from napari_melanoma.data.phantom.strokes import bezier, draw_stroke

Light = NDArray[np.float32]
# Linear sRGB from black to fair hair.
_DARK_HAIR, _FAIR_HAIR = np.array([0.008, 0.006, 0.005]), np.array([0.20, 0.12, 0.06])
_INK = np.array([0.13, 0.06, 0.42], np.float32)


def cover(light: Light, coverage: Map, colour: NDArray) -> None:
    """Lay a colour over the image.

    ``light``: float32 linear sRGB (row, column, channel), changed in place. ``coverage``: share of the colour, 0 to 1,
    (row, column).
    """
    seen = coverage > 0
    under = light[seen]
    light[seen] = under + coverage[seen][:, None] * (colour.astype(np.float32) - under)


def add_hairs(light: Light, plane: Plane, count: int, skin_type: int, rng: np.random.Generator) -> None:
    """Lay hairs on the skin: curved, tapered, mostly along one direction, some with a highlight.

    ``light``: float32 linear sRGB (row, column, channel), changed in place. ``plane``: its pixels.
    """
    lie = rng.uniform(0, 2 * math.pi)
    fair = rng.uniform(0, 0.9) if skin_type <= 2 else rng.uniform(0, 0.12)
    hair, gloss, shadow = (np.zeros(plane.shape, np.float32) for _ in range(3))
    for _ in range(count):
        curve, half_width = _hair(plane, lie, rng)
        side = np.array([-1.0, 0.6]) * half_width[:, None]
        draw_stroke(shadow, curve - 1.6 * side, 1.2 * half_width)
        draw_stroke(hair, curve, half_width)
        start = int(rng.integers(4, 40))
        shiny = slice(start, start + int(rng.integers(6, 22)))
        draw_stroke(gloss, (curve + 0.4 * side)[shiny], 0.22 * half_width[shiny])
    colour = _DARK_HAIR + fair * (_FAIR_HAIR - _DARK_HAIR)
    light *= 1 - np.float32(0.16) * shadow[..., None]
    cover(light, np.float32(0.97) * hair, colour)
    cover(light, np.float32(0.4) * gloss * hair, colour + 0.22)


def _hair(plane: Plane, lie: float, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Curve (n, 2) and half widths (n,) in pixels of one hair, thick at its root, thin at its tip."""
    root = (rng.random(2) - 0.5) * plane.extent_mm
    length, direction, bend = rng.uniform(2.5, 11), lie + rng.normal(0, 0.45), rng.normal(0, 0.13)
    if rng.random() < 0.12:
        direction += math.pi / 2
    heading = np.array([math.sin(direction), math.cos(direction)])
    sideways = np.array([heading[1], -heading[0]])
    corners = np.stack([root, root + length * (heading / 2 + bend * sideways), root + length * heading])
    curve = bezier(plane.to_pixels(corners))
    taper = np.clip(np.linspace(1.0, -0.05, len(curve)), 0.12, None) ** 0.6
    return curve, taper * rng.uniform(0.024, 0.046) / plane.pixel_mm


def add_bubbles(light: Light, plane: Plane, count: int, rng: np.random.Generator) -> None:
    """Put bubbles of air into the gel, near each other: a bright rim, a darker ring within it, a glint.

    ``light``: float32 linear sRGB (row, column, channel), changed in place. ``plane``: its pixels.
    """
    home = (rng.random(2) - 0.5) * plane.extent_mm
    for _ in range(count):
        radius = float(np.clip(rng.lognormal(-1.25, 0.55), 0.08, 1.1))
        centre = home + rng.normal(0, 2.6, 2)
        glint = rng.uniform(0, 2 * math.pi)
        box = plane.box_around((float(centre[0]), float(centre[1])), 1.3 * radius)
        part = plane.crop(box)
        if box.height and box.width:
            _bubble(light[box.slices], part, centre, radius, glint)


def _bubble(light: Light, part: Plane, centre: NDArray, radius: float, glint: float) -> None:
    """Draw one bubble on its part of the image."""
    y, x = (part.y[:, None] - centre[0]) / radius, (part.x[None] - centre[1]) / radius
    r = np.hypot(y, x).astype(np.float32)
    soft = 0.8 * part.pixel_mm / radius
    rim = ramp(np.abs(r - 0.95), 0.05 + soft, 0.0)
    ring = ramp(r, 0.55, 0.86) * ramp(r, 0.97, 0.90)
    light_side = 0.55 + 0.45 * (y * math.sin(glint) + x * math.cos(glint)) / np.maximum(r, 1e-3)
    spot = ramp(np.hypot(y - 0.55 * math.sin(glint), x - 0.55 * math.cos(glint)).astype(np.float32), 0.16 + soft, 0.0)
    light *= (1 - np.float32(0.22) * ring + np.float32(0.07) * ramp(r, 0.9, 0.4))[..., None]
    cover(light, (np.float32(0.62) * rim * light_side).astype(np.float32), np.ones(3))
    cover(light, (np.float32(0.85) * spot).astype(np.float32), np.ones(3))


def add_ink(light: Light, plane: Plane, outline: Outline, rng: np.random.Generator) -> None:
    """Draw a surgeon's pen line around a lesion, at a distance, with gaps and uneven ink.

    ``light``: float32 linear sRGB (row, column, channel), changed in place. ``plane``: its pixels.
    """
    angle = np.linspace(0, 2 * math.pi * rng.uniform(0.55, 0.98), 160) + rng.uniform(0, 2 * math.pi)
    phase, wave = rng.uniform(0, 2 * math.pi, 2), rng.uniform(0.02, 0.07, 2)
    radius = outline.reach_mm * rng.uniform(1.12, 1.3) + rng.uniform(0.3, 0.8)
    radius *= 1 + wave[0] * np.cos(2 * angle + phase[0]) + wave[1] * np.cos(3 * angle + phase[1])
    points = outline.centre_mm + radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    line = np.zeros(plane.shape, np.float32)
    draw_stroke(line, plane.to_pixels(points), np.full(160, rng.uniform(0.18, 0.36) / plane.pixel_mm))
    flow = np.clip(0.62 + 0.22 * noise(plane, rng, 0.8) + 0.15 * noise(plane, rng, 0.15), 0.05, 0.95)
    light *= 1 - (line * flow)[..., None] * (1 - _INK)

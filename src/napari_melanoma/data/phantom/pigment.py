"""Colour and structure inside a lesion: zones of brown, red and grey, network, globules, blotches and veil."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.phantom.cells import cells_on
from napari_melanoma.data.phantom.plane import Map, Plane, fractal, noise, ramp
from napari_melanoma.data.phantom.shape import Outline
from napari_melanoma.data.phantom.streams import stream
from napari_melanoma.data.phantom.tissue import Tissue
from napari_melanoma.data.phantom.traits import LesionTraits

# How far beyond its half-way line a border still fades, in units of the longest fade.
_SKIRT = 2.0


@dataclass(frozen=True)
class Body:
    """Where a lesion is, on its part of the plane, float32 (row, column).

    ``share`` rises through the border from 0 to 1 and is 0.5 on the outline, ``middle`` falls from 1 at the centre to 0
    at the outline, ``inside`` is the truth.
    """

    share: Map
    middle: Map
    inside: NDArray[np.bool_]


def add_lesion(
    tissue: Tissue, plane: Plane, outline: Outline, traits: LesionTraits, name: tuple[int, int]
) -> NDArray[np.bool_]:
    """Add one lesion to the skin.

    ``plane``: its pixels. Returns bool (row, column): the pixels whose centre lies within the outline, where the border
    has half its strength.
    """
    box = plane.box_around(outline.centre_mm, outline.reach_mm + _SKIRT * 2 * traits.fade_mm)
    part, patch = plane.crop(box), tissue.crop(box)
    mask = np.zeros(plane.shape, bool)
    if box.height and box.width:
        body = _body(part, outline, traits)
        _colour(patch, part, body, traits, name)
        _add_structure(patch, part, body, traits, name)
        _scatter(patch, part, body, traits, name)
        _raise(patch, part, body, traits, name)
        mask[box.slices] = body.inside
    return mask


def _body(plane: Plane, outline: Outline, traits: LesionTraits) -> Body:
    """Place the outline on the plane."""
    depth, radius, softness = outline.depth(plane)
    half = np.float32(traits.fade_mm) * np.clip(softness, 0.4, _SKIRT)
    return Body(ramp(depth / half, -1, 1), 1 - np.clip(radius, 0, 1), depth > 0)


def _stream(name: tuple[int, int], element: str) -> np.random.Generator:
    """Random stream of one element of one lesion."""
    return stream(name[0], "lesion", name[1], element)


def _colour(patch: Tissue, plane: Plane, body: Body, traits: LesionTraits, name: tuple[int, int]) -> None:
    """Even pigment with darker and lighter zones, one side darker than the other, and red areas."""
    rng = _stream(name, "colour")
    scale_mm = traits.diameter_mm / 5
    zones = fractal(plane, rng, scale_mm, 4)
    tilt = _tilt(plane, rng, traits)
    grain = noise(plane, rng, 0.1) * np.float32(0.07)
    spread = np.float32(0.14 + 0.5 * traits.variegation)
    density = np.float32(0.4 + 1.7 * traits.darkness)
    profile = np.float32(0.72) + np.float32(0.45) * ramp(body.middle, 0, 0.8)
    pigment = density * profile * np.exp(np.clip(spread * zones + tilt, -1.1, 0.9) + grain)
    red = ramp(fractal(plane, rng, scale_mm, 3), 0.2, 1.6) * np.float32(traits.variegation)
    patch.melanin += body.share * pigment * (1 - np.float32(0.55) * red)
    patch.blood += body.share * (np.float32(0.16) + np.float32(0.75) * red)


def _raise(patch: Tissue, plane: Plane, body: Body, traits: LesionTraits, name: tuple[int, int]) -> None:
    """Let the lesion rise over the skin, a little bumpy."""
    bumps = 1 + np.float32(0.25) * noise(plane, _stream(name, "relief"), 0.5)
    height_mm = 0.05 * traits.height * traits.diameter_mm
    patch.relief_mm += np.float32(height_mm) * bumps * ramp(body.middle, 0, 0.5)


def _tilt(plane: Plane, rng: np.random.Generator, traits: LesionTraits) -> Map:
    """Logarithmic change of the pigment from one side of the lesion to the other, about -0.8 to 0.8 at most."""
    angle = rng.uniform(0, 2 * np.pi)
    y = plane.y[:, None] - plane.y.mean()
    x = plane.x[None] - plane.x.mean()
    along = (y * np.float32(np.sin(angle)) + x * np.float32(np.cos(angle))) / np.float32(traits.diameter_mm / 2)
    return along * np.float32(0.55 * traits.asymmetry)


def _add_structure(patch: Tissue, plane: Plane, body: Body, traits: LesionTraits, name: tuple[int, int]) -> None:
    """Add the pattern of the pigment."""
    rng = _stream(name, traits.structure)
    if traits.structure == "network":
        pattern = _network(plane, body, traits, rng)
    elif traits.structure == "globules":
        pattern = _globules(plane, body, rng)
    else:
        pattern = np.float32(0.25) * fractal(plane, rng, 0.35, 3)
    strength = traits.contrast * (0.45 + 0.55 * traits.darkness)
    patch.melanin += np.float32(strength) * body.share * np.maximum(pattern, -0.5)


def _network(plane: Plane, body: Body, traits: LesionTraits, rng: np.random.Generator) -> Map:
    """Brown lines around paler holes, thinner towards the border; wider and less even in irregular lesions."""
    cells = cells_on(plane, rng, rng.uniform(0.24, 0.38), 0.39, 0.06 + 0.06 * traits.irregularity)
    width = np.float32(0.13) + np.float32(0.06) * np.clip(noise(plane, rng, 0.6), -1.6, 2.5)
    lines = ramp(cells.edge - width, 0.12, -0.12)
    strength = np.clip(0.85 + 0.4 * noise(plane, rng, 0.9), 0.1, 1.7) * (1 - np.float32(0.55) * body.middle)
    hole = np.float32(0.3) + np.float32(0.3) * cells.value
    return (lines * np.float32(1.1) - hole) * strength


def _globules(plane: Plane, body: Body, rng: np.random.Generator) -> Map:
    """Round dark spots of 0.1 to 0.3 mm, in clusters."""
    cells = cells_on(plane, rng, rng.uniform(0.24, 0.36), 0.39, 0.09)
    size = np.float32(0.16) + np.float32(0.30) * cells.value**2
    tone = np.float32(0.5) + np.float32(0.9) * np.mod(cells.value * np.float32(5.7), 1)
    crowd = np.clip(0.6 + 0.5 * noise(plane, rng, 0.9) + 0.3 * (1 - body.middle), 0, 1.3)
    return ramp(cells.nearest / size, 1.15, 0.35) * tone * crowd - np.float32(0.12)


def _scatter(patch: Tissue, plane: Plane, body: Body, traits: LesionTraits, name: tuple[int, int]) -> None:
    """Dark blotches, and a veil over a part of the middle."""
    rng = _stream(name, "blotches")
    if traits.blotches > 0:
        area = ramp(fractal(plane, rng, traits.diameter_mm / 6, 3) + body.middle, 0.9, 1.7)
        patch.melanin += np.float32(1.1 * traits.blotches) * area * body.share
    rng = _stream(name, "veil")
    if traits.veil > 0:
        area = ramp(fractal(plane, rng, traits.diameter_mm / 4, 4) + 1.6 * body.middle, 0.8, 2.7)
        patch.veil[...] = np.maximum(patch.veil, np.float32(0.5 * traits.veil) * area * body.share)

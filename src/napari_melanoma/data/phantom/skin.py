"""Skin around the lesions: uneven pigment and blood, furrows and pores, and spots that are no lesion."""

from __future__ import annotations

import numpy as np

from napari_melanoma.data.phantom.cells import Cells, cells_on
from napari_melanoma.data.phantom.config import PhantomModality
from napari_melanoma.data.phantom.plane import Map, Plane, fractal, noise, ramp
from napari_melanoma.data.phantom.streams import stream
from napari_melanoma.data.phantom.tissue import Tissue
from napari_melanoma.data.phantom.traits import SkinTraits

FURROW_MM = 0.75


def add_skin(tissue: Tissue, plane: Plane, traits: SkinTraits, modality: PhantomModality, seed: int) -> None:
    """Add the texture of the skin to even skin.

    ``plane``: its pixels.
    """
    _mottle(tissue, plane, traits.mottling, stream(seed, "skin", "mottling"))
    if traits.furrows > 0:
        _furrow(tissue, plane, traits.furrows, modality, stream(seed, "skin", "furrows"))
    if traits.freckles > 0:
        _freckle(tissue, plane, traits.freckles, stream(seed, "skin", "freckles"))
    if traits.redness > 0:
        _redden(tissue, plane, traits.redness, stream(seed, "skin", "redness"))


def _mottle(tissue: Tissue, plane: Plane, amount: float, rng: np.random.Generator) -> None:
    """Uneven pigment and blood, in patches of some millimetres and in fine grain."""
    amount = 0.25 + amount
    pigment = 0.07 * fractal(plane, rng, 2.2, 4) + 0.045 * noise(plane, rng, 0.12)
    tissue.melanin *= np.exp(np.float32(amount) * pigment)
    blood = 0.20 * fractal(plane, rng, 1.6, 4) + 0.10 * noise(plane, rng, 0.16)
    tissue.blood *= np.exp(np.float32(amount) * blood)


def _furrow(tissue: Tissue, plane: Plane, amount: float, modality: PhantomModality, rng: np.random.Generator) -> None:
    """Furrows between the plateaus of the skin, and pores; they hold less pigment, and in a photograph have relief."""
    cells = cells_on(plane, rng, FURROW_MM, 0.36, 0.22)
    strength = np.float32(amount) * (0.75 + 0.25 * np.clip(noise(plane, rng, 4.0), -2, 2))
    furrow = ramp(cells.edge, 0.16, 0.0) * strength
    pore = _pores(cells) * np.float32(amount)
    depth = np.float32(0.05 if modality == "macroscopic" else 0.01)
    tissue.relief_mm -= depth * (furrow + pore)
    tissue.relief_mm += depth * np.float32(0.35 * amount) * fractal(plane, rng, 0.5, 3)
    tissue.melanin *= 1 - np.float32(0.10) * furrow + np.float32(0.12) * pore
    tissue.blood *= 1 - np.float32(0.15) * furrow


def _pores(cells: Cells) -> Map:
    """A pore in some cells."""
    return ramp(cells.nearest, 0.2, 0.08) * (cells.value > 0.82)


def _freckle(tissue: Tissue, plane: Plane, amount: float, rng: np.random.Generator) -> None:
    """Small faint spots of pigment, each under 1.2 mm across."""
    cells = cells_on(plane, rng, 2.6, 0.38, 0.5)
    size = np.float32(0.07) + np.float32(0.15) * cells.value
    present = np.mod(cells.value * np.float32(7.31), 1) < np.float32(0.45 * amount)
    spot = ramp(cells.nearest / size, 1.0, 0.25) * present
    tissue.melanin += np.float32(0.34) * spot * (0.6 + 0.4 * cells.value)


def _redden(tissue: Tissue, plane: Plane, amount: float, rng: np.random.Generator) -> None:
    """Red areas without an edge."""
    area = ramp(fractal(plane, rng, 5.0, 2), 0.3, 2.4)
    tissue.blood += np.float32(0.42 * amount) * area

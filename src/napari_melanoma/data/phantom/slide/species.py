"""The nuclei: a bank of drawn shapes for each species, in all directions, and how they are laid on an image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.phantom.slide.looks import Look, Nuclei, find_look
from napari_melanoma.data.phantom.streams import stream

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
VARIANTS, TURNS = 14, 12
# Half of the side of the largest stamp in micrometres.
REACH_UM = 13.0


@dataclass(frozen=True)
class Species:
    """How one kind of nucleus looks: half axes in micrometres, and amounts relative to a usual nucleus.

    ``spread`` is the variation of size and shape, ``dark`` the haematoxylin, ``clumps`` how uneven the chromatin is,
    ``nucleoli`` how many at most, ``halo`` the clear space around in micrometres, ``bend`` how irregular it is.
    """

    length: float
    width: float
    spread: float = 0.1
    dark: float = 1.0
    clumps: float = 1.0
    nucleoli: int = 0
    halo: float = 0.0
    bend: float = 0.05


SPECIES = {
    "basal": Species(4.3, 2.7, 0.1, 1.15, 0.8),
    "spinous": Species(4.1, 3.2, 0.1, 0.72, 1.0, 1, 0.5),
    "flat": Species(5.0, 1.7, 0.15, 0.9),
    "lymphocyte": Species(3.1, 2.8, 0.08, 1.5, 1.3),
    "plasma": Species(3.3, 2.9, 0.1, 1.35, 1.8, 0, 0.8),
    "fibroblast": Species(7.0, 1.0, 0.3, 1.05, 0.6, 0, 0.0, 0.12),
    "stromal": Species(5.6, 2.5, 0.2, 0.95, 0.8, 1, 0.0, 0.08),
    "endothelium": Species(5.2, 1.5, 0.15, 1.05, 0.6),
    "gland": Species(3.0, 2.7, 0.08, 0.95, 0.8, 1),
    "sebocyte": Species(2.6, 2.2, 0.2, 0.8, 0.6, 1, 0.4, 0.15),
    "naevus": Species(3.5, 3.0, 0.07, 0.85, 0.7, 0, 0.4, 0.03),
    "naevus_deep": Species(2.9, 2.3, 0.1, 1.0, 0.6, 0, 0.2, 0.03),
    "melanoma": Species(4.7, 3.9, 0.18, 0.98, 1.2, 2, 0.4, 0.08),
    "melanoma_large": Species(6.3, 5.0, 0.18, 0.82, 1.5, 3, 0.5, 0.11),
    "melanoma_dark": Species(4.7, 3.5, 0.28, 1.55, 1.0, 0, 0.6, 0.15),
    "mitosis": Species(5.4, 1.5, 0.25, 2.2, 0.2, 0, 3.6, 0.3),
    "apoptotic": Species(2.0, 1.8, 0.2, 2.0, 0.2, 0, 2.2, 0.1),
    "ghost": Species(4.4, 3.6, 0.2, 0.16, 0.5, 0, 0.3, 0.1),
}
NUMBER = {name: number for number, name in enumerate(SPECIES)}


@dataclass(frozen=True)
class Bank:
    """Stamps of all species: float32 (species, variant, turn, 2, side, side), haematoxylin and cleared space."""

    stamps: Floats
    reach: int

    def lay(self, canvas: Floats, x: Ints, y: Ints, which: Ints) -> None:
        """Lay nuclei on a canvas; where they overlap the stronger one is seen.

        ``canvas``: float32 (2, row, column), changed in place.
        """
        flat = self.stamps.reshape(-1, *self.stamps.shape[3:])
        side = 2 * self.reach + 1
        top, left = y - self.reach, x - self.reach
        for row, column, index in zip(top.tolist(), left.tolist(), which.tolist(), strict=True):
            view = canvas[:, row : row + side, column : column + side]
            np.maximum(view, flat[index], out=view)


def pick(species: NDArray[np.integer[Any]], angle: Floats, lot: Floats) -> NDArray[np.int64]:
    """Choose a stamp for each nucleus.

    ``angle``: direction of the long axis in radians. Returns int64 (nucleus,) for ``Bank.lay``.
    """
    turn = np.round(np.asarray(angle, float) * (TURNS / np.pi)).astype(np.int64) % TURNS
    variant = np.minimum((lot * VARIANTS).astype(np.int64), VARIANTS - 1)
    return (species.astype(np.int64) * VARIANTS + variant) * TURNS + turn


@lru_cache(maxsize=8)
def bank(look_name: str, mpp: float) -> Bank:
    """Draw all stamps of a look.

    ``mpp``: micrometres per pixel.
    """
    look = find_look(look_name)
    reach = int(np.ceil(REACH_UM / mpp))
    stamps = np.stack([_drawn(look, name, species, mpp, reach) for name, species in SPECIES.items()])
    stamps.flags.writeable = False
    return Bank(stamps, reach)


def _drawn(look: Look, name: str, species: Species, mpp: float, reach: int) -> Floats:
    """All variants and turns of a species, float32 (variant, turn, 2, side, side)."""
    rng = stream(0, look.name, name)
    axis = np.arange(-reach, reach + 1, dtype=np.float32) * mpp
    turn = (np.arange(TURNS) * np.pi / TURNS).astype(np.float32)[:, None, None]
    x = axis[None, None, :] * np.cos(turn) + axis[None, :, None] * np.sin(turn)
    y = axis[None, :, None] * np.cos(turn) - axis[None, None, :] * np.sin(turn)
    return np.stack([_nucleus(rng, look.nuclei, species, x, y) for _ in range(VARIANTS)]).astype(np.float32)


def _nucleus(rng: np.random.Generator, style: Nuclei, species: Species, x: Floats, y: Floats) -> Floats:
    """One nucleus in all turns, (turn, 2, side, side)."""
    size = style.scale * np.exp(species.spread * rng.standard_normal())
    ratio = np.exp(0.6 * species.spread * rng.standard_normal())
    half = min(species.length * size * ratio, REACH_UM - 3), min(species.width * size / ratio, REACH_UM - 3)
    theta = np.arctan2(y / half[1], x / half[0])
    outline = np.ones_like(x)
    for lobe in style.lobes:
        outline += species.bend * (2 / lobe) * rng.standard_normal() * np.cos(lobe * theta + rng.uniform(0, 2 * np.pi))
    radius = np.hypot(x / half[0], y / half[1]) / np.clip(outline, 0.5, 1.6)
    distance = (1 - radius) * min(half)
    share = np.clip(0.5 + distance / style.softness, 0, 1)
    rim = np.exp(-(((distance - 0.45) / 0.5) ** 2))
    chromatin = 1 + 0.6 * style.contrast * species.clumps * _clumps(rng, x, y, style.grain)
    dark = species.dark * np.exp(0.12 * rng.standard_normal())
    amount = dark * (np.clip(chromatin, 0.35, 1.9) + style.rim * rim / species.dark)
    for _ in range(rng.integers(0, species.nucleoli + 1)):
        amount += style.nucleolus * 1.6 * _spot(rng, half, x, y, 0.55 + 0.12 * min(half))
    halo = 0.55 * np.clip(0.5 + (distance + species.halo) / 1.6, 0, 1) if species.halo else share
    return np.stack([share * amount, np.maximum(halo, share)], axis=1)


@lru_cache(maxsize=1)
def _speckle() -> Floats:
    """Periodic noise whose patches are about 8 of its pixels wide, float32 (512, 512), standard deviation 1."""
    noise = np.fft.rfft2(stream(0, "chromatin").standard_normal((512, 512)))
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None])
    field = np.fft.irfft2(noise * frequency**0.7 * np.exp(-((8 * frequency) ** 2) * 2), (512, 512))
    return (field / field.std()).astype(np.float32)


def _clumps(rng: np.random.Generator, x: Floats, y: Floats, grain: float) -> Floats:
    """Uneven chromatin, of standard deviation 1."""
    row, column = (((axis + rng.uniform(50, 500)) * (5 / grain)).astype(np.int64) % 512 for axis in (y, x))
    return _speckle()[row, column]


def _spot(rng: np.random.Generator, half: tuple[float, float], x: Floats, y: Floats, radius: float) -> Floats:
    """A nucleolus somewhere inside."""
    turn, away = rng.uniform(0, 2 * np.pi), 0.5 * np.sqrt(rng.random())
    at = away * half[0] * np.cos(turn), away * half[1] * np.sin(turn)
    return np.exp(-(((x - at[0]) ** 2 + (y - at[1]) ** 2) / radius**2))

"""The layers of the skin as depths along a section: keratin, epidermis with its rete ridges, dermis, fat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
STEP_UM = 1.0


@dataclass(frozen=True)
class Layers:
    """Depths in micrometres at every micrometre along a section, float64 (position,), from ``start`` on.

    ``top`` is the surface of the keratin, ``granular`` the top of the granular layer (or the base of an ulcer),
    ``junction`` the lower border of the epidermis, ``fat`` and ``bottom`` where the dermis and the section end.
    """

    start: float
    top: Floats
    granular: Floats
    junction: Floats
    fat: Floats
    bottom: Floats

    @property
    def along(self) -> Floats:
        """Positions of the samples."""
        return self.start + STEP_UM * np.arange(len(self.top))

    @property
    def end(self) -> float:
        """Position of the last sample."""
        return self.start + STEP_UM * (len(self.top) - 1)

    def at(self, depths: Floats, along: Floats) -> Floats:
        """Look a layer up.

        ``along``: micrometres, of any shape; beyond the ends the last value goes on. Depths, of the same shape.
        """
        index = ((along - self.start) * (1 / STEP_UM) + 0.5).astype(np.int32)
        return depths[np.clip(index, 0, len(depths) - 1, out=index)]

    def changed(self, top: Floats, granular: Floats, junction: Floats) -> Layers:
        """Give the same with the upper layers replaced, as a lesion does."""
        return replace(self, top=top, granular=granular, junction=junction)


def wander(rng: np.random.Generator, count: int, scale_um: float) -> Floats:
    """Smooth random curve of mean about 0 and standard deviation about 1.

    Returns float64 (count,).
    """
    nodes = rng.standard_normal(int(count * STEP_UM / scale_um) + 5)
    position = np.arange(count) * (STEP_UM / scale_um) + 1
    first = position.astype(int)
    t = position - first
    a, b, c, d = (nodes[first + shift] for shift in (-1, 0, 1, 2))
    weights = (1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3
    return (a * weights[0] + b * weights[1] + c * weights[2] + d * weights[3]) / 6 * 1.45


def bump(values: Floats) -> Floats:
    """Smooth hill: 1 at 0, 0 from -1 and 1 on."""
    return np.clip(1 - values**2, 0, 1) ** 2


def grow_layers(rng: np.random.Generator, width_um: float, depth_um: float, stretch: float) -> Layers:
    """Grow the layers of healthy skin."""
    count = int(width_um / STEP_UM) + 1
    furrows = rng.uniform(5, 16) * wander(rng, count, 220) + 5 * wander(rng, count, 60)
    granular = furrows * stretch
    keratin = rng.uniform(14, 40) * (1 + 0.35 * np.clip(wander(rng, count, 150), -1.8, 2.2))
    plate = rng.uniform(38, 60) * (1 + 0.12 * wander(rng, count, 200))
    junction = granular + (plate + rete_ridges(rng, count)) * stretch
    fat_um = rng.uniform(1500, 2600) * stretch
    fat = fat_um + 0.11 * fat_um * wander(rng, count, 700) + 30 * wander(rng, count, 90)
    boat = 1 - rng.uniform(0.05, 0.35) * np.abs(np.linspace(-1, 1, count)) ** rng.uniform(4, 9)
    bottom = depth_um * (boat + 0.03 * wander(rng, count, 900)) + 8 * wander(rng, count, 45)
    bottom = np.minimum(bottom, depth_um * 1.02)
    return Layers(-width_um / 2, granular - keratin * stretch, granular, junction, fat, bottom)


def rete_ridges(rng: np.random.Generator, count: int) -> Floats:
    """Draw the pegs that the epidermis sends down, 70 to 130 micrometres apart, each of its own length and width.

    Depth below the plate of the epidermis in micrometres, float64 (count,).
    """
    spacing = rng.uniform(80, 115)
    along = np.arange(count) * STEP_UM
    number = int(count * STEP_UM / spacing) + 3
    centres = (np.arange(number) - 0.5 + 0.22 * rng.standard_normal(number)) * spacing
    lengths = rng.uniform(28, 62) * np.clip(1 + 0.45 * rng.standard_normal(number), 0.1, 2.2)
    widths = spacing * np.clip(0.42 + 0.09 * rng.standard_normal(number), 0.24, 0.6)
    skews = 0.25 * rng.standard_normal(number)
    pegs = np.zeros(count)
    for centre, length, width, skew in zip(centres, lengths, widths, skews, strict=True):
        first, last = max(0, int(centre - 2 * width)), min(count, int(centre + 2 * width) + 1)
        offset = (along[first:last] - centre) / width
        hill = bump(offset / (1 + skew * np.sign(offset)) / 1.1) ** 0.8
        pegs[first:last] = np.maximum(pegs[first:last], length * hill)
    soft = np.exp(-((np.arange(-14, 15) / 6.0) ** 2))
    padded = np.pad(pegs, 14, mode="edge")
    return np.convolve(padded, soft / soft.sum(), mode="valid") + 2.5 * wander(rng, count, 14)

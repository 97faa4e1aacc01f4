"""The shapes that a section is drawn from: labelled outlines in its coordinates, blobs, tubes, rings of nuclei."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Outline:
    """A closed outline (vertex, 2) as along, depth in micrometres; ``label`` is a ``Kind`` or a lesion's.

    ``ring`` names the nuclei that line its inside, ``pitch`` micrometres apart, lying across it or along it.
    """

    label: int
    points: Floats
    ring: str | None = None
    pitch: float = 6.0
    across: bool = True


@dataclass
class Drawing:
    """Outlines in the order in which they are laid over each other."""

    outlines: list[Outline] = field(default_factory=list)

    def add(self, label: int, points: Floats, ring: str | None = None, pitch: float = 6.0, across: bool = True) -> None:
        """Lay an outline over all others.

        ``pitch``: their distance in micrometres.
        """
        self.outlines.append(Outline(int(label), np.asarray(points, float), ring, pitch, across))


def blob(
    rng: np.random.Generator, centre: tuple[float, float], radii: tuple[float, float], rough: float = 0.1
) -> Floats:
    """Draw a rounded outline.

    ``centre``, ``radii``: along and depth in micrometres. Vertices (vertex, 2), about 2 micrometres apart.
    """
    count = int(np.clip(3.1 * sum(radii) / 2.5, 16, 400))
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radius = np.ones(count)
    for lobe in range(2, 8):
        radius += rough * rng.standard_normal() / lobe**0.8 * np.cos(lobe * turn + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.45, 1.6)
    return np.stack(
        [centre[0] + radii[0] * radius * np.cos(turn), centre[1] + radii[1] * radius * np.sin(turn)], axis=1
    )


def tube(path: Floats, widths: Floats) -> Floats:
    """Draw the outline of a band.

    Vertices (2 * point, 2).
    """
    step = np.gradient(path, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], axis=1) / np.maximum(np.hypot(*step.T), 1e-9)[:, None]
    return np.concatenate([path + normal * widths[:, None], (path - normal * widths[:, None])[::-1]])


def resampled(outline: Floats, pitch: float) -> tuple[Floats, Floats]:
    """Walk around a closed outline.

    Points (point, 2) and the direction of the outline at each in radians (point,).
    """
    closed = np.concatenate([outline, outline[:1]])
    steps = np.diff(closed, axis=0)
    walked = np.concatenate([[0], np.cumsum(np.hypot(*steps.T))])
    at = np.arange(0, walked[-1], pitch)
    points = np.stack([np.interp(at, walked, closed[:, axis]) for axis in (0, 1)], axis=1)
    edge = np.clip(np.searchsorted(walked, at, side="right") - 1, 0, len(steps) - 1)
    return points, np.arctan2(steps[edge, 1], steps[edge, 0])

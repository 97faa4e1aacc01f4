"""A scale with a tick each millimetre, as a dermoscope's glass or a paper strip shows it; its ticks are true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.phantom.artefacts import Light, cover
from napari_melanoma.data.phantom.config import PhantomModality
from napari_melanoma.data.phantom.plane import Map, Plane, noise, ramp
from napari_melanoma.data.phantom.shape import Outline
from napari_melanoma.data.phantom.strokes import draw_stroke

_PRINT = np.array([0.02, 0.02, 0.025], np.float32)
_PAPER = np.array([0.80, 0.79, 0.74], np.float32)
_STRIP_MM = 9.0
# Lines of each character in a box one wide and two high, (x, y), y down.
_GLYPHS: dict[str, list[list[tuple[float, float]]]] = {
    "0": [[(0.3, 0), (0.7, 0), (1, 0.4), (1, 1.6), (0.7, 2), (0.3, 2), (0, 1.6), (0, 0.4), (0.3, 0)]],
    "1": [[(0.1, 0.45), (0.55, 0), (0.55, 2)]],
    "2": [[(0, 0.45), (0.3, 0), (0.7, 0), (1, 0.4), (0.9, 0.9), (0, 2), (1, 2)]],
    "3": [[(0, 0.2), (0.4, 0), (0.9, 0.3), (0.8, 0.85), (0.4, 0.95), (0.9, 1.1), (1, 1.6), (0.5, 2), (0, 1.8)]],
    "4": [[(0.75, 2), (0.75, 0), (0, 1.4), (1, 1.4)]],
    "5": [[(0.95, 0), (0.15, 0), (0.05, 0.9), (0.6, 0.8), (1, 1.2), (0.9, 1.75), (0.5, 2), (0, 1.8)]],
    "6": [[(0.85, 0), (0.2, 0.7), (0, 1.4), (0.3, 2), (0.7, 2), (1, 1.5), (0.7, 1), (0.3, 1), (0.05, 1.3)]],
    "7": [[(0, 0), (1, 0), (0.4, 2)]],
    "8": [[(0.5, 0.9), (0.1, 0.5), (0.5, 0), (0.9, 0.5), (0.5, 0.9), (0, 1.5), (0.5, 2), (1, 1.5), (0.5, 0.9)]],
    "9": [[(0.95, 0.7), (0.7, 1), (0.3, 1), (0, 0.5), (0.3, 0), (0.7, 0), (1, 0.6), (0.8, 1.4), (0.15, 2)]],
    "m": [
        [(0, 2), (0, 0.9)],
        [(0, 1.1), (0.25, 0.9), (0.5, 1.1), (0.5, 2)],
        [(0.5, 1.1), (0.75, 0.9), (1, 1.1), (1, 2)],
    ],
}


@dataclass(frozen=True)
class Ruler:
    """Where the scale lies: its first tick (y, x) in mm from the centre, the direction of its ticks' row, their number.

    ``inward`` is the side of the row, +1 or -1 times the direction turned by 90 degrees, to which the ticks point.
    """

    first_mm: tuple[float, float]
    turn: float
    ticks: int
    inward: int

    @property
    def along(self) -> NDArray[np.float64]:
        """Unit vector (y, x) from tick to tick."""
        return np.array([math.sin(self.turn), math.cos(self.turn)])

    @property
    def across(self) -> NDArray[np.float64]:
        """Unit vector (y, x) in which the ticks point, towards the middle of the view."""
        return self.inward * np.array([math.cos(self.turn), -math.sin(self.turn)])

    def at(self, along_mm: float, across_mm: float) -> NDArray[np.float64]:
        """Find a point on the ruler.

        Returns (y, x) in mm from the centre of the view.
        """
        return np.array(self.first_mm) + along_mm * self.along + across_mm * self.across

    def ends_mm(self) -> NDArray[np.float64]:
        """Give the first and the last tick.

        Returns (2, (y, x)) in mm from the centre of the view.
        """
        return np.stack([self.at(0, 0), self.at(self.ticks - 1, 0)])


def place_ruler(
    plane: Plane, modality: PhantomModality, outlines: Sequence[Outline], rng: np.random.Generator
) -> Ruler:
    """Choose the edge, upper or lower, that is further from the lesions, and lay the scale along it."""
    height, width = plane.extent_mm
    above = min((o.centre_mm[0] - o.reach_mm for o in outlines), default=0.0) + height / 2
    below = height / 2 - max((o.centre_mm[0] + o.reach_mm for o in outlines), default=0.0)
    inward, room = (1, above) if above > below else (-1, below)
    if modality == "macroscopic":
        share, offset = 0.94, min(_STRIP_MM, max(0.16 * height, room - 1.0))
    else:
        share, offset = rng.uniform(0.36, 0.54), 0.09 * height
    ticks = max(2, int(share * width))
    turn = rng.uniform(-0.05, 0.05)
    middle = -inward * (height / 2 - offset)
    start = -math.cos(turn) * (ticks - 1) / 2
    return Ruler((middle + math.tan(turn) * start, start), turn, ticks, inward)


def add_ruler(light: Light, plane: Plane, ruler: Ruler, modality: PhantomModality, rng: np.random.Generator) -> None:
    """Draw the scale.

    ``light``: float32 linear sRGB (row, column, channel), changed in place. ``plane``: its pixels.
    """
    marks = np.zeros(plane.shape, np.float32)
    if modality == "macroscopic":
        _lay_paper(light, plane, ruler, rng)
        _draw_ticks(marks, plane, ruler, (-1.6, -2.4, -3.2), 0.09)
        for tick in range(0, ruler.ticks, 10):
            _write(marks, plane, ruler, str(tick // 10), (tick, -5.6), 0.85)
    else:
        _draw_ticks(marks, plane, ruler, (0.45, 0.8, 0.8), 0.045)
        draw_stroke(marks, plane.to_pixels(ruler.ends_mm()), np.full(2, 0.045 / plane.pixel_mm))
        _write(marks, plane, ruler, "mm", (-1.2, 0.25), 0.4)
    cover(light, np.float32(0.88) * marks, _PRINT)


def _draw_ticks(marks: Map, plane: Plane, ruler: Ruler, lengths: tuple[float, float, float], half: float) -> None:
    """Draw the ticks; lengths in mm are those of each, each fifth and each tenth."""
    for tick in range(ruler.ticks):
        length = lengths[2] if tick % 10 == 0 else lengths[1] if tick % 5 == 0 else lengths[0]
        ends = np.stack([ruler.at(tick, 0), ruler.at(tick, length)])
        draw_stroke(marks, plane.to_pixels(ends), np.full(2, half / plane.pixel_mm))


def _write(marks: Map, plane: Plane, ruler: Ruler, text: str, at_mm: tuple[float, float], width_mm: float) -> None:
    """Write characters centred on a point of the ruler, readable from its lower side."""
    down = np.array([ruler.along[1], -ruler.along[0]])
    corner = ruler.at(*at_mm) - width_mm * (down + ruler.along * (0.5 + 0.75 * (len(text) - 1)))
    for position, character in enumerate(text):
        for line in _GLYPHS[character]:
            points = [corner + width_mm * ((x + 1.5 * position) * ruler.along + y * down) for x, y in line]
            half = np.full(len(line), 0.1 * width_mm / plane.pixel_mm)
            draw_stroke(marks, plane.to_pixels(np.array(points)), half)


def _lay_paper(light: Light, plane: Plane, ruler: Ruler, rng: np.random.Generator) -> None:
    """Lay a white strip on the skin, from the ticks outwards, with a soft shadow along its edge."""
    y, x = plane.y[:, None] - ruler.first_mm[0], plane.x[None] - ruler.first_mm[1]
    inner = (y * ruler.across[0] + x * ruler.across[1]).astype(np.float32)
    paper = ramp(inner, 0.5 * plane.pixel_mm, -0.5 * plane.pixel_mm) * ramp(inner, -_STRIP_MM - 0.05, -_STRIP_MM)
    light *= 1 - np.float32(0.3) * (ramp(inner, 0.7, 0.0) * (1 - paper))[..., None]
    grain = 1 + np.float32(0.025) * noise(plane, rng, 0.3)
    light += paper[..., None] * (_PAPER * grain[..., None] - light)

"""What is on or wrong with the glass: pen marks, dust, and areas that are out of focus."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
INKS = {
    "blue": (2.1, 1.35, 0.35),
    "green": (1.9, 0.55, 1.25),
    "black": (2.0, 1.95, 1.8),
    "red": (0.12, 1.5, 1.3),
}


@dataclass(frozen=True)
class Pen:
    """A pen mark: a line (point, 2) as x, y in micrometres, half of its width, and its optical density."""

    ink: str
    line: Floats
    half_width_um: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Top, left, bottom, right in micrometres."""
        (left, top), (right, bottom) = self.line.min(axis=0), self.line.max(axis=0)
        margin = 1.3 * self.half_width_um
        return top - margin, left - margin, bottom + margin, right + margin


@dataclass(frozen=True)
class Spots:
    """Round places on the slide in micrometres, float64 (spot,): dust, or what is out of focus."""

    x: Floats
    y: Floats
    radius: Floats

    def near(self, top: float, left: float, bottom: float, right: float) -> NDArray[np.int64]:
        """Find those that reach into a rectangle.

        ``top``, ``left``, ``bottom``, ``right``: in micrometres.
        """
        rows = (self.y + self.radius > top) & (self.y - self.radius < bottom)
        return np.flatnonzero(rows & (self.x + self.radius > left) & (self.x - self.radius < right))


def draw_pen(rng: np.random.Generator, box: tuple[float, float, float, float]) -> Pen:
    """Draw a pen mark beside or around something: a circle, a line or a dot.

    ``box``: top, left, bottom, right in micrometres of what was marked.
    """
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    side = min(height, width)
    kind = rng.choice(["loop", "line", "dot"])
    if kind == "loop":
        turn = np.linspace(0, 2 * np.pi * rng.uniform(0.85, 1.05), 60) + rng.uniform(0, 6)
        centre = left + width * rng.uniform(0.3, 0.7), top + height * rng.uniform(0.3, 0.7)
        reach = side * rng.uniform(0.2, 0.45)
        line = np.stack([centre[0] + 1.3 * reach * np.cos(turn), centre[1] + reach * np.sin(turn)], axis=1)
    else:
        start = np.array([left + width * rng.uniform(0, 1), top + height * rng.choice([0.02, 0.98])])
        length = side * (rng.uniform(0.3, 0.7) if kind == "line" else 0.02)
        t, way = np.linspace(0, 1, 30)[:, None], rng.uniform(0, np.pi)
        line = start + t * length * np.array([np.cos(way), np.sin(way)])
        line = line + 0.03 * length * np.sin(5 * t + rng.uniform(0, 6))
    return Pen(str(rng.choice(list(INKS))), line, float(np.clip(side * rng.uniform(0.012, 0.03), 60, 400)))


def line_distance(line: Floats, x: Floats, y: Floats) -> Floats:
    """Measure the distance of pixels from a line.

    ``x``, ``y``: positions of columns (column,) and rows (row,). Returns float32 (row, column).
    """
    nearest = np.full((len(y), len(x)), np.inf, np.float32)
    for (x0, y0), (x1, y1) in pairwise(line.tolist()):
        step_x, step_y = x1 - x0, y1 - y0
        across, down = (x - x0).astype(np.float32)[None], (y - y0).astype(np.float32)[:, None]
        square = max(step_x**2 + step_y**2, 1e-9)
        share = np.clip((across * np.float32(step_x / square)) + down * np.float32(step_y / square), 0, 1)
        np.minimum(
            nearest, (across - share * np.float32(step_x)) ** 2 + (down - share * np.float32(step_y)) ** 2, out=nearest
        )
    return np.sqrt(nearest)


def ink_density(pen: Pen, x: Floats, y: Floats) -> Floats:
    """Give how much ink lies on pixels: streaky, darker at its edge.

    ``x``, ``y``: positions of columns and rows in micrometres. Returns float32 (row, column), 0 where there is none,
    about 1 in the middle.
    """
    away = line_distance(pen.line, x, y) / np.float32(pen.half_width_um)
    ragged = 1 + 0.05 * np.sin(x / 37.0)[None] * np.sin(y / 29.0)[:, None]
    amount = np.clip((ragged.astype(np.float32) - away) / 0.08, 0, 1)
    streaks = 0.8 + 0.06 * np.sin(x / 53.0 + 2)[None] + 0.06 * np.sin((y[:, None] + 0.4 * x[None]) / 71.0)
    return amount * streaks.astype(np.float32) * (0.8 + 0.35 * np.clip(away, 0, 1) ** 4)

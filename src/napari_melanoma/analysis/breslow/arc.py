"""The arc that the surface of a section follows: along it and down from it, both ways.

A thickness is measured at a right angle to the skin beside the lesion. An arc through that skin says which way is down
at every place, also where a lesion lifts its own surface or an ulcer has eaten it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

ROUNDS = 10
SHORTEST_UM = 800.0  # of a surface whose bend can be told
STRAIGHT = 1e-9  # 1 / micrometre
FURROWS_UM = 15.0  # of healthy skin: nothing nearer to the arc than this is held to be far from it


@dataclass(frozen=True)
class Arc:
    """A circle, so large that it may pass for a line: a point on it, which way is down there, and its bend.

    ``down`` (y, x) has length 1 and points into the tissue. ``bend`` is 1 / micrometre, never 0, above 0 where the
    surface bulges.
    """

    y_um: float
    x_um: float
    down: tuple[float, float]
    bend: float

    def to_section(self, y: Floats, x: Floats) -> tuple[Floats, Floats]:
        """Turn positions on the slide into positions in the section.

        ``y``, ``x``: micrometres, of one shape. Returns along the arc and below it, float64 in micrometres.
        """
        dy, dx = np.asarray(y, np.float64) - self.y_um, np.asarray(x, np.float64) - self.x_um
        v, u = dy * self.down[0] + dx * self.down[1], dx * self.down[0] - dy * self.down[1]
        power = v - self.bend / 2 * (u * u + v * v)
        depth = 2 * power / (1 + np.sqrt(np.maximum(1 - 2 * self.bend * power, 0)))
        return np.arctan2(self.bend * u, 1 - self.bend * v) / self.bend, depth

    def to_slide(self, along: Floats, depth: Floats) -> tuple[Floats, Floats]:
        """Turn positions in the section into positions on the slide: the inverse.

        ``along``, ``depth``: micrometres, of one shape. Y and x, float64 in micrometres.
        """
        turn = self.bend * np.asarray(along, np.float64)
        left = 1 - self.bend * np.asarray(depth, np.float64)
        u, v = left * np.sin(turn) / self.bend, (1 - left * np.cos(turn)) / self.bend
        y = self.y_um + v * self.down[0] - u * self.down[1]
        return y, self.x_um + v * self.down[1] + u * self.down[0]


def fit_arc(points: Floats, inward: Floats, weights: Floats | None = None) -> Arc:
    """Lay an arc through points of a surface; those that lie far off it lose their say (Tukey's biweight).

    ``points``: float (point, 2) as y, x in micrometres, at least three. A line where the points span less than
    ``SHORTEST_UM``.
    """
    given = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
    down = (inward * given[:, None]).sum(axis=0)
    down = down / np.hypot(*down)
    middle = np.average(points, axis=0, weights=given)
    dy, dx = (points - middle).T
    v, u = dy * down[0] + dx * down[1], dx * down[0] - dy * down[1]
    bent = float(np.ptp(u)) >= SHORTEST_UM
    curve: Floats = np.zeros(3)
    weights = given
    for _ in range(ROUNDS):
        curve = _fitted(u, v, weights, bent=bent)
        off = np.abs(v - curve[0] - curve[1] * u - curve[2] / 2 * (u * u + v * v))
        reach = 4.685 * max(1.4826 * _weighted_median(off, weights), FURROWS_UM)
        weights = given * np.clip(1 - (off / reach) ** 2, 0, None) ** 2
    return _arc(curve, middle, down)


def _fitted(u: Floats, v: Floats, weights: Floats, *, bent: bool) -> Floats:
    """Weighted least squares of v = c + b u + k / 2 (u^2 + v^2), which is a circle: c, b, k."""
    scale = max(float(np.abs(u).max()), 1.0)
    columns = [np.ones_like(u), u / scale] + ([(u * u + v * v) / (2 * scale * scale)] if bent else [])
    root = np.sqrt(weights)
    found = np.linalg.lstsq(np.stack(columns, axis=1) * root[:, None], v * root, rcond=None)[0]
    found = np.append(found, 0.0)[:3] / (1, scale, scale * scale)
    return np.asarray(found, np.float64)


def _arc(curve: Floats, middle: Floats, down: Floats) -> Arc:
    """The circle v = c + b u + k / 2 (u^2 + v^2), seen from its point nearest to the middle of what it goes through."""
    c, b, k = curve.tolist()
    size = float(np.sqrt(max(1 + b * b - 2 * k * c, 1e-6)))
    bend, steep = k / size, float(np.hypot(1, b))
    bend = bend if abs(bend) > STRAIGHT else STRAIGHT
    normal = np.array([down[0] + b * down[1], down[1] - b * down[0]]) / steep
    power = -c / size
    depth = 2 * power / (1 + np.sqrt(max(1 - 2 * bend * power, 0)))
    y, x = (middle - depth * normal).tolist()
    return Arc(y, x, (float(normal[0]), float(normal[1])), bend)


def _weighted_median(values: Floats, weights: Floats) -> float:
    """Half of the weight lies at smaller values."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])

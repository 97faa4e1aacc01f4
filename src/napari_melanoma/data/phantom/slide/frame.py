"""Where a section lies on the glass: along its surface and down from it, on an arc, and back to the slide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Frame:
    """A surface that is an arc: ``along`` it and ``depth`` below it, in micrometres, and positions on the slide.

    ``x_um``, ``y_um`` are where along = depth = 0 lies, ``angle`` turns the direction along (radians, clockwise as
    seen, for y points down), ``curvature`` is 1 / micrometre: above 0 the tissue lies inside of the circle.
    """

    x_um: float
    y_um: float
    angle: float
    curvature: float

    def to_section(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Turn positions on the slide into positions in the section.

        ``x``, ``y``: micrometres from the slide's top left corner; of shapes that broadcast. Returns along and depth,
        float32 in micrometres.
        """
        across, down = (x - self.x_um).astype(np.float32), (y - self.y_um).astype(np.float32)
        cosine, sine = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        u, v = across * cosine + down * sine, down * cosine - across * sine
        if self.curvature == 0:
            return u, v
        radius = np.float32(1 / self.curvature)
        rest = radius - v
        sign = np.sign(radius)
        along = np.abs(radius) * np.arctan2(u, sign * rest)
        return along, radius - sign * np.sqrt(u * u + rest * rest)

    def to_slide(self, along: Floats, depth: Floats) -> Floats:
        """Turn positions in the section into positions on the slide.

        ``along``, ``depth``: micrometres, float (point,). Returns float64 (point, 2) as x, y in micrometres.
        """
        along, depth = np.asarray(along, float), np.asarray(depth, float)
        u, v = along, depth
        if self.curvature != 0:
            radius = 1 / self.curvature
            turn = along / abs(radius)
            from_centre = np.abs(radius - depth)
            u = from_centre * np.sin(turn)
            v = radius - np.sign(radius) * from_centre * np.cos(turn)
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        return np.stack([self.x_um + u * cosine - v * sine, self.y_um + u * sine + v * cosine], axis=-1)

    def heading(self, along: Floats) -> Floats:
        """Give the direction of the surface.

        ``along``: micrometres. Radians, of the same shape; depth points a quarter turn further.
        """
        return self.angle + along * self.curvature

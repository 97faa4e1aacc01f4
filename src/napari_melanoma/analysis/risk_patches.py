"""Where on a slide the patches lie that a risk is told from, and how the answers to them become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_melanoma.core.geometry import Box

Point = tuple[float, float]
Pool = Literal["mean", "maximum"]
UM = 1000.0  # in a millimetre
ABOVE_MM = 0.2  # of glass and keratin in view above the surface, as networks have learnt it
APART = 0.5  # of a patch's side: patches whose middles lie closer show the same


@dataclass(frozen=True)
class PatchPlace:
    """A patch: its middle as (row, column) in pixels of the finest level, its side, and what is there."""

    centre: Point
    side_mm: float
    what: str

    def box(self, um_per_px: Point) -> Box:
        """Give it in pixels of the finest level; it may reach outside of the slide.

        Returns as wide as high in mm.
        """
        height, width = (max(1, round(self.side_mm * UM / um)) for um in um_per_px)
        return Box(round(self.centre[0] - height / 2), round(self.centre[1] - width / 2), height, width)


def centre_below(surface: Point, deepest: Point, um_per_px: Point, side_mm: float) -> Point:
    """Say where the middle of a patch lies whose edge is a little above the surface, and that looks down the line.

    ``surface``, ``deepest``: ends of the line of the thickness, (row, column) in pixels of the finest level. Returns
    (row, column) in those pixels; of a line without length straight below the surface.
    """
    scale = np.asarray(um_per_px) / UM
    start, end = np.asarray(surface) * scale, np.asarray(deepest) * scale
    length = float(np.hypot(*(end - start)))
    down = (end - start) / length if length > 0 else np.array([1.0, 0.0])
    row, column = (start + down * (side_mm / 2 - ABOVE_MM)) / scale
    return float(row), float(column)


def patch_places(
    lines: Sequence[tuple[Point, Point]],
    lesions: Sequence[Point],
    um_per_px: Point,
    side_mm: float,
    most: int,
) -> tuple[PatchPlace, ...]:
    """Choose where to look: at the deepest places first, then at lesions of which none was measured.

    None that shows nearly the same as an earlier one; none at all where there is neither line nor lesion.
    """
    found = [
        PatchPlace(centre_below(*line, um_per_px, side_mm), side_mm, "deepest place" if place == 0 else "another depth")
        for place, line in enumerate(lines)
    ]
    found += [PatchPlace(centre, side_mm, "lesion") for centre in lesions]
    kept: list[PatchPlace] = []
    for one in found:
        if all(_apart_mm(one, other, um_per_px) >= APART * side_mm for other in kept):
            kept.append(one)
    return tuple(kept[:most])


def pooled(values: Sequence[float], how: Pool) -> float:
    """Turn the answers to patches into one (P3: mean, or maximum)."""
    return float(np.mean(values)) if how == "mean" else float(np.max(values))


def _apart_mm(one: PatchPlace, other: PatchPlace, um_per_px: Point) -> float:
    """How far the middles of two patches lie from each other."""
    rows, columns = (
        (mine - theirs) * um / UM for mine, theirs, um in zip(one.centre, other.centre, um_per_px, strict=True)
    )
    return float(np.hypot(rows, columns))

"""The lit circle of a photograph that was taken through a tube, on which black says nothing of what was photographed.

Many dermoscopes show a circle on black. Whatever judges a photograph by its colours would judge the black instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DARK = 20.0  # CIELAB lightness below which there is next to no light
EDGE = 0.25  # share of a side that may be dark: hairs and a lesion at the border are
STEEP = 0.5  # share of the first side cut off from which it is no circle's: that of a black bar is all dark
LEAST = 0.25  # side that must be left, as a fraction of the photograph's
AROUND = 1.1  # radii from the centre beyond which all is taken to be outside of the circle
BLACK = 0.9  # share of it that is dark outside of a circle


def lit_circle(lightness: NDArray[np.float32]) -> tuple[slice, slice] | None:
    """Find about the largest rectangle inside a lit circle on black, or inside an ellipse.

    ``lightness``: float32 (row, column), CIELAB lightness, 0 to 100; some 64 x 64 pixels are enough. Returns rows and
    columns of the rectangle. None where there is no such circle, or none that is worth looking at.
    """
    dark = lightness < DARK
    part = _without_dark_sides(dark)
    return part if part is not None and _fades_out(dark, part) and _black_around(dark, part) else None


def _without_dark_sides(dark: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Cut rows and columns off, the darkest first, until no side is dark."""
    top, bottom, left, right = 0, dark.shape[0], 0, dark.shape[1]
    while bottom - top >= LEAST * dark.shape[0] and right - left >= LEAST * dark.shape[1]:
        part = dark[top:bottom, left:right]
        shares = [float(side.mean()) for side in (part[0], part[-1], part[:, 0], part[:, -1])]
        darkest = int(np.argmax(shares))
        if shares[darkest] <= EDGE:
            return None if part.shape == dark.shape else (slice(top, bottom), slice(left, right))
        top, bottom = top + (darkest == 0), bottom - (darkest == 1)
        left, right = left + (darkest == 2), right - (darkest == 3)
    return None


def _fades_out(dark: NDArray[np.bool_], part: tuple[slice, slice]) -> bool:
    """Whether light goes on beyond the middle of each side, as it does in a circle."""
    rows, columns = part
    beyond = [dark[row, columns] for row in (rows.start - 1, rows.stop) if 0 <= row < dark.shape[0]]
    beyond += [dark[rows, column] for column in (columns.start - 1, columns.stop) if 0 <= column < dark.shape[1]]
    return all(side.mean() < STEEP for side in beyond)


def _black_around(dark: NDArray[np.bool_], part: tuple[slice, slice]) -> bool:
    """Whether it is dark beyond the ellipse around the rectangle."""
    down, across = (
        (np.arange(length) - (side.start + side.stop - 1) / 2) / ((side.stop - side.start) / np.sqrt(2))
        for side, length in zip(part, dark.shape, strict=True)
    )
    outside = dark[np.hypot(down[:, None], across[None, :]) > AROUND]
    return outside.size == 0 or bool(outside.mean() >= BLACK)

"""Map of the area of a slide that a user has viewed, with the highest magnification of each cell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.files import atomic_file, remove_file

MAX_CELLS = 256  # along the longer side of the slide
# A cell stores the logarithm of the magnification: this many steps for a factor of two, and this value for one screen
# pixel for each pixel of the finest level; 0 for a cell not seen.
STEPS_PER_OCTAVE, ONE_TO_ONE = 4, 128


@dataclass(frozen=True)
class SeenView:
    """A view that was displayed to a user.

    ``center``: (row, column) in pixels of the finest level. ``extent``: height and width of the view. ``pixel_size``:
    height and width of a pixel of the finest level, in the same unit. ``angle``: clockwise rotation of the slide in
    degrees. ``screen_px``: width of the view in pixels of the screen.
    """

    center: tuple[float, float]
    extent: tuple[float, float]
    pixel_size: tuple[float, float]
    angle: float
    screen_px: float

    @property
    def ratio(self) -> float:
        """Magnification: pixels of the screen for each pixel of the finest level."""
        return self.screen_px * self.pixel_size[1] / self.extent[1]


def empty_visited(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the map of a slide that has not been viewed, uint8 (row, column) of zeros.

    ``size``: height and width of the slide in pixels of the finest level.
    """
    cell = max(size) / MAX_CELLS
    return np.zeros((max(1, math.ceil(size[0] / cell)), max(1, math.ceil(size[1] / cell))), np.uint8)


def add_view(visited: NDArray[np.uint8], size: tuple[int, int], view: SeenView) -> NDArray[np.uint8]:
    """Return a copy of a map with a view added; each cell keeps the highest magnification.

    ``visited``: uint8 (row, column). ``size``: height and width of the slide in pixels of the finest level.
    """
    shape = visited.shape
    rows = ((np.arange(shape[0]) + 0.5) * size[0] / shape[0] - view.center[0]) * view.pixel_size[0]
    columns = ((np.arange(shape[1]) + 0.5) * size[1] / shape[1] - view.center[1]) * view.pixel_size[1]
    cosine, sine = math.cos(math.radians(view.angle)), math.sin(math.radians(view.angle))
    y = cosine * rows[:, None] + sine * columns[None, :]
    x = cosine * columns[None, :] - sine * rows[:, None]
    seen = (np.abs(y) <= view.extent[0] / 2) & (np.abs(x) <= view.extent[1] / 2)
    center = tuple(int(px / side * cells) for px, side, cells in zip(view.center, size, shape, strict=True))
    if all(0 <= index < cells for index, cells in zip(center, shape, strict=True)):
        seen[center] = True  # also if the view is smaller than a cell
    return np.maximum(visited, np.where(seen, _encode(view.ratio), 0).astype(np.uint8))


def seen_ratios(visited: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the highest magnification of each cell, (row, column), as ``SeenView.ratio``; 0 if not seen."""
    ratios = 2.0 ** ((visited.astype(np.float64) - ONE_TO_ONE) / STEPS_PER_OCTAVE)
    return np.where(visited > 0, ratios, 0.0)


def _encode(ratio: float) -> int:
    return int(min(max(round(STEPS_PER_OCTAVE * math.log2(max(ratio, 1e-12))) + ONE_TO_ONE, 1), 255))


def read_visited(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a map, uint8 (row, column); empty if there is none, or if it has the shape of another slide."""
    from PIL import Image

    empty = empty_visited(size)
    try:
        with Image.open(path) as image:
            visited = np.asarray(image.convert("L"), np.uint8)
    except (OSError, ValueError, SyntaxError):
        return empty
    return visited if visited.shape == empty.shape else empty


def write_visited(path: Path, visited: NDArray[np.uint8]) -> None:
    """Write a map as PNG; remove the file if the map is empty."""
    from PIL import Image

    if visited.any():
        with atomic_file(path) as temporary:
            Image.fromarray(visited, "L").save(temporary, "PNG")
    else:
        remove_file(path)

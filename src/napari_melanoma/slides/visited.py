"""The area of a slide that a user has viewed, with the highest magnification of each part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.files import atomic_file, remove_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_CELLS = 256  # along the longer side of the slide
STEPS_PER_OCTAVE, ONE_TO_ONE = 4, 128  # code of a cell: one screen pixel for each pixel of the finest level


@dataclass(frozen=True)
class SeenView:
    """A view that was displayed to a user.

    ``center``: (row, column) in pixels of the finest level. ``extent``: height and width of the screen in the unit of
    ``pixel_size``, which is (height, width) of a pixel. ``angle``: clockwise rotation of the slide in degrees.
    """

    center: tuple[float, float]
    extent: tuple[float, float]
    pixel_size: tuple[float, float]
    angle: float
    screen_px: float  # width of the screen in its pixels

    @property
    def ratio(self) -> float:
        """Pixels of the screen for each pixel of the finest level."""
        return self.screen_px * self.pixel_size[1] / self.extent[1]


def empty_visited(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the map of a slide that has not been viewed.

    ``size``: height and width in pixels of the finest level. Returns uint8 (row, column), 0 for cells not seen.
    """
    cell = max(size) / MAX_CELLS
    return np.zeros((max(1, math.ceil(size[0] / cell)), max(1, math.ceil(size[1] / cell))), np.uint8)


def add_view(visited: NDArray[np.uint8], size: tuple[int, int], view: SeenView) -> NDArray[np.uint8]:
    """Return a map to which a view was added; each cell keeps its highest magnification.

    ``visited``: uint8 (row, column). ``size``: height and width of the slide in pixels of the finest level.
    """
    shape = visited.shape
    rows = ((np.arange(shape[0]) + 0.5) * size[0] / shape[0] - view.center[0]) * view.pixel_size[0]
    columns = ((np.arange(shape[1]) + 0.5) * size[1] / shape[1] - view.center[1]) * view.pixel_size[1]
    cosine, sine = math.cos(math.radians(view.angle)), math.sin(math.radians(view.angle))
    y = cosine * rows[:, None] + sine * columns[None, :]
    x = cosine * columns[None, :] - sine * rows[:, None]
    seen = (np.abs(y) <= view.extent[0] / 2) & (np.abs(x) <= view.extent[1] / 2)
    at = tuple(int(place / side * cells) for place, side, cells in zip(view.center, size, shape, strict=True))
    if all(0 <= index < cells for index, cells in zip(at, shape, strict=True)):
        seen[at] = True  # also if the view is smaller than a cell
    return np.maximum(visited, np.where(seen, _encode(view.ratio), 0).astype(np.uint8))


def seen_ratios(visited: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the highest pixels of the screen for each pixel of the finest level, (row, column); 0 if not seen."""
    ratios = 2.0 ** ((visited.astype(np.float64) - ONE_TO_ONE) / STEPS_PER_OCTAVE)
    return np.where(visited > 0, ratios, 0.0)


def _encode(ratio: float) -> int:
    return int(min(max(round(STEPS_PER_OCTAVE * math.log2(max(ratio, 1e-12))) + ONE_TO_ONE, 1), 255))


def read_visited(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a map, uint8 (row, column); empty if there is none or it is of another slide."""
    from PIL import Image

    empty = empty_visited(size)
    try:
        with Image.open(path) as image:
            found = np.asarray(image.convert("L"), np.uint8)
    except (OSError, ValueError, SyntaxError):
        return empty
    return found if found.shape == empty.shape else empty


def write_visited(path: Path, visited: NDArray[np.uint8]) -> None:
    """Write a map as PNG, or remove the file of an empty one."""
    from PIL import Image

    if visited.any():
        with atomic_file(path) as temporary:
            Image.fromarray(visited, "L").save(temporary, "PNG")
    else:
        remove_file(path)

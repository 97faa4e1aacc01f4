"""One map of a slide out of the maps of patches that lie on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlace

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELLS = 96  # of a patch, along either side; networks tell places no finer
MOST = 4096  # cells of the whole map, along either side


def composed(
    maps: Sequence[NDArray[np.float32]], boxes: Sequence[Box], size: tuple[int, int]
) -> tuple[NDArray[np.float32], MapPlace]:
    """Lay the maps of patches beside each other; where two overlap, the larger value counts.

    ``maps``: float32 (row, column), at least one; each covers its box. ``boxes``: where they lie, in pixels of the
    slide's finest level. ``size``: height and width of the slide, in these pixels. Returns float32 (row, column), NaN
    where there is no patch, or no slide; and where it lies, without a scale.
    """
    top, left = min(box.top for box in boxes), min(box.left for box in boxes)
    bottom, right = max(box.top + box.height for box in boxes), max(box.left + box.width for box in boxes)
    step_y = max(min(box.height for box in boxes) / CELLS, (bottom - top) / MOST)
    step_x = max(min(box.width for box in boxes) / CELLS, (right - left) / MOST)
    shape = max(1, round((bottom - top) / step_y)), max(1, round((right - left) / step_x))
    whole = np.full(shape, np.nan, np.float32)
    for values, box in zip(maps, boxes, strict=True):
        first = round((box.top - top) / step_y), round((box.left - left) / step_x)
        cells = max(1, round(box.height / step_y)), max(1, round(box.width / step_x))
        part = whole[first[0] : first[0] + cells[0], first[1] : first[1] + cells[1]]
        part[...] = np.fmax(part, _resized(values, part.shape))
    rows = top + (np.arange(shape[0]) + 0.5) * step_y
    columns = left + (np.arange(shape[1]) + 0.5) * step_x
    whole[(rows < 0) | (rows > size[0])] = np.nan
    whole[:, (columns < 0) | (columns > size[1])] = np.nan
    return whole, MapPlace(float(top), float(left), step_y, step_x)


def strongest(
    maps: Sequence[NDArray[np.float32]], boxes: Sequence[Box], share: float, count: int, size: tuple[int, int] = (0, 0)
) -> list[tuple[Box, float]]:
    """Find the places where maps of patches are highest, none of which overlaps another.

    ``maps``: float32 (row, column), each covers its box. ``boxes``: where they lie, in pixels of the slide's finest
    level. ``size``: height and width of the slide, in these pixels: no place lies beside it; (0, 0) for one without
    end. Each with its value, the highest first; those where nothing is are left out.
    """
    found: list[tuple[Box, float]] = []
    everything = [
        (float(value), index, place)
        for index, values in enumerate(maps)
        for place, value in np.ndenumerate(np.asarray(values))
        if value > 0
    ]
    for value, index, (row, column) in sorted(everything, key=lambda one: -one[0]):
        box, (rows, columns) = boxes[index], maps[index].shape
        height, width = max(1, round(share * box.height)), max(1, round(share * box.width))
        top = box.top + round((row + 0.5) / rows * box.height - height / 2)
        left = box.left + round((column + 0.5) / columns * box.width - width / 2)
        if any(size) and not (0 <= top <= size[0] - height and 0 <= left <= size[1] - width):
            continue
        if all(abs(top - other.top) >= height or abs(left - other.left) >= width for other, _ in found):
            found.append((Box(top, left, height, width), value))
        if len(found) == count:
            break
    return found


def _resized(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A map of another size, by averaging."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BOX), np.float32)

"""Prompts that select or correct a lesion (clicks, strokes, a box, the previous mask), and simulated clicks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import InputError
from napari_melanoma.imaging.masks import bounding_box, fill_mask_holes, label_components
from napari_melanoma.imaging.scribbles import INSIDE, OUTSIDE

HALF = 0.5  # of a pixel
PREVIOUS_THRESHOLD = 0.5  # probability above which a pixel belongs to the previous mask
SPECK_SHARE = 0.02  # of the largest component: smaller components without a click are left out
PROMPT_MAPS = 4  # include, exclude, box, previous mask
MARK_RADIUS = 1 / 128  # of the disk that a click sets in a mask, as a share of the photograph's shorter side
CLICK_RADIUS = 1 / 40  # of the disk of a click in a prompt map, as a share of the side of the network's input


class Point(NamedTuple):
    """A position in pixels of a photograph; the center of its first pixel is (0, 0)."""

    row: float
    column: float


class PromptBox(NamedTuple):
    """A rectangle in pixels of a photograph, its border included."""

    top: float
    left: float
    bottom: float
    right: float


@dataclass(frozen=True, eq=False)
class Prompts:
    """Clicks, box and strokes of a user in a photograph, and the mask to be corrected.

    ``strokes``: uint8 (row, column), of the photograph's size: 0, ``INSIDE`` or ``OUTSIDE``. ``previous``: the mask to
    be corrected, bool, or its probability, float32 in [0, 1], (row, column), of any size.
    """

    include: tuple[Point, ...] = ()
    exclude: tuple[Point, ...] = ()
    box: PromptBox | None = None
    strokes: NDArray[np.uint8] | None = None
    previous: NDArray[np.bool_] | NDArray[np.float32] | None = None

    def check(self, shape: tuple[int, int]) -> None:
        """Raise an InputError for prompts that do not fit a photograph; ``shape``: (rows, columns)."""
        size = f"the photograph of {shape[0]} x {shape[1]} pixels (row, column)"
        for point in (*self.include, *self.exclude):
            if not all(-HALF <= value < side - HALF for value, side in zip(point, shape, strict=True)):
                raise InputError(f"expected clicks within {size}, found row {point.row:g}, column {point.column:g}.")
        if self.box is not None:
            top, left, bottom, right = self.box
            has_area = top < bottom and left < right
            reaches = bottom >= -HALF and right >= -HALF and top < shape[0] - HALF and left < shape[1] - HALF
            if not (has_area and reaches):
                raise InputError(
                    f"expected a box that overlaps {size}, its top above its bottom and its left before its right, "
                    f"found top {top:g}, left {left:g}, bottom {bottom:g}, right {right:g}."
                )
        if self.strokes is not None and self.strokes.shape != shape:
            raise InputError(f"expected strokes of the photograph's size {shape}, found {self.strokes.shape}.")

    def to_maps(self, shape: tuple[int, int], side: int) -> NDArray[np.float32]:
        """Draw the prompts as the network's input.

        ``shape``: of the photograph, (rows, columns). ``side``: of the network's square input, in pixels. Returns
        float32 (map, side, side) in [0, 1]: pixels to include, to exclude, in the box, and of the previous mask.
        """
        from PIL import Image

        maps = np.zeros((PROMPT_MAPS, side, side), np.float32)
        scale = side / np.array(shape)
        for drawn, points in zip(maps[:2], (self.include, self.exclude), strict=True):
            for point in points:
                draw_click(drawn, *((np.array(point) + HALF) * scale - HALF))
        if self.strokes is not None:
            for drawn, label in zip(maps[:2], (INSIDE, OUTSIDE), strict=True):
                rows, columns = np.nonzero(self.strokes == label)
                at_row, at_column = (np.stack([rows, columns]) * scale[:, None]).astype(int)
                drawn[at_row, at_column] = 1
        if self.box is not None:
            ends = (np.array(self.box) + HALF) * np.tile(scale, 2) - HALF
            top, left, bottom, right = np.clip(np.rint(ends), 0, side - 1).astype(int)
            maps[2, top : bottom + 1, left : right + 1] = 1
        if self.previous is not None:
            is_mask = self.previous.dtype == np.bool_
            values = np.uint8(255) * self.previous if is_mask else np.rint(255 * self.previous).astype(np.uint8)
            small = Image.fromarray(values).resize((side, side), Image.Resampling.BILINEAR)
            maps[3] = np.asarray(small) / np.float32(255)
        return maps


Pixel = tuple[FiniteFloat, FiniteFloat]


class PromptOptions(Config):
    """Clicks and a box that select a lesion, in pixels of the photograph (row, column)."""

    include: tuple[Pixel, ...] = Field((), description="pixels of the lesion")
    exclude: tuple[Pixel, ...] = Field((), description="pixels outside the lesion")
    box: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] | None = Field(
        None, description="rectangle around the lesion: top, left, bottom, right"
    )

    def to_prompts(self, previous: NDArray[np.bool_] | None = None) -> Prompts:
        """Create prompts; ``previous``: bool (row, column), the mask to be corrected."""
        include, exclude = (tuple(Point(*pixel) for pixel in pixels) for pixels in (self.include, self.exclude))
        return Prompts(include, exclude, None if self.box is None else PromptBox(*self.box), previous=previous)


def draw_click(drawn: NDArray[np.float32], row: float, column: float) -> None:
    """Draw the disk of a click in a map of prompts; ``drawn``: float32 (side, side), changed in place."""
    draw_disk(drawn, (row, column), len(drawn) * CLICK_RADIUS)


def draw_disk(drawn: NDArray[Any], center: tuple[float, float], radius: float, value: float = 1) -> None:
    """Set the pixels of a disk within the image.

    ``drawn``: (row, column), changed in place. ``center``: (row, column).
    """
    first = [max(0, math.ceil(position - radius)) for position in center]
    stop = [max(0, math.floor(position + radius) + 1) for position in center]
    part = drawn[first[0] : stop[0], first[1] : stop[1]]
    rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
    part[(rows + first[0] - center[0]) ** 2 + (columns + first[1] - center[1]) ** 2 <= radius**2] = value


class Click(NamedTuple):
    """A click of a simulated user, who compares a mask with the correct one; ``include``: whether to add the pixel."""

    row: int
    column: int
    include: bool


def simulate_click(
    truth: NDArray[np.bool_], mask: NDArray[np.bool_], random: np.random.Generator | None = None
) -> Click | None:
    """Click in the middle of the largest error of a mask, as usual in the literature (Sofiiuk et al. 2022).

    The middle is the pixel of the error that is farthest from its border. With ``random``, a pixel of the same error
    that is at least half as far from the border is chosen at random. ``truth``, ``mask``: bool (row, column). Returns
    None if both are equal.
    """
    from scipy import ndimage

    missing, surplus = truth & ~mask, mask & ~truth
    distances = [ndimage.distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1] for error in (missing, surplus)]
    farthest = [float(distance.max()) for distance in distances]
    if not max(farthest):
        return None
    include = farthest[0] >= farthest[1]
    distance = distances[0 if include else 1]
    row, column = np.unravel_index(distance.argmax(), distance.shape)
    if random is not None:
        parts, _ = ndimage.label(distance > 0)
        candidates = np.argwhere((parts == parts[row, column]) & (distance >= distance.max() / 2))
        row, column = candidates[random.integers(len(candidates))]
    return Click(int(row), int(column), include)


def apply_prompts(mask: NDArray[np.bool_], prompts: Prompts, *, everywhere: bool = False) -> NDArray[np.bool_]:
    """Select the components of a mask by prompts, include and exclude the clicked pixels, and fill holes.

    Docks, command line and Python apply this function to every prediction from prompts. ``mask``: the thresholded
    probability, which is not smoothed, bool (row, column). Returns bool, same shape.

    With pixels to include or a box, the components there and those that overlap the previous mask are kept; otherwise,
    or if there are no such components, all components except specks. If clicks or strokes contradict the previous mask,
    only the parts of the change that touch them are kept (Chen et al. 2022, doi:10.1109/CVPR52688.2022.00136), so that
    a correction changes nothing far away; with ``everywhere``, the whole change is kept.
    """
    shape = (mask.shape[0], mask.shape[1])
    include, exclude = _draw_marks(prompts, shape)
    if prompts.strokes is not None:
        include |= prompts.strokes == INSIDE
        exclude |= prompts.strokes == OUTSIDE
    previous = None if prompts.previous is None else _draw_previous(prompts.previous, shape)
    if previous is not None and not everywhere:
        mask = _limit_change(mask, previous, include, exclude)
    applied = (mask | include) & ~exclude
    box = bounding_box(applied)
    if box is None:
        return applied
    labels, _ = label_components(fill_mask_holes(applied[box.slices]))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    selected = areas >= max(1, SPECK_SHARE * areas.max())  # by label
    if prompts.box is not None or include.any():
        marked = mask & (include | _draw_box(prompts.box, shape))
        if previous is not None:
            marked |= mask & previous
        at_marks = np.zeros_like(selected)
        at_marks[labels[marked[box.slices]]] = True  # numpy.unique sorts, which takes seconds in large photographs
        if at_marks[1:].any():
            selected = at_marks
        selected[labels[include[box.slices]]] = True
    selected[0] = False
    applied[box.slices] = selected[labels] & ~exclude[box.slices]
    return applied


def _limit_change(
    mask: NDArray[np.bool_], previous: NDArray[np.bool_], include: NDArray[np.bool_], exclude: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return the new mask where a component of the change touches a marked error, and the previous mask elsewhere."""
    errors = (include & ~previous) | (exclude & previous)
    changed = mask ^ previous
    box = bounding_box(changed)
    if box is None or not errors.any():
        return mask
    labels, count = label_components(changed[box.slices])
    touched = np.zeros(count + 1, bool)
    touched[labels[errors[box.slices]]] = True
    touched[0] = False
    limited = previous.copy()
    limited[box.slices] ^= touched[labels]
    return limited


def _draw_box(box: PromptBox | None, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw the box as a mask, bool (row, column); empty without a box."""
    inside = np.zeros(shape, bool)
    if box is not None:
        top, left, bottom, right = (max(0, round(value)) for value in box)
        inside[top : bottom + 1, left : right + 1] = True
    return inside


def _draw_previous(previous: NDArray[np.bool_] | NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the previous mask in the photograph's size, bool (row, column)."""
    from PIL import Image

    inside = previous > PREVIOUS_THRESHOLD
    if inside.shape == shape:
        return inside
    resized = Image.fromarray(inside.view(np.uint8)).resize((shape[1], shape[0]), Image.Resampling.NEAREST)
    return np.asarray(resized) > 0


def _draw_marks(prompts: Prompts, shape: tuple[int, int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw clicks as disks in a mask of pixels to include and one to exclude; where both overlap, the nearer counts."""
    include, exclude = np.zeros(shape, bool), np.zeros(shape, bool)
    radius = max(1.0, MARK_RADIUS * min(shape))
    for marked, points in ((include, prompts.include), (exclude, prompts.exclude)):
        for point in points:
            draw_disk(marked, point, radius, True)
    both = np.argwhere(include & exclude) if prompts.include and prompts.exclude else np.zeros((0, 2), int)
    if len(both):
        to_include, to_exclude = (
            np.hypot(*(both[:, None] - np.array(points)).transpose(2, 0, 1)).min(1)
            for points in (prompts.include, prompts.exclude)
        )
        rows, columns = both.T
        exclude[rows, columns] = to_exclude <= to_include
        include[rows, columns] = to_exclude > to_include
    return include, exclude

"""Detect and remove dark hairs on skin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_HAIR_WIDTH = 13  # pixels, in an image of 512; wider structures are not hairs
MIN_CONTRAST = 24  # of 255, against the skin on both sides
MIN_STRAIGHT_LENGTH = 35  # shortest straight run in pixels
MIN_HAIR_LENGTH = 70  # pixels; shorter structures are creases, crusts or vessels
DIRECTIONS = 16
CLOSING_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
WORKING_SIDE = 512
NEAR, MIN_HAIR_SHARE = 9, 0.02  # pixels of the first neighborhood; share of it that must be known
EDGE = 2  # pixels of the soft border of a hair
MAX_HAIR_SHARE = 0.4  # largest share of hair; a larger mask shows a pattern, and would leave little to fill from


def remove_hair(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Remove dark hairs: pixels under them are interpolated from the skin next to them.

    After DullRazor (Lee et al. 1997, doi:10.1016/S0010-4825(97)00020-6), with three changes: closing in four
    directions, hairs are distinguished from spots and pigment networks by straight runs, and gaps are filled with the
    mean of their surroundings instead of a line across.

    ``rgb``: uint8 sRGB (row, column, channel); best with a shorter side of about 512 pixels. Returns uint8, same shape;
    the same values where there is no hair.
    """
    return inpaint_hair(rgb, hair_mask(rgb))


def inpaint_hair(rgb: NDArray[np.uint8], hair: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Remove hairs with a given mask, which may be of another size.

    ``rgb``: uint8 sRGB (row, column, channel). ``hair``: bool (row, column), of the whole image at any size. Returns
    uint8, same shape; the image itself without hair, or with more than ``MAX_HAIR_SHARE``.
    """
    if not 0 < hair.mean() <= MAX_HAIR_SHARE:
        return rgb
    rows, columns = rgb.shape[:2]
    if hair.shape != (rows, columns):
        fitted = Image.fromarray(np.uint8(255) * hair).resize((columns, rows), Image.Resampling.BILINEAR)
        hair = np.asarray(fitted) > 0
    return fill_holes_from_surroundings(rgb, hair)


def hair_mask(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Detect dark hairs.

    ``rgb``: uint8 sRGB (row, column, channel). Returns bool (row, column), their soft borders included.
    """
    scale = min(rgb.shape[:2]) / WORKING_SIDE
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    width = max(3, round(MAX_HAIR_WIDTH * scale))
    closed = [_line_closing(planes, step, width) for step in CLOSING_DIRECTIONS]
    depth = (np.maximum.reduce(closed) - planes).max(axis=0)
    thin = depth > MIN_CONTRAST
    lines = _keep_long_parts(
        _open_with_lines(thin, max(5, round(MIN_STRAIGHT_LENGTH * scale))), MIN_HAIR_LENGTH * scale
    )
    return _dilate(lines, max(1, round(EDGE * scale)))


def fill_holes_from_surroundings(rgb: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fill holes with the mean of their surroundings; wider ones from further away.

    ``rgb``: uint8 (row, column, channel). ``hole``: bool (row, column); nothing is filled where it covers everything.
    Returns uint8, same shape.
    """
    from scipy.ndimage import uniform_filter

    filled, open_ = rgb.copy(), hole
    known = (~hole).astype(np.float32)
    pixels = rgb * known[..., None]
    size, whole = NEAR, 2 * max(hole.shape) + 1  # covers the whole image from any pixel
    while open_.any() and known.any():
        size = min(size, whole)
        weight = uniform_filter(known, size, mode="nearest")
        near = open_ & (weight > (MIN_HAIR_SHARE if size < whole else 0))
        for channel in range(3):
            mean = uniform_filter(pixels[..., channel], size, mode="nearest")
            filled[near, channel] = np.clip(np.rint(mean[near] / weight[near]), 0, 255)
        if size == whole:
            break
        open_, size = open_ & ~near, 3 * size
    return filled


def _line_closing(planes: NDArray[np.uint8], step: tuple[int, int], length: int) -> NDArray[np.uint8]:
    """Morphological closing of planes (..., row, column) with a line of pixels one step apart."""
    padded = np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(length, length)] * 2, mode="edge")
    back = (-step[0], -step[1])
    closed = _accumulate_along_line(_accumulate_along_line(padded, step, length, np.maximum), back, length, np.minimum)
    return closed[..., length:-length, length:-length]


def _accumulate_along_line(planes: NDArray, step: tuple[int, int], length: int, join: np.ufunc) -> NDArray:
    """Combine each pixel with those of a line that starts at it, by doubling."""
    joined, covered = planes, 1
    while covered < length:
        further = min(covered, length - covered)
        joined = join(joined, _shift(joined, (further * step[0], further * step[1])))
        covered += further
    return joined


def _shift(planes: NDArray, by: tuple[int, int]) -> NDArray:
    """Shift planes cyclically."""
    return np.roll(planes, (-by[0], -by[1]), axis=(-2, -1))


def _open_with_lines(mask: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Morphological opening with a line, in any of several directions."""
    padded = np.pad(mask, length)
    kept = np.zeros_like(padded)
    for angle in np.arange(DIRECTIONS) * np.pi / DIRECTIONS:
        reach = np.arange(length) - length // 2
        steps = np.stack([np.rint(reach * np.sin(angle)), np.rint(reach * np.cos(angle))], axis=1).astype(int)
        kept |= _combine_shifted(_combine_shifted(padded, steps, np.logical_and), -steps, np.logical_or)
    return kept[length:-length, length:-length]


def _keep_long_parts(mask: NDArray[np.bool_], least: float) -> NDArray[np.bool_]:
    """Keep the connected parts whose bounding box has a diagonal of at least ``least`` pixels."""
    from scipy.ndimage import find_objects, label

    labels, count = label(mask, structure=np.ones((3, 3)))
    kept = np.zeros(count + 1, bool)
    for number, box in enumerate(find_objects(labels), start=1):
        kept[number] = np.hypot(*(part.stop - part.start for part in box)) >= least
    return kept[labels]


def _combine_shifted(mask: NDArray[np.bool_], steps: NDArray[np.int64], join: np.ufunc) -> NDArray[np.bool_]:
    """Combine a mask with shifted copies of itself; nothing is set outside of it."""
    joined, reach = mask.copy(), int(np.abs(steps).max())
    padded = np.pad(mask, reach)  # shifting is then a view, which takes a third of the time of rolling
    for row, column in (reach + steps).tolist():
        join(joined, padded[row : row + mask.shape[0], column : column + mask.shape[1]], out=joined)
    return joined


def _dilate(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Dilate a mask with a square."""
    padded = np.pad(mask, 2 * by)
    rows = _accumulate_along_line(padded, (1, 0), 2 * by + 1, np.logical_or)
    both = _accumulate_along_line(rows, (0, 1), 2 * by + 1, np.logical_or)
    return both[by : by + mask.shape[0], by : by + mask.shape[1]]

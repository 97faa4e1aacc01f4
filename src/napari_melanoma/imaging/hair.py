"""Detect and remove dark hairs on skin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_HAIR_WIDTH = 13  # pixels, in an image of 512; wider structures are not hairs
MIN_CONTRAST = 24  # of 255, against the skin on both sides
MIN_STRAIGHT_LENGTH = 35  # shortest straight run in pixels
MIN_HAIR_LENGTH = 70  # pixels; shorter structures are creases, crusts or vessels
DIRECTIONS = 16
CLOSING_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
WORKING_SIDE = 512
# Side of the first neighborhood from which a hole is filled, in pixels; share of a neighborhood that must be outside it
FIRST_SIDE, MIN_KNOWN_SHARE = 9, 0.02
EDGE = 2  # pixels of the soft border of a hair
MAX_HAIR_SHARE = 0.4  # largest share of hair; a larger mask shows a pattern, and would leave little to fill from


def remove_hair(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Remove dark hairs: pixels under them are interpolated from the skin next to them.

    The method is DullRazor (Lee et al. 1997, doi:10.1016/S0010-4825(97)00020-6) with three changes: the closing has
    four directions; hairs are distinguished from spots and pigment networks by straight runs; and pixels under hairs
    get the mean of their surroundings instead of being interpolated along a line across the hair.

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
    from scipy.ndimage import maximum_filter

    scale = min(rgb.shape[:2]) / WORKING_SIDE
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    width = max(3, round(MAX_HAIR_WIDTH * scale))
    closed = [_line_closing(planes, step, width) for step in CLOSING_DIRECTIONS]
    depth = (np.maximum.reduce(closed) - planes).max(axis=0)
    thin = depth > MIN_CONTRAST
    lines = _keep_long_parts(
        _open_with_lines(thin, max(5, round(MIN_STRAIGHT_LENGTH * scale))), MIN_HAIR_LENGTH * scale
    )
    return maximum_filter(lines, 2 * max(1, round(EDGE * scale)) + 1, mode="constant")


def fill_holes_from_surroundings(rgb: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fill holes with the mean of their surroundings; the neighborhood of wide holes is larger.

    ``rgb``: uint8 (row, column, channel). ``hole``: bool (row, column); nothing is filled if it covers everything.
    Returns uint8, same shape.
    """
    from scipy.ndimage import uniform_filter

    filled, unfilled = rgb.copy(), hole
    known = (~hole).astype(np.float32)
    pixels = rgb * known[..., None]
    side, max_side = FIRST_SIDE, 2 * max(hole.shape) + 1  # max_side covers the whole image from any pixel
    while unfilled.any() and known.any():
        side = min(side, max_side)
        weight = uniform_filter(known, side, mode="nearest")
        fillable = unfilled & (weight > (MIN_KNOWN_SHARE if side < max_side else 0))
        for channel in range(3):
            mean = uniform_filter(pixels[..., channel], side, mode="nearest")
            filled[fillable, channel] = np.clip(np.rint(mean[fillable] / weight[fillable]), 0, 255)
        if side == max_side:
            break
        unfilled, side = unfilled & ~fillable, 3 * side
    return filled


def _line_closing(planes: NDArray[np.uint8], step: tuple[int, int], length: int) -> NDArray[np.uint8]:
    """Morphological closing of planes (..., row, column) with a line of pixels one step apart."""
    padded = np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(length, length)] * 2, mode="edge")
    back = (-step[0], -step[1])
    closed = _accumulate_along_line(_accumulate_along_line(padded, step, length, np.maximum), back, length, np.minimum)
    return closed[..., length:-length, length:-length]


def _accumulate_along_line(planes: NDArray, step: tuple[int, int], length: int, join: np.ufunc) -> NDArray:
    """Combine each pixel with those of a line that starts at it, whose length is doubled in each round."""
    joined, covered = planes, 1
    while covered < length:
        distance = min(covered, length - covered)
        joined = join(joined, np.roll(joined, (-distance * step[0], -distance * step[1]), axis=(-2, -1)))
        covered += distance
    return joined


def _open_with_lines(mask: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Return the union of the morphological openings with a line in several directions."""
    padded = np.pad(mask, length)
    opened = np.zeros_like(padded)
    for angle in np.arange(DIRECTIONS) * np.pi / DIRECTIONS:
        reach = np.arange(length) - length // 2
        steps = np.stack([np.rint(reach * np.sin(angle)), np.rint(reach * np.cos(angle))], axis=1).astype(int)
        opened |= _combine_shifted(_combine_shifted(padded, steps, np.logical_and), -steps, np.logical_or)
    return opened[length:-length, length:-length]


def _keep_long_parts(mask: NDArray[np.bool_], min_length: float) -> NDArray[np.bool_]:
    """Keep the connected parts whose bounding box has a diagonal of at least ``min_length`` pixels."""
    from scipy.ndimage import find_objects, label

    labels, count = label(mask, structure=np.ones((3, 3)))
    is_long = np.zeros(count + 1, bool)
    for number, box in enumerate(find_objects(labels), start=1):
        is_long[number] = np.hypot(*(side.stop - side.start for side in box)) >= min_length
    return is_long[labels]


def _combine_shifted(mask: NDArray[np.bool_], steps: NDArray[np.int64], join: np.ufunc) -> NDArray[np.bool_]:
    """Combine a mask with copies of itself, shifted by ``steps`` (row, column); pixels outside count as not set."""
    joined, reach = mask.copy(), int(np.abs(steps).max())
    padded = np.pad(mask, reach)  # a shifted copy is then a view, which takes a third of the time of numpy.roll
    for row, column in (reach + steps).tolist():
        join(joined, padded[row : row + mask.shape[0], column : column + mask.shape[1]], out=joined)
    return joined

"""Colours of classes, and label images laid over pictures; the first class, what is around, stays clear."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRENGTH = 0.45  # of a colour over the picture


def class_colours(classes: int) -> NDArray[np.uint8]:
    """Give each class a colour: hues spread evenly, away from the pink and purple of the usual stain.

    Returns uint8 (class, channel); the first is grey.
    """
    hues = 0.12 + 0.56 * np.arange(max(1, classes - 1)) / max(1, classes - 2)
    found = [(0.6, 0.6, 0.6), *(colorsys.hsv_to_rgb(float(hue), 0.95, 0.95) for hue in hues)]
    return (255 * np.array(found[:classes])).round().astype(np.uint8)


def tinted(rgb: NDArray[np.uint8], labels: NDArray[np.uint8], classes: int) -> NDArray[np.uint8]:
    """Lay the colours of classes over a picture; the first class stays clear.

    ``rgb``: uint8 (row, column, channel). ``labels``: uint8 (row, column), numbers of classes. Returns uint8 (row,
    column, channel).
    """
    colours = class_colours(classes).astype(np.float32)[labels]
    mixed = (1 - STRENGTH) * rgb + STRENGTH * colours
    return np.where(labels[..., None] > 0, mixed, rgb).round().astype(np.uint8)

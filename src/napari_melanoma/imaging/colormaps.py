"""Draw heatmaps and label colors over images."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Colors of matplotlib's magma (van der Walt and Smith, CC0) at 0, 1/8 ... 1: even steps of lightness, also for
# color-blind users.
MAGMA = np.array(
    [
        (0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122), (229, 80, 100), (251, 135, 97),
        (254, 194, 135), (252, 253, 191),
    ],
    float,
)  # fmt: skip
OPACITY = 0.6  # of the strongest heat
TINT_STRENGTH = 0.45  # of a color over the image


def draw_heatmap(rgb: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw heat over a photograph, more opaque where it is stronger.

    ``rgb``: uint8 (row, column, channel=3). ``heat``: float32 (row, column) in [0, 1]. Returns uint8 (row, column,
    channel=3).
    """
    steps = np.linspace(0, 1, len(MAGMA))
    color = np.stack([np.interp(heat, steps, channel) for channel in MAGMA.T], axis=-1)
    share = OPACITY * np.sqrt(np.clip(heat, 0, 1))[..., None]
    return np.rint(rgb * (1 - share) + color * share).astype(np.uint8)


def class_colors(classes: int) -> NDArray[np.uint8]:
    """Choose a color for each class: hues spread evenly, excluding the pink and purple of the usual stain.

    Returns uint8 (class, channel); the first is gray.
    """
    hues = 0.12 + 0.56 * np.arange(max(1, classes - 1)) / max(1, classes - 2)
    found = [(0.6, 0.6, 0.6), *(colorsys.hsv_to_rgb(float(hue), 0.95, 0.95) for hue in hues)]
    return (255 * np.array(found[:classes])).round().astype(np.uint8)


def overlay_labels(rgb: NDArray[np.uint8], labels: NDArray[np.uint8], classes: int) -> NDArray[np.uint8]:
    """Draw the colors of classes over an image; the first class is transparent.

    ``rgb``: uint8 (row, column, channel). ``labels``: uint8 (row, column), numbers of classes. Returns uint8 (row,
    column, channel).
    """
    colors = class_colors(classes).astype(np.float32)[labels]
    mixed = (1 - TINT_STRENGTH) * rgb + TINT_STRENGTH * colors
    return np.where(labels[..., None] > 0, mixed, rgb).round().astype(np.uint8)

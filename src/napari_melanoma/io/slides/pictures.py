"""Small pictures of a slide: scaled to a size, and channels laid over each other in their colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_COLOURS = ((0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 0), (255, 0, 255), (0, 255, 255))
_STRIPE_PX, _MARK, _GROUND = 16, (214, 39, 140), (225, 225, 225)
_SHOWN_PERCENT = (10, 99.8)  # glass around the tissue; without a few grains of dust, beside which tissue would be dark


def fitted(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale a picture to a size by averaging.

    ``rgb``: uint8 (row, column, channel=3). Returns uint8 (row, column, channel=3).
    """
    from PIL import Image

    if rgb.shape[:2] == (height, width):
        return rgb
    return np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BOX))


def laid_over_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay RGBA over white; RGB stays as it is.

    ``pixels``: uint8 (row, column, channel=3 or 4). Returns uint8 (row, column, channel=3).
    """
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)


def channel_colour(index: int, colours: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    """Colour of a channel: the file's own, else one of a fixed order.

    ``colours``: 8-bit RGB colours that the file names; may be empty. 8-bit RGB.
    """
    return colours[index] if index < len(colours) else DEFAULT_COLOURS[index % len(DEFAULT_COLOURS)]


def limits(channel: NDArray) -> tuple[float, float]:
    """The values between which a channel is shown: from its background to nearly its brightest.

    ``channel``: (row, column).
    """
    if not channel.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(channel, _SHOWN_PERCENT))
    return low, max(high, low + 1)


def in_colours(channels: NDArray, colours: Sequence[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Lay channels over each other, each in its colour.

    ``channels``: (row, column, channel), unsigned integers. ``colours``: 8-bit RGB colours that the file names; may be
    empty. Returns uint8 (row, column, channel=3).
    """
    shown = np.zeros((*channels.shape[:2], 3), np.float32)
    for index in range(channels.shape[2]):
        channel = channels[..., index]
        low, high = limits(channel)
        share = np.clip((channel - low) / (high - low), 0, 1).astype(np.float32)
        shown += share[..., None] * np.array(channel_colour(index, colours), np.float32)
    return np.minimum(shown, 255).astype(np.uint8)


def marked_tile(height: int, width: int, channels: int, dtype: np.dtype) -> NDArray:
    """Draw what stands in the place of a tile that cannot be decoded: stripes in a colour that tissue does not have.

    Returns (row, column, channel).
    """
    stripes = (np.add.outer(np.arange(height), np.arange(width)) // _STRIPE_PX) % 2 == 0
    if channels == 3 and dtype == np.uint8:
        return np.where(stripes[..., None], np.array(_MARK, dtype), np.array(_GROUND, dtype))
    bright = np.where(stripes, np.iinfo(dtype).max // 2, 0).astype(dtype)
    return np.repeat(bright[..., None], channels, axis=2)

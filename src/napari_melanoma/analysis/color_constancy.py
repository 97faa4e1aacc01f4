"""Colour constancy: the tint of the light is estimated from the picture and taken out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLIPPED = 250  # of 255: what shines tells the limit of the camera, not the colour of the light
FEWEST = 0.05  # share of pixels that are not clipped; below it all of them are asked
DARKEST = 1.0  # of 255, for a channel that is empty


def shades_of_grey(rgb: NDArray[np.uint8], power: float = 6.0) -> NDArray[np.uint8]:
    """Scale the channels so that the scene is grey in the mean of a power of its values.

    Power 1 takes the mean colour for that of the light (grey world), infinity the brightest (white patch): Finlayson
    and Trezzi 2004, "Shades of gray and colour constancy". The default is that of Barata et al. 2015 for dermoscopy,
    doi:10.1109/JBHI.2014.2336473.

    ``rgb``: uint8 sRGB (row, column, channel). Returns uint8, alike.
    """
    return scaled_channels(rgb, light_gains(rgb, power))


def scaled_channels(rgb: NDArray[np.uint8], gains: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Multiply the channels.

    ``rgb``: uint8 sRGB (row, column, channel). ``gains``: float64 (3,), as ``light_gains`` gives them. Returns uint8,
    alike; what becomes brighter than white is white.
    """
    table = np.rint(np.clip(np.arange(256)[:, None] * gains, 0, 255)).astype(np.uint8)
    return np.stack([table[rgb[..., channel], channel] for channel in range(3)], axis=-1)


def light_gains(rgb: NDArray[np.uint8], power: float = 6.0) -> NDArray[np.float64]:
    """Say by what each channel is to be multiplied to make the light white, at the same brightness.

    ``rgb``: uint8 sRGB (row, column, channel). Returns float64 (3,), all 1 where the light is white.
    """
    seen = rgb.max(axis=2) < CLIPPED
    pixels = rgb[seen] if seen.mean() >= FEWEST else rgb.reshape(-1, 3)
    # From counts of the 256 values: the power is taken of few numbers.
    counts = np.stack([np.bincount(pixels[:, channel], minlength=256) for channel in range(3)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    light = np.maximum((shares @ (np.arange(256) / 255) ** power) ** (1 / power), DARKEST / 255)
    return np.sqrt((light**2).mean()) / light

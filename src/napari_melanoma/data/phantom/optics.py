"""From pigment and blood to colour: skin as an absorbing layer over a bright dermis, in linear sRGB."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.phantom.plane import Map

# Linear sRGB of skin without pigment or blood.
DERMIS = np.array([0.80, 0.73, 0.68], np.float32)
# Absorption per unit in red, green, blue: melanin falls smoothly with wavelength, haemoglobin has its bands in green
# and blue and is nearly clear in red (Jacques 2013, doi:10.1088/0031-9155/58/11/R37). The power law of that review is
# flattened, as light that is absorbed less has travelled further; set so that types I to VI keep the hue of skin.
MELANIN = np.array([0.68, 1.00, 1.40], np.float32)
BLOOD = np.array([0.20, 1.00, 0.82], np.float32)
# Share of light that the uppermost layer returns before it meets pigment; it keeps dark skin from being too saturated.
SURFACE = np.float32(0.010)
# Linear sRGB of pigment seen through scattering dermis: the blue-white veil.
VEIL = np.array([0.27, 0.31, 0.38], np.float32)

# Individual typology angle in degrees, lower and upper end, for each of six classes from very light to dark: the limits
# of Chardon et al. 1991 (doi:10.1111/j.1467-2494.1991.tb00561.x), extended to dark skin by Del Bino and Bernerd 2013
# (doi:10.1111/bjd.12529). The angle measures colour, the Fitzpatrick type a reaction to the sun; the two classes go
# together in the mean only.
TYPE_ANGLES = {1: (57, 66), 2: (43, 53), 3: (30, 39), 4: (13, 25), 5: (-24, 4), 6: (-58, -36)}

_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = _TO_XYZ.sum(axis=1)


def reflectance(melanin: Map, blood: Map) -> NDArray[np.float32]:
    """Colour of skin.

    ``melanin``, ``blood``: optical density in green, natural logarithm, (row, column). Returns float32 linear sRGB
    (row, column, channel).
    """
    light = np.empty((*melanin.shape, 3), np.float32)
    for channel, (dermis, m, b) in enumerate(zip(DERMIS, MELANIN, BLOOD, strict=True)):
        light[..., channel] = SURFACE + dermis * np.exp(-(m * melanin + b * blood))
    return light


def typology_angle(linear: NDArray) -> NDArray:
    """Individual typology angle: atan2(L* - 50, b*), the smaller the darker.

    Degrees (...).
    """
    _, y, z = np.moveaxis(np.cbrt(np.asarray(linear) @ _TO_XYZ.T / _WHITE), -1, 0)
    return np.degrees(np.arctan2(116 * y - 66, 200 * (y - z)))


@cache
def melanin_for(angle: float, blood: float) -> float:
    """Melanin that gives skin with this much blood the typology angle, by inverse interpolation.

    ``angle``: degrees.
    """
    melanin = np.linspace(0, 5, 501, dtype=np.float32)
    angles = typology_angle(reflectance(melanin[None], np.full((1, 501), blood, np.float32)))[0]
    return float(np.interp(-angle, -angles, melanin))


def encode(linear: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Encode linear light as sRGB (IEC 61966-2-1), through a table.

    ``linear``: float32 of any shape, clipped to 0 to 1. Returns uint8 of the same shape.
    """
    steps = 1 << 13
    index = np.clip(linear * np.float32(steps - 1) + np.float32(0.5), 0, steps - 1).astype(np.uint16)
    return _encoding(steps)[index]


@cache
def _encoding(steps: int) -> NDArray[np.uint8]:
    """Table from linear to 8-bit sRGB."""
    linear = np.linspace(0, 1, steps)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)

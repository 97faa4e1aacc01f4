"""Stain normalisation of tiles by a table of colours: each method is a function of a pixel's colour, computed once.

The table has every second level of red, green and blue (2 million colours, 6 MB, some tenths of a second to make). On
tissue it is a level or less from the exact function on average; single dark pixels, where logarithms are steep, differ
by more. A tile of 224 pixels is looked up in 0.2 ms, whichever method it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.color import to_lab, to_srgb
from napari_melanoma.analysis.stain import USUAL_STAINS, StainFit, optical_density, stain_basis

if TYPE_CHECKING:
    from numpy.typing import NDArray

BITS = 7
LEVELS = 1 << BITS
COLORS_AT_ONCE = 2**18  # bounds the memory while a table is made
PIXELS_AT_ONCE = 2**16  # about a tile: what is looked up stays in the processor's cache

# What slides are brought to where no reference is given: the amounts of Macenko's reference image, and for the other
# methods round values between those of the tissue of public H&E slides.
_AMOUNTS = (1.9705, 1.0308)
_LAB_MEAN, _LAB_SPREAD = (55.0, 25.0, -25.0), (15.0, 8.0, 7.0)
_RGB_MEAN, _RGB_SPREAD = (155.0, 110.0, 165.0), (45.0, 42.0, 36.0)


def normalise(rgb: NDArray[np.uint8], fit: StainFit, reference: StainFit | None = None) -> NDArray[np.uint8]:
    """Bring the colours of tiles to those of a reference.

    ``rgb``: uint8 (..., channel=3): one tile, or a batch of them. Returns uint8, same shape; the input itself under
    method ``none``.
    """
    if fit.config.method == "none":
        return rgb
    table = _table(fit, reference or usual_reference(fit))
    pixels = np.ascontiguousarray(rgb).reshape(-1, 3)
    out = np.empty_like(pixels)
    packed = out.view("V3").reshape(-1)  # items of three bytes: half the time of channel by channel
    for first in range(0, len(pixels), PIXELS_AT_ONCE):
        part = slice(first, first + PIXELS_AT_ONCE)
        np.take(table, _places(pixels[part]), out=packed[part], mode="clip")
    return out.reshape(rgb.shape)


def normalise_exactly(rgb: NDArray[np.uint8], fit: StainFit, reference: StainFit | None = None) -> NDArray[np.float32]:
    """Do the same without table and rounding: what the table is made of, and for looking at single colours.

    ``rgb``: uint8 (..., channel=3). Returns float32, same shape, from 0 to 255.
    """
    colors = rgb.reshape(-1, 3)
    target = reference or usual_reference(fit)
    if target.config.method != fit.config.method:
        raise ValueError(f"the reference was fitted by {target.config.method}, the slide by {fit.config.method}.")
    methods: dict[str, Callable[[], NDArray[np.floating]]] = {
        "none": lambda: colors.astype(np.float32),
        "macenko": lambda: _by_stains(colors, fit, target),
        "reinhard": lambda: _by_lab(colors, fit, target),
        "histogram": lambda: _by_histogram(colors, fit, target),
        "standardise": lambda: _by_moments(colors, fit, target),
    }
    moved = methods[fit.config.method]()
    if fit.config.keep_background and fit.config.method != "macenko":
        stained = _stained_share(colors, fit)[:, None]
        moved = stained * moved + (1 - stained) * colors
    return np.clip(moved, 0, 255).astype(np.float32).reshape(rgb.shape)


def usual_reference(fit: StainFit) -> StainFit:
    """Give the reference that is taken where none is given.

    A usual H&E stain; for histograms the equal share of each level, which is histogram equalisation.
    """
    known: dict[str, dict[str, object]] = {
        "macenko": {"stains": USUAL_STAINS, "amounts": _AMOUNTS},
        "reinhard": {"mean": _LAB_MEAN, "spread": _LAB_SPREAD},
        "histogram": {"shares": (tuple((np.arange(256) / 255).tolist()),) * 3},
        "standardise": {"mean": _RGB_MEAN, "spread": _RGB_SPREAD},
    }
    return StainFit.model_validate({"config": fit.config, **known.get(fit.config.method, {})})


@lru_cache(maxsize=4)
def _table(fit: StainFit, reference: StainFit) -> NDArray[np.void]:
    """Every second level of each channel, three bytes an item, red changing slowest; black and white are exact."""
    levels = np.rint(np.linspace(0, 255, LEVELS)).astype(np.uint8)
    table = np.empty((LEVELS**3, 3), np.uint8)
    for first in range(0, len(table), COLORS_AT_ONCE):
        places = np.arange(first, first + COLORS_AT_ONCE)
        colors = levels[np.stack([places >> (2 * BITS), (places >> BITS) % LEVELS, places % LEVELS], axis=1)]
        table[first : first + COLORS_AT_ONCE] = np.rint(normalise_exactly(colors, fit, reference))
    return table.view("V3").reshape(-1)


def _places(pixels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Where each pixel (pixel, channel) stands in the table; no matrix product, for BLAS would start threads."""
    coarse = pixels >> (8 - BITS)
    places = coarse[:, 0].astype(np.intp)
    for channel in (1, 2):
        places <<= BITS
        places |= coarse[:, channel]
    return places


def _by_stains(colors: NDArray[np.uint8], fit: StainFit, target: StainFit) -> NDArray[np.float32]:
    """Macenko: the amount of each stain scaled, then shown in the target's stains; what neither explains stays."""
    assert fit.amounts is not None
    assert target.amounts is not None
    scale = np.diag([target.amounts[0] / fit.amounts[0], target.amounts[1] / fit.amounts[1], 1.0])
    change = (np.linalg.inv(stain_basis(fit)) @ scale @ stain_basis(target)).astype(np.float32)
    white = np.array(target.white, np.float32)
    return (white * np.exp(-(optical_density(colors, fit.white) @ change))).astype(np.float32)


def _by_lab(colors: NDArray[np.uint8], fit: StainFit, target: StainFit) -> NDArray[np.float32]:
    """Reinhard: mean and standard deviation in CIELAB brought to the target's."""
    return to_srgb(_matched(to_lab(colors), fit, target)) * np.float32(255)


def _by_moments(colors: NDArray[np.uint8], fit: StainFit, target: StainFit) -> NDArray[np.float32]:
    """Standardise: mean and standard deviation of each channel brought to the target's."""
    return _matched(colors.astype(np.float32), fit, target)


def _matched(values: NDArray[np.float32], fit: StainFit, target: StainFit) -> NDArray[np.float32]:
    """Shift and scale each channel."""
    spread = np.maximum(np.array(fit.spread, np.float32), 1e-3)
    away = (values - np.array(fit.mean, np.float32)) / spread
    return (away * np.array(target.spread, np.float32) + np.array(target.mean, np.float32)).astype(np.float32)


def _by_histogram(colors: NDArray[np.uint8], fit: StainFit, target: StainFit) -> NDArray[np.float32]:
    """Match the distribution of each channel to the target's."""
    assert fit.shares is not None
    assert target.shares is not None
    levels = np.arange(256)
    moved = np.empty(colors.shape, np.float32)
    for channel, (own, wanted) in enumerate(zip(fit.shares, target.shares, strict=True)):
        moved[:, channel] = np.interp(_rank_of(own), _rank_of(wanted), levels)[colors[:, channel]]
    return moved


def _rank_of(shares: tuple[float, ...]) -> NDArray[np.float64]:
    """Share of pixels below each level and half of those at it; a little rising where there are none."""
    below = np.array((0.0, *shares[:-1]))
    return np.maximum.accumulate((np.array(shares) + below) / 2) + 1e-9 * np.arange(len(shares))


def _stained_share(colors: NDArray[np.uint8], fit: StainFit) -> NDArray[np.float32]:
    """From 0 for glass to 1 for what counts as stained, without a step between."""
    density = optical_density(colors, fit.white).max(axis=1) / np.float32(fit.config.least_density)
    share = np.clip(2 * density - 1, 0, 1)
    return share * share * (3 - 2 * share)

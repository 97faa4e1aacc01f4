"""The stain of a slide, estimated from a sample of its tissue: what ``analysis.stain_table`` normalises tiles by.

Macenko, Reinhard, histogram equalisation and standardisation (P3 names the last two) are known by a few numbers each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from napari_melanoma.analysis.color import to_lab
from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

StainMethod = Literal["none", "macenko", "reinhard", "histogram", "standardise"]
Triple = tuple[float, float, float]

FEWEST, MOST = 1000, 500_000  # stained pixels that a fit needs, and takes
NARROWEST = 0.12  # radians between two stains; less is one stain with noise
PALEST = 0.25  # share of stained pixels without a say in the directions: noise turns theirs most
# Haematoxylin and eosin as Macenko's reference has them (doi:10.1109/ISBI.2009.5193250).
USUAL_STAINS: tuple[Triple, Triple] = ((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581))


class StainConfig(Config):
    """Which normalisation, and which pixels of the sample count as stained."""

    method: StainMethod = Field("macenko", description="none leaves colours as they are")
    least_density: float = Field(
        0.15, gt=0, lt=1, description="pixels whose optical density is below this in all channels are background"
    )
    angle_percentile: float = Field(
        1.0, gt=0, lt=50, description="Macenko: how far from the ends of all angles the two stains are, in per cent"
    )
    amount_percentile: float = Field(
        99.0, gt=50, le=100, description="Macenko: which amount of a stain is brought to the reference's, in per cent"
    )
    keep_background: bool = Field(
        True, description="what is not stained stays as it is; Macenko keeps white white by itself"
    )


class StainFit(Config):
    """What is known of the stain of a slide, or of a reference: plain numbers, kept with the result."""

    config: StainConfig = Field(StainConfig(), description="how it was fitted")
    white: Triple = Field((255.0, 255.0, 255.0), description="red, green, blue of glass without tissue")
    stains: tuple[Triple, Triple] | None = Field(
        None, description="optical density of haematoxylin and eosin in red, green, blue; each of length 1"
    )
    amounts: tuple[float, float] | None = Field(None, description="of each stain, at the amount percentile")
    mean: Triple | None = Field(None, description="of L*, a*, b* (Reinhard) or of red, green, blue (standardise)")
    spread: Triple | None = Field(None, description="standard deviation of the same")
    shares: tuple[tuple[float, ...], ...] | None = Field(
        None, description="share of pixels at or below each of 256 levels of red, green and blue (histogram)"
    )
    note: str = Field("", description="what was unusual, for people")


def fit_stain(rgb: NDArray[np.uint8], config: StainConfig, white: Triple = (255.0, 255.0, 255.0)) -> StainFit:
    """Estimate the stain of a slide from a sample of its tissue, or of a reference image.

    Macenko et al. 2009 (doi:10.1109/ISBI.2009.5193250): in optical density two stains span a plane through the origin,
    and are its outermost directions; here all but the palest stained pixels say which, for a limit in each channel
    would drop pure eosin.
    Reinhard et al. 2001 (doi:10.1109/38.946629): mean and standard deviation, here in CIELAB.

    ``rgb``: uint8 (..., channel=3): tiles spread over the tissue, at the resolution that is analysed. ``config``:
    method and which pixels count. For ``analysis.stain_table.normalise``, as fit or as reference.
    """
    if config.method == "none":
        return StainFit(config=config, white=white)
    pixels = _stained(rgb.reshape(-1, 3), config, white)
    if config.method == "macenko":
        return _macenko(optical_density(pixels, white), config, white)
    if config.method == "histogram":
        counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
        shares = np.cumsum(counts, axis=1) / len(pixels)
        return StainFit(config=config, white=white, shares=tuple(tuple(row) for row in shares.tolist()))
    values = (to_lab(pixels) if config.method == "reinhard" else pixels).astype(np.float64)
    return StainFit(config=config, white=white, mean=_triple(values.mean(axis=0)), spread=_triple(values.std(axis=0)))


def optical_density(rgb: NDArray, white: Triple = (255.0, 255.0, 255.0)) -> NDArray[np.float32]:
    """Optical density by Beer and Lambert: the natural logarithm of white over each channel.

    ``rgb``: numbers from 0 to 255, (..., channel=3); below 1 counts as 1. Returns float32, same shape; 0 is white.
    """
    return (np.log(np.array(white, np.float32)) - np.log(np.maximum(rgb, 1).astype(np.float32))).astype(np.float32)


def stain_amounts(rgb: NDArray[np.uint8], fit: StainFit) -> NDArray[np.float32]:
    """Unmix the stains (colour deconvolution of Ruifrok and Johnston 2001): how much there is of each in a pixel.

    ``rgb``: uint8 (..., channel=3). Returns float32 (..., 3): haematoxylin, eosin, and what neither explains, such as
    melanin; below 0 where a pixel is lighter than white.
    """
    return optical_density(rgb, fit.white) @ np.linalg.inv(stain_basis(fit)).astype(np.float32)


def stain_basis(fit: StainFit) -> NDArray[np.float64]:
    """Give the optical density of each stain, and of what stands at a right angle on both.

    Returns float64 (stain=3, channel=3), rows of length 1.
    """
    if fit.stains is None:
        raise ValueError(f"a fit by Macenko's method knows stains; this one is {fit.config.method}.")
    stains = np.array(fit.stains)
    rest = np.cross(stains[0], stains[1])
    return np.vstack([stains, rest / np.linalg.norm(rest)])


def _stained(pixels: NDArray[np.uint8], config: StainConfig, white: Triple) -> NDArray[np.uint8]:
    """Pixels of tissue, evenly thinned where there are very many."""
    pixels = pixels[:: -(-len(pixels) // (4 * MOST)) or 1]
    dark = np.array(white) * np.exp(-config.least_density)
    stained = pixels[(pixels < dark).any(axis=1)]
    if len(stained) < FEWEST:
        raise InputError(
            f"a stain is estimated from at least {FEWEST} stained pixels, and the sample has {len(stained)}. Sample "
            "tissue instead of glass, lower the least density for a pale slide, or choose no normalisation."
        )
    return stained[:: -(-len(stained) // MOST)]


def _macenko(density: NDArray[np.float32], config: StainConfig, white: Triple) -> StainFit:
    """Stains and their amounts from the optical density of stained pixels, (pixel, channel)."""
    stains, note = _outermost(density.astype(np.float64), config.angle_percentile), ""
    if np.arccos(np.clip(stains[0] @ stains[1], -1, 1)) < NARROWEST:
        stains = np.array(USUAL_STAINS) / np.linalg.norm(USUAL_STAINS, axis=1, keepdims=True)
        note = "the sample shows one stain only: usual directions of haematoxylin and eosin were taken"
    fit = StainFit(config=config, white=white, stains=(_triple(stains[0]), _triple(stains[1])), note=note)
    amounts = density @ np.linalg.inv(stain_basis(fit))[:, :2]
    most = np.maximum(np.percentile(amounts, config.amount_percentile, axis=0), 0.01)
    return fit.model_copy(update={"amounts": (float(most[0]), float(most[1]))})


def _outermost(density: NDArray[np.float64], percentile: float) -> NDArray[np.float64]:
    """Give the outermost directions of the plane that the pixels lie in; haematoxylin, which takes most red, first."""
    strength = np.linalg.norm(density, axis=1)
    density = density[strength >= np.quantile(strength, PALEST)]
    _, axes = np.linalg.eigh(density.T @ density)
    plane = axes[:, :0:-1]
    plane[:, 0] *= np.sign(plane[:, 0].sum())
    along = density @ plane
    angles = np.arctan2(along[:, 1], along[:, 0])
    ends = np.percentile(angles, [percentile, 100 - percentile])
    stains = np.maximum(np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane.T, 0)
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    return stains[np.argsort(-stains[:, 0])]


def _triple(values: NDArray) -> Triple:
    """Three numbers as a plain tuple."""
    first, second, third = values.tolist()
    return float(first), float(second), float(third)

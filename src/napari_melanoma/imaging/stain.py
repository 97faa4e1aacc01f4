"""Stain of sections in hematoxylin and eosin (H&E): estimation, normalization and measurement."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.prediction_config import StainMethod
from napari_melanoma.imaging.color import to_lab, to_srgb

RGBValues = tuple[float, float, float]
MIN_PIXELS, MAX_PIXELS = 1000, 500_000  # stained pixels for a fit
MIN_STAIN_ANGLE = 0.12  # radians between two stains; a smaller angle is one stain with noise
PALEST_SHARE = 0.25  # of stained pixels, left out when directions are estimated, because noise affects them most
# Hematoxylin and eosin of Macenko's reference (doi:10.1109/ISBI.2009.5193250).
DEFAULT_STAINS: tuple[RGBValues, RGBValues] = ((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581))

BITS = 7  # of each channel in a lookup table
LEVELS = 1 << BITS
COLORS_PER_CHUNK = 2**18  # limits the memory for computing a table
PIXELS_PER_CHUNK = 2**16  # about a tile, so that the data stays in the processor's cache
# Defaults without a reference: the amounts of Macenko's reference image, and for the other methods round values in the
# range of the tissue of public H&E slides.
_AMOUNTS = (1.9705, 1.0308)
_LAB_MEAN, _LAB_SPREAD = (55.0, 25.0, -25.0), (15.0, 8.0, 7.0)
_RGB_MEAN, _RGB_SPREAD = (155.0, 110.0, 165.0), (45.0, 42.0, 36.0)

MEASURES = {
    "haematoxylin_share": "share of the tissue that is stained by hematoxylin more than by eosin",
    "haematoxylin_density": "mean amount of hematoxylin in the tissue, optical density",
    "pigment_share": "share of the tissue that is brown: melanin, or similar pigment such as hemosiderin",
    "nuclei_per_mm2": "dark spots of the size of a nucleus in a square millimeter of tissue",
}
MIN_DENSITY = 0.15  # in the densest channel: less is not tissue
DARK_DENSITY = 0.25  # of hematoxylin in nuclei
# Minimum share of the blue channel in the density, and minimum density, of pigment.
MIN_BROWN_SHARE, BROWN_DENSITY = 0.42, 0.6
NUCLEUS_UM = 7.0  # diameter
MIN_NUCLEUS_PX = 6.0  # diameter, below which nuclei cannot be separated


class StainConfig(Config):
    """Method of stain normalization, and definition of stained pixels."""

    method: StainMethod = Field(
        "macenko",
        title="Stain normalization",
        description="normalization of the colors to a reference; none leaves them unchanged",
    )
    least_density: float = Field(
        0.15,
        title="Minimum optical density",
        gt=0,
        lt=1,
        description="pixels whose optical density is below this in all channels are background",
    )
    angle_percentile: float = Field(
        1.0,
        title="Stain angle percentile",
        gt=0,
        lt=50,
        description="Macenko: percentile of the angles for the two stains",
    )
    amount_percentile: float = Field(
        99.0,
        title="Stain amount percentile",
        gt=50,
        le=100,
        description="Macenko: percentile of the amount of a stain that is matched",
    )
    keep_background: bool = Field(True, description="unstained pixels are unchanged; without effect for Macenko")


class StainFit(Config):
    """Stain of a slide or of a reference image; stored with the result."""

    config: StainConfig = Field(StainConfig(), description="options of the fit")
    white: RGBValues = Field((255.0, 255.0, 255.0), description="red, green, blue of glass without tissue")
    stains: tuple[RGBValues, RGBValues] | None = Field(
        None, description="optical density of hematoxylin and eosin in red, green, blue; each of length 1"
    )
    amounts: tuple[float, float] | None = Field(None, description="of each stain, at the amount percentile")
    mean: RGBValues | None = Field(None, description="of L*, a*, b* (Reinhard) or of red, green, blue (standardise)")
    spread: RGBValues | None = Field(None, description="standard deviation of the same")
    shares: tuple[tuple[float, ...], ...] | None = Field(
        None, description="share of pixels at or below each of 256 levels of red, green and blue (histogram)"
    )
    note: str = Field("", description="message on unusual results")


def fit_stain(rgb: NDArray[np.uint8], config: StainConfig, white: RGBValues = (255.0, 255.0, 255.0)) -> StainFit:
    """Estimate the stain of a slide from a sample of its tissue, or of a reference image.

    Macenko et al. 2009 (doi:10.1109/ISBI.2009.5193250): in optical density, the pixels lie in a plane through the
    origin, and the two stains are its outermost directions. Here these are estimated from all but the palest stained
    pixels, because a limit in each channel would remove pure eosin. Reinhard et al. 2001 (doi:10.1109/38.946629): mean
    and standard deviation, here in CIELAB.

    ``rgb``: uint8 (..., channel=3): tiles from across the tissue, at the analyzed resolution. ``white``: red, green,
    blue of glass without tissue. The result is used by ``normalize_stain`` as the fit of a slide or as a reference.
    """
    if config.method == "none":
        return StainFit(config=config, white=white)
    pixels = _stained_pixels(rgb.reshape(-1, 3), config, white)
    if config.method == "macenko":
        return _fit_macenko(optical_density(pixels, white), config, white)
    if config.method == "histogram":
        counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
        shares = np.cumsum(counts, axis=1) / len(pixels)
        return StainFit(config=config, white=white, shares=tuple(tuple(row) for row in shares.tolist()))
    values = (to_lab(pixels) if config.method == "reinhard" else pixels).astype(np.float64)
    return StainFit(
        config=config, white=white, mean=_to_rgb_values(values.mean(axis=0)), spread=_to_rgb_values(values.std(axis=0))
    )


def optical_density(rgb: NDArray, white: RGBValues = (255.0, 255.0, 255.0)) -> NDArray[np.float32]:
    """Return the optical density (Beer-Lambert): the natural logarithm of white divided by each channel.

    ``rgb``: numbers from 0 to 255, (..., channel=3); below 1 counts as 1. Returns float32, same shape; 0 is white.
    """
    return (np.log(np.array(white, np.float32)) - np.log(np.maximum(rgb, 1).astype(np.float32, copy=False))).astype(
        np.float32, copy=False
    )


def stain_amounts(rgb: NDArray[np.uint8], fit: StainFit) -> NDArray[np.float32]:
    """Unmix the stains (color deconvolution of Ruifrok and Johnston 2001): the amount of each in a pixel.

    ``rgb``: uint8 (..., channel=3). Returns float32 (..., 3): hematoxylin, eosin, and the residual, such as melanin.
    """
    return optical_density(rgb, fit.white) @ np.linalg.inv(stain_basis(fit)).astype(np.float32)


def stain_basis(fit: StainFit) -> NDArray[np.float64]:
    """Return the optical density of each stain, and of the direction perpendicular to both.

    Returns float64 (stain=3, channel=3), rows of length 1.
    """
    if fit.stains is None:
        raise ValueError(f"stains are available for Macenko's method only, found {fit.config.method}")
    stains = np.array(fit.stains)
    residual = np.cross(stains[0], stains[1])
    return np.vstack([stains, residual / np.linalg.norm(residual)])


def _stained_pixels(pixels: NDArray[np.uint8], config: StainConfig, white: RGBValues) -> NDArray[np.uint8]:
    """Return the stained pixels, evenly subsampled if there are too many."""
    pixels = pixels[:: -(-len(pixels) // (4 * MAX_PIXELS)) or 1]
    dark = np.array(white) * np.exp(-config.least_density)
    stained = pixels[(pixels < dark).any(axis=1)]
    if len(stained) < MIN_PIXELS:
        raise InputError(
            f"stain estimation needs at least {MIN_PIXELS} stained pixels, but the sample has {len(stained)}. Sample "
            "tissue instead of glass, lower the minimum optical density for a pale slide, or use no normalization."
        )
    return stained[:: -(-len(stained) // MAX_PIXELS)]


def _fit_macenko(density: NDArray[np.float32], config: StainConfig, white: RGBValues) -> StainFit:
    """Fit the stains and their amounts to the optical density of stained pixels, (pixel, channel)."""
    stains, note = _extreme_directions(density.astype(np.float64), config.angle_percentile), ""
    if np.arccos(np.clip(stains[0] @ stains[1], -1, 1)) < MIN_STAIN_ANGLE:
        stains = np.array(DEFAULT_STAINS) / np.linalg.norm(DEFAULT_STAINS, axis=1, keepdims=True)
        note = "the sample shows one stain only: standard directions of hematoxylin and eosin are used"
    fit = StainFit(config=config, white=white, stains=(_to_rgb_values(stains[0]), _to_rgb_values(stains[1])), note=note)
    amounts = density @ np.linalg.inv(stain_basis(fit))[:, :2]
    high_amounts = np.maximum(np.percentile(amounts, config.amount_percentile, axis=0), 0.01)
    return fit.model_copy(update={"amounts": (float(high_amounts[0]), float(high_amounts[1]))})


def _extreme_directions(density: NDArray[np.float64], percentile: float) -> NDArray[np.float64]:
    """Return the outermost directions of the plane of the pixels, (stain, channel).

    The stain that absorbs more red, hematoxylin, is the first.
    """
    strength = np.linalg.norm(density, axis=1)
    density = density[strength >= np.quantile(strength, PALEST_SHARE)]
    _, axes = np.linalg.eigh(density.T @ density)
    plane = axes[:, :0:-1]
    plane[:, 0] *= np.sign(plane[:, 0].sum())
    coordinates = density @ plane
    angles = np.arctan2(coordinates[:, 1], coordinates[:, 0])
    ends = np.percentile(angles, [percentile, 100 - percentile])
    stains = np.maximum(np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane.T, 0)
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    return stains[np.argsort(-stains[:, 0])]


def _to_rgb_values(values: NDArray) -> RGBValues:
    first, second, third = values.tolist()
    return float(first), float(second), float(third)


def normalize_stain(rgb: NDArray[np.uint8], fit: StainFit, reference: StainFit | None = None) -> NDArray[np.uint8]:
    """Normalize the colors of tiles to those of a reference.

    ``rgb``: uint8 (..., channel=3): one tile or a batch. Returns uint8, same shape; the input itself for method
    ``none``.
    """
    if fit.config.method == "none":
        return rgb
    return look_up_colors(rgb, _lookup_table(fit, reference or default_reference(fit)))


def look_up_colors(rgb: NDArray[np.uint8], table: NDArray[np.uint8], bits: int = BITS) -> NDArray[np.uint8]:
    """Replace each color by that of a lookup table.

    ``rgb``: uint8 (..., channel=3). ``table``: uint8 (index, channel=3), see ``table_indices``. ``bits``: of each
    channel in the table. Returns uint8 of the shape of ``rgb``.
    """
    pixels = np.ascontiguousarray(rgb).reshape(-1, 3)
    replaced = np.empty_like(pixels)
    # One item of three bytes per color takes half the time of separate channels.
    table_items, replaced_items = (colors.view("V3").reshape(-1) for colors in (table, replaced))
    for first in range(0, len(pixels), PIXELS_PER_CHUNK):
        part = slice(first, first + PIXELS_PER_CHUNK)
        np.take(table_items, table_indices(pixels[part], bits), out=replaced_items[part], mode="clip")
    return replaced.reshape(rgb.shape)


def normalize_stain_exact(
    rgb: NDArray[np.uint8], fit: StainFit, reference: StainFit | None = None
) -> NDArray[np.float32]:
    """Normalize colors without a lookup table and without rounding; used to compute the table and for patches.

    ``rgb``: uint8 (..., channel=3). Returns float32, same shape, from 0 to 255.
    """
    colors = rgb.reshape(-1, 3)
    target = reference or default_reference(fit)
    if target.config.method != fit.config.method:
        raise ValueError(f"the reference was fitted by {target.config.method}, the slide by {fit.config.method}")
    methods: dict[str, Callable[[], NDArray[np.floating]]] = {
        "none": lambda: colors.astype(np.float32),
        "macenko": lambda: _normalize_macenko(colors, fit, target),
        "reinhard": lambda: to_srgb(_match_moments(to_lab(colors), fit, target)) * np.float32(255),
        "histogram": lambda: _normalize_histogram(colors, fit, target),
        "standardise": lambda: _match_moments(colors.astype(np.float32), fit, target),
    }
    normalized = methods[fit.config.method]()
    if fit.config.keep_background and fit.config.method != "macenko":
        stained = _stained_share(colors, fit)[:, None]
        normalized = stained * normalized + (1 - stained) * colors
    return np.clip(normalized, 0, 255).astype(np.float32).reshape(rgb.shape)


def default_reference(fit: StainFit) -> StainFit:
    """Return the default reference for the method of a fit: a standard H&E stain.

    For the method "histogram" it has equal shares of all levels, which is histogram equalization.
    """
    references: dict[str, dict[str, object]] = {
        "macenko": {"stains": DEFAULT_STAINS, "amounts": _AMOUNTS},
        "reinhard": {"mean": _LAB_MEAN, "spread": _LAB_SPREAD},
        "histogram": {"shares": (tuple((np.arange(256) / 255).tolist()),) * 3},
        "standardise": {"mean": _RGB_MEAN, "spread": _RGB_SPREAD},
    }
    return StainFit.model_validate({"config": fit.config, **references.get(fit.config.method, {})})


@lru_cache(maxsize=4)
def _lookup_table(fit: StainFit, reference: StainFit) -> NDArray[np.uint8]:
    """Return the normalized colors for 128 levels of each channel, from black to white: uint8 (index, channel=3)."""
    levels = np.rint(np.linspace(0, 255, LEVELS)).astype(np.uint8)
    table = np.empty((LEVELS**3, 3), np.uint8)
    for first in range(0, len(table), COLORS_PER_CHUNK):
        colors = levels[table_levels(np.arange(first, first + COLORS_PER_CHUNK))]
        table[first : first + COLORS_PER_CHUNK] = np.rint(normalize_stain_exact(colors, fit, reference))
    return table


def table_levels(indices: NDArray[np.intp], bits: int = BITS) -> NDArray[np.intp]:
    """Return the level of each channel for indices of a table of colors, (index, channel=3); red varies slowest."""
    mask = (1 << bits) - 1
    return np.stack([indices >> (2 * bits), (indices >> bits) & mask, indices & mask], axis=1)


def table_indices(pixels: NDArray[np.uint8], bits: int = BITS) -> NDArray[np.intp]:
    """Return the index of each pixel (..., channel=3) in a table of colors with ``bits`` bits of each channel.

    It is computed without a matrix product, for which BLAS would start threads.
    """
    coarse = pixels >> (8 - bits)
    indices = coarse[..., 0].astype(np.intp)
    for channel in (1, 2):
        indices <<= bits
        indices |= coarse[..., channel]
    return indices


def _normalize_macenko(colors: NDArray[np.uint8], fit: StainFit, target: StainFit) -> NDArray[np.float32]:
    """Scale the amounts of both stains, and replace their colors by those of the target; the residual is unchanged."""
    assert fit.amounts is not None
    assert target.amounts is not None
    scale = np.diag([target.amounts[0] / fit.amounts[0], target.amounts[1] / fit.amounts[1], 1.0])
    change = (np.linalg.inv(stain_basis(fit)) @ scale @ stain_basis(target)).astype(np.float32)
    white = np.array(target.white, np.float32)
    return (white * np.exp(-(optical_density(colors, fit.white) @ change))).astype(np.float32)


def _match_moments(values: NDArray[np.float32], fit: StainFit, target: StainFit) -> NDArray[np.float32]:
    """Match mean and standard deviation of each channel to those of the target."""
    spread = np.maximum(np.array(fit.spread, np.float32), 1e-3)
    standardized = (values - np.array(fit.mean, np.float32)) / spread
    return (standardized * np.array(target.spread, np.float32) + np.array(target.mean, np.float32)).astype(np.float32)


def _normalize_histogram(colors: NDArray[np.uint8], fit: StainFit, target: StainFit) -> NDArray[np.float32]:
    """Match the distribution of each channel to that of the target."""
    assert fit.shares is not None
    assert target.shares is not None
    levels = np.arange(256)
    matched = np.empty(colors.shape, np.float32)
    for channel, (shares, target_shares) in enumerate(zip(fit.shares, target.shares, strict=True)):
        table = np.interp(_level_ranks(shares), _level_ranks(target_shares), levels)
        matched[:, channel] = table[colors[:, channel]]
    return matched


def _level_ranks(shares: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the share of pixels below each level plus half of those at the level; strictly increasing."""
    below = np.array((0.0, *shares[:-1]))
    return np.maximum.accumulate((np.array(shares) + below) / 2) + 1e-9 * np.arange(len(shares))


def _stained_share(colors: NDArray[np.uint8], fit: StainFit) -> NDArray[np.float32]:
    """Return a weight of each color, (color,), that rises smoothly from 0 for glass to 1 for stained pixels."""
    density = optical_density(colors, fit.white).max(axis=1) / np.float32(fit.config.least_density)
    share = np.clip(2 * density - 1, 0, 1)
    return share * share * (3 - 2 * share)


DEFAULT_FIT = StainFit(stains=DEFAULT_STAINS)


def measure_stain(rgb: NDArray[np.uint8], mpp: float | None) -> dict[str, float]:
    """Measure stains and nuclei in an image of a section.

    Stains are separated by color deconvolution (Ruifrok and Johnston 2001, PMID 11531144). The stains are those of
    Macenko's reference and not fitted to the image, so that the values of one laboratory are comparable. Melanin is
    recognized because it absorbs blue most and red least, unlike both stains. Nuclei are counted as maxima of
    hematoxylin at the scale of a nucleus, if their diameter is at least 6 pixels; crowded nuclei are underestimated.
    Mitoses are not counted: at the magnification of patches, a rule without a trained model confuses them with pyknotic
    nuclei.

    ``rgb``: uint8 (row, column, channel=3), sRGB, glass near white. ``mpp``: micrometers per pixel; None if unknown.
    Returns values by the names in ``MEASURES``; NaN without tissue, and for nuclei that are not resolved.
    """
    density = optical_density(rgb)
    tissue = density.max(axis=2) >= MIN_DENSITY
    if not tissue.any():
        return dict.fromkeys(MEASURES, float("nan"))
    brown = (density[..., 2] >= MIN_BROWN_SHARE * density.sum(axis=2)) & (density.max(axis=2) >= BROWN_DENSITY) & tissue
    hematoxylin, eosin = np.moveaxis(stain_amounts(rgb, DEFAULT_FIT).clip(min=0), 2, 0)[:2]
    stained = tissue & ~brown
    dark = stained & (hematoxylin >= DARK_DENSITY) & (hematoxylin > eosin)
    mean = float(hematoxylin[stained].mean()) if stained.any() else float("nan")
    return {
        "haematoxylin_share": float(dark.sum() / tissue.sum()),
        "haematoxylin_density": mean,
        "pigment_share": float(brown.sum() / tissue.sum()),
        "nuclei_per_mm2": _nuclei_per_mm2(np.where(stained, hematoxylin, 0.0), tissue, mpp),
    }


def _nuclei_per_mm2(hematoxylin: NDArray[np.floating], tissue: NDArray[np.bool_], mpp: float | None) -> float:
    """Count the maxima at the scale of a nucleus per square millimeter of tissue; NaN if nuclei are not resolved."""
    if mpp is None or NUCLEUS_UM / mpp < MIN_NUCLEUS_PX:
        return float("nan")
    from scipy.ndimage import gaussian_laplace, maximum_filter

    radius = NUCLEUS_UM / 2 / mpp
    sigma = radius / np.sqrt(2)  # strongest response for a disk of this radius
    response = -gaussian_laplace(np.asarray(hematoxylin, np.float32), sigma) * sigma**2
    peaks = (response == maximum_filter(response, size=2 * round(radius) + 1)) & (response >= DARK_DENSITY / 2) & tissue
    return float(peaks.sum() / (tissue.sum() * (mpp / 1000) ** 2))

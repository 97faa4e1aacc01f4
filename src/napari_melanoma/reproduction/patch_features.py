"""Features of a patch of a stained section that need no network: color, stains, texture and shape of regions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.imaging.stain import DEFAULT_FIT, MIN_DENSITY, measure_stain, optical_density, stain_amounts

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRAY_LEVELS = 32
GLCM_DISTANCES = (1, 2, 4, 8)
GLCM_PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation")
LBP_RADII, LBP_POINTS = (1, 3), 8
MIN_REGION_PX = 12  # smaller regions have no shape


def measure_patch_features(rgb: NDArray[np.uint8], mpp: float | None) -> dict[str, float]:
    """Measure color, stains, texture and shape in an image of a section.

    Colors (CIELAB) and stains: mean, spread, skewness and percentiles in the tissue. Texture of the gray image: gray
    level co-occurrence (Haralick et al. 1973, doi:10.1109/TSMC.1973.4309314) and shares of the uniform local binary
    patterns (Ojala et al. 2002, doi:10.1109/TPAMI.2002.1017623). Shape: regions that are rich in hematoxylin, and pale
    ones that are rich in eosin.

    ``rgb``: uint8 (row, column, channel=3). ``mpp``: micrometers per pixel; None if unknown. Returns values by name,
    the same names for all images; NaN where a value is not defined.
    """
    from skimage.color import rgb2gray, rgb2lab

    tissue = optical_density(rgb).max(axis=2) >= MIN_DENSITY
    hematoxylin, eosin = np.moveaxis(stain_amounts(rgb, DEFAULT_FIT).clip(min=0), 2, 0)[:2]
    features = {"tissue_share": float(tissue.mean()), **measure_stain(rgb, mpp)}
    channels = dict(zip(("lightness", "green_red", "blue_yellow"), np.moveaxis(rgb2lab(rgb), 2, 0), strict=True))
    for name, values in (*channels.items(), ("haematoxylin", hematoxylin), ("eosin", eosin)):
        features |= {f"{name}_{key}": value for key, value in _distribution(values[tissue])}
    gray = (rgb2gray(rgb) * 255).astype(np.uint8)
    features |= dict(_co_occurrence(gray)) | dict(_binary_patterns(gray))
    for name, mask in (("dark", hematoxylin > eosin), ("pale", eosin > 2 * hematoxylin)):
        features |= {f"{name}_regions_{key}": value for key, value in _region_shapes(mask & tissue)}
    return features


def _distribution(values: NDArray[np.floating]) -> Iterator[tuple[str, float]]:
    """Mean, spread, skewness and percentiles."""
    if not len(values):
        yield from dict.fromkeys(("mean", "spread", "skewness", "p10", "p50", "p90"), float("nan")).items()
        return
    mean, spread = float(values.mean()), float(values.std())
    yield from (("mean", mean), ("spread", spread))
    yield "skewness", float((((values - mean) / spread) ** 3).mean()) if spread > 0 else 0.0
    yield from zip(("p10", "p50", "p90"), map(float, np.percentile(values, (10, 50, 90))), strict=True)


def _co_occurrence(gray: NDArray[np.uint8]) -> Iterator[tuple[str, float]]:
    """Properties of gray level co-occurrence at several distances, mean over four directions."""
    from skimage.feature import graycomatrix, graycoprops

    quantized = gray // (256 // GRAY_LEVELS)
    angles = np.arange(4) * np.pi / 4
    matrix = graycomatrix(quantized, GLCM_DISTANCES, angles, levels=GRAY_LEVELS, symmetric=True, normed=True)
    for name in GLCM_PROPERTIES:
        for distance, value in zip(GLCM_DISTANCES, graycoprops(matrix, name).mean(axis=1), strict=True):
            yield f"glcm_{name}_{distance}px", float(value)


def _binary_patterns(gray: NDArray[np.uint8]) -> Iterator[tuple[str, float]]:
    """Shares of the uniform local binary patterns."""
    from skimage.feature import local_binary_pattern

    for radius in LBP_RADII:
        patterns = local_binary_pattern(gray, LBP_POINTS, radius, "uniform").astype(np.intp)
        shares = np.bincount(patterns.ravel(), minlength=LBP_POINTS + 2) / patterns.size
        yield from ((f"lbp_{radius}px_{number}", float(share)) for number, share in enumerate(shares))


def _region_shapes(mask: NDArray[np.bool_]) -> Iterator[tuple[str, float]]:
    """Share, number, size and shape of connected regions."""
    from skimage.measure import label, regionprops_table

    regions = label(mask)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    kept = sizes >= MIN_REGION_PX
    table = regionprops_table(np.where(kept[regions], regions, 0), properties=("area", "extent", "perimeter"))
    areas = table["area"]
    yield from (("share", float(mask.mean())), ("count", float(len(areas))))
    yield "largest_share", float(sizes.max() / mask.size)
    roundness = 4 * np.pi * areas / np.maximum(table["perimeter"], 1) ** 2
    for name, values in (("extent", table["extent"]), ("roundness", roundness)):
        yield name, float(np.average(values, weights=areas)) if len(areas) else float("nan")

"""What can be counted honestly in a picture of an H&E section: nuclear stain, nuclei where they are seen, pigment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.stain import USUAL_STAINS, StainFit, optical_density, stain_amounts

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEASURES = {
    "haematoxylin_share": "share of the tissue that is stained by haematoxylin more than by eosin",
    "haematoxylin_density": "mean amount of haematoxylin in the tissue, optical density",
    "pigment_share": "share of the tissue that is brown: melanin, or what looks like it, such as haemosiderin",
    "nuclei_per_mm2": "dark spots of the size of a nucleus in a square millimetre of tissue",
}
LEAST_DENSITY = 0.15  # in the densest channel: below it there is no tissue
DARK = 0.25  # haematoxylin from which a place is nuclear stain
BROWN, BROWN_DENSITY = 0.42, 0.6  # share of the blue channel in the density, and the density, from which it is pigment
NUCLEUS_UM = 7.0  # diameter
USUAL = StainFit(stains=USUAL_STAINS)
FINEST_NUCLEUS_PX = 6.0  # across: below it spots are no nuclei that could be told apart


def stain_measures(rgb: NDArray[np.uint8], mpp: float | None) -> dict[str, float]:
    """Measure a picture of a section.

    Stains are told apart by colour deconvolution (Ruifrok and Johnston 2001, PMID 11531144) with the stains of
    Macenko's reference, not fitted to the picture: figures of one laboratory can be compared with each other. Melanin
    absorbs blue most and red least, unlike both stains. Nuclei are counted where they are 6 pixels wide at least, as
    maxima of haematoxylin at the scale of a nucleus: crowded ones count too few. Mitoses are not counted: at any
    magnification that patches have a rule without a trained model mistakes pyknotic nuclei for them.

    ``rgb``: uint8 (row, column, channel=3), sRGB, glass near white. ``mpp``: micrometres per pixel; None where it is
    not known. Returns as ``MEASURES`` names them; NaN where there is no tissue, or nuclei cannot be seen.
    """
    density = optical_density(rgb)
    tissue = density.max(axis=2) >= LEAST_DENSITY
    if not tissue.any():
        return dict.fromkeys(MEASURES, float("nan"))
    brown = (density[..., 2] >= BROWN * density.sum(axis=2)) & (density.max(axis=2) >= BROWN_DENSITY) & tissue
    haematoxylin, eosin = np.moveaxis(stain_amounts(rgb, USUAL).clip(min=0), 2, 0)[:2]
    stained = tissue & ~brown
    dark = stained & (haematoxylin >= DARK) & (haematoxylin > eosin)
    mean = float(haematoxylin[stained].mean()) if stained.any() else float("nan")
    return {
        "haematoxylin_share": float(dark.sum() / tissue.sum()),
        "haematoxylin_density": mean,
        "pigment_share": float(brown.sum() / tissue.sum()),
        "nuclei_per_mm2": _nuclei(np.where(stained, haematoxylin, 0.0), tissue, mpp),
    }


def _nuclei(haematoxylin: NDArray[np.floating], tissue: NDArray[np.bool_], mpp: float | None) -> float:
    """Maxima at the scale of a nucleus in a square millimetre of tissue; NaN where nuclei cannot be seen."""
    if mpp is None or NUCLEUS_UM / mpp < FINEST_NUCLEUS_PX:
        return float("nan")
    from scipy.ndimage import gaussian_laplace, maximum_filter

    radius = NUCLEUS_UM / 2 / mpp
    sigma = radius / np.sqrt(2)  # a disk of this radius answers most
    answer = -gaussian_laplace(np.asarray(haematoxylin, np.float32), sigma) * sigma**2
    peaks = (answer == maximum_filter(answer, size=2 * round(radius) + 1)) & (answer >= DARK / 2) & tissue
    return float(peaks.sum() / (tissue.sum() * (mpp / 1000) ** 2))

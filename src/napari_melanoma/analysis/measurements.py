"""What is measured of a lesion: one list that names, explains and orders the numbers, and the function behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.color import color_measurements
from napari_melanoma.analysis.masks import bounding_box, components
from napari_melanoma.analysis.shape import Lengths, asymmetry, axes, fractal_dimension, lengths

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import PixelSize


@dataclass(frozen=True)
class Measurement:
    """One number: its column in tables, a label and a unit (empty for a plain ratio), and one line that explains it."""

    name: str
    label: str
    unit: str
    explanation: str


MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement("area_px", "Area", "px²", "Number of pixels of the mask"),
    Measurement("perimeter_px", "Perimeter", "px", "Length of the border, holes included (Crofton's formula)"),
    Measurement("equivalent_diameter_px", "Equivalent diameter", "px", "Diameter of the disk of the same area"),
    Measurement("max_diameter_px", "Maximum diameter", "px", "Longest straight line between two points of the border"),
    Measurement("min_diameter_px", "Minimum diameter", "px", "Narrowest gap between parallel lines around the lesion"),
    Measurement("parts", "Parts", "", "Number of separate regions, measured together as one lesion"),
    Measurement("compactness", "Compactness", "", "Perimeter squared over 4 pi area: 1 for a disk, more if irregular"),
    Measurement("eccentricity", "Eccentricity", "", "Of the ellipse with the same moments: 0 round, near 1 elongated"),
    Measurement("axis_ratio", "Axis ratio", "", "Minor over major axis of that ellipse: 1 round, near 0 elongated"),
    Measurement("solidity", "Solidity", "", "Area over the area of the convex hull: 1 without notches"),
    Measurement("asymmetry_major", "Asymmetry, long axis", "", "Share unmatched when folded along the long axis"),
    Measurement("asymmetry_minor", "Asymmetry, short axis", "", "Share unmatched when folded along the short axis"),
    Measurement(
        "border_irregularity", "Border irregularity", "", "Perimeter over that of its convex hull: 1 if convex"
    ),
    Measurement("fractal_dimension", "Fractal dimension", "", "Roughness of the border by box counting: 1 if smooth"),
    Measurement("color_std_l", "Variation of lightness", "", "Standard deviation of L* in the lesion"),
    Measurement("color_std_a", "Variation of red-green", "", "Standard deviation of a* in the lesion"),
    Measurement("color_std_b", "Variation of yellow-blue", "", "Standard deviation of b* in the lesion"),
    Measurement("color_count", "Colours", "", "How many of the six ABCD colours cover at least 5 % of the lesion"),
    Measurement("color_difference", "Contrast to the skin", "", "Colour difference (CIE 1976) to the skin around"),
    Measurement("area_mm2", "Area", "mm²", "Area of the mask"),
    Measurement("perimeter_mm", "Perimeter", "mm", "Length of the border, holes included (Crofton's formula)"),
    Measurement("equivalent_diameter_mm", "Equivalent diameter", "mm", "Diameter of the disk of the same area"),
    Measurement("max_diameter_mm", "Maximum diameter", "mm", "Longest straight line between two points of the border"),
    Measurement("min_diameter_mm", "Minimum diameter", "mm", "Narrowest gap between parallel lines around the lesion"),
)
MEASUREMENT_COLUMNS: tuple[str, ...] = tuple(measurement.name for measurement in MEASUREMENTS)


def measure(mask: NDArray[np.bool_], rgb: NDArray[np.uint8], pixel_size: PixelSize | None) -> dict[str, float]:
    """Measure a lesion: the region properties and the ABCD family, each as ``MEASUREMENTS`` explains it.

    All parts of the mask are measured together as one lesion. Where the pixel size is known, ratios and asymmetries are
    taken in physical space, so that pixels that are not square do not distort them. With area A, perimeter P and convex
    hull H, the ABCD family (Friedman, Rigel and Kopf 1985, doi:10.3322/canjclin.35.3.130) is

    - A: ``asymmetry_major``, ``asymmetry_minor``, see ``shape.asymmetry``;
    - B: ``compactness`` = P^2 / (4 pi A) (the irregularity index of Golston, Stoecker, Moss and Dhillon 1992, Comput
      Med Imaging Graph 16(3):199-203), ``border_irregularity`` = P / P(H) (inverse of the convexity by perimeters in
      Zunic and Rosin 2004, doi:10.1109/TPAMI.2004.19), ``solidity`` = A / A(H) (Celebi et al. 2007,
      doi:10.1016/j.compmedimag.2007.01.003), ``fractal_dimension``, see ``shape.fractal_dimension``;
    - C: the ``color_`` columns, see ``color.color_measurements``;
    - D: ``max_diameter``, see ``shape.lengths``.

    ``mask``: boolean, (row, column). ``rgb``: photograph, uint8, (row, column, channel=3). ``pixel_size``: gives the
    columns in mm and mm2; they are left out without it. Column to value in the order of ``MEASUREMENT_COLUMNS``; empty
    where the mask is. ``fractal_dimension`` is NaN for lesions under 32 pixels, ``color_difference`` where no skin is
    in view; all others are finite.
    """
    box = bounding_box(mask)
    if box is None:
        return {}
    part = mask[box.slices]
    in_pixels = lengths(part)
    physical = None if pixel_size is None else lengths(part, pixel_size.mm)
    measured = _lengths_in(in_pixels, "px", "px")
    measured |= _shape(part, physical or in_pixels, (1.0, 1.0) if pixel_size is None else pixel_size.mm)
    measured |= color_measurements(mask, rgb)
    if physical is not None:
        measured |= _lengths_in(physical, "mm", "mm2")
    return measured


def _lengths_in(found: Lengths, unit: str, area_unit: str) -> dict[str, float]:
    """Area and lengths under the names of a unit."""
    return {
        f"area_{area_unit}": found.area,
        f"perimeter_{unit}": found.perimeter,
        f"equivalent_diameter_{unit}": found.equivalent_diameter,
        f"max_diameter_{unit}": found.max_diameter,
        f"min_diameter_{unit}": found.min_diameter,
    }


def _shape(mask: NDArray[np.bool_], found: Lengths, spacing: tuple[float, float]) -> dict[str, float]:
    """Numbers without a unit."""
    principal = axes(mask, spacing)
    minor = np.array([principal.major[1], -principal.major[0]])
    return {
        "parts": float(components(mask)[1]),
        "compactness": found.perimeter**2 / (4 * math.pi * found.area),
        "eccentricity": principal.eccentricity,
        "axis_ratio": principal.axis_ratio,
        "solidity": min(1.0, found.area / found.hull_area),
        "asymmetry_major": asymmetry(mask, principal.major, principal, spacing),
        "asymmetry_minor": asymmetry(mask, minor, principal, spacing),
        "border_irregularity": found.perimeter / found.hull_perimeter,
        "fractal_dimension": fractal_dimension(mask, spacing),
    }

"""Measurements of a lesion: shape, symmetry, border and color, and the list of all measurements with explanations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.imaging.color import color_shares, lesion_and_ring
from napari_melanoma.imaging.masks import bounding_box, label_components

MIN_COLOR_SHARE = 0.05


class Measurement(NamedTuple):
    """Description of a measurement: column in tables, label, unit (empty for a ratio), and a short explanation."""

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
    Measurement("color_count", "Colors", "", "Number of the six ABCD colors that cover at least 5 % of the lesion"),
    Measurement("color_difference", "Contrast to the skin", "", "Color difference (CIE 1976) to the skin around"),
    Measurement("area_mm2", "Area", "mm²", "Area of the mask"),
    Measurement("perimeter_mm", "Perimeter", "mm", "Length of the border, holes included (Crofton's formula)"),
    Measurement("equivalent_diameter_mm", "Equivalent diameter", "mm", "Diameter of the disk of the same area"),
    Measurement("max_diameter_mm", "Maximum diameter", "mm", "Longest straight line between two points of the border"),
    Measurement("min_diameter_mm", "Minimum diameter", "mm", "Narrowest gap between parallel lines around the lesion"),
)
MEASUREMENT_COLUMNS: tuple[str, ...] = tuple(measurement.name for measurement in MEASUREMENTS)


class MaskLengths(NamedTuple):
    """Area and lengths of a mask and of its convex hull, in the unit of the pixel spacing and its square."""

    area: float
    perimeter: float
    equivalent_diameter: float
    max_diameter: float
    min_diameter: float
    hull_area: float
    hull_perimeter: float


def measure_lesion(
    mask: NDArray[np.bool_], rgb: NDArray[np.uint8] | None, pixel_size: PixelSize | None
) -> dict[str, float]:
    """Measure a lesion: region properties and the ABCD family, each as explained in ``MEASUREMENTS``.

    All parts of the mask are measured together as one lesion. If the pixel size is known, ratios and asymmetries are
    calculated in physical space, so that non-square pixels do not distort them. With area A, perimeter P and convex
    hull H, the ABCD family (Friedman, Rigel and Kopf 1985, doi:10.3322/canjclin.35.3.130) is

    - A: ``asymmetry_major``, ``asymmetry_minor``, see ``asymmetry``;
    - B: ``compactness`` = P^2 / (4 pi A) (the irregularity index of Golston, Stoecker, Moss and Dhillon 1992, Comput
      Med Imaging Graph 16(3):199-203), ``border_irregularity`` = P / P(H) (inverse of the convexity by perimeters in
      Zunic and Rosin 2004, doi:10.1109/TPAMI.2004.19), ``solidity`` = A / A(H) (Celebi et al. 2007,
      doi:10.1016/j.compmedimag.2007.01.003), ``fractal_dimension``, see ``fractal_dimension``;
    - C: the ``color_`` columns, see ``color_measurements``;
    - D: ``max_diameter``, see ``measure_lengths``.

    ``mask``: boolean, (row, column). ``rgb``: photograph, uint8, (row, column, channel=3); without it the ``color_``
    columns are left out. ``pixel_size``: without it the columns in mm and mm2 are left out. Returns values by column,
    in the order of ``MEASUREMENT_COLUMNS``; empty for an empty mask. ``fractal_dimension`` is NaN for lesions under 32
    pixels, and ``color_difference`` if no skin is in view; all other values are finite. The black around the view of a
    dermatoscope and black or white bars do not count as skin.
    """
    box = bounding_box(mask)
    if box is None:
        return {}
    part = mask[box.slices]
    in_pixels = measure_lengths(part)
    physical = None if pixel_size is None else measure_lengths(part, pixel_size.mm)
    measured = _named_lengths(in_pixels, "px", "px")
    measured |= _shape_measurements(part, physical or in_pixels, (1.0, 1.0) if pixel_size is None else pixel_size.mm)
    if rgb is not None:
        measured |= color_measurements(mask, rgb)
    if physical is not None:
        measured |= _named_lengths(physical, "mm", "mm2")
    return measured


def color_measurements(
    mask: NDArray[np.bool_], rgb: NDArray[np.uint8], usable: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Measure the color variegation of a lesion, and its contrast to the skin around it.

    Lesion and surroundings are first averaged down to at most 256 pixels a side, which reduces noise and the effect of
    hairs.

    - ``color_std_l``, ``color_std_a``, ``color_std_b``: standard deviation of L*, a*, b* within the lesion (the color
      features of Celebi et al. 2007, doi:10.1016/j.compmedimag.2007.01.003).
    - ``color_count``: number of the six colors of the ABCD rule that cover at least 5 % of the lesion (Nachbar et al.
      1994, doi:10.1016/S0190-9622(94)70061-3; reference values and share are this program's own).
    - ``color_difference``: CIE 1976 color difference between the means of lesion and skin; skin is the ring from 5 %
      to 25 % of the equivalent diameter away from the lesion, as far as it is in view (``find_view``).

    ``mask``: boolean, (row, column), not empty. ``rgb``: photograph, uint8, (row, column, channel=3). ``usable``: bool
    (row, column), pixels that may be skin; those in view by default. Returns values by column; ``color_difference`` is
    NaN if no skin is in view.
    """
    lesion, ring, lab = lesion_and_ring(mask, rgb, usable)
    inside = lab[lesion]
    spread = inside.std(axis=0, dtype=np.float64)
    difference = math.nan
    if ring.any():
        difference = float(np.linalg.norm(inside.mean(axis=0) - lab[ring].mean(axis=0)))
    return {
        "color_std_l": float(spread[0]),
        "color_std_a": float(spread[1]),
        "color_std_b": float(spread[2]),
        "color_count": float(sum(share >= MIN_COLOR_SHARE for share in color_shares(inside).values())),
        "color_difference": difference,
    }


def _named_lengths(lengths: MaskLengths, unit: str, area_unit: str) -> dict[str, float]:
    return {
        f"area_{area_unit}": lengths.area,
        f"perimeter_{unit}": lengths.perimeter,
        f"equivalent_diameter_{unit}": lengths.equivalent_diameter,
        f"max_diameter_{unit}": lengths.max_diameter,
        f"min_diameter_{unit}": lengths.min_diameter,
    }


def _shape_measurements(
    mask: NDArray[np.bool_], lengths: MaskLengths, spacing: tuple[float, float]
) -> dict[str, float]:
    """Return the measurements without a unit by column name."""
    principal = principal_axes(mask, spacing)
    minor = np.array([principal.major[1], -principal.major[0]])
    return {
        "parts": float(label_components(mask)[1]),
        "compactness": lengths.perimeter**2 / (4 * math.pi * lengths.area),
        "eccentricity": principal.eccentricity,
        "axis_ratio": principal.axis_ratio,
        "solidity": min(1.0, lengths.area / lengths.hull_area),
        "asymmetry_major": asymmetry(mask, principal.major, principal, spacing),
        "asymmetry_minor": asymmetry(mask, minor, principal, spacing),
        "border_irregularity": lengths.perimeter / lengths.hull_perimeter,
        "fractal_dimension": fractal_dimension(mask, spacing),
    }


# Steps between neighbors along which border crossings are counted: axes, diagonals and knight's moves.
DIRECTIONS = ((0, 1), (1, 2), (1, 1), (2, 1), (1, 0), (2, -1), (1, -1), (1, -2))
FOLD_POINTS = 65_536  # at which asymmetry is evaluated
MIN_BORDER_PX = 32  # length of a lesion below which too few box sizes fit
BORDER_SIDE_PX = 512  # longer lesions are subsampled, which is accurate enough for the smallest box
BOX_SHARES = 2 ** np.arange(2, 6.1, 0.5)  # length of the lesion divided by the side of a box
OFFSETS, POINTS_A_BOX = 4, 32  # offsets of a grid of boxes along each axis; points of the border per side of a box
Spacing = tuple[float, float]  # height and width of a pixel, in any unit


class PrincipalAxes(NamedTuple):
    """Centroid and unit vector of the major axis, each (row, column), eccentricity, and minor over major axis."""

    centroid: NDArray[np.float64]
    major: NDArray[np.float64]
    eccentricity: float
    axis_ratio: float


def measure_lengths(mask: NDArray[np.bool_], spacing: Spacing = (1.0, 1.0)) -> MaskLengths:
    """Measure area, perimeter, diameters and convex hull.

    The convex hull passes through the midpoints of the pixels' outer edges, as the contour does, so that it neither
    gains nor loses half a pixel; its longest chord is the maximum diameter (Feret), its narrowest pair of parallel
    tangents the minimum diameter.

    ``mask``: boolean, (row, column), not empty; cropped or not. ``spacing``: height and width of a pixel. Returns
    lengths in the unit of ``spacing``, areas in its square.
    """
    area = float(np.count_nonzero(mask) * spacing[0] * spacing[1])
    corners = _convex_hull(mask) * spacing
    sides = np.roll(corners, -1, axis=0) - corners
    side_lengths = np.hypot(sides[:, 0], sides[:, 1])
    normals = np.stack([sides[:, 1], -sides[:, 0]], axis=1) / side_lengths[:, None]
    differences = corners[:, None] - corners[None]
    following = np.roll(corners, -1, axis=0)
    return MaskLengths(
        area=area,
        perimeter=crofton_perimeter(mask, spacing),
        equivalent_diameter=math.sqrt(4 * area / math.pi),
        max_diameter=float(np.sqrt((differences**2).sum(axis=2).max())),
        min_diameter=float(np.ptp(corners @ normals.T, axis=0).min()),
        hull_area=abs(float(np.sum(corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0]))) / 2,
        hull_perimeter=float(side_lengths.sum()),
    )


def crofton_perimeter(mask: NDArray[np.bool_], spacing: Spacing = (1.0, 1.0)) -> float:
    """Measure the perimeter, holes included, by Crofton's formula, from the crossings of the border with lines.

    Crossings are counted along eight directions, each weighted by the angle that it represents (Legland, Kieu and
    Devaux 2007, doi:10.5566/ias.v26.p83-92, there with four). On square pixels a straight border of any direction is
    accurate within 1.6 %, on pixels of 1 : 2.5 within 4 %; counting pixel edges would be up to 41 % off.

    ``mask``: boolean, (row, column). ``spacing``: height and width of a pixel.
    """
    padded = np.pad(mask, 2)
    rows, columns = padded.shape
    steps = np.array(DIRECTIONS) * spacing
    # The direction of columns makes the angles ascending.
    angles = np.arctan2(steps[:, 0], steps[:, 1])
    gaps = np.diff(np.append(angles, angles[0] + math.pi))
    weights = (gaps + np.roll(gaps, 1)) / 2
    distances = spacing[0] * spacing[1] / np.hypot(steps[:, 0], steps[:, 1])
    total = 0.0
    for (down, right), weight, distance in zip(DIRECTIONS, weights, distances, strict=True):
        pixels = padded[: rows - down, max(0, -right) : columns - max(0, right)]
        neighbors = padded[down:, max(0, right) : columns + min(0, right)]
        total += weight * distance * np.count_nonzero(pixels ^ neighbors)
    return float(total / 2)


def principal_axes(mask: NDArray[np.bool_], spacing: Spacing = (1.0, 1.0)) -> PrincipalAxes:
    """Find centroid and principal axes of the ellipse with the same second moments, as scikit-image's regionprops.

    ``mask``: boolean, (row, column), not empty. ``spacing``: height and width of a pixel. The centroid is in the unit
    of ``spacing``. A single pixel counts as round: eccentricity 0, ratio 1.
    """
    rows, columns = (np.arange(length, dtype=np.float64) for length in mask.shape)
    in_row, in_column = (mask.sum(axis=axis, dtype=np.float64) for axis in (1, 0))  # numbers of pixels
    area = in_row.sum()
    centroid = np.array([rows @ in_row, columns @ in_column]) / area
    down, right = rows - centroid[0], columns - centroid[1]
    mixed = -(down @ np.einsum("rc,c->r", mask, right)) * spacing[0] * spacing[1]
    inertia, directions = np.linalg.eigh(
        np.array([[right**2 @ in_column * spacing[1] ** 2, mixed], [mixed, down**2 @ in_row * spacing[0] ** 2]]) / area
    )
    ratio = math.sqrt(max(0.0, inertia[0]) / inertia[1]) if inertia[1] > 0 else 1.0
    return PrincipalAxes(centroid * spacing, directions[:, 0], math.sqrt(1 - ratio**2), ratio)


def asymmetry(
    mask: NDArray[np.bool_], axis: NDArray[np.float64], principal: PrincipalAxes, spacing: Spacing = (1.0, 1.0)
) -> float:
    """Fold a mask along a line through its centroid, and return the share of its area without a counterpart.

    This is the asymmetry of Stoecker, Li and Moss 1992 (doi:10.1016/0895-6111(92)90073-I). 0 is mirror symmetry; 1
    would be no overlap at all.

    ``mask``: boolean, (row, column), not empty. ``axis``: unit vector (row, column) along the line, in physical space.
    ``principal``: of the mask. ``spacing``: height and width of a pixel. Returns a value between 0 and 1. Large masks
    are sampled at about 65,000 points, small ones at several points per pixel.
    """
    points = _sample_points(mask)
    offsets = [values * size - center for values, size, center in zip(points, spacing, principal.centroid, strict=True)]
    along = 2 * (offsets[0] * axis[0] + offsets[1] * axis[1])
    rows, columns = (
        np.rint((along * part - offset + center) / size).astype(np.intp)
        for part, offset, center, size in zip(axis, offsets, principal.centroid, spacing, strict=True)
    )
    inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    return 1 - int(np.count_nonzero(mask[rows[inside], columns[inside]])) / len(rows)


def fractal_dimension(mask: NDArray[np.bool_], spacing: Spacing = (1.0, 1.0)) -> float:
    """Calculate the box-counting dimension of the border: 1 for a smooth border, 1.26 for a Koch snowflake.

    Claridge et al. 1992 (doi:10.1016/0141-5425(92)90057-R) proposed it as the roughness of a melanoma. It is the slope
    of log(number of boxes that the border crosses) over log(1 / side of a box). The border is the line between pixels
    (marching squares); border pixels instead would leave out boxes of a few pixels and give less than 1. The sides are
    1/4 to 1/64 of the lesion's longer side in steps of the square root of 2, at least 2 pixels, so that the result does
    not depend on the resolution. Boxes are counted on grids at 16 offsets each and averaged (Foroutan-pour, Dutilleul
    and Smith 1999, doi:10.1016/S0096-3003(98)10096-6).

    ``mask``: boolean, (row, column), not empty. ``spacing``: height and width of a pixel. Returns a value between 1 and
    2, as for every closed line; NaN for a lesion under 32 pixels long.
    """
    scale = np.divide(spacing, min(spacing))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    extent = max((rows[-1] - rows[0] + 1) * scale[0], (columns[-1] - columns[0] + 1) * scale[1])
    if extent < MIN_BORDER_PX:
        return math.nan
    stride = max(1, int(extent // BORDER_SIDE_PX))
    lines = [line * scale * stride for line in _trace_borders(mask[::stride, ::stride])]
    sizes = extent / BOX_SHARES
    sizes = sizes[sizes >= 2 * stride]
    counts = [_count_boxes(lines, size) for size in sizes]
    slope = -np.polyfit(np.log(sizes), np.log(counts), 1)[0]
    return float(np.clip(slope, 1, 2))


def _trace_borders(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Trace the closed lines between lesion and skin, each (point, 2) in pixels."""
    from skimage.measure import find_contours

    return find_contours(np.pad(mask, 1).astype(np.float32), 0.5, fully_connected="high")


def _count_boxes(lines: Sequence[NDArray[np.float64]], size: float) -> float:
    """Count the boxes that lines cross on grids at several offsets, and average the counts.

    ``lines``: each (point, 2), not negative. ``size``: side of a box.
    """
    starts, ends = (np.concatenate([line[part] for line in lines]) for part in (np.s_[:-1], np.s_[1:]))
    counts = np.maximum(1, np.ceil(np.hypot(*(ends - starts).T) * POINTS_A_BOX / size)).astype(np.intp)
    share = (np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)) / np.repeat(counts, counts)
    points = np.repeat(starts, counts, axis=0) + share[:, None] * np.repeat(ends - starts, counts, axis=0)
    offsets = size * (np.arange(OFFSETS) + 0.5) / OFFSETS
    rows, columns = ((axis + offsets[:, None]) // size for axis in points.T)  # of the boxes, (offset, point)
    width = columns.max() + 1
    occupied = np.zeros((OFFSETS**2, int((rows.max() + 1) * width)), bool)
    for grid, (down, right) in zip(occupied, product(rows * width, columns), strict=True):
        grid[(down + right).astype(np.intp)] = True
    return np.count_nonzero(occupied) / len(occupied)


def _convex_hull(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the corners of the convex hull of the midpoints of outer pixel edges, in order, (corner, 2) in pixels."""
    import shapely  # importing scipy.spatial takes five times as long

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    part = mask[rows][:, columns]
    first, last = columns[part.argmax(axis=1)], columns[-1 - part[:, ::-1].argmax(axis=1)]
    top, bottom = rows[part.argmax(axis=0)], rows[-1 - part[::-1].argmax(axis=0)]
    sides = [(rows, first - 0.5), (rows, last + 0.5), (top - 0.5, columns), (bottom + 0.5, columns)]
    points = np.concatenate([np.stack(side, axis=1) for side in sides])
    corners: NDArray[np.float64] = shapely.get_coordinates(shapely.convex_hull(shapely.linestrings(points)))
    return corners[:-1]  # the first one is repeated at the end


def _sample_points(mask: NDArray[np.bool_]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the rows and the columns, each (point,) in pixels, of points spread evenly over a mask."""
    area = int(np.count_nonzero(mask))
    stride = max(1, math.isqrt(area // FOLD_POINTS))
    rows, columns = (axis * float(stride) for axis in np.nonzero(mask[::stride, ::stride]))
    points_per_side = min(8, math.isqrt(max(1, FOLD_POINTS // 4 // area)))  # of a pixel
    if points_per_side <= 1:
        return rows, columns
    offsets = (np.arange(points_per_side) + 0.5) / points_per_side - 0.5
    down, across = np.repeat(offsets, points_per_side), np.tile(offsets, points_per_side)
    return (rows[:, None] + down).ravel(), (columns[:, None] + across).ravel()

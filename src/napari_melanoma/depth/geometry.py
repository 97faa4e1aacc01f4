"""Geometry of a skin section: its lesions, its surface and the arc along it, ulceration and thickness.

Positions on the map are y and x in micrometers from its corner. Positions along the skin are the distance along an arc
that follows the surface, and the depth below it, also in micrometers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.imaging.masks import bounding_box, fill_mask_holes, grow_box, label_components

if TYPE_CHECKING:
    from napari_melanoma.depth.tumor_maps import DepthMeasurementConfig, TissueMasks

    Floats = NDArray[np.floating[Any]]
    Bools = NDArray[np.bool_]

FIT_ROUNDS = 10
MIN_ARC_UM = 800.0  # least length of a surface whose curvature can be estimated
MIN_CURVATURE = 1e-9  # 1 / micrometer; avoids a division by 0 for a straight surface
FURROW_DEPTH_UM = 15.0  # depth of the furrows of healthy skin: points closer to the arc are not outliers

# Probabilities, of 255, from which tumor is possible and nearly certain.
POSSIBLE_TUMOR, CERTAIN_TUMOR = 64, 192
MAX_NEST_SHARE = 0.2  # of the area of a lesion: larger groups nearby are separate lesions, not nests

LIFTED_SHARE = 0.3  # of the width of a lesion: distance over which it may lift the skin beside it
OVER_LESION_WEIGHT = 0.02  # of the surface above a lesion in the fit of the arc
ADJACENT_LESION_WEIGHT = 0.1  # of the surface right beside it
MAX_BALANCE = 5.0  # greatest factor by which the side with less skin is weighted up
SURFACE_SMOOTH_UM = 15.0  # window of the median filter along the surface

MIN_POINTS = 20  # cells of the rim that a surface needs
MIN_AGREEMENT = 0.35  # length of the mean direction towards the tissue: shorter where epidermis lies all around
RIM_ROUNDS = 3
BIN_UM = 30.0  # width of the bins in which the uppermost tissue is looked up
NEAR_TOP_UM = 60.0  # cells up to this depth below the uppermost tissue count as uppermost
MIN_FACING = 0.3  # least cosine between the direction of one part of the rim and the mean of the parts kept so far
NO_EPIDERMIS = "no epidermis was found in section {}: the surface for measuring the thickness is unknown"
ALL_AROUND = (
    "no surface was found in section {}: its epidermis lies on all sides or away from the edge of the tissue, as in a "
    "tangential section"
)

CRACK_UM = 10.0  # tissue on both sides of a gap of twice this is one section
RIM_UM = 25.0  # structures this close to the edge of the tissue count as lying at it
SMOOTH_UM = 40.0  # smoothing for the direction towards the tissue
BELOW_UM = 60.0  # this far below the surface, or this close to the end of the epidermis, the rim is not skin surface
# Component of the inward normal along the direction down: where it is lower, the rim is the underside of the tissue and
# not a cleft or hair opening.
DOWNWARD = -0.5


# Sections


@dataclass(frozen=True)
class SkinSection:
    """A piece of tissue within a box of the map; its masks are (row, column) within the box.

    ``index``: from 0, in the order of ``find_sections``. ``top``, ``left``: first row and column of the box on the map.
    ``whole``: the tissue, with holes filled. ``tumor_probability``: up to 255. ``cell_um``: height and width of a cell
    in micrometers. ``end_um``: (y, x) of the end of the map, or of the slide if that is nearer.
    """

    index: int
    top: int
    left: int
    whole: Bools
    epidermis: Bools
    tumor: Bools
    tumor_probability: NDArray[np.uint8]
    cell_um: tuple[float, float]
    end_um: tuple[float, float] = (np.inf, np.inf)

    @property
    def cell_um2(self) -> float:
        """Area of a cell in square micrometers."""
        return self.cell_um[0] * self.cell_um[1]

    def positions(self, mask: Bools) -> Floats:
        """Return the centers of cells.

        ``mask``: bool (row, column) within the box. Returns float64 (cell, 2): y and x in micrometers from the corner
        of the map.
        """
        return np.add(np.argwhere(mask), (self.top + 0.5, self.left + 0.5)) * self.cell_um

    @cached_property
    def rim(self) -> Bools:
        """Outermost cells of the tissue; the border of the box, where the map may end, is no rim."""
        from scipy import ndimage

        return self.whole & ~ndimage.binary_erosion(self.whole, border_value=1)

    def near(self, mask: Bools) -> Bools:
        """Return the cells near a mask.

        ``mask``: bool (row, column) within the box. Returns bool, same shape: within ``RIM_UM`` along rows and columns.
        """
        return dilate(mask, RIM_UM, self.cell_um)

    @cached_property
    def _smoothed_tissue(self) -> Floats:
        """Share of tissue in the window around each cell, 0 to 1."""
        from scipy import ndimage

        size = [2 * round(SMOOTH_UM / 2 / um) + 1 for um in self.cell_um]
        share: Floats = ndimage.uniform_filter(self.whole.astype(np.float32), size, mode="nearest")
        return share

    def inward_normals(self, mask: Bools) -> Floats:
        """Return the direction towards the tissue at cells of the rim.

        ``mask``: bool (row, column) within the box. Returns float64 (cell, 2) as y and x, of length 1, or 0 where it is
        undefined.
        """
        at = np.stack(np.nonzero(mask))
        slopes = []
        for axis, um in enumerate(self.cell_um):
            step = np.array([[axis == 0], [axis == 1]])
            last = np.array(mask.shape)[:, None] - 1
            after, before = np.minimum(at + step, last), np.maximum(at - step, 0)
            slopes.append((self._smoothed_tissue[tuple(after)] - self._smoothed_tissue[tuple(before)]) / um)
        gradient = np.stack(slopes, axis=1).astype(np.float64)
        return gradient / np.maximum(np.hypot(*gradient.T), 1e-9)[:, None]


def find_sections(
    tissues: TissueMasks, cell_um: tuple[float, float], config: DepthMeasurementConfig
) -> tuple[SkinSection, ...]:
    """Find the pieces of tissue of a map, from top to bottom and at the same height from left to right.

    ``cell_um``: height and width of a cell in micrometers.
    """
    from scipy import ndimage

    labels, _ = label_components(dilate(tissues.tissue, CRACK_UM, cell_um))
    labels[~tissues.tissue] = 0
    sizes = np.bincount(labels.ravel()) * cell_um[0] * cell_um[1] / 1e6
    sections: list[SkinSection] = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None or sizes[number] < config.min_section_mm2:
            continue
        box = tuple(slice(max(0, part.start - 2), part.stop + 2) for part in box)
        own = labels[box] == number
        epidermis = remove_small_parts(
            tissues.epidermis[box] & own, config.min_epidermis_um2 / (cell_um[0] * cell_um[1])
        )
        tumor, probability = tissues.tumor[box] & own, np.where(own, tissues.tumor_probability[box], np.uint8(0))
        sections.append(
            SkinSection(
                len(sections), box[0].start, box[1].start, fill_mask_holes(own), epidermis, tumor, probability, cell_um
            )
        )
    return tuple(sections)


def dilate(mask: Bools, by_um: float, cell_um: tuple[float, float]) -> Bools:
    """Widen a mask along rows and columns.

    ``mask``: bool (row, column). ``by_um``: micrometers, rounded up to whole cells. ``cell_um``: height and width of a
    cell in micrometers. Returns bool, same shape.
    """
    from scipy import ndimage

    size = [2 * int(np.ceil(by_um / um)) + 1 for um in cell_um]
    wide: Bools = ndimage.maximum_filter(mask, size, mode="constant")
    return wide


def remove_small_parts(mask: Bools, min_cells: float) -> Bools:
    """Remove the connected parts of a mask with fewer than ``min_cells`` cells.

    ``mask``: bool (row, column). Returns bool, same shape.
    """
    labels, _ = label_components(mask)
    large = np.bincount(labels.ravel()) >= min_cells
    large[0] = False
    kept: Bools = large[labels]
    return kept


# Lesions of a section


@dataclass(frozen=True)
class LesionExtent:
    """Masks of a lesion, from strict to inclusive; all (row, column) within the box of the section.

    ``body``: its largest part. ``near``: with the nests around it. ``far``: also with more distant nests. ``possible``:
    ``near`` with all possible tumor that is adjacent or connected.
    """

    body: Bools
    near: Bools
    far: Bools
    possible: Bools


def label_invasive_parts(section: SkinSection, config: DepthMeasurementConfig) -> tuple[NDArray[np.int32], Bools]:
    """Label the invasive parts of the tumor: neither specks nor nests within the epidermis or at the junction.

    Returns the labels, int32 (row, column), 0 for none; and the mask of these nests, bool (row, column).
    """
    from scipy import ndimage

    labels, count = label_components(section.tumor)
    area = np.bincount(labels.ravel(), minlength=count + 1) * section.cell_um2
    within = np.zeros(count + 1, bool)
    boxes = ndimage.find_objects(labels)
    for number in np.flatnonzero((area >= config.min_nest_um2) & (area <= config.in_situ_um2)).tolist():
        if number and boxes[number - 1] is not None:
            rows, columns = (slice(max(0, part.start - 2), part.stop + 2) for part in boxes[number - 1])
            own = labels[rows, columns] == number
            ring = ndimage.binary_dilation(own, np.ones((3, 3), bool), iterations=2) & ~own
            within[number] = section.epidermis[rows, columns][ring].mean() >= config.in_situ_contact
    keep = (area >= config.min_nest_um2) & ~within
    keep[0] = False
    in_situ: Bools = within[labels]
    return np.where(keep[labels], labels, 0).astype(np.int32), in_situ


def group_lesions(
    section: SkinSection, parts: NDArray[np.int32], config: DepthMeasurementConfig
) -> tuple[LesionExtent, ...]:
    """Group the parts of the tumor into lesions, the largest first; small ones are left out.

    ``parts``: labels (row, column) from ``label_invasive_parts``.
    """
    groups = _label_across_gaps(parts > 0, config.nest_gap_um, section.cell_um)
    areas = np.bincount(groups.ravel()) * section.cell_um2
    areas[0] = 0
    by_area = np.argsort(-areas, kind="stable")
    large = by_area[areas[by_area] >= config.min_lesion_um2]
    return tuple(_build_extent(section, parts, groups, number, config) for number in large.tolist())


def _build_extent(
    section: SkinSection,
    parts: NDArray[np.int32],
    groups: NDArray[np.int32],
    number: int,
    config: DepthMeasurementConfig,
) -> LesionExtent:
    """Build the masks of the lesion with this number in ``groups``."""
    near = groups == number
    sizes = np.bincount(parts[near])
    sizes[0] = 0
    distance = _distance_within(near, config.far_gap_um, section.cell_um)
    areas = np.bincount(groups.ravel())
    far_nests = [
        other
        for other in np.unique(groups[distance <= config.far_gap_um]).tolist()
        if other not in (0, number) and areas[other] < MAX_NEST_SHARE * areas[number]
    ]
    candidates = remove_small_parts(section.tumor_probability >= POSSIBLE_TUMOR, config.min_nest_um2 / section.cell_um2)
    candidates = candidates & (distance <= config.far_gap_um) | near
    labels, _ = label_components(candidates)
    connected = np.zeros(labels.max() + 1, bool)
    connected[labels[near]] = True
    possible = connected[labels] | (candidates & (distance <= config.nest_gap_um))
    return LesionExtent(parts == sizes.argmax(), near, near | np.isin(groups, far_nests), possible)


def _label_across_gaps(mask: Bools, gap_um: float, cell_um: tuple[float, float]) -> NDArray[np.int32]:
    """Label the parts of a mask; parts up to ``gap_um`` apart share a label."""
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    labels, _ = label_components(_distance_within(mask, gap_um, cell_um) <= gap_um / 2)
    return np.where(mask, labels, 0).astype(np.int32)


def _distance_within(mask: Bools, reach_um: float, cell_um: tuple[float, float]) -> NDArray[np.float32]:
    """Distance from a mask in micrometers up to ``reach_um``; infinite beyond."""
    from scipy import ndimage

    box = bounding_box(mask)
    assert box is not None
    part = grow_box(box, int(np.ceil(reach_um / min(cell_um))) + 1, mask.shape).slices
    away = np.full(mask.shape, np.inf, np.float32)
    away[part] = ndimage.distance_transform_edt(~mask[part], sampling=cell_um)
    return away


# The rim that is covered by epidermis


@dataclass(frozen=True)
class CoveredRim:
    """The rim of a section where it is covered by epidermis.

    ``points``: (point, 2), y and x in micrometers. ``inward``: (point, 2), directions towards the tissue as y and x, of
    length 1. ``epidermis``: bool (row, column) within the box of the section, the epidermis connected to this rim.
    """

    points: Floats
    inward: Floats
    epidermis: Bools

    @property
    def agreement(self) -> float:
        """Length of the mean inward direction: 1 if all points face the same way, 0 if they lie all around."""
        return float(np.hypot(*self.inward.mean(axis=0))) if len(self.points) else 0.0


def find_covered_rim(section: SkinSection) -> CoveredRim:
    """Find where the epidermis lies at the edge of the tissue; predicted epidermis on the other sides is left out.

    Returns the longest part of the rim, with the parts that face the same way and have no tissue above them. If the rim
    has too few points, or its longest part has no clear direction, all points are returned;
    ``describe_missing_surface`` reports this.
    """
    near = section.near(section.epidermis)
    labels, _ = label_components(near)
    covered = section.rim & near
    points, inward, part = section.positions(covered), section.inward_normals(covered), labels[covered]
    sizes = np.bincount(part)
    if len(points) < MIN_POINTS:
        return CoveredRim(points, inward, section.epidermis)
    kept = np.arange(len(sizes)) == sizes.argmax()
    if np.hypot(*inward[kept[part]].mean(axis=0)) < MIN_AGREEMENT:
        return CoveredRim(points, inward, section.epidermis)
    for _ in range(RIM_ROUNDS):
        down = inward[kept[part]].mean(axis=0)
        fits = _is_uppermost(section, points, down) & (inward @ down > MIN_FACING * np.hypot(*down))
        kept |= np.bincount(part, fits, len(sizes)) > sizes / 2
    kept_labels = np.zeros(labels.max() + 1, bool)
    kept_labels[: len(kept)] = kept
    return CoveredRim(points[kept[part]], inward[kept[part]], section.epidermis & kept_labels[labels])


def _is_uppermost(section: SkinSection, points: Floats, down: Floats) -> Bools:
    """Which points of the rim have no tissue above them; ``down`` is the direction (y, x), of any length."""
    rim = section.positions(section.rim)
    y, x = down / np.hypot(*down)
    first = float((rim @ (-x, y)).min())
    bins, own = (((at @ (-x, y) - first) / BIN_UM).astype(np.int64) for at in (rim, points))
    top = np.full(bins.max() + 1, np.inf)
    np.minimum.at(top, bins, rim @ (y, x))
    return points @ (y, x) < top[own] + NEAR_TOP_UM


def describe_missing_surface(section: SkinSection, rim: CoveredRim) -> str | None:
    """Describe why a section has no surface to measure from; None if it has one."""
    if not section.epidermis.any():
        return NO_EPIDERMIS.format(section.index + 1)
    if len(rim.points) < MIN_POINTS or rim.agreement < MIN_AGREEMENT:
        return ALL_AROUND.format(section.index + 1)
    return None


# The surface and the arc along it


@dataclass(frozen=True)
class SurfaceArc:
    """Circular arc along the skin surface: a point on it, the direction down at that point, and its curvature.

    ``down`` (y, x) has length 1 and points into the tissue. ``curvature`` is 1 / micrometer, never 0, positive where
    the surface is convex.
    """

    y_um: float
    x_um: float
    down: tuple[float, float]
    curvature: float

    def to_skin(self, y: Floats, x: Floats) -> tuple[Floats, Floats]:
        """Convert positions on the map to positions along the skin.

        ``y``, ``x``: micrometers, of the same shape. Returns the distance along the arc and the depth below it, float64
        in micrometers.
        """
        dy, dx = np.asarray(y, np.float64) - self.y_um, np.asarray(x, np.float64) - self.x_um
        v, u = dy * self.down[0] + dx * self.down[1], dx * self.down[0] - dy * self.down[1]
        power = v - self.curvature / 2 * (u * u + v * v)
        depth = 2 * power / (1 + np.sqrt(np.maximum(1 - 2 * self.curvature * power, 0)))
        return np.arctan2(self.curvature * u, 1 - self.curvature * v) / self.curvature, depth

    def to_map(self, along: Floats, depth: Floats) -> tuple[Floats, Floats]:
        """Convert positions along the skin to positions on the map; the inverse of ``to_skin``.

        ``along``, ``depth``: micrometers, of the same shape. Returns y and x, float64 in micrometers.
        """
        turn = self.curvature * np.asarray(along, np.float64)
        left = 1 - self.curvature * np.asarray(depth, np.float64)
        u, v = left * np.sin(turn) / self.curvature, (1 - left * np.cos(turn)) / self.curvature
        y = self.y_um + v * self.down[0] - u * self.down[1]
        return y, self.x_um + v * self.down[1] + u * self.down[0]


@dataclass(frozen=True)
class SectionSurface:
    """The skin surface of a section: its depth below an arc, in bins along the arc; lengths in micrometers.

    ``start``: position of the first bin along the arc. ``step``: width of a bin. ``depth`` (bin,): depth of the upper
    border of the epidermis where ``covered`` (bin,), else of the bare tissue. ``epidermis_um``: mean thickness of the
    epidermis. The first and the last bin are the ends of the epidermis; beyond them the surface is extrapolated
    constantly.
    """

    arc: SurfaceArc
    start: float
    step: float
    depth: Floats
    covered: Bools
    epidermis_um: float

    def bins(self, along: Floats) -> NDArray[np.int64]:
        """Return the indices of the bins at positions along the arc.

        ``along``: micrometers. Returns int64, same shape, clipped to the first and last bin.
        """
        return np.clip(((along - self.start) / self.step).astype(np.int64), 0, len(self.depth) - 1)

    def beyond_epidermis(self, along: Floats, margin_um: float) -> Bools:
        """Return which positions along the arc lie beyond the ends of the epidermis, or closer than a margin to them.

        ``along``, ``margin_um``: micrometers. Returns bool, of the shape of ``along``.
        """
        end = self.start + self.step * len(self.depth)
        return (along < self.start + margin_um) | (along > end - margin_um)


def find_surface(
    section: SkinSection, rim: CoveredRim, lesion: Bools, config: DepthMeasurementConfig
) -> SectionSurface:
    """Find the surface of a section, with an arc that follows the skin beside a lesion.

    ``lesion``: bool (row, column) within the box of the section.
    """
    points, inward = rim.points, rim.inward
    arc = fit_arc(points, inward)
    along, _ = arc.to_skin(*points.T)
    first, last = np.percentile(arc.to_skin(*section.positions(lesion).T)[0], (1, 99))
    arc = fit_arc(points, inward, _orientation_weights(along, first, last, 1000 * config.window_mm))
    return _surface_profile(section, rim, arc, config)


def _orientation_weights(along: Floats, first: float, last: float, window_um: float) -> Floats:
    """Weight the points of the surface: high for the skin beside a lesion, balanced between both sides.

    ``along``: position of each point along the arc. ``first``, ``last``: ends of the lesion along the arc. All in
    micrometers.
    """
    distance_outside = np.maximum(first - along, along - last)
    lifted = max(LIFTED_SHARE * (last - first), 1.0)
    weights = np.clip(distance_outside / lifted, ADJACENT_LESION_WEIGHT, 1.0) * (distance_outside < lifted + window_um)
    weights[distance_outside < 0] = OVER_LESION_WEIGHT
    sides = [(along < first), (along > last)]
    sums = [max(float(weights[side].sum()), 1.0) for side in sides]
    for side, own, other in zip(sides, sums, sums[::-1], strict=True):
        weights[side] *= np.clip(other / own, 1.0, MAX_BALANCE)
    return weights


def _surface_profile(
    section: SkinSection, rim: CoveredRim, arc: SurfaceArc, config: DepthMeasurementConfig
) -> SectionSurface:
    """Sample the surface in bins along an arc: the top of the epidermis where it lies at the edge, else the edge."""
    from scipy import ndimage

    step = 1.5 * max(section.cell_um)
    half = half_cell_depth(section.cell_um, arc)
    rim_along, rim_depth = arc.to_skin(*section.positions(section.rim).T)
    along, depth = arc.to_skin(*section.positions(rim.epidermis).T)
    start = float(min(rim_along.min(), along.min()))
    count = int((max(rim_along.max(), along.max()) - start) / step) + 1
    top = _minimum_per_bin(rim_along, rim_depth, start, step, count)
    epidermis = _minimum_per_bin(along, depth, start, step, count)
    covered = epidermis <= np.where(np.isfinite(top), top, np.inf) + config.cover_um
    covered &= np.isfinite(epidermis)
    profile = np.where(covered, epidermis, top)
    first, last = (int(index) for index in np.flatnonzero(covered)[[0, -1]])
    profile, covered = profile[first : last + 1], covered[first : last + 1]
    missing = ~np.isfinite(profile)
    profile[missing] = np.interp(np.flatnonzero(missing), np.flatnonzero(~missing), profile[~missing])
    mean_um = float(len(along) * section.cell_um2 / (step * np.count_nonzero(covered)))
    bins = max(3, 2 * round(SURFACE_SMOOTH_UM / 2 / step) + 1)
    smooth: Floats = ndimage.median_filter(profile, bins, mode="nearest")
    return SectionSurface(arc, start + first * step, step, smooth - half, covered, mean_um)


def half_cell_depth(cell_um: tuple[float, float], arc: SurfaceArc) -> float:
    """Half the height of a cell perpendicular to the surface, in micrometers.

    ``cell_um``: height and width in micrometers.
    """
    return 0.5 * (abs(arc.down[0]) * cell_um[0] + abs(arc.down[1]) * cell_um[1])


def _minimum_per_bin(along: Floats, depth: Floats, start: float, step: float, count: int) -> Floats:
    """Minimum depth in each bin; infinite for empty bins."""
    minimum = np.full(count, np.inf)
    np.minimum.at(minimum, ((along - start) / step).astype(np.int64), depth)
    return minimum


def fit_arc(points: Floats, inward: Floats, weights: Floats | None = None) -> SurfaceArc:
    """Fit an arc to points of a surface; outliers are down-weighted (Tukey's biweight).

    ``points``: float (point, 2) as y, x in micrometers, at least three. ``inward``: (point, 2), directions towards the
    tissue. ``weights``: (point,), equal if None. The arc is a straight line where the points span less than
    ``MIN_ARC_UM``.
    """
    base_weights = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
    down = (inward * base_weights[:, None]).sum(axis=0)
    down = down / np.hypot(*down)
    middle = np.average(points, axis=0, weights=base_weights)
    dy, dx = (points - middle).T
    v, u = dy * down[0] + dx * down[1], dx * down[0] - dy * down[1]
    bent = float(np.ptp(u)) >= MIN_ARC_UM
    curve: Floats = np.zeros(3)
    weights = base_weights
    for _ in range(FIT_ROUNDS):
        curve = _fit_circle(u, v, weights, bent=bent)
        residual = np.abs(v - curve[0] - curve[1] * u - curve[2] / 2 * (u * u + v * v))
        reach = 4.685 * max(1.4826 * _weighted_median(residual, weights), FURROW_DEPTH_UM)
        weights = base_weights * np.clip(1 - (residual / reach) ** 2, 0, None) ** 2
    return _arc_from_curve(curve, middle, down)


def _fit_circle(u: Floats, v: Floats, weights: Floats, *, bent: bool) -> Floats:
    """Fit the circle v = c + b u + k / 2 (u^2 + v^2) by weighted least squares; return c, b and k (0 unless bent)."""
    scale = max(float(np.abs(u).max()), 1.0)
    columns = [np.ones_like(u), u / scale] + ([(u * u + v * v) / (2 * scale * scale)] if bent else [])
    root = np.sqrt(weights)
    found = np.linalg.lstsq(np.stack(columns, axis=1) * root[:, None], v * root, rcond=None)[0]
    found = np.append(found, 0.0)[:3] / (1, scale, scale * scale)
    return np.asarray(found, np.float64)


def _arc_from_curve(curve: Floats, middle: Floats, down: Floats) -> SurfaceArc:
    """Convert the circle v = c + b u + k / 2 (u^2 + v^2) to an arc that starts nearest to the center of the points."""
    c, b, k = curve.tolist()
    size = float(np.sqrt(max(1 + b * b - 2 * k * c, 1e-6)))
    bend, steep = k / size, float(np.hypot(1, b))
    bend = bend if abs(bend) > MIN_CURVATURE else MIN_CURVATURE
    normal = np.array([down[0] + b * down[1], down[1] - b * down[0]]) / steep
    power = -c / size
    depth = 2 * power / (1 + np.sqrt(max(1 - 2 * bend * power, 0)))
    y, x = (middle - depth * normal).tolist()
    return SurfaceArc(y, x, (float(normal[0]), float(normal[1])), bend)


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


# Measurements


@dataclass(frozen=True)
class ThicknessLine:
    """A line straight down from the surface to the deepest cell: (y, x) of its ends in micrometers, and its length.

    ``is_cut``: the surface there is outside the map or the slide; the line begins at its end.
    """

    surface: tuple[float, float]
    deepest: tuple[float, float]
    um: float
    is_cut: bool = False


def measure_thickest(section: SkinSection, surface: SectionSurface, cells: Bools) -> ThicknessLine:
    """Measure the thickness at the deepest of some cells, or the longest part on the map if the surface is outside.

    ``cells``: bool (row, column) within the box of the section, at least one.
    """
    along, below = depth_below_surface(section, surface, cells)
    half = half_cell_depth(section.cell_um, surface.arc)
    deepest = slice(int(below.argmax()), int(below.argmax()) + 1)
    ends, um = _lines_on_map(section, surface, along[deepest], below[deepest] + half)
    is_cut = bool(um[0] < below[deepest][0])  # half a cell is within the precision of the surface
    if is_cut:
        ends, um = _lines_on_map(section, surface, along, below + half)
    longest = int(um.argmax())
    (top, left), (bottom, right) = ends[:, longest].tolist()
    return ThicknessLine((top, left), (bottom, right), float(um[longest]), is_cut)


def _lines_on_map(section: SkinSection, surface: SectionSurface, along: Floats, um: Floats) -> tuple[Floats, Floats]:
    """Return the parts on the map of lines straight down from the surface.

    ``along``: position of each line along the arc. ``um``: its length. Returns the ends, float64 (end, line, axis) in
    micrometers, and the lengths.
    """
    top = surface.depth[surface.bins(along)]
    first, last = (np.stack(surface.arc.to_map(along, depth), axis=1) for depth in (top, top + um))
    steps = np.where(last == first, 1e-9, last - first)
    shares = np.sort([-first / steps, (section.end_um - first) / steps], axis=0)  # where each axis enters and leaves
    enters, leaves = shares[0].max(axis=1).clip(0, 1), shares[1].min(axis=1).clip(0, 1)
    ends = np.stack([first + share[:, None] * (last - first) for share in (enters, leaves)])
    return ends, um * (leaves - enters).clip(0)


def depth_below_surface(section: SkinSection, surface: SectionSurface, cells: Bools) -> tuple[Floats, Floats]:
    """Return the positions of cells along the arc, and the depths of their centers below the surface.

    ``cells``: bool (row, column) within the box of the section. Returns float64 (cell,), micrometers.
    """
    along, depth = surface.arc.to_skin(*section.positions(cells).T)
    return along, depth - surface.depth[surface.bins(along)]


def thickness_bounds(section: SkinSection, surface: SectionSurface, lesion: LesionExtent) -> tuple[float, float]:
    """Measure the nearly certain tumor of a lesion, and all possible tumor around it.

    Returns both thicknesses in micrometers; the first is 0 if no tumor is nearly certain.
    """
    certain = lesion.near & (section.tumor_probability >= CERTAIN_TUMOR)
    low = measure_thickest(section, surface, certain).um if certain.any() else 0.0
    return low, measure_thickest(section, surface, lesion.possible).um


@dataclass(frozen=True)
class Ulceration:
    """Ulceration of a lesion.

    ``present``: None if no ulcer was found, but the lesion extends beyond the end of the epidermis, where it may be
    ulcerated or cut off. ``length_um``: length of the longest surface without epidermis above the lesion; 0 if that is
    too short for an ulcer. ``share``: share of the surface above the lesion without epidermis, 0 to 1; None if no part
    of the lesion lies close to the surface, or if ``present`` is None.
    """

    present: bool | None
    length_um: float
    share: float | None = None


def find_ulceration(
    section: SkinSection, surface: SectionSurface, cells: Bools, config: DepthMeasurementConfig
) -> Ulceration:
    """Find the longest part of a lesion that is not covered by epidermis.

    Crust and fibrin are background on a map; an ulcer shows as missing epidermis. A map cannot distinguish it from
    tissue that was lost during sectioning.

    ``cells``: bool (row, column) within the box of the section: the lesion.
    """
    along, below = depth_below_surface(section, surface, cells)
    along = along[below <= config.cover_um]
    outside = surface.beyond_epidermis(along, 0.0)
    above_lesion = np.zeros(len(surface.depth), bool)
    above_lesion[surface.bins(along[~outside])] = True
    bare = above_lesion & ~surface.covered
    share = float(bare.sum() / above_lesion.sum()) if above_lesion.any() else None
    ends = np.flatnonzero(np.diff(np.concatenate([[0], bare, [0]])))
    longest_um = float((ends[1::2] - ends[::2]).max(initial=0)) * surface.step
    if longest_um >= config.ulcer_um:
        return Ulceration(True, longest_um, share)
    before = along < surface.start
    beyond_um = max(float(np.ptp(along[end])) if end.any() else 0.0 for end in (outside & before, outside & ~before))
    return Ulceration(None, 0.0) if beyond_um >= config.ulcer_um else Ulceration(False, 0.0, share)


def is_cut_off_by_section(
    section: SkinSection, surface: SectionSurface, cells: Bools, config: DepthMeasurementConfig
) -> bool:
    """Whether a lesion reaches the end of the section or of the map, so that part of it may be missing.

    ``cells``: bool (row, column) within the box of the section: the lesion.
    """
    step = max(section.cell_um)
    inner = np.zeros(cells.shape, bool)
    inner[1:-1, 1:-1] = True
    if np.count_nonzero(cells & ~inner & ~section.rim) * step >= config.edge_um:
        return True
    touched = section.rim & section.near(cells)
    if not touched.any():
        return False
    along, below = depth_below_surface(section, surface, touched)
    beyond = surface.beyond_epidermis(along, BELOW_UM)
    facing = section.inward_normals(touched) @ np.array(surface.arc.down)
    not_surface = (below > BELOW_UM / 2) & (beyond | ((below > BELOW_UM) & (facing < DOWNWARD)))
    return bool(np.count_nonzero(not_surface) * step >= config.edge_um)

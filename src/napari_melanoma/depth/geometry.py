"""Geometry of a skin section: reference arc, surface, ulceration, lesions and thickness."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.imaging.masks import bounding_box, fill_mask_holes, grow_box, label_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.depth.tumor_maps import DepthMeasurementConfig, TissueMasks

    Floats = NDArray[np.floating[Any]]

    Bools = NDArray[np.bool_]

ROUNDS = 10
MIN_ARC_UM = 800.0  # of a surface whose curvature can be estimated
MIN_CURVATURE = 1e-9  # 1 / micrometer
FURROW_DEPTH_UM = 15.0  # of healthy skin: points closer to the arc than this are not outliers

POSSIBLE_TUMOR = 64  # of 255: lowest probability of possible tumor
CERTAIN_TUMOR = 192  # of 255: tumor that is nearly certain
MIN_OVERLAP_SHARE = 0.2  # of the area of a lesion: larger parts are separate lesions, not nests

LIFTED = 0.3  # of the width of a lesion: distance over which it may lift the skin beside it
OVER_LESION = 0.02  # weight of the surface above a lesion in the fit of the arc
BESIDE_LESION = 0.1  # weight of the surface right beside it
MOST_BALANCE = 5.0  # greatest factor by which the side with less skin is weighted up
SURFACE_SMOOTH_UM = 15.0  # along the surface

MIN_POINTS = 20
MIN_AGREEMENT = 0.35  # length of the mean direction towards the tissue: shorter where epidermis lies all around
RIM_ROUNDS = 3
BIN_UM, NEAR_TOP_UM = 30.0, 60.0
MIN_FACING = 0.3  # cosine between the direction of one part of a surface and that of the others
NO_EPIDERMIS = "no epidermis was found in section {}: the surface for measuring the thickness is unknown"
ALL_AROUND = (
    "no surface was found in section {}: its epidermis lies on all sides or away from the edge of the tissue, as in a "
    "tangential section"
)

CRACK_UM = 10.0  # tissue on both sides of a gap of twice this is one section
RIM_UM = 25.0  # structures this close to the edge of the tissue count as lying at it
SMOOTH_UM = 40.0  # smoothing for the direction towards the tissue
BELOW_UM = 60.0  # this far below the surface, or this close to the end of the epidermis, the rim is not skin surface
# Component along the direction towards the tissue: below it the rim faces down, and is not a cleft or hair opening.
DOWNWARD = -0.5


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

    def to_section(self, y: Floats, x: Floats) -> tuple[Floats, Floats]:
        """Turn positions on the slide into positions in the section.

        ``y``, ``x``: micrometers, of the same shape. Returns position along the arc and below it, float64 in
        micrometers.
        """
        dy, dx = np.asarray(y, np.float64) - self.y_um, np.asarray(x, np.float64) - self.x_um
        v, u = dy * self.down[0] + dx * self.down[1], dx * self.down[0] - dy * self.down[1]
        power = v - self.curvature / 2 * (u * u + v * v)
        depth = 2 * power / (1 + np.sqrt(np.maximum(1 - 2 * self.curvature * power, 0)))
        return np.arctan2(self.curvature * u, 1 - self.curvature * v) / self.curvature, depth

    def to_slide(self, along: Floats, depth: Floats) -> tuple[Floats, Floats]:
        """Turn positions in the section into positions on the slide: the inverse.

        ``along``, ``depth``: micrometers, of the same shape. Returns y and x, float64 in micrometers.
        """
        turn = self.curvature * np.asarray(along, np.float64)
        left = 1 - self.curvature * np.asarray(depth, np.float64)
        u, v = left * np.sin(turn) / self.curvature, (1 - left * np.cos(turn)) / self.curvature
        y = self.y_um + v * self.down[0] - u * self.down[1]
        return y, self.x_um + v * self.down[1] + u * self.down[0]


@dataclass(frozen=True)
class SectionSurface:
    """Depth of the surface below an arc in micrometers, in steps along it.

    ``depth`` (bin,) is that of the upper border of the epidermis where ``covered``, else of the bare tissue. The first
    and the last bin are where the epidermis ends; the surface is extrapolated constantly beyond them.
    """

    arc: SurfaceArc
    start: float
    step: float
    depth: Floats
    covered: Bools
    epidermis_um: float

    def bins(self, along: Floats) -> NDArray[np.int64]:
        """Return the bin of each position.

        ``along``: micrometers along the arc. Returns int64, same shape, clipped to the first and last bin.
        """
        return np.clip(((along - self.start) / self.step).astype(np.int64), 0, len(self.depth) - 1)

    def beyond_epidermis(self, along: Floats, margin_um: float) -> Bools:
        """Return which positions lie beyond the epidermis.

        ``along``: micrometers along the arc. Returns bool, same shape.
        """
        end = self.start + self.step * len(self.depth)
        return (along < self.start + margin_um) | (along > end - margin_um)


@dataclass(frozen=True)
class CoveredRim:
    """Rim of a section that is covered by epidermis: ``points`` and ``inward`` (point, 2) as y and x.

    ``inward`` has length 1. ``epidermis`` is bool (row, column) within the box of the section: the epidermis at the
    rim, with all that is connected to it.
    """

    points: Floats
    inward: Floats
    epidermis: Bools

    @property
    def agreement(self) -> float:
        """Length of the mean direction: 1 where all points face the same way, 0 where they lie all around."""
        return float(np.hypot(*self.inward.mean(axis=0))) if len(self.points) else 0.0


@dataclass(frozen=True)
class SkinSection:
    """A piece of tissue within a box of the map: bool (row, column), holes filled; lengths in micrometers.

    ``top`` and ``left`` are the position of the box on the map, in cells; ``cell_um`` is the height and width of a
    cell.
    """

    index: int
    top: int
    left: int
    whole: Bools
    epidermis: Bools
    tumor: Bools
    tumor_probability: NDArray[np.uint8]
    cell_um: tuple[float, float]

    @property
    def cell_um2(self) -> float:
        """Area of a cell."""
        return self.cell_um[0] * self.cell_um[1]

    def positions(self, mask: Bools) -> Floats:
        """Return the centers of cells.

        ``mask``: bool (row, column) within the box. Returns float64 (cell, 2): y and x in micrometers from the corner
        of the map.
        """
        return np.add(np.argwhere(mask), (self.top + 0.5, self.left + 0.5)) * self.cell_um

    @cached_property
    def rim(self) -> Bools:
        """Outermost cells of the tissue, without those at the border of the map."""
        from scipy import ndimage

        return self.whole & ~ndimage.binary_erosion(self.whole, border_value=1)

    def near(self, mask: Bools) -> Bools:
        """Return the cells near a mask.

        ``mask``: bool (row, column) within the box. Returns bool, same shape: within ``RIM_UM`` along rows and columns.
        """
        return dilate(mask, RIM_UM, self.cell_um)

    @cached_property
    def _smoothed_tissue(self) -> Floats:
        """Share of tissue around each cell."""
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
        found = np.stack(slopes, axis=1).astype(np.float64)
        return found / np.maximum(np.hypot(*found.T), 1e-9)[:, None]


def fit_arc(points: Floats, inward: Floats, weights: Floats | None = None) -> SurfaceArc:
    """Fit an arc to points of a surface; outliers are down-weighted (Tukey's biweight).

    ``points``: float (point, 2) as y, x in micrometers, at least three. A straight line where the points span less than
    ``MIN_ARC_UM``.
    """
    given = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
    down = (inward * given[:, None]).sum(axis=0)
    down = down / np.hypot(*down)
    middle = np.average(points, axis=0, weights=given)
    dy, dx = (points - middle).T
    v, u = dy * down[0] + dx * down[1], dx * down[0] - dy * down[1]
    bent = float(np.ptp(u)) >= MIN_ARC_UM
    curve: Floats = np.zeros(3)
    weights = given
    for _ in range(ROUNDS):
        curve = _fit_circle(u, v, weights, bent=bent)
        off = np.abs(v - curve[0] - curve[1] * u - curve[2] / 2 * (u * u + v * v))
        reach = 4.685 * max(1.4826 * _weighted_median(off, weights), FURROW_DEPTH_UM)
        weights = given * np.clip(1 - (off / reach) ** 2, 0, None) ** 2
    return _arc_from_curve(curve, middle, down)


def _fit_circle(u: Floats, v: Floats, weights: Floats, *, bent: bool) -> Floats:
    """Weighted least squares of v = c + b u + k / 2 (u^2 + v^2), which is a circle: c, b, k."""
    scale = max(float(np.abs(u).max()), 1.0)
    columns = [np.ones_like(u), u / scale] + ([(u * u + v * v) / (2 * scale * scale)] if bent else [])
    root = np.sqrt(weights)
    found = np.linalg.lstsq(np.stack(columns, axis=1) * root[:, None], v * root, rcond=None)[0]
    found = np.append(found, 0.0)[:3] / (1, scale, scale * scale)
    return np.asarray(found, np.float64)


def _arc_from_curve(curve: Floats, middle: Floats, down: Floats) -> SurfaceArc:
    """The circle v = c + b u + k / 2 (u^2 + v^2), described from its point nearest to the center of the points."""
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


@dataclass(frozen=True)
class Ulceration:
    """Ulceration of a lesion; ``present`` is None if the lesion extends beyond the epidermis.

    ``length_um`` is the length of the longest bare part.

    ``share`` is the share of the surface above the lesion without epidermis, in [0, 1]. It is None if no part of the
    lesion lies right below the surface, or where the lesion extends beyond the epidermis without an ulcer in between:
    that part may be bare or cut off.
    """

    present: bool | None
    length_um: float
    share: float | None = None


def find_ulceration(
    section: SkinSection, surface: SectionSurface, cells: Bools, config: DepthMeasurementConfig
) -> Ulceration:
    """Find the part of a lesion that is not covered by epidermis.

    Crust and fibrin are background on a map; an ulcer shows as missing epidermis. A map cannot distinguish it from
    tissue that was lost during sectioning.

    ``cells``: bool (row, column) within the box of the section: the lesion.
    """
    along, below = depth_below_surface(section, surface, cells)
    along = along[below <= config.cover_um]
    outside = surface.beyond_epidermis(along, 0.0)
    over = np.zeros(len(surface.depth), bool)
    over[surface.bins(along[~outside])] = True
    bare = over & ~surface.covered
    share = float(bare.sum() / over.sum()) if over.any() else None
    ends = np.flatnonzero(np.diff(np.concatenate([[0], bare, [0]])))
    longest = float((ends[1::2] - ends[::2]).max(initial=0)) * surface.step
    if longest >= config.ulcer_um:
        return Ulceration(True, longest, share)
    cut = float(np.ptp(along[outside])) if outside.any() else 0.0
    return Ulceration(None, 0.0) if cut >= config.ulcer_um else Ulceration(False, 0.0, share)


@dataclass(frozen=True)
class LesionExtent:
    """Extents of a lesion for measuring, all bool (row, column) within the box of the section.

    ``body`` is its largest part, ``near`` adds the nests around it, ``far`` also the more distant ones; ``possible`` is
    ``near`` with all possible tumor that is adjacent or connected.
    """

    body: Bools
    near: Bools
    far: Bools
    possible: Bools


def label_invasive_parts(section: SkinSection, config: DepthMeasurementConfig) -> tuple[NDArray[np.int32], Bools]:
    """Label the parts of the tumor that lie below the epidermis.

    Returns int32 (row, column), 0 for none; and bool (row, column): nests within the epidermis and at the junction.
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
    """Group the parts of the tumor into lesions, the largest first.

    ``parts``: int32 (row, column), from ``label_invasive_parts``.
    """
    groups = _label_across_gaps(parts > 0, config.nest_gap_um, section.cell_um)
    areas = np.bincount(groups.ravel()) * section.cell_um2
    areas[0] = 0
    found = []
    for number in np.argsort(-areas, kind="stable"):
        if areas[number] < config.min_lesion_um2:
            break
        found.append(_build_extent(section, parts, groups, int(number), config))
    return tuple(found)


def _build_extent(
    section: SkinSection,
    parts: NDArray[np.int32],
    groups: NDArray[np.int32],
    number: int,
    config: DepthMeasurementConfig,
) -> LesionExtent:
    near = groups == number
    sizes = np.bincount(parts[near])
    sizes[0] = 0
    away = _distance_within(near, config.far_gap_um, section.cell_um)
    reached = np.unique(groups[away <= config.far_gap_um])
    areas = np.bincount(groups.ravel())
    nests = [
        other
        for other in reached.tolist()
        if other not in (0, number) and areas[other] < MIN_OVERLAP_SHARE * areas[number]
    ]
    unsure = remove_small_parts(section.tumor_probability >= POSSIBLE_TUMOR, config.min_nest_um2 / section.cell_um2)
    unsure = unsure & (away <= config.far_gap_um) | near
    linked, _ = label_components(unsure)
    reaches = np.zeros(linked.max() + 1, bool)
    reaches[linked[near]] = True
    possible = reaches[linked] | (unsure & (away <= config.nest_gap_um))
    return LesionExtent(parts == sizes.argmax(), near, near | np.isin(groups, nests), possible)


def _label_across_gaps(mask: Bools, gap_um: float, cell_um: tuple[float, float]) -> NDArray[np.int32]:
    """Label the parts of a mask; parts closer than ``gap_um`` share a label."""
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


def find_surface(
    section: SkinSection, rim: CoveredRim, lesion: Bools, config: DepthMeasurementConfig
) -> SectionSurface:
    """Find the surface above a lesion; its orientation is that of the skin beside the lesion.

    ``lesion``: bool (row, column) within the box of the section. The profile covers the whole section.
    """
    points, inward = rim.points, rim.inward
    arc = fit_arc(points, inward)
    along, _ = arc.to_section(*points.T)
    first, last = np.percentile(arc.to_section(*section.positions(lesion).T)[0], (1, 99))
    arc = fit_arc(points, inward, _orientation_weights(along, first, last, 1000 * config.window_mm))
    return _surface_profile(section, rim, arc, config)


def _orientation_weights(along: Floats, first: float, last: float, window_um: float) -> Floats:
    """Weights of the points of the surface: high for the skin beside a lesion, balanced between both sides."""
    beside = np.maximum(first - along, along - last)
    lifted = max(LIFTED * (last - first), 1.0)
    weights = np.clip(beside / lifted, BESIDE_LESION, 1.0) * (beside < lifted + window_um)
    weights[beside < 0] = OVER_LESION
    sides = [(along < first), (along > last)]
    sums = [max(float(weights[side].sum()), 1.0) for side in sides]
    for side, own, other in zip(sides, sums, sums[::-1], strict=True):
        weights[side] *= np.clip(other / own, 1.0, MOST_BALANCE)
    return weights


def _surface_profile(
    section: SkinSection, rim: CoveredRim, arc: SurfaceArc, config: DepthMeasurementConfig
) -> SectionSurface:
    """Upper border of the tissue, and of the epidermis where that lies at it, in steps along an arc."""
    step = 1.5 * max(section.cell_um)
    half = half_cell_depth(section.cell_um, arc)
    rim_along, rim_depth = arc.to_section(*section.positions(section.rim).T)
    along, depth = arc.to_section(*section.positions(rim.epidermis).T)
    start = float(min(rim_along.min(), along.min()))
    count = int((max(rim_along.max(), along.max()) - start) / step) + 1
    top = _minimum_per_bin(rim_along, rim_depth, start, step, count)
    epidermis = _minimum_per_bin(along, depth, start, step, count)
    covered = epidermis <= np.where(np.isfinite(top), top, np.inf) + config.cover_um
    covered &= np.isfinite(epidermis)
    known = np.where(covered, epidermis, top)
    first, last = (int(index) for index in np.flatnonzero(covered)[[0, -1]])
    known, covered = known[first : last + 1], covered[first : last + 1]
    missing = ~np.isfinite(known)
    known[missing] = np.interp(np.flatnonzero(missing), np.flatnonzero(~missing), known[~missing])
    mean_um = float(len(along) * section.cell_um2 / (step * np.count_nonzero(covered)))
    return SectionSurface(arc, start + first * step, step, _median_filter(known, step) - half, covered, mean_um)


def half_cell_depth(cell_um: tuple[float, float], arc: SurfaceArc) -> float:
    """Half the height of a cell perpendicular to the surface, in micrometers.

    ``cell_um``: height and width in micrometers.
    """
    return 0.5 * (abs(arc.down[0]) * cell_um[0] + abs(arc.down[1]) * cell_um[1])


def _minimum_per_bin(along: Floats, depth: Floats, start: float, step: float, count: int) -> Floats:
    """Minimum depth in each bin; infinite for empty bins."""
    least = np.full(count, np.inf)
    np.minimum.at(least, ((along - start) / step).astype(np.int64), depth)
    return least


def _median_filter(values: Floats, step: float) -> Floats:
    from scipy import ndimage

    bins = max(3, 2 * round(SURFACE_SMOOTH_UM / 2 / step) + 1)
    smooth: Floats = ndimage.median_filter(values, bins, mode="nearest")
    return smooth


def find_covered_rim(section: SkinSection) -> CoveredRim:
    """Find where the epidermis lies at the edge of the tissue; predicted epidermis on the other sides is left out.

    Returns the longest part, and parts that face the same way and have no tissue above them.
    """
    near = section.near(section.epidermis)
    labels, _ = label_components(near)
    where = section.rim & near
    points, inward, part = section.positions(where), section.inward_normals(where), labels[where]
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
    known = np.zeros(labels.max() + 1, bool)
    known[: len(kept)] = kept
    return CoveredRim(points[kept[part]], inward[kept[part]], section.epidermis & known[labels])


def _is_uppermost(section: SkinSection, points: Floats, down: Floats) -> Bools:
    """Which points of the rim have no tissue above them; ``down`` points down."""
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


def find_sections(
    tissues: TissueMasks, cell_um: tuple[float, float], config: DepthMeasurementConfig
) -> tuple[SkinSection, ...]:
    """Find the pieces of tissue of a map.

    ``cell_um``: height and width of a cell in micrometers. Sorted from top to bottom, at the same height from left to
    right.
    """
    from scipy import ndimage

    labels, _ = label_components(dilate(tissues.tissue, CRACK_UM, cell_um))
    labels[~tissues.tissue] = 0
    sizes = np.bincount(labels.ravel()) * cell_um[0] * cell_um[1] / 1e6
    found: list[SkinSection] = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None or sizes[number] < config.min_section_mm2:
            continue
        box = tuple(slice(max(0, part.start - 2), part.stop + 2) for part in box)
        own = labels[box] == number
        epidermis = remove_small_parts(
            tissues.epidermis[box] & own, config.min_epidermis_um2 / (cell_um[0] * cell_um[1])
        )
        tumor, probability = tissues.tumor[box] & own, np.where(own, tissues.tumor_probability[box], np.uint8(0))
        found.append(
            SkinSection(
                len(found), box[0].start, box[1].start, fill_mask_holes(own), epidermis, tumor, probability, cell_um
            )
        )
    return tuple(found)


def dilate(mask: Bools, by_um: float, cell_um: tuple[float, float]) -> Bools:
    """Widen a mask along rows and columns.

    ``mask``: bool (row, column). ``cell_um``: height and width of a cell in micrometers. Returns bool, same shape.
    """
    from scipy import ndimage

    size = [2 * int(np.ceil(by_um / um)) + 1 for um in cell_um]
    wide: Bools = ndimage.maximum_filter(mask, size, mode="constant")
    return wide


def remove_small_parts(mask: Bools, cells: float) -> Bools:
    """Remove the parts of a mask with fewer than ``cells`` cells.

    ``mask``: bool (row, column). Returns bool, same shape.
    """
    labels, _ = label_components(mask)
    large = np.bincount(labels.ravel()) >= cells
    large[0] = False
    kept: Bools = large[labels]
    return kept


@dataclass(frozen=True)
class ThicknessLine:
    """A line straight down from the surface to the deepest cell: (y, x) of its ends in micrometers, and its length."""

    surface: tuple[float, float]
    deepest: tuple[float, float]
    um: float


def measure_thickest(section: SkinSection, surface: SectionSurface, cells: Bools) -> ThicknessLine:
    """Measure the thickest position of some cells.

    ``cells``: bool (row, column) within the box of the section, at least one.
    """
    along, below = depth_below_surface(section, surface, cells)
    deepest = int(below.argmax())
    um = float(below[deepest] + half_cell_depth(section.cell_um, surface.arc))
    top = surface.depth[surface.bins(along[deepest : deepest + 1])]
    ends = np.array([top[0], top[0] + um])
    y, x = surface.arc.to_slide(np.full(2, along[deepest]), ends)
    return ThicknessLine((float(y[0]), float(x[0])), (float(y[1]), float(x[1])), um)


def depth_below_surface(section: SkinSection, surface: SectionSurface, cells: Bools) -> tuple[Floats, Floats]:
    """Return the position of cells along the section, and their depth below its surface.

    ``cells``: bool (row, column) within the box of the section. Returns positions along the arc, and depths below the
    surface to the center of the cell: float64 (cell,) in micrometers.
    """
    along, depth = surface.arc.to_section(*section.positions(cells).T)
    return along, depth - surface.depth[surface.bins(along)]


def thickness_bounds(section: SkinSection, surface: SectionSurface, growth: LesionExtent) -> tuple[float, float]:
    """Measure with nearly certain tumor only, and with all possible tumor around the lesion.

    Returns the lesser and the greater thickness in micrometers; the lesser is 0 where nothing is certain.
    """
    certain = growth.near & (section.tumor_probability >= CERTAIN_TUMOR)
    low = measure_thickest(section, surface, certain).um if certain.any() else 0.0
    return low, measure_thickest(section, surface, growth.possible).um


def is_cut_off_by_section(
    section: SkinSection, surface: SectionSurface, cells: Bools, config: DepthMeasurementConfig
) -> bool:
    """Whether the end of the section, not its surface, cuts a lesion; also if the map ends within the lesion.

    ``cells``: bool (row, column) within the box of the section: the lesion.
    """
    step = max(section.cell_um)
    inner = np.zeros(cells.shape, bool)
    inner[1:-1, 1:-1] = True
    if np.count_nonzero(cells & ~inner & ~section.rim) * step >= config.edge_um:
        return True
    met = section.rim & section.near(cells)
    if not met.any():
        return False
    along, below = depth_below_surface(section, surface, met)
    beyond, facing = surface.beyond_epidermis(along, BELOW_UM), section.inward_normals(met) @ np.array(surface.arc.down)
    outside = (below > BELOW_UM / 2) & (beyond | ((below > BELOW_UM) & (facing < DOWNWARD)))
    return bool(np.count_nonzero(outside) * step >= config.edge_um)

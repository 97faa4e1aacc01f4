"""Operations on regions: union, split, growth, holes, simplification, snapping, refinement by clicks, pasting.

Each function receives all regions of a slide, and returns all regions after the operation. ``ids`` are those of the
regions to change. InputError is raised if nothing would be left of a region, if the operation has no effect, or if a
region is locked. Distances have the unit of ``pixel_um``, the height and width of a pixel of the finest level, so that
they are correct if pixels are not square.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError, ScaleMissing
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.core.polygons import (
    Polygon,
    Ring,
    as_array,
    as_ring,
    clip_polygon,
    joint_box,
    to_polygons,
    to_shape,
    untangle_polygon,
)
from napari_melanoma.imaging.color import to_lab
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.slides.outlines import (
    OutlineClick,
    find_clicked_outline,
    refine_polygons,
    simplified_cell_polygons,
    split_shape,
)
from napari_melanoma.slides.regions import (
    LOCKED,
    Regions,
    region_title,
    require_unlocked,
    sign_region,
)

if TYPE_CHECKING:
    from shapely import Geometry


PixelUm = tuple[float, float]
ARC_SEGMENTS = 16  # segments of a quarter circle; the area of a grown corner is then 0.2 % too small
UNCHANGED_SHARE = 1e-9  # of an area: smaller changes are due to rounding
# A snapped outline follows its neighbor between points that are at most this many snapping distances apart.
FOLLOWED_DISTANCES = 4.0
MAX_SNAPPED_POINTS = 20_000  # points of a ring that are snapped
TOLERANCES = (1.0, 100.0)  # range of color differences in CIELAB; 2 is just visible, black and white differ by 100
DEFAULT_TOLERANCE = 12.0
SMOOTHING_CELLS = 1.0  # sigma of the smoothing of colors against the noise of single pixels
SMALLEST_HOLE_CELLS = 64  # smaller holes are filled
SMALLEST_AREA_CELLS = 4


def unite_regions(regions: Regions, ids: Collection[str]) -> Regions:
    """Unite regions; the largest keeps its id, name, class and other properties, the others are removed."""
    largest, *others = _find_at_least_two(regions, ids)
    united = _union([largest, *others])
    if not united.polygons:
        raise InputError(f"nothing would be left of {region_title(largest)}: its outline encloses no area.")
    return _replace_regions(regions, {largest.id: (united,), **{one.id: () for one in others}})


def subtract_regions(regions: Regions, ids: Collection[str]) -> Regions:
    """Subtract the smaller regions from the largest one; the smaller ones are unchanged."""
    import shapely

    largest, *others = _find_at_least_two(regions, ids, changes_all=False)
    return _replace_regions(regions, {largest.id: (_subtract(largest, shapely.union_all(list(map(_shape, others)))),)})


def intersect_regions(regions: Regions, ids: Collection[str]) -> Regions:
    """Replace regions by their common area, which keeps id, name, class and other properties of the largest."""
    import shapely

    largest, *others = _find_at_least_two(regions, ids)
    common = shapely.intersection_all([_shape(one) for one in (largest, *others)])
    polygons = to_polygons(common)
    if not polygons:
        raise InputError("the selected regions have no area in common. Select regions that overlap.")
    return _replace_regions(
        regions, {largest.id: (replace(largest, polygons=polygons),), **{one.id: () for one in others}}
    )


def cut_hole(regions: Regions, ids: Collection[str], outline: Sequence[Polygon]) -> Regions:
    """Cut an outline out of regions; without ids, out of the smallest region that it overlaps.

    ``outline``: in pixels of the finest level.
    """
    import shapely

    hole = shapely.union_all([to_shape(part) for polygon in outline for part in untangle_polygon(polygon)])
    vertices = np.vstack([as_array(polygon.outer) for polygon in outline])
    candidates = regions if ids else _list_near(regions, vertices)
    chosen = _choose(candidates, ids, lambda region: bool(shapely.area(shapely.intersection(_shape(region), hole)) > 0))
    if not chosen:
        raise InputError("there is no region under the drawing. Draw within a region.")
    require_unlocked(regions, {one.id for one in chosen})
    return _replace_regions(regions, {one.id: (_subtract(one, hole),) for one in chosen})


def fill_holes(regions: Regions, ids: Collection[str]) -> Regions:
    """Fill all holes of regions."""
    require_unlocked(regions, ids)
    holed = [one for one in regions if one.id in ids and any(polygon.holes for polygon in one.polygons)]
    if not holed:
        raise InputError("the selected regions have no holes.")
    filled = [replace(one, polygons=tuple(Polygon(polygon.outer) for polygon in one.polygons)) for one in holed]
    return _replace_regions(regions, {one.id: (_union([one]),) for one in filled})


def split_regions(regions: Regions, ids: Collection[str], line: NDArray[np.floating]) -> Regions:
    """Split regions along a line; without ids, the smallest region that the line splits.

    The largest piece keeps the id, together with separate parts of the region that the line does not split. The other
    pieces become new regions with the same properties.

    ``line``: (vertex, 2), (row, column) in pixels of the finest level, at least two vertices.
    """
    import shapely

    vertices = np.asarray(line, np.float64)
    if len(vertices) < 2 or not np.ptp(vertices, axis=0).any():
        raise InputError("the line has no length. Draw it across a region, from outside to outside.")
    cut = shapely.linestrings(vertices)
    candidates = [one for one in _list_near(regions, vertices) if not ids or one.id in ids]
    parts = {one.id: _split(one, cut) for one in candidates}
    chosen = _choose(candidates, ids, lambda region: len(parts[region.id]) > 1)
    split = {one.id: parts[one.id] for one in chosen if len(parts[one.id]) > 1}
    if not split:
        raise InputError(_describe_unsplit([one for one in regions if one.id in ids]))
    require_unlocked(regions, split)
    return _replace_regions(regions, split)


def grow_regions(
    regions: Regions, ids: Collection[str], distance: float, pixel_um: PixelUm, size: tuple[int, int]
) -> Regions:
    """Grow regions by a distance on all sides, also into their holes; a negative distance shrinks them.

    ``distance``: in the unit of ``pixel_um``. ``size``: height and width of the slide in pixels of the finest level;
    regions end at its border.
    """
    import shapely

    require_unlocked(regions, ids)

    def grow(region: Annotation) -> Annotation:
        shape = shapely.buffer(_scaled(_shape(region), pixel_um), distance, quad_segs=ARC_SEGMENTS)
        grown = to_polygons(_scaled(shape, _inverse(pixel_um)))
        polygons = tuple(part for polygon in grown for part in clip_polygon(polygon, size))
        if not polygons:
            raise InputError(
                f"nothing would be left of {region_title(region)}: it is nowhere wider than twice the distance. "
                "Shrink by less."
            )
        return replace(region, polygons=polygons)

    return _replace_regions(regions, {one.id: (grow(one),) for one in regions if one.id in ids})


def simplify_regions(regions: Regions, ids: Collection[str], tolerance: float, pixel_um: PixelUm) -> Regions:
    """Remove vertices as long as outlines change by at most a tolerance, in the unit of ``pixel_um``."""
    import shapely

    require_unlocked(regions, ids)
    simplified = {}
    for one in regions:
        if one.id in ids:
            shape = shapely.simplify(_scaled(_shape(one), pixel_um), tolerance, preserve_topology=True)
            polygons = to_polygons(_scaled(shape, _inverse(pixel_um)))
            if polygons and _count_vertices(polygons) < _count_vertices(one.polygons):
                simplified[one.id] = (replace(one, polygons=polygons),)
    if not simplified:
        raise InputError("the outlines are already as simple as they can be at this magnification.")
    return _replace_regions(regions, simplified)


def refine_region(regions: Regions, ids: Collection[str], click: OutlineClick) -> Regions:
    """Refine the outline of the region that a click is in or next to; remove it if the click erases all of it.

    ``ids``: regions that take precedence, such as the selected ones.
    """
    clicked_id = find_clicked_outline(((one.id, one.polygons) for one in regions), click, ids)
    require_unlocked(regions, (clicked_id,))
    region = next(one for one in regions if one.id == clicked_id)
    polygons = refine_polygons(region.polygons, click)
    return _replace_regions(regions, {clicked_id: (replace(region, polygons=polygons),) if polygons else ()})


def snap_regions(regions: Regions, ids: Collection[str], distance: float, pixel_um: PixelUm) -> Regions:
    """Move the outlines of regions onto those of other regions that are close, so that no gap or overlap is left.

    ``distance``: greatest distance that is closed, in the unit of ``pixel_um``. Returns the same object if no other
    region is close.
    """
    others = [one for one in regions if one.id not in ids]
    rings = [ring * pixel_um for one in others for polygon in one.polygons for ring in polygon.arrays]
    drawn = [as_array(polygon.outer) * pixel_um for one in regions if one.id in ids for polygon in one.polygons]
    rings = _list_near_rings(rings, drawn, distance)
    if not rings:
        return regions
    neighbors = _Neighbors(rings, distance)

    def snap(region: Annotation) -> Annotation:
        scale = np.array(pixel_um)
        polygons = tuple(
            part
            for polygon in region.polygons
            for part in untangle_polygon(
                _from_rings([as_ring(neighbors.snap(ring * scale) / scale) for ring in polygon.arrays])
            )
        )
        return replace(region, polygons=polygons) if polygons else region

    return tuple(snap(one) if one.id in ids else one for one in regions)


def pixel_ratio(source: PixelSize | None, target: PixelSize | None) -> tuple[float, float]:
    """Return how many pixels of the target slide a pixel of the source slide covers, (y, x).

    Raises ScaleMissing if one of the slides has no pixel size.
    """
    if source is None or target is None:
        which = "from which the regions were copied" if source is None else "on which they are pasted"
        raise ScaleMissing(
            f"the slide {which} has no scale, so that the size of the regions is unknown. Set it with Scale, the ruler "
            "at the top of the Slide dock."
        )
    return source.y_um / target.y_um, source.x_um / target.x_um


def place_copies(
    copied: Sequence[Annotation], ratio: tuple[float, float], center: tuple[float, float], size: tuple[int, int]
) -> Regions:
    """Place copies of regions around a point; they keep their positions relative to each other.

    ``copied``: regions in pixels of another slide. ``ratio``: the result of ``pixel_ratio`` for both slides.
    ``center``: (row, column) of the point, and ``size``: height and width of the slide, in pixels of the finest level.
    Returns new, unlocked regions within the slide.
    """
    factor = np.array(ratio)
    outer = np.vstack([as_array(polygon.outer) for one in copied for polygon in one.polygons]) * factor
    shift = np.array(center) - (outer.min(axis=0) + outer.max(axis=0)) / 2

    def place(polygon: Polygon) -> tuple[Polygon, ...]:
        moved = _from_rings([as_ring(ring * factor + shift) for ring in polygon.arrays])
        return tuple(part for whole in untangle_polygon(moved) for part in clip_polygon(whole, size))

    placed = [(one, tuple(part for polygon in one.polygons for part in place(polygon))) for one in copied]
    copies = tuple(_copy(one, polygons) for one, polygons in placed if polygons)
    if not copies:
        raise InputError("the copied regions would lie outside the slide. Move the view to the tissue, then paste.")
    return copies


def sign_copies(copies: Regions, reader: str) -> Regions:
    """Set the current time, and the reader if known, as properties of copies."""
    return tuple(sign_region(one, reader) for one in copies)


def _copy(region: Annotation, polygons: tuple[Polygon, ...]) -> Annotation:
    """Return an unlocked copy with another id."""
    properties = {key: value for key, value in region.properties.items() if key != LOCKED}
    return replace(region, polygons=polygons, id=str(uuid.uuid4()), properties=properties)


def _find_at_least_two(regions: Regions, ids: Collection[str], *, changes_all: bool = True) -> list[Annotation]:
    """Return the regions with these ids, the largest first; raise InputError for fewer than two, or a locked one.

    ``changes_all``: whether the operation changes all of them, or only the largest.
    """
    chosen = sorted((one for one in regions if one.id in ids), key=_area, reverse=True)
    if len(chosen) < 2:
        raise InputError("this requires at least two regions. Select them in the list, or on the slide with select.")
    require_unlocked(regions, {one.id for one in (chosen if changes_all else chosen[:1])})
    return chosen


def _list_near(regions: Regions, points: NDArray[np.floating]) -> list[Annotation]:
    """Return the regions whose box overlaps the box around some points, (point, 2)."""
    (top, left), (bottom, right) = points.min(axis=0), points.max(axis=0)

    def overlaps(region: Annotation) -> bool:
        box = joint_box(region.polygons)
        return bool(
            box.top <= bottom and box.left <= right and box.top + box.height >= top and box.left + box.width >= left
        )

    return list(filter(overlaps, regions))


def _choose(
    regions: Sequence[Annotation], ids: Collection[str], applies: Callable[[Annotation], bool]
) -> list[Annotation]:
    """Return the regions with these ids; without ids, the smallest one to which an operation applies."""
    if ids:
        return [one for one in regions if one.id in ids]
    return sorted(filter(applies, regions), key=_area)[:1]


def _replace_regions(regions: Regions, replacements: Mapping[str, Sequence[Annotation]]) -> Regions:
    """Replace regions, by their ids, with others at the same position in the list."""
    return tuple(new for one in regions for new in replacements.get(one.id, (one,)))


def _subtract(region: Annotation, shape: Geometry) -> Annotation:
    import shapely

    remaining = to_polygons(shapely.difference(_shape(region), shape))
    if not remaining:
        raise InputError(f"nothing would be left of {region_title(region)}. Subtract less.")
    area = _area(region)
    if abs(sum(polygon.area for polygon in remaining) - area) <= UNCHANGED_SHARE * area:
        raise InputError(f"there is no overlap with {region_title(region)}, so that nothing can be subtracted.")
    return replace(region, polygons=remaining)


def _split(region: Annotation, cut: Geometry) -> tuple[Annotation, ...]:
    """Split a region along a line; return the region alone if the line splits no part of it."""
    import shapely

    shape = _shape(region)
    if not shapely.intersects(shape, cut):
        return (region,)
    pieces: list[Geometry] = []
    unsplit: list[Geometry] = []
    for part in shapely.get_parts(shape):
        inside = split_shape(part, cut)
        if len(inside) > 1:
            pieces += inside
        else:
            unsplit.append(part)
    if not pieces:
        return (region,)
    largest, *others = sorted(pieces, key=shapely.area, reverse=True)
    kept = tuple(polygon for shape in (largest, *unsplit) for polygon in to_polygons(shape))
    split_off = [polygons for shape in others if (polygons := to_polygons(shape))]
    return replace(region, polygons=kept), *(_copy(region, polygons) for polygons in split_off)


def _describe_unsplit(selected: Sequence[Annotation]) -> str:
    """Describe why a line splits nothing; if regions are selected, only these can be split."""
    if not selected:
        return "the line splits no region. Draw it across a region, from outside to outside."
    names = format_names([region_title(one) for one in selected])
    state, target = f"one region is selected, {names}, and the line does not split it", "it"
    if len(selected) > 1:
        state = f"{len(selected)} regions are selected, {names}, and the line splits none of them"
        target = "one of them"
    return (
        f"{state}. Draw the line across {target}, from outside to outside, or clear the selection to split the region "
        "under the line."
    )


def _union(regions: Sequence[Annotation]) -> Annotation:
    """Return the first region, extended to the union of all regions."""
    import shapely

    return replace(regions[0], polygons=to_polygons(shapely.union_all([_shape(one) for one in regions])))


def _shape(region: Annotation) -> Geometry:
    """Return the valid shape of a region in pixels of the finest level; its x coordinate is the row."""
    import shapely

    return shapely.union_all([to_shape(part) for one in region.polygons for part in untangle_polygon(one)])


def _area(region: Annotation) -> float:
    """Return the area of a region in square pixels; parts that overlap count once."""
    return float(_shape(region).area)


def _scaled(shape: Geometry, factors: PixelUm) -> Geometry:
    import shapely

    return shapely.transform(shape, lambda points: points * factors)


def _inverse(factors: PixelUm) -> PixelUm:
    return 1 / factors[0], 1 / factors[1]


def _count_vertices(polygons: Sequence[Polygon]) -> int:
    return sum(len(ring) for polygon in polygons for ring in polygon.arrays)


def _from_rings(rings: Sequence[Ring]) -> Polygon:
    return Polygon(rings[0], tuple(rings[1:]))


def _list_near_rings(
    rings: Sequence[NDArray[np.float64]], drawn: Sequence[NDArray[np.float64]], distance: float
) -> list[NDArray[np.float64]]:
    """List the rings whose bounds are within a distance of the joint bounds of drawn outlines."""
    if not drawn:
        return []
    low = np.min([one.min(axis=0) for one in drawn], axis=0) - distance
    high = np.max([one.max(axis=0) for one in drawn], axis=0) + distance
    return [ring for ring in rings if np.all(ring.max(axis=0) >= low) and np.all(ring.min(axis=0) <= high)]


class _Neighbors:
    """The outlines of other regions, onto which an outline is snapped.

    The search index contains the sides of outlines, as an outline may have thousands of vertices. A position is a
    distance along an outline, from its first vertex.
    """

    def __init__(self, rings: Sequence[NDArray[np.float64]], distance: float) -> None:
        import shapely

        self._distance = distance
        self._closed = [np.vstack([ring, ring[:1]]) for ring in rings]
        lengths = [np.hypot(*np.diff(ring, axis=0).T) for ring in self._closed]
        self._along = [np.concatenate([[0.0], np.cumsum(one)]) for one in lengths]
        is_side = np.concatenate(lengths) > 0
        sides = np.concatenate([np.stack([ring[:-1], ring[1:]], axis=1) for ring in self._closed])
        self._sides = shapely.linestrings(sides[is_side])
        self._outline = np.repeat(np.arange(len(rings)), [len(one) for one in lengths])[is_side]
        self._start = np.concatenate([one[:-1] for one in self._along])[is_side]
        self._tree = shapely.STRtree(self._sides)

    def snap(self, ring: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move the points of a ring (vertex, 2) that are close to an outline onto it, and follow it between them."""
        import shapely

        closed = np.vstack([ring, ring[:1]])
        length = float(np.hypot(*np.diff(closed, axis=0).T).sum())
        step = max(self._distance, length / MAX_SNAPPED_POINTS)
        points = shapely.get_coordinates(shapely.segmentize(shapely.linestrings(closed), step))[:-1]
        is_vertex = _is_vertex(points, ring)
        near, side = self._find_sides(points)
        outlines = np.full(len(points), -1)  # index of the outline that a point is moved onto
        positions = np.zeros(len(points))
        outlines[near] = self._outline[side]
        along = shapely.line_locate_point(self._sides[side], shapely.points(points[near]))
        positions[near] = self._start[side] + along
        snapped = points.copy()
        snapped[near] = shapely.get_coordinates(shapely.line_interpolate_point(self._sides[side], along))
        vertices: list[NDArray[np.float64]] = []
        for index in np.flatnonzero(is_vertex | (outlines >= 0)):
            before = (index - 1) % len(points)
            outline = int(outlines[index])
            if outline >= 0 and outlines[before] == outline:
                vertices.extend(self._vertices_between(outline, float(positions[before]), float(positions[index])))
            vertices.append(snapped[index])
        moved = np.array(vertices)
        return moved[np.any(moved != np.roll(moved, 1, axis=0), axis=1)]

    def _find_sides(self, points: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the indices of the points that are close to a side, and the index of the nearest side of each.

        Of a border shared by several outlines, the side of the first outline is returned.
        """
        import shapely

        point, side = self._tree.query_nearest(
            shapely.points(points), max_distance=self._distance, return_distance=False, all_matches=True
        )
        order = np.lexsort((side, self._outline[side], point))
        near, first = np.unique(point[order], return_index=True)
        return near, side[order][first]

    def _vertices_between(self, outline: int, start: float, end: float) -> list[NDArray[np.float64]]:
        """Return the vertices of an outline between two positions on the shorter way; empty if they are far apart."""
        vertices, along = self._closed[outline], self._along[outline]
        length, positions = float(along[-1]), along[:-1]
        forward = (end - start) % length
        if min(forward, length - forward) > FOLLOWED_DISTANCES * self._distance:
            return []
        is_forward = forward <= length - forward
        first, last = (start % length, end % length) if is_forward else (end % length, start % length)
        after, before = int(positions.searchsorted(first, "right")), int(positions.searchsorted(last, "left"))
        between = [*range(after, before)] if first <= last else [*range(after, len(positions)), *range(before)]
        return [vertices[index] for index in (between if is_forward else reversed(between))]


def _is_vertex(points: NDArray[np.float64], ring: NDArray[np.float64]) -> NDArray[np.bool_]:
    vertices = set(map(tuple, ring.tolist()))
    return np.array([tuple(point) in vertices for point in points.tolist()], bool)


@dataclass(frozen=True)
class ChannelDisplay:
    """How a fluorescence channel is displayed.

    ``limits``: contrast limits. ``colors``: float (step, channel=3), the colormap from the lower to the upper limit, 0
    to 1.
    """

    limits: tuple[float, float]
    gamma: float
    colors: NDArray[np.floating]


def merge_channels(pixels: NDArray, displays: Sequence[ChannelDisplay | None]) -> NDArray[np.uint8]:
    """Merge fluorescence channels to the displayed colors.

    ``pixels``: (row, column, channel). ``displays``: of each channel; None for hidden ones. Returns uint8 (row, column,
    channel=3).
    """
    total = np.zeros((*pixels.shape[:2], 3), np.float32)
    for channel, display in enumerate(displays):
        if display is not None:
            low, high = display.limits
            share = np.clip((pixels[..., channel].astype(np.float32) - low) / max(high - low, 1e-9), 0, 1)
            steps = np.round(share**display.gamma * (len(display.colors) - 1)).astype(np.intp)
            total += display.colors.astype(np.float32)[steps]
    return np.round(np.clip(total, 0, 1) * 255).astype(np.uint8)


class ColorFlood:
    """The area of similar color around a point, for any tolerance.

    ``rgb``: uint8 (row, column, channel=3), the displayed colors. ``placement``: their position on the slide.
    ``point``: (row, column) on the slide, in pixels of the finest level. ``reach``: largest distance from the point, in
    the unit of ``pixel_um``, the height and width of a pixel of the finest level.
    """

    def __init__(
        self,
        rgb: NDArray[np.uint8],
        placement: MapPlacement,
        point: tuple[float, float],
        reach: float,
        pixel_um: tuple[float, float],
    ) -> None:
        from scipy import ndimage

        cell = np.floor(placement.to_map(point)).astype(int)
        if (cell < 0).any() or (cell >= rgb.shape[:2]).any():
            raise InputError("the point lies outside the slide. Click on the slide.")
        self.placement = placement
        self._seed = int(cell[0]), int(cell[1])
        lab = to_lab(rgb)
        smooth = ndimage.gaussian_filter(lab, (SMOOTHING_CELLS, SMOOTHING_CELLS, 0), truncate=2.0)
        seed = smooth[self._seed]
        # Smoothed colors close the gaps that noise leaves, and unsmoothed ones let the area reach its border.
        self._difference = np.sqrt(np.minimum(((lab - seed) ** 2).sum(axis=2), ((smooth - seed) ** 2).sum(axis=2)))
        step = placement.step_y * pixel_um[0], placement.step_x * pixel_um[1]
        rows, columns = (np.arange(count) - at for count, at in zip(rgb.shape, self._seed, strict=False))
        self._difference[np.hypot(rows[:, None] * step[0], columns[None] * step[1]) > reach] = np.inf

    def mask(self, tolerance: float) -> NDArray[np.bool_]:
        """Return the connected area, bool (row, column), without small holes.

        ``tolerance``: largest difference of color in CIELAB.
        """
        from scipy import ndimage

        parts, _ = ndimage.label(self._difference <= tolerance)
        area = parts == parts[self._seed]
        others, count = ndimage.label(~area)
        if count:
            is_small = np.bincount(others.ravel()) < SMALLEST_HOLE_CELLS
            at_border = np.unique(np.concatenate([others[0], others[-1], others[:, 0], others[:, -1]]))
            is_small[at_border] = False
            area |= is_small[others]
        return area

    def polygons(self, tolerance: float) -> tuple[Polygon, ...]:
        """Return the area with simplified outlines, in pixels of the finest level; empty for fewer than four cells."""
        mask = self.mask(tolerance)
        return () if mask.sum() < SMALLEST_AREA_CELLS else simplified_cell_polygons(mask, self.placement)

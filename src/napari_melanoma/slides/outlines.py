"""Outlines of masks: traced along the edges of map cells, rasterized, and moved by a click to a border in the image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.polygons import (
    Polygon,
    Ring,
    as_array,
    as_ring,
    clip_polygon,
    joint_box,
    rasterize_rings,
    signed_area,
    to_polygons,
    to_shape,
    untangle_polygon,
)
from napari_melanoma.imaging.scribbles import redraw_at_click

if TYPE_CHECKING:
    from shapely import Geometry


Point = tuple[int, int]  # (row, column) of a corner of cells
SIMPLIFY_CELLS = 0.75  # tolerance for simplified outlines, in cells: removes the steps between cells
# New holes and fragments are removed if they have fewer cells than this, and a smaller share of the part they were in.
SPECK_CELLS, SPECK_SHARE = 64, 0.25
SEAM_CELLS = 2  # overlap of changed cells with the unchanged part, so that no gap is left between cells and outline
NO_OUTLINE = (
    "there is no outline here. Click next to one to include more; right-click or Shift+click inside one to exclude."
)
ALREADY_INSIDE = (
    "the click is already inside the outline. Click next to it to include more; right-click or Shift+click to exclude."
)
ALREADY_OUTSIDE = "the click to exclude is not inside an outline. Right-click or Shift+click inside one."
TOO_FAR = "the outline is too far from the click at this magnification. Zoom out, or click closer to it."
Key = TypeVar("Key")


def cell_polygons(mask: NDArray[np.bool_], place: MapPlacement) -> tuple[Polygon, ...]:
    """Trace the outer edges of the cells of a mask.

    No ring meets itself, not even at a corner: cells that touch at a corner only are separate polygons, and a ring of
    cells that closes over a corner has a hole. Such polygons are valid OGC Simple Features.

    ``mask``: bool (row, column). Returns polygons in pixels of the finest level, the largest first; outer rings are
    clockwise, holes counter-clockwise. Empty for an empty mask.
    """
    from scipy import ndimage

    parts, _ = ndimage.label(mask)  # cells joined by their sides: each part has one outer ring
    rings = [part for ring in _trace_outlines(mask) for part in _split_at_repeated_points(ring)]
    outer_rings = {_part_at(ring, parts, 0): ring for ring in rings if signed_area(ring) > 0}
    holes: dict[int, list[Ring]] = {part: [] for part in outer_rings}
    for hole in (ring for ring in rings if signed_area(ring) < 0):
        holes[_part_at(hole, parts, -1)].append(_to_slide_ring(hole, place))
    polygons = [Polygon(_to_slide_ring(ring, place), tuple(holes[part])) for part, ring in outer_rings.items()]
    return tuple(sorted(polygons, key=lambda polygon: -polygon.area))


def simplified_cell_polygons(mask: NDArray[np.bool_], place: MapPlacement) -> tuple[Polygon, ...]:
    """Trace the cells of a mask as ``cell_polygons`` does, and remove the steps between cells."""
    return tuple(simplify_cell_polygon(polygon, place) for polygon in cell_polygons(mask, place))


def simplify_cell_polygon(polygon: Polygon, place: MapPlacement) -> Polygon:
    """Remove the steps between cells from a polygon of ``cell_polygons``."""
    import shapely

    rings = [place.to_map(ring) for ring in polygon.arrays]
    shape = shapely.simplify(shapely.Polygon(rings[0], rings[1:]), SIMPLIFY_CELLS, preserve_topology=True)
    simplified = [as_ring(place.to_slide(shapely.get_coordinates(ring))) for ring in (shape.exterior, *shape.interiors)]
    return Polygon(simplified[0], tuple(simplified[1:]))


def rasterize_polygons(polygons: Iterable[Polygon], place: MapPlacement, window: Box) -> NDArray[np.bool_]:
    """Mark the cells whose center lies within polygons: the inverse of ``cell_polygons``, also for drawn polygons.

    ``polygons``: in pixels of the finest level. ``window``: part of the map, in cells. Returns bool (row, column) of
    the window.
    """
    mask = np.zeros((window.height, window.width), bool)
    for polygon in polygons:
        mask |= rasterize_rings([place.to_map(ring) - (window.top, window.left) for ring in polygon.arrays], mask.shape)
    return mask


def covered_cells(box: Box, place: MapPlacement, window: Box) -> Box:
    """Return the cells of a window that a box covers, also in part.

    ``box``: in pixels of the finest level. ``window``: part of the map, in cells.
    """
    first = np.floor(place.to_map((box.top, box.left))).astype(int)
    last = np.ceil(place.to_map((box.top + box.height, box.left + box.width))).astype(int)
    top, left = max(int(first[0]), window.top), max(int(first[1]), window.left)
    bottom = min(int(last[0]), window.top + window.height)
    right = min(int(last[1]), window.left + window.width)
    return Box(top, left, max(0, bottom - top), max(0, right - left))


def _trace_outlines(mask: NDArray[np.bool_]) -> list[list[Point]]:
    """Trace the edge of a mask as closed lines, with the mask on their right.

    Returns the corners of each line. At a corner where two cells touch, the lines turn right and do not cross.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    across, down = np.diff(padded, axis=1)[1:-1], np.diff(padded, axis=0)[:, 1:-1]
    following: dict[Point, list[Point]] = {}
    # Down a right edge, up a left one, right along an upper edge, left along a lower one: clockwise on a screen.
    for starts, ends in (
        _edge_runs(across.T, -1, upright=True),
        tuple(reversed(_edge_runs(across.T, 1, upright=True))),
        _edge_runs(down, 1, upright=False),
        tuple(reversed(_edge_runs(down, -1, upright=False))),
    ):
        for start, end in zip(map(tuple, starts.tolist()), map(tuple, ends.tolist()), strict=True):
            following.setdefault(start, []).append(end)
    lines = []
    for start in list(following):
        while start in following:
            lines.append(_follow_line(following, start))
    return lines


def _edge_runs(steps: NDArray[np.int8], sign: int, *, upright: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return both ends of each straight piece of the edge: runs of cells in a row whose step has this sign.

    ``steps``: differences across the edges of cells. ``upright``: they are transposed, for vertical edges. Returns two
    arrays (piece, 2) of (row, column).
    """
    lines, starts = np.nonzero(np.diff(np.pad((steps == sign).astype(np.int8), ((0, 0), (1, 1))), axis=1) == 1)
    _, ends = np.nonzero(np.diff(np.pad((steps == sign).astype(np.int8), ((0, 0), (1, 1))), axis=1) == -1)
    first, last = np.stack([lines, starts], axis=1), np.stack([lines, ends], axis=1)
    return (first[:, ::-1], last[:, ::-1]) if upright else (first, last)


def _follow_line(following: dict[Point, list[Point]], start: Point) -> list[Point]:
    """Remove a closed line from the pieces and return its corners; turn right where two lines meet.

    ``following``: the points that follow each point along the edge, one or two.
    """
    line, point, previous = [start], following[start].pop(), start
    if not following[start]:
        del following[start]
    while point != start:
        line.append(point)
        ways = following[point]
        way = ways.pop(0 if len(ways) == 1 or _right_turn(previous, point, ways[0]) > 0 else 1)
        if not ways:
            del following[point]
        previous, point = point, way
    return line


def _right_turn(before: Point, at: Point, after: Point) -> int:
    """Return a positive number for a right turn on a screen."""
    return (at[1] - before[1]) * (after[0] - at[0]) - (at[0] - before[0]) * (after[1] - at[1])


def _split_at_repeated_points(line: list[Point]) -> list[Ring]:
    """Split a line that returns to one of its points into simple rings."""
    rings: list[Ring] = []
    path: list[Point] = []
    seen: dict[Point, int] = {}
    for point in line:
        if point in seen:
            first = seen[point]
            rings.append(tuple((float(row), float(column)) for row, column in path[first:]))
            for removed in path[first + 1 :]:
                del seen[removed]
            del path[first + 1 :]
        else:
            seen[point] = len(path)
            path.append(point)
    return [*rings, tuple((float(row), float(column)) for row, column in path)]


def _part_at(ring: Ring, parts: NDArray[np.int32], above: int) -> int:
    """Return the part that a ring bounds, from the cell at its uppermost edge.

    ``above``: 0 for the cell below that edge, -1 for the cell above it, which belongs to the part around a hole.
    """
    row, column = min(ring)
    return int(parts[int(row) + above, int(column)])


def _to_slide_ring(ring: Ring, place: MapPlacement) -> Ring:
    """Convert a ring of corners of cells to pixels of the finest level."""
    return as_ring(place.to_slide(as_array(ring)))


@dataclass(frozen=True)
class OutlineClick:
    """A click on a slide, with the displayed pixels around it.

    ``point``: (row, column) in pixels of the finest level. ``include``: the click extends the outline to the point;
    else it excludes the point. ``reach``: largest distance from an outline that the click changes, in the unit of
    ``pixel_um``, the height and width of a pixel of the finest level. ``size``: height and width of the slide in these
    pixels. ``read``: returns the displayed colors, uint8 (row, column, channel=3); ``placement``: their position.
    """

    point: tuple[float, float]
    include: bool
    reach: float
    pixel_um: tuple[float, float]
    size: tuple[int, int]
    placement: MapPlacement
    read: Callable[[], NDArray[np.uint8]]


def find_clicked_outline(
    outlines: Iterable[tuple[Key, tuple[Polygon, ...]]], click: OutlineClick, preferred: Collection[Key] = ()
) -> Key:
    """Find the outline that a click changes, and return its key.

    It is the nearest outline within reach, of several under the click the smallest. Outlines with ``preferred`` keys
    take precedence if the click changes them.
    """
    near = [  # key, distance, area
        (key, distance, sum(polygon.area for polygon in polygons))
        for key, polygons in outlines
        if (distance := _distance(polygons, click)) <= click.reach
    ]
    if not near:
        raise InputError(NO_OUTLINE)
    chosen = [
        (key, distance, area) for key, distance, area in near if key in preferred and (distance > 0) == click.include
    ]
    key, distance, _ = min(chosen or near, key=lambda candidate: candidate[1:])
    if (distance > 0) != click.include:
        raise InputError(ALREADY_INSIDE if click.include else ALREADY_OUTSIDE)
    return key


def refine_polygons(polygons: Sequence[Polygon], click: OutlineClick) -> tuple[Polygon, ...]:
    """Move the border of polygons around a click to the edge in the image.

    Polygons and parts of the border that the click does not change keep their vertices. Returns valid polygons within
    the slide; empty if nothing is left.
    """
    rgb = click.read()
    shape = (rgb.shape[0], rgb.shape[1])
    row, column = np.clip(np.floor(click.placement.to_map(click.point)).astype(int), 0, np.array(shape) - 1).tolist()
    mask = rasterize_polygons(polygons, click.placement, Box(0, 0, *shape))
    if mask[row, column] == click.include:  # by less than a cell
        raise InputError(ALREADY_INSIDE if click.include else ALREADY_OUTSIDE)
    if not mask.any():
        raise InputError(TOO_FAR)
    redrawn = _without_specks(redraw_at_click(rgb, mask, (row, column), include=click.include), mask)
    changed = _with_seam(redrawn != mask, redrawn == click.include)
    return _apply_change(polygons, changed, click)


def _distance(polygons: tuple[Polygon, ...], click: OutlineClick) -> float:
    """Return the distance of a click from polygons, 0 inside; infinite if it is certainly out of reach."""
    import shapely

    box, pixel_um = joint_box(polygons), click.pixel_um
    low, high = np.array((box.top, box.left)), np.array((box.top + box.height, box.left + box.width))
    outside = np.maximum(np.maximum(low - click.point, click.point - high), 0)
    if np.hypot(*(outside * pixel_um)) > click.reach:
        return np.inf
    point = shapely.points(np.array(click.point) * pixel_um)
    scaled = [shapely.transform(to_shape(polygon), lambda vertices: vertices * pixel_um) for polygon in polygons]
    return float(shapely.distance(scaled, point).min())


def _without_specks(redrawn: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Undo the small fragments and holes that a redrawn mask has and the original ``mask`` does not have."""
    from scipy import ndimage

    cleaned = redrawn.copy()
    for value in (True, False):
        now, _ = ndimage.label(redrawn == value)
        before, _ = ndimage.label(mask == value)
        size_now, size_before = np.bincount(now.ravel())[now], np.bincount(before.ravel())[before]
        is_part = (now > 0) & (before > 0)
        cleaned[is_part & (size_now < np.minimum(SPECK_CELLS, SPECK_SHARE * size_before))] = not value
    return cleaned


def _with_seam(changed: NDArray[np.bool_], joined: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Extend changed cells by ``SEAM_CELLS`` into the cells that they are joined to."""
    from scipy import ndimage

    grown: NDArray[np.bool_] = ndimage.binary_dilation(changed, iterations=SEAM_CELLS, mask=changed | joined)
    return grown


def _apply_change(polygons: Sequence[Polygon], changed: NDArray[np.bool_], click: OutlineClick) -> tuple[Polygon, ...]:
    """Add changed cells to polygons, or remove them, depending on the click."""
    import shapely

    cells = shapely.union_all([to_shape(part) for part in simplified_cell_polygons(changed, click.placement)])
    kept: list[Polygon] = []
    touched: list[Geometry] = []
    for polygon in polygons:
        parts = [to_shape(part) for part in untangle_polygon(polygon)]
        if any(shapely.intersects(part, cells) for part in parts):
            touched += parts
        else:
            kept.append(polygon)
    before = shapely.union_all(touched)
    after = shapely.union(before, cells) if click.include else shapely.difference(before, cells)
    speck = SPECK_CELLS * click.placement.cell_area_px
    smallest = min([speck, *(SPECK_SHARE * float(part.area) for part in touched)])
    refined = (part for part in to_polygons(after) if part.area >= smallest)
    return (*kept, *(part for polygon in refined for part in clip_polygon(polygon, click.size)))


def split_shape(part: Geometry, cut: Geometry) -> list[Geometry]:
    """Split a polygon of shapely along a line; return its pieces, or it alone if the line does not split it."""
    import shapely

    lines = shapely.union_all([part.boundary, cut])
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(lines)))
    return [face for face in faces if shapely.intersects(part, shapely.point_on_surface(face))] or [part]

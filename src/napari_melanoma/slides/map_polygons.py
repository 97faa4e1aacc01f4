"""Convert masks of map cells to polygons along the edges of the cells, exact or simplified, and polygons to masks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.polygons import Polygon, Ring, as_array, as_ring, rasterize_rings, signed_area

Point = tuple[int, int]  # (row, column) of a corner of cells
SIMPLIFY_CELLS = 0.75  # tolerance for simplified outlines, in cells: removes the steps between cells


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

    rings = [place.to_map(as_array(ring)) for ring in polygon.rings]
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
        mask |= rasterize_rings(
            [place.to_map(as_array(ring)) - (window.top, window.left) for ring in polygon.rings], mask.shape
        )
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

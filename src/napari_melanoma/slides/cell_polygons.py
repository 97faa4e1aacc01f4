"""Conversion of masks of map cells to polygons of their outer edges and back, without loss, or simplified."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.geometry import Box
from napari_melanoma.core.polygons import Polygon, Ring, as_array, as_ring, rasterize_rings, signed_area

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_melanoma.core.map_placement import MapPlacement

Point = tuple[int, int]
OUTLINE_CELLS = 0.75  # by which outlines may be simplified: they lose the steps of cells


def cell_polygons(mask: NDArray[np.bool_], place: MapPlacement) -> tuple[Polygon, ...]:
    """Trace the outer edges of the cells of a mask.

    No ring meets itself, not even at a corner: cells that touch at a corner only are separate polygons, and a ring of
    cells that closes over a corner has a hole. Such polygons are valid OGC Simple Features.

    ``mask``: bool (row, column). Polygons in pixels of the finest level, outer rings clockwise, holes
    counter-clockwise; the largest first. Empty for an empty mask.
    """
    from scipy import ndimage

    parts, _ = ndimage.label(mask)  # cells joined by their sides: each part has one outer ring
    rings = [part for ring in _trace_outlines(mask) for part in _split_at_repeated_points(ring)]
    outer = {_part_at(ring, parts, 0): ring for ring in rings if signed_area(ring) > 0}
    holes: dict[int, list[Ring]] = {part: [] for part in outer}
    for hole in (ring for ring in rings if signed_area(ring) < 0):
        holes[_part_at(hole, parts, -1)].append(_to_slide_ring(hole, place))
    found = [Polygon(_to_slide_ring(ring, place), tuple(holes[part])) for part, ring in outer.items()]
    return tuple(sorted(found, key=lambda polygon: -polygon.area))


def simplified_cell_polygons(mask: NDArray[np.bool_], place: MapPlacement) -> tuple[Polygon, ...]:
    """Trace the cells of a mask without the steps of cells, in the order of ``cell_polygons``."""
    return tuple(_simplify(polygon, place) for polygon in cell_polygons(mask, place))


def _simplify(polygon: Polygon, place: MapPlacement) -> Polygon:
    import shapely

    rings = [place.to_map(as_array(ring)) for ring in polygon.rings]
    shape = shapely.simplify(shapely.Polygon(rings[0], rings[1:]), OUTLINE_CELLS, preserve_topology=True)
    simple = [as_ring(place.to_slide(shapely.get_coordinates(ring))) for ring in (shape.exterior, *shape.interiors)]
    return Polygon(simple[0], tuple(simple[1:]))


def rasterize_polygons(polygons: Iterable[Polygon], place: MapPlacement, window: Box) -> NDArray[np.bool_]:
    """Mark the cells whose center lies within polygons: the inverse of ``cell_polygons``, also for drawn polygons.

    ``polygons``: in pixels of the finest level. Returns bool (row, column) of the window.
    """
    mask = np.zeros((window.height, window.width), bool)
    for polygon in polygons:
        mask |= rasterize_rings(
            [place.to_map(as_array(ring)) - (window.top, window.left) for ring in polygon.rings], mask.shape
        )
    return mask


def covered_cells(box: Box, place: MapPlacement, window: Box) -> Box:
    """Return the part of a window of a map, in cells, that a box in pixels of the finest level covers."""
    first = np.floor(place.to_map((box.top, box.left))).astype(int)
    last = np.ceil(place.to_map((box.top + box.height, box.left + box.width))).astype(int)
    top, left = max(int(first[0]), window.top), max(int(first[1]), window.left)
    bottom = min(int(last[0]), window.top + window.height)
    right = min(int(last[1]), window.left + window.width)
    return Box(top, left, max(0, bottom - top), max(0, right - left))


def _trace_outlines(mask: NDArray[np.bool_]) -> list[list[Point]]:
    """Closed lines of lattice points at the corners of the edge, the mask on their right; corners stay separate."""
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
    """Both ends, (row, column), of each straight piece of the edge: aligned cells whose step has the same sign."""
    lines, starts = np.nonzero(np.diff(np.pad((steps == sign).astype(np.int8), ((0, 0), (1, 1))), axis=1) == 1)
    _, ends = np.nonzero(np.diff(np.pad((steps == sign).astype(np.int8), ((0, 0), (1, 1))), axis=1) == -1)
    first, last = np.stack([lines, starts], axis=1), np.stack([lines, ends], axis=1)
    return (first[:, ::-1], last[:, ::-1]) if upright else (first, last)


def _follow_line(following: dict[Point, list[Point]], start: Point) -> list[Point]:
    """Extract one closed line from the pieces, turning right where two cross."""
    line, point, came = [start], following[start].pop(), start
    if not following[start]:
        del following[start]
    while point != start:
        line.append(point)
        ways = following[point]
        way = ways.pop(0 if len(ways) == 1 or _right_turn(came, point, ways[0]) > 0 else 1)
        if not ways:
            del following[point]
        came, point = point, way
    return line


def _right_turn(came: Point, at: Point, to: Point) -> int:
    """Positive for a right turn on a screen."""
    return (at[1] - came[1]) * (to[0] - at[0]) - (at[0] - came[0]) * (to[1] - at[1])


def _split_at_repeated_points(line: list[Point]) -> list[Ring]:
    """Split a line that returns to one of its points into simple rings."""
    rings: list[Ring] = []
    path: list[Point] = []
    seen: dict[Point, int] = {}
    for point in line:
        if point in seen:
            first = seen[point]
            rings.append(tuple((float(row), float(column)) for row, column in path[first:]))
            for gone in path[first + 1 :]:
                del seen[gone]
            del path[first + 1 :]
        else:
            seen[point] = len(path)
            path.append(point)
    return [*rings, tuple((float(row), float(column)) for row, column in path)]


def _part_at(ring: Ring, parts: NDArray[np.int32], above: int) -> int:
    """Part that a ring bounds: the cell below its uppermost edge, or above it for a hole."""
    row, column = min(ring)
    return int(parts[int(row) + above, int(column)])


def _to_slide_ring(ring: Ring, place: MapPlacement) -> Ring:
    """Convert a ring of lattice points to slide pixels."""
    return as_ring(place.to_slide(as_array(ring)))

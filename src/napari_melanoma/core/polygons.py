"""Polygons on a slide: areas with holes, their repair, clipping and union."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.geometry import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Edges = NDArray[np.float64]  # (edge, end, 2), ends as (row, column)

Ring = tuple[tuple[float, float], ...]
Point = tuple[float, float]
Cuts = dict[int, list[tuple[float, Point]]]
SIDE_OFFSET = 1e-6  # of the length of an edge
SLIVER = 1e-9  # square pixels left by rounding


@dataclass(frozen=True)
class Polygon:
    """An area within one outer ring and outside its holes; compares by content, and can be a key.

    ``outer``: vertices (row, column) in pixels of the slide's finest level, counted from the outer corner of its first
    pixel; the first one is not repeated at the end.
    """

    outer: Ring
    holes: tuple[Ring, ...] = ()

    @property
    def rings(self) -> tuple[Ring, ...]:
        """The outer ring, then the holes."""
        return self.outer, *self.holes

    @property
    def area(self) -> float:
        """Area of the outer ring without the holes, in square pixels."""
        return abs(signed_area(self.outer)) - sum(abs(signed_area(hole)) for hole in self.holes)

    @property
    def box(self) -> Box:
        """Smallest box of whole pixels around the polygon."""
        vertices = as_array(self.outer)
        top, left = np.floor(vertices.min(axis=0)).astype(int)
        bottom, right = np.ceil(vertices.max(axis=0)).astype(int)
        return Box(int(top), int(left), int(bottom - top), int(right - left))


def as_array(ring: Ring) -> NDArray[np.float64]:
    """Convert a ring of vertices (row, column) to an array, float64 (vertex, 2)."""
    return np.array(ring, np.float64).reshape(-1, 2)


def as_ring(vertices: NDArray[np.floating]) -> Ring:
    """Convert an array of vertices to a ring; a last vertex that repeats the first is dropped.

    ``vertices``: (vertex, 2) as (row, column).
    """
    rows = [(float(row), float(column)) for row, column in vertices.tolist()]
    return tuple(rows[:-1] if len(rows) > 1 and rows[0] == rows[-1] else rows)


def signed_area(ring: Ring) -> float:
    """Return the area of a ring (shoelace formula), positive if it is clockwise on a screen with rows downwards.

    ``ring``: vertices (row, column). Returns square pixels.
    """
    vertices = as_array(ring)
    vertices = vertices - vertices[:1]  # far from the origin the products would lose precision
    following = np.roll(vertices, -1, axis=0)
    return float(np.sum(vertices[:, 1] * following[:, 0] - vertices[:, 0] * following[:, 1])) / 2


def joint_box(polygons: tuple[Polygon, ...]) -> Box:
    """Return the smallest box of whole pixels around several polygons."""
    boxes = [polygon.box for polygon in polygons]
    top, left = min(box.top for box in boxes), min(box.left for box in boxes)
    bottom, right = max(box.top + box.height for box in boxes), max(box.left + box.width for box in boxes)
    return Box(top, left, bottom - top, right - left)


def untangle_polygon(polygon: Polygon) -> tuple[Polygon, ...]:
    """Split an area whose rings cross or touch themselves, by the winding number.

    A figure of eight becomes two areas; a region surrounded twice in the same direction counts once, in both directions
    it is a hole.

    Returns the same polygon where nothing crosses; empty where nothing is enclosed.
    """
    parts = [_simple_rings(ring) for ring in polygon.rings]
    if all(rings == [ring] for rings, ring in zip(parts, polygon.rings, strict=True)):
        return (polygon,)
    outer = [ring for ring in parts[0] if signed_area(ring) > 0]
    holes = [ring for ring in parts[0] if signed_area(ring) < 0]
    # The ring of a hole encloses it in either direction; a region that it encloses twice belongs to the hole.
    holes += [ring for rings, drawn in zip(parts[1:], polygon.holes, strict=True) for ring in _edges(rings, drawn)]
    own: dict[Ring, list[Ring]] = {ring: [] for ring in outer}
    for hole in holes:
        holders = [ring for ring in outer if _lies_in(hole, ring)]
        if holders:
            own[min(holders, key=signed_area)].append(hole)
    return tuple(Polygon(ring, tuple(within)) for ring, within in own.items())


def clip_polygon(polygon: Polygon, size: tuple[int, int]) -> Polygon | None:
    """Clip a polygon to a slide (Sutherland and Hodgman 1974, doi:10.1145/360767.360802).

    ``polygon``: in pixels. ``size``: height and width of the slide in pixels. Returns the same polygon if it is inside;
    None if it is outside.
    """
    vertices = as_array(polygon.outer)
    if (vertices >= 0).all() and (vertices <= size).all():
        return polygon
    rings = [_clipped_ring(ring, size) for ring in polygon.rings]
    if not rings[0] or not signed_area(rings[0]):
        return None
    return Polygon(rings[0], tuple(ring for ring in rings[1:] if ring and signed_area(ring)))


def ring_contains(ring: Ring, point: Point) -> bool:
    """Whether a point is inside a ring: a ray to the right of it crosses an odd number of edges.

    ``ring``: vertices (row, column). ``point``: (row, column).
    """
    start = as_array(ring)
    end = np.roll(start, -1, axis=0)
    across = (start[:, 0] > point[0]) != (end[:, 0] > point[0])
    start, end = start[across], end[across]
    at = start[:, 1] + (point[0] - start[:, 0]) / (end[:, 0] - start[:, 0]) * (end[:, 1] - start[:, 1])
    return bool(np.count_nonzero(at > point[1]) % 2)


def _edges(rings: list[Ring], drawn: Ring) -> list[Ring]:
    """Return the parts of a split ring that enclose an area; an unsplit ring itself."""
    return rings if rings == [drawn] else [ring for ring in rings if signed_area(ring) > 0]


def _lies_in(ring: Ring, around: Ring) -> bool:
    """Whether a ring is inside another that it does not cross; they may share vertices."""
    corners = set(around)
    start, end = ring[0], ring[1]
    own = next((point for point in ring if point not in corners), None)
    return ring_contains(around, own or ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2))


def _simple_rings(ring: Ring) -> list[Ring]:
    """Split a ring into simple rings: outer ones clockwise on a screen, holes not; a valid ring is unchanged."""
    cuts = _crossings(ring)
    if not cuts and len(set(ring)) == len(ring):
        return [ring] if signed_area(ring) else []
    points = list(_with_cuts(ring, cuts))
    pieces = [(a, b) for a, b in zip(points, (*points[1:], points[0]), strict=True) if a != b]
    left, right = _windings(as_array(ring), np.array(pieces))
    edges = [
        (a, b) if on_right else (b, a)
        for (a, b), on_left, on_right in zip(pieces, left, right, strict=True)
        if (on_left != 0) != (on_right != 0)
    ]
    following: dict[Point, list[Point]] = {}
    for start, end in dict.fromkeys(edges):
        following.setdefault(start, []).append(end)
    found = [part for line in _lines(following) for part in _split_at_repeated_points(line)]
    return [part for part in found if len(part) > 2 and abs(signed_area(part)) > SLIVER]


def _windings(ring: NDArray[np.float64], pieces: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Winding numbers of the points next to the middle of each piece, on its left and right."""
    step = pieces[:, 1] - pieces[:, 0]
    # Rows count downwards: a clockwise ring on a screen has its inside on the right.
    offset = np.stack([step[:, 1], -step[:, 0]], axis=1) * SIDE_OFFSET
    middle = pieces.mean(axis=1)
    return _winding_numbers(ring, middle - offset), _winding_numbers(ring, middle + offset)


def _winding_numbers(ring: NDArray[np.float64], points: NDArray[np.float64]) -> list[int]:
    """Winding numbers of points: edges to the right that lead down, minus those that lead up."""
    start, end = ring, np.roll(ring, -1, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (end[:, 1] - start[:, 1]) / (end[:, 0] - start[:, 0])
    found = []
    for row, column in points:
        down, up = (start[:, 0] <= row) & (end[:, 0] > row), (start[:, 0] > row) & (end[:, 0] <= row)
        at = start[:, 1] + (row - start[:, 0]) * slope
        found.append(int(np.count_nonzero(down & (at > column)) - np.count_nonzero(up & (at > column))))
    return found


def _lines(following: dict[Point, list[Point]]) -> Iterator[list[Point]]:
    """Closed lines of edges; at a branch, the edge that stays with the same area."""
    for start in list(following):
        while following.get(start):
            line = [start, following[start].pop()]
            while line[-1] != start and following.get(line[-1]):
                ways = following[line[-1]]
                line.append(ways.pop(max(range(len(ways)), key=lambda way: _turn(line[-2], line[-1], ways[way]))))
            if line[-1] == start:
                yield line[:-1]


def _turn(before: Point, at: Point, after: Point) -> float:
    """Angle of a turn to the right, rows counted downwards."""
    first, second = (at[0] - before[0], at[1] - before[1]), (after[0] - at[0], after[1] - at[1])
    across = first[1] * second[0] - first[0] * second[1]
    return math.atan2(across, first[0] * second[0] + first[1] * second[1])


def _split_at_repeated_points(line: list[Point]) -> Iterator[Ring]:
    """Split a line that returns to a point into rings that do not."""
    path: list[Point] = []
    for point in line:
        if point in path:
            first = path.index(point)
            yield tuple(path[first:])
            del path[first + 1 :]
        else:
            path.append(point)
    yield tuple(path)


def _with_cuts(ring: Ring, cuts: Cuts) -> Iterator[Point]:
    """Vertices of a ring, with the crossings of each edge inserted in order."""
    for index, point in enumerate(ring):
        yield point
        for _, cut in sorted(cuts.get(index, ())):
            yield cut


def _crossings(ring: Ring) -> Cuts:
    """Crossings of the edges of a ring: for each edge, how far along it and the point."""
    start = as_array(ring)
    step = np.roll(start, -1, axis=0) - start
    low = np.minimum(start, start + step)
    high = np.maximum(start, start + step)
    order = np.argsort(low[:, 0], kind="stable")
    tops = low[order, 0]
    found: Cuts = {}
    for rank, edge in enumerate(order):
        last = int(np.searchsorted(tops, high[edge, 0], side="right"))
        others = order[rank + 1 : last]
        others = others[(low[others, 1] <= high[edge, 1]) & (high[others, 1] >= low[edge, 1])]
        for other, along, across in _find_crossings(start, step, int(edge), others):
            row, column = (start[edge] + along * step[edge]).tolist()
            found.setdefault(int(edge), []).append((along, (row, column)))
            found.setdefault(other, []).append((across, (row, column)))
    return found


def _find_crossings(
    start: NDArray[np.float64], step: NDArray[np.float64], edge: int, others: NDArray[np.intp]
) -> list[tuple[int, float, float]]:
    """Edges that cross one in the interior of both, and how far along each."""
    if not len(others):
        return []
    between = start[others] - start[edge]
    other_steps, own_step = step[others], step[edge]
    area = own_step[0] * other_steps[:, 1] - own_step[1] * other_steps[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (between[:, 0] * other_steps[:, 1] - between[:, 1] * other_steps[:, 0]) / area
        across = (between[:, 0] * own_step[1] - between[:, 1] * own_step[0]) / area
    inside = (along > 0) & (along < 1) & (across > 0) & (across < 1)
    rows = zip(others[inside].tolist(), along[inside].tolist(), across[inside].tolist(), strict=True)
    return list(rows)


def _clipped_ring(ring: Ring, size: tuple[int, int]) -> Ring:
    """Clip a ring at the four sides of a slide, one after the other."""
    points: Sequence[Point] = ring
    for axis, bound, sign in ((0, 0, 1), (0, size[0], -1), (1, 0, 1), (1, size[1], -1)):
        points = _cut_at_line(points, axis, float(bound), sign)
    return tuple(points)


def _cut_at_line(points: Sequence[Point], axis: int, bound: float, sign: int) -> list[Point]:
    """Keep the points on one side of a line along an axis."""
    kept: list[Point] = []
    for before, point in zip((*points[-1:], *points[:-1]), points, strict=True):
        was, now = sign * (before[axis] - bound) >= 0, sign * (point[axis] - bound) >= 0
        if was != now:
            share = (bound - before[axis]) / (point[axis] - before[axis])
            other = before[1 - axis] + share * (point[1 - axis] - before[1 - axis])
            kept.append((bound, other) if axis == 0 else (other, bound))
        if now:
            kept.append(point)
    return kept


def joint_area(polygons: Sequence[Polygon]) -> float:
    """Return the area of a union, in square pixels; 0 without any polygon.

    The rows are divided where an edge begins, ends or crosses one of another area. Within such a strip the covered
    length is linear, so its middle row gives the exact area.
    """
    edges = [_covering_edges(polygon) for polygon in polygons]
    meetings = [_crossing_rows(one, other) for one, other in combinations(edges, 2)]
    rows = np.unique(np.concatenate([np.zeros(0), *(one[:, :, 0].ravel() for one in edges), *meetings]))
    return float(sum((bottom - top) * _covered_length(edges, (top + bottom) / 2) for top, bottom in pairwise(rows)))


def _covering_edges(polygon: Polygon) -> Edges:
    """All edges of an area, including those of its holes."""
    rings = [as_array(ring) for ring in polygon.rings]
    return np.concatenate([np.stack([ring, np.roll(ring, -1, axis=0)], axis=1) for ring in rings])


def _crossing_rows(one: Edges, other: Edges) -> NDArray[np.float64]:
    """Rows in which edges of two areas cross."""
    start, step = one[:, None, 0], (one[:, 1] - one[:, 0])[:, None]
    away, stride = other[None, :, 0] - start, (other[:, 1] - other[:, 0])[None]
    slant = _cross(step, stride)
    with np.errstate(divide="ignore", invalid="ignore"):  # of parallel edges
        along, across = _cross(away, stride) / slant, _cross(away, step) / slant
        meet = (along >= 0) & (along <= 1) & (across >= 0) & (across <= 1)
        rows: NDArray[np.float64] = (start[..., 0] + along * step[..., 0])[meet]
    return rows


def _cross(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cross product of vectors in a plane."""
    product: NDArray[np.float64] = one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
    return product


def _covered_length(edges: Sequence[Edges], row: float) -> float:
    """Length of a row that is covered by any of the areas."""
    spans = np.concatenate([_spans(one, row) for one in edges])
    spans = spans[np.argsort(spans[:, 0])]
    reach = np.maximum.accumulate(spans[:, 1])
    begin = np.maximum(spans[:, 0], np.concatenate([spans[:1, 0], reach[:-1]]))
    return float(np.maximum(spans[:, 1] - begin, 0).sum())


def _spans(edges: Edges, row: float) -> NDArray[np.float64]:
    """Spans of a row inside one area: (span, 2), first and last column; the row contains no vertex."""
    (top, left), (bottom, right) = edges[:, 0].T, edges[:, 1].T
    hit = (top > row) != (bottom > row)
    share = (row - top[hit]) / (bottom[hit] - top[hit])
    return np.sort(left[hit] + share * (right[hit] - left[hit])).reshape(-1, 2)

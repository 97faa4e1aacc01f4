"""Geometry of phantom sections: polygons, the curved surface, outlines, and points on random grids."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.core.polygons import rasterize_rings

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


def polygon_bounds(polygon: Floats) -> tuple[float, float, float, float]:
    """Return top, left, bottom and right of the bounding box of a polygon."""
    (left, top), (right, bottom) = polygon.min(axis=0), polygon.max(axis=0)
    return float(top), float(left), float(bottom), float(right)


def polygon_area(polygon: Floats) -> float:
    """Return the area of a polygon that does not cross itself."""
    x, y = (polygon - polygon[0]).T
    next_x, next_y = (np.concatenate((values[1:], values[:1])) for values in (x, y))  # np.roll takes five times as long
    return float(abs(np.dot(x, next_y) - np.dot(y, next_x)) / 2)


def polygon_perimeter(polygon: Floats) -> float:
    """Return the length of a closed outline."""
    return float(np.hypot(*(polygon - np.roll(polygon, -1, axis=0)).T).sum())


def rasterize_polygon(
    polygon: Floats, box: Box, downsample: float = 1.0
) -> tuple[tuple[slice, slice], NDArray[np.bool_]] | None:
    """Find the pixels of a box whose centers are in a polygon (even-odd rule).

    ``polygon``: vertices (vertex, 2) as x, y in pixels of level 0, float64; the center of the first pixel is at 0.5.
    ``downsample``: side of a pixel of the box in pixels of level 0. Returns slices (row, column) into the box and a
    bool array of their size; None if polygon and box do not overlap.
    """
    part = _clip_box(polygon, box, downsample)
    if part is None:
        return None
    ring = (polygon / downsample)[:, ::-1] - (part.top, part.left)
    mask = rasterize_rings([ring], (part.height, part.width))
    top, left = part.top - box.top, part.left - box.left
    return (slice(top, top + part.height), slice(left, left + part.width)), mask


def _clip_box(polygon: Floats, box: Box, downsample: float) -> Box | None:
    """Return the part of a box that is in the bounding box of a polygon; None if they do not overlap."""
    top, left, bottom, right = (edge / downsample for edge in polygon_bounds(polygon))
    first_row, first_column = max(box.top, int(np.floor(top))), max(box.left, int(np.floor(left)))
    height = min(box.top + box.height, int(np.ceil(bottom))) - first_row
    width = min(box.left + box.width, int(np.ceil(right))) - first_column
    return Box(first_row, first_column, height, width) if height > 0 and width > 0 else None


@dataclass(frozen=True)
class SurfaceFrame:
    """The surface of a section, an arc; it converts between positions in the section and on the slide.

    Positions in the section are ``along`` the surface and ``depth`` below it. ``x_um``, ``y_um``: position on the slide
    of along = depth = 0. ``angle``: direction of the surface in radians, clockwise as displayed. ``curvature``: in 1 /
    micrometer; if it is positive, the tissue is inside the circle.
    """

    x_um: float
    y_um: float
    angle: float
    curvature: float

    def to_section(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Convert positions on the slide to positions in the section.

        ``x``, ``y``: micrometers from the slide's top left corner; their shapes must broadcast. Returns along and
        depth, float32 in micrometers.
        """
        across, down = (x - self.x_um).astype(np.float32), (y - self.y_um).astype(np.float32)
        cosine, sine = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        u, v = across * cosine + down * sine, down * cosine - across * sine
        if self.curvature == 0:
            return u, v
        radius = np.float32(1 / self.curvature)
        to_center = radius - v
        sign = np.sign(radius)
        along = np.abs(radius) * np.arctan2(u, sign * to_center)
        return along, radius - sign * np.sqrt(u * u + to_center * to_center)

    def to_slide(self, along: Floats, depth: Floats) -> Floats:
        """Convert positions in the section to positions on the slide.

        ``along``, ``depth``: micrometers, float (point,). Returns float64 (point, 2) as x, y in micrometers.
        """
        along, depth = np.asarray(along, float), np.asarray(depth, float)
        u, v = along, depth
        if self.curvature != 0:
            radius = 1 / self.curvature
            turn = along / abs(radius)
            from_center = np.abs(radius - depth)
            u = from_center * np.sin(turn)
            v = radius - np.sign(radius) * from_center * np.cos(turn)
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        return np.stack([self.x_um + u * cosine - v * sine, self.y_um + u * sine + v * cosine], axis=-1)

    def heading(self, along: Floats) -> Floats:
        """Return the direction of the surface at positions along it, in radians.

        ``along``: micrometers, of any shape. The direction of depth is a quarter turn further.
        """
        return self.angle + along * self.curvature


@dataclass(frozen=True)
class TissueOutline:
    """A closed outline (vertex, 2) as along, depth in micrometers; ``label`` is a ``TissueKind`` or that of a lesion.

    ``ring``: type of the nuclei that line the inside of the outline. ``pitch``: distance between these nuclei in
    micrometers. ``across``: whether they are perpendicular to the outline.
    """

    label: int
    points: Floats
    ring: str | None = None
    pitch: float = 6.0
    across: bool = True


@dataclass
class SectionDrawing:
    """The outlines of a section in drawing order."""

    outlines: list[TissueOutline] = field(default_factory=list)

    def add(self, label: int, points: Floats, ring: str | None = None, pitch: float = 6.0, across: bool = True) -> None:
        """Add an outline above all others; the arguments are those of ``TissueOutline``."""
        self.outlines.append(TissueOutline(int(label), np.asarray(points, float), ring, pitch, across))


def blob_outline(
    rng: np.random.Generator, center: tuple[float, float], radii: tuple[float, float], rough: float = 0.1
) -> Floats:
    """Generate a rounded outline with vertices (vertex, 2) about 2 micrometers apart.

    ``center``, ``radii``: along and depth in micrometers. ``rough``: irregularity of the outline.
    """
    count = int(np.clip(3.1 * sum(radii) / 2.5, 16, 400))
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radius = np.ones(count)
    for lobe in range(2, 8):
        radius += rough * rng.standard_normal() / lobe**0.8 * np.cos(lobe * turn + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.45, 1.6)
    return np.stack(
        [center[0] + radii[0] * radius * np.cos(turn), center[1] + radii[1] * radius * np.sin(turn)], axis=1
    )


def tube_outline(path: Floats, widths: Floats) -> Floats:
    """Generate the outline of a band around a path, (2 * point, 2).

    ``path``: (point, 2). ``widths``: half of the width of the band at each point.
    """
    step = np.gradient(path, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], axis=1) / np.maximum(np.hypot(*step.T), 1e-9)[:, None]
    return np.concatenate([path + normal * widths[:, None], (path - normal * widths[:, None])[::-1]])


def resample_outline(outline: Floats, pitch: float) -> tuple[Floats, Floats]:
    """Sample a closed outline at equal steps.

    Returns points (point, 2), and the direction of the outline at each of them in radians (point,).
    """
    closed = np.concatenate([outline, outline[:1]])
    steps = np.diff(closed, axis=0)
    lengths = np.concatenate([[0], np.cumsum(np.hypot(*steps.T))])
    positions = np.arange(0, lengths[-1], pitch)
    points = np.stack([np.interp(positions, lengths, closed[:, axis]) for axis in (0, 1)], axis=1)
    edge = np.clip(np.searchsorted(lengths, positions, side="right") - 1, 0, len(steps) - 1)
    return points, np.arctan2(steps[edge, 1], steps[edge, 0])


# Random grids: the random numbers of a cell depend only on its row, its column and the name of the grid.

_CHUNK = 32_768  # pixels compared at once, so that the data stay in the cache of a core
_ROW = 0.8660254  # distance between the rows of a triangular lattice, in distances between the points of a row


@dataclass(frozen=True)
class GridPoints:
    """Points of a grid: positions ``x``, ``y`` in micrometers, float64 (point,), and the cell of each point.

    ``name``: number of the grid.
    """

    x: Floats
    y: Floats
    row: Ints
    column: Ints
    name: int

    def uniform(self, index: int) -> Floats:
        """Return the random number ``index`` of each point, from 0 to below 1, float32 (point,)."""
        return hash_uniform(self.row, self.column, self.name + 101 * (index + 3))

    def select(self, mask: NDArray[np.bool_]) -> GridPoints:
        """Return the points selected by ``mask``, bool (point,)."""
        return GridPoints(self.x[mask], self.y[mask], self.row[mask], self.column[mask], self.name)


@dataclass(frozen=True)
class PointGrid:
    """A triangular lattice of cells ``spacing`` micrometers wide; each has a point, moved by up to ``jitter`` cells.

    ``name``: number that distinguishes the random numbers of grids.
    """

    spacing: float
    jitter: float
    name: int

    def points(self, top: float, left: float, bottom: float, right: float) -> GridPoints:
        """Return all points of a rectangle in micrometers, and possibly some just outside."""
        pitch = self.spacing * _ROW
        rows = np.arange(int(np.floor(top / pitch)) - 1, int(np.ceil(bottom / pitch)) + 2)
        columns = np.arange(int(np.floor(left / self.spacing)) - 2, int(np.ceil(right / self.spacing)) + 2)
        row, column = (part.ravel() for part in np.meshgrid(rows, columns, indexing="ij"))
        return self.points_of_cells(row, column)

    def points_of_cells(self, row: Ints, column: Ints) -> GridPoints:
        """Return the points of some cells."""
        across = hash_uniform(row, column, self.name + 1) - 0.5
        down = hash_uniform(row, column, self.name + 2) - 0.5
        x = (column + 0.5 + 0.5 * (row & 1) + 2 * self.jitter * across) * self.spacing
        y = (row + 0.5 + 2 * self.jitter * down) * (self.spacing * _ROW)
        return GridPoints(x, y, row, column, self.name)

    def distances(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Measure the distance of pixels from the nearest and from the second nearest point.

        ``x``, ``y``: positions in micrometers, float (pixel,). Returns two float32 (pixel,) in micrometers.
        """
        row = np.floor(y / (self.spacing * _ROW)).astype(np.int64)
        column = np.floor(x / self.spacing - 0.5 * (row & 1)).astype(np.int64)
        first_row, first_column = int(row.min()) - 1, int(column.min()) - 1
        shape = int(row.max()) - first_row + 2, int(column.max()) - first_column + 2
        cells = np.indices(shape).reshape(2, -1)
        points = self.points_of_cells(cells[0] + first_row, cells[1] + first_column)
        origin = float(points.x[0]), float(points.y[0])  # float32 is precise only near the origin
        point_x, point_y = (points.x - origin[0]).astype(np.float32), (points.y - origin[1]).astype(np.float32)
        cell_index = ((row - first_row) * shape[1] + column - first_column).astype(np.int32)
        position = (x - origin[0]).astype(np.float32), (y - origin[1]).astype(np.float32)
        return _two_nearest(position, (point_x, point_y), cell_index, shape[1])


def _two_nearest(
    position: tuple[Floats, Floats], points: tuple[Floats, Floats], cell_index: Ints, width: int
) -> tuple[Floats, Floats]:
    """Return the distances to the nearest and second nearest of the points in the nine cells around each position.

    ``position``, ``points``: x and y. ``cell_index``: cell of each position, in reading order; ``width``: cells in a
    row.
    """
    first = np.full(cell_index.shape, 1e9, np.float32)
    second = first.copy()
    shifts = [np.int32(down * width + across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    for start in range(0, len(cell_index), _CHUNK):
        part = slice(start, start + _CHUNK)
        cells, x, y = cell_index[part], position[0][part], position[1][part]
        nearest, second_nearest = first[part], second[part]
        for shift in shifts:
            index = cells + shift
            across, down = x - points[0].take(index, mode="clip"), y - points[1].take(index, mode="clip")
            across *= across
            down *= down
            across += down
            np.minimum(second_nearest, np.maximum(nearest, across, out=down), out=second_nearest)
            np.minimum(nearest, across, out=nearest)
    return np.sqrt(first, out=first), np.sqrt(second, out=second)


def hash_uniform(row: Ints, column: Ints, name: int) -> Floats:
    """Return a random number from 0 to below 1 for each cell, float32 of the same shape, by hashing the cell."""
    mixed = row.astype(np.uint32) * np.uint32(0x9E3779B1) + np.uint32((name * 0xC2B2AE3D) & 0xFFFFFFFF)
    mixed = _scramble(mixed) + column.astype(np.uint32) * np.uint32(0x85EBCA77)
    return (_scramble(mixed) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def _scramble(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Mix the bits of each value (finalizer of MurmurHash3)."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))

"""The geometry and the layers of phantom sections, and the structures in the dermis.

Structures are follicles, glands, vessels, nerves, muscles and scars. Positions are (along, depth) in micrometers: along
the surface of the section, and below it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.core.polygons import rasterize_rings
from napari_melanoma.phantoms.slide.config import TissueKind
from napari_melanoma.phantoms.slide.looks import Floats, Ints


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


STEP_UM = 1.0  # between the samples of a layer


@dataclass(frozen=True)
class SkinLayers:
    """Depths of the borders of layers in micrometers, float64 (position,), every micrometer from ``start``.

    ``top``: surface of the keratin; ``granular``: top of the granular layer, or the base of an ulcer; ``junction``:
    lower border of the epidermis; ``fat``: lower border of the dermis; ``bottom``: lower border of the section.
    """

    start: float
    top: Floats
    granular: Floats
    junction: Floats
    fat: Floats
    bottom: Floats

    @property
    def along(self) -> Floats:
        """Positions of the samples."""
        return self.start + STEP_UM * np.arange(len(self.top))

    @property
    def end(self) -> float:
        """Position of the last sample."""
        return self.start + STEP_UM * (len(self.top) - 1)

    def depth_at(self, depths: Floats, along: Floats) -> Floats:
        """Return the depths of a layer at positions along the section.

        ``along``: micrometers, of any shape; beyond the ends, the last value is used.
        """
        index = ((along - self.start) * (1 / STEP_UM) + 0.5).astype(np.int32)
        return depths.take(index, mode="clip")

    def with_upper_layers(self, top: Floats, granular: Floats, junction: Floats) -> SkinLayers:
        """Return the layers with other upper layers, as a lesion changes them."""
        return replace(self, top=top, granular=granular, junction=junction)


def random_curve(rng: np.random.Generator, count: int, scale_um: float) -> Floats:
    """Generate a smooth random curve with a mean of about 0 and a standard deviation of about 1, float64 (count,).

    ``scale_um``: length of its details.
    """
    nodes = rng.standard_normal(int(count * STEP_UM / scale_um) + 5)
    position = np.arange(count) * (STEP_UM / scale_um) + 1
    first = position.astype(int)
    t = position - first
    a, b, c, d = (nodes[first + shift] for shift in (-1, 0, 1, 2))
    weights = (1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3
    return (a * weights[0] + b * weights[1] + c * weights[2] + d * weights[3]) / 6 * 1.45


def smooth_bump(values: Floats) -> Floats:
    """Return a smooth hill: 1 at 0, and 0 below -1 and above 1."""
    return np.clip(1 - values**2, 0, 1) ** 2


def grow_layers(rng: np.random.Generator, width_um: float, depth_um: float, stretch: float) -> SkinLayers:
    """Generate the layers of healthy skin; ``stretch``: factor by which an oblique section is deeper."""
    count = int(width_um / STEP_UM) + 1
    furrows = rng.uniform(5, 16) * random_curve(rng, count, 220) + 5 * random_curve(rng, count, 60)
    granular = furrows * stretch
    keratin = rng.uniform(14, 40) * (1 + 0.35 * np.clip(random_curve(rng, count, 150), -1.8, 2.2))
    plate = rng.uniform(38, 60) * (1 + 0.12 * random_curve(rng, count, 200))
    junction = granular + (plate + draw_rete_ridges(rng, count)) * stretch
    fat_um = rng.uniform(1500, 2600) * stretch
    fat = fat_um + 0.11 * fat_um * random_curve(rng, count, 700) + 30 * random_curve(rng, count, 90)
    boat = 1 - rng.uniform(0.05, 0.35) * np.abs(np.linspace(-1, 1, count)) ** rng.uniform(4, 9)
    bottom = depth_um * (boat + 0.03 * random_curve(rng, count, 900)) + 8 * random_curve(rng, count, 45)
    bottom = np.minimum(bottom, depth_um * 1.02)
    return SkinLayers(-width_um / 2, granular - keratin * stretch, granular, junction, fat, bottom)


def draw_rete_ridges(rng: np.random.Generator, count: int) -> Floats:
    """Generate the rete ridges of the epidermis, 80 to 115 micrometers apart on average, of varied length and width.

    Returns how far they extend below the epidermis between them, in micrometers, float64 (count,).
    """
    spacing = rng.uniform(80, 115)
    along = np.arange(count) * STEP_UM
    number = int(count * STEP_UM / spacing) + 3
    centers = (np.arange(number) - 0.5 + 0.22 * rng.standard_normal(number)) * spacing
    lengths = rng.uniform(28, 62) * np.clip(1 + 0.45 * rng.standard_normal(number), 0.1, 2.2)
    widths = spacing * np.clip(0.42 + 0.09 * rng.standard_normal(number), 0.24, 0.6)
    skews = 0.25 * rng.standard_normal(number)
    depths = np.zeros(count)
    for center, length, width, skew in zip(centers, lengths, widths, skews, strict=True):
        first, last = max(0, int(center - 2 * width)), min(count, int(center + 2 * width) + 1)
        offset = (along[first:last] - center) / width
        hill = smooth_bump(offset / (1 + skew * np.sign(offset)) / 1.1) ** 0.8
        depths[first:last] = np.maximum(depths[first:last], length * hill)
    kernel = np.exp(-((np.arange(-14, 15) / 6.0) ** 2))
    padded = np.pad(depths, 14, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid") + 2.5 * random_curve(rng, count, 14)


MM = 1000.0  # micrometers


def add_follicle(
    drawing: SectionDrawing, rng: np.random.Generator, layers: SkinLayers, along: float, stretch: float
) -> None:
    """Draw a hair follicle with its gland, from the surface towards the fat, sometimes without its upper part.

    ``along``: position of its opening in micrometers.
    """
    start = float(layers.depth_at(layers.granular, np.array([along]))[0])
    floor = float(layers.depth_at(layers.bottom, np.array([along]))[0])
    length = min(rng.uniform(900, 2300) * stretch, 0.86 * (floor - start))
    if length < 250:
        return
    t = np.linspace(0, 1, max(12, int(length / 18)))
    lean = rng.uniform(-0.42, 0.42)
    sway = rng.uniform(0.02, 0.09) * np.sin(rng.uniform(2, 5) * t + rng.uniform(0, 6)) * t
    path = np.stack([along + length * (lean * t + sway), start - 14 + length * t], axis=1)
    if rng.random() < 0.35:  # the upper part is outside the section plane
        first = int(rng.uniform(0.25, 0.55) * len(t))
        path, t = path[first:], t[first:]
    if rng.random() < 0.7:
        add_gland(drawing, rng, path[int(0.3 * len(path))], rng.choice([-1, 1]))
    _add_hair(drawing, rng, path, t)


def _add_hair(drawing: SectionDrawing, rng: np.random.Generator, path: Floats, t: Floats) -> None:
    """Draw outer sheath, inner sheath, shaft and papilla along a path; ``t`` is 0 at the surface and 1 at the bulb."""
    thickness = rng.uniform(28, 50)
    bulb = 1 + 0.75 * np.exp(-(((t - 0.93) / 0.07) ** 2)) - 0.7 * np.clip((t - 0.965) / 0.035, 0, 1)
    funnel = 1 + 1.1 * np.exp(-t / 0.05)
    drawing.add(TissueKind.SHEATH, tube_outline(path, thickness * bulb * (0.85 + 0.15 * funnel)), "basal", 6.2)
    upper, inner, shaft = t < 0.1, (t > 0.16) & (t < 0.9), t < 0.84
    if upper.sum() > 2:
        drawing.add(TissueKind.KERATIN, tube_outline(path[upper], thickness * (0.25 + 0.55 * np.exp(-t[upper] / 0.03))))
    if inner.sum() > 3:
        drawing.add(TissueKind.INNER_SHEATH, tube_outline(path[inner], np.full(inner.sum(), 0.42 * thickness)))
    if shaft.sum() > 3:
        drawing.add(TissueKind.HAIR, tube_outline(path[shaft], np.full(shaft.sum(), 0.24 * thickness)))
    tip = path[np.searchsorted(t, 0.945)]
    drawing.add(
        TissueKind.DERMIS,
        blob_outline(rng, (float(tip[0]), float(tip[1]) + 12), (0.3 * thickness, 0.75 * thickness), 0.05),
    )


def add_gland(drawing: SectionDrawing, rng: np.random.Generator, at: Floats, side: int) -> None:
    """Draw a sebaceous gland of a few lobules."""
    for number in range(int(rng.integers(2, 6))):
        away = side * (70 + 75 * (number % 3)) + rng.uniform(-20, 20)
        below = 45 * number - 40 + rng.uniform(-20, 20)
        radii = rng.uniform(55, 105), rng.uniform(50, 90)
        drawing.add(
            TissueKind.SEBACEOUS,
            blob_outline(rng, (float(at[0] + away), float(at[1] + below)), radii, 0.13),
            "basal",
            8.5,
            False,
        )


def add_sweat_gland(drawing: SectionDrawing, rng: np.random.Generator, center: tuple[float, float]) -> None:
    """Draw the coil of a sweat gland: a cluster of cross-cut tubules with a lumen."""
    count = int(rng.integers(7, 15))
    turn = 2.4 * np.arange(count) + rng.uniform(0, 6)
    reach = 46 * np.sqrt(np.arange(count) + 0.4)
    for angle, distance in zip(turn, reach, strict=True):
        at = center[0] + distance * np.cos(angle), center[1] + 0.75 * distance * np.sin(angle)
        radius = rng.uniform(19, 27)
        radii = radius * rng.uniform(0.9, 1.5), radius
        drawing.add(TissueKind.ECCRINE, blob_outline(rng, at, radii, 0.08), "gland", 6.5)
        drawing.add(TissueKind.LUMEN, blob_outline(rng, at, (0.3 * radii[0], 0.3 * radii[1]), 0.15))


def add_vessel(drawing: SectionDrawing, rng: np.random.Generator, center: tuple[float, float], radius: float) -> None:
    """Draw a vessel of a radius in micrometers: a wall with flat nuclei, and blood or an empty lumen."""
    radii = radius * rng.uniform(0.9, 2.2), radius
    wall = rng.uniform(2.5, 4.5) + 0.1 * radius
    drawing.add(
        TissueKind.WALL,
        blob_outline(rng, center, (radii[0] + wall, radii[1] + wall), 0.08),
        "endothelium",
        11 + 0.1 * radius,
        False,
    )
    drawing.add(TissueKind.BLOOD if rng.random() < 0.6 else TissueKind.LUMEN, blob_outline(rng, center, radii, 0.1))


def add_nerve(drawing: SectionDrawing, rng: np.random.Generator, center: tuple[float, float]) -> None:
    radius = rng.uniform(18, 40)
    drawing.add(
        TissueKind.NERVE,
        blob_outline(rng, center, (radius * rng.uniform(1, 2.4), radius), 0.08),
        "endothelium",
        16,
        False,
    )


def add_muscle(drawing: SectionDrawing, rng: np.random.Generator, center: tuple[float, float]) -> None:
    """Draw a bundle of smooth muscle, such as one that raises a hair."""
    t = np.linspace(-1, 1, 30)
    length, lean = rng.uniform(180, 380), rng.uniform(-0.9, 0.9)
    path = np.stack([center[0] + length * t, center[1] + length * lean * t + 18 * np.sin(3 * t)], axis=1)
    drawing.add(TissueKind.MUSCLE, tube_outline(path, rng.uniform(22, 42) * np.sqrt(np.clip(1.02 - t**2, 0.01, 1))))


def add_infiltrate(
    drawing: SectionDrawing, rng: np.random.Generator, center: tuple[float, float], radii: tuple[float, float]
) -> None:
    drawing.add(TissueKind.INFILTRATE, blob_outline(rng, center, radii, 0.3))


def add_scars(
    drawing: SectionDrawing, rng: np.random.Generator, layers: SkinLayers, masses: list[Floats], share: float
) -> None:
    """Draw patches of cellular scar beside and below tumors, with the same colors but other cells.

    ``masses``: middle along the section, half width and depth of each melanoma. ``share``: area of the scar as a share
    of that of the melanoma.
    """
    for middle, half_width, tumor_depth in masses:
        remaining_area = share * 1.5 * half_width * tumor_depth
        for _ in range(400):
            radius = min(rng.uniform(0.25, 0.5) * np.sqrt(half_width * tumor_depth), 550.0)
            radii = radius * rng.uniform(1.0, 1.8), radius
            along = rng.uniform(layers.start + 0.3 * radii[0], layers.end - 0.3 * radii[0])
            floor = float(layers.depth_at(layers.bottom, np.array([along]))[0])
            depth = rng.uniform(150 + radius, max(floor - 0.6 * radius, 160 + radius))
            distance = np.hypot((along - middle) / (half_width + 0.8 * radii[0]), depth / (tumor_depth + 0.8 * radius))
            if remaining_area <= 0:
                break
            if distance > 1:
                drawing.add(TissueKind.STROMA, blob_outline(rng, (along, depth), radii, 0.3))
                remaining_area -= 1.7 * radii[0] * radii[1]  # less than the area: patches overlap, or are cut off


def fill_dermis(
    drawing: SectionDrawing, rng: np.random.Generator, layers: SkinLayers, amounts: dict[str, float]
) -> None:
    """Fill the dermis of a section with vessels, glands, nerves, muscles, inflammation and follicles.

    ``amounts``: ``follicles`` per mm, ``inflammation`` from 0 to 1, and ``stretch``, the factor by which an oblique
    section is deeper.
    """
    width_mm = (layers.end - layers.start) / MM

    def random_position(min_depth: float, max_depth: float) -> tuple[float, float]:
        along = float(rng.uniform(layers.start + 60, layers.end - 60))
        floor = float(layers.depth_at(layers.bottom, np.array([along]))[0]) - 60
        return along, float(np.clip(rng.uniform(min_depth, max_depth), 120, max(floor, 130)))

    for number in range(int(9 * width_mm)):
        add_vessel(drawing, rng, random_position(130, 420), rng.uniform(4, 11))
        if number % 3 == 0:
            add_vessel(drawing, rng, random_position(500, 2600), rng.uniform(10, 34))
    for _ in range(int(0.9 * width_mm)):
        add_sweat_gland(drawing, rng, random_position(900, 2400))
        add_nerve(drawing, rng, random_position(500, 2500))
        add_muscle(drawing, rng, random_position(350, 1100))
    for _ in range(round((2 + 7 * amounts["inflammation"]) * width_mm)):
        size = rng.uniform(14, 30 + 40 * amounts["inflammation"])
        add_infiltrate(drawing, rng, random_position(190, 900), (size * rng.uniform(0.8, 2.4), size))
    for _ in range(rng.poisson(amounts["follicles"] * width_mm)):
        along = float(rng.uniform(layers.start + 120, layers.end - 120))
        add_follicle(drawing, rng, layers, along, amounts["stretch"])

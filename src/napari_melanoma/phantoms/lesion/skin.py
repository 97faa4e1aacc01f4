"""Phantom skin: random textures on a plane in millimeters, and the outline, pigment and relief of lesions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms import random_stream
from napari_melanoma.phantoms.lesion.traits import LesionTraits, Map, PhantomModality, SkinTraits

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Standard deviation along one axis of white noise under a cubic B-spline, averaged over the positions between nodes.
_SPLINE_SD = math.sqrt(151 / 315)


@dataclass(frozen=True)
class Plane:
    """Positions of pixel centers in mm from the center of the view: ``y`` (row,) down, ``x`` (column,) to the right.

    ``pixel_mm``: side of a pixel; ``extent_mm``: (height, width) of the whole view, even if the plane is only a part.
    """

    y: Map
    x: Map
    pixel_mm: float
    extent_mm: tuple[float, float]

    @classmethod
    def from_size(cls, size: tuple[int, int], field_mm: float) -> Self:
        """Return the plane of a whole image.

        ``size``: height and width in pixels. ``field_mm``: width of the view, from the left edge of the first pixel to
        the right edge of the last. Pixels are square, the origin is the middle of the image.
        """
        height, width = size
        pixel_mm = field_mm / width
        y, x = ((np.arange(n) + 0.5 - n / 2) * pixel_mm for n in size)
        return cls(y.astype(np.float32), x.astype(np.float32), pixel_mm, (height * pixel_mm, field_mm))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.y), len(self.x)

    def crop(self, box: Box) -> Self:
        """Return a part of the plane; textures on it are those of the whole."""
        rows, columns = box.slices
        return replace(self, y=self.y[rows], x=self.x[columns])

    def box_around(self, center_mm: tuple[float, float], reach_mm: float) -> Box:
        """Return the box of the pixels inside a square; it is empty if there are none.

        ``center_mm``: center of the square (y, x) in mm. ``reach_mm``: half of its side.
        """
        top, bottom = np.searchsorted(self.y, (center_mm[0] - reach_mm, center_mm[0] + reach_mm))
        left, right = np.searchsorted(self.x, (center_mm[1] - reach_mm, center_mm[1] + reach_mm))
        return Box(int(top), int(left), int(bottom - top), int(right - left))

    def to_pixels(self, points_mm: NDArray) -> NDArray:
        """Convert points to pixels.

        ``points_mm``: points (..., 2) as (y, x) in mm. Returns the same points as (row, column), where 0 is the center
        of the first pixel.
        """
        return (points_mm - np.array([self.y[0], self.x[0]])) / self.pixel_mm


def noise(plane: Plane, rng: np.random.Generator, scale_mm: float) -> Map:
    """Generate a smooth random texture of mean 0 and standard deviation 1, float32 (row, column).

    ``scale_mm``: size of its details.
    """
    nodes = [math.ceil(extent / scale_mm) + 4 for extent in plane.extent_mm]
    values = rng.standard_normal(nodes, dtype=np.float32)
    along_y = _spline(plane.y, plane.extent_mm[0], scale_mm, nodes[0])
    along_x = _spline(plane.x, plane.extent_mm[1], scale_mm, nodes[1])
    texture = (along_x @ (along_y @ values).T).T / np.float32(_SPLINE_SD**2)
    return np.ascontiguousarray(texture)


def fractal(plane: Plane, rng: np.random.Generator, scale_mm: float, octaves: int = 3) -> Map:
    """Generate a random texture with details of several sizes, mean 0, standard deviation 1, float32 (row, column).

    It is a sum of ``octaves`` textures of ``noise``, each with half the scale and 0.6 times the amplitude of the
    previous one.
    """
    amplitudes = 0.6 ** np.arange(octaves)
    total = np.zeros(plane.shape, np.float32)
    for octave, amplitude in enumerate(amplitudes):
        total += np.float32(amplitude) * noise(plane, rng, scale_mm / 2**octave)
    return total / np.float32(np.sqrt(np.sum(amplitudes**2)))


def ramp(values: Map, start: float, end: float) -> Map:
    """Map values to a smooth ramp from 0 at ``start`` to 1 at ``end``, which may be smaller."""
    share = np.clip((values - np.float32(start)) / np.float32(end - start), 0, 1)
    return share * share * (3 - 2 * share)


def _spline(positions: Map, extent_mm: float, scale_mm: float, nodes: int) -> csr_array:
    """Return the cubic B-spline weights (position, node) of a lattice of nodes that covers the extent.

    They are sparse, also because a dense product runs on all cores, which is slow on a busy machine.
    """
    from scipy.sparse import csr_array

    in_nodes = (positions + extent_mm / 2) / scale_mm + 1
    first = np.floor(in_nodes).astype(int)
    t = (in_nodes - first).astype(np.float32)
    pieces = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    weights = np.stack(pieces, axis=1) / np.float32(6)
    columns = np.clip(first[:, None] + np.arange(-1, 3), 0, nodes - 1)
    starts = np.arange(0, 4 * len(positions) + 1, 4)
    return csr_array((weights.ravel(), columns.ravel(), starts), shape=(len(positions), nodes))


FURROW_MM = 0.75  # distance between the furrows of the skin


@dataclass
class SkinTissue:
    """Maps of the skin, float32 (row, column), changed in place while a phantom is drawn.

    ``melanin`` and ``blood`` are optical densities in green (natural logarithm), ``veil`` is the share (0 to 1) of
    light that is scattered above the pigment, ``relief_mm`` the height of the surface, and ``base`` contains melanin
    and blood of the even skin.
    """

    melanin: Map
    blood: Map
    veil: Map
    relief_mm: Map
    base: tuple[float, float]

    @classmethod
    def blank(cls, shape: tuple[int, int], melanin: float, blood: float) -> SkinTissue:
        """Return even, flat skin without veil."""
        flat = np.zeros(shape, np.float32)
        return cls(flat + np.float32(melanin), flat + np.float32(blood), flat, flat.copy(), (melanin, blood))

    def crop(self, box: Box) -> SkinTissue:
        """Return a view of a part; changes to it change the whole."""
        part = box.slices
        return SkinTissue(self.melanin[part], self.blood[part], self.veil[part], self.relief_mm[part], self.base)


@dataclass(frozen=True)
class CellPattern:
    """A cellular pattern, float32 (row, column).

    ``nearest``, ``second``: distances to the two nearest centers of cells, in widths of a cell; ``value``: a random
    number of the nearest cell, 0 to 1.
    """

    nearest: Map
    second: Map
    value: Map

    @property
    def edge(self) -> Map:
        """Distance from the border between two cells, in widths of a cell: 0 on the border, about 0.5 at a center."""
        return (self.second - self.nearest) / 2


@dataclass(frozen=True)
class LesionOutline:
    """A closed curve around ``center_mm`` (y, x): an ellipse with lobes, turned by ``rotation`` (radians) and bent.

    ``radii`` (4096,): radius at equal steps of the angle, divided by that of the ellipse; the enclosed area is pi/4
    times ``diameter_mm`` squared. ``shears`` (2, 2, waves): cosine and sine amplitudes, divided by the diameter, of a
    shift along each axis that is a smooth function of the position on the other axis; it bends the curve and keeps its
    area. ``softness`` (4096,): local width of the fading border, divided by its mean.
    """

    center_mm: tuple[float, float]
    diameter_mm: float
    elongation: float
    rotation: float
    radii: NDArray[np.float64]
    shears: NDArray[np.float64]
    softness: NDArray[np.float64]

    @property
    def area_mm2(self) -> float:
        return math.pi / 4 * self.diameter_mm**2

    @property
    def axes_mm(self) -> tuple[float, float]:
        """Full lengths of the longer and the shorter axis of the ellipse under the curve."""
        stretch = math.sqrt(self.elongation)
        return self.diameter_mm * stretch, self.diameter_mm / stretch

    @cached_property
    def radius_mm(self) -> float:
        """Radius of a disk around the center that contains the curve."""
        bend = float(np.abs(self.shears).sum(axis=(1, 2)).max()) * self.diameter_mm
        return float(self.radii.max()) * self.axes_mm[0] / 2 + bend

    def depth_maps(self, plane: Plane) -> tuple[Map, Map, Map]:
        """Calculate the depth of each pixel of a plane inside the outline.

        Returns three float32 (row, column): the depth in mm, positive inside and 0 on the curve (exact there, and
        elsewhere to first order); the distance from the center divided by that of the curve; and the softness of the
        border in this direction.
        """
        y, x = plane.y[:, None] - self.center_mm[0], plane.x[None] - self.center_mm[1]
        cosine, sine = math.cos(self.rotation), math.sin(self.rotation)
        along, across = x * cosine + y * sine, y * cosine - x * sine
        along = along + self._bend(across, 0)
        across = across + self._bend(along, 1)
        half_length, half_width = (axis / 2 for axis in self.axes_mm)
        u, v = along / np.float32(half_length), across / np.float32(half_width)
        r, angle = np.hypot(u, v), np.arctan2(v, u)
        curve, slope, softness = (self._interpolate(angle, table) for table in self._tables())
        depth = (curve - r) * np.float32(self.diameter_mm / 2) / np.sqrt(1 + slope * slope)
        return depth, r / curve, softness

    def _bend(self, position: Map, shear: int) -> Map:
        """Return the shift in mm along one axis at positions on the other axis."""
        phase = position * np.float32(2 * math.pi / self.diameter_mm)
        shift = np.zeros_like(phase)
        for wave, (cosine, sine) in enumerate(self.shears[shear].T, start=1):
            shift += np.float32(cosine) * np.cos(wave * phase) + np.float32(sine) * np.sin(wave * phase)
        return shift * np.float32(self.diameter_mm)

    def _tables(self) -> tuple[NDArray, NDArray, NDArray]:
        """Return radius, relative slope of the radius and softness, each by angle."""
        slope = np.gradient(np.log(self.radii), _ANGLES[1])
        return self.radii, slope, self.softness

    @staticmethod
    def _interpolate(angle: Map, table: NDArray) -> Map:
        """Look up a periodic table by angle, linear between its samples."""
        position = np.mod(angle / np.float32(2 * math.pi), np.float32(1)) * np.float32(_SAMPLES)
        first = position.astype(np.int32)
        share = position - first
        values = np.concatenate([table, table[:2]]).astype(np.float32)
        return values[first] * (1 - share) + values[first + 1] * share


def add_skin(tissue: SkinTissue, plane: Plane, traits: SkinTraits, modality: PhantomModality, seed: int) -> None:
    """Add texture to even skin, in place; ``plane``: its pixels."""
    _add_mottling(tissue, plane, traits.mottling, random_stream(seed, "skin", "mottling"))
    if traits.furrows > 0:
        _add_furrows(tissue, plane, traits.furrows, modality, random_stream(seed, "skin", "furrows"))
    if traits.freckles > 0:
        _add_freckles(tissue, plane, traits.freckles, random_stream(seed, "skin", "freckles"))
    if traits.redness > 0:
        red_area = ramp(fractal(plane, random_stream(seed, "skin", "redness"), 5.0, 2), 0.3, 2.4)
        tissue.blood += np.float32(0.42 * traits.redness) * red_area


def _add_mottling(tissue: SkinTissue, plane: Plane, amount: float, rng: np.random.Generator) -> None:
    """Make pigment and blood uneven, in patches of some millimeters and in fine grain."""
    amount = 0.25 + amount
    pigment = 0.07 * fractal(plane, rng, 2.2, 4) + 0.045 * noise(plane, rng, 0.12)
    tissue.melanin *= np.exp(np.float32(amount) * pigment)
    blood = 0.20 * fractal(plane, rng, 1.6, 4) + 0.10 * noise(plane, rng, 0.16)
    tissue.blood *= np.exp(np.float32(amount) * blood)


def _add_furrows(
    tissue: SkinTissue, plane: Plane, amount: float, modality: PhantomModality, rng: np.random.Generator
) -> None:
    """Add furrows between the plateaus of the skin, and pores; their relief is deeper in macroscopic photographs."""
    cells = make_cell_pattern(plane, rng, FURROW_MM, 0.36, 0.22)
    strength = np.float32(amount) * (0.75 + 0.25 * np.clip(noise(plane, rng, 4.0), -2, 2))
    furrow = ramp(cells.edge, 0.16, 0.0) * strength
    pore = ramp(cells.nearest, 0.2, 0.08) * (cells.value > 0.82) * np.float32(amount)  # in the center of some cells
    depth = np.float32(0.05 if modality == "macroscopic" else 0.01)
    tissue.relief_mm -= depth * (furrow + pore)
    tissue.relief_mm += depth * np.float32(0.35 * amount) * fractal(plane, rng, 0.5, 3)
    tissue.melanin *= 1 - np.float32(0.10) * furrow + np.float32(0.12) * pore
    tissue.blood *= 1 - np.float32(0.15) * furrow


def _add_freckles(tissue: SkinTissue, plane: Plane, amount: float, rng: np.random.Generator) -> None:
    """Add small faint spots of pigment, each under 1.2 mm across."""
    cells = make_cell_pattern(plane, rng, 2.6, 0.38, 0.5)
    size = np.float32(0.07) + np.float32(0.15) * cells.value
    present = np.mod(cells.value * np.float32(7.31), 1) < np.float32(0.45 * amount)
    spot = ramp(cells.nearest / size, 1.0, 0.25) * present
    tissue.melanin += np.float32(0.34) * spot * (0.6 + 0.4 * cells.value)


# Cellular patterns: cells are on a triangular lattice, in which every second row is shifted by half a cell.
_ROW = math.sqrt(3) / 2  # distance between rows, in widths of a cell
# Finding the nearest cells is the slowest step: if a cell is wider than this number of pixels, a coarser grid is used.
_SAMPLES_PER_CELL = 18
_STRIP = 24  # rows at a time, so that the data fit in the processor's cache


def make_cell_pattern(
    plane: Plane, rng: np.random.Generator, cell_mm: float, jitter: float, warp_mm: float
) -> CellPattern:
    """Generate a cellular pattern on a plane.

    ``cell_mm``: width of a cell; ``jitter``: largest displacement of a center, in widths of a cell; ``warp_mm``:
    strength of a smooth distortion.
    """
    reach = math.ceil((math.hypot(*plane.extent_mm) / 2 + 5 * warp_mm) / cell_mm) + 3
    lattice = _make_lattice(rng, reach, jitter)
    turn = rng.uniform(0, math.pi)
    coarse = _coarsen(plane, cell_mm / _SAMPLES_PER_CELL)
    bend_y, bend_x = (np.float32(warp_mm) * noise(coarse, rng, 3 * cell_mm) for _ in range(2))
    y, x = coarse.y[:, None] + bend_y, coarse.x[None] + bend_x
    cosine, sine = (np.float32(f(turn) / cell_mm) for f in (math.cos, math.sin))
    cells = _find_cells(lattice, y * cosine - x * sine, x * cosine + y * sine)
    return cells if coarse is plane else _refine(cells, coarse, plane)


def _make_lattice(rng: np.random.Generator, reach: int, jitter: float) -> NDArray[np.float32]:
    """Return displacement (y, x) and value of each cell (row, column, 3), ``reach`` cells to each side."""
    side = 2 * reach + 1
    centers = rng.random((side, side, 3), dtype=np.float32)
    centers[..., :2] = (centers[..., :2] - 0.5) * np.float32(2 * jitter)
    return centers


def _find_cells(lattice: NDArray[np.float32], y: Map, x: Map) -> CellPattern:
    """Evaluate the pattern of a lattice at positions (row, column) in widths of a cell, strip by strip."""
    pattern = np.empty((3, *y.shape), np.float32)
    for top in range(0, len(y), _STRIP):
        strip = slice(top, top + _STRIP)
        pattern[:, strip] = _find_two_nearest(lattice, y[strip], x[strip])
    return CellPattern(*pattern)


def _find_two_nearest(lattice: NDArray[np.float32], y: Map, x: Map) -> tuple[Map, Map, Map]:
    """Return the distances to the two nearest of the nine cells around each position, and the value of the nearest."""
    reach, last = len(lattice) // 2, len(lattice) - 1
    row = np.rint(y / np.float32(_ROW)).astype(np.int32)
    nearest = np.full(y.shape, np.inf, np.float32)
    second, value = nearest.copy(), np.zeros(y.shape, np.float32)
    for down in (-1, 0, 1):
        shift = ((row + down) & 1) * np.float32(0.5)
        column = np.rint(x - shift).astype(np.int32)
        for right in (-1, 0, 1):
            i, j = np.clip(row + (down + reach), 0, last), np.clip(column + (right + reach), 0, last)
            center = lattice[i, j]
            dy = y - (row + down) * np.float32(_ROW) - center[..., 0]
            dx = x - (column + right) - shift - center[..., 1]
            squared = dy * dy + dx * dx
            closer = squared < nearest
            second = np.where(closer, nearest, np.minimum(second, squared))
            value = np.where(closer, center[..., 2], value)
            nearest = np.minimum(nearest, squared)
    return np.sqrt(nearest), np.sqrt(second), value


def _coarsen(plane: Plane, step_mm: float) -> Plane:
    """Return the plane itself, or one with pixels of ``step_mm`` that covers it if its own pixels are much finer.

    The coarse pixels are at whole multiples of the step, so that they are the same for all resolutions and parts.
    """
    if plane.pixel_mm > 0.6 * step_mm:
        return plane
    axes = []
    for axis in (plane.y, plane.x):
        first, last = math.floor(float(axis[0]) / step_mm), math.ceil(float(axis[-1]) / step_mm)
        axes.append(np.arange(first, last + 2, dtype=np.float32) * np.float32(step_mm))
    return replace(plane, y=axes[0], x=axes[1], pixel_mm=step_mm)


def _refine(cells: CellPattern, coarse: Plane, plane: Plane) -> CellPattern:
    """Resample cells from the coarse plane to the fine one: distances linearly, values from the nearest pixel."""
    row, column = ((fine - grid[0]) / coarse.pixel_mm for fine, grid in ((plane.y, coarse.y), (plane.x, coarse.x)))
    nearest, second = (_interpolate(field, row, column) for field in (cells.nearest, cells.second))
    value = cells.value[np.ix_(np.rint(row).astype(int), np.rint(column).astype(int))]
    return CellPattern(nearest, second, value)


def _interpolate(field: Map, row: Map, column: Map) -> Map:
    """Interpolate linearly on the grid of rows and columns."""
    i, j = row.astype(int), column.astype(int)
    down, right = (row - i).astype(np.float32)[:, None], (column - j).astype(np.float32)
    wide = field[:, j] * (1 - right) + field[:, j + 1] * right
    return wide[i] * (1 - down) + wide[i + 1] * down


# Lesions

_FADE_REACH = 2.0  # distance from the outline at which a border has faded, in half widths of the fading


@dataclass(frozen=True)
class LesionPixelMaps:
    """A lesion on its part of the plane, (row, column).

    ``share``: increases through the border from 0 to 1 and is 0.5 on the outline; ``middle``: 1 at the center, 0 on and
    outside the outline; ``inside``: the ground truth.
    """

    share: Map
    middle: Map
    inside: NDArray[np.bool_]


def add_lesion(
    tissue: SkinTissue, plane: Plane, outline: LesionOutline, traits: LesionTraits, name: tuple[int, int]
) -> NDArray[np.bool_]:
    """Add one lesion to the skin.

    ``plane``: pixels of the skin. ``name``: seed and index of the lesion. Returns bool (row, column): the pixels whose
    center is inside the outline, where the border has half its strength.
    """
    box = plane.box_around(outline.center_mm, outline.radius_mm + _FADE_REACH * 2 * traits.fade_mm)
    part, patch = plane.crop(box), tissue.crop(box)
    mask = np.zeros(plane.shape, bool)
    if box.height and box.width:
        body = _make_lesion_maps(part, outline, traits)
        _add_color(patch, part, body, traits, name)
        _add_structure(patch, part, body, traits, name)
        _add_blotches_and_veil(patch, part, body, traits, name)
        _add_relief(patch, part, body, traits, name)
        mask[box.slices] = body.inside
    return mask


def _make_lesion_maps(plane: Plane, outline: LesionOutline, traits: LesionTraits) -> LesionPixelMaps:
    depth, radius, softness = outline.depth_maps(plane)
    half_width = np.float32(traits.fade_mm) * np.clip(softness, 0.4, _FADE_REACH)
    return LesionPixelMaps(ramp(depth / half_width, -1, 1), 1 - np.clip(radius, 0, 1), depth > 0)


def _lesion_stream(name: tuple[int, int], element: str) -> np.random.Generator:
    return random_stream(name[0], "lesion", name[1], element)


def _add_color(
    patch: SkinTissue, plane: Plane, body: LesionPixelMaps, traits: LesionTraits, name: tuple[int, int]
) -> None:
    """Add pigment with darker and lighter zones, one side darker than the other, and red areas."""
    rng = _lesion_stream(name, "colour")
    scale_mm = traits.diameter_mm / 5
    zones = fractal(plane, rng, scale_mm, 4)
    tilt = _asymmetry_map(plane, rng, traits)
    grain = noise(plane, rng, 0.1) * np.float32(0.07)
    spread = np.float32(0.14 + 0.5 * traits.variegation)
    density = np.float32(0.4 + 1.7 * traits.darkness)
    profile = np.float32(0.72) + np.float32(0.45) * ramp(body.middle, 0, 0.8)
    pigment = density * profile * np.exp(np.clip(spread * zones + tilt, -1.1, 0.9) + grain)
    red = ramp(fractal(plane, rng, scale_mm, 3), 0.2, 1.6) * np.float32(traits.variegation)
    patch.melanin += body.share * pigment * (1 - np.float32(0.55) * red)
    patch.blood += body.share * (np.float32(0.16) + np.float32(0.75) * red)


def _add_relief(
    patch: SkinTissue, plane: Plane, body: LesionPixelMaps, traits: LesionTraits, name: tuple[int, int]
) -> None:
    """Elevate the lesion above the skin, with small bumps."""
    bumps = 1 + np.float32(0.25) * noise(plane, _lesion_stream(name, "relief"), 0.5)
    height_mm = 0.05 * traits.height * traits.diameter_mm
    patch.relief_mm += np.float32(height_mm) * bumps * ramp(body.middle, 0, 0.5)


def _asymmetry_map(plane: Plane, rng: np.random.Generator, traits: LesionTraits) -> Map:
    """Return the change of the logarithm of the pigment from one side of the lesion to the other, at most about 0.8."""
    angle = rng.uniform(0, 2 * np.pi)
    y = plane.y[:, None] - plane.y.mean()
    x = plane.x[None] - plane.x.mean()
    along = (y * np.float32(np.sin(angle)) + x * np.float32(np.cos(angle))) / np.float32(traits.diameter_mm / 2)
    return along * np.float32(0.55 * traits.asymmetry)


def _add_structure(
    patch: SkinTissue, plane: Plane, body: LesionPixelMaps, traits: LesionTraits, name: tuple[int, int]
) -> None:
    rng = _lesion_stream(name, traits.structure)
    if traits.structure == "network":
        pattern = _network_map(plane, body, traits, rng)
    elif traits.structure == "globules":
        pattern = _globule_map(plane, body, rng)
    else:
        pattern = np.float32(0.25) * fractal(plane, rng, 0.35, 3)
    strength = traits.contrast * (0.45 + 0.55 * traits.darkness)
    patch.melanin += np.float32(strength) * body.share * np.maximum(pattern, -0.5)


def _network_map(plane: Plane, body: LesionPixelMaps, traits: LesionTraits, rng: np.random.Generator) -> Map:
    """Return a pigment network: brown lines around paler holes, stronger towards the border of the lesion."""
    cells = make_cell_pattern(plane, rng, rng.uniform(0.24, 0.38), 0.39, 0.06 + 0.06 * traits.irregularity)
    width = np.float32(0.13) + np.float32(0.06) * np.clip(noise(plane, rng, 0.6), -1.6, 2.5)
    lines = ramp(cells.edge - width, 0.12, -0.12)
    strength = np.clip(0.85 + 0.4 * noise(plane, rng, 0.9), 0.1, 1.7) * (1 - np.float32(0.55) * body.middle)
    hole = np.float32(0.3) + np.float32(0.3) * cells.value
    return (lines * np.float32(1.1) - hole) * strength


def _globule_map(plane: Plane, body: LesionPixelMaps, rng: np.random.Generator) -> Map:
    """Return globules: round dark spots of 0.1 to 0.3 mm, in clusters."""
    cells = make_cell_pattern(plane, rng, rng.uniform(0.24, 0.36), 0.39, 0.09)
    size = np.float32(0.16) + np.float32(0.30) * cells.value**2
    tone = np.float32(0.5) + np.float32(0.9) * np.mod(cells.value * np.float32(5.7), 1)
    crowd = np.clip(0.6 + 0.5 * noise(plane, rng, 0.9) + 0.3 * (1 - body.middle), 0, 1.3)
    return ramp(cells.nearest / size, 1.15, 0.35) * tone * crowd - np.float32(0.12)


def _add_blotches_and_veil(
    patch: SkinTissue, plane: Plane, body: LesionPixelMaps, traits: LesionTraits, name: tuple[int, int]
) -> None:
    """Add dark blotches, and a veil over a part of the middle."""
    rng = _lesion_stream(name, "blotches")
    if traits.blotches > 0:
        area = ramp(fractal(plane, rng, traits.diameter_mm / 6, 3) + body.middle, 0.9, 1.7)
        patch.melanin += np.float32(1.1 * traits.blotches) * area * body.share
    rng = _lesion_stream(name, "veil")
    if traits.veil > 0:
        area = ramp(fractal(plane, rng, traits.diameter_mm / 4, 4) + 1.6 * body.middle, 0.8, 2.7)
        patch.veil[...] = np.maximum(patch.veil, np.float32(0.5 * traits.veil) * area * body.share)


# Outlines of lesions

_SAMPLES = 4096  # of an outline
_ANGLES = np.arange(_SAMPLES) * (2 * math.pi / _SAMPLES)
_HARMONICS = 40


def draw_outline(traits: LesionTraits, rng: np.random.Generator) -> LesionOutline:
    """Generate the outline of a lesion around the origin."""
    order = np.arange(1, _HARMONICS + 1)
    waves = rng.standard_normal((2, _HARMONICS))
    rotation = rng.uniform(0, math.pi)
    lobes = np.where(order % 2, 0.12, 0.05) * (order <= 5) * (0.15 + traits.asymmetry) / order
    notches = 0.032 * (0.15 + traits.irregularity) * (order > 5) / (order / 6.0) ** 1.1
    ragged = np.exp(0.45 * _fourier_series(rng.standard_normal((2, 3)) / math.sqrt(3), order[:3]))
    log_radii = _fourier_series(waves * lobes, order) + np.clip(ragged, 0.4, 1.7) * _fourier_series(
        waves * notches, order
    )
    radii = np.exp(log_radii - log_radii.mean())
    radii /= math.sqrt(np.mean(radii**2))
    softness = np.exp(0.35 * _fourier_series(rng.standard_normal((2, 4)) / 2, order[:4]))
    strength = 0.012 + 0.018 * max(traits.asymmetry, traits.irregularity)
    shears = strength * rng.standard_normal((2, 2, 3)).clip(-2, 2) / np.sqrt([1, 2, 3])
    return LesionOutline((0.0, 0.0), traits.diameter_mm, traits.elongation, rotation, radii, shears, softness)


def _fourier_series(coefficients: NDArray, order: NDArray) -> NDArray:
    """Return the sum of cosines and sines of the angle, (4096,); ``coefficients``: (2, wave)."""
    phases = order[:, None] * _ANGLES
    waves = coefficients[0][:, None] * np.cos(phases) + coefficients[1][:, None] * np.sin(phases)
    return waves.sum(axis=0)

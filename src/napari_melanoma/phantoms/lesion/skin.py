"""Phantom skin and the pigment of a lesion."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms.lesion.shape import LesionOutline
from napari_melanoma.phantoms.lesion.traits import LesionTraits, PhantomModality, SkinTraits
from napari_melanoma.phantoms.plane import Map, Plane, fractal, noise, ramp, random_stream

FURROW_MM = 0.75


def add_skin(tissue: SkinTissue, plane: Plane, traits: SkinTraits, modality: PhantomModality, seed: int) -> None:
    """Add texture to even skin.

    ``plane``: its pixels.
    """
    _add_mottling(tissue, plane, traits.mottling, random_stream(seed, "skin", "mottling"))
    if traits.furrows > 0:
        _add_furrows(tissue, plane, traits.furrows, modality, random_stream(seed, "skin", "furrows"))
    if traits.freckles > 0:
        _add_freckles(tissue, plane, traits.freckles, random_stream(seed, "skin", "freckles"))
    if traits.redness > 0:
        _add_redness(tissue, plane, traits.redness, random_stream(seed, "skin", "redness"))


def _add_mottling(tissue: SkinTissue, plane: Plane, amount: float, rng: np.random.Generator) -> None:
    """Uneven pigment and blood, in patches of some millimeters and in fine grain."""
    amount = 0.25 + amount
    pigment = 0.07 * fractal(plane, rng, 2.2, 4) + 0.045 * noise(plane, rng, 0.12)
    tissue.melanin *= np.exp(np.float32(amount) * pigment)
    blood = 0.20 * fractal(plane, rng, 1.6, 4) + 0.10 * noise(plane, rng, 0.16)
    tissue.blood *= np.exp(np.float32(amount) * blood)


def _add_furrows(
    tissue: SkinTissue, plane: Plane, amount: float, modality: PhantomModality, rng: np.random.Generator
) -> None:
    """Furrows between the plateaus of the skin, and pores, with less pigment and (macroscopic) relief."""
    cells = make_cell_pattern(plane, rng, FURROW_MM, 0.36, 0.22)
    strength = np.float32(amount) * (0.75 + 0.25 * np.clip(noise(plane, rng, 4.0), -2, 2))
    furrow = ramp(cells.edge, 0.16, 0.0) * strength
    pore = _make_pores(cells) * np.float32(amount)
    depth = np.float32(0.05 if modality == "macroscopic" else 0.01)
    tissue.relief_mm -= depth * (furrow + pore)
    tissue.relief_mm += depth * np.float32(0.35 * amount) * fractal(plane, rng, 0.5, 3)
    tissue.melanin *= 1 - np.float32(0.10) * furrow + np.float32(0.12) * pore
    tissue.blood *= 1 - np.float32(0.15) * furrow


def _make_pores(cells: CellPattern) -> Map:
    """A pore in some cells."""
    return ramp(cells.nearest, 0.2, 0.08) * (cells.value > 0.82)


def _add_freckles(tissue: SkinTissue, plane: Plane, amount: float, rng: np.random.Generator) -> None:
    """Small faint spots of pigment, each under 1.2 mm across."""
    cells = make_cell_pattern(plane, rng, 2.6, 0.38, 0.5)
    size = np.float32(0.07) + np.float32(0.15) * cells.value
    present = np.mod(cells.value * np.float32(7.31), 1) < np.float32(0.45 * amount)
    spot = ramp(cells.nearest / size, 1.0, 0.25) * present
    tissue.melanin += np.float32(0.34) * spot * (0.6 + 0.4 * cells.value)


def _add_redness(tissue: SkinTissue, plane: Plane, amount: float, rng: np.random.Generator) -> None:
    """Red areas without a sharp border."""
    area = ramp(fractal(plane, rng, 5.0, 2), 0.3, 2.4)
    tissue.blood += np.float32(0.42 * amount) * area


@dataclass
class SkinTissue:
    """Maps of the skin, float32 (row, column), changed in place while a phantom is drawn.

    ``melanin`` and ``blood`` are optical densities in green (natural logarithm), ``veil`` is the share (0 to 1) of
    light that comes from scattering above the pigment, ``relief_mm`` the height of the surface; ``base`` holds melanin
    and blood of the skin before anything was added.
    """

    melanin: Map
    blood: Map
    veil: Map
    relief_mm: Map
    base: tuple[float, float]

    @classmethod
    def blank(cls, shape: tuple[int, int], melanin: float, blood: float) -> SkinTissue:
        """Make even, flat skin without veil or relief."""
        flat = np.zeros(shape, np.float32)
        return cls(flat + np.float32(melanin), flat + np.float32(blood), flat, flat.copy(), (melanin, blood))

    def crop(self, box: Box) -> SkinTissue:
        """Return a view of a part; changes to it change the whole."""
        part = box.slices
        return SkinTissue(self.melanin[part], self.blood[part], self.veil[part], self.relief_mm[part], self.base)


# Rows of the lattice lie sqrt(3)/2 apart, every second one shifted by half a cell.
_ROW = math.sqrt(3) / 2
# Looking up cells is the slowest step: for pixels finer than this share of a cell a coarser grid is used.
_SAMPLES_PER_CELL = 18
# Rows at a time, so that the data fit in the processor's cache.
_STRIP = 24


@dataclass(frozen=True)
class CellPattern:
    """Distances in cells to the nearest and second nearest center, and a random value per cell; (row, column)."""

    nearest: Map
    second: Map
    value: Map

    @property
    def edge(self) -> Map:
        """Distance from the border between two cells, in cells: 0 on the border, about 0.5 at a center."""
        return (self.second - self.nearest) / 2


def make_cell_pattern(
    plane: Plane, rng: np.random.Generator, cell_mm: float, jitter: float, warp_mm: float
) -> CellPattern:
    """Make a cellular pattern on a plane."""
    reach = math.ceil((math.hypot(*plane.extent_mm) / 2 + 5 * warp_mm) / cell_mm) + 3
    lattice = _lattice(rng, reach, jitter)
    turn = rng.uniform(0, math.pi)
    coarse = _coarsen(plane, cell_mm / _SAMPLES_PER_CELL)
    bend_y, bend_x = (np.float32(warp_mm) * noise(coarse, rng, 3 * cell_mm) for _ in range(2))
    y, x = coarse.y[:, None] + bend_y, coarse.x[None] + bend_x
    cosine, sine = (np.float32(f(turn) / cell_mm) for f in (math.cos, math.sin))
    cells = _look_up(lattice, y * cosine - x * sine, x * cosine + y * sine)
    return cells if coarse is plane else _refine(cells, coarse, plane)


def _lattice(rng: np.random.Generator, reach: int, jitter: float) -> NDArray[np.float32]:
    """Displacement (y, x) and value of each cell (row, column, 3), ``reach`` cells to each side of the origin."""
    side = 2 * reach + 1
    centres = rng.random((side, side, 3), dtype=np.float32)
    centres[..., :2] = (centres[..., :2] - 0.5) * np.float32(2 * jitter)
    return centres


def _look_up(lattice: NDArray[np.float32], y: Map, x: Map) -> CellPattern:
    """Cells at points (row, column) given in cells, strip by strip."""
    found = np.empty((3, *y.shape), np.float32)
    for top in range(0, len(y), _STRIP):
        strip = slice(top, top + _STRIP)
        found[:, strip] = _find_two_nearest(lattice, y[strip], x[strip])
    return CellPattern(*found)


def _find_two_nearest(lattice: NDArray[np.float32], y: Map, x: Map) -> tuple[Map, Map, Map]:
    """Distances to the two nearest of the nine cells around each point, and the value of the nearest."""
    reach, last = len(lattice) // 2, len(lattice) - 1
    row = np.rint(y / np.float32(_ROW)).astype(np.int32)
    nearest = np.full(y.shape, np.inf, np.float32)
    second, value = nearest.copy(), np.zeros(y.shape, np.float32)
    for down in (-1, 0, 1):
        shift = ((row + down) & 1) * np.float32(0.5)
        column = np.rint(x - shift).astype(np.int32)
        for right in (-1, 0, 1):
            i, j = np.clip(row + (down + reach), 0, last), np.clip(column + (right + reach), 0, last)
            centre = lattice[i, j]
            dy = y - (row + down) * np.float32(_ROW) - centre[..., 0]
            dx = x - (column + right) - shift - centre[..., 1]
            squared = dy * dy + dx * dx
            closer = squared < nearest
            second = np.where(closer, nearest, np.minimum(second, squared))
            value = np.where(closer, centre[..., 2], value)
            nearest = np.minimum(nearest, squared)
    return np.sqrt(nearest), np.sqrt(second), value


def _coarsen(plane: Plane, step_mm: float) -> Plane:
    """The plane itself, or one of pixels of ``step_mm`` that covers it where its own are much finer.

    The coarse pixels lie at whole multiples of the step, so that all resolutions and parts of a view share them.
    """
    if plane.pixel_mm > 0.6 * step_mm:
        return plane
    axes = []
    for axis in (plane.y, plane.x):
        first, last = math.floor(float(axis[0]) / step_mm), math.ceil(float(axis[-1]) / step_mm)
        axes.append(np.arange(first, last + 2, dtype=np.float32) * np.float32(step_mm))
    return replace(plane, y=axes[0], x=axes[1], pixel_mm=step_mm)


def _refine(cells: CellPattern, coarse: Plane, plane: Plane) -> CellPattern:
    """Bring cells from the coarse plane to the fine one: distances linearly, values by the nearest."""
    row, column = ((fine - grid[0]) / coarse.pixel_mm for fine, grid in ((plane.y, coarse.y), (plane.x, coarse.x)))
    nearest, second = (_interpolate(field, row, column) for field in (cells.nearest, cells.second))
    value = cells.value[np.ix_(np.rint(row).astype(int), np.rint(column).astype(int))]
    return CellPattern(nearest, second, value)


def _interpolate(field: Map, row: Map, column: Map) -> Map:
    """Interpolate linearly at rows x columns."""
    i, j = row.astype(int), column.astype(int)
    down, right = (row - i).astype(np.float32)[:, None], (column - j).astype(np.float32)
    wide = field[:, j] * (1 - right) + field[:, j + 1] * right
    return wide[i] * (1 - down) + wide[i + 1] * down


# How far beyond its half-way line a border still fades, in units of the longest fade.
_SKIRT = 2.0


@dataclass(frozen=True)
class LesionPixelMaps:
    """A lesion on its part of the plane, float32 (row, column).

    ``share`` rises through the border from 0 to 1 and is 0.5 on the outline, ``middle`` falls from 1 at the center to 0
    at the outline, ``inside`` is the truth.
    """

    share: Map
    middle: Map
    inside: NDArray[np.bool_]


def add_lesion(
    tissue: SkinTissue, plane: Plane, outline: LesionOutline, traits: LesionTraits, name: tuple[int, int]
) -> NDArray[np.bool_]:
    """Add one lesion to the skin.

    ``plane``: its pixels. Returns bool (row, column): the pixels whose center is inside the outline, where the border
    has half its strength.
    """
    box = plane.box_around(outline.center_mm, outline.radius_mm + _SKIRT * 2 * traits.fade_mm)
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
    """Evaluate the outline on the plane."""
    depth, radius, softness = outline.depth_maps(plane)
    half = np.float32(traits.fade_mm) * np.clip(softness, 0.4, _SKIRT)
    return LesionPixelMaps(ramp(depth / half, -1, 1), 1 - np.clip(radius, 0, 1), depth > 0)


def _lesion_stream(name: tuple[int, int], element: str) -> np.random.Generator:
    """Random stream of one element of one lesion."""
    return random_stream(name[0], "lesion", name[1], element)


def _add_color(
    patch: SkinTissue, plane: Plane, body: LesionPixelMaps, traits: LesionTraits, name: tuple[int, int]
) -> None:
    """Even pigment with darker and lighter zones, one side darker than the other, and red areas."""
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
    """Logarithmic change of the pigment from one side of the lesion to the other, about -0.8 to 0.8 at most."""
    angle = rng.uniform(0, 2 * np.pi)
    y = plane.y[:, None] - plane.y.mean()
    x = plane.x[None] - plane.x.mean()
    along = (y * np.float32(np.sin(angle)) + x * np.float32(np.cos(angle))) / np.float32(traits.diameter_mm / 2)
    return along * np.float32(0.55 * traits.asymmetry)


def _add_structure(
    patch: SkinTissue, plane: Plane, body: LesionPixelMaps, traits: LesionTraits, name: tuple[int, int]
) -> None:
    """Add the pattern of the pigment."""
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
    """Brown lines around paler holes, thinner towards the border; wider and less even in irregular lesions."""
    cells = make_cell_pattern(plane, rng, rng.uniform(0.24, 0.38), 0.39, 0.06 + 0.06 * traits.irregularity)
    width = np.float32(0.13) + np.float32(0.06) * np.clip(noise(plane, rng, 0.6), -1.6, 2.5)
    lines = ramp(cells.edge - width, 0.12, -0.12)
    strength = np.clip(0.85 + 0.4 * noise(plane, rng, 0.9), 0.1, 1.7) * (1 - np.float32(0.55) * body.middle)
    hole = np.float32(0.3) + np.float32(0.3) * cells.value
    return (lines * np.float32(1.1) - hole) * strength


def _globule_map(plane: Plane, body: LesionPixelMaps, rng: np.random.Generator) -> Map:
    """Round dark spots of 0.1 to 0.3 mm, in clusters."""
    cells = make_cell_pattern(plane, rng, rng.uniform(0.24, 0.36), 0.39, 0.09)
    size = np.float32(0.16) + np.float32(0.30) * cells.value**2
    tone = np.float32(0.5) + np.float32(0.9) * np.mod(cells.value * np.float32(5.7), 1)
    crowd = np.clip(0.6 + 0.5 * noise(plane, rng, 0.9) + 0.3 * (1 - body.middle), 0, 1.3)
    return ramp(cells.nearest / size, 1.15, 0.35) * tone * crowd - np.float32(0.12)


def _add_blotches_and_veil(
    patch: SkinTissue, plane: Plane, body: LesionPixelMaps, traits: LesionTraits, name: tuple[int, int]
) -> None:
    """Dark blotches, and a veil over a part of the middle."""
    rng = _lesion_stream(name, "blotches")
    if traits.blotches > 0:
        area = ramp(fractal(plane, rng, traits.diameter_mm / 6, 3) + body.middle, 0.9, 1.7)
        patch.melanin += np.float32(1.1 * traits.blotches) * area * body.share
    rng = _lesion_stream(name, "veil")
    if traits.veil > 0:
        area = ramp(fractal(plane, rng, traits.diameter_mm / 4, 4) + 1.6 * body.middle, 0.8, 2.7)
        patch.veil[...] = np.maximum(patch.veil, np.float32(0.5 * traits.veil) * area * body.share)

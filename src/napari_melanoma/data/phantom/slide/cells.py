"""Which nuclei lie where: scattered by tissue on grids that never end, and lined up where the plan says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.phantom.slide.grid import Grid, Ints, Points
from napari_melanoma.data.phantom.slide.ground import EPIDERMAL, FOAM, poor_share, wall_share
from napari_melanoma.data.phantom.slide.kinds import LESION, Kind
from napari_melanoma.data.phantom.slide.lesions import Lesion
from napari_melanoma.data.phantom.slide.species import NUMBER, pick
from napari_melanoma.data.phantom.slide.view import Pixels, Window

Floats = NDArray[np.floating[Any]]
DENSE = Grid(6.9, 0.30, 31)
SPARSE = Grid(15.0, 0.45, 32)
SHEATHS = Grid(9.0, 0.33, 33)
SCAR = Grid(10.2, 0.40, 34)


@dataclass(frozen=True)
class Scattered:
    """Nuclei: pixel (row, column) of the window, and the stamp of each."""

    row: Ints
    column: Ints
    stamp: Ints


def scatter(window: Window) -> list[Scattered]:
    """Give all nuclei whose middle lies in a window."""
    present = set(window.present)
    found = [_lined(window)]
    for kinds, place in SCATTERED:
        if present & kinds:
            found.append(place(window))
    for label in sorted(present):
        if label >= LESION:
            found.append(_lesion(window, label, window.section.lesions[label - LESION]))
    return found


def _points(window: Window, grid: Grid, *kinds: int) -> tuple[Points, Pixels]:
    """Points of a grid that lie on tissue of some kinds, and the pixels below them."""
    x, y, half = window.x_um, window.y_um, window.mpp / 2
    points = grid.points(y[0] - half, x[0] - half, y[-1] + half, x[-1] + half)
    row, column = window.at(points.x, points.y)
    seen = (row >= 0) & (column >= 0) & (row < window.box.height) & (column < window.box.width)
    points, row, column = points.chosen(seen), row[seen], column[seen]
    wanted = np.zeros(256, bool)
    wanted[list(kinds)] = True
    wanted = wanted[window.labels[row, column]]
    points, row, column = points.chosen(wanted), row[wanted], column[wanted]
    along, depth = window.section.frame.to_section(points.x, points.y)
    return points, Pixels(window, row, column, along, depth)


def _kept(
    pixels: Pixels, keep: NDArray[np.bool_], species: NDArray[np.integer[Any]], angle: Floats, lot: Floats
) -> Scattered:
    """Put together those that are kept."""
    stamps = pick(species[keep], angle[keep], lot[keep])
    return Scattered(pixels.row[keep], pixels.column[keep], stamps)


def _lined(window: Window) -> Scattered:
    """Nuclei that the plan lined up."""
    lined, y, x = window.section.lined, window.y_um, window.x_um
    first, last = np.searchsorted(lined.y, (y[0] - window.mpp, y[-1] + window.mpp))
    part = np.arange(first, last)
    part = part[(lined.x[part] > x[0] - window.mpp) & (lined.x[part] < x[-1] + window.mpp)]
    row, column = window.at(lined.x[part], lined.y[part])
    seen = (row >= 0) & (column >= 0) & (row < window.box.height) & (column < window.box.width)
    part, row, column = part[seen], row[seen], column[seen]
    right = window.labels[row, column] == lined.label[part]
    part = part[right]
    lot = (part * 0.6180339887) % 1.0
    return Scattered(row[right], column[right], pick(lined.species[part], lined.angle[part], lot))


def _epidermal(window: Window) -> Scattered:
    """Spinous cells, flat ones towards the granular layer; the basal layer is lined up."""
    points, pixels = _points(window, EPIDERMAL, Kind.EPIDERMIS)
    layers = window.section.layers
    to_junction = layers.at(layers.junction, pixels.along) - pixels.depth
    flat = pixels.below_surface < 14
    species = np.where(flat, NUMBER["flat"], NUMBER["spinous"])
    species = np.where(to_junction < 15, NUMBER["basal"], species)
    heading = window.section.frame.heading(pixels.along)
    upright = ~flat & (to_junction < 28)
    angle = heading + np.where(upright, np.pi / 2, 0) + (points.uniform(0) - 0.5) * np.where(flat, 0.4, 1.6)
    keep = (to_junction > 8.5) & (pixels.below_surface > 3.5) & (points.uniform(1) < np.where(flat, 0.45, 0.92))
    return _kept(pixels, keep, species, angle, points.uniform(2))


def _dermal(window: Window) -> Scattered:
    """Fibroblasts along the fibres, and a few inflammatory cells."""
    points, pixels = _points(window, SPARSE, Kind.DERMIS, Kind.MUSCLE, Kind.NERVE, Kind.WALL)
    upper = np.clip((330 - pixels.below_surface) / 200, 0, 1)
    density = 0.10 + 0.16 * upper + 0.10 * pixels.patch
    density = np.where(window.labels[pixels.row, pixels.column] == Kind.MUSCLE, 0.4, density)
    lot = points.uniform(1)
    round_cell = points.uniform(3) < 0.10 + 0.25 * pixels.cloud**3
    species = np.where(round_cell, NUMBER["lymphocyte"], NUMBER["fibroblast"])
    angle = window.section.frame.heading(pixels.along) + 1.3 * (points.uniform(0) - 0.5) + 0.9 * (pixels.cloud - 0.5)
    return _kept(pixels, lot < density, species, angle, points.uniform(2))


def _infiltrating(window: Window) -> Scattered:
    """Lymphocytes and plasma cells in clusters."""
    points, pixels = _points(window, DENSE, Kind.INFILTRATE)
    species = np.where(points.uniform(1) < 0.15, NUMBER["plasma"], NUMBER["lymphocyte"])
    keep = points.uniform(3) < 0.55 + 0.5 * pixels.cloud
    return _kept(pixels, keep, species, np.pi * points.uniform(0), points.uniform(2))


def _dead(window: Window) -> Scattered:
    """Granulocytes in the crust of an ulcer."""
    points, pixels = _points(window, DENSE, Kind.CRUST)
    species = np.full(len(points.x), NUMBER["apoptotic"])
    return _kept(pixels, points.uniform(1) < 0.4 * pixels.cloud, species, np.pi * points.uniform(0), points.uniform(2))


def _necrotic(window: Window) -> Scattered:
    """Ghosts of nuclei, and dust in clusters."""
    points, pixels = _points(window, SHEATHS, Kind.NECROSIS)
    dust = points.uniform(1) < 0.35 * pixels.cloud
    species = np.where(dust, NUMBER["apoptotic"], NUMBER["ghost"])
    keep = points.uniform(3) < np.where(dust, 0.8, 0.45)
    return _kept(pixels, keep, species, np.pi * points.uniform(0), points.uniform(2))


def _sheaths(window: Window) -> Scattered:
    """Cells of follicles inside of their basal layer."""
    points, pixels = _points(window, SHEATHS, Kind.SHEATH)
    species = np.full(len(points.x), NUMBER["spinous"])
    return _kept(pixels, points.uniform(1) < 0.9, species, np.pi * points.uniform(0), points.uniform(2))


def _sebocytes(window: Window) -> Scattered:
    """One in the middle of each cell of a sebaceous gland."""
    points, pixels = _points(window, FOAM, Kind.SEBACEOUS)
    species = np.full(len(points.x), NUMBER["sebocyte"])
    return _kept(pixels, points.uniform(1) < 0.85, species, np.pi * points.uniform(0), points.uniform(2))


def _lesion(window: Window, label: int, lesion: Lesion) -> Scattered:
    """Cells of a lesion: even and maturing in a naevus; of all sizes, dark, dividing in a melanoma."""
    grid = Grid(lesion.cell_um, 0.36, 40 + lesion.request.index)
    points, pixels = _points(window, grid, label)
    if not len(points.x):
        return Scattered(pixels.row, pixels.column, np.zeros(0, np.int64))
    draw = points.uniform(1)
    if lesion.request.kind == "benign":
        deep = pixels.below_surface + 90 * (draw - 0.5) > 0.55 * lesion.request.depth_um + 60
        species = np.where(deep, NUMBER["naevus_deep"], NUMBER["naevus"])
        return _kept(pixels, points.uniform(3) < 0.96, species, np.pi * points.uniform(0), points.uniform(2))
    return _malignant(lesion, points, pixels, draw)


def _malignant(lesion: Lesion, points: Points, pixels: Pixels, draw: Floats) -> Scattered:
    """Cells of a melanoma; fibroblasts in the walls between nests."""
    dividing = lesion.request.mitoses_per_mm2 * lesion.cell_um**2 / 1e6
    species = np.where(draw < 0.58, NUMBER["melanoma"], NUMBER["melanoma_large"])
    species = np.where(draw > 0.80, NUMBER["melanoma_dark"], species)
    species = np.where(draw > 1 - dividing, NUMBER["mitosis"], species)
    species = np.where((draw > 0.76) & (draw < 0.765), NUMBER["apoptotic"], species)
    guests = points.uniform(4) < 0.32 * np.clip((pixels.cloud - 0.72) / 0.2, 0, 1)
    species = np.where(guests, NUMBER["lymphocyte"], species)
    wall = wall_share(pixels) > 0.5
    lean = 2.2 * pixels.patch + 6.0 * pixels.cloud
    angle = lean + 1.2 * (points.uniform(0) - 0.5)
    species = np.where(wall, np.where(draw < 0.6, NUMBER["fibroblast"], NUMBER["lymphocyte"]), species)
    poor = poor_share(pixels, lesion)
    species = np.where((poor > 0.5) & (draw < 0.45), NUMBER["fibroblast"], species)
    keep = points.uniform(3) < np.where(wall, 0.35, 0.97 - 0.72 * poor)
    return _kept(pixels, keep, species, angle, points.uniform(2))


def _scarred(window: Window) -> Scattered:
    """Plump spindle cells of a scar in whorls, with lymphocytes."""
    points, pixels = _points(window, SCAR, Kind.STROMA)
    species = np.where(points.uniform(1) < 0.16, NUMBER["lymphocyte"], NUMBER["stromal"])
    angle = 7.0 * pixels.patch + 3.0 * pixels.cloud + 1.2 * (points.uniform(0) - 0.5)
    keep = points.uniform(3) < 0.62 + 0.5 * pixels.cloud
    return _kept(pixels, keep, species, angle, points.uniform(2))


SCATTERED = (
    ({int(Kind.EPIDERMIS)}, _epidermal),
    ({int(Kind.DERMIS), int(Kind.MUSCLE), int(Kind.NERVE), int(Kind.WALL)}, _dermal),
    ({int(Kind.INFILTRATE)}, _infiltrating),
    ({int(Kind.CRUST)}, _dead),
    ({int(Kind.SHEATH)}, _sheaths),
    ({int(Kind.SEBACEOUS)}, _sebocytes),
    ({int(Kind.STROMA)}, _scarred),
    ({int(Kind.NECROSIS)}, _necrotic),
)

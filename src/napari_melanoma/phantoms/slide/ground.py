"""The pixels of a window on a section: tissue ground and nuclei."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms.slide.config import LESION, Kind
from napari_melanoma.phantoms.slide.lesions import Lesion
from napari_melanoma.phantoms.slide.looks import (
    CLOUD_UM,
    FINE_UM,
    NUMBER,
    Look,
    Textures,
    pick,
    sample,
    smooth_sample,
    textures,
)
from napari_melanoma.phantoms.slide.plan import SectionPlan
from napari_melanoma.phantoms.slide.shapes import Grid, Ints, Points, inside

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


def label_pixels(section: SectionPlan, box: Box, downsample: float = 1.0) -> NDArray[np.uint8]:
    """Say what the centre of each pixel of a box is.

    ``box``: pixels, counted at the downsample. ``downsample``: side of such a pixel in pixels of level 0. Kinds and
    lesions, uint8 (row, column).
    """
    labels = np.zeros((box.height, box.width), np.uint8)
    top, left, bottom, right = section.boxes.T / downsample
    rows = (bottom > box.top) & (top < box.top + box.height)
    meets = rows & (right > box.left) & (left < box.left + box.width)
    for index in np.flatnonzero(meets):
        part = inside(section.polygons[index], box, downsample)
        if part is not None:
            rows_columns, mask = part
            if index and section.labels[index] != Kind.CRUST:  # all else is seen only where there is tissue
                mask &= labels[rows_columns] != Kind.GLASS
            labels[rows_columns][mask] = section.labels[index]
    return labels


@dataclass(frozen=True)
class Window:
    """Pixels of level 0 of one section; ``labels`` are uint8 (row, column)."""

    section: SectionPlan
    look: Look
    mpp: float
    box: Box
    labels: NDArray[np.uint8]
    seed: int

    @cached_property
    def x_um(self) -> Floats:
        """Centres of the columns, float64 (column,)."""
        return (self.box.left + np.arange(self.box.width) + 0.5) * self.mpp

    @cached_property
    def y_um(self) -> Floats:
        """Centres of the rows, float64 (row,)."""
        return (self.box.top + np.arange(self.box.height) + 0.5) * self.mpp

    @property
    def textures(self) -> Textures:
        """Those of the look."""
        return textures(self.look.name)

    @cached_property
    def places(self) -> tuple[Floats, Floats]:
        """Along and depth of each pixel, float32 (row, column)."""
        return self.section.frame.to_section(self.x_um[None], self.y_um[:, None])

    def pixels(self, label: int) -> Pixels:
        """Gather the pixels of a label.

        Returns all of them, in reading order.
        """
        index = np.flatnonzero(self.labels == label).astype(np.int32)
        along, depth = (part.ravel()[index] for part in self.places)
        row, column = np.divmod(index, np.int32(self.box.width))
        return Pixels(self, row, column, along, depth)

    @cached_property
    def present(self) -> tuple[int, ...]:
        """Labels that occur, in rising order."""
        return tuple(np.flatnonzero(np.bincount(self.labels.ravel(), minlength=256)).tolist())

    def at(self, x_um: Floats, y_um: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the pixels below positions.

        ``x_um``, ``y_um``: micrometres (point,). Returns row and column of each, which may lie outside.
        """
        row = np.floor(y_um / self.mpp).astype(np.int64) - self.box.top
        column = np.floor(x_um / self.mpp).astype(np.int64) - self.box.left
        return row, column


@dataclass(frozen=True)
class Pixels:
    """Some pixels of a window: rows, columns, and positions in the section in micrometres, float32 (pixel,)."""

    window: Window
    row: NDArray[np.integer[Any]]
    column: NDArray[np.integer[Any]]
    along: Floats
    depth: Floats

    @cached_property
    def x_um(self) -> Floats:
        """Positions on the slide, float64 (pixel,)."""
        return self.window.x_um[self.column]

    @cached_property
    def y_um(self) -> Floats:
        """Positions on the slide, float64 (pixel,)."""
        return self.window.y_um[self.row]

    @cached_property
    def below_surface(self) -> Floats:
        """Depth below the granular layer, float32 (pixel,)."""
        layers = self.window.section.layers
        return self.depth - layers.at(layers.granular, self.along).astype(np.float32)

    @cached_property
    def cloud(self) -> Floats:
        """What changes slowly over the tissue, with detail, 0 to 1."""
        return smooth_sample(self.window.textures.clouds, self.along, self.depth, CLOUD_UM)

    @cached_property
    def patch(self) -> Floats:
        """What changes very slowly and smoothly over the tissue, 0 to 1."""
        shift = np.float32(977 * self.window.section.index)
        return smooth_sample(self.window.textures.patches, self.along + shift, self.depth, CLOUD_UM)


HAEMATOXYLIN, EOSIN, MELANIN, BLOOD = range(4)
# Rows: haematoxylin, eosin, melanin, blood; columns: pixels.
Dyes = Floats
EPIDERMAL = Grid(10.5, 0.30, 11)
FAT_CELLS = Grid(72.0, 0.30, 12)
FOAM = Grid(15.0, 0.33, 13)
BUBBLES = Grid(3.4, 0.35, 14)
SEPTA = Grid(95.0, 0.38, 15)


def ramp(values: Floats, start: float, end: float) -> Floats:
    """Rise straight from 0 to 1, or fall where ``end`` is the smaller."""
    return np.clip((values - np.float32(start)) * np.float32(1 / (end - start)), 0, 1)


def lay_ground(window: Window) -> Floats:
    """Give the dyes on each pixel.

    Returns float32 (4, row, column): haematoxylin, eosin, melanin, blood.
    """
    dyes = np.zeros((4, window.labels.size), np.float32)
    for label in window.present:
        if label != Kind.GLASS:
            pixels = window.pixels(label)
            painted = _tumour(pixels, label) if label >= LESION else PAINTERS[Kind(label)](pixels)
            index = pixels.row * np.int32(window.box.width) + pixels.column
            for dye, amount in zip(dyes, painted, strict=True):
                dye[index] = amount
    return dyes.reshape(4, *window.labels.shape)


def _dyes(pixels: Pixels, haematoxylin: Floats | float, eosin: Floats | float) -> Dyes:
    """Put dyes together, none of melanin and blood."""
    dyes = np.zeros((4, len(pixels.row)), np.float32)
    dyes[HAEMATOXYLIN], dyes[EOSIN] = haematoxylin, eosin
    return dyes


def _grain(pixels: Pixels) -> Floats:
    """Fine texture fixed to the slide, 0 to 1."""
    return sample(pixels.window.textures.grain, pixels.x_um, pixels.y_um, FINE_UM)


def _dermis(pixels: Pixels) -> Dyes:
    """Collagen: fine strands below the epidermis, thick bundles with gaps further down; blue-grey where sun-damaged."""
    look, style = pixels.window.textures, pixels.window.look.texture
    bent = pixels.depth + 100 * pixels.patch
    strands = sample(look.strands, pixels.along, bent, FINE_UM)
    bundles = sample(look.bundles, pixels.along - 0.15 * bent, bent, FINE_UM)
    reticular = ramp(pixels.below_surface + 60 * pixels.cloud, 170, 330)
    papillary = 0.20 + 0.20 * strands
    gaps = ramp(bundles, style.cleft * 0.6, style.cleft * 0.6 + 0.10)
    coarse = gaps * (0.20 + 0.34 * bundles + 0.10 * strands)
    eosin = (papillary + reticular * (coarse - papillary)) * (0.75 + 0.5 * pixels.cloud)
    haematoxylin = 0.03 + 0.07 * strands * gaps + 0.05 * pixels.patch
    worn = _elastosis(pixels)
    haematoxylin += worn * (0.10 + 0.26 * strands)
    return _dyes(pixels, haematoxylin, eosin * (1 - 0.5 * worn))


def _elastosis(pixels: Pixels) -> Floats:
    """How far the upper dermis is damaged by the sun, 0 to 1."""
    amount = pixels.window.section.elastosis
    band = ramp(pixels.below_surface, 110, 190) * ramp(pixels.below_surface, 420 + 500 * amount, 250)
    return band * ramp(pixels.patch, 1.02 - amount, 1.25 - amount)


def _keratin(pixels: Pixels) -> Dyes:
    """Basket weave: pink strands with white spaces, denser towards the granular layer."""
    weave = sample(pixels.window.textures.weave, pixels.along, 1.2 * pixels.depth, FINE_UM)
    dense = ramp(pixels.below_surface, -9, -1)
    strands = np.maximum(ramp(weave, 0.42, 0.62), dense)
    return _dyes(pixels, 0.05 * strands, strands * (0.42 + 0.25 * weave))


def _epidermis(pixels: Pixels) -> Dyes:
    """Cells with pale borders, bluer and pigmented towards the junction, dark granules at the top."""
    layers = pixels.window.section.layers
    thickness = (layers.at(layers.junction, pixels.along) - layers.at(layers.granular, pixels.along)).astype(np.float32)
    to_junction = thickness - pixels.below_surface
    first, second = EPIDERMAL.distances(pixels.x_um, pixels.y_um)
    border = ramp(second - first, 1.5, 0.4)
    grain = _grain(pixels)
    basal = ramp(to_junction, 16, 4)
    haematoxylin = 0.16 + 0.07 * grain + 0.16 * basal
    granules = ramp(pixels.below_surface, 13, 5) * ramp(grain, 0.55, 0.7)
    haematoxylin = haematoxylin + 0.75 * granules
    eosin = (0.36 + 0.10 * grain + 0.06 * pixels.cloud) * (1 - 0.38 * border * (1 - basal))
    dyes = _dyes(pixels, haematoxylin * (1 - 0.4 * border), eosin)
    caps = ramp(to_junction, 14, 6) * ramp(grain, 0.45, 0.8)
    dyes[MELANIN] = caps * (0.10 + 0.5 * pixels.patch**2)
    return dyes


def _fat(pixels: Pixels) -> Dyes:
    """Empty cells with thin pink rims, and fibrous walls between lobules."""
    first, second = FAT_CELLS.distances(pixels.x_um, pixels.y_um)
    septum = ramp(np.abs(pixels.patch - 0.5), 0.05, 0.025)
    rim = np.maximum(ramp(second - first, 5.5, 2.5), septum)
    strands = sample(pixels.window.textures.strands, pixels.along, pixels.depth, FINE_UM)
    return _dyes(pixels, 0.03 * rim, rim * (0.24 + 0.20 * strands))


def _sheath(pixels: Pixels) -> Dyes:
    """Outer root sheath: as epidermis, paler."""
    grain = _grain(pixels)
    return _dyes(pixels, 0.17 + 0.08 * grain, 0.30 + 0.09 * grain)


def _inner_sheath(pixels: Pixels) -> Dyes:
    """Inner root sheath: bright pink."""
    return _dyes(pixels, 0.05, 0.55 + 0.2 * _grain(pixels))


def _hair(pixels: Pixels) -> Dyes:
    """The shaft: yellow-brown."""
    dyes = _dyes(pixels, 0.05, 0.25)
    dyes[MELANIN] = 0.45 + 0.3 * _grain(pixels)
    return dyes


def _sebaceous(pixels: Pixels) -> Dyes:
    """Cells filled with small clear vacuoles."""
    first, second = FOAM.distances(pixels.x_um, pixels.y_um)
    inner, outer = BUBBLES.distances(pixels.x_um, pixels.y_um)
    web = np.maximum(ramp(outer - inner, 1.3, 0.3), ramp(second - first, 2.2, 0.8))
    return _dyes(pixels, 0.05 + 0.07 * web, 0.07 + 0.20 * web)


def _eccrine(pixels: Pixels) -> Dyes:
    """Tubules: pale pink-violet cells."""
    grain = _grain(pixels)
    return _dyes(pixels, 0.14 + 0.08 * grain, 0.26 + 0.12 * grain)


def _lumen(pixels: Pixels) -> Dyes:
    """Nothing but a little secretion."""
    return _dyes(pixels, 0.0, 0.04 * _grain(pixels))


def _wall(pixels: Pixels) -> Dyes:
    """Wall of a vessel."""
    return _dyes(pixels, 0.07, 0.40 + 0.1 * _grain(pixels))


def _blood(pixels: Pixels) -> Dyes:
    """Red cells, tightly packed."""
    first, second = Grid(6.4, 0.2, 17).distances(pixels.x_um, pixels.y_um)
    dyes = _dyes(pixels, 0.0, 0.05)
    dyes[BLOOD] = 0.75 * ramp(second - first, 0.2, 1.4) * (0.75 + 0.25 * ramp(first, 0, 2))
    return dyes


def _infiltrate(pixels: Pixels) -> Dyes:
    """Ground between lymphocytes: collagen, a little bluer."""
    dyes = _dermis(pixels)
    dyes[HAEMATOXYLIN] += 0.06
    return dyes


def _stroma(pixels: Pixels) -> Dyes:
    """Scar rich in cells: fine whorls, as blue as a tumour."""
    whorl = pixels.depth + 90 * pixels.cloud
    strands = sample(pixels.window.textures.strands, pixels.along + 60 * pixels.patch, whorl, FINE_UM)
    tone = 0.12 * (pixels.patch - 0.5)
    return _dyes(pixels, 0.14 + tone + 0.10 * strands, 0.26 - 1.2 * tone + 0.16 * strands)


def _crust(pixels: Pixels) -> Dyes:
    """Fibrin and dead cells on an ulcer."""
    grain, weave = _grain(pixels), sample(pixels.window.textures.weave, pixels.along, pixels.depth, FINE_UM)
    return _dyes(pixels, 0.10 + 0.5 * ramp(grain, 0.75, 0.95), 0.45 + 0.4 * weave)


def _necrosis(pixels: Pixels) -> Dyes:
    """Dead tumour: smudged pink without borders of cells, and dust of nuclei."""
    grain = _grain(pixels)
    dust = ramp(grain, 0.88, 0.98) * ramp(pixels.cloud, 0.35, 0.75)
    return _dyes(pixels, 0.02 + 0.30 * dust, 0.41 + 0.10 * grain + 0.14 * (pixels.cloud - 0.5))


def _muscle(pixels: Pixels) -> Dyes:
    """Smooth muscle: deep pink, finely fibrous."""
    strands = sample(pixels.window.textures.strands, pixels.along, 1.3 * pixels.depth, FINE_UM)
    return _dyes(pixels, 0.08, 0.50 + 0.16 * strands)


def _nerve(pixels: Pixels) -> Dyes:
    """Nerve: pale and wavy."""
    strands = sample(pixels.window.textures.strands, pixels.along + 9 * pixels.cloud, pixels.depth, FINE_UM)
    return _dyes(pixels, 0.08, 0.20 + 0.14 * strands)


def _tumour(pixels: Pixels, label: int) -> Dyes:
    """Cytoplasm of a lesion's cells, thin walls of collagen between nests, and pigment."""
    lesion = pixels.window.section.lesions[label - LESION]
    grain = _grain(pixels)
    cells = Grid(lesion.cell_um, 0.36, 40 + lesion.request.index)
    first, second = cells.distances(pixels.x_um, pixels.y_um)
    border = ramp(second - first, 1.5, 0.2) * (0.10 + 0.32 * grain)
    tone = np.float32(0.06 * lesion.tone) + 0.10 * (pixels.patch - 0.5)
    haematoxylin = (0.14 + tone + 0.10 * grain) * (1 - border)
    eosin = (0.31 - 1.2 * tone + 0.14 * grain) * (1 - border)
    dyes = _dyes(pixels, haematoxylin, eosin)
    if lesion.request.kind == "malignant":
        _add_collagen(pixels, dyes, lesion)
    return _with_pigment(pixels, dyes, lesion.request.pigment, lesion.request.kind == "benign")


def wall_share(pixels: Pixels) -> Floats:
    """Share of collagen between the nests of a melanoma: 0 inside of a nest, 1 in a wall.

    Returns float32 (pixel,).
    """
    warp = np.float32(60) * (pixels.cloud - 0.5)
    first, second = SEPTA.distances(pixels.x_um + warp, pixels.y_um - warp)
    width = 3 + 22 * ramp(pixels.patch, 0.45, 1.0)
    return np.clip((width - (second - first)) / 3, 0, 1)


def poor_share(pixels: Pixels, lesion: Lesion) -> Floats:
    """Share by which a melanoma is desmoplastic: few cells in much collagen.

    Returns float32 (pixel,), 0 where it is full of cells.
    """
    shift = np.float32(1500 + 700 * lesion.request.index)
    field = smooth_sample(pixels.window.textures.patches, pixels.along - shift, pixels.depth + shift, CLOUD_UM)
    return ramp(field + 0.16 * pixels.cloud, 1.0 - lesion.desmoplastic, 1.16 - lesion.desmoplastic)


def _add_collagen(pixels: Pixels, dyes: Dyes, lesion: Lesion) -> None:
    """Replace cytoplasm by collagen between the nests and where cells are few."""
    wall = np.maximum(wall_share(pixels), 0.85 * poor_share(pixels, lesion))
    strands = sample(pixels.window.textures.strands, pixels.along, pixels.depth, FINE_UM)
    dyes[HAEMATOXYLIN] += wall * (0.05 + 0.03 * strands - dyes[HAEMATOXYLIN])
    dyes[EOSIN] += wall * ((0.22 + 0.24 * strands) * (0.75 + 0.5 * pixels.cloud) - dyes[EOSIN])


def _with_pigment(pixels: Pixels, dyes: Dyes, pigment: float, upper_only: bool) -> Dyes:
    """Add melanin as dust and clumps, in a naevus towards the surface alone."""
    if pigment > 0.08:
        fine = _grain(pixels)
        patchy = ramp(pixels.cloud + 0.5 * pixels.patch, 1.25 - 1.1 * pigment, 1.55 - 0.8 * pigment)
        if upper_only:
            patchy = patchy * ramp(pixels.below_surface, 260, 120)
        dyes[MELANIN] = patchy * (0.15 + 0.85 * ramp(fine, 0.35, 0.8)) * (0.3 + 1.1 * pigment)
        dyes[EOSIN] *= 1 - 0.4 * patchy
    return dyes


PAINTERS: dict[Kind, Callable[[Pixels], Dyes]] = {
    Kind.DERMIS: _dermis,
    Kind.KERATIN: _keratin,
    Kind.EPIDERMIS: _epidermis,
    Kind.FAT: _fat,
    Kind.SHEATH: _sheath,
    Kind.INNER_SHEATH: _inner_sheath,
    Kind.HAIR: _hair,
    Kind.SEBACEOUS: _sebaceous,
    Kind.ECCRINE: _eccrine,
    Kind.LUMEN: _lumen,
    Kind.WALL: _wall,
    Kind.BLOOD: _blood,
    Kind.INFILTRATE: _infiltrate,
    Kind.CRUST: _crust,
    Kind.MUSCLE: _muscle,
    Kind.NERVE: _nerve,
    Kind.STROMA: _stroma,
    Kind.NECROSIS: _necrosis,
}

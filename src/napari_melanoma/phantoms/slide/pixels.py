"""The pixels of a part of a phantom section: their tissue labels, the dyes of the tissue, and the positions of nuclei.

Tissue is colored pixel by pixel (``paint_ground``); nuclei are stamps that are drawn over it (``place_nuclei``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms.slide.config import FIRST_LESION_LABEL, TissueKind
from napari_melanoma.phantoms.slide.lesions import PhantomLesion
from napari_melanoma.phantoms.slide.looks import (
    CLOUD_UM,
    FINE_UM,
    NUCLEUS_TYPE_INDEX,
    Floats,
    Ints,
    SlideLook,
    TextureSet,
    choose_stamps,
    interpolate_texture,
    make_textures,
    sample_texture,
)
from napari_melanoma.phantoms.slide.plan import SectionPlan
from napari_melanoma.phantoms.slide.tissue import GridPoints, PointGrid, rasterize_polygon

# Grids of nuclei
DENSE = PointGrid(6.9, 0.30, 31)
SPARSE = PointGrid(15.0, 0.45, 32)
SHEATHS = PointGrid(9.0, 0.33, 33)
SCAR = PointGrid(10.2, 0.40, 34)


@dataclass(frozen=True)
class PlacedNuclei:
    """Nuclei of a window: row and column of the center, and index of the stamp, each (nucleus,)."""

    row: Ints
    column: Ints
    stamp: Ints


@dataclass(frozen=True)
class SectionWindow:
    """A part of one section.

    ``mpp``: micrometers per pixel; ``box``: the part in such pixels; ``labels``: uint8 (row, column), see
    ``label_pixels``.
    """

    section: SectionPlan
    look: SlideLook
    mpp: float
    box: Box
    labels: NDArray[np.uint8]
    seed: int

    @cached_property
    def x_um(self) -> Floats:
        """Centers of the columns, float64 (column,)."""
        return (self.box.left + np.arange(self.box.width) + 0.5) * self.mpp

    @cached_property
    def y_um(self) -> Floats:
        """Centers of the rows, float64 (row,)."""
        return (self.box.top + np.arange(self.box.height) + 0.5) * self.mpp

    @property
    def textures(self) -> TextureSet:
        """Textures of the look."""
        return make_textures(self.look.name)

    @cached_property
    def section_coordinates(self) -> tuple[Floats, Floats]:
        """Position along the section and depth of each pixel, float32 (row, column)."""
        return self.section.frame.to_section(self.x_um[None], self.y_um[:, None])

    def select_pixels(self, label: int) -> WindowPixels:
        """Select all pixels of a label, in reading order."""
        index = np.flatnonzero(self.labels == label).astype(np.int32)
        along, depth = (part.ravel().take(index, mode="clip") for part in self.section_coordinates)
        row, column = np.divmod(index, np.int32(self.box.width))
        return WindowPixels(self, row, column, along, depth)

    @cached_property
    def present_labels(self) -> tuple[int, ...]:
        """The labels that occur in the window, in ascending order."""
        return tuple(np.flatnonzero(np.bincount(self.labels.ravel(), minlength=256)).tolist())

    def find_pixels(self, x_um: Floats, y_um: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return row and column of the pixels at positions in micrometers (point,); they may lie outside."""
        row = np.floor(y_um / self.mpp).astype(np.int64) - self.box.top
        column = np.floor(x_um / self.mpp).astype(np.int64) - self.box.left
        return row, column


@dataclass(frozen=True)
class WindowPixels:
    """Some pixels of a window: rows, columns, and positions in the section in micrometers, float32 (pixel,)."""

    window: SectionWindow
    row: NDArray[np.integer[Any]]
    column: NDArray[np.integer[Any]]
    along: Floats
    depth: Floats

    @cached_property
    def x_um(self) -> Floats:
        """Positions on the slide, float64 (pixel,)."""
        return self.window.x_um.take(self.column, mode="clip")

    @cached_property
    def y_um(self) -> Floats:
        """Positions on the slide, float64 (pixel,)."""
        return self.window.y_um.take(self.row, mode="clip")

    @cached_property
    def below_surface(self) -> Floats:
        """Depth below the granular layer, float32 (pixel,)."""
        layers = self.window.section.layers
        return self.depth - layers.depth_at(layers.granular, self.along).astype(np.float32)

    @cached_property
    def cloud(self) -> Floats:
        """Slowly varying texture with detail, 0 to 1."""
        return interpolate_texture(self.window.textures.clouds, self.along, self.depth, CLOUD_UM)

    @cached_property
    def patch(self) -> Floats:
        """Very slowly varying, smooth texture, 0 to 1."""
        shift = np.float32(977 * self.window.section.index)
        return interpolate_texture(self.window.textures.patches, self.along + shift, self.depth, CLOUD_UM)


def place_nuclei(window: SectionWindow) -> list[PlacedNuclei]:
    present = set(window.present_labels)
    nuclei = [_aligned_nuclei(window)]
    for kinds, place in NUCLEI_PLACERS:
        if present & kinds:
            nuclei.append(place(window))
    for label in sorted(present):
        if label >= FIRST_LESION_LABEL:
            nuclei.append(_lesion_nuclei(window, label, window.section.lesions[label - FIRST_LESION_LABEL]))
    return nuclei


def _grid_points(window: SectionWindow, grid: PointGrid, *labels: int) -> tuple[GridPoints, WindowPixels]:
    """Return the points of a grid on tissue with some labels, and their pixels."""
    x, y, half = window.x_um, window.y_um, window.mpp / 2
    points = grid.points(y[0] - half, x[0] - half, y[-1] + half, x[-1] + half)
    row, column = window.find_pixels(points.x, points.y)
    is_inside = (row >= 0) & (column >= 0) & (row < window.box.height) & (column < window.box.width)
    points, row, column = points.select(is_inside), row[is_inside], column[is_inside]
    is_selected = np.zeros(256, bool)  # by label
    is_selected[list(labels)] = True
    on_tissue = is_selected[window.labels[row, column]]
    points, row, column = points.select(on_tissue), row[on_tissue], column[on_tissue]
    along, depth = window.section.frame.to_section(points.x, points.y)
    return points, WindowPixels(window, row, column, along, depth)


def _select_nuclei(
    pixels: WindowPixels, keep: NDArray[np.bool_], species: NDArray[np.integer[Any]], angle: Floats, lot: Floats
) -> PlacedNuclei:
    """Choose stamps for the nuclei selected by ``keep``, bool (nucleus,); other arguments as for ``choose_stamps``."""
    stamps = choose_stamps(species[keep], angle[keep], lot[keep])
    return PlacedNuclei(pixels.row[keep], pixels.column[keep], stamps)


def _aligned_nuclei(window: SectionWindow) -> PlacedNuclei:
    nuclei, y, x = window.section.aligned_nuclei, window.y_um, window.x_um
    first, last = np.searchsorted(nuclei.y, (y[0] - window.mpp, y[-1] + window.mpp))
    index = np.arange(first, last)
    index = index[(nuclei.x[index] > x[0] - window.mpp) & (nuclei.x[index] < x[-1] + window.mpp)]
    row, column = window.find_pixels(nuclei.x[index], nuclei.y[index])
    is_inside = (row >= 0) & (column >= 0) & (row < window.box.height) & (column < window.box.width)
    index, row, column = index[is_inside], row[is_inside], column[is_inside]
    has_label = window.labels[row, column] == nuclei.label[index]
    index = index[has_label]
    lot = (index * 0.6180339887) % 1.0
    return PlacedNuclei(
        row[has_label], column[has_label], choose_stamps(nuclei.species[index], nuclei.angle[index], lot)
    )


def _epidermal_nuclei(window: SectionWindow) -> PlacedNuclei:
    """Place spinous cells, and flat ones towards the granular layer; most basal cells are aligned by the plan."""
    points, pixels = _grid_points(window, EPIDERMAL, TissueKind.EPIDERMIS)
    layers = window.section.layers
    to_junction = layers.depth_at(layers.junction, pixels.along) - pixels.depth
    flat = pixels.below_surface < 14
    species = np.where(flat, NUCLEUS_TYPE_INDEX["flat"], NUCLEUS_TYPE_INDEX["spinous"])
    species = np.where(to_junction < 15, NUCLEUS_TYPE_INDEX["basal"], species)
    heading = window.section.frame.heading(pixels.along)
    upright = ~flat & (to_junction < 28)
    angle = heading + np.where(upright, np.pi / 2, 0) + (points.uniform(0) - 0.5) * np.where(flat, 0.4, 1.6)
    keep = (to_junction > 8.5) & (pixels.below_surface > 3.5) & (points.uniform(1) < np.where(flat, 0.45, 0.92))
    return _select_nuclei(pixels, keep, species, angle, points.uniform(2))


def _dermal_nuclei(window: SectionWindow) -> PlacedNuclei:
    """Place fibroblasts along the fibers, and a few inflammatory cells."""
    points, pixels = _grid_points(
        window, SPARSE, TissueKind.DERMIS, TissueKind.MUSCLE, TissueKind.NERVE, TissueKind.WALL
    )
    upper = np.clip((330 - pixels.below_surface) / 200, 0, 1)
    density = 0.10 + 0.16 * upper + 0.10 * pixels.patch
    density = np.where(window.labels[pixels.row, pixels.column] == TissueKind.MUSCLE, 0.4, density)
    lot = points.uniform(1)
    round_cell = points.uniform(3) < 0.10 + 0.25 * pixels.cloud**3
    species = np.where(round_cell, NUCLEUS_TYPE_INDEX["lymphocyte"], NUCLEUS_TYPE_INDEX["fibroblast"])
    angle = window.section.frame.heading(pixels.along) + 1.3 * (points.uniform(0) - 0.5) + 0.9 * (pixels.cloud - 0.5)
    return _select_nuclei(pixels, lot < density, species, angle, points.uniform(2))


def _infiltrate_nuclei(window: SectionWindow) -> PlacedNuclei:
    """Place lymphocytes and plasma cells in clusters."""
    points, pixels = _grid_points(window, DENSE, TissueKind.INFILTRATE)
    species = np.where(points.uniform(1) < 0.15, NUCLEUS_TYPE_INDEX["plasma"], NUCLEUS_TYPE_INDEX["lymphocyte"])
    keep = points.uniform(3) < 0.55 + 0.5 * pixels.cloud
    return _select_nuclei(pixels, keep, species, np.pi * points.uniform(0), points.uniform(2))


def _crust_nuclei(window: SectionWindow) -> PlacedNuclei:
    """Place granulocytes in the crust of an ulcer."""
    points, pixels = _grid_points(window, DENSE, TissueKind.CRUST)
    species = np.full(len(points.x), NUCLEUS_TYPE_INDEX["apoptotic"])
    return _select_nuclei(
        pixels, points.uniform(1) < 0.4 * pixels.cloud, species, np.pi * points.uniform(0), points.uniform(2)
    )


def _necrotic_nuclei(window: SectionWindow) -> PlacedNuclei:
    """Place ghosts of nuclei, and nuclear dust in clusters."""
    points, pixels = _grid_points(window, SHEATHS, TissueKind.NECROSIS)
    dust = points.uniform(1) < 0.35 * pixels.cloud
    species = np.where(dust, NUCLEUS_TYPE_INDEX["apoptotic"], NUCLEUS_TYPE_INDEX["ghost"])
    keep = points.uniform(3) < np.where(dust, 0.8, 0.45)
    return _select_nuclei(pixels, keep, species, np.pi * points.uniform(0), points.uniform(2))


def _sheath_nuclei(window: SectionWindow) -> PlacedNuclei:
    """Place the cells of follicles inside their basal layer."""
    points, pixels = _grid_points(window, SHEATHS, TissueKind.SHEATH)
    species = np.full(len(points.x), NUCLEUS_TYPE_INDEX["spinous"])
    return _select_nuclei(pixels, points.uniform(1) < 0.9, species, np.pi * points.uniform(0), points.uniform(2))


def _sebocyte_nuclei(window: SectionWindow) -> PlacedNuclei:
    """Place a nucleus in the middle of most cells of a sebaceous gland."""
    points, pixels = _grid_points(window, FOAM, TissueKind.SEBACEOUS)
    species = np.full(len(points.x), NUCLEUS_TYPE_INDEX["sebocyte"])
    return _select_nuclei(pixels, points.uniform(1) < 0.85, species, np.pi * points.uniform(0), points.uniform(2))


def _lesion_nuclei(window: SectionWindow, label: int, lesion: PhantomLesion) -> PlacedNuclei:
    """Place the cells of a lesion; those of a nevus are even, and smaller with depth."""
    grid = PointGrid(lesion.cell_um, 0.36, 40 + lesion.request.index)
    points, pixels = _grid_points(window, grid, label)
    if not len(points.x):
        return PlacedNuclei(pixels.row, pixels.column, np.zeros(0, np.int64))
    draw = points.uniform(1)
    if lesion.request.kind == "benign":
        deep = pixels.below_surface + 90 * (draw - 0.5) > 0.55 * lesion.request.depth_um + 60
        species = np.where(deep, NUCLEUS_TYPE_INDEX["naevus_deep"], NUCLEUS_TYPE_INDEX["naevus"])
        return _select_nuclei(pixels, points.uniform(3) < 0.96, species, np.pi * points.uniform(0), points.uniform(2))
    return _melanoma_nuclei(lesion, points, pixels, draw)


def _melanoma_nuclei(lesion: PhantomLesion, points: GridPoints, pixels: WindowPixels, draw: Floats) -> PlacedNuclei:
    """Place the cells of a melanoma, of different sizes, dark or dividing, and fibroblasts in walls between nests.

    ``draw``: random number of each point, which determines the type of the nucleus.
    """
    dividing = lesion.request.mitoses_per_mm2 * lesion.cell_um**2 / 1e6
    species = np.where(draw < 0.58, NUCLEUS_TYPE_INDEX["melanoma"], NUCLEUS_TYPE_INDEX["melanoma_large"])
    species = np.where(draw > 0.80, NUCLEUS_TYPE_INDEX["melanoma_dark"], species)
    species = np.where(draw > 1 - dividing, NUCLEUS_TYPE_INDEX["mitosis"], species)
    species = np.where((draw > 0.76) & (draw < 0.765), NUCLEUS_TYPE_INDEX["apoptotic"], species)
    is_lymphocyte = points.uniform(4) < 0.32 * np.clip((pixels.cloud - 0.72) / 0.2, 0, 1)
    species = np.where(is_lymphocyte, NUCLEUS_TYPE_INDEX["lymphocyte"], species)
    wall = wall_share(pixels) > 0.5
    direction = 2.2 * pixels.patch + 6.0 * pixels.cloud
    angle = direction + 1.2 * (points.uniform(0) - 0.5)
    species = np.where(
        wall, np.where(draw < 0.6, NUCLEUS_TYPE_INDEX["fibroblast"], NUCLEUS_TYPE_INDEX["lymphocyte"]), species
    )
    desmoplastic = desmoplastic_share(pixels, lesion)
    species = np.where((desmoplastic > 0.5) & (draw < 0.45), NUCLEUS_TYPE_INDEX["fibroblast"], species)
    keep = points.uniform(3) < np.where(wall, 0.35, 0.97 - 0.72 * desmoplastic)
    return _select_nuclei(pixels, keep, species, angle, points.uniform(2))


def _scar_nuclei(window: SectionWindow) -> PlacedNuclei:
    """Place plump spindle cells of a scar in whorls, with lymphocytes."""
    points, pixels = _grid_points(window, SCAR, TissueKind.STROMA)
    species = np.where(points.uniform(1) < 0.16, NUCLEUS_TYPE_INDEX["lymphocyte"], NUCLEUS_TYPE_INDEX["stromal"])
    angle = 7.0 * pixels.patch + 3.0 * pixels.cloud + 1.2 * (points.uniform(0) - 0.5)
    keep = points.uniform(3) < 0.62 + 0.5 * pixels.cloud
    return _select_nuclei(pixels, keep, species, angle, points.uniform(2))


# Labels of the tissue, and the function that places the nuclei in it
NUCLEI_PLACERS = (
    ({int(TissueKind.EPIDERMIS)}, _epidermal_nuclei),
    ({int(TissueKind.DERMIS), int(TissueKind.MUSCLE), int(TissueKind.NERVE), int(TissueKind.WALL)}, _dermal_nuclei),
    ({int(TissueKind.INFILTRATE)}, _infiltrate_nuclei),
    ({int(TissueKind.CRUST)}, _crust_nuclei),
    ({int(TissueKind.SHEATH)}, _sheath_nuclei),
    ({int(TissueKind.SEBACEOUS)}, _sebocyte_nuclei),
    ({int(TissueKind.STROMA)}, _scar_nuclei),
    ({int(TissueKind.NECROSIS)}, _necrotic_nuclei),
)


def label_pixels(section: SectionPlan, box: Box, downsample: float = 1.0) -> NDArray[np.uint8]:
    """Label each pixel of a box by the tissue at its center.

    ``downsample``: side of a pixel in pixels of level 0. ``box``: in such pixels. Returns tissue kinds and lesions,
    uint8 (row, column).
    """
    labels = np.zeros((box.height, box.width), np.uint8)
    top, left, bottom, right = section.boxes.T / downsample
    rows = (bottom > box.top) & (top < box.top + box.height)
    overlaps = rows & (right > box.left) & (left < box.left + box.width)
    for index in np.flatnonzero(overlaps):
        part = rasterize_polygon(section.polygons[index], box, downsample)
        if part is not None:
            rows_columns, mask = part
            if index and section.labels[index] != TissueKind.CRUST:  # other structures are visible only on tissue
                mask &= labels[rows_columns] != TissueKind.GLASS
            labels[rows_columns][mask] = section.labels[index]
    return labels


# The dyes of tissue. Each painter returns the dyes for the pixels of one label.

HEMATOXYLIN, EOSIN, MELANIN, BLOOD = range(4)
Dyes = Floats  # amounts (dye, pixel): hematoxylin, eosin, melanin, blood
# Grids of cells
EPIDERMAL = PointGrid(10.5, 0.30, 11)
FAT_CELLS = PointGrid(72.0, 0.30, 12)
FOAM = PointGrid(15.0, 0.33, 13)
BUBBLES = PointGrid(3.4, 0.35, 14)
SEPTA = PointGrid(95.0, 0.38, 15)


def ramp(values: Floats, start: float, end: float) -> Floats:
    """Return a linear ramp from 0 at ``start`` to 1 at ``end``, which may be smaller."""
    return np.clip((values - np.float32(start)) * np.float32(1 / (end - start)), 0, 1)


def paint_ground(window: SectionWindow) -> Floats:
    """Calculate the dyes of each pixel, float32 (dye, row, column): hematoxylin, eosin, melanin, blood."""
    dyes = np.zeros((4, window.labels.size), np.float32)
    for label in window.present_labels:
        if label != TissueKind.GLASS:
            pixels = window.select_pixels(label)
            painted = _tumor(pixels, label) if label >= FIRST_LESION_LABEL else PAINTERS[TissueKind(label)](pixels)
            index = pixels.row.astype(np.intp) * window.box.width + pixels.column  # int32 takes three times as long
            for dye, amount in zip(dyes, painted, strict=True):
                dye[index] = amount
    return dyes.reshape(4, *window.labels.shape)


def _combine_dyes(pixels: WindowPixels, hematoxylin: Floats | float, eosin: Floats | float) -> Dyes:
    """Return dyes without melanin and blood."""
    dyes = np.zeros((4, len(pixels.row)), np.float32)
    dyes[HEMATOXYLIN], dyes[EOSIN] = hematoxylin, eosin
    return dyes


def _grain(pixels: WindowPixels) -> Floats:
    """Fine texture fixed to the slide, 0 to 1."""
    return sample_texture(pixels.window.textures.grain, pixels.x_um, pixels.y_um, FINE_UM)


def _dermis(pixels: WindowPixels) -> Dyes:
    """Collagen: fine strands below the epidermis, thick bundles with gaps further down; blue-gray where sun-damaged."""
    look, style = pixels.window.textures, pixels.window.look.texture
    bent = pixels.depth + 100 * pixels.patch
    strands = sample_texture(look.strands, pixels.along, bent, FINE_UM)
    bundles = sample_texture(look.bundles, pixels.along - 0.15 * bent, bent, FINE_UM)
    reticular = ramp(pixels.below_surface + 60 * pixels.cloud, 170, 330)
    papillary = 0.20 + 0.20 * strands
    gaps = ramp(bundles, style.cleft * 0.6, style.cleft * 0.6 + 0.10)
    coarse = gaps * (0.20 + 0.34 * bundles + 0.10 * strands)
    eosin = (papillary + reticular * (coarse - papillary)) * (0.75 + 0.5 * pixels.cloud)
    hematoxylin = 0.03 + 0.07 * strands * gaps + 0.05 * pixels.patch
    elastosis = _elastosis(pixels)
    hematoxylin += elastosis * (0.10 + 0.26 * strands)
    return _combine_dyes(pixels, hematoxylin, eosin * (1 - 0.5 * elastosis))


def _elastosis(pixels: WindowPixels) -> Floats:
    """Return the damage of the upper dermis by the sun, 0 to 1."""
    amount = pixels.window.section.elastosis
    band = ramp(pixels.below_surface, 110, 190) * ramp(pixels.below_surface, 420 + 500 * amount, 250)
    return band * ramp(pixels.patch, 1.02 - amount, 1.25 - amount)


def _keratin(pixels: WindowPixels) -> Dyes:
    """Keratin in a basket weave: pink strands with white spaces, denser towards the granular layer."""
    weave = sample_texture(pixels.window.textures.weave, pixels.along, 1.2 * pixels.depth, FINE_UM)
    dense = ramp(pixels.below_surface, -9, -1)
    strands = np.maximum(ramp(weave, 0.42, 0.62), dense)
    return _combine_dyes(pixels, 0.05 * strands, strands * (0.42 + 0.25 * weave))


def _epidermis(pixels: WindowPixels) -> Dyes:
    """Epidermis: cells with pale borders, bluer and pigmented towards the junction, dark granules at the top."""
    layers = pixels.window.section.layers
    thickness = (
        layers.depth_at(layers.junction, pixels.along) - layers.depth_at(layers.granular, pixels.along)
    ).astype(np.float32)
    to_junction = thickness - pixels.below_surface
    first, second = EPIDERMAL.distances(pixels.x_um, pixels.y_um)
    border = ramp(second - first, 1.5, 0.4)
    grain = _grain(pixels)
    basal = ramp(to_junction, 16, 4)
    hematoxylin = 0.16 + 0.07 * grain + 0.16 * basal
    granules = ramp(pixels.below_surface, 13, 5) * ramp(grain, 0.55, 0.7)
    hematoxylin = hematoxylin + 0.75 * granules
    eosin = (0.36 + 0.10 * grain + 0.06 * pixels.cloud) * (1 - 0.38 * border * (1 - basal))
    dyes = _combine_dyes(pixels, hematoxylin * (1 - 0.4 * border), eosin)
    caps = ramp(to_junction, 14, 6) * ramp(grain, 0.45, 0.8)
    dyes[MELANIN] = caps * (0.10 + 0.5 * pixels.patch**2)
    return dyes


def _fat(pixels: WindowPixels) -> Dyes:
    """Fat: empty cells with thin pink rims, and fibrous walls between lobules."""
    first, second = FAT_CELLS.distances(pixels.x_um, pixels.y_um)
    septum = ramp(np.abs(pixels.patch - 0.5), 0.05, 0.025)
    rim = np.maximum(ramp(second - first, 5.5, 2.5), septum)
    strands = sample_texture(pixels.window.textures.strands, pixels.along, pixels.depth, FINE_UM)
    return _combine_dyes(pixels, 0.03 * rim, rim * (0.24 + 0.20 * strands))


def _sheath(pixels: WindowPixels) -> Dyes:
    """Outer root sheath: like epidermis, but paler."""
    grain = _grain(pixels)
    return _combine_dyes(pixels, 0.17 + 0.08 * grain, 0.30 + 0.09 * grain)


def _inner_sheath(pixels: WindowPixels) -> Dyes:
    """Inner root sheath: bright pink."""
    return _combine_dyes(pixels, 0.05, 0.55 + 0.2 * _grain(pixels))


def _hair(pixels: WindowPixels) -> Dyes:
    """Hair shaft: yellow-brown."""
    dyes = _combine_dyes(pixels, 0.05, 0.25)
    dyes[MELANIN] = 0.45 + 0.3 * _grain(pixels)
    return dyes


def _sebaceous(pixels: WindowPixels) -> Dyes:
    """Sebaceous gland: cells filled with small clear vacuoles."""
    first, second = FOAM.distances(pixels.x_um, pixels.y_um)
    inner, outer = BUBBLES.distances(pixels.x_um, pixels.y_um)
    web = np.maximum(ramp(outer - inner, 1.3, 0.3), ramp(second - first, 2.2, 0.8))
    return _combine_dyes(pixels, 0.05 + 0.07 * web, 0.07 + 0.20 * web)


def _eccrine(pixels: WindowPixels) -> Dyes:
    """Tubules of a sweat gland: pale pink-violet cells."""
    grain = _grain(pixels)
    return _combine_dyes(pixels, 0.14 + 0.08 * grain, 0.26 + 0.12 * grain)


def _lumen(pixels: WindowPixels) -> Dyes:
    """Lumen of a gland: empty, with a little secretion."""
    return _combine_dyes(pixels, 0.0, 0.04 * _grain(pixels))


def _wall(pixels: WindowPixels) -> Dyes:
    return _combine_dyes(pixels, 0.07, 0.40 + 0.1 * _grain(pixels))


def _blood(pixels: WindowPixels) -> Dyes:
    """Blood: red cells, tightly packed."""
    first, second = PointGrid(6.4, 0.2, 17).distances(pixels.x_um, pixels.y_um)
    dyes = _combine_dyes(pixels, 0.0, 0.05)
    dyes[BLOOD] = 0.75 * ramp(second - first, 0.2, 1.4) * (0.75 + 0.25 * ramp(first, 0, 2))
    return dyes


def _infiltrate(pixels: WindowPixels) -> Dyes:
    """Ground between lymphocytes: collagen, a little bluer."""
    dyes = _dermis(pixels)
    dyes[HEMATOXYLIN] += 0.06
    return dyes


def _stroma(pixels: WindowPixels) -> Dyes:
    """Scar rich in cells: fine whorls, as blue as a tumor."""
    whorl = pixels.depth + 90 * pixels.cloud
    strands = sample_texture(pixels.window.textures.strands, pixels.along + 60 * pixels.patch, whorl, FINE_UM)
    tone = 0.12 * (pixels.patch - 0.5)
    return _combine_dyes(pixels, 0.14 + tone + 0.10 * strands, 0.26 - 1.2 * tone + 0.16 * strands)


def _crust(pixels: WindowPixels) -> Dyes:
    """Crust of an ulcer: fibrin and dead cells."""
    grain, weave = _grain(pixels), sample_texture(pixels.window.textures.weave, pixels.along, pixels.depth, FINE_UM)
    return _combine_dyes(pixels, 0.10 + 0.5 * ramp(grain, 0.75, 0.95), 0.45 + 0.4 * weave)


def _necrosis(pixels: WindowPixels) -> Dyes:
    """Dead tumor: smudged pink without borders of cells, and dust of nuclei."""
    grain = _grain(pixels)
    dust = ramp(grain, 0.88, 0.98) * ramp(pixels.cloud, 0.35, 0.75)
    return _combine_dyes(pixels, 0.02 + 0.30 * dust, 0.41 + 0.10 * grain + 0.14 * (pixels.cloud - 0.5))


def _muscle(pixels: WindowPixels) -> Dyes:
    """Smooth muscle: deep pink, finely fibrous."""
    strands = sample_texture(pixels.window.textures.strands, pixels.along, 1.3 * pixels.depth, FINE_UM)
    return _combine_dyes(pixels, 0.08, 0.50 + 0.16 * strands)


def _nerve(pixels: WindowPixels) -> Dyes:
    """Nerve: pale and wavy."""
    strands = sample_texture(pixels.window.textures.strands, pixels.along + 9 * pixels.cloud, pixels.depth, FINE_UM)
    return _combine_dyes(pixels, 0.08, 0.20 + 0.14 * strands)


def _tumor(pixels: WindowPixels, label: int) -> Dyes:
    """Cytoplasm of a lesion's cells, thin walls of collagen between nests, and pigment."""
    lesion = pixels.window.section.lesions[label - FIRST_LESION_LABEL]
    grain = _grain(pixels)
    cells = PointGrid(lesion.cell_um, 0.36, 40 + lesion.request.index)
    first, second = cells.distances(pixels.x_um, pixels.y_um)
    border = ramp(second - first, 1.5, 0.2) * (0.10 + 0.32 * grain)
    tone = np.float32(0.06 * lesion.tone) + 0.10 * (pixels.patch - 0.5)
    hematoxylin = (0.14 + tone + 0.10 * grain) * (1 - border)
    eosin = (0.31 - 1.2 * tone + 0.14 * grain) * (1 - border)
    dyes = _combine_dyes(pixels, hematoxylin, eosin)
    if lesion.request.kind == "malignant":
        _add_collagen(pixels, dyes, lesion)
    return _add_pigment(pixels, dyes, lesion.request.pigment, lesion.request.kind == "benign")


def wall_share(pixels: WindowPixels) -> Floats:
    """Return the share of collagen between the nests of a melanoma, float32 (pixel,): 0 in a nest, 1 in a wall."""
    warp = np.float32(60) * (pixels.cloud - 0.5)
    first, second = SEPTA.distances(pixels.x_um + warp, pixels.y_um - warp)
    width = 3 + 22 * ramp(pixels.patch, 0.45, 1.0)
    return np.clip((width - (second - first)) / 3, 0, 1)


def desmoplastic_share(pixels: WindowPixels, lesion: PhantomLesion) -> Floats:
    """Return the desmoplastic share of a melanoma, float32 (pixel,): 1 for few cells in much collagen."""
    shift = np.float32(1500 + 700 * lesion.request.index)
    field = interpolate_texture(pixels.window.textures.patches, pixels.along - shift, pixels.depth + shift, CLOUD_UM)
    return ramp(field + 0.16 * pixels.cloud, 1.0 - lesion.desmoplastic, 1.16 - lesion.desmoplastic)


def _add_collagen(pixels: WindowPixels, dyes: Dyes, lesion: PhantomLesion) -> None:
    """Replace cytoplasm by collagen between the nests and in desmoplastic areas."""
    wall = np.maximum(wall_share(pixels), 0.85 * desmoplastic_share(pixels, lesion))
    strands = sample_texture(pixels.window.textures.strands, pixels.along, pixels.depth, FINE_UM)
    dyes[HEMATOXYLIN] += wall * (0.05 + 0.03 * strands - dyes[HEMATOXYLIN])
    dyes[EOSIN] += wall * ((0.22 + 0.24 * strands) * (0.75 + 0.5 * pixels.cloud) - dyes[EOSIN])


def _add_pigment(pixels: WindowPixels, dyes: Dyes, pigment: float, upper_only: bool) -> Dyes:
    """Add melanin as dust and clumps; with ``upper_only``, as in a nevus, only towards the surface."""
    if pigment > 0.08:
        fine = _grain(pixels)
        patchy = ramp(pixels.cloud + 0.5 * pixels.patch, 1.25 - 1.1 * pigment, 1.55 - 0.8 * pigment)
        if upper_only:
            patchy = patchy * ramp(pixels.below_surface, 260, 120)
        dyes[MELANIN] = patchy * (0.15 + 0.85 * ramp(fine, 0.35, 0.8)) * (0.3 + 1.1 * pigment)
        dyes[EOSIN] *= 1 - 0.4 * patchy
    return dyes


PAINTERS: dict[TissueKind, Callable[[WindowPixels], Dyes]] = {
    TissueKind.DERMIS: _dermis,
    TissueKind.KERATIN: _keratin,
    TissueKind.EPIDERMIS: _epidermis,
    TissueKind.FAT: _fat,
    TissueKind.SHEATH: _sheath,
    TissueKind.INNER_SHEATH: _inner_sheath,
    TissueKind.HAIR: _hair,
    TissueKind.SEBACEOUS: _sebaceous,
    TissueKind.ECCRINE: _eccrine,
    TissueKind.LUMEN: _lumen,
    TissueKind.WALL: _wall,
    TissueKind.BLOOD: _blood,
    TissueKind.INFILTRATE: _infiltrate,
    TissueKind.CRUST: _crust,
    TissueKind.MUSCLE: _muscle,
    TissueKind.NERVE: _nerve,
    TissueKind.STROMA: _stroma,
    TissueKind.NECROSIS: _necrosis,
}

"""The ground of each tissue before nuclei: how much of each dye lies on a pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.phantom.slide.grid import Grid
from napari_melanoma.data.phantom.slide.kinds import LESION, Kind
from napari_melanoma.data.phantom.slide.lesions import Lesion
from napari_melanoma.data.phantom.slide.textures import CLOUD_UM, FINE_UM, sample, smooth_sample
from napari_melanoma.data.phantom.slide.view import Pixels, Window

Floats = NDArray[np.floating[Any]]
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

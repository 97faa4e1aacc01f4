"""Which part of a slide's map is measured for the thickness of a section, and in which fineness: memory stays small."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.breslow.config import DepthConfig
from napari_melanoma.analysis.breslow.maps import TissueMaps, means, tissues_of
from napari_melanoma.analysis.breslow.scale import checked_cell_um
from napari_melanoma.analysis.breslow.sections import Section, find_sections, widened, without_specks
from napari_melanoma.analysis.masks import components, grown
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlace

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from napari_melanoma.workflows.slide_maps import SlideMaps

MOST_CELLS = 9_000_000  # of what is measured at once: about 400 MB at work
STRIP = 512  # rows that are read at once
COARSE_UM = 12.0  # cells on which sections and lesions are found first
BESIDE = 0.5  # of a lesion's size: so much around it is looked at beyond the skin that says which way is down


@dataclass(frozen=True)
class DepthMap:
    """The stitched map of a dense model: ``map`` of the store, uint8 (class, row, column), where it lies, its classes.

    ``weights`` is the hash of the model's, by which its intervals are known; ``small`` are means that fit into memory.
    """

    values: zarr.Array
    place: MapPlace
    classes: tuple[str, ...]
    weights: str
    small: SlideMaps

    @classmethod
    def of(cls, values: zarr.Array, small: SlideMaps, classes: tuple[str, ...], weights: str) -> DepthMap:
        """Take the map that smaller maps are means of."""
        step = -(-values.shape[1] // small.probability.shape[1])
        place = replace(small.place, step_y=small.place.step_y / step, step_x=small.place.step_x / step)
        return cls(values, place, classes, weights, small)

    @property
    def step(self) -> int:
        """How many cells of the map one of ``small`` has along a side."""
        return -(-self.values.shape[1] // self.small.probability.shape[1])


def sections_of(found: DepthMap, config: DepthConfig) -> tuple[SectionFound, ...]:
    """Find the sections of a slide, and where their lesions are."""
    checked_cell_um(found.place, found.values.shape[1:])
    coarse, cell_um, step = _coarse(found)
    sections = find_sections(tissues_of(coarse, cell_um), cell_um, config)
    return tuple(SectionFound(one, _around_lesions(one, config), step * found.step) for one in sections)


@dataclass(frozen=True)
class SectionFound:
    """A section on coarse cells of ``step`` map cells, and the ``boxes`` around its lesions, none of which overlap."""

    section: Section
    boxes: tuple[Box, ...]
    step: int

    def read(self, found: DepthMap, part: Box) -> tuple[TissueMaps, MapPlace]:
        """Read a part of the map with lesions of the section, what is of other sections left out.

        Returns the part and where it lies: coarser than the map where it would be larger than ``MOST_CELLS``.
        """
        sides = (self.step * side for side in (part.top, part.left, part.height, part.width))
        box = _cut(Box(*sides), found.values.shape)
        step = max(1, int(np.ceil(np.sqrt(box.height * box.width / MOST_CELLS))))
        values = _read(found.values, box, step)
        near = np.arange(values.shape[1]) * step // self.step, np.arange(values.shape[2]) * step // self.step
        values *= self._own(part)[np.ix_(*near)]
        place = found.place
        top, left = place.to_slide((box.top, box.left)).tolist()
        cut = MapPlace(top, left, place.step_y * step, place.step_x * step, place.pixel_size)
        return TissueMaps(values, found.classes), cut

    def _own(self, part: Box) -> NDArray[np.bool_]:
        """Coarse cells of the box that belong to the section, and those around it, but to no other."""
        near = widened(self.section.whole, 2 * max(self.section.cell_um), self.section.cell_um)
        top, left = part.top - self.section.top, part.left - self.section.left
        own: NDArray[np.bool_] = near[top : top + part.height, left : left + part.width]
        return own


def _coarse(found: DepthMap) -> tuple[TissueMaps, tuple[float, float], int]:
    """Means of the maps on cells of about ``COARSE_UM``, their size, and how many of their cells one has."""
    small = found.small
    cell = checked_cell_um(small.place, small.probability.shape[1:])
    step = max(1, int(COARSE_UM / max(cell)))
    layers = [np.rint(255 * means(np.nan_to_num(layer), (step, step))) for layer in small.probability]
    return TissueMaps(np.stack(layers).astype(np.uint8), found.classes), (cell[0] * step, cell[1] * step), step


def _around_lesions(section: Section, config: DepthConfig) -> tuple[Box, ...]:
    """Parts of the map that hold the lesions of a section and the skin beside them, those that overlap made one."""
    from scipy import ndimage

    tumour = without_specks(section.tumour, config.min_lesion_um2 / 4 / section.cell_um2)
    labels, _ = components(widened(tumour, config.far_gap_um / 2, section.cell_um))
    wide = np.zeros(labels.shape, bool)
    for rows, columns in ndimage.find_objects(labels):
        extent = max((rows.stop - rows.start) * section.cell_um[0], (columns.stop - columns.start) * section.cell_um[1])
        margin = round((BESIDE * extent + 1000 * config.window_mm) / min(section.cell_um))
        box = Box(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
        wide[grown(box, margin, labels.shape).slices] = True
    boxes = _disjoint(wide)
    return tuple(Box(box.top + section.top, box.left + section.left, box.height, box.width) for box in boxes)


def _disjoint(mask: NDArray[np.bool_]) -> list[Box]:
    """Boxes around the parts of a mask, grown into each other until none overlap."""
    from scipy import ndimage

    while True:
        labels, count = components(mask)
        whole = np.zeros(mask.shape, bool)
        for part in ndimage.find_objects(labels):
            whole[part] = True
        if components(whole)[1] == count and (whole == mask).all():
            found = ndimage.find_objects(labels)
            return [Box(r.start, c.start, r.stop - r.start, c.stop - c.start) for r, c in found]
        mask = whole


def _cut(box: Box, shape: tuple[int, ...]) -> Box:
    """The part of a box that lies on the map."""
    height, width = min(box.height, shape[1] - box.top), min(box.width, shape[2] - box.left)
    return Box(box.top, box.left, height, width)


def _read(values: zarr.Array, box: Box, step: int) -> NDArray[np.uint8]:
    """Read a part of the map, a strip at a time; means over squares of ``step`` cells."""
    columns, strips = slice(box.left, box.left + box.width), []
    height = max(step, STRIP // step * step)
    for top in range(box.top, box.top + box.height, height):
        strip = np.asarray(values[:, top : min(top + height, box.top + box.height), columns])
        strips.append(strip if step == 1 else np.stack([np.rint(means(layer, (step, step))) for layer in strip]))
    return np.concatenate(strips, axis=1).astype(np.uint8)

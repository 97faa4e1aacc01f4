"""The sections of a map: pieces of tissue apart from each other, each measured by itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.masks import components, filled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.analysis.breslow.config import DepthConfig
    from napari_melanoma.analysis.breslow.maps import Tissues

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.floating[Any]]

CRACK_UM = 10.0  # tissue on both sides of a gap of twice this is one section
RIM_UM = 25.0  # what lies so near to the glass lies at it
SMOOTH_UM = 40.0  # over which it is told which way the tissue lies


@dataclass(frozen=True)
class Section:
    """A piece of tissue within a box of the map: bool (row, column), holes filled; lengths in micrometres.

    ``top`` and ``left`` say where its box begins on the map, in cells; ``cell_um`` is the height and width of a cell.
    """

    index: int
    top: int
    left: int
    whole: Bools
    epidermis: Bools
    tumour: Bools
    chance: NDArray[np.uint8]
    cell_um: tuple[float, float]

    @property
    def cell_um2(self) -> float:
        """Area of a cell."""
        return self.cell_um[0] * self.cell_um[1]

    def positions(self, mask: Bools) -> Floats:
        """Give the centres of cells.

        ``mask``: bool (row, column) within the box. Returns float64 (cell, 2): y and x in micrometres from the map's
        corner.
        """
        return np.add(np.argwhere(mask), (self.top + 0.5, self.left + 0.5)) * self.cell_um

    @cached_property
    def rim(self) -> Bools:
        """Outermost cells, those where the map itself ends left out."""
        from scipy import ndimage

        return self.whole & ~ndimage.binary_erosion(self.whole, border_value=1)

    def near(self, mask: Bools) -> Bools:
        """Give the cells near a mask.

        ``mask``: bool (row, column) within the box. Returns bool, same shape: within ``RIM_UM``, by rows and columns.
        """
        return widened(mask, RIM_UM, self.cell_um)

    @cached_property
    def _smooth(self) -> Floats:
        """Share of tissue around each cell."""
        from scipy import ndimage

        size = [2 * round(SMOOTH_UM / 2 / um) + 1 for um in self.cell_um]
        share: Floats = ndimage.uniform_filter(self.whole.astype(np.float32), size, mode="nearest")
        return share

    def inward(self, mask: Bools) -> Floats:
        """Say which way the tissue lies at cells of the rim.

        ``mask``: bool (row, column) within the box. Returns float64 (cell, 2) as y and x, of length 1, or 0 where that
        cannot be said.
        """
        at = np.stack(np.nonzero(mask))
        slopes = []
        for axis, um in enumerate(self.cell_um):
            step = np.array([[axis == 0], [axis == 1]])
            last = np.array(mask.shape)[:, None] - 1
            after, before = np.minimum(at + step, last), np.maximum(at - step, 0)
            slopes.append((self._smooth[tuple(after)] - self._smooth[tuple(before)]) / um)
        found = np.stack(slopes, axis=1).astype(np.float64)
        return found / np.maximum(np.hypot(*found.T), 1e-9)[:, None]


def find_sections(tissues: Tissues, cell_um: tuple[float, float], config: DepthConfig) -> tuple[Section, ...]:
    """Find the pieces of tissue of a map.

    ``cell_um``: height and width of a cell in micrometres. From top to bottom, those that begin at one height from left
    to right.
    """
    from scipy import ndimage

    labels, _ = components(widened(tissues.tissue, CRACK_UM, cell_um))
    labels[~tissues.tissue] = 0
    sizes = np.bincount(labels.ravel()) * cell_um[0] * cell_um[1] / 1e6
    found: list[Section] = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None or sizes[number] < config.min_section_mm2:
            continue
        box = tuple(slice(max(0, part.start - 2), part.stop + 2) for part in box)
        own = labels[box] == number
        epidermis = without_specks(tissues.epidermis[box] & own, config.min_epidermis_um2 / (cell_um[0] * cell_um[1]))
        tumour, chance = tissues.tumour[box] & own, np.where(own, tissues.chance[box], np.uint8(0))
        found.append(Section(len(found), box[0].start, box[1].start, filled(own), epidermis, tumour, chance, cell_um))
    return tuple(found)


def widened(mask: Bools, by_um: float, cell_um: tuple[float, float]) -> Bools:
    """Widen a mask by rows and columns.

    ``mask``: bool (row, column). ``cell_um``: height and width of a cell in micrometres. Returns bool, same shape.
    """
    from scipy import ndimage

    size = [2 * int(np.ceil(by_um / um)) + 1 for um in cell_um]
    wide: Bools = ndimage.maximum_filter(mask, size, mode="constant")
    return wide


def without_specks(mask: Bools, cells: float) -> Bools:
    """Drop the parts of a mask that are small.

    ``mask``: bool (row, column). Returns bool, same shape.
    """
    labels, _ = components(mask)
    large = np.bincount(labels.ravel()) >= cells
    large[0] = False
    kept: Bools = large[labels]
    return kept

"""The thickest place of a lesion below a surface, and what hints at how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.breslow.surface import Surface, half_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.analysis.breslow.config import DepthConfig
    from napari_melanoma.analysis.breslow.lesions import Growth
    from napari_melanoma.analysis.breslow.sections import Section

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.floating[Any]]

SURE = 192  # of 255: tumour that is nearly certain
BELOW_UM = 60.0  # so far below the surface, or so near to where epidermis ends, the rim is no surface any more
DOWNWARD = (
    -0.5
)  # of the direction towards the tissue: below it the rim faces down, and is no cleft or opening of a hair


@dataclass(frozen=True)
class Line:
    """A line straight down from the surface to the deepest cell: (y, x) of its ends in micrometres, and its length."""

    surface: tuple[float, float]
    deepest: tuple[float, float]
    um: float


def thickest(section: Section, surface: Surface, cells: Bools) -> Line:
    """Measure the thickest place of some cells.

    ``cells``: bool (row, column) within the section's box, at least one.
    """
    along, below = beneath(section, surface, cells)
    deepest = int(below.argmax())
    um = float(below[deepest] + half_cell(section.cell_um, surface.arc))
    top = surface.depth[surface.bins(along[deepest : deepest + 1])]
    ends = np.array([top[0], top[0] + um])
    y, x = surface.arc.to_slide(np.full(2, along[deepest]), ends)
    return Line((float(y[0]), float(x[0])), (float(y[1]), float(x[1])), um)


def beneath(section: Section, surface: Surface, cells: Bools) -> tuple[Floats, Floats]:
    """Say where cells lie along the section, and how far below its surface.

    ``cells``: bool (row, column) within the section's box. Returns along the arc, and below the surface to the cell's
    centre: float64 (cell,) in micrometres.
    """
    along, depth = surface.arc.to_section(*section.positions(cells).T)
    return along, depth - surface.depth[surface.bins(along)]


def bounds(section: Section, surface: Surface, growth: Growth) -> tuple[float, float]:
    """Measure again with what is nearly certain, and with all that is possible beside the lesion.

    Returns the lesser and the greater thickness in micrometres; the lesser is 0 where nothing is certain.
    """
    sure = growth.near & (section.chance >= SURE)
    low = thickest(section, surface, sure).um if sure.any() else 0.0
    return low, thickest(section, surface, growth.possible).um


def cut_off(section: Section, surface: Surface, cells: Bools, config: DepthConfig) -> bool:
    """Say whether the section's end, not its surface, cuts a lesion.

    ``cells``: bool (row, column) within the section's box: the lesion. Returns also where the map ends within the
    lesion.
    """
    step = max(section.cell_um)
    inner = np.zeros(cells.shape, bool)
    inner[1:-1, 1:-1] = True
    if np.count_nonzero(cells & ~inner & ~section.rim) * step >= config.edge_um:
        return True
    met = section.rim & section.near(cells)
    if not met.any():
        return False
    along, below = beneath(section, surface, met)
    beyond, facing = surface.beyond(along, BELOW_UM), section.inward(met) @ np.array(surface.arc.down)
    outside = (below > BELOW_UM / 2) & (beyond | ((below > BELOW_UM) & (facing < DOWNWARD)))
    return bool(np.count_nonzero(outside) * step >= config.edge_um)

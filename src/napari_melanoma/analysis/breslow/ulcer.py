"""Ulceration as a map shows it: epidermis missing over a tumour, between places where it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.breslow.thickness import beneath

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.analysis.breslow.config import DepthConfig
    from napari_melanoma.analysis.breslow.sections import Section
    from napari_melanoma.analysis.breslow.surface import Surface


@dataclass(frozen=True)
class Ulcer:
    """Whether there is one, None where the lesion goes on beyond the epidermis; length of its longest bare part.

    ``share`` is how much of the surface right over the lesion has no epidermis, in [0, 1], all bare parts together;
    None where the lesion lies nowhere right below the surface, or goes on beyond the epidermis without an ulcer in
    between: what lies there may be bare, or cut off.
    """

    present: bool | None
    length_um: float
    share: float | None = None


def find_ulcer(section: Section, surface: Surface, cells: NDArray[np.bool_], config: DepthConfig) -> Ulcer:
    """Look for a place where a lesion lies bare.

    Crust and fibrin are background on a map: they are seen by the epidermis that they replace. What a map cannot tell
    is an ulcer from tissue that was lost when the section was made.

    ``cells``: bool (row, column) within the section's box: the lesion.
    """
    along, below = beneath(section, surface, cells)
    along = along[below <= config.cover_um]
    outside = surface.beyond(along, 0.0)
    over = np.zeros(len(surface.depth), bool)
    over[surface.bins(along[~outside])] = True
    bare = over & ~surface.covered
    share = float(bare.sum() / over.sum()) if over.any() else None
    ends = np.flatnonzero(np.diff(np.concatenate([[0], bare, [0]])))
    longest = float((ends[1::2] - ends[::2]).max(initial=0)) * surface.step
    if longest >= config.ulcer_um:
        return Ulcer(True, longest, share)
    cut = float(np.ptp(along[outside])) if outside.any() else 0.0
    return Ulcer(None, 0.0) if cut >= config.ulcer_um else Ulcer(False, 0.0, share)

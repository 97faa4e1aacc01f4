"""Corrections by hand that outlive another threshold: what was made stays as it is, what was removed stays away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.slide_lesions import Region, measure_region, region_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.analysis.lesion_edits import Lesions
    from napari_melanoma.analysis.slide_lesions import LesionConfig, LesionMaps, SlideLesion

HALF = 0.5  # of a lesion: with so much in common it is the same one


def made_by_hand(lesions: Sequence[SlideLesion]) -> Lesions:
    """Give the lesions that somebody drew, merged, split or classed.

    In their order.
    """
    return tuple(one for one in lesions if one.origin != "found")


def removed(before: Sequence[SlideLesion], now: Sequence[SlideLesion], maps: LesionMaps) -> Lesions:
    """Give the lesions that are no longer there: of most of their cells no lesion knows any more.

    Of those before, in their order.
    """
    known, kept = _cells(now, maps), {id(one) for one in now}
    away = (one for one in before if id(one) not in kept)
    return tuple(one for one in away if _share(region_of(one.polygons, maps), known) < HALF)


def keep_edits(
    found: Sequence[SlideLesion],
    corrected: Sequence[SlideLesion],
    gone: Sequence[SlideLesion],
    maps: LesionMaps,
    config: LesionConfig,
) -> Lesions:
    """Lay corrections over lesions that were found at another threshold.

    First those made by hand, as they were, with their numbers. Then those found of which less than half lies in these
    and in what was removed, without what lies in the former.
    """
    hand = made_by_hand(corrected)
    theirs, away = _cells(hand, maps), _cells((*hand, *gone), maps)
    number = max((one.index for one in hand), default=0)
    lesions = list(hand)
    for lesion in found:
        region = region_of(lesion.polygons, maps)
        if _share(region, away) >= HALF:
            continue
        number += 1
        if _share(region, theirs):
            region = replace(region, mask=region.mask & ~theirs[region.slices])
            lesion = measure_region(region, maps, config, index=number, tissue=maps.tissue_cells)
        lesions.append(replace(lesion, index=number))
    return tuple(lesions)


def _cells(lesions: Sequence[SlideLesion], maps: LesionMaps) -> NDArray[np.bool_]:
    """All cells that lie in lesions, bool (row, column) of the maps."""
    cells = np.zeros(maps.shape, bool)
    for lesion in lesions:
        region = region_of(lesion.polygons, maps)
        cells[region.slices] |= region.mask
    return cells


def _share(region: Region, cells: NDArray[np.bool_]) -> float:
    """Share of a region that lies in some cells; of one without any cell, as of a small drawing, nothing."""
    size = int(region.mask.sum())
    return float((region.mask & cells[region.slices]).sum()) / size if size else 0.0

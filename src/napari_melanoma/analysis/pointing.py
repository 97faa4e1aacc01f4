"""The pointing game: whether the strongest place of a heatmap lies on the structure that is known to decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_melanoma.analysis.statistics import Estimate, bootstrap_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Pointed(NamedTuple):
    """Where a heatmap points, and whether that is right.

    ``place`` is the row and column of its maximum, None where it is the same everywhere; ``distance_px`` how far that
    lies from the structure, 0 in it; ``by_chance`` the share of the picture within the tolerance of the structure.
    """

    place: tuple[int, int] | None
    distance_px: float
    hit: bool
    by_chance: float


def pointed(heat: NDArray[np.floating], mask: NDArray[np.bool_], tolerance_px: float = 0.0) -> Pointed:
    """Look where a heatmap points (Zhang et al. 2018, doi:10.1007/s11263-017-1059-x).

    Of several places that are equally strong their middle counts, or of these the one nearest to it.

    ``heat``: float (row, column). ``mask``: bool (row, column) of that shape: the structure, with a pixel of it at
    least. A map that is the same everywhere points nowhere, which is no hit.
    """
    from scipy.ndimage import distance_transform_edt

    if heat.shape != mask.shape or not mask.any():
        raise ValueError(f"pointing needs a mask of {heat.shape} that holds something; found {mask.shape}.")
    away = distance_transform_edt(~mask)
    chance = float((away <= tolerance_px).mean())
    if heat.max() == heat.min():
        return Pointed(None, float("nan"), False, chance)
    strongest = np.argwhere(heat == heat.max())
    nearest = int(np.hypot(*(strongest - strongest.mean(axis=0)).T).argmin())
    row, column = (int(number) for number in strongest[nearest])
    return Pointed((row, column), float(away[row, column]), bool(away[row, column] <= tolerance_px), chance)


class PointingGame(NamedTuple):
    """How often heatmaps point at the structure: ``share`` of the pictures, and how often a blind one would."""

    share: Estimate
    by_chance: float


def pointing_game(found: Sequence[Pointed], groups: Sequence[str]) -> PointingGame:
    """Count hits."""
    share = bootstrap_mean([float(one.hit) for one in found], list(groups), bounds=(0, 1))
    return PointingGame(share, float(np.mean([one.by_chance for one in found])))

"""Where the epidermis of a section lies at the glass: from there a thickness is measured, or it is said why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.masks import components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.analysis.breslow.sections import Section

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.floating[Any]]

LEAST_POINTS = 20
AROUND = 0.35  # mean of the directions towards the tissue: shorter where epidermis lies all around
ROUNDS = 3
BIN_UM, NEAR_TOP_UM = 30.0, 60.0
FACING = 0.3  # cosine between the way that a part of a surface faces and that of the others
NO_EPIDERMIS = "no epidermis was found in section {}: the surface that a thickness starts from is not known"
ALL_AROUND = (
    "no surface was found in section {}: its epidermis lies on all sides or away from the glass, as where a cut is "
    "tangential"
)


@dataclass(frozen=True)
class CoveredRim:
    """Rim of a section over epidermis: ``points`` and ``inward`` (point, 2) as y and x, the latter of length 1.

    ``epidermis`` is bool (row, column) within the section's box: what lies there, with all that hangs together with it.
    """

    points: Floats
    inward: Floats
    epidermis: Bools

    @property
    def agreement(self) -> float:
        """Length of the mean direction: 1 where all points face one way, 0 where they lie all around."""
        return float(np.hypot(*self.inward.mean(axis=0))) if len(self.points) else 0.0


def covered_rim(section: Section) -> CoveredRim:
    """Find where a section's epidermis lies at the glass, what is taken for epidermis at its other sides left out.

    Returns the longest part, and parts that face the same way and have no tissue above them.
    """
    near = section.near(section.epidermis)
    labels, _ = components(near)
    where = section.rim & near
    points, inward, part = section.positions(where), section.inward(where), labels[where]
    sizes = np.bincount(part)
    if len(points) < LEAST_POINTS:
        return CoveredRim(points, inward, section.epidermis)
    kept = np.arange(len(sizes)) == sizes.argmax()
    if np.hypot(*inward[kept[part]].mean(axis=0)) < AROUND:
        return CoveredRim(points, inward, section.epidermis)
    for _ in range(ROUNDS):
        down = inward[kept[part]].mean(axis=0)
        fits = _uppermost(section, points, down) & (inward @ down > FACING * np.hypot(*down))
        kept |= np.bincount(part, fits, len(sizes)) > sizes / 2
    known = np.zeros(labels.max() + 1, bool)
    known[: len(kept)] = kept
    return CoveredRim(points[kept[part]], inward[kept[part]], section.epidermis & known[labels])


def _uppermost(section: Section, points: Floats, down: Floats) -> Bools:
    """Which points of the rim have no tissue above them, where ``down`` points down."""
    rim = section.positions(section.rim)
    y, x = down / np.hypot(*down)
    first = float((rim @ (-x, y)).min())
    bins, own = (((at @ (-x, y) - first) / BIN_UM).astype(np.int64) for at in (rim, points))
    top = np.full(bins.max() + 1, np.inf)
    np.minimum.at(top, bins, rim @ (y, x))
    return points @ (y, x) < top[own] + NEAR_TOP_UM


def why_no_surface(section: Section, rim: CoveredRim) -> str | None:
    """Say why a section has no surface to measure from.

    None where it has one.
    """
    if not section.epidermis.any():
        return NO_EPIDERMIS.format(section.index + 1)
    if len(rim.points) < LEAST_POINTS or rim.agreement < AROUND:
        return ALL_AROUND.format(section.index + 1)
    return None

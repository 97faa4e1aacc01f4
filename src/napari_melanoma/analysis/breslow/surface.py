"""The surface of a section: top of the granular layer, or base of an ulcer, above each place along the section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.breslow.arc import Arc, fit_arc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.analysis.breslow.config import DepthConfig
    from napari_melanoma.analysis.breslow.rim import CoveredRim
    from napari_melanoma.analysis.breslow.sections import Section

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.floating[Any]]

LIFTED = 0.3  # of its width: so far beyond a lesion the skin may be lifted by it
OVER_LESION = 0.02  # say of the surface over a lesion about which way is down
BESIDE_LESION = 0.1  # of that right beside it
MOST_BALANCE = 5.0  # a side with little skin counts for this many times as much
SMOOTH_UM = 15.0  # along the surface


@dataclass(frozen=True)
class Surface:
    """Depth of the surface below an arc in micrometres, in steps along it.

    ``depth`` (bin,) is that of the epidermis's upper border where ``covered``, else of the bare tissue. The first and
    the last bin are those where epidermis ends; beyond them it goes on as there.
    """

    arc: Arc
    start: float
    step: float
    depth: Floats
    covered: Bools
    epidermis_um: float

    def bins(self, along: Floats) -> NDArray[np.int64]:
        """Give the bin of each position.

        ``along``: micrometres along the arc. Returns int64, same shape: beyond the ends the last one.
        """
        return np.clip(((along - self.start) / self.step).astype(np.int64), 0, len(self.depth) - 1)

    def beyond(self, along: Floats, margin_um: float) -> Bools:
        """Say which positions lie beyond the epidermis.

        ``along``: micrometres along the arc. Returns bool, same shape.
        """
        end = self.start + self.step * len(self.depth)
        return (along < self.start + margin_um) | (along > end - margin_um)


def find_surface(section: Section, rim: CoveredRim, lesion: Bools, config: DepthConfig) -> Surface:
    """Find the surface over a lesion, and which way is down: by the skin beside it.

    ``lesion``: bool (row, column) within the section's box: its cells. Of the whole section, along the arc through the
    skin beside the lesion.
    """
    points, inward = rim.points, rim.inward
    arc = fit_arc(points, inward)
    along, _ = arc.to_section(*points.T)
    first, last = np.percentile(arc.to_section(*section.positions(lesion).T)[0], (1, 99))
    arc = fit_arc(points, inward, _say(along, first, last, 1000 * config.window_mm))
    return _profile(section, rim, arc, config)


def _say(along: Floats, first: float, last: float, window_um: float) -> Floats:
    """Say of each place of the surface about which way is down: of the skin beside a lesion, alike on both sides."""
    beside = np.maximum(first - along, along - last)
    lifted = max(LIFTED * (last - first), 1.0)
    weights = np.clip(beside / lifted, BESIDE_LESION, 1.0) * (beside < lifted + window_um)
    weights[beside < 0] = OVER_LESION
    sides = [(along < first), (along > last)]
    sums = [max(float(weights[side].sum()), 1.0) for side in sides]
    for side, own, other in zip(sides, sums, sums[::-1], strict=True):
        weights[side] *= np.clip(other / own, 1.0, MOST_BALANCE)
    return weights


def _profile(section: Section, rim: CoveredRim, arc: Arc, config: DepthConfig) -> Surface:
    """Upper border of the tissue, and of the epidermis where that lies at it, in steps along an arc."""
    step = 1.5 * max(section.cell_um)
    half = half_cell(section.cell_um, arc)
    rim_along, rim_depth = arc.to_section(*section.positions(section.rim).T)
    along, depth = arc.to_section(*section.positions(rim.epidermis).T)
    start = float(min(rim_along.min(), along.min()))
    count = int((max(rim_along.max(), along.max()) - start) / step) + 1
    top = _uppermost(rim_along, rim_depth, start, step, count)
    epidermis = _uppermost(along, depth, start, step, count)
    covered = epidermis <= np.where(np.isfinite(top), top, np.inf) + config.cover_um
    covered &= np.isfinite(epidermis)
    known = np.where(covered, epidermis, top)
    first, last = (int(index) for index in np.flatnonzero(covered)[[0, -1]])
    known, covered = known[first : last + 1], covered[first : last + 1]
    missing = ~np.isfinite(known)
    known[missing] = np.interp(np.flatnonzero(missing), np.flatnonzero(~missing), known[~missing])
    mean_um = float(len(along) * section.cell_um2 / (step * np.count_nonzero(covered)))
    return Surface(arc, start + first * step, step, _median(known, step) - half, covered, mean_um)


def half_cell(cell_um: tuple[float, float], arc: Arc) -> float:
    """Say how far a cell reaches up and down from its centre.

    ``cell_um``: height and width in micrometres. Micrometres.
    """
    return 0.5 * (abs(arc.down[0]) * cell_um[0] + abs(arc.down[1]) * cell_um[1])


def _uppermost(along: Floats, depth: Floats, start: float, step: float, count: int) -> Floats:
    """Least depth in each bin; infinite where there is nothing."""
    least = np.full(count, np.inf)
    np.minimum.at(least, ((along - start) / step).astype(np.int64), depth)
    return least


def _median(values: Floats, step: float) -> Floats:
    """Median over neighbouring bins."""
    from scipy import ndimage

    bins = max(3, 2 * round(SMOOTH_UM / 2 / step) + 1)
    smooth: Floats = ndimage.median_filter(values, bins, mode="nearest")
    return smooth

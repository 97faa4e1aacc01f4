"""The magic wand for regions: find the connected area whose color is similar to that of a clicked point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.imaging.color import to_lab
from napari_melanoma.slides.cell_polygons import simplified_cell_polygons

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.map_placement import MapPlacement
    from napari_melanoma.core.polygons import Polygon

TOLERANCES = (1.0, 100.0)  # range of color differences in CIELAB; 2 is just visible, black and white differ by 100
DEFAULT_TOLERANCE = 12.0
SMOOTHING_CELLS = 1.0  # sigma of the smoothing of colors against the noise of single pixels
SMALLEST_HOLE_CELLS = 64  # smaller holes are filled
SMALLEST_AREA_CELLS = 4


@dataclass(frozen=True)
class ChannelDisplay:
    """How a fluorescence channel is displayed.

    ``limits``: contrast limits. ``colors``: float (step, channel=3), the colormap from the lower to the upper limit, 0
    to 1.
    """

    limits: tuple[float, float]
    gamma: float
    colors: NDArray[np.floating]


def merge_channels(pixels: NDArray, displays: Sequence[ChannelDisplay | None]) -> NDArray[np.uint8]:
    """Merge fluorescence channels to the displayed colors.

    ``pixels``: (row, column, channel). ``displays``: of each channel; None for hidden ones. Returns uint8 (row, column,
    channel=3).
    """
    total = np.zeros((*pixels.shape[:2], 3), np.float32)
    for channel, display in enumerate(displays):
        if display is not None:
            low, high = display.limits
            share = np.clip((pixels[..., channel].astype(np.float32) - low) / max(high - low, 1e-9), 0, 1)
            steps = np.round(share**display.gamma * (len(display.colors) - 1)).astype(np.intp)
            total += display.colors.astype(np.float32)[steps]
    return np.round(np.clip(total, 0, 1) * 255).astype(np.uint8)


class ColorFlood:
    """The area of similar color around a point, for any tolerance.

    ``rgb``: uint8 (row, column, channel=3), the displayed colors. ``placement``: their position on the slide.
    ``point``: (row, column) on the slide, in pixels of the finest level. ``reach``: largest distance from the point, in
    the unit of ``pixel_um``, the height and width of a pixel of the finest level.
    """

    def __init__(
        self,
        rgb: NDArray[np.uint8],
        placement: MapPlacement,
        point: tuple[float, float],
        reach: float,
        pixel_um: tuple[float, float],
    ) -> None:
        from scipy import ndimage

        cell = np.floor(placement.to_map(point)).astype(int)
        if (cell < 0).any() or (cell >= rgb.shape[:2]).any():
            raise InputError("the point lies outside the slide. Click on the slide.")
        self.placement = placement
        self._seed = int(cell[0]), int(cell[1])
        lab = to_lab(rgb)
        smooth = ndimage.gaussian_filter(lab, (SMOOTHING_CELLS, SMOOTHING_CELLS, 0), truncate=2.0)
        seed = smooth[self._seed]
        # Smoothed colors close the gaps that noise leaves, and unsmoothed ones let the area reach its border.
        self._difference = np.sqrt(np.minimum(((lab - seed) ** 2).sum(axis=2), ((smooth - seed) ** 2).sum(axis=2)))
        step = placement.step_y * pixel_um[0], placement.step_x * pixel_um[1]
        rows, columns = (np.arange(count) - at for count, at in zip(rgb.shape, self._seed, strict=False))
        self._difference[np.hypot(rows[:, None] * step[0], columns[None] * step[1]) > reach] = np.inf

    def mask(self, tolerance: float) -> NDArray[np.bool_]:
        """Return the connected area, bool (row, column), without small holes.

        ``tolerance``: largest difference of color in CIELAB.
        """
        from scipy import ndimage

        parts, _ = ndimage.label(self._difference <= tolerance)
        area = parts == parts[self._seed]
        others, count = ndimage.label(~area)
        if count:
            is_small = np.bincount(others.ravel()) < SMALLEST_HOLE_CELLS
            at_border = np.unique(np.concatenate([others[0], others[-1], others[:, 0], others[:, -1]]))
            is_small[at_border] = False
            area |= is_small[others]
        return area

    def polygons(self, tolerance: float) -> tuple[Polygon, ...]:
        """Return the area with simplified outlines, in pixels of the finest level; empty for fewer than four cells."""
        mask = self.mask(tolerance)
        return () if mask.sum() < SMALLEST_AREA_CELLS else simplified_cell_polygons(mask, self.placement)

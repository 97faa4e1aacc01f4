"""Lengths and areas of what somebody drew on a slide to measure it, in mm where the slide has a scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.polygon_repair import untangled
from napari_melanoma.core.polygons import Polygon

if TYPE_CHECKING:
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.io.slide_notes import Measure

MICRO_MM, MICRO_MM2 = 0.09995, 0.0009995  # below, micrometres are easier to read; rounding decides what is 0.1


def measured(measure: Measure, pixel_size: PixelSize | None) -> float:
    """Measure a line or an area.

    ``measure``: with its vertices in pixels of the finest level. ``pixel_size``: of these pixels; None without a scale.
    Length in mm or area in square millimetres, in pixels without a scale. An outline that crosses itself encloses what
    it winds around.
    """
    mm = (1.0, 1.0) if pixel_size is None else (pixel_size.y_um / 1000, pixel_size.x_um / 1000)
    if measure.kind == "line":
        steps = np.diff(np.array(measure.points, np.float64) * mm, axis=0)
        return float(np.hypot(steps[:, 0], steps[:, 1]).sum())
    return sum(part.area for part in untangled(Polygon(measure.points))) * mm[0] * mm[1]


def said_measure(measure: Measure, pixel_size: PixelSize | None) -> str:
    """Say a length or an area with its unit.

    ``measure``: with its vertices in pixels of the finest level. ``pixel_size``: of these pixels; None without a scale.
    Such as ``1.34 mm``, ``12.1 µm`` or ``0.0812 mm²``.
    """
    value = measured(measure, pixel_size)
    if pixel_size is None:
        return f"{value:,.0f} px" + ("²" if measure.kind == "area" else "")
    if measure.kind == "area":
        return f"{value:.3g} mm²" if value >= MICRO_MM2 else f"{value * 1e6:.3g} µm²"
    return f"{value:.3g} mm" if value >= MICRO_MM else f"{value * 1000:.3g} µm"

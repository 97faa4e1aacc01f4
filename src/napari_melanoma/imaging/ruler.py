"""Find a millimeter scale in a photograph, and read the size of a pixel from its ticks.

A scale is a straight row of ticks at equal distances, on one side of a line or without one, of which every second,
fifth or tenth is longer. Hairs, frames, stickers and ink are none: without longer ticks there is no proposal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.imaging.modality import MACROSCOPIC_FROM, recognize_modality
from napari_melanoma.imaging.ruler_ticks import TickPattern, find_tick_pattern

__all__ = ["Ruler", "find_ruler"]

MIN_FIELD_MM, MAX_FIELD_MM = 6.0, 400.0  # plausible widths of the field of a photograph
MAX_DERMOSCOPIC_MM = 45.0  # widest field of a dermatoscope
SCALE_TICKS = 100  # of the scale of many dermatoscopes, which is 10 mm long; other rulers are usually longer


@dataclass(frozen=True)
class Ruler:
    """A millimeter scale in a photograph; a proposal, until a reader has accepted it.

    ``start``, ``end``: first and last tick at a whole millimeter that was found, (row, column) in pixels of the
    photograph, at the feet of the ticks; whole numbers are pixel centers. ``millimeters``: length between them.
    ``ticks``: float64 (n, 2), feet of the ticks from start to end, in their order. ``tick_mm``: distance of two ticks.
    ``confidence``: 0 to 1.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    millimeters: float
    ticks: NDArray[np.float64] = field(compare=False, repr=False)
    tick_mm: float
    confidence: float

    @property
    def length_px(self) -> float:
        """Length from start to end in pixels."""
        return math.dist(self.start, self.end)

    @property
    def px_per_mm(self) -> float:
        """Pixels per millimeter."""
        return self.length_px / self.millimeters

    @property
    def pixel_size(self) -> PixelSize:
        """The size of a pixel, which is square; its origin is ``ruler``."""
        return PixelSize.from_ruler(self.start, self.end, self.millimeters)

    @property
    def pixel_size_um(self) -> tuple[float, float]:
        """Micrometers per pixel, (y, x)."""
        return self.pixel_size.y_um, self.pixel_size.x_um

    def to_json(self) -> dict[str, Any]:
        """Describe the ruler in a file: its ends as (row, column) in pixels, its length, and how sure it is."""
        return {
            "start": [round(value, 2) for value in self.start],
            "end": [round(value, 2) for value in self.end],
            "millimeters": self.millimeters,
            "confidence": round(self.confidence, 3),
        }


def find_ruler(rgb: NDArray[np.uint8], modality: str | None = None) -> Ruler | None:
    """Find a millimeter scale in a photograph.

    Parameters
    ----------
    rgb
        uint8 (row, column, channel=3), sRGB, of any size; pixels are square.
    modality
        ``dermoscopic`` or ``macroscopic`` if stated; by default it is recognized. It decides whether the longest ticks
        are at each millimeter or at each centimeter, if both would give a plausible width of the field.

    Returns
    -------
    The scale, or None if no scale is evident: its ticks are not resolved, none of them is longer, or the field would
    have an implausible size.
    """
    pattern = find_tick_pattern(rgb)
    tick_mm = None if pattern is None else _find_tick_mm(rgb, pattern, modality)
    return None if pattern is None or tick_mm is None else _to_ruler(pattern, tick_mm)


def _find_tick_mm(rgb: NDArray[np.uint8], pattern: TickPattern, modality: str | None) -> float | None:
    """Return the distance of two of the shortest ticks of a pattern, 1 mm or 0.1 mm; None if it is ambiguous.

    Both have the same longer ticks (5 and 10 mm, or 0.5 and 1 mm); the width of the field tells them apart, if need be
    with the modality.
    """
    field = max(rgb.shape[:2]) / pattern.unit_px  # in units of the shortest ticks, which may be too fine to be seen
    fine = MIN_FIELD_MM <= field / 10 <= MAX_DERMOSCOPIC_MM
    coarse = MIN_FIELD_MM <= field <= MAX_FIELD_MM
    if fine and coarse:
        estimate = recognize_modality(rgb)
        kind = modality or (estimate.kind if estimate.is_certain or pattern.count == SCALE_TICKS else None)
        fine = kind == "dermoscopic"
        coarse = kind == "macroscopic" and bool(modality or estimate.probability >= MACROSCOPIC_FROM)
    if fine == coarse:
        return None
    return 0.1 if fine else 1.0


def _to_ruler(pattern: TickPattern, unit_mm: float) -> Ruler:
    """Describe a pattern in millimeters, from its first to its last tick at a whole millimeter."""
    per_mm = round(1 / unit_mm)  # units in a millimeter
    anchor = pattern.anchor % per_mm  # a long tick, which is at a whole millimeter
    first = pattern.first + (anchor - pattern.first) % per_mm
    last = pattern.last - (pattern.last - anchor) % per_mm
    ticks = np.array([pattern.point_at(unit) for unit in range(first, last + 1, pattern.step)])
    start, end = (float(ticks[0, 0]), float(ticks[0, 1])), (float(ticks[-1, 0]), float(ticks[-1, 1]))
    return Ruler(start, end, (last - first) * unit_mm, ticks, pattern.step * unit_mm, pattern.confidence)

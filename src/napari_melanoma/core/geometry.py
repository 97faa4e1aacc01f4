"""Pixel size and its origin, and boxes of whole pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

from napari_melanoma.core.errors import ScaleMissing

# Origin of a pixel size: DICOM header, other image file, line drawn by the user, value given by the user, phantom.
ScaleSource = Literal["dicom", "file", "ruler", "given", "phantom"]


@dataclass(frozen=True)
class PixelSize:
    """Micrometers per pixel along the rows' axis (``y_um``) and the columns' axis (``x_um``), and their origin."""

    y_um: float
    x_um: float
    source: ScaleSource = "given"

    def __post_init__(self) -> None:
        """Raise for sizes that are not positive numbers."""
        for size in (self.y_um, self.x_um):
            if not (math.isfinite(size) and size > 0):
                raise ScaleMissing(
                    f"a pixel size is a positive number of micrometers, not {size}. "
                    "Draw the ruler over a known length, or leave the scale unknown."
                )

    def is_close(self, other: PixelSize) -> bool:
        """Whether two sizes are equal up to rounding; their origins are not compared."""
        rows = math.isclose(self.y_um, other.y_um, rel_tol=1e-6)
        return rows and math.isclose(self.x_um, other.x_um, rel_tol=1e-6)

    @classmethod
    def from_ruler(
        cls, start: tuple[float, float], end: tuple[float, float], length_mm: float, aspect: float = 1.0
    ) -> Self:
        """Calculate the pixel size from a line of known length.

        ``start``, ``end``: the ends of the line in pixels, (row, column). ``aspect``: height of a pixel divided by its
        width.
        """
        length_px = math.hypot((end[0] - start[0]) * aspect, end[1] - start[1])
        if length_px == 0 or not length_mm > 0:
            raise ScaleMissing(
                f"the ruler needs a line longer than 0 pixels (found {length_px:.1f}) and a length above 0 mm "
                f"(found {length_mm}). Draw the line over a known length and type that length."
            )
        um = 1000.0 * length_mm / length_px
        return cls(um * aspect, um, "ruler")

    @property
    def mm(self) -> tuple[float, float]:
        """Millimeters per pixel, (y, x)."""
        return self.y_um / 1000.0, self.x_um / 1000.0

    @property
    def pixel_area_mm2(self) -> float:
        """Area of one pixel in square millimeters."""
        return self.y_um * self.x_um / 1e6


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels: first row and column, height and width; the end is exclusive."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in an array (row, column, ...)."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

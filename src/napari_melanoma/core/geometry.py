"""Values that tie pixels to the world: the pixel size, with where it comes from, and boxes of whole pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

from napari_melanoma.core.errors import ScaleMissing

ScaleSource = Literal["dicom", "file", "ruler", "given", "phantom"]


@dataclass(frozen=True)
class PixelSize:
    """Micrometres per pixel along the rows' axis (``y_um``) and the columns' axis (``x_um``), and who says so."""

    y_um: float
    x_um: float
    source: ScaleSource = "given"

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be one."""
        for size in (self.y_um, self.x_um):
            if not (math.isfinite(size) and size > 0):
                raise ScaleMissing(
                    f"a pixel size is a positive number of micrometres, not {size}. "
                    "Draw the ruler over a known length, or leave the scale unknown."
                )

    def is_close(self, other: PixelSize) -> bool:
        """Say whether two sizes are the same, whoever says so, apart from the last digits."""
        rows = math.isclose(self.y_um, other.y_um, rel_tol=1e-6)
        return rows and math.isclose(self.x_um, other.x_um, rel_tol=1e-6)

    @classmethod
    def from_ruler(
        cls, start: tuple[float, float], end: tuple[float, float], length_mm: float, aspect: float = 1.0
    ) -> Self:
        """Pixel size of an image in which a line of known length was drawn.

        ``start``, ``end``: the ends of the line in pixels, (row, column). ``aspect``: height of a pixel over its width,
        where the file states one; square by default.
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
        """Millimetres per pixel, (y, x)."""
        return self.y_um / 1000.0, self.x_um / 1000.0

    @property
    def pixel_area_mm2(self) -> float:
        """Area of one pixel in square millimetres."""
        return self.y_um * self.x_um / 1e6


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels: first row and column, height and width; the far edge is exclusive."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in an array (row, column, ...)."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

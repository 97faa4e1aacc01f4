"""Pixel size and its origin, boxes of whole pixels, and the placement of a coarse map (tiles, heatmap) on its slide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.formatting import format_significant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

# Origin of a pixel size: DICOM header, other image file, line drawn by the user or ruler found in a photograph, ruler
# found in a photograph and accepted by the user, value given by the user, phantom.
ScaleSource = Literal["dicom", "file", "ruler", "accepted ruler", "given", "phantom"]
UM_PER_MM = 1000.0
SLIDE_UM = (0.05, 20.0)  # plausible pixel sizes of a slide, from 200x down to 0.5x
MAX_ASPECT = 4.0  # greatest plausible ratio of the height and the width of a pixel of a slide


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
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the pixel size of a file that ``to_json`` has described; an unknown origin counts as ``given``."""
        known: tuple[ScaleSource, ...] = get_args(ScaleSource)
        source: ScaleSource = next((one for one in known if one == values.get("source")), "given")
        return cls(float(values["y"]), float(values["x"]), source)

    def to_json(self) -> dict[str, Any]:
        """Describe the pixel size in a file, in micrometers."""
        return {"y": self.y_um, "x": self.x_um, "source": self.source}

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


def format_scale(y_um: float, x_um: float, digits: int = 4) -> str:
    """Format a pixel size: its side, or its width and height if they differ, in the order of all sizes of images.

    ``digits``: significant ones.
    """
    width, height = format_significant(x_um, digits), format_significant(y_um, digits)
    return width if width == height else f"{width} x {height}"


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

    def united(self, other: Box) -> Box:
        top, left = min(self.top, other.top), min(self.left, other.left)
        bottom = max(self.top + self.height, other.top + other.height)
        right = max(self.left + self.width, other.left + other.width)
        return Box(top, left, bottom - top, right - left)


@dataclass(frozen=True)
class MapPlacement:
    """Corner and step of a map on its slide.

    ``top``, ``left``: outer corner of the map's first cell, in pixels of the finest level. ``step_y``, ``step_x``:
    height and width of a cell, in pixels of the finest level.
    """

    top: float
    left: float
    step_y: float
    step_x: float
    pixel_size: PixelSize | None = None

    @classmethod
    def from_thumbnail(
        cls, shape: tuple[int, ...], slide: tuple[int, int], pixel_size: PixelSize | None = None
    ) -> MapPlacement:
        """Place an image of the whole slide.

        ``slide``: height and width of the slide's finest level, in pixels. Rows and columns are scaled independently.
        """
        return cls(0.0, 0.0, slide[0] / shape[0], slide[1] / shape[1], pixel_size)

    def to_slide(self, cells: ArrayLike) -> NDArray[np.float64]:
        """Convert points on the map to points on the slide.

        ``cells``: (..., 2) as (row, column) in cells, counted from the outer corner of the first: its center is (0.5,
        0.5). Returns float64, same shape, in pixels of the finest level.
        """
        import numpy as np  # not above: the command line starts without it

        return np.asarray(cells, np.float64) * (self.step_y, self.step_x) + (self.top, self.left)

    def to_map(self, points: ArrayLike) -> NDArray[np.float64]:
        """Convert points on the slide to points on the map: the inverse of ``to_slide``.

        ``points``: (..., 2) as (row, column) in pixels of the finest level. Returns float64, same shape, in cells.
        """
        import numpy as np

        return (np.asarray(points, np.float64) - (self.top, self.left)) / (self.step_y, self.step_x)

    @property
    def cell_um(self) -> tuple[float, float] | None:
        """Height and width of a cell in micrometers; None without a scale."""
        if self.pixel_size is None:
            return None
        return self.step_y * self.pixel_size.y_um, self.step_x * self.pixel_size.x_um

    @property
    def cell_area_px(self) -> float:
        """Area of a cell in pixels of the finest level."""
        return self.step_y * self.step_x

    @property
    def cell_area_mm2(self) -> float | None:
        """Area of a cell in square millimeters; None without a scale."""
        return None if self.pixel_size is None else self.cell_area_px * self.pixel_size.pixel_area_mm2

    @property
    def scale(self) -> tuple[float, float]:
        """Scale of a napari layer of the map: micrometers per cell, or slide pixels without a scale."""
        return self.cell_um or (self.step_y, self.step_x)

    @property
    def translate(self) -> tuple[float, float]:
        """Position of a napari layer of the map: the center of its first cell, in the unit of ``scale``.

        The slide's own layer has the center of its first pixel at (0, 0).
        """
        y_unit, x_unit = (self.pixel_size.y_um, self.pixel_size.x_um) if self.pixel_size else (1.0, 1.0)
        return (self.top + self.step_y / 2 - 0.5) * y_unit, (self.left + self.step_x / 2 - 0.5) * x_unit

"""The scale of a map, refused where it is missing or cannot be true: a thickness is worth what its scale is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.errors import ScaleMissing

if TYPE_CHECKING:
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.core.placement import MapPlace

UM = 1000.0  # in a millimetre
PLAUSIBLE_UM = (0.05, 20.0)  # a pixel of a slide at 200 times and at half a time
LEAST_MAP_MM, LARGEST_MAP_MM = 0.05, 200.0  # a slide is 75 mm long, the largest ones 150
ASPECT = 4.0
MISSING = (
    "pixel size is missing: a thickness in mm needs micrometres per pixel, and this slide carries none. Set "
    "it under Scale in the Slide dock (command line: --mpp)."
)


def checked_cell_um(place: MapPlace, shape: tuple[int, ...]) -> tuple[float, float]:
    """Give the size of a map's cells.

    Height and width in micrometres.
    """
    size, cell = place.pixel_size, place.cell_um
    if size is None or cell is None:
        raise ScaleMissing(MISSING)
    sides = shape[0] * cell[0] / UM, shape[1] * cell[1] / UM
    if why := why_untrue(size, sides) or ("" if max(sides) >= LEAST_MAP_MM else untrue(size, sides)):
        raise ScaleMissing(f"{why} No thickness was measured.")
    return cell


def why_untrue(size: PixelSize, sides_mm: tuple[float, float]) -> str:
    """Say why a pixel size cannot be that of a slide.

    What is wrong and what to do; empty where nothing is.
    """
    low, high = PLAUSIBLE_UM
    good = low <= min(size.y_um, size.x_um) and max(size.y_um, size.x_um) <= high
    even = max(size.y_um / size.x_um, size.x_um / size.y_um) <= ASPECT
    return "" if good and even and max(sides_mm) <= LARGEST_MAP_MM else untrue(size, sides_mm)


def untrue(size: PixelSize, sides_mm: tuple[float, float]) -> str:
    """Say that a pixel size cannot be true."""
    low, high = PLAUSIBLE_UM
    return (
        f"a pixel size of {size.y_um:g} x {size.x_um:g} micrometres cannot be true ({size.source}): the slide, or what "
        f"is analysed of it, would be {sides_mm[0]:.4g} x {sides_mm[1]:.4g} mm. Slides have {low:g} to {high:g}, about "
        "alike both ways: a factor of 1000 is one unit taken for another. Set the true one under Scale in the "
        "Slide dock (command line: --mpp)."
    )

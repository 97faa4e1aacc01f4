"""Whether what a file says of its scale can be believed: micrometres per pixel, and the objective's magnification."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from napari_melanoma.core.geometry import PixelSize

BELIEVED_UM = (0.02, 20.0)  # from oil immersion to the coarsest overview that anybody scans
UNIT_UM = {
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "in": 25400.0,
    "inch": 25400.0,
}
EQUAL_SIDES = 0.01
SAME_SCALE = 0.05
# Scanners with a 20x objective have 0.5 um, with 40x 0.25: ten by the magnification. An inch taken for a centimetre, or
# the other way round, is off by 2.54; a level or a binning taken for another by 2.
UM_BY_MAGNIFICATION = (4.4, 22.0)
USUAL_BY_MAGNIFICATION = (6.5, 15.5)
OBJECTIVES = (1.25, 2.5, 5, 10, 20, 40, 63, 100)

# The finest photographs of cells have 0.02, and no model can be used at more than 6: that of the coarsest expects 4.
EXPECTED_UM, COARSE_UM = (0.25, 4.0), 6.0
ADVICE = "Set it under Scale in the Slide dock (command line: --mpp)."
OVERVIEW = (
    f"Models expect {EXPECTED_UM[0]:g} to {EXPECTED_UM[1]:g} um per pixel, at which cells can be seen. If this is an "
    "overview image, open the slide at its full resolution. If the file is wrong, set the true scale under Scale in "
    "the Slide dock (command line: --mpp)."
)
NOT_STATED = f"no pixel size is stated, so lengths stay in pixels. {ADVICE}"


@dataclass(frozen=True)
class Scale:
    """The pixel size that is believed, the magnification, and what a user should know about them."""

    pixel_size: PixelSize | None = None
    magnification: float | None = None
    warnings: tuple[str, ...] = ()


def judged(
    y_um: float | None,
    x_um: float | None,
    magnification: float | None = None,
    origin: str = "file",
    *,
    fine_camera: bool = False,
) -> Scale:
    """Judge what a file says of its scale.

    ``y_um``, ``x_um``: micrometres per pixel along rows' and columns' axis; None where the file does not say.
    ``fine_camera``: whether the scanner is of a make whose cameras have pixels so small that 20x is finer than 0.3
    micrometres. Without a pixel size where there is none or one that no slide has; with a warning then, and where the
    two sides differ by more than 1 % or size and magnification contradict each other.
    """
    if y_um is None or x_um is None:
        return Scale(None, magnification, (NOT_STATED,))
    low, high = BELIEVED_UM
    if not all(math.isfinite(size) and low <= size <= high for size in (y_um, x_um)):
        said = f"the {origin} says {x_um:.4g} x {y_um:.4g} um per pixel"
        why = f"{said}, but slides have {low} to {high:.0f}: as the dots of a print, or in a wrong unit. It is not used"
        advice = OVERVIEW if math.isfinite(x_um) and x_um > high else ADVICE
        return Scale(None, magnification, (f"{why}, and lengths stay in pixels. {advice}",))
    size = PixelSize(y_um, x_um, "file")
    doubts = (*_not_square(size), *_not_as_magnified(size, magnification, fine_camera), *_too_coarse(size, origin))
    return Scale(size, magnification, doubts)


def with_given(scale: Scale, given: PixelSize | None) -> Scale:
    """Let the user's own pixel size win over that of the file.

    With a warning where the two contradict each other.
    """
    if given is None:
        return scale
    found = scale.pixel_size
    warnings: tuple[str, ...] = ()
    if found and max(abs(given.y_um / found.y_um - 1), abs(given.x_um / found.x_um - 1)) > SAME_SCALE:
        warnings = (
            f"the pixel size was given as {given.x_um:.4g} x {given.y_um:.4g} um, but the file says "
            f"{found.x_um:.4g} x {found.y_um:.4g}. What was given is used.",
        )
    return replace(scale, pixel_size=given, warnings=warnings)


def _not_square(size: PixelSize) -> tuple[str, ...]:
    """What is strange about a pixel that is wider than high, or the other way round."""
    if abs(size.y_um / size.x_um - 1) <= EQUAL_SIDES:
        return ()
    return (
        f"pixels are not square: {size.x_um:.4g} um wide and {size.y_um:.4g} um high. Both are used; set the size in "
        "the Slide dock under Scale (command line: --mpp) if one of them is wrong.",
    )


def _too_coarse(size: PixelSize, origin: str) -> tuple[str, ...]:
    """What is strange about a pixel that is larger than a cell."""
    coarsest = max(size.y_um, size.x_um)
    if coarsest <= COARSE_UM:
        return ()
    return (
        f"no model can be used at this scale: the {origin} says {coarsest:.4g} um per pixel, so that a cell is about "
        f"as large as a pixel. {OVERVIEW}",
    )


def _not_as_magnified(size: PixelSize, magnification: float | None, fine_camera: bool) -> tuple[str, ...]:
    """What is strange about a pixel size that is used all the same, as the objective would have another."""
    if not magnification:
        return ()
    found = magnification * math.sqrt(size.y_um * size.x_um)
    low, high = UM_BY_MAGNIFICATION
    least, most = USUAL_BY_MAGNIFICATION
    about = f"(about {10 / magnification:.2g} um were expected)"
    if not low <= found <= high:
        return (
            f"{size.x_um:.4g} um per pixel does not go with an objective of {magnification:g}x {about}: its unit may "
            "be wrong. Check it against a known length.",
        )
    if least <= found <= most or (fine_camera and found < least):
        return ()
    usual = min(OBJECTIVES, key=lambda power: abs(math.log(power * size.x_um / 10)))
    return (
        f"{size.x_um:.4g} um per pixel is usual for {usual:g}x, but the file says an objective of "
        f"{magnification:g}x {about}: the camera may have small pixels or joined ones, or one of the two is wrong. "
        "Check it against a known length.",
    )

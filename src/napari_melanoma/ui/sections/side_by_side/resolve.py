"""What the Side by side section states, as pure functions of the views and of the registration of the slides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.imaging.registration import Registration

HINT = "Open two slides to compare them side by side."
SHOW_HINT = "Press show to see the other slide beside this one."
ALIGN = (
    "Register the slides automatically or by landmarks, or center the same position in both views and press align here."
)
LANDMARKS = "Click the same structure in both views, in the same order: {} of at least 2. Press landmarks again to end."
REGISTERING = "Registering the slides ..."
NO_SCALE = "The views can be linked only if both slides have a scale, or neither."


def resolve_hint(others: int, *, is_open: bool, can_link: bool, alignment: str) -> str:
    """Return what the section states.

    ``others``: number of other open slides. ``can_link``: both slides have a scale, or neither. ``alignment``: its
    description, empty if there is none.
    """
    if not is_open:
        return SHOW_HINT if others else HINT
    return (alignment or ALIGN) if can_link else NO_SCALE


def describe_registration(registration: Registration, unit: str) -> str:
    """Describe a registration with its error; ``unit``: that of positions."""
    changes = [f"turned by {round(registration.rotation)}°"]
    changes += ["mirrored"] if registration.is_flipped else []
    changes += [f"scaled by {registration.scale:.3g}"] if abs(registration.scale - 1) > 0.001 else []
    source = f"{registration.count} landmarks"
    if registration.method == "images":
        source = f"{registration.count} of {registration.tried} parts of the tissue"
    error = "its error is known from three landmarks on"
    if registration.error is not None:
        error = f"remaining error {registration.error:.2g} {unit}"
    return f"Registered by {source}: {', '.join(changes)}; {error}."


def describe_saved(error: float | None, unit: str) -> str:
    """Describe an alignment that was saved with the slide."""
    remaining = "" if error is None else f"; remaining error {error:.2g} {unit}"
    return f"Registered earlier{remaining}. Press reset to discard it."


def describe_shift(shift: NDArray[np.float64], unit: str) -> str:
    """Describe an alignment by hand; ``shift``: of the second slide, (y, x)."""
    return f"Aligned: the second slide was shifted by {shift[1]:.4g}, {shift[0]:.4g} {unit} (x, y)."


def shift_to_centers(
    matrix: NDArray[np.float64], first_um: tuple[float, float], second_um: tuple[float, float]
) -> NDArray[np.float64]:
    """Convert a matrix for positions that count from the outer corners to one that counts from pixel centers.

    ``first_um``, ``second_um``: height and width of a pixel of each slide.
    """
    shifted = matrix.copy()
    shifted[:2, 2] += shifted[:2, :2] @ np.divide(second_um, 2) - np.divide(first_um, 2)
    return shifted

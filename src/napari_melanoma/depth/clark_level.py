"""Estimate the Clark level from the distance of the deepest cells to the epidermis."""

from __future__ import annotations

from dataclasses import dataclass

# Depths below the epidermis that approximate layers: maps do not show the border of papillary and reticular dermis.
PAPILLARY_UM, RETICULAR_UM = 170.0, 250.0
FAT_UM = 1300.0  # deeper cells may lie in the fat, which the map does not separate from the dermis


@dataclass(frozen=True)
class ClarkEstimate:
    """Clark level 2 to 4, or None; ``reason`` is the basis of the estimate, or why there is none."""

    level: int | None
    reason: str


def estimate_clark_level(below_um: float, at_least: bool) -> ClarkEstimate:
    """Estimate the Clark level from the distance of the deepest cells to the epidermis.

    ``below_um``: micrometers below the lower border of the epidermis. ``at_least``: the lesion is incomplete. Level 1,
    a melanoma in situ, and level 5, which requires the border of the fat, are never estimated.
    """
    distance = f"{below_um / 1000:.2f} mm below the epidermis"
    if at_least:
        return ClarkEstimate(None, f"{distance} or more: the lesion is incomplete")
    if below_um > FAT_UM:
        return ClarkEstimate(None, f"{distance}: possibly in the fat, which the map does not separate from the dermis")
    level = 4 if below_um > RETICULAR_UM else 3 if below_um > PAPILLARY_UM else 2
    return ClarkEstimate(level, f"{distance}; estimated from this distance only")

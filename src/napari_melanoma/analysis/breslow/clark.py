"""An estimate of the Clark level: which layer of the skin the deepest cells reach, as far as that can be told."""

from __future__ import annotations

from dataclasses import dataclass

# Depths below the epidermis that stand for layers: nobody draws the border of papillary and reticular dermis on a map.
PAPILLARY_UM, RETICULAR_UM = 170.0, 250.0
FAT_UM = 1300.0  # from here on the deepest cells may lie in the fat, which is not told from the dermis


@dataclass(frozen=True)
class ClarkEstimate:
    """Level 2 to 4, or None; ``reason`` says how it was told, or why it was not."""

    level: int | None
    reason: str


def clark_estimate(below_um: float, at_least: bool) -> ClarkEstimate:
    """Estimate a level by how far the deepest cells lie below the epidermis.

    ``below_um``: from the lower border of the epidermis, in micrometres. None of 1, which is a melanoma in situ, or of
    5, which cannot be told without the fat.
    """
    told = f"{below_um / 1000:.2f} mm below the epidermis"
    if at_least:
        return ClarkEstimate(None, f"{told} or more: the lesion is cut off")
    if below_um > FAT_UM:
        return ClarkEstimate(None, f"{told}: may be in the fat, which the map does not tell from the dermis")
    level = 4 if below_um > RETICULAR_UM else 3 if below_um > PAPILLARY_UM else 2
    return ClarkEstimate(level, f"{told}; layers are told by this distance alone")

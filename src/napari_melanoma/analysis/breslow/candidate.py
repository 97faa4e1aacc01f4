"""One way to measure a thickness, and all that was found on a map: the values that files, docks and reports share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from napari_melanoma.analysis.breslow.interval import DepthFeatures

APART = 3
SMALL_SHARE = 0.1  # of the largest lesion's area: what is smaller comes after the others


@dataclass(frozen=True)
class DepthCandidate:
    """One way to measure: ends as (row, column) in pixels of the finest level, thickness in mm.

    ``interval_mm`` is None where the errors of the model are not known, ``at_least`` says that the lesion is cut off,
    ``ulcerated`` is None where that cannot be seen. ``section`` counts from 0, ``lesion`` is the number of a lesion of
    the slide. ``below_epidermis_mm`` is how far the deepest cell lies below the lower border of the epidermis,
    ``ulcer_mm`` over how much of the lesion that is missing, ``ulcer_share`` over which share of the surface right over
    it; None where that cannot be seen. ``lesion_mm2`` is the area of the lesion. ``way`` says how it is measured: 0 as
    it is, 1 without the nests beside it, 2 with nests further off, and ``APART`` more where it lies apart from the
    surface.
    """

    surface: tuple[float, float]
    deepest: tuple[float, float]
    mm: float
    features: DepthFeatures
    section: int
    at_least: bool
    ulcerated: bool | None
    ulcer_mm: float
    below_epidermis_mm: float
    lesion_mm2: float
    way: int
    interval_mm: tuple[float, float] | None = None
    lesion: int | None = None
    notes: tuple[str, ...] = ()
    ulcer_share: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Give it as ``result.json`` has it.

        Numbers of mm with four decimals, positions with two.
        """
        return {
            "surface": [round(value, 2) for value in self.surface],
            "deepest": [round(value, 2) for value in self.deepest],
            "mm": round(self.mm, 4),
            "interval_mm": None if self.interval_mm is None else [round(value, 4) for value in self.interval_mm],
            "at_least": self.at_least,
            "ulcerated": self.ulcerated,
            "ulcer_mm": round(self.ulcer_mm, 4),
            "ulcer_share": None if self.ulcer_share is None else round(self.ulcer_share, 4),
            "section": self.section,
            "lesion": self.lesion,
            "certain_mm": round(self.features.low_mm, 4),
            "possible_mm": round(self.features.high_mm, 4),
            "below_epidermis_mm": round(self.below_epidermis_mm, 4),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class DepthFindings:
    """Candidates of a map, the likeliest first, and ``notes`` of what was not measured or may mislead."""

    candidates: tuple[DepthCandidate, ...]
    notes: tuple[str, ...]


def ranked(candidates: Iterable[DepthCandidate]) -> tuple[DepthCandidate, ...]:
    """Put the likeliest first: what hangs together with the surface and is no small lesion, of those the thickest."""
    known = tuple(candidates)
    largest = max((one.lesion_mm2 for one in known if one.way == 0), default=0.0)
    small = 2 * APART
    return tuple(sorted(known, key=lambda one: (one.way + small * (one.lesion_mm2 < SMALL_SHARE * largest), -one.mm)))

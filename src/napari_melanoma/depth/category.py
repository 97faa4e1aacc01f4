"""T category of a primary melanoma by thickness and ulceration (AJCC, eighth edition)."""

from __future__ import annotations

import math

# Gershenwald et al. 2017, doi:10.3322/caac.21409: thickness to the nearest 0.1 mm; T1 up to 1.0, T2 up to 2.0 ...
LIMITS = (("T1", 1.0), ("T2", 2.0), ("T3", 4.0))
T1B_FROM = 0.8
CATEGORY_LIMITS_MM = (0.75, 1.05, 2.05, 4.05)  # where the rounded thickness steps into the next category


def round_thickness(mm: float) -> float:
    """Round a thickness to 0.1 mm, halves up: 0.75 to 0.84 is 0.8, 0.95 to 1.04 is 1.0."""
    return math.floor(round(10 * mm, 6) + 0.5) / 10


def t_category(mm: float, ulcerated: bool | None) -> str:
    """Return the T category, ``T1a`` to ``T4b``; without the letter where it depends on an unknown ulceration."""
    if not (math.isfinite(mm) and mm > 0):
        raise ValueError(f"expected a positive thickness in mm, found {mm}")
    thick = round_thickness(mm)
    stage = next((name for name, most in LIMITS if thick <= most), "T4")
    if stage == "T1" and thick >= T1B_FROM:
        return "T1b"
    return stage if ulcerated is None else stage + ("b" if ulcerated else "a")


def describe_contradiction(mm: float | None, clark: int | None) -> str:
    """Describe a contradiction of Clark level and thickness; empty where they agree or one is unknown."""
    if mm is None or clark is None:
        return ""
    if clark == 1 and mm > 0:
        return (
            f"Clark level I (in situ) contradicts a Breslow thickness of {mm:.2f} mm: a melanoma in situ does not "
            "invade. Correct one of them."
        )
    if clark > 1 and mm == 0:
        return (
            f"Clark level {('II', 'III', 'IV', 'V')[clark - 2]} (invasive) contradicts a Breslow thickness of 0 mm. "
            "Correct one of them."
        )
    return ""


def categories_in_interval(interval_mm: tuple[float, float], ulcerated: bool | None) -> tuple[str, ...]:
    """Name the categories that an interval covers, from thin to thick; empty where it is only one."""
    low, high = max(interval_mm[0], 1e-3), max(interval_mm[1], 1e-3)
    inside = [low, *(border for border in CATEGORY_LIMITS_MM if low < border <= high), high]
    named = tuple(dict.fromkeys(t_category(mm, ulcerated) for mm in inside))
    return named if len(named) > 1 else ()

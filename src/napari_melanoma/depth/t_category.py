"""T category by thickness and ulceration (AJCC, eighth edition), and the texts about depth readings in the window."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

# Gershenwald et al. 2017, doi:10.3322/caac.21409: thickness to the nearest 0.1 mm; T1 up to 1.0, T2 up to 2.0 ...
LIMITS = (("T1", 1.0), ("T2", 2.0), ("T3", 4.0))
T1B_FROM = 0.8
CATEGORY_LIMITS_MM = (0.75, 1.05, 2.05, 4.05)  # measured thickness from which on the next category applies
EXTENT_NAMES: Mapping[str, str] = {
    "invasive": "invasive melanoma",
    "in_situ": "melanoma in situ",
    "none": "no evidence of a primary tumor",
}


def round_thickness(mm: float) -> float:
    """Round a thickness to 0.1 mm, halves up: 0.75 to 0.84 is 0.8, 0.95 to 1.04 is 1.0."""
    return math.floor(round(10 * mm, 6) + 0.5) / 10


def round_measured_thickness(mm: float, decimals: int = 2) -> float:
    """Round a thickness, to 0.01 mm for display; down if it would be recorded differently: 1.048 to 1.04."""
    rounded, steps = round(mm, decimals), 10**decimals
    return rounded if round_thickness(rounded) == round_thickness(mm) else math.floor(steps * mm) / steps


def t_category(mm: float, ulcerated: bool | None) -> str:
    """Return the T category, ``T1a`` to ``T4b``; without the letter if it depends on an unknown ulceration."""
    if not (math.isfinite(mm) and mm > 0):
        raise ValueError(f"expected a positive thickness in mm, found {mm}")
    recorded = round_thickness(mm)
    category = next((name for name, most in LIMITS if recorded <= most), "T4")
    if category == "T1" and recorded >= T1B_FROM:
        return "T1b"
    return category if ulcerated is None else category + ("b" if ulcerated else "a")


def category_of_thickness(mm: float, ulcerated: bool | None) -> str:
    """Return the T category as ``t_category``; ``Tis`` for 0 mm, which is a melanoma in situ."""
    return t_category(mm, ulcerated) if mm else "Tis"


def is_lower_bound(category: str, *, at_least: bool) -> bool:
    """Whether the category may be higher, because the melanoma may be thicker (``at_least``): T4 is the highest."""
    return at_least and not category.startswith("T4")


def describe_contradiction(mm: float | None, clark: int | None) -> str:
    """Describe a contradiction between Clark level and thickness; empty if they agree or one is unknown."""
    if mm is None or clark is None:
        return ""
    if clark == 1 and mm > 0:
        return (
            f"Clark level I (in situ) contradicts a Breslow thickness of {format_thickness(mm)}. Correct one of them."
        )
    if clark > 1 and mm == 0:
        return (
            f"Clark level {format_clark_level(clark)} (invasive) contradicts a Breslow thickness of 0 mm. Correct one "
            "of them."
        )
    return ""


def categories_in_interval(interval_mm: tuple[float, float], ulcerated: bool | None) -> tuple[str, ...]:
    """List the categories that an interval covers, from thin to thick; empty if there is only one."""
    low, high = max(interval_mm[0], 1e-3), max(interval_mm[1], 1e-3)
    inside = [low, *(border for border in CATEGORY_LIMITS_MM if low < border <= high), high]
    categories = tuple(dict.fromkeys(t_category(mm, ulcerated) for mm in inside))
    return categories if len(categories) > 1 else ()


ROMAN = ("I", "II", "III", "IV", "V")


def format_thickness(mm: float, interval: tuple[float, float] | None = None, *, at_least: bool = False) -> str:
    """Format a thickness, such as ``at least 1.34 mm (1.20 to 1.50)``."""
    within = f" ({format_ends(interval)})" if interval else ""
    return f"{'at least ' if at_least else ''}{round_measured_thickness(mm):.2f} mm{within}"


def format_ends(interval: tuple[float, float], between: str = " to ") -> str:
    """Format the ends of an interval, each rounded as a thickness is."""
    return between.join(f"{round_measured_thickness(mm):.2f}" for mm in interval)


def format_clark_level(level: int | None) -> str:
    """Format a Clark level in Roman numerals; a dash if unknown."""
    return "–" if level is None else ROMAN[level - 1]


@dataclass(frozen=True)
class TumorFindings:
    """Findings that the T category depends on; None where unknown.

    ``extent``: a key of ``EXTENT_NAMES``. ``mm``: the Breslow thickness. ``at_least``: the melanoma may be thicker.
    ``not_measurable``: the thickness cannot be determined. ``thickness``: why ``mm`` is None, in words, such as
    ``not assessed``. ``ulceration``: the finding in words, such as ``ulceration not assessed``. ``clark``: Clark level,
    1 to 5.
    """

    extent: str | None = None
    mm: float | None = None
    at_least: bool = False
    not_measurable: bool = False
    thickness: str = "not filled in"
    ulcerated: bool | None = None
    ulceration: str = "ulceration not filled in"
    clark: int | None = None


@dataclass(frozen=True)
class PathologicStage:
    """A T category such as ``pT2a`` or ``at least pT3``, and the reason for it; empty if it cannot be determined.

    ``measured``: the thickness that decides it, which the reason does not repeat. ``is_contradictory``: there is none,
    because findings contradict each other.
    """

    category: str
    reason: str
    measured: str = ""
    is_contradictory: bool = False

    @property
    def text(self) -> str:
        return f"{self.category or 'no T category'}: {', '.join(filter(None, (self.measured, self.reason)))}"


def stage_primary_tumor(findings: TumorFindings) -> PathologicStage:
    """Return the T category of a tumor: pTX, pT0, pTis, or pT1 to pT4 with a letter.

    The category is empty if findings contradict each other or the thickness is missing; pTX is returned only for a
    thickness that cannot be determined. The letter is left out if it depends on an unknown ulceration.
    """
    contradiction = describe_tumor_contradiction(findings)
    if contradiction:
        return PathologicStage("", contradiction, is_contradictory=True)
    if findings.extent == "none":
        return PathologicStage("pT0", EXTENT_NAMES["none"])
    if findings.extent == "in_situ":
        return PathologicStage("pTis", EXTENT_NAMES["in_situ"])
    if findings.mm is None and findings.clark == 1:
        return PathologicStage("pTis", "Clark level I, which is melanoma in situ")
    if findings.mm == 0:
        return PathologicStage("pTis", "Breslow thickness 0 mm, which is melanoma in situ")
    if findings.mm is None:
        return PathologicStage("pTX" if findings.not_measurable else "", f"Breslow thickness {findings.thickness}")
    return _stage_thickness(findings, findings.mm)


def describe_tumor_contradiction(findings: TumorFindings) -> str:
    """Describe a contradiction between extent, thickness and Clark level; empty if they agree or are unknown."""
    mm, clark, extent = findings.mm, findings.clark, findings.extent
    if extent is None:
        return describe_contradiction(mm, clark)
    contradicting = []
    if mm is not None and (mm > 0) != (extent == "invasive"):
        contradicting.append(f"a Breslow thickness of {format_thickness(mm)}")
    if clark is not None and (extent == "none" or (clark > 1) != (extent == "invasive")):
        contradicting.append(f"Clark level {format_clark_level(clark)}")
    if not contradicting:
        return ""
    verb = "contradict" if len(contradicting) > 1 else "contradicts"
    return f"{' and '.join(contradicting)} {verb} {EXTENT_NAMES[extent]}. Correct one of them."


def format_recorded_thickness(mm: float, *, at_least: bool = False) -> str:
    """Format a thickness as it is recorded, to the nearest 0.1 mm; a smaller one is not shown as 0.

    A lower bound (``at_least``) below 0.05 mm is not rounded: *less than 0.1 mm* would be the opposite.
    """
    recorded = round_thickness(mm)
    if at_least:
        return format_thickness(mm, at_least=True) if recorded == 0 < mm else f"at least {recorded:.1f} mm"
    return "less than 0.1 mm" if recorded == 0 < mm else f"{recorded:.1f} mm"


def _stage_thickness(findings: TumorFindings, mm: float) -> PathologicStage:
    category, unlettered = t_category(mm, findings.ulcerated), t_category(mm, None)
    may_be_higher = is_lower_bound(category, at_least=findings.at_least)
    measured = format_thickness(mm, at_least=findings.at_least)
    recorded = format_recorded_thickness(mm, at_least=findings.at_least)
    reason = f"recorded as {recorded}, {_describe_range(mm)}; {findings.ulceration}"
    if findings.ulcerated is None:
        has_letter = unlettered[-1] in "ab"
        reason += ", which does not change the category" if has_letter else ", so the category has no letter"
    if may_be_higher:
        reason += "; the melanoma may be thicker, so the category may be higher"
    return PathologicStage(f"{'at least ' if may_be_higher else ''}p{category}", reason, measured)


def _describe_range(mm: float) -> str:
    """Describe the range of recorded thickness that a category covers."""
    recorded = round_thickness(mm)
    if recorded < T1B_FROM:
        return f"below {T1B_FROM} mm"
    limits = [most for _, most in LIMITS]
    upper = next((most for most in limits if recorded <= most), None)
    if upper is None:
        return f"above {limits[-1]} mm"
    if upper == limits[0]:
        return f"at least {T1B_FROM} and at most {upper} mm"
    return f"above {limits[limits.index(upper) - 1]} and at most {upper} mm"

"""The pathologic T category of a primary cutaneous melanoma (AJCC, eighth edition), with the reason for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from napari_melanoma.depth.category import (
    LIMITS,
    T1B_FROM,
    describe_contradiction,
    format_clark_level,
    round_thickness,
    t_category,
)

EXTENT_NAMES: Mapping[str, str] = {
    "invasive": "invasive melanoma",
    "in_situ": "melanoma in situ",
    "none": "no evidence of a primary tumor",
}


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
    """A T category such as ``pT2a`` or ``at least pT3``, and the reason for it; empty if it cannot be determined."""

    category: str
    reason: str

    @property
    def text(self) -> str:
        return f"{self.category or 'no T category'}: {self.reason}"


def stage_primary_tumor(findings: TumorFindings) -> PathologicStage:
    """Return the T category of a tumor: pTX, pT0, pTis, or pT1 to pT4 with a letter.

    The category is empty if findings contradict each other or the thickness is missing; pTX is returned only for a
    thickness that cannot be determined. The letter is left out if it depends on an unknown ulceration.
    """
    contradiction = describe_tumor_contradiction(findings)
    if contradiction:
        return PathologicStage("", contradiction)
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
        contradicting.append(f"a Breslow thickness of {format_exact_thickness(mm)}")
    if clark is not None and (extent == "none" or (clark > 1) != (extent == "invasive")):
        contradicting.append(f"Clark level {format_clark_level(clark)}")
    if not contradicting:
        return ""
    verb = "contradict" if len(contradicting) > 1 else "contradicts"
    return f"{' and '.join(contradicting)} {verb} {EXTENT_NAMES[extent]}. Correct one of them."


def format_exact_thickness(mm: float) -> str:
    """Format a thickness with two digits, or more if two would be recorded differently: ``1.34 mm``, ``1.048 mm``."""
    digits = next(n for n in range(2, 9) if n == 8 or round_thickness(round(mm, n)) == round_thickness(mm))
    return f"{mm:.{digits}f} mm"


def format_recorded_thickness(mm: float) -> str:
    """Format a thickness as it is recorded, to the nearest 0.1 mm; a smaller one is not shown as 0."""
    recorded = round_thickness(mm)
    return "less than 0.1 mm" if recorded == 0 < mm else f"{recorded:.1f} mm"


def _stage_thickness(findings: TumorFindings, mm: float) -> PathologicStage:
    """Return the category of an invasive melanoma of known thickness."""
    category, unlettered = t_category(mm, findings.ulcerated), t_category(mm, None)
    may_be_higher = findings.at_least and not category.startswith("T4")
    measured = f"{'at least ' if findings.at_least else ''}{format_exact_thickness(mm)}"
    reason = f"{measured}, recorded as {format_recorded_thickness(mm)}, {_describe_range(mm)}; {findings.ulceration}"
    if findings.ulcerated is None:
        has_letter = unlettered[-1] in "ab"
        reason += ", which does not change the category" if has_letter else ", so the category has no letter"
    if may_be_higher:
        reason += "; the melanoma may be thicker, so the category may be higher"
    return PathologicStage(f"{'at least ' if may_be_higher else ''}p{category}", reason)


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

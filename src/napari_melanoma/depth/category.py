"""T category by thickness and ulceration (AJCC, eighth edition), and the texts about depth readings in the window."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.core.validity import Validity
    from napari_melanoma.depth.readings import (
        DepthProposal,
        DepthReading,
        Interval,
        MitosisCount,
        SlideDepthProposals,
        SlideDepthReadings,
    )

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


def round_measured_thickness(mm: float) -> float:
    """Round a thickness to 0.01 mm for display; down if it would be recorded differently: 1.048 to 1.04."""
    rounded = round(mm, 2)
    return rounded if round_thickness(rounded) == round_thickness(mm) else math.floor(100 * mm) / 100


def t_category(mm: float, ulcerated: bool | None) -> str:
    """Return the T category, ``T1a`` to ``T4b``; without the letter if it depends on an unknown ulceration."""
    if not (math.isfinite(mm) and mm > 0):
        raise ValueError(f"expected a positive thickness in mm, found {mm}")
    recorded = round_thickness(mm)
    category = next((name for name, most in LIMITS if recorded <= most), "T4")
    if category == "T1" and recorded >= T1B_FROM:
        return "T1b"
    return category if ulcerated is None else category + ("b" if ulcerated else "a")


def describe_contradiction(mm: float | None, clark: int | None) -> str:
    """Describe a contradiction between Clark level and thickness; empty if they agree or one is unknown."""
    if mm is None or clark is None:
        return ""
    if clark == 1 and mm > 0:
        return (
            f"Clark level I (in situ) contradicts a Breslow thickness of {format_thickness(mm)}: a melanoma in situ "
            "does not invade. Correct one of them."
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
NEAR_LIMIT_MM = 0.05  # precision of a manual measurement: a thickness this close to a limit should be re-checked
NOT_MEASURED = "Not measured."
METHOD_NAMES = {
    "automatic": "line of the model, accepted",
    "hand": "by hand",
    "corrected": "predicted line, moved by hand",
}
YES_NO = {None: "–", True: "yes", False: "no"}
AUTHORED = ("mm", "ulcerated", "clark")  # values that a model may have set
READER_COLUMNS = ("reader", "mm", "T", "ulcer", "Clark", "mit.")


def format_thickness(mm: float, interval: Interval | None = None, *, at_least: bool = False) -> str:
    """Format a thickness, such as ``at least 1.34 mm (1.20 to 1.50)``."""
    within = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    return f"{'at least ' if at_least else ''}{round_measured_thickness(mm):.2f} mm{within}"


def format_headline(reading: DepthReading, validity: Validity | None = None) -> str:
    """Format thickness and T category, such as ``1.34 mm (1.20 to 1.50)   T2a``.

    ``validity``: that of the analysis. It affects only a reading that no reader has confirmed: the thickness of a
    demonstration model is marked, and a thickness that is not valid is replaced by the reason.
    """
    predicted = validity if not reading.when else None  # None if a reader has confirmed the reading
    if predicted is not None and not predicted.valid:
        return predicted.headline("")
    if not reading.mm:
        return NOT_MEASURED
    or_more = " or more" if reading.at_least else ""
    thickness = format_thickness(reading.mm, reading.interval_mm, at_least=reading.at_least)
    text = f"{thickness}   {t_category(reading.mm, reading.ulcerated)}{or_more}"
    return text if predicted is None else predicted.headline(text)


def describe_origin(reading: DepthReading) -> str:
    """Describe how a thickness was measured, such as ``by hand, Reader A, 2026-01-02 10:00``; empty if it was not."""
    if not reading.mm:
        return ""
    if not reading.when:
        return "by the model, not confirmed: move its ends, or accept it as it is"
    method = METHOD_NAMES[reading.method] if reading.author("mm") == "reader" else "by the model, not confirmed"
    return ", ".join(part for part in (method, reading.reader, format_time(reading.when)) if part)


def format_time(when: str) -> str:
    """Format a time in the local time zone, to the minute; empty if it is not a time."""
    try:
        return datetime.fromisoformat(when).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""


def reading_warnings(reading: DepthReading, size: PixelSize | None) -> tuple[str, ...]:
    """List warnings about the thickness and the Clark level; ``size`` is the current pixel size of the slide."""
    contradiction = describe_contradiction(reading.mm, reading.clark)
    warnings = [contradiction] if contradiction else []
    findings = {"ulcerated": "ulceration", "clark": "the Clark level"} if reading.when else {}
    predicted = [name for field, name in findings.items() if reading.author(field) == "model"]
    if predicted:
        names = " and ".join(predicted)
        warnings.append(f"Predicted by the model, not confirmed by the reader: {names}.")
    if not reading.mm:
        return tuple(warnings)
    categories = categories_in_interval(reading.interval_mm, reading.ulcerated) if reading.interval_mm else ()
    limit = next((one for one in CATEGORY_LIMITS_MM if abs(reading.mm - one) <= NEAR_LIMIT_MM), None)
    if categories:
        warnings.append(f"The category is uncertain: the interval covers {categories[0]} to {categories[-1]}.")
    elif limit is not None and not reading.interval_mm:
        below, above = (t_category(limit + off, reading.ulcerated) for off in (-0.01, 0.01))
        warnings.append(
            f"{format_thickness(reading.mm)} is close to the {below}/{above} limit ({limit:g} mm, as thickness is "
            "rounded to 0.1 mm). Please re-check."
        )
    if reading.ulcerated is None and len(t_category(reading.mm, None)) == 2:
        warnings.append("The category has no letter: ulceration is unknown.")
    if reading.at_least:
        warnings.append("The melanoma may be thicker: it reaches the edge of the section.")
    measured_at = reading.um_per_px
    if measured_at is not None and size is not None and measured_at != (size.y_um, size.x_um):
        before, now = _format_scale(*measured_at), _format_scale(size.y_um, size.x_um)
        warnings.append(f"Measured at {before} µm per pixel; the slide is now set to {now}.")
    return tuple(warnings)


def _format_scale(y_um: float, x_um: float) -> str:
    """Format a pixel size: its side, or its width and height if they differ."""
    return f"{x_um:.4g}" if x_um == y_um else f"{x_um:.4g} x {y_um:.4g}"


def format_proposal(number: int, proposal: DepthProposal) -> str:
    """Format a predicted line: number, thickness, section, lesion and ulceration."""
    section = None if proposal.section is None else f"section {proposal.section + 1}"
    lesion = None if proposal.lesion is None else f"lesion {proposal.lesion}"
    ulcer = "ulcerated" if proposal.ulcerated else None
    details = ", ".join(part for part in (section, lesion, ulcer) if part)
    thickness = format_thickness(proposal.mm, proposal.interval_mm, at_least=proposal.at_least)
    return f"{number}   {thickness}   {details}".rstrip()


def format_mitoses(mitoses: MitosisCount) -> str:
    """Format the number of mitoses, per square millimeter if the area is known."""
    outside = len(mitoses.points) - (mitoses.counted or 0)
    not_counted = f"; {outside} outside the area not counted" if outside else ""
    if mitoses.counted is None:
        area = "" if mitoses.mm2 is None else f" in {mitoses.mm2:.2f} mm²"
        hint = " Mark each mitosis, or press 'none found'." if mitoses.areas else ""
        return f"Not counted{area}{not_counted}.{hint}"
    count = "none found" if mitoses.none_found else f"{mitoses.counted} counted"
    count = count[:1].upper() + count[1:]
    if mitoses.mm2 is None or mitoses.per_mm2 is None:
        hint = "" if mitoses.areas else ". Draw the counted area to get the number per mm²"
        return f"{count}{hint}{not_counted}."
    imprecise = " (imprecise: the area is below 1 mm²)" if mitoses.mm2 < 0.95 else ""
    return f"{count} in {mitoses.mm2:.2f} mm²: {mitoses.per_mm2:.1f} per mm²{imprecise}{not_counted}."


def format_clark_level(level: int | None) -> str:
    """Format a Clark level in Roman numerals; a dash if unknown."""
    return "–" if level is None else ROMAN[level - 1]


def reader_rows(
    depth: SlideDepthReadings, reader: str, predicted: DepthReading, validity: Validity
) -> list[tuple[str, ...]]:
    """List the readings of a slide for a table with the columns ``READER_COLUMNS``.

    The first row is that of ``reader``, the last that of the model, without values if they are not valid. The table is
    empty until the reader has measured, to keep the reading independent.

    ``predicted``: the reading of the analysis.
    """
    own = depth.reading_by(reader)
    if own is None or not own.when or own.mm is None:
        return []
    others = [one for one in depth.readings if one.reader != reader and one.when]
    rows = [_reader_row(one.reader or "(no name)", one) for one in (own, *others)]
    if predicted.mm is None:
        return rows
    if not validity.valid:
        return [*rows, ("model", "not valid", "not valid", *["–"] * (len(READER_COLUMNS) - 3))]
    return [*rows, _reader_row("demonstration model" if validity.demonstration else "model", predicted)]


def describe_other_readings(depth: SlideDepthReadings, reader: str) -> str:
    """Describe the readings of other readers: how many are hidden, or how much they differ; empty if there are none."""
    others = [one for one in depth.readings if one.reader != reader and one.when and one.mm is not None]
    own = depth.reading_by(reader)
    if not others:
        return ""
    if own is None or not own.when or own.mm is None:
        count = format_count(len(others), "other reader")
        return f"{count} measured this slide. Readings are shown after you have measured, to keep yours independent."
    return (
        "; ".join(f"{own.mm - (one.mm or 0):+.2f} mm compared with {one.reader or '(no name)'}" for one in others) + "."
    )


def describe_proposals(proposals: SlideDepthProposals, reading: DepthReading, chosen: int = 0) -> str:
    """Describe the predicted lines, with the notes of the chosen one, or why there are none."""
    parts: list[str] = []
    if proposals.proposals:
        order = ", the most likely first" if len(proposals.proposals) > 1 else ""
        parts = [f"{format_count(len(proposals.proposals), 'line')} found by the model{order}"]
        parts += proposals.proposals[chosen].notes if chosen < len(proposals.proposals) else ()
    if proposals.clark is not None and reading.author("clark") != "reader":
        parts.append(f"Clark level {format_clark_level(proposals.clark)} is an estimate")
    return " ".join(f"{one[:1].upper()}{one[1:].rstrip('.')}." for one in (*parts, *proposals.notes))


def _reader_row(name: str, reading: DepthReading) -> tuple[str, ...]:
    mm = "–" if reading.mm is None else f"{round_measured_thickness(reading.mm):.2f}"
    category = t_category(reading.mm, reading.ulcerated) if reading.mm else "–"
    per_mm2 = reading.mitoses.per_mm2
    by_model = {name: " (model)" if reading.when and reading.author(name) == "model" else "" for name in AUTHORED}
    return (
        name,
        mm + by_model["mm"],
        category,
        YES_NO[reading.ulcerated] + by_model["ulcerated"],
        format_clark_level(reading.clark) + by_model["clark"],
        "–" if per_mm2 is None else f"{per_mm2:.1f}",
    )


def parse_length(text: str) -> float | None:
    """Parse a length in mm with a decimal point or comma, with or without ``mm``; None if empty."""
    plain = text.strip().lower().removesuffix("mm").strip().replace(",", ".")
    if not plain:
        return None
    value = float(plain)
    if not 0 <= value < 1000:
        raise ValueError(f"expected a length in mm from 0 to 1000, found {text}")
    return value


def format_proposals(lines: Sequence[DepthProposal]) -> list[str]:
    return [format_proposal(number, one) for number, one in enumerate(lines, start=1)]


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
        contradicting.append(f"a Breslow thickness of {format_thickness(mm)}")
    if clark is not None and (extent == "none" or (clark > 1) != (extent == "invasive")):
        contradicting.append(f"Clark level {format_clark_level(clark)}")
    if not contradicting:
        return ""
    verb = "contradict" if len(contradicting) > 1 else "contradicts"
    return f"{' and '.join(contradicting)} {verb} {EXTENT_NAMES[extent]}. Correct one of them."


def format_recorded_thickness(mm: float) -> str:
    """Format a thickness as it is recorded, to the nearest 0.1 mm; a smaller one is not shown as 0."""
    recorded = round_thickness(mm)
    return "less than 0.1 mm" if recorded == 0 < mm else f"{recorded:.1f} mm"


def _stage_thickness(findings: TumorFindings, mm: float) -> PathologicStage:
    """Return the category of an invasive melanoma of known thickness."""
    category, unlettered = t_category(mm, findings.ulcerated), t_category(mm, None)
    may_be_higher = findings.at_least and not category.startswith("T4")
    measured = format_thickness(mm, at_least=findings.at_least)
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

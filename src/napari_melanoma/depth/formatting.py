"""A thickness in words: intervals, categories, warnings and readers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from napari_melanoma.core.formatting import format_count
from napari_melanoma.depth.category import (
    CATEGORY_LIMITS_MM,
    categories_in_interval,
    describe_contradiction,
    t_category,
)

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

ROMAN = ("I", "II", "III", "IV", "V")
NEAR_LIMIT_MM = 0.05  # of a border between categories: a hand is not surer than that
NOT_MEASURED = "Not measured yet."
METHOD_NAMES = {"automatic": "by the model", "hand": "by hand", "corrected": "the model's line, moved by hand"}
YES_NO = {None: "–", True: "yes", False: "no"}
READER_COLUMNS = ("reader", "mm", "T", "ulcer", "Clark", "mit.")


def format_thickness(mm: float, interval: Interval | None = None, *, at_least: bool = False) -> str:
    """Say a thickness.

    Such as ``1.34 mm (1.20 to 1.50)``.
    """
    within = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    return f"{'at least ' if at_least else ''}{mm:.2f} mm{within}"


def format_headline(reading: DepthReading, validity: Validity | None = None) -> str:
    """Say thickness and T category in a line.

    Such as ``1.34 mm (1.20 to 1.50)   T2a``; why it is not valid where it is a model's and not valid.
    """
    if validity is not None and not validity.valid and not reading.when:
        return validity.headline("")
    if not reading.mm:
        return NOT_MEASURED
    more = " or more" if reading.at_least else ""
    said = format_thickness(reading.mm, reading.interval_mm, at_least=reading.at_least)
    return f"{said}   {t_category(reading.mm, reading.ulcerated)}{more}"


def describe_origin(reading: DepthReading) -> str:
    """Say where a thickness comes from.

    Such as ``by hand, Reader A, 2026-01-02 10:00``; empty where there is none.
    """
    if not reading.mm:
        return ""
    if not reading.when:
        return "by the model; nobody has taken it yet: move its ends, or take it as it is"
    return ", ".join(part for part in (METHOD_NAMES[reading.method], reading.reader, format_time(reading.when)) if part)


def format_time(when: str) -> str:
    """Say a time as people of this place read it.

    To the minute; empty where it is none.
    """
    try:
        return datetime.fromisoformat(when).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""


def reading_warnings(reading: DepthReading, size: PixelSize | None) -> tuple[str, ...]:
    """Say what to know before relying on a thickness.

    ``size``: of the slide's pixels, as it is now.
    """
    contradiction = describe_contradiction(reading.mm, reading.clark)
    if not reading.mm:
        return (contradiction,) if contradiction else ()
    said = [contradiction] if contradiction else []
    reached = categories_in_interval(reading.interval_mm, reading.ulcerated) if reading.interval_mm else ()
    border = next((one for one in CATEGORY_LIMITS_MM if abs(reading.mm - one) <= NEAR_LIMIT_MM), None)
    if reached:
        said.append(f"The interval reaches from {reached[0]} to {reached[-1]}: the category is not certain.")
    elif border is not None and not reading.interval_mm:
        below, above = (t_category(border + off, reading.ulcerated) for off in (-0.01, 0.01))
        said.append(f"Within {NEAR_LIMIT_MM:g} mm of the border between {below} and {above}: measure again.")
    if reading.ulcerated is None and len(t_category(reading.mm, None)) == 2:
        said.append("The letter of the category depends on ulceration.")
    if reading.at_least:
        said.append("The melanoma reaches the edge of the section: it may be thicker.")
    kept = reading.um_per_px
    if kept is not None and size is not None and kept != (size.y_um, size.x_um):
        said.append(f"It was measured with {kept[0]:.4g} µm per pixel, the slide has {size.y_um:.4g} now.")
    return tuple(said)


def format_proposal(number: int, one: DepthProposal) -> str:
    """Say one line that the analysis found.

    Number, thickness, where, and what to know.
    """
    section = None if one.section is None else f"section {one.section + 1}"
    lesion = None if one.lesion is None else f"lesion {one.lesion}"
    ulcer = "ulcerated" if one.ulcerated else None
    where = [part for part in (section, lesion, ulcer) if part]
    return (
        f"{number}   {format_thickness(one.mm, one.interval_mm, at_least=one.at_least)}   {', '.join(where)}".rstrip()
    )


def format_mitoses(mitoses: MitosisCount) -> str:
    """Say how many mitoses there are.

    Per square millimetre where the area is known.
    """
    beside = len(mitoses.points) - (mitoses.counted or 0)
    more = f"; {beside} beside the area are not counted" if beside else ""
    if mitoses.counted is None and not mitoses.areas:
        return "None counted yet."
    said = f"{mitoses.counted or 0} counted"
    if mitoses.mm2 is None or mitoses.per_mm2 is None:
        hint = "" if mitoses.areas else ": draw the area for a number per mm²"
        return f"{said}{hint}{more}."
    few = " (less than 1 mm²: a small area says little)" if mitoses.mm2 < 0.95 else ""
    return f"{said} in {mitoses.mm2:.2f} mm²: {mitoses.per_mm2:.1f} per mm²{few}{more}."


def format_clark_level(level: int | None) -> str:
    """Say a Clark level.

    In Roman figures; a dash where it is not known.
    """
    return "–" if level is None else ROMAN[level - 1]


def reader_rows(depth: SlideDepthReadings, reader: str, own_reading: DepthReading) -> list[tuple[str, ...]]:
    """Put the readers beside each other; others only once the reader has measured, so that nobody is led.

    A row for each, as ``COLUMNS`` names them, the own one first.
    """
    own = depth.reading_by(reader)
    if own is None or not own.when or own.mm is None:
        return []
    others = [one for one in depth.readings if one.reader != reader and one.when]
    rows = [_reader_row(one.reader or "(no name)", one) for one in (own, *others)]
    return [*rows, _reader_row("model", own_reading)] if own_reading.mm is not None else rows


def describe_other_readings(depth: SlideDepthReadings, reader: str) -> str:
    """Say that there are readings of others that are not shown yet, or how far they are apart.

    Empty where nobody else measured.
    """
    others = [one for one in depth.readings if one.reader != reader and one.when and one.mm is not None]
    own = depth.reading_by(reader)
    if not others:
        return ""
    if own is None or not own.when or own.mm is None:
        said = format_count(len(others), "other reader")
        return f"{said} measured this slide: shown when you have, so that you are not led."
    return "; ".join(f"{own.mm - (one.mm or 0):+.2f} mm against {one.reader or '(no name)'}" for one in others) + "."


def describe_proposals(proposals: SlideDepthProposals, reading: DepthReading, chosen: int = 0) -> str:
    """Say what an analysis found, or why it found nothing.

    Empty where there was no analysis.
    """
    said: list[str] = []
    if proposals.proposals:
        order = ", the likeliest first" if len(proposals.proposals) > 1 else ""
        said = [f"{format_count(len(proposals.proposals), 'line')} found by the model{order}"]
        said += proposals.proposals[chosen].notes if chosen < len(proposals.proposals) else ()
    if proposals.clark is not None and reading.clark_by != "hand":
        said.append(f"Clark {format_clark_level(proposals.clark)} is an estimate")
    return " ".join(f"{one[:1].upper()}{one[1:].rstrip('.')}." for one in (*said, *proposals.notes))


def _reader_row(name: str, one: DepthReading) -> tuple[str, ...]:
    """A row of the table of readers."""
    mm = "–" if one.mm is None else f"{one.mm:.2f}"
    category = t_category(one.mm, one.ulcerated) if one.mm else "–"
    per = one.mitoses.per_mm2
    return (
        name,
        mm,
        category,
        YES_NO[one.ulcerated],
        format_clark_level(one.clark),
        "–" if per is None else f"{per:.1f}",
    )


def parse_length(text: str) -> float | None:
    """Read a length in mm that somebody typed.

    ``text``: with a point or a comma, with or without ``mm``; empty for what is not known. None where it is empty.
    """
    plain = text.strip().lower().removesuffix("mm").strip().replace(",", ".")
    if not plain:
        return None
    value = float(plain)
    if not 0 <= value < 1000:
        raise ValueError(f"{text} is no length in mm")
    return value


def format_proposals(lines: Sequence[DepthProposal]) -> list[str]:
    """Say all lines of an analysis."""
    return [format_proposal(number, one) for number, one in enumerate(lines, start=1)]

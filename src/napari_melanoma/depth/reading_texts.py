"""Texts about depth readings: thickness, origin, warnings, predicted lines and other readers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from napari_melanoma.core.formatting import format_count, to_sentence
from napari_melanoma.core.geometry import PixelSize, format_scale
from napari_melanoma.core.validity import Validity
from napari_melanoma.depth.readings import (
    DepthProposal,
    DepthReading,
    MitosisCount,
    SlideDepthProposals,
    SlideDepthReadings,
    line_length_mm,
)
from napari_melanoma.depth.synoptic_fields import ANSWERED
from napari_melanoma.depth.t_category import (
    CATEGORY_LIMITS_MM,
    categories_in_interval,
    describe_contradiction,
    format_clark_level,
    format_thickness,
    round_measured_thickness,
    t_category,
)

NEAR_LIMIT_MM = 0.05  # precision of a manual measurement: a thickness this close to a limit should be re-checked
SAME_LENGTH_MM = 0.005  # lengths that differ less are shown as the same
NOT_MEASURED = "Not measured."
METHOD_NAMES = {
    "automatic": "line of the model, accepted",
    "hand": "by hand",
    "corrected": "predicted line, moved by hand",
}
YES_NO = {None: "–", True: "yes", False: "no"}
AUTHORED = ("mm", "ulcerated", "clark")  # values that a model may have set
READER_COLUMNS = ("reader", "mm", "T", "ulcer", "Clark", "mit.")


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


def format_line_label(reading: DepthReading, size: PixelSize | None) -> str:
    """Format the label of the line of a reading: its length, also if another thickness was entered.

    ``size``: pixel size of the slide. If the line was measured at another one, the label states that. The label is
    empty if the thickness or the length is unknown.
    """
    entered = find_length_of_entered(reading, size)
    mm = reading.mm if entered is None or reading.mm is None else entered
    if mm is None or (reading.um_per_px is None and size is None):
        return ""
    model = "model: " if is_predicted_line(reading) else ""
    label = f"{model}{format_thickness(mm, at_least=reading.at_least and entered is None)}"
    if size is None or reading.um_per_px in (None, (size.y_um, size.x_um)):
        return label
    return f"{label}\nat {format_scale(*reading.um_per_px)} µm/px"


def find_length_of_entered(reading: DepthReading, size: PixelSize | None) -> float | None:
    """Return the length of the line in mm if another thickness was entered; None otherwise."""
    if reading.mm is None or reading.line is None or reading.um_per_px is not None or size is None:
        return None
    length = line_length_mm(reading.line, size)
    return length if abs(length - reading.mm) >= SAME_LENGTH_MM else None


def describe_entered_thickness(reading: DepthReading, size: PixelSize | None) -> str:
    """Describe that a thickness was entered that differs from the length of the line; empty if it does not."""
    length = find_length_of_entered(reading, size)
    if length is None or reading.mm is None:
        return ""
    return f"The line measures {format_thickness(length)}; {format_thickness(reading.mm)} was entered."


def is_predicted_line(reading: DepthReading) -> bool:
    """Whether the line is that of the model, which no reader has confirmed or moved."""
    return reading.method == "automatic" and reading.author("mm") == "model"


def format_time(when: str) -> str:
    """Format a time in the local time zone, to the minute; empty if it is not a time."""
    try:
        return datetime.fromisoformat(when).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""


def reading_warnings(reading: DepthReading, size: PixelSize | None) -> tuple[str, ...]:
    """List warnings about the thickness and the Clark level; ``size`` is the current pixel size of the slide."""
    first = describe_entered_thickness(reading, size), describe_contradiction(reading.mm, reading.clark)
    warnings = [text for text in first if text]
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
        if below != above:  # an ulcerated T1 has the letter b on both sides of 0.8 mm
            name = f"{'T1a' if below == 'T1' else below}/{above}"
            warnings.append(
                f"{format_thickness(reading.mm)} is close to the {name} limit ({limit:g} mm, as thickness is rounded "
                "to 0.1 mm). Please re-check."
            )
    if reading.ulcerated is None and len(t_category(reading.mm, None)) == 2:
        warnings.append(
            f"The category has no letter: ulceration is {_format_or_reason(reading, 'ulcerated', 'unknown')}."
        )
    if reading.at_least:
        warnings.append("The melanoma may be thicker: it reaches the edge of the section.")
    measured_at = reading.um_per_px
    if measured_at is not None and size is not None and measured_at != (size.y_um, size.x_um):
        before, now = format_scale(*measured_at), format_scale(size.y_um, size.x_um)
        warnings.append(f"Measured at {before} µm per pixel; the slide is now set to {now}.")
    return tuple(warnings)


def format_proposal(number: int, proposal: DepthProposal) -> str:
    """Format a predicted line: number, thickness, section, lesion and ulceration."""
    section = None if proposal.section is None else f"section {proposal.section + 1}"
    lesion = None if proposal.lesion is None else f"lesion {proposal.lesion}"
    ulcer = "ulcerated" if proposal.ulcerated else None
    details = ", ".join(part for part in (section, lesion, ulcer) if part)
    thickness = format_thickness(proposal.mm, proposal.interval_mm, at_least=proposal.at_least)
    return f"{number}   {thickness}   {details}".rstrip()


def describe_mitoses(reading: DepthReading) -> str:
    """Describe the mitoses of a reading, with why there is no rate if the reader has stated it."""
    mitoses, remark = reading.mitoses, reading.remarks.get("mitotic_rate")
    if mitoses.per_mm2 is not None or remark is None or remark.state == ANSWERED:
        return format_mitoses(mitoses)
    if mitoses.counted is None:
        return to_sentence(remark.state)
    return f"{mitoses.counted} counted; rate {remark.state}."


def format_mitoses(mitoses: MitosisCount) -> str:
    """Format the number of mitoses, per square millimeter if the area is known."""
    outside = len(mitoses.points) - (mitoses.counted or 0)
    not_counted = f"; {outside} outside the area not counted" if outside else ""
    if mitoses.counted is None and mitoses.per_mm2 is not None:
        return f"{mitoses.per_mm2:.4g} per mm², entered as a number{not_counted}."
    if mitoses.counted is None:
        area = "" if mitoses.mm2 is None else f" in {mitoses.mm2:.2f} mm²"
        hint = " Count mitoses in Measure, or press 'none found'." if mitoses.areas else ""
        return f"Not counted{area}{not_counted}.{hint}"
    count = "none found" if mitoses.none_found else f"{mitoses.counted} counted"
    count = count[:1].upper() + count[1:]
    if mitoses.mm2 is None or mitoses.per_mm2 is None:
        hint = "" if mitoses.areas else ". Select the counted region to get the number per mm²"
        return f"{count}{hint}{not_counted}."
    imprecise = " (imprecise: the area is below 1 mm²)" if mitoses.mm2 < 0.95 else ""
    return f"{count} in {mitoses.mm2:.2f} mm²: {mitoses.per_mm2:.1f} per mm²{imprecise}{not_counted}."


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
    bounded = {one.reader: " (lower bound)" for one in others if one.at_least or own.at_least}
    return (
        "; ".join(
            f"{own.mm - (one.mm or 0):+.2f} mm compared with {one.reader or '(no name)'}{bounded.get(one.reader, '')}"
            for one in others
        )
        + "."
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
    at_least, or_more = ("at least ", " or more") if reading.at_least else ("", "")
    mm = "–" if reading.mm is None else f"{at_least}{round_measured_thickness(reading.mm):.2f}"
    category = f"{t_category(reading.mm, reading.ulcerated)}{or_more}" if reading.mm else "–"
    per_mm2 = reading.mitoses.per_mm2
    by_model = {name: " (model)" if reading.when and reading.author(name) == "model" else "" for name in AUTHORED}
    return (
        name,
        mm + by_model["mm"],
        category,
        _format_or_reason(reading, "ulcerated", YES_NO[reading.ulcerated]) + by_model["ulcerated"],
        _format_or_reason(reading, "clark", format_clark_level(reading.clark)) + by_model["clark"],
        "–" if per_mm2 is None else f"{per_mm2:.1f}",
    )


def _format_or_reason(reading: DepthReading, field: str, text: str) -> str:
    """Return a formatted value, or why there is none."""
    return text if getattr(reading, field) is not None else next(iter(reading.absences(field)), text)


def format_proposals(lines: Sequence[DepthProposal]) -> list[str]:
    return [format_proposal(number, one) for number, one in enumerate(lines, start=1)]

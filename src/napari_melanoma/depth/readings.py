"""Depth readings of a slide, one for each reader: their values, edits with a history, and texts.

A reading starts from the proposals of the analysis. Positions are (row, column) in pixels of the finest level.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import count
from math import isclose
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import ConfigError, InputError, ScaleMissing
from napari_melanoma.core.formatting import format_count, format_small, to_sentence
from napari_melanoma.core.geometry import PixelSize, format_scale
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.polygons import Polygon, joint_area, points_within, untangle_polygon
from napari_melanoma.core.provenance import parse_time
from napari_melanoma.core.reader_names import identify_reader
from napari_melanoma.core.validity import Validity, read_validity
from napari_melanoma.depth.synoptic_fields import ANSWERED, AnswerState
from napari_melanoma.depth.t_category import (
    CATEGORY_LIMITS_MM,
    ROMAN,
    categories_in_interval,
    category_of_thickness,
    describe_contradiction,
    format_clark_level,
    format_thickness,
    is_lower_bound,
    round_measured_thickness,
    t_category,
)

MODEL_READER = "model"  # recorded as the reader of values from the analysis
RESERVED_READER_NAME = "'model' is reserved for the analysis: choose another name."
LINE_FIELDS = ("line", "mm", "interval_mm", "at_least", "method", "um_per_px")  # have the author of ``mm``
AUTHORED_FIELDS = ("mm", "ulcerated", "clark", "margins", "mitoses", "notes")
RECORDED_FIELDS = (*LINE_FIELDS[:-1], *AUTHORED_FIELDS[1:])  # fields whose changes enter the history
UNKNOWN_READER = "unknown"  # of changes by other programs
# Findings that a reading contains, by their field of the synoptic report, and the field of the reading
FINDINGS: Mapping[str, str] = {
    "breslow": "mm",
    "ulceration": "ulcerated",
    "clark": "clark",
    "mitotic_rate": "mitoses",
    "mitoses_counted": "mitoses",
    "mitoses_area": "mitoses",
    "peripheral_distance_invasive": "margins",
    "deep_distance_invasive": "margins",
}
# Findings whose field of the reading contains several, and their keys
FINDING_KEYS = {
    "mitotic_rate": "per_mm2",
    "mitoses_counted": "counted",
    "mitoses_area": "mm2",
    "peripheral_distance_invasive": "lateral_mm",
    "deep_distance_invasive": "deep_mm",
}
# Field to the keys that are left out of the history, which would otherwise repeat all marked points at each change.
SHORTENED_FIELDS = {"mitoses": ("points", "areas", "none_found", "um_per_px")}
Number = Annotated[float, Field(allow_inf_nan=False)]
Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Point = tuple[Number, Number]
Line = tuple[Point, Point]  # surface and deepest
Interval = tuple[Length, Length]
Method = Literal["automatic", "hand", "corrected"]
Author = Literal["", "model", "reader"]  # who set a value; empty for a value that is not set


class ReadingChange(Config):
    """One changed value: its previous and new value, the reader and the time."""

    field: str
    before: Any = None
    after: Any = None
    reader: str = ""
    when: str = Field("", description="UTC, ISO 8601")


class ExcisionMargins(Config):
    """Distance of the melanoma from the edges of the excision, in mm; None if not measured."""

    lateral_mm: Length | None = None
    deep_mm: Length | None = None


class MitosisCount(Config):
    """Marked mitoses, the areas in which they were counted, and the counts, which are None if not assessed."""

    points: tuple[Point, ...] = ()
    areas: tuple[tuple[Point, ...], ...] = ()
    none_found: bool = Field(False, description="the reader has searched the areas and found no mitosis")
    counted: int | None = Field(
        None, ge=0, description="number of mitoses within the areas; of all marked mitoses if no area was drawn"
    )
    mm2: Length | None = Field(None, description="total area")
    um_per_px: tuple[Length, Length] | None = Field(
        None, description="pixel size (height, width) at which the area was computed; none if it was entered"
    )
    per_mm2: Length | None = None


class FindingRemark(Config):
    """What a reader adds to a finding: why it has no value, a text, and whose suggestion the reader has confirmed."""

    state: AnswerState = ANSWERED
    detail: str = ""
    confirmed_from: Literal["", "model", "reading", "case"] = ""


class DepthReading(Config):
    """The reading of one reader: Breslow thickness, ulceration, Clark level, margins, mitoses and notes."""

    reader: str = Field("", description="name; empty if not given")
    when: str = Field("", description="time of the last change, UTC, ISO 8601; empty if all changes were undone")
    method: Method = Field("hand", description="origin of the line; corrected: predicted, then moved by hand")
    line: Line | None = Field(None, description="surface and deepest, (row, column) in pixels of the finest level")
    um_per_px: tuple[Length, Length] | None = Field(
        None, description="pixel size (height, width) at which the line was measured"
    )
    mm: Length | None = Field(None, description="Breslow thickness")
    interval_mm: Interval | None = None
    at_least: bool = Field(False, description="the melanoma reaches the edge of the section: it may be thicker")
    ulcerated: bool | None = None
    clark: int | None = Field(None, ge=1, le=5)
    margins: ExcisionMargins = ExcisionMargins()
    mitoses: MitosisCount = MitosisCount()
    notes: str = ""
    authors: dict[str, Author] = Field({}, description="who set each value; mm: also of the line")
    remarks: dict[str, FindingRemark] = Field(
        {}, description="by field of the synoptic report; a finding without a value and a remark was never assessed"
    )
    history: tuple[ReadingChange, ...] = ()

    def author(self, field: str) -> Author:
        """Return who set a field."""
        if getattr(self, field) == type(self).model_fields[field].default:
            return "reader" if self.absences(field) else ""
        return self.authors.get(field) or ("reader" if self.when else "model")

    def absences(self, field: str) -> list[str]:
        """Return why findings of a field have no value, such as not assessed."""
        remarks = (self.remarks.get(name) for name, own in FINDINGS.items() if own == field)
        return [remark.state for remark in remarks if remark is not None and remark.state != ANSWERED]

    def finding(self, name: str) -> str | float | None:
        """Return the value of a finding as in the synoptic report; None if it has none."""
        value = {
            "breslow": self.mm,
            "ulceration": self.ulcerated,
            "clark": self.clark,
        }.get(name)
        if name in FINDING_KEYS:
            value = getattr(getattr(self, FINDINGS[name]), FINDING_KEYS[name])
        if value is None:
            return None
        if name == "ulceration":
            return "present" if value else "not_identified"
        return ROMAN[int(value) - 1] if name == "clark" else float(value)

    def all_authors(self) -> dict[str, Author]:
        """Return the author of each value that is set."""
        return {field: author for field in AUTHORED_FIELDS if (author := self.author(field))}

    def without_predicted_findings(self) -> Self:
        """Return a reading without findings of the model."""
        return self.model_copy(
            update={field: None for field in ("ulcerated", "clark") if self.author(field) == "model"}
        )


class SlideDepthReadings(Config):
    """All readings of a slide, one for each reader."""

    format_version: Literal[1] = 1
    fingerprint: str = Field("", description="of the slide")
    readings: tuple[DepthReading, ...] = ()

    def reading_by(self, reader: str) -> DepthReading | None:
        """Return the stored reading of a reader, also under another spelling of the name; None if there is none."""
        own = [one for one in self.readings if identify_reader(one.reader) == identify_reader(reader)]
        return next((one for one in own if one.reader == reader), next(iter(own), None))

    def spelling_of(self, reader: str) -> str:
        """Return the name of a reader as the readings spell it."""
        own = self.reading_by(reader)
        return reader if own is None else own.reader


AnyReadings = TypeVar("AnyReadings", bound=SlideDepthReadings)


class DepthProposal(Config):
    """A line that the analysis proposes for measuring the thickness, as in ``result.json``."""

    line: Line
    mm: Length
    interval_mm: Interval | None = None
    at_least: bool = False
    ulcerated: bool | None = None
    section: int | None = None
    lesion: int | None = None
    notes: tuple[str, ...] = ()


class SlideDepthProposals(Config):
    """Results of the analysis for a depth reading.

    ``proposals``: the most likely first. ``clark``: an estimate. ``notes``: why results are missing. ``um_per_px``:
    pixel size (height, width) at which the slide was analyzed; None if unknown.
    """

    proposals: tuple[DepthProposal, ...] = ()
    ulcerated: bool | None = None
    clark: int | None = Field(None, ge=1, le=5)
    notes: tuple[str, ...] = ()
    um_per_px: tuple[Length, Length] | None = None
    validity: Validity = Validity()


def latest_reading(depth: SlideDepthReadings) -> DepthReading | None:
    """Return the reading that was changed last, of those with a thickness if there are any; None without any value."""
    readings = [one for one in depth.readings if one.when]
    measured = [one for one in readings if one.mm is not None]
    return max(measured or readings, key=lambda one: parse_time(one.when), default=None)


def merge_readings(depths: Iterable[SlideDepthReadings]) -> SlideDepthReadings:
    """Merge the readings of several files of a slide: the latest state of each, without those that were undone.

    Readings without a name are states of one reading only if they share a change, or have the same values without a
    history; others get a number, as they may be of several persons. A reading that was named in one of its states is
    shown once, with the name.
    """
    groups: list[list[DepthReading]] = []  # states of one reading each
    for reading in (one for depth in depths for one in depth.readings):
        same = [group for group in groups if any(_is_same_reading(one, reading) for one in group)]
        others = [group for group in groups if group not in same]
        groups = [*others, [*(one for group in same for one in group), reading]]
    latest = [_latest_state(group) for group in groups]
    return SlideDepthReadings(readings=_number_unnamed(sorted(filter(_has_values, latest), key=_order_of_states)))


def _latest_state(states: Iterable[DepthReading]) -> DepthReading:
    """Return the latest state of a reading, with the name that it was given in any of them."""
    ordered = sorted(states, key=_order_of_states)
    names = [one.reader for one in ordered if one.reader]
    return ordered[-1].model_copy(update={"reader": names[-1] if names else ""})


def _has_values(reading: DepthReading) -> bool:
    return bool(reading.when)


def _is_same_reading(first: DepthReading, second: DepthReading) -> bool:
    """Whether two readings are states of one: of the same reader, or one has no name and they share a change."""
    if first.reader and second.reader:
        return identify_reader(first.reader) == identify_reader(second.reader)
    changes = [[(one.field, one.before, one.after, one.when) for one in each.history] for each in (first, second)]
    if not all(changes):  # of an early version, or made without a history
        values = [[getattr(each, name) for name in ("reader", *RECORDED_FIELDS)] for each in (first, second)]
        return values[0] == values[1]
    return any(own[0] in other for own, other in (changes, changes[::-1]))


def _order_of_states(reading: DepthReading) -> tuple[datetime, int, str]:
    """Return the key that sorts states of readings, the latest last.

    Undoing all changes is a change, too; rescaling, which does not change ``when``, is none.
    """
    undone = reading.history[-1].when if reading.history else ""
    return parse_time(reading.when or undone), len(reading.history), reading.reader


def _number_unnamed(readings: Iterable[DepthReading]) -> tuple[DepthReading, ...]:
    """Give each reading without a name but the first a number in place of the name."""
    numbers, numbered = count(1), list[DepthReading]()
    for reading in readings:
        number = 0 if reading.reader else next(numbers)
        name = f"{NO_NAME} {number}" if number > 1 else reading.reader
        numbered.append(reading.model_copy(update={"reader": name}))
    return tuple(numbered)


def read_depth_file(path: Path) -> SlideDepthReadings:
    """Read the readings of a slide in a case, or of an earlier version; empty if the file does not exist."""
    if not path.is_file():
        return SlideDepthReadings()
    try:
        return SlideDepthReadings.parse(read_json(path), str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise InputError(f"{path} does not contain valid depth readings: {parse_error_reason(error)}") from error


def parse_proposals(content: Mapping[str, Any]) -> SlideDepthProposals:
    """Parse the proposals in ``content``, a ``result.json``; invalid entries are left out.

    The result is empty if the analysis did not measure the depth.
    """
    entry = content.get("depth")
    entry = entry if isinstance(entry, Mapping) else {}
    listed = entry.get("candidates")
    parsed = [_parse_proposal(values) for values in (listed if isinstance(listed, list) else [])]
    clark, ulcerated = entry.get("clark_estimate"), entry.get("ulceration")
    notes, mpp = entry.get("notes"), content.get("mpp")
    pixel = mpp if entry and isinstance(mpp, list) else []
    is_scaled = [isinstance(um, float | int) and um > 0 for um in pixel] == [True, True]
    return SlideDepthProposals(
        proposals=tuple(proposal for proposal in parsed if proposal is not None),
        ulcerated=ulcerated if isinstance(ulcerated, bool) else None,
        clark=clark if isinstance(clark, int) and 1 <= clark <= 5 else None,
        notes=tuple(str(one) for one in (notes if isinstance(notes, list) else [])),
        um_per_px=(pixel[0], pixel[1]) if is_scaled else None,
        validity=(Validity.from_json(entry.get("validity")) or read_validity(content)) if entry else Validity(),
    )


def _parse_proposal(values: Any) -> DepthProposal | None:  # noqa: ANN401 - any JSON value
    if not isinstance(values, Mapping):
        return None
    known = {key: values[key] for key in DepthProposal.model_fields if key in values}
    try:
        return DepthProposal.parse({**known, "line": (values.get("surface"), values.get("deepest"))}, "result.json")
    except ConfigError:
        return None


def line_length_mm(line: Line, pixel_size: PixelSize | None) -> float:
    """Return the length of a line in mm.

    ``pixel_size``: that of the finest level; raises ScaleMissing if it is None.
    """
    if pixel_size is None:
        raise ScaleMissing(
            "a depth in mm requires micrometers per pixel, and this slide file has none. Set the scale: use the ruler "
            "button beside the slide's name to enter a number or to draw a line over a known length."
        )
    (top, left), (bottom, right) = line
    return float(np.hypot((bottom - top) * pixel_size.y_um, (right - left) * pixel_size.x_um) / 1000)


def automatic_reading(proposals: SlideDepthProposals, chosen: int = 0, size: PixelSize | None = None) -> DepthReading:
    """Return the results of the analysis as a reading that no reader has confirmed.

    ``chosen``: index of the proposal whose line is used; without a proposal, the reading has no line. The Clark level,
    and the ulceration of the slide, are those of the first proposal. ``size``: pixel size of the slide, stored with the
    line unless the slide was analyzed at another one.
    """
    if not 0 <= chosen < len(proposals.proposals):
        return DepthReading(ulcerated=proposals.ulcerated, clark=proposals.clark)
    proposal, analyzed = proposals.proposals[chosen], proposals.um_per_px
    is_rescaled = analyzed is not None and size is not None and not size.is_close(PixelSize(*analyzed))
    return DepthReading(
        method="automatic",
        line=proposal.line,
        mm=proposal.mm,
        interval_mm=proposal.interval_mm,
        at_least=proposal.at_least,
        ulcerated=proposals.ulcerated if chosen == 0 and proposal.ulcerated is None else proposal.ulcerated,
        clark=proposals.clark if chosen == 0 else None,
        um_per_px=analyzed if is_rescaled else _pixel_size_um(size),
    )


def values_for_line(before: DepthReading, line: Line, size: PixelSize | None, *, drawn: bool = False) -> dict[str, Any]:
    """Return the fields of a reading that change when its line is drawn or moved, with their values.

    ``line``: the new line. ``drawn``: it was drawn, not moved. A predicted line that was moved is marked as corrected.
    The prediction interval is removed.
    """
    method = "hand" if drawn or before.line is None or before.method == "hand" else "corrected"
    return {
        "line": line,
        "mm": line_length_mm(line, size),
        "um_per_px": _pixel_size_um(size),
        "method": method,
        "interval_mm": None,
        "at_least": before.at_least and (not drawn or before.method == "hand"),
    }


def current_reading(depth: SlideDepthReadings, base: DepthReading, reader: str) -> DepthReading:
    """Return the reading of a reader, or ``base``, that of the analysis, if the reader has set no value."""
    own = _own_reading(depth, reader)
    return own if own.when else base.model_copy(update={"reader": own.reader, "history": own.history})


def set_values(
    depth: AnyReadings,
    reader: str,
    when: str,
    **values: Any,  # noqa: ANN401 - values of any field
) -> AnyReadings:
    """Set values in the reading of one reader and record the changes; return the same object if nothing changes.

    A new reading has no other values: those of the analysis are not the reader's.
    """
    before = _own_reading(depth, reader)
    changed = {"mm" if field in LINE_FIELDS else field for field in values}
    authors = {**before.all_authors(), **dict.fromkeys(changed & {*AUTHORED_FIELDS}, "reader")}
    after = DepthReading.parse({**dict(before), **values, "authors": authors}, "a reading")
    if "remarks" not in values:
        kept = {name: one for name, one in before.remarks.items() if not _is_replaced(name, changed, after)}
        after = after.model_copy(update={"remarks": kept})
    after = after.model_copy(update={"when": when, "authors": after.all_authors()})
    changes = _list_changes(before, after, reader, when)
    return with_reading(depth, after.model_copy(update={"history": (*before.history, *changes)})) if changes else depth


def _is_replaced(name: str, changed: set[str], after: DepthReading) -> bool:
    """Whether a remark is outdated, because its finding was set without one."""
    field = FINDINGS.get(name)
    return field in changed and (field not in ("mitoses", "margins") or after.finding(name) is not None)


def add_reading(depth: AnyReadings, reading: DepthReading, size: PixelSize | None, when: str) -> AnyReadings:
    """Add an imported reading, with the change in its history; a reader who has a reading keeps it.

    ``size``: pixel size of the slide, stored with the line.
    """
    if _own_reading(depth, reading.reader).when:
        return depth
    values = {field: getattr(reading, field) for field in (*LINE_FIELDS, *AUTHORED_FIELDS)}
    values["um_per_px"] = None if reading.line is None else _pixel_size_um(size)
    return set_values(depth, reading.reader, when, **values)


def _own_reading(depth: SlideDepthReadings, reader: str) -> DepthReading:
    """Return the reading of a reader; without values, but with its history, if the reader has set none."""
    own = depth.reading_by(reader)
    if own is None or own.when:
        return own or DepthReading(reader=reader)
    return DepthReading(reader=own.reader, history=own.history)


def rename_reader(depth: AnyReadings, before: str, after: str) -> AnyReadings:
    """Rename a reader, also in the history of the reading; nothing changes if the new name has a reading already."""
    own, other = depth.reading_by(before), depth.reading_by(after)
    if own is None or (other is not None and other.when):
        return depth
    after = depth.spelling_of(after)
    history = tuple(one.model_copy(update={"reader": after}) if one.reader == before else one for one in own.history)
    earlier = () if other is None else other.history
    moved = own.model_copy(update={"reader": after, "history": (*earlier, *history)})
    kept = (one for one in depth.readings if one.reader not in (before, after))
    return depth.model_copy(update={"readings": (*kept, moved)})


def restore_values(now: AnyReadings, target: SlideDepthReadings, reader: str, when: str) -> AnyReadings:
    """Restore the values of ``target`` for undo and redo, and record the change.

    The histories of ``now`` are kept and extended. A reader without values in ``target`` keeps an empty reading with
    the history.
    """
    result = now
    for name in dict.fromkeys(reading.reader for reading in (*now.readings, *target.readings)):
        found = ({one.reader: one for one in depth.readings}.get(name) for depth in (now, target))
        before, after = (one or DepthReading(reader=name) for one in found)
        changes = _list_changes(before, after, reader, when)
        if changes or bool(before.when) != bool(after.when):
            update = {"history": (*before.history, *changes), "when": when if after.when else ""}
            result = with_reading(result, after.model_copy(update=update))
    return result


def count_mitoses(
    points: tuple[Point, ...],
    areas: tuple[tuple[Point, ...], ...],
    size: PixelSize | None,
    *,
    none_found: bool = False,
) -> MitosisCount:
    """Count the mitoses within the areas drawn for this; mitoses outside are kept, but not counted.

    ``points``: the mitoses. ``size``: pixel size of the finest level; without it, the area in mm² is None.
    ``none_found``: the reader states that there is no mitosis; otherwise, no mitosis is no count.
    """
    pieces = [piece for area in areas for piece in untangle_polygon(Polygon(area))]
    marked = int(points_within(points, pieces).sum()) if areas else len(points)
    counted = marked if marked or none_found else None
    pixels = joint_area(pieces)
    mm2 = pixels * size.y_um * size.x_um / 1e6 if size is not None and pixels > 0 else None
    per_mm2 = None if mm2 is None or counted is None else counted / mm2
    return MitosisCount(
        points=points,
        areas=areas,
        none_found=none_found and not marked,
        counted=counted,
        mm2=mm2,
        um_per_px=None if mm2 is None else _pixel_size_um(size),
        per_mm2=per_mm2,
    )


def rescale_readings(
    depth: AnyReadings, size: PixelSize, reader: str, when: str, previous: PixelSize | None = None
) -> AnyReadings:
    """Rescale all readings after the pixel size of a slide was changed; what was entered is kept.

    ``reader``, ``when``: recorded with the changes; the reading that was changed last by a reader stays the latest.
    ``previous``: the pixel size before, if it is known. Returns the same object if all readings have this
    scale already.
    """
    for reading in depth.readings:
        values: dict[str, Any] = {}
        before, now = reading.um_per_px, _pixel_size_um(size)
        if reading.line is not None and reading.mm is not None and before is not None and before != now:
            (top, left), (bottom, right) = reading.line
            before_um = float(np.hypot((bottom - top) * before[0], (right - left) * before[1]))
            factor = line_length_mm(reading.line, size) / before_um * 1000 if before_um else 1.0
            values = {"mm": reading.mm * factor, "um_per_px": now}
            if reading.interval_mm is not None:
                values["interval_mm"] = tuple(end * factor for end in reading.interval_mm)
        if reading.mitoses.areas:
            values["mitoses"] = _rescale_mitoses(reading, before or _pixel_size_um(previous), size)
        rescaled = DepthReading.parse({**dict(reading), **values}, "a reading")
        changes = _list_changes(reading, rescaled, reader, when)
        if changes:
            update = {"history": (*reading.history, *changes), "authors": reading.all_authors()}
            depth = with_reading(depth, rescaled.model_copy(update=update))
    return depth


def _rescale_mitoses(reading: DepthReading, before: tuple[float, float] | None, size: PixelSize) -> MitosisCount:
    """Compute the area and rate of a reading at another scale; a number or a reason that was entered is kept.

    ``before``: the previous pixel size, by which a drawn area is recognized if it does not state its own.
    """
    mitoses = reading.mitoses
    pixels = joint_area([piece for area in mitoses.areas for piece in untangle_polygon(Polygon(area))])
    mm2, rate, counted, scale = mitoses.mm2, mitoses.per_mm2, mitoses.counted, mitoses.um_per_px
    is_computed = rate is None if mm2 is None else bool(mm2 and counted is not None) and _is_close(rate, counted, mm2)
    measured_at = scale or before
    is_drawn = mm2 is None or (
        measured_at is not None and _is_close(mm2, pixels * measured_at[0] * measured_at[1], 1e6)
    )
    if pixels > 0 and is_drawn and not _is_stated(reading, "mitoses_area"):
        mm2, scale = pixels * size.y_um * size.x_um / 1e6, _pixel_size_um(size)
    if is_computed and not _is_stated(reading, "mitotic_rate"):
        rate = counted / mm2 if mm2 and counted is not None else None
    return mitoses.model_copy(update={"mm2": mm2, "per_mm2": rate, "um_per_px": scale})


def _is_stated(reading: DepthReading, name: str) -> bool:
    """Whether a reader has stated why a finding has no value."""
    remark = reading.remarks.get(name)
    return remark is not None and remark.state != ANSWERED and reading.finding(name) is None


def _is_close(value: float | None, numerator: float | None, denominator: float) -> bool:
    return value is not None and numerator is not None and isclose(value, numerator / denominator, rel_tol=1e-6)


def _pixel_size_um(size: PixelSize | None) -> tuple[float, float] | None:
    """Convert a pixel size to the value of ``um_per_px``."""
    return None if size is None else (size.y_um, size.x_um)


def with_reading(depth: AnyReadings, reading: DepthReading) -> AnyReadings:
    """Return the readings with one of them added, or replaced by another of the same reader."""
    readings = [reading if other.reader == reading.reader else other for other in depth.readings]
    if reading not in readings:
        readings.append(reading)
    return depth.model_copy(update={"readings": tuple(readings)})


def _list_changes(before: DepthReading, after: DepthReading, reader: str, when: str) -> tuple[ReadingChange, ...]:
    """List the values, or their authors, that differ; a value of the model is recorded as the model's."""
    changes = []
    for name in RECORDED_FIELDS:
        key = "mm" if name in LINE_FIELDS else name
        is_confirmed = name == key and (before.author(key), after.author(key)) == ("model", "reader")
        is_other = getattr(before, name) != getattr(after, name) or before.absences(name) != after.absences(name)
        if is_confirmed or is_other:
            values = {"before": _json_value(before, name), "after": _json_value(after, name)}
            author = MODEL_READER if after.author(key) == "model" else reader
            changes.append(ReadingChange(field=name, **values, reader=author, when=when))
    if not changes and before.remarks != after.remarks:
        changes.append(ReadingChange(field="remarks", reader=reader, when=when))  # whose texts may be private
    return tuple(changes)


def list_all_changes(reading: DepthReading) -> tuple[ReadingChange, ...]:
    """Return the history of a reading with changes that it lacks, by other programs: their reader and time are unknown.

    They are found by values that differ from what the history states. Fields without a history are left out.
    """
    known, changes = dict[str, Any](), list[ReadingChange]()

    def compare(name: str, value: Any) -> None:  # noqa: ANN401 - JSON
        if name in known and known[name] != value:
            changes.append(ReadingChange(field=name, before=known[name], after=value, reader=UNKNOWN_READER))

    for change in reading.history:
        compare(change.field, change.before)
        known[change.field] = change.after
        changes.append(change)
    for name in RECORDED_FIELDS:
        compare(name, _json_value(reading, name))
    return tuple(changes)


def _json_value(reading: DepthReading, name: str) -> Any:  # noqa: ANN401 - value of any field
    """Return the value of a field as recorded in the history, without the keys in ``SHORTENED_FIELDS``.

    Of a field without a value: why there is none.
    """
    absences = reading.absences(name)
    if absences and getattr(reading, name) is None:
        return absences[0]
    dumped = reading.model_dump(mode="json", include={name})[name]
    if name not in FINDINGS.values() or not isinstance(dumped, dict):
        return dumped
    remarks = reading.remarks.items()
    states = {FINDING_KEYS[key]: one.state for key, one in remarks if FINDINGS[key] == name and one.state != ANSWERED}
    dumped = {key: states.get(key, part) if part is None else part for key, part in dumped.items()}
    return {key: part for key, part in dumped.items() if key not in SHORTENED_FIELDS.get(name, ())}


NEAR_LIMIT_MM = 0.05  # precision of a manual measurement: a thickness this close to a limit should be re-checked
SAME_LENGTH_MM = 0.005  # lengths that differ less are shown as the same
NOT_MEASURED = "Not measured."
NO_NAME = "(no name)"  # of a reader
METHOD_NAMES = {
    "automatic": "line of the model, accepted",
    "hand": "by hand",
    "corrected": "predicted line, moved by hand",
}
YES_NO = {None: "–", True: "yes", False: "no"}
AUTHORED = ("mm", "ulcerated", "clark")  # values that a model may have set


def format_headline(reading: DepthReading, validity: Validity | None = None) -> str:
    """Format thickness and T category, such as ``1.34 mm (1.20 to 1.50), T2a``.

    ``validity``: that of the analysis. It affects only a reading that no reader has confirmed: the thickness of a
    demonstration model is marked, and a thickness that is not valid is replaced by the reason.
    """
    predicted = validity if not reading.when else None  # None if a reader has confirmed the reading
    if predicted is not None and not predicted.valid:
        return predicted.headline("")
    if reading.mm is None:
        return NOT_MEASURED
    thickness = format_thickness(reading.mm, reading.interval_mm, at_least=reading.at_least)
    text = f"{thickness}, {format_category(reading)}"
    return text if predicted is None else predicted.headline(text)


def format_category(reading: DepthReading) -> str:
    """Format the T category of a reading, such as ``T2a`` or ``T2a or more``; a dash without a thickness."""
    if reading.mm is None:
        return "–"
    category = category_of_thickness(reading.mm, reading.ulcerated)
    return f"{category}{' or more' if is_lower_bound(category, at_least=reading.at_least) else ''}"


def describe_origin(reading: DepthReading) -> str:
    """Describe how a thickness was measured, such as ``by hand, Reader A, 2026-01-02 10:00``; empty if it was not."""
    if reading.mm is None:
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


def reading_warnings(reading: DepthReading, size: PixelSize | None, *, of_findings: bool = True) -> tuple[str, ...]:
    """List warnings about the thickness at the pixel size of the slide, and ``of_findings`` that it is stated with."""
    found = describe_entered_thickness(reading, size), *(_list_finding_warnings(reading) if of_findings else ())
    warnings = [text for text in found if text]
    if not reading.mm:
        return tuple(warnings)
    categories = categories_in_interval(reading.interval_mm, reading.ulcerated) if reading.interval_mm else ()
    near = (one for one in CATEGORY_LIMITS_MM if round(abs(reading.mm - one), 6) <= NEAR_LIMIT_MM)
    limit = next(near, None)
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
    if of_findings and reading.ulcerated is None and len(t_category(reading.mm, None)) == 2:
        reason = _format_or_reason(reading, "ulcerated", "unknown")
        warnings.append(f"The category has no letter (ulceration: {reason}).")
    if reading.at_least:
        warnings.append("The melanoma may be thicker: it reaches the edge of the section.")
    measured_at = reading.um_per_px
    if measured_at is not None and size is not None and measured_at != (size.y_um, size.x_um):
        before, now = format_scale(*measured_at), format_scale(size.y_um, size.x_um)
        warnings.append(f"Measured at {before} µm per pixel; the slide is now set to {now}.")
    return tuple(warnings)


def _list_finding_warnings(reading: DepthReading) -> Iterator[str]:
    yield describe_contradiction(reading.mm, reading.clark)
    findings = {"ulcerated": "ulceration", "clark": "the Clark level"}.items() if reading.when else ()
    if predicted := [name for field, name in findings if reading.author(field) == "model"]:
        yield f"Predicted by the model, not confirmed by the reader: {' and '.join(predicted)}."


def proposal_row(number: int, proposal: DepthProposal) -> tuple[str, str]:
    """Return the cells of a predicted line: its number with section, lesion and ulceration, and its thickness."""
    section = None if proposal.section is None else f"section {proposal.section + 1}"
    lesion = None if proposal.lesion is None else f"lesion {proposal.lesion}"
    parts = (str(number), section, lesion, "ulcerated" if proposal.ulcerated else None)
    thickness = format_thickness(proposal.mm, proposal.interval_mm, at_least=proposal.at_least)
    return ", ".join(part for part in parts if part), thickness


def describe_mitoses(reading: DepthReading) -> str:
    """Describe the mitoses of a reading, with why there is no rate if the reader has stated it."""
    mitoses, remark = reading.mitoses, reading.remarks.get("mitotic_rate")
    if mitoses.per_mm2 is not None or remark is None or remark.state == ANSWERED:
        return format_mitoses(mitoses)
    if mitoses.counted is None:
        return to_sentence(remark.state)
    return f"{mitoses.counted} counted; rate {remark.state}."


def _count_marked(mitoses: MitosisCount) -> int:
    """Return the number of marked mitoses within the areas; another one may have been entered."""
    return count_mitoses(mitoses.points, mitoses.areas, None, none_found=True).counted or 0


def format_mitoses(mitoses: MitosisCount) -> str:
    """Format the number of mitoses, per square millimeter if the area is known."""
    outside = len(mitoses.points) - _count_marked(mitoses)
    not_counted = f"; {outside} outside the area not counted" if outside else ""
    if mitoses.counted is None and mitoses.per_mm2 is not None:
        return f"{mitoses.per_mm2:.4g} per mm², entered as a number{not_counted}."
    if mitoses.counted is None:
        area = "" if mitoses.mm2 is None else f" in {format_small(mitoses.mm2)} mm²"
        hint = " Count mitoses in Measure, or press None found." if mitoses.areas else ""
        return f"Not counted{area}{not_counted}.{hint}"
    count = "none found" if mitoses.none_found else f"{mitoses.counted} counted"
    count = count[:1].upper() + count[1:]
    if mitoses.mm2 is None or mitoses.per_mm2 is None:
        hint = "" if mitoses.areas else ". Select the counted region to get the number per mm²"
        return f"{count}{hint}{not_counted}."
    imprecise = " (imprecise: the area is below 1 mm²)" if mitoses.mm2 < 0.95 else ""
    return f"{count} in {format_small(mitoses.mm2)} mm²: {mitoses.per_mm2:.1f} per mm²{imprecise}{not_counted}."


def reader_rows(
    depth: SlideDepthReadings, reader: str, predicted: DepthReading, validity: Validity
) -> list[tuple[str, ...]]:
    """List the readings of a slide: reader, thickness in mm, T category, ulceration, Clark level, mitoses per mm².

    The first row is that of ``reader``, the last that of the model, without values if they are not valid. The table is
    empty until the reader has measured, to keep the reading independent.

    ``predicted``: the reading of the analysis.
    """
    own = depth.reading_by(reader)
    if own is None or not has_measured(depth, reader):
        return []
    others = (one for one in depth.readings if one is not own and one.when)
    rows = [_reader_row(one.reader or NO_NAME, one) for one in (own, *others)]
    if predicted.mm is None:
        return rows
    if not validity.valid:
        return [*rows, ("model", "not valid", "not valid", "–", "–", "–")]
    return [*rows, _reader_row("demonstration model" if validity.demonstration else "model", predicted)]


def has_measured(depth: SlideDepthReadings, reader: str) -> bool:
    """Whether a reader has measured the thickness; until then, those of others are hidden."""
    own = depth.reading_by(reader)
    return own is not None and bool(own.when) and own.mm is not None


def hides_others(depth: SlideDepthReadings, reader: str) -> bool:
    """Whether other readers have measured the thickness, and this one has not: their findings are hidden from it."""
    own = depth.reading_by(reader)
    is_measured = any(one is not own and one.when and one.mm is not None for one in depth.readings)
    return is_measured and not has_measured(depth, reader)


def describe_hidden_readings(depth: SlideDepthReadings, reader: str) -> str:
    """State how many readings of others are hidden until the reader has measured; empty if none are."""
    if not hides_others(depth, reader):
        return ""
    count = format_count(sum(bool(one.when) and one.mm is not None for one in depth.readings), "other reader")
    return f"{count} measured this slide. Readings are shown after you have measured, to keep yours independent."


def compare_readings(depth: SlideDepthReadings, reader: str) -> list[tuple[str, str, str]]:
    """List other readers with their thickness, and how much it is above that of ``reader``; a dash for lower bounds.

    The list is empty until the reader has measured.
    """
    own, rows = depth.reading_by(reader), list[tuple[str, str, str]]()
    if own is None or own.mm is None or not own.when:
        return rows
    for one in depth.readings:
        if one is own or one.mm is None or not one.when:
            continue
        thickness = format_thickness(one.mm, at_least=one.at_least)
        shown = round_measured_thickness(one.mm) - round_measured_thickness(own.mm)
        difference = "–" if one.at_least or own.at_least else f"{round(shown, 2) + 0.0:+.2f} mm"
        rows.append((one.reader or NO_NAME, thickness, difference))
    return rows


def describe_proposals(proposals: SlideDepthProposals, reading: DepthReading, chosen: int = 0) -> str:
    """Describe the predicted lines, with the notes of the chosen one, or why there are none."""
    parts: list[str] = []
    if proposals.proposals:
        parts = ["the most likely line is the first"] if len(proposals.proposals) > 1 else []
        parts += proposals.proposals[chosen].notes if chosen < len(proposals.proposals) else ()
    if proposals.clark is not None and chosen == 0 and reading.author("clark") != "reader":
        parts.append(f"Clark level {format_clark_level(proposals.clark)} is an estimate")
    return " ".join(f"{one[:1].upper()}{one[1:].rstrip('.')}." for one in (*parts, *proposals.notes))


def _reader_row(name: str, reading: DepthReading) -> tuple[str, ...]:
    at_least = "at least " if reading.at_least else ""
    mm = "" if reading.mm is None else f"{at_least}{round_measured_thickness(reading.mm):.2f}"
    per_mm2 = reading.mitoses.per_mm2
    by_model = {name: " (model)" if reading.when and reading.author(name) == "model" else "" for name in AUTHORED}
    return (
        name,
        _format_or_reason(reading, "mm", mm or "–") + by_model["mm"],
        format_category(reading),
        _format_or_reason(reading, "ulcerated", YES_NO[reading.ulcerated]) + by_model["ulcerated"],
        _format_or_reason(reading, "clark", format_clark_level(reading.clark)) + by_model["clark"],
        "–" if per_mm2 is None else f"{per_mm2:.1f}",
    )


def _format_or_reason(reading: DepthReading, field: str, text: str) -> str:
    """Return a formatted value, or why there is none."""
    return text if getattr(reading, field) is not None else next(iter(reading.absences(field)), text)

"""Readings of depth: the file ``depth.json``, its values and their changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import ConfigError, InputError, ScaleMissing
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.polygons import Polygon, joint_area, points_within, untangle_polygon
from napari_melanoma.core.validity import Validity, read_slide_validity

if TYPE_CHECKING:
    from napari_melanoma.core.geometry import PixelSize

DEPTH_FILE = "depth.json"
MODEL_READER = "model"  # recorded as the reader of values from the analysis
RECORDED_FIELDS = (
    *("line", "mm", "interval_mm", "at_least", "method"),
    *("ulcerated", "clark", "clark_by", "margins", "mitoses", "notes"),
)
# Left out of the history, which would otherwise repeat all marked points at each change.
SHORTENED_FIELDS = {"mitoses": ("points", "areas")}
Number = Annotated[float, Field(allow_inf_nan=False)]
Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Point = tuple[Number, Number]
Line = tuple[Point, Point]
Interval = tuple[Length, Length]
Method = Literal["automatic", "hand", "corrected"]


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
    """Marked mitoses, and the areas in which they were counted, in pixels of the finest level."""

    points: tuple[Point, ...] = ()
    areas: tuple[tuple[Point, ...], ...] = ()
    counted: int | None = Field(None, ge=0, description="mitoses within the areas; all of them without an area")
    mm2: Length | None = Field(None, description="total area")
    per_mm2: Length | None = None


class DepthReading(Config):
    """Reading of one reader: depth of a melanoma and the other values of a report."""

    reader: str = Field("", description="name; empty if not given")
    when: str = Field("", description="time of the last change, UTC, ISO 8601; empty if all changes were undone")
    method: Method = Field("hand", description="of the line; corrected: a predicted line that was moved by hand")
    line: Line | None = Field(None, description="surface and deepest, (row, column) in pixels of the finest level")
    um_per_px: tuple[Length, Length] | None = Field(
        None, description="along rows and columns, at the time of measuring"
    )
    mm: Length | None = Field(None, description="Breslow thickness")
    interval_mm: Interval | None = None
    at_least: bool = Field(False, description="the melanoma reaches the edge of the section: it may be thicker")
    ulcerated: bool | None = None
    clark: int | None = Field(None, ge=1, le=5)
    clark_by: Literal["", "estimate", "hand"] = ""
    margins: ExcisionMargins = ExcisionMargins()
    mitoses: MitosisCount = MitosisCount()
    notes: str = ""
    history: tuple[ReadingChange, ...] = ()


class SlideDepthReadings(Config):
    """All readings of a slide, one for each reader."""

    format_version: Literal[1] = 1
    fingerprint: str = Field("", description="of the slide")
    readings: tuple[DepthReading, ...] = ()

    def reading_by(self, reader: str) -> DepthReading | None:
        """Return the stored reading of a reader; None if there is none."""
        return next((one for one in self.readings if one.reader == reader), None)


class DepthProposal(Config):
    """A line that the analysis predicted for measuring the thickness, as in ``result.json``."""

    line: Line
    mm: Length
    interval_mm: Interval | None = None
    at_least: bool = False
    ulcerated: bool | None = None
    section: int | None = None
    lesion: int | None = None
    notes: tuple[str, ...] = ()


class SlideDepthProposals(Config):
    """Results of the analysis for the depth; ``clark`` is an estimate, ``notes`` explain missing results."""

    proposals: tuple[DepthProposal, ...] = ()
    ulcerated: bool | None = None
    clark: int | None = Field(None, ge=1, le=5)
    notes: tuple[str, ...] = ()
    validity: Validity = Validity()


def read_depth(folder: Path) -> SlideDepthReadings:
    """Read the readings of a slide; empty if there are none."""
    return read_depth_file(folder / DEPTH_FILE)


def read_depth_file(path: Path) -> SlideDepthReadings:
    """Read readings from a file, such as that of a slide in a case; empty if it does not exist."""
    if not path.is_file():
        return SlideDepthReadings()
    try:
        return SlideDepthReadings.parse(read_json(path), str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise InputError(f"{path} does not contain valid depth readings: {parse_error_reason(error)}") from error


def write_depth(folder: Path, depth: SlideDepthReadings) -> None:
    """Write the readings atomically."""
    write_json(folder / DEPTH_FILE, depth.model_dump(mode="json"))


def parse_proposals(content: Mapping[str, Any]) -> SlideDepthProposals:
    """Parse the depth in the results of an analysis.

    Returns the best line first; empty if the analysis has no depth. Invalid entries are left out.
    """
    entry = content.get("depth")
    entry = entry if isinstance(entry, Mapping) else {}
    listed = entry.get("candidates")
    found = [_parse_proposal(one) for one in (listed if isinstance(listed, list) else [])]
    clark, ulcerated = entry.get("clark_estimate"), entry.get("ulceration")
    notes = entry.get("notes")
    return SlideDepthProposals(
        proposals=tuple(one for one in found if one is not None),
        ulcerated=ulcerated if isinstance(ulcerated, bool) else None,
        clark=clark if isinstance(clark, int) and 1 <= clark <= 5 else None,
        notes=tuple(str(one) for one in (notes if isinstance(notes, list) else [])),
        validity=(Validity.from_json(entry.get("validity")) or read_slide_validity(content)) if entry else Validity(),
    )


def _parse_proposal(values: Any) -> DepthProposal | None:  # noqa: ANN401 - any JSON value
    """Parse one line; None if it is invalid."""
    if not isinstance(values, Mapping):
        return None
    kept = {key: values[key] for key in DepthProposal.model_fields if key in values}
    try:
        return DepthProposal.parse({**kept, "line": (values.get("surface"), values.get("deepest"))}, "result.json")
    except ConfigError:
        return None


def line_length_mm(line: Line, pixel_size: PixelSize | None) -> float:
    """Return the length of a line in mm.

    ``line``: both ends, (row, column) in pixels of the finest level. ``pixel_size``: of these pixels, separate for rows
    and columns.
    """
    if pixel_size is None:
        raise ScaleMissing(
            "a depth in mm requires micrometers per pixel, and this slide file has none. Set the scale: use the ruler "
            "button beside the slide's name to enter a number or to draw a line over a known length."
        )
    (top, left), (bottom, right) = line
    return float(np.hypot((bottom - top) * pixel_size.y_um, (right - left) * pixel_size.x_um) / 1000)


def automatic_reading(proposals: SlideDepthProposals, chosen: int = 0, size: PixelSize | None = None) -> DepthReading:
    """Return the values of the analysis as a reading that no reader has confirmed.

    ``size``: pixel size of the slide, stored with the line. Without a line where none was predicted.
    """
    estimate: dict[str, Any] = {}
    if proposals.clark is not None:
        estimate = {"clark": proposals.clark, "clark_by": "estimate"}
    if not 0 <= chosen < len(proposals.proposals):
        return DepthReading(ulcerated=proposals.ulcerated, **estimate)
    one = proposals.proposals[chosen]
    ulcerated = proposals.ulcerated if one.ulcerated is None else one.ulcerated
    kept = {"line": one.line, "mm": one.mm, "interval_mm": one.interval_mm, "at_least": one.at_least}
    return DepthReading(method="automatic", ulcerated=ulcerated, um_per_px=_pixel_size_um(size), **kept, **estimate)


def values_for_line(before: DepthReading, line: Line, size: PixelSize | None, *, drawn: bool = False) -> dict[str, Any]:
    """Return the changed values of a reading after its line was drawn or moved.

    ``line``: surface and deepest, in pixels of the finest level. ``size``: of these pixels. ``drawn``: a new line
    instead of the previous one. A predicted line that was moved is marked as corrected, and loses its interval.
    """
    method = "hand" if drawn or before.line is None or before.method == "hand" else "corrected"
    values = {"line": line, "mm": line_length_mm(line, size), "um_per_px": _pixel_size_um(size)}
    return {
        **values,
        "method": method,
        "interval_mm": None,
        "at_least": before.at_least and (not drawn or before.method == "hand"),
    }


def current_reading(depth: SlideDepthReadings, base: DepthReading, reader: str) -> DepthReading:
    """Return the reading of a reader; that of the analysis if the reader has set no value."""
    own = depth.reading_by(reader)
    if own is not None and own.when:
        return own
    return base.model_copy(update={"reader": reader, "history": () if own is None else own.history})


def set_values(
    depth: SlideDepthReadings,
    base: DepthReading,
    reader: str,
    when: str,
    **values: Any,  # noqa: ANN401 - values of any field
) -> SlideDepthReadings:
    """Set values of one reader, and record the previous ones; return the same object if nothing changes."""
    own, before = depth.reading_by(reader), current_reading(depth, base, reader)
    begins = own is None or not own.when
    after = DepthReading.parse({**dict(before), **values}, "a reading")
    changes = _list_changes(before, after, reader, when)
    if not changes and (values or not begins or before.line is None):
        return depth
    initial = _list_changes(DepthReading(), before, MODEL_READER, when) if begins else ()
    return _with_reading(
        depth, after.model_copy(update={"when": when, "history": (*before.history, *initial, *changes)})
    )


def rename_reader(depth: SlideDepthReadings, before: str, after: str) -> SlideDepthReadings:
    """Rename the reader of a reading and of its history, unless the new name has a reading already."""
    own, other = depth.reading_by(before), depth.reading_by(after)
    if own is None or (other is not None and other.when):
        return depth
    history = tuple(one.model_copy(update={"reader": after}) if one.reader == before else one for one in own.history)
    earlier = () if other is None else other.history
    moved = own.model_copy(update={"reader": after, "history": (*earlier, *history)})
    kept = (one for one in depth.readings if one.reader not in (before, after))
    return depth.model_copy(update={"readings": (*kept, moved)})


def restore_values(now: SlideDepthReadings, target: SlideDepthReadings, reader: str, when: str) -> SlideDepthReadings:
    """Restore the values of ``target`` for undo and redo, and record the change.

    The history of ``now`` is kept and extended. A reader without values in ``target`` keeps an empty reading with its
    history.
    """
    result = now
    for name in dict.fromkeys(one.reader for one in (*now.readings, *target.readings)):
        one, then = (depth.reading_by(name) or DepthReading(reader=name) for depth in (now, target))
        changes = _list_changes(one, then, reader, when)
        if changes or bool(one.when) != bool(then.when):
            kept = {"history": (*one.history, *changes), "when": when if then.when else ""}
            result = _with_reading(result, then.model_copy(update=kept))
    return result


def count_mitoses(
    points: tuple[Point, ...], areas: tuple[tuple[Point, ...], ...], size: PixelSize | None
) -> MitosisCount:
    """Count mitoses within the areas drawn for it.

    ``points``: each mitosis, (row, column) in pixels of the finest level. ``size``: of these pixels; the area is None
    without it. Mitoses outside the areas are kept and not counted.
    """
    pieces = [piece for area in areas for piece in untangle_polygon(Polygon(area))]
    counted = int(points_within(points, pieces).sum()) if areas else len(points)
    pixels = joint_area(pieces)
    mm2 = pixels * size.y_um * size.x_um / 1e6 if size is not None and pixels > 0 else None
    per = None if mm2 is None else counted / mm2
    return MitosisCount(points=points, areas=areas, counted=counted, mm2=mm2, per_mm2=per)


def rescale_readings(depth: SlideDepthReadings, size: PixelSize, reader: str, when: str) -> SlideDepthReadings:
    """Rescale the readings after the pixel size of a slide was changed.

    Returns the same object where the scale is that of all readings. Lengths that were entered as numbers are kept.
    """
    for one in depth.readings:
        values: dict[str, Any] = {}
        before, now = one.um_per_px, _pixel_size_um(size)
        if one.line is not None and one.mm is not None and before is not None and before != now:
            factor = _rescaling_factor(one.line, before, size)
            values = {"mm": one.mm * factor, "um_per_px": now}
            if one.interval_mm is not None:
                values["interval_mm"] = tuple(end * factor for end in one.interval_mm)
        if one.mitoses.areas:
            values["mitoses"] = count_mitoses(one.mitoses.points, one.mitoses.areas, size)
        after = DepthReading.parse({**dict(one), **values}, "a reading")
        changes = _list_changes(one, after, reader, when)
        if changes:
            depth = _with_reading(depth, after.model_copy(update={"history": (*one.history, *changes), "when": when}))
    return depth


def _rescaling_factor(line: Line, um_per_px: tuple[float, float], size: PixelSize) -> float:
    """Length of a line at a new scale, relative to that at the scale of its measurement; 1 for a line of length 0."""
    (top, left), (bottom, right) = line
    before_um = float(np.hypot((bottom - top) * um_per_px[0], (right - left) * um_per_px[1]))
    return line_length_mm(line, size) / before_um * 1000 if before_um else 1.0


def _pixel_size_um(size: PixelSize | None) -> tuple[float, float] | None:
    """A pixel size as stored in readings."""
    return None if size is None else (size.y_um, size.x_um)


def _with_reading(depth: SlideDepthReadings, reading: DepthReading) -> SlideDepthReadings:
    """Replace or add one reading."""
    others = [reading if one.reader == reading.reader else one for one in depth.readings]
    if depth.reading_by(reading.reader) is None:
        others.append(reading)
    return depth.model_copy(update={"readings": tuple(others)})


def _list_changes(before: DepthReading, after: DepthReading, reader: str, when: str) -> tuple[ReadingChange, ...]:
    """List the values that differ between two readings."""
    return tuple(
        ReadingChange(
            field=name, before=_json_value(before, name), after=_json_value(after, name), reader=reader, when=when
        )
        for name in RECORDED_FIELDS
        if getattr(before, name) != getattr(after, name)
    )


def _json_value(reading: DepthReading, name: str) -> Any:  # noqa: ANN401 - value of any field
    """A value as in JSON, without ``SHORTENED_FIELDS``."""
    value = reading.model_dump(mode="json", include={name})[name]
    return (
        {key: one for key, one in value.items() if key not in SHORTENED_FIELDS[name]}
        if name in SHORTENED_FIELDS
        else value
    )

"""Readings of depth: ``depth.json``, its edits and values."""

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
from napari_melanoma.core.polygons import Polygon, joint_area, ring_contains, untangle_polygon
from napari_melanoma.core.validity import Validity
from napari_melanoma.io.results import read_slide_validity

if TYPE_CHECKING:
    from napari_melanoma.core.geometry import PixelSize

DEPTH_FILE = "depth.json"
Number = Annotated[float, Field(allow_inf_nan=False)]
Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Point = tuple[Number, Number]
Line = tuple[Point, Point]
Interval = tuple[Length, Length]
Method = Literal["automatic", "hand", "corrected"]


class ReadingChange(Config):
    """One value that somebody set: what it was and became, who did it and when."""

    field: str
    before: Any = None
    after: Any = None
    reader: str = ""
    when: str = Field("", description="UTC, ISO 8601")


class ExcisionMargins(Config):
    """How far the melanoma stays from the edges of what was cut out, in mm; None where nobody measured it."""

    lateral_mm: Length | None = None
    deep_mm: Length | None = None


class MitosisCount(Config):
    """Mitoses that were marked, and the area in which they were counted, in pixels of the finest level."""

    points: tuple[Point, ...] = ()
    areas: tuple[tuple[Point, ...], ...] = ()
    counted: int | None = Field(None, ge=0, description="those within the area; all, where there is none")
    mm2: Length | None = Field(None, description="the area")
    per_mm2: Length | None = None


class DepthReading(Config):
    """What one reader says of the depth of a melanoma, and of what a report names beside it."""

    reader: str = Field("", description="who; empty where nobody said so")
    when: str = Field("", description="of the last change, UTC, ISO 8601; empty where all was undone")
    method: Method = Field("hand", description="of the line; corrected: a model's that was moved by hand")
    line: Line | None = Field(None, description="surface and deepest, (row, column) in pixels of the finest level")
    um_per_px: tuple[Length, Length] | None = Field(None, description="along rows and columns, when it was measured")
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
    """All readings of a slide, each reader's apart."""

    format_version: Literal[1] = 1
    fingerprint: str = Field("", description="of the slide")
    readings: tuple[DepthReading, ...] = ()

    def reading_by(self, reader: str) -> DepthReading | None:
        """Find what one reader says.

        None where that reader set nothing yet.
        """
        return next((one for one in self.readings if one.reader == reader), None)


class DepthProposal(Config):
    """A line that the analysis found, as ``result.json`` has it: where a thickness may be measured."""

    line: Line
    mm: Length
    interval_mm: Interval | None = None
    at_least: bool = False
    ulcerated: bool | None = None
    section: int | None = None
    lesion: int | None = None
    notes: tuple[str, ...] = ()


class SlideDepthProposals(Config):
    """What the analysis of a slide says of the depth; ``clark`` is its estimate, ``notes`` say why there is nothing."""

    proposals: tuple[DepthProposal, ...] = ()
    ulcerated: bool | None = None
    clark: int | None = Field(None, ge=1, le=5)
    notes: tuple[str, ...] = ()
    validity: Validity = Validity()


def read_depth(folder: Path) -> SlideDepthReadings:
    """Read what was measured.

    Empty where nothing was measured.
    """
    path = folder / DEPTH_FILE
    if not path.is_file():
        return SlideDepthReadings()
    try:
        return SlideDepthReadings.parse(read_json(path), str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise InputError(f"{path} cannot be read as readings of depth: {parse_error_reason(error)}") from error


def write_depth(folder: Path, depth: SlideDepthReadings) -> None:
    """Keep what was measured, atomically."""
    write_json(folder / DEPTH_FILE, depth.model_dump(mode="json"))


def parse_proposals(content: Mapping[str, Any]) -> SlideDepthProposals:
    """Read what an analysis says of the depth.

    Returns the best line first; empty where the analysis says nothing of the depth. What cannot be understood is left
    out.
    """
    told = content.get("depth")
    told = told if isinstance(told, Mapping) else {}
    listed = told.get("candidates")
    found = [_parse_proposal(one) for one in (listed if isinstance(listed, list) else [])]
    clark, ulcerated = told.get("clark_estimate"), told.get("ulceration")
    notes = told.get("notes")
    return SlideDepthProposals(
        proposals=tuple(one for one in found if one is not None),
        ulcerated=ulcerated if isinstance(ulcerated, bool) else None,
        clark=clark if isinstance(clark, int) and 1 <= clark <= 5 else None,
        notes=tuple(str(one) for one in (notes if isinstance(notes, list) else [])),
        validity=(Validity.from_json(told.get("validity")) or read_slide_validity(content)) if told else Validity(),
    )


def _parse_proposal(values: Any) -> DepthProposal | None:  # noqa: ANN401 - whatever JSON can hold
    """A line of an analysis, or None where it is none."""
    if not isinstance(values, Mapping):
        return None
    kept = {key: values[key] for key in DepthProposal.model_fields if key in values}
    try:
        return DepthProposal.parse({**kept, "line": (values.get("surface"), values.get("deepest"))}, "result.json")
    except ConfigError:
        return None


MODEL_READER = "model"  # in the place of a reader's name: what the analysis said
RECORDED_FIELDS = (
    *("line", "mm", "interval_mm", "at_least", "method"),
    *("ulcerated", "clark", "clark_by", "margins", "mitoses", "notes"),
)
SHORTENED_FIELDS = {
    "mitoses": ("points", "areas")
}  # what a record leaves out, for it would repeat all that was clicked each time


def line_length_mm(line: Line, pixel_size: PixelSize | None) -> float:
    """Give the length of a line.

    ``line``: both ends, (row, column) in pixels of the finest level. ``pixel_size``: of these pixels; rows and columns
    count apart. In mm.
    """
    if pixel_size is None:
        raise ScaleMissing(
            "a depth in mm needs micrometres per pixel, and this slide carries none. Set the scale: the ruler beside "
            "the slide's name takes a number, or a line over a known length."
        )
    (top, left), (bottom, right) = line
    return float(np.hypot((bottom - top) * pixel_size.y_um, (right - left) * pixel_size.x_um) / 1000)


def automatic_reading(proposals: SlideDepthProposals, chosen: int = 0, size: PixelSize | None = None) -> DepthReading:
    """Say what the analysis says, as a reading that nobody has made their own yet.

    ``size``: of the slide's pixels, kept with the line. Of nobody; without a line where there is none.
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


def values_for_line(before: DepthReading, line: Line, size: PixelSize | None) -> dict[str, Any]:
    """Say what a line that was drawn or moved by hand makes of a reading.

    ``line``: surface and deepest, in pixels of the finest level. ``size``: of these pixels. Values for ``overridden``:
    a model's line that was moved is a corrected one, and has no interval any more.
    """
    method = "hand" if before.line is None or before.method == "hand" else "corrected"
    values = {"line": line, "mm": line_length_mm(line, size), "um_per_px": _pixel_size_um(size)}
    return {**values, "method": method, "interval_mm": None, "at_least": before.at_least}


def current_reading(depth: SlideDepthReadings, base: DepthReading, reader: str) -> DepthReading:
    """Say what counts for a reader: the own values, else those of the analysis."""
    own = depth.reading_by(reader)
    if own is not None and own.when:
        return own
    return base.model_copy(update={"reader": reader, "history": () if own is None else own.history})


def set_values(
    depth: SlideDepthReadings, base: DepthReading, reader: str, when: str, **values: Any
) -> SlideDepthReadings:
    """Set values of one reader, and record what they were before.

    Returns the same where nothing changes.
    """
    own, before = depth.reading_by(reader), current_reading(depth, base, reader)
    begins = own is None or not own.when
    after = DepthReading.parse({**dict(before), **values}, "a reading")
    changes = _list_changes(before, after, reader, when)
    if not changes and (values or not begins or before.line is None):
        return depth
    told = _list_changes(DepthReading(), before, MODEL_READER, when) if begins else ()
    return _with_reading(depth, after.model_copy(update={"when": when, "history": (*before.history, *told, *changes)}))


def rename_reader(depth: SlideDepthReadings, before: str, after: str) -> SlideDepthReadings:
    """Give a reading and what its record says of that reader to another name, unless that name has a reading."""
    own, other = depth.reading_by(before), depth.reading_by(after)
    if own is None or (other is not None and other.when):
        return depth
    history = tuple(one.model_copy(update={"reader": after}) if one.reader == before else one for one in own.history)
    earlier = () if other is None else other.history
    moved = own.model_copy(update={"reader": after, "history": (*earlier, *history)})
    kept = (one for one in depth.readings if one.reader not in (before, after))
    return depth.model_copy(update={"readings": (*kept, moved)})


def restore_values(now: SlideDepthReadings, target: SlideDepthReadings, reader: str, when: str) -> SlideDepthReadings:
    """Go to other values, as undo and redo do, with a record of it: what was done once is never unsaid.

    Returns the values of ``wanted`` with the record of ``now`` and what changed. A reader who had set nothing then
    keeps a reading without values, for the record's sake.
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
    """Count mitoses over the area that was drawn for it.

    ``points``: each mitosis, (row, column) in pixels of the finest level. ``size``: of these pixels; without one there
    is no area. Those beside the area are kept and not counted; per square millimetre where there is an area and a
    scale.
    """
    pieces = [piece for area in areas if len(area) > 2 for piece in untangle_polygon(Polygon(area))]
    inside = [one for one in points if any(_area_contains(piece, one) for piece in pieces)] if areas else points
    pixels = joint_area(pieces)
    mm2 = pixels * size.y_um * size.x_um / 1e6 if size is not None and pixels > 0 else None
    per = None if mm2 is None else len(inside) / mm2
    return MitosisCount(points=points, areas=areas, counted=len(inside), mm2=mm2, per_mm2=per)


def rescale_readings(depth: SlideDepthReadings, size: PixelSize, reader: str, when: str) -> SlideDepthReadings:
    """Bring what was measured to another scale of the slide.

    Returns the same where the scale is that of all readings. Lengths that were typed stay.
    """
    for one in depth.readings:
        values: dict[str, Any] = {}
        if one.line is not None and one.mm is not None and one.um_per_px not in (None, _pixel_size_um(size)):
            factor = line_length_mm(one.line, size) / _length_um(one.line, one.um_per_px) * 1000
            values = {"mm": one.mm * factor, "um_per_px": _pixel_size_um(size)}
            if one.interval_mm is not None:
                values["interval_mm"] = tuple(end * factor for end in one.interval_mm)
        if one.mitoses.areas:
            values["mitoses"] = count_mitoses(one.mitoses.points, one.mitoses.areas, size)
        after = DepthReading.parse({**dict(one), **values}, "a reading")
        changes = _list_changes(one, after, reader, when)
        if changes:
            depth = _with_reading(depth, after.model_copy(update={"history": (*one.history, *changes), "when": when}))
    return depth


def _area_contains(piece: Polygon, point: Point) -> bool:
    """Whether a point lies in an area, and in none of its holes."""
    return ring_contains(piece.outer, point) and not any(ring_contains(hole, point) for hole in piece.holes)


def _length_um(line: Line, um: tuple[float, float] | None) -> float:
    """Length of a line in micrometres, with the scale that it was measured with."""
    assert um is not None
    return float(np.hypot((line[1][0] - line[0][0]) * um[0], (line[1][1] - line[0][1]) * um[1]))


def _pixel_size_um(size: PixelSize | None) -> tuple[float, float] | None:
    """A pixel size as readings keep it."""
    return None if size is None else (size.y_um, size.x_um)


def _with_reading(depth: SlideDepthReadings, reading: DepthReading) -> SlideDepthReadings:
    """All readings, one of them another."""
    others = [reading if one.reader == reading.reader else one for one in depth.readings]
    if depth.reading_by(reading.reader) is None:
        others.append(reading)
    return depth.model_copy(update={"readings": tuple(others)})


def _list_changes(before: DepthReading, after: DepthReading, reader: str, when: str) -> tuple[ReadingChange, ...]:
    """What is another value in one reading than in the other."""
    return tuple(
        ReadingChange(
            field=name, before=_json_value(before, name), after=_json_value(after, name), reader=reader, when=when
        )
        for name in RECORDED_FIELDS
        if getattr(before, name) != getattr(after, name)
    )


def _json_value(reading: DepthReading, name: str) -> Any:  # noqa: ANN401 - of any field
    """A value as JSON has it, short where it is long."""
    value = reading.model_dump(mode="json", include={name})[name]
    return (
        {key: one for key, one in value.items() if key not in SHORTENED_FIELDS[name]}
        if name in SHORTENED_FIELDS
        else value
    )

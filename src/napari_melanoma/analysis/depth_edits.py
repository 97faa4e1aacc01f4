"""Readings of depth as values: measured on a slide, overridden with a record, taken back; functions alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.polygon_repair import contains, untangled
from napari_melanoma.core.polygon_union import joint_area
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.slide_depth import Change, Mitoses, Reading, SlideDepth

if TYPE_CHECKING:
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.io.slide_depth import Line, Point, Proposed

MODEL = "model"  # in the place of a reader's name: what the analysis said
RECORDED = (
    *("line", "mm", "interval_mm", "at_least", "method"),
    *("ulcerated", "clark", "clark_by", "margins", "mitoses", "notes"),
)
SHORT = {"mitoses": ("points", "areas")}  # what a record leaves out, for it would repeat all that was clicked each time


def length_mm(line: Line, pixel_size: PixelSize | None) -> float:
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


def automatic_reading(found: Proposed, chosen: int = 0, size: PixelSize | None = None) -> Reading:
    """Say what the analysis says, as a reading that nobody has made their own yet.

    ``size``: of the slide's pixels, kept with the line. Of nobody; without a line where there is none.
    """
    estimate: dict[str, Any] = {}
    if found.clark is not None:
        estimate = {"clark": found.clark, "clark_by": "estimate"}
    if not 0 <= chosen < len(found.proposals):
        return Reading(ulcerated=found.ulcerated, **estimate)
    one = found.proposals[chosen]
    ulcerated = found.ulcerated if one.ulcerated is None else one.ulcerated
    kept = {"line": one.line, "mm": one.mm, "interval_mm": one.interval_mm, "at_least": one.at_least}
    return Reading(method="automatic", ulcerated=ulcerated, um_per_px=_um(size), **kept, **estimate)


def drawn_line(before: Reading, line: Line, size: PixelSize | None) -> dict[str, Any]:
    """Say what a line that was drawn or moved by hand makes of a reading.

    ``line``: surface and deepest, in pixels of the finest level. ``size``: of these pixels. Values for ``overridden``:
    a model's line that was moved is a corrected one, and has no interval any more.
    """
    method = "hand" if before.line is None or before.method == "hand" else "corrected"
    values = {"line": line, "mm": length_mm(line, size), "um_per_px": _um(size)}
    return {**values, "method": method, "interval_mm": None, "at_least": before.at_least}


def current(depth: SlideDepth, base: Reading, reader: str) -> Reading:
    """Say what counts for a reader: the own values, else those of the analysis."""
    own = depth.of(reader)
    if own is not None and own.when:
        return own
    return base.model_copy(update={"reader": reader, "history": () if own is None else own.history})


def overridden(depth: SlideDepth, base: Reading, reader: str, when: str, **values: Any) -> SlideDepth:  # noqa: ANN401 - of any field
    """Set values of one reader, and record what they were before.

    Returns the same where nothing changes.
    """
    own, before = depth.of(reader), current(depth, base, reader)
    begins = own is None or not own.when
    after = Reading.parse({**dict(before), **values}, "a reading")
    changes = _changes(before, after, reader, when)
    if not changes and (values or not begins or before.line is None):
        return depth
    told = _changes(Reading(), before, MODEL, when) if begins else ()
    return _with(depth, after.model_copy(update={"when": when, "history": (*before.history, *told, *changes)}))


def renamed(depth: SlideDepth, before: str, after: str) -> SlideDepth:
    """Give a reading and what its record says of that reader to another name, unless that name has a reading."""
    own, other = depth.of(before), depth.of(after)
    if own is None or (other is not None and other.when):
        return depth
    history = tuple(one.model_copy(update={"reader": after}) if one.reader == before else one for one in own.history)
    earlier = () if other is None else other.history
    moved = own.model_copy(update={"reader": after, "history": (*earlier, *history)})
    kept = (one for one in depth.readings if one.reader not in (before, after))
    return depth.model_copy(update={"readings": (*kept, moved)})


def restated(now: SlideDepth, wanted: SlideDepth, reader: str, when: str) -> SlideDepth:
    """Go to other values, as undo and redo do, with a record of it: what was done once is never unsaid.

    Returns the values of ``wanted`` with the record of ``now`` and what changed. A reader who had set nothing then
    keeps a reading without values, for the record's sake.
    """
    result = now
    for name in dict.fromkeys(one.reader for one in (*now.readings, *wanted.readings)):
        one, then = (depth.of(name) or Reading(reader=name) for depth in (now, wanted))
        changes = _changes(one, then, reader, when)
        if changes or bool(one.when) != bool(then.when):
            kept = {"history": (*one.history, *changes), "when": when if then.when else ""}
            result = _with(result, then.model_copy(update=kept))
    return result


def counted_mitoses(points: tuple[Point, ...], areas: tuple[tuple[Point, ...], ...], size: PixelSize | None) -> Mitoses:
    """Count mitoses over the area that was drawn for it.

    ``points``: each mitosis, (row, column) in pixels of the finest level. ``size``: of these pixels; without one there
    is no area. Those beside the area are kept and not counted; per square millimetre where there is an area and a
    scale.
    """
    pieces = [piece for area in areas if len(area) > 2 for piece in untangled(Polygon(area))]
    inside = [one for one in points if any(_holds(piece, one) for piece in pieces)] if areas else points
    pixels = joint_area(pieces)
    mm2 = pixels * size.y_um * size.x_um / 1e6 if size is not None and pixels > 0 else None
    per = None if mm2 is None else len(inside) / mm2
    return Mitoses(points=points, areas=areas, counted=len(inside), mm2=mm2, per_mm2=per)


def rescaled(depth: SlideDepth, size: PixelSize, reader: str, when: str) -> SlideDepth:
    """Bring what was measured to another scale of the slide.

    Returns the same where the scale is that of all readings. Lengths that were typed stay.
    """
    for one in depth.readings:
        values: dict[str, Any] = {}
        if one.line is not None and one.mm is not None and one.um_per_px not in (None, _um(size)):
            factor = length_mm(one.line, size) / _length_um(one.line, one.um_per_px) * 1000
            values = {"mm": one.mm * factor, "um_per_px": _um(size)}
            if one.interval_mm is not None:
                values["interval_mm"] = tuple(end * factor for end in one.interval_mm)
        if one.mitoses.areas:
            values["mitoses"] = counted_mitoses(one.mitoses.points, one.mitoses.areas, size)
        after = Reading.parse({**dict(one), **values}, "a reading")
        changes = _changes(one, after, reader, when)
        if changes:
            depth = _with(depth, after.model_copy(update={"history": (*one.history, *changes), "when": when}))
    return depth


def _holds(piece: Polygon, point: Point) -> bool:
    """Whether a point lies in an area, and in none of its holes."""
    return contains(piece.outer, point) and not any(contains(hole, point) for hole in piece.holes)


def _length_um(line: Line, um: tuple[float, float] | None) -> float:
    """Length of a line in micrometres, with the scale that it was measured with."""
    assert um is not None
    return float(np.hypot((line[1][0] - line[0][0]) * um[0], (line[1][1] - line[0][1]) * um[1]))


def _um(size: PixelSize | None) -> tuple[float, float] | None:
    """A pixel size as readings keep it."""
    return None if size is None else (size.y_um, size.x_um)


def _with(depth: SlideDepth, reading: Reading) -> SlideDepth:
    """All readings, one of them another."""
    others = [reading if one.reader == reading.reader else one for one in depth.readings]
    if depth.of(reading.reader) is None:
        others.append(reading)
    return depth.model_copy(update={"readings": tuple(others)})


def _changes(before: Reading, after: Reading, reader: str, when: str) -> tuple[Change, ...]:
    """What is another value in one reading than in the other."""
    return tuple(
        Change(field=name, before=_plain(before, name), after=_plain(after, name), reader=reader, when=when)
        for name in RECORDED
        if getattr(before, name) != getattr(after, name)
    )


def _plain(reading: Reading, name: str) -> Any:  # noqa: ANN401 - of any field
    """A value as JSON has it, short where it is long."""
    value = reading.model_dump(mode="json", include={name})[name]
    return {key: one for key, one in value.items() if key not in SHORT[name]} if name in SHORT else value

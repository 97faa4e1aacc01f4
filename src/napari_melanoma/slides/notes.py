"""What a user noted about a slide: bookmarks, measurements, a scale, the view."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.polygons import Polygon, untangle_polygon

NOTES, FORMAT = "view.json", 1


@dataclass(frozen=True)
class Bookmark:
    """A view to come back to: its middle, (row, column), and its width, in pixels of the finest level."""

    name: str
    row: float
    column: float
    width_px: float


@dataclass(frozen=True)
class SlideMeasurement:
    """A line or an area that somebody drew to measure it: vertices, (row, column), in pixels of the finest level."""

    kind: Literal["line", "area"]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class SlideNotes:
    """Bookmarks, what was measured, and the scale that the user gave; None where the file's own counts.

    ``angle`` is by how many degrees the slide is turned in the view, clockwise from how it was scanned.
    """

    fingerprint: str = ""
    bookmarks: tuple[Bookmark, ...] = ()
    pixel_size: PixelSize | None = None
    measures: tuple[SlideMeasurement, ...] = ()
    angle: float = 0.0


def read_notes(folder: Path) -> SlideNotes:
    """Read what was noted.

    Empty where nothing was noted; what cannot be understood is left out.
    """
    try:
        told = read_json(folder / NOTES, allow_nan=True)  # one bad measure must not take the others along
    except (OSError, ValueError):
        return SlideNotes()
    if not isinstance(told, dict) or told.get("format_version") != FORMAT:
        return SlideNotes()
    marks = [_parse_bookmark(one) for one in _list_at(told, "bookmarks")]
    measures = [_parse_measurement(one) for one in _list_at(told, "measures")]
    return SlideNotes(
        str(told.get("fingerprint", "")),
        tuple(one for one in marks if one is not None),
        _parse_pixel_size(told.get("pixel_size")),
        tuple(one for one in measures if one is not None),
        _parse_angle(told.get("angle")),
    )


def write_notes(folder: Path, notes: SlideNotes) -> None:
    """Keep what was noted."""
    write_json(folder / NOTES, {"format_version": FORMAT, **asdict(notes)})


def _list_at(told: dict[str, Any], key: str) -> list[Any]:
    """A list of the file; empty where there is none."""
    found = told.get(key)
    return found if isinstance(found, list) else []


def _parse_measurement(values: Any) -> SlideMeasurement | None:  # noqa: ANN401 - whatever JSON can hold
    """A line or an area, or None where it is neither."""
    try:
        points = tuple((float(row), float(column)) for row, column in values["points"])
        kind: Literal["line", "area"] = "area" if values["kind"] == "area" else "line"
    except (KeyError, TypeError, ValueError):
        return None
    whole = all(math.isfinite(value) for point in points for value in point)
    return SlideMeasurement(kind, points) if whole and len(points) >= (3 if kind == "area" else 2) else None


def _parse_angle(value: Any) -> float:  # noqa: ANN401 - whatever JSON can hold
    """An angle between -180 and 180 degrees; 0 where it is none."""
    known = isinstance(value, (int, float)) and math.isfinite(value) and abs(value) <= 180
    return float(value) if known else 0.0


def _parse_bookmark(values: Any) -> Bookmark | None:  # noqa: ANN401 - whatever JSON can hold
    """A bookmark, or None where it is none."""
    try:
        return Bookmark(str(values["name"]), *(float(values[key]) for key in ("row", "column", "width_px")))
    except (KeyError, TypeError, ValueError):
        return None


def _parse_pixel_size(values: Any) -> PixelSize | None:  # noqa: ANN401 - whatever JSON can hold
    """A pixel size, or None where it is none."""
    try:
        source = "ruler" if values["source"] == "ruler" else "given"
        return PixelSize(float(values["y_um"]), float(values["x_um"]), source)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, ScaleMissing):
        return None


MICRO_MM, MICRO_MM2 = 0.09995, 0.0009995  # below, micrometers are easier to read; rounding decides what is 0.1


def measure_shape(measure: SlideMeasurement, pixel_size: PixelSize | None) -> float:
    """Measure a line or an area.

    ``measure``: with its vertices in pixels of the finest level. ``pixel_size``: of these pixels; None without a scale.
    Length in mm or area in square millimeters, in pixels without a scale. An outline that crosses itself encloses what
    it winds around.
    """
    mm = (1.0, 1.0) if pixel_size is None else (pixel_size.y_um / 1000, pixel_size.x_um / 1000)
    if measure.kind == "line":
        steps = np.diff(np.array(measure.points, np.float64) * mm, axis=0)
        return float(np.hypot(steps[:, 0], steps[:, 1]).sum())
    return sum(part.area for part in untangle_polygon(Polygon(measure.points))) * mm[0] * mm[1]


def format_measurement(measure: SlideMeasurement, pixel_size: PixelSize | None) -> str:
    """Say a length or an area with its unit.

    ``measure``: with its vertices in pixels of the finest level. ``pixel_size``: of these pixels; None without a scale.
    Such as ``1.34 mm``, ``12.1 µm`` or ``0.0812 mm²``.
    """
    value = measure_shape(measure, pixel_size)
    if pixel_size is None:
        return f"{value:,.0f} px" + ("²" if measure.kind == "area" else "")
    if measure.kind == "area":
        return f"{value:.3g} mm²" if value >= MICRO_MM2 else f"{value * 1e6:.3g} µm²"
    return f"{value:.3g} mm" if value >= MICRO_MM else f"{value * 1000:.3g} µm"

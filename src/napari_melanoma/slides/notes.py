"""Notes of a user on a slide: bookmarks, measurements, pixel size and view."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.polygons import Polygon, untangle_polygon

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOTES, FORMAT = "view.json", 1
MICRO_MM, MICRO_MM2 = 0.09995, 0.0009995  # micrometers below this; 0.09995 is rounded to 0.1


MeasurementKind = Literal["line", "area", "angle"]
FEWEST_POINTS: dict[MeasurementKind, int] = {"line": 2, "area": 3, "angle": 3}


@dataclass(frozen=True)
class Bookmark:
    """A saved view: its center, (row, column), and its width, in pixels of the finest level."""

    name: str
    row: float
    column: float
    width_px: float


@dataclass(frozen=True)
class SlideMeasurement:
    """A line, area or angle drawn for measuring: vertices, (row, column), in pixels of the finest level.

    An angle has three: the end of a leg, the vertex, and the end of the other leg.
    """

    kind: MeasurementKind
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class SlideNotes:
    """Bookmarks, measurements, and the pixel size set by the user; None if that of the file is used.

    ``angle`` is the clockwise rotation of the slide in the view, in degrees.
    """

    fingerprint: str = ""
    bookmarks: tuple[Bookmark, ...] = ()
    pixel_size: PixelSize | None = None
    measures: tuple[SlideMeasurement, ...] = ()
    angle: float = 0.0


def read_notes(folder: Path) -> SlideNotes:
    """Read the notes; empty if there are none. Invalid entries are left out."""
    try:
        content = read_json(folder / NOTES, allow_nan=True)  # one invalid measurement must not invalidate the others
    except (OSError, ValueError):
        return SlideNotes()
    if not isinstance(content, dict) or content.get("format_version") != FORMAT:
        return SlideNotes()
    marks = [_parse_bookmark(one) for one in _list_at(content, "bookmarks")]
    measures = [_parse_measurement(one) for one in _list_at(content, "measures")]
    return SlideNotes(
        str(content.get("fingerprint", "")),
        tuple(one for one in marks if one is not None),
        _parse_pixel_size(content.get("pixel_size")),
        tuple(one for one in measures if one is not None),
        _parse_angle(content.get("angle")),
    )


def write_notes(folder: Path, notes: SlideNotes) -> None:
    measures = [_write_measurement(one) for one in notes.measures]
    write_json(folder / NOTES, {"format_version": FORMAT, **asdict(notes), "measures": measures})


def _list_at(content: dict[str, Any], key: str) -> list[Any]:
    """A list in the file; empty if it is missing or invalid."""
    found = content.get(key)
    return found if isinstance(found, list) else []


def _write_measurement(measure: SlideMeasurement) -> dict[str, Any]:
    """Return a measurement for the file.

    The points of an angle have a key of their own: earlier versions leave out what has no ``points``, and read any
    other kind as a length.
    """
    return {"kind": measure.kind, "legs" if measure.kind == "angle" else "points": measure.points}


def _parse_measurement(values: Any) -> SlideMeasurement | None:  # noqa: ANN401 - any JSON value
    """A measurement; None if it is invalid, or of a kind of later versions."""
    try:
        kind: MeasurementKind = values["kind"]
        points = tuple((float(row), float(column)) for row, column in values["legs" if kind == "angle" else "points"])
    except (KeyError, TypeError, ValueError):
        return None
    if kind not in get_args(MeasurementKind) or len(points) < FEWEST_POINTS[kind]:
        return None
    whole = all(math.isfinite(value) for point in points for value in point)
    return SlideMeasurement(kind, points) if whole and not (kind == "angle" and len(points) > 3) else None


def _parse_angle(value: Any) -> float:  # noqa: ANN401 - any JSON value
    """An angle between -180 and 180 degrees; 0 if it is invalid."""
    known = isinstance(value, (int, float)) and math.isfinite(value) and abs(value) <= 180
    return float(value) if known else 0.0


def _parse_bookmark(values: Any) -> Bookmark | None:  # noqa: ANN401 - any JSON value
    """A bookmark; None if it is invalid."""
    try:
        return Bookmark(str(values["name"]), *(float(values[key]) for key in ("row", "column", "width_px")))
    except (KeyError, TypeError, ValueError):
        return None


def _parse_pixel_size(values: Any) -> PixelSize | None:  # noqa: ANN401 - any JSON value
    """A pixel size; None if it is invalid."""
    try:
        source = "ruler" if values["source"] == "ruler" else "given"
        return PixelSize(float(values["y_um"]), float(values["x_um"]), source)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, ScaleMissing):
        return None


def measure_shape(measure: SlideMeasurement, pixel_size: PixelSize | None) -> float:
    """Measure a line, an area or an angle.

    ``measure``: with vertices in pixels of the finest level. ``pixel_size``: of these pixels; None if unknown. Returns
    the length in mm, the area in square millimeters, or the angle from 0 to 180 degrees; without a pixel size in square
    pixels. An outline that crosses itself encloses the area that it winds around.
    """
    mm = (1.0, 1.0) if pixel_size is None else (pixel_size.y_um / 1000, pixel_size.x_um / 1000)
    if measure.kind == "line":
        steps = np.diff(np.array(measure.points, np.float64) * mm, axis=0)
        return float(np.hypot(steps[:, 0], steps[:, 1]).sum())
    if measure.kind == "angle":
        return _measure_angle(np.array(measure.points, np.float64) * mm)
    return sum(part.area for part in untangle_polygon(Polygon(measure.points))) * mm[0] * mm[1]


def _measure_angle(points: NDArray[np.float64]) -> float:
    """Return the angle at the second of three points, in degrees; 0 where a leg has no length."""
    (y, x), (other_y, other_x) = points[0] - points[1], points[2] - points[1]
    return math.degrees(math.atan2(abs(y * other_x - x * other_y), y * other_y + x * other_x))


def format_measurement(measure: SlideMeasurement, pixel_size: PixelSize | None) -> str:
    """Format a measurement with its unit, such as ``1.34 mm``, ``12.1 µm``, ``0.0812 mm²`` or ``37.5°``.

    ``measure``: with vertices in pixels of the finest level. ``pixel_size``: of these pixels; None if unknown.
    """
    value = measure_shape(measure, pixel_size)
    if measure.kind == "angle":
        return f"{value:.1f}°"
    if pixel_size is None:
        return f"{value:,.0f} px" + ("²" if measure.kind == "area" else "")
    if measure.kind == "area":
        return f"{value:.3g} mm²" if value >= MICRO_MM2 else f"{value * 1e6:.3g} µm²"
    return f"{value:.3g} mm" if value >= MICRO_MM else f"{value * 1000:.3g} µm"

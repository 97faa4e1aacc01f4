"""Notes of a user on a slide, in ``view.json``: bookmarks, measurements, pixel size, view, display and alignment.

The visited part of the slide is stored beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError, MalformedFile, SaveError, ScaleMissing
from napari_melanoma.core.files import atomic_file, back_up_file, remove_file, write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.polygons import Polygon, untangle_polygon
from napari_melanoma.imaging.stain import optical_density
from napari_melanoma.imaging.stain_view import DisplayColors
from napari_melanoma.slides.reading.slide import Slide

if TYPE_CHECKING:
    from napari_melanoma.imaging.registration import Registration

Entry = TypeVar("Entry")
NOTES, FORMAT = "view.json", 1
VIEW_FOLDER = "view"  # in the folder of a slide: has the results of an analysis of the view, without notes
# Shorter lengths and smaller areas are shown in micrometers; a length of 0.09995 mm is shown as 0.1 mm.
MICRO_MM, MICRO_MM2 = 0.09995, 0.0009995
SMALLEST_DETERMINANT = 1e-6  # of a registration matrix that can be inverted
LISTS, MAPPINGS = (
    ("bookmarks", "measures", "scale_changes"),
    {"layers", "alignments"},
)  # fields that are merged entry by entry
OWN_ENTRIES = ("bookmarks", "measures")  # which a reader adds
NO_FILE = FileNotFoundError, NotADirectoryError
# Fields that change while a slide is only viewed, which is no reason to replace a file that cannot be read.
DISPLAY = {"fingerprint", "angle", "view", "layers", "colors"}

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
    """A line, area or angle that was drawn for measuring.

    ``points``: (row, column) in pixels of the finest level. An angle has three points: the end of a leg, the vertex,
    and the end of the other leg.
    """

    kind: MeasurementKind
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class SlideView:
    """A view of a slide: its center, (row, column), and the width of the canvas, in pixels of the finest level."""

    row: float
    column: float
    width_px: float


@dataclass(frozen=True)
class LayerDisplay:
    """How a layer is displayed; ``contrast_limits`` and ``gamma`` are None for a layer without them.

    ``color``: 8-bit RGB of a fluorescence channel; None for other layers, and for a colormap of several colors.
    ``colormap``: name of such a colormap in napari; else empty.
    """

    visible: bool = True
    opacity: float = 1.0
    contrast_limits: tuple[float, float] | None = None
    gamma: float | None = None
    color: tuple[int, int, int] | None = None
    colormap: str = ""


@dataclass(frozen=True)
class SlideAlignment:
    """How another slide is registered to this one.

    ``matrix``: 3 x 3, maps positions (row, column, 1) on the other slide to positions on this slide. Positions are in
    µm, or in pixels of the finest level without a scale, from the center of the first pixel. ``pixel_um``: height and
    width of a pixel of this slide and of the other one, for which the matrix is valid. ``error``: remaining error, in
    the unit of positions; None if unknown.
    """

    matrix: tuple[tuple[float, ...], ...]
    pixel_um: tuple[float, ...]
    error: float | None = None


@dataclass(frozen=True)
class ScaleChange:
    """A change of the scale by a user, with the source of both pixel sizes; None if there is none."""

    before: PixelSize | None
    after: PixelSize | None
    reader: str = ""
    when: str = ""  # UTC, ISO 8601


@dataclass(frozen=True)
class SlideNotes:
    """The notes on a slide.

    - ``fingerprint``: that of the slide
    - ``pixel_size``: set by the user; None to use that of the slide file
    - ``angle``: clockwise rotation of the slide in the view, in degrees
    - ``view``: None for a view of the whole slide
    - ``layers``: role of a layer to its display
    - ``colors``: display of a brightfield slide
    - ``alignments``: fingerprint of another slide to its registration
    - ``scale_changes``: the changes of the scale, the earliest first
    - ``other_content``: content from a newer version, which is kept: unknown keys of the file, and entries of lists
      that this version cannot read; unknown keys of other entries are not kept
    """

    fingerprint: str = ""
    bookmarks: tuple[Bookmark, ...] = ()
    pixel_size: PixelSize | None = None
    measures: tuple[SlideMeasurement, ...] = ()
    angle: float = 0.0
    view: SlideView | None = None
    layers: Mapping[str, LayerDisplay] = field(default_factory=dict)
    colors: DisplayColors = field(default_factory=DisplayColors)
    alignments: Mapping[str, SlideAlignment] = field(default_factory=dict)
    scale_changes: tuple[ScaleChange, ...] = ()
    other_content: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def scale_reader(self) -> str:
        """The reader who set the scale; empty if unknown, as if another program has set it."""
        last = self.scale_changes[-1] if self.scale_changes else None
        return last.reader if last is not None and last.after == self.pixel_size else ""


def read_notes(folder: Path, *copies: Path) -> SlideNotes:
    """Read the notes; empty if there are none. Invalid entries are left out.

    ``copies``: other folders that may contain notes; the file that was written last is read. Raises ``InputError`` for
    a file that cannot be read, which may contain the scale.
    """
    latest = _find_latest(folder, *copies)
    try:
        return _read_notes(latest)
    except NO_FILE:
        return SlideNotes()
    except OSError as error:
        raise InputError(
            f"{latest / NOTES}, the scale and measurements of a slide, cannot be read: {error}."
        ) from error


class NotesFile:
    """The file with the notes of a slide, which other windows and users may change as well.

    ``private``: folder for the notes if they cannot be written to the result folder. ``problem``: why the file could
    not be read; else empty.
    """

    def __init__(self, folder: Path, private: Path | None = None) -> None:
        self._folder, self._private = folder, private
        self._lock = Lock()
        self._known = SlideNotes()  # the notes when they were last read or saved by this object
        self.problem = ""

    def read(self) -> SlideNotes:
        """Read the notes, from the folder that was written to last; invalid entries are left out.

        If that is the result folder, the bookmarks and measurements in the private folder are added.
        """
        with self._lock:
            self._known, self.problem = SlideNotes(), ""
            try:
                self._known = self._read_stored()
            except NO_FILE:
                pass
            except (OSError, MalformedFile) as error:
                reason = str(error).rstrip(".")
                self.problem = (
                    f"The bookmarks, measurements and scale of this slide cannot be read: {reason}. The file is left "
                    "unchanged until you save new ones, and is then backed up."
                )
            return self._known

    def read_scale(self) -> PixelSize | None:
        """Return the stored pixel size, which another program may have changed; that of this object if unreadable."""
        try:
            return _read_notes(self._find_latest()).pixel_size
        except (OSError, MalformedFile):
            return self._known.pixel_size

    def save(self, notes: SlideNotes) -> str:
        """Write the changes since the notes were last read or saved; return a message on a backup, if there is one.

        Changes of the file by others are kept. A file that cannot be read is backed up and replaced, or left unchanged
        if only the display has changed.
        """
        with self._lock:
            changed, source, unreadable = _changed_fields(self._known, notes), self._find_latest(), None
            if not changed:
                return ""
            try:
                merged = _merge_notes(self._known, notes, self._read_stored())
            except NO_FILE:
                merged = notes
            except (OSError, MalformedFile):
                if changed <= DISPLAY:
                    return ""
                merged, unreadable = notes, source / NOTES
            message = self._write(merged, unreadable)
            self._known = notes
            return message

    def _find_latest(self) -> Path:
        return _find_latest(self._folder, *(() if self._private is None else (self._private,)))

    def _read_stored(self) -> SlideNotes:
        source = self._find_latest()
        notes = _read_notes(source)
        if self._private is None or self._private == source:
            return notes
        with suppress(OSError, MalformedFile):
            own = _read_notes(self._private)
            added: dict[str, Any] = {
                name: merge_entries((), getattr(own, name), getattr(notes, name)) for name in OWN_ENTRIES
            }
            return replace(notes, **added)
        return notes

    def _write(self, notes: SlideNotes, unreadable: Path | None) -> str:
        """Write the notes, in the private folder if that is not possible with the results."""
        message = ""
        try:
            if unreadable is not None:
                message = f"{unreadable.name} could not be read. It is backed up as {back_up_file(unreadable).name}."
            write_notes(self._folder, notes)
        except SaveError:
            if self._private is None:
                raise
            write_notes(self._private, notes)
        else:
            if self._private is not None:  # its notes are in the result folder now
                with suppress(OSError):
                    remove_file(self._private / NOTES)
        return message


def merge_entries(known: tuple[Entry, ...], now: tuple[Entry, ...], stored: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Merge two edits of a list: apply what was added and removed between ``known`` and ``now`` to ``stored``."""
    if stored == known:
        return now
    added = (entry for entry in now if entry not in known and entry not in stored)
    return (*(entry for entry in stored if entry in now or entry not in known), *added)


def _changed_fields(known: SlideNotes, now: SlideNotes) -> set[str]:
    names = [compared.name for compared in fields(SlideNotes) if compared.compare]
    return {name for name in names if getattr(known, name) != getattr(now, name)}


def _merge_notes(known: SlideNotes, now: SlideNotes, stored: SlideNotes) -> SlideNotes:
    """Apply the changes between ``known`` and ``now`` to the stored notes."""
    changes = {name: getattr(now, name) for name in _changed_fields(known, now)}
    for name in changes.keys() & LISTS:
        changes[name] = merge_entries(getattr(known, name), changes[name], getattr(stored, name))
    for name in changes.keys() & MAPPINGS:
        changes[name] = _merge_mappings(getattr(known, name), changes[name], getattr(stored, name))
    return replace(stored, **changes)


def _merge_mappings(known: Mapping[str, Any], now: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two edits of a mapping as ``merge_entries`` does."""
    changed = {key: value for key, value in now.items() if known.get(key) != value}
    return {key: value for key, value in {**stored, **changed}.items() if key in now or key not in known}


def _read_notes(folder: Path) -> SlideNotes:
    content = _read_content(folder)
    bookmarks, other_bookmarks = _parse_list(content.get("bookmarks"), _parse_bookmark)
    measures, other_measures = _parse_list(content.get("measures"), _parse_measurement)
    known_keys = {"format_version"} | {known.name for known in fields(SlideNotes)}
    scale_changes, other_changes = _parse_list(content.get("scale_changes"), _parse_scale_change)
    other = {key: value for key, value in content.items() if key not in known_keys}
    unread = {"bookmarks": other_bookmarks, "measures": other_measures, "scale_changes": other_changes}
    return SlideNotes(
        str(content.get("fingerprint", "")),
        bookmarks,
        _parse_pixel_size(content.get("pixel_size")),
        measures,
        _parse_angle(content.get("angle")),
        _parse_view(content.get("view")),
        _parse_mapping(content.get("layers"), _parse_display),
        DisplayColors.parse(content.get("colors")),
        _parse_mapping(content.get("alignments"), _parse_alignment),
        scale_changes,
        other | {key: entries for key, entries in unread.items() if entries},
    )


def write_notes(folder: Path, notes: SlideNotes) -> None:
    """Write the notes, with the content from a newer version."""
    content = asdict(notes)
    content["measures"] = [
        {"kind": measure.kind, "legs" if measure.kind == "angle" else "points": measure.points}
        for measure in notes.measures
    ]
    other = content.pop("other_content")
    for key in LISTS:
        content[key] = [*content[key], *other.pop(key, ())]
    write_json(folder / NOTES, {"format_version": FORMAT, **other, **content})


def _read_content(folder: Path) -> dict[str, Any]:
    path = folder / NOTES
    content = read_json(path, allow_nan=True)  # one invalid measurement must not invalidate the others
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT:
        raise MalformedFile(f"{path} has format version {version}, expected {FORMAT}. A newer version may read it.")
    return dict(content)


def _find_latest(*folders: Path) -> Path:
    """Return the folder in which the notes were written last; the first if there are none."""
    return max(folders, key=_modification_time)


def _modification_time(folder: Path) -> float:
    """Return the time at which the notes in a folder were written, in seconds; 0 if there are none."""
    try:
        return (folder / NOTES).stat().st_mtime
    except OSError:
        return 0.0


def _parse_list(values: Any, parse: Callable[[Any], Entry | None]) -> tuple[tuple[Entry, ...], list[Any]]:  # noqa: ANN401 - any JSON value
    """Return the entries of a list in the file, and the values that cannot be read."""
    pairs = [(value, parse(value)) for value in values] if isinstance(values, list) else []
    entries = tuple(entry for _, entry in pairs if entry is not None)
    return entries, [value for value, entry in pairs if entry is None]


def _parse_mapping(values: Any, parse: Callable[[Any], Entry | None]) -> dict[str, Entry]:  # noqa: ANN401 - any JSON value
    """Return the valid entries of a mapping in the file."""
    pairs = {key: parse(value) for key, value in values.items()} if isinstance(values, dict) else {}
    return {key: entry for key, entry in pairs.items() if entry is not None}


def _parse_measurement(values: Any) -> SlideMeasurement | None:  # noqa: ANN401 - any JSON value
    try:
        kind: MeasurementKind = values["kind"]
        points = tuple((float(row), float(column)) for row, column in values["legs" if kind == "angle" else "points"])
    except (KeyError, TypeError, ValueError):
        return None
    if kind not in get_args(MeasurementKind) or len(points) < FEWEST_POINTS[kind]:
        return None
    is_finite = all(math.isfinite(value) for point in points for value in point)
    return SlideMeasurement(kind, points) if is_finite and not (kind == "angle" and len(points) > 3) else None


def _parse_view(values: Any) -> SlideView | None:  # noqa: ANN401 - any JSON value
    try:
        view = SlideView(*(float(values[key]) for key in ("row", "column", "width_px")))
    except (KeyError, TypeError, ValueError):
        return None
    return view if math.isfinite(view.row + view.column + view.width_px) and view.width_px > 0 else None


def _parse_display(values: Any) -> LayerDisplay | None:  # noqa: ANN401 - any JSON value
    try:
        limits, opacity = values.get("contrast_limits"), float(values.get("opacity", 1.0))
        low_high = None if limits is None else (float(limits[0]), float(limits[1]))
        gamma = None if values.get("gamma") is None else float(values["gamma"])
        color = None if values.get("color") is None else _parse_color(values["color"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None
    is_valid = 0 <= opacity <= 1 and (low_high is None or low_high[0] < low_high[1])
    is_valid = is_valid and (gamma is None or 0 < gamma < math.inf)
    colormap = str(values.get("colormap") or "")
    is_visible = values.get("visible") is not False
    return LayerDisplay(is_visible, opacity, low_high, gamma, color, colormap) if is_valid else None


def _parse_color(values: Any) -> tuple[int, int, int]:  # noqa: ANN401 - any JSON value
    red, green, blue = (int(value) for value in values)
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise ValueError
    return red, green, blue


def _parse_alignment(values: Any) -> SlideAlignment | None:  # noqa: ANN401 - any JSON value
    try:
        matrix = np.array(values["matrix"], float)
        pixel_um, error = tuple(map(float, values["pixel_um"])), values.get("error")
        error = None if error is None else float(error)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    is_affine = matrix.shape == (3, 3) and np.isfinite(matrix).all() and np.array_equal(matrix[2], (0, 0, 1))
    if not is_affine or abs(np.linalg.det(matrix)) < SMALLEST_DETERMINANT:
        return None
    return SlideAlignment(tuple(map(tuple, matrix.tolist())), pixel_um, error)


def _parse_angle(value: Any) -> float:  # noqa: ANN401 - any JSON value
    """Parse an angle between -180 and 180 degrees; 0 if it is invalid."""
    is_valid = isinstance(value, (int, float)) and math.isfinite(value) and abs(value) <= 180
    return float(value) if is_valid else 0.0


def _parse_bookmark(values: Any) -> Bookmark | None:  # noqa: ANN401 - any JSON value
    view = _parse_view(values)
    if view is None or "name" not in values:
        return None
    return Bookmark(str(values["name"]), view.row, view.column, view.width_px)


def _parse_pixel_size(values: Any) -> PixelSize | None:  # noqa: ANN401 - any JSON value
    try:
        source = "ruler" if values["source"] == "ruler" else "given"
        return PixelSize(float(values["y_um"]), float(values["x_um"]), source)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, ScaleMissing):
        return None


def _parse_scale_change(values: Any) -> ScaleChange | None:  # noqa: ANN401 - any JSON value
    try:
        before, after = (None if values[key] is None else PixelSize(**values[key]) for key in ("before", "after"))
        return ScaleChange(before, after, str(values["reader"]), str(values["when"]))
    except (KeyError, TypeError, ScaleMissing):
        return None


def measure_shape(measure: SlideMeasurement, pixel_size: PixelSize | None) -> float:
    """Measure a line, an area or an angle.

    ``pixel_size``: that of the finest level; None if unknown. Returns the length in mm, the area in square millimeters,
    or the angle from 0 to 180 degrees; without a pixel size, the length or area in pixels. If an outline crosses
    itself, all parts that it winds around are counted.
    """
    mm = (1.0, 1.0) if pixel_size is None else (pixel_size.y_um / 1000, pixel_size.x_um / 1000)
    if measure.kind == "line":
        steps = np.diff(np.array(measure.points, np.float64) * mm, axis=0)
        return float(np.hypot(steps[:, 0], steps[:, 1]).sum())
    if measure.kind == "angle":
        return _measure_angle(np.array(measure.points, np.float64) * mm)
    return sum(part.area for part in untangle_polygon(Polygon(measure.points))) * mm[0] * mm[1]


def _measure_angle(points: NDArray[np.float64]) -> float:
    """Return the angle at the second of three points, in degrees; 0 if a leg has no length."""
    (y, x), (other_y, other_x) = points[0] - points[1], points[2] - points[1]
    return math.degrees(math.atan2(abs(y * other_x - x * other_y), y * other_y + x * other_x))


def format_measurement(measure: SlideMeasurement, pixel_size: PixelSize | None) -> str:
    """Format a measurement with its unit, such as ``1.34 mm``, ``12.1 µm``, ``0.0812 mm²`` or ``37.5°``.

    ``pixel_size``: that of the finest level; None if unknown.
    """
    value = measure_shape(measure, pixel_size)
    if measure.kind == "angle":
        return f"{value:.1f}°"
    if pixel_size is None:
        return f"{value:,.0f} px" + ("²" if measure.kind == "area" else "")
    if measure.kind == "area":
        return f"{value:.3g} mm²" if value >= MICRO_MM2 else f"{value * 1e6:.3g} µm²"
    return f"{value:.3g} mm" if value >= MICRO_MM else f"{value * 1000:.3g} µm"


MAX_CELLS = 256  # along the longer side of the slide
# A cell stores the logarithm of the magnification: this many steps for a factor of two, and this value for one screen
# pixel for each pixel of the finest level; 0 for a cell not seen.
STEPS_PER_OCTAVE, ONE_TO_ONE = 4, 128


@dataclass(frozen=True)
class SeenView:
    """A view that was displayed to a user.

    ``center``: (row, column) in pixels of the finest level. ``extent``: height and width of the view. ``pixel_size``:
    height and width of a pixel of the finest level, in the same unit. ``angle``: clockwise rotation of the slide in
    degrees. ``screen_px``: width of the view in pixels of the screen.
    """

    center: tuple[float, float]
    extent: tuple[float, float]
    pixel_size: tuple[float, float]
    angle: float
    screen_px: float

    @property
    def ratio(self) -> float:
        """Magnification: pixels of the screen for each pixel of the finest level."""
        return self.screen_px * self.pixel_size[1] / self.extent[1]


def empty_visited(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the map of a slide that has not been viewed, uint8 (row, column) of zeros.

    ``size``: height and width of the slide in pixels of the finest level.
    """
    cell = max(size) / MAX_CELLS
    return np.zeros((max(1, math.ceil(size[0] / cell)), max(1, math.ceil(size[1] / cell))), np.uint8)


def add_view(visited: NDArray[np.uint8], size: tuple[int, int], view: SeenView) -> NDArray[np.uint8]:
    """Return a copy of a map with a view added; each cell keeps the highest magnification.

    ``visited``: uint8 (row, column). ``size``: height and width of the slide in pixels of the finest level.
    """
    shape = visited.shape
    rows = ((np.arange(shape[0]) + 0.5) * size[0] / shape[0] - view.center[0]) * view.pixel_size[0]
    columns = ((np.arange(shape[1]) + 0.5) * size[1] / shape[1] - view.center[1]) * view.pixel_size[1]
    cosine, sine = math.cos(math.radians(view.angle)), math.sin(math.radians(view.angle))
    y = cosine * rows[:, None] + sine * columns[None, :]
    x = cosine * columns[None, :] - sine * rows[:, None]
    seen = (np.abs(y) <= view.extent[0] / 2) & (np.abs(x) <= view.extent[1] / 2)
    center = tuple(int(px / side * cells) for px, side, cells in zip(view.center, size, shape, strict=True))
    if all(0 <= index < cells for index, cells in zip(center, shape, strict=True)):
        seen[center] = True  # also if the view is smaller than a cell
    return np.maximum(visited, np.where(seen, _encode(view.ratio), 0).astype(np.uint8))


def seen_ratios(visited: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the highest magnification of each cell, (row, column), as ``SeenView.ratio``; 0 if not seen."""
    ratios = 2.0 ** ((visited.astype(np.float64) - ONE_TO_ONE) / STEPS_PER_OCTAVE)
    return np.where(visited > 0, ratios, 0.0)


def _encode(ratio: float) -> int:
    return int(min(max(round(STEPS_PER_OCTAVE * math.log2(max(ratio, 1e-12))) + ONE_TO_ONE, 1), 255))


def read_visited(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a map, uint8 (row, column); empty if there is none, or if it has the shape of another slide."""
    from PIL import Image

    empty = empty_visited(size)
    try:
        with Image.open(path) as image:
            visited = np.asarray(image.convert("L"), np.uint8)
    except (OSError, ValueError, SyntaxError):
        return empty
    return visited if visited.shape == empty.shape else empty


def write_visited(path: Path, visited: NDArray[np.uint8]) -> None:
    """Write a map as PNG; remove the file if the map is empty."""
    from PIL import Image

    if visited.any():
        with atomic_file(path) as temporary:
            Image.fromarray(visited, "L").save(temporary, "PNG")
    else:
        remove_file(path)


THUMBNAIL_PX = 1500
GLASS_DENSITY = 0.04  # optical density up to which a pixel is glass
# Relative scales to try for slides without pixel sizes.
UNKNOWN_SCALES = tuple(float(scale) for scale in np.geomspace(0.25, 4.0, 9))


def register_slides(
    first: Slide, second: Slide, first_size: PixelSize | None, second_size: PixelSize | None
) -> Registration:
    """Register the second slide to the first by their tissue at low resolution; takes some seconds.

    ``first_size``, ``second_size``: the pixel sizes in use, from the file or set by the user.

    Positions of the registration are (y, x) in µm from the outer corner of the first pixel, or in pixels of the finest
    level if neither slide has a scale. Raises InputError if only one slide has a scale, and MelanomaError if the slides
    do not match.
    """
    from napari_melanoma.imaging.registration import register_images

    if (first_size is None) != (second_size is None):
        unscaled = first if first_size is None else second
        raise InputError(f"{unscaled.info.name} has no scale, the other slide has one. Set its scale first.")
    scales = (1.0,) if first_size is not None else UNKNOWN_SCALES
    (fixed, fixed_um), (moving, moving_um) = _read_tissue(first, first_size), _read_tissue(second, second_size)
    return register_images(fixed, moving, fixed_um, moving_um, scales=scales)


def _read_tissue(slide: Slide, size: PixelSize | None) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Read an image of the amount of tissue (row, column), and the height and width of its pixels in µm, or pixels."""
    thumbnail, _ = slide.thumbnail_around_damage(THUMBNAIL_PX)
    if slide.info.kind == "brightfield":
        amount = optical_density(thumbnail).mean(axis=-1) - GLASS_DENSITY
    else:
        amount = thumbnail.mean(axis=-1) / 255
    full = slide.info.levels[0]
    um = (1.0, 1.0) if size is None else (size.y_um, size.x_um)
    rows, columns = amount.shape
    return amount.clip(0).astype(np.float32), (um[0] * full.height / rows, um[1] * full.width / columns)

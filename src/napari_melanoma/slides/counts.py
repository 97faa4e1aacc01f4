"""Counting of points by class on a slide: ``counts.geojson``, counts and densities within areas, and their table."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import back_up_if_changed, file_stamp, write_text
from napari_melanoma.core.formatting import format_count, format_significant
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.polygons import Polygon, to_shape, untangle_polygon
from napari_melanoma.depth.findings import read_findings
from napari_melanoma.io.geojson import (
    Annotation,
    find_origin,
    from_canvas,
    read_classification,
    state_origin,
    to_canvas,
)
from napari_melanoma.io.results import read_origin, write_table
from napari_melanoma.slides.notes import SlideMeasurement, measure_shape, read_notes
from napari_melanoma.slides.regions import load_regions
from napari_melanoma.slides.result_folder import record_new_slide

COUNTS = "counts.geojson"
MITOSIS = "Mitosis"  # the class of mitoses
MITOSES = re.compile(r"mito(s[ei]s|sen?|si|tic( figures?)?)( figures?)?( ?\d+)?( ?[:(].*)?", re.IGNORECASE)
HAS_DEPTH_MARKS = "has_depth_marks"  # in the file: it contains the mitoses that earlier versions stored in readings
TAIL = 0.025  # probability beyond each end of a 95 % interval
MEASUREMENT_NAMES = {"line": "length", "area": "area", "angle": "angle"}
WHOLE_SLIDE, IN_REGIONS = "the whole slide", "all regions of class {}"  # names of areas
COLUMNS = ("kind", "name", "value", "unit", "within", "count", "area_mm2", "per_mm2", "per_mm2_low", "per_mm2_high")


@dataclass(frozen=True)
class CountedPoint:
    """A point and its class; ``at``: (row, column) in pixels of the finest level."""

    class_name: str
    at: tuple[float, float]


CountedPoints = tuple[CountedPoint, ...]


@dataclass(frozen=True)
class StoredCounts:
    """The points of a slide as stored in a file.

    ``notes``: messages for the user. ``stamp``: version of the file. ``features``: all GeoJSON features in the file,
    including those that are not points.
    """

    points: CountedPoints = ()
    notes: tuple[str, ...] = ()
    stamp: tuple[int, int] | None = None
    features: tuple[Any, ...] = ()


def read_counts(folder: Path) -> StoredCounts:
    """Read the points stored with the results of a slide; none if there is no file.

    Mitoses that earlier versions stored in the depth readings of the slide are among them, until points are saved.
    """
    path = folder / COUNTS
    if not path.is_file():
        return StoredCounts(_read_depth_marks(folder))
    stamp = file_stamp(path)
    content = read_json(path)
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise InputError(f"{path} has no features: expected points as GeoJSON. Restore the file, or move it away.")
    features = to_canvas(features, find_origin(path, content) or read_origin(folder))
    points = (_read_point(name, coordinate) for feature in features for name, coordinate in _list_coordinates(feature))
    known = tuple(point for point in points if point is not None)
    if not content.get(HAS_DEPTH_MARKS):
        known += tuple(mark for mark in _read_depth_marks(folder) if mark not in known)
    return StoredCounts(known, (), stamp, tuple(features))


def _read_depth_marks(folder: Path) -> CountedPoints:
    marks = (at for reading in read_findings(folder).readings for at in reading.mitoses.points)
    return tuple(dict.fromkeys(CountedPoint(MITOSIS, at) for at in marks))


def list_mitoses(points: CountedPoints) -> tuple[tuple[float, float], ...]:
    """List the positions of the points of classes such as ``Mitosis``, ``Mitoses`` and ``Mitotic figure``.

    Points of other classes that begin so, such as the imposters of data sets for mitosis detection, are left out.
    """
    return tuple(point.at for point in points if MITOSES.fullmatch(point.class_name.strip()))


def save_counts(
    folder: Path, slide: Path, points: CountedPoints, known: tuple[int, int] | None, features: Sequence[Any] = ()
) -> StoredCounts:
    """Save points as GeoJSON with a multipoint for each class, as QuPath reads it.

    A file that another program has changed is backed up first. ``known``: stamp of the file when it was last read or
    saved. ``features``: those of that file; they are kept, without points that were removed. Returns the points with
    the new stamp, and a note on the backup.
    """
    path = folder / COUNTS
    record_new_slide(folder, slide)
    notes = back_up_if_changed(path, known)
    updated, origin = _update_features(features, points), read_origin(folder)
    written = json.dumps(from_canvas(updated, origin), ensure_ascii=False)
    write_text(
        path,
        f'{{"type": "FeatureCollection", {state_origin(origin)}"features": {written}, "{HAS_DEPTH_MARKS}": true}}\n',
    )
    return StoredCounts(points, notes, file_stamp(path), tuple(updated))


def _update_features(features: Sequence[Any], points: CountedPoints) -> list[Any]:
    """Remove points from the features that are not in ``points``, and append the others to those of their class."""
    to_write = Counter(map(_round_point, points))
    updated: list[Any] = []
    multipoints: dict[str, int] = {}  # index of the first multipoint of each class in ``updated``
    for feature in features:
        listed = _list_coordinates(feature)
        kept = []
        for name, coordinate in listed:
            point = _read_point(name, coordinate)
            if point is None:
                kept.append(coordinate)
            elif to_write[_round_point(point)]:
                to_write[_round_point(point)] -= 1
                kept.append(coordinate)
        if listed and feature["geometry"]["type"] == "MultiPoint" and kept:
            multipoints.setdefault(listed[0][0], len(updated))
        if kept or not listed:
            updated.append(feature if len(kept) == len(listed) else _replace_coordinates(feature, kept))
    added_by_class: dict[str, list[list[float]]] = {}
    for point in points:
        if to_write[_round_point(point)]:  # not in the file yet
            to_write[_round_point(point)] -= 1
            added_by_class.setdefault(point.class_name, []).append([point.at[1], point.at[0]])
    for name, added in added_by_class.items():
        if name in multipoints:
            previous = updated[multipoints[name]]
            coordinates = [*previous["geometry"]["coordinates"], *added]
            updated[multipoints[name]] = _replace_coordinates(previous, coordinates)
        else:
            properties = {"objectType": "annotation", "classification": {"name": name}}
            geometry = {"type": "MultiPoint", "coordinates": added}
            updated.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return updated


def _round_point(point: CountedPoint) -> CountedPoint:
    """Round a point as the napari layer does, to compare it with those in the file."""
    return CountedPoint(point.class_name, (round(point.at[0], 2), round(point.at[1], 2)))


def _replace_coordinates(feature: dict[str, Any], coordinates: list[Any]) -> dict[str, Any]:
    return {**feature, "geometry": {**feature["geometry"], "coordinates": coordinates}}


def _list_coordinates(feature: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - any JSON value
    """List the points of a feature as class name and coordinate (x, y); empty for other features."""
    try:
        geometry, classification = feature["geometry"], feature["properties"]["classification"]
        coordinates = {"Point": [geometry["coordinates"]], "MultiPoint": geometry["coordinates"]}[geometry["type"]]
    except (KeyError, TypeError):
        return []
    if not classification or not isinstance(classification, str | dict) or not isinstance(coordinates, list):
        return []
    name, _ = read_classification(classification)
    return [(name, coordinate) for coordinate in coordinates]


def _read_point(name: str, coordinate: Any) -> CountedPoint | None:  # noqa: ANN401 - any JSON value
    """Read a point from (x, y); None if these are not two finite numbers."""
    try:
        at = float(coordinate[1]), float(coordinate[0])
    except (IndexError, KeyError, TypeError, ValueError):
        return None
    return CountedPoint(name, at) if all(map(math.isfinite, at)) else None


def rename_class(points: CountedPoints, previous: str, now: str) -> CountedPoints:
    """Rename a class of points from ``previous`` to ``now``."""
    return tuple(CountedPoint(now, point.at) if point.class_name == previous else point for point in points)


@dataclass(frozen=True)
class CountResult:
    """Number of points of a class within an area; ``area_mm2`` is None without a scale."""

    class_name: str
    count: int
    area_mm2: float | None = None

    @property
    def per_mm2(self) -> float | None:
        """Density in points per square millimeter; None without a scale."""
        return self.count / self.area_mm2 if self.area_mm2 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the density, exact for a Poisson distribution; None without a scale."""
        if not self.area_mm2:
            return None
        low, high = poisson_interval(self.count)
        return low / self.area_mm2, high / self.area_mm2

    def __str__(self) -> str:
        """Format the count with its density, such as ``TIL: 12, 24 per mm² (95 % interval 12–42)``."""
        counted = f"{self.class_name}: {self.count}"
        if self.per_mm2 is None or self.interval is None:
            return counted
        low, high = self.interval
        density, *ends = map(format_significant, (self.per_mm2, low, high))
        return f"{counted}, {density} per mm² (95 % interval {'–'.join(ends)})"


def poisson_interval(count: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a Poisson mean for an observed count.

    Garwood 1936, doi:10.1093/biomet/28.3-4.437: for a mean at the lower end, the probability of the observed count or
    more is 2.5 %; for a mean at the upper end, that of the observed count or fewer.
    """
    from scipy.special import gammainccinv, gammaincinv

    low = 0.0 if count == 0 else float(gammaincinv(count, TAIL))
    return low, float(gammainccinv(count + 1, TAIL))


class CountArea:
    """The union of polygons, in pixels of the finest level, prepared for counting the points within it."""

    def __init__(self, polygons: Iterable[Polygon]) -> None:
        import shapely

        pieces = [piece for polygon in polygons for piece in untangle_polygon(polygon)]
        self._shape = shapely.union_all([to_shape(piece) for piece in pieces])
        shapely.prepare(self._shape)

    @property
    def square_px(self) -> float:
        """The area in square pixels."""
        return float(self._shape.area)

    def list_within(self, points: CountedPoints) -> CountedPoints:
        """List the points inside the area or on its border."""
        import shapely

        inside = shapely.intersects_xy(
            self._shape, [point.at[0] for point in points], [point.at[1] for point in points]
        )
        return tuple(point for point, within in zip(points, inside, strict=True) if within)


def count_within(
    points: CountedPoints, classes: Sequence[str], area: CountArea, size: PixelSize | None
) -> tuple[CountResult, ...]:
    """Count the points of each class within an area; ``size``: pixel size of the finest level; None if unknown."""
    mm2 = None if size is None else area.square_px * size.pixel_area_mm2
    counts = Counter(point.class_name for point in area.list_within(points))
    return tuple(CountResult(name, counts[name], mm2) for name in classes)


def describe_counts(results: Sequence[CountResult], total: int) -> str:
    """Describe the counts within an area, with a line for each class; ``total``: number of points on the slide."""
    if not total:
        return "No points yet. Select a class, press Count and click on the slide."
    area = results[0].area_mm2 if results else None
    counted = sum(result.count for result in results)
    lines = [str(result) for result in results if result.count]
    where = "" if area is None else f" in {format_significant(area)} mm²"
    return "\n".join([f"{format_count(counted, 'point')} of {total}{where}", *lines])


def count_by_area(
    points: CountedPoints, regions: Iterable[Annotation], shape: tuple[int, int], size: PixelSize | None
) -> dict[str, tuple[CountResult, ...]]:
    """Count the points of each class on the whole slide, and within the regions of each class.

    ``shape``: height and width of the slide in pixels of the finest level. ``size``: size of these pixels. Returns the
    results by the name of the area; empty without points.
    """
    if not points:
        return {}
    height, width = map(float, shape)
    areas: dict[str, list[Polygon]] = {
        WHOLE_SLIDE: [Polygon(((0.0, 0.0), (0.0, width), (height, width), (height, 0.0)))]
    }
    for region in regions:
        if region.class_name:
            areas.setdefault(IN_REGIONS.format(region.class_name), []).extend(region.polygons)
    classes = list(dict.fromkeys(point.class_name for point in points))
    return {name: count_within(points, classes, CountArea(polygons), size) for name, polygons in areas.items()}


def collect_measurements(
    folder: Path, read_size: Callable[[], tuple[tuple[int, int], PixelSize | None]]
) -> list[dict[str, object]]:
    """Read the measurements and counts of a slide, and return them as rows of a table with ``COLUMNS``.

    ``folder``: the result folder. ``read_size``: returns height and width of the slide in pixels of the finest level,
    and the size of these pixels, which a pixel size set by the user replaces. It is called only if needed, since it may
    read the slide.
    """
    notes, points = read_notes(folder), read_counts(folder).points
    is_needed = points or (notes.measures and notes.pixel_size is None)
    shape, size = read_size() if is_needed else ((0, 0), None)
    size = notes.pixel_size or size
    counts = count_by_area(points, load_regions(folder).regions, shape, size)
    return list_measurements(notes.measures, counts, size)


def list_measurements(
    measures: Sequence[SlideMeasurement], counts: Mapping[str, Sequence[CountResult]], size: PixelSize | None
) -> list[dict[str, object]]:
    """Return measurements, and counts by the name of their area, as rows of a table with ``COLUMNS``."""
    rows: list[dict[str, object]] = []
    for number, measure in enumerate(measures, start=1):
        name, value = MEASUREMENT_NAMES[measure.kind], measure_shape(measure, size)
        units = {"line": "px" if size is None else "mm", "area": "px²" if size is None else "mm²", "angle": "°"}
        rows.append({"kind": name, "name": f"{name} {number}", "value": value, "unit": units[measure.kind]})
    for within, results in counts.items():
        for result in results:
            low, high = result.interval or (None, None)
            density = {"per_mm2": result.per_mm2, "per_mm2_low": low, "per_mm2_high": high}
            count = {"kind": "count", "name": result.class_name, "within": within, "count": result.count}
            rows.append({**count, "area_mm2": result.area_mm2, **density})
    return rows


def write_measurements(
    path: Path,
    measures: Sequence[SlideMeasurement],
    counts: Mapping[str, Sequence[CountResult]],
    size: PixelSize | None,
) -> None:
    """Write measurements, and counts by the name of their area, as CSV."""
    write_table(path, list_measurements(measures, counts, size), COLUMNS)

"""Read measurement reports (DICOM SR, template 1500) of any program: areas, lines and depth readings of a slide.

Read with pydicom alone, so that reports are imported that do not follow the templates in every detail.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_class, format_count
from napari_melanoma.core.parsing import parse_error_reason
from napari_melanoma.core.polygons import Polygon, as_ring, untangle_polygon
from napari_melanoma.io import dicom_codes as codes
from napari_melanoma.io.dicom import damage_as_value_error
from napari_melanoma.io.dicom_codes import Concept
from napari_melanoma.io.dicom_slides import (
    frame_corner,
    matrix_size,
    read_dicom_header,
    read_matrix_placement,
    read_slide_headers,
)
from napari_melanoma.io.formats import DAMAGE_ERRORS
from napari_melanoma.io.geojson import Annotation, GeoJsonContent

if TYPE_CHECKING:
    from pydicom import Dataset


READER, SOURCE, FINDING = "reader", "imported_from", "finding"  # keys in the properties of areas
REPORT_CLASSES = {  # SOP classes that may contain template 1500
    "1.2.840.10008.5.1.4.1.1.88.22",
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.34",
    "1.2.840.10008.5.1.4.1.1.88.35",
}
REPORT_TEMPLATE = "1500"
PREAMBLE_BYTES, PREFIX = 128, b"DICM"  # at the beginning of DICOM files
ELLIPSE_VERTICES = 48
INTERVAL_DECIMALS = 9  # of a mm; further ones are rounding errors of a sum
AREA_TOLERANCE = 0.05  # share by which a stated area may differ from that of the outline
LineKind = Literal["line", "area", "angle"]
_NamedItems = list[tuple[Any, "Dataset"]]  # items with the codes of their names
# UCUM code to our unit, and the factor to it.
UNITS: Mapping[str, tuple[str, float]] = {
    "nm": ("mm", 1e-6),
    "um": ("mm", 1e-3),
    "mm": ("mm", 1.0),
    "cm": ("mm", 10.0),
    "m": ("mm", 1000.0),
    "um2": ("mm2", 1e-6),
    "mm2": ("mm2", 1.0),
    "cm2": ("mm2", 100.0),
    "m2": ("mm2", 1e6),
    "/mm2": ("per_mm2", 1.0),
    "/cm2": ("per_mm2", 0.01),
    "/um2": ("per_mm2", 1e6),
    "%": ("", 0.01),
    "1": ("", 1.0),
    "{ratio}": ("", 1.0),
    "deg": ("deg", 1.0),
    "rad": ("deg", 180 / math.pi),
    "{pixels}": ("px", 1.0),
}
THICKNESS: Mapping[str, Concept] = {"breslow": codes.BRESLOW, "breslow_at_least": codes.BRESLOW_AT_LEAST}
NAMES: Sequence[tuple[Concept, str]] = (
    (codes.AREA, "area"),
    (codes.PERIMETER, "perimeter"),
    (codes.LENGTH, "length"),
    (codes.ANGLE, "angle"),
    (codes.PROBABILITY_OF_CANCER, "probability"),
    (codes.CLASS_PROBABILITY, "probability"),
    (codes.LESION_PROBABILITY, "presence"),
    *((concept, name) for name, concept in THICKNESS.items()),
    (codes.LATERAL_MARGIN, "lateral_margin"),
    (codes.DEEP_MARGIN, "deep_margin"),
    (codes.MITOTIC_RATE, "mitotic_rate"),
)
ULCERATED: Sequence[tuple[Concept, bool]] = ((codes.PRESENT, True), (codes.ABSENT, False))
CLASSES: Sequence[tuple[Concept, str]] = (
    (codes.MALIGNANT, "malignant"),
    (codes.BENIGN, "benign"),
    (codes.MELANOMA, "Melanoma"),
    (codes.LESION, "Lesion"),
)


@dataclass(frozen=True)
class ReportedLine:
    """A length, angle or area that was measured; ``points``: (row, column) in pixels of the finest level."""

    name: str
    kind: LineKind
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class ReportedDepth:
    """The depth reading of an observer, whose name is empty for a reader without a name in a report of this program.

    ``line``: surface and deepest, (row, column) in pixels of the finest level. Values that are not stated are None.
    """

    reader: str
    mm: float | None = None
    at_least: bool = False
    interval_mm: tuple[float, float] | None = None
    line: tuple[tuple[float, float], ...] | None = None
    method: str = "hand"
    ulcerated: bool | None = None
    clark: int | None = None
    lateral_mm: float | None = None
    deep_mm: float | None = None
    mitoses_per_mm2: float | None = None


@dataclass(frozen=True)
class ReportContent(GeoJsonContent):
    """Areas, lines and depth readings of a report, and messages on what was left out or needs attention."""

    lines: tuple[ReportedLine, ...] = ()
    depths: tuple[ReportedDepth, ...] = ()


def is_dicom_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(PREAMBLE_BYTES)
            if file.read(len(PREFIX)) != PREFIX:  # most files, for which pydicom need not be imported
                return False
    except OSError:
        return False
    header = read_dicom_header(path)
    return header is not None and str(header.get("Modality", "")) == "SR"


def read_measurement_report(path: Path, slide: Path) -> ReportContent:
    """Read areas, lines and depth readings of a report on a DICOM slide, in pixels of the finest level of the canvas.

    Areas have the observer as reader, the name of the file, and the finding. Lengths are converted to mm, areas to
    mm². What has no position on this slide, and values in unknown units, are left out and reported.
    """
    try:
        with warnings.catch_warnings(), damage_as_value_error():
            warnings.simplefilter("ignore")  # pydicom warns of values that are too long
            return _read_report(path, slide)
    except DAMAGE_ERRORS as error:
        raise InputError(
            f"{path.name} is damaged, or contains invalid values: {parse_error_reason(error)}. Export the report again."
        ) from error


def _read_report(path: Path, slide: Path) -> ReportContent:
    root = _read_root(path)
    headers = read_slide_headers(slide)
    if not headers:
        raise InputError(
            f"{slide.name} is not a DICOM slide, but {path.name} refers to DICOM images. Open the DICOM slide that the "
            "report was made of."
        )
    reader = _ReportReader(root, _Locator(root, headers), path.name)
    content = reader.read()
    if not (content.annotations or content.lines or content.depths) and reader.locator.elsewhere:
        raise InputError(
            f"{path.name} is a report on other images: it refers to {sorted(reader.locator.elsewhere)[0]}, which is no "
            f"image of {slide.name}. Open the slide that the report was made of."
        )
    return content


def _read_root(path: Path) -> Dataset:
    header = read_dicom_header(path)
    if header is None:
        raise InputError(f"{path} is not a DICOM file, or damaged. Expected a measurement report (DICOM SR).")
    kind = header.get("SOPClassUID")
    if str(kind) not in REPORT_CLASSES:
        found = getattr(kind, "name", None) or "a file without a type"
        raise InputError(f"{path.name} is not a measurement report: expected Comprehensive (3D) SR, found {found}.")
    templates = header.get("ContentTemplateSequence") or []
    is_report = any(str(one.get("TemplateIdentifier")) == REPORT_TEMPLATE for one in templates)
    if not is_report and not any(_descend(header, codes.GROUP)):
        title = _meaning(_code_of(header)) or "a report without a title"
        raise InputError(
            f"{path.name} is not a measurement report: expected template 1500 with measurement groups, found '{title}'."
        )
    return header


def _items(item: Dataset) -> list[Dataset]:
    return list(item.get("ContentSequence") or [])


def _descend(item: Dataset, concept: Concept) -> Iterator[Dataset]:
    """Yield the containers of a concept below an item."""
    for child in _items(item):
        if _equals(_code_of(child), concept):
            yield child
        elif child.get("ValueType") == "CONTAINER":
            yield from _descend(child, concept)


def _code_of(item: Dataset, keyword: str = "ConceptNameCodeSequence") -> Any:  # noqa: ANN401 - pydicom's Code
    """Return a code of an item, its name by default; None if there is none."""
    from pydicom.sr.coding import Code

    sequence = item.get(keyword) or []
    if not sequence:
        return None
    first = sequence[0]
    value = next((first[key].value for key in ("CodeValue", "LongCodeValue", "URNCodeValue") if key in first), "")
    return Code(str(value), str(first.get("CodingSchemeDesignator", "")), str(first.get("CodeMeaning", "")))


def _equals(code: Any, concept: Concept) -> bool:  # noqa: ANN401 - pydicom's Code
    """Compare codes; pydicom knows the codes that earlier versions of DICOM had for those of SNOMED CT."""
    from pydicom.sr.coding import Code

    return code is not None and code == Code(*concept)


def _meaning(code: Any) -> str:  # noqa: ANN401 - pydicom's Code
    return "" if code is None else code.meaning.strip()


def _name_items(item: Dataset) -> _NamedItems:
    """Return the items below an item, each with the code of its name."""
    return [(_code_of(child), child) for child in _items(item)]


def _find(items: _NamedItems, concept: Concept) -> Dataset | None:
    return next((item for code, item in items if _equals(code, concept)), None)


def _text(items: _NamedItems, concept: Concept) -> str:
    """Return the text, UID or name of a person of an item; empty if there is none."""
    item = _find(items, concept)
    if item is None:
        return ""
    person = item.get("PersonName")
    if person:
        return " ".join(filter(None, (str(person.given_name), str(person.family_name)))).strip()
    return str(item.get("TextValue") or item.get("UID") or "").strip()


def _find_observer(items: _NamedItems) -> str:
    """Return the person of a context, or else the device; empty if there is none."""
    concepts = (codes.PERSON_NAME, codes.DEVICE_NAME, codes.DEVICE_MODEL, codes.DEVICE_MAKER)
    return next(filter(None, (_text(items, concept) for concept in concepts)), "")


class _NoPosition(Exception):  # noqa: N818 - it is reported, and ends nothing
    """A shape has no position on the slide; the message gives the reason."""


class _Locator:
    """Converts the coordinates of a report to pixels of the finest level; ``elsewhere``: other images it refers to."""

    def __init__(self, root: Dataset, headers: Sequence[Dataset]) -> None:
        self._root, self._finest = root, headers[0]
        self._levels = {str(header.SOPInstanceUID): header for header in headers if "SOPInstanceUID" in header}
        self._placement = read_matrix_placement(headers[0])
        self.elsewhere: set[str] = set()
        height, width = self._placement.pixel_mm if self._placement else (0.0, 0.0)
        self.pixel_mm2 = height * width

    @property
    def is_slide_alone(self) -> bool:
        """Whether the report is on this slide only, by the series of all images that it refers to."""
        studies = self._root.get("CurrentRequestedProcedureEvidenceSequence") or []
        series = [one for study in studies for one in study.get("ReferencedSeriesSequence") or []]
        return {one.get("SeriesInstanceUID") for one in series} == {self._finest.get("SeriesInstanceUID")}

    def locate(self, item: Dataset) -> NDArray[np.float64]:
        """Return the points of an item as (row, column), float64 (point, 2)."""
        three = item.ValueType == "SCOORD3D"
        data = item.get("GraphicData") or []
        # Writers store more than 64 kB of an explicit type as bytes without a type.
        values = np.array(np.frombuffer(data, "<f4") if isinstance(data, bytes) else data, np.float64)
        if not len(values) or len(values) % (3 if three else 2) or not np.isfinite(values).all():
            raise _NoPosition("its coordinates are incomplete")
        points = values.reshape(-1, 3 if three else 2)
        found, step = self._locate_3d(item, points) if three else self._locate_2d(item, points)
        # Coordinates are stored in single precision: decimals beyond it are rounding errors.
        precision = float(np.spacing(np.abs(values).max().astype(np.float32))) / step
        decimals = max(0, math.floor(-math.log10(max(precision, 1e-6))))
        return np.asarray(np.round(found, decimals) + 0.0, np.float64)  # no negative zero

    def _locate_3d(self, item: Dataset, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        frame = str(item.get("ReferencedFrameOfReferenceUID") or "")
        if frame != str(self._finest.get("FrameOfReferenceUID") or ""):
            self.elsewhere.add(f"the frame of reference {frame or 'without a UID'}")
            raise _NoPosition("it is on another slide (frame of reference)")
        if self._placement is None:
            raise _NoPosition("the slide does not state its position in the frame of reference")
        return self._placement.to_pixels(points), min(self._placement.pixel_mm)

    def _locate_2d(self, item: Dataset, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        reference = self._find_image(item)
        uid = str(reference.get("ReferencedSOPInstanceUID") or "")
        header = self._levels.get(uid)
        if header is None:
            self.elsewhere.add(f"the image {uid or 'without a UID'}")
            raise _NoPosition("it is on another image")
        pixels = points[:, ::-1]
        frame, origin = reference.get("ReferencedFrameNumber"), item.get("PixelOriginInterpretation")
        if origin == "FRAME" or (origin is None and frame):
            corner = frame_corner(header, int(frame[0] if isinstance(frame, Sequence) else frame or 1))
            if corner is None:
                raise _NoPosition("the position of its frame is unknown")
            pixels = pixels + corner
        return self._to_finest(pixels, header)

    def _to_finest(self, pixels: NDArray[np.float64], header: Dataset) -> tuple[NDArray[np.float64], float]:
        """Convert pixels of a level; also return the size of a pixel of the finest level in pixels of the level."""
        (height, width), (full_height, full_width) = matrix_size(header), matrix_size(self._finest)
        if (height, width) == (full_height, full_width):
            return pixels, 1.0
        placement = read_matrix_placement(header)
        if placement is not None and self._placement is not None:
            moved = self._placement.to_pixels(placement.to_mm(pixels.tolist()))
        else:
            moved = pixels * (full_height / height, full_width / width)
        return moved, min(height / full_height, width / full_width)

    def _find_image(self, item: Dataset) -> Any:  # noqa: ANN401 - pydicom's Dataset
        """Return the reference to the image of coordinates, which may be an entry of the image library."""
        for child in _items(item):
            found: Any = child
            path = child.get("ReferencedContentItemIdentifier")
            if path is not None:
                found = self._root
                for number in list(path if isinstance(path, Sequence) else [path])[1:]:
                    children = _items(found)
                    found = children[int(number) - 1] if 0 < int(number) <= len(children) else {}
            if found.get("ReferencedSOPSequence"):
                return found.ReferencedSOPSequence[0]
        return {}


@dataclass
class _ReadGroup:
    """One measurement group: its shapes and values.

    ``has_region``: whether it states a region, known or not. ``depth_line``: on which the thickness was measured, if
    it has two points. ``is_depth_elsewhere``: whether that line has no position on the slide. ``has_depth``: whether
    the group states a depth reading or a prediction; ``depth`` is the reading.
    """

    name: str
    uid: str
    class_name: str
    reader: str
    is_measured: bool
    properties: Mapping[str, str]
    polygons: tuple[Polygon, ...] = ()
    measurements: dict[str, float] = field(default_factory=dict)
    lines: list[ReportedLine] = field(default_factory=list)
    has_region: bool = False
    depth_line: tuple[tuple[float, float], ...] | None = None
    is_depth_elsewhere: bool = False
    has_depth: bool = False
    depth: ReportedDepth | None = None


class _ReportReader:
    """Reads the groups of a report; ``source``: name of the file."""

    def __init__(self, root: Dataset, locator: _Locator, source: str) -> None:
        self._root, self.locator, self._source = root, locator, source
        items = _name_items(root)
        self._observer, self._person = _find_observer(items), _text(items, codes.PERSON_NAME)
        self._is_own = _text(items, codes.DEVICE_MAKER) == codes.PRODUCT
        self._notes: dict[str, None] = {}

    def read(self) -> ReportContent:
        """Read all groups; those with the same tracking UID are one area if one of them states the common values."""
        groups = [self._read_group(item, number) for number, item in enumerate(_descend(self._root, codes.GROUP), 1)]
        totals = {group.uid: group for group in groups if group.uid and not group.has_region}
        areas: dict[str, tuple[_ReadGroup, tuple[Polygon, ...]]] = {}
        measured: list[ReportedLine] = []
        left = 0
        for number, group in enumerate(groups):
            if group.polygons and group.is_measured:
                measured += [ReportedLine(group.name, "area", polygon.outer) for polygon in group.polygons]
            elif group.polygons:
                total = totals.get(group.uid)
                key = group.uid if total is not None else f"{number}"
                _, joined = areas.get(key, (group, ()))
                areas[key] = total or group, (*joined, *group.polygons)
            elif not (group.has_region or group.lines or group.has_depth) and group.measurements:
                left += not any(other.has_region and other.uid == group.uid for other in groups)
        if left:
            self._note(f"{format_count(left, 'group')} with values without a position: left out")
        lines = (*(line for group in groups for line in group.lines), *measured)
        annotations = tuple(self._to_annotation(group, polygons) for group, polygons in areas.values())
        depths = tuple(group.depth for group in groups if group.depth is not None)
        return ReportContent(annotations, tuple(self._notes), lines=lines, depths=depths)

    def _note(self, text: str) -> None:
        self._notes[text] = None

    def _to_annotation(self, group: _ReadGroup, polygons: tuple[Polygon, ...]) -> Annotation:
        stated, pixel_mm2 = group.measurements.get("area_mm2"), self.locator.pixel_mm2
        outlined = sum(polygon.area for polygon in polygons) * pixel_mm2
        if stated and pixel_mm2 and abs(outlined - stated) > AREA_TOLERANCE * stated:
            self._note(
                f"{group.name}: its stated area, {stated:.3g} mm², differs from that of its outline, {outlined:.3g} mm²"
            )
        return Annotation(
            polygons,
            group.class_name,
            name=group.name,
            measurements=group.measurements,
            id=group.uid,
            properties={READER: group.reader, SOURCE: self._source, **group.properties},
        )

    def _read_group(self, item: Dataset, number: int) -> _ReadGroup:
        items = _name_items(item)
        name = _text(items, codes.TRACKING_ID) or f"group {number}"
        finding = _find_code(items, codes.FINDING)
        group = _ReadGroup(
            name,
            _text(items, codes.TRACKING_UID),
            self._read_class(items),
            _find_observer(items) or _text(items, codes.ALGORITHM_NAME) or self._observer or self._source,
            _equals(_find_code(items, codes.METHOD), codes.MEASURED),
            {} if finding is None else {FINDING: _meaning(finding)},
        )
        for code, child in items:
            kind = child.get("ValueType")
            if kind in ("SCOORD", "SCOORD3D"):
                group.has_region = True
                group.polygons += self._read_area(child, name)
            elif kind == "IMAGE" and "ReferencedSegmentNumber" in ((child.get("ReferencedSOPSequence") or [{}])[0]):
                group.has_region = True
                self._note(f"{name}: its region is a segment of a DICOM segmentation, which cannot be imported")
            elif kind == "NUM":
                self._read_number(code, child, group)
        self._read_depth(items, group)
        return group

    def _read_area(self, item: Dataset, name: str) -> tuple[Polygon, ...]:
        try:
            points = self.locator.locate(item)
        except _NoPosition as reason:
            self._note(f"{name}: left out, {reason}")
            return ()
        kind = str(item.get("GraphicType"))
        outline = _outline(kind, points)
        polygons = () if outline is None else untangle_polygon(Polygon(as_ring(outline)))
        if not polygons:
            self._note(
                f"{name}: left out, a shape of type {kind} with {format_count(len(points), 'point')} has no area"
            )
        return polygons

    def _read_number(self, code: Any, item: Dataset, group: _ReadGroup) -> None:  # noqa: ANN401 - pydicom's Code
        """Read a value and, if it was measured on a line, the line; ``code``: name of the value."""
        name = next((name for concept, name in NAMES if _equals(code, concept)), "")
        if (measured := _measured_value(item)) is not None:
            value, symbol = measured
            if symbol not in UNITS:
                known = ", ".join(UNITS)
                self._note(
                    f"{group.name}: the value of '{_meaning(code)}' is left out, its unit '{symbol}' is unknown. "
                    f"Expected a UCUM code of {known}"
                )
            elif math.isfinite(value):
                suffix, factor = UNITS[symbol]
                label = f"{name}_{suffix}".rstrip("_") if name else f"{_meaning(code)} [{suffix or '1'}]"
                group.measurements[label] = value * factor
        before = len(group.lines)
        shapes = [child for child in _items(item) if child.get("ValueType") in ("SCOORD", "SCOORD3D")]
        for shape in shapes:
            self._read_line(shape, group, is_angle=name == "angle")
        if name in THICKNESS and len(group.lines) == before + 1 and len(group.lines[-1].points) == 2:
            group.depth_line = group.lines.pop().points
        elif name in THICKNESS and len(group.lines) == before:
            group.is_depth_elsewhere = bool(shapes)

    def _read_line(self, item: Dataset, group: _ReadGroup, *, is_angle: bool) -> None:
        try:
            points = self.locator.locate(item)
        except _NoPosition as reason:
            self._note(f"{group.name}: left out, {reason}")
            return
        kind: LineKind = "angle" if is_angle else "line"
        if str(item.get("GraphicType")) not in ("POLYLINE", "MULTIPOINT") or len(points) < (3 if is_angle else 2):
            self._note(f"{group.name}: left out, a shape of type {item.get('GraphicType')} is no line")
            return
        vertices = tuple((float(row), float(column)) for row, column in points)
        group.lines.append(ReportedLine(group.name, kind, vertices[:3] if is_angle else vertices))

    def _read_depth(self, items: _NamedItems, group: _ReadGroup) -> None:
        values = group.measurements
        stated = next((name for name in THICKNESS if f"{name}_mm" in values), "")
        ulceration, clark, method = (_find_code(items, one) for one in (codes.ULCERATION, codes.CLARK, codes.METHOD))
        found = ReportedDepth(
            "" if self._is_own and group.reader == self._observer else group.reader,
            values.get(f"{stated}_mm"),
            at_least=stated == "breslow_at_least",
            interval_mm=_read_interval(_find(items, THICKNESS[stated]), values[f"{stated}_mm"]) if stated else None,
            line=group.depth_line if stated else None,
            ulcerated=next((state for concept, state in ULCERATED if _equals(ulceration, concept)), None),
            clark=next((level for level, one in enumerate(codes.CLARK_LEVELS, 1) if _equals(clark, one)), None),
            lateral_mm=values.get("lateral_margin_mm"),
            deep_mm=values.get("deep_margin_mm"),
            mitoses_per_mm2=values.get("mitotic_rate_per_mm2"),
        )
        group.has_depth = found != ReportedDepth(found.reader)
        model = "" if _text(items, codes.PERSON_NAME) else _text(items, codes.ALGORITHM_NAME)
        if not group.has_depth or group.is_depth_elsewhere:
            return
        if model:
            self._note(
                f"{group.name}: the depth is left out, as it is a prediction ({model}), not the reading of a person"
            )
        elif not (self._is_own or self._person or _text(items, codes.PERSON_NAME)):
            self._note(f"{group.name}: the depth is left out: the report names no person who read it")
        elif not (found.line or group.lines or group.polygons or self.locator.is_slide_alone):
            self._note(
                f"{group.name}: the depth is left out: it has no position, and the report is on other images, too"
            )
        else:
            names = (name for name, concept in codes.METHODS.items() if _equals(method, concept))
            group.depth = replace(found, method=next(names, "hand"))

    def _read_class(self, items: _NamedItems) -> str:
        """Return the class: malignant or benign if this is stated, else the class or finding by its name."""
        values = [
            _code_of(item, "ConceptCodeSequence")
            for name, item in items
            if item.get("ValueType") == "CODE" and not _equals(name, codes.FINDING_SITE)
        ]
        for value in values:
            for concept in (codes.MALIGNANT, codes.BENIGN):
                if _equals(value, concept):
                    return next(name for known, name in CLASSES if known is concept)
        for concept in (codes.PREDICTED_CLASS, codes.FINDING):
            if (code := _find_code(items, concept)) is not None:
                return self._name_class(code)
        return ""

    def _name_class(self, code: Any) -> str:  # noqa: ANN401 - pydicom's Code
        known = next((name for concept, name in CLASSES if _equals(code, concept)), "")
        if known:
            return known
        name = format_class(_meaning(code)) or code.value
        if code.scheme_designator != codes.SCHEME:
            self._note(f"the code {code.value} of {code.scheme_designator} is unknown: the class is its text, '{name}'")
        return name


def _find_code(items: _NamedItems, concept: Concept) -> Any:  # noqa: ANN401 - pydicom's Code
    """Return the code that is the value of an item; None if there is none."""
    item = _find(items, concept)
    return None if item is None else _code_of(item, "ConceptCodeSequence")


def _measured_value(item: Dataset) -> tuple[float, str] | None:
    """Return a value, in double precision if it is stated so, and the UCUM code of its unit; None without a value."""
    measured = item.get("MeasuredValueSequence") or []
    if not measured:
        return None
    unit = _code_of(measured[0], "MeasurementUnitsCodeSequence")
    return float(measured[0].get("FloatingPointValue", measured[0].NumericValue)), "" if unit is None else unit.value


def _read_interval(item: Dataset | None, value: float) -> tuple[float, float] | None:
    """Return the interval of a length, in mm; None if its ends are not both stated as lengths."""
    parts, ends = _name_items(item) if item is not None else [], []
    for concept, sign in ((codes.LOWER_UNCERTAINTY, -1), (codes.UPPER_UNCERTAINTY, 1)):
        end = _find(parts, concept)
        distance, symbol = (end is not None and _measured_value(end)) or (math.nan, "")
        unit, factor = UNITS.get(symbol, ("", 1.0))
        if unit != "mm" or not math.isfinite(distance):
            return None
        ends.append(round(value + sign * distance * factor, INTERVAL_DECIMALS))
    return ends[0], ends[1]


def _outline(kind: str, points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the outline of a shape, float64 (vertex, 2); None if it has no area."""
    if kind in ("POLYGON", "POLYLINE") and len(points) >= 3:
        return points
    angle = np.linspace(0, 2 * np.pi, ELLIPSE_VERTICES, endpoint=False)[:, None]
    if kind == "CIRCLE" and len(points) == 2:
        center, radius = points[0], float(np.hypot(*(points[1] - points[0])))
        return np.asarray(center + radius * np.hstack([np.sin(angle), np.cos(angle)]), np.float64)
    if kind == "ELLIPSE" and len(points) == 4:
        center, along, across = points[:2].mean(axis=0), (points[1] - points[0]) / 2, (points[3] - points[2]) / 2
        return np.asarray(center + np.cos(angle) * along + np.sin(angle) * across, np.float64)
    return None

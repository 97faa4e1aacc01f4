"""Write the results of a DICOM slide as a measurement report: DICOM SR, template 1500, Comprehensive 3D SR.

Each lesion is a group with its outline (template 1410), and so is each measured or drawn area. Values without an area,
such as the thickness, are groups of template 1501. Values of readers name their observer; all others are observed by
this program.
"""

from __future__ import annotations

import math
import uuid
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.polygons import Polygon, Ring, as_array, as_ring, signed_area
from napari_melanoma.core.validity import NOTICE, Validity, read_slide_validity
from napari_melanoma.depth.readings import DepthReading, automatic_reading, read_depth
from napari_melanoma.io import dicom_codes as codes
from napari_melanoma.io.dicom import read_pixel_size
from napari_melanoma.io.dicom_slides import matrix_size, read_matrix_placement, read_slide_headers
from napari_melanoma.reports.export_formats import NothingToExportError
from napari_melanoma.slides.depth_readings import read_proposals
from napari_melanoma.slides.notes import SlideMeasurement, measure_shape, read_notes
from napari_melanoma.slides.region_files import load_regions
from napari_melanoma.slides.regions import is_ignored, region_reader

if TYPE_CHECKING:
    from pydicom import Dataset

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.io.dicom_codes import Concept
    from napari_melanoma.io.geojson import Annotation
    from napari_melanoma.reports.export_formats import ExportedSlide
    from napari_melanoma.slides.lesions import SlideLesion

PRODUCT = "napari-melanoma"
HIGHDICOM_MISSING = (
    "a DICOM measurement report requires highdicom, which is not installed: pip install 'napari-melanoma[dicom]'."
)
NOT_A_DICOM_SLIDE = (
    "is not a DICOM slide: a DICOM measurement report must reference DICOM images. Export a table or outlines."
)
NOTHING = "there are no lesions, depth readings, measurements or regions to report yet. Analyze the slide first."
IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
# Attributes of patient and study that must be present, but may be empty; some converters leave them out.
TYPE_2_ATTRIBUTES = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
MAX_EXPLICIT_VALUES = 65_534 // 4  # of 4 bytes in an element with an explicit type, whose length has 16 bits
SERIES_NUMBER = 101  # the one after that of segmentations
REGION_CLASSES = {"melanoma": codes.MELANOMA}  # by name of the class in lower case; others have private codes
MALIGNANCIES = {"malignant": codes.MALIGNANT, "benign": codes.BENIGN}
MEASUREMENTS = {
    "line": (codes.LENGTH, codes.MILLIMETER),
    "area": (codes.AREA, codes.SQUARE_MILLIMETER),
    "angle": (codes.ANGLE, codes.DEGREE),
}


@cache
def _own_version() -> str:
    return version(PRODUCT)


def lesion_uid(header: Dataset, lesion: SlideLesion) -> str:
    """Return the tracking UID of a lesion, which is the same in all exports while number and outline are the same."""
    rings = [ring for polygon in lesion.polygons for ring in polygon.rings]
    return derive_uid(header, "lesion", lesion.index, rings)


def derive_uid(header: Dataset, *parts: object) -> str:
    """Return a UID that is the same for the same series and parts."""
    name = "/".join(map(str, (PRODUCT, header.SeriesInstanceUID, *parts)))
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


def write_measurement_report(
    path: Path, slide: Path, exported: ExportedSlide, size: tuple[int, int], pixel: PixelSize | None
) -> None:
    """Write lesions, depth readings, measurements and regions of a DICOM slide.

    Patient and study are copied from the header of the slide, as DICOM requires.

    ``size``, ``pixel``: height and width of the finest level, and its pixel size.
    """
    try:
        import highdicom  # noqa: F401 - fail before any computation
    except ImportError as error:
        raise ConfigError(HIGHDICOM_MISSING) from error
    headers = read_slide_headers(slide)
    if not headers:
        raise InputError(f"{slide.name} {NOT_A_DICOM_SLIDE}")
    found = matrix_size(headers[0])
    if found != size:
        raise InputError(
            f"{slide.name} has {found[1]} x {found[0]} pixels, but the results are of a slide of {size[1]} x {size[0]} "
            "pixels. Name the analyzed slide with --slide."
        )
    images = [header for header in headers if matrix_size(header) == found]  # several if the level is split
    missing = [name for name in IDENTIFIERS if not all(image.get(name) for image in images)]
    if missing:
        raise InputError(
            f"the header of {slide.name} lacks {', '.join(missing)}, to which a DICOM measurement report must refer. "
            "Export a table or outlines."
        )
    with warnings.catch_warnings(), atomic_file(path) as temporary:
        warnings.simplefilter(
            "ignore"
        )  # on values of the slide's header that are too long, which are copied as they are
        _build_document(images, _ReportBuilder(images[0], exported, pixel)).save_as(temporary)


def _build_document(images: Sequence[Dataset], builder: _ReportBuilder) -> Any:  # noqa: ANN401 - highdicom's
    import highdicom
    from highdicom import sr
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from pydicom.sr.codedict import codes as dictionary
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    for image in images:
        for name in TYPE_2_ATTRIBUTES:
            if name not in image:
                setattr(image, name, None)
    groups = list(builder.list_groups())
    device = sr.ObserverContext(
        observer_type=dictionary.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, PRODUCT).int}",
            name=f"{PRODUCT} {_own_version()}",
            manufacturer_name=PRODUCT,
            model_name=f"{PRODUCT} {_own_version()}",
        ),
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=device, subject_context=_describe_specimen(images[0])
        ),
        procedure_reported=_code(codes.LIGHT_MICROSCOPY),
        imaging_measurements=groups,
        referenced_images=images,
    )
    return sr.Comprehensive3DSR(
        evidence=images,
        content=report,
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_NUMBER,
        series_description="Measurements, for research only",
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=PRODUCT,
        manufacturer_model_name=PRODUCT,
        software_versions=_own_version(),
        device_serial_number="none",
        specific_character_set="ISO_IR 192",  # UTF-8, whatever that of the slide is
        transfer_syntax_uid=ImplicitVRLittleEndian if builder.has_long_outlines else ExplicitVRLittleEndian,
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[
            CodingSchemeIdentificationItem(
                codes.SCHEME, codes.SCHEME_NAME, codes.SCHEME_VERSION, responsible_organization=PRODUCT
            )
        ],
    )


def _describe_specimen(header: Dataset) -> Any:  # noqa: ANN401 - highdicom's
    """Return the specimen as subject; None if the slide has none or several."""
    from highdicom import sr
    from pydicom.sr.codedict import codes as dictionary

    specimens = header.get("SpecimenDescriptionSequence") or []
    if len(specimens) != 1 or not specimens[0].get("SpecimenUID"):
        return None
    return sr.SubjectContext(
        subject_class=dictionary.DCM.Specimen,
        subject_class_specific_context=sr.SubjectContextSpecimen(
            uid=specimens[0].SpecimenUID,
            identifier=specimens[0].get("SpecimenIdentifier") or None,
            container_identifier=header.get("ContainerIdentifier") or None,
        ),
    )


def _code(concept: Concept) -> Any:  # noqa: ANN401 - highdicom's
    from highdicom.sr import CodedConcept

    return CodedConcept(*concept)


@dataclass(frozen=True)
class _Group:
    """Content of a measurement group.

    ``comments``: sentences in its text. ``reader``: name of the person who made the values; empty for the program.
    ``model``: whose prediction it is; empty for none.
    """

    name: str
    uid: str
    measurements: Sequence[Any] = ()
    evaluations: Sequence[tuple[Concept, Concept]] = ()
    comments: Sequence[str] = ()
    finding: Concept | None = None
    category: Concept | None = None
    method: Concept | None = None
    reader: str = ""
    model: str = ""


class _ReportBuilder:
    """Builds the measurement groups for a slide; ``header``: of its finest level."""

    def __init__(self, header: Dataset, exported: ExportedSlide, pixel: PixelSize | None) -> None:
        self._header, self._exported = header, exported
        self.has_long_outlines = False
        self._notes = read_notes(exported.folder)
        self._pixel = self._notes.pixel_size or pixel
        self._placement = read_matrix_placement(header)
        self._validity = read_slide_validity(exported.content) if exported.lesions is not None else Validity()
        self._model = str((exported.content.get("model") or {}).get("name") or "") if exported.content else ""

    def list_groups(self) -> list[Any]:
        """Return the groups: the slide, its lesions, depth readings, measurements and regions."""
        found = [*self._lesions(), *self._depth(), *self._measures(), *self._regions()]
        if not found and self._exported.lesions is None:
            raise NothingToExportError(f"{self._exported.folder.name}: {NOTHING}")
        return [self._slide(), *found]

    def _slide(self) -> Any:  # noqa: ANN401 - highdicom's
        """Return the group of the slide: number of lesions, and whether predictions are valid."""
        measurements = []
        lesions = self._exported.lesions
        if lesions is not None and self._validity.valid:
            measurements.append(_measurement(codes.LESION_COUNT, len(lesions), codes.NO_UNITS))
            if all(one.label in MALIGNANCIES for one in lesions):
                malignant = sum(one.label == "malignant" for one in lesions)
                measurements.append(_measurement(codes.MALIGNANT_COUNT, malignant, codes.NO_UNITS))
        headline = self._validity.headline("")
        stated, own = read_pixel_size(self._header), self._notes.pixel_size
        comments = [*([headline] if headline else []), *self._validity.cautions, NOTICE]
        if own is not None and stated is not None and (own.y_um, own.x_um) != (stated.y_um, stated.x_um):
            comments.append(
                f"Scale set by a reader: {own.y_um:g} x {own.x_um:g} µm per pixel. The slide states "
                f"{stated.y_um:g} x {stated.x_um:g}, in which positions are given."
            )
        model = self._model if lesions is not None else ""
        return self._group(_Group("slide", self._uid("slide"), measurements, comments=comments, model=model))

    def _lesions(self) -> Iterator[Any]:
        """Yield a group for each lesion; for one of several parts, one for each part, and one for the values."""
        for lesion in self._exported.lesions or ():
            described = self._describe_lesion(lesion)
            if len(lesion.polygons) == 1:
                yield self._group(described, lesion.polygons[0])
                continue
            yield self._group(described)
            for number, polygon in enumerate(lesion.polygons, start=1):
                name = f"{described.name}, part {number} of {len(lesion.polygons)}"
                part = _Group(
                    name, described.uid, finding=described.finding, category=described.category, model=described.model
                )
                yield self._group(part, polygon)

    def _describe_lesion(self, lesion: SlideLesion) -> _Group:
        """Return the values of a lesion; those of the model only if its prediction is valid."""
        is_valid, by_reader = self._validity.valid, lesion.origin != "found"
        measurements: list[Any] = []
        evaluations = [(codes.ORIGIN, codes.ORIGINS[lesion.origin])]
        if is_valid or by_reader:
            for concept, value, unit in (
                (codes.AREA, lesion.area_mm2, codes.SQUARE_MILLIMETER),
                (codes.PERIMETER, lesion.perimeter_mm, codes.MILLIMETER),
            ):
                measurements += [] if value is None else [_measurement(concept, value, unit)]
        if is_valid:
            name = codes.PROBABILITY_OF_CANCER if lesion.label in MALIGNANCIES else codes.CLASS_PROBABILITY
            for concept, value in ((name, lesion.class_probability), (codes.LESION_PROBABILITY, lesion.presence)):
                measurements += (
                    [_measurement(concept, round(100 * value, 4), codes.PERCENT)] if math.isfinite(value) else []
                )
        if lesion.label and (is_valid or lesion.origin == "classed"):
            value_code = MALIGNANCIES.get(lesion.label)
            predicted = (codes.PREDICTED_CLASS, codes.private_concept(lesion.label, "class-"))
            evaluations.append(predicted if value_code is None else (codes.MALIGNANCY, value_code))
        return _Group(
            f"lesion {lesion.index}",
            lesion_uid(self._header, lesion),
            measurements,
            evaluations,
            comments=[headline] if (headline := self._validity.headline("")) else [],
            finding=codes.LESION,
            category=codes.ABNORMAL_STRUCTURE,
            model=self._model,
        )

    def _depth(self) -> Iterator[Any]:
        """Yield the reading of each reader, and the proposal of the analysis."""
        folder = self._exported.folder
        for reading in read_depth(folder).readings:
            if reading.when and any(author == "reader" for author in reading.all_authors().values()):
                yield self._reading(reading.without_predictions(), reading.reader, "")
        proposals = read_proposals(folder)
        if not proposals.proposals:
            return
        name, headline = "depth, prediction", proposals.validity.headline("")
        if headline:
            yield self._group(_Group(name, self._uid(name), comments=[headline], model=self._model))
        else:
            yield self._reading(automatic_reading(proposals), "", self._model or PRODUCT)

    def _reading(self, reading: DepthReading, reader: str, model: str) -> Any:  # noqa: ANN401 - highdicom's
        name = "depth, prediction" if model else f"depth, {reader or 'reader without a name'}"
        measurements, comments = [], []
        if reading.mm is not None:
            line = None if reading.line is None else self._path(reading.line)
            concept = codes.BRESLOW_AT_LEAST if reading.at_least else codes.BRESLOW
            measured = _measurement(concept, reading.mm, codes.MILLIMETER, line)
            measurements.append(measured)
            if reading.at_least:
                comments.append("The melanoma reaches the edge of the section: it may be thicker.")
            if reading.interval_mm is not None:
                low, high = reading.interval_mm
                _add_interval(measured, reading.mm, (low, high))
                comments.append(f"90 % interval {low:.2f}–{high:.2f} mm.")
        for concept, margin in (
            (codes.LATERAL_MARGIN, reading.margins.lateral_mm),
            (codes.DEEP_MARGIN, reading.margins.deep_mm),
        ):
            measurements += [] if margin is None else [_measurement(concept, margin, codes.MILLIMETER)]
        if reading.mitoses.per_mm2 is not None:
            rate = _measurement(codes.MITOTIC_RATE, reading.mitoses.per_mm2, codes.PER_SQUARE_MILLIMETER)
            measurements.append(rate)
        evaluations = []
        if reading.ulcerated is not None:
            evaluations.append((codes.ULCERATION, codes.PRESENT if reading.ulcerated else codes.ABSENT))
        if reading.clark is not None:
            level = ("I", "II", "III", "IV", "V")[reading.clark - 1]
            evaluations.append((codes.CLARK, codes.private_concept(f"Clark level {level}")))
        return self._group(
            _Group(
                name,
                self._uid(name),
                measurements,
                evaluations,
                comments if reader or model else [*comments, "By a reader without a name."],
                method=codes.METHODS[reading.method] if reading.mm is not None and reading.line else None,
                reader=reader,
                model=model,
            )
        )

    def _measures(self) -> Iterator[Any]:
        """Yield what was measured by hand; without a scale, only angles have a value."""
        numbers = dict.fromkeys(MEASUREMENTS, 0)
        for measure in self._notes.measures:
            numbers[measure.kind] += 1
            concept, unit = MEASUREMENTS[measure.kind]
            name = f"{concept.meaning.lower()} {numbers[measure.kind]}"
            if self._pixel is None and measure.kind != "angle":
                continue
            yield self._measure(measure, _Group(name, self._uid(name, measure.points)), concept, unit)

    def _measure(self, measure: SlideMeasurement, group: _Group, concept: Concept, unit: Concept) -> Any:  # noqa: ANN401
        value = measure_shape(measure, self._pixel)
        is_area = measure.kind == "area"
        measured = _measurement(concept, value, unit, None if is_area else self._path(measure.points))
        outline = Polygon(measure.points) if is_area else None
        return self._group(_Group(group.name, group.uid, [measured], method=codes.MEASURED), outline)

    def _regions(self) -> Iterator[Any]:
        """Yield the regions that readers have drawn, except those that are ignored."""
        for number, region in enumerate(load_regions(self._exported.folder).regions, start=1):
            if not is_ignored(region.class_name):
                yield from self._region(region, number)

    def _region(self, region: Annotation, number: int) -> Iterator[Any]:
        class_name = region.class_name or "Region"
        finding = REGION_CLASSES.get(class_name.lower()) or codes.private_concept(class_name, "class-")
        name, uid = region.name or f"region {number}", self._uid("region", region.id)
        reader = region_reader(region)
        for part, polygon in enumerate(region.polygons, start=1):
            title = name if len(region.polygons) == 1 else f"{name}, part {part} of {len(region.polygons)}"
            area = []
            if self._pixel is not None:
                area = [_measurement(codes.AREA, polygon.area * self._pixel.pixel_area_mm2, codes.SQUARE_MILLIMETER)]
            yield self._group(_Group(title, uid, area, finding=finding, reader=reader), polygon)
        if len(region.polygons) > 1:
            yield self._group(_Group(name, uid, finding=finding, reader=reader))

    def _group(self, group: _Group, outline: Polygon | None = None) -> Any:  # noqa: ANN401 - highdicom's
        """Return a measurement group; ``outline``: its region, or None for a group without one."""
        from highdicom import sr
        from pydicom.sr.codedict import codes as dictionary

        values: dict[str, Any] = {
            "tracking_identifier": sr.TrackingIdentifier(uid=group.uid, identifier=group.name),
            "finding_type": None if group.finding is None else _code(group.finding),
            "finding_category": None if group.category is None else _code(group.category),
            "finding_sites": self._sites if group.finding is not None else None,
            "method": None if group.method is None else _code(group.method),
            "measurements": list(group.measurements) or None,
            "qualitative_evaluations": [
                sr.QualitativeEvaluation(name=_code(name), value=_code(value)) for name, value in group.evaluations
            ]
            or None,
        }
        if group.model:
            values["algorithm_id"] = sr.AlgorithmIdentification(name=group.model, version=_own_version())
        if outline is None:
            built: Any = sr.MeasurementsAndQualitativeEvaluations(**values)
        else:
            region = self._outline(join_rings(outline))
            built = sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **values)
        items = built[0].ContentSequence
        for item in items:
            if item.name == _code(codes.METHOD):  # highdicom 0.28 writes it as content of the group
                item.RelationshipType = sr.RelationshipTypeValues.HAS_CONCEPT_MOD.value
        for text in group.comments:
            items.append(
                sr.TextContentItem(
                    name=_code(codes.COMMENT), value=text, relationship_type=sr.RelationshipTypeValues.CONTAINS
                )
            )
        if group.reader:
            observer = sr.ObserverContext(
                observer_type=dictionary.DCM.Person,
                observer_identifying_attributes=sr.PersonObserverIdentifyingAttributes(name=to_person(group.reader)),
            )
            for position, item in enumerate(observer):
                items.insert(position, item)
        return built

    @cached_property
    def _sites(self) -> list[Any] | None:
        """The anatomic structure of the specimen, if the slide has one specimen that states it."""
        from highdicom.sr import CodedConcept, FindingSite

        specimens = self._header.get("SpecimenDescriptionSequence") or []
        structures = specimens[0].get("PrimaryAnatomicStructureSequence") if len(specimens) == 1 else None
        if not structures:
            return None
        return [FindingSite(anatomic_location=CodedConcept.from_dataset(structures[0]))]

    def _outline(self, ring: Ring) -> Any:  # noqa: ANN401 - highdicom's
        """Return an outline on the slide, or in the total pixel matrix if its position on the slide is unknown."""
        from highdicom import sr

        closed = (*ring, ring[0])
        if self._placement is not None:
            points = _as_single(self._placement.to_mm(closed))
            region = sr.ImageRegion3D(
                graphic_type=sr.GraphicTypeValues3D.POLYGON,
                graphic_data=points[[0, 1, 2, 0]],
                frame_of_reference_uid=self._placement.frame_of_reference,
            )
            # Set afterwards: highdicom 0.28 needs a square matrix of all points to check that they are in a plane.
            region.GraphicData = points.ravel().tolist()
            self.has_long_outlines |= points.size > MAX_EXPLICIT_VALUES
            return region
        self.has_long_outlines |= 2 * len(closed) > MAX_EXPLICIT_VALUES
        return sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=_as_single(np.array(closed, np.float64)[:, ::-1]),
            source_image=sr.SourceImageForRegion.from_source_image(self._header),
            pixel_origin_interpretation=sr.PixelOriginInterpretationValues.VOLUME,
        )

    def _path(self, points: Sequence[Sequence[float]]) -> Any:  # noqa: ANN401 - highdicom's
        """Return the line that a value was measured on."""
        from highdicom import sr

        if self._placement is not None:
            return sr.CoordinatesForMeasurement3D(
                graphic_type=sr.GraphicTypeValues3D.POLYLINE,
                graphic_data=_as_single(self._placement.to_mm(points)),
                frame_of_reference_uid=self._placement.frame_of_reference,
            )
        source = sr.SourceImageForRegion.from_source_image(self._header)
        return sr.CoordinatesForMeasurement(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=_as_single(np.array(points, np.float64)[:, ::-1]),
            source_image=source,
        )

    def _uid(self, *parts: object) -> str:
        return derive_uid(self._header, *parts)


def _as_single(values: Any) -> Any:  # noqa: ANN401 - an array
    """Round coordinates to single precision, in which DICOM stores them, so that the first and last vertex agree."""
    return np.asarray(values, np.float32).astype(np.float64)


def to_person(reader: str) -> str:
    """Convert the name of a reader to a DICOM person name with one component, as its parts are not known."""
    return "".join(" " if char in "^=\\" else char for char in reader).strip()[:63] + "^"


def _measurement(concept: Concept, value: float, unit: Concept, line: Any = None) -> Any:  # noqa: ANN401 - highdicom's
    from highdicom.sr import Measurement

    coordinates = None if line is None else [line]
    return Measurement(name=_code(concept), value=value, unit=_code(unit), referenced_coordinates=coordinates)


def _add_interval(measurement: Any, value: float, interval: tuple[float, float]) -> None:  # noqa: ANN401 - highdicom's
    """Add the distance to both ends of an interval (template 310), in mm; highdicom writes these without a unit."""
    from highdicom import sr

    item = measurement[0]
    if "ContentSequence" not in item:
        item.ContentSequence = sr.ContentSequence()
    for concept, distance in (
        (codes.UPPER_UNCERTAINTY, interval[1] - value),
        (codes.LOWER_UNCERTAINTY, value - interval[0]),
    ):
        item.ContentSequence.append(
            sr.NumContentItem(
                name=_code(concept),
                value=distance,
                unit=_code(codes.MILLIMETER),
                relationship_type=sr.RelationshipTypeValues.HAS_PROPERTIES,
            )
        )


def join_rings(polygon: Polygon) -> Ring:
    """Return the outline of an area with holes as one ring.

    DICOM has no holes in polygons. Each hole is joined to the outline by a line that is passed in both directions, as
    in radiotherapy structures; by the winding number, the area is the same.
    """
    if not polygon.holes:
        return polygon.outer
    ring, is_clockwise = as_array(polygon.outer), signed_area(polygon.outer) > 0
    holes = [as_array(hole)[:: -1 if (signed_area(hole) > 0) == is_clockwise else 1] for hole in polygon.holes]
    while holes:
        distances = [_nearest(ring, hole) for hole in holes]
        index = min(range(len(holes)), key=lambda number: distances[number][0])
        _, at, start = distances[index]
        hole = holes.pop(index)
        turned = np.vstack([hole[start:], hole[: start + 1]])
        ring = np.vstack([ring[: at + 1], turned, ring[at:]])
    return as_ring(ring)


def _nearest(ring: Any, hole: Any) -> tuple[float, int, int]:  # noqa: ANN401 - arrays
    """Return the distance between the nearest vertices of two rings, and their indices."""
    from scipy.spatial import KDTree

    distances, indices = KDTree(ring).query(hole)
    start = int(np.argmin(distances))
    return float(distances[start]), int(indices[start]), start

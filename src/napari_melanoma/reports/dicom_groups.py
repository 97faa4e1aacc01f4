"""Build DICOM measurement reports (SR, template 1500): measurement groups, outlines and the document around them.

Reports of slides and of photographs are written with it: ``dicom_report``, ``dicom_photograph_report``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.polygons import Polygon, Ring, as_array, as_ring, signed_area
from napari_melanoma.io import dicom_codes as codes
from napari_melanoma.io.dicom import DERMOSCOPIC_CLASS
from napari_melanoma.io.dicom_codes import PRODUCT, Concept
from napari_melanoma.io.dicom_slides import read_matrix_placement

if TYPE_CHECKING:
    from pydicom import Dataset


HIGHDICOM_MISSING = (
    "a DICOM measurement report requires highdicom, which is not installed: pip install 'napari-melanoma[dicom]'."
)
IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
# Attributes of patient and study that must be present, but may be empty; some converters leave them out.
TYPE_2_ATTRIBUTES = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
MAX_EXPLICIT_VALUES = 65_534 // 4  # of 4 bytes in an element with an explicit type, whose length has 16 bits
SERIES_NUMBER = 101  # the one after that of segmentations


@cache
def own_version() -> str:
    return version(PRODUCT)


def derive_uid(header: Dataset, *parts: object) -> str:
    """Return a UID that is the same for the same series and parts."""
    name = "/".join(map(str, (PRODUCT, header.SeriesInstanceUID, *parts)))
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


def require_highdicom() -> None:
    """Raise an error before any computation if highdicom is not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise ConfigError(HIGHDICOM_MISSING) from error


def check_identifiers(images: Sequence[Dataset], name: str) -> None:
    """Raise an error if a report cannot refer to images; ``name``: of their file."""
    missing = [keyword for keyword in IDENTIFIERS if not all(image.get(keyword) for image in images)]
    if missing:
        raise InputError(
            f"the header of {name} lacks {', '.join(missing)}, to which a DICOM measurement report must refer. "
            "Export a table or outlines."
        )


def to_code(concept: Concept) -> Any:  # noqa: ANN401 - highdicom's
    from highdicom.sr import CodedConcept

    return CodedConcept(*concept)


@dataclass(frozen=True)
class ReportGroup:
    """Content of a measurement group.

    ``comments``: sentences in its text. ``reader``: name of the person who made the values; empty for the program.
    ``model``: whose prediction it is; empty for none. ``weights``: fingerprint of the weights of the model, if known.
    ``version``: of the program with which the model was run; empty for the present one.
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
    weights: str = ""
    version: str = ""


class GroupBuilder:
    """Builds groups with outlines and lines on an image: a photograph, or the finest level of a slide.

    ``header``: of the image. ``sites``: the anatomic structure that it shows, as codes. ``has_long_outlines``: whether
    an outline is too long for elements with an explicit type.
    """

    def __init__(self, header: Dataset, sites: Sequence[Any] = ()) -> None:
        self.header, self._site_codes = header, sites
        self._placement = read_matrix_placement(header)
        self.has_long_outlines = False

    def derive_uid(self, *parts: object) -> str:
        """Return a UID that is the same for the same series and parts."""
        return derive_uid(self.header, *parts)

    def build_areas(self, group: ReportGroup, polygons: Sequence[Polygon]) -> Iterator[Any]:
        """Yield the groups of an area; for one of several parts, one for the values, and one for each part."""
        if len(polygons) == 1:
            yield self.build(group, polygons[0])
            return
        yield self.build(group)
        for number, polygon in enumerate(polygons, start=1):
            name = f"{group.name}, part {number} of {len(polygons)}"
            part = replace(group, name=name, measurements=(), evaluations=(), comments=(), method=None)
            yield self.build(part, polygon)

    def build(self, group: ReportGroup, outline: Polygon | None = None) -> Any:  # noqa: ANN401 - highdicom's
        """Return a measurement group; ``outline``: its region, or None for a group without one."""
        from highdicom import sr
        from pydicom.sr.codedict import codes as dictionary

        values: dict[str, Any] = {
            "tracking_identifier": sr.TrackingIdentifier(uid=group.uid, identifier=group.name),
            "finding_type": None if group.finding is None else to_code(group.finding),
            "finding_category": None if group.category is None else to_code(group.category),
            "finding_sites": self._sites if group.finding is not None else None,
            "method": None if group.method is None else to_code(group.method),
            "measurements": list(group.measurements) or None,
            "qualitative_evaluations": [
                sr.QualitativeEvaluation(name=to_code(name), value=to_code(value)) for name, value in group.evaluations
            ]
            or None,
        }
        if group.model:
            values["algorithm_id"] = sr.AlgorithmIdentification(
                name=group.model,
                version=group.version or own_version(),
                parameters=[f"weights {group.weights}"] if group.weights else None,
            )
        if outline is None:
            built: Any = sr.MeasurementsAndQualitativeEvaluations(**values)
        else:
            region = self._outline(join_rings(outline))
            built = sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **values)
        items = built[0].ContentSequence
        for item in items:
            if item.name == to_code(codes.METHOD):  # highdicom 0.28 writes it as content of the group
                item.RelationshipType = sr.RelationshipTypeValues.HAS_CONCEPT_MOD.value
        for text in group.comments:
            items.append(
                sr.TextContentItem(
                    name=to_code(codes.COMMENT), value=text, relationship_type=sr.RelationshipTypeValues.CONTAINS
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
        from highdicom.sr import CodedConcept, FindingSite

        return [FindingSite(anatomic_location=CodedConcept.from_dataset(code)) for code in self._site_codes] or None

    def _outline(self, ring: Ring) -> Any:  # noqa: ANN401 - highdicom's
        """Return an outline in millimeters on a slide, or in pixels if the image does not state its position."""
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
        is_tiled = "TotalPixelMatrixRows" in self.header
        return sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=_as_single(np.array(closed, np.float64)[:, ::-1]),
            source_image=sr.SourceImageForRegion.from_source_image(self.header),
            pixel_origin_interpretation=sr.PixelOriginInterpretationValues.VOLUME if is_tiled else None,
        )

    def build_path(self, points: Sequence[Sequence[float]]) -> Any:  # noqa: ANN401 - highdicom's
        """Return the line that a value was measured on."""
        from highdicom import sr

        if self._placement is not None:
            return sr.CoordinatesForMeasurement3D(
                graphic_type=sr.GraphicTypeValues3D.POLYLINE,
                graphic_data=_as_single(self._placement.to_mm(points)),
                frame_of_reference_uid=self._placement.frame_of_reference,
            )
        source = sr.SourceImageForRegion.from_source_image(self.header)
        return sr.CoordinatesForMeasurement(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=_as_single(np.array(points, np.float64)[:, ::-1]),
            source_image=source,
        )


def write_document(
    path: Path,
    images: Sequence[Dataset],
    groups: Sequence[Any],
    procedure: Concept,
    subject: Any = None,  # noqa: ANN401 - highdicom's
    *,
    is_long: bool = False,
) -> None:
    """Write a report on images of one study, whose data on the patient are copied.

    ``groups``: as built by ``GroupBuilder``. ``procedure``: how the images were made. ``subject``: the specimen; None
    for the patient. ``is_long``: an outline is too long for elements with an explicit type.
    """
    import highdicom
    from highdicom import sr
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    for image in images:
        for name in TYPE_2_ATTRIBUTES:
            if name not in image:
                setattr(image, name, None)
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_describe_program(), subject_context=subject),
        procedure_reported=to_code(procedure),
        imaging_measurements=groups,
        # The image library is optional; highdicom 0.28 does not know the class of dermoscopic photographs.
        referenced_images=[image for image in images if image.SOPClassUID != DERMOSCOPIC_CLASS] or None,
    )
    document = sr.Comprehensive3DSR(
        evidence=images,
        content=report,
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_NUMBER,
        series_description="Measurements, for research only",
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=PRODUCT,
        manufacturer_model_name=PRODUCT,
        software_versions=own_version(),
        device_serial_number="none",
        specific_character_set="ISO_IR 192",  # UTF-8, whatever that of the image is
        transfer_syntax_uid=ImplicitVRLittleEndian if is_long else ExplicitVRLittleEndian,
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[
            CodingSchemeIdentificationItem(
                codes.SCHEME, codes.SCHEME_NAME, codes.SCHEME_VERSION, responsible_organization=PRODUCT
            )
        ],
    )
    with atomic_file(path) as temporary:
        document.save_as(temporary)


def _describe_program() -> Any:  # noqa: ANN401 - highdicom's
    """Return this program as the observer of what no person has made."""
    from highdicom import sr
    from pydicom.sr.codedict import codes as dictionary

    return sr.ObserverContext(
        observer_type=dictionary.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, PRODUCT).int}",
            name=f"{PRODUCT} {own_version()}",
            manufacturer_name=PRODUCT,
            model_name=f"{PRODUCT} {own_version()}",
        ),
    )


def _as_single(values: Any) -> Any:  # noqa: ANN401 - an array
    """Round coordinates to single precision, in which DICOM stores them, so that the first and last vertex agree."""
    return np.asarray(values, np.float32).astype(np.float64)


def to_person(reader: str) -> str:
    """Convert the name of a reader to a DICOM person name with one component, as its parts are not known."""
    return "".join(" " if char in "^=\\" else char for char in reader).strip()[:63] + "^"


def build_measurement(
    concept: Concept,
    value: float,
    unit: Concept,
    line: Any = None,  # noqa: ANN401 - highdicom's
    derivation: Concept | None = None,
) -> Any:  # noqa: ANN401 - highdicom's
    """Return a measurement; ``line``: that it was measured on. ``derivation``: such as the maximum."""
    from highdicom.sr import Measurement

    return Measurement(
        name=to_code(concept),
        value=value,
        unit=to_code(unit),
        derivation=None if derivation is None else to_code(derivation),
        referenced_coordinates=None if line is None else [line],
    )


def add_interval(
    measurement: Any,  # noqa: ANN401 - highdicom's
    value: float,
    interval: tuple[float, float],
    unit: Concept,
) -> None:
    """Add the distance to both ends of an interval (template 310); highdicom writes these without a unit."""
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
                name=to_code(concept),
                value=distance,
                unit=to_code(unit),
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

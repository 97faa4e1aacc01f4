"""Write the results of a DICOM slide as a measurement report: DICOM SR, template 1500, Comprehensive 3D SR.

Each lesion is a group with its outline (template 1410), and so is each measured or drawn area. Values without an area,
such as the thickness, are groups of template 1501. Values of readers name their observer; all others are observed by
this program.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.geometry import PixelSize, format_scale
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.core.validity import NOTICE, Validity
from napari_melanoma.depth.findings import read_findings
from napari_melanoma.depth.readings import DepthReading, automatic_reading
from napari_melanoma.depth.synoptic_fields import ANSWERED, FIELDS_BY_NAME
from napari_melanoma.depth.t_category import format_ends
from napari_melanoma.io import dicom_codes as codes
from napari_melanoma.io.dicom import read_pixel_size
from napari_melanoma.io.dicom_codes import PRODUCT, Concept
from napari_melanoma.io.dicom_slides import matrix_size, read_slide_headers
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.reports.dicom_groups import (
    GroupBuilder,
    ReportGroup,
    add_interval,
    build_measurement,
    check_identifiers,
    derive_uid,
    require_highdicom,
    write_document,
)
from napari_melanoma.reports.export_formats import ExportedSlide, NothingToExportError
from napari_melanoma.slides.counts import MEASUREMENT_NAMES
from napari_melanoma.slides.lesions import SlideLesion, area_noun, is_lesion_area
from napari_melanoma.slides.notes import SlideMeasurement, measure_shape, read_notes
from napari_melanoma.slides.regions import is_ignored, load_regions, region_reader
from napari_melanoma.slides.slide_content import read_proposals
from napari_melanoma.slides.synoptic_files import read_synoptic

if TYPE_CHECKING:
    from pydicom import Dataset


NOT_A_DICOM_SLIDE = (
    "is not a DICOM slide: a DICOM measurement report must reference DICOM images. Export a table or outlines."
)
NOTHING = "there are no lesions, depth readings, measurements or regions to report yet. Analyze the slide first."
REGION_CLASSES = {"melanoma": codes.MELANOMA}  # by name of the class in lower case; others have private codes
MALIGNANCIES = {"malignant": codes.MALIGNANT, "benign": codes.BENIGN}
MEASUREMENTS = {
    "line": (codes.LENGTH, codes.MILLIMETER),
    "area": (codes.AREA, codes.SQUARE_MILLIMETER),
    "angle": (codes.ANGLE, codes.DEGREE),
}


def lesion_uid(header: Dataset, lesion: SlideLesion) -> str:
    """Return the tracking UID of a lesion, which is the same in all exports while number and outline are the same."""
    rings = [ring for polygon in lesion.polygons for ring in polygon.rings]
    return derive_uid(header, "lesion", lesion.index, rings)


def write_measurement_report(
    path: Path, slide: Path, exported: ExportedSlide, size: tuple[int, int], pixel: PixelSize | None
) -> str:
    """Write lesions, depth readings, measurements and regions of a DICOM slide.

    Patient and study are copied from the header of the slide, as DICOM requires.

    ``size``, ``pixel``: height and width of the finest level, and its pixel size. Returns what was left out, if any.
    """
    require_highdicom()
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
    check_identifiers(images, slide.name)
    with warnings.catch_warnings(action="ignore"):  # on values of the slide's header that are too long
        builder = _ReportBuilder(images[0], exported, pixel)
        groups, subject = builder.list_groups(), _describe_specimen(images[0])
        is_long = builder.has_long_outlines
        write_document(path, images, groups, codes.LIGHT_MICROSCOPY, subject, is_long=is_long)
    left_out = format_count(builder.without_scale, "measurement")
    return f"Without a scale, the file lacks {left_out}. Set the scale of the slide." if builder.without_scale else ""


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


def _find_sites(header: Dataset) -> list[Any]:
    """Return the anatomic structure of the specimen, if the slide has one specimen that states it."""
    specimens = header.get("SpecimenDescriptionSequence") or []
    return list(specimens[0].get("PrimaryAnatomicStructureSequence") or [])[:1] if len(specimens) == 1 else []


class _ReportBuilder(GroupBuilder):
    """Builds the measurement groups for a slide; ``header``: of its finest level."""

    def __init__(self, header: Dataset, exported: ExportedSlide, pixel: PixelSize | None) -> None:
        super().__init__(header, _find_sites(header))
        self._exported = exported
        self._notes = read_notes(exported.readers_folder)
        self.without_scale = 0  # measurements that were left out
        self._pixel = self._notes.pixel_size or pixel
        self._validity = exported.validity if exported.lesions is not None else Validity()
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
            labels = [one.label for one in lesions] or [str(self._exported.content.get("target") or "")]
            is_of_lesions = all(is_lesion_area(label) for label in labels)
            if is_of_lesions:
                measurements.append(build_measurement(codes.LESION_COUNT, len(lesions), codes.NO_UNITS))
            if is_of_lesions and all(one.label in MALIGNANCIES for one in lesions):
                malignant = sum(one.label == "malignant" for one in lesions)
                measurements.append(build_measurement(codes.MALIGNANT_COUNT, malignant, codes.NO_UNITS))
        headline = self._validity.headline("")
        stated, own = read_pixel_size(self.header), self._notes.pixel_size
        changes = read_synoptic(self._exported.readers_folder, self._exported.lesion, self._exported.slide)[1]
        comments = [*changes, *([headline] if headline else []), *self._validity.cautions, NOTICE]
        if own is not None and stated is not None and (own.y_um, own.x_um) != (stated.y_um, stated.x_um):
            comments.append(
                f"Scale set by a reader: {format_scale(own.y_um, own.x_um, 6)} µm per pixel. The slide states "
                f"{format_scale(stated.y_um, stated.x_um, 6)}, in which positions are given."
            )
        model = self._model if lesions is not None else ""
        return self.build(ReportGroup("slide", self.derive_uid("slide"), measurements, comments=comments, model=model))

    def _lesions(self) -> Iterator[Any]:
        """Yield a group for each lesion; for one of several parts, one for each part, and one for the values."""
        for lesion in self._exported.lesions or ():
            yield from self.build_areas(self._describe_lesion(lesion), lesion.polygons)

    def _describe_lesion(self, lesion: SlideLesion) -> ReportGroup:
        """Return the values of a lesion; those of the model only if its prediction is valid."""
        is_valid, by_reader = self._validity.valid, lesion.origin != "found"
        noun, is_lesion = area_noun(lesion.label), is_lesion_area(lesion.label)
        measurements: list[Any] = []
        evaluations = [(codes.ORIGIN, codes.ORIGINS[lesion.origin])]
        if is_valid or by_reader:
            for concept, value, unit in (
                (codes.AREA, lesion.area_mm2, codes.SQUARE_MILLIMETER),
                (codes.PERIMETER, lesion.perimeter_mm, codes.MILLIMETER),
            ):
                measurements += [] if value is None else [build_measurement(concept, value, unit)]
        if is_valid:
            name = codes.PROBABILITY_OF_CANCER if lesion.label in MALIGNANCIES else codes.CLASS_PROBABILITY
            probabilities = [(name, lesion.class_probability)]
            if is_lesion:
                probabilities.append((codes.LESION_PROBABILITY, lesion.presence))
            for concept, value in probabilities:
                measurements += (
                    [build_measurement(concept, round(100 * value, 4), codes.PERCENT)] if math.isfinite(value) else []
                )
        if lesion.label and (is_valid or lesion.label_origin == "reader"):
            value_code = MALIGNANCIES.get(lesion.label)
            predicted = (codes.PREDICTED_CLASS, codes.private_concept(lesion.label, "class-"))
            evaluations.append(predicted if value_code is None else (codes.MALIGNANCY, value_code))
        return ReportGroup(
            f"{noun} {lesion.index}",
            lesion_uid(self.header, lesion),
            measurements,
            evaluations,
            comments=[headline] if (headline := self._validity.headline("")) else [],
            finding=codes.LESION if is_lesion else codes.private_concept(lesion.label, "class-"),
            category=codes.ABNORMAL_STRUCTURE if is_lesion else None,
            model=self._model,
        )

    def _depth(self) -> Iterator[Any]:
        """Yield the reading of each reader, and the proposal of the analysis."""
        for reading in read_findings(self._exported.readers_folder).readings:
            if reading.when and any(author == "reader" for author in reading.all_authors().values()):
                yield self._reading(reading.without_predicted_findings(), reading.reader, "")
        proposals = read_proposals(self._exported.folder)
        if not proposals.proposals:
            return
        name, headline = "depth, prediction", proposals.validity.headline("")
        if headline:
            yield self.build(ReportGroup(name, self.derive_uid(name), comments=[headline], model=self._model))
        else:
            yield self._reading(automatic_reading(proposals), "", self._model or PRODUCT)

    def _reading(self, reading: DepthReading, reader: str, model: str) -> Any:  # noqa: ANN401 - highdicom's
        name = "depth, prediction" if model else f"depth, {reader or 'reader without a name'}"
        measurements, comments = [], []
        if reading.mm is not None:
            line = None if reading.line is None else self.build_path(reading.line)
            concept = codes.BRESLOW_AT_LEAST if reading.at_least else codes.BRESLOW
            measured = build_measurement(concept, reading.mm, codes.MILLIMETER, line)
            measurements.append(measured)
            if reading.at_least:
                comments.append("The melanoma reaches the edge of the section: it may be thicker.")
            if reading.interval_mm is not None:
                low, high = reading.interval_mm
                add_interval(measured, reading.mm, (low, high), codes.MILLIMETER)
                comments.append(f"90 % interval {format_ends((low, high), '–')} mm.")
        for concept, margin in (
            (codes.LATERAL_MARGIN, reading.margins.lateral_mm),
            (codes.DEEP_MARGIN, reading.margins.deep_mm),
        ):
            measurements += [] if margin is None else [build_measurement(concept, margin, codes.MILLIMETER)]
        if reading.mitoses.per_mm2 is not None:
            rate = build_measurement(codes.MITOTIC_RATE, reading.mitoses.per_mm2, codes.PER_SQUARE_MILLIMETER)
            measurements.append(rate)
        evaluations = []
        if reading.ulcerated is not None:
            evaluations.append((codes.ULCERATION, codes.PRESENT if reading.ulcerated else codes.ABSENT))
        if reading.clark is not None:
            evaluations.append((codes.CLARK, codes.CLARK_LEVELS[reading.clark - 1]))
        comments += [
            f"{FIELDS_BY_NAME[finding].label}: {remark.state}."
            for finding, remark in reading.remarks.items()
            if remark.state != ANSWERED
        ]
        return self.build(
            ReportGroup(
                name,
                self.derive_uid(name),
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
        for number, measure in enumerate(self._notes.measures, start=1):
            concept, unit = MEASUREMENTS[measure.kind]
            name = f"{MEASUREMENT_NAMES[measure.kind]} {number}"  # as in tables and reports
            if self._pixel is None and measure.kind != "angle":
                self.without_scale += 1
                continue
            yield self._measure(measure, ReportGroup(name, self.derive_uid(name, measure.points)), concept, unit)

    def _measure(self, measure: SlideMeasurement, group: ReportGroup, concept: Concept, unit: Concept) -> Any:  # noqa: ANN401
        value = measure_shape(measure, self._pixel)
        is_area = measure.kind == "area"
        measured = build_measurement(concept, value, unit, None if is_area else self.build_path(measure.points))
        outline = Polygon(measure.points) if is_area else None
        return self.build(ReportGroup(group.name, group.uid, [measured], method=codes.MEASURED), outline)

    def _regions(self) -> Iterator[Any]:
        """Yield the regions that readers have drawn, except those that are ignored."""
        for number, region in enumerate(load_regions(self._exported.readers_folder).regions, start=1):
            if not is_ignored(region.class_name):
                yield from self._region(region, number)

    def _region(self, region: Annotation, number: int) -> Iterator[Any]:
        class_name = region.class_name or "Region"
        finding = REGION_CLASSES.get(class_name.lower()) or codes.private_concept(class_name, "class-")
        name, uid = region.name or f"region {number}", self.derive_uid("region", region.id)
        reader = region_reader(region)
        for part, polygon in enumerate(region.polygons, start=1):
            title = name if len(region.polygons) == 1 else f"{name}, part {part} of {len(region.polygons)}"
            area = []
            if self._pixel is not None:
                area = [
                    build_measurement(codes.AREA, polygon.area * self._pixel.pixel_area_mm2, codes.SQUARE_MILLIMETER)
                ]
            yield self.build(ReportGroup(title, uid, area, finding=finding, reader=reader), polygon)
        if len(region.polygons) > 1:
            yield self.build(ReportGroup(name, uid, finding=finding, reader=reader))

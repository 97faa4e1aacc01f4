"""Measurement reports of other programs, written with highdicom, are read as areas and lines on a slide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fake_dicom import FRAME, write_level
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from napari_melanoma.core.errors import InputError
from napari_melanoma.io.dicom_report import ReportContent, is_dicom_report, read_measurement_report
from napari_melanoma.io.dicom_slides import frame_corner, read_matrix_placement, read_slide_headers
from napari_melanoma.slides.lesion_files import import_outlines
from napari_melanoma.slides.regions import find_region_files, import_regions

highdicom = pytest.importorskip("highdicom")
sr = highdicom.sr

SIDE, SPACING_MM = 256, 0.0005
SQUARE = np.array([[20, 10], [60, 10], [60, 50], [20, 50], [20, 10]], float)  # column, row
SIDE_MM = 40 * SPACING_MM
BRESLOW = Code("44661-7", "LN", "Breslow thickness")
MICROMETER, CENTIMETER = Code("um", "UCUM", "micrometer"), Code("cm", "UCUM", "centimeter")
SQUARE_UM, SQUARE_CM = Code("um2", "UCUM", "square micrometer"), Code("cm2", "UCUM", "square centimeter")


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    write_level(tmp_path / "archive" / "level1.dcm", SIDE // 4, SIDE // 4, 4 * SPACING_MM)
    return write_level(tmp_path / "archive" / "level0.dcm", SIDE, SIDE, SPACING_MM)


@pytest.fixture
def header(slide: Path) -> Dataset:
    return pydicom.dcmread(slide)


def tracking(name: str) -> Any:
    return sr.TrackingIdentifier(uid=highdicom.UID(), identifier=name)


def in_mm(header: Dataset, pixels: np.ndarray) -> np.ndarray:
    """Convert (column, row) to the frame of reference, by highdicom."""
    place = highdicom.spatial.ImageToReferenceTransformer.for_image(header, for_total_pixel_matrix=True)
    return np.asarray(place(pixels), np.float32).astype(float)


def region_3d(header: Dataset, pixels: np.ndarray, kind: str = "POLYGON", frame: str = FRAME) -> Any:
    return sr.ImageRegion3D(graphic_type=kind, graphic_data=in_mm(header, pixels), frame_of_reference_uid=frame)


def region_2d(header: Dataset, pixels: np.ndarray, kind: str = "POLYLINE", frame: int | None = None) -> Any:
    source = sr.SourceImageForRegion(header.SOPClassUID, header.SOPInstanceUID, None if frame is None else [frame])
    origin = "VOLUME" if frame is None else "FRAME"
    return sr.ImageRegion(kind, pixels, source, pixel_origin_interpretation=origin)


def planar(name: str, region: Any, finding: Code = codes.SCT.Lesion, **more: Any) -> Any:
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking(name), referenced_region=region, finding_type=finding, **more
    )


def write_report(
    path: Path, images: list[Dataset], groups: list[Any], person: str = "Doe^Jane", others: tuple[Dataset, ...] = ()
) -> Path:
    """Write a report of another device, and of a person unless the name is empty; ``others``: further images."""
    device = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(uid=highdicom.UID(), name="Scope 3"),
    )
    observer = None
    if person:
        attributes = sr.PersonObserverIdentifyingAttributes(name=person)
        observer = sr.ObserverContext(codes.DCM.Person, attributes)
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_person_context=observer, observer_device_context=device),
        procedure_reported=codes.SCT.LightMicroscopy,
        imaging_measurements=groups,
        referenced_images=images,
    )
    document = sr.Comprehensive3DSR(
        evidence=[*images, *others],
        content=report,
        series_instance_uid=highdicom.UID(),
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="Scopes",
    )
    document.save_as(path)
    return path


def read(tmp_path: Path, slide: Path, groups: list[Any], **more: Any) -> ReportContent:
    images = [pydicom.dcmread(path) for path in sorted(slide.parent.iterdir())]
    return read_measurement_report(write_report(tmp_path / "theirs.dcm", images, groups, **more), slide)


def vertices(content: ReportContent) -> list[tuple[float, float]]:
    (annotation,) = content.annotations
    return list(annotation.polygons[0].outer)


def test_an_area_on_the_slide_has_observer_finding_and_source(tmp_path: Path, slide: Path, header: Dataset) -> None:
    content = read(tmp_path, slide, [planar("L1", region_3d(header, SQUARE))])
    assert vertices(content) == [(10.0, 20.0), (10.0, 60.0), (50.0, 60.0), (50.0, 20.0)]
    (found,) = content.annotations
    assert (found.name, found.class_name) == ("L1", "Lesion")
    assert found.properties == {"reader": "Jane Doe", "imported_from": "theirs.dcm", "finding": "Lesion"}
    assert found.id.startswith("1.2.826.0.1.3680043.10.511.3")
    assert content.omitted == ()
    (by_device,) = read(tmp_path, slide, [planar("L1", region_3d(header, SQUARE))], person="").annotations
    assert by_device.properties["reader"] == "Scope 3"


def test_areas_in_pixels_of_the_finest_and_of_another_level(tmp_path: Path, slide: Path, header: Dataset) -> None:
    expected = [(10.0, 20.0), (10.0, 60.0), (50.0, 60.0), (50.0, 20.0)]
    assert vertices(read(tmp_path, slide, [planar("L1", region_2d(header, SQUARE))])) == expected
    coarse = pydicom.dcmread(slide.with_name("level1.dcm"))
    # Levels have the same center of their first pixel here, not the same corner.
    found = vertices(read(tmp_path, slide, [planar("L1", region_2d(coarse, SQUARE / 4))]))
    np.testing.assert_allclose(found, np.array(expected) - 1.5, atol=0.01)
    for path in (slide, slide.with_name("level1.dcm")):
        level = pydicom.dcmread(path)
        del level.TotalPixelMatrixOriginSequence
        level.save_as(path)
    np.testing.assert_allclose(
        vertices(read(tmp_path, slide, [planar("L1", region_2d(coarse, SQUARE / 4))])), expected, atol=0.01
    )


def test_areas_in_pixels_of_a_frame(tmp_path: Path, slide: Path, header: Dataset) -> None:
    small = np.array([[2, 1], [9, 1], [9, 5], [2, 5], [2, 1]], float)
    frame = SIDE // 32 + 3  # second row, third column
    content = read(tmp_path, slide, [planar("L1", region_2d(header, small, frame=frame))])
    assert vertices(content)[0] == (33.0, 66.0)


def test_frames_of_sparse_slides_state_their_position(header: Dataset) -> None:
    assert frame_corner(header, 10) == (32, 32)
    header.DimensionOrganizationType = "TILED_SPARSE"
    assert frame_corner(header, 1) is None
    position, groups = Dataset(), Dataset()
    position.RowPositionInTotalImagePixelMatrix, position.ColumnPositionInTotalImagePixelMatrix = 65, 33
    groups.PlanePositionSlideSequence = [position]
    header.PerFrameFunctionalGroupsSequence = [groups]
    assert frame_corner(header, 1) == (64, 32)


def test_circles_and_ellipses(tmp_path: Path, slide: Path, header: Dataset) -> None:
    circle = region_2d(header, np.array([[50, 60], [50, 70]], float), "CIRCLE")
    ellipse = region_3d(header, np.array([[30, 60], [70, 60], [50, 50], [50, 70]], float), "ELLIPSE")
    round_one, oval = read(tmp_path, slide, [planar("a", circle), planar("b", ellipse)]).annotations
    assert round_one.polygons[0].area == pytest.approx(np.pi * 100, rel=0.01)
    assert oval.polygons[0].area == pytest.approx(np.pi * 200, rel=0.01)
    outline = np.array(oval.polygons[0].outer)
    np.testing.assert_allclose(np.ptp(outline, axis=0), [20, 40], atol=0.1)
    np.testing.assert_allclose(outline.mean(axis=0), [60, 50], atol=0.1)


def measured(name: Code, value: float, unit: Code) -> Any:
    return sr.Measurement(name=name, value=value, unit=unit)


@pytest.mark.parametrize(
    ("unit", "value", "area_unit", "area"),
    [
        (MICROMETER, 1000 * SIDE_MM, SQUARE_UM, 1e6 * SIDE_MM**2),
        (codes.UCUM.Millimeter, SIDE_MM, codes.UCUM.SquareMillimeter, SIDE_MM**2),
        (CENTIMETER, SIDE_MM / 10, SQUARE_CM, SIDE_MM**2 / 100),
    ],
)
def test_lengths_and_areas_of_any_unit_are_in_mm(
    tmp_path: Path, slide: Path, header: Dataset, unit: Code, value: float, area_unit: Code, area: float
) -> None:
    values = [
        measured(codes.SCT.Length, value, unit),
        measured(codes.SCT.Area, area, area_unit),
        measured(codes.DCM.ProbabilityOfCancer, 80, codes.UCUM.Percent),
    ]
    content = read(tmp_path, slide, [planar("L1", region_3d(header, SQUARE), measurements=values)])
    (found,) = content.annotations
    assert found.measurements == pytest.approx({"length_mm": SIDE_MM, "area_mm2": SIDE_MM**2, "probability": 0.8})
    assert content.omitted == ()


def test_unknown_units_and_areas_that_do_not_match_are_reported(tmp_path: Path, slide: Path, header: Dataset) -> None:
    inch = Code("[in_i]", "UCUM", "inch")
    values = [measured(codes.SCT.Length, 1, inch), measured(codes.SCT.Area, SIDE_MM**2, SQUARE_CM)]
    content = read(tmp_path, slide, [planar("L1", region_3d(header, SQUARE), measurements=values)])
    (found,) = content.annotations
    assert found.measurements == pytest.approx({"area_mm2": 100 * SIDE_MM**2})
    first, second = content.omitted
    assert first.startswith("L1: the value of 'Length' is left out, its unit '[in_i]' is unknown. Expected a UCUM code")
    assert second == "L1: its stated area, 0.04 mm², differs from that of its outline, 0.0004 mm²"


def test_measurements_without_a_known_name_keep_it(tmp_path: Path, slide: Path, header: Dataset) -> None:
    values = [
        measured(Code("T1", "99SCOPES", "Mean width"), 5, MICROMETER),
        measured(Code("G-A166", "SRT", "Area"), SIDE_MM**2, codes.UCUM.SquareMillimeter),  # of earlier versions
    ]
    (found,) = read(tmp_path, slide, [planar("L1", region_3d(header, SQUARE), measurements=values)]).annotations
    assert found.measurements == pytest.approx({"Mean width [mm]": 0.005, "area_mm2": SIDE_MM**2})


def test_classes_by_known_and_unknown_codes(tmp_path: Path, slide: Path, header: Dataset) -> None:
    verdict = sr.QualitativeEvaluation(Code("C1", "99SCOPES", "Dignity"), codes.SCT.Benign)
    region = region_3d(header, SQUARE)
    groups = [
        planar("a", region, qualitative_evaluations=[verdict]),
        planar("b", region, finding=Code("1162635006", "SCT", "Malignant melanoma")),
        planar("c", region, finding=Code("D9", "99SCOPES", "Dermal naevus")),
    ]
    content = read(tmp_path, slide, groups)
    assert [one.class_name for one in content.annotations] == ["benign", "Melanoma", "Dermal nevus"]
    assert content.omitted == ("the code D9 of 99SCOPES is unknown: the class is its text, 'Dermal nevus'",)


def test_lines_are_measurements(tmp_path: Path, slide: Path, header: Dataset) -> None:
    ends = np.array([[20, 10], [60, 40]], float)
    line = sr.CoordinatesForMeasurement3D("POLYLINE", in_mm(header, ends), FRAME)
    corner = np.array([[20, 10], [60, 40], [60, 90]], float)
    source = sr.SourceImageForRegion(header.SOPClassUID, header.SOPInstanceUID)
    legs = sr.CoordinatesForMeasurement("POLYLINE", corner, source)
    groups = [
        sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking("thickness"),
            measurements=[
                sr.Measurement(codes.SCT.Length, 0.025, codes.UCUM.Millimeter, referenced_coordinates=[line]),
                sr.Measurement(codes.SCT.Angle, 40, codes.UCUM.Degree, referenced_coordinates=[legs]),
            ],
        ),
        sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking("whole slide"), measurements=[measured(codes.SCT.Length, 1, MICROMETER)]
        ),
    ]
    content = read(tmp_path, slide, groups)
    assert [(line.name, line.kind, line.points) for line in content.lines] == [
        ("thickness", "line", ((10.0, 20.0), (40.0, 60.0))),
        ("thickness", "angle", ((10.0, 20.0), (40.0, 60.0), (90.0, 60.0))),
    ]
    assert content.omitted == ("1 group with values without a position: left out",)


def test_a_breslow_thickness_is_the_reading_of_its_observer(tmp_path: Path, slide: Path, header: Dataset) -> None:
    def measured(value: float, *vertices: tuple[float, float]) -> Any:
        points = in_mm(header, np.array(vertices).reshape(-1, 2))
        line = [sr.CoordinatesForMeasurement3D("POLYLINE", points, frame_of_reference_uid=FRAME)] if vertices else None
        thickness = sr.Measurement(BRESLOW, value, MICROMETER, referenced_coordinates=line)
        return sr.MeasurementsAndQualitativeEvaluations(tracking(f"T{value}"), measurements=[thickness])

    path = tmp_path / "theirs.dcm"
    thin, curved = measured(700, (20.0, 10.0), (20.0, 110.0)), measured(900, (20.0, 10.0), (30.0, 60.0), (20.0, 110.0))
    write_report(path, [header], [thin])
    imported = import_regions(path, (SIDE, SIDE), slide=slide)
    (reading,) = imported.readings
    assert (reading.reader, reading.mm, reading.line) == ("Jane Doe", pytest.approx(0.7), ((10.0, 20.0), (110.0, 20.0)))
    assert (imported.measures, imported.notes) == ((), ())
    write_report(path, [header], [curved, measured(400), thin])
    imported = import_regions(path, (SIDE, SIDE), slide=slide)
    assert [(one.mm, one.line) for one in imported.readings] == [(pytest.approx(0.9), None)]
    assert [len(one.points) for one in imported.measures] == [3]  # no straight line from the surface
    assert imported.notes == ("2 depth readings of readers with a thicker one: left out",)
    write_report(path, [header], [thin], person="")
    content = read_measurement_report(path, slide)
    assert content.depths == ()
    assert content.omitted == ("T700: the depth is left out: the report names no person who read it",)


def test_a_breslow_thickness_of_another_slide_is_left_out(tmp_path: Path, slide: Path, header: Dataset) -> None:
    line = sr.CoordinatesForMeasurement3D("POLYLINE", in_mm(header, SQUARE[:2]), frame_of_reference_uid=highdicom.UID())
    groups = [
        sr.MeasurementsAndQualitativeEvaluations(
            tracking(name),
            measurements=[sr.Measurement(BRESLOW, 1, codes.UCUM.Millimeter, referenced_coordinates=coordinates)],
        )
        for name, coordinates in (("T1", [line]), ("T2", None))
    ]
    other = pydicom.dcmread(slide)
    other.SeriesInstanceUID, other.SOPInstanceUID = highdicom.UID(), highdicom.UID()
    path = write_report(tmp_path / "theirs.dcm", [header, other], [*groups, planar("L1", region_3d(header, SQUARE))])
    content = read_measurement_report(path, slide)
    assert (content.depths, content.lines) == ((), ())
    assert content.omitted == (
        "T1: left out, it is on another slide (frame of reference)",
        "T2: the depth is left out: it has no position, and the report is on other images, too",
    )


def test_what_is_elsewhere_or_has_no_area_is_left_out(tmp_path: Path, slide: Path, header: Dataset) -> None:
    other = pydicom.dcmread(slide)
    other.SOPInstanceUID = highdicom.UID()
    groups = [
        planar("here", region_3d(header, SQUARE)),
        planar("there", region_3d(header, SQUARE, frame=highdicom.UID())),
        planar("other image", region_2d(other, SQUARE)),
        planar("point", region_3d(header, SQUARE[:1], "POINT")),
    ]
    content = read(tmp_path, slide, groups, others=(other,))
    assert [one.name for one in content.annotations] == ["here"]
    assert content.omitted == (
        "there: left out, it is on another slide (frame of reference)",
        "other image: left out, it is on another image",
        "point: left out, a shape of type POINT with 1 point has no area",
    )
    with pytest.raises(InputError, match=rf"theirs\.dcm is a report on other images: .*image {other.SOPInstanceUID}"):
        read(tmp_path, slide, [planar("other image", region_2d(other, SQUARE))], others=(other,))


def test_a_region_of_a_segmentation_is_reported(tmp_path: Path, slide: Path, header: Dataset) -> None:
    source = sr.SourceImageForSegmentation(header.SOPClassUID, header.SOPInstanceUID)
    segmentation = pydicom.dcmread(slide)
    segmentation.SOPClassUID, segmentation.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", highdicom.UID()
    segment = sr.ReferencedSegmentationFrame(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=1,
        frame_number=1,
        source_image=source,
    )
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking("L1"), referenced_segment=segment, finding_type=codes.SCT.Lesion
    )
    content = read(tmp_path, slide, [group], others=(segmentation,))
    assert content.annotations == ()
    assert content.omitted == ("L1: its region is a segment of a DICOM segmentation, which cannot be imported",)


def test_a_reference_into_the_image_library(tmp_path: Path, slide: Path, header: Dataset) -> None:
    path = write_report(tmp_path / "theirs.dcm", [header], [planar("L1", region_2d(header, SQUARE))])
    report = pydicom.dcmread(path)
    meanings = [item.ConceptNameCodeSequence[0].CodeMeaning for item in report.ContentSequence]
    library, measurements = meanings.index("Image Library"), report.ContentSequence[-1]
    entry = next(
        number
        for number, item in enumerate(report.ContentSequence[library].ContentSequence[0].ContentSequence, start=1)
        if item.ValueType == "IMAGE"
    )
    (region,) = [item for item in measurements.ContentSequence[0].ContentSequence if item.ValueType == "SCOORD"]
    link = Dataset()
    link.RelationshipType, link.ReferencedContentItemIdentifier = "SELECTED FROM", [1, library + 1, 1, entry]
    region.ContentSequence = [link]
    report.save_as(path)
    assert len(read_measurement_report(path, slide).annotations) == 1
    link.ReferencedContentItemIdentifier = [1, 99]
    report.save_as(path)
    with pytest.raises(InputError, match="the image without a UID"):
        read_measurement_report(path, slide)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_damaged_reports_are_rejected_or_read(tmp_path: Path, slide: Path, header: Dataset) -> None:
    values = [measured(codes.SCT.Length, 1, MICROMETER)]
    path = write_report(
        tmp_path / "theirs.dcm", [header], [planar("L1", region_3d(header, SQUARE), measurements=values)]
    )
    content, rng, rejected = path.read_bytes(), np.random.default_rng(0), 0
    for number in range(100):
        damaged = bytearray(content[: int(rng.integers(200, len(content)))] if number % 4 == 0 else content)
        damaged[int(rng.integers(132, len(damaged)))] = int(rng.integers(256))
        path.write_bytes(damaged)
        is_dicom_report(path)
        try:
            read_measurement_report(path, slide)
        except InputError:
            rejected += 1
    assert rejected > 10


def test_files_that_are_no_measurement_reports(tmp_path: Path, slide: Path, header: Dataset) -> None:
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(InputError, match=r"text\.dcm is not a DICOM file, or damaged\. Expected a measurement report"):
        read_measurement_report(tmp_path / "text.dcm", slide)
    with pytest.raises(InputError, match=r"expected Comprehensive \(3D\) SR, found VL Whole Slide Microscopy"):
        read_measurement_report(slide, slide)
    path = write_report(tmp_path / "other.dcm", [header], [planar("L1", region_3d(header, SQUARE))])
    report = pydicom.dcmread(path)
    report.ContentTemplateSequence[0].TemplateIdentifier = "5200"
    report.ContentSequence = []
    report.save_as(path)
    with pytest.raises(InputError, match="expected template 1500 with measurement groups, found 'Imaging Measurement"):
        read_measurement_report(path, slide)
    assert not is_dicom_report(tmp_path / "text.dcm")
    assert not is_dicom_report(tmp_path)
    assert not is_dicom_report(slide)
    assert is_dicom_report(path)


def test_reports_are_imported_as_lesions_and_as_regions(tmp_path: Path, slide: Path, header: Dataset) -> None:
    region = region_3d(header, SQUARE)
    groups = [planar("a", region), planar("b", region, finding=Code("1162635006", "SCT", "Malignant melanoma"))]
    path = write_report(tmp_path / "theirs.dcm", [header], groups)
    lesions = import_outlines(path, (SIDE, SIDE), slide=slide)
    assert [one.name for one in lesions.annotations] == ["a"]
    assert lesions.changed == ("1 area of other findings: left out",)
    regions = import_regions(path, (SIDE, SIDE), slide=slide)
    assert [one.class_name for one in regions.regions] == ["Lesion", "Melanoma"]
    assert find_region_files(slide, [path]) == [path]


def test_headers_without_a_position_have_no_placement(header: Dataset, slide: Path) -> None:
    (finest, _) = read_slide_headers(slide)
    assert read_matrix_placement(finest) is not None
    for name, value in (
        ("ImageOrientationSlide", [0.0, 0, 0, 0, 0, 0]),
        ("TotalPixelMatrixOriginSequence", [Dataset()]),
        ("FrameOfReferenceUID", ""),
    ):
        changed = pydicom.dcmread(slide)
        setattr(changed, name, value)
        assert read_matrix_placement(changed) is None

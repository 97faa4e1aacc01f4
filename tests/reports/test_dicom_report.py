"""DICOM measurement reports (SR, template 1500): read back with highdicom, and imported again."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fake_dicom import FRAME, SERIES, STUDY, write_level
from fake_slides import LESION, SIDE, TILE, FakeAnalysis, draw_slide
from finding_files import write_depth
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import Polygon, to_shape, untangle_polygon
from napari_melanoma.core.validity import Validity, ValidityInputs
from napari_melanoma.depth.readings import ExcisionMargins, MitosisCount, SlideDepthReadings, add_reading, set_values
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.io.results import read_slide_result
from napari_melanoma.reports.dicom_groups import join_rings, to_person
from napari_melanoma.reports.slide_export import WRITERS, export_results, read_exported_slide
from napari_melanoma.slides.lesion_files import import_outlines, read_lesions, save_lesions
from napari_melanoma.slides.lesions import LesionConfig, SlideLesion
from napari_melanoma.slides.notes import SlideMeasurement, SlideNotes, write_notes
from napari_melanoma.slides.regions import import_regions, save_regions

highdicom = pytest.importorskip("highdicom")

SPACING_MM = 0.0005
BRESLOW = Code("44661-7", "LN", "Breslow thickness")
LINE = ((128.0, 200.0), (260.5, 210.0))
RING = ((10.0, 20.5), (10.0, 60.0), (90.25, 60.0), (90.25, 20.5))
HOLE = ((20.0, 30.0), (30.0, 30.0), (30.0, 40.0), (20.0, 40.0))
NEST = Annotation(
    (Polygon(RING, (HOLE,)),), "Nevus", (240, 160, 0), "nest", id="r-1", properties={"reader": "A. Möller"}
)
MEASURES = (
    SlideMeasurement("line", ((0.0, 0.0), (0.0, 100.0))),
    SlideMeasurement("area", ((0.0, 0.0), (0.0, 100.0), (100.0, 100.0))),
    SlideMeasurement("angle", ((0.0, 0.0), (0.0, 100.0), (100.0, 100.0))),
)
PROPOSAL = {"surface": LINE[0], "deepest": LINE[1], "mm": 0.0664, "interval_mm": [0.05, 0.08]}


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """A DICOM slide with two levels."""
    write_level(tmp_path / "archive" / "level1.dcm", SIDE // 4, SIDE // 4, 4 * SPACING_MM)
    return write_level(tmp_path / "archive" / "level0.dcm", SIDE, SIDE, SPACING_MM)


@pytest.fixture
def folder(tmp_path: Path, slide: Path) -> Path:
    """The results of the slide: two lesions, valid."""
    folder = tmp_path / "results" / "section"
    analyze(folder, slide)
    set_validity(folder, Validity())
    return folder


def analyze(folder: Path, slide: Path) -> None:
    analysis = FakeAnalysis(folder, slide, "a")
    analysis.spec = analysis.spec.model_copy(update={"size": (SIDE, SIDE)})
    analysis.begins().finishes()


def set_validity(folder: Path, validity: Validity, **more: Any) -> None:
    content = read_slide_result(folder)
    depth = {"depth": {"candidates": [PROPOSAL], "validity": validity.to_json()}}
    write_json(folder / "result.json", {**content, "validity": validity.to_json(), **depth, **more})


def add_all(folder: Path) -> None:
    """Add the values of readers: a depth reading, measurements and a region."""
    write_notes(folder, SlideNotes(measures=MEASURES))
    save_regions(folder, folder, (NEST,), None)
    values = {"line": LINE, "mm": 0.0664, "method": "hand", "ulcerated": True, "clark": 3}
    write_depth(folder, set_values(SlideDepthReadings(), "A. Möller", "2026-01-02T10:00:00+00:00", **values))


def export(folder: Path, path: Path) -> Any:
    """Write a report, and read it with highdicom."""
    WRITERS["dicom-sr"](path, read_exported_slide(folder))
    return highdicom.sr.srread(path)


def find_group(document: Any, name: str) -> Any:
    content = document.content
    groups = [*content.get_planar_roi_measurement_groups(), *content.get_image_measurement_groups()]
    (found,) = [group for group in groups if group.tracking_identifier == name]
    return found


def read_values(group: Any) -> dict[str, tuple[float, str]]:
    """Return the values of a group with their UCUM units, by name."""
    measured = [(one.name.meaning, one.value, one.unit) for one in group.get_measurements()]
    return {name: (round(value, 6), unit.value) for name, value, unit in measured}


def read_evaluations(group: Any) -> dict[str, str]:
    found = {one.name.meaning: one.value.meaning for one in group.get_qualitative_evaluations()}
    return {name: value for name, value in found.items() if name != "Observer Type"}  # highdicom lists all codes


def read_comments(group: Any) -> list[str]:
    return [
        item.value for item in group[0].ContentSequence if item.ValueType == "TEXT" and item.name == codes.DCM.Comment
    ]


def walk(item: Dataset) -> list[Dataset]:
    return [item, *(below for child in item.get("ContentSequence", []) for below in walk(child))]


def test_no_area_of_a_structure_is_not_no_lesion(folder: Path, tmp_path: Path) -> None:
    save_lesions(folder, (), LesionConfig(), target="Adnexa")
    assert read_values(find_group(export(folder, tmp_path / "areas.dcm"), "slide")) == {}


def test_the_report_belongs_to_the_slide_and_is_preliminary(folder: Path, slide: Path, tmp_path: Path) -> None:
    document = export(folder, tmp_path / "sr.dcm")
    assert type(document) is highdicom.sr.Comprehensive3DSR
    assert isinstance(document.content, highdicom.sr.MeasurementReport)
    assert (document.StudyInstanceUID, document.PatientID, document.Modality) == (STUDY, "P1", "SR")
    assert document.SeriesInstanceUID != SERIES
    assert (document.CompletionFlag, document.PreliminaryFlag, document.VerificationFlag) == (
        *("COMPLETE", "PRELIMINARY", "UNVERIFIED"),
    )
    header = pydicom.dcmread(slide)
    (evidence,) = document.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    (image,) = series.ReferencedSOPSequence
    assert (series.SeriesInstanceUID, image.ReferencedSOPInstanceUID) == (SERIES, header.SOPInstanceUID)
    (device,) = document.content.get_observer_contexts()
    about = device.observer_identifying_attributes
    assert (about.manufacturer_name, about.name.split()[0]) == ("napari-melanoma", "napari-melanoma")
    (subject,) = document.content.get_subject_contexts()
    specimen = subject.subject_class_specific_context
    assert specimen.specimen_uid == header.SpecimenDescriptionSequence[0].SpecimenUID
    assert specimen.container_identifier == "S1"
    root = {item.name.meaning: item for item in document.content[0].ContentSequence}
    assert root["Procedure reported"].value == Code("104157003", "SCT", "Light microscopy")
    library = [one for one in walk(root["Image Library"]) if one.ValueType == "IMAGE"]
    assert [one.referenced_sop_instance_uid for one in library] == [header.SOPInstanceUID]


def test_lesions_have_class_probability_and_measurements(folder: Path, tmp_path: Path) -> None:
    document = export(folder, tmp_path / "sr.dcm")
    assert len(document.content.get_planar_roi_measurement_groups()) == 2
    lesions = read_lesions(folder) or ()
    assert read_values(find_group(document, "slide")) == {
        "Number of lesions": (2, "1"),
        "Number of malignant lesions": (2, "1"),
    }
    group, lesion = find_group(document, "lesion 1"), lesions[0]
    assert read_values(group) == {
        "Area": (round(lesion.area_mm2 or 0, 6), "mm2"),
        "Perimeter": (round(lesion.perimeter_mm or 0, 6), "mm"),
        "Probability of cancer": (90.0, "%"),
        "Mean probability of a lesion in the region": (90.0, "%"),
    }
    assert group.finding_type == codes.SCT.Lesion
    assert read_evaluations(group)["Malignancy"] == "Malignant"
    assert read_evaluations(group)["Origin of the outline"] == "Detected by the model"
    texts = {item.name.meaning: item.value for item in group[0].ContentSequence if item.ValueType == "TEXT"}
    assert texts["Algorithm Name"] == "tiny"


def test_outlines_are_those_of_the_lesions_in_the_pixels_of_the_slide(
    folder: Path, slide: Path, tmp_path: Path
) -> None:
    document = export(folder, tmp_path / "sr.dcm")
    place = highdicom.spatial.ReferenceToImageTransformer.for_image(pydicom.dcmread(slide), for_total_pixel_matrix=True)
    region = find_group(document, "lesion 1").roi
    assert (region.graphic_type.value, region.frame_of_reference_uid) == ("POLYGON", FRAME)
    pixels = place(region.value)[:, [1, 0]]  # row, column
    np.testing.assert_array_equal(region.value[0], region.value[-1])
    rows, columns = LESION
    box = [rows.start * TILE, columns.start * TILE, rows.stop * TILE, columns.stop * TILE]
    np.testing.assert_allclose([*pixels.min(axis=0), *pixels.max(axis=0)], box, atol=0.01)


def test_readings_name_their_observer_and_the_prediction_its_model(folder: Path, tmp_path: Path) -> None:
    add_all(folder)
    document = export(folder, tmp_path / "sr.dcm")
    group = find_group(document, "depth, A. Möller")
    assert read_values(group) == {"Breslow thickness": (0.0664, "mm")}
    assert read_evaluations(group) == {"Ulceration": "Present", "Clark level": "Clark level III"}
    assert group.method.meaning == "Line drawn by hand"
    (person,) = [item for item in group[0].ContentSequence if item.ValueType == "PNAME"]
    assert str(person.value) == "A. Möller^"
    prediction = find_group(document, "depth, prediction")
    (measured,) = prediction.get_measurements(BRESLOW)
    parts = {item.name.meaning: item for item in measured[0].ContentSequence}
    assert float(parts["+, range of upper measurement uncertainty"].value) == pytest.approx(0.08 - 0.0664)
    assert float(parts["-, range of lower measurement uncertainty"].value) == pytest.approx(0.0664 - 0.05)
    assert parts["Source"].ValueType == "SCOORD3D"
    assert read_comments(prediction) == ["90 % interval 0.05–0.08 mm."]
    assert not [item for item in prediction[0].ContentSequence if item.ValueType == "PNAME"]


def test_results_of_a_view_are_reported_with_what_readers_have_stored_for_the_slide(
    folder: Path, slide: Path, tmp_path: Path
) -> None:
    view = folder / "view" / folder.name
    analyze(view, slide)
    set_validity(view, Validity())
    add_all(folder)
    write_notes(folder, SlideNotes(measures=MEASURES, pixel_size=PixelSize(1.0, 1.0, "given")))
    document = export(view, tmp_path / "sr.dcm")
    assert read_values(find_group(document, "depth, A. Möller")) == {"Breslow thickness": (0.0664, "mm")}
    assert find_group(document, "nest")
    assert read_values(find_group(document, "length 1")) == {"Length": (0.1, "mm")}
    assert find_group(document, "depth, prediction")[0], "of the exported analysis"


def test_measurements_have_units(folder: Path, tmp_path: Path) -> None:
    add_all(folder)
    document = export(folder, tmp_path / "sr.dcm")
    assert read_values(find_group(document, "length 1")) == {"Length": (0.05, "mm")}
    assert read_values(find_group(document, "area 2")) == {"Area": (0.00125, "mm2")}
    assert read_values(find_group(document, "angle 3")) == {"Angle": (90.0, "deg")}
    area = (39.5 * 80.25 - 100) * SPACING_MM**2
    assert read_values(find_group(document, "nest")) == {"Area": (round(area, 6), "mm2")}


def test_all_private_codes_are_of_the_declared_scheme(folder: Path, tmp_path: Path) -> None:
    add_all(folder)
    export(folder, tmp_path / "sr.dcm")
    found = pydicom.dcmread(tmp_path / "sr.dcm")
    assert [one.CodingSchemeDesignator for one in found.CodingSchemeIdentificationSequence] == ["99MELANOMA"]
    keywords = ("ConceptNameCodeSequence", "ConceptCodeSequence")
    concepts = [one for item in walk(found) for keyword in keywords for one in item.get(keyword, [])]
    assert {one.CodingSchemeDesignator for one in concepts} == {"DCM", "SCT", "LN", "99MELANOMA", "RFC5646"}
    listed = {(one.value, one.scheme_designator) for one in _list_standard_codes()}
    standard = {(one.CodeValue, one.CodingSchemeDesignator) for one in concepts if "CodeValue" in one}
    assert {pair for pair in standard - listed if pair[1] in ("DCM", "SCT")} == set()


def _list_standard_codes() -> list[Code]:
    """All codes of SNOMED CT and DICOM that pydicom has from the standard."""
    return [
        code
        for name in ("SCT", "DCM")
        for code in (getattr(getattr(codes, name), n) for n in getattr(codes, name).dir())
    ]


def test_a_prediction_that_is_not_valid_has_its_reason_and_no_number(folder: Path, tmp_path: Path) -> None:
    validity = ValidityInputs("tiny", demonstration=True).check()
    set_validity(folder, validity)
    first, *others = read_lesions(folder) or ()
    save_lesions(folder, [replace(first, origin="drawn"), *others], LesionConfig())
    document = export(folder, tmp_path / "sr.dcm")
    headline = validity.headline("")
    assert headline.startswith("Not valid: ")
    for name in ("slide", "lesion 2", "depth, prediction"):
        group = find_group(document, name)
        assert read_values(group) == {}
        assert headline in read_comments(group)
    drawn = find_group(document, "lesion 1")
    assert sorted(read_values(drawn)) == ["Area", "Perimeter"]
    assert "Malignancy" not in read_evaluations(drawn)


def test_a_lower_bound_is_not_a_thickness(folder: Path, tmp_path: Path) -> None:
    set_validity(folder, Validity())
    content = read_slide_result(folder)
    candidate = {**PROPOSAL, "at_least": True, "interval_mm": None}
    write_json(folder / "result.json", {**content, "depth": {"candidates": [candidate], "validity": {"valid": True}}})
    group = find_group(export(folder, tmp_path / "sr.dcm"), "depth, prediction")
    assert read_values(group) == {"Breslow thickness, lower bound": (0.0664, "mm")}
    assert read_comments(group) == ["The melanoma reaches the edge of the section: it may be thicker."]


def test_nothing_is_reported_that_was_not_assessed(tmp_path: Path, slide: Path) -> None:
    folder = tmp_path / "results" / "section"
    write_notes(folder, SlideNotes())
    write_depth(folder, SlideDepthReadings())
    write_json(folder / "slide.json", {"slide": str(slide)})
    (found,) = export_results([folder], tmp_path / "out", ["dicom-sr"], run=RunContext())
    assert found.left_out
    assert "there are no lesions, depth readings, measurements or regions to report yet" in found.error
    reading = set_values(SlideDepthReadings(), "", "2026-01-02T10:00:00+00:00", mm=0.4)
    write_depth(folder, reading)
    document = export(folder, tmp_path / "sr.dcm")
    group = find_group(document, "depth, reader without a name")
    assert read_values(group) == {"Breslow thickness": (0.4, "mm")}
    assert read_evaluations(group) == {}
    assert read_comments(group) == ["By a reader without a name."]
    assert read_values(find_group(document, "slide")) == {}


def test_a_slide_without_a_position_is_referenced_in_its_pixels(folder: Path, slide: Path, tmp_path: Path) -> None:
    header = pydicom.dcmread(slide)
    for name in ("TotalPixelMatrixOriginSequence", "PatientID", "PatientName", "StudyTime"):
        delattr(header, name)
    header.save_as(slide)
    document = export(folder, tmp_path / "sr.dcm")
    region = find_group(document, "lesion 1").roi
    assert region.PixelOriginInterpretation == "VOLUME"
    assert region.ContentSequence[0].referenced_sop_instance_uid == header.SOPInstanceUID
    rows, columns = LESION
    assert region.value.min(axis=0).tolist() == [columns.start * TILE, rows.start * TILE]  # x first
    found = import_outlines(tmp_path / "sr.dcm", (SIDE, SIDE), slide=slide)
    assert [one.polygons for one in found.annotations] == [one.polygons for one in read_lesions(folder) or ()]


def test_a_split_level_is_referenced_with_all_files(folder: Path, slide: Path, tmp_path: Path) -> None:
    second = pydicom.dcmread(slide)
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = highdicom.UID()
    second.save_as(slide.with_name("part2.dcm"))
    document = export(folder, tmp_path / "sr.dcm")
    (evidence,) = document.CurrentRequestedProcedureEvidenceSequence
    assert len(evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 2


def test_segmentation_and_report_have_the_same_lesions(folder: Path, tmp_path: Path) -> None:
    document = export(folder, tmp_path / "sr.dcm")
    WRITERS["dicom"](tmp_path / "seg.dcm", read_exported_slide(folder))
    segments = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    uids = [group.tracking_uid for group in document.content.get_planar_roi_measurement_groups()]
    assert [one.TrackingUID for one in segments] == uids
    again = export(folder, tmp_path / "again.dcm")
    assert [group.tracking_uid for group in again.content.get_planar_roi_measurement_groups()] == uids


def test_other_slides_are_rejected(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def error_of(slide: Path) -> str:
        (found,) = export_results([folder], tmp_path / "out", ["dicom-sr"], slide=slide, run=RunContext())
        assert not found.path.exists()
        return found.error

    assert "section.tif is not a DICOM slide: a DICOM measurement report must" in error_of(
        draw_slide(tmp_path / "section.tif")
    )
    small = write_level(tmp_path / "small" / "a.dcm", 100, 70, 0.001)
    assert "a.dcm has 70 x 100 pixels, but the results are of a slide of 512 x 512 pixels" in error_of(small)
    unnamed = write_level(tmp_path / "unnamed" / "a.dcm", SIDE, SIDE, 0.001)
    header = pydicom.dcmread(unnamed)
    del header.StudyInstanceUID
    header.save_as(unnamed)
    assert "lacks StudyInstanceUID, to which a DICOM measurement report must refer" in error_of(unnamed)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ConfigError, match=r"pip install 'napari-melanoma\[dicom\]'"):
        WRITERS["dicom-sr"](tmp_path / "sr.dcm", read_exported_slide(folder))


def test_exported_and_imported_lesions_regions_and_measurements_are_equal(
    folder: Path, slide: Path, tmp_path: Path
) -> None:
    add_all(folder)
    export(folder, tmp_path / "sr.dcm")
    lesions = read_lesions(folder) or ()
    found = import_outlines(tmp_path / "sr.dcm", (SIDE, SIDE), slide=slide)
    assert [(one.name, one.class_name, one.polygons) for one in found.annotations] == [
        (f"lesion {one.index}", one.label, one.polygons) for one in lesions
    ]
    assert found.annotations[0].measurements["area_mm2"] == pytest.approx(lesions[0].area_mm2)
    assert found.annotations[0].measurements["probability"] == pytest.approx(lesions[0].probability)
    assert "1 area of other findings: left out" in found.changed
    assert any(one.startswith("3 measurements and 1 depth reading: left out. Import") for one in found.changed)

    imported = import_regions(tmp_path / "sr.dcm", (SIDE, SIDE), slide=slide)
    (nest,) = [region for region in imported.regions if region.name == "nest"]
    assert (nest.class_name, nest.properties["reader"], nest.properties["imported_from"]) == (
        *("Nevus", "A. Möller", "sr.dcm"),
    )
    assert to_shape(nest.polygons[0]).equals(to_shape(NEST.polygons[0]))
    assert [one.kind for one in imported.measures] == ["line", "angle", "area"]
    assert set(MEASURES) == set(imported.measures)
    again = import_regions(tmp_path / "sr.dcm", (SIDE, SIDE), known=imported.regions, slide=slide)
    assert again.regions == ()


READING = {
    "line": LINE,
    "mm": 1 / 15,
    "interval_mm": (0.05, 0.08),
    "method": "corrected",
    "um_per_px": (0.5, 0.5),
    "ulcerated": False,
    "clark": 4,
    "margins": ExcisionMargins(lateral_mm=3.25),
    "mitoses": MitosisCount(per_mm2=2.5),
}


@pytest.mark.parametrize(
    ("reader", "values"),
    [
        ("A. Möller", READING),
        ("A. Möller", {**READING, "at_least": True, "interval_mm": None}),
        ("", {"mm": 0.4}),
        ("B", {"ulcerated": True}),
    ],
)
def test_exported_and_imported_depth_readings_are_equal(
    folder: Path, slide: Path, tmp_path: Path, reader: str, values: dict[str, Any]
) -> None:
    before = set_values(SlideDepthReadings(), reader, "2026-01-02T10:00:00+00:00", **values)
    write_depth(folder, before)
    export(folder, tmp_path / "sr.dcm")
    imported = import_regions(tmp_path / "sr.dcm", (SIDE, SIDE), slide=slide)
    assert imported.measures == ()
    prediction = "depth, prediction: the depth is left out, as it is a prediction (tiny), not the reading of a person"
    assert imported.notes == (prediction, "1 group with values without a position: left out")  # that of the slide
    (reading,) = imported.readings
    after = add_reading(SlideDepthReadings(), reading, PixelSize(0.5, 0.5, "given"), "2026-02-03T10:00:00+00:00")
    (found,), (expected,) = after.readings, before.readings
    assert found.notes == "Imported from sr.dcm."
    assert found.all_authors() == {**expected.all_authors(), "notes": "reader"}
    same = {"notes": "", "authors": {}, "history": (), "when": ""}
    assert found.model_copy(update=same) == expected.model_copy(update=same)
    assert add_reading(after, reading, None, "2026-02-04T10:00:00+00:00") is after


def test_a_lesion_of_several_parts_is_one_lesion(folder: Path, slide: Path, tmp_path: Path) -> None:
    first, second = read_lesions(folder) or ()
    merged = replace(first, polygons=(*first.polygons, *second.polygons), origin="merged")
    save_lesions(folder, [merged], LesionConfig())
    document = export(folder, tmp_path / "sr.dcm")
    names = [one.tracking_identifier for one in document.content.get_planar_roi_measurement_groups()]
    assert names == ["lesion 1, part 1 of 2", "lesion 1, part 2 of 2"]
    assert read_values(find_group(document, "slide"))["Number of lesions"] == (1, "1")
    assert "Area" in read_values(find_group(document, "lesion 1"))
    (found,) = import_outlines(tmp_path / "sr.dcm", (SIDE, SIDE), slide=slide).annotations
    assert (found.name, found.polygons) == ("lesion 1", merged.polygons)


def test_areas_of_a_class_of_interest_have_its_name(folder: Path, slide: Path, tmp_path: Path) -> None:
    lesions = [replace(one, label="Mitotic figure, atypical") for one in read_lesions(folder) or ()]
    save_lesions(folder, lesions, LesionConfig())
    group = find_group(export(folder, tmp_path / "sr.dcm"), "area 1")
    assert read_evaluations(group)["Class"] == group.finding_type.meaning == "Mitotic figure, atypical"
    assert group.finding_category is None
    assert "Probability of the class" in read_values(group)
    found = import_outlines(tmp_path / "sr.dcm", (SIDE, SIDE), slide=slide)
    assert {one.class_name for one in found.annotations} == {"Mitotic figure, atypical"}


@pytest.mark.filterwarnings("ignore:The value for the data element")  # is too long for its type
def test_an_outline_with_many_vertices(folder: Path, slide: Path, tmp_path: Path) -> None:
    angle = np.linspace(0, 2 * np.pi, 30_000, endpoint=False)
    ring = np.column_stack([256 + 200 * np.sin(angle), 256 + 200 * np.cos(angle)])
    lesion = replace((read_lesions(folder) or ())[0], polygons=(Polygon(tuple(map(tuple, ring.tolist()))),))
    write(tmp_path / "sr.dcm", slide, folder, lesion, (SIDE, SIDE))
    (group,) = highdicom.sr.srread(tmp_path / "sr.dcm").content.get_planar_roi_measurement_groups()
    assert group.roi.value.shape == (30_001, 3)
    (found,) = import_outlines(tmp_path / "sr.dcm", (SIDE, SIDE), slide=slide).annotations
    assert found.polygons[0].area == pytest.approx(np.pi * 200**2, rel=1e-3)
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian  # of reports of other programs
    report.save_as(tmp_path / "explicit.dcm", implicit_vr=False, little_endian=True)
    (again,) = import_outlines(tmp_path / "explicit.dcm", (SIDE, SIDE), slide=slide).annotations
    assert again.polygons == found.polygons


def test_a_scale_that_a_reader_has_set_is_stated(folder: Path, tmp_path: Path) -> None:
    write_notes(folder, SlideNotes(pixel_size=PixelSize(0.25, 0.25, "given"), measures=MEASURES[:1]))
    document = export(folder, tmp_path / "sr.dcm")
    assert read_values(find_group(document, "length 1")) == {"Length": (0.025, "mm")}
    assert "Scale set by a reader: 0.25 µm per pixel. The slide states 0.5, in which positions are given." in (
        read_comments(find_group(document, "slide"))
    )


@pytest.mark.parametrize("seed", range(20))
def test_holes_are_joined_to_one_ring_of_the_same_area(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 6))
    tops = [10.0 + 15 * number for number in range(count)]
    holes = tuple(
        ((top, left), (top, left + 9), (top + 8, left + 9), (top + 8, left))
        for top, left in zip(tops, rng.uniform(5, 80, count).tolist(), strict=True)
    )
    outer = ((0.0, 0.0), (0.0, 100.0), (100.0, 100.0), (100.0, 0.0))
    polygon = Polygon(outer[:: 1 if seed % 2 else -1], tuple(hole[:: 1 if seed % 3 else -1] for hole in holes))
    (joined,) = untangle_polygon(Polygon(join_rings(polygon)))
    assert joined.area == pytest.approx(polygon.area)
    assert to_shape(joined).symmetric_difference(to_shape(polygon)).area == pytest.approx(0, abs=1e-6)


def test_names_of_readers_are_valid_person_names() -> None:
    assert to_person("A^B=C\\D") == "A B C D^"
    assert len(to_person("x" * 100)) == 64


@pytest.mark.filterwarnings("ignore:The value length")  # a UID of one of the slides is too long
@pytest.mark.parametrize("name", ["CMU-1-Small-Region_dicom", "bone_dicom_jpeg", "camelyon_dicom"])
def test_reports_of_real_slides(shared_data: Path, name: str, tmp_path: Path) -> None:
    from napari_melanoma.io.dicom_slides import matrix_size, read_slide_headers

    folder = tmp_path / "results" / name
    source = shared_data / "slides" / name
    height, width = matrix_size(read_slide_headers(source)[0])
    ring = ((10.0, 12.0), (10.0, width - 20.0), (height - 30.0, width - 20.0), (height - 30.0, 12.0))
    analyze(folder, source)
    set_validity(folder, Validity())
    lesion = replace((read_lesions(folder) or ())[0], polygons=(Polygon(ring),))
    path = tmp_path / "sr.dcm"
    write(path, source, folder, lesion, (height, width))
    document = highdicom.sr.srread(path)
    assert len(document.content.get_planar_roi_measurement_groups()) == 1
    (found,) = import_outlines(path, (height, width), slide=source).annotations
    assert found.polygons == lesion.polygons


def write(path: Path, slide: Path, folder: Path, lesion: SlideLesion, size: tuple[int, int]) -> None:
    from napari_melanoma.reports.dicom_report import write_measurement_report

    exported = replace(read_exported_slide(folder, slide), lesions=(lesion,))
    write_measurement_report(path, slide, exported, size, PixelSize(0.5, 0.5, "file"))


def test_a_report_of_another_slide_is_rejected(folder: Path, tmp_path: Path) -> None:
    export(folder, tmp_path / "sr.dcm")
    other = write_level(tmp_path / "other" / "a.dcm", SIDE, SIDE, SPACING_MM)
    header = pydicom.dcmread(other)
    header.FrameOfReferenceUID = highdicom.UID()
    header.save_as(other)
    with pytest.raises(InputError, match=r"sr\.dcm is a report on other images: it refers to the frame of reference"):
        import_regions(tmp_path / "sr.dcm", (SIDE, SIDE), slide=other)
    with pytest.raises(InputError, match=r"section\.tif is not a DICOM slide, but sr\.dcm refers to DICOM images"):
        import_regions(tmp_path / "sr.dcm", (SIDE, SIDE), slide=draw_slide(tmp_path / "section.tif"))

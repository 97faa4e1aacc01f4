"""Files of the Slide dock: dropped, exported, imported, and recent ones."""

from __future__ import annotations

import errno
import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
import tifffile
from canvas_mouse import box, goes_around
from fake_dicom import write_level
from fake_slides import draw_slide
from finding_files import save_synoptic, write_depth
from PIL import Image
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QLabel
from region_access import are_read, opens_section, regions
from slide_fixtures import UNSEEN

from conftest import photograph, wait_until_idle
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.depth.findings import SlideFindings, read_findings
from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings, set_values
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.io.geojson import Annotation, read_geojson, write_geojson
from napari_melanoma.io.results import describe_scanned_area, read_table
from napari_melanoma.reports.export_formats import EXPORTS
from napari_melanoma.slides.counts import CountedPoint, save_counts
from napari_melanoma.slides.notes import SlideMeasurement
from napari_melanoma.slides.regions import REGIONS
from napari_melanoma.ui.session import photograph_opener
from napari_melanoma.ui.session.annotations import import_region_file
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.slide_layers import list_slides
from napari_melanoma.ui.widgets.file_drop import (
    MAX_RECENT,
    RECENT_CASES,
    RECENT_SLIDES,
    RecentPaths,
    _find_missing,
)
from napari_melanoma.ui.widgets.settings import DockSettings

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
TRIANGLE = Polygon(((40.0, 30.0), (40.0, 170.0), (190.0, 95.0)))


@pytest.fixture
def qupath_file(tmp_path):
    path = tmp_path / "annotations.geojson"
    write_geojson(path, [Annotation((TRIANGLE,), "Tumor", (200, 0, 0))])
    return path


def drops(person, *paths):
    person.dock.drops.dropped.emit(list(paths))
    person.waits()


def classes(person):
    return [region.class_name for region in regions(person)] if are_read(person) else []


def test_regions_dropped_on_the_dock_with_a_slide_or_on_the_canvas_are_imported(person, slide_path, qupath_file):
    drops(person, qupath_file)
    assert person.dock.slide is None
    assert "Open the slide, then drop the file again." in person.dock.status.text
    drops(person, slide_path, qupath_file)
    person.until(lambda: classes(person) == ["Tumor"])
    layers = list(person.viewer.layers)
    person.session.regions.apply(lambda _: ())
    person.viewer.open([str(qupath_file)], plugin="napari-melanoma")
    person.until(lambda: classes(person) == ["Tumor"])
    assert list(person.viewer.layers) == layers, "no layer of napari's for the file"


@pytest.mark.filterwarnings("ignore")
def test_a_spatialdata_store_dropped_on_the_dock_is_imported(person, slide_path, tmp_path):
    spatialdata = pytest.importorskip("spatialdata", reason="spatialdata is not installed: pip install spatialdata")
    import geopandas
    import shapely

    frame = geopandas.GeoDataFrame({"class": ["Tumor"]}, geometry=[shapely.box(30, 40, 170, 190)])
    spatialdata.SpatialData(shapes={"areas": spatialdata.models.ShapesModel.parse(frame)}).write(tmp_path / "a.zarr")
    person.opens_slides(slide_path)
    drops(person, tmp_path / "a.zarr")
    assert classes(person) == ["Tumor"]
    assert person.dock.status.text == "1 region imported."


@pytest.mark.parametrize(("answer", "opened"), [("Photograph", (True, False)), ("Slide", (False, True))])
def test_a_dropped_photograph_is_not_taken_for_a_slide(person, tmp_path, monkeypatch, answer, opened):
    Image.fromarray(photograph()).save(tmp_path / "mole.jpg")

    def press(box):
        box.deleteLater()
        return next(button for button in box.buttons() if button.text() == answer)

    monkeypatch.setattr(photograph_opener, "exec_question", press)
    drops(person, draw_slide(tmp_path / "other.tif"), tmp_path / "mole.jpg")
    person.until(lambda: "mole" in person.viewer.layers)
    slides = [person.dock.picker.combo.itemText(row) for row in range(person.dock.picker.combo.count())]
    assert "other.tif" in slides
    docks = [dock.objectName() for dock in person.viewer.window.dock_widgets.values()]
    assert ("lesion_dock" in docks, "mole.jpg" in slides) == opened


def test_a_dropped_file_that_cannot_be_read_does_not_keep_others_from_opening(person, tmp_path, monkeypatch):
    read = Path.open

    def read_unless_locked(path, *arguments, **more):
        if path.name == "locked.jpg":
            raise PermissionError(13, "Permission denied")
        return read(path, *arguments, **more)

    (tmp_path / "locked.jpg").write_bytes(b"locked")
    monkeypatch.setattr(Path, "open", read_unless_locked)
    drops(person, tmp_path / "locked.jpg", draw_slide(tmp_path / "other.tif"))
    assert [layer.name for layer in person.viewer.layers] == ["other"]
    assert "locked.jpg cannot be read: Permission denied." in person.dock.status.text


def test_a_slide_that_is_dropped_with_its_folder_is_opened_once(person, tmp_path):
    (tmp_path / "scans").mkdir()
    slide = draw_slide(tmp_path / "scans" / "other.tif")
    drops(person, slide.parent, slide)
    assert [layer.name for layer in person.viewer.layers] == ["other"]


def test_a_report_exported_from_a_dicom_slide_is_imported_with_measurements_and_depth_readings(person, tmp_path):
    pytest.importorskip("highdicom")
    slide = write_level(tmp_path / "archive" / "section.dcm", 512, 512, 0.0005)
    person.opens_slides(slide)
    person.until(lambda: are_read(person))
    session = person.session
    line = SlideMeasurement("line", ((10.0, 20.0), (10.0, 120.0)))
    session.measures.apply(lambda measures: (*measures, line))
    session.regions.apply(lambda known: (*known, Annotation((TRIANGLE,), "Tumor", (200, 0, 0), id="r-1")))
    depth, deepest = session.findings, ((30.0, 40.0), (130.0, 40.0))
    person.until(lambda: depth.is_ready)
    depth.apply(lambda known: set_values(known, "Dr. B", "2026-01-02T10:00:00+00:00", line=deepest, mm=0.05, clark=3))
    person.waits()
    person.until(lambda: (session.folder / "view.json").is_file() and (session.folder / REGIONS).is_file())
    person.waits()  # they may be written once more
    path = tmp_path / "report.dcm"
    person.dock.exporter.choose_file("dicom-sr")
    person.chooses_file("export_dialog", path)
    wait_until_idle(person.qtbot, person.dock.exporter)
    assert path.is_file()
    session.measures.apply(lambda _: ())
    session.regions.apply(lambda _: ())
    depth.apply(lambda _: SlideFindings())
    drops(person, path)
    person.until(lambda: classes(person) == ["Tumor"])
    (region,) = regions(person)
    assert region.polygons == (TRIANGLE,)
    assert region.properties["imported_from"] == "report.dcm"
    assert session.measures.value == (line,)
    person.until(lambda: person.dock.status.text == "1 region, 1 measurement, 1 depth reading imported.")
    reading = depth.value.reading_by("Dr. B")
    assert (reading.line, reading.mm, reading.clark, reading.um_per_px) == (deepest, 0.05, 3, (0.5, 0.5))
    assert read_findings(session.folder).reading_by("Dr. B") == reading
    drops(person, path)
    kept = "1 depth reading left out: the reader has measured this slide before."
    person.until(lambda: person.dock.status.text.endswith(kept))
    depth.undo()
    assert depth.value.reading_by("Dr. B").mm is None
    session.measures.undo()
    assert session.measures.value == ()


@pytest.mark.parametrize("is_view", [False, True], ids=["of the slide", "of the view"])
def test_an_export_has_what_readers_have_just_entered_whichever_results_are_shown(person, tmp_path, is_view):
    highdicom = pytest.importorskip("highdicom")
    person.opens_slides(write_level(tmp_path / "archive" / "section.dcm", 512, 512, 0.0005))
    person.until(lambda: are_read(person) and person.session.findings.is_ready)
    session = person.session
    session.results.set(replace(session.results.value, is_view=is_view))
    session.measures.apply(lambda _: (SlideMeasurement("line", ((10.0, 20.0), (10.0, 120.0))),))
    session.regions.apply(lambda _: (Annotation((TRIANGLE,), "Tumor", (200, 0, 0), "nest", id="r-1"),))
    session.findings.apply(lambda known: set_values(known, "Dr. B", "2026-01-02T10:00:00+00:00", mm=0.05))
    person.dock.exporter._export_file("dicom-sr", tmp_path / "report.dcm")
    wait_until_idle(person.qtbot, person.dock.exporter)
    content = highdicom.sr.srread(tmp_path / "report.dcm").content
    groups = (*content.get_planar_roi_measurement_groups(), *content.get_image_measurement_groups())
    assert {"nest", "length 1", "depth, Dr. B"} <= {group.tracking_identifier for group in groups}


def exports(person, kind, path):
    person.dock.share_button.menu().findChild(QAction, f"export_{kind}").trigger()
    person.chooses_file("export_dialog", path)
    wait_until_idle(person.qtbot)


def test_own_lesions_are_exported_without_the_numbers_of_results_that_are_not_valid(analysed, tmp_path):
    person, path = analysed, analysed.analysis.path / "result.json"
    person.clicks("lesion_draw")
    goes_around(person, "drawing", box(9, 9, 12, 13))
    person.until(lambda: len(person.rows()) == 3)
    person.waits()
    validity = ValidityInputs("tiny", demonstration=True, field_mm=0.24, model_field_mm=3).check()
    write_json(path, {**json.loads(path.read_text()), "validity": validity.to_json()})
    results = person.session.results
    results.set(replace(results.value, content=json.loads(path.read_text())))
    person.waits()
    menu = person.dock.share_button.menu()
    menu.aboutToShow.emit()
    kinds = ("csv", "geojson", "mask", "qupath", "tif", "tiles", "zarr")
    enabled = [kind for kind in kinds if menu.findChild(QAction, f"export_{kind}").isEnabled()]
    assert enabled == ["csv", "geojson", "mask", "qupath"]
    exports(person, "csv", tmp_path / "own.csv")
    (row,) = read_table(tmp_path / "own.csv")
    assert (row["origin"], row["probability"], row["presence"], row["malignancy"]) == ("drawn", "", "", "")
    exports(person, "geojson", tmp_path / "own.geojson")
    (outline,) = read_geojson(tmp_path / "own.geojson").annotations
    assert "probability" not in outline.measurements


def test_unavailable_entries_show_a_hint_and_errors_are_shown(analysed, tmp_path):
    # Errors are shown.
    exports(analysed, "dicom", tmp_path / "out.dcm")
    assert "is not a DICOM slide" in analysed.dock.status.text
    assert not (tmp_path / "out.dcm").exists()

    # Unavailable entries show what to do first.
    def entries():
        menu = analysed.dock.share_button.menu()
        menu.aboutToShow.emit()
        assert menu.toolTipsVisible()
        return {kind: menu.findChild(QAction, f"export_{kind}") for kind in EXPORTS.members}

    found = entries()
    off = {kind: action.toolTip() for kind, action in found.items() if not action.isEnabled()}
    synoptic, counts = ["fhir", "synoptic"], ["counts"]
    assert sorted(off) == sorted([*counts, "depth", "dicom", "dicom-sr", "report", "risk", *synoptic])
    assert off["depth"] == "No depth reading yet. Measure the depth in the Depth section first."
    assert not [text for text in off.values() if "napari-melanoma" in text]
    folder = analysed.dock.result_location.folder
    write_json(folder / "risk.json", {})
    save_counts(folder, analysed.dock.slide.info.path, (CountedPoint("TIL", (1.0, 1.0)),), None)
    blocked = sorted(kind for kind, action in entries().items() if not action.isEnabled())
    assert blocked == sorted(["depth", "dicom", "dicom-sr", *synoptic])
    save_synoptic(folder, SynopticReport())
    reading = DepthReading(reader="A", when="2026-01-02T10:00:00+00:00", mm=1.0)
    write_depth(folder, SlideDepthReadings(readings=(reading,)))

    # Stored files can be exported while the results of the view are shown.
    results = analysed.session.results
    results.set(replace(results.value, is_view=True))
    assert sorted(kind for kind, action in entries().items() if not action.isEnabled()) == ["dicom", "dicom-sr"]
    exports(analysed, "depth", tmp_path / "readings.csv")
    assert len(read_table(tmp_path / "readings.csv")) == 1


@pytest.mark.path
def test_outlines_from_qupath_become_the_lesions_and_entries_write_files_with_them(analysed, tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr("napari.utils.notifications.show_info", messages.append)
    dock, path = analysed.dock, tmp_path / "theirs.geojson"
    before = analysed.lesions
    exports(analysed, "geojson", path)
    content = json.loads(path.read_text())
    second = content["features"][1]
    second["properties"]["classification"] = {"name": "Benign naevus", "color": [0, 160, 0]}
    beyond = {"type": "Polygon", "coordinates": [[[490, 490], [530, 490], [530, 530], [490, 530], [490, 490]]]}
    far = {"type": "Polygon", "coordinates": [[[9000, 0], [9010, 0], [9010, 10], [9000, 0]]]}
    for geometry, name in ((beyond, "Tumor"), (far, "Tumor")):
        content["features"].append(
            {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": name}}}
        )
    path.write_text(json.dumps(content))
    exports(analysed, "import", path)
    analysed.until(lambda: len(analysed.rows()) == 3)
    found = analysed.lesions
    assert found[0] == before[0]
    assert [(one.index, one.label, one.origin) for one in found[1:]] == [
        (2, "benign", "drawn"),
        (3, "malignant", "drawn"),
    ]
    assert found[2].area_px == pytest.approx(22 * 22, rel=0.01)
    assert [text.split(".")[0] for text in messages] == ["3 outlines imported"]
    assert "the part outside the slide was cut off" in messages[0]
    assert "outside the slide" in messages[0]
    analysed.clicks("lesion_undo")
    analysed.until(lambda: analysed.lesions == before)
    wait_until_idle(analysed.qtbot)  # the undone step is saved, which is stated

    # A file of another slide is rejected.
    (tmp_path / "far.geojson").write_text(json.dumps(far))
    exports(analysed, "import", tmp_path / "far.geojson")
    assert "is on this slide" in analysed.dock.status.text
    assert analysed.lesions == before

    # Entries write files with the current lesions.
    analysed.lesion_table.selectRow(1)
    analysed.clicks("lesion_remove")
    analysed.until(lambda: len(analysed.rows()) == 1)
    wait_until_idle(analysed.qtbot)  # the removal is saved, which is stated
    exports(analysed, "geojson", tmp_path / "out.geojson")
    assert [one.name for one in read_geojson(tmp_path / "out.geojson").annotations] == ["lesion 1"]
    assert "Written" in dock.status.text
    exports(analysed, "zarr", tmp_path / "out.ome.zarr")
    assert (tmp_path / "out.ome.zarr" / "labels" / "lesions" / "zarr.json").is_file()
    exports(analysed, "mask", tmp_path / "out.ome.tif")
    assert set(tifffile.imread(tmp_path / "out.ome.tif").ravel()) == {0, 1}


def test_outlines_and_regions_of_qupath_are_counted_from_the_scanned_area(analysed, tmp_path):
    dock, path = analysed.dock, tmp_path / "out.geojson"
    area = Box(20, 30, 400, 410)  # as a scanner would have stated it
    record = dock.result_location.folder / "slide.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), **describe_scanned_area(area)}))
    dock.slide.metadata["info"] = replace(dock.slide.info, bounds=area)
    before = analysed.lesions
    exports(analysed, "geojson", path)
    content = json.loads(path.read_text())
    assert content.pop("origin_px") == [30, 20]
    path.write_text(json.dumps(content))  # as QuPath writes it

    exports(analysed, "import", path)
    assert analysed.lesions == before
    opens_section(analysed)
    import_region_file(analysed.session, path)
    analysed.waits()
    assert [region.polygons for region in regions(analysed)] == [lesion.polygons for lesion in before]


def test_the_latest_path_is_the_first(home):
    recent = RecentPaths(DockSettings(), RECENT_SLIDES)
    paths = [home / f"{number}.svs" for number in range(MAX_RECENT + 2)]
    for path in paths:
        recent.add(path)
    recent.add(paths[4])
    assert recent.paths == [paths[4], *(path for path in paths[:1:-1] if path != paths[4])]
    recent.remove(paths[4])
    assert recent.paths[0] == paths[-1]


def test_a_path_on_a_drive_that_is_not_available_is_missing(tmp_path, monkeypatch):
    def fail(path, **_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", fail)
        found = _find_missing([(tmp_path, False), (tmp_path / "case", True)], RunContext())
    assert found == {tmp_path, tmp_path / "case"}


def links_of(person):
    """Return the links of the start page by their texts."""
    text = person.finds(QLabel, "welcome_recent").text()
    return {
        unescape(name): unescape(target) for target, name in re.findall(r"<a href='([^']*)'[^>]*>([^<]*)</a>", text)
    }


def text_of(person):
    return re.sub("<[^>]*>", " ", person.finds(QLabel, "welcome_recent").text())


def follows(person, name):
    person.finds(QLabel, "welcome_recent").linkActivated.emit(links_of(person)[name])


def test_the_slides_that_were_open_together_are_reopened_together(person, slide_path, tmp_path):
    other = draw_slide(tmp_path / "other.tif", tint=4)
    person.opens_slides(slide_path)
    person.opens_slides(other)
    person.dock.show_file(slide_path)  # the first one is on screen at last
    person.waits()
    person.viewer.layers.clear()  # as napari does when its window is closed
    person.waits()
    person.until(lambda: "Reopen the last session (2)" in text_of(person))
    follows(person, "Reopen the last session (2)")
    person.until(lambda: {slide.info.path for slide in list_slides(person.viewer)} == {slide_path, other})
    person.waits()
    assert person.dock.slide.info.path == slide_path

    # A slide that the user closes is not part of it.
    person.clicks("close_slide")
    person.waits()
    assert len(RecentPaths(person.dock.settings, RECENT_SLIDES).session) == 1
    person.viewer.layers.clear()
    person.waits()
    assert "Reopen the last session" not in text_of(person)


def test_recent_slides_are_listed_and_open(person, slide_path, tmp_path):
    label = person.finds(QLabel, "welcome_recent")
    assert not label.isVisibleTo(person.dock)
    odd = tmp_path / "a 'b' & 100 %.tif"
    person.opens_slides(slide_path)
    person.opens_slides(draw_slide(odd, tint=4))
    person.clicks("close_slide")
    person.clicks("close_slide")
    person.waits()
    person.until(lambda: label.isVisibleTo(person.dock))
    assert list(links_of(person)) == ["clear", slide_path.name, odd.name]  # the one that was shown last is the first
    label.linkHovered.emit(links_of(person)[odd.name])
    assert label.toolTip() == str(odd)
    follows(person, odd.name)
    person.until(lambda: person.dock.slide is not None and person.dock.slide.info.path == odd)


def test_missing_files_can_be_removed_and_the_list_cleared(person, slide_path, tmp_path):
    moved = slide_path.with_name("elsewhere.tif")
    person.opens_slides(slide_path)
    person.clicks("close_slide")
    person.waits()
    slide_path.rename(moved)
    person.dock.recent.find_missing()
    person.until(lambda: f"{slide_path.name} (not found)" in text_of(person))
    assert list(links_of(person)) == ["clear", "remove"]
    follows(person, "remove")
    assert links_of(person) == {}
    assert RecentPaths(person.dock.settings, RECENT_SLIDES).paths == []

    # An image in a zarr folder is named with it.
    folder = tmp_path / "lung.zarr" / "image0"
    folder.mkdir(parents=True)
    RecentPaths(DockSettings(), RECENT_SLIDES).add(folder)
    person.opens_slides(moved)
    person.clicks("close_slide")
    person.waits()
    assert links_of(person)["lung.zarr/image0"].endswith(f":{folder}")

    follows(person, "clear")
    assert not person.finds(QLabel, "welcome_recent").isVisibleTo(person.dock)
    assert RecentPaths(person.dock.settings, RECENT_SLIDES).paths == []


def test_recent_cases_are_listed_and_open(person, tmp_path, monkeypatch):
    dock = show_dock(person.viewer, "Case")
    dock.controller.create(tmp_path / "P-1")
    person.until(lambda: dock.controller.case is not None)
    dock.controller.close()
    person.until(lambda: dock.controller.case is None)
    RecentPaths(person.dock.settings, RECENT_CASES).add(tmp_path / "gone")
    show_dock(person.viewer, "Slide")
    person.dock.recent.find_missing()
    person.until(lambda: "gone (not found)" in text_of(person))
    assert "Recent cases" in text_of(person)
    follows(person, "P-1")
    person.until(lambda: dock.controller.case is not None)
    assert dock.controller.store.folder == tmp_path / "P-1"


def test_a_folder_for_results_that_another_window_selects_is_used_at_once(person, slide_path, tmp_path):
    person.opens_slides(slide_path)
    assert tmp_path / "elsewhere" not in person.dock.result_location.folder.parents
    (tmp_path / "elsewhere").mkdir()
    DockSettings().slide_results = tmp_path / "elsewhere"
    person.waits()
    assert tmp_path / "elsewhere" in person.dock.result_location.folder.parents

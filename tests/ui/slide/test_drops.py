"""Files dropped on the Slide dock or on the slide: regions are imported, and photographs are not opened as slides."""

from __future__ import annotations

import pytest
from fake_dicom import write_level
from fake_slides import draw_slide
from PIL import Image
from region_access import are_read, regions
from slide_fixtures import UNSEEN

from conftest import photograph, wait_until_idle
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.depth.readings import SlideDepthReadings, set_values
from napari_melanoma.io.geojson import Annotation, write_geojson
from napari_melanoma.slides.notes import SlideMeasurement
from napari_melanoma.slides.region_files import REGIONS
from napari_melanoma.slides.synoptic_files import read_depth
from napari_melanoma.ui.slide import slide_picker

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


def test_regions_dropped_on_the_dock_are_imported(person, slide_path, qupath_file):
    drops(person, qupath_file)
    assert person.dock.slide is None
    assert "Open the slide, then drop the file again." in person.dock.status.text
    person.opens_slides(slide_path)
    drops(person, qupath_file)
    assert classes(person) == ["Tumor"]
    assert person.dock.status.text == "1 region imported."


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


def test_regions_dropped_on_the_canvas_are_imported_and_open_the_dock(person, slide_path, qupath_file):
    person.opens_slides(slide_path)
    layers = list(person.viewer.layers)
    person.viewer.open([str(qupath_file)], plugin="napari-melanoma")
    person.waits()
    assert classes(person) == ["Tumor"]
    assert [layer for layer in person.viewer.layers if layer not in layers and layer.name != "section regions"] == []


def test_a_slide_and_its_regions_are_dropped_together(person, slide_path, qupath_file):
    drops(person, slide_path, qupath_file)
    person.until(lambda: classes(person) == ["Tumor"])


@pytest.mark.parametrize(("answer", "opened"), [("Photograph", (True, False)), ("Slide", (False, True))])
def test_a_dropped_photograph_is_not_taken_for_a_slide(person, tmp_path, monkeypatch, answer, opened):
    Image.fromarray(photograph()).save(tmp_path / "mole.jpg")

    def press(box):
        box.deleteLater()
        return next(button for button in box.buttons() if button.text() == answer)

    monkeypatch.setattr(slide_picker, "exec_question", press)
    drops(person, draw_slide(tmp_path / "other.tif"), tmp_path / "mole.jpg")
    person.until(lambda: "mole" in person.viewer.layers)
    slides = [person.dock.picker.combo.itemText(row) for row in range(person.dock.picker.combo.count())]
    assert "other.tif" in slides
    docks = [dock.objectName() for dock in person.viewer.window.dock_widgets.values()]
    assert ("lesion_dock" in docks, "mole.jpg" in slides) == opened


def test_a_report_exported_from_a_dicom_slide_is_imported_with_measurements_and_depth_readings(person, tmp_path):
    pytest.importorskip("highdicom")
    slide = write_level(tmp_path / "archive" / "section.dcm", 512, 512, 0.0005)
    person.opens_slides(slide)
    person.until(lambda: are_read(person))
    session = person.session
    line = SlideMeasurement("line", ((10.0, 20.0), (10.0, 120.0)))
    session.measures.apply(lambda measures: (*measures, line))
    session.regions.apply(lambda known: (*known, Annotation((TRIANGLE,), "Tumor", (200, 0, 0), id="r-1")))
    depth, deepest = session.depth, ((30.0, 40.0), (130.0, 40.0))
    person.until(lambda: depth.is_ready)
    depth.apply(lambda known: set_values(known, "Dr. B", "2026-01-02T10:00:00+00:00", line=deepest, mm=0.05, clark=3))
    person.waits()
    person.until(lambda: (session.folder / "view.json").is_file() and (session.folder / REGIONS).is_file())
    path = tmp_path / "report.dcm"
    person.dock.exporter.choose_file("dicom-sr")
    person.chooses_file("export_dialog", path)
    wait_until_idle(person.qtbot, person.dock.exporter)
    assert path.is_file()
    session.measures.apply(lambda _: ())
    session.regions.apply(lambda _: ())
    depth.apply(lambda _: SlideDepthReadings())
    drops(person, path)
    person.until(lambda: classes(person) == ["Tumor"])
    (region,) = regions(person)
    assert region.polygons == (TRIANGLE,)
    assert region.properties["imported_from"] == "report.dcm"
    assert session.measures.value == (line,)
    person.until(lambda: person.dock.status.text == "1 region, 1 measurement, 1 depth reading imported.")
    reading = depth.value.reading_by("Dr. B")
    assert (reading.line, reading.mm, reading.clark, reading.um_per_px) == (deepest, 0.05, 3, (0.5, 0.5))
    assert read_depth(session.folder).reading_by("Dr. B") == reading
    drops(person, path)
    kept = "1 depth reading left out: the reader has measured this slide before."
    person.until(lambda: person.dock.status.text.endswith(kept))
    depth.undo()
    assert depth.value.reading_by("Dr. B").mm is None
    session.measures.undo()
    assert session.measures.value == ()

"""The Export menu of the Slide dock, and the import of outlines."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QApplication, QLineEdit
from region_access import opens_section, regions
from slide_fixtures import UNSEEN

from conftest import wait_until_idle
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings, write_depth
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.io.geojson import read_geojson
from napari_melanoma.io.results import describe_scanned_area, read_table
from napari_melanoma.reports.export_formats import EXPORTS
from napari_melanoma.slides.counts import CountedPoint, save_counts
from napari_melanoma.slides.synoptic_files import save_synoptic
from napari_melanoma.ui.session.annotations import import_region_file
from napari_melanoma.ui.slide.controls import IMPORT

from .test_drawing import box, goes_around

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)


def exports(person, kind, path):
    person.dock.export_button.menu().findChild(QAction, f"export_{kind}").trigger()
    person.chooses_file("export_dialog", path)
    wait_until_idle(person.qtbot)


def test_missing_suffix_is_added(analysed, tmp_path):
    for kind, suffix in (("geojson", "geojson"), ("mask", "ome.tif")):
        analysed.dock.export_button.menu().findChild(QAction, f"export_{kind}").trigger()
        types_name(analysed, "export_dialog", tmp_path / "mine")
        analysed.until(lambda suffix=suffix: (tmp_path / f"mine.{suffix}").is_file())
        wait_until_idle(analysed.qtbot, analysed.dock.exporter)

    # Also to exported regions.
    opens_section(analysed)
    analysed.dock.findChild(QAction, "region_import_lesions").trigger()
    analysed.waits()
    analysed.clicks("region_export")
    types_name(analysed, "region_export_dialog", tmp_path / "regions")
    analysed.until(lambda: (tmp_path / "regions.geojson").is_file())


def test_own_lesions_are_exported_without_the_numbers_of_results_that_are_not_valid(analysed, tmp_path):
    person, path = analysed, analysed.analysis.path / "result.json"
    person.clicks("lesion_draw")
    goes_around(person, box(9, 9, 12, 13))
    person.until(lambda: len(person.rows()) == 3)
    person.waits()
    validity = ValidityInputs("tiny", demonstration=True, field_mm=0.24, model_field_mm=3).check()
    write_json(path, {**json.loads(path.read_text()), "validity": validity.to_json()})
    results = person.session.results
    results.set(replace(results.value, content=json.loads(path.read_text())))
    person.waits()
    menu = person.dock.export_button.menu()
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


def types_name(person, dialog, path):
    """Enter a name in a dialog, and press Return."""
    requested = next(w for w in QApplication.topLevelWidgets() if w.objectName() == dialog and w.isVisible())
    line = requested.findChild(QLineEdit)
    line.setText(str(path))
    person.qtbot.keyClick(line, Qt.Key.Key_Return)
    person.waits()


def test_unavailable_entries_show_a_hint_and_errors_are_shown(analysed, tmp_path):
    # Errors are shown.
    exports(analysed, "dicom", tmp_path / "out.dcm")
    assert "is not a DICOM slide" in analysed.dock.status.text
    assert not (tmp_path / "out.dcm").exists()

    # Unavailable entries show what to do first.
    def entries():
        menu = analysed.dock.export_button.menu()
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
    write_depth(
        folder, SlideDepthReadings(readings=(DepthReading(reader="A", when="2026-01-02T10:00:00+00:00", mm=1.0),))
    )
    assert sorted(kind for kind, action in entries().items() if not action.isEnabled()) == ["dicom", "dicom-sr"]

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


def test_readings_and_reports_are_exported_without_an_analysis_and_other_entries_show_why_not(
    person, slide_path, tmp_path
):
    button, menu = person.dock.export_button, person.dock.export_button.menu()
    assert (button.isEnabled(), button.toolTip()) == (False, "Open a slide first.")
    person.opens_slides(slide_path)
    person.until(lambda: person.session is not None)
    folder = person.session.folder
    folder.mkdir(parents=True, exist_ok=True)
    save_synoptic(folder, SynopticReport())
    reading = DepthReading(reader="A", when="2026-01-02T10:00:00+00:00", mm=1.0)
    write_depth(folder, SlideDepthReadings(readings=(reading,)))
    assert button.isEnabled()
    menu.aboutToShow.emit()
    found = {kind: menu.findChild(QAction, f"export_{kind}") for kind in (*EXPORTS.members, IMPORT)}
    enabled = {kind for kind, action in found.items() if action.isEnabled()}
    assert enabled == {"depth", "report", "fhir", "synoptic"}
    assert found["geojson"].toolTip() == "No lesions yet. Analyze the slide first."
    assert found["tif"].toolTip() == "No analysis yet. Analyze the slide first."
    assert found[IMPORT].toolTip() == "The outlines replace the lesions of an analysis. Analyze the slide first."
    exports(person, "depth", tmp_path / "readings.csv")
    assert len(read_table(tmp_path / "readings.csv")) == 1

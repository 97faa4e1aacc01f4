"""The Slide dock from a user's perspective: open, navigate, scale, tissue, analysis, results."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from fake_slides import LESION, MPP, TILE, FakeAnalysis, draw_fluorescence, draw_slide
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QListWidget,
    QMessageBox,
    QWidget,
)
from slide_fixtures import UNSEEN
from steady import LONG_TEXT, list_message_states, list_moved_controls

from napari_melanoma.core.provenance import UNKNOWN_TIME, parse_time
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.io.geojson import read_geojson
from napari_melanoma.io.results import read_table
from napari_melanoma.slides.notes import read_notes
from napari_melanoma.ui.sections.overview.picture import Overview
from napari_melanoma.ui.session.run_status import ClassMapData
from napari_melanoma.ui.slide.analysis import AnalysisController
from napari_melanoma.ui.viewer.camera import get_camera

from ..sections.test_depth import draws
from ..sections.test_depth import opens as opens_depth
from ..sections.test_depth import section as depth_section

controls_of_qt = (QAbstractSlider, QAbstractSpinBox, QComboBox, QAbstractItemView)


user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)


def own(widget):
    """Return whether a control is our own, not part of another one."""
    return not isinstance(widget.parentWidget(), controls_of_qt) and widget.focusPolicy() & Qt.FocusPolicy.TabFocus


@pytest.mark.path
def test_navigation_on_opened_slides(person, slide_path, tmp_path):
    dock = person.dock
    person.opens_slides(slide_path)
    assert person.label_text("slide_about") == "0.5 µm/px  ·  TIFF\n512 x 512 px, 0.256 x 0.256 mm"
    assert "levels" in person.label_text("slide_facts")
    assert not person.label_text("slide_warnings")
    person.until(lambda: person.session.thumbnail.value is not None)

    overview = person.finds(Overview, "overview")
    person.qtbot.mouseClick(
        overview, Qt.MouseButton.LeftButton, pos=QPoint(overview.width() // 2, overview.height() // 2)
    )
    assert np.allclose(get_camera(person.viewer).center[-2:], dock.slide.to_world((256, 256)), atol=2)

    person.types("go_to", "0.1, 0.05")
    assert person.sees((100, 200))
    person.types("go_to", "30, 40 px")
    assert person.sees((40, 30))
    before = list(notification_manager.records)
    person.types("go_to", "over there")
    assert "is not a position on the slide" in dock.status.text
    assert notification_manager.records == before
    assert person.sees((40, 30))

    person.clicks("bookmark")
    person.finds(QListWidget, "bookmarks").item(0).setText("ulcer")
    person.types("go_to", "0.2, 0.2")
    assert dock.status.text == ""
    person.finds(QLineEdit, "go_to").setText("over there")
    person.waits()
    second = draw_slide(tmp_path / "other.tif", tint=9)
    person.opens_slides(second)
    assert dock.slide.info.name == "other"
    assert person.finds(QLineEdit, "go_to").text() == ""
    assert person.finds(QListWidget, "bookmarks").count() == 0
    assert [layer.visible for layer in person.viewer.layers] == [False, True]
    person.clicks("previous_slide")
    person.waits()
    marks = person.finds(QListWidget, "bookmarks")
    assert dock.slide.info.name == "section"
    assert [layer.visible for layer in person.viewer.layers] == [True, False]
    person.qtbot.mouseClick(
        marks.viewport(), Qt.MouseButton.LeftButton, pos=marks.visualItemRect(marks.item(0)).center()
    )
    assert marks.item(0).text() == "ulcer"
    assert person.sees((40, 30))


@pytest.mark.path
def test_scale_set_by_the_user_is_saved(person, launched, tmp_path):
    dock, path = person.dock, draw_slide(tmp_path / "bare.tif", mpp=None)
    person.opens_slides(path)
    dock.model_picker.model = "tiny"
    dock.model_picker.changed.emit()
    assert "unknown" in person.label_text("slide_warnings")
    assert not dock.analyze_button.isEnabled()
    assert "no scale" in dock.analyze_button.toolTip()
    assert "px" in person.label_text("place")

    person.clicks("scale")
    assert "bare ruler" in person.viewer.layers
    person.clicks("scale")
    assert "bare ruler" not in person.viewer.layers  # without a line
    person.clicks("scale")
    person.clicks("scale_ruler")
    assert "no line yet" in dock.status.text
    line = person.viewer.layers["bare ruler"]
    line.add_lines(np.array([[10.0, 10.0], [10.0, 210.0]]))
    dock.scale_panel._length.setValue(50)
    person.clicks("scale_ruler")
    assert "0.25 µm/px (from a ruler, set on this computer)" in person.label_text("slide_about")
    assert not dock.picker.warning_label.isVisibleTo(dock)
    assert dock.analyze_button.isEnabled()
    np.testing.assert_allclose(person.viewer.layers["bare"].scale, (0.25, 0.25))
    assert [str(unit) for unit in person.viewer.layers["bare"].units] == ["micrometer", "micrometer"]
    assert dock.get_options(person.session).mpp == pytest.approx(0.25)
    person.waits()

    person.clicks("scale")
    dock.scale_panel._number.setValue(0.5)
    person.session.services.set_reader("A. Meyer")
    person.clicks("scale_set")
    assert "0.5 µm/px (set by A. Meyer)" in person.label_text("slide_about")
    person.clicks("scale")
    person.clicks("scale_set")  # the same scale again is no change
    person.clicks("scale")
    person.clicks("scale_clear")
    person.clicks("scale")
    person.clicks("scale_ruler")
    person.waits()
    changes = read_notes(person.session.folder).scale_changes
    sources = [tuple(size and size.source for size in (one.before, one.after)) for one in changes]
    assert sources == [(None, "ruler"), ("ruler", "given"), ("given", None), (None, "ruler")]
    assert all(parse_time(one.when) > UNKNOWN_TIME for one in changes)

    person.viewer.layers.clear()
    person.until(lambda: dock.welcome.isVisibleTo(dock))
    person.opens_slides(path)
    person.until(lambda: "0.25" in person.label_text("slide_about"))
    person.clicks("scale")
    person.clicks("scale_clear")
    assert "no scale" in person.label_text("slide_about")
    assert not dock.analyze_button.isEnabled()


@pytest.mark.path
@pytest.mark.both_qts
@pytest.mark.usefixtures("shown_viewer")
def test_an_analysis_fills_the_heatmap_while_it_runs_and_ends_with_lesions(person, launched, slide_path, tmp_path):
    # The empty dock shows where to drop a slide.
    dock, viewer = person.dock, person.viewer
    assert dock.welcome.isVisible()
    assert not dock.picker.isVisible()
    assert "Drop a slide here" in person.label_text("welcome_text")
    assert not dock.analyze_button.isVisible()
    controls = (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox)
    assert [w for kind in controls for w in dock.findChildren(kind) if own(w) and not w.objectName()] == []

    # An analysis fills the heatmap while it runs, and ends with lesions.
    person.opens_slides(slide_path)
    launched.fingerprint = dock.slide.info.fingerprint
    person.analyses()
    person.clicks("run_pause")
    person.until(lambda: launched.last.place.read_command() == "pause")
    launched.last.place.append_event("paused")
    person.until(lambda: person.label_text("run_state").startswith("Paused"))
    person.clicks("run_pause")
    person.until(lambda: launched.last.place.read_command() == "run")
    launched.last.place.append_event("continued")
    assert not dock.analyze_button.isEnabled()
    assert launched.options[0].model == "tiny"
    assert launched.forced == [False]

    launched.last.works(40)
    person.until(lambda: "section heatmap" in viewer.layers)
    heat = viewer.layers["section heatmap"]
    person.until(lambda: "40 / 224 tiles  ·  212/s  ·  3" in person.label_text("run_state"))
    assert np.isfinite(heat.data[:, :-2]).all()
    assert np.isnan(heat.data[:, -2:]).all()
    np.testing.assert_allclose(heat.scale, (TILE * MPP, TILE * MPP))
    np.testing.assert_allclose(heat.translate, [(TILE / 2 - 0.5) * MPP] * 2)
    assert person.sees_something()

    launched.last.finishes()
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    assert person.sees_something()
    assert person.rows()[0] == ["1", "malignant", "0.90", "0.0041 mm²"]
    assert "2 lesions, 2 malignant" in person.label_text("lesion_count")
    assert "melanoma 0.21" in person.label_text("slide_answer")
    assert person.label_text("slide_cautions") == "trained on synthetic slides"
    assert "224 tiles" in dock.status.text
    assert not dock.run_panel.isVisibleTo(dock)
    assert heat.data[LESION].min() == pytest.approx(0.9)

    assert person.tiles[0].text() == "0.90"
    person.qtbot.mouseClick(person.tiles[0], Qt.MouseButton.LeftButton)
    row, column = dock.slide.to_slide(get_camera(viewer).center[-2:])
    assert LESION[0].start <= row / TILE <= LESION[0].stop
    assert LESION[1].start <= column / TILE <= LESION[1].stop

    person.lesion_table.selectRow(0)
    assert person.sees((6 * TILE, 8 * TILE))
    zoom = get_camera(viewer).zoom
    person.clicks("fit_slide")
    assert get_camera(viewer).zoom < zoom
    row = person.lesion_table.visualRect(person.lesion_table.table_model.index(0, 0)).center()
    person.qtbot.mouseClick(person.lesion_table.viewport(), Qt.MouseButton.LeftButton, pos=row)  # selected already
    assert get_camera(viewer).zoom == pytest.approx(zoom)
    person.until(lambda: all(not button.icon().isNull() for button in person.tiles[:4]))

    person.sets_threshold(0.8)
    person.until(lambda: len(person.rows()) == 1)
    assert dock.save_button.isEnabled()
    person.clicks("save")
    person.until(lambda: len(read_table(launched.last.path / "lesions.csv")) == 1)
    person.waits()
    assert "Saved in" in dock.status.text
    assert not dock.save_button.isEnabled()

    dock.export_requested.emit("geojson")
    person.chooses_file("export_dialog", tmp_path / "out.geojson")
    assert read_geojson(tmp_path / "out.geojson").annotations[0].class_name == "malignant"
    dock.export_requested.emit("tif")
    person.chooses_file("export_dialog", tmp_path / "out.ome.tif")
    assert tifffile.imread(tmp_path / "out.ome.tif").shape == (2, 16, 16)


def press(viewer, world):
    """Click on the canvas without moving the mouse."""
    from napari.utils._test_utils import read_only_mouse_event

    for callback in viewer.mouse_drag_callbacks:
        event = read_only_mouse_event(type="mouse_press", position=world, button=1, dims_displayed=(0, 1))
        steps = callback(viewer, event)
        if steps is not None and hasattr(steps, "__next__"):
            with contextlib.suppress(StopIteration):
                next(steps)
                next(steps)


@pytest.mark.path
def test_reopened_results_are_found_corrected_and_undone(person, slide_path, user):
    dock, viewer = person.dock, person.viewer
    person.opens_slides(slide_path)
    analysis = FakeAnalysis(dock.result_location.folder, slide_path, dock.slide.info.fingerprint).begins().finishes()
    viewer.layers.clear()
    person.opens_slides(slide_path)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    assert "Previous analysis" in dock.status.text
    assert dock.analyze_button.text() == "Analyze again"
    assert {"section", "section heatmap", "section lesions"} == {layer.name for layer in viewer.layers}

    press(viewer, dock.slide.to_world((12.5 * TILE, 2.5 * TILE)))
    assert person.lesion_table.selected == (2,)
    person.clicks("lesion_class")
    person.until(lambda: person.rows()[1][1] == "benign *")
    person.waits()
    assert [row["label"] for row in read_table(analysis.path / "lesions.csv")] == ["malignant", "benign"]

    person.lesion_table.selectAll()
    person.clicks("lesion_merge")
    person.until(lambda: len(person.rows()) == 1)
    person.waits()
    person.clicks("lesion_undo")
    person.until(lambda: len(person.rows()) == 2)
    person.waits()

    person.lesion_table.clearSelection()
    person.lesion_table.selectRow(0)
    person.cuts((6.0 * TILE, 4.0 * TILE), (6.0 * TILE, 12.0 * TILE))
    person.until(lambda: len(person.rows()) == 3)
    person.waits()
    person.lesion_table.clearSelection()
    person.lesion_table.selectRow(2)
    person.qtbot.keyClick(person.lesion_table, Qt.Key.Key_Delete)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()

    viewer.layers.clear()
    person.opens_slides(slide_path)
    person.until(lambda: len(person.rows()) == 2)
    assert [row[1] for row in person.rows()] == ["malignant *", "benign *"]


def test_the_heatmap_is_shown_after_a_slide_is_analyzed_again_left_and_opened_again(
    analysed, launched, slide_path, tmp_path, monkeypatch
):
    person, viewer, dock = analysed, analysed.viewer, analysed.dock
    monkeypatch.setattr("napari_melanoma.ui.slide.analysis.confirm", lambda *_: True)
    launched.fingerprint = dock.slide.info.fingerprint
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    person.clicks("previous_slide")
    person.until(lambda: person.session is not None)
    person.waits()
    person.analyses()
    heat = viewer.layers["section heatmap"]
    person.until(lambda: not np.isfinite(heat.data).any())  # that of the previous analysis
    for step in ("next_slide", "previous_slide"):
        person.clicks(step)
        person.until(lambda: person.session is not None)
    person.until(lambda: dock.run_panel.active)
    assert person.session.heatmap_display.value.visible
    viewer.layers.clear()
    person.waits()
    person.opens_slides(slide_path)
    launched.last.works(40)
    person.until(lambda: "section heatmap" in viewer.layers)
    person.waits()
    assert viewer.layers["section heatmap"].visible
    assert person.session.heatmap_display.value.visible
    launched.last.finishes()
    person.until(lambda: len(person.rows()) == 2)
    person.waits()


def test_results_that_are_searched_twice_are_followed_by_one_controller(analysed, tmp_path):
    person, dock = analysed, analysed.dock
    first = dock.analysis
    dock.run_manager.find_results(dock.slide.info, dock.slide.identity, person.session.notes.value)
    person.until(lambda: dock.analysis is not first)
    person.waits()
    person.until(lambda: dock.findChildren(AnalysisController) == [dock.analysis])
    session = person.session
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    person.until(lambda: dock.findChildren(AnalysisController) == [dock.analysis])
    dock.launcher.not_launched.emit()
    assert session.results.value.content, "the results of the other slide are not touched"


@pytest.mark.path
def test_analysis_is_detached_found_cancelled_and_resumed_if_a_tile_finished(person, launched, slide_path, tmp_path):
    dock = person.dock
    person.opens_slides(slide_path)
    launched.fingerprint = dock.slide.info.fingerprint
    person.analyses()
    launched.last.works(10)
    person.clicks("run_detach")
    assert not dock.run_panel.isVisibleTo(dock)
    assert "continues in the background" in dock.status.text

    person.viewer.layers.clear()
    person.opens_slides(slide_path)
    person.until(lambda: dock.run_panel.active)
    person.until(lambda: "10 / 224" in person.label_text("run_state"))
    assert "finished tiles are kept" in dock.run_panel.buttons.cancel.toolTip()  # not epochs, as of a training
    person.clicks("run_cancel")
    person.until(lambda: launched.last.place.read_command() == "cancel")
    launched.last.place.append_final_event("cancelled")
    launched.last.dies()
    person.until(lambda: dock.run_panel.buttons.resume.isEnabled())
    assert person.label_text("run_state").endswith("and kept. Press Resume to continue from there.")
    assert "Canceled" not in dock.status.text  # it is shown once, in the run panel
    assert dock.analyze_button.isEnabled()
    person.clicks("run_resume")
    person.until(lambda: len(launched.options) == 2)
    person.until(lambda: dock.run_panel.active)
    person.waits()

    # One that was canceled before its first tile cannot be resumed.
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    launched.fingerprint = dock.slide.info.fingerprint
    person.analyses()
    person.clicks("run_cancel")
    person.until(lambda: launched.last.place.read_command() == "cancel")
    launched.last.place.append_final_event("cancelled")
    launched.last.dies()
    person.until(lambda: person.label_text("run_state").startswith("Canceled: no tile finished."))
    assert not dock.run_panel.buttons.resume.isEnabled()
    assert dock.run_panel.buttons.resume.toolTip() == "Press Analyze to start again."
    person.waits()


def test_results_with_other_options_are_replaced_only_after_confirmation(person, launched, slide_path, monkeypatch):
    dock, questions = person.dock, []
    person.opens_slides(slide_path)
    launched.fingerprint = dock.slide.info.fingerprint
    FakeAnalysis(dock.result_location.folder, slide_path, launched.fingerprint, "older").begins().finishes()
    answers = iter([QMessageBox.StandardButton.Cancel, "replace"])

    def answered(box):
        questions.append(box.informativeText())
        wanted = next(answers)
        pressed = box.button(wanted) if wanted != "replace" else box.findChild(QWidget, "replace")
        box.deleteLater()
        return pressed

    monkeypatch.setattr("napari_melanoma.ui.widgets.dialogs.exec_question", answered)
    dock.model_picker.model = "tiny"
    dock.model_picker.changed.emit()
    person.clicks("primary")
    person.until(lambda: len(questions) == 1)
    person.waits()
    assert "computed with older" in questions[0]
    assert launched.options == []
    person.clicks("primary")
    person.until(lambda: launched.forced == [True])
    person.until(lambda: dock.run_panel.active)
    launched.last.dies()
    person.waits()


@pytest.mark.path
def test_invalid_input_is_reported_and_fluorescence_not_analyzed(person, launched, slide_path, tmp_path):
    from napari_melanoma.core.errors import RunError

    dock, bad = person.dock, tmp_path / "letter.svs"
    bad.write_text("no slide")
    person.opens_slides(bad, slide_path)
    assert "letter.svs" in dock.status.text
    assert len(person.viewer.layers) == 1
    person.names("timm:nothing")
    assert dock.model_picker.model == "timm:nothing"
    assert dock.analyze_button.isEnabled()
    launched.error = RunError("section is being analyzed already.")
    person.clicks("primary")
    person.until(lambda: "already" in dock.status.text)
    person.waits()
    assert dock.analyze_button.isEnabled()
    person.qtbot.mouseClick(dock.analyze_button, Qt.MouseButton.LeftButton)
    person.qtbot.mouseClick(dock.analyze_button, Qt.MouseButton.LeftButton)
    person.waits()

    # Fluorescence is shown, but not analyzed.
    person.viewer.layers.clear()
    person.opens_slides(draw_fluorescence(tmp_path / "stained.ome.tif"))
    assert [layer.name.split()[-1] for layer in person.viewer.layers] == ["DAPI", "FITC"]
    assert "2 channels" in person.label_text("slide_about")
    dock.model_picker.model = "tiny"
    dock.model_picker.changed.emit()
    assert not dock.analyze_button.isEnabled()
    assert "fluorescence" in dock.analyze_button.toolTip()
    assert "brightfield stains" in person.label_text("slide_warnings")
    assert not person.opens_section("Tissue").isEnabled()


def test_viewer_process_does_not_import_torch():
    modules = "napari_melanoma.ui.slide.dock, napari_melanoma.slides.saved_results"
    code = f"import sys, {modules}; assert not {{'torch', 'pandas', 'zarr', 'tifffile'}} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).stderr == b""


def test_no_control_moves_while_a_slide_is_read_and_analyzed(analysed, tmp_path):
    person, dock = analysed, analysed.dock

    def shows(label, text=LONG_TEXT):
        label.setText(text)
        label.show()

    states = {
        "idle": lambda: None,
        **list_message_states(dock.status),
        "a warning": lambda: shows(dock.picker.warning_label),
        "slides are analyzed": lambda: shows(dock.notice),
        "the slide is hidden": lambda: shows(dock.hidden_notice),
        "the slide is shown": dock.hidden_notice.hide,
        "no warning": dock.picker.warning_label.hide,
    }
    moved = list_moved_controls(dock, states, person.waits)
    run = {
        "queued": dock.run_panel.show,
        "running": lambda: shows(dock.run_panel.findChild(QLabel, "run_state")),
        "canceled": lambda: shows(dock.run_panel.findChild(QLabel, "run_state"), "Canceled."),
    }
    moved += list_moved_controls(dock, run)
    others = {
        "a slide": lambda: None,
        "another slide": lambda: person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9)),
        "a slide without a scale": lambda: person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None)),
    }
    moved += list_moved_controls(dock, others, person.waits, lambda: (dock.picker, dock._files, dock.status))
    assert not moved, moved


def test_no_control_moves_while_the_depth_is_measured(person, slide_path):
    person.opens_slides(slide_path)
    opens_depth(person)
    view = depth_section(person)

    def shows(name, text):
        label = person.finds(QLabel, name)
        label.setText(text)
        label.setVisible(bool(text))

    def proposes(summary, *labels):
        shows("depth_found", summary)
        view._proposal_list.addItems(labels)
        view._proposal_list.setVisible(bool(labels))

    states = {
        "not measured": lambda: None,
        "measured": lambda: draws(person),
        "the ends are moved": lambda: person.clicks("depth_move"),
        "no tool": lambda: person.clicks("depth_move"),
        "a long headline": lambda: shows("depth_head", LONG_TEXT),
        "warnings": lambda: shows("depth_warning", f"{LONG_TEXT}<br>{LONG_TEXT}"),
        "a source": lambda: shows("depth_origin", LONG_TEXT),
        "the depth of a network": lambda: shows("depth_network", LONG_TEXT),
        "locked": lambda: shows("depth_lock", LONG_TEXT),
        "other readers": lambda: view._reader_table.show_rows((("A", *" " * 5), ("B", *" " * 5))),
        "their differences": lambda: shows("depth_others", LONG_TEXT),
        "a model has found nothing": lambda: proposes("Nothing was found."),
        "a run": view.analysis.show,
        "no run": view.analysis.hide,
        "a prediction": lambda: proposes(LONG_TEXT, "0.20 mm", "0.10 mm"),
        "another text": lambda: proposes("One line."),
    }
    moved = list_moved_controls(view, states, person.waits)
    assert not moved, moved


def test_no_control_moves_while_a_synoptic_report_is_filled_in_and_signed(person, slide_path):
    person.opens_slides(slide_path)
    view = person.opens_section("Synoptic report")
    form, empty, time = view.form, SynopticReport(), "2026-01-01T00:00:00+00:00"
    measured = empty.set_answer("breslow", SynopticAnswer(value=1.3), "A", time)
    suggested = measured.set_answer("ulceration", SynopticAnswer(value="present", suggested_by="case"), "A", time)
    signed = measured.sign("A", time, {})

    def shows(report, *changes):
        form.show_report(report, "A", changes, is_editable=True)

    states = {
        "empty": lambda: shows(empty),
        "a thickness": lambda: shows(measured),
        "suggestions": lambda: shows(suggested),
        "confirmed": lambda: shows(measured),
        "signed": lambda: shows(signed),
        "changed since": lambda: shows(signed, LONG_TEXT, LONG_TEXT),
        "unchanged": lambda: shows(signed),
        "an addendum": lambda: shows(signed.add_addendum(LONG_TEXT, "A", time)),
        "reopened": lambda: shows(measured),
    }
    moved = list_moved_controls(view, states, person.waits)
    assert not moved, moved


def test_no_control_moves_while_the_class_of_the_heatmap_is_selected(analysed):
    view, results = analysed.opens_section("Heatmap"), analysed.session.results
    first, heat = results.value, results.value.heatmap
    colors = {f"class {number}": "#e69f00" for number in range(9)}
    classes = ClassMapData(np.ones(heat.values.shape, np.uint8), heat.placement, colors)

    def shows(**changes):
        results.set(replace(first, **changes))

    states = {
        "a class": lambda: None,
        "all classes": lambda: shows(heatmap=replace(heat, class_map=classes, shows_classes=True)),
        "a class again": lambda: shows(),
        "no tiles": lambda: shows(heatmap=replace(heat, tiles=())),
    }
    moved = list_moved_controls(view, states, analysed.waits)
    assert not moved, moved

"""Analysis of the view, with results separate from those of the whole slide."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from fake_slides import FakeAnalysis, draw_slide
from qtpy.QtWidgets import QComboBox, QMessageBox, QPushButton, QWidget
from slide_fixtures import UNSEEN

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError, RunError
from napari_melanoma.io.results import read_table
from napari_melanoma.slides.notes import SlideNotes, write_notes
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.slides.result_folder import slide_folder
from napari_melanoma.ui.slide import run_manager
from napari_melanoma.ui.slide.analysis import clip_to_slide
from napari_melanoma.ui.viewer.camera import ViewRectangle, get_camera
from napari_melanoma.ui.viewer.view_memory import center_view

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
FRAME = "section view"


@pytest.mark.parametrize(
    ("view", "region"),
    [
        (ViewRectangle(10.4, 20.6, 30.2, 40.0), (10, 20, 31, 41)),
        (ViewRectangle(-50, -60, 1000, 2000), (0, 0, 200, 300)),
        (ViewRectangle(150, 250, 100, 100), (150, 250, 50, 50)),
    ],
    ids=["inside", "all", "at a corner"],
)
def test_view_is_clipped_to_the_slide(view, region):
    assert clip_to_slide(view, (200, 300)) == region


@pytest.mark.parametrize(
    "view", [ViewRectangle(200, 0, 50, 50), ViewRectangle(-90, 10, 90, 50), ViewRectangle(0, 300, 9, 9)]
)
def test_view_outside_the_slide_is_rejected(view):
    with pytest.raises(InputError, match="no part of the slide is in view"):
        clip_to_slide(view, (200, 300))


@pytest.fixture
def ready(analysed, launched):
    """User with an analyzed slide, zoomed to a part of it."""
    dock = analysed.dock
    launched.fingerprint = dock.slide.info.fingerprint
    center_view(analysed.viewer, dock.slide, (200, 260), 200)
    return analysed


def analyses_view(person, launched):
    before = len(launched.options)
    person.clicks("analyse_view")
    person.until(lambda: len(launched.options) > before and person.dock.run_panel.active)


def frame_of(person):
    corners = np.asarray(person.viewer.layers[FRAME].data[0]) + 0.5
    top, left = corners.min(axis=0)
    bottom, right = corners.max(axis=0)
    return round(top), round(left), round(bottom - top), round(right - left)


@pytest.mark.path
def test_view_has_separate_results(ready, launched):
    person, dock, whole = ready, ready.dock, ready.dock.result_location.folder
    wanted = dock.analysis.get_visible_region()
    assert 0 < wanted[3] <= 201
    assert "next to those of the whole slide" in dock.analyze_view_button.toolTip()
    analyses_view(person, launched)
    assert launched.options[-1].region == wanted == frame_of(person)
    assert dock.result_location.folder == whole / "view" / whole.name == launched.last.path
    assert person.rows() == []
    launched.last.finishes()
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    person.lesion_table.selectRow(0)
    person.clicks("lesion_remove")
    person.until(lambda: len(person.rows()) == 1)
    person.waits()
    assert len(read_table(launched.last.path / "lesions.csv")) == 1
    assert len(read_table(whole / "lesions.csv")) == 2

    combo = person.finds(QComboBox, "slide_scope")
    combo.setCurrentIndex(0)
    combo.activated.emit(0)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    assert dock.result_location.folder == whole
    assert FRAME not in person.viewer.layers
    combo.setCurrentIndex(1)
    combo.activated.emit(1)
    person.until(lambda: len(person.rows()) == 1)
    person.waits()


def test_pending_edit_is_applied_to_its_own_lesions(ready, launched):
    person, dock, whole = ready, ready.dock, ready.dock.result_location.folder
    FakeAnalysis(dock.result_location.view_folder, person.analysis.slide, launched.fingerprint).begins().finishes()
    person.viewer.layers.clear()
    person.opens_slides(person.analysis.slide)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    person.lesion_table.selectRow(0)
    person.clicks("lesion_remove")
    person.finds(QComboBox, "slide_scope").activated.emit(1)
    person.until(lambda: person.session.results.value.is_view and len(person.rows()) == 2)
    person.waits()
    assert len(read_table(whole / "lesions.csv")) == 1
    assert len(read_table(dock.result_location.folder / "lesions.csv")) == 2


def test_results_of_a_view_are_restored(person, launched, slide_path):
    dock = person.dock
    person.opens_slides(slide_path)
    launched.fingerprint = dock.slide.info.fingerprint
    dock.model_picker.model = "tiny"
    dock.model_picker.changed.emit()
    center_view(person.viewer, dock.slide, (200, 260), 200)
    analyses_view(person, launched)
    launched.last.options = launched.options[-1].model_dump(mode="json", exclude={"model"})
    launched.last.finishes()
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    wanted = frame_of(person)
    person.viewer.layers.clear()
    person.opens_slides(slide_path)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    assert person.session.results.value.is_view
    assert frame_of(person) == wanted
    assert not dock.findChild(QWidget, "slide_scope").isVisibleTo(dock)  # there is nothing to choose
    assert "Previous analysis" in dock.status.text
    person.clicks("primary")  # the whole slide then
    person.until(lambda: len(launched.options) == 2 and dock.run_panel.active)
    assert launched.options[-1].region is None
    assert launched.forced[-1] is False
    assert FRAME not in person.viewer.layers
    launched.last.dies()
    person.waits()


def test_results_of_another_view_are_replaced_only_after_confirmation(ready, launched, monkeypatch):
    person, dock, requested = ready, ready.dock, []
    analyses_view(person, launched)
    launched.last.options = launched.options[-1].model_dump(mode="json", exclude={"model"})
    launched.last.finishes()
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    kept = frame_of(person)
    answers = iter([QMessageBox.StandardButton.Cancel, "replace"])

    def answered(box):
        requested.append(box.informativeText())
        wanted = next(answers)
        pressed = box.button(wanted) if wanted != "replace" else box.findChild(QWidget, "replace")
        box.deleteLater()
        return pressed

    monkeypatch.setattr("napari_melanoma.ui.widgets.dialogs.exec_question", answered)
    center_view(person.viewer, dock.slide, (100, 100), 120)
    person.clicks("analyse_view")
    person.until(lambda: len(requested) == 1)
    person.waits()
    assert "different region" in requested[0]
    assert frame_of(person) == kept
    assert len(person.rows()) == 2
    combo = person.finds(QComboBox, "slide_scope")
    combo.activated.emit(0)
    person.until(lambda: not person.session.results.value.is_view and len(person.rows()) == 2)
    person.waits()
    person.clicks("analyse_view")
    person.until(lambda: launched.forced[-1] is True)
    person.until(lambda: dock.run_panel.active)
    assert frame_of(person) != kept
    launched.last.dies()
    person.waits()


def test_invalid_repeated_and_failing_starts(ready, launched):
    person, dock = ready, ready.dock
    get_camera(person.viewer).center = (1e6, 1e6)
    person.clicks("analyse_view")
    assert "No part of the slide is in view" in dock.status.text
    assert launched.options == []
    center_view(person.viewer, dock.slide, (200, 260), 200)
    launched.error = RunError("no process could be started.")
    person.clicks("analyse_view")
    person.until(lambda: "No process" in dock.status.text)
    person.until(lambda: len(person.rows()) == 2)  # what there was
    person.waits()
    assert not person.session.results.value.is_view
    launched.error = None
    person.clicks("analyse_view")
    dock.analyze_view_button.click()
    dock.analyze_button.click()
    person.until(lambda: dock.run_panel.active)
    person.waits()
    assert len(launched.options) == 1
    person.viewer.layers.remove(person.viewer.layers["section"])  # while it is at work
    person.waits()
    assert dock.result_location is None
    assert dock.welcome.isVisibleTo(dock)


def test_a_start_succeeds_although_something_else_fails_meanwhile(ready, launched):
    """Such as saving the notes: the analysis of the view was then shown as that of the whole slide."""
    person, dock = ready, ready.dock
    person.clicks("analyse_view")
    assert dock.run_manager.is_starting
    dock.run_manager.failed.emit(InputError("the notes could not be saved."))
    person.until(lambda: dock.run_panel.active)
    person.waits()
    assert person.session.results.value.is_view
    assert FRAME in person.viewer.layers
    launched.last.dies()
    person.waits()


def test_edited_lesions_are_replaced_only_after_confirmation(ready, launched, monkeypatch):
    person, requested = ready, []
    person.lesion_table.selectRow(1)
    person.clicks("lesion_class")
    person.until(lambda: person.rows()[1][1] == "benign *")
    person.waits()

    def answered(box):
        requested.append(box.objectName())
        box.deleteLater()

    monkeypatch.setattr("napari_melanoma.ui.widgets.dialogs.exec_question", answered)
    person.clicks("primary")
    person.waits()
    assert requested == ["replace_lesions"]
    assert launched.options == []

    def agreed(box):
        box.deleteLater()
        return box.findChild(QPushButton, "replace")

    monkeypatch.setattr("napari_melanoma.ui.widgets.dialogs.exec_question", agreed)
    monkeypatch.setattr("napari_melanoma.slides.saved_results.describe_difference", lambda folder, options: "")
    person.clicks("primary")
    person.until(lambda: len(launched.options) == 1)
    assert (person.analysis.path / "lesions-kept-1.geojson").is_file()
    assert [row["label"] for row in read_table(person.analysis.path / "lesions-kept-1.csv")][1] == "benign"


def test_running_analysis_of_a_closed_slide_is_named(person, launched, slide_path, tmp_path):
    dock = person.dock
    person.opens_slides(slide_path)
    fingerprint = dock.slide.info.fingerprint
    FakeAnalysis(dock.result_location.view_folder, slide_path, fingerprint).begins()
    person.viewer.layers.clear()
    dock.run_manager.find_running_slides()
    person.until(lambda: "section.tif" in dock.notice.text())
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))


def test_view_folder_of_an_ambiguous_stem_matches_the_command_line(tmp_path):
    slide = tmp_path / "x.svs"
    slide.write_bytes(b"pixels")
    write_notes(tmp_path / "out" / "x", SlideNotes("of another slide"))
    info = SimpleNamespace(path=slide, fingerprint=slide_fingerprint(slide))
    place = run_manager._find_results(tmp_path / "out", info, "x", RunContext())
    assert place.folder == tmp_path / "out" / f"x-{info.fingerprint[:8]}"
    assert place.view_folder == slide_folder(place.view_out, slide)
    assert (place.is_analyzed, place.is_view_analyzed) == (False, False)

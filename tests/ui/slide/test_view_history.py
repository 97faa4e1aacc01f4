"""Views of a slide: back and forward, 1:1, and the last view and layers when the slide is opened again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_slides import FakeAnalysis, draw_fluorescence, draw_slide
from napari.layers import Points
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QCheckBox, QMessageBox, QSlider, QToolButton
from slide_stage import FIXTURES, with_slide_dock

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.notes import NOTES, LayerDisplay, SlideMeasurement, SlideView, read_notes, write_notes
from napari_melanoma.slides.result_folder import slide_folder
from napari_melanoma.ui.slide import run_manager, view_history
from napari_melanoma.ui.slide.view_history import ViewTrail, get_view
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import center_view, find_canvas
from napari_melanoma.ui.viewer.view_memory import is_fitted

user, launched, slide_path, person, analysed = map(pytest.fixture, FIXTURES)
PLACES = ((100.0, 120.0, 200.0), (300.0, 150.0, 100.0), (250.0, 400.0, 60.0))
NO_KEY, SHIFT_ALT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.AltModifier


def test_a_new_view_replaces_those_that_followed():
    trail, views = ViewTrail(), [SlideView(*place) for place in PLACES]
    for view in views:
        trail.add(view)
        trail.add(SlideView(view.row + 1e-3, view.column, view.width_px))  # closer than a user can see
    assert trail.views == views
    trail.current = 0
    trail.add(views[2])
    assert (trail.views, trail.current) == ([views[0], views[2]], 1)
    for number in range(2 * view_history.MAX_VIEWS):
        trail.add(SlideView(number, 0.0, 10.0))
    assert len(trail.views) == view_history.MAX_VIEWS == trail.current + 1


def looks_at(person, row, column, width):
    """Move the view, and stay there until it has settled."""
    views = len(person.dock.view_history.trail.views)
    center_view(person.viewer, person.dock.slide, (row, column), width)
    person.until(lambda: len(person.dock.view_history.trail.views) == views + 1)


def place_of(person):
    view = get_view(person.dock.context, person.dock.slide)
    return view.row, view.column, view.width_px


@pytest.mark.both_qts
@pytest.mark.parametrize("how", ["buttons", "keys", "mouse"])
def test_back_and_forward_among_settled_views(person, slide_path, how):
    person.opens_slides(slide_path)
    person.until(lambda: len(person.dock.view_history.trail.views) == 1)
    for row, column, width in PLACES:
        center_view(person.viewer, person.dock.slide, (row + 30, column), 2 * width)  # passed on the way
        looks_at(person, row, column, width)
    canvas = find_canvas(person.dock.window())
    person.dock.window().activateWindow()
    person.until(lambda: QApplication.activeWindow() is person.dock.window())

    def steps(by):
        name = "view_back" if by < 0 else "view_forward"
        if how == "buttons":
            person.clicks(name)
        elif how == "keys":
            QTest.keyClick(canvas, Qt.Key.Key_Left if by < 0 else Qt.Key.Key_Right, SHIFT_ALT)
        else:
            button = Qt.MouseButton.BackButton if by < 0 else Qt.MouseButton.ForwardButton
            QTest.mouseClick(canvas, button, NO_KEY, QPoint(50, 50))

    for place in (PLACES[1], PLACES[0]):
        steps(-1)
        person.until(lambda place=place: place_of(person) == pytest.approx(place))
    person.qtbot.wait(2 * view_history.SETTLE_MS)
    steps(1)
    assert place_of(person) == pytest.approx(PLACES[1])
    steps(1)
    assert place_of(person) == pytest.approx(PLACES[2])
    assert not person.finds(QToolButton, "view_forward").isEnabled()
    for _ in range(3):
        steps(-1)
    assert is_fitted(person.viewer, tuple(person.dock.slide.layers))
    assert not person.finds(QToolButton, "view_back").isEnabled()


def test_a_view_that_is_left_at_once_is_a_view(person, slide_path):
    person.opens_slides(slide_path)
    looks_at(person, *PLACES[0])
    center_view(person.viewer, person.dock.slide, (300, 300), 80)
    person.dock.view_history.step(-1)
    assert place_of(person) == pytest.approx(PLACES[0])


def test_one_to_one_is_a_screen_pixel_for_each_pixel(person, tmp_path):
    person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None))
    person.clicks("actual_pixels")
    width = person.viewer.canvas.size[1]
    assert place_of(person)[2] == pytest.approx(width)


def stored_place(folder):
    view = read_notes(folder).view
    return view.row, view.column, view.width_px


def notes_of(person):
    return read_notes(person.dock.result_location.folder)


def open_located(person, path):
    """Open a slide, and wait until its stored view was restored."""
    person.opens_slides(path)
    person.until(lambda: person.dock.result_location is not None)
    person.waits()


def test_view_and_rotation_are_restored_in_another_session(person, slide_path, qtbot):
    open_located(person, slide_path)
    person.clicks("rotate_right")
    looks_at(person, *PLACES[1])
    person.clicks("close_slide")
    person.waits()
    assert person.dock.slide is None
    [other] = closes_the_dock_and_opens_another(person, qtbot)
    open_located(other, slide_path)
    assert other.dock.slide.angle == 90
    assert place_of(other) == pytest.approx(PLACES[1])
    for part in other.parts:
        next(part, None)


def closes_the_dock_and_opens_another(person, qtbot):
    viewer = person.viewer
    viewer.window.remove_dock_widget(person.dock)
    made = with_slide_dock(viewer, qtbot)
    other = next(made)
    other.parts = [made]
    return [other]


def test_view_is_saved_when_the_dock_is_hidden_and_when_layers_are_deleted(person, slide_path):
    open_located(person, slide_path)
    folder = person.dock.result_location.folder
    assert not (folder / NOTES).exists()  # a slide that was only opened
    looks_at(person, *PLACES[0])
    person.dock.hide()
    assert stored_place(folder) == pytest.approx(PLACES[0])  # at once: the window may be about to close
    person.dock.show()
    looks_at(person, *PLACES[2])
    person.viewer.layers.clear()
    person.waits()
    assert stored_place(folder) == pytest.approx(PLACES[2])


def test_view_is_saved_after_a_while(person, slide_path):
    open_located(person, slide_path)
    person.dock.memory._timer.setInterval(20)
    looks_at(person, *PLACES[0])
    folder = person.dock.result_location.folder
    person.until(lambda: read_notes(folder).view is not None)
    assert stored_place(folder) == pytest.approx(PLACES[0])


def test_view_of_another_slide_is_saved_on_switching(person, slide_path, tmp_path):
    open_located(person, slide_path)
    looks_at(person, *PLACES[0])
    folder = person.dock.result_location.folder
    open_located(person, draw_slide(tmp_path / "second.tif", tint=3))
    person.waits()
    assert stored_place(folder) == pytest.approx(PLACES[0])
    person.dock.picker.step(1)
    assert place_of(person) == pytest.approx(PLACES[0])
    person.waits()
    assert place_of(person) == pytest.approx(PLACES[0])


def test_a_fitted_slide_is_fitted_again(person, slide_path):
    open_located(person, slide_path)
    looks_at(person, *PLACES[0])
    person.clicks("fit_slide")
    person.until(lambda: person.dock.view_history.trail.current == 2)
    person.clicks("close_slide")
    person.waits()
    open_located(person, slide_path)
    assert notes_of(person).view is None
    assert is_fitted(person.viewer, tuple(person.dock.slide.layers))


def test_a_view_that_the_user_has_moved_is_not_replaced(person, slide_path, monkeypatch):
    open_located(person, slide_path)
    looks_at(person, *PLACES[0])
    person.clicks("close_slide")
    person.waits()
    restore = person.dock.memory.restore
    held = []
    monkeypatch.setattr(person.dock.memory, "restore", held.append)
    person.opens_slides(slide_path)
    person.until(lambda: bool(held))
    center_view(person.viewer, person.dock.slide, PLACES[1][:2], PLACES[1][2])
    restore(held[0])
    assert place_of(person) == pytest.approx(PLACES[1])


def test_notes_of_a_read_only_folder_are_kept_in_a_private_copy(person, slide_path, user):
    open_located(person, slide_path)
    folder = person.dock.result_location.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("no folder can be made here")
    looks_at(person, *PLACES[0])
    person.clicks("close_slide")
    person.waits()
    assert "cannot write" not in person.dock.status.text
    open_located(person, slide_path)
    assert place_of(person) == pytest.approx(PLACES[0])
    private = user / "data" / "napari-melanoma" / run_manager.PRIVATE_NOTES
    assert [path.name for path in private.rglob(NOTES)] == [NOTES]


NEWER = '{"format_version": 2, "bookmarks": {"ulcer": [1, 2]}}'


def test_notes_that_cannot_be_read_are_not_replaced_by_looking_at_the_slide(person, slide_path):
    folder = slide_folder(person.dock.run_manager.root, slide_path)
    folder.mkdir(parents=True)
    (folder / NOTES).write_text(NEWER)
    open_located(person, slide_path)
    assert "cannot be read" in person.dock.status.text
    looks_at(person, *PLACES[0])
    person.dock.hide()
    person.dock.show()
    person.waits()
    assert (folder / NOTES).read_text() == NEWER
    person.dock.navigation.add_bookmark()
    person.waits()
    assert "backed up as view-" in person.dock.status.text
    [backup] = folder.glob("view-*.json")
    assert backup.read_text() == NEWER
    assert len(read_notes(folder).bookmarks) == 1


def test_saving_the_view_keeps_what_another_window_has_saved(person, slide_path):
    open_located(person, slide_path)
    person.dock.navigation.add_bookmark()
    person.waits()
    folder = person.dock.result_location.folder
    notes = read_notes(folder)
    lesions = {"lesions": LayerDisplay(False)}
    line = SlideMeasurement("line", ((1.0, 2.0), (3.0, 4.0)))
    write_notes(folder, replace(notes, measures=(line,), pixel_size=PixelSize(2.0, 2.0, "given"), layers=lesions))
    looks_at(person, *PLACES[0])
    person.dock.hide()
    stored = read_notes(folder)
    assert stored.view is not None
    assert (stored.measures, stored.pixel_size, stored.layers) == ((line,), PixelSize(2.0, 2.0, "given"), lesions)
    assert stored.bookmarks == notes.bookmarks


def test_an_angle_of_the_notes_with_a_set_scale_keeps_the_view_on_switching(person, slide_path, tmp_path):
    open_located(person, slide_path)
    person.dock.picker.scale_button.click()
    person.dock.scale_panel._number.setValue(2.0)
    person.clicks("scale_set")
    looks_at(person, *PLACES[0])
    open_located(person, draw_slide(tmp_path / "second.tif", tint=3))
    person.dock.picker.step(1)
    person.waits()
    assert place_of(person) == pytest.approx(PLACES[0])


def test_hidden_layers_stay_hidden(analysed):
    viewer, dock = analysed.viewer, analysed.dock
    viewer.layers["section lesions"].visible = False
    analysed.finds(QSlider, "slide_opacity").setValue(25)
    path = dock.slide.info.path
    analysed.clicks("close_slide")
    analysed.waits()
    layers = read_notes(analysed.analysis.path).layers
    assert layers == {"lesions": LayerDisplay(False, layers["lesions"].opacity), "heatmap": LayerDisplay(True, 0.25)}
    dock.settings.set("slide/opacity", 80)
    analysed.opens_slides(path)
    analysed.until(lambda: len(analysed.rows()) == 2)
    analysed.waits()
    analysed.until(lambda: not viewer.layers["section lesions"].visible)
    assert viewer.layers["section heatmap"].opacity == 0.25
    assert analysed.finds(QSlider, "slide_opacity").value() == 25
    analysed.finds(QCheckBox, "slide_heatmap").click()
    analysed.clicks("close_slide")
    analysed.waits()
    analysed.opens_slides(path)
    analysed.until(lambda: len(analysed.rows()) == 2)
    analysed.waits()
    assert not viewer.layers["section heatmap"].visible
    assert not analysed.finds(QCheckBox, "slide_heatmap").isChecked()


def test_hidden_layers_stay_hidden_on_switching(analysed, tmp_path):
    lesions = analysed.viewer.layers["section lesions"]
    lesions.visible = False
    open_located(analysed, draw_slide(tmp_path / "second.tif", tint=3))
    analysed.dock.picker.step(1)
    assert analysed.dock.slide.is_shown
    assert not lesions.visible


def test_overlays_of_a_hidden_slide_are_hidden_with_it(analysed, tmp_path):
    analysed.dock.slide.layers[0].visible = False
    analysed.viewer.layers["section lesions"].visible = True
    open_located(analysed, draw_slide(tmp_path / "second.tif", tint=3))
    assert not analysed.viewer.layers["section lesions"].visible


def test_channels_are_restored(person, tmp_path):
    path = draw_fluorescence(tmp_path / "cells.ome.tif")
    open_located(person, path)
    first, second = person.dock.slide.layers
    person.clicks("rotate_right")
    assert (first.affine.affine_matrix == second.affine.affine_matrix).all()
    first.visible, second.contrast_limits, second.opacity = False, (100, 900), 0.5
    person.qtbot.wait(10)
    assert person.dock.slide.info.path == path  # one channel is hidden, not the slide
    person.clicks("close_slide")
    person.waits()
    open_located(person, path)
    first, second = person.dock.slide.layers
    assert (first.visible, second.visible) == (False, True)
    assert (list(second.contrast_limits), second.opacity) == ([100, 900], 0.5)


def test_display_of_a_channel_is_restored_after_another_was_deleted(person, tmp_path):
    path = draw_fluorescence(tmp_path / "cells.ome.tif")
    open_located(person, path)
    person.viewer.layers.remove(person.dock.slide.layers[0])
    [second] = person.dock.slide.layers
    second.contrast_limits, second.opacity = (100, 900), 0.5
    person.waits()
    person.clicks("close_slide")
    person.waits()
    open_located(person, path)
    first, second = person.dock.slide.layers
    assert (first.opacity, second.opacity) == (1, 0.5)
    assert list(first.contrast_limits) != [100, 900] == list(second.contrast_limits)


def test_the_counts_stay_hidden(person, slide_path):
    open_located(person, slide_path)
    layer = slide_layers.get_or_add_layer(person.viewer, person.dock.slide, "counts", lambda: Points(ndim=2))
    person.waits()
    layer.visible = False
    person.dock.hide()
    assert not notes_of(person).layers["counts"].visible


def test_sections_show_the_slide_that_was_switched_to_meanwhile(person, slide_path, tmp_path, monkeypatch):
    open_located(person, slide_path)
    open_located(person, draw_slide(tmp_path / "second.tif", tint=3))
    dock = person.dock
    steps, show = [1], dock.counts.set_slide

    def switch(slide):
        show(slide)
        if steps:
            dock.picker.step(steps.pop())

    monkeypatch.setattr(dock.counts, "set_slide", switch)
    dock.picker.step(1)
    person.waits()
    slide = dock.picker.slide
    assert steps == []
    assert dock.slide.identity == slide.identity
    assert {dock.sections.measurements._slide.identity, dock.memory._slide.identity} == {slide.identity}


@pytest.mark.parametrize(
    ("button", "is_closed", "command"),
    [("Keep the analysis running", True, None), ("Cancel the analysis", True, "cancel"), ("Do not close", False, None)],
)
def test_closing_a_slide_that_is_analyzed_is_confirmed(person, slide_path, monkeypatch, button, is_closed, command):
    open_located(person, slide_path)
    folder = person.dock.result_location.folder
    FakeAnalysis(folder, slide_path, person.dock.slide.info.fingerprint).begins()
    person.dock._on_slide()
    person.until(lambda: person.dock.run_panel.active)
    sent = []
    monkeypatch.setattr(person.dock.run_manager, "send_command", lambda folder, command: sent.append(command))

    def press(box):
        next(one for one in box.buttons() if one.text() == button).click()

    monkeypatch.setattr(QMessageBox, "exec", press)
    person.clicks("close_slide")
    assert sent == ([command] if command else [])
    assert (person.dock.slide is None) == is_closed
    assert bool(person.viewer.layers) != is_closed


def test_closing_saves_unsaved_lesions(analysed):
    analysed.dock.heatmap_controls.threshold_box.setValue(0.8)
    analysed.until(lambda: len(analysed.rows()) == 1)
    analysed.waits()
    assert not analysed.dock.lesions.findings.saved
    path = analysed.dock.slide.info.path
    analysed.clicks("close_slide")
    analysed.waits()
    assert analysed.dock.slide is None
    analysed.opens_slides(path)
    analysed.until(lambda: len(analysed.rows()) == 1)


def test_next_slide_is_shown_after_closing_one(person, slide_path, tmp_path):
    open_located(person, slide_path)
    open_located(person, draw_slide(tmp_path / "second.tif", tint=3))
    window = person.dock.window()
    window.activateWindow()
    person.until(lambda: QApplication.activeWindow() is window)
    QTest.keyClick(
        find_canvas(window),
        Qt.Key.Key_X,
        Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier,
    )
    person.until(lambda: person.dock.slide.info.path == slide_path)
    assert person.dock.slide.is_shown


def test_notes_with_a_view_of_an_older_version_are_complete(person, slide_path):
    open_located(person, slide_path)
    folder = person.dock.result_location.folder
    write_notes(folder, read_notes(folder))
    person.viewer.layers.clear()
    open_located(person, slide_path)
    assert is_fitted(person.viewer, tuple(person.dock.slide.layers))

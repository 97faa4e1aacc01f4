"""Views of a slide: back and forward, 1:1, and the last view and layers when the slide is opened again."""

from __future__ import annotations

from dataclasses import replace
from threading import current_thread, main_thread

import pytest
from fake_slides import FakeAnalysis, draw_fluorescence, draw_slide
from napari.layers import Points
from napari.utils.notifications import notification_manager
from qtpy.compat import isalive
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QCheckBox, QMessageBox, QSlider, QToolButton
from slide_fixtures import UNSEEN, with_slide_dock

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.notes import (
    NOTES,
    LayerDisplay,
    NotesFile,
    SlideMeasurement,
    read_notes,
    write_notes,
)
from napari_melanoma.slides.result_folder import slide_folder
from napari_melanoma.ui.sections.overview.memory import DisplayMemory
from napari_melanoma.ui.session.navigation import SETTLE_MS
from napari_melanoma.ui.session.tissue import CORRECTED_FILE
from napari_melanoma.ui.slide import run_manager
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import find_canvas
from napari_melanoma.ui.viewer.view_memory import center_view, get_view, is_fitted

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
PLACES = ((100.0, 120.0, 200.0), (300.0, 150.0, 100.0), (250.0, 400.0, 60.0))
NO_KEY, SHIFT_ALT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.AltModifier


def looks_at(person, row, column, width):
    """Move the view, and stay there until it has settled."""
    views = len(person.session.view_history.trail.views)
    center_view(person.viewer, person.dock.slide, (row, column), width)
    person.until(lambda: len(person.session.view_history.trail.views) == views + 1)


def place_of(person):
    view = get_view(person.viewer, person.dock.slide)
    return view.row, view.column, view.width_px


@pytest.mark.path
@pytest.mark.both_qts
@pytest.mark.usefixtures("shown_viewer")
def test_back_and_forward_among_settled_views(person, slide_path):
    person.opens_slides(slide_path)
    person.until(lambda: len(person.session.view_history.trail.views) == 1)
    for row, column, width in PLACES:
        center_view(person.viewer, person.dock.slide, (row + 30, column), 2 * width)  # passed on the way
        looks_at(person, row, column, width)
    person.dock.window().activateWindow()
    person.until(lambda: QApplication.activeWindow() is person.dock.window())
    for how in ("buttons", "keys", "mouse"):
        for place in (PLACES[1], PLACES[0]):
            steps(person, how, -1)
            person.until(lambda place=place: place_of(person) == pytest.approx(place))
        person.qtbot.wait(2 * SETTLE_MS)
        for place in (PLACES[1], PLACES[2]):
            steps(person, how, 1)
            assert place_of(person) == pytest.approx(place), how
        assert not person.finds(QToolButton, "view_forward").isEnabled()
        for _ in range(3):
            steps(person, how, -1)
        assert is_fitted(person.viewer, tuple(person.dock.slide.layers))
        assert not person.finds(QToolButton, "view_back").isEnabled()
        for _ in range(3):
            steps(person, how, 1)

    # A view that is left at once is a view.
    center_view(person.viewer, person.dock.slide, (300, 300), 80)
    person.session.view_history.step(-1)
    assert place_of(person) == pytest.approx(PLACES[2])


def steps(person, how, by):
    """Go back or forward by a button, keys or the mouse."""
    canvas = find_canvas(person.dock.window())
    if how == "buttons":
        person.clicks("view_back" if by < 0 else "view_forward")
    elif how == "keys":
        QTest.keyClick(canvas, Qt.Key.Key_Left if by < 0 else Qt.Key.Key_Right, SHIFT_ALT)
    else:
        button = Qt.MouseButton.BackButton if by < 0 else Qt.MouseButton.ForwardButton
        QTest.mouseClick(canvas, button, NO_KEY, QPoint(50, 50))


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


def test_view_and_rotation_are_restored_in_another_session(person, slide_path, qtbot, monkeypatch):
    open_located(person, slide_path)
    person.clicks("rotate_right")
    looks_at(person, *PLACES[0])
    closes_slide(person)
    assert person.dock.slide is None

    # A view that the user has moved is not replaced by one that is restored late.
    restore = DisplayMemory._restore

    def move_and_restore(memory):
        center_view(person.viewer, person.dock.slide, PLACES[1][:2], PLACES[1][2])
        restore(memory)

    with monkeypatch.context() as patch:
        patch.setattr(DisplayMemory, "_restore", move_and_restore)
        person.opens_slides(slide_path)
        assert place_of(person) == pytest.approx(PLACES[1])
    looks_at(person, *PLACES[2])
    looks_at(person, *PLACES[1])
    closes_slide(person)

    [other] = closes_the_dock_and_opens_another(person, qtbot)
    open_located(other, slide_path)
    assert other.dock.slide.angle == 90
    assert place_of(other) == pytest.approx(PLACES[1])

    # A fitted slide is fitted again.
    looks_at(other, *PLACES[0])
    views = other.session.view_history.trail.current
    other.clicks("fit_slide")
    other.until(lambda: other.session.view_history.trail.current == views + 1)
    closes_slide(other)
    open_located(other, slide_path)
    assert notes_of(other).view is None
    assert is_fitted(other.viewer, tuple(other.dock.slide.layers))
    for part in other.parts:
        next(part, None)


def closes_slide(person):
    person.clicks("close_slide")
    person.waits()


def closes_the_dock_and_opens_another(person, qtbot):
    viewer = person.viewer
    viewer.window.remove_dock_widget(person.dock)
    made = with_slide_dock(viewer, qtbot)
    other = next(made)
    other.parts = [made]
    return [other]


@pytest.mark.usefixtures("shown_viewer")
def test_view_is_saved_after_a_while_and_when_the_dock_is_hidden_or_deleted(person, slide_path, monkeypatch):
    open_located(person, slide_path)
    folder = person.dock.result_location.folder
    assert not (folder / NOTES).exists()  # a slide that was only opened
    looks_at(person, *PLACES[0])
    # Hiding the dock does not wait for a slow disk.
    threads, save = [], NotesFile.save
    with monkeypatch.context() as patch:
        patch.setattr(NotesFile, "save", lambda *args: (threads.append(current_thread()), save(*args))[1])
        person.dock.hide()
        person.waits()
    assert len(threads) == 1
    assert main_thread() not in threads
    assert stored_place(folder) == pytest.approx(PLACES[0])
    person.dock.show()
    person.memory._timer.setInterval(20)
    looks_at(person, *PLACES[1])
    person.until(lambda: stored_place(folder) == pytest.approx(PLACES[1]))
    person.memory._timer.setInterval(60_000)
    looks_at(person, *PLACES[2])
    person.viewer.layers.clear()
    person.waits()
    assert stored_place(folder) == pytest.approx(PLACES[2])

    # Notes of an older version, without a view, are complete.
    write_notes(folder, replace(read_notes(folder), view=None))
    open_located(person, slide_path)
    assert is_fitted(person.viewer, tuple(person.dock.slide.layers))

    # The window closes before the view was saved.
    looks_at(person, *PLACES[1])
    person.viewer.window.remove_dock_widget(person.dock)
    person.until(lambda: not isalive(person.dock))
    assert stored_place(folder) == pytest.approx(PLACES[1])


@pytest.mark.usefixtures("shown_viewer")
def test_the_view_of_each_of_several_slides_is_kept(person, slide_path, tmp_path, monkeypatch):
    dock, second = person.dock, draw_slide(tmp_path / "second.tif", tint=3)
    # It is saved on switching.
    open_located(person, slide_path)
    looks_at(person, *PLACES[0])
    folder = dock.result_location.folder
    open_located(person, second)
    person.waits()
    assert stored_place(folder) == pytest.approx(PLACES[0])
    dock.picker.step(1)
    assert place_of(person) == pytest.approx(PLACES[0])
    person.waits()
    assert place_of(person) == pytest.approx(PLACES[0])

    # A scale that was set, and the angle of the notes, keep it.
    dock.picker.scale_button.click()
    dock.scale_panel._number.setValue(2.0)
    person.clicks("scale_set")
    looks_at(person, *PLACES[1])
    open_located(person, second)
    dock.picker.step(1)
    person.waits()
    assert place_of(person) == pytest.approx(PLACES[1])

    # The next slide is shown after closing one.
    person.opens_slides(second)
    window = dock.window()
    window.activateWindow()
    person.until(lambda: QApplication.activeWindow() is window)
    close = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
    QTest.keyClick(find_canvas(window), Qt.Key.Key_X, close)
    person.until(lambda: dock.slide.info.path == slide_path)
    assert dock.slide.is_shown

    # One to one is a screen pixel for each pixel.
    person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None))
    person.clicks("actual_pixels")
    assert place_of(person)[2] == pytest.approx(person.viewer.canvas.size[1])
    monkeypatch.setattr(type(window), "devicePixelRatioF", lambda self: 2.0, raising=False)  # a canvas of twice as many
    person.clicks("actual_pixels")
    assert place_of(person)[2] == pytest.approx(2 * person.viewer.canvas.size[1])


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
    (folder / CORRECTED_FILE).write_text("no image")
    open_located(person, slide_path)
    assert "cannot be read" in person.dock.status.text
    tissue, notes = (one.message for one in notification_manager.records[-2:])
    assert CORRECTED_FILE in tissue
    assert notes == person.dock.status.text
    looks_at(person, *PLACES[0])
    person.dock.hide()
    person.dock.show()
    person.waits()
    assert (folder / NOTES).read_text() == NEWER
    QTest.mouseClick(person.dock, Qt.MouseButton.LeftButton)  # until then, the error stays
    person.dock.add_bookmark()
    person.waits()
    assert "backed up as view-" in person.dock.status.text
    [backup] = folder.glob("view-*.json")
    assert backup.read_text() == NEWER
    assert len(read_notes(folder).bookmarks) == 1


def test_saving_the_view_keeps_changes_of_another_window(person, slide_path):
    open_located(person, slide_path)
    person.dock.add_bookmark()
    person.waits()
    folder = person.dock.result_location.folder
    notes = read_notes(folder)
    lesions = {"lesions": LayerDisplay(False)}
    line = SlideMeasurement("line", ((1.0, 2.0), (3.0, 4.0)))
    write_notes(folder, replace(notes, measures=(line,), pixel_size=PixelSize(2.0, 2.0, "given"), layers=lesions))
    looks_at(person, *PLACES[0])
    person.dock.hide()
    person.waits()
    stored = read_notes(folder)
    assert stored.view is not None
    assert (stored.measures, stored.pixel_size, stored.layers) == ((line,), PixelSize(2.0, 2.0, "given"), lesions)
    assert stored.bookmarks == notes.bookmarks

    person.dock.show()
    layer = slide_layers.get_or_add_layer(person.viewer, person.dock.slide, "counts", lambda: Points(ndim=2))
    person.waits()
    layer.visible = False
    person.dock.hide()
    person.waits()
    assert not notes_of(person).layers["counts"].visible


def test_hidden_layers_stay_hidden(analysed, tmp_path):
    viewer, dock = analysed.viewer, analysed.dock
    path = dock.slide.info.path

    viewer.layers["section lesions"].visible = False
    analysed.finds(QSlider, "slide_opacity").setValue(25)
    closes_slide(analysed)
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
    closes_slide(analysed)
    analysed.opens_slides(path)
    analysed.until(lambda: len(analysed.rows()) == 2)
    analysed.waits()
    assert not viewer.layers["section heatmap"].visible
    assert not analysed.finds(QCheckBox, "slide_heatmap").isChecked()

    # On switching, too.
    analysed.until(lambda: not viewer.layers["section lesions"].visible)
    open_located(analysed, draw_slide(tmp_path / "second.tif", tint=3))
    dock.picker.step(1)
    assert dock.slide.is_shown
    assert not viewer.layers["section lesions"].visible

    # Overlays of a hidden slide are hidden with it.
    dock.slide.layers[0].visible = False
    viewer.layers["section lesions"].visible = True
    open_located(analysed, tmp_path / "second.tif")
    assert not viewer.layers["section lesions"].visible


def test_closing_saves_unsaved_lesions(analysed):
    path = analysed.dock.slide.info.path
    analysed.sets_threshold(0.8)
    analysed.until(lambda: len(analysed.rows()) == 1)
    analysed.waits()
    assert not analysed.session.lesions.is_saved
    closes_slide(analysed)
    assert analysed.dock.slide is None
    analysed.opens_slides(path)
    analysed.until(lambda: len(analysed.rows()) == 1)


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

    # The display of a channel is restored after another was deleted.
    first.visible = True
    person.viewer.layers.remove(first)
    [second] = person.dock.slide.layers
    second.contrast_limits, second.opacity = (200, 800), 0.7
    person.waits()
    closes_slide(person)
    open_located(person, path)
    first, second = person.dock.slide.layers
    assert (first.opacity, second.opacity) == (1, 0.7)
    assert list(first.contrast_limits) != [200, 800] == list(second.contrast_limits)


def test_closing_a_slide_that_is_analyzed_is_confirmed(person, slide_path, monkeypatch):
    sent, pressed, rejected, analyses = [], [], [], []
    monkeypatch.setattr(person.dock.run_panel, "send_command", lambda command, folder: sent.append((command, folder)))

    def press(box):
        if pressed[-1]:
            next(one for one in box.buttons() if one.text() == pressed[-1]).click()
            return
        box.rejected.connect(lambda: rejected.append(box.text()))
        analyses[-1].finishes()
        person.until(lambda: bool(rejected))  # the analysis has ended

    monkeypatch.setattr(QMessageBox, "exec", press)
    for button, is_closed, commands in (
        ("Do not close", False, []),
        ("Keep the analysis running", True, []),
        ("Cancel the analysis", True, ["cancel"]),
        ("", False, ["cancel"]),
    ):
        open_located(person, slide_path)
        folder = person.dock.result_location.folder
        if not folder.exists():
            analyses.append(FakeAnalysis(folder, slide_path, person.dock.slide.info.fingerprint).begins())
            person.dock._on_slide()
        person.until(lambda: person.dock.run_panel.active)
        pressed.append(button)
        person.clicks("close_slide")
        assert sent == [(command, folder) for command in commands], button
        assert (person.dock.slide is None) == is_closed, button
        assert bool(person.viewer.layers) != is_closed, button

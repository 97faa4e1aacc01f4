"""Keys and mouse on the canvas while a slide is shown, as a user presses them."""

from __future__ import annotations

import numpy as np
import pytest
from canvas_mouse import CanvasMouse
from fake_slides import SIDE, draw_slide
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QCursor, QEnterEvent, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QLineEdit, QWidget
from region_access import are_read, document, opens_section, regions, view
from slide_fixtures import FIXTURES

from napari_melanoma.slides.notes import Bookmark
from napari_melanoma.ui.session.navigation import rotate, show_bookmark
from napari_melanoma.ui.slide.reading_keys import MAGNIFICATIONS, ZOOM_STEP
from napari_melanoma.ui.viewer.camera import find_canvas, get_camera, get_visible_region
from napari_melanoma.ui.viewer.view_memory import center_view, is_fitted

user, launched, slide_path, person, analysed = map(pytest.fixture, FIXTURES)
LEFT, SHIFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.NoModifier
ARROWS = {
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}


@pytest.fixture
def reader(person, slide_path):
    """A user with the keyboard focus on the canvas, who sees a part of a slide."""
    person.opens_slides(slide_path)
    return focus_canvas(person)


def focus_canvas(person):
    window = person.dock.window()
    person.canvas = find_canvas(window)
    window.activateWindow()
    person.canvas.setFocus()
    person.until(lambda: QApplication.activeWindow() is window and person.canvas.hasFocus())
    center_view(person.viewer, person.dock.slide, (256.0, 256.0), 200.0)
    return person


def press(person, *keys, modifier=NONE):
    for key in keys:
        QTest.keyClick(person.canvas, key, modifier)


def view_of(person):
    return get_visible_region(person.viewer, person.dock.slide)


def point_on_slide(person, at):
    """Return the position on the slide, (row, column), that is at a point of the canvas."""
    camera = get_camera(person.viewer)
    size = person.viewer.canvas.size
    world = [
        center + (pixel - side / 2) / camera.zoom
        for center, pixel, side in zip(camera.center[-2:], (at.y(), at.x()), size, strict=True)
    ]
    return person.dock.slide.to_slide(tuple(world))


def test_keys_act_on_the_image_once_a_slide_is_opened_and_after_a_position_was_entered(person, slide_path):
    window, canvas = person.dock.window(), find_canvas(person.dock.window())
    around = next(parent for parent in window.findChildren(QWidget) if type(parent).__name__ == "QtViewer")
    window.activateWindow()
    around.setFocus()  # where napari has it after its start
    person.until(lambda: QApplication.focusWidget() is around)
    person.opens_slides(slide_path)
    assert QApplication.focusWidget() is canvas

    focus_canvas(person)
    field = person.finds(QLineEdit, "go_to")
    field.setFocus()
    person.types("go_to", "over there")
    assert QApplication.focusWidget() is field  # to be corrected
    person.types("go_to", "0.1, 0.05")
    assert QApplication.focusWidget() is canvas


@pytest.mark.path
def test_keys_move_the_view_and_zoom(reader, monkeypatch, tmp_path):
    for angle in (0.0, 90.0):
        check_arrows(reader, angle)
    zoom_is_kept_by_bookmarks(reader)
    rotate(reader.session, 0.0)
    center_view(reader.viewer, reader.dock.slide, (256.0, 256.0), 200.0)
    with monkeypatch.context() as patch:
        check_plus_and_minus(reader, patch)
        check_digits(reader, patch)
    keys_work_while_the_dock_floats(reader)

    # Without a scale a digit says why it does nothing.
    reader.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None))
    focus_canvas(reader)
    press(reader, "1")
    assert "requires the pixel size" in reader.dock.status.text
    press(reader, "0")
    assert get_camera(reader.viewer).zoom == pytest.approx(1)


def check_arrows(reader, angle):
    rotate(reader.session, angle)
    camera, size = get_camera(reader.viewer), np.array(reader.viewer.canvas.size)
    for modifier, share in ((NONE, 0.25), (SHIFT, 1.0)):
        for key, direction in ARROWS.items():
            before = np.array(camera.center[-2:])
            press(reader, key, modifier=modifier)
            moved = (np.array(camera.center[-2:]) - before) * camera.zoom / size
            assert moved == pytest.approx(np.array(direction) * share), (key, modifier)


def check_plus_and_minus(reader, monkeypatch):
    at = QPoint(reader.canvas.width() // 4, reader.canvas.height() // 3)
    monkeypatch.setattr(QCursor, "pos", lambda: reader.canvas.mapToGlobal(at))
    before, zoom = point_on_slide(reader, at), get_camera(reader.viewer).zoom
    for key, steps in ((Qt.Key.Key_Plus, 1), (Qt.Key.Key_Equal, 2), (Qt.Key.Key_Minus, 1)):
        press(reader, key)
        assert get_camera(reader.viewer).zoom == pytest.approx(zoom * ZOOM_STEP**steps)
        assert point_on_slide(reader, at) == pytest.approx(before)
    monkeypatch.setattr(QCursor, "pos", lambda: reader.dock.mapToGlobal(QPoint(5, 5)))
    center = view_of(reader).center
    press(reader, Qt.Key.Key_Plus, modifier=SHIFT)  # as on most keyboards
    assert view_of(reader).center == pytest.approx(center)


def check_digits(reader, monkeypatch):
    """Digits magnify, Home fits, and zero shows pixels: what is at the pointer stays there."""
    viewer, at = reader.viewer, QPoint(reader.canvas.width() // 4, reader.canvas.height() // 3)
    monkeypatch.setattr(QCursor, "pos", lambda: reader.canvas.mapToGlobal(at))
    before = point_on_slide(reader, at)
    for number, magnification in enumerate(MAGNIFICATIONS, start=1):
        press(reader, str(number))
        assert get_camera(viewer).zoom == pytest.approx(magnification / 10), "the slide was scanned at 20x"
        assert point_on_slide(reader, at) == pytest.approx(before)
    press(reader, Qt.Key.Key_0)
    assert get_camera(viewer).zoom == pytest.approx(1 / 0.5)  # 0.5 µm a pixel
    assert point_on_slide(reader, at) == pytest.approx(before)
    press(reader, Qt.Key.Key_Home)
    assert is_fitted(viewer, tuple(reader.dock.slide.layers))


def keys_work_while_the_dock_floats(reader):
    frame = reader.dock.parentWidget()
    frame.setFloating(True)
    reader.dock.picker.changed.emit()
    window = reader.viewer.window._qt_window
    window.activateWindow()
    reader.canvas.setFocus()
    reader.until(lambda: QApplication.activeWindow() is window and reader.canvas.hasFocus())
    zoom = get_camera(reader.viewer).zoom
    press(reader, Qt.Key.Key_Minus)
    assert get_camera(reader.viewer).zoom < zoom
    frame.setFloating(False)


def zoom_is_kept_by_bookmarks(reader):
    zoom = get_camera(reader.viewer).zoom
    reader.dock.add_bookmark()
    [bookmark] = reader.session.notes.value.bookmarks
    assert isinstance(bookmark, Bookmark)
    press(reader, Qt.Key.Key_Home)
    show_bookmark(reader.session, bookmark)
    assert get_camera(reader.viewer).zoom == pytest.approx(zoom)


@pytest.mark.both_qts
def test_tab_cycles_lesions_regions_and_bookmarks(analysed, qtbot):
    dock = analysed.dock
    center_view(analysed.viewer, dock.slide, (300.0, 100.0), 100.0)
    dock.add_bookmark()
    draw_region(analysed)
    focus_canvas(analysed)
    boxes = [lesion.box for lesion in analysed.lesions]
    places = [(box.top + box.height / 2, box.left + box.width / 2) for box in boxes] + [(50.0, 60.0), (300.0, 100.0)]
    texts = ["Lesion 1 of 2", "Lesion 2 of 2", "Region 1 of 1: Melanoma", "Bookmark 1 of 1: place 1"]
    for place, text in zip([*places, places[0]], [*texts, texts[0]], strict=True):
        press(analysed, Qt.Key.Key_Tab)
        assert view_of(analysed).center == pytest.approx(place)
        assert text in dock.status.text
    assert analysed.lesion_table.selected == (analysed.lesions[0].index,)
    analysed.lesion_table.selectRow(1)
    press(analysed, Qt.Key.Key_Tab)
    assert "Region" in dock.status.text
    for text in ("Lesion 2", "Lesion 1", "Bookmark"):
        press(analysed, Qt.Key.Key_Backtab, modifier=SHIFT)
        assert text in dock.status.text
    assert analysed.canvas.hasFocus()


def draw_region(person):
    from napari_melanoma.slides.regions import DEFAULT_CLASSES, region_from_vertices

    corners = np.array([[40, 50], [40, 70], [60, 70], [60, 50]], float)
    person.until(lambda: are_read(person))
    document(person).apply(lambda regions: (*regions, region_from_vertices(corners, DEFAULT_CLASSES[0])))


def test_fields_layers_and_photographs_keep_their_own_keys(reader, qtbot):
    viewer, dock = reader.viewer, reader.dock
    camera = get_camera(viewer)
    # Tab moves the focus where there is nothing to go to.
    press(reader, Qt.Key.Key_Tab)
    assert not reader.canvas.hasFocus()

    # A field in which the user types keeps the keys, wherever the pointer is.
    before = view_of(reader)
    field = reader.finds(QLineEdit, "go_to")
    field.setFocus()
    qtbot.keyClicks(field, "12+3")
    qtbot.keyClick(field, Qt.Key.Key_Home)
    qtbot.keyClick(field, Qt.Key.Key_Right)
    assert (field.text(), field.cursorPosition()) == ("12+3", 1)
    assert view_of(reader) == before
    enters(reader)
    assert QApplication.focusWidget() is field

    # So do layers with tools.
    focus_canvas(reader)
    labels = viewer.add_labels(np.zeros((SIDE, SIDE), np.uint8), scale=dock.slide.pixel_um, units=("um", "um"))
    shapes = viewer.add_shapes(ndim=2, scale=dock.slide.pixel_um, units=("um", "um"))
    points = viewer.add_points(ndim=2, scale=dock.slide.pixel_um, units=("um", "um"))
    zoom = camera.zoom
    viewer.layers.selection.active = labels
    press(reader, "2")
    assert (labels.mode, camera.zoom) == ("paint", zoom)
    label = labels.selected_label
    press(reader, Qt.Key.Key_Equal)
    assert (labels.selected_label, camera.zoom) == (label + 1, zoom)
    viewer.layers.selection.active = shapes
    press(reader, "5")
    assert (shapes.mode, camera.zoom) == ("select", zoom)
    viewer.layers.selection.active = points
    press(reader, "2")
    assert (points.mode, camera.zoom) == ("add", zoom)
    for layer in (labels, shapes, points):
        viewer.layers.selection.active = layer
        center = camera.center[-1]
        press(reader, Qt.Key.Key_Right)
        assert camera.center[-1] > center
    viewer.layers.selection.active = dock.slide.layers[0]
    press(reader, "2")
    assert dock.slide.layers[0].mode == "pan_zoom"
    assert camera.zoom == pytest.approx(0.4)

    press(reader, "Z", modifier=Qt.KeyboardModifier.ControlModifier)
    assert dock.status.text == "There is nothing to undo."

    # Digits with Ctrl are the classes of regions while they are drawn; without, they magnify.
    draw_region(reader)
    opens_section(reader)
    reader.finds(QAbstractButton, "region_rectangle").click()
    zoom = camera.zoom
    press(reader, "3", modifier=Qt.KeyboardModifier.ControlModifier)
    assert view(reader).class_list.current.name == "Epidermis"
    assert camera.zoom == zoom
    press(reader, "3")
    assert camera.zoom == pytest.approx(1.0)

    # Keys are those of napari while a photograph is shown.
    photograph = reader.opens()
    dock.slide.layers[0].visible = False
    zoom = camera.zoom
    viewer.layers.selection.active = photograph
    press(reader, "2", Qt.Key.Key_Home, Qt.Key.Key_Right)
    assert photograph.mode == "transform"
    assert camera.zoom == zoom


def check_double_click(reader):
    """A double click centers; with a tool, it draws."""
    viewer = reader.viewer
    at = QPoint(reader.canvas.width() // 4, reader.canvas.height() // 4)
    wanted, zoom = point_on_slide(reader, at), get_camera(viewer).zoom
    double_click(reader, at)
    assert view_of(reader).center == pytest.approx(wanted, abs=1e-6)
    assert get_camera(viewer).zoom == zoom
    layer = viewer.add_shapes(ndim=2, scale=reader.dock.slide.pixel_um, units=("um", "um"))
    layer.mode = "add_polygon"
    before = view_of(reader)
    for point in (QPoint(60, 60), QPoint(160, 60), QPoint(160, 160)):
        QTest.mouseMove(reader.canvas, point)
        QTest.mouseClick(reader.canvas, LEFT, NONE, point)
    double_click(reader, QPoint(60, 160))
    assert len(layer.data) == 1
    assert view_of(reader) == before


def double_click(person, at):
    QTest.mouseMove(person.canvas, at)
    QTest.mousePress(person.canvas, LEFT, NONE, at)
    QTest.mouseRelease(person.canvas, LEFT, NONE, at)
    QTest.mouseDClick(person.canvas, LEFT, NONE, at)
    person.qtbot.wait(50)


def check_wheel(reader):
    canvas, camera = reader.canvas, get_camera(reader.viewer)
    at = QPointF(canvas.width() * 0.7, canvas.height() * 0.3)
    before, zoom = point_on_slide(reader, at), camera.zoom
    for turn in (120, 120, -120):
        event = QWheelEvent(
            at,
            QPointF(canvas.mapToGlobal(at.toPoint())),
            QPoint(),
            QPoint(0, turn),
            Qt.MouseButton.NoButton,
            NONE,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        previous = camera.zoom
        QApplication.sendEvent(canvas, event)
        reader.until(lambda previous=previous: camera.zoom != previous)
        assert point_on_slide(reader, at) == pytest.approx(before, abs=0.5)
    assert camera.zoom > zoom


@pytest.mark.both_qts
def test_wheel_double_click_and_keys_act_at_the_pointer(reader):
    check_wheel(reader)
    check_double_click(reader)
    reader.viewer.layers.selection.active = reader.dock.slide.layers[0]

    # The keys are for the image when the pointer is there.
    opens_section(reader)
    button = reader.finds(QAbstractButton, "region_rectangle")
    button.setFocus(Qt.FocusReason.MouseFocusReason)
    button.click()
    mouse, camera = CanvasMouse(reader), get_camera(reader.viewer)
    center_view(reader.viewer, reader.dock.slide, (256.0, 256.0), 200.0)
    before = np.array(camera.center[-2:])
    assert QApplication.focusWidget() is button
    enters(reader)
    QTest.keyPress(QApplication.focusWidget(), Qt.Key.Key_Space)
    mouse.drags((256, 256), (280, 300))
    QTest.keyRelease(QApplication.focusWidget(), Qt.Key.Key_Space)
    assert button.isChecked()
    assert regions(reader) == ()
    assert np.abs(np.array(camera.center[-2:]) - before).max() * camera.zoom > 10


def enters(person):
    """Move the pointer into the canvas."""
    at = QPointF(20, 20)
    QApplication.sendEvent(person.canvas, QEnterEvent(at, at, QPointF(person.canvas.mapToGlobal(at.toPoint()))))


def test_the_name_of_a_stop_does_not_stay_above_other_work(analysed, monkeypatch):
    status = analysed.dock.status
    status._brief_timer.setInterval(50)
    analysed.dock.targets.step(1)
    assert status.text == "Lesion 1 of 2: malignant."
    analysed.until(lambda: status.text == "")
    analysed.dock.targets.step(1)
    status.show_message("Saved in results.")
    analysed.qtbot.wait(100)
    assert status.text == "Saved in results.", "a brief message has cleared the next one"

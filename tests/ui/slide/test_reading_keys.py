"""Keys and mouse on the canvas while a slide is shown; no key ends a tool but Escape."""

from __future__ import annotations

import numpy as np
import pytest
from canvas_mouse import CanvasMouse, focus_canvas, press
from fake_slides import SIDE, draw_slide
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QCursor, QEnterEvent, QKeySequence, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QCheckBox, QDockWidget, QLineEdit, QWidget
from region_access import are_read, document, opens_section, regions, selects, view
from slide_fixtures import FIXTURES

from napari_melanoma.slides.counts import CountedPoint
from napari_melanoma.slides.notes import Bookmark
from napari_melanoma.slides.regions import DEFAULT_CLASSES, region_from_vertices
from napari_melanoma.ui.sections.lesions.section import LesionTable
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.session.navigation import rotate, show_bookmark
from napari_melanoma.ui.slide.reading_keys import (
    EDITING_KEYS,
    KEY_TABLE,
    LEAVE,
    MAGNIFICATIONS,
    NAPARI,
    NOTHING,
    OTHER_KEYS,
    ZOOM_STEP,
    resolve_key,
)
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import find_canvas, get_camera, get_visible_region
from napari_melanoma.ui.viewer.view_memory import center_view, is_fitted
from napari_melanoma.ui.widgets.style import CollapsibleSection

user, launched, slide_path, person, analysed = map(pytest.fixture, FIXTURES)
LEFT, SHIFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.NoModifier
ARROWS = {
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}
NONE, SHIFT, CONTROL = (
    Qt.KeyboardModifier.NoModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.ControlModifier,
)
TOOLS = (
    *("region_rectangle", "region_ellipse", "region_add_polygon", "region_add_polygon_lasso", "region_brush"),
    *("region_wand", "region_select", "region_split", "region_refine", "region_hole"),
    *("measure_line", "measure_area", "measure_angle", "count_points"),
    *("depth_draw", "lesion_draw", "lesion_refine", "scale"),
    *("paint_brush", "paint_polygon", "paint_cells", "paint_erase", "paint_similar"),
)
LAYER_KEYS = {
    str(key)
    for name, keys in default_shortcuts.items()
    for key in keys
    if any(part in name for part in ("labels", "points", "shapes", "mode", "shape", "label", "brush", "polygon"))
    and not any(modifier in str(key) for modifier in ("Ctrl", "Alt", "Meta"))
}
STATES = ("view", "tool", "shape", "other")


@pytest.fixture
def reader(person, slide_path):
    """A user with the keyboard focus on the canvas, who sees a part of a slide."""
    person.opens_slides(slide_path)
    return focus_canvas(person)


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


def counted(person):
    return person.session.document(COUNT_DOCUMENT).value


@pytest.fixture
def annotator(analysed):
    """A user with the keyboard focus on the image, all sections open, and no region, point or lesion selected."""
    for section in analysed.dock.findChildren(CollapsibleSection):
        section.expand()
    opens_section(analysed)
    analysed.opens_section("Measure")
    analysed.waits()
    return focus_canvas(analysed)


def list_tools(person):
    """Return the buttons of all tools by name; there must be no others."""
    buttons = {button.objectName(): button for button in person.dock.context.tool_buttons}
    assert set(TOOLS) | {"depth_move"} == set(buttons)
    return {name: buttons[name] for name in TOOLS}


def type_key(person, key):
    """Press a key in napari's notation on the canvas."""
    *modifiers, name = key.split("+") if key not in ("+",) else ("+",)
    code = QKeySequence(name)[0].key() if name != "Shift" else Qt.Key.Key_Shift
    code = Qt.Key.Key_Backtab if key == "Shift+Tab" else code
    QTest.keyClick(person.canvas, code, SHIFT if modifiers else NONE)


@pytest.mark.both_qts
def test_every_key_leaves_every_tool_active_and_moves_the_view_as_without_a_tool(annotator):
    person, camera = annotator, get_camera(annotator.viewer)
    # napari's controls of a layer change the width of the canvas, and with it how far a key moves the view.
    person.dock.window().findChild(QDockWidget, "layer controls").hide()
    person.qtbot.wait(50)
    keys = sorted({*LAYER_KEYS, *KEY_TABLE} - {"Escape"})
    assert {"1", "3", "4", "P", "S", "Tab", "H"} <= set(keys)
    wrong = []
    expected = {}
    for tool in ("", *list_tools(person)):
        button = list_tools(person).get(tool)
        if button is not None:
            button.click()
            assert button.isChecked(), tool
            mode = str(person.viewer.layers.selection.active.mode)
        for key in keys:
            center_view(person.viewer, person.dock.slide, (256.0, 256.0), 200.0)
            person.canvas.setFocus()
            type_key(person, key)
            view = (round(camera.zoom, 6), *np.round(camera.center[-2:], 3))
            if button is None:
                expected[key] = view
            elif not button.isChecked() or str(person.viewer.layers.selection.active.mode) != mode:
                wrong.append((tool, key, "ends the tool"))
                if not button.isChecked():
                    button.click()
            elif key in KEY_TABLE and key not in EDITING_KEYS and view != expected[key]:
                wrong.append((tool, key, view, expected[key]))
        if button is not None:
            assert button.isChecked(), (tool, wrong)
            type_key(person, "Escape")
            person.waits()
            if button.isChecked():
                wrong.append((tool, "Escape", "does not end the tool"))
                button.click()
    assert wrong[:10] == [], len(wrong)
    assert len({expected[key] for key in "1234"}) == 4


def test_keys_while_points_are_counted_and_undo_by_key(annotator):
    for check in (check_counting, check_redo, check_undo):
        check(annotator)
        annotator.session.points.apply(lambda _: ())
        annotator.waits()


def test_keys_in_lists_escape_and_the_key_of_the_overlays(annotator):
    for check in (check_lists, check_escape, check_overlays):
        check(annotator)
        document(annotator).apply(lambda _: ())
        annotator.waits()


def check_counting(annotator):
    """Points are counted at any magnification until the reader ends it."""
    person, dock, mouse = annotator, annotator.dock, CanvasMouse(annotator)
    button = person.finds(QAbstractButton, "count_points")
    button.click()
    for number, key in enumerate("3421", start=1):
        press(person, key)
        mouse.clicks((256, 256 + 3 * number))
        person.until(lambda number=number: len(counted(person)) == number)
        assert button.isChecked()
    QTest.keyClick(person.canvas, Qt.Key.Key_2, CONTROL)
    mouse.clicks((240, 250))
    person.until(lambda: len(counted(person)) == 5)
    assert [point.class_name for point in counted(person)][-2:] == ["Mitosis", "TIL"]
    person.viewer.layers.selection.active = dock.slide.layers[-1]  # in napari's list of layers
    assert not button.isChecked()
    assert "Counting has stopped" in dock.status.text


def check_redo(annotator):
    """Ctrl+Y redoes, and never shows a slide in 3D."""
    person, mouse = annotator, CanvasMouse(annotator)
    button = person.finds(QAbstractButton, "count_points")
    button.click()
    mouse.clicks((256, 256))
    person.until(lambda: len(counted(person)) == 1)
    person.session.document(COUNT_DOCUMENT).undo()
    person.until(lambda: counted(person) == ())
    QTest.keyClick(person.canvas, Qt.Key.Key_Y, CONTROL)
    person.until(lambda: len(counted(person)) == 1)
    assert button.isChecked()
    button.click()
    QTest.keyClick(person.canvas, Qt.Key.Key_Y, CONTROL)
    assert person.viewer.dims.ndisplay == 2


def check_undo(annotator):
    """Undo by key does not depend on the selected layer."""
    person, layers = annotator, annotator.viewer.layers
    steps = (Qt.Key.Key_Z, CONTROL), (Qt.Key.Key_Z, CONTROL | SHIFT), (Qt.Key.Key_Z, CONTROL), (Qt.Key.Key_Y, CONTROL)
    selections = (person.dock.slide.layers[-1], None, next(one for one in layers if "heatmap" in one.name.lower()))
    person.session.points.apply(lambda points: (*points, CountedPoint("Mitosis", (256.0, 256.0))))
    for active in selections:
        layers.selection.active = active
        for count, step in zip((0, 1, 0, 1), steps, strict=True):
            person.canvas.setFocus()
            QTest.keyClick(person.canvas, *step)
            assert len(counted(person)) == count, (active, step)

    # What was typed is applied before it.
    found = []
    person.session.commit_requested.connect(lambda: found.append(len(counted(person))))
    for step in steps[:2]:
        QTest.keyClick(person.canvas, *step)
    assert found[0] == 1
    assert len(counted(person)) == 1

    # A layer of the user's own, and one of the slide that is corrected in napari, have their own history.
    own, derived = (person.viewer.add_labels(np.zeros((64, 64), np.uint8), name=name) for name in ("own", "derived"))
    derived.metadata = dict(slide_layers.find_layer(person.viewer, person.dock.slide, "heatmap").metadata)
    for labels in (own, derived):
        layers.selection.active = labels
        labels.data_setitem((np.array([3]), np.array([4])), 1)
        QTest.keyClick(person.canvas, Qt.Key.Key_Z, CONTROL)
        assert labels.data[3, 4] == 0
        assert len(counted(person)) == 1


def check_lists(annotator):
    """Undo by key works in a list after Delete."""
    person = annotator
    made = [
        region_from_vertices(np.add(((10, 10), (10, 20), (20, 20)), offset), DEFAULT_CLASSES[0]) for offset in (0, 40)
    ]
    for kept in (1, 0):
        document(person).apply(lambda _: tuple(made))
        selects(person, *(one.id for one in made[kept:]))
        table = view(person).region_list.table
        table.setFocus()
        QTest.keyClick(table, Qt.Key.Key_Delete)
        assert len(regions(person)) == kept
        for key, count in ((CONTROL, 2), (CONTROL | SHIFT, kept), (CONTROL, 2)):
            QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Z, key)
            assert len(regions(person)) == count, (kept, key, QApplication.focusWidget())

    lesions, table = person.session.lesions, person.dock.findChild(LesionTable)
    before = lesions.value.lesions
    person.session.selected_lesions.set((before[0].index,))
    table.setFocus()
    QTest.keyClick(table, Qt.Key.Key_Delete)
    person.until(lambda: len(lesions.value.lesions) == len(before) - 1)
    QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Z, CONTROL)
    person.until(lambda: lesions.value.lesions == before)


def check_escape(annotator):
    """Escape finishes a polygon, then ends the tool, then leaves the reading mode."""
    person, dock, mouse = annotator, annotator.dock, CanvasMouse(annotator)
    dock.reading_mode.toggle()
    person.waits()
    button = person.finds(QAbstractButton, "region_add_polygon")
    button.click()
    for corner in ((250, 250), (250, 262), (262, 262)):
        mouse.clicks(corner)
    type_key(person, "Escape")
    person.until(lambda: len(regions(person)) == 1)
    assert button.isChecked()
    type_key(person, "Escape")
    assert not button.isChecked()
    assert dock.reading_mode.mode.is_on
    type_key(person, "Escape")
    assert not dock.reading_mode.mode.is_on


def check_overlays(annotator):
    """One key hides and shows all overlays."""
    person, viewer, slide = annotator, annotator.viewer, annotator.dock.slide
    overlays = [layer for layer in viewer.layers if layer not in slide.layers]
    person.finds(QCheckBox, "slide_heatmap").setChecked(False)
    before = {layer.name: layer.visible for layer in overlays}
    assert set(before.values()) == {True, False}
    press(person, "H")
    assert not any(layer.visible for layer in overlays)
    assert slide.is_shown
    assert "H shows them" in person.dock.status.text
    person.finds(QCheckBox, "slide_heatmap").setChecked(True)  # a new result would draw its layer, too
    assert not any(layer.visible for layer in overlays)
    press(person, "H")
    assert {layer.name: layer.visible for layer in overlays} == before


def test_the_table_of_keys_names_an_effect_for_every_key_and_state():
    assert all(set(row) == set(STATES) for row in (*KEY_TABLE.values(), OTHER_KEYS))
    for key in LAYER_KEYS - set(KEY_TABLE):
        assert [resolve_key(key, state, is_bound=True) for state in STATES] == [NAPARI, NOTHING, NOTHING, NAPARI]
    assert [resolve_key("4", state, is_bound=True) for state in STATES] == ["slide.magnify"] * 3 + [NAPARI]
    assert [resolve_key("4", state, is_bound=False) for state in STATES] == ["slide.magnify"] * 4
    assert [resolve_key("Escape", state, is_bound=True) for state in STATES] == [LEAVE, LEAVE, NAPARI, NAPARI]
    assert resolve_key("V", "tool", is_bound=False) == NAPARI  # the viewer's own keys

"""What each key does with each tool on a slide: the keys of the reading work, and no key ends a tool but Escape."""

from __future__ import annotations

import numpy as np
import pytest
from canvas_mouse import CanvasMouse
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QCheckBox, QDockWidget
from region_access import document, opens_section, regions, selects, view
from slide_fixtures import FIXTURES

from napari_melanoma.slides.counts import CountedPoint
from napari_melanoma.slides.regions import DEFAULT_CLASSES, region_from_vertices
from napari_melanoma.ui.sections.lesions.section import LesionTable
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.slide.reading_keys import (
    EDITING_KEYS,
    KEY_TABLE,
    LEAVE,
    NAPARI,
    NOTHING,
    OTHER_KEYS,
    resolve_key,
)
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.view_memory import center_view
from napari_melanoma.ui.widgets.style import CollapsibleSection

from .test_reading_keys import focus_canvas, press

user, launched, slide_path, person, analysed = map(pytest.fixture, FIXTURES)
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


def test_points_are_counted_at_any_magnification_until_the_reader_ends_it(annotator):
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


def test_ctrl_y_redoes_and_never_shows_a_slide_in_3d(annotator):
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


def test_undo_by_key_does_not_depend_on_the_selected_layer(annotator):
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

    # A layer of the user's own, and one of the slide that is corrected in napari, have their own history.
    own, derived = (person.viewer.add_labels(np.zeros((64, 64), np.uint8), name=name) for name in ("own", "derived"))
    derived.metadata = dict(slide_layers.find_layer(person.viewer, person.dock.slide, "heatmap").metadata)
    for labels in (own, derived):
        layers.selection.active = labels
        labels.data_setitem((np.array([3]), np.array([4])), 1)
        QTest.keyClick(person.canvas, Qt.Key.Key_Z, CONTROL)
        assert labels.data[3, 4] == 0
        assert len(counted(person)) == 1


def test_undo_by_key_works_in_a_list_after_delete(annotator):
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


def test_escape_finishes_a_polygon_then_ends_the_tool_then_leaves_the_reading_mode(annotator):
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


def test_one_key_toggles_all_overlays(annotator):
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

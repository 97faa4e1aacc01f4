"""The Paint section: strokes, map, accuracy, models, similar cells, and other slides."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from time import sleep

import numpy as np
import pytest
from canvas_mouse import CanvasMouse, press
from fake_slides import LESION, TILE, draw_fluorescence, draw_slide
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QListView,
    QToolButton,
)
from slide_fixtures import FIXTURES, PAINT_SECTION, UNSEEN
from steady import LONG_TEXT, list_message_states, list_moved_controls

from napari_melanoma.core.channel_choice import ChannelChoice
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.models import DEFAULT_TILE_MODEL
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.slides.tissue_classifier.fitting import KINDS
from napari_melanoma.slides.tissue_classifier.strokes import STROKES, Stroke, read_stroke_file, write_strokes
from napari_melanoma.ui.sections import host
from napari_melanoma.ui.sections.paint import mapping, section
from napari_melanoma.ui.sections.paint.cell_lists import INVITATION, SEARCHING
from napari_melanoma.ui.sections.paint.layers import COARSE, COARSE_OPACITY
from napari_melanoma.ui.sections.paint.mapping import list_paintable
from napari_melanoma.ui.sections.paint.section import FLUORESCENCE, NO_SCALE
from napari_melanoma.ui.viewer.camera import get_zoom
from napari_melanoma.ui.viewer.slide_layers import close_slides, find_layers
from napari_melanoma.ui.widgets.settings import DockSettings

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
DARK = ((LESION[0].start + 1.5) * TILE, (LESION[1].start + 2.0) * TILE)
PALE = (10 * TILE, 3 * TILE)
SIDE = 1536  # 24 cells
PREDICT_VIEW = mapping._Predictor.predict_view
user, person = pytest.fixture(FIXTURES[0]), pytest.fixture(FIXTURES[3])


@pytest.fixture(autouse=True)
def installed(user, monkeypatch):
    """Host the Paint section alone, whatever is installed; the user has not expanded or collapsed it."""
    DockSettings()._store.remove(f"sections/{PAINT_SECTION}")
    monkeypatch.setattr(host, "find_sections", lambda _: {"Paint": section.PaintSection})


def paints(person, start, class_number, tool="brush", end=None):
    """Paint a stroke of a class."""
    controller = opened(person)
    if controller._tool_name != tool:
        person.clicks(f"paint_{tool}")
    controller.view.class_list.select_class(class_number)
    count = len(strokes(person))
    person.mouse.drags(start, end or (start[0] + TILE / 2, start[1] + TILE))
    person.until(lambda: len(strokes(person)) == count + 1)


def opened(person):
    return person.dock.sections.hosted.sections["Paint"].widget


def strokes(person):
    return opened(person).session.painted.value.strokes


def shown_map(person):
    """Return the number of cells of each class, without those of a coarse map."""
    shown = opened(person).map
    counts = {name: np.count_nonzero(shown.labels == label) for label, name in enumerate(shown._names, start=1)}
    return {name: count for name, count in counts.items() if count}


def is_open(person):
    hosted = person.dock.sections.hosted.sections.get("Paint")
    return hosted is not None and hosted.widget is not None


@pytest.fixture
def painting(person, slide_path):
    """User with an open slide and Paint section."""
    person.opens_slides(slide_path)
    person.until(lambda: is_open(person))
    person.mouse = CanvasMouse(person)
    return person


@pytest.mark.path
def test_strokes_make_a_map_that_follows_them_and_are_restored(painting, slide_path):
    person, view = painting, opened(painting).view
    assert person.label_text("paint_advice").startswith("Select a class, then the brush")
    paints(person, PALE, 2)
    assert "only dermis has strokes" in person.label_text("paint_advice")
    assert not shown_map(person)
    paints(person, DARK, 5)
    person.until(lambda: set(shown_map(person)) == {"Dermis", "Tumor"})
    person.waits()
    assert sum(shown_map(person).values()) == opened(person).map.labels.size
    layer = person.viewer.layers["section class map"]
    corner, dark = (layer.get_value(layer.world_to_data(person.dock.slide.to_world(at))) for at in (PALE, DARK))
    assert corner != dark

    # Without the second class there is no map; redo restores it.
    person.clicks("paint_undo")
    person.until(lambda: not shown_map(person))
    person.clicks("paint_redo")
    person.until(lambda: set(shown_map(person)) == {"Dermis", "Tumor"})
    person.waits()

    # A renamed class keeps its strokes, a removed one loses them, which can be undone.
    view.class_list.list.item(4).setText("Melanoma")
    assert [one.class_name for one in strokes(person)] == ["Dermis", "Melanoma"]
    view.class_list.select_class(5)
    view.class_list.remove()
    assert [one.class_name for one in strokes(person)] == ["Dermis"]
    person.clicks("paint_undo")
    person.waits()
    stored = read_stroke_file(person.dock.result_location.folder / STROKES)
    assert stored.strokes == strokes(person)
    assert stored.classes["Melanoma"] == (213, 94, 0)
    assert stored.strokes[0].date

    before = strokes(person)
    person.dock.close_slide()
    person.waits()
    assert not person.viewer.layers
    person.opens_slides(slide_path)
    person.until(lambda: is_open(person) and "section strokes" in person.viewer.layers)
    assert strokes(person) == before
    person.until(lambda: "Melanoma" in shown_map(person))


def test_features_of_the_view_are_computed_once_a_class_is_selected(painting, tmp_path):
    person, loop = painting, opened(painting).loop
    features = opened(person)._memory.features
    assert not features._stores
    opened(person).view.class_list.select_class(2)
    person.waits()
    (stored,) = features._stores.values()
    assert len(stored.known_blocks) == np.prod(stored.grid.blocks.shape)  # all of the slide is in view
    assert loop.fit is None
    assert not shown_map(person)
    # On the next slide nobody has selected a class yet: it is only shown as selected.
    person.dock.opener.open([draw_slide(tmp_path / "other.tif", tint=9)])
    person.until(lambda: is_open(person) and opened(person).loop is not loop)
    person.waits()
    assert len(features._stores) == 1


def test_tools_erase_and_another_layer_ends_the_tool(painting):
    person, dock = painting, painting.dock
    paints(person, PALE, 1, "polygon", end=(PALE[0] + 100, PALE[1] + 100))
    assert strokes(person)[-1].kind == "brush", "a straight line encloses no area"
    person.clicks("paint_undo")
    person.mouse.drags(PALE, (PALE[0] + 100, PALE[1]), (PALE[0] + 100, PALE[1] + 100), PALE)
    person.until(lambda: len(strokes(person)) == 1)
    assert strokes(person)[-1].kind == "polygon"
    paints(person, DARK, 2, "cells", end=(DARK[0] + 1, DARK[1] + 1))
    assert strokes(person)[-1].kind == "cells"
    assert len(strokes(person)[-1].points) == 1
    person.clicks("paint_erase")
    person.mouse.clicks(DARK)
    person.until(lambda: len(strokes(person)) == 1)
    person.mouse.clicks((20, 300))
    person.until(lambda: "There is no stroke" in dock.status.text)
    assert len(strokes(person)) == 1
    person.viewer.layers.selection.active = dock.slide.layers[-1]
    assert not any(button.isChecked() for button in opened(person).view.tools.values())

    # A stroke ends where the button is released, although moves were dropped, as while layers are being added.
    person.clicks("paint_brush")
    end = (PALE[0] + 100, PALE[1] + 200)
    person.mouse.presses(PALE)
    person.mouse.moves((PALE[0], PALE[1] + 20), Qt.MouseButton.LeftButton)
    person.mouse.releases(end)
    assert strokes(person)[-1].points[-1] == pytest.approx(end, abs=2 / get_zoom(person.viewer))


def test_a_stroke_is_not_compared_with_all_others(painting, monkeypatch):
    """Else each further one of 1000 strokes takes half a second."""
    person, many = painting, [Stroke(f"{number}", "Dermis", "brush", (PALE,), 9.0) for number in range(60)]
    compared, equal = [], Stroke.__eq__
    monkeypatch.setattr(Stroke, "__eq__", lambda own, other: compared.append(own) or equal(own, other))
    for count in (59, 60):
        person.session.painted.apply(lambda state, count=count: replace(state, strokes=tuple(many[:count])))
    person.until(lambda: len(person.viewer.layers["section strokes"].data) == len(many))
    person.waits()
    assert len(compared) < 10 * len(many)


def test_all_layers_can_be_removed_at_once_after_a_stroke(painting):
    """The section closes with the image of its slide, while napari is still removing the layers that were selected."""
    paints(painting, (5, 7), 1)
    layers = painting.viewer.layers
    layers.select_all()
    layers.remove_selected()
    painting.until(lambda: not layers)


@pytest.mark.both_qts
def test_napari_lists_no_layers_of_tools_and_states_none_of_its_keys_on_a_slide(painting):
    person, layers = painting, painting.viewer.layers
    window = person.dock.window()
    [view] = [one for one in window.findChildren(QListView) if type(one).__name__ == "QtLayerList"]

    def listed():
        rows = [row for row in range(view.model().rowCount()) if not view.isRowHidden(row)]
        return {view.model().index(row, 0).data(Qt.ItemDataRole.UserRole).name for row in rows}

    assert person.viewer.help == ""
    paints(person, PALE, 2)
    assert {layer.name for layer in layers} - listed() == {"section stroke"}
    layers.move(len(layers) - 1, 0)
    layers.selection.active = layers["section strokes"]
    assert {layer.name for layer in layers} - listed() == {"section stroke"}
    assert window.findChild(QLabel, "help status").text() == ""
    own = person.viewer.add_labels(np.zeros((9, 9), np.uint8), scale=(1, 1), units=("um", "um"))
    layers.selection.active = own
    assert person.viewer.help, "as in napari"
    layers.selection.active = person.dock.slide.layers[-1]
    assert person.viewer.help == ""


def test_an_area_is_clicked_corner_by_corner(painting):
    person, controller = painting, opened(painting)
    person.canvas = person.mouse.canvas
    person.clicks("paint_polygon")
    tool = controller.tool
    corners = (PALE, (PALE[0], PALE[1] + 100), (PALE[0] + 100, PALE[1] + 100), (PALE[0] + 100, PALE[1]))

    def clicks(*points):
        for point in points:
            person.mouse.clicks(point)

    clicks(*corners)
    assert tool.corner_count == 4
    assert "Return closes the area" in person.label_text("paint_advice")
    person.mouse.moves((PALE[0] + 50, PALE[1] + 50))
    assert tool.layer.data.any()
    press(person, Qt.Key.Key_Backspace)
    assert tool.corner_count == 3
    press(person, Qt.Key.Key_Escape)
    assert tool.corner_count == 0
    assert controller._tool_name == "polygon", "Escape drops the area first"
    assert not strokes(person)
    clicks(*corners)
    press(person, Qt.Key.Key_Return)
    assert [len(one.points) for one in strokes(person)] == [5]
    assert strokes(person)[0].kind == "polygon"
    person.qtbot.wait(20)
    assert not tool.layer.data.any()

    # A click on the first corner closes the area, and so does a double click; a drag adds a freehand part.
    clicks(*corners, corners[0])
    assert len(strokes(person)) == 2
    clicks(*corners[:2])
    person.mouse.drags(corners[1], corners[2])
    person.mouse.double_clicks(corners[3])
    assert len(strokes(person)) == 3
    clicks(*corners[:3])
    person.clicks("paint_brush")
    assert len(strokes(person)) == 4, "another tool closes the area"
    person.clicks("paint_polygon")
    clicks(*corners[:2])
    press(person, Qt.Key.Key_Return)
    assert tool.corner_count == 0
    assert len(strokes(person)) == 4, "two corners enclose no area"
    press(person, Qt.Key.Key_Escape)
    assert not controller._tool_name


def test_the_strokes_of_two_slides_train_one_classifier(painting, tmp_path):
    person, dock = painting, painting.dock
    first, slide = opened(person), dock.slide
    paints(person, PALE, 1)
    dock.opener.open([draw_slide(tmp_path / "other.tif", tint=9)])
    person.until(lambda: is_open(person) and opened(person) is not first)
    person.waits()
    assert first.isHidden()
    assert not any(button.isChecked() for button in first.view.tools.values())
    assert not any(layer.visible for layer in find_layers(person.viewer, slide.identity))
    assert not strokes(person)
    assert len(first.session.painted.value.strokes) == 1
    paints(person, PALE, 2)
    person.until(lambda: bool(shown_map(person)))  # of the strokes of both slides
    person.waits()
    rows = opened(person).view.chart.rows
    assert {row.name: row.text for row in rows if row.value is None} == {"Epidermis": "1 stroke", "Dermis": "1 stroke"}
    assert not first.map.labels.any(), "a hidden slide is not computed"
    dock.picker.select_slide(slide.identity)
    person.until(lambda: opened(person) is first and bool(shown_map(person)))
    assert person.viewer.layers["section class map"].visible
    person.waits()
    other = next(one for one in first.session.sessions if one is not first.session)
    close_slides(person.viewer, [other.slide.info.path])  # it is not displayed
    person.until(lambda: not shown_map(person))
    assert list(first.session.sessions) == [first.session]


@pytest.mark.slow
def test_one_class_gives_a_complete_map_with_the_classes_of_a_model(painting):
    person, box = painting, painting.finds(QComboBox, "paint_start")
    person.until(lambda: box.findData(DEFAULT_TILE_MODEL) > 0)
    assert box.currentText() == "nothing"  # as selected before
    person.picks("paint_start", DEFAULT_TILE_MODEL)
    start = find_bundle(DEFAULT_TILE_MODEL).config.classes
    assert {*start, "Tumor"} <= {one.name for one in opened(person).session.painted.value.classes}
    assert opened(person).view.class_list.current.name == "Tumor"  # which the model lacks
    assert not person.finds(QAbstractButton, "paint_save").isEnabled()
    paints(person, DARK, 5)
    person.until(lambda: opened(person).loop.assessment is not None)
    person.waits()
    assert {*opened(person).loop.fit.classifier.classes} == {*start, "Tumor"}
    assert sum(shown_map(person).values()) == opened(person).map.labels.size
    assert [row.name for row in opened(person).view.chart.rows] == ["Tumor"]
    assert person.finds(QAbstractButton, "paint_save").isEnabled()
    person.picks("paint_start", "nothing")
    person.until(lambda: not shown_map(person))
    assert "only tumor has strokes" in person.label_text("paint_advice")
    assert DockSettings().get(section.START_SETTING, DEFAULT_TILE_MODEL) == ""


@pytest.mark.slow
def test_accuracy_suggestions_and_a_model_that_is_applied(painting, launched, tmp_path):
    person, dock, part = painting, painting.dock, opened(painting)
    view = part.view
    save, use = (person.finds(QAbstractButton, name) for name in ("paint_save", "paint_apply"))
    assert not save.isEnabled()
    for row in (2, 9, 13):
        paints(person, (row * TILE, 2 * TILE), 2)
    for column in (6.3, 8.3):
        paints(person, (5 * TILE, column * TILE), 5)
    person.waits()
    assert person.label_text("paint_progress_text") == "The map of the slide is complete."
    assert view.chart.rows[0].name == "Accuracy"
    assert [row.name for row in view.chart.rows[1:]] == ["Dermis", "Tumor"]
    assert view.chart.rows[1].text.startswith("3 strokes")
    assert "one slide" in person.label_text("paint_warnings")
    assert "would help most" in person.label_text("paint_advice")

    # A key accepts the class of a suggested cell, a digit assigns another one.
    assert part.suggestions.cells
    first = part.suggestions.cells[0]
    person.clicks("paint_suggestion_1")
    assert person.sees(first.center)
    person.qtbot.keyClick(part.suggestions.buttons[0], Qt.Key.Key_Return)
    assert strokes(person)[-1].class_name == first.class_name
    assert strokes(person)[-1].kind == "cells"
    person.clicks("paint_undo")
    person.waits()
    person.qtbot.keyClick(part.suggestions.buttons[0], Qt.Key.Key_1)
    assert strokes(person)[-1].class_name == "Epidermis"
    person.clicks("paint_undo")
    person.waits()

    person.clicks("paint_save")
    dialog = next(w for w in QApplication.topLevelWidgets() if w.objectName() == "paint_model_dialog" and w.isVisible())
    assert any("Strokes of 1 slide: section.tif." in label.text() for label in dialog.findChildren(QLabel))
    assert dialog.roles == {"tumor": "Tumor", "epidermis": "", "background": "", "nevus": "", "keratin": ""}
    dialog.role_boxes["nevus"].setCurrentText("Tumor")
    assert not dialog.save_button.isEnabled()
    assert dialog.warning_label.text() == "'Tumor' is selected twice: each class has at most one role."
    dialog.role_boxes["nevus"].setCurrentText("none")
    dialog.name_field.setText("my skin")
    person.qtbot.mouseClick(dialog.save_button, Qt.MouseButton.LeftButton)
    person.until(use.isEnabled)
    person.waits()
    assert "Saved as model 'my-skin'" in dock.status.text
    assert find_bundle("my-skin").config.classes == ("Dermis", "Tumor")
    person.clicks("paint_apply")
    person.until(lambda: bool(launched.options))
    assert launched.options[-1].model == "my-skin"
    dock.opener.open([draw_slide(tmp_path / "other.tif", tint=9)])
    person.until(lambda: is_open(person) and opened(person).view is not view)
    assert person.finds(QAbstractButton, "paint_apply").isEnabled(), "a saved model can be applied to other slides"


def wait_forever(*values):
    while True:
        values[-1].check()
        sleep(0.01)


def test_the_saved_model_has_the_features_of_the_map_that_is_shown(painting, monkeypatch):
    person, part = painting, opened(painting)
    note = person.finds(QLabel, "paint_save_note")
    assert note.text() == ""
    monkeypatch.setattr(mapping, "assess", wait_forever)  # these features are not compared with others yet
    part.loop.choice = mapping.Choice("texture")
    paints(person, PALE, 2)
    paints(person, DARK, 5)
    person.until(lambda: set(shown_map(person)) == {"Dermis", "Tumor"})
    shown = "Saved as shown, with the features of this map: texture"
    assert note.text() == f"{shown}. The features are still being compared, so the map may change."
    person.clicks("paint_save")
    dialog = next(w for w in QApplication.topLevelWidgets() if w.objectName() == "paint_model_dialog" and w.isVisible())
    dialog.name_field.setText("as shown")
    person.qtbot.mouseClick(dialog.save_button, Qt.MouseButton.LeftButton)
    person.until(person.finds(QAbstractButton, "paint_apply").isEnabled)
    tissue = find_bundle("as-shown").config.tissue
    assert (tissue.source, tissue.kind) == ("texture", KINDS[0])
    person.dock.close_slide()


def test_a_stroke_while_another_is_assessed_replaces_its_map(painting, monkeypatch):
    person, part, assess = painting, opened(painting), mapping.assess
    monkeypatch.setattr(mapping, "assess", wait_forever)
    paints(person, PALE, 2)
    paints(person, DARK, 5)
    person.until(lambda: set(shown_map(person)) == {"Dermis", "Tumor"})
    monkeypatch.setattr(mapping, "assess", assess)
    outdated = part.loop.fit
    paints(person, (13 * TILE, 3 * TILE), 1)
    person.until(lambda: "Epidermis" in shown_map(person))
    person.waits()
    assert part.loop.fit is not outdated
    assert part.loop.assessment.strokes == frozenset(strokes(person))
    assert set(part.loop.assessment.chosen.classes) == {"Epidermis", "Dermis", "Tumor"}


@pytest.fixture
def coarse(person, monkeypatch, tmp_path):
    """User with two strokes on a slide of four blocks, whose coarse map is not refined."""
    monkeypatch.setattr(mapping, "COARSE_FROM", 1)
    monkeypatch.setattr(mapping._Predictor, "predict_view", lambda predictor: wait_forever(predictor._run))
    person.opens_slides(draw_slide(tmp_path / "section.tif", mpp=2.0))
    person.until(lambda: is_open(person))
    person.mouse = CanvasMouse(person)
    paints(person, PALE, 2)
    paints(person, DARK, 5)
    person.until(lambda: is_partly_coarse(person))
    return person


def is_partly_coarse(person):
    return bool((opened(person).map.labels >= COARSE).any())


def test_a_coarse_map_is_stated_refined_in_place_and_not_measured(coarse, monkeypatch):
    person, part = coarse, opened(coarse)
    is_coarse, layer = part.map.labels >= COARSE, person.viewer.layers["section class map"]
    assert part.view.progress_label.text().startswith("Coarse map: ")
    assert part.map.labels.all()  # all of the view has a map
    np.testing.assert_array_equal(layer.data, part.map.labels)
    label = int(part.map.labels[is_coarse][0])
    assert layer.colormap.map(np.array([label]))[0, 3] == pytest.approx(COARSE_OPACITY, abs=0.01)
    assert layer.colormap.map(np.array([label - COARSE]))[0, 3] == 1
    blocks = {tuple(block) for block in part.map.grid.blocks_of(np.argwhere(is_coarse)).tolist()}
    assert not blocks & part.loop._predicted
    assert not part._areas
    assert part.suggestions.isHidden()

    # The next stroke replaces the coarse map by one of its own, and undo removes it again.
    previous = part.loop.fit
    paints(person, (13 * TILE, 3 * TILE), 1)
    person.until(lambda: part.loop.fit not in (None, previous) and is_partly_coarse(person))
    for _ in range(2):
        person.clicks("paint_undo")
    person.until(lambda: not part.map.labels.any().item())
    person.clicks("paint_redo")
    person.until(lambda: is_partly_coarse(person))

    monkeypatch.setattr(mapping._Predictor, "predict_view", PREDICT_VIEW)
    part.loop.update()
    person.until(lambda: bool(part.map.labels.all()) and not is_partly_coarse(person))
    person.waits()
    assert part._areas


def test_what_is_not_refined_is_removed(coarse, monkeypatch):
    person = coarse

    def fail(predictor):
        raise OSError("the disk is full")

    monkeypatch.setattr(mapping._Predictor, "predict_view", fail)
    opened(person).loop.update()
    person.until(lambda: not is_partly_coarse(person))
    person.waits()
    assert opened(person).map.labels.any()
    assert not opened(person).map.labels.all()


def test_a_slide_is_closed_while_its_map_is_coarse(coarse):
    coarse.dock.close_slide()
    coarse.waits()
    assert not coarse.viewer.layers


def test_a_slide_without_a_scale_states_what_to_do(person, tmp_path):
    person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None))
    person.until(lambda: is_open(person))
    assert person.finds(QLabel, "section_problem").text() == NO_SCALE
    person.until(lambda: not person.dock.context.session.synoptic.find_scale_lock())  # until its files are read
    person.dock.scale_panel.pixel_size_changed.emit(PixelSize(0.5, 0.5))
    person.until(lambda: opened(person) is not None)
    person.waits()
    person.mouse = CanvasMouse(person)
    paints(person, PALE, 2)
    paints(person, DARK, 5)
    person.until(lambda: set(shown_map(person)) == {"Dermis", "Tumor"})
    person.waits()

    # So does one with an implausible scale, as after a ruler of another length.
    person.dock.scale_panel.pixel_size_changed.emit(PixelSize(0.02, 0.02))
    person.until(lambda: person.dock.findChild(QLabel, "section_problem") is not None)
    assert person.finds(QLabel, "section_problem").text().startswith("Implausible pixel size 0.02 micrometers")


@pytest.mark.usefixtures("shown_viewer")
def test_no_control_moves_while_classes_are_painted(painting, tmp_path):
    person, view = painting, opened(painting).view
    states = {
        "idle": lambda: None,
        "a tool": lambda: person.clicks("paint_brush"),
        "one class": lambda: paints(person, PALE, 2),
        "another class is selected": lambda: view.class_list.select_class(5),
        "two classes": lambda: paints(person, DARK, 5),
        "several strokes": lambda: [paints(person, (row * TILE, 2 * TILE), 2) for row in (2, 9)],
        "an area": lambda: (person.clicks("paint_polygon"), person.mouse.clicks(PALE)),
        "a search": lambda: person.clicks("paint_similar"),
        "long advice": lambda: view.advice_label.setText(LONG_TEXT),
        "long progress": lambda: view.show_progress(LONG_TEXT, 0.5, is_paused=True),
        **list_message_states(person.dock.status),
        "another slide": lambda: person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9)),
    }
    moved = list_moved_controls(
        person.dock, states, person.waits, lambda: (opened(person).view, person.dock.picker, person.dock._files)
    )
    assert not moved, moved


@pytest.mark.both_qts
@pytest.mark.usefixtures("shown_viewer")
def test_keys_select_the_class_wherever_the_focus_is_and_the_cursor_has_its_color(painting):
    person, view, window = painting, opened(painting).view, painting.dock.window()
    window.activateWindow()
    person.until(lambda: QApplication.activeWindow() is window)

    def selects(number, focused):
        focused.setFocus()
        person.until(focused.hasFocus)
        QTest.keyClick(focused, str(number), Qt.KeyboardModifier.ControlModifier)
        return view.class_list.current

    brush = view.tools["brush"]
    assert selects(3, brush).name == "Fat", "before the brush is selected"
    person.clicks("paint_brush")
    places = (brush, view.class_list.list, view.size_slider, person.mouse.canvas, person.dock.picker.combo)
    for number, focused in enumerate(places, start=1):
        selected = selects(number, focused)
        assert selected == view.class_list.classes[number - 1], focused.objectName()
        person.until(lambda color=selected.color: color in colors_of(person.mouse.canvas.cursor()))
    field = QLineEdit(person.dock)
    field.show()
    assert selects(2, field).name == "Tumor", "text fields keep their keys"
    assert selects(2, brush).name == "Dermis"
    person.mouse.drags(PALE, (PALE[0] + TILE / 2, PALE[1] + TILE))
    assert [one.class_name for one in strokes(person)] == ["Dermis"]
    person.clicks("paint_brush")
    person.until(lambda: person.mouse.canvas.cursor().shape() != Qt.CursorShape.BitmapCursor)


def colors_of(cursor):
    """The colors in the picture of a mouse cursor."""
    picture = cursor.pixmap().toImage()
    places = product(range(picture.width()), range(picture.height()))
    return {picture.pixelColor(*place).getRgb()[:3] for place in places}


def test_another_slide_keeps_the_class_and_the_tab_of_the_reading_mode(painting, tmp_path):
    person, dock, first = painting, painting.dock, opened(painting)
    first.view.class_list.select_class(3)
    name = first.view.class_list.current.name
    dock.reading_mode.toggle()
    tabs = dock.reading_mode.mode.tabs
    tabs.open_tab("Paint")
    assert opened(person).view.isVisibleTo(dock.window())
    dock.opener.open([draw_slide(tmp_path / "other.tif", tint=9)])
    person.until(lambda: is_open(person) and opened(person) is not first)
    person.waits()
    assert opened(person).view.class_list.current.name == name
    assert tabs.buttons["Paint"].isChecked()
    assert opened(person).view.isVisibleTo(dock.window())
    # Also back to the first slide, which is hidden.
    dock.picker.select_slide(first.session.identity)
    person.until(lambda: is_open(person) and opened(person).session is first.session)
    person.waits()
    assert opened(person).view.class_list.current.name == name
    assert tabs.buttons["Paint"].isChecked()

    # Keys select a class after the slides were closed, too.
    for _ in range(2):
        dock.close_slide()
        person.waits()
    person.opens_slides(tmp_path / "other.tif")
    person.until(lambda: is_open(person))
    dock.context.class_key_pressed.emit(1)
    assert opened(person).view.class_list.current.name == opened(person).view.class_list.classes[0].name


def test_a_fluorescence_slide_states_where_it_is_fitted_and_keeps_its_strokes(person, tmp_path):
    person.opens_slides(draw_fluorescence(tmp_path / "cells.ome.tif"))
    folder, path = person.dock.result_location.folder, person.dock.slide.info.path
    folder.mkdir(parents=True, exist_ok=True)
    channels = ChannelChoice.from_text("DAPI=1:9,FITC=2:8,FITC=2:8")
    stroke = Stroke("s", "Tumor", "brush", ((9.0, 9.0), (20.0, 20.0)), 3.0)
    write_strokes(folder / STROKES, (stroke,), {"Tumor": (1, 2, 3)}, channels=channels)
    before = (folder / STROKES).read_bytes()
    person.dock.close_slide()
    person.waits()
    person.opens_slides(path)
    person.opens_section("Paint")
    person.waits()
    assert person.finds(QLabel, "section_problem").text() == FLUORESCENCE
    assert (folder / STROKES).read_bytes() == before
    assert read_stroke_file(folder / STROKES).channels == channels

    # Its strokes do not train the classifier of a brightfield slide.
    person.opens_slides(draw_slide(tmp_path / "bright.tif"))
    person.waits()
    session = person.session
    assert len(list(session.sessions)) == 2
    assert list_paintable(session) == [session]


@pytest.fixture
def searching(person, tmp_path):
    """User with the first of two slides of a folder open, and the tool Find similar."""
    (tmp_path / "slides").mkdir()
    for name, tint in (("first", 0), ("second", 9)):
        draw_slide(tmp_path / "slides" / f"{name}.tif", side=SIDE, tint=tint)
    person.opens_slides(tmp_path / "slides" / "first.tif")
    person.until(lambda: is_open(person))
    person.mouse = CanvasMouse(person)
    person.clicks("paint_similar")
    return person


def thumbnails(person):
    return opened(person).similar.strip.cells


def similar_text(person):
    return person.label_text("paint_similar_text")


def is_found(person, slides):
    shown = similar_text(person)
    return shown.startswith("Searched") and f"of {slides}" in shown and "meanwhile" not in shown


def cell_button(person, index):
    return person.finds(QToolButton, f"paint_similar_cell_{index + 1}")


@pytest.mark.slow
def test_similar_cells_of_two_slides_are_found_visited_and_painted(searching, tmp_path):
    person, first = searching, searching.dock.slide
    assert similar_text(person) == INVITATION
    person.mouse.clicks(DARK)
    person.mouse.clicks(DARK)  # a double click
    person.until(lambda: is_found(person, "1 slide"))
    person.waits()
    found = thumbnails(person)
    assert found[0].text == "clicked"
    assert all(thumbnail.image is not None for thumbnail in found)
    assert "1 slide of the folder has no features yet: second.tif." in similar_text(person)
    assert not strokes(person)

    # A thumbnail leads to its cell.
    cell_button(person, 1).click()
    assert person.sees(found[1].center)

    # Features of the other slide are computed on request, then it is searched, too.
    person.clicks("paint_similar_compute")
    person.until(lambda: is_found(person, "2 slides"))
    person.waits()
    assert not person.finds(QToolButton, "paint_similar_compute").isVisible()
    others = [index for index, thumbnail in enumerate(thumbnails(person)) if thumbnail.slide.name == "second.tif"]
    assert others
    thumbnail = thumbnails(person)[others[0]]
    assert thumbnail.tip.startswith(f"Similarity {thumbnail.text}, second.tif.")

    # A digit paints a class on it: its slide is opened, and the list stays.
    person.qtbot.keyClick(cell_button(person, others[0]), Qt.Key.Key_5)
    person.until(lambda: person.dock.slide is not None and person.dock.slide.info.name == "second")
    person.until(lambda: is_open(person) and bool(strokes(person)))
    assert (strokes(person)[0].class_name, strokes(person)[0].points) == ("Tumor", (thumbnail.center,))
    assert person.sees(thumbnail.center)
    assert thumbnail in thumbnails(person)
    person.waits()

    # Return paints the selected class on a cell of the first slide, which is displayed again.
    opened(person).view.class_list.select_class(2)
    person.qtbot.keyClick(cell_button(person, 0), Qt.Key.Key_Return)
    person.until(lambda: person.dock.slide.identity == first.identity and is_open(person))
    person.until(lambda: bool(strokes(person)))
    assert strokes(person)[0].class_name == "Dermis"
    sessions = {one.slide.info.name: len(one.painted.value.strokes) for one in opened(person).session.sessions}
    assert sessions == {"first": 1, "second": 1}

    # Escape removes the list.
    person.waits()
    person.qtbot.keyClick(cell_button(person, 0), Qt.Key.Key_Escape)
    assert not opened(person).similar.isVisible()
    assert not thumbnails(person)


def test_the_tool_ends_and_a_search_ends_with_its_slide(searching, tmp_path):
    person, dock = searching, searching.dock
    person.clicks("paint_similar")
    assert not opened(person).similar.isVisible()
    person.clicks("paint_similar")
    opened(person).similar.search((-900.0, 5.0))
    person.until(lambda: "There is no cell at row -900" in dock.status.text)
    assert not opened(person).similar.strip.cells
    person.mouse.clicks(PALE)
    person.until(lambda: similar_text(person) == SEARCHING or is_found(person, "1 slide"))
    dock.close_slide()
    person.waits()
    assert not person.viewer.layers
    assert not dock.context.tool_buttons or not any(button.isChecked() for button in dock.context.tool_buttons)

    # On a slide that was not searched, nothing is left of it.
    (tmp_path / "elsewhere").mkdir()
    person.opens_slides(draw_slide(tmp_path / "elsewhere" / "third.tif", tint=5))
    person.until(lambda: is_open(person))
    assert not opened(person).similar.isVisible()

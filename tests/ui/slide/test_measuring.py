"""The Measure section: draw, label, undo and save lengths and areas."""

from __future__ import annotations

import numpy as np
import pytest
from canvas_mouse import CanvasMouse
from fake_slides import draw_slide
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import mouse_press_callbacks, mouse_release_callbacks
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QLabel, QListWidget
from slide_fixtures import UNSEEN

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.counts import COUNTS
from napari_melanoma.slides.notes import SlideMeasurement, SlideNotes, read_notes, write_notes
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.slides.result_folder import slide_folder
from napari_melanoma.ui.sections.measure.layer import read_measures
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.view_memory import center_view

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
LINE = SlideMeasurement("line", ((100.0, 100.0), (100.0, 300.0)))  # 0.1 mm at 0.5 µm a pixel
AREA = SlideMeasurement("area", ((10.0, 10.0), (10.0, 210.0), (110.0, 210.0), (110.0, 10.0)))  # 0.005 mm²


def opens_tools(person):
    person.opens_section("Measure")


def presses(person, name):
    """Click a button regardless of the scroll position."""
    button = person.finds(QAbstractButton, name)
    assert button.isEnabled()
    button.click()


def listed(person):
    found = person.finds(QListWidget, "measures")
    return [found.item(index).text() for index in range(found.count())]


def layer_of(person):
    return slide_layers.find_layer(person.viewer, person.dock.slide, "measures")


def draws(person, measure):
    """Add a shape as napari does when the mouse is released."""
    kind = "line" if measure.kind == "line" else "polygon"
    layer_of(person).add(np.array(measure.points) - 0.5, shape_type=kind)


def kept(person):
    return read_notes(person.dock.result_location.folder).measures


@pytest.mark.usefixtures("shown_viewer")
def test_a_label_does_not_cover_that_of_a_later_measurement(person, slide_path):
    person.opens_slides(slide_path)
    rows = (100.0, 103.0, 900.0)
    session = person.dock.sections.hosted.session
    opens_tools(person)
    session.measures.apply(lambda _: tuple(SlideMeasurement("line", ((row, 100.0), (row, 300.0))) for row in rows))
    assert [bool(text.strip()) for text in layer_of(person).features["label"]] == [False, True, True]
    assert len(listed(person)) == len(rows)
    center_view(person.viewer, person.dock.slide, (100.0, 200.0), 10.0)
    person.until(lambda: all(text.strip() for text in layer_of(person).features["label"]))


@pytest.mark.usefixtures("shown_viewer")
def test_lines_and_areas_are_labeled_saved_restored_and_undone(person, slide_path, tmp_path):
    person.opens_slides(slide_path)
    assert layer_of(person) is None
    opens_tools(person)
    presses(person, "measure_line")
    assert layer_of(person).mode == "add_line"
    assert layer_of(person).scale == pytest.approx(person.dock.slide.layers[0].scale)
    draws(person, LINE)
    person.until(lambda: listed(person) == ["0.1 mm"])
    presses(person, "measure_area")
    assert layer_of(person).mode == "add_polygon"
    draws(person, AREA)
    person.until(lambda: listed(person) == ["0.1 mm", "0.005 mm²"])
    assert layer_of(person).features["label"].iloc[-1].strip() == "0.005 mm²"
    assert person.sees_something()
    presses(person, "measure_area")  # put away
    assert layer_of(person).mode == "pan_zoom"
    person.waits()
    person.until(lambda: kept(person) == (LINE, AREA))

    person.viewer.layers.remove(person.dock.slide.layers[0])  # as the button below napari's list of layers does
    person.until(lambda: not person.viewer.layers)  # the measurements go with the slide, and come back with it
    person.waits()
    person.opens_slides(slide_path)
    person.until(lambda: listed(person) == ["0.1 mm", "0.005 mm²"])
    assert read_measures(layer_of(person)) == (LINE, AREA)

    # Each change can be undone.
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    presses(person, "measure_line")
    for measure in (LINE, AREA):
        draws(person, measure)
        person.until(lambda measure=measure: person.session.measures.value[-1:] == (measure,))
    items = person.finds(QListWidget, "measures")
    items.setCurrentRow(0)
    items.setFocus()
    person.qtbot.keyClick(items, Qt.Key.Key_Backspace)  # the Delete key of a MacBook
    person.until(lambda: listed(person) == ["0.005 mm²"])
    assert len(layer_of(person).data) == 1
    presses(person, "measure_undo")
    assert listed(person) == ["0.1 mm", "0.005 mm²"]
    assert read_measures(layer_of(person)) == (LINE, AREA)
    presses(person, "measure_undo")
    assert listed(person) == ["0.1 mm"]
    presses(person, "measure_redo")
    assert listed(person) == ["0.1 mm", "0.005 mm²"]
    person.until(lambda: kept(person) == (LINE, AREA))
    layer = layer_of(person)
    layer.selected_data = {0}
    layer.remove_selected()  # in napari's own way
    person.until(lambda: listed(person) == ["0.005 mm²"])


def test_measurements_are_per_slide_follow_the_scale_and_are_labeled_when_finished(person, slide_path, tmp_path):
    person.opens_slides(slide_path)
    opens_tools(person)
    presses(person, "measure_line")
    draws(person, LINE)
    person.until(lambda: listed(person) == ["0.1 mm"])
    person.waits()
    person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None))
    assert listed(person) == []
    presses(person, "measure_line")
    draws(person, LINE)
    person.until(lambda: listed(person) == ["200 px"])
    person.waits()
    person.dock.picker.scale_button.click()
    person.dock.scale_panel._number.setValue(2.0)
    person.clicks("scale_set")
    person.until(lambda: listed(person) == ["0.4 mm"])
    assert [text.strip() for text in layer_of(person).features["label"]] == ["0.4 mm"]
    person.waits()
    person.clicks("previous_slide")
    person.until(lambda: listed(person) == ["0.1 mm"])

    # An unfinished shape has no label, and is removed with its tool.
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    presses(person, "measure_line")
    draws(person, LINE)
    person.until(lambda: listed(person) == ["0.1 mm"])
    presses(person, "measure_area")
    layer = layer_of(person)
    layer.selected_data = {0}  # whose words napari would repeat
    corner(person, (300.0, 300.0))
    assert len(layer.data) == 2
    assert [text.strip() for text in layer.features["label"]] == ["0.1 mm", ""]
    assert [text.strip() for text in layer.text.values] == ["0.1 mm", ""]

    person.viewer.layers.selection.active = person.dock.slide.layers[0]  # as another tool does
    assert not person.finds(QAbstractButton, "measure_area").isChecked()
    assert layer.mode == "pan_zoom"
    person.waits()
    person.until(lambda: len(layer.features) == 1)
    assert len(layer.data) == len(layer.text.values) == 1
    assert listed(person) == ["0.1 mm"]

    presses(person, "measure_line")
    layer.mode = "select"  # in napari's own controls
    assert not person.finds(QAbstractButton, "measure_line").isChecked()

    # Empty shapes are removed, other shapes are measured.
    layer.add(np.array([[5.0, 5.0], [5.0, 5.0]]), shape_type="line")
    person.until(lambda: len(layer.data) == 1)
    layer.add(np.array([[0.0, 0.0], [0.0, 200.0], [100.0, 200.0], [100.0, 0.0]]), shape_type="ellipse")
    person.until(lambda: len(listed(person)) == 2)
    assert float(listed(person)[1].split()[0]) == pytest.approx(np.pi * 100 * 50 * 0.25e-6, rel=0.01)


def corner(person, place):
    """Click once with the tool of the layer."""
    layer, position = layer_of(person), person.dock.slide.to_world(place)
    at = {"position": position, "pos": np.array(place) * 10.0, "dims_displayed": (0, 1), "button": 1}
    for kind, call in (("mouse_press", mouse_press_callbacks), ("mouse_release", mouse_release_callbacks)):
        call(layer, read_only_mouse_event(type=kind, is_dragging=False, **at))


def test_measurements_are_restored_also_those_that_others_stored(person, slide_path, tmp_path):
    folder = slide_folder(person.dock.run_manager.root, slide_path)
    scale = PixelSize(2.0, 2.0, "given")
    write_notes(folder, SlideNotes(slide_fingerprint(slide_path), (), scale, (LINE, AREA)))  # another day
    person.opens_slides(slide_path)
    person.until(lambda: len(person.session.measures.value) == 2)
    assert person.dock.result_location.folder == folder
    opens_tools(person)
    assert listed(person) == ["0.4 mm", "0.08 mm²"]
    assert layer_of(person).scale == pytest.approx((2.0, 2.0))
    person.dock.add_bookmark()
    person.waits()
    assert read_notes(folder).measures == (LINE, AREA)
    assert read_notes(folder).pixel_size == scale

    # Those of another window are kept on switching back.
    person.opens_slides(draw_slide(tmp_path / "first.tif", tint=9))
    person.until(lambda: person.dock.result_location is not None)
    folder = person.dock.result_location.folder
    person.opens_slides(draw_slide(tmp_path / "second.tif", tint=3))
    write_notes(folder, SlideNotes(measures=(AREA,)))
    person.dock.picker.step(2)  # beyond the last slide
    person.until(lambda: person.session.measures.value == (AREA,))
    person.waits()
    assert read_notes(folder).measures == (AREA,)

    # Those of another results folder are shown.
    path = draw_slide(tmp_path / "last.tif", tint=30)
    person.opens_slides(path)
    person.until(lambda: person.dock.result_location is not None)
    presses(person, "measure_line")
    draws(person, LINE)
    person.until(lambda: kept(person) == (LINE,))
    other = slide_folder(tmp_path / "other", path)
    write_notes(other, SlideNotes(measures=(AREA,)))
    person.dock._on_root_chosen(tmp_path / "other")
    person.waits()
    assert person.session.measures.value == (AREA,)
    person.dock.add_bookmark()
    person.waits()
    assert read_notes(other).measures == (AREA,)


def test_the_tool_stays_with_the_space_bar_and_an_angle_is_drawn_by_three_clicks(person, slide_path):
    person.opens_slides(slide_path)
    opens_tools(person)
    mouse = CanvasMouse(person)
    for tool in ("line", "area", "angle"):
        presses(person, f"measure_{tool}")
        layer = layer_of(person)
        mode = layer.mode
        layer.mode = "pan_zoom"  # as napari does while the space bar is held
        layer.mode = mode
        assert person.finds(QAbstractButton, f"measure_{tool}").isChecked()
    for point in ((100, 300), (100, 100), (300, 300)):
        mouse.clicks(point)
    person.until(lambda: len(listed(person)) == 1)
    (label,) = listed(person)
    assert label.endswith("°")
    assert float(label[:-1]) == pytest.approx(45, abs=1.5)
    for point in ((400, 300), (400, 100), (300, 100)):  # the tool stays active
        mouse.clicks(point)
    person.until(lambda: len(listed(person)) == 2)
    assert float(listed(person)[1][:-1]) == pytest.approx(90, abs=1.5)
    presses(person, "measure_line")
    draws(person, LINE)
    person.until(lambda: listed(person)[2:] == ["0.1 mm"])
    person.waits()
    person.until(lambda: [one.kind for one in kept(person)] == ["angle", "angle", "line"])
    assert person.session.ruler_line == LINE

    before = kept(person)
    person.viewer.layers.clear()
    person.waits()  # as tomorrow
    person.opens_slides(slide_path)
    person.until(lambda: listed(person)[:1] == [label])
    assert read_measures(layer_of(person)) == before
    items = person.finds(QListWidget, "measures")
    items.setCurrentRow(0)
    person.qtbot.keyClick(items, Qt.Key.Key_Delete)
    assert len(listed(person)) == 2
    presses(person, "measure_undo")
    assert listed(person)[0] == label


@pytest.mark.slow
def test_measurements_are_shown_although_the_counts_are_damaged(person, slide_path):
    person.opens_slides(slide_path)
    folder = person.dock.result_location.folder
    opens_tools(person)
    presses(person, "measure_line")
    draws(person, LINE)
    person.until(lambda: listed(person) == ["0.1 mm"])
    person.dock.close_slide()
    person.waits()
    (folder / COUNTS).write_text("damaged")
    person.opens_slides(slide_path)
    person.until(lambda: listed(person) == ["0.1 mm"])
    assert read_measures(layer_of(person)) == (LINE,)
    person.until(lambda: COUNTS in person.finds(QLabel, "count_text").text())
    assert not person.finds(QAbstractButton, "count_points").isEnabled()
    presses(person, "measure_line")
    assert layer_of(person).mode == "add_line"

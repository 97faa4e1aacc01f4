"""Ruler and areas in the Slide dock: drawn, said in mm, undone, and kept with the slide."""

from __future__ import annotations

import numpy as np
import pytest
from fake_slides import draw_slide
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QListWidget
from slide_stage import FIXTURES

from napari_melanoma.io.slide_notes import Measure, read_notes
from napari_melanoma.ui.slide import layers as slide_layers
from napari_melanoma.ui.slide import measure_layer

user, launched, slide_path, person, analysed = map(pytest.fixture, FIXTURES)
LINE = Measure("line", ((100.0, 100.0), (100.0, 300.0)))  # 0.1 mm at 0.5 µm a pixel
AREA = Measure("area", ((10.0, 10.0), (10.0, 210.0), (110.0, 210.0), (110.0, 10.0)))  # 0.005 mm²


def opens_tools(person):
    person.dock.measure_fold.toggleButton().click()
    person.until(lambda: person.dock.around.measuring._view is not None)


def presses(person, name):
    """Press a button wherever the dock is scrolled to."""
    button = person.finds(QAbstractButton, name)
    assert button.isEnabled()
    button.click()


def listed(person):
    found = person.finds(QListWidget, "measures")
    return [found.item(index).text() for index in range(found.count())]


def layer_of(person):
    return slide_layers.part(person.viewer, person.dock.slide, "measures")


def draws(person, measure):
    """Draw as napari does when the mouse is let go."""
    kind = "line" if measure.kind == "line" else "polygon"
    layer_of(person).add(np.array(measure.points) - 0.5, shape_type=kind)


def kept(person):
    return read_notes(person.dock.place.folder).measures


def test_lines_and_areas_are_said_kept_and_found_again(person, slide_path):
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
    assert list(layer_of(person).features["said"]) == ["0.1 mm", "0.005 mm²"]
    presses(person, "measure_area")  # put away
    assert layer_of(person).mode == "pan_zoom"
    person.waits()
    person.until(lambda: kept(person) == (LINE, AREA))

    person.viewer.layers.clear()
    person.dock.around.measuring._known.clear()  # as tomorrow
    person.opens_slides(slide_path)
    person.until(lambda: listed(person) == ["0.1 mm", "0.005 mm²"])
    assert measure_layer.read(layer_of(person)) == (LINE, AREA)


def test_each_change_can_be_undone(person, slide_path):
    person.opens_slides(slide_path)
    opens_tools(person)
    presses(person, "measure_line")
    for measure in (LINE, AREA):
        draws(person, measure)
        person.until(lambda measure=measure: person.dock.around.measuring.measures[-1:] == (measure,))
    items = person.finds(QListWidget, "measures")
    items.setCurrentRow(0)
    items.setFocus()
    person.qtbot.keyClick(items, Qt.Key.Key_Delete)
    person.until(lambda: listed(person) == ["0.005 mm²"])
    assert len(layer_of(person).data) == 1
    presses(person, "measure_undo")
    assert listed(person) == ["0.1 mm", "0.005 mm²"]
    assert measure_layer.read(layer_of(person)) == (LINE, AREA)
    presses(person, "measure_undo")
    assert listed(person) == ["0.1 mm"]
    presses(person, "measure_redo")
    assert listed(person) == ["0.1 mm", "0.005 mm²"]
    person.until(lambda: kept(person) == (LINE, AREA))
    layer = layer_of(person)
    layer.selected_data = {0}
    layer.remove_selected()  # in napari's own way
    person.until(lambda: listed(person) == ["0.005 mm²"])


def test_another_slide_has_measures_of_its_own_and_a_scale_changes_what_is_said(person, slide_path, tmp_path):
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
    person.dock.picker.ruler.click()
    person.dock.scale._number.setValue(2.0)
    person.clicks("scale_set")
    person.until(lambda: listed(person) == ["0.4 mm"])
    assert list(layer_of(person).features["said"]) == ["0.4 mm"]
    person.waits()
    person.clicks("previous_slide")
    person.until(lambda: listed(person) == ["0.1 mm"])


def test_what_encloses_nothing_goes_and_other_shapes_count(person, slide_path):
    person.opens_slides(slide_path)
    opens_tools(person)
    presses(person, "measure_area")
    layer = layer_of(person)
    layer.add(np.array([[5.0, 5.0], [5.0, 5.0]]), shape_type="line")
    person.until(lambda: len(layer.data) == 0)
    layer.add(np.array([[0.0, 0.0], [0.0, 200.0], [100.0, 200.0], [100.0, 0.0]]), shape_type="ellipse")
    person.until(lambda: len(listed(person)) == 1)
    assert float(listed(person)[0].split()[0]) == pytest.approx(np.pi * 100 * 50 * 0.25e-6, rel=0.01)

"""Drawing at unusual moments: before another slide is displayed, left unfinished, or with no slide in view."""

from __future__ import annotations

from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from fake_slides import draw_slide
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks
from qtpy.QtWidgets import QAbstractButton, QListWidget
from region_access import opens_section
from slide_fixtures import UNSEEN

from napari_melanoma.slides.notes import SlideMeasurement, read_notes
from napari_melanoma.ui.sections.measure.layer import read_measures
from napari_melanoma.ui.slide import run_manager
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.view_memory import fit_view

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
AREA = ((10, 10), (10, 200), (200, 200))
LINE = SlideMeasurement("line", ((100.0, 100.0), (100.0, 300.0)))


def opens_tools(person):
    person.opens_section("Measure")


def layer_of(person):
    return slide_layers.find_layer(person.viewer, person.dock.slide, "measures")


def draws_line(person):
    person.finds(QAbstractButton, "measure_line").click()
    layer_of(person).add(np.array(LINE.points) - 0.5, shape_type="line")


def moves_mouse(layer, kind, point):
    calls = {
        "mouse_press": mouse_press_callbacks,
        "mouse_move": mouse_move_callbacks,
        "mouse_release": mouse_release_callbacks,
    }
    position = tuple(layer.data_to_world(point))
    pos = np.array(point) * 10.0  # on the canvas, far enough for napari to distinguish vertices
    event = read_only_mouse_event(type=kind, is_dragging=False, position=position, pos=pos, dims_displayed=(0, 1))
    calls[kind](layer, event)


def begins_area(person, *corners):
    """Click the corners of an area, without the double click that ends it."""
    if not (button := person.finds(QAbstractButton, "measure_area")).isChecked():
        button.click()
    layer = layer_of(person)
    for point in corners:
        for kind in ("mouse_move", "mouse_press", "mouse_release"):
            moves_mouse(layer, kind, point)
    moves_mouse(layer, "mouse_move", (corners[-1][0] + 5, corners[-1][1] + 5))
    return layer


@pytest.mark.path
def test_a_line_is_saved_although_another_slide_is_displayed_or_it_is_closed_at_once(person, slide_path, tmp_path):
    other = draw_slide(tmp_path / "other.tif")
    person.opens_slides(other)
    person.opens_slides(slide_path)
    opens_tools(person)
    folder = person.dock.result_location.folder
    draws_line(person)
    begins_area(person, *AREA)  # without the double click that ends it
    person.dock.show_file(other)  # before the measurement has settled
    person.waits()
    assert person.dock.slide.info.path == other
    line, area = read_notes(folder).measures
    assert line.kind == "line"
    np.testing.assert_allclose(area.points, np.array(AREA) + 0.5, err_msg="without the position of the mouse")
    assert read_notes(person.dock.result_location.folder).measures == ()

    # Also if its slide is closed at once.
    person.opens_slides(draw_slide(tmp_path / "third.tif", tint=9))
    folder = person.dock.result_location.folder
    draws_line(person)
    person.dock.close_slide()
    person.waits()
    assert read_notes(folder).measures == (LINE,)


def test_an_unfinished_area_can_be_left_or_undone_and_the_brush_needs_the_slide_in_view(person, slide_path):
    person.opens_slides(slide_path)
    opens_tools(person)
    draws_line(person)
    person.until(lambda: person.finds(QListWidget, "measures").count() == 1)

    # Escape ends it: two corners have no area.
    layer = begins_area(person, (10, 10), (10, 200))
    assert len(layer.data) == 2
    layer._finish_drawing()  # what napari's Escape key calls
    person.waits()
    person.until(lambda: len(layer.data) == 1)
    assert read_measures(layer) == (LINE,)

    # An area is complete when another tool is chosen.
    begins_area(person, *AREA)
    person.finds(QAbstractButton, "measure_line").click()
    person.until(lambda: len(person.session.measures.value) == 2)
    np.testing.assert_allclose(person.session.measures.value[1].points, np.array(AREA) + 0.5)
    person.finds(QAbstractButton, "measure_undo").click()
    assert read_measures(layer) == (LINE,)

    # So is it when the view is moved with the space bar.
    begins_area(person, *AREA)
    layer.mode = "pan_zoom"
    person.until(lambda: len(person.session.measures.value) == 2)
    np.testing.assert_allclose(person.session.measures.value[1].points, np.array(AREA) + 0.5)
    layer.mode = "add_polygon"
    person.finds(QAbstractButton, "measure_undo").click()

    # Undo removes it with the last measurement.
    layer = begins_area(person, (10, 10), (10, 200))
    person.finds(QAbstractButton, "measure_undo").click()
    assert read_measures(layer) == ()
    person.finds(QAbstractButton, "measure_redo").click()
    assert read_measures(layer) == (LINE,)
    layer.data = [(layer.data[0] + 50, "line")]
    person.until(lambda: person.session.measures.value[0].points[0] == (150.0, 150.0))

    # The brush needs the slide in view.
    opens_section(person)
    get_camera(person.viewer).center = (1e6, 1e6)
    brush = person.finds(QAbstractButton, "region_brush")
    brush.click()
    assert not brush.isChecked()
    assert "not in view" in person.dock.status.text
    fit_view(person.viewer, tuple(person.dock.slide.layers))
    brush.click()
    assert brush.isChecked()
    assert person.viewer.layers.selection.active.mode == "paint"


@pytest.mark.slow
def test_notes_that_are_edited_during_a_search_are_kept_although_other_slides_are_displayed(
    person, slide_path, tmp_path, monkeypatch
):
    person.opens_slides(slide_path)
    first = person.session
    person.opens_slides(draw_slide(tmp_path / "other.tif"))
    person.waits()
    find, has_read, may_return = run_manager._find_results, Event(), Event()

    def find_slowly(*args):
        location = find(*args)
        has_read.set()
        may_return.wait(30)
        return location

    monkeypatch.setattr(run_manager, "_find_results", find_slowly)
    person.dock.show_file(slide_path)
    person.until(has_read.is_set)
    first.edit_notes(lambda notes: replace(notes, angle=90.0))
    for path in (tmp_path / "other.tif", slide_path):
        person.dock.show_file(path)
    may_return.set()
    person.waits()
    assert person.session is first
    assert first.notes.value.angle == 90.0
    assert read_notes(first.folder).angle == 90.0

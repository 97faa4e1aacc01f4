"""Draw lesions manually in the Slide dock: class, measurement, undo, saving."""

from __future__ import annotations

import numpy as np
import pytest
from canvas_mouse import CanvasMouse
from fake_slides import MPP, TILE, draw_slide
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QComboBox, QFrame, QLabel, QTableView, QWidget
from slide_fixtures import UNSEEN

from napari_melanoma.io.results import read_table

DRAWING = "section drawing"


user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)


def goes_around(person, corners):
    """Draw with the mouse through the tool of the layer."""
    layer = person.viewer.layers[DRAWING]
    points = [
        point
        for start, end in zip(corners, [*corners[1:], corners[0]], strict=True)
        for point in np.linspace(start, end, 12)
    ]
    steps = [("mouse_press", mouse_press_callbacks), *[("mouse_move", mouse_move_callbacks)] * (len(points) - 1)]
    for place, (kind, call) in zip(points, steps, strict=True):
        call(layer, event(person, kind, place))
    mouse_release_callbacks(layer, event(person, "mouse_release", points[-1]))


def event(person, kind, place):
    world = person.dock.slide.to_world(place)
    at = np.array(place) * 10.0  # on the canvas, far enough for napari to distinguish vertices
    return read_only_mouse_event(
        type=kind, is_dragging=kind == "mouse_move", position=world, pos=at, dims_displayed=(0, 1), button=1
    )


def box(top, left, bottom, right):
    return [
        (top * TILE, left * TILE),
        (top * TILE, right * TILE),
        (bottom * TILE, right * TILE),
        (bottom * TILE, left * TILE),
    ]


@pytest.mark.path
@pytest.mark.usefixtures("shown_viewer")
def test_a_lesion_is_drawn_classed_measured_and_undone(analysed):
    person, dock = analysed, analysed.dock
    person.clicks("lesion_draw")
    panel = next(frame for frame in dock.findChildren(QFrame, "notice") if frame.isVisible())
    assert panel.accessibleName() == "Draw a lesion"
    dock.window().resizeDocks([dock.parentWidget()], [340], Qt.Orientation.Horizontal)
    hint = person.finds(QLabel, "draw_hint")
    person.waits()
    assert hint.height() >= hint.heightForWidth(hint.width()), "the hint is cut off"
    assert str(person.viewer.layers[DRAWING].mode) == "add_polygon_lasso"
    goes_around(person, box(9, 9, 12, 13))
    person.until(lambda: len(person.rows()) == 3)
    person.waits()
    lesion = person.lesions[-1]
    assert (lesion.origin, lesion.label) == ("drawn", "benign")
    assert lesion.area_mm2 == pytest.approx(12 * (TILE * MPP / 1000) ** 2, rel=0.05)
    assert lesion.probability == pytest.approx(0.1)
    assert person.lesion_table.selected == (3,)
    assert "Lesion 3 drawn: benign" in dock.status.text or "Saved" in dock.status.text
    assert len(person.viewer.layers[DRAWING].data) == 0

    person.finds(QComboBox, "draw_class").setCurrentIndex(1)
    goes_around(person, box(1, 1, 3, 3))
    person.until(lambda: len(person.rows()) == 4)
    person.waits()
    assert person.rows()[3][1] == "malignant *"
    assert [row["origin"] for row in read_table(person.analysis.path / "lesions.csv")][2:] == ["drawn", "drawn"]
    person.clicks("lesion_undo")
    person.until(lambda: len(person.rows()) == 3)
    person.waits()
    assert "Undone: 1 lesion removed. Saved in" in dock.status.text
    person.clicks("lesion_redo")
    person.until(lambda: len(person.rows()) == 4)
    person.waits()

    person.clicks("lesion_draw")
    assert not panel.isVisible()
    assert DRAWING not in person.viewer.layers
    person.viewer.layers.clear()
    person.opens_slides(person.analysis.slide)
    person.until(lambda: len(person.rows()) == 4)
    assert person.lesions[-1].label == "malignant"


def test_outlines_are_clipped_to_the_slide_and_may_follow_each_other_quickly(analysed):
    person = analysed
    person.clicks("lesion_draw")
    goes_around(person, box(9, 9, 12, 13))
    goes_around(person, box(1, 1, 3, 3))
    person.until(lambda: len(person.rows()) == 4)
    person.waits()

    goes_around(person, box(14, 2, 20, 4))
    person.until(lambda: len(person.rows()) == 5)
    person.waits()
    area = person.lesions[-1].area_mm2
    assert area == pytest.approx(4 * (TILE * MPP / 1000) ** 2, rel=0.05)
    goes_around(person, box(-9, -9, -4, -4))
    person.until(lambda: "Draw around the lesion" in person.dock.status.text)
    assert len(person.rows()) == 5
    goes_around(person, box(5, 5, 7, 7))  # the outline outside the slide does not stand in its way
    person.until(lambda: len(person.rows()) == 6)
    person.waits()

    # The slide is closed while drawing.
    person.viewer.layers.remove(person.viewer.layers["section"])
    person.waits()
    assert not any(button.isChecked() for button in person.dock.context.tool_buttons)
    assert DRAWING not in person.viewer.layers


def answers(monkeypatch, name):
    """Press the button of this name in every dialog."""
    requested = []

    def answered(box):
        requested.append(box.text())
        pressed = box.findChild(QWidget, name)
        box.deleteLater()
        return pressed

    monkeypatch.setattr("napari_melanoma.ui.sections.lesions.section.exec_question", answered)
    return requested


def test_rejected_outline_stays_until_a_class_makes_it_a_lesion(analysed, monkeypatch):
    person, dock, requested = analysed, analysed.dock, answers(monkeypatch, "none")
    person.clicks("lesion_draw")
    goes_around(person, box(2, 14.1, 4, 15.9))  # glass: nothing was asked of the model there
    person.until(lambda: "Choose malignant or benign" in dock.status.text)
    assert len(person.rows()) == 2
    assert len(person.viewer.layers[DRAWING].data) == 1
    assert "not a lesion yet" in person.label_text("draw_hint")
    person.clicks("lesion_draw")  # away with it, and on second thought not
    assert requested == ["Discard the outline that you drew?"]
    assert person.finds(QAbstractButton, "lesion_draw").isChecked()
    assert len(person.viewer.layers[DRAWING].data) == 1
    combo = person.finds(QComboBox, "draw_class")
    combo.setCurrentIndex(2)
    combo.activated.emit(2)
    person.until(lambda: len(person.rows()) == 3)
    person.waits()
    assert person.rows()[2][:3] == ["3", "benign *", "–"]
    assert "Choose malignant or benign" not in dock.status.text
    assert "not a lesion yet" not in person.label_text("draw_hint")
    person.clicks("lesion_draw")
    assert (person.finds(QAbstractButton, "lesion_draw").isChecked(), len(requested)) == (False, 1)

    # It is discarded only after confirmation.
    combo.setCurrentIndex(0)
    combo.activated.emit(0)
    person.clicks("lesion_draw")
    goes_around(person, box(5, 14.1, 7, 15.9))
    person.until(lambda: "not a lesion yet" in person.label_text("draw_hint"))
    answers(monkeypatch, "drop")
    person.clicks("lesion_draw")
    assert DRAWING not in person.viewer.layers
    assert "Choose malignant or benign" not in dock.status.text


def test_clicks_refine_a_lesion_in_single_steps_and_drawing_stops_with_its_layer_or_lesions(analysed):
    person, dock = analysed, analysed.dock
    mouse, before = CanvasMouse(person), person.lesions[0]
    person.clicks("lesion_refine")
    assert "Click next to an outline" in dock.status.text
    mouse.clicks((8.5 * TILE, 8 * TILE))  # tissue below the lesion
    person.until(lambda: person.lesions[0].origin == "refined")
    person.waits()
    grown = person.lesions[0]
    assert (grown.index, grown.label) == (before.index, before.label)
    assert grown.area_px > before.area_px
    assert person.rows()[0][1].endswith("*")
    mouse.clicks((8.5 * TILE, 8 * TILE), Qt.MouseButton.RightButton)
    person.until(lambda: person.lesions[0].area_px < grown.area_px)
    person.waits()
    assert person.lesions[0].area_px == pytest.approx(before.area_px, rel=0.03)
    assert read_table(person.analysis.path / "lesions.csv")[0]["origin"] == "refined"
    for expected in (grown, before):
        person.clicks("lesion_undo")
        person.until(lambda expected=expected: person.lesions[0] == expected)
    person.waits()
    mouse.clicks((6 * TILE, 8 * TILE))
    person.until(lambda: "already inside" in dock.status.text)
    person.viewer.layers.selection.active = dock.slide.layers[-1]
    assert not person.finds(QAbstractButton, "lesion_refine").isChecked()

    # Drawing stops with its layer or the lesions.
    button = person.finds(QAbstractButton, "lesion_draw")
    person.clicks("lesion_draw")
    person.viewer.layers.remove(person.viewer.layers[DRAWING])
    assert not button.isChecked()
    person.clicks("lesion_draw")
    assert button.isChecked()
    dock.context.session.results.reset(is_view=False)  # as another analysis does
    assert not button.isChecked()
    assert DRAWING not in person.viewer.layers
    assert not button.isEnabled()
    button.setChecked(True)
    assert not button.isChecked()


def test_the_order_of_the_tables_stays_with_its_slide(analysed, tmp_path):
    person, session = analysed, analysed.session
    person.opens_section("Regions")
    tables = {name: person.finds(QTableView, name) for name in ("lesion_table", "region_list")}
    for table in tables.values():
        table.sortByColumn(3, Qt.SortOrder.DescendingOrder)
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    person.waits()
    person.clicks("previous_slide")
    person.until(lambda: person.session is session)
    person.waits()
    for name, table in tables.items():
        assert person.finds(QTableView, name) is table
        header = table.horizontalHeader()
        assert (header.sortIndicatorSection(), header.sortIndicatorOrder()) == (3, Qt.SortOrder.DescendingOrder)

"""The Side by side section: linked views with an offset."""

from __future__ import annotations

import numpy as np
import pytest
from fake_slides import draw_slide
from qtpy.QtWidgets import QAbstractButton, QLabel
from slide_stage import FIXTURES

from napari_melanoma.ui.viewer.camera import get_camera, get_scale_bar

user, launched, slide_path, person, analysed = map(pytest.fixture, FIXTURES)

# The second view connects napari's settings to itself, for as long as the viewer lives.
pytestmark = pytest.mark.own_viewer


def presses(person, name):
    """Click a button regardless of the scroll position."""
    button = person.finds(QAbstractButton, name)
    assert button.isEnabled()
    button.click()


def closes_the_second(person):
    """Close the second view, and wait until it is deleted."""
    with person.qtbot.waitSignal(person.dock.sections.side_by_side._canvas.destroyed):
        presses(person, "beside_show")


def place(viewer):
    return np.array([*get_camera(viewer).center[-2:], get_camera(viewer).zoom])


@pytest.mark.both_qts
def test_second_view_follows_with_its_offset_and_closes(person, slide_path, tmp_path):
    dock, viewer = person.dock, person.viewer
    person.opens_slides(draw_slide(tmp_path / "ihc.tif", tint=40))
    dock.side_by_side_section.toggleButton().click()
    assert not person.finds(QAbstractButton, "beside_show").isEnabled()
    person.opens_slides(slide_path)
    presses(person, "beside_show")
    beside = dock.sections.side_by_side
    assert [layer.name for layer in beside.model.layers] == ["ihc"]
    assert [layer.visible for layer in beside.model.layers] == [True]
    np.testing.assert_allclose(place(beside.model), place(viewer))

    get_camera(viewer).center, get_camera(viewer).zoom = (0, 60.0, 90.0), 3.0
    np.testing.assert_allclose(place(beside.model), [60, 90, 3])
    get_camera(beside.model).center = (0, 20.0, 30.0)
    np.testing.assert_allclose(place(viewer), [20, 30, 3])

    presses(person, "beside_link")  # apart
    get_camera(beside.model).center = (0, 25.0, 18.0)
    np.testing.assert_allclose(place(viewer), [20, 30, 3])
    presses(person, "beside_align")
    assert beside.offset == (5.0, -12.0)
    assert "-12, 5 µm" in person.finds(QLabel, "beside_words").text()
    get_camera(viewer).center = (0, 100.0, 100.0)
    np.testing.assert_allclose(place(beside.model), [105, 88, 3])
    get_camera(beside.model).zoom = 1.5
    np.testing.assert_allclose(place(viewer), [100, 100, 1.5])

    closes_the_second(person)
    assert beside.model is None


def test_closing_the_second_view_restores_the_width(person, slide_path, tmp_path):
    dock, window = person.dock, person.viewer.window._qt_window
    window.resize(1500, 900)
    person.opens_slides(draw_slide(tmp_path / "ihc.tif", tint=40))
    person.opens_slides(slide_path)
    dock.side_by_side_section.toggleButton().click()
    person.qtbot.wait(200)
    before = dock.width()
    presses(person, "beside_show")
    beside = dock.sections.side_by_side
    person.until(lambda: beside._canvas.width() > 300)
    person.qtbot.wait(200)
    closes_the_second(person)
    person.until(lambda: abs(dock.width() - before) < 20)


def test_view_closes_with_its_slide_and_linking_requires_equal_units(person, slide_path, tmp_path):
    dock, viewer = person.dock, person.viewer
    person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None))
    person.opens_slides(slide_path)
    dock.side_by_side_section.toggleButton().click()
    presses(person, "beside_show")
    beside = dock.sections.side_by_side
    assert not person.finds(QAbstractButton, "beside_link").isEnabled()
    before = place(beside.model)
    get_camera(viewer).zoom = 0.7
    np.testing.assert_allclose(place(beside.model), before)
    with person.qtbot.waitSignal(beside._canvas.destroyed):
        viewer.layers.remove("bare")
    assert beside.model is None
    person.waits()


def test_second_view_shows_results_and_scale_bar(analysed, tmp_path):
    person, dock = analysed, analysed.dock
    person.opens_slides(draw_slide(tmp_path / "ihc.tif", tint=40))
    dock.side_by_side_section.toggleButton().click()
    presses(person, "beside_show")
    beside = dock.sections.side_by_side.model
    assert [layer.name for layer in beside.layers] == ["section", "section heatmap", "section lesions"]
    assert all(layer.visible for layer in beside.layers)
    heatmap = beside.layers["section heatmap"]
    np.testing.assert_array_equal(heatmap.data, person.viewer.layers["section heatmap"].data)
    assert get_scale_bar(beside).visible
    dock.heatmap_controls.opacity.setValue(25)
    dock.heatmap_controls.visible_check.setChecked(False)
    assert (heatmap.opacity, heatmap.visible) == (0.25, False)
    dock.navigation_panel.scale_bar_check.setChecked(False)
    assert not get_scale_bar(beside).visible
    assert not get_scale_bar(person.viewer).visible
    closes_the_second(person)

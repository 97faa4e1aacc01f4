"""Switching between photographs: keys, brush and camera follow, and hidden layers are not edited."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox


@pytest.fixture
def two(person):
    """A user with two analyzed photographs of different sizes; the small one is in view and being painted on."""
    for name, side in (("small", 120), ("large", 200)):
        rgb = np.full((side, side, 3), (215, 170, 150), np.uint8)
        rgb[40:80, 40:80] = (70, 45, side)
        person.opens(name, rgb)
    person.clicks("analyse_all")
    person.waits()
    person.dock.picker.step(1)
    assert person.dock.picker.image.name == "small"
    person.draws(person.layer("mask", "small"), [(5, 5), (5, 60)])
    person.waits()
    return person


def presses_undo(person):
    """Press Ctrl+Z in napari's canvas."""
    native = person.viewer.window._qt_viewer.canvas.native
    person.qtbot.keyClick(native, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)


def by_key(person):
    person.dock.picker.step(1)


def by_list(person):
    combo = person.finds(QComboBox, "photograph")
    combo.setCurrentIndex(combo.findText("large"))
    combo.activated.emit(combo.currentIndex())


@pytest.mark.parametrize("turn", [by_key, by_list])
def test_undo_acts_on_the_photograph_in_view(two, turn):
    drawn = two.layer("mask", "small").data.copy()
    turn(two)
    assert two.viewer.layers.selection.active == two.layer("mask", "large")
    presses_undo(two)
    two.waits()
    assert np.array_equal(two.layer("mask", "small").data, drawn)


def test_a_photograph_without_a_mask_is_selected_itself(two):
    image = two.opens("new")
    two.viewer.layers.selection.active = two.layer("mask", "small")
    two.dock.picker.step(-1)
    assert two.viewer.layers.selection.active == image


def test_a_layer_of_the_user_s_own_stays_selected(two):
    points = two.viewer.add_points(np.zeros((1, 2)))
    by_key(two)
    assert two.viewer.layers.selection.active == points


def test_undo_of_a_hidden_mask_updates_the_result(two, qtbot):
    mask = two.layer("mask", "small")
    mask.visible = False
    presses_undo(two)
    assert not mask.data[5, 30]
    qtbot.waitUntil(lambda: not two.lesion.unsaved, timeout=5_000)
    assert not two.lesion.corrected


def covers(viewer, image):
    """Share of the canvas's smaller side that a photograph fills; 0 if it is not completely in view."""
    camera, size = viewer.scene.camera, np.array(viewer.canvas.size)
    half = size / camera.zoom / 2
    low, high = np.asarray(image.extent.world)
    inside = (low >= camera.center[-2:] - half).all() and (high <= camera.center[-2:] + half).all()
    return float(((high - low) / (2 * half)).max()) if inside else 0.0


def test_a_photograph_out_of_view_is_brought_into_view(two):
    two.viewer.reset_view(layers=[two.layer("mask", "small")])
    by_key(two)
    assert covers(two.viewer, two.dock.picker.image) > 0.9


def test_the_view_of_each_photograph_is_kept_and_restored(two):
    camera = two.viewer.scene.camera
    camera.center, camera.zoom = (0, 20, 30), 30.0
    combo = two.finds(QComboBox, "photograph")
    combo.activated.emit(combo.currentIndex())
    assert (camera.zoom, tuple(camera.center[-2:])) == (30.0, (20, 30))
    by_key(two)
    assert covers(two.viewer, two.dock.picker.image) > 0.9
    by_key(two)
    assert two.dock.picker.image.name == "small"
    assert (camera.zoom, tuple(camera.center[-2:])) == (30.0, (20, 30))


def test_a_newly_opened_photograph_comes_into_view(person, tmp_path):
    """napari fits the view to the first layer alone: the second would be seen in part, and so would its mask."""
    person.opens("small", np.full((120, 160, 3), 180, np.uint8))
    Image.fromarray(np.full((1200, 1600, 3), 180, np.uint8)).save(tmp_path / "large.png")
    person.dock.opener.open([tmp_path / "large.png"])
    person.waits()
    assert covers(person.viewer, person.viewer.layers["large"]) > 0.5


def by_dock(person, paths):
    for path in paths:
        person.dock.opener.open([path])
        person.waits()


def by_dock_at_once(person, paths):
    person.dock.opener.open(paths)


def by_napari(person, paths):
    for path in paths:
        person.viewer.open(path, plugin="napari-melanoma")


@pytest.mark.own_viewer  # readers keep their callbacks in it
@pytest.mark.parametrize("opens", [by_dock, by_dock_at_once, by_napari])
def test_only_the_last_of_several_opened_photographs_is_visible(person, tmp_path, opens):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, shape in zip(paths, [(200, 400, 3), (400, 200, 3)], strict=True):
        Image.fromarray(np.full(shape, 180, np.uint8)).save(path)
    opens(person, paths)
    person.waits()
    assert [layer.name for layer in person.viewer.layers if layer.visible] == ["b"]
    assert person.dock.picker.image.name == "b"
    by_key(person)
    assert [layer.name for layer in person.viewer.layers if layer.visible] == ["a"]

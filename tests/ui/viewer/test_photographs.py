"""Photographs in napari: keys, brush and view follow the displayed one, and their patient data."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from fake_open_case import FakeOpenCase, make_case
from napari.layers import Image
from PIL import Image as PillowImage
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox

from napari_melanoma.ui.session.patient_data import PatientData
from napari_melanoma.ui.session.workspace import Workspace
from napari_melanoma.ui.viewer.view_memory import show_only

PATH = Path("mole.png").absolute()


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
    assert person.dock.picker.session.image.name == "small"
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


def test_layers_that_are_shown_already_are_not_shown_again(two):
    changes = []
    for layer in two.viewer.layers:
        layer.events.visible.connect(lambda event: changes.append(event.source.name))
    show_only(two.viewer, two.dock.picker.session.image)
    assert changes == []


def test_keys_and_view_follow_the_photograph(two):
    small, large = two.layer("mask", "small"), two.layer("mask", "large")
    drawn, combo = small.data.copy(), two.finds(QComboBox, "photograph")
    two.viewer.reset_view(layers=[small])
    # Undo acts on the photograph in view, which is brought into view.
    for turn in (by_key, by_list):
        turn(two)
        assert two.viewer.layers.selection.active == large
        assert covers(two.viewer, two.dock.picker.session.image) > 0.9
        presses_undo(two)
        two.waits()
        assert np.array_equal(small.data, drawn)
        by_key(two)
        assert two.dock.picker.session.image.name == "small"

    # The view of each is kept and restored.
    camera = two.viewer.scene.camera
    camera.center, camera.zoom = (0, 20, 30), 30.0
    combo.activated.emit(combo.currentIndex())
    assert (camera.zoom, tuple(camera.center[-2:])) == (30.0, (20, 30))
    by_key(two)
    assert covers(two.viewer, two.dock.picker.session.image) > 0.9
    by_key(two)
    assert two.dock.picker.session.image.name == "small"
    assert (camera.zoom, tuple(camera.center[-2:])) == (30.0, (20, 30))

    # Undo of a hidden mask updates the result.
    small.visible = False
    presses_undo(two)
    assert not small.data[5, 30]
    two.qtbot.waitUntil(lambda: not two.lesion.unsaved)
    assert not two.lesion.corrected
    small.visible = True

    # A photograph without a mask is selected itself; a layer of the user's own stays selected.
    image = two.opens("new")
    two.viewer.layers.selection.active = small
    two.dock.picker.step(-1)
    assert two.viewer.layers.selection.active == image
    points = two.viewer.add_points(np.zeros((1, 2)))
    by_key(two)
    assert two.viewer.layers.selection.active == points


def covers(viewer, image):
    """Share of the canvas's smaller side that a photograph fills; 0 if it is not completely in view."""
    camera, size = viewer.scene.camera, np.array(viewer.canvas.size)
    half = size / camera.zoom / 2
    low, high = np.asarray(image.extent.world)
    inside = (low >= camera.center[-2:] - half).all() and (high <= camera.center[-2:] + half).all()
    return float(((high - low) / (2 * half)).max()) if inside else 0.0


def test_a_newly_opened_photograph_is_shown(person, tmp_path):
    """napari fits the view to the first layer alone: the second would be seen in part, and so would its mask."""
    person.opens("small", np.full((120, 160, 3), 180, np.uint8))
    PillowImage.fromarray(np.full((1200, 1600, 3), 180, np.uint8)).save(tmp_path / "large.png")
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


def test_only_the_last_of_several_opened_photographs_is_visible(person, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, shape in zip(paths, [(200, 400, 3), (400, 200, 3)], strict=True):
        PillowImage.fromarray(np.full(shape, 180, np.uint8)).save(path)
    for opens in (by_dock, by_dock_at_once, by_napari):
        opens(person, paths)
        person.waits()
        assert [layer.name for layer in person.viewer.layers if layer.visible] == ["b"], opens
        assert person.dock.picker.session.image.name == "b", opens
        by_key(person)
        assert [layer.name for layer in person.viewer.layers if layer.visible] == ["a"], opens
        person.viewer.layers.clear()
        person.waits()


@pytest.fixture
def data():
    return PatientData(Image(np.zeros((4, 4, 3), np.uint8), rgb=True), PATH, Workspace(Mock()))


def test_edits_are_kept_in_addition_to_case_values(data):
    patient = {"patient_id": "P-1", "age": "54", "sex": "female"}
    open_case = FakeOpenCase(data.workspace, make_case(PATH, patient))
    assert (data.case, data.row, data.has_edits) == ("P-1", {"age": "54", "sex": "female"}, False)
    data.set_row({"sex": "male"})  # the age was cleared
    assert (data.row, data.has_edits) == ({"sex": "male"}, True)
    open_case.edit(make_case(PATH, {**patient, "age": "55"}, site="torso"))
    assert data.row == {"sex": "male", "site": "torso"}
    data.reset()
    assert (data.row, data.has_edits) == ({"age": "55", "sex": "female", "site": "torso"}, False)


def test_without_a_case_the_layer_keeps_entered_values(data):
    data.set_row({"age": "54"})
    again = PatientData(data.layer, data.path, data.workspace)
    assert (again.case, again.row) == ("", {"age": "54"})
    assert PatientData(data.layer, None, data.workspace).row == {"age": "54"}

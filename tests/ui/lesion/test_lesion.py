"""Analysis in the Lesion dock through its controls."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.compat import isalive
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QLabel,
    QScrollBar,
    QTableView,
)
from steady import LONG_TEXT, list_message_states, list_moved_controls

from conftest import PATIENCE_MS, photograph, wait_until_idle
from napari_melanoma import worker
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.ui import sample_data
from napari_melanoma.ui.lesion.dock import LesionDock

DISK_AREA = np.pi * 25**2


def last_error() -> str:
    return notification_manager.records[-1].message


def test_an_opened_dock_is_small_at_first_and_completed_after_a_delay(dock, person, qtbot, monkeypatch, shared_client):
    prepared = []
    monkeypatch.setattr(shared_client, "prepare", lambda *request: prepared.append(request))
    draw = sample_data._make_layers  # of the sample, which is opened at the end
    monkeypatch.setattr(sample_data, "_make_layers", lambda name, values: draw(name, values | {"size": (180, 240)}))
    assert dock.findChild(QAbstractButton, "primary") is None
    button = person.finds(QAbstractButton, "primary")
    assert not button.isVisibleTo(dock)  # nothing to work on yet
    # The start page shows how to begin.
    words = person.finds(QLabel, "welcome_text").text()
    assert "Drop a photograph here" in words
    assert dock.welcome.isVisibleTo(dock)
    assert not dock.analyze_button.isEnabled()
    assert "Open a photograph first" in dock.analyze_button.toolTip()
    # All controls are named.
    kinds = (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox)
    controls = [control for kind in kinds for control in dock.findChildren(kind)]
    own = [
        control
        for control in controls
        if not isinstance(control, QScrollBar)
        and not control.objectName().startswith("qt_")
        and not isinstance(control.parent(), QTableView)
    ]
    assert len(own) > 20
    assert [control for control in own if not (control.objectName() and control.accessibleName())] == []
    # A gray image is not a photograph, and a hint is shown.
    person.viewer.add_image(np.zeros((20, 20)), name="cells")
    assert dock.picker.session is None
    hints = [label.text() for label in dock.welcome.findChildren(QLabel)]
    assert any("'cells' is not a color photograph" in hint for hint in hints)
    person.viewer.layers.clear()
    assert prepared == []  # no model is opened without a photograph
    # The sample opens with a link.
    dock.welcome.link_activated.emit("sample")
    qtbot.waitUntil(lambda: len(person.viewer.layers) == 1, timeout=PATIENCE_MS)
    assert person.viewer.layers[0].rgb
    assert not dock.welcome.isVisibleTo(dock)
    qtbot.waitUntil(lambda: button.isVisibleTo(dock), timeout=PATIENCE_MS)
    assert "ermoscopic" in dock.picker.modality.currentText()
    assert prepared[0] == (worker.prepare_segmenter, dock.model.model)
    assert prepared[1][0] == worker.prepare_classifier


@pytest.mark.path
@pytest.mark.both_qts
def test_analyze_segments_the_lesion_and_adds_layers(person):
    image = person.opens(scale=(20.0, 20.0), units=("um", "um"), translate=(100.0, 50.0))
    person.analyses()
    names = [layer.name for layer in person.viewer.layers]
    assert names == ["mole", "mole probability", "mole mask", "mole ROI", "mole contour"]
    for layer in person.viewer.layers:
        assert np.allclose(layer.scale, image.scale)
        assert np.allclose(layer.translate, image.translate)
        assert layer.units == image.units
    assert person.mask.sum() == pytest.approx(DISK_AREA, rel=0.05)
    features = person.layer("mask").features
    assert list(features["index"]) == [1]
    assert features["area_px"][0] == person.mask.sum()
    assert features["area_mm2"][0] == pytest.approx(person.mask.sum() * 0.02**2)
    assert person.finds(QTableView, "measurements").model().rowCount() == 9
    assert "mole: analyzed in" in person.dock.status.text
    assert "with lesion-small on cpu (ONNX Runtime)." in person.dock.status.text


def test_test_time_augmentation_gives_a_band_that_follows_the_threshold_and_measurements_the_scale(person, qtbot):
    image = person.opens()
    assert not person.finds(QCheckBox, "flips").isVisibleTo(person.dock)
    person.clicks("more_analysis")
    assert person.finds(QCheckBox, "flips").isVisibleTo(person.dock)
    person.finds(QCheckBox, "flips").click()
    person.analyses()
    band = person.layer("band")
    assert [layer.name for layer in person.viewer.layers][1:3] == ["mole probability", "mole band"]
    assert band.visible
    assert (band.data == person.lesion.result.band).all()
    assert (band.data[60, 80], band.data[5, 5]) == (0, 1)
    assert "Predictions for the flipped images disagree on" in person.dock.status.text
    person.finds(QAbstractSlider, "threshold_slider").setValue(90)
    person.waits()
    assert person.layer("band") == band
    assert (band.data[60, 80], band.data[5, 5]) == (1, 0)
    person.finds(QCheckBox, "flips").click()
    person.analyses()
    assert "mole band" not in [layer.name for layer in person.viewer.layers]
    # Measurements follow the scale of the image.
    assert "area_mm2" not in person.lesion.result.measurements
    image.scale, image.units = (50.0, 50.0), ("um", "um")
    person.waits()
    assert person.lesion.result.measurements["area_mm2"] == pytest.approx(person.mask.sum() * 0.05**2)
    assert person.lesion.result.photograph.pixel_size == PixelSize(50.0, 50.0)
    assert np.allclose(person.layer("mask").scale, (50.0, 50.0))


def test_a_second_analysis_reuses_the_layers_and_a_duplicate_gets_its_own(person):
    image = person.opens()
    # A double click on Analyze runs once.
    taken = []
    person.dock.analysis_controller.analyzed.connect(taken.append)
    person.clicks("primary")
    person.dock.analyze_button.click()
    person.waits()
    assert len(taken) == 1
    person.analyses()
    assert len(person.viewer.layers) == 5
    # The layers follow the name of their image.
    image.name = "left arm"
    names = {layer.name for layer in person.viewer.layers}
    assert names == {"left arm", *(f"left arm {role}" for role in ("probability", "mask", "ROI", "contour"))}
    assert person.dock.picker.combo.currentText() == "left arm"
    person.analyses()
    assert len(person.viewer.layers) == 5
    # A duplicated image gets layers of its own.
    person.viewer.add_layer(type(image).create(*image.as_layer_data_tuple()))
    assert person.dock.picker.combo.count() == 2
    person.analyses()
    assert len(person.viewer.layers) == 10


def test_an_image_without_lesion_is_reported_and_can_be_painted(person):
    person.opens(rgb=np.full((60, 80, 3), 230, np.uint8))
    person.analyses()
    assert not person.mask.any()
    assert "does not look like a photograph of a skin lesion" in person.dock.status.text  # no verdict on such an image
    person.draws(person.layer("mask"), [(30, 30), (30, 40)])
    person.waits()
    assert person.lesion.result.measurements["area_px"] == person.mask.sum() > 0
    # Skin without a lesion is reported, too, even if the file is damaged.
    person.viewer.layers.clear()
    person.waits()
    image = person.opens(rgb=photograph(lesions=()))
    person.analyses()
    assert "no lesion found with" in person.dock.status.text.lower()
    assert person.dock.status.text.endswith("Lower the threshold or paint the lesion.")
    about = image.metadata["napari_melanoma"]
    image.metadata = {**image.metadata, "napari_melanoma": {**about, "damage": "the last rows are missing"}}
    person.analyses()
    assert person.dock.status.text.startswith("mole: Not valid: ")
    assert ". No lesion found with" in person.dock.status.text
    assert person.dock.status.text.endswith("Lower the threshold or paint the lesion.")


def test_analyze_all_keeps_corrected_masks_and_takes_other_number_types_and_alpha(person):
    rgb = person.opens("one").data
    person.analyses()
    plain = person.layer("mask", "one").data.copy()
    person.draws(person.layer("mask", "one"), [(10, 10), (10, 30)])
    person.waits()
    drawn = person.layer("mask", "one").data.copy()
    others = {
        "16 bit": rgb.astype(np.uint16) * 257,
        "float": rgb / np.float32(255),
        "alpha": np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]),
    }
    for name, data in others.items():
        person.opens(name, data)
    person.clicks("analyse_all")
    person.waits()
    assert np.array_equal(person.layer("mask", "one").data, drawn)
    assert "3 photographs analyzed" in person.dock.status.text
    assert all(np.array_equal(person.layer("mask", name).data, plain) for name in others)
    # The dock follows the layer that is selected.
    first, last = person.viewer.layers["one"], person.viewer.layers["alpha"]
    person.viewer.layers.selection.active = first
    assert person.dock.picker.session.image == first
    person.dock.picker.step(-1)
    assert person.dock.picker.session.image == last
    assert last.visible
    assert not first.visible


def begins_a_long_analysis(person, qtbot):
    person.dock.model.model = "slow-60"
    person.clicks("primary")
    qtbot.waitUntil(lambda: "Finding the lesion" in person.dock.status.text, timeout=20_000)


@pytest.mark.path
def test_an_analysis_that_is_cancelled_or_fails_changes_nothing(person, client, qtbot):
    person.opens()
    # It is cancelled.
    begins_a_long_analysis(person, qtbot)
    person.clicks("cancel")
    person.waits()
    assert "Canceled" in person.dock.status.text
    assert len(person.viewer.layers) == 1
    # Its worker is killed.
    begins_a_long_analysis(person, qtbot)
    os.kill(client.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    person.waits()
    assert "stopped unexpectedly" in last_error()
    assert len(person.viewer.layers) == 1
    # Its model is unknown.
    person.dock.model.model = "nonsense"
    person.analyses()
    assert "There is no model named 'nonsense'" in last_error()
    assert "nonsense" in person.dock.status.text
    assert len(person.viewer.layers) == 1
    # The next one runs.
    person.dock.model.model = "fine"
    person.analyses()
    assert person.mask.any()
    # Its image is removed.
    person.viewer.layers.clear()
    image = person.opens()
    person.dock.model.model = "slow-0.5"
    person.clicks("primary")
    person.viewer.layers.remove(image)
    person.waits()
    assert len(person.viewer.layers) == 0
    assert person.dock.welcome.isVisibleTo(person.dock)
    assert person.dock.status.text == "mole was removed during its analysis. Its result was discarded."


@pytest.mark.path
def test_the_options_are_used_by_the_next_dock(person, viewer, client):
    person.opens()
    person.finds(QCheckBox, "flips").click()
    person.finds(QCheckBox, "smooth").click()
    second = LesionDock(viewer, client)
    assert second.flips.isChecked()
    assert second.options.current == person.dock.options.get(person.dock.picker.session)
    assert second.options.current.refinement.smoothing == 0
    second.close()
    second.deleteLater()


@pytest.mark.path
def test_a_corrected_mask_is_replaced_only_after_confirmation(person):
    person.opens()
    person.analyses()
    model = person.mask.copy()
    person.draws(person.layer("mask"), [(10, 10), (10, 60)])
    person.waits()
    drawn = person.mask.copy()
    for pressed, expected in (("Cancel", drawn), ("Replace", model)):
        person.clicks("primary")
        person.answers("replace_corrections", pressed)
        person.waits()
        assert np.array_equal(person.mask, expected), pressed
    person.layer("mask").undo()
    person.waits()
    assert np.array_equal(person.mask, drawn)
    assert person.lesion.corrected
    # The question is about its photograph, also if another one is shown in the meantime.
    person.clicks("primary")
    person.opens("another mole")
    person.answers("replace_corrections", "Replace")
    person.waits()
    assert np.array_equal(person.mask, model)
    assert "another mole mask" not in person.viewer.layers


def test_a_dock_opened_with_a_photograph_is_completed_at_once(viewer, shared_client, qtbot):
    viewer.add_image(np.full((60, 80, 3), 170, np.uint8), name="mole", rgb=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-melanoma", "Lesion")
    qtbot.waitUntil(lambda: dock.findChild(QAbstractButton, "primary") is not None, timeout=PATIENCE_MS)
    assert dock.findChild(QAbstractButton, "primary").isVisibleTo(dock)
    assert not dock.welcome.isVisibleTo(dock)
    wait_until_idle(qtbot, dock)


def test_a_dock_closed_before_it_is_complete_leaves_nothing_behind(viewer, shared_client, qtbot):
    dock = LesionDock(viewer, shared_client)
    parts = (dock.analyze_button, dock.recovery_notice)
    dock.deleteLater()
    qtbot.waitUntil(lambda: not any(isalive(part) for part in parts), timeout=PATIENCE_MS)


def test_a_dock_closed_before_it_is_drawn_starts_no_worker(viewer, qtbot):
    dock = LesionDock(viewer)
    dock.deleteLater()
    qtbot.waitUntil(lambda: not isalive(dock), timeout=PATIENCE_MS)
    qtbot.wait(200)  # longer than it takes to be drawn; the check of every test finds a process that is left


def test_no_control_moves_while_photographs_are_analyzed(window):
    person, dock = window, window.dock
    person.opens()
    person.waits()
    before = {
        "idle": lambda: None,
        "a task": lambda: dock.status.begin("opening", LONG_TEXT),
        "failed": lambda: dock.status.end("opening", LONG_TEXT),
        "analyzed": person.analyses,
    }
    parts = (dock.picker, dock.model, dock.classifier, dock.analyze_button.parentWidget(), dock.save_bar, dock.status)
    moved = list_moved_controls(dock, before, person.waits, lambda: parts)
    states = {
        "results": lambda: None,
        "a warning": lambda: show_warning(dock),
        "unsaved corrections": dock.recovery_notice.show,
        **list_message_states(dock.status),
    }
    moved += list_moved_controls(dock, states, person.waits)
    others = {
        "a photograph": lambda: None,
        "another photograph": lambda: person.opens("another mole", photograph(((50, 60, 20),))),
        "another is analyzed": person.analyses,
    }
    moved += list_moved_controls(dock, others, person.waits, lambda: parts)
    assert not moved, moved


def show_warning(dock):
    dock.findChild(QLabel, "modality_warning").setText(LONG_TEXT)
    dock.modality_notice.show()

"""Manual corrections: brush, scribbles, threshold, selecting a lesion, undo, ROI and ruler."""

from __future__ import annotations

import numpy as np
import pytest
from lesion_fixtures import FIXTURES
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QAbstractButton, QCheckBox, QComboBox, QDoubleSpinBox, QSlider, QSpinBox, QTableView

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)

PATIENCE_MS = 60_000


@pytest.fixture
def analyzed(person):
    """A user with an analyzed photograph: a dark disk of radius 25 around (60, 80)."""
    person.opens()
    person.analyses()
    return person


@pytest.mark.path
def test_everything_follows_the_brush_and_scribbles_their_undo_and_the_reset(analyzed):
    labels, slider = analyzed.layer("mask"), analyzed.finds(QSlider, "threshold_slider")
    before, model = analyzed.lesion.result, analyzed.mask.copy()
    table = analyzed.finds(QTableView, "measurements").model()
    area_before = table.data(table.index(0, 1))
    # Paint and erase activate the brush.
    analyzed.clicks("paint")
    assert (labels.mode, labels.selected_label) == ("paint", 1)
    analyzed.clicks("erase")
    assert labels.mode == "erase"
    # Everything follows a stroke.
    analyzed.draws(labels, [(10, 100), (10, 140)])
    analyzed.waits()
    after, drawn = analyzed.lesion.result, analyzed.mask.copy()
    assert after.corrected
    assert after.measurements["area_px"] == analyzed.mask.sum() > before.measurements["area_px"]
    assert len(after.contours) == 2
    assert after.roi.box != before.roi.box
    assert len(analyzed.layer("contour").data) == 2
    corners = np.asarray(analyzed.layer("ROI").data[0])
    assert corners.min(axis=0).tolist() == [after.roi.box.top - 0.5, after.roi.box.left - 0.5]
    assert table.data(table.index(0, 1)) != area_before
    assert labels.features["area_px"][0] == analyzed.mask.sum()
    assert not slider.isEnabled()
    # Undo brings everything back, and redo the correction.
    labels.undo()
    analyzed.waits()
    assert np.array_equal(analyzed.mask, model)
    assert not analyzed.lesion.corrected
    assert not analyzed.lesion.unsaved
    assert np.array_equal(analyzed.lesion.result.contours[0], before.contours[0])
    assert len(analyzed.layer("contour").data) == 1
    assert slider.isEnabled()
    labels.redo()
    analyzed.waits()
    assert analyzed.lesion.corrected
    # The reset brings the predicted mask back, and can be undone, too.
    analyzed.finds(QAbstractButton, "revert").click()
    analyzed.waits()
    assert np.array_equal(analyzed.mask, model)
    assert slider.isEnabled()
    labels.undo()
    analyzed.waits()
    assert np.array_equal(analyzed.mask, drawn)
    assert not slider.isEnabled()
    # Scribbles update the mask, and undo reverts it.
    assert not analyzed.finds(QAbstractButton, "apply").isVisibleTo(analyzed.dock)
    analyzed.clicks("more_scribbles")
    assert analyzed.finds(QAbstractButton, "apply").isVisibleTo(analyzed.dock)
    analyzed.clicks("apply")
    assert "Draw strokes" in analyzed.dock.status.text
    before = analyzed.mask.copy()
    analyzed.clicks("outside")
    strokes = analyzed.layer("scribbles")
    assert analyzed.viewer.layers.selection.active == strokes
    assert (strokes.mode, strokes.selected_label) == ("paint", 2)
    analyzed.draws(strokes, [(60, 60), (60, 75)], label=2, brush=5)
    analyzed.clicks("inside")
    analyzed.draws(strokes, [(60, 110), (60, 120)], label=1, brush=5)
    analyzed.clicks("apply")
    analyzed.waits()
    assert not analyzed.mask[60, 65]
    assert analyzed.mask[60, 115]
    assert analyzed.lesion.corrected
    assert analyzed.viewer.layers.selection.active == analyzed.layer("mask")
    analyzed.layer("mask").undo()
    analyzed.waits()
    assert np.array_equal(analyzed.mask, before)
    analyzed.clicks("clear")
    assert not strokes.data.any()
    strokes.undo()
    assert strokes.data.any()


def test_the_contour_follows_the_threshold_at_once_and_the_mask_after_a_pause(person, qtbot):
    rows, columns = np.mgrid[:120, :160]
    distance = np.hypot(rows - 60, columns - 80)
    person.opens(rgb=np.repeat(np.clip(2.5 * distance, 0, 255).astype(np.uint8)[..., None], 3, axis=2))
    person.analyses()
    area, outline = person.mask.sum(), np.asarray(person.layer("contour").data[0])
    person.finds(QSlider, "threshold_slider").setValue(90)
    qtbot.waitUntil(
        lambda: np.ptp(np.asarray(person.layer("contour").data[0])[:, 0]) < np.ptp(outline[:, 0]), timeout=PATIENCE_MS
    )
    assert person.mask.sum() == area
    qtbot.waitUntil(lambda: person.mask.sum() < area, timeout=PATIENCE_MS)
    person.waits()
    assert person.lesion.result.threshold == 0.9
    assert person.finds(QDoubleSpinBox, "threshold").value() == 0.9
    person.layer("mask").undo()
    person.waits()
    assert person.mask.sum() == area
    assert person.finds(QSlider, "threshold_slider").value() == 50
    assert person.dock.options.get(person.dock.picker.session).threshold is None


def clicks_on(person, point):
    """Press and release the mouse on the canvas at a pixel (row, column)."""
    from types import SimpleNamespace

    event = SimpleNamespace(position=tuple(person.viewer.layers["mole"].data_to_world(point)), type="mouse_press")
    for callback in list(person.viewer.mouse_drag_callbacks):
        callback(person.viewer, event)


def two_lesions():
    rows, columns = np.mgrid[:120, :160]
    rgb = np.full((120, 160, 3), (215, 170, 150), np.uint8)
    for column, radius in ((50, 25), (120, 15)):
        rgb[(rows - 60) ** 2 + (columns - column) ** 2 <= radius**2] = (70, 45, 40)
    return rgb


def test_a_click_selects_a_lesion(person, qapp):
    person.opens(rgb=two_lesions(), scale=(10.0, 10.0), units=("um", "um"))
    person.analyses()
    assert person.mask[60, 50]
    assert not person.mask[60, 120]
    callbacks = list(person.viewer.mouse_drag_callbacks)
    person.clicks("choose")
    clicks_on(person, (62, 118))
    person.waits()
    assert person.mask[60, 120]
    assert not person.mask[60, 50]
    assert not person.finds(QAbstractButton, "choose").isChecked()
    assert person.viewer.mouse_drag_callbacks == callbacks
    person.layer("mask").undo()
    person.waits()
    assert person.mask[60, 50]
    # All are kept without "largest only".
    person.finds(QCheckBox, "largest_only").click()
    person.waits()
    assert person.mask[60, 50]
    assert person.mask[60, 120]
    # A dock that is closed does not wait for a click any more.
    person.clicks("choose")
    assert person.viewer.mouse_drag_callbacks != callbacks
    person.dock.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert person.viewer.mouse_drag_callbacks == callbacks


def test_roi_scale_and_mask_are_changed_after_an_analysis(analyzed, qtbot):
    check_roi_options(analyzed, qtbot)
    check_ruler(analyzed)
    check_stroke_during_analysis(analyzed, qtbot)


def check_roi_options(analyzed, qtbot):
    """The ROI follows its options, and the mask its threshold."""
    box = analyzed.lesion.result.roi.box
    analyzed.finds(QDoubleSpinBox, "margin").setValue(50)
    side = analyzed.finds(QSpinBox, "side")
    assert not side.isVisibleTo(analyzed.dock)
    analyzed.clicks("more_roi")
    assert side.isVisibleTo(analyzed.dock)
    analyzed.finds(QSpinBox, "side").setValue(64)
    analyzed.finds(QComboBox, "background").setCurrentIndex(1)
    qtbot.waitUntil(lambda: analyzed.lesion.result.roi.image.shape == (64, 64, 3), timeout=PATIENCE_MS)
    assert analyzed.lesion.result.roi.box.height > box.height
    assert analyzed.lesion.result.options.roi.background == "keep"
    assert not analyzed.lesion.corrected
    analyzed.finds(QDoubleSpinBox, "threshold").setValue(0.7)
    qtbot.waitUntil(lambda: analyzed.lesion.result.threshold == 0.7, timeout=PATIENCE_MS)
    analyzed.clicks("threshold_reset")
    qtbot.waitUntil(lambda: analyzed.lesion.result.threshold == 0.5, timeout=PATIENCE_MS)
    assert analyzed.dock.options.get(analyzed.dock.picker.session).threshold is None


def check_ruler(analyzed):
    """The ruler sets the scale of all layers."""
    analyzed.clicks("ruler")
    line = analyzed.layer("ruler")
    assert line.mode == "add_line"
    analyzed.finds(QAbstractButton, "ruler_set").click()
    assert "There is no line yet" in notification_manager.records[-1].message
    line.add_lines(np.array([[10.0, 10.0], [10.0, 110.0]]))
    analyzed.finds(QDoubleSpinBox, "ruler_length").setValue(5)
    analyzed.finds(QAbstractButton, "ruler_set").click()
    analyzed.waits()
    for layer in analyzed.viewer.layers:
        assert np.allclose(layer.scale, (50, 50)), layer.name
        assert str(layer.units[0]) == "micrometer"
    assert analyzed.lesion.result.photograph.pixel_size.source == "ruler"
    assert analyzed.lesion.result.measurements["area_mm2"] == pytest.approx(analyzed.mask.sum() * 0.05**2)
    assert "50 µm per pixel" in analyzed.dock.status.text
    analyzed.finds(QDoubleSpinBox, "ruler_length").setValue(10)  # once more, with a scale already there
    analyzed.finds(QAbstractButton, "ruler_set").click()
    analyzed.waits()
    assert np.allclose(analyzed.layer("mask").scale, (100, 100))
    analyzed.finds(QAbstractButton, "ruler_clear").click()
    analyzed.waits()
    assert np.allclose(analyzed.layer("mask").scale, (1, 1))
    assert "area_mm2" not in analyzed.lesion.result.measurements


def check_stroke_during_analysis(analyzed, qtbot):
    """A stroke during an analysis is kept."""
    analyzed.dock.model.model = "slow-1"
    analyzed.clicks("primary")
    qtbot.waitUntil(lambda: "Finding the lesion" in analyzed.dock.status.text, timeout=PATIENCE_MS)
    analyzed.draws(analyzed.layer("mask"), [(10, 10), (10, 60)])
    drawn = analyzed.mask.copy()
    analyzed.waits()
    assert np.array_equal(analyzed.mask, drawn)

"""Correcting a mask by hand: brush, scribbles, threshold, selecting a lesion, ROI, ruler, labels of other tools."""

from __future__ import annotations

import numpy as np
import pytest
from click_tool import use_tool
from lesion_fixtures import FIXTURES, TWO, gradient
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QMenu,
    QSlider,
    QSpinBox,
    QTableView,
)

from conftest import PATIENCE_MS, photograph
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.data.corrections import Corrections
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.results import read_result
from napari_melanoma.ui.session.adoption import LabelsSource
from napari_melanoma.ui.session.adoption import read_mask as read_labels
from napari_melanoma.ui.session.corrections_store import ReviewSettings
from napari_melanoma.ui.session.recovery import find_recovery
from napari_melanoma.ui.viewer import photographs

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)


@pytest.mark.path
def test_everything_follows_the_brush_and_scribbles_their_undo_and_the_reset(person):
    person.opens()
    person.analyses()
    labels, slider = person.layer("mask"), person.finds(QSlider, "threshold_slider")
    before, model = person.lesion.result, person.mask.copy()
    table = person.finds(QTableView, "measurements").model()
    area_before = table.data(table.index(0, 1))
    # Everything follows a stroke.
    person.draws(labels, [(10, 100), (10, 140)])
    person.waits()
    after, drawn = person.lesion.result, person.mask.copy()
    assert after.corrected
    assert after.measurements["area_px"] == person.mask.sum() > before.measurements["area_px"]
    assert len(after.contours) == 2
    assert after.roi.box != before.roi.box
    assert len(person.layer("contour").data) == 2
    corners = np.asarray(person.layer("ROI").data[0])
    assert corners.min(axis=0).tolist() == [after.roi.box.top - 0.5, after.roi.box.left - 0.5]
    assert table.data(table.index(0, 1)) != area_before
    assert labels.features["area_px"][0] == person.mask.sum()
    assert not slider.isEnabled()
    # Undo brings everything back, and redo the correction.
    labels.undo()
    person.waits()
    assert np.array_equal(person.mask, model)
    assert not person.lesion.corrected
    assert not person.lesion.unsaved
    assert np.array_equal(person.lesion.result.contours[0], before.contours[0])
    assert len(person.layer("contour").data) == 1
    assert slider.isEnabled()
    labels.redo()
    person.waits()
    assert person.lesion.corrected
    # The reset brings the predicted mask back, and can be undone, too.
    person.finds(QAbstractButton, "revert").click()
    person.waits()
    assert np.array_equal(person.mask, model)
    assert slider.isEnabled()
    labels.undo()
    person.waits()
    assert np.array_equal(person.mask, drawn)
    assert not slider.isEnabled()
    # Scribbles update the mask, and undo reverts it.
    person.clicks("apply")
    assert "Draw strokes" in person.dock.status.text
    before = person.mask.copy()
    person.clicks("outside")
    strokes = person.layer("scribbles")
    assert (strokes.mode, strokes.selected_label) == ("paint", 2)
    person.draws(strokes, [(60, 60), (60, 75)], label=2, brush=5)
    person.clicks("inside")
    person.draws(strokes, [(60, 110), (60, 120)], label=1, brush=5)
    person.clicks("apply")
    person.waits()
    assert not person.mask[60, 65]
    assert person.mask[60, 115]
    assert person.lesion.corrected
    person.layer("mask").undo()
    person.waits()
    assert np.array_equal(person.mask, before)


def test_a_stroke_that_is_drawn_before_the_mask_is_redrawn_from_scribbles_is_kept(person):
    person.opens("mole", gradient())
    person.analyses()
    person.clicks("inside")
    person.draws(person.layer("scribbles"), [(60, 70), (60, 90)], label=1, brush=5)
    person.waits()
    person.clicks("apply")
    person.draws(person.layer("mask"), [(5, 5), (5, 60)])
    drawn = person.mask[5, 5:60].copy()
    assert drawn.all()
    person.waits()
    assert np.array_equal(person.mask[5, 5:60], drawn)


def clicks_on(person, point):
    """Press and release the mouse on the canvas at a pixel (row, column)."""
    from types import SimpleNamespace

    event = SimpleNamespace(position=tuple(person.viewer.layers["mole"].data_to_world(point)), type="mouse_press")
    for callback in list(person.viewer.mouse_drag_callbacks):
        callback(person.viewer, event)


def test_a_click_selects_a_lesion_and_a_closed_dock_waits_for_none(person, qapp):
    person.opens(rgb=photograph(TWO), scale=(10.0, 10.0), units=("um", "um"))
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
    # A dock that is closed does not wait for a click any more.
    person.clicks("choose")
    assert person.viewer.mouse_drag_callbacks != callbacks
    person.dock.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert person.viewer.mouse_drag_callbacks == callbacks


def test_roi_and_scale_are_changed_after_an_analysis(person, qtbot):
    person.opens()
    person.analyses()
    box = person.lesion.result.roi.box
    person.finds(QDoubleSpinBox, "margin").setValue(50)
    person.finds(QSpinBox, "side").setValue(64)
    person.finds(QComboBox, "background").setCurrentIndex(1)
    qtbot.waitUntil(lambda: person.lesion.result.roi.image.shape == (64, 64, 3), timeout=PATIENCE_MS)
    assert person.lesion.result.roi.box.height > box.height
    assert person.lesion.result.options.roi.background == "keep"
    assert not person.lesion.corrected
    # The ruler sets the scale of all layers.
    person.clicks("ruler")
    line = person.layer("ruler")
    person.finds(QAbstractButton, "ruler_set").click()
    assert "There is no line yet" in notification_manager.records[-1].message
    line.add_lines(np.array([[10.0, 10.0], [10.0, 110.0]]))
    person.finds(QDoubleSpinBox, "ruler_length").setValue(5)
    person.finds(QAbstractButton, "ruler_set").click()
    person.waits()
    for layer in person.viewer.layers:
        assert np.allclose(layer.scale, (50, 50)), layer.name
        assert str(layer.units[0]) == "micrometer"
    assert person.lesion.result.photograph.pixel_size.source == "ruler"
    assert person.lesion.result.measurements["area_mm2"] == pytest.approx(person.mask.sum() * 0.05**2)
    person.finds(QDoubleSpinBox, "ruler_length").setValue(10)  # once more, with a scale already there
    person.finds(QAbstractButton, "ruler_set").click()
    person.waits()
    assert np.allclose(person.layer("mask").scale, (100, 100))
    person.finds(QAbstractButton, "ruler_clear").click()
    person.waits()
    assert np.allclose(person.layer("mask").scale, (1, 1))
    assert "area_mm2" not in person.lesion.result.measurements
    # It keeps the aspect of pixels.
    person.viewer.layers.clear()
    person.waits()
    image = person.opens(scale=(100.0, 50.0), units=("um", "um"), translate=(1000.0, 500.0))
    person.analyses()
    area = person.lesion.result.measurements["area_mm2"]
    person.clicks("ruler")
    ruler = person.layer("ruler")
    ruler.add_rectangles(np.array([(10.0, 10.0), (20.0, 110.0)]))
    person.clicks("ruler_set")
    assert "not a straight line" in person.dock.status.text
    assert person.lesion.result.measurements["area_mm2"] == area
    for end in ((10.0, 110.0), (110.0, 10.0), (70.0, 90.0)):
        ruler.data = []
        ruler.add_lines(np.array([(10.0, 10.0), end]))
        agreed = np.hypot(0.1 * (end[0] - 10), 0.05 * (end[1] - 10))
        person.finds(QDoubleSpinBox, "ruler_length").setValue(agreed)
        person.finds(QAbstractButton, "ruler_set").click()
        person.waits()
        assert person.lesion.result.measurements["area_mm2"] == pytest.approx(area, rel=1e-3)
        assert np.allclose(image.translate, (1000, 500), rtol=1e-3)
    # A scale moves each axis by its own factor.
    person.viewer.layers.clear()
    person.waits()
    image = person.opens(translate=(10.0, 20.0))
    person.analyses()
    photographs.set_pixel_size(person.viewer, image, PixelSize(100.0, 50.0))
    person.waits()
    for layer in person.viewer.layers:
        assert np.allclose(layer.scale, (100, 50)), layer.name
        assert np.allclose(layer.translate, (1000, 1000)), layer.name


def test_a_stroke_during_an_analysis_is_kept(person, qtbot):
    person.opens()
    person.analyses()
    person.dock.model.model = "slow-1"
    person.clicks("primary")
    qtbot.waitUntil(lambda: "Finding the lesion" in person.dock.status.text, timeout=PATIENCE_MS)
    person.draws(person.layer("mask"), [(10, 10), (10, 60)])
    drawn = person.mask.copy()
    person.waits()
    assert np.array_equal(person.mask, drawn)


def two_labels(shape=(120, 160)):
    """Two labels that touch, and one apart: int64 (row, column)."""
    labels = np.zeros(shape, np.int64)
    labels[40:80, 30:60], labels[40:80, 60:80], labels[20:40, 110:140] = 7, 3, 1_000_000
    return labels


def adopts(person, data, name="cells", **options):
    layer = person.viewer.add_labels(data, name=name, **options)
    person.waits()
    person.clicks("use_labels")
    person.waits()
    return layer


def test_labels_become_the_analysis_of_a_photograph_that_was_not_analyzed(person, tmp_path):
    ReviewSettings().corrections = tmp_path / "corrections"
    person.dock.corrections.store.folder = tmp_path / "corrections"
    (tmp_path / "results").mkdir()
    person.dock.settings.folder = tmp_path / "results"
    person.opens(rgb=photograph(((60, 45, 20), (60, 115, 20))))
    adopts(person, two_labels())
    result = person.lesion.result
    assert person.lesion.corrected
    assert person.lesion.unsaved
    assert not result.is_predicted
    assert result.provenance["labels_layer"] == {"name": "cells", "labels": 3}
    assert len(result.mask_parts) == 3
    assert np.array_equal(person.mask, result.mask)
    assert not person.mask[50, 59]  # of the larger one of two that touch
    assert person.mask[50, 60]
    adopted = person.mask.copy()
    # They would be recovered after a crash.
    found = find_recovery(person.lesion.image_digest, result.photograph)
    assert found is not None
    assert np.array_equal(found.mask, person.mask)
    assert not found.result.is_predicted
    # They are saved with their origin.
    person.clicks("save")
    person.waits()
    about = read_result(tmp_path / "results" / "mole")
    assert (about["model"]["name"], about["corrected_by_hand"], about["lesions_found"]) == ("", True, 3)
    assert about["provenance"]["labels_layer"]["name"] == "cells"
    assert [row["in_mask"] for row in about["lesions"]] == [1, 1, 1]
    assert np.array_equal(read_mask(tmp_path / "results" / "mole" / "mask.png"), adopted)
    # They are stored as corrections without a prediction.
    person.clicks("add_correction")
    person.waits()
    (row,) = Corrections(tmp_path / "corrections").rows()
    assert (row["review"], row["model"], row["prediction_path"]) == ("corrected", "", "")
    assert np.array_equal(read_mask(tmp_path / "corrections" / row["mask_path"]), adopted)
    # An analysis replaces them only after confirmation.
    person.clicks("primary")
    person.answers("replace_corrections", "Cancel")
    assert np.array_equal(person.mask, adopted)
    person.clicks("primary")
    person.answers("replace_corrections", "Replace")
    person.waits()
    assert person.lesion.result.is_predicted
    assert not person.lesion.corrected


UNUSABLE = [
    (np.zeros((120, 160), np.uint8), {}, "empty"),
    (np.ones((3, 120, 160), np.uint8), {}, "found 'cells' of 3 x 120 x 160"),
    (np.ones((120, 160), np.uint8), {"translate": (1000, 0)}, "are outside 'mole'"),
]


def test_labels_replace_a_mask_in_one_step_and_are_corrected_by_clicks(person):
    # Layers that cannot be used change nothing.
    person.opens()
    person.analyses()
    before = person.mask.copy()
    for data, options, message in UNUSABLE:
        layer = adopts(person, data, **options)
        assert message in person.dock.status.text
        assert np.array_equal(person.mask, before), message
        person.viewer.layers.remove(layer)
    adopts(person, two_labels())
    assert person.lesion.corrected
    assert person.lesion.result.is_predicted
    assert np.array_equal(person.mask, person.lesion.result.mask)
    assert len(person.lesion.result.mask_parts) == 3
    person.layer("mask").undo()
    person.waits()
    assert np.array_equal(person.mask, before)
    assert not person.lesion.corrected
    assert "labels_layer" not in person.lesion.result.provenance
    person.layer("mask").redo()
    person.waits()
    person.clicks("click")
    use_tool(person.viewer, "mole", (30, 125), button=2)
    person.waits()
    assert not person.mask[30, 125]
    assert person.lesion.result.provenance["labels_layer"]["name"] == "cells"
    assert "prompts" in person.lesion.result.provenance
    person.clicks("new_lesion")
    use_tool(person.viewer, "mole", (60, 100))
    person.waits()
    assert person.mask[60, 100]
    assert person.mask[50, [45, 60]].all()
    assert not person.mask[30, 125]


def test_moved_labels_are_clipped_and_reported(person):
    person.opens(scale=(20, 20), units="um", translate=(100, 100))
    adopts(person, two_labels(), scale=(0.02, 0.02), units="mm", translate=(1.3, 0.1))
    assert person.mask[100:, 30:59].all()
    labels = np.zeros((120, 160), np.uint8)
    labels[:20, :20], labels[100:, 100:] = 1, 2
    adopts(person, labels, name="other", scale=(20, 20), units="um", translate=(1300, 100))
    menu = person.dock.findChild(QMenu, "labels_layers")
    assert [action.text() for action in menu.actions()] == ["other", "cells"]
    menu.actions()[0].trigger()
    menu.close()
    person.waits()
    assert person.mask[60:80, :20].all()
    assert person.mask.sum() == 400
    assert "1 label outside the photograph" in person.dock.status.text


UM, MM = {"scale": (20, 20), "units": "um"}, {"scale": (0.02, 0.02), "units": "mm"}
PLACES = {  # how both layers lie: shape of the labels, options of the photograph and of the labels
    "half": ((60, 80), {}, {"scale": (2, 2), "translate": (0.5, 0.5)}),
    "2.5 times": ((48, 64), {}, {"scale": (2.5, 2.5), "translate": (0.75, 0.75)}),
    "double": ((240, 320), {}, {"scale": (0.5, 0.5), "translate": (-0.25, -0.25)}),
    "one plane": ((1, 120, 160), {}, {}),
    "with scale": ((120, 160), UM, UM),
    "in mm": ((120, 160), UM, MM),
    "without scale": ((120, 160), UM, {}),
    "moved": ((120, 160), {"scale": (3, 3), "translate": (50, 60)}, {"scale": (3, 3), "translate": (50, 60)}),
}


@pytest.mark.parametrize(("shape", "photo", "labels"), PLACES.values(), ids=PLACES)
def test_layers_are_resampled_to_the_photograph(shape, photo, labels):
    expected = np.zeros((120, 160), bool)
    expected[30:60, 40:80] = True
    rows, columns = shape[-2:]
    data = np.zeros(shape, np.uint8)
    data[..., rows // 4 : rows // 2, columns // 4 : columns // 2] = 1
    source = LabelsSource.from_layers(Labels(data, **labels), Image(photograph(), rgb=True, **photo))
    assert np.array_equal(read_labels(source, None, LesionOptions(), RunContext()).mask, expected)

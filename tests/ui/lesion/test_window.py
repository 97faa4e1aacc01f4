"""The Lesion dock in the window of napari, as its menu opens it: start page, layers, and keys."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from canvas_mouse import CanvasMouse
from click_tool import use_tool
from lesion_fixtures import gradient
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QLabel,
)

from conftest import PATIENCE_MS
from napari_melanoma import worker
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.viewer import layers
from napari_melanoma.ui.viewer.camera import find_canvas


def test_the_start_page_leads_to_a_photograph_and_opens_no_model_before(
    dock, person, qtbot, monkeypatch, shared_client
):
    prepared = []
    monkeypatch.setattr(shared_client, "prepare", lambda *request: prepared.append(request))
    button = person.finds(QAbstractButton, "primary")
    assert not button.isVisibleTo(dock)  # nothing to work on yet
    assert dock.welcome.isVisibleTo(dock)
    assert not dock.analyze_button.isEnabled()
    assert "Open a photograph first" in dock.analyze_button.toolTip()
    # A gray image is not a photograph, and a hint is shown.
    person.viewer.add_image(np.zeros((20, 20)), name="cells")
    assert dock.picker.session is None
    hints = [label.text() for label in dock.welcome.findChildren(QLabel)]
    assert any("'cells' is not a color photograph" in hint for hint in hints)
    person.viewer.layers.clear()
    assert prepared == []  # no model is opened without a photograph
    # The sample opens with a link.
    dock.welcome.link_activated.emit("sample")
    qtbot.waitUntil(lambda: len(person.viewer.layers) > 0, timeout=PATIENCE_MS)
    assert person.viewer.layers[0].rgb
    assert not dock.welcome.isVisibleTo(dock)
    qtbot.waitUntil(lambda: button.isVisibleTo(dock) and len(prepared) > 1, timeout=PATIENCE_MS)
    assert "ermoscopic" in dock.picker.modality.currentText()
    assert prepared[0] == (worker.prepare_segmenter, dock.model.model)
    assert prepared[1][0] == worker.prepare_classifier


DISK_AREA = np.pi * 25**2


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
    assert "Analyzed in" in person.dock.status.text
    assert "with lesion-small on cpu (ONNX Runtime)." in person.dock.status.text


@pytest.mark.both_qts
def test_the_view_stays_flat_where_there_is_no_volume(person):
    """In napari's 3D view (Ctrl+Y on the canvas, as for *redo*), it cannot change flat shapes: contours would fail."""
    person.opens()
    dims = person.viewer.dims
    dims.ndisplay = 3
    assert dims.ndisplay == 2
    assert (
        person.viewer.window._qt_viewer.canvas.view.camera is person.viewer.window._qt_viewer.canvas.camera._2D_camera
    )
    person.analyses()
    assert person.mask.any()
    person.viewer.add_image(np.zeros((4, 20, 20)), name="volume")
    dims.ndisplay = 3
    assert dims.ndisplay == 3


def test_a_photograph_is_analyzed_and_corrected_while_a_volume_is_shown_in_3d(person):
    person.opens(rgb=gradient())
    person.viewer.add_image(np.zeros((4, 20, 20)), name="volume")
    dims = person.viewer.dims
    dims.ndisplay = 3
    with person.qtbot.captureExceptions() as errors:
        person.analyses()
    assert errors == []
    assert person.mask.any()
    assert dims.ndisplay == 2
    assert [layer.name for layer in person.viewer.layers if "contour" in layer.name and len(layer.data)]
    # So do later changes, such as undo or another threshold.
    dims.ndisplay = 3
    person.dock.controller.rederive(person.dock.picker.session, options=LesionOptions(threshold=0.3))
    with person.qtbot.captureExceptions() as errors:
        person.waits()
    assert errors == []
    assert dims.ndisplay == 2
    # Nothing is changed while nothing is written.
    dims.ndisplay = 3
    person.waits()
    assert dims.ndisplay == 3
    dims.ndisplay = 2


def test_a_quick_stroke_reaches_the_point_where_the_button_is_released(person):
    person.opens()
    person.analyses()
    person.clicks("paint")
    slide = SimpleNamespace(to_world=person.layer("mask").data_to_world)
    mouse = CanvasMouse(SimpleNamespace(viewer=person.viewer, dock=SimpleNamespace(slide=slide)))
    labels, before = person.layer("mask"), person.mask.copy()
    mouse.presses((8, 20))
    mouse.moves_at_once((8, 60))  # vispy drops it
    mouse.releases((8, 130))
    assert person.mask[8, 20:131].all()
    labels.undo()
    assert np.array_equal(person.mask, before), "one step"
    person.clicks("erase")
    mouse.presses((60, 80))
    mouse.releases((60, 100))
    assert not person.mask[60, 80:101].any()
    labels.cursor = "circle_frozen"  # while Alt changes the size of the brush, napari draws nothing
    with pytest.raises(StopIteration):
        next(layers._complete_stroke(labels, SimpleNamespace(button=1)))


SHIFT = Qt.KeyboardModifier.ShiftModifier


def graded_lesion():
    """A lesion that is darker in the middle, so that the masks of the fake worker differ."""
    rows, columns = np.mgrid[:120, :160]
    rgb = np.full((120, 160, 3), (215, 170, 150), np.uint8)
    for radius, gray in ((45, 150), (30, 100), (15, 40)):
        rgb[(rows - 60) ** 2 + (columns - 80) ** 2 <= radius**2] = gray
    return rgb


def press(person, canvas, key, modifier=Qt.KeyboardModifier.NoModifier):
    """Press a key on the canvas; return the size of the mask."""
    QTest.keyClick(canvas, key, modifier)
    person.waits()
    return int(person.mask.sum())


def test_tab_chooses_masks_until_escape_switches_the_tool_off(window):
    window.opens(rgb=graded_lesion())
    window.clicks("click")
    use_tool(window.viewer, "mole", (60, 80))
    window.waits()
    main = window.dock.window()
    canvas = find_canvas(main)
    main.activateWindow()
    canvas.setFocus()
    window.qtbot.waitUntil(lambda: QApplication.activeWindow() is main and canvas.hasFocus())
    middle = int(window.mask.sum())
    large = press(window, canvas, Qt.Key.Key_Tab)
    small = press(window, canvas, Qt.Key.Key_Tab)
    assert small < middle < large
    assert press(window, canvas, Qt.Key.Key_Backtab, SHIFT) == large
    assert press(window, canvas, Qt.Key.Key_Backtab, SHIFT) == middle
    assert canvas.hasFocus()
    assert press(window, canvas, Qt.Key.Key_Tab, Qt.KeyboardModifier.ControlModifier) == middle
    # Escape switches the tool off, and the keys with it.
    assert press(window, canvas, Qt.Key.Key_Escape) == middle
    assert not window.finds(QAbstractButton, "click").isChecked()
    assert str(window.layer("scribbles").mode) == "pan_zoom"
    assert press(window, canvas, Qt.Key.Key_Tab) == middle
    canvas.setFocus()
    window.clicks("click")
    canvas.setFocus()
    assert press(window, canvas, Qt.Key.Key_Tab) > middle


class Keyboard:
    """A user without a pointer: each key goes to the widget that has the keyboard focus."""

    def __init__(self, person):
        self.person = person
        find_canvas(person.viewer.window._qt_window).setFocus()

    def presses(self, key, modifier=Qt.KeyboardModifier.NoModifier):
        QTest.keyClick(QApplication.focusWidget(), key, modifier)
        self.person.waits()

    def chooses_first(self, menu):
        """Choose the first entry of a menu once it is open."""
        if not menu.isVisible():
            QTimer.singleShot(20, lambda: self.chooses_first(menu))
            return
        for key in (Qt.Key.Key_Down, Qt.Key.Key_Return):
            QTest.keyClick(menu, key)

    def moves_to(self, name):
        """Press Tab until a control has the focus."""
        passed = []
        for _ in range(200):
            focused = QApplication.focusWidget()
            if focused.objectName() == name:
                assert not focused.visibleRegion().isEmpty(), f"{name} has the focus and is not in view"
                return focused
            passed.append(focused.objectName() or type(focused).__name__)
            QTest.keyClick(focused, Qt.Key.Key_Tab)
        raise AssertionError(f"Tab does not lead to {name}, but to {', '.join(dict.fromkeys(passed))}")


def test_a_photograph_is_analyzed_corrected_saved_and_reported_with_keys_alone(window, tmp_path, monkeypatch):
    reported = []
    monkeypatch.setattr(window.dock.report_writer, "ask", lambda *arguments: reported.append(arguments))
    window.dock.settings.folder = tmp_path
    window.opens(rgb=gradient())
    user = Keyboard(window)
    user.presses(Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    area = int(window.mask.sum())
    user.moves_to("threshold")
    user.presses(Qt.Key.Key_PageUp)
    assert 0 < window.mask.sum() != area
    user.moves_to("save")
    user.presses(Qt.Key.Key_Space)
    assert window.dock.picker.session.saved.folder == tmp_path / "mole"
    user.moves_to("share")
    QTimer.singleShot(0, lambda: user.chooses_first(window.dock.save_bar.share_button.menu()))
    user.presses(Qt.Key.Key_Space)
    assert len(reported) == 1

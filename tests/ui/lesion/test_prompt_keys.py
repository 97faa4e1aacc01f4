"""Keys on the canvas while the click tool is on, as a user presses them."""

from __future__ import annotations

import numpy as np
import pytest
from click_tool import use_tool
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication

from napari_melanoma.ui.viewer.camera import find_canvas

SHIFT = Qt.KeyboardModifier.ShiftModifier


def graded_lesion():
    """A lesion that is darker in the middle, so that the masks of the fake worker differ."""
    rows, columns = np.mgrid[:120, :160]
    rgb = np.full((120, 160, 3), (215, 170, 150), np.uint8)
    for radius, gray in ((45, 150), (30, 100), (15, 40)):
        rgb[(rows - 60) ** 2 + (columns - 80) ** 2 <= radius**2] = gray
    return rgb


@pytest.fixture
def clicker(window):
    """A user of the click tool, with the keyboard focus on the canvas."""
    window.opens(rgb=graded_lesion())
    window.clicks("click")
    use_tool(window.viewer, "mole", (60, 80))
    window.waits()
    main = window.dock.window()
    window.canvas = find_canvas(main)
    main.activateWindow()
    window.canvas.setFocus()
    window.qtbot.waitUntil(lambda: QApplication.activeWindow() is main and window.canvas.hasFocus())
    return window


def press(person, key, modifier=Qt.KeyboardModifier.NoModifier):
    QTest.keyClick(person.canvas, key, modifier)
    person.waits()
    return int(person.mask.sum())


def test_tab_chooses_masks_until_escape_switches_the_tool_off(clicker):
    middle = int(clicker.mask.sum())
    large = press(clicker, Qt.Key.Key_Tab)
    small = press(clicker, Qt.Key.Key_Tab)
    assert small < middle < large
    assert press(clicker, Qt.Key.Key_Backtab, SHIFT) == large
    assert press(clicker, Qt.Key.Key_Backtab, SHIFT) == middle
    assert clicker.canvas.hasFocus()
    assert press(clicker, Qt.Key.Key_Tab, Qt.KeyboardModifier.ControlModifier) == middle
    # Escape switches the tool off, and the keys with it.
    assert press(clicker, Qt.Key.Key_Escape) == middle
    assert not clicker.finds(QAbstractButton, "click").isChecked()
    assert str(clicker.layer("scribbles").mode) == "pan_zoom"
    assert press(clicker, Qt.Key.Key_Tab) == middle
    clicker.canvas.setFocus()
    clicker.clicks("click")
    clicker.canvas.setFocus()
    assert press(clicker, Qt.Key.Key_Tab) > middle

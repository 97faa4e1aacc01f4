"""Typing into number boxes that are updated at the same time."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDoubleSpinBox, QWidget

from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.sections.mask.resolve import resolve_mask
from napari_melanoma.ui.sections.mask.view import MaskControls
from napari_melanoma.ui.widgets.number_box import NumberBox, set_spin_box_value


def focused(qtbot, widget: QWidget, box: QWidget) -> QWidget:
    qtbot.addWidget(widget)
    widget.show()
    widget.activateWindow()
    qtbot.waitActive(widget)
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    box.selectAll()
    return box


def show_threshold(controls, threshold):
    controls.show_view(resolve_mask(None, LesionOptions(threshold=threshold), 0.5))


@pytest.fixture
def controls(home, nothing_left):
    return MaskControls()


@pytest.mark.both_qts
@pytest.mark.parametrize("delay", [-1, 200])
def test_a_typed_threshold_keeps_its_digits(controls, qtbot, delay):
    box = focused(qtbot, controls, controls.findChild(QDoubleSpinBox, "threshold"))
    qtbot.keyClicks(box, "0.73", delay=delay)
    assert controls.threshold == 0.73
    assert box.text() == "0.73"


def test_an_update_between_two_keys_removes_no_digit(controls, qtbot):
    box = focused(qtbot, controls, controls.findChild(QDoubleSpinBox, "threshold"))
    for key in "0.73":
        qtbot.keyClicks(box, key)
        show_threshold(controls, controls.threshold)
    assert controls.threshold == 0.73
    qtbot.keyClick(box, Qt.Key.Key_Return)
    assert box.text() == "0.73"


def test_a_box_of_a_form_keeps_its_text_while_the_same_number_is_set(qtbot):
    box = focused(qtbot, made := NumberBox(is_integer=False), made)
    for key in "1.50":
        qtbot.keyClicks(box, key)
        if box.value is not None:
            box.value = box.value
    assert box.text() == "1.50"


def test_a_box_without_the_focus_shows_the_number_in_form(qtbot):
    box = QDoubleSpinBox()
    qtbot.addWidget(box)
    set_spin_box_value(box, 0.5)
    assert box.text().endswith("50")

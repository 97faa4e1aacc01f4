"""Typing into number boxes that are updated at the same time; values of boxes and docks are stored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from qtpy.QtCore import QLocale, Qt
from qtpy.QtWidgets import QDoubleSpinBox, QWidget

from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.sections.mask.section import MaskControls
from napari_melanoma.ui.session.open_photograph import PhotographOptions
from napari_melanoma.ui.widgets.number_box import DecimalBox, NumberBox
from napari_melanoma.ui.widgets.settings import DockSettings


def focused(qtbot, widget: QWidget, box: QWidget) -> QWidget:
    qtbot.addWidget(widget)
    widget.show()
    widget.activateWindow()
    qtbot.waitActive(widget)
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    box.selectAll()
    return box


@pytest.fixture
def session(home, nothing_left):
    """A photograph that is not analyzed."""
    options = PhotographOptions(DockSettings(), LesionOptions)
    services = SimpleNamespace(options=options, controller=Mock())
    return SimpleNamespace(lesion=None, masked_lesion=None, pending_options=None, services=services)


@pytest.fixture
def controls(session: Any, qtbot: Any) -> MaskControls:
    made = MaskControls(session)
    qtbot.addWidget(made.state)  # the section places it below other tools
    return made


def threshold_of(session):
    return session.services.options.current.threshold


@pytest.mark.both_qts
@pytest.mark.parametrize("delay", [-1, 200])
def test_a_typed_threshold_keeps_its_digits(session, controls, qtbot, delay):
    box = focused(qtbot, controls, controls.findChild(QDoubleSpinBox, "threshold"))
    qtbot.keyClicks(box, "0.73", delay=delay)
    assert threshold_of(session) == 0.73
    assert box.text() == "0.73"


def test_an_update_between_two_keys_removes_no_digit(session, controls, qtbot):
    box = focused(qtbot, controls, controls.findChild(QDoubleSpinBox, "threshold"))
    for key in "0.73":
        qtbot.keyClicks(box, key)
        controls.update_options()
    assert threshold_of(session) == 0.73
    qtbot.keyClick(box, Qt.Key.Key_Return)
    assert box.text() == "0.73"


def test_a_box_of_a_form_keeps_its_text_while_the_same_number_is_set(qtbot):
    box = focused(qtbot, made := NumberBox(is_integer=False), made)
    for key in "1.50":
        qtbot.keyClicks(box, key)
        if box.value is not None:
            box.value = box.value
    assert box.text() == "1.50"


@pytest.fixture(params=["English", "German", "French", "Arabic"])
def language(request):
    """The language of the system: with decimal points, commas, and digits of its own."""
    before = QLocale()
    QLocale.setDefault(QLocale(QLocale.Language[request.param]))
    yield
    QLocale.setDefault(before)


@pytest.mark.both_qts
@pytest.mark.parametrize("text", ["1.5", "1,5"])
def test_a_decimal_point_or_comma_is_accepted_in_every_language_and_shown_as_a_point(language, qtbot, text):
    box = DecimalBox()
    box.setRange(0, 100)
    box.setSuffix(" mm")
    focused(qtbot, box, box)
    qtbot.keyClicks(box, text)
    qtbot.keyClick(box, Qt.Key.Key_Return)
    assert (box.value(), box.text()) == (1.5, "1.50 mm")
    box.lineEdit().setText(f"2{text} mm")  # pasted
    box.interpretText()
    assert (box.value(), box.text()) == (21.5, "21.50 mm")
    number = focused(qtbot, made := NumberBox(is_integer=False), made)
    qtbot.keyClicks(number, text)
    assert (number.value, number.fault) == (1.5, "")
    number.clearFocus()
    assert number.text() == "1.5"


@pytest.mark.both_qts
def test_a_comma_that_may_separate_thousands_is_no_decimal_comma(qtbot):
    number = focused(qtbot, made := NumberBox(is_integer=False), made)
    qtbot.keyClicks(number, "1,000")
    assert number.value is None
    assert "'1,000' is not allowed: expected a number" in number.fault
    box = DecimalBox()
    box.setRange(0, 10_000)
    focused(qtbot, box, box)
    qtbot.keyClicks(box, "1.234,")
    assert box.text() == "1.23"


@pytest.mark.both_qts
def test_settings_are_kept_in_a_file_of_the_user(home):
    DockSettings().ruler_mm = 25
    kept = list((home / "settings").rglob("*.ini"))
    assert len(kept) == 1
    assert DockSettings().ruler_mm == 25
    settings = DockSettings()
    settings.set("train/x", {"a": [1, 2]})
    assert settings.get("train/x", dict[str, list[int]]()) == {"a": [1, 2]}
    assert settings.get("train/x", "text") == "text"

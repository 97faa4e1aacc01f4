"""In every dock, controls have names, leave the wheel to the dock until clicked, and do not move with messages."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QFocusEvent, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QScrollArea,
    QScrollBar,
    QSlider,
    QStackedWidget,
    QTabBar,
    QTableView,
    QWidget,
)
from slide_fixtures import UNSEEN
from steady import list_message_states, list_moved_controls

from conftest import Person
from napari_melanoma.ui.widgets.wheel import WHEEL_CONTROLS

user, launched, slide_path, slide_person, analysed = map(pytest.fixture, UNSEEN)
DOCKS = ("Lesion", "Slide", "Train", "Review", "Case", "Tray")
NOTCHES = 25


@pytest.fixture
def person(slide_person):
    """The fixtures of the Slide dock call their user so."""
    return slide_person


def turn_wheel(widget, notches):
    """Turn the wheel over the middle of a widget; with positive notches away from the hand."""
    middle = QPointF(widget.rect().center())
    for _ in range(abs(notches)):
        turn = QPoint(0, 120 if notches > 0 else -120)
        none, keys, phase = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase
        at = QPointF(widget.mapToGlobal(middle.toPoint()))
        QApplication.sendEvent(widget, QWheelEvent(middle, at, QPoint(), turn, none, keys, phase, False))


def read_value(widget):
    """Return what a user can change in a widget; None if there is nothing."""
    if isinstance(widget, QAbstractSlider):
        return widget.value()
    if isinstance(widget, (QAbstractSpinBox, QLineEdit)):
        return widget.text()
    if isinstance(widget, (QComboBox, QTabBar, QStackedWidget)):
        return widget.currentIndex()
    if isinstance(widget, QAbstractButton):
        return widget.isChecked()
    if isinstance(widget, QAbstractItemView) and widget.selectionModel() is not None:
        index = widget.currentIndex()
        return index.row(), index.column()
    return None


def list_controls(dock):
    return [one for one in dock.findChildren(QWidget) if not isinstance(one, QScrollBar)]


def expand_sections(dock):
    from napari_melanoma.ui.widgets.style import CollapsibleSection

    for section in dock.findChildren(CollapsibleSection):
        section.expand()


def check_wheel(dock):
    """Turn the wheel over every widget of a dock, in both directions, after the focus was moved there by a key."""
    controls, focused = list_controls(dock), 0
    before = [read_value(control) for control in controls]
    for control in controls:
        if isinstance(control, WHEEL_CONTROLS):
            assert control.focusPolicy() != Qt.FocusPolicy.WheelFocus, control.objectName()
            if control.isVisible():
                control.setFocus(Qt.FocusReason.TabFocusReason)
                focused += control.hasFocus()
        turn_wheel(control, NOTCHES)
        turn_wheel(control, -2 * NOTCHES)
    after = [read_value(control) for control in controls]
    names = [f"{type(control).__name__} {control.objectName()}" for control in controls]
    assert [change for change in zip(names, before, after, strict=True) if change[1] != change[2]] == []
    return focused


def list_unnamed(dock):
    """Return the controls of a dock without a name, or without one for screen readers."""
    kinds = (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox)
    controls = [one for one in list_controls(dock) if isinstance(one, kinds)]
    own = [control for control in controls if not control.objectName().startswith("qt_")]
    own = [control for control in own if not isinstance(control.parent(), QTableView)]
    return [control for control in own if not (control.objectName() and control.accessibleName())]


@pytest.mark.both_qts
@pytest.mark.parametrize("name", [one for one in DOCKS if one != "Slide"])
def test_scrolling_changes_nothing_and_messages_move_nothing(name, user, shown_viewer, shared_client, qtbot):
    _, dock = shown_viewer.window.add_plugin_dock_widget("napari-melanoma", name)
    person = Person(shown_viewer, dock, qtbot)
    if name == "Lesion":
        person.opens()
        person.waits()
        person.analyses()
    expand_sections(dock)
    person.waits()
    dock.window().activateWindow()
    check_wheel(dock)
    person.waits()
    assert list_unnamed(dock) == []
    for area in dock.findChildren(QScrollArea):
        area.verticalScrollBar().setValue(0)
    moved = list_moved_controls(dock, list_message_states(dock.status), person.waits)
    assert not moved, moved


@pytest.mark.both_qts
def test_scrolling_over_a_slide_with_results_changes_nothing(analysed, shown_viewer):
    dock = analysed.dock
    expand_sections(dock)
    analysed.waits()
    rows = analysed.rows()
    dock.window().activateWindow()
    analysed.until(dock.window().isActiveWindow)
    assert check_wheel(dock) > 0
    analysed.waits()
    assert analysed.rows() == rows
    assert analysed.session.lesions.is_saved
    assert list_unnamed(dock) == []

    slider = analysed.finds(QSlider, "slide_opacity")
    QTest.mouseClick(slider, Qt.MouseButton.LeftButton, pos=slider.rect().center())
    clicked = slider.value()
    turn_wheel(slider, 1)
    assert slider.value() != clicked, "after a click, the wheel belongs to the control"
    QApplication.sendEvent(slider, QFocusEvent(QEvent.Type.FocusIn, Qt.FocusReason.TabFocusReason))
    left = slider.value()
    turn_wheel(slider, 1)
    assert slider.value() == left

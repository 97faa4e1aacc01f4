"""Positions of the controls of a dock, compared over its states: nothing may move under the pointer."""

from __future__ import annotations

from collections import Counter

from qtpy.QtCore import QPoint, QRect
from qtpy.QtGui import QCursor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QListWidget,
    QSlider,
    QWidget,
)

from napari_melanoma.core.context import Progress
from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.widgets.status_line import show_failure

CONTROLS = (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QListWidget, QSlider)
LONG_TEXT = "A sentence that takes the whole width of the dock, and so does the next one of this message. " * 2
SIZE = (1200, 1000)  # of the window: napari's layer controls fit, and do not change the height of docks
SETTLE_MS = 50  # for layouts
INSIDE = ("qt_", "ScrollLeftButton", "ScrollRightButton")  # parts of Qt's own controls


def find_positions(dock, parts):
    """Return the top left corners of all controls in parts of a dock that are not hidden, by their names."""
    QTest.qWait(SETTLE_MS)
    counts, positions = Counter(), {}
    for control in (child for part in parts for child in part.findChildren(QWidget)):
        name = f"{control.objectName()} '{control.accessibleName()}'"
        if isinstance(control, CONTROLS) and not name.startswith(INSIDE):
            counts[name] += 1
            if control.isVisibleTo(dock) and not QRect(control.rect()).isEmpty():
                corner = control.mapTo(dock, QPoint())
                positions[f"{name} {counts[name]}"] = (corner.x(), corner.y())
    return positions


def list_moved_controls(dock, states, waits=lambda: None, find_parts=None):
    """Return the controls that have other positions in a later state than in the first one that shows them, one a line.

    ``states``: functions that bring the dock into a state, by the name of the state. ``waits``: until it has settled.
    ``find_parts``: returns the parts of the dock that are compared; by default, all of it is.
    """
    first, moved = {}, []

    def find_moved():
        found = find_positions(dock, (dock,) if find_parts is None else find_parts())
        return {
            control: place for control, place in found.items() if first.setdefault(control, (state, place))[1] != place
        }

    dock.window().resize(*SIZE)
    dock.window().show()
    QCursor.setPos(0, 0)  # not on the dock, which keeps in place what is under the pointer
    QTest.qWait(10 * SETTLE_MS)  # texts wrap again at the new width, which takes a busy machine a while
    for state, enter in states.items():
        enter()
        waits()
        if find_moved():
            QTest.qWait(10 * SETTLE_MS)  # a busy machine lays out widget by widget, upward, with other events between
            for control, place in find_moved().items():
                before, known = first[control]
                moved.append(f"{control}: {known} {before}, {place} {state}")
    return "\n".join(moved)


def list_message_states(status):
    """Return the states of a dock with messages of its status line: long ones, a failure, and a task."""
    return {
        "a long message": lambda: status.show_message(LONG_TEXT),
        "failed": lambda: show_failure(status, InputError(LONG_TEXT)),
        "a task": lambda: status.begin("reporting", LONG_TEXT),
        "half of a task": lambda: status.progress("reporting", Progress(1, 2, LONG_TEXT)),
        "done": lambda: status.end("reporting", "Saved."),
        "no message": lambda: status.show_message(""),
    }

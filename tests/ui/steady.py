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

CONTROLS = (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QListWidget, QSlider)
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
    dock.window().resize(*SIZE)
    QCursor.setPos(0, 0)  # not on the dock, which keeps in place what is under the pointer
    for state, enter in states.items():
        enter()
        waits()
        for control, position in find_positions(dock, (dock,) if find_parts is None else find_parts()).items():
            before, known = first.setdefault(control, (state, position))
            if known != position:
                moved.append(f"{control}: {known} {before}, {position} {state}")
    return "\n".join(moved)

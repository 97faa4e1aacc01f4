"""Several Lesion docks in one process: in one viewer, and in two viewers that show the same photograph."""

from __future__ import annotations

import pytest
from lesion_fixtures import FIXTURES, open_dock
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_melanoma.ui.lesion.dock import LesionDockLink

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)


class Link(LesionDockLink):
    """Notes which docks were connected."""

    def connect_lesion_dock(self, dock):
        self.connected = [*getattr(self, "connected", ()), dock]


def deletes(dock):
    dock.parentWidget().deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def test_another_dock_stays_connected_until_its_lesion_dock_is_closed(viewer, dock, stage, qtbot):
    first, other = dock, QWidget()
    qtbot.addWidget(other)
    link = Link(viewer, other)
    link.open_lesion_dock()
    second = open_dock(stage, viewer)
    assert link.connected_dock is first
    link.open_lesion_dock()
    deletes(second)
    link.open_lesion_dock()
    assert (link.connected_dock, link.connected) == (first, [first])
    third = open_dock(stage, viewer)
    deletes(first)
    assert link.connected_dock is None
    link.open_lesion_dock()
    assert (link.connected_dock, link.connected) == (third, [first, third])

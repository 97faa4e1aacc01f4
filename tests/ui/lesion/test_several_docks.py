"""Several Lesion docks in one process: in one viewer, and in two viewers that show the same photograph."""

from __future__ import annotations

import pytest
from lesion_fixtures import FIXTURES, gradient, open_dock
from napari.components import ViewerModel
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QWidget

from conftest import wait_until_idle
from napari_melanoma.ui.lesion.dock import LesionDockLink
from napari_melanoma.ui.session import recovery

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


@pytest.mark.parametrize("closes", ["photograph", "dock"])
def test_corrections_that_are_open_in_one_viewer_are_not_offered_in_another(person, stage, qtbot, closes):
    def opens_in_another_viewer():
        other.layers.clear()
        other.add_image(gradient(), name="mole", rgb=True)
        wait_until_idle(qtbot)
        return another.picker.session

    person.opens(rgb=gradient())
    person.analyses()
    person.draws(person.layer("mask"), [(10, 100), (10, 140)])
    person.waits()
    assert list(recovery.recovery_root().glob("*/recovery.json"))
    other = ViewerModel()
    another = open_dock(stage, other)
    assert opens_in_another_viewer().recovered is None
    # They are once they were closed there.
    if closes == "dock":
        person.closes()
    else:
        person.viewer.layers.clear()
        person.waits()
    assert opens_in_another_viewer().recovered is not None

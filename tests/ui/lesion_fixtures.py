"""Fixtures for tests of the Lesion dock that need no canvas: a user of the dock in a window with the layers alone.

The window of napari takes most of the time of a test: for each layer that is added, selected or removed it makes and
styles widgets. ``FIXTURES`` replaces the fixtures of a module. The dock is given a proxy of the viewer, as it is when
opened from napari's menu.
"""

from __future__ import annotations

import gc

from napari.components import ViewerModel
from napari.utils._proxies import PublicOnlyProxy
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication, QDockWidget, QMainWindow, QWidget
from quick_napari import draw_no_thumbnails
from reused_viewer import Connections

from conftest import Person, wait_until_idle
from napari_melanoma.ui.lesion.dock import LesionDock

WINDOW_SIZE = (800, 520)


class LesionUser(Person):
    """Simulates a user of the dock, who may close and reopen it."""

    def __init__(self, viewer, dock, qtbot, window):
        super().__init__(viewer, dock, qtbot)
        self.main = window

    def closes(self):
        """Close the dock; what it has added to the viewer stays there."""
        frame = self.dock.parentWidget()
        self.main.removeDockWidget(frame)
        frame.deleteLater()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)

    def reopens(self):
        """Close the dock if it is open, and open it again."""
        if isalive(self.dock):
            self.closes()
        self.dock = open_dock(self.main, self.viewer)


def open_dock(main, viewer, client=None):
    dock = LesionDock(PublicOnlyProxy(viewer), client)
    frame = QDockWidget()
    frame.setWidget(dock)
    main.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, frame)
    return dock


def viewer(client, monkeypatch):
    """An empty viewer without a window; what a closed dock leaves connected to it is an error."""
    draw_no_thumbnails(monkeypatch)
    made = ViewerModel()
    connections = Connections(made)
    yield made
    if connections.added():
        gc.collect()
    left = connections.added()
    assert not left, f"left in the viewer: {left}"


def stage(viewer, nothing_left):
    """The window of the dock; it is closed with the layers still there, as napari's is."""
    main = QMainWindow()
    main.setCentralWidget(QWidget())
    main.resize(*WINDOW_SIZE)
    yield main
    main.hide()
    main.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def dock(viewer, shared_client, stage, qtbot):
    """The Lesion dock in a window that is not shown."""
    yield open_dock(stage, viewer)
    for made in stage.findChildren(LesionDock):
        wait_until_idle(qtbot, made)


def person(viewer, dock, qtbot, stage):
    """A user of the dock."""
    return LesionUser(viewer, dock, qtbot, stage)


def window(viewer, client, qtbot, stage):
    """A user of the dock in a visible window."""
    made = open_dock(stage, viewer, client)
    stage.show()
    qtbot.waitExposed(stage)
    return LesionUser(viewer, made, qtbot, stage)


FIXTURES = (viewer, stage, dock, person, window)

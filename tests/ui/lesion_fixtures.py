"""Fixtures for tests of the Lesion dock that need no canvas: a user of the dock in a window with the layers alone.

The window of napari takes most of the time of a test: for each layer that is added, selected or removed it makes and
styles widgets. ``FIXTURES`` replaces the fixtures of a module. The dock is given a proxy of the viewer, as it is when
opened from napari's menu.
"""

from __future__ import annotations

import gc

import numpy as np
from napari.components import ViewerModel
from napari.utils._proxies import PublicOnlyProxy
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication, QDockWidget, QMainWindow, QWidget

from conftest import PATIENCE_MS, Person, wait_until_idle
from napari_melanoma.data.corrections import Corrections
from napari_melanoma.ui.lesion.dock import LesionDock
from napari_melanoma.ui.session.corrections_store import ReviewSettings
from napari_melanoma.ui.viewer.camera import get_camera

WINDOW_SIZE = (800, 520)
TWO = ((60, 50, 25), (60, 120, 15))  # lesions of a photograph, the second one the smaller


def gradient(column=80):
    """Dark around a column and lighter outwards, so that each threshold gives another mask."""
    rows, columns = np.mgrid[:120, :160]
    distance = np.hypot(rows - 60, columns - column)
    return np.repeat(np.clip(2.5 * distance, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def corrections(tmp_path, home):
    """The corrections that the docks of a test write to."""
    ReviewSettings().corrections = tmp_path / "my corrections"
    return Corrections(tmp_path / "my corrections")


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


def viewer(client, qtbot):
    """An empty viewer without a window; what a closed dock leaves connected to it is an error.

    What a job that still runs refers to is disconnected when the job ends.
    """
    made = ViewerModel()
    before = count_callbacks(made)
    yield made
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)  # docks that a test has opened itself

    def disconnected():
        gc.collect()
        after = count_callbacks(made)
        changed = {name: (before.get(name), after.get(name)) for name in before | after}
        assert after == before, {name: counts for name, counts in changed.items() if counts[0] != counts[1]}

    qtbot.waitUntil(disconnected, timeout=PATIENCE_MS)


def count_callbacks(viewer):
    """Count the callbacks and keys of a viewer that docks add to."""
    sources = (viewer, viewer.layers, viewer.layers.selection, viewer.dims, get_camera(viewer), viewer.cursor)
    emitters = {f"{type(one).__name__}.{name}": e for one in sources for name, e in one.events.emitters.items()}
    mouse = {name: len(getattr(viewer, name)) for name in ("mouse_drag_callbacks", "mouse_move_callbacks")}
    return {name: len(e.callbacks) for name, e in emitters.items()} | mouse | {"keys": len(viewer.keymap)}


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

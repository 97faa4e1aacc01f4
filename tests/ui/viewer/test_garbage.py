"""Libraries are left out of garbage collection while docks are open, and layers are freed nevertheless."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from qtpy.QtCore import QObject
from qtpy.QtGui import QOpenGLContext
from vispy.gloo.glir import GlirProgram

from conftest import wait_until_idle
from napari_melanoma.core.context import RunContext
from napari_melanoma.ui.viewer.garbage import LibraryFreeze, collection_paused, free_in_own_context
from napari_melanoma.ui.widgets.signals import Connections

PATIENCE_MS = 60_000


@pytest.fixture
def connections():
    made = Connections()
    yield made
    made.end()


@pytest.fixture
def thawed():
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_a_frozen_layer_is_freed_when_it_is_removed(viewer, connections, thawed, qtbot):
    gone = [weakref.ref(viewer.add_image(np.zeros((8, 8)))) for _ in range(2)]
    dock = QObject()
    freeze = LibraryFreeze(dock, viewer, connections)
    freeze.freeze()
    viewer.layers.clear()
    assert gc.get_freeze_count() > 0  # the next removal is as fast
    qtbot.waitUntil(lambda: not any(layer() for layer in gone), timeout=PATIENCE_MS)
    assert gc.get_freeze_count() > 0


def test_other_layers_leave_the_libraries_frozen(viewer, connections, thawed):
    dock = QObject()
    freeze = LibraryFreeze(dock, viewer, connections)
    freeze.freeze()
    viewer.layers.remove(viewer.add_image(np.zeros((8, 8))))
    assert gc.get_freeze_count() > 0


def opens(viewer, qtbot, name):
    """Open a dock; only a weak reference is kept."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-melanoma", name)
    wait_until_idle(qtbot, dock)
    return weakref.ref(dock)


@pytest.mark.both_qts
def test_closed_docks_are_freed(viewer, shared_client, thawed, qtbot):
    docks = [opens(viewer, qtbot, name) for name in ("Lesion", "Slide")]
    for dock in docks:
        assert gc.get_freeze_count() > 0
        viewer.window.remove_dock_widget(dock())
    qtbot.waitUntil(lambda: gc.get_freeze_count() == 0, timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: gc.collect() >= 0 and [dock() for dock in docks] == [None, None], timeout=PATIENCE_MS)


def test_garbage_collection_resumes_after_an_error():
    @collection_paused()
    def load(run):
        assert not gc.isenabled()
        run.check()
        raise ImportError("no such library")

    with pytest.raises(ImportError, match="no such library"):
        load(RunContext())
    assert gc.isenabled()


@pytest.mark.slow
def test_shaders_of_a_removed_layer_are_deleted_in_the_context_of_their_canvas(shown_viewer, monkeypatch):
    free_in_own_context()
    canvas = shown_viewer.window._qt_viewer.canvas.native
    layer = shown_viewer.add_image(np.zeros((8, 8)))
    shown_viewer.screenshot(canvas_only=True, flash=False)
    contexts = []
    delete = GlirProgram.delete
    monkeypatch.setattr(
        GlirProgram, "delete", lambda one: (contexts.append(QOpenGLContext.currentContext()), delete(one))
    )
    canvas.doneCurrent()  # as if Qt had composed the window since
    shown_viewer.layers.remove(layer)
    assert contexts
    assert all(one == canvas.context() for one in contexts)

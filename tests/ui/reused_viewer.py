"""One viewer for many tests, since making and closing one takes longer than most of them.

It is emptied after each test and compared with the viewer as it was when it was new; what a test leaves is an error.
"""

from __future__ import annotations

import gc
from contextlib import ExitStack, suppress
from copy import copy
from unittest.mock import patch
from weakref import ref

import numpy as np
import pytest
from napari.utils.events import EventedDict, EventedModel
from napari.utils.events.event import EventEmitter
from qtpy.compat import isalive
from qtpy.QtCore import QEvent
from qtpy.QtGui import QShortcut
from qtpy.QtWidgets import QDialog, QDockWidget, QWidget
from quick_napari import create_controls_when_selected, leave_out_drawing

NOT_RESTORED = {"layers", "size", "status"}  # emptied; follows the window; follows the cursor
SHOWN_SIZE = (800, 520)  # nearly the smallest: without a GPU, drawing takes as long as there are pixels


class ReusedViewer:
    """Hands out one viewer at a time, hidden or shown."""

    def __init__(self, qapp):
        self._qapp = qapp
        self._viewer = None
        self._is_shown = False
        self._patches = ExitStack()
        self._patches_of_test = ExitStack()

    def get(self, is_shown, qtbot, *, is_drawn=True):
        """Return an empty viewer."""
        if self._viewer is None or is_shown != self._is_shown:
            self.close()
            self._make(is_shown, qtbot)
        # Anew for each test: every viewer model of other tests stays connected to napari's settings.
        self._connections = Connections(self._viewer)
        self._views = _views()
        if not is_drawn:
            leave_out_drawing(self._patches_of_test.enter_context(pytest.MonkeyPatch.context()))
        return self._viewer

    def _make(self, is_shown, qtbot):
        """Make a viewer as napari's ``make_napari_viewer`` does."""
        from app_model import Application
        from napari import Viewer
        from napari._app_model._app import NapariApplication, _napari_names
        from napari._qt._qapp_model.qactions import init_qactions
        from napari._qt.qt_viewer import QtViewer
        from napari._qt.threads.status_checker import StatusChecker
        from napari.plugins import _initialize_plugins
        from napari.settings import get_settings

        get_settings().reset()
        _initialize_plugins.cache_clear()
        init_qactions.cache_clear()
        app = NapariApplication("test_app")
        app.injection_store.namespace = _napari_names
        enter = self._patches.enter_context
        self._patches.callback(init_qactions.cache_clear)
        self._patches.callback(_initialize_plugins.cache_clear)
        self._patches.callback(Application.destroy, "test_app")
        enter(patch.object(NapariApplication, "get_app_model", return_value=app))
        enter(patch.object(StatusChecker, "start", lambda *_: None))
        enter(patch.object(QtViewer, "_get_console", lambda *_: _no_console()))
        create_controls_when_selected(enter(pytest.MonkeyPatch.context()))
        self._viewer, self._is_shown = Viewer(show=is_shown, show_welcome_screen=False), is_shown
        self._window = self._viewer.window._qt_window
        if is_shown:
            qtbot.wait_exposed(self._window, timeout=5000)
            self._window.resize(*SHOWN_SIZE)
        self._docks = self._window.findChildren(QDockWidget)
        self._arrangement, self._size = self._window.saveState(), self._window.size()
        self._values = {path: copy(value) for path, _, _, value in self._state()}
        self._old_extras = self._extras()

    def empty(self):
        """Remove what a test has added, and check that nothing of it is left."""
        self._qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        if self._is_closed():
            self.close()
            return
        self._viewer.layers.clear()  # while docks are open, as if the viewer was closed
        self._qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        views_left = ["a second view that is not closed"] * len(_views() - self._views)
        added = [dock for dock in self._window.findChildren(QDockWidget) if dock not in self._docks]
        for dock in added:
            if dock.widget() is not None:
                dock.widget().deleteLater()  # here, since napari would style it anew as a window of its own
        self._qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        for dock in added:
            self._viewer.window.remove_dock_widget(dock)
        self._qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        self._patches_of_test.close()
        self._disconnect_deleted_canvases()
        self._restore()
        left = self._left()
        if left:
            gc.collect()
            self._disconnect_deleted_canvases()
            left = self._left()
        left += views_left
        if left:
            self.close()
        assert not left, f"left in the viewer: {left}"

    def _is_closed(self):
        """Return whether the test has closed the viewer."""
        if not isalive(self._window) or not hasattr(self._viewer.window, "_qt_window"):
            return True
        return self._is_shown and not self._window.isVisible()

    def _restore(self):
        for path, model, name, value in self._state():
            old = self._values[path]
            if isinstance(value, list):
                value[:] = old
            elif not _is_same(value, old):
                setattr(model, name, copy(old))
        self._viewer._mouse_drag_gen.clear()
        self._viewer._mouse_wheel_gen.clear()
        if self._is_shown and self._window.saveState() != self._arrangement:
            self._window.restoreState(self._arrangement)
        if self._window.size() != self._size:
            self._window.resize(self._size)

    def _disconnect_deleted_canvases(self):
        """Disconnect the emitters of second views that are deleted from napari's settings; napari itself never does."""
        from napari.settings import get_settings

        theme = get_settings().appearance.events.theme
        for callback in theme.callbacks:
            owner = callback[0]() if isinstance(callback, tuple) else callback
            if isinstance(owner, EventEmitter) and owner.source is None:
                theme.disconnect(callback)

    def _left(self):
        left = [f"{path}: {value}" for path, _, _, value in self._state() if not _is_same(value, self._values[path])]
        left += self._connections.added()
        left += [f"layer {layer.name}" for layer in self._viewer.layers]
        return left + [one.objectName() or one for one in self._extras() if one not in self._old_extras]

    def _extras(self):
        """Return dialogs and shortcuts of the window itself."""
        found = [one for kind in (QDialog, QShortcut) for one in self._window.findChildren(kind)]
        return [one for one in found if not type(one).__module__.startswith("napari.")]

    def _state(self):
        """Yield path, model, name and value of everything that a test may set in the viewer or in napari's settings."""
        for path, model, name, value in _values_of(self._viewer):
            if name not in NOT_RESTORED and not _holds_callbacks(name):  # of these, a dock removes its own
                yield path, model, name, value

    def discard(self):
        """Close the viewer of a test that failed."""
        with suppress(AssertionError):
            self.close()

    def close(self):
        """Close the viewer, and check that it is gone."""
        from napari._qt.qt_viewer import QtViewer

        if self._viewer is None:
            return
        with patch.object(self._window, "_save_current_window_settings"), suppress(RuntimeError):  # if it is deleted
            self._viewer.close()
        self._viewer = self._window = self._docks = self._old_extras = None
        self._values = self._connections = None
        self._patches_of_test.close()
        self._patches.close()
        gc.unfreeze()
        self._qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        gc.collect()
        left = len(QtViewer._instances)
        QtViewer._instances.clear()
        assert left == 0, "a closed viewer is still in memory"


class Connections:
    """Callbacks and keys of a viewer, its parts and napari's settings when this was created, and those added since."""

    def __init__(self, viewer):
        self._viewer = viewer
        self.callbacks = {path: emitter.callbacks for path, emitter in _emitters_of(viewer)}
        self._lists = {path: list(found) for path, found in _callback_lists_of(viewer)}
        self._keys = set(viewer.keymap)

    def added(self):
        """Return descriptions of callbacks and keys that were added and not removed."""
        found = [f"key {key}" for key in self._viewer.keymap if key not in self._keys]
        for path, callbacks in _callback_lists_of(self._viewer):
            found += [f"{path}: {one}" for one in callbacks if one not in self._lists[path]]
        for path, emitter in _emitters_of(self._viewer):
            old = {_key_of(callback) for callback in self.callbacks[path]}
            found += [f"{path}: {one}" for one in emitter.callbacks if not (_key_of(one) in old or _is_harmless(one))]
        return found


def _no_console():
    made = QWidget()
    made._update_theme = lambda *_, **__: None
    return made


def _models_of(model, path):
    """Yield path and model of a model and of all models in it."""
    yield path, model
    for name in type(model).model_fields:
        for key, part in _parts_of(getattr(model, name)).items():
            yield from _models_of(part, f"{path}.{name}.{key}".rstrip("."))


def _models_with_settings(viewer):
    """Yield path and model of the viewer and its parts, and of napari's settings."""
    from napari.settings import get_settings

    yield from _models_of(viewer, "viewer")
    yield from _models_of(get_settings(), "settings")


def _values_of(viewer):
    """Yield path, model, name and plain value of all models."""
    for path, model in _models_with_settings(viewer):
        for name in type(model).model_fields:
            value = getattr(model, name)
            if not isinstance(value, EventedModel | EventedDict):
                yield f"{path}.{name}", model, name, value


def _callback_lists_of(viewer):
    """Yield path and list of the callbacks of the mouse."""
    return ((path, value) for path, _, name, value in _values_of(viewer) if _holds_callbacks(name))


def _holds_callbacks(name):
    return name.endswith("_callbacks")


def _emitters_of(viewer):
    """Yield path and event emitter of the parts of the viewer and of napari's settings."""
    from napari._qt.qt_main_window import _themes

    parts = (("layers", viewer.layers), ("selection", viewer.layers.selection), ("themes", _themes))
    for path, source in (*_models_with_settings(viewer), *parts):
        yield path, source.events
        for name, emitter in source.events.emitters.items():
            yield f"{path}.{name}", emitter


def _parts_of(value):
    """Return the models that a value of a model consists of, by key; empty if it is a plain value."""
    if isinstance(value, EventedModel):
        return {"": value}
    found = value if isinstance(value, EventedDict) else {}
    return {key: part for key, part in found.items() if isinstance(part, EventedModel)}


def _is_same(value, other):
    try:
        return value is other or bool(value == other)
    except ValueError:  # arrays
        return np.array_equal(value, other)


def _views():
    """Return weak references to all canvases with layers, those of viewers included."""
    from napari._qt.qt_viewer import QtViewer

    return {ref(one) for one in QtViewer._instances if isalive(one)}


def _key_of(callback):
    """Return what identifies a callback."""
    return (id(callback[0]), callback[1]) if isinstance(callback, tuple) else id(callback)


def _is_harmless(callback):
    """Return whether the object of a callback is gone, or a part of napari that it creates when first needed."""
    owner = callback[0]() if isinstance(callback, tuple) else callback
    if owner is None or isinstance(owner, EventEmitter):
        return owner is None or owner.source is None  # an emitter outlives its object
    return (getattr(owner, "__module__", "") or "").startswith(("napari.", "vispy."))

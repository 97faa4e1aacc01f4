"""Patches for what napari and vispy repeat for each layer, which takes longer than most tests.

Whatever depends on its arguments alone is computed once. In a viewer that is reused, parts that cannot be seen are not
created.
"""

from __future__ import annotations

import functools
import re
import types
from contextlib import suppress
from types import SimpleNamespace


def compute_once(patch):
    """Remember signatures of callbacks and parsed shaders: napari has the same ones for each layer."""
    from napari.utils.events.event import EmitterGroup, EventEmitter
    from vispy.gloo import program
    from vispy.visuals.shaders.function import Function

    check, clean = EventEmitter._check_signature, Function._clean_code
    known = {}

    def check_once(fun):
        function = getattr(fun, "__func__", fun)
        if isinstance(fun, EventEmitter):
            function = type(fun).__call__
        if not isinstance(function, types.FunctionType) or vars(function):  # with __wrapped__ or __signature__
            return check(fun)
        key = (function.__code__, len(function.__defaults__ or ()), isinstance(fun, types.MethodType))
        if key not in known:
            known[key] = check(fun)
        return known[key]

    patch.setattr(EventEmitter, "_check_signature", staticmethod(check_once))
    patch.setattr(EmitterGroup, "__contains__", lambda group, name: name in group.emitters, raising=False)
    clean_once = functools.cache(lambda code: clean(None, code))
    patch.setattr(Function, "_clean_code", lambda _, code: clean_once(code))
    sub = functools.cache(re.sub)
    find = functools.cache(lambda pattern, code: tuple(re.finditer(pattern, code)))
    patch.setattr(program, "re", SimpleNamespace(**{**vars(re), "sub": sub, "finditer": find}))


def read_attributes_directly(patch):
    """Read private attributes of napari's models where pydantic keeps them, instead of where it looks first."""
    from napari.utils.events import EventedModel

    read, search = object.__getattribute__, EventedModel.__getattr__

    def find(model, name):
        try:
            return read(model, "__pydantic_private__")[name]
        except (AttributeError, KeyError, TypeError):  # another attribute, or the model is not complete
            return search(model, name)

    patch.setattr(EventedModel, "__getattr__", find)
    patch.setattr(EventedModel, "events", property(lambda model: find(model, "_events")))


def set_dims_only_when_changed(patch):
    """Keep napari from validating dimensions that are set to the values they have: it does so whenever a layer changes.

    Each validation sets all values again, each with its own validation.
    """
    from napari.components import Dims

    read, write = object.__getattribute__, Dims.__setattr__

    def write_if_other(dims, name, value):
        try:
            old = read(dims, "__dict__")[name]
            if type(old) is type(value) and bool(old == value):
                return
        except (KeyError, ValueError):  # a property, or arrays
            pass
        write(dims, name, value)

    patch.setattr(Dims, "__setattr__", write_if_other)


def parse_unit_of_pixels_once(patch):
    """Keep the unit that each transform of each layer starts with, which pint otherwise parses again."""
    import pint

    registry = pint.get_application_registry()
    patch.setitem(vars(registry.get()), "pixel", registry.pixel)


def ignore_other_windows(patch):
    """Keep the main window from filtering all events of the application, which it does for a hidden menu bar."""
    from napari._qt.qt_main_window import Window
    from qtpy.QtWidgets import QApplication

    create = Window.__init__

    def create_without_filter(window, *args, **kwargs):
        create(window, *args, **kwargs)
        QApplication.instance().removeEventFilter(window._qt_window)

    patch.setattr(Window, "__init__", create_without_filter)


def restyle_only_when_changed(patch):
    """Keep the buttons above the list of layers from being styled for a state that they have already."""
    from napari._qt.widgets.qt_viewer_buttons import QtViewerPushButton

    change = QtViewerPushButton._change_selection_state

    def change_if_other(button, state):
        if button.property("creation_state") != state:
            change(button, state)

    patch.setattr(QtViewerPushButton, "_change_selection_state", change_if_other)


def update_shortcuts_when_seen(patch):
    """Keep hidden welcome screens from listing shortcuts again for each of those that a viewer binds."""
    with suppress(ImportError):  # older versions of napari have another one
        from napari._qt.widgets.qt_welcome import QtWelcomeWidget
        from qtpy.compat import isalive

        refresh = QtWelcomeWidget.refresh

        def refresh_if_seen(screen, event=None):
            if isalive(screen) and screen.isVisible():
                refresh(screen, event)

        patch.setattr(QtWelcomeWidget, "refresh", refresh_if_seen)


def leave_out_drawing(patch):
    """Leave out what the test does not inspect: visuals, layer controls, the canvas and thumbnails."""
    create_no_visuals(patch)
    create_no_controls(patch)
    draw_no_canvas(patch)
    draw_no_thumbnails(patch)


def create_controls_when_selected(patch):
    """Create the controls of a layer when it is selected, not when it is added."""
    from napari._qt.layer_controls.qt_layer_controls_container import QtLayerControlsContainer

    add, remove, populate = (getattr(QtLayerControlsContainer, name) for name in ("_add", "_remove", "_populate"))

    def populate_later(container):
        active = container.viewer.layers.selection.active
        if active is not None and active not in container.widgets:
            add(container, SimpleNamespace(value=active))
        populate(container)

    def remove_if_created(container, event):
        if event.value in container.widgets:
            remove(container, event)

    patch.setattr(QtLayerControlsContainer, "_add", lambda container, event: None)
    patch.setattr(QtLayerControlsContainer, "_remove", remove_if_created)
    patch.setattr(QtLayerControlsContainer, "_populate", populate_later)


def create_no_visuals(patch):
    """Create no visuals of layers, for a canvas that is not drawn."""
    from napari._qt.qt_viewer import QtViewer
    from napari._vispy.canvas import VispyCanvas

    patch.setattr(QtViewer, "_add_layer", lambda *_: None)
    patch.setattr(VispyCanvas, "_remove_layer", lambda *_: None)


def create_no_controls(patch):
    """Create no controls of layers, also not of the selected one."""
    from napari._qt.layer_controls.qt_layer_controls_container import QtLayerControlsContainer

    for name in ("_add", "_remove", "_populate"):
        patch.setattr(QtLayerControlsContainer, name, lambda *_: None)


def draw_no_canvas(patch):
    """Leave a canvas empty, which takes as long as there are pixels; napari's own callbacks of drawing are called.

    Picking still draws the scene.
    """
    from napari._vispy.canvas import NapariSceneCanvas

    draw = NapariSceneCanvas._draw_scene

    def draw_to_pick(canvas, *args, **kwargs):
        if canvas.scene.picking:
            draw(canvas, *args, **kwargs)

    patch.setattr(NapariSceneCanvas, "_draw_scene", draw_to_pick)


def draw_no_thumbnails(patch):
    """Draw no thumbnails of layers, which the test does not inspect; napari draws one whenever a layer changes."""
    from napari.layers import Image, Labels, Points, Shapes

    for kind in (Image, Labels, Points, Shapes):
        patch.setattr(kind, "_update_thumbnail", lambda *_, **__: None)

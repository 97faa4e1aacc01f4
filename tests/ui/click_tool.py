"""The mouse of a user who corrects a mask by clicks."""

from __future__ import annotations

from types import SimpleNamespace


def use_tool(viewer, name, start, end=None, *, button=1, modifiers=(), before_release=lambda: None):
    """Press and release the mouse at pixels (row, column) of a photograph, while its mask or its strokes are active.

    ``before_release``: called while the button is pressed.
    """
    layer, image = viewer.layers.selection.active, viewer.layers[name]
    assert layer.name in (f"{name} mask", f"{name} scribbles")
    world = image.data_to_world
    event = SimpleNamespace(
        position=tuple(world(start)), pos=start, type="mouse_press", button=button, modifiers=modifiers
    )
    event.view_direction, event.dims_displayed = None, [0, 1]
    found = [callback(layer, event) for callback in list(layer.mouse_drag_callbacks)]
    running = [one for one in found if one is not None]
    for one in running:
        next(one, None)
    if end is not None:
        event.position, event.pos, event.type = tuple(world(end)), end, "mouse_move"
        for one in running:
            next(one, None)
    before_release()
    event.type = "mouse_release"
    for one in running:
        next(one, None)

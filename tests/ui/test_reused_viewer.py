"""The viewer that tests share, and one without a window, report callbacks and keys that a dock leaves."""

from __future__ import annotations

from functools import partial

import pytest
from napari.components import ViewerModel
from reused_viewer import Connections

from napari_melanoma.ui.viewer.camera import get_camera


def test_callbacks_of_the_mouse_and_keys_are_noticed(reused_viewer, qtbot):
    viewer, kinds = reused_viewer.get(False, qtbot, is_drawn=False), ("move", "drag", "wheel", "double_click")
    for kind in kinds:
        getattr(viewer, f"mouse_{kind}_callbacks").append(lambda viewer, event: None)
    viewer.bind_key("Control-Shift-F11", lambda viewer: None)
    with pytest.raises(AssertionError, match="left in the viewer") as caught:
        reused_viewer.empty()
    for left in (*(f"mouse_{kind}_callbacks" for kind in kinds), "key "):
        assert left in str(caught.value)


def test_callbacks_of_a_viewer_without_a_window_are_noticed():
    viewer = ViewerModel()
    connections = Connections(viewer)
    assert connections.added() == []
    viewer.layers.events.inserted.connect(lambda event: None)
    get_camera(viewer).events.zoom.connect(partial(print, "zoom"))
    viewer.mouse_drag_callbacks.append(partial(print, "drag"))
    viewer.bind_key("Control-Shift-F11", lambda viewer: None)
    added = connections.added()
    assert len(added) == 4
    for left in ("layers.inserted", "camera.zoom", "mouse_drag_callbacks", "key "):
        assert any(left in one for one in added), left

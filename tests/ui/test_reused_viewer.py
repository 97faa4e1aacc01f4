"""The viewer that tests share reports what a dock leaves in its lists of callbacks and keys."""

from __future__ import annotations

import pytest


def test_callbacks_of_the_mouse_and_keys_are_noticed(reused_viewer, qtbot):
    viewer, kinds = reused_viewer.get(False, qtbot), ("move", "drag", "wheel", "double_click")
    for kind in kinds:
        getattr(viewer, f"mouse_{kind}_callbacks").append(lambda viewer, event: None)
    viewer.bind_key("Control-Shift-F11", lambda viewer: None)
    with pytest.raises(AssertionError, match="left in the viewer") as caught:
        reused_viewer.empty()
    for left in (*(f"mouse_{kind}_callbacks" for kind in kinds), "key "):
        assert left in str(caught.value)

"""The viewer that tests share reports what a dock leaves in its lists of callbacks and keys."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("kind", ["move", "drag", "wheel", "double_click"])
def test_a_callback_of_the_mouse_is_noticed(reused_viewer, qtbot, kind):
    viewer = reused_viewer.get(False, qtbot)
    getattr(viewer, f"mouse_{kind}_callbacks").append(lambda viewer, event: None)
    with pytest.raises(AssertionError, match=f"left in the viewer.*mouse_{kind}_callbacks"):
        reused_viewer.empty()


def test_a_key_is_noticed(reused_viewer, qtbot):
    reused_viewer.get(False, qtbot).bind_key("Control-Shift-F11", lambda viewer: None)
    with pytest.raises(AssertionError, match=r"left in the viewer.*key"):
        reused_viewer.empty()

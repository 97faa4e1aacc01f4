"""Answer questions of a dock in tests."""

from __future__ import annotations

PATIENCE_MS = 60_000


def press_button(qtbot, name, button):
    """Press a button of a question box, and wait until it is closed."""
    from qtpy.QtWidgets import QApplication

    def boxes():
        return [box for box in QApplication.topLevelWidgets() if box.objectName() == name and box.isVisible()]

    qtbot.waitUntil(lambda: len(boxes()) == 1, timeout=PATIENCE_MS)
    next(found for found in boxes()[0].buttons() if button in found.text()).click()
    qtbot.waitUntil(lambda: not boxes(), timeout=PATIENCE_MS)

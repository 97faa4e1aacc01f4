"""Answer questions of a dock in tests."""

from __future__ import annotations

from contextlib import contextmanager

from patience import PATIENCE_MS


@contextmanager
def answering(button):
    """Press a button of the next question, Cancel where none is named; gives what was asked."""
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QAbstractButton, QApplication, QMessageBox

    requested = []

    def press():
        box = QApplication.activeModalWidget()
        if box is None:  # asked later
            return
        timer.stop()
        requested.append(box.informativeText())
        chosen = box.findChild(QAbstractButton, button) if button else box.button(QMessageBox.StandardButton.Cancel)
        chosen.click()

    timer = QTimer()
    timer.timeout.connect(press)
    timer.start(10)
    yield requested
    timer.stop()


def press_button(qtbot, name, button):
    """Press a button of a question box, and wait until it is closed."""
    from qtpy.QtWidgets import QApplication

    def boxes():
        return [box for box in QApplication.topLevelWidgets() if box.objectName() == name and box.isVisible()]

    qtbot.waitUntil(lambda: len(boxes()) == 1, timeout=PATIENCE_MS)
    next(found for found in boxes()[0].buttons() if button in found.text()).click()
    qtbot.waitUntil(lambda: not boxes(), timeout=PATIENCE_MS)

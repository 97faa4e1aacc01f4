"""A timer for controls that move: what takes long waits until they rest, or until it can wait no longer."""

from __future__ import annotations

from qtpy.QtCore import QObject, QTimer

SETTLED_MS = 250


class Settling(QTimer):
    """Fires once, when nothing has started it again for a while."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.setSingleShot(True)
        self.setInterval(SETTLED_MS)

    def now(self) -> None:
        """Fire at once if it was to fire; a value that moved must not be forgotten, nor reach what comes after."""
        if self.isActive():
            self.stop()
            self.timeout.emit()

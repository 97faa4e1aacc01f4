"""Lines of text that no layout ever cuts: where a dock is short, what scrolls gives way instead."""

from __future__ import annotations

from qtpy.QtCore import QEvent
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QLabel

CHANGES = (QEvent.Type.FontChange, QEvent.Type.StyleChange, QEvent.Type.ContentsRectChange)


class Words(QLabel):
    """A label that wraps its lines and claims the height that they need at its width.

    Qt's own tells a layout how high it would like to be, and is squeezed nevertheless where there is little room.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.setWordWrap(True)

    def setText(self, text: str) -> None:  # noqa: N802 - Qt's name
        """Say something else."""
        super().setText(text)
        self._claim()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Claim the height for another width."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._claim()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Claim the height for other letters."""
        super().changeEvent(event)
        if event.type() in CHANGES:
            self._claim()

    def _claim(self) -> None:
        claimed = self.minimumHeight()
        self.setMinimumHeight(0)  # Qt counts it in
        needed = max(0, self.heightForWidth(self.width())) if self.text() else 0
        self.setMinimumHeight(needed)
        if needed != claimed:
            self.updateGeometry()

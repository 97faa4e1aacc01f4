"""Says whether values hold for this photograph or for all, and lets the user choose: nothing spreads by itself."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_melanoma.ui.look import named, quiet, row


class ForAll(QWidget):
    """One line on how far values reach, with *Use for all* and the way back; hidden while everything is as usual."""

    used = Signal()
    reset = Signal()

    def __init__(self, name: str, what: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self._text = quiet()
        self._text.setObjectName(f"{name}_state")
        self._use = named(
            QPushButton("Use for all"),
            f"{name}_use",
            f"Use this {what} for all photographs",
            f"Use this {what} for all photographs that are open or opened later. Photographs with values of their own "
            "and masks that were corrected by hand stay as they are.",
        )
        self._back = named(
            QPushButton("Defaults for all"),
            f"{name}_reset",
            f"Go back to the default {what}",
            f"Go back to the default {what} for all photographs.",
        )
        self._use.clicked.connect(self.used)
        self._back.clicked.connect(self.reset)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._text)
        layout.addWidget(row(self._use, self._back))
        self.show_state("", is_own=False, is_shared=False)

    def show_state(self, text: str, *, is_own: bool, is_shared: bool) -> None:
        """Show how far the values reach."""
        self._text.setText(text)
        self._use.setVisible(is_own)
        self._back.setVisible(is_shared)
        self.setVisible(is_own or is_shared)

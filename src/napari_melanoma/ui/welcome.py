"""What an empty dock shows: drop a photograph, open one, or try the sample."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from qtpy.QtWidgets import QFrame, QLabel, QVBoxLayout

from napari_melanoma.ui.look import ThemedIcons, named


class Welcome(QFrame):
    """An area for files, with links that do what they say."""

    dropped = Signal(object)
    followed = Signal(str)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._icons = icons
        named(self, "welcome", "Drop a photograph here", "JPEG, PNG, TIFF, HEIC, DICOM ...: one or several")
        self.setAcceptDrops(True)
        self._words = named(QLabel(), "welcome_words", "Open a photograph or try the sample")
        self._words.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._words.setWordWrap(True)
        self._words.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self._words.linkActivated.connect(self.followed)
        self._hint = QLabel()
        self._hint.setWordWrap(True)
        self._hint.setProperty("quiet", True)
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 48, 16, 48)
        layout.addWidget(self._words)
        layout.addWidget(self._hint)
        icons.changed.connect(self._say)

    def _say(self) -> None:
        """Write the invitation in the colours of the theme."""
        open_, sample = self._icons.link("open", "open one"), self._icons.link("sample", "try the sample")
        self._words.setText(
            "<p style='font-size: 14pt'>Drop a photograph here,</p>"
            f"<p style='font-size: 11pt'>{open_}, or {sample}.</p>"
        )

    def set_hint(self, hint: str) -> None:
        """Say why an image that is open is no photograph."""
        self._hint.setText(hint)
        self._hint.setVisible(bool(hint))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - Qt's name
        """Accept files."""
        if event.mimeData().hasUrls():
            self._over(True)
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:  # noqa: N802 - Qt's name
        """Forget files that went by."""
        self._over(False)

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt's name
        """Take files."""
        self._over(False)
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        event.acceptProposedAction()
        if paths:
            self.dropped.emit(paths)

    def _over(self, over: bool) -> None:
        self.setProperty("over", over)
        self.style().unpolish(self)
        self.style().polish(self)

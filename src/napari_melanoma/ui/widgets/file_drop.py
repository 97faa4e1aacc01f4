"""Accept files dropped on a dock; also the start page of an empty dock."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from qtpy.QtWidgets import QFrame, QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_melanoma.ui.widgets.style import ThemedIcons, named


class Welcome(QFrame):
    """A drop area for files, with links to open a photograph and the sample."""

    dropped = Signal(object)  # list of Path
    link_activated = Signal(str)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._icons = icons
        named(self, "welcome", "Drop a photograph here", "JPEG, PNG, TIFF, HEIC, DICOM ...: one or several")
        self.setAcceptDrops(True)
        self._label = named(QLabel(), "welcome_words", "Start page")
        self._label.setToolTip("")
        self._label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._label.setWordWrap(True)
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self._label.linkActivated.connect(self.link_activated)
        self._recent_label = named(QLabel(), "welcome_recent", "Recently opened")
        self._recent_label.setToolTip("")
        self._recent_label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._recent_label.setWordWrap(True)
        self._recent_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self._recent_label.linkActivated.connect(self.link_activated)
        self._recent_label.linkHovered.connect(self._on_hovered)
        self._recent_label.hide()
        self._hint = QLabel()
        self._hint.setWordWrap(True)
        self._hint.setProperty("quiet", True)
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 48, 16, 48)
        layout.addWidget(self._label)
        layout.addWidget(self._recent_label)
        layout.addWidget(self._hint)
        icons.changed.connect(self._update_text)

    def _update_text(self) -> None:
        """Set the text with links in the colors of the theme."""
        open_, sample = self._icons.link("open", "open one"), self._icons.link("sample", "try the sample")
        self._label.setText(
            "<p style='font-size: 14pt'>Drop a photograph here,</p>"
            f"<p style='font-size: 11pt'>{open_}, or {sample}.</p>"
        )

    def show_recent(self, text: str) -> None:
        """Show links to files that were opened recently, as rich text."""
        self._recent_label.setText(text)
        self._recent_label.setVisible(bool(text))

    def _on_hovered(self, link: str) -> None:
        """Show the path of the link below the mouse."""
        self._recent_label.setToolTip(link.split(":", 2)[-1])

    def set_hint(self, hint: str) -> None:
        """Show a hint, such as why an open image is not a photograph; empty hides it."""
        self._hint.setText(hint)
        self._hint.setVisible(bool(hint))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - Qt's name
        """Accept files."""
        if event.mimeData().hasUrls():
            self._set_drag_over(True)
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:  # noqa: N802 - Qt's name
        """Reset the highlighting."""
        self._set_drag_over(False)

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt's name
        """Emit the dropped files."""
        self._set_drag_over(False)
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        event.acceptProposedAction()
        if paths:
            self.dropped.emit(paths)

    def _set_drag_over(self, is_over: bool) -> None:
        self.setProperty("over", is_over)
        self.style().unpolish(self)
        self.style().polish(self)


class FileDropHandler(QObject):
    """Handles files dropped on a dock, or on a part of the dock that does not accept drops itself.

    ``deferred``: parts that are added to the dock later.
    """

    dropped = Signal(object)  # list of Path

    def __init__(self, dock: QWidget, *deferred: QWidget) -> None:
        super().__init__(dock)
        dock.setAcceptDrops(True)
        dock.installEventFilter(self)
        for part in (dock, *deferred):
            for field in part.findChildren(QLineEdit):
                field.setAcceptDrops(False)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Accept dragged files, and emit dropped ones."""
        if event is None or event.type() not in (QEvent.Type.DragEnter, QEvent.Type.Drop):
            return False
        assert isinstance(event, QDropEvent)
        if not event.mimeData().hasUrls():
            return False
        event.acceptProposedAction()
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if event.type() == QEvent.Type.Drop and paths:
            self.dropped.emit(paths)
        return True

"""Files dropped anywhere on a dock: one object that hears them, so that no part of a dock lets them fall."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QLineEdit, QWidget


class FileDrops(QObject):
    """Takes files that are dropped on a dock or on a part of it that does not take them itself."""

    dropped = Signal(object)

    def __init__(self, dock: QWidget, *later: QWidget) -> None:
        super().__init__(dock)
        dock.setAcceptDrops(True)
        dock.installEventFilter(self)
        for part in (dock, *later):
            for field in part.findChildren(QLineEdit):
                field.setAcceptDrops(False)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Hear files that come over the dock, and those that are dropped."""
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

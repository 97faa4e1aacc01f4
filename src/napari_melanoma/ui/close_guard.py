"""Asks before a window closes over corrections that were not saved."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_melanoma.core.errors import SaveError

if TYPE_CHECKING:
    from napari_melanoma.ui.lesion_book import LesionBook


class CloseGuard(QObject):
    """Watches the main window of a dock.

    Parameters
    ----------
    dock : QWidget
        Whose window is watched, once the dock is in one.
    book : LesionBook
        Knows what is not saved.

    Attributes
    ----------
    failed : Signal(object)
        An exception: the corrections could not be kept, so the window stays.
    """

    failed = Signal(object)

    def __init__(self, dock: QWidget, book: LesionBook) -> None:
        super().__init__(dock)
        self._dock = dock
        self._book = book
        self._watched: weakref.ref[QWidget] | None = None  # a strong one would keep a closed window alive

    def watch(self) -> None:
        """Watch the outermost window that holds the dock now."""
        window = self._dock
        while (parent := window.parentWidget()) is not None:  # of a floating dock, window() is only its own frame
            window = parent
        before = self.window
        if window is not before and window is not self._dock:
            if before is not None:
                before.removeEventFilter(self)
            window.installEventFilter(self)
            self._watched = weakref.ref(window)

    @property
    def window(self) -> QWidget | None:
        """The window that is watched."""
        return None if self._watched is None else self._watched()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Hold a close event back where the user says so; windows that nobody sees close unasked."""
        if event.type() == QEvent.Type.Close and watched is self.window and watched.isVisible():
            names = self._book.unsaved_names()
            if names and not self._may_close(names):
                event.ignore()
                return True
        return False

    def _may_close(self, names: list[str]) -> bool:
        box = ask(
            self._dock,
            "unsaved_corrections",
            f"The corrections of {', '.join(names)} are not saved.",
            "They are offered again when the photograph is opened within 30 days, unless you discard them.",
        )
        keep = box.addButton("Close, keep them", QMessageBox.ButtonRole.AcceptRole)
        discard = box.addButton("Discard", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.exec()
        pressed = box.clickedButton()
        box.deleteLater()
        if pressed is discard:
            self._book.discard_unsaved()
        elif pressed is keep:
            return self._kept()
        return pressed is discard

    def _kept(self) -> bool:
        try:
            self._book.keep_unsaved()
        except SaveError as error:
            self.failed.emit(error)
            return False
        return True


def ask(parent: QWidget, name: str, question: str, details: str, title: str = "Lesion") -> QMessageBox:
    """Make a question box.

    Parameters
    ----------
    parent : QWidget
        The widget that asks.
    name : str
        Object name.
    question : str
        In one sentence.
    details : str
        What the answers mean.
    title : str, optional
        Of the box: which dock asks.

    Returns
    -------
    QMessageBox
        Without buttons yet.
    """
    box = QMessageBox(parent.window())
    box.setObjectName(name)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle(title)
    box.setText(question)
    box.setInformativeText(details)
    return box

"""Asks before a window closes over corrections that were not saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QMessageBox, QWidget

from napari_melanoma.core.errors import SaveError
from napari_melanoma.ui.widgets.dialogs import WindowGuard, answer, ask

if TYPE_CHECKING:
    from napari_melanoma.ui.lesion.state import LesionBook


class CloseGuard(WindowGuard):
    """Watches the main window of a dock."""

    def __init__(self, dock: QWidget, book: LesionBook) -> None:
        super().__init__(dock)
        self._book = book

    def may_close(self) -> bool:
        """Ask where corrections are not saved.

        False where the window shall stay.
        """
        names = self._book.unsaved_names()
        return not names or self._ask(names)

    def _ask(self, names: list[str]) -> bool:
        box = ask(
            self._dock,
            "unsaved_corrections",
            f"The corrections of {', '.join(names)} are not saved.",
            "They are offered again when the photograph is opened within 30 days, unless you discard them.",
        )
        keep = box.addButton("Close, keep them", QMessageBox.ButtonRole.AcceptRole)
        discard = box.addButton("Discard", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = answer(box)
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

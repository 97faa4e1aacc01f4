"""Confirmation before a window with unsaved corrections closes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QMessageBox, QWidget

from napari_melanoma.core.errors import SaveError
from napari_melanoma.ui.widgets.dialogs import WindowGuard, create_question, exec_question

if TYPE_CHECKING:
    from napari_melanoma.ui.lesion.state import LesionStore


class LesionCloseGuard(WindowGuard):
    """Asks for confirmation before the main window of a dock closes with unsaved corrections."""

    def __init__(self, dock: QWidget, store: LesionStore) -> None:
        super().__init__(dock)
        self._store = store

    def may_close(self) -> bool:
        """Ask the user if there are unsaved corrections; return False to keep the window open."""
        names = self._store.unsaved_names()
        return not names or self._confirm_close(names)

    def _confirm_close(self, names: list[str]) -> bool:
        box = create_question(
            self._dock,
            "unsaved_corrections",
            f"The corrections of {', '.join(names)} are not saved.",
            "If you keep them, you can restore them when you open the photograph again within 30 days.",
        )
        keep = box.addButton("Close and keep", QMessageBox.ButtonRole.AcceptRole)
        discard = box.addButton("Discard", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = exec_question(box)
        if pressed is discard:
            self._store.discard_unsaved()
        elif pressed is keep:
            return self._save_for_recovery()
        return pressed is discard

    def _save_for_recovery(self) -> bool:
        try:
            self._store.save_unsaved()
        except SaveError as error:
            self.failed.emit(error)
            return False
        return True

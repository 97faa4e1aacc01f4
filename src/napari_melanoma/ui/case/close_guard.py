"""Delays closing a window until the case of its dock is saved, and asks if saving fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_melanoma.ui.widgets.dialogs import WindowGuard, create_question, exec_question

if TYPE_CHECKING:
    from napari_melanoma.ui.case.controller import CaseController
    from napari_melanoma.ui.case.corrections import CaseCorrectionSaver

POLL_MS = 50


class CaseCloseGuard(WindowGuard):
    """Saves the case before the main window of its dock is closed."""

    def __init__(self, dock: QWidget, controller: CaseController, corrections: CaseCorrectionSaver) -> None:
        super().__init__(dock)
        self._controller = controller
        self._corrections = corrections
        self._closing = False
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)

    def move_to_front(self) -> None:
        """Run before other guards, because this one saves without asking."""
        window = self.window
        if window is not None:
            window.removeEventFilter(self)
            window.installEventFilter(self)

    def may_close(self) -> bool:
        """Return whether everything is saved; otherwise save, then close the window."""
        if self._closing or not self._has_unsaved_changes():
            return True
        self._corrections.flush()
        if self._controller.saver.has_unsaved_changes:
            self._controller.saver.save()
        self._timer.start()
        return False

    def _has_unsaved_changes(self) -> bool:
        return self._controller.is_editable and (
            self._corrections.busy or self._controller.saver.has_unsaved_changes or self._controller.busy
        )

    def _poll(self) -> None:
        if self._corrections.busy or self._controller.busy:
            return
        self._timer.stop()
        if self._controller.saver.error is not None:
            self._confirm_close()
        elif self._controller.saver.has_unsaved_changes:
            self._controller.saver.save()
            self._timer.start()
        else:
            self._close_window()

    def _confirm_close(self) -> None:
        box = create_question(
            self._dock, "case_not_saved", "The case cannot be saved.", str(self._controller.saver.error), "Case"
        )
        close = box.addButton("Close without saving", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton("Stay in napari", QMessageBox.ButtonRole.RejectRole))
        if exec_question(box) is close:
            self._controller.saver.discard_changes()
            self._close_window()

    def _close_window(self) -> None:
        window = self.window
        if window is not None and window.isVisible():  # it may have been closed while the case was being saved
            self._closing = True
            window.close()
            self._closing = False

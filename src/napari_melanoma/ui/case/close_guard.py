"""Holds the closing of a window back until the case in its dock is saved, and asks where it cannot be."""

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
    """Watches the main window of a dock."""

    def __init__(self, dock: QWidget, controller: CaseController, corrections: CaseCorrectionSaver) -> None:
        super().__init__(dock)
        self._controller = controller
        self._corrections = corrections
        self._closing = False
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)

    def move_to_front(self) -> None:
        """Be asked before other guards: what this one saves, nobody has to be asked about."""
        window = self.window
        if window is not None:
            window.removeEventFilter(self)
            window.installEventFilter(self)

    def may_close(self) -> bool:
        """Save first, and then close the window.

        False where something is still to be saved; the window is closed when it is.
        """
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
        leave = box.addButton("Close without saving", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton("Stay", QMessageBox.ButtonRole.RejectRole))
        if exec_question(box) is leave:
            self._controller.saver.discard_changes()
            self._close_window()

    def _close_window(self) -> None:
        window = self.window
        if window is not None and window.isVisible():  # else it was closed while the case was being saved
            self._closing = True
            window.close()
            self._closing = False

"""Holds the closing of a window back until the case in its dock is saved, and asks where it cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_melanoma.ui.widgets.dialogs import WindowGuard, answer, ask

if TYPE_CHECKING:
    from napari_melanoma.ui.case.corrections import CaseKeeping
    from napari_melanoma.ui.case.store import CaseDesk

LOOK_MS = 50


class CaseGuard(WindowGuard):
    """Watches the main window of a dock."""

    def __init__(self, dock: QWidget, desk: CaseDesk, keeping: CaseKeeping) -> None:
        super().__init__(dock)
        self._desk = desk
        self._keeping = keeping
        self._closing = False
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self._look)

    def be_first(self) -> None:
        """Be asked before other guards: what this one saves, nobody has to be asked about."""
        window = self.window
        if window is not None:
            window.removeEventFilter(self)
            window.installEventFilter(self)

    def may_close(self) -> bool:
        """Save first, and then close the window.

        False where something is still to be saved; the window is closed when it is.
        """
        if self._closing or not self._is_behind():
            return True
        self._keeping.flush()
        if self._desk.saving.dirty:
            self._desk.saving.save()
        self._timer.start()
        return False

    def _is_behind(self) -> bool:
        return self._desk.may_edit and (self._keeping.busy or self._desk.saving.dirty or self._desk.busy)

    def _look(self) -> None:
        if self._keeping.busy or self._desk.busy:
            return
        self._timer.stop()
        if self._desk.saving.fault is not None:
            self._ask()
        elif self._desk.saving.dirty:
            self._desk.saving.save()
            self._timer.start()
        else:
            self._close()

    def _ask(self) -> None:
        box = ask(self._dock, "case_not_saved", "The case cannot be saved.", str(self._desk.saving.fault), "Case")
        leave = box.addButton("Close without saving", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton("Stay", QMessageBox.ButtonRole.RejectRole))
        if answer(box) is leave:
            self._desk.saving.forget()
            self._close()

    def _close(self) -> None:
        window = self.window
        if window is not None and window.isVisible():  # else it was closed while the case was being saved
            self._closing = True
            window.close()
            self._closing = False

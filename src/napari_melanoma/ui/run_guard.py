"""Asks, before a window closes over a training that is at work, whether it shall go on."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_melanoma.core.errors import SaveError
from napari_melanoma.ui.close_guard import ask

if TYPE_CHECKING:
    from napari_melanoma.workflows.runs import RunReport

DETAILS = (
    "A training is a process of its own: it can go on without napari, and is found here when you come back. "
    "Stopped, it can be resumed from its last finished epoch."
)


class RunGuard(QObject):
    """Watches the main window of a dock.

    Parameters
    ----------
    dock : QWidget
        Whose window is watched, once the dock is in one.

    Attributes
    ----------
    failed : Signal(object)
        An exception: a run could not be told to stop, so the window stays.
    """

    failed = Signal(object)

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._dock = dock
        self._let_go: set[Path] = set()
        self._watched: weakref.ref[QWidget] | None = None  # a strong one would keep a closed window alive

    def let_go(self, run: Path) -> None:
        """Ask no more about a run: the user has said that it goes on.

        Parameters
        ----------
        run : pathlib.Path
            Its folder.
        """
        self._let_go.add(run)

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
            from napari_melanoma.workflows.runs import list_runs

            at_work = [report for report in list_runs() if report.state.active and report.path not in self._let_go]
            if at_work and not self._may_close(at_work):
                event.ignore()
                return True
        return False

    def _may_close(self, at_work: Sequence[RunReport]) -> bool:
        names = ", ".join(report.name for report in at_work)
        goes_on = "The training goes on" if len(at_work) == 1 else "The trainings go on"
        box = ask(self._dock, "runs_at_work", f"{names}: not finished yet.", DETAILS, "Train")
        go_on = box.addButton(f"{goes_on} without napari", QMessageBox.ButtonRole.AcceptRole)
        stop = box.addButton("Stop after this batch", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(go_on)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        pressed = box.clickedButton()
        box.deleteLater()
        if pressed is stop:
            return self._stopped(at_work)
        return pressed is go_on

    def _stopped(self, at_work: Sequence[RunReport]) -> bool:
        from napari_melanoma.workflows.runs import ask as tell

        try:
            for report in at_work:
                tell(report.path, "cancel")
        except SaveError as error:
            self.failed.emit(error)
            return False
        return True

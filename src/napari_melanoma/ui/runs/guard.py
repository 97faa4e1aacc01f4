"""Asks, before a window closes over a training that is at work, whether it shall go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QMessageBox, QWidget

from napari_melanoma.core.errors import SaveError
from napari_melanoma.ui.close_guard import answer, ask
from napari_melanoma.ui.window_guard import WindowGuard

if TYPE_CHECKING:
    from napari_melanoma.workflows.runs import RunReport

DETAILS = (
    "A training is a process of its own: it can go on without napari, and is found here when you come back. "
    "Stopped, it can be resumed from its last finished epoch."
)


class RunGuard(WindowGuard):
    """Watches the main window of a dock."""

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._let_go: set[Path] = set()

    def let_go(self, run: Path) -> None:
        """Ask no more about a run: the user has said that it goes on."""
        self._let_go.add(run)

    def may_close(self) -> bool:
        """Ask where a training is at work that the user has not let go.

        False where the window shall stay.
        """
        from napari_melanoma.workflows.runs import list_runs

        at_work = [report for report in list_runs() if report.state.active and report.path not in self._let_go]
        return not at_work or self._ask(at_work)

    def _ask(self, at_work: Sequence[RunReport]) -> bool:
        names = ", ".join(report.name for report in at_work)
        goes_on = "The training goes on" if len(at_work) == 1 else "The trainings go on"
        box = ask(self._dock, "runs_at_work", f"{names}: not finished yet.", DETAILS, "Train")
        go_on = box.addButton(f"{goes_on} without napari", QMessageBox.ButtonRole.AcceptRole)
        stop = box.addButton("Stop after this batch", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(go_on)
        box.addButton(QMessageBox.StandardButton.Cancel)
        pressed = answer(box)
        if pressed is stop:
            return self._stopped(at_work)
        return pressed is go_on

    def _stopped(self, at_work: Sequence[RunReport]) -> bool:
        from napari_melanoma.workflows.runs import request as tell

        try:
            for report in at_work:
                tell(report.path, "cancel")
        except SaveError as error:
            self.failed.emit(error)
            return False
        return True

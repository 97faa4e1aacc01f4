"""What the Train dock does with runs: follow, resume, judge, activate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.processes import request
from napari_melanoma.ui.train.gate import Decider
from napari_melanoma.ui.train.start import Starter
from napari_melanoma.ui.widgets.dialogs import WindowGuard, answer, ask
from napari_melanoma.ui.widgets.job import Latest

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import Wish
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.runs.runs import RunReport
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.ui.train.controls import TrainControls


class RunDesk(QObject):
    """Takes what the user wants of runs, and shows what comes of it."""

    changed = Signal()
    failed = Signal(object)

    def __init__(self, controls: TrainControls) -> None:
        super().__init__(controls)
        self._controls = controls
        self._attached = False
        self._said = self._said_of_run = ""
        self._reports: list[RunReport] = []
        self._starter = Starter(self)
        self._decider = Decider(self)
        self._tell = Latest(self)
        self.guard = RunGuard(controls)
        self._connect_runs()
        self._connect_page()
        QTimer.singleShot(0, controls.runs.refresh)

    def _connect_runs(self) -> None:
        controls, starter = self._controls, self._starter
        starter.changed.connect(self.changed)
        starter.started.connect(self._on_started)
        starter.failed.connect(self._on_not_started)
        starter.progressed.connect(partial(controls.status.progress, "starting"))
        controls.notice.chosen.connect(self.look_at)
        controls.runs.chosen.connect(self.look_at)
        controls.runs.resume_wanted.connect(self.resume)
        controls.runs.listed.connect(self._on_listed)
        controls.runs.removed.connect(self._on_removed)
        for source in (controls.runs, controls.page.run.watch, self.guard):
            source.failed.connect(self.failed)

    def _connect_page(self) -> None:
        page, decider = self._controls.page, self._decider
        page.left.connect(self.leave)
        page.run.watch.changed.connect(self._on_report)
        page.run.wish.connect(self._on_wish)
        page.run.resume_wanted.connect(self.resume)
        page.run.detached.connect(self._on_detached)
        page.gate.take_over.connect(decider.take_over)
        page.gate.discard.connect(decider.discard)
        decider.taken_over.connect(self._on_taken_over)
        decider.discarded.connect(self._on_discarded)
        decider.failed.connect(self._on_not_decided)
        self._tell.succeeded.connect(self._on_told)
        self._tell.failed.connect(self._on_not_told)

    @property
    def busy(self) -> bool:
        """Whether anything is on its way; a run at work is not meant."""
        return self.starting or self._decider.busy or self._tell.busy or self._controls.runs.busy

    @property
    def starting(self) -> bool:
        """Whether a run is being launched."""
        return self._starter.busy

    @property
    def at_work(self) -> list[RunReport]:
        """The runs that are at work or wait, as they were listed last."""
        return [report for report in self._reports if report.state.active]

    def start(self, recipe: TrainRecipe) -> None:
        """Launch a run; nothing happens while one is being launched."""
        if not self.starting:
            self._controls.status.begin("starting", "Starting ...")
            self._starter.start(recipe)

    def resume(self, run: Path) -> None:
        """Let a run that was stopped go on; nothing happens while one is being launched."""
        if not self.starting:
            self._controls.status.begin("starting", f"Starting {run.name} again ...")
            self._starter.resume(run)

    def look_at(self, run: Path) -> None:
        """Show a run."""
        if run != self._controls.page.path and self._said_of_run == self._controls.status.text:
            self._controls.status.say("")
        self._controls.page.set_run(run)
        self._controls.show_page(True)
        self._controls.page.setFocus(Qt.FocusReason.OtherFocusReason)  # for Escape: the list that had it is hidden

    def leave(self) -> None:
        """Go back to the settings and the list of runs."""
        self._controls.show_page(False)
        self._controls.runs.refresh()
        self.changed.emit()

    def _on_started(self, run: Path) -> None:
        before = [report.name for report in self.at_work if report.path != run]
        turn = f"waits for its turn behind {', '.join(before)}" if before else "goes on if you close napari"
        self._said = f"{run.name} {turn}."
        self._controls.status.end("starting", self._said)
        self.look_at(run)
        self._controls.runs.refresh()

    def _on_report(self, report: RunReport) -> None:
        """Take back what was said at the start, once it is no longer so."""
        if not report.state.active and self._said and self._controls.status.text == self._said:
            self._controls.status.say("")

    def _on_not_started(self, error: Exception) -> None:
        self._controls.status.end("starting")
        self._controls.page.run.wish_failed()
        self.failed.emit(error)

    def _on_listed(self, reports: list[RunReport]) -> None:
        self._reports = reports
        self._controls.notice.show_runs(reports)
        if not self._attached:
            self._attached = True
            self._attach()
        self.changed.emit()

    def _attach(self) -> None:
        """Show the run that is at work already when the dock is opened."""
        if self.at_work and not self.starting:
            working = [report for report in self.at_work if str(report.state) != "queued"]
            self.look_at((working or self.at_work)[-1].path)

    def _on_removed(self, run: Path) -> None:
        if run == self._controls.page.path:
            self._controls.page.set_run(None)
            self.leave()
        self._controls.status.say(f"{run.name} is in the trash.")

    def _on_detached(self) -> None:
        run = self._controls.page.path
        if run is not None:
            self.guard.let_go(run)
            self._controls.status.say(f"{run.name} is left to itself; it stays in the list of runs.")
        self._controls.page.set_run(None)
        self.leave()

    def _on_wish(self, wish: Wish) -> None:
        run = self._controls.page.path
        if run is not None:
            self._tell.submit(str(run), lambda: partial(_ask, run, wish))

    def _on_told(self, told: object) -> None:
        self._controls.page.run.watch.refresh()

    def _on_not_told(self, error: Exception) -> None:
        self._controls.page.run.wish_failed()
        self.failed.emit(error)

    def _on_taken_over(self, run: Path, bundle: BundleInfo) -> None:
        self._after_decision(f"{bundle.name} is taken over: every dock has it in its list of models.")

    def _on_discarded(self, run: Path) -> None:
        self._after_decision(f"The model of {run.name} is discarded. Its files stay, should you change your mind.")

    def _on_not_decided(self, error: Exception) -> None:
        self._controls.page.gate.choice_failed()
        self.failed.emit(error)

    def _after_decision(self, said: str) -> None:
        self._said_of_run = said
        self._controls.status.say(said)
        self._controls.page.run.watch.refresh()
        self._controls.runs.refresh()


def _ask(path: Path, wish: Wish, run: RunContext) -> None:
    """Tell a run what is wished of it."""
    request(path, wish)


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
        from napari_melanoma.runs.runs import list_runs

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
        from napari_melanoma.core.processes import request as tell

        try:
            for report in at_work:
                tell(report.path, "cancel")
        except SaveError as error:
            self.failed.emit(error)
            return False
        return True

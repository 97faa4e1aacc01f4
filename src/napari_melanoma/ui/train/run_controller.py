"""Start, control and show training runs in the Train dock, and ask about them when the window is closed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.processes import send_command_or_stop
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.train.controls import TrainControls
from napari_melanoma.ui.train.run_reader import TrainingSnapshot
from napari_melanoma.ui.train.start import launch_run, resume_run
from napari_melanoma.ui.widgets.dialogs import WindowGuard, create_question, exec_question
from napari_melanoma.ui.widgets.job import BackgroundJob, JobFunction

if TYPE_CHECKING:
    from napari_melanoma.runs.launching import RunReport


CLOSE_DETAILS = (
    "The training is a separate process: it can continue without napari and is listed here when you return. "
    "A stopped training can be resumed where it stopped."
)


ENDED_MS = 1000  # between two looks whether the training has ended, which makes the question superfluous


class RunController(QObject):
    """Handle the user's actions on runs, and show their results."""

    changed = Signal()
    failed = Signal(object)  # the exception

    def __init__(self, controls: TrainControls) -> None:
        super().__init__(controls)
        self._controls = controls
        self._is_listed = False  # True after the runs were listed for the first time
        self._start_message = self._decision_message = ""
        self._waiting_run: Path | None = None  # of which the message states that it waits for others
        self._reports: list[RunReport] = []
        self._launch: BackgroundJob | None = None
        self.guard = RunCloseGuard(controls)
        page, runs = controls.run_page, controls.run_list
        runs.chosen.connect(self.show_run)
        runs.resume_requested.connect(self.resume)
        runs.listed.connect(self._on_listed)
        runs.removed.connect(self._on_removed)
        page.back_requested.connect(self.show_settings)
        page.updated.connect(self._on_updated)
        page.resume_requested.connect(self._on_resume)
        page.detached.connect(self._on_detached)
        page.comparison_view.decided.connect(self._on_decided)
        for source in (runs, page, page.comparison_view, self.guard):
            source.failed.connect(self.failed)
        QTimer.singleShot(0, runs.refresh)

    @property
    def starting(self) -> bool:
        return self._launch is not None

    @property
    def active_runs(self) -> list[RunReport]:
        """The running and queued runs of the last listing."""
        return [report for report in self._reports if report.state.active]

    def start(self, recipe: TrainRecipe) -> None:
        """Launch a run, unless one is being launched."""
        self._run_launch("Starting ...", partial(launch_run, recipe))

    def resume(self, run: Path) -> None:
        """Resume a stopped run, unless one is being launched."""
        self._run_launch(f"Restarting {run.name} ...", partial(resume_run, run))

    def _on_resume(self) -> None:
        if self._controls.run_page.watch.path is not None:
            self.resume(self._controls.run_page.watch.path)

    def _run_launch(self, message: str, work: JobFunction) -> None:
        if self._launch is not None:
            return
        self._controls.status.begin("starting", message)
        self._launch = BackgroundJob(work)
        self._launch.progressed.connect(partial(self._controls.status.progress, "starting"))
        self._launch.succeeded.connect(self._on_started)
        self._launch.failed.connect(self._on_start_failed)
        self._launch.finished.connect(self._on_launched)
        self._launch.start(self)
        self.changed.emit()

    def _on_launched(self) -> None:
        self._launch = None
        self.changed.emit()

    def show_run(self, run: Path) -> None:
        page = self._controls.run_page
        if run != page.watch.path:
            self._controls.status.end_message(self._decision_message)
        page.set_folder(run)
        self._controls.show_page(True)
        page.setFocus(Qt.FocusReason.OtherFocusReason)  # so that Escape works: the list that had the focus is hidden

    def show_settings(self) -> None:
        self._controls.show_page(False)
        self._controls.run_list.refresh()
        self.changed.emit()

    def _on_started(self, run: Path) -> None:
        earlier = [report.name for report in self.active_runs if report.path != run]
        state = f"waits for {', '.join(earlier)}" if earlier else "continues if you close napari"
        self._waiting_run = run if earlier else None
        self._start_message = f"{run.name} {state}."
        self._controls.status.end("starting", self._start_message)
        self.show_run(run)
        self._controls.run_list.refresh()

    def _on_updated(self, snapshot: TrainingSnapshot) -> None:
        """Remove the message about the start when the run has ended, and that it waits for others when it trains."""
        report = snapshot.status
        if not report.state.active or (report.step and report.path == self._waiting_run):
            self._controls.status.end_message(self._start_message)

    def _on_start_failed(self, error: Exception) -> None:
        self._controls.status.end("starting")
        self._controls.run_page.clear_pending_command()
        self.failed.emit(error)

    def _on_listed(self, reports: list[RunReport]) -> None:
        self._reports = reports
        if not self._is_listed:  # the dock was opened: show the last active run
            self._is_listed = True
            running = [report for report in self.active_runs if str(report.state) != "queued"]
            if self.active_runs and not self.starting:
                self.show_run((running or self.active_runs)[-1].path)
        self.changed.emit()

    def _on_removed(self, run: Path) -> None:
        if run == self._controls.run_page.watch.path:
            self._controls.run_page.set_folder(None)
            self.show_settings()
        self._controls.status.show_message(f"{run.name} was moved to the trash.")

    def _on_detached(self) -> None:
        run = self._controls.run_page.watch.path
        if run is not None:
            self.guard.keep_in_background(run)
            self._controls.status.show_message(f"{run.name} continues in the background; it stays in the list of runs.")
        self._controls.run_page.set_folder(None)
        self.show_settings()

    def _on_decided(self, message: str) -> None:
        self._decision_message = message
        self._controls.status.show_message(message)
        self._controls.run_page.watch.refresh()
        self._controls.run_list.refresh()


class RunCloseGuard(WindowGuard):
    """Ask before the main window is closed during a training."""

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._background_runs: set[Path] = set()
        self._answered: set[Path] = set()  # runs that the user was asked about when the window was closed last

    def keep_in_background(self, run: Path) -> None:
        """Let a run continue without asking about it."""
        self._background_runs.add(run)

    def may_close(self) -> bool:
        """Return whether the window may be closed; ask if a run is active that was not detached."""
        answered = self._answered if self.is_closing_again else set()
        active = [report for report in self._find_active() if report.path not in answered]
        if active and not self._confirm_close(active):
            return False
        self._answered = answered | {report.path for report in active}
        return True

    def _find_active(self) -> list[RunReport]:
        from napari_melanoma.runs.launching import list_runs

        return [report for report in list_runs() if report.state.active and report.path not in self._background_runs]

    def _confirm_close(self, active: Sequence[RunReport]) -> bool:
        names = ", ".join(report.name for report in active)
        box = create_question(self._dock, "runs_at_work", f"{names}: not finished yet.", CLOSE_DETAILS, "Train")
        keep = box.addButton("Keep training in the background", QMessageBox.ButtonRole.AcceptRole)
        stop = box.addButton("Stop after this batch", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(keep)
        stay = box.addButton(QMessageBox.StandardButton.Cancel)
        if stay is not None:
            stay.setText("Stay in napari")
        timer = QTimer(box)
        timer.setInterval(ENDED_MS)
        timer.timeout.connect(lambda: None if self._find_active() else box.accept())
        timer.start()
        pressed = exec_question(box)
        if pressed is stop:
            return self._stop_runs(active)
        return pressed is keep or (pressed is None and not self._find_active())

    def _stop_runs(self, active: Sequence[RunReport]) -> bool:
        """Cancel the active runs; return whether that succeeded."""
        try:
            for report in active:
                send_command_or_stop(report.path, "cancel")
        except SaveError as error:
            self.failed.emit(error)
            return False
        return True

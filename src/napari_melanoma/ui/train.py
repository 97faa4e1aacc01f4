"""The Train dock: choose data, a start and a recipe, start a run, watch it, take the new model over."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QHideEvent, QKeySequence, QShortcut, QShowEvent

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.errors import ConfigError, MelanomaError
from napari_melanoma.models.registry import DEFAULT_BUNDLE
from napari_melanoma.ui.deciding import Decider
from napari_melanoma.ui.forecast import Forecast
from napari_melanoma.ui.job import Latest
from napari_melanoma.ui.models_changed import models_changed
from napari_melanoma.ui.opening import Opener
from napari_melanoma.ui.run_guard import RunGuard
from napari_melanoma.ui.start_picker import IMAGENET, INSTALL, NOTHING, imagenet_is_here
from napari_melanoma.ui.starting import Starter
from napari_melanoma.ui.train_controls import START_KEY, TrainControls
from napari_melanoma.ui.worker_client import WorkerClient

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.core.run_folder import Wish
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.workflows.runs import RunReport

NO_DATA = "Tick a data set that has masks, or add one with the plus."
AT_WORK = "time and memory are estimated when no run is at work"


class TrainDock(TrainControls):
    """Train a model on corrected masks or any data set, in a process that outlives the window.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer that it is docked in.
    client : WorkerClient, optional
        Answers what a training would take; one of its own by default, for an analysis must not wait for that.
    """

    def __init__(self, napari_viewer: Viewer, client: WorkerClient | None = None) -> None:
        super().__init__(napari_viewer)
        self._viewer = napari_viewer
        self._client = client or WorkerClient()
        self._attached = False
        self._reports: list[RunReport] = []
        self.forecasting = Forecast(self._client, self)
        self.starter = Starter(self)
        self.decider = Decider(self)
        self.opener = Opener(napari_viewer, self)
        self.guard = RunGuard(self)
        self._quick = Latest(self)
        self._connect()
        self._add_shortcuts()
        self._restore()
        QTimer.singleShot(0, self.runs.refresh)
        # Plain functions, not methods of the dock: when they are called there is no dock any more.
        for last in (self.connections.close, self._client.close):
            self.destroyed.connect(last)

    def _connect(self) -> None:
        self.data.changed.connect(self._review)
        self.start_from.changed.connect(self._on_start_from)
        self.recipes.changed.connect(self._on_recipe)
        self.recipes.saving.connect(self._on_save)
        self.form.changed.connect(self._review)
        self.forecasting.changed.connect(self._show_forecast)
        self.start.clicked.connect(self._on_start)
        self.starter.changed.connect(self._show_forecast)
        self.starter.started.connect(self._on_started)
        self.welcome.dropped.connect(self.data.learn.add)
        self.welcome.followed.connect(self._on_link)
        self.notice.chosen.connect(self.look_at)
        self.runs.chosen.connect(self.look_at)
        self.runs.resume_wanted.connect(self.starter.resume)
        self.runs.listed.connect(self._on_listed)
        self.runs.removed.connect(self._on_removed)
        self.page.left.connect(self._on_left)
        self.page.run.wish.connect(self._on_wish)
        self.page.run.resume_wanted.connect(self.starter.resume)
        self.page.run.detached.connect(self._on_detached)
        self.page.gate.take_over.connect(self.decider.take_over)
        self.page.gate.discard.connect(self.decider.discard)
        self.page.gate.open_image.connect(self._on_open_image)
        self.decider.taken_over.connect(self._on_taken_over)
        self.decider.discarded.connect(self._on_discarded)
        self.decider.failed.connect(self._on_not_decided)
        self.starter.failed.connect(self._on_not_started)
        self._quick.failed.connect(self._on_not_told)
        self._quick.succeeded.connect(self._on_told)
        models_changed().changed.connect(self._on_models)
        for source in (self.data, self.start_from, self.recipes, self.runs, self.page.run.watch, self.guard):
            source.failed.connect(self._on_failed)
        self.opener.failed.connect(self._on_failed)

    def _add_shortcuts(self) -> None:
        QShortcut(QKeySequence(START_KEY), self).activated.connect(self.start.click)
        back = QShortcut(QKeySequence("Escape"), self, context=Qt.ShortcutContext.WidgetWithChildrenShortcut)
        back.activated.connect(self._on_left)

    @property
    def busy(self) -> bool:
        """Whether anything is on its way; a run at work is not meant."""
        parts = (self.data, self.forecasting, self.starter, self.decider, self.opener, self._quick, self.runs)
        return any(part.busy for part in parts)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Watch the window that the dock is in now, and see what has changed meanwhile."""
        super().showEvent(event)
        self.guard.watch()
        self.start_from.refresh()
        self._review()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Hold no memory for estimates that nobody sees."""
        super().hideEvent(event)
        self.forecasting.stop()

    def look_at(self, run: Path) -> None:
        """Show a run.

        Parameters
        ----------
        run : pathlib.Path
            Its folder.
        """
        self.page.set_run(run)
        self.show_page(True)

    def _restore(self) -> None:
        """Begin with the recipe and the start of the last time."""
        self.recipes.pick(self.settings.kept("train/recipe", ""))
        self.start_from.start = self.settings.kept("train/start", DEFAULT_BUNDLE)
        self._give()

    def _give(self) -> None:
        """Show the recipe that is picked in place of what is shown."""
        try:
            self.form.give(self.own_recipe())
        except MelanomaError as error:
            self._on_failed(error)
        self._review()

    def _on_recipe(self) -> None:
        shipped, loaded = self.recipes.shipped, self.recipes.loaded
        if shipped is not None:
            self.settings.keep("train/recipe", shipped.name)
            if shipped.start is not None:
                self.start_from.start = shipped.start
            elif self.start_from.start in (IMAGENET, NOTHING):
                self.start_from.start = DEFAULT_BUNDLE
        elif loaded is not None:
            self.data.use(loaded.data.datasets, loaded.data.base)
            self.start_from.start = loaded.model.start
        self._give()

    def _on_start_from(self) -> None:
        self.settings.keep("train/start", self.start_from.start)
        try:
            self.form.renew(self.own_recipe())
        except MelanomaError as error:
            self._on_failed(error)
        self._review()

    def _review(self) -> None:
        """Find out whether the recipe as it is shown can be started."""
        fault = self._fault()
        if fault:
            self.forecasting.cannot(fault)
            return
        try:
            self.forecasting.want(self.recipe())
        except ConfigError as error:
            self.forecasting.cannot(str(error))

    def _fault(self) -> str:
        """What can be seen to be wrong without reading anything."""
        if not self.data.datasets:
            return NO_DATA
        if self.start_from.start == IMAGENET and not imagenet_is_here():
            return f"{INSTALL}. Or start from a model."
        return next(iter(self.form.faults), "")

    def _show_forecast(self) -> None:
        known = self.forecasting
        self.forecast.setText(known.words)
        self.warning.setText(known.fault or known.warning)
        self.warning.setVisible(bool(known.fault or known.warning))
        self.show_state("Starting ..." if self.starter.busy else known.fault, empty=self.data.is_empty)

    def _on_start(self) -> None:
        recipe = self.forecasting.recipe
        if recipe is not None and not self.starter.busy:
            self.forecasting.stop()
            self.status.begin("starting", "Starting ...")
            self.starter.start(recipe)

    def _on_started(self, run: Path) -> None:
        before = [report.name for report in self._reports if report.state.active and report.path != run]
        turn = f"waits for its turn behind {', '.join(before)}" if before else "goes on if you close napari"
        self.status.end("starting", f"{run.name} {turn}.")
        self.look_at(run)
        self.runs.refresh()

    def _on_not_started(self, error: Exception) -> None:
        self.status.end("starting")
        self.page.run.wish_failed()
        self._on_failed(error)
        self._review()

    def _on_listed(self, reports: list[RunReport]) -> None:
        self._reports = reports
        self.notice.show_runs(reports)
        at_work = [report for report in reports if report.state.active]
        self.forecasting.hold(AT_WORK if at_work else "")
        if not self._attached:
            self._attached = True
            if at_work and not self.starter.busy:
                first = next((report for report in at_work if str(report.state) != "queued"), at_work[-1])
                self.look_at(first.path)

    def _on_removed(self, run: Path) -> None:
        if run == self.page.path:
            self.page.set_run(None)
            self.show_page(False)
        self.status.say(f"{run.name} is in the trash.")

    def _on_left(self) -> None:
        self.show_page(False)
        self.runs.refresh()
        self._show_forecast()

    def _on_detached(self) -> None:
        run = self.page.path
        if run is not None:
            self.guard.let_go(run)
            self.status.say(f"{run.name} is left to itself; it stays in the list of runs.")
        self.page.set_run(None)
        self._on_left()

    def _on_wish(self, wish: Wish) -> None:
        run = self.page.path
        if run is not None:
            self._quick.submit(f"tell {run}", lambda: partial(_tell, run, wish))

    def _on_told(self, sentence: str) -> None:
        if sentence:
            self.status.say(sentence)
        self.page.run.watch.refresh()

    def _on_not_told(self, error: Exception) -> None:
        self.page.run.wish_failed()
        self._on_failed(error)

    def _on_save(self, path: Path) -> None:
        try:
            recipe = self.recipe()
        except ConfigError as error:
            self._on_failed(error)
            return
        self._quick.submit(f"save {path}", lambda: partial(_save, path, recipe))

    def _on_taken_over(self, run: Path, bundle: BundleInfo) -> None:
        self.status.say(f"{bundle.name} is taken over: it is in the list of models of every dock.")
        self._after_decision()

    def _on_discarded(self, run: Path) -> None:
        self.status.say(f"The model of {run.name} is discarded. Its files stay, should you change your mind.")
        self._after_decision()

    def _after_decision(self) -> None:
        self.page.run.watch.refresh()
        self.runs.refresh()

    def _on_not_decided(self, error: Exception) -> None:
        self.page.gate.choice_failed()
        self._on_failed(error)

    def _on_models(self, name: str) -> None:
        self.start_from.refresh()

    def _on_open_image(self, path: str) -> None:
        self.opener.open([Path(path)])

    def _on_link(self, link: str) -> None:
        if link == "folder":
            self.data.learn.ask()
        else:
            self._viewer.window.add_plugin_dock_widget("napari-melanoma", "Lesion")

    def _on_failed(self, error: Exception) -> None:
        from napari.utils import notifications

        self.status.say(str(error))
        notifications.show_error(str(error))


def _tell(path: Path, wish: Wish, run: RunContext) -> str:
    """Tell a run what is wished of it; its page says the rest."""
    from napari_melanoma.workflows import runs

    runs.ask(path, wish)
    return ""


def _save(path: Path, recipe: TrainRecipe, run: RunContext) -> str:
    """Write a recipe, and say so."""
    write_toml(path, recipe)
    return f"Saved as {path}. Run it anywhere with: napari-melanoma train --config {path.name} --out RUN"

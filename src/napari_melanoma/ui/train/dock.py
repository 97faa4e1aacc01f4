"""The Train dock: choose data, a start and a recipe, start a run, watch it, take the new model over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QHideEvent, QShowEvent

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.errors import ConfigError, MelanomaError
from napari_melanoma.models.registry import DEFAULT_BUNDLE
from napari_melanoma.ui.shared_state import models_changed
from napari_melanoma.ui.train.controls import TrainControls
from napari_melanoma.ui.train.forecast import READING, Forecast
from napari_melanoma.ui.train.run_controller import RunDesk
from napari_melanoma.ui.train.start import ALL, ENCODER, IMAGENET, INSTALL, NOTHING, imagenet_is_here
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.mesa import keep_shaders
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.viewer.view_memory import Opener
from napari_melanoma.ui.widgets.job import Latest
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.widgets.worker_client import WorkerClient

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.training.recipe import TrainRecipe

NO_DATA = "Tick a data set that has masks, or add one with the plus."
TILES, FOR_TILES = True, "classify-tiles"  # what data sets are of; the recipe that is picked for such
BOTH_KINDS = "Photographs and tiles of slides are ticked: a model learns from one kind. Untick the other."
OF_TILES = "These are tiles of slides: pick a recipe for tiles of slides."
NOT_OF_TILES = "The recipe is for tiles of slides: tick a data set of tiles, or pick another recipe."
AT_WORK = "time and memory are estimated when no run is at work"


class TrainDock(TrainControls):
    """Train a model on corrected masks or any data set, in a process that outlives the window."""

    def __init__(self, napari_viewer: Viewer, client: WorkerClient | None = None) -> None:
        super().__init__(napari_viewer)
        keep_shaders()
        self._viewer = napari_viewer
        self._client = client or WorkerClient()
        self.forecasting = Forecast(self._client, self)
        self.desk = RunDesk(self)
        self.opener = Opener(napari_viewer, self)
        self._saving = Latest(self)
        self._data_fault = ""
        self._kinds: frozenset[bool] = frozenset()
        self._connect()
        self._add_shortcuts()
        self._restore()
        self.setAcceptDrops(True)
        # Plain functions, not methods of the dock: when they are called there is no dock any more.
        for last in (self.connections.close, partial(_close, self._client)):
            self.destroyed.connect(last)

    def _connect(self) -> None:
        self.data.changed.connect(self._on_data)
        self.data.added.connect(self.status.say)
        self.start_from.changed.connect(self._on_start_from)
        self.offer.linkActivated.connect(self._on_offer)
        self.recipes.changed.connect(self._on_recipe)
        self.recipes.saving.connect(self._on_save)
        self.form.changed.connect(self._review)
        self.forecasting.changed.connect(self._show_forecast)
        self.desk.changed.connect(self._on_runs)
        self.start.clicked.connect(self._on_start)
        self.welcome.dropped.connect(self.data.learn.add)
        self.welcome.followed.connect(self._on_link)
        self.page.gate.open_image.connect(self._on_open_image)
        self._saving.succeeded.connect(self.status.say)
        models_changed().changed.connect(self._on_models)
        for source in (
            self.data,
            self.start_from,
            self.recipes,
            self.desk,
            self.opener,
            self._saving,
            self.form.classes,
        ):
            source.failed.connect(self._on_failed)

    def _add_shortcuts(self) -> None:
        add_shortcut(self, "train.start", self.start.click)
        add_shortcut(self, "train.back", self.desk.leave)

    @property
    def busy(self) -> bool:
        """Whether anything is on its way; a run at work is not meant."""
        return any(
            part.busy for part in (self.data, self.forecasting, self.desk, self.opener, self._saving, self.form.classes)
        )

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Watch the window that the dock is in now, and see what has changed meanwhile."""
        super().showEvent(event)
        self.desk.guard.watch()
        self.start_from.refresh()
        self._review()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Hold no memory for estimates that nobody sees."""
        super().hideEvent(event)
        if isalive(self._client):  # at the end of a script Qt may delete it before the dock
            self.forecasting.stop()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - Qt's name
        """Accept folders wherever they come, while the settings are shown."""
        if event.mimeData().hasUrls() and not self.on_run:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt's name
        """Take folders to learn from."""
        event.acceptProposedAction()
        self.data.learn.add([Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()])

    def _restore(self) -> None:
        """Begin with the recipe and the start of the last time."""
        self.recipes.pick(self.settings.kept("train/recipe", ""))
        self.start_from.of_slides = self.recipes.shipped is not None and self.recipes.shipped.is_of_slides
        self.start_from.start = self.settings.kept("train/start", DEFAULT_BUNDLE)
        self.start_from.take = self.settings.kept("train/take", ALL)
        self._show_own(self.form.give)

    def _show_own(self, show: Callable[[TrainRecipe], None]) -> None:
        """Show the recipe that is picked, with its data and its start."""
        try:
            show(self.own_recipe())
        except MelanomaError as error:
            self._on_failed(error)
        self._review()

    def _on_data(self) -> None:
        """Follow the data: tiles of slides say which they are, and are learnt from by recipes of their own."""
        shipped, kinds = self.recipes.shipped, self.data.kinds
        fresh, self._kinds = kinds != self._kinds, kinds
        if fresh and kinds == {TILES} and shipped is not None and not shipped.is_of_slides:
            self.recipes.pick(FOR_TILES)
            self._on_recipe()
            self.status.say("These are tiles of slides: a recipe for such is picked.")
        elif shipped is not None and shipped.is_of_slides:
            self._show_own(self.form.renew)
        else:
            self._review()

    def _on_recipe(self) -> None:
        shipped, loaded = self.recipes.shipped, self.recipes.loaded
        if shipped is not None:
            self.settings.keep("train/recipe", shipped.name)
            other = shipped.is_of_slides != self.start_from.of_slides
            self.start_from.of_slides = shipped.is_of_slides
            if shipped.start is not None:
                self.start_from.start = shipped.start
            elif other or self.start_from.start in (IMAGENET, NOTHING):
                self.start_from.start = DEFAULT_BUNDLE
            if other:  # next time too, for a start of the other kind is none
                self.settings.keep("train/start", self.start_from.start)
        elif loaded is not None:
            self.data.use(loaded.data.datasets, loaded.data.base)
            self.start_from.start, self.start_from.take = loaded.model.start, loaded.model.take
        self._show_own(self.form.give)

    def _on_start_from(self) -> None:
        self.settings.keep("train/start", self.start_from.start)
        self.settings.keep("train/take", self.start_from.take)
        self._show_own(self.form.renew)

    def _on_offer(self, link: str) -> None:
        """Take the other start that was offered."""
        if link == ENCODER:
            self.start_from.take = ENCODER
        else:
            self.start_from.start = link
        self._on_start_from()

    def _review(self) -> None:
        """Find out whether the recipe as it is shown can be started."""
        self.form.classes.look_at(self.data.datasets)
        self.show_offer()
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
        if self.data.unread:  # corrections that nobody has made yet are not missing
            return READING
        if not self.data.datasets:
            return NO_DATA
        if len(self.data.kinds) > 1:
            return BOTH_KINDS
        shipped = self.recipes.shipped
        if shipped is not None and self.data.kinds and self.data.kinds != {shipped.is_of_slides}:
            return NOT_OF_TILES if shipped.is_of_slides else OF_TILES
        if self.start_from.start == IMAGENET and not imagenet_is_here():
            return f"{INSTALL}. Or start from a model."
        return next(iter(self.form.faults), "")

    def _show_forecast(self) -> None:
        known = self.forecasting
        if known.data_fault != self._data_fault:  # the list may still say what was there before
            self._data_fault = known.data_fault
            self.data.recount()
        self.forecast.setText(known.words)
        self.forecast.setToolTip(known.basis)
        self.warning.setText(known.fault or known.warnings)
        self.warning.setVisible(bool(known.fault or known.warnings))
        self.show_state("Starting ..." if self.desk.starting else known.fault, empty=self.data.is_empty)

    def _on_runs(self) -> None:
        self.forecasting.hold(AT_WORK if self.desk.at_work else "")
        self._show_forecast()

    def _on_start(self) -> None:
        recipe = self.forecasting.recipe
        if recipe is not None:
            self.forecasting.stop()
            self.desk.start(recipe)

    def _on_save(self, path: Path) -> None:
        if not self.data.datasets:
            self.status.say(f"A recipe names its data. {NO_DATA}")
            return
        try:
            recipe = self.recipe()
        except ConfigError as error:
            self._on_failed(error)
        else:
            self._saving.submit(str(path), lambda: partial(_save, path, recipe))

    def _on_models(self, name: str) -> None:
        self.start_from.refresh()

    def _on_open_image(self, path: str) -> None:
        self.opener.open([Path(path)])

    def _on_link(self, link: str) -> None:
        if link == "folder":
            self.data.learn.ask()
        else:
            show_dock(self._viewer, "Lesion")

    def _on_failed(self, error: Exception) -> None:
        show_failure(self.status, error)


def _close(client: WorkerClient) -> None:
    """End a worker, unless Qt has done so."""
    if isalive(client):
        client.close()


def _save(path: Path, recipe: TrainRecipe, run: RunContext) -> str:
    """Write a recipe, and say so."""
    write_toml(path, recipe)
    return f"Saved as {path}. Anywhere: napari-melanoma train --config {path.name} --out RUN"

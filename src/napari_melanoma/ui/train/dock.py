"""The Train dock: select data, a starting model and a recipe, start a training, and follow it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtGui import QDragEnterEvent, QDropEvent, QShowEvent

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, MelanomaError, MissingPackage
from napari_melanoma.core.formatting import to_sentence
from napari_melanoma.core.packages import require_training_packages
from napari_melanoma.models import DEFAULT_BUNDLE
from napari_melanoma.models.published_encoders import find_imagenet_name
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.session.workspace import Workspace
from napari_melanoma.ui.train.controls import TrainControls
from napari_melanoma.ui.train.recipe_check import READING, RecipeCheck
from napari_melanoma.ui.train.run_controller import RunController
from napari_melanoma.ui.train.start import ALL, ENCODER, IMAGENET, NOTHING
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.widgets.dock_layout import FACTS_SEPARATOR
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.runs.shipped_recipes import DataKind

TICK_DATA = "Tick the data to train on, and choose a recipe: images are counted before the start."
NO_DATA = "Tick a data set with usable images, or add one with the plus button."
KIND_NAMES: dict[DataKind, str] = {"photographs": "photographs", "tiles": "tiles of slides", "slides": "whole slides"}
# Selected when the data are of another kind than the recipe
KIND_RECIPES: dict[DataKind, str] = {"tiles": "classify-tiles", "slides": "slide-patients"}
SEVERAL_KINDS = "Different types of data are ticked: {}. Tick data sets of one type only."
OTHER_KIND = "The data are {data}, but the recipe is for {recipe}. Select a recipe for {data}, or other data."


class TrainDock(TrainControls):
    """Train a model on corrections or other data sets, in a process that can continue without napari."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self._workspace = Workspace.of(napari_viewer)
        self._workspace.training.provide(self.data_picker, self)
        self.recipe_check = RecipeCheck(self)
        self.run_controller = RunController(self)
        self._saving = LatestJobQueue(self)
        self._data_error = ""  # the last one of the check
        self._kinds: frozenset[DataKind] = frozenset()
        self._connect()
        self._add_shortcuts()
        self._restore()
        self.setAcceptDrops(True)

    def _connect(self) -> None:
        self.data_picker.changed.connect(self._on_data)
        self.start_picker.changed.connect(self._on_start_from)
        self.start_hint.linkActivated.connect(self._on_start_hint)
        self.recipe_picker.changed.connect(self._on_recipe)
        self.recipe_picker.save_requested.connect(self._on_save)
        self.recipe_form.changed.connect(self._check_recipe)
        self.recipe_check.changed.connect(self._show_check)
        self.run_controller.changed.connect(self._show_check)
        self.start_button.clicked.connect(self._on_start)
        self.welcome.dropped.connect(self.data_picker.training_list.add)
        self.welcome.link_activated.connect(self._on_link)
        self._saving.succeeded.connect(self.status.show_message)
        for source in (
            self.data_picker,
            self.start_picker,
            self.recipe_picker,
            self.run_controller,
            self._saving,
            self.recipe_form.classification_form,
        ):
            source.failed.connect(self._on_failed)

    def _add_shortcuts(self) -> None:
        add_shortcut(self, "train.start", self.start_button.click)
        add_shortcut(self, "train.back", self.run_controller.show_settings)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Watch the window that contains the dock now, update the list of starting models, and check the recipe."""
        super().showEvent(event)
        self.run_controller.guard.watch()
        self.start_picker.refresh()
        self._check_recipe()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - Qt's name
        """Accept files and folders while the settings are shown."""
        if event.mimeData().hasUrls() and not self.is_run_page_shown:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt's name
        """Add folders to the training data."""
        event.acceptProposedAction()
        self.data_picker.training_list.add(
            [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        )

    def _restore(self) -> None:
        """Restore the recipe and the starting model of the last session."""
        self.recipe_picker.select(self.settings.get("train/recipe", ""))
        shipped = self.recipe_picker.shipped_recipe
        self.start_picker.of_slides = shipped is not None and shipped.is_of_slides
        self.start_picker.start = self.settings.get("train/start", DEFAULT_BUNDLE)
        self.start_picker.start_weights = self.settings.get("train/start_weights", ALL)
        if shipped is not None and shipped.is_of_whole_slides:
            self.start_picker.start = NOTHING
        self._show_base_recipe(self.recipe_form.set_recipe)

    def _show_base_recipe(self, show: Callable[[TrainRecipe], None]) -> None:
        """Show the selected recipe with the selected data and starting model. ``show``: method of the form."""
        try:
            show(self.build_base_recipe())
        except MelanomaError as error:
            self._on_failed(error)
        self._check_recipe()

    def _on_data(self) -> None:
        """Update the recipe for other data; select a recipe for tiles or whole slides if the data are these."""
        shipped, kinds = self.recipe_picker.shipped_recipe, self.data_picker.kinds
        has_changed, self._kinds = kinds != self._kinds, kinds
        self.facts.set_facts(self.data_picker.facts)
        kind = next(iter(kinds)) if len(kinds) == 1 else None
        if has_changed and kind in KIND_RECIPES and shipped is not None and shipped.data_kind != kind:
            self.recipe_picker.select(KIND_RECIPES[kind])
            self._on_recipe()
            self.status.show_message(f"The data are {KIND_NAMES[kind]}: a recipe for them was selected.")
        elif shipped is not None and shipped.is_of_slides:
            self._show_base_recipe(self.recipe_form.update_recipe)
        else:
            self._check_recipe()

    def _on_recipe(self) -> None:
        shipped, loaded = self.recipe_picker.shipped_recipe, self.recipe_picker.loaded_recipe
        if shipped is not None:
            self.settings.set("train/recipe", shipped.name)
            is_other_kind = shipped.is_of_slides != self.start_picker.of_slides
            previous_start = self.start_picker.start
            self.start_picker.of_slides = shipped.is_of_slides
            if shipped.start is not None:
                self.start_picker.start = shipped.start
            elif is_other_kind or self.start_picker.start in (IMAGENET, NOTHING):
                self.start_picker.start = DEFAULT_BUNDLE
            if self.start_picker.start != previous_start:  # for the next session, which restores recipe and start
                self.settings.set("train/start", self.start_picker.start)
        elif loaded is not None:
            self.data_picker.select(loaded.data.datasets, loaded.data.replay)
            self.start_picker.start, self.start_picker.start_weights = loaded.model.start, loaded.model.start_weights
        self._show_base_recipe(self.recipe_form.set_recipe)

    def _on_start_from(self) -> None:
        self.settings.set("train/start", self.start_picker.start)
        self.settings.set("train/start_weights", self.start_picker.start_weights)
        self._show_base_recipe(self.recipe_form.update_recipe)

    def _on_start_hint(self, link: str) -> None:
        if link == ENCODER:
            self.start_picker.start_weights = ENCODER
        else:
            self.start_picker.start = link
        self._on_start_from()

    def _check_recipe(self) -> None:
        shipped = self.recipe_picker.shipped_recipe
        self.show_start_picker(shipped is None or not shipped.is_of_whole_slides)  # which start from random weights
        with suppress(ConfigError):  # which is shown below
            self.data_picker.set_needs_masks(self.build_recipe().needs_masks)
        self.recipe_form.classification_form.load_tables(self.data_picker.tables)
        error = self._find_obvious_error()
        if error:
            self.recipe_check.set_error(error)
        else:
            try:
                recipe = self.build_recipe()
                self.start_picker.encoder = find_imagenet_name(recipe.model.architecture, recipe.model.options)
                self.recipe_check.set_recipe(recipe)
            except ConfigError as config_error:
                self.recipe_check.set_error(str(config_error))
        self.update_start_hint()

    def _find_obvious_error(self) -> str:
        """Return an error that can be found without reading files; empty if there is none."""
        try:
            require_training_packages()
        except MissingPackage as error:
            return to_sentence(str(error))
        if self.data_picker.has_uncounted:  # it is not known yet whether there are usable images
            return READING
        if self.data_picker.errors:
            return self.data_picker.errors[0]
        if not self.data_picker.datasets:
            return NO_DATA
        kinds, shipped = self.data_picker.kinds, self.recipe_picker.shipped_recipe
        if len(kinds) > 1:
            return SEVERAL_KINDS.format(" and ".join(sorted(KIND_NAMES[kind] for kind in kinds)))
        if shipped is not None and kinds and kinds != {shipped.data_kind}:
            return OTHER_KIND.format(data=KIND_NAMES[next(iter(kinds))], recipe=KIND_NAMES[shipped.data_kind])
        return next(iter(self.recipe_form.faults), "")

    def _show_check(self) -> None:
        check = self.recipe_check
        if check.data_error != self._data_error:  # the counts in the list may be outdated
            self._data_error = check.data_error
            self.data_picker.recount()
        if check.counts is None:
            self.answer.set_hint(TICK_DATA)
        else:
            self.answer.set_answer(check.counts.sets, check.counts.parts, separator=FACTS_SEPARATOR)
        self.warning_label.setText(check.error or check.warning)
        self.warning_label.setVisible(bool(check.error or check.warning))
        self.update_state(
            "Starting ..." if self.run_controller.starting else check.error, empty=self.data_picker.is_empty
        )

    def _on_start(self) -> None:
        if self.recipe_check.recipe is not None:
            self.run_controller.start(self.recipe_check.recipe)

    def _on_save(self, path: Path) -> None:
        if not self.data_picker.datasets:
            self.status.show_until(f"A recipe needs data sets. {NO_DATA}", self.data_picker.changed)
            return
        try:
            recipe = self.build_recipe()
        except ConfigError as error:
            self._on_failed(error)
        else:
            self._saving.submit(str(path), lambda: partial(_save, path, recipe))

    def _on_link(self, link: str) -> None:
        if link == "folder":
            self.data_picker.training_list.choose_folder()
        else:
            self._workspace.photographs.show()

    def _on_failed(self, error: Exception) -> None:
        show_failure(self.status, error)


def _save(path: Path, recipe: TrainRecipe, run: RunContext) -> str:
    """Write a recipe; return the message for the user."""
    write_toml(path, recipe)
    return f"Saved as {path}. Run it with: napari-melanoma train --config {path.name} --out RUN"

"""The widgets of the Train dock, which read and show a recipe; ``TrainDock`` adds the behavior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QPushButton, QStackedWidget, QVBoxLayout, QWidget

from napari_melanoma.core.config import overlay_values
from napari_melanoma.core.errors import BundleError
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.session.corrections_store import ReviewSettings
from napari_melanoma.ui.train.data_sets import DataPicker
from napari_melanoma.ui.train.recipe import RecipeForm, RecipePicker
from napari_melanoma.ui.train.run_list import RunList
from napari_melanoma.ui.train.run_view import TrainingPage
from napari_melanoma.ui.train.start import StartPicker
from napari_melanoma.ui.viewer.docking import DockPlacement
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.dock_layout import AnswerCard, DockParts, FactsLine, lay_out_dock
from napari_melanoma.ui.widgets.file_drop import Welcome
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.style import (
    ThemedIcons,
    WrappedLabel,
    column,
    form_layout,
    named,
    scroll_area,
    section,
    state_label,
    top_label,
)

if TYPE_CHECKING:
    from napari.viewer import Viewer

START_KEY = format_key("train.start")
NO_DATA = "(no data yet)"  # placeholder for data sets, so that a recipe can be shown when none is ticked


class TrainControls(QWidget):
    """The widgets of the Train dock, on two pages: the settings, and a run."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        named(self, "train_dock", "Train")
        self.setToolTip("")
        self.settings = ReviewSettings()
        self.connections = Connections(self)
        DockPlacement(self, viewer, self.connections)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.welcome = TrainWelcome(self.icons)
        self.data_picker = DataPicker(self.settings, self.icons)
        self.start_picker = StartPicker(self.icons)
        self.recipe_picker = RecipePicker(self.icons)
        self.recipe_form = RecipeForm(self.settings, self.icons)
        self.run_list = RunList(self.icons)
        self.run_page = TrainingPage(self.icons, self.settings)
        self.start_hint = named(WrappedLabel(), "start_offer", "Classes that the starting model does not have")
        self.start_hint.setToolTip("")
        self.facts = FactsLine("train_facts", "Data sets of the training")
        self.answer = AnswerCard("image_counts", "Images of the training", lines=3)
        self.warning_label = state_label("warning", "Why the training cannot start, or warnings")
        self.warning_label.setProperty("fault", True)
        self.start_button = named(QPushButton("Start"), "primary", "Start the training")
        self.status = StatusLine(self.icons)
        self._lay_out()
        self.icons.apply()

    def build_base_recipe(self) -> TrainRecipe:
        """Return the selected recipe with the selected data and starting model, without changes in the form.

        If no data set is ticked, the recipe contains a placeholder.
        """
        datasets = self.data_picker.datasets or (NO_DATA,)
        shipped, loaded = self.recipe_picker.shipped_recipe, self.recipe_picker.loaded_recipe
        if shipped is not None or loaded is not None:
            shipped_task = "" if shipped is None else shipped.values.get("task", "segmentation")
            self.start_picker.set_task(shipped_task if loaded is None else loaded.task)
        start = self.start_picker.start
        if loaded is not None:
            return adapt_recipe(loaded, start, datasets, self.start_picker.start_weights)
        if shipped is None:
            raise BundleError("no recipe is selected. Select one from the list.")
        return shipped.complete(datasets, start, self.start_picker.start_weights)

    def build_recipe(self) -> TrainRecipe:
        """Return the recipe with the values in the form, and the selected data and starting model."""
        selected: dict[str, Any] = {
            "data": {"datasets": self.data_picker.datasets or (NO_DATA,), "replay": self.data_picker.replay_data},
            "model": {"start": self.start_picker.start, "start_weights": self.start_picker.start_weights},
        }
        return TrainRecipe.parse(overlay_values(self.recipe_form.values(), selected), "the recipe")

    def set_recipe(self, recipe: TrainRecipe) -> None:
        """Show a recipe as if the user had entered its values."""
        self.data_picker.select(recipe.data.datasets, recipe.data.replay)
        self.start_picker.start, self.start_picker.start_weights = recipe.model.start, recipe.model.start_weights
        self.recipe_form.set_values(recipe)

    def update_start_hint(self) -> None:
        """Suggest another starting model if images would be left out, because the selected one lacks their classes."""
        hint = self.start_picker.describe_unknown_classes(self.recipe_form.classification_form.available_classes)
        self.start_hint.setText(hint)
        self.start_hint.setVisible(bool(hint))

    def show_start_picker(self, visible: bool) -> None:
        """Show the choice of the starting model, or hide it for recipes that have none."""
        self._selection_rows.setRowVisible(self.start_picker, visible)

    def show_page(self, is_run_page: bool) -> None:
        """Show the page of a run, or the settings."""
        self._pages.setCurrentIndex(int(is_run_page))
        self._show_parts()

    @property
    def is_run_page_shown(self) -> bool:
        return bool(self._pages.currentIndex() == 1)

    def update_state(self, blocker: str, *, empty: bool) -> None:
        """Update what is visible and enabled.

        ``blocker``: why the training cannot start, empty if it can. ``empty``: there are no data sets.
        """
        self.welcome.setVisible(empty)
        self._settings_part.setVisible(not empty)
        self._show_parts()
        self.start_button.setEnabled(not blocker)
        self.start_button.setToolTip(blocker or f"Start training in the background ({START_KEY})")

    def _show_parts(self) -> None:
        """Show what belongs to the settings only while they are shown, and not empty."""
        is_shown = not self._settings_part.isHidden() and not self.is_run_page_shown
        for part in (self._head, self._notices):
            part.setVisible(is_shown)

    def _lay_out(self) -> None:
        """Lay out the widgets: the pages can be scrolled; Start, the images and the status line stay visible."""
        settings_page = QWidget()
        page_column = QVBoxLayout(settings_page)
        page_column.setContentsMargins(6, 6, 6, 6)
        page_column.setSpacing(7)
        self._settings_part = self._create_settings_part()
        runs = section("Runs", "runs_section", self.run_list, self.settings, True)
        self.icons.add_sections(runs)
        for widget in (self.welcome, self._settings_part, runs):
            page_column.addWidget(widget)
        page_column.addStretch(1)
        run_page = QWidget()
        run_column = QVBoxLayout(run_page)
        run_column.setContentsMargins(6, 6, 6, 6)
        run_column.addWidget(self.run_page)
        self._pages = QStackedWidget()
        self._pages.addWidget(scroll_area(settings_page, "train_scroll"))
        self._pages.addWidget(scroll_area(run_page, "run_scroll"))
        self._notices = column(self.start_hint, self.warning_label)
        parts = DockParts(
            self._pages,
            subject=[self.facts],
            act=[self.start_button],
            answer=[self.answer],
            notices=[self._notices],
            footer=[self.status],
        )
        self._head, _ = lay_out_dock(self, parts)

    def _create_settings_part(self) -> QWidget:
        selections = QWidget()
        rows = self._selection_rows = form_layout(selections)
        rows.addRow(top_label("Start from"), self.start_picker)
        rows.addRow(top_label("Recipe"), self.recipe_picker)
        rows.addRow(self.recipe_picker.summary)
        return column(self.data_picker, selections, self.recipe_form, spacing=7)


def adapt_recipe(recipe: TrainRecipe, start: str, datasets: tuple[str, ...], start_weights: str = "all") -> TrainRecipe:
    """Return a user's recipe with other data and another starting model, whose network and preprocessing it adopts."""
    from napari_melanoma.models.installed_bundles import find_bundle
    from napari_melanoma.models.weights_files import find_weights_file

    network: dict[str, Any] = {"start": start, "start_weights": start_weights}
    if start not in ("imagenet", "none", recipe.model.start) and find_weights_file(start) is None:
        config = find_bundle(start).config
        fields = ("architecture", "options", "input_size", "preprocessing")
        network |= {name: getattr(config, name) for name in fields}
    model = recipe.model.model_copy(update=network)
    return recipe.model_copy(update={"model": model, "data": recipe.data.model_copy(update={"datasets": datasets})})


class TrainWelcome(Welcome):
    """The first hint of an empty dock: a drop area for folders; its links are ``lesion`` and ``folder``."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__(icons)
        named(self, "welcome", "Correct masks or choose a folder", "Drop a folder with dataset.csv here")

    def _update_text(self) -> None:
        lesion = self._icons.link("lesion", "Correct masks in the Lesion dock")
        folder = self._icons.link("folder", "choose a folder")
        self._label.setText(
            f"<p style='font-size: 14pt'>{lesion}<br>and add them to the corrections,</p>"
            f"<p style='font-size: 11pt'>or {folder} with dataset.csv, or drop one here.</p>"
        )

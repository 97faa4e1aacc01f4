"""The controls of the Train dock."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QLabel, QPushButton, QStackedWidget, QVBoxLayout, QWidget

from napari_melanoma.core.errors import BundleError
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.lesion.corrections_store import ReviewSettings
from napari_melanoma.ui.train.data_sets import DataPicker
from napari_melanoma.ui.train.recipe import RecipeForm, RecipePicker, merged
from napari_melanoma.ui.train.run_list import RunsList
from napari_melanoma.ui.train.run_view import RunNotice, RunPage
from napari_melanoma.ui.train.start import ALL, ENCODER, IMAGENET, StartPicker, imagenet_is_here
from napari_melanoma.ui.viewer.docking import Docking
from napari_melanoma.ui.viewer.shortcuts import shown_key
from napari_melanoma.ui.widgets.look import Connections, ThemedIcons, Words, form, named, quiet, scrolling, section
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.welcome import Welcome

if TYPE_CHECKING:
    from napari.viewer import Viewer

START_KEY = shown_key("train.start")
NEW_CLASSES = "{} is no class that '{}' knows: images of it would be left out. {}{}."
NO_DATA = "(no data yet)"  # stands for a data set while none is ticked, so that a recipe can be shown without one


class TrainControls(QWidget):
    """What a user sees of the Train dock."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        named(self, "train_dock", "Train")
        self.setToolTip("")
        self.settings = ReviewSettings()
        self.connections = Connections()
        Docking(self, viewer, self.connections)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.welcome = TrainWelcome(self.icons)
        self.notice = RunNotice(self.icons)
        self.data = DataPicker(self.settings, self.icons)
        self.start_from = StartPicker(self.icons)
        self.recipes = RecipePicker(self.icons)
        self.form = RecipeForm(self.settings, self.icons)
        self.runs = RunsList(self.icons)
        self.page = RunPage(self.icons, self.settings)
        self.offer = named(Words(), "start_offer", "Classes that the start does not know")
        self.offer.setToolTip("")
        self.forecast = named(quiet(), "forecast", "What the training would use and take")
        self.warning = named(QLabel(), "warning", "What is in the way")
        self.start = named(QPushButton("Start"), "primary", "Start the training")
        self.status = StatusLine(self.icons)
        self._lay_out()
        self.icons.apply()

    def own_recipe(self) -> TrainRecipe:
        """Give the recipe that is picked, with the data and the start that are picked, before any change by hand.

        With a stand-in where no data set is ticked.
        """
        datasets = self.data.datasets or (NO_DATA,)
        shipped, loaded = self.recipes.shipped, self.recipes.loaded
        if shipped is not None or loaded is not None:
            self.start_from.task = loaded.task if loaded is not None else shipped.values.get("task", "segmentation")
        start = self.start_from.start
        if loaded is not None:
            return adapted(loaded, start, datasets, self.start_from.take)
        if shipped is None:
            raise BundleError("no recipe is picked: choose one from the list.")
        return shipped.recipe(datasets, start, self.start_from.take)

    def recipe(self) -> TrainRecipe:
        """Give the recipe as the controls show it."""
        picked: dict[str, Any] = {
            "data": {"datasets": self.data.datasets or (NO_DATA,), "base": self.data.base_data},
            "model": {"start": self.start_from.start, "take": self.start_from.take},
        }
        return TrainRecipe.parse(merged(self.form.values(), picked), "the recipe")

    def set_recipe(self, recipe: TrainRecipe) -> None:
        """Show a recipe as if the user had chosen each of its values."""
        self.data.use(recipe.data.datasets, recipe.data.base)
        self.start_from.start, self.start_from.take = recipe.model.start, recipe.model.take
        self.form.set_values(recipe)

    @property
    def new_classes(self) -> tuple[str, ...]:
        """Classes of the data that the model which is gone on from does not know: what is of them would be left out."""
        bundle, picker = self.start_from.bundle, self.start_from
        if bundle is None or bundle.config.classifier is None or picker.task != bundle.config.task:
            return ()
        known = {name.lower() for name in bundle.config.classes}
        there = self.form.classes.classes_there if picker.take == ALL else ()
        return tuple(name for name in there if name.lower() not in known)

    def show_offer(self) -> None:
        """Offer another start where the one that is picked would leave classes out."""
        new, bundle, link = self.new_classes, self.start_from.bundle, self.icons.link
        if new and bundle is not None:
            imagenet = f", or from {link(IMAGENET, 'ImageNet')}" if imagenet_is_here() else ""
            other = link(ENCODER, "Start from its encoder, with a new head")
            self.offer.setText(NEW_CLASSES.format(", ".join(map(escape, new)), escape(bundle.name), other, imagenet))
        self.offer.setVisible(bool(new))

    def show_page(self, of_run: bool) -> None:
        """Turn to the page of a run, or back to the settings."""
        self._pages.setCurrentIndex(int(of_run))
        self._foot.setVisible(not of_run)

    @property
    def on_run(self) -> bool:
        """Whether the page of a run is shown."""
        return bool(self._pages.currentIndex() == 1)

    def show_state(self, why_not: str, *, empty: bool) -> None:
        """Show what can be done now, and why not where it cannot."""
        self.welcome.setVisible(empty)
        self._settings_part.setVisible(not empty)
        self._foot.setVisible(not empty and not self.on_run)
        self.start.setEnabled(not why_not)
        self.start.setToolTip(why_not or f"Train in a process of its own; you can go on working ({START_KEY})")

    def _lay_out(self) -> None:
        """Put everything in its place: what is long scrolls, Start and the status line stay in sight."""
        settings_page = QWidget()
        column = QVBoxLayout(settings_page)
        column.setContentsMargins(6, 6, 6, 6)
        column.setSpacing(7)
        self._settings_part = self._settings()
        runs = section("Runs", "runs_section", self.runs, self.settings, True)
        self.icons.fold(runs)
        for widget in (self.notice, self.welcome, self._settings_part, runs):
            column.addWidget(widget)
        column.addStretch(1)
        run_page = QWidget()
        run_column = QVBoxLayout(run_page)
        run_column.setContentsMargins(6, 6, 6, 6)
        run_column.addWidget(self.page)
        self._pages = QStackedWidget()
        self._pages.addWidget(scrolling(settings_page, "train_scroll"))
        self._pages.addWidget(scrolling(run_page, "run_scroll"))
        self._foot = self._before_start()
        below = QWidget()
        foot = QVBoxLayout(below)
        foot.setContentsMargins(6, 0, 6, 6)
        foot.addWidget(self._foot)
        foot.addWidget(self.status)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(4)
        whole.addWidget(self._pages, 1)
        whole.addWidget(below)

    def _settings(self) -> QWidget:
        part = QWidget()
        column = QVBoxLayout(part)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(7)
        picks = QWidget()
        rows = form(picks)
        rows.addRow(_label("start from"), self.start_from)
        rows.addRow(self.offer)
        rows.addRow(_label("recipe"), self.recipes)
        rows.addRow(self.recipes.summary)
        for widget in (self.data, picks, self.form):
            column.addWidget(widget)
        return part

    def _before_start(self) -> QWidget:
        """Make what stands above Start, and Start."""
        part = QWidget()
        column = QVBoxLayout(part)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        self.forecast.setMinimumHeight(3 * self.forecast.fontMetrics().lineSpacing())
        self.forecast.setAlignment(Qt.AlignmentFlag.AlignBottom)
        self.warning.setProperty("fault", True)
        self.warning.setWordWrap(True)
        for widget in (line, self.forecast, self.warning, self.start):
            column.addWidget(widget)
        return part


def adapted(recipe: TrainRecipe, start: str, datasets: tuple[str, ...], take: str = "all") -> TrainRecipe:
    """Let a recipe of the user's own begin with something else and learn from other data.

    Otherwise the same.
    """
    from napari_melanoma.models.registry import find_bundle
    from napari_melanoma.models.weights_location import weights_file

    network: dict[str, Any] = {"start": start, "take": take}
    if start not in ("imagenet", "none", recipe.model.start) and weights_file(start) is None:
        config = find_bundle(start).config
        known = ("architecture", "options", "input_size", "preprocessing")
        network |= {name: getattr(config, name) for name in known}
    model = recipe.model.model_copy(update=network)
    return recipe.model_copy(update={"model": model, "data": recipe.data.model_copy(update={"datasets": datasets})})


def _label(text: str) -> QLabel:
    label = QLabel(text)
    label.setAlignment(Qt.AlignmentFlag.AlignTop)
    label.setContentsMargins(0, 4, 0, 0)
    return label


class TrainWelcome(Welcome):
    """An area for folders, with links that do what they say: ``lesion`` and ``folder``."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__(icons)
        named(self, "welcome", "Correct masks or choose a folder", "Drop a folder with dataset.csv here")

    def _say(self) -> None:
        """Write the invitation in the colours of the theme."""
        lesion = self._icons.link("lesion", "Correct masks in the Lesion dock")
        folder = self._icons.link("folder", "choose a folder")
        self._words.setText(
            f"<p style='font-size: 14pt'>{lesion}<br>and add them,</p>"
            f"<p style='font-size: 11pt'>or {folder} with dataset.csv, or drop one here.</p>"
        )

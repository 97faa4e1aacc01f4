"""Pick a recipe and edit its settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QMenu, QToolButton, QVBoxLayout, QWidget

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.train.class_form import ClassForm
from napari_melanoma.ui.widgets.config_form import ConfigForm
from napari_melanoma.ui.widgets.editors import StillCombo
from napari_melanoma.ui.widgets.look import ThemedIcons, named, quiet, row, section, tool
from napari_melanoma.ui.widgets.settings import Settings

if TYPE_CHECKING:
    from napari_melanoma.runs.shipped_recipes import ShippedRecipe

IN_SIGHT = ("name", "epochs", "learning_rate")
# What has controls of its own.
ELSEWHERE = ("task", "data.datasets", "data.base", "model.start", "model.take", "classification")


class RecipeForm(QWidget):
    """All values of a recipe but for its data and its start."""

    changed = Signal()

    def __init__(self, settings: Settings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self._icons = icons
        self._given: TrainRecipe | None = None
        self._sight = ConfigForm(TrainRecipe, settings, icons, IN_SIGHT.__contains__)
        self._sight.changed.connect(self._on_changed)
        self._rest: ConfigForm | None = None
        self.classes = ClassForm(settings, icons)
        self.classes.changed.connect(self._on_changed)
        self._holder = QWidget()
        QVBoxLayout(self._holder).setContentsMargins(0, 0, 0, 0)
        self._fold = section("Advanced", "advanced_section", self._holder, settings, False)
        icons.fold(self._fold)
        self._fold.toggled.connect(self._on_fold)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(7)
        layout.addWidget(self._sight)
        layout.addWidget(self.classes)
        layout.addWidget(self._fold)
        if self._fold.isExpanded():
            self._build()

    @property
    def given(self) -> TrainRecipe | None:
        """The recipe as it was given, without what the user changed."""
        return self._given

    @property
    def faults(self) -> list[str]:
        """What is wrong with what was typed, a sentence each."""
        return [*(fault for part in self._parts for fault in part.faults), *self.classes.faults]

    def values(self) -> dict[str, Any]:
        """Give the values as they are shown, those that are not shown as they were given.

        Nested as the recipe is; empty while no recipe was given.
        """
        values = {} if self._given is None else self._given.model_dump()
        for part in self._parts:
            values = merged(values, part.values())
        chosen = self.classes.values()
        return merged(values, {"classification": chosen}) if chosen else values

    def give(self, recipe: TrainRecipe) -> None:
        """Show a recipe in place of what is shown."""
        self._given = recipe
        for part in self._parts:
            part.give(recipe)
        self.classes.give(recipe.classification)
        self._count()

    def renew(self, recipe: TrainRecipe) -> None:
        """Show another variant of the recipe, but for what the user changed."""
        self._given = recipe
        for part in self._parts:
            part.renew(recipe)
        self.classes.renew(recipe.classification)
        self._count()

    def set_values(self, recipe: TrainRecipe) -> None:
        """Show values as if the user had typed them."""
        self._build()
        for part in self._parts:
            part.set_values(recipe)
        self.classes.give(recipe.classification)
        self._count()

    @property
    def _parts(self) -> list[ConfigForm]:
        return [part for part in (self._sight, self._rest) if part is not None]

    def _on_fold(self, is_open: bool) -> None:
        if is_open:
            self._build()

    def _build(self) -> None:
        """Make the controls of the fold, which takes a moment that nobody should wait for who leaves it closed."""
        if self._rest is None:
            hidden = (*IN_SIGHT, *ELSEWHERE)
            self._rest = ConfigForm(TrainRecipe, self._settings, self._icons, lambda key: key not in hidden)
            self._rest.changed.connect(self._on_changed)
            self._holder.layout().addWidget(self._rest)
            if self._given is not None:
                self._rest.give(self._given)

    def _on_changed(self) -> None:
        self._count()
        self.changed.emit()

    def _count(self) -> None:
        changes = 0 if self._rest is None else self._rest.changes
        self._fold.setText(f"Advanced  ({changes} changed)" if changes else "Advanced")


def merged(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Put values over others, part by part; a network's own options are replaced as a whole."""
    both = dict(values)
    for key, value in more.items():
        inside = isinstance(value, Mapping) and isinstance(both.get(key), Mapping) and key != "options"
        both[key] = merged(both[key], value) if inside else value
    return both


PATTERN = "Recipes (*.toml)"


class RecipePicker(QWidget):
    """A combo box of recipes, with buttons that load one and save one."""

    changed = Signal()
    saving = Signal(object)
    failed = Signal(object)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        from napari_melanoma.runs.shipped_recipes import shipped_recipes

        self._shipped = {recipe.name: recipe for recipe in shipped_recipes() if not recipe.is_of_whole_slides}
        self._loaded: dict[str, TrainRecipe] = {}
        self.combo = named(StillCombo(), "recipe", "Recipe", "How the model learns")
        for recipe in self._shipped.values():
            self.combo.addItem(recipe.title, recipe.name)
            self.combo.setItemData(self.combo.count() - 1, recipe.summary, Qt.ItemDataRole.ToolTipRole)
        self._more = tool("more_recipe", "Load or save a recipe", "Load a recipe from a file, or save this one", "...")
        self._more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._more.setMenu(self._menu())
        self.summary = named(quiet(), "recipe_summary", "What the recipe is for")
        self.summary.setToolTip("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(row(self.combo, self._more, stretch=0))
        self.combo.activated.connect(self._on_activated)
        self._show()

    @property
    def shipped(self) -> ShippedRecipe | None:
        """The shipped recipe that is picked; None where it is the user's own."""
        return self._shipped.get(str(self.combo.currentData()))

    @property
    def loaded(self) -> TrainRecipe | None:
        """The user's own recipe that is picked; None where it is a shipped one."""
        return self._loaded.get(str(self.combo.currentData()))

    def pick(self, name: str) -> None:
        """Pick a shipped recipe; nobody is told."""
        index = self.combo.findData(name)
        if index >= 0:
            self.combo.setCurrentIndex(index)
            self._show()

    def load(self, path: Path) -> None:
        """Load a recipe from a file and pick it."""
        from napari_melanoma.core.config import read_toml

        try:
            self._loaded[str(path)] = read_toml(path, TrainRecipe)
        except MelanomaError as error:
            self.failed.emit(error)
            return
        if self.combo.findData(str(path)) < 0:
            shown = f"{path.parent.name}/{path.name}" if path.name == "config.toml" else path.name
            self.combo.addItem(shown, str(path))
        self.pick(str(path))
        self.changed.emit()

    def _menu(self) -> QMenu:
        menu = QMenu(self)
        for name, words, tip, slot in (
            ("load_recipe", "Load a recipe ...", "A TOML file, such as config.toml of a run", self._ask_load),
            (
                "save_recipe",
                "Save this recipe ...",
                "As a TOML file, which runs on the command line too",
                self._ask_save,
            ),
        ):
            action = menu.addAction(words)
            action.setObjectName(name)
            action.setToolTip(tip)
            action.triggered.connect(slot)
        menu.setToolTipsVisible(True)
        return menu

    def _ask_load(self) -> None:
        dialog = self._dialog("Load a recipe", "load_recipe_dialog", QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(self._on_load)
        dialog.open()

    def _ask_save(self) -> None:
        dialog = self._dialog("Save the recipe", "save_recipe_dialog", QFileDialog.FileMode.AnyFile)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("toml")
        dialog.fileSelected.connect(self._on_save)
        dialog.open()

    def _dialog(self, title: str, name: str, mode: QFileDialog.FileMode) -> QFileDialog:
        dialog = QFileDialog(self.window(), title, str(Path.home()))
        dialog.setObjectName(name)
        dialog.setFileMode(mode)
        dialog.setNameFilter(PATTERN)
        dialog.finished.connect(dialog.deleteLater)
        return dialog

    def _on_load(self, name: str) -> None:
        self.load(Path(name))

    def _on_save(self, name: str) -> None:
        self.saving.emit(Path(name))

    def _on_activated(self, index: int) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        shipped, loaded = self.shipped, self.loaded
        self.combo.setToolTip(f"How the model learns: {self.combo.currentText()}")  # a narrow dock cuts it
        self.summary.setText(shipped.summary if shipped is not None else loaded.title if loaded is not None else "")

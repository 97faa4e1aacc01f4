"""Select a recipe and edit its settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QMenu, QToolButton, QVBoxLayout, QWidget

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.train.classification_form import ClassificationForm
from napari_melanoma.ui.widgets.config_form import ConfigForm
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, named, quiet_label, row, section, tool_button

if TYPE_CHECKING:
    from napari_melanoma.runs.shipped_recipes import ShippedRecipe

PATTERN = "Recipes (*.toml)"
VISIBLE_FIELDS = ("name", "epochs", "learning_rate")
# Fields with their own controls.
EXCLUDED_FIELDS = ("task", "data.datasets", "data.base", "model.start", "model.take", "classification")


class RecipeForm(QWidget):
    """Form for all values of a recipe except its data and start."""

    changed = Signal()

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self._icons = icons
        self._recipe: TrainRecipe | None = None
        self._visible_form = ConfigForm(TrainRecipe, settings, icons, VISIBLE_FIELDS.__contains__)
        self._visible_form.changed.connect(self._on_changed)
        self._advanced_form: ConfigForm | None = None
        self.classification_form = ClassificationForm(settings, icons)
        self.classification_form.changed.connect(self._on_changed)
        self._holder = QWidget()
        QVBoxLayout(self._holder).setContentsMargins(0, 0, 0, 0)
        self._advanced_section = section("Advanced", "advanced_section", self._holder, settings, False)
        icons.add_sections(self._advanced_section)
        self._advanced_section.toggled.connect(self._on_section_toggled)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(7)
        layout.addWidget(self._visible_form)
        layout.addWidget(self.classification_form)
        layout.addWidget(self._advanced_section)
        if self._advanced_section.isExpanded():
            self._create_advanced_form()

    @property
    def original_recipe(self) -> TrainRecipe | None:
        """The recipe without the user's changes."""
        return self._recipe

    @property
    def faults(self) -> list[str]:
        """Errors of the entered values, one sentence each."""
        return [*(fault for part in self._forms for fault in part.faults), *self.classification_form.faults]

    def values(self) -> dict[str, Any]:
        """Return the displayed values, and the original values of other fields; empty without a recipe."""
        values = {} if self._recipe is None else self._recipe.model_dump()
        for part in self._forms:
            values = merge_values(values, part.values())
        chosen = self.classification_form.values()
        return merge_values(values, {"classification": chosen}) if chosen else values

    def set_recipe(self, recipe: TrainRecipe) -> None:
        """Show a recipe."""
        self._recipe = recipe
        for part in self._forms:
            part.set_defaults(recipe)
        self.classification_form.set_config(recipe.classification)
        self._update_change_count()

    def update_recipe(self, recipe: TrainRecipe) -> None:
        """Show another variant of the recipe, and keep the user's changes."""
        self._recipe = recipe
        for part in self._forms:
            part.update_defaults(recipe)
        self.classification_form.update_config(recipe.classification)
        self._update_change_count()

    def set_values(self, recipe: TrainRecipe) -> None:
        """Show values as if the user had entered them."""
        self._create_advanced_form()
        for part in self._forms:
            part.set_values(recipe)
        self.classification_form.set_config(recipe.classification)
        self._update_change_count()

    @property
    def _forms(self) -> list[ConfigForm]:
        return [part for part in (self._visible_form, self._advanced_form) if part is not None]

    def _on_section_toggled(self, is_open: bool) -> None:
        if is_open:
            self._create_advanced_form()

    def _create_advanced_form(self) -> None:
        """Create the controls of the section when it is first opened, because that takes a moment."""
        if self._advanced_form is None:
            hidden = (*VISIBLE_FIELDS, *EXCLUDED_FIELDS)
            self._advanced_form = ConfigForm(TrainRecipe, self._settings, self._icons, lambda key: key not in hidden)
            self._advanced_form.changed.connect(self._on_changed)
            self._holder.layout().addWidget(self._advanced_form)
            if self._recipe is not None:
                self._advanced_form.set_defaults(self._recipe)

    def _on_changed(self) -> None:
        self._update_change_count()
        self.changed.emit()

    def _update_change_count(self) -> None:
        changes = 0 if self._advanced_form is None else self._advanced_form.change_count
        self._advanced_section.setText(f"Advanced  ({changes} changed)" if changes else "Advanced")


def merge_values(values: Mapping[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    """Update values recursively; a network's options are replaced as a whole."""
    merged = dict(values)
    for key, value in updates.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key != "options"
        merged[key] = merge_values(merged[key], value) if nested else value
    return merged


class RecipePicker(QWidget):
    """A combo box of recipes, with a menu to load and save one."""

    changed = Signal()
    save_requested = Signal(object)
    failed = Signal(object)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        from napari_melanoma.runs.shipped_recipes import list_shipped_recipes

        self._shipped = {recipe.name: recipe for recipe in list_shipped_recipes() if not recipe.is_of_whole_slides}
        self._loaded: dict[str, TrainRecipe] = {}
        self.combo = named(NoWheelComboBox(), "recipe", "Recipe", "Training settings")
        for recipe in self._shipped.values():
            self.combo.addItem(recipe.title, recipe.name)
            self.combo.setItemData(self.combo.count() - 1, recipe.summary, Qt.ItemDataRole.ToolTipRole)
        self._menu_button = tool_button(
            "more_recipe", "Load or save a recipe", "Load a recipe from a file, or save the current one", "..."
        )
        self._menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu_button.setMenu(self._create_menu())
        self.summary = named(quiet_label(), "recipe_summary", "Purpose of the recipe")
        self.summary.setToolTip("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(row(self.combo, self._menu_button, stretch=0))
        self.combo.activated.connect(self._on_activated)
        self._update_summary()

    @property
    def shipped_recipe(self) -> ShippedRecipe | None:
        """The selected shipped recipe; None for a user recipe."""
        return self._shipped.get(str(self.combo.currentData()))

    @property
    def loaded_recipe(self) -> TrainRecipe | None:
        """The selected user recipe; None for a shipped recipe."""
        return self._loaded.get(str(self.combo.currentData()))

    def select(self, name: str) -> None:
        """Select a shipped recipe without emitting ``changed``."""
        index = self.combo.findData(name)
        if index >= 0:
            self.combo.setCurrentIndex(index)
            self._update_summary()

    def load(self, path: Path) -> None:
        """Load a recipe from a file and select it."""
        from napari_melanoma.core.config import read_toml

        try:
            self._loaded[str(path)] = read_toml(path, TrainRecipe)
        except MelanomaError as error:
            self.failed.emit(error)
            return
        if self.combo.findData(str(path)) < 0:
            shown = f"{path.parent.name}/{path.name}" if path.name == "config.toml" else path.name
            self.combo.addItem(shown, str(path))
        self.select(str(path))
        self.changed.emit()

    def _create_menu(self) -> QMenu:
        menu = QMenu(self)
        for name, text, tip, slot in (
            ("load_recipe", "Load a recipe ...", "A TOML file, such as config.toml of a run", self._open_load_dialog),
            (
                "save_recipe",
                "Save this recipe ...",
                "As a TOML file, which can also be run on the command line",
                self._open_save_dialog,
            ),
        ):
            action = menu.addAction(text)
            action.setObjectName(name)
            action.setToolTip(tip)
            action.triggered.connect(slot)
        menu.setToolTipsVisible(True)
        return menu

    def _open_load_dialog(self) -> None:
        dialog = self._create_dialog("Load a recipe", "load_recipe_dialog", QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(self._on_load)
        dialog.open()

    def _open_save_dialog(self) -> None:
        dialog = self._create_dialog("Save the recipe", "save_recipe_dialog", QFileDialog.FileMode.AnyFile)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("toml")
        dialog.fileSelected.connect(self._on_save)
        dialog.open()

    def _create_dialog(self, title: str, name: str, mode: QFileDialog.FileMode) -> QFileDialog:
        dialog = QFileDialog(self.window(), title, str(Path.home()))
        dialog.setObjectName(name)
        dialog.setFileMode(mode)
        dialog.setNameFilter(PATTERN)
        dialog.finished.connect(dialog.deleteLater)
        return dialog

    def _on_load(self, name: str) -> None:
        self.load(Path(name))

    def _on_save(self, name: str) -> None:
        self.save_requested.emit(Path(name))

    def _on_activated(self, index: int) -> None:
        self._update_summary()
        self.changed.emit()

    def _update_summary(self) -> None:
        shipped, loaded = self.shipped_recipe, self.loaded_recipe
        self.combo.setToolTip(f"Training settings: {self.combo.currentText()}")  # elided in a narrow dock
        self.summary.setText(shipped.summary if shipped is not None else loaded.title if loaded is not None else "")

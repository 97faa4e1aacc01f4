"""Which recipe: the shipped ones with a line about each, or one of the user's own from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QMenu, QToolButton, QVBoxLayout, QWidget

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.editors import StillCombo
from napari_melanoma.ui.look import ThemedIcons, named, quiet, row, tool

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.workflows.recipes import ShippedRecipe

PATTERN = "Recipes (*.toml)"


class RecipePicker(QWidget):
    """A combo box of recipes, with buttons that load one and save one."""

    changed = Signal()
    saving = Signal(object)
    failed = Signal(object)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        from napari_melanoma.workflows.recipes import shipped_recipes

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
        from napari_melanoma.training.recipe import TrainRecipe

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

"""The settings of a recipe: the few that matter in sight, all others in a fold that is filled when first opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.class_form import ClassForm
from napari_melanoma.ui.config_form import ConfigForm
from napari_melanoma.ui.look import ThemedIcons, section
from napari_melanoma.ui.settings import Settings

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

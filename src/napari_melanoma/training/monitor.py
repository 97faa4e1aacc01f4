"""What is watched while a task learns: the number that picks the epoch; torch-free, as docks and tables read it too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe


class Monitor(NamedTuple):
    """A measure of the tuning images, the greater the better.

    ``name`` is its key in events, tables and the provenance of a bundle; ``title`` is for a person, and ``others`` are
    further measures of the same kind by their names.
    """

    name: str
    title: str
    others: tuple[tuple[str, str], ...] = ()

    @property
    def measures(self) -> tuple[tuple[str, str], ...]:
        """Name and title of each, the one that picks the epoch first."""
        return ((self.name, self.title), *self.others)


MONITORS = {
    "segmentation": Monitor("tuning_jaccard", "Jaccard", (("tuning_dice", "Dice"),)),
    "classification": Monitor("tuning_auc", "AUC", (("tuning_accuracy", "accuracy"),)),
}


def monitor_of(recipe: TrainRecipe) -> Monitor:
    """Say what picks the epoch of a recipe.

    Name, title and companions.
    """
    return MONITORS[recipe.task]


def monitor_in(values: Mapping[str, Any]) -> Monitor:
    """Find which measure a row, an event or a provenance speaks of.

    That of segmentation where it speaks of none.
    """
    return next((found for found in MONITORS.values() if found.name in values), MONITORS["segmentation"])

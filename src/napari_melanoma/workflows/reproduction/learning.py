"""The training of a row: its recipe, completed with data, epochs and a start, and its run, begun or gone on with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.runs import RunContext
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.reproduction.pace import computing_with
from napari_melanoma.workflows.reproduction.papers import Row
from napari_melanoma.workflows.reproduction.place import FoldPlace, RowPlace, Work
from napari_melanoma.workflows.reproduction.split import JUDGED, LEARN
from napari_melanoma.workflows.train import train


def learn(work: Work, row: Row, run: RunContext) -> None:
    """Train the model of a row, or go on where an earlier run of it ended; that one's own recipe is followed then."""
    train_row(work, row, lambda: complete_recipe(work, row), work.place.row(row.name), run)


def train_row(
    work: Work, row: Row, complete: Callable[[], TrainRecipe], place: RowPlace | FoldPlace, run: RunContext
) -> None:
    """Train the model of a row or of one of its folds, or go on with it."""
    if place.has_learnt:
        return
    begun = place.has_begun
    recipe = read_toml(place.run.config, TrainRecipe) if begun else complete()
    write_toml(place.recipe, recipe)
    with computing_with(work.plan.by_name[row.name].threads):
        train(recipe, place.run.path, resume=begun, run=run, judge=False)


def complete_recipe(work: Work, row: Row) -> TrainRecipe:
    """Complete the recipe of a row with data, epochs and what it starts from.

    Returns the same for all rows in what is learnt from, tuned with and held out.
    """
    assert row.file.learn is not None
    folders = work.data[row.file.learn].folders
    more: dict[str, Any] = {
        "data": {"datasets": [*map(str, folders)], "split": LEARN, "held_out_split": JUDGED},
        "model": {"start": start_of(work, row)},
    }
    return recipe_with(work, row, more)


def recipe_with(work: Work, row: Row, more: Mapping[str, Any]) -> TrainRecipe:
    """Complete the recipe of a row with these values and the epochs of the plan.

    Where its schedule has restarts, it ends with a whole cycle.
    """
    plan = work.plan
    epochs = plan.by_name[row.name].epochs
    if epochs is None:
        return row.recipe(plan.budget, **more)
    recipe = row.recipe(plan.budget, **more, epochs=epochs, patience=epochs)
    if recipe.schedule != "cosine_restarts":
        return recipe
    return recipe.model_copy(update={"cycle_epochs": _whole_cycles(recipe, epochs)})


def _whole_cycles(recipe: TrainRecipe, epochs: int) -> float:
    """Choose the first cycle of restarts, in epochs, such that a run of so many epochs ends with a cycle."""
    cycles, whole = 1.0, 1.0
    while epochs / (whole + cycles * recipe.cycle_growth) >= recipe.cycle_epochs:
        cycles *= recipe.cycle_growth
        whole += cycles
    return epochs / whole


def start_of(work: Work, row: Row, fold: int | None = None) -> str:
    """Say what a row starts from: another row's model, or the paper's weights where the user has them."""
    if row.file.start_of:
        place = work.place.row(row.file.start_of)
        return str((place if fold is None else place.fold(fold)).run.bundle)
    start: str = row.values[work.plan.budget].get("model", {}).get("start", "none")
    return work.plan.weights.get(start, "none") if start in work.paper.file.weights else start

"""Whether a recipe can run here, found out before anything is written."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.core.errors import RunError
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.splits import Parts, split_parts
from napari_melanoma.training.engine import choose_precision, process_count
from napari_melanoma.training.loader import check_sizes
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.training_start import parent_of


def check_recipe(recipe: TrainRecipe) -> Parts:
    """Check data, start and devices of a recipe; trains and writes nothing.

    Parameters
    ----------
    recipe : TrainRecipe
        What to check.

    Returns
    -------
    Parts
        The images of each part.

    Raises
    ------
    DataSetError
        Where a data set is missing or faulty.
    RunError
        Where there are too few images, or the devices asked for are not there.
    BundleError
        Where the start is not there.
    """
    parent_of(recipe)
    choose_precision(recipe)
    _check_steps(recipe)
    rows = [sample for name in recipe.data.datasets for sample in read_dataset(Path(name).expanduser())]
    parts = split_parts(rows, recipe.data, recipe.seed)
    fault = check_sizes(parts.learn, parts.tuning, 0)
    if fault:
        raise RunError(fault)
    return parts


def _check_steps(recipe: TrainRecipe) -> None:
    """Refuse a step that cannot be shared out evenly."""
    parts = process_count(recipe) * recipe.pieces
    if recipe.batch_size != "auto" and recipe.batch_size % parts:
        raise RunError(
            f"batch_size = {recipe.batch_size} cannot be shared out evenly over {process_count(recipe)} devices in "
            f"{recipe.pieces} pieces each. Set it to a multiple of {parts}."
        )

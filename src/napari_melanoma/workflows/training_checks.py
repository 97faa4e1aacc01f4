"""Whether a recipe can run here, found out before anything is written into a run folder."""

from __future__ import annotations

import sys

from napari_melanoma.core.errors import RunError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.training.bag_prepare import check_bags
from napari_melanoma.training.batch_size import smallest_batch_size
from napari_melanoma.training.engine import accelerator, process_count
from napari_melanoma.training.prepare import DataReport, check_data
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.sampling import shares
from napari_melanoma.training.survey import answered, choose
from napari_melanoma.workflows.training_masks import draw_masks
from napari_melanoma.workflows.training_overlap import known_to_start
from napari_melanoma.workflows.training_start import check_start


def check_recipe(recipe: TrainRecipe, run: RunContext, *, keep: bool = False) -> DataReport:
    """Check start, devices and every image of a recipe; trains nothing.

    Returns the images of each part, and what a person should know of them.
    """
    check_start(recipe)
    _check_devices(recipe)
    draw_masks(recipe, run)
    report = check_data(recipe, run, keep=keep) if recipe.bags is None else check_bags(recipe, run)
    size = smallest_batch_size(recipe) if recipe.batch_size == "auto" else recipe.batch_size
    check_step(recipe, size, report.counts["learn"], report.counts["base"])
    return report


def check_held_out(recipe: TrainRecipe, run: RunContext) -> str:
    """Warn of images that are to compare the models although the start was trained on them; "" where there are none."""
    return "" if recipe.bags is not None else known_to_start(recipe, answered(choose(recipe), recipe)[0], run)


def _check_devices(recipe: TrainRecipe) -> None:
    """Refuse more devices than there are."""
    import torch

    kind = accelerator(recipe)
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind, recipe.devices if recipe.devices != "auto" else 1)
    if process_count(recipe) > 1 and sys.platform == "win32":
        raise RunError("several devices in one run have not been made to work on Windows. Set devices = 1.")
    if recipe.devices != "auto" and recipe.devices > there:
        raise RunError(f'devices = {recipe.devices}, but there are {there} here. Lower it, or set devices = "auto".')


def check_step(recipe: TrainRecipe, batch_size: int, learn: int, base: int) -> None:
    """Refuse a step that cannot be shared out evenly."""
    step, parts = shares(recipe.data, batch_size, learn, base).step, process_count(recipe) * recipe.pieces
    if step % parts:
        raise RunError(
            f"a step of {step} images cannot be shared out evenly over {process_count(recipe)} devices with "
            f"{recipe.pieces} pieces each. Set batch_size to a multiple of {parts}, at most the number of images."
        )

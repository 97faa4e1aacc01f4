"""What a step of each network costs on this machine, measured so that one busy moment does not decide a plan."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.runs import RunContext

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.step_cost import StepCost

ROUNDS = 3  # over all networks, so that the measurements of one lie apart
ROUNDS_SHARE = 0.03  # of the time there is: no further round begins after it


@dataclass(frozen=True)
class Pace:
    """What a step of so many images costs at its quickest, and with how many threads (None: on a graphics card)."""

    cost: StepCost
    images: int
    threads: int | None = None


def measure_paces(
    recipes: Mapping[str, TrainRecipe], seconds: float, run: RunContext
) -> tuple[dict[str, Pace], dict[str, str]]:
    """Measure each distinct network several times, with one thread and with all, and keep the quickest of each.

    Small steps are often quicker with one thread: the others wait for each other, above all beside other work.
    """
    keys = {name: _key(recipe) for name, recipe in recipes.items()}
    distinct = {keys[name]: recipe for name, recipe in recipes.items()}
    found: dict[str, dict[int | None, StepCost]] = {key: {} for key in distinct}
    faults: dict[str, str] = {}
    began = time.monotonic()
    for turn in range(ROUNDS):
        if turn and time.monotonic() - began > ROUNDS_SHARE * seconds:
            break
        for key, recipe in run.track(list(distinct.items()), "Measuring a step of each network"):
            try:
                _measure(recipe, found[key])
            except MelanomaError as error:
                faults[key] = str(error)
    paces = {name: _quickest(recipes[name], found[key]) for name, key in keys.items() if key not in faults}
    return paces, {name: faults[key] for name, key in keys.items() if key in faults}


@contextmanager
def computing_with(threads: int | None) -> Iterator[None]:
    """Let torch compute with so many threads for a while."""
    import torch

    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _key(recipe: TrainRecipe) -> str:
    """Tell recipes apart whose steps may cost different times."""
    parts = {"model", "loss", "optimiser", "augmentation", "batch_size", "precision", "device"}
    return recipe.model_dump_json(include=parts)


def _measure(recipe: TrainRecipe, found: dict[int | None, StepCost]) -> None:
    """Measure a network with one thread and with all, and keep what is quicker than before."""
    import torch

    from napari_melanoma.training.engine import accelerator
    from napari_melanoma.training.step_cost import measure_step

    choices = {1, torch.get_num_threads()} if accelerator(recipe) == "cpu" else {None}
    for threads in choices:
        with computing_with(threads):
            cost = measure_step(recipe)
        known = found.get(threads, cost)
        least = {name: min(getattr(cost, name), getattr(known, name)) for name in ("image_s", "update_s", "forward_s")}
        found[threads] = replace(cost, **least)


def _quickest(recipe: TrainRecipe, found: Mapping[int | None, StepCost]) -> Pace:
    """Choose the threads with which a step is quickest."""
    images = recipe.batch_size if isinstance(recipe.batch_size, int) else 16  # the recipes of papers name it
    threads = min(found, key=lambda one: images * found[one].image_s + found[one].update_s)
    return Pace(found[threads], images, threads)

"""How many images a step may have: the largest number that fits and is not slower for each image."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import psutil

from napari_melanoma.training.engine import accelerator, choose_precision, process_count
from napari_melanoma.training.faults import is_out_of_memory
from napari_melanoma.training.step_cost import let_go

if TYPE_CHECKING:
    from torch import nn

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.training.recipe import TrainRecipe

LARGEST, SMALLEST = 256, 2  # of one piece on one device; statistics of normalisation need two
USUAL = 8  # images of a step at least, however slow, where memory and data allow: fewer learn unsteadily
SHARE_OF_IMAGES = 4  # an epoch of fewer than four steps learns badly
SLOWER = 1.1  # for an image than the quickest size; less is noise, on a machine that a person works at
HOPELESS = 1.5  # larger sizes are not tried after two that are that much slower
SHARE_OF_FREE_MEMORY = 0.5  # what a step on the processor may take of what is free: past that others are pushed out
FEWEST, MOST, ENOUGH_S = 3, 20, 0.2  # steps are repeated: the quickest of them was disturbed least
LONG_S = 2.0  # whatever takes so long is timed well enough at once

Clock = Callable[[], float]


def smallest_batch_size(recipe: TrainRecipe) -> int:
    """Give the fewest images that a step can be shared out with."""
    return SMALLEST * process_count(recipe) * recipe.pieces


def find_batch_size(
    network: nn.Module, recipe: TrainRecipe, images: int, run: RunContext, clock: Clock = time.perf_counter
) -> int:
    """Try real steps of 2, 4, 8 ... random images for each piece on a copy of the network.

    ``clock``: gives seconds. Returns images of a step over all devices: a power of two for each piece of each device,
    at most 256 for a device and at most a quarter of the images; the largest that fits and is not slower for an image
    than the quickest by more than 10 %, but at least 8 where memory and images allow.
    """
    if not any(True for _ in network.parameters()):  # no step to try
        return smallest_batch_size(recipe)
    parts = process_count(recipe) * recipe.pieces
    limit = min(LARGEST // recipe.pieces, images // (SHARE_OF_IMAGES * parts))
    per_image: dict[int, float] = {}

    def look_at(size: int) -> int | None:
        """Time a size; give the memory that it took, or None where it has not enough."""
        run.check()
        try:
            seconds, taken = try_steps(network, recipe, size, clock)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None
        per_image[size] = min(seconds / size, per_image.get(size, math.inf))
        return taken

    size = SMALLEST
    while size <= limit:
        free = psutil.virtual_memory().available
        taken = look_at(size)
        if taken is None or 2 * taken > SHARE_OF_FREE_MEMORY * free or _is_hopeless(list(per_image.values())):
            break
        size *= 2
    for size in [size for size, seconds in per_image.items() if size * seconds < LONG_S]:
        look_at(size)  # once more, later: whatever disturbed it has ended, or disturbs the others as well
    let_go(accelerator(recipe))
    return parts * _choose(per_image, parts)


def _is_hopeless(per_image: Sequence[float]) -> bool:
    """Say whether two sizes one after the other were far too slow; one alone may have been disturbed."""
    return len(per_image) > 2 and min(per_image[-2:]) > HOPELESS * min(per_image)


def _choose(per_image: Mapping[int, float], parts: int) -> int:
    """Choose among the sizes of a piece that were tried, from small to large."""
    if not per_image:
        return SMALLEST
    quickest = min(per_image.values())
    best = max(size for size, seconds in per_image.items() if seconds <= SLOWER * quickest)
    return max(best, next((size for size in per_image if parts * size >= USUAL), max(per_image)))


def try_steps(network: nn.Module, recipe: TrainRecipe, size: int, clock: Clock) -> tuple[float, int]:
    """Run a step to warm up and some that count, on a copy of a network.

    ``size``: images, of random pixels. ``clock``: gives seconds. Bytes of main memory.
    """
    import torch

    from napari_melanoma.training.trial_inputs import beside_images

    device = accelerator(recipe)
    before = psutil.Process().memory_info().rss
    model = copy.deepcopy(network).to(device).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(model.parameters())
    side, mixed = recipe.model.input_size, choose_precision(recipe) == "bf16-mixed"
    images = torch.rand(size, 3, side, side).to(device, memory_format=torch.channels_last)
    beside = beside_images(model, size, device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            loss = model(images, *beside).float().square().mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    step()
    times: list[float] = []
    while sum(times) < LONG_S and (len(times) < FEWEST or (len(times) < MOST and sum(times) < ENOUGH_S)):
        _wait(device)
        began = clock()
        step()
        _wait(device)
        times.append(clock() - began)
    return min(times), max(0, psutil.Process().memory_info().rss - before)


def _wait(device: str) -> None:
    """Wait until a device has done all that it was given."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()

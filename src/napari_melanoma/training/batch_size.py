"""How many images a step may have: the largest number that fits and is not slower for each image."""

from __future__ import annotations

import copy
import gc
import time
from typing import TYPE_CHECKING

import psutil

from napari_melanoma.training.engine import accelerator, choose_precision, process_count
from napari_melanoma.training.faults import is_out_of_memory

if TYPE_CHECKING:
    from torch import nn

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.training.recipe import TrainRecipe

LARGEST, SMALLEST = 256, 2
SHARE_OF_IMAGES = 4  # an epoch of fewer than four steps learns badly
SLOWER = 1.05
SHARE_OF_FREE_MEMORY = 0.5  # what a step on the processor may take of what is free: past that others are pushed out


def find_batch_size(network: nn.Module, recipe: TrainRecipe, images: int, run: RunContext) -> int:
    """Try real steps of 2, 4, 8 ... random images on a copy of the network.

    Parameters
    ----------
    network : torch.nn.Module
        Left as it is.
    recipe : TrainRecipe
        Input size, precision, devices.
    images : int
        How many there are to learn from.
    run : RunContext
        Asked before each try whether to go on.

    Returns
    -------
    int
        Images of a step over all devices: a power of two for each, at most 256 and at most a quarter of the images,
        not slower for an image than half as many by more than 5 %.
    """
    devices = process_count(recipe)
    limit = min(LARGEST, images // (SHARE_OF_IMAGES * devices))
    best, best_seconds = SMALLEST, float("inf")
    size = SMALLEST
    while size <= limit:
        run.check()
        free = psutil.virtual_memory().available
        try:
            seconds, taken = _try_step(network, recipe, size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        if seconds / size > SLOWER * best_seconds:
            break
        best, best_seconds = size, min(best_seconds, seconds / size)
        if 2 * taken > SHARE_OF_FREE_MEMORY * free:
            break
        size *= 2
    gc.collect()
    return best * devices


def _try_step(network: nn.Module, recipe: TrainRecipe, size: int) -> tuple[float, int]:
    """Run one step to warm up and one that counts: its seconds, and the bytes of main memory that it took."""
    import torch

    device = accelerator(recipe)
    before = psutil.Process().memory_info().rss
    model = copy.deepcopy(network).to(device).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(model.parameters())
    side, mixed = recipe.model.input_size, choose_precision(recipe) == "bf16-mixed"
    images = torch.rand(size, 3, side, side).to(device, memory_format=torch.channels_last)
    seconds = 0.0
    for _ in range(2):
        _wait(device)
        began = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            loss = model(images).float().square().mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        _wait(device)
        seconds = time.perf_counter() - began
    return seconds, max(0, psutil.Process().memory_info().rss - before)


def _wait(device: str) -> None:
    """Wait until a device has done all that it was given."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()

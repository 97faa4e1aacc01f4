"""The largest useful batch size and the faster precision, from timed steps."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import psutil

from napari_melanoma.core.context import NULL_CONTEXT, RunContext
from napari_melanoma.models.inference import is_out_of_memory
from napari_melanoma.training.engine import accelerator, choose_precision, process_count
from napari_melanoma.training.step_time import LONG_S, Clock, release_memory, time_steps

if TYPE_CHECKING:
    from torch import nn

    from napari_melanoma.training.recipe import TrainRecipe

MAX_BATCH, MIN_BATCH = 256, 2  # per micro-batch and device; batch normalization needs two
USUAL_BATCH = 8  # lower bound of a step if memory and data allow: smaller batches train unsteadily
SHARE_OF_IMAGES = 4  # an epoch of fewer than four steps trains poorly
TOLERATED_SLOWDOWN = 1.1  # per image, relative to the fastest size; less is noise on a machine in use
GIVE_UP_SLOWDOWN = 1.5  # stop after two sizes in a row that are this much slower
SHARE_OF_FREE_MEMORY = 0.5  # of free main memory for a step on the CPU: with more, other programs are swapped out
PRECISION_IMAGES = 2 * MIN_BATCH
PRECISION_ROUNDS = 2  # alternating, so that a disturbance affects both precisions
MIN_SPEEDUP = 1.1  # a smaller gain is not worth the lost digits
Precision = Literal["fp32", "bf16"]


def smallest_batch_size(recipe: TrainRecipe) -> int:
    """Fewest images that can be divided over the processes and micro-batches of a step."""
    return MIN_BATCH * process_count(recipe) * recipe.pieces


def find_batch_size(
    network: nn.Module, recipe: TrainRecipe, images: int, run: RunContext, clock: Clock = time.perf_counter
) -> int:
    """Time real steps of 2, 4, 8 ... random images per micro-batch on a copy of the network.

    ``clock``: returns seconds. Returns the images of a step over all devices: a power of two for each micro-batch,
    at most 256 for a device and at most a quarter of the images; the largest that fits and is not slower per image
    than the fastest by more than 10 %, but at least 8 if memory and images allow.
    """
    if not any(True for _ in network.parameters()):  # nothing to time
        return smallest_batch_size(recipe)
    parts = process_count(recipe) * recipe.pieces
    limit = min(MAX_BATCH // recipe.pieces, images // (SHARE_OF_IMAGES * parts))
    per_image: dict[int, float] = {}

    def measure_size(size: int) -> int | None:
        """Time a size; return the memory that it took, or None if memory ran out."""
        run.check()
        try:
            seconds, taken = time_steps(network, recipe, size, clock)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None
        per_image[size] = min(seconds / size, per_image.get(size, math.inf))
        return taken

    size = MIN_BATCH
    while size <= limit:
        free = psutil.virtual_memory().available
        taken = measure_size(size)
        if taken is None or 2 * taken > SHARE_OF_FREE_MEMORY * free or _is_too_slow(list(per_image.values())):
            break
        size *= 2
    for size in [size for size, seconds in per_image.items() if size * seconds < LONG_S]:
        measure_size(size)  # again later: a disturbance has ended by then, or affects all sizes
    release_memory(accelerator(recipe))
    return parts * _choose_size(per_image, parts)


def _is_too_slow(per_image: Sequence[float]) -> bool:
    """Whether the last two sizes were far too slow; a single one may have been disturbed."""
    return len(per_image) > 2 and min(per_image[-2:]) > GIVE_UP_SLOWDOWN * min(per_image)


def _choose_size(per_image: Mapping[int, float], parts: int) -> int:
    """Choose among the measured sizes of a micro-batch, in ascending order."""
    if not per_image:
        return MIN_BATCH
    fastest = min(per_image.values())
    best = max(size for size, seconds in per_image.items() if seconds <= TOLERATED_SLOWDOWN * fastest)
    return max(best, next((size for size in per_image if parts * size >= USUAL_BATCH), max(per_image)))


def find_precision(
    network: nn.Module, recipe: TrainRecipe, run: RunContext = NULL_CONTEXT, clock: Clock = time.perf_counter
) -> Precision:
    """Choose between float32 and bfloat16.

    ``clock``: returns seconds. A CPU with bfloat16 support uses it if steps of a few images take a tenth less time than
    in float32.
    """
    chosen: Precision = "bf16" if choose_precision(recipe) == "bf16-mixed" else "fp32"
    trainable = any(True for _ in network.parameters())
    if recipe.precision != "auto" or chosen == "fp32" or accelerator(recipe) != "cpu" or not trainable:
        return chosen
    seconds: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    try:
        for _ in range(PRECISION_ROUNDS):
            for precision, times in seconds.items():
                run.check()
                tried = recipe.model_copy(update={"precision": precision})
                times.append(time_steps(network, tried, PRECISION_IMAGES, clock)[0])
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return "bf16"  # bfloat16 needs less memory
    return "bf16" if min(seconds["fp32"]) >= MIN_SPEEDUP * min(seconds["bf16"]) else "fp32"

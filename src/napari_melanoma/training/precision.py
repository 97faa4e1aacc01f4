"""Which precision a training on a processor computes in, where the recipe leaves it open: tried, as no rule tells.

That a processor has bfloat16 does not say that it is quicker: networks of many small convolutions by channel may lose
more by converting numbers than they gain.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from napari_melanoma.core.runs import ALONE, RunContext
from napari_melanoma.training.batch_size import SMALLEST, Clock, try_steps
from napari_melanoma.training.engine import accelerator, choose_precision
from napari_melanoma.training.faults import is_out_of_memory

if TYPE_CHECKING:
    from torch import nn

    from napari_melanoma.training.recipe import TrainRecipe

Precision = Literal["fp32", "bf16"]
IMAGES = 2 * SMALLEST
ROUNDS = 2  # by turns: whatever else the machine does disturbs both
WORTH = 1.1  # times as fast: for less nobody gives digits away


def find_precision(
    network: nn.Module, recipe: TrainRecipe, run: RunContext = ALONE, clock: Clock = time.perf_counter
) -> Precision:
    """Decide between float32 and bfloat16.

    ``clock``: gives seconds. On a processor with bfloat16, this where steps of a few images take a tenth less time in
    it than in float32.
    """
    chosen: Precision = "bf16" if choose_precision(recipe) == "bf16-mixed" else "fp32"
    learns = any(True for _ in network.parameters())
    if recipe.precision != "auto" or chosen == "fp32" or accelerator(recipe) != "cpu" or not learns:
        return chosen
    seconds: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    try:
        for _ in range(ROUNDS):
            for precision, times in seconds.items():
                run.check()
                tried = recipe.model_copy(update={"precision": precision})
                times.append(try_steps(network, tried, IMAGES, clock)[0])
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return "bf16"  # it takes less
    return "bf16" if min(seconds["fp32"]) >= WORTH * min(seconds["bf16"]) else "fp32"

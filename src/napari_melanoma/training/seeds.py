"""Seeds derived from the state of a run, and the rank of a process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe


def derive_seed(*numbers: int) -> int:
    """Combine numbers into one seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


# Set by torchrun, by srun, and by Lightning for its child processes; the last two are numbers of machines.
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")


def is_first_process(recipe: TrainRecipe) -> bool:
    """Whether this process owns the run folder; False for processes that a launcher started besides it."""
    if recipe.devices == 1 and recipe.nodes == 1:
        return True
    return all(int(os.environ.get(name) or 0) == 0 for name in RANKS)


def next_piece_count(step: int, processes: int, pieces: int) -> int | None:
    """Return the next number of micro-batches of equal size, at least twice as many.

    None if each micro-batch is a single image already.
    """
    images = step // processes
    return next((more for more in range(2 * pieces, images + 1) if images % more == 0), None)

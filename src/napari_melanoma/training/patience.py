"""Whether a run would stop in the middle of a cycle of its schedule, where its model is at its worst."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe

ROUNDING = 1e-9


def impatience(recipe: TrainRecipe) -> tuple[str, ...]:
    """Warn of a patience that does not last from the end of one cycle of ``cosine_restarts`` to that of the next.

    A sentence that says what to change; empty where all is well.
    """
    longest = longest_return(recipe.epochs, recipe.cycle_epochs, recipe.cycle_growth)
    if recipe.schedule != "cosine_restarts" or recipe.patience >= longest:
        return ()
    return (
        f"patience = {recipe.patience} may stop the run in the middle of a cycle of {longest:g} epochs, while nothing "
        f"can get better until its end. Set patience to {math.ceil(longest)} or more, or choose shorter cycles.",
    )


def longest_return(epochs: int, first: float, growth: float) -> float:
    """Give the longest cycle that a run gets through after the rate has sprung back.

    In epochs; 0 where there is but one cycle.
    """
    share = epochs / first * (1 + ROUNDING)
    cycles = math.floor(math.log1p(share * (growth - 1)) / math.log(growth) if growth > 1 else share)
    return first * growth ** (cycles - 1) if cycles > 1 else 0.0

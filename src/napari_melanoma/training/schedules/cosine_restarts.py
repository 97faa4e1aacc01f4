"""Cosine annealing with warm restarts, as in P4."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_melanoma.training.schedules import ScheduleSpec, ScheduleSteps

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

SPEC = ScheduleSpec(
    name="cosine_restarts",
    title="Cosine with warm restarts",
    reference="Loshchilov and Hutter 2017, arXiv:1608.03983",
)


def build(optimizer: Optimizer, steps: ScheduleSteps) -> LRScheduler:
    """Decrease to zero along a cosine in each cycle, and start the next one at the highest rate."""
    from torch.optim.lr_scheduler import LambdaLR

    def factor(step: int) -> float:
        done, length = position_in_cycle(step, steps)
        return 0.5 * (1 + math.cos(math.pi * done / length))

    return LambdaLR(optimizer, factor)


def position_in_cycle(step: int, steps: ScheduleSteps) -> tuple[int, int]:
    """Return the steps of the current cycle before this step, and the length of the cycle.

    The result depends on the step only, so that a resumed run continues with the same rates.
    """
    start, length, exact = 0, steps.cycle_steps, float(steps.cycle_steps)
    while step >= start + length:
        start, exact = start + length, exact * steps.cycle_growth
        length = max(1, round(exact))
    return step - start, length

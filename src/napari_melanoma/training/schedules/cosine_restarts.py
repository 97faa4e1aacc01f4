"""Cyclic cosine with warm restarts, as P4 trains: falls along half a cosine, springs back, falls again."""

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


def build(optimizer: Optimizer, course: ScheduleSteps) -> LRScheduler:
    """Fall to nothing along a cosine in each cycle, and begin the next one at the highest rate again."""
    from torch.optim.lr_scheduler import LambdaLR

    def factor(step: int) -> float:
        done, length = position_in_cycle(step, course)
        return 0.5 * (1 + math.cos(math.pi * done / length))

    return LambdaLR(optimizer, factor)


def position_in_cycle(step: int, course: ScheduleSteps) -> tuple[int, int]:
    """Find where in its cycle a step is; a function of the step alone, so that a resumed run goes on with the same.

    Steps of the cycle that lie before this one, and steps of the cycle.
    """
    start, length, exact = 0, course.cycle_steps, float(course.cycle_steps)
    while step >= start + length:
        start, exact = start + length, exact * course.cycle_growth
        length = max(1, round(exact))
    return step - start, length

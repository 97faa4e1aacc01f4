"""Cosine annealing: a short linear warm-up, then a decrease along half a cosine over the whole run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_melanoma.training.schedules import ScheduleSpec, ScheduleSteps

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

WARM_UP = 0.05
SPEC = ScheduleSpec(
    name="cosine",
    title="Cosine",
    reference="Loshchilov and Hutter 2017, arXiv:1608.03983",
)


def build(optimizer: Optimizer, steps: ScheduleSteps) -> LRScheduler:
    """Increase linearly over a twentieth of the run, then decrease to zero along a cosine."""
    from torch.optim.lr_scheduler import LambdaLR

    rise = max(1, round(WARM_UP * steps.steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps.steps - rise))))

    return LambdaLR(optimizer, factor)

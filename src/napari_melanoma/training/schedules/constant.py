"""A constant learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.schedules import ScheduleSpec, ScheduleSteps

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

SPEC = ScheduleSpec(
    name="constant",
    title="Constant",
    reference="none",
)


def build(optimizer: Optimizer, steps: ScheduleSteps) -> LRScheduler:
    """Keep the given rates."""
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, lambda step: 1.0)

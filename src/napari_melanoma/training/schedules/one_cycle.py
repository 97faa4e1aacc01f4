"""One cycle: an increase over a fifth of the run, then a long decrease."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.schedules import ScheduleSpec, ScheduleSteps

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

RISE = 0.2  # share of the run
SPEC = ScheduleSpec(
    name="one_cycle",
    title="One cycle",
    reference="Smith and Topin 2018, arXiv:1708.07120",
)


def build(optimizer: Optimizer, steps: ScheduleSteps) -> LRScheduler:
    """Increase over a fifth of the run, then decrease to zero; momentum changes in the opposite direction."""
    from torch.optim.lr_scheduler import OneCycleLR

    rates, steps = [group["lr"] for group in optimizer.param_groups], max(steps.steps, 2)
    rise = max(RISE, 2 / steps) if steps > 2 else RISE  # torch divides by the steps of the rise minus one, 0 of 5 steps
    return OneCycleLR(optimizer, rates, total_steps=steps, pct_start=rise)

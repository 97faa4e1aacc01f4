"""The learning-rate schedules, each a function with metadata for recipes and docks.

Torch is imported only when a schedule is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from napari_melanoma.core.plugins import object_family

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

WARM_UP = 0.05  # share of the run in which ``cosine`` increases
RISE = 0.2  # share of the run in which ``one_cycle`` increases


@dataclass(frozen=True)
class ScheduleSpec:
    """Metadata of a schedule: its name in recipes, title and source."""

    name: str
    title: str
    reference: str


@dataclass(frozen=True)
class ScheduleSteps:
    """The number of steps of a run and of its first cycle, and the growth factor of further cycles."""

    steps: int
    cycle_steps: int = 1
    cycle_growth: float = 1.0


ScheduleFunction = Callable[["Optimizer", ScheduleSteps], "LRScheduler"]


@dataclass(frozen=True)
class Schedule:
    """A schedule: its metadata and its function.

    ``build``: creates the schedule for an optimizer, whose parameter groups have the maximum rates, and
    ``ScheduleSteps``. The result is advanced after each step.
    """

    spec: ScheduleSpec
    build: ScheduleFunction


def list_schedule(spec: ScheduleSpec) -> Callable[[ScheduleFunction], Schedule]:
    """Make a schedule of the decorated function, for recipes and docks."""
    return partial(Schedule, spec)


def schedules() -> Mapping[str, Schedule]:
    """Return the schedules by name, in alphabetical order, then those of plug-ins."""
    return SCHEDULES.members


@list_schedule(ScheduleSpec(name="constant", title="Constant", reference="none"))
def constant(optimizer: Optimizer, steps: ScheduleSteps) -> LRScheduler:
    """Keep the rates of the optimizer."""
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, lambda step: 1.0)


@list_schedule(ScheduleSpec(name="cosine", title="Cosine", reference="Loshchilov and Hutter 2017, arXiv:1608.03983"))
def cosine(optimizer: Optimizer, steps: ScheduleSteps) -> LRScheduler:
    """Increase linearly over a twentieth of the run, then decrease to zero along half a cosine."""
    from torch.optim.lr_scheduler import LambdaLR

    rise = max(1, round(WARM_UP * steps.steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps.steps - rise))))

    return LambdaLR(optimizer, factor)


@list_schedule(
    ScheduleSpec(
        name="cosine_restarts",
        title="Cosine with warm restarts",
        reference="Loshchilov and Hutter 2017, arXiv:1608.03983",
    )
)
def cosine_restarts(optimizer: Optimizer, steps: ScheduleSteps) -> LRScheduler:
    """Decrease to zero along a cosine in each cycle, and start the next one at the highest rate, as in P4."""
    from torch.optim.lr_scheduler import LambdaLR

    def factor(step: int) -> float:
        done, length = position_in_cycle(step, steps)
        return 0.5 * (1 + math.cos(math.pi * done / length))

    return LambdaLR(optimizer, factor)


def position_in_cycle(step: int, steps: ScheduleSteps) -> tuple[int, int]:
    """Return the number of steps of the current cycle before this step, and the length of the cycle in steps.

    The result depends on the step only, so that a resumed run continues with the same rates.
    """
    start, length, exact = 0, steps.cycle_steps, float(steps.cycle_steps)
    while step >= start + length:
        start, exact = start + length, exact * steps.cycle_growth
        length = max(1, round(exact))
    return step - start, length


@list_schedule(ScheduleSpec(name="one_cycle", title="One cycle", reference="Smith and Topin 2018, arXiv:1708.07120"))
def one_cycle(optimizer: Optimizer, steps: ScheduleSteps) -> LRScheduler:
    """Increase over a fifth of the run, then decrease to zero; momentum changes in the opposite direction."""
    from torch.optim.lr_scheduler import OneCycleLR

    rates, total = [group["lr"] for group in optimizer.param_groups], max(steps.steps, 2)
    rise = (
        max(RISE, 2 / total) if total > 2 else RISE
    )  # torch divides by the steps of the rise minus one, which is 0 for a run of 5 steps
    return OneCycleLR(optimizer, rates, total_steps=total, pct_start=rise)


SCHEDULES = object_family(
    "schedules", __name__, Schedule, "a function with list_schedule of napari_melanoma.training.schedules"
)

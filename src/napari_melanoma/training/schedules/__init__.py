"""The schedules of the learning rate: one file each, found by listing this folder; exports ``SPEC`` and ``build``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from napari_melanoma.core.config import import_submodules

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


@dataclass(frozen=True)
class ScheduleSpec:
    """What a schedule says of itself: its name in recipes, a title and its source."""

    name: str
    title: str
    reference: str


@dataclass(frozen=True)
class ScheduleSteps:
    """How long a run is: its steps, those of the first cycle, and by what each further cycle is longer."""

    steps: int
    cycle_steps: int = 1
    cycle_growth: float = 1.0


@dataclass(frozen=True)
class Schedule:
    """A schedule of this folder: what it says of itself, and how it is built.

    ``build`` takes an optimiser, whose groups hold the highest rates, and a ``Course``; what it gives is to be advanced
    after each step.
    """

    spec: ScheduleSpec
    build: Callable[[Optimizer, ScheduleSteps], LRScheduler]


@cache
def schedules() -> dict[str, Schedule]:
    """List the schedules; torch stays unimported until one is built.

    By name, in alphabetical order.
    """
    modules = import_submodules(__name__, __path__, "SPEC", "build")
    found = {module.SPEC.name: Schedule(module.SPEC, module.build) for module in modules}
    return dict(sorted(found.items()))

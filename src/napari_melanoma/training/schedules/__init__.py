"""The learning-rate schedules: one file each with ``SPEC`` and ``build``, found by listing this folder."""

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


@dataclass(frozen=True)
class Schedule:
    """A schedule of this folder: its metadata and its function.

    ``build`` takes an optimizer, whose groups hold the highest rates, and ``ScheduleSteps``; its result is advanced
    after each step.
    """

    spec: ScheduleSpec
    build: Callable[[Optimizer, ScheduleSteps], LRScheduler]


@cache
def schedules() -> dict[str, Schedule]:
    """Return the schedules by name, in alphabetical order; torch is imported only when one is built."""
    modules = import_submodules(__name__, __path__, "SPEC", "build")
    found = {module.SPEC.name: Schedule(module.SPEC, module.build) for module in modules}
    return dict(sorted(found.items()))

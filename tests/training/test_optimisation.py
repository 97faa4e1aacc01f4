"""Optimizers reduce the loss; schedules have the documented rates, also in a resumed run."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.schedules import ScheduleSteps, schedules

NAMES = tuple(schedules())
Change = Callable[..., TrainRecipe]

# Steps of a run of 28 with a first cycle of 4 that doubles: 4 + 8 + 16.
RESTARTS = [0, 4, 12]
PROMISES: dict[str, Callable[[list[float]], bool]] = {
    "one_cycle": lambda rates: rates[0] < 0.1 and 0.97 < max(rates) <= 1 and rates[-1] < 0.01,
    "cosine": lambda rates: rates[0] < 0.51 and 0.97 < max(rates) <= 1 and rates[-1] < 0.01,
    "constant": lambda rates: set(rates) == {1.0},
    "cosine_restarts": lambda rates: [step for step, rate in enumerate(rates) if rate == 1] == RESTARTS,
}


def rates_of(name: str, course: ScheduleSteps, *, stop_after: int | None = None) -> list[float]:
    """Return the rates of a run; a resumed one continues with new objects and the state of a checkpoint."""
    import torch

    from napari_melanoma.training.tasks.task import OPTIMIZERS

    def make() -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        optimiser = OPTIMIZERS["sgd"]([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1.0}], 0.0)
        return optimiser, schedules()[name].build(optimiser, course)

    (optimiser, schedule), rates = make(), []
    for step in range(course.steps):
        if step == stop_after:
            kept = optimiser.state_dict(), schedule.state_dict()
            optimiser, schedule = make()
            optimiser.load_state_dict(kept[0])
            schedule.load_state_dict(kept[1])
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if step + 1 < course.steps:
            schedule.step()
    return rates


def test_every_schedule_has_a_case() -> None:
    assert set(PROMISES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_is_described(name: str) -> None:
    known = schedules()[name]
    assert known.spec.name == name
    assert known.spec.title
    assert known.spec.reference
    assert list(signature(known.build).parameters) == ["optimizer", "steps"]


@pytest.mark.parametrize("name", NAMES)
def test_schedule(name: str) -> None:
    rates = rates_of(name, ScheduleSteps(28, 4, 2.0))
    assert PROMISES[name](rates), rates


@pytest.mark.parametrize("name", NAMES)
def test_each_of_a_few_steps_has_a_rate(name: str) -> None:
    for steps in range(1, 61):
        rates = rates_of(name, ScheduleSteps(steps, min(4, steps), 2.0))
        assert len(rates) == steps
        assert all(0 <= rate <= 1 for rate in rates), (steps, rates)
        assert max(rates) >= 0.5, (steps, rates)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_schedule_continues_exactly(name: str) -> None:
    course = ScheduleSteps(28, 4, 1.5)
    assert rates_of(name, course, stop_after=9) == rates_of(name, course)


def test_restarts_fall_along_half_a_cosine() -> None:
    rates = rates_of("cosine_restarts", ScheduleSteps(12, 4, 2.0))
    half = [0.5 + 0.5 * math.cos(math.pi * step / 4) for step in range(4)]
    whole = [0.5 + 0.5 * math.cos(math.pi * step / 8) for step in range(8)]
    assert rates == pytest.approx(half + whole)


@given(st.integers(0, 5000), st.integers(1, 300), st.floats(1, 10))
def test_a_step_is_within_its_cycle(step: int, first: int, growth: float) -> None:
    from napari_melanoma.training.schedules import position_in_cycle

    course = ScheduleSteps(10_000, first, growth)
    done, length = position_in_cycle(step, course)
    assert 0 <= done < length
    assert length >= first
    if step:  # the cycle continues, or a longer one begins after its last step
        before, shorter = position_in_cycle(step - 1, course)
        assert (done, length) == (before + 1, shorter) or (done == 0 and before == shorter - 1 and length >= shorter)


def test_cycles_are_counted_in_epochs(recipe: TrainRecipe, change: Change) -> None:
    import torch

    from napari_melanoma.training.tasks.task import OPTIMIZERS, make_schedule

    chosen = change(recipe, schedule="cosine_restarts", epochs=12, cycle_epochs=2, cycle_growth=1.0)
    optimiser = OPTIMIZERS["sgd"]([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.1}], 0.0)
    schedule, rates = make_schedule(chosen, optimiser, 60), []  # five steps per epoch
    for _ in range(60):
        rates.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    assert [step for step, rate in enumerate(rates) if rate == 0.1] == [0, 10, 20, 30, 40, 50]


def test_every_optimizer_of_the_recipe_has_its_function() -> None:
    from napari_melanoma.training.tasks.task import OPTIMIZERS

    assert set(TrainRecipe.model_fields["optimiser"].annotation.__args__) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_optimizer_reduces_the_loss(name: str) -> None:
    import torch

    from napari_melanoma.training.tasks.task import OPTIMIZERS

    weight = torch.nn.Parameter(torch.tensor([3.0]))
    optimiser = OPTIMIZERS[name]([{"params": [weight], "lr": 0.05}], 0.0)
    for _ in range(200):
        optimiser.zero_grad()
        (weight**2).sum().backward()
        optimiser.step()
    assert abs(float(weight.detach())) < 0.1

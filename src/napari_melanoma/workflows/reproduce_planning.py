"""Making the plan of a reproduction: which rows can run, what a step of each costs here, what there is time for."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import MelanomaError, RunError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.workflows.reproduce_measuring import Pace, measure_rows
from napari_melanoma.workflows.reproduce_papers import Budget, Paper, Row
from napari_melanoma.workflows.reproduce_plan import (
    LEAST_STEPS,
    LOOK_S,
    SHARE,
    TABLES_S,
    Counts,
    Plan,
    PlannedRow,
    Size,
    capped,
    choose_size,
    dependents,
    images_of_a_step,
    least_seconds,
    row_cost,
)

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.step_cost import StepCost
    from napari_melanoma.workflows.reproduce_data import RoleData


@dataclass(frozen=True)
class PlanRequest:
    """What a user asks of a reproduction.

    Parameters
    ----------
    rows : tuple of str
        Rows or grids; none: the rows of the tables.
    budget : str
        ``"small"`` or ``"full"``.
    minutes : float or None
        Time of the small budget; None: nothing is measured.
    folders : mapping
        Role to data sets.
    weights : mapping
        Initial weights by name, as files.
    notices : tuple of str
        Sentences on data sets that were not taken.
    """

    rows: tuple[str, ...]
    budget: Budget
    minutes: float | None
    folders: Mapping[str, tuple[Path, ...]]
    weights: Mapping[str, str]
    notices: tuple[str, ...] = ()


def make_plan(paper: Paper, request: PlanRequest, data: Mapping[str, RoleData], run: RunContext) -> Plan:
    """Settle what a reproduction does.

    Parameters
    ----------
    paper : Paper
        What is reproduced.
    request : PlanRequest
        Rows, budget and time.
    data : mapping
        Role to its images, all that there are.
    run : RunContext
        Told of the progress, asked whether to go on.

    Returns
    -------
    Plan
        With the rows that can run; those that cannot stand in ``left_out``.

    Raises
    ------
    RunError
        Where not even one row can learn anything in the time, with the time that all need.
    Cancelled
        Where the user stopped it.
    """
    began, left_out = time.monotonic(), dict[str, str]()
    found = _Runnable({}, {}, {}, {})
    rows = paper.select(request.rows)
    for row in rows:
        run.check()
        try:
            why = _cannot_run(row, paper, request, left_out)
            if why is None:
                found.add(row, request.budget, data)
        except MelanomaError as error:
            why = str(error)
        if why:
            left_out[row.name] = why
    size, notices, spent = None, list(request.notices), 0.0
    if request.minutes is not None:
        found, faults = _measured(found, 60 * request.minutes, run)
        left_out |= faults
        spent = time.monotonic() - began + LOOK_S * sum(each.learn + each.judged for each in data.values())
        size = _size(found, request.minutes, spent)
        notices += _not_all(found, size, request.minutes, spent)
    return Plan(
        paper=paper.name,
        budget=request.budget,
        minutes=request.minutes,
        planning_s=round(spent, 1),
        images=size.images if size else None,
        data={role: tuple(str(folder) for folder in folders) for role, folders in request.folders.items()},
        weights=dict(request.weights),
        rows=tuple(_planned(row, size, found) for row in rows if row.name in found.counts),
        left_out=left_out,
        notices=tuple(notices),
    )


@dataclass(frozen=True)
class _Runnable:
    """The rows that can run: their images, the rows that each needs, recipe and pace of those that learn."""

    counts: dict[str, Counts]
    needs: dict[str, tuple[str, ...]]
    recipes: dict[str, TrainRecipe]
    paces: dict[str, Pace]

    def add(self, row: Row, budget: Budget, data: Mapping[str, RoleData]) -> None:
        """Take a row in."""
        from napari_melanoma.models.zoo import parameter_count

        if row.file.learn is not None:
            recipe = row.recipe(budget, data={"datasets": ["any"]}, model={"start": "none"})
            if parameter_count(recipe.model.architecture, recipe.model.options) > 0:
                self.recipes[row.name] = recipe
        self.counts[row.name] = _counts(row, data)
        self.needs[row.name] = row.file.needs

    @property
    def steps(self) -> dict[str, StepCost | None]:
        """Cost of a step of each row."""
        return {name: self.paces[name].cost if name in self.paces else None for name in self.counts}


def _measured(found: _Runnable, seconds: float, run: RunContext) -> tuple[_Runnable, dict[str, str]]:
    """Measure all rows that learn, and leave out those that cannot be measured, with those that need them."""
    paces, faults = measure_rows(found.recipes, seconds, run)
    for name in list(faults):
        faults |= dict.fromkeys(dependents(name, found.needs), f"needs the row '{name}', which cannot run")
    counts = {name: count for name, count in found.counts.items() if name not in faults}
    needs = {name: before for name, before in found.needs.items() if name not in faults}
    recipes = {name: recipe for name, recipe in found.recipes.items() if name not in faults}
    return _Runnable(counts, needs, recipes, paces), faults


def _size(found: _Runnable, minutes: float, spent: float) -> Size:
    """Choose how much every row learns, or say how long it would take."""
    seconds = SHARE * 60 * minutes - TABLES_S - spent
    size = choose_size(found.counts, found.steps, found.recipes, found.needs, seconds)
    if size is None:
        raise RunError(
            f"in {minutes:g} min no row can learn anything: each needs {LEAST_STEPS} steps at least. All of them need "
            f"about {_needed(found, spent)} min on this machine: --minutes {_needed(found, spent)}, or fewer --rows."
        )
    return size


def _needed(found: _Runnable, spent: float) -> int:
    """Minutes in which all rows learn as much as they must."""
    seconds = least_seconds(found.counts, found.steps, found.recipes) + TABLES_S + spent
    return math.ceil(seconds / SHARE / 60) + 1  # what is measured the next time is never quite the same


def _not_all(found: _Runnable, size: Size, minutes: float, spent: float) -> list[str]:
    """Say which rows there is no time for."""
    if not size.waiting:
        return []
    return [
        f"Not all rows can learn for {LEAST_STEPS} steps in {minutes:g} min: {', '.join(size.waiting)} "
        f"{'waits' if len(size.waiting) == 1 else 'wait'} for time that the others leave. All rows need about "
        f"{_needed(found, spent)} min on this machine: --minutes {_needed(found, spent)}."
    ]


def _cannot_run(row: Row, paper: Paper, request: PlanRequest, left_out: Mapping[str, str]) -> str | None:
    """Say why a row cannot run, if so."""
    start = row.values(request.budget).get("model", {}).get("start")
    if row.grid and start in paper.file.weights and start not in request.weights:
        weights = paper.file.weights[start]
        return f"needs {weights.title}: get {weights.where} and name it with --weights {start}=FILE"
    without = [name for name in row.file.needs if name in left_out]
    return f"needs the row '{without[0]}', which cannot run" if without else None


def _counts(row: Row, data: Mapping[str, RoleData]) -> Counts:
    """Count the images of a row."""
    judged = data[row.file.judged].judged
    if row.file.learn is None:
        return Counts(0, 0, judged)
    learn = data[row.file.learn].learn
    tuning = max(1, round(row.full.get("data", {}).get("tuning_fraction", 0.1) * learn))
    return Counts(learn - tuning, tuning, judged)


def _planned(row: Row, size: Size | None, found: _Runnable) -> PlannedRow:
    """Write down how a row will run."""
    from napari_melanoma.models.zoo import parameter_count

    recipe, pace = found.recipes.get(row.name), found.paces.get(row.name)
    batch = images_of_a_step(recipe) if recipe else 1
    cost = row_cost(pace.cost if pace else None, capped(found.counts[row.name], size.images if size else None), batch)
    about: dict[str, Any] = {"name": row.name}
    if recipe is not None:
        whole = row.full["model"]
        about["parameters"] = parameter_count(recipe.model.architecture, recipe.model.options)
        about["whole_parameters"] = parameter_count(whole["architecture"], whole.get("options", {}))
    if size is None:
        return PlannedRow(**about)
    about |= {"fixed_s": round(cost.fixed, 2), "epoch_s": round(cost.epoch, 2), "waits": row.name in size.waiting}
    if pace is not None:
        image_ms = round(1000 * pace.cost.image_s, 2)
        about |= {"steps": cost.steps, "epochs": cost.epochs(size.steps), "image_ms": image_ms, "threads": pace.threads}
    return PlannedRow(**about)

"""Making the plan of a reproduction: which rows can run, what a step of each costs here, what there is time for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.workflows.reproduce_papers import Budget, Paper, Row
from napari_melanoma.workflows.reproduce_plan import (
    LOOK_S,
    SHARE,
    TABLES_S,
    Counts,
    Plan,
    PlannedRow,
    capped,
    choose_size,
    images_of_a_step,
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
    Cancelled
        Where the user stopped it.
    """
    began, left_out = time.monotonic(), dict[str, str]()
    steps: dict[str, StepCost | None] = {}
    recipes: dict[str, TrainRecipe] = {}
    counts: dict[str, Counts] = {}
    rows = paper.select(request.rows)
    for row in run.track(rows, "Measuring a step of each row"):
        why = _cannot_run(row, paper, request, left_out)
        if why is None:
            counts[row.name] = _counts(row, data)
            try:
                steps[row.name] = _measured(row, request, recipes)
            except MelanomaError as error:
                why = str(error)
        if why is not None:
            left_out[row.name] = why
            counts.pop(row.name, None)
    runnable = [row for row in rows if row.name in counts]
    epochs, images = None, None
    if request.minutes is not None:
        looked = time.monotonic() - began + LOOK_S * sum(found.learn + found.judged for found in data.values())
        seconds = SHARE * 60 * request.minutes - TABLES_S - looked
        epochs, images = choose_size(counts, steps, recipes, seconds)
    return Plan(
        paper=paper.name,
        budget=request.budget,
        minutes=request.minutes,
        images=images,
        data={role: tuple(str(folder) for folder in folders) for role, folders in request.folders.items()},
        weights=dict(request.weights),
        rows=tuple(
            _planned(row, request, epochs, recipes, (steps[row.name], capped(counts[row.name], images)))
            for row in runnable
        ),
        left_out=left_out,
        notices=request.notices,
    )


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


def _measured(row: Row, request: PlanRequest, recipes: dict[str, TrainRecipe]) -> StepCost | None:
    """Read the recipe of a row and measure a step of it, where there is one and time matters."""
    from napari_melanoma.models.zoo import parameter_count
    from napari_melanoma.training.step_cost import measure_step

    if row.file.learn is None:
        return None
    recipe = row.recipe(request.budget, data={"datasets": ["any"]}, model={"start": "none"})
    learns = parameter_count(recipe.model.architecture, recipe.model.options) > 0
    if learns:
        recipes[row.name] = recipe
    return measure_step(recipe) if learns and request.minutes is not None else None


def _planned(
    row: Row,
    request: PlanRequest,
    epochs: int | None,
    recipes: Mapping[str, TrainRecipe],
    found: tuple[StepCost | None, Counts],
) -> PlannedRow:
    """Write down how a row will run."""
    from napari_melanoma.models.zoo import parameter_count

    step, counts = found
    recipe = recipes.get(row.name)
    if recipe is None:
        cost = row_cost(None, counts, 1)
        known = {"fixed_s": round(cost.fixed, 1), "epoch_s": 0.0} if request.minutes is not None else {}
        return PlannedRow(name=row.name, **known)
    parameters = parameter_count(recipe.model.architecture, recipe.model.options)
    whole = row.full["model"]
    about = {
        "name": row.name,
        "epochs": None if epochs is None else min(epochs, recipe.epochs),
        "parameters": parameters,
        "whole_parameters": parameter_count(whole["architecture"], whole.get("options", {})),
    }
    if step is None:
        return PlannedRow(**about)
    cost = row_cost(step, counts, images_of_a_step(recipe))
    measured = {"fixed_s": cost.fixed, "epoch_s": cost.epoch, "image_ms": 1000 * step.image_s}
    return PlannedRow(**about, **{name: round(value, 2) for name, value in measured.items()})

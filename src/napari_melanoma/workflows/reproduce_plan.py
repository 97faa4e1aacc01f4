"""What a reproduction will do, settled before it begins: rows, epochs, images, from steps measured on this machine.

The small budget has a time, not a number of epochs: all rows learn for as many epochs as fit, the same for each, and
where that would be too few, from fewer images. The plan is written down, so that a reproduction that is resumed follows
the one it began with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.workflows.reproduce_papers import Budget, Paper, Row

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.step_cost import StepCost
    from napari_melanoma.workflows.reproduce_data import RoleData

# Measured on two cores: what a row costs besides its steps.
START_S = 6.0  # network, optimiser, threshold, bundle
JUDGE_S = 0.06  # reading a held-out image and its mask, and comparing
LOOK_S = 0.02  # decoding an image for the first row that learns from it
TABLES_S = 20.0  # figures and tables at the end
SHARE = 0.75  # of the time is planned; a step beside other work takes longer than the one that was measured
LEAST_EPOCHS = 8  # with fewer, rather fewer images
CAPS = (None, 2000, 1000, 500, 250, 120, 60)


@dataclass(frozen=True)
class Counts:
    """Images that a row learns from, tunes with, and is judged on."""

    learn: int
    tuning: int
    judged: int


@dataclass(frozen=True)
class RowCost:
    """Seconds of a row: once, for every epoch, and for an image of an epoch."""

    fixed: float
    epoch: float

    def seconds(self, epochs: int) -> float:
        """Sum it up.

        Parameters
        ----------
        epochs : int
            How many.

        Returns
        -------
        float
            Of the whole row.
        """
        return self.fixed + self.epoch * epochs


class PlannedRow(Config):
    """A row as it will run."""

    name: str
    epochs: int | None = Field(None, description="none: the recipe's own, or nothing is learnt")
    fixed_s: float | None = Field(None, description="estimated, whatever the epochs")
    epoch_s: float | None = Field(None, description="estimated, of every epoch")
    image_ms: float | None = Field(None, description="of learning from an image, as measured")
    parameters: int | None = Field(None, description="of the network that is trained")
    whole_parameters: int | None = Field(None, description="of the network that the full budget trains")

    @property
    def cost(self) -> RowCost | None:
        """What it costs; None where nothing was measured."""
        return None if self.fixed_s is None or self.epoch_s is None else RowCost(self.fixed_s, self.epoch_s)

    @property
    def seconds(self) -> float | None:
        """Estimated time; None where nothing was measured."""
        return None if self.cost is None else self.cost.seconds(self.epochs or 0)


class Plan(Config):
    """What a reproduction does, for as long as its folder exists."""

    format_version: int = 1
    paper: str
    budget: Budget
    minutes: float | None = None
    images: int | None = Field(None, description="images to learn from in each role at most; none: all")
    data: dict[str, tuple[str, ...]] = Field(description="role to folders")
    weights: dict[str, str] = Field(default_factory=dict)
    rows: tuple[PlannedRow, ...]
    left_out: dict[str, str] = Field(default_factory=dict, description="rows that cannot run, and why")
    notices: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Estimated time of all rows; None where nothing was measured."""
        known = [row.seconds for row in self.rows if row.seconds is not None]
        return sum(known) if len(known) == len(self.rows) else None

    def row(self, name: str) -> PlannedRow:
        """Find a row.

        Parameters
        ----------
        name : str
            Of a row that will run.

        Returns
        -------
        PlannedRow
            As it will run.
        """
        return next(row for row in self.rows if row.name == name)


def row_cost(cost: StepCost | None, counts: Counts, batch: int) -> RowCost:
    """Say what a row costs.

    Parameters
    ----------
    cost : StepCost or None
        Of a step; None where nothing is learnt.
    counts : Counts
        Images.
    batch : int
        Images of a step.

    Returns
    -------
    RowCost
        In seconds.
    """
    if cost is None:
        return RowCost(START_S + counts.judged * JUDGE_S, 0.0)
    steps = max(1, counts.learn // batch)
    tuning = counts.tuning * cost.forward_s
    return RowCost(
        fixed=START_S + tuning + counts.judged * (cost.forward_s + JUDGE_S),
        epoch=steps * (batch * cost.image_s + cost.update_s) + tuning,
    )


def epochs_that_fit(costs: Sequence[RowCost], seconds: float, most: int) -> int:
    """Find for how many epochs all rows can learn in a time.

    Parameters
    ----------
    costs : sequence of RowCost
        Of the rows.
    seconds : float
        For all of them together.
    most : int
        Epochs that are never exceeded.

    Returns
    -------
    int
        At least 1, whatever the time.
    """
    each = sum(cost.epoch for cost in costs)
    left = seconds - sum(cost.fixed for cost in costs)
    return most if each <= 0 else max(1, min(most, int(left / each)))


def choose_size(
    counts: Mapping[str, Counts],
    costs: Mapping[str, StepCost | None],
    recipes: Mapping[str, TrainRecipe],
    seconds: float,
) -> tuple[int, int | None]:
    """Choose epochs, and a most of images where the epochs would be too few.

    Parameters
    ----------
    counts : mapping
        Name of a row to all of its images.
    costs : mapping
        Name of a row to the cost of a step.
    recipes : mapping
        Name of a row that learns to its recipe.
    seconds : float
        For all rows together.

    Returns
    -------
    epochs : int
        For every row.
    images : int or None
        Images to learn from at most; None: all.
    """
    most = max((recipe.epochs for recipe in recipes.values()), default=1)
    epochs, images = 1, None
    for images in CAPS:
        rows = [
            row_cost(costs[name], capped(count, images), _batch(recipes[name]) if name in recipes else 1)
            for name, count in counts.items()
        ]
        epochs = epochs_that_fit(rows, seconds, most)
        if epochs >= min(LEAST_EPOCHS, most):
            break
    return epochs, images


def capped(counts: Counts, images: int | None) -> Counts:
    """Take fewer images to learn from.

    Parameters
    ----------
    counts : Counts
        Of a row.
    images : int or None
        To learn from and to tune with, at most.

    Returns
    -------
    Counts
        With the same shares; what judges stays.
    """
    whole = counts.learn + counts.tuning
    if images is None or whole <= images:
        return counts
    tuning = max(1, round(counts.tuning * images / whole))
    return Counts(images - tuning, tuning, counts.judged)


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
    cost = row_cost(step, counts, _batch(recipe))
    measured = {"fixed_s": cost.fixed, "epoch_s": cost.epoch, "image_ms": 1000 * step.image_s}
    return PlannedRow(**about, **{name: round(value, 2) for name, value in measured.items()})


def _batch(recipe: TrainRecipe) -> int:
    """Images of a step; the recipes of papers name them."""
    return recipe.batch_size if isinstance(recipe.batch_size, int) else 16

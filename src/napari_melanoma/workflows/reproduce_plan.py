"""What a reproduction will do, settled before it begins: rows, steps, images, from steps measured on this machine.

The small budget has a time. All rows learn for as many steps as fit, rounded up to whole epochs, the same number each,
and never for fewer than it takes to learn anything: where there is no time for these, the costliest rows wait for what
the others leave. The plan is written down, so that a reproduction that is resumed follows the one it began with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.workflows.reproduce_papers import Budget, Paper

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.step_cost import StepCost

# Measured on two cores: what a row costs besides its steps.
START_S = 6.0  # network, optimiser, threshold, bundle
JUDGE_S = 0.06  # reading a held-out image and its mask, and comparing
LOOK_S = 0.02  # decoding an image for the first row that learns from it
TABLES_S = 20.0  # figures and tables at the end
SHARE = 0.75  # of the time is planned; a step beside other work takes longer than the one that was measured
# With fewer steps a network from nothing finds no lesion: the statistics of normalisation are still those of its start.
LEAST_STEPS = 300
LEAST_EPOCHS = 4  # with fewer there is no choice of the best one; rather fewer images
CAPS = (None, 4000, 2000, 1000, 500, 250)


@dataclass(frozen=True)
class Counts:
    """Images that a row learns from, tunes with, and is judged on."""

    learn: int
    tuning: int
    judged: int


@dataclass(frozen=True)
class RowCost:
    """Seconds of a row: once, for every epoch, and how many steps an epoch has (0: nothing is learnt)."""

    fixed: float
    epoch: float
    steps: int

    def epochs(self, steps: int) -> int:
        """Say in how many whole epochs there are so many steps.

        Parameters
        ----------
        steps : int
            Of the optimiser.

        Returns
        -------
        int
            At least 1 where anything is learnt.
        """
        return max(1, math.ceil(steps / self.steps)) if self.steps else 0

    def seconds(self, steps: int) -> float:
        """Sum it up.

        Parameters
        ----------
        steps : int
            Of the optimiser, at least.

        Returns
        -------
        float
            Of the whole row.
        """
        return self.fixed + self.epoch * self.epochs(steps)


@dataclass(frozen=True)
class Size:
    """How much every row learns: steps of the optimiser, a most of images (None: all), and rows that have to wait."""

    steps: int
    images: int | None
    waiting: tuple[str, ...] = ()


class PlannedRow(Config):
    """A row as it will run."""

    name: str
    steps: int | None = Field(None, description="of the optimiser in an epoch; none: unknown, or nothing is learnt")
    epochs: int | None = Field(None, description="none: the recipe's own, or nothing is learnt")
    fixed_s: float | None = Field(None, description="estimated, whatever the epochs")
    epoch_s: float | None = Field(None, description="estimated, of every epoch")
    image_ms: float | None = Field(None, description="of learning from an image, as measured")
    threads: int | None = Field(None, description="with which the network is quickest; none: torch's own choice")
    waits: bool = Field(False, description="whether it runs only where the other rows leave time")
    parameters: int | None = Field(None, description="of the network that is trained")
    whole_parameters: int | None = Field(None, description="of the network that the full budget trains")

    @property
    def seconds(self) -> float | None:
        """Estimated time; None where nothing was measured."""
        if self.fixed_s is None or self.epoch_s is None:
            return None
        return self.fixed_s + self.epoch_s * (self.epochs or 0)


class Plan(Config):
    """What a reproduction does, for as long as its folder exists."""

    format_version: int = 1
    paper: str
    budget: Budget
    minutes: float | None = None
    planning_s: float = Field(0.0, description="that measuring and looking at the images took")
    images: int | None = Field(None, description="images to learn from in each role at most; none: all")
    data: dict[str, tuple[str, ...]] = Field(description="role to folders")
    weights: dict[str, str] = Field(default_factory=dict)
    rows: tuple[PlannedRow, ...]
    left_out: dict[str, str] = Field(default_factory=dict, description="rows that cannot run, and why")
    notices: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Estimated time of all rows that need not wait; None where nothing was measured."""
        rows = [row for row in self.rows if not row.waits]
        known = [row.seconds for row in rows if row.seconds is not None]
        return sum(known) if len(known) == len(rows) else None

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
        return RowCost(START_S + counts.judged * JUDGE_S, 0.0, 0)
    steps = max(1, counts.learn // batch)
    tuning = counts.tuning * cost.forward_s
    return RowCost(
        fixed=START_S + tuning + counts.judged * (cost.forward_s + JUDGE_S),
        epoch=steps * (min(batch, counts.learn) * cost.image_s + cost.update_s) + tuning,
        steps=steps,
    )


def steps_that_fit(costs: Sequence[RowCost], seconds: float, most: int) -> int:
    """Find how many steps all rows can learn for in a time.

    Parameters
    ----------
    costs : sequence of RowCost
        Of the rows.
    seconds : float
        For all of them together.
    most : int
        Steps that are never exceeded.

    Returns
    -------
    int
        The same for every row; 0 where not one fits.
    """
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if sum(cost.seconds(middle) for cost in costs) <= seconds:
            low = middle
        else:
            high = middle - 1
    return low


def choose_size(
    counts: Mapping[str, Counts],
    steps: Mapping[str, StepCost | None],
    recipes: Mapping[str, TrainRecipe],
    needs: Mapping[str, Sequence[str]],
    seconds: float,
) -> Size | None:
    """Choose steps, a most of images where the epochs would be too few, and the rows that there is no time for.

    Parameters
    ----------
    counts : mapping
        Name of a row to all of its images.
    steps : mapping
        Name of a row to the cost of a step.
    recipes : mapping
        Name of a row that learns to its recipe.
    needs : mapping
        Name of a row to the rows that must have run before.
    seconds : float
        For all rows together.

    Returns
    -------
    Size or None
        The same for every row; None where not even the quickest row can learn anything in that time.
    """
    waiting: set[str] = set()
    while True:
        least: dict[str, RowCost] = {}
        for images in CAPS:
            costs = {name: _cost(name, capped(count, images), steps, recipes) for name, count in counts.items()}
            least = {name: cost for name, cost in costs.items() if name not in waiting}
            if not any(cost.steps for cost in least.values()):
                return None if recipes else Size(0, None)
            fit = steps_that_fit(list(least.values()), seconds, _most(least, recipes))
            fewest = min(cost.epochs(fit) for cost in least.values() if cost.steps)
            if fit >= LEAST_STEPS and (fewest >= LEAST_EPOCHS or images == CAPS[-1]):
                return Size(fit, images, tuple(name for name in counts if name in waiting))
        learning = [name for name in reversed(least) if least[name].steps]
        costliest = max(learning, key=lambda name: least[name].seconds(LEAST_STEPS))
        waiting |= {costliest, *dependents(costliest, needs)}


def least_seconds(
    counts: Mapping[str, Counts], steps: Mapping[str, StepCost | None], recipes: Mapping[str, TrainRecipe]
) -> float:
    """Say what all rows take at the least.

    Parameters
    ----------
    counts : mapping
        Name of a row to all of its images.
    steps : mapping
        Name of a row to the cost of a step.
    recipes : mapping
        Name of a row that learns to its recipe.

    Returns
    -------
    float
        With ``LEAST_STEPS`` each.
    """
    costs = [_cost(name, capped(count, CAPS[-1]), steps, recipes) for name, count in counts.items()]
    return sum(cost.seconds(LEAST_STEPS) for cost in costs)


def dependents(name: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    """Find the rows that cannot run without a row.

    Parameters
    ----------
    name : str
        Of the row.
    needs : mapping
        Name of a row to the rows that must have run before.

    Returns
    -------
    set of str
        Direct ones, and those that need these.
    """
    found = {other for other, before in needs.items() if name in before}
    return found.union(*(dependents(other, needs) for other in found))


def in_turn(plan: Plan, paper: Paper) -> list[PlannedRow]:
    """Put rows in the order in which they run.

    Parameters
    ----------
    plan : Plan
        Its rows.
    paper : Paper
        Which row needs which.

    Returns
    -------
    list of PlannedRow
        In the paper's order, and after them those that wait, the quickest first; none before one that it needs.
    """
    waiting = {row.name: row for row in plan.rows if row.waits}

    def whole(name: str) -> float:
        before = [other for other in paper.row(name).file.needs if other in waiting]
        return (waiting[name].seconds or 0.0) + sum(whole(other) for other in before)

    return [*(row for row in plan.rows if not row.waits), *sorted(waiting.values(), key=lambda row: whole(row.name))]


def whole_cycles(recipe: TrainRecipe, epochs: int) -> float:
    """Choose the first cycle of restarts such that a run of so many epochs ends with a cycle.

    Parameters
    ----------
    recipe : TrainRecipe
        Its first cycle, the least, and growth.
    epochs : int
        Of the run.

    Returns
    -------
    float
        Epochs of the first cycle.
    """
    cycles, whole = 1.0, 1.0
    while epochs / (whole + cycles * recipe.cycle_growth) >= recipe.cycle_epochs:
        cycles *= recipe.cycle_growth
        whole += cycles
    return epochs / whole


def _cost(
    name: str, counts: Counts, steps: Mapping[str, StepCost | None], recipes: Mapping[str, TrainRecipe]
) -> RowCost:
    """Say what a row costs with so many images."""
    return row_cost(steps.get(name), counts, images_of_a_step(recipes[name]) if name in recipes else 1)


def _most(costs: Mapping[str, RowCost], recipes: Mapping[str, TrainRecipe]) -> int:
    """Give the steps after which the first row has learnt for as many epochs as in the paper, or the least."""
    whole = [recipes[name].epochs * cost.steps for name, cost in costs.items() if cost.steps]
    return max(LEAST_STEPS, min(whole))


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


def images_of_a_step(recipe: TrainRecipe) -> int:
    """Give the images of a step; the recipes of papers name them.

    Parameters
    ----------
    recipe : TrainRecipe
        Of a row.

    Returns
    -------
    int
        A guess where the recipe leaves it open.
    """
    return recipe.batch_size if isinstance(recipe.batch_size, int) else 16

"""How much every row learns in a limited time, computed from what a step of its network costs here.

All rows learn for as many steps as fit, rounded up to whole epochs, the same number each, and never for fewer than it
takes to learn anything: where there is no time for these, the costliest rows wait for what the others leave.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.workflows.reproduction.pace import Pace
from napari_melanoma.workflows.reproduction.papers import Row

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe

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
class RowCost:
    """Seconds of a row: once, for every epoch, and how many steps an epoch has (0: nothing is learnt)."""

    fixed: float
    epoch: float
    steps: int

    def epochs(self, steps: int) -> int:
        """Say in how many whole epochs there are so many steps.

        At least 1 where anything is learnt.
        """
        return max(1, math.ceil(steps / self.steps)) if self.steps else 0

    def seconds(self, steps: int) -> float:
        """Sum it up."""
        return self.fixed + self.epoch * self.epochs(steps)


@dataclass(frozen=True)
class Candidate:
    """A row that can run: images that judge it; where it learns, those for that, its recipe, and its measured pace.

    Of a row that is cross-validated these are the images of one fold.
    """

    row: Row
    judged: int
    learn: int = 0
    tuning: int = 0
    recipe: TrainRecipe | None = None
    pace: Pace | None = None
    folds: int = 0  # of a cross-validation: each learns and is judged by itself, for the epochs of the recipe
    times: float = 1.0  # what a step costs against one that only learns from the answers of its images

    def cost(self, images: int | None) -> RowCost:
        """Say what it costs.

        In seconds.
        """
        if self.pace is None:
            return RowCost(self.folds * self.judged * LOOK_S if self.folds else START_S + self.judged * JUDGE_S, 0.0, 0)
        learn, tuning, step, batch = self.learn, self.tuning, self.pace.cost, self.pace.images
        if images is not None and images < learn + tuning:
            tuning = max(1, round(tuning * images / (learn + tuning)))
            learn = images - tuning
        steps, tuning_s = max(1, learn // batch), tuning * step.forward_s
        runs = max(1, self.folds)
        return RowCost(
            fixed=runs * (START_S + tuning_s + self.judged * (step.forward_s + (LOOK_S if self.folds else JUDGE_S))),
            epoch=runs * (self.times * steps * (min(batch, learn) * step.image_s + step.update_s) + tuning_s),
            steps=steps,
        )

    @property
    def seconds(self) -> float:
        """Of a cross-validated row, with the epochs of its recipe."""
        cost = self.cost(None)
        return cost.fixed + cost.epoch * (self.recipe.epochs if self.recipe else 0)


@dataclass(frozen=True)
class Size:
    """How much every row learns: steps of the optimiser, a most of images (None: all), and rows that have to wait."""

    steps: int
    images: int | None
    waiting: tuple[str, ...] = ()


def choose_size(candidates: Sequence[Candidate], seconds: float) -> Size | None:
    """Choose steps, a most of images where the epochs would be too few, and the rows that there is no time for.

    Returns the same for every row; None where not even the quickest row can learn anything in that time.
    """
    waiting: set[str] = set()
    while True:
        going = [one for one in candidates if one.row.name not in waiting]
        learning = [one for one in going if one.pace]
        if not learning:
            return None if waiting else Size(0, None)
        for images in CAPS:
            costs = [one.cost(images) for one in going]
            most = min(one.recipe.epochs * one.cost(images).steps for one in learning if one.recipe)
            steps = steps_that_fit(costs, seconds, max(LEAST_STEPS, most))
            fewest = min(cost.epochs(steps) for cost in costs if cost.steps)
            if steps >= LEAST_STEPS and (fewest >= LEAST_EPOCHS or images == CAPS[-1]):
                return Size(steps, images, tuple(one.row.name for one in candidates if one.row.name in waiting))
        waiting.add(max(reversed(learning), key=lambda one: one.cost(CAPS[-1]).seconds(LEAST_STEPS)).row.name)
        for one in going:  # no row stands before one that it needs
            if waiting.intersection(one.row.file.needs):
                waiting.add(one.row.name)


def waiting_rows(candidates: Sequence[Candidate], seconds: float) -> tuple[str, ...]:
    """Choose the cross-validated rows that there is no time for: the costliest, and those that need them.

    Returns their names, in the paper's order.
    """
    waiting: set[str] = set()
    while True:
        going = [one for one in candidates if one.row.name not in waiting]
        if sum(one.seconds for one in going) <= seconds or not going:
            return tuple(one.row.name for one in candidates if one.row.name in waiting)
        waiting.add(max(reversed(going), key=lambda one: one.seconds).row.name)
        for one in going:
            if waiting.intersection(one.row.file.needs):
                waiting.add(one.row.name)


def steps_that_fit(costs: Sequence[RowCost], seconds: float, most: int) -> int:
    """Find how many steps all rows can learn for in a time.

    Returns the same for every row; 0 where not one fits.
    """
    whole = bisect_right(range(most + 1), seconds, key=lambda steps: sum(cost.seconds(steps) for cost in costs))
    return max(0, whole - 1)


def needed_minutes(candidates: Iterable[Candidate], spent: float) -> int:
    """Say in which time all rows learn as much as they must.

    ``spent``: seconds that have gone. Minutes.
    """
    seconds = sum(one.cost(CAPS[-1]).seconds(LEAST_STEPS) for one in candidates) + TABLES_S + spent
    return math.ceil(seconds / SHARE / 60) + 1  # what is measured the next time is never quite the same

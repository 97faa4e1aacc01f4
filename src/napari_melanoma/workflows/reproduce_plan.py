"""What a reproduction will do, settled before it begins: rows, epochs, images, from steps measured on this machine.

The small budget has a time, not a number of epochs: all rows learn for as many epochs as fit, the same for each, and
where that would be too few, from fewer images. The plan is written down, so that a reproduction that is resumed follows
the one it began with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.workflows.reproduce_papers import Budget

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.step_cost import StepCost

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
            row_cost(costs[name], capped(count, images), images_of_a_step(recipes[name]) if name in recipes else 1)
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

"""Fit a reproduction into a time limit: find how long each row takes, and choose rows, steps and images."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.extensions.papers.papers import Row

if TYPE_CHECKING:
    from napari_melanoma.training.batch_size import StepCost
    from napari_melanoma.training.recipe import TrainRecipe

# Measured on two cores: what a row costs besides its steps.
START_S = 6.0  # network, optimizer, threshold, bundle
COMPARE_S = 0.06  # reading a held-out image and its mask, and comparing
ENCODE_S = 0.02  # decoding an image for the first row that is trained on it
TABLES_S = 20.0  # figures and tables at the end
SHARE = 0.75  # share of the time limit that is planned: steps take longer while other programs are running
# With fewer steps, a randomly initialized network finds no lesion: its normalization statistics are nearly unchanged.
MIN_STEPS = 300
MIN_EPOCHS = 4  # needed to choose the best epoch; with fewer, the number of images is limited instead
CPU = "cpu"
# Numbers of training images that are tried; None: all.
IMAGE_LIMITS = (None, 4000, 2000, 1000, 500, 250)


@dataclass(frozen=True)
class TrainingPace:
    """The fastest measured training step of a network.

    ``images``: per step. ``threads``: number that was fastest; None on a GPU.
    """

    cost: StepCost
    images: int
    threads: int | None = None


Paces = tuple[dict[str, TrainingPace], dict[str, str]]  # by name of the row, and the faults of rows without a pace


@dataclass(frozen=True)
class RowCost:
    """Estimated time of a row: fixed seconds, seconds per epoch, and steps per epoch (0: no training)."""

    fixed: float
    epoch: float
    steps: int

    def epochs(self, steps: int) -> int:
        """Return the number of whole epochs that contain a number of steps; 0 if the row is not trained."""
        return max(1, math.ceil(steps / self.steps)) if self.steps else 0

    def seconds(self, steps: int) -> float:
        """Return the estimated time with a number of steps, in seconds."""
        return self.fixed + self.epoch * self.epochs(steps)


@dataclass(frozen=True)
class RowCandidate:
    """A row that can run, with what its time depends on.

    ``evaluated``, ``train``, ``validation``: numbers of images for testing, training and validation; those of one fold
    for a cross-validated row. ``recipe`` and the measured ``pace``: None if the row trains nothing.
    """

    row: Row
    evaluated: int
    train: int = 0
    validation: int = 0
    recipe: TrainRecipe | None = None
    pace: TrainingPace | None = None
    cpu_pace: TrainingPace | None = None  # pace on the CPU, if ``pace`` was measured on a GPU
    folds: int = 0  # of a cross-validation: each is trained and evaluated with the epochs of the recipe
    once_s: float = 0.0  # seconds that are needed once for all folds, such as for features of the images
    step_factor: float = 1.0  # cost of a step relative to one with labeled images only
    others_s: float = 0.0  # seconds per test image for networks of other rows, which predict it or its mask
    central: bool = False  # whether it belongs to the paper's main comparison

    def with_input_size(self, size: int | None) -> RowCandidate:
        """Return the row with images of at most ``size`` pixels a side; None: the size of the recipe."""
        return self if self.recipe is None else replace(self, recipe=reduce_input(self.recipe, size))

    def cost(self, images: int | None) -> RowCost:
        """Return the time of the row if it is trained on at most ``images`` images; None: all."""
        if self.pace is None:
            return RowCost(self.once_s + self._evaluation_seconds, 0.0, 0)
        train, validation, step, batch = self.train, self.validation, self.pace.cost, self.pace.images
        if images is not None and images < train + validation:
            validation = max(1, round(validation * images / (train + validation)))
            train = images - validation
        steps, validation_s = max(1, train // batch), validation * step.forward_s
        runs = max(1, self.folds)
        return RowCost(
            fixed=runs * (START_S + validation_s + self.evaluated * (step.forward_s + self._reading_s)),
            epoch=runs * (self.step_factor * steps * (min(batch, train) * step.image_s + step.update_s) + validation_s),
            steps=steps,
        )

    @property
    def _evaluation_seconds(self) -> float:
        """Time of a row without training, in seconds; a row that predicts from the table reads no images."""
        if not self.folds:
            return START_S + self.evaluated * self._reading_s
        reads = self.row.file.predictor in ("network", "features") or self.row.kind.needs_masks
        return self.folds * self.evaluated * self._reading_s if reads else START_S

    @property
    def _reading_s(self) -> float:
        """Seconds to read a test image, with its mask if the row uses it, and to run networks of other rows on it."""
        has_masks = self.row.kind.needs_masks or self.row.file.masks == "predicted"
        return self.others_s + (ENCODE_S if self.folds and not has_masks else COMPARE_S)

    @property
    def seconds(self) -> float:
        """Time of a cross-validated row with the epochs of its recipe, in seconds."""
        cost = self.cost(None)
        return cost.fixed + cost.epoch * (self.recipe.epochs if self.recipe else 0)


def reduce_input(recipe: TrainRecipe, size: int | None) -> TrainRecipe:
    """Return the recipe with images of at most ``size`` pixels a side (None: unchanged).

    The size of stored images is reduced in proportion.
    """
    before = recipe.model.input_size
    if size is None or size >= before:
        return recipe
    model = recipe.model.model_copy(update={"input_size": size})
    data = recipe.data.model_copy(update={"cache_size": round(recipe.data.cache_size * size / before)})
    return recipe.model_copy(update={"model": model, "data": data})


@dataclass(frozen=True)
class BudgetSize:
    """The training that every row gets.

    ``steps``: of the optimizer; None: all epochs of the recipe. ``images``: maximum number of training images; None:
    all. ``waiting``: rows that run only if the others leave time.
    """

    steps: int | None
    images: int | None
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True)
class FittedRows:
    """Measured rows with images of the same size, and the training that they get.

    ``budget``: None if the rows were not measured, or if the time is too short for any row. ``input_size``: side in
    pixels; None: that of the recipes. ``faults``: rows that cannot be measured, with the reasons.
    """

    candidates: list[RowCandidate]
    budget: BudgetSize | None
    input_size: int | None = None
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Number of rows for which there is no time, or that cannot be measured."""
        return len(self.faults) + len(self.candidates) - len(self.scheduled)

    @property
    def scheduled(self) -> list[RowCandidate]:
        """Rows that do not wait."""
        return [one for one in self.candidates if self.budget and one.row.name not in self.budget.waiting]

    @property
    def least_seconds(self) -> float:
        """Seconds that the scheduled rows need for the minimum of training, with the same limit of images."""
        return _least_seconds([one.cost(self.budget.images) for one in self.scheduled if self.budget])


CROSS_VALIDATED_SHARE = 0.5  # minimum share of the time for cross-validated rows, if they need that much


def fit_rows(
    crossing: Sequence[RowCandidate],
    splitting: Sequence[RowCandidate],
    smaller: Sequence[int],
    measure: Callable[[Sequence[RowCandidate]], tuple[list[RowCandidate], dict[str, str]]],
    seconds: Callable[[], float],
) -> tuple[FittedRows, FittedRows]:
    """Choose the image sizes of cross-validated rows and of rows with one split, and the rows that wait.

    Sizes are tried from those of the recipes downward, until all rows fit; if they never do, the sizes with the fewest
    missing rows are chosen. ``smaller``: further sides to try, in pixels, descending. ``measure``: measures rows, and
    returns those that can be measured, and the faults of the others by name. ``seconds``: returns the time that is
    left.
    """
    sizes, measured = (None, *smaller), dict[tuple[bool, int], tuple[list[RowCandidate], dict[str, str]]]()

    def at_size(rows: Sequence[RowCandidate], index: int) -> FittedRows:
        key = (rows is crossing, index)  # a size is measured only when it is tried
        if key not in measured:
            measured[key] = measure([one.with_input_size(sizes[index]) for one in rows])
        return FittedRows(measured[key][0], None, sizes[index], measured[key][1])

    pairs = product(range(len(sizes) if crossing else 1), range(len(sizes) if splitting else 1))
    attempts = list[tuple[FittedRows, FittedRows]]()
    for first, second in sorted(pairs, key=lambda pair: (max(pair), sum(pair))):
        attempts.append(_share_time(at_size(crossing, first), at_size(splitting, second), seconds()))
        if not any(group.missing for group in attempts[-1]):
            return attempts[-1]
    fitting = [groups for groups in attempts if any(group.scheduled for group in groups)]
    return min(fitting, key=lambda groups: sum(group.missing for group in groups)) if fitting else attempts[-1]


def _share_time(cross_validated: FittedRows, split: FittedRows, seconds: float) -> tuple[FittedRows, FittedRows]:
    """Share the time between cross-validated rows and rows with one split.

    Cross-validated rows have a fixed number of epochs. They get the time that the others do not need for the minimum of
    training, but at least ``CROSS_VALIDATED_SHARE`` if they need that much. The others are trained longer in the time
    that is left.
    """
    needed = min(sum(one.seconds for one in cross_validated.candidates), CROSS_VALIDATED_SHARE * max(0.0, seconds))
    least = replace(split, budget=choose_size(split.candidates, seconds - needed)).least_seconds
    cross_validated = replace(
        cross_validated, budget=BudgetSize(0, None, waiting_rows(cross_validated.candidates, seconds - least))
    )
    left = seconds - sum(one.seconds for one in cross_validated.scheduled)
    none = BudgetSize(MIN_STEPS, IMAGE_LIMITS[-1], tuple(one.row.name for one in split.candidates))
    return cross_validated, replace(split, budget=choose_size(split.candidates, left) or none)


def measure_candidates(
    candidates: Sequence[RowCandidate], find_paces: Callable[[Mapping[str, TrainRecipe]], Paces]
) -> tuple[list[RowCandidate], dict[str, str]]:
    """Find the pace of all trained rows.

    ``find_paces``: measures recipes by name of the row. Returns the rows with their pace, and the faults
    of those that have none, or that need such a row, by name.
    """
    paces, faults = find_paces({candidate.row.name: candidate.recipe for candidate in candidates if candidate.recipe})
    for candidate in candidates:
        if why := explain_missing_need(candidate.row, faults):
            faults[candidate.row.name] = why
    measured = [
        replace(candidate, pace=paces.get(candidate.row.name))
        for candidate in candidates
        if candidate.row.name not in faults
    ]
    return [replace(candidate, others_s=_others_seconds(candidate.row, paces)) for candidate in measured], faults


def _others_seconds(row: Row, paces: Mapping[str, TrainingPace]) -> float:
    """Return the seconds per image for the networks of other rows that a row evaluates or gets masks from."""
    others = (row.file.model_of, row.file.masks_of)
    return sum(paces[name].cost.forward_s for name in others if name and name in paces)


def forecast_rows(candidates: Sequence[RowCandidate], run: RunContext) -> FittedRows:
    """Measure each network once on the device that runs use, and if that is a GPU also on the CPU."""
    measure = partial(measure_paces, seconds=0.0, run=run)
    measured, faults = measure_candidates(candidates, measure)
    if any(one.pace and one.pace.cost.device != CPU for one in measured):
        recipes = {one.row.name: one.recipe.model_copy(update={"device": CPU}) for one in measured if one.recipe}
        paces, _ = measure(recipes)
        measured = [replace(one, cpu_pace=paces.get(one.row.name)) for one in measured]
    return FittedRows(measured, BudgetSize(None, None), faults=faults)


def explain_missing_need(row: Row, left_out: Mapping[str, str]) -> str | None:
    """Return why a row cannot run if it needs one that is left out; else None."""
    without = [name for name in row.file.needs if name in left_out]
    return f"needs the row '{without[0]}', which cannot run" if without else None


ROUNDS = 3  # each network is measured once in each round, so that its measurements are spread in time
ROUNDS_SHARE = 0.03  # share of the available time after which no further round starts


def measure_paces(recipes: Mapping[str, TrainRecipe], seconds: float, run: RunContext) -> Paces:
    """Measure each distinct network several times, with one thread and with all, and choose the fastest.

    Small steps are often faster with one thread, especially if other programs are running. ``recipes``: by name of the
    row. ``seconds``: the available time. Returns pace by row, and the faults of rows that cannot be measured.
    """
    keys = {name: _step_key(recipe) for name, recipe in recipes.items()}
    distinct = {keys[name]: recipe for name, recipe in recipes.items()}
    costs: dict[str, dict[int | None, StepCost]] = {key: {} for key in distinct}
    faults: dict[str, str] = {}
    began = time.monotonic()
    for turn in range(ROUNDS):
        if turn and time.monotonic() - began > ROUNDS_SHARE * seconds:
            break
        for key, recipe in run.track(list(distinct.items()), "Measuring a step of each network"):
            try:
                _measure_step_times(recipe, costs[key])
            except MelanomaError as error:
                faults[key] = str(error)
    paces = {name: _choose_threads(recipes[name], costs[key]) for name, key in keys.items() if key not in faults}
    return paces, {name: faults[key] for name, key in keys.items() if key in faults}


@contextmanager
def use_threads(threads: int | None) -> Iterator[None]:
    """Limit torch to a number of threads."""
    import torch

    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _step_key(recipe: TrainRecipe) -> str:
    """Return a key that is equal for recipes whose steps take the same time; the loss takes hardly any."""
    parts = {"model", "optimiser", "augmentation", "batch_size", "precision", "device"}
    return recipe.model_dump_json(include=parts)


def _measure_step_times(recipe: TrainRecipe, costs: dict[int | None, StepCost]) -> None:
    """Measure a network with one thread and with all, and update the shortest times in ``costs``.

    ``costs``: number of threads, None on a GPU, to cost.
    """
    import torch

    from napari_melanoma.training.batch_size import measure_step
    from napari_melanoma.training.engine import accelerator

    choices = {1, torch.get_num_threads()} if accelerator(recipe) == "cpu" else {None}
    for threads in choices:
        with use_threads(threads):
            cost = measure_step(recipe)
        shortest = costs.get(threads, cost)
        shorter = {
            name: min(getattr(cost, name), getattr(shortest, name)) for name in ("image_s", "update_s", "forward_s")
        }
        costs[threads] = replace(cost, **shorter)


def images_per_step(recipe: TrainRecipe) -> int:
    """Return the batch size of a recipe; the recipes of papers set a number."""
    return recipe.batch_size if isinstance(recipe.batch_size, int) else 16


def _choose_threads(recipe: TrainRecipe, costs: Mapping[int | None, StepCost]) -> TrainingPace:
    """Choose the fastest number of threads."""
    images = images_per_step(recipe)
    threads = min(costs, key=lambda count: images * costs[count].image_s + costs[count].update_s)
    return TrainingPace(costs[threads], images, threads)


def choose_size(candidates: Sequence[RowCandidate], seconds: float) -> BudgetSize | None:
    """Choose the number of steps, the limit of images, and the rows that wait.

    Steps and limit are the same for every row; there is a limit only if there would be too few epochs without one. None
    if the time is too short even for the fastest row.
    """
    waiting: set[str] = set()
    while True:
        scheduled = [candidate for candidate in candidates if candidate.row.name not in waiting]
        learning = [candidate for candidate in scheduled if candidate.pace]
        if not learning:
            return None if waiting else BudgetSize(0, None)
        for images in IMAGE_LIMITS:
            costs = [candidate.cost(images) for candidate in scheduled]
            most = min(
                candidate.recipe.epochs * candidate.cost(images).steps for candidate in learning if candidate.recipe
            )
            steps = steps_that_fit(costs, seconds, max(MIN_STEPS, most))
            fewest = min(cost.epochs(steps) for cost in costs if cost.steps)
            if steps >= MIN_STEPS and (fewest >= MIN_EPOCHS or images == IMAGE_LIMITS[-1]):
                return BudgetSize(
                    steps,
                    images,
                    tuple(candidate.row.name for candidate in candidates if candidate.row.name in waiting),
                )
        least = {candidate.row.name: candidate.cost(IMAGE_LIMITS[-1]).seconds(MIN_STEPS) for candidate in learning}
        waiting.add(_most_dispensable(learning, least, seconds))
        for candidate in scheduled:  # rows that need a waiting row wait as well
            if waiting.intersection(candidate.row.file.needs):
                waiting.add(candidate.row.name)


def waiting_rows(candidates: Sequence[RowCandidate], seconds: float) -> tuple[str, ...]:
    """Choose the cross-validated rows that wait, with the rows that need them, in the paper's order."""
    waiting: set[str] = set()
    while True:
        scheduled = [candidate for candidate in candidates if candidate.row.name not in waiting]
        if sum(candidate.seconds for candidate in scheduled) <= seconds or not scheduled:
            return tuple(candidate.row.name for candidate in candidates if candidate.row.name in waiting)
        waiting.add(
            _most_dispensable(scheduled, {candidate.row.name: candidate.seconds for candidate in scheduled}, seconds)
        )
        for candidate in scheduled:
            if waiting.intersection(candidate.row.file.needs):
                waiting.add(candidate.row.name)


def _most_dispensable(candidates: Sequence[RowCandidate], costs: Mapping[str, float], seconds: float) -> str:
    """Choose the row that waits next: the slowest one, and of equally slow ones the last.

    Rows of the main comparison wait only after all others, if there is time for the main comparison.
    """
    protects = sum(costs[one.row.name] for one in candidates if one.central) <= seconds
    return max(reversed(candidates), key=lambda one: (not (protects and one.central), costs[one.row.name])).row.name


def steps_that_fit(costs: Sequence[RowCost], seconds: float, most: int) -> int:
    """Return the largest number of steps, at most ``most``, with which all rows fit into a time; 0 if none does."""
    count = bisect_right(range(most + 1), seconds, key=lambda steps: sum(cost.seconds(steps) for cost in costs))
    return max(0, count - 1)


def _least_seconds(costs: Sequence[RowCost]) -> float:
    """Return the seconds of rows with the minimum of training: the same steps for all, enough for the fewest epochs."""
    steps = max((MIN_STEPS, *(MIN_EPOCHS * cost.steps for cost in costs)))
    return sum(cost.seconds(steps) for cost in costs)


def needed_minutes(candidates: Iterable[RowCandidate], spent: float) -> int:
    """Return the minutes that rows with one split need with all images, and ``spent``, seconds of other work."""
    seconds = _least_seconds([one.cost(None) for one in candidates]) + TABLES_S + spent
    return math.ceil(seconds / SHARE / 60) + 1  # measurements vary

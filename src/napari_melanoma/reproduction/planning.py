"""The plan of a reproduction and its folders: which rows can run, and for how long each may train."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError, RunError
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import CONFIG
from napari_melanoma.reproduction.papers import Budget, Paper, Row, read_paper
from napari_melanoma.reproduction.split import CrossValidatedRole, RoleData

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.step_time import StepCost


class PlannedRow(Config):
    """A row with its planned training."""

    name: str
    recipe: str = Field("", description="digest of its recipe; a folder with other recipes is not continued")
    steps: int | None = Field(None, description="of the optimizer per epoch; none: unknown, or no training")
    epochs: int | None = Field(None, description="none: those of the recipe, or no training")
    fixed_s: float | None = Field(None, description="estimated, independent of the epochs")
    epoch_s: float | None = Field(None, description="estimated, per epoch")
    image_ms: float | None = Field(None, description="measured training time per image")
    threads: int | None = Field(None, description="fastest number of threads; none: chosen by torch")
    start: str = Field("", description="initial weights in words; empty: no training")
    waits: bool = Field(False, description="whether it runs only if the other rows leave time")
    parameters: int | None = Field(None, description="of the network that is trained")
    whole_parameters: int | None = Field(None, description="of the network that the full budget trains")

    @property
    def seconds(self) -> float | None:
        """Estimated time; None if it was not measured."""
        if self.fixed_s is None or self.epoch_s is None:
            return None
        return self.fixed_s + self.epoch_s * (self.epochs or 0)


class ReproductionPlan(Config):
    """The plan of a reproduction, which does not change as long as its folder exists."""

    format_version: int = 1
    paper: str
    budget: Budget
    minutes: float | None = None
    planning_s: float = Field(0.0, description="used for planning: measurements and reading images")
    images: int | None = Field(None, description="maximum number of training images per role; none: all")
    data: dict[str, tuple[str, ...]] = Field(description="role to folders")
    labels: dict[str, str] = Field(default_factory=dict, description="role to a table of labels")
    weights: dict[str, str] = Field(default_factory=dict)
    rows: tuple[PlannedRow, ...] = ()
    left_out: dict[str, str] = Field(default_factory=dict, description="rows that cannot run, with reasons")
    notices: tuple[str, ...] = ()
    late: tuple[str, ...] = Field((), description="rows for which there may be no time")

    @property
    def folders(self) -> dict[str, tuple[Path, ...]]:
        """Role to data sets."""
        return {role: tuple(map(Path, folders)) for role, folders in self.data.items()}

    def folders_of(self, paper: Paper, *, crossed: bool) -> dict[str, tuple[Path, ...]]:
        """Return the data sets of the cross-validated rows that run, or of the others."""
        rows = [paper.rows[name] for name in self.by_name]
        roles = {role for row in rows if row.kind.crossed == crossed for role in row.file.roles}
        return {role: folders for role, folders in self.folders.items() if role in roles}

    @property
    def seconds(self) -> float | None:
        """Estimated time of all rows that do not wait; None if it was not measured."""
        known = [row.seconds for row in self.rows if not row.waits]
        return None if None in known else sum(seconds or 0.0 for seconds in known)

    @property
    def by_name(self) -> dict[str, PlannedRow]:
        """Rows that will run."""
        return {row.name: row for row in self.rows}

    def ordered_rows(self, paper: Paper) -> list[PlannedRow]:
        """Return the rows in the order in which they run: the main comparison, the others, waiting ones by their time.

        Each row comes after those that it needs.
        """
        waiting = {row.name: row for row in self.rows if row.waits}

        def whole(name: str) -> float:
            before = [other for other in paper.rows[name].file.needs if other in waiting]
            return (waiting[name].seconds or 0.0) + sum(map(whole, before))

        going = sorted((row for row in self.rows if not row.waits), key=lambda row: row.name not in paper.central)
        return [*going, *sorted(waiting.values(), key=lambda row: whole(row.name))]

    @property
    def sentence(self) -> str:
        """Summary of rows, data and estimated time."""
        data = ", ".join(f"{role}={folder}" for role, folders in self.data.items() for folder in folders)
        given = {"labels": self.labels, "weights": self.weights}
        files = "".join(f", {kind} {name}={file}" for kind, of in given.items() for name, file in of.items())
        epochs = sorted({row.epochs for row in self.rows if row.epochs})
        steps = max((row.steps * row.epochs for row in self.rows if row.steps and row.epochs), default=0)
        long = f", {'/'.join(map(str, epochs))} epochs (up to {steps} steps)" if epochs else ""
        time = "" if self.seconds is None else f", about {self.seconds / 60:.0f} min"
        most = "" if self.minutes is None else f" of at most {self.minutes:g}"
        return f"{len(self.rows)} rows of {self.paper}, data {data}{files}{long}{time}{most}."


PER_IMAGE, JUDGEMENT, PICTURES = "per_image.csv", "judgement.json", "pictures"


@dataclass(frozen=True)
class ReproductionFolder:
    """The folder of a reproduction."""

    out: Path

    @property
    def plan(self) -> Path:
        return self.out / "reproduction.json"

    @property
    def data(self) -> Path:
        """The split."""
        return self.out / "data"

    @property
    def crossed(self) -> Path:
        """The folds of the cross-validation."""
        return self.out / "folds"

    @property
    def figures(self) -> Path:
        return self.out / "figures"

    @property
    def photographs(self) -> Path:
        """Thumbnails of the images for which predictions are shown."""
        return self.figures / "photographs"

    def row(self, name: str) -> RowFolder:
        """Return the paths of a row, whether they exist or not."""
        return RowFolder(self.out, name)


@dataclass(frozen=True)
class RowFolder:
    """The files of a row in the folder of a reproduction."""

    out: Path
    name: str

    @property
    def recipe(self) -> Path:
        """Its complete recipe."""
        return self.out / "recipes" / f"{self.name}.toml"

    @property
    def run(self) -> RunFolder:
        """The run folder of its training."""
        return RunFolder(self.out / "rows" / self.name)

    def fold(self, number: int) -> FoldFolder:
        """Return the paths of a fold, whether they exist or not."""
        return FoldFolder(self, number)

    @property
    def runs(self) -> tuple[RunFolder, ...]:
        """The run folders of its training, or of the folds that have begun."""
        if self.run.config.exists():
            return (self.run,)
        found = (RunFolder(path.parent) for path in sorted(self.run.path.glob("fold-*/config.toml")))
        return tuple(found)

    @property
    def has_begun(self) -> bool:
        """Whether its training has begun."""
        return bool(self.runs)

    @property
    def has_learnt(self) -> bool:
        """Whether its model exists."""
        return (self.run.bundle / CONFIG).is_file()

    @property
    def judged(self) -> Path:
        """The results of its evaluation; complete if it exists."""
        return self.out / "judged" / self.name

    @property
    def per_image(self) -> Path:
        """Results of each image."""
        return self.judged / PER_IMAGE

    @property
    def judgement(self) -> Path:
        """Results that apply to all images."""
        return self.judged / JUDGEMENT

    @property
    def pictures(self) -> Path:
        """Pictures of its predictions on a few images."""
        return self.judged / PICTURES


@dataclass(frozen=True)
class FoldFolder:
    """The files of a fold of a cross-validated row."""

    row: RowFolder
    number: int

    @property
    def run(self) -> RunFolder:
        """The run folder of its training."""
        return RunFolder(self.row.run.path / f"fold-{self.number}")

    @property
    def recipe(self) -> Path:
        """Its complete recipe; that of the first fold is used as recipe of the row."""
        whole = self.row.recipe
        return whole if self.number == 1 else whole.with_stem(f"{whole.stem}-fold-{self.number}")

    @property
    def judged(self) -> Path:
        """Predictions of its network on the test images; complete if it exists."""
        return self.row.run.path / f"judged-{self.number}"

    @property
    def has_begun(self) -> bool:
        """Whether its training has begun."""
        return self.run.config.exists()

    @property
    def has_learnt(self) -> bool:
        """Whether its model exists."""
        return (self.run.bundle / CONFIG).is_file()


@dataclass(frozen=True)
class ReproductionContext:
    """A running reproduction: paper, plan, images of each role, and output folder.

    ``data`` are the roles of rows with one split, ``crossed`` those of rows that are cross-validated.
    """

    paper: Paper
    plan: ReproductionPlan
    data: Mapping[str, RoleData]
    folder: ReproductionFolder
    crossed: Mapping[str, CrossValidatedRole] = field(default_factory=dict)


RANDOM_START = "random initialization"
CACHED_SHARE = 0.08  # of a step, if encoder outputs are cached
CROSSED_SHARE = 0.5  # maximum share of the time if there are also rows with one split


@dataclass(frozen=True)
class ReproductionImages:
    """The images of each role: those of rows with one split, and those of rows that are cross-validated."""

    split: Mapping[str, RoleData]
    crossed: Mapping[str, CrossValidatedRole] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of images that are decoded at least once."""
        whole = sum(each.training + each.test for each in self.split.values())
        return whole + sum(each.images for each in self.crossed.values())


@dataclass(frozen=True)
class TrainingPace:
    """Minimum time of a training step with a number of images, and the number of threads (None: on a GPU)."""

    cost: StepCost
    images: int
    threads: int | None = None


@dataclass(frozen=True)
class RowCandidate:
    """A row that can run: number of test images and, if it is trained, of training images, recipe and measured time.

    For a cross-validated row these are the images of one fold.
    """

    row: Row
    judged: int
    learn: int = 0
    tuning: int = 0
    recipe: TrainRecipe | None = None
    pace: TrainingPace | None = None
    folds: int = 0  # of a cross-validation: each is trained and evaluated with the epochs of the recipe
    times: float = 1.0  # cost of a step relative to one with labeled images only
    central: bool = False  # whether it belongs to the paper's main comparison

    def cost(self, images: int | None) -> RowCost:
        """Return the time of the row for a maximum number of images."""
        if self.pace is None:
            return RowCost(max(1, self.folds) * self.judged * self.judge_s + (0 if self.folds else START_S), 0.0, 0)
        learn, tuning, step, batch = self.learn, self.tuning, self.pace.cost, self.pace.images
        if images is not None and images < learn + tuning:
            tuning = max(1, round(tuning * images / (learn + tuning)))
            learn = images - tuning
        steps, tuning_s = max(1, learn // batch), tuning * step.forward_s
        runs = max(1, self.folds)
        return RowCost(
            fixed=runs * (START_S + tuning_s + self.judged * (step.forward_s + self.judge_s)),
            epoch=runs * (self.times * steps * (min(batch, learn) * step.image_s + step.update_s) + tuning_s),
            steps=steps,
        )

    @property
    def judge_s(self) -> float:
        """Time to read a test image, and its mask if the row compares or predicts it."""
        has_masks = self.row.kind.needs_masks or self.row.file.masks == "predicted"
        return ENCODE_S if self.folds and not has_masks else JUDGE_S

    @property
    def seconds(self) -> float:
        """Time of a cross-validated row, with the epochs of its recipe."""
        cost = self.cost(None)
        return cost.fixed + cost.epoch * (self.recipe.epochs if self.recipe else 0)


@dataclass(frozen=True)
class BudgetSize:
    """Training of every row: optimizer steps, maximum number of images (None: all), and rows that wait."""

    steps: int
    images: int | None
    waiting: tuple[str, ...] = ()


def complete_plan(
    draft: ReproductionPlan,
    rows: Sequence[Row],
    data: ReproductionImages,
    faults: Mapping[str, str],
    run: RunContext,
) -> ReproductionPlan:
    """Complete a plan with the rows that can run; the others are listed in ``left_out``.

    ``faults`` are the rows whose images cannot be used, with reasons.
    """
    began, size = time.monotonic(), None
    candidates, left_out = _candidates(draft, rows, data, faults, run)
    more: dict[str, Any] = {}
    if draft.minutes is not None:
        candidates, faults = _measure_candidates(candidates, 60 * draft.minutes, run)
        left_out |= faults
        spent = time.monotonic() - began + ENCODE_S * data.count
        size, notices = _choose_budget(candidates, draft.minutes, spent)
        more = {"planning_s": round(spent, 1), "images": size.images, "late": tuple(notices)}
    planned = (_plan_row(one, size, draft.budget, _describe_start(draft, one)) for one in candidates)
    more |= {"rows": tuple(planned), "left_out": left_out}
    return draft.model_copy(update=more)


def _candidates(
    draft: ReproductionPlan, rows: Sequence[Row], data: ReproductionImages, faults: Mapping[str, str], run: RunContext
) -> tuple[list[RowCandidate], dict[str, str]]:
    """Find the rows that can run, and the reasons why others cannot."""
    found, left_out = list[RowCandidate](), dict(faults)
    central = read_paper(draft.paper).central
    for row in rows:
        run.check()
        if row.name in faults:
            continue
        try:
            if why := _beyond_budget(draft, row) or _without_weights(draft, row) or _without_row(row, left_out):
                left_out[row.name] = why
            else:
                found.append(replace(_candidate(draft, row, data), central=row.name in central))
        except MelanomaError as error:
            left_out[row.name] = str(error)
    return found, left_out


def _beyond_budget(draft: ReproductionPlan, row: Row) -> str | None:
    """Return the reason if only the full budget has a draw of a random search."""
    return "a further draw, for the full budget" if row.full_only and draft.budget == "small" else None


def _without_weights(draft: ReproductionPlan, row: Row) -> str | None:
    """Return the reason if a row of a grid starts from weights that the user has not provided."""
    start, known = row.values[draft.budget].get("model", {}).get("start"), read_paper(draft.paper).file.weights
    if not row.grid or row.file.learn is None or start not in known or start in draft.weights:
        return None
    return f"needs {known[start].title}: get {known[start].where} and name it with --weights {start}=FILE"


def _without_row(row: Row, left_out: Mapping[str, str]) -> str | None:
    """Return the reason if a row needs one that cannot run."""
    without = [name for name in row.file.needs if name in left_out]
    return f"needs the row '{without[0]}', which cannot run" if without else None


def _candidate(draft: ReproductionPlan, row: Row, data: ReproductionImages) -> RowCandidate:
    """Count the images of a row and complete its recipe; a network without parameters is not trained."""
    from napari_melanoma.models.zoo import count_parameters

    if row.kind.crossed:
        return _crossed_candidate(draft, row, data.crossed)
    judged = data.split[row.file.judged].test
    if row.file.learn is None:
        return RowCandidate(row, judged)
    learn = data.split[row.file.learn].training
    tuning = _tuning(row, learn)
    recipe = row.recipe(draft.budget, data={"datasets": ["any"]}, model={"start": "none"})
    learns = count_parameters(recipe.model.architecture, recipe.model.options) > 0
    if not recipe.data.tuning_fraction:  # the test images are monitored
        return RowCandidate(row, judged, learn, judged, recipe if learns else None)
    return RowCandidate(row, judged, learn - tuning, tuning, recipe if learns else None)


def _tuning(row: Row, learn: int) -> int:
    """Count the images of the validation set."""
    return max(1, round(row.values["full"].get("data", {}).get("tuning_fraction", 0.1) * learn))


def _crossed_candidate(draft: ReproductionPlan, row: Row, data: Mapping[str, CrossValidatedRole]) -> RowCandidate:
    """Count the images of a fold of a row and complete its recipe; rows without a network are not trained."""
    from napari_melanoma.training.tasks.task import has_constant_inputs

    file, folds = row.file, read_paper(draft.paper).file.folds
    judged = round(sum(data[role].images / folds + data[role].untouched for role in file.judges))
    if not file.learn or file.answers != "network":
        return RowCandidate(row, judged, folds=folds)
    learn = round(sum(data[role].images for role in file.learns) * (folds - 1) / folds)
    tuning = _tuning(row, learn)
    recipe = row.recipe(draft.budget, data={"datasets": ["any"]}, model={"start": "none"})
    if row.kind.needs_masks and draft.budget == "small":
        steps = max(1, (learn - tuning) // _images_per_step(recipe))
        recipe = recipe.model_copy(update={"epochs": max(recipe.epochs, math.ceil(MIN_STEPS / steps))})
    adaptation = recipe.classification.adaptation if recipe.classification else None
    beside = adaptation is not None and adaptation.method in ("adversarial", "coral", "pseudo_labels")
    looks = (1 + recipe.augmentation.flip) / (recipe.epochs * folds)  # each image once, also flipped, in all folds
    times = CACHED_SHARE + looks if has_constant_inputs(recipe) else 1.0 + beside
    return RowCandidate(row, judged, learn - tuning, tuning, recipe, folds=folds, times=times)


def _measure_candidates(
    candidates: Sequence[RowCandidate], seconds: float, run: RunContext
) -> tuple[list[RowCandidate], dict[str, str]]:
    """Measure all trained rows; leave out those that cannot be measured, and those that need them."""
    paces, faults = measure_paces({one.row.name: one.recipe for one in candidates if one.recipe}, seconds, run)
    for one in candidates:
        if why := _without_row(one.row, faults):
            faults[one.row.name] = why
    return [replace(one, pace=paces.get(one.row.name)) for one in candidates if one.row.name not in faults], faults


def _choose_budget(candidates: Sequence[RowCandidate], minutes: float, spent: float) -> tuple[BudgetSize, list[str]]:
    """Choose the amount of training, and the rows for which there is no time; an error if there is none for any."""
    seconds = SHARE * 60 * minutes - TABLES_S - spent
    crossed = [one for one in candidates if one.folds]
    candidates = [one for one in candidates if not one.folds]
    late = waiting_rows(crossed, seconds * (CROSSED_SHARE if any(one.pace for one in candidates) else 1))
    seconds -= sum(one.seconds for one in crossed if one.row.name not in late)
    size, notices = (
        _choose_split_budget(candidates, minutes, seconds, spent) if candidates else (BudgetSize(0, None), [])
    )
    if not late:
        return size, notices
    whole = math.ceil((sum(one.seconds for one in crossed) + TABLES_S + spent) / SHARE / 60)
    notice = (
        f"Not all cross-validated rows fit into the time: {', '.join(late)} run only if the others leave time. All "
        f"of them need about {whole} min on this machine."
    )
    return replace(size, waiting=(*size.waiting, *late)), [*notices, notice]


def _choose_split_budget(
    candidates: Sequence[RowCandidate], minutes: float, seconds: float, spent: float
) -> tuple[BudgetSize, list[str]]:
    """Choose the same number of steps for all rows with one split."""
    size = choose_size(candidates, seconds)
    if size and not size.waiting:
        return size, []
    needed, least = needed_minutes(candidates, spent), MIN_STEPS
    if size is None:
        raise RunError(
            f"{minutes:g} min are too short for any row: each needs at least {least} steps. All of them need "
            f"about {needed} min on this machine: --minutes {needed}, or fewer --rows."
        )
    notice = (
        f"Not all rows can be trained for {least} steps in {minutes:g} min: {', '.join(size.waiting)} "
        f"{'runs' if len(size.waiting) == 1 else 'run'} only if the others leave time. All rows need about "
        f"{needed} min on this machine: --minutes {needed}."
    )
    return size, [notice]


def _describe_start(draft: ReproductionPlan, candidate: RowCandidate) -> str:
    """Describe what the training of a row starts from; empty without training."""
    row, known = candidate.row, read_paper(draft.paper).file.weights
    if candidate.recipe is None:
        return ""
    if row.file.start_of:
        return f"the model of {row.file.start_of}"
    model = row.values[draft.budget].get("model", {})
    start: str = model.get("start", "none")
    if start in known and start not in draft.weights:
        return f"{RANDOM_START} instead of {known[start].title} (--weights {start}=FILE)"
    if start in known:
        return known[start].title
    if start == "imagenet":
        return f"ImageNet weights of {model.get('options', {}).get('encoder', 'the encoder')}"
    return RANDOM_START if start == "none" else f"the model {start}"


def _plan_row(candidate: RowCandidate, size: BudgetSize | None, budget: Budget, start: str) -> PlannedRow:
    """Plan the training of a row."""
    from napari_melanoma.models.zoo import count_parameters

    row, recipe, pace = candidate.row, candidate.recipe, candidate.pace
    about: dict[str, Any] = {"name": row.name, "recipe": row.digest(budget), "start": start}
    if recipe is not None:
        whole = row.values["full"]["model"]
        about["parameters"] = count_parameters(recipe.model.architecture, recipe.model.options)
        about["whole_parameters"] = count_parameters(whole["architecture"], whole.get("options", {}))
    if size is None:
        return PlannedRow(**about)
    cost = candidate.cost(None if candidate.folds else size.images)
    about |= {"fixed_s": round(cost.fixed, 2), "epoch_s": round(cost.epoch, 2), "waits": row.name in size.waiting}
    if pace is not None:
        epochs = recipe.epochs if candidate.folds and recipe else cost.epochs(size.steps)
        image_ms = round(1000 * pace.cost.image_s, 2)
        about |= {"steps": cost.steps, "epochs": epochs, "image_ms": image_ms, "threads": pace.threads}
    return PlannedRow(**about)


ROUNDS = 3  # over all networks, so that the measurements of each are spread in time
ROUNDS_SHARE = 0.03  # of the available time: no further round starts after it


def measure_paces(
    recipes: Mapping[str, TrainRecipe], seconds: float, run: RunContext
) -> tuple[dict[str, TrainingPace], dict[str, str]]:
    """Measure each distinct network several times, with one thread and with all, and keep the fastest.

    Small steps are often faster with one thread, especially if other programs are running.
    """
    keys = {name: _key(recipe) for name, recipe in recipes.items()}
    distinct = {keys[name]: recipe for name, recipe in recipes.items()}
    found: dict[str, dict[int | None, StepCost]] = {key: {} for key in distinct}
    faults: dict[str, str] = {}
    began = time.monotonic()
    for turn in range(ROUNDS):
        if turn and time.monotonic() - began > ROUNDS_SHARE * seconds:
            break
        for key, recipe in run.track(list(distinct.items()), "Measuring a step of each network"):
            try:
                _measure(recipe, found[key])
            except MelanomaError as error:
                faults[key] = str(error)
    paces = {name: _quickest(recipes[name], found[key]) for name, key in keys.items() if key not in faults}
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


def _key(recipe: TrainRecipe) -> str:
    """Identify recipes whose steps may take different times."""
    parts = {"model", "loss", "optimiser", "augmentation", "batch_size", "precision", "device"}
    return recipe.model_dump_json(include=parts)


def _measure(recipe: TrainRecipe, found: dict[int | None, StepCost]) -> None:
    """Measure a network with one thread and with all, and keep the minimum times."""
    import torch

    from napari_melanoma.training.engine import accelerator
    from napari_melanoma.training.step_time import measure_step

    choices = {1, torch.get_num_threads()} if accelerator(recipe) == "cpu" else {None}
    for threads in choices:
        with use_threads(threads):
            cost = measure_step(recipe)
        known = found.get(threads, cost)
        least = {name: min(getattr(cost, name), getattr(known, name)) for name in ("image_s", "update_s", "forward_s")}
        found[threads] = replace(cost, **least)


def _images_per_step(recipe: TrainRecipe) -> int:
    """Return the batch size, which the recipes of papers set."""
    return recipe.batch_size if isinstance(recipe.batch_size, int) else 16


def _quickest(recipe: TrainRecipe, found: Mapping[int | None, StepCost]) -> TrainingPace:
    """Choose the fastest number of threads."""
    images = _images_per_step(recipe)
    threads = min(found, key=lambda one: images * found[one].image_s + found[one].update_s)
    return TrainingPace(found[threads], images, threads)


# Measured on two cores: what a row costs besides its steps.
START_S = 6.0  # network, optimizer, threshold, bundle
JUDGE_S = 0.06  # reading a held-out image and its mask, and comparing
ENCODE_S = 0.02  # decoding an image for the first row that is trained on it
TABLES_S = 20.0  # figures and tables at the end
SHARE = 0.75  # of the time is planned, since steps take longer if other programs are running
# With fewer steps a network from nothing finds no lesion: the statistics of normalisation are still those of its start.
MIN_STEPS = 300
MIN_EPOCHS = 4  # needed to choose the best epoch; rather use fewer images
IMAGE_LIMITS = (None, 4000, 2000, 1000, 500, 250)


@dataclass(frozen=True)
class RowCost:
    """Seconds of a row: fixed, per epoch, and the number of steps per epoch (0: no training)."""

    fixed: float
    epoch: float
    steps: int

    def epochs(self, steps: int) -> int:
        """Return the number of whole epochs for a number of steps, at least 1 if the row is trained."""
        return max(1, math.ceil(steps / self.steps)) if self.steps else 0

    def seconds(self, steps: int) -> float:
        """Return the total time for a number of steps."""
        return self.fixed + self.epoch * self.epochs(steps)


def choose_size(candidates: Sequence[RowCandidate], seconds: float) -> BudgetSize | None:
    """Choose the steps, a limit of images if there would be too few epochs, and the rows that wait.

    The same for every row; None if the time is too short even for the fastest row.
    """
    waiting: set[str] = set()
    while True:
        going = [one for one in candidates if one.row.name not in waiting]
        learning = [one for one in going if one.pace]
        if not learning:
            return None if waiting else BudgetSize(0, None)
        for images in IMAGE_LIMITS:
            costs = [one.cost(images) for one in going]
            most = min(one.recipe.epochs * one.cost(images).steps for one in learning if one.recipe)
            steps = steps_that_fit(costs, seconds, max(MIN_STEPS, most))
            fewest = min(cost.epochs(steps) for cost in costs if cost.steps)
            if steps >= MIN_STEPS and (fewest >= MIN_EPOCHS or images == IMAGE_LIMITS[-1]):
                return BudgetSize(steps, images, tuple(one.row.name for one in candidates if one.row.name in waiting))
        least = {one.row.name: one.cost(IMAGE_LIMITS[-1]).seconds(MIN_STEPS) for one in learning}
        waiting.add(_most_dispensable(learning, least, seconds))
        for one in going:  # rows that need a waiting row wait as well
            if waiting.intersection(one.row.file.needs):
                waiting.add(one.row.name)


def waiting_rows(candidates: Sequence[RowCandidate], seconds: float) -> tuple[str, ...]:
    """Choose the cross-validated rows that wait, and those that need them; in the paper's order."""
    waiting: set[str] = set()
    while True:
        going = [one for one in candidates if one.row.name not in waiting]
        if sum(one.seconds for one in going) <= seconds or not going:
            return tuple(one.row.name for one in candidates if one.row.name in waiting)
        waiting.add(_most_dispensable(going, {one.row.name: one.seconds for one in going}, seconds))
        for one in going:
            if waiting.intersection(one.row.file.needs):
                waiting.add(one.row.name)


def _most_dispensable(candidates: Sequence[RowCandidate], costs: Mapping[str, float], seconds: float) -> str:
    """Choose the row that waits next: the slowest and last one.

    Those of the main comparison wait after all others if there is time for them.
    """
    protects = sum(costs[one.row.name] for one in candidates if one.central) <= seconds
    return max(reversed(candidates), key=lambda one: (not (protects and one.central), costs[one.row.name])).row.name


def steps_that_fit(costs: Sequence[RowCost], seconds: float, most: int) -> int:
    """Return the number of steps for which all rows can be trained in a time; 0 if none."""
    whole = bisect_right(range(most + 1), seconds, key=lambda steps: sum(cost.seconds(steps) for cost in costs))
    return max(0, whole - 1)


def needed_minutes(candidates: Iterable[RowCandidate], spent: float) -> int:
    """Return the minutes that all rows need for the minimum training; ``spent``: seconds already used."""
    seconds = sum(one.cost(IMAGE_LIMITS[-1]).seconds(MIN_STEPS) for one in candidates) + TABLES_S + spent
    return math.ceil(seconds / SHARE / 60) + 1  # measurements vary

"""The plan of a reproduction, the paths in its folder, and how the plan is made: which rows run, and for how long."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError, RunError
from napari_melanoma.core.formatting import format_duration
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.extensions.papers.budget import (
    CPU,
    ENCODE_S,
    MIN_STEPS,
    SHARE,
    TABLES_S,
    FittedRows,
    RowCandidate,
    explain_missing_need,
    fit_rows,
    forecast_rows,
    images_per_step,
    measure_candidates,
    measure_paces,
    needed_minutes,
)
from napari_melanoma.extensions.papers.papers import Budget, Paper, Row, read_paper
from napari_melanoma.extensions.papers.split import CrossValidatedRole, RoleData
from napari_melanoma.models.bundle import CONFIG


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
    input_size: int | None = Field(None, description="side of smaller images in pixels; none: that of the recipe")
    device: str | None = Field(None, description="on which a step was measured")
    memory_mb: int | None = Field(None, description="estimated, of a training step, with the libraries")
    cpu_s: float | None = Field(None, description="estimated time on the CPU, if a GPU is used")
    parameters: int | None = Field(None, description="of the network that is trained")
    whole_parameters: int | None = Field(None, description="of the network that the full budget trains")

    @property
    def seconds(self) -> float | None:
        """Estimated time; None if it was not measured."""
        if self.fixed_s is None or self.epoch_s is None:
            return None
        return self.fixed_s + self.epoch_s * (self.epochs or 0)


class ReproductionPlan(Config):
    """The plan of a reproduction, which is stored in its folder and used again when it is resumed."""

    format_version: int = 1
    paper: str
    budget: Budget
    minutes: float | None = None
    planning_s: float = Field(0.0, description="used for planning: checking the data, measurements, reading images")
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

    def folders_of(self, paper: Paper, *, cross_validated: bool) -> dict[str, tuple[Path, ...]]:
        """Return role to data sets, for the roles of cross-validated rows or of rows with one split."""
        rows = [paper.rows[name] for name in self.by_name]
        roles = {role for row in rows if row.kind.cross_validated == cross_validated for role in row.file.roles}
        return {role: folders for role, folders in self.folders.items() if role in roles}

    @property
    def seconds(self) -> float | None:
        """Estimated time of all rows that do not wait, in seconds; None if it was not measured."""
        known = [row.seconds for row in self.rows if not row.waits]
        return None if None in known else sum(seconds or 0.0 for seconds in known)

    @property
    def by_name(self) -> dict[str, PlannedRow]:
        """The planned rows by name."""
        return {row.name: row for row in self.rows}

    def ordered_rows(self, paper: Paper) -> list[PlannedRow]:
        """Return the rows in the order in which they run, each after those that it needs.

        The main comparison comes first, then the other rows, then waiting rows by their time.
        """
        waiting = {row.name: row for row in self.rows if row.waits}

        def total_seconds(name: str) -> float:
            needed = [other for other in paper.rows[name].file.needs if other in waiting]
            return (waiting[name].seconds or 0.0) + sum(map(total_seconds, needed))

        scheduled = sorted((row for row in self.rows if not row.waits), key=lambda row: row.name not in paper.central)
        return [*scheduled, *sorted(waiting.values(), key=lambda row: total_seconds(row.name))]

    @property
    def sentence(self) -> str:
        """One sentence on rows, data and estimated time."""
        data = ", ".join(f"{role}={folder}" for role, folders in self.data.items() for folder in folders)
        named = {"labels": self.labels, "weights": self.weights}
        files = "".join(f", {kind} {name}={file}" for kind, paths in named.items() for name, file in paths.items())
        epochs = sorted({row.epochs for row in self.rows if row.epochs})
        steps = max((row.steps * row.epochs for row in self.rows if row.steps and row.epochs), default=0)
        training = f", {'/'.join(map(str, epochs))} epochs (up to {steps} steps)" if epochs else ""
        time = "" if self.seconds is None else f", about {format_duration(self.seconds)}"
        limit = "" if self.minutes is None else f" of at most {self.minutes:g} min"
        return f"{len(self.rows)} rows of {self.paper}, data {data}{files}{training}{time}{limit}."


PER_IMAGE, EVALUATION, PICTURES = "per_image.csv", "evaluation.json", "pictures"


@dataclass(frozen=True)
class ReproductionFolder:
    """Paths in the folder of a reproduction; they may not exist yet."""

    out: Path

    @property
    def plan(self) -> Path:
        return self.out / "reproduction.json"

    @property
    def data(self) -> Path:
        """The tables of the split."""
        return self.out / "data"

    @property
    def cross_validated(self) -> Path:
        """The tables of the folds."""
        return self.out / "folds"

    @property
    def figures(self) -> Path:
        return self.out / "figures"

    @property
    def photographs(self) -> Path:
        """Thumbnails of the images for which predictions are shown."""
        return self.figures / "photographs"

    def row(self, name: str) -> RowFolder:
        """Return the paths of a row."""
        return RowFolder(self.out, name)


@dataclass(frozen=True)
class RowFolder:
    """Paths of a row in the folder of a reproduction; they may not exist yet."""

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
        """Return the paths of a fold."""
        return FoldFolder(self, number)

    @property
    def runs(self) -> tuple[RunFolder, ...]:
        """The run folders of its training, or of the folds that have begun."""
        if self.run.config.exists():
            return (self.run,)
        return tuple(RunFolder(path.parent) for path in sorted(self.run.path.glob("fold-*/config.toml")))

    @property
    def has_begun(self) -> bool:
        """Whether its training has begun."""
        return bool(self.runs)

    @property
    def is_trained(self) -> bool:
        """Whether its model exists."""
        return (self.run.bundle / CONFIG).is_file()

    @property
    def evaluated(self) -> Path:
        """The results of its evaluation; complete if it exists."""
        return self.out / "evaluated" / self.name

    @property
    def per_image(self) -> Path:
        """Results of each image."""
        return self.evaluated / PER_IMAGE

    @property
    def evaluation(self) -> Path:
        """Results that apply to all images."""
        return self.evaluated / EVALUATION

    @property
    def pictures(self) -> Path:
        """Pictures of its predictions on a few images."""
        return self.evaluated / PICTURES


@dataclass(frozen=True)
class FoldFolder:
    """Paths of a fold of a cross-validated row; they may not exist yet."""

    row: RowFolder
    number: int

    @property
    def run(self) -> RunFolder:
        """The run folder of its training."""
        return RunFolder(self.row.run.path / f"fold-{self.number}")

    @property
    def recipe(self) -> Path:
        """Its complete recipe; the file of the first fold is also the recipe of the row."""
        whole = self.row.recipe
        return whole if self.number == 1 else whole.with_stem(f"{whole.stem}-fold-{self.number}")

    @property
    def evaluated(self) -> Path:
        """Predictions of its network on the test images; complete if it exists."""
        return self.row.run.path / f"evaluated-{self.number}"

    @property
    def has_begun(self) -> bool:
        """Whether its training has begun."""
        return self.run.config.exists()

    @property
    def is_trained(self) -> bool:
        """Whether its model exists."""
        return (self.run.bundle / CONFIG).is_file()


@dataclass(frozen=True)
class ReproductionContext:
    """A running reproduction: paper, plan, images of each role, and output folder.

    ``data``: the roles of rows with one split. ``cross_validated``: the roles of cross-validated rows.
    """

    paper: Paper
    plan: ReproductionPlan
    data: Mapping[str, RoleData]
    folder: ReproductionFolder
    cross_validated: Mapping[str, CrossValidatedRole] = field(default_factory=dict)


RANDOM_START = "random initialization"
# Placeholders that complete a recipe which is only measured.
ANY_DATA = {"data": {"datasets": ["any"]}, "model": {"start": "none"}}
CACHED_SHARE = 0.08  # cost of a step with cached outputs of the encoder, relative to a whole step
AUGMENTED_SHARE = 0.07  # additional cost if images are augmented in each epoch, relative to a whole step


@dataclass(frozen=True)
class ReproductionImages:
    """The images of each role: those of rows with one split, and those of rows that are cross-validated."""

    split: Mapping[str, RoleData]
    cross_validated: Mapping[str, CrossValidatedRole] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of images that are decoded at least once."""
        count = sum(role.training + role.test for role in self.split.values())
        return count + sum(role.images for role in self.cross_validated.values())


def complete_plan(
    draft: ReproductionPlan,
    rows: Sequence[Row],
    data: ReproductionImages,
    faults: Mapping[str, str],
    run: RunContext,
    *,
    forecast: bool = False,
) -> ReproductionPlan:
    """Complete a plan with the rows that can run; the others are listed in ``left_out``.

    ``faults``: the rows whose images cannot be used, with reasons. ``draft.planning_s``: the time already used.
    ``forecast``: estimate time and memory, also without a time limit, from one measured step of each network.
    """
    began = time.monotonic() - draft.planning_s
    candidates, left_out = _collect_candidates(draft, rows, data, faults, run)
    if draft.minutes is None:
        measured_rows = forecast_rows(candidates, run) if forecast else FittedRows(candidates, None)
        planned = [_plan_row(draft, one, measured_rows) for one in measured_rows.candidates]
        notices = (*draft.notices, *_forecast_notices(planned))
        values: dict[str, Any] = {
            "rows": tuple(planned),
            "left_out": left_out | dict(measured_rows.faults),
            "notices": notices,
        }
        return draft.model_copy(update=values)
    decoding_s = ENCODE_S * data.count if any(one.recipe for one in candidates) else 0.0
    cross_validated, split = fitted = _fit_budget(draft, candidates, began - decoding_s, run, forecast=forecast)
    spent = time.monotonic() - began
    rows_of = {one.row.name: _plan_row(draft, one, group) for group in fitted for one in group.candidates}
    values = {
        "rows": tuple(rows_of[one.row.name] for one in candidates if one.row.name in rows_of),
        "left_out": left_out | dict(cross_validated.faults) | dict(split.faults),
        "planning_s": round(spent, 1),
        "images": split.budget.images if split.budget else None,
        "notices": (
            *draft.notices,
            *_smaller_notices(draft, fitted),
            *(_forecast_notices(rows_of.values()) if forecast else ()),
        ),
        "late": tuple(_late_notices(cross_validated, split, draft.minutes, spent)),
    }
    return draft.model_copy(update=values)


def _collect_candidates(
    draft: ReproductionPlan, rows: Sequence[Row], data: ReproductionImages, faults: Mapping[str, str], run: RunContext
) -> tuple[list[RowCandidate], dict[str, str]]:
    """Return the rows that can run, and the names of the others with the reasons."""
    candidates, left_out = list[RowCandidate](), dict(faults)
    central = read_paper(draft.paper).central
    for row in rows:
        run.check()
        if row.name in faults:
            continue
        try:
            if (
                reason := _explain_beyond_budget(draft, row)
                or _explain_missing_weights(draft, row)
                or explain_missing_need(row, left_out)
            ):
                left_out[row.name] = reason
            else:
                candidates.append(replace(_make_candidate(draft, row, data), central=row.name in central))
        except MelanomaError as error:
            left_out[row.name] = str(error)
    return candidates, left_out


def _explain_beyond_budget(draft: ReproductionPlan, row: Row) -> str | None:
    """Return why a row cannot run if it is a draw of a random search that only the full budget has; else None."""
    return "a further draw, for the full budget" if row.full_only and draft.budget == "small" else None


def _explain_missing_weights(draft: ReproductionPlan, row: Row) -> str | None:
    """Return why a row of a grid cannot run if the user has not provided its initial weights; else None."""
    start, weights = row.values[draft.budget].get("model", {}).get("start"), read_paper(draft.paper).file.weights
    if not row.grid or row.file.train is None or start not in weights or start in draft.weights:
        return None
    return f"needs {weights[start].title}: get {weights[start].where} and name it with --weights {start}=FILE"


def _make_candidate(draft: ReproductionPlan, row: Row, data: ReproductionImages) -> RowCandidate:
    """Count the images of a row and complete its recipe; a network without parameters is not trained."""
    from napari_melanoma.models.zoo import count_parameters

    if row.kind.cross_validated:
        return _make_cross_validated_candidate(draft, row, data.cross_validated)
    evaluated = data.split[row.file.evaluated].test
    if row.file.train is None:
        return RowCandidate(row, evaluated)
    train = data.split[row.file.train].training
    validation = _count_validation_images(row, train)
    recipe = row.recipe(draft.budget, **ANY_DATA)
    is_trained = count_parameters(recipe.model.architecture, recipe.model.options) > 0
    if not recipe.data.validation_fraction:  # the test images are monitored
        return RowCandidate(row, evaluated, train, evaluated, recipe if is_trained else None)
    return RowCandidate(row, evaluated, train - validation, validation, recipe if is_trained else None)


def _count_validation_images(row: Row, train: int) -> int:
    """Return how many of ``train`` images are used for validation."""
    return max(1, round(row.values["full"].get("data", {}).get("validation_fraction", 0.1) * train))


def _make_cross_validated_candidate(
    draft: ReproductionPlan, row: Row, data: Mapping[str, CrossValidatedRole]
) -> RowCandidate:
    """Count the images of a fold of a row and complete its recipe; rows without a network are not trained."""
    from napari_melanoma.training.tasks.task import count_encoder_inputs

    file, folds = row.file, read_paper(draft.paper).file.folds
    evaluated = round(sum(data[role].images / folds + data[role].untouched for role in file.evaluation_roles))
    if not file.train or file.predictor != "network":
        return RowCandidate(row, evaluated, folds=folds, once_s=_feature_seconds(row, data))
    train = round(sum(data[role].images for role in file.train_roles) * (folds - 1) / folds)
    validation = _count_validation_images(row, train)
    recipe = row.recipe(draft.budget, **ANY_DATA)
    if row.kind.needs_masks and draft.budget == "small":
        steps = max(1, (train - validation) // images_per_step(recipe))
        recipe = recipe.model_copy(update={"epochs": max(recipe.epochs, math.ceil(MIN_STEPS / steps))})
    adaptation = recipe.classification.adaptation if recipe.classification else None
    trains_on_two_sets = adaptation is not None and adaptation.method in ("adversarial", "coral", "pseudo_labels")
    if inputs := count_encoder_inputs(recipe):  # each is encoded once for all epochs and folds
        share = CACHED_SHARE if recipe.augmentation.is_off else CACHED_SHARE + AUGMENTED_SHARE
        step_factor = share + inputs / (recipe.epochs * folds)
    else:
        step_factor = 1.0 + trains_on_two_sets
    return RowCandidate(row, evaluated, train - validation, validation, recipe, folds=folds, step_factor=step_factor)


def _fit_budget(
    draft: ReproductionPlan, candidates: Sequence[RowCandidate], began: float, run: RunContext, *, forecast: bool
) -> tuple[FittedRows, FittedRows]:
    """Fit the cross-validated rows, and those with one split, into the time limit.

    ``began``: start of the planning on the monotonic clock, from which the time of decoding is already subtracted.
    """
    assert draft.minutes is not None
    limit = 60 * draft.minutes
    smaller = read_paper(draft.paper).file.smaller_sizes if draft.budget == "small" else ()

    measured_s = limit / (1 + len(smaller))
    find_paces = partial(measure_paces, seconds=0.0 if forecast else measured_s, run=run)

    def remaining_seconds() -> float:
        return SHARE * limit - TABLES_S - (time.monotonic() - began)

    crossing, splitting = ([one for one in candidates if bool(one.folds) is folds] for folds in (True, False))
    return fit_rows(crossing, splitting, smaller, partial(measure_candidates, find_paces=find_paces), remaining_seconds)


def _forecast_notices(rows: Iterable[PlannedRow]) -> Iterator[str]:
    """State how time and memory were estimated."""
    devices = {row.device for row in rows if row.device}
    if not devices:
        return
    yield (
        "Time and memory are estimated from one measured step of each network. Images are those of the tables: "
        "duplicates are found when the run begins."
    )
    if devices == {CPU}:
        yield "A GPU needs about as much memory: parameters, gradients, optimizer, activations and libraries."


def _feature_seconds(row: Row, data: Mapping[str, CrossValidatedRole]) -> float:
    """Estimate the seconds to measure the features of all images of a row; 0 for a row that uses no features."""
    from napari_melanoma.extensions.papers.image_features import time_features

    if row.file.predictor != "features":
        return 0.0
    roles = [data[role] for role in row.file.roles]
    return sum((role.images + role.untouched) * time_features(role.folders(1)) for role in roles)


def _smaller_notices(draft: ReproductionPlan, fitted: Iterable[FittedRows]) -> Iterator[str]:
    """State which rows have smaller images than in their recipes."""
    for group in fitted:
        sizes = [one.row.recipe(draft.budget, **ANY_DATA).model.input_size for one in group.candidates if one.recipe]
        if group.input_size is not None and sizes:
            which = "Cross-validated rows" if group.candidates[0].folds else "Rows with one split"
            yield (
                f"{which} have images of {group.input_size} pixels instead of {max(sizes)}, the same for all: with "
                "larger ones, fewer rows would fit into the time."
            )


def _late_notices(cross_validated: FittedRows, split: FittedRows, minutes: float, spent: float) -> Iterator[str]:
    """State which rows wait, and how much time all rows need; raise an error if there is no time for any row."""
    needed = needed_minutes(split.candidates, spent + sum(one.seconds for one in cross_validated.candidates))
    candidates = [*cross_validated.candidates, *split.candidates]
    if candidates and not cross_validated.scheduled and not split.scheduled:
        steps = f": those with one split need at least {MIN_STEPS} steps each" if split.candidates else ""
        raise RunError(
            f"{minutes:g} min are too short for any row{steps}. All rows need about {needed} min on this machine: "
            f"--minutes {needed}, or fewer --rows."
        )
    scheduled = {one.row.name for one in (*cross_validated.scheduled, *split.scheduled)}
    if waiting := [one.row.name for one in candidates if one.row.name not in scheduled]:
        verb = "runs" if len(waiting) == 1 else "run"
        yield (
            f"Not all rows fit into {minutes:g} min: {', '.join(waiting)} {verb} only if the others leave time. "
            f"All rows need about {needed} min on this machine: --minutes {needed}."
        )


def _describe_start(draft: ReproductionPlan, candidate: RowCandidate) -> str:
    """Describe what the training of a row starts from; "" without training."""
    row, weights = candidate.row, read_paper(draft.paper).file.weights
    if candidate.recipe is None:
        return ""
    if row.file.start_of:
        return f"the model of {row.file.start_of}"
    model = row.values[draft.budget].get("model", {})
    start: str = model.get("start", "none")
    if start in weights and start not in draft.weights:
        return f"{RANDOM_START} instead of {weights[start].title} (--weights {start}=FILE)"
    if start in weights:
        return weights[start].title
    if start == "imagenet":
        return f"ImageNet weights of {model.get('options', {}).get('encoder', 'the encoder')}"
    return RANDOM_START if start == "none" else f"the model {start}"


def _plan_row(draft: ReproductionPlan, candidate: RowCandidate, fitted: FittedRows) -> PlannedRow:
    """Describe a row in the plan, with its training if the row was measured."""
    from napari_melanoma.models.zoo import count_parameters

    row, recipe, pace = candidate.row, candidate.recipe, candidate.pace
    start = _describe_start(draft, candidate)
    about: dict[str, Any] = {"name": row.name, "recipe": row.digest(draft.budget), "start": start}
    if recipe is not None:
        full_model = row.values["full"]["model"]
        about["parameters"] = count_parameters(recipe.model.architecture, recipe.model.options)
        about["whole_parameters"] = count_parameters(full_model["architecture"], full_model.get("options", {}))
    if fitted.budget is None:
        return PlannedRow(**about)
    size = fitted.budget
    cost = candidate.cost(None if candidate.folds else size.images)
    about |= {"fixed_s": round(cost.fixed, 2), "epoch_s": round(cost.epoch, 2), "waits": row.name in size.waiting}
    if pace is not None and recipe is not None:
        epochs = recipe.epochs if candidate.folds or size.steps is None else cost.epochs(size.steps)
        image_ms = round(1000 * pace.cost.image_s, 2)
        about |= {"steps": cost.steps, "epochs": epochs, "image_ms": image_ms, "threads": pace.threads}
        about |= {"input_size": fitted.input_size, "device": pace.cost.device}
        about["memory_mb"] = pace.cost.memory_mb(pace.images // recipe.accumulate_batches)
        if candidate.cpu_pace is not None:
            on_cpu = replace(candidate, pace=candidate.cpu_pace).cost(size.images)
            about["cpu_s"] = round(on_cpu.fixed + on_cpu.epoch * epochs, 1)
    return PlannedRow(**about)

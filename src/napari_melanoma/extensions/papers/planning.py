"""The plan of a reproduction: which rows run, with how many epochs; and the paths in its folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.extensions.papers.papers import BUDGETS, Budget, Paper, Row, read_paper
from napari_melanoma.extensions.papers.split import CrossValidatedRole, RoleData
from napari_melanoma.models.bundle import CONFIG
from napari_melanoma.training.recipe import TrainRecipe

PLAN_VERSION = 2


class PlannedRow(Config):
    """A row with its planned training."""

    name: str
    recipe: str = Field("", description="digest of its recipe; a folder with other recipes is not continued")
    steps: int | None = Field(None, description="of the optimizer per epoch; none: no training")
    epochs: int | None = Field(None, description="none: no training")
    start: str = Field("", description="initial weights in words; empty: no training")
    parameters: int | None = Field(None, description="of the network that is trained")


class ReproductionPlan(Config):
    """The plan of a reproduction, which is stored in its folder and used again when it is resumed."""

    format_version: int = PLAN_VERSION
    paper: str
    budget: Budget
    data: dict[str, tuple[str, ...]] = Field(description="role to folders")
    labels: dict[str, str] = Field(default_factory=dict, description="role to a table of labels")
    weights: dict[str, str] = Field(default_factory=dict)
    rows: tuple[PlannedRow, ...] = ()
    left_out: dict[str, str] = Field(default_factory=dict, description="rows that cannot run, with reasons")
    notices: tuple[str, ...] = ()

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
    def by_name(self) -> dict[str, PlannedRow]:
        """The planned rows by name."""
        return {row.name: row for row in self.rows}

    @property
    def sentence(self) -> str:
        """One sentence on rows, data and training."""
        data = ", ".join(f"{role}={folder}" for role, folders in self.data.items() for folder in folders)
        named = {"labels": self.labels, "weights": self.weights}
        files = "".join(f", {kind} {name}={file}" for kind, paths in named.items() for name, file in paths.items())
        epochs = sorted({row.epochs for row in self.rows if row.epochs})
        steps = max((row.steps * row.epochs for row in self.rows if row.steps and row.epochs), default=0)
        training = f", {'/'.join(map(str, epochs))} epochs (up to {steps} steps)" if epochs else ""
        return f"{len(self.rows)} rows of {self.paper}, data {data}{files}{training}."


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
# Placeholders that complete a recipe which is only described.
ANY_DATA = {"data": {"datasets": ["any"]}, "model": {"start": "none"}}


@dataclass(frozen=True)
class ReproductionImages:
    """The images of each role: those of rows with one split, and those of rows that are cross-validated."""

    split: Mapping[str, RoleData]
    cross_validated: Mapping[str, CrossValidatedRole] = field(default_factory=dict)


def complete_plan(
    draft: ReproductionPlan, rows: Sequence[Row], data: ReproductionImages, faults: Mapping[str, str], run: RunContext
) -> ReproductionPlan:
    """Complete a plan with the rows that can run; the others are listed in ``left_out``.

    ``faults``: the rows whose images cannot be used, with reasons.
    """
    planned, left_out = list[PlannedRow](), dict(faults)
    for row in rows:
        run.check()
        if row.name in faults:
            continue
        try:
            reason = (
                _explain_beyond_budget(draft, row)
                or _explain_missing_weights(draft, row)
                or _explain_missing_need(row, left_out)
            )
            if reason:
                left_out[row.name] = reason
            else:
                planned.append(_plan_row(draft, row, data))
        except MelanomaError as error:
            left_out[row.name] = str(error)
    return draft.model_copy(update={"rows": tuple(planned), "left_out": left_out})


def _explain_missing_need(row: Row, left_out: Mapping[str, str]) -> str | None:
    """Return why a row cannot run if it needs one that is left out; else None."""
    without = [name for name in row.file.needs if name in left_out]
    return f"needs the row '{without[0]}', which cannot run" if without else None


def _explain_beyond_budget(draft: ReproductionPlan, row: Row) -> str | None:
    """Return why a row cannot run if it is a draw of a random search that only the full budget has; else None."""
    return "a further draw, for the full budget" if row.full_only and draft.budget == "small" else None


def _explain_missing_weights(draft: ReproductionPlan, row: Row) -> str | None:
    """Return why a row of a grid cannot run if the user has not provided its initial weights; else None."""
    start, weights = row.values[draft.budget].get("model", {}).get("start"), read_paper(draft.paper).file.weights
    if not row.grid or row.file.train is None or start not in weights or start in draft.weights:
        return None
    return f"needs {weights[start].title}: get {weights[start].where} and name it with --weights {start}=FILE"


def _plan_row(draft: ReproductionPlan, row: Row, data: ReproductionImages) -> PlannedRow:
    """Describe a row in the plan; a network without parameters is not trained."""
    from napari_melanoma.models.zoo import count_parameters

    about = {"name": row.name, "recipe": row.digest(draft.budget)}
    if not row.file.train or row.file.predictor != "network":
        return PlannedRow(**about)
    recipe = row.recipe(draft.budget, **ANY_DATA)
    parameters = count_parameters(recipe.model.architecture, recipe.model.options)
    if not parameters:
        return PlannedRow(**about)
    steps = max(1, _count_training_images(row, recipe, data, draft.paper) // images_per_step(recipe))
    epochs, budget = recipe.epochs, BUDGETS[draft.budget]
    if budget.steps is not None and (not row.kind.cross_validated or row.kind.needs_masks):
        least = max(budget.epochs, math.ceil(budget.steps / steps))
        epochs = max(recipe.epochs, least) if row.kind.cross_validated else least
    return PlannedRow(**about, parameters=parameters, steps=steps, epochs=epochs, start=_describe_start(draft, row))


def _count_training_images(row: Row, recipe: TrainRecipe, data: ReproductionImages, paper: str) -> int:
    """Return the number of images on which a row is trained, in one fold if it is cross-validated."""
    if row.kind.cross_validated:
        folds = read_paper(paper).file.folds
        train = round(sum(data.cross_validated[role].images for role in row.file.train_roles) * (folds - 1) / folds)
    else:
        train = data.split[row.file.train or ""].training
    fraction = row.values["full"].get("data", {}).get("validation_fraction", 0.1)
    return train - (max(1, round(fraction * train)) if recipe.data.validation_fraction else 0)


def images_per_step(recipe: TrainRecipe) -> int:
    """Return the batch size of a recipe; the recipes of papers set a number."""
    return recipe.batch_size if isinstance(recipe.batch_size, int) else 16


def _describe_start(draft: ReproductionPlan, row: Row) -> str:
    """Describe what the training of a row starts from."""
    weights = read_paper(draft.paper).file.weights
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

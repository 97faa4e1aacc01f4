"""The plan of a reproduction, and its folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import CONFIG
from napari_melanoma.reproduction.papers import Budget, Paper
from napari_melanoma.reproduction.split import CrossValidatedRole, RoleData


class PlannedRow(Config):
    """A row with its planned training."""

    name: str
    steps: int | None = Field(None, description="of the optimizer per epoch; none: unknown, or no training")
    epochs: int | None = Field(None, description="none: those of the recipe, or no training")
    fixed_s: float | None = Field(None, description="estimated, independent of the epochs")
    epoch_s: float | None = Field(None, description="estimated, per epoch")
    image_ms: float | None = Field(None, description="measured training time per image")
    threads: int | None = Field(None, description="fastest number of threads; none: chosen by torch")
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
        """Return the data sets of the cross-validated rows, or of the others."""
        rows = [paper.rows[name] for name in (*self.by_name, *self.left_out)]
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
        """Return the rows in the order in which they run: that of the paper, then waiting ones, the fastest first.

        Each row comes after those that it needs.
        """
        waiting = {row.name: row for row in self.rows if row.waits}

        def whole(name: str) -> float:
            before = [other for other in paper.rows[name].file.needs if other in waiting]
            return (waiting[name].seconds or 0.0) + sum(map(whole, before))

        return [*(row for row in self.rows if not row.waits), *sorted(waiting.values(), key=lambda r: whole(r.name))]

    @property
    def sentence(self) -> str:
        """Summary of rows, data and estimated time."""
        data = ", ".join(f"{role}={folder}" for role, folders in self.data.items() for folder in folders)
        weights = "".join(f", weights {name}={file}" for name, file in self.weights.items())
        epochs = sorted({row.epochs for row in self.rows if row.epochs})
        steps = max((row.steps * row.epochs for row in self.rows if row.steps and row.epochs), default=0)
        long = f", {'/'.join(map(str, epochs))} epochs (up to {steps} steps)" if epochs else ""
        time = "" if self.seconds is None else f", about {self.seconds / 60:.0f} min"
        most = "" if self.minutes is None else f" of at most {self.minutes:g}"
        return f"{len(self.rows)} rows of {self.paper}, data {data}{weights}{long}{time}{most}."


PER_IMAGE, JUDGEMENT, PICTURES = "per_image.csv", "judgement.json", "pictures"


@dataclass(frozen=True)
class ReproductionFolder:
    """The folder of a reproduction."""

    out: Path

    @property
    def plan(self) -> Path:
        """The plan."""
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
        """The figures."""
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

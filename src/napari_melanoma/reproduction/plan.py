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


class ReproductionPlan(Config):
    """What a reproduction does, for as long as its folder exists."""

    format_version: int = 1
    paper: str
    budget: Budget
    minutes: float | None = None
    planning_s: float = Field(0.0, description="that measuring and looking at the images took")
    images: int | None = Field(None, description="images to learn from in each role at most; none: all")
    data: dict[str, tuple[str, ...]] = Field(description="role to folders")
    weights: dict[str, str] = Field(default_factory=dict)
    rows: tuple[PlannedRow, ...] = ()
    left_out: dict[str, str] = Field(default_factory=dict, description="rows that cannot run, and why")
    notices: tuple[str, ...] = ()
    late: tuple[str, ...] = Field((), description="what there may be no time for")

    @property
    def folders(self) -> dict[str, tuple[Path, ...]]:
        """Role to data sets."""
        return {role: tuple(map(Path, folders)) for role, folders in self.data.items()}

    def folders_of(self, paper: Paper, *, crossed: bool) -> dict[str, tuple[Path, ...]]:
        """Name the data sets of the rows that are cross-validated, or of the others."""
        rows = [paper.rows[name] for name in (*self.by_name, *self.left_out)]
        roles = {role for row in rows if row.kind.crossed == crossed for role in row.file.roles}
        return {role: folders for role, folders in self.folders.items() if role in roles}

    @property
    def seconds(self) -> float | None:
        """Estimated time of all rows that need not wait; None where nothing was measured."""
        known = [row.seconds for row in self.rows if not row.waits]
        return None if None in known else sum(seconds or 0.0 for seconds in known)

    @property
    def by_name(self) -> dict[str, PlannedRow]:
        """Rows that will run."""
        return {row.name: row for row in self.rows}

    def ordered_rows(self, paper: Paper) -> list[PlannedRow]:
        """Put rows in the order in which they run.

        In the paper's order, and after them those that wait, the quickest first; none before one that it needs.
        """
        waiting = {row.name: row for row in self.rows if row.waits}

        def whole(name: str) -> float:
            before = [other for other in paper.rows[name].file.needs if other in waiting]
            return (waiting[name].seconds or 0.0) + sum(map(whole, before))

        return [*(row for row in self.rows if not row.waits), *sorted(waiting.values(), key=lambda r: whole(r.name))]

    @property
    def sentence(self) -> str:
        """What it rests on, and how long it may take."""
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
        """What it does."""
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
        """Pictures."""
        return self.out / "figures"

    @property
    def photographs(self) -> Path:
        """The few images on which the answers of all rows are shown, small."""
        return self.figures / "photographs"

    def row(self, name: str) -> RowFolder:
        """Name the files of a row.

        Whether they are there or not.
        """
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
        """Of its training."""
        return RunFolder(self.out / "rows" / self.name)

    def fold(self, number: int) -> FoldFolder:
        """Name the files of a fold of a cross-validated row.

        Whether they are there or not.
        """
        return FoldFolder(self, number)

    @property
    def runs(self) -> tuple[RunFolder, ...]:
        """Of its training or, of a cross-validated row, of the training of each fold that has begun."""
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
        """Whether its model is there."""
        return (self.run.bundle / CONFIG).is_file()

    @property
    def judged(self) -> Path:
        """How it was judged; complete where it exists."""
        return self.out / "judged" / self.name

    @property
    def per_image(self) -> Path:
        """What each image gave."""
        return self.judged / PER_IMAGE

    @property
    def judgement(self) -> Path:
        """What holds for all images."""
        return self.judged / JUDGEMENT

    @property
    def pictures(self) -> Path:
        """Its answers on a few images."""
        return self.judged / PICTURES


@dataclass(frozen=True)
class FoldFolder:
    """The files of a fold of a cross-validated row."""

    row: RowFolder
    number: int

    @property
    def run(self) -> RunFolder:
        """Of its training."""
        return RunFolder(self.row.run.path / f"fold-{self.number}")

    @property
    def recipe(self) -> Path:
        """Its complete recipe; the first stands for the row."""
        whole = self.row.recipe
        return whole if self.number == 1 else whole.with_stem(f"{whole.stem}-fold-{self.number}")

    @property
    def judged(self) -> Path:
        """What its network answered to the images that it had not seen; complete where it exists."""
        return self.row.run.path / f"judged-{self.number}"

    @property
    def has_begun(self) -> bool:
        """Whether its training has begun."""
        return self.run.config.exists()

    @property
    def has_learnt(self) -> bool:
        """Whether its model is there."""
        return (self.run.bundle / CONFIG).is_file()


@dataclass(frozen=True)
class ReproductionContext:
    """A reproduction at work: what is reproduced and how, the images of each role, and where it writes.

    ``data`` are the roles of rows with one split, ``crossed`` those of rows that are cross-validated.
    """

    paper: Paper
    plan: ReproductionPlan
    data: Mapping[str, RoleData]
    folder: ReproductionFolder
    crossed: Mapping[str, CrossValidatedRole] = field(default_factory=dict)

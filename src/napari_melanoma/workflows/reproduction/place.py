"""Where everything of a reproduction lies, and the reproduction at work: its paper, plan, images and folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import CONFIG
from napari_melanoma.workflows.reproduction.crossed import CrossedRole
from napari_melanoma.workflows.reproduction.papers import Paper
from napari_melanoma.workflows.reproduction.plan import Plan
from napari_melanoma.workflows.reproduction.split import RoleData

PER_IMAGE, JUDGEMENT, PICTURES = "per_image.csv", "judgement.json", "pictures"


@dataclass(frozen=True)
class Place:
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

    def row(self, name: str) -> RowPlace:
        """Name the files of a row.

        Whether they are there or not.
        """
        return RowPlace(self.out, name)


@dataclass(frozen=True)
class RowPlace:
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

    def fold(self, number: int) -> FoldPlace:
        """Name the files of a fold of a cross-validated row.

        Whether they are there or not.
        """
        return FoldPlace(self, number)

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
class FoldPlace:
    """The files of a fold of a cross-validated row."""

    row: RowPlace
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
class Work:
    """A reproduction at work: what is reproduced and how, the images of each role, and where it writes.

    ``data`` are the roles of rows with one split, ``crossed`` those of rows that are cross-validated.
    """

    paper: Paper
    plan: Plan
    data: Mapping[str, RoleData]
    place: Place
    crossed: Mapping[str, CrossedRole] = field(default_factory=dict)

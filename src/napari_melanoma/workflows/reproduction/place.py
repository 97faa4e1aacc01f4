"""Where everything of a reproduction lies, and the reproduction at work: its paper, plan, images and folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import CONFIG
from napari_melanoma.workflows.reproduction.papers import Paper
from napari_melanoma.workflows.reproduction.plan import Plan
from napari_melanoma.workflows.reproduction.split import RoleData


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
    def figures(self) -> Path:
        """Pictures."""
        return self.out / "figures"

    @property
    def photographs(self) -> Path:
        """The few images on which the answers of all rows are shown, small."""
        return self.figures / "photographs"

    def row(self, name: str) -> RowPlace:
        """Name the files of a row.

        Parameters
        ----------
        name : str
            Of a row.

        Returns
        -------
        RowPlace
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

    @property
    def has_begun(self) -> bool:
        """Whether its training has begun."""
        return self.run.config.exists()

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
        return self.judged / "per_image.csv"

    @property
    def judgement(self) -> Path:
        """What holds for all images."""
        return self.judged / "judgement.json"

    @property
    def pictures(self) -> Path:
        """Its answers on a few images."""
        return self.judged / "pictures"


@dataclass(frozen=True)
class Work:
    """A reproduction at work: what is reproduced and how, the images of each role, and where it writes."""

    paper: Paper
    plan: Plan
    data: Mapping[str, RoleData]
    place: Place

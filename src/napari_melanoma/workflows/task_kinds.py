"""What differs between the tasks when a run is trained: how each is set up, shown as it learns, and finished."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_melanoma.data.training_images import FILE
from napari_melanoma.models.bundle import write_bundle
from napari_melanoma.training.listed_images import statement
from napari_melanoma.workflows.model_card import draft_card

if TYPE_CHECKING:
    from pathlib import Path

    from lightning.pytorch.callbacks import Callback
    from torch import nn

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.models.bundle import BundleConfig, BundleInfo
    from napari_melanoma.models.reference import Reference
    from napari_melanoma.training.prepare import Prepared
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.task import Task

TUNING_BATCH = 16  # images that a trained network is asked about at once


@dataclass(frozen=True)
class Finished:
    """What a trained task becomes: the bundle's configuration, what it remembers of cases, and other files."""

    config: BundleConfig
    reference: Reference | None = None
    beside: tuple[Path, ...] = ()

    def with_listed(self, folder: RunFolder) -> Finished:
        """Add the list of the images that the run was trained and tuned on.

        With the list, and the hash of it in the provenance.
        """
        file = folder.path / FILE
        if not file.is_file():
            return self
        provenance = {**self.config.provenance, **statement(file)}
        config = self.config.model_copy(update={"provenance": provenance})
        return replace(self, config=config, beside=(*self.beside, file))

    def write(self, path: Path, network: nn.Module) -> BundleInfo:
        """Write the bundle with the card that training leaves."""
        card = draft_card(self.config)
        return write_bundle(path, self.config, network, card, reference=self.reference, beside=self.beside)


class TaskKind(Protocol):
    """One of the tasks that a recipe can name."""

    def options(self, recipe: TrainRecipe, prepared: Prepared) -> dict[str, Any]:
        """Give the options of the network: those of the recipe, and what the data decide."""

    def make(self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: Prepared) -> Task:
        """Make the task that Lightning runs."""

    def samples(self, recipe: TrainRecipe, folder: RunFolder, prepared: Prepared) -> Callback | None:
        """Choose tuning images whose prediction is drawn as it learns; None where none is to be drawn.

        None where nothing is to be drawn.
        """

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: Prepared, config: BundleConfig, run: RunContext
    ) -> Finished:
        """Choose on the tuning images what training leaves open."""


def spread(count: int, wanted: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Choose places spread over all there are.

    Returns int64, ascending, each once.
    """
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(np.int64))

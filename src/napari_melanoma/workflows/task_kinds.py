"""What differs between the tasks when a run is trained: how each is set up, shown as it learns, and finished."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_melanoma.models.bundle import write_bundle
from napari_melanoma.training.engine import accelerator
from napari_melanoma.training.loader import TuningBatches, tuning_loader
from napari_melanoma.workflows.model_card import draft_card
from napari_melanoma.workflows.training_bundle import choose_threshold
from napari_melanoma.workflows.training_start import lesion_weight

if TYPE_CHECKING:
    from pathlib import Path

    from lightning.pytorch.callbacks import Callback
    from torch import nn

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.models.bundle import BundleConfig, BundleInfo
    from napari_melanoma.training.prepare import Prepared
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.task import Task

TUNING_BATCH = 16
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """What a trained task becomes: the bundle's configuration, and how it is written."""

    config: BundleConfig

    def write(self, path: Path, network: nn.Module) -> BundleInfo:
        """Write the bundle with the card that training leaves.

        Parameters
        ----------
        path : pathlib.Path
            The folder, replaced where it exists.
        network : torch.nn.Module
            That was trained.

        Returns
        -------
        BundleInfo
            What was written.

        Raises
        ------
        SaveError
            Where the folder cannot be written.
        """
        return write_bundle(path, self.config, network, draft_card(self.config))


class TaskKind(Protocol):
    """One of the tasks that a recipe can name."""

    def options(self, recipe: TrainRecipe, prepared: Prepared) -> dict[str, Any]:
        """Give the options of the network: those of the recipe, and what the data decide."""

    def make(self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: Prepared) -> Task:
        """Make the task that Lightning runs."""

    def samples(self, recipe: TrainRecipe, folder: RunFolder, prepared: Prepared) -> Callback | None:
        """Choose tuning images whose prediction is drawn as it learns; None where none is to be drawn."""

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: Prepared, config: BundleConfig, run: RunContext
    ) -> Finished:
        """Choose on the tuning images what training leaves open."""


class Segmentation:
    """Where lesions are."""

    def options(self, recipe: TrainRecipe, prepared: Prepared) -> dict[str, Any]:
        """Give the recipe's own."""
        return recipe.model.options

    def make(self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: Prepared) -> Task:
        """Make the task, lesions weighed as the recipe says."""
        from napari_melanoma.training.segmentation import SegmentationTask

        return SegmentationTask(network, recipe, config, lesion_weight(recipe, prepared.lesion_share))

    def samples(self, recipe: TrainRecipe, folder: RunFolder, prepared: Prepared) -> Callback | None:
        """Draw contours on images spread over all of them."""
        from napari_melanoma.training.samples import SampleWriter

        places = spread(len(prepared.tuning), recipe.samples)
        if not len(places):
            return None
        images, masks, _ = TuningBatches(prepared.tuning, recipe.model.input_size)[places]
        return SampleWriter(folder, [prepared.samples.tuning[place].image_id for place in places], images, masks)

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: Prepared, config: BundleConfig, run: RunContext
    ) -> Finished:
        """Choose the threshold."""
        loader = tuning_loader(prepared, recipe, TUNING_BATCH)
        config = choose_threshold(task.to(accelerator(recipe)), loader, recipe, config, run)
        log.info("tuning Jaccard %.4f at threshold %.2f", config.provenance["tuning_jaccard"], config.threshold)
        return Finished(config)


KINDS: dict[str, TaskKind] = {"segmentation": Segmentation()}


def kind_of(recipe: TrainRecipe) -> TaskKind:
    """Find what a recipe's task does in its own way.

    Parameters
    ----------
    recipe : TrainRecipe
        Its ``task``.

    Returns
    -------
    TaskKind
        One for all runs: it keeps nothing.
    """
    return KINDS[recipe.task]


def spread(count: int, wanted: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Choose places spread over all there are.

    Parameters
    ----------
    count : int
        How many there are.
    wanted : int
        How many to choose at most.

    Returns
    -------
    numpy.ndarray
        int64, ascending, each once.
    """
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(np.int64))

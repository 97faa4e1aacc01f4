"""How a run of segmentation is set up, shown as it learns, and finished."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from napari_melanoma.training.engine import accelerator
from napari_melanoma.training.loader import TuningBatches, tuning_loader
from napari_melanoma.workflows.task_kinds import TUNING_BATCH, Finished, spread
from napari_melanoma.workflows.training_bundle import choose_threshold

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from torch import nn

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.prepare import Prepared
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.task import Task

log = logging.getLogger(__name__)
MOST_WEIGHT = 20.0  # a data set with hardly any lesion pixels would drown skin altogether


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
        """Draw contours on images spread over all of them.

        None where nothing is to be drawn.
        """
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


def lesion_weight(recipe: TrainRecipe, lesion_share: float) -> float:
    """Give the weight of lesion pixels in cross-entropy.

    ``lesion_share``: share of lesion pixels in what is learnt from, 0 to 1. Such that lesion and skin weigh the same,
    where the recipe says ``"auto"``; at most 20.
    """
    if recipe.lesion_weight != "auto":
        return recipe.lesion_weight
    return min(MOST_WEIGHT, (1 - lesion_share) / lesion_share) if lesion_share > 0 else 1.0

"""How a run of a segmentation of several classes is set up, shown as it learns, and finished."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.label_overlap import count_pairs, label_metrics
from napari_melanoma.training.engine import accelerator
from napari_melanoma.training.loader import TuningBatches, images_in_order, tuning_loader
from napari_melanoma.workflows.task_kinds import TUNING_BATCH, Finished, spread
from napari_melanoma.workflows.textures import with_textures

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from numpy.typing import NDArray
    from torch import nn

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.prepare import Prepared
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.task import Task

log = logging.getLogger(__name__)


class SeveralClasses:
    """Of which class each pixel is."""

    def options(self, recipe: TrainRecipe, prepared: Prepared) -> dict[str, Any]:
        """Give the recipe's own, which name the classes already."""
        return recipe.model.options

    def make(self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: Prepared) -> Task:
        """Make the task, classes weighed as the recipe says."""
        from napari_melanoma.training.several_classes import SeveralClassesTask

        return SeveralClassesTask(network, recipe, config, prepared.label_shares)

    def samples(self, recipe: TrainRecipe, folder: RunFolder, prepared: Prepared) -> Callback | None:
        """Draw classes in colours on images spread over all of them.

        None where nothing is to be drawn.
        """
        from napari_melanoma.training.samples import LabelSampleWriter

        places = spread(len(prepared.tuning), recipe.samples)
        if not len(places):
            return None
        images, labels, _ = TuningBatches(prepared.tuning, recipe.model.input_size)[places]
        names = [prepared.samples.tuning[place].image_id for place in places]
        return LabelSampleWriter(folder, names, images, labels, len(recipe.classes))

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: Prepared, config: BundleConfig, run: RunContext
    ) -> Finished:
        """Measure the model on the tuning images, and let it remember what it learnt from; there is no threshold."""
        task.to(accelerator(recipe)).eval()
        counts = _counted(task, prepared, recipe, run)
        said = {name: round(float(value), 4) for name, value in label_metrics(counts, recipe.classes).items()}
        log.info("tuning Dice %.4f, mean over %d classes", said["DI"], len(recipe.classes))
        known = {
            "tuning_jaccard": said["JA"],
            "tuning_dice": said["DI"],
            "tuning_dice_of_classes": {name: said[f"DI {name}"] for name in recipe.classes},
        }
        config = config.model_copy(update={"provenance": {**config.provenance, **known}})
        if recipe.tile is None:
            return Finished(config)
        learnt, tuning = (images_in_order(part, recipe, TUNING_BATCH) for part in (prepared.learn, prepared.tuning))
        return with_textures(Finished(config), task, learnt, tuning, run)


def _counted(task: Task, prepared: Prepared, recipe: TrainRecipe, run: RunContext) -> NDArray[np.int64]:
    """Count the pixels of all tuning images by true and by found class."""
    import torch

    classes = len(recipe.classes)
    counts = np.zeros((classes, classes), np.int64)
    with torch.inference_mode():
        for images, labels, _ in run.track(tuning_loader(prepared, recipe, TUNING_BATCH), "Measuring"):
            found = task(images.to(task.device)).argmax(1).cpu().numpy()
            counts += count_pairs(found, labels[:, 0].numpy(), classes)
    return counts

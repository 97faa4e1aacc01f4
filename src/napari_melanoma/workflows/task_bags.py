"""How a run on whole slides is set up and finished."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_melanoma.training.engine import accelerator
from napari_melanoma.workflows.class_bundle import Said, calibrated_config, reference_of
from napari_melanoma.workflows.task_kinds import Finished
from napari_melanoma.workflows.training_bundle import network_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning.pytorch.callbacks import Callback
    from numpy.typing import NDArray
    from torch import nn

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.io.bags import Bag
    from napari_melanoma.models.blocks.bags import BagNetwork
    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.bag_task import BagTask
    from napari_melanoma.training.prepare import Prepared
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.task import Task


class Bags:
    """Which class a slide is of."""

    def options(self, recipe: TrainRecipe, prepared: Prepared) -> dict[str, Any]:
        """Give the recipe's own, with how many classes there are and how long an embedding is."""
        return network_options(recipe, prepared)

    def make(self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: Prepared) -> Task:
        """Make the task, which knows how many slides of each class are learnt from."""
        from napari_melanoma.training.bag_task import BagTask

        assert prepared.classes is not None
        return BagTask(cast("BagNetwork", network), recipe, config, prepared.classes.counts)

    def samples(self, recipe: TrainRecipe, folder: RunFolder, prepared: Prepared) -> Callback | None:
        """Draw nothing: embeddings are no pictures.

        None.
        """
        return None

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: Prepared, config: BundleConfig, run: RunContext
    ) -> Finished:
        """Calibrate on the tuning slides, and keep what the training slides are like."""
        known, asked, data = cast("BagTask", task.to(accelerator(recipe))), recipe.classification, prepared.classes
        assert asked is not None
        assert data is not None
        bags = [cast("Sequence[Bag]", part) for part in (prepared.tuning, prepared.learn)]
        tuning = _said(known, bags[0], data.tuning.labels, run, "Calibrating")
        learnt = _said(known, bags[1], data.learn.labels, run, "Remembering the training slides")
        reference = reference_of(tuning, learnt, prepared.samples, asked)
        found = calibrated_config(config, asked, tuning, reference)
        if found.classifier is not None and len(learnt.labels) <= learnt.embeddings.shape[1]:
            # Fewer slides than features: all that is not one of them looks far away.
            found = found.model_copy(update={"classifier": found.classifier.model_copy(update={"unlike": None})})
        return Finished(found, reference)


def _said(task: BagTask, bags: Sequence[Bag], labels: NDArray[np.int64], run: RunContext, message: str) -> Said:
    """Ask a network about whole slides."""
    import torch

    task.eval()
    logits, embeddings = [], []
    with torch.inference_mode():
        for bag in run.track(bags, message):
            found = task.pool(bag)
            logits.append(found.logits.cpu().numpy())
            embeddings.append(found.embedding.cpu().numpy())
    return Said(np.stack(logits), labels, np.stack(embeddings))

"""How a run of classification is set up, shown as it learns, and finished."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from napari_melanoma.training.class_loader import ViewsInOrder
from napari_melanoma.training.engine import accelerator
from napari_melanoma.training.loader import learnt_loader, tuning_loader, unlabelled_batches
from napari_melanoma.workflows.class_bundle import calibrated_config, measure_there, reference_of, said_of
from napari_melanoma.workflows.task_kinds import TUNING_BATCH, Finished, spread
from napari_melanoma.workflows.textures import with_textures
from napari_melanoma.workflows.training_bundle import network_options

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from torch import nn

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.models.blocks.classifier import Classifier
    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.classification import ClassificationTask
    from napari_melanoma.training.prepare import Prepared
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.task import Task

log = logging.getLogger(__name__)


class Classification:
    """Which class a lesion is of."""

    def options(self, recipe: TrainRecipe, prepared: Prepared) -> dict[str, Any]:
        """Give the recipe's own, with how many classes there are and what comes from the table."""
        return network_options(recipe, prepared)

    def make(self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: Prepared) -> Task:
        """Make the task, which knows how many images of each class are learnt from."""
        from napari_melanoma.training.classification import ClassificationTask

        data = prepared.classes
        assert data is not None
        return ClassificationTask(cast("Classifier", network), recipe, config, data.counts, len(data.domains))

    def samples(self, recipe: TrainRecipe, folder: RunFolder, prepared: Prepared) -> Callback | None:
        """Draw what the network sees of images of every class, with what it says of them.

        None where nothing is to be drawn.
        """
        from napari_melanoma.training.class_samples import ClassSampleWriter

        assert prepared.classes is not None
        data = prepared.classes
        seen = ViewsInOrder(prepared.tuning, data.tuning, prepared, recipe.model.input_size)
        batch = seen[spread(len(prepared.tuning), recipe.samples)]
        names = [prepared.samples.tuning[place].image_id for place in batch.keys[:, 1]]
        return ClassSampleWriter(folder, names, batch, data.names) if names else None

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: Prepared, config: BundleConfig, run: RunContext
    ) -> Finished:
        """Calibrate on the tuning images, and keep what answers rest on."""
        known, asked = cast("ClassificationTask", task.to(accelerator(recipe))), recipe.classification
        assert asked is not None
        if asked.adaptation.method == "adabn":
            measure_there(known, unlabelled_batches(prepared, recipe, TUNING_BATCH))
        tuning = said_of(known, tuning_loader(prepared, recipe, TUNING_BATCH), run, "Calibrating")
        learnt = said_of(known, learnt_loader(prepared, recipe, TUNING_BATCH), run, "Remembering the training cases")
        reference = reference_of(tuning, learnt, prepared.samples, asked)
        finished = Finished(calibrated_config(config, asked, tuning, reference), reference)
        if recipe.tile is None:
            return finished
        learnt_from, tuned_with = (load(prepared, recipe, TUNING_BATCH) for load in (learnt_loader, tuning_loader))
        return with_textures(finished, known, learnt_from, tuned_with, run)

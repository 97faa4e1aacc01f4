"""How each task is set up, shown as it trains, and finished."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from napari_melanoma.data.training_images import FILE
from napari_melanoma.evaluation.model_card import draft_card
from napari_melanoma.metrics.novelty import FEWEST, Novelty, threshold
from napari_melanoma.metrics.overlap import count_pairs, label_metrics
from napari_melanoma.models.bundle import remembered, textures_alone, write_bundle
from napari_melanoma.models.zoo import encoder_of
from napari_melanoma.runs.bundling import (
    Said,
    calibrated_config,
    choose_threshold,
    measure_there,
    network_options,
    reference_of,
    said_of,
)
from napari_melanoma.training.class_loader import ViewsInOrder
from napari_melanoma.training.engine import accelerator
from napari_melanoma.training.loader import (
    TuningBatches,
    images_in_order,
    learnt_loader,
    tuning_loader,
    unlabelled_batches,
)
from napari_melanoma.training.run_data import statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from lightning.pytorch.callbacks import Callback
    from numpy.typing import NDArray
    from torch import nn

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.data.bags import Bag
    from napari_melanoma.models.blocks.bags import BagNetwork
    from napari_melanoma.models.blocks.classifier import Classifier
    from napari_melanoma.models.bundle import BundleConfig, BundleInfo, Reference
    from napari_melanoma.training.prepare import Prepared
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.tasks.bags import BagTask
    from napari_melanoma.training.tasks.classification import ClassificationTask
    from napari_melanoma.training.tasks.task import Task

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


MOST_WEIGHT = 20.0  # a data set with hardly any lesion pixels would drown skin altogether


class Segmentation:
    """Where lesions are."""

    def options(self, recipe: TrainRecipe, prepared: Prepared) -> dict[str, Any]:
        """Give the recipe's own."""
        return recipe.model.options

    def make(self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: Prepared) -> Task:
        """Make the task, lesions weighed as the recipe says."""
        from napari_melanoma.training.tasks.segmentation import SegmentationTask

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


class SeveralClasses:
    """Of which class each pixel is."""

    def options(self, recipe: TrainRecipe, prepared: Prepared) -> dict[str, Any]:
        """Give the recipe's own, which name the classes already."""
        return recipe.model.options

    def make(self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: Prepared) -> Task:
        """Make the task, classes weighed as the recipe says."""
        from napari_melanoma.training.tasks.segmentation import SeveralClassesTask

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


log = logging.getLogger(__name__)


class Classification:
    """Which class a lesion is of."""

    def options(self, recipe: TrainRecipe, prepared: Prepared) -> dict[str, Any]:
        """Give the recipe's own, with how many classes there are and what comes from the table."""
        return network_options(recipe, prepared)

    def make(self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: Prepared) -> Task:
        """Make the task, which knows how many images of each class are learnt from."""
        from napari_melanoma.training.tasks.classification import ClassificationTask

        data = prepared.classes
        assert data is not None
        return ClassificationTask(cast("Classifier", network), recipe, config, data.counts, len(data.domains))

    def samples(self, recipe: TrainRecipe, folder: RunFolder, prepared: Prepared) -> Callback | None:
        """Draw what the network sees of images of every class, with what it says of them.

        None where nothing is to be drawn.
        """
        from napari_melanoma.training.samples import ClassSampleWriter

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


class Bags:
    """Which class a slide is of."""

    def options(self, recipe: TrainRecipe, prepared: Prepared) -> dict[str, Any]:
        """Give the recipe's own, with how many classes there are and how long an embedding is."""
        return network_options(recipe, prepared)

    def make(self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: Prepared) -> Task:
        """Make the task, which knows how many slides of each class are learnt from."""
        from napari_melanoma.training.tasks.bags import BagTask

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


def with_textures(finished: Finished, task: Task, learnt: Iterable, tuning: Iterable, run: RunContext) -> Finished:
    """Add the textures of the training tiles to what a bundle remembers, and the distance of what is unlike them.

    ``learnt``, ``tuning``: batches of what was learnt from and of what was not, as they are; uint8 images (batch, 3,
    row, column) first. Returns the same where the network has no encoder, or there are too few tiles.
    """
    encoder = encoder_of(task.network)
    if encoder is None:
        return finished
    task.eval()
    known, others = (_textures(task, encoder, batches, run) for batches in (learnt, tuning))
    if len(known) < FEWEST:
        return finished
    kept = known[remembered(np.zeros(len(known), np.int64))].astype(np.float16)
    limit = threshold(Novelty.fit(kept).distance(others))
    reference = finished.reference
    reference = replace(reference, textures=kept) if reference else textures_alone(kept, len(finished.config.classes))
    return replace(finished, config=finished.config.model_copy(update={"unlike": limit}), reference=reference)


def _textures(task: Task, encoder: nn.Module, batches: Iterable, run: RunContext) -> NDArray[np.float32]:
    """Give the texture of each image."""
    import torch

    from napari_melanoma.models.blocks.texture import texture

    found = []
    with torch.inference_mode():
        for batch in run.track(batches, "Remembering what was learnt from"):
            images = batch[0].to(task.device)
            found.append(texture(encoder(task.normalised(images)), images.shape[-1]).cpu().numpy())
    return np.concatenate(found)

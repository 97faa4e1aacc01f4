"""How each task is set up, shown as it trains, and finished."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from napari_melanoma.data.training_images import FILE_NAME
from napari_melanoma.evaluation.model_card import draft_card
from napari_melanoma.metrics.out_of_distribution import (
    MIN_TRAINING_CASES,
    MahalanobisDetector,
    choose_distance_threshold,
)
from napari_melanoma.metrics.overlap import count_class_pairs, label_metrics
from napari_melanoma.models.bundle import choose_training_cases, make_texture_reference, write_bundle
from napari_melanoma.models.zoo import find_encoder
from napari_melanoma.runs.bundling import (
    NetworkOutputs,
    adapt_normalization,
    calibrate_config,
    choose_threshold,
    collect_network_options,
    compute_outputs,
    create_reference,
)
from napari_melanoma.training.class_loader import ValidationViews
from napari_melanoma.training.engine import accelerator
from napari_melanoma.training.loader import (
    ValidationBatches,
    images_in_order,
    training_views_in_order,
    unlabeled_batches,
    validation_loader,
)
from napari_melanoma.training.run_data import training_images_statement

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
    from napari_melanoma.models.blocks.classifier import ClassifierNetwork
    from napari_melanoma.models.bundle import BundleConfig, BundleInfo, ReferenceCases
    from napari_melanoma.training.prepare import PreparedData
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.tasks.bags import BagTask
    from napari_melanoma.training.tasks.classification import ClassificationTask
    from napari_melanoma.training.tasks.task import Task

VALIDATION_BATCH = 16  # images that a trained network is asked about at once


@dataclass(frozen=True)
class TrainedModel:
    """What a trained task becomes: the bundle's configuration, what it remembers of cases, and other files."""

    config: BundleConfig
    reference: ReferenceCases | None = None
    extra_files: tuple[Path, ...] = ()

    def with_image_list(self, folder: RunFolder) -> TrainedModel:
        """Add the list of the images that the run was trained and tuned on.

        With the list, and the hash of it in the provenance.
        """
        file = folder.path / FILE_NAME
        if not file.is_file():
            return self
        provenance = {**self.config.provenance, **training_images_statement(file)}
        config = self.config.model_copy(update={"provenance": provenance})
        return replace(self, config=config, extra_files=(*self.extra_files, file))

    def write(self, path: Path, network: nn.Module) -> BundleInfo:
        """Write the bundle with the card that training leaves."""
        card = draft_card(self.config)
        return write_bundle(path, self.config, network, card, reference=self.reference, extra_files=self.extra_files)


class TaskSetup(Protocol):
    """One of the tasks that a recipe can name."""

    def network_options(self, recipe: TrainRecipe, prepared: PreparedData) -> dict[str, Any]:
        """Give the options of the network: those of the recipe, and what the data decide."""

    def create_task(
        self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: PreparedData
    ) -> Task:
        """Make the task that Lightning runs."""

    def create_sample_writer(self, recipe: TrainRecipe, folder: RunFolder, prepared: PreparedData) -> Callback | None:
        """Choose tuning images whose prediction is drawn as it learns; None where none is to be drawn.

        None where nothing is to be drawn.
        """

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: PreparedData, config: BundleConfig, run: RunContext
    ) -> TrainedModel:
        """Choose on the tuning images what training leaves open."""


def spread_indices(count: int, wanted: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Choose places spread over all there are.

    Returns int64, ascending, each once.
    """
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(np.int64))


MAX_LESION_WEIGHT = 20.0  # a data set with hardly any lesion pixels would drown skin altogether


class SegmentationSetup:
    """Where lesions are."""

    def network_options(self, recipe: TrainRecipe, prepared: PreparedData) -> dict[str, Any]:
        """Give the recipe's own."""
        return recipe.model.options

    def create_task(
        self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: PreparedData
    ) -> Task:
        """Make the task, lesions weighed as the recipe says."""
        from napari_melanoma.training.tasks.segmentation import SegmentationTask

        return SegmentationTask(network, recipe, config, compute_lesion_weight(recipe, prepared.lesion_share))

    def create_sample_writer(self, recipe: TrainRecipe, folder: RunFolder, prepared: PreparedData) -> Callback | None:
        """Draw contours on images spread over all of them.

        None where nothing is to be drawn.
        """
        from napari_melanoma.training.samples import SampleWriter

        places = spread_indices(len(prepared.tuning), recipe.samples)
        if not len(places):
            return None
        images, masks, _ = ValidationBatches(prepared.tuning, recipe.model.input_size)[places]
        return SampleWriter(folder, [prepared.samples.validation[place].image_id for place in places], images, masks)

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: PreparedData, config: BundleConfig, run: RunContext
    ) -> TrainedModel:
        """Choose the threshold."""
        loader = validation_loader(prepared, recipe, VALIDATION_BATCH)
        config = choose_threshold(task.to(accelerator(recipe)), loader, recipe, config, run)
        log.info("tuning Jaccard %.4f at threshold %.2f", config.provenance["tuning_jaccard"], config.threshold)
        return TrainedModel(config)


def compute_lesion_weight(recipe: TrainRecipe, lesion_share: float) -> float:
    """Give the weight of lesion pixels in cross-entropy.

    ``lesion_share``: share of lesion pixels in what is learnt from, 0 to 1. Such that lesion and skin weigh the same,
    where the recipe says ``"auto"``; at most 20.
    """
    if recipe.lesion_weight != "auto":
        return recipe.lesion_weight
    return min(MAX_LESION_WEIGHT, (1 - lesion_share) / lesion_share) if lesion_share > 0 else 1.0


class MulticlassSetup:
    """Of which class each pixel is."""

    def network_options(self, recipe: TrainRecipe, prepared: PreparedData) -> dict[str, Any]:
        """Give the recipe's own, which name the classes already."""
        return recipe.model.options

    def create_task(
        self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: PreparedData
    ) -> Task:
        """Make the task, classes weighed as the recipe says."""
        from napari_melanoma.training.tasks.segmentation import MultiClassSegmentationTask

        return MultiClassSegmentationTask(network, recipe, config, prepared.label_shares)

    def create_sample_writer(self, recipe: TrainRecipe, folder: RunFolder, prepared: PreparedData) -> Callback | None:
        """Draw classes in colours on images spread over all of them.

        None where nothing is to be drawn.
        """
        from napari_melanoma.training.samples import LabelSampleWriter

        places = spread_indices(len(prepared.tuning), recipe.samples)
        if not len(places):
            return None
        images, labels, _ = ValidationBatches(prepared.tuning, recipe.model.input_size)[places]
        names = [prepared.samples.validation[place].image_id for place in places]
        return LabelSampleWriter(folder, names, images, labels, len(recipe.classes))

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: PreparedData, config: BundleConfig, run: RunContext
    ) -> TrainedModel:
        """Measure the model on the tuning images, and let it remember what it learnt from; there is no threshold."""
        task.to(accelerator(recipe)).eval()
        counts = _count_pixels(task, prepared, recipe, run)
        said = {name: round(float(value), 4) for name, value in label_metrics(counts, recipe.classes).items()}
        log.info("tuning Dice %.4f, mean over %d classes", said["DI"], len(recipe.classes))
        known = {
            "tuning_jaccard": said["JA"],
            "tuning_dice": said["DI"],
            "tuning_dice_of_classes": {name: said[f"DI {name}"] for name in recipe.classes},
        }
        config = config.model_copy(update={"provenance": {**config.provenance, **known}})
        if recipe.tile is None:
            return TrainedModel(config)
        learnt, tuning = (images_in_order(part, recipe, VALIDATION_BATCH) for part in (prepared.learn, prepared.tuning))
        return add_textures(TrainedModel(config), task, learnt, tuning, run)


def _count_pixels(task: Task, prepared: PreparedData, recipe: TrainRecipe, run: RunContext) -> NDArray[np.int64]:
    """Count the pixels of all tuning images by true and by found class."""
    import torch

    classes = len(recipe.classes)
    counts = np.zeros((classes, classes), np.int64)
    with torch.inference_mode():
        for images, labels, _ in run.track(validation_loader(prepared, recipe, VALIDATION_BATCH), "Measuring"):
            found = task(images.to(task.device)).argmax(1).cpu().numpy()
            counts += count_class_pairs(found, labels[:, 0].numpy(), classes)
    return counts


log = logging.getLogger(__name__)


class ClassificationSetup:
    """Which class a lesion is of."""

    def network_options(self, recipe: TrainRecipe, prepared: PreparedData) -> dict[str, Any]:
        """Give the recipe's own, with how many classes there are and what comes from the table."""
        return collect_network_options(recipe, prepared)

    def create_task(
        self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: PreparedData
    ) -> Task:
        """Make the task, which knows how many images of each class are learnt from."""
        from napari_melanoma.training.tasks.classification import ClassificationTask

        data = prepared.classes
        assert data is not None
        return ClassificationTask(cast("ClassifierNetwork", network), recipe, config, data.counts, len(data.domains))

    def create_sample_writer(self, recipe: TrainRecipe, folder: RunFolder, prepared: PreparedData) -> Callback | None:
        """Draw what the network sees of images of every class, with what it says of them.

        None where nothing is to be drawn.
        """
        from napari_melanoma.training.samples import ClassSampleWriter

        assert prepared.classes is not None
        data = prepared.classes
        seen = ValidationViews(prepared.tuning, data.tuning, prepared, recipe.model.input_size)
        batch = seen[spread_indices(len(prepared.tuning), recipe.samples)]
        names = [prepared.samples.validation[place].image_id for place in batch.keys[:, 1]]
        return ClassSampleWriter(folder, names, batch, data.names) if names else None

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: PreparedData, config: BundleConfig, run: RunContext
    ) -> TrainedModel:
        """Calibrate on the tuning images, and keep what answers rest on."""
        known, asked = cast("ClassificationTask", task.to(accelerator(recipe))), recipe.classification
        assert asked is not None
        if asked.adaptation.method == "adabn":
            adapt_normalization(known, unlabeled_batches(prepared, recipe, VALIDATION_BATCH))
        tuning = compute_outputs(known, validation_loader(prepared, recipe, VALIDATION_BATCH), run, "Calibrating")
        learnt = compute_outputs(
            known, training_views_in_order(prepared, recipe, VALIDATION_BATCH), run, "Remembering the training cases"
        )
        reference = create_reference(tuning, learnt, prepared.samples, asked)
        finished = TrainedModel(calibrate_config(config, asked, tuning, reference), reference)
        if recipe.tile is None:
            return finished
        learnt_from, tuned_with = (
            load(prepared, recipe, VALIDATION_BATCH) for load in (training_views_in_order, validation_loader)
        )
        return add_textures(finished, known, learnt_from, tuned_with, run)


class BagSetup:
    """Which class a slide is of."""

    def network_options(self, recipe: TrainRecipe, prepared: PreparedData) -> dict[str, Any]:
        """Give the recipe's own, with how many classes there are and how long an embedding is."""
        return collect_network_options(recipe, prepared)

    def create_task(
        self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: PreparedData
    ) -> Task:
        """Make the task, which knows how many slides of each class are learnt from."""
        from napari_melanoma.training.tasks.bags import BagTask

        assert prepared.classes is not None
        return BagTask(cast("BagNetwork", network), recipe, config, prepared.classes.counts)

    def create_sample_writer(self, recipe: TrainRecipe, folder: RunFolder, prepared: PreparedData) -> Callback | None:
        """Draw nothing: embeddings are no pictures.

        None.
        """
        return None

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: PreparedData, config: BundleConfig, run: RunContext
    ) -> TrainedModel:
        """Calibrate on the tuning slides, and keep what the training slides are like."""
        known, asked, data = cast("BagTask", task.to(accelerator(recipe))), recipe.classification, prepared.classes
        assert asked is not None
        assert data is not None
        bags = [cast("Sequence[Bag]", part) for part in (prepared.tuning, prepared.learn)]
        tuning = _compute_bag_outputs(known, bags[0], data.tuning.labels, run, "Calibrating")
        learnt = _compute_bag_outputs(known, bags[1], data.learn.labels, run, "Remembering the training slides")
        reference = create_reference(tuning, learnt, prepared.samples, asked)
        found = calibrate_config(config, asked, tuning, reference)
        if found.classifier is not None and len(learnt.labels) <= learnt.embeddings.shape[1]:
            # Fewer slides than features: all that is not one of them looks far away.
            found = found.model_copy(update={"classifier": found.classifier.model_copy(update={"unlike": None})})
        return TrainedModel(found, reference)


def _compute_bag_outputs(
    task: BagTask, bags: Sequence[Bag], labels: NDArray[np.int64], run: RunContext, message: str
) -> NetworkOutputs:
    """Ask a network about whole slides."""
    import torch

    task.eval()
    logits, embeddings = [], []
    with torch.inference_mode():
        for bag in run.track(bags, message):
            found = task.pool(bag)
            logits.append(found.logits.cpu().numpy())
            embeddings.append(found.embedding.cpu().numpy())
    return NetworkOutputs(np.stack(logits), labels, np.stack(embeddings))


def add_textures(
    model: TrainedModel, task: Task, training: Iterable, validation: Iterable, run: RunContext
) -> TrainedModel:
    """Add the textures of the training tiles to what a bundle remembers, and the distance of what is unlike them.

    ``learnt``, ``tuning``: batches of what was learnt from and of what was not, as they are; uint8 images (batch, 3,
    row, column) first. Returns the same where the network has no encoder, or there are too few tiles.
    """
    encoder = find_encoder(task.network)
    if encoder is None:
        return model
    task.eval()
    known, others = (_compute_textures(task, encoder, batches, run) for batches in (training, validation))
    if len(known) < MIN_TRAINING_CASES:
        return model
    kept = known[choose_training_cases(np.zeros(len(known), np.int64))].astype(np.float16)
    limit = choose_distance_threshold(MahalanobisDetector.fit(kept).distance(others))
    reference = model.reference
    reference = (
        replace(reference, textures=kept) if reference else make_texture_reference(kept, len(model.config.classes))
    )
    return replace(model, config=model.config.model_copy(update={"unlike": limit}), reference=reference)


def _compute_textures(task: Task, encoder: nn.Module, batches: Iterable, run: RunContext) -> NDArray[np.float32]:
    """Give the texture of each image."""
    import torch

    from napari_melanoma.models.blocks.texture import texture_features

    found = []
    with torch.inference_mode():
        for batch in run.track(batches, "Remembering what was learnt from"):
            images = batch[0].to(task.device)
            found.append(texture_features(encoder(task.normalize(images)), images.shape[-1]).cpu().numpy())
    return np.concatenate(found)

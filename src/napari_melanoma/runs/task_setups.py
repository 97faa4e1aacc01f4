"""What differs between the tasks of a run: Lightning task, sample pictures, and threshold or calibration."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import Sample
from napari_melanoma.metrics.overlap import count_class_pairs, label_metrics
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.runs.bundling import (
    NetworkOutputs,
    TrainedModel,
    adapt_normalization,
    add_textures,
    calibrate_config,
    choose_threshold,
    compute_outputs,
    create_reference,
    recognize_own_types,
)
from napari_melanoma.training.data_preparation import PreparedData
from napari_melanoma.training.engine import accelerator
from napari_melanoma.training.loader import (
    ValidationBatches,
    ValidationViews,
    images_in_order,
    training_slides_in_order,
    training_views_in_order,
    unlabeled_batches,
    validation_loader,
)
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.whole_slides import BagBatch

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from torch import Tensor, nn

    from napari_melanoma.models.blocks.bags import BagNetwork
    from napari_melanoma.models.blocks.classifier import ClassifierNetwork
    from napari_melanoma.training.tasks.classification import BagTask, ClassificationTask
    from napari_melanoma.training.tasks.task import Task

VALIDATION_BATCH = 16  # images per forward pass of a trained network
log = logging.getLogger(__name__)


class TaskSetup(Protocol):
    """The steps of a run that depend on its task."""

    def create_task(
        self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: PreparedData
    ) -> Task:
        """Create the task that Lightning runs."""

    def create_sample_writer(self, recipe: TrainRecipe, folder: RunFolder, prepared: PreparedData) -> Callback | None:
        """Create the callback that draws predictions of validation images during training; None if none are drawn."""

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: PreparedData, config: BundleConfig, run: RunContext
    ) -> TrainedModel:
        """Determine threshold or calibration on the validation set, and collect the content of the bundle."""


def spread_indices(count: int, number: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Choose ``number`` evenly spread indices of ``count`` items: int64, ascending, unique."""
    return np.unique(np.linspace(0, count - 1, min(number, count)).round().astype(np.int64))


def _choose_sample_images(recipe: TrainRecipe, prepared: PreparedData) -> tuple[list[str], Tensor, Tensor]:
    """Choose evenly spread validation images.

    Returns their names, images, uint8 (image, 3, row, column), and masks, uint8 (image, 1, row, column), of the
    network's size.
    """
    indices = spread_indices(len(prepared.validation), recipe.samples)
    images, masks, _ = ValidationBatches(prepared.validation, recipe.model.input_size)[indices]
    names = name_samples(prepared.samples.validation)
    return [names[index] for index in indices], images, masks


def name_samples(samples: Sequence[Sample]) -> list[str]:
    """Name images by their id, with the data set if several of them have the same id."""
    counts = Counter(sample.image_id for sample in samples)
    return [sample.image_id if counts[sample.image_id] == 1 else sample.full_name for sample in samples]


class SegmentationSetup:
    """Segmentation of lesions."""

    def create_task(
        self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: PreparedData
    ) -> Task:
        from napari_melanoma.training.tasks.prompted import PromptedSegmentationTask
        from napari_melanoma.training.tasks.segmentation import SegmentationTask

        weight = recipe.lesion_weight
        assert weight != "auto"
        if recipe.prompts is not None:
            return PromptedSegmentationTask(network, recipe, config, recipe.prompts, weight)
        return SegmentationTask(network, recipe, config, weight)

    def create_sample_writer(self, recipe: TrainRecipe, folder: RunFolder, prepared: PreparedData) -> Callback | None:
        """Draw contours on evenly chosen images."""
        from napari_melanoma.training.callbacks import SampleWriter

        names, images, masks = _choose_sample_images(recipe, prepared)
        return SampleWriter(folder, names, images, masks) if names else None

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: PreparedData, config: BundleConfig, run: RunContext
    ) -> TrainedModel:
        loader = validation_loader(prepared, recipe, VALIDATION_BATCH)
        config = choose_threshold(task.to(accelerator(recipe)), loader, recipe, config, run)
        log.info("validation Jaccard %.4f at threshold %.2f", config.provenance["validation_jaccard"], config.threshold)
        return TrainedModel(config)


class MulticlassSetup:
    """Segmentation of several classes."""

    def create_task(
        self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: PreparedData
    ) -> Task:
        from napari_melanoma.training.tasks.segmentation import MultiClassSegmentationTask

        return MultiClassSegmentationTask(network, recipe, config, prepared.label_shares)

    def create_sample_writer(self, recipe: TrainRecipe, folder: RunFolder, prepared: PreparedData) -> Callback | None:
        """Draw the classes in colors on evenly chosen images."""
        from napari_melanoma.training.callbacks import LabelSampleWriter

        names, images, labels = _choose_sample_images(recipe, prepared)
        return LabelSampleWriter(folder, names, images, labels, len(recipe.classes)) if names else None

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: PreparedData, config: BundleConfig, run: RunContext
    ) -> TrainedModel:
        """Measure the model on the validation set, and store the texture reference; there is no threshold."""
        task.to(accelerator(recipe)).eval()
        counts = _count_pixels(task, prepared, recipe, run)
        metrics = {name: round(float(value), 4) for name, value in label_metrics(counts, recipe.classes).items()}
        log.info("validation Dice %.4f, mean over %d classes", metrics["DI"], len(recipe.classes))
        measured = {
            "validation_jaccard": metrics["JA"],
            "validation_dice": metrics["DI"],
            "validation_dice_of_classes": {  # without a class that neither reference nor prediction has
                name: value for name in recipe.classes if math.isfinite(value := metrics[f"DI {name}"])
            },
        }
        config = config.model_copy(update={"provenance": {**config.provenance, **measured}})
        if recipe.tile is None:
            return TrainedModel(config)
        parts = (prepared.train, prepared.validation)
        training, validation = (images_in_order(part, recipe, VALIDATION_BATCH) for part in parts)
        return add_textures(TrainedModel(config), task, training, validation, run)


def _count_pixels(task: Task, prepared: PreparedData, recipe: TrainRecipe, run: RunContext) -> NDArray[np.int64]:
    """Count the pixels of all validation images, int64 (true class, predicted class)."""
    import torch

    classes = len(recipe.classes)
    counts = np.zeros((classes, classes), np.int64)
    with torch.inference_mode():
        for images, labels, _ in run.track(validation_loader(prepared, recipe, VALIDATION_BATCH), "Measuring"):
            predicted = task(images.to(task.device)).argmax(1).cpu().numpy()
            counts += count_class_pairs(predicted, labels[:, 0].numpy(), classes)
    return counts


class ClassificationSetup:
    """Classification of lesions."""

    def create_task(
        self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: PreparedData
    ) -> Task:
        """Create the task with the number of training images of each class."""
        from napari_melanoma.training.tasks.classification import ClassificationTask

        data = prepared.classes
        assert data is not None
        return ClassificationTask(cast("ClassifierNetwork", network), recipe, config, data.counts, len(data.domains))

    def create_sample_writer(self, recipe: TrainRecipe, folder: RunFolder, prepared: PreparedData) -> Callback | None:
        """Draw network inputs and predictions of evenly chosen images."""
        from napari_melanoma.training.callbacks import ClassSampleWriter

        assert prepared.classes is not None
        data = prepared.classes
        views = ValidationViews(prepared.validation, data.validation, prepared, recipe.model.input_size)
        batch = views[spread_indices(len(prepared.validation), recipe.samples)]
        validation_names = name_samples(prepared.samples.validation)
        names = [validation_names[index] for index in batch.keys[:, 1]]
        return ClassSampleWriter(folder, names, batch, data.names) if names else None

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: PreparedData, config: BundleConfig, run: RunContext
    ) -> TrainedModel:
        """Calibrate on the validation set, and store the reference cases."""
        classifier, options = cast("ClassificationTask", task.to(accelerator(recipe))), recipe.classification
        assert options is not None
        if options.adaptation.method == "adabn":
            adapt_normalization(classifier, unlabeled_batches(prepared, recipe, VALIDATION_BATCH))
        validation_batches = validation_loader(prepared, recipe, VALIDATION_BATCH)
        validation = compute_outputs(classifier, validation_batches, run, "Calibrating")
        training_batches = training_views_in_order(prepared, recipe, VALIDATION_BATCH)
        training = compute_outputs(classifier, training_batches, run, "Storing reference cases")
        reference = create_reference(validation, training, prepared.samples, options)
        own_types = recognize_own_types(prepared.samples.validation, config.modalities, run)
        finished = TrainedModel(calibrate_config(config, options, validation, reference, own_types), reference)
        if recipe.tile is None:
            return finished
        training_batches, validation_batches = (
            load(prepared, recipe, VALIDATION_BATCH) for load in (training_views_in_order, validation_loader)
        )
        return add_textures(finished, classifier, training_batches, validation_batches, run)


class BagSetup:
    """Classification of whole slides."""

    def create_task(
        self, recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: PreparedData
    ) -> Task:
        """Create the task with the number of training slides of each class."""
        from napari_melanoma.training.tasks.classification import BagTask

        assert prepared.classes is not None
        return BagTask(cast("BagNetwork", network), recipe, config, prepared.classes.counts)

    def create_sample_writer(self, recipe: TrainRecipe, folder: RunFolder, prepared: PreparedData) -> Callback | None:
        """Return None, because embeddings cannot be drawn."""
        return None

    def finish(
        self, task: Task, recipe: TrainRecipe, prepared: PreparedData, config: BundleConfig, run: RunContext
    ) -> TrainedModel:
        """Calibrate on the validation slides, and store the reference slides."""
        bag_task, options = cast("BagTask", task.to(accelerator(recipe))), recipe.classification
        assert options is not None
        batches = validation_loader(prepared, recipe, VALIDATION_BATCH)
        validation = _compute_bag_outputs(bag_task, batches, run, "Calibrating")
        batches = training_slides_in_order(prepared, recipe, VALIDATION_BATCH)
        training = _compute_bag_outputs(bag_task, batches, run, "Storing reference slides")
        reference = create_reference(validation, training, prepared.samples, options)
        calibrated = calibrate_config(config, options, validation, reference)
        if calibrated.classifier is not None and len(training.labels) <= training.embeddings.shape[1]:
            # With fewer slides than features, every new slide would be out of distribution.
            calibrated = calibrated.model_copy(
                update={"classifier": calibrated.classifier.model_copy(update={"novelty_threshold": None})}
            )
        return TrainedModel(calibrated, reference)


def _compute_bag_outputs(task: BagTask, batches: Iterable[BagBatch], run: RunContext, message: str) -> NetworkOutputs:
    import torch

    task.eval()
    outputs = []
    with torch.inference_mode():
        for batch in run.track(batches, message):
            embeddings = torch.stack([task.pool(bag).embedding for bag in batch.bags])
            table = batch.continuous.to(task.device), batch.categories.to(task.device)
            logits = task.network.classify(embeddings, *table)
            outputs.append((logits.cpu(), batch.shares.argmax(1), embeddings.cpu()))
    return NetworkOutputs(*(torch.cat(parts).numpy() for parts in zip(*outputs, strict=True)))

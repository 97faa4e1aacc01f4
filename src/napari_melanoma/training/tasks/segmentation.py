"""Segmentation of a lesion or of several classes as Lightning modules; imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_melanoma.metrics.overlap import UNLABELED_PIXEL, dice_per_class, jaccard_per_class, mean_over_classes
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.training.augmentation import BatchAugmentation, one_hot
from napari_melanoma.training.loader import ImageBatch
from napari_melanoma.training.losses import make_loss
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.tasks.task import RunningMeans, Task

MEASURES = ("validation_loss", "validation_jaccard", "validation_dice")
MAX_WEIGHT = 20.0  # relative to the most frequent class; without a limit, a class of a few pixels would dominate


class PixelTask(Task):
    """A network trained to predict masks or label images; ``_augment`` augments both."""

    _augment: BatchAugmentation

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float32 (batch, class, row, column), of images in [0, 255], (batch, 3, row, column)."""
        return self.network(self.normalize(images)).float()

    def on_after_batch_transfer(self, batch: ImageBatch, dataloader_idx: int) -> ImageBatch:
        """Augment images and masks on the device of the network during training."""
        images, masks, keys = batch
        if self.trainer.training:
            images, masks = self._augment(images, masks, keys)
        return images, masks, keys


class SegmentationTask(PixelTask):
    """A network trained to segment lesions.

    After each epoch ``metrics`` holds ``loss``, ``validation_loss``, ``validation_jaccard`` and ``validation_dice``:
    means over the images of all processes.

    ``network``: maps normalized float (batch, 3, row, column) to logits (batch, 1, row, column). ``lesion_weight``:
    weight of lesion pixels against skin in cross-entropy.
    """

    def __init__(
        self, network: nn.Module, recipe: TrainRecipe, bundle: BundleConfig, lesion_weight: float = 1.0
    ) -> None:
        super().__init__(network, recipe, bundle)
        self._criterion = make_loss(recipe.loss, lesion_weight)
        self._augment = BatchAugmentation(recipe.augmentation, recipe.model.input_size, recipe.seed)
        self._validation = RunningMeans(*MEASURES)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Apply the loss of the recipe.

        ``logits``, ``target``: float (batch, 1, row, column); the target in [0, 1].
        """
        return self._criterion(logits, target)

    def batch_loss(self, batch: ImageBatch) -> Tensor:
        """Compute the loss of a batch.

        ``batch``: images in [0, 255], masks 0 to 255, and keys.
        """
        images, masks, _ = batch
        return self.loss(self(images), masks.float() / 255)

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """Add the loss, and Jaccard and Dice at a threshold of 0.5; processes with fewer images get empty batches."""
        images, masks, _ = batch
        if not len(images):
            return
        logits, truth = self(images), masks > 127
        common = ((logits > 0) & truth).sum((1, 2, 3)).float()
        total = ((logits > 0).sum((1, 2, 3)) + truth.sum((1, 2, 3))).float()
        jaccard = torch.where(total > 0, common / (total - common).clamp(min=1), 1.0)
        dice = torch.where(total > 0, 2 * common / total.clamp(min=1), 1.0)
        self._validation.add(len(images), self.loss(logits, truth.float()), jaccard.mean(), dice.mean())

    def on_validation_epoch_start(self) -> None:
        """Discard the means of an interrupted validation."""
        self._validation = RunningMeans(*MEASURES)

    def on_validation_epoch_end(self) -> None:
        """Average over the validation images."""
        self.metrics = self._validation.reduce(self.device)


class MultiClassSegmentationTask(PixelTask):
    """A network trained to segment several classes.

    After each epoch ``metrics`` holds ``loss``, ``validation_loss``, ``validation_jaccard`` and ``validation_dice``:
    the last two are means over the classes, computed from the pixels of all images of all processes.

    ``network``: maps normalized float (batch, 3, row, column) to logits (batch, class, row, column). ``shares``: share
    of each class in the training pixels.
    """

    _weights: Tensor | None

    def __init__(self, network: nn.Module, recipe: TrainRecipe, bundle: BundleConfig, shares: Sequence[float]) -> None:
        super().__init__(network, recipe, bundle)
        self._classes = len(recipe.classes)
        weights = label_weights(shares) if recipe.lesion_weight == "auto" else None
        self.register_buffer("_weights", weights, persistent=False)
        self._augment = BatchAugmentation(recipe.augmentation, recipe.model.input_size, recipe.seed, self._classes)
        self._reset_counts()

    def _reset_counts(self) -> None:
        self._validation, self._confusion = RunningMeans("validation_loss"), ConfusionCounts(self._classes)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Apply the loss of the recipe.

        ``logits``, ``target``: float (batch, class, row, column); the target is one-hot.
        """
        return make_loss(self.recipe.loss, 1.0 if self._weights is None else self._weights)(logits, target)

    def batch_loss(self, batch: ImageBatch) -> Tensor:
        """Compute the loss of a batch.

        ``batch``: images in [0, 255], class indices (batch, 1, row, column), and keys.
        """
        images, labels, _ = batch
        return self.loss(self(images), one_hot(labels, self._classes).float())

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """Count pixels by class; processes with fewer images get empty batches at the end."""
        images, labels, _ = batch
        if not len(images):
            return
        logits = self(images)
        self._validation.add(len(images), self.loss(logits, one_hot(labels, self._classes).float()))
        self._confusion.add(logits.argmax(1), labels[:, 0])

    def on_validation_epoch_start(self) -> None:
        """Discard the counts of an interrupted validation."""
        self._reset_counts()

    def on_validation_epoch_end(self) -> None:
        """Evaluate all validation images at once."""
        counts = self._confusion.reduce(self.device)
        jaccard, dice = (float(mean_over_classes(index(counts))) for index in (jaccard_per_class, dice_per_class))
        self.metrics = {**self._validation.reduce(self.device), "validation_jaccard": jaccard, "validation_dice": dice}


def label_weights(shares: Sequence[float]) -> Tensor:
    """Return class weights inversely proportional to the class frequencies in the training pixels.

    ``shares``: share of each class in these pixels. Returns float32 (class,); the greatest is at most 20 times the
    least, and their mean over the pixels is 1, which keeps the scale of the loss.
    """
    share = torch.tensor(shares, dtype=torch.float32)
    weights = 1 / share.clamp(min=float(share.max()) / MAX_WEIGHT)
    return weights / (weights * share).sum()


class ConfusionCounts:
    """A confusion matrix of pixels over all processes."""

    def __init__(self, classes: int) -> None:
        self._counts = torch.zeros(classes, classes, dtype=torch.int64)

    def add(self, predicted: Tensor, truth: Tensor) -> None:
        """Add a batch.

        ``predicted``, ``truth``: integers (batch, row, column), class indices, on one device; pixels whose truth is
        ``UNLABELED_PIXEL`` are not counted.
        """
        classes = len(self._counts)
        is_labeled = truth != UNLABELED_PIXEL
        pairs = truth[is_labeled].long() * classes + predicted[is_labeled].long()
        self._counts += torch.bincount(pairs, minlength=classes**2).view(classes, classes).cpu()

    def reduce(self, device: torch.device) -> NDArray[np.int64]:
        """Return the counts over all processes and reset; every process must call it.

        Returns int64 (true class, predicted class).
        """
        counts = self._counts.to(device)
        self._counts = torch.zeros_like(self._counts)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(counts)
        return counts.cpu().numpy()

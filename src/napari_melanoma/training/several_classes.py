"""Segmentation of several classes as Lightning runs it; imports torch, so it is imported inside functions only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_melanoma.analysis.label_overlap import dice_of, jaccard_of, mean_over_classes
from napari_melanoma.training.augment.batch import BatchAugmentation, one_hot
from napari_melanoma.training.confusion import Confusion
from napari_melanoma.training.losses import make_loss
from napari_melanoma.training.means import Means
from napari_melanoma.training.task import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.loader import Batch
    from napari_melanoma.training.recipe import TrainRecipe

MOST_WEIGHT = 20.0  # against the most frequent class; a class of a few pixels would drown the others


class SeveralClassesTask(Task):
    """A network that learns of which class each pixel is.

    After each epoch ``metrics`` holds ``loss``, ``tuning_loss``, ``tuning_jaccard`` and ``tuning_dice``: the last two
    are means over the classes, of the pixels of all images of all processes together.

    ``network``: normalised float (batch, 3, row, column) to logits (batch, class, row, column). ``shares``: of each
    class in the pixels to learn from.
    """

    _weights: Tensor | None

    def __init__(self, network: nn.Module, recipe: TrainRecipe, bundle: BundleConfig, shares: Sequence[float]) -> None:
        super().__init__(network, recipe, bundle)
        self._classes = len(recipe.classes)
        weights = label_weights(shares) if recipe.lesion_weight == "auto" else None
        self.register_buffer("_weights", weights, persistent=False)
        self._augment = BatchAugmentation(recipe.augmentation, recipe.model.input_size, recipe.seed, self._classes)
        self._forget()

    def _forget(self) -> None:
        """Begin a validation."""
        self._tuning, self._confusion = Means("tuning_loss"), Confusion(self._classes)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits, float32 (batch, class, row, column), of images in [0, 255], (batch, 3, row, column)."""
        return self.network(self.normalised(images)).float()

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Apply the loss of the recipe.

        ``logits``, ``target``: float (batch, class, row, column); the target is 1 in the map of the right class and 0
        elsewhere.
        """
        return make_loss(self.recipe.loss, 1.0 if self._weights is None else self._weights)(logits, target)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Vary images and label images on the device where the network is, while learning."""
        images, labels, keys = batch
        if self.trainer.training:
            images, labels = self._augment(images, labels, keys)
        return images, labels, keys

    def batch_loss(self, batch: Batch) -> Tensor:
        """Compare what the network finds with the label images.

        ``batch``: images in [0, 255], numbers of classes (batch, 1, row, column), and keys.
        """
        images, labels, _ = batch
        return self.loss(self(images), one_hot(labels, self._classes).float())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count pixels by class; processes with fewer images get empty batches at the end."""
        images, labels, _ = batch
        if not len(images):
            return
        logits = self(images)
        self._tuning.add(len(images), self.loss(logits, one_hot(labels, self._classes).float()))
        self._confusion.add(logits.argmax(1), labels[:, 0])

    def on_validation_epoch_start(self) -> None:
        """Forget the numbers of a validation that was broken off."""
        self._forget()

    def on_validation_epoch_end(self) -> None:
        """Measure on all tuning images at once."""
        counts = self._confusion.take(self.device)
        jaccard, dice = (float(mean_over_classes(index(counts))) for index in (jaccard_of, dice_of))
        self.metrics = {**self._tuning.take(self.device), "tuning_jaccard": jaccard, "tuning_dice": dice}


def label_weights(shares: Sequence[float]) -> Tensor:
    """Weigh classes so that each counts as much as any other, over all pixels to learn from.

    ``shares``: of each class in these pixels. Returns float32 (class,); none is more than 20 times the least, and their
    mean over the pixels is 1, so that the loss stays of the size that learning rates are meant for.
    """
    share = torch.tensor(shares, dtype=torch.float32)
    weights = 1 / share.clamp(min=float(share.max()) / MOST_WEIGHT)
    return weights / (weights * share).sum()

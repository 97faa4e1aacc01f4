"""The segmentation task as Lightning runs it; imports torch, so it is itself imported inside functions only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_melanoma.training.augment.batch import BatchAugmentation
from napari_melanoma.training.losses import make_loss
from napari_melanoma.training.means import Means
from napari_melanoma.training.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.loader import Batch
    from napari_melanoma.training.recipe import TrainRecipe

MEASURES = ("tuning_loss", "tuning_jaccard", "tuning_dice")


class SegmentationTask(Task):
    """A network that learns where lesions are.

    After each epoch ``metrics`` holds ``loss``, ``tuning_loss``, ``tuning_jaccard`` and ``tuning_dice``: means over the
    images of all processes.

    ``network``: normalised float (batch, 3, row, column) to logits (batch, 1, row, column). ``lesion_weight``: of
    lesion pixels against skin in cross-entropy.
    """

    def __init__(
        self, network: nn.Module, recipe: TrainRecipe, bundle: BundleConfig, lesion_weight: float = 1.0
    ) -> None:
        super().__init__(network, recipe, bundle)
        self._criterion = make_loss(recipe.loss, lesion_weight)
        self._augment = BatchAugmentation(recipe.augmentation, recipe.model.input_size, recipe.seed)
        self._tuning = Means(*MEASURES)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits, float32 (batch, 1, row, column), of images in [0, 255], (batch, 3, row, column)."""
        return self.network(self.normalised(images)).float()

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Apply the loss of the recipe.

        ``logits``, ``target``: float (batch, 1, row, column); the target in [0, 1].
        """
        return self._criterion(logits, target)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Vary images and masks on the device where the network is, while learning."""
        images, masks, keys = batch
        if self.trainer.training:
            images, masks = self._augment(images, masks, keys)
        return images, masks, keys

    def batch_loss(self, batch: Batch) -> Tensor:
        """Compare what the network finds with the masks.

        ``batch``: images in [0, 255], masks 0 to 255, and keys.
        """
        images, masks, _ = batch
        return self.loss(self(images), masks.float() / 255)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add loss, and Jaccard and Dice at one half; processes with fewer images get empty batches at the end."""
        images, masks, _ = batch
        if not len(images):
            return
        logits, truth = self(images), masks > 127
        common = ((logits > 0) & truth).sum((1, 2, 3)).float()
        total = ((logits > 0).sum((1, 2, 3)) + truth.sum((1, 2, 3))).float()
        jaccard = torch.where(total > 0, common / (total - common).clamp(min=1), 1.0)
        dice = torch.where(total > 0, 2 * common / total.clamp(min=1), 1.0)
        self._tuning.add(len(images), self.loss(logits, truth.float()), jaccard.mean(), dice.mean())

    def on_validation_epoch_start(self) -> None:
        """Forget the numbers of a validation that was broken off."""
        self._tuning = Means(*MEASURES)

    def on_validation_epoch_end(self) -> None:
        """Take the means over the tuning images."""
        self.metrics = self._tuning.take(self.device)

"""The segmentation task as Lightning runs it; imports torch, so it is itself imported inside functions only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule

from napari_melanoma.models.zoo import encoder_of
from napari_melanoma.training.loader import seed_of
from napari_melanoma.training.losses import LOSSES

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from torch import Tensor, nn

    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.recipe import TrainRecipe

Batch = tuple["Tensor", "Tensor"]


class SegmentationTask(LightningModule):
    """A network that learns where lesions are.

    Parameters
    ----------
    network : torch.nn.Module
        Normalised float (batch, 3, row, column) to logits (batch, 1, row, column).
    recipe : TrainRecipe
        Loss, optimiser and seed.
    bundle : BundleConfig
        How images are normalised; the bundle that comes out says the same.
    """

    def __init__(self, network: nn.Module, recipe: TrainRecipe, bundle: BundleConfig) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self._recipe = recipe
        self._loss = LOSSES[recipe.loss]
        self._mean = 255 * torch.tensor(bundle.mean).view(1, 3, 1, 1)
        self._std = 255 * torch.tensor(bundle.std).view(1, 3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits, float32 (batch, 1, row, column), of images, uint8 (batch, 3, row, column)."""
        normalised = (images.float() - self._mean.to(images.device)) / self._std.to(images.device)
        return self.network(normalised.contiguous(memory_format=torch.channels_last)).float()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed what the network itself draws (dropout), so that a resumed epoch repeats exactly."""
        torch.manual_seed(seed_of(self._recipe.seed, self.current_epoch, batch_idx, 1))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        images, masks = batch
        loss = self._loss(self(images), masks.float() / 255)
        self.log("loss", loss, on_step=True, on_epoch=True, batch_size=len(images), prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log loss, Jaccard and Dice at one half, averaged over images."""
        images, masks = batch
        logits, truth = self(images), masks > 127
        common = ((logits > 0) & truth).sum((1, 2, 3)).float()
        total = ((logits > 0).sum((1, 2, 3)) + truth.sum((1, 2, 3))).float()
        values = {
            "tuning_loss": self._loss(logits, truth.float()),
            "tuning_jaccard": torch.where(total > 0, common / (total - common).clamp(min=1), 1.0).mean(),
            "tuning_dice": torch.where(total > 0, 2 * common / total.clamp(min=1), 1.0).mean(),
        }
        self.log_dict(values, on_epoch=True, batch_size=len(images), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW under a one-cycle schedule; the encoder, which has learnt already, moves more slowly."""
        recipe = self._recipe
        pretrained = encoder_of(self.network)
        encoder = list(pretrained.parameters()) if pretrained else []
        known = {id(parameter) for parameter in encoder}
        rest = [parameter for parameter in self.network.parameters() if id(parameter) not in known]
        rates = [recipe.learning_rate * recipe.encoder_rate, recipe.learning_rate]
        groups = [{"params": part, "lr": rate} for part, rate in zip((encoder, rest), rates, strict=True)]
        optimiser = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps, pct_start=0.2)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

"""The segmentation task as Lightning runs it; imports torch, so it is itself imported inside functions only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from lightning.pytorch import LightningModule
from torch import nn

from napari_melanoma.models.zoo import encoder_of
from napari_melanoma.training.augment.batch import BatchAugmentation
from napari_melanoma.training.losses import make_loss
from napari_melanoma.training.means import Means
from napari_melanoma.training.optimisation import OPTIMISERS, idle_weight, schedule_of
from napari_melanoma.training.sampling import Rank
from napari_melanoma.training.seeds import seed_of

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from torch import Tensor
    from torch.utils.data import DataLoader

    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.engine import Loaders
    from napari_melanoma.training.loader import Batch
    from napari_melanoma.training.recipe import TrainRecipe

NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class SegmentationTask(LightningModule):
    """A network that learns where lesions are.

    After each epoch ``metrics`` holds ``loss``, ``tuning_loss``, ``tuning_jaccard`` and ``tuning_dice``: means over the
    images of all processes.

    Parameters
    ----------
    network : torch.nn.Module
        Normalised float (batch, 3, row, column) to logits (batch, 1, row, column).
    recipe : TrainRecipe
        Loss, optimiser, augmentation and seed.
    bundle : BundleConfig
        How images are normalised; the bundle that comes out says the same.
    lesion_weight : float, optional
        Of lesion pixels against skin in cross-entropy.
    """

    _mean: Tensor
    _std: Tensor
    _idle: nn.Parameter | None

    def __init__(
        self, network: nn.Module, recipe: TrainRecipe, bundle: BundleConfig, lesion_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.recipe = recipe
        self.metrics: dict[str, float] = {}
        self.register_parameter("_idle", idle_weight(network))
        self._criterion = make_loss(recipe.loss, lesion_weight)
        self._augment = BatchAugmentation(recipe.augmentation, recipe.model.input_size, recipe.seed)
        # Buffers, so that they lie where the network does; not in checkpoints, for the bundle says them.
        self.register_buffer("_mean", 255 * torch.tensor(bundle.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", 255 * torch.tensor(bundle.std).view(1, 3, 1, 1), persistent=False)
        self._learning = Means("loss")
        self._tuning = Means("tuning_loss", "tuning_jaccard", "tuning_dice")
        self._loss = torch.tensor(float("nan"))
        self._bad: Tensor | None = None

    @property
    def learns(self) -> bool:
        """Whether the network has weights; a baseline without any is looked at for one epoch."""
        return self._idle is None

    def forward(self, images: Tensor) -> Tensor:
        """Give logits, float32 (batch, 1, row, column), of images in [0, 255], (batch, 3, row, column)."""
        normalised = (images.float() - self._mean) / self._std
        return self.network(normalised.contiguous(memory_format=torch.channels_last)).float()

    def train(self, mode: bool = True) -> Self:
        """Switch to learning; statistics of normalisation stay as they are where the recipe says so.

        Parameters
        ----------
        mode : bool
            False switches to use.

        Returns
        -------
        SegmentationTask
            This one.
        """
        super().train(mode)
        if mode and self.recipe.model.freeze_normalisation:
            for module in self.modules():
                if isinstance(module, NORMALISATION):
                    module.eval()
        return self

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Apply the loss of the recipe.

        Parameters
        ----------
        logits, target : torch.Tensor
            Float (batch, 1, row, column); the target in [0, 1].

        Returns
        -------
        torch.Tensor
            A scalar.
        """
        return self._criterion(logits, target)

    def learn_from(self, loaders: Loaders, pieces: int) -> None:
        """Say where batches come from; which share this process gets is known when its trainer runs.

        Parameters
        ----------
        loaders : callable
            A share of each step to the loaders of what is learnt from and of what picks the epoch.
        pieces : int
            In which each process computes its share.
        """
        self._loaders, self._pieces = loaders, pieces

    def train_dataloader(self) -> DataLoader:
        """Give this process's share of what is learnt from."""
        return self._loaders(Rank(self.trainer.global_rank, self.trainer.world_size, self._pieces))[0]

    def val_dataloader(self) -> DataLoader:
        """Give this process's share of what picks the epoch."""
        return self._loaders(Rank(self.trainer.global_rank, self.trainer.world_size, self._pieces))[1]

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Vary images and masks on the device where the network is, while learning."""
        images, masks, keys = batch
        if self.trainer.training:
            images, masks = self._augment(images, masks, keys)
        return images, masks, keys

    def on_train_epoch_start(self) -> None:
        """Forget the numbers of an epoch that was broken off."""
        self._learning, self._bad = Means("loss"), None

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed what the network itself draws (dropout), so that a resumed epoch repeats exactly."""
        torch.manual_seed(seed_of(self.recipe.seed, self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        images, masks, _ = batch
        loss = self.loss(self(images), masks.float() / 255)
        self._loss = loss.detach()
        self._learning.add(len(images), self._loss)
        self._remember_bad(batch_idx)
        return loss if self._idle is None else loss + 0 * self._idle

    def on_train_epoch_end(self) -> None:
        """Take the mean over the epoch."""
        self.metrics = {**self._learning.take(self.device), **self.metrics}

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
        self._tuning = Means("tuning_loss", "tuning_jaccard", "tuning_dice")

    def on_validation_epoch_end(self) -> None:
        """Take the means over the tuning images."""
        self.metrics = self._tuning.take(self.device)

    def last_loss(self) -> float:
        """Read the loss of the last batch; waits for the device.

        Returns
        -------
        float
            Not a number before the first batch.
        """
        return float(self._loss)

    def first_bad_batch(self) -> int | None:
        """Say in which batch of this epoch the loss became no number; waits for the device.

        Returns
        -------
        int or None
            Counted from 0; None where it is a number still.
        """
        batch = -1 if self._bad is None else int(self._bad)
        return batch if batch >= 0 else None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make optimiser and schedule as the recipe says; an encoder that has learnt already moves more slowly."""
        recipe = self.recipe
        pretrained = encoder_of(self.network)
        encoder = list(pretrained.parameters()) if pretrained else []
        known = {id(parameter) for parameter in encoder}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in known]
        slower = 1.0 if recipe.model.start == "none" else recipe.encoder_rate
        rates = [recipe.learning_rate * slower, recipe.learning_rate]
        groups: list[dict[str, Any]] = [
            {"params": part, "lr": rate} for part, rate in zip((encoder, rest), rates, strict=True) if part
        ]
        optimiser = OPTIMISERS[recipe.optimiser](groups, recipe.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = schedule_of(recipe, optimiser, steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _remember_bad(self, batch_idx: int) -> None:
        """Keep on the device in which batch the loss first was no number; nobody waits for it here."""
        bad = torch.where(torch.isfinite(self._loss), -1, batch_idx)
        self._bad = bad if self._bad is None else torch.where(self._bad >= 0, self._bad, bad)

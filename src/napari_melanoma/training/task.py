"""What every task shares as Lightning runs it: batches, seeds, normalisation, optimiser, numbers; imports torch.

It is itself imported inside functions only.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

import torch
from lightning.pytorch import LightningModule
from torch import nn

from napari_melanoma.models.zoo import encoder_of
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
    from napari_melanoma.training.recipe import TrainRecipe

NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Task(LightningModule):
    """A network that learns; the tasks say from what, and how well it does.

    After each epoch ``metrics`` holds ``loss``, ``tuning_loss`` and what the task measures, the value of its monitor
    among them: all over the images of all processes.
    """

    _mean: Tensor
    _std: Tensor
    _idle: nn.Parameter | None

    def __init__(self, network: nn.Module, recipe: TrainRecipe, bundle: BundleConfig) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.recipe = recipe
        self.metrics: dict[str, float] = {}
        self.register_parameter("_idle", idle_weight(network))
        # Buffers, so that they lie where the network does; not in checkpoints, for the bundle says them.
        self.register_buffer("_mean", 255 * torch.tensor(bundle.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", 255 * torch.tensor(bundle.std).view(1, 3, 1, 1), persistent=False)
        self._learning = Means("loss")
        self._loss = torch.tensor(float("nan"))
        self._bad: Tensor | None = None

    @abstractmethod
    def batch_loss(self, batch: Any) -> Tensor:  # noqa: ANN401 - each task has batches of its own
        """Give the loss of a batch that was varied.

        A scalar, the mean over the images.
        """

    @property
    def learns(self) -> bool:
        """Whether the network has weights; a baseline without any is looked at for one epoch."""
        return self._idle is None

    def normalised(self, images: Tensor) -> Tensor:
        """Bring images to what the network was made for.

        ``images``: in [0, 255], (batch, 3, row, column). Returns float32 of the same shape, channels last in memory.
        """
        return ((images.float() - self._mean) / self._std).contiguous(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> Self:
        """Switch to learning; statistics of normalisation stay as they are where the recipe says so."""
        super().train(mode)
        if mode and self.recipe.model.freeze_normalisation:
            for module in self.modules():
                if isinstance(module, NORMALISATION):
                    module.eval()
        return self

    def learn_from(self, loaders: Loaders, pieces: int) -> None:
        """Say where batches come from; which share this process gets is known when its trainer runs."""
        self._loaders, self._pieces = loaders, pieces

    def train_dataloader(self) -> DataLoader:
        """Give this process's share of what is learnt from."""
        return self._loaders(Rank(self.trainer.global_rank, self.trainer.world_size, self._pieces))[0]

    def val_dataloader(self) -> DataLoader:
        """Give this process's share of what picks the epoch."""
        return self._loaders(Rank(self.trainer.global_rank, self.trainer.world_size, self._pieces))[1]

    def on_train_epoch_start(self) -> None:
        """Forget the numbers of an epoch that was broken off."""
        self._learning, self._bad = Means("loss"), None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Seed what the network itself draws (dropout), so that a resumed epoch repeats exactly."""
        torch.manual_seed(seed_of(self.recipe.seed, self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ANN401
        """Return the loss of one batch."""
        loss = self.batch_loss(batch)
        self._loss = loss.detach()
        self._learning.add(len(batch[0]), self._loss)
        self._remember_bad(batch_idx)
        return loss if self._idle is None else loss + 0 * self._idle

    def on_train_epoch_end(self) -> None:
        """Take the mean over the epoch."""
        self.metrics = {**self._learning.take(self.device), **self.metrics}

    def last_loss(self) -> float:
        """Read the loss of the last batch; waits for the device.

        Not a number before the first batch.
        """
        return float(self._loss)

    def first_bad_batch(self) -> int | None:
        """Say in which batch of this epoch the loss became no number; waits for the device.

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

"""A moving average of the weights, which is validated, kept as the best and shipped instead of them; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Callback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning.pytorch import LightningModule, Trainer
    from torch import Tensor

LIVE = "live_state_dict"


class AveragedWeights(Callback):
    """Keeps an exponential moving average of the weights, on their device.

    Lightning's own ``WeightAveraging`` copies the module before it is on its device and averages counters of batches
    as if they were weights; this one averages what is floating (statistics of normalisation too) and copies the rest.
    """

    def __init__(self, decay: float, *, warm_up: bool = True) -> None:
        self._decay = decay
        self._warm_up = warm_up
        self._steps = 0
        self._live: dict[str, Tensor] = {}
        self._average: dict[str, Tensor] = {}
        self._loaded: Mapping[str, Tensor] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the weights as they are, or with the average of a resumed run."""
        self._live = pl_module.state_dict()  # the tensors themselves: they are on their device and stay there
        source = self._loaded or self._live
        self._average = {name: source[name].to(value.device, copy=True) for name, value in self._live.items()}
        self._loaded = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:  # noqa: ANN401
        """Move the average after each step of the optimiser; a piece of a step is none."""
        if trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps)) if self._warm_up else self._decay
        floating = [name for name, value in self._live.items() if value.is_floating_point()]
        averages, values = ([tensors[name] for name in floating] for tensors in (self._average, self._live))
        with torch.no_grad():
            torch._foreach_lerp_(averages, values, 1 - decay)
            for name in self._live.keys() - set(floating):
                self._average[name].copy_(self._live[name])

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        self._swap()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on learning with the weights."""
        self._swap()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint's model be the average, and keep the weights beside it."""
        checkpoint[LIVE] = checkpoint["state_dict"]
        checkpoint["state_dict"] = self._average

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take both back; Lightning has put the average into the model by now."""
        if LIVE in checkpoint:
            self._loaded = checkpoint["state_dict"]
            self._steps = checkpoint["global_step"]
            pl_module.load_state_dict(checkpoint[LIVE])

    def _swap(self) -> None:
        """Exchange the values of the model and of the average."""
        with torch.no_grad():
            for name, value in self._live.items():
                other = self._average[name]
                kept = value.clone()
                value.copy_(other)
                other.copy_(kept)

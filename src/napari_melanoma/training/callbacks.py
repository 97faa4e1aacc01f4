"""What a run folder needs of Lightning: events, metrics, atomic checkpoints, an ear for cancel; imports torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback

from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.runs import Progress, RunContext

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

    from napari_melanoma.core.run_folder import RunFolder

EVENT_INTERVAL_S = 1.0


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name beside its place, then renames it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: ANN401 - Lightning's signature
        """Save; a crash in the middle leaves the earlier checkpoint whole."""
        with atomic_file(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class RunWriter(Callback):
    """Writes events and metrics as the run goes, reports progress, and ends the run when it is asked to.

    Parameters
    ----------
    folder : RunFolder
        Where to write.
    run : RunContext
        Told of the progress, asked whether to go on.
    """

    def __init__(self, folder: RunFolder, run: RunContext) -> None:
        self._folder = folder
        self._run = run
        self._told = self._epoch_began = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember when the epoch began."""
        self._epoch_began = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: torch.Tensor | Mapping[str, Any] | None,
        batch: Any,  # noqa: ANN401 - Lightning's signature
        batch_idx: int,
    ) -> None:
        """Stop if asked; otherwise say where the run stands, at most once a second."""
        self._run.check()
        now = time.monotonic()
        if not trainer.is_global_zero or now - self._told < EVENT_INTERVAL_S:
            return
        self._told = now
        self._tell_step(trainer, batch_idx + 1, len(batch[0]) * (batch_idx + 1) / (now - self._epoch_began))

    def _tell_step(self, trainer: Trainer, done: int, images_per_second: float) -> None:
        """Write a step event and report it."""
        batches, epochs = int(trainer.num_training_batches), int(trainer.max_epochs or 1)
        share = (trainer.current_epoch + done / batches) / epochs
        left = batches * (epochs - trainer.current_epoch) - done
        seconds_each = (time.monotonic() - self._epoch_began) / done
        loss = float(trainer.callback_metrics.get("loss_step", torch.nan))
        self._folder.tell(
            "step",
            epoch=trainer.current_epoch,
            step=trainer.global_step,
            loss=loss,
            images_per_second=round(images_per_second, 2),
            eta_s=round(left * seconds_each),
            memory_mb=round(psutil.Process().memory_info().rss / 2**20),
        )
        message = f"Epoch {trainer.current_epoch + 1} of {epochs}, loss {loss:.3f}, {images_per_second:.0f} images/s"
        self._run.report(Progress(round(1000 * share), 1000, message))

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # noqa: ANN401 - Lightning's signature
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop if asked; a validation has many batches as well."""
        self._run.check()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's metrics."""
        if not trainer.is_global_zero:
            return
        names = ("loss_epoch", "tuning_loss", "tuning_jaccard", "tuning_dice")
        values = {name.removesuffix("_epoch"): float(trainer.callback_metrics[name]) for name in names}
        rate = float(trainer.optimizers[0].param_groups[-1]["lr"])
        seconds = time.monotonic() - self._epoch_began
        row = {"epoch": trainer.current_epoch, **values, "learning_rate": rate, "seconds": seconds}
        self._folder.add_metrics(row)
        self._folder.tell("epoch", **row)

"""Checkpoints within an epoch, from which a run continues with the remaining batches; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

from napari_melanoma.core.run_folder import RunFolder

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from napari_melanoma.training.monitor import EpochTimer
    from napari_melanoma.training.tasks.task import Task


PARTIAL_EPOCH = "partial_epoch"  # key of a checkpoint within an epoch


class PartialEpoch(Callback):
    """Saves and restores the state of an unfinished epoch.

    The order of the images, augmentation and dropout depend on the seed, the epoch and the batch only. In addition to
    the state of Lightning, a checkpoint therefore needs the number of finished steps, and the losses until then.
    """

    def __init__(self, folder: RunFolder, timer: EpochTimer) -> None:
        self._folder = folder
        self._timer = timer
        self._is_saving = False
        self._part: dict[str, Any] | None = None

    def save(self, trainer: Trainer) -> None:
        """Replace the last checkpoint, after a step or during the validation; every process must call it."""
        self._is_saving = True
        try:
            trainer.save_checkpoint(self._folder.last_checkpoint)
        finally:
            self._is_saving = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Task, checkpoint: dict[str, Any]) -> None:  # type: ignore[override]
        """Add the position in the epoch to a checkpoint of ``save``."""
        if self._is_saving:
            finished = trainer.fit_loop.batch_idx + 1
            checkpoint[PARTIAL_EPOCH] = {
                "steps": finished // trainer.accumulate_grad_batches,
                "is_validation": finished == trainer.num_training_batches,
                "losses": pl_module.training_means.gather(pl_module.device),
                "seconds": self._timer.epoch_seconds(),
            }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Task, checkpoint: dict[str, Any]) -> None:  # type: ignore[override]
        """Continue at the stored position; the number of micro-batches in a step may have changed."""
        self._part = checkpoint.get(PARTIAL_EPOCH)
        pl_module.resumed_at = (checkpoint["epoch"], self._part["steps"] if self._part else 0)
        if self._part:
            batches = self._part["steps"] * trainer.accumulate_grad_batches
            _move_loops(checkpoint["loops"]["fit_loop"], batches, is_validation=self._part["is_validation"])

    def on_train_start(self, trainer: Trainer, pl_module: Task) -> None:  # type: ignore[override]
        """Start the epoch, which Lightning does only before its first batch, and restore its losses."""
        if self._part:
            self._timer.begin_epoch(self._part["seconds"])
            pl_module.on_train_epoch_start()
            pl_module.training_means.restore(self._part["losses"], trainer.global_rank, trainer.world_size)
            self._part = None


def _move_loops(loops: dict[str, Any], batches: int, *, is_validation: bool) -> None:
    """Set the progress of Lightning's loops to the time between two batches, or before the validation of an epoch.

    Lightning expects checkpoints within an epoch from a hook after a batch, and then skips the validation of an epoch
    whose batches are all finished. It repeats a validation that was interrupted in its first batch.
    """
    progress = loops["epoch_loop.batch_progress"]
    earlier = progress["total"]["processed"] - progress["current"]["processed"]
    progress["current"] = dict.fromkeys(progress["current"], batches)
    progress["total"] = dict.fromkeys(progress["total"], earlier + batches)
    progress["is_last_batch"] = is_validation
    nothing = dict.fromkeys(progress["current"], 0)
    loops["epoch_loop.val_loop.batch_progress"] = {
        "total": {**nothing, "ready": int(is_validation), "started": int(is_validation)},
        "current": nothing,
        "is_last_batch": False,
    }

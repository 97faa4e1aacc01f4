"""Callbacks of a run: events, metrics, checkpoints, pause and cancel, averaged weights; imports torch."""

from __future__ import annotations

import math
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint

from napari_melanoma.core.context import Cancelled, Milestone, Progress, RunContext
from napari_melanoma.core.errors import SaveError, TrainingDiverged
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.run_folder import PAUSE_S, RunCommand, RunFolder
from napari_melanoma.training.monitor import divergence_message, monitor_from_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from lightning.pytorch import LightningModule, Trainer
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.training.monitor import EpochTimer, PausableClock
    from napari_melanoma.training.tasks.task import Task

EVENT_INTERVAL_S = 1.0


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name beside its place, then renames it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: ANN401 - Lightning's signature
        """Save; a crash in the middle leaves the earlier checkpoint whole."""
        save_state(checkpoint, Path(path))


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values atomically."""
    if not path.parent.parent.is_dir():  # writing would make a folder of that name again, with half a run in it
        raise SaveError(f"cannot write {path}: the run folder was removed. Start the run again.")
    # Into an open file: given a path, torch's own writer tells of a full disk as of an internal fault.
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)


def copy_state(source: Path, path: Path) -> None:
    """Let a second name stand for the same bytes, atomically; files of states are replaced, never changed."""
    with atomic_file(path) as temporary:
        try:
            temporary.unlink(missing_ok=True)
            temporary.hardlink_to(source)
        except OSError:  # a file system without links
            shutil.copyfile(source, temporary)


class RunWriter(Callback):
    """Writes step events, at most one a second, and reports progress."""

    def __init__(self, folder: RunFolder, run: RunContext, clock: PausableClock, pace: EpochTimer) -> None:
        self._folder = folder
        self._run = run
        self._clock = clock
        self._pace = pace

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure."""
        self._pace.begin_epoch()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure tuning apart."""
        self._pace.begin_validation()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep how long tuning took."""
        self._pace.end_validation()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: Task,  # type: ignore[override]
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Say where the run stands."""
        self._pace.count_batch()
        if trainer.is_global_zero and self._clock.is_due("step", EVENT_INTERVAL_S):
            self._report_step(trainer, pl_module, batch_idx + 1, len(batch[0]) * trainer.world_size)

    def _report_step(self, trainer: Trainer, task: Task, done: int, images: int) -> None:
        """Write a step event and report it."""
        epoch, epochs = trainer.current_epoch, int(trainer.max_epochs or 1)
        batches, tuning_batches = int(trainer.num_training_batches), int(sum(trainer.num_val_batches))
        left = batches * (epochs - epoch) - done
        loss, speed = task.last_loss(), images / self._pace.batch_seconds()
        self._folder.append_event(
            "step",
            epoch=epoch,
            step=trainer.global_step,
            batch=done,
            batches=batches,
            loss=loss,
            images_per_second=round(speed, 2),
            eta_s=round(self._pace.seconds_left(left, tuning_batches, epochs - epoch + 1)),
            **memory_in_use(task.device),
        )
        message = f"Epoch {epoch + 1} of {epochs}, loss {loss:.3f}, {speed:.0f} images/s"
        self._run.report(Progress(round(1000 * (epoch + done / batches) / epochs), 1000, message))


class BestCheckpoint(Checkpoint):
    """At the end of each epoch: writes its metrics, keeps the last and the best state, stops when none gets better.

    Best is the greatest value of the task's monitor, and of equals (in a run that has found nothing yet, say) the
    smallest loss.

    Lightning's own callbacks forget the best score when a run folder has moved, and one that was stopped early would
    go on for an epoch when resumed.
    """

    def __init__(self, folder: RunFolder, run: RunContext, patience: int, pace: EpochTimer) -> None:
        self._folder = folder
        self._run = run
        self._patience = patience
        self._pace = pace
        self._best, self._best_loss, self._best_epoch, self._waited = -math.inf, math.inf, -1, 0

    def state_dict(self) -> dict[str, Any]:
        """Give what a resumed run must know."""
        known = {"best": self._best, "best_loss": self._best_loss}
        return {**known, "best_epoch": self._best_epoch, "waited": self._waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self._best, self._best_epoch = state_dict["best"], state_dict["best_epoch"]
        self._best_loss = state_dict.get("best_loss", -math.inf)  # states from before it was kept
        self._waited = state_dict["waited"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the start, so that resuming needs nothing else; do not go on with a run that had stopped early."""
        if self._waited >= self._patience:
            trainer.should_stop = True
        if trainer.is_global_zero and not self._folder.last_checkpoint.exists():
            save_state({"epoch": 0, "state_dict": pl_module.state_dict()}, self._folder.last_checkpoint)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Task) -> None:  # type: ignore[override]
        """Write, keep, and judge whether to go on; every process, as saving waits for all."""
        epoch, values = trainer.current_epoch, pl_module.metrics
        for name in ("loss", "tuning_loss"):
            if not math.isfinite(values[name]):
                raise TrainingDiverged(divergence_message(pl_module.recipe, name.replace("_", " "), epoch, None))
        self._reset_lost_best(trainer)
        measured, loss = values[monitor_from_values(values).name], values["tuning_loss"]
        risen = measured > self._best
        better = risen or (measured == self._best and loss < self._best_loss)
        if better:
            self._best, self._best_loss, self._best_epoch = measured, loss, epoch
        self._waited = 0 if risen else self._waited + 1
        if trainer.is_global_zero:
            self._report_epoch(trainer, values, better)
        if better:  # the same state is both, and written once
            trainer.save_checkpoint(self._folder.best_checkpoint)
            if trainer.is_global_zero:
                copy_state(self._folder.best_checkpoint, self._folder.last_checkpoint)
        else:
            trainer.save_checkpoint(self._folder.last_checkpoint)
        if self._waited >= self._patience:
            trainer.should_stop = True
            if trainer.is_global_zero and epoch + 1 < int(trainer.max_epochs or 1):
                self._folder.append_event(
                    "notice", message=f"stopped early: {self._waited} epochs brought nothing better."
                )

    def _reset_lost_best(self, trainer: Trainer) -> None:
        """Begin to look for the best anew where somebody removed it."""
        if trainer.strategy.broadcast(self._best_epoch >= 0 and not self._folder.best_checkpoint.exists()):
            self._best, self._best_loss = -math.inf, math.inf
            if trainer.is_global_zero:
                epoch = self._best_epoch + 1
                message = f"checkpoints were removed: the model of epoch {epoch}, the best so far, is lost."
                self._folder.append_event("notice", message=message)

    def _report_epoch(self, trainer: Trainer, values: dict[str, float], better: bool) -> None:
        """Write the epoch into the table and the events, and report it."""
        epoch, epochs = trainer.current_epoch, int(trainer.max_epochs or 1)
        rate = float(trainer.optimizers[0].param_groups[-1]["lr"])
        monitor = monitor_from_values(values)
        row = {"epoch": epoch, **values, "learning_rate": rate, "seconds": self._pace.epoch_seconds()}
        self._folder.add_metrics(row)
        self._folder.append_event("epoch", **row, best=better)
        message = (
            f"Epoch {epoch + 1} of {epochs}: loss {values['loss']:.4f}, tuning loss {values['tuning_loss']:.4f}, "
            f"{monitor.title} {values[monitor.name]:.4f}{' (best)' if better else ''}, {row['seconds']:.0f} s"
        )
        self._run.report(Milestone(round(1000 * (epoch + 1) / epochs), 1000, message))


def memory_in_use(device: torch.device) -> dict[str, int]:
    """Measure the memory of this process.

    Returns ``memory_mb``, and on a CUDA device ``gpu_memory_mb``, the most that was reserved so far.
    """
    found = {"memory_mb": round(psutil.Process().memory_info().rss / 2**20)}
    if device.type == "cuda":
        found["gpu_memory_mb"] = round(torch.cuda.max_memory_reserved(device) / 2**20)
    return found


CHECK_S = 1.0  # how often a GPU is asked for its numbers, which makes it wait
CONTINUE, PAUSE, CANCEL, ABORT = range(4)  # the greatest that any process says is what all do
CODES: dict[RunCommand, int] = {"run": CONTINUE, "pause": PAUSE, "cancel": CANCEL}


class RunControl(Callback):
    """After each batch: go on, hold, cancel, or give up a run whose numbers are none."""

    def __init__(self, wish: Callable[[], RunCommand], folder: RunFolder, clock: PausableClock) -> None:
        self._wish = wish
        self._folder = folder
        self._clock = clock
        self._group: Any = None
        self._on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open a line between the processes that needs no device, so that asking does not hold up a GPU."""
        if trainer.world_size > 1:
            self._group = torch.distributed.new_group(backend="gloo")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM back from Lightning, whose handler talks to the other processes out of turn."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Task, *_: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Do what is wished."""
        look = pl_module.device.type == "cpu" or self._clock.is_due("numbers", CHECK_S)
        bad = pl_module.first_bad_batch() if look else None
        code = self._apply_request(trainer, CONTINUE if bad is None else ABORT)
        if code == ABORT:
            raise TrainingDiverged(divergence_message(pl_module.recipe, "loss", trainer.current_epoch, bad))

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:  # noqa: ANN401
        """Do what is wished; a validation has many batches as well."""
        self._apply_request(trainer, CONTINUE)

    def _apply_request(self, trainer: Trainer, code: int) -> int:
        """Agree with the other processes, hold while that is wished, and stop if it is."""
        code = self._agreed_code(code)
        if code == PAUSE:
            with self._clock.pause():
                code = self._pause(trainer.is_global_zero)
        if code == CANCEL:
            raise Cancelled
        return code

    def _pause(self, first: bool) -> int:
        """Wait until something else is wished, talking to the other processes, which would give up otherwise."""
        if first:
            self._folder.append_event("paused")
        while (code := self._agreed_code(CONTINUE)) == PAUSE:
            time.sleep(PAUSE_S)
        if first and code == CONTINUE:
            self._folder.append_event("continued")
        return code

    def _agreed_code(self, code: int) -> int:
        """The greatest code of all processes."""
        code = max(code, CODES[self._wish()])
        if self._group is None:
            return code
        greatest = torch.tensor(code)
        torch.distributed.all_reduce(greatest, torch.distributed.ReduceOp.MAX, group=self._group)
        return int(greatest)


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


class DistributedRows:
    """Rows of numbers, one an image, that stay on their device until all are asked for."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._places: list[Tensor] = []
        self._rows: list[Tensor] = []

    def add(self, places: NDArray[np.int64], rows: Tensor) -> None:
        """Take the rows of a batch.

        ``places``: int64 (batch,), the place of each image among all. ``rows``: float (batch, columns).
        """
        self._places.append(torch.from_numpy(places))
        self._rows.append(rows.detach().float())

    def gather(self, device: torch.device) -> Tensor:
        """Give the rows of all processes, and begin anew; every process must call it.

        Returns float32 (image, columns) on the processor, in the order of the places; each image was in one process.
        """
        places = torch.cat([torch.empty(0, dtype=torch.int64), *self._places]).to(device)
        rows = torch.cat([torch.empty(0, self._columns, device=device), *(row.to(device) for row in self._rows)])
        self._places, self._rows = [], []
        count = (places.max() + 1 if len(places) else torch.zeros((), dtype=torch.int64, device=device)).clone()
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        if several:
            torch.distributed.all_reduce(count, torch.distributed.ReduceOp.MAX)
        whole = torch.zeros(int(count), self._columns, device=device)
        whole[places] = rows
        if several:
            torch.distributed.all_reduce(whole)
        return whole.cpu()

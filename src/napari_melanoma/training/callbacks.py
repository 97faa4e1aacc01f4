"""Extensions of Lightning for a run: events, metrics, pictures, checkpoints, pause, and averaged weights.

Imports torch.
"""

from __future__ import annotations

import math
import shutil
import signal
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint, WeightAveraging
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from napari_melanoma.core.context import Cancelled, Milestone, Progress, RunContext
from napari_melanoma.core.errors import SaveError, TrainingDiverged
from napari_melanoma.core.files import atomic_file, atomic_folder, move
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.paths import ids_to_file_names
from napari_melanoma.core.run_folder import PAUSE_S, RunCommand, RunFolder
from napari_melanoma.imaging.masks import draw_overlay, overlay_labels
from napari_melanoma.io.results import write_rgb
from napari_melanoma.training.monitor import (
    EpochTimer,
    PausableClock,
    divergence_message,
    monitor_for_recipe,
    monitor_from_values,
)

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

    from napari_melanoma.training.loader import ClassBatch
    from napari_melanoma.training.tasks.classification import ClassificationTask
    from napari_melanoma.training.tasks.segmentation import MultiClassSegmentationTask, SegmentationTask
    from napari_melanoma.training.tasks.task import Task


EVENT_INTERVAL_S = 1.0
CHECK_S = 1.0  # interval of reading values from a GPU, which synchronizes it
# What to do after a batch; all processes follow the greatest code of any process.
CONTINUE, SAVE, PAUSE, CANCEL, ABORT = range(5)
CODES: dict[RunCommand, int] = {"run": CONTINUE, "pause": PAUSE, "cancel": CANCEL}
EARLIER_CURRENT = "live_state_dict"  # earlier checkpoint key of the current weights, saved beside their average


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file beside its destination, then renames it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: ANN401 - Lightning's signature
        """Save a checkpoint; a crash leaves the previous checkpoint intact."""
        save_state(checkpoint, Path(path))


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values atomically."""
    if not path.parent.parent.is_dir():  # writing would create the folder again, with an incomplete run in it
        raise SaveError(f"cannot write {path}: the run folder was deleted. Start the run again.")
    with atomic_file(path) as temporary:
        try:
            with temporary.open("wb") as file:
                torch.save(state, file)
        except RuntimeError as error:  # of torch's writer, which hides the error of the file
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise
        _keep_previous(path)


def copy_state(source: Path, path: Path) -> None:
    """Link or copy a state file to a second name atomically.

    A link is safe because state files are replaced, never changed.
    """
    with atomic_file(path) as temporary:
        try:
            temporary.unlink(missing_ok=True)
            temporary.hardlink_to(source)
        except OSError:  # a file system without links
            shutil.copyfile(source, temporary)
        _keep_previous(path)


def _keep_previous(path: Path) -> None:
    """Rename the last checkpoint before it is replaced, so that a run can continue if the new one is damaged."""
    folder = RunFolder(path.parent.parent)
    if path == folder.last_checkpoint and path.exists():
        move(path, folder.previous_checkpoint)


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


class RunWriter(Callback):
    """Writes step events, at most one a second, reports progress, and times epochs and batches."""

    def __init__(self, folder: RunFolder, run: RunContext, clock: PausableClock, timer: EpochTimer) -> None:
        self._folder = folder
        self._run = run
        self._clock = clock
        self._timer = timer

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._timer.begin_epoch()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._timer.begin_validation()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._timer.end_validation()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: Task,  # type: ignore[override]
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Count the batch and report progress."""
        self._timer.count_batch()
        if trainer.is_global_zero and self._clock.is_due("step", EVENT_INTERVAL_S):
            self._report_step(trainer, pl_module, batch_idx + 1, len(batch[0]) * trainer.world_size)

    def _report_step(self, trainer: Trainer, task: Task, done: int, images: int) -> None:
        epoch, epochs = trainer.current_epoch, int(trainer.max_epochs or 1)
        batches, validation_batches = int(trainer.num_training_batches), int(sum(trainer.num_val_batches))
        left = batches * (epochs - epoch) - done
        loss, speed = task.last_loss(), images / self._timer.batch_seconds()
        self._folder.append_event(
            "step",
            epoch=epoch,
            step=trainer.global_step,
            batch=done,
            batches=batches,
            loss=loss,
            images_per_second=round(speed, 2),
            eta_s=round(self._timer.seconds_left(left, validation_batches, epochs - epoch + 1)),
            **memory_in_use(task.device),
        )
        message = f"Epoch {epoch + 1} of {epochs}, loss {loss:.3f}, {speed:.0f} images/s"
        self._run.report(Progress(round(1000 * (epoch + done / batches) / epochs), 1000, message))


class BestCheckpoint(Checkpoint):
    """Writes metrics after each epoch, keeps the last and the best state, and stops when the run no longer improves.

    The best epoch is that with the best value of the recipe's monitor; ties, such as a Jaccard index of 0 in the first
    epochs, are broken by the smallest validation loss. The run stops after ``patience`` epochs without a better value.

    With Lightning's ``ModelCheckpoint`` and ``EarlyStopping``, ties are not broken, the best score is lost when a run
    folder is moved, and a run that was stopped early trains for another epoch when resumed.

    ``few_validation``: stated beside the figures; "" if there are enough validation images.
    """

    def __init__(
        self, folder: RunFolder, run: RunContext, patience: int, timer: EpochTimer, few_validation: str = ""
    ) -> None:
        self._folder = folder
        self._run = run
        self._patience = patience
        self._timer = timer
        self._few_validation = few_validation
        self._best, self._best_loss, self._best_epoch = -math.inf, math.inf, -1
        self._epochs_without_improvement = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        scores = {"best": self._best, "best_loss": self._best_loss}
        return {**scores, "best_epoch": self._best_epoch, "waited": self._epochs_without_improvement}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of ``state_dict``."""
        self._best, self._best_epoch = state_dict["best"], state_dict["best_epoch"]
        self._best_loss = state_dict["best_loss"]
        self._epochs_without_improvement = state_dict["waited"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the initial state, so that resuming needs nothing else; do not continue a run that was stopped early."""
        if self._epochs_without_improvement >= self._patience:
            trainer.should_stop = True
        if trainer.is_global_zero and not self._folder.last_checkpoint.exists():
            save_state({"epoch": 0, "state_dict": pl_module.state_dict()}, self._folder.last_checkpoint)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Task) -> None:  # type: ignore[override]
        """Save the epoch and decide whether to continue; runs in every process, as saving is collective."""
        epoch, values = trainer.current_epoch, pl_module.metrics
        for name in ("loss", "validation_loss"):
            if not math.isfinite(values[name]):
                raise TrainingDiverged(divergence_message(pl_module.recipe, name.replace("_", " "), epoch, None))
        self._reset_lost_best(trainer)
        monitor, loss = monitor_for_recipe(pl_module.recipe), values["validation_loss"]
        measured = monitor.score(values[monitor.name])
        improved = measured > self._best
        better = improved or (measured == self._best and loss < self._best_loss)
        if better:
            self._best, self._best_loss, self._best_epoch = measured, loss, epoch
        self._epochs_without_improvement = 0 if improved else self._epochs_without_improvement + 1
        if trainer.is_global_zero:
            self._report_epoch(trainer, values, better)
        if better:  # the last state is also the best: write it once
            trainer.save_checkpoint(self._folder.best_checkpoint)
            if trainer.is_global_zero:
                copy_state(self._folder.best_checkpoint, self._folder.last_checkpoint)
        else:
            trainer.save_checkpoint(self._folder.last_checkpoint)
        if self._epochs_without_improvement >= self._patience:
            trainer.should_stop = True
            if trainer.is_global_zero and epoch + 1 < int(trainer.max_epochs or 1):
                message = f"stopped early: no improvement in {format_count(self._epochs_without_improvement, 'epoch')}."
                self._folder.append_event("notice", message=message)

    def _reset_lost_best(self, trainer: Trainer) -> None:
        """Restart the search for the best epoch if its checkpoint was deleted."""
        if trainer.strategy.broadcast(self._best_epoch >= 0 and not self._folder.best_checkpoint.exists()):
            self._best, self._best_loss = -math.inf, math.inf
            if trainer.is_global_zero:
                epoch = self._best_epoch + 1
                message = f"checkpoints were deleted: the model of epoch {epoch}, the best so far, is lost."
                self._folder.append_event("notice", message=message)

    def _report_epoch(self, trainer: Trainer, values: dict[str, float], better: bool) -> None:
        """Write the epoch to the metrics table and the events, and report it."""
        epoch, epochs = trainer.current_epoch, int(trainer.max_epochs or 1)
        rate = float(trainer.optimizers[0].param_groups[-1]["lr"])
        monitor = monitor_from_values(values)
        row = {"epoch": epoch, **values, "learning_rate": rate, "seconds": self._timer.epoch_seconds()}
        self._folder.add_metrics(row)
        few = self._few_validation
        self._folder.append_event("epoch", **row, best=better, **({"few_validation": few} if few else {}))
        message = (
            f"Epoch {epoch + 1} of {epochs}: loss {values['loss']:.4f}, validation loss "
            f"{values['validation_loss']:.4f}, {monitor.title} "
            f"{values[monitor.name]:.4f}{f' ({few})' if few else ''}{' (best)' if better else ''}, "
            f"{row['seconds']:.0f} s"
        )
        self._run.report(Milestone(round(1000 * (epoch + 1) / epochs), 1000, message))


def memory_in_use(device: torch.device) -> dict[str, int]:
    """Measure the memory of this process in MiB.

    Returns ``memory_mb``, and on a CUDA device ``gpu_memory_mb``, the most that was reserved so far.
    """
    memory = {"memory_mb": round(psutil.Process().memory_info().rss / 2**20)}
    if device.type == "cuda":
        memory["gpu_memory_mb"] = round(torch.cuda.max_memory_reserved(device) / 2**20)
    return memory


class RunControl(Callback):
    """Saves, pauses, cancels or aborts the run: at intervals, on the user's command, or if the loss is not finite.

    The run is saved before it is paused or canceled. All of this is done between two optimizer steps, as the sum of
    the gradients of micro-batches is not saved. ``interval_s``: between two checkpoints within an epoch.
    """

    def __init__(
        self,
        read_command: Callable[[], RunCommand],
        folder: RunFolder,
        clock: PausableClock,
        partial: PartialEpoch,
        interval_s: float,
    ) -> None:
        self._read_command = read_command
        self._folder = folder
        self._clock = clock
        self._partial = partial
        self._interval_s = interval_s
        self._group: Any = None
        self._on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create a CPU process group, so that exchanging commands does not block a GPU."""
        if trainer.world_size > 1:
            self._group = torch.distributed.new_group(backend="gloo")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore our SIGTERM handler: Lightning's handler starts collective communication at any time."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the interval again, as the end of an epoch is saved in any case."""
        self._clock.is_due("save", 0)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: Task,  # type: ignore[override]
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """After an optimizer step, check the loss, and apply the user's command."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        code = SAVE if self._clock.is_due("save", self._interval_s) else CONTINUE
        if pl_module.device.type == "cpu" or self._clock.is_due("numbers", CHECK_S):
            code = _check_loss(pl_module, code)
        self._apply_request(trainer, pl_module, code)

    def on_validation_batch_start(self, trainer: Trainer, pl_module: Task, *_: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Apply the user's command, and save the steps of the epoch; a validation has many batches as well."""
        code = SAVE if self._clock.is_due("save", self._interval_s) else CONTINUE
        self._apply_request(trainer, pl_module, code)

    def _apply_request(self, trainer: Trainer, task: Task, code: int) -> None:
        """Agree with the other processes, save if the state is good, pause, and raise an error to end the run.

        ``code``: what this process requests.
        """
        code = self._agreed_code(code)
        if code in (SAVE, PAUSE, CANCEL):
            code = self._agreed_code(_check_loss(task, code))
        if code == ABORT:
            message = divergence_message(task.recipe, "loss", trainer.current_epoch, task.first_bad_batch())
            raise TrainingDiverged(message)
        if code != CONTINUE:
            self._partial.save(trainer)
        if code == PAUSE:
            with self._clock.pause():
                code = self._pause(trainer.is_global_zero)
        if code == CANCEL:
            raise Cancelled

    def _pause(self, is_main: bool) -> int:
        """Wait for another command; keep communicating, as other processes would time out otherwise."""
        if is_main:
            self._folder.append_event("paused")
        while (code := self._agreed_code(CONTINUE)) == PAUSE:
            time.sleep(PAUSE_S)
        if is_main and code == CONTINUE:
            self._folder.append_event("continued")
        return code

    def _agreed_code(self, code: int) -> int:
        """Return the greatest code of all processes, including the user's command."""
        code = max(code, CODES[self._read_command()])
        if self._group is None:
            return code
        greatest = torch.tensor(code)
        torch.distributed.all_reduce(greatest, torch.distributed.ReduceOp.MAX, group=self._group)
        return int(greatest)


def _check_loss(task: Task, code: int) -> int:
    """Return ``ABORT`` if the loss of a batch is not finite, otherwise the code; synchronizes with the device."""
    return code if task.first_bad_batch() is None else ABORT


class AveragedWeights(WeightAveraging):
    """Lightning's moving average of the weights, with a decay that increases in the first steps.

    ``warm_up``: start with a small decay, so that the average does not contain the initial weights for long.
    """

    def __init__(self, decay: float, *, warm_up: bool = True) -> None:
        super().__init__(multi_avg_fn=self._update)
        self._max_decay = self._decay = decay
        self._warm_up = warm_up

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Move the module to its device, as the average stays where the module is now."""
        pl_module.to(trainer.strategy.root_device)
        super().setup(trainer, pl_module, stage)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Update after each optimizer step, with the decay of this step."""
        if step_idx is None:
            return False
        self._decay = min(self._max_decay, (2 + step_idx) / (11 + step_idx)) if self._warm_up else self._max_decay
        return True

    @torch.no_grad()
    def _update(self, averages: list[Tensor], values: list[Tensor], count: Tensor) -> None:
        """Average weights and normalization statistics, and copy integers, which are counters of batches."""
        if averages[0].is_floating_point():
            get_ema_multi_avg_fn(self._decay)(averages, values, count)
        else:
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the average and the current weights, which earlier versions saved under another key."""
        if EARLIER_CURRENT in checkpoint:
            steps = self._latest_update_step = checkpoint["global_step"]
            checkpoint["current_model_state"] = checkpoint.pop(EARLIER_CURRENT)
            checkpoint["averaging_state"] = {"n_averaged": torch.tensor(steps)}
        super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the average as the model's state; during the validation, Lightning would take it for the current one."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if trainer.validating:
            average, current = checkpoint["current_model_state"], checkpoint["state_dict"]
            checkpoint["state_dict"], checkpoint["current_model_state"] = average, current


CYAN = (0, 220, 255)
RIGHT, WRONG = (86, 180, 233), (230, 159, 0)  # Okabe and Ito 2008
BACKGROUND, TEXT_COLOR = (32, 32, 32), (240, 240, 240)
LINE_SHARE, BAR_SHARE = 0.09, 0.03  # height of a text line and of the bar, as a share of the picture's width


class SampleCallback(Callback):
    """Draws the predictions of a task for a few images; subclasses define the picture."""

    def __init__(self, folder: RunFolder, names: Sequence[str]) -> None:
        self._folder = folder
        file_names = ids_to_file_names(names)
        self._names = [f"{file_names[name]}.png" for name in names]

    @abstractmethod
    def pictures(self, task: Any) -> Iterable[NDArray[np.uint8]]:  # noqa: ANN401 - each task has its own
        """Draw one picture per image, uint8 (row, column, channel), in the order of the names."""

    def on_train_start(self, trainer: Trainer, pl_module: Task) -> None:  # type: ignore[override]
        """Draw the predictions of the initial model, unless they exist already."""
        folder = self._folder.samples / "start"
        if trainer.is_global_zero and not folder.exists():
            self._draw(trainer, pl_module, folder)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Task) -> None:  # type: ignore[override]
        """Draw the predictions of this epoch, with averaged weights if enabled."""
        if trainer.is_global_zero:
            folder = self._folder.samples / f"epoch-{trainer.current_epoch + 1:04}"
            self._draw(trainer, pl_module, folder)
            relative = folder.relative_to(self._folder.path).as_posix()
            self._folder.append_event("samples", epoch=trainer.current_epoch, folder=relative)

    def _draw(self, trainer: Trainer, task: Task, folder: Path) -> None:
        """Predict all images at once, in the precision of the run, and write the pictures."""
        training = task.training
        task.eval()
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            pictures = list(self.pictures(task))
        task.train(training)
        with atomic_folder(folder) as temporary:
            for name, picture in zip(self._names, pictures, strict=True):
                write_rgb(temporary / name, picture)


class SampleWriter(SampleCallback):
    """For segmentation: draws the predicted contour in yellow over the reference contour in cyan.

    ``images``, ``masks``: uint8 (image, 3, row, column) and (image, 1, row, column), at the network's size.
    """

    def __init__(self, folder: RunFolder, names: Sequence[str], images: Tensor, masks: Tensor) -> None:
        super().__init__(folder, names)
        self._images = images
        self._masks = masks

    def pictures(self, task: SegmentationTask) -> Iterator[NDArray[np.uint8]]:
        lesions = (task(self._images.to(task.device))[:, 0] > 0).cpu().numpy()
        for image, mask, lesion in zip(self._images, self._masks, lesions, strict=True):
            reference = draw_overlay(image.permute(1, 2, 0).numpy(), mask[0].numpy() > 127, color=CYAN)
            yield draw_overlay(reference, lesion)


class LabelSampleWriter(SampleCallback):
    """For several classes: draws prediction (left) and reference (right) in colors over the image.

    ``images``, ``labels``: uint8 (image, 3, row, column), at the network's size, and class indices (image, 1, row,
    column). ``classes``: number of classes.
    """

    def __init__(self, folder: RunFolder, names: Sequence[str], images: Tensor, labels: Tensor, classes: int) -> None:
        super().__init__(folder, names)
        self._images = images
        self._labels = labels
        self._classes = classes

    def pictures(self, task: MultiClassSegmentationTask) -> Iterator[NDArray[np.uint8]]:
        predictions = task(self._images.to(task.device)).argmax(1).byte().cpu().numpy()
        for image, labels, predicted in zip(self._images, self._labels, predictions, strict=True):
            rgb = image.permute(1, 2, 0).numpy()
            yield np.concatenate(
                [overlay_labels(rgb, label_image, self._classes) for label_image in (predicted, labels[0].numpy())],
                axis=1,
            )


class ClassSampleWriter(SampleCallback):
    """For classification: draws the network's input with a caption of the predicted and the true class.

    The length of the bar is the probability of the true class; it is blue if the prediction is right, else orange.

    ``classes``: names in the order of the logits.
    """

    def __init__(self, folder: RunFolder, names: Sequence[str], batch: ClassBatch, classes: Sequence[str]) -> None:
        super().__init__(folder, names)
        self._batch = batch
        self._classes = tuple(classes)

    def pictures(self, task: ClassificationTask) -> Iterator[NDArray[np.uint8]]:
        parts = (self._batch.images, self._batch.continuous, self._batch.categories)
        probabilities = task(*(part.to(task.device) for part in parts)).softmax(1).cpu().numpy()
        truths = self._batch.shares.argmax(1).tolist()
        for image, row, truth in zip(self._batch.images, probabilities, truths, strict=True):
            predicted = int(row.argmax())
            lines = (f"{self._classes[predicted]} {row[predicted]:.2f}", f"is {self._classes[truth]}")
            color = RIGHT if predicted == truth else WRONG
            yield add_caption(image.permute(1, 2, 0).numpy(), lines, float(row[truth]), color)


def add_caption(
    rgb: NDArray[np.uint8], lines: Sequence[str], share: float, color: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Add a bar and lines of text below a picture.

    ``rgb``: uint8 (row, column, channel). ``share``: length of the bar as a share of the width. ``color``: of the bar.
    """
    from PIL import Image, ImageDraw, ImageFont

    width = rgb.shape[1]
    bar, line = max(2, round(BAR_SHARE * width)), max(10, round(LINE_SHARE * width))
    caption = Image.new("RGB", (width, bar + len(lines) * line + line // 3), BACKGROUND)
    draw = ImageDraw.Draw(caption)
    draw.rectangle((0, 0, max(0, round(share * width) - 1), bar - 1), fill=color)
    font = ImageFont.load_default(0.8 * line)
    for number, text in enumerate(lines):
        draw.text((line // 4, bar + number * line), text, fill=TEXT_COLOR, font=font)
    return np.concatenate([rgb, np.asarray(caption)])

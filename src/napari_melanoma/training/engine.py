"""Train a task with Lightning in a run folder.

Devices, precision, memory, checkpoints, initial weights and weight interpolation.
"""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import RunError, TrainingError
from napari_melanoma.core.files import atomic_file, move
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.processes import keep_freed_memory
from napari_melanoma.core.run_folder import RunFolder, RunFolderContext
from napari_melanoma.models.torch_inference import choose_device, is_out_of_memory
from napari_melanoma.models.torch_inference import choose_precision as fastest_precision
from napari_melanoma.training.loader import Loaders
from napari_melanoma.training.monitor import MEMORY_FULL
from napari_melanoma.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from torch import Tensor, nn

    from napari_melanoma.training.tasks.task import Task


log = logging.getLogger(__name__)
KNOWN_WARNINGS = (
    "The .* does not have many workers",  # images are decoded already; more processes do not help
    "The number of training batches .* is smaller than the logging interval",  # small data sets are supported
    "You're resuming from a checkpoint that ended before the epoch ended",  # PartialEpoch skips the finished batches
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 with torch 2.15
    "Found .* module.* in eval mode at the start of training",  # intended for frozen normalization
    "Grad strides do not match bucket view strides",  # channels_last under DDP; a copy of small gradients
    "The `srun` command is available on your system but is not used",  # not needed on one device
)


@dataclass(frozen=True)
class TrainingSetup:
    """What the engine needs to train a task.

    ``step``: images of a step over all devices. ``accumulate_batches``: micro-batches of a step on each device.
    ``samples``: draws predictions after each epoch; None: no pictures. ``few_validation``: stated beside the figures of
    the validation set. ``save_accumulation``: called with the number of
    micro-batches if it had to be increased.
    """

    recipe: TrainRecipe
    folder: RunFolder
    loaders: Loaders
    step: int
    accumulate_batches: int = 1
    samples: Callback | None = None
    few_validation: str = ""
    save_accumulation: Callable[[int], None] = lambda accumulate_batches: None


def fit(task: Task, setup: TrainingSetup, run: RunFolderContext) -> None:
    """Train a task, or resume at the last checkpoint of the folder.

    If memory runs out on one device, each step is split into smaller micro-batches, and the run continues at the last
    checkpoint.
    """
    keep_freed_memory()
    while not _fit_within_memory(task, setup, run):
        accumulate_batches = next_accumulation(setup.step, 1, setup.accumulate_batches)
        memory_of = "GPU" if accelerator(setup.recipe) == "cuda" else "computer"
        if accumulate_batches is None:
            raise TrainingError(MEMORY_FULL.format(where=memory_of))
        setup.save_accumulation(accumulate_batches)
        message = (
            f"the memory of the {memory_of} was full: each step is now computed with gradient accumulation over "
            f"{accumulate_batches} micro-batches."
        )
        setup.folder.append_event("notice", message=message)
        setup = replace(setup, accumulate_batches=accumulate_batches)
    folder = setup.folder
    _load_weights(task, folder.last_checkpoint if setup.recipe.keep == "last" else folder.best_checkpoint)


def choose_precision(recipe: TrainRecipe) -> str:
    """Return Lightning's name of the precision; ``auto`` uses bfloat16 if the device supports it.

    Either ``"bf16-mixed"`` or ``"32-true"``.
    """
    precision = fastest_precision(accelerator(recipe)) if recipe.precision == "auto" else recipe.precision
    return "bf16-mixed" if precision == "bf16" else "32-true"


def accelerator(recipe: TrainRecipe) -> str:
    """Return the type of device that a recipe trains on: ``"cuda"``, ``"mps"`` or ``"cpu"``."""
    device = "cpu" if recipe.device == "cpu" else choose_device()
    if recipe.device == "gpu" and device == "cpu":
        raise RunError('device = "gpu", but torch finds no GPU. Set device = "auto", or run: napari-melanoma doctor.')
    return device


def process_count(recipe: TrainRecipe) -> int:
    """Return the number of processes that share each step of a run, one for each device."""
    import torch

    if recipe.devices != "auto":
        return recipe.devices * recipe.nodes
    return recipe.nodes * (torch.cuda.device_count() if accelerator(recipe) == "cuda" else 1)


def device_name(recipe: TrainRecipe) -> str:
    """Return the name of the training device: ``"cpu"``, ``"mps"`` or the product name of a GPU."""
    import torch

    device = accelerator(recipe)
    return torch.cuda.get_device_name() if device == "cuda" else device


def _fit_within_memory(task: Task, setup: TrainingSetup, run: RunFolderContext) -> bool:
    """Train to the end and return True; if memory runs out, release it and return False."""
    import torch

    try:
        _fit(task, setup, run)
    except Exception as error:
        # With several processes, the others wait for this one in a collective call: training cannot continue.
        if not is_out_of_memory(error) or torch.distributed.is_initialized():
            raise
    else:
        return True
    release_memory(accelerator(setup.recipe))
    return False


def release_memory(device: str) -> None:
    """Return unused memory to a device, including the tensors that the frames of a handled error held."""
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


def _fit(task: Task, setup: TrainingSetup, run: RunFolderContext) -> None:
    import torch
    from lightning.pytorch import Trainer

    from napari_melanoma.training.callbacks import AtomicCheckpoints

    run.check()  # importing Lightning takes seconds
    recipe, last = setup.recipe, setup.folder.last_checkpoint
    state = torch.load(last, map_location="cpu", weights_only=True) if last.exists() else {}
    if "loops" not in state and state:  # the initial state, before any epoch was finished
        task.load_state_dict(state["state_dict"])
    task.train()
    task.set_loaders(setup.loaders, setup.accumulate_batches)
    device, is_distributed = accelerator(recipe), process_count(recipe) > 1
    with _quiet_lightning():
        trainer = Trainer(
            max_epochs=recipe.epochs if task.has_weights else 1,
            accelerator=device,
            devices=process_count(recipe) // recipe.nodes,
            num_nodes=recipe.nodes,
            strategy="ddp" if is_distributed else "auto",
            sync_batchnorm=is_distributed and device == "cuda" and not recipe.model.freeze_normalisation,
            precision=choose_precision(recipe),  # type: ignore[arg-type]  # Lightning lists literals
            accumulate_grad_batches=setup.accumulate_batches,
            gradient_clip_val=recipe.gradient_clip,
            callbacks=_callbacks(setup, run),
            plugins=[AtomicCheckpoints(), *_slurm_plugins()],
            default_root_dir=setup.folder.path,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        resume = str(last) if "loops" in state else None
        trainer.fit(task, ckpt_path=resume, weights_only=True)  # a run folder may come from someone else


def _slurm_plugins() -> list[Any]:
    """Prevent Lightning from saving when SLURM sends a signal: its state within an epoch is not exact."""
    from lightning.pytorch.plugins.environments import SLURMEnvironment

    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _load_weights(task: Task, path: Path) -> None:
    state = read_checkpoint(path)
    if state is None:
        reason = "is damaged" if path.exists() else "was removed after the last epoch"
        raise TrainingError(f"{path} {reason}: the model is lost. Train again.")
    task.load_state_dict(state["state_dict"])


def read_checkpoint(path: Path, *, mmap: bool = False) -> dict[str, Any] | None:
    """Read a checkpoint; None if it is missing or damaged. Raises OSError if it cannot be read now.

    ``mmap``: do not read the tensors, only their sizes.
    """
    import torch

    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (FileNotFoundError, EOFError, ValueError, KeyError, UnpicklingError):
        return None
    except RuntimeError as error:  # torch's error for an incomplete archive
        if is_out_of_memory(error) or "unable to mmap" in str(error):
            raise
        return None
    return state


def find_checkpoint(folder: RunFolder) -> tuple[Path, dict[str, Any]] | None:
    """Find the checkpoint at which a run continues, and its content: the readable one that is most advanced."""
    paths = (folder.last_checkpoint, folder.previous_checkpoint, folder.best_checkpoint)
    states = [(path, read_checkpoint(path, mmap=True)) for path in paths]
    readable = [(path, state) for path, state in states if state is not None]
    return max(readable, key=lambda found: _measure_progress(found[1]), default=None)


def _measure_progress(state: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number of finished epochs of a checkpoint, and of finished steps of the next one."""
    from napari_melanoma.training.callbacks import PARTIAL_EPOCH

    if "loops" not in state:  # the initial state
        return 0, 0
    part = state.get(PARTIAL_EPOCH)
    return (int(state["epoch"]), int(part["steps"])) if part else (int(state["epoch"]) + 1, 0)


def restore_checkpoint(folder: RunFolder) -> int:
    """Make the most advanced checkpoint the last one, with a notice; return the number of finished epochs.

    Damaged checkpoints are renamed.
    """
    from napari_melanoma.training.callbacks import copy_state

    found, last = find_checkpoint(folder), folder.last_checkpoint
    path, state = found or (last, {})
    epochs, _ = _measure_progress(state)
    state.clear()  # the file of a mapped tensor cannot be replaced on Windows
    fault = "older" if last.exists() else "missing"
    for checked in (last, folder.previous_checkpoint, folder.best_checkpoint):
        if checked.exists() and read_checkpoint(checked, mmap=True) is None:
            renamed = checked.with_name(f"{checked.name}.damaged")
            move(checked, renamed)
            fault = "damaged" if checked == last else fault
            folder.append_event("notice", message=f"{checked} is damaged, and was renamed to {renamed.name}.")
    if path != last or fault == "damaged":
        action = f"continues at {path.name}" if found else "starts again, as there is no other checkpoint"
        done = format_count(epochs, "epoch")
        folder.append_event("notice", message=f"{last} is {fault}: the run {action}, after {done}.")
    if path != last:
        copy_state(path, last)
    return epochs


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Suppress Lightning's tips for programmers and the harmless ``KNOWN_WARNINGS``."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message)
        yield


def _callbacks(setup: TrainingSetup, run: RunFolderContext) -> list[Any]:
    """Return the callbacks in order of execution.

    Sample pictures are drawn while the averaged weights are in use, and a run is saved when the average is up to date.
    """
    from napari_melanoma.training.callbacks import AveragedWeights, BestCheckpoint, PartialEpoch, RunControl, RunWriter
    from napari_melanoma.training.monitor import EpochTimer, PausableClock

    recipe, folder, clock = setup.recipe, setup.folder, PausableClock()
    patience = recipe.epochs if recipe.keep == "last" else recipe.patience
    timer = EpochTimer(clock)
    partial = PartialEpoch(folder, timer)
    # A classifier may have taken only the encoder from a bundle.
    pretrained = recipe.model.starts_from_bundle and recipe.task == "segmentation"
    return [
        partial,
        RunWriter(folder, run, clock, timer),
        *([setup.samples] if setup.samples else []),
        *([AveragedWeights(recipe.ema_decay, warm_up=not pretrained)] if recipe.ema_decay else []),
        RunControl(run.read_command, folder, clock, partial, 60 * recipe.checkpoint_minutes),
        BestCheckpoint(folder, run, patience, timer, setup.few_validation),
    ]


def save_initial_weights(network: nn.Module, path: Path) -> None:
    from safetensors.torch import save

    with atomic_file(path) as temporary:
        temporary.write_bytes(save({name: value.contiguous() for name, value in network.state_dict().items()}))


def read_initial_weights(path: Path) -> dict[str, Tensor] | None:
    """Read the initial weights of a run; None if the file is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        log.warning("cannot read %s: %s", path, error)
        return None


def interpolate_weights(network: nn.Module, start: Mapping[str, Tensor], share: float) -> None:
    """Move a network towards its initial weights (WiSE-FT, Wortsman et al. 2022, arXiv:2109.01903).

    ``share``: weight of the trained values, 0 to 1.
    """
    import torch

    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(start[name].to(value), 1 - share)


# Environment variables with the number of this process or (the last two) of its machine; set by torchrun, srun and
# Lightning.
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")


def is_first_process(recipe: TrainRecipe) -> bool:
    """Whether this process owns the run folder; False for the other processes that a launcher has started."""
    if recipe.devices == 1 and recipe.nodes == 1:
        return True
    return all(int(os.environ.get(name) or 0) == 0 for name in RANKS)


def next_accumulation(step: int, processes: int, accumulate_batches: int) -> int | None:
    """Return the next number of equal micro-batches, at least twice ``accumulate_batches``; None if there is none.

    ``step``: images of a step over all processes.
    """
    images = step // processes
    return next((count for count in range(2 * accumulate_batches, images + 1) if images % count == 0), None)

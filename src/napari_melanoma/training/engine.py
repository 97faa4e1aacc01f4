"""Runs a task under Lightning into a run folder: device, precision, checkpoints, early stopping, resuming."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule
    from torch.utils.data import DataLoader

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.training.recipe import TrainRecipe

MONITOR = "tuning_jaccard"
KNOWN_WARNINGS = (
    "Checkpoint directory .* exists and is not empty",  # as it is when a run is resumed
    "The .* does not have many workers",  # images are decoded already; more processes do not help
    "The number of training batches .* is smaller than the logging interval",  # small data sets are welcome
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 with torch 2.15
)


def fit(
    task: LightningModule,
    loaders: tuple[DataLoader, DataLoader],
    recipe: TrainRecipe,
    folder: RunFolder,
    run: RunContext,
) -> None:
    """Train a task; where the folder has a checkpoint, go on from its last finished epoch.

    Parameters
    ----------
    task : lightning.pytorch.LightningModule
        Logs ``loss`` and ``tuning_jaccard``; left with the weights of the best epoch.
    loaders : tuple of torch.utils.data.DataLoader
        What is learnt from, and what picks the epoch.
    recipe : TrainRecipe
        Epochs, patience, precision, device, gradient clipping.
    folder : RunFolder
        Where checkpoints, events and metrics go.
    run : RunContext
        Told of the progress, asked within each batch whether to go on.

    Raises
    ------
    Cancelled
        Where the user stopped it; the last finished epoch is kept.
    """
    import torch
    from lightning.pytorch import Trainer

    from napari_melanoma.training.callbacks import AtomicCheckpoints

    resume = str(folder.last_checkpoint) if folder.last_checkpoint.exists() else None
    with _quiet():
        trainer = Trainer(
            max_epochs=recipe.epochs,
            accelerator=recipe.device,
            devices=1,
            precision=choose_precision(recipe),  # type: ignore[arg-type]  # Lightning lists literals
            gradient_clip_val=recipe.gradient_clip,
            callbacks=_callbacks(recipe, folder, run),
            plugins=[AtomicCheckpoints()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        trainer.fit(task, *loaders, ckpt_path=resume, weights_only=True)  # a run folder may come from others
    best = torch.load(folder.best_checkpoint, map_location="cpu", weights_only=True)
    task.load_state_dict(best["state_dict"])


def choose_precision(recipe: TrainRecipe) -> str:
    """Turn the recipe's wish into Lightning's word, asking the processor where it says ``auto``.

    Parameters
    ----------
    recipe : TrainRecipe
        Precision and device.

    Returns
    -------
    str
        ``"bf16-mixed"`` or ``"32-true"``.
    """
    import torch

    if recipe.precision != "auto":
        return "bf16-mixed" if recipe.precision == "bf16" else "32-true"
    if recipe.device != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    if recipe.device != "cpu" and torch.backends.mps.is_available():
        return "32-true"
    return "bf16-mixed" if cpu_has_bf16() else "32-true"


def cpu_has_bf16() -> bool:
    """Say whether the processor multiplies bfloat16 itself; emulated, it is slower than float32.

    Returns
    -------
    bool
        False where it cannot be found out.
    """
    import torch

    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # torch before 2.10 cannot say
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep from users what Lightning says to programmers: its tips, and warnings that are known and harmless."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message)
        yield


def _callbacks(recipe: TrainRecipe, folder: RunFolder, run: RunContext) -> list[Any]:
    """Early stopping, the two checkpoints (last and best) and the run folder's writer."""
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

    from napari_melanoma.training.callbacks import RunWriter

    common: dict[str, Any] = {
        "dirpath": folder.checkpoints,
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
    }
    return [
        RunWriter(folder, run),
        EarlyStopping(MONITOR, mode="max", patience=recipe.patience, check_on_train_epoch_end=True),
        ModelCheckpoint(filename="best", monitor=MONITOR, mode="max", save_top_k=1, **common),
        ModelCheckpoint(filename="last", save_top_k=1, **common),
    ]

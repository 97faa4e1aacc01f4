"""Images per second of a training run compared with a plain loop over tensors in RAM; alternating in one process.

    taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/training_throughput.py
    python benchmarks/training_throughput.py --data DATASET --images 2000 --batch-size 64 --device gpu

The run is that of ``napari-melanoma train``, including run folder, events, metrics, samples and checkpoints. The plain
loop has the same network, augmentation, loss, optimizer, schedule, clipping and precision, reads from tensors in RAM,
and writes nothing. After each epoch of the run the loop does one epoch: both train on the same number of images, and
evaluate the same validation images. An epoch of the run lasts from the previous report to its own. The first epoch of
both is a warm-up. The exit code is 1 if the median ratio is below ``--at-least``.

``--clock cpu`` counts processor time, for a machine with other work; it does not include waiting.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the command line, before torch is imported

import numpy as np
import torch

from napari_melanoma.core.context import Cancelled, Milestone, Progress, RunContext
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.io.results import write_mask, write_rgb, write_table
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.models.zoo import build_network
from napari_melanoma.phantoms.lesion.phantom import lesion_phantoms
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig
from napari_melanoma.runs.train import train
from napari_melanoma.training.augmentation import BatchAugmentation
from napari_melanoma.training.data_preparation import PreparedData, prepare_data
from napari_melanoma.training.engine import accelerator, choose_precision
from napari_melanoma.training.loader import ValidationBatches
from napari_melanoma.training.losses import make_loss
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.tasks.task import OPTIMIZERS, make_schedule

VALIDATION_SHARE = 0.1
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class PlainLoop:
    """A minimal training loop over tensors in RAM."""

    def __init__(self, recipe: TrainRecipe, prepared: PreparedData, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.batch_size = int(recipe.batch_size)
        self.steps = len(prepared.train) // self.batch_size
        self._recipe = recipe
        self._device = torch.device(accelerator(recipe))
        self._images, self._masks = (torch.from_numpy(part) for part in prepared.train.read(range(len(prepared.train))))
        self._validation = ValidationBatches(prepared.validation, recipe.model.input_size)[
            np.arange(len(prepared.validation))
        ][:2]
        torch.manual_seed(recipe.seed)
        network = build_network(recipe.model.architecture, recipe.model.options)
        self._network = network.to(self._device, memory_format=torch.channels_last)
        bundle = BundleConfig(name="plain", title="Plain", architecture=recipe.model.architecture)
        self._mean, self._std = (
            255 * torch.tensor(values, device=self._device).view(1, 3, 1, 1) for values in (bundle.mean, bundle.std)
        )
        self._augment = BatchAugmentation(recipe.augmentation, recipe.model.input_size, recipe.seed)
        self._loss = make_loss(recipe.loss)
        groups = [{"params": list(network.parameters()), "lr": recipe.learning_rate}]
        self._optimizer = OPTIMIZERS[recipe.optimiser](groups, recipe.weight_decay)
        self._schedule = make_schedule(recipe, self._optimizer, recipe.epochs * self.steps)

    def epoch(self, number: int) -> float:
        """Train on all images once and predict the validation images; returns the seconds."""
        started = self.clock()
        self._network.train()
        order = torch.randperm(len(self._images))[: self.steps * self.batch_size]
        for indices in order.split(self.batch_size):
            keys = np.stack([np.full(len(indices), number), indices.numpy()], axis=1)
            self._step(self._images[indices].to(self._device), self._masks[indices].to(self._device), keys)
        self._network.eval()
        with torch.no_grad():
            for images, masks in zip(*(part.split(self.batch_size) for part in self._validation), strict=True):
                found = self._logits(images.to(self._device).float()) > 0
                (found & (masks.to(self._device) > 127)).sum((1, 2, 3)).cpu()
        return self.clock() - started

    def _step(self, images: torch.Tensor, masks: torch.Tensor, keys: np.ndarray) -> None:
        """Train on one batch."""
        images, warped = self._augment(images, masks, keys)
        self._optimizer.zero_grad()
        self._loss(self._logits(images), warped.float() / 255).backward()
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.gradient_clip)
        self._optimizer.step()
        self._schedule.step()

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        """Normalize and predict, in the precision of the run."""
        half = choose_precision(self._recipe) == "bf16-mixed"
        normalized = ((images - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=half):
            return self._network(normalized).float()


class ByTurns(RunContext):
    """Runs one epoch of the plain loop after each epoch of a run."""

    def __init__(self, plain: PlainLoop, rounds: int) -> None:
        super().__init__(self._on_progress)
        self.seconds: list[tuple[float, float]] = []
        self._plain = plain
        self._rounds = rounds
        self._resumed: float | None = None

    def _on_progress(self, progress: Progress) -> None:
        """Time the run's last epoch, then one of the plain loop."""
        if not isinstance(progress, Milestone):
            return
        ran = None if self._resumed is None else self._plain.clock() - self._resumed
        plain = self._plain.epoch(len(self.seconds))
        if ran is not None:
            self.seconds.append((ran, plain))
            images = self._plain.steps * self._plain.batch_size
            print(f"run {images / ran:.2f} images/s, plain loop {images / plain:.2f}, ratio {plain / ran:.3f}")
        if len(self.seconds) == self._rounds:
            self.cancel()
        self._resumed = self._plain.clock()


def main() -> None:
    """Measure, and print each round, the medians and the spread."""
    options = arguments()
    with (
        tempfile.TemporaryDirectory() as temporary,
        mock.patch(
            "napari_melanoma.training.data_preparation.user_store_folder", return_value=Path(temporary) / "store"
        ),
    ):
        data = options.data or phantoms(Path(temporary) / "phantoms", options.images)
        seconds = measure(recipe_of(options, data), Path(temporary), options.rounds, CLOCKS[options.clock])
    ratios = sorted(plain / ran for ran, plain in seconds)
    found = {
        "ratio": round(statistics.median(ratios), 3),
        "lowest": round(ratios[0], 3),
        "highest": round(ratios[-1], 3),
    }
    if torch.cuda.is_available():
        found["gpu_memory_mb"] = round(torch.cuda.max_memory_reserved() / 2**20)  # of both
    print(json.dumps(found))
    if found["ratio"] < options.at_least:
        raise SystemExit(f"the ratio {found['ratio']} is below {options.at_least}")


def measure(
    recipe: TrainRecipe, folder: Path, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[tuple[float, float]]:
    """Alternate run and plain loop; returns the seconds of each epoch of both."""
    prepared = prepare_data(recipe, RunFolder(folder / "plain"), resume=False, run=RunContext())
    plain = PlainLoop(recipe, prepared, clock)
    print(
        f"{plain.steps * plain.batch_size} of {len(prepared.train)} images, {recipe.model.architecture} at "
        f"{recipe.model.input_size}, batch {plain.batch_size}, {choose_precision(recipe)}, {accelerator(recipe)}, "
        f"{torch.get_num_threads()} threads"
    )
    turns = ByTurns(plain, rounds)
    with suppress(Cancelled):
        train(recipe, folder / "run", resume=False, run=turns)
    return turns.seconds


def recipe_of(options: argparse.Namespace, data: str) -> TrainRecipe:
    """Return the recipe: the defaults, from random weights, for the duration of the rounds."""
    epochs = options.rounds + 2
    return TrainRecipe.parse(
        {
            "data": {"datasets": [data], "split": "all", "validation_fraction": VALIDATION_SHARE},
            "model": {"architecture": options.architecture, "start": "none", "input_size": options.side},
            "batch_size": options.batch_size,
            "epochs": epochs,
            "patience": epochs,
            "device": options.device,
            "precision": options.precision,
            "workers": options.workers,
        },
        "the command line",
    )


def phantoms(folder: Path, count: int) -> str:
    """Draw different phantom lesions: a run leaves out copies, mirrored and turned ones too."""
    for number, phantom in enumerate(lesion_phantoms(LesionPhantomConfig(size=(320, 320)), count)):
        write_rgb(folder / f"images/{number:05}.png", phantom.rgb)
        write_mask(folder / f"masks/{number:05}.png", phantom.mask)
    write_table(folder / "dataset.csv", [{"image_id": f"{number:05}"} for number in range(count)])
    return str(folder)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of a data set; phantoms by default")
    parser.add_argument(
        "--images", type=int, default=288, help="number of phantoms; with more, the overhead per epoch weighs less"
    )
    parser.add_argument("--architecture", default="deeplabv3plus")
    parser.add_argument("--side", type=int, default=256, help="side of the network's input in pixels")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--workers", type=int, default=0, help="data loading processes of the run")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--at-least", type=float, default=0.95, help="fail if the median ratio is lower")
    return parser.parse_args()


if __name__ == "__main__":
    main()

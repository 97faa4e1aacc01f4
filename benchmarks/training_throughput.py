"""Images a second of a training run against a plain loop over tensors in RAM; by turns, in one process.

    taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/training_throughput.py
    python benchmarks/training_throughput.py --data DATASET --images 2000 --batch-size 64 --device gpu

The run is the one that ``napari-melanoma train`` does, run folder, events, metrics, samples and checkpoints included.
The plain loop has the same network, variation, loss, optimiser, schedule, clipping and precision, reads from tensors
that lie in RAM already, and writes nothing. After each epoch of the run the loop does one: both learn from the same
number of images, and judge the same tuning images. An epoch of the run lasts from the report of the one before to its
own. The first epoch of both warms up. The exit code is 1 where the median ratio is below ``--at-least``.

``--clock cpu`` counts seconds of the processor, for a machine on which others compute too; it does not see waiting.
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

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

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
from napari_melanoma.training.augment.batch import BatchAugmentation
from napari_melanoma.training.engine import accelerator, choose_precision
from napari_melanoma.training.loader import ValidationBatches
from napari_melanoma.training.losses import make_loss
from napari_melanoma.training.prepare import PreparedData, prepare_data
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.tasks.task import OPTIMIZERS, make_schedule

TUNING_SHARE = 0.1
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class PlainLoop:
    """What one writes to train a network on tensors in RAM, and nothing else."""

    def __init__(self, recipe: TrainRecipe, prepared: PreparedData, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.batch_size = int(recipe.batch_size)
        self.steps = len(prepared.learn) // self.batch_size
        self._recipe = recipe
        self._device = torch.device(accelerator(recipe))
        self._images, self._masks = (torch.from_numpy(part) for part in prepared.learn.read(range(len(prepared.learn))))
        self._tuning = ValidationBatches(prepared.tuning, recipe.model.input_size)[np.arange(len(prepared.tuning))][:2]
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
        self._optimiser = OPTIMIZERS[recipe.optimiser](groups, recipe.weight_decay)
        self._schedule = make_schedule(recipe, self._optimiser, recipe.epochs * self.steps)

    def epoch(self, number: int) -> float:
        """Learn from all images once and judge the tuning images; give the seconds that it took."""
        started = self.clock()
        self._network.train()
        order = torch.randperm(len(self._images))[: self.steps * self.batch_size]
        for places in order.split(self.batch_size):
            keys = np.stack([np.full(len(places), number), places.numpy()], axis=1)
            self._step(self._images[places].to(self._device), self._masks[places].to(self._device), keys)
        self._network.eval()
        with torch.no_grad():
            for images, masks in zip(*(part.split(self.batch_size) for part in self._tuning), strict=True):
                found = self._logits(images.to(self._device).float()) > 0
                (found & (masks.to(self._device) > 127)).sum((1, 2, 3)).cpu()
        return self.clock() - started

    def _step(self, images: torch.Tensor, masks: torch.Tensor, keys: np.ndarray) -> None:
        """Learn from one batch."""
        varied, moved = self._augment(images, masks, keys)
        self._optimiser.zero_grad()
        self._loss(self._logits(varied), moved.float() / 255).backward()
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.gradient_clip)
        self._optimiser.step()
        self._schedule.step()

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise and predict, in the precision that a run would use."""
        half = choose_precision(self._recipe) == "bf16-mixed"
        normalised = ((images - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=half):
            return self._network(normalised).float()


class ByTurns(RunContext):
    """Hears of each epoch of a run, and lets the plain loop do one before the run goes on."""

    def __init__(self, plain: PlainLoop, rounds: int) -> None:
        super().__init__(self._on_progress)
        self.seconds: list[tuple[float, float]] = []
        self._plain = plain
        self._rounds = rounds
        self._went_on: float | None = None

    def _on_progress(self, progress: Progress) -> None:
        """Time the run's epoch that ends here, then one of the plain loop."""
        if not isinstance(progress, Milestone):
            return
        ran = None if self._went_on is None else self._plain.clock() - self._went_on
        plain = self._plain.epoch(len(self.seconds))
        if ran is not None:
            self.seconds.append((ran, plain))
            images = self._plain.steps * self._plain.batch_size
            print(f"run {images / ran:.2f} images/s, plain loop {images / plain:.2f}, ratio {plain / ran:.3f}")
        if len(self.seconds) == self._rounds:
            self.cancel()
        self._went_on = self._plain.clock()


def main() -> None:
    """Measure, and print each round, the medians and the spread."""
    asked = arguments()
    with (
        tempfile.TemporaryDirectory() as temporary,
        mock.patch("napari_melanoma.training.prepare.user_store_folder", return_value=Path(temporary) / "store"),
    ):
        data = asked.data or phantoms(Path(temporary) / "phantoms", asked.images)
        seconds = measure(recipe_of(asked, data), Path(temporary), asked.rounds, CLOCKS[asked.clock])
    ratios = sorted(plain / ran for ran, plain in seconds)
    found = {
        "ratio": round(statistics.median(ratios), 3),
        "lowest": round(ratios[0], 3),
        "highest": round(ratios[-1], 3),
    }
    print(json.dumps(found))
    if found["ratio"] < asked.at_least:
        raise SystemExit(f"the ratio {found['ratio']} is below {asked.at_least}")


def measure(
    recipe: TrainRecipe, folder: Path, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[tuple[float, float]]:
    """Train by turns; give the seconds of each epoch of the run and of the plain loop."""
    prepared = prepare_data(recipe, RunFolder(folder / "plain"), resume=False, run=RunContext())
    plain = PlainLoop(recipe, prepared, clock)
    print(
        f"{plain.steps * plain.batch_size} of {len(prepared.learn)} images, {recipe.model.architecture} at "
        f"{recipe.model.input_size}, batch {plain.batch_size}, {choose_precision(recipe)}, {accelerator(recipe)}, "
        f"{torch.get_num_threads()} threads"
    )
    turns = ByTurns(plain, rounds)
    with suppress(Cancelled):
        train(recipe, folder / "run", resume=False, run=turns)
    return turns.seconds


def recipe_of(asked: argparse.Namespace, data: str) -> TrainRecipe:
    """Say what is trained: the defaults of a recipe, from random weights, for as long as the rounds last."""
    epochs = asked.rounds + 2
    return TrainRecipe.parse(
        {
            "data": {"datasets": [data], "split": "all", "tuning_fraction": TUNING_SHARE},
            "model": {"architecture": asked.architecture, "start": "none", "input_size": asked.side},
            "batch_size": asked.batch_size,
            "epochs": epochs,
            "patience": epochs,
            "device": asked.device,
            "precision": asked.precision,
            "workers": asked.workers,
        },
        "the command line",
    )


def phantoms(folder: Path, count: int) -> str:
    """Draw a few phantom lesions, and turn and mirror them until there are enough."""
    drawn = list(lesion_phantoms(LesionPhantomConfig(size=(320, 320)), -(-count // 8)))
    turned: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda image, times=times, step=step: np.rot90(image, times)[::step] for times in range(4) for step in (1, -1)
    ]
    for number in range(count):
        phantom, turn = drawn[number // 8], turned[number % 8]
        write_rgb(folder / f"images/{number:05}.png", np.ascontiguousarray(turn(phantom.rgb)))
        write_mask(folder / f"masks/{number:05}.png", turn(phantom.mask))
    write_table(folder / "dataset.csv", [{"image_id": f"{number:05}"} for number in range(count)])
    return str(folder)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of a data set; phantoms by default")
    parser.add_argument(
        "--images", type=int, default=288, help="phantoms; what a run does once an epoch weighs less with more"
    )
    parser.add_argument("--architecture", default="deeplabv3plus")
    parser.add_argument("--side", type=int, default=256, help="of the network's input, in pixels")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--workers", type=int, default=0, help="processes of the run that read images ahead")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--at-least", type=float, default=0.95, help="fail where the median ratio is lower")
    return parser.parse_args()


if __name__ == "__main__":
    main()

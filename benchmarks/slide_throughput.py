"""Tiles per second of ``slide`` compared with a plain forward loop; alternating in one process.

    taskset -c 0,1 python benchmarks/slide_throughput.py
    python benchmarks/slide_throughput.py --architectures resnet18 --rounds 5
    python benchmarks/slide_throughput.py --backends resnet18 resnet50 --clock cpu
    python benchmarks/slide_throughput.py --memory 16384 131072

The slide is a JPEG pyramid of noise at 0.5 micrometers per pixel, all of it tissue. Each round runs all of these once:

* ``slide``: the analysis as run by the command, from the file to ``result.json``; the model is already loaded;
* ``loop``: the same network on the same tiles in RAM, normalized, in the same precision and layout; on a GPU with the
  copies to it;
* ``usual``: the same with the network as of timm, in bfloat16 and channels_last, without folding.

The exit code is 1 if a median ratio is below its limit (``--at-least``). ``--clock cpu`` counts processor time, for a
machine with other work; it does not include waiting. ``--backends`` instead compares ONNX Runtime with torch: whole
analyses with each of them, in turns, of a model of tiles or of a classifier with an encoder of timm and random weights,
for which graphs are written first. ``--memory`` instead measures the memory of the analysis of slides of several sides,
besides the model.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the command line, before torch is imported

import numpy as np
import psutil
import timm
import torch
from harness import write_noise
from torch import nn

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.prediction_config import ClassifierConfig, TileConfig
from napari_melanoma.io.results import write_mask
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.models.bundle import BundleConfig, load_network, write_bundle
from napari_melanoma.models.graphs import write_graphs
from napari_melanoma.models.inference import BACKEND_VARIABLE
from napari_melanoma.models.installed_bundles import list_bundles
from napari_melanoma.models.zoo import build_network
from napari_melanoma.slides.analysis import analyze_slide
from napari_melanoma.slides.engine import TileReader
from napari_melanoma.slides.model_loading import LoadOptions, load_tile_model
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tile_models import TileModel, TileModelInfo, TorchPasses

TILE, MPP = 224, 0.5
AT_LEAST = {"resnet18": {"loop": 0.92}, "resnet50": {"loop": 0.90}}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Answering(nn.Module):
    """A network of timm with softmax probabilities as output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return probabilities of two classes."""
        return self.network(images).float().softmax(1)


class Contest:
    """One architecture and its contenders, which alternate."""

    def __init__(self, options: argparse.Namespace, architecture: str, slide: Path, folder: Path) -> None:
        torch.manual_seed(0)
        self.arguments, self.slide, self.folder = options, slide, folder
        network = Answering(timm.create_model(architecture, num_classes=2)).eval()
        info = TileModelInfo(architecture, "classification", ("a", "b"), TILE, MPP, MEAN, STD, fingerprint="random")
        self.passes = TorchPasses(info, network, options.device)
        self.model = TileModel(info, self.passes, options.batch_size)
        self.usual = network.to(torch.bfloat16 if self.model.precision == "bf16" else torch.float32)
        self.usual = self.usual.to(options.device, memory_format=torch.channels_last)
        self.options = SlideOptions(tissue_mask=folder / "tissue.png", min_tissue=0, batch_size=options.batch_size)
        self.tiles = self._tiles_in_ram()

    def contenders(self) -> dict[str, Callable[[], tuple[int, float]]]:
        """Return the contenders by name, each returning tiles and seconds."""
        found = {"slide": self.run_slide, "loop": lambda: self.run_loop(self.passes._network)}
        return {**found, "usual": lambda: self.run_loop(self.usual)}

    def run_slide(self) -> tuple[int, float]:
        """Analyze the file, from opening it to the last result."""
        with tempfile.TemporaryDirectory(dir=self.folder) as out, self._timed() as seconds:
            found = analyze_slide(self.slide, Path(out), self.options, RunContext(), load=lambda: self.model)
        return found.content["tiles_done"], seconds()

    def run_loop(self, network: nn.Module) -> tuple[int, float]:
        """Run a network on all tiles."""
        with self._timed() as seconds, torch.inference_mode():
            for batch in self.tiles:
                found = network(batch.to(self.arguments.device, non_blocking=True))
            found.cpu()
        return sum(len(batch) for batch in self.tiles), seconds()

    def _tiles_in_ram(self) -> list[torch.Tensor]:
        """All tiles as network inputs, in batches."""
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            stopped = RunContext()
            stopped.report = lambda progress: stopped.cancel() if progress.total else None
            with suppress(Cancelled):
                analyze_slide(self.slide, Path(out), self.options, stopped, load=lambda: self.model)
            order = SlideResult.open(Path(out)).order
        with open_slide(self.slide) as slide:
            from napari_melanoma.slides.plan import plan_slide

            tiles = TileReader(slide, plan_slide(slide, self.model.info, self.options).grid)
            cuts = range(0, len(order) - self.options.batch_size + 1, self.options.batch_size)
            mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
            kind = torch.bfloat16 if self.model.precision == "bf16" else torch.float32
            batches = []
            for first in cuts[: self.arguments.loop_batches]:
                images = torch.from_numpy(tiles.read(order[first : first + self.options.batch_size])[0]).permute(
                    0, 3, 1, 2
                )
                normalized = ((images.float() / 255 - mean) / std).to(kind)
                batch = normalized.contiguous(memory_format=torch.channels_last)
                batches.append(batch.pin_memory() if self.arguments.device == "cuda" else batch)
        return batches

    def _timed(self) -> Timed:
        """Measure with the selected clock."""
        return Timed(self.arguments.clock)


class Timed:
    """Measures the seconds of a block; its value is a function that returns them.

    ``clock``: ``wall`` or ``cpu``.
    """

    def __init__(self, clock: str) -> None:
        self._clock = time.perf_counter if clock == "wall" else time.process_time
        self._seconds = 0.0

    def __enter__(self) -> Callable[[], float]:
        self._seconds = -self._clock()
        return lambda: self._seconds

    def __exit__(self, *_: object) -> None:
        self._seconds += self._clock()


def compete(options: argparse.Namespace, slide: Path, folder: Path) -> bool:
    """Run all architectures, print the speed of each round, and return whether all limits are met."""
    met = True
    for architecture in options.architectures:
        contest = Contest(options, architecture, slide, folder)
        contenders = contest.contenders()
        speeds: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(options.rounds + 1):
            order = list(contenders) if number % 2 else list(reversed(contenders))
            for name in order:
                tiles, seconds = contenders[name]()
                if number:  # the first round is a warm-up
                    speeds[name].append(tiles / seconds)
            if number:
                print(architecture, {name: round(found[-1], 1) for name, found in speeds.items() if found}, flush=True)
        met &= _report(architecture, contest, speeds, options)
    return met


def _report(architecture: str, contest: Contest, speeds: dict[str, list[float]], options: argparse.Namespace) -> bool:
    """Print medians and ratios of one architecture."""
    medians = {name: statistics.median(found) for name, found in speeds.items() if found}
    ratios: dict[str, dict[str, float]] = {}
    for name in medians:
        if name != "slide":
            pairs = [
                own_speed / other_speed for own_speed, other_speed in zip(speeds["slide"], speeds[name], strict=False)
            ]
            ratios[name] = {"median": statistics.median(pairs), "lowest": min(pairs), "highest": max(pairs)}
    plain = {name: {key: round(value, 3) for key, value in found.items()} for name, found in ratios.items()}
    tiles = {name: round(value, 1) for name, value in medians.items()}
    how = {"precision": contest.model.precision, "threads": torch.get_num_threads(), "clock": options.clock}
    print(json.dumps({"architecture": architecture, "tiles_per_s": tiles, "ratio_to": plain, **how}), flush=True)
    limits = AT_LEAST.get(architecture, {}) if options.at_least else {}
    return all(ratios[name]["median"] >= least for name, least in limits.items() if name in ratios)


def compare_backends(options: argparse.Namespace, slide: Path, folder: Path) -> None:
    """Print the tiles per second of whole analyses with each back end, and their ratio in each round."""
    analysis = SlideOptions(tissue_mask=folder / "tissue.png", min_tissue=0, batch_size=options.batch_size)
    for name in options.backends:
        models = _load_backends(name, options.batch_size, folder)
        speeds: dict[str, list[float]] = {backend: [] for backend in models}
        for number in range(options.rounds + 1):
            for backend in models if number % 2 else reversed(models):
                with tempfile.TemporaryDirectory(dir=folder) as out, Timed(options.clock) as seconds:
                    found = analyze_slide(
                        slide, Path(out), analysis, RunContext(), load=partial(models.__getitem__, backend)
                    )
                if number:  # the first round is a warm-up
                    speeds[backend].append(found.content["tiles_done"] / seconds())
        ratios = [own / other for own, other in zip(*speeds.values(), strict=True)]
        print(
            json.dumps(
                {
                    "model": name,
                    "tiles_per_s": {backend: round(statistics.median(found), 1) for backend, found in speeds.items()},
                    "ratio": {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
                    "precision": {backend: model.precision for backend, model in models.items()},
                    "threads": torch.get_num_threads(),
                    "clock": options.clock,
                }
            ),
            flush=True,
        )


def _load_backends(name: str, batch_size: int, folder: Path) -> dict[str, TileModel]:
    """Load a model for each back end; torch computes in the precision that it would choose."""
    if name not in {bundle.name for bundle in list_bundles()}:
        name = str(_write_classifier(name, folder / name))
    models = {}
    for backend in ("onnxruntime", "torch"):
        os.environ[BACKEND_VARIABLE] = backend
        models[backend] = load_tile_model(name, LoadOptions(device="cpu", batch_size=batch_size))
    return models


def _write_classifier(encoder: str, path: Path) -> Path:
    """Write a classifier of tiles with random weights, and its graphs."""
    torch.manual_seed(0)
    config = BundleConfig(
        name=encoder,
        title="Random",
        task="classification",
        architecture="image_tabular",
        options={"encoder": encoder},
        input_size=TILE,
        classes=("a", "b"),
        modalities=("slide",),
        tile=TileConfig(mpp=MPP, side_px=TILE),
        classifier=ClassifierConfig(view={"region": "photograph"}, positive="b"),
    )
    info = write_bundle(path, config, build_network(config.architecture, config.options), "")
    write_graphs(info, load_network(info))
    return info.path


def measure_memory(options: argparse.Namespace, folder: Path) -> None:
    """Print the memory of the analysis of slides of several sides besides the model, each for a while."""
    for side in options.memory:
        slide = write_noise(folder / f"noise-{side}.tif", side, MPP)
        peak = _peak_of(options, slide, folder)
        print(json.dumps({"side": side, **peak}), flush=True)
        slide.unlink()


def _peak_of(options: argparse.Namespace, slide: Path, folder: Path) -> dict[str, float]:
    """Analyze a slide for a while, and monitor this process."""
    run, done = RunContext(), threading.Event()
    options.loop_batches = 1
    contest = Contest(options, options.architectures[0], slide, folder)
    contest.run_loop(contest.passes._network)
    process, highest, tiles = psutil.Process(), [0], [0]
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.05):
            highest[0] = max(highest[0], process.memory_info().rss)

    watching, until = threading.Thread(target=watch), time.monotonic() + options.seconds

    def report(progress: Any) -> None:  # noqa: ANN401
        tiles[0] = progress.done if progress.total else 0
        if time.monotonic() > until:
            run.cancel()

    run.report = report
    watching.start()
    with tempfile.TemporaryDirectory(dir=folder) as out, suppress(Cancelled):
        analyze_slide(slide, Path(out), contest.options, run, load=lambda: contest.model)
    done.set()
    watching.join()
    return {
        "above_model_mb": round((highest[0] - before) / 2**20),
        "model_mb": round(before / 2**20),
        "tiles": tiles[0],
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slide", type=Path, help="a slide at 0.5 micrometers per pixel; noise by default")
    parser.add_argument("--side", type=int, default=8192, help="side of the noise slide in pixels")
    parser.add_argument("--architectures", nargs="+", default=["resnet18", "resnet50"], help="names in timm")
    parser.add_argument(
        "--backends", nargs="+", metavar="NAME", help="models or encoders of timm, to compare back ends"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of the analysis and the loops")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop-batches", type=int, default=64, help="greatest number of batches in RAM")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument(
        "--at-least", action=argparse.BooleanOptionalAction, default=True, help="fail if a ratio is below its limit"
    )
    parser.add_argument("--memory", type=int, nargs="+", metavar="SIDE", help="measure memory on slides of these sides")
    parser.add_argument("--seconds", type=float, default=60, help="duration of each")
    return parser.parse_args()


def main() -> None:
    """Measure; the exit code is 1 if a ratio is below its limit."""
    options = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_mask(folder / "tissue.png", np.ones((64, 64), np.bool_))
        if options.memory:
            measure_memory(options, folder)
        else:
            slide = options.slide or write_noise(folder / "noise.tif", options.side, MPP)
            if options.backends:
                compare_backends(options, slide, folder)
            elif not compete(options, slide, folder):
                sys.exit("a ratio is below its limit")


if __name__ == "__main__":
    main()

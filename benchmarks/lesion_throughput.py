"""Photographs per second from files to result files, compared with the network's plain forward pass.

    python benchmarks/lesion_throughput.py --data FOLDER --count 100
    python benchmarks/lesion_throughput.py --bundle runs/first/bundle --batch-size 16

The plain pass processes random tensors of the network's size in the same batches with all threads: the upper limit of
the throughput. Rounds of both alternate, because the speed of a shared machine varies.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import torch
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.lesion.batch import BatchOptions, analyze_files, find_inputs
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.models import DEFAULT_BUNDLE
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, load_network, write_bundle
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.models.zoo import build_network
from napari_melanoma.phantoms.lesion.phantom import lesion_phantoms
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig


def main() -> None:
    """Measure, and print each round and the medians."""
    options = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        info = bundle(options.bundle, Path(temporary))
        paths = (
            find_inputs([options.data])[: options.count] if options.data else phantoms(Path(temporary), options.count)
        )
        segmenter, network = Segmenter.load(info, "cpu"), load_network(info)
        print(f"{info.name}, {len(paths)} photographs, batch {options.batch_size}, {torch.get_num_threads()} threads")
        rounds = []
        for number in range(-1, options.rounds):  # the first round is a warm-up
            plain = plain_rate(network, info.config.input_size, len(paths), options.batch_size)
            files = files_rate(segmenter, paths, Path(temporary) / f"out{number}", options.batch_size)
            if number >= 0:
                rounds.append({"plain_per_s": plain, "files_per_s": files, "ratio": files / plain})
                print(f"forward alone {plain:.1f}/s, files to files {files:.1f}/s, ratio {files / plain:.2f}")
    medians = {name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]}
    print(json.dumps(medians))
    if medians["ratio"] < options.at_least:
        raise SystemExit(f"the ratio {medians['ratio']} is below {options.at_least}")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder or pattern of photographs; phantoms by default")
    parser.add_argument("--bundle", help="a model's name or folder; the shipped one, or random weights, by default")
    parser.add_argument("--count", type=int, default=100, help="photographs")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-least", type=float, default=0.5, help="fail if the median ratio is lower")
    return parser.parse_args()


def bundle(name: str | None, temporary: Path) -> BundleInfo:
    """Find the model; without a name, fall back to random weights, which are as fast."""
    try:
        return find_bundle(name or DEFAULT_BUNDLE)
    except MelanomaError:
        if name:
            raise
    config = BundleConfig(name="random", title="Random weights", architecture="deeplabv3plus")
    torch.manual_seed(0)
    return write_bundle(temporary / "random", config, build_network(config.architecture, config.options), "")


def phantoms(folder: Path, count: int) -> list[Path]:
    """Write some phantoms as JPEG, repeated under different names until there are enough."""
    folder = folder / "photographs"
    folder.mkdir()
    drawn = [phantom.rgb for phantom in lesion_phantoms(LesionPhantomConfig(size=(450, 600)), min(count, 10))]
    for number in range(count):
        Image.fromarray(drawn[number % len(drawn)]).save(folder / f"{number:04d}.jpg", quality=90)
    return find_inputs([folder])


def plain_rate(network: torch.nn.Module, side: int, count: int, batch_size: int) -> float:
    """Photographs per second of the network alone."""
    network = network.to(memory_format=torch.channels_last)
    batch = torch.randn(batch_size, 3, side, side).contiguous(memory_format=torch.channels_last)
    passes = max(1, count // batch_size)
    with torch.inference_mode():
        started = time.perf_counter()
        for _ in range(passes):
            network(batch)
    return passes * batch_size / (time.perf_counter() - started)


def files_rate(segmenter: Segmenter, paths: list[Path], out: Path, batch_size: int) -> float:
    """Photographs per second from files to result files."""
    started = time.perf_counter()
    summary = analyze_files(paths, out, BatchOptions(batch_size=batch_size), run=RunContext(), segmenter=segmenter)
    if summary.failed:
        raise SystemExit(f"{summary.failed} photographs failed: see {summary.table}")
    return len(paths) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()

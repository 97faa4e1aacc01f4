"""Cells per second of stored features compared with a plain loop, time for the features of a view, and memory.

    taskset -c 0,1 python benchmarks/tissue_features_speed.py
    python benchmarks/tissue_features_speed.py --source imagenet+texture --side 16384
    python benchmarks/tissue_features_speed.py --memory 16384 131072

The slide is a JPEG pyramid of noise at 0.25 micrometers per pixel. Each round runs all of these once, on ``--blocks``
blocks: ``store``: from the file to the store; ``loop``: the same blocks in RAM. ``view``: the blocks of a view of 1,800
x 1,200 micrometers, from an empty store; the network is loaded. The exit code is 1 if the median ratio is below
``AT_LEAST``. ``--clock cpu`` counts processor time, for a machine with other work; it does not include waiting.
``--memory`` instead measures the memory above that of the network while blocks are computed for ``--seconds``.
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
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
from noise_slide import write_noise
from numpy.typing import NDArray

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.engine import TileReader
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import Slide
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS
from napari_melanoma.slides.tissue_classifier.feature_sources import FeatureSource, open_feature_source
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures

MPP, AT_LEAST = 0.25, 0.95
VIEW_UM = (1200, 1800)


def main() -> int:
    """Print a line of JSON for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="imagenet")
    parser.add_argument("--side", type=int, default=16384, help="of the slide, in pixels")
    parser.add_argument("--blocks", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--memory", type=int, nargs="+", metavar="SIDE")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each side of --memory")
    options = parser.parse_args()
    source = open_feature_source(options.source)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.memory:
            for side in options.memory:
                path = write_noise(folder / f"noise-{side}.tif", side, MPP)
                with open_slide(path) as slide:
                    report(side=side, **measure_memory(slide, source, folder, options.seconds))
                path.unlink()
            return 0
        with open_slide(write_noise(folder / "noise.tif", options.side, MPP)) as slide:
            return compare(slide, source, options)


def compare(slide: Slide, source: FeatureSource, options: argparse.Namespace) -> int:
    """Compare store and loop in turns; return the exit code."""
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    ratios = []
    for _ in range(options.rounds):
        with SlideFeatures.open(slide, source) as features:
            blocks = all_blocks(features)[: options.blocks]
            began = clock()
            features.compute(blocks, RunContext())
            stored = clock() - began
            pixels, _ = TileReader(slide, features.grid.blocks).read(blocks)
        began = clock()
        for block in pixels:
            source.compute(block[None])
        looped = clock() - began
        with SlideFeatures.open(slide, source) as features:
            height, width = (round(side / MPP) for side in VIEW_UM)
            view = features.grid.cells_in(Box(options.side // 3, options.side // 3, height, width))
            corners = [(view.top, view.left), (view.top + view.height - 1, view.left + view.width - 1)]
            first, last = (corner // BLOCK_CELLS for corner in np.array(corners))
            wanted = np.argwhere(np.ones(last - first + 1)).astype(np.int32) + first.astype(np.int32)
            began = clock()
            features.compute(wanted, RunContext())
            seen = clock() - began
        cells = len(blocks) * BLOCK_CELLS**2
        ratios.append(looped / stored)
        report(store=cells / stored, loop=cells / looped, ratio=looped / stored, view_blocks=len(wanted), view_s=seen)
    report(median_ratio=statistics.median(ratios), cores=len(os.sched_getaffinity(0)))
    return int(statistics.median(ratios) < AT_LEAST)


def measure_memory(slide: Slide, source: FeatureSource, folder: Path, seconds: float) -> dict[str, float]:
    """Compute features for a while; return the highest memory above that of the network."""
    process, run, done, highest = psutil.Process(), RunContext(), threading.Event(), [0]
    before, until, computed = process.memory_info().rss, time.monotonic() + seconds, [0]

    def watch() -> None:
        while not done.wait(0.05):
            highest[0] = max(highest[0], process.memory_info().rss)

    def count(block: NDArray[np.int32]) -> None:
        computed[0] += 1
        if time.monotonic() > until:
            run.cancel()

    watching = threading.Thread(target=watch)
    watching.start()
    with tempfile.TemporaryDirectory(dir=folder) as out, suppress(Cancelled):
        features = SlideFeatures.open(slide, source, Path(out))
        features.compute(all_blocks(features), run, count)
    done.set()
    watching.join()
    return {"above_network_mb": (highest[0] - before) / 2**20, "network_mb": before / 2**20, "blocks": computed[0]}


def all_blocks(features: SlideFeatures) -> NDArray[np.int32]:
    """Return all blocks of a slide, row by row."""
    return np.argwhere(np.ones(features.grid.blocks.shape)).astype(np.int32)


def report(**values: float) -> None:
    """Print values as a line of JSON."""
    sys.stdout.write(json.dumps({name: round(value, 3) for name, value in values.items()}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

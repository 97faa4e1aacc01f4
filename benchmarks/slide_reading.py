"""Milliseconds per random region of 512 pixels of a pyramid: this package, OpenSlide and fastslide, in turns.

    python benchmarks/slide_reading.py [--compressions jpeg jpeg2000] [--threads 1 2] [--rounds 3]

The slide is an SVS file of noise at several scales with tiles of 256 pixels, written for the purpose; each contender
reads the same regions of level 0, with its own cache emptied by opening the file again in each round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fastslide
import numpy as np
import openslide
import tifffile
from scipy import ndimage

from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.reading.opening import open_slide

SIDE, TILE, REGION, REGIONS = 8192, 256, 512, 120
CODECS = {"jpeg": ("jpeg", {"level": 85}), "jpeg2000": ("aperio_jp2000_rgb", {"level": 40})}
Read = Callable[[int, int], object]


def write_slide(path: Path, compression: str) -> None:
    """Write a pyramid of two levels with a texture similar to tissue."""
    noise = np.random.default_rng(0)
    texture = sum(ndimage.zoom(noise.normal(size=(SIDE // step, SIDE // step)), step, order=1) for step in (4, 16, 64))
    gray = np.clip(190 + 18 * np.asarray(texture), 0, 255)
    rgb = np.stack([gray, 0.75 * gray, 0.95 * gray], axis=-1).astype(np.uint8)
    codec, arguments = CODECS[compression]
    how = {"tile": (TILE, TILE), "compression": codec, "compressionargs": arguments, "photometric": "rgb"}
    with tifffile.TiffWriter(path) as writer:
        writer.write(rgb, description="Aperio Image Library v12\r\nAppMag = 20|MPP = 0.5", metadata=None, **how)
        writer.write(rgb[::4, ::4], subfiletype=1, metadata=None, **how)


def open_readers(path: Path) -> dict[str, Read]:
    """Open the file with each library; returns functions that read a region at a row and column."""
    ours, theirs = open_slide(path), openslide.OpenSlide(path)
    fast = fastslide.FastSlide.from_file_path(path)
    size = (REGION, REGION)
    return {
        "napari-melanoma": lambda row, column: ours.read_region(0, Box(row, column, REGION, REGION)),
        "OpenSlide": lambda row, column: np.asarray(theirs.read_region((column, row), 0, size)),
        "fastslide": lambda row, column: fast.read_region((column, row), 0, size).numpy(),
    }


def time_reader(read: Read, threads: int) -> tuple[float, float]:
    """Return wall and processor milliseconds per region."""
    places = np.random.default_rng(1).integers(0, SIDE - REGION, (REGIONS, 2)).tolist()
    started, processor = time.perf_counter(), sum(os.times()[:2])
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda place: read(*place), places))
    scale = 1000 / REGIONS
    return scale * (time.perf_counter() - started), scale * (sum(os.times()[:2]) - processor)


def main() -> None:
    """Measure and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compressions", nargs="+", choices=CODECS, default=list(CODECS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for compression in arguments.compressions:
            path = Path(folder) / f"{compression}.svs"
            write_slide(path, compression)
            for threads in arguments.threads:
                times: dict[str, list[tuple[float, float]]] = {}
                for _ in range(arguments.rounds):
                    for name, read in open_readers(path).items():
                        times.setdefault(name, []).append(time_reader(read, threads))
                for name, values in times.items():
                    wall, processor = (statistics.median(column) for column in zip(*values, strict=True))
                    print(f"{compression}, {threads} threads, {name}: {wall:.2f} ms, processor {processor:.2f} ms")


if __name__ == "__main__":
    main()

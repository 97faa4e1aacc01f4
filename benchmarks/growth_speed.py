"""Processor time of operations that must stay fast for large inputs: each is run for a few items and for many.

The tests check the growth; this benchmark shows the times on one core. Example:
``python benchmarks/growth_speed.py``
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.corrections import COLUMNS, Correction, Corrections
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.dataset_table import TableFile, TableRecord
from napari_melanoma.data.duplicates import BANDS, Duplicate, find_close_pairs
from napari_melanoma.data.splits import TrainingSplit
from napari_melanoma.runs.launching import read_run
from napari_melanoma.training.data_selection import SelectedSamples, remove_leaks
from napari_melanoma.ui.body_map.widget import spread_points

Work = Callable[[], object]


def add_correction(rows: int, folder: Path) -> Work:
    """Add a photograph to a corrections table with the given number of rows, which has been read."""
    empty, draw = TableFile.empty(COLUMNS), np.random.default_rng(0)
    cells = [[f"i{n}", f"images/i{n}.png", f"masks/i{n}.png", *[""] * 12, f"{n:064x}"] for n in range(rows)]
    replace(empty, records=tuple(TableRecord(",".join(one), one) for one in cells)).write(folder / "dataset.csv")
    corrections, mask = Corrections(folder), np.ones((24, 32), bool)

    def add() -> None:
        rgb = draw.integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
        corrections.add(Correction("photo", rgb, mask, "accepted"))

    add()
    return add


def compare_pictures(images: int, folder: Path) -> Work:
    """Find similar pairs among random hashes."""
    codes = np.random.default_rng(0).integers(0, 256, (images, BANDS), dtype=np.uint8)
    return lambda: list(find_close_pairs(codes, codes, is_ordered=True))


def leave_out_the_same(images: int, folder: Path) -> Work:
    """Remove one image that is in the test set under another name."""
    samples = [Sample(f"i{n}", Path(f"i{n}"), Path("m"), f"g{n}", "", "a") for n in range(images)]
    chosen = SelectedSamples(TrainingSplit(samples[:-2], samples[-2:-1], samples[-1:]))
    return lambda: remove_leaks(chosen, [Duplicate(samples[0], samples[-1], 1.0)])


def read_long_run(events: int, folder: Path) -> Work:
    """Read a run with the given number of events."""
    run = RunFolder(folder)
    run.append_event("started")
    line = json.dumps({"time": 1e9, "kind": "step", "epoch": 3, "loss": 0.1, "text": "x" * 100})
    with run.events.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n" * events)
    return lambda: read_run(folder)


def spread_marks(lesions: int, folder: Path) -> Work:
    """Spread the numbers of lesions at 35 positions of the body map."""
    points = [(float(n % 7) * 30, float(n % 5) * 40) for n in range(lesions)]
    return lambda: spread_points(points, 15.0)


MEASURES: tuple[tuple[Callable[[int, Path], Work], int, int], ...] = (
    (add_correction, 1_000, 10_000),
    (compare_pictures, 4_000, 20_000),
    (leave_out_the_same, 2_000, 20_000),
    (read_long_run, 5_000, 50_000),
    (spread_marks, 30, 300),
)


def quickest(work: Work, times: int = 3) -> float:
    """Return the smallest processor time of several runs."""
    seconds = []
    for _ in range(times):
        before = time.process_time()
        work()
        seconds.append(time.process_time() - before)
    return min(seconds)


def main() -> None:
    """Measure each operation for few and many items."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the default numbers of items")
    share = parser.parse_args().share
    for prepare, *counts in MEASURES:
        for count in counts:
            with tempfile.TemporaryDirectory() as folder:
                many = max(1, round(share * count))
                print(f"{prepare.__name__}: {many}: {quickest(prepare(many, Path(folder))):.4f} s")


if __name__ == "__main__":
    main()

"""Kill napari at random times while someone paints, and check strokes and stored features after each kill.

    xvfb-run -a python benchmarks/paint_kills.py --kills 20

Each time, napari opens the same slide of noise and shows the stored strokes. A stroke is added every ``--pause``
seconds as the brush does, until the process is killed (SIGKILL; on Windows TerminateProcess) at a random time. Then the
file of the strokes must be readable and contain all strokes but those of the last ``--grace`` seconds, and the next
process must show them. At the end, the stored features must equal those of an undisturbed run bit for bit.
The exit code is 1 if anything is missing or differs.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread

import numpy as np
from harness import write_noise
from paint_latency import MPP, PaintBench, list_views

SIDE = 16384


def paint(slide: Path, pause: float) -> None:
    """Paint until killed; print the number of stored strokes, and then the identifier of each new one."""
    bench = PaintBench.open(slide)
    bench.look_at(list_views(SIDE, 1)[0])
    print(f"shown {len(bench.session.painted.value.strokes)}", flush=True)
    bench.painted = len(bench.session.painted.value.strokes)
    while True:
        bench.paint()
        print(bench.session.painted.value.strokes[-1].id, flush=True)
        bench.rest(pause)


def kill_once(slide: Path, after_s: float, pause: float) -> tuple[int, list[tuple[str, float]], float]:
    """Paint in a process that is killed some time after its first stroke.

    Returns the number of strokes that it showed first, its strokes with their times, and the time of the kill.
    """
    words = [sys.executable, __file__, "--paint", str(slide), "--pause", str(pause)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines: list[tuple[str, float]] = []

    def listen() -> None:
        assert process.stdout is not None
        lines.extend((line.strip(), time.monotonic()) for line in process.stdout)

    def started() -> bool:
        if process.poll() is not None:
            raise SystemExit("napari ended before the first stroke")
        return len(lines) > 1

    listener = Thread(target=listen)
    listener.start()
    while not started():
        time.sleep(0.01)
    time.sleep(after_s)
    process.kill()
    killed = time.monotonic()
    process.wait()
    listener.join()
    return int(lines[0][0].removeprefix("shown ")), lines[1:], killed


def read_strokes(results: Path) -> set[str]:
    """Return the identifiers of the stored strokes of the only slide."""
    from napari_melanoma.slides.tissue_classifier.strokes import STROKES, read_stroke_file

    return {stroke.id for path in results.rglob(STROKES) for stroke in read_stroke_file(path).strokes}


def count_different_blocks(slide: Path, results: Path) -> tuple[int, int]:
    """Compare the stored features with those of an undisturbed run; return the different and all blocks."""
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.reading.opening import open_slide
    from napari_melanoma.slides.tissue_classifier.feature_sources import open_feature_source
    from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
    from napari_melanoma.slides.tissue_classifier.strokes import STROKES

    (folder,) = (path.parent for path in results.rglob(STROKES))
    source = open_feature_source("imagenet")
    with open_slide(slide) as opened, SlideFeatures.open(opened, source, folder) as stored:
        rows, columns = stored.grid.blocks.shape
        every = np.argwhere(np.ones((rows, columns), bool)).astype(np.int32)
        known = np.array([block for block in every if stored.read_block(block) is not None], np.int32)
        with SlideFeatures.open(opened, source) as undisturbed:
            undisturbed.compute(known, RunContext())
            pairs = [(stored.read_block(block), undisturbed.read_block(block)) for block in known]
    return sum(not np.array_equal(one, other) for one, other in pairs), len(pairs)


def main() -> int:
    """Print a line for each kill; the exit code is 1 if strokes are lost or features differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paint", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.4, help="seconds between strokes")
    parser.add_argument("--grace", type=float, default=0.5, help="seconds in which a stroke may be saved")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.paint:
        paint(options.paint, options.pause)
    moments, failures = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        variables = ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_DOCUMENTS_DIR")
        os.environ |= {variable: str(folder / variable) for variable in variables}
        slide = write_noise(folder / "noise.tif", SIDE, MPP)
        stored: set[str] = set()
        for kill in range(options.kills):
            shown, painted, killed = kill_once(slide, moments.uniform(0, 6), options.pause)
            lost = {stroke for stroke, when in painted if killed - when > options.grace} - read_strokes(folder)
            failed = bool(lost) or shown != len(stored) or not stored <= read_strokes(folder)
            stored, failures = read_strokes(folder), failures + failed
            ages = sorted(killed - when for stroke, when in painted if stroke not in stored)
            ages_text = f"; not saved: of the last {ages[-1]:.2f} s" if ages else ""
            print(f"{kill + 1}: {shown} shown, {len(painted)} painted, {len(lost)} lost{ages_text}", flush=True)
        different, blocks = count_different_blocks(slide, folder)
    print(f"{options.kills - failures} of {options.kills} without loss; {different} of {blocks} blocks differ")
    return int(failures > 0 or different > 0)


if __name__ == "__main__":
    sys.exit(main())

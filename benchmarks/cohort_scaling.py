"""Many slides on two worker processes against one: wall time, speed-up, and how far from what the cores could give.

Each worker is given one core (where a process can be bound to cores), and the same slides: copies of one phantom, so
that no part is longer than another. Workers are warm: start-up and loading of the model are not counted. Three figures,
in turns: one worker alone; one worker while another that it knows nothing of does the same beside it, for two cores may
share a processor's units, a cache and memory; two workers that share the slides. From the second comes the ideal: two
workers that disturb each other as much, and lose nothing to sharing. Met where two are 1.8 times as fast as one, or
take no more than 1.1 times the ideal.

    python benchmarks/cohort_scaling.py
    python benchmarks/cohort_scaling.py --side 8192 --slides 6 --rounds 5
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from napari_melanoma.core.context import RunContext
from napari_melanoma.phantoms.slide.config import SlidePhantomConfig
from napari_melanoma.phantoms.slide.files import write_slide
from napari_melanoma.slides.cluster import CohortJob, DaskCluster, start_cluster
from napari_melanoma.slides.cohort import CohortEntry, CohortManifest, CohortRecords, CohortScheduler, CohortSettings
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.table import SlideTable

SPEED_UP, OF_IDEAL = 1.8, 1.1
BOUND = hasattr(psutil.Process, "cpu_affinity")
OPTIONS = SlideOptions(precision="fp32", batch_size=32)


def copies(folder: Path, side: int, count: int) -> list[Path]:
    """Draw one slide, and copy it."""
    first = write_slide(SlidePhantomConfig(size=(side, side), seed=3), folder / "phantom", "slide", RunContext()).image
    paths = [folder / "slides" / f"slide_{number:02d}.tif" for number in range(count)]
    (folder / "slides").mkdir()
    for path in paths:
        shutil.copy(first, path)
    return paths


def analysed(cluster: DaskCluster, paths: list[Path], out: Path) -> float:
    """Analyse slides, and say how many seconds that took."""
    jobs = [CohortJob(path, out / path.stem, OPTIONS) for path in paths]
    manifest = CohortManifest(out / "cohort.json", CohortSettings({}, {}), {})
    manifest.start_entries(CohortEntry(job.folder.name, job.slide.name) for job in jobs)
    began = time.perf_counter()
    CohortScheduler(cluster, CohortRecords(manifest, SlideTable(out / "slides.csv")), RunContext(), tries=1).run_jobs(
        jobs
    )
    seconds = time.perf_counter() - began
    states = {entry.state for entry in manifest.entries.values()}
    if states != {"done"}:
        raise SystemExit(f"slides failed: {manifest.entries}")
    return seconds


def part(asked: argparse.Namespace) -> None:
    """Be one of the parties: bind to cores, warm up, say so, and analyse; a disturber goes on until it is killed."""
    if BOUND:
        psutil.Process().cpu_affinity(asked.cores)
    paths = sorted((asked.folder / "slides").glob("*.tif"))
    with tempfile.TemporaryDirectory(dir=asked.folder) as out, start_cluster(asked.workers) as cluster:
        while len(cluster.workers()) < asked.workers:
            time.sleep(0.1)
        analysed(cluster, paths[: asked.workers], Path(out) / "warm")
        print("warm", flush=True)
        rounds = 0
        while rounds == 0 or asked.endless:
            rounds += 1
            seconds = analysed(cluster, paths, Path(out) / f"round-{rounds}")
            print(json.dumps({"seconds": seconds}), flush=True)


def begun(folder: Path, cores: list[int], workers: int, *, endless: bool = False) -> subprocess.Popen[str]:
    """Start a party, and wait until it is warm."""
    words = [sys.executable, __file__, "--folder", str(folder), "--workers", str(workers), "--cores", *map(str, cores)]
    process = subprocess.Popen([*words, *(["--endless"] if endless else [])], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline().strip() != "warm":
        raise SystemExit("a party ended before it was warm; what it said stands above.")
    return process


def seconds_of(process: subprocess.Popen[str]) -> float:
    """Wait for the figure of a party, and for its end."""
    assert process.stdout is not None
    line = process.stdout.readline()
    process.wait()
    return float(json.loads(line)["seconds"])


def disturbed(folder: Path, cores: list[int]) -> float:
    """Measure one worker on the first core while another does the same on the second."""
    other = begun(folder, cores[1:2], 1, endless=True)
    try:
        return seconds_of(begun(folder, cores[:1], 1))
    finally:
        for child in [*psutil.Process(other.pid).children(recursive=True), other]:
            child.kill()
        other.wait()


def measure(asked: argparse.Namespace, folder: Path) -> bool:
    """Measure in turns, print figures, and say whether the aim is met."""
    cores = sorted(psutil.Process().cpu_affinity())[:2] if BOUND else [0, 1]
    if len(cores) < 2 and BOUND:
        raise SystemExit("this process may use one core only: nothing to be shared")
    copies(folder, asked.side, asked.slides)
    found: dict[str, list[float]] = {"one": [], "one, disturbed": [], "two": []}
    for number in range(asked.rounds):
        found["one"].append(seconds_of(begun(folder, cores[:1], 1)))
        found["one, disturbed"].append(disturbed(folder, cores))
        found["two"].append(seconds_of(begun(folder, cores, 2)))
        print(f"round {number + 1}", {name: round(values[-1], 2) for name, values in found.items()}, flush=True)
    one, alone, two = (statistics.median(found[name]) for name in ("one", "one, disturbed", "two"))
    figures = {"slides": asked.slides, "side_px": asked.side, "one_s": one, "one_disturbed_s": alone, "two_s": two}
    figures |= {"ideal_two_s": alone / 2, "speed_up": one / two, "of_ideal": two / (alone / 2)}
    met = figures["speed_up"] >= SPEED_UP or figures["of_ideal"] <= OF_IDEAL
    print(json.dumps({name: round(value, 3) for name, value in figures.items()} | {"bound": BOUND, "met": met}))
    return bool(met)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=6144, help="of the slides, in pixels")
    parser.add_argument("--slides", type=int, default=4, help="how many; an even number")
    parser.add_argument("--rounds", type=int, default=3)
    hidden = argparse.SUPPRESS
    parser.add_argument("--folder", type=Path, help=hidden)
    parser.add_argument("--workers", type=int, default=0, help=hidden)
    parser.add_argument("--cores", type=int, nargs="+", default=[], help=hidden)
    parser.add_argument("--endless", action="store_true", help=hidden)
    return parser.parse_args()


def main() -> None:
    """Measure, and end with 1 where the aim is not met."""
    asked = arguments()
    if asked.workers:
        part(asked)
        return
    with tempfile.TemporaryDirectory() as folder:
        if not measure(asked, Path(folder)):
            sys.exit("two workers gain less than is asked for")


if __name__ == "__main__":
    main()

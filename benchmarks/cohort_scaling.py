"""Analysis of many slides with two worker processes compared with one: wall time, speed-up, and efficiency.

Each worker uses one core (if processes can be bound to cores), and the slides are copies of one phantom, so that all
parts take the same time. Workers are warmed up: start-up and loading of the model are not counted. Three measurements
alternate: one worker alone; one worker while an independent one does the same on the other core, as two cores may share
processor units, caches and memory; two workers that share the slides. The second gives the ideal time: two workers that
disturb each other equally, without overhead of sharing. The target is a speed-up of 1.8, or at most 1.1 times the ideal
time.

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
from distributed import Client

from napari_melanoma.core.context import RunContext
from napari_melanoma.phantoms.slide.config import SlidePhantomConfig
from napari_melanoma.phantoms.slide.render import write_slide
from napari_melanoma.slides.cohort import run_jobs
from napari_melanoma.slides.cohort_cluster import CohortJob, count_workers, start_cluster
from napari_melanoma.slides.cohort_manifest import CohortEntry, CohortManifest, CohortRecords, CohortSettings
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.slide_table import SlideTable

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


def analysed(client: Client, paths: list[Path], out: Path) -> float:
    """Analyze slides, and return the seconds."""
    jobs = [CohortJob(path, out / path.stem, OPTIONS) for path in paths]
    manifest = CohortManifest(out / "cohort.json", CohortSettings({}, {}), {})
    manifest.start_entries(CohortEntry(job.folder.name, job.slide.name) for job in jobs)
    began = time.perf_counter()
    run_jobs(client, jobs, CohortRecords(manifest, SlideTable(out / "slides.csv")), RunContext())
    seconds = time.perf_counter() - began
    states = {entry.state for entry in manifest.entries.values()}
    if states != {"done"}:
        raise SystemExit(f"slides failed: {manifest.entries}")
    return seconds


def part(options: argparse.Namespace) -> None:
    """Run one worker group: bind to cores, warm up, report, and analyze; an endless one runs until it is killed."""
    if BOUND:
        psutil.Process().cpu_affinity(options.cores)
    paths = sorted((options.folder / "slides").glob("*.tif"))
    with tempfile.TemporaryDirectory(dir=options.folder) as out, start_cluster(options.workers) as client:
        while count_workers(client) < options.workers:
            time.sleep(0.1)
        analysed(client, paths[: options.workers], Path(out) / "warm")
        print("warm", flush=True)
        rounds = 0
        while rounds == 0 or options.endless:
            rounds += 1
            seconds = analysed(client, paths, Path(out) / f"round-{rounds}")
            print(json.dumps({"seconds": seconds}), flush=True)


def begun(folder: Path, cores: list[int], workers: int, *, endless: bool = False) -> subprocess.Popen[str]:
    """Start a worker group, and wait until it is warm."""
    words = [sys.executable, __file__, "--folder", str(folder), "--workers", str(workers), "--cores", *map(str, cores)]
    process = subprocess.Popen([*words, *(["--endless"] if endless else [])], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline().strip() != "warm":
        raise SystemExit("a worker group ended during warm-up; see its output above.")
    return process


def seconds_of(process: subprocess.Popen[str]) -> float:
    """Wait for the time of a worker group, and for its end."""
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


def measure(options: argparse.Namespace, folder: Path) -> bool:
    """Alternate the measurements, print the results, and return whether the target is met."""
    cores = sorted(psutil.Process().cpu_affinity())[:2] if BOUND else [0, 1]
    if len(cores) < 2 and BOUND:
        raise SystemExit("this process may use only one core, so scaling cannot be measured")
    copies(folder, options.side, options.slides)
    found: dict[str, list[float]] = {"one": [], "one, disturbed": [], "two": []}
    for number in range(options.rounds):
        found["one"].append(seconds_of(begun(folder, cores[:1], 1)))
        found["one, disturbed"].append(disturbed(folder, cores))
        found["two"].append(seconds_of(begun(folder, cores, 2)))
        print(f"round {number + 1}", {name: round(values[-1], 2) for name, values in found.items()}, flush=True)
    one, alone, two = (statistics.median(found[name]) for name in ("one", "one, disturbed", "two"))
    figures = {"slides": options.slides, "side_px": options.side, "one_s": one, "one_disturbed_s": alone, "two_s": two}
    figures |= {"ideal_two_s": alone / 2, "speed_up": one / two, "of_ideal": two / (alone / 2)}
    met = figures["speed_up"] >= SPEED_UP or figures["of_ideal"] <= OF_IDEAL
    print(json.dumps({name: round(value, 3) for name, value in figures.items()} | {"bound": BOUND, "met": met}))
    return bool(met)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=6144, help="side of the slides in pixels")
    parser.add_argument("--slides", type=int, default=4, help="number of slides; even")
    parser.add_argument("--rounds", type=int, default=3)
    hidden = argparse.SUPPRESS
    parser.add_argument("--folder", type=Path, help=hidden)
    parser.add_argument("--workers", type=int, default=0, help=hidden)
    parser.add_argument("--cores", type=int, nargs="+", default=[], help=hidden)
    parser.add_argument("--endless", action="store_true", help=hidden)
    return parser.parse_args()


def main() -> None:
    """Measure; the exit code is 1 if the target is not met."""
    options = arguments()
    if options.workers:
        part(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        if not measure(options, Path(folder)):
            sys.exit("the speed-up with two workers is below the target")


if __name__ == "__main__":
    main()

"""A cohort of 40 small slides with a damaged slide, a killed worker and a second start.

It runs twice: with processes on this machine, and with a scheduler and two separate workers. Checks: all other slides
are done, the damaged one failed at once with a reason, the one of the killed worker is done at its second attempt and
the manifest states why, the second start is refused, the exit code is 1; and a further run skips all finished slides.

    python benchmarks/cohort_trial.py
    python benchmarks/cohort_trial.py --count 12 --side 1536 --only here
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

PATIENCE_S = 900.0
PROGRAM = [sys.executable, "-m", "napari_melanoma"]


def make_slides(folder: Path, count: int, side: int) -> str:
    """Draw slides, truncate one, and return its name."""
    words = ["phantom", "slide", "--out", str(folder), "--count", str(count), "--size", str(side), "--json"]
    subprocess.run([*PROGRAM, *words], check=True, stdout=subprocess.DEVNULL)
    broken = sorted(folder.glob("*.tif"))[count // 2]
    broken.write_bytes(broken.read_bytes()[:20000])
    return broken.stem


def entries(out: Path) -> dict[str, dict[str, Any]]:
    """Slides of a manifest by name; empty without a manifest."""
    try:
        return {one["slide"]: one for one in json.loads((out / "cohort.json").read_text())["slides"]}
    except OSError:
        return {}


def wait_for(what: Callable[[], Any], process: subprocess.Popen[bytes]) -> Any:  # noqa: ANN401
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not (found := what()):
        if time.monotonic() > end or process.poll() is not None:
            raise SystemExit("the cohort ended, or took too long, before a worker could be killed")
        time.sleep(0.02)
    return found


def at_work(out: Path, broken: str, done: int) -> psutil.Process | None:
    """Return a worker in the middle of a slide, after a number of finished slides."""
    found = entries(out)
    if sum(one["state"] == "done" for one in found.values()) < done:
        return None
    running = [name for name, one in found.items() if one["state"] == "running" and name != broken]
    stamps = [out / name / "process.json" for name in running if not (out / name / "result.json").exists()]
    for stamp in (one for one in stamps if one.exists()):
        return psutil.Process(json.loads(stamp.read_text())["pid"])
    return None


@contextmanager
def scheduler_elsewhere(folder: Path) -> Iterator[list[str]]:
    """Run a scheduler and two workers, which are not replaced."""
    file, how = folder / "scheduler.json", ["--no-dashboard", "--host", "127.0.0.1"]
    dask = [sys.executable, "-m", "dask"]
    worker = [*dask, "worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", *how]
    with ExitStack() as ends:
        for words in ([*dask, "scheduler", "--port", "0", "--scheduler-file", str(file), *how], worker, worker):
            process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
            ends.callback(process.wait)
            ends.callback(process.kill)
            while not file.exists():
                time.sleep(0.1)
        yield ["--scheduler", str(file)]


def trial(folder: Path, out: Path, broken: str, sharing: list[str]) -> dict[str, float]:
    """Run a cohort with these disturbances, check it, and return the times."""
    words = [*PROGRAM, "slide", str(folder), "--out", str(out), "--json", *sharing]
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    victim = wait_for(lambda: at_work(out, broken, done=3), process)
    victim.kill()
    second = subprocess.run([*words[:-2], *sharing], capture_output=True, text=True, check=False)
    code, seconds = process.wait(PATIENCE_S), time.perf_counter() - began
    found = entries(out)
    checks = {
        "exit code 1": code == 1,
        "a second start is refused": second.returncode == 2 and "another process works in" in second.stderr,
        "all others done": {one["state"] for name, one in found.items() if name != broken} == {"done"},
        "the damaged one failed": found[broken]["state"] == "failed",
        "the error names the slide": broken in found[broken]["error"],
    }
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    summary = json.loads(again.stdout.splitlines()[-1])
    checks["finished slides are skipped"] = summary["skipped"] == len(found) - 1 and again.returncode == 1
    if failed := [name for name, good in checks.items() if not good]:
        raise SystemExit(f"failed checks: {', '.join(failed)}; {json.dumps(found, indent=1)}")
    return {"slides": len(found), "seconds": round(seconds, 1), "again_s": round(summary["seconds"], 1)}


def main() -> None:
    """Run both variants; the exit code is 1 if any check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--side", type=int, default=1536, help="side of the slides in pixels")
    parser.add_argument("--only", choices=["here", "elsewhere"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broken = make_slides(folder / "slides", options.count, options.side)
        if options.only != "elsewhere":
            found = trial(folder / "slides", folder / "here", broken, ["--processes", "2"])
            print(json.dumps({"workers": "two processes of this machine", **found}), flush=True)
        if options.only != "here":
            with scheduler_elsewhere(folder) as sharing:
                found = trial(folder / "slides", folder / "elsewhere", broken, sharing)
            print(json.dumps({"workers": "two of a scheduler, one remaining", **found}), flush=True)


if __name__ == "__main__":
    main()

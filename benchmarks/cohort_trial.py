"""A cohort of 40 small slides lives through a broken slide, a worker that is killed and a second start.

Twice: over processes of this machine, and over a scheduler with two workers in processes of their own. What must be so
afterwards is checked: all others done, the broken one failed at once and said so, the killed one done at its second
attempt and the manifest says why, the second start refused, exit code 1; and once more, all that is done skipped.

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
    """Draw slides, cut one off, and name it."""
    words = ["phantom", "slide", "--out", str(folder), "--count", str(count), "--size", str(side), "--json"]
    subprocess.run([*PROGRAM, *words], check=True, stdout=subprocess.DEVNULL)
    broken = sorted(folder.glob("*.tif"))[count // 2]
    broken.write_bytes(broken.read_bytes()[:20000])
    return broken.stem


def entries(out: Path) -> dict[str, dict[str, Any]]:
    """Slides of a manifest, by name; none before there is one."""
    try:
        return {one["slide"]: one for one in json.loads((out / "cohort.json").read_text())["slides"]}
    except OSError:
        return {}


def wait_for(what: Callable[[], Any], process: subprocess.Popen[bytes]) -> Any:  # noqa: ANN401
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE_S
    while not (found := what()):
        if time.monotonic() > end or process.poll() is not None:
            raise SystemExit("the cohort ended, or took too long, before there was anything to kill")
        time.sleep(0.02)
    return found


def at_work(out: Path, broken: str, done: int) -> psutil.Process | None:
    """A worker in the middle of a slide, once so many are done."""
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
    """A scheduler and two workers, which are not replaced."""
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
    """Let a cohort live through it, check, and say how long it took."""
    words = [*PROGRAM, "slide", str(folder), "--out", str(out), "--json", *sharing]
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    victim = wait_for(lambda: at_work(out, broken, done=3), process)
    victim.kill()
    second = subprocess.run([*words[:-2], *sharing], capture_output=True, text=True, check=False)
    code, seconds = process.wait(PATIENCE_S), time.perf_counter() - began
    found = entries(out)
    retried = [one for one in found.values() if one["attempts"] == 2]
    checks = {
        "exit code 1": code == 1,
        "a second start is refused": second.returncode == 2 and "another process works in" in second.stderr,
        "all others done": {one["state"] for name, one in found.items() if name != broken} == {"done"},
        "the broken one failed, at once": (found[broken]["state"], found[broken]["attempts"]) == ("failed", 1),
        "it says why": broken in found[broken]["error"],
        "the killed one was tried again": len(retried) == 1 and "ended without an error message" in retried[0]["earlier"][0],
    }
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    summary = json.loads(again.stdout.splitlines()[-1])
    checks["what is done is skipped"] = summary["skipped"] == len(found) - 1 and again.returncode == 1
    if failed := [name for name, good in checks.items() if not good]:
        raise SystemExit(f"not so: {', '.join(failed)}; {json.dumps(found, indent=1)}")
    return {"slides": len(found), "seconds": round(seconds, 1), "again_s": round(summary["seconds"], 1)}


def main() -> None:
    """Try both ways, and end with 1 where anything is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--side", type=int, default=1536, help="of the slides, in pixels")
    parser.add_argument("--only", choices=["here", "elsewhere"])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broken = make_slides(folder / "slides", asked.count, asked.side)
        if asked.only != "elsewhere":
            found = trial(folder / "slides", folder / "here", broken, ["--processes", "2"])
            print(json.dumps({"workers": "two processes of this machine", **found}), flush=True)
        if asked.only != "here":
            with scheduler_elsewhere(folder) as sharing:
                found = trial(folder / "slides", folder / "elsewhere", broken, sharing)
            print(json.dumps({"workers": "two of a scheduler, one left", **found}), flush=True)


if __name__ == "__main__":
    main()

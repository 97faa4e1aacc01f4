"""Kill analyses of a slide at random times, resume each, and compare the results with those of an undisturbed run.

    python benchmarks/slide_kills.py SLIDE --kills 20 --model skin-layers

First the slide is analyzed undisturbed. Then, for each kill, the same command is started in a separate folder and
killed (SIGKILL; on Windows TerminateProcess) at a random time between its first and last file: while the store is
created, tiles are predicted, maps stitched, results written. The command is run again until it ends, and its results
must equal those of the undisturbed run bit for bit: states, probabilities, maps, lesions, outlines, heatmap.
``--again N`` kills it N times before it may end. The exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.models import DEFAULT_TILE_MODEL

FILES = ("lesions.csv", "lesions.geojson", "tissue.png")
NUMBERS = ("probability", "scores", "outlines", "tiles_done", "tiles_failed", "tiles_total")


def life(slide: Path, out: Path, model: str) -> subprocess.Popen[bytes]:
    """Start or resume the analysis."""
    words = [sys.executable, "-m", "napari_melanoma", "slide", str(slide), "--out", str(out), "--model", model]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of an analysis."""
    _, output = process.communicate()
    if process.returncode:
        raise SystemExit(f"the analysis failed:\n{output.decode()}")


def folder_of(out: Path) -> Path | None:
    """Folder of the slide's results, if it exists."""
    return next((path for path in out.glob("*/") if path.is_dir()), None)


def undisturbed(slide: Path, out: Path, model: str) -> tuple[float, float]:
    """Analyze once; returns the seconds from the start to the first file, and to the end."""
    begun, first = time.monotonic(), 0.0
    process = life(slide, out, model)
    while process.poll() is None:
        if not first and folder_of(out) is not None:
            first = time.monotonic() - begun
        time.sleep(0.005)
    ended(process)
    return first, time.monotonic() - begun


def killed(slide: Path, out: Path, model: str, after_s: float) -> str:
    """Kill an analysis after a time; returns its progress."""
    process = life(slide, out, model)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    folder = folder_of(out)
    if folder is None:
        return "no folder"
    kinds = [str(event["kind"]) for event in RunFolder(folder).read_events()]
    written = sorted(path.name for path in folder.iterdir())
    return f"{kinds[-1] if kinds else 'no event'}, {len(written)} files"


def differences(whole: Path, other: Path) -> list[str]:
    """List the results that differ between two analyses."""
    results = [SlideResult.open(folder) for folder in (whole, other)]
    names = ["state", "probability", "order", *(["dense", "map"] if results[0].spec.kind == "dense" else [])]
    arrays = {name: [np.asarray(result.array(name)[:]) for result in results] for name in names}
    arrays["heatmap.ome.tif"] = [tifffile.imread(folder / "heatmap.ome.tif") for folder in (whole, other)]
    found = [
        name for name, (one, two) in arrays.items() if not np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
    ]
    found += [name for name in FILES if (whole / name).read_bytes() != (other / name).read_bytes()]
    contents = [json.loads((folder / "result.json").read_text(encoding="utf-8")) for folder in (whole, other)]
    return found + [key for key in NUMBERS if contents[0][key] != contents[1][key]]


def main() -> int:
    """Print one line per kill; the exit code is 1 if a result differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--again", type=int, default=1, help="kills of each analysis before it may end")
    parser.add_argument("--model", default=DEFAULT_TILE_MODEL)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    moments, unequal = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        first, last = undisturbed(arguments.slide, whole, arguments.model)
        print(f"undisturbed: {last:.1f} s, of which {first:.1f} s until its folder exists", flush=True)
        for kill in range(arguments.kills):
            out = Path(scratch) / f"killed_{kill}"
            for _ in range(arguments.again):
                after = moments.uniform(first, last)
                print(f"{kill + 1}: killed after {after:.2f} s: ", end="", flush=True)
                print(killed(arguments.slide, out, arguments.model, after), end="; ", flush=True)
            ended(life(arguments.slide, out, arguments.model))
            folders = folder_of(whole), folder_of(out)
            assert folders[0] is not None
            assert folders[1] is not None
            found = differences(folders[0], folders[1])
            unequal += bool(found)
            print("differs: " + ", ".join(found) if found else "equal", flush=True)
    print(f"{arguments.kills - unequal} of {arguments.kills} equal")
    return int(unequal > 0)


if __name__ == "__main__":
    raise SystemExit(main())

"""Random views of a slide at several zooms: our arrays compared with tifffile's zarr view and napari-wsi.

A view reads what a canvas of 1200 x 800 pixels shows, from the level that napari would choose, at the same positions
for all readers. Each reader runs in a separate process. Reported are the time until it is open and until the first
picture of the whole slide, the seconds per view (median; in brackets the slowest of ten, and the mean processor time,
which other work disturbs less), and the peak memory.

Example: ``python benchmarks/slide_jumps.py --side 32768 --wsi-python PEER/bin/python``, where PEER is an environment
with napari-wsi, which is never installed beside this package. Without ``--slide`` a pyramid of that side is generated.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CANVAS = (800, 1200)  # rows, columns
ZOOMS = (0.02, 0.1, 0.3, 1.0)
TILE, KINDS, QUALITY = 256, 64, 80
READERS = ("ours", "tifffile", "napari-wsi")


def make_slide(path: Path, side: int, *, pyramid: bool = True) -> None:
    """Write JPEG tiles that resemble tissue, each level half of the previous one, or only the finest level."""
    import imagecodecs
    import tifffile

    random = np.random.default_rng(0)
    tables = [imagecodecs.jpeg8_encode(_tissue(random), level=QUALITY) for _ in range(KINDS)]
    options = {"tile": (TILE, TILE), "photometric": "ycbcr", "subsampling": (2, 2), "compression": "jpeg"}
    levels = [side >> n for n in range(8 if pyramid else 1) if n == 0 or side >> n >= 512]
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for number, length in enumerate(levels):
            tiles = (tables[int(kind)] for kind in random.integers(KINDS, size=math.ceil(length / TILE) ** 2))
            tiff.write(
                tiles,
                shape=(length, length, 3),
                dtype=np.uint8,
                subfiletype=int(number > 0),
                resolution=(20000 >> number, 20000 >> number),
                resolutionunit="CENTIMETER",
                **options,
            )


def _tissue(random: np.random.Generator) -> np.ndarray:
    """Return one tile: smooth pink, dark spots and noise."""
    rows, columns = np.mgrid[:TILE, :TILE]
    waves = sum(np.sin(rows * random.normal(0, 0.05) + columns * random.normal(0, 0.05)) for _ in range(4)) * 12
    spots = np.zeros((TILE, TILE))
    for row, column in random.integers(TILE, size=(90, 2)):
        spots[(rows - row) ** 2 + (columns - column) ** 2 < 25] = 90
    gray = waves - spots + random.normal(0, 6, (TILE, TILE))
    return np.clip(gray[..., None] + np.array((215, 150, 190)), 0, 255).astype(np.uint8)


def open_ours(path: Path) -> Sequence[Any]:
    """Levels of this package for napari."""
    from napari_melanoma.slides.reading.layers import make_slide_layers
    from napari_melanoma.slides.reading.opening import open_slide

    return make_slide_layers(open_slide(path))[0][0]


def open_tifffile(path: Path) -> Sequence[Any]:
    """Levels of tifffile as zarr."""
    import tifffile
    import zarr

    group = zarr.open(tifffile.imread(path, aszarr=True), mode="r")
    return [group[name] for name in sorted(group, key=int)] if isinstance(group, zarr.Group) else [group]


def open_napari_wsi(path: Path) -> Sequence[Any]:
    """Levels of napari-wsi for napari."""
    from napari_wsi.reader import wsi_reader_openslide

    data = wsi_reader_openslide(str(path))(str(path))[0][0]
    return data if isinstance(data, list | tuple) else list(data)


OPENERS: dict[str, Callable[[Path], Sequence[Any]]] = {
    "ours": open_ours,
    "tifffile": open_tifffile,
    "napari-wsi": open_napari_wsi,
}


def level_for(levels: Sequence[Any], zoom: float) -> int:
    """Return the level that napari chooses: the coarsest one with more pixels in view than the canvas has."""
    extents = [side / zoom for side in CANVAS]
    factors = [levels[0].shape[0] / level.shape[0] for level in levels]
    fitting = [
        n for n, factor in enumerate(factors) if all(w / factor > c for w, c in zip(extents, CANVAS, strict=True))
    ]
    return max(fitting, default=0)


def regions(levels: Sequence[Any], zoom: float, jumps: int) -> Iterator[tuple[int, slice, slice]]:
    """Level, rows and columns of random views, the same for every reader."""
    random = np.random.default_rng(int(1000 * zoom))
    level = level_for(levels, zoom)
    factor = levels[0].shape[0] / levels[level].shape[0]
    height, width = (
        min(round(side / zoom / factor), length) for side, length in zip(CANVAS, levels[level].shape, strict=False)
    )
    for row, column in random.random((jumps, 2)):
        top = round(row * (levels[level].shape[0] - height))
        left = round(column * (levels[level].shape[1] - width))
        yield level, slice(top, top + height), slice(left, left + width)


def measure(reader: str, path: Path, jumps: int) -> dict[str, Any]:
    """Measure one reader in this process."""
    import psutil

    begin = time.perf_counter()
    levels = OPENERS[reader](path)
    opened = time.perf_counter() - begin
    np.asarray(levels[-1][...])
    first = time.perf_counter() - begin
    found: dict[str, Any] = {"reader": reader, "open_s": opened, "first_s": first, "levels": len(levels)}
    for zoom in ZOOMS:
        times, work = [], []
        for level, rows, columns in regions(levels, zoom, jumps):
            begin, busy = time.perf_counter(), time.process_time()
            np.asarray(levels[level][rows, columns])
            times.append(time.perf_counter() - begin)
            work.append(time.process_time() - busy)
        found[f"{zoom}"] = [float(np.median(times)), float(np.quantile(times, 0.9)), float(np.mean(work))]
    memory = psutil.Process().memory_info()
    found["peak_mb"] = getattr(memory, "peak_wset", 0) / 1e6 or _peak_mb()
    return found


def _peak_mb() -> float:
    """Peak resident memory of this process, if the system reports it."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def run(reader: str, python: str, path: Path, jumps: int) -> dict[str, Any]:
    """Measure one reader in a separate process."""
    command = [python, __file__, "--only", reader, "--slide", str(path), "--jumps", str(jumps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"reader": reader, "fault": done.stderr.strip().splitlines()[-1:]}
    return json.loads(done.stdout.splitlines()[-1])


def shown(found: dict[str, Any]) -> str:
    """Format one result as a line."""
    if "fault" in found:
        return f"{found['reader']:<11} failed: {found['fault']}"
    zooms = "  ".join("{}: {:.3f} ({:.3f}, {:.3f}) s".format(zoom, *found[str(zoom)]) for zoom in ZOOMS)
    start = f"open {found['open_s']:.2f} s, first picture {found['first_s']:.2f} s"
    return f"{found['reader']:<11} {start}; {zooms}; peak {found['peak_mb']:.0f} MB, {found['levels']} levels"


def main() -> None:
    """Measure the available readers, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", type=Path, help="a slide; generated by default")
    parser.add_argument("--side", type=int, default=32768, help="side of the generated slide in pixels")
    parser.add_argument("--jumps", type=int, default=30)
    parser.add_argument("--wsi-python", help="interpreter of an environment with napari-wsi")
    parser.add_argument("--only", choices=READERS, help="measure one reader in this process and print JSON")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options.slide, options.jumps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = options.slide
        if path is None:
            path = Path(folder) / "pyramid.tif"
            make_slide(path, options.side)
        pythons = {"ours": sys.executable, "tifffile": sys.executable, "napari-wsi": options.wsi_python}
        for reader, python in pythons.items():
            if python:
                print(shown(run(reader, python, path, options.jumps)), flush=True)


if __name__ == "__main__":
    main()

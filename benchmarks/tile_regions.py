"""Time and memory of ``data tiles`` for a slide with the cells that QuPath has detected.

Example: ``python benchmarks/tile_regions.py --cells 300000``
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from napari_melanoma.core.context import RunContext
from napari_melanoma.slides.tile_sets import TileDataOptions, make_tile_data

SIDE, SPACING, VERTICES = 24_576, 32, 24  # of the slide and between cells in pixels; of a cell
CLASSES = ("Tumor", "Stroma")
MEASUREMENTS = tuple(f"Nucleus: Measurement {number}" for number in range(30))


def write_slide(path: Path) -> None:
    """Write a slide of one color, at 0.5 micrometers per pixel."""
    tile = np.full((512, 512, 3), (200, 150, 190), np.uint8)
    tiles = (tile for _ in range((SIDE // 512) ** 2))
    layout = {"tile": (512, 512), "compression": "jpeg", "photometric": "rgb"}
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, tiles, shape=(SIDE, SIDE, 3), dtype=np.uint8, metadata=None, **layout, **resolution)


def write_cells(path: Path, count: int) -> None:
    """Write cells with nucleus and measurements as QuPath does; some in each row extend beyond the slide."""
    angles = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    random, side = np.random.default_rng(0), SIDE // SPACING
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [\n')
        for number in range(count):
            row, column = divmod(number, side)
            center = np.array((column, row)) * SPACING
            cell, nucleus = ((center + radius * circle).round(2).tolist() for radius in (14, 7))
            shapes = [{"type": "Polygon", "coordinates": [[*ring, ring[0]]]} for ring in (cell, nucleus)]
            properties = {
                "objectType": "cell",
                "classification": {"name": CLASSES[column // 96 % 2], "color": [200, 0, 0]},
                "measurements": dict(
                    zip(MEASUREMENTS, random.random(len(MEASUREMENTS)).round(4).tolist(), strict=True)
                ),
            }
            feature = {"type": "Feature", "id": f"cell-{number}", "geometry": shapes[0], "nucleusGeometry": shapes[1]}
            file.write(("" if not number else ",\n") + json.dumps({**feature, "properties": properties}))
        file.write("\n]}\n")


def main() -> None:
    """Cut the tiles of one slide."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=300_000)
    count = parser.parse_args().cells
    with tempfile.TemporaryDirectory() as name:
        slide, cells = Path(name, "slide.tif"), Path(name, "slide.geojson")
        write_slide(slide)
        write_cells(cells, count)
        wall, processor = time.perf_counter(), time.process_time()
        options = TileDataOptions(share=0.3)
        report = make_tile_data([slide], [cells], Path(name, "tiles"), options, run=RunContext())
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    notes = len(report.notes)
    print(
        f"{count} cells, {report.tiles} tiles: {wall:.1f} s, processor time {processor:.1f} s, {memory:.0f} MB, "
        f"{notes} notes"
    )


if __name__ == "__main__":
    main()

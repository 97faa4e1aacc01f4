"""Time of every step of the analysis of photographs, and of the stain normalization of slide tiles.

One photograph is small and one large, with a lesion that covers a sixth of it.

Example: ``python benchmarks/analysis_speed.py --repeats 5``
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.prediction_config import StainMethod
from napari_melanoma.core.roi_config import RoiConfig
from napari_melanoma.imaging.masks import draw_overlay, extract_roi, trace_contours
from napari_melanoma.imaging.measurements import measure_lesion
from napari_melanoma.imaging.postprocessing import RefinementConfig, refine_mask, smooth_probability
from napari_melanoma.imaging.scribbles import INSIDE, redraw_border
from napari_melanoma.imaging.stain import DEFAULT_STAINS, StainConfig, fit_stain, normalize_stain

SIZES = ((384, 512), (2000, 3000))
TILES, TILE = 50, 224  # tiles per batch, and side in pixels


@dataclass(frozen=True)
class Scene:
    """A photograph, its lesion, a probability map that misses a quarter of it, and a scribble there."""

    rgb: NDArray[np.uint8]
    lesion: NDArray[np.bool_]
    probability: NDArray[np.float32]
    found: NDArray[np.bool_]
    scribbles: NDArray[np.uint8]


def scene(rows: int, columns: int) -> Scene:
    """Draw a lobed lesion on skin, with noise."""
    random = np.random.default_rng(0)
    row, column = np.ogrid[:rows, :columns]
    down, across = (row - rows / 2) / (rows / 4), (column - columns / 2) / (columns / 5)
    lesion = np.hypot(down, across) < 1 + 0.1 * np.sin(7 * np.arctan2(down, across))
    found = lesion & (across < 0.3)
    rgb = np.where(lesion[..., None], np.array((115, 78, 58), np.uint8), np.array((215, 175, 155), np.uint8))
    rgb = rgb + random.integers(0, 20, rgb.shape, dtype=np.uint8)
    scribbles = np.zeros((rows, columns), np.uint8)
    scribbles[rows // 2 - rows // 200 : rows // 2 + rows // 200 + 1, columns * 58 // 100 : columns * 65 // 100] = INSIDE
    return Scene(rgb, lesion, np.where(found, 0.9, 0.1).astype(np.float32), found, scribbles)


def steps(photograph: Scene) -> dict[str, Callable[[], object]]:
    """Return all steps of the analysis by name."""
    refinement, roi, size = RefinementConfig(), RoiConfig(), PixelSize(10, 10)
    return {
        "smooth_probability": lambda: smooth_probability(photograph.probability, refinement),
        "refine_mask": lambda: refine_mask(photograph.lesion, refinement),
        "contours": lambda: trace_contours(photograph.lesion),
        "draw_overlay": lambda: draw_overlay(photograph.rgb, photograph.lesion),
        "extract_roi": lambda: extract_roi(photograph.rgb, photograph.lesion, roi),
        "measure": lambda: measure_lesion(photograph.lesion, photograph.rgb, size),
        "redraw": lambda: redraw_border(photograph.probability, photograph.rgb, photograph.found, photograph.scribbles),
    }


def stain_steps() -> dict[str, Callable[[], object]]:
    """Return the normalization of a batch of tiles by method; hematoxylin and eosin in random amounts."""
    amounts = np.random.default_rng(0).gamma(2, 0.4, (TILES, TILE, TILE, 2))
    tiles = np.rint(255 * np.exp(-amounts @ np.array(DEFAULT_STAINS))).astype(np.uint8)
    methods: tuple[StainMethod, ...] = ("macenko", "reinhard", "histogram", "standardise")
    fits = {method: fit_stain(tiles, StainConfig(method=method)) for method in methods}
    return {method: partial(normalize_stain, tiles, fit) for method, fit in fits.items()}


def best_ms(step: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the shortest wall time and processor time of several runs after a warm-up, in milliseconds."""
    step()
    times = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        step()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    return 1000 * min(wall for wall, _ in times), 1000 * min(processor for _, processor in times)


def main() -> None:
    """Print one table per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each step, of which the fastest is reported")
    repeats: int = parser.parse_args().repeats
    for rows, columns in SIZES:
        print(f"\n{columns} x {rows}{'':14}wall ms   processor ms")
        for name, step in steps(scene(rows, columns)).items():
            wall, processor = best_ms(step, repeats)
            print(f"{name:24}{wall:8.1f}{processor:15.1f}")
    print(f"\nstain, a tile of {TILE} px{'':5}wall ms   processor ms")
    for name, step in stain_steps().items():
        wall, processor = best_ms(step, repeats)
        print(f"{name:24}{wall / TILES:8.2f}{processor / TILES:15.2f}")


if __name__ == "__main__":
    main()

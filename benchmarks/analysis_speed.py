"""Time of every step of the analysis of photographs, and of the normalisation of stain of tiles of a slide.

The photographs are a small and a large one, with a lesion that covers a sixth of it.

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
from napari_melanoma.core.prediction_config import RoiConfig
from napari_melanoma.imaging.masks import draw_overlay, extract_roi, trace_contours
from napari_melanoma.imaging.measurements import measure_lesion
from napari_melanoma.imaging.refinement import RefinementConfig, refine_mask, smooth_probability
from napari_melanoma.imaging.scribbles import INSIDE, redraw_border
from napari_melanoma.slides.stain import DEFAULT_STAINS, StainConfig, StainMethod, fit_stain, normalize_stain

SIZES = ((384, 512), (2000, 3000))
TILES, TILE = 50, 224  # of a slide, in a batch and in pixels


@dataclass(frozen=True)
class Scene:
    """A photograph, its lesion, a network's answer that missed a quarter, and a stroke there."""

    rgb: NDArray[np.uint8]
    lesion: NDArray[np.bool_]
    probability: NDArray[np.float32]
    found: NDArray[np.bool_]
    scribbles: NDArray[np.uint8]


def scene(rows: int, columns: int) -> Scene:
    """Draw a lobed lesion on skin, with noise."""
    random = np.random.default_rng(0)
    row, column = np.ogrid[:rows, :columns]
    away, across = (row - rows / 2) / (rows / 4), (column - columns / 2) / (columns / 5)
    lesion = np.hypot(away, across) < 1 + 0.1 * np.sin(7 * np.arctan2(away, across))
    found = lesion & (across < 0.3)
    rgb = np.where(lesion[..., None], np.array((115, 78, 58), np.uint8), np.array((215, 175, 155), np.uint8))
    rgb = rgb + random.integers(0, 20, rgb.shape, dtype=np.uint8)
    scribbles = np.zeros((rows, columns), np.uint8)
    scribbles[rows // 2 - rows // 200 : rows // 2 + rows // 200 + 1, columns * 58 // 100 : columns * 65 // 100] = INSIDE
    return Scene(rgb, lesion, np.where(found, 0.9, 0.1).astype(np.float32), found, scribbles)


def steps(shown: Scene) -> dict[str, Callable[[], object]]:
    """Every step of the analysis, by name."""
    refinement, roi, size = RefinementConfig(), RoiConfig(), PixelSize(10, 10)
    return {
        "smooth_probability": lambda: smooth_probability(shown.probability, refinement),
        "refine_mask": lambda: refine_mask(shown.lesion, refinement),
        "contours": lambda: trace_contours(shown.lesion),
        "draw_overlay": lambda: draw_overlay(shown.rgb, shown.lesion),
        "extract_roi": lambda: extract_roi(shown.rgb, shown.lesion, roi),
        "measure": lambda: measure_lesion(shown.lesion, shown.rgb, size),
        "redraw": lambda: redraw_border(shown.probability, shown.rgb, shown.found, shown.scribbles),
    }


def stain_steps() -> dict[str, Callable[[], object]]:
    """Normalisation of a batch of tiles, by method; colours of haematoxylin and eosin in any amount."""
    amounts = np.random.default_rng(0).gamma(2, 0.4, (TILES, TILE, TILE, 2))
    tiles = np.rint(255 * np.exp(-amounts @ np.array(DEFAULT_STAINS))).astype(np.uint8)
    methods: tuple[StainMethod, ...] = ("macenko", "reinhard", "histogram", "standardise")
    fits = {method: fit_stain(tiles, StainConfig(method=method)) for method in methods}
    return {method: partial(normalize_stain, tiles, fit) for method, fit in fits.items()}


def best_ms(step: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Shortest wall time and shortest processor time of several runs after one to warm up, in milliseconds."""
    step()
    times = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        step()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    return 1000 * min(wall for wall, _ in times), 1000 * min(processor for _, processor in times)


def main() -> None:
    """Print a table a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each step; the fastest counts")
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
